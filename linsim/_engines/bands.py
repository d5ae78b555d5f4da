"""Layer by layer through large systems: rows and metrics shared out among threads.

For the metrics of :mod:`.lanes` on matrices that leave the cache.  Every layer
is cut into bands of rows, one for each thread; a thread that finds its band not
ready measures a recorded layer instead of waiting.  BLAS runs on the calling
thread, so that threads never wait for each other's.  What is measured, and in
which order within a number, does not depend on the threads.
"""

from __future__ import annotations

import collections
import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _kernels
from .._gram import singular_values
from .._parallel import workers
from .._recorded import Recorded
from .._split import KINDS
from .._types import HostArray
from .affine import RowStructure, drives, packed_drive, row_structure
from .lanes import in_the_way, operations, pauses, place_of, ranks, slots, stacks
from .protocol import Job
from .task import Task

__all__ = [
    "Walk",
    "about",
    "covers",
    "jobs",
    "kernels",
    "name",
    "operations",
    "singular_values",
    "worthwhile",
]


# measured on the whole state, by whoever has time
_OF_WHOLE = ("cosine", "abs_cosine", "effective_rank", "stable_rank")
# layers that may wait to be measured
_AHEAD = 8


name = "bands"
about = "compiled: layer by layer, rows of one large system shared out among threads"
kernels = "bands"


def covers(task: Task) -> str:
    """Return what the kernels cannot do of a task, "" if they do all."""
    return in_the_way(task)


def worthwhile(task: Task) -> str:
    """Compiled kernels are the fastest way layer by layer."""
    return "metrics that need no eigenvectors, of systems too large for the cache"


def jobs(task: Task) -> list[Job]:
    """Return the work, one system after the other if they are few."""
    from .._kernels.layer import apply_layer

    size, layers, names, zero_until = task.size, task.layers, task.names, task.zero_until
    _kernels.announce(apply_layer, task.start.dtype)
    A, H, x0 = (_kernels.frozen(x) for x in (*stacks(task), task.start))
    drive = packed_drive(drives(task), task.d, x0.dtype)
    every = pauses(task)
    # enough systems keep all threads busy by themselves
    threads = workers() if size < 2 * workers() else 1

    def run(first: int, last: int) -> Recorded:
        values = np.empty((len(names), last - first, len(layers)))
        errors = np.empty(values.shape)
        lapack = 0
        for s in range(first, last):
            own_A, own_H = (x[:, :, s if x.shape[2] > 1 else 0] for x in (A, H))
            pause = int(every[s if every.size > 1 else 0])
            own_x, zero = (x[s if len(x) > 1 else 0] for x in (x0, zero_until))
            rows = row_structure(task, own_A[:, :, None])
            own_drive = tuple(x[s if len(x) > 1 else 0] for x in drive)
            walk = Walk(own_A, own_H, rows, own_drive, own_x, zero, layers, names, pause, task.stop)
            walk.run(threads)
            values[:, s - first], errors[:, s - first] = walk.values[:, 0], walk.errors[:, 0]
            lapack += walk.lapack
        n, d = x0.shape[-2:]
        eps = float(np.finfo(x0.dtype).eps)
        return Recorded(
            {metric: values[k] for k, metric in enumerate(names)},
            {metric: errors[k] for k, metric in enumerate(names)},
            np.asarray([name]),
            np.asarray([KINDS[0]]),
            np.asarray([eps * float(np.sqrt(n + d)) * (int(layers[-1]) + 1)]),
            {"lapack": lapack},
            last - first,
        )

    if threads > 1:
        return [Job(slice(0, size), functools.partial(run, 0, size))]
    return [Job(slice(s, s + 1), functools.partial(run, s, s + 1)) for s in range(size)]


class Walk:
    """One system on its way through the layers, and what its threads share."""

    def __init__(
        self,
        A: HostArray,
        H: HostArray,
        rows_of_A: RowStructure,
        drive: tuple[HostArray, ...],
        x0: HostArray,
        zero: HostArray,
        layers: HostArray,
        names: tuple[str, ...],
        pause: int,
        stop: HostArray,
    ) -> None:  # A (layers or 1, heads, n, n), H (layers or 1, heads, d, d), x0 (n, d)
        self.rows_of_A, (self.drive, self.sizes) = rows_of_A, drive
        self.as_one, self.sums = bool(rows_of_A.uneven[0]), np.ones(A.shape[1])
        self.turns = np.zeros(A.shape[1] * A.shape[-1] if self.as_one else 0, dtype=x0.dtype)
        self.A, self.H, self.x0, self.zero = A, H, x0, zero
        self.layers, self.names, self.pause, self.stop = layers, names, pause, stop
        self.lapack = 0
        self.lock = threading.Condition()
        from .._kernels import layer as kernel
        from .._kernels.lanes import WIDTH
        from .._kernels.measure import layer_rounding, start_rounding
        from .._kernels.products import aligned, columns, rows

        n, d = self.x0.shape
        heads, x0 = self.A.shape[1], self.x0
        self.eps = float(np.finfo(x0.dtype).eps)
        self.rounding = start_rounding(self.eps)
        self.log_rounding = float(np.log2(layer_rounding(n, d, self.eps)))
        shallow = kernel.SHALLOW if rows_of_A.stochastic else kernel.SIGNED
        self.compressed = self.A.shape[0] == 1 and heads == 1 and layers[-1] <= shallow
        self.coupled = not bool(rows_of_A.preserved(self.A[:, :, None], slice(0, 1), self.eps)[0])
        self.slot = slots(names)
        self.values = np.full((len(self.names), 1, len(self.layers)), np.nan)
        self.errors = np.full(self.values.shape, np.inf)
        lay = self.lay = kernel.layout(n, d, self.compressed, x0.itemsize)
        self.base, self.stride = kernel.places(d, lay.height, x0.itemsize)
        self.own, _ = kernel.places(d, n, x0.itemsize)
        self.ledger = np.zeros(kernel.LEDGER)
        self.left = aligned(heads * lay.probe * n, x0)
        self.small = aligned(heads * rows(lay.m) * max(lay.m, 1), x0)
        self.right = aligned(heads * d * columns(d, x0.itemsize), x0)
        self.between = aligned(heads * lay.stored, x0)
        self.states = [aligned(lay.stored, x0) for _ in range(2)]
        self.held = n * columns(d, x0.itemsize)
        # a state and the sums of squares of its rows
        extra = n * (WIDTH // x0.itemsize)
        self.new_room: Callable[[], Any] = lambda: aligned(self.held + extra, x0)
        self.free: list[Any] = []
        self.todo: collections.deque[tuple[Any, ...]] = collections.deque()
        self.layer = self.since = self.unscaled = 0
        self.error: BaseException | None = None
        generic = np.random.default_rng(0).standard_normal((n + 1, max(n, d)))
        self.generic = generic
        kernel.place_input(
            x0,
            generic,
            self.compressed,
            self.rounding,
            lay,
            self.base,
            self.stride,
            self.states[0],
            self.ledger,
        )
        self.placed: list[int] = []

    def run(self, threads: int) -> None:
        """Go through all layers and measure those that are recorded."""
        # more than all threads can hold at a time, so that one that needs room finds work to finish
        self.free = [self.new_room() for _ in range(_AHEAD + threads)]
        heights = self.lay.height // 4
        edges = [4 * (heights * k // threads) for k in range(threads + 1)]
        self.bands = [(a, b) for a, b in itertools.pairwise(edges) if a < b]
        self.waiting: list[tuple[int, int]] = []
        self.running = 0
        self.finished = False
        self._arrive()
        helpers = [threading.Thread(target=self._work) for _ in range(len(self.bands) - 1)]
        for helper in helpers:
            helper.start()
        self._work()
        for helper in helpers:
            helper.join()
        if self.error is not None:
            raise self.error

    # --- what threads do; everything but arithmetic happens under the lock -----------------

    def _work(self) -> None:
        try:
            while True:
                with self.lock:
                    while True:
                        if self.error is not None or self.stop[0]:
                            self.lock.notify_all()
                            return
                        if self.waiting:
                            band = self.waiting.pop()
                            task = None
                            break
                        if self.todo:
                            task = self.todo.popleft()
                            break
                        if self.finished:
                            return
                        self.lock.wait(0.5)
                if task is None:
                    self._advance(*band)
                else:
                    self.measure(*task)
        except BaseException as error:  # handed to the thread that waits for all
            with self.lock:
                self.error = error
                self.lock.notify_all()

    def _advance(self, start: int, stop: int) -> None:
        from .._kernels.drive import add_row
        from .._kernels.layer import apply_layer, finish_layer

        old, new = self.states[self.layer % 2], self.states[(self.layer + 1) % 2]
        heads = self.A.shape[1]
        apply_layer(
            self.lay, self.base, self.stride, heads, self.left, self.small, self.right, self.sums,
            self.turns, old, self.between, new, False, start, stop,
        )  # fmt: skip
        with self.lock:
            self.running -= 1
            last = self.running == 0
        if last:
            parts = (self.lay, self.base, self.stride)
            finish_layer(*parts, self.compressed or self.as_one, self.coupled, new, self.ledger)
            if self.sizes.size:
                at = 0 if len(self.sizes) == 1 else self.layer
                add_row(*parts, self.drive[at], float(self.sizes[at, 0]), new, self.ledger)
            self.layer, self.since, self.unscaled = self.layer + 1, self.since + 1, self.unscaled + 1
            self._arrive()

    def _arrive(self) -> None:
        """Record the layer that is complete, and hand out the next one; done by one thread alone."""
        from .._kernels.drive import rescale_as_one
        from .._kernels.layer import rescale, settle, settle_as_one

        Y, t = self.states[self.layer % 2], int(np.searchsorted(self.layers, self.layer))
        parts = (self.lay, self.base, self.stride)
        wanted = t < len(self.layers) and self.layers[t] == self.layer
        if wanted or self.unscaled == self.pause:
            if self.as_one:
                settle_as_one(*parts, self.since, self.log_rounding, Y, self.ledger)
            else:
                settle(*parts, self.coupled, self.since, self.log_rounding, Y, self.ledger)
            self.since = 0
        if wanted and not self.record(t, Y):
            return  # another thread has failed, or all are to stop
        if self.unscaled == self.pause:
            if self.as_one:
                rescale_as_one(*parts, Y, self.ledger)
            else:
                rescale(*parts, self.coupled, Y, self.ledger)
            self.unscaled = 0
        last = self.layer == self.layers[-1]
        if not last:
            self._place()
            self._make_room_for_drive(Y)
        with self.lock:
            if last:
                self.finished = True
            else:
                self.waiting = list(self.bands)
                self.running = len(self.bands)
            self.lock.notify_all()

    def record(self, t: int, Y: HostArray) -> bool:
        """Measure of the layer that is complete what is cheap, and let the rest wait; False to stop."""
        from .._kernels.layer import ABSENT, SIZE_MEAN, SIZE_REST
        from .._kernels.measure import stage, write_content, write_spread

        n, out = self.lay.n, (self.slot, self.values, self.errors)
        scale, noise, there = write_content(0, t, n, self.coupled, self.eps, *out, self.ledger)
        if there and self.slot[place_of("log_spread")] >= 0:
            write_spread(0, t, n, self.base, self.stride, self.eps, *out, Y, self.ledger)
        if not there or all(self.slot[place_of(name)] < 0 for name in _OF_WHOLE):
            return True
        room = self._room()
        if room is None:
            return False
        absolute = 2.0 ** min(np.floor(noise) + 1, 200.0) if noise > ABSENT / 2 else 0.0
        parts = (self.base, self.stride, self.own, scale)
        stage(n, self.lay.mean, *parts, Y, self.ledger, room, 0, room[self.held :])
        # |R| / |1 r|, which bounds sigma_2 / sigma_1 where it is below 1
        apart = self.ledger[SIZE_REST] - self.ledger[SIZE_MEAN] - 0.5 * np.log2(n)
        ratio = float(2.0 ** np.clip(apart, -1000, 1000))
        self._later(room, self.layer, t, absolute, ratio)
        return True

    def _later(self, *what: Any) -> None:
        """Let a state wait until somebody has time to measure it."""
        with self.lock:
            self.todo.append(what)
            self.lock.notify_all()

    def _room(self) -> Any:
        """Return where a state can wait to be measured, None if there is no point in it any more."""
        while True:
            with self.lock:
                while not self.free and not self.todo:  # all are being measured at this moment
                    if self.error is not None or self.stop[0]:
                        return None
                    self.lock.wait(0.5)
                if self.free:
                    return self.free.pop()
                task = self.todo.popleft()
            self.measure(*task)  # nobody has time to: this thread does

    def _make_room_for_drive(self, Y: HostArray) -> None:
        """Bring the mean to the scale of what the coming layer adds to it."""
        from .._kernels.drive import lower
        from .._kernels.layer import DRIVE

        if not self.sizes.size:
            return
        e, size = (float(x) for x in self.sizes[0 if len(self.sizes) == 1 else self.layer])
        self.ledger[DRIVE] = max(self.ledger[DRIVE], size) if self.since else size
        lower(self.lay, self.base, self.stride, self.as_one, e, Y, self.ledger)

    def _place(self) -> None:
        """Put the matrices of the coming layer where the kernels read them."""
        from .._kernels.drive import feed, reach
        from .._kernels.layer import FEED, GAIN, log2, place_attention, place_weights

        at = [0 if len(M) == 1 else self.layer for M in (self.A, self.H)]
        if self.placed == at:
            return
        self.placed = at
        fed, gain = 0.0, 1.0
        for h in range(self.A.shape[1]):
            A, H = self.A[at[0], h], self.H[at[1], h]
            apart = not self.as_one
            place_attention(A, self.generic, self.compressed, apart, self.lay, self.left, self.small, h)
            place_weights(H, self.lay, self.right, h)
            rows = self.rows_of_A
            self.sums[h] = rows.sums[at[0] if len(rows.sums) > 1 else 0, h, 0]
            if self.as_one:
                self.turns.reshape(-1, self.lay.n)[h] = rows.turns[at[0], h, 0]
            fed += feed(A, H, self.sums[h])
            gain += reach(A, H)
        for place, value in ((FEED, log2(fed)), (GAIN, log2(gain))):
            self.ledger[place] = max(self.ledger[place], value) if self.since else value

    def measure(self, room: Any, *what: Any) -> None:
        """Measure a state that waited in ``room``; ``what``: as it was handed to :meth:`_later`."""
        from .._kernels.measure import row_noise, write_angles
        from .._kernels.products import unpack

        layer, t, noise, ratio = what
        n, d = self.lay.n, self.lay.d
        if self.slot[place_of("cosine")] >= 0 or self.slot[place_of("abs_cosine")] >= 0:
            write_angles(
                0, t, d, layer, self.zero, self.own, self.stride, row_noise(noise, n), self.eps, self.slot,
                self.values, self.errors, room, 0, room[self.held :], np.zeros(n, dtype=self.x0.dtype),
            )  # fmt: skip
        wanted = [self.slot[place_of(name)] for name in ("effective_rank", "stable_rank")]
        if any(k >= 0 for k in wanted):
            X = np.empty((n, d), dtype=self.x0.dtype)
            unpack(room, 0, n, 0, X)
            s, by_svd, blurred = singular_values(X, ratio)
            rank, off_rank, stable, off_stable = ranks(s, noise, self.eps)
            found = ((rank, off_rank + blurred * rank), (stable, off_stable))
            for k, (value, error) in zip(wanted, found, strict=True):
                if k >= 0:
                    self.values[k, 0, t], self.errors[k, 0, t] = value, error
        else:
            by_svd = False
        with self.lock:
            self.lapack += by_svd
        self._free(room)

    def _free(self, room: Any) -> None:
        with self.lock:
            self.free.append(room)
            self.lock.notify_all()
