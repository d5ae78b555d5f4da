"""A block of the weights at mu = 0: all of attention ties."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Matrix, Ne, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends
from .shared import NILPOTENT, equal, quotient

PLACE = 60

lam, depth, al, be, ga, de = sympy.symbols("lambda l alpha beta gamma delta", real=True)

_ZERO = Matrix([[al, ga + depth * al], [be, de + depth * lam * be]])
_ZERO_SIZE = al**2 + (ga + depth * al) ** 2 + be**2 + (de + depth * lam * be) ** 2
_ZERO_T = (be**2 + (de + depth * lam * be) ** 2) / _ZERO_SIZE
_ZERO_MINOR = al * de - be * ga - depth * al * be * (1 - lam)
_ZERO_SQUARE = al**2 + lam**2 * be**2


def second(s: Any) -> dict[str, Query]:
    al, be, ga, de, lam, depth, t, limit = s.Reals("alpha beta gamma delta lambda l t A")
    low, g, h = s.Reals("D g h")
    square = al * al + lam * lam * be * be
    # t^2 times the squares of the four coefficients, t = 1/l
    diverse = t * t * be * be + (t * de + lam * be) * (t * de + lam * be)
    whole = diverse + t * t * al * al + (t * ga + al) * (t * ga + al)
    of_diverse = t * be * be + t * de * de + 2 * de * lam * be
    of_whole = of_diverse + t * al * al + t * ga * ga + 2 * ga * al
    return {
        "one more layer": Query(
            {},
            s.And(
                ga + depth * al + al == ga + (depth + 1) * al,
                de + depth * lam * be + lam * be == de + lam * (depth + 1) * be,
            ),
        ),
        "token diversity": Query(
            {"beta != 0": be != 0, "lambda != 0": lam != 0},
            s.And(
                lam * lam * be * be > 0,
                square > 0,
                diverse == lam * lam * be * be + t * of_diverse,
                whole == square + t * of_whole,
                s.Implies(limit * square == lam * lam * be * be, limit > 0),
                quotient(s),
            ),
            same_symbols=False,
        ),
        "minor": Query(
            {},
            al * (de + depth * lam * be) + depth * al * be * (1 - lam)
            == be * (ga + depth * al) + al * de - be * ga,
        ),
        "rank gap": Query(
            {"alpha != 0": al != 0, "beta != 0": be != 0, "lambda != 1": lam != 1},
            s.And(
                al * be * (1 - lam) != 0,
                square > 0,
                whole == square + t * of_whole,
                # l times the minor over l^2
                al * de - be * ga - depth * al * be * (1 - lam)
                == depth * (0 - al * be * (1 - lam)) + (al * de - be * ga),
                s.Implies(
                    limit * low == g, t * h + g - limit * (low + t * of_whole) == t * (h - limit * of_whole)
                ),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "defective.zero_block",
    "If mu = 0 with a Jordan block of size two of H dominates and A has another eigenvalue that is not "
    "zero, all lambda tie, token diversity does not close, and sigma_2/sigma_1 closes like 1/l.",
    r"X_l = X_0 + l\,A X_0 H,\quad t_{\mathrm{div}} \to \frac{\lambda^2\beta^2}{\alpha^2 + "
    r"\lambda^2\beta^2},\quad l\,\tfrac{\sigma_2}{\sigma_1} \to "
    r"\frac{|\alpha\beta|(1-\lambda)}{\alpha^2 + \lambda^2\beta^2}",
    "derived here",
    (
        Claim(
            "one more layer",
            {},
            [
                equal(ga + depth * al + al, ga + (depth + 1) * al),
                equal(de + depth * lam * be + lam * be, de + (depth + 1) * lam * be),
            ],
            [
                Identity(
                    "H moves the first column to the second, A multiplies by its eigenvalues",
                    _ZERO + sympy.diag(1, lam) * _ZERO * NILPOTENT,
                    _ZERO.subs(depth, depth + 1),
                )
            ],
            "H = (0, 1; 0, 0), H^2 = 0: X_l = X_0 + l A X_0 H for every A and every size, by induction. "
            "For two tokens and symmetric A = ((1+lambda)/2, (1-lambda)/2; ...), the first column of "
            "X_0 is alpha (1,1) + beta (1,-1), the second gamma (1,1) + delta (1,-1). For any A, the "
            "first column being sum_i beta_i v_i, X_l/l tends to (sum_i lambda_i beta_i v_i) z: t_div "
            "tends to that of this vector, positive if some lambda_i != 0 besides lambda = 1; other mu "
            "only add what vanishes geometrically.",
        ),
        Claim(
            "token diversity",
            {"beta != 0": Ne(be, 0), "lambda != 0": Ne(lam, 0)},
            [
                Tends("it has a limit", _ZERO_T, depth, oo, lam**2 * be**2 / _ZERO_SQUARE),
                lam**2 * be**2 / _ZERO_SQUARE > 0,
            ],
            [
                Sign("what grows in the diverse part", lam**2 * be**2, ">"),
                Sign("what grows in all", _ZERO_SQUARE, ">"),
                Sign("the limit is positive", lam**2 * be**2 / _ZERO_SQUARE, ">"),
                Tends("terms with l^2", _ZERO_T, depth, oo, lam**2 * be**2 / _ZERO_SQUARE),
            ],
            "t_div = |Pi_perp X|^2/|X|^2; (1,1) and (1,-1) are orthogonal and of one length, which cancels.",
        ),
        Claim(
            "minor",
            {},
            [equal(_ZERO[0, 0] * _ZERO[1, 1] - _ZERO[0, 1] * _ZERO[1, 0], _ZERO_MINOR)],
            [
                Identity(
                    "l alpha beta lambda - l alpha beta",
                    _ZERO[0, 0] * _ZERO[1, 1] - _ZERO[0, 1] * _ZERO[1, 0],
                    _ZERO_MINOR,
                )
            ],
            "In the orthonormal basis (1,1)/sqrt 2, (1,-1)/sqrt 2 the coefficients are these times sqrt "
            "2: sigma_1 sigma_2 = 2 |minor| and |X|_F^2 = 2 (sum of squares).",
        ),
        Claim(
            "rank gap",
            {"alpha != 0": Ne(al, 0), "beta != 0": Ne(be, 0), "lambda != 1": Ne(lam, 1)},
            [
                Tends(
                    "it closes like 1/l",
                    depth * _ZERO_MINOR / _ZERO_SIZE,
                    depth,
                    oo,
                    -al * be * (1 - lam) / _ZERO_SQUARE,
                ),
                Ne(al * be * (1 - lam), 0),
            ],
            [
                Sign("what grows in all", _ZERO_SQUARE, ">"),
                Sign("what grows in the minor", al * be * (1 - lam), "!="),
                Tends(
                    "one power of l against two",
                    depth * _ZERO_MINOR / _ZERO_SIZE,
                    depth,
                    oo,
                    -al * be * (1 - lam) / _ZERO_SQUARE,
                ),
            ],
            "sigma_2/sigma_1 = sigma_1 sigma_2/|X|_F^2 times |X|_F^2/sigma_1^2, and the last factor "
            "tends to 1. lambda < 1 as lambda = 1 is a simple eigenvalue of A.",
        ),
    ),
    second,
)
