"""Moduli under real weights, for statements about intervals of them."""

from __future__ import annotations

from typing import Any

import sympy

from ...steps import Sign, plus, times
from ..dominance.shared import ROOM

__all__ = ["beaten", "left_of_one", "squared_modulus"]

u, v = sympy.symbols("u v", real=True)


def squared_modulus(real: Any) -> Any:
    """Return |1 + real (u + iv)|^2."""
    return (1 + real * u) ** 2 + (real * v) ** 2


def left_of_one() -> Sign:
    """Return the step that the real part of an eigenvalue of attention is below 1."""
    return Sign(
        "Re lambda < 1: 2 (1 - u) = (1 - u)^2 + v^2 + (1 - |lambda|^2)",
        1 - u,
        ">",
        plus((1 - u) ** 2, v**2, ROOM) / 2,
    )


def beaten(value: Any) -> Any:
    """Return |1 + value lambda|^2 - (1 + value)^2 in factors."""
    return times(-value, plus((1 - u) ** 2, v**2, times(1 + value, ROOM)))
