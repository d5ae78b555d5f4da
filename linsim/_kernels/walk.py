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

from .drive import add_row, feed, lower, reach, rescale_as_one
from .kept import KEPT
from .lanes import WIDTH
from .layer import (
    ABSENT,
    DRIVE,
    FEED,
    GAIN,
    LEDGER,
    apply_layer,
    finish_layer,
    layout,
    log2,
    place_attention,
    place_input,
    place_weights,
    places,
    power_of_two,
    rescale,
    settle,
    settle_as_one,
)
from .measure import (
    ABS_COSINE,
    COSINE,
    RANK,
    SPREAD,
    STABLE,
    flush,
    layer_rounding,
    row_noise,
    stage,
    start_rounding,
    write_angles,
    write_content,
    write_spread,
)
from .products import aligned, columns, rows
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
    n, d, heads, itemsize = x0.shape[1], x0.shape[2], A.shape[1], x0.itemsize
    w = WIDTH // itemsize
    eps = 2.220446049250313e-16 if itemsize == 8 else 1.1920929e-07
    rounding = start_rounding(eps)
    log_rounding = math.log2(layer_rounding(n, d, eps))
    lay = layout(n, d, compressed, itemsize)
    base, stride = places(d, lay.height, itemsize)
    own, _ = places(d, n, itemsize)
    Y, T, ledger = aligned(lay.stored, x0), aligned(heads * lay.stored, x0), np.zeros(LEDGER)
    left, small = aligned(heads * lay.probe * n, x0), aligned(heads * rows(lay.m) * max(lay.m, 1), x0)
    right = aligned(heads * d * columns(d, itemsize), x0)

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
    own_sums, each, driven = np.ones(heads), np.zeros(heads * n, x0.dtype), drive.shape[1] > 0

    for s in range(first, last):
        xs = x0[s if x0.shape[0] > 1 else 0]
        coupled = not preserved[s if preserved.size > 1 else 0]
        pause = every[s if every.size > 1 else 0]
        as_one = uneven[s if uneven.size > 1 else 0]
        own_turns = each if as_one else each[:0]
        place_input(xs, generic, compressed, rounding, lay, base, stride, Y, ledger)
        placed_A, placed_H = -1, -1
        layer, since, unscaled = 0, 0, 0
        for t in range(wanted.size):
            while layer < wanted[t]:
                if stop[0]:
                    return
                if unscaled == pause:
                    if as_one:
                        settle_as_one(lay, base, stride, since, log_rounding, Y, ledger)
                        rescale_as_one(lay, base, stride, Y, ledger)
                    else:
                        settle(lay, base, stride, coupled, since, log_rounding, Y, ledger)
                        rescale(lay, base, stride, coupled, Y, ledger)
                    since = unscaled = 0
                at_A, at_H = 0 if A.shape[0] == 1 else layer, 0 if H.shape[0] == 1 else layer
                if placed_A != at_A or placed_H != at_H:
                    fed, gain = 0.0, 1.0
                    for h in range(heads):
                        M, N = A[at_A, h, s if A.shape[2] > 1 else 0], H[at_H, h, s if H.shape[2] > 1 else 0]
                        place_attention(M, generic, compressed, not as_one, lay, left, small, h)
                        place_weights(N, lay, right, h)
                        own_sums[h] = totals[
                            at_A if totals.shape[0] > 1 else 0, h, s if totals.shape[2] > 1 else 0
                        ]
                        for i in range(n if as_one else 0):
                            each[h * n + i] = turns[at_A, h, s if turns.shape[2] > 1 else 0, i]
                        fed += feed(M, N, own_sums[h])
                        gain += reach(M, N)
                    fed, gain = log2(fed), math.log2(gain)
                    ledger[FEED] = max(ledger[FEED], fed) if since > 0 else fed
                    ledger[GAIN] = max(ledger[GAIN], gain) if since > 0 else gain
                    placed_A, placed_H = at_A, at_H
                at = 0 if drive.shape[1] == 1 else layer
                own_drive = s if drive.shape[0] > 1 else 0
                if driven:
                    size = sizes[own_drive, at, 1]
                    ledger[DRIVE] = max(ledger[DRIVE], size) if since > 0 else size
                    lower(lay, base, stride, as_one, sizes[own_drive, at, 0], Y, ledger)
                apply_layer(
                    lay, base, stride, heads, left, small, right, own_sums, own_turns, Y, T, Y, True, 0,
                    lay.height,
                )  # fmt: skip
                finish_layer(lay, base, stride, compressed or as_one, coupled, Y, ledger)
                if driven:
                    add_row(lay, base, stride, drive[own_drive, at], sizes[own_drive, at, 0], Y, ledger)
                layer, since, unscaled = layer + 1, since + 1, unscaled + 1
            if as_one:
                settle_as_one(lay, base, stride, since, log_rounding, Y, ledger)
            else:
                settle(lay, base, stride, coupled, since, log_rounding, Y, ledger)
            since = 0
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
                    s, t, d, layer, zero_until[s if zero_until.shape[0] > 1 else 0], own, stride,
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
