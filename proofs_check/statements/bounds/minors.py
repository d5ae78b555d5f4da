"""A matrix of rank one near the state, from 2 x 2 minors.

>>> TERM
N**2/(2*a*q)
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from .shared import over, root

PLACE = 80

a, j, k, m, q, x, y, w1, w2, x1, x2, y1, y2 = sympy.symbols("a j k m q x y w1 w2 x1 x2 y1 y2", real=True)
y3, y4, N = sympy.symbols("y3 y4 N", real=True)

#: ||(Sq)(alpha^T S (I - P_q))|| / (|q|^2 |alpha|^2) at most, for a = |alpha|, q = |q|, N = ||S||
TERM = N**2 / (2 * a * q)


def second(z3: Any) -> dict[str, Query]:
    a, q, x1, x2, x3, x4, k, j, N = z3.Reals("a q y1 y2 y3 y4 k j N")
    x, y, m, b, r, w, f, g, h = z3.Reals("x y m b r w f g h")
    return {
        "coefficients": Query(
            {"y1 != 0": z3.Or(x1 > 0, x1 < 0)},
            # the three quotients by y1, and what is left of the last one
            z3.Implies(
                z3.And(r * x1 == x2, b * x1 == x3, w * x1 == x4),
                (w - b * r) * x1 * x1 == x1 * x4 - x2 * x3,
            ),
            same_symbols=False,
        ),
        "difference": Query(
            {"a != 0": z3.Or(a > 0, a < 0), "q != 0": z3.Or(q > 0, q < 0)},
            # R is the column (f, g) times the row (q, h)
            z3.Implies(
                z3.And(f * q == a * q + x1, g * q == x3, h * a == x2),
                z3.And(
                    a * q + x1 - f * q == 0,
                    (x2 - f * h) * a * q == -x1 * x2,
                    x3 - g * q == 0,
                    (x4 - g * h) * a * q == a * q * x4 - x3 * x2,
                ),
            ),
            same_symbols=False,
        ),
        "second term": Query(
            {"a > 0": a > 0, "q > 0": q > 0, "N > 0": N > 0, "k^2 + j^2 <= N^2": k * k + j * j <= N * N},
            z3.And(
                over(z3, a * q, 2 * k * j, N * N),
                z3.Or(a * q == 0, z3.And(a * q > 0, k * j < N * N), z3.And(a * q < 0, k * j > N * N)),
            ),
        ),
        "largest singular value": Query(
            {
                "N > 0": N > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= N^2": x * x + y * y <= N * N,
                "(a q + x)^2 + y^2 <= m^2": m * m >= a * a * q * q + 2 * a * q * x + x * x + y * y,
            },
            m + N >= a * q,
        ),
    }


_S11, _S12, _S21, _S22 = y1, y2, y3, y4
_X = sympy.Matrix([[a * q + _S11, _S12], [_S21, _S22]])
_R = sympy.Matrix([a + _S11 / q, _S21 / q]) * sympy.Matrix([[q, _S12 / a]])
_LEFT = sympy.Matrix([[0, 0], [0, _S22]]) - sympy.Matrix([_S11, _S21]) * sympy.Matrix([[0, _S12]]) / (a * q)

STATEMENT = Statement(
    "bounds.minors",
    "X / Y_ij = alpha q^T + S with alpha = v_i + beta, q = z_j + gamma and minors S. The matrix R = (alpha "
    "+ S q/|q|^2)(q + (I - P_q) S^T alpha/|alpha|^2)^T of rank one leaves X - R = (I - P_alpha) S (I - P_q) "
    "- (S q)(alpha^T S (I - P_q)) / (|q|^2 |alpha|^2), whose second term is at most ||S||^2 / (2 |alpha| "
    "|q|), so below ||S||^2 / (|alpha| |q|); and sigma_1 >= |alpha| |q| - ||S||.",
    r"\sigma_2 \le \|X - R\| \le \|(I - P_\alpha) S (I - P_q)\| + \frac{\|S\|^2}{2 |\alpha||q|},\quad"
    r" \sigma_1 \ge |\alpha||q| - \|S\|",
    "derived here",
    (
        Claim(
            "coefficients",
            {"y1 != 0": sympy.Ne(y1, 0)},
            [sympy.Eq(y4 / y1 - (y3 / y1) * (y2 / y1), (y1 * y4 - y2 * y3) / y1**2)],
            [
                Identity(
                    "rank one and a minor",
                    sympy.Matrix([[y1, y2], [y3, y4]]) / y1,
                    sympy.Matrix([1, y3 / y1]) * sympy.Matrix([[1, y2 / y1]])
                    + sympy.Matrix([[0, 0], [0, (y1 * y4 - y2 * y3) / y1**2]]),
                ),
                Identity(
                    "the entry that is left",
                    y4 / y1 - (y3 / y1) * (y2 / y1),
                    (y1 * y4 - y2 * y3) / y1**2,
                ),
            ],
            "Coefficients of the rows i, k and the columns j, m: y1 = Y_ij, y2 = Y_im, y3 = Y_kj, y4 = "
            "Y_km. Beside the product of (1, b) and (1, r), b = y3/y1, r = y2/y1, only S_km is left; so for "
            "every k and m. Hence X / Y_ij = (v_i + sum b_k v_k)(z_j + sum r_m z_m)^T + V' S Z', with "
            "|S_km| <= |Y_km|/|Y_ij| + |b_k| |r_m| (triangle).",
        ),
        Claim(
            "difference",
            {"a != 0": sympy.Ne(a, 0), "q != 0": sympy.Ne(q, 0)},
            [sympy.Eq((_X - _R)[i, o], _LEFT[i, o], evaluate=False) for i in (0, 1) for o in (0, 1)],
            [Identity("multiply out", _X - _R, _LEFT)],
            "Both sides keep their form under orthonormal (unitary) changes of basis on the left and on the "
            "right. Choose bases whose first vectors are alpha/|alpha| and q/|q| (complex: its conjugate): "
            "a = |alpha|, q = |q|, P_alpha and P_q project on the first coordinate, S = (y1, y2; y3, y4), "
            "S q/|q|^2 = (y1, y3)/q, (I - P_q) S^T alpha/|alpha|^2 = (0, y2)/a. More tokens and features "
            "repeat the second row and column. The identity is rational, so it holds for complex S too, and "
            "the pair (i, j) need not be real.",
        ),
        Claim(
            "second term",
            {"a > 0": a > 0, "q > 0": q > 0, "N > 0": N > 0, "k^2 + j^2 <= N^2": k**2 + j**2 <= N**2},
            [k * j / (a * q) <= TERM, k * j / (a * q) < N**2 / (a * q)],
            [
                Identity(
                    "the norm of a product of a column and a row",
                    (x1**2 + x2**2) * (w1**2 + w2**2),
                    (x1 * w1) ** 2 + (x1 * w2) ** 2 + (x2 * w1) ** 2 + (x2 * w2) ** 2,
                ),
                Sign(
                    "a column and a row of S that share no entry",
                    TERM - k * j / (a * q),
                    ">=",
                    times(plus(N**2 - k**2 - j**2, (k - j) ** 2), 1 / (2 * a * q)),
                ),
                Sign(
                    "half of it is to spare",
                    N**2 / (a * q) - k * j / (a * q),
                    ">",
                    plus(TERM - k * j / (a * q), TERM),
                ),
            ],
            "In the same bases: k = |S q|/|q| is the length of the first column of S and j = |alpha^T S (I - "
            "P_q)|/|alpha| that of its first row without the first entry. They share no entry, so k^2 + j^2 "
            "<= ||S||^2 = N^2, and the norm of the second term is k j / (a q).",
        ),
        Claim(
            "largest singular value",
            {
                "N > 0": N > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= N^2": x**2 + y**2 <= N**2,
                "(a q + x)^2 + y^2 <= m^2": (a * q + x) ** 2 + y**2 <= m**2,
            },
            [m >= a * q - N],
            [
                Sign("a leg is no longer than its side", N**2 - x**2, ">=", plus(N**2 - x**2 - y**2, y**2)),
                root("take roots", N, -x),
                Sign(
                    "the same for the first column of X",
                    m**2 - (a * q + x) ** 2,
                    ">=",
                    plus(m**2 - (a * q + x) ** 2 - y**2, y**2),
                ),
                root("take roots", m, a * q + x),
                Sign("add the two", m - a * q + N, ">=", plus(m - a * q - x, N + x)),
            ],
            "m = sigma_1 is at least the length of the first column of X, (a q + x, y) where (x, y) is that "
            "of S and y gathers all entries but the first. Also sigma_1(X / Y_ij) >= 1/(|u_i| |w_j|), by "
            "bounds.from_below. R = alpha q^T leaves ||S||, which may be less.",
        ),
    ),
    second,
)
