"""Similarity, diversity, odds and the escalation rate."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import zero

PLACE = 10

t, r, u, u_next, t_div, t_div_next, C, D = sympy.symbols("t r u u_next t_div t_div_next C D", real=True)


def second(z: Any) -> dict[str, Query]:
    t, t_div, t_div_next, u, u_next, r, C, D = z.Reals("t t_div t_div_next u u_next r C D")
    domain = {"t_div > 0": t_div > 0}
    return {
        "shares": Query(
            {
                "t |X|^2 = |Pi X|^2": C * t + D * t - C == 0,
                "t_div |X|^2 = |Pi_perp X|^2": C * t_div + D * t_div - D == 0,
                "X is not 0": C + D > 0,
            },
            t == 1 - t_div,
        ),
        "odds": Query(
            domain | {"t + t_div = 1": t == 1 - t_div, "u t_div = t": t - t_div * u == 0},
            z.And(t + t * u == u, t_div + t_div * u == 1),
        ),
        "rate": Query(
            domain
            | {
                "t_div' > 0": t_div_next > 0,
                "(1 + u) t_div = 1": t_div + t_div * u == 1,
                "(1 + u') t_div' = 1": t_div_next + t_div_next * u_next == 1,
                "r t_div = t_div - t_div'": t_div_next == t_div - t_div * r,
            },
            r + r * u_next == u_next - u,
        ),
    }


_share = [sympy.Eq(t * (C + D), C), sympy.Eq(t_div * (C + D), D)]
_before, _after = sympy.Eq((1 + u) * t_div, 1), sympy.Eq((1 + u_next) * t_div_next, 1)
_rate = sympy.Eq(r * t_div, t_div - t_div_next)

STATEMENT = Statement(
    "similarity.odds",
    "Similarity and diversity add up to 1; with the odds u = t/t_div the similarity is u/(1+u), and the "
    "escalation rate is the increase of the odds over 1 + u'.",
    r"t = \frac{u}{1+u},\quad r = 1 - \frac{t_\mathrm{div}'}{t_\mathrm{div}} = \frac{u'-u}{1+u'}",
    "token similarity: arXiv 2312.06182; the formula of the rate is a reading, the rest derived here",
    (
        Claim(
            "shares",
            {
                "t |X|^2 = |Pi X|^2": _share[0],
                "t_div |X|^2 = |Pi_perp X|^2": _share[1],
                "X is not 0": C + D > 0,
            },
            [sympy.Eq(t, 1 - t_div)],
            [Sign("divide by |X|^2", t + t_div - 1, "==", plus(*zero(*_share)) / (C + D))],
            "C = |Pi X|^2 and D = |Pi_perp X|^2; Pi is an orthogonal projection, so |X|^2 = C + D.",
        ),
        Claim(
            "odds",
            {
                "t + t_div = 1": sympy.Eq(t + t_div, 1),
                "u t_div = t": sympy.Eq(u * t_div, t),
                "t_div > 0": t_div > 0,
            },
            [sympy.Eq(t, u / (1 + u)), sympy.Eq(t_div, 1 / (1 + u))],
            [
                Sign("1 + u = 1/t_div", 1 + u, ">", plus(u * t_div - t, t + t_div - 1, 1) / t_div),
                Sign(
                    "the similarity",
                    t - u / (1 + u),
                    "==",
                    plus(times(u, t + t_div - 1), -(u * t_div - t)) / (1 + u),
                ),
                Sign(
                    "the diversity",
                    t_div - 1 / (1 + u),
                    "==",
                    plus(t + t_div - 1, u * t_div - t) / (1 + u),
                ),
            ],
        ),
        Claim(
            "rate",
            {
                "(1 + u) t_div = 1": _before,
                "(1 + u') t_div' = 1": _after,
                "r t_div = t_div - t_div'": _rate,
                "t_div > 0": t_div > 0,
                "t_div' > 0": t_div_next > 0,
            },
            [sympy.Eq(r, (u_next - u) / (1 + u_next))],
            [
                Sign("1 + u' = 1/t_div'", 1 + u_next, ">", plus(*zero(_after), 1) / t_div_next),
                Sign(
                    "1 - t_div'/t_div in terms of odds",
                    r - (u_next - u) / (1 + u_next),
                    "==",
                    plus(times(1 + u_next, *zero(_rate)), times(-1, *zero(_after)), *zero(_before))
                    / ((1 + u_next) * t_div),
                ),
            ],
            "Diversity is 1/(1+u) before and 1/(1+u') after the layer.",
        ),
    ),
    second,
    witnesses={
        ("odds", "t + t_div = 1"): {"t": 1, "t_div": 1, "u": 1},
        ("odds", "u t_div = t"): {"t": 0, "t_div": 1, "u": 1},
        ("rate", "(1 + u') t_div' = 1"): {"t_div": 1, "t_div_next": 1, "u": 0, "u_next": 1, "r": 0},
    },
)
