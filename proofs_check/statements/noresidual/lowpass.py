"""Without the residual connection attention is a low-pass filter."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, times
from ..dominance.shared import ROOM, SMALLER, closing, closing_second, ratio, ratio_second, room_is_positive

PLACE = 10

x, y, u, v = sympy.symbols("x y u v", real=True)

PRODUCT = (u * x - v * y) ** 2 + (u * y + v * x) ** 2
_NO_RESIDUAL = (
    "X_l = A^l X_0 H^l = 1 (pi^T X_0 H^l) + Z_l with Z_l = (A - 1 pi^T)^l X_0 H^l, and A - 1 pi^T has the "
    "eigenvalues of A with 0 in place of 1. R = max_j |mu_j| > 0 as H is not nilpotent (if it is, X_l = 0 "
    "from some layer on and there is no ratio), and generic means pi^T X_0 w_k != 0 for some k with |mu_k| = "
    "R. Everything is divided by R^l and power = q^l, q any number of (0, 1) with |lambda_i| <= q for all i "
    "other than 1, so that |lambda_i mu_j| <= q R; B is the sum of |c_ij| |v_i| |z_j| over those i if A and "
    "H are diagonalizable, and otherwise q is slightly larger, to absorb powers of l in |Z_l|. Then h = HFC "
    "<= |Z_l| <= B q^l, and as pi^T X_0 H^l w_k = mu_k^l pi^T X_0 w_k, p = LFC >= P - Q B q^l with P = "
    "sqrt(n) |pi^T X_0 w_k| / |w_k| and Q = 1, as in dominance.global."
)


def second(s: Any) -> dict[str, Query]:
    u, v, x, y = s.Reals("u v x y")
    given = {"|lambda| < 1": u * u + v * v < 1, "mu != 0": x * x + y * y > 0}
    return {
        "every other eigenvalue shrinks": Query(
            given, u * u * x * x + v * v * y * y + u * u * y * y + v * v * x * x < x * x + y * y
        ),
        "the ratio": ratio_second(s),
        "the limit": closing_second(s),
    }


STATEMENT = Statement(
    "noresidual.lowpass",
    "Without the residual connection, X <- A X H, attention is a low-pass filter whatever the weights: "
    "HFC/LFC -> 0 for every H that is not nilpotent and generic X_0.",
    r"X_{l+1} = A X_l H:\quad |\lambda\mu| < |\mu|,\qquad "
    r"\frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \le \frac{B q^l}{P - Q B q^l} \to 0",
    "derived here",
    (
        Claim(
            "every other eigenvalue shrinks",
            SMALLER | {"mu != 0": x**2 + y**2 > 0},
            [x**2 + y**2 > PRODUCT],
            [
                room_is_positive,
                Sign("|mu|^2 (1 - |lambda|^2)", x**2 + y**2 - PRODUCT, ">", times(x**2 + y**2, ROOM)),
            ],
            "The eigenvalues of a layer are lambda mu, those of lambda = 1 are mu. mu = 0 would tie, at "
            "zero.",
        ),
        ratio("the ratio", _NO_RESIDUAL),
        closing("the limit", "As in dominance.global, where Bernoulli's inequality is proved."),
    ),
    second,
)
