"""Zero among the weights: ties, and still no smoothing."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Sign
from ..dominance.shared import SMALLER, room_is_positive
from .shared import beaten, left_of_one, squared_modulus

PLACE = 20

mu = sympy.Symbol("mu", real=True)


def second(s: Any) -> dict[str, Query]:
    mu, u, v = s.Reals("mu u v")
    re, im = 1 + mu * u, mu * v
    given = {"mu >= -1": mu + 1 >= 0, "mu <= 0": mu <= 0, "|lambda| < 1": u * u + v * v < 1}
    return {
        "not beaten": Query(given, re * re + im * im >= (1 + mu) * (1 + mu)),
        "mu = 0": Query({"mu = 0": mu == 0}, re * re + im * im == (1 + mu) * (1 + mu)),
    }


STATEMENT = Statement(
    "sharpen.zero",
    "If every weight eigenvalue is real and in [-1, 0], 0 allowed, then lambda = 1 beats no eigenvalue of "
    "attention; at mu = 0 all of them tie. With A and H diagonalizable, generic X_0 still does not converge "
    "to equal tokens.",
    r"-1 \le \mu \le 0,\; |\lambda| < 1 \;\Longrightarrow\; |1+\mu\lambda| \ge 1+\mu",
    "real spectra: arXiv 2401.04301; complex spectra and mu = 0 derived here",
    (
        Claim(
            "not beaten",
            {"mu >= -1": mu >= -1, "mu <= 0": mu <= 0} | SMALLER,
            [squared_modulus(mu) >= (1 + mu) ** 2],
            [
                room_is_positive,
                left_of_one(),
                Sign("no factor is negative", squared_modulus(mu) - (1 + mu) ** 2, ">=", beaten(mu)),
            ],
            "The largest modulus away from lambda = 1 is at least the largest at lambda = 1, which is all "
            "that 'only if' of dominance.global needs.",
        ),
        Claim(
            "mu = 0",
            {"mu = 0": Eq(mu, 0)},
            [Eq(squared_modulus(mu), (1 + mu) ** 2)],
            [Sign("the factor mu is zero", squared_modulus(mu) - (1 + mu) ** 2, "==", beaten(mu))],
            "All eigenvalues of attention tie. An eigenbasis is needed here: dominance.only_if_defective has "
            "mu = 0 twice in one Jordan block, and converges.",
        ),
    ),
    second,
)
