"""A block that ties in modulus with a simple pair: token diversity closes like a power of l."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Ne, Rational, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends
from .shared import equal, quotient

PLACE = 80

a, b, e, f, s, lam, depth, c1, c2, c3, e1 = sympy.symbols("a b e f s lambda l c1 c2 c3 e1", real=True)
e2, e3, power, turned = sympy.symbols("e2 e3 P S", real=True)

_TIED_H = Matrix([[2, 1, 0], [0, 2, 0], [0, 0, -4]])
_TIED_A = Matrix([[1, 3], [3, 1]]) / 4
_MEAN_ROW = Matrix([[power * c1, power * (c2 + depth * c1 / 3), turned * c3]])
_MEAN_NEXT = Matrix([[3 * power * c1, 3 * power * (c2 + (depth + 1) * c1 / 3), -3 * turned * c3]])
_TIED_SUM = c1**2 + (c2 + depth * c1 / 3) ** 2 + c3**2 + e3**2
_TIED_WHOLE = power**2 * (c1**2 + (c2 + depth * c1 / 3) ** 2 + e3**2) + turned**2 * c3**2
_ANY_SUM = (a + depth * s * b) ** 2 + f


def second(s: Any) -> dict[str, Query]:
    c1, c2, c3, e1, e2, e3, power, turned, depth = s.Reals("c1 c2 c3 e1 e2 e3 P S l")
    tau, limit, a, b, shift, e, f, lam = s.Reals("tau A a b s e f lambda")
    second = 3 * c2 + depth * c1  # three times the second coefficient
    # 9 tau^2 times the sum of squares, tau = 1/l
    in_tau = 9 * tau * tau * (c1 * c1 + c3 * c3 + e3 * e3) + (3 * c2 * tau + c1) * (3 * c2 * tau + c1)
    of_tau = 6 * c1 * c2 + 9 * tau * (c1 * c1 + c2 * c2 + c3 * c3 + e3 * e3)
    return {
        "the mean": Query(
            {"lambda = 1": lam == 1},
            s.And(
                power * c1 + 2 * lam * power * c1 == 3 * power * c1,
                power * second + lam * (3 * power * c1 + 2 * power * second) == 3 * power * (second + c1),
                turned * c3 - 4 * lam * turned * c3 == 0 - 3 * turned * c3,
            ),
        ),
        "the rest": Query(
            {"lambda = -1/2": 2 * lam + 1 == 0},
            s.And(
                e1 + 2 * lam * e1 == 0,
                2 * e2 + 2 * lam * (e1 + 2 * e2) == 0 - e1,
                e2 + 2 * lam * e2 == 0,
                e3 - 4 * lam * e3 == 3 * e3,
            ),
        ),
        "same size": Query(
            {"S^2 = P^2": turned * turned == power * power},
            power * power * (9 * c1 * c1 + second * second + 9 * e3 * e3) + 9 * turned * c3 * turned * c3
            == power * power * (9 * c1 * c1 + second * second + 9 * e3 * e3 + 9 * c3 * c3),
        ),
        "powers of l": Query(
            {"c1 != 0": c1 != 0},
            s.And(
                c1 * c1 > 0,
                in_tau == c1 * c1 + tau * of_tau,
                s.Implies(
                    limit * c1 * c1 == 9 * e3 * e3,
                    9 * e3 * e3 - limit * (c1 * c1 + tau * f) == tau * (0 - limit * f),
                ),
                quotient(s),
            ),
            same_symbols=False,
        ),
        "any such tie": Query(
            {"s != 0": shift != 0, "b != 0": b != 0},
            s.And(
                shift * b * shift * b > 0,
                (a * tau + shift * b) * (a * tau + shift * b) + f * tau * tau
                == shift * b * shift * b + tau * (2 * a * shift * b + tau * (a * a + f)),
                s.Implies(limit * c1 == e * e, e * e - limit * (c1 + tau * f) == tau * (0 - limit * f)),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "defective.tied",
    "A Jordan block of H at a dominant pair with lambda = 1 that ties in modulus with a simple pair at "
    "another lambda: tokens converge, and token diversity closes like a power of l, l^-2 for a block of "
    "size two.",
    r"\lambda \in \{1, -\tfrac12\},\; H = J_2(2) \oplus (-4):\quad l^2\, t_{\mathrm{div}} \to 9\, "
    r"e_3^2/c_1^2",
    "derived here",
    (
        Claim(
            "the mean",
            {"lambda = 1": Eq(lam, 1)},
            [
                equal(left, right)
                for left, right in zip(_MEAN_ROW + lam * _MEAN_ROW * _TIED_H, _MEAN_NEXT, strict=True)
            ],
            [Identity("c <- c (1 + H)", _MEAN_ROW + lam * _MEAN_ROW * _TIED_H, _MEAN_NEXT)],
            "Two tokens, A = (1, 3; 3, 1)/4 with eigenvalues 1 and -1/2 at (1,1) and (1,-1): X_l = "
            "(1,1)^T c_l + (1,-1)^T e_l, a layer is c <- c (1 + H) and e <- e (1 - H/2). With P = 3^l, "
            "S = (-3)^l, c_l = (P c1, P (c2 + l c1/3), S c3) by induction from l = 0.",
        ),
        Claim(
            "the rest",
            {"lambda = -1/2": Eq(lam, -Rational(1, 2))},
            [
                equal(e1 + lam * 2 * e1, 0),
                equal(e2 + lam * (e1 + 2 * e2), -e1 / 2),
                equal(e2 + lam * 2 * e2, 0),
                equal(e3 - lam * 4 * e3, 3 * e3),
            ],
            [
                Identity(
                    "the eigenvalues of A",
                    _TIED_A * Matrix([[1, 1], [1, -1]]),
                    Matrix([[1, 1], [1, -1]]) * sympy.diag(1, lam),
                ),
                Identity(
                    "e <- e (1 - H/2)",
                    Matrix([[e1, e2, e3]]) * (sympy.eye(3) + lam * _TIED_H),
                    Matrix([[0, -e1 / 2, 3 * e3]]),
                ),
                Identity(
                    "and once more",
                    Matrix([[0, -e1 / 2, 3 * e3]]) * (sympy.eye(3) + lam * _TIED_H),
                    Matrix([[0, 0, 9 * e3]]),
                ),
            ],
            "1 - H/2 has a nilpotent block beside 3: from the second layer on e_l = (0, 0, 3^l e3).",
        ),
        Claim(
            "same size",
            {"S^2 = P^2": Eq(turned**2, power**2)},
            [equal(_TIED_WHOLE, power**2 * _TIED_SUM)],
            [
                Sign(
                    "(-3)^l and 3^l have one modulus",
                    _TIED_WHOLE - power**2 * _TIED_SUM,
                    "==",
                    c3**2 * (turned**2 - power**2),
                )
            ],
            "(1,1) and (1,-1) are orthogonal and of one length: t_div = |e_l|^2/(|c_l|^2 + |e_l|^2), "
            "where 9^l cancels: t_div = e3^2/(c1^2 + (c2 + l c1/3)^2 + c3^2 + e3^2) for l >= 2.",
        ),
        Claim(
            "powers of l",
            {"c1 != 0": Ne(c1, 0)},
            [Tends("l^-2", depth**2 * e3**2 / _TIED_SUM, depth, oo, 9 * e3**2 / c1**2)],
            [
                Sign("the coefficient of l^2", c1**2 / 9, ">"),
                Tends("l^-2", depth**2 * e3**2 / _TIED_SUM, depth, oo, 9 * e3**2 / c1**2),
            ],
            "c1 and e3 are not zero for generic X_0.",
        ),
        Claim(
            "any such tie",
            {"s != 0": Ne(s, 0), "b != 0": Ne(b, 0)},
            [Tends("l^-2", depth**2 * e**2 / _ANY_SUM, depth, oo, e**2 / (s * b) ** 2)],
            [
                Sign("the coefficient of l^2", (s * b) ** 2, ">"),
                Tends("l^-2", depth**2 * e**2 / _ANY_SUM, depth, oo, e**2 / (s * b) ** 2),
            ],
            "In general the mean is R^l (a + l s b, b, ...) with s = 1/rho by chain_weights, the "
            "diverse part R^l e with e the norm of the tied modes (between two positive constants if "
            "several turn against each other), and f gathers the squares that do not grow. A block of "
            "size q gives l^(-2(q-1)).",
        ),
    ),
    second,
)
