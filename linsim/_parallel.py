"""Independent pieces of a batch, side by side: BLAS on one thread each, the pieces on all cores."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import array_api_compat

from ._namespace import Array

__all__ = ["ahead", "in_parallel", "one_thread", "pieces", "workers"]

T = TypeVar("T")
R = TypeVar("R")

# A piece holds about this many numbers at a time: more would leave the cache,
# fewer would be spent on calls.
_NUMBERS = 2**23
# Below this the threads would wait for the interpreter and not for each other's arithmetic.
_WORTH_IT = 2**17
# what whole arrays hold beside the numbers of a piece, on a device, and the part of its memory they may take
_COPIES, _SHARE = 8, 0.5


def pieces(size: int, per_system: int, like: Array) -> list[slice]:
    """Cut ``size`` systems of ``per_system`` numbers each into slices for :func:`in_parallel`."""
    if not array_api_compat.is_numpy_array(like):
        return _that_fit(size, per_system, like)
    if size * per_system < _WORTH_IT:
        return [slice(0, size)]
    rounds = -(-size * per_system // (_NUMBERS * workers()))
    count = min(size, workers() * rounds)
    edges = [size * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _that_fit(size: int, per_system: int, like: Array) -> list[slice]:
    """As many systems at once as the memory of a device holds: it wants the whole batch."""
    count = 1
    if array_api_compat.is_cupy_array(like):
        import cupy

        free = float(cupy.cuda.runtime.memGetInfo()[0])
        count = min(size, max(1, math.ceil(size * per_system * _COPIES * 8 / (_SHARE * free))))
    edges = [size * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def in_parallel(
    function: Callable[[T], R], items: Sequence[T], abandon: Callable[[], None] | None = None
) -> list[R]:
    """Return ``function`` of every item, in order; the first error ends the work.

    ``abandon`` tells what is running to give up, where that may take long: the
    work is then done by other threads even if it is one piece, so that this one
    hears the keyboard.
    """
    number = min(workers(), len(items))
    if number == 1 and abandon is None:
        return [function(item) for item in items]
    with ThreadPoolExecutor(number) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            if abandon is not None:
                abandon()
            raise
        finally:
            for future in futures:
                future.cancel()


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield every item, each while another thread works on the next one."""
    end: Any = object()

    def coming() -> Future[Any]:  # with the caller's settings, which threads do not inherit
        return pool.submit(contextvars.copy_context().run, lambda: next(items, end))

    with ThreadPoolExecutor(1) as pool:
        awaited = coming()
        while (item := awaited.result()) is not end:
            awaited = coming()
            yield item


# others do the same work beside us, one on each processor
_alone = contextvars.ContextVar("alone", default=False)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep all work on the calling thread while the block runs."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def workers() -> int:
    """Return how many processors this work may use."""
    if _alone.get():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
