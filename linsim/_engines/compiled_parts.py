"""Some systems on their way through the compiled kernel of :mod:`.parts`, and what is measured on it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from .. import _kernels
from .._recorded import Recorded, record_together
from .._shadow import BUDGET, COUNT, SAFETY, begin, patterns
from .._small_rows import SmallRows, lengths_of
from .._state import PARTS, Split, State, between_rescalings
from .._types import HostArray
from ..metrics._evaluate import as_given, of_tokens
from ..metrics._metric import Layer
from .panels import added, held, history, laid_out, matrices, products, room, vectors
from .task import StoppedError, budget, started

__all__ = ["Group", "Walker", "first_errors", "groups_of", "measured", "walker"]

#: some systems, places among the recorded layers, and the states of these
Group = tuple[slice, slice, State]


class Walker(NamedTuple):
    """Take systems through layers, time and again: ``(A, H, numbers, some, layer, wanted)``.

    That is ``some`` of them, which are at ``layer`` now, to the layers ``wanted``; matrices are those of one
    layer, or of all from the first, and ``numbers`` says which of them systems have.  ``through`` returns
    their states.  ``apart``, of a single system, returns what does after it has taken errors along, which
    another thread may call, in turn, up to a group of layers behind.
    """

    through: Callable[..., State]
    apart: Callable[..., Callable[[], State]]


# numbers of recorded states that are measured together, and how many lie side by side where singular values
# are found
_TOGETHER, _LANES = 2**20, 8
# groups of layers of which is kept what errors need to know: that which they are at, and the next one
_BEHIND = 2


def measured(
    groups: Iterable[Group],
    x0: HostArray,
    layers: HostArray,
    names: tuple[str, ...],
    until: HostArray,
    keep: bool,
    kinds: Any,
    error: float,
    weights: HostArray | None,
) -> Recorded:
    """Measure the states of ``groups``, all recorded ``layers`` but the input x0 (b or 1, n, d).

    ``until`` (size, n, 1): the layer up to which tokens are zero; other arguments as of
    :func:`linsim._recorded.record`.
    """
    size, begun = len(until), layers[0] == 0
    if begun:
        given = as_given(np.broadcast_to(x0, (size, *x0.shape[1:])))[0]
        groups = chain([(slice(0, size), slice(0, 1), given)], groups)
    found = record_together(groups, size, layers, names, until, keep, "parts", kinds, error, weights)
    if begun and weights is not None:  # what does not count gives tokens at the input no rounding
        for metric, one in of_tokens(x0, names, Layer(None, weights)).items():
            found.values[metric][:, 0] = np.ravel(one.value)
            found.errors[metric][:, 0] = np.ravel(one.error)
    return found


def walker(
    here: HostArray, split: Split, growth: HostArray, rows: Sequence[HostArray], stop: HostArray
) -> Walker:
    """Return what takes systems whose tokens are ``here`` (m or 1, n, d) through layers, time and again.

    ``growth`` (m,): log2 of how much a layer enlarges an entry; ``rows``: what layers add to every token, one
    for each or for all, (m or 1, 1, d).
    """
    from .._kernels.begin import begin as begin_compiled
    from .._kernels.shadows import ERRORS, STATES, WHOLE, walk

    (n, d), dtype, m = here.shape[-2:], here.dtype, len(growth)

    def of(x: HostArray) -> HostArray:
        # a copy in any case: kernels are compiled once for arrays that can be written, and once for others
        out = np.empty(m, dtype=x.dtype)
        out[:] = x.reshape(len(x), -1)[:, 0]
        return out

    eigenvalues = np.stack([of(split.lam), of(split.mu)], axis=-1).astype(np.float64)
    coupled, means = of(split.coupled) > 0, of(split.means)
    constant, any_mean = of(split.constant), np.full(m, split.any_mean)
    cuts, lengths, condition, shadows = vectors(split, m, dtype), np.empty((m, 4)), np.empty(m), None
    if dtype == np.float64:
        state_held, errors_held = room(m, 1, n, d, dtype), room(m, COUNT, n, d, np.float32)
        width = errors_held[1].shape[1] // COUNT
        cuts32 = tuple(np.zeros((m, size), dtype=np.float32) for size in (n, n, width, width))
        begin_compiled(
            _kernels.frozen(here), cuts, cuts32, constant, coupled, of(split.sensitivity).astype(np.float64),
            first_errors(n, d), state_held, errors_held, lengths, condition,
        )  # fmt: skip
    else:
        state = started(here, split)
        shadows = begin(state, float(np.max(growth)))
        state_held, errors_held = held(state, m), held(shadows.errors, m)
        cuts32 = vectors(split, m, np.float32)
        for k, x in enumerate(cuts):
            lengths[:, k] = np.linalg.norm(x.astype(np.float64), axis=-1)
        condition = of(shadows.condition).astype(np.float64)
    small = SmallRows(lengths_of(here))
    pools, fixed, drift = _flat_patterns(n, d)
    drive = added(rows, split, m, dtype)

    def between(room: float, like: HostArray) -> HostArray:
        return np.clip(room // np.maximum(growth, 1.0), 1, between_rescalings(like, 1)).astype(np.int64)

    every, every_error = between(budget(here), here), between(BUDGET, errors_held[0])

    # of states and errors: who goes apart places matrices of his own
    placed: list[tuple[HostArray, ...]] = []
    given: list[Any] = [(None, None), (None, None)]
    at_work = products(COUNT, n, d, dtype)
    behind: dict[int, tuple[HostArray, ...]] = {}
    groups = itertools.count()

    def where(A: HostArray, H: HostArray, part: int) -> tuple[HostArray, ...]:
        own = int(part == ERRORS)
        while len(placed) <= own:
            placed.append(matrices(A.shape[1], n, d, dtype))
        for k, M in enumerate((A, H)):
            if given[own][k] is not M:
                placed[own][-1][2 * k : 2 * k + 2] = -1
        given[own] = (A, H)
        return placed[own]

    def kept(group: int, layers: int) -> tuple[HostArray, ...]:
        if group not in behind or len(behind[group][0]) < layers:
            behind[group] = history(layers, n, d, dtype)
        return behind[group]

    def begun(
        A: HostArray, H: HostArray, numbers: HostArray, some: slice, layer: int, wanted: HostArray
    ) -> tuple[Callable[[int, int], None], Callable[[], State]]:
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

        def go(part: int, group: int) -> None:
            layers = 1 if part == WHOLE else int(wanted[-1]) - layer
            walk(
                A, H, numbers[some], cut(state_held), cut(errors_held), cut(cuts), cut(cuts32),
                eigenvalues[some], lengths[some], condition[some], constant[some], coupled[some],
                any_mean[some], means[some], cut(drive), pools, fixed, drift,
                every[some], every_error[some], SAFETY, layer, wanted, out, off, noise, noise_rows, stop,
                part, where(A, H, part), at_work, kept(group, layers),
            )  # fmt: skip
            if stop[0]:
                raise StoppedError

        return go, lambda: found(count, k, some, wanted, out, off, noise, noise_rows)

    def through(*which: Any) -> State:
        go, states = begun(*which)
        go(WHOLE, 0)
        return states()

    def apart(*which: Any) -> Callable[[], State]:
        go, states = begun(*which)
        group = next(groups) % _BEHIND
        go(STATES, group)

        def finished() -> State:
            go(ERRORS, group)
            return states()

        return finished

    def found(
        count: int, k: int, some: slice, wanted: HostArray, out: tuple[HostArray, ...],
        off: tuple[HostArray, ...], noise: HostArray, noise_rows: HostArray,
    ) -> State:  # fmt: skip
        both = count * k

        def repeated(x: HostArray) -> HostArray:
            return x if x.shape[0] == 1 else np.repeat(x[some], k, axis=0)

        a, r, b, R, mean, e = out
        exponents: dict[str, Any] = {
            f"e_{key}": e.reshape(both, 1, 5)[:, :, j : j + 1] for j, key in enumerate(PARTS)
        }

        state = State(
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
        first = small.first if len(small.first) == 1 else small.first[some]
        state = small.told(state, wanted.astype(np.float64), some.start, first)
        if shadows is None:
            return state
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
        return replace(state, samples=replace(shadows, errors=own, splits=splits).samples(state))

    return Walker(through, apart)


@functools.lru_cache(maxsize=4)
def _flat_patterns(n: int, d: int) -> tuple[tuple[HostArray, ...], ...]:
    """The patterns by which errors are moved, as the kernel holds them."""
    pools, fixed, drift = patterns(n, d)[:3]
    each = (pools, *({k: x[None] for k, x in one.items()} for one in (fixed, drift)))
    return tuple(tuple(np.ravel(x) for x in laid_out(one)) for one in each)


@functools.lru_cache(maxsize=4)
def first_errors(n: int, d: int) -> tuple[HostArray, ...]:
    """The patterns with which errors begin, in the order of the parts."""
    first = patterns(n, d)[3]
    return tuple(np.ascontiguousarray(first[name][0]) for name in PARTS)


def groups_of(
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
