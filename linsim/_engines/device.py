"""Layer by layer in one CUDA kernel: a block of threads for each small system, which never leaves the chip.

What :mod:`.parts` does on a CPU: parts of the state, their errors, both rescaled, every recorded state reduced
to a few numbers where it is (:mod:`linsim._cuda`).  Metrics follow from these, for all states at once, on the
device.  CuPy arrays only; what the kernel does not take goes to :mod:`.iterate`, in whole arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import array_api_compat
import numpy as np

from .. import _validate
from .._cuda import layout
from .._cuda.launch import Uncompiled, in_one_piece, kernel, launch, room_of_a_block
from .._namespace import Array, namespace, on_device_of
from .._recorded import Recorded
from .._shadow import BUDGET, COUNT, SAFETY, Shadows, begin
from .._split import KINDS
from .._state import PARTS, Split, State, between_rescalings, norm
from .._types import HostArray
from ..errors import BackendError
from ..metrics._evaluate import as_given
from ..metrics._metric import Measured
from ..metrics._written import METRICS, of_numbers
from .lanes import METRICS as WITHOUT_MODES
from .matrices import blunt, plain_split, split_of
from .protocol import Job
from .task import Task, budget, go_on, in_batch, rounding, started

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
    try:
        walked = kernel(f"walk_{task.precision}")
        measured = kernel("walk_float64")
    except Uncompiled as error:
        everything = np.arange(task.size)
        return Recorded(
            {}, {}, np.asarray([name]), np.asarray([KINDS[0]]), np.zeros(1), {}, task.size,
            refused=np.full(task.size, f"the CUDA kernel does not compile here: {error}"), left=everything,
        )  # fmt: skip
    try:
        return _recorded(task, walked, measured)
    finally:
        import cupy

        cupy.get_default_memory_pool().free_all_blocks()


def _recorded(task: Task, walked: Any, measured: Any) -> Recorded:
    def own(M: Array) -> Array:
        return M

    if set(task.names) <= set(WITHOUT_MODES):  # no eigenvector has to be found
        split, kinds, enlarged = plain_split(task, own, task.heads), np.asarray([KINDS[0]]), np.ones(1)
    else:
        split, kinds, enlarged = split_of(task, own, task.heads)
    found = _measured(task, split, kinds, walked, measured)
    rough = blunt(found, enlarged, task.precision)
    if not any(x.any() for x in rough.values()):
        return found
    far = np.flatnonzero(functools.reduce(np.logical_or, rough.values()))
    some = task.picked(far)
    again = _measured(some, plain_split(some, own, some.heads), kinds[:1], walked, measured)
    place = on_device_of(far, task.start)
    for metric, asked in rough.items():
        values, errors = found.values[metric], found.errors[metric]
        better = (again.errors[metric] < errors[place]) & on_device_of(asked[far, None], errors)
        xp = namespace(errors)
        values[place] = xp.where(better, again.values[metric], values[place])
        errors[place] = xp.where(better, again.errors[metric], errors[place])
    return found


def _measured(task: Task, split: Split, kinds: HostArray, walked: Any, measured: Any) -> Recorded:
    """Take the systems through the layers, as many at a time as memory allows, and measure them."""
    xp = namespace(task.start)
    values: dict[str, list[Array]] = {metric: [] for metric in task.names}
    errors: dict[str, list[Array]] = {metric: [] for metric in task.names}
    A, H = _matrices(task)
    # one system for all: where nothing is its own, what one does all do
    size = max(task.start.shape[0], A.shape[1], H.shape[1], split.v.shape[0])
    for part in _parts(task, size):
        go_on(task.stop)
        for metric, one in _part(task, split, part, A, H, walked, measured).items():
            for held, x in ((values, one.value), (errors, one.error)):
                held[metric].append(xp.reshape(x, (part.stop - part.start, -1)))

    def joined(parts: list[Array]) -> Array:
        return xp.concat(parts, axis=0) if len(parts) > 1 else parts[0]

    return Recorded(
        {metric: joined(parts) for metric, parts in values.items()},
        {metric: joined(parts) for metric, parts in errors.items()},
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
    flat = layout.flat(n, d)
    each = 8.0 * count * (3 * layout.width(n, d) + 6 * min(n, d) + _HELD) + 8.0 * flat * (8 + 3 * COUNT)
    free, _ = cupy.cuda.runtime.memGetInfo()
    at_once = int(_SHARE * free // each)
    if at_once < 1:
        raise _validate.refusal(
            BackendError,
            "backend",
            f"a GPU with {free / 2**20:.0f} MiB free",
            f"{2 * each / 2**20:.0f} MiB for one system of {count} recorded layers",
            "Record fewer layers, free memory there, or pass backend='numpy'.",
        )
    pieces = -(-size // at_once)
    for k in range(pieces):
        yield slice(size * k // pieces, size * (k + 1) // pieces)


def _part(
    task: Task, split: Split, part: slice, A: Array, H: Array, walked: Any, measured: Any
) -> dict[str, Measured]:
    """Metrics of some systems, (systems * layers, 1, 1), the layers of a system beside each other."""
    n, d, m = task.n, task.d, part.stop - part.start
    start = _own(task.start, part)
    xp, names, layers = namespace(start), task.names, task.layers
    cut = split.map(lambda x: _own(x, part))
    outs: list[dict[str, Measured]] = []
    zero_until = np.broadcast_to(task.zero_until, (task.size, n))
    zero_until = zero_until[part] if m > 1 or len(task.zero_until) > 1 else task.zero_until
    until = on_device_of(np.ascontiguousarray(np.broadcast_to(zero_until, (m, n))), start)
    with_values = any("singular values" in _needs(metric) for metric in names)
    if layers[0] == 0:  # tokens are measured as they are given
        given, _ = as_given(start)
        wide = _flat(given, m)
        rows = xp.reshape(xp.broadcast_to(given.rows, (m, n, 1)), (m, n))
        numbers = _launched(
            measured, task, given, m, wide, None, xp.reshape(given.noise, (m, 5)), rows, until, A, H, part,
            [0], 0, 0, with_values, xp.ones((m, 2), dtype=xp.int64), xp.ones((m,), dtype=xp.float64), (0, True),
        )  # fmt: skip
        outs.append(_of(numbers, names, given.split, m, 1, (n, d), xp.float64))
    rest = [int(layer) for layer in layers[len(outs) :]]
    if rest:
        growth = np.broadcast_to(task.growth, task.size)[part] if task.growth.size > 1 else task.growth
        state = started(start, cut)
        shadows = begin(state, float(np.max(growth)))
        held, off = _flat(state, m), _flat(shadows.errors, m)
        every = _every(growth, m, start, shadows)
        condition = xp.astype(xp.broadcast_to(xp.reshape(shadows.condition, (-1,)), (m,)), xp.float64)
        room = _room(task)
        assert room is not None  # as covers() said
        numbers = []
        for first, last, wanted in _runs(task, m, rest):
            go_on(task.stop)
            numbers.append(
                _launched(
                    walked, task, state, m, held, (off, shadows), None, None, until, A, H, part, wanted, first,
                    last, with_values, every, condition, room,
                )
            )  # fmt: skip
        together = xp.concat(numbers, axis=1) if len(numbers) > 1 else numbers[0]
        outs.append(_of(together, names, cut, m, len(rest), (n, d), start.dtype))
    if len(outs) == 1:
        return outs[0]

    def both(one: Array, other: Array) -> Array:
        return xp.concat([xp.reshape(one, (m, -1)), xp.reshape(other, (m, -1))], axis=1)

    return {
        metric: Measured(both(outs[0][metric].value, x.value), both(outs[0][metric].error, x.error))
        for metric, x in outs[1].items()
    }


def _needs(metric: str) -> tuple[str, ...]:
    from ..metrics._registry import REGISTRY

    return tuple(REGISTRY[metric].needs)


def _own(x: Array, part: slice) -> Array:
    return x if x.shape[0] == 1 else x[part, ...]


def _runs(task: Task, m: int, layers: list[int]) -> Iterator[tuple[int, int, list[int]]]:
    """Cut layers into launches: the first layer, the last, and those of them that are recorded."""
    n, d = task.n, task.d
    at_once = max(1, int(_LAUNCH // (m * 8.0 * n * d * (n + d))))
    for first in range(0, layers[-1], at_once):
        last = min(first + at_once, layers[-1])
        yield first, last, [layer for layer in layers if first < layer <= last]


def _every(growth: HostArray, m: int, start: Array, shadows: Shadows) -> Array:
    """Layers between rescalings of the states and of their errors, (m, 2) int64."""
    xp = namespace(start)

    def between(room: float, most: int) -> HostArray:
        return np.clip(room // np.maximum(growth, 1.0), 1, most).astype(np.int64)

    both = [
        between(budget(start), between_rescalings(start, 1)),
        between(BUDGET, between_rescalings(shadows.errors.R, 1)),
    ]
    return on_device_of(np.stack([np.broadcast_to(x, m) for x in both], axis=-1).copy(), start, xp.int64)


def _flat(state: State, m: int) -> tuple[Array, Array]:
    """Parts of m states, or of the errors of m, one behind the other as kernels hold them; and exponents."""
    xp = namespace(state.R)
    lead = (m, *state.R.shape[1:-2])

    def of(x: Array) -> Array:
        x = xp.broadcast_to(x, (*lead, *x.shape[-2:]))
        return xp.reshape(x, (*lead, -1))

    parts = xp.concat([of(x) for x in (state.R, state.r, state.b, state.mean, state.a)], axis=-1)
    exponents = xp.concat([of(getattr(state, f"e_{part}")) for part in PARTS], axis=-1)
    return in_one_piece(parts), in_one_piece(exponents)


def _facts(split: Split, m: int, condition: Array) -> tuple[Array, Array]:
    """The vectors of m systems, (m, 2n + 2d), and what else kernels are told of them."""
    xp = namespace(split.v)

    def of(x: Array) -> Array:
        x = xp.broadcast_to(x, (m, *x.shape[1:]))
        return xp.reshape(xp.astype(x, xp.float64), (m, -1))

    vectors = [of(x) for x in (split.u, split.v, split.w, split.z)]
    lengths = [of(norm(x)) for x in (split.u, split.v, split.w, split.z)]
    any_mean = xp.full((m, 1), float(split.any_mean), dtype=xp.float64)
    known = {
        "lam": of(split.lam), "mu": of(split.mu), "length_u": lengths[0], "length_v": lengths[1],
        "length_w": lengths[2], "length_z": lengths[3], "condition": condition[:, None],
        "constant": of(split.constant), "coupled": of(split.coupled),
        "has_z": xp.astype(lengths[3] > 0, xp.float64), "any_mean": any_mean,
        "preserves": of(split.preserves_mean),
    }  # fmt: skip
    return xp.concat(vectors, axis=-1), xp.concat([known[fact] for fact in layout.FACTS], axis=-1)


def _launched(
    function: Any,
    task: Task,
    state: State,
    m: int,
    held: tuple[Array, Array],
    errors: tuple[tuple[Array, Array], Shadows] | None,
    noise: Array | None,
    noise_rows: Array | None,
    until: Array,
    A: Array,
    H: Array,
    part: slice,
    wanted: list[int],
    first: int,
    last: int,
    with_values: bool,
    every: Array,
    condition: Array,
    room: tuple[int, bool],
) -> Array:
    """Take m systems from one layer to another; return (m, recorded, columns).  ``held`` is changed."""
    xp, (n, d) = namespace(state.R), (task.n, task.d)
    dtype = state.R.dtype
    vectors, facts = _facts(state.split, m, condition)
    out = xp.empty((m, max(len(wanted), 1), layout.width(n, d)), dtype=xp.float64)
    bytes_, with_copies = room
    copies, patterns, off = 0, None, None
    if errors is not None:
        off, shadows = errors
        copies, patterns = COUNT, shadows
    else:
        bytes_ = layout.shared_bytes(n, d, 8, 0, False)
    nothing = xp.zeros((1,), dtype=xp.float64)
    single = xp.zeros((1,), dtype=xp.float32)

    def pattern(of: str) -> Array:
        if patterns is None:
            return single
        drawn = getattr(patterns, of)
        lead = (-1, copies) if of == "pools" else (copies,)
        each = [xp.reshape(drawn[k], (*lead, int(np.prod(drawn[k].shape[-2:])))) for k in ("R", "r", "b", "mean", "a")]
        return xp.concat(each, axis=-1)

    def of_systems(M: Array) -> Array:
        M = M if M.shape[1] == 1 else M[:, part, ...]
        return xp.astype(xp.reshape(M, (-1,)), dtype, copy=False)

    launch(
        function,
        m,
        bytes_,
        {
            "n": np.int32(n), "d": np.int32(d), "copies": np.int32(copies),
            "with_copies": np.int32(with_copies), "with_values": np.int32(with_values),
            "several_A": np.int32(A.shape[1] > 1), "several_H": np.int32(H.shape[1] > 1),
            "changing": np.int32(task.different > 1), "systems": np.int64(m), "first": np.int64(first),
            "last": np.int64(last), "recorded": np.int64(len(wanted)), "safety": np.float64(SAFETY),
            "A": of_systems(A), "H": of_systems(H), "vectors": xp.astype(vectors, dtype), "facts": facts,
            "wanted": on_device_of(np.asarray(wanted or [-1], dtype=np.int64), state.R),
            "zero_until": until, "every": every, "pool": pattern("pools"), "fixed": pattern("fixed"),
            "drift": pattern("drift"), "held": held[0], "exponents": held[1],
            "errors": single if off is None else off[0], "error_exponents": nothing if off is None else off[1],
            "noise": nothing if noise is None else noise,
            "noise_rows": nothing if noise_rows is None else noise_rows, "out": out,
        },
    )  # fmt: skip
    return out[:, : len(wanted), :]


def _of(
    numbers: Array, names: tuple[str, ...], split: Split, m: int, count: int, shape: tuple[int, int], dtype: Any
) -> dict[str, Measured]:
    """Metrics of ``count`` states of each of m systems."""
    xp = namespace(numbers)

    def each(x: Array) -> Array:
        x = xp.broadcast_to(x, (m, 1, 1))
        return xp.reshape(xp.broadcast_to(x[:, None, ...], (m, count, 1, 1)), (m * count, 1, 1))

    found = of_numbers(
        xp.reshape(numbers, (m * count, -1)), names, shape, dtype, each(norm(split.v)), each(split.constant),
        each(split.preserves_mean),
    )  # fmt: skip
    return {
        metric: Measured(*(xp.broadcast_to(x, (m * count, 1, 1)) for x in (one.value, one.error)))
        for metric, one in found.items()
    }
