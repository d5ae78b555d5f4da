"""The norm of V Y Z from Gram matrices."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus
from .shared import root

PLACE = 40

a, b, c, d, m, x, y, p1, p2, p3, p4, q1, q2 = sympy.symbols("a b c d m x y p1 p2 p3 p4 q1 q2", real=True)
q3, q4, g1, g2, k1, k2, y1, y2, y3, y4 = sympy.symbols("q3 q4 g1 g2 k1 k2 y1 y2 y3 y4", real=True)

_V, _Z = sympy.Matrix([[p1, p2], [p3, p4]]), sympy.Matrix([[q1, q2], [q3, q4]])
_Y = sympy.Matrix([[y1, y2], [y3, y4]])
_PRODUCT = _V * _Y * _Z
_TRACE = (_Y.T * (_V.T * _V) * _Y * (_Z * _Z.T)).trace()
_NORM = sum(entry**2 for entry in _PRODUCT)


def second(z3: Any) -> dict[str, Query]:
    p1, p2, p3, p4, q1, q2, q3, q4 = z3.Reals("p1 p2 p3 p4 q1 q2 q3 q4")
    y1, y2, y3, y4, x, y, m = z3.Reals("y1 y2 y3 y4 x y m")
    g1, g2, k1, k2, a, b, c, d = z3.Reals("g1 g2 k1 k2 a b c d")
    columns, rows, Y = ((p1, p3), (p2, p4)), ((q1, q2), (q3, q4)), ((y1, y2), (y3, y4))
    pairs = [(i, j) for i in (0, 1) for j in (0, 1)]
    size = 0
    for i, j in pairs:  # token i, feature j
        entry = sum(columns[k][i] * Y[k][o] * rows[o][j] for k, o in pairs)
        size += entry * entry
    four = 0
    for i, j in pairs:
        for k, o in pairs:
            of_rows = columns[i][0] * columns[k][0] + columns[i][1] * columns[k][1]
            four += Y[i][j] * of_rows * Y[k][o] * (rows[o][0] * rows[j][0] + rows[o][1] * rows[j][1])
    return {
        "expansion": Query({}, size == four),
        "one term": Query({"m > 0": m > 0, "x^2 + y^2 <= m^2": m * m - x * x - y * y >= 0}, m >= x),
        "largest eigenvalues": Query(
            {"0 <= g2": g2 >= 0, "g2 <= g1": g1 >= g2, "0 <= k2": k2 >= 0, "k2 <= k1": k1 >= k2},
            g1 * k1 * a * a + g1 * k2 * b * b + g2 * k1 * c * c + g2 * k2 * d * d
            <= g1 * k1 * a * a + g1 * k1 * b * b + g1 * k1 * c * c + g1 * k1 * d * d,
        ),
    }


STATEMENT = Statement(
    "bounds.gram",
    "With the Gram matrices G = V^* V and K = Z Z^*, ||V Y Z||^2 is at most the sum of "
    "(|G| |Y|)_ij (|Y| |K|)_ij over all entries, and at most |G|_2 |K|_2 ||Y||^2; with a projection before V "
    "or behind Z the Gram matrix of the projected vectors takes its place.",
    r"\|V Y Z\|^2 = \mathrm{tr}\, Y^* G Y K \le \min\Big(\sum_{ij} (|G||Y|)_{ij} (|Y||K|)_{ij},\;"
    r" |G|_2 |K|_2 \|Y\|^2\Big)",
    "derived here",
    (
        Claim(
            "expansion",
            {},
            [sympy.Eq(_NORM, _TRACE)],
            [Identity("multiply out", _NORM, _TRACE)],
            "V Y Z for 2 x 2 matrices: ||V Y Z||^2 = tr (V Y Z)^* (V Y Z) = tr Y^* (V^* V) Y (Z Z^*), "
            "because a trace does not change when factors go round; so for every size, and with stars for "
            "complex matrices. As a sum over four indices it has the terms conj(Y_ij) G_ik Y_km K_mj.",
        ),
        Claim(
            "one term",
            {"m > 0": m > 0, "x^2 + y^2 <= m^2": x**2 + y**2 <= m**2},
            [x <= m],
            [
                Sign("a leg is no longer than its side", m**2 - x**2, ">=", plus(m**2 - x**2 - y**2, y**2)),
                root("take roots", m, x),
            ],
            "The sum is real, so it is the sum of the real parts x of its terms x + iy; each is at most the "
            "modulus m = |Y_ij| |G_ik| |Y_km| |K_mj|. The sum of the moduli is the sum over i, m of "
            "(|G| |Y|)_im (|Y| |K|)_im, |G| and |K| being symmetric.",
        ),
        Claim(
            "largest eigenvalues",
            {"0 <= g2": g2 >= 0, "g2 <= g1": g2 <= g1, "0 <= k2": k2 >= 0, "k2 <= k1": k2 <= k1},
            [
                g1 * k1 * a**2 + g1 * k2 * b**2 + g2 * k1 * c**2 + g2 * k2 * d**2
                <= g1 * k1 * (a**2 + b**2 + c**2 + d**2)
            ],
            [
                Sign("the largest of G is not negative", g1, ">=", plus(g1 - g2, g2)),
                Sign("nor that of K", k1, ">=", plus(k1 - k2, k2)),
                Sign(
                    "entry by entry",
                    g1 * k1 * (a**2 + b**2 + c**2 + d**2)
                    - (g1 * k1 * a**2 + g1 * k2 * b**2 + g2 * k1 * c**2 + g2 * k2 * d**2),
                    ">=",
                    plus(
                        b**2 * g1 * (k1 - k2),
                        c**2 * k1 * (g1 - g2),
                        d**2 * plus(g1 * (k1 - k2), k2 * (g1 - g2)),
                    ),
                ),
            ],
            "In orthonormal eigenvectors of G and K (both have eigenvalues >= 0) tr Y^* G Y K is the sum of "
            "g_i k_j |Y_ij|^2, with ||Y|| unchanged; a, b, c, d are the moduli of four of its entries.",
        ),
    ),
    second,
)
