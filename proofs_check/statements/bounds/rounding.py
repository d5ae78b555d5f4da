"""What rounding adds to computed eigenvalues, and bounds that stay bounds."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times

PLACE = 170

e, f, g, h, r, s, u, x, y, D, L, M = sympy.symbols("e f g h r s u x y D L M", real=True)


def second(z3: Any) -> dict[str, Query]:
    D, L, M, e, f, u, g, h = z3.Reals("D L M e f u g h")
    x, y, r, s = z3.Reals("x y r s")
    return {
        "error of rho": Query(
            {
                "L >= 0": L >= 0,
                "M >= 0": M >= 0,
                "e >= 0": e >= 0,
                "f >= 0": f >= 0,
                "u >= 0": u >= 0,
                "e <= u g": u * g - e >= 0,
                "f <= u h": u * h - f >= 0,
                "u g h <= 1": 1 - u * g * h >= 0,
                "D <= L f + M e + e f": L * f + M * e - D >= -e * f,
            },
            z3.Not(u + u * g * M + u * h * L < D),
        ),
        "products": Query(
            {"0 <= x": x >= 0, "x <= y": y - x >= 0, "0 <= r": r >= 0, "r <= s": s - r >= 0},
            z3.Not(x * r > y * s),
        ),
    }


STATEMENT = Statement(
    "bounds.rounding",
    "With errors of computed eigenvalues at most u times condition times norm, the error of rho = 1 + "
    "lambda mu is at most u (1 + kappa_A ||A|| |mu| + kappa_H ||H|| |lambda|), the term of second order "
    "included, as long as u kappa_A ||A|| kappa_H ||H|| <= 1; and a bound is still one when moduli in it "
    "are moved to the safe side.",
    r"|\tilde\rho - \rho| \le u (1 + \kappa_A \|A\| |\mu| + \kappa_H \|H\| |\lambda|)",
    "derived here",
    (
        Claim(
            "error of rho",
            {
                "L >= 0": L >= 0,
                "M >= 0": M >= 0,
                "e >= 0": e >= 0,
                "f >= 0": f >= 0,
                "u >= 0": u >= 0,
                "e <= u g": e <= u * g,
                "f <= u h": f <= u * h,
                "u g h <= 1": u * g * h <= 1,
                "D <= L f + M e + e f": L * f + M * e + e * f >= D,
            },
            [u * (1 + g * M + h * L) >= D],
            [
                Sign("u g is not negative", u * g, ">=", plus(u * g - e, e)),
                Sign(
                    "put the errors in",
                    u * (1 + g * M + h * L) - D,
                    ">=",
                    plus(
                        L * f + M * e + e * f - D,
                        L * (u * h - f),
                        M * (u * g - e),
                        u * (1 - u * g * h),
                        times(u * g, u * h - f),
                        f * (u * g - e),
                    ),
                ),
            ],
            "lambda and mu with errors of moduli e, f: the product changes by lambda x + mu y + x y, D at "
            "most in modulus (triangle, moduli of products), L = |lambda|, M = |mu|. g and h are condition "
            "number times norm. The 1 covers the product of the errors. That an error is at most u times "
            "condition times norm is the first-order theory of eigenvalues and of the algorithm; it is "
            "assumed here, not proved.",
        ),
        Claim(
            "products",
            {"0 <= x": x >= 0, "x <= y": x <= y, "0 <= r": r >= 0, "r <= s": r <= s},
            [x * r <= y * s],
            [
                Sign("y is not negative", y, ">=", plus(y - x, x)),
                Sign("one factor at a time", y * s - x * r, ">=", plus(y * (s - r), r * (y - x))),
            ],
            "So |rho|^l and |c| |rho|^l increase with |rho| and |c| (induction on l), the sums of "
            "bounds.gram with every |Y_ij|; the lower bounds of bounds.lead and bounds.from_below increase "
            "with the moduli that lead and decrease with those that are subtracted, and quotients are in "
            "bounds.row_split. A computed modulus lies within its error of the exact one (bounds.norms).",
        ),
    ),
    second,
)
