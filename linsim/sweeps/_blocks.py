"""Blocks: the rectangles of systems that are computed, written and committed as one.

A block is a whole chunk of every Zarr array, so no two writers ever share a chunk.  What a block holds
says nothing about its values: those depend on the coordinates of a system alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Block", "blocks_of", "rectangle"]


@dataclass(frozen=True)
class Block:
    """A rectangle of systems: where it begins and ends along each dim, and its number in each."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    place: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent along each dim."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of systems."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where it lies in an array over all systems."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))


def rectangle(shape: Sequence[int], target: int, short: Collection[int] = ()) -> tuple[int, ...]:
    """Return the extents of blocks of about ``target`` systems, never more, long along the last dims.

    ``short``: dims along which they are short, as long as there are others.

    >>> rectangle((100, 41, 2), 400), rectangle((100, 41, 2), 20), rectangle((3, 2), 1000)
    ((4, 41, 2), (1, 9, 2), (3, 2))
    >>> rectangle((100, 41, 2), 400, short=[1])
    (100, 2, 2)
    """
    out, room = [1] * len(shape), max(1, target)
    for dim in sorted(range(len(shape)), key=lambda dim: (dim in short, -dim)):
        extent = shape[dim]
        # equal parts, as few as there must be: none is left over that is much smaller
        part = extent if extent <= room else math.ceil(extent / math.ceil(extent / room))
        part = min(part, room)
        out[dim] = part
        room = room // part if part == extent else 1
    return tuple(out)


def blocks_of(shape: Sequence[int], extents: Sequence[int]) -> Iterator[Block]:
    """Cut everything into blocks, in the order of memory.

    >>> [(b.start, b.stop) for b in blocks_of((2, 3), (2, 2))]
    [((0, 0), (2, 2)), ((0, 2), (2, 3))]
    """
    counts = [math.ceil(whole / part) for whole, part in zip(shape, extents, strict=True)]
    for place in itertools.product(*map(range, counts)):
        start = tuple(k * part for k, part in zip(place, extents, strict=True))
        stop = tuple(min(a + part, whole) for a, part, whole in zip(start, extents, shape, strict=True))
        yield Block(start, stop, place)
