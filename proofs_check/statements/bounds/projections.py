"""What it costs to exchange a projection for one nearby.

>>> COST
b*g + b + g
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times

PLACE = 90

b, c, d, g, k, p, s, t, u, v, x, y, s1, s2 = sympy.symbols("b c d g k p s t u v x y s1 s2", real=True)
N = sympy.Symbol("N", real=True)

#: cost, in units of ||S||, of exchanging two projections for others at distances b and g
COST = b + g + b * g


def second(z3: Any) -> dict[str, Query]:
    c, s, p, x, y = z3.Reals("c s p x y")
    d, k, t, b, g, s1, s2, N = z3.Reals("d k t b g s1 s2 N")
    u, v = z3.Reals("u v")
    corner, side, last = 1 - c * c, -c * s, -s * s
    return {
        "two lines": Query(
            {"c^2 + s^2 = 1": 1 - s * s == c * c},
            z3.And(
                corner * corner + side * side == s * s,
                corner * side + side * last == 0,
                side * side + last * last == s * s,
            ),
        ),
        "sine": Query(
            {"p > 0": p > 0, "(p+x)^2 + y^2 > 0": p * p + 2 * p * x + x * x + y * y > 0},
            p * p * y * y <= (x * x + y * y) * (p * p + 2 * p * x + x * x + y * y),
        ),
        "exchange": Query(
            {
                "N >= 0": N >= 0,
                "s1 >= 0": s1 >= 0,
                "s1 <= b": b >= s1,
                "s2 >= 0": s2 >= 0,
                "s2 <= g": g >= s2,
                "t <= s2 N": s2 * N >= t,
                "u <= s1 N": s1 * N >= u,
                "v <= s1 s2 N": s1 * s2 * N >= v,
                "d <= k + t + u + v": d - k - t - u <= v,
            },
            d <= k + b * N + g * N + b * g * N,
        ),
    }


_DISTANCE = sympy.Matrix([[1 - c**2, -c * s], [-c * s, -(s**2)]])
_UNIT = c**2 + s**2 - 1

STATEMENT = Statement(
    "bounds.projections",
    "Two lines whose sine is s have projections at distance s. So exchanging P_alpha, P_q for the fixed "
    "projections on v_i (a unit vector) and z_j costs at most (|beta| + |gamma|/|z_j| + |beta| "
    "|gamma|/|z_j|) ||S||.",
    r"(P_u - P_v)^2 = s^2 I,\quad \|(I - P_\alpha) S (I - P_q)\| \le \|(I - P_v) S (I - P_z)\|"
    r" + \Big(|\beta| + \frac{|\gamma|}{|z|} + \frac{|\beta||\gamma|}{|z|}\Big) \|S\|",
    "derived here",
    (
        Claim(
            "two lines",
            {"c^2 + s^2 = 1": sympy.Eq(c**2 + s**2, 1)},
            [
                sympy.Eq((1 - c**2) ** 2 + (c * s) ** 2, s**2),
                sympy.Eq(-c * s * (1 - c**2) + c * s * s**2, 0),
                sympy.Eq((c * s) ** 2 + s**4, s**2),
            ],
            [
                Identity(
                    "the difference of the projections",
                    sympy.Matrix([[1, 0], [0, 0]]) - sympy.Matrix([c, s]) * sympy.Matrix([[c, s]]),
                    _DISTANCE,
                ),
                Identity(
                    "its square, entry by entry",
                    _DISTANCE**2,
                    sympy.Matrix(
                        [
                            [(1 - c**2) ** 2 + (c * s) ** 2, -c * s * (1 - c**2) + c * s * s**2],
                            [-c * s * (1 - c**2) + c * s * s**2, (c * s) ** 2 + s**4],
                        ]
                    ),
                ),
                Sign("first entry", (1 - c**2) ** 2 + (c * s) ** 2 - s**2, "==", times(_UNIT, _UNIT - s**2)),
                Sign("off the diagonal", -c * s * (1 - c**2) + c * s * s**2, "==", times(c * s, _UNIT)),
                Sign("last entry", (c * s) ** 2 + s**4 - s**2, "==", times(s**2, _UNIT)),
            ],
            "In the plane of the two lines, u = (1, 0) and v = (c, s); outside it both projections vanish. "
            "(In complex space choose the phases of v and of the second axis so that c and s are real.) A "
            "symmetric matrix with square s^2 I has both singular values |s|.",
        ),
        Claim(
            "sine",
            {"p > 0": p > 0, "(p+x)^2 + y^2 > 0": (p + x) ** 2 + y**2 > 0},
            [y**2 / ((p + x) ** 2 + y**2) <= (x**2 + y**2) / p**2],
            [
                Sign(
                    "the difference is a square",
                    (x**2 + y**2) / p**2 - y**2 / ((p + x) ** 2 + y**2),
                    ">=",
                    (x**2 + y**2 + p * x) ** 2 / (p**2 * ((p + x) ** 2 + y**2)),
                )
            ],
            "v = (p, 0) and alpha = v + beta, beta = (x, y): the squared sine of their angle is at most "
            "|beta|^2/|v|^2, and |v_i| = 1. Likewise for q = z_j + gamma, and for f = z_j + gamma + mean of "
            "T in bounds.angles.",
        ),
        Claim(
            "exchange",
            {
                "N >= 0": N >= 0,
                "s1 >= 0": s1 >= 0,
                "s1 <= b": s1 <= b,
                "s2 >= 0": s2 >= 0,
                "s2 <= g": s2 <= g,
                "t <= s2 N": t <= s2 * N,
                "u <= s1 N": u <= s1 * N,
                "v <= s1 s2 N": v <= s1 * s2 * N,
                "d <= k + t + u + v": d <= k + t + u + v,
            },
            [d <= k + COST * N],
            [
                Sign("b is not negative", b, ">=", plus(b - s1, s1)),
                Sign(
                    "put the distances in",
                    k + COST * N - d,
                    ">=",
                    plus(
                        k + t + u + v - d,
                        s2 * N - t,
                        s1 * N - u,
                        s1 * s2 * N - v,
                        N * (g - s2),
                        N * (b - s1),
                        N * plus(b * (g - s2), s2 * (b - s1)),
                    ),
                ),
            ],
            "I - P_alpha = (I - P_v) + D with |D|_2 = s1 <= b = |beta|, and I - P_q = (I - P_z) + E with "
            "|E|_2 = s2 <= g = |gamma|/|z_j|. Multiplied out, (I - P_alpha) S (I - P_q) = (I - P_v) S (I - "
            "P_z) + (I - P_v) S E + D S (I - P_z) + D S E; d is the norm of the left side, k, t, u, v at "
            "most those on the right, N = ||S||, and projections make nothing longer.",
        ),
    ),
    second,
)
