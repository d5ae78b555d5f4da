"""From how many features on 1/Q has a finite variance."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times

PLACE = 90

d, b, v, x, c, q, u = sympy.symbols("d b v x c q u", real=True)

_far_part = -(u**-c) / c + u ** (-c - 1) / (c + 1) + 1 / c - 1 / (c + 1)
_far_limit = Tends("both powers vanish", _far_part, u, sympy.oo, 1 / c - 1 / (c + 1))
_far_log = sympy.log(u) + 1 / u - 1
_far_log_limit = Tends("a logarithm", _far_log, u, sympy.oo, sympy.oo)
_near_part = (1 - x**c) / c
_near_limit = Tends("a power that vanishes", _near_part, x, 0, 1 / c)
_near_log_limit = Tends("a logarithm", -sympy.log(x), x, 0, sympy.oo)


def second(solver: Any) -> dict[str, Query]:
    x, v, q, u, b, c, d = solver.Reals("x v q u b c d")
    return {
        "bounded factor": Query(
            {"v > 0": v > 0, "x >= 0": x >= 0, "q (1 + 2xv) = x": q + 2 * q * x * v == x},
            solver.And(q >= 0, 2 * q * v < 1),
        ),
        "exponents": Query(
            {"2 b = d": 2 * b == d, "2 c = d - 4": 2 * c == d - 4, "u = 1 + 2xv": u == 1 + 2 * x * v},
            solver.And(b == 2 + c, 4 * v * v * x == 2 * v * (u - 1)),
        ),
    }


STATEMENT = Statement(
    "exact.infinite_variance",
    "1/Q has a finite variance iff d > 4 for Gaussian weights and iff d > 5 for Haar weights with s = 1: "
    "otherwise an average over samples has no standard error.",
    r"\mathbb E\,Q^{-2} < \infty \iff d > 4 \text{ (Gaussian)},\quad d > 5 \text{ (Haar, } s = 1)",
    "derived here",
    (
        Claim(
            "bounded factor",
            {"v > 0": v > 0, "x >= 0": x >= 0, "q (1 + 2xv) = x": sympy.Eq(q * (1 + 2 * x * v), x)},
            [q >= 0, 2 * v * q < 1],
            [
                Sign("1 + 2xv is positive", 1 + 2 * x * v, ">", plus(1, times(2, x, v))),
                Sign("q = x/(1 + 2xv)", q, ">=", plus(x, q * (1 + 2 * x * v) - x) / (1 + 2 * x * v)),
                Sign(
                    "1 - 2vq = 1/(1 + 2xv)",
                    1 - 2 * v * q,
                    ">",
                    plus(1, times(-2 * v, q * (1 + 2 * x * v) - x)) / (1 + 2 * x * v),
                ),
            ],
            "1/Q^2 is the integral of x exp(-x Q) over x > 0, so E[1/Q^2] is that of x (1 + 2xv)^(-d/2) "
            "exp(-q), q = x/(1 + 2xv), by exact.gaussian_rate; the last factor lies between exp(-1/(2v)) "
            "and 1 and decides nothing.",
        ),
        Claim(
            "exponents",
            {
                "2 b = d": sympy.Eq(2 * b, d),
                "2 c = d - 4": sympy.Eq(2 * c, d - 4),
                "u = 1 + 2xv": sympy.Eq(u, 1 + 2 * x * v),
            },
            [sympy.Eq(b, 2 + c), sympy.Eq(4 * v**2 * x, 2 * v * (u - 1))],
            [
                Sign("half the difference", b - 2 - c, "==", plus(2 * b - d, -(2 * c - d + 4)) / 2),
                Identity("put in u", 4 * v**2 * x, 2 * v * (u - 1)),
            ],
            "In u = 1 + 2xv what is left is the integral of (u-1) u^(-b)/(4 v^2) over u > 1, b = c + 2.",
        ),
        Claim(
            "Gaussian, d > 4",
            {"c > 0": c > 0},
            [_far_limit],
            [
                Identity(
                    "an integral of (u-1) u^(-b)", sympy.Derivative(_far_part, u), (u - 1) * u**-c / u**2
                ),
                _far_limit,
            ],
            "c = d/2 - 2 > 0: finite.",
        ),
        Claim(
            "Gaussian, d = 4",
            {},
            [_far_log_limit],
            [
                Identity("an integral of (u-1)/u^2", sympy.Derivative(_far_log, u), (u - 1) / u**2),
                _far_log_limit,
            ],
            "c = 0: infinite; and for d < 4 the integrand (u-1) u^(-b) is larger still.",
        ),
        Claim(
            "Haar, d > 5",
            {"c > 0": c > 0},
            [_near_limit],
            [Identity("an integral of -x^(c-1)", sympy.Derivative(_near_part, x), -(x**c) / x), _near_limit],
            "Q = 4y with a density proportional to (y (1-y))^(a-1), a = (d-1)/2: near y = 0 that of 1/Q^2 "
            "times the density is y^(a-3) up to factors between positive bounds, c = a - 2 = (d-5)/2 > 0; "
            "away from 0 all is finite.",
        ),
        Claim(
            "Haar, d = 5",
            {},
            [_near_log_limit],
            [Identity("an integral of -1/x", sympy.Derivative(-sympy.log(x), x), -1 / x), _near_log_limit],
            "c = 0: infinite; and for d < 5 y^(c-1) is larger still.",
        ),
    ),
    second,
    only_symbolic={
        "Gaussian, d > 4": "powers with real exponents",
        "Gaussian, d = 4": "a logarithm",
        "Haar, d > 5": "powers with real exponents",
        "Haar, d = 5": "a logarithm",
    },
    witnesses={
        ("Gaussian, d > 4", "c > 0"): "at c = 0 it is infinite: the next claim",
        ("Haar, d > 5", "c > 0"): "at c = 0 it is infinite: the next claim",
    },
)
