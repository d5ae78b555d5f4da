"""Layer by layer in a compiled kernel, cut along the dominant modes: every metric, of NumPy arrays.

What :mod:`.matrices` does with whole arrays, :mod:`linsim._kernels.shadows` does for one system after
the other: parts of the state, their errors, both rescaled.  Recorded layers are measured together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import _kernels
from .._parallel import workers
from .._recorded import Recorded, record_together, sharper
from .._shadow import SAFETY, begin
from .._split import row_split
from .._state import PARTS, Split, State, between_rescalings
from ..metrics._registry import needing
from .lanes import stacks
from .matrices import ENLARGED, split_of
from .protocol import Job
from .task import StoppedError, Task, budget, eps_of, placed, rounding, started

__all__ = ["about", "covers", "jobs", "name", "operations", "worthwhile"]

F = np.ndarray[Any, Any]

name = "parts"
about = "compiled: layer by layer, along the dominant modes; every metric"

# numbers of recorded states that are measured together
_TOGETHER = 2**17
# layers that enlarge entries by more powers of two leave the range of the errors, which are float32
_WIDEST = 50.0
# below so many operations another thread costs more than it gains
_WORTH_IT = 3e6


def covers(task: Task) -> str:
    """Return what the kernel cannot do of a task, "" if it does all."""
    if task.rule.moves_by != "matrices":
        return f"{type(task.rule).__name__} has no matrices that are known beforehand"
    if not task.on_host:
        return "arrays that are not NumPy's"
    if not task.alike:
        return "layers with different numbers of heads"
    if looking := needing("attention", task.names):
        return f"{', '.join(looking)}: attention stays in the kernel"
    if float(np.max(task.growth)) > _WIDEST:
        return f"layers that enlarge entries by more than 2^{_WIDEST:.0f}"
    return "" if _kernels.usable() else "numba does not work here"


def worthwhile(task: Task) -> str:
    """The fastest way to gaps, layer by layer."""
    return "metrics that need the dominant modes kept apart"


def operations(task: Task) -> float:
    """Products of a layer, on the state and its three shadows, and singular values of what is recorded."""
    n, d, heads = task.n, task.d, len(task.rule.checked_heads(0))
    return task.size * (4 * task.last * heads * 2.0 * n * d * (n + d) + len(task.layers) * 20.0 * n * d * min(n, d))


def jobs(task: Task) -> list[Job]:
    """Return the work in pieces of a few systems."""
    from .._kernels.shadows import walk

    size = task.size
    _kernels.announce(walk, task.start.dtype)
    A, H = (_kernels.frozen(x) for x in stacks(task))
    several = A.shape[2] > 1 or H.shape[2] > 1 or task.start.shape[0] > 1

    def run(first: int, last: int) -> Recorded:
        part = slice(first, last)

        def own(M: F) -> F:
            return M if M.shape[0] == 1 else M[part]

        here = own(task.start)
        split, kinds, enlarged = split_of(task, own)
        found = _walked(task, here, split, A, H, part, kinds)
        if float(np.max(enlarged)) <= ENLARGED:
            return found
        # vectors far from orthogonal cost digits of what does not need them: cut off the mean alone as well
        plain = row_split([own(M).astype(np.float64) for M, _ in task.heads(0)], task.d, eps_of(here))
        other = _walked(task, here, placed(plain, here), A, H, part, kinds)
        # of those alone: what is found of a system may not depend on the others of its batch
        far = (enlarged > ENLARGED)[:, None]
        errors = {name: np.where(far, x, np.inf) for name, x in other.errors.items()}
        return sharper(found, replace(other, errors=errors))

    if not several:
        return [Job(slice(0, size), functools.partial(run, 0, 1))]
    pieces = 1 if operations(task) < _WORTH_IT else min(size, workers())
    edges = [size * k // pieces for k in range(pieces + 1)]
    return [Job(slice(a, b), functools.partial(run, a, b)) for a, b in zip(edges, edges[1:], strict=False)]


def _walked(task: Task, here: F, split: Split, A: F, H: F, part: slice, kinds: F) -> Recorded:
    """Take the systems ``part`` of a task, whose tokens are ``here``, through the layers and measure them."""
    from .._kernels.shadows import hold, patterns, walk

    n, d, dtype, layers = task.n, task.d, here.dtype, task.layers
    growth = np.broadcast_to(task.growth, task.size)[part]
    state = started(here, split)
    shadows = begin(state, float(np.max(growth)))
    errors = shadows.errors
    m = part.stop - part.start
    copies = errors.R.shape[1]
    padded, padded32 = ((-(-d // w) * w) for w in (64 // dtype.itemsize, 16))

    def vectors(split: Split, width: int, dtype: Any) -> tuple[F, ...]:
        out = []
        for x, length in ((split.u, n), (split.v, n), (split.w, width), (split.z, width)):
            x = np.reshape(x, (x.shape[0], -1))
            whole = np.zeros((m, length), dtype=dtype)
            whole[:, : x.shape[1]] = x
            out.append(whole)
        return tuple(out)

    def of(x: F) -> F:
        return np.ascontiguousarray(np.broadcast_to(np.reshape(x, (x.shape[0], -1))[:, 0], m))

    def laid(parts: State, copies: int, width: int, dtype: Any) -> tuple[F, ...]:
        height = -(-n // 4) * 4
        sizes = (copies * height * width, copies * width, copies * height, copies, copies * width)
        held = (*(np.zeros((m, size), dtype=dtype) for size in sizes), np.zeros((m, copies, 5)))
        flat = []
        for key in ("a", "r", "b", "R", "mean"):
            x = getattr(parts, key)
            x = x if x.ndim == 4 else x[:, None]
            flat.append(np.ascontiguousarray(np.broadcast_to(x, (m, *x.shape[1:]))))
        exponents = [np.reshape(getattr(parts, f"e_{key}"), (-1, copies)) for key in PARTS]
        e = np.stack([np.broadcast_to(x, (m, copies)) for x in exponents], axis=-1)
        hold(*flat, e, held)
        return held

    held, held_errors = laid(state, 1, padded, dtype), laid(errors, copies, padded32, np.float32)
    cuts, cuts32 = vectors(split, padded, dtype), vectors(split, padded32, np.float32)
    lengths = np.stack([np.linalg.norm(x.astype(np.float64), axis=-1) for x in cuts], axis=-1)
    eigenvalues = np.stack([of(split.lam), of(split.mu)], axis=-1).astype(np.float64)
    order = ("a", "r", "b", "R", "mean")
    pools = patterns(*(shadows.pools[k] for k in order))
    fixed = patterns(*(shadows.fixed[k][None] for k in order))
    condition = of(shadows.condition).astype(np.float64)
    coupled = of(split.coupled) > 0
    any_mean = np.full(m, split.any_mean)
    every = np.clip(budget(here) // np.maximum(growth, 1.0), 1, between_rescalings(here, 1)).astype(np.int64)

    def through(some: slice, layer: int, wanted: F) -> State:
        count, k = some.stop - some.start, len(wanted)
        shapes = ((), (d,), (n,), (n, d), (d,))
        out = (*(np.empty((count, k, *shape), dtype=dtype) for shape in shapes), np.empty((count, k, 5)))
        noise, rows = np.empty((count, k, 5)), np.empty((count, k, n))

        def cut(arrays: tuple[F, ...]) -> tuple[F, ...]:
            return tuple(x[some] for x in arrays)

        walk(
            A, H, part.start + some.start, cut(held), cut(held_errors), cut(cuts), cut(cuts32),
            eigenvalues[some], lengths[some], condition[some], coupled[some], any_mean[some], pools, fixed,
            every[some], shadows.every, SAFETY, layer, wanted, out, noise, rows, task.stop,
        )  # fmt: skip
        if task.stop[0]:
            raise StoppedError
        both = count * k
        a, r, b, R, mean, e = out

        def repeated(x: F) -> F:
            return x if x.shape[0] == 1 else np.repeat(x[some], k, axis=0)

        return State(
            split.map(repeated),
            a=a.reshape(both, 1, 1),
            r=r.reshape(both, 1, d),
            b=b.reshape(both, n, 1),
            R=R.reshape(both, n, d),
            mean=mean.reshape(both, 1, d),
            **{f"e_{key}": e.reshape(both, 1, 5)[:, :, j : j + 1] for j, key in enumerate(PARTS)},
            noise=noise.reshape(both, 1, 5),
            rows=rows.reshape(both, n, 1),
        )

    until = np.broadcast_to(task.zero_until, (task.size, n))[part][:, :, None]
    return record_together(
        _groups(m, layers, n * d, through), m, layers, task.names, here, until, task.keep_states, name, kinds,
        rounding(here, layers),
    )  # fmt: skip


def _groups(m: int, layers: F, numbers: int, through: Callable[[slice, int, F], State]) -> Any:
    """Yield systems, places of layers and their states, about _TOGETHER numbers at a time."""
    k = len(layers)
    systems = max(1, _TOGETHER // (numbers * k))
    at_once = k if systems > 1 else max(1, _TOGETHER // numbers)
    for s in range(0, m, systems):
        some, layer = slice(s, min(m, s + systems)), 0
        for t in range(0, k, at_once):
            wanted = layers[t : t + at_once]
            yield some, slice(t, t + len(wanted)), through(some, layer, wanted)
            layer = int(wanted[-1])
