"""... which does not hold for every attention."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign
from .shared import RATE

PLACE = 50

t, s, sigma, x_1, x_2, y_1, y_2, z_1, z_2 = sympy.symbols("t s sigma x_1 x_2 y_1 y_2 z_1 z_2", real=True)
w = sympy.Symbol("w", real=True)


def second(z: Any) -> dict[str, Query]:
    x_1, x_2, y_1, y_2, z_1, z_2, t, s, sigma = z.Reals("x_1 x_2 y_1 y_2 z_1 z_2 t s sigma")
    w = z.Real("w")
    tokens = {"x_1 = 1": x_1 == 1, "x_2 = -9": x_2 == -9}
    mean = 9 * x_1 + x_2
    top = s * s * t - s * s * sigma * sigma * t
    return {
        "nothing moves": Query(
            tokens
            | {
                "first token": 10 * y_1 == 10 * x_1 + w * mean,
                "second token": 10 * y_2 == 10 * x_2 + w * mean,
            },
            z.And(y_1 == x_1, y_2 == x_2),
        ),
        "sigma = 0": Query(
            {"y_1 = (P z)_1": 10 * y_1 == 9 * z_1 + z_2, "y_2 = (P z)_2": 10 * y_2 == 9 * z_1 + z_2},
            y_1 == y_2,
        ),
        "similarity": Query(
            tokens | {"t |X|^2 = |Pi X|^2": 2 * t * (x_1 * x_1 + x_2 * x_2) == (x_1 + x_2) * (x_1 + x_2)},
            41 * t == 16,
        ),
        "the bound is positive": Query(
            {"t = 16/41": 41 * t == 16, "sigma = 0": sigma == 0, "s != 0": s != 0},
            z.Or(
                z.And(top > 0, 1 + s * s * sigma * sigma + top > 0),
                z.And(top < 0, 1 + s * s * sigma * sigma + top < 0),
            ),
        ),
    }


_weighted = (9 * x_1 + x_2) / 10
_TOKENS = {"x_1 = 1": sympy.Eq(x_1, 1), "x_2 = -9": sympy.Eq(x_2, -9)}
_similarity = sympy.Eq(t * (x_1**2 + x_2**2), (x_1 + x_2) ** 2 / 2)

STATEMENT = Statement(
    "escalation.general",
    "The bound of escalation.bound holds for every attention P with P1 = 1.",
    r"P\mathbf 1 = \mathbf 1 \;\Longrightarrow\;"
    r" r \ge \frac{s^2(1-\sigma^2)\,t}{1 + s^2\sigma^2 + s^2(1-\sigma^2)\,t}",
    "derived here",
    (
        Claim(
            "nothing moves",
            _TOKENS
            | {
                "first token": sympy.Eq(y_1, x_1 + w * _weighted),
                "second token": sympy.Eq(y_2, x_2 + w * _weighted),
            },
            [sympy.Eq(y_1, x_1), sympy.Eq(y_2, x_2)],
            [
                Identity("P X = 0", _weighted, 0),
                Identity("the first token stays", y_1, x_1),
                Identity("so does the second", y_2, x_2),
            ],
            "Y = X + P X w, one feature, whatever the weight w is: so the rate r is 0.",
        ),
        Claim(
            "sigma = 0",
            {
                "y_1 = (P z)_1": sympy.Eq(y_1, (9 * z_1 + z_2) / 10),
                "y_2 = (P z)_2": sympy.Eq(y_2, (9 * z_1 + z_2) / 10),
            },
            [sympy.Eq(y_1, y_2)],
            [Identity("the rows of P are equal", y_1, y_2)],
            "P z is a multiple of 1 for every z, so Pi_perp P = 0 and sigma = 0.",
        ),
        Claim(
            "similarity",
            _TOKENS | {"t |X|^2 = |Pi X|^2": _similarity},
            [sympy.Eq(t, sympy.Rational(16, 41))],
            [Sign("82 t = 32", t - sympy.Rational(16, 41), "==", (82 * t - 32) / 82)],
            "|Pi X|^2 = (x_1 + x_2)^2 / 2.",
        ),
        Claim(
            "the bound is positive",
            {
                "t = 16/41": sympy.Eq(t, sympy.Rational(16, 41)),
                "sigma = 0": sympy.Eq(sigma, 0),
                "s != 0": sympy.Ne(s, 0),
            },
            [RATE > 0],
            [
                Sign("a square that is not 0", s**2, ">"),
                Sign("16 s^2 / (41 + 16 s^2)", RATE, ">", 16 * s**2 / (41 + 16 * s**2)),
            ],
            "So the rate, 0, is below the bound for every s that is not 0.",
        ),
    ),
    second,
    counterexample=(
        r"P = \tfrac1{10}\begin{pmatrix}9&1\\9&1\end{pmatrix},\; X = \begin{pmatrix}1\\-9\end{pmatrix}"
    ),
)
