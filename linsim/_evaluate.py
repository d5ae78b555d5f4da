"""Every metric of a split state, each gap at its own scale, and the error of each.

One leading dyad is taken off the state by alternate projections; ranks and
angles come from the minors that are left, which keep their own exponent.

An error is absolute for a plain metric and absolute in the logarithm for one
whose name begins with ``log``.  It follows from the noise of the parts by the
first-order perturbation of the metric, with the usual inequalities where the
direction of the noise is not known: Mirsky's for singular values (the root of
the summed squares of their changes is at most the norm of the noise), and for
an angle the size of a row's noise over the size of the row.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _kernels, _validate
from ._namespace import Array, exponent_of, namespace, power_of_two
from ._state import EMPTY, State, add_log2, combine, log2, norm, of_plain_tokens, scaled, shifted
from .errors import InvalidTypeError

__all__ = ["METRICS", "Measured", "choose", "evaluate", "log_error", "of_tokens", "tolerances"]

#: name of every metric, with what it says
METRICS: dict[str, str] = {
    "token_similarity": "||mean part||^2 / ||X||^2; 1: all tokens alike",
    "log_token_diversity": "ln(1 - token similarity)",
    "hfc_lfc": "||X - mean part||_F / ||mean part||_F; 0: low-pass, oversmoothing",
    "log_hfc_lfc": "ln of hfc_lfc",
    "cosine": "mean cosine over pairs of tokens; 1: angle convergence",
    "log_cosine_gap": "ln(1 - cosine)",
    "abs_cosine": "mean |cosine| over pairs of tokens",
    "log_abs_cosine_gap": "ln(1 - mean |cosine|)",
    "effective_rank": "exp(entropy of sigma / sum sigma); 1: rank collapse",
    "log_effective_rank_gap": "ln(effective rank - 1)",
    "stable_rank": "||X||_F^2 / sigma_1^2",
    "log_rank_gap": "ln(sigma_2 / sigma_1)",
    "log_norm": "ln ||X||_F",
    "log_spread": "ln of the largest distance between two tokens",
}

_CONTENT = {"token_similarity", "log_token_diversity", "hfc_lfc", "log_hfc_lfc", "log_norm", "log_spread"}
_ANGLE = {"cosine", "log_cosine_gap", "abs_cosine", "log_abs_cosine_gap"}
_RANK = {"effective_rank", "log_effective_rank_gap", "stable_rank", "log_rank_gap"}

_GROUPS = {
    "plain": {name for name in METRICS if not name.startswith("log")},
    "gaps": {name for name in METRICS if name.startswith("log")},
}

#: largest error of what is reported: of a plain metric in float64 and in float32 (relative to it
#: where it is above 1), and of a logarithm
PLAIN, PLAIN_SINGLE, LOGARITHM = 1e-3, 1e-2, 1e-2

_LN2 = float(np.log(2.0))
_EPS = float(np.finfo(np.float64).eps)
_TINY = 1e-300  # nothing, to a logarithm
_SWEEPS = 4


def choose(metrics: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return metric names in the order of :data:`METRICS`; None means all, "plain" and "gaps" halves."""
    if metrics is None:
        return tuple(METRICS)
    if not isinstance(metrics, str | Iterable):
        raise _validate.refusal(
            InvalidTypeError,
            "metrics",
            repr(metrics),
            "names of metrics, or None for all",
            "Pass a list of names.",
        )
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    wanted: set[str] = set()
    for name in names:
        known = _validate.choice(name, "metrics", [*METRICS, *_GROUPS])
        wanted |= _GROUPS.get(known, {known})
    return tuple(name for name in METRICS if name in wanted)


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric of b systems and its error, both (b, 1, 1); infinite where nothing is known."""

    value: Array
    error: Array


def tolerances(names: Iterable[str], single: bool, resolution: float | None) -> dict[str, float]:
    """Return the largest error with which each metric is reported."""
    plain = PLAIN_SINGLE if single else PLAIN
    return {
        name: resolution if resolution is not None else LOGARITHM if name.startswith("log") else plain
        for name in names
    }


# what leaves the range of a double has an infinite error, and needs no warning
@np.errstate(over="ignore", invalid="ignore")
def evaluate(
    state: State, names: Iterable[str], zero_rows: Array | None = None
) -> tuple[dict[str, Measured], int]:
    """Measure a split state: every metric as it comes out, and its error.

    ``zero_rows`` (b, n, 1): tokens known to be exactly zero.  Also returns how
    many matrices a kernel left to LAPACK.
    """
    xp = namespace(state.R)
    wanted = set(names)
    row, e_row = combine(state.a * state.split.z, state.e_a, state.r, state.e_r)
    rest, e_rest = combine(state.b * state.split.z, state.e_b, state.R, state.e_R)
    full, e_full = combine(state.split.v * row, e_row, rest, e_rest)
    results: dict[str, Measured] = {}
    redone = 0
    if wanted & _CONTENT:
        # a logarithm of 1e9 has no digits left for a ratio of two: sizes refer to the state's own
        top = xp.where(e_full > EMPTY / 2, e_full, xp.zeros_like(e_full))
        found = _content(shifted(state, -top), (row, e_row - top), (rest, e_rest - top), (full, e_full - top))
        results |= found | {
            name: Measured(found[name].value + top * _LN2, found[name].error + _EPS * xp.abs(top))
            for name in ("log_norm", "log_spread")
        }
    if wanted & (_ANGLE | _RANK):
        pair = _leading_pair(state)
        if wanted & _RANK:
            ranks, redone = _rank(pair)
            results |= ranks
        if wanted & _ANGLE:
            rounded = _row_lengths(state.split.v * row, e_row - e_full) + _row_lengths(rest, e_rest - e_full)
            results |= _angles(pair, (full, e_full, rounded), zero_rows, state.rows)
    exists = xp.max(xp.abs(full), axis=(-1, -2), keepdims=True) > 0
    # what came out as zero by cancelling is rounding, and not known to be zero
    none = xp.all(state.noise <= EMPTY / 2, axis=-1, keepdims=True)
    hidden = xp.where(none, xp.zeros_like(e_full), xp.full_like(e_full, xp.inf))
    out = {}
    for name in names:
        one = results[name]
        # of the zero state only sizes are known, all else is no number, and that without an error
        value = one.value
        if name not in ("log_norm", "log_spread"):
            value = xp.where(exists, value, xp.full_like(value, xp.nan))
        error = one.error + 4 * _EPS * xp.where(xp.isfinite(value), xp.abs(value), xp.ones_like(value))
        error = xp.where(xp.isnan(error), xp.full_like(error, xp.inf), error)
        out[name] = Measured(value, xp.where(exists, error, hidden))
    return out, redone


def _row_lengths(x: Array, exponent: Array) -> Array:
    """Length of each row of x 2**exponent, (b, n, 1) float64."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    return xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True)) * power_of_two(exponent)


def of_tokens(x: Array, names: Iterable[str]) -> dict[str, Measured]:
    """Measure (b, n, d) tokens as they are given, in float64: the only errors are those of measuring."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    e = exponent_of(xp.max(xp.abs(x), axis=(-1, -2), keepdims=True))
    e = xp.where(e == -xp.inf, xp.zeros_like(e), e)
    half = xp.floor(-e / 2)  # in two steps: entries near the ends of the range must not overflow
    state = shifted(of_plain_tokens(scaled(scaled(x, half), -e - half)), e)
    return evaluate(state, names, ~xp.any(x != 0, axis=-1, keepdims=True))[0]


# --- content: how much of the state is common to all tokens -----------------------------


def log_error(relative: Array) -> Array:
    """Error of a logarithm of what is known to ``relative``: -ln(1 - relative), infinite from 1 on."""
    xp = namespace(relative)
    known = relative < 1
    return xp.where(
        known, -xp.log1p(-xp.where(known, relative, xp.zeros_like(relative))), xp.full_like(relative, xp.inf)
    )


def _share(noise: Array, ln_value: Array) -> Array:
    """2**noise / exp(ln_value): 0 without noise, else infinite beside nothing."""
    xp = namespace(noise)
    none = noise <= EMPTY / 2
    ln = xp.where(none, xp.full_like(noise, -1e4), noise) * _LN2
    ln = ln - xp.where(ln_value == -xp.inf, xp.full_like(ln_value, -1e5), ln_value)
    found = _exp(xp.clip(ln, -1e3, 1e3))
    return xp.where(none, xp.zeros_like(found), found)


def _log(x: Array, exponent: Any = 0.0) -> Array:
    """ln(x 2**exponent), -inf at x = 0, without a warning."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    positive = x > 0
    value = xp.log(xp.where(positive, x, xp.ones_like(x))) + exponent * _LN2
    return xp.where(positive, value, xp.full_like(value, -xp.inf))


def _exp(x: Array) -> Array:
    """exp without overflow warnings: inf above the largest double."""
    xp = namespace(x)
    value = xp.exp(xp.clip(x, -750.0, 709.0))
    value = xp.where(x > 709.0, xp.full_like(value, xp.inf), value)
    return xp.where(x < -750.0, xp.zeros_like(value), value)


def _content(
    state: State, row: tuple[Array, Array], rest: tuple[Array, Array], full: tuple[Array, Array]
) -> dict[str, Measured]:
    xp, split = namespace(state.R), state.split
    # With v = 1 the rest alone differs between tokens: nothing cancels.
    e_base = xp.where(split.constant, rest[1], full[1])
    base = xp.where(split.constant, rest[0], full[0])
    centred = base - xp.mean(base, axis=-2, keepdims=True)
    high = norm(centred)
    kept_mean = xp.where(
        split.preserves_mean, xp.zeros_like(rest[0][:, :1, :]), xp.mean(rest[0], axis=-2, keepdims=True)
    )
    e_kept = xp.where(split.preserves_mean, xp.full_like(rest[1], EMPTY), rest[1])
    low_constant, e_constant = combine(row[0], row[1], kept_mean, e_kept)
    low_any = xp.mean(full[0], axis=-2, keepdims=True)
    exact = split.preserves_mean & ~split.constant
    low_vector = xp.where(split.constant, low_constant, xp.where(exact, state.mean, low_any))
    e_low = xp.where(split.constant, e_constant, xp.where(exact, state.e_mean, full[1]))
    low = norm(low_vector) * float(np.sqrt(state.R.shape[-2]))
    ln_high, ln_low = _log(high, e_base), _log(low, e_low)
    ln_norm = _logaddexp2(ln_high, ln_low)
    noise_a, noise_r, noise_b, noise_R, noise_mean = _by_part(state.noise)
    noise_row = add_log2(noise_a, noise_r) + log2(norm(split.v))
    noise_rest = add_log2(noise_b, noise_R)
    noise_full = add_log2(noise_row, noise_rest)
    noise_mean = noise_mean + 0.5 * float(np.log2(state.R.shape[-2]))
    noise_low = xp.where(split.preserves_mean, xp.where(split.constant, noise_row, noise_mean), noise_full)
    ln_ratio = _difference(ln_high, ln_low)
    noise_high = xp.where(split.constant, noise_rest, noise_full)
    x_high, x_low = _exp(_difference(ln_high, ln_norm)), _exp(_difference(ln_low, ln_norm))
    own_high, own_low = _share(noise_high, ln_high), _share(noise_low, ln_low)
    of_high, of_low = _share(noise_high, ln_norm), _share(noise_low, ln_norm)
    of_norm = xp.minimum(_share(noise_full, ln_norm), xp.sqrt(of_high * of_high + of_low * of_low))
    # d(low^2 / norm^2) = 2 x_low x_high (x_high d_low - x_low d_high), and what is of second order
    turned = 2 * x_low * x_high * (x_high * of_low + x_low * of_high) + (of_low + of_high) ** 2
    diversity = 2 * (x_low * x_low * own_high + x_low * of_low) + (of_low + of_high) ** 2
    ratio = log_error(own_high) + log_error(own_low)
    ln_spread = _spread(centred, e_base)
    rounding = _rounding(state.R)
    similarity = _exp(2 * _difference(ln_low, ln_norm))
    quotient = _exp(ln_ratio)
    # (high + its noise) / (low - its noise), less the quotient: small beside a large low, whatever high is
    size = xp.clip(ln_ratio, -1e6, 1e6)
    both = _log(_share(noise_high, ln_low) + own_low * _exp(size))
    # the exponential of a logarithm loses as many digits as that is large
    lost = _exp(size + xp.log(2 * rounding + _EPS * xp.abs(size)))
    off_quotient = _exp(_difference(both, -log_error(own_low))) + lost
    # what is known to lie beyond the range of doubles is infinite, and rightly so
    beyond = (ln_ratio > 710.0) & (ratio < 0.3)
    off_quotient = xp.where(beyond, xp.zeros_like(off_quotient), off_quotient)
    return {
        "token_similarity": Measured(similarity, turned + 2 * rounding * x_low * x_high),
        "log_token_diversity": Measured(
            2 * _difference(ln_high, ln_norm),
            xp.where(own_high < 1, diversity, xp.full_like(diversity, xp.inf)) + 2 * rounding,
        ),
        "hfc_lfc": Measured(quotient, off_quotient),
        "log_hfc_lfc": Measured(ln_ratio, ratio + 2 * rounding),
        "log_norm": Measured(ln_norm, log_error(of_norm) + rounding),
        # two tokens may be off by the noise of all each
        "log_spread": Measured(ln_spread, log_error(2 * _share(noise_high, ln_spread)) + rounding),
    }


def _rounding(x: Array) -> float:
    """What measuring itself rounds, relative to a size: a few steps in the precision of the state."""
    return 4 * float(namespace(x).finfo(x.dtype).eps)


def _difference(x: Array, y: Array) -> Array:
    """x - y for logarithms, where -inf - -inf is NaN without a warning."""
    xp = namespace(x)
    both = (x == -xp.inf) & (y == -xp.inf)
    value = xp.where(both, xp.zeros_like(x), x) - xp.where(both, xp.zeros_like(y), y)
    return xp.where(both, xp.full_like(value, xp.nan), value)


def _logaddexp2(x: Array, y: Array) -> Array:
    """ln sqrt(exp(2x) + exp(2y))."""
    xp = namespace(x)
    big, small = xp.maximum(x, y), xp.minimum(x, y)
    gap = xp.where(
        small == -xp.inf, xp.full_like(x, -1e4), small - xp.where(big == -xp.inf, xp.zeros_like(big), big)
    )
    return big + 0.5 * xp.log1p(xp.exp(xp.clip(2 * gap, -745.0, 0.0)))


def _spread(centred: Array, exponent: Array) -> Array:
    xp = namespace(centred)
    # The centre lies inside the cloud, so no |x_i| exceeds the largest distance
    # and the cancellation in the Gram form is harmless.
    e = exponent_of(xp.max(xp.abs(centred), axis=(-1, -2), keepdims=True))
    e = xp.where(e == -xp.inf, xp.zeros_like(e), e)
    y = xp.astype(scaled(centred, -e), xp.float64, copy=False)
    gram = y @ xp.matrix_transpose(y)
    square = xp.sum(y * y, axis=-1, keepdims=True)
    distance = square + xp.matrix_transpose(square) - 2 * gram
    return 0.5 * _log(xp.max(distance, axis=(-1, -2), keepdims=True)) + _log(xp.ones_like(e), exponent + e)


# --- the leading pair: X = 2**e (main alpha q + f S), |alpha| = |q| = 1, S q^T = 0 --------


@dataclass(frozen=True, eq=False)
class _Leading:
    """A state as one dyad plus minors S that carry their own exponent ``delta`` (f = 2**delta)."""

    main: Array  # (b, 1, 1) >= 0
    alpha: Array  # (b, n, 1)
    q: Array  # (b, 1, d)
    S: Array  # (b, n, d)
    e: Array  # (b, 1, 1): exponent of the whole
    delta: Array  # (b, 1, 1)
    split_off: Array  # (b, 1, 1) bool: the dyad is the leading singular pair to rounding
    noise: Array  # (b, 1, 1): absolute error of S
    noise_main: Array  # (b, 1, 1): absolute error of main alpha q before S was merged into it


def _leading_pair(state: State) -> _Leading:
    xp, s = namespace(state.R), state.split
    a, r, b, R = state.a, state.r, state.b, state.R
    dtype = R.dtype

    # The same state is one dyad plus a rest in three ways; the smallest rest is
    # the one without cancellation.
    #   pair:    (v + b/a) (a z + r) + (R - b r/a)
    #   row:          v    (a z + r) + (R + b z)
    #   column: (a v + b)      z     + (R + v r)
    size_v = norm(s.v)
    L_v = log2(size_v)
    L_a, L_r = log2(norm(a)) + state.e_a + L_v, log2(norm(r)) + state.e_r + L_v
    L_b, L_R = log2(norm(b)) + state.e_b, log2(norm(R)) + state.e_R
    T_pair = xp.maximum(L_R, L_b + L_r - L_a)
    T_row = xp.maximum(L_R, L_b)
    T_column = xp.maximum(L_R, L_r)
    noise_a, noise_r, noise_b, noise_R, _ = _by_part(state.noise)
    noise_a = noise_a + L_v
    # a must stand above its own noise to be divided by
    pair = (
        (L_a > xp.maximum(noise_a + 20, xp.full_like(L_a, EMPTY / 2)))
        & (T_pair < T_row)
        & (T_pair < T_column)
    )
    column = ~pair & (T_column < T_row)
    row = ~pair & ~column
    T = xp.where(pair, T_pair, xp.where(column, T_column, T_row))
    # where nothing is left, only its noise is known, and must fit that scale
    e_S = xp.floor(xp.where(T > EMPTY / 2, T, _largest(noise_b, noise_R, noise_r)))

    zero = xp.zeros_like(T)
    m_row, m_column = xp.maximum(state.e_a, state.e_r), xp.maximum(state.e_a, state.e_b)
    e_main = xp.where(pair, state.e_a, xp.where(row, m_row, m_column))
    inverse_a = 1 / xp.where(a == 0, xp.ones_like(a), a)

    def factor(exponent: Array, where: Array) -> Array:
        return xp.astype(
            xp.where(where, power_of_two(xp.where(where, exponent, zero)), zero), dtype, copy=False
        )

    S = scaled(R, state.e_R - e_S)
    S = S + b * (
        factor(state.e_b - e_S, row) * s.z
        - factor(state.e_b + state.e_r - state.e_a - e_S, pair) * inverse_a * r
    )
    S = S + s.v * (factor(state.e_r - e_S, column) * r)
    keep_v = factor(zero, pair | row) + factor(state.e_a - e_main, column) * a
    keep_b = factor(state.e_b - state.e_a, pair) * inverse_a + factor(state.e_b - e_main, column)
    keep_z = factor(state.e_a - e_main, pair | row) * a + factor(zero, column)
    keep_r = factor(state.e_r - e_main, pair | row)
    alpha, q = keep_v * s.v + keep_b * b, keep_z * s.z + keep_r * r

    n_alpha, n_q = norm(alpha), norm(q)
    noise_r = noise_r + L_v
    noise_pair = _largest(noise_b + L_r - L_a, noise_r + L_b - L_a, noise_a + L_b + L_r - 2 * L_a)
    noise = xp.where(pair, noise_pair, xp.where(column, noise_r, noise_b))
    # forming S rounds its terms
    one_rounding = float(np.log2(float(xp.finfo(dtype).eps)))
    noise = 1 + _largest(noise, noise_R, T + one_rounding)
    # absolute error of the dyad, from either factor and from v itself
    unit_alpha = xp.where(pair, log2(norm(a)) + state.e_a, e_main)
    noise_alpha = xp.maximum(noise_a, noise_b) - unit_alpha + log2(n_q) + e_main
    noise_q = xp.maximum(noise_a, noise_r) - L_v + log2(n_alpha)
    nothing = xp.full_like(T, EMPTY)
    noise_main = _largest(
        xp.where(row, nothing, noise_alpha),
        xp.where(column, nothing, noise_q),
        one_rounding + 2 + log2(n_alpha * n_q) + e_main,
    )
    main = n_alpha * n_q
    e_pair = xp.where(main > 0, e_main, xp.full_like(e_main, EMPTY))
    e = xp.maximum(e_pair, e_S)
    main, delta = main * power_of_two(e_pair - e), e_S - e
    f = power_of_two(delta)
    alpha, q = _unit(alpha, n_alpha, dtype), _unit(q, n_q, dtype)

    # Alternate projections: each sweep moves what S shares with the dyad into
    # the dyad, which tends to the leading singular pair like (sigma_2/sigma_1)^2.
    cross = zero
    first, first_S = main, norm(S)
    for _ in range(_SWEEPS):
        x = xp.matrix_transpose(alpha) @ S
        S = S - alpha * x
        q = _cast(main, dtype) * q + _cast(f, dtype) * x
        main = norm(q)
        q = _unit(q, main, dtype)
        y = S @ xp.matrix_transpose(q)
        S = S - y * q
        alpha = _cast(main, dtype) * alpha + _cast(f, dtype) * y
        main = norm(alpha)
        alpha = _unit(alpha, main, dtype)
        cross = f * norm(xp.matrix_transpose(alpha) @ S)
    split_off = (main > 0) & (cross <= 1e-8 * main) & (f * norm(S) <= 0.5 * main)
    limit = xp.full_like(T, 200.0)
    noise = xp.where(noise <= EMPTY / 2, zero, power_of_two(xp.floor(xp.minimum(noise - e_S, limit)) + 1))
    noise_main = xp.where(
        noise_main <= EMPTY / 2, zero, power_of_two(xp.floor(xp.minimum(noise_main - e, limit)) + 1)
    )
    # What S shares with the dyad it takes over with the dyad's error: all of it
    # where S was the larger one and the two have changed places.
    small = f * first_S < first
    share = xp.where(small, first_S / xp.where(small, first, 1.0), 1 / xp.where(small | (f == 0), 1.0, f))
    return _Leading(main, alpha, q, S, e, delta, split_off, noise + share * noise_main, noise_main)


def _by_part(noise: Array) -> list[Array]:
    return [noise[:, :, k : k + 1] for k in range(noise.shape[-1])]


def _largest(*values: Array) -> Array:
    return functools.reduce(namespace(values[0]).maximum, values)


def _cast(x: Array, dtype: Any) -> Array:
    return namespace(x).astype(x, dtype, copy=False)


def _unit(x: Array, norm: Array, dtype: Any) -> Array:
    xp = namespace(x)
    return x / _cast(xp.where(norm > 0, norm, xp.ones_like(norm)), dtype)


# --- rank ------------------------------------------------------------------------------


def _rank(p: _Leading) -> tuple[dict[str, Measured], int]:
    xp = namespace(p.S)
    f = power_of_two(p.delta)
    whole = _cast(p.main, p.S.dtype) * (p.alpha * p.q) + _cast(f, p.S.dtype) * p.S
    minors = p.S - p.alpha * (xp.matrix_transpose(p.alpha) @ p.S)
    values, redone = _singular_values(xp.where(p.split_off, minors, whole))
    values = xp.astype(values[:, None, :], xp.float64, copy=False)
    first = xp.where(p.split_off, p.main, values[:, :, :1])
    rest = xp.where(p.split_off, values[:, :, :-1], values[:, :, 1:])
    if rest.shape[-1] == 0:
        rest = xp.zeros_like(first)
    scale = xp.where(p.split_off, f, xp.ones_like(f))
    delta = xp.where(p.split_off, p.delta, xp.zeros_like(p.delta))
    second = rest[:, :, :1]
    # what an error does to one singular value is its entry along the two singular vectors
    part = 1 / float(np.sqrt(min(p.S.shape[-2:])))
    whole_noise = part * (p.noise_main + f * p.noise) + _rounding(p.S) * first
    own_noise = xp.where(p.split_off, part * p.noise + _rounding(p.S) * second, whole_noise)

    safe_first = xp.where(first > 0, first, xp.ones_like(first))
    m = rest / safe_first  # sigma_k / sigma_1, in units of 2**delta
    total = xp.sum(m, axis=-1, keepdims=True)
    sum_all = 1 + scale * total
    share = m / sum_all
    P = scale * total / sum_all
    # entropy / 2**delta = (1 - P) (-ln(1 - P)/P) sum share - sum share ln(p_k)
    tiny = P < 1e-12
    slope = xp.where(
        tiny, 1 + P / 2, -xp.log1p(-xp.where(tiny, xp.full_like(P, 0.5), P)) / xp.where(tiny, 0.5, P)
    )
    positive = share > 0
    logs = xp.where(positive, xp.log(xp.where(positive, share, xp.ones_like(share))) + delta * _LN2, 0.0)
    entropy = (1 - P) * slope * total / sum_all - xp.sum(share * logs, axis=-1, keepdims=True)
    E = scale * entropy
    small = E < 1e-12
    growth = xp.where(small, 1 + E / 2, xp.expm1(xp.where(small, 1.0, E)) / xp.where(small, 1.0, E))
    ones = xp.ones_like(first)
    alone = min(p.S.shape[-2:]) == 1
    unknown = xp.where(whole_noise > 0, xp.full_like(ones, xp.inf), xp.zeros_like(ones))
    off = xp.where(first > 0, whole_noise / safe_first, unknown)
    # d(entropy) = -sum (ln p_k + entropy) dp_k, and by Mirsky sum dsigma_k^2 <= noise^2; what is
    # lost in the noise may be as large as it
    small_p = xp.maximum(off / sum_all, xp.full_like(off, _TINY))
    ln_rest = xp.log(xp.maximum(scale * share, small_p))
    slopes = (E - xp.log1p(-xp.minimum(P, 0.5 * ones))) ** 2
    slopes = slopes + xp.sum((ln_rest + E) ** 2, axis=-1, keepdims=True)
    # (and where all are equal, and slopes vanish, by sum dp^2 / p)
    d_p, several = off / sum_all, min(p.S.shape[-2:])
    d_entropy = d_p * xp.sqrt(slopes) + 1.5 * several * d_p * d_p
    # the gap: sum over the others of (1 - ln p_k) dp_k, in units of 2**delta
    own = own_noise / (safe_first * sum_all)
    ln_own = xp.log(xp.maximum(share, xp.maximum(own, _TINY * ones))) + delta * _LN2
    d_gap = own * xp.sqrt(xp.sum((1 - ln_own) ** 2, axis=-1, keepdims=True))
    grown = entropy * growth
    some = grown > 0
    relative = (1 + E) * d_gap / xp.where(some, entropy, ones) + off
    relative = xp.where(some, relative, xp.where(own_noise > 0, xp.full_like(ones, xp.inf), 0 * ones))
    seconds = own_noise / xp.where(second > 0, second, ones)
    seconds = xp.where(second > 0, seconds, xp.where(own_noise > 0, xp.full_like(ones, xp.inf), 0 * ones))
    length = xp.sqrt(xp.sum((scale * m) ** 2, axis=-1, keepdims=True))
    none = xp.zeros_like(ones)
    return {
        "effective_rank": Measured(
            xp.exp(E), none if alone else xp.exp(E) * xp.expm1(xp.clip(d_entropy, 0.0, 700.0))
        ),
        "log_effective_rank_gap": Measured(
            _log(grown, delta), none if alone else log_error(relative) + _EPS * xp.abs(delta)
        ),
        "stable_rank": Measured(
            1 + length * length, none if alone else 2 * off * (length + length * length) + several * off * off
        ),
        "log_rank_gap": Measured(
            _log(m[:, :, :1], delta),
            none if alone else log_error(seconds) + log_error(off) + _EPS * xp.abs(delta),
        ),
    }, redone


def _singular_values(x: Array) -> tuple[Array, int]:
    xp = namespace(x)
    if xp is np:
        return _kernels.singular_values(x)
    return xp.linalg.svdvals(x), 0


# --- angles ----------------------------------------------------------------------------


def _angles(
    p: _Leading, whole: tuple[Array, Array, Array], zero_rows: Array | None, rows: Array | None
) -> dict[str, Measured]:
    """``whole``: the tokens, their exponent, and the size of what was added up for each row of them."""
    xp = namespace(p.S)
    n = p.S.shape[-2]
    if n == 1:  # no pairs
        one, nothing = xp.ones_like(p.main), xp.zeros_like(p.main)
        alike = {"cosine": one, "abs_cosine": one}
        gaps = {name: xp.full_like(one, -xp.inf) for name in ("log_cosine_gap", "log_abs_cosine_gap")}
        return {name: Measured(value, nothing) for name, value in (alike | gaps).items()}
    S, q = xp.astype(p.S, xp.float64, copy=False), xp.astype(p.q, xp.float64, copy=False)
    along = p.main * xp.astype(p.alpha, xp.float64, copy=False)
    across = xp.sqrt(xp.sum(S * S, axis=-1, keepdims=True))
    # each row has its own exponent k: row = 2**k (A q + F S_i), the larger term of size 1
    e_along, e_across = exponent_of(xp.abs(along)), exponent_of(across)
    e_along = xp.where(e_along == -xp.inf, EMPTY, e_along)
    e_across = xp.where(e_across == -xp.inf, EMPTY, e_across) + p.delta
    k = xp.maximum(e_along, e_across)
    seen = k > EMPTY / 2
    k = xp.where(seen, k, xp.zeros_like(k))
    A, F = along * power_of_two(-k), power_of_two(p.delta - k)
    height = xp.sqrt(A * A + (F * across) ** 2)
    height = xp.where(seen, height, xp.ones_like(height))

    # Deviations from +-q keep relative accuracy where rows are nearly parallel
    # to q: (|A| - height) is written without its cancellation.
    e_common = xp.max(xp.where(seen, p.delta - k, EMPTY), axis=-2, keepdims=True)
    e_common = xp.where(xp.any(seen, axis=-2, keepdims=True), e_common, p.delta)
    G = power_of_two(p.delta - k - e_common)
    fall = power_of_two(e_common) * (G * across) ** 2 / (xp.abs(A) + height)
    sign = xp.where(A < 0, -xp.ones_like(A), xp.ones_like(A))
    deviations = (sign * G * S - fall * q) / height
    near, e_near = _variance(deviations), 2 * e_common
    # (rounding spreads over rows, each of which enlarges its share by its own height)
    worst = xp.sqrt(xp.mean((G / height) ** 2, axis=-2, keepdims=True)) * p.noise
    off_q = xp.mean(
        xp.minimum((p.noise_main * power_of_two(-k) + F * p.noise) / height, 2 * xp.ones_like(height)),
        axis=-2,
        keepdims=True,
    )

    # The rows as they are, each at its own scale: what is off by one row is off by that row only.
    full, e_full, rounded = whole
    x = xp.astype(full, xp.float64, copy=False)
    own = exponent_of(xp.max(xp.abs(x), axis=-1, keepdims=True))
    present = own > -xp.inf
    own = xp.where(present, own, xp.zeros_like(own))
    if zero_rows is not None:
        present = present & ~zero_rows
    x = scaled(x, -own)
    length = xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))
    length = xp.where(present, length, xp.ones_like(length))
    units = x / length
    noise_rows = _noise_of_rows(p, e_full) if rows is None else rows - e_full
    none = noise_rows <= EMPTY / 2
    turned = xp.where(none, xp.zeros_like(length), power_of_two(xp.clip(noise_rows - own, -1e3, 500.0)))
    turned = (turned + _rounding(p.S) * rounded * power_of_two(-own)) / length
    lost = ~present & ~none  # zero because its terms cancelled
    if zero_rows is not None:
        lost = lost & ~zero_rows
    turned = xp.where(present, xp.minimum(turned, 2 * xp.ones_like(turned)), xp.zeros_like(turned))
    turned = xp.where(lost, 2 * xp.ones_like(turned), turned)
    if p.S.shape[-1] == 1:  # no room for an angle, nor for its rounding, until a sign is lost
        near, worst = xp.zeros_like(near), xp.zeros_like(worst)
        turned = xp.where(turned < 1, xp.zeros_like(turned), turned)
    mean_turn = xp.mean(turned, axis=-2, keepdims=True)
    square_turn = xp.mean(turned * turned, axis=-2, keepdims=True)

    pairs = n * (n - 1)
    m = xp.sum(xp.astype(present, xp.float64), axis=-2, keepdims=True)
    absent = (pairs - m * (m - 1)) / pairs
    here = xp.astype(present, xp.float64)
    units = units * here
    centre = xp.sum(units, axis=-2, keepdims=True) / xp.where(m > 0, m, xp.ones_like(m))
    scatter = xp.sum(((units - centre) * here) ** 2, axis=(-1, -2), keepdims=True)
    direct = absent + m * scatter / pairs
    cosines = xp.abs(units @ xp.matrix_transpose(units))
    all_pairs = xp.sum(xp.triu(cosines, k=1), axis=(-1, -2), keepdims=True) * 2
    plain = 1 - all_pairs / pairs

    # A row that turns by t changes the cosine of each of its pairs by t at most, and by t^2 and t
    # times the sine of their angle: the gap g itself by 2 sqrt(g) rms(t) n/(n-1), and by squares.
    share = n / (n - 1)
    # (and at most what the units of the others add up to)
    others = xp.minimum(
        (m * xp.sqrt(xp.sum(centre * centre, axis=-1, keepdims=True)) + 1) / (n - 1), xp.ones_like(m)
    )
    off_direct = xp.minimum(
        2 * mean_turn * others, 2 * xp.sqrt(share * xp.abs(direct) * square_turn) + share * square_turn
    )
    off_plain = xp.minimum(
        2 * mean_turn, 2 * xp.sqrt(2 * share * xp.abs(plain) * square_turn) + 2 * share * square_turn
    )
    if p.S.shape[-1] > 1:
        off_plain = off_plain + float(xp.finfo(xp.float64).eps) * n
    close = near > 0
    off_near = 2 * worst / xp.sqrt(xp.where(close, near * (n - 1), xp.ones_like(near)))
    # the directions of rows that all lie close to q, from S alone
    off_near = log_error(off_near) + off_q + _rounding(p.S) + _EPS * xp.abs(e_near)
    # rows without a rest are parallel to q, however much of each is known, while it is above zero
    above = xp.all(xp.abs(along) > 2 * p.noise_main, axis=-2, keepdims=True)
    nothing_there = (p.noise == 0) & (near == 0) & above
    off_near = xp.where(
        close, off_near, xp.where(nothing_there, xp.zeros_like(near), xp.full_like(near, xp.inf))
    )

    # a row that may be anywhere may also lie across, or on the other side; one that the dyad and the
    # minors do not hold any more can only be measured as it stands
    every = xp.all(present & seen & (turned < 0.5), axis=-2, keepdims=True)
    one_side = every & (xp.all(A > 0, axis=-2, keepdims=True) | xp.all(A < 0, axis=-2, keepdims=True))
    # every |t_i| <= 1 means that no aligned pair has a negative cosine
    aligned = every & xp.all(xp.abs(A) >= F * across, axis=-2, keepdims=True)
    ln_near = _log(near, e_near)
    out = {}
    for name, gap, off, may in (
        ("cosine", direct, off_direct, one_side),
        ("abs_cosine", plain, off_plain, aligned),
    ):
        relative = off / xp.where(gap > 0, gap, xp.ones_like(gap))
        none = xp.where(off > 0, xp.full_like(off, xp.inf), xp.zeros_like(off))
        by_value = xp.where(gap > 0, log_error(relative), none)
        use_near = may & (off_near <= by_value)
        logarithm = xp.where(use_near, ln_near, _log(gap))
        error = xp.where(use_near, off_near, by_value)
        closeness = _exp(logarithm)
        near_value = closeness * xp.expm1(xp.minimum(error, 700.0 * xp.ones_like(error)))
        near_value = xp.where(xp.isfinite(error), near_value, error)
        out[name] = Measured(1 - closeness, xp.minimum(off, near_value))
        out[f"log_{name}_gap"] = Measured(logarithm, error)
    return out


def _noise_of_rows(p: _Leading, e: Array) -> Array:
    """log2 of the error of every row at the scale 2**e, where only that of all is known, (b, n, 1)."""
    xp = namespace(p.S)
    whole = log2(p.noise_main + power_of_two(p.delta) * p.noise) + p.e - e
    return xp.broadcast_to(whole, (*p.S.shape[:-1], 1))


def _variance(x: Array) -> Array:
    """sum_i |x_i - mean|^2 / (n - 1)."""
    xp = namespace(x)
    centred = x - xp.mean(x, axis=-2, keepdims=True)
    return xp.sum(centred * centred, axis=(-1, -2), keepdims=True) / (x.shape[-2] - 1)
