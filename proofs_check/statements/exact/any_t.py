"""The mean rate for Gaussian weights before the similarity is 1."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus
from .shared import gaussian_transform

PLACE = 40

d, s, v, t, Q, x, X, nu, r, A_t = sympy.symbols("d s v t Q x X nu r A_t", real=True)

_any_rate = sympy.Eq(r * (1 + t * (Q - 1)), t * (Q - 1))
_scaled = 1 - t + t * Q


def second(solver: Any) -> dict[str, Query]:
    Q, t, r, d, v, s, nu, x, a = solver.Reals("Q t r d v s nu x A_t")
    X, G, eps = solver.Reals("X G eps")
    return {
        "reciprocal": Query(
            {
                "t >= 0": t >= 0,
                "t < 1": t < 1,
                "Q >= 0": Q >= 0,
                "r (1 + t (Q - 1)) = t (Q - 1)": r + r * t * Q - r * t == t * Q - t,
            },
            (1 - r) * (1 - t + t * Q) == 1,
        ),
        "as an integral": Query(
            {"1 - t + t Q > 0": a > 0},
            solver.Or(
                eps <= 0, 1 + X * a > G, X * a * a * eps <= 1, X <= 0, solver.And(G > 0, a * G * eps > 1)
            ),
            same_symbols=False,
        ),
        "exponents": Query(
            {"d > 0": d > 0, "v = s^2/d": v * d == s * s, "x = t nu": x == nu * t},
            d + 2 * d * x * v == d + 2 * t * nu * s * s,
        ),
    }


def enclosures() -> Any:
    import flint

    with flint.ctx.workprec(128):
        number, similar = 8, flint.arb(9) / 10

        def integrand(y: Any, analytic: bool) -> Any:
            return (-(1 - similar) * y).exp() * gaussian_transform(number, similar * y, analytic)

        far = 400  # beyond it is at most exp(-(1-t) far)/(1-t)
        rest = (-(1 - similar) * far).exp() / (1 - similar)
        integral = flint.acb.integral(integrand, 0, far).real + rest * flint.arb(0.5, 0.5)
        # Q = chi^2/d with d + 2N degrees of freedom, N of Poisson's law with mean d/2
        mean, scale = flint.arb(number) / 2, 2 * similar / number
        at = (1 - similar) / scale
        weight, total, count = (-mean).exp(), flint.arb(0), 100
        for order in range(count):
            shape = flint.arb(number) / 2 + order
            total += weight * at.exp() * at ** (shape - 1) * at.gamma_upper(1 - shape) / scale
            weight *= mean / (order + 1)
        total += 2 * weight / (1 - similar) * flint.arb(0.5, 0.5)
        rounded = ((1 - integral) * 10**4 + flint.arb(0.5)).floor()
        return [
            ("E[1 - r] at d = 8, t = 9/10: integral and Poisson mixture", integral, total),
            ("E[r] at d = 8, t = 9/10 to four digits", rounded, flint.arb(3653)),
        ]


_any_limit = Tends("the exponential vanishes", (1 - sympy.exp(-X * A_t)) / A_t, X, sympy.oo, 1 / A_t)

STATEMENT = Statement(
    "exact.any_t",
    "For Gaussian weights and every t < 1 the mean rate is 1 minus the integral over nu > 0 of exp(-(1-t) "
    "nu) (1 + 2 t nu s^2/d)^(-d/2) exp(-t nu/(1 + 2 t nu s^2/d)): .3653 at s = 1, d = 8, t = 9/10.",
    r"\mathbb E[r] = 1 - \int_0^\infty e^{-(1-t)\nu}\Big(1+\frac{2t\nu s^2}d\Big)^{-d/2}"
    r"\exp\Big(-\frac{t\nu}{1+2t\nu s^2/d}\Big)\,d\nu",
    "derived here",
    (
        Claim(
            "reciprocal",
            {
                "t >= 0": t >= 0,
                "t < 1": t < 1,
                "Q >= 0": Q >= 0,
                "r (1 + t (Q - 1)) = t (Q - 1)": _any_rate,
            },
            [sympy.Eq((1 - r) * _scaled, 1)],
            [
                Sign(
                    "subtract",
                    (1 - r) * _scaled - 1,
                    "==",
                    -plus(r * (1 + t * (Q - 1)) - t * (Q - 1)),
                )
            ],
            "The rate of escalation.uniform; 1 - t + t Q > 0, so r = 1 - 1/(1 - t + t Q).",
        ),
        Claim(
            "as an integral",
            {"1 - t + t Q > 0": A_t > 0},
            [_any_limit],
            [
                Identity(
                    "an integral of exp(-A nu)",
                    sympy.Derivative(-sympy.exp(-nu * A_t) / A_t, nu),
                    sympy.exp(-nu * A_t),
                ),
                _any_limit,
            ],
            "A_t stands for 1 - t + t Q. Its reciprocal is the integral of exp(-(1-t) nu) exp(-t nu Q) over "
            "nu > 0; all is positive, so the mean goes inside. Second form as in exact.gaussian_rate.",
        ),
        Claim(
            "exponents",
            {"d > 0": d > 0, "v = s^2/d": sympy.Eq(v, s**2 / d), "x = t nu": sympy.Eq(x, t * nu)},
            [sympy.Eq(1 + 2 * x * v, 1 + 2 * t * nu * s**2 / d)],
            [Identity("put in", 1 + 2 * x * v, 1 + 2 * t * nu * s**2 / d)],
            "E exp(-x Q) = (1 + 2xv)^(-d/2) exp(-x/(1 + 2xv)) from exact.gaussian_rate, at x = t nu.",
        ),
    ),
    second,
    enclosures=enclosures,
    witnesses={
        ("as an integral", "1 - t + t Q > 0"): "otherwise the integral is infinite",
        ("exponents", "v = s^2/d"): {"d": 1, "s": 1, "v": 0, "x": 1, "t": 1, "nu": 1},
        ("exponents", "x = t nu"): {"d": 1, "s": 1, "v": 1, "x": 0, "t": 1, "nu": 1},
    },
)
