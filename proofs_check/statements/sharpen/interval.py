"""Real weights in [-1, 0) never smooth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus
from ..dominance.shared import SMALLER, room_is_positive
from .shared import beaten, left_of_one, squared_modulus

PLACE = 10

mu, R, mu1, mu2 = sympy.symbols("mu R mu_1 mu_2", real=True)

SHARPENING = {"mu >= -1": mu >= -1, "mu < 0": mu < 0} | SMALLER

SEVERAL = (
    {"mu_1 >= -1": mu1 >= -1, "mu_1 < 0": mu1 < 0, "mu_2 >= -1": mu2 >= -1, "mu_2 < 0": mu2 < 0}
    | SMALLER
    | {
        "R^2 >= |1 + mu_1 lambda|^2": squared_modulus(mu1) <= R**2,
        "R^2 >= |1 + mu_2 lambda|^2": squared_modulus(mu2) <= R**2,
    }
)


def second(s: Any) -> dict[str, Query]:
    mu, mu1, mu2, u, v, R = s.Reals("mu mu_1 mu_2 u v R")
    smaller = {"|lambda| < 1": u * u + v * v < 1}

    def modulus(value: Any) -> Any:  # 1 + 2 mu Re(lambda) + mu^2 |lambda|^2
        return 1 + 2 * value * u + value * value * (u * u + v * v)

    several = {
        "mu_1 >= -1": 1 + mu1 >= 0,
        "mu_1 < 0": mu1 < 0,
        "mu_2 >= -1": 1 + mu2 >= 0,
        "mu_2 < 0": mu2 < 0,
        "R^2 >= |1 + mu_1 lambda|^2": modulus(mu1) <= R * R,
        "R^2 >= |1 + mu_2 lambda|^2": modulus(mu2) <= R * R,
    }
    return {
        "one weight eigenvalue": Query(
            smaller | {"mu >= -1": 1 + mu >= 0, "mu < 0": mu < 0}, modulus(mu) > (1 + mu) * (1 + mu)
        ),
        "several weight eigenvalues": Query(
            smaller | several, s.And((1 + mu1) * (1 + mu1) < R * R, (1 + mu2) * (1 + mu2) < R * R)
        ),
    }


def _several(value: Any, name: str) -> Sequence[Sign]:
    return (
        Sign(f"lambda beats 1 for {name}", squared_modulus(value) - (1 + value) ** 2, ">", beaten(value)),
        Sign(
            f"so R does, for {name}",
            R**2 - (1 + value) ** 2,
            ">",
            plus(R**2 - squared_modulus(value), squared_modulus(value) - (1 + value) ** 2),
        ),
    )


STATEMENT = Statement(
    "sharpen.interval",
    "If every weight eigenvalue is real and in [-1, 0), then every eigenvalue of attention other than 1, "
    "real or complex, beats lambda = 1: lambda = 1 never dominates, and generic X_0 does not converge to "
    "equal tokens.",
    r"-1 \le \mu < 0,\; |\lambda| < 1 \;\Longrightarrow\; |1+\mu\lambda| > 1+\mu \ge 0",
    "real spectra: arXiv 2401.04301; complex spectra derived here",
    (
        Claim(
            "one weight eigenvalue",
            SHARPENING,
            [squared_modulus(mu) > (1 + mu) ** 2],
            [
                room_is_positive,
                left_of_one(),
                Sign(
                    "|1 + mu lambda|^2 - (1 + mu)^2, in factors",
                    squared_modulus(mu) - (1 + mu) ** 2,
                    ">",
                    beaten(mu),
                ),
            ],
            "lambda = u + iv is any eigenvalue of attention other than 1; by Perron |lambda| < 1, and n >= 2 "
            "means there is one.",
        ),
        Claim(
            "several weight eigenvalues",
            SEVERAL,
            [(1 + mu1) ** 2 < R**2, (1 + mu2) ** 2 < R**2],
            [room_is_positive, left_of_one(), *_several(mu1, "mu_1"), *_several(mu2, "mu_2")],
            "R = max_j |1 + mu_j lambda| is at least each of them, so above each 1 + mu_j, whichever is the "
            "largest at lambda = 1 (written for two, the same for d). By 'only if' of dominance.global "
            "HFC/LFC stays above a positive constant when A and H are diagonalizable.",
        ),
    ),
    second,
)
