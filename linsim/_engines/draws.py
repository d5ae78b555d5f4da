"""Layer by layer through weights (and attention) that are drawn anew at every layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from .. import _draws, _kernels
from .._eigen import meant
from .._namespace import Array, namespace, on_device_of, to_host
from .._parallel import pieces
from .._recorded import Recorded, record
from .._shadow import BUDGET
from .._split import KINDS, row_split
from .._state import Split
from .._types import HostArray
from ..rules import RandomWeights
from . import steps
from .compiled_parts import Group, measured, walker
from .digits import Tape, in_pairs_of_doubles, with_more_digits
from .protocol import Job
from .task import SINGLE, Task, budget, go_on, placed, rounding, rows_of, started

__all__ = ["jobs", "not_compiled"]

# goes through some systems, given what cuts them and the matrices of each layer
_Through = Callable[[Task, Split, Callable[[int], Sequence[tuple[Array, Array]]]], Recorded]

# layers that are drawn before the kernel goes through them, if they take no more than so many bytes
_AHEAD, _BYTES = 16, 2**26


def not_compiled(task: Task) -> str:
    """Return why layers that are drawn cannot go through the kernels, "" if they can."""
    if not task.on_host:
        return "arrays that are not NumPy's"
    return not_taken(task) or ("" if _kernels.usable() else "numba does not work here")


def not_taken(task: Task) -> str:
    """Return why no kernel of a CPU or a GPU takes layers that are drawn, "" if they do."""
    rule = cast(RandomWeights, task.rule)
    if callable(rule.kind):
        return "weights drawn by a function, of any size"
    # entries are beyond six deviations once in 1e9 draws, and what is beyond a few bits more in none
    if float(np.max(rule.std)) * 16 * np.sqrt(task.d) > 2.0**BUDGET:
        return f"layers that may enlarge entries by more than 2^{BUDGET:.0f}"
    return ""


def jobs(
    rule: RandomWeights,
    task: Task,
    compiled: bool = False,
    through: _Through | None = None,
    parts: Sequence[slice] | None = None,
) -> list[Job]:
    """Return the work on chunks of systems, each system with its own key.

    ``compiled``: in kernels of the CPU; ``through``: by this, which is given some of the systems, what cuts
    them, and the matrices of each layer; ``parts``: the chunks, None for as many as cores like.
    """
    xp = namespace(task.start)
    precision, size = task.precision, task.size
    n, d = task.n, task.d
    every_key = _draws.keys(task.rng, size)
    std = np.broadcast_to(rule.std, task.batch).reshape(size, 1, 1)
    A = task.attention(rule.A) if rule.fixed else None
    known = [to_host(A).astype(np.float64)] if rule.fixed else [np.tril(np.ones((1, n, n)))]
    every = xp.broadcast_to(task.start, (size, n, d))
    until = np.broadcast_to(task.zero_until, (size, n))
    at = task.at

    def run(piece: slice) -> Recorded:
        every_own, tape = every_key[piece], Tape()
        fixed = A if A is None or A.shape[0] == 1 else A[piece, ...]
        here = replace(task, start=every[piece, ...], numbers=np.arange(size)[piece])

        def drawn(rows: Any, see: Any) -> Callable[[int], list[tuple[Any, Any]]]:
            keys = every_own[rows]

            def weights(layer: int) -> Any:
                own = std[piece][rows]
                return _draws.weights(rule.kind, d, own, keys, layer, "output", precision, like=here.start)

            def heads(layer: int) -> list[tuple[Any, Any]]:
                go_on(task.stop)
                attention = fixed
                if attention is None:
                    attention = see(lambda: _draws.attention(rule.A, n, keys, layer, precision))
                elif attention.shape[0] > 1:
                    attention = rows_of(attention, rows)
                W = see(lambda: weights(layer)) if callable(rule.kind) else weights(layer)
                return [(attention, W)]

            return heads

        def walk(start: Array, count: int, matrices: Any, rows: Any) -> Recorded:
            eps = float(xp.finfo(start.dtype).eps)
            split = placed(row_split(known, d, eps), start)
            split = split.map(lambda x: x if x.shape[0] == 1 else rows_of(x[piece, ...], rows))
            own_dtype = start.dtype == task.start.dtype  # all systems and layers, then
            single = start.dtype != xp.float64

            def heads(layer: int) -> Sequence[tuple[Array, Array]]:
                out = []
                for attention, W in matrices(layer):
                    attention, W = (on_device_of(M, start) for M in (attention, W))
                    if not single and precision == "float32":
                        attention = on_device_of(meant(to_host(attention).astype(np.float64), SINGLE), start)
                    out.append(tuple(xp.astype(M, start.dtype, copy=False) for M in (attention, W)))
                return out

            if through is not None and own_dtype:
                return through(here, split, heads)
            zero = on_device_of(until[piece][rows][:, :, None].astype(np.float64), start)
            keep = task.keep_states
            error = rounding(start, task.layers)
            tokens, names = here.tokens_beside(start, rows), task.names
            if compiled and own_dtype:
                groups = _walked(start, split, heads, at[:count], task.stop)
                layers = np.asarray(at[:count])
                return measured(groups, start, layers, names, zero, keep, KINDS[0], error, tokens)
            state = started(start, split)
            # every layer may use the whole budget, so every layer is rescaled
            walked = steps.states(state, heads, at[:count], budget(start), budget(start))
            return record(walked, at[:count], names, start, zero, keep, "iterate", KINDS[0], error, tokens)

        every_row = np.arange(piece.stop - piece.start)
        found = walk(here.start, len(at), drawn(every_row, tape), every_row)

        def again(rows: Any) -> Any:
            return drawn(rows, tape.again(rows))

        def in_float64(rows: Any, count: int) -> Recorded:
            start = xp.astype(rows_of(here.start, rows), xp.float64)
            return walk(start, count, again(rows), rows)

        def in_pairs(rows: Any, count: int) -> Recorded:
            matrices = again(rows)

            def heads(layer: int) -> list[tuple[Array, Array]]:
                found = [tuple(to_host(M).astype(np.float64) for M in pair) for pair in matrices(layer)]
                return [(meant(M, SINGLE), W) if precision == "float32" else (M, W) for M, W in found]

            return in_pairs_of_doubles(here.picked(rows, "float64", count), heads)

        if not tape.complete:
            return found
        return with_more_digits(here, found, in_float64, in_pairs, 1)

    if parts is None:
        parts = pieces(size, 3 * n * d + n * n + d * d, task.start)
    return [Job(part, functools.partial(run, part)) for part in parts]


def _walked(
    start: HostArray,
    split: Split,
    heads: Callable[[int], Sequence[tuple[HostArray, HostArray]]],
    layers: Sequence[int],
    stop: HostArray,
) -> Iterator[Group]:
    """Take systems through the kernels, some layers at a time as they are drawn; yield recorded states."""
    m, every, numbers = len(start), slice(0, len(start)), np.arange(len(start))
    # each layer may use the whole budget, so each is rescaled
    through = walker(start, split, np.full(m, float(budget(start))), [], stop).through
    d = start.shape[-1]
    # the errors' patterns repeat every 16 layers; weights of as many are drawn ahead where they are small
    ahead = _AHEAD if _AHEAD * m * d * d * start.itemsize <= _BYTES else 1
    for base in range(0, layers[-1], ahead):
        pairs = [heads(layer)[0] for layer in range(base, min(base + ahead, layers[-1]))]
        same = all(A is pairs[0][0] for A, _ in pairs)
        A = _kernels.frozen(np.stack([A for A, _ in (pairs[:1] if same else pairs)])[:, None])
        W = _kernels.frozen(np.stack([W for _, W in pairs])[:, None])
        shift = 0 if ahead == 1 else base
        first, last = (int(np.searchsorted(layers, base + k, "right")) for k in (0, len(pairs)))
        done = base - shift
        if first < last:
            wanted = np.asarray(layers[first:last]) - shift
            yield every, slice(first, last), through(A, W, numbers, every, done, wanted)
            done = int(wanted[-1])
        if done < base + len(pairs) - shift:
            through(A, W, numbers, every, done, np.asarray([base + len(pairs) - shift]))
