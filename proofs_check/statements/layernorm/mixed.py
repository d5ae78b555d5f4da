"""Gains of mixed signs: what is known, and what is open."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Sign, plus, times
from ..control.shared import gap
from .shared import wins

PLACE = 50

a, mu, gamma, mu_1, mu_2, lamda, h = sympy.symbols("a mu gamma mu_1 mu_2 lambda h", real=True)
gamma_1, gamma_2, h_11, h_12, h_21 = sympy.symbols("gamma_1 gamma_2 h_11 h_12 h_21", real=True)
h_22 = sympy.Symbol("h_22", real=True)

_DET = gamma_1 * gamma_2 * (h_11 * h_22 - h_12 * h_21)
_TRACE = gamma_1 * h_11 + gamma_2 * h_22


def second(s: Any) -> dict[str, Query]:
    a, gamma, h, mu, mu_1, mu_2, lamda = s.Reals("a gamma h mu mu_1 mu_2 lambda")
    gamma_1, gamma_2, h_11, h_12, h_21, h_22 = s.Reals("gamma_1 gamma_2 h_11 h_12 h_21 h_22")
    value = gamma * h
    factor = 2 * value + value * value * (1 + a)
    inner = {"lambda >= 0": lamda >= 0, "lambda < 1": lamda < 1}
    bound = mu + lamda * mu
    other = (1 + lamda * mu) * (1 + lamda * mu)
    determinant = (gamma_1 * h_11) * (gamma_2 * h_22) - (gamma_1 * h_12) * (gamma_2 * h_21)
    trace = gamma_1 * h_11 + gamma_2 * h_22
    return {
        "a column smooths": Query(
            {"a < 1": a < 1, "gamma h (2 + gamma h (1 + a)) > 0": factor > 0}, wins(s, value, a, ">")
        ),
        "a column sharpens": Query(
            {"a < 1": a < 1, "gamma h (2 + gamma h (1 + a)) < 0": factor < 0}, wins(s, value, a, "<")
        ),
        "opposite signs": Query(
            {
                "gamma_1 gamma_2 < 0": gamma_1 * gamma_2 < 0,
                "det H > 0": h_11 * h_22 > h_12 * h_21,
            },
            s.And(determinant < 0, trace * trace > 4 * determinant),
        ),
        "one sign": Query({"mu_1 mu_2 > 0": mu_1 * mu_2 > 0, "mu_1 + mu_2 < 0": mu_1 < -mu_2}, mu_1 < 0),
        "a positive eigenvalue": Query(
            {"mu_1 > 0": mu_1 > 0, "mu <= mu_1": mu_1 - mu >= 0, "mu (1 + lambda) >= -2": bound >= -2}
            | inner,
            other < 1 + 2 * mu_1 + mu_1 * mu_1,
        ),
        "a very negative one": Query(
            {"mu (1 + lambda) < -2": bound < -2} | inner,
            other < 1 + 2 * mu + mu * mu,
        ),
    }


_column = gamma * h

STATEMENT = Statement(
    "layernorm.mixed",
    "Where do gains of mixed signs swap smoothing and sharpening?",
    r"\mathrm{diag}(\gamma) H,\quad \min_j \gamma_j < 0 < \max_j \gamma_j",
    "open after arXiv 2401.04301; the partial results derived here",
    (
        Claim(
            "a column smooths",
            {
                "a < 1": a < 1,
                "gamma h (2 + gamma h (1 + a)) > 0": _column * (2 + _column * (1 + a)) > 0,
            },
            [(1 + _column) ** 2 > (1 + _column * a) ** 2],
            [
                Sign(
                    "the factors of the difference",
                    gap(_column),
                    ">",
                    times(1 - a, _column * (2 + _column * (1 + a))),
                )
            ],
            "Diagonal H = diag(h_j): feature j moves alone, X_j + gamma_j h_j A X_j, and its regime is that "
            "of gamma_j h_j: it swaps where gamma_j h_j passes 0 or -2/(1+a), whatever the other gains are.",
        ),
        Claim(
            "a column sharpens",
            {
                "a < 1": a < 1,
                "gamma h (2 + gamma h (1 + a)) < 0": _column * (2 + _column * (1 + a)) < 0,
            },
            [(1 + _column) ** 2 < (1 + _column * a) ** 2],
            [
                Sign(
                    "the factors of the difference",
                    gap(_column),
                    "<",
                    times(1 - a, _column * (2 + _column * (1 + a))),
                )
            ],
            "The same, in the other direction.",
        ),
        Claim(
            "opposite signs",
            {"gamma_1 gamma_2 < 0": gamma_1 * gamma_2 < 0, "det H > 0": h_11 * h_22 - h_12 * h_21 > 0},
            [_DET < 0, _TRACE**2 > 4 * _DET],
            [
                Sign(
                    "the determinant of diag(gamma) H",
                    _DET,
                    "<",
                    times(gamma_1 * gamma_2, h_11 * h_22 - h_12 * h_21),
                ),
                Sign("the discriminant", _TRACE**2 - 4 * _DET, ">", plus(_TRACE**2, -4 * _DET)),
            ],
            "Two features, one negative gain: the eigenvalues of diag(gamma) H are the roots of z^2 - trace "
            "z + det. If det H > 0 they are real, one positive and one negative, whatever H was before. In "
            "d features the same follows for definite symmetric H from Sylvester's law of inertia.",
        ),
        Claim(
            "one sign",
            {"mu_1 mu_2 > 0": mu_1 * mu_2 > 0, "mu_1 + mu_2 < 0": mu_1 + mu_2 < 0},
            [mu_1 < 0],
            [Sign("mu_1 (mu_1 + mu_2) is positive", mu_1, "<", plus(mu_1**2, mu_1 * mu_2) / (mu_1 + mu_2))],
            "If det H < 0, one negative gain of two makes the product of the eigenvalues positive; when "
            "they are real both have the sign of the trace gamma_1 h_11 + gamma_2 h_22 (here: negative; "
            "mu_2 by symmetry). So it matters which gain is negative.",
        ),
        Claim(
            "a positive eigenvalue",
            {
                "mu_1 > 0": mu_1 > 0,
                "mu <= mu_1": mu <= mu_1,
                "lambda >= 0": lamda >= 0,
                "lambda < 1": lamda < 1,
                "mu (1 + lambda) >= -2": mu * (1 + lamda) >= -2,
            },
            [(1 + mu_1) ** 2 > (1 + mu * lamda) ** 2],
            [
                Sign(
                    "mu lambda < mu_1", mu_1 - mu * lamda, ">", plus(mu_1 * (1 - lamda), lamda * (mu_1 - mu))
                ),
                Sign(
                    "and mu lambda > -2",
                    2 + mu * lamda,
                    ">",
                    plus(times(lamda, 2 + mu * (1 + lamda)), 2) / (1 + lamda),
                ),
                Sign(
                    "so both factors of the difference are positive",
                    (1 + mu_1) ** 2 - (1 + mu * lamda) ** 2,
                    ">",
                    times(mu_1 - mu * lamda, plus(2 + mu * lamda, mu_1)),
                ),
            ],
            "Attention without negative eigenvalues, real eigenvalues of diag(gamma) H of which mu_1 > 0 is "
            "the largest: with the next claim every pair with lambda < 1 has a smaller modulus than a pair "
            "at 1. So a single positive eigenvalue smooths. With negative definite H the swap is at the "
            "first negative gain, with positive definite H it is not before the last positive one is gone.",
        ),
        Claim(
            "a very negative one",
            {
                "lambda >= 0": lamda >= 0,
                "lambda < 1": lamda < 1,
                "mu (1 + lambda) < -2": mu * (1 + lamda) < -2,
            },
            [(1 + mu) ** 2 > (1 + mu * lamda) ** 2],
            [
                Sign("mu is negative", mu, "<", plus(mu * (1 + lamda) + 2, -2) / (1 + lamda)),
                Sign(
                    "two of three factors are negative",
                    (1 + mu) ** 2 - (1 + mu * lamda) ** 2,
                    ">",
                    times(mu, 1 - lamda, mu * (1 + lamda) + 2),
                ),
            ],
            "The other eigenvalues of diag(gamma) H, beyond the boundary of this lambda.",
        ),
    ),
    second,
    tried=(
        "The share of negative gains: it does not decide (layernorm.share).",
        "Diagonal H: solved, each feature swaps alone where gamma_j h_j passes 0 or -2/(1+a).",
        "Two features: the signs of det H and of gamma_1 h_11 + gamma_2 h_22 give the signs of real "
        "eigenvalues; a complex pair is left to the disk of dominance.boundary.",
        "Symmetric definite H, any number of features: by Sylvester's law of inertia diag(gamma) H has as "
        "many positive eigenvalues as there are gains of the sign of H, so for attention without negative "
        "eigenvalues the tokens smooth as soon as one gain has that sign: a threshold at the first or the "
        "last, not at a share.",
        "H with independent symmetric entries: diag of signs times H has the law of H, so signs alone shift "
        "no odds.",
        "Open: symmetric definite H with a < 0, where 1 + mu_max competes with |1 + a mu_min|, and H that "
        "is neither diagonal nor definite, where signs of the gains fix no signs of the eigenvalues.",
    ),
)
