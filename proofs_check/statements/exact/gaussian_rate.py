"""The mean rate for Gaussian weights, exactly."""

from __future__ import annotations

from functools import partial
from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from .shared import gaussian_reciprocal, gaussian_transform

PLACE = 20

d, b, s, v, Q, w, x, n, z, e, X, c, A, I_n = sympy.symbols("d b s v Q w x n z e X c A I_n", real=True)
I_next, T_n, T_next, D, q, B = sympy.symbols("I_next T_n T_next D q B", real=True)

#: E[r] as t goes to 1 for Gaussian weights with s = 1, to four digits, by d
GAUSSIAN_RATES = {8: 3773, 16: 4470, 32: 4751, 64: 4879, 192: 4961, 768: 4990}
_halves = sympy.sqrt(sympy.pi) / sympy.sqrt(A) * sympy.erf(sympy.sqrt(A) * w) / 2
_bell = Tends("what it gains from -w to w", 2 * _halves, w, sympy.oo, sympy.sqrt(sympy.pi) / sympy.sqrt(A))
_decayed = (1 - sympy.exp(-X * Q)) / Q
_one_over = Tends("exp(-X Q) vanishes", _decayed, X, sympy.oo, 1 / Q)
_weight = w ** (n + 1) * (1 - w) ** (b - 1)
_first = Tends("the lower end", (1 - x**c) / c, x, 0, 1 / c)


def second(solver: Any) -> dict[str, Query]:
    b, c, d, e, n, q, s, v, w, x, z, A, D = solver.Reals("b c d e n q s v w x z A D")
    I_n, I_next, T_n, T_next, X, Q, G, eps, B = solver.Reals("I_n I_next T_n T_next X Q G eps B")
    u = 1 + 2 * x * v
    domain = {"v > 0": v > 0, "x >= 0": x >= 0}
    return {
        "complete the square": Query(
            domain
            | {
                "q = 1/(1 + 2xv)": q * u == 1,
                "A = (1 + 2xv)/(2v)": 2 * A * v == u,
                "c = 2 x v e q": c == 2 * x * v * e * q,
            },
            solver.And(
                2 * v * x * (e + w) * (e + w) + w * w == 2 * v * (A * (w + c) * (w + c) + x * q * e * e),
                2 * A * v * q == 1,
            ),
        ),
        "1/Q as an integral": Query(
            {"Q > 0": Q > 0},
            solver.Or(
                eps <= 0, G < 1 + X * Q, X * Q * Q * eps <= 1, X <= 0, solver.And(G > 0, Q * G * eps > 1)
            ),
            same_symbols=False,
        ),
        "substitution": Query(
            domain
            | {
                "w (1 + 2xv) = 2xv": w + 2 * w * x * v == 2 * x * v,
                "D = dw/dx": D * (1 + 4 * x * v + 4 * x * v * x * v) == 2 * v,
            },
            solver.And(u * (1 - w) == 1, 2 * v * x == w * u, 2 * v * (1 - w) * (1 - w) == D),
        ),
        "next integral": Query(
            {
                "n >= 0": n >= 0,
                "b > 1": b > 1,
                "B = I_n - I_next": B + I_next == I_n,
                "by parts": B + n * B == b * I_next - I_next,
            },
            I_next * n + I_next * b == I_n * n + I_n,
        ),
        "next term": Query(
            {
                "n >= 0": n >= 0,
                "b > 1": b > 1,
                "I_next (n + b) = (n + 1) I_n": I_next * n + I_next * b == I_n * n + I_n,
                "T_n = c I_n": T_n == c * I_n,
                "T_next = -c z I_next/(n + 1)": T_next + n * T_next == -c * z * I_next,
            },
            T_next * b + T_next * n + z * T_n == 0,
        ),
        "parameters": Query(
            {
                "s != 0": s != 0,
                "d > 2": d > 2,
                "v = s^2/d": v * d == s * s,
                "b = d/2": 2 * b == d,
                "z = 1/(2v)": 2 * v * z == 1,
            },
            solver.And(2 * s * s * z == d, z * s * s * (d - 2) == d * (b - 1)),
        ),
    }


def enclosures() -> Any:
    import flint

    for number, digits in GAUSSIAN_RATES.items():
        far = {8: 10**5, 16: 10**3}.get(number, 200)
        transform = partial(gaussian_transform, number)
        integral = flint.acb.integral(transform, 0, far).real
        # the rest of the integral is positive and at most that of (1 + 2x/d)^(-d/2)
        rest = (1 + 2 * flint.arb(far) / number) ** (1 - flint.arb(number) / 2) * number / (number - 2)
        closed = gaussian_reciprocal(number)
        words = f"E[1/Q] at d = {number}: integral and closed form"
        yield words, integral + rest * flint.arb(0.5, 0.5), closed
        rounded = ((1 - closed) * 10**4 + flint.arb(0.5)).floor()
        yield f"E[r] at d = {number} to four digits", rounded, flint.arb(digits)


STATEMENT = Statement(
    "exact.gaussian_rate",
    "For Gaussian weights and d >= 3 the mean rate as t goes to 1 is 1 - d/(s^2 (d-2)) 1F1(1; d/2; -d/(2 "
    "s^2)): .3773, .4470, .4751, .4879, .4961, .4990 at s = 1 and d = 8, 16, 32, 64, 192, 768.",
    r"\mathbb E[r] \to 1 - \mathbb E\Big[\frac1Q\Big] ="
    r" 1 - \frac{d}{s^2(d-2)}\,{}_1F_1\Big(1; \frac d2; -\frac{d}{2s^2}\Big)",
    "derived here",
    (
        Claim(
            "complete the square",
            {
                "v > 0": v > 0,
                "x >= 0": x >= 0,
                "q = 1/(1 + 2xv)": sympy.Eq(q * (1 + 2 * x * v), 1),
                "A = (1 + 2xv)/(2v)": sympy.Eq(2 * v * A, 1 + 2 * x * v),
                "c = 2 x v e q": sympy.Eq(c, 2 * x * v * e * q),
            },
            [
                sympy.Eq(2 * v * x * (e + w) ** 2 + w**2, 2 * v * (A * (w + c) ** 2 + x * q * e**2)),
                sympy.Eq(2 * v * A * q, 1),
            ],
            [
                Sign(
                    "A and q",
                    2 * v * A * q - 1,
                    "==",
                    plus(times(q, 2 * v * A - 1 - 2 * x * v), q * (1 + 2 * x * v) - 1),
                ),
                Sign(
                    "multiples of two differences that are 0",
                    2 * v * x * (e + w) ** 2 + w**2 - 2 * v * (A * (w + c) ** 2 + x * q * e**2),
                    "==",
                    plus(
                        times(-((w + c) ** 2), 2 * v * A - 1 - 2 * x * v),
                        times(-4 * v * x * e * w - 4 * x**2 * v**2 * e**2 * q, q * (1 + 2 * x * v) - 1),
                        times(-2 * v * x * e**2, q * (1 + 2 * x * v) - 1),
                    ),
                ),
            ],
            "The exponent x (e + w)^2 + w^2/(2v), times 2v. With the next claim E exp(-x (e + w)^2) = (2 v "
            "A)^(-1/2) exp(-x q e^2) = (1 + 2xv)^(-1/2) exp(-x e^2/(1 + 2xv)), and the product over the "
            "coordinates is E exp(-x Q) = (1 + 2xv)^(-d/2) exp(-x/(1 + 2xv)).",
        ),
        Claim(
            "Gaussian integral",
            {"A > 0": A > 0},
            [_bell],
            [
                Identity("an integral of exp(-A w^2)", sympy.Derivative(_halves, w), sympy.exp(-A * w**2)),
                _bell,
            ],
            "So exp(-A (w + c)^2) / sqrt(2 pi v) has the integral (2 v A)^(-1/2).",
        ),
        Claim(
            "1/Q as an integral",
            {"Q > 0": Q > 0},
            [_one_over],
            [
                Identity(
                    "an integral of exp(-x Q)", sympy.Derivative(-sympy.exp(-x * Q) / Q, x), sympy.exp(-x * Q)
                ),
                _one_over,
            ],
            "1/Q is the integral of exp(-x Q) over x > 0; all is positive, so E[1/Q] is that of E exp(-x "
            "Q). Second form: with G >= 1 + X Q for exp(X Q), by its tangent, 1/(Q G) is below eps once X > "
            "1/(Q^2 eps).",
        ),
        Claim(
            "substitution",
            {
                "v > 0": v > 0,
                "x >= 0": x >= 0,
                "w (1 + 2xv) = 2xv": sympy.Eq(w * (1 + 2 * x * v), 2 * x * v),
                "D = dw/dx": sympy.Eq(D * (1 + 2 * x * v) ** 2, 2 * v),
            },
            [
                sympy.Eq((1 + 2 * x * v) * (1 - w), 1),
                sympy.Eq(2 * v * x, w * (1 + 2 * x * v)),
                sympy.Eq(D, 2 * v * (1 - w) ** 2),
            ],
            [
                Identity(
                    "the derivative",
                    sympy.Derivative(2 * x * v / (1 + 2 * x * v), x),
                    2 * v / (1 + 2 * x * v) ** 2,
                ),
                Sign(
                    "1 - w = 1/(1 + 2xv)",
                    (1 + 2 * x * v) * (1 - w) - 1,
                    "==",
                    -(w * (1 + 2 * x * v) - 2 * x * v),
                ),
                Sign("1 + 2xv is positive", 1 + 2 * x * v, ">", plus(1, times(2, x, v))),
                Sign(
                    "so the derivative is 2v (1 - w)^2",
                    D - 2 * v * (1 - w) ** 2,
                    "==",
                    plus(
                        D * (1 + 2 * x * v) ** 2 - 2 * v,
                        times(-2 * v * ((1 + 2 * x * v) * (1 - w) + 1), (1 + 2 * x * v) * (1 - w) - 1),
                    )
                    / (1 + 2 * x * v) ** 2,
                ),
            ],
            "w = 2xv/(1 + 2xv) goes from 0 to 1: E[1/Q] is the integral of (1-w)^(b-2) exp(-w/(2v)) / (2v), "
            "b = d/2.",
        ),
        Claim(
            "next integral",
            {
                "n >= 0": n >= 0,
                "b > 1": b > 1,
                "B = I_n - I_next": sympy.Eq(B, I_n - I_next),
                "by parts": sympy.Eq((n + 1) * B, (b - 1) * I_next),
            },
            [sympy.Eq(I_next, (n + 1) / (n + b) * I_n)],
            [
                Identity(
                    "the derivative of w^(n+1) (1-w)^(b-1)",
                    sympy.Derivative(_weight, w),
                    _weight * ((n + 1) / w - (b - 1) / (1 - w)),
                ),
                Sign("n + b is positive", n + b, ">", plus(n, b - 1, 1)),
                Sign(
                    "put in B",
                    I_next - (n + 1) / (n + b) * I_n,
                    "==",
                    -plus((n + 1) * (I_n - I_next) - (b - 1) * I_next) / (n + b),
                ),
            ],
            "I_n is the integral of w^n (1-w)^(b-2) over (0, 1), finite for b > 1, and B that of w^n "
            "(1-w)^(b-1) = w^n (1-w)^(b-2) (1 - w). What is differentiated vanishes at both ends: (n+1) B = "
            "(b-1) I_next.",
        ),
        Claim(
            "first integral",
            {"c > 0": c > 0},
            [_first],
            [Identity("an integral of x^(c-1)", sympy.Derivative(x**c / c, x), x**c / x), _first],
            "c = b - 1: the integral of (1-w)^(b-2) is 1/(b-1).",
        ),
        Claim(
            "next term",
            {
                "n >= 0": n >= 0,
                "b > 1": b > 1,
                "I_next (n + b) = (n + 1) I_n": sympy.Eq(I_next * (n + b), (n + 1) * I_n),
                "T_n = c I_n": sympy.Eq(T_n, c * I_n),
                "T_next = -c z I_next/(n + 1)": sympy.Eq(T_next * (n + 1), -c * z * I_next),
            },
            [sympy.Eq(T_next, -z / (n + b) * T_n)],
            [
                Sign("n + 1 is positive", n + 1, ">"),
                Sign("n + b is positive", n + b, ">", plus(n, b - 1, 1)),
                Sign(
                    "multiples of two differences that are 0",
                    T_next + z / (n + b) * T_n,
                    "==",
                    plus(
                        times(n + b, T_next * (n + 1) + c * z * I_next),
                        times(-c * z, I_next * (n + b) - (n + 1) * I_n),
                    )
                    / ((n + 1) * (n + b)),
                ),
            ],
            "exp(-z w) = sum of (-z w)^n/n! converges uniformly, so the integral of (1-w)^(b-2) exp(-z w) "
            "is the sum of T_n = I_n (-z)^n/n!, c = (-z)^n/n!. The ratio -z/(n + b) = -z (n + 1)/((n + b)(n "
            "+ 1)) is that of 1F1(1; b; -z).",
        ),
        Claim(
            "parameters",
            {
                "s != 0": sympy.Ne(s, 0),
                "d > 2": d > 2,
                "v = s^2/d": sympy.Eq(v * d, s**2),
                "b = d/2": sympy.Eq(b, d / 2),
                "z = 1/(2v)": sympy.Eq(2 * v * z, 1),
            },
            [sympy.Eq(z, d / (2 * s**2)), sympy.Eq(z / (b - 1), d / (s**2 * (d - 2)))],
            [
                Sign("a square that is not 0", s**2, ">"),
                Sign("d is positive", d, ">", plus(d - 2, 2)),
                Sign(
                    "z",
                    z - d / (2 * s**2),
                    "==",
                    plus(times(-2 * z, v * d - s**2), times(d, 2 * v * z - 1)) / (2 * s**2),
                ),
                Sign(
                    "the factor in front",
                    z / (b - 1) - d / (s**2 * (d - 2)),
                    "==",
                    times(2 / (d - 2), z - d / (2 * s**2)),
                ),
            ],
            "E[1/Q] = z I_0 1F1(1; b; -z) = z/(b-1) 1F1(1; b; -z). As t goes to 1, r = 1 - 1/(1 - t + tQ), "
            "and 1/(1 - t + tQ) <= max(1, 1/Q) has a finite mean, so E[r] goes to 1 - E[1/Q].",
        ),
    ),
    second,
    only_symbolic={
        "Gaussian integral": "an integral of exp(-A w^2)",
        "first integral": "a power with a real exponent",
    },
    witnesses={
        ("Gaussian integral", "A > 0"): "for A <= 0 the integral is infinite",
        ("first integral", "c > 0"): "for c <= 0 the integral is infinite",
        ("1/Q as an integral", "Q > 0"): "for Q <= 0 the integral is infinite",
        ("next integral", "b > 1"): "for b <= 1 the integrals are infinite",
        ("parameters", "b = d/2"): {"s": 1, "d": 4, "v": "1/4", "z": 2, "b": 3},
    },
    enclosures=enclosures,
)
