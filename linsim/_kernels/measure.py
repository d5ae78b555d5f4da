"""Metrics of one recorded state, and their errors, written into the rows that a run hands back."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import NOTHING_NEW
from .lanes import WIDTH, copies, fma, load, splat, store, total
from .layer import (
    ABSENT,
    E_MEAN,
    E_REST,
    HIGH,
    LOW,
    NOISE_MEAN,
    NOISE_REST,
    SIZE_MEAN,
    SIZE_REST,
    add_log2,
    power_of_two,
)
from .products import index
from .singular import bidiagonalise, entropies, lay_out, squares
from .slots import MEASURED

__all__ = [
    "ABS_COSINE",
    "COSINE",
    "RANK",
    "SPREAD",
    "STABLE",
    "flush",
    "layer_rounding",
    "rank_errors",
    "row_noise",
    "stage",
    "start_rounding",
    "write_angles",
    "write_content",
    "write_spread",
]


# places in MEASURED, by name: the order there may change
SIMILARITY = MEASURED.index("token_similarity")
DIVERSITY = MEASURED.index("log_token_diversity")
RATIO = MEASURED.index("hfc_lfc")
LOG_RATIO = MEASURED.index("log_hfc_lfc")
COSINE = MEASURED.index("cosine")
ABS_COSINE = MEASURED.index("abs_cosine")
RANK = MEASURED.index("effective_rank")
STABLE = MEASURED.index("stable_rank")
NORM = MEASURED.index("log_norm")
SPREAD = MEASURED.index("log_spread")

_LN2 = math.log(2.0)


# --- one recorded state -----------------------------------------------------------------


@nb.njit(**NOTHING_NEW)
def _put(values, errors, slot, s, t, value, error):
    if slot >= 0:
        values[slot, s, t] = value
        errors[slot, s, t] = error if error >= 0 else np.inf


@nb.njit(**NOTHING_NEW)
def start_rounding(eps):
    """What cutting tokens into mean and rest rounds, relative to a part: once for every entry."""
    return 0.5 * eps


@nb.njit(**NOTHING_NEW)
def layer_rounding(n, d, eps):
    """What a layer rounds, relative to its terms: sums of n and of d numbers, each off at random."""
    return 0.1 * math.sqrt(float(n + d)) * eps


@nb.njit(**NOTHING_NEW)
def row_noise(noise, n):
    """The noise of one token where that of all is ``noise``: twice an even share."""
    return noise * min(1.0, 2.0 / math.sqrt(float(n)))


@nb.njit(**NOTHING_NEW)
def _share(noise, ln_value):
    """2**noise / exp(ln_value): 0 without noise, else infinite beside nothing."""
    if noise <= ABSENT / 2:
        return 0.0
    if ln_value == -np.inf:
        return np.inf
    return math.exp(min(noise * _LN2 - ln_value, 700.0))


@nb.njit(**NOTHING_NEW)
def _log_error(relative):
    """Error of the logarithm of what is known to ``relative``."""
    return -math.log1p(-relative) if relative < 1 else np.inf


@nb.njit(**NOTHING_NEW)
def write_content(s, t, n, coupled, eps, slot, values, errors, ledger):
    """Write the metrics that tell the mean of the tokens from the rest; errors as in linsim.metrics.

    Returns the exponent that all sizes refer to (a logarithm of 1e9 has no digits left
    for a ratio of two), log2 of the noise of the whole at that scale, and whether
    anything is left of the state.
    """
    half_log_n = 0.5 * math.log2(float(n))
    scale = max(ledger[SIZE_REST], ledger[SIZE_MEAN] + half_log_n)
    scale = math.floor(scale) if scale > ABSENT / 4 else 0.0
    high, low = ledger[HIGH], ledger[LOW]
    ln_high = 0.5 * math.log(high) + (ledger[E_REST] - scale) * _LN2 if high > 0 else -np.inf
    ln_low = 0.5 * math.log(low * n) + (ledger[E_MEAN] - scale) * _LN2 if low > 0 else -np.inf
    noise_row, noise_rest = ledger[NOISE_MEAN] + half_log_n - scale, ledger[NOISE_REST] - scale
    noise = add_log2(noise_row, noise_rest)
    big, small = max(ln_high, ln_low), min(ln_high, ln_low)
    if big == -np.inf:
        # what came out as zero by cancelling is rounding, and not known to be zero
        error = 0.0 if noise <= ABSENT / 2 else np.inf
        for name in range(len(MEASURED)):
            _put(values, errors, slot[name], s, t, np.nan, error)
        for name in (NORM, SPREAD):
            _put(values, errors, slot[name], s, t, -np.inf, error)
        return scale, noise, False
    ln_norm = big
    if small > -np.inf:
        ln_norm = big + 0.5 * math.log1p(math.exp(2 * (small - big)))
    noise_low = noise if coupled else noise_row
    x_high, x_low = math.exp(ln_high - ln_norm), math.exp(ln_low - ln_norm)
    own_high, own_low = _share(noise_rest, ln_high), _share(noise_low, ln_low)
    of_high, of_low = _share(noise_rest, ln_norm), _share(noise_low, ln_norm)
    rounding, both = 1.5 * eps, (of_low + of_high) ** 2
    ratio, value = _log_error(own_high) + _log_error(own_low) + 2 * rounding, ln_high - ln_low
    similarity = math.exp(2 * (ln_low - ln_norm))
    _put(
        values, errors, slot[SIMILARITY], s, t, similarity,
        2 * x_low * x_high * (x_high * of_low + x_low * of_high + rounding) + both + 4 * 2.3e-16,
    )  # fmt: skip
    error = np.inf
    if own_high < 1:
        error = 2 * (x_low * x_low * own_high + x_low * of_low + rounding) + both
    _put(values, errors, slot[DIVERSITY], s, t, 2 * (ln_high - ln_norm), error)
    quotient = math.exp(value) if value < 709 else np.inf
    # (h + dh) / (l - dl) - h/l: also where h is lost, and nothing but its noise is known
    error = np.inf
    if own_low < 1:
        error = (_share(noise_rest, ln_low) + quotient * own_low) / (1 - own_low)
        if quotient < np.inf:  # the exponential of a logarithm loses as many digits as that is large
            error += (2 * rounding + 2.3e-16 * abs(value)) * quotient
    _put(values, errors, slot[RATIO], s, t, quotient, error)
    _put(values, errors, slot[LOG_RATIO], s, t, value, ratio)
    total_norm = ln_norm + scale * _LN2
    error = _log_error(math.sqrt(of_high * of_high + of_low * of_low))
    _put(values, errors, slot[NORM], s, t, total_norm, error + rounding + 1e-15 * abs(total_norm))
    return scale, noise, True


@nb.njit(**NOTHING_NEW)
def write_spread(s, t, n, base, stride, eps, slot, values, errors, Y, ledger):
    """Write the largest distance between two tokens, from the rest alone."""
    farthest = 0.0
    for i in range(n):
        for j in range(i):
            acc = splat(Y, 0.0)
            for k in range(base.size):
                x = load(Y, base[k] + i * stride[k]) - load(Y, base[k] + j * stride[k])
                acc = fma(x, x, acc)
            farthest = max(farthest, float(total(acc)))
    there = farthest > 0 and ledger[E_REST] > ABSENT / 2
    value = 0.5 * math.log(farthest) if there else -np.inf
    noise = ledger[NOISE_REST] - (ledger[E_REST] if ledger[E_REST] > ABSENT / 2 else 0.0)
    # two tokens may be off by the noise of all each
    error = _log_error(2 * _share(noise, value)) + 4 * eps
    value = value + ledger[E_REST] * _LN2 if there else value
    _put(values, errors, slot[SPREAD], s, t, value, error + (1e-15 * abs(value) if there else 0.0))


@nb.njit(**NOTHING_NEW)
def stage(n, mean, base, stride, own, scale, Y, ledger, out, o, sums):
    """Write the whole state divided by 2**scale to ``out[o:]``, n rows in panels.

    ``sums`` (n vectors): sums of squares of every row, still to be added up within a vector.
    """
    w = WIDTH // Y.itemsize
    f_rest = power_of_two(ledger[E_REST] - scale) if ledger[HIGH] > 0 else 0.0
    f_mean = power_of_two(ledger[E_MEAN] - scale) if ledger[LOW] > 0 else 0.0
    factor = splat(Y, f_rest)
    for k in range(base.size):
        step = stride[k]
        at, to = base[k], o + own[k]
        c = load(Y, at + mean * step) * f_mean
        if k == 0:
            for i in range(n):
                x = fma(load(Y, at + i * step), factor, c)
                store(out, to + i * step, x)
                store(sums, i * w, x * x)
        else:
            for i in range(n):
                x = fma(load(Y, at + i * step), factor, c)
                store(out, to + i * step, x)
                store(sums, i * w, fma(x, x, load(sums, i * w)))


@nb.njit(**NOTHING_NEW)
def write_angles(
    s, t, d, layer, zero_until, own, stride, noise, eps, slot, values, errors, X, o, sums, heights,
):  # fmt: skip
    """Write mean cosines of a staged state (see :func:`stage`) whose rows are off by ``noise`` each.

    ``zero_until`` (n,): the layer up to which a token is exactly zero.
    """
    n = heights.size
    w = WIDTH // X.itemsize
    for i in range(n):
        heights[i] = total(load(sums, i * w))
    present = 0
    for i in range(n):
        if layer <= zero_until[i]:
            heights[i] = 0
        if heights[i] > 0:
            present += 1
    if present == n:
        for i in range(n):  # without branches: several at once
            heights[i] = 1 / math.sqrt(heights[i])
    else:
        for i in range(n):
            heights[i] = 1 / math.sqrt(heights[i]) if heights[i] > 0 else 0.0
    # how far each row may have turned; one that is zero because its terms cancelled, or too small to
    # see, may lie anywhere
    turned, squares_ = 0.0, 0.0
    for i in range(n):
        turn = min(noise * float(heights[i]) + 4 * eps, 2.0) if heights[i] > 0 else 0.0
        if heights[i] == 0 and layer > zero_until[i] and noise > 0:
            turn = 2.0
        if d == 1 and turn < 1:  # no room for an angle until a sign is lost
            turn = 0.0
        turned += turn
        squares_ += turn * turn
    turned, squares_ = turned / n, squares_ / (n - 1.0) if n > 1 else 0.0
    pairs = n * (n - 1.0)
    if slot[COSINE] >= 0:
        cosine, weight = 1.0, 1.0
        if n > 1:
            acc = splat(X, 0.0)
            for k in range(own.size):
                u0 = u1 = u2 = u3 = splat(X, 0.0)
                at, step = o + own[k], stride[k]
                for i in range(0, n - 3, 4):
                    u0 = fma(load(X, at), copies(heights, i), u0)
                    u1 = fma(load(X, at + step), copies(heights, i + 1), u1)
                    u2 = fma(load(X, at + 2 * step), copies(heights, i + 2), u2)
                    u3 = fma(load(X, at + 3 * step), copies(heights, i + 3), u3)
                    at += 4 * step
                for i in range(n - n % 4, n):
                    u0 = fma(load(X, at), copies(heights, i), u0)
                    at += step
                u0 = (u0 + u1) + (u2 + u3)
                acc = fma(u0, u0, acc)
            length = float(total(acc))
            # what a row's turn does to its cosines is at most what the others' units add up to
            weight = min(1.0, (math.sqrt(length) + 1.0) / (n - 1.0))
            cosine = (length - present) / pairs
        off = 2 * math.sqrt(abs(1 - cosine) * squares_) + squares_
        error = 0.0 if n == 1 else min(2 * turned * weight, off) + 4 * eps
        _put(values, errors, slot[COSINE], s, t, cosine, error)
    if slot[ABS_COSINE] >= 0:
        cosine = 1.0
        if n > 1:
            cosine = 0.0
            for i in range(n):
                for j in range(i):
                    acc = splat(X, 0.0)
                    for k in range(own.size):
                        x = load(X, o + own[k] + i * stride[k])
                        acc = fma(x, load(X, o + own[k] + j * stride[k]), acc)
                    cosine += abs(float(total(acc))) * heights[i] * heights[j]
            cosine = 2 * cosine / pairs
        off = 2 * math.sqrt(2 * abs(1 - cosine) * squares_) + 2 * squares_
        error = 0.0 if n == 1 else min(2 * turned, off) + 4 * eps
        _put(values, errors, slot[ABS_COSINE], s, t, cosine, error)


@nb.njit(**NOTHING_NEW)
def flush(
    stage, held, tile, q, e, squared, work, n, d, full, table, filled, slot, values, errors, lost, counts,
):  # fmt: skip
    """Turn a tile of recorded states into effective and stable ranks.

    States are (n, d), d of the ``full`` columns there may be: what is lost goes to rows
    of 3 + n full numbers, zero where there is none.
    """
    w = WIDTH // tile.itemsize
    tall, wide = max(n, d), min(n, d)
    eps = 2.220446049250313e-16 if tile.itemsize == 8 else 1.1920929e-07
    for half in range(2):
        if half * w >= filled:
            continue  # what is left of earlier tiles does no harm
        for j in range(0, d, w):
            at = half * w * held + index(0, j, n, d, tile.itemsize)
            step = index(1, j, n, d, tile.itemsize) + half * w * held - at
            lay_out(tile, n, d, j, stage, at, step, held)
        bidiagonalise(tile, tall, wide, q, e, half, work)
    squares(q, e, wide, squared, work)
    entropies(squared, wide, work)
    for lane in range(filled):
        s, t = int(table[lane, 0]), int(table[lane, 1])
        top, tail = float(work[lane]), float(work[2 * w + lane])
        logs, energy = float(work[4 * w + lane]), float(work[6 * w + lane])
        if not (top > 0 and math.isfinite(top + tail)):
            # a matrix that this method cannot do: kept, for another to try
            at = counts[0]
            counts[0] += 1
            if at < lost.shape[0]:
                lost[at, 0], lost[at, 1], lost[at, 2] = s, t, table[lane, 2]
                for i in range(n):
                    for j in range(d):
                        lost[at, 3 + i * full + j] = stage[lane * held + index(i, j, n, d, tile.itemsize)]
            continue
        off = table[lane, 2] / math.sqrt(top * wide) + 4 * eps
        entropy = math.log1p(tail) - logs / (1 + tail)
        off_rank, off_stable = rank_errors(
            wide, off, tail, entropy, float(work[8 * w + lane]), float(work[10 * w + lane]), energy
        )
        _put(values, errors, slot[RANK], s, t, math.exp(entropy), off_rank)
        _put(values, errors, slot[STABLE], s, t, 1 + energy, off_stable)


@nb.njit(**NOTHING_NEW)
def rank_errors(wide, off, tail, entropy, ln_sum, ln_squares, energy):
    """Errors of effective and stable rank, with noise ``off`` times sigma_1.

    ``tail``, ``energy``: sums of m = sigma / sigma_1 and of m^2 over all but the first; ``ln_sum``,
    ``ln_squares``: sums of ln m and of its square, m below 1e-9 taken as that.
    d(entropy) = -sum (ln p + entropy) dp with p = m / (1 + tail), and by Mirsky's inequality the
    root of the sum of dsigma^2 is at most the noise.
    """
    if wide == 1:
        return 0.0, 0.0
    shift = entropy - math.log1p(tail)
    slopes = ln_squares + 2 * shift * ln_sum + wide * shift * shift
    # what is below 1e-9 may matter down to the noise itself
    if ln_sum < -20.7 and off < 1e-9 * (1 + tail):
        deep = math.log(max(off, 1e-300)) + shift
        slopes = max(slopes, wide * deep * deep)
    # where all are equal entropy is largest and the slopes vanish: sum dp^2 / p, at shares within a
    # factor e of equal ones (smaller ones have slopes)
    dp = off / (1 + tail)
    change = dp * math.sqrt(max(slopes, 0.0)) + 1.5 * wide * dp * dp
    length = math.sqrt(energy)
    off_stable = 2 * off * (length + energy) + wide * off * off
    return math.exp(entropy) * math.expm1(min(change, 700.0)), off_stable
