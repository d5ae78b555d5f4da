"""Sums and updates over matrices in panels of columns (see :mod:`.products`), some rows of them at a time.

Several matrices of equal shape lie in one panel matrix, one below the other: ``first`` is the row
where one of them begins, ``count`` the stored rows of all.  Vectors along rows have as many entries
as there are stored columns, zero where those are padding.
"""

from __future__ import annotations

import numba as nb

from .kept import UNCOUNTED
from .lanes import WIDTH, copies, fma, largest, load, magnitude, maximum, splat, store, total
from .products import columns

__all__ = [
    "add_outer",
    "peak",
    "row_products",
    "row_squares",
    "scale_rows",
    "weighted_rows",
]


@nb.njit(**UNCOUNTED)
def weighted_rows(x, X, o, first, count, n, d, out):
    """Write sum_i x_i X_i, a row, to ``out``."""
    w = WIDTH // X.itemsize
    stored = columns(d, X.itemsize)
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        base = o + column * count + first * width
        for j in range(0, width, w):
            even = odd = splat(X, 0.0)
            at = base + j
            for i in range(0, n - 1, 2):
                even = fma(load(X, at), copies(x, i), even)
                odd = fma(load(X, at + width), copies(x, i + 1), odd)
                at += 2 * width
            if n % 2:
                even = fma(load(X, at), copies(x, n - 1), even)
            store(out, column + j, even + odd)


@nb.njit(**UNCOUNTED)
def add_outer(X, first, count, n, d, x, y):
    """X += x y^T."""
    w = WIDTH // X.itemsize
    stored = columns(d, X.itemsize)
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        base = column * count + first * width
        for j in range(0, width, w):
            along = load(y, column + j)
            at = base + j
            for i in range(n):
                store(X, at, fma(copies(x, i), along, load(X, at)))
                at += width


@nb.njit(**UNCOUNTED)
def row_products(X, first, count, n, d, y, out):
    """Write X y, one number for each row, to ``out``."""
    w = WIDTH // X.itemsize
    stored = columns(d, X.itemsize)
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        at = column * count + first * width
        for i in range(n):
            acc = splat(X, 0.0)
            for j in range(0, width, w):
                acc = fma(load(X, at + j), load(y, column + j), acc)
            out[i] = total(acc) if column == 0 else out[i] + total(acc)
            at += width


@nb.njit(**UNCOUNTED)
def row_squares(X, first, count, n, d, out):
    """Write the sum of squares of each row to ``out``."""
    w = WIDTH // X.itemsize
    stored = columns(d, X.itemsize)
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        at = column * count + first * width
        for i in range(n):
            acc = splat(X, 0.0)
            for j in range(0, width, w):
                x = load(X, at + j)
                acc = fma(x, x, acc)
            out[i] = total(acc) if column == 0 else out[i] + total(acc)
            at += width


@nb.njit(**UNCOUNTED)
def peak(X, first, count, n, d):
    """Return the largest |entry|."""
    w = WIDTH // X.itemsize
    stored = columns(d, X.itemsize)
    top = splat(X, 0.0)
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        base = column * count + first * width
        for at in range(base, base + n * width, w):
            top = maximum(magnitude(load(X, at)), top)
    return float(largest(top))


@nb.njit(**UNCOUNTED)
def scale_rows(X, first, count, n, d, factor, again):
    """X *= factor * again: two factors, for one may leave the range of the dtype."""
    w = WIDTH // X.itemsize
    stored = columns(d, X.itemsize)
    one, two = splat(X, factor), splat(X, again)
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        base = column * count + first * width
        for at in range(base, base + n * width, w):
            store(X, at, load(X, at) * one * two)
