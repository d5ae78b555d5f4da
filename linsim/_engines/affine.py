"""What layers add to every token, and what rows of their attention sum to, as compiled kernels take them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._eigen import doubly_stochastic
from .._general_eigen import column_sums, row_sums
from .._types import HostArray
from .task import Task

__all__ = ["RowStructure", "drives", "packed_drive", "row_structure"]


def drives(task: Task) -> list[HostArray]:
    """What each layer adds to every token, (b or 1, 1, d), as many as layers differ; none where none does."""
    if not task.driven:
        return []
    rows = [task.drive(layer) for layer in range(task.different)]
    return [np.zeros((1, 1, task.d), task.start.dtype) if row is None else row for row in rows]


def packed_drive(rows: Sequence[HostArray], d: int, dtype: Any) -> tuple[HostArray, HostArray]:
    """Of ``rows`` (b or 1, 1, d), largest entries in [1, 2): (b or 1, layers, stored columns).

    And their exponents, and log2 of their lengths, (b or 1, layers, 2) float64; ABSENT where a row is zero.
    """
    from .._kernels.layer import ABSENT
    from .._kernels.products import columns

    b = max((len(row) for row in rows), default=1)
    out = np.zeros((b, len(rows), columns(d, np.dtype(dtype).itemsize)), dtype=dtype)
    sizes = np.full((b, len(rows), 2), ABSENT)
    for k, row in enumerate(rows):
        wide = np.broadcast_to(row[:, 0], (b, d)).astype(np.float64)
        top = np.max(np.abs(wide), axis=-1)
        there = top > 0
        exponent = np.frexp(np.where(there, top, 1.0))[1] - 1
        wide = np.ldexp(wide, -exponent[:, None])
        out[:, k, :d] = wide
        length = np.log2(np.where(there, np.linalg.norm(wide, axis=-1), 1.0)) + exponent
        sizes[:, k] = np.where(there[:, None], np.stack([exponent, length], axis=-1), ABSENT)
    return out, sizes


@dataclass(frozen=True, eq=False)
class RowStructure:
    """What rows of attention sum to: ``sums`` (layers or 1, heads, b or 1), on average.

    ``turns`` (., ., ., n or 0): how much more each row does, ``uneven`` (b or 1,): whether any does;
    ``stochastic``: all sum to 1 and none does.
    """

    sums: HostArray
    turns: HostArray
    uneven: HostArray
    stochastic: bool
    eps: float

    def preserved(self, A: HostArray, part: slice, eps: float) -> HostArray:
        """Whether the layers keep token means apart from the rest exactly, of the systems of ``part``."""
        kept = ~self.uneven[part] if len(self.uneven) > 1 else ~self.uneven
        for at, head in itertools.product(range(A.shape[0]), range(A.shape[1])):
            if self.stochastic:
                kept = kept & doubly_stochastic(A[at, head], eps)
            else:
                kept = kept & ~np.isnan(column_sums(A[at, head].astype(np.float64), self.eps))
        return np.array(np.broadcast_to(kept, A.shape[2]))


def row_structure(task: Task, A: HostArray) -> RowStructure:
    """Look at the rows of attention (layers or 1, heads, b or 1, n, n)."""
    if task.rule.stochastic:
        ones, none = np.ones((1, A.shape[1], 1)), np.zeros((1, 1, 1, 0), A.dtype)
        return RowStructure(ones, none, np.zeros(1, dtype=bool), True, 0.0)
    eps = task.given_to
    whole = A.reshape(-1, *A.shape[3:]).astype(np.float64)
    each, same = np.sum(whole, axis=-1), row_sums(whole, eps)
    sums = np.where(np.isnan(same), np.mean(each, axis=-1), same)
    turns = np.where(np.isnan(same)[:, None], each - sums[:, None], 0.0).reshape(A.shape[:4])
    uneven = np.any(turns != 0, axis=(0, 1, 3))
    if not uneven.any():
        turns = turns[..., :0]
    return RowStructure(sums.reshape(A.shape[:3]), turns.astype(A.dtype), uneven, False, eps)
