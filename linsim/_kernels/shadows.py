"""Errors that travel along with a state: :mod:`linsim._shadow`, compiled.

Errors are held as parts (see :mod:`.parts`) in single precision, ``copies`` of them, and the patterns
by which they are moved as (pool, fixed) for each part, laid out like the part itself.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .lanes import WIDTH, fma, load, splat, sqrt, store
from .layer import log2, power_of_two
from .panels import row_squares
from .parts import (
    EMPTY,
    IN_A,
    IN_B,
    IN_MEAN,
    IN_R,
    IN_ROW,
    add,
    advance,
    length,
    lower,
    normalise,
    place_attention,
    place_weights,
    write_errors,
    write_parts,
)
from .products import aligned, columns, index, rows

__all__ = ["POOL", "SUM", "walk"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
# called from compiled code alone: no wrappers, and kept with their callers
_INNER = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# sums in any order, as many terms at once as registers hold
_SUMMED = {**_INNER, "fastmath": {"reassoc", "contract", "nsz"}}

#: patterns by which shadows are moved, one after the other, as in linsim._shadow
POOL = 8
SUM, ENTRY = 0.2, 0.3
_EPS = 2.0**-52
# powers of two below which sizes are near the end of single precision
_BUDGET = 50.0
# the least normal number of single precision
_LEAST = 2.0**-126


@nb.njit(**_INNER)
def _move_rows(
    X, first, count, n, d, pool, o, fixed, sign, x, y, c, heads, change, height, drift, old, new,
):  # fmt: skip
    """X = old X + new (s (sign pool + fixed) + change drift), entry by entry.

    s^2 = x[1]^2 (x[0]^2 + sum (y_h c_h)^2): squares of what is at most 1 leave no range.  ``change``: of
    ``height`` rows, in panels.
    """
    w = WIDTH // X.itemsize
    stored = columns(d, X.itemsize)
    kept, turn, moved = splat(X, old), splat(X, sign), splat(X, new)
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        base = column * count + first * width
        for j in range(0, width, w):
            at, at_change = base + j, column * height + j
            for i in range(n):
                size = splat(X, x[0, i] * x[0, i])
                for h in range(heads):
                    part = splat(X, y[h, i]) * load(c, h * stored + column + j)
                    size = fma(part, part, size)
                pattern = fma(load(pool, o + at), turn, load(fixed, at))
                off = fma(sqrt(size) * x[1, i], pattern, load(change, at_change) * load(drift, at))
                store(X, at, fma(off, moved, load(X, at) * kept))
                at += width
                at_change += width


@nb.njit(**_INNER)
def _joined(e, p, to):
    """Exponent of the sum of what stands at e[p] and at ``to``, and the factors that both get; sets e[p]."""
    top = max(e[p], to)
    old, new = power_of_two(e[p] - top), power_of_two(to - top)
    e[p] = top
    return old, new


@nb.njit(**_INNER)
def _look(parts, n, d, before, row):
    """Sizes of a state: ``before[0]`` of its rows, ``before[1]`` |b_i|; ``row``: |a|, |r|, |R|, |mean|."""
    X, r, b, a, mean, _ = parts
    stored = columns(d, X.itemsize)
    row_squares(X, 0 * n, rows(n), n, d, before[0])
    total = 0.0
    for i in range(n):
        total += before[0, i]
        before[0, i] = math.sqrt(before[0, i])
        before[1, i] = abs(b[i])
    row[IN_A], row[IN_ROW], row[IN_MEAN] = abs(a[0]), length(r[:stored]), length(mean[:stored])
    row[IN_R] = math.sqrt(total)


@nb.njit(**_INNER)
def _move(
    errors, pools, fixed, drift, layer, n, d, heads, left, norms, norms32, sizes, cut, lengths, condition,
    unit, e, before, row, after, row_after, old_parts, parts, change, constant, coupled, has_z, any_mean, x,
    y,
):  # fmt: skip
    """Move errors by what a layer rounds: ``_rounded`` and ``Shadows.step`` of linsim._shadow.

    ``norms`` (heads, stored): of the columns of each H; ``norms32``: over the largest; ``sizes``: norms of A
    and of H; ``e``: exponents of the state; ``unit``: log2 of its eps; ``x`` (2, n), ``y`` (heads, n): room.
    """
    X, r, b, a, mean, e_errors = errors
    height, copies = rows(n), a.size
    stored, count = columns(d, X.itemsize), a.size * height
    lam, mu = cut
    by_weights, by_attention = SUM * math.sqrt(1 + n / d), SUM * math.sqrt(float(n))
    entry = ENTRY / math.sqrt(float(d))
    top_R = top_r = top_b = top_mean = 0.0
    for i in range(n):
        x[0, i] = entry * after[0, i] * condition
        x[1, i] = x[0, i]
    for h in range(heads):
        widest = 0.0
        for j in range(d):
            widest = max(widest, norms[h, j])
        for i in range(n):
            y[h, i] = (
                by_weights
                * math.sqrt(_squares(left, (h * height + i) * n, before[0], n))
                * condition
                * widest
            )
            x[1, i] = max(x[1, i], y[h, i])
        top_r = max(top_r, by_weights * row[IN_ROW] * widest * condition)
        top_mean = max(top_mean, by_weights * row[IN_MEAN] * widest)
    for i in range(n):
        top_R = max(top_R, x[1, i])
        if x[1, i] > 0:
            x[0, i] /= x[1, i]
            for h in range(heads):
                y[h, i] /= x[1, i]
    own_r = entry * row_after[IN_ROW] * condition
    own_mean = entry * row_after[IN_MEAN]
    top_r, top_mean = max(top_r, own_r), max(top_mean, own_mean)
    # what R feeds into r, at the larger of their scales
    e_r, fed, shrunk = e[IN_ROW], 0.0, 1.0
    if coupled:
        fed = by_attention * lengths[0] * row_after[IN_R] / math.sqrt(float(d))
        e_r = max(e[IN_ROW], e[IN_R])
        shrunk, fed = power_of_two(e[IN_ROW] - e_r), fed * power_of_two(e[IN_R] - e_r)
        top_r = max(top_r * shrunk, fed)
    mode = 0.0
    if has_z:
        for i in range(n):
            seen = _sizes(left, i * n, before[1], n)
            before[0, i] = (by_attention * abs(mu) * seen + ENTRY * after[1, i]) * condition
            top_b = max(top_b, before[0, i])
        # an eigenvalue u M v is off by eps |u| |v| |M|, the same at every layer; found in double precision,
        # only what rounding M to single precision has done to it (the constant vector's is 1 whatever M)
        finer = _EPS * power_of_two(-unit)
        turned = finer * abs(lam) * sizes[1] * lengths[2] * lengths[3]
        turned += (finer if constant else 1.0) * abs(mu) * sizes[0] * lengths[0] * lengths[1]
        mode = ENTRY * row_after[IN_A] + 0.3 * turned * row[IN_A]
    # layers that all but cancel the state leave the range of single precision before it is rescaled
    lowest = 2.0**-_BUDGET
    fits = True
    up = np.zeros(5)
    up[IN_A], up[IN_ROW], up[IN_B], up[IN_R], up[IN_MEAN] = mode, top_r, top_b, top_R, top_mean
    for p in range(5):
        if up[p] > 0:
            fits = fits and up[p] >= lowest
            up[p] = math.frexp(up[p])[1] - 1.0
    if fits:
        up[:] = 0.0
    else:
        normalise(errors, n, d, coupled)
    # what is the same at every layer is in proportion to what the layer changes, with its sign; where the
    # eigenvalue is 1 nothing of the row is
    own_scale = power_of_two(-up[IN_R])
    _difference(parts[0], old_parts[0], n, d, height, own_scale, change)
    for i in range(n):
        x[1, i] *= own_scale
    steady = (0.3 if constant else 1.0) * shrunk
    sign = 1.0 if layer // POOL % 2 else -1.0
    places = np.arange(5)
    turn = layer % POOL
    size = copies * height * stored
    for k in range(copies):
        own = e_errors[k]
        old, new = _joined(own, places[IN_R], e[IN_R] + unit + up[IN_R])
        _move_rows(
            X,
            k * height,
            count,
            n,
            d,
            pools[0],
            turn * size,
            fixed[0],
            sign,
            x,
            y,
            norms32,
            heads,
            change,
            height,
            drift[0],
            old,
            new,
        )
        old, new = _joined(own, places[IN_ROW], e_r + unit + up[IN_ROW])
        new *= power_of_two(-up[IN_ROW])
        for j in range(d):
            off = own_r
            for h in range(heads):
                off += by_weights * row[IN_ROW] * condition * norms[h, j]
            at = k * stored + j
            pattern = sign * pools[1][turn * copies * stored + at] + fixed[1][at]
            moved = (off * shrunk + fed) * pattern + steady * (parts[1][j] - old_parts[1][j]) * drift[1][at]
            r[at] = old * r[at] + moved * new
        if has_z:
            old, new = _joined(own, places[IN_B], e[IN_B] + unit + up[IN_B])
            new *= power_of_two(-up[IN_B])
            for i in range(n):
                at = k * height + i
                pattern = sign * pools[2][turn * copies * height + at] + fixed[2][at]
                moved = before[0, i] * pattern + (parts[2][i] - old_parts[2][i]) * drift[2][at]
                b[at] = old * b[at] + moved * new
            old, new = _joined(own, places[IN_A], e[IN_A] + unit + up[IN_A])
            new *= power_of_two(-up[IN_A])
            moved = mode * (sign * pools[3][turn * copies + k] + fixed[3][k])
            if unit < -30:
                moved += parts[3][0] * drift[3][k]
            a[k] = old * a[k] + moved * new
        if any_mean:
            old, new = _joined(own, places[IN_MEAN], e[IN_MEAN] + unit + up[IN_MEAN])
            new *= power_of_two(-up[IN_MEAN])
            for j in range(d):
                off = own_mean
                for h in range(heads):
                    off += by_weights * row[IN_MEAN] * norms[h, j]
                at = k * stored + j
                pattern = sign * pools[4][turn * copies * stored + at] + fixed[4][at]
                moved = off * pattern + (parts[4][j] - old_parts[4][j]) * drift[4][at]
                mean[at] = old * mean[at] + moved * new


@nb.njit(**_SUMMED)
def _sizes(M, o, x, n):
    """Return the sum of |M[o + j]| x[j]."""
    out = 0.0
    for j in range(n):
        out += abs(M[o + j]) * x[j]
    return out


@nb.njit(**_SUMMED)
def _squares(M, o, x, n):
    """Return the sum of (M[o + j] x[j])^2."""
    out = 0.0
    for j in range(n):
        out += (M[o + j] * x[j]) * (M[o + j] * x[j])
    return out


@nb.njit(**_INNER)
def _difference(X, Y, n, d, height, factor, out):
    """Write (X - Y) times a factor, one matrix each in panels of its dtype, in panels of single precision."""
    size, size32 = X.itemsize, out.itemsize
    for i in range(n):
        for j in range(d):
            at = index(i, j, height, d, size)
            out[index(i, j, height, d, size32)] = (X[at] - Y[at]) * factor


@nb.njit(**_SUMMED)
def _square(X, at, width, full, column, x, y, factor):
    """Return the sum of squares of some columns of a row v r + b z + R.

    Entries below the least normal number do not shrink any more when their row does: they are none.
    """
    out = 0.0
    for j in range(width):
        own = factor * X[at + j] if abs(X[at + j]) >= _LEAST else 0.0
        t = x * full[0, column + j] + y * full[1, column + j] + own
        out += t * t
    return out


@nb.njit(**_INNER)
def _mean_square(lengths, safety):
    """log2 of ``safety`` times the root mean square of what ``lengths`` are the log2 of."""
    top = EMPTY
    for k in range(lengths.size):
        top = max(top, lengths[k])
    square = 0.0
    for k in range(lengths.size):
        square += math.exp2(2 * max(max(lengths[k], EMPTY) - top, -200.0))
    return top + 0.5 * math.log2(square / lengths.size) + math.log2(safety)


@nb.njit(**_INNER)
def _measure(errors, n, d, cut, safety, noise, noise_rows, squares, full):
    """Write the noise of every part and of every token: ``Shadows.measured`` of linsim._shadow."""
    X, r, b, a, mean, e = errors
    _, v, _, z, _ = cut
    height, stored, copies = rows(n), columns(d, X.itemsize), a.size
    count = copies * height
    lengths = np.empty((5, copies))
    for k in range(copies):
        row_squares(X, k * height, count, n, d, squares[k])
        total = 0.0
        for i in range(n):
            total += squares[k, i]
        lengths[IN_R, k] = log2(math.sqrt(total))
        lengths[IN_A, k] = log2(abs(float(a[k])))
        lengths[IN_ROW, k] = log2(length(r[k * stored : (k + 1) * stored]))
        lengths[IN_B, k] = log2(length(b[k * height : (k + 1) * height]))
        lengths[IN_MEAN, k] = log2(length(mean[k * stored : (k + 1) * stored]))
        for p in range(5):
            lengths[p, k] = max(lengths[p, k] + e[k, p], EMPTY)
        # the tokens themselves: v (a z + r) + b z + R at one scale
        top = max(max(e[k, IN_A], e[k, IN_ROW]), max(e[k, IN_B], e[k, IN_R]))
        f_a, f_r = power_of_two(e[k, IN_A] - top), power_of_two(e[k, IN_ROW] - top)
        f_b, f_R = power_of_two(e[k, IN_B] - top), power_of_two(e[k, IN_R] - top)
        for j in range(stored):
            full[0, j] = f_a * a[k] * z[j] + f_r * r[k * stored + j]
            full[1, j] = f_b * z[j]
        for i in range(n):
            squares[k, i] = 0.0
        w = 4 * (WIDTH // X.itemsize)
        for column in range(0, stored, w):
            width = min(w, stored - column)
            at = column * count + k * height * width
            for i in range(n):
                squares[k, i] += _square(X, at, width, full, column, v[i], b[k * height + i], f_R)
                at += width
        for i in range(n):
            squares[k, i] = log2(math.sqrt(squares[k, i])) + top
    for p in range(5):
        noise[p] = _mean_square(lengths[p], safety)
    for i in range(n):
        noise_rows[i] = _mean_square(squares[:, i].copy(), safety)


@nb.njit(**_COMPILE)
def walk(
    A, H, numbers, held, held_errors, cuts, cuts32, eigenvalues, lengths, condition, constant, coupled,
    any_mean, means, drive, pools, fixed, drift, every, every_error, safety, layer, wanted, out, out_errors,
    noise, noise_rows, stop,
):  # fmt: skip
    """Take m systems from ``layer`` through the ``wanted`` ones, and write their parts and noise there.

    Parameters
    ----------
    A : (layers or 1, heads, b or 1, n, n), H : (layers or 1, heads, b or 1, d, d)
    numbers : (m,) int, which systems of A and H they are
    held, held_errors : parts (m, flat) as in :mod:`.parts`, of systems and their errors at ``layer``; changed
    cuts, cuts32 : u, v, w, z (m, .) of the dtype of the states, and in single precision
    eigenvalues : (m, 2) float64, lambda and mu
    lengths : (m, 4), norms of u, v, w, z
    condition : (m,), by how much cutting enlarges a rounding
    constant, coupled, any_mean : (m,) bool
    means : (m,), what columns of A sum to, where ``any_mean``
    drive : r, b, a, mean, column, row, e: (m, layers, 1 or none, .), what all tokens are given (:func:`add`)
    pools, fixed, drift : patterns for X, r, b, a, mean, laid out like these, one behind the other
    every, every_error : (m,) int, layers between rescalings of the state, and of the errors
    wanted : (k,) int, increasing layers
    out : a, r, b, R, mean, e: (m, k, ...) parts of the recorded layers, written
    out_errors : the same of the errors, (m, k or 0, copies, ...)
    noise, noise_rows : (m, k, 5), (m, k, n): log2 of their errors, written
    stop : (1,) bool, ends the work when it becomes true
    """
    heads, n, d = A.shape[1], A.shape[3], H.shape[3]
    X = held[0]
    unit = -52.0 if X.itemsize == 8 else -23.0  # log2 of eps
    copies = held_errors[3].shape[1]
    height = rows(n)
    stored, stored32 = columns(d, X.itemsize), columns(d, 4)
    single = held_errors[0][0]
    left, right = aligned(heads * height * n, X[0]), aligned(heads * d * stored, X[0])
    left32, right32 = aligned(heads * height * n, single), aligned(heads * d * stored32, single)
    norms, norms32, sizes = np.zeros((heads, stored)), aligned(heads * stored32, single), np.zeros(2)
    T, T32 = aligned(2 * height * stored, X[0]), aligned(2 * copies * height * stored32, single)
    fed, fed32, column, column32 = (
        aligned(stored, X[0]),
        aligned(stored32, single),
        np.zeros(n, X.dtype),
        np.zeros(n, single.dtype),
    )
    before, after, row, row_after = np.zeros((2, n)), np.zeros((2, n)), np.zeros(5), np.zeros(5)
    x, y = np.zeros((2, n)), np.zeros((heads, n))
    squares, full = np.zeros((copies, n)), np.zeros((2, stored32), np.float32)
    copy = (
        aligned(height * stored, X[0]), aligned(stored, X[0]), aligned(height, X[0]), aligned(1, X[0]),
        aligned(stored, X[0]), np.zeros((1, 5)),
    )  # fmt: skip
    old_parts = (copy[0].copy(), copy[1].copy(), copy[2].copy(), copy[3].copy(), copy[4].copy())
    change = aligned(height * stored32, single)
    begun, driven = layer, drive[6].shape[1] > 0
    for s in range(X.shape[0]):
        state = (held[0][s], held[1][s], held[2][s], held[3][s], held[4][s], held[5][s])
        errors = (
            held_errors[0][s], held_errors[1][s], held_errors[2][s], held_errors[3][s], held_errors[4][s],
            held_errors[5][s],
        )  # fmt: skip
        pair = (eigenvalues[s, 0], eigenvalues[s, 1])
        cut = (cuts[0][s], cuts[1][s], cuts[2][s], cuts[3][s], pair)
        cut32 = (cuts32[0][s], cuts32[1][s], cuts32[2][s], cuts32[3][s], pair)
        has_z = lengths[s, 3] > 0
        placed_A, placed_H = -1, -1
        layer = begun
        for t in range(wanted.size):
            while layer < wanted[t]:
                if stop[0]:
                    return
                at_A, at_H = 0 if A.shape[0] == 1 else layer, 0 if H.shape[0] == 1 else layer
                for h in range(heads):
                    if placed_A != at_A:
                        M = A[at_A, h, numbers[s] if A.shape[2] > 1 else 0]
                        place_attention(M, left, h)
                        place_attention(M, left32, h)
                        if h == 0:
                            sizes[0] = _size(M)
                    if placed_H != at_H:
                        M = H[at_H, h, numbers[s] if H.shape[2] > 1 else 0]
                        place_weights(M, right, h)
                        place_weights(M, right32, h)
                        if h == 0:
                            sizes[1] = _size(M)
                        for j in range(d):
                            norms[h, j] = length(M[:, j])
                        widest = max(norms[h, :d].max(), 1e-300)
                        for j in range(d):
                            norms32[h * stored32 + j] = norms[h, j] / widest
                placed_A, placed_H = at_A, at_H
                at = 0 if drive[6].shape[1] == 1 else layer
                if driven:
                    lower(state, n, d, drive[6][s, at])
                _look(state, n, d, before, row)
                for_old = (state[0], state[1], state[2], state[3], state[4])
                _keep(for_old, old_parts)
                advance(
                    state, T, n, d, heads, left, right, cut, coupled[s], has_z, any_mean[s], means[s], fed,
                    column,
                )  # fmt: skip
                advance(
                    errors, T32, n, d, heads, left32, right32, cut32, coupled[s], has_z, any_mean[s],
                    means[s], fed32, column32,
                )  # fmt: skip
                if driven:
                    own = (
                        drive[0][s, at], drive[1][s, at], drive[2][s, at], drive[3][s, at], drive[4][s, at],
                        drive[5][s, at], drive[6][s, at],
                    )  # fmt: skip
                    add(state, n, d, own, column)
                _look(state, n, d, after, row_after)
                _move(
                    errors, pools, fixed, drift, layer, n, d, heads, left, norms, norms32, sizes, pair,
                    lengths[s], condition[s], unit, state[5][0], before, row, after, row_after, old_parts,
                    for_old, change, constant[s], coupled[s], has_z, any_mean[s], x, y,
                )  # fmt: skip
                layer += 1
                if layer % every_error[s] == 0:
                    normalise(errors, n, d, coupled[s])
                if layer % every[s] == 0:
                    normalise(state, n, d, coupled[s])
            write_parts(
                state, n, d, coupled[s], copy, out[0][s, t], out[1][s, t], out[2][s, t], out[3][s, t],
                out[4][s, t], out[5][s, t],
            )  # fmt: skip
            _measure(errors, n, d, cut32, safety, noise[s, t], noise_rows[s, t], squares, full)
            if out_errors[5].shape[1] > 0:
                write_errors(
                    errors, n, d, out_errors[0][s, t], out_errors[1][s, t], out_errors[2][s, t],
                    out_errors[3][s, t], out_errors[4][s, t], out_errors[5][s, t],
                )  # fmt: skip


@nb.njit(**_INNER)
def _keep(parts, to):
    to[0][:], to[1][:], to[2][:], to[3][:], to[4][:] = parts[0], parts[1], parts[2], parts[3], parts[4]


@nb.njit(**_INNER)
def _size(M):
    """Frobenius norm."""
    out = 0.0
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            out += float(M[i, j]) * float(M[i, j])
    return math.sqrt(out)
