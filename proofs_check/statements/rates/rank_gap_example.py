"""A pair of eigenvalues for which the product of two neighbours decides.

>>> Q_TOK, Q_RANK
(1/8, 3/32)
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Rational, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Tends
from ..defective.shared import equal, quotient
from .shared import EXAMPLE, det, rho11, rho12, rho21, rho22

PLACE = 60

depth, u1, u2, pa, pb, pc = sympy.symbols("l mu1 mu2 P4 P3 Ph", real=True)

_EX_A = Matrix([[1, 3], [3, 1]]) / 4
_EX_X = Matrix([[3 * pa / 2 - pc / 2, 3 * pb / 2], [3 * pa / 2 + pc / 2, 3 * pb / 2]])
_EX_NEXT = _EX_X.subs({pa: 4 * pa, pb: 3 * pb, pc: -pc / 2}, simultaneous=True)
_EX_SIZE = (9 * pa**2 + 9 * pb**2 + pc**2) / 2
_EX_LAYER = _EX_X + _EX_A * _EX_X * sympy.diag(u1, u2)
_EX_RATIO = Rational(3, 2) / (Rational(9, 2) * (1 + Rational(9, 16) ** depth) + Rational(1, 64) ** depth / 2)


def tok_rank(big: Any, along_row: Any, along_column: Any, across: Any) -> tuple[Any, Any]:
    """Return q_tok and q_rank from moduli: the dominant one, at lambda = 1, and the largest others.

    Those in its row (lambda = 1), in its column (the same mu) and beside both, in this order.

    >>> tok_rank(4, 3, Rational(1, 2), 0)
    (1/8, 3/32)
    """
    big, along_row, along_column, across = map(sympy.sympify, (big, along_row, along_column, across))
    rank = sympy.Max(big * across, along_row * along_column) / big**2
    return sympy.Max(along_column, across) / big, rank


#: of the example lambda = {1, -1/2}, mu = {3, 2}
Q_TOK, Q_RANK = tok_rank(4, 3, Rational(1, 2), 0)


def second(s: Any) -> dict[str, Query]:
    pa, pb, pc, x, y, w, T, p, depth = s.Reals("P4 P3 Ph x y w T p l")
    l1, l2, m1, m2 = s.Reals("lambda1 lambda2 mu1 mu2")
    low, high, col = 3 * pa - pc, 3 * pa + pc, 3 * pb  # twice the entries
    return {
        "which minor": Query(
            {"lambda1 = 1": l1 == 1, "lambda2 = -1/2": 2 * l2 == -1, "mu1 = 3": m1 == 3, "mu2 = 2": m2 == 2},
            s.And(
                32 * (1 + l1 * m2) * (1 + l2 * m1) == -3 * (1 + l1 * m1) * (1 + l1 * m1),
                (1 + l1 * m1) * (1 + l2 * m2) == 0,
            ),
        ),
        # eight times a layer
        "one more layer": Query(
            {"mu1 = 3": m1 == 3, "mu2 = 2": m2 == 2},
            s.And(
                4 * low + m1 * (low + 3 * high) == 4 * (12 * pa + pc / 2),
                4 * high + m1 * (3 * low + high) == 4 * (12 * pa - pc / 2),
                4 * col + m2 * (col + 3 * col) == 4 * 9 * pb,
            ),
        ),
        "minor and norm": Query(
            {},
            s.And(
                low * col - col * high == -6 * pb * pc,
                low * low + high * high + 2 * col * col == 2 * (9 * pa * pa + 9 * pb * pb + pc * pc),
            ),
        ),
        # x = (9/16)^l and y = (1/64)^l; 3/2 over 9/2 + 9 x/2 + y/2 against 1/3
        "limit": Query(
            {},
            s.And(
                9 - 2 * (s.RealVal(9) / 2 + 9 * x / 2 + y / 2) == 0 - 9 * x - y,
                s.Implies(s.And(x > 0, y > 0), s.RealVal(9) / 2 + 9 * x / 2 + y / 2 > s.RealVal(9) / 2),
                s.Implies(s.And(p > 0, 1 + depth * p <= T, depth > 0, w > 0, w * T == 1), w * depth * p < 1),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "rates.rank_gap_example",
    "For lambda = {1, -1/2} and mu = {3, 2} the product |rho_12 rho_21| decides: sigma_2/sigma_1 closes "
    "like 3 * 1/2 / 16 = 3/32 per layer although rho = 0 at (-1/2, 2).",
    r"\left(\tfrac{32}{3}\right)^{l} \frac{\sigma_2}{\sigma_1} \to \tfrac13",
    "derived here",
    (
        Claim(
            "which minor",
            EXAMPLE | {"mu2 = 2": Eq(u2, 2)},
            [equal(32 * rho12 * rho21, -3 * rho11**2), equal(rho11 * rho22, 0)],
            [
                Identity("3 times -1/2 against 16", 32 * rho12 * rho21, -3 * rho11**2),
                Identity("the other product", rho11 * rho22, 0),
            ],
            "rho = 4, 3 at lambda = 1 and -1/2, 0 at lambda = -1/2: q_rank = 3/32, q_tok = 1/8.",
        ),
        Claim(
            "one more layer",
            {"mu1 = 3": Eq(u1, 3), "mu2 = 2": Eq(u2, 2)},
            [equal(left, right) for left, right in zip(_EX_LAYER, _EX_NEXT, strict=True)],
            [Identity("a layer", _EX_LAYER, _EX_NEXT)],
            "A = (1, 3; 3, 1)/4, H = diag(3, 2), X_0 = (1, 2; 2, 1); P4 = 4^l, P3 = 3^l, Ph = (-1/2)^l, "
            "from l = 1 on, where X_1 = (25/4, 9/2; 23/4, 9/2).",
        ),
        Claim(
            "minor and norm",
            {},
            [
                equal(det(_EX_X), -3 * pb * pc / 2),
                equal(sum(entry**2 for entry in _EX_X), _EX_SIZE),
            ],
            [
                Identity("the minor", det(_EX_X), -3 * pb * pc / 2),
                Identity("the squares", sum(entry**2 for entry in _EX_X), _EX_SIZE),
            ],
            "sigma_1 sigma_2 = (3/2) (3/2)^l and |X_l|_F^2 = (9 16^l + 9 9^l + (1/4)^l)/2.",
        ),
        Claim(
            "limit",
            {},
            [Tends("of |det|/|X|^2 times (32/3)^l", _EX_RATIO, depth, oo, Rational(1, 3))],
            [
                Tends("9/16 vanishes", Rational(9, 16) ** depth, depth, oo, 0),
                Tends("1/64 vanishes", Rational(1, 64) ** depth, depth, oo, 0),
                Tends("of |det|/|X|^2 times (32/3)^l", _EX_RATIO, depth, oo, Rational(1, 3)),
            ],
            "Divide by 16^l: (3/2) (3/2)^l (32/3)^l = (3/2) 16^l. |X|_F^2/sigma_1^2 tends to 1.",
        ),
    ),
    second,
)
