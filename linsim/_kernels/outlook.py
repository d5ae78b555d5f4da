"""A plain loop in single precision, to see what becomes of tokens: :mod:`linsim._engines.outlook`."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .layer import power_of_two
from .panels import peak
from .products import add_product, aligned, columns, pack, pack_rows, rows, unpack

__all__ = ["ahead"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
# called from compiled code alone: no wrappers, and kept with their callers
_INNER = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@nb.njit(**_INNER)
def _rescaled(X, n, d):
    """Bring the largest entry into [1, 2), exactly."""
    top = float(peak(X, 0, rows(n), n, d))
    if top > 0 and math.isfinite(top):
        factor = power_of_two(1.0 - math.frexp(top)[1])
        for k in range(X.size):
            X[k] *= factor


@nb.njit(**_INNER)
def _off_one_line(M):
    """1 - |M M^T|^2 / |M|^4 of a matrix (n, d): about 2 (sigma_2 / sigma_1)^2 where that is small."""
    n, d = M.shape
    right, gram = aligned(d * columns(n, 4), M[0]), aligned(rows(n) * columns(n, 4), M[0])
    left = aligned(rows(n) * d, M[0])
    pack(M.T, d, right, 0)
    squares = 0.0
    for i in range(n):
        for j in range(d):
            left[i * d + j] = M[i, j]
            squares += float(M[i, j]) * float(M[i, j])
    # numbers as variables: every constant would be compiled a function of its own
    begin, height = 0 * n, rows(n)
    add_product(left, begin, d, right, begin, d, begin, gram, begin, height, begin, height, d, n, n >= 0)
    products = 0.0
    for k in range(gram.size):
        products += float(gram[k]) * float(gram[k])
    return 1 - products / (squares * squares)


@nb.njit(**_COMPILE)
def ahead(A, H, x0, last, every, out):
    """Take tokens through ``last`` layers, and write how far they are off one line and off their mean.

    Parameters
    ----------
    A (b or 1, n, n), H (b or 1, d, d), x0 (b or 1, n, d) : float64
    last, every : layers, and how many of them lie between two rescalings
    out (b, 2) : written; how far off one line (:func:`_off_one_line`), and the squares of the differences
        from the mean over those of the mean; NaN or infinite beyond single precision
    """
    n, d = x0.shape[1], x0.shape[2]
    height, stored = rows(n), columns(d, 4)
    like = np.zeros(1, np.float32)
    X, T = aligned(height * stored, like), aligned(height * stored, like)
    left, right = aligned(height * n, like), aligned(d * stored, like)
    M = np.zeros((n, d), np.float32)
    begin, fresh = 0 * n, n < 0  # (variables, as above)
    for s in range(out.shape[0]):
        x = x0[s if x0.shape[0] > 1 else 0]
        if s == 0 or A.shape[0] > 1:
            B = A[s if A.shape[0] > 1 else 0]
            for i in range(n):
                for j in range(n):
                    left[i * n + j] = B[i, j]
        if s == 0 or H.shape[0] > 1:
            pack_rows(H[s if H.shape[0] > 1 else 0], right, 0)
        top = 0.0
        for i in range(n):
            for j in range(d):
                top = max(top, abs(x[i, j]))
        for i in range(n):
            for j in range(d):
                M[i, j] = x[i, j] / top
        pack(M, height, X, 0)
        for layer in range(1, last + 1):
            for start in range(0, d, 64):
                width = min(64, stored - start)
                add_product(
                    X, start * height, width, right, begin, d, start, T, begin, height, begin, height,
                    min(width, d - start), d, start == 0,
                )  # fmt: skip
            add_product(left, begin, n, T, begin, height, begin, X, begin, height, begin, height, n, d, fresh)
            if layer % every == 0 or layer == last:
                # exactly, so that how often changes nothing
                _rescaled(X, n, d)
        unpack(X, 0, height, 0, M)
        low = high = 0.0
        for j in range(d):
            mean = 0.0
            for i in range(n):
                mean += float(M[i, j])
            mean /= n
            low += n * mean * mean
            for i in range(n):
                high += (float(M[i, j]) - mean) ** 2
        out[s, 0] = _off_one_line(M) if n <= d else _off_one_line(np.ascontiguousarray(M.T))
        out[s, 1] = high / low if low > 0 else np.inf
