"""Eigensystems of any real square attention: which rows and columns sum to one number, and what that means.

A stochastic A has A 1 = 1.  Attention beyond the simplex often keeps the constant direction at another
eigenvalue: A - Pi, I - A and (1 + w) A - w P have rows that all sum to s, so A 1 = s 1.  Where rows sum to
different numbers nothing is known of the constant direction, and no mode is special.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._eigen import Eigensystem, weight_eigensystem
from ._types import EPS, BoolArray, ComplexArray, FloatArray

__all__ = ["column_sums", "general_eigensystem", "intended", "row_sums", "stationary"]

# singular values below this, relatively, belong to a multiple eigenvalue
_NULL = 1e-10


def row_sums(A: FloatArray, eps: float = EPS) -> FloatArray:
    """Return the number that all rows of each of (b, n, n) matrices sum to, NaN where they differ; (b,).

    Sums that differ by the rounding of a row, 16 n eps of its sum of moduli, count as equal, and one so
    near to a whole number is meant to be it.
    """
    sums = np.sum(A, axis=-1)
    size = np.max(np.sum(np.abs(A), axis=-1), axis=-1)
    middle = np.mean(sums, axis=-1)
    slack = 16 * A.shape[-1] * eps * size
    whole = np.round(middle) + 0.0  # not -0
    middle = np.where(np.abs(middle - whole) <= slack, whole, middle)
    return np.where(np.max(np.abs(sums - middle[:, None]), axis=-1) <= slack, middle, np.nan)


def column_sums(A: FloatArray, eps: float = EPS) -> FloatArray:
    """Return the number that all columns sum to, NaN where they differ; (b,)."""
    return row_sums(np.swapaxes(A, -1, -2), eps)


def intended(A: FloatArray, eps: float = EPS) -> FloatArray:
    """Return what (b, n, n) matrices, rounded to ``eps``, stand for: sums that are equal are so exactly."""
    n = A.shape[-1]
    rows, columns = row_sums(A, eps), column_sums(A, eps)
    both = ~np.isnan(rows) & ~np.isnan(columns)
    columns = np.where(both, rows, columns)  # n times either is the sum of all entries

    def excess(sums: FloatArray, axis: int) -> Any:
        off = (np.sum(A, axis=axis, keepdims=True) - sums[:, None, None]) / n
        return np.where(np.isnan(off), 0.0, off)

    right, down = excess(rows, -1), excess(columns, -2)
    twice = np.where(both[:, None, None], np.mean(right, axis=-2, keepdims=True), 0.0)
    return A - right - down + twice


def stationary(A: FloatArray, sums: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return u with u A = s u and u 1 = 1, s = ``sums``, (b, n), and whether there is one, (b,).

    Of several the one nearest to uniform.  There is none where s is NaN, or defective.
    """
    n = A.shape[-1]
    found = np.full((A.shape[0], n), 1 / n)
    known = ~np.isnan(sums)
    if not np.any(known):
        return found, known
    shifted = A[known] - sums[known, None, None] * np.eye(n)
    U, s, _ = np.linalg.svd(shifted)
    null = s <= np.maximum(_NULL * s[:, :1], s[:, -1:])  # at least the smallest
    seen = np.sum(U, axis=-2) * null
    vector = (U @ seen[:, :, None])[:, :, 0]
    total = np.sum(vector, axis=-1)
    # 1 is orthogonal to every left vector where s has a Jordan chain
    good = total > 1e-5 * np.sqrt(n) * np.linalg.norm(vector, axis=-1)
    found[known] = np.where(good[:, None], vector / np.where(good, total, 1.0)[:, None], 1 / n)
    known = np.array(known)
    known[known] = good
    return found, known


def general_eigensystem(A: FloatArray, eps: float = EPS) -> tuple[Eigensystem, BoolArray]:
    """Decompose (b, n, n) matrices; where A 1 = s 1 that mode goes first, exactly, (b,) bool says where."""
    n = A.shape[-1]
    system = weight_eigensystem(A, eps)
    sums = row_sums(A, eps)
    pi, known = stationary(A, sums)
    if not np.any(known):
        return system, known
    s = np.where(known, sums, 0.0)
    near = np.abs(system.values - s[:, None]) <= 1e-6 * np.maximum(system.norm, 1e-300)[:, None]
    weight = np.abs(np.sum(system.left, axis=-1)) * near
    first = np.argmax(weight - np.where(near, 0.0, np.abs(system.values - s[:, None])), axis=-1)
    first = np.where(known, first, 0)
    order = np.argsort(np.arange(n) != first[:, None], axis=-1, kind="stable")

    def turned(x: Any, axis: int) -> Any:
        index = order if x.ndim == 2 else order[:, None, :] if axis == -1 else order[:, :, None]
        return np.take_along_axis(x, index, axis=axis)

    values, condition, growth = (turned(x, -1) for x in (system.values, system.condition, system.growth))
    right: ComplexArray = turned(system.right, -1)
    left: ComplexArray = turned(system.left, -2)
    values[known, 0] = s[known]
    growth[known, 0] = 0
    right[known, :, 0] = 1 / np.sqrt(n)
    left[known, 0, :] = pi[known] * np.sqrt(n)
    condition[known, 0] = np.linalg.norm(left[known, 0, :], axis=-1)
    # the other modes carry nothing constant, exactly: left_k . 1 = pi . right_k = 0
    right[known, :, 1:] -= (pi[known, None, :] @ right[known, :, 1:]) * np.ones((n, 1))
    left[known, 1:, :] -= np.sum(left[known, 1:, :], axis=-1, keepdims=True) * pi[known, None, :]
    return (
        Eigensystem(
            values,
            right,
            left,
            condition,
            system.basis_condition,
            system.norm,
            system.diagonalizable,
            growth,
        ),
        known,
    )
