"""A block of the weights at the constant mode leaves token diversity geometric."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Ne, Rational, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from .shared import quotient

PLACE = 50

a, b, c, d, lam, depth, D, N, C, c0, small = sympy.symbols("a b c d lambda l D N C c0 r_l", real=True)
large, x, p, T, lead, rest, s1, s2, r = sympy.symbols("R_l x p T lead rest sigma1 sigma2 r", real=True)
R = sympy.Symbol("R", real=True)


def _cubic(n: Any) -> Any:
    return 1 + n * p + n * (n - 1) * p**2 / 2 + n * (n - 1) * (n - 2) * p**3 / 6


#: two tokens, symmetric A, H = (mu, 0; 1, mu): the diverse part over r^(2l) and the mean over R^(2l)
_DIVERSE = (c + depth * lam * d / r) ** 2 + d**2
_MEAN = (a + depth * b / R) ** 2 + b**2
_GEOMETRIC = {
    "D >= 0": D >= 0,
    "D <= C (1 + l) r^l": C * (1 + depth) * small >= D,
    "c0 R^l > 0": c0 * large > 0,
    "N >= c0 R^l": c0 * large <= N,
}
_RANKS = {
    "sigma2 <= rest": s2 <= rest,
    "sigma1 >= lead - rest": s1 >= lead - rest,
    "2 rest < lead": 2 * rest < lead,
    "rest >= 0": rest >= 0,
}
_SAME_BLOCK = {
    "lambda != 0": Ne(lam, 0),
    "d != 0": Ne(d, 0),
    "r != 0": Ne(r, 0),
    "b != 0": Ne(b, 0),
    "R != 0": Ne(R, 0),
}


def second(s: Any) -> dict[str, Query]:
    D, N, C, c0, small, large, depth, p, T, W = s.Reals("D N C c0 r_l R_l l p T W")
    eps, lead, rest, s1, s2, x = s.Reals("eps lead rest sigma1 sigma2 x")
    a, b, c, d, lam, r, R, t, limit = s.Reals("a b c d lambda r R t A")
    cubic = 6 + 6 * depth * p + 3 * depth * (depth - 1) * p * p
    cubic = cubic + depth * (depth - 1) * (depth - 2) * p * p * p
    further = 6 + 6 * (depth + 1) * p + 3 * (depth + 1) * depth * p * p
    further = further + (depth + 1) * depth * (depth - 1) * p * p * p
    # t^2 r^2 times the diverse part, t^2 R^2 times the mean, t = 1/l
    diverse = (c * r * t + lam * d) * (c * r * t + lam * d) + d * d * r * r * t * t
    mean = (a * R * t + b) * (a * R * t + b) + b * b * R * R * t * t
    return {
        "bound": Query(
            {
                "D >= 0": D >= 0,
                "D <= C (1 + l) r^l": C * small + C * depth * small >= D,
                "c0 R^l > 0": c0 * large > 0,
                "N >= c0 R^l": c0 * large <= N,
            },
            (D * c0 * large) * (D * c0 * large)
            <= (C * small * (1 + depth)) * (C * small * (1 + depth)) * N * N,
        ),
        "cubic Bernoulli": Query(
            {"p > 0": p > 0, "l >= 2": depth >= 2, "T >= cubic": cubic <= 6 * T},
            6 * T * (1 + p) >= further,
        ),
        # W = x^l with x = 1/(1+p), T = (1+p)^l
        "limit": Query(
            {"x > 0": x > 0, "x < 1": x < 1},
            s.And(
                s.Implies(x * (1 + p) == 1, p > 0),
                s.Implies(
                    s.And(p > 0, depth >= 4),
                    cubic > 6 + depth * (depth - 1) * (depth - 2) * p * p * p,
                ),
                s.Implies(depth >= 4, 25 * (depth - 1) * (depth - 2) >= 6 * (1 + depth) * (1 + depth)),
                # a for (1 + l)^2, b for l p^3 and c for (l-1) (l-2)
                s.Implies(s.And(6 + b * c < 6 * T, 25 * c >= 6 * a, b > 0), a * b < 25 * T),
                s.Implies(s.And(W > 0, W * T == 1, b > 0, a * b < 25 * T, b * eps > 25), a * W < eps),
            ),
            same_symbols=False,
        ),
        "rank gap": Query(
            {
                "sigma2 <= rest": s2 <= rest,
                "sigma1 >= lead - rest": s1 + rest >= lead,
                "2 rest < lead": rest + rest < lead,
                "rest >= 0": rest >= 0,
            },
            s.And(s1 > 0, s2 * lead <= rest * s1 + rest * s1),
        ),
        "two tokens": Query(
            {
                "lambda != 0": lam != 0,
                "d != 0": d != 0,
                "r != 0": r != 0,
                "b != 0": b != 0,
                "R != 0": R != 0,
            },
            s.And(
                lam * d * R * lam * d * R > 0,
                b * r * b * r > 0,
                diverse == lam * d * lam * d + t * (2 * c * r * lam * d + t * r * r * (c * c + d * d)),
                mean == b * b + t * (2 * a * R * b + t * R * R * (a * a + b * b)),
                # the limit A of (mean r^2) / (diverse R^2)
                s.Implies(limit * lam * d * R * lam * d * R == b * r * b * r, limit > 0),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "defective.still_geometric",
    "If lambda = 1 dominates with a Jordan block of H alone (A diagonalizable), token diversity still "
    "closes geometrically up to powers of l; so does the rank gap wherever A or H has no block at the "
    "dominant pair.",
    r"t_{\mathrm{div}}(l) \le \left(\tfrac{C}{c_0}\right)^2 (1+l)^2 q^{2l} \to 0",
    "derived here",
    (
        Claim(
            "bound",
            _GEOMETRIC,
            [D**2 * (c0 * large) ** 2 <= (C * (1 + depth) * small) ** 2 * N**2],
            [
                Sign("N is positive", N, ">", plus(N - c0 * large, c0 * large)),
                Sign(
                    "both chains of bounds",
                    C * (1 + depth) * small * N - D * c0 * large,
                    ">=",
                    plus(times(C * (1 + depth) * small - D, N), times(D, N - c0 * large)),
                ),
                Sign("the smaller is not negative", D * c0 * large, ">=", times(D, c0 * large)),
                Sign(
                    "nor is the larger",
                    C * (1 + depth) * small * N,
                    ">=",
                    plus(C * (1 + depth) * small * N - D * c0 * large, D * c0 * large),
                ),
                Sign(
                    "squares",
                    (C * (1 + depth) * small) ** 2 * N**2 - D**2 * (c0 * large) ** 2,
                    ">=",
                    times(
                        C * (1 + depth) * small * N - D * c0 * large,
                        plus(C * (1 + depth) * small * N, D * c0 * large),
                    ),
                ),
            ],
            "D = |Pi_perp X_l|, N = |X_l|, r_l = r^l and R_l = R^l with R = |1 + mu| and r the largest "
            "other modulus, q = r/R; t_div = D^2/N^2. D <= |Z_l| for Z = X - 1 pi^T X, a sum of modes "
            "lambda != 1, each at most a constant times (1 + l) r^l (by the closed form of "
            "chain_weights; r > 0 may be taken); blocks of size q give (1 + l)^(q-1) in the same way. N "
            ">= c_0 R^l: pi^T X_l has the coefficient b R^l of z_2 exactly, in modulus, and |pi^T X_l| "
            "<= |pi| |X_l|.",
        ),
        Claim(
            "cubic Bernoulli",
            {"p > 0": p > 0, "l >= 2": depth >= 2, "T >= cubic": _cubic(depth) <= T},
            [T * (1 + p) >= _cubic(depth + 1)],
            [
                Identity(
                    "times 1 + p: the form at l + 1, and a remainder",
                    _cubic(depth) * (1 + p),
                    _cubic(depth + 1) + depth * (depth - 1) * (depth - 2) * p**4 / 6,
                ),
                Sign("l is positive", depth, ">", plus(depth - 2, 2)),
                Sign("so is l - 1", depth - 1, ">", plus(depth - 2, 1)),
                Sign(
                    "the remainder is not negative",
                    T * (1 + p) - _cubic(depth + 1),
                    ">=",
                    plus(
                        times(T - _cubic(depth), 1 + p),
                        times(Rational(1, 6), depth, depth - 1, depth - 2, p**4),
                    ),
                ),
            ],
            "(1+p)^l is at least 1 + l p + l (l-1)/2 p^2 + l (l-1) (l-2)/6 p^3: with equality at l = 2, "
            "and if at l, then at l + 1.",
        ),
        Claim(
            "limit",
            {"x > 0": x > 0, "x < 1": x < 1},
            [Tends("a square times a geometric sequence", (1 + depth) ** 2 * x**depth, depth, oo, 0)],
            [Tends("a square times a geometric sequence", (1 + depth) ** 2 * x**depth, depth, oo, 0)],
            "x = q^2, and 1/x = 1 + p: for l >= 4 the cubic bound makes (1+l)^2 x^l < 25/(l p^3).",
        ),
        Claim(
            "rank gap",
            _RANKS,
            [s1 > 0, s2 * lead <= 2 * rest * s1],
            [
                Sign("the leading part wins", lead - rest, ">", plus(lead - 2 * rest, rest)),
                Sign("sigma_1 is positive", s1, ">", plus(s1 - (lead - rest), lead - rest)),
                Sign("lead is positive", lead, ">", plus(lead - 2 * rest, 2 * rest)),
                Sign(
                    "at least half of the leading part is in sigma_1",
                    2 * s1 - lead,
                    ">",
                    plus(2 * (s1 - lead + rest), lead - 2 * rest),
                ),
                Sign(
                    "clear the denominators",
                    2 * rest * s1 - s2 * lead,
                    ">=",
                    plus(times(rest, 2 * s1 - lead), times(rest - s2, lead)),
                ),
            ],
            "X = L + E with L = v r of rank one and norm lead, E of norm rest: |sigma_i(X) - "
            "sigma_i(L)| <= |E| (Weyl), sigma_2(L) = 0. lead >= c R^l and rest <= C (1 + l)^k r^l, so "
            "sigma_2/sigma_1 <= 2 (C/c) (1 + l)^k q^l as soon as this is below 1. 1 - |cos| between "
            "rows is at most 1 - cos^2 = (minor of the two rows)^2 over the squares of their norms, and "
            "closes in the same way where v has no zero entry.",
        ),
        Claim(
            "two tokens",
            _SAME_BLOCK,
            [
                Tends("both grow like l^2", _MEAN / _DIVERSE, depth, oo, (b * r) ** 2 / (lam * d * R) ** 2),
                (b * r) ** 2 / (lam * d * R) ** 2 > 0,
            ],
            [
                Sign("what grows below", (lam * d * R) ** 2, ">"),
                Sign("the limit is positive", (b * r) ** 2 / (lam * d * R) ** 2, ">"),
                Tends("both grow like l^2", _MEAN / _DIVERSE, depth, oo, (b * r) ** 2 / (lam * d * R) ** 2),
            ],
            "n = d = 2, A symmetric with eigenvalues 1 and lambda, H = (mu, 0; 1, mu), r = 1 + lambda "
            "mu, R = 1 + mu, x = (r/R)^2 = q^2. By chain_weights the mean part is R^l (a + l b/R, b), "
            "the diverse part r^l (c + l lambda d/r, d), so x^l/t_div is their quotient and x^l, which "
            "vanishes: t_div/q^(2l) has a limit and no power of l is left, because the block of H is "
            "shared by both lambda.",
        ),
    ),
    second,
)
