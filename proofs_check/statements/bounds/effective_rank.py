"""The effective rank from the mean of the smaller singular values."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import over, root

PLACE = 140

h, m, q, r, s, t, u, x, y, x1, x2, y1, y2 = sympy.symbols("h m q r s t u x y x1 x2 y1 y2", real=True)
B, L, M, N, P, T = sympy.symbols("B L M N P T", real=True)


def second(z3: Any) -> dict[str, Query]:
    x, y, l1, l2, l3, l4 = z3.Reals("x y x1 x2 y1 y2")
    M, s, t, r, u, q, N, P, L, E, H, T = z3.Reals("M s t r u q N P L B h T")
    lm = z3.Real("m")
    return {
        "averaging": Query(
            {
                "ln m - ln x <= m/x - 1": 2 * x * lm - 2 * x * l1 <= y - x,
                "ln m - ln y <= m/y - 1": 2 * y * lm - 2 * y * l2 <= x - y,
            },
            x * l1 + y * l2 >= (x + y) * lm,
        ),
        "share": Query(
            {"M > 0": M > 0, "s >= 0": s >= 0, "s <= t": t >= s},
            over(z3, (1 + M * s) * (1 + M * t), M * s * (1 + M * t), M * t * (1 + M * s)),
        ),
        "more even": Query(
            {
                "x <= y": y >= x,
                "y2 <= y1": l3 >= l4,
                "first entry": l3 - x * l3 <= x - y + l1 - x * l1,
                "other entries": x * l4 - x * l2 <= y - x,
            },
            l3 - y * l3 + y * l4 <= l1 - x * l1 + x * l2,
        ),
        "mean": Query(
            {
                "r > 0": r > 0,
                "u > 0": u > 0,
                "N > 0": N > 0,
                "q - 2 s (r^2 s) + r^2 s^2 >= 0": q >= r * r * s * s,
                "q <= N^2": N * N - q >= 0,
            },
            over(z3, u * r, s * r, N),
        ),
        "small": Query(
            {"T >= 0": T >= 0, "P <= T": T - P >= 0, "L <= 0": -L >= 0},
            over(z3, 1 + T, P + P * T - T * L, T + T * T - T * L - T * T * L),
        ),
        "exponential": Query({"(1 - h) B <= 1": E - H * E <= 1}, E <= 1 + H * E),
    }


STATEMENT = Statement(
    "bounds.effective_rank",
    "With s the mean of sigma_k/sigma_1 over k >= 2, or anything between it and 1, the effective rank is at "
    "most that of singular values (1, s, ..., s); and s <= ||X - R|| / (sigma_1 sqrt(m - 1)) for every R of "
    "rank one.",
    r"\mathrm{erank} \le \exp\Big(\ln(1 + T) - \frac{T \ln s}{1 + T}\Big),\; T = (m-1) s,\quad"
    r" s \le \frac{\|X - R\|}{\sigma_1 \sqrt{m-1}}",
    "derived here",
    (
        Claim(
            "averaging",
            {
                "ln m - ln x <= m/x - 1": x * (m - x1) <= (x + y) / 2 - x,
                "ln m - ln y <= m/y - 1": y * (m - x2) <= (x + y) / 2 - y,
            },
            [-x * x1 - y * x2 <= -(x + y) * m],
            [
                Sign(
                    "add the two tangents: their right sides cancel",
                    -(x + y) * m + x * x1 + y * x2,
                    ">=",
                    plus((x + y) / 2 - x - x * (m - x1), (x + y) / 2 - y - y * (m - x2)),
                )
            ],
            "x, y > 0 are two shares sigma_k/sum with logarithms x1, x2, and m is the logarithm of their "
            "mean. The tangent ln v <= v - 1 at v = mean/x, times x (and 0 ln 0 = 0, where it holds too). "
            "For all shares from the second on the same sum has m - 1 such terms and right sides that "
            "cancel: making them equal, with their sum and the first share unchanged, does not lower the "
            "entropy.",
        ),
        Claim(
            "share",
            {"M > 0": M > 0, "s >= 0": s >= 0, "s <= t": s <= t},
            [M * s / (1 + M * s) <= M * t / (1 + M * t)],
            [
                Sign("t is not negative", t, ">=", plus(t - s, s)),
                Sign(
                    "a common denominator",
                    M * t / (1 + M * t) - M * s / (1 + M * s),
                    ">=",
                    M * (t - s) / ((1 + M * s) * (1 + M * t)),
                ),
            ],
            "M = m - 1. The share of all entries but the first of (1, s, ..., s) increases with s.",
        ),
        Claim(
            "more even",
            {
                "x <= y": x <= y,
                "y2 <= y1": y2 <= y1,
                "first entry": (1 - x) * (y1 - x1) <= x - y,
                "other entries": x * (y2 - x2) <= y - x,
            },
            [-(1 - x) * x1 - x * x2 <= -(1 - y) * y1 - y * y2],
            [
                Sign(
                    "Gibbs' inequality, and a share that moves to smaller entries",
                    -(1 - y) * y1 - y * y2 + (1 - x) * x1 + x * x2,
                    ">=",
                    plus(
                        x - y - (1 - x) * (y1 - x1),
                        y - x - x * (y2 - x2),
                        (y - x) * (y1 - y2),
                    ),
                )
            ],
            "x, y are the shares of the claim before for s <= t <= 1; x1 = ln(1 - x), x2 = ln(x/M), and y1, "
            "y2 likewise: logarithms of the first and of any other entry. y2 <= y1 because t <= 1. The two "
            "tangents ln v <= v - 1 are taken at v = (1 - y)/(1 - x), times 1 - x, and at v = y/x, times x. "
            "The sides of the conclusion are the two entropies: that of (1, s, ..., s) increases with s up "
            "to s = 1.",
        ),
        Claim(
            "mean",
            {
                "r > 0": r > 0,
                "u > 0": u > 0,
                "N > 0": N > 0,
                "q - 2 s (r^2 s) + r^2 s^2 >= 0": q - 2 * s * (r**2 * s) + r**2 * s**2 >= 0,
                "q <= N^2": q <= N**2,
            },
            [s / u <= N / (u * r)],
            [
                Sign(
                    "compare the squares",
                    N**2 - (r * s) ** 2,
                    ">=",
                    plus(N**2 - q, q - 2 * s * (r**2 * s) + r**2 * s**2),
                ),
                root("take roots", N, r * s),
                Sign("divide", N / (u * r) - s / u, ">=", (N - r * s) / (u * r)),
            ],
            "r = sqrt(m - 1), u = sigma_1, q the sum of sigma_k^2 over k >= 2 and s the mean of these "
            "sigma_k, so that their sum is r^2 s. The fourth assumption says that the sum of (sigma_k - "
            "s)^2 is not negative; the fifth is bounds.row_split, q <= ||X - R||^2, N = ||X - R||.",
        ),
        Claim(
            "small",
            {"T >= 0": T >= 0, "P <= T": P <= T, "L <= 0": L <= 0},
            [P - T * L / (1 + T) <= T * (1 - L)],
            [
                Sign(
                    "two terms that are not negative",
                    T * (1 - L) - P + T * L / (1 + T),
                    ">=",
                    plus(T - P, times(-L, T**2, 1 / (1 + T))),
                )
            ],
            "P = ln(1 + T) <= T, L = ln s <= 0: the entropy is at most T (1 - ln s), which has a logarithm "
            "however small s is.",
        ),
        Claim(
            "exponential",
            {"(1 - h) B <= 1": (1 - h) * B <= 1},
            [h * B >= B - 1],
            [Sign("rearrange", h * B - B + 1, ">=", 1 - (1 - h) * B)],
            "B = e^h for an entropy h, e^(-h) >= 1 - h: so ln(e^h - 1) <= ln h + h, and h <= e^(-40) < "
            "1e-17.",
        ),
    ),
    second,
)
