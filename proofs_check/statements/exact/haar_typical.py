"""The typical growth of the odds for Haar weights."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus

PLACE = 70

x, n, a, M_n, M_next, N_n = sympy.symbols("x n a M_n M_next N_n", real=True)

_moment = sympy.gamma(a + x) * sympy.gamma(2 * a) / (sympy.gamma(a) * sympy.gamma(2 * a + x))
_log_moment = Tends("the derivative at 0", (_moment - 1) / x, x, 0, sympy.digamma(a) - sympy.digamma(2 * a))


def second(solver: Any) -> dict[str, Query]:
    a, n, M_n, M_next, N_n = solver.Reals("a n M_n M_next N_n")
    return {
        "moments": Query(
            {
                "a > 0": a > 0,
                "n >= 0": n >= 0,
                "N_n = M_n - M_next": N_n + M_next == M_n,
                "by parts": a * N_n + n * N_n == a * M_next,
            },
            M_next * (2 * a + n) == a * M_n + n * M_n,
        ),
    }


def enclosures() -> Any:
    import flint

    with flint.ctx.workprec(128):
        found = []
        for number in (5, 9, 33):
            half = (number - 1) // 2
            near = flint.arb(10) ** -12

            def integrand(y: Any, analytic: bool, a: int = half) -> Any:
                return (y * (1 - y)) ** (a - 1) * (4 * y).log(analytic=analytic)

            def density(y: Any, _: bool, a: int = half) -> Any:
                return (y * (1 - y)) ** (a - 1)

            # below 1/4 the integrand lies between -y^(a-2) and 0
            rest = near ** (half - 1) * flint.arb(-0.5, 0.5)
            top = flint.acb.integral(integrand, near, 1).real + rest
            bottom = flint.acb.integral(density, 0, 1).real
            closed = flint.arb(4).log() + flint.arb(half).digamma() - flint.arb(2 * half).digamma()
            found.append((f"E ln Q at d = {number}, s = 1: integral and closed form", top / bottom, closed))
        return found


STATEMENT = Statement(
    "exact.haar_typical",
    "For Haar weights with s = 1 the odds grow typically by E ln Q = ln 4 + psi((d-1)/2) - psi(d-1) per "
    "layer, d >= 2.",
    r"\mathbb E\ln Q = \ln 4 + \psi\Big(\frac{d-1}2\Big) - \psi(d-1)",
    "derived here",
    (
        Claim(
            "moments",
            {
                "a > 0": a > 0,
                "n >= 0": n >= 0,
                "N_n = M_n - M_next": sympy.Eq(N_n, M_n - M_next),
                "by parts": sympy.Eq((a + n) * N_n, a * M_next),
            },
            [sympy.Eq(M_next, (a + n) / (2 * a + n) * M_n)],
            [
                Identity(
                    "the derivative of x^(a+n) (1-x)^a",
                    sympy.Derivative(x ** (a + n) * (1 - x) ** a, x),
                    x ** (a + n) * (1 - x) ** a * ((a + n) / x - a / (1 - x)),
                ),
                Sign("2a + n is positive", 2 * a + n, ">", plus(2 * a, n)),
                Sign(
                    "put in N_n",
                    M_next - (a + n) / (2 * a + n) * M_n,
                    "==",
                    -plus((a + n) * (M_n - M_next) - a * M_next) / (2 * a + n),
                ),
                Identity(
                    "the same step for the quotient of gamma functions",
                    sympy.gamma(a + n + 1) / sympy.gamma(2 * a + n + 1),
                    (a + n) / (2 * a + n) * sympy.gamma(a + n) / sympy.gamma(2 * a + n),
                ),
            ],
            "Q = 4y, y with a density proportional to (y (1-y))^(a-1), a = (d-1)/2. M_n = E y^n for any "
            "real n >= 0, and N_n = E y^n (1-y). By Euler's beta integral M_n = gamma(a+n) "
            "gamma(2a)/(gamma(a) gamma(2a+n)), which takes the same step.",
        ),
        Claim(
            "logarithm",
            {"a > 0": a > 0},
            [_log_moment],
            [
                Identity(
                    "the derivative",
                    sympy.Derivative(_moment, x),
                    _moment * (sympy.digamma(a + x) - sympy.digamma(2 * a + x)),
                ),
                _log_moment,
            ],
            "E ln y is the derivative of E y^x at x = 0, and E ln Q = ln 4 + E ln y, 2a = d - 1.",
        ),
    ),
    second,
    only_symbolic={"logarithm": "gamma and digamma functions"},
    witnesses={
        ("moments", "a > 0"): "for a <= 0 there is no such law",
        ("logarithm", "a > 0"): "at a = 0 there is no such law, and neither side has a value",
    },
    enclosures=enclosures,
)
