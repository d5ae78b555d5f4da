"""What a block does to clouds of tokens: the arithmetic of :mod:`linsim._engines.block_step`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .. import _cloud
from .._attend import Projections, cut, joined, repeated
from .._cloud import Cloud, add, each, normalise, recentre, settle, shaken, stretch
from .._cloud_attention import attend as attend_by_scores
from .._cloud_attention import attend_fixed
from .._layers import (
    activate,
    contract_mean,
    features_scaled,
    layer_norm,
    product,
    reach_similarity,
    shifted,
)
from .._namespace import Array, namespace
from .hooks import hooked

__all__ = [
    "activate",
    "add",
    "attend",
    "deescalated",
    "features_scaled",
    "linear",
    "norm",
    "product",
    "stretch",
    "sum_of_heads",
]


def linear(x: Cloud, W: Array | None, bias: Array | None) -> Cloud:
    """Return x W + bias."""
    y = x if W is None else _cloud.linear(x, W)
    return y if bias is None else shifted(y, bias)


def norm(x: Cloud, kind: str, gain: Array | None, bias: Array | None, eps: float) -> Cloud:
    """Return the norm of every token, times gain, plus bias."""
    if kind == "sphere":  # of length 1, where root mean square 1 is length sqrt(d)
        xp, d = namespace(x.rest), int(x.rest.shape[-1])
        unit = xp.full((1, 1, d), d**-0.5, dtype=x.rest.dtype, device=x.rest.device)
        gain = unit if gain is None else gain * unit
    return layer_norm(x, gain, bias, eps, centring=kind == "layer")


def attend(x: Cloud, attention: Any, values: Callable[[Cloud], Cloud], heads: int, value_heads: int) -> Cloud:
    """Return A values(x), head by head."""

    def own(y: Cloud) -> Cloud:
        y = values(y)
        return y if value_heads == heads else _repeated(y, value_heads, heads)

    if isinstance(attention, Projections):
        return attend_by_scores(x, attention, own)
    return attend_fixed(own(x), attention, heads)


def _repeated(x: Cloud, own: int, heads: int) -> Cloud:
    def several(part: Array) -> Array:
        return joined(repeated(cut(part, own), heads))

    return replace(x, centre=several(x.centre), rest=several(x.rest))


def sum_of_heads(x: Cloud, heads: int) -> Cloud:
    """Add up (n, heads d) features to (n, d)."""
    xp = namespace(x.rest)

    def total(part: Array, number: int) -> Array:
        parts = cut(part, heads)
        return shaken(x, xp.sum(parts, axis=1), xp.sum(xp.abs(parts), axis=1), number)

    return normalise(replace(x, centre=total(x.centre, 0), rest=total(x.rest, 1), count=x.count + 1))


def deescalated(x: Cloud, step: Any, strength: Array | None, layer: int) -> Cloud:
    """Take away some of what all tokens share."""
    if strength is None:
        return hooked(x, step.function, layer)
    x = recentre(x)
    strength = each(strength, x)
    x = contract_mean(x, 1 - strength) if step.similarity is None else reach_similarity(x, strength)
    return settle(x)
