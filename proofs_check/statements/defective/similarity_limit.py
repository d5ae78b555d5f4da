"""A Jordan block of attention: token diversity tends to that of the eigenvector like 1/l.

>>> SLOPE
(2*G1*P12 - 2*G12*P1)/(G1**2*k*mu)
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Ne, oo

from ...statement import Claim, Query, Statement
from ...steps import Sign, Tends, plus, times
from .shared import divided, divided_second, equal, quotient

PLACE = 30

c, k, mu, depth, P1, P12, P2, G1, G12, G2, J = sympy.symbols("c k mu l P1 P12 P2 G1 G12 G2 J", real=True)
K = sympy.Symbol("K", real=True)

_W = c + depth * k * mu
_BELOW = _W**2 * G1 + 2 * _W * G12 + G2
_ABOVE = _W**2 * P1 + 2 * _W * P12 + P2
#: limit of l (t_div - its limit)
SLOPE = 2 * (P12 * G1 - P1 * G12) / (k * mu * G1**2)
_GRAM = {"k != 0": Ne(k, 0), "mu != 0": Ne(mu, 0), "G1 > 0": G1 > 0}
_m_not_zero = Sign("the coefficient of l^2 below is not zero", k**2 * mu**2 * G1, ">")
_DISTANCE = depth * (2 * _W * J + K) / (G1 * _BELOW)


def second(s: Any) -> dict[str, Query]:
    b, k, mu = s.Reals("b k mu")
    c, P1, P12, P2, G1, G12, G2, J, K = s.Reals("c P1 P12 P2 G1 G12 G2 J K")
    t, m, limit = s.Reals("t m A")  # m = k mu
    given = {"k != 0": k != 0, "mu != 0": mu != 0, "G1 > 0": G1 > 0}
    lead = k * mu * k * mu * G1 > 0
    w = m + c * t  # t (c + l m) with t = 1/l
    below = w * w * G1 + 2 * t * w * G12 + t * t * G2
    above = w * w * P1 + 2 * t * w * P12 + t * t * P2
    of_below = c * (m + w) * G1 + 2 * w * G12 + t * G2
    of_above = c * (m + w) * P1 + 2 * w * P12 + t * P2
    return divided_second(s) | {
        "limit": Query(
            given,
            s.And(
                lead,
                below == m * m * G1 + t * of_below,
                above == m * m * P1 + t * of_above,
                s.Implies(limit * G1 == P1, m * m * G1 * limit == m * m * P1),
                quotient(s),
            ),
            same_symbols=False,
        ),
        # over l^2: (above G1 - P1 below) / (G1 below), times l
        "like 1/l": Query(
            given
            | {
                "P12 G1 - P1 G12 = J": P12 * G1 == P1 * G12 + J,
                "P2 G1 - P1 G2 = K": P2 * G1 == P1 * G2 + K,
                "J != 0": J != 0,
            },
            s.And(
                k * mu * J != 0,
                lead,
                above * G1 - P1 * below == t * (2 * w * J + t * K),
                2 * w * J + t * K == 2 * m * J + t * (2 * c * J + K),
                below * G1 == m * m * G1 * G1 + t * of_below * G1,
                s.Implies(limit * m * G1 * G1 == 2 * J, m * m * G1 * G1 * limit == 2 * m * J),
                quotient(s),
            ),
            same_symbols=False,
        ),
        "without a mean": Query(
            given | {"P1 = G1": P1 == G1, "P12 = G12": P12 == G12, "G2 - P2 = K": G2 == P2 + K},
            s.And(
                lead,
                below - above == t * t * K,
                below == m * m * G1 + t * of_below,
                s.Implies(limit * m * m * G1 == K, K - limit * (m * m * G1 + t * b) == t * (0 - limit * b)),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "defective.similarity_limit",
    "A dominant Jordan block of size two of A at lambda != 1, mu simple and not zero: token diversity "
    "tends to |Pi_perp v|^2/|v|^2, v the eigenvector, like 1/l in general; where Pi v = 0, as l^-2.",
    r"l\left(t_{\mathrm{div}} - \tfrac{\|\Pi_\perp v_1\|^2}{\|v_1\|^2}\right) \to "
    r"\frac{2\rho}{\mu}\,\frac{\langle\Pi_\perp v_1, \Pi_\perp v_2\rangle\|v_1\|^2 - \|\Pi_\perp "
    r"v_1\|^2\langle v_1, v_2\rangle}{\|v_1\|^4}",
    "derived here",
    (
        divided(
            "The part of X is (a v_1 + b v_2) z, and A (a v_1 + b v_2) = (lambda a + b) v_1 + lambda b "
            "v_2: a layer maps (a, b) to (rho a + mu b, rho b). With w = mu b and y = a + l k mu b, X_l "
            "= rho^l ((a + l k mu b) v_1 + b v_2) z by induction. Divided by b, not zero for generic "
            "X_0, and with c = a/b, this is along (c + l k mu) v_1 + v_2."
        ),
        Claim(
            "limit",
            _GRAM,
            [Tends("the leading coefficients", _ABOVE / _BELOW, depth, oo, P1 / G1)],
            [_m_not_zero, Tends("the leading coefficients", _ABOVE / _BELOW, depth, oo, P1 / G1)],
            "t_div = |Pi_perp x|^2/|x|^2 with x = w v_1 + v_2, w = c + l k mu: a quotient of quadratic "
            "polynomials of w with P1 = |Pi_perp v_1|^2, P12 = <Pi_perp v_1, Pi_perp v_2>, P2 = "
            "|Pi_perp v_2|^2 and G1, G12, G2 the same without Pi_perp. Modes of smaller |rho| add what "
            "vanishes geometrically.",
        ),
        Claim(
            "like 1/l",
            _GRAM
            | {
                "P12 G1 - P1 G12 = J": Eq(P12 * G1 - P1 * G12, J),
                "P2 G1 - P1 G2 = K": Eq(P2 * G1 - P1 * G2, K),
                "J != 0": Ne(J, 0),
            },
            [
                equal(_ABOVE * G1 - P1 * _BELOW, 2 * _W * J + K),
                Tends("the distance", _DISTANCE, depth, oo, 2 * J / (k * mu * G1**2)),
                Ne(2 * J / (k * mu * G1**2), 0),
            ],
            [
                Sign("the leading coefficient below", k**2 * mu**2 * G1**2, ">"),
                Sign(
                    "what is of degree two cancels",
                    _ABOVE * G1 - P1 * _BELOW - 2 * _W * J - K,
                    "==",
                    plus(times(2 * _W, P12 * G1 - P1 * G12 - J), P2 * G1 - P1 * G2 - K),
                ),
                Sign("the limit is not zero", 2 * J / (k * mu * G1**2), "!="),
                Tends("the distance", _DISTANCE, depth, oo, 2 * J / (k * mu * G1**2)),
            ],
            "t_div - P1/G1 is the difference shown first over G1 |x|^2, and l times it is what has the "
            "limit, ``SLOPE``; k mu = mu/rho. The limit is zero only if P12 G1 = P1 G12.",
        ),
        Claim(
            "without a mean",
            _GRAM | {"P1 = G1": Eq(P1, G1), "P12 = G12": Eq(P12, G12), "G2 - P2 = K": Eq(G2 - P2, K)},
            [
                equal(_BELOW - _ABOVE, K),
                Tends("token similarity", depth**2 * K / _BELOW, depth, oo, K / (k**2 * mu**2 * G1)),
            ],
            [
                Sign("only the last terms differ", _BELOW - _ABOVE - K, "==", G2 - P2 - K),
                _m_not_zero,
                Tends("over a square", depth**2 * K / _BELOW, depth, oo, K / (k**2 * mu**2 * G1)),
            ],
            "Pi v_1 = 0 makes P1 = G1 and <Pi v_1, Pi v_2> = G12 - P12 = 0; K = |Pi v_2|^2, and t_sim = "
            "1 - t_div is K over |x|^2. If that is zero as well (A doubly stochastic), the block leaves "
            "no mean at all and t_sim closes geometrically.",
        ),
    ),
    second,
)
