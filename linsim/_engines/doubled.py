"""Layer by layer with twice the digits, for systems in which double precision loses too many.

The whole state is held as pairs of doubles (``linsim._double``).  Nothing is split off:
32 digits resolve what a plain loop in double precision could ever show, and more.
A twin runs along that is moved after every layer by more than its rounding, so that where
the two part tells how far rounding has grown, whatever the matrices do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from .._double import Pair, Sliced, add, divide, matmul, minus, of, scale, sliced, spread, total
from .._eigen import F, doubly_stochastic
from .._state import EMPTY, State, log2, norm, plain_state, shifted
from ._ahead import kept

__all__ = ["ROUNDING", "cost", "states", "stochastic"]

# Size of the twin's move, relative to the terms of a layer, and by how much the distance of
# the twins is enlarged: by the luck of one draw it may be that much too small once in a
# thousand times.  Together they stay far below the rounding of a double.
_MOVE, _SAFETY = 2.0**-100, 2.0**10
_EPS = float(np.finfo(np.float64).eps)
_PATTERNS = 16
# exponent of the smallest scale of a feature: what is sliced must stay in the range of doubles
_SMALLEST = -400

#: relative rounding of a part that is handed out
ROUNDING = _EPS


def cost(n: int, d: int, heads: int, layers: int) -> float:
    """Operations for one system: products of slices, twice for the twin."""
    return 2 * 17 * 2.0 * n * d * (n + d) * heads * layers + 1e5 * layers


def stochastic(A: F) -> Pair:
    """Attention with row sums of 1 to twice the digits; column sums too where they were meant to be.

    Rows are divided by their sums; a matrix that keeps token means becomes
    Pi + (I - Pi) A (I - Pi).
    """
    n = A.shape[-1]
    keeps = doubly_stochastic(A)[:, None, None]
    rows, columns = total(of(A), -1), total(of(A), -2)
    normalised = divide(of(A), spread(rows, A.shape))
    grand = total(rows, -2)
    one = of(np.full_like(grand[0], float(n)))

    def share(x: Pair, times: int) -> Pair:
        return divide(x, of(np.full_like(x[0], float(times))))

    rest = add(of(A), minus(spread(share(rows, n), A.shape)))
    rest = add(rest, minus(spread(share(columns, n), A.shape)))
    middle = share(add(grand, one), n * n)
    both = add(rest, spread(middle, A.shape))
    return np.where(keeps, both[0], normalised[0]), np.where(keeps, both[1], normalised[1])


def states(
    x0: F,
    heads: Callable[[int], Sequence[tuple[Sliced, Pair, F]]],
    layers: Sequence[int],
) -> Iterator[State]:
    """Yield the state at each of the sorted ``layers``; ``x0`` (b, n, d).

    ``heads(layer)``: attention, sliced for sums of max(n, d) terms, weights, and the largest
    entry of each row of attention, (b or 1, n, 1); none where a rule has ended.
    """
    heads = kept(heads)
    b, n, d = x0.shape
    inner = max(n, d)
    pool = np.random.default_rng(0).standard_normal((_PATTERNS, n, d))
    e = np.zeros((b, 1, 1))
    X = twin = of(x0)
    layer = 0
    for target in layers:
        while layer < target:
            X, twin, e = _scaled(X, twin, e)
            move = pool[layer % _PATTERNS] if layer // _PATTERNS % 2 else -pool[layer % _PATTERNS]
            pairs = heads(layer)
            X, size = _layer(X, pairs, inner)
            twin, other = _layer(twin, pairs, inner)
            size = np.maximum(size, other)  # where they have parted, a move must be seen in either
            twin = add(twin, of(_MOVE * size * move))
            layer += 1
        yield replace(_state(X, twin, e), attention=functools.partial(_attention, heads, layer))


def _attention(heads: Callable[[int], Sequence[tuple[Sliced, Pair, F]]], layer: int) -> list[F]:
    # slices, each below the one before, add up to the doubles that they were cut from
    return [functools.reduce(np.add, reversed(A.slices)) for A, _, _ in heads(layer)]


def _scaled(X: Pair, twin: Pair, e: F) -> tuple[Pair, Pair, F]:
    top = np.maximum(*(np.max(np.abs(x[0]), axis=(-1, -2), keepdims=True) for x in (X, twin)))
    exponent = np.where(top > 0, np.frexp(np.where(top > 0, top, 1.0))[1], 0)
    half = exponent // 2
    for by in (half, exponent - half):
        X, twin = (scale(x, np.ldexp(1.0, -by)) for x in (X, twin))
    return X, twin, e + exponent


def _layer(X: Pair, heads: Sequence[tuple[Sliced, Pair, F]], inner: int) -> tuple[Pair, F]:
    """X + sum_h A_h X H_h, and how large the terms of each entry are, (b, n, d).

    Slices of a row reach so far below its largest entry.  Each feature is brought to a scale of its
    own first, so that a small one that large ones do not feed keeps its digits.
    """
    out, size = X, np.abs(X[0])
    top = np.max(size, axis=-2, keepdims=True)
    own = np.ldexp(1.0, np.clip(np.frexp(np.where(top > 0, top, 1.0))[1], _SMALLEST, None))
    even = scale(X, 1 / own)
    left = sliced(even, inner, -1)
    rows = np.max(np.abs(even[0]), axis=-1, keepdims=True)
    for A, H, largest in heads:
        weights = scale(H, np.swapaxes(own, -1, -2))
        moved = matmul(left, sliced(weights, inner, -2))
        terms = np.abs(moved[0]) + rows * np.max(np.abs(weights[0]), axis=-2, keepdims=True)
        out = add(out, matmul(A, sliced(moved, inner, -2)))
        size = size + largest * np.max(terms, axis=-2, keepdims=True)
    return out, size


def _state(X: Pair, twin: Pair, e: F) -> State:
    # a twin whose centre is far off still tells how far off the small rest is: each part by itself
    (centre, rest), (other_centre, other_rest) = _cut(X), _cut(twin)
    apart, rest_apart = add(twin, minus(X))[0], add(other_rest, minus(rest))[0]
    common = add(other_centre, minus(centre))[0]

    def length(x: F) -> F:
        return np.sqrt(np.sum(x * x, axis=-1, keepdims=True))

    rows = _SAFETY * length(apart) + _EPS * length(X[0])
    noise_row = _SAFETY * length(common) + _EPS * length(centre[0])
    noise_rest = _SAFETY * norm(rest_apart) + _EPS * norm(rest[0])
    found = plain_state(X[0], centre[0], rest[0], log2(noise_row), log2(noise_rest), log2(rows))
    nothing = ~np.any((X[0] != 0) | (twin[0] != 0), axis=(-1, -2), keepdims=True)
    return shifted(found, np.where(nothing, EMPTY, e))


def _cut(X: Pair) -> tuple[Pair, Pair]:
    """The mean over tokens, and the rest."""
    centre = divide(total(X, -2), of(np.full_like(X[0][:, :1, :], float(X[0].shape[-2]))))
    return centre, add(X, minus(spread(centre, X[0].shape)))
