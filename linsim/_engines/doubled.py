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
from .._eigen import doubly_stochastic
from .._general_eigen import column_sums, row_sums
from .._state import EMPTY, State, log2, norm, plain_state, shifted
from .._types import EPS, FloatArray
from ._ahead import kept

__all__ = ["ROUNDING", "cost", "general", "states", "stochastic"]

# Size of the twin's move, relative to the terms of a layer, and by how much the distance of
# the twins is enlarged: by the luck of one draw it may be that much too small once in a
# thousand times.  Together they stay far below the rounding of a double.
_MOVE, _SAFETY = 2.0**-100, 2.0**10
_PATTERNS = 16
# exponent of the smallest scale of a feature: what is sliced must stay in the range of doubles
_SMALLEST = -400

#: relative rounding of a part that is handed out
ROUNDING = EPS


def cost(n: int, d: int, heads: int, layers: int) -> float:
    """Operations for one system: products of slices, twice for the twin."""
    return 2 * 17 * 2.0 * n * d * (n + d) * heads * layers + 1e5 * layers


def stochastic(A: FloatArray) -> Pair:
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


def general(A: FloatArray, eps: float) -> Pair:
    """Any other attention: rows, and columns, that sum to one number do so to twice the digits."""
    n = A.shape[-1]
    rows, columns = row_sums(A, eps), column_sums(A, eps)
    columns = np.where(np.isnan(rows) | np.isnan(columns), columns, rows)
    out = of(A)
    for axis, sums in ((-1, rows), (-2, columns)):
        wanted = np.where(np.isnan(sums), 0.0, sums)[:, None, None]
        found = total(out, axis)
        less = divide(
            add(found, minus(of(wanted + np.zeros_like(found[0])))), of(np.full_like(found[0], float(n)))
        )
        known = ~np.isnan(sums)[:, None, None]
        less = np.where(known, less[0], 0.0), np.where(known, less[1], 0.0)
        out = add(out, minus(spread(less, A.shape)))
    return out


def states(
    x0: FloatArray,
    heads: Callable[[int], Sequence[tuple[Sliced, Pair, FloatArray]]],
    layers: Sequence[int],
    drive: Callable[[int], FloatArray | None] = lambda layer: None,
) -> Iterator[State]:
    """Yield the state at each of the sorted ``layers``; ``x0`` (b, n, d).

    ``heads(layer)``: attention, sliced for sums of max(n, d) terms, weights, and the largest
    entry of each row of attention, (b or 1, n, 1); none where a rule has ended.  ``drive(layer)``:
    what is added to every token, (b or 1, 1, d), None for nothing.
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
            added = drive(layer)
            X, twin, e = _scaled(X, twin, e, added)
            move = pool[layer % _PATTERNS] if layer // _PATTERNS % 2 else -pool[layer % _PATTERNS]
            pairs = heads(layer)
            X, size = _layer(X, pairs, inner)
            twin, other = _layer(twin, pairs, inner)
            size = np.maximum(size, other)  # where they have parted, a move must be seen in either
            if added is not None:
                row = np.broadcast_to(_at_scale(added, e), X[0].shape)
                X, twin, size = add(X, of(row)), add(twin, of(row)), size + np.abs(row)
            twin = add(twin, of(_MOVE * size * move))
            layer += 1
        yield replace(_state(X, twin, e), attention=functools.partial(_attention, heads, layer))


def _attention(
    heads: Callable[[int], Sequence[tuple[Sliced, Pair, FloatArray]]], layer: int
) -> list[FloatArray]:
    # slices, each below the one before, add up to the doubles that they were cut from
    return [functools.reduce(np.add, reversed(A.slices)) for A, _, _ in heads(layer)]


def _at_scale(added: FloatArray, e: FloatArray) -> FloatArray:
    """The row that is added over 2**e, 0 far below it."""
    fraction, power = np.frexp(added)
    return np.asarray(np.ldexp(fraction, np.clip(power - e, -2000, 1000).astype(int)))


def _scaled(
    X: Pair, twin: Pair, e: FloatArray, added: FloatArray | None = None
) -> tuple[Pair, Pair, FloatArray]:
    top = np.maximum(*(np.max(np.abs(x[0]), axis=(-1, -2), keepdims=True) for x in (X, twin)))
    if added is not None:  # it has to fit as well
        top = np.maximum(top, np.max(np.abs(_at_scale(added, e)), axis=(-1, -2), keepdims=True))
    exponent = np.where(top > 0, np.frexp(np.where(top > 0, top, 1.0))[1], 0)
    half = exponent // 2
    for by in (half, exponent - half):
        X, twin = (scale(x, np.ldexp(1.0, -by)) for x in (X, twin))
    return X, twin, e + exponent


def _layer(X: Pair, heads: Sequence[tuple[Sliced, Pair, FloatArray]], inner: int) -> tuple[Pair, FloatArray]:
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


def _state(X: Pair, twin: Pair, e: FloatArray) -> State:
    # a twin whose centre is far off still tells how far off the small rest is: each part by itself
    (centre, rest), (other_centre, other_rest) = _cut(X), _cut(twin)
    apart, rest_apart = add(twin, minus(X))[0], add(other_rest, minus(rest))[0]
    common = add(other_centre, minus(centre))[0]

    def length(x: FloatArray) -> FloatArray:
        return np.sqrt(np.sum(x * x, axis=-1, keepdims=True))

    rows = _SAFETY * length(apart) + EPS * length(X[0])
    noise_row = _SAFETY * length(common) + EPS * length(centre[0])
    noise_rest = _SAFETY * norm(rest_apart) + EPS * norm(rest[0])
    found = plain_state(X[0], centre[0], rest[0], log2(noise_row), log2(noise_rest), log2(rows))
    nothing = ~np.any((X[0] != 0) | (twin[0] != 0), axis=(-1, -2), keepdims=True)
    return shifted(found, np.where(nothing, EMPTY, e))


def _cut(X: Pair) -> tuple[Pair, Pair]:
    """The mean over tokens, and the rest."""
    centre = divide(total(X, -2), of(np.full_like(X[0][:, :1, :], float(X[0].shape[-2]))))
    return centre, add(X, minus(spread(centre, X[0].shape)))
