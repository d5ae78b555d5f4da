"""What tells tokens apart moves by itself."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times

PLACE = 160

c, h, p, q, x1, x2, x3 = sympy.symbols("c h p q x1 x2 x3", real=True)

_ROWS = [sympy.symbols(f"a{i}1 a{i}2 a{i}3", real=True) for i in (1, 2, 3)]
_SUMS = {f"row {i + 1} sums to 1": sympy.Eq(sum(row), 1) for i, row in enumerate(_ROWS)}
_TOKENS = (x1, x2, x3)


def _centred(shift: sympy.Expr) -> list[sympy.Expr]:
    """Return Pi_perp A (x - shift 1) for three tokens."""
    mixed = [sum(entry * (token - shift) for entry, token in zip(row, _TOKENS, strict=True)) for row in _ROWS]
    return [entry - sum(mixed) / 3 for entry in mixed]


def second(z3: Any) -> dict[str, Query]:
    rows = [z3.Reals(f"a{i}1 a{i}2 a{i}3") for i in (1, 2, 3)]
    tokens = z3.Reals("x1 x2 x3")
    c, p, q, h = z3.Reals("c p q h")
    x1, x2, _ = tokens

    def across(shift: Any) -> list[Any]:
        """Three times Pi_perp A (x - shift 1)."""
        mixed = [sum(o * (token - shift) for o, token in zip(row, tokens, strict=True)) for row in rows]
        return [
            2 * mixed[0] - mixed[1] - mixed[2],
            2 * mixed[1] - mixed[0] - mixed[2],
            2 * mixed[2] - mixed[0] - mixed[1],
        ]

    whole, diverse = across(0), across(c)
    first, second = x1 - p * x1 + p * x2, q * x1 + x2 - q * x2
    return {
        "constant part stays out": Query(
            {f"row {i + 1} sums to 1": 1 - row[0] - row[1] == row[2] for i, row in enumerate(rows)},
            z3.And(*(one == other for one, other in zip(whole, diverse, strict=True))),
        ),
        "two tokens": Query(
            {},
            (x1 + first * h) - (x2 + second * h) == x1 - x2 + (x1 - x2) * h * (1 - p - q),
        ),
    }


STATEMENT = Statement(
    "bounds.quotient_layer",
    "For every row-stochastic A, Pi_perp A Pi = 0: the diverse part obeys the layer alone, Pi_perp X_{l+1} "
    "= Pi_perp X_l + Pi_perp A (Pi_perp X_l) H, and in an orthonormal basis Q of the complement of 1 it is "
    "the layer with A' = Q^T A Q.",
    r"\Pi_\perp A \Pi = 0,\quad Q^T X_{l+1} = Q^T X_l + (Q^T A Q)(Q^T X_l) H",
    "derived here",
    (
        Claim(
            "constant part stays out",
            _SUMS,
            [
                sympy.Eq(whole, diverse, evaluate=False)
                for whole, diverse in zip(_centred(sympy.Integer(0)), _centred(c), strict=True)
            ],
            [
                Sign(
                    "a vector common to all tokens comes out as c times the row sums, and these are equal",
                    _centred(sympy.Integer(0))[i] - _centred(c)[i],
                    "==",
                    times(
                        c / 3,
                        plus(
                            2 * (sum(_ROWS[i]) - 1),
                            -(sum(_ROWS[i - 1]) - 1),
                            -(sum(_ROWS[i - 2]) - 1),
                        ),
                    ),
                )
                for i in (0, 1, 2)
            ],
            "One feature x of three tokens, c its mean, so x - c 1 = Pi_perp x: Pi_perp A x = Pi_perp A "
            "Pi_perp x. H acts on features and commutes with all of it; more tokens, more terms. With "
            "Pi_perp = Q Q^T and Q^T Q = I, Q^T A X = Q^T A Q Q^T X, and ||Pi_perp X|| = ||Q^T X||.",
        ),
        Claim(
            "two tokens",
            {},
            [
                sympy.Eq(
                    (x1 + ((1 - p) * x1 + p * x2) * h) - (x2 + (q * x1 + (1 - q) * x2) * h),
                    (x1 - x2) * (1 + (1 - p - q) * h),
                )
            ],
            [
                Identity(
                    "for two tokens A' is the number 1 - p - q, the second eigenvalue",
                    (x1 + ((1 - p) * x1 + p * x2) * h) - (x2 + (q * x1 + (1 - q) * x2) * h),
                    (x1 - x2) * (1 + (1 - p - q) * h),
                )
            ],
            "A = (1 - p, p; q, 1 - q) and one feature with H = (h): the difference of the tokens is "
            "multiplied by 1 + lambda mu.",
        ),
    ),
    second,
)
