"""Attention without a residual: how fast tokens come together, under any attention and under softmax.

The measure is the spread, the largest distance between two tokens: absolute, and
0 exactly when all tokens are alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validate
from .._factored import dense
from .._namespace import Array, namespace, to_host
from .._types import EPS, FloatArray
from ..errors import ShapeError

__all__ = ["collapse_threshold", "dobrushin", "pure_attention_bound"]

_CHUNK = 1 << 22  # entries held at once
_LOWEST = -np.finfo(float).max


def dobrushin(A: Array) -> Array:
    """Return the factor by which attention shrinks the spread at least: the largest distance of two rows.

    spread(A X H) <= dobrushin(A) ||H||_2 spread(X), for any X.

    Parameters
    ----------
    A : (..., n, n) array
        Attention: entries >= 0, rows summing to 1.

    Returns
    -------
    (...) array
        max over i, k of sum_j |A_ij - A_kj| / 2, between 0 (all rows equal) and 1 (two
        rows share no token).  Of the library, device and dtype of ``A``.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``A`` is not a stack of attention matrices.

    Notes
    -----
    Standard (Dobrushin 1956).  Rows i and k of A X differ by sum_j (A_ij - A_kj) x_j;
    the positive and the negative part of A_i - A_k have the same sum tv, so this is tv
    times the difference of two averages of tokens, which lie within the spread of each
    other.  Equality for the best X.  The coefficient of a product is at most the
    product of the coefficients, so that layers may differ.

    Examples
    --------
    >>> import numpy as np
    >>> dobrushin(np.array([[[0.5, 0.5], [0.25, 0.75]], [[1, 0], [0, 1]]]))
    array([0.25, 1.  ])
    """
    A = _validate.attention_matrix(A)
    xp = namespace(A)
    n = A.shape[-1]
    step = min(n, max(1, _CHUNK // int(np.prod(A.shape))))
    out = xp.zeros_like(A[..., 0, 0])
    for begin in range(0, n, step):
        rows = A[..., begin : min(begin + step, n), None, :]
        apart = xp.sum(xp.abs(rows - A[..., None, :, :]), axis=-1) / 2
        out = xp.maximum(out, xp.max(apart, axis=(-1, -2)))
    return xp.minimum(out, xp.ones_like(out))


def pure_attention_bound(x0: Array, M: Array, H: Array, depth: int) -> FloatArray:
    """Bound the spread of X -> softmax(X M X^T) X H at every layer, in closed form.

    Parameters
    ----------
    x0 : (..., n, d) array
        Tokens at layer 0.
    M : (..., d, d) array
        Scores are x_i M x_j^T: W_Q W_K^T / sqrt(d_key).
    H : (..., d, d) array
        Value times projection.  Batch axes of all three broadcast.
    depth : int
        Layers.

    Returns
    -------
    (..., depth + 1) float64 array
        Natural logarithm of the bound at layers 0 to depth; the first is ln spread(x0).  -inf
        where the spread is 0 exactly; a bound that is out of range is the lowest float.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is not a finite array of its shape, or batches do not broadcast.

    Notes
    -----
    Derived here; the doubly exponential rate is that of Dong et al. 2021 (arXiv
    2103.03404).  With D = spread(X), m = ||M||_2, h = ||H||_2, one layer obeys

        **D' <= h D tanh(m D^2 / 4) <= (h m / 4) D^3.**

    Proof.  Rows of attention are a_i, with ln(a_ij / a_kj) = (x_i - x_k) M x_j^T + (a
    number that does not depend on j), which varies over j by at most
    max_jl |(x_i - x_k) M (x_j - x_l)^T| <= m D^2 =: w.  Two distributions whose ln ratio varies by w are
    at total variation tanh(w / 4) at most: the worst has ratio R e^w on a set of probability p
    and R elsewhere, its distance p e^w / (p e^w + 1 - p) - p is largest at
    p = 1 / (1 + e^(w/2)), where it is (e^(w/2) - 1) / (e^(w/2) + 1).  The rest is :func:`dobrushin`.

    Hence D_L <= (h m / 4)^((3^L - 1)/2) D_0^(3^L): doubly exponential as soon as h m D_0^2 < 4,
    and, by the first form, wherever D_0 is below :func:`collapse_threshold`.  No constant can be
    lowered: two tokens x and -x with d = 1, m and h > 0 give equality at every layer.

    Norms are rounded up by 8 d eps, each layer by 4 eps of the logarithm, so that the inequality
    holds for the numbers returned.  Layers with their own M and H: take the largest norms.

    Examples
    --------
    >>> import numpy as np
    >>> bound = pure_attention_bound([[0.5], [-0.5]], [[1.0]], [[1.0]], 4)
    >>> bound.round(6)
    array([  0.      ,  -1.406829,  -5.606857, -18.206864, -56.006887])
    >>> bool(np.isclose(np.exp(bound[1]), np.tanh(1 / 4)))
    True
    """
    x0 = _validate.array(x0, "x0", ndim=2, shape="(..., n, d)")
    M, H = _layer(M, H, int(x0.shape[-1]))
    depth = _validate.count(depth, "depth")
    batch = _validate.broadcast_batches(x0=tuple(x0.shape[:-2]), M=tuple(M.shape[:-2]), H=tuple(H.shape[:-2]))
    # logarithms of 0 are -inf on purpose; those out of range end at the lowest float
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        slack = 8 * x0.shape[-1] * EPS
        log_m, log_h = _log_norm(M) + slack, _log_norm(H) + slack
        log_spread = _log_spread(to_host(x0).astype(np.float64)) + slack
        out = np.empty((*batch, depth + 1))
        out[..., 0] = log_spread
        for layer in range(depth):
            previous = out[..., layer]
            quarter = log_m - np.log(4) + 2 * previous
            shrink = np.maximum(log_h + _log_tanh(quarter), _LOWEST / 2)
            following = shrink + previous + 4 * EPS * (np.abs(shrink) + np.abs(previous))
            vanished = np.isneginf(previous) | np.isneginf(log_m) | np.isneginf(log_h)
            out[..., layer + 1] = np.where(vanished, -np.inf, np.fmax(following, _LOWEST))
    return out


def collapse_threshold(M: Array, H: Array) -> FloatArray:
    """Return the spread below which X -> softmax(X M X^T) X H collapses doubly exponentially.

    Parameters
    ----------
    M : (..., d, d) array
        Scores are x_i M x_j^T.
    H : (..., d, d) array
        Value times projection; batch axes broadcast with those of ``M``.

    Returns
    -------
    (...) float64 array
        2 sqrt(artanh(1/h) / m) with m = ||M||_2, h = ||H||_2; infinity for h <= 1 or m = 0: every
        start collapses.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is not a stack of square matrices, or they do not fit.

    Notes
    -----
    Derived here, from D' <= h D tanh(m D^2 / 4) (:func:`pure_attention_bound`): the
    factor is below 1 exactly for D below the threshold, so D falls until the cubic law takes over.
    It cannot be raised: two tokens x and -x in one dimension keep their distance at the
    threshold, and **run apart above it, without a residual**.

    Examples
    --------
    >>> collapse_threshold([[1.0]], [[2.0]]).round(6), collapse_threshold([[1.0]], [[1.0]])
    (np.float64(1.482304), np.float64(inf))
    """
    M, H = _layer(M, H)
    _validate.broadcast_batches(M=tuple(M.shape[:-2]), H=tuple(H.shape[:-2]))
    with np.errstate(divide="ignore"):
        log_m, log_h = _log_norm(M), _log_norm(H)
        safe = np.where(log_h > 0, log_h, 1.0)
        # artanh(1/h) = ln((h + 1) / (h - 1)) / 2
        artanh = np.where(log_h > 0, np.log((1 + np.exp(-safe)) / -np.expm1(-safe)) / 2, np.inf)
        with np.errstate(over="ignore"):
            return np.asarray(2 * np.exp((np.log(artanh) - log_m) / 2))[()]


def _layer(M: Any, H: Any, d: int | None = None) -> tuple[Array, Array]:
    """Check M and H, which must have one size, that of the tokens if given."""
    M = _validate.square(M, "M", shape="(..., d, d)")
    H = _validate.square(dense(H), "H", shape="(..., d, d)")
    for name, value in (("M", M), ("H", H)):
        expected = int(M.shape[-1]) if d is None else d
        if value.shape[-1] != expected:
            raise _validate.refusal(
                ShapeError,
                name,
                f"shape {tuple(value.shape)}",
                f"shape (..., {expected}, {expected})",
                "M, H and the tokens need the same number of features.",
            )
    return M, H


def _log_spread(x: FloatArray) -> FloatArray:
    """ln of the largest distance between two rows, (...); close rows keep their digits."""
    top = np.max(np.abs(x), axis=(-1, -2), keepdims=True)
    scale = np.where(top > 0, top, 1.0)
    x = x / scale
    largest = np.zeros(x.shape[:-2])
    for i in range(x.shape[-2] - 1):
        apart = x[..., i + 1 :, :] - x[..., i : i + 1, :]
        # squares of differences below 1e-154 would underflow
        size = np.max(np.abs(apart), axis=-1, keepdims=True)
        length = size[..., 0] * np.linalg.norm(apart / np.where(size > 0, size, 1.0), axis=-1)
        largest = np.maximum(largest, np.max(length, axis=-1))
    return np.asarray(np.log(largest) + np.log(scale[..., 0, 0]))


def _log_norm(M: Array) -> FloatArray:
    """ln ||M||_2, (...), of a matrix of any scale."""
    host = to_host(M).astype(np.float64)
    top = np.max(np.abs(host), axis=(-1, -2), keepdims=True)
    safe = np.where(top > 0, top, 1.0)
    return np.asarray(np.log(np.linalg.norm(host / safe, 2, axis=(-1, -2))) + np.log(safe[..., 0, 0]))


def _log_tanh(y: FloatArray) -> FloatArray:
    """ln tanh(e^y); below -18, tanh x = x to rounding (and never above)."""
    small = y < -18
    return np.where(small, y, np.log(np.tanh(np.exp(np.clip(y, -18, 4)))))
