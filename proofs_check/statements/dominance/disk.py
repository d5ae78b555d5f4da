"""Complex weights, a real spectrum of attention: the disk in which the tokens sharpen."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from .shared import CENTRE, FAR, LOWEST, RADIUS, squared

PLACE = 30

a, x, y = sympy.symbols("a x y", real=True)

_from_centre = (x - CENTRE) ** 2 + y**2 - RADIUS**2
_cleared = Identity("the distance from the centre, cleared of 1 + a", _from_centre * (1 + a) ** 2, FAR - 1)


def _disk_sign(says: str, relation: str) -> Sign:
    return Sign(
        says, squared(1) - squared(a), relation, times(1 - a, 1 / (1 + a), plus(FAR, -sympy.Integer(1)))
    )


def second(s: Any) -> dict[str, Query]:
    a, x, y = s.Reals("a x y")
    lowest = {"-1 < a": a > -1, "a < 1": a < 1}
    # |mu + 1/(1+a)|^2 - 1/(1+a)^2 = |mu|^2 + 2 Re(mu)/(1+a), times (1+a)^2: a product of 1+a and
    reach = (1 + a) * (x * x + y * y) + 2 * x
    inside = s.Or(s.And(1 + a > 0, reach < 0), s.And(1 + a < 0, reach > 0))
    outside = s.Or(s.And(1 + a > 0, reach > 0), s.And(1 + a < 0, reach < 0))
    circle = s.Or(1 + a == 0, reach == 0)
    constant = (1 + x) * (1 + x) + y * y
    other = (1 + a * x) * (1 + a * x) + a * a * y * y
    return {
        "inside": Query(lowest | {"inside the disk": inside}, constant < other),
        "outside": Query(lowest | {"outside the disk": outside}, constant > other),
        "on the circle": Query({"-1 < a": a > -1, "on the circle": circle}, constant == other),
    }


STATEMENT = Statement(
    "dominance.disk",
    "With a the smallest eigenvalue of a real spectrum, -1 < a < 1: for complex mu, a wins iff mu lies in "
    "the open disk with centre -1/(1+a) and radius 1/(1+a); outside it lambda = 1 wins; on the circle they "
    "tie.",
    r"|1+\mu a| > |1+\mu| \iff \left|\mu + \frac{1}{1+a}\right| < \frac{1}{1+a}",
    "derived here",
    (
        Claim(
            "inside",
            LOWEST | {"inside the disk": FAR < 1},
            [squared(1) < squared(a)],
            [_cleared, _disk_sign("one factor is negative", "<")],
            "mu = x + iy. The inequality |mu + 1/(1+a)| < 1/(1+a) is squared and multiplied by (1+a)^2 > 0. "
            "The three claims cover the plane, so each 'if' is also an 'only if'.",
        ),
        Claim(
            "outside",
            LOWEST | {"outside the disk": FAR > 1},
            [squared(1) > squared(a)],
            [_cleared, _disk_sign("all factors are positive", ">")],
        ),
        Claim(
            "on the circle",
            {"-1 < a": a > -1, "on the circle": Eq(FAR, 1)},
            [Eq(squared(1), squared(a))],
            [_cleared, _disk_sign("the last factor is zero", "==")],
        ),
    ),
    second,
)
