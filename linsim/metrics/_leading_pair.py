"""The leading pair of singular vectors, taken off a state: X = 2**e (main alpha q + f S).

|alpha| = |q| = 1 and S q^T = 0.  One leading dyad is taken off by alternate projections; ranks and
angles come from the minors S that are left, which keep their own exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._namespace import Array, namespace, power_of_two
from .._state import EMPTY, State, log2, norm, scaled
from ._arithmetic import by_part, cast, largest

__all__ = ["Leading", "leading_pair"]

_SWEEPS = 4


@dataclass(frozen=True, eq=False)
class Leading:
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


def leading_pair(state: State) -> Leading:
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
    noise_a, noise_r, noise_b, noise_R, _ = by_part(state.noise)
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
    e_S = xp.floor(xp.where(T > EMPTY / 2, T, largest(noise_b, noise_R, noise_r)))

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
    noise_pair = largest(noise_b + L_r - L_a, noise_r + L_b - L_a, noise_a + L_b + L_r - 2 * L_a)
    noise = xp.where(pair, noise_pair, xp.where(column, noise_r, noise_b))
    # forming S rounds its terms
    one_rounding = float(np.log2(float(xp.finfo(dtype).eps)))
    noise = 1 + largest(noise, noise_R, T + one_rounding)
    # absolute error of the dyad, from either factor and from v itself
    unit_alpha = xp.where(pair, log2(norm(a)) + state.e_a, e_main)
    noise_alpha = xp.maximum(noise_a, noise_b) - unit_alpha + log2(n_q) + e_main
    noise_q = xp.maximum(noise_a, noise_r) - L_v + log2(n_alpha)
    nothing = xp.full_like(T, EMPTY)
    noise_main = largest(
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
        q = cast(main, dtype) * q + cast(f, dtype) * x
        main = norm(q)
        q = _unit(q, main, dtype)
        y = S @ xp.matrix_transpose(q)
        S = S - y * q
        alpha = cast(main, dtype) * alpha + cast(f, dtype) * y
        main = norm(alpha)
        alpha = _unit(alpha, main, dtype)
        cross = f * norm(xp.matrix_transpose(alpha) @ S)
    # singular values see the square of what is left between dyad and minors: less than a rounding
    apart = cross <= 2.0 ** (one_rounding / 2) * main
    split_off = (main > 0) & apart & (f * norm(S) <= 0.5 * main)
    limit = xp.full_like(T, 200.0)
    noise = xp.where(noise <= EMPTY / 2, zero, power_of_two(xp.floor(xp.minimum(noise - e_S, limit)) + 1))
    noise_main = xp.where(
        noise_main <= EMPTY / 2, zero, power_of_two(xp.floor(xp.minimum(noise_main - e, limit)) + 1)
    )
    # What S shares with the dyad it takes over with the dyad's error: all of it
    # where S was the larger one and the two have changed places.
    small = f * first_S < first
    share = xp.where(small, first_S / xp.where(small, first, 1.0), 1 / xp.where(small | (f == 0), 1.0, f))
    return Leading(main, alpha, q, S, e, delta, split_off, noise + share * noise_main, noise_main)


def _unit(x: Array, norm: Array, dtype: Any) -> Array:
    xp = namespace(x)
    return x / cast(xp.where(norm > 0, norm, xp.ones_like(norm)), dtype)
