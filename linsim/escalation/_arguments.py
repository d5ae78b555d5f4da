"""What the functions of this package ask of their arguments."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from .. import _validate
from .._draws import KINDS
from .._namespace import Array, namespace, on_device_of
from ..errors import InvalidTypeError, InvalidValueError

__all__ = ["MOST", "answer", "kind_of", "on_axis", "std_of", "together", "within"]

#: the largest std taken: squares of squares must stay far from the ends of the range
MOST = 1e15


def _is_plain(value: Any) -> bool:
    return isinstance(value, np.generic) or not array_api_compat.is_array_api_obj(value)


def together(**given: Any) -> tuple[Array, ...]:
    """Return finite real arrays of one library that broadcast; plain numbers follow the arrays."""
    arrays = {name: _validate.array(value, name) for name, value in given.items()}
    owners = [name for name, value in given.items() if not _is_plain(value)]
    if owners:
        like = arrays[owners[0]]
        try:
            namespace(*(arrays[name] for name in owners))
        except TypeError:
            raise _validate.refusal(
                InvalidTypeError,
                " and ".join(owners),
                ", ".join(sorted({type(given[name]).__module__ for name in owners})),
                "arrays of one library",
                "Convert one of them.",
            ) from None
        arrays = {
            name: x if name in owners else on_device_of(x, like, like.dtype) for name, x in arrays.items()
        }
    _validate.broadcast_batches(**{name: tuple(x.shape) for name, x in arrays.items()})
    return tuple(arrays.values())


def within(x: Array, argument: str, low: float, high: float) -> Array:
    """Return ``x`` if every entry lies in [low, high]."""
    xp = namespace(x)
    outside = (x < low) | (x > high)
    if bool(xp.any(outside)):
        worst = float(xp.max(x)) if bool(xp.any(x > high)) else float(xp.min(x))
        interval = f"[{low:g}, {high:g}" + (")" if high == np.inf else "]")
        raise _validate.refusal(
            InvalidValueError, argument, f"{worst:.6g}", f"numbers in {interval}", "Choose values inside."
        )
    return x


def answer(result: Array, *given: Any) -> Any:
    """Return a float if every argument was one plain number, else the array."""
    return float(result) if all(_is_plain(value) and np.ndim(value) == 0 for value in given) else result


def std_of(value: Any) -> float:
    """Return std as one number."""
    return _validate.number(value, "std", low=0.0, high=MOST)


def kind_of(value: Any) -> str:
    """Return the kind of weights whose law is known: "gaussian" or "orthogonal"."""
    return _validate.choice(value, "kind", KINDS)


def on_axis(value: Any, ndim: int) -> int:
    """Return an axis of an array with ``ndim`` axes, counted from 0."""
    axis = _validate.count(value, "axis", minimum=-ndim)
    if axis >= ndim:
        raise _validate.refusal(
            InvalidValueError, "axis", axis, f"an axis from {-ndim} to {ndim - 1}", "Count axes from 0."
        )
    return axis % ndim
