"""S B S^-1 with a Gaussian S, for several matrices at once, one in each lane.

S is never formed.  Its factors are independent (Bartlett's decomposition; Stewart 1980): S = Q R with Q a
product of reflections, each of a Gaussian vector one entry shorter than the last, and R upper triangular,
with Gaussian entries above the diagonal and the lengths of these vectors on it.  R B R^-1 is a triangular
solve, and the reflections are applied to it from both sides, from the last on.  Tiles as in
:mod:`.singular`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .bases import pack, reflector, unpack
from .hessenberg import reflect_corner
from .kept import KEPT
from .lanes import WIDTH, copysign, fma, load, splat, sqrt, store
from .normals import fill_normal
from .products import aligned

__all__ = ["similar"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}


@nb.njit(**_COMPILE)
def similar(diagonal, coupling, seeds, stream, out, condition):
    """Write S B S^-1 to out (b, n, n), and to condition (b,) that of S in the Frobenius norm.

    B has ``diagonal`` (b, n), and ``coupling`` (b, n - 1) above it, minus that below; S is drawn from
    ``seeds`` (b,) and one ``stream`` of theirs.
    """
    w = WIDTH // out.itemsize
    b, n = diagonal.shape
    row, half = n * w, n * (n + 1) // 2
    R, X, Y = aligned(n * row, out), aligned(n * row, out), aligned(n * row, out)
    drawn, vectors = np.empty((w, n * n)), aligned(n * row, out)
    middle, beside = aligned(row, out), aligned(row, out)
    work, size = aligned(2 * row, out), aligned(w, out)
    zero, one = splat(out, 0.0), splat(out, 1.0)
    for s in range(0, b, w):
        filled = min(w, b - s)
        for lane in range(w):
            t = s + min(lane, filled - 1)  # lanes that are left over hold the last one once more
            fill_normal(seeds[t], stream, drawn[lane])
            for k in range(n):
                middle[k * w + lane] = diagonal[t, k]
                beside[k * w + lane] = coupling[t, k] if k + 1 < n else 0.0
        pack(drawn, vectors)
        at, above = 0, half
        for k in range(n):
            total, first = zero, load(vectors, at * w)
            for j in range(at * w, (at + n - k) * w, w):
                x = load(vectors, j)
                total = fma(x, x, total)
            # the reflection leaves minus its vector where that begins with a positive number; the last
            # vector is left as it is
            length = zero - copysign(sqrt(total), first)
            store(R, k * row + k * w, first if k == n - 1 else length)
            for j in range(k + 1, n):
                store(R, k * row + j * w, load(vectors, above * w))
                above += 1
            at += n - k
        for i in range(n):
            for j in range(n):
                o, x = i * row + j * w, zero
                if i <= j:
                    x = load(R, o) * load(middle, j * w)
                if i < j:
                    x = fma(load(R, o - w), load(beside, (j - 1) * w), x)
                if i <= j + 1 < n:
                    x = x - load(R, o + w) * load(beside, j * w)
                store(X, o, x)
                store(Y, o, one if i == j else zero)
        _solve(X, R, n, 1)
        _solve(Y, R, n, 0)
        store(size, 0, sqrt(_square(R, n) * _square(Y, n)))
        for lane in range(filled):
            condition[s + lane] = size[lane]
        at = half - 1
        for k in range(n - 2, -1, -1):
            at -= n - k
            for i in range(k, n):
                store(work, i * w, load(vectors, (at + i - k) * w))
            factor, head = reflector(work, n, k), load(work, k * w)
            if k > 0:  # what couples this corner to the column before it, so far in its first row alone
                place = k * row + (k - 1) * w
                corner = load(X, place)
                turn = zero - corner * factor * head
                for i in range(k + 1, n):
                    store(X, i * row + (k - 1) * w, turn * load(work, i * w))
                store(X, place, fma(turn, head, corner))
            reflect_corner(X, n, k, work, 0, row, factor)
        unpack(X, n * n, out[s : s + filled].reshape(filled, n * n))


@nb.njit(**_COMPILE)
def _solve(X, R, n, below):
    """X = X R^-1, of which row i begins ``below`` places before the diagonal."""
    w = WIDTH // X.itemsize
    row, one = n * w, splat(X, 1.0)
    for j in range(n):
        inverse = one / load(R, j * row + j * w)
        for i in range(min(j + below + 1, n)):
            x, at = load(X, i * row + j * w), i * row
            for k in range(max(0, i - below), j):
                x = x - load(X, at + k * w) * load(R, k * row + j * w)
            store(X, at + j * w, x * inverse)


@nb.njit(**_COMPILE)
def _square(X, n):
    """The squared Frobenius norm of an upper triangular tile."""
    w = WIDTH // X.itemsize
    total = splat(X, 0.0)
    for i in range(n):
        for j in range(i, n):
            x = load(X, (i * n + j) * w)
            total = fma(x, x, total)
    return total
