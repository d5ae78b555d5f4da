"""Some systems on a GPU: how many fit its memory, and their way through the layers in the CUDA kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .. import _validate
from .._cuda import layout
from .._namespace import Array
from .._recorded import Recorded
from .._shadow import COUNT, begin
from .._state import Split
from .._types import HostArray
from ..errors import BackendError
from ..metrics._written import METRICS
from .device_records import Records, together
from .device_walk import Batch, Walked, rescaled
from .task import Task, go_on, started

__all__ = ["by_arrays", "free", "parts", "recorded"]

# operations of a launch: about a second on a fast card, so that nothing waits long for it
_LAUNCH = 5e12
# numbers that working out metrics holds for each state at a time, beside what the kernel wrote
_HELD = 100
# whole arrays of the size of a state, and of its pairs of tokens, that measuring one holds
_STATES = 40
# part of the free memory that a run may take
_SHARE = 0.5


def by_arrays(task: Task) -> bool:
    """Whether metrics are worked out of states in whole arrays: of weighted tokens, or not the kernel's."""
    return task.tokens is not None or not set(task.names) <= set(METRICS)


def _bytes(task: Task) -> tuple[float, float]:
    """What a system takes on its way, with all that is recorded of it, and measuring one state of it."""
    n, d, count, single = task.n, task.d, len(task.layers), task.precision != "float64"
    each = 8.0 * layout.flat(n, d) * (8 + 3 * COUNT) + 16.0 * count * len(task.names)
    if task.rule.moves_by == "draws":  # matrices of a layer, and all of them once more where they are laid
        each += 2 * 8.0 * (n * n + d * d)
    if task.keep_states:
        each += 8.0 * count * (n * d + 1)
    if not by_arrays(task):
        each += 8.0 * count * (3 * layout.width(n, d) + 6 * min(n, d) + _HELD)
    state = 8.0 * _STATES * (n * d + n * n) * (1 + COUNT * single)
    return each, state * (by_arrays(task) or task.keep_states)


def parts(task: Task, size: int) -> Iterator[slice]:
    """Cut systems so that what a piece holds fits the free memory."""
    each, there = sum(_bytes(task)), free()
    at_once = int(_SHARE * there // each)
    if at_once < 1:
        raise _validate.refusal(
            BackendError,
            "backend",
            f"a GPU with {there / 2**20:.0f} MiB free",
            f"{each / _SHARE / 2**20:.3g} MiB for one system of {len(task.layers)} recorded layers",
            "Record fewer layers, free memory there, or pass backend='numpy'.",
        )
    pieces = -(-size // at_once)
    for k in range(pieces):
        yield slice(size * k // pieces, size * (k + 1) // pieces)


def free() -> int:
    """Return how many bytes of the current device nobody holds."""
    import cupy

    return int(cupy.cuda.runtime.memGetInfo()[0])


def recorded(
    task: Task,
    batch: Batch,
    start: Array,
    split: Split,
    growth: HostArray,
    weights: Array | None,
    drawn: Callable[[int, int], tuple[Array, Array]] | None = None,
    ahead: int | None = None,
) -> Recorded:
    """Metrics of systems (systems, layers), and their states where these are kept.

    ``start`` (m or 1, n, d): their tokens; ``growth`` (m or 1,): log2 of how much a layer enlarges an entry;
    ``weights`` (m or 1, n, 1) float64 of the tokens; ``drawn``: A and H of layers from one to before another,
    as ``batch`` holds them, where these are drawn, ``ahead`` layers at a time.
    """
    m, n, d, heads = batch.m, batch.n, batch.d, batch.A.shape[1]
    records = Records(task, batch, split, weights)
    found, layers = [], task.at
    if layers[0] == 0:
        found.append(records.given(start))
        layers = layers[1:]
    if layers:
        state = started(start, split)
        shadows = begin(state, float(max(growth)))
        walked = Walked(batch, state, shadows, rescaled(growth, m, state, shadows))
        each, of_state = _bytes(task)
        at_once = int((_SHARE * free() - m * each) // (m * of_state)) if of_state else len(layers)
        most = int(_LAUNCH // (m * 8.0 * heads * n * d * (n + d)))
        written = []
        for first, last, wanted in _runs(layers, max(1, min(most, ahead or most)), max(1, at_once)):
            go_on(task.stop)
            out = walked.to(first, last, wanted, drawn(first, last) if drawn else None)
            if batch.states and wanted:
                found.append(records.states(out, wanted, shadows))
            elif wanted:
                written.append(out)
        if written:
            found.append(records.numbers(written))
    return together(found, axis=1)


def _runs(layers: Sequence[int], most: int, at_once: int) -> Iterator[tuple[int, int, list[int]]]:
    """Cut layers into launches of ``most``: the first and the last of each, and which are recorded."""
    first = 0
    while first < layers[-1]:
        last = min(first + most, layers[-1])
        wanted = [layer for layer in layers if first < layer <= last][:at_once]
        if len(wanted) == at_once:
            last = wanted[-1]
        yield first, last, wanted
        first = last
