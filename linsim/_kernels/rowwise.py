"""Sums over the rows of one matrix, in vectors, for metrics: lengths, products of pairs, distances.

A matrix (n, d) is held row by row, each of ``stride`` numbers, and ``height`` rows: multiples of
:data:`BLOCK`, zero beyond n and d.  Vectors of a number for each row or column are as long.  Sums are
added up in an order that the shape alone decides, whatever processor runs them.
"""

from __future__ import annotations

import math

import numba as nb

from .kept import UNCOUNTED
from .lanes import (
    REGISTERS,
    WIDTH,
    copies,
    fma,
    largest,
    load,
    magnitude,
    maximum,
    splat,
    store,
    total,
    totals,
    transpose,
    where,
)
from .products import eight_by_two, four_by_one

__all__ = [
    "divide",
    "dot",
    "farthest",
    "fill",
    "length",
    "less_row",
    "padded",
    "project",
    "row_peaks",
    "row_squares",
    "scale_rows",
    "scaled",
    "squares",
    "squares_about",
    "sum_of_cosines",
    "sum_of_cosines_about",
    "transposed",
    "unfill",
    "weighted",
    "with_dyads",
]

#: rows and columns are padded to a multiple of this
BLOCK = 16
# numbers of a vector
_W = WIDTH // 8


@nb.njit(**UNCOUNTED)
def padded(n):
    """n rounded up to a multiple of BLOCK."""
    return -(-n // BLOCK) * BLOCK


@nb.njit(**UNCOUNTED)
def dot(x, y):
    """The sum of x[j] y[j]."""
    s = t = splat(x, 0.0)
    for k in range(0, x.size, 2 * _W):
        s = fma(load(x, k), load(y, k), s)
        t = fma(load(x, k + _W), load(y, k + _W), t)
    return total(s + t)


@nb.njit(**UNCOUNTED)
def length(x):
    """Euclidean length."""
    return math.sqrt(dot(x, x))


@nb.njit(**UNCOUNTED)
def divide(x, by):
    """Divide x by ``by``, unless that is 0."""
    by = by if by > 0 else 1.0
    for j in range(x.size):  # a single number becomes 1 or -1 exactly
        x[j] /= by


@nb.njit(**UNCOUNTED)
def row_squares(X, stride, out):
    """Write the sum of squares of each row."""
    for i in range(0, out.size, 8):
        s0, s1, s2, s3 = _four_squares(X, i * stride, stride)
        s4, s5, s6, s7 = _four_squares(X, (i + 4) * stride, stride)
        store(out, i, totals(s0, s1, s2, s3, s4, s5, s6, s7))


# of four rows at a time, here and below: 16 registers hold no more sums


@nb.njit(**UNCOUNTED)
def _four_squares(X, at, stride):
    s0 = s1 = s2 = s3 = splat(X, 0.0)
    for _ in range(0, stride, _W):
        s0, s1 = _square(X, at, s0), _square(X, at + stride, s1)
        s2, s3 = _square(X, at + 2 * stride, s2), _square(X, at + 3 * stride, s3)
        at += _W
    return s0, s1, s2, s3


@nb.njit(**UNCOUNTED)
def _square(X, at, s):
    x = load(X, at)
    return fma(x, x, s)


@nb.njit(**UNCOUNTED)
def row_peaks(X, stride, out):
    """Write the largest modulus of each row."""
    for i in range(out.size):
        s = splat(X, 0.0)
        for at in range(i * stride, (i + 1) * stride, _W):
            s = maximum(magnitude(load(X, at)), s)
        out[i] = largest(s)


@nb.njit(**UNCOUNTED)
def squares(X):
    """Return the sum of squares of all numbers."""
    s0 = s1 = s2 = s3 = splat(X, 0.0)
    for at in range(0, X.size, 4 * _W):
        x0, x1, x2, x3 = load(X, at), load(X, at + _W), load(X, at + 2 * _W), load(X, at + 3 * _W)
        s0, s1, s2, s3 = fma(x0, x0, s0), fma(x1, x1, s1), fma(x2, x2, s2), fma(x3, x3, s3)
    return total((s0 + s1) + (s2 + s3))


@nb.njit(**UNCOUNTED)
def weighted(x, X, stride, out):
    """Write the sum of x[i] times row i."""
    for k in range(0, stride, _W):
        s0 = s1 = s2 = s3 = splat(X, 0.0)
        at = k
        for i in range(0, x.size, 4):
            s0 = fma(copies(x, i), load(X, at), s0)
            s1 = fma(copies(x, i + 1), load(X, at + stride), s1)
            s2 = fma(copies(x, i + 2), load(X, at + 2 * stride), s2)
            s3 = fma(copies(x, i + 3), load(X, at + 3 * stride), s3)
            at += 4 * stride
        store(out, k, (s0 + s1) + (s2 + s3))


@nb.njit(**UNCOUNTED)
def less_row(X, stride, ones, row, y, out, squares, along):
    """Write X less ``row``, taken off where ``ones`` is 1.

    Also writes the sum of squares of each row that is left, and its product with y.
    """
    for i in range(0, ones.size, 8):
        at = i * stride
        s0, s1, s2, s3, t0, t1, t2, t3 = _four_less(X, at, stride, ones, i, row, y, out)
        at += 4 * stride
        s4, s5, s6, s7, t4, t5, t6, t7 = _four_less(X, at, stride, ones, i + 4, row, y, out)
        store(squares, i, totals(s0, s1, s2, s3, s4, s5, s6, s7))
        store(along, i, totals(t0, t1, t2, t3, t4, t5, t6, t7))


@nb.njit(**UNCOUNTED)
def _four_less(X, at, stride, ones, i, row, y, out):
    s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = splat(X, 0.0)
    for k in range(0, stride, _W):
        z, x = load(row, k), load(y, k)
        s0, t0 = _less(X, at, ones, i, z, x, out, s0, t0)
        s1, t1 = _less(X, at + stride, ones, i + 1, z, x, out, s1, t1)
        s2, t2 = _less(X, at + 2 * stride, ones, i + 2, z, x, out, s2, t2)
        s3, t3 = _less(X, at + 3 * stride, ones, i + 3, z, x, out, s3, t3)
        at += _W
    return s0, s1, s2, s3, t0, t1, t2, t3


@nb.njit(**UNCOUNTED)
def _less(X, at, ones, i, row, y, out, s, t):
    x = load(X, at) - copies(ones, i) * row
    store(out, at, x)
    return fma(x, x, s), fma(x, y, t)


@nb.njit(**UNCOUNTED)
def with_dyads(rest, factor, b, z, v, row, again, full, stride, of_rest, of_full):
    """Turn ``rest`` into factor rest + b z^T, and write v row^T + again rest to ``full``.

    Also writes sums of squares of the rows of both; returns the largest modulus in ``full``.
    """
    peak = splat(rest, 0.0)
    for i in range(0, b.size, 8):
        at = i * stride
        s0, s1, s2, s3, t0, t1, t2, t3, peak = _four_put(
            rest, full, at, stride, factor, again, b, v, i, z, row, peak
        )
        at += 4 * stride
        s4, s5, s6, s7, t4, t5, t6, t7, peak = _four_put(
            rest, full, at, stride, factor, again, b, v, i + 4, z, row, peak
        )
        store(of_rest, i, totals(s0, s1, s2, s3, s4, s5, s6, s7))
        store(of_full, i, totals(t0, t1, t2, t3, t4, t5, t6, t7))
    return largest(peak)


@nb.njit(**UNCOUNTED)
def _four_put(rest, full, at, stride, factor, again, b, v, i, z, row, peak):
    one, two = splat(rest, factor), splat(rest, again)
    s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = splat(rest, 0.0)
    for k in range(0, stride, _W):
        y, x = load(z, k), load(row, k)
        s0, t0, p0 = _put(rest, full, at, one, two, b, v, i, y, x, s0, t0)
        s1, t1, p1 = _put(rest, full, at + stride, one, two, b, v, i + 1, y, x, s1, t1)
        s2, t2, p2 = _put(rest, full, at + 2 * stride, one, two, b, v, i + 2, y, x, s2, t2)
        s3, t3, p3 = _put(rest, full, at + 3 * stride, one, two, b, v, i + 3, y, x, s3, t3)
        peak = maximum(maximum(p0, p1), maximum(maximum(p2, p3), peak))
        at += _W
    return s0, s1, s2, s3, t0, t1, t2, t3, peak


@nb.njit(**UNCOUNTED)
def _put(rest, full, at, one, two, b, v, i, z, row, s, t):
    x = one * load(rest, at) + copies(b, i) * z
    store(rest, at, x)
    y = two * x + copies(v, i) * row
    store(full, at, y)
    return fma(x, x, s), fma(y, y, t), magnitude(y)


@nb.njit(**UNCOUNTED)
def transposed(X, height, stride, out):
    """Write the matrix with rows and columns changed."""
    for i in range(0, height, _W):
        for k in range(0, stride, _W):
            transpose(out, k * height + i, height, X, i * stride + k, stride)


@nb.njit(**UNCOUNTED)
def _wide_products(X, i, stride, d, XT, height, k, out, o):
    """Write the products of rows i to i + 7 with rows k to k + 2 _W - 1, or as many as are not behind them.

    Those of each of the eight go from ``o`` on, ``height`` numbers apart.  i, k: multiples of 8 and of 2 _W.
    """
    if k < i:
        eight_by_two(X, i * stride, stride, XT, k, out, o + k, height, d, True)
    else:
        _narrow_products(X, i, stride, d, XT, height, k, out, o)


@nb.njit(**UNCOUNTED)
def _narrow_products(X, i, stride, d, XT, height, k, out, o):
    """Do the same with fewer sums at a time."""
    for column in range(k, k + 2 * _W if k < i else k + _W, _W):
        at, to = i * stride, o + column
        four_by_one(X, at, stride, XT, column, out, to, height, d, True)
        four_by_one(X, at + 4 * stride, stride, XT, column, out, to + 4 * height, height, d, True)


_products = _wide_products if REGISTERS == 32 else _narrow_products


@nb.njit(**UNCOUNTED)
def sum_of_cosines(X, n, d, stride, XT, numbers, work):
    """The sum of |x_i x_k| over pairs of rows; ``numbers``: 0, 1, ... for each row; ``work``: eight rows."""
    height, zero = numbers.size, splat(X, 0.0)
    out = zero
    for i in range(0, n, 8):
        for k in range(0, i + 1, 2 * _W):
            _products(X, i, stride, d, XT, height, k, work, 0)
        for row in range(8):
            for k in range(0, i + row, _W):
                x = magnitude(load(work, row * height + k))
                out = out + where(load(numbers, k) < float(i + row), x, zero)
    return total(out)


@nb.njit(**UNCOUNTED)
def farthest(X, n, d, stride, XT, squares, numbers, found, work):
    """The square of the largest distance between two rows, whose ``squares`` of lengths are given.

    Which two they are their products tell; the distance itself is then found without cancellation.
    ``work``: room for the products, which are left there, or for those of eight rows; ``found``: 2 _W more.
    """
    height, zero = numbers.size, splat(X, 0.0)
    most, which = zero, zero
    kept = work.size >= height * height
    if kept:  # some columns at a time, which stay in the cache
        for k in range(0, n, 2 * _W):
            for i in range(k, n, 8):
                _products(X, i, stride, d, XT, height, k, work, i * height)
    for i in range(0, n, 8):
        o = i * height if kept else 0
        if not kept:
            for k in range(0, i + 1, 2 * _W):
                _products(X, i, stride, d, XT, height, k, work, o)
        for row in range(8):
            own, pair = squares[i + row], float((i + row) * height)
            for k in range(0, i + row, _W):
                at = load(numbers, k)
                apart = load(squares, k) + own - load(work, o + row * height + k) * 2.0
                apart = where(at < float(i + row), apart, zero)
                which = where(apart > most, at + pair, which)
                most = maximum(apart, most)
    store(found, 0, most)
    store(found, _W, which)
    best, pair = 0.0, -1
    for lane in range(_W):
        if found[lane] > best:
            best, pair = found[lane], int(found[_W + lane])
    if pair < 0:
        return 0.0
    s = zero
    one, other = pair // height * stride, pair % height * stride
    for k in range(0, stride, _W):
        x = load(X, one + k) - load(X, other + k)
        s = fma(x, x, s)
    return total(s)


@nb.njit(**UNCOUNTED)
def sum_of_cosines_about(products, factor, along, shift, inverse, n, numbers):
    """What :func:`sum_of_cosines` returns, of rows that are a common row and a rest each.

    ``products``: of the rests, as :func:`farthest` leaves them, to be multiplied by ``factor``; ``along``: of
    each rest with the common row; ``shift``: of that with itself; ``inverse``: of the lengths of rows.
    """
    height = numbers.size
    zero = splat(products, 0.0)
    out = zero
    for i in range(1, n):
        constant, own, row = along[i] + shift, copies(inverse, i), zero
        for k in range(0, i, _W):
            x = load(products, i * height + k) * factor + (load(along, k) + constant)
            x = where(load(numbers, k) < float(i), magnitude(x), zero)
            row = fma(x, load(inverse, k), row)
        out = fma(row, own, out)
    return total(out)


@nb.njit(**UNCOUNTED)
def squares_about(X, stride, x, ones, line):
    """The sum of |x[i] x_i - line|^2 over the rows where ``ones`` is 1; elsewhere it is 0, and so is x."""
    s0 = s1 = s2 = s3 = splat(X, 0.0)
    for i in range(0, ones.size, 4):
        f0, f1, f2, f3 = copies(x, i), copies(x, i + 1), copies(x, i + 2), copies(x, i + 3)
        g0, g1 = splat(X, -ones[i]), splat(X, -ones[i + 1])
        g2, g3 = splat(X, -ones[i + 2]), splat(X, -ones[i + 3])
        at = i * stride
        for k in range(0, stride, _W):
            y = load(line, k)
            x0 = fma(f0, load(X, at), g0 * y)
            x1 = fma(f1, load(X, at + stride), g1 * y)
            x2 = fma(f2, load(X, at + 2 * stride), g2 * y)
            x3 = fma(f3, load(X, at + 3 * stride), g3 * y)
            s0, s1, s2, s3 = fma(x0, x0, s0), fma(x1, x1, s1), fma(x2, x2, s2), fma(x3, x3, s3)
            at += _W
    return total((s0 + s1) + (s2 + s3))


@nb.njit(**UNCOUNTED)
def scale_rows(X, stride, x):
    """Multiply row i by x[i]."""
    for i in range(x.size):
        f = copies(x, i)
        for at in range(i * stride, (i + 1) * stride, _W):
            store(X, at, load(X, at) * f)


@nb.njit(**UNCOUNTED)
def project(S, stride, alpha, x, q, main, f, y, off, ahead):
    """Take from S what lies along alpha (of which x is what it holds) and then along q.

    Writes main alpha + f S q to ``y``, what S still held along q to ``off``, and y^T S to ``ahead``; returns
    the sum of squares of S.
    """
    zero = splat(S, 0.0)
    for k in range(0, stride, _W):
        store(ahead, k, zero)
    every = zero
    for i in range(0, alpha.size, 8):
        t0, t1, t2, t3 = _four_along(S, i * stride, stride, alpha, i, x, q)
        t4, t5, t6, t7 = _four_along(S, (i + 4) * stride, stride, alpha, i + 4, x, q)
        t0 = totals(t0, t1, t2, t3, t4, t5, t6, t7)
        store(off, i, t0)
        store(y, i, load(alpha, i) * main + t0 * f)
        at = i * stride
        for k in range(0, stride, _W):
            w, z = load(x, k), load(q, k)
            s0 = s1 = zero
            s2 = load(ahead, k)
            for row in range(i, i + 8, 2):
                # the first once more, which is cheaper than writing it
                x0 = _less_along(S, at, alpha, row, w) - copies(off, row) * z
                x1 = _less_along(S, at + stride, alpha, row + 1, w) - copies(off, row + 1) * z
                store(S, at, x0)
                store(S, at + stride, x1)
                s0, s1 = fma(x0, x0, s0), fma(x1, x1, s1)
                s2 = fma(copies(y, row), x0, fma(copies(y, row + 1), x1, s2))
                at += 2 * stride
            store(ahead, k, s2)
            every = every + (s0 + s1)
            at += _W - 8 * stride
    return total(every)


@nb.njit(**UNCOUNTED)
def _four_along(S, at, stride, alpha, i, x, q):
    t0 = t1 = t2 = t3 = splat(S, 0.0)
    for k in range(0, stride, _W):
        w, z = load(x, k), load(q, k)
        t0 = fma(_less_along(S, at, alpha, i, w), z, t0)
        t1 = fma(_less_along(S, at + stride, alpha, i + 1, w), z, t1)
        t2 = fma(_less_along(S, at + 2 * stride, alpha, i + 2, w), z, t2)
        t3 = fma(_less_along(S, at + 3 * stride, alpha, i + 3, w), z, t3)
        at += _W
    return t0, t1, t2, t3


@nb.njit(**UNCOUNTED)
def _less_along(S, at, alpha, i, x):
    return load(S, at) - copies(alpha, i) * x


@nb.njit(**UNCOUNTED)
def _copied(X, stride, out, step, n, d):
    """Copy n rows of d numbers that begin ``stride`` apart to where they begin ``step`` apart."""
    whole = d // _W * _W
    for i in range(n):
        for k in range(0, whole, _W):
            store(out, i * step + k, load(X, i * stride + k))
        for k in range(whole, d):
            out[i * step + k] = X[i * stride + k]


@nb.njit(**UNCOUNTED)
def fill(M, X, stride):
    """Copy a matrix (n, d), contiguous."""
    n, d = M.shape
    _copied(M.reshape(n * d), d, X, stride, n, d)


@nb.njit(**UNCOUNTED)
def unfill(X, stride, M):
    """Copy to a matrix (n, d), contiguous: the reverse of :func:`fill`."""
    n, d = M.shape
    _copied(X, stride, M.reshape(n * d), d, n, d)


@nb.njit(**UNCOUNTED)
def scaled(X, factor, out):
    """Write X times a number."""
    f = splat(X, factor)
    for at in range(0, X.size, _W):
        store(out, at, load(X, at) * f)
