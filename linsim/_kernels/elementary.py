"""Exponentials and GELU of many numbers: loops without calls, of which LLVM takes several numbers at a time.

exp(y) = 2^k exp(r) with r within log(2)/2 of 0 and Taylor's series of exp(r).  GELU(x) = x Phi(x) with
erfc(z) = exp(-z^2) q(t) / (1 + 2 z), t = (z - 3) / (z + 3): q is smooth for z >= 0, and a polynomial of
degree 24 (float32: 13), Chebyshev's series cut where it falls below rounding (the form is that of Shepherd
and Laframboise 1981).  Relative errors: below 3 roundings of exp(y), below (8 + x^2) of GELU(x).
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from .kept import KEPT

__all__ = ["exponential", "exponential32", "exponentials", "gelu", "gelu_of"]

_COMPILE: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, **KEPT}
_INLINE: dict[str, Any] = {"inline": "always", "error_model": "numpy", "fastmath": {"contract"}}

# log(2) in two parts, of which the first has few bits, so that a multiple of it is exact
_LOG2E, _HIGH, _LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
_HIGH32, _LOW32 = np.float32(0.693145751953125), np.float32(1.42860677e-06)
# what is added to this is rounded to an integer, which the last bits then hold
_MAGIC, _MAGIC32 = 6755399441055744.0, np.float32(12582912.0)
# exponentials below these have no reciprocal
_LEAST, _LEAST32 = -708.0, np.float32(-87.0)
_ONE32, _TWO32, _HALF32, _THREE32 = (np.float32(x) for x in (1.0, 2.0, 0.5, 3.0))
_LOG2E32, _ROOT32 = np.float32(_LOG2E), np.float32(0.5**0.5)
_FAR32 = np.float32(9.0)


def _bitcast(name: str, source: Any, target: Any, kind: Any) -> Any:
    """A function that takes the bits of a number for another."""

    def cast(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.bitcast(args[0], kind)

        return target(source), generate

    cast.__name__ = name
    return intrinsic(cast)


_double = _bitcast("_double", types.int64, types.float64, ir.DoubleType())
_bits = _bitcast("_bits", types.float64, types.int64, ir.IntType(64))
_single = _bitcast("_single", types.int32, types.float32, ir.FloatType())
_bits32 = _bitcast("_bits32", types.float32, types.int32, ir.IntType(32))

# 1 / k!
_E0 = 0.5
_E1 = 0.16666666666666666
_E2 = 0.041666666666666664
_E3 = 0.008333333333333333
_E4 = 0.001388888888888889
_E5 = 0.0001984126984126984
_E6 = 2.48015873015873e-05
_E7 = 2.7557319223985893e-06
_E8 = 2.755731922398589e-07
_E9 = 2.505210838544172e-08
_E10 = 2.08767569878681e-09
_E11 = 1.6059043836821613e-10
_S0 = np.float32(0.5)
_S1 = np.float32(0.16666666666666666)
_S2 = np.float32(0.041666666666666664)
_S3 = np.float32(0.008333333333333333)
_S4 = np.float32(0.001388888888888889)
_S5 = np.float32(0.0001984126984126984)

# coefficients of q
_q0 = 1.2530080582697296
_q1 = -0.13562110612458117
_q2 = -0.0475622943534492
_q3 = 0.1296451587027594
_q4 = -0.11927366341538638
_q5 = 0.0683080273440099
_q6 = -0.02377051491717134
_q7 = 0.002529391815693968
_q8 = 0.0018886903449991713
_q9 = -0.0007798322696543192
_q10 = -0.00010515971958447389
_q11 = 0.00012509934245832053
_q12 = 4.949196649931513e-06
_q13 = -2.0100542268372953e-05
_q14 = -7.30828146759571e-07
_q15 = 3.4723709446886188e-06
_q16 = 3.557608666008582e-07
_q17 = -6.166011456877408e-07
_q18 = -1.404765428475745e-07
_q19 = 1.0183620577101665e-07
_q20 = 4.106401342701433e-08
_q21 = -1.3312919546230647e-08
_q22 = -8.217594952603793e-09
_q23 = 9.86253329762334e-10
_q24 = 8.393734658173266e-10
_w0 = np.float32(1.25300806)
_w1 = np.float32(-0.135621104)
_w2 = np.float32(-0.0475622927)
_w3 = np.float32(0.129645097)
_w4 = np.float32(-0.119273691)
_w5 = np.float32(0.0683087068)
_w6 = np.float32(-0.0237703347)
_w7 = np.float32(0.00252606887)
_w8 = np.float32(0.00188811286)
_w9 = np.float32(-0.000771373676)
_w10 = np.float32(-0.000104130714)
_w11 = np.float32(0.00011324624)
_w12 = np.float32(3.86184914e-06)
_w13 = np.float32(-1.105723e-05)


@nb.njit(**_INLINE)
def exponential(y):
    """exp(y), and exp(-708) below that."""
    y = max(y, _LEAST)
    t = y * _LOG2E + _MAGIC
    k = t - _MAGIC
    t_bits = _bits(t)
    t = (y - k * _HIGH) - k * _LOW
    p = _E11
    p = p * t + _E10
    p = p * t + _E9
    p = p * t + _E8
    p = p * t + _E7
    p = p * t + _E6
    p = p * t + _E5
    p = p * t + _E4
    p = p * t + _E3
    p = p * t + _E2
    p = p * t + _E1
    p = p * t + _E0
    p = (p * t + 1.0) * t + 1.0
    return p * _double((t_bits << 52) + (1023 << 52))


@nb.njit(**_INLINE)
def exponential32(y):
    y = max(y, _LEAST32)
    t = y * _LOG2E32 + _MAGIC32
    k = t - _MAGIC32
    t_bits = _bits32(t)
    t = (y - k * _HIGH32) - k * _LOW32
    p = _S5
    p = p * t + _S4
    p = p * t + _S3
    p = p * t + _S2
    p = p * t + _S1
    p = p * t + _S0
    p = (p * t + _ONE32) * t + _ONE32
    return p * _single((t_bits << nb.int32(23)) + nb.int32(127 << 23))


@nb.njit(**_INLINE)
def _gelu(x):
    z = min(abs(x) * 0.7071067811865476, 38.0)
    u, v = z + 3.0, 1.0 + 2.0 * z
    r = 1.0 / (u * v)
    t = (z - 3.0) * v * r
    p = _q24
    p = p * t + _q23
    p = p * t + _q22
    p = p * t + _q21
    p = p * t + _q20
    p = p * t + _q19
    p = p * t + _q18
    p = p * t + _q17
    p = p * t + _q16
    p = p * t + _q15
    p = p * t + _q14
    p = p * t + _q13
    p = p * t + _q12
    p = p * t + _q11
    p = p * t + _q10
    p = p * t + _q9
    p = p * t + _q8
    p = p * t + _q7
    p = p * t + _q6
    p = p * t + _q5
    p = p * t + _q4
    p = p * t + _q3
    p = p * t + _q2
    p = p * t + _q1
    p = p * t + _q0
    tail = 0.5 * exponential(-z * z) * p * u * r
    return x * (tail if x < 0 else 1.0 - tail)


@nb.njit(**_INLINE)
def _gelu32(x):
    z = min(abs(x) * _ROOT32, _FAR32)
    u, v = z + _THREE32, _ONE32 + _TWO32 * z
    r = _ONE32 / (u * v)
    t = (z - _THREE32) * v * r
    p = _w13
    p = p * t + _w12
    p = p * t + _w11
    p = p * t + _w10
    p = p * t + _w9
    p = p * t + _w8
    p = p * t + _w7
    p = p * t + _w6
    p = p * t + _w5
    p = p * t + _w4
    p = p * t + _w3
    p = p * t + _w2
    p = p * t + _w1
    p = p * t + _w0
    tail = _HALF32 * exponential32(-z * z) * p * u * r
    return x * (tail if x < 0 else _ONE32 - tail)


def _exponential_of(y):
    """The one for the dtype of its argument."""


def gelu_of(x):
    """The one for the dtype of its argument."""


@overload(_exponential_of, inline="always")
def _choose_exponential(y):
    if y == types.float64:
        return lambda y: exponential(y)
    return lambda y: exponential32(y)


@overload(gelu_of, inline="always")
def _choose_gelu(x):
    if x == types.float64:
        return lambda x: _gelu(x)
    return lambda x: _gelu32(x)


@nb.njit(**_COMPILE)
def gelu(x, out):
    """GELU of a flat array."""
    for i in range(x.size):
        out[i] = gelu_of(x[i])


@nb.njit(**_COMPILE)
def exponentials(x):
    """Exponentials of rows (m, n) less the largest of each row, in place; exp(-inf) is exactly 0."""
    zero = x.dtype.type(0)
    for i in range(x.shape[0]):
        top = x[i, 0]
        for j in range(x.shape[1]):
            top = max(top, x[i, j])
        for j in range(x.shape[1]):
            y = x[i, j] - top
            x[i, j] = zero if y == -np.inf else _exponential_of(y)
