"""Blocks on plain numbers, as a network runs them: for plain metrics, which see no difference below rounding.

**Errors are measured.**  Beside its tokens a system carries the error that rounding has made of them,
one vector for each: a copy of the tokens that is off by a multiple of it goes through the layers
as well, and what it is off by behind the layer, plus a rounding of every entry, is the error from there on.
The multiple keeps the copy close, so that the error grows as a small one does.  One vector knows the
error to a factor: what is reported is :data:`SAFETY` times as large.  Systems with values that are then
not known well enough go layer by layer as centre and differences after all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from .. import _plain_layers
from .._namespace import Array, biggest, exponent_of, namespace, on_device_of, smallest, squares
from .._recorded import Recorded
from .._split import KINDS
from .._state import State, log2, plain_state, scaled, shifted
from .._types import EPS
from ..metrics._evaluate import evaluate
from ..metrics._metric import Layer, Measured, is_logarithm
from ..metrics._plainly import plainly
from ..metrics._registry import needing
from . import blocks
from .block_parts import Parts, Streams, attention_of_layer, given, weights_of_layer
from .block_step import step
from .protocol import Job
from .task import Task, go_on, rounding

__all__ = ["SAFETY", "about", "covers", "jobs", "kernels", "name", "operations", "worthwhile"]

name = "forward"
about = "blocks on plain numbers, as a network runs them; plain metrics"
kernels = ""

#: with which 99.9 percent of errors are below what is told, in each family of blocks of tests/reliability.py
SAFETY = 32.0
# entries of a copy are off by this much, or by the error itself where it is larger
_CLOSE = 2.0**-22
# beyond this share of its token an enlarged error no longer grows as a small one does
_FAR = 2.0**-6
# numbers of recorded states that are measured together
_TOGETHER = 2**16


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
    return blocks.jobs(task.rule, task, first=walk)


# what leaves the range of doubles is not known, and goes another way
@np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")
def walk(task: Task, parts: Callable[[int], Parts], streams: Streams) -> Recorded:
    """Go through the layers with some systems, ``task.start`` (k, n, d), and measure them."""
    xp = namespace(task.start)
    recorder = _Recorder(task)
    x = xp.astype(task.start, xp.float64, copy=False)
    copy = _Copy(x)
    layer, before, same = 0, None, False
    for target in task.at:
        while layer < target:
            go_on(task.stop)
            own = parts(layer)
            if own is not before or not same:
                attention = attention_of_layer(own, x, streams, layer)
                weights = weights_of_layer(own, x, streams, layer)
                before, same = own, given(own)
            layer += 1
            both = step(copy.beside(x), own, attention, weights, copy, layer)
            x = both[0, ...]
            copy.moved(x, both[1, ...])
        recorder.see(x, copy)
    return recorder.found()


class _Copy:
    """Where rounding might have left the tokens instead, ``off`` times ``factor`` (k, 1, 1) as far away.

    It goes through every layer: one that is left out may be what enlarges rounding at once.  A layer is
    computed with it (``block_step.Arithmetic``), for what is taken away from tokens within a layer may leave
    nothing but their rounding, after a norm that has hidden what the copy was off by.
    """

    def __init__(self, x: Array) -> None:
        xp, (k, n, d) = namespace(x), x.shape
        self.numbers = xp.reshape(on_device_of(_normal(n * d), x), (n, d))
        self.factor = xp.full((k, 1, 1), _CLOSE / EPS, dtype=xp.float64, device=x.device)
        self.off = (self.factor * self.numbers) * xp.abs(x)

    def beside(self, x: Array) -> Array:
        """Return the tokens and their copy, (2, k, n, d), to go through a layer."""
        xp = namespace(x)
        # a token that is zero is one: then its error is as large
        share = squares(self.off) / (squares(x) + 1e-300)
        if not biggest(share) < 2.0**12 * _CLOSE**2:
            share = xp.sqrt(xp.max(share, axis=-1))
            # close enough to tell how a small error grows, but not closer than the error itself
            less = xp.where(share > 2.0**6 * _CLOSE, _CLOSE / share, xp.ones_like(share))
            less = xp.maximum(less, 1 / self.factor[:, 0, 0])
            less = xp.where(
                share < _FAR, less, xp.full_like(less, xp.nan)
            )  # it no longer grew as a small one
            less = less[:, None, None]
            self.off, self.factor = less * self.off, less * self.factor
        if xp is not np:
            return xp.stack([x, x + self.off])
        both = np.empty((2, *x.shape))
        both[0] = x
        np.add(x, self.off, out=both[1])
        return both

    def moved(self, x: Array, copy: Array) -> None:
        """Follow the tokens and their copy to where they are now, and add what the layer rounds."""
        self.numbers = self.numbers[::-1, ::-1]  # others than before
        self.off = copy - x
        self.off += self._rounding(x)

    def _rounding(self, x: Array) -> Array:
        """What entries of the size of x round, enlarged."""
        return (self.factor * self.numbers) * namespace(x).abs(x)

    def deescalated(self, x: Array, step: Any, strength: Array | None, layer: int) -> Array:
        """Take away some of what all tokens share, of tokens and their copies."""
        x[1, ...] += self._rounding(x[0, ...])
        return _plain_layers.deescalated(x, step, strength, layer)

    # what else a layer does to tokens: the same to both
    linear = staticmethod(_plain_layers.linear)
    norm = staticmethod(_plain_layers.norm)
    attend = staticmethod(_plain_layers.attend)
    sum_of_heads = staticmethod(_plain_layers.sum_of_heads)
    add = staticmethod(_plain_layers.add)
    stretch = staticmethod(_plain_layers.stretch)
    features_scaled = staticmethod(_plain_layers.features_scaled)
    activate = staticmethod(_plain_layers.activate)
    product = staticmethod(_plain_layers.product)


@functools.lru_cache(maxsize=8)
def _normal(count: int) -> np.ndarray[Any, Any]:
    out = EPS * np.random.default_rng(2**31 - 1).standard_normal(count)
    out.setflags(write=False)
    return out


class _Recorder:
    """Collects recorded layers until they are worth measuring together."""

    def __init__(self, task: Task) -> None:
        self.task, self.held = task, list[tuple[Array, Array, Array]]()
        self.values: dict[str, list[Array]] = {name: [] for name in task.names}
        self.errors: dict[str, list[Array]] = {name: [] for name in task.names}
        self.states: list[tuple[Array, Array]] = []
        self.tokens = task.tokens_beside(task.start)
        self.first = task.at[0] == 0

    def see(self, x: Array, copy: _Copy) -> None:
        """Record the tokens (k, n, d) of the next layer with their error; of the input there is none."""
        self.held.append((x, 0 * copy.off if self.first else copy.off, copy.factor))
        self.first = False
        if len(self.held) * x.size > _TOGETHER:
            self._measure()

    def _measure(self) -> None:
        xp, held, names = namespace(self.task.start), self.held, list(self.task.names)
        k, count = self.task.size, len(held)
        x, off, factor = (xp.concat([one[which] for one in held]) for which in (0, 1, 2))
        error = off * (SAFETY / factor)
        x, error, known, e = _moderate(x, error)
        # an error that nobody knows may leave no trace in that of a metric
        known = known & xp.all(xp.isfinite(error), axis=(-1, -2), keepdims=True)
        fast = self.tokens is None and self.task.n > 1
        found = plainly(x, error, names) if fast else {}
        found = {
            name: Measured(one.value + (e * _LN2 if name == "log_norm" else 0), one.error)
            for name, one in found.items()
        }
        others = [name for name in names if name not in found]
        if others:
            tokens = self.tokens
            if tokens is not None and tokens.shape[0] > 1:
                tokens = xp.concat([tokens] * count)
            state, zero = _state(x, error)
            found |= evaluate(shifted(state, e), others, zero, Layer(None, tokens))[0]
        for name in names:
            one = found[name]
            told = xp.where(known & ~xp.isnan(one.error), one.error, xp.full_like(e, xp.inf))
            for kept, values in ((self.values, one.value), (self.errors, told)):
                kept[name].append(xp.reshape(xp.broadcast_to(values, (count * k, 1, 1)), (count, k)))
        if self.task.keep_states:
            self.states.append((xp.reshape(x, (count, k, *x.shape[1:])), xp.reshape(e * _LN2, (count, k))))
        self.held = []

    def found(self) -> Recorded:
        """Return what was recorded."""
        if self.held:
            self._measure()
        xp, k = namespace(self.task.start), self.task.size

        def joined(parts: list[Array]) -> Array:
            return xp.matrix_transpose(xp.concat(parts, axis=0))

        states = log_scale = None
        if self.states:
            states = xp.permute_dims(xp.concat([x for x, _ in self.states]), (1, 0, 2, 3))
            log_scale = joined([e for _, e in self.states])
        return Recorded(
            {name: joined(x) for name, x in self.values.items()},
            {name: joined(x) for name, x in self.errors.items()},
            np.asarray([name]),
            np.asarray([KINDS[0]]),
            np.asarray([rounding(self.task.start, self.task.layers)]),
            {},
            k,
            states,
            log_scale,
        )


_LN2 = float(np.log(2.0))


def _moderate(x: Array, error: Array) -> tuple[Array, Array, Array, Array]:
    """Return (b, n, d) tokens and errors that have squares, which systems are known, exponents taken off."""
    xp = namespace(x)
    size = squares(x)
    zero = xp.zeros((x.shape[0], 1, 1), dtype=xp.float64, device=x.device)
    if smallest(size) > 1e-100 and biggest(size) < 1e100:
        return x, error, zero == 0, zero
    top = xp.max(xp.abs(x), axis=(-1, -2), keepdims=True)
    # beyond, squares of tokens or of their parts leave the range of doubles
    there = xp.any(x != 0, axis=-1)  # a square of 0 may be one that has underflowed
    lowest = xp.min(xp.where(there, size, xp.ones_like(size)), axis=-1)[:, None, None]
    known = (lowest > 1e-200) & (top < 1e100) & (top > 0)
    x = xp.where(known, x, xp.ones_like(x))
    error = xp.where(known, error, xp.zeros_like(error))
    e = exponent_of(xp.where(known, top, xp.ones_like(top)))
    return scaled(x, -e), scaled(error, -e), known, e


def _state(x: Array, error: Array) -> tuple[State, Array]:
    """Return (b, n, d) tokens as a state with its errors, and which rows are zero."""
    xp = namespace(x)
    first = x[:, :1, :]
    y = x - first
    shift = xp.mean(y, axis=-2, keepdims=True)
    rest, centre = y - shift, first + shift
    own = EPS * float(np.sqrt(x.shape[-2]))
    mean_error = xp.mean(error, axis=-2, keepdims=True)

    def size(parts: Array) -> Array:
        return xp.sqrt(xp.sum(parts * parts, axis=(-1, -2), keepdims=True))

    noise_row = log2(size(mean_error) + EPS * size(y) + own * size(first))
    noise_rest = log2(size(error - mean_error) + own * size(y))
    rows = log2(xp.sqrt(xp.linalg.vecdot(error, error))[..., None])
    return plain_state(x, centre, rest, noise_row, noise_rest, rows), ~xp.any(x != 0, axis=-1, keepdims=True)
