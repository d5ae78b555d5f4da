"""LFC/HFC where another mode dominates and columns sum to 1 as well."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from ..defective.shared import equal
from .shared import (
    SIDES,
    bernoulli,
    d_is_positive,
    deep_enough,
    leading,
    leading_second,
    n_is_positive,
    sides_second,
)

PLACE = 30

d1, d2, n1, n2, D, N, Q, h, a11, a12, a21 = sympy.symbols("d1 d2 n1 n2 D N Q h a11 a12 a21", real=True)
a22, y1, y2 = sympy.symbols("a22 y1 y2", real=True)


def second(s: Any) -> dict[str, Query]:
    D, N, Q, h, d1, d2, n1, n2 = s.Reals("D N Q h d1 d2 n1 n2")
    a11, a12, a21, a22, y1, y2 = s.Reals("a11 a12 a21 a22 y1 y2")
    return leading_second(s) | {
        "the mean is kept": Query(
            {"a11 + a21 = 1": a21 == 1 - a11, "a12 + a22 = 1": a22 == 1 - a12},
            (a11 + a21) * y1 + (a12 + a22) * y2 == y1 + y2,
        ),
        "two sides": Query(
            sides_second(s) | {"h N = Q D": N * h == D * Q, "Q > 0": Q > 0},
            s.And(3 * n2 * h >= d1 * Q, n1 * h <= 3 * d2 * Q),
        ),
    }


STATEMENT = Statement(
    "rates.low_part",
    "If one pair at another lambda dominates, Pi v = 0 for its vector and the columns of A sum to 1 as "
    "well (as for every symmetric A), LFC/HFC closes with the factor max_j |rho_1j| / |rho_*| per layer.",
    r"\frac{d_1}{3 n_2}\, q^l \le \mathrm{LFC}/\mathrm{HFC} \le \frac{3 d_2}{n_1}\, q^l,\quad "
    r"q = \max_j |\rho_{1j}| / |\rho_*|",
    "derived here; arXiv 2401.04301 leaves rates open",
    (
        Claim(
            "the mean is kept",
            {"a11 + a21 = 1": Eq(a11 + a21, 1), "a12 + a22 = 1": Eq(a12 + a22, 1)},
            [equal(a11 * y1 + a12 * y2 + a21 * y1 + a22 * y2, y1 + y2)],
            [
                Sign(
                    "each token is given away once",
                    a11 * y1 + a12 * y2 + a21 * y1 + a22 * y2 - y1 - y2,
                    "==",
                    plus(y1 * (a11 + a21 - 1), y2 * (a12 + a22 - 1)),
                )
            ],
            "1^T A = 1^T, written out for two tokens; the sum over n columns is the same. So Pi A = Pi "
            "and Pi X_l = Pi X_0 (1 + H)^l, whose modes are the rho_1j exactly.",
        ),
        bernoulli,
        deep_enough,
        leading,
        Claim(
            "two sides",
            SIDES | {"h N = Q D": Eq(h * N, Q * D), "Q > 0": Q > 0},
            [3 * n2 * h >= d1 * Q, n1 * h <= 3 * d2 * Q],
            [
                n_is_positive,
                d_is_positive,
                Sign("h is positive", h, ">", plus(h * N - Q * D, Q * D) / N),
                Sign(
                    "from below",
                    3 * n2 * h - d1 * Q,
                    ">=",
                    plus(times(h, 3 * n2 - 2 * N), times(2, h * N - Q * D), times(Q, 2 * D - d1)),
                ),
                Sign(
                    "from above",
                    3 * d2 * Q - n1 * h,
                    ">=",
                    plus(times(h, 2 * N - n1), -times(2, h * N - Q * D), times(Q, 3 * d2 - 2 * D)),
                ),
            ],
            "D = |Pi X_l|/S^l with S = max_j |rho_1j| > 0, N = |Pi_perp X_l|/|rho_*|^l, h = LFC/HFC, Q "
            "= (S/|rho_*|)^l. For a general A with Pi v = 0 the same holds with S the largest |rho_ij| "
            "over all pairs with Pi v_i != 0, when it is attained once.",
        ),
    ),
    second,
)
