"""Sums, differences and norms of quantities that only their logarithms can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._types import FloatArray

__all__ = ["log", "log_minus", "log_sum"]


def log(x: Any) -> Any:
    """ln x, -inf where x is not positive."""
    return np.log(np.maximum(x, 0.0))


def log_minus(p: FloatArray, q: FloatArray) -> FloatArray:
    """ln(e^p - e^q), -inf where it is not positive."""
    share = np.where(q < p, q - p, 0.0)
    return np.where(q < p, p + np.log(-np.expm1(share)), -np.inf)


def log_sum(logs: FloatArray, axis: Any) -> FloatArray:
    """ln of a sum of exponentials."""
    top = np.max(logs, axis=axis, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    total = np.log(np.sum(np.exp(logs - safe), axis=axis, keepdims=True)) + safe
    return np.squeeze(total, axis=axis)
