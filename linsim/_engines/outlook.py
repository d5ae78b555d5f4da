"""A look ahead in single precision: which systems need to be cut along their dominant modes at all.

Two eigendecompositions find those modes, and cost as much as a few dozen layers.  They are needed where
tokens come close to one line other than the one of equal tokens: then angles and ranks are differences of
nearly equal numbers.  Whether they do within a run is told by a plain loop in single precision, at a small
part of the cost of the walk.  It only decides what is tried first: errors of what is measured are looked at
anyway.
"""

from __future__ import annotations

import numpy as np

from .._types import BoolArray, HostArray

__all__ = ["DEEPEST", "stays_apart"]

#: more layers than this cost more than the decompositions
DEEPEST = 128
# binary digits by which entries may grow between two rescalings
_ROOM = 60.0
# 2 (sigma_2 / sigma_1)^2 from which on a rank is known to a few roundings, and the share of the squares of
# the tokens that differences from their mean have where the mean alone is cut off in any case
_RANK, _REST = 1e-4, 1e-4


def stays_apart(A: HostArray, H: HostArray, x0: HostArray, last: int, growth: float) -> BoolArray:
    """Whether tokens of m systems are far from one line at layer ``last``, or close to their mean, (m,).

    ``A``, ``H`` and ``x0`` have leading axis m or 1; ``growth``: log2 of how much a layer enlarges an entry.
    """
    x = x0 / np.max(np.abs(x0), axis=(-1, -2), keepdims=True)
    with np.errstate(all="ignore"):  # what is no number in single precision goes the other way
        A, H, x = (M.astype(np.float32) for M in (A, H, x))
    size = max(len(A), len(H), len(x))
    x = np.array(np.broadcast_to(x, (size, *x.shape[1:])), order="C")
    weighted, mixed = np.empty_like(x), np.empty_like(x)
    every = max(1, int(_ROOM // max(growth, 1.0)))
    with np.errstate(all="ignore"):
        for layer in range(1, last + 1):
            np.matmul(x, H, out=weighted)
            np.matmul(A, weighted, out=mixed)
            x += mixed
            if layer % every == 0 or layer == last:
                # exactly, so that how often changes nothing
                x = np.ldexp(x, -np.frexp(np.max(np.abs(x), axis=(-1, -2), keepdims=True))[1])
        mean = np.mean(x, axis=-2, keepdims=True)
        rest = x - mean
        low, high = x.shape[-2] * np.vecdot(mean, mean)[:, 0], np.sum(rest * rest, axis=(-1, -2))
        y = x if x.shape[-1] <= x.shape[-2] else x.mT
        gram = y.mT @ y
        off = 1 - np.sum(gram * gram, axis=(-1, -2)) / (low + high) ** 2
        return (off > _RANK) | (high < _REST * low)
