"""Layer by layer in one CUDA kernel: a block of threads for each small system, which never leaves the chip.

What :mod:`.parts` does on a CPU: parts of the state, their errors, both rescaled, every recorded state
reduced to a few numbers where it is (:mod:`linsim._cuda`).  Metrics follow from these, for all states at
once, on the device.  Weights that a rule draws are drawn there, some layers ahead.  CuPy arrays only; what
the kernel does not take goes to :mod:`.iterate`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import array_api_compat
import numpy as np

from .._cuda import layout
from .._cuda.launch import Uncompiled, kernel, room_of_a_block
from .._namespace import Array, namespace, on_device_of
from .._recorded import Recorded
from .._shadow import BUDGET
from .._split import KINDS
from .._state import Split
from .._types import HostArray
from ..metrics._registry import needing
from ..rules import RandomWeights
from . import draws
from .device_part import by_arrays, free, parts, recorded
from .device_records import together
from .device_walk import Batch, drive_of
from .lanes import METRICS as WITHOUT_MODES
from .matrices import Heads, blunt, gentle, plain_split, split_of, walked_heads
from .protocol import Job
from .task import Task, budget, go_on, rounding

__all__ = ["about", "covers", "jobs", "kernels", "name", "operations", "worthwhile"]

name = "device"
about = "CUDA: layer by layer, a block of threads for each small system; metrics without leaving the chip"
kernels = ""

# layers that are drawn at a time, and the part of the free memory that they may take
_AHEAD, _DRAWN = 64, 0.1


def covers(task: Task) -> str:
    """Return what the kernel cannot do of a task, "" if it does all."""
    if not array_api_compat.is_cupy_array(task.start):
        return "arrays that are not CuPy's"
    if task.rule.moves_by == "draws":
        if reason := draws.not_taken(task):
            return reason
    elif task.rule.moves_by != "matrices":
        return f"{type(task.rule).__name__} has no matrices that are known beforehand"
    elif not task.alike:
        return "layers with different numbers of heads"
    if looking := needing("attention", task.names):
        return f"{', '.join(looking)}: attention stays in the kernel"
    if max(task.n, task.d) > layout.LARGEST:
        return f"n = {task.n}, d = {task.d}: one of them is above {layout.LARGEST}"
    if task.rule.moves_by == "matrices" and float(np.max(task.growth)) > BUDGET:
        return f"layers that enlarge entries by more than 2^{BUDGET:.0f}"
    enough = room_of_a_block() >= layout.LEAST
    return "" if enough else f"a block of this card has less than {layout.LEAST // 1024} KiB"


def worthwhile(task: Task) -> str:
    """The fastest way on a GPU."""
    return "systems that a block of a GPU holds"


def operations(task: Task) -> float:
    """Products of a layer, on the state and its three shadows, and singular values of what is recorded."""
    n, d = task.n, task.d
    heads = len(task.rule.checked_heads(0)) if task.rule.moves_by == "matrices" else 1
    products = 4 * task.last * heads * 2.0 * n * d * (n + d)
    return task.size * (products + len(task.layers) * 20.0 * n * d * min(n, d))


def jobs(task: Task) -> list[Job]:
    """Return the work: all of it at once, cut only where memory asks for it."""
    return [Job(slice(0, task.size), functools.partial(_run, task))]


def _run(task: Task) -> Recorded:
    try:
        kernel("walk_float64")
    except Uncompiled as error:
        refused = np.full(task.size, f"the CUDA kernel does not compile here: {error}")
        none = (np.asarray([name]), np.asarray([KINDS[0]]), np.zeros(1))
        return Recorded({}, {}, *none, {}, task.size, refused=refused, left=np.arange(task.size))
    return _drawn(task) if task.rule.moves_by == "draws" else _recorded(task)


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
    found = []
    for part in parts(task, size):
        go_on(task.stop)
        found.append(_part(task, split, part, A, H, rows))

    return _told(together(found, axis=0), kinds, task)


def _told(found: Recorded, kinds: HostArray, task: Task) -> Recorded:
    """Who found it, how systems were cut, and what layers round."""
    error = np.asarray([rounding(task.start, task.layers)])
    return replace(found, methods=np.asarray([name]), kinds=np.atleast_1d(kinds), rounding=error)


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


def _part(task: Task, split: Split, part: slice, A: Array, H: Array, rows: Sequence[Array]) -> Recorded:
    """Metrics of some systems whose matrices are known."""
    m = part.stop - part.start

    def own(x: Array) -> Array:
        return x if x.shape[0] == 1 else x[part, ...]

    start, cut = own(task.start), split.map(own)
    A, H = (M if M.shape[2] == 1 else M[:, :, part, ...] for M in (A, H))
    batch = _batch(task, m, A, H, own(task.zero_until))
    if rows:
        batch = replace(batch, drive=drive_of([own(row) for row in rows], cut))
    weights = task.tokens_beside(start, None)
    return recorded(task, batch, start, cut, own(task.growth), None if weights is None else own(weights))


def _batch(task: Task, m: int, A: Array, H: Array, until: HostArray) -> Batch:
    """So many systems of a task, with nothing added to their tokens."""
    wide = np.ascontiguousarray(np.broadcast_to(until, (m, task.n)))
    return Batch(
        m, task.n, task.d, A, H, on_device_of(wide, task.start),
        numbers=not by_arrays(task), singular=bool(needing("singular values", task.names)),
        states=by_arrays(task) or task.keep_states,
    )  # fmt: skip


def _drawn(task: Task) -> Recorded:
    """Systems whose weights are drawn at each layer, as many at a time as memory allows."""
    rule = cast(RandomWeights, task.rule)
    xp, n, d = namespace(task.start), task.n, task.d

    def through(here: Task, split: Split, heads: Callable[[int], Heads]) -> Recorded:
        m, precision = here.size, here.start.dtype

        def laid(first: int, last: int) -> tuple[Array, Array]:
            """Attention and weights of layers from one to before another, one behind the other."""
            looks, weights = [], xp.empty((last - first, 1, m, d, d), dtype=precision)
            for layer in range(first, last):
                ((attention, W),) = heads(layer)
                weights[layer - first, 0, ...] = W
                if layer == first or not rule.fixed:
                    looks.append(attention[None, ...])
            return xp.stack(looks), weights

        none = xp.zeros((1, 1, 1, 1, 1), dtype=precision)  # before the first layer
        batch = _batch(here, m, none, none, here.zero_until)
        weights = here.tokens_beside(here.start, None)
        of_layer = m * d * d + (0 if rule.fixed else m * n * n)
        ahead = max(1, int(min(_AHEAD, _DRAWN * free() / (8.0 * of_layer))))
        # each layer may use the whole range, so each is rescaled
        growth = np.full(1, float(budget(here.start)))
        found = recorded(here, batch, here.start, split, growth, weights, laid, ahead)
        return _told(found, np.asarray([KINDS[0]]), here)

    pieces = list(parts(task, task.size))
    jobs = draws.jobs(rule, task, through=through, parts=pieces)
    return together([job.run() for job in jobs], axis=0)
