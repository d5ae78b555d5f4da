"""Orthonormal modes: the bound of token diversity is token diversity itself."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times

PLACE = 20

a, b, c, d, h, p, u, v, x, y, a1, a2, b1 = sympy.symbols("a b c d h p u v x y a1 a2 b1", real=True)
b2, p1, p2, q1, q2, G, P = sympy.symbols("b2 p1 p2 q1 q2 G P", real=True)

_ENTRY = (a1 * p1 - a2 * p2 + b1 * q1 - b2 * q2) ** 2 + (a1 * p2 + a2 * p1 + b1 * q2 + b2 * q1) ** 2
_PARTS = (
    (a1**2 + a2**2) * (p1**2 + p2**2)
    + (b1**2 + b2**2) * (q1**2 + q2**2)
    + 2 * (a1 * b1 + a2 * b2) * (p1 * q1 + p2 * q2)
    - 2 * (a2 * b1 - a1 * b2) * (p2 * q1 - p1 * q2)
)
_SUMMED = (
    (a1**2 + a2**2) * P + (b1**2 + b2**2) * G + 2 * (a1 * b1 + a2 * b2) * x - 2 * (a2 * b1 - a1 * b2) * y
)


def second(z3: Any) -> dict[str, Query]:
    a1, a2, b1, b2, p1, p2, q1, q2 = z3.Reals("a1 a2 b1 b2 p1 p2 q1 q2")
    x, y, u, v, h, p, a, b, c, d, P, G = z3.Reals("x y u v h p a b c d P G")

    def product(one: Any, other: Any) -> tuple[Any, Any]:
        return one[0] * other[0] - one[1] * other[1], one[0] * other[1] + one[1] * other[0]

    def square(one: Any) -> Any:
        return one[0] * one[0] + one[1] * one[1]

    first, second = product((a1, a2), (p1, p2)), product((b1, b2), (q1, q2))
    # a conj(b), p conj(q), and the product of both
    coefficients, vectors = product((a1, a2), (b1, -b2)), product((p1, p2), (q1, -q2))
    return {
        "one entry": Query(
            {},
            square((first[0] + second[0], first[1] + second[1]))
            == square((a1, a2)) * square((p1, p2))
            + square((b1, b2)) * square((q1, q2))
            + 2 * product(coefficients, vectors)[0],
        ),
        "two modes": Query(
            {
                "|p|^2 = 1": P - 1 == 0,
                "|q|^2 = 1": G - 1 == 0,
                "Re <q, p> = 0": -x == 0,
                "Im <q, p> = 0": -y == 0,
            },
            square((a1, a2)) * P + square((b1, b2)) * G + 2 * product(coefficients, (x, y))[0]
            == a1 * a1 + a2 * a2 + b1 * b1 + b2 * b2,
        ),
        "one more layer": Query(
            {},
            square(product((x, y), (u, v))) == x * x * u * u + x * x * v * v + y * y * u * u + y * y * v * v,
        ),
        "token diversity": Query(
            {
                "h^2 = a^2 + b^2": a * a + b * b == h * h,
                "p^2 = c^2 + d^2": c * c + d * d == p * p,
                "h > 0": h > 0,
            },
            (h * h + p * p) * (a * a + b * b) == (a * a + b * b + c * c + d * d) * h * h,
        ),
    }


STATEMENT = Statement(
    "bounds.symmetric",
    "Orthonormal modes (symmetric A, normal H): ||Pi_perp X_l||^2 is exactly the sum of |rho_ij|^(2l) "
    "|c_ij|^2 over i >= 2, so the bound of token diversity is token diversity itself.",
    r"\|\Pi_\perp X_l\|^2 = \sum_{i \ge 2, j} |\rho_{ij}|^{2l} |c_{ij}|^2",
    "derived here",
    (
        Claim(
            "one entry",
            {},
            [sympy.Eq(_ENTRY, _PARTS)],
            [Identity("multiply out", _ENTRY, _PARTS)],
            "The modes v_i z_j^T are orthonormal, since <v_i z_j^T, v_k z_m^T> = <v_i, v_k><z_j, z_m>. "
            "p1 + i p2 and q1 + i q2 are one and the same entry of two of them, a1 + i a2 and b1 + i b2 "
            "their coefficients: the squared modulus of this entry of their sum.",
        ),
        Claim(
            "two modes",
            {
                "|p|^2 = 1": sympy.Eq(P, 1),
                "|q|^2 = 1": sympy.Eq(G, 1),
                "Re <q, p> = 0": sympy.Eq(x, 0),
                "Im <q, p> = 0": sympy.Eq(y, 0),
            },
            [sympy.Eq(_SUMMED, a1**2 + a2**2 + b1**2 + b2**2)],
            [Identity("the cross terms vanish", _SUMMED, a1**2 + a2**2 + b1**2 + b2**2)],
            "The claim before, summed over all entries: P and G are the sums of |p|^2 and |q|^2, x + iy "
            "that of p conj(q). More modes add a square each and cross terms with each of the others. v_1 = "
            "1/sqrt(n), so Pi_perp removes the modes with i = 1 and leaves the others as they are.",
        ),
        Claim(
            "one more layer",
            {},
            [sympy.Eq((x * u - y * v) ** 2 + (x * v + y * u) ** 2, (x**2 + y**2) * (u**2 + v**2))],
            [
                Identity(
                    "the modulus of a product",
                    (x * u - y * v) ** 2 + (x * v + y * u) ** 2,
                    (x**2 + y**2) * (u**2 + v**2),
                )
            ],
            "A layer multiplies the coefficient x + iy by rho = u + iv; by induction on the depth "
            "|rho^l c|^2 = |rho|^(2l) |c|^2.",
        ),
        Claim(
            "token diversity",
            {
                "h^2 = a^2 + b^2": sympy.Eq(h**2, a**2 + b**2),
                "p^2 = c^2 + d^2": sympy.Eq(p**2, c**2 + d**2),
                "h > 0": h > 0,
            },
            [sympy.Eq((a**2 + b**2) / (a**2 + b**2 + c**2 + d**2), h**2 / (h**2 + p**2))],
            [
                Sign(
                    "the norm is positive",
                    a**2 + b**2 + c**2 + d**2,
                    ">",
                    plus(h**2, p**2, -(h**2 - a**2 - b**2), -(p**2 - c**2 - d**2)),
                ),
                Sign(
                    "clear the denominators",
                    (a**2 + b**2) / (a**2 + b**2 + c**2 + d**2) - h**2 / (h**2 + p**2),
                    "==",
                    times(
                        plus((a**2 + b**2) * (p**2 - c**2 - d**2), -(c**2 + d**2) * (h**2 - a**2 - b**2)),
                        1 / ((a**2 + b**2 + c**2 + d**2) * (h**2 + p**2)),
                    ),
                ),
            ],
            "a, b are moduli of coefficients of rows i >= 2 and c, d of row 1; more coefficients, more "
            "squares. Both Gram matrices are the identity, so the bound h of bounds.gram is the length of "
            "the rows i >= 2; |W|_2 = 1 and v_1 is orthogonal to the other v_i, so the bound p of "
            "bounds.lead is the length of row 1. Hence h^2/(h^2 + p^2) is the share of the diverse part in "
            "||X||^2. (h = 0: both sides are 0.)",
        ),
    ),
    second,
)
