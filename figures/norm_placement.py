"""Where the norm stands, and de-escalation: token similarity of deep blocks at initialisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate
from linsim import tokens as token_matrices
from linsim.block import Block, Deescalation
from linsim.streams import philox

from .palette import colour, line
from .style import panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"tokens": 8, "features": 16, "replicas": 3, "depth": 24}

_READ = ("log_odds", "block", "layer", "tokens", "features")

#: each block: what it has beside attention, and its label; the name is that of its colour
_BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "attention": ({"norm": None}, "no norm"),
    "post-norm": ({"feed_forward": "gelu"}, "post-norm"),
    "pre-norm": ({"norm": "pre", "feed_forward": "gelu"}, "pre-norm"),
    "de-escalated": (
        {"feed_forward": "gelu", "deescalation": Deescalation("attention", tau=1.0)},
        "post-norm,\nde-escalated",
    ),
}


def compute(
    *, seed: int = 0, tokens: int = 32, features: int = 32, replicas: int = 6, depth: int = 100
) -> xarray.Dataset:
    """Run every block from the same random tokens, with uniform attention and fresh weights at each layer."""
    import xarray

    A = attention.uniform(tokens)
    x0 = np.broadcast_to(
        token_matrices.gaussian(tokens, features, rng=philox(seed, 0)), (replicas, tokens, features)
    )
    layers = sorted({*range(0, depth, max(depth // 50, 1)), depth})
    odds = []
    for k, (options, _) in enumerate(_BLOCKS.values()):
        run = simulate(
            Block(A, **options), x0, depth, layers=layers, metrics="log_hfc_lfc", rng=philox(seed, 1 + k)
        )
        odds.append(-2 * run.metrics["log_hfc_lfc"] / np.log(10))
    return xarray.Dataset(
        {"log_odds": (("block", "replica", "layer"), np.stack(odds), {"long_name": "log10 t/(1-t)"})},
        coords={"block": list(_BLOCKS), "layer": layers},
        attrs={"seed": seed, "tokens": tokens, "features": features},
    )


def _ends(ds: xarray.Dataset) -> dict[str, float]:
    """Median log10 odds at the last layer."""
    last = ds.log_odds.isel(layer=-1).median("replica")
    return {str(b): float(last.sel(block=b)) for b in ds.block.values}


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    end = _ends(ds)
    depth = int(ds.layer[-1])
    if end["post-norm"] > 3 and end["de-escalated"] < 0 < end["pre-norm"] < end["post-norm"] / 2:
        return f"De-escalation keeps tokens apart for {depth} layers; post-norm makes them one vector"
    return f"Token similarity over {depth} layers, by the place of the norm"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the odds of token similarity over depth for each block."""
    fig, (ax,) = panels(axes, 1, title=message(ds), height=2.7)
    layer, end = ds.layer.values, _ends(ds)
    span = max(end.values()) - min(end.values())
    placed: list[float] = []
    for name in sorted(end, key=lambda block: end[block]):
        lines = ds.log_odds.sel(block=name).transpose("replica", "layer").values
        low, mid, high = np.quantile(lines, [0.05, 0.5, 0.95], axis=0)
        ax.fill_between(layer, low, high, color=colour(name), alpha=0.25, linewidth=0)
        ax.plot(layer, mid, **line(name))
        height = max([end[name], *(other + 0.11 * span for other in placed)])
        placed.append(height)
        ax.annotate(
            _BLOCKS[name][1],
            (layer[-1], height),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=colour(name),
            annotation_clip=False,
        )
    ax.axhline(0, color="0.85", linewidth=0.5, zorder=0)
    ax.set(xlim=(0, layer[-1]), xlabel="layer", ylabel="log$_{10}$ odds of similarity, $t/(1-t)$")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    end = _ends(ds)
    share = {name: 1 / (1 + 10**-value) for name, value in end.items()}
    return (
        f"{message(ds)}. Odds t/(1 - t) of token similarity in blocks with uniform attention, fresh Gaussian "
        f"weights and, where there is a norm, a GELU feed-forward ({ds.attrs['tokens']} tokens, "
        f"{ds.attrs['features']} features, {ds.sizes['replica']} replicas: median, 5 to 95 % shaded). "
        f"At layer {int(ds.layer[-1])}: 1 - t = 1e{-end['attention']:.0f} with attention alone (no norm) and "
        f"1e{-end['post-norm']:.0f} with post-norm; t = {share['pre-norm']:.3f} with pre-norm and "
        f"{share['de-escalated']:.3f} with post-norm and de-escalation, (I - Pi) X behind each attention."
    )
