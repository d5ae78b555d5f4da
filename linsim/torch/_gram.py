"""The Gram matrix of tokens, and its eigenvalues with and without the first token.

LAPACK's reflections that make a matrix tridiagonal leave its first row where it is (``sytrd``, from the lower
half; Golub and Van Loan, 4th edition, section 8.3.1), so that the tridiagonal matrix without its first row
belongs to the matrix without its own: one reduction serves for both.  PyTorch has no function for it alone,
nor one for a product that is symmetric.  On a processor SciPy's BLAS and LAPACK are called, with the
interpreter's lock released.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .._kernels import announce, frozen, ready

__all__ = ["gram_of", "with_and_without_first"]

Tensor = Any

#: columns that LAPACK takes off at a time
_BLOCK = 64


def gram_of(X: Tensor) -> Tensor:
    """Return X X^T, (b, n, n), of tokens (b, n, d)."""
    if not _on_host(X):
        return X @ X.mT
    b, n, d = X.shape
    tokens, G = X.contiguous(), X.new_zeros(b, n, n)
    sizes, one, none = (ctypes.c_int(n), ctypes.c_int(d)), ctypes.c_double(1.0), ctypes.c_double(0.0)
    for x, g in zip(tokens.numpy(), G.numpy(), strict=True):
        # rows here are columns there: the lower half is the upper one here
        _product()(b"L", b"T", *sizes, one, _at(x), sizes[1], none, _at(g), sizes[0])
    return G + G.triu(1).mT


def with_and_without_first(G: Tensor) -> Tensor:
    """Return eigenvalues (2 b, n) of positive semidefinite matrices (b, n, n), descending.

    Rows b to 2 b are of the matrices without first row and column, and a zero (as of matrices that have zeros
    in their stead).  On a processor G is used up.
    """
    if _on_host(G):
        return torch.from_numpy(_by_one_reduction(G.contiguous().numpy())).flatten(0, 1)
    less = G.clone()
    less[:, 0], less[:, :, 0] = 0.0, 0.0
    return torch.linalg.eigvalsh(torch.cat([G, less])).flip(-1)


def _on_host(x: Tensor) -> bool:
    return bool(x.device.type == "cpu" and x.dtype == torch.float64)


def _by_one_reduction(G: Any) -> Any:
    """Return eigenvalues (2, b, n)."""
    b, n, _ = G.shape
    d, e, found = np.empty((b, n)), np.empty((b, n)), np.empty((2, b, n))
    for one in range(b):
        _tridiagonal(G[one], d[one], e[one])
    found[:] = np.nan
    if ready("tridiagonal", "float64"):
        from .._kernels.tridiagonal import eigenvalues

        announce(eigenvalues, "float64")
        eigenvalues(frozen(d), frozen(e), found)
    for one in np.flatnonzero(np.isnan(found).any(axis=(0, 2))).tolist():  # few, or all
        found[0, one] = _values(d[one], e[one])
        found[1, one, 1:] = _values(d[one, 1:], e[one, 1:])
        found[1, one, 0] = 0.0
    return -np.sort(-found)


def _tridiagonal(G: Any, d: Any, e: Any) -> None:
    """Reduce a matrix, which is lost, to its diagonal ``d`` and what is beside it, n - 1 of ``e``."""
    n, tau, work, info = len(G), np.empty(len(G)), np.empty(_BLOCK * len(G)), ctypes.c_int()
    sizes, room = ctypes.c_int(n), ctypes.c_int(work.size)
    # rows here are columns there, which of a symmetric matrix are the same
    _lapack()[0](b"L", sizes, _at(G), sizes, _at(d), _at(e), _at(tau), _at(work), room, info)


def _values(d: Any, e: Any) -> Any:
    """Return the eigenvalues of a tridiagonal matrix, NaN where LAPACK's iteration did not end."""
    found, used, info = d.copy(), e.copy(), ctypes.c_int()
    _lapack()[1](ctypes.c_int(len(d)), _at(found), _at(used), info)
    return np.where(info.value, np.nan, found)


def _at(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


_TEXT, _INT, _ARRAY = ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_void_p
_DOUBLE = ctypes.POINTER(ctypes.c_double)


@functools.cache
def _product() -> Callable[..., None]:
    from scipy.linalg import cython_blas

    arguments = (_TEXT, _TEXT, _INT, _INT, _DOUBLE, _ARRAY, _INT, _DOUBLE, _ARRAY, _INT)
    return _function(cython_blas, "dsyrk", arguments)


@functools.cache
def _lapack() -> tuple[Callable[..., None], Callable[..., None]]:
    from scipy.linalg import cython_lapack

    reduce = (_TEXT, _INT, _ARRAY, _INT, _ARRAY, _ARRAY, _ARRAY, _ARRAY, _INT, _INT)
    values = (_INT, _ARRAY, _ARRAY, _INT)
    return _function(cython_lapack, "dsytrd", reduce), _function(cython_lapack, "dsterf", values)


def _function(module: Any, name: str, arguments: tuple[Any, ...]) -> Callable[..., None]:
    """Return what a module of Cython exports to compiled code."""
    capsule = module.__pyx_capi__[name]
    named, address = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    named.restype, named.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    address.restype, address.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return ctypes.CFUNCTYPE(None, *arguments)(address(capsule, named(capsule)))
