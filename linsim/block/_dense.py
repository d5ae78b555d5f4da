"""Matrices of a block with their biases, and vectors of one number a feature, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .. import _validate
from .._namespace import Array, namespace
from ..errors import InvalidValueError, ShapeError

__all__ = ["LARGEST", "Dense", "bounded", "dense", "of_width", "vector"]

#: numbers of a block beyond this could leave the range of floats within a layer
LARGEST = 1e15


@dataclass(frozen=True, eq=False)
class Dense:
    """The map x -> x W + b of one matrix of a :class:`linsim.Block`; a pair (W, b) or W alone will do.

    Parameters
    ----------
    weight : array (..., in, out)
        Rows are inputs: the transpose of what ``torch.nn.Linear`` holds.
    bias : array (out,) or (..., out), optional
        The same for all tokens.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> linsim.block.Dense(np.zeros((3, 4)), np.zeros(4)).bias.shape
    (4,)
    """

    held: ClassVar = ("weight", "bias")

    weight: Array
    bias: Array | None = None


def dense(value: Any, argument: str, rows: int | None = None, columns: int | None = None) -> Dense:
    """Return a matrix, or a pair of matrix and bias, as a checked copy.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If it is no matrix of that shape, or the bias not one number a column.
    """
    if isinstance(value, Dense):
        value = (value.weight, value.bias)
    weight, bias = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    expected = f"(..., {rows or 'in'}, {columns or 'out'})"
    W = _validate.array(weight, argument, ndim=2, shape=expected)
    found = tuple(W.shape[-2:])
    if (rows or found[0], columns or found[1]) != found:
        turned = found[::-1] == (rows or found[1], columns or found[0])
        raise _validate.refusal(
            ShapeError,
            argument,
            f"shape {tuple(W.shape)}",
            f"shape {expected}",
            "Transpose it: rows are inputs." if turned else "Match the other matrices of the block.",
        )
    W = _validate.kept(weight, bounded(W, argument))
    if bias is None:
        return Dense(W)
    b = _validate.array(bias, f"bias of {argument}", ndim=1, shape="(..., out)")
    lead = len(W.shape) - 2
    if b.shape[-1] != found[1] or len(b.shape) - 1 > lead:
        raise _validate.refusal(
            ShapeError,
            f"bias of {argument}",
            f"shape {tuple(b.shape)}",
            f"shape ({found[1]},), one number a column and the same for all tokens"
            + (f", or ({'..., ' * bool(lead)}{found[1]})" if lead else ""),
            "What differs from token to token is no bias: add it to the tokens.",
        )
    _validate.broadcast_batches(**{argument: tuple(W.shape[:-2]), "its bias": tuple(b.shape[:-1])})
    return Dense(W, _validate.kept(bias, bounded(b, f"bias of {argument}")))


def vector(value: Any, argument: str) -> Array:
    """Return numbers (..., d), one a feature, as a checked copy."""
    checked = bounded(_validate.array(value, argument, ndim=1, shape="(..., d)"), argument)
    return _validate.kept(value, checked)


def bounded(value: Array, argument: str) -> Array:
    """Return a copy, of entries that cannot leave the range of floats within a layer."""
    xp = namespace(value)
    largest = float(xp.max(xp.abs(value)))
    if largest > LARGEST:
        raise _validate.refusal(
            InvalidValueError,
            argument,
            f"an entry of size {largest:.3g}",
            f"at most {LARGEST:g}",
            "Scale it down; the norm of tokens is free.",
        )
    return xp.asarray(value, copy=True)


def of_width(value: Array | None, argument: str, d: int) -> None:
    """Refuse numbers that are not one a feature."""
    if value is not None and value.shape[-1] != d:
        raise _validate.refusal(
            ShapeError,
            argument,
            f"shape {tuple(value.shape)}",
            f"shape (..., {d}) to fit the features",
            "Give one number per feature.",
        )
