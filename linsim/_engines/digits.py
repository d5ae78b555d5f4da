"""Once more with more digits, for systems with values that rounding hides though a plain loop shows them.

float32 goes in float64, float64 in pairs of doubles while that takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .._double import of as pair_of
from .._double import sliced
from .._namespace import Array, to_host
from .._recorded import Recorded, filled, missing, record
from .._split import KINDS
from ..metrics._registry import metric_of
from . import doubled
from .task import Task, go_on

__all__ = ["MORE_DIGITS", "TAPE", "Tape", "hidden", "in_pairs_of_doubles", "last_of", "with_more_digits"]

#: the most operations that are spent on more digits for values that rounding hides: some seconds
MORE_DIGITS = 1e11
#: bytes of a user's draws that are kept for a second pass, for each piece of the work
TAPE = 2**27

# goes again through the first layers (their number comes second) of some systems
_Again = Callable[[np.ndarray[Any, Any], int], Recorded]


def with_more_digits(
    task: Task,
    found: Recorded,
    in_float64: _Again | None,
    in_pairs: _Again | None,
    heads: int,
) -> Recorded:
    """Go again, with more digits, through systems with values that rounding hides and a plain loop shows."""
    counts = dict(found.fallbacks)
    wanted = hidden(found, task.allowed)
    if in_float64 is not None and task.precision == "float32" and wanted.any():
        numbers, last = np.flatnonzero(np.any(wanted, axis=-1)), last_of(wanted)
        found = filled(found, numbers, in_float64(numbers, last + 1), task.allowed)
        counts["float64"] = len(numbers)
        wanted = hidden(found, task.allowed)
    if in_pairs is not None and wanted.any():
        n, d = (int(extent) for extent in task.start.shape[-2:])
        numbers = np.flatnonzero(np.any(wanted, axis=-1))
        # the shallower first, while there is time
        last = task.layers[wanted.shape[-1] - 1 - np.argmax(wanted[numbers, ::-1], axis=-1)]
        order = np.argsort(last, kind="stable")
        spent = doubled.cost(n, d, heads, 1) * np.maximum(last[order], 1) * np.arange(1, len(order) + 1)
        if task.each is not None:  # whether one goes again may not depend on how many others do
            spent = doubled.cost(n, d, heads, 1) * np.maximum(last[order], 1) * (MORE_DIGITS / task.each)
        numbers = np.sort(numbers[order[spent <= MORE_DIGITS]])
        if numbers.size:
            again = in_pairs(numbers, last_of(wanted[numbers]) + 1)
            found = filled(found, numbers, again, task.allowed)
            counts["double-double"] = len(numbers)
    return found if counts == found.fallbacks else replace(found, fallbacks=counts)


def last_of(wanted: np.ndarray[Any, Any]) -> int:
    return int(np.flatnonzero(np.any(wanted, axis=0))[-1])


def hidden(found: Recorded, allowed: Mapping[str, float]) -> np.ndarray[Any, Any]:
    """Whether some value of a system and layer (b, k) is hidden that a plain loop may show."""
    out = np.zeros((found.size, 1), dtype=bool)
    for name, gone in zip(found.errors, to_host(missing(found, allowed)), strict=True):
        if gone.any():
            out = out | (gone & ~(to_host(found.values[name]) < metric_of(name).reach))
    return out


def in_pairs_of_doubles(task: Task, heads: Callable[[int], list[tuple[Array, Array]]]) -> Recorded:
    """The systems of a plan with pairs of doubles, on the host; ``heads``: float64 arrays of a layer."""
    x0 = to_host(task.start).astype(np.float64)
    n, d = x0.shape[-2:]
    inner = max(n, d)
    last: list[Any] = [None, None]

    def cut(layer: int) -> Any:
        go_on(task.stop)
        if task.ended(layer):
            return []
        pairs = heads(layer)
        if last[0] is not pairs:
            last[:] = pairs, []
            for A, H in pairs:
                exact = doubled.stochastic(A) if task.rule.stochastic else doubled.general(A, task.given_to)
                largest = np.max(np.abs(exact[0]), axis=-1, keepdims=True)
                last[1].append((sliced(exact, inner, -1), pair_of(H), largest))
        return last[1]

    def drive(layer: int) -> Any:
        row = None if task.rule.moves_by != "matrices" or task.ended(layer) else task.drive(layer)
        return None if row is None else to_host(row).astype(np.float64)

    walked = doubled.states(np.broadcast_to(x0, (task.size, n, d)), cut, task.at, drive)
    until = task.zero_until.astype(np.float64)[:, :, None]
    keep, tokens = task.keep_states, task.tokens_beside(x0)
    error = doubled.ROUNDING
    return record(walked, task.at, task.names, x0, until, keep, "double-double", KINDS[0], error, tokens)


class Tape:
    """What a user's samplers returned, so that a second pass sees the same matrices.

    Samplers may hold a state of their own and cannot be asked again; all else is drawn anew.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.drawn: list[np.ndarray[Any, Any]] = []

    def __call__(self, draw: Callable[[], np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """Return ``draw()``, and keep it."""
        out = draw()
        if self.complete:
            self.bytes += out.nbytes
            self.drawn.append(out)
        return out

    @property
    def complete(self) -> bool:
        """Whether all can be seen again."""
        return self.bytes <= TAPE

    def again(self, rows: np.ndarray[Any, Any]) -> Callable[[Any], np.ndarray[Any, Any]]:
        """Return what hands out the kept matrices of some of the systems, in the order they were drawn."""
        kept = iter(self.drawn)
        return lambda draw: next(kept)[rows]
