"""Token diversity and HFC/LFC from below."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import over

PLACE = 70

h, m, p, u, w, u1, u2, u3, x1, x2, x3 = sympy.symbols("h m p u w u1 u2 u3 x1 x2 x3", real=True)
h_low, p_up, T, Y = sympy.symbols("h_low p_up T Y", real=True)


def second(z3: Any) -> dict[str, Query]:
    u1, u2, u3, x1, x2, x3, m = z3.Reals("u1 u2 u3 x1 x2 x3 m")
    Y, T, u, w, h, p, h_low, p_up = z3.Reals("Y T u w h p h_low p_up")
    low = {"h_low >= 0": h_low >= 0, "h_low <= h": h - h_low >= 0}
    low |= {"p > 0": p > 0, "p <= p_up": p_up - p >= 0}
    return {
        "constant not seen": Query(
            {"u1 + u2 + u3 = 0": u1 + u2 == -u3},
            u1 * (x1 - m) + u2 * (x2 - m) + u3 * (x3 - m) == u1 * x1 + u2 * x2 + u3 * x3,
        ),
        "diverse part": Query(
            {"u > 0": u > 0, "w > 0": w > 0, "Y <= T w": T * w >= Y, "T <= u h": u * h >= T},
            over(z3, u * w, Y, h * u * w),
        ),
        "token diversity": Query(low, h_low * h_low * p * p <= h * h * p_up * p_up),
        "quotient": Query(low, over(z3, p * p_up, h_low * p, h * p_up)),
    }


_LOW = {
    "h_low >= 0": h_low >= 0,
    "h_low <= h": h_low <= h,
    "p > 0": p > 0,
    "p <= p_up": p <= p_up,
}
_LOWER = [
    Sign("h is not negative", h, ">=", plus(h - h_low, h_low)),
    Sign("p_up is positive", p_up, ">", plus(p_up - p, p)),
    Sign("cross-multiply", h * p_up - h_low * p, ">=", plus(h * (p_up - p), p * (h - h_low))),
]

STATEMENT = Statement(
    "bounds.from_below",
    "||Pi_perp X|| >= |Y_ij| / (|u_i| |w_j|) for every i >= 2 and j, and t_div and HFC/LFC are bounded from "
    "below by putting in this and ||Pi X|| <= ||y_1 Z|| + ||Pi V' Y' Z||.",
    r"\|\Pi_\perp X\| \ge \max_{i \ge 2, j} \frac{|Y_{ij}|}{|u_i||w_j|},\quad"
    r" t_{div} \ge \frac{h'^2}{h'^2 + p'^2}",
    "derived here",
    (
        Claim(
            "constant not seen",
            {"u1 + u2 + u3 = 0": sympy.Eq(u1 + u2 + u3, 0)},
            [sympy.Eq(u1 * x1 + u2 * x2 + u3 * x3, u1 * (x1 - m) + u2 * (x2 - m) + u3 * (x3 - m))],
            [
                Sign(
                    "the mean drops out",
                    u1 * x1 + u2 * x2 + u3 * x3 - (u1 * (x1 - m) + u2 * (x2 - m) + u3 * (x3 - m)),
                    "==",
                    times(m, u1 + u2 + u3),
                )
            ],
            "u_i 1 = 0 for i >= 2, as u_i v_1 = 0; so u_i X = u_i Pi_perp X: one feature of three tokens, m "
            "their mean. More tokens, more terms.",
        ),
        Claim(
            "diverse part",
            {"u > 0": u > 0, "w > 0": w > 0, "Y <= T w": T * w >= Y, "T <= u h": u * h >= T},
            [h >= Y / (u * w)],
            [
                Sign(
                    "put one into the other",
                    h - Y / (u * w),
                    ">=",
                    plus(w * (u * h - T), T * w - Y) / (u * w),
                )
            ],
            "Y = |Y_ij| = |u_i Pi_perp X w_j| <= T w with T = |u_i Pi_perp X| and w = |w_j| "
            "(Cauchy-Schwarz), and T <= |u_i| ||Pi_perp X|| (bounds.norms). The same with X itself: "
            "sigma_1(X) >= |X|_2 >= |Y_ij| / (|u_i| |w_j|), for every i and j.",
        ),
        Claim(
            "token diversity",
            _LOW,
            [h**2 / (h**2 + p**2) >= h_low**2 / (h_low**2 + p_up**2)],
            [
                *_LOWER,
                Sign(
                    "the difference as a product",
                    h**2 / (h**2 + p**2) - h_low**2 / (h_low**2 + p_up**2),
                    ">=",
                    (h * p_up - h_low * p) * (h * p_up + h_low * p) / ((h**2 + p**2) * (h_low**2 + p_up**2)),
                ),
            ],
            "h = ||Pi_perp X||, p = ||Pi X||, h_low their bounds. p_up: Pi X = v_1 y_1 Z + Pi V' Y' Z, "
            "triangle, |v_1| = 1, and bounds.gram for both.",
        ),
        Claim(
            "quotient",
            _LOW,
            [h / p >= h_low / p_up],
            [*_LOWER, Sign("divide", h / p - h_low / p_up, ">=", (h * p_up - h_low * p) / (p * p_up))],
            "HFC/LFC = h/p.",
        ),
    ),
    second,
)
