"""How large errors that travel along are: ``Shadows.measured`` of :mod:`linsim._shadow`, compiled."""

from __future__ import annotations

import math

import numba as nb

from .kept import UNCOUNTED
from .lanes import WIDTH, fma, load, load_pair, magnitude, splat, splat_pair, total, where, widen
from .layer import power_of_two
from .parts import EMPTY, IN_A, IN_B, IN_MEAN, IN_R, IN_ROW
from .products import columns, rows

__all__ = ["measure"]

# sums in any order, as many terms at once as registers hold
_SUMMED = {**UNCOUNTED, "fastmath": {"reassoc", "contract", "nsz"}}

# the least normal number of single precision
_LEAST = 2.0**-126


@nb.njit(**_SUMMED)
def _square(x):
    """Return the sum of squares of a flat array."""
    out = 0.0
    for j in range(x.size):
        out += float(x[j]) * float(x[j])
    return out


@nb.njit(**UNCOUNTED)
def _row_squares(X, first, count, n, d, x, y, along, across, factor, out):
    """Write sums of squares of the rows of x along + y across + factor R; return that of R itself.

    ``along``, ``across``: float64, as long as there are stored columns.  Rows may be far smaller than the
    largest one, so they are squared in double precision.  Entries below the least normal number do not
    shrink any more when their row does: they are none.
    """
    w = WIDTH // X.itemsize
    stored = columns(d, X.itemsize)
    scale, least, none = splat_pair(along, factor), splat(X, _LEAST), splat(X, 0.0)
    whole = 0.0
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        at = column * count + first * width
        own = none
        for i in range(n):
            one, two = splat_pair(along, x[i]), splat_pair(along, y[i])
            square = splat_pair(along, 0.0)
            for j in range(0, width, w):
                entry = load(X, at + j)
                own = fma(entry, entry, own)
                entry = where(magnitude(entry) >= least, entry, none)
                t = load_pair(along, column + j) * one
                t = fma(load_pair(across, column + j), two, fma(widen(entry), scale, t))
                square = fma(t, t, square)
            out[i] = total(square) if column == 0 else out[i] + total(square)
            at += width
        whole += total(own)
    return whole


@nb.njit(**UNCOUNTED)
def _mean_square(squares, exponents, safety):
    """log2 of ``safety`` times the root mean square of lengths of which squares and exponents are given."""
    top = EMPTY
    for k in range(squares.size):
        if squares[k] > 0:
            top = max(top, exponents[k])
    mean = 0.0
    for k in range(squares.size):
        mean += squares[k] * power_of_two(2 * (exponents[k] - top)) if squares[k] > 0 else 0.0
    return top + 0.5 * math.log2(mean / squares.size) + math.log2(safety) if mean > 0 else EMPTY


@nb.njit(**UNCOUNTED)
def measure(errors, n, d, cut, safety, noise, noise_rows, room):
    """Write the noise of every part (5,) and of every token (n,), log2 of ``safety`` times a mean length.

    ``room``: squares (copies, n) of tokens, (5, copies) of parts, the exponents of both (6, copies), and two
    rows of stored columns, float64.
    """
    X, r, b, a, mean, e = errors
    _, v, _, z, _ = cut
    height, stored, copies = rows(n), columns(d, X.itemsize), a.size
    tokens, squares, exponents, along, across = room
    highest = EMPTY
    for k in range(copies):
        own_r, own_b = r[k * stored : (k + 1) * stored], b[k * height : (k + 1) * height]
        # the tokens themselves: v (a z + r) + b z + R at one scale
        top = max(max(e[k, IN_A], e[k, IN_ROW]), max(e[k, IN_B], e[k, IN_R]))
        f_a, f_r = power_of_two(e[k, IN_A] - top) * a[k], power_of_two(e[k, IN_ROW] - top)
        f_b = power_of_two(e[k, IN_B] - top)
        for j in range(stored):
            along[j] = f_a * z[j] + f_r * own_r[j]
            across[j] = f_b * z[j]
        squares[IN_R, k] = _row_squares(
            X, k * height, copies * height, n, d, v, own_b, along, across, power_of_two(e[k, IN_R] - top),
            tokens[k],
        )  # fmt: skip
        squares[IN_A, k] = float(a[k]) * float(a[k])
        squares[IN_ROW, k], squares[IN_B, k] = _square(own_r), _square(own_b)
        squares[IN_MEAN, k] = _square(mean[k * stored : (k + 1) * stored])
        for p in range(5):
            exponents[p, k] = e[k, p]
        exponents[5, k] = top
        highest = max(highest, top)
    for p in range(5):
        noise[p] = _mean_square(squares[p], exponents[p], safety)
    scale = highest + math.log2(safety) - 0.5 * math.log2(float(copies))
    for k in range(copies):
        exponents[5, k] = power_of_two(2 * (exponents[5, k] - highest))
    for i in range(n):
        square = 0.0
        for k in range(copies):
            square += tokens[k, i] * exponents[5, k]
        noise_rows[i] = scale + 0.5 * math.log2(square) if square > 0 else EMPTY
