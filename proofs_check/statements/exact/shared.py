"""Moments, reciprocals and transforms of Gaussian numbers."""

from __future__ import annotations

from typing import Any

import sympy

__all__ = ["gaussian_reciprocal", "gaussian_transform", "moments_of_w", "normal", "ratio_sign", "share"]

v, w_1, w_2, w_3, w_4, xi = sympy.symbols("v w_1 w_2 w_3 w_4 xi", real=True)

normal = sympy.exp(-(xi**2) / 2) / sympy.sqrt(2 * sympy.pi)
share = sympy.erf(xi / sympy.sqrt(2)) / 2

moments_of_w = {
    "E w = 0": sympy.Eq(w_1, 0),
    "E w^2 = v": sympy.Eq(w_2, v),
    "E w^3 = 0": sympy.Eq(w_3, 0),
    "E w^4 = 3 v^2": sympy.Eq(w_4, 3 * v**2),
}


def gaussian_reciprocal(number: int) -> Any:
    """Return a ball around E[1/Q] at s = 1 by the closed form."""
    import flint

    with flint.ctx.workprec(512):
        half = flint.arb(number) / 2
        return half / (half - 1) * (-half).hypgeom_1f1(1, half)


def gaussian_transform(number: int, x: Any, analytic: bool) -> Any:
    """Return E exp(-x Q) at s = 1; where it must be analytic and is not, what has no value."""
    import flint

    wide = 1 + 2 * x / number
    return (-x / wide).exp() * wide.pow(flint.acb(-number) / 2, analytic=analytic)


def ratio_sign(solver: Any, top: Any, bottom: Any, *, strict: bool = False) -> Any:
    """Return that top/bottom is positive, or not negative, multiplied by the denominator."""
    if strict:
        return solver.If(bottom > 0, top > 0, top < 0)
    return solver.If(bottom > 0, top >= 0, top <= 0)
