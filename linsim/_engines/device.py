"""Layer by layer in one CUDA kernel: a block of threads for each small system, which never leaves the chip.

What :mod:`.parts` does on a CPU: parts of the state, their errors, both rescaled, every recorded state
reduced to a few numbers where it is (:mod:`linsim._cuda`).  Metrics follow from these, for all states at
once, on the device.  CuPy arrays only; what the kernel does not take goes to :mod:`.iterate`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import array_api_compat
import numpy as np

from .. import _validate
from .._cuda import layout
from .._cuda.launch import Uncompiled, kernel, room_of_a_block
from .._namespace import Array, namespace, on_device_of
from .._recorded import Recorded
from .._shadow import BUDGET, COUNT, begin
from .._split import KINDS
from .._state import Split, norm
from .._types import HostArray
from ..errors import BackendError
from ..metrics._evaluate import as_given
from ..metrics._metric import Measured
from ..metrics._registry import needing
from ..metrics._written import METRICS, of_numbers
from .device_walk import Batch, Walked, measured, rescaled
from .lanes import METRICS as WITHOUT_MODES
from .matrices import blunt, gentle, plain_split, split_of
from .protocol import Job
from .task import Task, go_on, rounding, started

__all__ = ["about", "covers", "jobs", "kernels", "name", "operations", "worthwhile"]

name = "device"
about = "CUDA: layer by layer, a block of threads for each small system; metrics without leaving the chip"
kernels = ""

# operations of a launch: about a second on a fast card, so that nothing waits long for it
_LAUNCH = 5e12
# numbers that working out metrics holds for each state at a time, beside what the kernel wrote
_HELD = 100
# part of the free memory that a run may take
_SHARE = 0.5


def covers(task: Task) -> str:
    """Return what the kernel cannot do of a task, "" if it does all."""
    if not array_api_compat.is_cupy_array(task.start):
        return "arrays that are not CuPy's"
    if task.rule.moves_by != "matrices":
        return f"{type(task.rule).__name__} has no matrices that are known beforehand"
    if task.driven or not task.rule.stochastic:
        what = "a bias" if task.driven else "attention that is not stochastic"
        return f"{what}: not in the CUDA kernel"
    if not task.alike or len(task.rule.checked_heads(0)) > 1:
        return "several heads: not in the CUDA kernel"
    if missing := [metric for metric in task.names if metric not in METRICS]:
        return f"{', '.join(missing)}: not among what the CUDA kernel measures"
    if task.tokens is not None:
        return "tokens: the CUDA kernel measures all of them alike"
    if task.keep_states:
        return "keep_states: states stay on the chip"
    if max(task.n, task.d) > layout.LARGEST:
        return f"n = {task.n}, d = {task.d}: one of them is above {layout.LARGEST}"
    if float(np.max(task.growth)) > BUDGET:
        return f"layers that enlarge entries by more than 2^{BUDGET:.0f}"
    return "" if _room(task) else "a block of this card holds no system of this size"


def worthwhile(task: Task) -> str:
    """The fastest way on a GPU."""
    return "systems that a block of a GPU holds"


def operations(task: Task) -> float:
    """Products of a layer, on the state and its three shadows, and singular values of what is recorded."""
    n, d = task.n, task.d
    return task.size * (4 * task.last * 2.0 * n * d * (n + d) + len(task.layers) * 20.0 * n * d * min(n, d))


def _room(task: Task) -> tuple[int, bool] | None:
    """Bytes of a block, and whether matrices fit in single precision as well; None where nothing does."""
    itemsize = 8 if task.precision == "float64" else 4
    for with_copies in (True, False):
        needed = layout.shared_bytes(task.n, task.d, itemsize, COUNT, with_copies)
        if needed <= room_of_a_block():
            return needed, with_copies
    return None


def jobs(task: Task) -> list[Job]:
    """Return the work: all of it at once, cut only where memory asks for it."""
    return [Job(slice(0, task.size), functools.partial(_run, task))]


def _run(task: Task) -> Recorded:
    import cupy

    try:
        kernel("walk_float64")
    except Uncompiled as error:
        refused = np.full(task.size, f"the CUDA kernel does not compile here: {error}")
        none = (np.asarray([name]), np.asarray([KINDS[0]]), np.zeros(1))
        return Recorded({}, {}, *none, {}, task.size, refused=refused, left=np.arange(task.size))
    try:
        return _recorded(task)
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


def _recorded(task: Task) -> Recorded:
    """Measure along the cut that keeps gaps; where that costs digits, along the mean first."""

    def own(M: Array) -> Array:
        return M

    if set(task.names) <= set(WITHOUT_MODES):  # no eigenvector has to be found
        return _walked(task, plain_split(task, own, task.heads), np.asarray([KINDS[0]]))
    split, kinds, enlarged = split_of(task, own, task.heads)
    found = _walked(task, *gentle(task, split, kinds, enlarged, own, task.heads))
    rough = blunt(found, enlarged, task.precision)
    if not any(x.any() for x in rough.values()):
        return found
    far = np.flatnonzero(functools.reduce(np.logical_or, rough.values()))
    some = task.picked(far)
    again = _walked(some, *split_of(some, own, some.heads)[:2])
    place = on_device_of(far, task.start)
    for metric, asked in rough.items():
        values, errors = found.values[metric], found.errors[metric]
        better = (again.errors[metric] < errors[place]) & on_device_of(asked[far, None], errors)
        xp = namespace(errors)
        values[place] = xp.where(better, again.values[metric], values[place])
        errors[place] = xp.where(better, again.errors[metric], errors[place])
    kinds = np.array(np.broadcast_to(found.kinds, found.size), dtype=object)
    kinds[far] = again.kinds
    return replace(found, kinds=kinds.astype(str))


def _walked(task: Task, split: Split, kinds: HostArray) -> Recorded:
    """Take the systems through the layers, as many at a time as memory allows, and measure them."""
    xp = namespace(task.start)
    A, H = _matrices(task)
    # where nothing is its own, what one system does all do
    size = max(task.start.shape[0], A.shape[1], H.shape[1], split.v.shape[0])
    parts = []
    for part in _parts(task, size):
        go_on(task.stop)
        parts.append(_part(task, split, part, A, H))

    def joined(metric: str, which: str) -> Array:
        return xp.concat([getattr(found[metric], which) for found in parts], axis=0)

    return Recorded(
        {metric: joined(metric, "value") for metric in task.names},
        {metric: joined(metric, "error") for metric in task.names},
        np.asarray([name]),
        np.atleast_1d(kinds),
        np.asarray([rounding(task.start, task.layers)]),
        {},
        size,
    )


def _matrices(task: Task) -> tuple[Array, Array]:
    """All matrices of a task as (layers or 1, b or 1, ., .) arrays."""
    xp = namespace(task.start)

    def stack(side: int) -> Array:
        layers = [task.heads(layer)[0][side] for layer in range(task.different)]
        b = max(M.shape[0] for M in layers)
        return xp.stack([xp.broadcast_to(M, (b, *M.shape[1:])) for M in layers])

    return stack(0), stack(1)


def _parts(task: Task, size: int) -> Iterator[slice]:
    """Cut systems so that what a piece holds fits the free memory."""
    import cupy

    n, d, count = task.n, task.d, len(task.layers)
    each = 8.0 * count * (3 * layout.width(n, d) + 6 * min(n, d) + _HELD)
    each += 8.0 * layout.flat(n, d) * (8 + 3 * COUNT)
    free, _ = cupy.cuda.runtime.memGetInfo()
    at_once = int(_SHARE * free // each)
    if at_once < 1:
        raise _validate.refusal(
            BackendError,
            "backend",
            f"a GPU with {free / 2**20:.0f} MiB free",
            f"{each / _SHARE / 2**20:.3g} MiB for one system of {count} recorded layers",
            "Record fewer layers, free memory there, or pass backend='numpy'.",
        )
    pieces = -(-size // at_once)
    for k in range(pieces):
        yield slice(size * k // pieces, size * (k + 1) // pieces)


def _part(task: Task, split: Split, part: slice, A: Array, H: Array) -> dict[str, Measured]:
    """Metrics of some systems, (systems, layers)."""
    n, d, m = task.n, task.d, part.stop - part.start

    def own(x: Array) -> Array:
        return x if x.shape[0] == 1 else x[part, ...]

    start, cut = own(task.start), split.map(own)
    xp = namespace(start)
    until = np.broadcast_to(own(task.zero_until), (m, n))
    A, H = (M if M.shape[1] == 1 else M[:, part, ...] for M in (A, H))
    singular = bool(needing("singular values", task.names))
    batch = Batch(m, n, d, A, H, on_device_of(np.ascontiguousarray(until), start), singular)
    found = []
    layers = task.at
    if layers[0] == 0:  # tokens are measured as they are given
        given, _ = as_given(start)
        found.append(_of(task, measured(batch, given), given.split, xp.float64))
        layers = layers[1:]
    if layers:
        growth = own(task.growth)
        state = started(start, cut)
        shadows = begin(state, float(np.max(growth)))
        room = _room(task)
        assert room is not None  # as covers() said
        walked = Walked(batch, state, shadows, rescaled(growth, m, state, shadows), *room)
        numbers = []
        for first, last in _runs(m, n, d, layers[-1]):
            go_on(task.stop)
            numbers.append(walked.to(first, last, [layer for layer in layers if first < layer <= last]))
        found.append(_of(task, xp.concat(numbers, axis=1), cut, start.dtype))
    return {
        metric: Measured(
            xp.concat([one[metric].value for one in found], axis=1),
            xp.concat([one[metric].error for one in found], axis=1),
        )
        for metric in task.names
    }


def _runs(m: int, n: int, d: int, last: int) -> Iterator[tuple[int, int]]:
    """Cut layers into launches: the first and the last layer of each."""
    at_once = max(1, int(_LAUNCH // (m * 8.0 * n * d * (n + d))))
    for first in range(0, last, at_once):
        yield first, min(first + at_once, last)


def _of(task: Task, numbers: Array, split: Split, dtype: Any) -> dict[str, Measured]:
    """Metrics of what the kernel wrote of states of m systems at some layers, each (m, layers)."""
    xp, (m, count) = namespace(numbers), numbers.shape[:2]

    def each(x: Array) -> Array:
        x = xp.broadcast_to(x, (m, 1, 1))
        return xp.reshape(xp.broadcast_to(x[:, None, ...], (m, count, 1, 1)), (m * count, 1, 1))

    cut = (each(norm(split.v)), each(split.constant), each(split.preserves_mean))
    found = of_numbers(xp.reshape(numbers, (m * count, -1)), task.names, (task.n, task.d), dtype, *cut)

    def placed(x: Array) -> Array:
        return xp.reshape(xp.broadcast_to(x, (m * count, 1, 1)), (m, count))

    return {metric: Measured(placed(one.value), placed(one.error)) for metric, one in found.items()}
