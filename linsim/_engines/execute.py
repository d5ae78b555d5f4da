"""Carry a task out by the engines that were chosen: in parallel, what one cannot do by the next."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import array_api_compat
import numpy as np

from .. import _validate
from .._namespace import Array, namespace, on_device_of, to_host
from .._parallel import in_parallel
from .._recorded import Recorded, merged
from ..errors import BackendError
from .choose import WALKING
from .protocol import Engine, Job
from .task import Task

__all__ = ["execute"]

# more operations than this, and the work is done where it can be interrupted
_LONG = 3e7
# operations that take minutes are announced
_TEDIOUS = 1e12


def execute(task: Task, engines: Sequence[Engine], *, parallel: bool = True) -> Recorded:
    """Return what the first engine recorded, and the next ones of the systems that it left."""
    first, *others = engines

    def run(job: Job) -> Recorded:
        # kernels of BLAS may compute with what lies beside a matrix in a vector register, and raise the flag
        # of an invalid operation for it: what is invalid in the matrix itself shows as a value without digits
        with np.errstate(invalid="ignore"), _on_a_device(task.start):
            found = job.run()
        if found.left.size:
            found = _with_the_rest(task, job.systems, found, others)
        return found if task.on_host else _moved(found, task.start)

    if not (parallel and task.on_host):  # a device has memory for one piece at a time
        return _joined([run(job) for job in first.jobs(task)], task)
    work = task.size * task.last * float(task.n * task.d) * (task.n + task.d)

    def abandon() -> None:
        task.stop[0] = True

    return _joined(in_parallel(run, first.jobs(task), abandon if work > _LONG else None), task)


@contextlib.contextmanager
def _on_a_device(start: Array) -> Iterator[None]:
    """Give memory of a GPU back behind a piece of work, and say in a line where there was too little."""
    if not array_api_compat.is_cupy_array(start):
        yield
        return
    import cupy

    try:
        yield
    except Exception as error:  # others may have taken, meanwhile, what was free before
        if type(error).__name__ != "OutOfMemoryError":
            raise
        raise _validate.refusal(
            BackendError,
            "backend",
            "a GPU whose memory is full",
            "room for the systems",
            "Free memory there (nvidia-smi says who holds it), or pass backend='numpy'.",
        ) from error
    finally:
        cupy.get_default_memory_pool().free_all_blocks()


def _with_the_rest(task: Task, systems: slice, found: Recorded, engines: Sequence[Engine]) -> Recorded:
    """Add what the next engine records of the systems that are left."""
    numbers = np.arange(systems.start, systems.stop)
    rest = task.picked(numbers[found.left], known=found.known)
    counts = {}
    if engines[0] in WALKING:
        counts["iterate"] = len(found.left)
        _announce(rest, len(numbers), found.refused[found.left])
    other = execute(rest, engines, parallel=False)
    kept = np.setdiff1d(np.arange(len(numbers)), found.left)
    refused = np.array(found.refused)
    why = np.broadcast_to(other.refused, len(found.left))
    refused[found.left] = np.where(why == "", refused[found.left], why)
    parts = [(kept, found), (found.left, _moved(other, None))]
    whole = merged([part for part in parts if len(part[0])], len(numbers), counts)
    return replace(whole, refused=refused, left=found.left[:0], known=None)


def _announce(rest: Task, size: int, refused: np.ndarray[Any, Any]) -> None:
    if 2.0 * rest.size * rest.last * rest.n * rest.d * (rest.n + rest.d) > _TEDIOUS:
        print(
            f"linsim: {rest.size} of {size} systems have no closed form ({', '.join(sorted(set(refused)))}); "
            f"walking to layer {rest.last}",
            file=sys.stderr,
        )


def _moved(found: Recorded, like: Array | None) -> Recorded:
    """What was recorded, in the library and on the device of ``like``, None for the host."""

    def move(x: Any) -> Any:
        if x is None or (like is not None and namespace(x) is namespace(like)):
            return x
        return to_host(x) if like is None else on_device_of(np.ascontiguousarray(x), like)

    return replace(
        found,
        values={name: move(x) for name, x in found.values.items()},
        errors={name: move(x) for name, x in found.errors.items()},
        states=move(found.states),
        log_scale=move(found.log_scale),
    )


def _columns(found: Recorded) -> list[Any]:
    """All that has an entry for each system, or one for all."""
    labels = [found.methods, found.kinds, found.rounding, found.refused]
    kept = [] if found.states is None else [found.states, found.log_scale]
    return [*found.values.values(), *found.errors.values(), *labels, *kept]


def _joined(found: Sequence[Recorded], task: Task) -> Recorded:
    """Put what jobs recorded together, in their order."""
    xp, size = namespace(task.start), task.size
    if len(found) == 1 and all(x.shape[0] == size for x in _columns(found[0])):
        return replace(found[0], fallbacks=dict(sorted(found[0].fallbacks.items())))

    def each(name: str) -> np.ndarray[Any, Any]:
        own = [getattr(part, name) for part in found]
        if len(own) == 1 and len(own[0]) == size:
            return own[0]
        own = [np.broadcast_to(x, part.size) for x, part in zip(own, found, strict=True)]
        return np.array(np.broadcast_to(np.concatenate(own), size))

    def joined(pick: Callable[[Recorded], Array]) -> Array:
        parts = [pick(part) for part in found]
        whole = xp.concat(parts) if len(parts) > 1 else parts[0]
        return whole if whole.shape[0] == size else xp.broadcast_to(whole, (size, *whole.shape[1:]))

    counts: Counter[str] = Counter()
    for part in found:
        counts.update(part.fallbacks)
    return Recorded(
        {name: joined(lambda part, name=name: part.values[name]) for name in task.names},  # type: ignore[misc]
        {name: joined(lambda part, name=name: part.errors[name]) for name in task.names},  # type: ignore[misc]
        each("methods"),
        each("kinds"),
        each("rounding"),
        {name: counts[name] for name in sorted(counts)},
        size,
        joined(lambda part: part.states) if task.keep_states else None,
        joined(lambda part: part.log_scale) if task.keep_states else None,
        each("refused"),
    )
