"""Every metric of systems whose modes need not be kept apart, by the walk of :mod:`.lanes`.

Where tokens stay away from one line, or close to their mean, nothing cancels but what the mean keeps apart,
and all errors of a state grow alike: then a probe, a fifth of a state, tells how fast, in the place of three
errors that travel along.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _kernels
from .._state import PARTS, Split, State, between_rescalings
from .._types import HostArray
from .affine import packed_drive, row_structure
from .compiled_parts import Group
from .task import StoppedError, Task, budget

__all__ = ["fits", "walked"]

# numbers of states that are held at once
_HELD = 2**20


def fits(task: Task) -> bool:
    """Whether systems of a task may go this way: small ones in double precision, of which nothing but
    matrices moves tokens."""
    skipped = int(task.layers[0] == 0)
    count = len(task.layers) - skipped
    return (
        task.precision == "float64"
        and max(task.n, task.d) <= _kernels.LARGEST
        and count * task.n * task.d <= _HELD
    )


def walked(task: Task, cut: Split, A: HostArray, H: HostArray, numbers: HostArray) -> Iterator[Group]:
    """Take some systems of a task through the layers; yield states of them.

    ``cut``: along the mean; ``A``, ``H``: stacks of all layers; ``numbers``: which of the systems of A and H
    they are.
    """
    from .._kernels.layer import SHALLOW
    from .._kernels.probed import probed

    n, d, dtype = task.n, task.d, task.start.dtype
    skipped = int(task.layers[0] == 0)  # tokens are measured as they are given
    wanted = task.layers[skipped:]
    k = len(wanted)
    if not k:
        return
    shape = row_structure(task, A)
    drive, sizes = (_kernels.frozen(x) for x in packed_drive([], d, dtype))
    growth = np.broadcast_to(np.maximum(task.growth, 1.0), task.size)[numbers]
    every = np.clip(budget(task.start) // growth, 1, between_rescalings(task.start, 2)).astype(np.int64)
    kept = np.broadcast_to(cut.preserves_mean.ravel(), len(numbers))
    generic = np.random.default_rng(0).standard_normal((n + 1, max(n, d)))
    compressible = A.shape[0] == 1 and A.shape[1] == 1 and task.last <= SHALLOW
    x0 = _kernels.frozen(task.start)
    at_once = max(1, _HELD // (n * d * k))
    for first in range(0, len(numbers), at_once):
        some = slice(first, min(len(numbers), first + at_once))
        m = some.stop - some.start
        R, r = np.empty((m, k, n, d), dtype), np.empty((m, k, d), dtype)
        e, noise = np.empty((m, k, len(PARTS))), np.empty((m, k, len(PARTS)))
        probed(
            A, H, shape.sums, shape.turns, False, drive, sizes, x0, numbers[some], wanted, every[some],
            kept[some], generic, compressible, R, r, e, noise, task.stop,
        )  # fmt: skip
        if task.stop[0]:
            raise StoppedError
        yield some, slice(skipped, skipped + k), _state(cut, some, R, r, e, noise)


def _state(cut: Split, some: slice, R: HostArray, r: HostArray, e: HostArray, noise: HostArray) -> State:
    """States (m, k, ...) as metrics take them, one system after the other."""
    m, k, n, d = R.shape

    def own(x: HostArray) -> HostArray:
        return x if len(x) == 1 else np.repeat(x[some], k, axis=0)

    r, e = r.reshape(m * k, 1, d), e.reshape(m * k, 1, len(PARTS))
    noise = noise.reshape(m * k, 1, len(PARTS))
    # a token's share of the rounding of all: twice an even one
    rows = noise[:, :, PARTS.index("R")] + 1 - 0.5 * np.log2(n)
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
