"""What remains of it for every attention close to t = 1.

>>> LOCAL_RATE.subs({s: 1, sigma: 0})
1/2
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..similarity.shared import zero
from .shared import over

PLACE = 60

s, sigma, r, eps, kappa, nu, C_next = sympy.symbols("s sigma r epsilon kappa nu C_next", real=True)
D_next, N, c, k, f, L = sympy.symbols("D_next N c k f L", real=True)

#: the rate that any P has at least as t goes to 1
LOCAL_RATE = s**2 * (1 - sigma**2) / (1 + s**2)
_most_diverse = 1 + s**2 * sigma**2
_lowest = (1 + s**2) * (1 - eps**2) - 2 * s**2 * kappa * eps
_near = 1 - _most_diverse / (_lowest + _most_diverse * eps**2)
_near_rate = sympy.Eq(r * eps**2 * (C_next + D_next), eps**2 * (C_next + D_next) - D_next)
_straight = sympy.sqrt(1 - eps**2)
_exact = 1 - (1 + s**2 * nu**2) / (
    1 - eps**2 + s**2 * (1 - eps**2 + 2 * k * eps * _straight + f * eps**2) + (1 + s**2 * nu**2) * eps**2
)


def _closes(z: Any) -> Query:
    """Return that 1 - N/(M - e g), with |g| <= G, is within delta of 1 - N/M for small e."""
    M, N, e, g, G, delta = z.Reals("M N e g G delta")
    small = z.And(e >= 0, g <= G, g >= -G, 2 * e * G <= M, 2 * N * e * G < delta * M * M)
    bottom = M - e * g
    within = z.And(bottom > 0, (N + delta * M) * bottom > N * M, (N - delta * M) * bottom < N * M)
    return Query({}, z.Or(M <= 0, N <= 0, delta <= 0, z.Not(small), within), same_symbols=False)


def second(z: Any) -> dict[str, Query]:
    c, k, f, s, sigma, kappa, eps, C_next, D_next, r, nu, L, N = z.Reals(
        "c k f s sigma kappa epsilon C_next D_next r nu L N"
    )
    square = s * s
    lowest = (1 + square) * (1 - eps * eps) - 2 * square * kappa * eps
    top = square - square * sigma * sigma
    no_rest = {"sigma = 0": sigma == 0}
    return {
        "constant part": Query(
            {
                "c >= 0": c >= 0,
                "c^2 + eps^2 = 1": c * c == 1 - eps * eps,
                "eps >= 0": eps >= 0,
                "kappa >= 0": kappa >= 0,
                "k >= -kappa c eps": k + kappa * c * eps >= 0,
                "f >= 0": f >= 0,
                "C' = c^2 + s^2 (c^2 + 2k + f)": C_next == c * c * (1 + square) + 2 * square * k + square * f,
            },
            C_next >= lowest,
        ),
        "rate": Query(
            {
                "eps > 0": eps > 0,
                "D' >= 0": D_next >= 0,
                "D' <= N eps^2": D_next <= N * eps * eps,
                "C' >= L": C_next >= L,
                "L > 0": L > 0,
                "r = 1 - t_div'/t_div": (1 - r) * eps * eps * (C_next + D_next) == D_next,
            },
            over(z, r, L + N * eps * eps - N, L + N * eps * eps, 0),
        ),
        "limit": _closes(z),
        "s = 1": Query(no_rest | {"s = 1": s == 1}, 2 * top == 1 + square),
        "s = 1/2": Query(no_rest | {"s = 1/2": 2 * s == 1}, 5 * top == 1 + square),
        "s = 2": Query(no_rest | {"s = 2": s == 2}, 5 * top == 4 + 4 * square),
        "one direction": _closes(z),
        "equality": Query({"nu^2 = sigma^2": nu * nu == sigma * sigma}, square - square * nu * nu == top),
        "otherwise": Query(
            {"s != 0": s != 0, "nu^2 < sigma^2": nu * nu < sigma * sigma}, square - square * nu * nu > top
        ),
    }


_limit = Tends("a quotient of polynomials, at eps = 0", _near, eps, 0, LOCAL_RATE)
_direction = s**2 * (1 - nu**2) / (1 + s**2)
_exactly = Tends("continuous at eps = 0", _exact, eps, 0, _direction)
_lower = plus(times(2 * s**2, k + kappa * c * eps), times(2 * s**2, kappa, eps, 1 - c), s**2 * f)


def _value(name: str, strength: sympy.Expr, rate: sympy.Expr) -> Claim:
    return Claim(
        name,
        {name: sympy.Eq(s, strength), "sigma = 0": sympy.Eq(sigma, 0)},
        [sympy.Eq(LOCAL_RATE, rate)],
        [Identity("put in", LOCAL_RATE, rate)],
    )


STATEMENT = Statement(
    "escalation.local",
    "For every P with P1 = 1, as t goes to 1 the escalation rate is in the end at least s^2 (1 - "
    "sigma^2)/(1 + s^2), with equality iff |Pi_perp P Pi_perp X| = sigma |Pi_perp X|: 1/2, 1/5 and 4/5 at s "
    "= 1, 1/2 and 2 if sigma = 0.",
    r"\liminf_{t\to1} r \ge \frac{s^2(1-\sigma^2)}{1+s^2}",
    "1/2 at s = 1: arXiv 2312.06182; the rest derived here",
    (
        Claim(
            "constant part",
            {
                "c >= 0": c >= 0,
                "c^2 + eps^2 = 1": sympy.Eq(c**2 + eps**2, 1),
                "eps >= 0": eps >= 0,
                "kappa >= 0": kappa >= 0,
                "k >= -kappa c eps": k >= -kappa * c * eps,
                "f >= 0": f >= 0,
                "C' = c^2 + s^2 (c^2 + 2k + f)": sympy.Eq(C_next, c**2 + s**2 * (c**2 + 2 * k + f)),
            },
            [C_next >= _lowest],
            [
                Sign("c is at most 1", 1 - c, ">=", plus(eps**2, -(c**2 + eps**2 - 1)) / (1 + c)),
                Sign(
                    "the cross term takes at most 2 s^2 kappa eps",
                    C_next - _lowest,
                    ">=",
                    plus(_lower, times(1 + s**2, c**2 + eps**2 - 1)),
                ),
            ],
            "|X| = 1, c = |Pi X|, eps = |Pi_perp X| = sqrt(1 - t). P1 = 1 gives Pi P X = Pi X + F with F = "
            "Pi P Pi_perp X, so C' = E|Pi Y|^2 = c^2 + s^2 |Pi X + F|^2; k is the inner product of Pi X and "
            "F, f = |F|^2, and kappa the spectral norm of Pi P Pi_perp: |k| <= kappa c eps by Cauchy and "
            "Schwarz.",
        ),
        Claim(
            "rate",
            {
                "eps > 0": eps > 0,
                "D' >= 0": D_next >= 0,
                "D' <= N eps^2": D_next <= N * eps**2,
                "C' >= L": C_next >= L,
                "L > 0": L > 0,
                "r = 1 - t_div'/t_div": _near_rate,
            },
            [r >= 1 - N / (L + N * eps**2)],
            [
                Sign("C' is positive", C_next, ">", plus(C_next - L, L)),
                Sign("so is |Y|^2", C_next + D_next, ">", plus(C_next, D_next)),
                Sign(
                    "and what it is compared with",
                    L + N * eps**2,
                    ">",
                    plus(L, N * eps**2 - D_next, D_next),
                ),
                Sign(
                    "more constant part and less diverse part: a higher rate",
                    r - 1 + N / (L + N * eps**2),
                    ">=",
                    plus(
                        plus(times(N * eps**2 - D_next, C_next), times(D_next, C_next - L))
                        / (eps**2 * (L + N * eps**2) * (C_next + D_next)),
                        zero(_near_rate)[0] / (eps**2 * (C_next + D_next)),
                    ),
                ),
            ],
            "D' = E|Pi_perp Y|^2, N = 1 + s^2 sigma^2: D' <= N eps^2 for any P with P1 = 1, by the claim on "
            "the diverse part in escalation.bound. L is the lowest C' of the claim before, positive for "
            "small eps.",
        ),
        Claim(
            "limit",
            {},
            [_limit],
            [_limit],
            "So r is at least a function of eps alone that tends to the local rate. Second form: that "
            "function is 1 - N/(M - e g) with N = 1 + s^2 sigma^2, M = 1 + s^2, e = eps, g = 2 s^2 kappa + "
            "(M - N) e, and |g| <= G = 2 s^2 kappa + M + N for e <= 1; it is within delta of 1 - N/M once e "
            "is small as stated.",
        ),
        _value("s = 1", sympy.Integer(1), sympy.Rational(1, 2)),
        _value("s = 1/2", sympy.Rational(1, 2), sympy.Rational(1, 5)),
        _value("s = 2", sympy.Integer(2), sympy.Rational(4, 5)),
        Claim(
            "one direction",
            {},
            [_exactly],
            [_exactly],
            "X = c U + eps V with fixed U = Pi U and V = Pi_perp V of length 1, c = sqrt(1 - eps^2): "
            "exactly, with nu = |Pi_perp P V|, D' = (1 + s^2 nu^2) eps^2 and C' as in the first claim, k "
            "and f those of U and V. Second form: as for the limit, with N = 1 + s^2 nu^2, g = (M - N) e - "
            "2 s^2 k c - s^2 f e and |g| <= G = M + N + 2 s^2 |k| + s^2 f for e <= 1.",
        ),
        Claim(
            "equality",
            {"nu^2 = sigma^2": sympy.Eq(nu**2 - sigma**2, 0)},
            [sympy.Eq(_direction, LOCAL_RATE)],
            [
                Sign(
                    "a multiple of 0",
                    _direction - LOCAL_RATE,
                    "==",
                    times(-(s**2) / (1 + s**2), nu**2 - sigma**2),
                )
            ],
            "|Pi_perp P Pi_perp X| = sigma |Pi_perp X| along this direction.",
        ),
        Claim(
            "otherwise",
            {"s != 0": sympy.Ne(s, 0), "nu^2 < sigma^2": nu**2 < sigma**2},
            [_direction > LOCAL_RATE],
            [
                Sign("a square that is not 0", s**2, ">"),
                Sign(
                    "a positive product",
                    _direction - LOCAL_RATE,
                    ">",
                    times(s**2 / (1 + s**2), sigma**2 - nu**2),
                ),
            ],
            "Along every other direction the limit of the rate is higher.",
        ),
    ),
    second,
)
