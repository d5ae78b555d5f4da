"""Eigenvalues of several general matrices at once, one in each lane.

A tile holds as many matrices as a vector has lanes, interleaved as in :mod:`.singular`.  Householder
reflections make them Hessenberg; Francis' double shift (Golub and Van Loan, 4th edition, section 7.5) then
splits eigenvalues off, from the last row on.  Every lane has its own window, shifts and reflections; where
another lane goes on beyond its window its reflection is none, so that what a lane holds never changes the
result of another.  Errors are a small multiple of eps times the norm of the matrix, as LAPACK's without
balancing.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .lanes import WIDTH, bits, copysign, fma, load, magnitude, splat, sqrt, store, where
from .products import aligned

__all__ = ["general_values", "reflect_corner"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
_EPS = 2.0**-52
# sweeps for one eigenvalue; two are the rule
_SWEEPS = 40


@nb.njit(**_COMPILE)
def _hessenberg(X, n, work):
    """Reduce a tile of (n, n) matrices, of entries around 1; what is left below is not written."""
    w = WIDTH // X.itemsize
    zero, one = splat(X, 0.0), splat(X, 1.0)
    row = n * w
    v, p = 0, row
    for k in range(n - 2):
        first = load(X, (k + 1) * row + k * w)
        rest = zero
        for i in range(k + 2, n):
            x = load(X, i * row + k * w)
            store(work, v + i * w, x)
            rest = fma(x, x, rest)
        size = sqrt(fma(first, first, rest))
        # nothing to reflect where all below is zero
        some = rest > 0.0
        head = first + copysign(size, first)
        factor = where(some, one / where(some, size * magnitude(head), one), zero)
        store(work, v + (k + 1) * w, head)
        store(X, (k + 1) * row + k * w, where(some, zero - copysign(size, first), first))
        for i in range(k + 2, n):
            store(X, i * row + k * w, zero)
        reflect_corner(X, n, k + 1, work, v, p, factor)


@nb.njit(**_COMPILE)
def reflect_corner(X, n, first, work, v, p, factor):
    """Reflect rows and columns from ``first`` on, after the column before.  work: the vector at v, room at p.

    Four rows at a time: vectors are read once for all, and no sum waits for another.  What is added to
    the rows from the left is there when their products with v, for the right, are taken.
    """
    w = WIDTH // X.itemsize
    row, zero = n * w, splat(X, 0.0)
    begin = first * w
    for j in range(begin, row, w):
        store(work, p + j, zero)
    i = first
    while i + 3 < n:
        at = i * row
        a, b = load(work, v + i * w) * factor, load(work, v + (i + 1) * w) * factor
        c, d = load(work, v + (i + 2) * w) * factor, load(work, v + (i + 3) * w) * factor
        for j in range(begin, row, w):
            x = fma(a, load(X, at + j), load(work, p + j))
            x = fma(b, load(X, at + row + j), x)
            x = fma(c, load(X, at + 2 * row + j), x)
            store(work, p + j, fma(d, load(X, at + 3 * row + j), x))
        i += 4
    while i < n:
        a, at = load(work, v + i * w) * factor, i * row
        for j in range(begin, row, w):
            store(work, p + j, fma(a, load(X, at + j), load(work, p + j)))
        i += 1
    i = 0
    while i < n:
        # rows that the left leaves alone have none of it
        count = 4 if i + 3 < n and (i >= first or i + 3 < first) else 1
        left, at = i >= first, i * row
        if count == 4:
            a = b = c = d = zero
            if left:
                a, b = zero - load(work, v + i * w), zero - load(work, v + (i + 1) * w)
                c, d = zero - load(work, v + (i + 2) * w), zero - load(work, v + (i + 3) * w)
            s0 = s1 = s2 = s3 = zero
            for j in range(begin, row, w):
                o, u = at + j, load(work, v + j)
                x, y, z, t = load(X, o), load(X, o + row), load(X, o + 2 * row), load(X, o + 3 * row)
                if left:
                    q = load(work, p + j)
                    x, y, z, t = fma(a, q, x), fma(b, q, y), fma(c, q, z), fma(d, q, t)
                    store(X, o, x)
                    store(X, o + row, y)
                    store(X, o + 2 * row, z)
                    store(X, o + 3 * row, t)
                s0, s1, s2, s3 = fma(x, u, s0), fma(y, u, s1), fma(z, u, s2), fma(t, u, s3)
            s0, s1, s2, s3 = zero - s0 * factor, zero - s1 * factor, zero - s2 * factor, zero - s3 * factor
            for j in range(begin, row, w):
                o, u = at + j, load(work, v + j)
                store(X, o, fma(s0, u, load(X, o)))
                store(X, o + row, fma(s1, u, load(X, o + row)))
                store(X, o + 2 * row, fma(s2, u, load(X, o + 2 * row)))
                store(X, o + 3 * row, fma(s3, u, load(X, o + 3 * row)))
        else:
            a = zero - load(work, v + i * w) if left else zero
            s0 = zero
            for j in range(begin, row, w):
                x = load(X, at + j)
                if left:
                    x = fma(a, load(work, p + j), x)
                    store(X, at + j, x)
                s0 = fma(x, load(work, v + j), s0)
            s0 = zero - s0 * factor
            for j in range(begin, row, w):
                store(X, at + j, fma(s0, load(work, v + j), load(X, at + j)))
        i += count


@nb.njit(**_COMPILE)
def _two(a, b, c, d, out, at):
    """Write the eigenvalues of [[a, b], [c, d]] to out[at] and out[at + 1]."""
    p = 0.5 * (a - d)
    q = p * p + b * c
    if q >= 0.0:
        z = p + math.sqrt(q) if p >= 0.0 else p - math.sqrt(q)
        out[at] = d + z
        out[at + 1] = d - b * c / z if z != 0.0 else d
    else:
        y = math.sqrt(-q)
        out[at] = complex(d + p, y)
        out[at + 1] = complex(d + p, -y)


@nb.njit(**_COMPILE)
def _windows(X, n, ends, last, norms, begins):
    """Write to begins where the window of each lane begins that goes to ``ends``, at most ``last``.

    That is at the last coupling that is small, which is zero from then on.
    """
    w = WIDTH // X.itemsize
    row, zero, one = n * w, splat(X, 0.0), splat(X, 1.0)
    end, norm = load(ends, 0), load(norms, 0)
    begin, gone = zero, zero
    i = last
    while i > 0 and bits(gone < 0.5) != 0:
        at = i * row + (i - 1) * w
        beside = load(X, at)
        size = magnitude(load(X, at - row)) + magnitude(load(X, at + w))
        small = magnitude(beside) <= where(size > 0.0, size, norm) * _EPS
        here = small & (gone < 0.5) & (end > float(i) - 0.5)
        store(X, at, where(here, zero, beside))
        begin, gone = where(here, zero + float(i), begin), where(here, one, gone)
        i -= 1
    store(begins, 0, begin)


@nb.njit(**_COMPILE)
def _split(X, n, lane, top, norm, out):
    """Take off all that one lane's window has come to; its new end, and its beginning."""
    w = WIDTH // X.itemsize
    row = n * w
    while top >= 0:
        low = top
        while low > 0:
            above = (low - 1) * row + (low - 1) * w + lane
            size = abs(X[above]) + abs(X[above + row + w])
            if abs(X[above + row]) <= _EPS * (size if size > 0.0 else norm):
                X[above + row] = 0.0
                break
            low -= 1
        at = top * row + top * w + lane
        if low == top:
            out[top] = X[at]
            top -= 1
        elif low == top - 1:
            _two(X[at - row - w], X[at - row], X[at - w], X[at], out, top - 1)
            top -= 2
        else:
            return top, low
    return -1, 0


@nb.njit(**_COMPILE)
def _begin(X, n, lane, top, low, turn, first):
    """Choose one lane's shifts, and write the vector (3) of its first reflection to ``first``."""
    w = WIDTH // X.itemsize
    row, step = n * w, n * w + w
    at = top * row + top * w + lane
    x, y, t = X[at], X[at - step], X[at - w] * X[at - row]
    if turn % 10 == 9:  # shifts out of the ordinary end a circle
        s = abs(X[at - w]) + abs(X[at - step - w])
        x = y = x + 0.75 * s
        t = -0.4375 * s * s
    here = low * row + low * w + lane
    z, below = X[here], X[here + row]
    p = ((x - z) * (y - z) - t) / below + X[here + w]
    q = X[here + step] - z - (x - z) - (y - z)
    r = X[here + step + row]
    s = 1.0 / (abs(p) + abs(q) + abs(r))
    first[0, lane], first[1, lane], first[2, lane] = p * s, q * s, r * s


@nb.njit(**_COMPILE)
def _sweep(X, n, begins, ends, bottom, last, work):
    """One double-shift sweep of every lane over its window begins..ends.

    work: what begins it, three vectors, then room for the windows as numbers.
    """
    w = WIDTH // X.itemsize
    row = n * w
    zero, one = splat(X, 0.0), splat(X, 1.0)
    begin, end = load(begins, 0), load(ends, 0)
    for k in range(bottom, last):
        at = k * row + k * w
        inside = (begin <= float(k)) & (end > float(k))
        start = inside & (begin > float(k) - 0.5)
        three = (end > float(k + 1)) & inside
        if k > bottom:
            p, q = load(X, at - w), load(X, at + row - w)
            r = load(X, at + 2 * row - w) if k + 2 < n else zero
            p = where(start, load(work, 0), p)
            q = where(start, load(work, w), q)
            r = where(start, load(work, 2 * w), r)
        else:
            p, q, r = load(work, 0), load(work, w), load(work, 2 * w)
        r = where(three, r, zero)
        total = fma(p, p, fma(q, q, r * r))
        size = sqrt(total)
        inside = inside & (size > 0.0)
        s = copysign(size, p)
        head = p + s
        # one over their product, of which both inverses are made; none where nothing is reflected
        inverse = where(inside, one / where(inside, fma(magnitude(p), size, total), one), zero)
        if k > 0:
            # what the reflection leaves in the column before, inside the window
            chased = inside & (begin < float(k))
            store(X, at - w, where(chased, zero - s, load(X, at - w)))
            below = load(X, at + row - w)
            store(X, at + row - w, where(chased, zero, below))
            if k + 2 < n:
                below = load(X, at + 2 * row - w)
                store(X, at + 2 * row - w, where(chased & three, zero, below))
        over_s, over_head = head * inverse, s * inverse
        x, y, z = head * over_s, q * over_s, r * over_s
        q, r = q * over_head, r * over_head
        # what is taken off
        f, g, h = zero - x, zero - y, zero - z
        u, v = zero - q, zero - r
        if k + 2 < n:
            for j in range(at, k * row + (last + 1) * w, w):
                a, b, c = load(X, j), load(X, j + row), load(X, j + 2 * row)
                t = fma(r, c, fma(q, b, a))
                store(X, j, fma(t, f, a))
                store(X, j + row, fma(t, g, b))
                store(X, j + 2 * row, fma(t, h, c))
            for i in range(bottom, min(last, k + 3) + 1):
                j = i * row + k * w
                a, b, c = load(X, j), load(X, j + w), load(X, j + 2 * w)
                t = fma(z, c, fma(y, b, x * a))
                store(X, j, a - t)
                store(X, j + w, fma(t, u, b))
                store(X, j + 2 * w, fma(t, v, c))
        else:
            for j in range(at, k * row + (last + 1) * w, w):
                a, b = load(X, j), load(X, j + row)
                t = fma(q, b, a)
                store(X, j, fma(t, f, a))
                store(X, j + row, fma(t, g, b))
            for i in range(bottom, min(last, k + 3) + 1):
                j = i * row + k * w
                a, b = load(X, j), load(X, j + w)
                t = fma(y, b, x * a)
                store(X, j, a - t)
                store(X, j + w, fma(t, u, b))


@nb.njit(**_COMPILE)
def general_values(M, out):
    """Write the eigenvalues of M (b, n, n), entries around 1, to out (b, n) complex, pairs side by side.

    NaN where they do not settle.
    """
    w = WIDTH // M.itemsize
    b, n = M.shape[0], M.shape[1]
    row = n * w
    X, work = aligned(n * row, M), aligned(max(2 * row, 3 * w), M)
    begins, ends, norms = aligned(w, M), aligned(w, M), aligned(w, M)
    first = work[: 3 * w].reshape(3, w)
    tops, turns = np.empty(w, np.int64), np.empty(w, np.int64)
    for s in range(0, b, w):
        filled = min(w, b - s)
        for lane in range(w):
            total = 0.0
            for i in range(n):
                for j in range(n):
                    x = M[s + lane, i, j] if lane < filled else 0.0
                    X[i * row + j * w + lane] = x
                    total += abs(x)
            norms[lane] = total
            tops[lane] = n - 1 if lane < filled else -1
            turns[lane] = 0
            ends[lane] = float(tops[lane])
        _hessenberg(X, n, work)
        last = n - 1
        while True:
            _windows(X, n, ends, last, norms, begins)
            bottom, last = n, -1
            for lane in range(w):
                top, low = tops[lane], int(begins[lane])
                begins[lane] = ends[lane] = -1.0
                if top < 0:
                    continue
                if low >= top - 1:
                    top, low = _split(X, n, lane, top, norms[lane], out[s + lane])
                turns[lane] = turns[lane] + 1 if top == tops[lane] else 0
                if turns[lane] > _SWEEPS:
                    out[s + lane, :] = np.nan
                    top = -1
                tops[lane] = top
                if top < 0:
                    continue
                _begin(X, n, lane, top, low, turns[lane], first)
                begins[lane], ends[lane] = float(low), float(top)
                bottom, last = min(bottom, low), max(last, top)
            if last < 0:
                break
            _sweep(X, n, begins, ends, bottom, last, work)
