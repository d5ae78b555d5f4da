"""Many layers of small systems that stay in the cache, through the kernel :mod:`linsim._kernels.walk`.

For metrics that need no more than the mean of the tokens kept apart from the
rest: then no eigenvector has to be found, and a probe tells how fast rounding
grows.  NumPy arrays only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _kernels
from .._eigen import doubly_stochastic
from .._parallel import workers
from .._recorded import Job, Recorded
from .._split import KINDS
from .._state import between_rescalings
from ..metrics._registry import REGISTRY

__all__ = ["METRICS", "applies", "jobs", "place_of", "ranks", "slots", "with_lost"]

F = np.ndarray[Any, Any]

#: what this engine measures
METRICS = tuple(name for name, metric in REGISTRY.items() if metric.slot is not None)

# arithmetic operations in a job: about a hundredth of a second
_JOB = 1e9
# below this another thread costs more than it gains
_WORTH_IT = 3e7


def applies(names: Sequence[str], n: int, d: int) -> bool:
    """Return whether the kernel measures all of these, and such systems stay in the cache."""
    return set(names) <= set(METRICS) and max(n, d) <= _kernels.LARGEST and _kernels.usable()


def jobs(
    A: F,
    H: F,
    x0: F,
    zero_until: F,
    size: int,
    layers: F,
    names: tuple[str, ...],
    growth: F,
    budget: int,
    stop: F,
) -> list[Job]:
    """Return the work on ``size`` systems in pieces.

    Parameters
    ----------
    A : (layers or 1, heads, b or 1, n, n); H : (layers or 1, heads, b or 1, d, d); x0 : (b or 1, n, d)
        All float64 or all float32; one stands for all.
    zero_until : (b or 1, n) int64, the layer up to which a token is exactly zero
    growth : (b or 1,) log2 of how much one layer can enlarge an entry, below ``budget``
    stop : (1,) bool, ends the work when it becomes true
    """
    from .._kernels.layer import SHALLOW
    from .._kernels.walk import walk

    _kernels.announce(walk, x0.dtype)
    n, d = x0.shape[-2:]
    depth, count, heads = int(layers[-1]), len(layers), A.shape[1]
    A, H, x0, zero_until = (_kernels.frozen(x) for x in (A, H, x0, zero_until))
    every = np.clip(budget // np.maximum(growth, 1.0), 1, between_rescalings(x0, 2)).astype(np.int64)
    slot = slots(names)
    values, errors = np.empty((len(names), size, count)), np.empty((len(names), size, count))
    generic = np.random.default_rng(0).standard_normal((n + 1, max(n, d)))
    compressible = A.shape[0] == 1 and heads == 1 and depth <= SHALLOW
    eps = float(np.finfo(x0.dtype).eps)
    error = eps * float(np.sqrt(n + d)) * (depth + 1)

    def run(first: int, last: int) -> Recorded:
        part = slice(None) if A.shape[2] == 1 else slice(first, last)
        kept = np.ones(1 if A.shape[2] == 1 else last - first, dtype=bool)
        for at, head in itertools.product(range(A.shape[0]), range(heads)):
            kept = kept & doubly_stochastic(A[at, head, part], eps)
        if kept.size > 1:  # the kernel counts systems from the first of all
            kept = np.concatenate([np.zeros(first, dtype=bool), kept])

        def through(lost: F, found: F) -> None:
            walk(
                A, H, x0, zero_until, layers, every, kept, generic, compressible, slot,
                first, last, values, errors, lost, found, stop,
            )  # fmt: skip

        lapack = with_lost(through, slot, values, errors, eps, n, d)
        return Recorded(
            {name: values[k, first:last] for k, name in enumerate(names)},
            {name: errors[k, first:last] for k, name in enumerate(names)},
            np.asarray(["lanes"]),
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
    return [lambda a=a, b=b: run(a, b) for a, b in itertools.pairwise(edges)]  # type: ignore[misc]


def place_of(name: str) -> int:
    """Return the place of a metric among the numbers of the kernels, by the name that they give it."""
    return _kernels.MEASURED.index(str(REGISTRY[name].slot))


def slots(names: Sequence[str]) -> F:
    """Where each number of the kernels goes in an output that holds ``names``, -1 if nowhere."""
    slot = np.full(len(_kernels.MEASURED), -1)
    for k, name in enumerate(names):
        slot[place_of(name)] = k
    return slot


def with_lost(run: Callable[[F, F], None], slot: F, values: F, errors: F, eps: float, n: int, d: int) -> int:
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


def _by_lapack(row: F, slot: F, values: F, errors: F, eps: float, n: int, d: int) -> None:
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


def ranks(s: F, noise: float, eps: float) -> tuple[float, float, float, float]:
    """Effective rank, its error, stable rank, its error; of singular values off by ``noise``."""
    from .._kernels.walk import rank_errors

    m = np.asarray(s, dtype=np.float64) / float(s[0])
    off = noise / (float(s[0]) * float(np.sqrt(m.size))) + 4 * eps
    others = m[1:]
    positive = others[others > 0]
    tail, energy = float(np.sum(positive)), float(positive @ positive)
    entropy = float(np.log1p(tail) - (positive @ np.log(positive)) / (1 + tail))
    ln = np.log(np.maximum(m, 1e-9))
    off_rank, off_stable = rank_errors(m.size, off, tail, entropy, float(ln.sum()), float(ln @ ln), energy)
    return float(np.exp(entropy)), float(off_rank), 1 + energy, float(off_stable)
