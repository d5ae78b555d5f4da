"""Several threads, each at a piece of tokens and of their copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np

from .._types import HostArray

__all__ = ["Pair", "Threads", "by_rows", "cut"]

T = TypeVar("T")
R = TypeVar("R")

#: tokens and their copies, (1, 1, n, d) each
Pair = tuple[HostArray, HostArray]

# pieces have multiples of so many tokens or features: BLAS then rounds each as if it were beside all others
_MULTIPLE = 48


class Threads:
    """Threads that wait for work, the calling one among them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.pool = ThreadPoolExecutor(count - 1) if count > 1 else None

    def each(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Apply a function to each of the items."""

        @np.errstate(all="ignore")  # threads do not have the settings of those who wait for them
        def quietly(item: T) -> R:
            return function(item)

        first, *others = items
        if self.pool is None:
            return [quietly(item) for item in (first, *others)]
        waiting = [self.pool.submit(quietly, item) for item in others]
        return [quietly(first), *(one.result() for one in waiting)]

    def close(self) -> None:
        """End the threads."""
        if self.pool is not None:
            self.pool.shutdown()


def cut(length: int, count: int) -> list[slice]:
    """Cut ``length`` rows or columns into ``count`` pieces, or fewer."""
    edges = [min(length, round(length * i / count / _MULTIPLE) * _MULTIPLE) for i in range(count)]
    return [slice(a, b) for a, b in pairwise([*edges, length]) if a < b]


def by_rows(
    function: Callable[[int, slice], HostArray],
    like: Pair,
    columns: int,
    rows: Sequence[slice],
    threads: Threads,
) -> Pair:
    """Ask for rows (1, 1, m, columns) of tokens (0) and copies (1), and put them together."""
    out: Pair = tuple(np.empty((*x.shape[:-1], columns), dtype=x.dtype) for x in like)  # type: ignore[assignment]

    def do(own: slice) -> None:
        for which in (0, 1):
            out[which][..., own, :] = function(which, own)

    threads.each(do, rows)
    return out
