"""sigma_2/sigma_1 closes like q_rank, between explicit multiples.

>>> PRODUCTS
(lambda1 - lambda2)*(mu1 - mu2)
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix, Ne, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..defective.shared import equal, near, size
from .shared import (
    SIDES,
    bernoulli,
    d_is_positive,
    deep_enough,
    det,
    leading,
    leading_second,
    n_is_positive,
    sides_second,
)

PLACE = 50

depth, d1, d2, n1, n2, D, N, Q, l1, l2 = sympy.symbols("l d1 d2 n1 n2 D N Q lambda1 lambda2", real=True)
u1, u2, c11, c12, c21, c22, r11, r12 = sympy.symbols("mu1 mu2 c11 c12 c21 c22 P11 P12", real=True)
r21, r22, v11, v12, v21, v22, z11, z12 = sympy.symbols("P21 P22 v11 v12 v21 v22 z11 z12", real=True)
z21, z22, s1, s2, F, q, A, B, R, g, mm = sympy.symbols("z21 z22 sigma1 sigma2 F q A B R g m", real=True)

#: rho11 rho22 - rho12 rho21, never zero for different eigenvalues
PRODUCTS = (l1 - l2) * (u1 - u2)
_VM = Matrix([[v11, v12], [v21, v22]])
_YM = Matrix([[c11 * r11, c12 * r12], [c21 * r21, c22 * r22]])
_ZM = Matrix([[z11, z12], [z21, z22]])
_XM = _VM * _YM * _ZM

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


def second(s: Any) -> dict[str, Query]:
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
    return leading_second(s) | {
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
            sides_second(s)
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


STATEMENT = Statement(
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
                    det(_XM),
                    det(_VM) * det(_ZM) * (c11 * c22 * r11 * r22 - c12 * c21 * r12 * r21),
                )
            ],
            [
                Identity(
                    "the minor of the coefficients",
                    det(_YM),
                    c11 * c22 * r11 * r22 - c12 * c21 * r12 * r21,
                ),
                Identity("determinants multiply", det(_XM), det(_VM) * det(_YM) * det(_ZM)),
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
        bernoulli,
        deep_enough,
        leading,
        Claim(
            "two sides",
            SIDES
            | {
                "g F >= Q D": g * F >= Q * D,
                "g F <= m Q D": g * F <= mm * Q * D,
                "m > 0": mm > 0,
                "F = N^2": Eq(F, N**2),
                "Q > 0": Q > 0,
            },
            [9 * n2**2 * g >= 2 * d1 * Q, n1**2 * g <= 6 * mm * d2 * Q],
            [
                n_is_positive,
                d_is_positive,
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
    second,
)
