"""What a dominant pair of conjugate values leaves: a direction, or sizes, that keep turning."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Ne

from ...statement import Claim, Query
from ...steps import Identity, Sign, plus, times

__all__ = [
    "NOW",
    "NO_LIMIT",
    "THEN",
    "TURN",
    "TURNING",
    "TURNS",
    "complex_pair_second",
    "keeps_turning",
    "pair_entries",
    "rank_claim",
]

y1, y2, v1, v2, w1, w2, r1, s1 = sympy.symbols("y_1 y_2 v_1 v_2 w_1 w_2 r_1 s_1", real=True)
x11, x12, x21, x22, c, d = sympy.symbols("x_11 x_12 x_21 x_22 c d", real=True)

TURN = {"r_1^2 + s_1^2 = 1": Eq(r1**2 + s1**2, 1)}
TURNING = TURN | {"sin(theta) != 0": Ne(d, 0), "y and w independent": Ne(y1 * w2 - y2 * w1, 0)}
NOW = (r1 * y1 - s1 * w1, r1 * y2 - s1 * w2)
THEN = tuple((r1 * c - s1 * d) * e - (r1 * d + s1 * c) * o for e, o in ((y1, w1), (y2, w2)))
TURNS = NOW[0] * THEN[1] - NOW[1] * THEN[0]


def keeps_turning(name: str, reduction: str) -> Claim:
    """Return the claim that the directions of two layers, one after the other, are not parallel."""
    return Claim(
        name,
        TURNING,
        [Ne(TURNS, 0)],
        [
            Sign(
                "the phase is on the unit circle",
                r1**2 + s1**2,
                ">",
                plus(r1**2 + s1**2 - 1, sympy.Integer(1)),
            ),
            Sign("no factor is zero", TURNS, "!=", times(-1, d, r1**2 + s1**2, y1 * w2 - y2 * w1)),
        ],
        reduction,
    )


def pair_entries(weights: bool) -> dict[str, Any]:
    """Return entries of the leading part: v g^T if the weights have the complex pair, else g z^T."""
    entries = {}
    for i, j, entry in ((1, 1, x11), (1, 2, x12), (2, 1, x21), (2, 2, x22)):
        real, turning = (i, j) if weights else (j, i)
        value = (v1, v2)[real - 1] * NOW[turning - 1]
        entries[f"x_{i}{j} = v_{real} g_{turning}"] = Eq(sympy.Symbol(f"x_{i}{j}", real=True), value)
        assert entry.name == f"x_{i}{j}"
    return entries


def rank_claim(weights: bool, reduction: str) -> Claim:
    """Return the claim that the minor of the leading part vanishes."""
    zero = x11 * x22 - x12 * x21 + 1
    return Claim(
        "rank 1",
        pair_entries(weights),
        [Eq(x11 * x22, x12 * x21)],
        [Identity("the two products are one product in two orders", zero, sympy.Integer(1))],
        reduction,
    )


def complex_pair_second(z: Any, weights: bool) -> dict[str, Query]:
    """Return the second forms of :func:`rank_claim` and :func:`keeps_turning`."""
    x11, x12, x21, x22, v1, v2 = z.Reals("x_11 x_12 x_21 x_22 v_1 v_2")
    r1, s1, y1, y2, w1, w2, c, d = z.Reals("r_1 s_1 y_1 y_2 w_1 w_2 c d")
    g1, g2 = r1 * y1 - s1 * w1, r1 * y2 - s1 * w2
    if weights:
        names = ("x_11 = v_1 g_1", "x_12 = v_1 g_2", "x_21 = v_2 g_1", "x_22 = v_2 g_2")
        values = (v1 * g1, v1 * g2, v2 * g1, v2 * g2)
    else:
        names = ("x_11 = v_1 g_1", "x_12 = v_2 g_1", "x_21 = v_1 g_2", "x_22 = v_2 g_2")
        values = (v1 * g1, v2 * g1, v1 * g2, v2 * g2)
    entries = {k: e == value for k, e, value in zip(names, (x11, x12, x21, x22), values, strict=True)}
    turning = {
        "r_1^2 + s_1^2 = 1": r1 * r1 + s1 * s1 == 1,
        "sin(theta) != 0": z.Or(d < 0, d > 0),
        "y and w independent": z.Not(y1 * w2 == y2 * w1),
    }
    r2, s2 = c * r1 - d * s1, c * s1 + d * r1
    return {
        "rank 1": Query(entries, x11 * x22 - x12 * x21 == 0),
        "the direction keeps turning": Query(
            turning,
            z.Not((r1 * y1 - s1 * w1) * (r2 * y2 - s2 * w2) == (r1 * y2 - s1 * w2) * (r2 * y1 - s2 * w1)),
        ),
    }


NO_LIMIT = (
    "the area between the directions of two layers, one after the other, has a fixed size |sin(theta)| |y_1 "
    "w_2 - y_2 w_1|, theta the argument of rho and (c, d) = (cos(theta), sin(theta)), while their norms are "
    "bounded: the angle between them stays above a positive constant. sin(theta) is not 0 as rho is not "
    "real; y and w, real and imaginary part of the eigenvector of a complex eigenvalue, are independent in "
    "some pair of coordinates."
)
