"""The default metrics of recorded states with their errors, one state after the other, in one function.

A state is put together once, and what all metrics need of it stays in the cache.  Matrices whose singular
values are asked for wait until two tiles of them lie side by side in lanes (:mod:`.singular`).
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .angles import angles_of
from .kept import KEPT, UNCOUNTED
from .lanes import WIDTH, fma, load, splat, store
from .layer import power_of_two
from .products import aligned
from .rowwise import unfill
from .singular import bidiagonalise, lay_out, squares, tile_work
from .sums import assemble, clear, content_of, leading_of, room
from .values import angular_of, ranks_of, room_for_ranks, sizes_of

__all__ = ["matrices", "measure", "measure_in", "room_to_measure"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}

_W = WIDTH // 8


@nb.njit(**UNCOUNTED)
def _scale(pair, size_S):
    """The power of two below the norm of what singular values are found of; NaN if it is not finite."""
    size = (
        math.sqrt(size_S) if pair[3] > 0 else math.hypot(pair[0], power_of_two(pair[2]) * math.sqrt(size_S))
    )
    if not math.isfinite(size):
        return np.nan
    return power_of_two(math.frexp(size)[1] - 1.0) if size > 0 else 1.0


@nb.njit(**UNCOUNTED)
def _for_singular_values(pair, S, alpha, q, x, scale, out, o):
    """Write the minors to ``out`` from ``o`` on where the leading pair is split off, else all of the state.

    ``x``: what S holds along alpha.  All is divided by ``scale``.
    """
    stride = q.size
    apart = pair[3] > 0
    f, main = (1.0, -1.0) if apart else (power_of_two(pair[2]), pair[0])
    f, main = f / scale, main / scale
    line = x if apart else q
    by = splat(S, f)
    for i in range(0, S.size // stride, 2):
        one, two = splat(S, main * alpha[i]), splat(S, main * alpha[i + 1])
        at = i * stride
        for k in range(0, stride, _W):
            y = load(line, k)
            store(out, o + at, fma(one, y, load(S, at) * by))
            store(out, o + at + stride, fma(two, y, load(S, at + stride) * by))
            at += _W


@nb.njit(**UNCOUNTED)
def _values_of_tiles(stage, held, stride, n, d, filled, tile, q, e, squared, work):
    """Write to ``squared`` the squares of the singular values of ``filled`` matrices, ``held`` apart."""
    tall, wide = max(n, d), min(n, d)
    for half in range(2):
        if half * _W >= filled:
            continue  # what is left of earlier tiles does no harm
        for j in range(0, d, _W):
            lay_out(tile, n, d, j, stage, half * _W * held + j, stride, held)
        bidiagonalise(tile, tall, wide, q, e, half, work)
    squares(q, e, wide, squared, work)


@nb.njit(**UNCOUNTED)
def _decreasing(squared, lane, scale, out):
    """Write the singular values of one lane; return whether they were found."""
    top = 0.0
    for k in range(out.size):
        top = max(top, squared[2 * k * _W + lane])
    floor = max(1e-58 * top, 1e-280)
    found = True
    for k in range(out.size):
        x = squared[2 * k * _W + lane]
        # what the method itself adds to a zero is no value
        x = math.sqrt(x) * scale if x > floor else (0.0 if x <= floor else np.nan)
        found = found and x == x
        at = k
        while at > 0 and out[at - 1] < x:
            out[at] = out[at - 1]
            at -= 1
        out[at] = x
    return found


@nb.njit(**_COMPILE)
def measure(
    a, r, b, R, mean, e, noise, v, z, constant, preserves, rows, known, zero, unit, wanted, minors, scales,
    values, errors, pairs, largest, lost,
):  # fmt: skip
    """Write the default metrics of B states and their errors.

    Parameters
    ----------
    a (B,), r (B, d), b (B, n), R (B, n, d), mean (B, d), e (B, 5) : parts and their exponents
    noise (B, 5) : log2 of the errors of the parts
    v (B or 1, n), z (B or 1, d), constant, preserves (B or 1,) : how they are cut
    rows (B or 1, n), known : log2 of the errors of rows, and whether they are known
    zero (B or 1, n) bool : rows that are exactly zero
    unit : eps of the dtype of the states
    wanted : whether to write SIZES, ANGULAR and RANKS of :mod:`.slots`, and whether singular values are
        found here (else no RANKS are written, and others find them)
    minors (B or 0, n, d), scales (B,) : what others find singular values of, and are to multiply these by,
        written
    values, errors (14, B) : SIZES, ANGULAR and RANKS, one below the other, written
    pairs (B, 6), largest (B,) : what :func:`linsim._kernels.values.ranks` starts from, written
    lost (B,) bool : whose singular values were not found, written
    """
    place = room_to_measure(R.shape[1], R.shape[2], wanted[3], R)
    measure_in(
        place, a, r, b, R, mean, e, noise, v, z, constant, preserves, rows, known, zero, unit, wanted, minors,
        scales, values, errors, pairs, largest, lost,
    )  # fmt: skip


@nb.njit(**_COMPILE)
def room_to_measure(n, d, in_lanes, like):
    """Return the room for :func:`measure_in`; ``like``: an array of double precision."""
    space = room(n, d, like)
    sums, around = np.empty(6), np.empty(13)
    tall, wide, size = max(n, d), min(n, d), space[0][2].size
    at_once = 2 * _W if in_lanes else 0
    # matrices begin a line apart in the cache, not at the same places of pages
    held = size + _W
    stage, tile = aligned(held * at_once, like), aligned(tall * wide * at_once // 2, like)
    diagonal, above = aligned(max(wide, 2) * at_once, like), aligned(max(wide, 2) * at_once, like)
    squared, work = aligned(wide * at_once, like), aligned(tile_work(tall, wide) * at_once, like)
    singular, places = np.empty(wide), np.zeros(2 * _W, np.int64)
    whole = aligned(0 if in_lanes else size, like)
    tiles = (stage, tile, diagonal, above, squared, work)
    single = (whole, singular, room_for_ranks(wide, like))
    return space, (sums, around), tiles, single, places, held


@nb.njit(**UNCOUNTED)
def measure_in(
    place, a, r, b, R, mean, e, noise, v, z, constant, preserves, rows, known, zero, unit, wanted, minors,
    scales, values, errors, pairs, largest, lost,
):  # fmt: skip
    """Do what :func:`measure` does in the room that :func:`room_to_measure` has made."""
    n, d = R.shape[1], R.shape[2]
    space, few, tiles, single, places, held = place
    of_sizes, of_angles, of_ranks, in_lanes = wanted
    S, x, q, alpha = space[0][2], space[1][2], space[1][1], space[2][0]
    (sums, around), (whole, singular, of_each) = few, single
    stage, tile, diagonal, above, squared, work = tiles
    log_unit, stride, at_once = math.log2(unit), q.size, places.size if in_lanes else 0
    filled = 0
    for s in range(a.size):
        t = s if v.shape[0] > 1 else 0
        of_mode = not constant[s if constant.size > 1 else 0]
        kept = preserves[s if preserves.size > 1 else 0]
        exponents = assemble(a[s], r[s], b[s], R[s], e[s], v[t], z[t], space)
        content_of(mean[s], e[s], exponents, of_mode, kept, n, d, space, sums)
        largest[s], lost[s] = sums[0], False
        finite = sums[0] < np.inf and sums[1] < np.inf and sums[3] < np.inf
        if not finite:
            values[:, s], errors[:, s], largest[s], scales[s], pairs[s] = np.nan, np.inf, np.inf, np.nan, 0.0
            clear(space)  # no number may stay behind, not even times zero
        if of_sizes and finite:
            sizes_of(sums, e[s], noise[s], v[t], not of_mode, kept, n, unit, s, values[:6], errors[:6])
        size_S = 0.0
        if (of_angles or of_ranks) and finite:
            size_S = leading_of(a[s], r[s], R[s], e[s], noise[s], z[t], log_unit, space, pairs[s])
        if of_ranks and finite:
            scales[s] = _scale(pairs[s], size_S)
            if in_lanes:
                _for_singular_values(pairs[s], S, alpha, q, x, scales[s], stage, filled * held)
                places[filled] = s
                filled += 1
            else:
                _for_singular_values(pairs[s], S, alpha, q, x, scales[s], whole, 0)
                unfill(whole, stride, minors[s])
        if of_angles and finite:
            of_rows, are_zero = rows[s if rows.shape[0] > 1 else 0], zero[s if zero.shape[0] > 1 else 0]
            angles_of(pairs[s], exponents, of_rows, known, are_zero, 4 * unit, n, d, space, around)
            angular_of(
                around, pairs[s], largest[s], noise[s], n, d, unit, s, values[6:10], errors[6:10]
            )  # fmt: skip
        if filled > 0 and (filled == at_once or s + 1 == a.size):
            _values_of_tiles(
                stage, held, stride, n, d, filled, tile, diagonal, above, squared, work
            )  # fmt: skip
            for lane in range(filled):
                p = places[lane]
                lost[p] = not _decreasing(squared, lane, scales[p], singular)
                ranks_of(
                    singular, pairs[p], largest[p], noise[p], unit, of_each, p, values[10:], errors[10:]
                )  # fmt: skip
            filled = 0


@nb.njit(**_COMPILE)
def matrices(a, r, b, R, e, noise, v, z, unit, pairs, out):
    """Write what singular values of B states are found of, and pairs; arguments as of :func:`measure`.

    That are the minors where the leading pair is split off, else all of the state.
    """
    n, d = R.shape[1], R.shape[2]
    space = room(n, d, R)
    S, x, q, alpha = space[0][2], space[1][2], space[1][1], space[2][0]
    whole = aligned(S.size, R)
    for s in range(R.shape[0]):
        t = s if v.shape[0] > 1 else 0
        assemble(a[s], r[s], b[s], R[s], e[s], v[t], z[t], space)
        leading_of(a[s], r[s], R[s], e[s], noise[s], z[t], math.log2(unit), space, pairs[s])
        _for_singular_values(pairs[s], S, alpha, q, x, 1.0, whole, 0)
        unfill(whole, q.size, out[s])
