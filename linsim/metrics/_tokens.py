"""Which tokens are measured, and how often each counts: a mask or weights, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validate
from .._namespace import to_host
from ..errors import InvalidValueError, ShapeError

__all__ = ["SMALLEST", "token_weights"]

#: smallest weight that counts, beside the largest: what weighs less is lost in single precision
SMALLEST = 1e-12
_RANGE = 1e-100


def token_weights(tokens: Any, n: int) -> np.ndarray[Any, Any]:
    """Return a mask or weights of n tokens as (..., n) float64 on the host.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If they do not fit n tokens, leave none, are negative, or so small beside the largest that they
        are lost in single precision.

    Examples
    --------
    >>> token_weights([True, False, True], 3)
    array([1., 0., 1.])
    """
    weights = to_host(_validate.array(_numbers(tokens), "tokens", ndim=1, shape="(n,) or (..., n)")).astype(
        np.float64
    )
    if weights.shape[-1] != n:
        raise _validate.refusal(
            ShapeError,
            "tokens",
            f"shape {weights.shape}",
            f"shape (n,) or (..., n) with n = {n}",
            "Give each token a weight, 0 to leave it out.",
        )
    largest = np.max(weights, axis=-1, keepdims=True)
    if np.any(weights < 0):
        raise _validate.refusal(
            InvalidValueError,
            "tokens",
            "a weight below 0",
            "weights >= 0",
            "Set it to 0 to leave a token out.",
        )
    if np.any(largest <= 0):
        raise _validate.refusal(
            InvalidValueError,
            "tokens",
            "a system of which no token is left",
            "at least one weight above 0 in each",
            "Keep a token, or drop that system.",
        )
    if np.any((weights > 0) & (weights < SMALLEST * largest)) or np.any(
        abs(np.log(largest)) > -np.log(_RANGE)
    ):
        raise _validate.refusal(
            InvalidValueError,
            "tokens",
            f"weights from {np.min(weights[weights > 0]):.3g} to {np.max(weights):.3g}",
            f"weights of size 1, none of them below {SMALLEST:g} of the largest but 0",
            "Set the smallest to 0, or scale them.",
        )
    return weights


def _numbers(tokens: Any) -> Any:
    """Booleans as 0 and 1; anything else as it is."""
    held = tokens
    if isinstance(held, list | tuple):
        try:
            held = np.asarray(held)
        except ValueError:  # ragged: refused with what else is no array of numbers
            return tokens
    return to_host(held).astype(np.float64) if "bool" in str(getattr(held, "dtype", "")) else tokens
