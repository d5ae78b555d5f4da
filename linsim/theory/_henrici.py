"""Growth of powers without a basis of eigenvectors: Henrici's bound from Schur forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._types import ComplexArray, FloatArray
from ._logs import log, log_sum

__all__ = ["growth", "growth_of_rows"]


def growth(A: Any, H: Any, layers: FloatArray) -> FloatArray:
    """ln of the bound of ||(I + A (x) H^T)^l||_2 from Schur forms.

    Proved as ``bounds.henrici`` in proofs_check.
    """
    from scipy.linalg import schur
    from scipy.special import gammaln

    if A.size == 0:
        return np.full(layers.shape, -np.inf)
    (a, N_A), (m, N_H) = ((np.diagonal(T), np.triu(T, 1)) for T in (schur(M, "complex")[0] for M in (A, H)))
    top = log(np.max(np.abs(1 + a[:, None] * m)))
    sizes = [np.max(np.abs(a)), np.max(np.abs(m)), np.linalg.norm(N_A, 2), np.linalg.norm(N_H, 2)]
    nu = log(sizes[0] * sizes[3] + sizes[2] * sizes[1] + sizes[2] * sizes[3])
    k = np.arange(A.shape[0] + H.shape[0] - 1)[:, None]
    binomial = gammaln(layers + 1) - gammaln(k + 1) - gammaln(np.maximum(layers - k, 0) + 1)
    terms = binomial + np.where(layers > k, (layers - k) * top, 0) + np.where(k > 0, k * nu, 0)
    return log_sum(np.where(k <= layers, terms, -np.inf), 0)


def growth_of_rows(
    values: ComplexArray, M: FloatArray, start: FloatArray, size: FloatArray, layers: FloatArray
) -> FloatArray:
    """ln of sum_i size_i start_i ||(I + values_i M)^l||, ``start`` the lengths of rows."""
    terms = [
        growth(np.array([[value]]), M, layers) + log(weight * length)
        for value, length, weight in zip(values, start, size, strict=True)
    ]
    return log_sum(np.stack(terms), 0) if terms else np.full(layers.shape, -np.inf)
