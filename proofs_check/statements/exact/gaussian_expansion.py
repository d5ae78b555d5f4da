"""The mean rate for Gaussian weights of many features, with its remainder.

>>> half = {S: 1, g: sympy.Rational(1, 4)}  # s = 1, d = 8
>>> LOWER.subs(half), UPPER.subs(half)
(11/18, 12/19)
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from .shared import moments_of_w, normal, ratio_sign, share

PLACE = 30

d, S, v, m, Q, w, x, z, p, e, J, K, L, E, g = sympy.symbols("d S v m Q w x z p e J K L E g", real=True)
w_1, w_2, w_3, w_4, xi, c, M_3, w_5, w_6 = sympy.symbols("w_1 w_2 w_3 w_4 xi c M_3 w_5 w_6", real=True)
T, k = sympy.symbols("T k", real=True)

_crude = 1 / (1 + S - 2 * g)
#: E[1/Q] for Gaussian weights lies between these two for d > 4; g = 2 s^2/d
UPPER = 1 / (1 + S - g - g * _crude)
LOWER = _crude - g * (S - g) * _crude**3
h = Q - m
_m = 1 + S
_law = 1 / _m + g * (S + 2) / _m**3
_room = 4 * g**2 / (_m * S**2)
_sixth = 15 * share - (xi**5 + 5 * xi**3 + 15 * xi) * normal
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


def second(solver: Any) -> dict[str, Query]:
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
            ratio_sign(solver, 1 - E * (one - g - g * c), one - g - g * c, strict=True),
        ),
        "lower bound": Query(
            few | {"lower quadratic": E * wide + g * (S - g) * E * E >= 1}, c - g * (S - g) * c * c * c < E
        ),
        "remainder above": Query(
            large, ratio_sign(solver, (law + room) * upper[1] - upper[0] * scale, one * upper[1], strict=True)
        ),
        "remainder below": Query(
            large, ratio_sign(solver, lower[0] * scale - (law - room) * lower[1], one * lower[1], strict=True)
        ),
        "limit above": close,
        "limit below": close,
        "s = 1": Query(
            {"S = 1": S == 1, "g > 0": g > 0, "g < 1/2": 2 * g < 1},
            ratio_sign(solver, 8 * lower[0] - (4 + 3 * g) * lower[1], lower[1], strict=True),
        ),
    }


STATEMENT = Statement(
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
            moments_of_w
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
            [Identity("an integral of xi^6", sympy.Derivative(_sixth, xi), xi**6 * normal), _sixth_moment],
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
    second,
    only_symbolic={"sixth moment": "an integral of exp(-xi^2/2)", "by parts": "a power with a real exponent"},
    witnesses={("by parts", "p > 0"): "for p <= 0 it does not vanish at w = 1"},
)
