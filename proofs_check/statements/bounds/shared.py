"""Roots and quotients as the solvers read them."""

from __future__ import annotations

from typing import Any

import sympy

from ...steps import Sign, plus, times

__all__ = ["MEAN", "over", "root"]

n, t = sympy.symbols("n t", real=True)


def root(says: str, larger: sympy.Expr, smaller: sympy.Expr) -> Sign:
    """Take roots: of two numbers the one with the larger square is larger if it is positive."""
    form = times(plus((larger - smaller) ** 2, larger**2 - smaller**2), 1 / (2 * larger))
    return Sign(says, larger - smaller, ">=", form)


def over(z3: Any, bottom: Any, left: Any, right: Any) -> Any:
    """Say left/bottom <= right/bottom without dividing, for a bottom of either sign; nothing for 0."""
    return z3.Or(bottom == 0, z3.And(bottom > 0, left <= right), z3.And(bottom < 0, left >= right))


MEAN = 1 - (t - n) / (n * (n - 1))
