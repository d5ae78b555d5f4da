"""1 - |cos| closes like q_rank^2."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from ..defective.shared import equal

PLACE = 80

N, y1, y2, c, x1, x2, N1, N2, M2 = sympy.symbols("N y1 y2 c x1 x2 N1 N2 M2", real=True)


def second(s: Any) -> dict[str, Query]:
    x1, x2, y1, y2, c, N, N1, N2, M2 = s.Reals("x1 x2 y1 y2 c N N1 N2 M2")
    return {
        "in a plane": Query(
            {},
            x1 * x1 * y1 * y1 + x1 * x1 * y2 * y2 + x2 * x2 * y1 * y1 + x2 * x2 * y2 * y2
            == (x1 * y1 + x2 * y2) * (x1 * y1 + x2 * y2) + (x1 * y2 - x2 * y1) * (x1 * y2 - x2 * y1),
        ),
        "one pair": Query(
            {
                "c >= 0": c >= 0,
                "c <= 1": c <= 1,
                "N1 > 0": N1 > 0,
                "N >= N1": N >= N1,
                "N <= N2": N <= N2,
                "M2 = N (1 - c^2)": N - N * c * c == M2,
            },
            s.And(N1 - N1 * c <= M2, 2 * N2 - 2 * N2 * c >= M2),
        ),
    }


STATEMENT = Statement(
    "rates.cosine_gap",
    "If one real pair dominates and its v has no zero entry, the mean of 1 - |cos| over pairs of tokens "
    "(of 1 - cos at lambda = 1) closes like q_rank^2 per layer.",
    r"\frac{|x \wedge y|^2}{2 |x|^2 |y|^2} \le 1 - |\cos(x, y)| \le \frac{|x \wedge y|^2}{|x|^2 |y|^2}",
    "derived here; arXiv 2401.04301 leaves rates open",
    (
        Claim(
            "in a plane",
            {},
            [
                equal(
                    (x1**2 + x2**2) * (y1**2 + y2**2),
                    (x1 * y1 + x2 * y2) ** 2 + (x1 * y2 - x2 * y1) ** 2,
                )
            ],
            [
                Identity(
                    "Lagrange",
                    (x1**2 + x2**2) * (y1**2 + y2**2) - (x1 * y1 + x2 * y2) ** 2,
                    (x1 * y2 - x2 * y1) ** 2,
                )
            ],
            "Two rows span a plane; in an orthonormal basis of it |x|^2 |y|^2 (1 - cos^2) is the square "
            "of their minor, and in d dimensions the sum of the squares of all their 2 x 2 minors.",
        ),
        Claim(
            "one pair",
            {
                "c >= 0": c >= 0,
                "c <= 1": c <= 1,
                "N1 > 0": N1 > 0,
                "N >= N1": N1 <= N,
                "N <= N2": N2 >= N,
                "M2 = N (1 - c^2)": Eq(M2, N * (1 - c**2)),
            },
            [N1 * (1 - c) <= M2, 2 * N2 * (1 - c) >= M2],
            [
                Sign("N is positive", N, ">", plus(N - N1, N1)),
                Sign("1 + c >= 1", M2 - N1 * (1 - c), ">=", times(1 - c, plus(N - N1, N * c))),
                Sign(
                    "1 + c <= 2",
                    2 * N2 * (1 - c) - M2,
                    ">=",
                    times(1 - c, plus(2 * (N2 - N), N * (1 - c))),
                ),
            ],
            "c = |cos|, M2 the squared minor and N the product of the squared norms of two rows. Row i "
            "of X_l is rho_*^l (v_i c_** z + a part that vanishes), v_i != 0, so N/|rho_*|^(4l) is "
            "between two positive constants from some layer on; M2 summed over all pairs of rows is "
            "(sigma_1 sigma_2)^2 + ... = |C_2(X_l)|_F^2, of the order |rho_*|^(4l) q_rank^(2l) by "
            "rank_gap. At lambda = 1 all v_i are 1 and cos > 0.",
        ),
    ),
    second,
)
