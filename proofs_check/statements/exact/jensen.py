"""Three rates that differ: the mean, the typical one, the ratio of expectations."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus
from .shared import ratio_sign

PLACE = 100

m, Q, x, A, G = sympy.symbols("m Q x A G", real=True)


def second(solver: Any) -> dict[str, Query]:
    Q, m, x, A, G = solver.Reals("Q m x A G")
    return {
        "tangent": Query(
            {"Q > 0": Q > 0, "m > 0": m > 0, "Q != m": m != Q},
            ratio_sign(solver, m * m - 2 * m * Q + Q * Q, Q * m * m, strict=True),
        ),
        "logarithm": Query(
            {"x > 0": x > 0, "x != 1": x != 1}, ratio_sign(solver, (x - 1) * (x - 1), x, strict=True)
        ),
        "three rates": Query(
            {"G > 0": G > 0, "G < m": m > G, "A G > 1": A * G > 1},
            solver.And(
                ratio_sign(solver, A * G - 1, G, strict=True), ratio_sign(solver, m - G, m * G, strict=True)
            ),
        ),
    }


STATEMENT = Statement(
    "exact.jensen",
    "The mean of the rate, the typical rate and the ratio of expectations are three different things: as t "
    "goes to 1 under uniform attention 1 - E[1/Q] < 1 - exp(-E ln Q) < 1 - 1/E[Q], unless Q is constant.",
    r"1 - \mathbb E\Big[\frac1Q\Big] < 1 - e^{-\mathbb E\ln Q} < 1 - \frac{1}{\mathbb E\,Q}",
    "derived here",
    (
        Claim(
            "tangent",
            {"Q > 0": Q > 0, "m > 0": m > 0, "Q != m": sympy.Ne(Q, m)},
            [1 / Q - 1 / m + (Q - m) / m**2 > 0],
            [
                Sign(
                    "1/Q lies above its tangent at m",
                    1 / Q - 1 / m + (Q - m) / m**2,
                    ">",
                    (Q - m) ** 2 / (m**2 * Q),
                )
            ],
            "m = E Q: take the mean, in which Q - m vanishes: E[1/Q] > 1/m, unless Q = m almost surely. In "
            "the second form the difference is brought to one denominator.",
        ),
        Claim(
            "logarithm",
            {"x > 0": x > 0, "x != 1": sympy.Ne(x, 1)},
            [(x - 1) * (1 - 1 / x) > 0],
            [
                Identity(
                    "the derivative of x - 1 - ln x", sympy.Derivative(x - 1 - sympy.log(x), x), 1 - 1 / x
                ),
                Sign("it has the sign of x - 1", (x - 1) * (1 - 1 / x), ">", (x - 1) ** 2 / x),
            ],
            "So ln x < x - 1 but at x = 1. With x = Q/m: E ln Q < ln m. With x = 1/(Q E[1/Q]): -E ln Q < ln "
            "E[1/Q].",
        ),
        Claim(
            "three rates",
            {"G > 0": G > 0, "G < m": m > G, "A G > 1": A * G > 1},
            [1 - A < 1 - 1 / G, 1 - 1 / m > 1 - 1 / G],
            [
                Sign("m is positive", m, ">", plus(m - G, G)),
                Sign("the mean and the typical rate", 1 - 1 / G - (1 - A), ">", plus(A * G - 1) / G),
                Sign("the typical rate and the ratio", 1 - 1 / m - (1 - 1 / G), ">", plus(m - G) / (m * G)),
            ],
            "A = E[1/Q], G = exp(E ln Q), m = E Q.",
        ),
    ),
    second,
    witnesses={
        ("tangent", "m > 0"): "at m = 0 there is no tangent",
        ("logarithm", "x > 0"): {"x": -1},
        ("three rates", "G > 0"): {"G": -1, "A": -2, "m": 1},
    },
)
