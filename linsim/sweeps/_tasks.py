"""What workers are given: blocks of systems, and parts of blocks towards the end: all end together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._blocks import Block

__all__ = ["Task", "shares"]


@dataclass(eq=False)
class Task:
    """Systems of a block that are computed as one; ``numbers``: which, None for all.

    ``deaths``: how many workers it was on that died.
    """

    block: Block
    numbers: np.ndarray[Any, Any] | None = None
    deaths: int = 0

    @property
    def size(self) -> int:
        """Number of systems."""
        return self.block.size if self.numbers is None else len(self.numbers)

    @property
    def chosen(self) -> np.ndarray[Any, Any]:
        """The numbers of the systems, also where they are all."""
        return np.arange(self.block.size) if self.numbers is None else self.numbers


def shares(tasks: Iterable[Task], count: int) -> Iterator[Task]:
    """Cut the last tasks into ever smaller ones, for ``count`` workers that then end together.

    No share is larger than half of what each worker has left, or smaller than an eighth of its block.

    >>> block = Block((0,), (8,), (0,))
    >>> [share.size for share in shares([Task(block), Task(block), Task(block)], 2)]
    [6, 2, 4, 3, 1, 2, 2, 1, 1, 1, 1]
    """
    tasks = list(tasks)
    left = sum(task.size for task in tasks)
    for task in tasks:
        begin = 0
        while begin < task.size:
            size = min(task.size - begin, max(-(-task.block.size // 8), -(-left // (2 * count))))
            whole = size == task.size
            yield task if whole else Task(task.block, task.chosen[begin : begin + size])
            begin, left = begin + size, left - size
