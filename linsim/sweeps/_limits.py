"""One thread for each worker: BLAS, OpenMP, numba's loops and linsim's own pieces."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from .._parallel import one_thread

__all__ = ["worker_limits"]

_held: list[Any] = []


@contextlib.contextmanager
def worker_limits(parent: int | None) -> Iterator[None]:
    """Hold a worker to one thread; ``parent``: the process that planned the sweep, None for no limit.

    In a process of its own everything is limited for good.  In a thread of the planning process only
    linsim's own pieces are: libraries know no limit for one thread, and on one thread linsim calls them
    under a limit of one anyway.
    """
    if parent is not None and parent != os.getpid():
        _limit_process()
    with one_thread() if parent is not None else contextlib.nullcontext():
        yield


def _limit_process() -> None:
    if _held:
        return
    # a controller sees only what is loaded when it is made: SciPy brings a BLAS of its own
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    _held.append(threadpool_limits(limits=1))
    # of numba's loops threadpoolctl knows nothing, nor do they read OMP_NUM_THREADS
    import numba

    numba.set_num_threads(1)
