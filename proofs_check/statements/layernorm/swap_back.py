"""A negative gain turns smoothing into sharpening unless it overshoots."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from ..control.shared import MODES, gap
from .shared import GAIN, wins

PLACE = 20

a, mu, gamma = sympy.symbols("a mu gamma", real=True)


def second(s: Any) -> dict[str, Query]:
    a, mu, gamma = s.Reals("a mu gamma")
    signs = {"a < 1": a < 1, "mu > 0": mu > 0, "gamma < 0": gamma < 0}
    pull = -(gamma * mu + gamma * mu * a)
    return {
        "sharpens": Query(signs | {"|gamma| mu (1 + a) < 2": pull < 2}, wins(s, gamma * mu, a, "<")),
        "otherwise": Query(signs | {"|gamma| mu (1 + a) >= 2": pull >= 2}, wins(s, gamma * mu, a, ">=")),
    }


_SIGNS: dict[str, Any] = {"a < 1": a < 1, "mu > 0": mu > 0, "gamma < 0": gamma < 0}
_TURNED = times(gamma * mu, 1 - a, plus(2, gamma * mu * (1 + a)))

STATEMENT = Statement(
    "layernorm.swap_back",
    "A negative gain turns smoothing with mu > 0 into sharpening iff |gamma| mu (1 + a) < 2: a strong "
    "enough one of either size overshoots and smooths again.",
    r"\mu > 0 > \gamma:\quad |1+\gamma\mu| < |1+\gamma\mu a| \iff |\gamma|\,\mu\,(1+a) < 2",
    "derived here",
    (
        Claim(
            "sharpens",
            _SIGNS | {"|gamma| mu (1 + a) < 2": -gamma * mu * (1 + a) < 2},
            [(1 + gamma * mu) ** 2 < (1 + gamma * mu * a) ** 2],
            [
                Sign("gamma mu is negative", gamma * mu, "<"),
                Sign("one factor is negative", gap(gamma * mu), "<", _TURNED),
            ],
            GAIN + "Real spectrum of attention; |gamma| = -gamma. If this holds for every mu_j, a pair "
            "with another lambda than 1 has the largest modulus. " + MODES,
        ),
        Claim(
            "otherwise",
            _SIGNS | {"|gamma| mu (1 + a) >= 2": -gamma * mu * (1 + a) >= 2},
            [(1 + gamma * mu) ** 2 >= (1 + gamma * mu * a) ** 2],
            [
                Sign("gamma mu is negative", gamma * mu, "<"),
                Sign("a negative factor, and one that is not positive", gap(gamma * mu), ">=", _TURNED),
            ],
            "The other direction: at equality the ends tie, beyond it lambda = 1 wins.",
        ),
    ),
    second,
)
