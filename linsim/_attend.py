"""Softmax attention of the tokens themselves, with fresh or fixed queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._draws import normals
from ._namespace import Array, namespace, on_device_of, to_host
from ._state import scaled
from .attention import FromTokens
from .streams import RowGenerator

__all__ = ["Projections", "masked_softmax", "projections", "softmax_scale"]


@dataclass(frozen=True, eq=False)
class Projections:
    """Scores are (x query) (x key)^T; ``key`` None stands for the identity."""

    query: Array  # (k or 1, d, d_key), scaled by 1 / (sqrt(d_key) temperature)
    key: Array | None  # (k or 1, d, d_key)


def projections(
    spec: FromTokens,
    like: Array,
    generator: RowGenerator,
    name: str,
    see: Callable[[Callable[[], Any]], Any] = lambda draw: draw(),
) -> Projections:
    """Draw (or place) the projections of one layer for (k, n, d) tokens ``like``, rounded to ``name``.

    ``see`` is given what draws, and may return what was drawn before.
    """
    d = int(like.shape[-1])
    if spec.query_key is not None:
        fixed = to_host(spec.query_key) / spec.temperature
        return Projections(on_device_of(fixed.reshape(-1, d, d), like, like.dtype), None)
    d_key = d if spec.d_key is None else spec.d_key
    drawn = see(lambda: normals((2, d, d_key), generator, name))
    drawn = drawn * np.asarray(1 / np.sqrt(d), dtype=name)
    query = drawn[:, 0] * np.asarray(1 / (np.sqrt(d_key) * spec.temperature), dtype=name)
    return Projections(*(on_device_of(x, like, like.dtype) for x in (query, drawn[:, 1])))


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
