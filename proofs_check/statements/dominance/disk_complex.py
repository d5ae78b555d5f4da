"""The same disk for a complex eigenvalue of attention."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from .shared import CENTRE, CONSTANT, FAR, OTHER, RADIUS, ROOM, SMALLER, room_is_positive

PLACE = 40

a, x, y, u, v = sympy.symbols("a x y u v", real=True)

#: the same disk for an eigenvalue u + iv of attention: its centre (real part, imaginary part) and radius
COMPLEX_CENTRE = (-(1 - u) / (1 - u**2 - v**2), -v / (1 - u**2 - v**2))
COMPLEX_RADIUS = sympy.sqrt((1 - u) ** 2 + v**2) / (1 - u**2 - v**2)

#: (1 - |lambda|^2)^2 times the squared distance from the centre, less the squared radius
FAR_COMPLEX = (ROOM * x + 1 - u) ** 2 + (ROOM * y + v) ** 2
NEAR_COMPLEX = (1 - u) ** 2 + v**2

_cleared_complex = Identity(
    "the distance from the centre, cleared of 1 - |lambda|^2",
    ((x - COMPLEX_CENTRE[0]) ** 2 + (y - COMPLEX_CENTRE[1]) ** 2 - COMPLEX_RADIUS**2) * ROOM**2,
    FAR_COMPLEX - NEAR_COMPLEX,
)


def _complex_sign(says: str, relation: str) -> Sign:
    return Sign(says, CONSTANT - OTHER, relation, times(1 / ROOM, plus(FAR_COMPLEX, -NEAR_COMPLEX)))


def second(s: Any) -> dict[str, Query]:
    u, v, x, y = s.Reals("u v x y")
    room = 1 - u * u - v * v
    smaller = {"|lambda| < 1": room > 0}
    # |mu|^2 (1-|lambda|^2)^2 + 2 Re(mu (1-lambda)) (1-|lambda|^2): a product of 1-|lambda|^2 and
    reach = room * (x * x + y * y) + 2 * (x - u * x + v * y)
    inside = s.Or(s.And(room > 0, reach < 0), s.And(room < 0, reach > 0))
    outside = s.Or(s.And(room > 0, reach > 0), s.And(room < 0, reach < 0))
    circle = s.Or(room == 0, reach == 0)
    re, im = 1 + u * x - v * y, u * y + v * x
    constant, other = 1 + 2 * x + x * x + y * y, re * re + im * im
    own = room * room * (x * x + y * y) + 2 * room * (x - u * x)
    real = (1 + u) * (1 + u) * (x * x + y * y) + 2 * x * (1 + u)
    return {
        "inside": Query(smaller | {"inside the disk": inside}, constant < other),
        "outside": Query(smaller | {"outside the disk": outside}, constant > other),
        "on the circle": Query(smaller | {"on the circle": circle}, constant == other),
        "a real eigenvalue": Query({"v = 0": v == 0}, own == (1 - u) * (1 - u) * real),
    }


STATEMENT = Statement(
    "dominance.disk_complex",
    "A complex eigenvalue lambda of attention, |lambda| < 1, wins over lambda = 1 iff mu lies in the open "
    "disk with centre -(1 - conj(lambda))/(1 - |lambda|^2) and radius |1 - lambda|/(1 - |lambda|^2); outside "
    "it lambda = 1 wins, on the circle they tie. For a real lambda = a this is the disk of dominance.disk.",
    r"|1+\mu\lambda| > |1+\mu| \iff "
    r"\left|\mu + \frac{1-\bar\lambda}{1-|\lambda|^2}\right| < \frac{|1-\lambda|}{1-|\lambda|^2}",
    "derived here",
    (
        Claim(
            "inside",
            SMALLER | {"inside the disk": FAR_COMPLEX < NEAR_COMPLEX},
            [CONSTANT < OTHER],
            [_cleared_complex, room_is_positive, _complex_sign("one factor is negative", "<")],
            "mu = x + iy, lambda = u + iv. The inequality of the disk is squared and multiplied by "
            "(1 - |lambda|^2)^2 > 0. With several eigenvalues, lambda = 1 wins over all of them iff mu lies "
            "outside the union of their closed disks.",
        ),
        Claim(
            "outside",
            SMALLER | {"outside the disk": FAR_COMPLEX > NEAR_COMPLEX},
            [CONSTANT > OTHER],
            [_cleared_complex, room_is_positive, _complex_sign("both factors are positive", ">")],
        ),
        Claim(
            "on the circle",
            SMALLER | {"on the circle": Eq(FAR_COMPLEX, NEAR_COMPLEX)},
            [Eq(CONSTANT, OTHER)],
            [_cleared_complex, room_is_positive, _complex_sign("the last factor is zero", "==")],
        ),
        Claim(
            "a real eigenvalue",
            {"v = 0": Eq(v, 0)},
            [Eq(FAR_COMPLEX - NEAR_COMPLEX, (1 - u) ** 2 * (FAR.subs(a, u) - 1))],
            [
                Identity("the same centre", COMPLEX_CENTRE[0], CENTRE.subs(a, u)),
                Identity("the same radius, squared", COMPLEX_RADIUS**2, RADIUS.subs(a, u) ** 2),
            ],
            "For v = 0 the two conditions differ by the factor (1 - u)^2, positive for u < 1, so they are "
            "the same condition.",
        ),
    ),
    second,
)
