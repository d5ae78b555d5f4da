"""The share of negative gains does not decide."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity
from ..control.shared import decay_second, powers, vanishes

PLACE = 40

mu_1, mu_2, x_1, x_2, y_1, y_2, gamma_1 = sympy.symbols("mu_1 mu_2 x_1 x_2 y_1 y_2 gamma_1", real=True)
gamma_2, h_11, h_22 = sympy.symbols("gamma_2 h_11 h_22", real=True)

_half = (x_1 + x_2) / 2


def second(s: Any) -> dict[str, Query]:
    x_1, x_2, y_1, y_2, gamma_1, gamma_2, h_11, h_22, mu_1, mu_2 = s.Reals(
        "x_1 x_2 y_1 y_2 gamma_1 gamma_2 h_11 h_22 mu_1 mu_2"
    )
    weights = {"h_11 = 1": h_11 == 1, "h_22 = -1": h_22 == -1}
    eigenvalues = {
        "mu_1 = gamma_1 h_11": gamma_1 * h_11 - mu_1 == 0,
        "mu_2 = gamma_2 h_22": gamma_2 * h_22 - mu_2 == 0,
    }
    first = {"gamma_1 = -1": gamma_1 == -1, "gamma_2 = 1": gamma_2 == 1}
    second = {"gamma_1 = 1": gamma_1 == 1, "gamma_2 = -1": gamma_2 == -1}

    def layer(factor: int) -> dict[str, Any]:
        return {
            "first token": 2 * y_1 - 2 * x_1 == factor * (x_1 + x_2),
            "second token": 2 * y_2 - 2 * x_2 == factor * (x_1 + x_2),
        }

    return {
        "first gain negative": Query(weights | first | eigenvalues, s.And(mu_1 == -1, mu_2 == -1)),
        "it sharpens": Query(layer(-1), s.And(y_1 == -y_2, y_1 - y_2 == x_1 - x_2)),
        "second gain negative": Query(weights | second | eigenvalues, s.And(mu_1 == 1, mu_2 == 1)),
        "it smooths": Query(layer(1), s.And(y_1 + y_2 == 2 * x_1 + 2 * x_2, y_1 - y_2 == x_1 - x_2)),
        **decay_second(s, 2, 1),
    }


_WEIGHTS: dict[str, Any] = {"h_11 = 1": sympy.Eq(h_11, 1), "h_22 = -1": sympy.Eq(h_22, -1)}
_EIGENVALUES: dict[str, Any] = {
    "mu_1 = gamma_1 h_11": sympy.Eq(mu_1, gamma_1 * h_11),
    "mu_2 = gamma_2 h_22": sympy.Eq(mu_2, gamma_2 * h_22),
}


def _one_layer(factor: int) -> dict[str, Any]:
    return {
        "first token": sympy.Eq(y_1, x_1 + factor * _half),
        "second token": sympy.Eq(y_2, x_2 + factor * _half),
    }


STATEMENT = Statement(
    "layernorm.share",
    "The share of negative gains decides whether tokens smooth or sharpen.",
    r"\#\{j : \gamma_j < 0\}/d \;\text{decides the regime of}\; \mathrm{diag}(\gamma) H",
    "derived here, from the question that arXiv 2401.04301 leaves for gains of mixed signs",
    (
        Claim(
            "first gain negative",
            _WEIGHTS
            | {"gamma_1 = -1": sympy.Eq(gamma_1, -1), "gamma_2 = 1": sympy.Eq(gamma_2, 1)}
            | _EIGENVALUES,
            [sympy.Eq(mu_1, -1), sympy.Eq(mu_2, -1)],
            [Identity("-1 times 1", mu_1, -1), Identity("1 times -1", mu_2, -1)],
            "H is diagonal, so diag(gamma) H = -I.",
        ),
        Claim(
            "it sharpens",
            _one_layer(-1),
            [sympy.Eq(y_1 + y_2, 0), sympy.Eq(y_1 - y_2, x_1 - x_2)],
            [
                Identity("the mean is gone after one layer", y_1 + y_2, 0),
                Identity("the difference stays", y_1 - y_2, x_1 - x_2),
            ],
            "Each feature moves alone, as X - A X with uniform A. From layer 1 on X_l = X_0 - A X_0: LFC is "
            "0, HFC is what it was; tokens that differ never converge.",
        ),
        Claim(
            "second gain negative",
            _WEIGHTS
            | {"gamma_1 = 1": sympy.Eq(gamma_1, 1), "gamma_2 = -1": sympy.Eq(gamma_2, -1)}
            | _EIGENVALUES,
            [sympy.Eq(mu_1, 1), sympy.Eq(mu_2, 1)],
            [Identity("1 times 1", mu_1, 1), Identity("-1 times -1", mu_2, 1)],
            "The same A, H and share; diag(gamma) H = I.",
        ),
        Claim(
            "it smooths",
            _one_layer(1),
            [sympy.Eq(y_1 + y_2, 2 * (x_1 + x_2)), sympy.Eq(y_1 - y_2, x_1 - x_2)],
            [
                Identity("the sum of the tokens doubles", y_1 + y_2, 2 * (x_1 + x_2)),
                Identity("the difference stays", y_1 - y_2, x_1 - x_2),
            ],
            "Each feature moves alone, as X + A X with uniform A; by induction the sum is 2^l times what it "
            "was.",
        ),
        powers(sympy.Integer(2)),
        vanishes(
            sympy.Integer(2),
            "HFC/LFC halves in every layer, from k: the tokens smooth. In the second form W = 2^l and the "
            "ratio is below eps once l >= k / eps.",
        ),
    ),
    second,
    counterexample=(
        r"A = \tfrac12\begin{pmatrix}1&1\\1&1\end{pmatrix},\; H = \mathrm{diag}(1, -1),\;"
        r" \gamma = (-1, 1) \text{ against } \gamma = (1, -1)"
    ),
)
