"""How far tokens of a state are off one line, and angles between them: ``metrics/_angle.py``, compiled.

A state at work lies in ``space``, as :mod:`.sums` says.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT, UNCOUNTED
from .lanes import (
    WIDTH,
    exponent,
    largest,
    load,
    magnitude,
    maximum,
    minimum,
    splat,
    sqrt,
    store,
    total,
    where,
)
from .lanes import power_of_two as powers
from .layer import log2, power_of_two
from .rowwise import (
    divide,
    dot,
    fill,
    length,
    row_peaks,
    row_squares,
    scale_rows,
    squares_about,
    sum_of_cosines,
    sum_of_cosines_about,
    transposed,
    weighted,
)
from .sums import assemble, clear, room

__all__ = ["angles", "angles_of"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}

# the exponent of a part that is exactly zero, as in linsim._state
_EMPTY = -(2.0**60)
# cosines lose digits as what rows are added up from is longer than these: so much longer in the mean is fine
_LONGER = 2.0
# sums of squares below this, and those above its inverse, may have left the range of doubles
_LEAST = 2.0**-800
_W = WIDTH // 8


@nb.njit(**UNCOUNTED)
def _off_one_line(pair, exponents, n, space, out):
    """Write how far rows are off one line: near, e_near, worst, off_q, above, one_side, aligned.

    What was added up for each row of the tokens is left in ``heights``.
    """
    (_, _, S, _), columns, tokens, (numbers, ones, _, _) = space
    row, line = columns[0], columns[2]
    alpha, own_v, across, whole, by_S, by_q, heights, _, _, of_rest, _, _ = tokens
    stride, height = row.size, ones.size
    e_row, e_rest, e_full = exponents
    main, delta, noise, noise_main = pair[0], pair[2], pair[4], pair[5]
    row_squares(S, stride, across)
    zero, one, none = splat(S, 0.0), splat(S, 1.0), splat(S, _EMPTY)
    lowest = splat(S, -np.inf)
    e_common, above, every, positive, negative, aligned = none, one, one, one, one, one
    # each row has its own exponent k: row = 2**k (A q + F S_i), the larger term of size 1
    for i in range(0, height, _W):
        there = load(numbers, i) < float(n)
        along, far = load(alpha, i) * main, sqrt(load(across, i))
        size = magnitude(along)
        e_along = where(size > 0.0, exponent(size), none)
        e_far = where(far > 0.0, exponent(far), none) + delta
        k = maximum(e_along, e_far)
        seen = k > _EMPTY / 2
        every = minimum(every, where(seen, one, where(there, zero, one)))
        k = where(seen, k, zero)
        e_common = maximum(e_common, where(seen, where(there, splat(S, delta) - k, none), none))
        above = minimum(above, where(size > 2 * noise_main, one, where(there, zero, one)))
        A = along * powers(zero - k)
        positive = minimum(positive, where(A > 0.0, one, where(there, zero, one)))
        negative = minimum(negative, where(A < 0.0, one, where(there, zero, one)))
        held = magnitude(A) >= powers(splat(S, delta) - k) * far
        aligned = minimum(aligned, where(held, one, where(there, zero, one)))
        store(across, i, far)
        store(whole, i, where(seen, k, lowest))
    common = largest(e_common)
    if common <= _EMPTY / 2:
        common = delta
    # deviations from +-q keep relative accuracy where rows are nearly parallel to q
    of_common = power_of_two(common)
    row_length = length(row) * power_of_two(e_row - e_full)
    f_rest = power_of_two(e_rest - e_full)
    worst = off_q = zero
    for i in range(0, height, _W):
        there, k = load(numbers, i) < float(n), load(whole, i)
        seen = k > _EMPTY / 2
        k = where(seen, k, zero)
        back = powers(zero - k)
        A, far = load(alpha, i) * main * back, load(across, i)
        F, G = powers(splat(S, delta) - k), powers(splat(S, delta - common) - k)
        wide = F * far
        long = where(seen, sqrt(A * A + wide * wide), one)
        wide = G * far
        fall = wide * wide * of_common / (magnitude(A) + long)
        sign = where(A < 0.0, splat(S, -1.0), one)
        store(heights, i, magnitude(load(own_v, i)) * row_length + sqrt(load(of_rest, i)) * f_rest)
        store(by_S, i, where(there, sign * G / long, zero))
        store(by_q, i, where(there, (zero - fall) / long, zero))
        loose = G / long
        worst = worst + where(there, loose * loose, zero)
        off = (back * noise_main + F * noise) / long
        # (of a NaN it stays one)
        off_q = off_q + where(there, where(off > 2.0, splat(S, 2.0), off), zero)
    # a row is by_S S_i + by_q q then, and the two are at right angles
    for i in range(height):
        across[i] = by_S[i] / n
    weighted(across, S, stride, line)
    middle, spread = splat(S, dot(by_q, ones) / n), zero
    for i in range(0, height, _W):
        x = load(by_q, i) - load(ones, i) * middle
        spread = spread + x * x
    near = squares_about(S, stride, by_S, ones, line) + total(spread)
    out[0], out[1] = near / (n - 1.0), 2 * common
    out[2], out[3] = math.sqrt(total(worst) / n) * noise, total(off_q) / n
    every_one = -largest(zero - every) > 0
    out[10] = 1.0 if -largest(zero - above) > 0 else 0.0
    out[11] = 1.0 if every_one and (-largest(zero - positive) > 0 or -largest(zero - negative) > 0) else 0.0
    out[12] = 1.0 if every_one and -largest(zero - aligned) > 0 else 0.0


@nb.njit(**UNCOUNTED)
def _to_own_scales(full, stride, gone, own, factor, own_length):
    """Multiply each row by a power of two, ``factor``, that brings its largest entry to [1, 2).

    ``own``: its exponent.  Where ``gone`` is 1, and where a row is zero, factors are 0.
    """
    zero = splat(full, 0.0)
    row_peaks(full, stride, own)
    for i in range(0, own.size, _W):
        size = where(load(gone, i) < 0.5, load(own, i), zero)
        e = where(size > 0.0, exponent(size), zero)
        store(factor, i, where(size > 0.0, powers(zero - e), zero))
        store(own, i, e)
    scale_rows(full, stride, factor)
    row_squares(full, stride, own_length)


@nb.njit(**UNCOUNTED)
def _as_they_stand(pair, e_full, errors, known, are_zero, rounding, n, d, space, out):
    """Write what is told by the rows as they are, each at its own scale; may change ``full``.

    What is off by one row is off by that row only.  ``errors``: log2 of those of rows, where ``known``;
    ``are_zero``: rows that are exactly zero.
    """
    (_, full, _, other), columns, tokens, (numbers, ones, work, about) = space
    line = columns[2]
    _, _, own_noise, own, factor, own_length, heights, along, lengths, to_unit, of_full, gone = tokens
    stride, height = line.size, ones.size
    whole = log2(pair[5] + power_of_two(pair[2]) * pair[4]) + pair[1] - e_full
    for i in range(height):
        gone[i] = 1.0 - ones[i]
    for i in range(n):
        own_noise[i] = errors[i] - e_full if known else whole
        if are_zero[i]:
            own_noise[i], gone[i] = _EMPTY, 1.0
    zero, one, two = splat(full, 0.0), splat(full, 1.0), splat(full, 2.0)
    in_range, beside = one, 0.5 * math.log2(float(d)) + 2.0
    for i in range(0, height, _W):
        there, size = load(gone, i) < 0.5, load(of_full, i)
        fine = there & (size > _LEAST) & (size < 1 / _LEAST)
        e = where(fine, exponent(sqrt(where(fine, size, one))), zero)
        fine = fine & (load(own_noise, i) < e - beside)
        in_range = minimum(in_range, where(fine, one, where(there, zero, one)))
        by = where(fine, powers(zero - e), zero)
        store(factor, i, by)
        store(to_unit, i, by)
        store(own, i, e)
        store(own_length, i, size * by * by)
    # the length of a row tells its scale, but where squares leave the range, or noise is as large as an entry
    if d == 1 or not -largest(zero - in_range) > 0:
        _to_own_scales(full, stride, gone, own, factor, own_length)
        for i in range(height):
            to_unit[i] = 1.0
    turns = squares = present = zero
    held, added_up = one, zero
    centre = math.sqrt(about[2])
    for i in range(0, height, _W):
        there, by, noise = load(numbers, i) < float(n), load(factor, i), load(own_noise, i)
        here = by > 0.0
        long = where(here, sqrt(load(own_length, i)), one)
        e = noise - load(own, i)
        turned = powers(where(e < -1e3, splat(full, -1e3), where(e > 500.0, splat(full, 500.0), e)))
        # what nothing is known of may lie anywhere
        turned = where(noise <= _EMPTY / 2, zero, where(noise > _EMPTY / 2, turned, two))
        lost = where(turned > 0.0, two, zero)
        turned = (turned + load(heights, i) * by * rounding) / long
        turned = where(here, where(turned > 2.0, two, turned), lost)
        if d == 1:  # no room for an angle, nor for its rounding, until a sign is lost
            turned = where(turned < 1.0, zero, turned)
        turned = where(there, turned, zero)
        fine = where(here, where(turned < 0.5, one, zero), zero)
        held = minimum(held, where(there, fine, one))
        turns, squares = turns + turned, squares + turned * turned
        present = present + where(here, one, zero)
        # how much longer than a row what it is added up from is
        ratio = (load(lengths, i) + centre) * by / long
        added_up = added_up + where(there, where(here, ratio, splat(full, np.inf)), zero)
        store(lengths, i, where(here, by / long, zero))
        store(to_unit, i, where(here, load(to_unit, i) / long, zero))
        store(factor, i, where(here, one, zero))
    if d == 1:  # a single number becomes 1 or -1 exactly
        for i in range(n):
            full[i * stride], to_unit[i] = math.copysign(factor[i], full[i * stride]), factor[i]
    count = total(present)
    weighted(to_unit, full, stride, line)
    divide(line, count)
    out[4], out[5], out[6] = total(turns) / n, total(squares) / n, count
    out[7], out[8] = length(line), squares_about(full, stride, to_unit, factor, line)
    if about[0] > 0 and d > 1 and total(added_up) <= _LONGER * n:
        out[9] = 2 * sum_of_cosines_about(work, about[1], along, about[2], lengths, n, numbers)
    else:
        scale_rows(full, stride, to_unit)
        transposed(full, height, stride, other)
        out[9] = 2 * sum_of_cosines(full, n, d, stride, other, numbers, work)
    if not -largest(zero - held) > 0:
        out[11] = out[12] = 0.0


@nb.njit(**UNCOUNTED)
def angles_of(pair, exponents, errors, known, are_zero, rounding, n, d, space, out):
    """Write ANGLES of a state that is put together, leading pair known; may change full."""
    _off_one_line(pair, exponents, n, space, out)
    _as_they_stand(pair, exponents[2], errors, known, are_zero, rounding, n, d, space, out)


@nb.njit(**_COMPILE)
def angles(a, r, b, R, e, v, z, S, alphas, qs, pairs, rows, known, zero, unit, out):
    """Write :data:`.slots.ANGLES` of B states, whose leading pairs are as :func:`leading` wrote them.

    ``rows`` (B or 1, n): log2 of the errors of rows, where ``known``; ``zero`` (B or 1, n): rows that are
    exactly zero; other arguments as of :func:`leading`.
    """
    n, d = R.shape[1], R.shape[2]
    space = room(n, d, R)
    minors, q, alpha = space[0][2], space[1][1], space[2][0]
    for s in range(R.shape[0]):
        t = s if v.shape[0] > 1 else 0
        exponents = assemble(a[s], r[s], b[s], R[s], e[s], v[t], z[t], space)
        alpha[:n], q[:d] = alphas[s], qs[s]
        fill(S[s], minors, q.size)
        angles_of(
            pairs[s],
            exponents,
            rows[s if rows.shape[0] > 1 else 0],
            known,
            zero[s if zero.shape[0] > 1 else 0],
            4 * unit,
            n,
            d,
            space,
            out[s],
        )
        if not (pairs[s, 0] < np.inf and pairs[s, 4] < np.inf):
            clear(space)
