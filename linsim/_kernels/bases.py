"""Q B Q^T with a Haar orthogonal Q, for several matrices at once, one in each lane.

Q is a product of reflections, each of a Gaussian vector one entry shorter than the last (Stewart 1980): a
reflection takes the first unit vector to that vector, whose direction is uniform, and the next ones turn
what is orthogonal to it.  Applied to B from the last reflection on, none meets more than its own corner of
the matrix, and no Q is formed.  Tiles as in :mod:`.singular`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .kept import KEPT
from .lanes import WIDTH, copysign, fma, gather, load, magnitude, splat, sqrt, store, transpose, where
from .lower import lower_product, lower_update
from .normals import fill_normal
from .products import aligned

__all__ = ["pack", "reflector", "turned", "unpack"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}


@nb.njit(**_COMPILE)
def turned(diagonal, coupling, seeds, out):
    """Write Q B Q^T to out (b, n, n), as an exactly symmetric plus an exactly antisymmetric matrix.

    B has ``diagonal`` (b, n), and ``coupling`` (b, n - 1) above it, minus that below; Q is drawn from
    ``seeds`` (b,), one 64-bit number each.
    """
    w = WIDTH // out.itemsize
    b, n = diagonal.shape
    row = n * w
    even, odd, v, p = aligned(n * row, out), aligned(n * row, out), aligned(row, out), aligned(row, out)
    count = n * (n + 1) // 2
    drawn, sign, vectors = np.ones((w, count)), np.empty((w, n)), aligned(count * w, out)
    for s in range(0, b, w):
        filled = min(w, b - s)
        even[:] = 0.0
        skew = False
        for lane in range(filled):
            for k in range(n - 1):
                skew = skew or coupling[s + lane, k] != 0.0
        if skew:
            odd[:] = 0.0
        for lane in range(filled):
            fill_normal(seeds[s + lane], 0, drawn[lane])
            at = 0
            for k in range(n):
                # the reflection leaves minus its vector where that begins with a positive number
                sign[lane, k] = -1.0 if drawn[lane, at] >= 0.0 else 1.0
                at += n - k
            for k in range(n):
                even[k * row + k * w + lane] = diagonal[s + lane, k]
                if k > 0 and coupling[s + lane, k - 1] != 0.0:
                    # below the diagonal
                    odd[k * row + (k - 1) * w + lane] = (
                        -coupling[s + lane, k - 1] * sign[lane, k - 1] * sign[lane, k]
                    )
        pack(drawn, vectors)
        at = count - 1
        for k in range(n - 2, -1, -1):
            at -= n - k
            for i in range(k, n):
                store(v, i * w, load(vectors, (at + i - k) * w))
            _reflect(even, odd, skew, v, p, n, k)
        for i in range(n):
            for j in range(i):
                here, there = (i * n + j) * w, (j * n + i) * w
                x = load(even, here)
                if skew:
                    y = load(odd, here)
                    store(even, here, x + y)
                    store(even, there, x - y)
                else:
                    store(even, there, x)
        unpack(even, n * n, out[s : s + filled].reshape(filled, n * n))


@nb.njit(**_COMPILE)
def pack(rows, tile):
    """Copy rows (lanes, size) to vectors, one row to each lane."""
    w = WIDTH // tile.itemsize
    size, k = rows.shape[1], 0
    flat = rows.reshape(rows.size)
    while k + w <= size:
        transpose(tile, k * w, w, flat, k, size)
        k += w
    for j in range(k, size):
        store(tile, j * w, gather(flat, j, size))


@nb.njit(**_COMPILE)
def unpack(tile, size, out):
    """Copy the first lanes of ``size`` vectors to rows (filled, size), one lane to each."""
    w = WIDTH // tile.itemsize
    filled, k = out.shape[0], 0
    if filled == w:
        flat = out.reshape(out.size)
        while k + w <= size:
            transpose(flat, k, size, tile, k * w, w)
            k += w
    for lane in range(filled):
        for j in range(k, size):
            out[lane, j] = tile[j * w + lane]


@nb.njit(**_COMPILE)
def reflector(v, n, k):
    """Make entries k .. n - 1 of v the vector of the reflection onto entry k; return 2 over its square."""
    w = WIDTH // v.itemsize
    one, total = splat(v, 1.0), splat(v, 0.0)
    for i in range(k, n):
        x = load(v, i * w)
        total = fma(x, x, total)
    first, size = load(v, k * w), sqrt(total)
    head = first + copysign(size, first)
    store(v, k * w, head)
    product = size * magnitude(head)
    return where(product > 0.0, one / where(product > 0.0, product, one), splat(v, 0.0))


@nb.njit(**_COMPILE)
def _reflect(even, odd, skew, v, p, n, k):
    """Reflect both parts, of which only what is on and below the diagonal is held, from row k on."""
    w = WIDTH // v.itemsize
    row = n * w
    zero, factor, head = splat(v, 0.0), reflector(v, n, k), load(v, k * w)
    lower_product(even, n, k, n, v, 0, p, 1.0)
    inner = zero
    for i in range(k, n):
        x = load(p, i * w) * factor
        store(p, i * w, x)
        inner = fma(x, load(v, i * w), inner)
    inner = inner * factor * -0.5
    for i in range(k, n):
        store(p, i * w, fma(inner, load(v, i * w), load(p, i * w)))
    lower_update(even, n, k, n, v, 0, p, 1.0)
    if not skew:
        return
    if k > 0:  # what couples this corner to the column before it, so far in its first row alone
        at = (k - 1) * w
        corner = load(odd, k * row + at)
        turn = zero - corner * factor * head
        for i in range(k, n):
            store(odd, i * row + at, turn * load(v, i * w))
        store(odd, k * row + at, fma(turn, head, corner))
    lower_product(odd, n, k, n, v, 0, p, -1.0)
    for i in range(k, n):
        store(p, i * w, zero - load(p, i * w) * factor)
    lower_update(odd, n, k, n, v, 0, p, -1.0)
