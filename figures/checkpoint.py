"""Two figures of a checkpoint: its spectra over the regime disk, and what its tokens do beside the laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim.theory import disk

from .palette import DEPTH, colour, line
from .style import figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from linsim.models import LayerReport, LayerSpectra, ModelRun

__all__ = ["curves", "curves_caption", "spectra", "spectra_caption"]

#: percent of the eigenvalues on either side that the axes leave out
_EDGE = 0.5

#: legends beside a panel's letter, out of the curves' way
_ABOVE: Any = {
    "loc": "lower right",
    "bbox_to_anchor": (1.02, 0.97),
    "ncols": 3,
    "columnspacing": 0.9,
    "handlelength": 1.4,
    "handletextpad": 0.5,
}


@styled
def spectra(layers: Sequence[LayerSpectra | LayerReport], lambda_min: float) -> Figure:
    """Draw every layer's effective eigenvalues, dark in the first layers and light in the last."""
    parts = [one.effective.eigenvalues for one in layers]
    depth = np.concatenate([np.full(mu.size, k) for k, mu in enumerate(parts)])
    mu = np.concatenate(parts)
    centre, radius = disk(lambda_min)
    fig, ax = figure(3.1)
    angle = np.linspace(0, 2 * np.pi, 361)
    ax.fill(
        centre + radius * np.cos(angle), radius * np.sin(angle), color=colour("sharpening"), alpha=0.2, lw=0
    )
    order = np.argsort(-depth, kind="stable")
    points = ax.scatter(
        mu.real[order], mu.imag[order], c=depth[order], s=3, cmap=DEPTH, linewidths=0, rasterized=True
    )
    low, high = np.percentile(mu.real, [_EDGE, 100 - _EDGE])
    high, low = max(high, 0.1), min(low, centre - radius)
    height = max(np.percentile(np.abs(mu.imag), 100 - _EDGE), radius)
    pad = 0.05 * (high - low)
    if high - low < 8 * height < 40 * (high - low):
        ax.set_aspect("equal")  # else one of the two would be a line
    ax.axvline(0, color="0", lw=0.5)
    ax.set(xlabel="Re $\\mu$", ylabel="Im $\\mu$")
    ax.set(xlim=(low - pad, high + pad), ylim=(-1.08 * height, 1.08 * height))
    fig.colorbar(points, ax=ax, location="top", pad=0.02, aspect=40, label="layer")
    return fig


def spectra_caption(layers: Sequence[LayerSpectra | LayerReport], lambda_min: float, name: str) -> str:
    """Return the caption of :func:`spectra`."""
    whole = np.concatenate([one.effective.eigenvalues for one in layers])
    inside = np.abs(whole + 1 / (1 + lambda_min)) < 1 / (1 + lambda_min)
    return (
        f"Effective weight eigenvalues of all {len(layers)} layers of {name}, exact zeros left out. "
        f"Shaded: the disk in which lambda_min = {lambda_min:.3g} beats the constant mode, "
        f"|mu + 1/(1 + lambda_min)| < 1/(1 + lambda_min); {np.mean(inside):.1%} of the eigenvalues lie "
        "in it. What one layer does to its tokens is not told by these alone. Axes leave out up to half a "
        "percent on each side."
    )


@styled
def curves(run: ModelRun) -> Figure:
    """Draw HFC/LFC through the model, and three columns of what attention does to it."""
    depth = np.arange(len(run.layers) + 1)
    fig, (top, bottom) = figure(3.9, nrows=2)
    top.plot(depth, run.curves.all["hfc_lfc"], **line("tokens"), label="all tokens")
    if run.curves.largest_share.max() > 0.5:
        label = "without the largest token"
        top.plot(depth, run.curves.others["hfc_lfc"], **line("tokens", linestyle=(0, (1, 1.2))), label=label)
    top.set(ylabel="HFC/LFC", xlim=(0, depth[-1]))
    low, high = top.dataLim.intervaly
    if high > 20 * low:
        top.set_yscale("log")
    top.legend(**_ABOVE)
    layers = depth[:-1]
    bottom.axhline(0, color="0", lw=0.5)
    measured, step, law = ([getattr(one, name) for one in run.layers] for name in ("measured", "step", "law"))
    bottom.plot(layers, law, **line("predicted"), label="law")
    bottom.plot(layers, measured, **line("tokens"), label="measured")
    bottom.plot(layers, step, "o", color="0", ms=2.5, mfc="none", mew=0.7, label="one exact step")
    bottom.set(xlabel="layer", ylabel="change across attention\nof ln(HFC/LFC)", xlim=(0, depth[-1]))
    bottom.legend(**_ABOVE)
    for label, ax in zip("ab", (top, bottom), strict=True):
        ax.set_title(label, loc="left", fontweight="bold", pad=3)
    return fig


def curves_caption(run: ModelRun, name: str) -> str:
    """Return the caption of :func:`curves`."""
    n = len(run.layers)
    step, law = (sum(getattr(one, f"{column}_agrees") for one in run.layers) for column in ("step", "law"))
    return (
        f"{run.states.shape[1]} tokens in {name}. a, HFC/LFC of the tokens that enter each layer, and leave "
        "the last. b, change of ln(HFC/LFC) across the attention sublayer: measured, predicted by one exact "
        "step of the linear layer given its attention maps (heads apart, biases, each token's sigma), and by "
        f"the law of many equal layers. The step has the measured sign in {step} of {n} layers, the law in "
        f"{law}."
    )
