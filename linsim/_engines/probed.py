"""Every metric of systems whose modes need not be kept apart, on the walks of :mod:`.lanes`, :mod:`.bands`.

Two eigendecompositions find the dominant modes, and cost as much as a few dozen layers.  They are needed
where tokens come close to one line other than that of equal tokens: then angles and ranks are differences of
nearly equal numbers.  Elsewhere nothing cancels but what the mean keeps apart, and all errors of a state grow
alike: then a probe, a fifth of a state, tells how fast, in the place of three errors that travel along.
Which it is is told by the errors of what was measured.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .. import _kernels
from .._kernels.slots import ANGULAR, RANKS, SIZES
from .._recorded import Recorded, too_far_off
from .._state import EMPTY, PARTS, Split, State
from .._types import HostArray
from ..metrics._metric import Layer
from ..metrics._sampled import measured as measured_with_samples
from .affine import packed_drive, row_structure
from .bands import Walk
from .compiled_parts import Group, groups_of
from .lanes import pauses
from .task import StoppedError, Task

__all__ = ["covers", "large", "rough", "small", "together", "walked"]


def covers(task: Task) -> bool:
    """Whether systems of a task go this way first: of a few layers, moved by one head and nothing else."""
    from .._kernels.layer import SHALLOW

    rule = task.rule
    if task.precision != "float64" or rule.single_head is None or not rule.stochastic or task.driven:
        return False
    if not 0 < task.last <= SHALLOW:
        return False
    return small(task) or not (task.keep_states or not _kernels.ready("bands", "float64"))


def small(task: Task) -> bool:
    """Whether systems stay in the cache, and singular values are found side by side."""
    return max(task.n, task.d) <= _kernels.LARGEST


# a larger error of a metric is worth another way, a third of what every gap is held to; and by how much it
# may exceed that of the state it is of, all of it relative
_FINE, _CANCELLED = 3e-10, 3000.0


def _relative_noise(e: HostArray, noise: HostArray, n: int) -> HostArray:
    """How much of states, or of their rests, is rounding; ``e``, ``noise`` (..., 5)."""
    R, r, half = PARTS.index("R"), PARTS.index("r"), 0.5 * np.log2(n)
    whole = np.maximum(noise[..., R], noise[..., r] + half) - np.maximum(e[..., R], e[..., r] + half)
    rest = np.where(e[..., R] > EMPTY / 2, noise[..., R] - e[..., R], -np.inf)
    share: HostArray = np.exp2(np.clip(np.maximum(whole, rest), -100.0, 100.0))
    return share


def rough(values: HostArray, errors: HostArray, names: tuple[str, ...], relative: HostArray) -> HostArray:
    """Of which systems a metric is off by more than anyone would see and than their states explain, (b,).

    ``values``, ``errors`` (metrics, b, layers); ``relative`` (b, layers): how much of a state is
    rounding.  To keep modes apart helps against what cancels, not against that.
    """
    gone = ~np.all(errors <= _FINE, axis=(0, -1))
    if gone.any():
        less = _FINE / np.maximum(_FINE, _CANCELLED * relative[gone])
        far = too_far_off(values[:, gone], errors[:, gone] * less, names, dict.fromkeys(names, _FINE))
        gone[gone] = np.any(far, axis=(0, -1))
    return gone


class _Way(NamedTuple):
    """What kernels need to know to take systems through the layers of a task."""

    sums: HostArray
    turns: HostArray
    drive: tuple[HostArray, ...]
    x0: HostArray
    every: HostArray
    kept: HostArray
    generic: HostArray
    compressible: bool
    room: Any


def _way(task: Task, cut: Split, A: HostArray, H: HostArray, numbers: HostArray) -> _Way:
    """``cut``: along the mean; ``A``, ``H``: stacks of all layers; ``numbers``: which systems of these."""
    from .._kernels.layer import SHALLOW, layout
    from .._kernels.onward import room_for

    n, d, x0 = task.n, task.d, _kernels.frozen(task.start)
    shape = row_structure(task, A)
    compressible = A.shape[0] == 1 and A.shape[1] == 1 and task.last <= SHALLOW
    return _Way(
        shape.sums,
        shape.turns,
        tuple(_kernels.frozen(x) for x in packed_drive([], d, x0.dtype)),
        x0,
        np.broadcast_to(pauses(task), task.size)[numbers],
        # kernels are compiled for each layout that they meet
        _kernels.frozen(np.broadcast_to(cut.preserves_mean.ravel(), len(numbers))),
        np.random.default_rng(0).standard_normal((n + 1, max(n, d))),
        compressible,
        room_for(layout(n, d, compressible, x0.dtype.itemsize), A.shape[1], x0),
    )


def together(
    task: Task,
    cut: Split,
    A: HostArray,
    H: HostArray,
    numbers: HostArray,
    relative: HostArray,
    until: HostArray,
) -> tuple[dict[str, HostArray], dict[str, HostArray]] | None:
    """Measure the default metrics of small systems in one call: each state while it is in the cache.

    Returns values and errors (m, recorded layers); None where that is not possible: other metrics, or
    singular values that a kernel did not find.  ``until`` (m, n, 1): the layer up to which tokens are zero;
    others as of :func:`walked`.
    """
    names = (*SIZES, *ANGULAR, *RANKS)
    if task.n == 1 or not set(names) >= set(task.names):
        return None
    from .._kernels.lanes import WIDTH
    from .._kernels.layer import layout, places
    from .._kernels.probed import measured
    from .._kernels.states import room_to_measure

    _kernels.announce(measured, "float64")
    way, shape = _way(task, cut, A, H, numbers), (len(numbers), len(task.layers))
    e, noise = np.empty((2, *shape, len(PARTS)))
    values, errors = np.empty((2, len(names), *shape))
    lost = np.zeros(1, dtype=np.int64)
    asked = (*(not set(group).isdisjoint(task.names) for group in (SIZES, ANGULAR, RANKS)), True)
    # as many states as matrices lie side by side where singular values are found
    b, n, d = 2 * (WIDTH // 8), task.n, task.d
    held = tuple(np.zeros((b, *shape)) for shape in ((), (d,), (n,), (n, d), (len(PARTS),), (len(PARTS),)))
    held += (np.zeros(b, dtype=bool), np.zeros((b, n)), np.zeros((b, n), dtype=bool))
    # what measures them has been compiled for arrays that are only read
    seen = tuple(map(_kernels.frozen, held))
    mean = tuple(map(_kernels.frozen, (np.ones((1, n)), np.zeros((1, d)), np.ones(1, dtype=bool))))
    out = tuple(np.zeros(shape) for shape in ((0, n, d), b, (len(names), b), (len(names), b), (b, 6), b))
    out += (np.zeros(b, dtype=bool),)
    lay = layout(n, d, way.compressible, 8)
    flat = (e.reshape(-1, len(PARTS)), noise.reshape(-1, len(PARTS)))
    found = (values.reshape(len(names), -1), errors.reshape(len(names), -1))
    measured(
        A, H, way.sums, way.turns, *way.drive, way.x0, _kernels.frozen(until[:, :, 0]), numbers, task.layers,
        way.every, way.kept, way.generic, way.compressible, lay, *places(d, lay.height, 8), way.room,
        room_to_measure(n, d, True, seen[3]), held, seen, mean, asked, out, *flat, *found, lost, task.stop,
    )  # fmt: skip
    if task.stop[0]:
        raise StoppedError
    if lost[0]:
        return None
    walked = task.layers > 0
    relative[:, walked] = _relative_noise(e[:, walked], noise[:, walked], task.n)
    by_name = (dict(zip(names, x, strict=True)) for x in (values, errors))
    values_of, errors_of = ({name: x[name] for name in task.names} for x in by_name)
    return values_of, errors_of


def walked(
    task: Task, cut: Split, A: HostArray, H: HostArray, numbers: HostArray, relative: HostArray, stages: int
) -> Iterator[Group]:
    """Take some systems of a task through the layers; yield states of them.

    ``cut``: along the mean; ``A``, ``H``: stacks of all layers; ``numbers``: which of the systems of A and H
    they are; ``relative`` (m, recorded layers): how much of them is rounding, written.
    The layers of a single system come in ``stages`` parts at least.
    """
    from .._kernels.probed import probed

    n, d, dtype = task.n, task.d, task.start.dtype
    skipped = int(task.layers[0] == 0)  # tokens are measured as they are given
    way = _way(task, cut, A, H, numbers)
    groups = list(groups_of(len(numbers), task.layers[skipped:], n * d, stages))
    most = max(((some.stop - some.start) * len(wanted) for some, _, wanted, _ in groups), default=0)
    shapes = ((n, d), (d,), (len(PARTS),), (len(PARTS),))
    # one is measured while the next is filled: fresh memory costs as much as what is written there
    held = [[np.empty((most, *shape), dtype) for shape in shapes] for _ in range(min(2, len(groups)))]
    for turn, (some, places, wanted, layer) in enumerate(groups):
        m, k = some.stop - some.start, len(wanted)
        R, r, e, noise = (x[: m * k].reshape(m, k, *x.shape[1:]) for x in held[turn % 2])
        probed(
            A, H, way.sums, way.turns, False, *way.drive, way.x0, numbers[some], layer == 0, wanted,
            way.every[some], way.kept[some], way.generic, way.compressible, way.room, R, r, e, noise,
            task.stop,
        )  # fmt: skip
        if task.stop[0]:
            raise StoppedError
        places = slice(places.start + skipped, places.stop + skipped)
        relative[some, places] = _relative_noise(e, noise, n)
        yield some, places, _state(cut, some, R, r, e, noise)


def _state(cut: Split, some: slice, R: HostArray, r: HostArray, e: HostArray, noise: HostArray) -> State:
    """States (m, k, ...) as metrics take them, one system after the other."""
    m, k, n, d = R.shape

    def own(x: HostArray) -> HostArray:
        return x if len(x) == 1 else np.repeat(x[some], k, axis=0)

    r, e = r.reshape(m * k, 1, d), e.reshape(m * k, 1, len(PARTS))
    noise = noise.reshape(m * k, 1, len(PARTS))
    # a token's share of the rounding of all, and what it shares with all others: twice an even one
    rows = 1 + np.logaddexp2(noise[:, :, PARTS.index("R")] - 0.5 * np.log2(n), noise[:, :, PARTS.index("r")])
    exponents: dict[str, Any] = {f"e_{name}": e[:, :, j : j + 1] for j, name in enumerate(PARTS)}
    return State(
        cut.map(own),
        a=np.zeros((1, 1, 1), R.dtype),
        r=r,
        b=np.zeros((1, n, 1), R.dtype),
        R=R.reshape(m * k, n, d),
        mean=r,
        **exponents,
        noise=noise,
        rows=np.broadcast_to(rows[:, None], (m * k, n, 1)),
    )


class _RoughError(Exception):
    """A value turned out to be off by too much: the dominant modes have to be kept apart after all."""


class _Walk(Walk):
    """A large system whose recorded states are measured by whoever has time, every metric of them."""

    def __init__(self, task: Task, cut: Split, A: HostArray, H: HostArray, s: int, zero: HostArray) -> None:
        """``cut``: of this system, ``s``; ``zero`` (n, 1): the layer up to which tokens are zero."""
        own_A, own_H = (M[:, :, s if M.shape[2] > 1 else 0] for M in (A, H))
        x0, skipped = task.start[s if len(task.start) > 1 else 0], int(task.layers[0] == 0)
        pause = int(np.broadcast_to(pauses(task), task.size)[s])
        rows = row_structure(task, own_A[:, :, None])
        drive = tuple(x[0] for x in packed_drive([], task.d, x0.dtype))
        super().__init__(
            own_A, own_H, rows, drive, _kernels.frozen(x0), zero[:, 0], task.layers[skipped:], (), pause,
            task.stop,
        )  # fmt: skip
        self.cut, self.every, self.until = cut, task.names, zero
        weights = task.tokens_beside(task.start, slice(s, s + 1))
        self.beside = None if weights is None else Layer(None, weights)
        self.found = np.full((2, len(task.names), len(self.layers)), np.inf)
        self.relative = np.zeros(len(self.layers))
        self.new_room = lambda: (
            np.empty((1, 1, *x0.shape)), np.empty((1, 1, task.d)), *np.empty((2, 1, 1, len(PARTS)))
        )  # fmt: skip

    def record(self, t: int, Y: HostArray) -> bool:
        from .._kernels.probed import hand_out

        room = self._room()
        if room is None:
            return False
        hand_out(self.lay, self.base, self.stride, Y, self.ledger, *(x[0, 0] for x in room))
        self._later(room, t)
        return True

    def measure(self, room: Any, *what: Any) -> None:
        (t,) = what
        state = _state(self.cut, slice(0, 1), *room)
        zero = self.until[None] >= self.layers[t]
        found, lapack = measured_with_samples(state, self.every, zero, self.beside)
        for k, name in enumerate(self.every):
            self.found[:, k, t] = found[name].value.item(), found[name].error.item()
        relative = _relative_noise(room[2][0], room[3][0], self.lay.n)
        self.relative[t], self.lapack = relative[0], self.lapack + lapack
        self._free(room)
        values, errors = self.found[:, :, None, t : t + 1]
        if rough(values, errors, self.every, relative[:, None]).any():
            raise _RoughError


def large(
    task: Task,
    cut: Split,
    A: HostArray,
    H: HostArray,
    numbers: HostArray,
    relative: HostArray,
    nothing: Recorded,
    until: HostArray,
    threads: int,
) -> Recorded:
    """Record large systems, one after the other; where a value is too far off the walk of a system ends.

    ``nothing``: what was recorded of their tokens alone, with room for all layers, changed; ``until``
    (m, n, 1): the layer up to which tokens are zero; others as of :func:`walked`.  What was not measured has
    infinite errors.
    """
    skipped, lapack = int(task.layers[0] == 0), nothing.fallbacks["lapack"]
    for k, s in enumerate(numbers):
        walk = _Walk(task, cut.map(lambda x, k=k: x[k if len(x) > 1 else 0][None]), A, H, int(s), until[k])
        with contextlib.suppress(_RoughError):
            walk.run(threads)
        if task.stop[0]:
            raise StoppedError
        for name, value, error in zip(task.names, *walk.found, strict=True):
            nothing.values[name][k, skipped:], nothing.errors[name][k, skipped:] = value, error
        relative[k, skipped:], lapack = walk.relative, lapack + walk.lapack
    return replace(nothing, fallbacks={"lapack": lapack})
