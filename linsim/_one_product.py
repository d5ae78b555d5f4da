"""Products of a stack of matrices with one that several share, as one large product; and of rows.

On a GPU a product whose batch axes are broadcast goes through a table of pointers, at a fraction of the rate
of a plain one; NumPy loops over matrices in any case, and keeps its own way.  What goes over a large array
once needs a kernel there, too.
"""

from __future__ import annotations

import array_api_compat
import numpy as np

from ._namespace import Array, namespace

__all__ = ["attended", "lengths", "weighted", "without"]


def weighted(X: Array, H: Array) -> Array:
    """X H for X (..., n, d) and H (..., d, e), as many axes, those of H as long or 1.

    >>> X, H = np.arange(12.0).reshape(2, 3, 2), np.asarray([[[1.0, 2.0], [3.0, 4.0]]])
    >>> np.array_equal(weighted(X, H), X @ H)
    True
    """
    xp, shared = namespace(X), _shared(X, H)
    if xp is np or shared == 0:
        return X @ H
    kept, (n, d) = X.shape[: X.ndim - 2 - shared], X.shape[-2:]
    tall = xp.reshape(X, (*kept, -1, d))
    return xp.reshape(tall @ xp.reshape(H, (*kept, d, -1)), (*X.shape[:-2], n, H.shape[-1]))


def attended(A: Array, X: Array) -> Array:
    """A X for A (..., m, n) and X (..., n, d), as many axes, those of A as long or 1.

    >>> A, X = np.asarray([[[0.5, 0.5], [0.0, 1.0]]]), np.arange(12.0).reshape(3, 2, 2)
    >>> np.array_equal(attended(A, X), A @ X)
    True
    """
    xp, shared = namespace(X), _shared(X, A)
    if xp is np or shared == 0:
        return A @ X
    first = X.ndim - 2 - shared
    kept, between, (n, d), m = X.shape[:first], X.shape[first:-2], X.shape[-2:], A.shape[-2]
    axes = (*range(first), X.ndim - 2, *range(first, X.ndim - 2), X.ndim - 1)
    wide = xp.reshape(xp.permute_dims(X, axes), (*kept, n, -1))
    found = xp.reshape(xp.reshape(A, (*kept, m, n)) @ wide, (*kept, m, *between, d))
    back = (*range(first), *range(first + 1, X.ndim - 1), first, X.ndim - 1)
    return xp.permute_dims(found, back)


def without(X: Array, column: Array, row: Array) -> Array:
    """X less the product of a column (..., n, 1) and a row (..., 1, d); X, of a GPU, is changed.

    >>> X = np.ones((1, 2, 2))
    >>> without(X, np.asarray([[[1.0], [2.0]]]), np.asarray([[[0.0, 1.0]]]))
    array([[[ 1.,  0.],
            [ 1., -1.]]])
    """
    if array_api_compat.is_cupy_array(X):
        from ._cuda.large import without_product

        found = without_product(X, column, row)
        if found is not None:
            return found
    return X - column * row


def lengths(X: Array) -> Array:
    """Lengths of rows, (..., n, 1) of X (..., n, d).

    >>> lengths(np.asarray([[[3.0, 4.0]]]))
    array([[[5.]]])
    """
    xp = namespace(X)
    if array_api_compat.is_cupy_array(X):
        from ._cuda.large import lengths as on_device

        found = on_device(X)
        if found is not None:
            return found
    return xp.sqrt(xp.sum(X * X, axis=-1, keepdims=True))


def _shared(X: Array, M: Array) -> int:
    """How many of the last batch axes of X share one matrix; 0 where the others do not fit as they are."""
    many, own = X.shape[:-2], M.shape[:-2]
    if len(many) != len(own):
        return 0
    count = 0
    while count < len(own) and own[-1 - count] == 1:
        count += 1
    return count if many[: len(many) - count] == own[: len(own) - count] and many != own else 0
