"""Many layers of small systems that stay in the cache, through the kernel :mod:`linsim._kernels.walk`.

For metrics that need no more than the mean of the tokens kept apart from the
rest: then no eigenvector has to be found, and a probe tells how fast rounding
grows.  NumPy arrays only.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _kernels
from .._parallel import workers
from .._recorded import Recorded
from .._split import KINDS
from .._state import between_rescalings
from .._types import HostArray
from ..metrics._registry import REGISTRY
from .affine import drives, packed_drive, row_structure
from .protocol import Job
from .task import Task, budget

__all__ = [
    "METRICS",
    "about",
    "covers",
    "in_the_way",
    "jobs",
    "kernels",
    "name",
    "not_compiled",
    "operations",
    "pauses",
    "place_of",
    "ranks",
    "slots",
    "stacks",
    "with_lost",
    "worthwhile",
]


#: what this engine measures
METRICS = tuple(name for name, metric in REGISTRY.items() if metric.slot is not None)

# arithmetic operations in a job: about a hundredth of a second
_JOB = 1e9
# below this another thread costs more than it gains
_WORTH_IT = 3e7


name = "lanes"
about = "compiled: layer by layer, eight small systems side by side that stay in the cache"
kernels = "lanes"


def covers(task: Task) -> str:
    """Return what the kernels cannot do of a task, "" if they do all."""
    return in_the_way(task) or (
        f"n = {task.n}, d = {task.d}: one of them is above {_kernels.LARGEST}"
        if max(task.n, task.d) > _kernels.LARGEST
        else ""
    )


def not_compiled(task: Task) -> str:
    """Return what no kernel that goes layer by layer takes, "" if nothing is in the way."""
    if task.rule.moves_by != "matrices":
        return f"{type(task.rule).__name__} has no matrices that are known beforehand"
    if not task.on_host:
        return "arrays that are not NumPy's"
    if not task.alike:
        return "layers with different numbers of heads"
    return "" if _kernels.usable() else "numba does not work here"


def in_the_way(task: Task) -> str:
    """Return what neither this engine nor :mod:`.bands` can do of a task, "" if they do all."""
    if reason := not_compiled(task):
        return reason
    if missing := [metric for metric in task.names if metric not in METRICS]:
        return f"{', '.join(missing)}: not among what the compiled kernels measure"
    if task.tokens is not None:
        return "tokens: the compiled kernels measure all of them alike"
    return "keep_states: states stay in the kernels" if task.keep_states else ""


def worthwhile(task: Task) -> str:
    """Compiled kernels are the fastest way layer by layer."""
    return "metrics that need no eigenvectors, of systems that stay in the cache"


def operations(task: Task) -> float:
    """Products of every layer and head, singular values where they are recorded."""
    n, d, heads = task.n, task.d, len(task.rule.checked_heads(0))
    ranks = {"effective_rank", "stable_rank"} & set(task.names)
    measured = len(task.layers) * 10.0 * n * d * min(n, d) if ranks else 0.0
    return task.size * (task.last * heads * 2.0 * n * d * (n + d) + measured)


def stacks(
    task: Task, heads: Callable[[int], Sequence[tuple[Any, Any]]] | None = None
) -> tuple[HostArray, HostArray]:
    """All matrices of a task, or of other ``heads`` of its layers, as (layers or 1, heads, b or 1, ., .)."""
    heads = task.heads if heads is None else heads

    def stack(side: int) -> HostArray:
        layers = [[pair[side] for pair in heads(layer)] for layer in range(task.different)]
        if len(layers) == 1 and len(layers[0]) == 1:
            return np.asarray(layers[0][0][None, None])
        b = max(M.shape[0] for head in layers for M in head)
        return np.stack([np.stack([np.broadcast_to(M, (b, *M.shape[1:])) for M in head]) for head in layers])

    return stack(0), stack(1)


def jobs(task: Task) -> list[Job]:
    """Return the work in pieces of a few systems."""
    from .._kernels.layer import SHALLOW, SIGNED
    from .._kernels.walk import walk

    n, d, size, layers, names, stop = task.n, task.d, task.size, task.layers, task.names, task.stop
    _kernels.announce(walk, task.start.dtype)
    A, H, x0, zero_until = (_kernels.frozen(x) for x in (*stacks(task), task.start, task.zero_until))
    shape = row_structure(task, A)
    drive, sizes = (_kernels.frozen(x) for x in packed_drive(drives(task), d, x0.dtype))
    sums, turns, uneven = (_kernels.frozen(x) for x in (shape.sums, shape.turns, shape.uneven))
    depth, count, heads = task.last, len(layers), A.shape[1]
    every = pauses(task)
    slot = slots(names)
    values, errors = np.empty((len(names), size, count)), np.empty((len(names), size, count))
    generic = np.random.default_rng(0).standard_normal((n + 1, max(n, d)))
    compressible = A.shape[0] == 1 and heads == 1 and depth <= (SHALLOW if task.rule.stochastic else SIGNED)
    eps = float(np.finfo(x0.dtype).eps)
    error = eps * float(np.sqrt(n + d)) * (depth + 1)

    def run(first: int, last: int) -> Recorded:
        part = slice(None) if A.shape[2] == 1 else slice(first, last)
        kept = shape.preserved(A[:, :, part], part, eps)
        if kept.size > 1:  # the kernel counts systems from the first of all
            kept = np.concatenate([np.zeros(first, dtype=bool), kept])

        def through(lost: HostArray, found: HostArray) -> None:
            walk(
                A, H, sums, turns, uneven, drive, sizes, x0, zero_until, layers, every, kept, generic,
                compressible, slot, first, last, values, errors, lost, found, stop,
            )  # fmt: skip

        lapack = with_lost(through, slot, values, errors, eps, n, d)
        return Recorded(
            {metric: values[k, first:last] for k, metric in enumerate(names)},
            {metric: errors[k, first:last] for k, metric in enumerate(names)},
            np.asarray([name]),
            np.asarray([KINDS[0]]),
            np.asarray([error]),
            {"lapack": lapack},
            last - first,
        )

    ranks = slot[place_of("effective_rank")] >= 0 or slot[place_of("stable_rank")] >= 0
    work = depth * heads * 2.0 * n * d * (n + d) + (count * 10.0 * n * d * min(n, d) if ranks else 0)
    pieces = 1
    if work * size > _WORTH_IT:
        pieces = min(size, workers() * max(1, round(work * size / (_JOB * workers()))))
    edges = [size * k // pieces for k in range(pieces + 1)]
    return [Job(slice(a, b), functools.partial(run, a, b)) for a, b in itertools.pairwise(edges)]


def pauses(task: Task) -> HostArray:
    """Layers between two rescalings, (b or 1,) int64."""
    growth = np.maximum(task.growth, 1.0)
    most = between_rescalings(task.start, 2)
    return np.asarray(np.clip(budget(task.start) // growth, 1, most).astype(np.int64))


def place_of(metric: str) -> int:
    """Return the place of a metric among the numbers of the kernels, by the name that they give it."""
    return _kernels.MEASURED.index(str(REGISTRY[metric].slot))


def slots(names: Sequence[str]) -> HostArray:
    """Where each number of the kernels goes in an output that holds ``names``, -1 if nowhere."""
    slot = np.full(len(_kernels.MEASURED), -1)
    for k, metric in enumerate(names):
        slot[place_of(metric)] = k
    return slot


def with_lost(
    run: Callable[[HostArray, HostArray], None],
    slot: HostArray,
    values: HostArray,
    errors: HostArray,
    eps: float,
    n: int,
    d: int,
) -> int:
    """Run a kernel and ask LAPACK for the singular values it did not find; return how many.

    ``run(lost, found)`` writes such states to the rows of ``lost`` and counts them
    in ``found``; it runs again where there is not room for all.
    """
    lost, found = np.zeros((4, 3 + n * d)), np.zeros(1, dtype=np.int64)
    run(lost, found)
    if found[0] > len(lost):
        lost, found = np.zeros((int(found[0]), 3 + n * d)), np.zeros(1, dtype=np.int64)
        run(lost, found)
    for row in lost[: found[0]]:
        _by_lapack(row, slot, values, errors, eps, n, d)
    return int(found[0])


def _by_lapack(
    row: HostArray, slot: HostArray, values: HostArray, errors: HostArray, eps: float, n: int, d: int
) -> None:
    """Ranks of one state whose singular values the kernel did not find."""
    system, column, noise = int(row[0]), int(row[1]), row[2]
    state = row[3:].reshape(n, d)
    found = (np.nan, np.inf, np.nan, np.inf)
    if np.all(np.isfinite(state)) and np.any(state):
        found = ranks(np.linalg.svd(state, compute_uv=False), noise, eps)
    for name, value, error in zip(("effective_rank", "stable_rank"), found[::2], found[1::2], strict=True):
        k = slot[place_of(name)]
        if k >= 0:
            values[k, system, column], errors[k, system, column] = value, error


def ranks(s: HostArray, noise: float, eps: float) -> tuple[float, float, float, float]:
    """Effective rank, its error, stable rank, its error; of singular values off by ``noise``."""
    from .._kernels.measure import rank_errors

    m = np.asarray(s, dtype=np.float64) / float(s[0])
    off = noise / (float(s[0]) * float(np.sqrt(m.size))) + 4 * eps
    others = m[1:]
    positive = others[others > 0]
    tail, energy = float(np.sum(positive)), float(positive @ positive)
    entropy = float(np.log1p(tail) - (positive @ np.log(positive)) / (1 + tail))
    ln = np.log(np.maximum(m, 1e-9))
    off_rank, off_stable = rank_errors(m.size, off, tail, entropy, float(ln.sum()), float(ln @ ln), energy)
    return float(np.exp(entropy)), float(off_rank), 1 + energy, float(off_stable)
