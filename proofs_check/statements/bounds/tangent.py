"""From a distance between directions to a tangent."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import over, root

PLACE = 110

c, e, s, x, y, F = sympy.symbols("c e s x y F", real=True)


def second(z3: Any) -> dict[str, Query]:
    c, s, F, x, y, e = z3.Reals("c s F x y e")
    return {
        "tangent": Query({"0 < c": c > 0}, 2 * c * c - 2 * c * c * c <= 1 - c * c),
        "distance": Query({"c^2 + s^2 = 1": 1 - c * c == s * s}, c * c - 2 * c + 1 + s * s == 2 - 2 * c),
        "angle to the reference": Query(
            {
                "y >= 0": y >= 0,
                "e > 0": e > 0,
                "e < F": F - e > 0,
                "x^2 + y^2 <= e^2": e * e >= x * x + y * y,
            },
            z3.And(F + x > 0, over(z3, (F + x) * (F - e), y * F - y * e, y * F + y * x)),
        ),
    }


STATEMENT = Statement(
    "bounds.tangent",
    "A unit vector at an angle theta < pi/2 to the unit vector of f has |u - f/|f||^2 = 2 (1 - cos theta) <= "
    "tan^2 theta; for u along f + e with |e| < |f|, tan theta <= |e_perp| / (|f| - |e|).",
    r"|u - f/|f||^2 = 2 (1 - \cos\theta) \le \tan^2\theta,\quad \tan\theta \le \frac{|e_\perp|}{|f| - |e|}",
    "derived here",
    (
        Claim(
            "tangent",
            {"0 < c": c > 0},
            [2 * (1 - c) <= (1 - c**2) / c**2],
            [
                Sign(
                    "the factors of the difference",
                    (1 - c**2) / c**2 - 2 * (1 - c),
                    ">=",
                    (1 - c) ** 2 * (1 + 2 * c) / c**2,
                )
            ],
            "c = cos theta, tan^2 = (1 - c^2)/c^2.",
        ),
        Claim(
            "distance",
            {"c^2 + s^2 = 1": sympy.Eq(c**2 + s**2, 1)},
            [sympy.Eq((c - 1) ** 2 + s**2, 2 * (1 - c))],
            [Sign("put the length in", (c - 1) ** 2 + s**2 - 2 * (1 - c), "==", c**2 + s**2 - 1)],
            "In the plane of u and f, f/|f| = (1, 0) and u = (c, s).",
        ),
        Claim(
            "angle to the reference",
            {"y >= 0": y >= 0, "e > 0": e > 0, "e < F": e < F, "x^2 + y^2 <= e^2": x**2 + y**2 <= e**2},
            [F + x > 0, y / (F + x) <= y / (F - e)],
            [
                Sign("a leg is no longer than its side", e**2 - x**2, ">=", plus(e**2 - x**2 - y**2, y**2)),
                root("take roots", e, -x),
                Sign("so the angle is below pi/2", F + x, ">", plus(F - e, e + x)),
                Sign(
                    "divide",
                    y / (F - e) - y / (F + x),
                    ">=",
                    times(y, e + x, 1 / ((F + x) * (F - e))),
                ),
            ],
            "f = (F, 0), e = (x, y) with y = |e_perp|, in the plane of the two: tan theta = y / (F + x).",
        ),
    ),
    second,
    witnesses={
        ("angle to the reference", "e > 0"): {"F": "-1/2", "e": -1, "x": 0, "y": 0},
        ("angle to the reference", "e < F"): {"F": 0, "e": 2, "x": 1, "y": 1},
    },
)
