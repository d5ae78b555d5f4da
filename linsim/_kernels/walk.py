"""Layer by layer through small systems that stay in the cache, metrics measured on the way.

One system at a time: its tokens, as the mean row r and the rest R, each with a
power-of-two exponent (see ``linsim._state``), its matrices and a *probe* take a
few tens of kilobytes.  The probe is a generic state under the same layers; how
fast it grows is how fast rounding grows.  Of the tokens' side the probe keeps a
Krylov space only, which holds the extreme eigenvalues of A, so that it costs a
fraction of a state.

Recorded states are packed into lanes, whichever system and layer they belong
to, and their singular values are found when a tile is full.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .lanes import WIDTH, fma, gather, load, splat, store, total, transpose
from .products import add_product, aligned, columns, index, pack, rows
from .singular import bidiagonalise, squares, tile_work

__all__ = ["ABSENT", "MEASURED", "tile_values", "walk"]

_COMPILE = {"nogil": True, "cache": True, "error_model": "numpy"}

#: what this walk measures, in the order of its output
MEASURED = (
    "token_similarity",
    "log_token_diversity",
    "hfc_lfc",
    "log_hfc_lfc",
    "cosine",
    "abs_cosine",
    "effective_rank",
    "stable_rank",
    "log_norm",
    "log_spread",
)
#: log2 of nothing, as linsim._state.EMPTY
ABSENT = -(2.0**60)

_LN2 = math.log(2.0)
# how many Krylov vectors of A stand for all tokens in the probe
_PROBE = 8
# columns of the table of recorded states: system, column of output, log2 noise of the whole, its exponent
_SYSTEM, _COLUMN, _NOISE = 0, 1, 2


@nb.njit(**_COMPILE)
def _add_log2(x, y):
    top, low = max(x, y), min(x, y)
    if low < top - 60:
        return top
    return top + math.log2(1.0 + math.exp2(low - top))


@nb.njit(**_COMPILE)
def _log2(x):
    return math.log2(x) if x > 0 else ABSENT


@nb.njit(**_COMPILE)
def _power(exponent):
    """2**exponent, 0 far below the range."""
    return math.ldexp(1.0, int(min(max(exponent, -1100.0), 1023.0)))


@nb.njit(**_COMPILE)
def _exponent(x):
    """The e with 2**e <= x < 2**(e+1), as a float; ABSENT for 0."""
    if x <= 0:
        return ABSENT
    return float(math.frexp(x)[1] - 1)


@nb.njit(**_COMPILE)
def _places(d, count, itemsize, base, stride):
    """Write where each vector of a row begins, and how far the next row is; return how many there are."""
    w = WIDTH // itemsize
    vectors = columns(d, itemsize) // w
    for k in range(vectors):
        base[k] = index(0, k * w, count, d, itemsize)
        stride[k] = index(1, k * w, count, d, itemsize) - base[k]
    return vectors


@nb.njit(**_COMPILE)
def _square(Y, base, stride, vectors, first, last):
    """The sum of squares of some rows."""
    s0 = s1 = s2 = s3 = splat(Y, 0.0)
    for k in range(vectors):
        at, step = base[k] + first * stride[k], stride[k]
        for _ in range((last - first) // 4):
            x0, x1 = load(Y, at), load(Y, at + step)
            x2, x3 = load(Y, at + 2 * step), load(Y, at + 3 * step)
            s0, s1, s2, s3 = fma(x0, x0, s0), fma(x1, x1, s1), fma(x2, x2, s2), fma(x3, x3, s3)
            at += 4 * step
        for _ in range((last - first) % 4):
            x0 = load(Y, at)
            s0 = fma(x0, x0, s0)
            at += step
    return float(total((s0 + s1) + (s2 + s3)))


@nb.njit(**_COMPILE)
def _times(Y, base, stride, vectors, first, last, factor):
    for k in range(vectors):
        for i in range(first, last):
            at = base[k] + i * stride[k]
            store(Y, at, load(Y, at) * factor)


@nb.njit(**_COMPILE)
def _centre(Y, base, stride, vectors, first, n, into, factor):
    """Take the mean off rows first .. first + n; add ``factor`` times it to row ``into`` if >= 0."""
    share = 1.0 / n
    for k in range(vectors):
        mean = splat(Y, 0.0)
        for i in range(first, first + n):
            mean = mean + load(Y, base[k] + i * stride[k])
        mean = mean * share
        for i in range(first, first + n):
            at = base[k] + i * stride[k]
            store(Y, at, load(Y, at) - mean)
        if into >= 0:
            at = base[k] + into * stride[k]
            store(Y, at, fma(mean, splat(Y, factor), load(Y, at)))


@nb.njit(**_COMPILE)
def _krylov(A, n, m, start, basis, image, out, lda):
    """Compress A off the constant vector to m dimensions: out = Q^T A Q, by Arnoldi's iteration.

    ``start`` (m, n) holds generic vectors: the first one, and those that take over
    where an invariant space is complete.
    """
    for k in range(m):
        # the next basis vector: orthogonal to the constant one and to those before
        for i in range(n):
            basis[k, i] = start[k, i]
        if k > 0:
            norm = 0.0
            for i in range(n):
                x = 0.0
                for j in range(n):
                    x += A[i, j] * basis[k - 1, j]
                basis[k, i] = x
                norm += x * x
        for attempt in range(3):
            for _ in range(2):
                mean = 0.0
                for i in range(n):
                    mean += basis[k, i]
                mean /= n
                for i in range(n):
                    basis[k, i] -= mean
                for c in range(k):
                    x = 0.0
                    for i in range(n):
                        x += basis[c, i] * basis[k, i]
                    for i in range(n):
                        basis[k, i] -= x * basis[c, i]
            left = 0.0
            for i in range(n):
                left += basis[k, i] * basis[k, i]
            if left > 1e-20 or attempt == 2:
                break
            for i in range(n):
                basis[k, i] = start[k, i]
        scale = 1.0 / math.sqrt(left) if left > 0 else 0.0
        for i in range(n):
            basis[k, i] *= scale
    for k in range(m):
        for i in range(n):
            x = 0.0
            for j in range(n):
                x += A[i, j] * basis[k, j]
            image[i] = x
        for c in range(m):
            x = 0.0
            for i in range(n):
                x += basis[c, i] * image[i]
            out[c * lda + k] = x


@nb.njit(**_COMPILE)
def _flush(
    stage, held, tile, q, e, squared, work, n, d, table, filled, slot, values, resolved, share, lost, counts
):
    """Turn a tile of recorded states into effective and stable ranks."""
    w = WIDTH // tile.itemsize
    tall, wide = max(n, d), min(n, d)
    eps = 2.220446049250313e-16 if tile.itemsize == 8 else 1.1920929e-07
    for half in range(2):
        if half * w >= filled:
            continue  # what is left of earlier tiles does no harm
        for j in range(0, d, w):
            at = half * w * held + index(0, j, n, d, tile.itemsize)
            step = index(1, j, n, d, tile.itemsize) + half * w * held - at
            for i in range(n):
                to = (i * d + j if n >= d else j * n + i) * w
                further = w if n >= d else n * w
                if j + w <= d:
                    transpose(tile, to, further, stage, at + i * step, held)
                else:
                    for k in range(d - j):
                        store(tile, to + k * further, gather(stage, at + i * step + k, held))
        bidiagonalise(tile, tall, wide, q, e, half, work)
    squares(q, e, wide, squared, work)
    for lane in range(filled):
        s, t = int(table[lane, 0]), int(table[lane, 1])
        top = 0.0
        fine = True
        for k in range(wide):
            x = float(squared[2 * k * w + lane])
            fine = fine and math.isfinite(x)
            top = max(top, x)
        if not (fine and top > 0):
            # a matrix that this method cannot do: kept, for another to try
            at = counts[0]
            counts[0] += 1
            if at < lost.shape[0]:
                lost[at, 0], lost[at, 1], lost[at, 2] = s, t, table[lane, 2]
                for i in range(n):
                    for j in range(d):
                        lost[at, 3 + i * d + j] = stage[lane * held + index(i, j, n, d, tile.itemsize)]
            continue
        first = math.sqrt(top)
        tail, logs, energy = 0.0, 0.0, 0.0
        skipped = False
        for k in range(wide):
            x = float(squared[2 * k * w + lane])
            if x == top and not skipped:
                skipped = True
                continue
            if x > 0:
                ratio = x / top
                m = math.sqrt(ratio)
                tail += m
                logs += 0.5 * m * math.log(ratio)
                energy += ratio
        usable = table[lane, 2] + eps * first <= share * first
        if slot[6] >= 0:
            entropy = math.log1p(tail) - logs / (1 + tail)
            values[slot[6], s, t] = math.exp(entropy) if usable else np.nan
            resolved[slot[6], s, t] = usable
        if slot[7] >= 0:
            values[slot[7], s, t] = 1 + energy if usable else np.nan
            resolved[slot[7], s, t] = usable


@nb.njit(**_COMPILE)
def _clear(noise, ln_value, ln_share):
    return noise <= ABSENT / 2 or noise * _LN2 <= ln_value + ln_share


@nb.njit(**_COMPILE)
def _put(values, resolved, slot, s, t, value, clear):
    if slot >= 0:
        values[slot, s, t] = value if clear else np.nan
        resolved[slot, s, t] = clear


@nb.njit(**_COMPILE)
def _content(
    s, t, ln_high, ln_low, e_whole, noise_row, noise_rest, noise_low, slot, values, resolved, ln_share
):
    """Write the metrics that tell the mean of the tokens from the rest; return whether the state is known."""
    noise = _add_log2(noise_row, noise_rest)
    big, small = max(ln_high, ln_low), min(ln_high, ln_low)
    ln_norm = big
    if small > -np.inf:
        ln_norm = big + 0.5 * math.log1p(math.exp(2 * (small - big)))
    if big == -np.inf:  # nothing is left
        for m in (0, 1, 2, 3):
            _put(values, resolved, slot[m], s, t, np.nan, True)
        _put(values, resolved, slot[8], s, t, -np.inf, True)
        return False
    high_ok, low_ok = _clear(noise_rest, ln_high, ln_share), _clear(noise_low, ln_low, ln_share)
    norm_ok = _clear(noise, ln_norm, ln_share)
    ratio = ln_high - ln_low
    if slot[0] >= 0:
        _put(values, resolved, slot[0], s, t, math.exp(2 * (ln_low - ln_norm)), norm_ok)
    _put(values, resolved, slot[1], s, t, 2 * (ln_high - ln_norm), high_ok and norm_ok)
    if slot[2] >= 0:
        _put(values, resolved, slot[2], s, t, math.exp(ratio) if ratio < 709 else np.inf, high_ok and low_ok)
    _put(values, resolved, slot[3], s, t, ratio, high_ok and low_ok)
    _put(values, resolved, slot[8], s, t, ln_norm + e_whole * _LN2, norm_ok)
    return True


@nb.njit(**_COMPILE)
def walk(
    A,
    H,
    x0,
    wanted,
    every,
    preserved,
    generic,
    krylov,
    slot,
    share,
    first,
    last,
    values,
    resolved,
    lost,
    counts,
    stop,
):
    """Run systems ``first`` to ``last`` through the layers and record.

    Parameters
    ----------
    A : (layers or 1, heads, b or 1, n, n); H : (layers or 1, heads, b or 1, d, d)
        Layer l takes entry l, or 0 where there is one only.
    x0 : (b or 1, n, d)
    wanted : (k,) int, increasing layers
    every : (b or 1,) int, layers between two rescalings
    preserved : (b or 1,) bool, whether token means are kept exactly
    generic : (n + 1, max(n, d)) normal numbers for the probe
    krylov : bool, whether the probe may be compressed (one head, one A)
    slot : (10,) int, where each of MEASURED goes in ``values``, -1 if nowhere
    values, resolved : (names, b, k) float64 and bool, written
    lost : (some, 3 + n d), counts : (1,) int: states whose singular values are still to be found
    stop : (1,) bool, ends the work when it becomes true
    """
    dtype_like = x0
    itemsize = x0.itemsize
    w = WIDTH // itemsize
    n, d = x0.shape[1], x0.shape[2]
    heads = A.shape[1]
    repeats_A, repeats_H = A.shape[0] == 1, H.shape[0] == 1
    eps = 2.220446049250313e-16 if itemsize == 8 else 1.1920929e-07
    m = min(n - 1, _PROBE) if krylov else n
    padded = rows(n)
    probe, mean, probe_mean = padded, padded + m, padded + m + 1
    count = padded + rows(m + 2)
    stored = count * columns(d, itemsize)
    base, stride = (
        np.zeros(columns(d, itemsize) // w, np.int64),
        np.zeros(columns(d, itemsize) // w, np.int64),
    )
    vectors = _places(d, count, itemsize, base, stride)
    Y = aligned(stored, dtype_like)
    T = aligned(heads * stored, dtype_like)
    left = aligned(heads * padded * n, dtype_like)
    small = aligned(heads * rows(m) * max(m, 1), dtype_like)
    right_size = d * columns(d, itemsize)
    right = aligned(heads * right_size, dtype_like)
    basis = np.zeros((max(m, 1), n))
    centre = np.zeros(d, x0.dtype)
    heights = np.zeros(n)

    ranks = slot[6] >= 0 or slot[7] >= 0
    angles = slot[4] >= 0 or slot[5] >= 0
    pairs = slot[5] >= 0
    spread = slot[9] >= 0
    tall, wide = max(n, d), min(n, d)
    tile = aligned(tall * wide * w, dtype_like)
    own = np.zeros(columns(d, itemsize) // w, np.int64)
    _places(d, n, itemsize, own, np.zeros_like(own))
    # states begin a line apart in the cache, not at the same places of pages
    held = n * columns(d, itemsize) + w
    stage = aligned(2 * held * w, dtype_like)
    q, e = aligned(2 * max(wide, 2) * w, dtype_like), aligned(2 * max(wide, 2) * w, dtype_like)
    squared = aligned(2 * wide * w, dtype_like)
    work = aligned(tile_work(tall, wide) * w, dtype_like)
    table = np.zeros((2 * w, 3))
    filled = 0
    root_n = math.sqrt(float(n))
    half_log_n, ln_share = math.log2(root_n), math.log(share)
    inject = 2.0 * math.sqrt(float(n + d)) * eps
    most = int(every.max())
    logs, injected = np.zeros(most + 1), np.zeros(most + 1)
    for k in range(1, most + 1):
        logs[k], injected[k] = math.log2(float(k)), math.log2(inject * k)

    for s in range(first, last):
        if stop[0]:
            return
        xs = x0[s if x0.shape[0] > 1 else 0]
        coupled = not preserved[s if preserved.size > 1 else 0]
        pause = every[s if every.size > 1 else 0]

        # the input at a scale where nothing overflows, cut into mean row and rest
        biggest = 0.0
        for i in range(n):
            for j in range(d):
                biggest = max(biggest, abs(float(xs[i, j])))
        top = _exponent(biggest)
        half = math.floor(-top / 2)
        f1, f2 = _power(half), _power(-top - half)
        square, shift = 0.0, 0.0
        for j in range(d):
            x = float(xs[0, j]) * f1 * f2
            shift += x * x
            centre[j] = 0
            for i in range(1, n):
                y = float(xs[i, j]) * f1 * f2 - x
                square += y * y
                centre[j] += y
            centre[j] /= n
            for i in range(n):
                Y[index(i, j, count, d, itemsize)] = (float(xs[i, j]) * f1 * f2 - x) - centre[j]
            Y[index(mean, j, count, d, itemsize)] = centre[j] + x
            for i in range(m):
                Y[index(probe + i, j, count, d, itemsize)] = generic[i, j]
            Y[index(probe_mean, j, count, d, itemsize)] = generic[n, j]
        sensitivity = inject
        noise_rest = _log2(sensitivity * 2 * math.sqrt(square)) + top
        noise_mean = _log2(sensitivity * (math.sqrt(square) / root_n + math.sqrt(shift))) + top
        e_rest = e_mean = top
        size_rest = size_mean = top
        if not krylov:
            _centre(Y, base, stride, vectors, probe, m, -1, 0.0)
        log_probe = 0.5 * _log2(_square(Y, base, stride, vectors, probe, probe + m)) if m > 0 else 0.0
        log_probe_mean = 0.5 * _log2(_square(Y, base, stride, vectors, probe_mean, probe_mean + 1))

        placed_A, placed_H = -1, -1
        layer, since, unscaled = 0, 0, 0
        high = low = 0.0
        for t in range(wanted.shape[0]):
            while True:
                due = unscaled == pause
                if due or layer == wanted[t]:
                    high = _square(Y, base, stride, vectors, 0, n) if e_rest > ABSENT / 2 else 0.0
                    low = _square(Y, base, stride, vectors, mean, mean + 1) if e_mean > ABSENT / 2 else 0.0
                    pace = pace_mean = 0.0
                    if since > 0:
                        # rounding has grown like the probe, and every layer has added some
                        now = now_mean = 0.0
                        if m > 0:
                            now = 0.5 * _log2(_square(Y, base, stride, vectors, probe, probe + m))
                            pace = max(now - log_probe, -60.0 * since)
                        now_mean = 0.5 * _log2(_square(Y, base, stride, vectors, probe_mean, probe_mean + 1))
                        pace_mean = max(now_mean - log_probe_mean, -60.0 * since)
                        log_probe, log_probe_mean = now, now_mean
                        noise_rest = pace + _add_log2(noise_rest, injected[since] + size_rest)
                        noise_mean = pace_mean + _add_log2(noise_mean, injected[since] + size_mean)
                        if coupled:
                            noise_mean = _add_log2(noise_mean, noise_rest + logs[since])
                    size_rest = e_rest + 0.5 * _log2(high) if high > 0 else ABSENT
                    size_mean = e_mean + 0.5 * _log2(low) if low > 0 else ABSENT
                    since = 0
                if due:
                    new_rest = math.floor(size_rest)
                    new_mean = math.floor(size_mean)
                    if coupled:  # what the rest feeds into the mean must be seen at its scale
                        new_mean = max(new_mean, new_rest)
                    if new_rest > ABSENT / 2:
                        _times(Y, base, stride, vectors, 0, n, _power(e_rest - new_rest))
                        high *= _power(2 * (e_rest - new_rest))
                    if new_mean > ABSENT / 2 and e_mean > ABSENT / 2:
                        _times(Y, base, stride, vectors, mean, mean + 1, _power(e_mean - new_mean))
                        low *= _power(2 * (e_mean - new_mean))
                    e_rest, e_mean = new_rest, new_mean
                    if m > 0 and log_probe > ABSENT / 4:
                        up = math.floor(log_probe)
                        _times(Y, base, stride, vectors, probe, probe + m, _power(-up))
                        log_probe -= up
                    if log_probe_mean > ABSENT / 4:
                        up = math.floor(log_probe_mean)
                        _times(Y, base, stride, vectors, probe_mean, probe_mean + 1, _power(-up))
                        log_probe_mean -= up
                    unscaled = 0
                if layer == wanted[t]:
                    break
                if stop[0]:
                    return

                # one layer
                at_A, at_H = 0 if repeats_A else layer, 0 if repeats_H else layer
                if placed_A != at_A:
                    placed_A = at_A
                    for h in range(heads):
                        M = A[at_A, h, s if A.shape[2] > 1 else 0]
                        for i in range(n):
                            for j in range(n):
                                left[(h * padded + i) * n + j] = M[i, j]
                        if not krylov:
                            for i in range(n):
                                for j in range(n):
                                    small[h * rows(m) * m + i * m + j] = M[i, j]
                        elif m > 0:
                            _krylov(M, n, m, generic, basis, heights, small, m)
                if placed_H != at_H:
                    placed_H = at_H
                    for h in range(heads):
                        pack(H[at_H, h, s if H.shape[2] > 1 else 0], d, right, h * right_size)
                for h in range(heads):
                    o = h * stored
                    add_product(left, h * padded * n, n, Y, 0, count, 0, T, o, count, 0, padded, n, d, True)
                    if m > 0:
                        add_product(
                            small,
                            h * rows(m) * m,
                            m,
                            Y,
                            0,
                            count,
                            probe,
                            T,
                            o,
                            count,
                            probe,
                            probe + rows(m),
                            m,
                            d,
                            True,
                        )
                    for k in range(vectors):
                        for i in range(mean, probe_mean + 1):
                            at = base[k] + i * stride[k]
                            store(T, o + at, load(Y, at))
                for h in range(heads):
                    for column in range(0, d, 4 * w):
                        width = stride[column // w]
                        inner = min(width, d - column)
                        at = h * stored + base[column // w]
                        add_product(
                            T,
                            at,
                            width,
                            right,
                            h * right_size,
                            d,
                            column,
                            Y,
                            0,
                            count,
                            0,
                            count,
                            inner,
                            d,
                            False,
                        )
                _centre(
                    Y,
                    base,
                    stride,
                    vectors,
                    0,
                    n,
                    mean if coupled else -1,
                    _power(e_rest - e_mean) if coupled else 0.0,
                )
                if not krylov:
                    _centre(Y, base, stride, vectors, probe, m, -1, 0.0)
                layer += 1
                since += 1
                unscaled += 1

            # --- record ---------------------------------------------------------------
            # a logarithm of 1e9 has no digits left for a ratio of two: sizes refer to the state's own
            e_whole = max(size_rest, size_mean + half_log_n)
            e_whole = math.floor(e_whole) if e_whole > ABSENT / 4 else 0.0
            ln_high = 0.5 * math.log(high) + (e_rest - e_whole) * _LN2 if high > 0 else -np.inf
            ln_low = 0.5 * math.log(low * n) + (e_mean - e_whole) * _LN2 if low > 0 else -np.inf
            noise_row = noise_mean + half_log_n - e_whole
            noise_high = noise_rest - e_whole
            noise = _add_log2(noise_row, noise_high)
            there = _content(
                s,
                t,
                ln_high,
                ln_low,
                e_whole,
                noise_row,
                noise_high,
                noise if coupled else noise_row,
                slot,
                values,
                resolved,
                ln_share,
            )
            if spread:
                farthest = 0.0
                for i in range(n):
                    for j in range(i):
                        acc = splat(Y, 0.0)
                        for k in range(vectors):
                            x = load(Y, base[k] + i * stride[k]) - load(Y, base[k] + j * stride[k])
                            acc = fma(x, x, acc)
                        farthest = max(farthest, float(total(acc)))
                wide_ok = _clear(noise_high, ln_high, ln_share)
                value = (
                    0.5 * math.log(farthest) + e_rest * _LN2
                    if farthest > 0 and e_rest > ABSENT / 2
                    else -np.inf
                )
                _put(values, resolved, slot[9], s, t, value, wide_ok or not there)
            if not there:
                for name in (4, 5, 6, 7):
                    _put(values, resolved, slot[name], s, t, np.nan, True)
                continue
            if not (angles or ranks):
                continue
            # the whole state at the scale of its larger part
            f_rest = _power(e_rest - e_whole) if high > 0 else 0.0
            f_mean = _power(e_mean - e_whole) if low > 0 else 0.0
            absolute = _power(min(math.floor(noise) + 1, 200.0)) if noise > ABSENT / 2 else 0.0
            here = filled * held
            for k in range(vectors):
                c = load(Y, base[k] + mean * stride[k]) * f_mean
                for i in range(n):
                    x = fma(load(Y, base[k] + i * stride[k]), splat(Y, f_rest), c)
                    store(stage, here + own[k] + i * stride[k], x)
            if angles:
                worst, present = 0.0, 0
                for i in range(n):
                    acc = splat(Y, 0.0)
                    for k in range(vectors):
                        x = load(stage, here + own[k] + i * stride[k])
                        acc = fma(x, x, acc)
                    square = float(total(acc))
                    if square > 0:
                        height = math.sqrt(square)
                        present += 1
                        worst = max(worst, absolute / height)
                        heights[i] = 1 / height
                    else:
                        heights[i] = 0.0
                        # zero because its terms cancelled, or too small to see; unless it is so given
                        given = layer == 0
                        for j in range(d):
                            given = given and xs[i, j] == 0
                        if absolute > 0 and not given:
                            worst = np.inf
                seen = worst <= share or n == 1
                if slot[4] >= 0:
                    cosine = 1.0
                    if n > 1:
                        acc = splat(Y, 0.0)
                        for k in range(vectors):
                            u = splat(Y, 0.0)
                            for i in range(n):
                                u = fma(load(stage, here + own[k] + i * stride[k]), splat(Y, heights[i]), u)
                            acc = fma(u, u, acc)
                        cosine = (float(total(acc)) - present) / (n * (n - 1.0))
                    _put(values, resolved, slot[4], s, t, cosine, seen)
                if pairs:
                    cosine = 1.0
                    if n > 1:
                        cosine = 0.0
                        for i in range(n):
                            for j in range(i):
                                acc = splat(Y, 0.0)
                                for k in range(vectors):
                                    x = load(stage, here + own[k] + i * stride[k])
                                    acc = fma(x, load(stage, here + own[k] + j * stride[k]), acc)
                                cosine += abs(float(total(acc))) * heights[i] * heights[j]
                        cosine = 2 * cosine / (n * (n - 1.0))
                    _put(values, resolved, slot[5], s, t, cosine, seen)
            if ranks:
                table[filled, 0], table[filled, 1], table[filled, 2] = s, t, absolute
                filled += 1
                if filled == 2 * w:
                    _flush(
                        stage,
                        held,
                        tile,
                        q,
                        e,
                        squared,
                        work,
                        n,
                        d,
                        table,
                        filled,
                        slot,
                        values,
                        resolved,
                        share,
                        lost,
                        counts,
                    )
                    filled = 0
    if filled:
        _flush(
            stage,
            held,
            tile,
            q,
            e,
            squared,
            work,
            n,
            d,
            table,
            filled,
            slot,
            values,
            resolved,
            share,
            lost,
            counts,
        )


@nb.njit(**_COMPILE)
def tile_values(X, first, last, out):
    """Write the singular values of X[first:last], (b, n, d) with entries around 1, to out (b, min), unsorted.

    Where they were not found they are NaN.
    """
    w = WIDTH // X.itemsize
    nothing, least = (1e-58, 1e-280) if X.itemsize == 8 else (1e-22, 1e-28)
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
