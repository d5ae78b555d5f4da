"""Standard normal numbers from a counter: what a seed gives depends on nothing else.

Philox 4x32 with ten rounds (Salmon, Moraes, Dror and Shaw 2011) makes two 64-bit words of a key and a
counter; the ziggurat of Marsaglia and Tsang (2000), with 256 layers and 52 bits, makes normal numbers of
them.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT

__all__ = ["fill_normal", "philox"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)

# where the tail begins, and the area of each layer
_TAIL, _AREA = 3.6541528853610088, 0.00492867323399
_ONE = 2.0**52


def _layers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each layer what is inside for certain, as 52-bit numbers, the width over 2^52, the density."""
    inside, width, density = np.zeros(256), np.zeros(256), np.zeros(256)
    x = edge = _TAIL
    base = _AREA / math.exp(-0.5 * x * x)
    inside[0] = x / base * _ONE
    width[0], width[255] = base / _ONE, x / _ONE
    density[0], density[255] = 1.0, math.exp(-0.5 * x * x)
    for k in range(254, 0, -1):
        x = math.sqrt(-2.0 * math.log(_AREA / x + math.exp(-0.5 * x * x)))
        inside[k + 1] = x / edge * _ONE
        edge = x
        density[k], width[k] = math.exp(-0.5 * x * x), x / _ONE
    return inside, width, density


_INSIDE, _WIDTH, _DENSITY = _layers()


@nb.njit(**_COMPILE)
def philox(key, counter, stream):
    """Return two 64-bit words; key, counter and stream are 64-bit words as well.

    >>> key, counter = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(0xFFFFFFFFFFFFFFFF)
    >>> [f"{int(word):016x}" for word in philox(key, counter, counter)]
    ['41c83b0e408f276d', '6d5451fda20bc7c6']
    """
    k0, k1 = key & _LOW, key >> _HALF
    x0, x1, x2, x3 = counter & _LOW, counter >> _HALF, stream & _LOW, stream >> _HALF
    for _ in range(10):
        p, q = _M0 * x0, _M1 * x2
        x0, x1, x2, x3 = (q >> _HALF) ^ x1 ^ k0, q & _LOW, (p >> _HALF) ^ x3 ^ k1, p & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return (x1 << _HALF) | x0, (x3 << _HALF) | x2


@nb.njit(**_COMPILE)
def _uniforms(key, counter, stream):
    """Return two numbers inside (0, 1)."""
    one, two = philox(key, counter, stream)
    u, v = np.float64(np.int64(one >> np.uint64(11))), np.float64(np.int64(two >> np.uint64(11)))
    return (u + 0.5) * 2.0**-53, (v + 0.5) * 2.0**-53


@nb.njit(**_COMPILE)
def fill_normal(seed, stream, out):
    """Fill the flat array out with the normal numbers of a seed; streams of one seed are independent."""
    key, stream = np.uint64(seed), np.uint64(stream)
    counter, spare, left, filled = np.uint64(0), np.uint64(0), False, 0
    while filled < out.size:
        if left:
            word, left = spare, False
        else:
            word, spare = philox(key, counter, stream)
            counter += np.uint64(1)
            left = True
        layer = np.int64(word & np.uint64(255))
        size = np.float64(np.int64((word >> np.uint64(9)) & np.uint64(0xFFFFFFFFFFFFF)))
        x = size * _WIDTH[layer]
        if size >= _INSIDE[layer]:  # one in a hundred
            u, v = _uniforms(key, counter, stream)
            counter += np.uint64(1)
            if layer > 0:
                if (_DENSITY[layer - 1] - _DENSITY[layer]) * u + _DENSITY[layer] >= math.exp(-0.5 * x * x):
                    continue
            else:  # beyond the last layer
                x = -math.log(u) / _TAIL
                while -2.0 * math.log(v) <= x * x:
                    u, v = _uniforms(key, counter, stream)
                    counter += np.uint64(1)
                    x = -math.log(u) / _TAIL
                x += _TAIL
        out[filled] = -x if (word >> np.uint64(8)) & np.uint64(1) else x
        filled += 1
