"""Tokens and possible errors of them, as :mod:`.tangent_layers` moves them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._types import EPS, HostArray

__all__ = ["FAR", "Tokens", "cut_attention"]

#: errors of more than this part of a number, in roundings, no longer grow as small ones do
FAR = 2.0**-20 / EPS


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens X (k, n + 1, d) float64, and p possible errors E (k, p, n + 1, d) float32 of each system."""

    X: HostArray
    E: HostArray


def cut_attention(A: HostArray) -> tuple[HostArray, HostArray, HostArray]:
    """Rows of A less their mean, and below them that; in single precision; squares of what is rounded."""
    first = A[..., :1, :]
    other = A - first  # rows that are equal leave exactly 0
    mean = np.mean(other, axis=-2, keepdims=True)
    M = np.concatenate([other - mean, first + mean], axis=-2)
    differ = np.any(other != 0, axis=(-1, -2), keepdims=True)
    squares = np.concatenate([np.where(differ, A + first, 0.0), first + mean], axis=-2) ** 2
    return M, M.astype(np.float32), squares
