"""One row or one column of modes leads: the rank collapses."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Identity
from ..dominance.shared import closing, closing_second, ratio, ratio_second

PLACE = 10

v1, v2, g1, g2, x11, x12, x21, x22 = sympy.symbols("v_1 v_2 g_1 g_2 x_11 x_12 x_21 x_22", real=True)

_RATIO = (
    "Divided by the largest modulus to the power l, X_l is the leading part, of norm at least P > 0 at every "
    "layer, plus a rest of norm at most B q^l; power = q^l. "
)

_ENTRIES = {
    "x_11 = v_1 g_1": Eq(x11, v1 * g1),
    "x_12 = v_1 g_2": Eq(x12, v1 * g2),
    "x_21 = v_2 g_1": Eq(x21, v2 * g1),
    "x_22 = v_2 g_2": Eq(x22, v2 * g2),
}


def second(z: Any) -> dict[str, Query]:
    x11, x12, x21, x22, v1, v2, g1, g2 = z.Reals("x_11 x_12 x_21 x_22 v_1 v_2 g_1 g_2")
    entries = {
        "x_11 = v_1 g_1": x11 - g1 * v1 == 0,
        "x_12 = v_1 g_2": x12 - g2 * v1 == 0,
        "x_21 = v_2 g_1": x21 - g1 * v2 == 0,
        "x_22 = v_2 g_2": x22 - g2 * v2 == 0,
    }
    return {
        "every minor": Query(entries, x11 * x22 - x12 * x21 == 0),
        "sigma_2 / sigma_1": ratio_second(z),
        "the limit": closing_second(z),
    }


STATEMENT = Statement(
    "limit.rank_one",
    "If the dominant set lies inside one row i or one column j (one eigenvector of A or one of H; ties and "
    "phases of the other may be many), the leading part of X_l has rank 1 at every layer, and "
    "sigma_2/sigma_1 -> 0: the rank collapses.",
    r"D \subset \{i\} \times \{1..d\} \;\Longrightarrow\; "
    r"|\rho|^{-l} X_l = v_i g_l^T + O(q^l),\quad \frac{\sigma_2}{\sigma_1} \le \frac{B q^l}{P - B q^l} \to 0",
    "rank collapse for one dominant pair: arXiv 2401.04301; ties and phases derived here",
    (
        Claim(
            "every minor",
            _ENTRIES,
            [Eq(x11 * x22, x12 * x21)],
            [
                Identity(
                    "the two products are one product in two orders",
                    x11 * x22 - x12 * x21 + 1,
                    sympy.Integer(1),
                )
            ],
            "D inside row i: lambda_i is real, since with (lambda, mu) also the conjugate pair is dominant, "
            "so v = v_i is real and the leading part is v g^T, with g real: the sum over j of the modes of "
            "D, each z_j times its coefficient and its phase at this layer, whatever these are. All 2x2 "
            "minors of v g^T vanish: the four entries are any two rows and any two columns. One column j is "
            "the transpose.",
        ),
        ratio(
            "sigma_2 / sigma_1",
            _RATIO
            + "P > 0: g^T w_j is c_ij times a phase, so |g| >= |c_ij| / |w_j|, and the leading part has norm "
            "|v| |g|. Singular values move by at most the norm of the rest (Weyl): h = sigma_2 <= 0 + B q^l "
            "and p = sigma_1 >= P - Q B q^l with Q = 1.",
        ),
        closing("the limit", "As in dominance.global, where Bernoulli's inequality is proved."),
    ),
    second,
)
