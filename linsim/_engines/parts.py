"""Layer by layer in a compiled kernel, cut along the dominant modes: every metric, of NumPy arrays.

What :mod:`.matrices` does with whole arrays, :mod:`linsim._kernels.shadows` does for one system after
the other: parts of the state, their errors, both rescaled.  Recorded layers are measured together.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .. import _kernels
from .._parallel import workers
from .._recorded import Recorded, record_together
from .._shadow import BUDGET, COUNT, SAFETY, begin
from .._state import PARTS, Split, State, between_rescalings
from .._types import HostArray
from ..metrics._evaluate import as_given, of_tokens
from ..metrics._metric import Layer
from ..metrics._registry import needing
from .affine import drives
from .lanes import not_compiled, stacks
from .matrices import blunt, plain_split, split_of, told_apart, walked_heads
from .panels import added, held, laid_out, vectors
from .protocol import Job
from .task import StoppedError, Task, budget, rounding, started

__all__ = ["about", "covers", "jobs", "kernels", "name", "operations", "worthwhile"]

name = "parts"
about = "compiled: layer by layer, along the dominant modes; every metric"
kernels = "parts"

# numbers of recorded states that are measured together
_TOGETHER = 2**19
# below so many operations another thread costs more than it gains
_WORTH_IT = 3e6
# numbers of the states of a job
_JOB = 2**17


def covers(task: Task) -> str:
    """Return what the kernel cannot do of a task, "" if it does all."""
    if reason := not_compiled(task):
        return reason
    if looking := needing("attention", task.names):
        return f"{', '.join(looking)}: attention stays in the kernel"
    grows = float(np.max(task.growth)) > BUDGET
    return f"layers that enlarge entries by more than 2^{BUDGET:.0f}" if grows else ""


def worthwhile(task: Task) -> str:
    """The fastest way to gaps, layer by layer."""
    return "metrics that need the dominant modes kept apart"


def operations(task: Task) -> float:
    """Products of a layer, on the state and its three shadows, and singular values of what is recorded."""
    n, d, heads = task.n, task.d, len(task.rule.checked_heads(0))
    return task.size * (
        4 * task.last * heads * 2.0 * n * d * (n + d) + len(task.layers) * 20.0 * n * d * min(n, d)
    )


def jobs(task: Task) -> list[Job]:
    """Return the work in pieces of a few systems."""
    from .._kernels.shadows import walk

    size = task.size
    _kernels.announce(walk, task.start.dtype)
    heads, equal = walked_heads(task)
    A, H = (_kernels.frozen(x) for x in stacks(task, heads))
    several = any(M.shape[0] > 1 for M in (A[0, 0], H[0, 0], task.start))
    several = several or any(len(row) > 1 for row in drives(task))

    def run(first: int, last: int) -> Recorded:
        part, m, layers = slice(first, last), last - first, task.layers

        def own(M: HostArray) -> HostArray:
            return M if M.shape[0] == 1 else M[part]

        here, until = own(task.start), np.broadcast_to(task.zero_until, (size, task.n))[part, :, None]
        split, kinds, enlarged = split_of(task, own, heads, equal)
        begun = []
        if layers[0] == 0:
            given = as_given(np.broadcast_to(here, (m, *here.shape[1:])))[0]
            begun = [(slice(0, m), slice(0, 1), given)]

        weights = task.tokens_beside(here, part)

        def record(
            groups: Iterable[_Group], x0: HostArray, until: HostArray, weights: HostArray | None
        ) -> Recorded:
            size, keep, error = len(until), task.keep_states, rounding(here, layers)
            found = record_together(
                groups, size, layers, task.names, until, keep, name, kinds, error, weights
            )
            if begun and weights is not None:  # what does not count gives tokens at the input no rounding
                for metric, one in of_tokens(x0, task.names, Layer(None, weights)).items():
                    found.values[metric][:, 0] = np.ravel(one.value)
                    found.errors[metric][:, 0] = np.ravel(one.error)
            return found

        walked = _walked(task, here, split, A, H, np.arange(first, last))
        found = record(itertools.chain(begun, walked), here, until, weights)
        rough = blunt(found, enlarged, task.precision)
        far = np.flatnonzero(functools.reduce(np.logical_or, rough.values(), np.zeros(m, dtype=bool)))
        if not far.size:
            return found
        there = _some(here, far)
        plain = plain_split(task, lambda M: _some(own(M), far), heads)
        if begun:  # which are known as well as can be
            given = as_given(np.broadcast_to(there, (len(far), *here.shape[1:])))[0]
            begun = [(slice(0, len(far)), slice(0, 1), given)]
        weights = None if weights is None else _some(weights, far)
        walked = _walked(task, there, plain, A, H, far + first)
        again = _among(m, far, record(itertools.chain(begun, walked), there, until[far], weights))
        return told_apart(found, again, rough)

    if not several:
        return [Job(slice(0, size), functools.partial(run, 0, 1))]
    pieces = 1
    if operations(task) > _WORTH_IT:
        pieces = min(size, workers() * max(1, round(size * task.n * task.d / (_JOB * workers()))))
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

    return replace(
        found,
        values={metric: spread(x, 0.0) for metric, x in found.values.items()},
        errors={metric: spread(x, np.inf) for metric, x in found.errors.items()},
        size=m,
        states=spread(found.states, 0.0),
        log_scale=spread(found.log_scale, 0.0),
    )


_Group = tuple[slice, slice, State]


def _walked(
    task: Task, here: HostArray, split: Split, A: HostArray, H: HostArray, numbers: HostArray
) -> Iterator[_Group]:
    """Take some systems of a task, whose tokens are ``here``, through the layers; yield states of them.

    ``numbers``: which of the systems of A and H they are.
    """
    from .._kernels.shadows import walk

    n, d, dtype, layers = task.n, task.d, here.dtype, task.layers
    growth = np.broadcast_to(task.growth, task.size)[numbers]
    state = started(here, split)
    shadows = begin(state, float(np.max(growth)))
    errors = shadows.errors
    m = len(numbers)

    def of(x: HostArray) -> HostArray:
        return np.ascontiguousarray(np.broadcast_to(np.reshape(x, (x.shape[0], -1))[:, 0], m))

    state_held, errors_held = held(state, m), held(errors, m)
    cuts, cuts32 = vectors(split, m, dtype), vectors(split, m, np.float32)
    lengths = np.stack([np.linalg.norm(x.astype(np.float64), axis=-1) for x in cuts], axis=-1)
    eigenvalues = np.stack([of(split.lam), of(split.mu)], axis=-1).astype(np.float64)
    pools = tuple(np.ravel(x) for x in laid_out(shadows.pools))
    fixed, drift = (
        tuple(np.ravel(x) for x in laid_out({k: x[None] for k, x in patterns.items()}))
        for patterns in (shadows.fixed, shadows.drift)
    )
    condition = of(shadows.condition).astype(np.float64)
    coupled = of(split.coupled) > 0
    constant, any_mean, means = of(split.constant), np.full(m, split.any_mean), of(split.means)
    drive = added([_some(row, numbers) for row in drives(task)], split, m, dtype)

    def between(room: float, like: HostArray) -> HostArray:
        return np.clip(room // np.maximum(growth, 1.0), 1, between_rescalings(like, 1)).astype(np.int64)

    every, every_error = between(budget(here), here), between(BUDGET, errors.R)

    def through(some: slice, layer: int, wanted: HostArray) -> State:
        count, k = some.stop - some.start, len(wanted)
        shapes = ((1,), (d,), (n,), (n, d), (d,))
        out = (*(np.empty((count, k, *shape), dtype=dtype) for shape in shapes), np.empty((count, k, 5)))
        # in single precision errors are samples, too
        each = 0 if dtype == np.float64 else k
        off = (
            *(np.empty((count, each, COUNT, *shape), dtype=np.float32) for shape in shapes),
            np.empty((count, each, COUNT, 5)),
        )
        noise, noise_rows = np.empty((count, k, 5)), np.empty((count, k, n))

        def cut(arrays: tuple[HostArray, ...]) -> tuple[HostArray, ...]:
            return tuple(x[some] for x in arrays)

        walk(
            A, H, numbers[some], cut(state_held), cut(errors_held), cut(cuts), cut(cuts32),
            eigenvalues[some], lengths[some], condition[some], constant[some], coupled[some], any_mean[some],
            means[some], cut(drive), pools, fixed, drift,
            every[some], every_error[some], SAFETY, layer, wanted, out, off, noise, noise_rows, task.stop,
        )  # fmt: skip
        if task.stop[0]:
            raise StoppedError
        both = count * k

        def repeated(x: HostArray) -> HostArray:
            return x if x.shape[0] == 1 else np.repeat(x[some], k, axis=0)

        a, r, b, R, mean, e = out
        exponents: dict[str, Any] = {
            f"e_{key}": e.reshape(both, 1, 5)[:, :, j : j + 1] for j, key in enumerate(PARTS)
        }

        found = State(
            split.map(repeated),
            a=a.reshape(both, 1, 1),
            r=r.reshape(both, 1, d),
            b=b.reshape(both, n, 1),
            R=R.reshape(both, n, d),
            mean=mean.reshape(both, 1, d),
            **exponents,
            noise=noise.reshape(both, 1, 5),
            rows=noise_rows.reshape(both, n, 1),
        )
        if not each:
            return found
        a, r, b, R, mean, e = off
        exponents = {f"e_{key}": e.reshape(both, COUNT, 1, 5)[..., j : j + 1] for j, key in enumerate(PARTS)}
        own = State(
            errors.split,
            a=a.reshape(both, COUNT, 1, 1),
            r=r.reshape(both, COUNT, 1, d),
            b=b.reshape(both, COUNT, n, 1),
            R=R.reshape(both, COUNT, n, d),
            mean=mean.reshape(both, COUNT, 1, d),
            **exponents,
            noise=errors.noise,
        )
        splits = tuple(cut.map(repeated) for cut in shadows.splits)
        return replace(found, samples=replace(shadows, errors=own, splits=splits).samples(found))

    skipped = int(layers[0] == 0)  # tokens are measured as they are given
    for some, places, wanted, layer in _groups(m, layers[skipped:], n * d):
        state = through(some, layer, wanted)
        yield some, slice(places.start + skipped, places.stop + skipped), state


def _groups(m: int, layers: HostArray, numbers: int) -> Iterator[tuple[slice, slice, HostArray, int]]:
    """Yield systems, places of layers, these layers, and the one before: about _TOGETHER numbers each."""
    k = len(layers)
    if k == 0:
        return
    systems = max(1, _TOGETHER // (numbers * k))
    at_once = k if systems > 1 else max(1, _TOGETHER // numbers)
    for s in range(0, m, systems):
        some, layer = slice(s, min(m, s + systems)), 0
        for t in range(0, k, at_once):
            wanted = layers[t : t + at_once]
            yield some, slice(t, t + len(wanted)), wanted, layer
            layer = int(wanted[-1])
