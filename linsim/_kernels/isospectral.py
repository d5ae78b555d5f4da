"""Symmetric stochastic matrices with given eigenvalues, several searches at once, one in each lane.

The search of :mod:`linsim._spectra`: eigenvalues are replaced, entries below a margin reflected, until all
are above it.  What a lane has found makes room for the next system at once: none waits for a longer search.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .lanes import WIDTH, fma, load, maximum, minimum, splat, store, where
from .normals import fill_normal
from .products import aligned
from .symmetric import eigenvectors

__all__ = ["isospectral", "settled"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}


@nb.njit(**_COMPILE)
def isospectral(
    others, room, seeds, starts, steps, reflection, margin, share, memory, tolerance, matrices, found
):
    """Search for matrices (b, n, n) with eigenvalues 1 and others (b, n - 1), ascending.

    It starts from ``starts`` (b, n, n) as they are or, where there are none, from what seeds (b,) draw.  An
    entry below margin * room / n is moved ``reflection`` times as far up as it is below, with ``memory`` of
    what the step before moved; all above ``share`` of that are accepted.  ``tolerance``: of the eigenvectors
    of each step.  Writes the last matrix to ``matrices`` and to found (b,) whether it is accepted.
    """
    w = WIDTH // matrices.itemsize
    b, m = others.shape
    n = m + 1
    X, Z = aligned(m * m * w, matrices), aligned(m * m * w, matrices)
    A, moved = aligned(n * n * w, matrices), aligned(n * n * w, matrices)
    d, e, c = aligned(n * w, matrices), aligned(n * w, matrices), aligned(n * w, matrices)
    work, target, least = aligned(4 * n * w, matrices), aligned(w, matrices), aligned(w, matrices)
    drawn = np.empty(m * (m + 1) // 2)
    system, age = np.full(w, -1), np.zeros(w, np.int64)
    waiting = 0
    while True:
        busy = 0
        for lane in range(w):
            if system[lane] < 0 and waiting < b:
                system[lane], age[lane] = waiting, 0
                target[lane] = -1e30  # nothing is moved at first
                for k in range(n * n):
                    moved[k * w + lane] = 0.0
                if starts.size:
                    for i in range(n):
                        for j in range(i + 1):
                            A[(i * n + j) * w + lane] = starts[waiting, i, j]
                waiting += 1
            busy += system[lane] >= 0
        if busy == 0:
            return
        _reflected(A, moved, n, target, reflection, memory)
        _inwards(A, n, X, work)
        for lane in range(w):
            if system[lane] >= 0 and age[lane] == 0:
                target[lane] = margin * room[system[lane]] / n
                if not starts.size:
                    _draw(X, seeds[system[lane]], drawn, lane, m)
        eigenvectors(X, m, Z, d, e, work, tolerance)
        _ranked(d, m, system, others, c)
        _recombined(Z, c, m, X, work)
        _outwards(X, m, A, work, least)
        for lane in range(w):
            s = system[lane]
            if s < 0:
                continue
            age[lane] += 1
            good = least[lane] > max(share * target[lane], 1e-14)
            if not good and age[lane] < steps:
                continue
            found[s] = good
            system[lane] = -1  # the place of what is done is taken at once
            for i in range(n):
                for j in range(i + 1):
                    x = A[(i * n + j) * w + lane]
                    matrices[s, i, j] = x
                    matrices[s, j, i] = x


@nb.njit(**_COMPILE)
def _draw(X, seed, drawn, lane, m):
    """Put a symmetric Gaussian matrix into a lane: its eigenvectors are Haar distributed."""
    w = WIDTH // X.itemsize
    fill_normal(seed, 0, drawn)
    at = 0
    for i in range(m):
        for j in range(i + 1):
            X[(i * m + j) * w + lane] = drawn[at] * (math.sqrt(2.0) if i == j else 1.0)
            at += 1


@nb.njit(**_COMPILE)
def _ranked(d, m, system, others, c):
    """Give each eigenvector the wanted eigenvalue of the rank of its own."""
    w = WIDTH // d.itemsize
    zero, one = splat(d, 0.0), splat(d, 1.0)
    for i in range(m):
        x, rank = load(d, i * w), zero
        for j in range(m):
            y = load(d, j * w)
            below = (y <= x) if j < i else (y < x)
            rank = rank + where(below, one, zero)
        store(c, i * w, rank)
    for lane in range(w):
        for i in range(m):
            k = i * w + lane
            c[k] = others[system[lane], int(c[k])] if system[lane] >= 0 else 0.0


@nb.njit(**_COMPILE)
def _recombined(Z, c, m, X, work):
    """X = Z^T diag(c) Z, on and below the diagonal."""
    w = WIDTH // X.itemsize
    row, zero = m * w, splat(X, 0.0)
    for i in range(m):
        for k in range(m):
            store(work, k * w, load(c, k * w) * load(Z, k * row + i * w))
        j = 0
        while j + 3 <= i:
            s0 = s1 = s2 = s3 = zero
            for k in range(m):
                t, at = load(work, k * w), k * row + j * w
                s0 = fma(t, load(Z, at), s0)
                s1 = fma(t, load(Z, at + w), s1)
                s2 = fma(t, load(Z, at + 2 * w), s2)
                s3 = fma(t, load(Z, at + 3 * w), s3)
            at = i * row + j * w
            store(X, at, s0)
            store(X, at + w, s1)
            store(X, at + 2 * w, s2)
            store(X, at + 3 * w, s3)
            j += 4
        while j <= i:
            s0 = zero
            for k in range(m):
                s0 = fma(load(work, k * w), load(Z, k * row + j * w), s0)
            store(X, i * row + j * w, s0)
            j += 1


@nb.njit(**_COMPILE)
def _outwards(X, m, A, work, least):
    """A = (1 - 2 w w^T) (0 + X) (1 - 2 w w^T) + 1 1^T / n, which takes e_0 to 1 / sqrt n; its least entry."""
    w = WIDTH // X.itemsize
    n = m + 1
    first, rest = _mirror(n)
    # q = 2 (0 + X) w - 2 (w^T (0 + X) w) w; entries of w are all ``rest`` but the first
    store(work, 0, splat(X, 0.0))
    _sums(X, m, work, w, rest)
    inner = splat(X, 0.0)
    for i in range(1, n):
        inner = fma(load(work, i * w), splat(X, rest), inner)
    for i in range(n):
        x = fma(inner, splat(X, -first if i == 0 else -rest), load(work, i * w))
        store(work, i * w, x + x)
    smallest = splat(X, 1e30)
    share = 1.0 / n
    head, tail, even = splat(X, -first), splat(X, -rest), splat(X, share)
    for i in range(n):
        wi, qi = (head if i == 0 else tail), load(work, i * w)
        for j in range(i + 1):
            x = fma(qi, head if j == 0 else tail, fma(load(work, j * w), wi, even))
            if j > 0:
                x = x + load(X, ((i - 1) * m + j - 1) * w)
            store(A, (i * n + j) * w, x)
            smallest = minimum(smallest, x)
    store(least, 0, smallest)


@nb.njit(**_COMPILE)
def _mirror(n):
    """The unit vector w = (e_0 - 1 / sqrt n) / |.|: its first entry, and all others."""
    root = 1.0 / math.sqrt(n)
    size = math.sqrt((1.0 - root) * (1.0 - root) + (n - 1) * root * root)
    return (1.0 - root) / size, -root / size


@nb.njit(**_COMPILE)
def _sums(S, m, out, o, factor):
    """Write factor times the row sums of a symmetric tile, of its lower half, to out[o:]."""
    w = WIDTH // S.itemsize
    for i in range(m):
        store(out, o + i * w, splat(S, 0.0))
    for i in range(m):
        total = load(out, o + i * w)
        for j in range(i):
            x = load(S, (i * m + j) * w)
            total = total + x
            store(out, o + j * w, load(out, o + j * w) + x)
        store(out, o + i * w, total + load(S, (i * m + i) * w))
    for i in range(m):
        store(out, o + i * w, load(out, o + i * w) * factor)


@nb.njit(**_COMPILE)
def _reflected(A, moved, n, target, reflection, memory):
    """Add to A what lifts entries that are below their target, and keep it in ``moved``."""
    w = WIDTH // A.itemsize
    zero, wanted = splat(A, 0.0), load(target, 0)
    times, kept = splat(A, reflection), splat(A, memory)
    for i in range(n):
        for j in range(i + 1):
            k = (i * n + j) * w
            x = load(A, k)
            lift = fma(maximum(wanted - x, zero), times, load(moved, k) * kept)
            store(moved, k, lift)
            store(A, k, x + lift)


@nb.njit(**_COMPILE)
def _inwards(A, n, X, work):
    """X = the part of (1 - 2 w w^T) A (1 - 2 w w^T) that e_0 is no part of."""
    w = WIDTH // A.itemsize
    m = n - 1
    first, rest = _mirror(n)
    # h = A w = rest * row sums + (first - rest) * first column
    _sums(A, n, work, 0, rest)
    inner = splat(A, 0.0)
    for i in range(n):
        x = fma(load(A, i * n * w), splat(A, first - rest), load(work, i * w))
        store(work, i * w, x)
        inner = fma(x, splat(A, first if i == 0 else rest), inner)
    back = splat(A, -rest)
    for i in range(1, n):
        x = fma(inner, back, load(work, i * w))
        store(work, i * w, x + x)
    for i in range(1, n):
        gi = load(work, i * w)
        for j in range(1, i + 1):
            x = fma(load(work, j * w) + gi, back, load(A, (i * n + j) * w))
            store(X, ((i - 1) * m + j - 1) * w, x)


@nb.njit(**_COMPILE)
def settled(matrices, least, worst):
    """Let rows of symmetric matrices (b, n, n) sum to 1 to rounding.

    Writes to least (b,) and worst (b,) the smallest entry, and how far the sum of a row is off.
    """
    b, n = matrices.shape[0], matrices.shape[1]
    off, low = np.empty(n), np.empty(n)
    for s in range(b):
        A, mean = matrices[s], 0.0
        off[:] = -1.0
        for i in range(n):  # a column of sums at a time, which is one vector after the other
            for j in range(n):
                off[j] += A[i, j]
        for j in range(n):
            mean += off[j] / n
        low[:] = np.inf
        for i in range(n):
            for j in range(n):
                x = A[i, j] - (off[i] + off[j] - mean) / n
                A[i, j] = x
                low[j] = min(low[j], x)
        off[:] = -1.0
        for i in range(n):
            for j in range(n):
                off[j] += A[i, j]
        least[s], worst[s] = low.min(), np.abs(off).max()
