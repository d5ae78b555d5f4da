r"""How fast each gap closes: token diversity, angles, rank, effective rank and norm, with explicit constants.

X_l is a sum of modes rho_ij^l c_ij v_i z_j with A and H diagonalizable, X_0 generic and one dominant pair of
modulus R. A gap is a quotient of norms or of 2 x 2 minors, and each of these is near its leading part, a
modulus to the power l, as soon as that is twice what follows. q_tok is the factor of the root of token
diversity, q_rank that of the minors.

>>> Q_TOK, Q_RANK
(1/8, 3/32)
>>> PRODUCTS
(lambda1 - lambda2)*(mu1 - mu2)
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Ne, Rational, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..defective.shared import equal, near, quotient, size

__all__ = ["PRODUCTS", "Q_RANK", "Q_TOK", "STATEMENTS", "tok_rank"]

depth = sympy.Symbol("l", real=True)
p, T, W, K, x, eps = sympy.symbols("p T W K x eps", real=True)
lead, rest, d1, d2, n1, n2, D, N, Q, t = sympy.symbols("lead rest d1 d2 n1 n2 D N Q t", real=True)
L, k0, k1, m = sympy.symbols("L k0 k1 m", real=True)
l1, l2, u1, u2 = sympy.symbols("lambda1 lambda2 mu1 mu2", real=True)


# --- steps that several statements share

_bernoulli = Claim(
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
_deep_enough = Claim(
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
_leading = Claim(
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


def _shared(s: Any) -> dict[str, Query]:
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


def _slope(times_l: int, reduction: str) -> tuple[Claim, Claim]:
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


def _slope_second(s: Any, times_l: int) -> dict[str, Query]:
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


# --- token_diversity

_SIDES = {
    "2 D >= d1": d1 <= 2 * D,
    "2 D <= 3 d2": 3 * d2 >= 2 * D,
    "2 N >= n1": n1 <= 2 * N,
    "2 N <= 3 n2": 3 * n2 >= 2 * N,
    "d1 > 0": d1 > 0,
    "n1 > 0": n1 > 0,
}
_n_positive = Sign("N is positive", N, ">", plus(2 * N - n1, n1) / 2)
_d_positive = Sign("D is positive", D, ">", plus(2 * D - d1, d1) / 2)


def _sides(s: Any) -> dict[str, Any]:
    D, N, d1, d2, n1, n2 = s.Reals("D N d1 d2 n1 n2")
    return {
        "2 D >= d1": d1 - D <= D,
        "2 D <= 3 d2": d2 + d2 + d2 >= D + D,
        "2 N >= n1": n1 - N <= N,
        "2 N <= 3 n2": n2 + n2 + n2 >= N + N,
        "d1 > 0": d1 > 0,
        "n1 > 0": n1 > 0,
    }


def _token_second(s: Any) -> dict[str, Query]:
    D, N, Q, t, d1, d2, n1, n2 = s.Reals("D N Q t d1 d2 n1 n2")
    return (
        _shared(s)
        | _slope_second(s, 2)
        | {
            "two sides": Query(
                _sides(s) | {"t N^2 = Q^2 D^2": (N * N) * t == (Q * D) * (Q * D)},
                s.And(
                    (d1 * Q) * (d1 * Q) <= (3 * n2) * (3 * n2) * t, n1 * n1 * t <= (3 * d2 * Q) * (3 * d2 * Q)
                ),
            )
        }
    )


_token = Claim(
    "two sides",
    _SIDES | {"t N^2 = Q^2 D^2": Eq(t * N**2, Q**2 * D**2)},
    [9 * n2**2 * t >= d1**2 * Q**2, n1**2 * t <= 9 * d2**2 * Q**2],
    [
        _n_positive,
        _d_positive,
        Sign("t is not negative", t, ">=", plus(t * N**2 - Q**2 * D**2, Q**2 * D**2) / N**2),
        Sign("N from above", 9 * n2**2 - 4 * N**2, ">=", times(3 * n2 - 2 * N, plus(3 * n2 - 2 * N, 4 * N))),
        Sign("N from below", 4 * N**2 - n1**2, ">=", times(2 * N - n1, plus(2 * N, n1))),
        Sign("D from above", 9 * d2**2 - 4 * D**2, ">=", times(3 * d2 - 2 * D, plus(3 * d2 - 2 * D, 4 * D))),
        Sign("D from below", 4 * D**2 - d1**2, ">=", times(2 * D - d1, plus(2 * D, d1))),
        Sign(
            "t from below",
            9 * n2**2 * t - d1**2 * Q**2,
            ">=",
            plus(
                times(t, 9 * n2**2 - 4 * N**2),
                times(4, t * N**2 - Q**2 * D**2),
                times(Q**2, 4 * D**2 - d1**2),
            ),
        ),
        Sign(
            "t from above",
            9 * d2**2 * Q**2 - n1**2 * t,
            ">=",
            plus(
                times(t, 4 * N**2 - n1**2),
                -times(4, t * N**2 - Q**2 * D**2),
                times(Q**2, 9 * d2**2 - 4 * D**2),
            ),
        ),
    ],
    "D = |Pi_perp X_l|/r^l, r > 0, and N = |X_l|/R^l, each within its leading part by the claim before "
    "(Pi_perp v_i, lambda_i != 1, stay linearly independent, because no combination of these v_i is "
    "constant); Q = q_tok^l, t = t_div = Q^2 D^2/N^2. With one leading mode each, d1 = d2 and n1 = n2 and t "
    "is within a factor 9 of (d1/n1)^2 q_tok^(2l).",
)


# --- hfc_lfc and low_part

h, M, m1, m2 = sympy.symbols("h M m1 m2", real=True)


def _hfc_second(s: Any) -> dict[str, Query]:
    h, t = s.Reals("h t")
    return {
        "within a factor two": Query(
            {"h (1 - t) = t": h - h * t == t, "t > 0": t > 0, "t <= 1/2": t + t <= 1},
            s.And(h > t, h <= t + t),
        )
    }


a11, a12, a21, a22, y1, y2 = sympy.symbols("a11 a12 a21 a22 y1 y2", real=True)


def _low_second(s: Any) -> dict[str, Query]:
    D, N, Q, h, d1, d2, n1, n2 = s.Reals("D N Q h d1 d2 n1 n2")
    a11, a12, a21, a22, y1, y2 = s.Reals("a11 a12 a21 a22 y1 y2")
    return _shared(s) | {
        "the mean is kept": Query(
            {"a11 + a21 = 1": a21 == 1 - a11, "a12 + a22 = 1": a22 == 1 - a12},
            (a11 + a21) * y1 + (a12 + a22) * y2 == y1 + y2,
        ),
        "two sides": Query(
            _sides(s) | {"h N = Q D": N * h == D * Q, "Q > 0": Q > 0},
            s.And(3 * n2 * h >= d1 * Q, n1 * h <= 3 * d2 * Q),
        ),
    }


_LOW_A = Matrix([[1, 4, 1], [4, 1, 1], [2, 2, 2]]) / 6
_V = (Matrix([1, 1, 1]), Matrix([1, -1, 0]), Matrix([1, 1, -4]))
P1, P2, P3 = sympy.symbols("P1 P2 P3", real=True)
_LOW_X = P1 * _V[0] + P2 * _V[1] + P3 * _V[2]
_LOW_NEXT = P1 * _V[0] / 2 + 5 * P2 * _V[1] / 4 + 11 * P3 * _V[2] / 12
_MEAN = sum(_LOW_X) / 3
_LOW_RATIO = 3 * (Rational(6, 11) ** depth - Rational(2, 3)) ** 2 / (2 + 50 * Rational(121, 225) ** depth / 3)


def _low_false_second(s: Any) -> dict[str, Query]:
    P1, P2, P3, x, y, w, T, p, depth = s.Reals("P1 P2 P3 x y w T p l")
    l1, l2, m1 = s.Reals("lambda1 lambda2 mu1")
    first, second, third = P1 + P2 + P3, P1 - P2 + P3, P1 - 4 * P3
    total = first + second + third
    return {
        # twelve times a layer
        "one more layer": Query(
            {"mu1 = -1/2": m1 + m1 == -1},
            s.And(
                12 * first + 2 * m1 * (first + 4 * second + third) == 6 * P1 + 15 * P2 + 11 * P3,
                12 * second + 2 * m1 * (4 * first + second + third) == 6 * P1 - 15 * P2 + 11 * P3,
                12 * third + 4 * m1 * total == 6 * P1 - 44 * P3,
            ),
        ),
        # three times the distances from the mean; the constant part drops out
        "parts": Query(
            {},
            (3 * P2 + 5 * P3) * (3 * P2 + 5 * P3)
            + (3 * P2 - 5 * P3) * (3 * P2 - 5 * P3)
            + (3 * -4 * P3 + 2 * P3) * (3 * -4 * P3 + 2 * P3)
            == 18 * P2 * P2 + 150 * P3 * P3,
        ),
        # x = (6/11)^l, y = (121/225)^l; 3 (x - 2/3)^2 over 2 + 50 y/3 against 2/3
        "ratio": Query(
            {},
            s.And(
                9 * 3 * (x - s.RealVal(2) / 3) * (x - s.RealVal(2) / 3) - 6 * (2 + 50 * y / 3)
                == 27 * x * x - 36 * x - 100 * y,
                s.Implies(s.And(y > 0), 2 + 50 * y / 3 > 2),
                s.Implies(s.And(p > 0, 1 + depth * p <= T, depth > 0, w > 0, w * T == 1), w * depth * p < 1),
                quotient(s),
            ),
            same_symbols=False,
        ),
        "moduli": Query(
            {"mu1 = -1/2": m1 + m1 == -1, "lambda1 = -1/2": l1 + l1 == -1, "lambda2 = 1/6": 6 * l2 == 1},
            s.And(
                (1 + m1) * (1 + m1) < (1 + m1 * l2) * (1 + m1 * l2),
                (1 + m1 * l2) * (1 + m1 * l2) < (1 + m1 * l1) * (1 + m1 * l1),
            ),
        ),
    }


# --- rank_gap

c11, c12, c21, c22 = sympy.symbols("c11 c12 c21 c22", real=True)
r11, r12, r21, r22 = sympy.symbols("P11 P12 P21 P22", real=True)
v11, v12, v21, v22 = sympy.symbols("v11 v12 v21 v22", real=True)
z11, z12, z21, z22 = sympy.symbols("z11 z12 z21 z22", real=True)
s1, s2, F, q, A, B, R, g = sympy.symbols("sigma1 sigma2 F q A B R g", real=True)
c, mm = sympy.symbols("c m", real=True)
#: rho11 rho22 - rho12 rho21, never zero for different eigenvalues
PRODUCTS = (l1 - l2) * (u1 - u2)
_VM = Matrix([[v11, v12], [v21, v22]])
_YM = Matrix([[c11 * r11, c12 * r12], [c21 * r21, c22 * r22]])
_ZM = Matrix([[z11, z12], [z21, z22]])
_XM = _VM * _YM * _ZM


def _det(matrix: Any) -> Any:
    return matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]


_ranks = Claim(
    "norms",
    {"sigma2 >= 0": s2 >= 0, "F >= sigma1^2": s1**2 <= F, "F <= m sigma1^2": mm * s1**2 >= F},
    [s1 * (s1 * s2) <= s2 * F, s2 * F <= mm * s1 * (s1 * s2)],
    [
        Sign("from below", s2 * F - s1 * (s1 * s2), ">=", times(s2, F - s1**2)),
        Sign("from above", mm * s1 * (s1 * s2) - s2 * F, ">=", times(s2, mm * s1**2 - F)),
    ],
    "F = |X|_F^2 is the sum of the squares of m = min(n, d) singular values of at most sigma_1, and sigma_1 "
    "sigma_2 is |det X| for 2 x 2, in general the norm of the second compound matrix: sigma_1 sigma_2/F <= "
    "sigma_2/sigma_1 <= m sigma_1 sigma_2/F.",
)


def _rank_second(s: Any) -> dict[str, Query]:
    l1, l2, m1, m2 = s.Reals("lambda1 lambda2 mu1 mu2")
    c11, c12, c21, c22, r11, r12, r21, r22 = s.Reals("c11 c12 c21 c22 P11 P12 P21 P22")
    v11, v12, v21, v22, z11, z12, z21, z22 = s.Reals("v11 v12 v21 v22 z11 z12 z21 z22")
    s1, s2, F, q, A, B, R, g, Q, m = s.Reals("sigma1 sigma2 F q A B R g Q m")
    D, N, d1, d2, n1, n2 = s.Reals("D N d1 d2 n1 n2")
    y11, y12, y21, y22 = c11 * r11, c12 * r12, c21 * r21, c22 * r22
    # X = sum over i, j of v_i y_ij z_j
    x11 = v11 * y11 * z11 + v11 * y12 * z21 + v12 * y21 * z11 + v12 * y22 * z21
    x12 = v11 * y11 * z12 + v11 * y12 * z22 + v12 * y21 * z12 + v12 * y22 * z22
    x21 = v21 * y11 * z11 + v21 * y12 * z21 + v22 * y21 * z11 + v22 * y22 * z21
    x22 = v21 * y11 * z12 + v21 * y12 * z22 + v22 * y21 * z12 + v22 * y22 * z22
    return _shared(s) | {
        "minors multiply": Query(
            {},
            x11 * x22 - x12 * x21
            == (v11 * v22 - v12 * v21)
            * (z11 * z22 - z12 * z21)
            * (c11 * c22 * (r11 * r22) - c12 * c21 * (r12 * r21)),
        ),
        "products differ": Query(
            {"lambda1 != lambda2": l1 != l2, "mu1 != mu2": m1 != m2},
            s.And(
                (1 + l1 * m1) * (1 + l2 * m2) - (1 + l1 * m2) * (1 + l2 * m1) == (l1 - l2) * (m1 - m2),
                (l1 - l2) * (m1 - m2) != 0,
            ),
        ),
        "norms": Query(
            {
                "sigma2 >= 0": s2 >= 0,
                "F >= sigma1^2": s1 * s1 <= F,
                "F <= m sigma1^2": m * s1 * s1 >= F,
            },
            s.And(s1 * s1 * s2 <= F * s2, F * s2 <= s1 * s1 * s2 * m),
        ),
        "other minors": Query(
            {
                "A >= 0": A >= 0,
                "A <= R": A <= R,
                "B >= 0": B >= 0,
                "B <= q R": R * q >= B,
            },
            s.And(A * B <= R * B, q * R * R >= A * B),
        ),
        "two sides": Query(
            _sides(s)
            | {
                "g F >= Q D": F * g >= D * Q,
                "g F <= m Q D": F * g <= D * m * Q,
                "m > 0": m > 0,
                "F = N^2": N * N == F,
                "Q > 0": Q > 0,
            },
            s.And(2 * d1 * Q <= 9 * n2 * n2 * g, n1 * n1 * g <= 6 * m * d2 * Q),
        ),
        "limit": Query(
            {"q > 0": q > 0, "q < 1": q < 1},
            s.And(
                s.Implies(q * (1 + F) == 1, F > 0),
                s.Implies(
                    s.And(F > 0, D > 0, Q > 0, Q * N == 1, N >= 1 + D * F, g > 0, D * F * g > size(s, B)),
                    near(s, A - B * Q, A, g),
                ),
            ),
            same_symbols=False,
        ),
    }


# --- rank_gap_example

_EX_A = Matrix([[1, 3], [3, 1]]) / 4
pa, pb, pc = sympy.symbols("P4 P3 Ph", real=True)
_EX_X = Matrix([[3 * pa / 2 - pc / 2, 3 * pb / 2], [3 * pa / 2 + pc / 2, 3 * pb / 2]])
_EX_NEXT = _EX_X.subs({pa: 4 * pa, pb: 3 * pb, pc: -pc / 2}, simultaneous=True)
_EX_SIZE = (9 * pa**2 + 9 * pb**2 + pc**2) / 2
_EX_LAYER = _EX_X + _EX_A * _EX_X * sympy.diag(u1, u2)
_EX_RATIO = Rational(3, 2) / (Rational(9, 2) * (1 + Rational(9, 16) ** depth) + Rational(1, 64) ** depth / 2)


def tok_rank(big: Any, along_row: Any, along_column: Any, across: Any) -> tuple[Any, Any]:
    """Return q_tok and q_rank from moduli: the dominant one, at lambda = 1, and the largest others.

    Those in its row (lambda = 1), in its column (the same mu) and beside both, in this order.

    >>> tok_rank(4, 3, Rational(1, 2), 0)
    (1/8, 3/32)
    """
    big, along_row, along_column, across = map(sympy.sympify, (big, along_row, along_column, across))
    rank = sympy.Max(big * across, along_row * along_column) / big**2
    return sympy.Max(along_column, across) / big, rank


#: of the example lambda = {1, -1/2}, mu = {3, 2}
Q_TOK, Q_RANK = tok_rank(4, 3, Rational(1, 2), 0)


def _example_second(s: Any) -> dict[str, Query]:
    pa, pb, pc, x, y, w, T, p, depth = s.Reals("P4 P3 Ph x y w T p l")
    l1, l2, m1, m2 = s.Reals("lambda1 lambda2 mu1 mu2")
    low, high, col = 3 * pa - pc, 3 * pa + pc, 3 * pb  # twice the entries
    return {
        "which minor": Query(
            {"lambda1 = 1": l1 == 1, "lambda2 = -1/2": 2 * l2 == -1, "mu1 = 3": m1 == 3, "mu2 = 2": m2 == 2},
            s.And(
                32 * (1 + l1 * m2) * (1 + l2 * m1) == -3 * (1 + l1 * m1) * (1 + l1 * m1),
                (1 + l1 * m1) * (1 + l2 * m2) == 0,
            ),
        ),
        # eight times a layer
        "one more layer": Query(
            {"mu1 = 3": m1 == 3, "mu2 = 2": m2 == 2},
            s.And(
                4 * low + m1 * (low + 3 * high) == 4 * (12 * pa + pc / 2),
                4 * high + m1 * (3 * low + high) == 4 * (12 * pa - pc / 2),
                4 * col + m2 * (col + 3 * col) == 4 * 9 * pb,
            ),
        ),
        "minor and norm": Query(
            {},
            s.And(
                low * col - col * high == -6 * pb * pc,
                low * low + high * high + 2 * col * col == 2 * (9 * pa * pa + 9 * pb * pb + pc * pc),
            ),
        ),
        # x = (9/16)^l and y = (1/64)^l; 3/2 over 9/2 + 9 x/2 + y/2 against 1/3
        "limit": Query(
            {},
            s.And(
                9 - 2 * (s.RealVal(9) / 2 + 9 * x / 2 + y / 2) == 0 - 9 * x - y,
                s.Implies(s.And(x > 0, y > 0), s.RealVal(9) / 2 + 9 * x / 2 + y / 2 > s.RealVal(9) / 2),
                s.Implies(s.And(p > 0, 1 + depth * p <= T, depth > 0, w > 0, w * T == 1), w * depth * p < 1),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


# --- angles_faster

b, r, w, a = sympy.symbols("b r w a", real=True)
_MODULI = {"R > 0": R > 0}
_EXAMPLE = {"lambda1 = 1": Eq(l1, 1), "lambda2 = -1/2": Eq(l2, -Rational(1, 2)), "mu1 = 3": Eq(u1, 3)}
_rho11, _rho12, _rho21, _rho22 = 1 + l1 * u1, 1 + l1 * u2, 1 + l2 * u1, 1 + l2 * u2


def _faster_second(s: Any) -> dict[str, Query]:
    R, a, b, w, M, x, p, T, W, depth, eps = s.Reals("R a b w M x p T W l eps")
    l1, l2, m1, m2 = s.Reals("lambda1 lambda2 mu1 mu2")
    example = {"lambda1 = 1": l1 == 1, "lambda2 = -1/2": l2 + l2 == -1, "mu1 = 3": m1 == 3}
    r11, r12, r21, r22 = 1 + l1 * m1, 1 + l1 * m2, 1 + l2 * m1, 1 + l2 * m2
    return {
        "never slower": Query(
            {"R > 0": R > 0, "a <= R": a <= R, "b >= 0": b >= 0, "b <= M": b <= M, "w <= M": w <= M},
            s.And(w * R <= M * R, b * a <= M * R),
        ),
        "strictly": Query(
            {"R > 0": R > 0, "a < R": a < R, "w >= 0": w >= 0, "w < b": b > w},
            s.And(w * R < b * R, b * a < b * R),
        ),
        "equal": Query(
            {"a <= R": a <= R, "b >= 0": b >= 0, "b <= w": w >= b, "R > 0": R > 0},
            b * a <= w * R,
        ),
        "quotient": Query(
            {"x > 0": x > 0, "x < 1": x < 1},
            s.And(
                s.Implies(x * (1 + p) == 1, p > 0),
                s.Implies(
                    s.And(
                        p > 0, depth > 0, W > 0, W * T == 1, 1 + depth * p <= T, depth * p * eps >= 1, eps > 0
                    ),
                    near(s, W, s.RealVal(0), eps),
                ),
            ),
            same_symbols=False,
        ),
        "an example that is faster": Query(
            example | {"mu2 = 2": m2 == 2},
            s.And(
                r22 * r22 < r21 * r21,
                r12 * r12 < r11 * r11,
                r12 * r21 * r12 * r21 * 16 == 9 * r11 * r21 * r11 * r21,
            ),
        ),
        "an example that is not": Query(
            example | {"mu2 = -1": m2 == -1},
            s.And(
                r21 * r21 < r22 * r22,
                r22 * r22 < r11 * r11,
                r12 * r21 * r12 * r21 < r11 * r22 * r11 * r22,
            ),
        ),
    }


# --- cosine_gap

x1, x2, N1, N2, M2 = sympy.symbols("x1 x2 N1 N2 M2", real=True)


def _cosine_second(s: Any) -> dict[str, Query]:
    x1, x2, y1, y2, c, N, N1, N2, M2 = s.Reals("x1 x2 y1 y2 c N N1 N2 M2")
    return {
        "in a plane": Query(
            {},
            x1 * x1 * y1 * y1 + x1 * x1 * y2 * y2 + x2 * x2 * y1 * y1 + x2 * x2 * y2 * y2
            == (x1 * y1 + x2 * y2) * (x1 * y1 + x2 * y2) + (x1 * y2 - x2 * y1) * (x1 * y2 - x2 * y1),
        ),
        "one pair": Query(
            {
                "c >= 0": c >= 0,
                "c <= 1": c <= 1,
                "N1 > 0": N1 > 0,
                "N >= N1": N >= N1,
                "N <= N2": N <= N2,
                "M2 = N (1 - c^2)": N - N * c * c == M2,
            },
            s.And(N1 - N1 * c <= M2, 2 * N2 - 2 * N2 * c >= M2),
        ),
    }


# --- effective_rank

S, U, k, hh, E, C, sig = sympy.symbols("S U k h E C s", real=True)
_ENTROPY = sympy.log(1 + sig) - sig * sympy.log(sig) / (1 + sig)
_ALONE = (sympy.exp(_ENTROPY) - 1) / (sig * (1 - sympy.log(sig)))
slope_q = sympy.Symbol("ln_q", real=True)


def _erank_second(s: Any) -> dict[str, Query]:
    S, U, k, h, E, m, C, sig, L, w, g, eps = s.Reals("S U k h E m C s L w g eps")
    depth, lnC, lnq = s.Reals("l k ln_q")
    return {
        "two sides": Query(
            {
                "S > 0": S > 0,
                "U >= 0": U >= 0,
                "S <= m - 1": m >= 1 + S,
                "k <= S": k <= S,
                "k (1+S) >= S": k + k * S >= S,
                "h (1+S) = k (1+S) + U": (h - k) + (h - k) * S == U,
                "E >= 1 + h": E - h >= 1,
                "E - 1 <= h E": E - h * E <= 1,
                "E <= m": m >= E,
            },
            s.And(m * E - m >= S + U, 1 + m * S + m * U >= E),
        ),
        # g = s (1 + L) with L = -ln s; w^2 = s, and L = -2 ln w <= 2 (1/w - 1)
        "two values": Query(
            {},
            s.And(
                s.Implies(
                    s.And(
                        sig > 0,
                        g > 0,
                        h + h * sig >= g,
                        h <= g,
                        1 + h <= E,
                        h * E >= E - 1,
                        eps > 0,
                        sig <= eps,
                        g + eps * g <= eps,
                    ),
                    s.And(g + eps * g >= E - 1, g <= (E - 1) + eps * (E - 1)),
                ),
                s.Implies(s.And(w > 0, w <= 1, L * w <= 2 - 2 * w), w * w * (1 + L) <= 2 * w),
            ),
            same_symbols=False,
        ),
        "in depth": Query(
            {"C > 0": C > 0, "ln q < 0": lnq < 0},
            s.And(
                C * lnq < 0,
                s.Implies(
                    s.And(eps > 0, depth > 0, depth * eps > size(s, C - C * lnC)),
                    near(s, C - C * lnC - depth * C * lnq, 0 - depth * C * lnq, eps * depth),
                ),
            ),
            same_symbols=False,
        ),
    }


STATEMENTS = (
    Statement(
        "rates.token_diversity",
        "If one pair with lambda = 1 dominates, token diversity closes like q_tok^2 per layer, q_tok = "
        "max_(lambda_i != 1, j) |rho_ij| / max_j |rho_1j| > 0: from an explicit layer on it is between "
        "explicit multiples of q_tok^(2l).",
        r"\frac{d_1^2}{9 n_2^2}\, q_{\mathrm{tok}}^{2l} \le t_{\mathrm{div}} \le \frac{9 d_2^2}{n_1^2}\, "
        r"q_{\mathrm{tok}}^{2l},\quad \tfrac1l \ln t_{\mathrm{div}} \to 2 \ln q_{\mathrm{tok}}",
        "derived here; arXiv 2401.04301 leaves rates open",
        (
            _bernoulli,
            _deep_enough,
            _leading,
            _token,
            *_slope(
                2,
                "L = ln t_div, m = ln q_tok, k0 and k1 the logarithms of the two constants; the logarithm "
                "is increasing and ln(c q^(2l)) = ln c + 2 l ln q.",
            ),
        ),
        _token_second,
    ),
    Statement(
        "rates.hfc_lfc",
        "(HFC/LFC)^2 = t_div/(1 - t_div) closes with the same factor as token diversity: it is between "
        "t_div and 2 t_div as soon as t_div <= 1/2.",
        r"t_{\mathrm{div}} < (\mathrm{HFC}/\mathrm{LFC})^2 \le 2\, t_{\mathrm{div}}",
        "derived here; arXiv 2401.04301 leaves rates open",
        (
            Claim(
                "within a factor two",
                {"h (1 - t) = t": Eq(h * (1 - t), t), "t > 0": t > 0, "t <= 1/2": t <= Rational(1, 2)},
                [h > t, h <= 2 * t],
                [
                    Sign("1 - t is positive", 1 - t, ">", plus(Rational(1, 2) - t, Rational(1, 2))),
                    Sign("h is positive", h, ">", plus(h * (1 - t) - t, t) / (1 - t)),
                    Sign("h exceeds t by h t", h - t, ">", plus(h * (1 - t) - t, h * t)),
                    Sign(
                        "and is at most 2 t",
                        2 * t - h,
                        ">=",
                        plus(-times(2, h * (1 - t) - t), times(2 * h, Rational(1, 2) - t)),
                    ),
                ],
                "h = |Pi_perp X|^2/|Pi X|^2 and t = |Pi_perp X|^2/(|Pi X|^2 + |Pi_perp X|^2); h is a "
                "function of t alone.",
            ),
        ),
        _hfc_second,
    ),
    Statement(
        "rates.low_part",
        "If one pair at another lambda dominates, Pi v = 0 for its vector and the columns of A sum to 1 as "
        "well (as for every symmetric A), LFC/HFC closes with the factor max_j |rho_1j| / |rho_*| per layer.",
        r"\frac{d_1}{3 n_2}\, q^l \le \mathrm{LFC}/\mathrm{HFC} \le \frac{3 d_2}{n_1}\, q^l,\quad "
        r"q = \max_j |\rho_{1j}| / |\rho_*|",
        "derived here; arXiv 2401.04301 leaves rates open",
        (
            Claim(
                "the mean is kept",
                {"a11 + a21 = 1": Eq(a11 + a21, 1), "a12 + a22 = 1": Eq(a12 + a22, 1)},
                [equal(a11 * y1 + a12 * y2 + a21 * y1 + a22 * y2, y1 + y2)],
                [
                    Sign(
                        "each token is given away once",
                        a11 * y1 + a12 * y2 + a21 * y1 + a22 * y2 - y1 - y2,
                        "==",
                        plus(y1 * (a11 + a21 - 1), y2 * (a12 + a22 - 1)),
                    )
                ],
                "1^T A = 1^T, written out for two tokens; the sum over n columns is the same. So Pi A = Pi "
                "and Pi X_l = Pi X_0 (1 + H)^l, whose modes are the rho_1j exactly.",
            ),
            _bernoulli,
            _deep_enough,
            _leading,
            Claim(
                "two sides",
                _SIDES | {"h N = Q D": Eq(h * N, Q * D), "Q > 0": Q > 0},
                [3 * n2 * h >= d1 * Q, n1 * h <= 3 * d2 * Q],
                [
                    _n_positive,
                    _d_positive,
                    Sign("h is positive", h, ">", plus(h * N - Q * D, Q * D) / N),
                    Sign(
                        "from below",
                        3 * n2 * h - d1 * Q,
                        ">=",
                        plus(times(h, 3 * n2 - 2 * N), times(2, h * N - Q * D), times(Q, 2 * D - d1)),
                    ),
                    Sign(
                        "from above",
                        3 * d2 * Q - n1 * h,
                        ">=",
                        plus(times(h, 2 * N - n1), -times(2, h * N - Q * D), times(Q, 3 * d2 - 2 * D)),
                    ),
                ],
                "D = |Pi X_l|/S^l with S = max_j |rho_1j| > 0, N = |Pi_perp X_l|/|rho_*|^l, h = LFC/HFC, Q "
                "= (S/|rho_*|)^l. For a general A with Pi v = 0 the same holds with S the largest |rho_ij| "
                "over all pairs with Pi v_i != 0, when it is attained once.",
            ),
        ),
        _low_second,
    ),
    Statement(
        "rates.low_part_any",
        "If one pair at another lambda dominates and Pi v = 0 for its vector, LFC/HFC closes with the factor "
        "max_j |rho_1j| / |rho_*|, whatever A is.",
        r"\left(\mathrm{LFC}/\mathrm{HFC}\right)^{1/l} \to \max_j |\rho_{1j}| / |\rho_*|",
        "derived here",
        (
            Claim(
                "one more layer",
                {"mu1 = -1/2": Eq(u1, -Rational(1, 2))},
                [
                    equal(left, right)
                    for left, right in zip(_LOW_X + u1 * _LOW_A * _LOW_X, _LOW_NEXT, strict=True)
                ],
                [
                    Identity("rows sum to 1", _LOW_A * _V[0], _V[0]),
                    Identity("lambda = -1/2, and v has mean zero", _LOW_A * _V[1], -_V[1] / 2),
                    Identity("lambda = 1/6, and v has not", _LOW_A * _V[2], _V[2] / 6),
                    Identity("a layer", _LOW_X + u1 * _LOW_A * _LOW_X, _LOW_NEXT),
                ],
                "rho = 1/2, 5/4, 11/12 at lambda = 1, -1/2, 1/6; X_0 = (3, 1, -3) is the sum of the three "
                "vectors, so X_l has the coefficients P1 = (1/2)^l, P2 = (5/4)^l, P3 = (11/12)^l by "
                "induction. The pair at lambda = -1/2 dominates alone.",
            ),
            Claim(
                "parts",
                {},
                [
                    equal(9 * sum((entry - _MEAN) ** 2 for entry in _LOW_X), 18 * P2**2 + 150 * P3**2),
                ],
                [
                    Identity("the mean", _MEAN, P1 - Rational(2, 3) * P3),
                    Identity(
                        "the rest: (1,-1,0) and (5,5,-10)/3 are orthogonal",
                        sum((entry - _MEAN) ** 2 for entry in _LOW_X),
                        2 * P2**2 + Rational(50, 3) * P3**2,
                    ),
                ],
                "LFC^2 = 3 (P1 - 2 P3/3)^2 and HFC^2 = 2 P2^2 + 50 P3^2/3.",
            ),
            Claim(
                "ratio",
                {},
                [Tends("the factor is 11/15", _LOW_RATIO, depth, oo, Rational(2, 3))],
                [
                    Tends("P1/P3 vanishes", Rational(6, 11) ** depth, depth, oo, 0),
                    Tends("(P3/P2)^2 vanishes", Rational(121, 225) ** depth, depth, oo, 0),
                    Tends("the factor is 11/15", _LOW_RATIO, depth, oo, Rational(2, 3)),
                ],
                "(15/11)^(2l) (LFC/HFC)^2 is this quotient: divide by P3^2 above, by P2^2 below.",
            ),
            Claim(
                "moduli",
                {
                    "mu1 = -1/2": Eq(u1, -Rational(1, 2)),
                    "lambda1 = -1/2": Eq(l1, -Rational(1, 2)),
                    "lambda2 = 1/6": Eq(l2, Rational(1, 6)),
                },
                [(1 + u1) ** 2 < (1 + l2 * u1) ** 2, (1 + l2 * u1) ** 2 < (1 + l1 * u1) ** 2],
                [
                    Sign(
                        "1/2 is less than 11/12", (1 + l2 * u1) ** 2 - (1 + u1) ** 2, ">", Rational(85, 144)
                    ),
                    Sign(
                        "11/12 is less than 5/4",
                        (1 + l1 * u1) ** 2 - (1 + l2 * u1) ** 2,
                        ">",
                        Rational(104, 144),
                    ),
                ],
                "The pair at lambda = -1/2 dominates, and max_j |rho_1j|/|rho_*| = (1/2)/(5/4) is less than "
                "the factor (11/12)/(5/4) = 11/15 above.",
            ),
        ),
        _low_false_second,
        counterexample=r"A = \tfrac16\begin{pmatrix}1&4&1\\4&1&1\\2&2&2\end{pmatrix},\; H = (-\tfrac12),\; "
        r"X_0 = (3,1,-3)^\top:\; (\tfrac{15}{11})^{l}\,\mathrm{LFC}/\mathrm{HFC} \to \sqrt{2/3}",
    ),
    Statement(
        "rates.rank_gap",
        "If one pair (i*, j*) dominates, sigma_2/sigma_1 closes like q_rank per layer, the largest of "
        "|rho_** rho_ij| and |rho_i*j rho_ij*| over i != i*, j != j*, over |rho_**|^2: from an explicit "
        "layer on it is between explicit multiples of q_rank^l.",
        r"\frac{2 d_1}{9 n_2^2}\, q_{\mathrm{rank}}^l \le \frac{\sigma_2}{\sigma_1} \le \frac{6 m "
        r"d_2}{n_1^2}\, q_{\mathrm{rank}}^l",
        "derived here; arXiv 2401.04301 leaves rates open",
        (
            Claim(
                "minors multiply",
                {},
                [
                    equal(
                        _det(_XM),
                        _det(_VM) * _det(_ZM) * (c11 * c22 * r11 * r22 - c12 * c21 * r12 * r21),
                    )
                ],
                [
                    Identity(
                        "the minor of the coefficients",
                        _det(_YM),
                        c11 * c22 * r11 * r22 - c12 * c21 * r12 * r21,
                    ),
                    Identity("determinants multiply", _det(_XM), _det(_VM) * _det(_YM) * _det(_ZM)),
                ],
                "X_l = V Y Z with Y = (c_ij rho_ij^l), P_ij = rho_ij^l. For larger sizes the second "
                "compound matrices multiply (Cauchy-Binet): C_2(X) = C_2(V) C_2(Y) C_2(Z), where C_2(V) and "
                "C_2(Z) have full rank as V and Z have and do not depend on l. So |C_2(X_l)| is between "
                "constant multiples of the largest minor of Y, c_ij c_km (rho_ij rho_km)^l - c_im c_kj "
                "(rho_im rho_kj)^l.",
            ),
            Claim(
                "products differ",
                {"lambda1 != lambda2": Ne(l1, l2), "mu1 != mu2": Ne(u1, u2)},
                [
                    Ne(PRODUCTS, 0),
                    equal((1 + l1 * u1) * (1 + l2 * u2) - (1 + l1 * u2) * (1 + l2 * u1), PRODUCTS),
                ],
                [
                    Sign("a product of differences", PRODUCTS, "!=", times(l1 - l2, u1 - u2)),
                    Identity(
                        "only the mixed terms differ",
                        (1 + l1 * u1) * (1 + l2 * u2) - (1 + l1 * u2) * (1 + l2 * u1),
                        PRODUCTS,
                    ),
                ],
                "The two terms of a minor never cancel for ever, so that the larger modulus decides; if the "
                "moduli agree and the phases do not, the minor swings and |c_ij c_km| != |c_im c_kj|, true "
                "for generic X_0, keeps it away from zero. The identity holds for complex eigenvalues too.",
            ),
            Claim(
                "other minors",
                {"A >= 0": A >= 0, "A <= R": A <= R, "B >= 0": B >= 0, "B <= q R": q * R >= B},
                [A * B <= R * B, q * R**2 >= A * B],
                [
                    Sign("R is not negative", R, ">=", plus(R - A, A)),
                    Sign("the larger is at most R", R * B - A * B, ">=", times(R - A, B)),
                    Sign(
                        "the smaller at most q R",
                        q * R**2 - A * B,
                        ">=",
                        plus(times(R, q * R - B), times(R - A, B)),
                    ),
                ],
                "q = q_rank. A minor of Y has two products |rho_ij rho_km| with i != k and j != m. If one "
                "of the two pairs is neither in row i* nor in column j*, its modulus is B <= q R and that "
                "of the other one A <= R. Otherwise, since they share neither row nor column, one is in row "
                "i* and the other one in column j*, and neither is (i*, j*): the product is among those "
                "that define q. So q R^2 bounds every product, and is one.",
            ),
            _ranks,
            _bernoulli,
            _deep_enough,
            _leading,
            Claim(
                "two sides",
                _SIDES
                | {
                    "g F >= Q D": g * F >= Q * D,
                    "g F <= m Q D": g * F <= mm * Q * D,
                    "m > 0": mm > 0,
                    "F = N^2": Eq(F, N**2),
                    "Q > 0": Q > 0,
                },
                [9 * n2**2 * g >= 2 * d1 * Q, n1**2 * g <= 6 * mm * d2 * Q],
                [
                    _n_positive,
                    _d_positive,
                    Sign("g is positive", g, ">", plus(g * N**2 - Q * D, Q * D) / N**2),
                    Sign(
                        "N from above",
                        9 * n2**2 - 4 * N**2,
                        ">=",
                        times(3 * n2 - 2 * N, plus(3 * n2 - 2 * N, 4 * N)),
                    ),
                    Sign("N from below", 4 * N**2 - n1**2, ">=", times(2 * N - n1, plus(2 * N, n1))),
                    Sign(
                        "from below",
                        9 * n2**2 * g - 2 * d1 * Q,
                        ">=",
                        plus(
                            times(g, 9 * n2**2 - 4 * N**2),
                            times(4, g * N**2 - Q * D),
                            times(2 * Q, 2 * D - d1),
                        ),
                    ),
                    Sign(
                        "from above",
                        6 * mm * d2 * Q - n1**2 * g,
                        ">=",
                        plus(
                            times(g, 4 * N**2 - n1**2),
                            times(4, mm * Q * D - g * N**2),
                            times(2 * mm * Q, 3 * d2 - 2 * D),
                        ),
                    ),
                ],
                "g = sigma_2/sigma_1, Q = q_rank^l, D = sigma_1 sigma_2/(|rho_**|^2 q_rank)^l and N = "
                "|X_l|_F/|rho_**|^l, each within its leading part; F = N^2, and the norms claim is g F "
                "between Q D and m Q D, m = min(n, d).",
            ),
            Claim(
                "limit",
                {"q > 0": q > 0, "q < 1": q < 1},
                [Tends("the minor over its leading modulus", A - B * q**depth, depth, oo, A)],
                [
                    Tends("the other product vanishes", q**depth, depth, oo, 0),
                    Tends("the minor over its leading modulus", A - B * q**depth, depth, oo, A),
                ],
                "For two by two modes A and B are the products of coefficients (A belongs to the larger "
                "product) and q the quotient of the smaller to the larger modulus: D has a limit where one "
                "product leads.",
            ),
        ),
        _rank_second,
    ),
    Statement(
        "rates.rank_gap_example",
        "For lambda = {1, -1/2} and mu = {3, 2} the product |rho_12 rho_21| decides: sigma_2/sigma_1 closes "
        "like 3 * 1/2 / 16 = 3/32 per layer although rho = 0 at (-1/2, 2).",
        r"\left(\tfrac{32}{3}\right)^{l} \frac{\sigma_2}{\sigma_1} \to \tfrac13",
        "derived here",
        (
            Claim(
                "which minor",
                _EXAMPLE | {"mu2 = 2": Eq(u2, 2)},
                [equal(32 * _rho12 * _rho21, -3 * _rho11**2), equal(_rho11 * _rho22, 0)],
                [
                    Identity("3 times -1/2 against 16", 32 * _rho12 * _rho21, -3 * _rho11**2),
                    Identity("the other product", _rho11 * _rho22, 0),
                ],
                "rho = 4, 3 at lambda = 1 and -1/2, 0 at lambda = -1/2: q_rank = 3/32, q_tok = 1/8.",
            ),
            Claim(
                "one more layer",
                {"mu1 = 3": Eq(u1, 3), "mu2 = 2": Eq(u2, 2)},
                [equal(left, right) for left, right in zip(_EX_LAYER, _EX_NEXT, strict=True)],
                [Identity("a layer", _EX_LAYER, _EX_NEXT)],
                "A = (1, 3; 3, 1)/4, H = diag(3, 2), X_0 = (1, 2; 2, 1); P4 = 4^l, P3 = 3^l, Ph = (-1/2)^l, "
                "from l = 1 on, where X_1 = (25/4, 9/2; 23/4, 9/2).",
            ),
            Claim(
                "minor and norm",
                {},
                [
                    equal(_det(_EX_X), -3 * pb * pc / 2),
                    equal(sum(entry**2 for entry in _EX_X), _EX_SIZE),
                ],
                [
                    Identity("the minor", _det(_EX_X), -3 * pb * pc / 2),
                    Identity("the squares", sum(entry**2 for entry in _EX_X), _EX_SIZE),
                ],
                "sigma_1 sigma_2 = (3/2) (3/2)^l and |X_l|_F^2 = (9 16^l + 9 9^l + (1/4)^l)/2.",
            ),
            Claim(
                "limit",
                {},
                [Tends("of |det|/|X|^2 times (32/3)^l", _EX_RATIO, depth, oo, Rational(1, 3))],
                [
                    Tends("9/16 vanishes", Rational(9, 16) ** depth, depth, oo, 0),
                    Tends("1/64 vanishes", Rational(1, 64) ** depth, depth, oo, 0),
                    Tends("of |det|/|X|^2 times (32/3)^l", _EX_RATIO, depth, oo, Rational(1, 3)),
                ],
                "Divide by 16^l: (3/2) (3/2)^l (32/3)^l = (3/2) 16^l. |X|_F^2/sigma_1^2 tends to 1.",
            ),
        ),
        _example_second,
    ),
    Statement(
        "rates.angles_faster",
        "If one pair with lambda = 1 dominates, q_rank <= q_tok: angles never close more slowly than token "
        "diversity, and strictly faster iff the strongest mode beside lambda = 1 belongs to the dominant mu "
        "alone.",
        r"q_{\mathrm{rank}} \le q_{\mathrm{tok}},\quad q_{\mathrm{rank}} < q_{\mathrm{tok}} \iff "
        r"\max_{i \ne 1, j \ne j_*} |\rho_{ij}| < \max_{i \ne 1} |\rho_{ij_*}|",
        "derived here; arXiv 2401.04301 leaves rates open",
        (
            Claim(
                "never slower",
                {
                    "R > 0": R > 0,
                    "a <= R": a <= R,
                    "b >= 0": b >= 0,
                    "b <= M": b <= M,
                    "w <= M": w <= M,
                },
                [R * w <= R * M, a * b <= R * M],
                [
                    Sign("one mode beside both", R * M - R * w, ">=", times(R, M - w)),
                    Sign("a product", R * M - a * b, ">=", plus(times(R, M - b), times(R - a, b))),
                ],
                "R = |rho_1j*|, a the largest |rho_1j| with j != j*, b the largest |rho_ij*| and w the "
                "largest |rho_ij| with j != j*, i != 1; q_rank R^2 is the larger of R w and a b, and q_tok "
                "R = M the larger of b and w.",
            ),
            Claim(
                "strictly",
                {"R > 0": R > 0, "a < R": a < R, "w >= 0": w >= 0, "w < b": w < b},
                [R * w < R * b, a * b < R * b],
                [
                    Sign("b is positive", b, ">", plus(b - w, w)),
                    Sign("one mode beside both", R * b - R * w, ">", times(R, b - w)),
                    Sign("a product", R * b - a * b, ">", times(R - a, b)),
                ],
                "w < b makes M = b, so both terms of q_rank R^2 are less than q_tok R^2; a < R as one pair "
                "dominates.",
            ),
            Claim(
                "equal",
                {"R > 0": R > 0, "a <= R": a <= R, "b >= 0": b >= 0, "b <= w": b <= w},
                [a * b <= R * w],
                [
                    Sign(
                        "the product is not larger",
                        R * w - a * b,
                        ">=",
                        plus(times(R, w - b), times(R - a, b)),
                    )
                ],
                "b <= w makes M = w, and the larger of R w and a b is R w = q_tok R^2: q_rank = q_tok.",
            ),
            Claim(
                "quotient",
                {"x > 0": x > 0, "x < 1": x < 1},
                [Tends("it vanishes", x**depth, depth, oo, 0)],
                [Tends("it vanishes", x**depth, depth, oo, 0)],
                "x = (q_rank/q_tok)^2 < 1: (1 - cos)/t_div is at most a constant times x^l by cosine_gap "
                "and token_diversity.",
            ),
            Claim(
                "an example that is faster",
                _EXAMPLE | {"mu2 = 2": Eq(u2, 2)},
                [
                    _rho22**2 < _rho21**2,
                    _rho12**2 < _rho11**2,
                    equal(16 * (_rho12 * _rho21) ** 2, 9 * (_rho11 * _rho21) ** 2),
                ],
                [
                    Sign("w = 0 < b = 1/2", _rho21**2 - _rho22**2, ">", Rational(1, 4)),
                    Sign("3 < 4", _rho11**2 - _rho12**2, ">", 7),
                    Identity("their quotient", 16 * (_rho12 * _rho21) ** 2, 9 * (_rho11 * _rho21) ** 2),
                ],
                "q_rank = 3/4 q_tok.",
            ),
            Claim(
                "an example that is not",
                _EXAMPLE | {"mu2 = -1": Eq(u2, -1)},
                [
                    _rho21**2 < _rho22**2,
                    _rho22**2 < _rho11**2,
                    (_rho12 * _rho21) ** 2 < (_rho11 * _rho22) ** 2,
                ],
                [
                    Sign("b = 1/2 < w = 3/2", _rho22**2 - _rho21**2, ">", 2),
                    Sign("3/2 < 4", _rho11**2 - _rho22**2, ">", Rational(55, 4)),
                    Sign("0 < 6", (_rho11 * _rho22) ** 2 - (_rho12 * _rho21) ** 2, ">", 36),
                ],
                "q_rank = 6/16 = q_tok.",
            ),
        ),
        _faster_second,
    ),
    Statement(
        "rates.cosine_gap",
        "If one real pair dominates and its v has no zero entry, the mean of 1 - |cos| over pairs of tokens "
        "(of 1 - cos at lambda = 1) closes like q_rank^2 per layer.",
        r"\frac{|x \wedge y|^2}{2 |x|^2 |y|^2} \le 1 - |\cos(x, y)| \le \frac{|x \wedge y|^2}{|x|^2 |y|^2}",
        "derived here; arXiv 2401.04301 leaves rates open",
        (
            Claim(
                "in a plane",
                {},
                [
                    equal(
                        (x1**2 + x2**2) * (y1**2 + y2**2),
                        (x1 * y1 + x2 * y2) ** 2 + (x1 * y2 - x2 * y1) ** 2,
                    )
                ],
                [
                    Identity(
                        "Lagrange",
                        (x1**2 + x2**2) * (y1**2 + y2**2) - (x1 * y1 + x2 * y2) ** 2,
                        (x1 * y2 - x2 * y1) ** 2,
                    )
                ],
                "Two rows span a plane; in an orthonormal basis of it |x|^2 |y|^2 (1 - cos^2) is the square "
                "of their minor, and in d dimensions the sum of the squares of all their 2 x 2 minors.",
            ),
            Claim(
                "one pair",
                {
                    "c >= 0": c >= 0,
                    "c <= 1": c <= 1,
                    "N1 > 0": N1 > 0,
                    "N >= N1": N1 <= N,
                    "N <= N2": N2 >= N,
                    "M2 = N (1 - c^2)": Eq(M2, N * (1 - c**2)),
                },
                [N1 * (1 - c) <= M2, 2 * N2 * (1 - c) >= M2],
                [
                    Sign("N is positive", N, ">", plus(N - N1, N1)),
                    Sign("1 + c >= 1", M2 - N1 * (1 - c), ">=", times(1 - c, plus(N - N1, N * c))),
                    Sign(
                        "1 + c <= 2",
                        2 * N2 * (1 - c) - M2,
                        ">=",
                        times(1 - c, plus(2 * (N2 - N), N * (1 - c))),
                    ),
                ],
                "c = |cos|, M2 the squared minor and N the product of the squared norms of two rows. Row i "
                "of X_l is rho_*^l (v_i c_** z + a part that vanishes), v_i != 0, so N/|rho_*|^(4l) is "
                "between two positive constants from some layer on; M2 summed over all pairs of rows is "
                "(sigma_1 sigma_2)^2 + ... = |C_2(X_l)|_F^2, of the order |rho_*|^(4l) q_rank^(2l) by "
                "rank_gap. At lambda = 1 all v_i are 1 and cos > 0.",
            ),
        ),
        _cosine_second,
    ),
    Statement(
        "rates.effective_rank",
        "If sigma_2/sigma_1 closes like q_rank^l, the effective rank exp(entropy of sigma/sum sigma) "
        "approaches 1 like l q_rank^l: the power of l comes from the logarithm in the entropy.",
        r"\tfrac{1}{m}\sum_{k\ge2} s_k (1 - \ln s_k) \le \mathrm{erank} - 1 \le m \sum_{k\ge2} s_k (1 - \ln "
        r"s_k),\quad s_k = \sigma_k/\sigma_1",
        "derived here; arXiv 2401.04301 leaves rates open",
        (
            Claim(
                "two sides",
                {
                    "S > 0": S > 0,
                    "U >= 0": U >= 0,
                    "S <= m - 1": mm - 1 >= S,
                    "k <= S": k <= S,
                    "k (1+S) >= S": k * (1 + S) >= S,
                    "h (1+S) = k (1+S) + U": Eq(hh * (1 + S), k * (1 + S) + U),
                    "E >= 1 + h": 1 + hh <= E,
                    "E - 1 <= h E": hh * E >= E - 1,
                    "E <= m": mm >= E,
                },
                [mm * (E - 1) >= S + U, mm * (S + U) >= E - 1],
                [
                    Sign("m is positive", mm, ">", plus(mm - 1 - S, 1, S)),
                    Sign(
                        "the entropy from below",
                        hh * (1 + S) - S - U,
                        ">=",
                        plus(k * (1 + S) - S, hh * (1 + S) - k * (1 + S) - U),
                    ),
                    Sign("it is positive", hh, ">", plus(hh * (1 + S) - S - U, S, U) / (1 + S)),
                    Sign(
                        "and from above",
                        S + U - hh,
                        ">=",
                        plus(times(S - k, 1 + S), times(S, U), -plus(hh * (1 + S), -k * (1 + S), -U))
                        / (1 + S),
                    ),
                    Sign(
                        "its exponential from below",
                        mm * (E - 1) - S - U,
                        ">=",
                        plus(times(mm, E - 1 - hh), times(hh, mm - 1 - S), hh * (1 + S) - S - U),
                    ),
                    Sign(
                        "and from above",
                        mm * (S + U) - (E - 1),
                        ">=",
                        plus(times(mm, S + U - hh), times(mm - E, hh), hh * E - E + 1),
                    ),
                ],
                "m singular values, s_k = sigma_k/sigma_1 <= 1, S = sum_(k>=2) s_k, U = -sum_(k>=2) s_k ln "
                "s_k; the entropy is h = ln(1+S) + U/(1+S). k = ln(1+S) and E = e^h enter by S/(1+S) <= "
                "ln(1+S) <= S, e^h >= 1 + h, e^(-h) >= 1 - h and h <= ln m, all the tangent inequality ln x "
                "<= x - 1 (for the last one, sum_k p_k ln(1/(m p_k)) <= sum_k (1/m - p_k) = 0). s (1 - ln "
                "s) is increasing on (0, 1], so S + U is between s_2 (1 - ln s_2) and m - 1 times it.",
            ),
            Claim(
                "two values",
                {},
                [Tends("the constant is 1", _ALONE, sig, 0, 1)],
                [Tends("the constant is 1", _ALONE, sig, 0, 1)],
                "sigma = (1, s): erank - 1 is s (1 - ln s) to first order.",
            ),
            Claim(
                "in depth",
                {"C > 0": C > 0, "ln q < 0": slope_q < 0},
                [
                    Tends("l q^l is left", C * (1 - k - depth * slope_q) / depth, depth, oo, -C * slope_q),
                    -C * slope_q > 0,
                ],
                [
                    Sign("the limit is positive", -C * slope_q, ">"),
                    Identity(
                        "divide by l",
                        C * (1 - k - depth * slope_q) / depth,
                        plus(-C * slope_q, C * (1 - k) / depth),
                    ),
                    Tends("l q^l is left", C * (1 - k - depth * slope_q) / depth, depth, oo, -C * slope_q),
                ],
                "s = C q^l, k = ln C: s (1 - ln s)/(l q^l) = C (1 - ln C - l ln q)/l. With s between two "
                "multiples of q^l, as in rank_gap, erank - 1 is between two multiples of l q^l.",
            ),
        ),
        _erank_second,
    ),
    Statement(
        "rates.norm",
        "The state grows like |rho_*| per layer, rho_* the dominant one, or decays like it: ln|X_l|/l tends "
        "to ln|rho_*|.",
        r"\tfrac1l \ln \|X_l\| \to \ln |\rho_*|",
        "derived here",
        (
            _bernoulli,
            _deep_enough,
            _leading,
            *_slope(
                1,
                "L = ln|X_l|, m = ln|rho_*|: |X_l|/|rho_*|^l is between d1/2 and 3 d2/2 from an explicit "
                "layer on, and k0, k1 are the logarithms of these.",
            ),
        ),
        lambda s: _shared(s) | _slope_second(s, 1),
    ),
)
