"""Jordan blocks on both sides: how the part grows, and how its rank gap closes.

>>> BLOCK[1, 0], MINOR
(c + d*k*l*lambda, a*d - b*c + d**2*k**2*l)
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Matrix, Ne, oo

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus
from .shared import INVERSE, RHO, divided, divided_second, equal, near, quotient, size

PLACE = 20

a, b, c, d, e, f, k, lam, mu, depth, y11 = sympy.symbols("a b c d e f k lambda mu l y11", real=True)
y12, y21, y22, g, h = sympy.symbols("y12 y21 y22 g h", real=True)

#: coefficients of v_i z_j after l layers, over rho^l: two blocks of size two
BLOCK = Matrix(
    [
        [
            a + depth * k * (lam * b + mu * c + d) + depth * (depth - 1) * k**2 * lam * mu * d,
            b + depth * k * mu * d,
        ],
        [c + depth * k * lam * d, d],
    ]
)
#: its determinant
MINOR = a * d - b * c + depth * k**2 * d**2
_Y = Matrix([[y11, y12], [y21, y22]])
_LAYER = _Y + Matrix([[lam, 1], [0, lam]]) * _Y * Matrix([[mu, 0], [1, mu]])
_GAIN = Matrix([[lam * y12 + mu * y21 + y22, mu * y22], [lam * y22, 0]])
_AFTER = BLOCK.subs(depth, depth + 1)
_GAIN_OF_BLOCK = _GAIN.subs(dict(zip(_Y, BLOCK, strict=True)), simultaneous=True)
_G = k**2 * lam * mu * d
_FROBENIUS = sum(entry**2 for entry in BLOCK)
_SQUARES = (g * depth**2 + e * depth + a) ** 2 + (f * depth + b) ** 2 + (h * depth + c) ** 2 + d**2
_BLOCKS = {"k != 0": Ne(k, 0), "lambda != 0": Ne(lam, 0), "mu != 0": Ne(mu, 0), "d != 0": Ne(d, 0)}
_CLOSES = k**2 / (k**2 * lam * mu) ** 2
_g_not_zero = Sign("the leading coefficient is not zero", _G, "!=")


def second(s: Any) -> dict[str, Query]:
    a, b, c, d, k, lam, mu, depth = s.Reals("a b c d k lambda mu l")
    y11, y12, y21, y22 = s.Reals("y11 y12 y21 y22")
    eps, t, big, e, f, g, h, rest = s.Reals("eps t K e f g h rest")
    low, u1, f1, limit = s.Reals("D u1 f1 A")
    rho = 1 + lam * mu

    def at(n: Any) -> tuple[Any, Any, Any, Any]:
        top = a + n * k * (lam * b + mu * c + d - k * lam * mu * d) + n * n * k * k * lam * mu * d
        return top, b + n * k * mu * d, c + n * k * lam * d, d

    x11, x12, x21, x22 = at(depth)
    z11, z12, z21, z22 = at(depth + 1)
    given = {"k != 0": k != 0, "lambda != 0": lam != 0, "mu != 0": mu != 0, "d != 0": d != 0}
    step = k * (lam * b + mu * c + d - k * lam * mu * d)
    lead = k * k * lam * mu * d
    return divided_second(s) | {
        # rows of (lambda + N) Y, then columns times (mu, 0; 1, mu)
        "a layer": Query(
            {},
            s.And(
                y11 + mu * (lam * y11 + y21) + (lam * y12 + y22) == rho * y11 + lam * y12 + mu * y21 + y22,
                y12 + mu * (lam * y12 + y22) == rho * y12 + mu * y22,
                y21 + mu * lam * y21 + lam * y22 == rho * y21 + lam * y22,
                y22 + mu * lam * y22 == rho * y22,
            ),
        ),
        "closed form": Query(
            {},
            s.And(
                z11 == x11 + k * lam * x12 + k * mu * x21 + k * x22,
                z12 == x12 + k * mu * x22,
                z21 == x21 + k * lam * x22,
                z22 == x22,
            ),
        ),
        "minor": Query(
            {"k (1 + lambda mu) = 1": k + k * lam * mu == 1},
            x11 * x22 == x12 * x21 + a * d - b * c + depth * k * k * d * d,
        ),
        # y11 = a + l step + l^2 g
        "growth": Query(
            given,
            s.And(
                lead != 0,
                x11 == a + depth * step + depth * depth * lead,
                s.Implies(
                    s.And(eps > 0, depth >= 1, depth * eps > size(s, a) + size(s, rest)),
                    near(s, a + depth * rest + f, f, eps * depth * depth),
                ),
            ),
            same_symbols=False,
        ),
        # entries over l^2: g + t (e + t a), t (f + t b), t (h + t c), t^2 d with t = 1/l
        "size": Query(
            {},
            s.And(
                (g + t * (e + t * a)) * (g + t * (e + t * a))
                + t * (f + t * b) * t * (f + t * b)
                + t * (h + t * c) * t * (h + t * c)
                + t * t * d * t * t * d
                == g * g
                + t
                * (
                    2 * g * (e + t * a)
                    + t
                    * (
                        (e + t * a) * (e + t * a)
                        + (f + t * b) * (f + t * b)
                        + (h + t * c) * (h + t * c)
                        + t * t * d * d
                    )
                ),
                s.Implies(
                    s.And(t > 0, size(s, rest) <= big, t * big < eps, u1 == low + t * rest),
                    near(s, u1, low, eps),
                ),
            ),
            same_symbols=False,
        ),
        # the quotient of D + t u1, D = k^2 d^2, and g^2 + t f1
        "rank gap": Query(
            given,
            s.And(
                lead != 0,
                s.Implies(limit * g == low, low + t * u1 - limit * (g + t * f1) == t * (u1 - limit * f1)),
                s.Implies(limit * k * lam * mu * k * lam * mu == 1, limit * lead * lead == k * k * d * d),
                quotient(s),
            ),
            same_symbols=False,
        ),
    }


STATEMENT = Statement(
    "defective.growth",
    "Jordan blocks of size two of A at lambda and of H at mu, lambda mu != 0, rho = 1 + lambda mu != 0: "
    "the part grows like l^2 |rho|^l (l^(p+q-2) for sizes p and q), its rank gap sigma_2/sigma_1 closes "
    "like l^-3.",
    r"\det Y_l = \rho^{2l}\left(\det Y_0 + l\, y_{22}^2/\rho^2\right),\quad "
    r"l^3\, \frac{\det Y_l}{\|Y_l\|_F^2} \to \frac{\rho^2}{(\lambda\mu)^2}",
    "derived here",
    (
        Claim(
            "a layer",
            {},
            [equal(left, right) for left, right in zip(_LAYER, RHO * _Y + _GAIN, strict=True)],
            [Identity("the two shifts, one after the other", _LAYER, RHO * _Y + _GAIN)],
            "X = V Y Z with A V = V (lambda + N) and Z H = (mu + N^T) Z, so a layer maps Y to Y + "
            "(lambda + N) Y (mu + N^T). For sizes p and q this map is rho + M, M = mu L + lambda R + L "
            "R, where L Y = N Y and R Y = Y N^T commute and L^p = R^q = 0. Counting factors L and R, "
            "M^(p+q-1) = 0 and M^(p+q-2) = binomial(p+q-2, p-1) mu^(p-1) lambda^(q-1) L^(p-1) R^(q-1); "
            "so (rho + M)^l Y = sum_i binomial(l, i) rho^(l-i) M^i Y is rho^l times a polynomial in l, "
            "of degree p+q-2 exactly if lambda mu and the last coefficient of X_0 are not zero.",
        ),
        divided("Each entry y of Y_l/rho^l gains k times its entry w of the matrix of the claim before."),
        Claim(
            "closed form",
            {},
            [equal(left, right) for left, right in zip(_AFTER, BLOCK + k * _GAIN_OF_BLOCK, strict=True)],
            [
                Identity("at layer 0", sympy.Subs(BLOCK[0, 0], depth, 0), a),
                Identity(
                    "the first entry: l (l + 1) - l (l - 1) = 2 l, from both neighbours",
                    _AFTER[0, 0] - BLOCK[0, 0],
                    plus(k * lam * BLOCK[0, 1], k * mu * BLOCK[1, 0], k * d),
                ),
                Identity("its neighbour in the row", _AFTER[0, 1] - BLOCK[0, 1], k * mu * d),
                Identity("and the one below", _AFTER[1, 0] - BLOCK[1, 0], k * lam * d),
            ],
            "The gains of a layer take the form at l to the form at l + 1: induction.",
        ),
        Claim(
            "minor",
            INVERSE,
            [equal(BLOCK[0, 0] * BLOCK[1, 1] - BLOCK[0, 1] * BLOCK[1, 0], MINOR)],
            [
                Sign(
                    "the quadratic terms cancel, and k - k^2 lambda mu = k^2",
                    BLOCK[0, 0] * BLOCK[1, 1] - BLOCK[0, 1] * BLOCK[1, 0] - MINOR,
                    "==",
                    depth * d**2 * k * (1 - k * RHO),
                )
            ],
            "The product of the two singular values of Y_l/rho^l, up to sign.",
        ),
        Claim(
            "growth",
            _BLOCKS,
            [Tends("y11 leads", BLOCK[0, 0] / depth**2, depth, oo, _G), Ne(_G, 0)],
            [_g_not_zero, Tends("y11 over l^2", BLOCK[0, 0] / depth**2, depth, oo, _G)],
            "d is the coefficient of v_2 z_2 in X_0, not zero for generic X_0. The three other "
            "coefficients are of degree one at most.",
        ),
        Claim(
            "size",
            {},
            [Tends("the squares over l^4", _SQUARES / depth**4, depth, oo, g**2)],
            [
                Identity(
                    "only the first has degree two",
                    (b + f * depth) / depth**2,
                    plus(b / depth**2, f / depth),
                ),
                Tends("the squares over l^4", _SQUARES / depth**4, depth, oo, g**2),
            ],
            "The four coefficients with g = k^2 lambda mu d, e = k (lambda b + mu c + d) - g, f = k mu "
            "d, h = k lambda d: the sum of their squares is |Y_l|_F^2/rho^(2l).",
        ),
        Claim(
            "rank gap",
            _BLOCKS,
            [Tends("it closes like l^-3", depth**3 * MINOR / _FROBENIUS, depth, oo, _CLOSES)],
            [
                _g_not_zero,
                Identity("k^2/(k^2 lambda mu)^2", _CLOSES, 1 / (k * lam * mu) ** 2),
                Tends("the quotient", depth**3 * MINOR / _FROBENIUS, depth, oo, _CLOSES),
            ],
            "1/(k lambda mu)^2 is rho^2/(lambda mu)^2. sigma_2/sigma_1 = |det Y|/sigma_1^2 and "
            "sigma_1^2/|Y|_F^2 = 1/(1 + (sigma_2/sigma_1)^2) -> 1, so in orthonormal chains l^3 "
            "sigma_2/sigma_1 has this limit. In others sigma_1 sigma_2 = |v_1 ^ v_2| |z_1 ^ z_2| |det "
            "Y| and sigma_1 ~ |y11| |v_1| |z_1|: the limit times |v_1 ^ v_2| |z_1 ^ z_2| / (|v_1| "
            "|z_1|)^2. Modes of smaller |rho| move singular values by at most their norm (Weyl), "
            "geometrically less than sigma_2.",
        ),
    ),
    second,
)
