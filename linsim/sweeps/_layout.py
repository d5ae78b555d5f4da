"""How many systems are made at once, and how many are committed at once: from sizes and a short probe."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from typing import Any

import numpy as np

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError
from ._blocks import Block, rectangle
from ._grid import Grid
from ._work import Job, Systems, compute, made

__all__ = ["batch_size", "block_extents", "bytes_of", "probe"]

# A batch holds about this many numbers: fewer are spent on calls, more leave the cache and gain nothing
_NUMBERS = 2**22
_LARGEST_BATCH = 4096
# Of a system, that many times its own numbers are alive while it is simulated and predicted (measured:
# 12 to 30 with all metrics, whose engine carries shadows and temporaries of every part)
_ALIVE = 40
# seconds of work in a block: little is lost when a sweep is stopped, and writing costs nothing beside
_BLOCK_SECONDS = 2.0
_LARGEST_BLOCK = 2**14
# bytes of one variable in a block
_CHUNK_BYTES = 2**24
_PROBE_SECONDS = 0.1


def bytes_of(budget: Any) -> int | None:
    """Return a number of bytes: a whole number, or text as "2GiB", "512 MB".

    >>> bytes_of("2GiB"), bytes_of("512 MB"), bytes_of(1000)
    (2147483648, 512000000, 1000)
    """
    if budget is None:
        return None
    if isinstance(budget, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kKMGT]?)(i?)B?\s*", budget)
        if found is None:
            raise _validate.refusal(
                InvalidValueError, "budget", repr(budget), "bytes, as '2GiB' or '512MB'", "Write it so."
            )
        number, prefix, binary = found.groups()
        power = " KMGT".index(prefix.upper() or " ")
        budget = int(float(number) * (1024 if binary else 1000) ** power)
    elif isinstance(budget, float):
        raise _validate.refusal(
            InvalidTypeError, "budget", repr(budget), "a whole number of bytes, or text", "Write '2GiB'."
        )
    return _validate.count(budget, "budget", minimum=1)


def _numbers_of(job: Job, grid: Grid) -> int:
    """Return how many numbers a system is, the larger of both ends of the grid; 0 where none can be made."""
    ends = [tuple(0 for _ in grid.shape), tuple(size - 1 for size in grid.shape)]
    found = 0
    for at in dict.fromkeys(ends):  # where sizes are an axis, the larger end counts
        try:
            systems = Systems.of(grid, Block(at, tuple(k + 1 for k in at), at))
            rule, x0 = made(job.make, systems.values, systems.streams(job.seed), 1)
            n, d = (int(k) for k in tuple(np.shape(x0))[-2:])
        except Exception:  # reported when its turn comes
            continue
        layers = {id(one): one for one in getattr(rule, "rules", [rule])}.values()
        held: list[Any] = [getattr(one, name, None) for one in layers for name in ("A", "H", "weights")]
        matrices = sum(int(np.prod(M.shape)) for M in held if hasattr(M, "shape"))
        found = max(found, 3 * n * d + max(matrices, n * n + d * d))
    return found


def batch_size(job: Job, grid: Grid, budget: int | None) -> tuple[int, int]:
    """Return how many systems to make at once, and the bytes of one."""
    numbers = _numbers_of(job, grid)
    if not numbers:
        return 512, 0
    each = 8 * (_ALIVE * numbers + 2 * len(job.layers) * len(job.metrics))
    count = int(np.clip(_NUMBERS // numbers, 1, _LARGEST_BATCH))
    room = _memory() // 8 if budget is None else budget
    return max(1, min(count, room // each)), each


def _memory() -> int:
    """Bytes of memory of this machine; a sensible number where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**33


def probe(job: Job, grid: Grid) -> float:
    """Return the seconds that a system costs, measured on ever more of them, up to a tenth of a second."""
    quiet = replace(job, record=True)
    count = 1
    while True:
        systems = _spread(grid, count)
        if count == 1:
            compute(quiet, systems)  # the first call compiles
        before = time.perf_counter()
        compute(quiet, systems)
        seconds = time.perf_counter() - before
        if seconds > _PROBE_SECONDS or count >= min(grid.total, job.batch):
            return seconds / count
        count = min(8 * count, grid.total, job.batch)


def _spread(grid: Grid, count: int) -> Systems:
    """Systems from everywhere in the grid."""
    numbers = np.linspace(0, grid.total - 1, count).astype(np.int64)
    at = list(np.unravel_index(numbers, grid.shape))
    return Systems(count, np.arange(count), at[-1], grid.points(at), grid.points(at, labels=True))


def block_extents(grid: Grid, layers: int, seconds: float, batch: int, workers: int) -> tuple[int, ...]:
    """Return the extents of blocks: some seconds of work, whole batches, several for each worker."""
    target = _BLOCK_SECONDS / max(seconds, 1e-9)
    target = min(target, _LARGEST_BLOCK, _CHUNK_BYTES / (8 * layers), max(1.0, grid.total / (4 * workers)))
    if target > batch:
        target -= target % batch
    return rectangle(grid.shape, max(1, int(target)))
