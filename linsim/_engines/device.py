"""Layer by layer in one CUDA kernel: a block of threads for each small system, which never leaves the chip.

What :mod:`.parts` does on a CPU: parts of the state, their errors, both rescaled, every recorded state
reduced to a few numbers where it is (:mod:`linsim._cuda`).  Metrics follow from these, for all states at
once, on the device.  CuPy arrays only; what the kernel does not take goes to :mod:`.iterate`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import array_api_compat
import numpy as np

from .. import _validate
from .._cuda import layout
from .._cuda.launch import Uncompiled, kernel, room_of_a_block
from .._namespace import Array, namespace, on_device_of
from .._recorded import Recorded
from .._shadow import BUDGET, COUNT, begin
from .._split import KINDS
from .._state import Split
from .._types import HostArray
from ..errors import BackendError
from ..metrics._registry import needing
from ..metrics._written import METRICS
from .device_records import Records, together
from .device_walk import Batch, Walked, drive_of, rescaled
from .lanes import METRICS as WITHOUT_MODES
from .matrices import Heads, blunt, gentle, plain_split, split_of, walked_heads
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
# whole arrays of the size of a state, and of its pairs of tokens, that measuring one holds
_STATES = 40
# part of the free memory that a run may take
_SHARE = 0.5


def covers(task: Task) -> str:
    """Return what the kernel cannot do of a task, "" if it does all."""
    if not array_api_compat.is_cupy_array(task.start):
        return "arrays that are not CuPy's"
    if task.rule.moves_by != "matrices":
        return f"{type(task.rule).__name__} has no matrices that are known beforehand"
    if not task.alike:
        return "layers with different numbers of heads"
    if looking := needing("attention", task.names):
        return f"{', '.join(looking)}: attention stays in the kernel"
    if max(task.n, task.d) > layout.LARGEST:
        return f"n = {task.n}, d = {task.d}: one of them is above {layout.LARGEST}"
    if float(np.max(task.growth)) > BUDGET:
        return f"layers that enlarge entries by more than 2^{BUDGET:.0f}"
    enough = room_of_a_block() >= layout.LEAST
    return "" if enough else f"a block of this card has less than {layout.LEAST // 1024} KiB"


def worthwhile(task: Task) -> str:
    """The fastest way on a GPU."""
    return "systems that a block of a GPU holds"


def operations(task: Task) -> float:
    """Products of a layer, on the state and its three shadows, and singular values of what is recorded."""
    n, d, heads = task.n, task.d, len(task.rule.checked_heads(0))
    products = 4 * task.last * heads * 2.0 * n * d * (n + d)
    return task.size * (products + len(task.layers) * 20.0 * n * d * min(n, d))


def _fits(task: Task) -> bool:
    """Whether a block has room for all but matrices, which may lie elsewhere."""
    itemsize, limit = 8 if task.precision == "float64" else 4, room_of_a_block()
    heads = len(walked_heads(task)[0](0))
    small, _ = layout.room(task.n, task.d, itemsize, COUNT, heads, limit)
    return small <= limit and limit >= layout.LEAST


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
    heads, equal = walked_heads(task)

    def own(M: Array) -> Array:
        return M

    if set(task.names) <= set(WITHOUT_MODES) and task.rule.stochastic:  # no eigenvector has to be found
        return _walked(task, plain_split(task, own, heads), np.asarray([KINDS[0]]), heads)
    split, kinds, enlarged = split_of(task, own, heads, equal)
    found = _walked(task, *gentle(task, split, kinds, enlarged, own, heads), heads)
    rough = blunt(found, enlarged, task.precision)
    if not any(x.any() for x in rough.values()):
        return found
    far = np.flatnonzero(functools.reduce(np.logical_or, rough.values()))
    some = task.picked(far)
    heads, equal = walked_heads(some)
    again = _walked(some, *split_of(some, own, heads, equal)[:2], heads)
    place, values, errors = on_device_of(far, task.start), found.values, found.errors
    for metric, asked in rough.items():
        xp = namespace(errors[metric])
        better = (again.errors[metric] < errors[metric][place]) & on_device_of(asked[far, None], place)
        pairs = [(values[metric], again.values[metric]), (errors[metric], again.errors[metric])]
        if metric == "log_norm" and task.keep_states:
            pairs += [(found.states, again.states), (found.log_scale, again.log_scale)]
        for held, new in pairs:
            which = xp.reshape(better, (*better.shape, *[1] * (held.ndim - 2)))
            held[place] = xp.where(which, new, held[place])
    kinds = np.array(np.broadcast_to(found.kinds, found.size), dtype=object)
    kinds[far] = again.kinds
    return replace(found, kinds=kinds.astype(str))


def _walked(task: Task, split: Split, kinds: HostArray, heads: Callable[[int], Heads]) -> Recorded:
    """Take the systems through the layers, as many at a time as memory allows, and measure them."""
    A, H = _matrices(task, heads)
    rows = _rows(task)
    # where nothing is its own, what one system does all do
    alone = [x.shape[0] for x in (task.start, split.v, *rows)] + [A.shape[2], H.shape[2]]
    if task.tokens is not None:
        alone.append(len(task.tokens))
    size = max(alone)
    parts = []
    for part in _parts(task, size):
        go_on(task.stop)
        parts.append(_part(task, split, part, A, H, rows))

    return replace(
        together(parts, axis=0),
        methods=np.asarray([name]),
        kinds=np.atleast_1d(kinds),
        rounding=np.asarray([rounding(task.start, task.layers)]),
    )


def _matrices(task: Task, heads: Callable[[int], Heads]) -> tuple[Array, Array]:
    """All matrices of a task as (layers or 1, heads, b or 1, ., .) arrays."""
    xp, layers = namespace(task.start), [heads(layer) for layer in range(task.different)]

    def stack(side: int) -> Array:
        b = max(pair[side].shape[0] for layer in layers for pair in layer)
        wide = [
            xp.stack([xp.broadcast_to(pair[side], (b, *pair[side].shape[1:])) for pair in layer])
            for layer in layers
        ]
        return xp.stack(wide)

    return stack(0), stack(1)


def _rows(task: Task) -> list[Array]:
    """What each layer adds to every token, (b or 1, 1, d), as many as layers differ; none where none does."""
    if not task.driven:
        return []
    xp = namespace(task.start)
    nothing = xp.zeros((1, 1, task.d), dtype=task.start.dtype)
    rows = [task.drive(layer) for layer in range(task.different)]
    return [nothing if row is None else row for row in rows]


def _by_arrays(task: Task) -> bool:
    """Whether metrics are worked out of states in whole arrays: of weighted tokens, or not the kernel's."""
    return task.tokens is not None or not set(task.names) <= set(METRICS)


def _bytes(task: Task) -> tuple[float, float]:
    """What a system takes on its way, with all that is recorded of it, and measuring one state of it."""
    n, d, count, single = task.n, task.d, len(task.layers), task.precision != "float64"
    each = 8.0 * layout.flat(n, d) * (8 + 3 * COUNT) + 16.0 * count * len(task.names)
    if task.keep_states:
        each += 8.0 * count * (n * d + 1)
    if not _by_arrays(task):
        each += 8.0 * count * (3 * layout.width(n, d) + 6 * min(n, d) + _HELD)
    state = 8.0 * _STATES * (n * d + n * n) * (1 + COUNT * single)
    return each, state * (_by_arrays(task) or task.keep_states)


def _parts(task: Task, size: int) -> Iterator[slice]:
    """Cut systems so that what a piece holds fits the free memory."""
    each = sum(_bytes(task))
    free = _free()
    at_once = int(_SHARE * free // each)
    if at_once < 1:
        raise _validate.refusal(
            BackendError,
            "backend",
            f"a GPU with {free / 2**20:.0f} MiB free",
            f"{each / _SHARE / 2**20:.3g} MiB for one system of {len(task.layers)} recorded layers",
            "Record fewer layers, free memory there, or pass backend='numpy'.",
        )
    pieces = -(-size // at_once)
    for k in range(pieces):
        yield slice(size * k // pieces, size * (k + 1) // pieces)


def _free() -> int:
    import cupy

    return int(cupy.cuda.runtime.memGetInfo()[0])


def _part(task: Task, split: Split, part: slice, A: Array, H: Array, rows: Sequence[Array]) -> Recorded:
    """Metrics of some systems, (systems, layers), and their states where these are kept."""
    n, d, m = task.n, task.d, part.stop - part.start

    def own(x: Array) -> Array:
        return x if x.shape[0] == 1 else x[part, ...]

    start, cut = own(task.start), split.map(own)
    until = on_device_of(np.ascontiguousarray(np.broadcast_to(own(task.zero_until), (m, n))), start)
    A, H = (M if M.shape[2] == 1 else M[:, :, part, ...] for M in (A, H))
    by_arrays = _by_arrays(task)
    batch = Batch(
        m, n, d, A, H, until,
        numbers=not by_arrays, singular=bool(needing("singular values", task.names)),
        states=by_arrays or task.keep_states,
        drive=drive_of([own(row) for row in rows], cut) if rows else None,
    )  # fmt: skip
    weights = task.tokens_beside(start, None)
    weights = None if weights is None else own(weights)
    records = Records(task, batch, cut, weights)
    found, layers = [], task.at
    if layers[0] == 0:
        found.append(records.given(start))
        layers = layers[1:]
    if layers:
        growth = own(task.growth)
        state = started(start, cut)
        shadows = begin(state, float(np.max(growth)))
        walked = Walked(batch, state, shadows, rescaled(growth, m, state, shadows))
        each, of_state = _bytes(task)
        at_once = int((_SHARE * _free() - m * each) // (m * of_state)) if of_state else len(layers)
        written = []
        for first, last, wanted in _runs(m, n, d * A.shape[1], layers, max(1, at_once)):
            go_on(task.stop)
            out = walked.to(first, last, wanted)
            if batch.states and wanted:
                found.append(records.states(out, wanted, shadows))
            elif wanted:
                written.append(out)
        if written:
            found.append(records.numbers(written))
    return together(found, axis=1)


def _runs(
    m: int, n: int, d: int, layers: Sequence[int], at_once: int
) -> Iterator[tuple[int, int, list[int]]]:
    """Cut layers into launches: the first and the last layer of each, and which of them are recorded."""
    most, first = max(1, int(_LAUNCH // (m * 8.0 * n * d * (n + d)))), 0
    while first < layers[-1]:
        last = min(first + most, layers[-1])
        wanted = [layer for layer in layers if first < layer <= last][:at_once]
        if len(wanted) == at_once:
            last = wanted[-1]
        yield first, last, wanted
        first = last
