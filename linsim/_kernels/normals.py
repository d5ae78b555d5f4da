"""Standard normal numbers from a counter: what a seed gives depends on nothing else.

Whole layers come from :mod:`.box_muller`, compiled: two numbers of each counter, the same to the bit on every
processor.  Few numbers at a time, for the bases of prescribed spectra, come from the ziggurat of Marsaglia
and Tsang (2000), with 256 layers and 52 bits, of the same Philox words.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload

from . import box_muller
from .kept import KEPT

__all__ = ["fill_normal", "fill_normals", "philox"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}

# counters that are taken together, those of a vector
_LANES = 8

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


@intrinsic
def _reinterpreted(typing: Any, x: Any) -> Any:
    """The 64 bits of a word as a double, or the other way round."""
    out = types.float64 if isinstance(x, types.Integer) else types.uint64

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(sig.return_type))

    return out(x), generate


@overload(box_muller.as_double)
def _as_double(bits):
    return lambda bits: _reinterpreted(bits)


@overload(box_muller.as_bits)
def _as_bits(x):
    return lambda x: _reinterpreted(x)


# inlined by Numba itself, for LLVM makes vectors only of loops that call nothing
philox = nb.njit(inline="always", **_COMPILE)(box_muller.philox)
_normal_pair = nb.njit(inline="always", **_COMPILE)(box_muller.normal_pair)


@nb.njit(**_COMPILE)
def _fill(key, stream, first, count, scale, out):
    """Two numbers of each counter from ``first`` on, in a plain loop, of which LLVM makes one of vectors."""
    for k in range(count):
        one, two = philox(key, first + np.uint64(k), stream)
        a, b = _normal_pair(one, two)
        out[2 * k] = a * scale
        out[2 * k + 1] = b * scale


@nb.njit(**_COMPILE)
def _fill_row(key, stream, scale, out):
    """The last few numbers come from a whole vector of counters, too: a shorter loop would cost more."""
    whole = out.size // (2 * _LANES) * _LANES
    _fill(key, stream, np.uint64(0), whole, scale, out)
    left = out.size - 2 * whole
    if left > 0:
        rest = np.empty(2 * _LANES, out.dtype)
        # as a count that the compiler does not know, for it would write the loop out number by number
        more = (left + 2 * _LANES - 1) // (2 * _LANES) * _LANES
        _fill(key, stream, np.uint64(whole), more, scale, rest)
        for k in range(left):
            out[2 * whole + k] = rest[k]


@nb.njit(**_COMPILE)
def fill_normals(keys, stream, scales, out):
    """:func:`.box_muller.fill_normals`, to the bit."""
    for row in range(out.shape[0]):
        _fill_row(keys[row], np.uint64(stream), scales[row], out[row])


# --- the ziggurat ---------------------------------------------------------------------------


@nb.njit(**_COMPILE)
def _words(key, counter, stream, out):
    """Fill out with the words of counters from ``counter`` on.

    A plain loop without calls: LLVM then takes several counters at a time.
    """
    for k in range(out.size // 2):
        out[2 * k], out[2 * k + 1] = philox(key, counter + np.uint64(k), stream)


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
