"""Attention without a residual: doubly exponential collapse below a sharp threshold of the spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate
from linsim.block import Block
from linsim.theory.pure_attention import collapse_threshold, pure_attention_bound

from .palette import colour, line
from .style import panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"factors": (0.9, 1.1), "depth": 6}

_READ = ("log_spread", "log_bound", "factor", "threshold", "weight")
_DASHES = ("solid", (0, (4, 1.6)), (0, (1, 1.2)), (0, (5, 1.4, 1, 1.4)))


def compute(
    *, factors: Sequence[float] = (0.8, 0.95, 0.99, 1.01), weight: float = 2.0, depth: int = 8, seed: int = 0
) -> xarray.Dataset:
    """Run two tokens at +-x from spreads below and above the threshold (no random numbers).

    Parameters
    ----------
    factors : sequence of at most 4 floats
        Spread at layer 0 over the threshold.
    weight : float > 1
        H, one feature; scores are the products of the tokens.
    """
    import xarray

    M, H = np.array([[1.0]]), np.array([[weight]])
    threshold = float(collapse_threshold(M, H))
    x0 = np.array([[[0.5], [-0.5]]]) * threshold * np.asarray(factors, dtype=float)[:, None, None]
    block = Block(attention.FromTokens(query_key=M, normalize=False), weights=H, residual=None, norm=None)
    run = simulate(block, x0, depth, metrics=["log_spread"], rng=seed)
    return xarray.Dataset(
        {
            "log_spread": (("factor", "layer"), run.metrics["log_spread"]),
            "log_bound": (("factor", "layer"), pure_attention_bound(x0, M, H, depth)),
        },
        {"factor": list(factors), "layer": np.arange(depth + 1)},
        {"threshold": threshold, "weight": weight, "seed": seed},
    )


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    change = ds.log_spread.isel(layer=-1) - ds.log_spread.isel(layer=0)
    if bool(((change < 0) == (ds.factor < 1)).all()):
        return "Without a residual tokens collapse doubly exponentially, below a sharp threshold"
    return "The spread of tokens under attention without a residual"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the spread over depth on a doubly logarithmic scale, and its bound."""
    fig, (ax,) = panels(axes, 1, title=message(ds), height=2.8)
    layer = ds.layer.values

    def shape(values: Any) -> Any:
        """Signed log10(1 + |log10|), so that a double exponential is a straight line."""
        ten = values / np.log(10)
        return np.sign(ten) * np.log10(1 + np.abs(ten))

    for factor, dashes in zip(ds.factor.values, _DASHES, strict=False):
        chosen = ds.sel(factor=factor)
        ax.plot(layer, shape(chosen.log_spread.values), color=colour("tokens"), linestyle=dashes)
        ax.plot(layer, shape(chosen.log_bound.values), **line("predicted", linewidth=0.6))
        ax.annotate(
            f"{factor:g} of threshold",
            (layer[-1], shape(chosen.log_spread.values[-1])),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=colour("tokens"),
            annotation_clip=False,
        )
    lowest = shape(np.nanmin(ds.log_spread.values))
    powers = [p for p in (-1000, -100, -10, -1, 0, 1, 10) if shape(p * np.log(10)) > lowest - 0.1]
    ax.set_yticks([float(shape(p * np.log(10))) for p in powers], [f"$10^{{{p}}}$" for p in powers])
    ax.set(xlim=(0, layer[-1]), xlabel="layer", ylabel="largest distance of two tokens")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    last = ds.log_spread.isel(layer=-1) / np.log(10)
    said = ", ".join(f"1e{float(last.sel(factor=f)):.1f} from {f:g}" for f in ds.factor.values)
    above = float((ds.log_spread - ds.log_bound).max())
    return (
        f"{message(ds)}. X <- softmax(X X^T) X h with two tokens +-x and h = {ds.attrs['weight']:g}. "
        "The spread "
        f"(largest distance) at layer {int(ds.layer[-1])} is {said} times the threshold 2 "
        "sqrt(artanh(1/h)) = "
        f"{ds.attrs['threshold']:.4f}. Dashes: the bound D' <= h D tanh(D^2/4), which holds for any "
        "tokens and "
        f"is attained by these two (curves exceed it by at most {max(above, 0):.0e}). The axis is doubly "
        "logarithmic: a straight line is a double exponential."
    )
