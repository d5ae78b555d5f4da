"""Vectors and eigenvalues as bounds use them: Gram matrices, duals, logarithms of norms of sums."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._types import BoolArray, ComplexArray, FloatArray
from ._logs import log, log_minus, log_sum

__all__ = [
    "TINY",
    "Frame",
    "Gram",
    "Plan",
    "apart",
    "centred",
    "finite",
    "gram",
    "length",
    "log_dual_norm",
    "log_duals",
    "nonzero",
    "norm",
    "pick",
    "quotient",
    "row_norm",
    "turns_of",
    "unit",
    "without",
]

TINY = -700.0  # exp of it is the smallest share of a largest term that is kept


class Frame(NamedTuple):
    """One side of X = V Y Z: unit (or scaled) vectors as columns, and their duals as rows."""

    vectors: ComplexArray  # (b, m, m)
    duals: ComplexArray
    error: FloatArray  # (b, m), of each vector
    dual_error: FloatArray  # (b, m), of each dual, relative to its length


class Plan(NamedTuple):
    """Constants of the bounds, layer by layer the same."""

    log_c: tuple[FloatArray, FloatArray]  # safe logarithms of |c|: from below, from above, (b, n, d)
    log_rho: tuple[FloatArray, FloatArray]
    rows: Frame
    columns: Frame
    i: np.ndarray[Any, Any]  # (b,) a dominant mode
    j: np.ndarray[Any, Any]
    real_row: BoolArray  # its attention eigenvalue is real
    real: BoolArray  # both its eigenvalues are
    free: BoolArray  # (b, n) which modes have the mean 0 exactly
    smooth: BoolArray  # only the constant mode dominates
    sick: BoolArray  # no basis of eigenvectors
    turns: tuple[FloatArray, FloatArray]  # what rounding hides in either basis, where there is one
    uniform: BoolArray  # mode 0 of attention is the constant one


def quotient(h: FloatArray, p: FloatArray) -> FloatArray:
    return np.where(np.isneginf(h), -np.inf, h - p)


class Gram(NamedTuple):
    """Gram matrix of (b, m) vectors and how far, at most, each of these is from the true one."""

    matrix: Any
    error: FloatArray


def norm(logs: FloatArray, G: Any, K: Any) -> FloatArray:
    """ln of the bound of ||V Y Z|| from ln|Y| (b, k, n, d) and Gram matrices (b, n, n), (b, d, d)."""
    # Sizes of vectors go into the logarithms: a coefficient whose vector is zero
    # must not set the scale, or what counts would underflow beside it.
    (G, more_G, of_row), (K, more_K, of_column) = unit(G), unit(K)
    logs = logs + log(of_row)[:, None, :, None] + log(of_column)[:, None, None, :]
    top = np.max(logs, axis=(-1, -2), keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    Y = np.where(np.isneginf(logs), 0.0, np.exp(np.maximum(logs - safe, TINY)))
    left, right = (np.abs(G) + more_G)[:, None], (np.abs(K) + more_K)[:, None]
    entries = np.sum((left @ Y) * (Y @ right), axis=(-1, -2))
    spectral = np.ones(1)
    for M, more in ((G, more_G), (K, more_K)):
        spectral = spectral * (np.linalg.norm(M, 2, axis=(-1, -2)) + np.linalg.norm(more, axis=(-1, -2)))
    square = np.minimum(entries, spectral[:, None] * np.sum(Y * Y, axis=(-1, -2)))
    return safe[..., 0, 0] + log(square) / 2


def unit(G: Any) -> tuple[Any, FloatArray, FloatArray]:
    """Gram matrix of vectors scaled to length one, what their errors may add to it, and the lengths.

    Those of length zero are left out.
    """
    M, error = G if isinstance(G, Gram) else (G, np.zeros(1))
    size = np.sqrt(np.abs(np.diagonal(M, axis1=-2, axis2=-1)))
    whole = size + error
    safe = np.where(whole > 0, whole, 1.0)
    share = size / safe
    there = np.where(whole > 0, 1.0, 0.0)
    more = there[:, :, None] * there[:, None, :] - share[:, :, None] * share[:, None, :]
    return M / safe[:, :, None] / safe[:, None, :], more, whole


def gram(vectors: ComplexArray | FloatArray) -> Any:
    return np.conj(np.swapaxes(vectors, -1, -2)) @ vectors


def turns_of(frame: Frame, index: np.ndarray[Any, Any]) -> FloatArray:
    """Errors of the vectors without their part along vector ``index``, which itself is left out, (b, m)."""
    own = np.take_along_axis(frame.error, index[:, None], axis=-1)
    return np.where(np.arange(frame.error.shape[-1]) == index[:, None], 0.0, frame.error + own)


def log_duals(frame: Frame) -> FloatArray:
    """ln of upper bounds of the lengths of dual vectors, (b, m)."""
    return np.asarray(np.log(np.linalg.norm(frame.duals, axis=-1)) + np.log1p(frame.dual_error))


def log_dual_norm(frame: Frame) -> FloatArray:
    """ln of an upper bound of the norm of all duals, (b,)."""
    worst = np.sqrt(np.sum(frame.dual_error**2, axis=-1))
    return np.asarray(np.log(np.linalg.norm(frame.duals, 2, axis=(-1, -2))) + np.log1p(worst))


def without(logs: FloatArray, index: np.ndarray[Any, Any], axis: int) -> FloatArray:
    """``logs`` with row (axis -2) or column (axis -1) ``index`` of each system left out."""
    here = np.arange(logs.shape[axis]) == index[:, None]
    return np.where(here[:, None, :, None] if axis == -2 else here[:, None, None, :], -np.inf, logs)


def pick(vectors: ComplexArray, index: np.ndarray[Any, Any]) -> ComplexArray:
    """Column ``index`` of each system, (b, m)."""
    return np.take_along_axis(
        np.broadcast_to(vectors, (index.size, *vectors.shape[1:])), index[:, None, None], axis=-1
    )[..., 0]


def apart(vectors: ComplexArray, direction: ComplexArray) -> ComplexArray:
    """Columns without their part along a direction."""
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    return vectors - unit[:, :, None] * (np.conj(unit)[:, None, :] @ vectors)


def row_norm(columns: Frame, low: FloatArray, high: FloatArray) -> FloatArray:
    """ln of a lower bound of ||y Z|| from ln|y| (b, k, d)."""
    sizes = np.log(np.linalg.norm(columns.vectors, axis=-2))[:, None]  # |z_j|
    duals = log_duals(columns)[:, None]  # |w_j|
    one = np.max(low - duals, axis=-1)
    whole = log_sum(2 * low, -1) / 2 - log_dual_norm(columns)[:, None]
    best = np.argmax(low + sizes, axis=-1)[..., None]
    rest = np.where(np.arange(low.shape[-1]) == best, -np.inf, high + sizes)
    alone = log_minus(np.take_along_axis(low + sizes, best, axis=-1)[..., 0], log_sum(rest, -1))
    return np.maximum(np.maximum(one, whole), alone)


def centred(vectors: ComplexArray) -> ComplexArray:
    return vectors - np.mean(vectors, axis=-2, keepdims=True)


def finite(G: ComplexArray) -> ComplexArray:
    """Infinite entries (a token where v is zero) as numbers; their systems are left out later."""
    return np.where(np.isfinite(G), G, 1.0)


def nonzero(v: ComplexArray) -> BoolArray:
    size = np.abs(v)
    return np.min(size, axis=-1) > 1e-10 * np.max(size, axis=-1)


def length(
    frame: Frame, index: np.ndarray[Any, Any], low: FloatArray, beta: FloatArray, size: Any
) -> FloatArray:
    """ln of a lower bound of |v + beta|: coefficients 1 at ``index`` and e^low beside it, (b, k, m)."""
    here = np.arange(low.shape[-1]) == index[:, None]
    coefficients = np.where(here[:, None, :], 0.0, low)
    whole = log_sum(2 * coefficients, -1) / 2 - log_dual_norm(frame)[:, None]
    dual = np.take_along_axis(log_duals(frame), index[:, None], axis=-1)
    return np.maximum(np.maximum(size + log_minus(np.zeros_like(beta), beta), whole), -dual)
