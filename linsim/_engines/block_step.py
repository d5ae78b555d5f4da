"""One layer of a Transformer, written once: on clouds of tokens, and on plain ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from .._namespace import Array
from .block_parts import Map, Parts

__all__ = ["Arithmetic", "normed", "step"]

X = TypeVar("X")


class Arithmetic(Protocol[X]):
    """What a layer does to tokens; every matrix has leading axis k or 1."""

    def linear(self, x: X, W: Array | None, bias: Array | None) -> X:
        """x W + bias."""

    def norm(self, x: X, kind: str, gain: Array | None, bias: Array | None, eps: float) -> X:
        """The norm of every token, times gain, plus bias."""

    def attend(self, x: X, attention: Any, values: Callable[[X], X], heads: int, value_heads: int) -> X:
        """A values(x), head by head; ``attention`` is A, or projections to work it out with."""

    def sum_of_heads(self, x: X, heads: int) -> X:
        """Add up (n, heads d) features to (n, d)."""

    def add(self, x: X, y: X) -> X:
        """x + y."""

    def stretch(self, x: X, factor: Any) -> X:
        """x times a number, or (k, 1, 1)."""

    def features_scaled(self, x: X, factor: Array) -> X:
        """Times (k or 1, 1, d), feature by feature."""

    def activate(self, x: X, name: str) -> X:
        """An activation of every entry."""

    def product(self, x: X, y: X) -> X:
        """Entry by entry."""

    def deescalated(self, x: X, step: Any, strength: Array | None, layer: int) -> X:
        """Some of what all tokens share taken away."""


def normed(x: X, parts: Parts, ops: Arithmetic[X], which: str = "") -> X:
    """Apply the norm of the attention, or the one whose gain and bias begin with ``which``."""
    block, arrays = parts.block, parts.arrays

    def own(name: str) -> Array | None:
        return arrays.get(which + name, arrays.get(name))

    assert block.norm_eps is not None
    return ops.norm(x, block.norm_kind, own("gain"), own("bias"), block.norm_eps)


def step(x: X, parts: Parts, attention: Any, weights: Mapping[str, Map], ops: Arithmetic[X], layer: int) -> X:
    """Return the tokens behind layer ``layer``, counted from 1."""
    block, factors = parts.block, parts.factors
    pre, post = block.norm == "pre", block.norm == "post"

    steps: Any = block.deescalation

    def at(place: str, x: X) -> X:
        for one, strength in zip(steps, parts.strengths, strict=True):
            if one.place == place:
                x = ops.deescalated(x, one, strength, layer)
        return x

    def branch(y: X, which: str) -> X:
        scale = parts.arrays.get(which + "layer_scale", parts.arrays.get("layer_scale"))
        y = y if scale is None else ops.features_scaled(y, scale)
        return _times(y, factors[which + "branch"], ops)

    def added(x: X, y: X, residual: Any) -> X:
        return y if _is(residual, 0) else ops.add(_times(x, residual, ops), y)

    y = at("branch", _attended(normed(x, parts, ops) if pre else x, parts, attention, weights, ops))
    both = added(x, branch(y, ""), factors["residual"])
    x = x if block.parallel else at("attention", both)
    if post:
        x = at("norm", normed(x, parts, ops))
    if block.feed_forward is not None:
        which = "feed_forward_"
        y = _fed_forward(normed(x, parts, ops, which) if pre else x, parts, weights, ops)
        y = branch(y, which)
        x = ops.add(both, y) if block.parallel else added(x, y, factors[which + "residual"])
        x = at("feed_forward", x)
        x = normed(x, parts, ops, which) if post else x
    return at("output", x)


def _is(factor: Any, number: float) -> bool:
    """Whether a factor is this number for all systems."""
    return isinstance(factor, float) and factor == number


def _times(x: X, factor: Any, ops: Arithmetic[X]) -> X:
    return x if _is(factor, 1) else ops.stretch(x, factor)


def _attended(x: X, parts: Parts, attention: Any, weights: Mapping[str, Map], ops: Arithmetic[X]) -> X:
    heads = parts.block.head_count
    value, own = weights.get("value"), heads
    if parts.block.value is not None:
        # values of fewer heads are shared
        own = int(weights["value"][0].shape[-1]) * heads // int(weights["output"][0].shape[-2])  # type: ignore[union-attr]

    def values(x: X) -> X:
        return x if value is None else ops.linear(x, *value)

    y = ops.attend(x, attention, values, heads, own)
    if "output" in weights:
        return ops.linear(y, *weights["output"])
    return ops.sum_of_heads(y, heads)


def _fed_forward(x: X, parts: Parts, weights: Mapping[str, Map], ops: Arithmetic[X]) -> X:
    activation = parts.block.activation
    assert activation is not None
    up = ops.linear(x, *weights["up"])
    if "gate" in weights:
        up = ops.product(ops.activate(ops.linear(x, *weights["gate"]), activation), up)
    else:
        up = ops.activate(up, activation)
    return ops.linear(up, *weights["down"])
