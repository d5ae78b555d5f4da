"""Which end of a real attention spectrum wins, for real and complex weight eigenvalues.

Eigenvalues of a layer are 1 + lambda mu, lambda of the attention in [a, 1]
with -1 < a < 1, mu of the weights.  Open intervals are parametrised by positive symbols, so
that every inequality is the sign of a product of visible factors.

>>> BOUNDARY
-2/(a + 1)
>>> CENTRE, RADIUS
(-1/(a + 1), 1/(a + 1))
"""

from __future__ import annotations

import sympy

from .statement import Identity, Sign, Statement

__all__ = ["BOUNDARY", "CENTRE", "RADIUS", "STATEMENTS"]

a, mu, x, y = sympy.symbols("a mu x y", real=True)
left, right = sympy.symbols("left right", real=True)
p, r, s = sympy.symbols("p r s", positive=True)

#: a real weight eigenvalue below this one smooths again
BOUNDARY = -2 / (1 + a)
#: the disk of complex weight eigenvalues that sharpen
CENTRE, RADIUS = -1 / (1 + a), 1 / (1 + a)

# s from 0 to infinity takes a from 1 to -1, and r a fraction from 0 to 1
A_OF_S = (1 - s) / (1 + s)
FRACTION = r / (1 + r)


def squared(value: sympy.Expr) -> sympy.Expr:
    """Return |1 + (x + iy) value|^2 for a real value.

    >>> squared(sympy.Integer(0))
    1
    """
    return (1 + x * value) ** 2 + (y * value) ** 2


difference = (1 + mu) ** 2 - (1 + mu * a) ** 2
complex_difference = squared(sympy.Integer(1)) - squared(a)
chord = FRACTION * squared(left) + (1 - FRACTION) * squared(right)
inside = squared(FRACTION * left + (1 - FRACTION) * right)
curvature = FRACTION * (1 - FRACTION) * (x**2 + y**2) * (left - right) ** 2

STATEMENTS = (
    Statement(
        "dominance.endpoints",
        "For attention with a real spectrum and any complex mu, |1 + lambda mu| is largest over "
        "the spectrum at lambda = 1 or at its smallest eigenvalue.",
        "derived here; the question is that of arXiv 2401.04301",
        (
            Identity(
                "|1 + lambda mu|^2 is the square of a complex modulus",
                squared(left),
                (1 + left * (x + sympy.I * y)) * (1 + left * (x - sympy.I * y)),
            ),
            Identity(
                "its second derivative in lambda is 2 |mu|^2",
                sympy.diff(squared(left), left, 2),
                2 * (x**2 + y**2),
            ),
            Identity(
                "a chord lies above it by t (1 - t) |mu|^2 (difference of ends)^2", chord - inside, curvature
            ),
            Sign(
                "which is not negative, so no inner point exceeds both ends",
                FRACTION * (1 - FRACTION) * (x**2 + y**2),
                "nonnegative",
            ),
        ),
    ),
    Statement(
        "dominance.boundary",
        "With a the smallest eigenvalue of attention, -1 < a < 1: for real mu, lambda = 1 wins iff mu > 0 or "
        "mu < -2/(1+a), a wins iff -2/(1+a) < mu < 0, and they tie at mu = 0 and mu = -2/(1+a).  For complex "
        "mu, a wins iff |mu + 1/(1+a)| < 1/(1+a).",
        "mu > 0 and -1 <= mu < 0: arXiv 2401.04301; the rest derived here",
        (
            Sign("1 - a is positive", (1 - a).subs(a, A_OF_S), "positive"),
            Sign("1 + a is positive", (1 + a).subs(a, A_OF_S), "positive"),
            Identity(
                "(1 + mu)^2 - (1 + mu a)^2 = mu (1 - a) (2 + mu (1 + a))",
                difference,
                mu * (1 - a) * (2 + mu * (1 + a)),
            ),
            Sign("mu > 0: lambda = 1 wins", difference.subs({mu: p, a: A_OF_S}), "positive"),
            Sign(
                "mu = -2/(1+a) - p: lambda = 1 wins",
                difference.subs(mu, BOUNDARY - p).subs(a, A_OF_S),
                "positive",
            ),
            Sign(
                "mu a fraction of -2/(1+a): a wins",
                difference.subs(mu, FRACTION * BOUNDARY).subs(a, A_OF_S),
                "negative",
            ),
            Identity("mu = 0 ties", difference.subs(mu, 0), sympy.Integer(0)),
            Identity("mu = -2/(1+a) ties", difference.subs(mu, BOUNDARY), sympy.Integer(0)),
            Identity(
                "|1 + mu|^2 - |1 + mu a|^2 = (1 - a) (2 x + (1 + a) (x^2 + y^2)) for mu = x + iy",
                complex_difference,
                (1 - a) * (2 * x + (1 + a) * (x**2 + y**2)),
            ),
            Identity(
                "which is (1 - a)(1 + a) (|mu - centre|^2 - radius^2): negative exactly in the open disk",
                complex_difference,
                (1 - a) * (1 + a) * ((x - CENTRE) ** 2 + y**2 - RADIUS**2),
            ),
            Identity("the disk passes through 0", CENTRE + RADIUS, sympy.Integer(0)),
            Identity("and through the boundary", CENTRE - RADIUS, BOUNDARY),
        ),
    ),
)
