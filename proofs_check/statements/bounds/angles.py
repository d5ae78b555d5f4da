"""The mean of 1 - |cos| over pairs from the rows of the state."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import over, root

PLACE = 120

d, n, t, x, y, z, p1, p2, y1, y2, F, M, N = sympy.symbols("d n t x y z p1 p2 y1 y2 F M N", real=True)
T = sympy.Symbol("T", real=True)


def second(z3: Any) -> dict[str, Query]:
    F, N, x, y, z, t, T, n, M = z3.Reals("F N x y z t T n M")
    y1, y2, p1, p2, d = z3.Reals("y1 y2 p1 p2 d")
    return {
        "one row": Query(
            {
                "N > 0": N > 0,
                "N < F": F - N > 0,
                "x^2 + y^2 + z^2 <= N^2": x * x + y * y + z * z <= N * N,
            },
            z3.Or(F == N, F + x == 0, y * y * (F - N) * (F - N) <= y * y * (F + x) * (F + x)),
        ),
        "all rows": Query(
            {
                "n > 1": n > 1,
                "d > 0": d > 0,
                "(n-1) M <= p1 + p2": n * M - M <= p1 + p2,
                "p1 d^2 <= y1^2": y1 * y1 >= p1 * d * d,
                "p2 d^2 <= y2^2": y2 * y2 >= p2 * d * d,
            },
            over(z3, n - 1, (n - 1) * M * d * d, y1 * y1 + y2 * y2),
        ),
        "tilted rows": Query(
            {"-T <= t": t + T >= 0, "t <= T": T - t >= 0, "T < 1": 1 - T > 0},
            z3.And(
                1 + t > 0,
                over(z3, (1 + t) * (1 - T), t * (1 - T), T * (1 + t)),
                over(z3, (1 + t) * (1 - T), -t * (1 - T), T * (1 + t)),
            ),
        ),
    }


STATEMENT = Statement(
    "bounds.angles",
    "Rows x_k = alpha_k (q + g_k), any reference f, E the matrix of the rows e_k = q + g_k - f, ||E|| < "
    "|f|: the mean over pairs of 1 - |cos| is at most ||E (I - P_f)||^2 / ((n - 1) (|f| - ||E||)^2), and so "
    "is that of 1 - cos where all alpha_k have one sign, as they have at the constant mode while every "
    "|beta_k/v_k| < 1.",
    r"\mathrm{mean}_{k \ne m} (1 - |\cos|) \le \frac{1}{n-1} \sum_k \tan^2\theta_k \le"
    r" \frac{\|E (I - P_f)\|^2}{(n-1)(|f| - \|E\|)^2}",
    "derived here",
    (
        Claim(
            "one row",
            {"N > 0": N > 0, "N < F": N < F, "x^2 + y^2 + z^2 <= N^2": x**2 + y**2 + z**2 <= N**2},
            [y**2 / (F + x) ** 2 <= y**2 / (F - N) ** 2],
            [
                Sign(
                    "a row is no longer than all of E",
                    N**2 - x**2,
                    ">=",
                    plus(N**2 - x**2 - y**2 - z**2, y**2, z**2),
                ),
                root("take roots", N, -x),
                Sign("the angle is below pi/2", F + x, ">", plus(F - N, N + x)),
                Sign(
                    "compare the squares",
                    y**2 / (F - N) ** 2 - y**2 / (F + x) ** 2,
                    ">=",
                    times(y**2, N + x, plus(F + x, F - N), 1 / ((F + x) ** 2 * (F - N) ** 2)),
                ),
            ],
            "e_k = (x, y) with x along f and y across, z the length of all other rows of E, N at least "
            "||E||, F = |f| or a lower bound of it (a smaller F only enlarges the right side, whose N and y "
            "stay).",
        ),
        Claim(
            "all rows",
            {
                "n > 1": n > 1,
                "d > 0": d > 0,
                "(n-1) M <= p1 + p2": (n - 1) * M <= p1 + p2,
                "p1 d^2 <= y1^2": p1 * d**2 <= y1**2,
                "p2 d^2 <= y2^2": p2 * d**2 <= y2**2,
            },
            [(y1**2 + y2**2) / ((n - 1) * d**2) >= M],
            [
                Sign(
                    "add the rows",
                    (y1**2 + y2**2) / ((n - 1) * d**2) - M,
                    ">=",
                    times(
                        plus(y1**2 - p1 * d**2, y2**2 - p2 * d**2, d**2 * (p1 + p2 - (n - 1) * M)),
                        1 / ((n - 1) * d**2),
                    ),
                )
            ],
            "M is the mean over pairs, (n - 1) M <= sum |u_k - f/|f||^2 <= sum tan^2 theta_k by "
            "bounds.best_reference and bounds.tangent; p_k = tan^2 theta_k, d = |f| - ||E||, y_k = |e_k "
            "across f|, the sum of y_k^2 is ||E (I - P_f)||^2. Rows that point the other way (alpha_k < 0) "
            "do not change |cos|. Three uses: f = the mean row, E = Pi_perp X, |f| = ||Pi X||/sqrt(n); f = "
            "q + mean of T, E = T less its mean, T = S with row k divided by v_k, from the row split at a "
            "real lambda; and the next.",
        ),
        Claim(
            "tilted rows",
            {"-T <= t": t >= -T, "t <= T": t <= T, "T < 1": T < 1},
            [1 + t > 0, t / (1 + t) <= T / (1 - T), -t / (1 + t) <= T / (1 - T)],
            [
                Sign("the row keeps its sign", 1 + t, ">", plus(1 - T, t + T)),
                Sign("T is not negative", T, ">=", times(plus(t + T, T - t), sympy.Rational(1, 2))),
                Sign(
                    "for positive t",
                    T / (1 - T) - t / (1 + t),
                    ">=",
                    times(plus(T * (T + t), (T - t) * (1 - T)), 1 / ((1 - T) * (1 + t))),
                ),
                Sign("for negative t", T / (1 - T) + t / (1 + t), ">=", (T + t) / ((1 - T) * (1 + t))),
            ],
            "At a real pair alpha_k = v_k (1 + t), t = beta_k/v_k, |t| <= T = max_k sum_m |V_km/v_k| |b_m|. "
            "Row k of X / alpha_k is q + T_k / (1 + t), where T_k is row k of S divided by v_k; it differs "
            "from q + T_k by |t/(1 + t)| |T_k| <= T/(1 - T) |T_k|. So ||E|| is at most the norm of T less "
            "its mean, plus T/(1 - T) times the norm of T, and across f at most that of (T less its mean)(I "
            "- P_z), plus |f - z|/|z| times that of T less its mean (bounds.projections), plus the same "
            "last term. v_k > 0 at the constant mode, so there all alpha_k > 0.",
        ),
    ),
    second,
)
