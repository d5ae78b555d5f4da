"""Random weights: which eigenvalue of the attention dominates, by the scale of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, weights
from linsim.rules import Linear
from linsim.streams import philox
from linsim.theory import predict

from .palette import colour, line
from .style import panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"scales": 7, "draws": 20}

_READ = ("smoothing", "error", "by_moduli", "d", "scale", "draws", "tokens")
_LOOKS = (("o", "solid"), ("s", (0, (4, 1.6))), ("^", (0, (1, 1.2))))


def compute(
    *,
    seed: int = 0,
    features: tuple[int, ...] = (2, 8, 32),
    tokens: int = 8,
    scales: int = 17,
    draws: int = 200,
) -> xarray.Dataset:
    """Draw softmax attention and Gaussian weights, and count which eigenvalue of the attention dominates.

    Parameters
    ----------
    features : tuple of at most 3 ints
        Widths d.
    scales : int
        Number of scales s between 0.1 and 10: entries of H are N(0, s^2/d), its eigenvalues fill a
        disk of radius s.
    """
    import xarray

    scale = np.geomspace(0.1, 10, scales)
    share, moduli = np.empty((2, len(features), scales))
    for k, d in enumerate(features):
        rng = philox(seed, k)
        A = attention.softmax(tokens, 8, symmetric=True, size=draws, rng=rng)
        lam = np.linalg.eigvals(A).real
        for j, s in enumerate(scale):
            H = weights.gaussian(d, std=s / np.sqrt(d), size=draws, rng=rng)
            share[k, j] = np.mean(predict(Linear(A, H)).regime == "smoothing")
            # the same count without the library: the largest modulus at lambda = 1 and at the others
            rho = np.abs(1 + np.sort(lam, axis=1)[:, :, None] * np.linalg.eigvals(H)[:, None, :])
            moduli[k, j] = np.mean(rho[:, -1].max(axis=-1) > rho[:, :-1].max(axis=(1, 2)))
    return xarray.Dataset(
        {
            "smoothing": (("d", "scale"), share),
            "error": (("d", "scale"), np.sqrt((share * (1 - share) + 1 / draws) / draws)),
            "by_moduli": (("d", "scale"), moduli),
        },
        {"d": list(features), "scale": scale},
        {"seed": seed, "draws": draws, "tokens": tokens},
    )


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    wide = ds.smoothing.isel(d=-1)
    if float(wide.min()) > 0.95 and float(ds.smoothing.isel(d=0).min()) < 0.9:
        return "Wide random weights smooth at every scale; narrow ones often sharpen"
    return "Which eigenvalue of attention dominates with random weights, by their scale"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the share in which lambda = 1 dominates, over the scale."""
    fig, (ax,) = panels(axes, 1, title=message(ds), height=2.7)
    for d, (marker, dashes) in zip(ds.d.values, _LOOKS, strict=False):
        chosen = ds.sel(d=d)
        look = line("smoothing", linestyle=dashes, linewidth=0.9, marker=marker)
        ax.errorbar(ds.scale, chosen.smoothing, 2 * chosen.error, label=f"$d={d}$", **look)
    ax.axhline(0.5, color="0.85", linewidth=0.5, zorder=0)
    ax.set(
        xscale="log",
        ylim=(-0.03, 1.05),
        xlabel="scale $s$ of the weights (radius of their spectrum)",
        ylabel="share where $\\lambda=1$ dominates",
    )
    ax.legend(loc="lower left")
    ax.text(
        0.98,
        0.05,
        "below: another $\\lambda$",
        transform=ax.transAxes,
        ha="right",
        color=colour("sharpening"),
    )
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    least = ", ".join(
        f"{float(ds.smoothing.sel(d=d).min()):.0%} (d = {d}, s = "
        f"{float(ds.scale.values[ds.smoothing.sel(d=d).values.argmin()]):.2g})"
        for d in ds.d.values
    )
    apart = float(np.abs(ds.smoothing - ds.by_moduli).max()) * ds.attrs["draws"]
    return (
        f"{message(ds)}. Share of {ds.attrs['draws']} draws in which the constant mode lambda = 1 has "
        "the largest "
        f"|1 + lambda mu| (two standard errors): softmax attention with K = Q ({ds.attrs['tokens']} "
        "tokens), H with "
        "independent N(0, s^2/d) entries. Real parts of either sign occur in every wide H; the largest "
        f"decides, and it lies on the right. Least shares: {least}. Counting moduli by hand differs in "
        f"{apart:.0f} draws at most."
    )
