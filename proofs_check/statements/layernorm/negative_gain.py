"""A negative gain turns sharpening into smoothing."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from ..control.shared import INSIDE, MODES, below_one, factors, gap, inside_second, length, modulus
from .shared import GAIN, wins

PLACE = 10

a, mu, gamma, x, y = sympy.symbols("a mu gamma x y", real=True)


def second(s: Any) -> dict[str, Query]:
    a, mu, gamma = s.Reals("a mu gamma")
    x, y, inside = inside_second(s)
    return {
        "turned": Query(
            {
                "-1 < a": 1 + a > 0,
                "a < 1": a < 1,
                "mu (1 + a) > -2": mu + mu * a > -2,
                "mu < 0": mu < 0,
                "gamma < 0": gamma < 0,
            },
            s.And(wins(s, mu, a, "<"), wins(s, gamma * mu, a, ">")),
        ),
        "complex eigenvalues": Query(
            inside | {"mu < 0": mu < 0, "gamma < 0": gamma < 0},
            (1 + gamma * mu) * (1 + gamma * mu) > length(x, y, gamma * mu),
        ),
    }


STATEMENT = Statement(
    "layernorm.negative_gain",
    "A negative gain turns sharpening into smoothing, whatever its size: if mu lies between -2/(1+a) and 0, "
    "then gamma mu > 0 for every gamma < 0.",
    r"-\frac{2}{1+a} < \mu < 0,\; \gamma < 0:\quad |1+\mu| < |1+\mu a|,\quad |1+\gamma\mu| > |1+\gamma\mu a|",
    "that a negative layer norm weight can reverse the regime: arXiv 2401.04301; for which: derived here",
    (
        Claim(
            "turned",
            {
                "-1 < a": a > -1,
                "a < 1": a < 1,
                "mu (1 + a) > -2": mu * (1 + a) > -2,
                "mu < 0": mu < 0,
                "gamma < 0": gamma < 0,
            },
            [(1 + mu) ** 2 < (1 + mu * a) ** 2, (1 + gamma * mu) ** 2 > (1 + gamma * mu * a) ** 2],
            [
                Sign("before: one factor is negative", gap(mu), "<", factors(mu)),
                Sign("after: gamma mu is positive", gamma * mu, ">"),
                Sign(
                    "so are the other factors",
                    gap(gamma * mu),
                    ">",
                    times(gamma * mu, 1 - a, plus(2, times(gamma * mu, 1 + a))),
                ),
            ],
            GAIN
            + "Real spectrum of attention: by convexity in lambda an end has the largest modulus. "
            + MODES,
        ),
        Claim(
            "complex eigenvalues",
            INSIDE | {"mu < 0": mu < 0, "gamma < 0": gamma < 0},
            [(1 + gamma * mu) ** 2 > modulus(gamma * mu)],
            [
                below_one,
                Sign("gamma mu is positive", gamma * mu, ">"),
                Sign(
                    "a sum of a positive product and one that is not negative",
                    (1 + gamma * mu) ** 2 - modulus(gamma * mu),
                    ">",
                    plus(times(2, gamma * mu, 1 - x), times((gamma * mu) ** 2, 1 - x**2 - y**2)),
                ),
            ],
            GAIN + MODES,
        ),
    ),
    second,
)
