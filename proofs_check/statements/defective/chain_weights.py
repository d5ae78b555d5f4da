"""A Jordan block of the weights alone: one more power of depth.

>>> CHAIN
(a + b*k*l*lambda, b)
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Ne, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus
from .shared import divided, divided_second, near, quotient, size

PLACE = 10

a, b, k, lam, depth = sympy.symbols("a b k lambda l", real=True)

#: coefficients of z_1 and z_2 after l layers, over rho^l: lambda simple, mu with a block of size two
CHAIN = (a + depth * k * lam * b, b)

_next_chain = divided(
    "The part of X along v is v r with the row r = a z_1 + b z_2, and r H = (mu a + b) z_1 + mu b z_2; so a "
    "layer maps (a, b) to (rho a + lambda b, rho b). With w = lambda b and y = a + l k lambda b, the "
    "coefficients rho^l (y, b) at layer l become rho^(l+1) (y + k lambda b, b), which is the same form with "
    "l + 1: induction from (a, b) at layer 0. As v times one row it has rank one at every layer."
)
_B = {"lambda != 0": Ne(lam, 0), "k != 0": Ne(k, 0), "b != 0": Ne(b, 0)}
_lead = Sign("the coefficient of l is not zero", k * lam * b, "!=")
_chain_growth = Claim(
    "growth",
    _B,
    [Tends("it grows like l rho^l", CHAIN[0] / depth, depth, oo, k * lam * b), Ne(k * lam * b, 0)],
    [
        _lead,
        Identity("divide by l", CHAIN[0] / depth, plus(k * lam * b, a / depth)),
        Tends("the second term vanishes", CHAIN[0] / depth, depth, oo, k * lam * b),
    ],
    "b is what X_0 has of z_2, not zero for generic X_0.",
)
_chain_direction = Claim(
    "direction",
    _B,
    [Tends("it turns towards z_1 like 1/l", depth * CHAIN[1] / CHAIN[0], depth, oo, 1 / (k * lam))],
    [
        _lead,
        Identity(
            "distance to the limit",
            depth * b / CHAIN[0] - 1 / (k * lam),
            -a / (k * lam * (a + depth * k * lam * b)),
        ),
        Tends("which closes", depth * CHAIN[1] / CHAIN[0], depth, oo, 1 / (k * lam)),
    ],
    "rho^l cancels in b_l/a_l, the coefficient of z_2 over that of z_1; the tangent of the angle to z_1 is "
    "this times a factor with a finite limit that is not zero, |z_2|/|z_1| times the sine of the angle "
    "between z_1 and z_2.",
)


def second(s: Any) -> dict[str, Query]:
    a, b, k, lam, depth, eps, t, limit, g = s.Reals("a b k lambda l eps t A g")
    given = {"lambda != 0": lam != 0, "k != 0": k != 0, "b != 0": b != 0}
    first = a + depth * k * lam * b
    return divided_second(s) | {
        "growth": Query(
            given,
            s.And(
                k * lam * b != 0,
                s.Implies(
                    s.And(eps > 0, depth > 0, depth * eps > size(s, a)),
                    near(s, first, depth * k * lam * b, eps * depth),
                ),
            ),
            same_symbols=False,
        ),
        # b over g b + t a, with t = 1/l and g = k lambda; both times the sign of g b
        "direction": Query(
            given,
            s.And(
                k * lam * b != 0,
                s.Implies(limit * g == 1, b - limit * (g * b + t * a) == t * (0 - limit * a)),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "defective.chain_weights",
    "A simple eigenvalue lambda != 0 of A and a Jordan block of size two of H at mu, rho = 1 + lambda "
    "mu != 0: the part grows like l |rho|^l, has rank one at every layer, and its direction moves like "
    "1/l.",
    r"v\,\rho^l\left((a + l\tfrac{\lambda}{\rho} b)\, z_1 + b\, z_2\right)^{\!\top},\quad "
    r"l\,\tfrac{b}{a + l\lambda b/\rho} \to \tfrac{\rho}{\lambda}",
    "derived here; arXiv 2401.04301 takes A diagonalizable",
    (_next_chain, _chain_growth, _chain_direction),
    second,
)
