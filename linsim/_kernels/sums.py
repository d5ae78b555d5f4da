"""Sums over the tokens of a state that metrics are made of: linsim.metrics, compiled.

Only what runs over all n d numbers of a state is here and in :mod:`.angles`: the leading pair of singular
vectors with the minors (``metrics/_leading_pair.py``), the sizes of mean and rest (``_similarity.py``), and
how far rows are off one line (``_angle.py``).  What follows from these few numbers, errors above all, is
worked out in :mod:`.values`, and in ``linsim.metrics`` for whole arrays.  All in double precision.

A state at work lies in ``space``, as :func:`room` makes it, padded as in :mod:`.rowwise`:

    matrices  rest, full, minors S, room
    columns   the common row, q, what S holds along alpha, two of room
    tokens    alpha, v, b, four of room, two that :func:`content_of` leaves to ``angles_of``, sums of
              squares of the rows of rest and of full, and one more of room
    others    numbers and ones of tokens, products of their rests, what belongs to these, the largest modulus
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT, UNCOUNTED
from .lanes import WIDTH, load, store
from .layer import log2, power_of_two
from .products import aligned
from .rowwise import (
    divide,
    dot,
    farthest,
    fill,
    length,
    less_row,
    padded,
    project,
    scaled,
    squares,
    transposed,
    unfill,
    weighted,
    with_dyads,
)

__all__ = ["assemble", "clear", "content", "content_of", "leading", "leading_of", "room"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}

# the exponent of a part that is exactly zero, as in linsim._state
_EMPTY = -(2.0**60)
_SWEEPS = 4
# products of the rows of at most so many tokens are kept
_KEPT = 256
_W = WIDTH // 8


@nb.njit(**{**UNCOUNTED, "_nrt": True})
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
         aligned(height, like), aligned(height, like), aligned(height, like), aligned(height, like),
         aligned(height, like), aligned(height, like), aligned(height, like), aligned(height, like)),
        (numbers, ones, aligned(height * (height if height <= _KEPT else 8), like), np.zeros(4)),
    )  # fmt: skip


@nb.njit(**UNCOUNTED)
def clear(space):
    """Make the room of a state zero again."""
    matrices, columns, tokens, _ = space
    for x in matrices:
        x[:] = 0.0
    for x in columns:
        x[:] = 0.0
    for x in tokens:
        x[:] = 0.0


@nb.njit(**UNCOUNTED)
def assemble(a, r, b, R, e, v, z, space):
    """Put the parts of a state together, as rest and full; return the exponents of row, rest and full."""
    n, d = R.shape
    (rest, full, _, _), columns, tokens, (_, _, _, about) = space
    row, own_z = columns[0], columns[1]
    own_v, own_b, scaled_v, scaled_b = tokens[1], tokens[2], tokens[3], tokens[4]
    stride = row.size
    e_row, e_rest = max(e[0], e[1]), max(e[2], e[3])
    e_full = max(e_row, e_rest)
    f_a, f_r = a * power_of_two(e[0] - e_row), power_of_two(e[1] - e_row)
    f_b, f_R = power_of_two(e[2] - e_rest), power_of_two(e[3] - e_rest)
    f_row, f_rest = power_of_two(e_row - e_full), power_of_two(e_rest - e_full)
    for j in range(d):
        row[j] = f_a * z[j] + f_r * r[j]
        own_z[j] = z[j]
    for i in range(n):
        own_v[i], own_b[i] = v[i], b[i]
    for i in range(n, own_v.size):
        own_v[i] = own_b[i] = 0.0
    for i in range(own_v.size):
        scaled_v[i], scaled_b[i] = f_row * own_v[i], f_b * own_b[i]
    fill(R, rest, stride)
    about[3] = with_dyads(
        rest, f_R, scaled_b, own_z, scaled_v, row, f_rest, full, stride, tokens[9], tokens[10]
    )  # fmt: skip
    return e_row, e_rest, e_full


@nb.njit(**UNCOUNTED)
def content_of(mean, e, exponents, of_mode, kept, n, d, space, out):
    """Take the mean over tokens off a state that is put together, and write CONTENT."""
    (rest, full, C, other), columns, tokens, (numbers, ones, work, about) = space
    row, line, centre = columns[0], columns[2], columns[3]
    squares, coefficients, along, lengths = tokens[3], tokens[4], tokens[7], tokens[8]
    e_row, e_rest, e_full = exponents
    height, stride = ones.size, row.size
    # with v = 1 the rest alone differs between tokens: nothing cancels
    e_base = e_full if of_mode else e_rest
    base = full if of_mode else rest
    for i in range(height):
        coefficients[i] = ones[i] / n
    weighted(coefficients, base, stride, line)
    # the tokens once more, as their mean and the rest of each: products of them follow from those of rests
    f_rest, f_row = 1.0, 0.0
    if not of_mode:
        f_rest, f_row = power_of_two(e_rest - e_full), power_of_two(e_row - e_full)
    for j in range(stride):
        centre[j] = f_row * row[j] + f_rest * line[j]
    less_row(base, stride, ones, line, centre, C, squares, along)
    high = dot(squares, ones)
    transposed(C, height, stride, other)
    apart = farthest(C, n, d, stride, other, squares, numbers, columns[4], work)
    for i in range(height):
        along[i] *= f_rest
        lengths[i] = f_rest * math.sqrt(squares[i])
    about[0], about[1], about[2] = 1.0 if height <= _KEPT else 0.0, f_rest * f_rest, dot(centre, centre)
    if not of_mode:
        # the row, and what the rest adds where A does not keep means
        e_low = e_row if kept else max(e_row, e_rest)
        f_low, f_kept = power_of_two(e_row - e_low), 0.0 if kept else power_of_two(e_rest - e_low)
        for j in range(stride):
            line[j] = f_low * row[j] + f_kept * line[j]
    elif kept:
        e_low = e[4]
        for j in range(d):
            line[j] = mean[j]
    else:
        e_low = e_full
    out[0], out[1], out[2] = about[3], math.sqrt(high), e_base
    out[3], out[4], out[5] = length(line) * math.sqrt(float(n)), e_low, math.sqrt(apart)


@nb.njit(**UNCOUNTED)
def leading_of(a, r, R, e, noise, z, one_rounding, space, out):
    """Take the leading pair of singular vectors off: ``leading_pair`` of metrics/_leading_pair.py.

    The state has been put together.  S, alpha, q and what S holds along alpha are left in ``space``;
    returns the sum of squares of S.
    """
    d = R.shape[1]
    (rest, _, S, _), columns, tokens, (_, ones, _, _) = space
    q, x, ahead, line = columns[1], columns[2], columns[3], columns[4]
    alpha, own_v, own_b, y, of_rest = tokens[0], tokens[1], tokens[2], tokens[3], tokens[9]
    stride = q.size
    for j in range(d):
        ahead[j], x[j] = r[j], z[j]
    e_a, e_r, e_b, e_R = e[0], e[1], e[2], e[3]
    size_b = length(own_b)
    alone = size_b == 0 and e_b <= e_R  # R is all of the rest
    if alone:
        size_R = dot(of_rest, ones)
    else:
        fill(R, S, stride)
        size_R = squares(S)
    L_v = log2(length(own_v))
    L_a, L_r = log2(abs(a)) + e_a + L_v, log2(length(ahead)) + e_r + L_v
    L_b, L_R = log2(size_b) + e_b, log2(math.sqrt(size_R)) + e_R
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
    if alone:
        scaled(rest, f_R, S)
        first_S = math.sqrt(size_R) * f_R
    else:
        for i in range(R.shape[0]):
            at = i * stride
            for k in range(0, stride, _W):
                t = load(S, at) * f_R + load(line, k) * own_b[i] + load(ahead, k) * own_v[i]
                store(S, at, t)
                at += _W
        first_S = math.sqrt(squares(S))
    keep_v = power_of_two(e_a - e_main) * a if column else 1.0
    keep_b = power_of_two(e_b - e_a) * inverse_a if pair else (power_of_two(e_b - e_main) if column else 0.0)
    for i in range(alpha.size):
        alpha[i] = keep_v * own_v[i] + keep_b * own_b[i]
    n_alpha, n_q = length(alpha), length(q)
    noise_r = noise_r + L_v
    noise_S = noise_b
    if pair:
        noise_S = max(max(noise_b + L_r - L_a, noise_r + L_b - L_a), noise_a + L_b + L_r - 2 * L_a)
    elif column:
        noise_S = noise_r
    noise_S = 1 + max(max(noise_S, noise_R), T + one_rounding)
    unit_alpha = log2(abs(a)) + e_a if pair else e_main
    noise_main = one_rounding + 2 + log2(n_alpha * n_q) + e_main
    if not row:
        noise_main = max(noise_main, max(noise_a, noise_b) - unit_alpha + log2(n_q) + e_main)
    if not column:
        noise_main = max(noise_main, max(noise_a, noise_r) - L_v + log2(n_alpha))
    main = n_alpha * n_q
    e_pair = e_main if main > 0 else _EMPTY
    whole = max(e_pair, e_S)
    main, delta = main * power_of_two(e_pair - whole), e_S - whole
    f = power_of_two(delta)
    divide(alpha, n_alpha)
    divide(q, n_q)
    first = main
    weighted(alpha, S, stride, x)
    # singular values see the square of what is left between dyad and minors: less than a rounding
    small = 2.0 ** (0.5 * one_rounding)
    size_S = cross = 0.0
    for sweep in range(_SWEEPS):
        for j in range(stride):
            q[j] = main * q[j] + f * x[j]
        main = length(q)
        divide(q, main)
        size_S = project(S, stride, alpha, x, q, main, f, y, tokens[4], ahead)
        main = length(y)
        by = main if main > 0 else 1.0
        for i in range(alpha.size):
            alpha[i] = y[i] / by
        for j in range(stride):
            x[j] = ahead[j] / by
        cross = f * length(x)
        behind = f * math.sqrt(size_S)
        if cross <= 0.25 * small * main and behind <= 0.5 * main:
            break
        # a pair that the last sweep would take off has all but left the minors by the second
        if sweep > 0 and behind > main:
            break
    split_off = main > 0 and cross <= small * main and f * math.sqrt(size_S) <= 0.5 * main
    noise_S = power_of_two(math.floor(min(noise_S - e_S, 200.0)) + 1) if noise_S > _EMPTY / 2 else 0.0
    noise_main = (
        power_of_two(math.floor(min(noise_main - whole, 200.0)) + 1) if noise_main > _EMPTY / 2 else 0.0
    )
    # what S shares with the dyad it takes over with the dyad's error
    share = first_S / first if f * first_S < first else (1 / f if f > 0 else 1.0)
    out[0], out[1], out[2], out[3] = main, whole, delta, 1.0 if split_off else 0.0
    out[4], out[5] = noise_S + share * noise_main, noise_main
    return size_S


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
        if not (out[s, 0] < np.inf and out[s, 1] < np.inf and out[s, 3] < np.inf):
            clear(space)


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
        assemble(a[s], r[s], b[s], R[s], e[s], v[t], z[t], space)
        leading_of(a[s], r[s], R[s], e[s], noise[s], z[t], math.log2(unit), space, out[s])
        alphas[s, :], qs[s, :] = alpha[:n], q[:d]
        unfill(minors, q.size, S[s])
        if not (out[s, 0] < np.inf and out[s, 4] < np.inf):
            clear(space)
