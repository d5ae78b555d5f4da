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
# words that are made at once: of whole vectors of counters
_BUFFER = 64


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
    words = np.empty(2, np.uint64)
    _words(key, counter, stream, words)
    return words[0], words[1]


@nb.njit(**_COMPILE)
def _words(key, counter, stream, out):
    """Fill out with the words of counters from ``counter`` on.

    A plain loop without calls: LLVM then takes several counters at a time.
    """
    for k in range(out.size // 2):
        k0, k1 = key & _LOW, key >> _HALF
        here = counter + np.uint64(k)
        x0, x1, x2, x3 = here & _LOW, here >> _HALF, stream & _LOW, stream >> _HALF
        for _ in range(10):
            p, q = _M0 * x0, _M1 * x2
            x0, x1, x2, x3 = (q >> _HALF) ^ x1 ^ k0, q & _LOW, (p >> _HALF) ^ x3 ^ k1, p & _LOW
            k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
        out[2 * k], out[2 * k + 1] = (x1 << _HALF) | x0, (x3 << _HALF) | x2


@nb.njit(**_COMPILE)
def _refilled(words, at, key, counter, stream):
    """Move the words from ``at`` on, four at most, to the front, and new ones behind them; where they begin.

    The two words of a counter stay at an even place and the odd one behind it.
    """
    begin = 4 - (words.size - at)
    for k in range(begin, 4):
        words[k] = words[at + k - begin]
    _words(key, counter, stream, words[4:])
    return begin


@nb.njit(**_COMPILE)
def _inside(word):
    """A number inside (0, 1)."""
    return (np.float64(np.int64(word >> np.uint64(11))) + 0.5) * 2.0**-53


@nb.njit(**_COMPILE)
def fill_normal(seed, stream, out):
    """Fill the flat array out with the normal numbers of a seed; streams of one seed are independent."""
    key, stream, counter = np.uint64(seed), np.uint64(stream), np.uint64(0)
    words = np.empty(_BUFFER + 4, np.uint64)
    at, filled = words.size, 0
    while filled < out.size:
        if at > _BUFFER:
            at = _refilled(words, at, key, counter, stream)
            counter += np.uint64(_BUFFER // 2)
        end = min(_BUFFER + 1, at + out.size - filled)
        x, layer, word, inside = 0.0, np.int64(0), np.uint64(0), True
        while at < end:
            word = words[at]
            layer = np.int64(word & np.uint64(255))
            size = np.float64(np.int64((word >> np.uint64(9)) & np.uint64(0xFFFFFFFFFFFFF)))
            x = size * _WIDTH[layer]
            if size >= _INSIDE[layer]:  # one in a hundred
                inside = False
                break
            out[filled] = -x if (word >> np.uint64(8)) & np.uint64(1) else x
            filled += 1
            at += 1
        if inside:
            continue
        # two more numbers, of the next counter; the other word of this one, if it is still there, comes next
        other, waiting = words[at + 1], at & 1 == 0
        at += 2 - (at & 1)
        while True:
            u, v = _inside(words[at]), _inside(words[at + 1])
            at += 2
            if layer > 0:
                fine = (_DENSITY[layer - 1] - _DENSITY[layer]) * u + _DENSITY[layer] < math.exp(-0.5 * x * x)
                break
            x = -math.log(u) / _TAIL  # beyond the last layer
            fine = -2.0 * math.log(v) > x * x
            if fine:
                x += _TAIL
                break
            if at > _BUFFER + 2:
                at = _refilled(words, at, key, counter, stream)
                counter += np.uint64(_BUFFER // 2)
        if waiting:
            at -= 1
            words[at] = other
        if fine:
            out[filled] = -x if (word >> np.uint64(8)) & np.uint64(1) else x
            filled += 1
