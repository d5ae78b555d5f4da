"""One row of modes against the rest: token diversity, HFC/LFC and the rank."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import over

PLACE = 50

h, p, x, y, r1, r2, s1, s2, h_up, p_low = sympy.symbols("h p x y r1 r2 s1 s2 h_up p_low", real=True)

_UP = {"h >= 0": h >= 0, "h <= h_up": h <= h_up, "p_low > 0": p_low > 0, "p >= p_low": p >= p_low}
_UPPER = [
    Sign("p is positive", p, ">", plus(p - p_low, p_low)),
    Sign("h_up is not negative", h_up, ">=", plus(h_up - h, h)),
    Sign("cross-multiply", h_up * p - h * p_low, ">=", plus(h_up * (p - p_low), p_low * (h_up - h))),
]


def second(z3: Any) -> dict[str, Query]:
    h, p, h_up, p_low = z3.Reals("h p h_up p_low")
    r1, r2, s1, s2, x, y = z3.Reals("r1 r2 s1 s2 x y")
    up = {"h >= 0": h >= 0, "h <= h_up": h_up - h >= 0, "p_low > 0": p_low > 0, "p >= p_low": p - p_low >= 0}
    along = x * r1 + y * r2
    return {
        "token diversity": Query(up, h * h * p_low * p_low <= h_up * h_up * p * p),
        "quotient": Query(up, over(z3, p * p_low, h * p_low, h_up * p)),
        "rank one": Query(
            {"0 <= s2": s2 >= 0, "s2 <= s1": s1 >= s2, "r1^2 + r2^2 <= 1": 1 - r1 * r1 - r2 * r2 >= 0},
            s1 * s1 * r1 * r1 + s2 * s2 * r2 * r2 <= s1 * s1,
        ),
        "what is left": Query(
            {"r1^2 + r2^2 = 1": 1 - r1 * r1 == r2 * r2},
            x * x + y * y
            == along * along + (x - along * r1) * (x - along * r1) + (y - along * r2) * (y - along * r2),
        ),
    }


_ALONG = x * r1 + y * r2

STATEMENT = Statement(
    "bounds.row_split",
    "P the projection on one v_i, h >= ||(I - P) X|| and 0 < p <= ||P X||: t_div <= h^2/(h^2 + p^2) and "
    "HFC/LFC <= h/p where v_i is constant, and always sigma_2/sigma_1 <= h/p, even "
    "(sum_(k >= 2) sigma_k^2)^(1/2) / sigma_1 <= h/p.",
    r"t_{div} \le \frac{h^2}{h^2 + p^2},\quad \frac{HFC}{LFC} \le \frac{h}{p},\quad"
    r" \frac{\sigma_2}{\sigma_1} \le \frac{1}{\sigma_1} \Big(\sum_{k \ge 2} \sigma_k^2\Big)^{1/2}"
    r" \le \frac{h}{p}",
    "derived here",
    (
        Claim(
            "token diversity",
            _UP,
            [h**2 / (h**2 + p**2) <= h_up**2 / (h_up**2 + p_low**2)],
            [
                *_UPPER,
                Sign(
                    "the difference as a product",
                    h_up**2 / (h_up**2 + p_low**2) - h**2 / (h**2 + p**2),
                    ">=",
                    (h_up * p - h * p_low) * (h_up * p + h * p_low) / ((h**2 + p**2) * (h_up**2 + p_low**2)),
                ),
            ],
            "h = ||Pi_perp X||, p = ||Pi X|| and h_up, p_low their bounds. h_up is bounds.gram for the rows "
            "k != i of Y, the vectors v_k without their part along v_i. P X is the row |v_i| y_i Z plus "
            "sum_(k != i) (v_i^* v_k / |v_i|) y_k Z, times a unit column, so p_low is a lower bound of "
            "|y_i Z| (bounds.lead) less the bound of ||P V' Y' Z|| (reverse triangle, bounds.gram).",
        ),
        Claim(
            "quotient",
            _UP,
            [h / p <= h_up / p_low],
            [*_UPPER, Sign("divide", h_up / p_low - h / p, ">=", (h_up * p - h * p_low) / (p * p_low))],
            "The same for HFC/LFC = h/p, and for the singular values: h = (sum_(k >= 2) sigma_k^2)^(1/2) or "
            "sigma_2, which is not larger, p = sigma_1, by the claims below.",
        ),
        Claim(
            "rank one",
            {"0 <= s2": s2 >= 0, "s2 <= s1": s2 <= s1, "r1^2 + r2^2 <= 1": r1**2 + r2**2 <= 1},
            [s1**2 * r1**2 + s2**2 * r2**2 <= s1**2],
            [
                Sign("sigma_1 is not negative", s1, ">=", plus(s1 - s2, s2)),
                Sign(
                    "no direction is stretched more than the first",
                    s1**2 - s1**2 * r1**2 - s2**2 * r2**2,
                    ">=",
                    plus(s1**2 * (1 - r1**2 - r2**2), r2**2 * (s1 - s2) * (s1 + s2)),
                ),
            ],
            "|X r|^2 <= sigma_1^2 for every r with |r| <= 1, in coordinates along the singular vectors (r2^2 "
            "gathers all from the second on). So sigma_1 >= |X^* v| = ||P X||, v the unit vector of P. And, "
            "with the next claim, for any R = a r^* of rank one with |r| = 1: sum_(k >= 2) sigma_k^2 = "
            "||X||^2 - sigma_1^2 <= ||X||^2 - |X r|^2 = ||X (I - r r^*)||^2 = ||(X - R)(I - r r^*)||^2 <= "
            "||X - R||^2, since R (I - r r^*) = 0 and a projection makes nothing longer. Here R = P X.",
        ),
        Claim(
            "what is left",
            {"r1^2 + r2^2 = 1": sympy.Eq(r1**2 + r2**2, 1)},
            [sympy.Eq(x**2 + y**2, _ALONG**2 + (x - _ALONG * r1) ** 2 + (y - _ALONG * r2) ** 2)],
            [
                Sign(
                    "Pythagoras",
                    x**2 + y**2 - _ALONG**2 - (x - _ALONG * r1) ** 2 - (y - _ALONG * r2) ** 2,
                    "==",
                    times(-(_ALONG**2), r1**2 + r2**2 - 1),
                )
            ],
            "A row (x, y) of X in the plane of r and that row: its part along r and the rest. Summed over "
            "the rows, ||X||^2 = |X r|^2 + ||X (I - r r^*)||^2. (Complex rows: the phase of r changes "
            "neither.)",
        ),
    ),
    second,
)
