"""Exact laws of token similarity escalation under uniform attention, for Gaussian and for Haar weights.

Under uniform attention every layer multiplies the odds by Q = |e + W^T e|^2 (escalation.uniform), so as the
similarity goes to 1 the mean rate is 1 - E[1/Q] and the typical growth of the odds is E ln Q.  Notation: d
features, b = d/2; W has independent entries N(0, v), v = s^2/d, or is s times a Haar orthogonal matrix;
S = s^2, m = 1 + S = E Q, g = 2v, and K(p) is the integral of (1-w)^p exp(-z w) over 0 < w < 1, z = 1/(2v), so
that E[1/Q] = z K(b-2) for Gaussian weights.  What is an integral or a special function is derived by SymPy
alone and enclosed by balls; what it comes down to is algebra, proved twice.

>>> [HAAR_RATE.subs(d, n) for n in (4, 8, 64)]
[0, 2/5, 30/61]
>>> half = {S: 1, g: sympy.Rational(1, 4)}  # s = 1, d = 8
>>> LOWER.subs(half), UPPER.subs(half)
(11/18, 12/19)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times

__all__ = ["GAUSSIAN_RATES", "HAAR_RATE", "LOWER", "STATEMENTS", "UPPER"]

d, b, S, s, v, m, t, Q = sympy.symbols("d b S s v m t Q", real=True)
w, x, n, z, p, e, X, a = sympy.symbols("w x n z p e X a", real=True)
J, K, L, E, g = sympy.symbols("J K L E g", real=True)

#: E[r] as t goes to 1 for Haar weights with s = 1, d >= 4
HAAR_RATE = (d - 4) / (2 * (d - 3))
#: E[r] as t goes to 1 for Gaussian weights with s = 1, to four digits, by d
GAUSSIAN_RATES = {8: 3773, 16: 4470, 32: 4751, 64: 4879, 192: 4961, 768: 4990}

_crude = 1 / (1 + S - 2 * g)
#: E[1/Q] for Gaussian weights lies between these two for d > 4; g = 2 s^2/d
UPPER = 1 / (1 + S - g - g * _crude)
LOWER = _crude - g * (S - g) * _crude**3


# ---------------------------------------------------------------- moments

w_1, w_2, w_3, w_4, M_2, M_4, mean, variance, total = sympy.symbols(
    "w_1 w_2 w_3 w_4 M_2 M_4 mean variance total", real=True
)
xi = sympy.Symbol("xi", real=True)
_normal = sympy.exp(-(xi**2) / 2) / sympy.sqrt(2 * sympy.pi)
_share = sympy.erf(xi / sympy.sqrt(2)) / 2
_primitives = {2: _share - xi * _normal, 4: 3 * _share - (xi**3 + 3 * xi) * _normal}


def _normal_moment(power: int, value: int) -> tuple[Identity, Tends]:
    primitive = _primitives[power]
    return (
        Identity(f"an integral of xi^{power}", sympy.Derivative(primitive, xi), xi**power * _normal),
        Tends("what it gains from -xi to xi", primitive - primitive.subs(xi, -xi), xi, sympy.oo, value),
    )


_second_moment, _fourth_moment = _normal_moment(2, 1), _normal_moment(4, 3)
_moments_of_w = {
    "E w = 0": sympy.Eq(w_1, 0),
    "E w^2 = v": sympy.Eq(w_2, v),
    "E w^3 = 0": sympy.Eq(w_3, 0),
    "E w^4 = 3 v^2": sympy.Eq(w_4, 3 * v**2),
}
_dv = sympy.Eq(d * v, s**2)


def _moments_second(solver: Any) -> dict[str, Query]:
    d, e, s, v, total, mean, variance = solver.Reals("d e s v total mean variance")
    w_1, w_2, w_3, w_4, M_2, M_4 = solver.Reals("w_1 w_2 w_3 w_4 M_2 M_4")
    square = s * s
    return {
        "one coordinate": Query(
            {
                "E w = 0": w_1 == 0,
                "E w^2 = v": w_2 == v,
                "E w^3 = 0": w_3 == 0,
                "E w^4 = 3 v^2": w_4 == 3 * v * v,
                "M_2 = E (e + w)^2": M_2 - w_2 == e * (e + 2 * w_1),
                "M_4 = E (e + w)^4": M_4 - w_4 == e * (4 * w_3 + e * (6 * w_2 + e * (4 * w_1 + e))),
            },
            solver.And(M_2 - v == e * e, 2 * v * (2 * e * e + v) == M_4 - M_2 * M_2),
        ),
        "all coordinates": Query(
            {
                "|e| = 1": total == 1,
                "d v = s^2": v * d - square == 0,
                "d > 0": d > 0,
                "the means add up": mean == total + v * d,
                "the variances add up": variance == 4 * (v * total) + 2 * (v * v * d),
            },
            solver.And(mean == 1 + square, variance * d == 2 * square * (square + 2)),
        ),
    }


_MOMENTS = Statement(
    "exact.moments",
    "For Gaussian weights E Q = 1 + s^2 and Var Q = (2 s^4 + 4 s^2)/d.",
    r"\mathbb E\,Q = 1 + s^2,\quad \mathrm{Var}\,Q = \frac{2s^4 + 4s^2}{d}",
    "derived here",
    (
        Claim(
            "one coordinate",
            _moments_of_w
            | {
                "M_2 = E (e + w)^2": sympy.Eq(M_2, e**2 + 2 * e * w_1 + w_2),
                "M_4 = E (e + w)^4": sympy.Eq(
                    M_4, e**4 + 4 * e**3 * w_1 + 6 * e**2 * w_2 + 4 * e * w_3 + w_4
                ),
            },
            [sympy.Eq(M_2, e**2 + v), sympy.Eq(M_4 - M_2**2, 4 * e**2 * v + 2 * v**2)],
            [
                Identity("the binomial", (e + w) ** 4, sympy.expand((e + w) ** 4)),
                Identity("the mean", M_2, e**2 + v),
                Identity("the variance", M_4 - M_2**2, 4 * e**2 * v + 2 * v**2),
            ],
            "The coordinates of W^T e are independent N(0, v) for every unit vector e; one coordinate of e "
            "+ W^T e is e_i + w.",
        ),
        Claim(
            "all coordinates",
            {
                "|e| = 1": sympy.Eq(total, 1),
                "d v = s^2": _dv,
                "d > 0": d > 0,
                "the means add up": sympy.Eq(mean, total + d * v),
                "the variances add up": sympy.Eq(variance, 4 * total * v + 2 * d * v**2),
            },
            [sympy.Eq(mean, 1 + s**2), sympy.Eq(variance, (2 * s**4 + 4 * s**2) / d)],
            [
                Sign("d v = s^2", mean - 1 - s**2, "==", d * v - s**2),
                Sign(
                    "twice",
                    variance - (2 * s**4 + 4 * s**2) / d,
                    "==",
                    times(d * v - s**2, 4 + 2 * d * v + 2 * s**2) / d,
                ),
            ],
            "total is the sum of e_i^2; the coordinates are independent, so their means and variances add.",
        ),
        Claim(
            "normal moments",
            {},
            [_second_moment[1], _fourth_moment[1]],
            [*_second_moment, *_fourth_moment],
            "w = sqrt(v) xi with xi of law N(0, 1); odd moments vanish.",
        ),
    ),
    _moments_second,
    only_symbolic={"normal moments": "integrals of exp(-xi^2/2)"},
)

# ---------------------------------------------------------------- E[1/Q] for Gaussian weights

c, A, I_n, I_next, T_n, T_next, D, F, q, B = sympy.symbols("c A I_n I_next T_n T_next D F q B", real=True)
_halves = sympy.sqrt(sympy.pi) / sympy.sqrt(A) * sympy.erf(sympy.sqrt(A) * w) / 2
_bell = Tends("what it gains from -w to w", 2 * _halves, w, sympy.oo, sympy.sqrt(sympy.pi) / sympy.sqrt(A))
_decayed = (1 - sympy.exp(-X * Q)) / Q
_one_over = Tends("exp(-X Q) vanishes", _decayed, X, sympy.oo, 1 / Q)
_weight = w ** (n + 1) * (1 - w) ** (b - 1)
_first = Tends("the lower end", (1 - x**c) / c, x, 0, 1 / c)


def _gaussian_rate_second(solver: Any) -> dict[str, Query]:
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


def _gaussian_reciprocal(number: int) -> Any:
    """Return a ball around E[1/Q] at s = 1 by the closed form."""
    import flint

    with flint.ctx.workprec(512):
        half = flint.arb(number) / 2
        return half / (half - 1) * (-half).hypgeom_1f1(1, half)


def _gaussian_transform(number: int, x: Any, analytic: bool) -> Any:
    """Return E exp(-x Q) at s = 1; where it must be analytic and is not, what has no value."""
    import flint

    wide = 1 + 2 * x / number
    return (-x / wide).exp() * wide.pow(flint.acb(-number) / 2, analytic=analytic)


def _gaussian_rates() -> Any:
    import flint

    for number, digits in GAUSSIAN_RATES.items():
        far = {8: 10**5, 16: 10**3}.get(number, 200)
        transform = partial(_gaussian_transform, number)
        integral = flint.acb.integral(transform, 0, far).real
        # the rest of the integral is positive and at most that of (1 + 2x/d)^(-d/2)
        rest = (1 + 2 * flint.arb(far) / number) ** (1 - flint.arb(number) / 2) * number / (number - 2)
        closed = _gaussian_reciprocal(number)
        words = f"E[1/Q] at d = {number}: integral and closed form"
        yield words, integral + rest * flint.arb(0.5, 0.5), closed
        rounded = ((1 - closed) * 10**4 + flint.arb(0.5)).floor()
        yield f"E[r] at d = {number} to four digits", rounded, flint.arb(digits)


_GAUSSIAN_RATE = Statement(
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
    _gaussian_rate_second,
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
    enclosures=_gaussian_rates,
)

# ---------------------------------------------------------------- many features

M_3, w_5, w_6, T, k = sympy.symbols("M_3 w_5 w_6 T k", real=True)
h = Q - m
_m = 1 + S
_law = 1 / _m + g * (S + 2) / _m**3
_room = 4 * g**2 / (_m * S**2)
_sixth = 15 * _share - (xi**5 + 5 * xi**3 + 15 * xi) * _normal
_sixth_moment = Tends("what it gains from -xi to xi", _sixth - _sixth.subs(xi, -xi), xi, sympy.oo, 15)
_end = Tends("a power that vanishes, with x = 1 - w", x**p * sympy.exp(-z * (1 - x)), x, 0, 0)
_next = 1 - (p + 1) * g * E
_upper_form = 1 - (1 + S - g) * E + g * E**2
_lower_form = 1 - (1 + S - 2 * g) * E - g * (S - g) * E**2
_crude_given = sympy.Eq(c * (1 + S - 2 * g), 1)
_few = {
    "g > 0": g > 0,
    "S > 2g": 2 * g < S,
    "E > 0": E > 0,
    "c = 1/(1 + S - 2g)": _crude_given,
    "E < c": c > E,
}
_large = {"S = 8g + k": sympy.Eq(S, 8 * g + k), "k >= 0": k >= 0, "g > 0": g > 0}
_denominators = [
    Sign("1 + S is positive", _m, ">", plus(1, 8 * g, k)),
    Sign("the first denominator", 1 + S - 2 * g, ">", plus(1, 6 * g, k)),
    Sign("S is positive", S, ">", plus(8 * g, k)),
    Sign(
        "the second denominator",
        1 + S - g - g * _crude,
        ">",
        plus(1, 6 * g, k, times(g, plus(6 * g, k)) / (1 + S - 2 * g)),
    ),
]


def _positive(quotient: sympy.Expr) -> sympy.Expr:
    """Return a quotient of polynomials of g and k = S - 8g, multiplied out above and factored below."""
    top, bottom = sympy.fraction(sympy.factor(sympy.together(quotient.subs(S, 8 * g + k))))
    return sympy.expand(top) / bottom


def _to_the_end(name: str, bound: sympy.Expr) -> Claim:
    limit = Tends("a quotient of polynomials", (bound - 1 / _m) / g, g, 0, (S + 2) / _m**3)
    return Claim(
        name,
        {"S > 0": S > 0},
        [limit],
        [limit],
        "g = 2S/d goes to 0 as d grows, so d (E[1/Q] - 1/m) goes to d Var Q/m^3. Second form: what differs "
        "from the law by at most 4 g^2/(m S^2) does so by less than eps g once 4 g < eps m S^2.",
    )


def _ratio(solver: Any, top: Any, bottom: Any, *, strict: bool = False) -> Any:
    """Return that top/bottom is positive, or not negative, multiplied by the denominator."""
    if strict:
        return solver.If(bottom > 0, top > 0, top < 0)
    return solver.If(bottom > 0, top >= 0, top <= 0)


def _gaussian_expansion_second(solver: Any) -> dict[str, Query]:
    Q, m, e, v, d, S, x, k, T = solver.Reals("Q m e v d S x k T")
    J, K, L, E, c, g, p = solver.Reals("J K L E c g p")
    w_1, w_2, w_3, w_4, w_5, w_6, M_3 = solver.Reals("w_1 w_2 w_3 w_4 w_5 w_6 M_3")
    error, eps = solver.Reals("error eps")
    h, one = Q - m, 1 + S
    wide = one - 2 * g
    few = {
        "g > 0": g > 0,
        "S > 2g": 2 * g < S,
        "E > 0": E > 0,
        "c = 1/(1 + S - 2g)": c * wide == 1,
        "E < c": c > E,
    }
    positive = {"p > 0": p > 0, "g > 0": g > 0}
    large = {"S = 8g + k": 8 * g + k == S, "k >= 0": k >= 0, "g > 0": g > 0}
    # the bounds as quotients top/bottom, the law times m^3 S^2, and the room times m^3 S^2
    upper = wide, (one - g) * wide - g
    lower = wide * wide - g * (S - g), wide * wide * wide
    law, room, scale = (one * one + g * S + 2 * g) * S * S, 4 * g * g * one * one, one * one * one * S * S
    close = Query(
        {"S > 0": S > 0},
        solver.Or(
            eps <= 0,
            g <= 0,
            4 * g >= eps * one * S * S,
            error * one * S * S > 4 * g * g,
            error * one * S * S < -4 * g * g,
            solver.And(error < eps * g, -error < eps * g),
        ),
        same_symbols=False,
    )
    return {
        "reciprocal": Query(
            {"Q != 0": Q != 0, "m != 0": m != 0},
            m * m * m * (m - Q) + Q * h * (m * m - m * h + h * h) == h * h * h * h,
        ),
        "third moment of a coordinate": Query(
            {
                "E w = 0": w_1 == 0,
                "E w^2 = v": w_2 == v,
                "E w^3 = 0": w_3 == 0,
                "E w^4 = 3 v^2": w_4 == 3 * v * v,
                "E w^5 = 0": w_5 == 0,
                "E w^6 = 15 v^3": w_6 == 15 * v * v * v,
                "M_3 = E (2 e w + w^2 - v)^3": 8 * e * e * e * w_3
                + 12 * e * e * (w_4 - v * w_2)
                + 6 * e * (w_5 - 2 * v * w_3 + v * v * w_1)
                + (w_6 - 3 * v * w_4 + 3 * v * v * w_2 - v * v * v)
                == M_3,
            },
            8 * v * v * (3 * e * e + v) == M_3,
        ),
        "third moment": Query(
            {
                "d v = S": d * v == S,
                "d > 0": d > 0,
                "the third moments add up": 24 * v * v + 8 * d * v * v * v == T,
            },
            T * d * d == 8 * S * S * (3 + S),
        ),
        "Cauchy and Schwarz": Query(
            {
                "J > 0": J > 0,
                "J x = -K": -J * x == K,
                "J x^2 + 2 K x + L >= 0": J * x * x + 2 * K * x + L >= 0,
            },
            J * L >= K * K,
        ),
        "crude bound": Query(
            positive | {"E + p g J = 1": p * g * J == 1 - E, "E < J": J - E > 0}, E + p * g * E < 1
        ),
        "upper quadratic": Query(
            positive
            | {
                "E + p g J = 1": p * g * J == 1 - E,
                "L + (p + 1) g E = 1": 1 - (p + 1) * g * E == L,
                "E^2 <= J L": E * E <= J * L,
            },
            1 + g * E * E >= E + (p + 1) * g * E,
        ),
        "lower quadratic": Query(
            {
                "L^2 <= E M": (1 - (p + 1) * g * E) * (1 - (p + 1) * g * E)
                <= E * (1 - (p + 2) * g * (1 - (p + 1) * g * E))
            },
            (1 + p * g) * E + (p + 1) * g * g * E * E >= 1,
        ),
        "parameters": Query(
            {"g = 2S/d": d * g == 2 * S, "p = d/2 - 2": 2 * p + 4 == d},
            solver.And(p * g == S - 2 * g, p * g + g == S - g, p * g + 2 * g == S),
        ),
        "upper bound": Query(
            few | {"upper quadratic": 1 + g * E * E >= E + S * E - g * E},
            _ratio(solver, 1 - E * (one - g - g * c), one - g - g * c, strict=True),
        ),
        "lower bound": Query(
            few | {"lower quadratic": E * wide + g * (S - g) * E * E >= 1}, c - g * (S - g) * c * c * c < E
        ),
        "remainder above": Query(
            large, _ratio(solver, (law + room) * upper[1] - upper[0] * scale, one * upper[1], strict=True)
        ),
        "remainder below": Query(
            large, _ratio(solver, lower[0] * scale - (law - room) * lower[1], one * lower[1], strict=True)
        ),
        "limit above": close,
        "limit below": close,
        "s = 1": Query(
            {"S = 1": S == 1, "g > 0": g > 0, "g < 1/2": 2 * g < 1},
            _ratio(solver, 8 * lower[0] - (4 + 3 * g) * lower[1], lower[1], strict=True),
        ),
    }


_GAUSSIAN_EXPANSION = Statement(
    "exact.gaussian_expansion",
    "For Gaussian weights E[1/Q] = 1/(1+s^2) + (2s^4 + 4s^2)/(d (1+s^2)^3) + O(d^-2), the remainder at most "
    "16/((1+s^2) d^2) for d >= 16. At s = 1 the mean rate as t goes to 1 is 1/2 - 3/(4d) + O(d^-2), and "
    "below 1/2 - 3/(4d) for every d >= 5.",
    r"\mathbb E[r] \to \frac{s^2}{1+s^2} - \frac{2s^4+4s^2}{d(1+s^2)^3} + O(d^{-2})",
    "derived here",
    (
        Claim(
            "reciprocal",
            {"Q != 0": sympy.Ne(Q, 0), "m != 0": sympy.Ne(m, 0)},
            [sympy.Eq(1 / Q - 1 / m + h / m**2 - h**2 / m**3 + h**3 / m**4, h**4 / (m**4 * Q))],
            [
                Identity(
                    "a geometric sum",
                    1 / Q - 1 / m + h / m**2 - h**2 / m**3 + h**3 / m**4,
                    h**4 / (m**4 * Q),
                )
            ],
            "Where the law comes from, with m = E Q: E[Q - m] = 0, E(Q - m)^2 = Var Q is of order 1/d, E(Q "
            "- m)^3 of order 1/d^2, and the rest is E(Q - m)^4/(m^4 Q). That this rest is of order 1/d^2 "
            "too is what the bounds below show.",
        ),
        Claim(
            "third moment of a coordinate",
            _moments_of_w
            | {
                "E w^5 = 0": sympy.Eq(w_5, 0),
                "E w^6 = 15 v^3": sympy.Eq(w_6, 15 * v**3),
                "M_3 = E (2 e w + w^2 - v)^3": sympy.Eq(
                    M_3,
                    8 * e**3 * w_3
                    + 12 * e**2 * (w_4 - v * w_2)
                    + 6 * e * (w_5 - 2 * v * w_3 + v**2 * w_1)
                    + (w_6 - 3 * v * w_4 + 3 * v**2 * w_2 - v**3),
                ),
            },
            [sympy.Eq(M_3, 24 * e**2 * v**2 + 8 * v**3)],
            [
                Identity(
                    "the cube",
                    (2 * e * w + w**2 - v) ** 3,
                    8 * e**3 * w**3
                    + 12 * e**2 * (w**4 - v * w**2)
                    + 6 * e * (w**5 - 2 * v * w**3 + v**2 * w)
                    + (w**6 - 3 * v * w**4 + 3 * v**2 * w**2 - v**3),
                ),
                Identity("its mean", M_3, 24 * e**2 * v**2 + 8 * v**3),
            ],
            "(e + w)^2 less its mean e^2 + v is 2 e w + w^2 - v.",
        ),
        Claim(
            "third moment",
            {
                "d v = S": sympy.Eq(d * v, S),
                "d > 0": d > 0,
                "the third moments add up": sympy.Eq(T, 24 * v**2 + 8 * d * v**3),
            },
            [sympy.Eq(T, (24 * S**2 + 8 * S**3) / d**2)],
            [
                Sign(
                    "d v = S, in the second and the third power",
                    T - (24 * S**2 + 8 * S**3) / d**2,
                    "==",
                    times(d * v - S, 24 * (d * v + S) + 8 * (d**2 * v**2 + d * v * S + S**2)) / d**2,
                )
            ],
            "Third central moments of independent variables add; the e_i^2 sum to 1. T = E(Q - m)^3.",
        ),
        Claim(
            "sixth moment",
            {},
            [_sixth_moment],
            [Identity("an integral of xi^6", sympy.Derivative(_sixth, xi), xi**6 * _normal), _sixth_moment],
            "E w^6 = 15 v^3; the lower moments are in exact.moments.",
        ),
        Claim(
            "by parts",
            {"p > 0": p > 0},
            [_end],
            [
                Identity(
                    "the derivative",
                    sympy.Derivative((1 - w) ** p * sympy.exp(-z * w), w),
                    -p * (1 - w) ** (p - 1) * sympy.exp(-z * w) - z * (1 - w) ** p * sympy.exp(-z * w),
                ),
                _end,
            ],
            "What is differentiated falls from 1 to 0 between w = 0 and 1, so z K(p) + p K(p-1) = 1 for p > "
            "0, which is d > 4. With E = z K(p) = E[1/Q], J = z K(p-1), L = z K(p+1), M = z K(p+2) and g = "
            "1/z: E + p g J = 1, L + (p+1) g E = 1, M + (p+2) g L = 1.",
        ),
        Claim(
            "Cauchy and Schwarz",
            {
                "J > 0": J > 0,
                "J x = -K": sympy.Eq(J * x + K, 0),
                "J x^2 + 2 K x + L >= 0": J * x**2 + 2 * K * x + L >= 0,
            },
            [K**2 <= J * L],
            [
                Sign(
                    "complete the square",
                    J * L - K**2,
                    ">=",
                    plus(times(J, J * x**2 + 2 * K * x + L), -((J * x + K) ** 2)),
                )
            ],
            "With K for E: z times the integral of (1-w)^(p-1) (x + 1 - w)^2 exp(-z w) is not negative for "
            "any x, so for x = -K/J. Likewise L^2 <= E M.",
        ),
        Claim(
            "crude bound",
            {
                "p > 0": p > 0,
                "g > 0": g > 0,
                "E < J": E < J,
                "E + p g J = 1": sympy.Eq(E + p * g * J, 1),
            },
            [(1 + p * g) * E < 1],
            [Sign("from J > E", 1 - (1 + p * g) * E, ">", plus(times(p, g, J - E), -(E + p * g * J - 1)))],
            "(1-w)^p decreases with p, so J > E > 0.",
        ),
        Claim(
            "upper quadratic",
            {
                "p > 0": p > 0,
                "g > 0": g > 0,
                "E + p g J = 1": sympy.Eq(E + p * g * J, 1),
                "L + (p + 1) g E = 1": sympy.Eq(L + (p + 1) * g * E, 1),
                "E^2 <= J L": E**2 <= J * L,
            },
            [1 - (1 + (p + 1) * g) * E + g * E**2 >= 0],
            [
                Sign(
                    "p g (J L - E^2), but for multiples of 0",
                    1 - (1 + (p + 1) * g) * E + g * E**2,
                    ">=",
                    plus(
                        times(p, g, J * L - E**2),
                        times(-p * g * J, L + (p + 1) * g * E - 1),
                        times(-_next, E + p * g * J - 1),
                    ),
                )
            ],
            "Put J = (1 - E)/(p g) and L = 1 - (p+1) g E into E^2 <= J L.",
        ),
        Claim(
            "lower quadratic",
            {"L^2 <= E M": _next**2 <= E * (1 - (p + 2) * g * _next)},
            [1 - (1 + p * g) * E - (p + 1) * g**2 * E**2 <= 0],
            [
                Sign(
                    "L^2 - E M, multiplied out",
                    1 - (1 + p * g) * E - (p + 1) * g**2 * E**2,
                    "<=",
                    plus(_next**2 - E * (1 - (p + 2) * g * _next)),
                )
            ],
            "L = 1 - (p+1) g E and M = 1 - (p+2) g L are put in.",
        ),
        Claim(
            "parameters",
            {"g = 2S/d": sympy.Eq(d * g - 2 * S, 0), "p = d/2 - 2": sympy.Eq(p, d / 2 - 2)},
            [
                sympy.Eq(p * g, S - 2 * g),
                sympy.Eq((p + 1) * g, S - g),
                sympy.Eq((p + 2) * g, S),
            ],
            [
                Sign("p g", p * g - S + 2 * g, "==", plus(d * g - 2 * S) / 2),
                Sign("(p + 1) g", (p + 1) * g - S + g, "==", plus(d * g - 2 * S) / 2),
                Sign("(p + 2) g", (p + 2) * g - S, "==", plus(d * g - 2 * S) / 2),
            ],
            "z = 1/(2v) = d/(2S) and p = b - 2: from here on S and g = 2S/d alone are left.",
        ),
        Claim(
            "upper bound",
            _few | {"upper quadratic": _upper_form >= 0},
            [1 / (1 + S - g - g * c) > E],
            [
                Sign("the first denominator", 1 + S - 2 * g, ">", plus(1, S - 2 * g)),
                Sign(
                    "c is below 1", 1 - c, ">", plus(S - 2 * g, -(c * (1 + S - 2 * g) - 1)) / (1 + S - 2 * g)
                ),
                Sign("the denominator", 1 + S - g - g * c, ">", plus(1, S - 2 * g, times(g, 1 - c))),
                Sign(
                    "put the crude bound into the quadratic",
                    1 / (1 + S - g - g * c) - E,
                    ">",
                    plus(_upper_form, times(g, E, c - E)) / (1 + S - g - g * c),
                ),
            ],
            "c is the crude bound; S > 2g is d > 4.",
        ),
        Claim(
            "lower bound",
            _few | {"lower quadratic": _lower_form <= 0},
            [c - g * (S - g) * c**3 < E],
            [
                Sign("the denominator", 1 + S - 2 * g, ">", plus(1, S - 2 * g)),
                Sign("c is positive", c, ">", plus(1, c * (1 + S - 2 * g) - 1) / (1 + S - 2 * g)),
                Sign("S - g is positive", S - g, ">", plus(S - 2 * g, g)),
                Sign(
                    "c times the quadratic, with the crude bound put in",
                    E - c + g * (S - g) * c**3,
                    ">",
                    plus(
                        times(-c, _lower_form),
                        times(g, S - g, c, c - E, plus(c, E)),
                        times(-E, c * (1 + S - 2 * g) - 1),
                    ),
                ),
            ],
        ),
        Claim(
            "remainder above",
            _large,
            [_law + _room > UPPER],
            [
                *_denominators,
                Sign(
                    "with k = S - 8g no coefficient is negative",
                    _law + _room - UPPER,
                    ">",
                    _positive(_law + _room - UPPER),
                ),
            ],
        ),
        Claim(
            "remainder below",
            _large,
            [_law - _room < LOWER],
            [
                *_denominators,
                Sign(
                    "with k = S - 8g no coefficient is negative",
                    LOWER - _law + _room,
                    ">",
                    _positive(LOWER - _law + _room),
                ),
            ],
            "Var Q = g (S + 2), so the law is 1/m + Var Q/m^3, and 4 g^2/(m S^2) = 16/(m d^2); S >= 8g is d "
            ">= 16.",
        ),
        _to_the_end("limit above", UPPER),
        _to_the_end("limit below", LOWER),
        Claim(
            "s = 1",
            {"S = 1": sympy.Eq(S, 1), "g > 0": g > 0, "g < 1/2": g < sympy.Rational(1, 2)},
            [sympy.Rational(1, 2) + 3 * g / 8 < LOWER],
            [
                Sign("1 - g is positive", 1 - g, ">", plus(sympy.Rational(1, 2) - g, sympy.Rational(1, 2))),
                Sign(
                    "what is left over",
                    LOWER - sympy.Rational(1, 2) - 3 * g / 8,
                    ">",
                    times(g**2, plus(3 * (sympy.Rational(1, 2) - g), sympy.Rational(1, 2)))
                    / (8 * (1 - g) ** 2),
                ),
            ],
            "g = 2/d, so E[1/Q] > 1/2 + 3/(4d) and E[r] < 1/2 - 3/(4d) for d > 4.",
        ),
    ),
    _gaussian_expansion_second,
    only_symbolic={"sixth moment": "an integral of exp(-xi^2/2)", "by parts": "a power with a real exponent"},
    witnesses={("by parts", "p > 0"): "for p <= 0 it does not vanish at w = 1"},
)

# ---------------------------------------------------------------- before t = 1

nu, r = sympy.symbols("nu r", real=True)
_any_rate = sympy.Eq(r * (1 + t * (Q - 1)), t * (Q - 1))
_scaled = 1 - t + t * Q
_any_decayed = (1 - sympy.exp(-X * _scaled)) / _scaled
A_t = sympy.Symbol("A_t", real=True)


def _any_t_second(solver: Any) -> dict[str, Query]:
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


def _any_t_balls() -> Any:
    import flint

    with flint.ctx.workprec(128):
        number, similar = 8, flint.arb(9) / 10

        def integrand(y: Any, analytic: bool) -> Any:
            return (-(1 - similar) * y).exp() * _gaussian_transform(number, similar * y, analytic)

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

_ANY_T = Statement(
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
    _any_t_second,
    enclosures=_any_t_balls,
    witnesses={
        ("as an integral", "1 - t + t Q > 0"): "otherwise the integral is infinite",
        ("exponents", "v = s^2/d"): {"d": 1, "s": 1, "v": 0, "x": 1, "t": 1, "nu": 1},
        ("exponents", "x = t nu"): {"d": 1, "s": 1, "v": 1, "x": 0, "t": 1, "nu": 1},
    },
)

# ---------------------------------------------------------------- the typical rate

lam, ratio, third = sympy.symbols("lam ratio third", real=True)
_weights = sympy.exp(-z) * z**k / sympy.gamma(k + 1)
_series = x - 1 - (x - 1) ** 2 / 2 + (x - 1) ** 3 / 3
_below, _above = _series - sympy.log(x), (x - 1) ** 4 / (3 * x) - _series + sympy.log(x)


def _typical_second(solver: Any) -> dict[str, Query]:
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
            {"x > 0": x > 0, "x != 1": x != 1}, _ratio(solver, (x - 1) * slope, x, strict=True)
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


def _typical_balls() -> Any:
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
                return (-y.exp()).exp() - _gaussian_transform(d, y.exp(), analytic)

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


_TYPICAL = Statement(
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
    _typical_second,
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
    enclosures=_typical_balls,
)

# ---------------------------------------------------------------- Haar weights

M_n, M_next, N_n, U_0, V_0, kappa = sympy.symbols("M_n M_next N_n U V kappa", real=True)
_sphere = x ** (2 * n + 1) * (1 - x**2) ** ((d - 1) / 2)
_beta = x ** (a - 1) * (1 - x) ** a
_haar_s1 = (d - 2) / (2 * (d - 3))


def _haar_rate_second(solver: Any) -> dict[str, Query]:
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


def _haar_rate_balls() -> Any:
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


_HAAR_RATE = Statement(
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
    _haar_rate_second,
    enclosures=_haar_rate_balls,
    witnesses={
        ("s = 1", "a = (d - 1)/2"): {"d": 5, "a": 3, "U": "5/2", "V": 1, "E": "5/8", "r": "3/8"},
    },
)

_moment = sympy.gamma(a + x) * sympy.gamma(2 * a) / (sympy.gamma(a) * sympy.gamma(2 * a + x))
_log_moment = Tends("the derivative at 0", (_moment - 1) / x, x, 0, sympy.digamma(a) - sympy.digamma(2 * a))


def _haar_typical_second(solver: Any) -> dict[str, Query]:
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


def _haar_typical_balls() -> Any:
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


_HAAR_TYPICAL = Statement(
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
    _haar_typical_second,
    only_symbolic={"logarithm": "gamma and digamma functions"},
    witnesses={
        ("moments", "a > 0"): "for a <= 0 there is no such law",
        ("logarithm", "a > 0"): "at a = 0 there is no such law, and neither side has a value",
    },
    enclosures=_haar_typical_balls,
)

# ---------------------------------------------------------------- what is not true, and what is not finite


def _half_never_second(solver: Any) -> dict[str, Query]:
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


def _half_never_balls() -> Any:
    import flint

    rounded = ((1 - _gaussian_reciprocal(8)) * 10**4 + flint.arb(0.5)).floor()
    return [("E[r] at d = 8, Gaussian weights, to four digits", rounded, flint.arb(3773))]


_HALF_NEVER = Statement(
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
    _half_never_second,
    counterexample=(
        r"P = \tfrac1n \mathbf 1\mathbf 1^\top,\; s = 1,\; d > 3:\; \text{Haar } W,\;"
        r" \mathbb E[r] \to \frac{d-4}{2(d-3)} < \tfrac12;\quad"
        r" \text{Gaussian } W,\; d = 8:\; \mathbb E[r] \to 0.3773\ldots"
    ),
    enclosures=_half_never_balls,
)

u = sympy.Symbol("u", real=True)
_far_part = -(u**-c) / c + u ** (-c - 1) / (c + 1) + 1 / c - 1 / (c + 1)
_far_limit = Tends("both powers vanish", _far_part, u, sympy.oo, 1 / c - 1 / (c + 1))
_far_log = sympy.log(u) + 1 / u - 1
_far_log_limit = Tends("a logarithm", _far_log, u, sympy.oo, sympy.oo)
_near_part = (1 - x**c) / c
_near_limit = Tends("a power that vanishes", _near_part, x, 0, 1 / c)
_near_log_limit = Tends("a logarithm", -sympy.log(x), x, 0, sympy.oo)


def _infinite_second(solver: Any) -> dict[str, Query]:
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


_INFINITE = Statement(
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
    _infinite_second,
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

G = sympy.Symbol("G", real=True)


def _jensen_second(solver: Any) -> dict[str, Query]:
    Q, m, x, A, G = solver.Reals("Q m x A G")
    return {
        "tangent": Query(
            {"Q > 0": Q > 0, "m > 0": m > 0, "Q != m": m != Q},
            _ratio(solver, m * m - 2 * m * Q + Q * Q, Q * m * m, strict=True),
        ),
        "logarithm": Query(
            {"x > 0": x > 0, "x != 1": x != 1}, _ratio(solver, (x - 1) * (x - 1), x, strict=True)
        ),
        "three rates": Query(
            {"G > 0": G > 0, "G < m": m > G, "A G > 1": A * G > 1},
            solver.And(_ratio(solver, A * G - 1, G, strict=True), _ratio(solver, m - G, m * G, strict=True)),
        ),
    }


_JENSEN = Statement(
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
    _jensen_second,
    witnesses={
        ("tangent", "m > 0"): "at m = 0 there is no tangent",
        ("logarithm", "x > 0"): {"x": -1},
        ("three rates", "G > 0"): {"G": -1, "A": -2, "m": 1},
    },
)

STATEMENTS = (
    _MOMENTS,
    _GAUSSIAN_RATE,
    _GAUSSIAN_EXPANSION,
    _ANY_T,
    _TYPICAL,
    _HAAR_RATE,
    _HAAR_TYPICAL,
    _HALF_NEVER,
    _INFINITE,
    _JENSEN,
)
