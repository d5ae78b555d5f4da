"""Sums over heads, sum_h A_h X H_h: heads in groups on all processors, weights of low rank as two factors."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._low_rank import detected
from .._parallel import in_parallel
from .._types import FloatArray

__all__ = ["Stacked", "stacked", "sum_of_heads"]


# The sums are cut into these many parts on every machine: one cut, one result.
GROUPS = 4
# multiplications of a sum from which threads are worth their start
WORTH_IT = 2**26


def _groups(count: int) -> list[slice]:
    edges = [count * k // min(GROUPS, count) for k in range(min(GROUPS, count) + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _summed(part: Any, count: int, work: float) -> Any:
    """Sum ``part(slice of heads)`` over the groups, in order, side by side where that pays."""
    groups = _groups(count)
    parts = in_parallel(part, groups) if work > WORTH_IT else [part(group) for group in groups]
    total = parts[0]
    for more in parts[1:]:
        total = total + more
    return total


def sum_of_heads(A: FloatArray, H: FloatArray, X: Any) -> Any:
    """sum_h A_h X H_h of (h, n, n), (h, d, d) and states (..., n, d)."""

    def part(group: slice) -> Any:
        return sum(a @ (X @ h) for a, h in zip(A[group], H[group], strict=True))

    if X.size * H.shape[-1] * len(A) <= WORTH_IT:
        return part(slice(None))
    return _summed(part, len(A), np.inf)


@dataclass(frozen=True, eq=False)
class Stacked:
    """Weights H_h = V_h O_h of all heads of a layer side by side: V (d, R), O (R, d), R the sum of ranks.

    ``edges``: where the columns of each head begin, and the end.
    """

    V: FloatArray
    O: FloatArray  # noqa: E741
    edges: tuple[int, ...]

    @property
    def transposed(self) -> Stacked:
        """The factors of the transposed weights."""
        return Stacked(np.ascontiguousarray(self.O.T), np.ascontiguousarray(self.V.T), self.edges)

    @cached_property
    def single(self) -> Stacked:
        """The same in single precision."""
        return Stacked(self.V.astype(np.float32), self.O.astype(np.float32), self.edges)

    def apply(self, A: FloatArray, X: Any) -> Any:
        """sum_h A_h X V_h O_h of (h, n, n) and states (..., n, d)."""

        def part(group: slice) -> Any:
            edges = self.edges[group.start : group.stop + 1]
            Y = X @ self.V[:, edges[0] : edges[-1]]
            for a, low, high in zip(A[group], edges, edges[1:], strict=False):
                Y[..., low - edges[0] : high - edges[0]] = a @ Y[..., low - edges[0] : high - edges[0]]
            return Y @ self.O[edges[0] : edges[-1]]

        return _summed(part, len(A), 2.0 * X.size * len(self.O))


def stacked(H: FloatArray) -> Stacked | None:
    """The factors of (h, d, d) weights, found in their entries; None where they save nothing."""
    found = []
    for h in H:
        thin = detected(h)
        if thin is None:
            return None
        found.append((thin.left * thin.values, thin.right.T))
    edges = np.cumsum([0, *(len(right) for _, right in found)])
    V, O = np.concatenate([V for V, _ in found], axis=1), np.concatenate([O for _, O in found])  # noqa: E741
    return Stacked(np.ascontiguousarray(V), np.ascontiguousarray(O), tuple(edges.tolist()))
