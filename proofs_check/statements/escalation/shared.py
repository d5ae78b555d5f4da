"""The bound of the escalation rate, and quotients as the solvers read them.

>>> RATE
s**2*t*(1 - sigma**2)/(s**2*sigma**2 + s**2*t*(1 - sigma**2) + 1)
"""

from __future__ import annotations

from typing import Any

import sympy

__all__ = ["RATE", "over", "u_after", "u_before"]

t, s, sigma, u, u_next, C, D, D_next = sympy.symbols("t s sigma u u_next C D D_next", real=True)

#: the rate that a layer has at least, as a ratio of expectations, if the columns of P sum to 1
RATE = s**2 * (1 - sigma**2) * t / (1 + s**2 * sigma**2 + s**2 * (1 - sigma**2) * t)


def over(z: Any, value: Any, top: Any, bottom: Any, sign: int) -> Any:
    """Return that value - top/bottom is positive (1), not negative (0), multiplied by the denominator."""
    upper, lower = value * bottom - top, top - value * bottom
    return z.If(bottom > 0, upper > 0, lower > 0) if sign else z.If(bottom > 0, upper >= 0, lower >= 0)


u_before, u_after = sympy.Eq(u * D, C), sympy.Eq(u_next * D_next, (1 + s**2) * C)
