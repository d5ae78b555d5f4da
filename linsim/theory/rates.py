"""How fast each gap closes, and how fast its slope settles, from the moduli of the modes.

A gap is a quotient of sums of exponentials in the layer.  Its *rate* is the
quotient of the largest terms; its *relaxation* is the largest quotient of a
neglected term to a leading one: after l layers the measured slope differs
from the asymptotic one by about relaxation^l.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._types import BoolArray, ComplexArray, FloatArray, IntArray
from .dominance import TIE

__all__ = ["Rates", "beats", "rates", "silent_rate"]


class Rates(NamedTuple):
    """Factors per layer, each (b,); those of squares are not yet squared."""

    token: FloatArray
    rank: FloatArray
    token_relaxation: FloatArray
    rank_relaxation: FloatArray


def rates(modulus: FloatArray) -> Rates:
    """Rates of sqrt(token diversity) and of sigma_2/sigma_1 from moduli (b, n, d), 0 where absent.

    sigma_1 sigma_2 grows like the largest product of two modes in different
    rows and columns; the largest such product holds either the leading mode
    or one mode of its row and one of its column.  Proved as ``rates.token_diversity``,
    ``rates.rank_gap`` and ``rates.angles_faster`` in proofs_check.
    """
    size, n, d = modulus.shape
    top = np.max(modulus, axis=(-1, -2))
    constant, constant_next = _leading(modulus[:, 0, :])
    other, other_next = _leading(modulus[:, 1:, :].reshape(size, -1))
    q_token = _quotient(other, constant)
    within = np.maximum(_quotient(constant_next, constant), _quotient(other_next, other))

    best = np.argmax(modulus.reshape(size, -1), axis=-1)
    i, j = best // d, best % d
    off_row = (np.arange(n)[None, :] != i[:, None])[:, :, None]
    off_column = (np.arange(d)[None, :] != j[:, None])[:, None, :]
    along_row = np.take_along_axis(modulus, i[:, None, None], axis=1)
    along_column = np.take_along_axis(modulus, j[:, None, None], axis=2)
    minors = np.stack([top[:, None, None] * modulus, along_row * along_column], axis=1)
    minors = np.where((off_row & off_column)[:, None], minors, 0)
    minor, minor_next = _leading(minors.reshape(size, -1))
    _, second = _leading(modulus.reshape(size, -1))
    return Rates(
        q_token,
        _quotient(minor, top**2),
        np.maximum(within, np.where(q_token < 1 - TIE, q_token, 0)),
        np.maximum(_quotient(minor_next, minor), _quotient(second, top)),
    )


def beats(rho: ComplexArray, modulus: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slowest beat of token diversity and of sigma_2/sigma_1, radians per layer; inf where nothing swings.

    Terms of equal modulus and different phase beat against each other, and no
    slope is known before they have done so: (b, n, d) values, moduli 0 where absent.
    """
    size = rho.shape[0]
    token, rank = np.full(size, np.inf), np.full(size, np.inf)
    for s in np.flatnonzero(np.any(rho.imag != 0, axis=(-1, -2))):
        r, m = rho[s], modulus[s]
        token[s] = min(_slowest(r[0], m[0]), _slowest(r[1:], m[1:]))
        i, j = np.unravel_index(np.argmax(m), m.shape)
        off = (np.arange(m.shape[0]) != i)[:, None] & (np.arange(m.shape[1]) != j)
        minors = np.stack([r[i, j] * r, r[i] * r[:, j : j + 1]])
        sizes = np.where(off, np.stack([m[i, j] * m, m[i] * m[:, j : j + 1]]), 0)
        rank[s] = min(_slowest(r, m), _slowest(minors, sizes))
    return token, rank


def _slowest(values: ComplexArray, sizes: FloatArray) -> float:
    """The smallest phase, beyond rounding, between two leading values."""
    top = np.max(sizes, initial=0.0)
    lead = values[(sizes >= (1 - TIE) * top) & (sizes > 0)]
    turn = np.abs(np.angle(lead[:, None] * np.conj(lead)))
    return float(np.min(turn[turn > TIE], initial=np.inf))


def _leading(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Largest of (b, m) values, and the largest of those that do not tie with it; 0 where none."""
    first = np.max(values, axis=-1, initial=0.0)
    below = np.where(values < (1 - TIE) * first[:, None], values, 0)
    return first, np.max(below, axis=-1, initial=0.0)


def _quotient(p: FloatArray, q: FloatArray) -> FloatArray:
    return p / np.where(q > 0, q, 1)


def silent_rate(
    modulus: FloatArray, growth: IntArray, D: BoolArray, entries: BoolArray, heard: BoolArray
) -> tuple[float, bool]:
    """Factor per layer of the angle between tokens where the dominant modes miss some, and whether it closes.

    Such a token follows the strongest mode that has an entry for it.  It ends
    up along the others' direction iff all of these modes share one weight
    vector, that of the dominant modes: by their moduli, or, along a Jordan
    chain, by a power of depth (then the factor is 1).  One system: arrays (n, d).
    """
    columns = np.flatnonzero(np.any(D, axis=0))
    if columns.size > 1:
        return 1.0, False
    others = np.arange(D.shape[1]) != columns[0]
    factors = [np.max(modulus[np.any(D, axis=1)][:, others], initial=0.0) / np.max(modulus)]
    for token in np.flatnonzero(~heard):
        own = np.where(D, 0, modulus)[entries[token]]
        along, across = np.max(own[:, columns[0]], initial=0.0), np.max(own[:, others], initial=0.0)
        if across >= (1 - TIE) * along:
            power = np.where(own >= (1 - TIE) * along, growth[entries[token]], -1)
            faster = np.max(power[:, columns[0]], initial=-1) > np.max(power[:, others], initial=-1)
            # a token that is zero for ever has no direction
            if across > (1 + TIE) * along or not faster or along == 0:
                return 1.0, False
        factors.append(min(across / along, 1.0))
    return float(max(factors)), True
