"""Plain numbers of recorded layers, measured several layers at a time, with what rounding made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np

from .._namespace import Array, biggest, exponent_of, namespace, smallest, squares
from .._recorded import Recorded
from .._split import KINDS
from .._state import State, log2, plain_state, scaled, shifted
from .._types import EPS
from ..metrics._evaluate import evaluate
from ..metrics._metric import Layer, Measured
from ..metrics._plainly import plainly
from .task import Task, rounding

__all__ = ["SAFETY", "TOGETHER", "Recorder"]

#: with which 99.9 percent of errors are below what is told, in each family of blocks of tests/reliability.py
SAFETY = 32.0
# tokens, what a copy of them is off by, how many times the error that is
_Layer = tuple[Array, Array, Array]
# values and errors by metric, (layers, k), and the states with their exponents
_Measured = tuple[dict[str, Array], dict[str, Array], tuple[Array, Array] | None]
#: numbers of recorded states that are measured together
TOGETHER = 2**16


class Recorder:
    """Collects recorded layers until they are worth measuring together, on ``threads``."""

    def __init__(self, task: Task, each: Callable[..., Iterable[_Measured]] = map, threads: int = 1) -> None:
        self.task, self.each, self.threads = task, each, threads
        self.held: list[_Layer] = []
        self.measured: list[_Measured] = []
        self.tokens = task.tokens_beside(task.start)
        self.first = task.at[0] == 0

    def see(self, x: Array, off: Array, factor: Array) -> None:
        """Record the tokens (k, n, d) of the next layer, their error times ``factor`` (k, 1, 1)."""
        self.held.append((x, 0 * off if self.first else off, factor))  # the input has none
        self.first = False
        self._measure_some()

    def see_several(self, x: Array, off: Array, factor: Array) -> None:
        """The same for several layers at once, (layers, k, n, d) and (layers, k); of the input off is 0."""
        n, d = x.shape[-2:]
        self.held.append((x.reshape(-1, n, d), off.reshape(-1, n, d), factor.reshape(-1, 1, 1)))
        self._measure_some()

    def _measure_some(self) -> None:
        if sum(x.size for x, *_ in self.held) > TOGETHER and len(self.held) >= self.threads:
            self._measure_all()

    def _measure_all(self) -> None:
        count = len(self.held)
        edges = [count * i // self.threads for i in range(self.threads + 1)]
        groups = [self.held[a:b] for a, b in pairwise(edges) if b > a]
        self.measured += self.each(self._measure, groups)
        self.held = []

    def _measure(self, held: list[_Layer]) -> _Measured:
        xp, names = namespace(self.task.start), list(self.task.names)
        k = self.task.size
        x, off, factor = (xp.concat([one[which] for one in held]) for which in (0, 1, 2))
        count = x.shape[0] // k
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

        def by_layer(values: Array) -> Array:
            return xp.reshape(xp.broadcast_to(values, (count * k, 1, 1)), (count, k))

        values = {name: by_layer(found[name].value) for name in names}
        errors = {}
        for name in names:
            told = found[name].error
            told = xp.where(known & ~xp.isnan(told), told, xp.full_like(e, xp.inf))
            errors[name] = by_layer(told)
        if not self.task.keep_states:
            return values, errors, None
        return values, errors, (xp.reshape(x, (count, k, *x.shape[1:])), xp.reshape(e * _LN2, (count, k)))

    def found(self, name: str) -> Recorded:
        """Return what was recorded, by the engine ``name``."""
        if self.held:
            self._measure_all()
        task, xp = self.task, namespace(self.task.start)

        def joined(parts: Iterable[Array]) -> Array:
            return xp.matrix_transpose(xp.concat(list(parts), axis=0))

        states = log_scale = None
        if task.keep_states:
            kept = [state for *_, state in self.measured if state is not None]
            states = xp.permute_dims(xp.concat([x for x, _ in kept]), (1, 0, 2, 3))
            log_scale = joined(e for _, e in kept)
        return Recorded(
            {metric: joined(values[metric] for values, _, _ in self.measured) for metric in task.names},
            {metric: joined(errors[metric] for _, errors, _ in self.measured) for metric in task.names},
            np.asarray([name]),
            np.asarray([KINDS[0]]),
            np.asarray([rounding(task.start, task.layers)]),
            {},
            task.size,
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
