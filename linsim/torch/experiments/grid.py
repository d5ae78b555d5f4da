"""A grid of training runs in a Zarr store: one write a run, and the same again goes on after a kill."""

from __future__ import annotations

import itertools
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ... import _validate
from ...errors import FileFormatError
from . import filters, norms
from .training import COLUMNS, METRICS

if TYPE_CHECKING:
    import xarray

__all__ = ["EXPERIMENTS", "run"]

#: by name
EXPERIMENTS: dict[str, ModuleType] = {"filters": filters, "norms": norms}
STEPS, QUICK_STEPS = 150, 100


def run(
    name: str,
    store: str | Path,
    *,
    quick: bool = False,
    seeds: int | None = None,
    steps: int | None = None,
    only: Mapping[str, Iterable[Any]] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> xarray.Dataset:
    """Train what is missing in a store, and return all that is there.

    Parameters
    ----------
    name : {"filters", "norms"}
    store : path of a Zarr store
        Made if it is not there; one that is there must be of the same grid.
    quick : bool, keyword-only
        A small part of the grid, in two minutes on two cores.
    seeds : int, keyword-only
        Runs of each point; five, or two of a quick grid.
    steps : int, keyword-only
        Of each training.
    only : dict of lists, keyword-only
        The part of the grid to train now, as {"depth": [4, 12]}; all that is missing by default.
    report : function, keyword-only
        Gets a line for each run.

    Returns
    -------
    xarray.Dataset
        Dims are the axes of the grid, ``seed`` and, for what is of a layer, ``layer`` (0 to depth, NaN
        beyond; ``measured``, ``step`` and ``law`` stand at the layer that they lead to).

    Raises
    ------
    FileFormatError
        If something else lies there, or a grid of other axes, steps or versions.
    InvalidValueError, MissingExtraError
        For an unknown name, or if scikit-learn is missing.
    """
    experiment = EXPERIMENTS[_validate.choice(name, "name", EXPERIMENTS)]
    seeds = (
        _validate.count(2 if quick else 5, "seeds")
        if seeds is None
        else _validate.count(seeds, "seeds", minimum=1)
    )
    steps = QUICK_STEPS if quick and steps is None else STEPS if steps is None else steps
    _validate.count(steps, "steps", minimum=1)
    axes = {**experiment.AXES, **(experiment.QUICK if quick else {})}
    wanted = _part(only or {}, axes)
    place = Path(store)
    _opened(place, experiment, axes, seeds, {"experiment": name, "steps": steps, **_versions()})
    import xarray as xr

    done = xr.open_zarr(place, consolidated=False).done.values
    points = list(_points(axes, seeds))
    todo = [
        (index, point, seed)
        for index, point, seed in points
        if not done[index] and all(point[axis] in values for axis, values in wanted.items())
    ]
    if done.any():
        report(f"{int(done.sum())} of {len(points)} runs are in {place}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are small, and the numbers the same on any machine's cores
    try:
        for number, (index, point, seed) in enumerate(todo):
            found = experiment.train(point, seed, steps)
            _write(place, index, found, axes)
            shown = ", ".join(f"{key} {found[key]:.4f}" for key in ("accuracy", "loss") if key in found)
            said = ", ".join(f"{key} {value}" for key, value in point.items())
            report(f"{number + 1} of {len(todo)}: {said}, seed {seed}: {shown}")
    finally:
        torch.set_num_threads(threads)
    return xr.open_zarr(place, consolidated=False).load()


def _part(only: Mapping[str, Iterable[Any]], axes: Mapping[str, list[Any]]) -> dict[str, set[Any]]:
    """Check a part of the grid; values may be texts."""
    part = {}
    for axis, values in only.items():
        known = {str(value): value for value in axes[_validate.choice(axis, "only", axes)]}
        part[axis] = {known[_validate.choice(str(value), f"only[{axis!r}]", known)] for value in values}
    return part


def _points(
    axes: Mapping[str, list[Any]], seeds: int
) -> Iterator[tuple[tuple[int, ...], dict[str, Any], int]]:
    """Go through the grid seed by seed, so that what is there first is a grid of fewer seeds."""
    spans = [range(len(values)) for values in axes.values()]
    for seed in range(seeds):
        for index in itertools.product(*spans):
            point = {key: values[i] for (key, values), i in zip(axes.items(), index, strict=True)}
            yield (*index, seed), point, seed


def _versions() -> dict[str, str]:
    import sklearn

    from ... import __version__

    return {
        "linsim": __version__,
        "torch": torch.__version__.partition("+")[0],
        "scikit-learn": sklearn.__version__,
        "machine": platform.machine(),
    }


def _opened(
    place: Path, experiment: ModuleType, axes: Mapping[str, list[Any]], seeds: int, about: Mapping[str, Any]
) -> None:
    """Make the store, or check that the one that is there is of this grid."""
    import xarray as xr

    facts = {**about, "axes": json.dumps(axes), "seeds": seeds}
    if place.exists():
        try:
            found = dict(xr.open_zarr(place, consolidated=False).attrs)
        except Exception as error:  # Zarr has errors of many classes
            raise _validate.refusal(
                FileFormatError,
                "store",
                f"{place}, which is no Zarr store",
                "a new path, or a store of this grid",
                "Choose another.",
            ) from error
        other = [key for key, value in facts.items() if found.get(key) != value]
        if other:
            raise _validate.refusal(
                FileFormatError,
                "store",
                f"{place}, with {', '.join(f'{key} {found.get(key)}' for key in other)}",
                ", ".join(f"{key} {facts[key]}" for key in other),
                "Choose another path.",
            )
        return
    dims = (*axes, "seed")
    shape = (*(len(values) for values in axes.values()), seeds)
    deep = max(axes["depth"]) + 1
    variables: dict[str, Any] = {"done": (dims, np.zeros(shape, dtype=bool))}
    for key, says in experiment.VALUES.items():
        variables[key] = (dims, np.full(shape, np.nan), {"long_name": says})
    for key in (*METRICS, *(f"{key}_before" for key in METRICS), *COLUMNS):
        variables[key] = ((*dims, "layer"), np.full((*shape, deep), np.nan))
    # texts as objects: of numpy's own kind of text the Zarr format says nothing yet
    coords: dict[str, Any] = {
        key: np.array(values, dtype=object if isinstance(values[0], str) else None)
        for key, values in axes.items()
    }
    coords |= {"seed": np.arange(seeds), "layer": np.arange(deep)}
    template = xr.Dataset(variables, coords, facts)
    # a chunk a run, so that a write touches no other
    chunks = {
        key: {"chunks": (*(1 for _ in dims), *((deep,) if len(value[0]) > len(dims) else ()))}
        for key, value in variables.items()
    }
    beside = place.with_name(place.name + ".new")
    template.to_zarr(beside, mode="w", encoding=chunks, consolidated=False)
    beside.rename(place)


def _write(
    place: Path, index: tuple[int, ...], found: Mapping[str, Any], axes: Mapping[str, list[Any]]
) -> None:
    """Write one run, and only then that it is done."""
    import zarr

    group = zarr.open_group(place, mode="r+")
    for key, value in found.items():
        array: Any = group[key]
        if np.ndim(value) == 0:
            array[index] = value
        else:
            row = np.full(array.shape[-1], np.nan)
            row[-len(value) :] = np.nan
            first = 1 if key in COLUMNS else 0  # a change leads to a layer
            row[first : first + len(value)] = value
            array[index] = row
    done: Any = group["done"]
    done[index] = True
