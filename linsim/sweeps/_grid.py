"""The axes of a sweep: what a user writes, as dims with coordinates, and every point by its index.

An axis is what :func:`linsim.sweep` varies along one dim: numbers, whole numbers, truth values, names
(None among them) or complex numbers; several at once where they are zipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _validate
from .._namespace import to_host
from .._types import HostArray
from ..errors import InvalidTypeError, InvalidValueError, ShapeError

__all__ = ["Axis", "Grid", "Points", "named"]

#: point_arrays as ``make`` sees them: a (k,) array by name
Points = dict[str, HostArray]


@dataclass(frozen=True, eq=False)
class Axis:
    """One parameter along a dim: ``values`` (k,) as ``make`` sees them, ``labels`` (k,) as they are kept.

    They differ for names, among which None stands for itself in ``values`` and by its text in ``labels``.
    """

    name: str
    dim: str
    values: HostArray
    labels: HostArray
    options: bool  # names and truth values: nobody computes with a batch of them


@dataclass(frozen=True, eq=False)
class Grid:
    """All axes, and the size of each dim, replicates last."""

    axes: tuple[Axis, ...]
    sizes: dict[str, int]

    @classmethod
    def of(cls, grid: Any, replicates: int, reserved: set[str]) -> Grid:
        """Read ``grid`` as :func:`linsim.sweep` takes it, or refuse it.

        >>> Grid.of({"mu": [0.5, 1.0], "n": [2, 4, 8]}, 1, set()).sizes
        {'mu': 2, 'n': 3, 'replicate': 1}
        """
        if not isinstance(grid, Mapping) or not grid:
            raise _validate.refusal(
                InvalidTypeError if not isinstance(grid, Mapping) else InvalidValueError,
                "grid",
                repr(grid) if grid == {} else type(grid).__name__,
                "a non-empty mapping of names to 1-d arrays",
                "Name at least one axis.",
            )
        axes: list[Axis] = []
        for name, values in grid.items():
            _check_name(name, reserved | {axis.name for axis in axes} | {axis.dim for axis in axes})
            if isinstance(values, Mapping):
                axes += _zipped(name, values, reserved | {axis.name for axis in axes})
            else:
                axes.append(_axis(name, name, values))
        sizes = {axis.dim: len(axis.values) for axis in axes}
        return cls(tuple(axes), {**sizes, "replicate": replicates})

    @classmethod
    def stored(cls, axes: Mapping[str, Any], replicates: int, coordinate: Callable[[str], HostArray]) -> Grid:
        """Return the grid that :meth:`spec` told of, given its :meth:`coordinates`; values are labels."""
        found = []
        for name, axis in axes.items():
            if axis["complex"]:
                labels = coordinate(f"{name}_real") + 1j * coordinate(f"{name}_imag")
            else:
                labels = coordinate(name)
                labels = labels.astype(str) if labels.dtype.kind in "OTU" else labels
            found.append(Axis(name, axis["dim"], labels, labels, labels.dtype.kind in "Ub"))
        return cls(tuple(found), {**{a.dim: len(a.labels) for a in found}, "replicate": replicates})

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each dim, replicates last."""
        return tuple(self.sizes.values())

    @property
    def total(self) -> int:
        """Number of systems: points times replicates."""
        return int(np.prod(self.shape))

    def points(self, indices: Sequence[HostArray], *, labels: bool = False) -> Points:
        """Coordinates of points, given their indices along each dim (the last, replicates, is not asked)."""
        at = dict(zip(self.sizes, indices, strict=False))
        return {axis.name: (axis.labels if labels else axis.values)[at[axis.dim]] for axis in self.axes}

    def rows(self, dim: str) -> list[tuple[Any, ...]]:
        """What tells the places along a dim apart: the labels of its axes, together."""
        columns = [axis.labels.tolist() for axis in self.axes if axis.dim == dim]
        return list(zip(*columns, strict=True))

    def named(self, number: int) -> str:
        """Return the coordinates and the replicate of a system, given its flat number."""
        at = np.unravel_index(number, self.shape)
        labels = self.points([np.asarray([k]) for k in at], labels=True)
        return f"{named(labels, 0)}, replicate {at[-1]}"

    def spec(self) -> dict[str, Any]:
        """What tells the axes from others, as JSON: they may be too long to be written down."""
        return {
            axis.name: {
                "dim": axis.dim,
                "length": len(axis.labels),
                "complex": axis.labels.dtype.kind == "c",
                "hash": _hash(axis.labels),
            }
            for axis in self.axes
        }

    def coordinates(self) -> Iterator[tuple[str, str, HostArray, dict[str, Any]]]:
        """Yield (name, dim, values, attributes) of every coordinate, in forms that Zarr and netCDF hold.

        Complex numbers become two coordinates, ``NAME_real`` and ``NAME_imag``.
        """
        for axis in self.axes:
            if axis.labels.dtype.kind == "c":
                for part in ("real", "imag"):
                    values = np.ascontiguousarray(getattr(axis.labels, part))
                    yield (
                        f"{axis.name}_{part}",
                        axis.dim,
                        values,
                        {"long_name": f"{part} part of {axis.name}"},
                    )
            else:
                yield axis.name, axis.dim, axis.labels, {"long_name": axis.name}
        yield "replicate", "replicate", np.arange(self.sizes["replicate"]), {}


def _check_name(name: Any, taken: set[str]) -> None:
    if not isinstance(name, str) or name in taken or "/" in name or name.split() != [name]:
        raise _validate.refusal(
            InvalidValueError,
            "grid",
            f"an axis named {name!r}",
            "a name that is no dim or variable, without blanks and slashes",
            "Rename it.",
        )


def _zipped(dim: str, columns: Mapping[Any, Any], taken: set[str]) -> list[Axis]:
    """The axes of points on a line: equally many values of each, one for each point."""
    if not columns:
        raise _validate.refusal(
            InvalidValueError, f"grid[{dim!r}]", "{}", "axes by name", "Name at least one axis."
        )
    axes: list[Axis] = []
    for name, values in columns.items():
        _check_name(name, taken | {dim} | {axis.name for axis in axes})
        axes.append(_axis(name, dim, values, distinct=False, where=f"grid[{dim!r}][{name!r}]"))
    lengths = {axis.name: len(axis.values) for axis in axes}
    if len(set(lengths.values())) > 1:
        raise _validate.refusal(
            ShapeError,
            f"grid[{dim!r}]",
            "axes of lengths " + ", ".join(f"{name}: {length}" for name, length in lengths.items()),
            "axes of one length",
            "Axes in one mapping are zipped; a product of axes has one key for each.",
        )
    rows = set(zip(*(axis.labels.tolist() for axis in axes), strict=True))
    if len(rows) < len(axes[0].values):
        raise _validate.refusal(
            ShapeError, f"grid[{dim!r}]", "a point twice", "distinct points", "Use replicates for repeats."
        )
    return axes


def _axis(name: str, dim: str, values: Any, *, distinct: bool = True, where: str | None = None) -> Axis:
    where = f"grid[{name!r}]" if where is None else where
    found = _names(values)
    if found is None:
        found = labels = _numbers(values, where)
    else:
        labels = np.array([str(value) for value in found.tolist()])
    if found.ndim != 1 or (distinct and len(np.unique(labels)) != len(labels)):
        raise _validate.refusal(
            ShapeError,
            where,
            f"shape {found.shape}" if found.ndim != 1 else "a coordinate twice",
            "a 1-d array of distinct coordinates",
            "Use replicates for repeats.",
        )
    return Axis(name, dim, found, labels, labels.dtype.kind in "Ub")


def _names(values: Any) -> HostArray | None:
    """Return names, None among them, as an array of objects; None for anything else."""
    if isinstance(values, np.ndarray):
        listed = values.tolist() if values.dtype.kind in "OUT" and values.ndim == 1 else []
    else:
        listed = list(values) if isinstance(values, list | tuple) else []
    if not listed or not all(value is None or isinstance(value, str) for value in listed):
        return None
    if not any(isinstance(value, str) for value in listed):
        return None
    out = np.empty(len(listed), dtype=object)
    out[:] = listed
    return out


def _numbers(values: Any, where: str) -> HostArray:
    """Return whole numbers as int64, truth values as bool, all others as float64 or complex128."""
    plain = isinstance(values, np.ndarray | list | tuple | range)
    try:
        given = np.asarray(values) if plain else None
    except ValueError:  # ragged: refused below
        given = None
    if given is not None and given.dtype == bool and given.size:
        return given
    checked = _validate.array(values, where, ndim=1, shape="(k,)", allow_complex=True, dtype="float64")
    found = np.asarray(to_host(checked))
    if given is not None and given.dtype.kind in "iu" and np.all(found.astype(np.int64) == given):
        return given.astype(np.int64)
    return found.astype(np.complex128 if found.dtype.kind == "c" else np.float64)


def _hash(labels: HostArray) -> str:
    """A hash of values; 1 and 1.0 are one."""
    if labels.dtype.kind in "OTU":
        data = "\0".join(labels.tolist()).encode()
    else:
        data = np.ascontiguousarray(labels.astype("<c16") + 0.0).tobytes()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def named(points: Mapping[str, Any], k: int) -> str:
    """Return the coordinates of point k, as ``mu=-1, norm=post``."""
    return ", ".join(f"{name}={_written(values[k])}" for name, values in points.items())


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | complex | np.number) else str(value)
