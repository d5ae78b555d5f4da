"""Layers that differ: the constant direction stays invariant."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity

PLACE = 10

c_1, c_2 = sympy.symbols("c_1 c_2", real=True)

_A = sympy.symbols("a_11 a_12 a_21 a_22", real=True)
_H = sympy.symbols("h_11 h_12 h_21 h_22", real=True)
_X = sympy.symbols("x_11 x_12 x_21 x_22", real=True)
_Y = sympy.symbols("y_11 y_12 y_21 y_22", real=True)

_ROWS: dict[str, Any] = {
    "first row of A sums to 1": sympy.Eq(_A[1], 1 - _A[0]),
    "second row of A sums to 1": sympy.Eq(_A[3], 1 - _A[2]),
}


def _square(entries: Any) -> sympy.Matrix:
    return sympy.Matrix(2, 2, list(entries))


def _through(tokens: sympy.Matrix) -> dict[str, Any]:
    """Return Y = X + A X H, entry by entry."""
    layer = tokens + _square(_A) * tokens * _square(_H)
    return {f"layer, {symbol.name}": sympy.Eq(symbol, layer[i]) for i, symbol in enumerate(_Y)}


def second(s: Any) -> dict[str, Query]:
    A, H = s.Reals("a_11 a_12 a_21 a_22"), s.Reals("h_11 h_12 h_21 h_22")
    X, Y, (c_1, c_2) = s.Reals("x_11 x_12 x_21 x_22"), s.Reals("y_11 y_12 y_21 y_22"), s.Reals("c_1 c_2")
    rows = {"first row of A sums to 1": A[0] + A[1] == 1, "second row of A sums to 1": A[2] + A[3] == 1}

    def layer(tokens: Any) -> dict[str, Any]:
        formulas = {}
        for n, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            mixed = [A[2 * i] * tokens[q] + A[2 * i + 1] * tokens[2 + q] for q in (0, 1)]
            formulas[f"layer, {Y[n]}"] = Y[n] - tokens[n] == mixed[0] * H[j] + mixed[1] * H[2 + j]
        return formulas

    moved_1, moved_2 = c_1 + H[0] * c_1 + H[2] * c_2, c_2 + H[1] * c_1 + H[3] * c_2
    u_1, u_2, shrink = X[0] - X[2], X[1] - X[3], A[0] - A[2]
    return {
        "equal tokens": Query(
            rows | layer((c_1, c_2, c_1, c_2)),
            s.And(Y[0] == moved_1, Y[2] == moved_1, Y[1] == moved_2, Y[3] == moved_2),
        ),
        "differences": Query(
            rows | layer(X),
            s.And(
                Y[0] - Y[2] == u_1 + shrink * (H[0] * u_1 + H[2] * u_2),
                Y[1] - Y[3] == u_2 + shrink * (H[1] * u_1 + H[3] * u_2),
            ),
        ),
    }


_alike = sympy.Matrix([[c_1, c_2], [c_1, c_2]])
_moved = (_alike * (sympy.eye(2) + _square(_H))).expand()
_apart = sympy.Matrix([[_X[0] - _X[2], _X[1] - _X[3]]])
_apart_next = (_apart * (sympy.eye(2) + (_A[0] - _A[2]) * _square(_H))).expand()

STATEMENT = Statement(
    "lyapunov.constant",
    "With other attention and other weights in every layer, the constant direction stays invariant for "
    "every attention with rows that sum to 1: the product of the layers is block triangular, tokens that "
    "are all alike move by the product of I + H_l alone, and what tells tokens apart moves without them.",
    r"(I + H_l^\top \otimes A_l)(c \otimes 1) = (c + H_l^\top c) \otimes 1",
    "derived here",
    (
        Claim(
            "equal tokens",
            _ROWS | _through(_alike),
            [sympy.Eq(symbol, moved) for symbol, moved in zip(_Y, _moved, strict=True)],
            [Identity("each token becomes c^T (I + H)", _square(_Y), _moved)],
            "Two tokens, two features, X = 1 c^T; no entry of A need be positive. In general A 1 = 1 gives "
            "1 c^T + A 1 c^T H = 1 (c + H^T c)^T for any number of tokens and features. By induction over "
            "layers with any A_l and H_l equal tokens stay equal, with c^T (I + H_1)(I + H_2)... at layer "
            "l: the span of all 1 c^T is invariant under every layer, which is what block triangular means.",
        ),
        Claim(
            "differences",
            _ROWS | _through(_square(_X)),
            [sympy.Eq(_Y[0] - _Y[2], _apart_next[0]), sympy.Eq(_Y[1] - _Y[3], _apart_next[1])],
            [
                Identity(
                    "the difference of the tokens, times I + (a_11 - a_21) H",
                    sympy.Matrix([[_Y[0] - _Y[2], _Y[1] - _Y[3]]]),
                    _apart_next,
                )
            ],
            "Differences of tokens are what X is up to the constant part. For any number of tokens let the "
            "rows of D be a basis of the row vectors orthogonal to 1; D A 1 = D 1 = 0, so D A = B D with a "
            "smaller matrix B, and D X moves by D X + B (D X) H: a closed system. The exponents of this and "
            "those of the product of I + H_l are together those of the whole.",
        ),
    ),
    second,
)
