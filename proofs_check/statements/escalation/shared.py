"""Token similarity escalation: how fast tokens become alike under attention with fresh random weights.

A layer is Y = X + P X W with attention P (P1 = 1) and a fresh W with E W = 0 and
E W W^T = s^2 I.  Pi averages over tokens, Pi_perp = I - Pi; t = |Pi X|^2 / |X|^2
is the token similarity, t_div = 1 - t the diversity, u = t / t_div the odds and
r = 1 - t_div(Y) / t_div(X) the escalation rate.  A prime (``t_next`` and the
like) marks what the layer makes of a number.  sigma is the spectral norm of
Pi_perp P Pi_perp.  Where E|Pi Y|^2 and E|Pi_perp Y|^2 stand for the squares
themselves, the rate is a *ratio of expectations*.

>>> RATE
s**2*t*(1 - sigma**2)/(s**2*sigma**2 + s**2*t*(1 - sigma**2) + 1)
>>> LOCAL_RATE.subs({s: 1, sigma: 0})
1/2
"""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends, plus, times

__all__ = ["LOCAL_RATE", "RATE", "STATEMENTS"]

t, s, sigma, tau, r, u, Q, eps, kappa, nu = sympy.symbols("t s sigma tau r u Q epsilon kappa nu", real=True)
t_next, u_next, t_div, t_div_next = sympy.symbols("t_next u_next t_div t_div_next", real=True)
C, D, K, C_next, D_next = sympy.symbols("C D K C_next D_next", real=True)

#: the rate that a layer has at least, as a ratio of expectations, if the columns of P sum to 1
RATE = s**2 * (1 - sigma**2) * t / (1 + s**2 * sigma**2 + s**2 * (1 - sigma**2) * t)
#: the rate that any P has at least as t goes to 1
LOCAL_RATE = s**2 * (1 - sigma**2) / (1 + s**2)


def _zero(*relations: Any) -> list[Any]:
    """Return what the given equations say is 0."""
    return [relation.lhs - relation.rhs for relation in relations]


def _over(z: Any, value: Any, top: Any, bottom: Any, sign: int) -> Any:
    """Return that value - top/bottom is positive (1), not negative (0), multiplied by the denominator."""
    upper, lower = value * bottom - top, top - value * bottom
    return z.If(bottom > 0, upper > 0, lower > 0) if sign else z.If(bottom > 0, upper >= 0, lower >= 0)


# ---------------------------------------------------------------- similarity, diversity, odds


def _odds(z: Any) -> dict[str, Query]:
    t, t_div, t_div_next, u, u_next, r, C, D = z.Reals("t t_div t_div_next u u_next r C D")
    domain = {"t_div > 0": t_div > 0}
    return {
        "shares": Query(
            {
                "t |X|^2 = |Pi X|^2": C * t + D * t - C == 0,
                "t_div |X|^2 = |Pi_perp X|^2": C * t_div + D * t_div - D == 0,
                "X is not 0": C + D > 0,
            },
            t == 1 - t_div,
        ),
        "odds": Query(
            domain | {"t + t_div = 1": t == 1 - t_div, "u t_div = t": t - t_div * u == 0},
            z.And(t + t * u == u, t_div + t_div * u == 1),
        ),
        "rate": Query(
            domain
            | {
                "t_div' > 0": t_div_next > 0,
                "(1 + u) t_div = 1": t_div + t_div * u == 1,
                "(1 + u') t_div' = 1": t_div_next + t_div_next * u_next == 1,
                "r t_div = t_div - t_div'": t_div_next == t_div - t_div * r,
            },
            r + r * u_next == u_next - u,
        ),
    }


_share = [sympy.Eq(t * (C + D), C), sympy.Eq(t_div * (C + D), D)]
_before, _after = sympy.Eq((1 + u) * t_div, 1), sympy.Eq((1 + u_next) * t_div_next, 1)
_rate = sympy.Eq(r * t_div, t_div - t_div_next)

_ODDS = Statement(
    "similarity.odds",
    "Similarity and diversity add up to 1; with the odds u = t/t_div the similarity is u/(1+u), and the "
    "escalation rate is the increase of the odds over 1 + u'.",
    r"t = \frac{u}{1+u},\quad r = 1 - \frac{t_\mathrm{div}'}{t_\mathrm{div}} = \frac{u'-u}{1+u'}",
    "token similarity: arXiv 2312.06182; the formula of the rate is a reading, the rest derived here",
    (
        Claim(
            "shares",
            {
                "t |X|^2 = |Pi X|^2": _share[0],
                "t_div |X|^2 = |Pi_perp X|^2": _share[1],
                "X is not 0": C + D > 0,
            },
            [sympy.Eq(t, 1 - t_div)],
            [Sign("divide by |X|^2", t + t_div - 1, "==", plus(*_zero(*_share)) / (C + D))],
            "C = |Pi X|^2 and D = |Pi_perp X|^2; Pi is an orthogonal projection, so |X|^2 = C + D.",
        ),
        Claim(
            "odds",
            {
                "t + t_div = 1": sympy.Eq(t + t_div, 1),
                "u t_div = t": sympy.Eq(u * t_div, t),
                "t_div > 0": t_div > 0,
            },
            [sympy.Eq(t, u / (1 + u)), sympy.Eq(t_div, 1 / (1 + u))],
            [
                Sign("1 + u = 1/t_div", 1 + u, ">", plus(u * t_div - t, t + t_div - 1, 1) / t_div),
                Sign(
                    "the similarity",
                    t - u / (1 + u),
                    "==",
                    plus(times(u, t + t_div - 1), -(u * t_div - t)) / (1 + u),
                ),
                Sign(
                    "the diversity",
                    t_div - 1 / (1 + u),
                    "==",
                    plus(t + t_div - 1, u * t_div - t) / (1 + u),
                ),
            ],
        ),
        Claim(
            "rate",
            {
                "(1 + u) t_div = 1": _before,
                "(1 + u') t_div' = 1": _after,
                "r t_div = t_div - t_div'": _rate,
                "t_div > 0": t_div > 0,
                "t_div' > 0": t_div_next > 0,
            },
            [sympy.Eq(r, (u_next - u) / (1 + u_next))],
            [
                Sign("1 + u' = 1/t_div'", 1 + u_next, ">", plus(*_zero(_after), 1) / t_div_next),
                Sign(
                    "1 - t_div'/t_div in terms of odds",
                    r - (u_next - u) / (1 + u_next),
                    "==",
                    plus(times(1 + u_next, *_zero(_rate)), times(-1, *_zero(_after)), *_zero(_before))
                    / ((1 + u_next) * t_div),
                ),
            ],
            "Diversity is 1/(1+u) before and 1/(1+u') after the layer.",
        ),
    ),
    _odds,
    witnesses={
        ("odds", "t + t_div = 1"): {"t": 1, "t_div": 1, "u": 1},
        ("odds", "u t_div = t"): {"t": 0, "t_div": 1, "u": 1},
        ("rate", "(1 + u') t_div' = 1"): {"t_div": 1, "t_div_next": 1, "u": 0, "u_next": 1, "r": 0},
    },
)

x_1, x_2, y_1, y_2, b_1, b_2 = sympy.symbols("x_1 x_2 y_1 y_2 b_1 b_2", real=True)
_W = sympy.symbols("w_11 w_12 w_21 w_22", real=True)
w_11, w_12, w_21, w_22 = _W
N = sympy.Symbol("N", real=True)
_moved = (x_1 * w_11 + x_2 * w_21, x_1 * w_12 + x_2 * w_22)
_orthogonal = {
    "first row of W has length 1": sympy.Eq(w_11**2 + w_12**2, 1),
    "second row of W has length 1": sympy.Eq(w_21**2 + w_22**2, 1),
    "rows of W are orthogonal": sympy.Eq(w_11 * w_21 + w_12 * w_22, 0),
}


def _orthogonal_second(z: Any) -> dict[str, Query]:
    x_1, x_2, y_1, y_2, b_1, b_2 = z.Reals("x_1 x_2 y_1 y_2 b_1 b_2")
    w_11, w_12, w_21, w_22 = z.Reals("w_11 w_12 w_21 w_22")
    return {
        "lengths": Query(
            {
                "first row of W has length 1": w_11 * w_11 + w_12 * w_12 == 1,
                "second row of W has length 1": w_21 * w_21 + w_22 * w_22 == 1,
                "rows of W are orthogonal": w_11 * w_21 + w_12 * w_22 == 0,
            },
            x_1 * x_1 * (w_11 * w_11 + w_12 * w_12)
            + 2 * x_1 * x_2 * (w_11 * w_21 + w_12 * w_22)
            + x_2 * x_2 * (w_21 * w_21 + w_22 * w_22)
            == x_1 * x_1 + x_2 * x_2,
        ),
        "means": Query(
            {
                "y_1 is a feature of the first token": y_1 == x_1 * w_11 + x_2 * w_21,
                "y_2 is that of the second": y_2 == b_1 * w_11 + b_2 * w_21,
            },
            y_1 + y_2 == w_11 * (x_1 + b_1) + w_21 * (x_2 + b_2),
        ),
    }


_ORTHOGONAL = Statement(
    "similarity.orthogonal",
    "Right multiplication by an orthogonal matrix changes no token similarity: |X W| = |X| and |Pi X W| = "
    "|Pi X|.",
    r"W W^\top = I \;\Longrightarrow\; \|XW\|_F = \|X\|_F,\quad \|\Pi X W\|_F = \|\Pi X\|_F",
    "that the other parts of a layer do not drive escalation: arXiv 2312.06182; this case derived here",
    (
        Claim(
            "lengths",
            _orthogonal,
            [sympy.Eq(_moved[0] ** 2 + _moved[1] ** 2, x_1**2 + x_2**2)],
            [
                Sign(
                    "x W W^T x^T - x x^T, entry by entry of W W^T - I",
                    _moved[0] ** 2 + _moved[1] ** 2 - x_1**2 - x_2**2,
                    "==",
                    plus(
                        times(x_1**2, w_11**2 + w_12**2 - 1),
                        times(x_2**2, w_21**2 + w_22**2 - 1),
                        times(2 * x_1 * x_2, w_11 * w_21 + w_12 * w_22),
                    ),
                )
            ],
            "Two features; x is a row, a token or the mean token. In any number of features |x "
            "W|^2 - |x|^2 = x (W W^T - I) x^T = 0. |X W|^2 is the sum over tokens, |Pi X W|^2 is n times "
            "the square of the mean token.",
        ),
        Claim(
            "means",
            {
                "y_1 is a feature of the first token": sympy.Eq(y_1, x_1 * w_11 + x_2 * w_21),
                "y_2 is that of the second": sympy.Eq(y_2, b_1 * w_11 + b_2 * w_21),
            },
            [sympy.Eq(y_1 + y_2, (x_1 + b_1) * w_11 + (x_2 + b_2) * w_21)],
            [
                Identity(
                    "the sum of the tokens goes through W", y_1 + y_2, (x_1 + b_1) * w_11 + (x_2 + b_2) * w_21
                )
            ],
            "Tokens x and b: the mean of X W is the mean of X, times W. In general Pi (X W) = (Pi X) W.",
        ),
    ),
    _orthogonal_second,
)

# ---------------------------------------------------------------- de-escalation

wanted = sympy.Symbol("wanted", real=True)
_left = (1 - tau) ** 2 * t
_total = _left + 1 - t
_formula = sympy.Eq(t_next * _total, _left)
_PI = sympy.Matrix([[1, 1], [1, 1]]) / 2
_removes = sympy.eye(2) - tau * _PI
_proper = {"t > 0": t > 0, "t < 1": t < 1}
_part = sympy.Eq(t_next * ((1 - tau) ** 2 * C + D), (1 - tau) ** 2 * C)
_positive_total = Sign("what is left is not 0", _total, ">", plus(_left, 1 - t))


def _deescalation_second(z: Any) -> dict[str, Query]:
    t, tau, t_next, wanted, C, D, N = z.Reals("t tau t_next wanted C D N")
    keep = 1 - tau
    kept = keep * keep * t
    formula = {"the formula of t'": t_next * kept + t_next * (1 - t) == kept}
    proper = {"t > 0": t > 0, "t < 1": t < 1}
    return {
        "formula": Query(
            {
                "|Pi X|^2 = t |X|^2": N * t == C,
                "|Pi_perp X|^2 = (1 - t) |X|^2": N - N * t == D,
                "t' |Y|^2 = |Pi Y|^2": t_next * keep * keep * C + t_next * D - keep * keep * C == 0,
                "X is not 0": N > 0,
            },
            formula["the formula of t'"],
        ),
        "defined": Query({"t >= 0": t >= 0, "t < 1": t < 1}, kept + 1 - t > 0),
        "all alike": Query({"t = 1": t == 1, "tau != 1": keep != 0}, kept + 1 - t > 0),
        "the exception": Query({"t = 1": t == 1, "tau = 1": tau == 1}, kept + 1 - t == 0),
        "all removed": Query({"tau = 1": tau == 1, "t < 1": t < 1} | formula, t_next == 0),
        "lowers": Query(proper | formula | {"tau > 0": tau > 0, "tau < 2": tau < 2}, t_next < t),
        "raises": Query(proper | formula | {"tau (2 - tau) < 0": tau * tau > 2 * tau}, t < t_next),
        "a wanted similarity": Query(
            proper
            | formula
            | {
                "wanted >= 0": wanted >= 0,
                "wanted < 1": wanted < 1,
                "(1 - tau)^2 t (1 - wanted) = wanted (1 - t)": kept - kept * wanted == wanted - wanted * t,
            },
            t_next == wanted,
        ),
    }


_DEESCALATION = Statement(
    "escalation.deescalation",
    "De-escalation Y = (I - tau Pi) X makes (1-tau)^2 t / ((1-tau)^2 t + 1 - t) of the similarity t, except "
    "where t = tau = 1. For 0 < t < 1: tau = 1 removes all of it, every tau between 0 and 2 lowers it, every "
    "other but 0 and 2 raises it, and any t' with 0 <= t' < 1 is reached with (1-tau)^2 = t'(1-t)/(t(1-t')).",
    r"t' = \frac{(1-\tau)^2 t}{(1-\tau)^2 t + 1 - t}",
    "de-escalation: arXiv 2312.06182; the formula and what follows derived here",
    (
        Claim(
            "formula",
            {
                "|Pi X|^2 = t |X|^2": sympy.Eq(C, t * N),
                "|Pi_perp X|^2 = (1 - t) |X|^2": sympy.Eq(D, (1 - t) * N),
                "t' |Y|^2 = |Pi Y|^2": _part,
                "X is not 0": N > 0,
            },
            [_formula],
            [
                Identity("Pi Y = (1 - tau) Pi X", _PI * _removes, (1 - tau) * _PI),
                Identity("Pi_perp Y = Pi_perp X", (sympy.eye(2) - _PI) * _removes, sympy.eye(2) - _PI),
                Sign(
                    "divide by |X|^2",
                    t_next * _total - _left,
                    "==",
                    _zero(_part)[0] / N,
                ),
            ],
            "C = |Pi X|^2, D = |Pi_perp X|^2, N = |X|^2. Pi Pi = Pi for any number of tokens (the matrices: "
            "two), so |Pi Y|^2 = (1 - tau)^2 C and |Pi_perp Y|^2 = D.",
        ),
        Claim(
            "defined",
            {"t >= 0": t >= 0, "t < 1": t < 1},
            [_total > 0],
            [_positive_total],
            "Where t < 1 the denominator is positive, so the formula gives t'.",
        ),
        Claim(
            "all alike",
            {"t = 1": sympy.Eq(t, 1), "tau != 1": sympy.Ne(tau, 1)},
            [_total > 0],
            [Sign("a square that is not 0", _total, ">", (tau - 1) ** 2)],
            "Where all tokens are alike and tau != 1 it is positive too; t' = 1.",
        ),
        Claim(
            "the exception",
            {"t = 1": sympy.Eq(t, 1), "tau = 1": sympy.Eq(tau, 1)},
            [sympy.Eq(_total, 0)],
            [Identity("nothing is left", _total, 0)],
            "Then Y = 0, which has no similarity.",
        ),
        Claim(
            "all removed",
            {"tau = 1": sympy.Eq(tau, 1), "t < 1": t < 1, "the formula of t'": _formula},
            [sympy.Eq(t_next, 0)],
            [Sign("0 = t' (1 - t)", t_next, "==", times(t_next - t * t_next, 1 / (1 - t)))],
        ),
        Claim(
            "lowers",
            _proper | {"tau > 0": tau > 0, "tau < 2": tau < 2, "the formula of t'": _formula},
            [t_next < t],
            [
                _positive_total,
                Sign(
                    "t - t' = t (1 - t) tau (2 - tau) over what is left",
                    t - t_next,
                    ">",
                    plus(times(t, 1 - t, tau, 2 - tau), -(t_next * _total - _left)) / _total,
                ),
            ],
        ),
        Claim(
            "raises",
            _proper | {"tau (2 - tau) < 0": tau * (2 - tau) < 0, "the formula of t'": _formula},
            [t_next > t],
            [
                _positive_total,
                Sign(
                    "the same difference, now negative",
                    t - t_next,
                    "<",
                    plus(times(t, 1 - t, tau * (2 - tau)), -(t_next * _total - _left)) / _total,
                ),
            ],
            "tau < 0 or tau > 2.",
        ),
        Claim(
            "a wanted similarity",
            _proper
            | {
                "wanted >= 0": wanted >= 0,
                "wanted < 1": wanted < 1,
                "(1 - tau)^2 t (1 - wanted) = wanted (1 - t)": sympy.Eq(
                    _left * (1 - wanted), wanted * (1 - t)
                ),
                "the formula of t'": _formula,
            },
            [sympy.Eq(t_next, wanted)],
            [
                _positive_total,
                Sign(
                    "two differences that are 0",
                    t_next - wanted,
                    "==",
                    plus(t_next * _total - _left, _left * (1 - wanted) - wanted * (1 - t)) / _total,
                ),
            ],
            "tau = 1 - sqrt(t'(1-t) / (t(1-t'))) lies in [0, 1] when the wanted t' is at most t.",
        ),
    ),
    _deescalation_second,
)

# ---------------------------------------------------------------- expectations over the weights

z_1, z_2, lamda, M = sympy.symbols("z_1 z_2 lambda M", real=True)
_E = sympy.symbols("e_11 e_12 e_21 e_22", real=True)
g_11, g_12, g_22 = sympy.symbols("g_11 g_12 g_22", real=True)
p_11, p_12, p_21, p_22, v_1, v_2 = sympy.symbols("p_11 p_12 p_21 p_22 v_1 v_2", real=True)
m_1, m_2 = sympy.symbols("m_1 m_2", real=True)
xi = sympy.Symbol("xi", real=True)
_z = sympy.Matrix([[z_1, z_2]])
_mean_w, _mean_square = sympy.Matrix(2, 2, _E), sympy.Matrix([[g_11, g_12], [g_12, g_22]])
_w = sympy.Matrix(2, 2, _W)
_length = z_1**2 + z_2**2
_normal = sympy.exp(-(xi**2) / 2) / sympy.sqrt(2 * sympy.pi)
_primitive = sympy.erf(xi / sympy.sqrt(2)) / 2 - xi * _normal
_second_moment = Tends("what it gains from -xi to xi", _primitive - _primitive.subs(xi, -xi), xi, sympy.oo, 1)


def _expectation_second(z: Any) -> dict[str, Query]:
    z_1, z_2, lamda, M, s = z.Reals("z_1 z_2 lambda M s")
    e_11, e_12, e_21, e_22, g_11, g_12, g_22 = z.Reals("e_11 e_12 e_21 e_22 g_11 g_12 g_22")
    p_11, p_12, p_21, p_22, v_1, v_2 = z.Reals("p_11 p_12 p_21 p_22 v_1 v_2")
    b_1, b_2, y_1, y_2 = z.Reals("b_1 b_2 y_1 y_2")
    once = z_1 * z_1 * e_11 + z_1 * z_2 * e_12 + z_2 * z_1 * e_21 + z_2 * z_2 * e_22
    twice = z_1 * z_1 * g_11 + 2 * z_1 * z_2 * g_12 + z_2 * z_2 * g_22
    length = z_1 * z_1 + z_2 * z_2
    applied = {
        "y_1 = (P b)_1": p_11 * b_1 + p_12 * b_2 == y_1,
        "y_2 = (P b)_2": p_21 * b_1 + p_22 * b_2 == y_2,
    }
    return {
        "one mode": Query(
            {
                "E w_11 = 0": e_11 == 0,
                "E w_12 = 0": e_12 == 0,
                "E w_21 = 0": e_21 == 0,
                "E w_22 = 0": e_22 == 0,
                "(E W W^T)_11 = s^2": g_11 == s * s,
                "(E W W^T)_22 = s^2": g_22 == s * s,
                "(E W W^T)_12 = 0": g_12 == 0,
                "M is the expectation": length + 2 * lamda * once + lamda * lamda * twice == M,
            },
            length + (lamda * s) * (lamda * s) * length == M,
        ),
        "constant part": Query(
            {
                "first column of P sums to 1": p_11 + p_21 == 1,
                "second column of P sums to 1": p_12 + p_22 == 1,
            }
            | applied,
            y_1 - b_1 == b_2 - y_2,
        ),
        "diverse part": Query(
            {
                "P is symmetric": p_12 == p_21,
                "(P v)_1 = lambda v_1": lamda * v_1 == v_1 * p_11 + v_2 * p_12,
                "(P v)_2 = lambda v_2": lamda * v_2 == v_1 * p_21 + v_2 * p_22,
            },
            z.And(v_1 * p_11 + v_2 * p_21 == lamda * v_1, v_1 * p_12 + v_2 * p_22 == lamda * v_2),
        ),
    }


_applied = {
    "y_1 = (P b)_1": sympy.Eq(y_1, p_11 * b_1 + p_12 * b_2),
    "y_2 = (P b)_2": sympy.Eq(y_2, p_21 * b_1 + p_22 * b_2),
}
_eigen = {
    "(P v)_1 = lambda v_1": sympy.Eq(p_11 * v_1 + p_12 * v_2, lamda * v_1),
    "(P v)_2 = lambda v_2": sympy.Eq(p_21 * v_1 + p_22 * v_2, lamda * v_2),
}

_EXPECTATION = Statement(
    "escalation.expectation",
    "If the columns of P sum to 1, E|Pi Y|^2 = (1 + s^2)|Pi X|^2; if P is symmetric with eigenvectors v_i, "
    "also E|Pi_perp Y|^2 = sum (1 + s^2 lambda_i^2)|v_i^T X|^2. Only E W = 0 and E W W^T = s^2 I are used.",
    r"\mathbb E\|\Pi Y\|^2 = (1+s^2)\|\Pi X\|^2,\quad"
    r" \mathbb E\|\Pi_\perp Y\|^2 = \sum_{i\ge2} (1+s^2\lambda_i^2)\|v_i^\top X\|^2",
    "derived here",
    (
        Claim(
            "one mode",
            {f"E w_{e.name[2:]} = 0": sympy.Eq(e, 0) for e in _E}
            | {
                "(E W W^T)_11 = s^2": sympy.Eq(g_11, s**2),
                "(E W W^T)_22 = s^2": sympy.Eq(g_22, s**2),
                "(E W W^T)_12 = 0": sympy.Eq(g_12, 0),
                "M is the expectation": sympy.Eq(
                    M,
                    sympy.expand(
                        _length
                        + 2 * lamda * (_z * _mean_w * _z.T)[0]
                        + lamda**2 * (_z * _mean_square * _z.T)[0]
                    ),
                ),
            },
            [sympy.Eq(M, (1 + s**2 * lamda**2) * _length)],
            [
                Identity(
                    "the square of the length",
                    ((_z + lamda * _z * _w) * (_z + lamda * _z * _w).T)[0],
                    _length + 2 * lamda * (_z * _w * _z.T)[0] + lamda**2 * (_z * _w * _w.T * _z.T)[0],
                ),
                Identity("its expectation", M, (1 + s**2 * lamda**2) * _length),
            ],
            "z = v^T X is a mode (v = 1/sqrt n for the constant part, lambda = 1), and v^T Y = z + lambda z "
            "W. Two features: the square of its length has terms without W, linear in W, and in W W^T (step "
            "1), so its expectation M is had by putting E W and E W W^T for W and W W^T. Any d: the same "
            "with sums.",
        ),
        Claim(
            "constant part",
            {
                "first column of P sums to 1": sympy.Eq(p_21, 1 - p_11),
                "second column of P sums to 1": sympy.Eq(p_22, 1 - p_12),
            }
            | _applied,
            [sympy.Eq(y_1 + y_2, b_1 + b_2)],
            [Identity("add up each column of P", y_1 + y_2, b_1 + b_2)],
            "b is a column of X W. With Pi P = Pi, 1^T P X W = 1^T X W: the constant mode has lambda = 1. A "
            "symmetric P has Pi P = (P Pi)^T = Pi, and so has any doubly stochastic one.",
        ),
        Claim(
            "diverse part",
            {"P is symmetric": sympy.Eq(p_21, p_12)} | _eigen,
            [
                sympy.Eq(v_1 * p_11 + v_2 * p_21, lamda * v_1),
                sympy.Eq(v_1 * p_12 + v_2 * p_22, lamda * v_2),
            ],
            [
                Sign("(v^T P)_1 is (P v)_1", v_1 * p_11 + v_2 * p_21 - lamda * v_1, "=="),
                Sign("(v^T P)_2 is (P v)_2", v_1 * p_12 + v_2 * p_22 - lamda * v_2, "=="),
            ],
            "So v^T P X W = lambda v^T X W. The v_i, i >= 2, are an orthonormal basis of what is orthogonal "
            "to 1, and |Pi_perp Y|^2 is the sum of |v_i^T Y|^2.",
        ),
        Claim(
            "Gaussian weights",
            {},
            [_second_moment],
            [
                Identity(
                    "an integral of xi^2 exp(-xi^2/2)", sympy.Derivative(_primitive, xi), xi**2 * _normal
                ),
                _second_moment,
            ],
            "The second moment of N(0, 1) is 1 and its mean, of an odd function, 0. W with independent "
            "entries s xi / sqrt d: E W = 0, and (E W W^T)_ij sums s^2 E xi_ik xi_jk / d over d values of "
            "k: s^2 if i = j, else 0. For W = s R with R orthogonal W W^T = s^2 I itself, and E R = 0 if R "
            "and -R have one law, as for Haar.",
        ),
    ),
    _expectation_second,
    only_symbolic={"Gaussian weights": "an integral of exp(-xi^2/2)"},
)

# ---------------------------------------------------------------- the bound

_most = (1 + s**2 * sigma**2) * (1 - t)
_grown = (1 + s**2) * t
_rate_of = sympy.Eq(r * (1 - t) * (_grown + D_next), (1 - t) * (_grown + D_next) - D_next)
_all_of_it = _grown + _most
_between = {"t > 0": t > 0, "t < 1": t < 1}
d_1, d_2, l_1, l_2 = sympy.symbols("d_1 d_2 lambda_1 lambda_2", real=True)
_sum_of_modes = sympy.Eq(D_next, (1 + s**2 * l_1**2) * d_1 + (1 + s**2 * l_2**2) * d_2)
_ahead = plus(
    times(_grown, _most - D_next) / ((1 - t) * _all_of_it * (_grown + D_next)),
    _zero(_rate_of)[0] / ((1 - t) * (_grown + D_next)),
)
_both_positive = [
    Sign("the most that |Y|^2 can be", _all_of_it, ">", plus(_grown, _most)),
    Sign("what it is", _grown + D_next, ">", plus(_grown, D_next)),
]


def _bound_second(z: Any) -> dict[str, Query]:
    t, s, sigma, r, D, K, D_next = z.Reals("t s sigma r D K D_next")
    d_1, d_2, l_1, l_2 = z.Reals("d_1 d_2 lambda_1 lambda_2")
    square, gap = s * s, sigma * sigma
    grown = t + square * t
    base = {
        "t > 0": t > 0,
        "t < 1": t < 1,
        "D' >= 0": D_next >= 0,
        "r = 1 - t_div'/t_div": (1 - r) * (1 - t) * (grown + D_next) == D_next,
    }
    most = (1 - t) + square * gap * (1 - t)
    top = square * t - square * gap * t
    bottom = 1 + square * gap + top
    modes = {"D' is the sum over modes": D_next == d_1 + d_2 + square * (l_1 * l_1 * d_1 + l_2 * l_2 * d_2)}
    return {
        "diverse part": Query(
            {"D' = D + s^2 K": D_next - D == square * K, "K <= sigma^2 D": gap * D >= K},
            D_next <= D + square * gap * D,
        ),
        "rate": Query(base | {"D' <= (1 + s^2 sigma^2) D": D_next <= most}, _over(z, r, top, bottom, 0)),
        "equality": Query(base | {"D' = (1 + s^2 sigma^2) D": D_next == most}, r * bottom == top),
        "strict": Query(base | {"D' < (1 + s^2 sigma^2) D": D_next < most}, _over(z, r, top, bottom, 1)),
        "all modes alike": Query(
            modes
            | {
                "lambda_1^2 = sigma^2": z.Or(l_1 == sigma, l_1 == -sigma),
                "lambda_2^2 = sigma^2": z.Or(l_2 == sigma, l_2 == -sigma),
            },
            D_next == (1 + square * gap) * (d_1 + d_2),
        ),
        "one mode lower": Query(
            modes
            | {
                "s != 0": s != 0,
                "d_1 > 0": d_1 > 0,
                "d_2 >= 0": d_2 >= 0,
                "lambda_1^2 < sigma^2": l_1 * l_1 < gap,
                "lambda_2^2 <= sigma^2": l_2 * l_2 <= gap,
            },
            D_next < d_1 + d_2 + square * gap * (d_1 + d_2),
        ),
    }


_base = _between | {"D' >= 0": D_next >= 0, "r = 1 - t_div'/t_div": _rate_of}
_rate_words = (
    "|X|^2 = 1, so |Pi X|^2 = t, |Pi_perp X|^2 = D = 1 - t; E|Pi Y|^2 = (1 + s^2) t and D' = E|Pi_perp Y|^2. "
    "r = 1 - t_div'/t_div with t_div' = D' / ((1 + s^2) t + D')."
)

_BOUND = Statement(
    "escalation.bound",
    "If the columns of P sum to 1, the escalation rate, as a ratio of expectations, is at least s^2 (1 - "
    "sigma^2) t / (1 + s^2 sigma^2 + s^2 (1 - sigma^2) t), with equality (s != 0) iff |Pi_perp P Pi_perp X| "
    "= sigma |Pi_perp X|; for symmetric P, iff all lambda_i^2 of modes that X has equal sigma^2.",
    r"r \ge \frac{s^2(1-\sigma^2)\,t}{1 + s^2\sigma^2 + s^2(1-\sigma^2)\,t}",
    "that the rate scales with t_sim and depends on the second eigenvalue: arXiv 2312.06182; the bound "
    "derived here",
    (
        Claim(
            "diverse part",
            {"D' = D + s^2 K": sympy.Eq(D_next, D + s**2 * K), "K <= sigma^2 D": sigma**2 * D >= K},
            [D_next <= (1 + s**2 * sigma**2) * D],
            [
                Sign(
                    "a square times what is missing",
                    (1 + s**2 * sigma**2) * D - D_next,
                    ">=",
                    times(s**2, sigma**2 * D - K),
                )
            ],
            "Pi_perp Y = Pi_perp X + Pi_perp P X W and Pi_perp P 1 = 0, so Pi_perp P X = Pi_perp P Pi_perp "
            "X =: G. E W = 0 removes the mixed term and E|G W|^2 = trace(G E(W W^T) G^T) = s^2 |G|^2; K = "
            "|G|^2 <= sigma^2 D. This holds for any P with P1 = 1.",
        ),
        Claim(
            "rate",
            _base | {"D' <= (1 + s^2 sigma^2) D": D_next <= _most},
            [r >= RATE],
            [
                *_both_positive,
                Sign("the two rates, subtracted", r - t * s**2 * (1 - sigma**2) / _all_of_it, ">=", _ahead),
                Sign(
                    "the denominator in another form",
                    r - RATE,
                    ">=",
                    r - t * s**2 * (1 - sigma**2) / _all_of_it,
                ),
            ],
            _rate_words,
        ),
        Claim(
            "equality",
            _base | {"D' = (1 + s^2 sigma^2) D": sympy.Eq(D_next - _most, 0)},
            [sympy.Eq(r, RATE)],
            [
                *_both_positive,
                Sign("the two rates, subtracted", r - t * s**2 * (1 - sigma**2) / _all_of_it, "==", _ahead),
                Sign(
                    "the denominator in another form",
                    r - RATE,
                    "==",
                    r - t * s**2 * (1 - sigma**2) / _all_of_it,
                ),
            ],
            _rate_words,
        ),
        Claim(
            "strict",
            _base | {"D' < (1 + s^2 sigma^2) D": D_next < _most},
            [r > RATE],
            [
                *_both_positive,
                Sign("the two rates, subtracted", r - t * s**2 * (1 - sigma**2) / _all_of_it, ">", _ahead),
                Sign(
                    "the denominator in another form",
                    r - RATE,
                    ">",
                    r - t * s**2 * (1 - sigma**2) / _all_of_it,
                ),
            ],
            _rate_words + " So equality in the rate is equality in the diverse part.",
        ),
        Claim(
            "all modes alike",
            {
                "lambda_1^2 = sigma^2": sympy.Eq(l_1**2 - sigma**2, 0),
                "lambda_2^2 = sigma^2": sympy.Eq(l_2**2 - sigma**2, 0),
                "D' is the sum over modes": _sum_of_modes,
            },
            [sympy.Eq(D_next, (1 + s**2 * sigma**2) * (d_1 + d_2))],
            [
                Sign(
                    "mode by mode",
                    D_next - (1 + s**2 * sigma**2) * (d_1 + d_2),
                    "==",
                    plus(times(s**2 * d_1, l_1**2 - sigma**2), times(s**2 * d_2, l_2**2 - sigma**2)),
                )
            ],
            "Symmetric P: d_i = |v_i^T X|^2, two modes for all.",
        ),
        Claim(
            "one mode lower",
            {
                "s != 0": sympy.Ne(s, 0),
                "d_1 > 0": d_1 > 0,
                "d_2 >= 0": d_2 >= 0,
                "lambda_1^2 < sigma^2": l_1**2 < sigma**2,
                "lambda_2^2 <= sigma^2": l_2**2 <= sigma**2,
                "D' is the sum over modes": _sum_of_modes,
            },
            [D_next < (1 + s**2 * sigma**2) * (d_1 + d_2)],
            [
                Sign("a square that is not 0", s**2, ">"),
                Sign(
                    "mode by mode, one of them negative",
                    D_next - (1 + s**2 * sigma**2) * (d_1 + d_2),
                    "<",
                    plus(times(s**2, d_1, l_1**2 - sigma**2), times(s**2, d_2, l_2**2 - sigma**2)),
                ),
            ],
            "Mode 1 is one that X has and that is lower, mode 2 stands for the others.",
        ),
    ),
    _bound_second,
)


def _half_second(z: Any) -> dict[str, Query]:
    t, sigma = z.Reals("t sigma")
    top = t - sigma * sigma * t
    return {
        "half": Query(
            {"t >= 0": t >= 0, "t <= 1": t <= 1}, _over(z, -top, -2 * top, 1 + sigma * sigma + top, 0)
        ),
    }


_bottom = 1 + sigma**2 + (1 - sigma**2) * t
_HALF = Statement(
    "escalation.half",
    "At s = 1 the bound is at least (1 - sigma^2) t / 2.",
    r"\frac{(1-\sigma^2)\,t}{1+\sigma^2+(1-\sigma^2)\,t} \ge \tfrac12 (1-\sigma^2)\,t",
    "derived here; likely the bound that arXiv 2312.06182 summarises",
    (
        Claim(
            "half",
            {"t >= 0": t >= 0, "t <= 1": t <= 1},
            [(1 - sigma**2) * t / _bottom >= (1 - sigma**2) * t / 2],
            [
                Sign("the denominator", _bottom, ">", plus(1, t, times(sigma**2, 1 - t))),
                Sign(
                    "a square times t (1 - t)",
                    (1 - sigma**2) * t / _bottom - (1 - sigma**2) * t / 2,
                    ">=",
                    times((1 - sigma**2) ** 2, t, 1 - t) / (2 * _bottom),
                ),
            ],
            "The bound of escalation.bound with s = 1. It holds for sigma > 1 too, where both sides are "
            "negative. In the second form it is multiplied by the denominator, which is positive.",
        ),
    ),
    _half_second,
)


def _general_second(z: Any) -> dict[str, Query]:
    x_1, x_2, y_1, y_2, z_1, z_2, t, s, sigma = z.Reals("x_1 x_2 y_1 y_2 z_1 z_2 t s sigma")
    w = z.Real("w")
    tokens = {"x_1 = 1": x_1 == 1, "x_2 = -9": x_2 == -9}
    mean = 9 * x_1 + x_2
    top = s * s * t - s * s * sigma * sigma * t
    return {
        "nothing moves": Query(
            tokens
            | {
                "first token": 10 * y_1 == 10 * x_1 + w * mean,
                "second token": 10 * y_2 == 10 * x_2 + w * mean,
            },
            z.And(y_1 == x_1, y_2 == x_2),
        ),
        "sigma = 0": Query(
            {"y_1 = (P z)_1": 10 * y_1 == 9 * z_1 + z_2, "y_2 = (P z)_2": 10 * y_2 == 9 * z_1 + z_2},
            y_1 == y_2,
        ),
        "similarity": Query(
            tokens | {"t |X|^2 = |Pi X|^2": 2 * t * (x_1 * x_1 + x_2 * x_2) == (x_1 + x_2) * (x_1 + x_2)},
            41 * t == 16,
        ),
        "the bound is positive": Query(
            {"t = 16/41": 41 * t == 16, "sigma = 0": sigma == 0, "s != 0": s != 0},
            z.Or(
                z.And(top > 0, 1 + s * s * sigma * sigma + top > 0),
                z.And(top < 0, 1 + s * s * sigma * sigma + top < 0),
            ),
        ),
    }


w = sympy.Symbol("w", real=True)
_weighted = (9 * x_1 + x_2) / 10
_TOKENS = {"x_1 = 1": sympy.Eq(x_1, 1), "x_2 = -9": sympy.Eq(x_2, -9)}
_similarity = sympy.Eq(t * (x_1**2 + x_2**2), (x_1 + x_2) ** 2 / 2)

_GENERAL = Statement(
    "escalation.general",
    "The bound of escalation.bound holds for every attention P with P1 = 1.",
    r"P\mathbf 1 = \mathbf 1 \;\Longrightarrow\;"
    r" r \ge \frac{s^2(1-\sigma^2)\,t}{1 + s^2\sigma^2 + s^2(1-\sigma^2)\,t}",
    "derived here",
    (
        Claim(
            "nothing moves",
            _TOKENS
            | {
                "first token": sympy.Eq(y_1, x_1 + w * _weighted),
                "second token": sympy.Eq(y_2, x_2 + w * _weighted),
            },
            [sympy.Eq(y_1, x_1), sympy.Eq(y_2, x_2)],
            [
                Identity("P X = 0", _weighted, 0),
                Identity("the first token stays", y_1, x_1),
                Identity("so does the second", y_2, x_2),
            ],
            "Y = X + P X w, one feature, whatever the weight w is: so the rate r is 0.",
        ),
        Claim(
            "sigma = 0",
            {
                "y_1 = (P z)_1": sympy.Eq(y_1, (9 * z_1 + z_2) / 10),
                "y_2 = (P z)_2": sympy.Eq(y_2, (9 * z_1 + z_2) / 10),
            },
            [sympy.Eq(y_1, y_2)],
            [Identity("the rows of P are equal", y_1, y_2)],
            "P z is a multiple of 1 for every z, so Pi_perp P = 0 and sigma = 0.",
        ),
        Claim(
            "similarity",
            _TOKENS | {"t |X|^2 = |Pi X|^2": _similarity},
            [sympy.Eq(t, sympy.Rational(16, 41))],
            [Sign("82 t = 32", t - sympy.Rational(16, 41), "==", (82 * t - 32) / 82)],
            "|Pi X|^2 = (x_1 + x_2)^2 / 2.",
        ),
        Claim(
            "the bound is positive",
            {
                "t = 16/41": sympy.Eq(t, sympy.Rational(16, 41)),
                "sigma = 0": sympy.Eq(sigma, 0),
                "s != 0": sympy.Ne(s, 0),
            },
            [RATE > 0],
            [
                Sign("a square that is not 0", s**2, ">"),
                Sign("16 s^2 / (41 + 16 s^2)", RATE, ">", 16 * s**2 / (41 + 16 * s**2)),
            ],
            "So the rate, 0, is below the bound for every s that is not 0.",
        ),
    ),
    _general_second,
    counterexample=(
        r"P = \tfrac1{10}\begin{pmatrix}9&1\\9&1\end{pmatrix},\; X = \begin{pmatrix}1\\-9\end{pmatrix}"
    ),
)

# ---------------------------------------------------------------- close to t = 1

c, k, f = sympy.symbols("c k f", real=True)
_most_diverse = 1 + s**2 * sigma**2
L = sympy.Symbol("L", real=True)
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


def _local_second(z: Any) -> dict[str, Query]:
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
            _over(z, r, L + N * eps * eps - N, L + N * eps * eps, 0),
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


_LOCAL = Statement(
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
                        _zero(_near_rate)[0] / (eps**2 * (C_next + D_next)),
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
    _local_second,
)

# ---------------------------------------------------------------- the law of odds

u_0, p, q = sympy.symbols("u_0 p q", real=True)
_up, _down = 1 + s**2, 1 + s**2 * sigma**2
_u_before, _u_after = sympy.Eq(u * D, C), sympy.Eq(u_next * D_next, (1 + s**2) * C)
_odds_given = {
    "D > 0": D > 0,
    "D' > 0": D_next > 0,
    "u = C/D": _u_before,
    "u' = (1 + s^2) C/D'": _u_after,
}
_odds_by = plus(
    times(_up * u, _down * D - D_next) / (_down * D_next),
    plus(_zero(_u_after)[0], -_up * _zero(_u_before)[0]) / D_next,
)


def _odds_law_second(z: Any) -> dict[str, Query]:
    s, sigma, C, D, D_next, u, u_next, u_0, p, q = z.Reals("s sigma C D D_next u u_next u_0 p q")
    up, down = 1 + s * s, 1 + s * s * sigma * sigma
    given = {
        "D > 0": D > 0,
        "D' > 0": D_next > 0,
        "u = C/D": D * u == C,
        "u' = (1 + s^2) C/D'": C + s * s * C == D_next * u_next,
    }
    gained = u_next + u_next * s * s * sigma * sigma - u - u * s * s
    return {
        "growth": Query(
            given | {"C >= 0": C >= 0, "D' <= (1 + s^2 sigma^2) D": D_next <= down * D}, gained >= 0
        ),
        "exactly": Query(given | {"D' = (1 + s^2 sigma^2) D": D_next == down * D}, gained == 0),
        "faster": Query(given | {"C > 0": C > 0, "D' < (1 + s^2 sigma^2) D": D_next < down * D}, gained > 0),
        "doubling": Query({"s = 1": s == 1, "sigma = 0": sigma == 0}, up == 2 * down),
        "depth": Query(
            {"q >= 0": q >= 0, "u_l >= p u_0": u >= p * u_0, "u_(l+1) >= q u_l": u_next >= q * u},
            u_next >= p * q * u_0,
        ),
        "layer 6": Query({"u = 2^6/63": 63 * u == 64}, 127 * u == 64 + 64 * u),
        "layer 12": Query({"u = 2^12/63": 63 * u == 4096}, 4159 * u == 4096 + 4096 * u),
    }


_ODDS_LAW = Statement(
    "escalation.odds_law",
    "If the columns of P sum to 1, the odds u = t_sim/t_div, as a ratio of expectations, grow by at least "
    "(1 + s^2)/(1 + s^2 sigma^2) in every layer, exactly by that when all lambda_i^2 = sigma^2. At s = 1, "
    "sigma = 0 they double: from u_0 = 1/63 the similarity is 64/127 at layer 6 and 4096/4159 at layer 12.",
    r"u_{l+1} \ge \frac{1+s^2}{1+s^2\sigma^2}\, u_l",
    "10 to 12 layers: arXiv 2312.06182; the law derived here",
    (
        Claim(
            "growth",
            _odds_given | {"C >= 0": C >= 0, "D' <= (1 + s^2 sigma^2) D": D_next <= _down * D},
            [u_next >= _up / _down * u],
            [
                Sign("odds are not negative", u, ">=", plus(C, _zero(_u_before)[0]) / D),
                Sign("what the diverse part falls short by", u_next - _up / _down * u, ">=", _odds_by),
            ],
            "C = E|Pi X_l|^2, D = E|Pi_perp X_l|^2 and D' = E|Pi_perp X_(l+1)|^2 over the weights of all "
            "layers so far: W is fresh, so the laws of escalation.expectation and escalation.bound hold "
            "given X_l, and then on average.",
        ),
        Claim(
            "exactly",
            _odds_given | {"D' = (1 + s^2 sigma^2) D": sympy.Eq(_down * D - D_next, 0)},
            [sympy.Eq(u_next, _up / _down * u)],
            [Sign("the diverse part falls short by nothing", u_next - _up / _down * u, "==", _odds_by)],
            "By escalation.bound this is so when all lambda_i^2 = sigma^2 (symmetric P), as for uniform "
            "attention.",
        ),
        Claim(
            "faster",
            _odds_given | {"C > 0": C > 0, "D' < (1 + s^2 sigma^2) D": D_next < _down * D},
            [u_next > _up / _down * u],
            [
                Sign("the odds are positive", u, ">", plus(C, _zero(_u_before)[0]) / D),
                Sign("what the diverse part falls short by", u_next - _up / _down * u, ">", _odds_by),
            ],
            "Otherwise, in a mode that X has, they grow faster.",
        ),
        Claim(
            "doubling",
            {"s = 1": sympy.Eq(s, 1), "sigma = 0": sympy.Eq(sigma, 0)},
            [sympy.Eq(_up / _down, 2)],
            [Identity("put in", _up / _down, 2)],
        ),
        Claim(
            "depth",
            {"q >= 0": q >= 0, "u_l >= p u_0": u >= p * u_0, "u_(l+1) >= q u_l": u_next >= q * u},
            [u_next >= q * p * u_0],
            [
                Sign(
                    "one factor more",
                    u_next - q * p * u_0,
                    ">=",
                    plus(u_next - q * u, times(q, u - p * u_0)),
                )
            ],
            "Induction on l with q the factor of one layer and p = q^l: u_l >= q^l u_0.",
        ),
        Claim(
            "layer 6",
            {"u = 2^6/63": sympy.Eq(u, sympy.Rational(64, 63))},
            [sympy.Eq(u / (1 + u), sympy.Rational(64, 127))],
            [Identity("t = u/(1+u)", u / (1 + u), sympy.Rational(64, 127))],
            "n = 64 tokens that have nothing in common: t = 1/64, u_0 = 1/63. About one half.",
        ),
        Claim(
            "layer 12",
            {"u = 2^12/63": sympy.Eq(u, sympy.Rational(4096, 63))},
            [sympy.Eq(u / (1 + u), sympy.Rational(4096, 4159))],
            [Identity("t = u/(1+u)", u / (1 + u), sympy.Rational(4096, 4159))],
            "0.985.",
        ),
    ),
    _odds_law_second,
)

# ---------------------------------------------------------------- uniform attention

R, e_1, e_2 = sympy.symbols("R e_1 e_2", real=True)
_directions = (e_1 + e_1 * w_11 + e_2 * w_21, e_2 + e_1 * w_12 + e_2 * w_22)
_after_one = sympy.Eq(t_div_next * (1 + t * (Q - 1)), 1 - t)
_uniform_rate = sympy.Eq(r * (1 - t), 1 - t - t_div_next)
_u_next = sympy.Eq(u_next * D, Q * C)
_close_to_one = (1 - eps) * (Q - 1) / (1 + (1 - eps) * (Q - 1))
_uniform_limit = Tends("continuous at eps = 0", _close_to_one, eps, 0, 1 - 1 / Q)


def _uniform_second(z: Any) -> dict[str, Query]:
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


_UNIFORM = Statement(
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
            {"D > 0": D > 0, "u = C/D": _u_before, "u' = Q C/D": _u_next},
            [sympy.Eq(u_next, Q * u)],
            [
                Sign(
                    "divide by D",
                    u_next - Q * u,
                    "==",
                    plus(_zero(_u_next)[0], -Q * _zero(_u_before)[0]) / D,
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
                    plus(times(1 + t * (Q - 1), _zero(_uniform_rate)[0]), -_zero(_after_one)[0])
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
    _uniform_second,
    witnesses={
        ("rate", "t < 1"): {"t": 1, "Q": 2, "t_div_next": 0, "r": 5},
        ("t -> 1", "Q > 0"): "at Q = 0 the rate is -(1 - eps)/eps, which has no limit",
    },
)

STATEMENTS = (
    _ODDS,
    _ORTHOGONAL,
    _DEESCALATION,
    _EXPECTATION,
    _BOUND,
    _HALF,
    _GENERAL,
    _LOCAL,
    _ODDS_LAW,
    _UNIFORM,
)
