"""One BLAS thread: with more, small products and decompositions only wait for each other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

__all__ = ["on_one_thread"]

P = ParamSpec("P")
R = TypeVar("R")


def on_one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that the host's BLAS and LAPACK run on the calling thread.

    An SVD of 197 x 768 takes twice as long on two OpenBLAS threads as on one,
    and many times as long where another process wants the second core.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return wrapper


@functools.cache
def _controller() -> Any:
    # NumPy and SciPy each bring a BLAS, and a controller knows only those that are loaded
    # when it is made: SciPy's must be, or what is computed with it later has all threads
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
