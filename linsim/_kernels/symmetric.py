"""Eigenvectors of several symmetric matrices at once, one in each lane.

Householder reflections make a tile (see :mod:`.singular`) tridiagonal, implicit QL finds its eigenvalues and
turns the rows of a second tile along (Golub and Van Loan, 4th edition, sections 8.3.1 and 8.3.3), and the
reflections are applied to these.  Every lane has its own window and shift; beyond its window it is turned by
nothing, so that what a lane holds never changes the result of another.
"""

from __future__ import annotations

import numba as nb

from .kept import KEPT
from .lanes import WIDTH, bits, copysign, fma, load, magnitude, splat, sqrt, store, where
from .lower import lower_product, lower_update, reflect_rows

__all__ = ["eigenvectors"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
_SWEEPS = 50


@nb.njit(**_COMPILE)
def eigenvectors(X, m, Z, d, e, work):
    """Write the eigenvalues of a tile X of (m, m) matrices to d, and eigenvectors to the rows of Z.

    Entries are around 1; of X only what is on and below the diagonal is read, and lost.  d, e: m vectors
    each, work: 2 m.  Returns False if a lane did not settle.
    """
    w = WIDTH // X.itemsize
    _tridiagonal(X, m, d, e, work)
    zero, one = splat(X, 0.0), splat(X, 1.0)
    for i in range(m):
        for j in range(m):
            store(Z, (i * m + j) * w, one if i == j else zero)
    done = _ql(m, Z, d, e, work)
    _back(X, m, Z)
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
        inner = inner * 0.5
        for j in range(0, k * w, w):
            store(work, j, load(work, j) - inner * load(X, at + j))
        lower_update(X, m, 0, k, X, at, work, 1.0)
    if m > 1:
        store(e, 0, load(X, row))
        store(d, w, load(X, row + w))
    store(d, 0, load(X, 0))
    store(e, (m - 1) * w, zero)


@nb.njit(**_COMPILE)
def _back(X, m, Z):
    """Apply the reflections that made X tridiagonal to the rows of Z, last made first."""
    w = WIDTH // X.itemsize
    for k in range(2, m):
        reflect_rows(Z, m, k, X, k * m * w)


@nb.njit(**_COMPILE)
def _ql(m, Z, d, e, work):
    """Find the eigenvalues of all tridiagonal matrices; the rows of Z are turned along."""
    w = WIDTH // d.itemsize
    row = m * w
    zero, one = splat(d, 0.0), splat(d, 1.0)
    eps = 2.220446049250313e-16 if d.itemsize == 8 else 1.1920929e-07
    low = splat(d, 0.0)
    last = float(m - 1)
    for _ in range(_SWEEPS * m):
        running = low < last
        if bits(running) == 0:
            return True
        # where each lane's block begins and ends; what is small in it goes
        high = splat(d, last)
        gone = zero  # 1 once an end was found
        base_d, base_e, next_d, end_d = zero, zero, zero, zero
        for i in range(m):
            at = i * w
            inside = low <= float(i)
            here = inside & (low > float(i) - 0.5)
            x, y = load(d, at), load(e, at)
            after = load(d, at + w) if i + 1 < m else zero
            base_d, base_e = where(here, x, base_d), where(here, y, base_e)
            next_d = where(here, after, next_d)
            small = magnitude(y) <= (magnitude(x) + magnitude(after) + 1e-3) * eps
            ends = inside & small & (gone < 0.5)
            high, end_d = where(ends, zero + float(i), high), where(ends, x, end_d)
            store(e, at, where(ends, zero, y))
            gone = where(ends, one, gone)
        alone = running & (high <= low)
        step = running & (high > low)
        low = where(alone, low + 1.0, low)
        if bits(step) == 0:
            continue
        # the shift of Wilkinson
        safe = where(step, base_e, one)
        g = (next_d - base_d) / (safe * 2.0)
        r = sqrt(fma(g, g, one))
        g = end_d - base_d + safe / (g + copysign(r, g))
        s, c, p = one, one, zero
        for i in range(m - 2, -1, -1):
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
            r = (lower - g_new) * s_new + c_new * b * 2.0
            p_new = s_new * r
            store(d, at + w, where(on, g_new + p_new, upper))
            g = where(on, c_new * r - b, g)
            s, c, p = where(on, s_new, s), where(on, c_new, c), where(on, p_new, p)
            begin = on & (low > float(i) - 0.5)
            store(d, at, where(begin, lower - p, lower))
            store(e, at, where(begin, g, load(e, at)))
            turn_s, turn_c = where(on, s_new, zero), where(on, c_new, one)
            z = i * row
            for j in range(0, row, w):
                x, y = load(Z, z + j), load(Z, z + row + j)
                store(Z, z + row + j, fma(turn_s, x, turn_c * y))
                store(Z, z + j, turn_c * x - turn_s * y)
    return False
