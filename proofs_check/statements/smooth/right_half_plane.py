"""Weights of positive real part smooth where the spectrum of attention is real."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from ..dominance.shared import squared

PLACE = 20

x, y, lam = sympy.symbols("x y lambda", real=True)


def second(s: Any) -> dict[str, Query]:
    x, y, lam = s.Reals("x y lambda")
    given = {"Re mu > 0": x > 0, "-1 < lambda": lam + 1 > 0, "lambda < 1": 1 - lam > 0}
    re, im = 1 + x * lam, y * lam
    return {"lambda = 1 wins": Query(given, (1 + x) * (1 + x) + y * y > re * re + im * im)}


STATEMENT = Statement(
    "smooth.right_half_plane",
    "If every weight eigenvalue has a positive real part and the spectrum of attention is real, then lambda "
    "= 1 dominates strictly: generic X_0 converges to equal tokens.",
    r"\Re\mu > 0,\; -1 < \lambda < 1 \;\Longrightarrow\; |1+\mu| > |1+\mu\lambda|",
    "real mu: arXiv 2401.04301; complex mu derived here",
    (
        Claim(
            "lambda = 1 wins",
            {"Re mu > 0": x > 0, "-1 < lambda": lam > -1, "lambda < 1": lam < 1},
            [squared(1) > squared(lam)],
            [
                Sign(
                    "both factors are positive",
                    squared(1) - squared(lam),
                    ">",
                    times(1 - lam, plus(2 * x, times(1 + lam, x**2 + y**2))),
                )
            ],
            "mu = x + iy. It holds for each mu_j, so for the largest over j on the right side; then "
            "dominance.global.",
        ),
    ),
    second,
)
