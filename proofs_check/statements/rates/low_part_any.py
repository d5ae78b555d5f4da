"""... but not for every attention."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Rational, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends
from ..defective.shared import equal, quotient

PLACE = 40

depth, l1, l2, u1, P1, P2, P3 = sympy.symbols("l lambda1 lambda2 mu1 P1 P2 P3", real=True)

_LOW_A = Matrix([[1, 4, 1], [4, 1, 1], [2, 2, 2]]) / 6
_V = (Matrix([1, 1, 1]), Matrix([1, -1, 0]), Matrix([1, 1, -4]))
_LOW_X = P1 * _V[0] + P2 * _V[1] + P3 * _V[2]
_LOW_NEXT = P1 * _V[0] / 2 + 5 * P2 * _V[1] / 4 + 11 * P3 * _V[2] / 12
_MEAN = sum(_LOW_X) / 3
_LOW_RATIO = 3 * (Rational(6, 11) ** depth - Rational(2, 3)) ** 2 / (2 + 50 * Rational(121, 225) ** depth / 3)


def second(s: Any) -> dict[str, Query]:
    P1, P2, P3, x, y, w, T, p, depth = s.Reals("P1 P2 P3 x y w T p l")
    l1, l2, m1 = s.Reals("lambda1 lambda2 mu1")
    first, second, third = P1 + P2 + P3, P1 - P2 + P3, P1 - 4 * P3
    total = first + second + third
    return {
        # twelve times a layer
        "one more layer": Query(
            {"mu1 = -1/2": m1 + m1 == -1},
            s.And(
                12 * first + 2 * m1 * (first + 4 * second + third) == 6 * P1 + 15 * P2 + 11 * P3,
                12 * second + 2 * m1 * (4 * first + second + third) == 6 * P1 - 15 * P2 + 11 * P3,
                12 * third + 4 * m1 * total == 6 * P1 - 44 * P3,
            ),
        ),
        # three times the distances from the mean; the constant part drops out
        "parts": Query(
            {},
            (3 * P2 + 5 * P3) * (3 * P2 + 5 * P3)
            + (3 * P2 - 5 * P3) * (3 * P2 - 5 * P3)
            + (3 * -4 * P3 + 2 * P3) * (3 * -4 * P3 + 2 * P3)
            == 18 * P2 * P2 + 150 * P3 * P3,
        ),
        # x = (6/11)^l, y = (121/225)^l; 3 (x - 2/3)^2 over 2 + 50 y/3 against 2/3
        "ratio": Query(
            {},
            s.And(
                9 * 3 * (x - s.RealVal(2) / 3) * (x - s.RealVal(2) / 3) - 6 * (2 + 50 * y / 3)
                == 27 * x * x - 36 * x - 100 * y,
                s.Implies(s.And(y > 0), 2 + 50 * y / 3 > 2),
                s.Implies(s.And(p > 0, 1 + depth * p <= T, depth > 0, w > 0, w * T == 1), w * depth * p < 1),
                quotient(s),
            ),
            same_symbols=False,
        ),
        "moduli": Query(
            {"mu1 = -1/2": m1 + m1 == -1, "lambda1 = -1/2": l1 + l1 == -1, "lambda2 = 1/6": 6 * l2 == 1},
            s.And(
                (1 + m1) * (1 + m1) < (1 + m1 * l2) * (1 + m1 * l2),
                (1 + m1 * l2) * (1 + m1 * l2) < (1 + m1 * l1) * (1 + m1 * l1),
            ),
        ),
    }


STATEMENT = Statement(
    "rates.low_part_any",
    "If one pair at another lambda dominates and Pi v = 0 for its vector, LFC/HFC closes with the factor "
    "max_j |rho_1j| / |rho_*|, whatever A is.",
    r"\left(\mathrm{LFC}/\mathrm{HFC}\right)^{1/l} \to \max_j |\rho_{1j}| / |\rho_*|",
    "derived here",
    (
        Claim(
            "one more layer",
            {"mu1 = -1/2": Eq(u1, -Rational(1, 2))},
            [
                equal(left, right)
                for left, right in zip(_LOW_X + u1 * _LOW_A * _LOW_X, _LOW_NEXT, strict=True)
            ],
            [
                Identity("rows sum to 1", _LOW_A * _V[0], _V[0]),
                Identity("lambda = -1/2, and v has mean zero", _LOW_A * _V[1], -_V[1] / 2),
                Identity("lambda = 1/6, and v has not", _LOW_A * _V[2], _V[2] / 6),
                Identity("a layer", _LOW_X + u1 * _LOW_A * _LOW_X, _LOW_NEXT),
            ],
            "rho = 1/2, 5/4, 11/12 at lambda = 1, -1/2, 1/6; X_0 = (3, 1, -3) is the sum of the three "
            "vectors, so X_l has the coefficients P1 = (1/2)^l, P2 = (5/4)^l, P3 = (11/12)^l by "
            "induction. The pair at lambda = -1/2 dominates alone.",
        ),
        Claim(
            "parts",
            {},
            [
                equal(9 * sum((entry - _MEAN) ** 2 for entry in _LOW_X), 18 * P2**2 + 150 * P3**2),
            ],
            [
                Identity("the mean", _MEAN, P1 - Rational(2, 3) * P3),
                Identity(
                    "the rest: (1,-1,0) and (5,5,-10)/3 are orthogonal",
                    sum((entry - _MEAN) ** 2 for entry in _LOW_X),
                    2 * P2**2 + Rational(50, 3) * P3**2,
                ),
            ],
            "LFC^2 = 3 (P1 - 2 P3/3)^2 and HFC^2 = 2 P2^2 + 50 P3^2/3.",
        ),
        Claim(
            "ratio",
            {},
            [Tends("the factor is 11/15", _LOW_RATIO, depth, oo, Rational(2, 3))],
            [
                Tends("P1/P3 vanishes", Rational(6, 11) ** depth, depth, oo, 0),
                Tends("(P3/P2)^2 vanishes", Rational(121, 225) ** depth, depth, oo, 0),
                Tends("the factor is 11/15", _LOW_RATIO, depth, oo, Rational(2, 3)),
            ],
            "(15/11)^(2l) (LFC/HFC)^2 is this quotient: divide by P3^2 above, by P2^2 below.",
        ),
        Claim(
            "moduli",
            {
                "mu1 = -1/2": Eq(u1, -Rational(1, 2)),
                "lambda1 = -1/2": Eq(l1, -Rational(1, 2)),
                "lambda2 = 1/6": Eq(l2, Rational(1, 6)),
            },
            [(1 + u1) ** 2 < (1 + l2 * u1) ** 2, (1 + l2 * u1) ** 2 < (1 + l1 * u1) ** 2],
            [
                Sign("1/2 is less than 11/12", (1 + l2 * u1) ** 2 - (1 + u1) ** 2, ">", Rational(85, 144)),
                Sign(
                    "11/12 is less than 5/4",
                    (1 + l1 * u1) ** 2 - (1 + l2 * u1) ** 2,
                    ">",
                    Rational(104, 144),
                ),
            ],
            "The pair at lambda = -1/2 dominates, and max_j |rho_1j|/|rho_*| = (1/2)/(5/4) is less than "
            "the factor (11/12)/(5/4) = 11/15 above.",
        ),
    ),
    second,
    counterexample=r"A = \tfrac16\begin{pmatrix}1&4&1\\4&1&1\\2&2&2\end{pmatrix},\; H = (-\tfrac12),\; "
    r"X_0 = (3,1,-3)^\top:\; (\tfrac{15}{11})^{l}\,\mathrm{LFC}/\mathrm{HFC} \to \sqrt{2/3}",
)
