"""Angles never close more slowly than token diversity."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Rational, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..defective.shared import equal, near
from .shared import EXAMPLE, rho11, rho12, rho21, rho22

PLACE = 70

depth, x, u2, M, R, b, w, a = sympy.symbols("l x mu2 M R b w a", real=True)


def second(s: Any) -> dict[str, Query]:
    R, a, b, w, M, x, p, T, W, depth, eps = s.Reals("R a b w M x p T W l eps")
    l1, l2, m1, m2 = s.Reals("lambda1 lambda2 mu1 mu2")
    example = {"lambda1 = 1": l1 == 1, "lambda2 = -1/2": l2 + l2 == -1, "mu1 = 3": m1 == 3}
    r11, r12, r21, r22 = 1 + l1 * m1, 1 + l1 * m2, 1 + l2 * m1, 1 + l2 * m2
    return {
        "never slower": Query(
            {"R > 0": R > 0, "a <= R": a <= R, "b >= 0": b >= 0, "b <= M": b <= M, "w <= M": w <= M},
            s.And(w * R <= M * R, b * a <= M * R),
        ),
        "strictly": Query(
            {"R > 0": R > 0, "a < R": a < R, "w >= 0": w >= 0, "w < b": b > w},
            s.And(w * R < b * R, b * a < b * R),
        ),
        "equal": Query(
            {"a <= R": a <= R, "b >= 0": b >= 0, "b <= w": w >= b, "R > 0": R > 0},
            b * a <= w * R,
        ),
        "quotient": Query(
            {"x > 0": x > 0, "x < 1": x < 1},
            s.And(
                s.Implies(x * (1 + p) == 1, p > 0),
                s.Implies(
                    s.And(
                        p > 0, depth > 0, W > 0, W * T == 1, 1 + depth * p <= T, depth * p * eps >= 1, eps > 0
                    ),
                    near(s, W, s.RealVal(0), eps),
                ),
            ),
            same_symbols=False,
        ),
        "an example that is faster": Query(
            example | {"mu2 = 2": m2 == 2},
            s.And(
                r22 * r22 < r21 * r21,
                r12 * r12 < r11 * r11,
                r12 * r21 * r12 * r21 * 16 == 9 * r11 * r21 * r11 * r21,
            ),
        ),
        "an example that is not": Query(
            example | {"mu2 = -1": m2 == -1},
            s.And(
                r21 * r21 < r22 * r22,
                r22 * r22 < r11 * r11,
                r12 * r21 * r12 * r21 < r11 * r22 * r11 * r22,
            ),
        ),
    }


STATEMENT = Statement(
    "rates.angles_faster",
    "If one pair with lambda = 1 dominates, q_rank <= q_tok: angles never close more slowly than token "
    "diversity, and strictly faster iff the strongest mode beside lambda = 1 belongs to the dominant mu "
    "alone.",
    r"q_{\mathrm{rank}} \le q_{\mathrm{tok}},\quad q_{\mathrm{rank}} < q_{\mathrm{tok}} \iff "
    r"\max_{i \ne 1, j \ne j_*} |\rho_{ij}| < \max_{i \ne 1} |\rho_{ij_*}|",
    "derived here; arXiv 2401.04301 leaves rates open",
    (
        Claim(
            "never slower",
            {
                "R > 0": R > 0,
                "a <= R": a <= R,
                "b >= 0": b >= 0,
                "b <= M": b <= M,
                "w <= M": w <= M,
            },
            [R * w <= R * M, a * b <= R * M],
            [
                Sign("one mode beside both", R * M - R * w, ">=", times(R, M - w)),
                Sign("a product", R * M - a * b, ">=", plus(times(R, M - b), times(R - a, b))),
            ],
            "R = |rho_1j*|, a the largest |rho_1j| with j != j*, b the largest |rho_ij*| and w the "
            "largest |rho_ij| with j != j*, i != 1; q_rank R^2 is the larger of R w and a b, and q_tok "
            "R = M the larger of b and w.",
        ),
        Claim(
            "strictly",
            {"R > 0": R > 0, "a < R": a < R, "w >= 0": w >= 0, "w < b": w < b},
            [R * w < R * b, a * b < R * b],
            [
                Sign("b is positive", b, ">", plus(b - w, w)),
                Sign("one mode beside both", R * b - R * w, ">", times(R, b - w)),
                Sign("a product", R * b - a * b, ">", times(R - a, b)),
            ],
            "w < b makes M = b, so both terms of q_rank R^2 are less than q_tok R^2; a < R as one pair "
            "dominates.",
        ),
        Claim(
            "equal",
            {"R > 0": R > 0, "a <= R": a <= R, "b >= 0": b >= 0, "b <= w": b <= w},
            [a * b <= R * w],
            [
                Sign(
                    "the product is not larger",
                    R * w - a * b,
                    ">=",
                    plus(times(R, w - b), times(R - a, b)),
                )
            ],
            "b <= w makes M = w, and the larger of R w and a b is R w = q_tok R^2: q_rank = q_tok.",
        ),
        Claim(
            "quotient",
            {"x > 0": x > 0, "x < 1": x < 1},
            [Tends("it vanishes", x**depth, depth, oo, 0)],
            [Tends("it vanishes", x**depth, depth, oo, 0)],
            "x = (q_rank/q_tok)^2 < 1: (1 - cos)/t_div is at most a constant times x^l by cosine_gap "
            "and token_diversity.",
        ),
        Claim(
            "an example that is faster",
            EXAMPLE | {"mu2 = 2": Eq(u2, 2)},
            [
                rho22**2 < rho21**2,
                rho12**2 < rho11**2,
                equal(16 * (rho12 * rho21) ** 2, 9 * (rho11 * rho21) ** 2),
            ],
            [
                Sign("w = 0 < b = 1/2", rho21**2 - rho22**2, ">", Rational(1, 4)),
                Sign("3 < 4", rho11**2 - rho12**2, ">", 7),
                Identity("their quotient", 16 * (rho12 * rho21) ** 2, 9 * (rho11 * rho21) ** 2),
            ],
            "q_rank = 3/4 q_tok.",
        ),
        Claim(
            "an example that is not",
            EXAMPLE | {"mu2 = -1": Eq(u2, -1)},
            [
                rho21**2 < rho22**2,
                rho22**2 < rho11**2,
                (rho12 * rho21) ** 2 < (rho11 * rho22) ** 2,
            ],
            [
                Sign("b = 1/2 < w = 3/2", rho22**2 - rho21**2, ">", 2),
                Sign("3/2 < 4", rho11**2 - rho22**2, ">", Rational(55, 4)),
                Sign("0 < 6", (rho11 * rho22) ** 2 - (rho12 * rho21) ** 2, ">", 36),
            ],
            "q_rank = 6/16 = q_tok.",
        ),
    ),
    second,
)
