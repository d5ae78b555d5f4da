"""... but not under every attention: a circulant that turns three tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
from sympy import Eq, I, Matrix, Rational

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign
from ..dominance.shared import CONSTANT, OTHER

PLACE = 30

x, y, u, v, c0, c1, c2, c3 = sympy.symbols("x y u v c_0 c_1 c_2 c_3", real=True)

_row = (Rational(1, 40), Rational(37, 40), Rational(1, 40), Rational(1, 40))
#: positive circulant attention with the eigenvalues 1, 9i/10, -9/10, -9i/10
CIRCULANT = Matrix(4, 4, lambda i, j: _row[(j - i) % 4])
#: weights with the eigenvalues 1 + 5i and 1 - 5i
TURNING = Matrix([[1, -5], [5, 1]])
_cos, _sin = (1, 0, -1, 0), (0, -1, 0, 1)
_entries = {f"c_{i} = {_row[i]}": Eq((c0, c1, c2, c3)[i], _row[i]) for i in range(4)}


def _times_circulant(entries: Sequence[Any], vector: Sequence[int]) -> list[Any]:
    return [sum(entries[(j - i) % 4] * vector[j] for j in range(4)) for i in range(4)]


def _pair(u_value: Any, v_value: Any) -> dict[str, Any]:
    given = {"x = 1": Eq(x, 1), "y = 5": Eq(y, 5)}
    return given | {f"u = {u_value}": Eq(u, u_value), f"v = {v_value}": Eq(v, v_value)}


def second(s: Any) -> dict[str, Query]:
    x, y, u, v = s.Reals("x y u v")
    c = s.Reals("c_0 c_1 c_2 c_3")
    entries = {f"c_{i} = {_row[i]}": 40 * c[i] == (37 if i == 1 else 1) for i in range(4)}
    # A (p + i s) = -(9/10) i (p + i s) with p = (1, 0, -1, 0), s = (0, -1, 0, 1)
    real = [c[0] - c[2] == 0, 10 * (c[3] - c[1]) == -9, c[2] - c[0] == 0, 10 * (c[1] - c[3]) == 9]
    imaginary = [10 * (c[3] - c[1]) == -9, c[2] - c[0] == 0, 10 * (c[1] - c[3]) == 9, c[0] - c[2] == 0]
    mu = {"x = 1": x == 1, "y = 5": y == 5}
    first = mu | {"u = 0": u == 0, "v = -9/10": 10 * v == -9}
    second = mu | {"u = -27/32": 32 * u == -27, "v = -1/2": 2 * v == -1}
    re, im = 1 + u * x - v * y, u * y + v * x
    loses = s.And(u * u + v * v < 1, x > 0, (1 + x) * (1 + x) + y * y < re * re + im * im)
    return {
        "a complex eigenvalue of attention": Query(entries, s.And(*real, *imaginary)),
        "lambda = 1 loses": Query(first, loses),
        "lambda = 1 loses to another": Query(second, loses),
    }


_vector = Matrix([p_ + I * s_ for p_, s_ in zip(_cos, _sin, strict=True)])
_loses = [u**2 + v**2 < 1, x > 0, CONSTANT < OTHER]
_wrong_way = [
    Sign("lambda is inside the unit circle", u**2 + v**2 - 1, "<"),
    Sign("mu is in the right half plane", x, ">"),
    Sign("and yet", CONSTANT - OTHER, "<"),
]

STATEMENT = Statement(
    "smooth.complex",
    "Weight eigenvalues with positive real parts smooth, whatever the spectrum of attention.",
    r"\Re\mu_j > 0 \;\Longrightarrow\; \max_j |1+\mu_j| > \max_{\lambda_i \ne 1,\, j} |1+\lambda_i\mu_j|",
    "derived here",
    (
        Claim(
            "a complex eigenvalue of attention",
            _entries,
            [
                *(
                    Eq(e, Rational(9, 10) * w)
                    for e, w in zip(_times_circulant((c0, c1, c2, c3), _cos), _sin, strict=True)
                ),
                *(
                    Eq(e, -Rational(9, 10) * w)
                    for e, w in zip(_times_circulant((c0, c1, c2, c3), _sin), _cos, strict=True)
                ),
            ],
            [
                Identity("the rows of A sum to one", CIRCULANT * sympy.ones(4, 1), sympy.ones(4, 1)),
                Identity("lambda = -9i/10", CIRCULANT * _vector, -Rational(9, 10) * I * _vector),
                Identity(
                    "lambda = -9/10",
                    CIRCULANT * Matrix([1, -1, 1, -1]),
                    -Rational(9, 10) * Matrix([1, -1, 1, -1]),
                ),
            ],
            "A is the positive circulant with first row (c_0, c_1, c_2, c_3); the real and imaginary parts "
            "of the eigenvector are (1, 0, -1, 0) and (0, -1, 0, 1). A circulant is normal, so A is "
            "diagonalizable; its eigenvalues are 1, -9/10 and the pair +-9i/10.",
        ),
        Claim(
            "lambda = 1 loses",
            _pair(sympy.Integer(0), -Rational(9, 10)),
            _loses,
            [
                Identity(
                    "mu = 1 + 5i is an eigenvalue of H",
                    TURNING * Matrix([1, -I]),
                    (1 + 5 * I) * Matrix([1, -I]),
                ),
                Identity("so is mu = 1 - 5i", TURNING * Matrix([1, I]), (1 - 5 * I) * Matrix([1, I])),
                *_wrong_way,
            ],
            "Both mu have |1 + mu|^2 = 29, but |1 + mu lambda|^2 = 31.06: lambda = 1 does not dominate, and "
            "by 'only if' of dominance.global generic X_0 does not converge to equal tokens.",
        ),
        Claim(
            "lambda = 1 loses to another",
            _pair(-Rational(27, 32), -Rational(1, 2)),
            _loses,
            _wrong_way,
            "The same with lambda = -27/32 - i/2: 30026/1024 against 29.",
        ),
    ),
    second,
    counterexample=r"A = \operatorname{circ}(1/40, 37/40, 1/40, 1/40),\quad "
    r"H = \begin{pmatrix} 1 & -5 \\ 5 & 1 \end{pmatrix},\quad \lambda = -9i/10,\; \mu = 1+5i",
)
