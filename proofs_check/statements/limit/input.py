"""What HFC/LFC tends to under one real mode."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, Tends, plus, times
from ..dominance.shared import GEOMETRIC, closing, closing_second, deep, ratio, ratio_second

PLACE = 70

h, p, q, l, B, E, L, H, alpha = sympy.symbols("h p q l B E L H alpha", real=True)  # noqa: E741

_POSITIVE = {"alpha > 0": alpha > 0, "p > 0": p > 0}
_above = Tends("from above", (alpha * h + B * q**l) / (alpha * p - B * q**l), l, sympy.oo, h / p)
_below = Tends("from below", (alpha * h - B * q**l) / (alpha * p + B * q**l), l, sympy.oo, h / p)


def second(z: Any) -> dict[str, Query]:
    alpha, h, p, E, H, L, B = z.Reals("alpha h p E H L B")
    above = {
        "H <= alpha h + E": alpha * h + E - H >= 0,
        "L >= alpha p - E": alpha * p <= L + E,
        "alpha p > E": alpha * p - E > 0,
        "alpha > 0": alpha > 0,
        "h >= 0": h >= 0,
        "E >= 0": E >= 0,
    }
    below = {
        "H >= alpha h - E": alpha * h <= H + E,
        "L <= alpha p + E": alpha * p + E - L >= 0,
        "alpha h >= E": alpha * h - E >= 0,
        "alpha > 0": alpha > 0,
        "p > 0": p > 0,
        "E >= 0": E >= 0,
    }
    given, layer, (q, depth, power, eps) = deep(z)
    rest = B * power
    layer += [B >= 0, h >= 0, depth * (1 - q) * eps * p * p * alpha == q * B * (p + h + eps * p)]
    close = z.And(
        alpha * p > rest,
        p * (alpha * h + rest) < (h + eps * p) * (alpha * p - rest),
        p * (alpha * h - rest) > (h - eps * p) * (alpha * p + rest),
    )
    return {
        "from above": Query(above, H * alpha * p - H * E <= L * alpha * h + L * E),
        "from below": Query(below, H * alpha * p + H * E >= L * alpha * h - L * E),
        "the limit": Query(
            given | {"alpha > 0": alpha > 0, "p > 0": p > 0},
            z.Implies(z.And(*layer), close),
            same_symbols=False,
        ),
        "no constant part": ratio_second(z),
        "no constant part: the limit": closing_second(z),
    }


STATEMENT = Statement(
    "limit.input",
    "If the dominant set lies inside one row k with v = v_k real, then HFC/LFC tends to |Pi_perp v| / |Pi "
    "v|, geometrically: 0 for lambda_k = 1, a finite number where Pi v is not 0, and infinity where it is "
    "(as for every symmetric A and lambda_k other than 1).",
    r"\frac{\alpha h - B q^l}{\alpha p + B q^l} \le \frac{\|\Pi_\perp X_l\|}{\|\Pi X_l\|} \le "
    r"\frac{\alpha h + B q^l}{\alpha p - B q^l} \to \frac{h}{p},\quad h = \|\Pi_\perp v\|,\; p = \|\Pi v\|",
    "the distinction of input, angle and rank: arXiv 2401.04301; limit and bound derived here",
    (
        Claim(
            "from above",
            {
                "H <= alpha h + E": alpha * h + E >= H,
                "L >= alpha p - E": alpha * p - E <= L,
                "alpha p > E": alpha * p > E,
                "alpha > 0": alpha > 0,
                "h >= 0": h >= 0,
                "E >= 0": E >= 0,
            },
            [H * (alpha * p - E) <= L * (alpha * h + E)],
            [
                Sign("the larger numerator", alpha * h + E, ">="),
                Sign("the smaller denominator is positive", alpha * p - E, ">"),
                Sign(
                    "each bound costs a term that is not negative",
                    L * (alpha * h + E) - H * (alpha * p - E),
                    ">=",
                    plus(times(L - alpha * p + E, alpha * h + E), times(alpha * p - E, alpha * h + E - H)),
                ),
            ],
            "Divided by the largest modulus to the power l, X_l is v g_l^T plus a rest of norm at most E = B "
            "q^l, and alpha = |g_l| > 0, constant for one pair; otherwise it stays above a positive "
            "constant, which may take its place in the final bounds, as they are widest there. So H = HFC is "
            "within E of alpha h and L = LFC within E of alpha p. Denominators cleared.",
        ),
        Claim(
            "from below",
            {
                "H >= alpha h - E": alpha * h - E <= H,
                "L <= alpha p + E": alpha * p + E >= L,
                "alpha h >= E": alpha * h >= E,
                "alpha > 0": alpha > 0,
                "p > 0": p > 0,
                "E >= 0": E >= 0,
            },
            [H * (alpha * p + E) >= L * (alpha * h - E)],
            [
                Sign("the smaller numerator", alpha * h - E, ">="),
                Sign("the larger denominator", alpha * p + E, ">="),
                Sign(
                    "each bound costs a term that is not negative",
                    H * (alpha * p + E) - L * (alpha * h - E),
                    ">=",
                    plus(times(H - alpha * h + E, alpha * p + E), times(alpha * h - E, alpha * p + E - L)),
                ),
            ],
            "Where alpha h < E the lower bound is negative and says nothing that needs a proof.",
        ),
        Claim(
            "the limit",
            GEOMETRIC | _POSITIVE,
            [_above, _below],
            [Sign("what the denominators tend to is positive", alpha * p, ">"), _above, _below],
            "Both bounds tend to h/p. In the second form both are within eps of it from a layer on that is "
            "named.",
        ),
        ratio(
            "no constant part",
            "Pi v = 0, as where A is symmetric and v orthogonal to the constant vector: then LFC is part of "
            "the rest. Here h = LFC <= B q^l, p = HFC >= P - Q B q^l with P = min |g_l| |v| and Q = 1: "
            "LFC/HFC closes.",
        ),
        closing("no constant part: the limit", "So HFC/LFC tends to infinity."),
    ),
    second,
)
