"""Powers of a matrix in Schur form (Henrici)."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus

PLACE = 150

a, b, c, d, g, k, m, p, q, t, u, v, w, x, y = sympy.symbols("a b c d g k m p q t u v w x y", real=True)
depth = sympy.Symbol("l", real=True)


def second(z3: Any) -> dict[str, Query]:
    a, b, c, d, g, p, q, u = z3.Reals("a b c d g p q u")
    k, m, x, y, depth, v, t, w = z3.Reals("k m x y l v t w")
    return {
        "one more layer": Query(
            {
                "d >= 0": d >= 0,
                "g >= 0": g >= 0,
                "a <= p u g": p * u * g - a >= 0,
                "b <= q u d": q * u * d - b >= 0,
                "c <= d a + g b": d * a + g * b - c >= 0,
            },
            c <= p * u * d * g + q * u * d * g,
        ),
        "Pascal": Query(
            {"p = v (l - k + 1)": v * depth - v * k + v == p, "q = v k": v * k == q},
            v + v * depth == p + q,
        ),
        "long words": Query(
            {"x >= 0": x >= 0, "y >= x + k": y - x - k >= 0, "k >= m": k - m >= 0},
            z3.Not(m > y),
        ),
        "nilpotent part": Query(
            {
                "u <= a q": a * q - u >= 0,
                "v <= p b": p * b - v >= 0,
                "w <= p q": p * q - w >= 0,
                "t <= u + v + w": u + v - t >= -w,
            },
            z3.Not(t > a * q + p * b + p * q),
        ),
    }


_N1, _N2, _N3, _D1, _D2, _D3, _D4, _D5, _D6 = sympy.symbols("N1:4 D1:7", real=True)
_NIL = sympy.Matrix([[0, _N1, _N2], [0, 0, _N3], [0, 0, 0]])

STATEMENT = Statement(
    "bounds.henrici",
    "The l-th power of a diagonal D plus a strictly triangular N of size m has norm at most the sum over k "
    "< m of binom(l, k) delta^(l-k) nu^k, delta = |D|_2, nu = |N|_2. For layers in the Schur forms of A' "
    "(size n - 1) and H (size d) k stays below n + d - 2, and nu <= |D_A| |N_H| + |N_A| |D_H| + |N_A| |N_H|.",
    r"\|(D + N)^l\|_2 \le \sum_{k < m} \binom{l}{k} \delta^{l-k} \nu^k,\quad"
    r" \nu \le |D_A||N_H| + |N_A||D_H| + |N_A||N_H|",
    "derived here (after Henrici 1962)",
    (
        Claim(
            "one more layer",
            {
                "d >= 0": d >= 0,
                "g >= 0": g >= 0,
                "a <= p u g": a <= p * u * g,
                "b <= q u d": b <= q * u * d,
                "c <= d a + g b": c <= d * a + g * b,
            },
            [c <= (p + q) * u * d * g],
            [
                Sign(
                    "put one into the other",
                    (p + q) * u * d * g - c,
                    ">=",
                    plus(d * a + g * b - c, d * (p * u * g - a), g * (q * u * d - b)),
                )
            ],
            "Multiply (D + N)^l out into words of D and N; a is at least the sum of the norms of the words "
            "with k letters N, b of those with k - 1, c of the words of length l + 1 with k letters N. Such "
            "a word ends in D or in N, so c <= delta a + nu b. With d = delta, g = nu, u = delta^(l-k) "
            "nu^(k-1), p = binom(l, k) and q = binom(l, k-1), the bounds at depth l give that at l + 1, and "
            "l = 0 has the one empty word of norm 1. (k = 0: only D^l; k = l + 1: only N^(l+1).)",
        ),
        Claim(
            "Pascal",
            {"p = v (l - k + 1)": sympy.Eq(p - v * (depth - k + 1), 0), "q = v k": sympy.Eq(q - v * k, 0)},
            [sympy.Eq(p + q, v * (depth + 1))],
            [
                Sign(
                    "add",
                    p + q - v * (depth + 1),
                    "==",
                    plus(p - v * (depth - k + 1), q - v * k),
                )
            ],
            "v = l! / (k! (l - k + 1)!): then p = binom(l, k), q = binom(l, k-1), and v (l + 1) = binom(l + "
            "1, k).",
        ),
        Claim(
            "long words",
            {"x >= 0": x >= 0, "y >= x + k": y >= x + k, "k >= m": k >= m},
            [y >= m],
            [
                Identity(
                    "for size three",
                    _NIL * sympy.diag(_D1, _D2, _D3) * _NIL * sympy.diag(_D4, _D5, _D6) * _NIL,
                    sympy.zeros(3, 3),
                ),
                Sign("add up", y - m, ">=", plus(y - x - k, x, k - m)),
            ],
            "An entry of a word is a sum over paths from a grade x >= 0 to a grade y: D stays at its grade, "
            "N goes up by one at least. Grades run from 0 to m - 1, so a word with k >= m letters N has no "
            "path and is zero. The grade is the row number for a triangular N; for A' and H together it is "
            "the sum of two row numbers, of at most n - 2 and d - 1, hence m = n + d - 2.",
        ),
        Claim(
            "nilpotent part",
            {
                "u <= a q": u <= a * q,
                "v <= p b": v <= p * b,
                "w <= p q": w <= p * q,
                "t <= u + v + w": t <= u + v + w,
            },
            [t <= a * q + p * b + p * q],
            [
                Identity(
                    "a diagonal part and the rest",
                    (a + p) * (b + q),
                    a * b + (a * q + p * b + p * q),
                ),
                Sign(
                    "put one into the other",
                    a * q + p * b + p * q - t,
                    ">=",
                    plus(u + v + w - t, a * q - u, p * b - v, p * q - w),
                ),
            ],
            "The layer is I + A' (x) H^T. In Schur forms A' = D_A + N_A, H^T likewise, the product is "
            "diagonal plus N = D_A (x) N_H + N_A (x) D_H + N_A (x) N_H, a step up in one row number at "
            "least. a = |D_A|_2, b = |D_H|_2, p = |N_A|_2, q = |N_H|_2; u, v, w the norms of the three "
            "terms, |K (x) M|_2 <= |K|_2 |M|_2 since K (x) M = (K (x) I)(I (x) M); t = |N|_2 = nu. The "
            "diagonal has the entries rho, delta = max |rho|. Where A is diagonalizable, Pi_perp X_l = sum "
            "Pi_perp v_i u_i X_0 (I + lambda_i H)^l, each power bounded with A' = (lambda_i), so k < d; "
            "where H is, the same with rows and columns exchanged.",
        ),
    ),
    second,
)
