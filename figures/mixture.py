"""Stacks of two kinds of layers: which share of them flips the regime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate, theory, weights
from linsim import tokens as token_matrices
from linsim.rules import Layered, Linear
from linsim.streams import philox

from .palette import colour, line
from .style import below, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"shares": 6, "depth": 60}

_READ = ("measured", "predicted", "share", "pair", "depth", "flips")
#: eigenvalues of the two kinds, for common eigenvectors
_PAIRS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "sharpening and smoothing": ((-0.9, -0.5, -0.3, -0.2), (0.1, 0.2, 0.3, 0.35)),
    "smoothing and smoothing": ((0.5, -0.6), (-0.6, 0.5)),
}


def compute(*, seed: int = 0, tokens: int = 8, shares: int = 21, depth: int = 400) -> xarray.Dataset:
    """Run stacks in random order at each share, and measure how fast ln HFC/LFC changes."""
    import xarray

    rng = philox(seed, 0)
    A = attention.from_spectrum([1, *np.linspace(-0.05, 0.05, tokens - 1)], rng=rng)
    share = np.linspace(0, 1, shares)
    measured, predicted, flips = [], [], []
    for mu, nu in _PAIRS.values():
        V = weights.orthogonal(len(mu), rng=rng)
        kinds = [Linear(A, (V * np.array(values)) @ V.T) for values in (mu, nu)]
        x0 = token_matrices.gaussian(tokens, len(mu), rng=rng)
        law = theory.mixture(A, mu, nu)
        slopes = []
        for p in share:
            first = np.zeros(depth, dtype=bool)
            first[: round(p * depth)] = True
            # each half has the share, in a random order of its own, so that slopes are of equal stacks
            order = np.concatenate([rng.permutation(first[::2]), rng.permutation(first[1::2])])
            run = simulate(
                Layered([kinds[0] if one else kinds[1] for one in order]),
                x0,
                depth,
                layers=[depth // 2, depth],
                metrics=["log_hfc_lfc"],
            )
            low, high = run.metrics["log_hfc_lfc"]
            slopes.append((low - high) / (depth - depth // 2))
        measured.append(slopes)
        predicted.append(law.margin(share))
        flips.append(", ".join(f"{flip:.4f}" for flip in law.flips))
    return xarray.Dataset(
        {
            "measured": (("pair", "share"), np.array(measured)),
            "predicted": (("pair", "share"), np.array(predicted)),
            "flips": ("pair", flips),
        },
        {"pair": list(_PAIRS), "share": share},
        {"seed": seed, "depth": depth, "tokens": tokens},
    )


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    both = ds.measured.sel(pair="smoothing and smoothing")
    if float(both[0]) > 0 < float(both[-1]) and float(both.min()) < 0:
        return "Two kinds of layers that smooth alone can sharpen together: the share decides"
    return "The regime of stacks of two kinds of layers, by the share of the first"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw measured and predicted margins over the share, coloured by the regime."""
    fig, found = panels(axes, ds.sizes["pair"], title=message(ds), height=4.4)
    share = ds.share.values
    for ax, pair in zip(found, ds.pair.values, strict=True):
        chosen = ds.sel(pair=pair)
        ax.plot(share, chosen.predicted, **line("predicted"))
        for role, marker, where in (
            ("smoothing", "o", chosen.measured > 0),
            ("sharpening", "s", chosen.measured <= 0),
        ):
            ax.plot(
                share[where], chosen.measured[where], marker, color=colour(role), markersize=3.5, label=role
            )
        ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
        ax.set(xlim=(-0.02, 1.02), ylabel="$-$ change of ln(HFC/LFC)\nper layer")
        ax.set_title(str(pair), loc="right")
    found[0].legend(loc="upper right", handlelength=1)
    below(found, "share of layers of the first kind")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    pairs = "; ".join(
        f"{'abcdefgh'[k]}, mu = {', '.join(f'{x:g}' for x in mu)} and "
        f"{', '.join(f'{x:g}' for x in nu)}: flips at "
        f"{ds.flips.values[k]}"
        for k, (mu, nu) in enumerate(_PAIRS.values())
    )
    worst = float(np.abs(ds.measured - ds.predicted).max())
    return (
        f"{message(ds)}. Stacks of {ds.attrs['depth']} layers X <- X + A X H of two kinds with common "
        f"eigenvectors, in random order (symmetric A, {ds.attrs['tokens']} tokens). Marks: measured fall of "
        "ln(HFC/LFC) per layer over the second half, above 0 where tokens become alike; dashes: predicted, a "
        f"difference of two convex functions of the share. {pairs}. Largest difference {worst:.1e} per "
        "layer: rounding of the share to whole layers, and near a corner a second mode of almost equal size."
    )
