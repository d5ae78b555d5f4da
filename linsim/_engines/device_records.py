"""What is made of states that went through the CUDA kernel: metrics of them, and the states themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._namespace import Array, namespace, on_device_of
from .._recorded import Recorded, kept_of
from .._shadow import Shadows
from .._state import Split, State, norm
from ..metrics._evaluate import as_given, of_tokens
from ..metrics._metric import Layer, Measured
from ..metrics._sampled import measured as measured_with_samples
from ..metrics._written import of_numbers
from .device_walk import Batch, Written, measured, state_of
from .task import Task, started

__all__ = ["Records", "together"]

_LN2 = float(np.log(2.0))


@dataclass(frozen=True, eq=False)
class Records:
    """How states of a batch are recorded: of the whole array of them at some layers at once.

    ``split``: what cuts them; ``weights`` (b or 1, n, 1) float64 of their tokens, None for all alike.  Every
    method returns what there is of (systems, layers), and leaves it to the caller who found it, and how.
    """

    task: Task
    batch: Batch
    split: Split
    weights: Array | None

    def given(self, start: Array) -> Recorded:
        """Of the tokens (b or 1, n, d) as they are given, at layer 0."""
        state, zero = as_given(start)
        if self.batch.numbers:
            numbers = measured(self.batch, state).numbers
            found = self._of_numbers(numbers, state.split, namespace(start).float64)
        else:
            found = self._placed(of_tokens(start, self.task.names, Layer(None, self.weights)), 1)
        if not self.task.keep_states:
            return self._record(found)
        return self._record(found, started(start, self.split), zero, 1)

    def numbers(self, written: Sequence[Written]) -> Recorded:
        """Of what the kernel measured in several launches."""
        several = [one.numbers for one in written]
        start = self.task.start
        return self._record(
            self._of_numbers(namespace(start).concat(several, axis=1), self.split, start.dtype)
        )

    def states(self, written: Written, layers: Sequence[int], shadows: Shadows) -> Recorded:
        """Of states at some layers that the kernel wrote, and of what it measured of them, if it did."""
        task, batch, k = self.task, self.batch, len(layers)
        state = state_of(written, self.split, task.n, task.d, shadows)
        xp = namespace(state.R)
        at = on_device_of(np.asarray(layers, dtype=np.int64)[None, :, None], batch.until)
        zero = xp.reshape(batch.until[:, None, :] >= at, (batch.m * k, task.n, 1))
        if batch.numbers:
            found = self._of_numbers(written.numbers, self.split, task.start.dtype)
        else:
            weights = self.weights
            if weights is not None and weights.shape[0] > 1:
                wide = xp.broadcast_to(weights[:, None, ...], (batch.m, k, task.n, 1))
                weights = xp.reshape(wide, (batch.m * k, task.n, 1))
            found = self._placed(measured_with_samples(state, task.names, zero, Layer(None, weights))[0], k)
        return self._record(found, state, zero, k) if task.keep_states else self._record(found)

    def _of_numbers(self, numbers: Array, split: Split, dtype: Any) -> dict[str, Measured]:
        """Metrics of what the kernel wrote of states of m systems at some layers, each (m, layers)."""
        xp, (m, count) = namespace(numbers), numbers.shape[:2]

        def each(x: Array) -> Array:
            x = xp.broadcast_to(x, (m, 1, 1))
            return xp.reshape(xp.broadcast_to(x[:, None, ...], (m, count, 1, 1)), (m * count, 1, 1))

        cut = (each(norm(split.v)), each(split.constant), each(split.preserves_mean))
        shape, flat = (self.task.n, self.task.d), xp.reshape(numbers, (m * count, -1))
        return self._placed(of_numbers(flat, self.task.names, shape, dtype, *cut), count)

    def _placed(self, found: dict[str, Measured], count: int) -> dict[str, Measured]:
        """Metrics (m count or 1, 1, 1) as (m, count)."""

        def placed(x: Array) -> Array:
            xp, m = namespace(x), self.batch.m
            # of the input, one system may stand for all
            x = xp.broadcast_to(x, (m * count, 1, 1))
            return xp.reshape(x, (m, count))

        return {metric: Measured(placed(one.value), placed(one.error)) for metric, one in found.items()}

    def _record(
        self,
        found: dict[str, Measured],
        state: State | None = None,
        zero: Array | None = None,
        count: int = 0,
    ) -> Recorded:
        states = log_scale = None
        if state is not None and zero is not None:
            xp, m = namespace(state.R), self.batch.m
            full, e = kept_of(state, zero)
            full = xp.broadcast_to(full, (m * count, *full.shape[1:]))
            states = xp.reshape(full, (m, count, *full.shape[1:]))
            log_scale = xp.reshape(xp.broadcast_to(e * _LN2, (m * count, 1, 1)), (m, count))
        return Recorded(
            {metric: one.value for metric, one in found.items()},
            {metric: one.error for metric, one in found.items()},
            np.asarray([""]), np.asarray([""]), np.zeros(1), {}, self.batch.m, states, log_scale,
        )  # fmt: skip


def together(parts: Sequence[Recorded], axis: int) -> Recorded:
    """One after the other, by system (axis 0) or by layer (1)."""
    first = parts[0]
    xp = namespace(next(iter(first.values.values())))
    states = log_scale = None
    if first.states is not None:
        states, log_scale = (
            xp.concat([getattr(x, k) for x in parts], axis=axis) for k in ("states", "log_scale")
        )

    def each(name: str) -> Any:
        own = [getattr(x, name) for x in parts]
        if axis == 1 or all(len(x) == 1 for x in own):
            return own[0]
        return np.concatenate([np.broadcast_to(x, part.size) for x, part in zip(own, parts, strict=True)])

    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.fallbacks)
    return Recorded(
        {metric: xp.concat([x.values[metric] for x in parts], axis=axis) for metric in first.values},
        {metric: xp.concat([x.errors[metric] for x in parts], axis=axis) for metric in first.errors},
        each("methods"),
        each("kinds"),
        each("rounding"),
        dict(counts),
        sum(x.size for x in parts) if axis == 0 else first.size,
        states,
        log_scale,
    )
