"""Real weights: where the constant mode beats the smallest eigenvalue of attention.

>>> BOUNDARY
-2/(a + 1)
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus
from .shared import LOWEST

PLACE = 20

a, mu = sympy.symbols("a mu", real=True)

#: a real weight eigenvalue below this one smooths again
BOUNDARY = -2 / (1 + a)
GAP = (1 + mu) ** 2 - (1 + mu * a) ** 2
BETWEEN = {"a < 1": a < 1, "mu (1+a) > -2": mu * (1 + a) > -2, "mu < 0": mu < 0}
_factored = mu * (1 - a) * (2 + mu * (1 + a))
_factors = Sign("the factors of (1 + mu)^2 - (1 + mu a)^2", GAP, ">", _factored)


def second(s: Any) -> dict[str, Query]:
    a, mu = s.Reals("a mu")
    lowest = {"-1 < a": a > -1, "a < 1": a < 1}
    constant, other = (1 + mu) * (1 + mu), (1 + mu * a) * (1 + mu * a)
    between = {"a < 1": a < 1, "mu (1+a) > -2": mu + mu * a > -2, "mu < 0": mu < 0}
    return {
        "mu > 0": Query(lowest | {"mu > 0": mu > 0}, constant > other),
        "below the boundary": Query(lowest | {"mu (1+a) < -2": mu + mu * a < -2}, constant > other),
        "between": Query(between, constant < other),
        "mu = 0": Query({"mu = 0": mu == 0}, constant == other),
        "on the boundary": Query({"mu (1+a) = -2": mu + mu * a == -2}, constant == other),
    }


STATEMENT = Statement(
    "dominance.boundary",
    "With a the smallest eigenvalue of attention, -1 < a < 1: for real mu, lambda = 1 wins iff mu > 0 or "
    "mu < -2/(1+a), a wins iff -2/(1+a) < mu < 0, and they tie at mu = 0 and mu = -2/(1+a).",
    r"(1+\mu)^2 - (1+\mu a)^2 = \mu (1-a) (2 + \mu(1+a))",
    "mu > 0 and -1 <= mu < 0: arXiv 2401.04301; the rest derived here",
    (
        Claim(
            "mu > 0",
            LOWEST | {"mu > 0": mu > 0},
            [(1 + mu) ** 2 > (1 + mu * a) ** 2],
            [_factors],
            "Eigenvalues between a and 1 are settled by dominance.endpoints. The five claims cover the line, "
            "since 1 + a > 0, so each 'if' is also an 'only if'.",
        ),
        Claim(
            "below the boundary",
            LOWEST | {"mu (1+a) < -2": mu * (1 + a) < -2},
            [(1 + mu) ** 2 > (1 + mu * a) ** 2],
            [
                Sign("1 + a is positive", 1 + a, ">"),
                Sign("so mu is negative", mu, "<", plus(mu * (1 + a) + 2, -2) / (1 + a)),
                _factors,
            ],
        ),
        Claim(
            "between",
            BETWEEN,
            [(1 + mu) ** 2 < (1 + mu * a) ** 2],
            [Sign("one factor is negative", GAP, "<", _factored)],
        ),
        Claim(
            "mu = 0",
            {"mu = 0": Eq(mu, 0)},
            [Eq((1 + mu) ** 2, (1 + mu * a) ** 2)],
            [Sign("the first factor is zero", GAP, "==", _factored)],
        ),
        Claim(
            "on the boundary",
            {"mu (1+a) = -2": Eq(mu * (1 + a), -2)},
            [Eq((1 + mu) ** 2, (1 + mu * a) ** 2)],
            [Sign("the last factor is zero", GAP, "==", _factored)],
        ),
    ),
    second,
)
