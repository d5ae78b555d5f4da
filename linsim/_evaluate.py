"""Every metric of a split state, each gap at its own scale.

One leading dyad is taken off the state by alternate projections; ranks and
angles come from the minors that are left, which keep their own exponent.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import _kernels, _validate
from ._namespace import Array, exponent_of, namespace, power_of_two
from ._state import EMPTY, State, add_log2, combine, log2, norm, scaled, shifted
from .errors import InvalidTypeError

__all__ = ["METRICS", "RESOLUTION", "Measured", "choose", "evaluate", "resolution_of"]

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

# A gap is reported only where its rounding is below this share of it (float32:
# 1e-2); else it is NaN, never the rounding itself.
RESOLUTION = 1e-6

_LN2 = float(np.log(2.0))
_SWEEPS = 4


def choose(metrics: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return metric names in the order of :data:`METRICS`; None means all."""
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
    wanted = {_validate.choice(name, "metrics", METRICS) for name in names}
    return tuple(name for name in METRICS if name in wanted)


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric of b systems and whether its gap stands above rounding, both (b, 1, 1)."""

    value: Array
    resolved: Array


def evaluate(
    state: State, names: Iterable[str], zero_rows: Array | None = None
) -> tuple[dict[str, Measured], int]:
    """Measure a split state; values that rounding hides are NaN and marked unresolved.

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
            name: replace(found[name], value=found[name].value + top * _LN2)
            for name in ("log_norm", "log_spread")
        }
    if wanted & (_ANGLE | _RANK):
        pair = _leading_pair(state)
        if wanted & _RANK:
            ranks, redone = _rank(pair)
            results |= ranks
        if wanted & _ANGLE:
            results |= _angles(pair, zero_rows)
    exists = xp.max(xp.abs(full), axis=(-1, -2), keepdims=True) > 0
    out = {}
    for name in names:
        one = results[name]
        keep = xp.where(exists, one.resolved, name in ("log_norm", "log_spread"))
        value = xp.where(keep, one.value, xp.full_like(one.value, xp.nan))
        out[name] = Measured(value, one.resolved | ~exists)
    return out, redone


# --- content: how much of the state is common to all tokens -----------------------------


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
    share = resolution_of(state.R)
    high_ok = _clear(xp.where(split.constant, noise_rest, noise_full), ln_high, share)
    low_ok = _clear(noise_low, ln_low, share)
    norm_ok = _clear(noise_full, ln_norm, share)
    ln_ratio = _difference(ln_high, ln_low)
    return {
        "token_similarity": Measured(_exp(2 * _difference(ln_low, ln_norm)), norm_ok),
        "log_token_diversity": Measured(2 * _difference(ln_high, ln_norm), high_ok & norm_ok),
        "hfc_lfc": Measured(_exp(ln_ratio), high_ok & low_ok),
        "log_hfc_lfc": Measured(ln_ratio, high_ok & low_ok),
        "log_norm": Measured(ln_norm, norm_ok),
        "log_spread": Measured(_spread(centred, e_base), high_ok),
    }


def resolution_of(x: Array) -> float:
    return RESOLUTION if x.dtype == namespace(x).float64 else 1e-2


def _clear(noise: Array, ln_value: Array, resolution: float) -> Array:
    """Whether 2**noise is below the resolution of exp(ln_value)."""
    return (noise <= EMPTY / 2) | (noise * _LN2 <= ln_value + float(np.log(resolution)))


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
    return _Leading(main, alpha, q, S, delta, split_off, noise + share * noise_main, noise_main)


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
    eps, resolution = float(xp.finfo(p.S.dtype).eps), resolution_of(p.S)
    whole_noise = p.noise_main + f * p.noise + eps * first
    noise = xp.where(p.split_off, p.noise, whole_noise)
    resolved = ((noise <= resolution * second) & (whole_noise <= resolution * first)) | (
        min(p.S.shape[-2:]) == 1
    )

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
    usable = whole_noise <= resolution * first
    return {
        "effective_rank": Measured(xp.exp(E), usable),
        "log_effective_rank_gap": Measured(_log(entropy * growth, delta), resolved),
        "stable_rank": Measured(1 + xp.sum((scale * m) ** 2, axis=-1, keepdims=True), usable),
        "log_rank_gap": Measured(_log(m[:, :, :1], delta), resolved),
    }, redone


def _singular_values(x: Array) -> tuple[Array, int]:
    xp = namespace(x)
    if xp is np:
        return _kernels.singular_values(x)
    return xp.linalg.svdvals(x), 0


# --- angles ----------------------------------------------------------------------------


def _angles(p: _Leading, zero_rows: Array | None) -> dict[str, Measured]:
    xp = namespace(p.S)
    n = p.S.shape[-2]
    always = xp.ones_like(p.split_off)
    if n == 1:  # no pairs
        one = xp.ones_like(p.main)
        nothing = xp.full_like(one, -xp.inf)
        return {
            "cosine": Measured(one, always),
            "log_cosine_gap": Measured(nothing, always),
            "abs_cosine": Measured(one, always),
            "log_abs_cosine_gap": Measured(nothing, always),
        }
    S, q = xp.astype(p.S, xp.float64, copy=False), xp.astype(p.q, xp.float64, copy=False)
    along = p.main * xp.astype(p.alpha, xp.float64, copy=False)
    across = xp.sqrt(xp.sum(S * S, axis=-1, keepdims=True))
    # each row has its own exponent k: row = 2**k (A q + F S_i), the larger term of size 1
    e_along, e_across = exponent_of(xp.abs(along)), exponent_of(across)
    e_along = xp.where(e_along == -xp.inf, EMPTY, e_along)
    e_across = xp.where(e_across == -xp.inf, EMPTY, e_across) + p.delta
    k = xp.maximum(e_along, e_across)
    present = k > EMPTY / 2
    k = xp.where(present, k, xp.zeros_like(k))
    present = present & ~zero_rows if zero_rows is not None else present
    A, F = along * power_of_two(-k), power_of_two(p.delta - k)
    height = xp.sqrt(A * A + (F * across) ** 2)
    height = xp.where(present, height, xp.ones_like(height))
    units = (A * q + F * S) / height

    # Deviations from +-q keep relative accuracy where rows are nearly parallel
    # to q: (|A| - height) is written without its cancellation.
    e_common = xp.max(xp.where(present, p.delta - k, EMPTY), axis=-2, keepdims=True)
    e_common = xp.where(xp.any(present, axis=-2, keepdims=True), e_common, p.delta)
    G = power_of_two(p.delta - k - e_common)
    fall = power_of_two(e_common) * (G * across) ** 2 / (xp.abs(A) + height)
    sign = xp.where(A < 0, -xp.ones_like(A), xp.ones_like(A))
    deviations = (sign * G * S - fall * q) / height
    near, e_near = _variance(deviations), 2 * e_common
    # relative error of a gap from the rounding of the terms S was formed from
    resolution = resolution_of(p.S)
    # (rounding spreads over rows, each of which enlarges its share by its own height)
    worst = xp.sqrt(xp.mean((G / height) ** 2, axis=-2, keepdims=True)) * p.noise
    # that of each row from the rounding of alpha and of S along q
    turned = (p.noise_main * power_of_two(-k) + F * p.noise) / height
    lost = ~present & (p.noise_main + p.noise > 0)  # zero because its terms cancelled
    if zero_rows is not None:
        lost = lost & ~zero_rows
    turned = xp.where(lost, xp.full_like(turned, xp.inf), xp.where(present, turned, xp.zeros_like(turned)))
    turned = xp.max(turned, axis=-2, keepdims=True)
    if p.S.shape[-1] == 1:  # no room for an angle, nor for its rounding
        near, worst = xp.zeros_like(near), xp.zeros_like(worst)
    near_ok = (4 * worst <= resolution * xp.sqrt(near * (n - 1))) & (turned <= resolution)

    pairs = n * (n - 1)
    m = xp.sum(xp.astype(present, xp.float64), axis=-2, keepdims=True)
    absent = (pairs - m * (m - 1)) / pairs
    here = xp.astype(present, xp.float64)
    units = units * here
    centre = xp.sum(units, axis=-2, keepdims=True) / xp.where(m > 0, m, xp.ones_like(m))
    scatter = xp.sum(((units - centre) * here) ** 2, axis=(-1, -2), keepdims=True)
    direct = absent + m * scatter / pairs
    eps = float(xp.finfo(p.S.dtype).eps)
    rounding = eps + turned
    usable = turned <= resolution
    direct_ok = 4 * rounding <= resolution * xp.sqrt(direct)

    cosines = xp.abs(units @ xp.matrix_transpose(units))
    all_pairs = xp.sum(xp.triu(cosines, k=1), axis=(-1, -2), keepdims=True) * 2
    plain = 1 - all_pairs / pairs
    plain_ok = 4 * rounding * xp.sqrt(xp.abs(plain)) + 8 * eps * n <= resolution * plain

    whole = xp.all(present, axis=-2, keepdims=True)
    one_side = whole & (xp.all(A > 0, axis=-2, keepdims=True) | xp.all(A < 0, axis=-2, keepdims=True))
    # every |t_i| <= 1 means that no aligned pair has a negative cosine
    aligned = whole & xp.all(xp.abs(A) >= F * across, axis=-2, keepdims=True)
    ln_near = _log(near, e_near)
    signed = xp.where(one_side, ln_near, _log(direct))
    absolute = xp.where(aligned, ln_near, _log(plain))
    return {
        "cosine": Measured(1 - _exp(signed), usable),
        "log_cosine_gap": Measured(signed, xp.where(one_side, near_ok, direct_ok)),
        "abs_cosine": Measured(1 - _exp(absolute), usable),
        "log_abs_cosine_gap": Measured(absolute, xp.where(aligned, near_ok, plain_ok)),
    }


def _variance(x: Array) -> Array:
    """sum_i |x_i - mean|^2 / (n - 1)."""
    xp = namespace(x)
    centred = x - xp.mean(x, axis=-2, keepdims=True)
    return xp.sum(centred * centred, axis=(-1, -2), keepdims=True) / (x.shape[-2] - 1)
