"""The mean of 1 - cos over pairs is a distance from the mean direction."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from .shared import MEAN, over

PLACE = 100

f, n, q, t, p1, p2, q1, q2, r1, r2, F = sympy.symbols("f n q t p1 p2 q1 q2 r1 r2 F", real=True)

_UNITS = [(p1, p2), (q1, q2), (r1, r2)]
_ONES = {f"|{name}| = 1": sympy.Eq(i**2 + o**2, 1) for name, (i, o) in zip("pqr", _UNITS, strict=True)}
_PAIRS = 1 - (p1 * q1 + p2 * q2 + p1 * r1 + p2 * r2 + q1 * r1 + q2 * r2) / 3
_SPREAD = sum(
    (i - (p1 + q1 + r1) / 3) ** 2 + (o - (p2 + q2 + r2) / 3) ** 2 for i, o in _UNITS
)  # of three vectors about their mean


def second(z3: Any) -> dict[str, Query]:
    p1, p2, q1, q2, r1, r2 = z3.Reals("p1 p2 q1 q2 r1 r2")
    n, q, t, f, F = z3.Reals("n q t f F")
    vectors = ((p1, p2), (q1, q2), (r1, r2))
    x, y = p1 + q1 + r1, p2 + q2 + r2
    # nine times the squared distances to the mean
    spread = sum((3 * i - x) * (3 * i - x) + (3 * o - y) * (3 * o - y) for i, o in vectors)
    products = p1 * q1 + p2 * q2 + p1 * r1 + p2 * r2 + q1 * r1 + q2 * r2
    units = {f"|{name}| = 1": 1 - i * i == o * o for name, (i, o) in zip("pqr", vectors, strict=True)}
    return {
        "three vectors": Query(units, 18 - 6 * products == spread),
        "mean over pairs": Query({"n > 1": n > 1}, n * n - n - t + n == n * n - t),
        "mean is best": Query({"n > 0": n > 0}, over(z3, n, q * n - t * t, n * (q - 2 * f * t + n * f * f))),
        "any reference": Query(
            {"n > 1": n > 1, "n^2 - t <= n F": n * F + t >= n * n},
            over(z3, n * (n - 1), n * (n - 1) - t + n, n * F),
        ),
    }


STATEMENT = Statement(
    "bounds.best_reference",
    "For unit vectors u_k, k = 1..n, the mean over pairs of 1 - cos is exactly sum |u_k - mean|^2 / (n - "
    "1), and at most sum |u_k - f|^2 / (n - 1) for every other reference f.",
    r"\mathrm{mean}_{k \ne m} (1 - u_k \cdot u_m) = \frac{1}{n-1} \sum_k |u_k - \bar u|^2 \le"
    r" \frac{1}{n-1} \sum_k |u_k - f|^2",
    "derived here",
    (
        Claim(
            "three vectors",
            _ONES,
            [sympy.Eq(_PAIRS, _SPREAD / 2)],
            [
                Sign(
                    "put the lengths in",
                    _PAIRS - _SPREAD / 2,
                    "==",
                    times(
                        -sympy.Rational(1, 3),
                        plus(p1**2 + p2**2 - 1, q1**2 + q2**2 - 1, r1**2 + r2**2 - 1),
                    ),
                )
            ],
            "Three tokens in the plane, written out; the next claim is for any number, in any dimension.",
        ),
        Claim(
            "mean over pairs",
            {"n > 1": n > 1},
            [sympy.Eq(MEAN, (n - t / n) / (n - 1))],
            [
                Sign("n is positive", n, ">", plus(n - 1, 1)),
                Identity("a common denominator", MEAN, (n - t / n) / (n - 1)),
            ],
            "t = |sum of the u_k|^2. The n (n - 1) products of different vectors add up to t - n, so the "
            "left side is the mean over pairs of 1 - cos; sum |u_k - mean|^2 = sum |u_k|^2 - n |mean|^2 = n "
            "- t/n.",
        ),
        Claim(
            "mean is best",
            {"n > 0": n > 0},
            [q - 2 * f * t + n * f**2 >= q - t**2 / n],
            [
                Sign(
                    "complete the square",
                    (q - 2 * f * t + n * f**2) - (q - t**2 / n),
                    ">=",
                    n * (f - t / n) ** 2,
                )
            ],
            "One coordinate: q is the sum of its squares over the n vectors, t its sum, f that of the "
            "reference. Left the sum of (u - f)^2, right that of (u - mean)^2; add the coordinates.",
        ),
        Claim(
            "any reference",
            {"n > 1": n > 1, "n^2 - t <= n F": n**2 - t <= n * F},
            [F / (n - 1) >= MEAN],
            [
                Sign("n is positive", n, ">", plus(n - 1, 1)),
                Sign(
                    "put one into the other",
                    F / (n - 1) - MEAN,
                    ">=",
                    times(n * F - n**2 + t, 1 / (n * (n - 1))),
                ),
            ],
            "F = sum |u_k - f|^2, at least n - t/n by the claims before. With |cos| for cos the mean over "
            "pairs of 1 - |cos| is not larger.",
        ),
    ),
    second,
)
