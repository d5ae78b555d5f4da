"""Layer by layer in a compiled kernel, cut along the dominant modes: every metric, of NumPy arrays.

What :mod:`.matrices` does with whole arrays, :mod:`linsim._kernels.shadows` does for one system after
the other: parts of the state, their errors, both rescaled.  Recorded layers are measured together.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .. import _kernels
from .._parallel import ahead, workers
from .._recorded import Recorded, merged, record_together
from .._shadow import BUDGET, COUNT, SAFETY, begin, patterns
from .._split import KINDS
from .._state import PARTS, Split, State, between_rescalings
from .._types import HostArray
from ..metrics._evaluate import as_given, of_tokens
from ..metrics._metric import Layer
from ..metrics._registry import needing
from .lanes import not_compiled, stacks
from .matrices import blunt, gentle, plain_split, split_of, told_apart
from .outlook import DEEPEST, stays_apart
from .panels import held, laid_out, room, vectors
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
# operations of a single job from which on states are measured while another thread goes on, in so many
# stages; and how many states lie side by side where singular values are found
_OVERLAP, _STAGES, _LANES = 1e8, 4, 8


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
    A, H = (_kernels.frozen(x) for x in stacks(task))
    several = A.shape[2] > 1 or H.shape[2] > 1 or task.start.shape[0] > 1

    def run(first: int, last: int) -> Recorded:
        part, m, layers = slice(first, last), last - first, task.layers

        def own(M: HostArray) -> HostArray:
            return M if M.shape[0] == 1 else M[part]

        here, until = own(task.start), np.broadcast_to(task.zero_until, (size, task.n))[part, :, None]
        weights = task.tokens_beside(here, part)

        def measured(which: HostArray, split: Split, kinds: HostArray) -> Recorded:
            """Record some of the systems, cut as told."""
            there, zero = _some(here, which), until[which]
            own_weights = None if weights is None else _some(weights, which)
            groups: Iterable[_Group] = _walked(task, there, split, A, H, which + first, overlap)
            if layers[0] == 0:  # the input is known as well as can be
                given = as_given(np.broadcast_to(there, (len(which), *there.shape[1:])))[0]
                groups = itertools.chain([(slice(0, len(which)), slice(0, 1), given)], groups)
            found = record_together(
                groups, len(which), layers, task.names, zero, task.keep_states, name, kinds,
                rounding(here, layers), own_weights,
            )  # fmt: skip
            if layers[0] == 0 and own_weights is not None:
                # what does not count gives tokens at the input no rounding
                for metric, one in of_tokens(there, task.names, Layer(None, own_weights)).items():
                    found.values[metric][:, 0] = np.ravel(one.value)
                    found.errors[metric][:, 0] = np.ravel(one.error)
            return found

        def modes(which: HostArray) -> tuple[Split, HostArray, HostArray]:
            return split_of(task, lambda M: _some(own(M), which), task.heads)

        calm, enlarged = _calm(task, own, m), np.full(m, np.inf)
        tried = []
        for which in (np.flatnonzero(calm), np.flatnonzero(~calm)):
            if not which.size:
                continue

            def among(M: HostArray, which: HostArray = which) -> HostArray:
                return _some(own(M), which)

            if calm[which[0]]:
                cut, kinds = plain_split(task, among, task.heads), np.asarray([KINDS[0]])
            else:
                split, kinds, enlarged[which] = modes(which)
                cut, kinds = gentle(task, split, kinds, enlarged[which], among, task.heads)
            tried.append((which, measured(which, cut, kinds)))
        found = merged(tried, m, {})
        rough = blunt(found, enlarged, task.precision)
        far = np.flatnonzero(functools.reduce(np.logical_or, rough.values(), np.zeros(m, dtype=bool)))
        if not far.size:
            return found
        split, kinds, _ = modes(far)
        again = _among(m, far, measured(far, split, kinds))
        return told_apart(found, again, rough)

    pieces, work = 1, operations(task)
    if several and work > _WORTH_IT:
        pieces = min(size, workers() * max(1, round(size * task.n * task.d / (_JOB * workers()))))
    overlap = pieces == 1 and workers() > 1 and (work if several else work / size) > _OVERLAP
    if not several:
        return [Job(slice(0, size), functools.partial(run, 0, 1))]
    edges = [size * k // pieces for k in range(pieces + 1)]
    return [Job(slice(a, b), functools.partial(run, a, b)) for a, b in itertools.pairwise(edges)]


def _calm(task: Task, own: Callable[[HostArray], HostArray], m: int) -> HostArray:
    """Which systems need no modes to be cut along, as far as can be told beforehand, (m,) bool."""
    rule, last = task.rule, task.last
    if rule.single_head is None or not rule.stochastic or task.driven or not 0 < last <= DEEPEST:
        return np.zeros(m, dtype=bool)
    if task.precision != "float64":
        return np.zeros(m, dtype=bool)
    ((A, H),) = task.heads(0)
    return np.broadcast_to(stays_apart(own(A), own(H), own(task.start), last, float(np.max(task.growth))), m)


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


_Group = tuple[slice, slice, State]


def _walked(
    task: Task,
    here: HostArray,
    split: Split,
    A: HostArray,
    H: HostArray,
    numbers: HostArray,
    overlap: bool,
) -> Iterator[_Group]:
    """Take some systems of a task, whose tokens are ``here``, through the layers; yield states of them.

    ``numbers``: which of the systems of A and H they are; ``overlap``: whether another thread goes on while
    states are measured.
    """
    from .._kernels.begin import begin as begin_compiled
    from .._kernels.shadows import walk

    n, d, dtype, layers, m = task.n, task.d, here.dtype, task.layers, len(numbers)
    growth = np.broadcast_to(task.growth, task.size)[numbers]

    def of(x: HostArray) -> HostArray:
        x = np.reshape(x, (x.shape[0], -1))[:, 0]
        return np.ascontiguousarray(x if len(x) == m else np.broadcast_to(x, m))

    eigenvalues = np.stack([of(split.lam), of(split.mu)], axis=-1).astype(np.float64)
    constant, coupled, any_mean = of(split.constant), of(split.coupled) > 0, np.full(m, split.any_mean)
    cuts, shadows = vectors(split, m, dtype), None
    lengths = np.empty((m, 4))
    if dtype == np.float64:
        state_held, errors_held = room(m, 1, n, d, dtype), room(m, COUNT, n, d, np.float32)
        width = errors_held[1].shape[1] // COUNT
        cuts32 = tuple(np.zeros((m, size), dtype=np.float32) for size in (n, n, width, width))
        condition = np.empty(m)
        begin_compiled(
            _kernels.frozen(here), cuts, cuts32, constant, coupled, of(split.sensitivity).astype(np.float64),
            _first(n, d), state_held, errors_held, lengths, condition,
        )  # fmt: skip
    else:
        state = started(here, split)
        shadows = begin(state, float(np.max(growth)))
        state_held, errors_held = held(state, m), held(shadows.errors, m)
        cuts32 = vectors(split, m, np.float32)
        for k, x in enumerate(cuts):
            lengths[:, k] = np.linalg.norm(x.astype(np.float64), axis=-1)
        condition = of(shadows.condition).astype(np.float64)
    pools, fixed, drift = _flat_patterns(n, d)

    def between(room: float, like: HostArray) -> HostArray:
        return np.clip(room // np.maximum(growth, 1.0), 1, between_rescalings(like, 1)).astype(np.int64)

    every, every_error = between(budget(here), here), between(BUDGET, errors_held[0])

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
            pools, fixed, drift,
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
        if shadows is None:
            return found
        a, r, b, R, mean, e = off
        exponents = {f"e_{key}": e.reshape(both, COUNT, 1, 5)[..., j : j + 1] for j, key in enumerate(PARTS)}
        own = State(
            shadows.errors.split,
            a=a.reshape(both, COUNT, 1, 1),
            r=r.reshape(both, COUNT, 1, d),
            b=b.reshape(both, COUNT, n, 1),
            R=R.reshape(both, COUNT, n, d),
            mean=mean.reshape(both, COUNT, 1, d),
            **exponents,
            noise=shadows.errors.noise,
        )
        splits = tuple(cut.map(repeated) for cut in shadows.splits)
        return replace(found, samples=replace(shadows, errors=own, splits=splits).samples(found))

    skipped = int(layers[0] == 0)  # tokens are measured as they are given

    def each() -> Iterator[_Group]:
        for some, places, wanted, layer in _groups(m, layers[skipped:], n * d, _STAGES if overlap else 1):
            state = through(some, layer, wanted)
            yield some, slice(places.start + skipped, places.stop + skipped), state

    yield from ahead(each()) if overlap else each()


@functools.lru_cache(maxsize=4)
def _flat_patterns(n: int, d: int) -> tuple[tuple[HostArray, ...], ...]:
    """The patterns by which errors are moved, as the kernel holds them."""
    pools, fixed, drift = patterns(n, d)[:3]
    each = (pools, *({k: x[None] for k, x in one.items()} for one in (fixed, drift)))
    return tuple(tuple(np.ravel(x) for x in laid_out(one)) for one in each)


@functools.lru_cache(maxsize=4)
def _first(n: int, d: int) -> tuple[HostArray, ...]:
    """The patterns with which errors begin, in the order of the parts."""
    first = patterns(n, d)[3]
    return tuple(np.ascontiguousarray(first[name][0]) for name in PARTS)


def _groups(
    m: int, layers: HostArray, numbers: int, stages: int
) -> Iterator[tuple[slice, slice, HostArray, int]]:
    """Yield systems, places of layers, these layers, and the one before.

    About _TOGETHER numbers each; layers in ``stages`` parts at least, of as many as lie in lanes.
    """
    k = len(layers)
    if k == 0:
        return
    systems = max(1, _TOGETHER // (numbers * k))
    at_once = k if systems > 1 else max(1, _TOGETHER // numbers)
    at_once = min(at_once, max(_LANES, -(-k // stages)))
    for s in range(0, m, systems):
        some, layer = slice(s, min(m, s + systems)), 0
        for t in range(0, k, at_once):
            wanted = layers[t : t + at_once]
            yield some, slice(t, t + len(wanted)), wanted, layer
            layer = int(wanted[-1])
