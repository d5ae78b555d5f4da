"""The bound at s = 1: half of it is left."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import over

PLACE = 40

t, sigma = sympy.symbols("t sigma", real=True)


def second(z: Any) -> dict[str, Query]:
    t, sigma = z.Reals("t sigma")
    top = t - sigma * sigma * t
    return {
        "half": Query(
            {"t >= 0": t >= 0, "t <= 1": t <= 1}, over(z, -top, -2 * top, 1 + sigma * sigma + top, 0)
        ),
    }


_bottom = 1 + sigma**2 + (1 - sigma**2) * t

STATEMENT = Statement(
    "escalation.half",
    "At s = 1 the bound is at least (1 - sigma^2) t / 2.",
    r"\frac{(1-\sigma^2)\,t}{1+\sigma^2+(1-\sigma^2)\,t} \ge \tfrac12 (1-\sigma^2)\,t",
    "derived here; likely the bound that arXiv 2312.06182 summarises",
    (
        Claim(
            "half",
            {"t >= 0": t >= 0, "t <= 1": t <= 1},
            [(1 - sigma**2) * t / _bottom >= (1 - sigma**2) * t / 2],
            [
                Sign("the denominator", _bottom, ">", plus(1, t, times(sigma**2, 1 - t))),
                Sign(
                    "a square times t (1 - t)",
                    (1 - sigma**2) * t / _bottom - (1 - sigma**2) * t / 2,
                    ">=",
                    times((1 - sigma**2) ** 2, t, 1 - t) / (2 * _bottom),
                ),
            ],
            "The bound of escalation.bound with s = 1. It holds for sigma > 1 too, where both sides are "
            "negative. In the second form it is multiplied by the denominator, which is positive.",
        ),
    ),
    second,
)
