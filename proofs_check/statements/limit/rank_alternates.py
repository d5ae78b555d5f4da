"""A rank that alternates between 1 and 2 for ever."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Ne, Rational

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times

PLACE = 40

s, x11, x12, x21, x22, c11, c12, c21 = sympy.symbols("s x_11 x_12 x_21 x_22 c_11 c_12 c_21", real=True)
c22 = sympy.Symbol("c_22", real=True)

_column = {"x_11 = s c_11 + c_21": Eq(x11, s * c11 + c21), "x_21 = s c_11 - c_21": Eq(x21, s * c11 - c21)}
_layer = _column | {"x_12 = c_12 + c_22": Eq(x12, c12 + c22), "x_22 = c_12 - c_22": Eq(x22, c12 - c22)}
_minor = x11 * x22 - x12 * x21
_even = Matrix([[3, 4], [1, -2]])
_odd = Matrix([[-1, 4], [-3, -2]])
_half = Matrix([[Rational(1, 2), Rational(1, 2)], [Rational(1, 2), Rational(1, 2)]])
_minus_two = Matrix([[-2, 0], [0, 0]])
_numbers = {
    "c_11 = 2": Eq(c11, 2),
    "c_12 = 1": Eq(c12, 1),
    "c_21 = 1": Eq(c21, 1),
    "c_22 = 3": Eq(c22, 3),
}
_EVEN, _ODD = {"s = 1": Eq(s, 1)}, {"s = -1": Eq(s, -1)}


def second(z: Any) -> dict[str, Query]:
    x11, x12, x21, x22, c11, c12, c21, c22, s = z.Reals("x_11 x_12 x_21 x_22 c_11 c_12 c_21 c_22 s")
    column = {"x_11 = s c_11 + c_21": x11 - c21 == s * c11, "x_21 = s c_11 - c_21": x21 + c21 == s * c11}
    layer = column | {"x_12 = c_12 + c_22": x12 - c22 == c12, "x_22 = c_12 - c_22": x22 + c22 == c12}
    even, odd = {"s = 1": s == 1}, {"s = -1": s == -1}
    numbers = {"c_11 = 2": c11 == 2, "c_12 = 1": c12 == 1, "c_21 = 1": c21 == 1, "c_22 = 3": c22 == 3}
    # a layer takes from the first column twice its mean
    step = z.And(-x21 == -s * c11 + c21, -x11 == -s * c11 - c21)
    same = {"c_11 c_22 = c_12 c_21": c11 * c22 - c12 * c21 == 0}
    nonzero = {"c_11 c_22 != 0": z.And(z.Not(c11 == 0), z.Not(c22 == 0))}
    zero, full = x11 * x22 == x12 * x21, x11 * x22 != x12 * x21
    return {
        "one more layer": Query(column, step),
        "even layers have rank 2": Query(layer | even | numbers, full),
        "odd layers have rank 2": Query(layer | odd | numbers, full),
        "generic coefficients, even layers": Query(
            layer | even | {"c_11 c_22 != c_12 c_21": c11 * c22 != c12 * c21}, full
        ),
        "generic coefficients, odd layers": Query(
            layer | odd | {"c_11 c_22 != -c_12 c_21": c11 * c22 + c12 * c21 != 0}, full
        ),
        "from rank 1, even layers": Query(layer | even | same, zero),
        "from rank 1, odd layers": Query(layer | odd | same | nonzero, full),
    }


_by_minor = -2 * (s * c11 * c22 - c12 * c21)
_RANK_ONE = {"c_11 c_22 = c_12 c_21": Eq(c11 * c22, c12 * c21)}

STATEMENT = Statement(
    "limit.rank_alternates",
    "For A = 11^T/2 and H = diag(-2, 0) the rank of the leading part alternates between 1 and 2 for generic "
    "X_0.",
    r"C_l = \begin{pmatrix} (-1)^l c_{11} & c_{12} \\ c_{21} & c_{22} \end{pmatrix},\quad "
    r"\operatorname{rank} C_l = 1, 2, 1, 2, \dots",
    "derived here",
    (
        Claim(
            "one more layer",
            _column,
            [Eq(x11 - (x11 + x21), -s * c11 + c21), Eq(x21 - (x11 + x21), -s * c11 - c21)],
            [
                Identity("X_1 of the system", _even + _half * _even * _minus_two, _odd),
                Identity("X_2 of the system is X_0", _odd + _half * _odd * _minus_two, _even),
            ],
            "lambda = 1 has v = (1, 1), lambda = 0 has v = (1, -1), and rho is -1 for lambda = 1, mu = -2 "
            "and 1 for the other three pairs. X_l is written with s = (-1)^l; a layer takes twice its mean "
            "from the first column and leaves the second, which turns s to -s: induction on l, X_0 with s = "
            "1. All four pairs tie, so the leading part is X_l itself.",
        ),
        Claim(
            "even layers have rank 2",
            _EVEN | _numbers | _layer,
            [Ne(_minor, 0)],
            [Identity("the determinant", _even.det(), -10), Sign("it is not zero", _minor, "!=", _by_minor)],
            "The counterexample at even depth.",
        ),
        Claim(
            "odd layers have rank 2",
            _ODD | _numbers | _layer,
            [Ne(_minor, 0)],
            [Identity("the determinant", _odd.det(), 14), Sign("it is not zero", _minor, "!=", _by_minor)],
            "And at odd depth: rank 2 throughout.",
        ),
        Claim(
            "generic coefficients, even layers",
            _EVEN | _layer | {"c_11 c_22 != c_12 c_21": Ne(c11 * c22, c12 * c21)},
            [Ne(_minor, 0)],
            [Sign("-2 times the minor of C_l", _minor, "!=", times(-2, c11 * c22 - c12 * c21))],
            "Generic coefficients meet both this inequality and the next, so generic X_0 has rank 2 at every "
            "layer.",
        ),
        Claim(
            "generic coefficients, odd layers",
            _ODD | _layer | {"c_11 c_22 != -c_12 c_21": Ne(c11 * c22, -c12 * c21)},
            [Ne(_minor, 0)],
            [Sign("2 times another combination", _minor, "!=", times(2, c11 * c22 + c12 * c21))],
        ),
        Claim(
            "from rank 1, even layers",
            _EVEN | _layer | _RANK_ONE,
            [Eq(_minor, 0)],
            [Sign("the minor of C_l is that of C_0", _minor, "==", times(-2, c11 * c22 - c12 * c21))],
            "What is true: an X_0 of rank 1 with no coefficient zero has rank 1 at even and 2 at odd layers.",
        ),
        Claim(
            "from rank 1, odd layers",
            _ODD | _layer | _RANK_ONE | {"c_11 c_22 != 0": Ne(c11 * c22, 0)},
            [Ne(_minor, 0)],
            [
                Sign("both products are equal", c11 * c22 - c12 * c21, "=="),
                Sign("one product is not zero", 4 * c11 * c22, "!="),
                Sign(
                    "so neither is their sum",
                    _minor,
                    "!=",
                    plus(times(-2, c11 * c22 - c12 * c21), 4 * c11 * c22),
                ),
            ],
        ),
    ),
    second,
    counterexample=r"X_0 = \begin{pmatrix} 3 & 4 \\ 1 & -2 \end{pmatrix}:\quad "
    r"X_1 = \begin{pmatrix} -1 & 4 \\ -3 & -2 \end{pmatrix},\; X_2 = X_0,\; \det X_l = -10, 14, -10, \dots",
)
