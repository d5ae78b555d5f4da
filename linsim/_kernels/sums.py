"""Sums over the tokens of a state that metrics are made of: linsim.metrics, compiled.

Only what runs over all n d numbers of a state is here: the leading pair of singular vectors with the
minors (``metrics/_leading_pair.py``), the sizes of mean and rest (``_similarity.py``), and how far rows
are off one line (``_angle.py``).  What follows from these few numbers, errors above all, is worked out
there, for compiled and whole arrays alike.  All in double precision.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .layer import power_of_two

__all__ = ["ANGLES", "CONTENT", "PAIR", "angles", "content", "for_singular_values", "leading"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
# called from compiled code alone: no wrappers, and kept with their callers
_INNER = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# sums in any order, as many terms at once as registers hold
_SUMMED = {**_INNER, "fastmath": {"reassoc", "contract", "nsz"}}

# the exponent of a part that is exactly zero, as in linsim._state
_EMPTY = -(2.0**60)
_SWEEPS = 4

#: what is written of each state, in this order
CONTENT = ("largest", "high", "e_high", "low", "e_low", "farthest")
PAIR = ("main", "e", "delta", "split_off", "noise", "noise_main")
ANGLES = (
    "near", "e_near", "worst", "off_q", "mean_turn", "square_turn", "present", "centre", "scatter",
    "all_pairs", "above", "one_side", "aligned",
)  # fmt: skip


@nb.njit(**_SUMMED)
def _dot(x, y):
    out = 0.0
    for j in range(x.size):
        out += x[j] * y[j]
    return out


@nb.njit(**_SUMMED)
def _apart(x, y):
    out = 0.0
    for j in range(x.size):
        out += (x[j] - y[j]) * (x[j] - y[j])
    return out


@nb.njit(**_INNER)
def _add(x, factor, y):
    """X += factor y."""
    for j in range(x.size):
        x[j] += factor * y[j]


@nb.njit(**_INNER)
def _log2(x):
    return math.log2(x) if x > 0 else _EMPTY


@nb.njit(**_INNER)
def _exponent(x):
    """Return e with 2**e <= x < 2**(e + 1), _EMPTY for 0."""
    return math.frexp(x)[1] - 1.0 if x > 0 else _EMPTY


@nb.njit(**_INNER)
def _length(x):
    return math.sqrt(_dot(x, x))


@nb.njit(**_INNER)
def _sums_of_rows(x, S, out):
    """Write x^T S to ``out``."""
    out[:] = 0.0
    for i in range(S.shape[0]):
        _add(out, x[i], S[i])


@nb.njit(**_INNER)
def _scaled(x, length):
    """Divide x by ``length``, unless that is 0."""
    by = length if length > 0 else 1.0
    for j in range(x.size):  # a single number becomes 1 or -1 exactly
        x[j] /= by


@nb.njit(**_INNER)
def _assemble(a, r, b, R, e, v, z, row, rest, full):
    """Put the parts of a state together; return the exponents of ``row``, ``rest`` and ``full``."""
    n, d = R.shape
    e_row, e_rest = max(e[0], e[1]), max(e[2], e[3])
    e_full = max(e_row, e_rest)
    f_a, f_r = a * power_of_two(e[0] - e_row), power_of_two(e[1] - e_row)
    f_b, f_R = power_of_two(e[2] - e_rest), power_of_two(e[3] - e_rest)
    f_row, f_rest = power_of_two(e_row - e_full), power_of_two(e_rest - e_full)
    for j in range(d):
        row[j] = f_a * z[j] + f_r * r[j]
    for i in range(n):
        x, y = b[i] * f_b, v[i] * f_row
        for j in range(d):
            rest[i, j] = x * z[j] + f_R * R[i, j]
            full[i, j] = y * row[j] + f_rest * rest[i, j]
    return e_row, e_rest, e_full


@nb.njit(**_COMPILE)
def content(a, r, b, R, mean, e, v, z, constant, preserves, out):
    """Take the mean over tokens off B states, and write :data:`CONTENT` of each.

    Parameters
    ----------
    a (B,), r (B, d), b (B, n), R (B, n, d), mean (B, d), e (B, 5) : parts and their exponents
    v (B or 1, n), z (B or 1, d), constant, preserves (B or 1,) : how they are cut
    out (B, 6) : written
    """
    n, d = R.shape[1], R.shape[2]
    row, rest, full, line = np.empty(d), np.empty((n, d)), np.empty((n, d)), np.empty(d)
    for s in range(R.shape[0]):
        t = s if v.shape[0] > 1 else 0
        of_mode = not constant[s if constant.size > 1 else 0]
        kept = preserves[s if preserves.size > 1 else 0]
        e_row, e_rest, e_full = _assemble(a[s], r[s], b[s], R[s], e[s], v[t], z[t], row, rest, full)
        # with v = 1 the rest alone differs between tokens: nothing cancels
        base, e_base = (full, e_full) if of_mode else (rest, e_rest)
        line[:] = 0.0
        for i in range(n):
            _add(line, 1.0 / n, base[i])
        high = farthest = 0.0
        for i in range(n):
            high += _apart(base[i], line)
            for k in range(i):
                farthest = max(farthest, _apart(base[i], base[k]))
        if not of_mode:
            # the row, and what the rest adds where A does not keep means
            e_low = e_row if kept else max(e_row, e_rest)
            f_low, f_kept = power_of_two(e_row - e_low), 0.0 if kept else power_of_two(e_rest - e_low)
            for j in range(d):
                line[j] = f_low * row[j] + f_kept * line[j]
        elif kept:
            e_low = e[s, 4]
            line[:] = mean[s]
        else:
            e_low = e_full
        largest = 0.0
        for i in range(n):
            for j in range(d):
                largest = max(largest, abs(full[i, j]))
        out[s, 0], out[s, 1], out[s, 2] = largest, math.sqrt(high), e_base
        out[s, 3], out[s, 4], out[s, 5] = _length(line) * math.sqrt(float(n)), e_low, math.sqrt(farthest)


@nb.njit(**_INNER)
def _leading(a, r, b, R, e, noise, v, z, one_rounding, S, alpha, q, x, out):
    """Take the leading pair of singular vectors off: ``leading_pair`` of metrics/_leading_pair.py."""
    n = R.shape[0]
    e_a, e_r, e_b, e_R = e[0], e[1], e[2], e[3]
    L_v = _log2(_length(v))
    L_a, L_r = _log2(abs(a)) + e_a + L_v, _log2(_length(r)) + e_r + L_v
    size_R = 0.0
    for i in range(n):
        size_R += _dot(R[i], R[i])
    L_b, L_R = _log2(_length(b)) + e_b, _log2(math.sqrt(size_R)) + e_R
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
    for i in range(n):
        for j in range(r.size):
            S[i, j] = f_R * R[i, j] + b[i] * (by_z * z[j] + by_r * r[j]) + v[i] * (by_v * r[j])
    keep_v = power_of_two(e_a - e_main) * a if column else 1.0
    keep_b = power_of_two(e_b - e_a) * inverse_a if pair else (power_of_two(e_b - e_main) if column else 0.0)
    keep_z = 1.0 if column else power_of_two(e_a - e_main) * a
    keep_r = 0.0 if column else power_of_two(e_r - e_main)
    for i in range(n):
        alpha[i] = keep_v * v[i] + keep_b * b[i]
    for j in range(r.size):
        q[j] = keep_z * z[j] + keep_r * r[j]
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
    size_S = 0.0
    for i in range(n):
        size_S += _dot(S[i], S[i])
    first_S = math.sqrt(size_S)
    _sums_of_rows(alpha, S, x)
    for _ in range(_SWEEPS):
        for i in range(n):
            _add(S[i], -alpha[i], x)
        for j in range(q.size):
            q[j] = main * q[j] + f * x[j]
        main = _length(q)
        _scaled(q, main)
        size_S = 0.0
        for i in range(n):
            y = _dot(S[i], q)
            _add(S[i], -y, q)
            alpha[i] = main * alpha[i] + f * y
            size_S += _dot(S[i], S[i])
        main = _length(alpha)
        _scaled(alpha, main)
        _sums_of_rows(alpha, S, x)
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
def _angles(
    S, alpha, q, pair, exponents, row, rest, full, v, rows, known, zero, rounding, heights, line, out,
):  # fmt: skip
    """How far rows are off one line, and the rows as they stand: the sums of metrics/_angle.py.

    ``rows``: log2 of the error of each row where ``known``; ``zero``: rows that are exactly zero;
    ``full`` and ``rest`` are destroyed.
    """
    n, d = S.shape
    e_row, e_rest, e_full = exponents
    main, delta, noise, noise_main = pair[0], pair[2], pair[4], pair[5]
    # each row has its own exponent k: row = 2**k (A q + F S_i), the larger term of size 1
    e_common, any_seen, every, positive, negative, aligned, above = (
        _EMPTY,
        False,
        True,
        True,
        True,
        True,
        True,
    )
    f_delta = power_of_two(delta)
    for i in range(n):
        along, across = main * alpha[i], _length(S[i])
        e_along, e_across = _exponent(abs(along)), _exponent(across) + delta
        k = max(e_along, e_across)
        seen = k > _EMPTY / 2
        if not seen:
            k = 0.0
        heights[0, i], heights[1, i], heights[2, i], heights[3, i] = along, across, k, 1.0 if seen else 0.0
        above = above and abs(along) > 2 * noise_main
        if seen:
            e_common = max(e_common, delta - k)
            any_seen = True
        every = every and seen
        A = along * power_of_two(-k)
        positive, negative = positive and A > 0, negative and A < 0
        aligned = aligned and abs(A) >= power_of_two(delta - k) * across
    if not any_seen:
        e_common = delta
    # deviations from +-q keep relative accuracy where rows are nearly parallel to q
    worst = off_q = 0.0
    line[:] = 0.0
    common = power_of_two(e_common)
    row_length = _length(row) * power_of_two(e_row - e_full)
    f_rest = power_of_two(e_rest - e_full)
    for i in range(n):
        along, across, k, seen = heights[0, i], heights[1, i], heights[2, i], heights[3, i]
        A, F = along * power_of_two(-k), power_of_two(delta - k)
        height = math.sqrt(A * A + (F * across) ** 2) if seen > 0 else 1.0
        G = power_of_two(delta - k - e_common)
        fall = common * (G * across) ** 2 / (abs(A) + height)
        sign = -1.0 if A < 0 else 1.0
        # what was added up for each row of the tokens
        heights[0, i] = abs(v[i]) * row_length + f_rest * _length(rest[i])
        by_S, by_q = sign * G / height, -fall / height
        for j in range(d):
            rest[i, j] = by_S * S[i, j] + by_q * q[j]
        _add(line, 1.0 / n, rest[i])
        worst += (G / height) ** 2
        off_q += min((noise_main * power_of_two(-k) + F * noise) / height, 2.0)
    near = 0.0
    for i in range(n):
        near += _apart(rest[i], line)
    out[0], out[1] = near / (n - 1.0), 2 * e_common
    out[2], out[3] = math.sqrt(worst / n) * noise, off_q / n

    # the rows as they are, each at its own scale: what is off by one row is off by that row only
    whole = _log2(noise_main + f_delta * noise) + pair[1] - e_full
    turns = squares = present = 0.0
    line[:] = 0.0
    for i in range(n):
        largest = 0.0
        for j in range(d):
            largest = max(largest, abs(full[i, j]))
        here = largest > 0
        own = _exponent(largest) if here else 0.0
        own_noise = rows[i] - e_full if known else whole
        none = own_noise <= _EMPTY / 2
        lost = not here and not none and not zero[i]
        here = here and not zero[i]
        turned = 0.0
        if here:
            factor = power_of_two(-own)
            for j in range(d):
                full[i, j] *= factor
            length = _length(full[i])
            _scaled(full[i], length)
            turned = 0.0 if none else power_of_two(min(max(own_noise - own, -1e3), 500.0))
            turned = min((turned + rounding * heights[0, i] * factor) / length, 2.0)
            present += 1
            _add(line, 1.0, full[i])
        else:
            full[i, :] = 0.0
        if lost:
            turned = 2.0
        if d == 1 and turned < 1:  # no room for an angle, nor for its rounding, until a sign is lost
            turned = 0.0
        heights[1, i] = turned
        every = every and here and turned < 0.5
        turns += turned
        squares += turned * turned
    _scaled(line, present)
    scatter = all_pairs = 0.0
    for i in range(n):
        if full[i, 0] != 0 or _length(full[i]) > 0:
            scatter += _apart(full[i], line)
        for k in range(i):
            all_pairs += abs(_dot(full[i], full[k]))
    out[4], out[5], out[6], out[7], out[8] = turns / n, squares / n, present, _length(line), scatter
    out[9], out[10] = 2 * all_pairs, 1.0 if above else 0.0
    out[11] = 1.0 if every and (positive or negative) else 0.0
    out[12] = 1.0 if every and aligned else 0.0


@nb.njit(**_COMPILE)
def leading(a, r, b, R, e, noise, v, z, unit, S, alphas, qs, out):
    """Take the leading pair off B states: write S (B, n, d), alphas (B, n), qs (B, d) and :data:`PAIR`.

    S are the minors.  ``noise`` (B, 5): log2 of the errors of parts; ``unit``: eps of the dtype of the
    states; other arguments as of :func:`content`.
    """
    line = np.empty(R.shape[2])
    for s in range(R.shape[0]):
        t = s if v.shape[0] > 1 else 0
        _leading(
            a[s], r[s], b[s], R[s], e[s], noise[s], v[t], z[t], math.log2(unit), S[s], alphas[s], qs[s], line,
            out[s],
        )  # fmt: skip


@nb.njit(**_COMPILE)
def angles(a, r, b, R, e, v, z, S, alphas, qs, pairs, rows, known, zero, unit, out):
    """Write :data:`ANGLES` of B states, whose leading pairs are as :func:`leading` wrote them.

    ``rows`` (B, n): log2 of the errors of rows, where ``known``; ``zero`` (B, n): rows that are exactly
    zero; other arguments as of :func:`leading`.
    """
    n, d = R.shape[1], R.shape[2]
    row, rest, full = np.empty(d), np.empty((n, d)), np.empty((n, d))
    line, heights = np.empty(d), np.empty((4, n))
    for s in range(R.shape[0]):
        t = s if v.shape[0] > 1 else 0
        exponents = _assemble(a[s], r[s], b[s], R[s], e[s], v[t], z[t], row, rest, full)
        _angles(
            S[s], alphas[s], qs[s], pairs[s], exponents, row, rest, full, v[t], rows[s], known, zero[s],
            4 * unit, heights, line, out[s],
        )  # fmt: skip


@nb.njit(**_COMPILE)
def for_singular_values(S, alphas, qs, pairs, out):
    """Write B matrices (B, n, d): minors where the leading pair is split off, else all of the state."""
    n, d = S.shape[1], S.shape[2]
    x = np.empty(d)
    for s in range(S.shape[0]):
        if pairs[s, 3] > 0:
            _sums_of_rows(alphas[s], S[s], x)
            for i in range(n):
                for j in range(d):
                    out[s, i, j] = S[s, i, j] - alphas[s, i] * x[j]
        else:
            f = power_of_two(pairs[s, 2])
            for i in range(n):
                along = pairs[s, 0] * alphas[s, i]
                for j in range(d):
                    out[s, i, j] = along * qs[s, j] + f * S[s, i, j]
