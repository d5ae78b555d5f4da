"""A zero entry of the leading mode leaves a token with a direction of its own."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Rational

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..dominance.shared import deep

PLACE = 60

l, x1, x2, y1, y2, x11, x12 = sympy.symbols("l x_1 x_2 y_1 y_2 x_11 x_12", real=True)  # noqa: E741
x21, x22, X, Y, r, t, D, mu1, mu2 = sympy.symbols("x_21 x_22 X Y r t D mu_1 mu_2", real=True)

#: symmetric positive attention with the eigenvalues 1, 1/4, -1/2; (1, 0, -1) belongs to -1/2
SYMMETRIC = Matrix(3, 3, [Rational(e, 8) for e in (1, 2, 5, 2, 4, 2, 5, 2, 1)])
_DIAGONAL = Matrix([[-Rational(4, 5), 0], [0, Rational(1, 5)]])
_ones, _ends, _middle = Matrix([1, 1, 1]), Matrix([1, 0, -1]), Matrix([1, -2, 1])
_first = sympy.symbols("a_1 b_1 c_1", real=True)
_second = sympy.symbols("a_2 b_2 c_2", real=True)
#: what a layer multiplies the coefficient of (1, 1, 1), (1, 0, -1), (1, -2, 1) by, in each feature
_RHO = (
    (Rational(1, 5), Rational(7, 5), Rational(4, 5)),
    (Rational(6, 5), Rational(9, 10), Rational(21, 20)),
)


def _modes(columns: Any) -> Any:
    """Return the tokens whose features have these coefficients of the three modes."""
    return Matrix.hstack(*(a * _ones + b * _ends + c * _middle for a, b, c in columns))


def _once(columns: Any) -> Any:
    """Return the coefficients one layer later."""
    return [tuple(r * c for r, c in zip(*pair, strict=True)) for pair in zip(_RHO, columns, strict=True)]


_entries = sympy.symbols("x_11 x_12 x_21 x_22 x_31 x_32", real=True)
_tokens = _modes((_first, _second))
_names = ("x_11", "x_12", "x_21", "x_22", "x_31", "x_32")
_MODES = {f"{name} of the modes": Eq(e, m) for name, e, m in zip(_names, _entries, _tokens, strict=True)}
_symbols = Matrix(3, 2, _entries)
_later = _symbols + SYMMETRIC * _symbols * _DIAGONAL
_once_later = _modes(_once((_first, _second)))
(a1, b1, c1), (a2, b2, c2) = _first, _second

_COSINE = {
    "|x.y| <= |x_1 y_1| + |x_2 y_2|": x1 * y1 + x2 * y2 >= D,
    "|x_2| <= r |x_1|": x2 <= r * x1,
    "|y_1| <= t |y_2|": y1 <= t * y2,
    "|x| >= |x_1|": x1 <= X,
    "|y| >= |y_2|": y2 <= Y,
    "x_1 >= 0": x1 >= 0,
    "y_2 > 0": y2 > 0,
    "r >= 0": r >= 0,
    "t >= 0": t >= 0,
}
_ROW_1 = {
    "a_2 = r b_1": Eq(r * b1, a2),
    "x_11 = a_1 + b_1 + c_1": Eq(x11, a1 + b1 + c1),
    "x_12 = a_2 + b_2 + c_2": Eq(x12, a2 + b2 + c2),
    "b_2 <= a_2": b2 <= a2,
    "c_2 <= a_2": c2 <= a2,
    "a_1 > 0": a1 > 0,
    "c_1 > 0": c1 > 0,
    "r > 0": r > 0,
}
_ROW_2 = {
    "c_1 = t a_2": Eq(c1, t * a2),
    "x_21 = a_1 - 2 c_1": Eq(x21, a1 - 2 * c1),
    "x_22 = a_2 - 2 c_2": Eq(x22, a2 - 2 * c2),
    "4 c_2 <= a_2": 4 * c2 <= a2,
    "a_1 > 0": a1 > 0,
    "t > 0": t > 0,
}
_cosine_limit = Tends(
    "both powers close", 3 * Rational(6, 7) ** l + 4 * Rational(2, 3) ** l, l, sympy.oo, sympy.Integer(0)
)


def second(z: Any) -> dict[str, Query]:
    x = z.Reals("x_11 x_12 x_21 x_22 x_31 x_32")
    a1, b1, c1, a2, b2, c2 = z.Reals("a_1 b_1 c_1 a_2 b_2 c_2")
    x1, x2, y1, y2, X, Y, D, r, t, mu1, mu2 = z.Reals("x_1 x_2 y_1 y_2 X Y D r t mu_1 mu_2")
    modes = {
        "x_11 of the modes": x[0] == a1 + b1 + c1,
        "x_12 of the modes": x[1] == a2 + b2 + c2,
        "x_21 of the modes": x[2] == a1 - c1 - c1,
        "x_22 of the modes": x[3] == a2 - c2 - c2,
        "x_31 of the modes": x[4] == a1 - b1 + c1,
        "x_32 of the modes": x[5] == a2 - b2 + c2,
    }
    # 8 A has the rows (1, 2, 5), (2, 4, 2), (5, 2, 1); times 40 and 20
    first = (x[0] + 2 * x[2] + 5 * x[4], 2 * x[0] + 4 * x[2] + 2 * x[4], 5 * x[0] + 2 * x[2] + x[4])
    second = (x[1] + 2 * x[3] + 5 * x[5], 2 * x[1] + 4 * x[3] + 2 * x[5], 5 * x[1] + 2 * x[3] + x[5])
    step = z.And(
        10 * x[0] - first[0] == 2 * a1 + 14 * b1 + 8 * c1,
        10 * x[2] - first[1] == 2 * a1 - 16 * c1,
        10 * x[4] - first[2] == 2 * a1 - 14 * b1 + 8 * c1,
        40 * x[1] + second[0] == 48 * a2 + 36 * b2 + 42 * c2,
        40 * x[3] + second[1] == 48 * a2 - 84 * c2,
        40 * x[5] + second[2] == 48 * a2 - 36 * b2 + 42 * c2,
    )
    mus = {"mu_1 = -4/5": 5 * mu1 == -4, "mu_2 = 1/5": 5 * mu2 == 1}
    largest = (2 - mu1) * (2 - mu1)
    others = [2 + 2 * mu1, 2 + 2 * mu2, 2 - mu2]
    quarters = [4 + mu1, 4 + mu2]
    dominant = [largest > o * o for o in others] + [4 * largest > o * o for o in quarters]
    row1 = {
        "x_11 = a_1 + b_1 + c_1": x[0] - a1 - b1 - c1 == 0,
        "x_12 = a_2 + b_2 + c_2": x[1] - a2 - b2 - c2 == 0,
        "a_2 = r b_1": a2 == b1 * r,
        "b_2 <= a_2": a2 - b2 >= 0,
        "c_2 <= a_2": a2 - c2 >= 0,
        "a_1 > 0": a1 > 0,
        "c_1 > 0": c1 > 0,
        "r > 0": r > 0,
    }
    row2 = {
        "x_21 = a_1 - 2 c_1": x[2] + 2 * c1 == a1,
        "x_22 = a_2 - 2 c_2": x[3] + 2 * c2 == a2,
        "c_1 = t a_2": c1 == a2 * t,
        "4 c_2 <= a_2": a2 - 4 * c2 >= 0,
        "a_1 > 0": a1 > 0,
        "t > 0": t > 0,
    }
    cosine = {
        "|x.y| <= |x_1 y_1| + |x_2 y_2|": x1 * y1 + x2 * y2 - D >= 0,
        "|x_2| <= r |x_1|": r * x1 - x2 >= 0,
        "|y_1| <= t |y_2|": t * y2 - y1 >= 0,
        "|x| >= |x_1|": X - x1 >= 0,
        "|y| >= |y_2|": Y - y2 >= 0,
        "x_1 >= 0": x1 >= 0,
        "y_2 > 0": y2 > 0,
        "r >= 0": r >= 0,
        "t >= 0": t >= 0,
    }
    _, layer, (q, depth, power, eps) = deep(z)
    layer += [7 * q == 6, t <= power, depth * (1 - q) * eps == 7 * q]
    return {
        "one dominant mode": Query(mus, z.And(*dominant)),
        "one more layer": Query(modes, step),
        "row 1 turns to the first feature": Query(row1, x[1] < 3 * r * x[0]),
        "row 2 turns to the second feature": Query(row2, -x[2] < 4 * t * x[3]),
        "the cosine": Query(cosine, X * Y * r + X * Y * t >= D),
        "the limit": Query({}, z.Implies(z.And(*layer), 3 * power + 4 * t < eps), same_symbols=False),
    }


STATEMENT = Statement(
    "limit.angle_zero_entry",
    "If the dominant set is a single real mode, |cos| -> 1 between every two rows, whatever X_0.",
    r"D = \{(k, j)\},\; v_k \text{ real} \;\Longrightarrow\; |\cos(x_a, x_b)| \to 1 \text{ for all } a \ne b",
    "derived here",
    (
        Claim(
            "one dominant mode",
            {"mu_1 = -4/5": Eq(mu1, -Rational(4, 5)), "mu_2 = 1/5": Eq(mu2, Rational(1, 5))},
            [
                (1 - mu1 / 2) ** 2 > (1 + mu1) ** 2,
                (1 - mu1 / 2) ** 2 > (1 + mu1 / 4) ** 2,
                (1 - mu1 / 2) ** 2 > (1 + mu2) ** 2,
                (1 - mu1 / 2) ** 2 > (1 + mu2 / 4) ** 2,
                (1 - mu1 / 2) ** 2 > (1 - mu2 / 2) ** 2,
            ],
            [
                Identity("lambda = 1: rows sum to one", SYMMETRIC * _ones, _ones),
                Identity("lambda = -1/2 has a zero entry", SYMMETRIC * _ends, -_ends / 2),
                Identity("lambda = 1/4", SYMMETRIC * _middle, _middle / 4),
                Sign("7/5 against 1/5", (1 - mu1 / 2) ** 2 - (1 + mu1) ** 2, ">"),
                Sign("7/5 against 6/5", (1 - mu1 / 2) ** 2 - (1 + mu2) ** 2, ">"),
            ],
            "A is symmetric and positive, H = diag(mu_1, mu_2). The largest |rho| is 7/5, at lambda = -1/2 "
            "and mu_1 only.",
        ),
        Claim(
            "one more layer",
            _MODES,
            [Eq(one, other) for one, other in zip(_later, _once_later, strict=True)],
            [Identity("X + A X H in modes", _tokens + SYMMETRIC * _tokens * _DIAGONAL, _once_later)],
            "Coefficients a, b, c of (1, 1, 1), (1, 0, -1), (1, -2, 1) in each of the two features; a layer "
            "multiplies them by 1/5, 7/5, 4/5 in the first and by 6/5, 9/10, 21/20 in the second. From X_0 "
            "with all six equal to 1 (none vanishes), induction gives their powers at layer l.",
        ),
        Claim(
            "row 1 turns to the first feature",
            _ROW_1,
            [x12 < 3 * r * x11],
            [
                Sign(
                    "three second features, each at most a_2",
                    3 * r * x11 - x12,
                    ">",
                    plus(times(3, r * b1 - a2), a2 - b2, a2 - c2, times(3, r, a1), times(3, r, c1)),
                )
            ],
            "r = (6/7)^l: a_2 = (6/5)^l is r times b_1 = (7/5)^l, and b_2, c_2 are smaller powers. All are "
            "positive.",
        ),
        Claim(
            "row 2 turns to the second feature",
            _ROW_2,
            [-x21 < 4 * t * x22],
            [
                Sign(
                    "half of a_2 is left in the second feature",
                    4 * t * x22 + x21,
                    ">",
                    plus(a1, times(2, t, a2 - 4 * c2)),
                )
            ],
            "t = (2/3)^l: c_1 = (4/5)^l is t times a_2 = (6/5)^l. From layer 11 on c_2 = (21/20)^l is at "
            "most a_2/4, so x_22 > 0. As a_1 < c_1, x_21 = a_1 - 2 c_1 is negative and |x_21| = -x_21.",
        ),
        Claim(
            "the cosine",
            _COSINE,
            [(r + t) * X * Y >= D],
            [
                Sign("Y is not negative", Y, ">=", plus(Y - y2, y2)),
                Sign(
                    "each bound costs a term that is not negative",
                    (r + t) * X * Y - D,
                    ">=",
                    plus(
                        times(r + t, plus(times(X - x1, Y), times(x1, Y - y2))),
                        times(x1, t * y2 - y1),
                        times(y2, r * x1 - x2),
                        plus(x1 * y1 + x2 * y2, -D),
                    ),
                ),
            ],
            "Moduli of the entries of two rows of two features, X and Y the norms of the rows and D = |x.y|. "
            "With r = 3 (6/7)^l for row 1 and t = 4 (2/3)^l for row 2, |cos| <= r + t from layer 11 on.",
        ),
        Claim(
            "the limit",
            {},
            [_cosine_limit],
            [_cosine_limit],
            "So cos -> 0 between rows 1 and 2, not +-1. No coefficient of this X_0 vanishes; another X_0 of "
            "this kind only changes the constants, by bounds on its six coefficients.",
        ),
    ),
    second,
    counterexample=r"A = \tfrac18 \begin{pmatrix} 1 & 2 & 5 \\ 2 & 4 & 2 \\ 5 & 2 & 1 \end{pmatrix},\quad "
    r"H = \begin{pmatrix} -4/5 & 0 \\ 0 & 1/5 \end{pmatrix},\quad "
    r"X_0 = \begin{pmatrix} 3 & 3 \\ -1 & -1 \\ 1 & 1 \end{pmatrix}",
)
