"""Positive weights smooth under every attention."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from ..dominance.shared import ROOM, SMALLER, room_is_positive
from ..sharpen.shared import left_of_one, squared_modulus

PLACE = 10

mu, u = sympy.symbols("mu u", real=True)


def second(s: Any) -> dict[str, Query]:
    mu, u, v = s.Reals("mu u v")
    given = {"mu > 0": mu > 0, "|lambda| < 1": u * u + v * v < 1}
    return {
        "lambda = 1 wins": Query(
            given, (1 + mu) * (1 + mu) > 1 + 2 * mu * u + mu * mu * u * u + mu * mu * v * v
        )
    }


STATEMENT = Statement(
    "smooth.interval",
    "If every weight eigenvalue is real and positive, then lambda = 1 dominates strictly, whatever the real "
    "or complex spectrum of attention: generic X_0 converges to equal tokens.",
    r"\mu > 0,\; |\lambda| < 1 \;\Longrightarrow\; 1+\mu > |1+\mu\lambda|",
    "real spectra: arXiv 2401.04301; complex spectra derived here",
    (
        Claim(
            "lambda = 1 wins",
            {"mu > 0": mu > 0} | SMALLER,
            [(1 + mu) ** 2 > squared_modulus(mu)],
            [
                room_is_positive,
                left_of_one(),
                Sign(
                    "both terms are positive",
                    (1 + mu) ** 2 - squared_modulus(mu),
                    ">",
                    plus(2 * mu * (1 - u), times(mu**2, ROOM)),
                ),
            ],
            "It holds for each mu_j, so for the largest over j on the right side; then dominance.global.",
        ),
    ),
    second,
)
