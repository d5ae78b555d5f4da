"""A look ahead in single precision: which systems need to be cut along their dominant modes at all.

Two eigendecompositions find those modes, and cost as much as a few dozen layers.  They are needed where
tokens come close to one line other than the one of equal tokens: then angles and ranks are differences of
nearly equal numbers.  Whether they do within a run is told by a plain loop in single precision, at a small
part of the cost of the walk.  It only decides what is tried first: errors of what is measured are looked at
anyway.
"""

from __future__ import annotations

import numpy as np

from .. import _kernels
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
    from .._kernels.outlook import ahead

    size = max(len(A), len(H), len(x0))
    out = np.empty((size, 2))
    every = max(1, int(_ROOM // max(growth, 1.0)))
    ahead(*(_kernels.frozen(M.astype(np.float64, copy=False)) for M in (A, H, x0)), last, every, out)
    return (out[:, 0] > _RANK) | (out[:, 1] < _REST)
