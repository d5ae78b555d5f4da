"""Layer by layer on whole arrays, cut along the dominant modes: matrices that are known beforehand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._namespace import Array, namespace, on_device_of, to_host
from .._parallel import pieces
from .._recorded import Recorded, record, sharper
from .._split import KINDS, choose_split, row_split
from .._state import Split
from . import steps
from .protocol import Job
from .task import Task, budget, eps_of, go_on, placed, rounding, started

__all__ = ["jobs"]

# a cut that enlarges roundings by more than this is measured beside a plainer one
_ENLARGED = 20.0


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
        split, kinds, enlarged = _split(task, own)
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
            tokens = task.tokens_beside(here, part)
            return record(
                walked, task.at, task.names, here, own(until), keep, "iterate", kinds, error, tokens
            )

        found = walk(split)
        if float(np.max(enlarged)) <= _ENLARGED:
            return found
        # vectors far from orthogonal cost digits of what does not need them: cut off the mean alone as well
        plain = row_split([to_host(own(A)).astype(np.float64) for A, _ in heads(0)], d, eps_of(here))
        other, xp = walk(placed(plain, here)), namespace(here)
        # of those alone: what is found of a system may not depend on the others of its batch
        far = on_device_of((enlarged > _ENLARGED)[:, None], start)
        errors = {name: xp.where(far, x, xp.full_like(x, xp.inf)) for name, x in other.errors.items()}
        return sharper(found, replace(other, errors=errors))

    parts = [slice(0, task.size)]
    if any(M.shape[0] > 1 for pair in heads(0) for M in pair) or start.shape[0] > 1:
        parts = pieces(task.size, 6 * n * d + 2 * n * n + 2 * d * d, start)
    return [Job(part, functools.partial(run, part)) for part in parts]


def _split(
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
