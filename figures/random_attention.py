"""The second eigenvalue of random attention against the number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention
from linsim.streams import philox
from linsim.theory.random_attention import dirichlet_radius, token_lambda2

from .palette import colour, line
from .style import panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"tokens": (8, 32, 128), "draws": 2}

_READ = ("second", "radius", "limit", "kind", "n", "d_key", "radius_of_m")
_KINDS = {
    "dirichlet": ("independent entries", "o", "solid"),
    "softmax": ("softmax of $QK^{\\mathsf{T}}$", "s", (0, (4, 1.6))),
    "tokens": ("softmax of $XMX^{\\mathsf{T}}$", "^", (0, (1, 1.2))),
}


def compute(
    *,
    seed: int = 0,
    tokens: Sequence[int] = (8, 16, 32, 64, 128, 256),
    draws: int = 6,
    d_key: int = 16,
    radius: float = 0.4,
) -> xarray.Dataset:
    """Draw attention of three kinds and take |lambda_2|.

    Parameters
    ----------
    tokens : sequence of int
        Numbers of tokens n.
    d_key : int
        Features of queries and keys of the softmax with independent ones.
    radius : float in (0, 1)
        Spectral radius of M in the softmax of X M X^T, X Gaussian with 4 features.
    """
    import xarray

    rng = philox(seed, 0)
    M = np.diag([radius, radius / 4, -radius / 4, radius / 8])
    found = np.empty((3, len(tokens), draws))
    for k, n in enumerate(tokens):
        for r in range(draws):
            x = rng.standard_normal((n, 4))
            scores = np.exp(x @ M @ x.T)
            made = (
                attention.dirichlet(n, rng=rng),
                attention.softmax(n, d_key, rng=rng),
                scores / scores.sum(axis=1, keepdims=True),
            )
            found[:, k, r] = [np.sort(np.abs(np.linalg.eigvals(A)))[-2] for A in made]
    return xarray.Dataset(
        {
            "second": (("kind", "n", "draw"), found),
            "radius": ("n", [float(dirichlet_radius(n)) for n in tokens]),
            "limit": ((), float(token_lambda2(M))),
        },
        {"kind": list(_KINDS), "n": list(tokens)},
        {"seed": seed, "d_key": d_key, "radius_of_m": radius},
    )


def _slopes(ds: xarray.Dataset) -> dict[str, float]:
    """Power of n with which |lambda_2| changes."""
    logs = np.log(ds.second.median("draw"))
    return {
        str(kind): float(np.polyfit(np.log(ds.n.values), logs.sel(kind=kind), 1)[0])
        for kind in ds.kind.values
    }


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    slopes = _slopes(ds)
    if abs(slopes["dirichlet"] + 0.5) < 0.1 and slopes["tokens"] > -0.2:
        return "The second eigenvalue falls like 1/√n for independent entries, not for scores of tokens"
    return "The second eigenvalue of random attention, by the number of tokens"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw |lambda_2| over n on two logarithmic scales, with its laws."""
    fig, (ax,) = panels(axes, 1, title=message(ds), height=2.9)
    n, hue = ds.n.values, colour("attention")
    ax.plot(n, ds.radius, **line("predicted"))
    ax.plot([n[0], n[-1]], [float(ds.limit)] * 2, **line("predicted"))
    for kind, (label, marker, dashes) in _KINDS.items():
        chosen = ds.second.sel(kind=kind)
        mid, low, high = chosen.median("draw"), chosen.min("draw"), chosen.max("draw")
        ax.errorbar(
            n,
            mid,
            [mid - low, high - mid],
            marker=marker,
            linestyle=dashes,
            linewidth=0.8,
            color=hue,
            label=label,
        )
    ax.set(xscale="log", yscale="log", xlabel="tokens $n$", ylabel="$|\\lambda_2|$ of attention")
    ax.set_xticks(n, [str(k) for k in n])
    ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.5) if float(ds.second.min()) * 0.9 < t]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    at = len(n) // 2
    ax.annotate(
        "$1/\\sqrt{n}$", (n[at], float(ds.radius[at])), (-8, -6), textcoords="offset points", ha="right"
    )
    ax.annotate(
        "spectral radius of $M$", (n[-1], float(ds.limit)), (0, 4), textcoords="offset points", ha="right"
    )
    ax.legend(loc="lower left")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    slopes = _slopes(ds)
    last = ds.second.isel(n=-1).median("draw")
    return (
        f"{message(ds)}. Second largest modulus among the eigenvalues of attention: median and range of "
        f"{ds.sizes['draw']} draws. Circles: independent Dirichlet rows, with the radius of the circular law "
        f"for random Markov matrices, about 1/sqrt(n) (dashed). Squares: softmax of Q K^T / sqrt(d_key), "
        f"Gaussian Q and K, d_key = {ds.attrs['d_key']}. Triangles: softmax of X M X^T for Gaussian "
        "tokens X, M "
        f"of spectral radius {ds.attrs['radius_of_m']:g}, to which |lambda_2| tends (dashed). Fitted "
        "powers of n: "
        f"{slopes['dirichlet']:.2f}, {slopes['softmax']:.2f} and {slopes['tokens']:.2f}; at n = "
        f"{int(ds.n[-1])} the medians are {float(last.sel(kind='dirichlet')):.3f}, "
        f"{float(last.sel(kind='softmax')):.3f} and {float(last.sel(kind='tokens')):.3f}."
    )
