"""How parts of a state and their errors begin: linsim._state.decompose and linsim._shadow.begin, compiled.

For states in double precision; what is written is laid out as :mod:`.parts` and :mod:`.shadows` hold it.
:func:`given` does what ``as_given`` of linsim.metrics does with tokens that are measured as they are.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .layer import log2, power_of_two
from .parts import EMPTY, IN_A, IN_B, IN_MEAN, IN_R, IN_ROW, length, normalise
from .products import columns, index, rows

__all__ = ["begin", "given"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
# called from compiled code alone: no wrappers, and kept with their callers
_INNER = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_EPS = 2.0**-52


@nb.njit(**_INNER)
def _cut(x, u, v, w, z, constant, sensitivity, size_w, held, s, y, row, shift, noise):
    """Cut the tokens x (n, d) of system s into parts, at a scale where nothing overflows; return that scale.

    ``noise`` (5,): written, log2 of the error of each part.  ``y`` (n, d), ``row``, ``shift`` (d,): room.
    """
    n, d = x.shape
    height = rows(n)
    peak = 0.0
    for i in range(n):
        for j in range(d):
            peak = max(peak, abs(x[i, j]))
    top = math.frexp(peak)[1] - 1.0
    # in two steps: 2**-top could overflow
    half = math.floor(-top / 2)
    one, two = power_of_two(half), power_of_two(-top - half)
    row[:] = 0.0
    size_y = 0.0
    for j in range(d):
        shift[j] = x[0, j] * one * two if constant else 0.0
        held[4][s, j] = 0.0
    for i in range(n):
        for j in range(d):
            # the first token is taken off first: equal rows leave exactly nothing
            t = x[i, j] * one * two - shift[j]
            y[i, j] = t
            row[j] += u[i] * t
            held[4][s, j] += t / n
            size_y += t * t
    size_y, size_shift, size_row = math.sqrt(size_y), length(shift), length(row)
    a = 0.0
    for i in range(n):
        b = 0.0
        for j in range(d):
            y[i, j] -= v[i] * row[j]
            b += y[i, j] * w[j]
        held[2][s, i] = b
        for j in range(d):
            held[0][s, index(i, j, height, d, 8)] = y[i, j] - b * z[j]
    for j in range(d):
        held[4][s, j] += shift[j]
        row[j] += shift[j]
        a += row[j] * w[j]
    held[3][s, 0] = a
    for j in range(d):
        held[1][s, j] = row[j] - a * z[j]
    held[5][s, 0, :] = 0.0
    unit = _EPS * sensitivity
    noise_row = log2(unit * (length(u) * size_y + size_shift))
    noise_rest = log2(unit * (size_y + length(v) * size_row))
    noise[IN_A], noise[IN_ROW] = noise_row + log2(size_w), noise_row + log2(1 + size_w)
    noise[IN_B], noise[IN_R] = noise_rest + log2(size_w), noise_rest + log2(1 + size_w)
    noise[IN_MEAN] = log2(unit * (size_y + size_shift))
    return top


@nb.njit(**_INNER)
def _shares(part, n, d, height, in_panels, out):
    """Write how much of an error each row gets: mostly its share of the part, or all alike."""
    total = 0.0
    for i in range(n):
        out[i] = 0.0
        for j in range(d):
            t = part[index(i, j, height, d, 8)] if in_panels else part[i]
            out[i] += t * t
        total += out[i]
    total = math.sqrt(total)
    even = 1 / math.sqrt(float(n))
    for i in range(n):
        # vectors that cut a state are off in every entry, whatever its size
        out[i] = 0.7 * math.sqrt(out[i]) / total + 0.3 * even if total > 0 else even


@nb.njit(**_COMPILE)
def begin(x0, cuts, cuts32, constant, coupled, sensitivity, first, held, errors, lengths, condition):
    """Cut the tokens of m systems into parts, and let each part begin with errors as large as its noise.

    Parameters
    ----------
    x0 : (m or 1, n, d) float64, not all zero
    cuts : u, v (m, n), w, z (m, stored), the vectors that they are cut along
    cuts32 : the same in single precision, with its stored columns; zero, written
    constant, coupled : (m,) bool; sensitivity : (m,), roundings that cutting adds to a part, in eps
    first : float32 patterns of a (copies, 1, 1), r, b, R and mean (copies, ., .)
    held, errors : X, r, b, a, mean and exponents as in :mod:`.parts`, of the systems and in single precision
        of ``copies`` errors of each; zero, written
    lengths : (m, 4), norms of u, v, w, z, written
    condition : (m,), by how much cutting enlarges a rounding, written
    """
    n, d = x0.shape[1], x0.shape[2]
    height, stored32 = rows(n), columns(d, 4)
    u, v, w, z = cuts
    copies = errors[3].shape[1]
    count = copies * height
    y, row, shift, noise = np.empty((n, d)), np.empty(d), np.empty(d), np.empty(5)
    share_R, share_b, size, whole = np.empty(n), np.empty(n), np.empty(5), np.empty(5)
    for s in range(u.shape[0]):
        for i in range(n):
            cuts32[0][s, i], cuts32[1][s, i] = u[s, i], v[s, i]
        for j in range(d):
            cuts32[2][s, j], cuts32[3][s, j] = w[s, j], z[s, j]
        lengths[s, 0], lengths[s, 1] = length(u[s]), length(v[s])
        lengths[s, 2], lengths[s, 3] = length(w[s]), length(z[s])
        condition[s] = max(0.15 * (lengths[s, 0] * lengths[s, 1] + lengths[s, 2] * lengths[s, 3]), 1.0)
        top = _cut(
            x0[s if x0.shape[0] > 1 else 0], u[s], v[s], w[s], z[s], constant[s], sensitivity[s],
            lengths[s, 2], held, s, y, row, shift, noise,
        )  # fmt: skip
        state = (held[0][s], held[1][s], held[2][s], held[3][s], held[4][s], held[5][s])
        normalise(state, n, d, coupled[s])
        _shares(state[0], n, d, height, True, share_R)
        _shares(state[2], n, 1, height, False, share_b)
        for p in range(5):
            held[5][s, 0, p] += top
            e = noise[p] + top
            # a and b take their shares of r and R with them, and round by half as much themselves
            if p in (IN_ROW, IN_R):
                e -= log2(1 + lengths[s, 2])
            elif p != IN_MEAN:
                e -= 1.0
            whole[p] = math.floor(e) if e > EMPTY / 2 else EMPTY
            size[p] = math.exp2(e - whole[p]) if e > EMPTY / 2 else 0.0
        of_d = 1 / math.sqrt(float(d))
        e_share, e_column = max(whole[IN_ROW], whole[IN_A]), max(whole[IN_R], whole[IN_B])
        f_row, f_a = power_of_two(whole[IN_ROW] - e_share), power_of_two(whole[IN_A] - e_share)
        f_R, f_b = power_of_two(whole[IN_R] - e_column), power_of_two(whole[IN_B] - e_column)
        for k in range(copies):
            taken = 0.0
            for j in range(d):
                at = k * stored32 + j
                errors[4][s, at] = size[IN_MEAN] * of_d * first[4][k, 0, j]
                errors[1][s, at] = size[IN_ROW] * of_d * first[1][k, 0, j]
                taken += errors[1][s, at] * w[s, j]
            for j in range(d):
                errors[1][s, k * stored32 + j] -= taken * z[s, j]
            errors[3][s, k] = taken * f_row + size[IN_A] * first[0][k, 0, 0] * f_a
            for i in range(n):
                factor, taken = size[IN_R] * of_d * share_R[i], 0.0
                for j in range(d):
                    at = index(k * height + i, j, count, d, 4)
                    errors[0][s, at] = factor * first[3][k, i, j]
                    taken += errors[0][s, at] * w[s, j]
                for j in range(d):
                    errors[0][s, index(k * height + i, j, count, d, 4)] -= taken * z[s, j]
                own = size[IN_B] * share_b[i] * first[2][k, i, 0]
                errors[2][s, k * height + i] = taken * f_R + own * f_b
            own_e = errors[5][s, k]
            own_e[IN_A], own_e[IN_ROW], own_e[IN_B] = e_share, whole[IN_ROW], e_column
            own_e[IN_R], own_e[IN_MEAN] = whole[IN_R], whole[IN_MEAN]
        normalise(
            (errors[0][s], errors[1][s], errors[2][s], errors[3][s], errors[4][s], errors[5][s]),
            n, d, coupled[s],
        )  # fmt: skip


@nb.njit(**_INNER)
def _own_scale(x):
    """Bring the largest entry into [1, 2), exactly; return the exponent, EMPTY for nothing."""
    flat = x.reshape(x.size)
    peak = 0.0
    for k in range(flat.size):
        peak = max(peak, abs(flat[k]))
    if not peak > 0:
        return EMPTY
    e = math.frexp(peak)[1] - 1.0
    factor = power_of_two(-e)
    for k in range(flat.size):
        flat[k] *= factor
    return e


@nb.njit(**_COMPILE)
def given(x0, R, r, e, noise, errors, kept):
    """Cut B tokens (n, d), given exactly, into their mean and the rest, for measuring.

    Parameters
    ----------
    x0 (B, n, d) float64
    R (B, n, d), r (B, d), e (B, 5), noise (B, 5) : the rest, the mean (which is the part of that name as
        well), exponents and log2 of errors of all parts, written; the others are nothing
    errors (B, n) : log2 of the errors of tokens, written
    kept (B,) bool : whether the mean is kept apart, written: else tokens lie around 0, as they stand
    """
    n, d = x0.shape[1], x0.shape[2]
    rounding = _EPS * math.sqrt(float(n))
    for s in range(x0.shape[0]):
        x, row = R[s], r[s]
        peak = 0.0
        for i in range(n):
            for j in range(d):
                peak = max(peak, abs(x0[s, i, j]))
        top = math.frexp(peak)[1] - 1.0 if peak > 0 else 0.0
        # in two steps: entries near the ends of the range must not overflow
        half = math.floor(-top / 2)
        one, two = power_of_two(half), power_of_two(-top - half)
        row[:] = 0.0
        largest, own = EMPTY, 0.0
        for i in range(n):
            squares = 0.0
            for j in range(d):
                y = x0[s, i, j] * one * two
                squares += y * y
                # less the first token: equal ones leave exactly nothing
                y -= x0[s, 0, j] * one * two
                x[i, j] = y
                own += y * y
                row[j] += y
            errors[s, i] = log2(rounding * math.sqrt(squares))
            largest = max(largest, errors[s, i])
            errors[s, i] += top
        first = length_of = furthest = 0.0
        for j in range(d):
            row[j] /= n
            first += (x0[s, 0, j] * one * two) ** 2
            length_of += (x0[s, 0, j] * one * two + row[j]) ** 2
        for i in range(n):
            squares = 0.0
            for j in range(d):
                x[i, j] -= row[j]
                squares += x[i, j] * x[i, j]
            furthest = max(furthest, squares)
        own = rounding * math.sqrt(own)
        noise_row = log2(own / math.sqrt(float(n)) + rounding * math.sqrt(first))
        noise_rest = log2(own)
        # where some token is further from the mean than half the mean's length tokens stay as they stand
        kept[s] = not 4 * furthest >= length_of
        if kept[s]:
            for j in range(d):
                row[j] += x0[s, 0, j] * one * two
        else:
            row[:] = 0.0
            noise_row, noise_rest = EMPTY, largest + 0.5 * math.log2(float(n))
            for i in range(n):
                for j in range(d):
                    x[i, j] = x0[s, i, j] * one * two
        e[s, IN_A] = e[s, IN_B] = EMPTY + top
        e[s, IN_R], e[s, IN_ROW] = _own_scale(x) + top, _own_scale(row) + top
        e[s, IN_MEAN] = e[s, IN_ROW]
        noise[s, IN_A] = noise[s, IN_B] = EMPTY + top
        noise[s, IN_ROW] = noise[s, IN_MEAN] = noise_row + top
        noise[s, IN_R] = noise_rest + top
