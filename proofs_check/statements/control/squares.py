"""Negative squares do not always sharpen: a large one overshoots.

>>> SMALLEST_SQUARE_THAT_SMOOTHS
2/(a + 1)
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity
from .shared import decay_second, powers, vanishes

PLACE = 30

a, mu, psi, x_1, x_2, y_1, y_2 = sympy.symbols("a mu psi x_1 x_2 y_1 y_2", real=True)

#: weights with the eigenvalue -psi^2 smooth again where psi^2 exceeds this
SMALLEST_SQUARE_THAT_SMOOTHS = 2 / (1 + a)


def second(s: Any) -> dict[str, Query]:
    a, mu, psi, x_1, x_2, y_1, y_2 = s.Reals("a mu psi x_1 x_2 y_1 y_2")
    values = {"psi = 2": psi == 2, "a = 0": a == 0, "mu = -psi^2": mu + psi * psi == 0}
    layer = {
        "mu = -4": mu == -4,
        "first token": 2 * y_1 == 2 * x_1 + mu * (x_1 + x_2),
        "second token": 2 * y_2 == 2 * x_2 + mu * (x_1 + x_2),
    }
    return {
        "below the boundary": Query(
            values,
            s.And(2 + mu + mu * a < 0, (1 + mu * a) * (1 + mu * a) < (1 + mu) * (1 + mu)),
        ),
        "one layer": Query(layer, s.And(y_1 + y_2 + 3 * x_1 + 3 * x_2 == 0, y_1 + x_2 == y_2 + x_1)),
        **decay_second(s, 3, 1),
    }


_half = (x_1 + x_2) / 2
_LAYER: dict[str, Any] = {
    "mu = -4": sympy.Eq(mu, -4),
    "first token": sympy.Eq(y_1, x_1 + mu * _half),
    "second token": sympy.Eq(y_2, x_2 + mu * _half),
}

STATEMENT = Statement(
    "control.squares",
    "Symmetric weights with the eigenvalues -psi^2 always sharpen.",
    r"\Lambda = -\psi^2 \;\Longrightarrow\; \text{sharpening}",
    "the parametrisation: arXiv 2401.04301; the sentence and its refutation derived here",
    (
        Claim(
            "below the boundary",
            {"psi = 2": sympy.Eq(psi, 2), "a = 0": sympy.Eq(a, 0), "mu = -psi^2": sympy.Eq(mu, -(psi**2))},
            [mu * (1 + a) < -2, (1 + mu) ** 2 > (1 + mu * a) ** 2],
            [
                Identity("mu = -4, so mu (1 + a) + 2 = -2", mu * (1 + a) + 2, -2),
                Identity("|1 - 4|^2 is ahead of 1 by 8", (1 + mu) ** 2 - (1 + mu * a) ** 2, 8),
            ],
            "Uniform attention between two tokens has the eigenvalues 1 and a = 0.",
        ),
        Claim(
            "one layer",
            _LAYER,
            [sympy.Eq(y_1 + y_2, -3 * (x_1 + x_2)), sympy.Eq(y_1 - y_2, x_1 - x_2)],
            [
                Identity("the sum of the tokens", y_1 + y_2, -3 * (x_1 + x_2)),
                Identity("their difference", y_1 - y_2, x_1 - x_2),
            ],
            "X + A X H for two tokens of one feature. By induction the sum is (-3)^l times what it was, and "
            "the difference stays.",
        ),
        powers(sympy.Integer(3)),
        vanishes(
            sympy.Integer(3),
            "HFC/LFC is |x_1 - x_2| / |x_1 + x_2|, so k / 3^l for k at the start (x_1 + x_2 not 0): it "
            "vanishes, the tokens smooth. In the second form W = 3^l and the ratio is below eps once l >= k "
            "/ (2 eps).",
        ),
    ),
    second,
    counterexample=r"A = \tfrac12\begin{pmatrix}1&1\\1&1\end{pmatrix},\; H = (-4),\; \psi = 2",
)
