"""Compiled kernels behind a handful of pure functions, each with a NumPy reference.

Everything that knows of Numba is in this package: :mod:`.lanes` (vectors as
values), :mod:`.products` (matrix products), :mod:`.singular` (singular values
across lanes), :mod:`.walk` (many layers of small systems); :mod:`.kept` says where
compiled ones lie, :mod:`.first_use` which there are.  The functions here
take and return NumPy arrays; without Numba, or where a kernel does not apply,
callers use NumPy instead, and the same numbers come out to rounding.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

import numpy as np

from .._namespace import erfc
from .._types import HostArray
from . import first_use
from .slots import MEASURED

__all__ = [
    "LARGEST",
    "MEASURED",
    "announce",
    "at_cache_line",
    "columns_of_panels",
    "exponentials",
    "frozen",
    "gelu",
    "importable",
    "missing",
    "ready",
    "singular_values",
    "symmetric_eigenvalues",
    "usable",
]


#: a matrix with more rows or columns than this leaves the cache when eight or sixteen lie side by side
LARGEST = 256


@functools.cache
def missing() -> str | None:
    """Return None if Numba can be used, else the reason why not.

    Set ``LINSIM_NUMBA=0`` to do without.
    """
    if os.environ.get("LINSIM_NUMBA", "1") == "0":
        return "switched off by LINSIM_NUMBA=0"
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"Numba cannot be imported ({error})"
    return None


def importable() -> bool:
    """Return whether there are kernels: those that draw are used even where others are switched off."""
    reason = missing()
    return reason is None or reason.startswith("switched off")


def usable() -> bool:
    """Return whether kernels can be used; where Numba is absent say so, once."""
    reason = missing()
    if reason is not None and not reason.startswith("switched off"):
        _say_once(f"linsim: {reason}; small systems run several times slower. Install numba.")
    return reason is None


def ready(group: str, dtype: Any) -> bool:
    """Return whether kernels, a group of :data:`.first_use.GROUPS`, can be used without waiting for Numba."""
    return usable() and first_use.ready(group, dtype)


@functools.cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)


@functools.cache
def announce(kernel: Any, dtype: Any) -> None:
    """Say that kernels are compiled, where no earlier process left this one in the cache.

    Asked before a kernel is used for the first time.
    """
    if not first_use.kept(kernel, str(dtype)):
        _say_once("linsim: compiling kernels, once for this machine; about half a minute ...")


def singular_values(x: HostArray) -> tuple[HostArray, int]:
    """Singular values of a stack, decreasing, and how many matrices LAPACK had to do.

    Parameters
    ----------
    x : (b, n, d) float64 or float32

    Returns
    -------
    (b, min(n, d)) of the dtype of x; a matrix that is not finite has NaN.

    Notes
    -----
    The error is at most a small multiple of eps sigma_1, as LAPACK's.  Where
    eight or more matrices fill the lanes and neither side exceeds
    :data:`LARGEST` they are found by :mod:`.singular`, else by LAPACK, which is
    also asked about each matrix that did not converge.  The choice for a matrix
    depends on its shape only, never on the others'.
    """
    if max(x.shape[-2:]) > LARGEST or not ready("singular", x.dtype):
        return _by_lapack(x), 0
    from .walk import tile_values

    announce(tile_values, x.dtype)
    scale = np.maximum(np.max(x, axis=(-1, -2)), -np.min(x, axis=(-1, -2)))[:, None, None]
    known = np.isfinite(scale) & (scale > 0)
    scale = np.where(known, scale, 1).astype(x.dtype)
    out = np.empty((x.shape[0], min(x.shape[-2:])), dtype=x.dtype)
    tile_values(frozen(x / scale), 0, x.shape[0], out)
    wrong = np.flatnonzero(np.any(np.isnan(out), axis=-1))
    if wrong.size:
        out[wrong] = _by_lapack(x[wrong] / scale[wrong])
    return -np.sort(-out, axis=-1) * scale[:, 0], int(wrong.size)


def symmetric_eigenvalues(x: HostArray) -> HostArray:
    """Eigenvalues of a stack (b, m, m) of symmetric float64 matrices, descending, to a rounding of the norm.

    What was not found across lanes, or is larger than :data:`LARGEST`, is left to LAPACK; NaN for a matrix
    that is not finite.
    """
    if x.shape[-1] > LARGEST or not ready("symmetric", x.dtype):
        return _symmetric_by_lapack(x)
    from .symmetric import symmetric_values

    announce(symmetric_values, x.dtype)
    out = np.empty(x.shape[:2])
    symmetric_values(frozen(x), out)
    wrong = np.flatnonzero(np.any(np.isnan(out), axis=-1))
    out[wrong] = _symmetric_by_lapack(x[wrong])
    return -np.sort(-out, axis=-1)


def _symmetric_by_lapack(x: HostArray) -> HostArray:
    """Reference of :func:`symmetric_eigenvalues`."""
    finite = np.all(np.isfinite(x), axis=(-1, -2))
    values = np.linalg.eigvalsh(np.where(finite[:, None, None], x, 0))[:, ::-1]
    return np.where(finite[:, None], values, np.nan)


def _by_lapack(x: HostArray) -> HostArray:
    """Reference of :func:`singular_values`."""
    finite = np.all(np.isfinite(x), axis=(-1, -2))
    values = np.linalg.svd(np.where(finite[:, None, None], x, 0), compute_uv=False)
    return np.where(finite[:, None], values, np.nan).astype(x.dtype)


def gelu(x: HostArray) -> HostArray:
    """GELU x Phi(x) of each number, of an array of float64 or float32."""
    if not (x.flags.c_contiguous and ready("elementary", x.dtype)):
        return x * 0.5 * erfc(-x * float(np.sqrt(0.5)))
    from . import elementary

    announce(elementary.gelu, x.dtype)
    out = np.empty_like(x)
    elementary.gelu(frozen(x).reshape(-1), out.reshape(-1))
    return out


def exponentials(x: HostArray) -> HostArray:
    """Exponentials of rows (..., n) less the largest of each row, written over x."""
    if not (x.flags.c_contiguous and ready("elementary", x.dtype)):
        x -= np.max(x, axis=-1, keepdims=True)
        return np.exp(x, out=x)
    from . import elementary

    announce(elementary.exponentials, x.dtype)
    elementary.exponentials(x.reshape(-1, x.shape[-1]))
    return x


def columns_of_panels(dtype: Any) -> int:
    """How many columns a panel of :mod:`.linear` has; 0 where nothing is compiled yet."""
    if not ready("linear", dtype):
        return 0
    from .linear import PANEL, WIDTH

    return PANEL * WIDTH // int(np.dtype(dtype).itemsize)


def at_cache_line(size: int, dtype: Any) -> HostArray:
    """A flat array, not filled, that starts where a cache line does."""
    itemsize = np.dtype(dtype).itemsize
    out = np.empty(size + 64 // itemsize, dtype=dtype)
    start = -out.ctypes.data % 64 // itemsize
    return out[start : start + size]


def frozen(x: HostArray) -> HostArray:
    """A contiguous read-only view: kernels are compiled for that kind only, whatever comes in."""
    view = np.ascontiguousarray(x).view()
    view.flags.writeable = False
    return view
