"""When a bias decides the regime."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times

PLACE = 30

lam, mu, h, p, P, B, C, F, Q = sympy.symbols("lambda mu h p P B C F Q", real=True)

_SHRINKS = {"0 < lambda": lam > 0, "lambda < 1": lam < 1, "mu < 0": mu < 0, "mu >= -1": mu >= -1}
_LATE = {
    "F > 0": F > 0,
    "0 <= h": h >= 0,
    "h <= B P": h <= B * P,
    "p >= F - C Q": p >= F - C * Q,
    "2 C Q <= F": 2 * C * Q <= F,
}


def second(z3: Any) -> dict[str, Query]:
    lam, mu, h, p, P, B, C, F, Q = z3.Reals("lambda mu h p P B C F Q")
    shrinks = {"0 < lambda": lam > 0, "lambda < 1": 1 - lam > 0, "mu < 0": -mu > 0}
    return {
        "sharpening that shrinks": Query(
            shrinks | {"mu >= -1": mu + 1 >= 0},
            z3.And(1 + lam * mu > 1 + mu, 1 + mu >= 0, 1 + lam * mu < 1),
        ),
        "ratio": Query(
            {
                "F > 0": F > 0,
                "0 <= h": h >= 0,
                "h <= B P": B * P - h >= 0,
                "p >= F - C Q": p - F + C * Q >= 0,
                "2 C Q <= F": F - 2 * C * Q >= 0,
            },
            h * F <= 2 * B * P * p,
        ),
    }


STATEMENT = Statement(
    "affine.regime",
    "Where every mode shrinks, tokens converge to one vector as soon as the fixed point of the constant part "
    "is not zero, at the rate of the largest other mode, whatever the linear layer does: for -1 <= mu < 0 "
    "and 0 < lambda < 1 it sharpens, |1 + mu| < |1 + lambda mu| < 1.",
    r"-1 \le \mu < 0 < \lambda < 1:\; |1+\mu| < |1+\lambda\mu| < 1,\qquad"
    r" \frac{h_l}{p_l} \le \frac{2B}{F}\max_{i\ge2}|\rho_{ij}|^l",
    "derived here",
    (
        Claim(
            "sharpening that shrinks",
            _SHRINKS,
            [1 + lam * mu > 1 + mu, 1 + mu >= 0, 1 + lam * mu < 1],
            [
                Sign(
                    "another mode is larger than the constant one",
                    (1 + lam * mu) - (1 + mu),
                    ">",
                    -mu * (1 - lam),
                ),
                Sign("neither is negative", 1 + mu, ">="),
                Sign("both shrink", 1 - (1 + lam * mu), ">", -mu * lam),
            ],
            "So without a bias HFC/LFC grows; with one the constant part keeps the size of the fixed point.",
        ),
        Claim(
            "ratio",
            _LATE,
            [h * F <= 2 * B * P * p],
            [
                Sign(
                    "the fixed point outweighs what is left of the start",
                    2 * p - F,
                    ">=",
                    plus(2 * (p - F + C * Q), F - 2 * C * Q),
                ),
                Sign("so p is positive", p, ">", plus(2 * p - F, F) / 2),
                Sign(
                    "cross-multiplied",
                    2 * B * P * p - h * F,
                    ">=",
                    plus(times(2, p, B * P - h), times(h, 2 * p - F)),
                ),
            ],
            "h = ||Pi_perp X_l|| <= B P with P the largest other |rho|^l; p = ||Pi X_l|| is at least F, the "
            "size of the fixed point, less what is left of the start, C Q, Q the largest constant |rho|^l. "
            "A with unequal columns mixes into p what is of the size of h (affine.rest).",
        ),
    ),
    second,
)
