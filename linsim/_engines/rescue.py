"""Values that rounding hides though a plain loop shows them, for layers whose matrices are known beforehand.

What two of the compiled engines bound, others measure; then come float64 and pairs of doubles
(:mod:`.digits`), and for states that came out as zero rational numbers.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from .._exact import rational_sums, vanishes
from .._namespace import Array, on_device_of, to_host
from .._recorded import Recorded, filled
from .._types import HostArray
from ..metrics._registry import metric_of
from . import bands, iterate, lanes, parts
from .choose import choose, ready
from .digits import hidden, in_pairs_of_doubles, last_of, with_more_digits
from .execute import execute
from .task import Task

__all__ = ["rescued"]


def rescued(task: Task, found: Recorded) -> Recorded:
    """Go again through systems with hidden values, each time with more digits, and fill them in."""

    def in_float64(numbers: HostArray, count: int) -> Recorded:
        finer = task.picked(numbers, "float64", count)
        return execute(finer, choose(finer).engines, parallel=False)

    def in_pairs(numbers: HostArray, count: int) -> Recorded:
        finer = task.picked(numbers, "float64", count)

        @functools.cache
        def host(layer: int) -> list[tuple[Array, Array]]:
            return [(to_host(A), to_host(H)) for A, H in finer.heads(layer)]

        return in_pairs_of_doubles(finer, lambda layer: host(0 if finer.different == 1 else layer))

    compiled = np.broadcast_to((found.methods == lanes.name) | (found.methods == bands.name), found.size)
    if compiled.any():
        lost = hidden(found, task.allowed)
        numbers = np.flatnonzero(np.any(lost, axis=-1) & compiled)
        if numbers.size:
            # these bound what others measure
            finer = task.picked(numbers, count=last_of(lost[numbers]) + 1)
            measuring = parts if ready(parts, finer) else iterate
            found = filled(found, numbers, execute(finer, [measuring], parallel=False), task.allowed)
            found = replace(found, fallbacks={**found.fallbacks, "iterate": len(numbers)})
    heads = max(len(task.rule.checked_heads(layer)) for layer in range(task.different))
    return _with_zeros(task, with_more_digits(task, found, in_float64, in_pairs, heads))


def _with_zeros(task: Task, found: Recorded) -> Recorded:
    """Know of states that came out as zero whether they are: then their size has no error."""
    sizes = [name for name in found.values if metric_of(name).degree]
    if not sizes:
        return found
    zero = np.ones(1, dtype=bool)
    for name in sizes:
        nothing = to_host(found.values[name]) == metric_of(name).of_nothing
        zero = zero & nothing & (to_host(found.errors[name]) == np.inf)
    values, errors = dict(found.values), dict(found.errors)
    for system in np.flatnonzero(np.any(zero, axis=-1)):
        one = task.picked(np.asarray([system]))

        def heads(layer: int, one: Task = one) -> list[tuple[Array, Array]]:
            return [(A[0, ...], H[0, ...]) for A, H in one.heads(layer)]

        def drive(layer: int, one: Task = one) -> Array | None:
            row = one.drive(layer)
            return None if row is None else row[0, ...]

        last = int(task.layers[zero[system]][0])
        if task.rule.stochastic:
            first = vanishes(one.start[0, ...], heads, last, drive=drive)
        else:
            first = vanishes(one.start[0, ...], heads, last, rational_sums(task.given_to), drive)
        if first is None:
            continue
        for name in errors:
            # of the zero state only sizes are known, all else is no number, and that without an error
            for held, known in ((values, metric_of(name).of_nothing), (errors, 0.0)):
                host = np.array(to_host(held[name]))
                host[system, task.layers >= first] = known
                held[name] = on_device_of(host, held[name])
    return replace(found, values=values, errors=errors)
