"""HFC/LFC closes with the same factor."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Rational

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times

PLACE = 20

t, h = sympy.symbols("t h", real=True)


def second(s: Any) -> dict[str, Query]:
    h, t = s.Reals("h t")
    return {
        "within a factor two": Query(
            {"h (1 - t) = t": h - h * t == t, "t > 0": t > 0, "t <= 1/2": t + t <= 1},
            s.And(h > t, h <= t + t),
        )
    }


STATEMENT = Statement(
    "rates.hfc_lfc",
    "(HFC/LFC)^2 = t_div/(1 - t_div) closes with the same factor as token diversity: it is between "
    "t_div and 2 t_div as soon as t_div <= 1/2.",
    r"t_{\mathrm{div}} < (\mathrm{HFC}/\mathrm{LFC})^2 \le 2\, t_{\mathrm{div}}",
    "derived here; arXiv 2401.04301 leaves rates open",
    (
        Claim(
            "within a factor two",
            {"h (1 - t) = t": Eq(h * (1 - t), t), "t > 0": t > 0, "t <= 1/2": t <= Rational(1, 2)},
            [h > t, h <= 2 * t],
            [
                Sign("1 - t is positive", 1 - t, ">", plus(Rational(1, 2) - t, Rational(1, 2))),
                Sign("h is positive", h, ">", plus(h * (1 - t) - t, t) / (1 - t)),
                Sign("h exceeds t by h t", h - t, ">", plus(h * (1 - t) - t, h * t)),
                Sign(
                    "and is at most 2 t",
                    2 * t - h,
                    ">=",
                    plus(-times(2, h * (1 - t) - t), times(2 * h, Rational(1, 2) - t)),
                ),
            ],
            "h = |Pi_perp X|^2/|Pi X|^2 and t = |Pi_perp X|^2/(|Pi X|^2 + |Pi_perp X|^2); h is a "
            "function of t alone.",
        ),
    ),
    second,
)
