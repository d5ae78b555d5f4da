"""Blocks as a common vector and the differences from it, with errors that travel along by derivatives.

Tokens are c + h z, h a power of two: c their mean, or 0 where they are far apart.  The differences keep their
digits at any size, as those of :mod:`linsim._cloud` do, and so do gaps.

**Errors are measured.**  A few vectors, each of them one possible error of c and z in single precision, go
through every operation by its derivative (tangent-linear propagation), and every operation adds to them
what it rounds itself.  They share products with the tokens, need no closeness to tell how a small error
grows, and cost half of what copies in double precision do.  What is told is :data:`linsim._cloud.SAFETY`
times their root mean square.  Where an error is no longer small, differences are exactly zero, or sizes
leave the range of single precision, nothing is told, and systems go as clouds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from .. import _kernels
from .._from_tokens import FromTokens
from .._recorded import Recorded, record
from .._split import KINDS, row_split
from .._state import State
from .._types import EPS, BoolArray
from ..block import Block
from ..metrics._registry import needing
from . import blocks
from .block_parts import Map, Parts, Streams, attention_of_layer, given, weights_of_layer
from .digits import TAPE
from .protocol import Job
from .tangent_layers import Tangents
from .task import Task, go_on, placed, rounding

__all__ = ["covers", "jobs", "walk"]

# numbers that a few systems hold: more leave the cache, fewer are spent on calls
_AT_ONCE = 2**21


def covers(task: Task) -> bool:
    """Whether the blocks of a task do nothing whose derivative is not known here."""
    return (
        task.on_host
        and task.precision == "float64"
        and task.n > 1
        and not task.keep_states  # whose errors nobody tells
        and not needing("attention", task.names)
        and all(map(_differentiated, blocks.blocks_of(task.rule)))
        and _seen_again(task)
        and _kernels.ready("tangents", "float64")
    )


def _differentiated(block: Block) -> bool:
    turned = isinstance(block.A, FromTokens) and block.A.rotary is not None
    return not turned and not block.deescalation


def _seen_again(task: Task) -> bool:
    """Whether what a user's functions draw can be kept for systems that go again."""
    numbers = sum(
        (task.d * task.d if callable(block.weights) else 0) + (task.n * task.n if callable(block.A) else 0)
        for block in blocks.blocks_of(task.rule)
    )
    layers = task.last if len(blocks.blocks_of(task.rule)) == 1 else 1
    return 8 * layers * task.size * numbers <= TAPE


def jobs(task: Task) -> list[Job]:
    """Return the work on a few systems at a time."""
    return blocks.jobs(task.rule, task, walk, _AT_ONCE)


# what leaves the range of doubles is not known, and goes another way
@np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")
def walk(task: Task, parts: Callable[[int], Parts], streams: Streams) -> Recorded:
    """Go through the layers with some systems, ``task.start`` (k, n, d), and measure them."""
    x = task.start
    way = Tangents(x)
    split = placed(row_split([np.full((1, task.n, task.n), 1 / task.n)], task.d, EPS), x)

    unknown: list[BoolArray] = []

    def states() -> Iterator[State]:
        layer, before, same = 0, None, False
        weights: dict[str, Map] = {}
        for target in task.at:
            while layer < target:
                go_on(task.stop)
                own = parts(layer)
                if own is not before or not same:
                    way.single, weights = {}, {}  # room for others
                    attention = attention_of_layer(own, x, streams, layer)
                    weights = weights_of_layer(own, x, streams, layer)
                    before, same = own, given(own)
                layer += 1
                if way.known.any():
                    way.through(own, attention, weights, layer)
            state = way.state(split)
            unknown.append(
                np.zeros_like(way.known) if target == 0 else ~way.known
            )  # the input is measured as it is
            yield state

    zero = task.zero_until[:, :, None].astype(np.float64)
    error = rounding(x, task.layers)
    tokens = task.tokens_beside(x)
    found = record(
        states(), task.at, task.names, x, zero, task.keep_states, "iterate", KINDS[0], error, tokens
    )
    nothing = np.stack(unknown, axis=-1)
    errors = {name: np.where(nothing, np.inf, told) for name, told in found.errors.items()}
    return replace(found, errors=errors)
