"""Orthogonal matrices on the right change no similarity."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times

PLACE = 20

x_1, x_2, y_1, y_2, b_1, b_2 = sympy.symbols("x_1 x_2 y_1 y_2 b_1 b_2", real=True)

_W = sympy.symbols("w_11 w_12 w_21 w_22", real=True)
w_11, w_12, w_21, w_22 = _W
_moved = (x_1 * w_11 + x_2 * w_21, x_1 * w_12 + x_2 * w_22)
_orthogonal = {
    "first row of W has length 1": sympy.Eq(w_11**2 + w_12**2, 1),
    "second row of W has length 1": sympy.Eq(w_21**2 + w_22**2, 1),
    "rows of W are orthogonal": sympy.Eq(w_11 * w_21 + w_12 * w_22, 0),
}


def second(z: Any) -> dict[str, Query]:
    x_1, x_2, y_1, y_2, b_1, b_2 = z.Reals("x_1 x_2 y_1 y_2 b_1 b_2")
    w_11, w_12, w_21, w_22 = z.Reals("w_11 w_12 w_21 w_22")
    return {
        "lengths": Query(
            {
                "first row of W has length 1": w_11 * w_11 + w_12 * w_12 == 1,
                "second row of W has length 1": w_21 * w_21 + w_22 * w_22 == 1,
                "rows of W are orthogonal": w_11 * w_21 + w_12 * w_22 == 0,
            },
            x_1 * x_1 * (w_11 * w_11 + w_12 * w_12)
            + 2 * x_1 * x_2 * (w_11 * w_21 + w_12 * w_22)
            + x_2 * x_2 * (w_21 * w_21 + w_22 * w_22)
            == x_1 * x_1 + x_2 * x_2,
        ),
        "means": Query(
            {
                "y_1 is a feature of the first token": y_1 == x_1 * w_11 + x_2 * w_21,
                "y_2 is that of the second": y_2 == b_1 * w_11 + b_2 * w_21,
            },
            y_1 + y_2 == w_11 * (x_1 + b_1) + w_21 * (x_2 + b_2),
        ),
    }


STATEMENT = Statement(
    "similarity.orthogonal",
    "Right multiplication by an orthogonal matrix changes no token similarity: |X W| = |X| and |Pi X W| = "
    "|Pi X|.",
    r"W W^\top = I \;\Longrightarrow\; \|XW\|_F = \|X\|_F,\quad \|\Pi X W\|_F = \|\Pi X\|_F",
    "that the other parts of a layer do not drive escalation: arXiv 2312.06182; this case derived here",
    (
        Claim(
            "lengths",
            _orthogonal,
            [sympy.Eq(_moved[0] ** 2 + _moved[1] ** 2, x_1**2 + x_2**2)],
            [
                Sign(
                    "x W W^T x^T - x x^T, entry by entry of W W^T - I",
                    _moved[0] ** 2 + _moved[1] ** 2 - x_1**2 - x_2**2,
                    "==",
                    plus(
                        times(x_1**2, w_11**2 + w_12**2 - 1),
                        times(x_2**2, w_21**2 + w_22**2 - 1),
                        times(2 * x_1 * x_2, w_11 * w_21 + w_12 * w_22),
                    ),
                )
            ],
            "Two features; x is a row, a token or the mean token. In any number of features |x "
            "W|^2 - |x|^2 = x (W W^T - I) x^T = 0. |X W|^2 is the sum over tokens, |Pi X W|^2 is n times "
            "the square of the mean token.",
        ),
        Claim(
            "means",
            {
                "y_1 is a feature of the first token": sympy.Eq(y_1, x_1 * w_11 + x_2 * w_21),
                "y_2 is that of the second": sympy.Eq(y_2, b_1 * w_11 + b_2 * w_21),
            },
            [sympy.Eq(y_1 + y_2, (x_1 + b_1) * w_11 + (x_2 + b_2) * w_21)],
            [
                Identity(
                    "the sum of the tokens goes through W", y_1 + y_2, (x_1 + b_1) * w_11 + (x_2 + b_2) * w_21
                )
            ],
            "Tokens x and b: the mean of X W is the mean of X, times W. In general Pi (X W) = (Pi X) W.",
        ),
    ),
    second,
)
