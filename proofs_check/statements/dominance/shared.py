"""Moduli of both sides, and how fast a quotient of norms closes with the depth.

>>> CENTRE, RADIUS
(-1/(a + 1), 1/(a + 1))
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query
from ...steps import Sign, Tends, plus, times

__all__ = [
    "CENTRE",
    "CONSTANT",
    "FAR",
    "GEOMETRIC",
    "LOWEST",
    "OTHER",
    "RADIUS",
    "ROOM",
    "SMALLER",
    "closing",
    "closing_second",
    "deep",
    "ratio",
    "ratio_second",
    "room_is_positive",
    "squared",
]

a, x, y, u, v, h, p, power, q, l, B = sympy.symbols("a x y u v h p power q l B", real=True)  # noqa: E741
P, Q = sympy.symbols("P Q", real=True)

#: the disk of complex weight eigenvalues that sharpen
CENTRE, RADIUS = -1 / (1 + a), 1 / (1 + a)


def squared(value: Any) -> Any:
    """Return |1 + (x + iy) value|^2 for a real value.

    >>> squared(sympy.Integer(0))
    1
    """
    return (1 + x * value) ** 2 + (y * value) ** 2


def ratio(name: str, reduction: str) -> Claim:
    """Return the claim h / p <= B power / (P - Q B power), denominators cleared.

    >>> ratio("ratio", "h and p are norms").check()
    """
    rest = P - Q * B * power
    return Claim(
        name,
        {
            "h <= B power": h <= B * power,
            "p >= P - Q B power": p >= rest,
            "P > Q B power": rest > 0,
            "B >= 0": B >= 0,
            "power > 0": power > 0,
        },
        [p > 0, h * rest <= p * B * power],
        [
            Sign("the denominator is positive", p, ">", plus(p - rest, rest)),
            Sign(
                "each of the two bounds costs a term that is not negative",
                p * B * power - h * rest,
                ">=",
                plus(times(p - rest, B, power), times(rest, B * power - h)),
            ),
        ],
        reduction,
    )


def ratio_second(s: Any) -> Query:
    """Return the second form of :func:`ratio`.

    >>> from proofs_check.smt import load
    >>> sorted(ratio_second(load()).given)[:2]
    ['B >= 0', 'P > Q B power']
    """
    h, p, B, P, Q, power = s.Reals("h p B P Q power")
    bound = B * power
    given = {
        "h <= B power": bound - h >= 0,
        "p >= P - Q B power": p + Q * bound >= P,
        "P > Q B power": Q * bound < P,
        "B >= 0": B >= 0,
        "power > 0": power > 0,
    }
    return Query(given, s.And(p > 0, h * P <= bound * (p + Q * h)))


#: given of every claim about a geometric bound
GEOMETRIC = {"0 < q": q > 0, "q < 1": q < 1}


def deep(s: Any) -> tuple[dict[str, Any], list[Any], Any]:
    """Return 0 < q < 1, what a deep layer l > L is, and the symbols q, L, power, eps.

    A power q^l is known by Bernoulli's inequality (1/q)^l >= 1 + l (1/q - 1), denominators cleared.

    >>> from proofs_check.smt import load
    >>> given, layer, symbols = deep(load())
    >>> sorted(given), len(layer), len(symbols)
    (['0 < q', 'q < 1'], 5, 4)
    """
    q, l, L, power, eps = s.Reals("q l L power eps")  # noqa: E741
    given = {"0 < q": q > 0, "q < 1": q < 1}
    return given, [eps > 0, power > 0, power * (q + l * (1 - q)) <= q, l > L, l >= 0], (q, L, power, eps)


def closing(name: str, reduction: str = "") -> Claim:
    """Return the claim that B q^l / (P - Q B q^l) tends to zero with the depth l.

    >>> closing("limit").check()
    """
    bound = B * q**l / (P - Q * B * q**l)
    tends = Tends("a geometric bound closes", bound, l, sympy.oo, 0)
    positive = Sign("what the denominator tends to is positive", P, ">")
    return Claim(name, GEOMETRIC | {"P > 0": P > 0}, [tends], [positive, tends], reduction)


def closing_second(s: Any) -> Query:
    """Return the second form of :func:`closing`: from layer L on, the quotient is below eps.

    >>> from proofs_check.smt import load
    >>> closing_second(load()).same_symbols
    False
    """
    given, layer, (q, L, power, eps) = deep(s)
    B, P, Q = s.Reals("B P Q")
    layer += [B >= 0, Q >= 0, L * (1 - q) * eps * P == q * B * (1 + eps * Q)]
    small = s.And(Q * B * power < P, B * power < eps * (P - Q * B * power))
    return Query(given | {"P > 0": P > 0}, s.Implies(s.And(*layer), small), same_symbols=False)


LOWEST = {"-1 < a": a > -1, "a < 1": a < 1}

#: (1 + a)^2 times the squared distance from the centre, against (1 + a)^2 times the squared radius
FAR = ((1 + a) * x + 1) ** 2 + ((1 + a) * y) ** 2
CONSTANT = (1 + x) ** 2 + y**2
OTHER = (1 + u * x - v * y) ** 2 + (u * y + v * x) ** 2
ROOM = 1 - u**2 - v**2
SMALLER = {"|lambda| < 1": u**2 + v**2 < 1}
room_is_positive = Sign("1 - |lambda|^2 is positive", ROOM, ">")
