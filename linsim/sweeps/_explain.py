"""What a sweep is going to cost: for a person to read before the work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._executors import worker_count
from ._memory import variable_of
from ._plan import Plan
from ._spec import Spec
from ._status import status
from ._variables import PREDICTED

__all__ = ["Explained", "explain"]


@dataclass(frozen=True)
class Explained:
    """What a sweep is going to do: systems, blocks, bytes, and seconds by a short probe."""

    systems: int
    points: int
    left: int
    blocks: int
    block: tuple[int, ...]
    batch: int
    batch_by: tuple[str, ...]
    memory: int
    disk: int
    workers: int
    seconds: float

    def lines(self) -> list[str]:
        """Return it as text."""
        by = f", one value of {', '.join(self.batch_by)} in each" if self.batch_by else ""
        return [
            f"points    {self.points:,}; with replicates {self.systems:,} systems, {self.left:,} to compute",
            f"blocks    {self.blocks:,} of {' x '.join(map(str, self.block))}, each committed as a whole",
            f"batches   {self.batch:,} systems{by}; about {_bytes(self.memory)} of memory a worker",
            f"store     {_bytes(self.disk)}",
            f"time      about {_time(self.seconds)} on {self.workers} worker{'s' * (self.workers > 1)} "
            "(from a short probe)",
        ]


def explain(spec: Spec, store: Any = None, *, executor: Any = None, budget: Any = None) -> Explained:
    """Say what a sweep is going to do, computing no more than a tenth of a second of it.

    Parameters
    ----------
    spec : Spec
    store : path, optional
        Where it is to be written; what is there already counts.
    executor, budget
        As for :func:`linsim.sweep`.

    Returns
    -------
    Explained
        ``lines()`` is it as text; ``memory`` and ``disk`` are bytes, ``seconds`` are estimated.

    Raises
    ------
    InvalidValueError, InvalidTypeError, FileFormatError
        As :func:`linsim.sweep`.

    Examples
    --------
    >>> spec = Spec(depth=8, n=4, d=2, replicates=3, attention={"family": "dirichlet"},
    ...             weights={"family": "identity", "scale": {"values": [-1.0, 1.0], "name": "h"}})
    >>> found = explain(spec)
    >>> found.points, found.systems, found.left
    (2, 6, 6)
    """
    return _explained(spec.planned(store=store, executor=executor, budget=budget, measured=True))


def _explained(plan: Plan) -> Explained:
    names = [*plan.job.metrics, "status", *(PREDICTED if plan.job.predictions else ())]
    layers = len(plan.job.layers)
    each = sum(
        np.dtype(variable_of(n).dtype).itemsize * (layers if variable_of(n).layered else 1) for n in names
    )
    left = plan.grid.total
    if plan.path is not None and plan.existing:
        found = status(plan.path)
        left = plan.grid.total - found.done
    workers = worker_count(plan.executor)
    blocks = plan.blocks()
    by = {axis.dim for axis in plan.grid.axes if axis.name in plan.job.batch_by}
    at = [k for k, dim in enumerate(plan.grid.sizes) if dim in by]
    batches = 0
    for block in blocks:
        groups = math.prod(block.shape[k] for k in at)
        batches += groups * math.ceil(block.size / groups / plan.job.batch)
    cost = plan.cost.of(left, batches * left // plan.grid.total) if plan.cost is not None else math.nan
    return Explained(
        plan.grid.total,
        plan.grid.total // plan.grid.sizes["replicate"],
        left,
        len(blocks),
        plan.extents,
        plan.job.batch,
        plan.job.batch_by,
        min(plan.job.batch, plan.grid.total) * (plan.bytes or 0),
        plan.grid.total * each,
        workers,
        cost / workers,
    )


def _bytes(count: float) -> str:
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log2(max(count, 1)) // 10), len(units) - 1)
    return f"{count / 1024**power:.3g} {units[power]}"


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"
