"""Sums, products and projections: the inequalities that every bound uses."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus
from .shared import root

PLACE = 10

a, b, e, m, p, s, t, x, y = sympy.symbols("a b e m p s t x y", real=True)


def second(z3: Any) -> dict[str, Query]:
    p, x, y, e, m, a, b, s, t = z3.Reals("p x y e m a b s t")
    side = x * x + y * y <= e * e
    return {
        "triangle": Query(
            {
                "p >= 0": p >= 0,
                "e > 0": e > 0,
                "x^2 + y^2 <= e^2": side,
                "m^2 <= (p+x)^2 + y^2": m * m <= p * p + 2 * p * x + x * x + y * y,
            },
            z3.Not(m > p + e),
        ),
        "reverse triangle": Query(
            {
                "e > 0": e > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= e^2": side,
                "(p+x)^2 + y^2 <= m^2": m * m >= p * p + 2 * p * x + x * x + y * y,
            },
            m + e >= p,
        ),
        "Cauchy-Schwarz": Query(
            {},
            a * a * x * x + 2 * a * b * x * y + b * b * y * y
            <= a * a * x * x + a * a * y * y + b * b * x * x + b * b * y * y,
        ),
        "operator norm": Query(
            {"0 <= t": t >= 0, "t <= s": s - t >= 0},
            s * s * a * a + t * t * b * b <= s * s * a * a + s * s * b * b,
        ),
    }


STATEMENT = Statement(
    "bounds.norms",
    "Norms, as all bounds use them: |p + e| lies between |p| - |e| and |p| + |e|, |x.y| <= |x| |y|, and "
    "|M x| <= |M|_2 |x|, so |M N|_2 <= |M|_2 |N|_2 and ||M N K|| <= |M|_2 ||N|| |K|_2; a projection "
    "makes nothing longer.",
    r"|p| - |e| \le |p + e| \le |p| + |e|,\quad (x \cdot y)^2 \le |x|^2 |y|^2,\quad |Mx| \le |M|_2 |x|",
    "derived here (classical)",
    (
        Claim(
            "triangle",
            {
                "p >= 0": p >= 0,
                "e > 0": e > 0,
                "x^2 + y^2 <= e^2": x**2 + y**2 <= e**2,
                "m^2 <= (p+x)^2 + y^2": m**2 <= (p + x) ** 2 + y**2,
            },
            [m <= p + e],
            [
                Sign("a leg is no longer than its side", e**2 - x**2, ">=", plus(e**2 - x**2 - y**2, y**2)),
                root("take roots", e, x),
                Sign(
                    "compare the squares",
                    (p + e) ** 2 - m**2,
                    ">=",
                    plus((p + x) ** 2 + y**2 - m**2, e**2 - x**2 - y**2, 2 * p * (e - x)),
                ),
                Sign("the sum of the lengths is positive", p + e, ">"),
                root("take roots", p + e, m),
            ],
            "Two vectors lie in a plane; its first axis along the first of them, they are (p, 0) with "
            "p >= 0 and (x, y). e is the length of the second, m that of the sum. Longer sums: one "
            "vector at a time. Frobenius' norm is the length of the list of all entries (real and "
            "imaginary parts), so the same holds for matrices.",
        ),
        Claim(
            "reverse triangle",
            {
                "e > 0": e > 0,
                "m > 0": m > 0,
                "x^2 + y^2 <= e^2": x**2 + y**2 <= e**2,
                "(p+x)^2 + y^2 <= m^2": (p + x) ** 2 + y**2 <= m**2,
            },
            [m >= p - e],
            [
                Sign("a leg is no longer than its side", e**2 - x**2, ">=", plus(e**2 - x**2 - y**2, y**2)),
                root("take roots", e, -x),
                Sign(
                    "the same for the sum",
                    m**2 - (p + x) ** 2,
                    ">=",
                    plus(m**2 - (p + x) ** 2 - y**2, y**2),
                ),
                root("take roots", m, p + x),
                Sign("add the two", m - p + e, ">=", plus(m - p - x, e + x)),
            ],
            "In the same plane.",
        ),
        Claim(
            "Cauchy-Schwarz",
            {},
            [(a * x + b * y) ** 2 <= (a**2 + b**2) * (x**2 + y**2)],
            [
                Sign(
                    "Lagrange's identity in the plane",
                    (a**2 + b**2) * (x**2 + y**2) - (a * x + b * y) ** 2,
                    ">=",
                    (a * y - b * x) ** 2,
                )
            ],
            "(a, b) and (x, y) are two vectors in the plane that they span. For complex ones turn the "
            "phase of the first until their product is real: then it is the product of the real vectors.",
        ),
        Claim(
            "operator norm",
            {"0 <= t": t >= 0, "t <= s": t <= s},
            [(s * a) ** 2 + (t * b) ** 2 <= s**2 * (a**2 + b**2)],
            [
                Sign("the larger one is not negative", s, ">=", plus(s - t, t)),
                Sign(
                    "what is lost along the second direction",
                    s**2 * (a**2 + b**2) - (s * a) ** 2 - (t * b) ** 2,
                    ">=",
                    b**2 * (s - t) * (s + t),
                ),
            ],
            "In its two orthonormal bases of singular vectors M multiplies coordinate k by sigma_k; all "
            "coordinates but the first lose as the second one here. So |M x| <= |M|_2 |x|; applied to "
            "N x, |M N|_2 <= |M|_2 |N|_2; to every column of N, ||M N|| <= |M|_2 ||N||; transposed, the "
            "same for K on the right. M = diag(rho): |M|_2 = max |rho|. A projection has s = 1, t = 0, "
            "and a vector u, as a matrix of one row, has |u|_2 = |u|.",
        ),
    ),
    second,
)
