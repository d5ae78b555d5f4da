"""Moduli at real weights, and powers that grow without bound."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query
from ...steps import Sign, Tends, plus, times

__all__ = [
    "INSIDE",
    "MODES",
    "below_one",
    "decay_second",
    "factors",
    "gap",
    "inside_second",
    "length",
    "modulus",
    "powers",
    "vanishes",
]

a, x, y, layer, W, k = sympy.symbols("a x y l W k", real=True)

INSIDE = {"|lambda| < 1": x**2 + y**2 < 1}
below_one = Sign(
    "the real part of lambda is below 1", 1 - x, ">", plus((1 - x) ** 2, 1 - x**2 - y**2, y**2) / 2
)

MODES = (
    "A and H diagonalizable, X_0 generic: X_l is the sum of rho^l c v z^T over the pairs of eigenvalues "
    "lambda of A and mu of H, with rho = 1 + lambda mu, so the largest |rho| decides."
)


def modulus(value: sympy.Expr) -> sympy.Expr:
    """Return |1 + value lambda|^2."""
    return (1 + value * x) ** 2 + (value * y) ** 2


def gap(value: sympy.Expr) -> sympy.Expr:
    """Return what lambda = 1 is ahead of a by, and its factors."""
    return (1 + value) ** 2 - (1 + value * a) ** 2


def factors(value: sympy.Expr) -> sympy.Expr:
    """Return the factors of :func:`gap`."""
    return times(value, 1 - a, 2 + value * (1 + a))


def powers(growth: sympy.Expr) -> Claim:
    """Return the induction step of growth^l >= 1 + l (growth - 1)."""
    extra = growth - 1
    return Claim(
        "powers",
        {"l >= 0": layer >= 0, "W >= 1 + l (g - 1)": 1 + layer * extra <= W},
        [growth * W >= 1 + (layer + 1) * extra],
        [
            Sign(
                "g times what was assumed, and a square",
                growth * W - 1 - (layer + 1) * extra,
                ">=",
                plus(times(growth, W - 1 - layer * extra), times(layer, extra**2)),
            )
        ],
        f"Induction on l, with g = {growth} and W = g^l: true at l = 0, where W = 1; the claim goes from l "
        "to l + 1. So g^l grows without bound.",
    )


def vanishes(growth: sympy.Expr, reduction: str) -> Claim:
    """Return the claim that the diverse part loses against the constant one."""
    ratio = Tends("a geometric sequence", k / growth**layer, layer, sympy.oo, 0)
    return Claim("in the end", {}, [ratio], [ratio], reduction)


def decay_second(s: Any, top: int, bottom: int) -> dict[str, Query]:
    """Return the second form of the two claims for growth = top / bottom."""
    depth, W, k, eps = s.Reals("l W k eps")
    extra = top - bottom
    return {
        "powers": Query(
            {"l >= 0": depth >= 0, "W >= 1 + l (g - 1)": bottom * W >= bottom + extra * depth},
            top * W >= bottom + extra * (depth + 1),
        ),
        "in the end": Query(
            {},
            s.Or(
                eps <= 0,
                bottom * W < bottom + extra * depth,
                bottom * k > extra * depth * eps,
                depth < 0,
                k < eps * W,
            ),
            same_symbols=False,
        ),
    }


def inside_second(s: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Return x, y and INSIDE for the solvers."""
    x, y = s.Reals("x y")
    return x, y, {"|lambda| < 1": x * x + y * y < 1}


def length(x: Any, y: Any, mu: Any) -> Any:
    """Return |1 + mu (x + iy)|^2, multiplied out."""
    return 1 + 2 * mu * x + mu * mu * (x * x + y * y)
