"""Exponentials, logarithms and GELU, a cache line of numbers at a time (:mod:`.lanes`), or of a single one.

Polynomials are long chains of steps; of a whole line two of them hide each other's latency where registers
hold half of it, which loops over numbers do not.  A number gets the same steps alone as among others.

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

from .kept import KEPT, NOTHING_NEW
from .lanes import (
    WIDTH,
    LanesType,
    alike,
    exponent,
    largest,
    load,
    magnitude,
    mantissa,
    maximum,
    minimum,
    store,
    two_to,
    where,
)

__all__ = ["exponential32", "exponential_of", "exponentials", "gelu", "gelu_of", "ln_of"]

_COMPILE: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, **KEPT}
_INLINE: dict[str, Any] = {"inline": "always", "error_model": "numpy", "fastmath": {"contract"}}

# log(2) in two parts, of which the first has few bits, so that a multiple of it is exact
_LOG2E, _HIGH, _LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
_HIGH32, _LOW32 = np.float32(0.693145751953125), np.float32(1.42860677e-06)
# what is added to this is rounded to an integer, which the last bits then hold
_MAGIC, _MAGIC32 = 6755399441055744.0, np.float32(12582912.0)
# exponentials below these have no reciprocal
_LEAST, _LEAST32 = -708.0, np.float32(-87.0)
_ZERO32, _ONE32, _TWO32, _HALF32, _THREE32 = (np.float32(x) for x in (0.0, 1.0, 2.0, 0.5, 3.0))
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


# --- what numbers and lines of them (LanesType) have in common -----------------------------------


def _at_least(y, least):
    """y, or ``least`` where that is larger; a NaN stays one."""


def _at_most(y, most):
    """y, or ``most`` where that is smaller; a NaN stays one."""


def _size(y):
    """|y|."""


def _below_zero(y, yes, no):
    """``yes`` where y < 0, else ``no``."""


def _two_to(t):
    """2^k of a normal number, where the last bits of t hold the integer k."""


@overload(_at_least, inline="always")
def _choose_at_least(y, least):
    if isinstance(y, LanesType):
        return lambda y, least: maximum(alike(y, least), y)
    return lambda y, least: max(y, least)


@overload(_at_most, inline="always")
def _choose_at_most(y, most):
    if isinstance(y, LanesType):
        return lambda y, most: minimum(alike(y, most), y)
    return lambda y, most: min(y, most)


@overload(_size, inline="always")
def _choose_size(y):
    if isinstance(y, LanesType):
        return lambda y: magnitude(y)
    return lambda y: abs(y)


@overload(_below_zero, inline="always")
def _choose_below_zero(y, yes, no):
    if isinstance(y, LanesType):
        return lambda y, yes, no: where(y < 0.0, yes, no)
    return lambda y, yes, no: yes if y < 0 else no


@overload(_two_to, inline="always")
def _choose_two_to(t):
    if isinstance(t, LanesType):
        return lambda t: two_to(t)
    if t == types.float64:
        return lambda t: _double((_bits(t) << 52) + (1023 << 52))
    return lambda t: _single((_bits32(t) << nb.int32(23)) + nb.int32(127 << 23))


# --- the functions ------------------------------------------------------------------------------


@nb.njit(**_INLINE)
def _exponential(y):
    y = _at_least(y, _LEAST)
    k = y * _LOG2E + _MAGIC
    power = _two_to(k)
    k = k - _MAGIC
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
    return p * power


@nb.njit(**_INLINE)
def exponential32(y):
    """exp(y) in single precision, and exp(-87) below that."""
    y = _at_least(y, _LEAST32)
    k = y * _LOG2E32 + _MAGIC32
    power = _two_to(k)
    k = k - _MAGIC32
    t = (y - k * _HIGH32) - k * _LOW32
    p = _S5
    p = p * t + _S4
    p = p * t + _S3
    p = p * t + _S2
    p = p * t + _S1
    p = p * t + _S0
    p = (p * t + _ONE32) * t + _ONE32
    return p * power


@nb.njit(**_INLINE)
def _gelu(x):
    z = _at_most(_size(x) * 0.7071067811865476, 38.0)
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
    tail = 0.5 * _exponential(0.0 - z * z) * p * u * r
    return x * _below_zero(x, tail, 1.0 - tail)


@nb.njit(**_INLINE)
def _gelu32(x):
    z = _at_most(_size(x) * _ROOT32, _FAR32)
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
    tail = _HALF32 * exponential32(_ZERO32 - z * z) * p * u * r
    return x * _below_zero(x, tail, _ONE32 - tail)


def exponential_of(y):
    """exp(y) in the precision of y, a number or a line of them; exp(-708) below that, or exp(-87)."""


def gelu_of(x):
    """GELU in the precision of x, a number or a line of them."""


def _precision(x):
    return x.dtype if isinstance(x, LanesType) else x


@overload(exponential_of, inline="always")
def _choose_exponential(y):
    if _precision(y) == types.float64:
        return lambda y: _exponential(y)
    return lambda y: exponential32(y)


@overload(gelu_of, inline="always")
def _choose_gelu(x):
    if _precision(x) == types.float64:
        return lambda x: _gelu(x)
    return lambda x: _gelu32(x)


@nb.njit(**NOTHING_NEW)
def ln_of(x):
    """Natural logarithm of positive normal lanes, to about an ulp.

    2 artanh((m - 1) / (m + 1)) plus the exponent's share.  With m in [1/sqrt 2, sqrt 2)
    the series in s^2 <= 0.0295 has 11 terms.
    """
    m, e = mantissa(x), exponent(x)
    large = m > 1.4142135623730951
    m = where(large, m * 0.5, m)
    e = where(large, e + 1.0, e)
    s = (m - 1.0) / (m + 1.0)
    t = s * s
    series = t * (1 / 21) + (1 / 19)
    for k in (17, 15, 13, 11, 9, 7, 5, 3):
        series = series * t + 1 / k
    return e * 6.93147180369123816490e-01 + (
        s * 2.0 + (s * t * 2.0 * series + e * 1.90821492927058770002e-10)
    )


@nb.njit(**_COMPILE)
def gelu(x, out):
    """GELU of a flat array."""
    w = WIDTH // x.itemsize
    whole = x.size - x.size % w
    for i in range(0, whole, w):
        store(out, i, gelu_of(load(x, i)))
    for i in range(whole, x.size):
        out[i] = gelu_of(x[i])


@nb.njit(**_COMPILE)
def exponentials(x):
    """Exponentials of rows (m, n) less the largest of each row, in place; exp(-inf) is exactly 0."""
    n, zero = x.shape[1], x.dtype.type(0)
    w = WIDTH // x.itemsize
    whole = n - n % w
    for i in range(x.shape[0]):
        row = x[i]
        top = row[0]
        if whole:
            tops = load(row, 0)
            for j in range(w, whole, w):
                tops = maximum(load(row, j), tops)
            top = largest(tops)
        for j in range(whole, n):
            top = max(top, row[j])
        for j in range(0, whole, w):
            y = load(row, j) - top
            store(row, j, where(y <= -np.inf, alike(y, 0.0), exponential_of(y)))
        for j in range(whole, n):
            y = row[j] - top
            row[j] = zero if y == -np.inf else exponential_of(y)
