"""... but not always: with 1/l absent, l^-2 is left."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Rational, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from .shared import equal, near

PLACE = 40

mu, depth, t_sim = sympy.symbols("mu l t", real=True)

_SQUARE_A = Matrix([[3, 11, 18], [9, 1, 22], [10, 10, 12]]) / 32
_SQUARE_X = Matrix([2 - depth / 10, depth / 10, -1])
_SQUARE_SIZE = sum(entry**2 for entry in _SQUARE_X)


def second(s: Any) -> dict[str, Query]:
    depth, t, eps, w, mu = s.Reals("l t eps w mu")
    # ten times the state: (20 - l, l, -10); 1280 times a layer
    x, y, z = 20 - depth, depth, s.RealVal(-10)
    return {
        "one more layer": Query(
            {"mu = -1": mu + 1 == 0},
            s.And(
                4 * (32 * x + mu * (3 * x + 11 * y + 18 * z)) == 160 * (19 - depth),
                4 * (32 * y + mu * (9 * x + y + 22 * z)) == 160 * (1 + depth),
                4 * (32 * z + mu * (10 * x + 10 * y + 12 * z)) == 160 * z,
            ),
        ),
        "token similarity": Query(
            {"t |X|^2 = |Pi X|^2": 3 * t * (x * x + y * y + z * z) == (x + y + z) * (x + y + z)},
            3 * t * (depth * depth - 20 * depth + 250) == 50,
        ),
        # 3 l^2 t is within eps of 50, and 3 l t below any eps
        "faster": Query(
            {},
            s.And(
                depth * depth - 20 * depth + 250 > 0,
                s.Implies(
                    s.And(
                        w * (depth * depth - 20 * depth + 250) == 50, depth >= 40, depth * eps > 2000, eps > 0
                    ),
                    s.And(near(s, w * depth * depth, s.RealVal(50), eps), w * depth < eps),
                ),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "defective.similarity_limit_square",
    "A dominant Jordan block of size two of A makes token diversity tend to its limit like 1/l, whatever "
    "A and X_0.",
    r"l\,(t_{\mathrm{div}} - \lim t_{\mathrm{div}}) \to C \ne 0",
    "derived here",
    (
        Claim(
            "one more layer",
            {"mu = -1": Eq(mu, -1)},
            [
                equal(left, right)
                for left, right in zip(
                    _SQUARE_X + mu * _SQUARE_A * _SQUARE_X,
                    Rational(5, 4) * _SQUARE_X.subs(depth, depth + 1),
                    strict=True,
                )
            ],
            [
                Identity("rows of A sum to 1", _SQUARE_A * Matrix([1, 1, 1]), Matrix([1, 1, 1])),
                Identity(
                    "v_1 has the eigenvalue -1/4", _SQUARE_A * Matrix([1, -1, 0]), -Matrix([1, -1, 0]) / 4
                ),
                Identity(
                    "v_2 completes the block",
                    _SQUARE_A * Matrix([1, 1, -1]),
                    -Matrix([1, 1, -1]) / 4 + Matrix([1, -1, 0]) / 8,
                ),
                Identity(
                    "X_0 holds all three", Matrix([3, 1, 0]), Matrix([1, 1, 1]) + _SQUARE_X.subs(depth, 0)
                ),
                Identity(
                    "a layer",
                    _SQUARE_X + mu * _SQUARE_A * _SQUARE_X,
                    Rational(5, 4) * _SQUARE_X.subs(depth, depth + 1),
                ),
            ],
            "mu = -1: rho = 0 at lambda = 1, so the constant part is gone after one layer, and rho = "
            "5/4 at the block of size two at lambda = -1/4. X_l = (5/4)^l (2 - l/10, l/10, -1) for l >= "
            "1 by induction.",
        ),
        Claim(
            "token similarity",
            {"t |X|^2 = |Pi X|^2": Eq(t_sim * _SQUARE_SIZE, sum(_SQUARE_X) ** 2 / 3)},
            [equal(3 * t_sim * (depth**2 - 20 * depth + 250), 50)],
            [
                Identity("the sum of the tokens stays", sum(_SQUARE_X), 1),
                Sign(
                    "150 times the relation",
                    3 * t_sim * (depth**2 - 20 * depth + 250) - 50,
                    "==",
                    times(150, plus(t_sim * _SQUARE_SIZE, -(sum(_SQUARE_X) ** 2) / 3)),
                ),
            ],
            "(5/4)^(2l) cancels.",
        ),
        Claim(
            "faster",
            {},
            [
                Tends("l^-2", depth**2 * 50 / (depth**2 - 20 * depth + 250), depth, oo, 50),
                Tends("the limit of l t", depth * 50 / (depth**2 - 20 * depth + 250), depth, oo, 0),
            ],
            [
                Identity("it is positive", depth**2 - 20 * depth + 250, plus((depth - 10) ** 2, 150)),
                Tends("l^-2", depth**2 * 50 / (depth**2 - 20 * depth + 250), depth, oo, 50),
                Tends("the limit of l t", depth * 50 / (depth**2 - 20 * depth + 250), depth, oo, 0),
            ],
            "3 t_sim is 50 over this polynomial, so t_div tends to 1 and l (t_div - 1) to 0; see "
            "similarity_limit, without a mean. The same holds for every X_0 with another coefficient of "
            "v_1.",
        ),
    ),
    second,
    counterexample=r"A = \tfrac1{32}\begin{pmatrix}3&11&18\\9&1&22\\10&10&12\end{pmatrix},\; H = (-1),\; "
    r"X_0 = (3, 1, 0)^\top:\; t_{\mathrm{sim}} = \frac{50}{3 (l^2 - 20 l + 250)}",
)
