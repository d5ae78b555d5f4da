"""Weights as the two matrices that a head multiplies: what they leave out is zero exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from . import _validate
from ._namespace import Array, namespace, native, on_device_of, roundoff
from .errors import ShapeError

__all__ = ["Factored", "dense", "factors_of"]


@dataclass(frozen=True, eq=False)
class Factored:
    """Weights H = W_V W_O of rank r at most, accepted wherever an H is.

    At least d - r eigenvalues of H are zero, and :func:`linsim.predict` knows them as such: from the
    product alone they are rounding errors that only look small.  The others are those of the r x r
    product W_O W_V, which costs a fraction of the work.

    Parameters
    ----------
    W_V : array, shape (..., d, r)
        Value projection: a row vector of d features times W_V has r entries.
    W_O : array, shape (..., r, d)
        Output projection, in the library and on the device of W_V.

    Attributes
    ----------
    W_V, W_O : array
        As checked: float64, or float32 where they came in that or in half precision.
    H : array, shape (..., d, d)
        The product, in the dtype of the factors, summed up in float64.
    shape, dtype : of H
    spacing : float
        Relative distance of neighbouring numbers in the coarser dtype that W_V and W_O came in.

    Raises
    ------
    ShapeError, InvalidTypeError, InvalidValueError
        For factors that do not fit each other, text, complex numbers, NaN or infinity.

    Notes
    -----
    Source: W_V W_O is H of arXiv 2401.04301; that W_V W_O and W_O W_V share their nonzero eigenvalues
    is standard (Sylvester).  With several heads give each its factors, (..., h, d, r) and
    (..., h, r, d), or pass :class:`linsim.MultiHead` a list of Factored.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> H = Factored([[1.0], [2.0], [0.0]], [[-0.5, 0.0, 1.0]])
    >>> H.shape, np.asarray(H)[1].tolist()
    ((3, 3), [-1.0, 0.0, 2.0])
    >>> law = linsim.predict(linsim.attention.from_spectrum([1, 0.5, 0.2], rng=0), H)
    >>> law.regime, sorted({mode.weight_eigenvalue for mode in law.dominant})
    ('balanced', [0.0])
    """

    held: ClassVar = ("W_V", "W_O")

    W_V: Array
    W_O: Array
    spacing: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spacing", max(roundoff(self.W_V), roundoff(self.W_O)))
        V = _validate.array(self.W_V, "W_V", ndim=2, shape="(..., d, r)")
        O = _validate.array(self.W_O, "W_O", ndim=2, shape="(..., r, d)")  # noqa: E741
        _validate.one_library("W_V and W_O", self.W_V, self.W_O)
        if V.shape[-2:] != O.shape[:-3:-1]:
            raise _validate.refusal(
                ShapeError,
                "W_V and W_O",
                f"shapes {tuple(V.shape)} and {tuple(O.shape)}",
                "shapes (..., d, r) and (..., r, d)",
                "Rows of W_V and columns of W_O are features; a stored weight may be the transpose.",
            )
        _validate.broadcast_batches(W_V=tuple(V.shape[:-2]), W_O=tuple(O.shape[:-2]))
        object.__setattr__(self, "W_V", _validate.kept(self.W_V, V))
        object.__setattr__(self, "W_O", _validate.kept(self.W_O, O))

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., d, d)."""
        V, O = tuple(self.W_V.shape), tuple(self.W_O.shape)  # noqa: E741
        return (*np.broadcast_shapes(V[:-2], O[:-2]), V[-2], O[-1])

    @property
    def dtype(self) -> Any:
        """That of the product."""
        return self.H.dtype

    @cached_property
    def H(self) -> Array:  # noqa: N802
        """The product, (..., d, d)."""
        V, O = native(self.W_V), native(self.W_O)  # noqa: E741
        xp = namespace(V, O)
        target = xp.result_type(V.dtype, O.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # who takes it refuses what is not finite
            product = xp.astype(V, xp.float64, copy=False) @ xp.astype(O, xp.float64, copy=False)
            product = xp.astype(product, target, copy=False)
        return _validate.kept(self.W_V, product)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return the product as a NumPy array."""
        out = np.asarray(self.H, dtype=dtype)
        return np.array(out) if copy else out


def dense(value: Any) -> Any:
    """Return the product of factors; anything else as it is."""
    return value.H if isinstance(value, Factored) else value


def factors_of(value: Any) -> Factored | None:
    """Return weights that are given by factors, a list of them as one stack; None for all others.

    Heads of unequal rank are filled up with zeros, which add nothing to a product.
    """
    if isinstance(value, Factored):
        return value
    if not isinstance(value, Sequence) or not value or not all(isinstance(x, Factored) for x in value):
        return None
    shapes = [(tuple(x.W_V.shape), tuple(x.W_O.shape)) for x in value]
    if len({(V[:-1], W[:-2], W[-1]) for V, W in shapes}) > 1:
        raise _validate.refusal(
            ShapeError,
            "H",
            f"factors of products of shapes {', '.join(str(x.shape) for x in value)}",
            "the same shape for every head",
            "Give every head the same d and the same batch axes.",
        )
    _validate.one_library("H", *(M for x in value for M in (x.W_V, x.W_O)))
    rank = max(V[-1] for V, _ in shapes)
    parts = [(native(x.W_V), native(x.W_O)) for x in value]
    xp = namespace(*(M for pair in parts for M in pair))
    V = xp.stack([_filled(xp, V, rank, -1) for V, _ in parts], axis=-3)
    O = xp.stack([_filled(xp, O, rank, -2) for _, O in parts], axis=-3)  # noqa: E741
    stacked = Factored(_validate.kept(value[0].W_V, V), _validate.kept(value[0].W_O, O))
    object.__setattr__(stacked, "spacing", max(x.spacing for x in value))
    return stacked


def _filled(xp: Any, M: Array, rank: int, axis: int) -> Array:
    """Return M with zeros behind it up to ``rank`` entries along one axis."""
    shape = list(M.shape)
    shape[axis] = rank - shape[axis]
    return xp.concat([M, on_device_of(np.zeros(shape), M, M.dtype)], axis=axis) if shape[axis] else M
