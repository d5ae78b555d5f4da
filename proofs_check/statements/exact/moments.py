"""Mean and variance of the factor Q for Gaussian weights."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, times
from .shared import moments_of_w, normal, share

PLACE = 10

d, s, v, w, e, w_1, w_2, w_3, w_4, M_2 = sympy.symbols("d s v w e w_1 w_2 w_3 w_4 M_2", real=True)
M_4, mean, variance, total, xi = sympy.symbols("M_4 mean variance total xi", real=True)

_primitives = {2: share - xi * normal, 4: 3 * share - (xi**3 + 3 * xi) * normal}


def _normal_moment(power: int, value: int) -> tuple[Identity, Tends]:
    primitive = _primitives[power]
    return (
        Identity(f"an integral of xi^{power}", sympy.Derivative(primitive, xi), xi**power * normal),
        Tends("what it gains from -xi to xi", primitive - primitive.subs(xi, -xi), xi, sympy.oo, value),
    )


_second_moment, _fourth_moment = _normal_moment(2, 1), _normal_moment(4, 3)
_dv = sympy.Eq(d * v, s**2)


def second(solver: Any) -> dict[str, Query]:
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


STATEMENT = Statement(
    "exact.moments",
    "For Gaussian weights E Q = 1 + s^2 and Var Q = (2 s^4 + 4 s^2)/d.",
    r"\mathbb E\,Q = 1 + s^2,\quad \mathrm{Var}\,Q = \frac{2s^4 + 4s^2}{d}",
    "derived here",
    (
        Claim(
            "one coordinate",
            moments_of_w
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
    second,
    only_symbolic={"normal moments": "integrals of exp(-xi^2/2)"},
)
