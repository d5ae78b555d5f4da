"""The fourteen default metrics and their errors, from the few sums of a state that they follow from.

What :mod:`.sums` and the singular values leave of a state is some thirty numbers.  What follows from these
is derived in ``_similarity.py``, ``_angle.py`` and ``_rank.py`` of linsim.metrics, for arrays of any library;
the same formulas stand here for one state after the other, because a run of one small system would spend
most of its time on calls of NumPy for a handful of numbers each.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .elementary import ln_of
from .kept import KEPT, UNCOUNTED
from .lanes import WIDTH, load, maximum, splat, store, where
from .lanes import total as sum_of
from .layer import power_of_two
from .products import aligned
from .rowwise import padded

__all__ = ["angular_of", "ranks", "ranks_of", "room_for_ranks", "sizes_of"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}

# the exponent of a part that is exactly zero, as in linsim._state
_EMPTY = -(2.0**60)
_EPS = 2.0**-52
_LN2 = math.log(2.0)
_TINY = 1e-300
_W = WIDTH // 8


@nb.njit(**UNCOUNTED)
def _less(x, y):
    """The smaller of two numbers, NaN if either is."""
    return x if x < y or x != x else y


@nb.njit(**UNCOUNTED)
def _more(x, y):
    """The larger of two numbers, NaN if either is."""
    return x if x > y or x != x else y


@nb.njit(**UNCOUNTED)
def _between(x, low, high):
    return low if x < low else (high if x > high else x)


@nb.njit(**UNCOUNTED)
def _log(x, exponent):
    """ln(x 2**exponent), -inf at 0."""
    return math.log(x) + exponent * _LN2 if x > 0 else -np.inf


@nb.njit(**UNCOUNTED)
def _exp(x):
    """exp(x), 0 and infinite out of the range of doubles."""
    if x > 709.0:
        return np.inf
    return 0.0 if x < -750.0 else math.exp(x)


@nb.njit(**UNCOUNTED)
def _difference(x, y):
    """x - y for logarithms, NaN where both are of nothing."""
    return np.nan if x == -np.inf and y == -np.inf else x - y


@nb.njit(**UNCOUNTED)
def _log_error(relative):
    """Error of the logarithm of what is known to ``relative``."""
    return -math.log1p(-relative) if relative < 1 else np.inf


@nb.njit(**UNCOUNTED)
def _share(noise, ln_value):
    """2**noise / exp(ln_value): 0 without noise, else infinite beside nothing."""
    if noise <= _EMPTY / 2:
        return 0.0
    ln = noise * _LN2 - (-1e5 if ln_value == -np.inf else ln_value)
    return _exp(_between(ln, -1e3, 1e3))


@nb.njit(**UNCOUNTED)
def _add_log2(x, y):
    """log2(2**x + 2**y)."""
    return _more(x, y) + math.log2(1 + math.exp(-_LN2 * min(abs(x - y), 100.0)))


@nb.njit(**UNCOUNTED)
def _top(e):
    """The exponent of a state, 0 for nothing."""
    top = max(max(e[0], e[1]), max(e[2], e[3]))
    return top if top > _EMPTY / 2 else 0.0


@nb.njit(**UNCOUNTED)
def _write(values, errors, k, s, value, error, exists, hidden, of_size):
    """Write a metric, its own rounding added; of nothing only sizes are known, all else is no number."""
    if not (exists or of_size):
        value = np.nan
    error += 4 * _EPS * (abs(value) if math.isfinite(value) else 1.0)
    if error != error:
        error = np.inf
    values[k, s], errors[k, s] = value, error if exists else hidden


@nb.njit(**UNCOUNTED)
def _hidden(noise):
    """The error of what came out as zero: what did by cancelling is rounding, and not known to be zero."""
    for p in range(noise.size):
        if not noise[p] <= _EMPTY / 2:
            return np.inf
    return 0.0


@nb.njit(**UNCOUNTED)
def sizes_of(sums, e, noise, v, of_row, kept, n, unit, s, values, errors):
    """Write :data:`.slots.SIZES` of a state, and their errors, at place ``s``: ``metrics/_similarity.py``.

    Parameters
    ----------
    sums (6,) : what ``sums.content_of`` wrote
    e, noise (5,) : exponents of the parts, log2 of their errors
    v (n,), of_row, kept : how states are cut: v, whether that is ones, and whether means are kept
    n, unit : number of tokens, eps of the dtype of the states
    """
    rounding = 4 * unit
    length = 0.0
    for x in v:
        length += x * x
    log_v = 0.5 * math.log2(length) if length > 0 else _EMPTY
    top = _top(e)
    exists, hidden = sums[0] > 0, _hidden(noise)
    ln_high, ln_low = _log(sums[1], sums[2] - top), _log(sums[3], sums[4] - top)
    ln_spread = _log(sums[5], sums[2] - top)
    big, small = _more(ln_high, ln_low), _less(ln_high, ln_low)
    gap = -1e4 if small == -np.inf else small - (0.0 if big == -np.inf else big)
    ln_norm = big + 0.5 * math.log1p(math.exp(_between(2 * gap, -745.0, 0.0)))
    noise_row = _add_log2(noise[0] - top, noise[1] - top) + log_v
    noise_rest = _add_log2(noise[2] - top, noise[3] - top)
    noise_full = _add_log2(noise_row, noise_rest)
    noise_low = noise_full
    if kept:
        noise_low = noise_row if of_row else noise[4] - top + 0.5 * math.log2(float(n))
    noise_high = noise_rest if of_row else noise_full
    ln_ratio = _difference(ln_high, ln_low)
    x_high, x_low = _exp(_difference(ln_high, ln_norm)), _exp(_difference(ln_low, ln_norm))
    own_high, own_low = _share(noise_high, ln_high), _share(noise_low, ln_low)
    of_high, of_low = _share(noise_high, ln_norm), _share(noise_low, ln_norm)
    of_norm = _less(_share(noise_full, ln_norm), math.sqrt(of_high * of_high + of_low * of_low))
    # d(low^2 / norm^2) = 2 x_low x_high (x_high d_low - x_low d_high), and what is of second order
    second = (of_low + of_high) ** 2
    turned = 2 * x_low * x_high * (x_high * of_low + x_low * of_high) + second
    diversity = 2 * (x_low * x_low * own_high + x_low * of_low) + second
    ratio = _log_error(own_high) + _log_error(own_low)
    # (high + its noise) / (low - its noise), less the quotient: small beside a large low
    size = _between(ln_ratio, -1e6, 1e6)
    both = _log(_share(noise_high, ln_low) + own_low * _exp(size), 0.0)
    # the exponential of a logarithm loses as many digits as that is large
    lost = _exp(size + math.log(2 * rounding + _EPS * abs(size)))
    off_quotient = _exp(_difference(both, -_log_error(own_low))) + lost
    # what is known to lie beyond the range of doubles is infinite, and rightly so
    if ln_ratio > 710.0 and ratio < 0.3:
        off_quotient = 0.0
    if not own_high < 1:
        diversity = np.inf
    found = (
        (_exp(2 * _difference(ln_low, ln_norm)), turned + 2 * rounding * x_low * x_high),
        (2 * _difference(ln_high, ln_norm), diversity + 2 * rounding),
        (_exp(ln_ratio), off_quotient),
        (ln_ratio, ratio + 2 * rounding),
    )
    for k in range(4):
        _write(values, errors, k, s, found[k][0], found[k][1], exists, hidden, False)
    # the scale of the state is put back
    back, more = top * _LN2, _EPS * abs(top)
    off = _log_error(of_norm) + rounding
    _write(values, errors, 4, s, ln_norm + back, off + more, exists, hidden, True)
    # two tokens may be off by the noise of all each
    off = _log_error(2 * _share(noise_high, ln_spread)) + rounding
    _write(values, errors, 5, s, ln_spread + back, off + more, exists, hidden, True)


@nb.njit(**UNCOUNTED)
def angular_of(sums, pair, largest, noise, n, d, unit, s, values, errors):
    """Write :data:`.slots.ANGULAR` of a state of n > 1 tokens, and errors, at place ``s``: ``_angle.py``.

    Parameters
    ----------
    sums (13,), pair (6,) : what ``sums.angles_of`` and ``sums.leading_of`` wrote
    largest : the largest entry of the state
    noise (5,) : log2 of the errors of the parts
    n, d, unit : numbers of tokens and features, eps of the dtype of the states
    """
    of_pairs = float(n * (n - 1))
    share = n / (n - 1.0)
    exists, hidden = largest > 0, _hidden(noise)
    near, e_near, worst = sums[0], sums[1], sums[2]
    mean_turn, square_turn, m = sums[4], sums[5], sums[6]
    if d == 1:  # no room for an angle, nor for its rounding
        near = worst = 0.0
    plain = 1 - sums[9] / of_pairs
    direct = (of_pairs - m * (m - 1)) / of_pairs + m * sums[8] / of_pairs
    # a row that turns by t changes the cosine of each of its pairs by t at most, and by t^2 and t times
    # the sine of their angle, and at most by what the units of the others add up to
    others = _less((m * sums[7] + 1) / (n - 1.0), 1.0)
    off_direct = _less(
        2 * mean_turn * others,
        2 * math.sqrt(share * abs(direct) * square_turn) + share * square_turn,
    )
    off_plain = _less(
        2 * mean_turn, 2 * math.sqrt(2 * share * abs(plain) * square_turn) + 2 * share * square_turn
    )
    if d > 1:
        off_plain += _EPS * n
    if near > 0:
        off_near = 2 * worst / math.sqrt(near * (n / share))
        off_near = _log_error(off_near) + sums[3] + 4 * unit + _EPS * abs(e_near)
    else:
        # rows without a rest are parallel to q, however much of each is known, while it is above zero
        off_near = 0.0 if pair[4] == 0 and near == 0 and sums[10] > 0 else np.inf
    ln_near = _log(near, e_near)
    for k in range(2):
        gap, off = (direct, off_direct) if k == 0 else (plain, off_plain)
        none = np.inf if off > 0 else 0.0
        by_value = _log_error(off / gap) if gap > 0 else none
        use_near = sums[11 + k] > 0 and off_near <= by_value
        logarithm = ln_near if use_near else _log(gap, 0.0)
        error = off_near if use_near else by_value
        closeness = _exp(logarithm)
        near_value = error
        if math.isfinite(error):
            near_value = closeness * math.expm1(min(error, 700.0))
        # each with its own error: what is known better as it stands is told as it stands
        value = 1 - (closeness if near_value <= off else gap)
        _write(values, errors, 2 * k, s, value, _less(off, near_value), exists, hidden, False)
        _write(values, errors, 2 * k + 1, s, logarithm, error, exists, hidden, False)


@nb.njit(**{**UNCOUNTED, "_nrt": True})
def room_for_ranks(several, like):
    """Return room for as many singular values: theirs, their logarithms, and 0, 1, ... beside them."""
    m, logs = aligned(padded(several), like), aligned(padded(several), like)
    numbers = aligned(m.size, like)
    for k in range(m.size):
        numbers[k] = k
    return m, logs, numbers


@nb.njit(**UNCOUNTED)
def ranks_of(singular, pair, largest, noise, unit, room, s, values, errors):
    """Write :data:`.slots.RANKS` of a state, and errors, at place ``s``: ``_singular.py``, ``_rank.py``.

    Parameters
    ----------
    singular (min(n, d),) : singular values of the minors where the leading pair is split off, else of the
        whole, decreasing
    pair, largest, noise, unit : as of :func:`angular_of`
    room : as :func:`room_for_ranks` makes it
    """
    m, logs, numbers = room
    several = singular.size
    count = max(several - 1, 1)
    part, rounding = 1 / math.sqrt(float(several)), 4 * unit
    exists, hidden = largest > 0, _hidden(noise)
    split_off = pair[3] > 0
    f = power_of_two(pair[2])
    scale, delta = (f, pair[2]) if split_off else (1.0, 0.0)
    first, behind = (pair[0], 0) if split_off else (singular[0], 1)
    whole_noise = part * (pair[5] + f * pair[4]) + rounding * first
    second = singular[behind] if several > 1 else 0.0
    own_noise = part * pair[4] + rounding * second if split_off else whole_noise
    safe_first = first if first > 0 else 1.0
    total = 0.0
    for k in range(m.size):
        m[k] = singular[behind + k] / safe_first if k < count and several > 1 else 0.0
        total += m[k]
    sum_all = 1 + scale * total
    P = scale * total / sum_all
    # entropy / 2**delta = (1 - P) (-ln(1 - P)/P) sum share - sum share ln(p_k)
    slope = 1 + P / 2 if P < 1e-12 else -math.log1p(-P) / P
    shift = delta * _LN2
    zero, one, none = splat(m, 0.0), splat(m, 1.0), splat(m, -np.inf)
    sums = zero
    for k in range(0, m.size, _W):
        share = load(m, k) / sum_all
        there = share > 0.0
        ln = ln_of(where(there, share, one))
        sums = sums + where(there, share * (ln + shift), zero)
        store(logs, k, where(there, ln, none))
    entropy = sum_of(sums)
    entropy = (1 - P) * slope * total / sum_all - entropy
    E = scale * entropy
    growth = 1 + E / 2 if E < 1e-12 else math.expm1(E) / E
    off = np.inf if whole_noise > 0 else 0.0
    if first > 0:
        off = whole_noise / safe_first
    # d(entropy) = -sum (ln p_k + entropy) dp_k, and by Mirsky sum dsigma_k^2 <= noise^2; what is
    # lost in the noise may be as large as it
    d_p = off / sum_all
    own = own_noise / (safe_first * sum_all)
    # logarithms of what is lost: of the smallest shares, and of these in units of 2**delta
    small, smaller = splat(m, math.log(_more(d_p, _TINY))), splat(m, math.log(_more(own, _TINY)))
    slope_squares = step_squares = squares = zero
    for k in range(0, m.size, _W):
        ln, there = load(logs, k), load(numbers, k) < float(count)
        x = maximum(ln + shift, small) + E
        slope_squares = slope_squares + where(there, x * x, zero)
        # the gap: sum over the others of (1 - ln p_k) dp_k, in units of 2**delta
        x = one - (maximum(ln, smaller) + shift)
        step_squares = step_squares + where(there, x * x, zero)
        x = load(m, k) * scale
        squares = squares + x * x
    slopes = (E - math.log1p(-_less(P, 0.5))) ** 2 + sum_of(slope_squares)
    steps, length = sum_of(step_squares), sum_of(squares)
    # (and where all are equal, and slopes vanish, by sum dp^2 / p)
    d_entropy = d_p * math.sqrt(slopes) + 1.5 * several * d_p * d_p
    grown = entropy * growth
    nothing = np.inf if own_noise > 0 else 0.0
    relative = (1 + E) * (own * math.sqrt(steps)) / entropy + off if grown > 0 else nothing
    seconds = own_noise / second if second > 0 else nothing
    length = math.sqrt(length)
    own_scale = _EPS * abs(delta)
    errors_of = (
        math.exp(E) * math.expm1(_between(d_entropy, 0.0, 700.0)),
        _log_error(relative) + own_scale,
        2 * off * (length + length * length) + several * off * off,
        _log_error(seconds) + _log_error(off) + own_scale,
    )
    found = (math.exp(E), _log(grown, delta), 1 + length * length, _log(m[0], delta))
    for k in range(4):
        error = 0.0 if several == 1 else errors_of[k]
        _write(values, errors, k, s, found[k], error, exists, hidden, False)


@nb.njit(**_COMPILE)
def ranks(singular, pairs, largest, noise, unit, values, errors):
    """Do what :func:`ranks_of` does for B states, whose singular values others found: (B, .) to (4, B)."""
    room = room_for_ranks(singular.shape[1], values)
    for s in range(singular.shape[0]):
        ranks_of(singular[s], pairs[s], largest[s], noise[s], unit, room, s, values, errors)
