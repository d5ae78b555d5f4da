"""What a sweep is going to do: everything checked, sizes chosen, an existing store compared."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import _validate
from .._ask import recorded_layers
from ..errors import InvalidTypeError
from ..metrics._registry import choose
from ._blocks import Block, blocks_of, rectangle
from ._detect import batch_axes, named_axes
from ._executors import ready, release, worker_count
from ._grid import Grid
from ._layout import Cost, batch_size, block_extents, bytes_of, probe
from ._provenance import check_same, spec_of
from ._store import SOURCE, grid_of, path_of, read_attributes
from ._variables import RESERVED
from ._work import Job, Make

__all__ = ["Plan", "planned"]

# blocks of a sweep that is computed here and kept in memory: as many batches
_BATCHES = 4


@dataclass(eq=False)
class Plan:
    """``attributes``: those of the store as it will be; ``stored_attributes``: as it is; ``cost`` and
    ``bytes``: of one system, None where nobody measured; ``grows``: the grid has points that it lacks."""

    job: Job
    grid: Grid
    extents: tuple[int, ...]
    path: Path | None
    attributes: dict[str, Any]
    executor: Any
    stored_attributes: dict[str, Any] | None = None
    grows: bool = False
    cost: Cost | None = None
    bytes: int | None = None

    @property
    def existing(self) -> bool:
        """Whether there is a store to go on with."""
        return self.stored_attributes is not None

    @property
    def spec(self) -> dict[str, Any]:
        """What the store is for."""
        return dict(json.loads(self.attributes["spec"]))

    def blocks(self) -> list[Block]:
        """Return all blocks, in the order of memory."""
        return list(blocks_of(self.grid.shape, self.extents))


def planned(
    make: Make,
    grid: Mapping[str, Any],
    *,
    depth: int,
    metrics: str | Iterable[str] | None = None,
    layers: Iterable[int] | None = None,
    replicates: int = 1,
    seed: int = 0,
    store: Any = None,
    executor: Any = None,
    batch: int | None = None,
    backend: str | None = None,
    budget: int | str | None = None,
    on_error: str = "record",
    batch_by: Iterable[str] | None = None,
    predictions: bool = True,
    measured: bool = False,
    detect: bool = True,
    start: bool = False,
) -> Plan:
    """Check the arguments of :func:`linsim.sweep` and choose what is left open.

    ``measured``: find out what a system costs even where nothing depends on it; ``detect``: find out which
    axes need one value a batch, besides ``batch_by``; ``start``: start processes beside the probe.
    """
    if not callable(make):
        raise _validate.refusal(
            InvalidTypeError,
            "make",
            type(make).__name__,
            "a callable (point_arrays, rng) -> (rule, x0)",
            "Pass one.",
        )
    replicates = _validate.count(replicates, "replicates", minimum=1)
    space = Grid.of(grid, replicates, RESERVED)
    depth = _validate.count(depth, "depth")
    wanted = tuple(recorded_layers([depth] if layers is None else layers, depth).tolist())
    size = None if batch is None else _validate.count(batch, "batch", minimum=1)
    _validate.backend(backend)
    _validate.choice(on_error, "on_error", ("record", "raise"))
    room, names = bytes_of(budget), tuple(choose(metrics))
    seed = _validate.count(seed, "seed")
    path, workers = path_of(store), worker_count(executor)
    there = None if path is None else read_attributes(path)
    spec = spec_of(
        space,
        make,
        depth=depth,
        layers=list(wanted),
        metrics=list(names),
        seed=seed,
        backend=backend or "numpy",
        predictions=bool(predictions),
    )
    every = tuple(axis.name for axis in space.axes)
    record = on_error == "record"
    job = Job(make, depth, wanted, names, seed, backend, size or 1, every, bool(predictions), record)
    if path is not None and there is not None:
        stored = json.loads(there["spec"])
        grows = check_same(stored, spec, str(path), lambda: grid_of(path, stored), space)
        layout = json.loads(there["layout"])
        known = set(layout["batch_by"]) | set(named_axes(batch_by, every))
        job = replace(job, batch_by=tuple(sorted(known)), batch=size or layout["batch"])
        extents = tuple(layout["block"])
        if grows:  # the new values may be the first that show what make reads for all of a batch
            job = replace(job, batch_by=_apart(job, space, job.batch_by, detect))
            layout["batch_by"] = list(job.batch_by)
        cost = probe(job, space, exact=True) if measured else None
        attributes = {**there, "spec": json.dumps(spec), "layout": json.dumps(layout)}
        return Plan(job, space, extents, path, attributes, executor, there, grows, cost)
    # where every point is made alone there is nothing to find out
    job = replace(job, batch_by=() if size == 1 else _apart(job, space, batch_by, detect))
    number, each = batch_size(job, space, room)
    job = replace(job, batch=size or number)
    cost = None
    if measured or path is not None or workers > 1:
        executor = ready(executor, names) if start else executor
        try:
            # a worker has one thread as well
            there_too = job if executor is None else replace(job, planner=os.getpid())
            cost = probe(there_too, space, exact=measured)
        except BaseException:
            release(executor)
            raise
        extents = block_extents(space, len(wanted), cost, job.batch, workers, job.batch_by)
    else:
        extents = rectangle(space.shape, _BATCHES * max(job.batch, 128))
    attributes = {"source": SOURCE, "seed": seed, "depth": depth, "backend": backend or "numpy"}
    attributes |= {"linsim_version": _version(), "methods": "", "spec": json.dumps(spec)}
    layout = {"block": list(extents), "batch_by": list(job.batch_by), "batch": job.batch}
    attributes["layout"] = json.dumps(layout)
    return Plan(job, space, extents, path, attributes, executor, cost=cost, bytes=each)


def _apart(job: Job, grid: Grid, wanted: Any, detect: bool) -> tuple[str, ...]:
    if not detect:
        return tuple(named_axes(wanted, [axis.name for axis in grid.axes]))
    return batch_axes(job.make, grid, job.seed, wanted)


def _version() -> str:
    try:
        return version("linsim")
    except PackageNotFoundError:  # run from its source
        return "unknown"
