"""Expected squares after a layer with fresh random weights."""

from __future__ import annotations

from typing import Any

import sympy

from ...statement import Claim, Query, Statement
from ...steps import Identity, Sign, Tends

PLACE = 20

s, y_1, y_2, b_1, b_2, z_1, z_2, lamda = sympy.symbols("s y_1 y_2 b_1 b_2 z_1 z_2 lambda", real=True)
M, g_11, g_12, g_22, p_11, p_12, p_21 = sympy.symbols("M g_11 g_12 g_22 p_11 p_12 p_21", real=True)
p_22, v_1, v_2, xi = sympy.symbols("p_22 v_1 v_2 xi", real=True)

_W = sympy.symbols("w_11 w_12 w_21 w_22", real=True)
_E = sympy.symbols("e_11 e_12 e_21 e_22", real=True)
_z = sympy.Matrix([[z_1, z_2]])
_mean_w, _mean_square = sympy.Matrix(2, 2, _E), sympy.Matrix([[g_11, g_12], [g_12, g_22]])
_w = sympy.Matrix(2, 2, _W)
_length = z_1**2 + z_2**2
_normal = sympy.exp(-(xi**2) / 2) / sympy.sqrt(2 * sympy.pi)
_primitive = sympy.erf(xi / sympy.sqrt(2)) / 2 - xi * _normal
_second_moment = Tends("what it gains from -xi to xi", _primitive - _primitive.subs(xi, -xi), xi, sympy.oo, 1)


def second(z: Any) -> dict[str, Query]:
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

STATEMENT = Statement(
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
    second,
    only_symbolic={"Gaussian weights": "an integral of exp(-xi^2/2)"},
)
