"""Uniform attention and shrinking modes: the rank does not collapse."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq, Matrix

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..dominance.shared import GEOMETRIC, deep

PLACE = 30

q, l, B, x1, x2, y1, y2, d1, d2 = sympy.symbols("q l B x_1 x_2 y_1 y_2 d_1 d_2", real=True)  # noqa: E741
x11, x12, x21, x22, x, y, u, v, n, m1 = sympy.symbols("x_11 x_12 x_21 x_22 x y u v n m_1", real=True)
m2, h11, h12, h21, h22, x31, x32 = sympy.symbols("m_2 h_11 h_12 h_21 h_22 x_31 x_32", real=True)

_three = Matrix([[x11, x12], [x21, x22], [x31, x32]])
_weights = Matrix([[h11, h12], [h21, h22]])
_mean = sympy.ones(3, 3) / 3
_off = sympy.eye(3) - _mean
_step = {
    "y = x + m H, first feature": Eq(y1, x1 + m1 * h11 + m2 * h21),
    "y = x + m H, second feature": Eq(y2, x2 + m1 * h12 + m2 * h22),
    "d = m + m H, first feature": Eq(d1, m1 + m1 * h11 + m2 * h21),
    "d = m + m H, second feature": Eq(d2, m2 + m1 * h12 + m2 * h22),
}
_turned = ((1 + x) * u - y * v) ** 2 + ((1 + x) * v + y * u) ** 2
_decays = Tends("geometric", x1 + B * q**l, l, sympy.oo, x1)


def second(z: Any) -> dict[str, Query]:
    x1, x2, y1, y2, m1, m2, d1, d2 = z.Reals("x_1 x_2 y_1 y_2 m_1 m_2 d_1 d_2")
    h11, h12, h21, h22, x, y, u, v, q0, n, B = z.Reals("h_11 h_12 h_21 h_22 x y u v q n B")
    step = {
        "y = x + m H, first feature": y1 - x1 == h11 * m1 + h21 * m2,
        "y = x + m H, second feature": y2 - x2 == h12 * m1 + h22 * m2,
        "d = m + m H, first feature": d1 - m1 == h11 * m1 + h21 * m2,
        "d = m + m H, second feature": d2 - m2 == h12 * m1 + h22 * m2,
    }
    re, im = u + x * u - y * v, v + x * v + y * u
    shrinks = {"|1 + mu| <= q": 1 + 2 * x + x * x + y * y <= q0 * q0}
    given, layer, (q, depth, power, eps) = deep(z)
    layer += [B >= 0, depth * (1 - q) * eps == q * B]
    return {
        "rows keep their distance from the mean": Query(step, z.And(y1 + m1 == x1 + d1, y2 + m2 == x2 + d2)),
        "the mean shrinks": Query(shrinks, re * re + im * im <= q0 * q0 * (u * u + v * v)),
        "the limit": Query(given, z.Implies(z.And(*layer), B * power < eps), same_symbols=False),
        "a minor that does not vanish": Query({"n >= 3": n >= 3}, n * n - 2 * n > 0),
    }


STATEMENT = Statement(
    "limit.tie_uniform",
    "Uniform attention, n >= 3, d >= 2, all |1 + mu_j| < 1: X_l tends to X_0 less its mean row, "
    "geometrically, and for generic X_0 its rank is at least 2: lambda = 0 ties all mu, and the rank does "
    "not collapse.",
    r"A = \tfrac1n 11^T,\; \max_j |1+\mu_j| < q < 1 \;\Longrightarrow\; "
    r"\|X_l - \Pi_\perp X_0\| \le B q^l,\quad \operatorname{rank} \Pi_\perp X_0 \ge 2",
    "derived here",
    (
        Claim(
            "rows keep their distance from the mean",
            _step,
            [Eq(y1 - d1, x1 - m1), Eq(y2 - d2, x2 - m2)],
            [
                Identity(
                    "n = 3: the part off the mean does not move",
                    _off * (_three + _mean * _three * _weights),
                    _off * _three,
                ),
                Identity(
                    "n = 3: the mean is multiplied by 1 + H",
                    _mean * (_three + _mean * _three * _weights),
                    _mean * _three * (sympy.eye(2) + _weights),
                ),
            ],
            "Uniform attention gives every token the mean row m, so a layer adds m H to each row x and to "
            "their mean m; y and d are the new row and the new mean. Written for two features, each feature "
            "alone for more. So X_l less its mean row is X_0 less its own, at every layer, and the mean row "
            "is m (1 + H)^l.",
        ),
        Claim(
            "the mean shrinks",
            {"|1 + mu| <= q": (1 + x) ** 2 + y**2 <= q**2},
            [_turned <= q**2 * (u**2 + v**2)],
            [
                Identity("a product of moduli", _turned, ((1 + x) ** 2 + y**2) * (u**2 + v**2)),
                Sign(
                    "the modulus of the factor is at most q",
                    _turned - q**2 * (u**2 + v**2),
                    "<=",
                    times(u**2 + v**2, (1 + x) ** 2 + y**2 - q**2),
                ),
            ],
            "u + iv is m w_j for an eigenvector w_j of H, mu_j = x + iy; a layer multiplies it by 1 + mu_j. "
            "So |m_l w_j| <= q^l |m_0 w_j| for q = max_j |1 + mu_j|, and the norm of the mean row, repeated "
            "n times, is at most B q^l with B the sum of sqrt(n) |m_0 w_j| |z_j|. If H is not "
            "diagonalizable: any larger q, and some B.",
        ),
        Claim(
            "the limit",
            GEOMETRIC,
            [_decays],
            [_decays],
            "An entry of X_l is that of the limit, x_1, up to B q^l. In the second form B q^l < eps from a "
            "layer on that is named.",
        ),
        Claim(
            "a minor that does not vanish",
            {"n >= 3": n >= 3},
            [(n - 1) ** 2 - 1 > 0],
            [
                Sign("n is positive", n, ">", plus(n - 3, 3)),
                Sign("n - 2 is positive", n - 2, ">", plus(n - 3, 1)),
                Sign("so is the product", (n - 1) ** 2 - 1, ">", n * (n - 2)),
            ],
            "For X_0 with x_11 = x_22 = 1 and zeros elsewhere the limit has 1 - 1/n, -1/n; -1/n, 1 - 1/n in "
            "its first two rows and columns; n^2 times this minor is (n - 1)^2 - 1. A minor is a polynomial "
            "in X_0, so not zero at one X_0 means not zero at generic X_0. n = 2 has rank 1.",
        ),
    ),
    second,
)
