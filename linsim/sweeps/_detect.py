"""Which axes need one value a batch: found out by making a few points together and alone.

Names and truth values always have one: nobody computes with a batch of them.  Any other axis is tried, a
few of its values in one batch, at a few places of the grid: where a point is then another system than alone,
or cannot be made at all, ``make`` reads that coordinate for the whole batch (a size, say).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .. import _validate
from ..errors import InvalidTypeError
from ..streams import rows
from ._alike import alike
from ._grid import Axis, Grid, Points
from ._work import Make, made

__all__ = ["batch_axes", "named_axes"]


def batch_axes(make: Make, grid: Grid, seed: int, wanted: Any) -> tuple[str, ...]:
    """Return the axes that have one value in each batch, those of ``wanted`` among them."""
    names = [axis.name for axis in grid.axes]
    chosen = named_axes(wanted, names)
    chosen += [axis.name for axis in grid.axes if axis.options and axis.name not in chosen]
    bases = list(_bases(grid))
    alone: dict[tuple[int, ...], Any] = {}
    for axis in grid.axes:
        if axis.name in chosen or _constant(axis):
            continue
        if not all(_alike_along(make, grid, axis, base, seed, alone, chosen) for base in bases):
            chosen.append(axis.name)
    return tuple(name for name in names if name in chosen)


def named_axes(wanted: Any, names: Iterable[str]) -> list[str]:
    """Return the axes that ``batch_by`` names, or refuse it."""
    if wanted is None:
        return []
    try:
        return [_validate.choice(name, "batch_by", names) for name in _listed(wanted)]
    except TypeError as error:
        if isinstance(error, InvalidTypeError):
            raise
        raise _validate.refusal(
            InvalidTypeError,
            "batch_by",
            type(wanted).__name__,
            "names of axes",
            'Write batch_by=["n"].',
        ) from None


def _listed(wanted: Any) -> list[Any]:
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _constant(axis: Axis) -> bool:
    return len(np.unique(axis.labels)) == 1


def _bases(grid: Grid) -> Iterator[tuple[int, ...]]:
    """Places that axes are tried at: both ends of everything, and one between, as indices along dims."""
    extents = [size for dim, size in grid.sizes.items() if dim != "replicate"]
    middle = tuple(extent // 2 for extent in extents)
    yield from dict.fromkeys([(0,) * len(extents), tuple(extent - 1 for extent in extents), middle])


def _alike_along(
    make: Make,
    grid: Grid,
    axis: Axis,
    base: tuple[int, ...],
    seed: int,
    alone: dict[tuple[int, ...], Any],
    chosen: list[str],
) -> bool:
    """Whether a few points that differ in one axis are the same systems in one batch as alone."""
    dims = [dim for dim in grid.sizes if dim != "replicate"]
    at = dims.index(axis.dim)
    _, first = np.unique(axis.labels, return_index=True)  # sorted: both ends, and one between
    steps = sorted({int(first[0]), int(first[-1]), int(first[len(first) // 2])})
    places = [tuple(step if k == at else index for k, index in enumerate(base)) for step in steps]
    points = grid.points([np.asarray(index) for index in zip(*places, strict=True)])
    labels = grid.points([np.asarray(index) for index in zip(*places, strict=True)], labels=True)
    # zipped with it may be an axis that is known to need one value a batch
    if any(name in chosen and len(set(labels[name].tolist())) > 1 for name in labels):
        return True
    singles = []
    for k, place in enumerate(places):
        if place not in alone:
            alone[place] = _attempt(make, _cut(points, [k]), _cut(labels, [k]), seed)
        singles.append(alone[place])
    sound = [k for k, single in enumerate(singles) if single is not None]
    if len(sound) < 2:
        return True  # nothing to compare: bad points are dealt with one by one
    together = _attempt(make, _cut(points, sound), _cut(labels, sound), seed)
    return together is not None and all(
        alike(together, row, len(sound), singles[k]) for row, k in enumerate(sound)
    )


def _cut(points: Points, which: list[int]) -> Points:
    return {name: values[which] for name, values in points.items()}


def _attempt(make: Make, points: Points, labels: Points, seed: int) -> Any:
    """Return what is made, None where that fails."""
    try:
        count = len(next(iter(points.values())))
        return made(make, points, rows(seed, 0, labels), count)
    except Exception:  # reported, with its point, when its turn comes
        return None
