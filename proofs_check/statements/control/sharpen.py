"""Eigenvalues clipped to [-1, 0] never smooth."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from .shared import INSIDE, MODES, below_one, inside_second, length, modulus

PLACE = 10

mu, psi, x, y = sympy.symbols("mu psi x y", real=True)

_SHARPER = modulus(mu) - (1 + mu) ** 2


def second(s: Any) -> dict[str, Query]:
    mu, psi = s.Reals("mu psi")
    x, y, inside = inside_second(s)
    other, constant = length(x, y, mu), (1 + mu) * (1 + mu)
    return {
        "clip": Query({"psi < 0": psi < 0, "mu = psi or mu = -1": s.Or(mu == psi, mu == -1)}, mu < 0),
        "sharpens": Query(inside | {"mu >= -1": mu + 1 >= 0, "mu < 0": mu < 0}, constant < other),
        "never smooths": Query(
            inside | {"mu >= -1": mu + 1 >= 0, "mu <= 0": mu <= 0}, s.Not(constant > other)
        ),
        "tie": Query({"mu = 0": mu == 0}, constant == other),
    }


STATEMENT = Statement(
    "control.sharpen",
    "Weights H = V Lambda V^-1 with the eigenvalues mu = clip(psi, -1, 0) never smooth: for every eigenvalue "
    "lambda of attention other than 1, complex too, |1 + mu lambda| >= |1 + mu|, strictly iff psi < 0. If "
    "all psi_j < 0 the tokens sharpen.",
    r"\mu = \min(0, \max(-1, \psi)):\quad |1+\mu\lambda| \ge |1+\mu|, \quad \text{strictly iff } \psi < 0",
    "arXiv 2401.04301; complex eigenvalues and the tie derived here",
    (
        Claim(
            "clip",
            {"psi < 0": psi < 0, "mu = psi or mu = -1": sympy.Eq((mu - psi) * (mu + 1), 0)},
            [mu < 0],
            [
                Sign(
                    "from 0 = (mu - psi)(mu + 1): mu (1 - psi) = psi - mu^2",
                    mu,
                    "<",
                    plus(psi, -(mu**2), (mu - psi) * (mu + 1)) / (1 - psi),
                )
            ],
            "The clip of a negative psi is psi itself or -1, the clip of any other is 0, and all lie in "
            "[-1, 0]. So the clip is negative iff psi is.",
        ),
        Claim(
            "sharpens",
            INSIDE | {"mu >= -1": mu >= -1, "mu < 0": mu < 0},
            [modulus(mu) > (1 + mu) ** 2],
            [
                below_one,
                Sign(
                    "the difference of the squares, for 0 < -mu <= 1",
                    _SHARPER,
                    ">",
                    times(-mu, plus(times(1 + mu, 1 - x**2 - y**2), (1 - x) ** 2, y**2)),
                ),
            ],
            MODES
            + " If every mu_j lies in [-1, 0), then the mu_j with the largest |1 + mu_j| has at any other "
            "lambda a larger modulus still, so lambda = 1 is not in the dominant set: the tokens sharpen.",
        ),
        Claim(
            "never smooths",
            INSIDE | {"mu >= -1": mu >= -1, "mu <= 0": mu <= 0},
            [modulus(mu) >= (1 + mu) ** 2],
            [
                Sign(
                    "no factor is negative",
                    _SHARPER,
                    ">=",
                    times(-mu, plus(times(1 + mu, 1 - x**2 - y**2), (1 - x) ** 2, y**2)),
                )
            ],
            MODES
            + " The mu_j with the largest |1 + mu_j| has at least that modulus at every other lambda, so "
            "lambda = 1 never dominates alone, and the diverse part does not vanish beside the constant one.",
        ),
        Claim(
            "tie",
            {"mu = 0": sympy.Eq(mu, 0)},
            [sympy.Eq(modulus(mu), (1 + mu) ** 2)],
            [Identity("both are 1", modulus(mu), 1)],
            "Where psi >= 0 the clip is 0 and all eigenvalues of attention tie.",
        ),
    ),
    second,
)
