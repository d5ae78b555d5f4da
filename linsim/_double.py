"""Numbers held as the sum of two doubles, about 106 bits, for NumPy arrays.

A pair is (high, low) with high = fl(high + low).  Sums are Knuth's and Dekker's.
Products of matrices cut either side into slices of so few bits that the product of
two slices is exact in double precision, whatever the order in which BLAS sums it
(Ozaki, Ogita, Oishi and Rump 2012): the same digits come out on every processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._types import FloatArray

__all__ = ["Pair", "Sliced", "add", "divide", "matmul", "minus", "of", "scale", "sliced", "spread", "total"]

Pair = tuple[FloatArray, FloatArray]

# bits that a product of slices is carried to
_BITS = 106
_SPLITTER = 2.0**27 + 1


def of(x: FloatArray) -> Pair:
    """Return doubles as pairs."""
    return x, np.zeros_like(x)


def _two_sum(a: FloatArray, b: FloatArray) -> Pair:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _quick(a: FloatArray, b: FloatArray) -> Pair:
    """Sum of a and b with |a| >= |b|."""
    s = a + b
    return s, b - (s - a)


def _two_product(a: FloatArray, b: FloatArray) -> Pair:
    p = a * b
    t = _SPLITTER * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = _SPLITTER * b
    b_high = t - (t - b)
    b_low = b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def add(x: Pair, y: Pair) -> Pair:
    """Return x + y."""
    s, e = _two_sum(x[0], y[0])
    t, f = _two_sum(x[1], y[1])
    s, e = _quick(s, e + t)
    return _quick(s, e + f)


def minus(x: Pair) -> Pair:
    """Return -x."""
    return -x[0], -x[1]


def scale(x: Pair, factor: Any) -> Pair:
    """Return x times powers of two, exactly."""
    return x[0] * factor, x[1] * factor


def divide(x: Pair, y: Pair) -> Pair:
    """Return x / y, to a few units in the last place of a pair."""
    q = x[0] / y[0]
    p, e = _two_product(q, y[0])
    rest = ((x[0] - p) - e + x[1]) - q * y[1]
    return _quick(q, rest / y[0])


def spread(x: Pair, shape: tuple[int, ...]) -> Pair:
    """Return x broadcast to a shape."""
    return np.broadcast_to(x[0], shape), np.broadcast_to(x[1], shape)


def total(x: Pair, axis: int) -> Pair:
    """Sum over an axis, keeping it; halves are added to each other."""
    high, low = (np.moveaxis(part, axis, 0) for part in x)
    while len(high) > 1:
        half = len(high) // 2
        left = add((high[:half], low[:half]), (high[half : 2 * half], low[half : 2 * half]))
        high = np.concatenate([left[0], high[2 * half :]])
        low = np.concatenate([left[1], low[2 * half :]])
    return np.moveaxis(high, 0, axis), np.moveaxis(low, 0, axis)


@dataclass(frozen=True, eq=False)
class Sliced:
    """A factor of products as a sum of slices, each of ``bits`` bits below the one before."""

    slices: list[FloatArray]


def sliced(x: Pair, inner: int, axis: int) -> Sliced:
    """Cut a factor for sums of ``inner`` terms; ``axis``: the one that is summed over."""
    bits = (53 - int(np.ceil(np.log2(max(inner, 2))))) // 2
    high, low = x
    top = np.max(np.abs(high), axis=axis, keepdims=True)
    exponent = np.where(top > 0, np.frexp(np.where(top > 0, top, 1.0))[1], 0)
    out = []
    for k in range(1, -(-_BITS // bits) + 1):
        # adding and taking off rounds to multiples of 2^(exponent - k bits)
        coarse = np.ldexp(1.5, np.maximum(exponent - k * bits + 52, -1020))
        one = (high + coarse) - coarse
        out.append(one)
        high, low = _two_sum(high - one, low)
    return Sliced(out)


def matmul(x: Sliced, y: Sliced) -> Pair:
    """Return the product of two factors that were cut for the same number of terms."""
    count = len(x.slices)
    high = x.slices[0] @ y.slices[0]
    low = np.zeros_like(high)
    for together in range(1, count):
        part = x.slices[0] @ y.slices[together]
        for k in range(1, together + 1):
            term = x.slices[k] @ y.slices[together - k]
            # terms of one size: exact sums first, later ones need fewer digits than a double has
            if together == 1:
                part, rest = _two_sum(part, term)
                low = low + rest
            else:
                part = part + term
        high, rest = _two_sum(high, part)
        low = low + rest
    return _quick(high, low)
