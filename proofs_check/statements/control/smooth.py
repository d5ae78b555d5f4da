"""Eigenvalues clipped to [0, 1] smooth unless all of them vanish."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from .shared import INSIDE, MODES, below_one, inside_second, length, modulus

PLACE = 20

mu, psi, x, y, mu_1 = sympy.symbols("mu psi x y mu_1", real=True)

_AHEAD = (1 + mu_1) ** 2 - modulus(mu)


def second(s: Any) -> dict[str, Query]:
    mu, psi, mu_1 = s.Reals("mu psi mu_1")
    x, y, inside = inside_second(s)
    return {
        "clip": Query({"psi > 0": psi > 0, "mu = psi or mu = 1": s.Or(mu == psi, mu == 1)}, mu > 0),
        "smooths": Query(
            inside | {"mu_1 > 0": mu_1 > 0, "mu >= 0": mu >= 0, "mu <= mu_1": mu <= mu_1},
            1 + 2 * mu_1 + mu_1 * mu_1 > length(x, y, mu),
        ),
        "tie": Query({"mu = 0": mu == 0}, length(x, y, mu) == (1 + mu) * (1 + mu)),
    }


STATEMENT = Statement(
    "control.smooth",
    "Weights with the eigenvalues mu_j = clip(psi_j, 0, 1) smooth iff some psi_j > 0: the largest mu_j "
    "decides, for complex eigenvalues of attention too. If all psi_j <= 0 then H = V Lambda V^-1 = 0 and "
    "nothing moves.",
    r"\mu_1 = \max_j \mu_j > 0,\; \mu_j \ge 0,\; |\lambda| < 1:\quad 1 + \mu_1 > |1 + \mu_j\lambda|",
    "arXiv 2401.04301; complex eigenvalues and the tie derived here",
    (
        Claim(
            "clip",
            {"psi > 0": psi > 0, "mu = psi or mu = 1": sympy.Eq((mu - psi) * (mu - 1), 0)},
            [mu > 0],
            [
                Sign(
                    "from 0 = (mu - psi)(mu - 1): mu (1 + psi) = psi + mu^2",
                    mu,
                    ">",
                    plus(psi, mu**2, -(mu - psi) * (mu - 1)) / (1 + psi),
                )
            ],
            "The clip of a positive psi is psi itself or 1, the clip of any other is 0, and none is "
            "negative. So the largest clip is positive iff some psi_j is.",
        ),
        Claim(
            "smooths",
            INSIDE | {"mu_1 > 0": mu_1 > 0, "mu >= 0": mu >= 0, "mu <= mu_1": mu <= mu_1},
            [(1 + mu_1) ** 2 > modulus(mu)],
            [
                below_one,
                Sign("nor is it below -1", 1 + x, ">", plus((1 + x) ** 2, 1 - x**2 - y**2, y**2) / 2),
                Sign(
                    "a sum of products, the first positive and none negative",
                    _AHEAD,
                    ">",
                    plus(
                        times(1 - x, mu_1 + mu),
                        times(1 + x, mu_1 - mu),
                        times(mu_1 - mu, mu_1 + mu),
                        times(mu**2, 1 - x**2 - y**2),
                    ),
                ),
            ],
            MODES + " mu is any of the mu_j and mu_1 the largest: every pair with lambda other than 1 has a "
            "smaller modulus than (1, mu_1), so the diverse part vanishes beside the constant one.",
        ),
        Claim(
            "tie",
            {"mu = 0": sympy.Eq(mu, 0)},
            [sympy.Eq(modulus(mu), (1 + mu) ** 2)],
            [Identity("both are 1", modulus(mu), 1)],
            "If no psi_j is positive, all mu_j are 0, H = 0 and X_l = X_0: no smoothing.",
        ),
    ),
    second,
)
