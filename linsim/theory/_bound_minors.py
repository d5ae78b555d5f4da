"""Bounds of 2 x 2 minors and of angles between rows, from modes whose sizes are known."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._types import FloatArray
from ._bound_frames import (
    Frame,
    Gram,
    Plan,
    apart,
    centred,
    finite,
    gram,
    length,
    log_duals,
    nonzero,
    norm,
    pick,
    quotient,
    row_norm,
    turns_of,
    without,
)
from ._logs import log, log_minus, log_sum

__all__ = ["Minors", "angle_bound", "minors", "row_angles", "row_split"]


def row_split(
    rows: Frame,
    columns: Frame,
    low: FloatArray,
    high: FloatArray,
    i: np.ndarray[Any, Any],
    leak: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """ln of h = ||(I - P) X|| from above and of p = ||P X|| from below, P on vector ``i``; (b, k) each.

    ``leak`` (b, 1, m), where it is known better than from the vectors: bounds of |P v_k|.
    """
    v = pick(rows.vectors, i)
    length = np.linalg.norm(v, axis=-1)
    others = without(high, i, -2)
    K = gram(columns.vectors)
    turning = turns_of(rows, i)
    h = norm(others, Gram(gram(apart(rows.vectors, v)), turning), K)
    if leak is None:
        # P V' is one row: (v^* v_k) / |v|
        leak = np.abs(np.conj(v)[:, None, :] @ rows.vectors) / length[:, None, None] + turning[:, None, :]
    across = norm(others, gram(leak), K)
    index = i[:, None, None, None]
    y_low, y_high = (np.take_along_axis(x, index, axis=-2)[..., 0, :] for x in (low, high))
    lead = np.log(length)[:, None] + row_norm(columns, y_low, y_high)
    return h, log_minus(lead, across)


def angle_bound(across: FloatArray, reference: FloatArray, size: FloatArray, n: int) -> FloatArray:
    """ln of (across / (reference - size))^2 / (n - 1), inf where the denominator is not positive."""
    free = log_minus(reference, size)
    return np.where(np.isneginf(across), -np.inf, 2 * (across - free) - np.log(n - 1))


def row_angles(plan: Plan, low: FloatArray, high: FloatArray) -> FloatArray:
    """Angles from the row split at the dominant mode's row: X = v q^T + S."""
    n = high.shape[-2]
    v = pick(plan.rows.vectors, plan.i)
    T = plan.rows.vectors / v[:, :, None]
    others = without(high, plan.i, -2)
    K = gram(plan.columns.vectors)
    across = norm(others, finite(gram(centred(T))), K)
    mean = norm(others, finite(gram(np.mean(T, axis=-2, keepdims=True))), K)
    index = plan.i[:, None, None, None]
    y_low, y_high = (np.take_along_axis(x, index, axis=-2)[..., 0, :] for x in (low, high))
    reference = log_minus(row_norm(plan.columns, y_low, y_high), mean)
    bound = angle_bound(across, reference, across, n)
    return np.where(nonzero(v)[:, None], bound, np.inf)


class Minors(NamedTuple):
    rank: FloatArray
    angles: FloatArray


def minors(plan: Plan, low: FloatArray, high: FloatArray) -> Minors:
    """ln of the bounds of ||X - R|| / sigma_1 and of 1 - mean |cos| from the minors at the dominant pair."""
    n = high.shape[-2]
    V, Z = plan.rows.vectors, plan.columns.vectors  # Z transposed: columns z_j
    i, j = plan.i, plan.j
    v, z = pick(V, i), pick(Z, j)
    zeta = np.log(np.linalg.norm(z, axis=-1))[:, None]
    at_i, at_j = i[:, None, None, None], j[:, None, None, None]
    row_low, row = (np.take_along_axis(x, at_i, axis=-2) for x in (low, high))
    column_low, column = (np.take_along_axis(x, at_j, axis=-1) for x in (low, high))
    pivot_low, pivot = (np.take_along_axis(x, at_j, axis=-1) for x in (row_low, row))
    r, b = without(row - pivot_low, j, -1), without(column - pivot_low, i, -2)
    S = without(without(np.logaddexp(high - pivot_low, b + r), i, -2), j, -1)

    turning, swinging = turns_of(plan.rows, i), turns_of(plan.columns, j)
    G, K = gram(V), gram(Z)
    G_apart, K_apart = Gram(gram(apart(V, v)), turning), Gram(gram(apart(Z, z)), swinging)
    one = np.ones((1, 1, 1))
    beta = norm(b, G, one)
    gamma = norm(r, one, K) - zeta
    plain, projected = norm(S, G, K), norm(S, G_apart, K_apart)

    alpha = length(plan.rows, i, column_low[..., 0] - pivot[..., 0], beta, 0.0)
    q = length(plan.columns, j, row_low[..., 0, :] - pivot[..., 0], gamma, zeta)
    turning = log_sum(np.stack([beta, gamma, beta + gamma]), 0)
    improved = log_sum(np.stack([projected, turning + plain, 2 * plain - alpha - q - np.log(2)]), 0)
    u, w = (
        np.take_along_axis(log_duals(f), k[:, None], axis=-1) for f, k in ((plan.rows, i), (plan.columns, j))
    )
    first = np.maximum(log_minus(alpha + q, plain), -u - w)
    rank = quotient(np.minimum(plain, improved), first)

    T = V / v[:, :, None]
    G_T, G_centred, G_mean = (finite(gram(x)) for x in (T, centred(T), np.mean(T, axis=-2, keepdims=True)))
    size_T, size_centred = norm(S, G_T, K), norm(S, G_centred, K)
    mean = norm(S, G_mean, K)
    # |beta_k| / (|v_k| - |beta_k|), the largest over tokens
    weights = np.abs(T)[:, None]
    share = np.exp(np.minimum(b, 300.0))
    tilt = np.max((weights @ share)[..., 0], axis=-1)
    delta = np.where(tilt < 1, log(tilt / np.where(tilt < 1, 1 - tilt, 1.0)), np.inf)
    sine = log_sum(np.stack([gamma, mean - zeta]), 0)
    across = log_sum(
        np.stack([norm(S, G_centred, K_apart), sine + size_centred, delta + size_T]),
        0,
    )
    whole = log_sum(np.stack([size_centred, delta + size_T]), 0)
    across = np.minimum(across, whole)
    angles = angle_bound(across, log_minus(q, mean), whole, n)
    angles = np.where(nonzero(v)[:, None] & (tilt < 1), angles, np.inf)
    return Minors(np.where(np.isnan(rank), np.inf, rank), np.where(np.isnan(angles), np.inf, angles))
