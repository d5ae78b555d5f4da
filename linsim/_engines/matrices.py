"""Layer by layer on whole arrays, cut along the dominant modes: matrices that are known beforehand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._namespace import Array, namespace, on_device_of, to_host
from .._parallel import pieces
from .._recorded import Recorded, missing, record, sharper
from .._split import KINDS, choose_split, row_split
from .._state import Split
from . import steps
from .protocol import Job
from .task import Task, budget, eps_of, go_on, placed, rounding, started

__all__ = ["ENLARGED", "blunt", "jobs", "split_of", "told_apart"]

# vectors far from orthogonal cost digits of what does not need them: where a cut enlarges roundings by more
# than this, and some error is more than FINE, systems are cut along the mean alone as well
ENLARGED = 20.0
FINE = {"float64": 1e-9, "float32": 1e-5}


def jobs(task: Task) -> list[Job]:
    """Return the work, in any array library."""
    start, growth, n, d = task.start, task.growth, task.n, task.d
    heads = functools.cache(task.heads)  # every matrix moves once
    repeats = task.different == 1
    error = rounding(start, task.layers)
    bits = budget(start)
    until = on_device_of(task.zero_until[:, :, None].astype(np.float64), start)

    def run(part: slice) -> Recorded:
        def own(M: Array) -> Array:
            return M if M.shape[0] == 1 else M[part, ...]

        here = own(start)
        split, kinds, enlarged = split_of(task, own)
        pace = float(np.max(growth if growth.size == 1 else growth[part]))

        @functools.cache
        def matrices(layer: int) -> Sequence[tuple[Array, Array]]:
            return [(own(A), own(H)) for A, H in heads(layer)]

        def asked(layer: int) -> Sequence[tuple[Array, Array]]:
            go_on(task.stop)
            return [] if task.ended(layer) else matrices(0 if repeats else layer)

        def walk(split: Split) -> Recorded:
            walked = steps.states(started(here, split), asked, task.at, pace, bits)
            keep = task.keep_states
            return record(walked, task.at, task.names, here, own(until), keep, "iterate", kinds, error)

        found = walk(split)
        rough = blunt(found, enlarged, task.precision)
        if not any(x.any() for x in rough.values()):
            return found
        plain = row_split([to_host(own(A)).astype(np.float64) for A, _ in heads(0)], d, eps_of(here))
        return told_apart(found, walk(placed(plain, here)), rough)

    parts = [slice(0, task.size)]
    if any(M.shape[0] > 1 for pair in heads(0) for M in pair) or start.shape[0] > 1:
        parts = pieces(task.size, 6 * n * d + 2 * n * n + 2 * d * d, start)
    return [Job(part, functools.partial(run, part)) for part in parts]


def blunt(found: Recorded, enlarged: np.ndarray[Any, Any], dtype: str) -> dict[str, np.ndarray[Any, Any]]:
    """Of which systems another cut may measure a metric better by as much as anyone would see, (b,) bool."""
    if float(np.max(enlarged)) <= ENLARGED:
        return {}
    gone = missing(found, dict.fromkeys(found.errors, FINE[dtype]))
    return {name: np.any(to_host(x), axis=-1) & (enlarged > ENLARGED) for name, x in gone.items()}


def told_apart(found: Recorded, other: Recorded, rough: dict[str, np.ndarray[Any, Any]]) -> Recorded:
    """Of two ways the better one, where a metric of a system asks for it, whatever others do."""
    errors = {}
    for name, x in other.errors.items():
        xp = namespace(x)
        errors[name] = xp.where(on_device_of(rough[name][:, None], x), x, xp.full_like(x, xp.inf))
    return sharper(found, replace(other, errors=errors))


def split_of(
    task: Task, own: Callable[[Array], Array]
) -> tuple[Split, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Choose the split on the host, from the inputs where they are, and place it beside the states."""
    start, rule = task.start, task.rule
    eps = eps_of(start)

    def host(M: Array) -> np.ndarray[Any, Any]:
        return to_host(own(M)).astype(np.float64)

    if rule.single_head is not None:
        ((A, H),) = task.heads(0)
        split, kinds, enlarged = choose_split(host(A), host(H), host(start), eps)
    else:
        attentions = [host(A) for layer in range(task.different) for A, _ in task.heads(layer)]
        split, kinds = row_split(attentions, int(start.shape[-1]), eps), np.asarray([KINDS[0]])
        enlarged = np.ones(1)
    return placed(split, start), kinds, enlarged
