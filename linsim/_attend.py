"""Softmax attention of the tokens themselves: what scores are made with, and the softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._draws import Keys, normals
from ._from_tokens import FromTokens
from ._namespace import Array, namespace, on_device_of, to_host
from ._positions import Rotary
from ._state import scaled

__all__ = ["Projections", "cut", "joined", "masked_softmax", "projections", "repeated", "softmax_scale"]


@dataclass(frozen=True, eq=False)
class Projections:
    """Scores are (x query) (x key)^T + bias, head by head; ``key`` None stands for the identity.

    ``query`` (k or 1, d, heads d_key) holds 1 / (sqrt(d_key) temperature), and so does its bias
    (k or 1, 1, heads d_key); ``mask`` (k or 1, 1, n, n); ``bias`` (k or 1, heads or 1, n, n).
    """

    query: Array
    key: Array | None
    heads: int = 1
    key_heads: int = 1
    query_bias: Array | None = None
    key_bias: Array | None = None
    normalized: bool = True
    mask: Array | None = None
    bias: Array | None = None
    rotary: Rotary | None = None

    @property
    def free(self) -> bool:
        """Whether scores know tokens by their values alone."""
        return self.mask is None and self.bias is None and self.rotary is None


def projections(
    spec: FromTokens,
    like: Array,
    keys: Keys,
    layer: int,
    name: str,
    heads: int = 1,
    temperature: Any = None,
) -> Projections:
    """Draw (or place) the projections of one layer for (k, n, d) tokens ``like``, rounded to ``name``.

    ``temperature`` (k, 1, 1) on the host where systems have their own.
    """
    d = int(like.shape[-1])
    heat = spec.temperature if temperature is None else temperature
    if spec.query_key is not None:
        fixed = to_host(spec.query_key) / heat
        return Projections(
            on_device_of(fixed.reshape(-1, d, d), like, like.dtype), None, normalized=spec.normalizes()
        )
    d_key = d // heads if spec.d_key is None else spec.d_key

    def drawn(matrix: str, scale: Any) -> Array:
        found = normals(keys, layer, matrix, (d, heads * d_key), name, scale, like)
        return on_device_of(found, like, like.dtype)

    query = drawn("query", 1 / (np.sqrt(d) * np.sqrt(d_key) * heat))
    return Projections(query, drawn("key", 1 / np.sqrt(d)), heads, heads, normalized=spec.normalizes())


def cut(x: Array, heads: int) -> Array:
    """Cut (k, n, heads w) into (k, heads, n, w)."""
    xp = namespace(x)
    k, n, c = x.shape
    if heads == 1:
        return xp.reshape(x, (k, 1, n, c))
    return xp.permute_dims(xp.reshape(x, (k, n, heads, c // heads)), (0, 2, 1, 3))


def joined(x: Array) -> Array:
    """Undo :func:`cut`."""
    xp = namespace(x)
    k, heads, n, w = x.shape
    return xp.reshape(xp.permute_dims(x, (0, 2, 1, 3)), (k, n, heads * w))


def repeated(x: Array, heads: int) -> Array:
    """Repeat each of (k, own, n, w) heads for those that share it."""
    times = heads // int(x.shape[1])
    return x if times == 1 else namespace(x).repeat(x, times, axis=1)


def masked_softmax(scores: Array, mask: Array | None) -> Array:
    """Softmax over the last axis, exactly zero where ``mask`` is False."""
    xp = namespace(scores)
    if mask is not None:
        scores = xp.where(mask, scores, xp.full_like(scores, -xp.inf))
    weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return weights / xp.sum(weights, axis=-1, keepdims=True)


def softmax_scale(scores: Array, exponent: Array) -> Array:
    """Return scores 2**exponent; far above 1 the softmax picks the largest, whatever the factor."""
    xp = namespace(scores)
    return scaled(scores, xp.minimum(exponent, 900.0 if scores.dtype == xp.float64 else 100.0))
