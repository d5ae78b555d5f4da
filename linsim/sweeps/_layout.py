"""How many systems are made at once, and how many are committed at once: from sizes and a short probe."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError
from ._blocks import Block, rectangle
from ._grid import Grid
from ._work import Job, Systems, compute, made

__all__ = ["Cost", "batch_size", "block_extents", "bytes_of", "probe"]

# A batch holds about this many numbers: fewer are spent on calls, more leave the cache and gain nothing
_NUMBERS = 2**20
_LARGEST_BATCH = 4096
# Of a system, that many times its own numbers are alive while it is simulated and predicted (measured:
# 12 to 30 with all metrics, whose engine carries shadows and temporaries of every part)
_ALIVE = 40
# seconds of work in a block: little is lost when a sweep is stopped, and writing costs nothing beside
_BLOCK_SECONDS = 2.0
_LARGEST_BLOCK = 2**14
# bytes of one variable in a block
_CHUNK_BYTES = 2**24
# seconds that the last measurement of a probe takes at least: where it only chooses sizes, and where a person
# reads it
_SHORT, _LONG = 0.02, 0.1


@dataclass(frozen=True)
class Cost:
    """Seconds: ``call`` for a batch, however small, and ``each`` for every system in it."""

    call: float
    each: float

    def of(self, systems: int, batches: int) -> float:
        """Return the seconds of some systems in some batches."""
        return self.call * batches + self.each * systems


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


def probe(job: Job, grid: Grid, *, exact: bool = False) -> Cost:
    """Measure what systems cost, one alone and ever more together, up to a fraction of a second.

    ``exact``: for longer, because somebody reads it.
    """
    enough, step = (_LONG, 8) if exact else (_SHORT, 4)
    quiet = replace(job, record=True)
    taken: dict[int, float] = {}
    count, most = 1, min(_one_batch(job, grid).size, job.batch)
    while True:
        systems = _spread(job, grid, count)
        if count == 1:
            compute(quiet, systems)  # the first call compiles
        taken[count] = _seconds(quiet, systems)
        # was it kernels that only some systems, or many of them, need, or another process?
        if taken[count] > enough:
            taken[count] = min(taken[count], _seconds(quiet, systems))
        if (taken[count] > enough and count > 1) or count >= most:
            break
        count = min(step * count, most)
    each = (taken[count] - taken[1]) / (count - 1) if count > 1 else taken[1]
    each = max(each, 1e-3 * taken[count] / count)  # noise may make many cheaper than one
    return Cost(max(taken[1] - each, 0.0) if count > 1 else 0.0, each)


def _seconds(job: Job, systems: Systems) -> float:
    before = time.perf_counter()
    compute(job, systems)
    return time.perf_counter() - before


def _one_batch(job: Job, grid: Grid) -> Block:
    """All systems that may share a batch with one in the middle of the grid."""
    apart = {axis.dim for axis in grid.axes if axis.name in job.batch_by}
    middle = {dim: size // 2 for dim, size in grid.sizes.items() if dim in apart}
    start = tuple(middle.get(dim, 0) for dim in grid.sizes)
    stop = tuple(middle[dim] + 1 if dim in middle else size for dim, size in grid.sizes.items())
    return Block(start, stop, start)


def _spread(job: Job, grid: Grid, count: int) -> Systems:
    """Systems of one batch from everywhere in the grid."""
    block = _one_batch(job, grid)
    numbers = np.linspace(0, block.size - 1, count).astype(np.int64)
    found = Systems.of(grid, block, numbers)
    return replace(found, size=count, numbers=np.arange(count))


def block_extents(
    grid: Grid, layers: int, cost: Cost, batch: int, workers: int, batch_by: Collection[str]
) -> tuple[int, ...]:
    """Return the extents of blocks: some seconds of work, whole batches, several for each worker.

    Points that share a batch are in one block, as far as that goes.
    """
    # what a batch costs, however small, should be the lesser part
    target = max((_BLOCK_SECONDS - cost.call) / cost.each, 2 * cost.call / cost.each)
    target = min(target, _LARGEST_BLOCK, _CHUNK_BYTES / (8 * layers), max(1.0, grid.total / (4 * workers)))
    if target > batch:
        target -= target % batch
    dims = list(grid.sizes)
    short = {dims.index(axis.dim) for axis in grid.axes if axis.name in batch_by}
    return rectangle(grid.shape, max(1, int(target)), short)
