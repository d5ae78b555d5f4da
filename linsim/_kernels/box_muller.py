"""Standard normal numbers from a key and a counter, the same to the bit on every processor.

Philox 4x32 with ten rounds (Salmon, Moraes, Dror and Shaw 2011) makes two 64-bit words of a key, a counter
and the number of a stream; Box and Muller (1958) make two normal numbers of them, sqrt(-2 ln u) times cosine
and sine of a uniform angle.  Logarithm, sine and cosine are polynomials of this module: sums, products, one
quotient and one root, each rounded by itself in a fixed order, so that NumPy, Numba (:mod:`.normals`) and
CUDA (``normals.cuh``) find the same numbers.  u has 64 bits, so that tails are right to 9.4 deviations.

What is here runs on NumPy's arrays and is what Numba compiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._types import HostArray

__all__ = ["MOST", "as_bits", "as_double", "fill_normals", "normal_pair", "philox"]

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)

# the exponent and the fraction of a double; 1, and the root of 1/2, as bits
_EXPONENT, _FRACTION = np.uint64(52), np.uint64(2**52 - 1)
_ONE, _ROOT = np.uint64(0x3FF0000000000000), np.uint64(0x3FE6A09E667F3BCD)
_ABOVE_ROOT = np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
# 2^52 and 2^84 as bits: 32 bits in the fraction are added to the first, 2^32 times as much to the second
_TO_LOW, _TO_HIGH = np.uint64(0x4330000000000000), np.uint64(0x4530000000000000)
_BOTH, _BIAS = 2.0**84 + 2.0**52, 2.0**52 + 1023.0
_SIGN, _SWAP, _NONE, _BIT = np.uint64(2**63), np.uint64(62), np.uint64(0), np.uint64(1)

# Minimax in relative error (Remez, 60 digits), z and y as in normal_pair:
# -2 ln((1 + s) / (1 - s)) = s (-4 + z (L0 + L1 z + ...)) to 2^-59
_LN2 = -1.3862943611198906  # -2 ln 2
_L0, _L1, _L2 = -1.3333333333333468, -0.7999999999882867, -0.5714285748494495
_L3, _L4, _L5, _L6 = -0.4444439712728734, -0.363671297235216, -0.30628071796816647, -0.2959221057491987
# sin(pi x / 2) = x (S0 + S1 y + ...) to 2^-58, cos(pi x / 2) = 1 + C1 y + ... to 2^-54
_S0, _S1, _S2 = 1.5707963267948966, -0.645964097506245, 0.07969262624606273
_S3, _S4, _S5 = -0.004681754132616244, 0.00016044115259833104, -3.598649340096041e-06
_S6 = 5.634675009145195e-08
_C1, _C2, _C3 = -1.2337005501361553, 0.25366950789995935, -0.020863480735867683
_C4, _C5, _C6 = 0.0009192599541492292, -2.5200143062684924e-05, 4.6553372799124976e-07

#: no number is larger: the root of 130 ln 2, of the smallest u, 2^-65, and some roundings
MOST = 9.4932

# counters that NumPy takes at a time: what is made of them stays in the cache of a core
_AT_ONCE = 2**12


def as_double(bits: Any) -> Any:
    """Return the doubles with these 64 bits."""
    return bits.view(np.float64)


def as_bits(x: Any) -> Any:
    """Return the 64 bits of doubles."""
    return x.view(np.uint64)


def philox(key: Any, counter: Any, stream: Any) -> tuple[Any, Any]:
    """Return two 64-bit words; key, counter and stream are 64-bit words (or arrays of them) as well.

    >>> ones = np.uint64(0xFFFFFFFFFFFFFFFF)
    >>> [f"{int(word):016x}" for word in philox(ones, ones, ones)]
    ['41c83b0e408f276d', '6d5451fda20bc7c6']
    """
    k0, k1 = key & _LOW, key >> _HALF
    x0, x1, x2, x3 = counter & _LOW, counter >> _HALF, stream & _LOW, stream >> _HALF
    for _ in range(10):
        p, q = _M0 * x0, _M1 * x2
        x0, x1, x2, x3 = (q >> _HALF) ^ x1 ^ k0, q & _LOW, (p >> _HALF) ^ x3 ^ k1, p & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return (x1 << _HALF) | x0, (x3 << _HALF) | x2


def normal_pair(one: Any, two: Any) -> tuple[Any, Any]:
    """Return two independent N(0, 1) numbers of two uniform 64-bit words.

    Each has a relative error below 6 2^-53 for what these stand for: (one + 1/2) / 2^64 rounded to double, u;
    the angle pi x / 2 in (-pi / 4, pi / 4), x of 52 bits of ``two``; two more bits, which reflect that angle
    into the whole circle.
    """
    u = ((as_double((one >> _HALF) | _TO_HIGH) - _BOTH) + as_double((one & _LOW) | _TO_LOW)) * 2.0**-64
    bits = as_bits(u + 2.0**-65) + _ABOVE_ROOT
    # u = 2^power (1 + f), 1 + f between the roots of 1/2 and of 2, 1 + f = (1 + s) / (1 - s)
    power = as_double((bits >> _EXPONENT) | _TO_LOW) - _BIAS
    f = as_double((bits & _FRACTION) + _ROOT) - 1.0
    s = f / (f + 2.0)
    z = s * s
    series = (((((_L6 * z + _L5) * z + _L4) * z + _L3) * z + _L2) * z + _L1) * z + _L0
    radius = np.sqrt(power * _LN2 + s * (z * series + -4.0))
    x = (as_double((two & _FRACTION) | _ONE) - 1.5) + 2.0**-53
    y = x * x
    sine = x * (y * (((((_S6 * y + _S5) * y + _S4) * y + _S3) * y + _S2) * y + _S1) + _S0)
    cosine = y * (((((_C6 * y + _C5) * y + _C4) * y + _C3) * y + _C2) * y + _C1) + 1.0
    # sign and exchange as bits, which every compiler makes vectors of
    c, e = as_bits(cosine) | (two & _SIGN), as_bits(sine)
    exchange = (c ^ e) & (_NONE - ((two >> _SWAP) & _BIT))
    return radius * as_double(c ^ exchange), radius * as_double(e ^ exchange)


def fill_normals(keys: HostArray, stream: int, scales: HostArray, out: HostArray) -> None:
    """Fill row i of out (k, m) with N(0, scales[i]^2) numbers of keys[i] (uint64) and the stream.

    Number j of a row is one of the pair of counter j // 2, whatever m: found in float64, rounded to the dtype
    of out once.
    """
    k, m = out.shape
    counters = np.arange((m + 1) // 2, dtype=np.uint64)
    rows = max(1, _AT_ONCE // max(1, len(counters)))
    for begin in range(0, k, rows):
        part = slice(begin, begin + rows)
        for first in range(0, len(counters), _AT_ONCE):
            pairs = philox(keys[part, None], counters[first : first + _AT_ONCE], np.uint64(stream))
            for odd, normal in enumerate(normal_pair(*pairs)):
                there = out[part, 2 * first + odd : 2 * (first + _AT_ONCE) : 2]
                there[...] = normal[:, : there.shape[1]] * scales[part, None]
