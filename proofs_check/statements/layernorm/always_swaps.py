"""A gain of -1 does not always swap the two."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity
from ..control.shared import decay_second, gap, powers, vanishes
from .shared import wins

PLACE = 30

a, mu, gamma, x_1, x_2, y_1, y_2 = sympy.symbols("a mu gamma x_1 x_2 y_1 y_2", real=True)


def second(s: Any) -> dict[str, Query]:
    a, mu, gamma, x_1, x_2, y_1, y_2 = s.Reals("a mu gamma x_1 x_2 y_1 y_2")
    values = {"a = -3/10": 10 * a == -3, "mu = 5": mu == 5, "gamma = -1": gamma == -1}
    strength = gamma * mu
    first, second = 7 * x_1 + 13 * x_2, 13 * x_1 + 7 * x_2
    return {
        "both smooth": Query(values, s.And(wins(s, mu, a, ">"), wins(s, strength, a, ">"))),
        "one layer": Query(
            {
                "mu = 5": mu == 5,
                "gamma = -1": gamma == -1,
                "first token": 20 * y_1 == 20 * x_1 + strength * first,
                "second token": 20 * y_2 == 20 * x_2 + strength * second,
            },
            s.And(y_1 + y_2 == -4 * (x_1 + x_2), 2 * (y_1 - y_2) == 5 * (x_1 - x_2)),
        ),
        **decay_second(s, 8, 5),
    }


_near, _far = sympy.Rational(7, 20), sympy.Rational(13, 20)

STATEMENT = Statement(
    "layernorm.always_swaps",
    "A gain of -1 always swaps smoothing and sharpening.",
    r"\gamma = -1 \;\Longrightarrow\; \text{smoothing} \leftrightarrow \text{sharpening}",
    "derived here, from the remark of arXiv 2401.04301 that negative layer norm weights can reverse the "
    "regime",
    (
        Claim(
            "both smooth",
            {
                "a = -3/10": sympy.Eq(a, sympy.Rational(-3, 10)),
                "mu = 5": sympy.Eq(mu, 5),
                "gamma = -1": sympy.Eq(gamma, -1),
            },
            [(1 + mu) ** 2 > (1 + mu * a) ** 2, (1 + gamma * mu) ** 2 > (1 + gamma * mu * a) ** 2],
            [
                Identity("without the gain: 6^2 against (1/2)^2", gap(mu), 36 - sympy.Rational(1, 4)),
                Identity("with it: 4^2 against (5/2)^2", gap(gamma * mu), 16 - sympy.Rational(25, 4)),
            ],
            "The attention of the counterexample has the eigenvalues 1 and a = 7/20 - 13/20.",
        ),
        Claim(
            "one layer",
            {
                "mu = 5": sympy.Eq(mu, 5),
                "gamma = -1": sympy.Eq(gamma, -1),
                "first token": sympy.Eq(y_1, x_1 + gamma * mu * (_near * x_1 + _far * x_2)),
                "second token": sympy.Eq(y_2, x_2 + gamma * mu * (_far * x_1 + _near * x_2)),
            },
            [
                sympy.Eq(y_1 + y_2, -4 * (x_1 + x_2)),
                sympy.Eq(y_1 - y_2, sympy.Rational(5, 2) * (x_1 - x_2)),
            ],
            [
                Identity("the sum of the tokens", y_1 + y_2, -4 * (x_1 + x_2)),
                Identity("their difference", y_1 - y_2, sympy.Rational(5, 2) * (x_1 - x_2)),
            ],
            "X + A (gamma X) H for two tokens of one feature: by induction the sum is (-4)^l and the "
            "difference (5/2)^l times what it was.",
        ),
        powers(sympy.Rational(8, 5)),
        vanishes(
            sympy.Rational(8, 5),
            "HFC/LFC is |x_1 - x_2| / |x_1 + x_2| and shrinks by 5/8 in every layer, from k: the tokens "
            "smooth. In the second form W = (8/5)^l and the ratio is below eps once l >= 5 k / (3 eps).",
        ),
    ),
    second,
    counterexample=(
        r"A = \tfrac1{20}\begin{pmatrix}7&13\\13&7\end{pmatrix}\ (a = -\tfrac3{10}),\; H = (5),\; \gamma = -1"
    ),
)
