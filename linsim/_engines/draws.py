"""Layer by layer through weights (and attention) that are drawn anew at every layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import _draws
from .._eigen import meant
from .._namespace import Array, namespace, on_device_of, to_host
from .._parallel import pieces
from .._recorded import Recorded, record
from .._split import KINDS, row_split
from ..rules import RandomWeights
from . import steps
from .digits import Tape, in_pairs_of_doubles, with_more_digits
from .protocol import Job
from .task import SINGLE, Task, budget, go_on, placed, rounding, rows_of, started

__all__ = ["jobs"]


def jobs(rule: RandomWeights, task: Task) -> list[Job]:
    """Return the work on chunks of systems, each system with its own stream."""
    xp = namespace(task.start)
    precision, size = task.precision, task.size
    n, d = task.n, task.d
    generator = _draws.streams(task.rng, size)
    std = np.broadcast_to(rule.std, task.batch).reshape(size, 1, 1)
    A = task.attention(rule.A) if rule.fixed else None
    known = [to_host(A).astype(np.float64)] if rule.fixed else [np.tril(np.ones((1, n, n)))]
    every = xp.broadcast_to(task.start, (size, n, d))
    until = np.broadcast_to(task.zero_until, (size, n))
    at = task.at
    taped = callable(rule.kind) or not rule.fixed

    def run(piece: slice) -> Recorded:
        own, tape = _draws.piece(generator, piece), Tape(taped)
        before = _draws.copied(own)
        fixed = A if A is None or A.shape[0] == 1 else A[piece, ...]
        here = replace(task, start=every[piece, ...], numbers=np.arange(size)[piece])

        def drawn(streams: Any, rows: Any, see: Any) -> Callable[[int], list[tuple[Any, Any]]]:
            def heads(layer: int) -> list[tuple[Any, Any]]:
                go_on(task.stop)
                attention = fixed
                if attention is None:
                    attention = see(lambda: _draws.attention(rule.A, n, streams, precision))
                elif attention.shape[0] > 1:
                    attention = rows_of(attention, rows)
                W = see(lambda: _draws.weights(rule.kind, d, std[piece][rows], streams, precision))
                return [(attention, W)]

            return heads

        def walk(start: Array, count: int, matrices: Any, rows: Any) -> Recorded:
            eps = float(xp.finfo(start.dtype).eps)
            split = placed(row_split(known, d, eps), start)
            split = split.map(lambda x: x if x.shape[0] == 1 else rows_of(x[piece, ...], rows))
            single = start.dtype != xp.float64

            def heads(layer: int) -> Sequence[tuple[Array, Array]]:
                out = []
                for attention, W in matrices(layer):
                    attention, W = (on_device_of(M, start) for M in (attention, W))
                    if not single and precision == "float32":
                        attention = on_device_of(meant(to_host(attention).astype(np.float64), SINGLE), start)
                    out.append(tuple(xp.astype(M, start.dtype, copy=False) for M in (attention, W)))
                return out

            state = started(start, split)
            # every layer may use the whole budget, so every layer is rescaled
            walked = steps.states(state, heads, at[:count], budget(start), budget(start))
            zero = on_device_of(until[piece][rows][:, :, None].astype(np.float64), start)
            keep = task.keep_states
            error = rounding(start, task.layers)
            tokens, names = here.tokens_beside(start, rows), task.names
            return record(walked, at[:count], names, start, zero, keep, "iterate", KINDS[0], error, tokens)

        every_row = np.arange(piece.stop - piece.start)
        found = walk(here.start, len(at), drawn(own, every_row, tape), every_row)

        def again(rows: Any) -> Any:
            return drawn(_draws.copied(before, rows), rows, tape.again(rows))

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

    parts = pieces(size, 3 * n * d + n * n + d * d, task.start)
    return [Job(part, functools.partial(run, part)) for part in parts]
