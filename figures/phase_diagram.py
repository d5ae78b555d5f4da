"""The phase diagram of oversmoothing: lowest weight eigenvalue against the attention's lowest.

Measured in thousands of random systems at one depth; the line is predicted
from spectra alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, sweep, tokens, weights
from linsim.rules import Linear
from linsim.theory import boundary

from .style import MAP, figure, outlined, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["DEPTH", "GRID", "REPLICATES", "caption", "compute", "draw", "systems"]

TOKENS, FEATURES = 16, 8
DEPTH = 128
REPLICATES = 2
#: lowest eigenvalue of the weights, and of the attention
GRID = {"mu_min": np.linspace(-4, 2, 97), "lambda_min": np.linspace(-0.5, 0, 41)}


def systems(point: dict[str, Any], rng: Any) -> tuple[Linear, Any]:
    """Draw one system per point: prescribed spectra, random bases, random tokens.

    Parameters
    ----------
    point : dict of (k,) arrays
        ``mu_min`` and ``lambda_min``.  The other weight eigenvalues lie within
        25 percent of ``mu_min`` above it, the other attention eigenvalues
        between 0.05 and 0.2, besides the eigenvalue 1.
    rng : numpy.random.Generator

    Returns
    -------
    (Linear, array)
        16 tokens, 8 features, leading axis k.

    Examples
    --------
    >>> rule, x0 = systems({"mu_min": np.array([-3.0]), "lambda_min": np.array([-0.25])}, 0)
    >>> x0.shape
    (1, 16, 8)
    """
    mu, low = np.asarray(point["mu_min"])[:, None], np.asarray(point["lambda_min"])[:, None]
    ones = np.ones_like(low)
    lam = np.concatenate([ones, low, ones * np.linspace(0.05, 0.2, TOKENS - 2)], axis=1)
    rng = np.random.default_rng(rng)
    A = attention.from_spectrum(lam, rng=rng)
    H = weights.from_spectrum(mu + 0.25 * np.abs(mu) * np.linspace(0, 1, FEATURES), rng=rng)
    return Linear(A, H), tokens.gaussian(TOKENS, FEATURES, size=len(mu), rng=rng)


def compute(*, seed: int = 0, progress: bool = True, store: Any = None) -> xarray.Dataset:
    """Sweep the whole grid: the input, half depth and full depth of every system."""
    return sweep(
        systems,
        GRID,
        depth=DEPTH,
        layers=[0, DEPTH // 2, DEPTH],
        metrics=[
            "hfc_lfc",
            "log_hfc_lfc",
            "cosine",
            "log_abs_cosine_gap",
            "effective_rank",
            "log_effective_rank_gap",
        ],
        replicates=REPLICATES,
        seed=seed,
        store=store,
        progress=progress,
    )


@styled
def draw(ds: xarray.Dataset) -> Figure:
    """Draw measured HFC/LFC, cosine and effective rank, the predictions on top."""
    fig, axes = figure(5.4, nrows=3, sharex=True, height_ratios=[1.4, 1, 1])
    x, y = ds.mu_min.values, ds.lambda_min.values
    last = ds.isel(layer=-1)

    def cells(variable: Any) -> Any:
        return variable.mean("replicate").transpose("lambda_min", "mu_min").values

    ratio = cells(last.log_hfc_lfc) / np.log(10)
    panels = [
        (axes[0], ratio, MAP, (-30, 30), "log$_{10}$ HFC/LFC", "both"),
        (axes[1], cells(last.cosine), "cividis", (-0.1, 1), "mean cosine", "neither"),
        (axes[2], cells(last.effective_rank), "cividis_r", (1, 4), "effective rank", "max"),
    ]
    curve = np.array([boundary(a) for a in y])
    for label, (ax, values, cmap, limits, name, extend) in zip("abc", panels, strict=True):
        mesh = ax.pcolormesh(x, y, values, cmap=cmap, vmin=limits[0], vmax=limits[1], rasterized=True)
        fig.colorbar(mesh, ax=ax, pad=0.02, extend=extend, label=name)
        outlined(ax.plot(curve, y, color="black")[0])
        outlined(ax.axvline(0, color="black"))
        ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), ylabel="attention $\\lambda_{\\min}$")
        ax.set_title(label, loc="left", fontweight="bold", pad=2)
    # where the predicted sigma_2/sigma_1 at this depth is one tenth
    closed = float(ds.layer[-1]) * np.log(cells(ds.predicted_rank_gap_rate)) / np.log(10)
    contour = axes[2].contour(x, y, closed, levels=[-1], colors="black", linewidths=1, linestyles="--")
    outlined(contour, 2.2)
    for text, where in (
        ("sharpening:\ntokens stay apart", (-1.35, -0.36)),
        ("smoothing", (1, -0.25)),
        ("smoothing\nagain", (-3.35, -0.1)),
        ("$-2/(1+\\lambda_{\\min})$", (-1.2, -0.09)),
    ):
        outlined(axes[0].text(*where, text, ha="center", va="center"))
    outlined(axes[2].text(-0.95, -0.12, "predicted\n$\\sigma_2/\\sigma_1=0.1$", ha="center", va="center"))
    axes[-1].set_xlabel("lowest weight eigenvalue $\\mu_{\\min}$")
    return fig


def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the counts of the dataset itself."""
    count = ds.sizes["mu_min"] * ds.sizes["lambda_min"] * ds.sizes["replicate"]
    return (
        f"Phase diagram of oversmoothing in X <- X + A X H, measured at layer {int(ds.layer[-1])} in "
        f"{count:,} random systems ({TOKENS} tokens, {FEATURES} features, symmetric A and H with "
        f"prescribed spectra, random bases and tokens; mean of {ds.sizes['replicate']} replicates a cell). "
        "a, HFC/LFC: low where tokens become alike. b, mean cosine between tokens. c, effective rank. "
        "Lines: regime boundary predicted from spectra alone, mu = 0 and mu = -2/(1 + lambda_min); dashed: "
        "where the predicted sigma_2/sigma_1 = q^depth is 0.1. Weights with very negative eigenvalues "
        "smooth again, and the rank collapses on both sides, fast except where two modes nearly tie."
    )
