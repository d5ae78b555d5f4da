"""Several threads, each at a piece of tokens and of their copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from .._types import HostArray

__all__ = ["Pair", "Threads", "by_heads", "by_rows", "cut"]

T = TypeVar("T")
R = TypeVar("R")

#: tokens and their copies, (1, 1, n, d) each
Pair = tuple[HostArray, HostArray]

# pieces have multiples of so many tokens or features: BLAS then rounds each as if it were beside all others
_MULTIPLE = 48
# and no fewer products of numbers: for a million OpenBLAS has other kernels, which add up in another order
_PRODUCTS = 2**21


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
        found = [quietly(first)]
        # whatever nobody has begun is done here, the last ones first
        later = [
            quietly(item) if one.cancel() else one.result()
            for item, one in zip(others[::-1], waiting[::-1], strict=True)
        ]
        return found + later[::-1]

    def close(self) -> None:
        """End the threads."""
        if self.pool is not None:
            self.pool.shutdown()


def cut(length: int, count: int, products: float = np.inf) -> list[slice]:
    """Cut ``length`` numbers into ``count`` pieces, or fewer if all have few ``products`` of numbers."""
    count = max(1, int(min(count, products // _PRODUCTS)))
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
    return _together(function, like, columns, [(..., own, slice(None)) for own in rows], rows, threads)


def by_heads(
    function: Callable[[int, slice], HostArray], like: Pair, width: int, heads: int, threads: Threads
) -> Pair:
    """Ask for some heads' features, (1, 1, n, heads width), of tokens (0) and copies (1)."""
    count = min(threads.count, heads)
    groups = [slice(heads * i // count, heads * (i + 1) // count) for i in range(count)]
    places = [(..., slice(own.start * width, own.stop * width)) for own in groups]
    return _together(function, like, heads * width, places, groups, threads)


def _together(
    function: Callable[[int, slice], HostArray],
    like: Pair,
    columns: int,
    places: Sequence[Any],
    pieces: Sequence[slice],
    threads: Threads,
) -> Pair:
    tokens, copies = (np.empty((*x.shape[:-1], columns), dtype=x.dtype) for x in like)

    def do(piece: tuple[Any, slice]) -> None:
        place, own = piece
        for which, out in enumerate((tokens, copies)):
            out[place] = function(which, own)

    threads.each(do, list(zip(places, pieces, strict=True)))
    return tokens, copies
