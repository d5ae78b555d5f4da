"""What a bias does along a null vector of s H."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus

PLACE = 20

m, d, l, M = sympy.symbols("m d l M", real=True)  # noqa: E741

_LATE = {"m >= -M": m >= -M, "l d >= 2 M": l * d >= 2 * M}


def second(z3: Any) -> dict[str, Query]:
    m, d, l, M = z3.Reals("m d l M")  # noqa: E741
    return {
        "one layer": Query({}, (m + l * d) + d == m + (l + 1) * d),
        "in the end": Query(
            {"m >= -M": m + M >= 0, "l d >= 2 M": l * d - 2 * M >= 0}, 2 * m + 2 * l * d >= l * d
        ),
    }


STATEMENT = Statement(
    "affine.linear_growth",
    "Along an eigenvector with s mu = 0 the constant part is m_0 + l d: it grows like l unless d = 0, and is "
    "at least half of l d once that is twice the size of m_0.",
    r"s\mu = 0:\quad m_l = m_0 + l\,d,\qquad l\,|d| \ge 2|m_0| \Rightarrow |m_l| \ge \tfrac12 l\,|d|",
    "derived here",
    (
        Claim(
            "one layer",
            {},
            [sympy.Eq((m + l * d) + d, m + (l + 1) * d)],
            [Identity("each layer adds d", (m + l * d) + d, m + (l + 1) * d)],
            "m is the constant part at layer 0; with s mu = 0 the layer leaves it and the bias adds d.",
        ),
        Claim(
            "in the end",
            _LATE,
            [m + l * d >= l * d / 2],
            [
                Sign(
                    "what the bias brought outweighs the start",
                    m + l * d - l * d / 2,
                    ">=",
                    plus(m + M, (l * d - 2 * M) / 2),
                )
            ],
            "M bounds the start; for d < 0 turn both signs. All modes of modulus at most 1 stay bounded, so "
            "tokens converge to one vector like 1/l, relative to their size.",
        ),
    ),
    second,
)
