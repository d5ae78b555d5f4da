"""Layer by layer in a compiled kernel, cut along the dominant modes: every metric, of NumPy arrays.

What :mod:`.matrices` does with whole arrays, :mod:`linsim._kernels.shadows` does for one system after
the other: parts of the state, their errors, both rescaled.  Recorded layers are measured together.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np

from .. import _kernels
from .._parallel import ahead, workers
from .._recorded import Recorded
from .._shadow import BUDGET
from .._split import KINDS
from .._state import Split, State
from .._types import HostArray
from ..metrics._registry import needing
from ..rules import RandomWeights
from . import draws, probed
from .affine import drives
from .compiled_parts import Group, groups_of, measured, walker
from .lanes import not_compiled, stacks
from .matrices import blunt, gentle, plain_split, split_of, told_apart, walked_heads
from .protocol import Job
from .task import Task, rounding

__all__ = ["about", "covers", "jobs", "kernels", "name", "operations", "worthwhile"]

name = "parts"
about = "compiled: layer by layer, along the dominant modes; every metric"
kernels = "parts"

# below so many operations another thread costs more than it gains
_WORTH_IT = 3e6
# numbers of the states of a job
_JOB = 2**17
# numbers of states that are kept for errors that follow them
_KEPT = 2**22
# operations of a single job from which on states are measured while another thread goes on, in so many stages
_OVERLAP, _STAGES = 1e8, 4


def covers(task: Task) -> str:
    """Return what the kernel cannot do of a task, "" if it does all."""
    if task.rule.moves_by == "draws":
        if reason := draws.not_compiled(task):
            return reason
    elif reason := not_compiled(task):
        return reason
    if looking := needing("attention", task.names):
        return f"{', '.join(looking)}: attention stays in the kernel"
    if task.rule.moves_by == "draws":
        return ""
    grows = float(np.max(task.growth)) > BUDGET
    return f"layers that enlarge entries by more than 2^{BUDGET:.0f}" if grows else ""


def worthwhile(task: Task) -> str:
    """The fastest way to gaps, layer by layer."""
    return "metrics that need the dominant modes kept apart"


def operations(task: Task) -> float:
    """Products of a layer, on the state and its three shadows, and singular values of what is recorded."""
    n, d = task.n, task.d
    heads = 1 if task.rule.moves_by == "draws" else len(task.rule.checked_heads(0))
    return task.size * (
        4 * task.last * heads * 2.0 * n * d * (n + d) + len(task.layers) * 20.0 * n * d * min(n, d)
    )


def jobs(task: Task) -> list[Job]:
    """Return the work in pieces of a few systems."""
    from .._kernels.shadows import walk

    size = task.size
    _kernels.announce(walk, task.start.dtype)
    if task.rule.moves_by == "draws":
        return draws.jobs(cast(RandomWeights, task.rule), task, compiled=True)
    heads, equal = walked_heads(task)
    A, H = (_kernels.frozen(x) for x in stacks(task, heads))
    several = any(M.shape[0] > 1 for M in (A[0, 0], H[0, 0], task.start))
    several = several or any(len(row) > 1 for row in drives(task))

    def run(first: int, last: int) -> Recorded:
        part, m, layers = slice(first, last), last - first, task.layers

        def own(M: HostArray) -> HostArray:
            return M if M.shape[0] == 1 else M[part]

        here, until = own(task.start), np.broadcast_to(task.zero_until, (size, task.n))[part, :, None]
        weights = task.tokens_beside(here, part)
        names, keep, error = task.names, task.keep_states, rounding(here, layers)

        def recorded(walked: Iterable[Group], which: HostArray, kinds: HostArray) -> Recorded:
            own_weights = None if weights is None else _some(weights, which)
            there = _some(here, which)
            return measured(walked, there, layers, names, until[which], keep, kinds, error, own_weights)

        def along(which: HostArray, split: Split, kinds: HostArray) -> Recorded:
            """Some of the systems, cut as told, with errors that travel along."""
            walked = _walked(task, _some(here, which), split, A, H, which + first, overlap)
            return recorded(walked, which, kinds)

        def by_modes(which: HostArray) -> Recorded:
            """Some of the systems, cut along their modes where that is better."""

            def among(M: HostArray) -> HostArray:
                return _some(own(M), which)

            split, kinds, enlarged = split_of(task, among, heads, equal)
            found = along(which, *gentle(task, split, kinds, enlarged, among, heads))
            rough = blunt(found, enlarged, task.precision)
            far = np.flatnonzero(functools.reduce(np.logical_or, rough.values(), np.zeros(len(which), bool)))
            if not far.size:
                return found
            split, kinds = split.map(lambda x: _some(x, far)), _some(kinds, far)
            return told_apart(found, _among(len(which), far, along(which[far], split, kinds)), rough)

        def by_probe(split: Split, kinds: HostArray) -> tuple[Recorded, HostArray]:
            """All of the systems, cut along their means, and for which of them that is too rough."""
            every, relative = np.arange(m), np.zeros((m, len(layers)))
            which = (task, split, A, H, every + first, relative)
            if probed.small(task):
                at_once = None if overlap or keep or weights is not None else probed.together(*which, until)
                if at_once is not None:
                    found = Recorded(
                        *at_once, np.array(["parts"]), kinds, np.array([error]), {"lapack": 0}, m
                    )
                else:
                    walked = probed.walked(*which, _STAGES if overlap else 1)
                    found = recorded(ahead(walked) if overlap else walked, every, kinds)
            else:
                threads = workers() if pieces == 1 else 1
                found = probed.large(*which, recorded([], every, kinds), until, threads)
            values, errors = (np.array([x[name] for name in names]) for x in (found.values, found.errors))
            return found, probed.rough(values, errors, names, relative)

        if not probed.covers(task):
            return by_modes(np.arange(m))
        found, rough = by_probe(plain_split(task, own, heads), np.asarray([KINDS[0]]))
        far = np.flatnonzero(rough)
        if not far.size:
            return found
        return told_apart(found, _among(m, far, by_modes(far)), dict.fromkeys(names, rough))

    pieces, work = 1, operations(task)
    if several and work > _WORTH_IT:
        pieces = min(size, workers() * max(1, round(size * task.n * task.d / (_JOB * workers()))))
    overlap = pieces == 1 and workers() > 1 and (work if several else work / size) > _OVERLAP
    if not several:
        return [Job(slice(0, size), functools.partial(run, 0, 1))]
    edges = [size * k // pieces for k in range(pieces + 1)]
    return [Job(slice(a, b), functools.partial(run, a, b)) for a, b in itertools.pairwise(edges)]


def _some(x: HostArray, which: HostArray) -> HostArray:
    return x if x.shape[0] == 1 else x[which]


def _among(m: int, far: HostArray, found: Recorded) -> Recorded:
    """What was found of some of m systems, with infinite errors for the others."""

    def spread(x: HostArray | None, fill: float) -> Any:
        if x is None:
            return None
        out = np.full((m, *x.shape[1:]), fill, dtype=x.dtype)
        out[far] = x
        return out

    kinds = np.empty(m, dtype=found.kinds.dtype)
    kinds[far] = found.kinds
    return replace(
        found,
        kinds=kinds,
        values={metric: spread(x, 0.0) for metric, x in found.values.items()},
        errors={metric: spread(x, np.inf) for metric, x in found.errors.items()},
        size=m,
        states=spread(found.states, 0.0),
        log_scale=spread(found.log_scale, 0.0),
    )


def _walked(
    task: Task,
    here: HostArray,
    split: Split,
    A: HostArray,
    H: HostArray,
    numbers: HostArray,
    overlap: bool,
) -> Iterator[Group]:
    """Take some systems of a task, whose tokens are ``here``, through the layers; yield states of them.

    ``numbers``: which of the systems of A and H they are; ``overlap``: whether another thread goes on while
    states are measured.
    """
    layers = task.layers
    growth = np.broadcast_to(task.growth, task.size)[numbers]
    rows = [_some(row, numbers) for row in drives(task)]
    through, apart = walker(here, split, growth, rows, task.stop)
    skipped = int(layers[0] == 0)  # tokens are measured as they are given
    stages = _STAGES if overlap else 1

    groups = list(groups_of(len(numbers), layers[skipped:], task.n * task.d, stages))

    def at(places: slice) -> slice:
        return slice(places.start + skipped, places.stop + skipped)

    def behind() -> Iterator[tuple[slice, slice, Callable[[], State]]]:
        for some, places, wanted, layer in groups:
            yield some, at(places), apart(A, H, numbers, some, layer, wanted)

    most = max((int(wanted[-1]) - layer for _, _, wanted, layer in groups), default=0)

    def each() -> Iterator[Group]:
        # a group of layers takes its errors along while the next one's states are found
        if overlap and len(numbers) == 1 and most * task.n * task.d <= _KEPT:
            for some, places, finished in ahead(behind()):
                yield some, places, finished()
            return
        for some, places, wanted, layer in groups:
            yield some, at(places), through(A, H, numbers, some, layer, wanted)

    yield from ahead(each()) if overlap else each()
