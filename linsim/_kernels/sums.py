"""Sums over the tokens of a state that metrics are made of: linsim.metrics, compiled.

Only what runs over all n d numbers of a state is here: the leading pair of singular vectors with the
minors (``metrics/_leading_pair.py``), the sizes of mean and rest (``_similarity.py``), and how far rows
are off one line (``_angle.py``).  What follows from these few numbers, errors above all, is worked out
in :mod:`.values`, and in ``linsim.metrics`` for whole arrays.  All in double precision.

A state at work lies in ``space``, as :func:`room` makes it: ``matrices`` (rest, full, minors S, room),
``columns`` (the common row, q, three of room), ``tokens`` (alpha, v, five of room) and numbers, ones and
room of tokens, all padded as in :mod:`.rowwise`.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
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
from .layer import power_of_two
from .products import aligned
from .rowwise import (
    add_rows,
    dot,
    farthest,
    fill,
    padded,
    project,
    row_peaks,
    row_squares,
    scale_rows,
    squares_about,
    sum_of_cosines,
    transposed,
    weighted,
)

__all__ = ["angles", "angles_of", "assemble", "content", "content_of", "leading", "leading_of", "room"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
# called from compiled code alone: no wrappers, and kept with their callers
_INNER = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

# the exponent of a part that is exactly zero, as in linsim._state
_EMPTY = -(2.0**60)
_SWEEPS = 4
_W = WIDTH // 8


@nb.njit(**_INNER)
def room(n, d, like):
    """Return room for a state (n, d), zero beyond them; ``like``: an array of its dtype."""
    height, stride = padded(n), padded(d)
    size = height * stride
    numbers, ones = aligned(height, like), aligned(height, like)
    for i in range(height):
        numbers[i], ones[i] = i, 1.0 if i < n else 0.0
    return (
        (aligned(size, like), aligned(size, like), aligned(size, like), aligned(size, like)),
        (aligned(stride, like), aligned(stride, like), aligned(stride, like), aligned(stride, like),
         aligned(stride, like)),
        (aligned(height, like), aligned(height, like), aligned(height, like), aligned(height, like),
         aligned(height, like), aligned(height, like), aligned(height, like)),
        (numbers, ones, aligned(4 * height, like)),
    )  # fmt: skip


@nb.njit(**_INNER)
def _log2(x):
    return math.log2(x) if x > 0 else _EMPTY


@nb.njit(**_INNER)
def _length(x):
    return math.sqrt(dot(x, x))


@nb.njit(**_INNER)
def _scaled(x, length):
    """Divide x by ``length``, unless that is 0."""
    by = length if length > 0 else 1.0
    for j in range(x.size):  # a single number becomes 1 or -1 exactly
        x[j] /= by


@nb.njit(**_INNER)
def assemble(a, r, b, R, e, v, z, space):
    """Put the parts of a state together, as rest and full; return the exponents of row, rest and full."""
    n, d = R.shape
    (rest, full, _, _), columns, tokens, _ = space
    row, own_z, own_v = columns[0], columns[1], tokens[1]
    stride = row.size
    e_row, e_rest = max(e[0], e[1]), max(e[2], e[3])
    e_full = max(e_row, e_rest)
    f_a, f_r = a * power_of_two(e[0] - e_row), power_of_two(e[1] - e_row)
    f_b, f_R = power_of_two(e[2] - e_rest), power_of_two(e[3] - e_rest)
    f_row, f_rest = power_of_two(e_row - e_full), power_of_two(e_rest - e_full)
    for j in range(d):
        row[j] = f_a * z[j] + f_r * r[j]
        own_z[j] = z[j]
    fill(R, rest, stride)
    for i in range(n):
        own_v[i] = v[i]
        x, y = splat(rest, b[i] * f_b), splat(rest, v[i] * f_row)
        at = i * stride
        for k in range(0, stride, _W):
            t = x * load(own_z, k) + load(rest, at) * f_R
            store(rest, at, t)
            store(full, at, y * load(row, k) + t * f_rest)
            at += _W
    return e_row, e_rest, e_full


@nb.njit(**_INNER)
def content_of(mean, e, exponents, of_mode, kept, n, d, space, out):
    """Take the mean over tokens off a state that is put together, and write CONTENT."""
    (rest, full, C, other), columns, tokens, (numbers, ones, work) = space
    row, line = columns[0], columns[2]
    squares, coefficients = tokens[3], tokens[4]
    e_row, e_rest, e_full = exponents
    height, stride = ones.size, row.size
    # with v = 1 the rest alone differs between tokens: nothing cancels
    e_base = e_full if of_mode else e_rest
    C[:] = full if of_mode else rest
    for i in range(height):
        coefficients[i] = ones[i] / n
    weighted(coefficients, C, stride, line)
    for i in range(height):
        coefficients[i] = -ones[i]
    add_rows(C, stride, coefficients, line)
    high = row_squares(C, stride, squares)
    transposed(C, height, stride, other)
    apart = farthest(C, n, d, stride, other, squares, numbers, work)
    if not of_mode:
        # the row, and what the rest adds where A does not keep means
        e_low = e_row if kept else max(e_row, e_rest)
        f_low, f_kept = power_of_two(e_row - e_low), 0.0 if kept else power_of_two(e_rest - e_low)
        for j in range(stride):
            line[j] = f_low * row[j] + f_kept * line[j]
    elif kept:
        e_low = e[4]
        line[:d] = mean
    else:
        e_low = e_full
    row_peaks(full, stride, squares)
    peak = 0.0
    for i in range(n):
        peak = max(peak, squares[i])
    out[0], out[1], out[2] = peak, math.sqrt(high), e_base
    out[3], out[4], out[5] = _length(line) * math.sqrt(float(n)), e_low, math.sqrt(apart)


@nb.njit(**_INNER)
def leading_of(a, r, b, R, e, noise, v, z, one_rounding, space, out):
    """Take the leading pair of singular vectors off: ``leading_pair`` of metrics/_leading_pair.py.

    S, alpha, q and what S holds along alpha are left in ``space``.
    """
    n, d = R.shape
    (_, _, S, _), columns, tokens, _ = space
    q, x, ahead, line = columns[1], columns[2], columns[3], columns[4]
    alpha, own_v, own_b, y, sums = tokens[0], tokens[1], tokens[2], tokens[3], tokens[4]
    stride = q.size
    for i in range(n):
        own_v[i], own_b[i] = v[i], b[i]
    for j in range(d):
        ahead[j], x[j] = r[j], z[j]
    e_a, e_r, e_b, e_R = e[0], e[1], e[2], e[3]
    fill(R, S, stride)
    size_R = row_squares(S, stride, sums)
    L_v = _log2(_length(own_v))
    L_a, L_r = _log2(abs(a)) + e_a + L_v, _log2(_length(ahead)) + e_r + L_v
    L_b, L_R = _log2(_length(own_b)) + e_b, _log2(math.sqrt(size_R)) + e_R
    # the same state is one dyad plus a rest in three ways; the smallest rest is the one without cancellation
    T_pair, T_row, T_column = max(L_R, L_b + L_r - L_a), max(L_R, L_b), max(L_R, L_r)
    noise_a, noise_r, noise_b, noise_R = noise[0] + L_v, noise[1], noise[2], noise[3]
    pair = L_a > max(noise_a + 20, _EMPTY / 2) and T_pair < T_row and T_pair < T_column
    column = not pair and T_column < T_row
    row = not pair and not column
    T = T_pair if pair else (T_column if column else T_row)
    e_S = math.floor(T if T > _EMPTY / 2 else max(max(noise_b, noise_R), noise_r))
    e_main = e_a if pair else (max(e_a, e_r) if row else max(e_a, e_b))
    inverse_a = 1 / a if a != 0 else 1.0
    f_R = power_of_two(e_R - e_S)
    by_z = power_of_two(e_b - e_S) if row else 0.0
    by_r = -power_of_two(e_b + e_r - e_a - e_S) * inverse_a if pair else 0.0
    by_v = power_of_two(e_r - e_S) if column else 0.0
    keep_z = 1.0 if column else power_of_two(e_a - e_main) * a
    keep_r = 0.0 if column else power_of_two(e_r - e_main)
    for j in range(stride):
        q[j] = keep_z * x[j] + keep_r * ahead[j]
        line[j] = by_z * x[j] + by_r * ahead[j]
        ahead[j] = by_v * ahead[j]
    for i in range(n):
        at = i * stride
        for k in range(0, stride, _W):
            t = load(S, at) * f_R + load(line, k) * own_b[i] + load(ahead, k) * own_v[i]
            store(S, at, t)
            at += _W
    keep_v = power_of_two(e_a - e_main) * a if column else 1.0
    keep_b = power_of_two(e_b - e_a) * inverse_a if pair else (power_of_two(e_b - e_main) if column else 0.0)
    for i in range(alpha.size):
        alpha[i] = keep_v * own_v[i] + keep_b * own_b[i]
    n_alpha, n_q = _length(alpha), _length(q)
    noise_r = noise_r + L_v
    noise_S = noise_b
    if pair:
        noise_S = max(max(noise_b + L_r - L_a, noise_r + L_b - L_a), noise_a + L_b + L_r - 2 * L_a)
    elif column:
        noise_S = noise_r
    noise_S = 1 + max(max(noise_S, noise_R), T + one_rounding)
    unit_alpha = _log2(abs(a)) + e_a if pair else e_main
    noise_main = one_rounding + 2 + _log2(n_alpha * n_q) + e_main
    if not row:
        noise_main = max(noise_main, max(noise_a, noise_b) - unit_alpha + _log2(n_q) + e_main)
    if not column:
        noise_main = max(noise_main, max(noise_a, noise_r) - L_v + _log2(n_alpha))
    main = n_alpha * n_q
    e_pair = e_main if main > 0 else _EMPTY
    whole = max(e_pair, e_S)
    main, delta = main * power_of_two(e_pair - whole), e_S - whole
    f = power_of_two(delta)
    _scaled(alpha, n_alpha)
    _scaled(q, n_q)
    first = main
    first_S = math.sqrt(row_squares(S, stride, sums))
    weighted(alpha, S, stride, x)
    size_S = 0.0
    for _ in range(_SWEEPS):
        for j in range(stride):
            q[j] = main * q[j] + f * x[j]
        main = _length(q)
        _scaled(q, main)
        size_S = project(S, stride, alpha, x, q, main, f, y, ahead)
        main = _length(y)
        by = main if main > 0 else 1.0
        for i in range(alpha.size):
            alpha[i] = y[i] / by
        for j in range(stride):
            x[j] = ahead[j] / by
    cross = f * _length(x)
    # singular values see the square of what is left between dyad and minors: less than a rounding
    apart = cross <= 2.0 ** (0.5 * one_rounding) * main
    split_off = main > 0 and apart and f * math.sqrt(size_S) <= 0.5 * main
    noise_S = power_of_two(math.floor(min(noise_S - e_S, 200.0)) + 1) if noise_S > _EMPTY / 2 else 0.0
    noise_main = (
        power_of_two(math.floor(min(noise_main - whole, 200.0)) + 1) if noise_main > _EMPTY / 2 else 0.0
    )
    # what S shares with the dyad it takes over with the dyad's error
    share = first_S / first if f * first_S < first else (1 / f if f > 0 else 1.0)
    out[0], out[1], out[2], out[3] = main, whole, delta, 1.0 if split_off else 0.0
    out[4], out[5] = noise_S + share * noise_main, noise_main


@nb.njit(**_INNER)
def _off_one_line(pair, exponents, n, space, out):
    """Write how far rows are off one line: near, e_near, worst, off_q, above, one_side, aligned.

    What was added up for each row of the tokens is left in ``heights``; the rest is destroyed.
    """
    (rest, _, S, _), columns, tokens, (numbers, ones, _) = space
    row, q, line = columns[0], columns[1], columns[2]
    alpha, own_v, across, whole, by_S, by_q, heights = tokens
    stride, height = row.size, ones.size
    e_row, e_rest, e_full = exponents
    main, delta, noise, noise_main = pair[0], pair[2], pair[4], pair[5]
    row_squares(S, stride, across)
    row_squares(rest, stride, heights)
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
    row_length = _length(row) * power_of_two(e_row - e_full)
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
        length = where(seen, sqrt(A * A + wide * wide), one)
        wide = G * far
        fall = wide * wide * of_common / (magnitude(A) + length)
        sign = where(A < 0.0, splat(S, -1.0), one)
        store(heights, i, magnitude(load(own_v, i)) * row_length + sqrt(load(heights, i)) * f_rest)
        store(by_S, i, where(there, sign * G / length, zero))
        store(by_q, i, where(there, (zero - fall) / length, zero))
        loose = G / length
        worst = worst + where(there, loose * loose, zero)
        off = (back * noise_main + F * noise) / length
        # (of a NaN it stays one)
        off_q = off_q + where(there, where(off > 2.0, splat(S, 2.0), off), zero)
    for i in range(height):
        across[i] = ones[i] / n
    for i in range(0, height, 4):
        s0, s1, s2, s3 = (
            splat(S, by_S[i]),
            splat(S, by_S[i + 1]),
            splat(S, by_S[i + 2]),
            splat(S, by_S[i + 3]),
        )
        q0, q1, q2, q3 = (
            splat(S, by_q[i]),
            splat(S, by_q[i + 1]),
            splat(S, by_q[i + 2]),
            splat(S, by_q[i + 3]),
        )
        at = i * stride
        for k in range(0, stride, _W):
            y = load(q, k)
            store(rest, at, s0 * load(S, at) + q0 * y)
            store(rest, at + stride, s1 * load(S, at + stride) + q1 * y)
            store(rest, at + 2 * stride, s2 * load(S, at + 2 * stride) + q2 * y)
            store(rest, at + 3 * stride, s3 * load(S, at + 3 * stride) + q3 * y)
            at += _W
    weighted(across, rest, stride, line)
    near = squares_about(rest, stride, ones, line)
    out[0], out[1] = near / (n - 1.0), 2 * common
    out[2], out[3] = math.sqrt(total(worst) / n) * noise, total(off_q) / n
    every_one = -largest(zero - every) > 0
    out[10] = 1.0 if -largest(zero - above) > 0 else 0.0
    out[11] = 1.0 if every_one and (-largest(zero - positive) > 0 or -largest(zero - negative) > 0) else 0.0
    out[12] = 1.0 if every_one and -largest(zero - aligned) > 0 else 0.0


@nb.njit(**_INNER)
def _as_they_stand(pair, e_full, errors, known, are_zero, rounding, n, d, space, out):
    """Write what is told by the rows as they are, each at its own scale; changes ``full``.

    What is off by one row is off by that row only.  ``errors``: log2 of those of rows, where ``known``;
    ``are_zero``: rows that are exactly zero.
    """
    (_, full, _, other), columns, tokens, (numbers, ones, work) = space
    line = columns[2]
    _, _, own_noise, own, factor, length, heights = tokens
    stride, height = line.size, ones.size
    whole = _log2(pair[5] + power_of_two(pair[2]) * pair[4]) + pair[1] - e_full
    row_peaks(full, stride, own)
    for i in range(n):
        own_noise[i] = errors[i] - e_full if known else whole
        if are_zero[i]:
            own[i], own_noise[i] = 0.0, _EMPTY
    zero, one, two = splat(full, 0.0), splat(full, 1.0), splat(full, 2.0)
    for i in range(0, height, _W):
        size = load(own, i)
        e = where(size > 0.0, exponent(size), zero)
        store(factor, i, where(size > 0.0, powers(zero - e), zero))
        store(own, i, e)
    scale_rows(full, stride, factor)
    row_squares(full, stride, length)
    turns = squares = present = zero
    held = one
    for i in range(0, height, _W):
        there, by, noise = load(numbers, i) < float(n), load(factor, i), load(own_noise, i)
        here = by > 0.0
        long = where(here, sqrt(load(length, i)), one)
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
        store(length, i, where(here, one / long, zero))
        store(factor, i, where(here, one, zero))
    if d == 1:  # a single number becomes 1 or -1 exactly
        for i in range(n):
            full[i * stride] = math.copysign(factor[i], full[i * stride])
    else:
        scale_rows(full, stride, length)
    count = total(present)
    weighted(factor, full, stride, line)
    _scaled(line, count)
    out[4], out[5], out[6] = total(turns) / n, total(squares) / n, count
    out[7], out[8] = _length(line), squares_about(full, stride, factor, line)
    transposed(full, height, stride, other)
    out[9] = 2 * sum_of_cosines(full, n, d, stride, other, numbers, work)
    if not -largest(zero - held) > 0:
        out[11] = out[12] = 0.0


@nb.njit(**_INNER)
def angles_of(pair, exponents, errors, known, are_zero, rounding, n, d, space, out):
    """Write ANGLES of a state that is put together, leading pair known; destroys rest and full."""
    _off_one_line(pair, exponents, n, space, out)
    _as_they_stand(pair, exponents[2], errors, known, are_zero, rounding, n, d, space, out)


@nb.njit(**_COMPILE)
def content(a, r, b, R, mean, e, v, z, constant, preserves, out):
    """Take the mean over tokens off B states, and write :data:`.slots.CONTENT` of each.

    Parameters
    ----------
    a (B,), r (B, d), b (B, n), R (B, n, d), mean (B, d), e (B, 5) : parts and their exponents
    v (B or 1, n), z (B or 1, d), constant, preserves (B or 1,) : how they are cut
    out (B, 6) : written
    """
    n, d = R.shape[1], R.shape[2]
    space = room(n, d, R)
    for s in range(R.shape[0]):
        t = s if v.shape[0] > 1 else 0
        of_mode = not constant[s if constant.size > 1 else 0]
        kept = preserves[s if preserves.size > 1 else 0]
        exponents = assemble(a[s], r[s], b[s], R[s], e[s], v[t], z[t], space)
        content_of(mean[s], e[s], exponents, of_mode, kept, n, d, space, out[s])


@nb.njit(**_COMPILE)
def leading(a, r, b, R, e, noise, v, z, unit, S, alphas, qs, out):
    """Take the leading pair off B states: S (B, n, d), alphas (B, n), qs (B, d) and :data:`.slots.PAIR`.

    S are the minors.  ``noise`` (B, 5): log2 of the errors of parts; ``unit``: eps of the dtype of the
    states; other arguments as of :func:`content`.
    """
    n, d = R.shape[1], R.shape[2]
    space = room(n, d, R)
    minors, q, alpha = space[0][2], space[1][1], space[2][0]
    for s in range(R.shape[0]):
        t = s if v.shape[0] > 1 else 0
        leading_of(a[s], r[s], b[s], R[s], e[s], noise[s], v[t], z[t], math.log2(unit), space, out[s])
        alphas[s, :], qs[s, :] = alpha[:n], q[:d]
        for i in range(n):
            for j in range(d):
                S[s, i, j] = minors[i * q.size + j]


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
