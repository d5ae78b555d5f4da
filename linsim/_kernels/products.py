"""Matrix products of any size, register-blocked, on matrices stored in panels of columns.

A matrix of d columns is stored as panels, one after the other: of four vectors
(see :mod:`.lanes`) each, the last one of what is left, padded with zeros.
Within a panel rows follow each other, so that a product reads and writes whole
cache lines, and a panel of the right factor stays in the cache.  Rows come in
multiples of :data:`ROWS`, the last ones zero.

How many sums are worked on together depends on the registers of the processor,
for where they do not fit a product takes three times as long.  Each sum adds its
terms in the same order everywhere, so that no result depends on that.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .kept import KEPT, NOTHING_NEW, UNCOUNTED
from .lanes import REGISTERS, WIDTH, copies, fma, load, load_for, narrow, splat, store

__all__ = [
    "ROWS",
    "add_product",
    "aligned",
    "columns",
    "eight_by_two",
    "four_by_one",
    "index",
    "pack",
    "pack_rows",
    "rows",
    "unpack",
]

#: rows are padded to a multiple of this
ROWS = 4

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}


@nb.njit(**NOTHING_NEW)
def rows(n: int) -> int:
    """Return n rounded up to a multiple of ROWS."""
    return -(-n // ROWS) * ROWS


@nb.njit(**NOTHING_NEW)
def columns(d: int, itemsize: int) -> int:
    """Return the number of stored columns."""
    w = WIDTH // itemsize
    return -(-d // w) * w


@nb.njit(**_COMPILE)
def aligned(size, like):
    """Return a zeroed flat array of the dtype of ``like`` that starts at a cache line."""
    raw = np.zeros(size + WIDTH // like.itemsize, like.dtype)
    over = (raw.ctypes.data % WIDTH) // like.itemsize
    start = (WIDTH // like.itemsize - over) % (WIDTH // like.itemsize)
    return raw[start : start + size]


@nb.njit(**NOTHING_NEW)
def index(i, j, count, d, itemsize):
    """Return where entry (i, j) of a matrix with ``count`` stored rows lies."""
    w = WIDTH // itemsize
    full = (d // (4 * w)) * 4 * w
    if j < full:
        panel = j // (4 * w)
        return panel * 4 * w * count + i * 4 * w + j % (4 * w)
    return full * count + i * (columns(d, itemsize) - full) + j - full


@nb.njit(**NOTHING_NEW)
def pack(M, count, out, o, row=0):
    """Write a 2-d matrix into panels of ``count`` rows at ``out[o:]``, from ``row`` on; padding is zero."""
    n, d = M.shape
    w = 4 * (WIDTH // out.itemsize)
    stored = columns(d, out.itemsize)
    for column in range(0, d, w):
        width = min(w, stored - column)
        for i in range(n):
            at = o + column * count + (row + i) * width - column
            for j in range(column, min(column + width, d)):
                out[at + j] = M[i, j]


@nb.njit(**NOTHING_NEW)
def pack_rows(M, out, o):
    """As :func:`pack`, of a square matrix whose rows lie one behind the other: many numbers at a time."""
    n, d = M.shape
    w = WIDTH // out.itemsize
    stored, even = columns(d, out.itemsize), (d // w) * w
    for i in range(n):
        row = M[i]
        for column in range(0, stored, 4 * w):
            width = min(4 * w, stored - column)
            at, whole = o + column * n + i * width - column, min(column + width, even)
            for j in range(column, whole, w):
                store(out, at + j, narrow(out, load_for(out, row, j)))
            for j in range(max(column, whole), min(column + width, d)):
                out[at + j] = row[j]


@nb.njit(**NOTHING_NEW)
def unpack(a, o, count, row, M):
    """Read a 2-d matrix from panels of ``count`` rows at ``a[o:]``, from ``row`` on."""
    n, d = M.shape
    w = 4 * (WIDTH // a.itemsize)
    stored = columns(d, a.itemsize)
    for column in range(0, d, w):
        width = min(w, stored - column)
        for i in range(n):
            at = o + column * count + (row + i) * width - column
            for j in range(column, min(column + width, d)):
                M[i, j] = a[at + j]


@nb.njit(**UNCOUNTED)
def _four_by_four(A, a, lda, B, b, C, c, k, fresh):
    """C (+)= A B for 4 rows and one panel of four vectors."""
    w = WIDTH // C.itemsize
    p = 4 * w
    if fresh:
        z = splat(C, 0.0)
        c00 = c01 = c02 = c03 = c10 = c11 = c12 = c13 = z
        c20 = c21 = c22 = c23 = c30 = c31 = c32 = c33 = z
    else:
        c00, c01, c02, c03 = load(C, c), load(C, c + w), load(C, c + 2 * w), load(C, c + 3 * w)
        c10, c11 = load(C, c + p), load(C, c + p + w)
        c12, c13 = load(C, c + p + 2 * w), load(C, c + p + 3 * w)
        c20, c21 = load(C, c + 2 * p), load(C, c + 2 * p + w)
        c22, c23 = load(C, c + 2 * p + 2 * w), load(C, c + 2 * p + 3 * w)
        c30, c31 = load(C, c + 3 * p), load(C, c + 3 * p + w)
        c32, c33 = load(C, c + 3 * p + 2 * w), load(C, c + 3 * p + 3 * w)
    for t in range(k):
        b0, b1, b2, b3 = load(B, b), load(B, b + w), load(B, b + 2 * w), load(B, b + 3 * w)
        b += p
        s = copies(A, a + t)
        c00, c01, c02, c03 = fma(s, b0, c00), fma(s, b1, c01), fma(s, b2, c02), fma(s, b3, c03)
        s = copies(A, a + lda + t)
        c10, c11, c12, c13 = fma(s, b0, c10), fma(s, b1, c11), fma(s, b2, c12), fma(s, b3, c13)
        s = copies(A, a + 2 * lda + t)
        c20, c21, c22, c23 = fma(s, b0, c20), fma(s, b1, c21), fma(s, b2, c22), fma(s, b3, c23)
        s = copies(A, a + 3 * lda + t)
        c30, c31, c32, c33 = fma(s, b0, c30), fma(s, b1, c31), fma(s, b2, c32), fma(s, b3, c33)
    store(C, c, c00)
    store(C, c + w, c01)
    store(C, c + 2 * w, c02)
    store(C, c + 3 * w, c03)
    store(C, c + p, c10)
    store(C, c + p + w, c11)
    store(C, c + p + 2 * w, c12)
    store(C, c + p + 3 * w, c13)
    store(C, c + 2 * p, c20)
    store(C, c + 2 * p + w, c21)
    store(C, c + 2 * p + 2 * w, c22)
    store(C, c + 2 * p + 3 * w, c23)
    store(C, c + 3 * p, c30)
    store(C, c + 3 * p + w, c31)
    store(C, c + 3 * p + 2 * w, c32)
    store(C, c + 3 * p + 3 * w, c33)


@nb.njit(**UNCOUNTED)
def _four_by_two(A, a, lda, B, b, C, c, p, k, fresh):
    """C (+)= A B for 4 rows and two vectors of a panel of p columns."""
    w = WIDTH // C.itemsize
    if fresh:
        z = splat(C, 0.0)
        c00 = c01 = c10 = c11 = c20 = c21 = c30 = c31 = z
    else:
        c00, c01, c10, c11 = load(C, c), load(C, c + w), load(C, c + p), load(C, c + p + w)
        c20, c21 = load(C, c + 2 * p), load(C, c + 2 * p + w)
        c30, c31 = load(C, c + 3 * p), load(C, c + 3 * p + w)
    for t in range(k):
        b0, b1 = load(B, b), load(B, b + w)
        b += p
        s0, s1 = copies(A, a + t), copies(A, a + lda + t)
        c00, c01, c10, c11 = fma(s0, b0, c00), fma(s0, b1, c01), fma(s1, b0, c10), fma(s1, b1, c11)
        s0, s1 = copies(A, a + 2 * lda + t), copies(A, a + 3 * lda + t)
        c20, c21, c30, c31 = fma(s0, b0, c20), fma(s0, b1, c21), fma(s1, b0, c30), fma(s1, b1, c31)
    store(C, c, c00)
    store(C, c + w, c01)
    store(C, c + p, c10)
    store(C, c + p + w, c11)
    store(C, c + 2 * p, c20)
    store(C, c + 2 * p + w, c21)
    store(C, c + 3 * p, c30)
    store(C, c + 3 * p + w, c31)


@nb.njit(**UNCOUNTED)
def eight_by_two(A, a, lda, B, b, C, c, p, k, fresh):
    """C (+)= A B for 8 rows and two vectors; rows of B and of C lie p numbers apart."""
    w = WIDTH // C.itemsize
    if fresh:
        z = splat(C, 0.0)
        c00 = c01 = c10 = c11 = c20 = c21 = c30 = c31 = z
        c40 = c41 = c50 = c51 = c60 = c61 = c70 = c71 = z
    else:
        c00, c01 = load(C, c), load(C, c + w)
        c10, c11 = load(C, c + p), load(C, c + p + w)
        c20, c21 = load(C, c + 2 * p), load(C, c + 2 * p + w)
        c30, c31 = load(C, c + 3 * p), load(C, c + 3 * p + w)
        c40, c41 = load(C, c + 4 * p), load(C, c + 4 * p + w)
        c50, c51 = load(C, c + 5 * p), load(C, c + 5 * p + w)
        c60, c61 = load(C, c + 6 * p), load(C, c + 6 * p + w)
        c70, c71 = load(C, c + 7 * p), load(C, c + 7 * p + w)
    for t in range(k):
        b0, b1 = load(B, b), load(B, b + w)
        b += p
        s = copies(A, a + t)
        c00, c01 = fma(s, b0, c00), fma(s, b1, c01)
        s = copies(A, a + lda + t)
        c10, c11 = fma(s, b0, c10), fma(s, b1, c11)
        s = copies(A, a + 2 * lda + t)
        c20, c21 = fma(s, b0, c20), fma(s, b1, c21)
        s = copies(A, a + 3 * lda + t)
        c30, c31 = fma(s, b0, c30), fma(s, b1, c31)
        s = copies(A, a + 4 * lda + t)
        c40, c41 = fma(s, b0, c40), fma(s, b1, c41)
        s = copies(A, a + 5 * lda + t)
        c50, c51 = fma(s, b0, c50), fma(s, b1, c51)
        s = copies(A, a + 6 * lda + t)
        c60, c61 = fma(s, b0, c60), fma(s, b1, c61)
        s = copies(A, a + 7 * lda + t)
        c70, c71 = fma(s, b0, c70), fma(s, b1, c71)
    store(C, c, c00)
    store(C, c + w, c01)
    store(C, c + p, c10)
    store(C, c + p + w, c11)
    store(C, c + 2 * p, c20)
    store(C, c + 2 * p + w, c21)
    store(C, c + 3 * p, c30)
    store(C, c + 3 * p + w, c31)
    store(C, c + 4 * p, c40)
    store(C, c + 4 * p + w, c41)
    store(C, c + 5 * p, c50)
    store(C, c + 5 * p + w, c51)
    store(C, c + 6 * p, c60)
    store(C, c + 6 * p + w, c61)
    store(C, c + 7 * p, c70)
    store(C, c + 7 * p + w, c71)


@nb.njit(**UNCOUNTED)
def _four_by_one_in_pairs(A, a, lda, B, b, C, c, p, k, fresh):
    """C (+)= A B for 4 rows and one vector of a panel of p columns, two terms at a time."""
    z = splat(C, 0.0)
    if fresh:
        c0 = c1 = c2 = c3 = z
    else:
        c0, c1, c2, c3 = load(C, c), load(C, c + p), load(C, c + 2 * p), load(C, c + 3 * p)
    d0 = d1 = d2 = d3 = z
    t = 0
    while t + 1 < k:
        x, y = load(B, b), load(B, b + p)
        b += 2 * p
        c0, d0 = fma(copies(A, a + t), x, c0), fma(copies(A, a + t + 1), y, d0)
        c1, d1 = fma(copies(A, a + lda + t), x, c1), fma(copies(A, a + lda + t + 1), y, d1)
        c2, d2 = fma(copies(A, a + 2 * lda + t), x, c2), fma(copies(A, a + 2 * lda + t + 1), y, d2)
        c3, d3 = fma(copies(A, a + 3 * lda + t), x, c3), fma(copies(A, a + 3 * lda + t + 1), y, d3)
        t += 2
    if t < k:
        x = load(B, b)
        c0, c1 = fma(copies(A, a + t), x, c0), fma(copies(A, a + lda + t), x, c1)
        c2, c3 = fma(copies(A, a + 2 * lda + t), x, c2), fma(copies(A, a + 3 * lda + t), x, c3)
    store(C, c, c0 + d0)
    store(C, c + p, c1 + d1)
    store(C, c + 2 * p, c2 + d2)
    store(C, c + 3 * p, c3 + d3)


@nb.njit(**UNCOUNTED)
def _six_by_one(A, a, lda, B, b, C, c, p, k, fresh):
    """C (+)= A B for 6 rows and one vector of a panel of p columns."""
    c0 = c1 = c2 = c3 = c4 = c5 = splat(C, 0.0)
    if not fresh:
        c0, c1, c2 = load(C, c), load(C, c + p), load(C, c + 2 * p)
        c3, c4, c5 = load(C, c + 3 * p), load(C, c + 4 * p), load(C, c + 5 * p)
    for t in range(a, a + k):
        x = load(B, b)
        b += p
        c0, c1 = fma(copies(A, t), x, c0), fma(copies(A, t + lda), x, c1)
        c2, c3 = fma(copies(A, t + 2 * lda), x, c2), fma(copies(A, t + 3 * lda), x, c3)
        c4, c5 = fma(copies(A, t + 4 * lda), x, c4), fma(copies(A, t + 5 * lda), x, c5)
    store(C, c, c0)
    store(C, c + p, c1)
    store(C, c + 2 * p, c2)
    store(C, c + 3 * p, c3)
    store(C, c + 4 * p, c4)
    store(C, c + 5 * p, c5)


@nb.njit(**UNCOUNTED)
def four_by_one(A, a, lda, B, b, C, c, p, k, fresh):
    """C (+)= A B for 4 rows and one vector; rows of B and of C lie p numbers apart."""
    c0 = c1 = c2 = c3 = splat(C, 0.0)
    if not fresh:
        c0, c1, c2, c3 = load(C, c), load(C, c + p), load(C, c + 2 * p), load(C, c + 3 * p)
    for t in range(a, a + k):
        x = load(B, b)
        b += p
        c0, c1 = fma(copies(A, t), x, c0), fma(copies(A, t + lda), x, c1)
        c2, c3 = fma(copies(A, t + 2 * lda), x, c2), fma(copies(A, t + 3 * lda), x, c3)
    store(C, c, c0)
    store(C, c + p, c1)
    store(C, c + 2 * p, c2)
    store(C, c + 3 * p, c3)


@nb.njit(**UNCOUNTED)
def _two_by_one_in_pairs(A, a, lda, B, b, C, c, p, k, fresh):
    """As :func:`_four_by_one_in_pairs`, for 2 rows."""
    c0 = c1 = d0 = d1 = splat(C, 0.0)
    if not fresh:
        c0, c1 = load(C, c), load(C, c + p)
    for t in range(a, a + k // 2 * 2, 2):
        x, y = load(B, b), load(B, b + p)
        b += 2 * p
        c0, d0 = fma(copies(A, t), x, c0), fma(copies(A, t + 1), y, d0)
        c1, d1 = fma(copies(A, t + lda), x, c1), fma(copies(A, t + lda + 1), y, d1)
    if k % 2:
        x, t = load(B, b), a + k - 1
        c0, c1 = fma(copies(A, t), x, c0), fma(copies(A, t + lda), x, c1)
    store(C, c, c0 + d0)
    store(C, c + p, c1 + d1)


@nb.njit(**UNCOUNTED)
def _wide(A, a, lda, B, b, C, c, width, count, k, fresh):
    """C (+)= A B for ``count`` rows and a panel of ``width`` columns; sums in 32 registers of a line."""
    w = WIDTH // C.itemsize
    i = 0
    while i < count:
        ap, at = a + i * lda, c + i * width
        if width == 2 * w and i + 8 <= count:
            eight_by_two(A, ap, lda, B, b, C, at, width, k, fresh)
            i += 8
            continue
        if width == 4 * w:
            _four_by_four(A, ap, lda, B, b, C, at, k, fresh)
        elif width >= 2 * w:
            _four_by_two(A, ap, lda, B, b, C, at, width, k, fresh)
        if width in (w, 3 * w):
            _four_by_one_in_pairs(A, ap, lda, B, b + width - w, C, at + width - w, width, k, fresh)
        i += 4


@nb.njit(**UNCOUNTED)
def _narrow(A, a, lda, B, b, C, c, width, count, k, fresh):
    """As :func:`_wide`; sums in 16 registers of half a line."""
    w = WIDTH // C.itemsize
    for j in range(0, width, w):
        odd = j + w == width and (width // w) % 2 == 1
        i = 0
        while i < count:
            ap, at = a + i * lda, c + i * width + j
            if odd:
                _two_by_one_in_pairs(A, ap, lda, B, b + j, C, at, width, k, fresh)
                i += 2
            elif (count - i) % 6 == 0 or count - i > 8:
                _six_by_one(A, ap, lda, B, b + j, C, at, width, k, fresh)
                i += 6
            else:
                four_by_one(A, ap, lda, B, b + j, C, at, width, k, fresh)
                i += 4


_panel = _wide if REGISTERS == 32 else _narrow


@nb.njit(**NOTHING_NEW)
def add_product(A, a, lda, B, b, b_rows, first, C, c, c_rows, start, stop, k, d, fresh):
    """C[start:stop] (+)= A B for C and B in panels of d columns.

    ``A`` is row-major from ``A[a]`` on with ``lda`` numbers from row to row; its row
    0 belongs to row ``start`` of C.  B has ``b_rows`` stored rows, of which k from
    ``first`` on are used.  ``start`` and ``stop`` are multiples of ROWS.
    """
    w = WIDTH // C.itemsize
    stored = columns(d, C.itemsize)
    for column in range(0, d, 4 * w):
        width = min(4 * w, stored - column)
        bp, cp = b + column * b_rows + first * width, c + column * c_rows + start * width
        _panel(A, a, lda, B, bp, C, cp, width, stop - start, k, fresh)
