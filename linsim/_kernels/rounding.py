"""What a layer rounds, and errors moved by it: what ``Shadows.step`` of :mod:`linsim._shadow` does, compiled.

Errors and the patterns by which they are moved are held as :mod:`.shadows` says.
"""

from __future__ import annotations

import math

import numba as nb

from .kept import UNCOUNTED
from .lanes import WIDTH, fma, largest, load, load_for, maximum, narrow, splat, sqrt, store, where
from .layer import power_of_two
from .panels import row_squares
from .parts import IN_A, IN_B, IN_MEAN, IN_R, IN_ROW, length, normalise
from .products import columns, rows

__all__ = ["POOL", "SUM", "change", "look", "move"]

# called from compiled code alone: no wrappers, and kept with their callers
_INNER = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

#: patterns by which shadows are moved, one after the other, as in linsim._shadow
POOL = 8
SUM, ENTRY = 0.2, 0.3
_EPS = 2.0**-52
# powers of two below which sizes are near the end of single precision
_BUDGET = 50.0


@nb.njit(**UNCOUNTED)
def look(parts, n, d, sizes, row):
    """Sizes of a state: ``sizes[0]`` of its rows, ``sizes[1]`` |b_i|; ``row``: |a|, |r|, |R|, |mean|."""
    X, r, b, a, mean, _ = parts
    stored = columns(d, X.itemsize)
    row_squares(X, 0 * n, rows(n), n, d, sizes[0])
    square = 0.0
    for i in range(n):
        square += sizes[0, i]
        sizes[0, i] = math.sqrt(sizes[0, i])
        sizes[1, i] = abs(b[i])
    row[IN_A], row[IN_ROW], row[IN_MEAN] = abs(a[0]), length(r[:stored]), length(mean[:stored])
    row[IN_R] = math.sqrt(square)


@nb.njit(**UNCOUNTED)
def change(X, Y, n, d, factor, out):
    """Write (X - Y) times a factor, one matrix each in panels of its dtype, in panels of single precision."""
    height, stored, stored32 = rows(n), columns(d, X.itemsize), columns(d, out.itemsize)
    w, panel, panel32 = WIDTH // out.itemsize, 4 * (WIDTH // X.itemsize), 4 * (WIDTH // out.itemsize)
    for column in range(0, stored, panel):
        width, first = min(panel, stored - column), (column // panel32) * panel32
        at, step = column * height, min(panel32, stored32 - first)
        to, even = first * height + column - first, (width // w) * w
        for _ in range(n):
            for j in range(0, even, w):
                off = (load_for(out, X, at + j) - load_for(out, Y, at + j)) * factor
                store(out, to + j, narrow(out, off))
            for j in range(even, width):
                out[to + j] = (X[at + j] - Y[at + j]) * factor
            at += width
            to += step


@nb.njit(**UNCOUNTED)
def _joined(e, p, to):
    """Exponent of the sum of what stands at e[p] and at ``to``, and the factors that both get; sets e[p]."""
    top = max(e[p], to)
    old, new = power_of_two(e[p] - top), power_of_two(to - top)
    e[p] = top
    return old, new


@nb.njit(**UNCOUNTED)
def _joined_all(e, p, to, factors):
    """:func:`_joined` of every copy, factors to (2, copies)."""
    for k in range(e.shape[0]):
        factors[0, k], factors[1, k] = _joined(e[k], p, to)


@nb.njit(**UNCOUNTED)
def _move_rows(X, copies, n, d, pool, o, fixed, drift, sign, x, y, c, heads, off, factors):
    """X = old X + new (s (sign pool + fixed) + off drift), entry by entry, old and new of each copy.

    s^2 = x[1]^2 (x[0]^2 + sum (y_h c_h)^2), the same for all copies: squares of what is at most 1 leave no
    range.  ``off``: of one copy, in panels; patterns like X, ``pool`` from ``o`` on.
    """
    w, height, stored = WIDTH // X.itemsize, rows(n), columns(d, X.itemsize)
    turn, count, lane = splat(X, sign), copies * height, columns(n, x.itemsize)
    for column in range(0, stored, 4 * w):
        width = min(4 * w, stored - column)
        for j in range(0, width, w):
            at, at_off = column * count + j, column * height + j
            for i in range(n):
                size = splat(X, x[0, i] * x[0, i])
                for h in range(heads):
                    part = splat(X, y[h * lane + i]) * load(c, h * stored + column + j)
                    size = fma(part, part, size)
                size, own = sqrt(size) * x[1, i], load(off, at_off)
                own_at = at
                for k in range(copies):
                    pattern = fma(load(pool, o + own_at), turn, load(fixed, own_at))
                    moved = fma(size, pattern, own * load(drift, own_at))
                    store(X, own_at, fma(moved, splat(X, factors[1, k]), load(X, own_at) * factors[0, k]))
                    own_at += height * width
                at += width
                at_off += width


@nb.njit(**UNCOUNTED)
def _move_row(x, copies, size, pool, o, fixed, drift, sign, s, off, factors):
    """x = old x + new (s (sign pool + fixed) + off drift) of rows of ``size`` numbers each."""
    for k in range(copies):
        first, last = k * size, (k + 1) * size
        own, own_pool = x[first:last], pool[o + first : o + last]
        own_fixed, own_drift = fixed[first:last], drift[first:last]
        old, new = factors[0, k], factors[1, k]
        for j in range(size):
            moved = s[j] * (sign * own_pool[j] + own_fixed[j]) + off[j] * own_drift[j]
            own[j] = old * own[j] + new * moved


@nb.njit(**UNCOUNTED)
def _sizes_of_rows(squares, heads, n, rows_before, rows_after, by_head, by_entry, x, y):
    """What a layer rounds in each row: own_i = by_entry |after_i|, and y_hi = by_head_h |A_h,i: before|.

    ``squares``: of the entries of A, one column after the other.  Written: x[1], the largest of a row's, and
    x[0] and y over that.  Returns the largest of all.
    """
    w, stored = WIDTH // x.itemsize, columns(n, x.itemsize)
    own_x, x_all, none = x[0], x[1], splat(x, 0.0)
    peak = none
    for i in range(0, stored, w):
        own = load(rows_after, i) * by_entry
        top = own
        for h in range(heads):
            even, odd, at = none, none, h * n * stored + i
            for j in range(0, n - 1, 2):
                even = fma(load(squares, at), splat(x, rows_before[j] * rows_before[j]), even)
                odd = fma(load(squares, at + stored), splat(x, rows_before[j + 1] * rows_before[j + 1]), odd)
                at += 2 * stored
            if n % 2:
                even = fma(load(squares, at), splat(x, rows_before[n - 1] * rows_before[n - 1]), even)
            part = sqrt(even + odd) * by_head[h]
            store(y, h * stored + i, part)
            top = maximum(part, top)
        store(x_all, i, top)
        over = where(top > none, 1.0 / where(top > none, top, none + 1.0), none)
        store(own_x, i, own * over)
        for h in range(heads):
            store(y, h * stored + i, load(y, h * stored + i) * over)
        peak = maximum(top, peak)
    return largest(peak)


@nb.njit(**UNCOUNTED)
def _weighted_sizes(M, o, x, n):
    """Return the sum of |M[o + j]| x[j]."""
    out = 0.0
    for j in range(n):
        out += abs(M[o + j]) * x[j]
    return out


@nb.njit(**_INNER)
def move(
    errors, patterns, layer, n, d, heads, left, squares, weights, sizes, cut, lengths, condition, unit, e,
    before, row, after, row_after, old_parts, parts, constant, coupled, has_z, any_mean, room,
):  # fmt: skip
    """Move errors by what a layer rounds that has led from ``old_parts`` to ``parts``.

    Parameters
    ----------
    errors : parts of all copies
    patterns : (pools, fixed, drift), each of X, r, b, a and mean
    heads, left, squares : attention of each head, as placed, and the squares of its entries
    weights : (norms, norms32, widest): norms of the columns of each H (heads, stored), over the largest in
        single precision, and the largest (heads,)
    sizes : norms of A and of H
    cut, lengths : eigenvalues (lambda, mu), and norms of u, v, w, z
    unit : log2 of the eps of the state
    e : exponents of the state
    before, row, after, row_after : as of :func:`look`, before and after the layer
    room : x (2, .) and y (heads .), rows in whole vectors, a number for each head, what X has changed by in
        panels of single precision, two rows, zero where they are padding, factors (2, copies), five numbers
    """
    X, r, b, a, mean, e_errors = errors
    pools, fixed, drift = patterns
    norms, norms32, widest = weights
    x, y, by_head, off, row_size, row_off, factors, up = room
    height, copies = rows(n), a.size
    stored = columns(d, X.itemsize)
    lam, mu = cut
    by_weights, by_attention = SUM * math.sqrt(1 + n / d), SUM * math.sqrt(float(n))
    entry = ENTRY / math.sqrt(float(d))
    top_r = top_b = top_mean = 0.0
    for h in range(heads):
        by_head[h] = by_weights * condition * widest[h]
        top_r = max(top_r, by_head[h] * row[IN_ROW])
        top_mean = max(top_mean, by_weights * row[IN_MEAN] * widest[h])
    top_R = _sizes_of_rows(squares, heads, n, before[0], after[0], by_head, entry * condition, x, y)
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
            own = _weighted_sizes(left, i * n, before[1], n)
            before[0, i] = (by_attention * abs(mu) * own + ENTRY * after[1, i]) * condition
            top_b = max(top_b, before[0, i])
        # an eigenvalue u M v is off by eps |u| |v| |M|, the same at every layer; found in double precision,
        # only what rounding M to single precision has done to it (the constant vector's is 1 whatever M)
        finer = _EPS * power_of_two(-unit)
        turned = finer * abs(lam) * sizes[1] * lengths[2] * lengths[3]
        turned += (finer if constant else 1.0) * abs(mu) * sizes[0] * lengths[0] * lengths[1]
        mode = ENTRY * row_after[IN_A] + 0.3 * turned * row[IN_A]
    # layers that all but cancel the state leave the range of single precision before it is rescaled
    lowest, fits = 2.0**-_BUDGET, True
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
    change(parts[0], old_parts[0], n, d, own_scale, off)
    for i in range(n if own_scale != 1.0 else 0):
        x[1, i] *= own_scale
    sign = 1.0 if layer // POOL % 2 else -1.0
    turn = layer % POOL
    width = copies * stored
    # places as variables: every constant would be compiled a function of its own
    place = 0 * n
    _joined_all(e_errors, place + IN_R, e[IN_R] + unit + up[IN_R], factors)
    _move_rows(
        X, copies, n, d, pools[0], turn * width * height, fixed[0], drift[0], sign, x, y, norms32, heads, off,
        factors,
    )  # fmt: skip
    scale = power_of_two(-up[IN_ROW])
    steady = (0.3 if constant else 1.0) * shrunk * scale
    for j in range(d):
        size = own_r
        for h in range(heads):
            size += by_weights * row[IN_ROW] * condition * norms[h, j]
        row_size[j] = (size * shrunk + fed) * scale
        row_off[j] = steady * (parts[1][j] - old_parts[1][j])
    _joined_all(e_errors, place + IN_ROW, e_r + unit + up[IN_ROW], factors)
    _move_row(r, copies, stored, pools[1], turn * width, fixed[1], drift[1], sign, row_size, row_off, factors)
    if has_z:
        scale = power_of_two(-up[IN_B])
        for i in range(n):
            x[0, i] = before[0, i] * scale
            x[1, i] = (parts[2][i] - old_parts[2][i]) * scale
        _joined_all(e_errors, place + IN_B, e[IN_B] + unit + up[IN_B], factors)
        _move_row(
            b, copies, height, pools[2], turn * copies * height, fixed[2], drift[2], sign, x[0], x[1], factors
        )
        scale = power_of_two(-up[IN_A])
        _joined_all(e_errors, place + IN_A, e[IN_A] + unit + up[IN_A], factors)
        for k in range(copies):
            moved = mode * (sign * pools[3][turn * copies + k] + fixed[3][k])
            if unit < -30:
                moved += parts[3][0] * drift[3][k]
            a[k] = factors[0, k] * a[k] + moved * scale * factors[1, k]
    if any_mean:
        scale = power_of_two(-up[IN_MEAN])
        for j in range(d):
            size = own_mean
            for h in range(heads):
                size += by_weights * row[IN_MEAN] * norms[h, j]
            row_size[j] = size * scale
            row_off[j] = (parts[4][j] - old_parts[4][j]) * scale
        _joined_all(e_errors, place + IN_MEAN, e[IN_MEAN] + unit + up[IN_MEAN], factors)
        _move_row(
            mean, copies, stored, pools[4], turn * width, fixed[4], drift[4], sign, row_size, row_off, factors
        )
