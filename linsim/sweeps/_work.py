"""What a worker does: make a block's systems in batches, run them, and say which points failed and why.

Everything here may run in another process or on another machine; nothing is written.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import _validate
from .._ask import each_alone
from .._callers import home_within, native_rule
from .._kernels import first_use
from .._namespace import namespace, native, to_host
from .._parallel import in_parallel, workers
from .._simulate import simulate
from ..errors import (
    BackendError,
    InvalidTypeError,
    InvalidValueError,
    MissingExtraError,
    NotCoveredError,
    ShapeError,
)
from ..rules import Layered, Linear, MultiHead, Rule
from ..streams import RowGenerator, restore, rows
from ..theory import predict
from ..theory._from_values import from_values
from ._alike import alike
from ._blocks import Block
from ._grid import Grid, Points, named
from ._limits import worker_limits
from ._variables import DONE, FAILED, MEASURED_ONLY, PREDICTED

__all__ = ["Job", "LabelError", "Make", "Result", "Systems", "compute", "located", "made", "warm_up"]

Make = Callable[[dict[str, Any], Any], tuple[Any, Any]]

# fewer laws than this are not worth another thread
_LAWS = 64
# nobody's point is to blame for these: no backend, no module, no more memory
_NOT_A_POINT = (BackendError, MissingExtraError, MemoryError)


@dataclass(frozen=True, eq=False)
class Job:
    """What all blocks of a sweep have in common.

    ``batch_by``: axes with one value in each batch; ``record``: failed points are recorded, not raised;
    ``planner``: the process that planned it.
    """

    make: Make
    depth: int
    layers: tuple[int, ...]
    metrics: tuple[str, ...]
    seed: int
    backend: str | None
    batch: int
    batch_by: tuple[str, ...]
    predictions: bool
    record: bool
    planner: int | None = None


@dataclass(eq=False)
class Result:
    """What was found in a block: arrays over its systems in the order of memory, replicates last.

    ``values[name]`` (size, layers) or (size,); ``status`` (size,); ``reasons``: text by number of the
    system in the block; ``error``: the first that was raised.
    """

    values: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    status: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))
    reasons: dict[int, str] = field(default_factory=dict)
    methods: set[str] = field(default_factory=set)
    error: Exception | None = None


@dataclass(eq=False)
class Systems:
    """Some systems of a block of ``size``: their numbers in it, replicates, and coordinates."""

    size: int
    numbers: np.ndarray[Any, Any]
    replicates: np.ndarray[Any, Any]
    values: Points
    labels: Points

    @classmethod
    def of(cls, grid: Grid, block: Block, numbers: np.ndarray[Any, Any] | None = None) -> Systems:
        """All systems of a block, or those of some numbers."""
        which = np.arange(block.size) if numbers is None else numbers
        inside = np.unravel_index(which, block.shape)
        at = [k + start for k, start in zip(inside, block.start, strict=True)]
        return cls(block.size, which, at[-1], grid.points(at), grid.points(at, labels=True))

    def __len__(self) -> int:
        return len(self.numbers)

    def picked(self, which: Any) -> Systems:
        """Return some of them."""
        return Systems(
            self.size,
            self.numbers[which],
            self.replicates[which],
            {name: x[which] for name, x in self.values.items()},
            {name: x[which] for name, x in self.labels.items()},
        )

    def streams(self, seed: int) -> RowGenerator:
        """One stream a system, of its coordinates and replicate alone."""
        found: list[Any] = [None] * len(self)
        for replicate in np.unique(self.replicates):
            where = np.flatnonzero(self.replicates == replicate)
            labels = {name: x[where] for name, x in self.labels.items()}
            for k, stream in zip(where, rows(seed, int(replicate), labels).streams, strict=True):
                found[k] = stream
        return restore(found)

    def named(self, k: int = 0) -> str:
        """Return where system k is, for a message."""
        return f"at {named(self.labels, k)}, replicate {self.replicates[k]}"


def compute(job: Job, systems: Systems) -> Result:
    """Return what is found in systems of a block.

    A batch that raises is cut in halves, down to the points that raise alone.
    """
    with worker_limits(job.planner):
        out = Result(status=np.zeros(systems.size, dtype=np.int8))
        for name in job.metrics:
            out.values[name] = np.full((systems.size, len(job.layers)), np.nan)
        for batch in _batches(job, systems):
            _run(job, batch, out)
    if job.planner not in (None, os.getpid()) and out.error is not None:
        out.error = _sendable(out.error)
    return out


def warm_up(metrics: tuple[str, ...]) -> None:
    """Let a new worker end with whoever started it, and load compiled kernels before its first block."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    first_use.wait()
    half = np.full((2, 2), 0.5)
    with worker_limits(0), contextlib.suppress(Exception):  # a block says what is wrong
        simulate(Linear(half, half), np.eye(2), 1, layers=[1], metrics=metrics)


def _end_with_parent() -> None:
    # one that was killed ends nobody: its workers would wait for it forever
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    """Return an error that another process can read; not every class of a user's can be rebuilt there."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(reason(error))
    return error


def _batches(job: Job, systems: Systems) -> Iterator[Systems]:
    """Cut into batches in which every axis of ``batch_by`` has one value."""
    keys = [systems.labels[name].tolist() for name in job.batch_by]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for k, key in enumerate(zip(*keys, strict=True) if keys else itertools.repeat((), len(systems))):
        groups.setdefault(key, []).append(k)
    for members in groups.values():
        for first in range(0, len(members), job.batch):
            yield systems.picked(np.asarray(members[first : first + job.batch]))


def _run(job: Job, systems: Systems, out: Result) -> None:
    try:
        _simulated(job, systems, out)
    except (*_NOT_A_POINT, LabelError) as error:
        if not isinstance(error, MemoryError) or len(systems) == 1:
            raise
        _halves(job, systems, out)
    except Exception as error:
        if len(systems) > 1:
            _halves(job, systems, out)
            return
        if not job.record:
            raise located(error, systems.named()) from error
        number = int(systems.numbers[0])
        out.status[number] = FAILED
        out.reasons[number] = reason(error)
        out.error = out.error or located(error, systems.named())


def _halves(job: Job, systems: Systems, out: Result) -> None:
    middle = len(systems) // 2
    for half in (slice(0, middle), slice(middle, None)):
        _run(job, systems.picked(half), out)


class LabelError(InvalidValueError):
    """A point within its batch is another system than alone: its label would be wrong."""


def _simulated(job: Job, systems: Systems, out: Result) -> None:
    first_use.wait()  # no value may depend on what was compiled when its turn came
    count = len(systems)
    streams = systems.streams(job.seed)
    rule, x0 = made(job.make, systems.values, streams, count)
    _check_labels(job, systems, rule, x0)
    if rule.moves_by in ("draws", "block"):
        # each point draws for itself, even where all share the rule and x0
        x0 = _each(x0, count)
    with each_alone():
        run = simulate(
            rule, x0, job.depth, layers=job.layers, metrics=job.metrics, backend=job.backend, rng=streams
        )
    laws = _laws(rule, count) if job.predictions else []
    # nothing was raised: all of it counts
    for name in job.metrics:
        out.values[name][systems.numbers] = to_host(run.metrics[name])
    out.status[systems.numbers] = MEASURED_ONLY
    for which, law in laws:
        numbers = systems.numbers[which]
        out.status[numbers] = DONE
        for name, about in PREDICTED.items():
            if name not in out.values:
                out.values[name] = np.full(len(out.status), about.missing, dtype=about.dtype)
            out.values[name][numbers] = about.read(law)
    out.methods |= set(np.unique(np.asarray(run.info.methods)).tolist())


def _laws(rule: Any, count: int) -> list[tuple[Any, Any]]:
    """Return (which systems, their law) for those that a law covers."""
    if not isinstance(rule, Linear | MultiHead | Layered):
        return []
    shared = rule.batch_shape in ((), (1,))  # one law for all, if any
    everything = np.arange(1 if shared else count)
    # what eigenvalues alone decide costs least; whether they do must not depend on the others either
    brief = from_values(rule)
    sure = np.zeros(len(everything), dtype=bool) if brief is None else brief.certain
    laws: list[tuple[Any, Any]] = []
    if brief is not None and np.any(sure):
        laws.append((everything[sure], brief.picked(sure)))
    left = everything[~sure]
    if len(left):
        # on all cores: decompositions let go of the interpreter
        number = max(1, min(workers(), len(left) // _LAWS))
        found = in_parallel(lambda part: _covered(rule, part), np.array_split(left, number))
        laws += [law for some in found for law in some]
    return [(slice(None), law) for _, law in laws] if shared else laws


def _covered(rule: Any, numbers: np.ndarray[Any, Any]) -> list[tuple[Any, Any]]:
    """The laws of some systems of a rule; whether one is covered must not depend on the others."""
    try:
        return [(numbers, predict(sliced(rule, numbers)))]
    except NotCoveredError:
        if len(numbers) == 1:
            return []
        halves = np.array_split(numbers, 2)
        return [law for half in halves for law in _covered(rule, half)]


def sliced(rule: Any, part: Any) -> Any:
    """Return a rule for some systems of its batch axis."""
    if isinstance(rule, Layered):
        once = {id(one): sliced(one, part) for one in rule.rules}
        return replace(rule, rules=[once[id(one)] for one in rule.rules])
    core = 3 if isinstance(rule, MultiHead) else 2
    held = {name: getattr(rule, name) for name in ("A", "H")}
    return replace(
        rule, **{name: M[part] if M.ndim > core and M.shape[0] > 1 else M for name, M in held.items()}
    )


def _check_labels(job: Job, systems: Systems, rule: Any, x0: Any) -> None:
    """Make one point of a batch alone, and refuse a batch in which it is another system."""
    count = len(systems)
    if count == 1:
        return
    # the last differs most from the first, which a careless make reads for all
    alone = systems.picked(slice(count - 1, count))
    found = made(job.make, alone.values, alone.streams(job.seed), 1)
    if not alike((rule, x0), count - 1, count, found):
        raise _validate.refusal(
            LabelError,
            "make",
            f"another system within a batch than alone ({alone.named()})",
            "systems that depend on their own coordinates only, not on point[...][0]",
            "Name the axes that have one value a batch: batch_by=[...], or pass batch=1.",
        )


def made(make: Make, points: Points, rng: Any, count: int) -> tuple[Any, Any]:
    """Return what ``make`` returns, checked, where linsim computes."""
    found = make(points, rng)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Rule)):
        raise _validate.refusal(
            InvalidTypeError,
            "make",
            f"a return value of {type(found).__name__}",
            "a tuple (rule, x0)",
            "Return both.",
        )
    rule, x0 = found
    home = home_within(rule) or home_within(x0)
    if home is not None:
        # labels and predictions are NumPy's in the end
        rule, x0 = native_rule(rule, home), native(x0)
    for what, shape in (
        ("the rule", rule.batch_shape),
        ("x0", tuple(getattr(x0, "shape", np.shape(x0))[:-2])),
    ):
        if shape not in ((), (1,), (count,)):
            raise _validate.refusal(
                ShapeError,
                "make",
                f"batch shape {shape} in {what}",
                f"({count},), one entry per point, or () to share one",
                "Build one system per point.",
            )
    return rule, x0


def _each(x0: Any, count: int) -> Any:
    x0 = _validate.array(x0, "x0", ndim=2, shape="(..., n, d)")
    return namespace(x0).broadcast_to(x0, (count, *x0.shape[-2:]))


def located(error: Exception, where: str) -> Exception:
    """Return the error with the point in it: a refusal in its text, any other in a note."""
    from ..errors import LinsimError

    if isinstance(error, LinsimError):
        before, expected, after = str(error).partition("; expected ")
        return type(error)(f"{before} ({where}){expected}{after}")
    error.add_note(f"linsim.sweep: {where}")
    return error


def reason(error: BaseException) -> str:
    """Return the one line that is kept of an error."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
