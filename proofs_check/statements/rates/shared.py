"""What is near its leading part from a depth on that can be named, and the slope that follows."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Rational, oo

from ...statement import Claim, Query
from ...steps import Identity, Sign, Tends, plus, times
from ..defective.shared import near, size

__all__ = [
    "EXAMPLE",
    "SIDES",
    "bernoulli",
    "d_is_positive",
    "deep_enough",
    "det",
    "leading",
    "leading_second",
    "n_is_positive",
    "rho11",
    "rho12",
    "rho21",
    "rho22",
    "sides_second",
    "slope_claims",
    "slope_second",
]

depth, p, T, W, K, eps, lead, rest, d1, d2 = sympy.symbols("l p T W K eps lead rest d1 d2", real=True)
n1, n2, D, N, L, k0, k1, m, l1, l2 = sympy.symbols("n1 n2 D N L k0 k1 m lambda1 lambda2", real=True)
u1, u2 = sympy.symbols("mu1 mu2", real=True)

bernoulli = Claim(
    "Bernoulli",
    {"p > 0": p > 0, "l >= 0": depth >= 0, "T >= 1 + l p": 1 + depth * p <= T},
    [T * (1 + p) >= 1 + (depth + 1) * p],
    [
        Sign(
            "times 1 + p, with l p^2 to spare",
            T * (1 + p) - 1 - (depth + 1) * p,
            ">=",
            plus(times(T - 1 - depth * p, 1 + p), times(depth, p**2)),
        )
    ],
    "T = (1+p)^l >= 1 + l p: with equality at l = 0, and if at l, then at l + 1. So 1/(1+p)^l vanishes.",
)
deep_enough = Claim(
    "deep enough",
    {
        "T >= 1 + l p": 1 + depth * p <= T,
        "W T = 1": Eq(W * T, 1),
        "W > 0": W > 0,
        "d1 > 0": d1 > 0,
        "l p d1 >= 2 K": depth * p * d1 >= 2 * K,
    },
    [d1 > 2 * K * W],
    [
        Sign(
            "T d1 exceeds 2 K",
            T * d1 - 2 * K,
            ">",
            plus(times(T - 1 - depth * p, d1), d1, depth * p * d1 - 2 * K),
        ),
        Sign(
            "divide by T",
            d1 - 2 * K * W,
            ">",
            plus(times(W, T * d1 - 2 * K), -times(d1, W * T - 1)),
        ),
    ],
    "What follows the leading part is at most K W of its modulus to the l, W = 1/(1+p)^l with 1/(1+p) the "
    "quotient of the next modulus to the leading one and T = (1+p)^l. From layer 2 K/(p d1) on it is less "
    "than half of the leading part.",
)
leading = Claim(
    "leading part",
    {
        "lead >= d1": d1 <= lead,
        "lead <= d2": lead <= d2,
        "2 rest <= d1": 2 * rest <= d1,
        "D >= lead - rest": lead - rest <= D,
        "D <= lead + rest": lead + rest >= D,
    },
    [d1 <= 2 * D, 3 * d2 >= 2 * D],
    [
        Sign(
            "from below",
            2 * D - d1,
            ">=",
            plus(2 * (D - lead + rest), 2 * (lead - d1), d1 - 2 * rest),
        ),
        Sign(
            "from above",
            3 * d2 - 2 * D,
            ">=",
            plus(2 * (lead + rest - D), d1 - 2 * rest, lead - d1, 3 * (d2 - lead)),
        ),
    ],
    "The modes of largest modulus add up to lead, divided by that modulus to the l. They are linearly "
    "independent and their coefficients keep their moduli, so lead stays between two positive constants d1 "
    "and d2, phases or not (d1 = d2 if there is one mode); the triangle inequality bounds the norm D of the "
    "whole.",
)


def leading_second(s: Any) -> dict[str, Query]:
    """Return the second forms of ``bernoulli``, ``deep_enough`` and ``leading``."""
    depth, p, T, W, K, d1, d2, lead, rest, D = s.Reals("l p T W K d1 d2 lead rest D")
    above = T - depth * p >= 1
    return {
        "Bernoulli": Query(
            {"p > 0": p > 0, "l >= 0": depth >= 0, "T >= 1 + l p": above},
            T + T * p - depth * p >= 1 + p,
        ),
        "deep enough": Query(
            {
                "T >= 1 + l p": above,
                "W T = 1": T * W == 1,
                "W > 0": W > 0,
                "d1 > 0": d1 > 0,
                "l p d1 >= 2 K": p * depth * d1 >= K + K,
            },
            d1 > K * W + K * W,
        ),
        "leading part": Query(
            {
                "lead >= d1": lead >= d1,
                "lead <= d2": d2 >= lead,
                "2 rest <= d1": rest + rest <= d1,
                "D >= lead - rest": D + rest >= lead,
                "D <= lead + rest": D - rest <= lead,
            },
            s.And(d1 <= D + D, d2 + d2 + d2 >= D + D),
        ),
    }


def slope_claims(times_l: int, reduction: str) -> tuple[Claim, Claim]:
    """Return the claims that a quantity between c f^l and C f^l has the slope ln f."""
    slope = times_l * m
    return (
        Claim(
            "slope",
            {
                "L >= ln c + l slope": k0 + depth * slope <= L,
                "L <= ln C + l slope": k1 + depth * slope >= L,
                "l eps > -ln c": depth * eps > -k0,
                "l eps > ln C": depth * eps > k1,
            },
            [depth * (slope + eps) > L, depth * (slope - eps) < L],
            [
                Sign(
                    "from above",
                    depth * (slope + eps) - L,
                    ">",
                    plus(k1 + depth * slope - L, depth * eps - k1),
                ),
                Sign(
                    "from below",
                    L - depth * (slope - eps),
                    ">",
                    plus(L - k0 - depth * slope, depth * eps + k0),
                ),
            ],
            reduction,
        ),
        Claim(
            "in the limit",
            {},
            [Tends("the constant does not matter", (k1 + depth * slope) / depth, depth, oo, slope)],
            [
                Identity("divide by l", (k1 + depth * slope) / depth, plus(slope, k1 / depth)),
                Tends("the constant does not matter", (k1 + depth * slope) / depth, depth, oo, slope),
            ],
            "The same for either constant: L/l lies between two sequences with one limit.",
        ),
    )


def slope_second(s: Any, times_l: int) -> dict[str, Query]:
    """Return the second forms of :func:`slope_claims`."""
    depth, L, k0, k1, m, eps = s.Reals("l L k0 k1 m eps")
    growth = depth * m if times_l == 1 else depth * m + depth * m
    return {
        "slope": Query(
            {
                "L >= ln c + l slope": L - growth >= k0,
                "L <= ln C + l slope": L - growth <= k1,
                "l eps > -ln c": depth * eps + k0 > 0,
                "l eps > ln C": k1 < eps * depth,
            },
            near(s, L, growth, eps * depth),
        ),
        "in the limit": Query(
            {},
            s.Implies(s.And(eps > 0, depth * eps > size(s, k1)), near(s, k1 + growth, growth, eps * depth)),
            same_symbols=False,
        ),
    }


SIDES = {
    "2 D >= d1": d1 <= 2 * D,
    "2 D <= 3 d2": 3 * d2 >= 2 * D,
    "2 N >= n1": n1 <= 2 * N,
    "2 N <= 3 n2": 3 * n2 >= 2 * N,
    "d1 > 0": d1 > 0,
    "n1 > 0": n1 > 0,
}
n_is_positive = Sign("N is positive", N, ">", plus(2 * N - n1, n1) / 2)
d_is_positive = Sign("D is positive", D, ">", plus(2 * D - d1, d1) / 2)


def sides_second(s: Any) -> dict[str, Any]:
    """Return SIDES for the solvers."""
    D, N, d1, d2, n1, n2 = s.Reals("D N d1 d2 n1 n2")
    return {
        "2 D >= d1": d1 - D <= D,
        "2 D <= 3 d2": d2 + d2 + d2 >= D + D,
        "2 N >= n1": n1 - N <= N,
        "2 N <= 3 n2": n2 + n2 + n2 >= N + N,
        "d1 > 0": d1 > 0,
        "n1 > 0": n1 > 0,
    }


def det(matrix: Any) -> Any:
    """Return the determinant of a 2 x 2 matrix."""
    return matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]


EXAMPLE = {"lambda1 = 1": Eq(l1, 1), "lambda2 = -1/2": Eq(l2, -Rational(1, 2)), "mu1 = 3": Eq(u1, 3)}
rho11, rho12, rho21, rho22 = 1 + l1 * u1, 1 + l1 * u2, 1 + l2 * u1, 1 + l2 * u2
