"""Many systems over a grid, computed in batches, labelled, beside their predictions."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from ..errors import BackendError, FileFormatError, InvalidValueError, ShapeError
from ._durable import in_use, one_writer, refused_by_disk
from ._executors import release, results
from ._memory import InMemory
from ._plan import Plan, planned
from ._progress import bar, list_failures
from ._store import Store, grid_of, read_attributes
from ._tasks import Task
from ._variables import DONE, FAILED, MEASURED_ONLY
from ._work import Make, Result, Systems, compute

if TYPE_CHECKING:
    import xarray

__all__ = ["carry_out", "sweep"]


def sweep(
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
    progress: bool = True,
    budget: int | str | None = None,
    on_error: str = "record",
    batch_by: Iterable[str] | None = None,
    predictions: bool = True,
) -> xarray.Dataset:
    """Simulate and predict every point of a grid; with a store, as far as that is not done yet.

    Parameters
    ----------
    make : callable
        ``make(point_arrays, rng) -> (rule, x0)`` for a batch of k points:
        ``point_arrays[name]`` is (k,), the rule and x0 have leading axis k (or
        none, to share one), of NumPy or any library that :func:`linsim.simulate` takes.
        ``rng`` is a Generator with one stream for each point: what it draws has leading axis k,
        and row i comes from a stream keyed by (seed, replicate, the coordinates of point i), so a
        result depends neither on the batch nor on the order of work.
    grid : mapping of str to 1-d array, or to a mapping of such
        Distinct coordinates along each axis: numbers, whole numbers, truth values, complex numbers
        or names (None among them).  A mapping of several axes zips them: ``{"point": {"a": [1, 2],
        "b": [3, 4]}}`` has two points along the dim "point", and so have the designs of
        :func:`linsim.sweeps.design`.
    depth : int
        Number of layers.
    metrics : str or iterable of str, optional
        Names from ``linsim.metrics.METRICS``; None records the fourteen default ones.
    layers : iterable of int, optional
        Layers to record; None records only the last.
    replicates : int
        Independent draws per point.
    seed : int
        Same seed, same result.
    store : path, optional
        A Zarr store.  A new one is made; one of this sweep is continued: finished blocks are
        kept, failed points tried again, and values that were added to an axis (or replicates)
        computed.  A block of points is there as a whole or not at all, whatever ends the sweep.
    executor : None, int, executor or client
        None computes in this process; a number of processes; any executor of ``concurrent.futures``;
        or a ``dask.distributed.Client``.  Each worker computes on one thread.
    batch : int, optional
        Points per call of ``make``; None chooses by their size and ``budget``.
    backend : {None, "numpy", "cupy"}
        As in :func:`linsim.simulate`.
    progress : bool
        Show a progress bar where standard error is a terminal, and list failed points there.
    budget : int or str, optional
        Bytes of memory that a batch may take, as "2GiB"; an eighth of the machine's by default.
    on_error : {"record", "raise"}
        "record": a point that cannot be made or simulated is NaN, its ``status`` is 2, and the reason
        is kept; the rest goes on.  If every point fails, the first error is raised all the same.
    batch_by : iterable of str, optional
        Axes that have one value in each batch, because ``make`` reads ``point["n"][0]`` for all:
        sizes, for example.  Names and truth values always do; others are found out by making a few
        points together and alone, and a point of every batch is made alone and compared.
    predictions : bool
        Whether to predict as well.

    Returns
    -------
    xarray.Dataset
        Dims (grid names..., replicate, layer): every metric, float64, NaN
        where a gap is below what can be measured; beside it, for rules that :func:`linsim.predict`
        covers, ``predicted_*`` with dims (grid names..., replicate), and ``status`` (0 pending,
        1 done, 2 failed, 3 done, covered by no law: then ``predicted_*`` are NaN, -1 or False).
        Regimes are coded -1 sharpening, 0 balanced, 1 smoothing.  Complex axes become the
        coordinates ``NAME_real`` and ``NAME_imag``.  What is stored and larger than 256 MiB is
        read when it is asked for: such a store must stay where it is.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError, FileFormatError
        Before any work starts; a store of another sweep is refused with what differs.  With
        ``on_error="raise"``, what is refused of one point only (a NaN, say) is refused with
        the coordinates of the first such point.
    BackendError
        If workers are lost and cannot be replaced.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> def make(point, rng):
    ...     k = len(point["mu"])
    ...     H = point["mu"][:, None, None] * np.eye(3)
    ...     x0 = linsim.tokens.gaussian(4, 3, size=k, rng=rng)
    ...     return linsim.Linear(linsim.attention.uniform(4), H), x0
    >>> ds = linsim.sweep(make, {"mu": [-1.0, 1.0]}, depth=20, progress=False)
    >>> ds.predicted_regime.values[:, 0]
    array([-1,  1], dtype=int8)
    >>> bool(ds.token_similarity.sel(mu=1.0).item() > 0.999)
    True
    """
    plan = planned(
        make,
        grid,
        depth=depth,
        metrics=metrics,
        layers=layers,
        replicates=replicates,
        seed=seed,
        store=store,
        executor=executor,
        batch=batch,
        backend=backend,
        budget=budget,
        on_error=on_error,
        batch_by=batch_by,
        predictions=predictions,
        start=True,
    )
    return carry_out(plan, progress)


def carry_out(plan: Plan, progress: bool) -> xarray.Dataset:
    """Compute what is missing, and return everything."""
    with contextlib.ExitStack() as held:
        held.callback(release, plan.executor)
        sink: InMemory | Store | None = None
        if plan.path is None:
            sink = InMemory(plan.grid, plan.job.layers, plan.attributes)
        elif plan.existing:
            sink = _reopened(plan, held)
        tasks = _tasks(plan, sink)
        left = sum(task.size for task in tasks)
        shown = held.enter_context(bar(plan.grid.total, plan.grid.total - left, progress))
        # left first: what was computed is written, whatever ends the work
        writer = held.enter_context(_Writer()) if plan.path is not None else None
        computed = held.enter_context(contextlib.closing(results(plan.job, plan.grid, tasks, plan.executor)))
        error: Exception | None = None
        for task, result in computed:
            error = error or result.error
            if sink is None:
                _give_up_on_bugs(result)
                sink = _created(plan, held)
            elif isinstance(sink, InMemory) and not sink.arrays:
                _give_up_on_bugs(result)
            if writer is None:
                sink.write(task.block, result, task.numbers)
            else:
                writer.put(sink, task, result)
            shown.update(task.size)
        if writer is not None:
            writer.finish()
        shown.close()
        assert sink is not None
        if error is not None and not _any_done(sink):
            raise error
        if progress and sink.reasons:
            list_failures(sink.reasons, plan.grid)
        return sink.dataset(held=True) if isinstance(sink, Store) else sink.dataset()


def _tasks(plan: Plan, sink: InMemory | Store | None) -> list[Task]:
    if isinstance(sink, Store):
        missing = [(block, sink.missing(block)) for block in sink.blocks()]
        # whole blocks are told by themselves: their numbers would take more memory than their values
        return [Task(b, None if len(n) == b.size else n) for b, n in missing if len(n)]
    return [Task(block) for block in plan.blocks()]


def _give_up_on_bugs(result: Result) -> None:
    """Raise what the very first block says of ``make`` itself, before anything is written.

    A value out of range may be a bad corner of the grid; anything else, at every point, is a mistake.
    """
    error = result.error
    if error is None or np.any(result.status != FAILED):
        return
    if isinstance(error, ShapeError) or not isinstance(error, InvalidValueError | BackendError):
        raise error


def _any_done(sink: InMemory | Store) -> bool:
    counts = sink.counts()
    return counts.get(DONE, 0) + counts.get(MEASURED_ONLY, 0) > 0


def _created(plan: Plan, held: contextlib.ExitStack) -> Store:
    assert plan.path is not None
    try:
        store = Store.create(plan.path, plan.grid, plan.job.metrics, plan.job.layers, plan.attributes)
    except OSError as error:
        raise refused_by_disk(error, str(plan.path)) from error
    return held.enter_context(store.alone())


def _reopened(plan: Plan, held: contextlib.ExitStack) -> Store:
    assert plan.path is not None
    stored = plan.stored_attributes or {}
    spec = json.loads(stored["spec"])
    try:
        held.enter_context(one_writer(plan.path / "status", str(plan.path)))
        now = read_attributes(plan.path)
        # what was planned rests on what another sweep may have changed before it let go
        if now is None or any(now[name] != stored[name] for name in ("spec", "layout")):
            raise in_use(str(plan.path))
        grid = grid_of(plan.path, spec) if plan.grows else plan.grid
        store = Store(plan.path, grid, now)
        if spec["make"]["source"] != plan.spec["make"]["source"]:
            _check_values(plan, store)
            store.set_attributes({"spec": plan.attributes["spec"]})
        if plan.grows:
            store = held.enter_context(store.extended(plan.grid, plan.attributes))
    except OSError as error:
        if isinstance(error, FileFormatError):
            raise
        raise refused_by_disk(error, str(plan.path)) from error
    return store


def _check_values(plan: Plan, store: Store) -> None:
    """Refuse to mix values of two functions: compute a finished system once more, as ``make`` is now."""
    for block in store.blocks():
        finished = np.isin(store.status[block.slices].ravel(), (DONE, MEASURED_ONLY))
        if not finished.any():
            continue
        number = np.flatnonzero(finished)[:1]
        systems = Systems.of(store.grid, block, number)
        found = compute(replace(plan.job, record=True), systems)
        there = store.values_at(block, int(number[0]))
        for name, values in there.items():
            now = found.values[name][number[0]]
            if not np.allclose(now, values, rtol=1e-9, atol=1e-9, equal_nan=True):
                raise _validate.refusal(
                    FileFormatError,
                    "store",
                    f"{plan.path} of another make ({name} {systems.named()}: {values} there, {now} here)",
                    "the values of this one",
                    "Its source has changed: choose another store, or remove this one.",
                )
        return


class _Writer:
    """Writes blocks beside the computing, in order; an error is raised by the next call."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Any] = queue.Queue(maxsize=2)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._work, name="linsim-sweep-writer", daemon=True)

    def __enter__(self) -> _Writer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.queue.put(None)
        self.thread.join()

    def put(self, store: Any, task: Task, result: Result) -> None:
        """Write a result, soon."""
        self._raise()
        self.queue.put((store, task, result))

    def finish(self) -> None:
        """Wait until all is written."""
        self.queue.join()
        self._raise()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        while (item := self.queue.get()) is not None:
            store, task, result = item
            try:
                if self.error is None:
                    store.write(task.block, result, task.numbers)
            except OSError as error:
                self.error = refused_by_disk(error, str(store.path))
                self.error.__cause__ = error
            except BaseException as error:
                self.error = error
            finally:
                self.queue.task_done()
