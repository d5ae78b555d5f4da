"""Checks of what a layer adds to every token, and of what it multiplies each token by before mixing."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _validate
from ._namespace import Array, at_home, home_of, on_device_of
from .errors import InvalidValueError, ShapeError

__all__ = ["beside", "checked_bias", "checked_scale"]


def checked_bias(bias: Any, n: int, d: int, batch: tuple[int, ...]) -> Array | None:
    """Return a row (..., d) that all tokens share, of systems in ``batch``, or None."""
    if bias is None:
        return None
    row = _validate.array(bias, "bias", ndim=1, shape="(..., d)")
    shape = tuple(row.shape)
    if shape[-1] != d:
        raise _validate.refusal(
            ShapeError, "bias", f"shape {shape}", f"shape (..., {d}), one row for all tokens", "Match d of H."
        )
    if row.ndim > 1 and shape[-2] == n and n > 1 and not _within(shape[:-1], batch):
        raise _validate.refusal(
            ShapeError,
            "bias",
            f"shape {shape}, a row for each of {n} tokens or for each of {n} systems",
            f"one row ({d},) for all tokens, or A (or H) with the batch axis ({n},) as well",
            "A bias that differs between tokens is not covered; for several systems broadcast A to "
            f"({n}, n, n).",
        )
    _validate.broadcast_batches(rule=batch, bias=shape[:-1])
    return row


def checked_scale(scale: Any, n: int, batch: tuple[int, ...], heads: int | None = None) -> Array | None:
    """Return the factor of each token (..., n), of systems in ``batch``, or None."""
    if scale is None:
        return None
    factors = _validate.array(scale, "scale", ndim=1, shape="(..., n)")
    shape = tuple(factors.shape)
    if shape[-1] != n:
        raise _validate.refusal(
            ShapeError,
            "scale",
            f"shape {shape}",
            f"shape (..., {n}), a factor for each token",
            "Match A.",
        )
    for count, what in ((heads, "heads"), (n, "tokens")):
        if factors.ndim > 1 and count and count > 1 and shape[-2] == count and not _within(shape[:-1], batch):
            raise _validate.refusal(
                InvalidValueError,
                "scale",
                f"shape {shape}, factors for each of {count} {what} or for each of {count} systems",
                f"factors ({n},) of tokens that all heads share, or A with the batch axis ({count},) as well",
                "Multiply the columns of A by it and declare that with linsim.attention.general, or "
                f"broadcast A to a batch of {count}.",
            )
    _validate.broadcast_batches(rule=batch, scale=shape[:-1])
    return factors


def _within(lead: tuple[int, ...], batch: tuple[int, ...]) -> bool:
    """Whether leading axes bring nothing that a batch has not."""
    try:
        return np.broadcast_shapes(lead, batch) == batch
    except ValueError:
        return False


def beside(x: Array, like: Array) -> Array:
    """Return a NumPy array in the library of another that it is multiplied by."""
    if home_of(x) is None and home_of(like) is not None:
        return at_home(x, home_of(like))
    if type(x).__module__.split(".")[0] == type(like).__module__.split(".")[0]:
        return x
    return on_device_of(x, like)
