"""A lower bound of the escalation rate."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from ..similarity.shared import zero
from .shared import RATE, over

PLACE = 30

t, s, sigma, r, D, K, D_next, d_1, d_2 = sympy.symbols("t s sigma r D K D_next d_1 d_2", real=True)
l_1, l_2 = sympy.symbols("lambda_1 lambda_2", real=True)

_most = (1 + s**2 * sigma**2) * (1 - t)
_grown = (1 + s**2) * t
_rate_of = sympy.Eq(r * (1 - t) * (_grown + D_next), (1 - t) * (_grown + D_next) - D_next)
_all_of_it = _grown + _most
_between = {"t > 0": t > 0, "t < 1": t < 1}
_sum_of_modes = sympy.Eq(D_next, (1 + s**2 * l_1**2) * d_1 + (1 + s**2 * l_2**2) * d_2)
_ahead = plus(
    times(_grown, _most - D_next) / ((1 - t) * _all_of_it * (_grown + D_next)),
    zero(_rate_of)[0] / ((1 - t) * (_grown + D_next)),
)
_both_positive = [
    Sign("the most that |Y|^2 can be", _all_of_it, ">", plus(_grown, _most)),
    Sign("what it is", _grown + D_next, ">", plus(_grown, D_next)),
]


def second(z: Any) -> dict[str, Query]:
    t, s, sigma, r, D, K, D_next = z.Reals("t s sigma r D K D_next")
    d_1, d_2, l_1, l_2 = z.Reals("d_1 d_2 lambda_1 lambda_2")
    square, gap = s * s, sigma * sigma
    grown = t + square * t
    base = {
        "t > 0": t > 0,
        "t < 1": t < 1,
        "D' >= 0": D_next >= 0,
        "r = 1 - t_div'/t_div": (1 - r) * (1 - t) * (grown + D_next) == D_next,
    }
    most = (1 - t) + square * gap * (1 - t)
    top = square * t - square * gap * t
    bottom = 1 + square * gap + top
    modes = {"D' is the sum over modes": D_next == d_1 + d_2 + square * (l_1 * l_1 * d_1 + l_2 * l_2 * d_2)}
    return {
        "diverse part": Query(
            {"D' = D + s^2 K": D_next - D == square * K, "K <= sigma^2 D": gap * D >= K},
            D_next <= D + square * gap * D,
        ),
        "rate": Query(base | {"D' <= (1 + s^2 sigma^2) D": D_next <= most}, over(z, r, top, bottom, 0)),
        "equality": Query(base | {"D' = (1 + s^2 sigma^2) D": D_next == most}, r * bottom == top),
        "strict": Query(base | {"D' < (1 + s^2 sigma^2) D": D_next < most}, over(z, r, top, bottom, 1)),
        "all modes alike": Query(
            modes
            | {
                "lambda_1^2 = sigma^2": z.Or(l_1 == sigma, l_1 == -sigma),
                "lambda_2^2 = sigma^2": z.Or(l_2 == sigma, l_2 == -sigma),
            },
            D_next == (1 + square * gap) * (d_1 + d_2),
        ),
        "one mode lower": Query(
            modes
            | {
                "s != 0": s != 0,
                "d_1 > 0": d_1 > 0,
                "d_2 >= 0": d_2 >= 0,
                "lambda_1^2 < sigma^2": l_1 * l_1 < gap,
                "lambda_2^2 <= sigma^2": l_2 * l_2 <= gap,
            },
            D_next < d_1 + d_2 + square * gap * (d_1 + d_2),
        ),
    }


_base = _between | {"D' >= 0": D_next >= 0, "r = 1 - t_div'/t_div": _rate_of}
_rate_words = (
    "|X|^2 = 1, so |Pi X|^2 = t, |Pi_perp X|^2 = D = 1 - t; E|Pi Y|^2 = (1 + s^2) t and D' = E|Pi_perp Y|^2. "
    "r = 1 - t_div'/t_div with t_div' = D' / ((1 + s^2) t + D')."
)

STATEMENT = Statement(
    "escalation.bound",
    "If the columns of P sum to 1, the escalation rate, as a ratio of expectations, is at least s^2 (1 - "
    "sigma^2) t / (1 + s^2 sigma^2 + s^2 (1 - sigma^2) t), with equality (s != 0) iff |Pi_perp P Pi_perp X| "
    "= sigma |Pi_perp X|; for symmetric P, iff all lambda_i^2 of modes that X has equal sigma^2.",
    r"r \ge \frac{s^2(1-\sigma^2)\,t}{1 + s^2\sigma^2 + s^2(1-\sigma^2)\,t}",
    "that the rate scales with t_sim and depends on the second eigenvalue: arXiv 2312.06182; the bound "
    "derived here",
    (
        Claim(
            "diverse part",
            {"D' = D + s^2 K": sympy.Eq(D_next, D + s**2 * K), "K <= sigma^2 D": sigma**2 * D >= K},
            [D_next <= (1 + s**2 * sigma**2) * D],
            [
                Sign(
                    "a square times what is missing",
                    (1 + s**2 * sigma**2) * D - D_next,
                    ">=",
                    times(s**2, sigma**2 * D - K),
                )
            ],
            "Pi_perp Y = Pi_perp X + Pi_perp P X W and Pi_perp P 1 = 0, so Pi_perp P X = Pi_perp P Pi_perp "
            "X =: G. E W = 0 removes the mixed term and E|G W|^2 = trace(G E(W W^T) G^T) = s^2 |G|^2; K = "
            "|G|^2 <= sigma^2 D. This holds for any P with P1 = 1.",
        ),
        Claim(
            "rate",
            _base | {"D' <= (1 + s^2 sigma^2) D": D_next <= _most},
            [r >= RATE],
            [
                *_both_positive,
                Sign("the two rates, subtracted", r - t * s**2 * (1 - sigma**2) / _all_of_it, ">=", _ahead),
                Sign(
                    "the denominator in another form",
                    r - RATE,
                    ">=",
                    r - t * s**2 * (1 - sigma**2) / _all_of_it,
                ),
            ],
            _rate_words,
        ),
        Claim(
            "equality",
            _base | {"D' = (1 + s^2 sigma^2) D": sympy.Eq(D_next - _most, 0)},
            [sympy.Eq(r, RATE)],
            [
                *_both_positive,
                Sign("the two rates, subtracted", r - t * s**2 * (1 - sigma**2) / _all_of_it, "==", _ahead),
                Sign(
                    "the denominator in another form",
                    r - RATE,
                    "==",
                    r - t * s**2 * (1 - sigma**2) / _all_of_it,
                ),
            ],
            _rate_words,
        ),
        Claim(
            "strict",
            _base | {"D' < (1 + s^2 sigma^2) D": D_next < _most},
            [r > RATE],
            [
                *_both_positive,
                Sign("the two rates, subtracted", r - t * s**2 * (1 - sigma**2) / _all_of_it, ">", _ahead),
                Sign(
                    "the denominator in another form",
                    r - RATE,
                    ">",
                    r - t * s**2 * (1 - sigma**2) / _all_of_it,
                ),
            ],
            _rate_words + " So equality in the rate is equality in the diverse part.",
        ),
        Claim(
            "all modes alike",
            {
                "lambda_1^2 = sigma^2": sympy.Eq(l_1**2 - sigma**2, 0),
                "lambda_2^2 = sigma^2": sympy.Eq(l_2**2 - sigma**2, 0),
                "D' is the sum over modes": _sum_of_modes,
            },
            [sympy.Eq(D_next, (1 + s**2 * sigma**2) * (d_1 + d_2))],
            [
                Sign(
                    "mode by mode",
                    D_next - (1 + s**2 * sigma**2) * (d_1 + d_2),
                    "==",
                    plus(times(s**2 * d_1, l_1**2 - sigma**2), times(s**2 * d_2, l_2**2 - sigma**2)),
                )
            ],
            "Symmetric P: d_i = |v_i^T X|^2, two modes for all.",
        ),
        Claim(
            "one mode lower",
            {
                "s != 0": sympy.Ne(s, 0),
                "d_1 > 0": d_1 > 0,
                "d_2 >= 0": d_2 >= 0,
                "lambda_1^2 < sigma^2": l_1**2 < sigma**2,
                "lambda_2^2 <= sigma^2": l_2**2 <= sigma**2,
                "D' is the sum over modes": _sum_of_modes,
            },
            [D_next < (1 + s**2 * sigma**2) * (d_1 + d_2)],
            [
                Sign("a square that is not 0", s**2, ">"),
                Sign(
                    "mode by mode, one of them negative",
                    D_next - (1 + s**2 * sigma**2) * (d_1 + d_2),
                    "<",
                    plus(times(s**2, d_1, l_1**2 - sigma**2), times(s**2, d_2, l_2**2 - sigma**2)),
                ),
            ],
            "Mode 1 is one that X has and that is lower, mode 2 stands for the others.",
        ),
    ),
    second,
)
