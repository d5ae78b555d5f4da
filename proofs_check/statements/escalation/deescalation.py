"""What de-escalation makes of the similarity."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, plus, times
from ..similarity.shared import zero

PLACE = 10

t, tau, t_next, C, D, N, wanted = sympy.symbols("t tau t_next C D N wanted", real=True)

_left = (1 - tau) ** 2 * t
_total = _left + 1 - t
_formula = sympy.Eq(t_next * _total, _left)
_PI = sympy.Matrix([[1, 1], [1, 1]]) / 2
_removes = sympy.eye(2) - tau * _PI
_proper = {"t > 0": t > 0, "t < 1": t < 1}
_part = sympy.Eq(t_next * ((1 - tau) ** 2 * C + D), (1 - tau) ** 2 * C)
_positive_total = Sign("what is left is not 0", _total, ">", plus(_left, 1 - t))


def second(z: Any) -> dict[str, Query]:
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


STATEMENT = Statement(
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
                    zero(_part)[0] / N,
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
    second,
)
