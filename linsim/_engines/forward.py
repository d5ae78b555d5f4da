"""Blocks on plain numbers, as a network runs them: for plain metrics, which see no difference below rounding.

**Errors are measured.**  Beside its tokens a system carries the error that rounding has made of them,
one vector for each: a copy of the tokens that is off by a multiple of it goes through the layers
as well, and what it is off by behind the layer, plus a rounding of every entry, is the error from there on.
The multiple keeps the copy close, so that the error grows as a small one does.  One vector knows the
error to a factor: what is reported is :data:`SAFETY` times as large.  Systems with values that are then
not known well enough go layer by layer as centre and differences after all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from .._namespace import namespace
from .._parallel import workers
from .._recorded import Recorded
from ..metrics._metric import is_logarithm
from ..metrics._registry import needing
from . import blocks
from .block_parts import Parts, Streams, attention_of_layer, given, weights_of_layer
from .forward_error import Beside
from .forward_record import SAFETY, TOGETHER, Recorder
from .forward_shards import Shards
from .forward_small import Small, small
from .protocol import Job
from .task import Task, go_on

__all__ = ["LARGE", "SAFETY", "about", "covers", "jobs", "kernels", "name", "operations", "worthwhile"]

name = "forward"
about = "blocks on plain numbers, as a network runs them; plain metrics"
kernels = ""

#: numbers that one system holds in a layer, from which on its tokens are worth threads of their own
LARGE = 2**18


def covers(task: Task) -> str:
    """Return what stands in the way: gaps, functions of a user, single precision."""
    if task.rule.moves_by != "block":
        return f"{type(task.rule).__name__} is no Block"
    gaps = [metric for metric in task.names if is_logarithm(metric) and metric != "log_norm"]
    if gaps:
        return f"{', '.join(gaps)}: gaps are lost in plain numbers"
    if seen := needing("attention", task.names):
        return f"{', '.join(seen)}: not measured on plain numbers"
    if task.precision != "float64":
        return "float32: its errors are told apart by samples"
    steps = [one for block in blocks.blocks_of(task.rule) for one in cast(Any, block.deescalation)]
    if any(one.function for one in steps):
        return "a function of the user's within the block"
    # tokens that rounding has made all alike would be told apart by it
    similar = any(one.similarity is not None for one in steps)
    return "a similarity that is set, which enlarges rounding without bound" if similar else ""


def worthwhile(task: Task) -> str:
    """Plain numbers are the fastest way where no gap is asked for."""
    return "plain metrics of blocks need no differences of tokens kept apart"


def operations(task: Task) -> float:
    """Products of a layer for the tokens and a copy, and what measures them."""
    n, d = task.n, task.d
    numbers = max(blocks.numbers_of(block, n, d) for block in blocks.blocks_of(task.rule))
    return task.size * (
        2 * task.last * 2.0 * numbers * min(n, d) + len(task.layers) * 10.0 * n * d * min(n, d)
    )


def jobs(task: Task) -> list[Job]:
    """Return the work on chunks of systems that stay in the cache."""
    threads = workers() if task.size == 1 else 1
    return blocks.jobs(task.rule, task, first=functools.partial(walk, threads=threads))


# what leaves the range of doubles is not known, and goes another way
@np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")
def walk(task: Task, parts: Callable[[int], Parts], streams: Streams, threads: int = 1) -> Recorded:
    """Go through the layers with some systems, ``task.start`` (k, n, d), and measure them."""
    x = namespace(task.start).astype(task.start, namespace(task.start).float64, copy=False)
    if task.size == 1 and task.on_host and blocks.numbers_of(parts(0).block, task.n, task.d) > LARGE:
        with contextlib.closing(Shards(x, threads)) as shards:
            return _walked(task, parts, streams, shards, Recorder(task, shards.threads.each, threads))
    layers = min(task.last, len(blocks.blocks_of(task.rule)))  # those of one block are alike
    if layers and all(small(parts(layer), task.n, task.d) for layer in range(layers)):
        return _in_calls(task, parts, streams, Small(x), Recorder(task))
    return _walked(task, parts, streams, Beside(x), Recorder(task))


def _walked(
    task: Task, parts: Callable[[int], Parts], streams: Streams, way: Beside | Shards, recorder: Recorder
) -> Recorded:
    layer, before, same = 0, None, False
    for target in task.at:
        while layer < target:
            go_on(task.stop)
            own = parts(layer)
            if own is not before or not same:
                attention = attention_of_layer(own, task.start, streams, layer)
                weights = weights_of_layer(own, task.start, streams, layer)
                before, same = own, given(own)
            layer += 1
            way.through(own, attention, weights, layer)
        recorder.see(way.tokens, way.off, way.factor)
    return recorder.found(name)


def _in_calls(
    task: Task, parts: Callable[[int], Parts], streams: Streams, way: Small, recorder: Recorder
) -> Recorded:
    """The same where one call takes tokens through all layers that have the same matrices."""
    at, place, layer = task.at, 0, 0
    alike = len(blocks.blocks_of(task.rule)) == 1
    most = max(1, 2 * TOGETHER // (task.size * task.n * task.d))
    while place < len(at):
        go_on(task.stop)
        own = parts(layer)
        attention = attention_of_layer(own, task.start, streams, layer)
        weights = weights_of_layer(own, task.start, streams, layer)
        end = task.last if alike and given(own) else layer + 1
        while layer < end and place < len(at):
            go_on(task.stop)
            stop = min(end, layer + most)
            wanted = [one for one in at[place : place + most + 1] if one <= stop]
            layers = wanted if wanted and wanted[-1] == stop else [*wanted, stop]
            found = way.through(own, attention, weights, layers)
            if wanted:
                recorder.see_several(*(one[: len(wanted)] for one in found))
            layer, place = stop, place + len(wanted)
    return recorder.found(name)
