"""The odds grow by a fixed factor in every layer."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from ..similarity.shared import zero
from .shared import u_after, u_before

PLACE = 70

s, sigma, u, u_next, C, D, D_next, u_0, p = sympy.symbols("s sigma u u_next C D D_next u_0 p", real=True)
q = sympy.Symbol("q", real=True)

_up, _down = 1 + s**2, 1 + s**2 * sigma**2

_odds_given = {
    "D > 0": D > 0,
    "D' > 0": D_next > 0,
    "u = C/D": u_before,
    "u' = (1 + s^2) C/D'": u_after,
}
_odds_by = plus(
    times(_up * u, _down * D - D_next) / (_down * D_next),
    plus(zero(u_after)[0], -_up * zero(u_before)[0]) / D_next,
)


def second(z: Any) -> dict[str, Query]:
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


STATEMENT = Statement(
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
                Sign("odds are not negative", u, ">=", plus(C, zero(u_before)[0]) / D),
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
                Sign("the odds are positive", u, ">", plus(C, zero(u_before)[0]) / D),
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
    second,
)
