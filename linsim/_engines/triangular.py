"""Products of matrices that are zero beyond some column of each row, as those of causal attention are."""

from __future__ import annotations

import itertools

import numpy as np

from .._types import BoolArray, HostArray, IntArray

__all__ = ["UNCUT", "panels_of", "product", "reach_of"]

# rows that are multiplied together
_PANEL = 16
#: matrices with no more rows than this are multiplied whole
UNCUT = 32


def panels_of(filled: BoolArray) -> list[tuple[int, int]]:
    """Cut rows where all before do without the columns after: (first, last), rows first to last end there.

    ``filled`` (n, n): where a matrix, and so each of its powers, is not zero.
    """
    n = len(filled)
    reach = reach_of(filled)
    cuts = [at for at in range(_PANEL, n, _PANEL) if reach[at - 1] <= at] if n > UNCUT else []
    return list(itertools.pairwise([0, *cuts, n]))


def reach_of(filled: BoolArray) -> IntArray:
    """Columns behind which a row and all before it have nothing, and one more than its number at least."""
    ends = np.arange(1, len(filled) + 1)
    reach: IntArray = np.maximum.accumulate(np.maximum(np.max(np.where(filled, ends, 0), axis=-1), ends))
    return reach


def product(M: HostArray, X: HostArray, panels: list[tuple[int, int]]) -> HostArray:
    """Return M X, (k, n, n) times (k, n, t) or itself, of matrices that are zero beyond their panels."""
    if len(panels) == 1:
        whole: HostArray = M @ X
        return whole
    square = X is M
    out = np.zeros((*M.shape[:-1], X.shape[-1]), dtype=np.result_type(M, X))
    for first, last in panels:
        width = last if square else X.shape[-1]
        out[:, first:last, :width] = M[:, first:last, :last] @ X[:, :last, :width]
    return out
