"""The mean rate for Haar weights.

>>> [HAAR_RATE.subs(d, n) for n in (4, 8, 64)]
[0, 2/5, 30/61]
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times

PLACE = 60

d, s, x, n, a, E, c, T_n, T_next, q, r = sympy.symbols("d s x n a E c T_n T_next q r", real=True)
M_n, M_next, N_n, U_0, V_0, kappa = sympy.symbols("M_n M_next N_n U V kappa", real=True)

#: E[r] as t goes to 1 for Haar weights with s = 1, d >= 4
HAAR_RATE = (d - 4) / (2 * (d - 3))
_sphere = x ** (2 * n + 1) * (1 - x**2) ** ((d - 1) / 2)
_beta = x ** (a - 1) * (1 - x) ** a


def second(solver: Any) -> dict[str, Query]:
    s, k, d, n, a, c, r, q, M_n, M_next, N_n = solver.Reals("s kappa d n a c r q M_n M_next N_n")
    T_n, T_next, U, V, E = solver.Reals("T_n T_next U V E")
    return {
        "convergence": Query(
            {"kappa (1 + s^2) = 2 s": k + k * s * s == 2 * s, "s^2 != 1": solver.And(s != 1, s != -1)},
            k * k < 1,
        ),
        "next moment": Query(
            {
                "n >= 0": n >= 0,
                "d > 1": d > 1,
                "N_n = M_n - M_next": M_n == M_next + N_n,
                "by parts": N_n + 2 * n * N_n == d * M_next - M_next,
            },
            2 * n * M_next + d * M_next == M_n + 2 * n * M_n,
        ),
        "next term": Query(
            {
                "n >= 0": n >= 0,
                "d > 1": d > 1,
                "(2n + d) M_next = (2n + 1) M_n": 2 * n * M_next + d * M_next == M_n + 2 * n * M_n,
                "T_n = c M_n": T_n == c * M_n,
                "T_next = c q M_next": T_next == c * q * M_next,
            },
            T_next * (2 * n + d) == q * T_n * (1 + 2 * n),
        ),
        "s = 1": Query(
            {
                "d > 3": d > 3,
                "a = (d - 1)/2": 2 * a == d - 1,
                "V > 0": V > 0,
                "by parts": a * V == (a - 1) * (U - V),
                "4 V E = U": 4 * V * E == U,
                "r = 1 - E": r == 1 - E,
            },
            2 * r * d - 6 * r == d - 4,
        ),
    }


def enclosures() -> Any:
    import flint

    with flint.ctx.workprec(128):
        found = []
        for number, strength in (
            (4, flint.arb(1) / 2),
            (9, flint.arb(1) / 2),
            (64, flint.arb(2)),
            (9, flint.arb(1)),
        ):
            square = strength**2

            def over_angle(y: Any, _: Any, d: int = number, s: Any = strength) -> Any:
                if s == 1:  # sin^2 y = (1 + cos y) (1 - cos y)
                    return y.sin() ** (d - 4) * (1 - y.cos()) / 2
                return y.sin() ** (d - 2) / (1 + s**2 + 2 * s * y.cos())

            def plain(y: Any, _: Any, d: int = number) -> Any:
                return y.sin() ** (d - 2)

            pi = flint.arb.pi()
            top, bottom = (flint.acb.integral(f, 0, pi).real for f in (over_angle, plain))
            if strength == 1:
                closed = flint.arb(number - 2) / (2 * (number - 3))
            else:
                kappa = 4 * square / (1 + square) ** 2
                closed = kappa.hypgeom_2f1(flint.arb(1) / 2, 1, flint.arb(number) / 2) / (1 + square)
            found.append(
                (
                    f"E[1/Q] at d = {number}, s = {strength.str(2)}: integral and closed form",
                    top / bottom,
                    closed,
                )
            )
        return found


STATEMENT = Statement(
    "exact.haar_rate",
    "For W = s times a Haar orthogonal matrix E[1/Q] = (1+s^2)^-1 2F1(1/2, 1; d/2; 4s^2/(1+s^2)^2), d >= 2, "
    "s^2 != 1; at s = 1 the mean rate as t goes to 1 is (d-4)/(2(d-3)), d >= 4.",
    r"\mathbb E\Big[\frac1Q\Big] = \frac{1}{1+s^2}\,{}_2F_1\Big(\frac12,1;\frac d2;"
    r"\frac{4s^2}{(1+s^2)^2}\Big),\quad s = 1:\ \mathbb E[r] \to \frac{d-4}{2(d-3)}",
    "derived here",
    (
        Claim(
            "convergence",
            {"kappa (1 + s^2) = 2 s": sympy.Eq(kappa * (1 + s**2), 2 * s), "s^2 != 1": sympy.Ne(s**2, 1)},
            [kappa**2 < 1],
            [
                Sign("a square that is not 0", (s**2 - 1) ** 2, ">"),
                Sign(
                    "(1 - kappa^2) (1 + s^2)^2 = (1 - s^2)^2",
                    1 - kappa**2,
                    ">",
                    plus(
                        (s**2 - 1) ** 2,
                        times(-(kappa * (1 + s**2) + 2 * s), kappa * (1 + s**2) - 2 * s),
                    )
                    / (1 + s**2) ** 2,
                ),
            ],
            "W^T e = s g with g uniform on the sphere: Q = 1 + s^2 + 2 s x = (1 + s^2)(1 + kappa x), x a "
            "coordinate of g. So 1/(1 + kappa x) = sum of (-kappa x)^n converges uniformly.",
        ),
        Claim(
            "next moment",
            {
                "n >= 0": n >= 0,
                "d > 1": d > 1,
                "N_n = M_n - M_next": sympy.Eq(N_n, M_n - M_next),
                "by parts": sympy.Eq((2 * n + 1) * N_n, (d - 1) * M_next),
            },
            [sympy.Eq(M_next, (2 * n + 1) / (2 * n + d) * M_n)],
            [
                Identity(
                    "the derivative of x^(2n+1) (1-x^2)^((d-1)/2)",
                    sympy.Derivative(_sphere, x),
                    _sphere * ((2 * n + 1) / x - (d - 1) * x / (1 - x**2)),
                ),
                Sign("2n + d is positive", 2 * n + d, ">", plus(2 * n, d - 1, 1)),
                Sign(
                    "put in N_n",
                    M_next - (2 * n + 1) / (2 * n + d) * M_n,
                    "==",
                    -plus((2 * n + 1) * (M_n - M_next) - (d - 1) * M_next) / (2 * n + d),
                ),
            ],
            "x has a density proportional to (1-x^2)^((d-3)/2); M_n = E x^(2n), N_n = E x^(2n) (1-x^2), odd "
            "moments vanish. What is differentiated vanishes at both ends: (2n+1) N_n = (d-1) M_next.",
        ),
        Claim(
            "next term",
            {
                "n >= 0": n >= 0,
                "d > 1": d > 1,
                "(2n + d) M_next = (2n + 1) M_n": sympy.Eq((2 * n + d) * M_next, (2 * n + 1) * M_n),
                "T_n = c M_n": sympy.Eq(T_n, c * M_n),
                "T_next = c q M_next": sympy.Eq(T_next, c * q * M_next),
            },
            [sympy.Eq(T_next, (2 * n + 1) / (2 * n + d) * q * T_n)],
            [
                Sign("2n + d is positive", 2 * n + d, ">", plus(2 * n, d - 1, 1)),
                Sign(
                    "a multiple of 0",
                    T_next - (2 * n + 1) / (2 * n + d) * q * T_n,
                    "==",
                    times(c * q, (2 * n + d) * M_next - (2 * n + 1) * M_n) / (2 * n + d),
                ),
            ],
            "E[1/(1 + kappa x)] is the sum of T_n = q^n M_n, q = kappa^2, c = q^n, T_0 = 1. The ratio "
            "(n + 1/2)/(n + d/2) q is that of 2F1(1/2, 1; d/2; kappa^2).",
        ),
        Claim(
            "s = 1",
            {
                "d > 3": d > 3,
                "a = (d - 1)/2": sympy.Eq(a, (d - 1) / 2),
                "V > 0": V_0 > 0,
                "by parts": sympy.Eq((a - 1) * (U_0 - V_0), a * V_0),
                "4 V E = U": sympy.Eq(4 * V_0 * E, U_0),
                "r = 1 - E": sympy.Eq(r, 1 - E),
            },
            [sympy.Eq(r, HAAR_RATE)],
            [
                Identity(
                    "the derivative of x^(a-1) (1-x)^a",
                    sympy.Derivative(_beta, x),
                    _beta * ((a - 1) / x - a / (1 - x)),
                ),
                Sign("d - 3 is positive", d - 3, ">"),
                Sign(
                    "multiples of two differences that are 0",
                    r - HAAR_RATE,
                    "==",
                    plus(
                        times(-(d - 3) / 2, 4 * V_0 * E - U_0),
                        times(-1, (((d - 1) / 2) - 1) * (U_0 - V_0) - (d - 1) / 2 * V_0),
                    )
                    / (2 * (d - 3) * V_0),
                ),
            ],
            "Q = 2 + 2x = 4y, y = (1+x)/2 with a density proportional to (y (1-y))^(a-1): E = E[1/Q] = "
            "U/(4V), U and V the integrals of y^(a-2) (1-y)^(a-1) and y^(a-1) (1-y)^(a-1). What is "
            "differentiated vanishes at both ends for a > 1, which is d > 3: (a-1) times the integral of "
            "y^(a-2) (1-y)^a, U - V, is a times V. For d <= 3 E[1/Q] is infinite.",
        ),
    ),
    second,
    enclosures=enclosures,
    witnesses={
        ("s = 1", "a = (d - 1)/2"): {"d": 5, "a": 3, "U": "5/2", "V": 1, "E": "5/8", "r": "3/8"},
    },
)
