"""Small blocks on plain numbers, many layers by one compiled call: :mod:`.forward_error` does the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _kernels
from .._attend import Projections
from .._types import EPS, HostArray
from .block_parts import Map, Parts
from .blocks import numbers_of
from .forward_error import CLOSE, FAR, normal

__all__ = ["SMALL", "Small", "small"]

#: numbers that one system holds in a layer, up to which calls cost more than arithmetic
SMALL = 2**14
_ACTIVATIONS = {None: 0, "linear": 1, "relu": 2, "gelu": 3}
_NORMS = {None: 0, "pre": 1, "post": 2}
_KINDS = {"layer": 0, "rms": 1, "sphere": 2}
_NONE, _NO_BIAS, _NOTHING = np.zeros((1, 0, 0)), np.zeros((1, 1, 0)), np.zeros((1, 1, 0, 0))


def small(parts: Parts, n: int, d: int) -> bool:
    """Whether a compiled layer does all that a block does to (n, d) tokens, and sooner."""
    block: Any = parts.block
    return (
        numbers_of(block, n, d) <= SMALL
        and all(type(M) is np.ndarray for M in parts.arrays.values())
        and getattr(block.A, "rotary", None) is None
        and not block.deescalation
        and not block.gated
        and block.activation in _ACTIVATIONS
        and _kernels.ready("blocks", "float64")
    )


class Small:
    """Tokens (k, n, d) and their copies, as :class:`.forward_error.Beside`, several layers a call."""

    def __init__(self, x: HostArray) -> None:
        _, n, d = x.shape
        numbers = normal(n * d).reshape(n, d)
        self.x = np.array(x.mT, order="C")
        self.off = CLOSE / EPS * np.abs(self.x) * numbers.T
        self.factor = np.full(len(x), CLOSE / EPS)
        self.numbers = np.stack([numbers.T, numbers[::-1, ::-1].T])
        self.layer = 0

    def through(
        self, parts: Parts, attention: Any, weights: Mapping[str, Map], layers: Sequence[int]
    ) -> tuple[HostArray, HostArray, HostArray]:
        """Go to the last of ``layers``; return tokens, off and factor, (layers k, ., .), of all of them."""
        k, d, n = self.x.shape
        out = (np.empty((len(layers), k, n, d)), np.empty((len(layers), k, n, d)), np.empty((len(layers), k)))
        _kernels.announce(_walk(), "float64")
        _walk()(
            self.x,
            self.off,
            self.factor,
            self.numbers,
            CLOSE,
            FAR,
            self.layer,
            np.array(layers),
            *_arguments(parts, attention, weights, k, n, d),
            out,
        )
        self.layer = int(layers[-1])
        return out


def _walk() -> Any:
    from .._kernels.blocks import walk

    return walk


def _arguments(
    parts: Parts, attention: Any, weights: Mapping[str, Map], k: int, n: int, d: int
) -> tuple[Any, ...]:
    """What the compiled layer takes of a block."""
    block: Any = parts.block
    heads, arrays = block.head_count, parts.arrays
    at = attention if isinstance(attention, Projections) else None
    maps = dict(weights)
    if at is not None:
        maps |= {"query": (at.query, at.query_bias), "key": (at.key, at.key_bias)}
    flat = []
    for name in ("query", "key", "value", "output", "up", "down"):
        W, bias = maps.get(name, (None, None))
        flat += [_or(W, _NONE), _or(bias, _NO_BIAS)]

    def columns(name: str, otherwise: int) -> int:
        W = maps.get(name, (None, None))[0]
        return otherwise if W is None else int(W.shape[-1])

    q = columns("query", d)
    key, value, hidden = columns("key", d), columns("value", d), columns("up", 0)
    output = maps.get("output", (None, None))[0]
    mixed = int(output.shape[-2]) if output is not None else value
    value_heads = value * heads // mixed
    factors = np.empty((k, 4))
    for place, name in enumerate(("residual", "branch", "feed_forward_residual", "feed_forward_branch")):
        factors[:, place] = np.reshape(parts.factors[name], -1)
    own = [arrays.get(name) for name in ("gain", "bias", "layer_scale")]
    second = [
        arrays.get(f"feed_forward_{name}", arrays.get(name)) for name in ("gain", "bias", "layer_scale")
    ]
    vectors = tuple(_or(x, _NO_BIAS) for x in (*own, *second))
    choices = (
        _NORMS[block.norm],
        _KINDS[block.norm_kind],
        heads,
        1 if at is None else at.key_heads,
        value_heads,
        int(at is not None and at.normalized),
        int(at is None),
        _ACTIVATIONS[block.activation],
        int(block.parallel),
    )
    A = _added(at, n) if at is not None else attention
    sizes = (q, key, value, mixed, hidden)
    return choices, factors, float(block.norm_eps), tuple(flat), vectors, _or(A, _NOTHING, turn=True), sizes


def _added(at: Projections, n: int) -> HostArray | None:
    """What is added to scores: a bias, and -inf where they are masked."""
    if at.mask is None:
        return at.bias
    bias = np.zeros((1, 1, n, n)) if at.bias is None else at.bias
    return np.where(at.mask, bias, -np.inf)


def _or(M: HostArray | None, otherwise: HostArray, *, turn: bool = False) -> HostArray:
    """A matrix as kernels take it, each transposed if wished for."""
    if M is None:
        return _kernels.frozen(otherwise)
    return _kernels.frozen(M.mT if turn else M)
