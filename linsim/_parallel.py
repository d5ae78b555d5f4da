"""Independent pieces of a batch, side by side: BLAS on one thread each, the pieces on all cores."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import array_api_compat

from ._namespace import Array

__all__ = ["in_parallel", "pieces"]

T = TypeVar("T")
R = TypeVar("R")

# A piece holds about this many numbers at a time: more would leave the cache,
# fewer would be spent on calls.
_NUMBERS = 2**23
# Below this the threads would wait for the interpreter and not for each other's arithmetic.
_WORTH_IT = 2**17


def pieces(size: int, per_system: int, like: Array) -> list[slice]:
    """Cut ``size`` systems of ``per_system`` numbers each into slices for :func:`in_parallel`."""
    if not array_api_compat.is_numpy_array(like):
        return [slice(0, size)]  # a device wants the whole batch at once
    if size * per_system < _WORTH_IT:
        return [slice(0, size)]
    rounds = -(-size * per_system // (_NUMBERS * _workers()))
    count = min(size, _workers() * rounds)
    edges = [size * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def in_parallel(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return ``function`` of every item, in order; the first error ends the work."""
    workers = min(_workers(), len(items))
    if workers == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
