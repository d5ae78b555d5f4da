"""One thread for each worker: BLAS, OpenMP, numba's loops and linsim's own pieces."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from .._parallel import one_thread

__all__ = ["worker_limits"]


@contextlib.contextmanager
def worker_limits(parent: int | None) -> Iterator[None]:
    """Hold a worker to one thread; ``parent``: the process that planned the sweep, None for no limit.

    In a process of its own that goes for every library.  In a thread of the planning process it goes for
    linsim's own pieces: libraries know no limit for one thread, and on one thread linsim calls them under a
    limit of one anyway.
    """
    with contextlib.ExitStack() as limits:
        if parent is not None:
            limits.enter_context(one_thread())
            if parent != os.getpid():
                limits.enter_context(_libraries_on_one_thread())
        yield


@contextlib.contextmanager
def _libraries_on_one_thread() -> Iterator[None]:
    # A controller sees only what is loaded when it is made, and not every library is at the first block:
    # SciPy brings a BLAS of its own, numba an OpenMP
    import numba
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    # of numba's loops threadpoolctl knows nothing, nor do they read OMP_NUM_THREADS; the number is that of
    # the thread that sets it
    before = numba.get_num_threads()
    with threadpool_limits(limits=1):
        numba.set_num_threads(1)
        try:
            yield
        finally:
            numba.set_num_threads(before)
