"""Follow a boundary, or a level line of a metric, with few points: where it is, and nowhere else.

A coarse mesh of cells is asked at its corners.  Every edge whose ends lie on different sides is bisected to
the tolerance; the two places where a line enters and leaves a cell make a segment, and a point on either side
of its middle, one tolerance away, must lie on different sides as well, or the cell is cut in four.
Derived here; a line that enters and leaves through one edge of the coarse mesh is not seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError
from ._design import box_of
from ._plan import planned
from ._run import carry_out
from ._status import open_store
from ._store import path_of, read_attributes

if TYPE_CHECKING:
    import xarray

__all__ = ["Trace", "trace"]

Point = tuple[float, ...]  # in the unit square
Edge = tuple[Point, Point]

#: cells along each axis of the mesh to begin with
CELLS = 8


@dataclass(frozen=True, eq=False)
class Trace:
    """A boundary, and the points that it was found with.

    Attributes
    ----------
    segments : (k, 2, axes) array
        Both ends of each piece of the line, in the order of ``box``; of one axis (k, 1, 1), the places.
    evaluated, full : int
        Points that were asked, and those of a grid of the same resolution.
    points : xarray.Dataset
        What was computed, along the dim "point", as :func:`linsim.sweep` gives it.
    names : tuple of str
        The axes.
    """

    segments: np.ndarray[Any, Any]
    evaluated: int
    full: int
    points: xarray.Dataset
    names: tuple[str, ...]

    def plot(self, ax: Any = None, **style: Any) -> Any:
        """Draw the line, on matplotlib axes if given; ``style`` as for ``plot``."""
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(5.2, 3.8), layout="constrained").subplots()
            ax.set_xlabel(self.names[0])
        style = {"color": "black", **style}
        for segment in self.segments:
            if len(self.names) == 1:
                ax.axvline(segment[0, 0], **style)
            else:
                ax.plot(segment[:, 0], segment[:, 1], **style)
        if len(self.names) == 2:
            ax.set_ylabel(self.names[1])
        return ax


def trace(
    make: Callable[..., Any],
    box: Mapping[str, Any],
    *,
    boundary: Any = "regime",
    tolerance: float = 1 / 64,
    depth: int | None = None,
    replicates: int = 1,
    seed: int = 0,
    store: Any = None,
    **options: Any,
) -> Trace:
    """Find where the predicted regime changes, or where a metric crosses a level.

    Parameters
    ----------
    make : callable
        As for :func:`linsim.sweep`.
    box : mapping of str to (low, high)
        One or two axes.
    boundary : "regime", or (metric, level)
        The predicted boundary of the regimes (nothing is simulated), or where the mean of a metric over
        replicates, at the last layer, is the level: ``("log_hfc_lfc", 0.0)``.
    tolerance : float
        How far off the line may be, as a share of each axis.
    depth : int, optional
        Number of layers, for a metric.
    replicates, seed
        As for :func:`linsim.sweep`.
    store : path, optional
        Keeps all points, as the store of a sweep along the dim "point"; what is there is not computed again.
    options
        As for :func:`linsim.sweep`: executor, batch, backend, budget, on_error.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For another number of axes, an unknown boundary, a tolerance outside (0, 1/8].

    Notes
    -----
    Source: bisection of the edges of cells, as in marching squares (Lorensen and Cline 1987).

    Examples
    --------
    >>> import numpy as np, linsim
    >>> def make(point, rng):
    ...     H = point["mu"][:, None, None] * np.eye(3)
    ...     A = linsim.attention.uniform(4)
    ...     return linsim.Linear(A, H), linsim.tokens.gaussian(4, 3, size=len(H), rng=rng)
    >>> found = trace(make, {"mu": (-3.0, 1.4)}, tolerance=1 / 1000)
    >>> np.abs(np.sort(found.segments.ravel()) - [-2, 0]).max() < 4.4 / 1000  # of length 4.4
    np.True_
    """
    bounds = box_of(box)
    if len(bounds) > 2:
        raise _validate.refusal(
            InvalidValueError, "box", f"{len(bounds)} axes", "one or two", "Fix the others in make."
        )
    tolerance = _validate.number(tolerance, "tolerance", low=0.0, high=1 / CELLS, low_open=True)
    name, level = _read(boundary)
    if name == "predicted_margin":
        settings: dict[str, Any] = {"depth": 0, "metrics": ["log_norm"]}
    elif depth is None:
        raise _validate.refusal(
            InvalidTypeError, "depth", "nothing", f"a number of layers for {name}", "Write depth=64."
        )
    else:
        settings = {"depth": _validate.count(depth, "depth"), "metrics": [name]}
    settings |= {"replicates": replicates, "seed": seed, "store": store, **options}
    field = _Field(make, bounds, name, level, settings)
    segments = _lines(field, len(bounds), tolerance)
    low, high = np.array(list(bounds.values())).T
    placed = low + (high - low) * np.asarray(segments, dtype=np.float64).reshape(
        len(segments), -1, len(bounds)
    )
    full = (int(np.ceil(1 / tolerance)) + 1) ** len(bounds)
    return Trace(placed, len(field.known), full, field.dataset(), tuple(bounds))


def _read(boundary: Any) -> tuple[str, float]:
    """Return the variable and the level whose line it is."""
    from ..metrics import METRICS

    if isinstance(boundary, str) and boundary == "regime":
        return "predicted_margin", 0.0
    if isinstance(boundary, Mapping) and len(boundary) == 1:
        boundary = next(iter(boundary.items()))
    if not isinstance(boundary, tuple | list) or len(boundary) != 2:
        raise _validate.refusal(
            InvalidTypeError,
            "boundary",
            repr(boundary),
            "'regime' or (metric, level)",
            "Write boundary=('cosine', 0.5).",
        )
    return _validate.choice(boundary[0], "boundary", METRICS), _validate.number(boundary[1], "boundary")


class _Field:
    """The value less the level, at points of the unit square; each is computed once."""

    def __init__(
        self,
        make: Callable[..., Any],
        box: dict[str, tuple[float, float]],
        name: str,
        level: float,
        settings: dict[str, Any],
    ) -> None:
        self.make, self.box, self.name, self.level, self.settings = make, box, name, level, settings
        self.known: dict[Point, float] = {}
        self.stored: dict[Point, float] = {}  # by coordinates
        self.parts: list[Any] = []
        self.found_out: dict[str, Any] = {}
        path = path_of(settings["store"])
        if path is not None and read_attributes(path) is not None:
            self._remember(open_store(path))

    def __call__(self, points: Iterable[Point]) -> None:
        """Find the values of points that are not known yet."""
        new = [point for point in dict.fromkeys(points) if point not in self.known]
        places = {point: self._place(point) for point in new}
        asked = [place for place in places.values() if place not in self.stored]
        if asked:
            # a store holds all of them: it grows
            every = [*self.stored, *asked] if self.settings["store"] is not None else asked
            columns = zip(*every, strict=True)
            grid = {"point": dict(zip(self.box, map(np.asarray, columns), strict=True))}
            plan = planned(self.make, grid, **self.settings, **self.found_out)
            # what make needs does not change from round to round
            self.found_out = {"batch_by": plan.job.batch_by, "detect": False}
            self._remember(carry_out(plan, False))
        self.known |= {point: self.stored[place] for point, place in places.items()}

    def _place(self, point: Point) -> Point:
        return tuple(
            low + (high - low) * at for at, (low, high) in zip(point, self.box.values(), strict=True)
        )

    def _remember(self, ds: xarray.Dataset) -> None:
        columns = [ds[name].values.tolist() for name in self.box]
        if self.name in ds:
            values = ds[self.name].isel(layer=-1) if "layer" in ds[self.name].dims else ds[self.name]
            means = (values.mean("replicate", skipna=True) - self.level).values.tolist()
        else:  # a rule without a law has no boundary
            means = [np.nan] * len(columns[0])
        self.stored |= dict(zip(zip(*columns, strict=True), means, strict=True))
        self.parts = [ds] if self.settings["store"] is not None else [*self.parts, ds]

    def dataset(self) -> xarray.Dataset:
        """Everything that was computed."""
        import xarray as xr

        if len(self.parts) == 1:
            return self.parts[0]
        return xr.concat(self.parts, "point", data_vars="all", join="outer", combine_attrs="override")

    def side(self, point: Point) -> int:
        """Return 1 above the level, -1 below or on it, 0 where nothing is known."""
        value = self.known[point]
        return 0 if np.isnan(value) else 1 if value > 0 else -1

    def parted(self, edge: Edge) -> bool:
        """Whether the line crosses an edge."""
        return self.side(edge[0]) * self.side(edge[1]) < 0


def _lines(field: _Field, axes: int, tolerance: float) -> list[Any]:
    steps = [k / CELLS for k in range(CELLS)]
    waiting = [(corner, 1 / CELLS) for corner in itertools.product(steps, repeat=axes)]
    crossings: dict[Edge, Point] = {}
    done: list[Any] = []
    while waiting:
        field(corner for cell in waiting for corner in _corners(*cell))
        edges = {edge for cell in waiting for edge in _edges(*cell)}
        _bisect(field, [e for e in edges if e not in crossings and field.parted(e)], tolerance, crossings)
        if axes == 1:
            return [[crossings[edge]] for edge in sorted(crossings)]
        entered = {
            cell: [crossings[e] for e in _edges(*cell) if e in crossings and field.parted(e)]
            for cell in waiting
        }
        beside = {
            cell: _beside(ends[0], ends[1], tolerance) for cell, ends in entered.items() if len(ends) == 2
        }
        field(point for pair in beside.values() for point in pair)
        waiting = []
        for cell, ends in entered.items():
            corner, size = cell
            straight = len(ends) == 2 and field.parted(beside[cell])
            if size > tolerance and ends and not straight:
                half = size / 2
                waiting += [
                    ((corner[0] + dx, corner[1] + dy), half)
                    for dx, dy in itertools.product((0.0, half), repeat=2)
                ]
            else:
                done += [list(pair) for pair in zip(ends[::2], ends[1::2], strict=False)]
    return done


def _corners(corner: Point, size: float) -> list[Point]:
    steps = itertools.product((0.0, size), repeat=len(corner))
    return [tuple(a + b for a, b in zip(corner, step, strict=True)) for step in steps]


def _edges(corner: Point, size: float) -> list[Edge]:
    at = _corners(corner, size)
    if len(corner) == 1:
        return [(at[0], at[1])]
    return [(at[0], at[1]), (at[1], at[3]), (at[2], at[3]), (at[0], at[2])]


def _bisect(field: _Field, edges: list[Edge], tolerance: float, crossings: dict[Edge, Point]) -> None:
    """Halve edges, all of them at once, until they are as short as the tolerance."""
    current = {edge: edge for edge in edges}
    while True:
        middles = {e: _between(*part, 0.5) for e, part in current.items() if _length(part) > tolerance}
        if not middles:
            break
        field(middles.values())
        for edge, middle in middles.items():
            a, b = current[edge]
            if not field.side(middle):  # nothing is known there: no better place is found
                current.pop(edge)
                crossings[edge] = middle
            else:
                current[edge] = (a, middle) if field.parted((a, middle)) else (middle, b)
    for edge, (a, b) in current.items():
        values = field.known[a], field.known[b]
        share = values[0] / (values[0] - values[1]) if np.all(np.isfinite(values)) else 0.5
        crossings[edge] = _between(a, b, float(np.clip(share, 0.0, 1.0)))


def _between(a: Point, b: Point, share: float) -> Point:
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))


def _length(edge: Edge) -> float:
    return max(abs(y - x) for x, y in zip(*edge, strict=True))


def _beside(a: Point, b: Point, tolerance: float) -> Edge:
    """Points on both sides of the middle of a segment, one tolerance away, inside the square."""
    along = np.subtract(b, a)
    length = float(np.hypot(*along))
    across = np.array([-along[1], along[0]]) / length if length > 0 else np.array([1.0, 0.0])
    middle = np.add(a, b) / 2
    one, other = (np.clip(middle + sign * tolerance * across, 0.0, 1.0) for sign in (1, -1))
    return tuple(one.tolist()), tuple(other.tolist())
