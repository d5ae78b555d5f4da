"""Layer by layer through small systems that stay in the cache, metrics measured on the way.

One system at a time: its tokens, its matrices and a probe (see :mod:`.layer`)
take a few tens of kilobytes.  Recorded states are staged, whichever system and
layer they belong to, and their singular values are found across lanes when two
tiles are full.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .lanes import WIDTH
from .layer import ABSENT, layout, places, power_of_two
from .measure import (
    ABS_COSINE,
    COSINE,
    RANK,
    SPREAD,
    STABLE,
    flush,
    row_noise,
    stage,
    write_angles,
    write_content,
    write_spread,
)
from .onward import begin, onward, room_for
from .products import aligned, columns
from .singular import bidiagonalise, squares, tile_work

__all__ = ["tile_values", "walk"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}

# --- the walk ---------------------------------------------------------------------------


@nb.njit(**_COMPILE)
def walk(
    A, H, totals, turns, uneven, drive, sizes, x0, zero_until, wanted, every, preserved, generic, compressed,
    slot, first, last, values, errors, lost, counts, stop,
):  # fmt: skip
    """Run systems ``first`` to ``last`` through the layers and record.

    Parameters
    ----------
    A : (layers or 1, heads, b or 1, n, n); H : (layers or 1, heads, b or 1, d, d)
        Layer l takes entry l, or 0 where there is one only.
    totals : (layers or 1, heads, b or 1), what rows of A sum to, on average
    turns : (layers or 1, heads, b or 1, n), how much more each row sums to; n is 0 where all do alike
    uneven : (b or 1,) bool, whether rows of a system do not
    drive, sizes : (b or 1, layers or 1 or 0, stored columns), and (., ., 2) float64
        What each layer adds to every token, and its exponent and log2 of its length.
    x0 : (b or 1, n, d)
    zero_until : (b or 1, n) int, the layer up to which a token is exactly zero, -1 for never
    wanted : (k,) int, increasing layers
    every : (b or 1,) int, layers between two rescalings
    preserved : (b or 1,) bool, whether token means are kept exactly
    generic : (n + 1, max(n, d)) normal numbers for the probe
    compressed : bool, whether the probe may be compressed (one head, one A)
    slot : (10,) int, where each of MEASURED goes in ``values``, -1 if nowhere
    values, errors : (names, b, k) float64, written
    lost : (some, 3 + n d), counts : (1,) int: states whose singular values are still to be found
    stop : (1,) bool, ends the work when it becomes true
    """
    n, d, itemsize = x0.shape[1], x0.shape[2], x0.itemsize
    w = WIDTH // itemsize
    eps = 2.220446049250313e-16 if itemsize == 8 else 1.1920929e-07
    lay = layout(n, d, compressed, itemsize)
    base, stride = places(d, lay.height, itemsize)
    own, _ = places(d, n, itemsize)
    room = room_for(lay, A.shape[1], x0)
    Y, ledger = room.Y, room.ledger

    ranks = slot[RANK] >= 0 or slot[STABLE] >= 0
    angles = slot[COSINE] >= 0 or slot[ABS_COSINE] >= 0
    tall, wide = max(n, d), min(n, d)
    # staged states begin a line apart in the cache, not at the same places of pages
    held = n * columns(d, itemsize) + w
    staged, tile, heights = aligned(2 * held * w, x0), aligned(tall * wide * w, x0), np.zeros(n, x0.dtype)
    sums, q, e = aligned(n * w, x0), aligned(2 * max(wide, 2) * w, x0), aligned(2 * max(wide, 2) * w, x0)
    squared, work = aligned(2 * wide * w, x0), aligned(tile_work(tall, wide) * w, x0)
    table = np.zeros((2 * w, 3))
    filled = 0

    for s in range(first, last):
        xs = x0[s if x0.shape[0] > 1 else 0]
        coupled = not preserved[s if preserved.size > 1 else 0]
        pause = every[s if every.size > 1 else 0]
        as_one = uneven[s if uneven.size > 1 else 0]
        begin(xs, generic, compressed, eps, lay, base, stride, room)
        for t in range(wanted.size):
            onward(
                wanted[t], s, A, H, totals, turns, drive, sizes, generic, compressed, coupled, as_one, pause,
                eps, lay, base, stride, room, stop,
            )  # fmt: skip
            if stop[0]:
                return
            scale, noise, there = write_content(s, t, n, coupled, eps, slot, values, errors, ledger)
            if not there:
                continue
            if slot[SPREAD] >= 0:
                write_spread(s, t, n, base, stride, eps, slot, values, errors, Y, ledger)
            if not (angles or ranks):
                continue
            absolute = power_of_two(min(math.floor(noise) + 1, 200.0)) if noise > ABSENT / 2 else 0.0
            o = filled * held
            stage(n, lay.mean, base, stride, own, scale, Y, ledger, staged, o, sums)
            if angles:
                write_angles(
                    s, t, d, wanted[t], zero_until[s if zero_until.shape[0] > 1 else 0], own, stride,
                    row_noise(absolute, n), eps, slot, values, errors, staged, o, sums, heights,
                )  # fmt: skip
            if ranks:
                table[filled, 0], table[filled, 1], table[filled, 2] = s, t, absolute
                filled += 1
            if filled == 2 * w:
                flush(
                    staged, held, tile, q, e, squared, work, n, d, d, table, filled, slot, values, errors,
                    lost, counts,
                )  # fmt: skip
                filled = 0
    if filled:
        flush(
            staged, held, tile, q, e, squared, work, n, d, d, table, filled, slot, values, errors, lost,
            counts,
        )  # fmt: skip


@nb.njit(**_COMPILE)
def tile_values(X, first, last, out):
    """Write the singular values of X[first:last], (b, n, d) with entries around 1, to out (b, min), unsorted.

    Where they were not found they are NaN.
    """
    w = WIDTH // X.itemsize
    nothing, least = (1e-58, 1e-280) if X.itemsize == 8 else (1e-22, 1e-26)
    n, d = X.shape[1], X.shape[2]
    tall, wide = max(n, d), min(n, d)
    tile = aligned(tall * wide * w, X)
    q, e = aligned(2 * max(wide, 2) * w, X), aligned(2 * max(wide, 2) * w, X)
    squared = aligned(2 * wide * w, X)
    work = aligned(tile_work(tall, wide) * w, X)
    for s in range(first, last, 2 * w):
        filled = min(2 * w, last - s)
        for half in range(2):
            for lane in range(half * w, min(filled, (half + 1) * w)):
                for i in range(n):
                    for j in range(d):
                        at = i * d + j if n >= d else j * n + i
                        tile[at * w + lane - half * w] = X[s + lane, i, j]
            if half * w < filled:
                bidiagonalise(tile, tall, wide, q, e, half, work)
        squares(q, e, wide, squared, work)
        for lane in range(filled):
            top = 0.0
            for k in range(wide):
                top = max(top, squared[2 * k * w + lane])
            floor = max(nothing * top, least)
            for k in range(wide):
                x = squared[2 * k * w + lane]
                # what the method itself adds to a zero is no value
                out[s + lane, k] = math.sqrt(x) if x > floor else (0.0 if x <= floor else np.nan)
