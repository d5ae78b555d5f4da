"""Eigenvalues to twice the digits of LAPACK's, and how far its eigenvectors are off.

A depth of 1e9 multiplies an error of an eigenvalue by 1e9.  LAPACK's are off by
eps * condition; one Rayleigh correction u_i (M v_i - lambda_i v_i) / (u_i v_i)
squares that error, provided that the residual keeps its digits, all of which
cancel.  Matrices are cut into slices of about 21 bits, products of slices are
exact in a double, and the residual is a sum of few terms at known scales.

The same residual in the basis of the eigenvectors, F = U (M V - V Lambda), is
a measured bound on everything that is wrong with the basis: F_ik / (lambda_k -
lambda_i) is the share of v_i in v_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._eigen import Eigensystem
from .._types import EPS, BoolArray, ComplexArray, FloatArray, HostArray

__all__ = ["Basis", "basis_of", "residual"]


# A share of another vector beyond this is no small error of a vector: the two
# belong to one multiple eigenvalue whose members mix.
MIXED = 1e-5
# shares above this are taken out of the vectors, once; and where every digit counts, above a few roundings
WORTHWHILE, ROUNDED = 1e-13, 1e-15


@dataclass(frozen=True, eq=False)
class Basis:
    """Eigenvectors of (b, m, m) matrices M and their eigenvalues to 30 digits.

    ``values`` + ``low`` (b, m) complex: eigenvalues; ``right`` (b, m, m): vectors
    in the columns, ``left``: dual rows, both real arrays where no eigenvalue of
    the stack is complex; ``tag`` (b, m) int8: 0 real, 1 and 2 the halves of a
    conjugate pair, adjacent; ``block_right``, ``block_left``: the same in real
    form, real and imaginary part of the first half in place of the two halves.
    ``error`` (b, m): bound on the eigenvalues' error; ``share`` (b, m, m): how much
    of vector i is left in vector k by mistake; ``leak`` (b, m, m): how much of
    coefficient k appears in coefficient i by mistake; ``condition`` (b, m): |left_i| |right_i|.
    """

    values: ComplexArray
    low: ComplexArray
    right: HostArray
    left: HostArray
    tag: HostArray
    block_right: FloatArray
    block_left: FloatArray
    error: FloatArray
    share: FloatArray
    leak: FloatArray
    condition: FloatArray


def tags(values: ComplexArray) -> HostArray:
    """0 for a real eigenvalue, 1 and 2 for the halves of a pair; LAPACK keeps halves adjacent."""
    halves = values.imag != 0
    # complex values come in runs of pairs, so the parity of the place in the run tells the half
    place = np.cumsum(halves, axis=-1)
    return np.where(halves, 2 - place % 2, 0).astype(np.int8)


def _paired(vectors: HostArray, tag: HostArray) -> HostArray:
    """Make (b, m, k) rows real where ``tag`` is 0, and second halves the conjugates of the first."""
    if not np.any(tag):
        return np.array(vectors.real)
    vectors = np.array(vectors)
    vectors.imag[tag == 0] = 0
    s, k = np.nonzero(tag == 1)
    if s.size:
        mean = (vectors[s, k] + np.conj(vectors[s, k + 1])) / 2
        vectors[s, k], vectors[s, k + 1] = mean, np.conj(mean)
    return vectors


def _blocks(rows: HostArray, tag: HostArray) -> FloatArray:
    """Real and imaginary part of the first half in place of the halves of (b, m, k) rows."""
    if not np.iscomplexobj(rows):
        return np.ascontiguousarray(rows)
    return np.where((tag == 2)[:, :, None], -rows.imag, rows.real)


def _flipped(x: HostArray) -> HostArray:
    return np.swapaxes(x, -1, -2)


def _slices(x: FloatArray, scale: FloatArray, bits: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cut x with |x| <= scale (a power of two) into two slices of ``bits`` bits and the rest."""
    unit = scale * 2.0**-bits
    first = np.rint(x / unit) * unit
    rest = x - first
    unit = unit * 2.0**-bits
    second = np.rint(rest / unit) * unit
    return first, second, rest - second


def _above(x: FloatArray, axis: Any) -> FloatArray:
    """Return the power of two above the largest |x|."""
    top = np.max(np.abs(x), axis=axis, keepdims=True)
    return np.ldexp(1.0, np.frexp(np.where(top > 0, top, 1.0))[1])


def residual(M: FloatArray, block: FloatArray, values: ComplexArray, tag: HostArray) -> FloatArray:
    """M V - V Lambda of (b, m, m) matrices in real block form, to all digits of the difference.

    The leading slices of M V and of V Lambda are multiples of one unit, so
    their difference is exact; so is that of the next ones (derived here).
    """
    m = M.shape[-1]
    bits = min(21, (52 - int(np.ceil(np.log2(max(m, 2))))) // 2)
    scale = np.maximum(_above(M, (-1, -2)), _above(np.abs(values)[:, None, :], (-1, -2)))
    A1, A2, A3 = _slices(M, scale, bits)
    V1, V2, V3 = _slices(block, _above(block, -2), bits)
    first, second = A1 @ V1, A1 @ V2 + A2 @ V1
    third = A1 @ V3 + A2 @ (V2 + V3) + A3 @ block
    first, second, third = _less(first, second, third, (V1, V2, V3), values.real, scale, bits)
    if np.any(tag):
        # the other half of each pair enters with -+ the imaginary part
        partner = np.arange(m) + np.where(tag == 1, 1, np.where(tag == 2, -1, 0))
        swapped = tuple(np.take_along_axis(x, partner[:, None, :], axis=-1) for x in (V1, V2, V3))
        # A (vr + i vi) = (p + i q)(vr + i vi): the columns are p vr - q vi and p vi + q vr
        mixed = np.where(tag == 0, 0.0, -values.imag)
        first, second, third = _less(first, second, third, swapped, mixed, scale, bits)
    return (first + second) + third


def _less(
    first: FloatArray,
    second: FloatArray,
    third: FloatArray,
    V: tuple[FloatArray, ...],
    value: FloatArray,
    scale: FloatArray,
    bits: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    V1, V2, V3 = V
    value = value[:, None, :]
    p1, p2, p3 = _slices(value, scale, bits)
    return first - V1 * p1, second - (V1 * p2 + V2 * p1), third - (V1 * p3 + V2 * (p2 + p3) + V3 * value)


def _row_excess(M: FloatArray) -> FloatArray:
    """Row sums of M minus 1, (b, m, 1), to all digits."""
    A1, A2, A3 = _slices(M, np.maximum(_above(M, (-1, -2)), 1.0), 21)
    head, middle, tail = (np.sum(x, axis=-1, keepdims=True) for x in (A1, A2, A3))
    return (head - 1) + middle + tail


def basis_of(
    M: FloatArray,
    system: Eigensystem,
    index: HostArray,
    right: FloatArray,
    left: FloatArray,
    sound: BoolArray,
    normalised: BoolArray | None = None,
    sharp: bool = False,
) -> Basis:
    """Basis of (b, m, m) matrices with the pair ``right`` (b, m), ``left`` (b, m) in place ``index``.

    ``index`` (b,) is -1 where there is no such pair.  Where not ``sound`` (b,)
    there is no basis to speak of: unit vectors stand in.  ``normalised`` (b,):
    M stands for itself with its rows divided by their sums.  ``sharp``: vectors to the last digit.
    """
    b, m = index.size, M.shape[-1]
    M = np.broadcast_to(M, (b, m, m))
    values = system.values
    columns: HostArray = _flipped(system.right)
    rows: HostArray = system.left
    if not np.all(sound):
        values = np.where(sound[:, None], values, 0)
        columns, rows = (np.where(sound[:, None, None], x, np.eye(m)) for x in (columns, rows))
        M = np.where(sound[:, None, None], M, 0)
    values = np.broadcast_to(values, (b, m))
    tag = tags(values)
    columns, rows = (_paired(np.broadcast_to(x, (b, m, m)), tag) for x in (columns, rows))
    has = np.flatnonzero((index >= 0) & sound)
    here = index[has]
    # what others share with the pair goes, exactly to rounding; the pair is simple
    columns[has] -= (columns[has] @ left[has, :, None]) * right[has, None, :]
    rows[has] -= (rows[has] @ right[has, :, None]) * left[has, None, :]
    columns[has, here], rows[has, here] = right[has], left[has]
    # two halves stay conjugate; duals are made dual again, once
    V = _flipped(columns)
    wrong = rows @ V - np.eye(m)
    rows = rows - wrong @ rows
    rows[has, here] = left[has]
    block_right = _flipped(_blocks(columns, tag))

    rest = residual(M, block_right, values, tag)
    if normalised is not None:
        grown = _values_times(block_right, values, tag)
        rest = rest - np.where(normalised[:, None, None], _row_excess(M) * grown, 0.0)
    G = rows @ _complex_columns(rest, tag)
    dual = rows @ V
    diagonal = np.diagonal(G, axis1=-2, axis2=-1) / np.diagonal(dual, axis1=-2, axis2=-1)
    reach = np.linalg.norm(rows, axis=-1)[:, :, None] * np.linalg.norm(V, axis=-2)[:, None, :]
    low, error, share = _corrected(M, values, diagonal, G, reach, tag)
    kept = np.zeros((b, m), dtype=bool)
    kept[has, here] = True
    V, rows, shares = _sharpened(V, rows, share, kept, ROUNDED if sharp else WORTHWHILE)
    return Basis(
        values,
        low,
        V,
        rows,
        tag,
        _flipped(_blocks(_flipped(V), tag)),
        _blocks(rows, tag),
        error,
        share=shares,
        leak=shares + np.abs(dual - np.eye(m)),
        condition=np.diagonal(reach, axis1=-2, axis2=-1),
    )


def _sharpened(
    V: HostArray, rows: HostArray, share: HostArray, kept: BoolArray, least: float
) -> tuple[HostArray, HostArray, FloatArray]:
    """Take the ``share`` of others out of the vectors that are not ``kept``, and what is left of it."""
    left = np.abs(share)
    worth = np.flatnonzero(np.max(left, axis=(-1, -2), initial=0.0) > least)
    if worth.size == 0:
        return V, rows, left
    share = np.where(kept[worth, :, None] | kept[worth, None, :], 0, share[worth])
    V, rows = np.array(V), np.array(rows)
    V[worth] += V[worth] @ share
    rows[worth] -= share @ rows[worth]
    left[worth] = np.abs(share @ share)
    return V, rows, left


def _complex_columns(x: FloatArray, tag: HostArray) -> HostArray:
    """Undo the real block form of the columns."""
    if not np.any(tag):
        return x
    after = np.concatenate([x[:, :, 1:], x[:, :, :1]], axis=-1)
    before = np.concatenate([x[:, :, -1:], x[:, :, :-1]], axis=-1)
    t = tag[:, None, :]
    return np.where(t == 2, before, x) + 1j * np.where(t == 0, 0.0, np.where(t == 1, after, -x))


def _values_times(block: FloatArray, values: ComplexArray, tag: HostArray) -> FloatArray:
    """V Lambda in real block form."""
    out = block * values.real[:, None, :]
    if np.any(tag):
        partner = np.arange(tag.shape[-1]) + np.where(tag == 1, 1, np.where(tag == 2, -1, 0))
        out = (
            out
            + np.take_along_axis(block, partner[:, None, :], axis=-1)
            * np.where(tag == 0, 0.0, -values.imag)[:, None, :]
        )
    return out


def _corrected(
    M: FloatArray, values: ComplexArray, diagonal: HostArray, G: HostArray, reach: FloatArray, tag: HostArray
) -> tuple[ComplexArray, FloatArray, HostArray]:
    """Corrections of the eigenvalues, the bound of their error, and the share of v_i in each v_k."""
    m = values.shape[-1]
    G = np.array(G)
    G[:, np.arange(m), np.arange(m)] = 0
    off = np.abs(G)
    difference = values[:, None, :] - values[:, :, None]
    gap = np.abs(difference)
    # Members of a multiple eigenvalue mix, which is harmless while they stay equal
    # (the state is wrong by l times the coupling at most).
    mixed = off > MIXED * gap
    mixed = mixed | _flipped(mixed)
    apart = np.where(mixed | (gap == 0), np.inf, difference)
    if not np.iscomplexobj(G):
        apart = apart.real
    both = off + _flipped(off)
    error = np.sum(off * _flipped(off) / np.abs(apart), axis=-1) + np.sum(np.where(mixed, both, 0), axis=-1)
    # the residual itself: slices end at 2^-95 of the matrix
    size = np.linalg.norm(M, axis=(-1, -2))[:, None]
    error = error + 2.0**-90 * size * np.diagonal(reach, axis1=-2, axis2=-1)
    # no further apart than rounding puts equal eigenvalues
    equal = mixed & (gap <= 16 * both + 16 * EPS * size[:, :, None])
    low, spread = _together(values, diagonal.astype(np.complex128), equal)
    # halves stay conjugate to the last digit
    s, k = np.nonzero(tag == 1)
    low[s, k + 1] = np.conj(low[s, k])
    low.imag[tag == 0] = 0
    return low, error + spread, G / apart


def _together(values: ComplexArray, low: ComplexArray, tied: BoolArray) -> tuple[ComplexArray, FloatArray]:
    """Corrections that make tied eigenvalues equal: their mean is accurate, their scatter is rounding."""
    low, spread = np.array(low), np.zeros(values.shape)
    several = np.flatnonzero(np.any(tied, axis=(-1, -2)))
    if several.size:
        from scipy.sparse.csgraph import connected_components

        for s in several:
            count, group = connected_components(tied[s], directed=False)
            for g in range(count):
                block = np.flatnonzero(group == g)
                if block.size > 1:
                    apart = values[s, block] - values[s, block[0]]  # small, so exact
                    own = apart + low[s, block]
                    centre = np.mean(own)
                    spread[s, block] = np.max(np.abs(own - centre))
                    low[s, block] = centre - apart
    return low, spread
