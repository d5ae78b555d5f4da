"""The typical growth of the odds for Gaussian weights."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from .shared import gaussian_transform, ratio_sign

PLACE = 50

d, b, S, s, v, x, n, z, c, I_n, I_next = sympy.symbols("d b S s v x n z c I_n I_next", real=True)
T_n, T_next, F, k, lam, ratio, third = sympy.symbols("T_n T_next F k lam ratio third", real=True)

_weights = sympy.exp(-z) * z**k / sympy.gamma(k + 1)
_series = x - 1 - (x - 1) ** 2 / 2 + (x - 1) ** 3 / 3
_below, _above = _series - sympy.log(x), (x - 1) ** 4 / (3 * x) - _series + sympy.log(x)


def second(solver: Any) -> dict[str, Query]:
    b, n, z, x, d, s, v, I_n, I_next, T_n, T_next, c = solver.Reals("b n z x d s v I_n I_next T_n T_next c")
    S, F, ratio, third, lam = solver.Reals("S F ratio third lam")
    slope = x - x * (x - 1) + x * (x - 1) * (x - 1) - 1  # times 1/x
    up = (x - 1) * (x - 1) * (x - 1)
    return {
        "next term": Query(
            {
                "n >= 0": n >= 0,
                "b > 0": b > 0,
                "I_next (n + b + 1) = (n + 1) I_n": I_next * n + I_next * b + I_next == n * I_n + I_n,
                "T_n (n + 1) = c I_n": T_n + n * T_n == c * I_n,
                "T_next (n + 2) = -c z I_next/(n + 1)": (n + 1) * (n + 2) * T_next == -c * z * I_next,
            },
            (n + 2) * (b + n + 1) * T_next == -z * (n + 1) * T_n,
        ),
        "parameters": Query(
            {
                "s != 0": s != 0,
                "d > 0": d > 0,
                "v = s^2/d": v * d == s * s,
                "z = 1/(2v)": 2 * v * z == 1,
                "b = d/2": 2 * b == d,
            },
            solver.And(z * s * s == b, 2 * v * d == 2 * s * s),
        ),
        "logarithm from above": Query(
            {"x > 0": x > 0, "x != 1": x != 1}, ratio_sign(solver, (x - 1) * slope, x, strict=True)
        ),
        "logarithm from below": Query(
            {"x > 0": x > 0, "x != 1": x != 1}, (x - 1) * (up * (4 * x - x + 1) - 3 * x * slope) > 0
        ),
        "third moment": Query(
            {
                "S >= 0": S >= 0,
                "third (1 + S)^3 = 24 S^2 + 8 S^3": third * (1 + S) * (1 + S) * (1 + S)
                == 8 * S * S * (3 + S),
            },
            third < 8,
        ),
        "remainder": Query(
            {
                "F >= 0": F >= 0,
                "3 F <= ratio + third/d^2": 3 * F * d * d <= ratio * d * d + third,
                "d != 0": d != 0,
                "ratio d^2 <= 16": d * d * ratio <= 16,
                "third >= 0": third >= 0,
                "third <= 8": third <= 8,
                "lam = third/(3 d^2) - F": 3 * lam * d * d == third - 3 * F * d * d,
            },
            solver.And(3 * lam * d * d >= -16, 3 * lam * d * d <= 8),
        ),
    }


def enclosures() -> Any:
    import flint

    with flint.ctx.workprec(128):
        found = []
        for number in (3, 8, 64):
            half = flint.arb(number) / 2
            closed = (2 / flint.arb(number)).log() + half.digamma()
            closed += (
                flint.acb(-half)
                .hypgeom([flint.acb(1), flint.acb(1)], [flint.acb(2), 1 + flint.acb(half)])
                .real
            )
            # ln Q is the integral of (exp(-x) - exp(-x Q))/x, with x = exp(y); near 0 the mean of the
            # integrand is at most 1 + E Q, far out all is small
            near, far = flint.arb(10) ** -12, flint.arb(10) ** {3: 9, 8: 5}.get(number, 3)

            def integrand(y: Any, analytic: bool, d: int = number) -> Any:
                return (-y.exp()).exp() - gaussian_transform(d, y.exp(), analytic)

            middle = flint.acb.integral(integrand, near.log(), far.log()).real
            rest = (-far).exp() / far + (1 + 2 * far / number) ** (-half) / half * (1 + number / (2 * far))
            found.append(
                (
                    f"E ln Q at d = {number}: integral and closed form",
                    middle + flint.arb(0, 1) * (3 * near + rest),
                    closed,
                )
            )
        return found


STATEMENT = Statement(
    "exact.gaussian_typical",
    "For Gaussian weights the odds grow typically by E ln Q = ln(2s^2/d) + psi(d/2) + s^-2 2F2(1, 1; 2, 1 + "
    "d/2; -d/(2s^2)) per layer, which is ln(1+s^2) - (s^4 + 2s^2)/(d (1+s^2)^2) within 16/(3 d^2) for d >= "
    "16: ln 2 - 3/(4d) at s = 1.",
    r"\mathbb E\ln Q = \ln\frac{2s^2}{d} + \psi\Big(\frac d2\Big)"
    r" + \frac1{s^2}\,{}_2F_2\Big(1,1;2,1+\frac d2;-\frac d{2s^2}\Big)"
    r" = \ln(1+s^2) - \frac{s^4+2s^2}{d(1+s^2)^2} + O(d^{-2})",
    "derived here",
    (
        Claim(
            "one degree of freedom more",
            {"b > 0": b > 0, "k >= 0": k >= 0},
            [sympy.Eq(sympy.digamma(b + k + 1) - sympy.digamma(b + k), 1 / (b + k))],
            [Identity("the digamma function", sympy.digamma(b + k + 1) - sympy.digamma(b + k), 1 / (b + k))],
            "Q/v has the law of chi^2 with d + 2N degrees of freedom, N of Poisson's law with mean z = "
            "1/(2v), and the mean of ln chi^2 with 2c degrees is ln 2 + psi(c): so E ln Q = ln(2v) + E "
            "psi(b + N), b = d/2.",
        ),
        Claim(
            "Poisson weights",
            {"z > 0": z > 0, "k >= 0": k >= 0},
            [sympy.Eq(_weights.subs(k, k + 1) * (k + 1), z * _weights)],
            [
                Identity("a weight and the next", _weights.subs(k, k + 1) * (k + 1), z * _weights),
                Identity(
                    "the derivative with respect to the mean",
                    sympy.Derivative(_weights.subs(k, k + 1), z),
                    _weights - _weights.subs(k, k + 1),
                ),
            ],
            "So the derivative of E psi(b + N) with respect to z is E[psi(b + N + 1) - psi(b + N)] = E[1/(b "
            "+ N)], which is the integral of x^(b-1) exp(-z (1-x)) over (0, 1): put 1/(b + k) = that of "
            "x^(b+k-1).",
        ),
        Claim(
            "next term",
            {
                "n >= 0": n >= 0,
                "b > 0": b > 0,
                "I_next (n + b + 1) = (n + 1) I_n": sympy.Eq(I_next * (n + b + 1), (n + 1) * I_n),
                "T_n (n + 1) = c I_n": sympy.Eq(T_n * (n + 1), c * I_n),
                "T_next (n + 2) = -c z I_next/(n + 1)": sympy.Eq(T_next * (n + 2) * (n + 1), -c * z * I_next),
            },
            [sympy.Eq(T_next, -z * (n + 1) / ((n + 2) * (b + n + 1)) * T_n)],
            [
                Sign("n + 1 is positive", n + 1, ">"),
                Sign("n + 2 is positive", n + 2, ">"),
                Sign("b + n + 1 is positive", b + n + 1, ">"),
                Sign(
                    "multiples of three differences that are 0",
                    T_next + z * (n + 1) / ((n + 2) * (b + n + 1)) * T_n,
                    "==",
                    plus(
                        times(b + n + 1, T_next * (n + 2) * (n + 1) + c * z * I_next),
                        times(-c * z, I_next * (n + b + 1) - (n + 1) * I_n),
                        times(z * (n + 1), T_n * (n + 1) - c * I_n),
                    )
                    / ((n + 1) * (n + 2) * (b + n + 1)),
                ),
            ],
            "That integral is the one of exact.gaussian_rate with b + 1 for b (w = 1 - x): the sum of c "
            "I_n, c = (-z)^n/n!. Integrated from 0 to z the terms become z T_n with T_n = c I_n/(n + 1) and "
            "T_0 = 1/b, and the ratio is that of 2F2(1, 1; 2, b + 1; -z).",
        ),
        Claim(
            "parameters",
            {
                "s != 0": sympy.Ne(s, 0),
                "d > 0": d > 0,
                "v = s^2/d": sympy.Eq(v * d, s**2),
                "z = 1/(2v)": sympy.Eq(2 * v * z, 1),
                "b = d/2": sympy.Eq(b, d / 2),
            },
            [sympy.Eq(z / b, 1 / s**2), sympy.Eq(2 * v, 2 * s**2 / d)],
            [
                Sign("a square that is not 0", s**2, ">"),
                Sign(
                    "z/b",
                    z / b - 1 / s**2,
                    "==",
                    plus(times(-2 * z, v * d - s**2), times(d, 2 * v * z - 1)) / (d * s**2),
                ),
                Sign("2v", 2 * v - 2 * s**2 / d, "==", times(2 / d, v * d - s**2)),
            ],
        ),
        Claim(
            "logarithm from above",
            {"x > 0": x > 0, "x != 1": sympy.Ne(x, 1)},
            [(x - 1) * (1 - (x - 1) + (x - 1) ** 2 - 1 / x) > 0],
            [
                Identity("the derivative", sympy.Derivative(_below, x), 1 - (x - 1) + (x - 1) ** 2 - 1 / x),
                Sign(
                    "it has the sign of x - 1",
                    (x - 1) * (1 - (x - 1) + (x - 1) ** 2 - 1 / x),
                    ">",
                    (x - 1) ** 4 / x,
                ),
            ],
            "f(x) = (x-1) - (x-1)^2/2 + (x-1)^3/3 - ln x is 0 at x = 1 and falls before and rises after it: "
            "f >= 0. In the second form the derivative is multiplied by x.",
        ),
        Claim(
            "logarithm from below",
            {"x > 0": x > 0, "x != 1": sympy.Ne(x, 1)},
            [(x - 1) * ((x - 1) ** 3 * (3 * x + 1) / (3 * x**2) - (1 - (x - 1) + (x - 1) ** 2 - 1 / x)) > 0],
            [
                Identity(
                    "the derivative",
                    sympy.Derivative(_above, x),
                    (x - 1) ** 3 * (3 * x + 1) / (3 * x**2) - (1 - (x - 1) + (x - 1) ** 2 - 1 / x),
                ),
                Sign(
                    "it has the sign of x - 1",
                    (x - 1)
                    * ((x - 1) ** 3 * (3 * x + 1) / (3 * x**2) - (1 - (x - 1) + (x - 1) ** 2 - 1 / x)),
                    ">",
                    (x - 1) ** 4 / (3 * x**2),
                ),
            ],
            "So f(x) <= (x-1)^4/(3x). With x = Q/m: E ln Q = ln m - Var Q/(2 m^2) + E(Q-m)^3/(3 m^3) - F, "
            "where 0 <= 3 F <= m E[(Q-m)^4/(m^4 Q)].",
        ),
        Claim(
            "third moment",
            {
                "S >= 0": S >= 0,
                "third (1 + S)^3 = 24 S^2 + 8 S^3": sympy.Eq(third * (1 + S) ** 3, 24 * S**2 + 8 * S**3),
            },
            [third < 8],
            [
                Sign("1 + S is positive", 1 + S, ">"),
                Sign(
                    "8 (1 + S)^3 has more terms",
                    8 - third,
                    ">",
                    plus(8, 24 * S, -(third * (1 + S) ** 3 - 24 * S**2 - 8 * S**3)) / (1 + S) ** 3,
                ),
            ],
            "third = d^2 E(Q-m)^3/m^3, by exact.gaussian_expansion.",
        ),
        Claim(
            "remainder",
            {
                "F >= 0": F >= 0,
                "3 F <= ratio + third/d^2": 3 * F * d**2 <= ratio * d**2 + third,
                "d != 0": sympy.Ne(d, 0),
                "ratio d^2 <= 16": ratio * d**2 <= 16,
                "third >= 0": third >= 0,
                "third <= 8": third <= 8,
                "lam = third/(3 d^2) - F": sympy.Eq(3 * lam * d**2, third - 3 * F * d**2),
            },
            [3 * lam * d**2 >= -16, 3 * lam * d**2 <= 8],
            [
                Sign("d^2 is positive", d**2, ">"),
                Sign(
                    "from below: the third moment cancels",
                    3 * lam * d**2 + 16,
                    ">=",
                    plus(
                        16 - ratio * d**2,
                        ratio * d**2 + third - 3 * F * d**2,
                        3 * lam * d**2 - third + 3 * F * d**2,
                    ),
                ),
                Sign(
                    "from above",
                    8 - 3 * lam * d**2,
                    ">=",
                    plus(8 - third, times(3, F, d**2), -(3 * lam * d**2 - third + 3 * F * d**2)),
                ),
            ],
            "ratio = m (E[1/Q] - 1/m - Var Q/m^3) <= 16/d^2 for d >= 16 and, by the identity for 1/Q in "
            "exact.gaussian_expansion, m E[(Q-m)^4/(m^4 Q)] = ratio + third/d^2. lam is what E ln Q differs "
            "from ln m - Var Q/(2 m^2) by, and Var Q/(2 m^2) = (s^4 + 2 s^2)/(d m^2).",
        ),
    ),
    second,
    only_symbolic={
        "one degree of freedom more": "the digamma function",
        "Poisson weights": "exponentials and factorials",
    },
    witnesses={
        ("parameters", "b = d/2"): {"s": 1, "d": 4, "v": "1/4", "z": 2, "b": 1},
        ("one degree of freedom more", "b > 0"): "at b = -k neither side has a value",
        ("one degree of freedom more", "k >= 0"): "at k = -b neither side has a value",
        ("Poisson weights", "z > 0"): "a power of a negative mean is not real",
        ("Poisson weights", "k >= 0"): "k counts: at k = -2 a weight has no value",
        ("logarithm from above", "x > 0"): {"x": -1},
    },
    enclosures=enclosures,
)
