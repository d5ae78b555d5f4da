"""... but not under uniform attention."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Rational, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from .shared import NILPOTENT, equal, near

PLACE = 70

depth, t_div, x11, x12, x21, x22 = sympy.symbols("l t x11 x12 x21 x22", real=True)

_HALVES = Matrix([[Rational(1, 2)] * 2] * 2)
_UNIFORM = Matrix([[1, depth / 2], [0, 1 + depth / 2]])
_UNIFORM_SIZE = sum(entry**2 for entry in _UNIFORM)
_UNIFORM_DIVERSE = sum(entry**2 for entry in (sympy.eye(2) - _HALVES) * _UNIFORM)


def second(s: Any) -> dict[str, Query]:
    depth, t, eps, x11, x12, x21, x22 = s.Reals("l t eps x11 x12 x21 x22")
    # rows (1, l/2) and (0, 1 + l/2): twice the diverse square is the squared distance of the rows
    twice = 2 + depth
    apart = 4 + (depth - twice) * (depth - twice)
    whole = 4 + depth * depth + twice * twice
    return {
        "one more layer": Query(
            {
                "x11 = 1": x11 == 1,
                "x21 = 0": x21 == 0,
                "x12 = l/2": 2 * x12 == depth,
                "x22 = 1 + l/2": 2 * x22 == 2 + depth,
            },
            s.And(2 * x12 + x11 + x21 == depth + 1, 2 * x22 + x11 + x21 == 2 + depth + 1),
        ),
        # four times the whole is 4 + l^2 + (2 + l)^2; eight times the diverse part is ``apart``
        "token diversity": Query(
            {"t |X|^2 = |Pi_perp X|^2": 2 * t * whole == apart}, t * (depth * depth + 2 * depth + 4) == 2
        ),
        "it closes": Query(
            {},
            s.Implies(
                s.And(eps > 0, depth >= 1, depth * eps > 12, t * (depth * depth + 2 * depth + 4) == 2),
                near(s, depth * depth * t, s.RealVal(2), eps),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "defective.zero_block_uniform",
    "If mu = 0 with a Jordan block of H dominates, token diversity does not close.",
    r"t_{\mathrm{div}} \not\to 0",
    "derived here",
    (
        Claim(
            "one more layer",
            {
                "x11 = 1": Eq(x11, 1),
                "x21 = 0": Eq(x21, 0),
                "x12 = l/2": Eq(x12, depth / 2),
                "x22 = 1 + l/2": Eq(x22, 1 + depth / 2),
            },
            [
                equal(x12 + (x11 + x21) / 2, (depth + 1) / 2),
                equal(x22 + (x11 + x21) / 2, 1 + (depth + 1) / 2),
            ],
            [
                Identity("at layer 0", sympy.Subs(1 + depth / 2, depth, 0), 1),
                Identity(
                    "a layer",
                    _UNIFORM + _HALVES * _UNIFORM * NILPOTENT,
                    _UNIFORM.subs(depth, depth + 1),
                ),
            ],
            "A has both rows (1/2, 1/2) and H moves the first column to the second: X_l = (1, l/2; 0, 1 "
            "+ l/2) by induction. mu = 0 is the only weight eigenvalue, with a block of size two, and "
            "every rho is 1: all modes tie. In (1,1), (1,-1) the coefficients of X_0 are 1/2, 1/2; 1/2, "
            "-1/2, none of them zero.",
        ),
        Claim(
            "token diversity",
            {"t |X|^2 = |Pi_perp X|^2": Eq(t_div * _UNIFORM_SIZE, _UNIFORM_DIVERSE)},
            [equal(t_div * (depth**2 + 2 * depth + 4), 2)],
            [
                Identity("the diverse part stays", _UNIFORM_DIVERSE, 1),
                Identity("the whole grows", _UNIFORM_SIZE, (depth**2 + 2 * depth + 4) / 2),
                Sign(
                    "twice the relation",
                    t_div * (depth**2 + 2 * depth + 4) - 2,
                    "==",
                    times(2, plus(t_div * _UNIFORM_SIZE, -_UNIFORM_DIVERSE)),
                ),
            ],
            "Rows (1, l/2) and (0, 1 + l/2); Pi_perp X has the rows (1/2, -1/2) and (-1/2, 1/2).",
        ),
        Claim(
            "it closes",
            {},
            [Tends("like l^-2", depth**2 * 2 / (depth**2 + 2 * depth + 4), depth, oo, 2)],
            [Tends("like l^-2", depth**2 * 2 / (depth**2 + 2 * depth + 4), depth, oo, 2)],
            "t_div = 2/(l^2 + 2 l + 4) tends to zero.",
        ),
    ),
    second,
    counterexample=r"A = \tfrac12\begin{pmatrix}1&1\\1&1\end{pmatrix},\; H = "
    r"\begin{pmatrix}0&1\\0&0\end{pmatrix},\; X_0 = \begin{pmatrix}1&0\\0&1\end{pmatrix}:\; "
    r"t_{\mathrm{div}} = \frac{2}{l^2+2l+4}",
)
