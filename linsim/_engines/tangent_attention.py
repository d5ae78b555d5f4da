"""Softmax attention of the tokens themselves on a common vector, the differences from it, and errors of both.

A score of token i with token j is a number that all i share, and s_ij = t_j + h^2 r_ij, t = h c_q . z_kj and
r = z_qi . z_kj: c + h z are queries and keys.  Where tokens are near each other and known by their values
alone, A = 1 q + h^2 D with q = softmax(t), and D is formed from exp(h^2 r) - 1 as in
:mod:`linsim._cloud_attention`.
From dA_ij = A_ij (ds_ij - sum_k A_ik ds_ik) follows, with m_i = sum_k A_ik ds_ik,
dD_ij = D_ij (dt_j - m_i) + A_ij dr_ij - q_j sum_k (D_ik dt_k + A_ik dr_ik): nothing cancels there either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._attend import Projections, cut, masked_softmax, repeated
from .._types import HostArray
from .tangent_tokens import FAR, Tokens, cut_attention

if TYPE_CHECKING:
    from .tangent_layers import Tangents

__all__ = ["attended"]

# scores differ by less than this where differences of attention are formed as such
_CLOSE = 0.5


def attended(way: Tangents, x: Tokens, values: Tokens, at: Projections) -> Tokens:
    """Return A V, A the softmax of the scores of tokens x, head by head."""
    y = way.norm(x, "rms", None, None, 0.0) if at.normalized else x
    queries = way.linear(y, at.query, at.query_bias)
    keys = y if at.key is None else way.linear(y, at.key, at.key_bias)
    n, h = x.X.shape[-2] - 1, way.h[:, None, None, None]
    Q, K = cut(queries.X, at.heads), repeated(cut(keys.X, at.key_heads), at.heads)
    c, z, w = Q[:, :, n:], Q[:, :, :n], K[:, :, :n]
    length, length_c, length_w = (np.sqrt(np.vecdot(part, part)) for part in (z, c, w))
    t, r = h * (c @ w.mT), z @ w.mT
    errors = _several(queries.E, at.heads) @ _single(w).mT
    errors += _single(Q) @ _several(keys.E, at.key_heads, at.heads)[..., :n, :].mT
    dt, dr = h.astype(np.float32)[:, None] * errors[..., n:, :], errors[..., :n, :]
    _round(way, dt, 1 + h * length_c[..., None] * length_w[:, :, None])  # the exponential rounds as well
    _round(way, dr, length[..., None] * length_w[:, :, None])
    off = np.max(np.abs(dt), axis=(1, 2, 3, 4)) + way.h**2 * np.max(np.abs(dr), axis=(1, 2, 3, 4))
    way.known &= off <= FAR
    of_all = way, values, at, h * h, t, r, dt, dr
    near = np.max(np.abs(r), axis=(1, 2, 3)) * way.h**2 < _CLOSE
    if not at.free or not near.any():
        return _far(*of_all)
    if near.all():
        return _near(*of_all)
    count, one = way.count, _near(*of_all)
    way.count = count  # numbers do not depend on what else is in the batch
    other = _far(*of_all)
    return Tokens(
        np.where(near[:, None, None], one.X, other.X), np.where(near[:, None, None, None], one.E, other.E)
    )


def _near(
    way: Tangents,
    values: Tokens,
    at: Projections,
    square: HostArray,
    t: HostArray,
    r: HostArray,
    dt: HostArray,
    dr: HostArray,
) -> Tokens:
    """What A = 1 q + h^2 D makes of the values; ``square``: h^2."""
    q, small = masked_softmax(t, None), square * r
    # expm1(small) / small, from the series where that has underflowed
    tiny = np.abs(small) < 1e-8
    grown = r * np.where(tiny, 1 + small / 2, np.expm1(small) / np.where(tiny, 1.0, small))
    mean = np.sum(q * grown, axis=-1, keepdims=True)
    D = q * (grown - mean) / (1 + square * mean)
    M = np.concatenate([square * D, q], axis=-2)
    squares = np.concatenate([square * q * (np.abs(grown) + np.abs(mean)), q], axis=-2) ** 2
    D32, q32, A32, square32 = (_single(part) for part in (D, q, q + square * D, square))
    mixed = A32 * dr
    along = np.sum(mixed, axis=-1, keepdims=True)
    m = np.sum(A32 * dt, axis=-1, keepdims=True) + square32 * along
    along += np.sum(D32 * dt, axis=-1, keepdims=True)
    dD = square32 * (D32 * (dt - m) + mixed - q32 * along)
    dq = q32 * (dt - np.sum(q32 * dt, axis=-1, keepdims=True))
    return way.mixed(values, at.heads, M, M.astype(np.float32), squares, np.concatenate([dD, dq], axis=-2))


def _far(
    way: Tangents,
    values: Tokens,
    at: Projections,
    square: HostArray,
    t: HostArray,
    r: HostArray,
    dt: HostArray,
    dr: HostArray,
) -> Tokens:
    """What A makes of the values, as it is."""
    scores = t + square * r
    A = masked_softmax(scores if at.bias is None else scores + at.bias, at.mask)
    # weights below the range of doubles are not zero
    gone = A == 0 if at.mask is None else (A == 0) & at.mask
    way.known &= ~np.any(gone, axis=(1, 2, 3))
    ds, A32 = dt + _single(square) * dr, _single(A)
    dA = A32 * (ds - np.sum(A32 * ds, axis=-1, keepdims=True))
    mean = np.mean(dA, axis=-2, keepdims=True)
    return way.mixed(values, at.heads, *cut_attention(A), np.concatenate([dA - mean, mean], axis=-2))


def _single(x: HostArray) -> Any:
    """(k, heads, r, c) as float32 beside errors."""
    return x.astype(np.float32)[:, None]


def _several(E: Any, own: int, heads: int | None = None) -> Any:
    """Errors (k, p, r, heads w) as (k, p, heads, r, w); those of ``own`` heads repeated for all."""
    k, p, r, _ = E.shape
    parts = cut(E.reshape(k * p, r, -1), own)
    parts = parts if heads is None else repeated(parts, heads)
    return parts.reshape(k, p, *parts.shape[1:])


def _round(way: Tangents, errors: Any, sizes: HostArray) -> None:
    """Add to errors (k, p, heads, r, c) what sums of ``sizes`` (k, heads, r, c) round."""
    numbers = way.normal(errors[0].size).reshape(errors.shape[1:])
    errors += (0.25 * _single(sizes)) * numbers
