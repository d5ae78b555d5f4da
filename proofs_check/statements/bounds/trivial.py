"""What holds for every state."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus
from .shared import MEAN, over

PLACE = 130

c, d, n, t, s1, s2 = sympy.symbols("c d n t s1 s2", real=True)


def second(z3: Any) -> dict[str, Query]:
    n, t, s1, s2, c, d = z3.Reals("n t s1 s2 c d")
    return {
        "mean cosine": Query({"n > 1": n > 1, "t >= 0": t >= 0}, over(z3, n * (n - 1), n * n - t, n * n)),
        "absolute values": Query({"c >= 0": c >= 0, "d >= 0": d >= 0}, 2 - c - d <= 2),
        "singular values": Query({"s1 > 0": s1 > 0, "s2 <= s1": s1 >= s2}, over(z3, s1, s2, s1)),
    }


STATEMENT = Statement(
    "bounds.trivial",
    "Whatever the state: the mean over pairs of 1 - cos is at most n/(n - 1), that of 1 - |cos| at most 1, "
    "and sigma_2/sigma_1 at most 1.",
    r"1 - \overline{\cos} \le \frac{n}{n-1},\quad 1 - \overline{|\cos|} \le 1,\quad"
    r" \frac{\sigma_2}{\sigma_1} \le 1",
    "derived here",
    (
        Claim(
            "mean cosine",
            {"n > 1": n > 1, "t >= 0": t >= 0},
            [n / (n - 1) >= MEAN],
            [
                Sign("n is positive", n, ">", plus(n - 1, 1)),
                Sign("what is missing", n / (n - 1) - MEAN, ">=", t / (n * (n - 1))),
            ],
            "t = |sum of the unit vectors|^2, the mean over pairs as in bounds.best_reference; attained by "
            "any unit vectors that add up to 0.",
        ),
        Claim(
            "absolute values",
            {"c >= 0": c >= 0, "d >= 0": d >= 0},
            [1 - (c + d) / 2 <= 1],
            [Sign("a mean of numbers that are not negative", 1 - (1 - (c + d) / 2), ">=", (c + d) / 2)],
            "c, d are |cos| of two pairs; more pairs, more terms.",
        ),
        Claim(
            "singular values",
            {"s1 > 0": s1 > 0, "s2 <= s1": s2 <= s1},
            [s2 / s1 <= 1],
            [Sign("they are in order", 1 - s2 / s1, ">=", (s1 - s2) / s1)],
            "sigma_1 is the largest.",
        ),
    ),
    second,
)
