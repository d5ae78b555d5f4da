"""All rows follow one real mode without zero entries: they become parallel."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Eq

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..dominance.shared import GEOMETRIC, deep

PLACE = 50

q, l, B, E, x1, x2, x3, y1, y2 = sympy.symbols("q l B E x_1 x_2 x_3 y_1 y_2", real=True)  # noqa: E741
y3, q1, q2, e1, e2, f1, f2, v1, v2 = sympy.symbols("y_3 q_1 q_2 e_1 e_2 f_1 f_2 v_1 v_2", real=True)
w1, w2, X, Y, S, f, g, k = sympy.symbols("w_1 w_2 X Y S f g k", real=True)

_TOP = E * (w1 + w2 + E)
_lagrange_left = (x1**2 + x2**2 + x3**2) * (y1**2 + y2**2 + y3**2) - (x1 * y1 + x2 * y2 + x3 * y3) ** 2
_lagrange_right = (x1 * y2 - x2 * y1) ** 2 + (x1 * y3 - x3 * y1) ** 2 + (x2 * y3 - x3 * y2) ** 2
_ROWS = {
    "x_1 = v_1 q_1 + e_1": Eq(x1, v1 * q1 + e1),
    "x_2 = v_1 q_2 + e_2": Eq(x2, v1 * q2 + e2),
    "y_1 = v_2 q_1 + f_1": Eq(y1, v2 * q1 + f1),
    "y_2 = v_2 q_2 + f_2": Eq(y2, v2 * q2 + f2),
}
_PIECES = {
    "S <= (w_1 + w_2) E + E^2": S <= _TOP,
    "|x| >= w_1 - E": w1 - E <= X,
    "|y| >= w_2 - E": w2 - E <= Y,
    "E < w_1": w1 > E,
    "E < w_2": w2 > E,
    "E >= 0": E >= 0,
}
_small = B * q**l
_sine_limit = Tends(
    "every factor B q^l closes",
    _small * (w1 + w2 + _small) / ((w1 - _small) * (w2 - _small)),
    l,
    sympy.oo,
    0,
)

_INNER = {"q.f >= -E": f >= -E, "k >= -E^2": k >= -(E**2)}
_SAME = _INNER | {
    "q.e >= -E": g >= -E,
    "v_1 > 0": v1 > 0,
    "v_2 > 0": v2 > 0,
    "deep": (v1 + v2) * E + E**2 < v1 * v2,
}
_OPPOSITE = {
    "q.f <= E": f <= E,
    "q.e >= -E": g >= -E,
    "k <= E^2": k <= E**2,
    "v_1 > 0": v1 > 0,
    "v_2 < 0": v2 < 0,
    "deep": (v1 - v2) * E + E**2 < -v1 * v2,
}
_dot = v1 * v2 + v1 * f + v2 * g + k


def second(z: Any) -> dict[str, Query]:
    x1, x2, x3, y1, y2, y3 = z.Reals("x_1 x_2 x_3 y_1 y_2 y_3")
    v1, v2, q1, q2, e1, e2, f1, f2 = z.Reals("v_1 v_2 q_1 q_2 e_1 e_2 f_1 f_2")
    X, Y, S, E, w1, w2, B, f, g, k = z.Reals("X Y S E w_1 w_2 B f g k")
    rows = {
        "x_1 = v_1 q_1 + e_1": x1 - e1 == q1 * v1,
        "x_2 = v_1 q_2 + e_2": x2 - e2 == q2 * v1,
        "y_1 = v_2 q_1 + f_1": y1 - f1 == q1 * v2,
        "y_2 = v_2 q_2 + f_2": y2 - f2 == q2 * v2,
    }
    wedge = v1 * (q1 * f2 - q2 * f1) + v2 * (e1 * q2 - e2 * q1) + (e1 * f2 - e2 * f1)
    minors = [x1 * y2 - x2 * y1, x1 * y3 - x3 * y1, x2 * y3 - x3 * y2]
    dot = x1 * y1 + x2 * y2 + x3 * y3
    norms = (x1 * x1 + x2 * x2 + x3 * x3) * (y1 * y1 + y2 * y2 + y3 * y3)
    top = w1 * E + w2 * E + E * E
    pieces = {
        "S <= (w_1 + w_2) E + E^2": top - S >= 0,
        "|x| >= w_1 - E": w1 <= X + E,
        "|y| >= w_2 - E": w2 <= Y + E,
        "E < w_1": w1 - E > 0,
        "E < w_2": w2 - E > 0,
        "E >= 0": E >= 0,
    }
    given, layer, (q, depth, power, eps) = deep(z)
    rest = B * power
    layer += [B >= 0, eps <= 1, depth * (1 - q) * eps * w1 * w2 == 8 * q * B * (w1 + w2)]
    closes = z.And(rest < w1, rest < w2, rest * (w1 + w2 + rest) < eps * (w1 - rest) * (w2 - rest))
    product = v1 * v2 + v1 * f + v2 * g + k
    same = {
        "q.f >= -E": f + E >= 0,
        "q.e >= -E": g + E >= 0,
        "k >= -E^2": k + E * E >= 0,
        "v_1 > 0": v1 > 0,
        "v_2 > 0": v2 > 0,
        "deep": v1 * v2 - v1 * E - v2 * E - E * E > 0,
    }
    opposite = {
        "q.f <= E": E - f >= 0,
        "q.e >= -E": g + E >= 0,
        "k <= E^2": E * E - k >= 0,
        "v_1 > 0": v1 > 0,
        "v_2 < 0": v2 < 0,
        "deep": v1 * v2 + v1 * E - v2 * E + E * E < 0,
    }
    return {
        "area of two rows": Query({}, norms == dot * dot + sum(m * m for m in minors)),
        "area of two rows near a line": Query(rows, minors[0] == wedge),
        "the sine": Query(pieces, S * (w1 * w2 - w1 * E - w2 * E + E * E) <= top * X * Y),
        "the sine closes": Query(
            given | {"w_1 > 0": w1 > 0, "w_2 > 0": w2 > 0},
            z.Implies(z.And(*layer), closes),
            same_symbols=False,
        ),
        "the cosine, equal signs": Query(same, product > 0),
        "the cosine, opposite signs": Query(opposite, product < 0),
    }


STATEMENT = Statement(
    "limit.angle",
    "If all rows follow one real mode without zero entries (the dominant set inside one row k, v = v_k "
    "real), then |cos| -> 1 between every two rows, geometrically, and cos -> +1 or -1 by the signs of v. "
    "For lambda_k = 1 all entries of v are equal and cos -> 1.",
    r"x = v_1 q + e,\; y = v_2 q + f,\; |q| = 1,\; |e|, |f| \le E = B q^l:\quad "
    r"\sqrt{1 - \cos^2(x, y)} \le \frac{E (|v_1| + |v_2| + E)}{(|v_1| - E)(|v_2| - E)} \to 0,\quad "
    r"\operatorname{sign}\cos(x, y) = \operatorname{sign} v_1 v_2",
    "the distinction of input, angle and rank: arXiv 2401.04301; the bound derived here",
    (
        Claim(
            "area of two rows",
            {},
            [Eq(_lagrange_left, _lagrange_right)],
            [Identity("Lagrange's identity", _lagrange_left, _lagrange_right)],
            "|x|^2 |y|^2 - (x.y)^2 is the squared area S^2 of the parallelogram of two rows x and y, so "
            "1 - cos^2 = S^2 / (|x| |y|)^2. Written in three coordinates; "
            "in d the sum runs over all pairs of coordinates. In particular S <= |x| |y|.",
        ),
        Claim(
            "area of two rows near a line",
            _ROWS,
            [
                Eq(
                    x1 * y2 - x2 * y1,
                    v1 * (q1 * f2 - q2 * f1) + v2 * (e1 * q2 - e2 * q1) + (e1 * f2 - e2 * f1),
                )
            ],
            [
                Identity(
                    "the terms with q twice cancel",
                    x1 * y2 - x2 * y1,
                    v1 * (q1 * f2 - q2 * f1) + v2 * (e1 * q2 - e2 * q1) + (e1 * f2 - e2 * f1),
                )
            ],
            "For each pair of coordinates, so for the vector of all minors, whose norm is the area: by the "
            "triangle inequality and the claim before, S <= |v_1| |q| |f| + |v_2| |e| |q| + |e| |f|. Both "
            "rows are divided by the norm of the leading direction, which stays above a positive constant, "
            "so that |q| = 1 and |e|, |f| <= E = B q^l.",
        ),
        Claim(
            "the sine",
            _PIECES,
            [S * (w1 - E) * (w2 - E) <= _TOP * X * Y],
            [
                Sign("w_1 - E is positive", w1 - E, ">"),
                Sign("w_2 - E is positive", w2 - E, ">"),
                Sign("|y| is positive", Y, ">", plus(Y - (w2 - E), w2 - E)),
                Sign("w_1 is positive", w1, ">", plus(w1 - E, E)),
                Sign("w_2 is positive", w2, ">", plus(w2 - E, E)),
                Sign(
                    "each bound costs a term that is not negative",
                    _TOP * X * Y - S * (w1 - E) * (w2 - E),
                    ">=",
                    plus(
                        times(E, plus(w1, w2, E), plus(times(X - w1 + E, Y), times(w1 - E, Y - w2 + E))),
                        times(w1 - E, w2 - E, _TOP - S),
                    ),
                ),
            ],
            "w_1 = |v_1| and w_2 = |v_2|, X = |x| >= w_1 - E and Y = |y| >= w_2 - E by the triangle "
            "inequality; S / (X Y) is the sine, and 1 - |cos| <= 1 - cos^2, the squared sine. Denominators "
            "cleared.",
        ),
        Claim(
            "the sine closes",
            GEOMETRIC | {"w_1 > 0": w1 > 0, "w_2 > 0": w2 > 0},
            [_sine_limit],
            [Sign("what the denominator tends to is positive", w1 * w2, ">"), _sine_limit],
            "A mode without zero entries: w_1 and w_2 are positive. In the second form the bound is below "
            "eps (at most 1) from a layer on that is named; Bernoulli's inequality is proved in "
            "dominance.global.",
        ),
        Claim(
            "the cosine, equal signs",
            _SAME,
            [_dot > 0],
            [
                Sign(
                    "what is lost, piece by piece",
                    _dot,
                    ">",
                    plus(v1 * v2 - (v1 + v2) * E - E**2, times(v1, f + E), times(v2, g + E), k + E**2),
                ),
            ],
            "x.y = v_1 v_2 + v_1 (q.f) + v_2 (q.e) + e.f, here f, g and k stand for q.f, q.e and e.f, of "
            "moduli at most E, E and E^2 (Cauchy-Schwarz). Deep layers have (|v_1| + |v_2|) E + E^2 < |v_1 "
            "v_2|. Both entries positive; both negative is the same with -q.",
        ),
        Claim(
            "the cosine, opposite signs",
            _OPPOSITE,
            [_dot < 0],
            [
                Sign(
                    "what is gained, piece by piece",
                    _dot,
                    "<",
                    plus(v1 * v2 + (v1 - v2) * E + E**2, times(v1, f - E), times(v2, g + E), k - E**2),
                ),
            ],
            "v_1 > 0 > v_2, the other case is the same with -q.",
        ),
    ),
    second,
)
