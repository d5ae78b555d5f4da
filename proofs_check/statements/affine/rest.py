"""What tells tokens apart does not see a bias."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, times

PLACE = 40

x1, x2, p, q, s, h, b, u, c = sympy.symbols("x1 x2 p q s h b u c", real=True)
_ROW = sympy.symbols("a1 a2 a3", real=True)

_first = x1 + ((s - p) * x1 + p * x2) * h + b
_second = x2 + (q * x1 + (s - q) * x2) * h + b


def second(z3: Any) -> dict[str, Query]:
    x1, x2, p, q, s, h, b, u, c = z3.Reals("x1 x2 p q s h b u c")
    row = z3.Reals("a1 a2 a3")
    one = x1 + h * (s * x1 - p * x1 + p * x2) + b
    other = x2 + h * (q * x1 + s * x2 - q * x2) + b
    return {
        "differences": Query({}, one - other == (x1 - x2) * (1 + s * h - p * h - q * h)),
        "constant states": Query(
            {"the row sums to s": s - row[0] - row[1] == row[2]},
            c + h * c * sum(row) + b == c + c * s * h + b,
        ),
        "mean": Query({}, (x1 + x2) / 2 - u * x1 - (1 - u) * x2 == (x1 - x2) * (1 - 2 * u) / 2),
    }


STATEMENT = Statement(
    "affine.rest",
    "Where rows of A sum to s, differences of tokens obey the layer without the bias, constant states 1 c^T "
    "become 1 (c^T (I + s H) + b^T), and the mean over tokens differs from the constant part by differences "
    "alone.",
    r"\Pi_\perp X_{l+1} = \Pi_\perp X_l + \Pi_\perp A (\Pi_\perp X_l) H,\quad"
    r" 1c^T \mapsto 1(c^T(I + sH) + b^T),\quad \tfrac1n 1^T X = uX + (\tfrac1n 1^T - u)\Pi_\perp X",
    "derived here",
    (
        Claim(
            "differences",
            {},
            [sympy.Eq(_first - _second, (x1 - x2) * (1 + (s - p - q) * h))],
            [Identity("the bias cancels", _first - _second, (x1 - x2) * (1 + (s - p - q) * h))],
            "Two tokens, A = (s - p, p; q, s - q), one feature with H = (h). More tokens: Pi_perp 1 = 0 and "
            "Pi_perp A 1 = s Pi_perp 1 = 0, so Pi_perp of the next X is Pi_perp X + Pi_perp A (Pi_perp X) H.",
        ),
        Claim(
            "constant states",
            {"the row sums to s": sympy.Eq(sum(_ROW), s)},
            [sympy.Eq(c + sum(_ROW) * c * h + b, c * (1 + s * h) + b)],
            [
                Sign(
                    "what all tokens share is multiplied by the row sum",
                    c + sum(_ROW) * c * h + b - c * (1 + s * h) - b,
                    "==",
                    times(c * h, sum(_ROW) - s),
                )
            ],
            "One token of three that are all c; the same for every token, so they stay equal.",
        ),
        Claim(
            "mean",
            {},
            [sympy.Eq((x1 + x2) / 2 - (u * x1 + (1 - u) * x2), (x1 - x2) * (sympy.Rational(1, 2) - u))],
            [
                Identity(
                    "weights 1/n - u add up to 0",
                    (x1 + x2) / 2 - (u * x1 + (1 - u) * x2),
                    (x1 - x2) * (sympy.Rational(1, 2) - u),
                )
            ],
            "Two tokens and u = (u, 1 - u); the size of the difference is at most |1/n - u| ||Pi_perp X||.",
        ),
    ),
    second,
)
