"""Tokens that attend to each other on the sphere: clusters, and where plain arithmetic loses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate
from linsim import tokens as token_matrices
from linsim.block import Block
from linsim.streams import philox

from .palette import colour
from .style import below, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message", "plain"]

QUICK = {"beta": (0.2, 1.0), "tokens": 8, "depth": 60}

_READ = ("log_cosine_gap", "plain", "clusters", "beta", "layer", "tokens", "features", "step")
_DASHES = ("solid", (0, (4, 1.6)), (0, (1, 1.2)), (0, (5, 1.4, 1, 1.4)))


def compute(
    *,
    seed: int = 0,
    beta: Sequence[float] = (0.2, 0.3, 0.45, 0.7),
    tokens: int = 32,
    features: int = 16,
    step: float = 0.5,
    depth: int = 160,
) -> xarray.Dataset:
    """Run X <- norm(X + step softmax(beta X X^T) X), norm the projection on a sphere, in both arithmetics.

    Parameters
    ----------
    beta : sequence of at most 4 floats
        How much a token prefers those like it; scores are beta times the products of tokens of norm sqrt(d).
    """
    import xarray

    x0 = token_matrices.gaussian(tokens, features, rng=philox(seed, 0))
    layers = np.unique([*range(min(20, depth)), *np.linspace(0, depth, 81).astype(int)])
    gaps, counts, naive = [], [], []
    for b in beta:
        rule = Block(
            attention.FromTokens(query_key=b * np.eye(features)),
            weights=step * np.eye(features),
            norm="post",
            norm_eps=0.0,
        )
        run = simulate(rule, x0, depth, layers=layers, metrics=["log_cosine_gap", "clusters"])
        gaps.append(run.metrics["log_cosine_gap"])
        counts.append(run.metrics["clusters"])
        naive.append(plain(x0, b, step, layers))
    return xarray.Dataset(
        {
            "log_cosine_gap": (("beta", "layer"), np.array(gaps)),
            "plain": (("beta", "layer"), np.array(naive)),
            "clusters": (("beta", "layer"), np.array(counts)),
        },
        {"beta": list(beta), "layer": layers},
        {"seed": seed, "tokens": tokens, "features": features, "step": step},
    )


def plain(x0: Any, beta: float, step: float, layers: Any) -> Any:
    """Return ln(1 - mean cosine) at ``layers`` of the same tokens in plain double precision, NaN "
    "where <= 0."""
    X, out = np.array(x0), []
    pairs = np.triu_indices(len(X), 1)
    wanted = set(map(int, layers))
    for layer in range(int(max(layers)) + 1):
        if layer in wanted:
            units = X / np.linalg.norm(X, axis=1, keepdims=True)
            gap = 1 - (units @ units.T)[pairs].mean()
            out.append(np.log(gap) if gap > 0 else np.nan)
        Y = X / np.sqrt(np.mean(X**2, axis=1, keepdims=True))
        scores = np.exp(beta * Y @ Y.T - np.max(beta * Y @ Y.T, axis=1, keepdims=True))
        X = X + step * (scores / scores.sum(axis=1, keepdims=True)) @ X
        X = X - X.mean(axis=1, keepdims=True)
        X = X / np.sqrt(np.mean(X**2, axis=1, keepdims=True))
    return np.array(out)


def _floor(ds: xarray.Dataset) -> float:
    """Log10 of the least gap that plain arithmetic shows."""
    return float(ds.plain.min()) / np.log(10)


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    lowest = float(ds.log_cosine_gap.min()) / np.log(10)
    one, more = ds.clusters.isel(layer=-1).values[[0, -1]]
    if lowest < -20 and _floor(ds) > -18 and one == 1 < more:
        return (
            "On the sphere tokens become one cluster or stay many; plain arithmetic is blind below "
            f"1e{_floor(ds):.0f}"
        )
    return "Tokens on the sphere under attention, in two arithmetics"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the gap of the cosine in both arithmetics, and the number of clusters."""
    fig, found = panels(axes, 2, title=message(ds), height=4.3)
    top, bottom = found
    layer, ten = ds.layer.values, 1 / np.log(10)
    for b, dashes in zip(ds.beta.values, _DASHES, strict=False):
        chosen = ds.sel(beta=b)
        top.plot(layer, chosen.log_cosine_gap * ten, color=colour("angles"), linestyle=dashes)
        top.plot(layer, chosen.plain * ten, ".", color="0.35", markersize=2)
        bottom.step(layer, chosen.clusters, where="post", color=colour("angles"), linestyle=dashes)
    for ax, variable in ((top, ds.log_cosine_gap * ten), (bottom, ds.clusters)):
        low, high = float(variable.min()), float(variable.max())
        placed: list[float] = []
        last = variable.isel(layer=-1)
        for b in sorted(ds.beta.values, key=lambda value: float(last.sel(beta=value))):
            end = max([float(last.sel(beta=b)), *(p + 0.09 * (high - low) for p in placed)])
            placed.append(end)
            ax.annotate(
                f"$\\beta={b:g}$",
                (layer[-1], end),
                (4, 0),
                textcoords="offset points",
                va="center",
                color=colour("angles"),
                annotation_clip=False,
            )
    black: Any = {"color": "0"}
    handles = [
        top.plot([], [], **black)[0],
        top.plot([], [], ".", markersize=2, color="0.35")[0],
    ]
    top.legend(handles, ["linsim", "plain double precision"], loc="lower left")
    top.set(xlim=(0, layer[-1]), ylabel="log$_{10}$(1 $-$ mean cosine)")
    bottom.set(xlim=(0, layer[-1]), ylim=(0, ds.attrs["tokens"] + 1), ylabel="clusters")
    below(found, "layer")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    counts = ds.clusters.isel(layer=-1)
    said = ", ".join(f"{int(counts.sel(beta=b))} for beta = {b:g}" for b in ds.beta.values)
    return (
        f"{message(ds)}. X <- norm(X + {ds.attrs['step']:g} softmax(beta X X^T) X): "
        f"{ds.attrs['tokens']} tokens, "
        f"{ds.attrs['features']} features, weights a multiple of the identity, norm without gain, which puts "
        "tokens on a sphere. a, 1 - mean cosine as linsim holds it (lines) and in plain double precision "
        f"(dots), which shows nothing below 1e{_floor(ds):.1f}; linsim follows it to "
        f"1e{float(ds.log_cosine_gap.min()) / np.log(10):.0f}. b, clusters: {said} at layer "
        f"{int(ds.layer[-1])}. Tokens that prefer their likes more (large beta) form clusters that hold for "
        "long."
    )
