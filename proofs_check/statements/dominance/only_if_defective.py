"""The "only if" without a basis of eigenvectors."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Ne, Rational

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends

PLACE = 60

mu, u, t, l, c, D, m, x11, x12 = sympy.symbols("mu u t l c D m x_11 x_12", real=True)  # noqa: E741
x21, x22, y11, y12, y21, y22 = sympy.symbols("x_21 x_22 y_11 y_12 y_21 y_22", real=True)

UNIFORM = Matrix([[Rational(1, 2), Rational(1, 2)], [Rational(1, 2), Rational(1, 2)]])
NILPOTENT = Matrix([[0, 1], [0, 0]])
_first = Matrix([[x11, x12], [x21, x22]])


def _after(depth: Any) -> Any:
    """Return the closed form of X_l of the defective example."""
    grown = depth * (x11 + x21) / 2
    return _first + Matrix([[0, grown], [0, grown]])


#: X_l, entry by entry, and the first column's mean c
_COLUMNS = {
    "y_11 = x_11": Eq(y11, x11),
    "y_21 = x_21": Eq(y21, x21),
    "y_12 = x_12 + l c": Eq(y12, x12 + l * (x11 + x21) / 2),
    "y_22 = x_22 + l c": Eq(y22, x22 + l * (x11 + x21) / 2),
}
_LAYER = {"c is the mean of the first column": Eq(c, (x11 + x21) / 2)} | _COLUMNS


def second(s: Any) -> dict[str, Query]:
    x11, x12, x21, x22, y11, y12, y21, y22 = s.Reals("x_11 x_12 x_21 x_22 y_11 y_12 y_21 y_22")
    c, l, u, mu, m, D = s.Reals("c l u mu m D")  # noqa: E741
    columns = {
        "y_11 = x_11": y11 == x11,
        "y_21 = x_21": y21 == x21,
        "y_12 = x_12 + l c": 2 * (y12 - x12) == l * (x11 + x21),
        "y_22 = x_22 + l c": 2 * (y22 - x22) == l * (x11 + x21),
    }
    layer = columns | {"c is the mean of the first column": 2 * c == x11 + x21}
    zero = {"l = 0": l == 0}
    # a layer adds the mean of the first column to the second
    step = s.And(
        2 * y12 + y11 + y21 == 2 * x12 + 2 * (l + 1) * c, 2 * y22 + y11 + y21 == 2 * x22 + 2 * (l + 1) * c
    )
    means = (y11 + y21, y12 + y22)  # twice the means of the columns
    low = 2 * (means[0] * means[0] + means[1] * means[1])  # 4 LFC^2 = 4 n |mean row|^2
    off = 2 * (y11 * y11 + y21 * y21 + y12 * y12 + y22 * y22) - (means[0] * means[0] + means[1] * means[1])
    size, root, eps = s.Reals("size root eps")
    far = s.And(
        eps > 0,
        D >= 0,
        size * size == c * c,
        size > 0,
        root > 0,
        4 * eps * root * root > D,
        l * size > root + m,
        l * size > root - m,
        l > 0,
    )
    end = m + l * c
    return {
        "all moduli tie": Query({"mu = 0": mu == 0}, (1 + mu) * (1 + mu) - (1 + mu * u) * (1 + mu * u) == 0),
        "layer 0": Query(
            columns | zero, s.And(y11 - x11 == 0, y12 - x12 == 0, y21 - x21 == 0, y22 - x22 == 0)
        ),
        "one more layer": Query(layer, step),
        "the frequencies": Query(
            layer,
            s.And(
                off == (x11 - x21) * (x11 - x21) + (x12 - x22) * (x12 - x22),
                low == 8 * c * c + 2 * (x12 + x22 + 2 * l * c) * (x12 + x22 + 2 * l * c),
            ),
        ),
        "HFC/LFC -> 0": Query(
            {"c != 0": c * c > 0},
            s.Implies(far, eps * 4 * (c * c + end * end) > D),
            same_symbols=False,
        ),
    }


_means = ((y11 + y21) / 2, (y12 + y22) / 2)
_high = ((y11 - y21) ** 2 + (y12 - y22) ** 2) / 2
_low = 2 * (_means[0] ** 2 + _means[1] ** 2)
_to_zero = Tends("the denominator grows like l^2", D / (4 * (c**2 + (m + l * c) ** 2)), l, sympy.oo, 0)

STATEMENT = Statement(
    "dominance.only_if_defective",
    "Input convergence (HFC/LFC -> 0) for generic X_0 implies that lambda = 1 strictly dominates, also for "
    "matrices that are not diagonalizable.",
    r"\frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \to 0 \;\Longrightarrow\; "
    r"\max_j |1+\mu_j| > \max_{\lambda_i \ne 1,\, j} |1+\lambda_i\mu_j|",
    "derived here",
    (
        Claim(
            "all moduli tie",
            {"mu = 0": Eq(mu, 0)},
            [Eq((1 + mu) ** 2, (1 + mu * u) ** 2)],
            [
                Identity("lambda = 1 of A", UNIFORM * Matrix([1, 1]), Matrix([1, 1])),
                Identity("lambda = 0 of A", UNIFORM * Matrix([1, -1]) + Matrix([1, 1]), Matrix([1, 1])),
                Identity(
                    "the characteristic polynomial of H in t: mu = 0 twice",
                    (NILPOTENT - t * sympy.eye(2)).det(),
                    t**2,
                ),
                Identity("1 + mu lambda is 1", (1 + mu) ** 2 - (1 + mu * u) ** 2 + 1, 1),
            ],
            "lambda = u is 1 or 0 and both mu are 0: every 1 + lambda mu is 1, nothing dominates strictly.",
        ),
        Claim(
            "layer 0",
            {"l = 0": Eq(l, 0)} | _COLUMNS,
            [Eq(y11, x11), Eq(y12, x12), Eq(y21, x21), Eq(y22, x22)],
            [Identity("the closed form starts at X_0", _after(sympy.Integer(0)), _first)],
            "X_l has entries y_11, y_12, y_21, y_22 and X_0 has x_11, x_12, x_21, x_22, any real numbers. "
            "Induction on the depth l shows that X_l adds l c to both entries of the second column.",
        ),
        Claim(
            "one more layer",
            _LAYER,
            [
                Eq(y12 + (y11 + y21) / 2, x12 + (l + 1) * c),
                Eq(y22 + (y11 + y21) / 2, x22 + (l + 1) * c),
            ],
            [
                Identity(
                    "X + A X H is the closed form at l + 1",
                    _after(l) + UNIFORM * _after(l) * NILPOTENT,
                    _after(l + 1),
                ),
            ],
            "A X H has the mean of the first column of X in both entries of its second column; the first "
            "column does not change.",
        ),
        Claim(
            "the frequencies",
            _LAYER,
            [
                Eq(4 * _high, 2 * ((x11 - x21) ** 2 + (x12 - x22) ** 2)),
                Eq(_low, 2 * (c**2 + ((x12 + x22) / 2 + l * c) ** 2)),
            ],
            [
                Identity("HFC^2 keeps its value", _high, ((x11 - x21) ** 2 + (x12 - x22) ** 2) / 2),
                Identity(
                    "HFC^2 is what is off the mean row",
                    _high,
                    y11**2 + y12**2 + y21**2 + y22**2 - _low,
                ),
            ],
            "Two rows: LFC^2 is twice the squared norm of the mean row, HFC^2 half that of the difference.",
        ),
        Claim(
            "HFC/LFC -> 0",
            {"c != 0": Ne(c, 0)},
            [_to_zero],
            [Sign("the coefficient of l^2 is positive", c**2, ">"), _to_zero],
            "(HFC/LFC)^2 = D / (4 (c^2 + (m + l c)^2)), D = (x_11 - x_21)^2 + (x_12 - x_22)^2 and "
            "m = (x_12 + x_22)/2; c is not 0 for generic X_0. So t_div closes like l^-2.",
        ),
    ),
    second,
    counterexample=r"A = \begin{pmatrix} 1/2 & 1/2 \\ 1/2 & 1/2 \end{pmatrix},\quad "
    r"H = \begin{pmatrix} 0 & 1 \\ 0 & 0 \end{pmatrix},\quad X_0 \text{ generic}",
)
