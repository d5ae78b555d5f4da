"""Diagonalizable matrices: condition numbers in front of the largest modulus."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from .shared import over

PLACE = 30

a, b, c, d, e, f, g, m, r, s, t, w, x, y, w1 = sympy.symbols("a b c d e f g m r s t w x y w1", real=True)
w2, w3, x1, x2, x3, B, F, K = sympy.symbols("w2 w3 x1 x2 x3 B F K", real=True)


def second(z3: Any) -> dict[str, Query]:
    r, t, K, a, b, x, s, y, c, d = z3.Reals("r t K a b x s y c d")
    w1, w2, w3, x1, x2, x3, m = z3.Reals("w1 w2 w3 x1 x2 x3 m")
    f, e, g, B, w, F = z3.Reals("f e g B w F")
    weighted = w1 * x1 + w2 * x2 + w3 * x3
    rest = (1 - 3 * w1) * (x1 - m) + (1 - 3 * w2) * (x2 - m) + (1 - 3 * w3) * (x3 - m)
    return {
        "largest factor": Query(
            {"0 <= r": r >= 0, "r <= K": r <= K, "0 <= t": t >= 0, "t <= K": t <= K},
            r * r * a * a + t * t * b * b <= K * K * a * a + K * K * b * b,
        ),
        "condition numbers": Query(
            {
                "0 <= s": s >= 0,
                "0 <= r": r >= 0,
                "x <= s y": s * y >= x,
                "y <= r c": r * c >= y,
                "c <= t d": t * d >= c,
            },
            x <= s * t * r * d,
        ),
        "row mean": Query(
            {"w1 + w2 + w3 = 1": 1 - w1 - w2 == w3},
            x1 + x2 + x3 == 3 * weighted + rest,
        ),
        "constant part": Query(
            {
                "w > 0": w > 0,
                "r > 0": r > 0,
                "F <= f w": f * w >= F,
                "f - e <= m": m + e >= f,
                "e <= g B": g * B >= e,
            },
            over(z3, w, r * F, r * m * w + r * g * B * w),
        ),
    }


STATEMENT = Statement(
    "bounds.condition",
    "Diagonalizable A and H: ||Pi_perp X_l|| <= B_l := kappa_2(V) kappa_2(W) max_(i >= 2, j) |rho_ij|^l "
    "||X_0 - 1 pi^T X_0||, and ||Pi X_l|| >= sqrt(n) max_j |rho_1j|^l |pi^T X_0 w_j| / |w_j| - "
    "sqrt(n) |1/n - pi| B_l.",
    r"\|\Pi_\perp X_l\| \le B_l = \kappa_2(V) \kappa_2(W) \max_{i \ge 2, j} |\rho_{ij}|^l"
    r"\, \|X_0 - 1 \pi^T X_0\|,\quad \|\Pi X_l\| \ge \sqrt{n} \max_j |\rho_{1j}|^l"
    r" \frac{|\pi^T X_0 w_j|}{|w_j|} - \sqrt{n}\, |1/n - \pi|\, B_l",
    "derived here",
    (
        Claim(
            "largest factor",
            {"0 <= r": r >= 0, "r <= K": r <= K, "0 <= t": t >= 0, "t <= K": t <= K},
            [(r * a) ** 2 + (t * b) ** 2 <= K**2 * (a**2 + b**2)],
            [
                Sign("the largest factor is not negative", K, ">=", plus(K - r, r)),
                Sign(
                    "entry by entry",
                    K**2 * (a**2 + b**2) - (r * a) ** 2 - (t * b) ** 2,
                    ">=",
                    plus(a**2 * (K - r) * (K + r), b**2 * (K - t) * (K + t)),
                ),
            ],
            "a, b are moduli of two coefficients of X_0 - 1 pi^T X_0, r and t the l-th powers of the moduli "
            "of their factors, K the largest; more entries, more terms. So ||Y_l|| <= K ||Y_0||.",
        ),
        Claim(
            "condition numbers",
            {
                "0 <= s": s >= 0,
                "0 <= r": r >= 0,
                "x <= s y": x <= s * y,
                "y <= r c": y <= r * c,
                "c <= t d": c <= t * d,
            },
            [x <= s * t * r * d],
            [
                Sign(
                    "put one into the other",
                    s * t * r * d - x,
                    ">=",
                    plus(s * y - x, s * (r * c - y), s * r * (t * d - c)),
                )
            ],
            "X_l - 1 pi^T X_l = V Y_l Z, where Y_l = rho^l o Y_0 and Y_0 = U (X_0 - 1 pi^T X_0) W is zero in "
            "its first row, since u_1 is a multiple of pi. x = ||Pi_perp X_l|| = ||Pi_perp V Y_l Z|| <= "
            "||V Y_l Z||; y = ||Y_l||, c = ||Y_0||, d = ||X_0 - 1 pi^T X_0||; s = |V|_2 |Z|_2 and "
            "t = |U|_2 |W|_2 by bounds.norms, r the largest factor. s t = |V|_2 |V^-1|_2 |W|_2 |W^-1|_2 is "
            "the product of the two condition numbers.",
        ),
        Claim(
            "row mean",
            {"w1 + w2 + w3 = 1": sympy.Eq(w1 + w2 + w3, 1)},
            [
                sympy.Eq(
                    (x1 + x2 + x3) / 3,
                    w1 * x1
                    + w2 * x2
                    + w3 * x3
                    + (sympy.Rational(1, 3) - w1) * (x1 - m)
                    + (sympy.Rational(1, 3) - w2) * (x2 - m)
                    + (sympy.Rational(1, 3) - w3) * (x3 - m),
                )
            ],
            [
                Sign(
                    "a vector common to all tokens drops out",
                    (x1 + x2 + x3) / 3
                    - (w1 * x1 + w2 * x2 + w3 * x3)
                    - (sympy.Rational(1, 3) - w1) * (x1 - m)
                    - (sympy.Rational(1, 3) - w2) * (x2 - m)
                    - (sympy.Rational(1, 3) - w3) * (x3 - m),
                    "==",
                    times(-m, w1 + w2 + w3 - 1),
                )
            ],
            "One feature of three tokens, w = pi, m the mean of the tokens (any m will do): the row mean is "
            "pi^T X + (1/n - pi)^T Pi_perp X. More tokens, more terms of the same form.",
        ),
        Claim(
            "constant part",
            {
                "w > 0": w > 0,
                "r > 0": r > 0,
                "F <= f w": f * w >= F,
                "f - e <= m": f - e <= m,
                "e <= g B": e <= g * B,
            },
            [r * m >= r * F / w - r * g * B],
            [
                Sign(
                    "put one into the other",
                    r * m - r * F / w + r * g * B,
                    ">=",
                    plus(r * (m - f + e), r * (f * w - F) / w, r * (g * B - e)),
                )
            ],
            "r = sqrt(n), m the length of the row mean, so ||Pi X|| = r m. F = |pi^T X_l w_j| = |rho_1j|^l "
            "|pi^T X_0 w_j|, since pi^T A = pi^T and H w_j = mu_j w_j; f = |pi^T X_l|, w = |w_j|, and "
            "F <= f w by Cauchy-Schwarz. By the claim before and the reverse triangle inequality m >= f - e "
            "with e = |(1/n - pi)^T Pi_perp X_l| <= g B, g = |1/n - pi| and B any bound of ||Pi_perp X_l||. "
            "For symmetric A, g = 0. Any j may be taken, hence the largest. The bound without a basis of "
            "eigenvectors of A or H ends in the same way: H has an eigenvector w_j at every eigenvalue.",
        ),
    ),
    second,
)
