"""Householder reflections of symmetric matrices of which only the lower half is held, one in each lane.

Tiles as in :mod:`.singular`.  Products are added by ``fma`` throughout, so that every processor finds the
same.  Two rows are taken at a time: vectors are then read half as often, and two sums grow side by side,
neither of which waits for the other.  The order of each sum is that of one row at a time.
"""

from __future__ import annotations

import numba as nb

from .kept import KEPT
from .lanes import WIDTH, fma, load, splat, store

__all__ = ["lower_product", "lower_update", "reflect_rows"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}


@nb.njit(**_COMPILE)
def lower_product(M, n, begin, end, v, o, p, sign):
    """Write M v to p, of rows and columns begin..end - 1 of tiles (n, n); entry k of v is at o + k.

    ``sign``: 1.0 where M is symmetric, -1.0 where it is antisymmetric (then its diagonal is zero).
    """
    w = WIDTH // M.itemsize
    row, zero = n * w, splat(M, 0.0)
    first = begin * w
    i = begin
    while i + 1 < end:
        at, diagonal = i * row, i * w
        below = at + row
        a, b = load(v, o + diagonal), load(v, o + diagonal + w)
        a_out, b_out = a * sign, b * sign
        s = t = zero
        for j in range(first, diagonal, w):
            x, y, u = load(M, at + j), load(M, below + j), load(v, o + j)
            s, t = fma(x, u, s), fma(y, u, t)
            store(p, j, fma(y, b_out, fma(x, a_out, load(p, j))))
        beside = load(M, below + diagonal)
        s, t = fma(load(M, at + diagonal), a, s), fma(beside, a, t)
        store(p, diagonal, fma(beside, b_out, s))
        store(p, diagonal + w, fma(load(M, below + diagonal + w), b, t))
        i += 2
    if i < end:
        at, diagonal = i * row, i * w
        a = load(v, o + diagonal)
        a_out, s = a * sign, zero
        for j in range(first, diagonal, w):
            x = load(M, at + j)
            s = fma(x, load(v, o + j), s)
            store(p, j, fma(x, a_out, load(p, j)))
        store(p, diagonal, fma(load(M, at + diagonal), a, s))


@nb.njit(**_COMPILE)
def lower_update(M, n, begin, end, v, o, p, sign):
    """M -= v p^T + sign p v^T, of rows and columns begin..end - 1; an antisymmetric diagonal stays zero."""
    w = WIDTH // M.itemsize
    row, zero = n * w, splat(M, 0.0)
    first = begin * w
    i = begin
    while i + 1 < end:
        at, diagonal = i * row, i * w
        below, last = at + row, diagonal + w
        a, c = zero - load(v, o + diagonal), load(p, diagonal) * -sign
        b, d = zero - load(v, o + last), load(p, last) * -sign
        for j in range(first, diagonal, w):
            u, q = load(v, o + j), load(p, j)
            store(M, at + j, fma(c, u, fma(a, q, load(M, at + j))))
            store(M, below + j, fma(d, u, fma(b, q, load(M, below + j))))
        u, q = load(v, o + diagonal), load(p, diagonal)
        store(M, below + diagonal, fma(d, u, fma(b, q, load(M, below + diagonal))))
        if sign > 0.0:
            store(M, at + diagonal, fma(c, u, fma(a, q, load(M, at + diagonal))))
            x = fma(b, load(p, last), load(M, below + last))
            store(M, below + last, fma(d, load(v, o + last), x))
        i += 2
    if i < end:
        at, diagonal = i * row, i * w
        a, c = zero - load(v, o + diagonal), load(p, diagonal) * -sign
        for j in range(first, diagonal + (w if sign > 0.0 else 0), w):
            store(M, at + j, fma(c, load(v, o + j), fma(a, load(p, j), load(M, at + j))))


@nb.njit(**_COMPILE)
def reflect_rows(Z, m, V):
    """Apply 1 - v v^T to every row of a tile Z (m, m), v the first k entries of row k of V, k = 2, 3, ...

    Some rows at a time, which stay in the nearest cache meanwhile.
    """
    w = WIDTH // Z.itemsize
    row, zero = m * w, splat(Z, 0.0)
    i = 0
    while i + 3 < m:
        at = i * row
        for k in range(2, m):
            o = k * row
            s0 = s1 = s2 = s3 = zero
            for j in range(0, k * w, w):
                u = load(V, o + j)
                s0 = fma(load(Z, at + j), u, s0)
                s1 = fma(load(Z, at + row + j), u, s1)
                s2 = fma(load(Z, at + 2 * row + j), u, s2)
                s3 = fma(load(Z, at + 3 * row + j), u, s3)
            s0, s1, s2, s3 = zero - s0, zero - s1, zero - s2, zero - s3
            for j in range(0, k * w, w):
                u, z = load(V, o + j), at + j
                store(Z, z, fma(s0, u, load(Z, z)))
                store(Z, z + row, fma(s1, u, load(Z, z + row)))
                store(Z, z + 2 * row, fma(s2, u, load(Z, z + 2 * row)))
                store(Z, z + 3 * row, fma(s3, u, load(Z, z + 3 * row)))
        i += 4
    while i < m:
        at = i * row
        for k in range(2, m):
            o, s0 = k * row, zero
            for j in range(0, k * w, w):
                s0 = fma(load(Z, at + j), load(V, o + j), s0)
            s0 = zero - s0
            for j in range(0, k * w, w):
                store(Z, at + j, fma(s0, load(V, o + j), load(Z, at + j)))
        i += 1
