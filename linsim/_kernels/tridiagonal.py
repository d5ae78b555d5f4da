"""Eigenvalues of positive semidefinite tridiagonal matrices, several side by side, one in each lane.

T = U U^T with U upper bidiagonal, worked out from the last row upwards, so that U without its first row and
column belongs to T without its own: both come from one factorisation.  The eigenvalues are the squares of
the singular values of U, which :func:`.singular.squares` finds in all lanes at once.

Rounding makes a singular T indefinite by some eps of its norm, and then there is no U, nor anything near it:
T + s 1 is factored instead, and s taken off the eigenvalues.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .lanes import WIDTH
from .singular import squares

__all__ = ["eigenvalues"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
#: s, of the norm
_SHIFT = 64 * 2.220446049250313e-16


@nb.njit(**_COMPILE)
def eigenvalues(d, e, out):
    """Write the eigenvalues of matrices (b, n) to out[0], and without their first rows and columns to out[1].

    ``d``, ``e``: the diagonals (b, n), and in the first n - 1 places what is beside them.  Eigenvalues are in
    no order, and known to a few eps of the norm; out[1] has n - 1 of them and a zero.  NaN
    where the iteration did not end.
    """
    b, n = d.shape
    lanes = 2 * WIDTH // 8
    half = lanes // 2
    q, beside, found = np.empty(n * lanes), np.empty(n * lanes), np.empty(n * lanes)
    work = np.empty(4 * n * lanes)
    for begin in range(0, b, half):
        for lane in range(half):
            at = min(begin + lane, b - 1)
            top = _norm(d, e, at)
            scale = 1 / top if top > 0 else 1.0
            pivot = d[at, n - 1] * scale + _SHIFT
            for k in range(n):
                row = n - 1 - k
                root = math.sqrt(max(pivot, 0.25 * _SHIFT))
                off = abs(e[at, row - 1]) * scale / root if row > 0 else 0.0
                here = k * lanes + lane
                q[here] = q[here + half] = root
                beside[here] = beside[here + half] = off
                pivot = d[at, row - 1] * scale + _SHIFT - off * off if row > 0 else 0.0
            # without the first row: s itself stands there
            q[(n - 1) * lanes + lane + half] = math.sqrt(_SHIFT)
            if n > 1:
                beside[(n - 2) * lanes + lane + half] = 0.0
        squares(q, beside, n, found, work)
        for lane in range(min(half, b - begin)):
            top = _norm(d, e, begin + lane)
            for k in range(n):
                out[0, begin + lane, k] = (found[k * lanes + lane] - _SHIFT) * top
                out[1, begin + lane, k] = (found[k * lanes + lane + half] - _SHIFT) * top


@nb.njit(**_COMPILE)
def _norm(d, e, at):
    """Return a bound of matrix ``at``'s norm: the largest sum of moduli in a row."""
    n = d.shape[1]
    top = 0.0
    for k in range(n):
        before = abs(e[at, k - 1]) if k > 0 else 0.0
        after = abs(e[at, k]) if k + 1 < n else 0.0
        top = max(top, abs(d[at, k]) + before + after)
    return top
