"""Eigenvalues and eigenvectors of several symmetric matrices at once, one in each lane.

Householder reflections make a tile (see :mod:`.singular`) tridiagonal, implicit QL finds its eigenvalues and
turns the rows of a second tile along (Golub and Van Loan, 4th edition, sections 8.3.1 and 8.3.3), and the
reflections are applied to these.  Every lane has its own window and shift; beyond its window it is turned by
nothing, so that what a lane holds never changes the result of another.  Eigenvalues without vectors are the
squares of the singular values of a factor of the tridiagonal matrix, made positive definite by a shift.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .kept import KEPT
from .lanes import WIDTH, bits, copysign, fma, load, magnitude, splat, sqrt, store, where
from .lower import lower_product, lower_update, reflect_rows
from .products import aligned
from .singular import squares

__all__ = ["eigenvectors", "symmetric_values"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
_SWEEPS = 50
# of the norm: eigenvalues are then at least a 64th of it
_SHIFT = 1.015625


@nb.njit(**_COMPILE)
def eigenvectors(X, m, Z, d, e, work, tolerance):
    """Write the eigenvalues of a tile X of (m, m) matrices to d, and eigenvectors to the rows of Z.

    Entries are around 1; of X only what is on and below the diagonal is read, and lost.  d, e: m vectors
    each, work: 2 m, at least 4.  Couplings up to ``tolerance``, relatively, are dropped: X is then off by
    as much, and the rows of Z are orthonormal to rounding all the same.  Returns False if a lane did not
    settle.
    """
    w = WIDTH // X.itemsize
    _tridiagonal(X, m, d, e, work)
    zero, one = splat(X, 0.0), splat(X, 1.0)
    for i in range(m):
        for j in range(m):
            store(Z, (i * m + j) * w, one if i == j else zero)
    done = _ql(m, Z, d, e, tolerance, work)
    reflect_rows(Z, m, X)
    return done


@nb.njit(**_COMPILE)
def _tridiagonal(X, m, d, e, work):
    """The reflection that clears row k left of the diagonal stays there, scaled: it is 1 - v v^T."""
    w = WIDTH // X.itemsize
    row = m * w
    zero, one = splat(X, 0.0), splat(X, 1.0)
    tiny = 1e-290 if X.itemsize == 8 else 1e-35
    for k in range(m - 1, 1, -1):
        at = k * row
        rest = zero
        for j in range(0, (k - 1) * w, w):
            x = load(X, at + j)
            rest = fma(x, x, rest)
        first = load(X, at + (k - 1) * w)
        size = sqrt(fma(first, first, rest))
        some = rest > tiny
        head = first + copysign(size, first)
        product = size * magnitude(head)
        # v v^T = 2 x x^T / (x^T x)
        scale = where(some, sqrt(one / where(some, product, one)), zero)
        store(e, (k - 1) * w, where(some, zero - copysign(size, first), first))
        store(d, k * w, load(X, at + k * w))
        store(X, at + (k - 1) * w, head)
        for j in range(0, k * w, w):
            store(X, at + j, load(X, at + j) * scale)
        # of the corner before k
        lower_product(X, m, 0, k, X, at, work, 1.0)
        inner = zero
        for j in range(0, k * w, w):
            inner = fma(load(work, j), load(X, at + j), inner)
        inner = inner * -0.5
        for j in range(0, k * w, w):
            store(work, j, fma(inner, load(X, at + j), load(work, j)))
        lower_update(X, m, 0, k, X, at, work, 1.0)
    if m > 1:
        store(e, 0, load(X, row))
        store(d, w, load(X, row + w))
    store(d, 0, load(X, 0))
    store(e, (m - 1) * w, zero)


@nb.njit(**_COMPILE)
def _begun(m, d, e, tolerance, blocks):
    """Let the block of each lane begin behind the eigenvalues that are found; the least beginning.

    blocks: four vectors, the beginnings (given, and changed), and there d, e, and the next d.
    """
    w = WIDTH // d.itemsize
    least = m
    for lane in range(w):
        i = int(blocks[lane])
        at = i * w + lane
        while i < m - 1 and abs(e[at]) <= (abs(d[at]) + abs(d[at + w]) + 1e-3) * tolerance:
            e[at] = 0.0
            i, at = i + 1, at + w
        blocks[lane], blocks[w + lane], blocks[2 * w + lane] = i, d[at], e[at]
        blocks[3 * w + lane] = d[min(at + w, (m - 1) * w + lane)]
        least = min(least, i)
    return least


@nb.njit(**_COMPILE)
def _ql(m, Z, d, e, tolerance, blocks):
    """Find the eigenvalues of all tridiagonal matrices; the rows of Z, of the identity, are turned along."""
    w = WIDTH // d.itemsize
    row = m * w
    zero, one = splat(d, 0.0), splat(d, 1.0)
    store(blocks, 0, zero)
    for sweep in range(1, _SWEEPS * m + 1):
        least = _begun(m, d, e, tolerance, blocks)
        if least == m - 1:
            return True
        low, base_d, base_e, next_d = (
            load(blocks, 0),
            load(blocks, w),
            load(blocks, 2 * w),
            load(blocks, 3 * w),
        )
        step = low < float(m - 1)
        # where it ends: at the first coupling that is small
        high, end_d, gone = splat(d, float(m - 1)), load(d, (m - 1) * w), zero
        for i in range(least + 1, m - 1):
            at = i * w
            x, y = load(d, at), load(e, at)
            small = magnitude(y) <= (magnitude(x) + magnitude(load(d, at + w)) + 1e-3) * tolerance
            ends = (low < float(i)) & small & (gone < 0.5)
            high, end_d = where(ends, zero + float(i), high), where(ends, x, end_d)
            store(e, at, where(ends, zero, y))
            gone = where(ends, one, gone)
        # the shift of Wilkinson
        safe = where(step, base_e, one)
        g = (next_d - base_d) / (safe * 2.0)
        r = sqrt(fma(g, g, one))
        g = end_d - base_d + safe / (g + copysign(r, g))
        s, c, p = one, one, zero
        for i in range(m - 2, least - 1, -1):
            at = i * w
            on = step & (high > float(i) + 0.5) & (low <= float(i) + 0.5)
            if bits(on) == 0:
                continue
            x, upper, lower = load(e, at), load(d, at + w), load(d, at)
            f, b = s * x, c * x
            r = sqrt(fma(f, f, g * g))
            first = high < float(i) + 1.5  # nothing is above it
            store(e, at + w, where(on, where(first, zero, r), load(e, at + w)))
            fine = on & (r > 0.0)
            inverse = one / where(fine, r, one)
            s_new = where(fine, f * inverse, where(on, zero, s))
            c_new = where(fine, g * inverse, where(on, one, c))
            g_new = upper - p
            r = fma(lower - g_new, s_new, c_new * b * 2.0)
            p_new = s_new * r
            store(d, at + w, where(on, fma(s_new, r, g_new), upper))
            g = where(on, fma(c_new, r, zero - b), g)
            s, c, p = where(on, s_new, s), where(on, c_new, c), where(on, p_new, p)
            begin = on & (low > float(i) - 0.5)
            store(d, at, where(begin, lower - p, lower))
            store(e, at, where(begin, g, load(e, at)))
            turn_s, turn_c = where(on, s_new, zero), where(on, c_new, one)
            minus_s = zero - turn_s
            # nothing is left of this yet: a sweep takes entries one further
            z = i * row
            for j in range(max(0, i + 1 - sweep) * w, row, w):
                x, y = load(Z, z + j), load(Z, z + row + j)
                store(Z, z + row + j, fma(turn_s, x, turn_c * y))
                store(Z, z + j, fma(turn_c, x, minus_s * y))
    return False


@nb.njit(**_COMPILE)
def symmetric_values(M, out):
    """Write the eigenvalues of symmetric M (b, m, m) to out (b, m), in no order, to a rounding of their norm.

    Of M what is on and below the diagonal is read, but for the norm.  NaN where they were not found.
    """
    w = WIDTH // M.itemsize
    b, m = M.shape[0], M.shape[1]
    X, work = aligned(m * m * w, M), aligned(max(2 * m, 4) * w, M)
    d, e = aligned(m * w, M), aligned(m * w, M)
    # of two tiles, as ``squares`` wants them
    q, beside, found = aligned(2 * m * w, M), aligned(2 * max(m, 2) * w, M), aligned(2 * m * w, M)
    room, tops = aligned(8 * m * w, M), np.empty(2 * w)
    for s in range(0, b, 2 * w):
        filled = min(2 * w, b - s)
        for half in range(2):
            for lane in range(w):
                at = half * w + lane
                top = 0.0
                if at < filled:
                    for i in range(m):
                        total = 0.0
                        for j in range(m):
                            total += abs(M[s + at, i, j])
                        if not total <= top:  # NaN stays
                            top = total
                tops[at] = top
                inverse = 1.0 / top if top > 0.0 else 0.0
                for i in range(m):
                    for j in range(i + 1):
                        X[(i * m + j) * w + lane] = M[s + at, i, j] * inverse if at < filled else 0.0
            _tridiagonal(X, m, d, e, work)
            # the factor of Cholesky: a diagonal, and what is beside it
            off, shift = splat(X, 0.0), splat(X, _SHIFT)
            for k in range(m):
                root = sqrt(load(d, k * w) + shift - off * off)
                store(q, (2 * k + half) * w, root)
                off = load(e, k * w) / root
                store(beside, (2 * k + half) * w, off)
        squares(q, beside, m, found, room)
        for lane in range(filled):
            for k in range(m):
                out[s + lane, k] = (found[2 * k * w + lane] - _SHIFT) * tops[lane]
