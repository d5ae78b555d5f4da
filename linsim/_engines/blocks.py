"""Layer by layer through Transformer blocks, tokens as a centre and the differences from it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from .. import _draws
from .._attend import Projections
from .._cloud import Cloud, copies_for, gather, regroup
from .._cloud_attention import attention_of
from .._cloud_state import state_of
from .._cloud_tamed import tamed
from .._namespace import Array, namespace, on_device_of
from .._parallel import pieces
from .._recorded import Recorded, filled, record
from .._rule import Rule
from .._split import KINDS, row_split
from .._state import scaled
from ..block import Block
from . import block_clouds
from ._ahead import kept
from .block_parts import Parts, Streams, attention_of_layer, parts_of, weights_of_layer
from .block_step import Arithmetic, normed, step
from .digits import Tape, hidden, last_of, with_more_digits
from .protocol import Job
from .task import Task, go_on, placed, rounding, rows_of, scale

__all__ = ["blocks_of", "clouds", "jobs", "numbers_of"]

# numbers that stay in the cache of a core
_CACHED = 2**17
_OPS = cast(Arithmetic[Cloud], sys.modules[block_clouds.__name__])


def blocks_of(rule: Rule) -> list[Block]:
    """Return the blocks of a rule: of each layer its own, or one for all."""
    return [cast(Block, one) for one in getattr(rule, "rules", [rule])]


#: goes with some systems through the layers on plain numbers
First = Callable[[Task, Callable[[int], Parts], Streams], Recorded]


def jobs(rule: Rule, task: Task, first: First | None = None, at_once: int = 0) -> list[Job]:
    """Return the work on chunks of systems through Transformer blocks.

    With ``first`` only systems that it cannot tell enough of go as clouds; it gets those of about
    ``at_once`` numbers at a time.
    """
    xp, start, size = namespace(task.start), task.start, task.size
    n, d = task.n, task.d
    every_key = _draws.keys(task.rng, size)
    blocks = blocks_of(rule)
    given = {id(block): parts_of(block, task) for block in blocks}
    every = xp.broadcast_to(start, (size, n, d))
    at = task.at
    hooks = any(one.function is not None for block in blocks for one in cast(Any, block.deescalation))

    def run(part: slice) -> Recorded:
        keys, tape = every_key[part], Tape()
        here = replace(task, start=every[part, ...], numbers=np.arange(size)[part])

        def placed_parts(begin: Array, rows: Any) -> Callable[[int], Parts]:
            own = {key: place(part, rows, begin) for key, place in given.items()}
            return lambda layer: own[id(blocks[layer if len(blocks) > 1 else 0])]

        def walk(begin: Array, count: int, rows: Any, see: Any) -> Recorded:
            parts = placed_parts(begin, rows)
            split = row_split([np.full((1, n, n), 1 / n)], d, float(xp.finfo(begin.dtype).eps))
            split = placed(split, begin)
            half, top = scale(begin)
            cloud = gather(scaled(scaled(begin, half), -top - half), top)
            drawing = Streams(keys[rows], task.precision, see)
            moved = clouds(cloud, parts, drawing, at[:count], lambda: go_on(task.stop), task.ended)
            walked = (state_of(current, split) for current in moved)
            zero = on_device_of(here.zero_until[rows][:, :, None].astype(np.float64), begin)
            keep = task.keep_states
            error = rounding(begin, task.layers)
            tokens, names = here.tokens_beside(begin, rows), task.names
            return record(walked, at[:count], names, begin, zero, keep, "iterate", KINDS[0], error, tokens)

        every_row = np.arange(part.stop - part.start)
        if first is not None:
            drawing = Streams(keys, task.precision, tape)
            found = first(here, placed_parts(here.start, every_row), drawing)
            wanted = hidden(found, task.allowed)
            if not wanted.any() or not tape.complete:
                return found
            rows, count = np.flatnonzero(np.any(wanted, axis=-1)), last_of(wanted) + 1
            closer = walk(rows_of(here.start, rows), count, rows, tape.again(rows))
            methods = np.full(len(every_row), found.methods[0], dtype=object)
            methods[rows] = "iterate"
            found = filled(found, rows, closer, task.allowed)
            counts = {"clouds" if found.methods[0] == "iterate" else "iterate": len(rows)}
            return replace(found, methods=methods.astype(str), fallbacks=counts)
        found = walk(here.start, len(at), every_row, tape)

        def in_float64(rows: Any, count: int) -> Recorded:
            begin = xp.astype(rows_of(here.start, rows), xp.float64)
            return walk(begin, count, rows, tape.again(rows))

        # a hook was written for the dtype of the run, and may remember what it has seen
        again = in_float64 if tape.complete and not hooks else None
        return with_more_digits(here, found, again, None, 1)

    numbers = max(numbers_of(block, n, d) for block in blocks)
    parts = pieces(size, (1 + copies_for(d)) * numbers, start)
    if first is not None and namespace(start) is np:  # a few at a time
        count = min(size, max(len(parts), -(-2 * numbers * size // (at_once or _CACHED))))
        parts = [slice(size * i // count, size * (i + 1) // count) for i in range(count)]
    return [Job(part, functools.partial(run, part)) for part in parts]


def numbers_of(block: Block, n: int, d: int) -> int:
    """About how many numbers one system holds in a layer."""
    heads = block.head_count
    if block.up is not None:
        width = int(block.up.weight.shape[-1])
    else:
        width = 0 if block.feed_forward is None else 4 * d if block.width is None else block.width
    return 4 * n * d + heads * n * n + d * d + 2 * width * (n + d)


def clouds(
    start: Cloud,
    parts: Callable[[int], Parts],
    streams: Streams,
    layers: Sequence[int],
    go_on: Callable[[], None],
    ended: Callable[[int], bool] = lambda layer: False,
) -> Iterator[Cloud]:
    """Yield the tokens at each of the sorted ``layers``; ``go_on`` raises to end the work.

    Each cloud knows the attention that it goes into, for which is drawn ahead of its layer;
    there is none behind the last layer of rules that have ``ended``.
    """
    cloud, layer = start, 0
    like = start.rest[: start.k, ...]
    drawn = kept(lambda layer: attention_of_layer(parts(layer), like, streams, layer))
    for target in layers:
        while layer < target:
            go_on()
            drawn_now = drawn(layer)
            weights = weights_of_layer(parts(layer), like, streams, layer)
            moved = step(cloud, parts(layer), drawn_now, weights, _OPS, layer + 1)
            # behind a norm tokens have their mean for a centre
            moved = moved if parts(layer).block.norm == "post" else regroup(moved)
            layer += 1
            cloud = tamed(moved, loosen=True)
        looks = None if ended(layer) else functools.partial(_attention, cloud, parts, drawn, layer)
        yield replace(cloud, attention=looks)


def _attention(
    x: Cloud, parts: Callable[[int], Parts], drawn: Callable[[int], Any], layer: int
) -> list[Array]:
    """Return what the layer after ``layer`` looks at the tokens with."""
    now, own = drawn(layer), parts(layer)
    if isinstance(now, Projections):
        return attention_of(normed(x, own, _OPS) if own.block.norm == "pre" else x, now)
    heads = own.block.head_count
    return [now[:, h if now.shape[1] > 1 else 0, ...] for h in range(heads)]
