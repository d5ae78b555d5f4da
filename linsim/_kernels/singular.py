"""Singular values of several matrices at once, one in each lane.

A tile holds ``count`` matrices interleaved: entry (i, j) of all of them lies in
one vector.  Householder reflections from both sides make them bidiagonal; dqds
(Fernando and Parlett 1994) with one shift per lane then finds the squares of
their singular values, smallest first.  Both are the same steps for every lane,
so what a lane holds never changes the result of another.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .elementary import ln_of
from .kept import NOTHING_NEW
from .lanes import (
    WIDTH,
    bits,
    copysign,
    fma,
    gather,
    largest,
    load,
    load_pair,
    magnitude,
    maximum,
    minimum,
    splat,
    splat_pair,
    sqrt,
    store,
    transpose,
    where,
)

__all__ = ["bidiagonalise", "entropies", "lay_out", "squares", "tile_work"]


@nb.njit(**NOTHING_NEW)
def tile_work(n, d):
    """Return how many vectors the two steps need beside the tile itself."""
    return max(3 * n + 3 * d, 8 * d, 12)


@nb.njit(**NOTHING_NEW)
def lay_out(tile, n, d, j, stage, at, step, held):
    """Write columns from j on, a vector of them, of matrices (n, d) to a tile, whose longer side comes first.

    ``at``: where the first of them begins in ``stage``; rows lie ``step`` apart, matrices ``held``.
    """
    w = WIDTH // tile.itemsize
    further = w if n >= d else n * w
    for i in range(n):
        to = (i * d + j if n >= d else j * n + i) * w
        if j + w <= d:
            transpose(tile, to, further, stage, at + i * step, held)
        else:
            for k in range(d - j):
                store(tile, to + k * further, gather(stage, at + i * step + k, held))


@nb.njit(**NOTHING_NEW)
def bidiagonalise(X, n, d, q, e, half, work):
    """Reduce a tile of (n, d) matrices, n >= d, to |diagonal| q and |superdiagonal| e.

    X, of entries around 1, is destroyed.  The two rank-one updates of a step are
    applied when the next step reads the matrix anyway: one pass writes it, one
    only reads.  Step k of the result is vector 2 k + ``half``, so that two tiles
    make the pairs of :func:`squares`.  ``work`` holds 3 n + 3 d vectors.
    """
    w = WIDTH // X.itemsize
    # the square of a column this small is nothing beside entries around 1
    nothing = 1e-200 if X.itemsize == 8 else 1e-30
    v, old_v, z = 0, n * w, 2 * n * w
    u, p, old_p = 3 * n * w, (3 * n + d) * w, (3 * n + 2 * d) * w
    zero = splat(X, 0.0)
    one = splat(X, 1.0)
    row = d * w
    for i in range(n):
        store(work, old_v + i * w, zero)
        store(work, z + i * w, zero)
    for j in range(d):
        store(work, u + j * w, zero)
        store(work, old_p + j * w, zero)
    for k in range(d):
        # the reflection of column k
        uk, pk = load(work, u + k * w), load(work, old_p + k * w)
        at = (k * d + k) * w
        a = load(X, at) - load(work, z + k * w) * uk - load(work, old_v + k * w) * pk
        rest = zero
        for i in range(k + 1, n):
            at += row
            x = load(X, at) - load(work, z + i * w) * uk - load(work, old_v + i * w) * pk
            store(work, v + i * w, x)
            rest = fma(x, x, rest)
        size = sqrt(fma(a, a, rest))
        store(q, (2 * k + half) * w, size)
        square = size * (size + magnitude(a))
        factor = where(square > nothing, one / square, zero)
        head = a + copysign(size, a)
        store(work, v + k * w, head)
        if k + 1 == d:
            break
        for j in range(k + 1, d):
            store(work, p + j * w, zero)
        # apply the last step's updates and form p = v^T X
        i = k
        while i + 3 < n:
            z0, z1 = load(work, z + i * w), load(work, z + (i + 1) * w)
            z2, z3 = load(work, z + (i + 2) * w), load(work, z + (i + 3) * w)
            o0, o1 = load(work, old_v + i * w), load(work, old_v + (i + 1) * w)
            o2, o3 = load(work, old_v + (i + 2) * w), load(work, old_v + (i + 3) * w)
            v0, v1 = load(work, v + i * w), load(work, v + (i + 1) * w)
            v2, v3 = load(work, v + (i + 2) * w), load(work, v + (i + 3) * w)
            at = i * row
            for j in range((k + 1) * w, row, w):
                uj, pj = load(work, u + j), load(work, old_p + j)
                x0 = load(X, at + j) - z0 * uj - o0 * pj
                x1 = load(X, at + row + j) - z1 * uj - o1 * pj
                x2 = load(X, at + 2 * row + j) - z2 * uj - o2 * pj
                x3 = load(X, at + 3 * row + j) - z3 * uj - o3 * pj
                store(X, at + j, x0)
                store(X, at + row + j, x1)
                store(X, at + 2 * row + j, x2)
                store(X, at + 3 * row + j, x3)
                store(work, p + j, fma(v0, x0, fma(v1, x1, fma(v2, x2, fma(v3, x3, load(work, p + j))))))
            i += 4
        while i < n:
            z0, o0, v0 = load(work, z + i * w), load(work, old_v + i * w), load(work, v + i * w)
            at = i * row
            for j in range((k + 1) * w, row, w):
                x0 = load(X, at + j) - z0 * load(work, u + j) - o0 * load(work, old_p + j)
                store(X, at + j, x0)
                store(work, p + j, fma(v0, x0, load(work, p + j)))
            i += 1
        # the reflection of row k
        a = zero
        rest = zero
        for j in range(k + 1, d):
            pj = load(work, p + j * w) * factor
            store(work, p + j * w, pj)
            x = load(X, (k * d + j) * w) - head * pj
            store(work, u + j * w, x)
            if j == k + 1:
                a = x
            else:
                rest = fma(x, x, rest)
        size = sqrt(fma(a, a, rest))
        store(e, (2 * k + half) * w, size)
        square = size * (size + magnitude(a))
        factor = where(square > nothing, one / square, zero)
        store(work, u + (k + 1) * w, a + copysign(size, a))
        pu = zero
        for j in range((k + 1) * w, row, w):
            pu = fma(load(work, p + j), load(work, u + j), pu)
        # z = (X - v p^T) u, backwards: the rows that the first pass has just left are still in the cache
        i = n - 4
        while i > k:
            s0 = s1 = s2 = s3 = zero
            at = i * row
            for j in range((k + 1) * w, row, w):
                uj = load(work, u + j)
                s0 = fma(load(X, at + j), uj, s0)
                s1 = fma(load(X, at + row + j), uj, s1)
                s2 = fma(load(X, at + 2 * row + j), uj, s2)
                s3 = fma(load(X, at + 3 * row + j), uj, s3)
            store(work, z + i * w, (s0 - load(work, v + i * w) * pu) * factor)
            store(work, z + (i + 1) * w, (s1 - load(work, v + (i + 1) * w) * pu) * factor)
            store(work, z + (i + 2) * w, (s2 - load(work, v + (i + 2) * w) * pu) * factor)
            store(work, z + (i + 3) * w, (s3 - load(work, v + (i + 3) * w) * pu) * factor)
            i -= 4
        i += 3
        while i > k:
            s0 = zero
            at = i * row
            for j in range((k + 1) * w, row, w):
                s0 = fma(load(X, at + j), load(work, u + j), s0)
            store(work, z + i * w, (s0 - load(work, v + i * w) * pu) * factor)
            i -= 1
        v, old_v = old_v, v
        p, old_p = old_p, p


@nb.njit(**NOTHING_NEW)
def squares(q, e, d, out, work):
    """Write the d squared singular values of each lane's bidiagonal matrix to ``out``.

    All arrays hold pairs of vectors, of two tiles: a single one would wait for its
    divisions.  Returns False if some lane did not converge; its values are then NaN.
    ``work`` holds 4 d pairs.

    Shifts come from the smallest pivot and its neighbour; a shift that was too
    large (a negative pivot) is taken back and a smaller one tried, so that what
    is deflated is always certain.
    """
    w = 2 * WIDTH // q.itemsize
    double = q.itemsize == 8
    eps = 2.220446049250313e-16 if double else 1.1920929e-07
    tiny = 1e-290 if double else 1e-30
    far_below = 1e-60 if double else 1e-24
    zero, one, huge = splat_pair(q, 0.0), splat_pair(q, 1.0), splat_pair(q, 1e30)
    a, b, a2, b2 = 0, d * w, 2 * d * w, 3 * d * w
    norm = zero
    for k in range(0, d * w, w):
        x = load_pair(q, k)
        x = x * x
        store(work, a + k, x)
        store(out, k, x)
        norm = norm + x
        if k < (d - 1) * w:
            y = load_pair(e, k)
            y = y * y
            store(work, b + k, y)
            norm = norm + y
    if d == 1:
        return True
    absolute = norm * (eps * eps)
    relative = sqrt(norm) * (0.25 * eps)
    floor = norm * far_below + tiny
    active = splat_pair(q, float(d))
    total, shift, trust = zero, zero, splat_pair(q, 0.25)
    three_quarters = splat_pair(q, 0.75)
    remaining = d
    for _ in range(12 * d + 200):
        # one dqds step with every lane's own shift, up to its own length
        pivot = load_pair(work, a) - shift
        before = pivot
        last = before_last = zero
        smallest_before, smallest_earlier = huge, huge
        length = active - 1.0
        # up to the last two steps of whichever lane ends first all do the same: what is remembered of a step
        # is that of the last ones
        ends = where(active > 1.0, active, zero + float(d))
        alike = max(d - int(largest(zero + float(d) - ends)) - 3, 0)
        for k in range(0, alike * w, w):
            ek, next_q = load_pair(work, b + k), load_pair(work, a + k + w)
            sum_ = pivot + (ek + floor)
            t = next_q / sum_
            apart = ek <= absolute
            store(work, b2 + k, where(apart, zero, ek * t))
            store(work, a2 + k, sum_)
            smallest_before = minimum(smallest_before, pivot)
            pivot = where(apart, next_q, pivot * t) - shift
        step = zero + float(alike)
        for k in range(alike * w, (remaining - 1) * w, w):
            inside = step < length
            ek, next_q = load_pair(work, b + k), load_pair(work, a + k + w)
            sum_ = pivot + (ek + floor)
            t = next_q / sum_
            # where the matrix has come apart nothing passes on, not even a pivot of 0
            apart = ek <= absolute
            new_e = where(apart, zero, ek * t)
            new_pivot = where(apart, next_q, pivot * t) - shift
            # beyond its length a lane holds nothing that counts but its last pivot
            store(work, b2 + k, new_e)
            store(work, a2 + k, where(inside, sum_, pivot))
            before_last = where(inside, last, before_last)
            last = where(inside, new_e, last)
            smallest_earlier = where(inside, smallest_before, smallest_earlier)
            before = where(inside, pivot, before)
            smallest_before = where(inside, minimum(smallest_before, pivot), smallest_before)
            pivot = where(inside, new_pivot, pivot)
            step = step + 1.0
        smallest = minimum(smallest_before, pivot)
        store(work, a2 + (remaining - 1) * w, pivot)
        running = active > 1.0
        good = smallest >= 0.0  # false for NaN too
        failed = where(good, zero, where(running, one, zero))
        accepted = where(good, where(running, one, zero), zero)
        if bits(failed > 0.0) != 0:
            for k in range(0, remaining * w, w):
                store(work, a2 + k, where(failed > 0.0, load_pair(work, a + k), load_pair(work, a2 + k)))
                if k < (remaining - 1) * w:
                    store(work, b2 + k, where(failed > 0.0, load_pair(work, b + k), load_pair(work, b2 + k)))
        moved = total + shift
        value = moved + pivot
        # dropping b moves eigenvalues by at most b + sqrt(b pivot), whatever the shift
        limit = relative * sqrt(maximum(value, zero))
        small = (last <= limit) & (last * pivot <= limit * limit)
        deflated = where((last <= absolute) | small, accepted, zero)
        # the next shift: a lower bound of the smallest eigenvalue, from its last pivot
        trust = where(failed > 0.0, trust * 0.25, trust + (1.0 - trust) * 0.333)
        gap = smallest_before - pivot
        product = last * pivot
        bound = maximum(pivot - 1.25 * product / maximum(gap, floor), pivot - sqrt(maximum(product, zero)))
        bound = maximum(bound * (1.0 - 8 * eps), smallest * 0.25)
        ahead = where(gap > 0.0, bound, smallest * minimum(trust, three_quarters))
        # the same where the last value has just gone
        gap = smallest_earlier - before
        product = before_last * before
        bound = maximum(before - 1.25 * product / maximum(gap, floor), before - sqrt(maximum(product, zero)))
        bound = maximum(bound * (1.0 - 8 * eps), smallest_before * 0.25)
        after = where(gap > 0.0, bound, smallest_before * minimum(trust, three_quarters))
        new_shift = maximum(where(deflated > 0.0, after, ahead), zero)
        # a failed shift shrinks, or falls to what only the last pivot exceeded
        smaller = where(trust < 0.02, zero, shift * 0.25)
        late = (shift + smallest) * (1.0 - 8 * eps)
        smaller = where(smallest_before > 0.0, where(late > 0.0, late, smaller), smaller)
        total = where(failed > 0.0, total, moved)
        shift = where(failed > 0.0, smaller, new_shift)
        gone = bits(deflated > 0.0)
        if gone != 0:
            store(e, 0, active)
            store(q, 0, value)
            lane = 0
            while gone != 0:
                if gone & 1:
                    left = int(e[lane]) - 1
                    out[left * w + lane] = q[lane]
                    if left == 1:  # the other one is alone now
                        store(q, w, total)
                        out[lane] = q[w + lane] + work[a2 + lane]
                gone >>= 1
                lane += 1
            active = active - deflated
            remaining = int(largest(active))
        a, a2 = a2, a
        b, b2 = b2, b
        if remaining <= 1:
            break
    store(e, 0, active)
    done = True
    for lane in range(w):
        if e[lane] > 1.0:
            done = False
            for k in range(d):
                out[k * w + lane] = np.nan
    return done


@nb.njit(**NOTHING_NEW)
def entropies(squared, d, out):
    """Sum up squared singular values, pairs of lanes, relative to the largest of each matrix.

    Writes six pairs to ``out``: the largest square; over the others the sums of
    m = sigma / sigma_1, of m ln m, and of m^2; over all those of ln m and of (ln m)^2,
    where m is at least 1e-9 (float32: 1e-6).  A matrix with a value that is not
    finite has NaN there; one of zeros has a largest square of 0.
    """
    w = 2 * WIDTH // squared.itemsize
    zero, one = splat_pair(squared, 0.0), splat_pair(squared, 1.0)
    top = zero
    for k in range(0, d * w, w):
        top = maximum(top, load_pair(squared, k))
    safe = where(top > 0.0, top, one)
    smallest = 1e-290 if squared.itemsize == 8 else 1e-36
    seen = 1e-18 if squared.itemsize == 8 else 1e-12
    sum_, logs, energy, first, ln_sum, ln_squares = zero, zero, zero, zero, zero, zero
    for k in range(0, d * w, w):
        x = load_pair(squared, k)
        x = where(x < 0.0, zero, x)
        ratio = x / safe
        m = sqrt(ratio)
        leads = x >= top
        sum_ = sum_ + where(leads, zero, m)
        energy = energy + where(leads, zero, ratio)
        ln = ln_of(maximum(ratio, splat_pair(squared, smallest))) * 0.5
        logs = logs + where(ratio > smallest, m * ln, zero)
        seen_ln = maximum(ln, splat_pair(squared, 0.5 * math.log(seen)))
        ln_sum, ln_squares = ln_sum + seen_ln, ln_squares + seen_ln * seen_ln
        first = first + where(leads, one, zero)
    # all but one of those that tie for the lead are others
    store(out, 0, top)
    store(out, w, sum_ + (first - 1.0))
    store(out, 2 * w, logs)
    store(out, 3 * w, energy + (first - 1.0))
    store(out, 4 * w, ln_sum)
    store(out, 5 * w, ln_squares)
