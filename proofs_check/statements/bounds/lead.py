"""The norm of a row of modes from below."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus
from .shared import over, root

PLACE = 60

a, b, e, k, m, p, s, t, x, y, r1, r2, w1 = sympy.symbols("a b e k m p s t x y r1 r2 w1", real=True)
w2, x1, x2, Y = sympy.symbols("w2 x1 x2 Y", real=True)

_DOT = x1 * w1 + x2 * w2


def second(z3: Any) -> dict[str, Query]:
    m, k, x1, x2, w1, w2, a, b, s, t, Y = z3.Reals("m k x1 x2 w1 w2 a b s t Y")
    p, x, y, e, r1, r2 = z3.Reals("p x y e r1 r2")
    dot = x1 * w1 + x2 * w2
    return {
        "one coefficient": Query(
            {
                "m > 0": m > 0,
                "k > 0": k > 0,
                "x1^2 + x2^2 <= m^2": m * m >= x1 * x1 + x2 * x2,
                "w1^2 + w2^2 <= k^2": k * k >= w1 * w1 + w2 * w2,
            },
            z3.And(over(z3, k, dot, m * k), over(z3, k, -dot, m * k)),
        ),
        "all coefficients": Query(
            {
                "m > 0": m > 0,
                "s > 0": s > 0,
                "0 <= t": t >= 0,
                "t <= s": s >= t,
                "a^2 + b^2 <= m^2": m * m >= a * a + b * b,
                "Y^2 <= (s a)^2 + (t b)^2": s * s * a * a + t * t * b * b >= Y * Y,
            },
            over(z3, s, Y, m * s),
        ),
        "one against the rest": Query(
            {
                "e > 0": e > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= e^2": x * x + y * y <= e * e,
                "(p+x)^2 + y^2 <= m^2": m * m >= p * p + 2 * p * x + x * x + y * y,
                "e <= r1 + r2": e - r1 <= r2,
            },
            p <= m + r1 + r2,
        ),
    }


STATEMENT = Statement(
    "bounds.lead",
    "The norm of y Z, for a row y of coefficients, is at least |y_j| / |w_j| for every j, at least "
    "|y| / |W|_2, and at least |y_j| |z_j| minus the sum of |y_k| |z_k| over k != j.",
    r"|yZ| \ge \max\Big(\frac{|y_j|}{|w_j|},\; \frac{|y|}{|W|_2},\;"
    r" |y_j||z_j| - \sum_{k \ne j} |y_k||z_k|\Big)",
    "derived here",
    (
        Claim(
            "one coefficient",
            {
                "m > 0": m > 0,
                "k > 0": k > 0,
                "x1^2 + x2^2 <= m^2": x1**2 + x2**2 <= m**2,
                "w1^2 + w2^2 <= k^2": w1**2 + w2**2 <= k**2,
            },
            [_DOT / k <= m, -_DOT / k <= m],
            [
                Sign(
                    "Lagrange's identity",
                    (m * k) ** 2 - _DOT**2,
                    ">=",
                    plus(
                        k**2 * (m**2 - x1**2 - x2**2),
                        (x1**2 + x2**2) * (k**2 - w1**2 - w2**2),
                        (x1 * w2 - x2 * w1) ** 2,
                    ),
                ),
                root("take roots", m * k, _DOT),
                root("and for the other sign", m * k, -_DOT),
                Sign("divide", m - _DOT / k, ">=", (m * k - _DOT) / k),
                Sign("divide", m + _DOT / k, ">=", (m * k + _DOT) / k),
            ],
            "y_j = (y Z) w_j because Z W = I. x = yZ, m its length, and w = w_j, k its length, in the plane "
            "that they span (complex: turned so that the product is real).",
        ),
        Claim(
            "all coefficients",
            {
                "m > 0": m > 0,
                "s > 0": s > 0,
                "0 <= t": t >= 0,
                "t <= s": t <= s,
                "a^2 + b^2 <= m^2": a**2 + b**2 <= m**2,
                "Y^2 <= (s a)^2 + (t b)^2": (s * a) ** 2 + (t * b) ** 2 >= Y**2,
            },
            [Y / s <= m],
            [
                Sign(
                    "compare the squares",
                    (s * m) ** 2 - Y**2,
                    ">=",
                    plus(
                        s**2 * (m**2 - a**2 - b**2),
                        b**2 * (s - t) * (s + t),
                        (s * a) ** 2 + (t * b) ** 2 - Y**2,
                    ),
                ),
                root("take roots", s * m, Y),
                Sign("divide", m - Y / s, ">=", (s * m - Y) / s),
            ],
            "y = (yZ) W. In the singular vectors of W, s = |W|_2 and t any other singular value; (a, b) is "
            "yZ, m its length, Y = |y|. The same proof gives |v + beta| >= (1 + sum |b_k|^2)^(1/2) / |U|_2 "
            "and >= 1/|u_i| for the sum v + beta of bounds.minors, whose coefficients are 1 and b_k.",
        ),
        Claim(
            "one against the rest",
            {
                "e > 0": e > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= e^2": x**2 + y**2 <= e**2,
                "(p+x)^2 + y^2 <= m^2": (p + x) ** 2 + y**2 <= m**2,
                "e <= r1 + r2": e <= r1 + r2,
            },
            [m >= p - r1 - r2],
            [
                Sign("a leg is no longer than its side", e**2 - x**2, ">=", plus(e**2 - x**2 - y**2, y**2)),
                root("take roots", e, -x),
                Sign(
                    "the same for the sum", m**2 - (p + x) ** 2, ">=", plus(m**2 - (p + x) ** 2 - y**2, y**2)
                ),
                root("take roots", m, p + x),
                Sign(
                    "add all three",
                    m - p + r1 + r2,
                    ">=",
                    plus(m - p - x, e + x, r1 + r2 - e),
                ),
            ],
            "yZ = y_j z_j + the rest: p = |y_j z_j|, the rest is (x, y) of length e, at most the sum of the "
            "lengths r1, r2, ... of its terms (triangle). Likewise |v + beta| >= |v| - |beta|.",
        ),
    ),
    second,
)
