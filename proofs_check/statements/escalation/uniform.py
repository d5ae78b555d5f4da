"""Uniform attention: one random factor multiplies the odds."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times
from ..similarity.shared import zero
from .shared import u_before

PLACE = 80

t, r, u, Q, eps, u_next, t_div_next, C = sympy.symbols("t r u Q epsilon u_next t_div_next C", real=True)
D, x_1, x_2, y_1, y_2, m_1, m_2, w, R = sympy.symbols("D x_1 x_2 y_1 y_2 m_1 m_2 w R", real=True)
e_1, e_2 = sympy.symbols("e_1 e_2", real=True)

_W = sympy.symbols("w_11 w_12 w_21 w_22", real=True)
w_11, w_12, w_21, w_22 = _W
_directions = (e_1 + e_1 * w_11 + e_2 * w_21, e_2 + e_1 * w_12 + e_2 * w_22)
_after_one = sympy.Eq(t_div_next * (1 + t * (Q - 1)), 1 - t)
_uniform_rate = sympy.Eq(r * (1 - t), 1 - t - t_div_next)
_u_next = sympy.Eq(u_next * D, Q * C)
_close_to_one = (1 - eps) * (Q - 1) / (1 + (1 - eps) * (Q - 1))
_uniform_limit = Tends("continuous at eps = 0", _close_to_one, eps, 0, 1 - 1 / Q)


def second(z: Any) -> dict[str, Query]:
    C, D, u, u_next, Q, t, t_div_next, r, R, e_1, e_2, m_1, m_2 = z.Reals(
        "C D u u_next Q t t_div_next r R e_1 e_2 m_1 m_2"
    )
    w_11, w_12, w_21, w_22, x_1, x_2, y_1, y_2, w = z.Reals("w_11 w_12 w_21 w_22 x_1 x_2 y_1 y_2 w")
    e, delta = z.Reals("e delta")
    a_1, a_2 = e_1 + e_1 * w_11 + e_2 * w_21, e_2 + e_1 * w_12 + e_2 * w_22
    rest = Q - e * (Q - 1)
    small = z.And(
        e >= 0, e <= 1, 2 * e * (Q - 1) <= Q, 2 * e * (Q - 1) < delta * Q * Q, -e * (Q - 1) < delta * Q * Q
    )
    within = z.And(rest > 0, e * (Q - 1) < delta * Q * rest, -e * (Q - 1) < delta * Q * rest)
    return {
        "diverse part": Query(
            {
                "first token": 2 * y_1 == 2 * x_1 + w * (x_1 + x_2),
                "second token": 2 * y_2 == 2 * x_2 + w * (x_1 + x_2),
            },
            y_1 - y_2 == x_1 - x_2,
        ),
        "constant part": Query(
            {
                "m_1": m_1 == R * e_1 + R * e_1 * w_11 + R * e_2 * w_21,
                "m_2": m_2 == R * e_2 + R * e_1 * w_12 + R * e_2 * w_22,
                "Q = |e + W^T e|^2": a_1 * a_1 + a_2 * a_2 == Q,
            },
            m_1 * m_1 + m_2 * m_2 == R * R * Q,
        ),
        "odds": Query(
            {"D > 0": D > 0, "u = C/D": D * u == C, "u' = Q C/D": D * u_next == Q * C}, u_next == u * Q
        ),
        "rate": Query(
            {
                "t >= 0": t >= 0,
                "t < 1": t < 1,
                "Q >= 0": Q >= 0,
                "t_div' = (1 - t)/(1 - t + Q t)": t_div_next * (1 - t + Q * t) == 1 - t,
                "r = 1 - t_div'/t_div": t_div_next == (1 - r) * (1 - t),
            },
            r + r * t * Q - r * t == t * Q - t,
        ),
        "t -> 1": Query({"Q > 0": Q > 0}, z.Or(delta <= 0, z.Not(small), within), same_symbols=False),
    }


STATEMENT = Statement(
    "escalation.uniform",
    "Under uniform attention the odds are multiplied by Q = |e + W^T e|^2 in every layer, at every t, e the "
    "unit vector along the mean token: r = t (Q-1) / (1 + t (Q-1)), and 1 - 1/Q as t goes to 1.",
    r"u_{l+1} = Q_l u_l,\quad r = \frac{t(Q-1)}{1+t(Q-1)} \to 1 - \frac1Q",
    "derived here",
    (
        Claim(
            "diverse part",
            {
                "first token": sympy.Eq(y_1, x_1 + w * (x_1 + x_2) / 2),
                "second token": sympy.Eq(y_2, x_2 + w * (x_1 + x_2) / 2),
            },
            [sympy.Eq(y_1 - y_2, x_1 - x_2)],
            [Identity("the same is added to both", y_1 - y_2, x_1 - x_2)],
            "P = Pi: Y = X + Pi X W adds the same row to every token (here two tokens of one feature), so "
            "Pi_perp Y = Pi_perp X.",
        ),
        Claim(
            "constant part",
            {
                "m_1": sympy.Eq(m_1, R * e_1 + R * e_1 * w_11 + R * e_2 * w_21),
                "m_2": sympy.Eq(m_2, R * e_2 + R * e_1 * w_12 + R * e_2 * w_22),
                "Q = |e + W^T e|^2": sympy.Eq(Q, _directions[0] ** 2 + _directions[1] ** 2),
            },
            [sympy.Eq(m_1**2 + m_2**2, R**2 * Q)],
            [Identity("R^2 comes out", m_1**2 + m_2**2, R**2 * Q)],
            "The mean token R e^T (two features; |e| = 1) becomes R (e + W^T e)^T: |Pi Y|^2 = Q |Pi X|^2.",
        ),
        Claim(
            "odds",
            {"D > 0": D > 0, "u = C/D": u_before, "u' = Q C/D": _u_next},
            [sympy.Eq(u_next, Q * u)],
            [
                Sign(
                    "divide by D",
                    u_next - Q * u,
                    "==",
                    plus(zero(_u_next)[0], -Q * zero(u_before)[0]) / D,
                )
            ],
        ),
        Claim(
            "rate",
            {
                "t >= 0": t >= 0,
                "t < 1": t < 1,
                "Q >= 0": Q >= 0,
                "t_div' = (1 - t)/(1 - t + Q t)": _after_one,
                "r = 1 - t_div'/t_div": _uniform_rate,
            },
            [sympy.Eq(r, t * (Q - 1) / (1 + t * (Q - 1)))],
            [
                Sign("what |X|^2 is multiplied by", 1 + t * (Q - 1), ">", plus(1 - t, t * Q)),
                Sign(
                    "two differences that are 0",
                    r - t * (Q - 1) / (1 + t * (Q - 1)),
                    "==",
                    plus(times(1 + t * (Q - 1), zero(_uniform_rate)[0]), -zero(_after_one)[0])
                    / ((1 - t) * (1 + t * (Q - 1))),
                ),
            ],
            "|X|^2 = 1, |Pi Y|^2 = Q t and |Pi_perp Y|^2 = 1 - t.",
        ),
        Claim(
            "t -> 1",
            {"Q > 0": Q > 0},
            [_uniform_limit],
            [_uniform_limit],
            "eps = 1 - t. Second form: |r - (1 - 1/Q)| = eps |Q - 1| / (Q (Q - eps (Q - 1))) is "
            "below delta once eps is small as stated.",
        ),
    ),
    second,
    witnesses={
        ("rate", "t < 1"): {"t": 1, "Q": 2, "t_div_next": 0, "r": 5},
        ("t -> 1", "Q > 0"): "at Q = 0 the rate is -(1 - eps)/eps, which has no limit",
    },
)
