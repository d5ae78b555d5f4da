"""Token diversity closes like q_tok^2, between explicit multiples."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import (
    SIDES,
    bernoulli,
    d_is_positive,
    deep_enough,
    leading,
    leading_second,
    n_is_positive,
    sides_second,
    slope_claims,
    slope_second,
)

PLACE = 10

d1, d2, n1, n2, D, N, Q, t = sympy.symbols("d1 d2 n1 n2 D N Q t", real=True)


def second(s: Any) -> dict[str, Query]:
    D, N, Q, t, d1, d2, n1, n2 = s.Reals("D N Q t d1 d2 n1 n2")
    return (
        leading_second(s)
        | slope_second(s, 2)
        | {
            "two sides": Query(
                sides_second(s) | {"t N^2 = Q^2 D^2": (N * N) * t == (Q * D) * (Q * D)},
                s.And(
                    (d1 * Q) * (d1 * Q) <= (3 * n2) * (3 * n2) * t, n1 * n1 * t <= (3 * d2 * Q) * (3 * d2 * Q)
                ),
            )
        }
    )


_token = Claim(
    "two sides",
    SIDES | {"t N^2 = Q^2 D^2": Eq(t * N**2, Q**2 * D**2)},
    [9 * n2**2 * t >= d1**2 * Q**2, n1**2 * t <= 9 * d2**2 * Q**2],
    [
        n_is_positive,
        d_is_positive,
        Sign("t is not negative", t, ">=", plus(t * N**2 - Q**2 * D**2, Q**2 * D**2) / N**2),
        Sign("N from above", 9 * n2**2 - 4 * N**2, ">=", times(3 * n2 - 2 * N, plus(3 * n2 - 2 * N, 4 * N))),
        Sign("N from below", 4 * N**2 - n1**2, ">=", times(2 * N - n1, plus(2 * N, n1))),
        Sign("D from above", 9 * d2**2 - 4 * D**2, ">=", times(3 * d2 - 2 * D, plus(3 * d2 - 2 * D, 4 * D))),
        Sign("D from below", 4 * D**2 - d1**2, ">=", times(2 * D - d1, plus(2 * D, d1))),
        Sign(
            "t from below",
            9 * n2**2 * t - d1**2 * Q**2,
            ">=",
            plus(
                times(t, 9 * n2**2 - 4 * N**2),
                times(4, t * N**2 - Q**2 * D**2),
                times(Q**2, 4 * D**2 - d1**2),
            ),
        ),
        Sign(
            "t from above",
            9 * d2**2 * Q**2 - n1**2 * t,
            ">=",
            plus(
                times(t, 4 * N**2 - n1**2),
                -times(4, t * N**2 - Q**2 * D**2),
                times(Q**2, 9 * d2**2 - 4 * D**2),
            ),
        ),
    ],
    "D = |Pi_perp X_l|/r^l, r > 0, and N = |X_l|/R^l, each within its leading part by the claim before "
    "(Pi_perp v_i, lambda_i != 1, stay linearly independent, because no combination of these v_i is "
    "constant); Q = q_tok^l, t = t_div = Q^2 D^2/N^2. With one leading mode each, d1 = d2 and n1 = n2 and t "
    "is within a factor 9 of (d1/n1)^2 q_tok^(2l).",
)

STATEMENT = Statement(
    "rates.token_diversity",
    "If one pair with lambda = 1 dominates, token diversity closes like q_tok^2 per layer, q_tok = "
    "max_(lambda_i != 1, j) |rho_ij| / max_j |rho_1j| > 0: from an explicit layer on it is between "
    "explicit multiples of q_tok^(2l).",
    r"\frac{d_1^2}{9 n_2^2}\, q_{\mathrm{tok}}^{2l} \le t_{\mathrm{div}} \le \frac{9 d_2^2}{n_1^2}\, "
    r"q_{\mathrm{tok}}^{2l},\quad \tfrac1l \ln t_{\mathrm{div}} \to 2 \ln q_{\mathrm{tok}}",
    "derived here; arXiv 2401.04301 leaves rates open",
    (
        bernoulli,
        deep_enough,
        leading,
        _token,
        *slope_claims(
            2,
            "L = ln t_div, m = ln q_tok, k0 and k1 the logarithms of the two constants; the logarithm "
            "is increasing and ln(c q^(2l)) = ln c + 2 l ln q.",
        ),
    ),
    second,
)
