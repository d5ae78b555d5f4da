"""The mean rate at s = 1 is below one half."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import gaussian_reciprocal

PLACE = 80

d, p, L, E, g, r = sympy.symbols("d p L E g r", real=True)


def second(solver: Any) -> dict[str, Query]:
    d, p, g, E, L, r = solver.Reals("d p g E L r")
    return {
        "Haar": Query({"d > 3": d > 3, "2 (d - 3) r = d - 4": 2 * d * r - 6 * r == d - 4}, 2 * r < 1),
        "Gaussian": Query(
            {
                "d > 2": d > 2,
                "g = 2/d": d * g == 2,
                "p = d/2 - 2": 2 * p == d - 4,
                "L + (p + 1) g E = 1": L + p * g * E + g * E == 1,
                "L < E": E > L,
                "r = 1 - E": 1 - r == E,
            },
            2 * r < 1,
        ),
    }


def enclosures() -> Any:
    import flint

    rounded = ((1 - gaussian_reciprocal(8)) * 10**4 + flint.arb(0.5)).floor()
    return [("E[r] at d = 8, Gaussian weights, to four digits", rounded, flint.arb(3773))]


STATEMENT = Statement(
    "exact.half_never",
    "At s = 1, under uniform attention, the mean rate E[r] is at least 1/2 as t goes to 1.",
    r"s = 1 \;\Longrightarrow\; \lim_{t\to1} \mathbb E[r] \ge \tfrac12",
    "1/2 is the local rate of arXiv 2312.06182; that it is no bound for the mean rate is derived here",
    (
        Claim(
            "Haar",
            {"d > 3": d > 3, "2 (d - 3) r = d - 4": sympy.Eq(2 * (d - 3) * r, d - 4)},
            [r < sympy.Rational(1, 2)],
            [
                Sign(
                    "1/(2(d - 3)) is missing",
                    sympy.Rational(1, 2) - r,
                    ">",
                    plus(1, -(2 * (d - 3) * r - d + 4)) / (2 * (d - 3)),
                )
            ],
            "r is the mean rate of exact.haar_rate. At d = 4 it is 0.",
        ),
        Claim(
            "Gaussian",
            {
                "d > 2": d > 2,
                "g = 2/d": sympy.Eq(d * g, 2),
                "p = d/2 - 2": sympy.Eq(p, d / 2 - 2),
                "L + (p + 1) g E = 1": sympy.Eq(L + (p + 1) * g * E, 1),
                "L < E": L < E,
                "r = 1 - E": sympy.Eq(r, 1 - E),
            },
            [r < sympy.Rational(1, 2)],
            [
                Sign("d is positive", d, ">", plus(d - 2, 2)),
                Sign("g is positive", g, ">", plus(d * g - 2, 2) / d),
                Sign("the weight of E", 2 - g, ">", plus(times(g, d - 2), g, -(d * g - 2))),
                Sign(
                    "more than 1 = L + (1 - g) E",
                    (2 - g) * E - 1,
                    ">",
                    plus(E - L, L + (d / 2 - 1) * g * E - 1, times(-E / 2, d * g - 2)),
                ),
                Sign(
                    "so E > 1/2",
                    E - sympy.Rational(1, 2),
                    ">",
                    plus((2 - g) * E - 1, g / 2) / (2 - g),
                ),
            ],
            "E = E[1/Q] and its neighbour L as in exact.gaussian_expansion, S = 1; L < E since (1-w)^(p+1) "
            "< (1-w)^p. In fact E > d/(2(d-1)). So for no d >= 3 the mean rate reaches 1/2.",
        ),
    ),
    second,
    counterexample=(
        r"P = \tfrac1n \mathbf 1\mathbf 1^\top,\; s = 1,\; d > 3:\; \text{Haar } W,\;"
        r" \mathbb E[r] \to \frac{d-4}{2(d-3)} < \tfrac12;\quad"
        r" \text{Gaussian } W,\; d = 8:\; \mathbb E[r] \to 0.3773\ldots"
    ),
    enclosures=enclosures,
)
