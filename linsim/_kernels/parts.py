"""Invariant parts of a state through the layers: :mod:`linsim._engines.steps`, compiled.

The parts (see :mod:`linsim._state`) of a state, or of several errors of one (``copies``), are held as

    X     the rest R of all copies, one below the other, in panels (:mod:`.panels`)
    r, b  flat: stored columns, or rows, of each copy
    a     (copies,)
    mean  as r
    e     (copies, 5) float64, exponents in the order of linsim._state.PARTS

and the vectors that cut them as (u, v, w, z, (lam, mu)), w and z as long as there are stored columns.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .lanes import WIDTH, load, splat, store
from .layer import power_of_two
from .panels import add_outer, peak, row_products, scale_rows, weighted_rows
from .products import add_product, columns, pack_rows, rows, unpack

__all__ = [
    "EMPTY",
    "IN_A",
    "IN_B",
    "IN_MEAN",
    "IN_R",
    "IN_ROW",
    "add",
    "advance",
    "dot",
    "length",
    "lower",
    "normalise",
    "place_attention",
    "place_weights",
    "write_errors",
    "write_parts",
]

# called from compiled code alone: no wrappers, and kept with their callers
_COMPILE = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# sums in any order, as many terms at once as registers hold
_SUMMED = {**_COMPILE, "fastmath": {"reassoc", "contract", "nsz"}}

#: the exponent of a part that is exactly zero, as in linsim._state
EMPTY = -(2.0**60)
#: places in linsim._state.PARTS
IN_A, IN_ROW, IN_B, IN_R, IN_MEAN = 0, 1, 2, 3, 4


@nb.njit(**_SUMMED)
def dot(M, o, x, n):
    """Return the sum of M[o + j] x[j]."""
    out = 0.0
    for j in range(n):
        out += M[o + j] * x[j]
    return out


@nb.njit(**_SUMMED)
def length(x):
    """Euclidean length of a flat array."""
    return math.sqrt(_square(x))


@nb.njit(**_COMPILE)
def place_attention(A, left, left32, squares, h):
    """Write A (n, n) as the left factor of head h, rows padded; return its Frobenius norm.

    ``squares``: of its entries, written, one column after the other, each padded to whole vectors.
    """
    n = A.shape[0]
    stored = columns(n, squares.itemsize)
    at, to, square = h * rows(n) * n, h * n * stored, 0.0
    for i in range(n):
        row = A[i]
        own, own32 = left[at : at + n], left32[at : at + n]
        for j in range(n):
            own[j] = row[j]
            own32[j] = row[j]
        for j in range(n):
            squares[to + j * stored + i] = float(row[j]) * float(row[j])
        square += _square(row)
        at += n
    return math.sqrt(square)


@nb.njit(**_COMPILE)
def place_weights(H, right, right32, norms, h):
    """Write H (d, d) as the right factor of head h, in panels; return its Frobenius norm.

    ``norms`` (stored columns,): of its columns, written.
    """
    d = H.shape[0]
    norms[:] = 0.0
    pack_rows(H, right, h * d * columns(d, right.itemsize))
    pack_rows(H, right32, h * d * columns(d, right32.itemsize))
    for i in range(d):
        row = H[i]
        for j in range(d):
            norms[j] += float(row[j]) * float(row[j])
    square = 0.0
    for j in range(d):
        square += norms[j]
        norms[j] = math.sqrt(norms[j])
    return math.sqrt(square)


@nb.njit(**_SUMMED)
def _square(x):
    """Sum of squares of a flat array."""
    out = 0.0
    for k in range(x.size):
        out += float(x[k]) * float(x[k])
    return out


@nb.njit(**_COMPILE)
def advance(parts, T, n, d, heads, left, right, cut, coupled, has_z, any_mean, means, fed, column):
    """Take parts through a layer: ``_step`` of linsim._engines.steps.

    ``T``: room for X twice; ``means``: what columns of attention sum to, where the mean is carried
    (``any_mean``); ``fed``: room for a row; ``column``: for one number of each row.
    """
    X, r, b, a, mean, e = parts
    u, v, w, z, (lam, mu) = cut
    copies, height, stored = a.size, rows(n), columns(d, X.itemsize)
    count, wide = copies * height, d * stored
    # numbers as variables: every constant would be compiled a function of its own
    begin, fresh = 0 * n, n < 0
    whole = 4 * (WIDTH // X.itemsize)
    source, o = X, begin
    if heads > 1:  # every head starts from the state before the layer
        source, o = T, count * stored
        T[o:] = X
    for h in range(heads):
        # T = X H, one panel after the other, each from panel by panel of X
        for first in range(0, d, whole):
            for start in range(0, d, whole):
                width = min(whole, stored - start)
                add_product(
                    source, o + start * count, width, right, h * wide + first * d, d, start, T,
                    first * count, count, begin, count, min(width, d - start), min(whole, d - first),
                    start == 0,
                )  # fmt: skip
        for k in range(copies):
            add_product(
                left, h * height * n, n, T, begin, count, k * height, X, begin, count, k * height,
                (k + 1) * height, n, d, fresh,
            )  # fmt: skip
    for k in range(copies):
        row = r[k * stored : (k + 1) * stored]
        _through_weights(row, d, heads, right, lam, fed)
        weighted_rows(u, X, begin, k * height, count, n, d, fed)
        for i in range(n):
            column[i] = -v[i]
        add_outer(X, k * height, count, n, d, column, fed)
        if coupled:
            factor = power_of_two(e[k, IN_R] - e[k, IN_ROW])
            for j in range(d):
                row[j] += fed[j] * factor
        if has_z:
            row_products(X, k * height, count, n, d, w, column)
            share = 0.0
            for j in range(d):
                share += row[j] * w[j]
            for i in range(n):
                column[i] = -column[i]
            for j in range(d):
                row[j] -= share * z[j]
            add_outer(X, k * height, count, n, d, column, z)
            own = b[k * height : (k + 1) * height]
            for i in range(n):
                column[i] = own[i] + mu * dot(left, i * n, own, n)
            share = 0.0
            for i in range(n):
                share += u[i] * column[i]
            for i in range(n):
                own[i] = column[i] - v[i] * share
            a[k] = (1 + lam * mu) * a[k]
        if any_mean:
            _through_weights(mean[k * stored : (k + 1) * stored], d, heads, right, means, fed)


@nb.njit(**_COMPILE)
def _through_weights(row, d, heads, right, lam, fed):
    """row += lam row (sum of H)."""
    stored, begin = columns(d, right.itemsize), 0 * d
    if heads == 1:
        weighted_rows(row, right, begin, begin, d, d, d, fed)
        for j in range(d):
            row[j] += lam * fed[j]
        return
    all_ = np.zeros(stored)
    for h in range(heads):
        weighted_rows(row, right, h * d * stored, begin, d, d, d, fed)
        for j in range(d):
            all_[j] += fed[j]
    for j in range(d):
        row[j] += lam * all_[j]


@nb.njit(**_COMPILE)
def _exponent(x):
    """Return e with 2**e <= x < 2**(e + 1)."""
    return math.frexp(x)[1] - 1.0


@nb.njit(**_COMPILE)
def _top(x):
    out = 0.0
    for k in range(x.size):
        out = max(out, abs(x[k]))
    return float(out)


@nb.njit(**_COMPILE)
def _shifts(parts, n, d, k, coupled, shift, whole):
    """Write by how many powers of two each part of copy k is to be lowered, and its exponent then."""
    X, r, b, a, mean, e = parts
    height, stored = rows(n), columns(d, X.itemsize)
    shift[IN_A] = float(abs(a[k]))
    shift[IN_ROW] = _top(r[k * stored : k * stored + d])
    shift[IN_B] = _top(b[k * height : k * height + n])
    shift[IN_R] = peak(X, k * height, a.size * height, n, d)
    shift[IN_MEAN] = _top(mean[k * stored : k * stored + d])
    for p in range(5):
        if shift[p] > 0:
            shift[p] = _exponent(shift[p])
            whole[p] = e[k, p] + shift[p]
        else:
            shift[p], whole[p] = 0.0, EMPTY
    # what R feeds into r must be representable at r's scale
    if coupled and whole[IN_R] > whole[IN_ROW]:
        if whole[IN_ROW] > EMPTY:
            shift[IN_ROW] += whole[IN_R] - whole[IN_ROW]
        whole[IN_ROW] = whole[IN_R]


@nb.njit(**_COMPILE)
def _factors(shift):
    """2**-shift as two factors: each must fit a float as well."""
    half = math.floor(shift / 2)
    return power_of_two(-half), power_of_two(half - shift)


@nb.njit(**_COMPILE)
def _scale(x, shift):
    one, two = _factors(shift)
    for j in range(x.size):
        x[j] = x[j] * one * two


@nb.njit(**_COMPILE)
def normalise(parts, n, d, coupled):
    """Bring the largest entry of every part of every copy into [1, 2), exactly."""
    X, r, b, a, mean, e = parts
    height, stored = rows(n), columns(d, X.itemsize)
    shift, whole = np.zeros(5), np.zeros(5)
    for k in range(a.size):
        _shifts(parts, n, d, k, coupled, shift, whole)
        one, two = _factors(shift[IN_R])
        scale_rows(X, k * height, a.size * height, n, d, one, two)
        _scale(r[k * stored : (k + 1) * stored], shift[IN_ROW])
        _scale(b[k * height : (k + 1) * height], shift[IN_B])
        _scale(mean[k * stored : (k + 1) * stored], shift[IN_MEAN])
        one, two = _factors(shift[IN_A])
        a[k] = a[k] * one * two
        for p in range(5):
            e[k, p] = whole[p]


@nb.njit(**_COMPILE)
def lower(parts, n, d, e_added):
    """Bring no part of one state to a smaller scale than what is added to it, at ``e_added`` (5,)."""
    X, r, b, a, mean, e = parts
    for p in range(5):
        shift = e_added[p] - e[0, p]
        if shift <= 0:
            continue
        e[0, p] = e_added[p]
        one, two = _factors(shift)
        if p == IN_R:
            scale_rows(X, 0, rows(n), n, d, one, two)
        elif p == IN_ROW:
            _scale(r, shift)
        elif p == IN_B:
            _scale(b, shift)
        elif p == IN_MEAN:
            _scale(mean, shift)
        else:
            a[0] = a[0] * one * two


@nb.njit(**_COMPILE)
def add(parts, n, d, added, column):
    """Add what a layer gives every token to one state, at its scale; ``column``: room for n numbers.

    ``added``: r, b, a, mean, the rest as a column and a row, and the exponents, flat arrays.
    """
    X, r, b, a, mean, e = parts
    own_r, own_b, own_a, own_mean, along, across, e_added = added
    if e_added[IN_A] > EMPTY:
        a[0] += own_a[0] * power_of_two(e_added[IN_A] - e[0, IN_A])
    if e_added[IN_ROW] > EMPTY:
        _add_scaled(r, own_r, power_of_two(e_added[IN_ROW] - e[0, IN_ROW]))
    if e_added[IN_B] > EMPTY:
        _add_scaled(b, own_b, power_of_two(e_added[IN_B] - e[0, IN_B]))
    if e_added[IN_MEAN] > EMPTY:
        _add_scaled(mean, own_mean, power_of_two(e_added[IN_MEAN] - e[0, IN_MEAN]))
    if e_added[IN_R] > EMPTY:
        factor = power_of_two(e_added[IN_R] - e[0, IN_R])
        for i in range(n):
            column[i] = along[i] * factor
        add_outer(X, 0, rows(n), n, d, column, across)


@nb.njit(**_COMPILE)
def _add_scaled(x, y, factor):
    for j in range(x.size):
        x[j] += y[j] * factor


@nb.njit(**_COMPILE)
def write_parts(parts, n, d, coupled, to_a, to_r, to_b, to_R, to_mean, to_e):
    """Write the parts of one state as :func:`normalise` would leave them."""
    X, r, b, a, mean, _ = parts
    shift = np.zeros(5)
    _shifts(parts, n, d, 0 * n, coupled, shift, to_e)
    one, two = _factors(shift[IN_A])
    to_a[0] = a[0] * one * two
    _write_scaled(r, shift[IN_ROW], to_r)
    _write_scaled(b, shift[IN_B], to_b)
    _write_scaled(mean, shift[IN_MEAN], to_mean)
    one, two = _factors(shift[IN_R])
    w, height, stored = WIDTH // X.itemsize, rows(n), columns(d, X.itemsize)
    to, even = to_R.reshape(n * d), (d // w) * w
    f, g = splat(X, one), splat(X, two)
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        at, whole = column * height, max(min(width, even - column), 0)
        for i in range(n):
            for j in range(0, whole, w):
                store(to, i * d + column + j, load(X, at + j) * f * g)
            for j in range(whole, min(width, d - column)):
                to[i * d + column + j] = X[at + j] * one * two
            at += width


@nb.njit(**_COMPILE)
def _write_scaled(x, shift, to):
    one, two = _factors(shift)
    for j in range(to.size):
        to[j] = x[j] * one * two


@nb.njit(**_COMPILE)
def write_errors(errors, n, d, to_a, to_r, to_b, to_R, to_mean, to_e):
    """Write errors as they are, (copies, ...) each."""
    X, r, b, a, mean, e = errors
    copies, height, stored = a.size, rows(n), columns(d, X.itemsize)
    for k in range(copies):
        to_a[k, 0] = a[k]
        to_r[k, :], to_mean[k, :] = r[k * stored : k * stored + d], mean[k * stored : k * stored + d]
        to_b[k, :], to_e[k, :] = b[k * height : k * height + n], e[k]
        unpack(X, 0, copies * height, k * height, to_R[k])
