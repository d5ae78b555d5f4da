"""Tokens converge to one another iff the constant mode is strictly the largest."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import closing, closing_second, ratio, ratio_second

PLACE = 50

h, p, b, power, l, C, g = sympy.symbols("h p b power l C g", real=True)  # noqa: E741


def bernoulli() -> list[Claim]:
    """Return the two claims of the induction (1 + p)^l >= 1 + l p, with g for the power.

    >>> [claim.name for claim in bernoulli()]
    ['Bernoulli: layer 0', 'Bernoulli: one more layer']
    """
    return [
        Claim(
            "Bernoulli: layer 0",
            {"g = (1 + p)^0": Eq(g, 1), "l = 0": Eq(l, 0)},
            [g >= 1 + l * p],
            [Sign("both sides are 1", g - 1 - l * p, ">=", g - 1 - l * p)],
            "With p = 1/q - 1 this says how small q^l is: q^l <= 1 / (1 + l p), below any eps from a layer "
            "on that can be named. Induction on l; g stands for (1 + p)^l.",
        ),
        Claim(
            "Bernoulli: one more layer",
            {"g >= 1 + l p": g >= 1 + l * p, "p > 0": p > 0, "l >= 0": l >= 0},
            [g * (1 + p) >= 1 + (l + 1) * p],
            [
                Sign(
                    "what was known, times 1 + p, and a square left over",
                    g * (1 + p) - 1 - (l + 1) * p,
                    ">=",
                    plus(times(g - 1 - l * p, 1 + p), l * p**2),
                )
            ],
        ),
    ]


def bernoulli_second(s: Any) -> dict[str, Query]:
    """Return the second forms of :func:`bernoulli`.

    >>> from proofs_check.smt import load
    >>> len(bernoulli_second(load()))
    2
    """
    g, l, p = s.Reals("g l p")  # noqa: E741
    return {
        "Bernoulli: layer 0": Query({"g = (1 + p)^0": g == 1, "l = 0": l == 0}, g - p * l - 1 >= 0),
        "Bernoulli: one more layer": Query(
            {"g >= 1 + l p": g >= 1 + p * l, "p > 0": p > 0, "l >= 0": l >= 0}, g + g * p >= 1 + l * p + p
        ),
    }


_MODES = (
    "A and H diagonalizable, X_l the sum over i, j of (1 + lambda_i mu_j)^l c_ij v_i z_j^T, v_1 = 1 the "
    "constant vector. "
)
_IF = (
    _MODES + "R = max_j |1 + mu_j| > 0 is reached at j = k, and q is any number of (0, 1) with "
    "|1 + lambda_i mu_j| <= q R for all i other than 1. Z_l is the sum over these i, and the rest is 1 (pi^T "
    "X_l). Everything is divided by R^l, and power = q^l. By the triangle inequality |Z_l| <= B q^l with B "
    "the sum of |c_ij| |v_i| |z_j| over i other than 1, and h = HFC <= |Z_l| because HFC does not see the "
    "rest. As pi^T X_l w_k = (1 + mu_k)^l c_1k, the rest has norm at least P = sqrt(n) |c_1k| / |w_k|, "
    "positive for generic X_0, and p = LFC is at least P less the norm of the constant part of Z_l. That is "
    "at most |Z_l|, so p >= P - Q B q^l with Q = 1; since pi^T Z_l = 0 it is also at most sqrt(n) |pi - 1/n| "
    "h, so Q may be sqrt(n) |pi - 1/n|, zero for a doubly stochastic A. Then HFC/LFC = h/p is at most B q^l "
    "/ (P - Q B q^l) at every layer where this is positive. If A or H is not diagonalizable, the same holds "
    "for any larger q and some B, as a power of l times a geometric sequence is below a slower geometric "
    "one, and P needs only the eigenvector w_k: 'if' needs no eigenbasis."
)
_ONLY_IF = (
    _MODES
    + "Let power = R^l, where R = max |1 + lambda_i mu_j| over i other than 1 is at least max_j |1 + mu_j|; "
    "R > 0 because 1 + lambda mu_j cannot vanish for lambda = 1 and for a second lambda. Say it is reached "
    "at (i, j). The left eigenvector u_i has u_i^T 1 = 0, so u_i^T X_l w_j = (1 + lambda_i mu_j)^l c_ij sees "
    "only the non-constant part: h = HFC >= b R^l with b = |c_ij| / (|u_i| |w_j|), positive for generic X_0. "
    "And p = LFC <= |X_l| <= C R^l with C the sum of all |c_ij| |v_i| |z_j|. So HFC/LFC >= b/C > 0 at every "
    "layer."
)


def second(s: Any) -> dict[str, Query]:
    h, p, b, C, power = s.Reals("h p b C power")
    given = {
        "h >= b power": h - b * power >= 0,
        "p <= C power": C * power - p >= 0,
        "b > 0": b > 0,
        "C > 0": C > 0,
    }
    return bernoulli_second(s) | {
        "if: the ratio": ratio_second(s),
        "if: the limit": closing_second(s),
        "only if": Query(given, C * h - b * p >= 0),
    }


STATEMENT = Statement(
    "dominance.global",
    "For diagonalizable A and H and generic X_0, HFC/LFC -> 0 if and only if max_j |1 + mu_j| is larger than "
    "|1 + lambda_i mu_j| for every lambda_i other than 1 and every j. At every depth "
    "HFC/LFC <= B q^l / (P - Q B q^l), wherever that is positive.",
    r"\max_j |1+\mu_j| > \max_{\lambda_i \ne 1,\, j} |1+\lambda_i\mu_j| \iff "
    r"\frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \to 0,\qquad "
    r"\frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \le \frac{B q^l}{P - Q B q^l}",
    "derived here",
    (
        ratio("if: the ratio", _IF),
        closing(
            "if: the limit",
            "HFC/LFC is not negative and at most this bound as soon as the denominator is positive. The "
            "second form names the layer from which the bound is below eps, by Bernoulli's inequality.",
        ),
        *bernoulli(),
        Claim(
            "only if",
            {
                "h >= b power": h >= b * power,
                "p <= C power": p <= C * power,
                "b > 0": b > 0,
                "C > 0": C > 0,
            },
            [h * C >= b * p],
            [
                Sign(
                    "neither term is negative",
                    h * C - b * p,
                    ">=",
                    plus(times(C, h - b * power), times(b, C * power - p)),
                )
            ],
            _ONLY_IF,
        ),
    ),
    second,
)
