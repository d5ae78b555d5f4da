"""Whether a point is the same system within a batch as it is alone.

A ``make`` that reads one coordinate for all of its batch, ``n = int(point["n"][0])``, gives every point
but the first another system than its label says.  What was made is compared part by part: arrays row by
row, everything else by what it is.
"""

from __future__ import annotations

import functools
import types
from dataclasses import fields, is_dataclass
from typing import Any

import array_api_compat
import numpy as np

from .._namespace import to_host

__all__ = ["alike"]

# Relative to the largest entry: what is done to a whole batch may be rounded otherwise than one
# matrix alone (a product of stacks), and no coordinate that matters moves a system by so little
_TOLERANCE = 1e-9


def alike(batch: Any, row: int, count: int, alone: Any) -> bool:
    """Return whether row ``row`` of what was made for ``count`` points is what was made for it alone.

    >>> alike(np.arange(6.0).reshape(3, 2), 1, 3, np.array([[2.0, 3.0]]))
    True
    >>> alike((np.eye(2), "post"), 1, 3, (np.eye(2), "pre"))
    False
    """
    return _alike(batch, row, count, alone, set())


def _alike(batch: Any, row: int, count: int, alone: Any, seen: set[int]) -> bool:
    if id(batch) in seen:  # a closure may hold itself
        return True
    if _is_array(batch) or _is_array(alone):
        return _same_array(batch, row, count, alone)
    if type(batch) is not type(alone):
        return False
    seen = seen | {id(batch)}
    ours, theirs = _parts(batch), _parts(alone)
    if ours is not None and theirs is not None:
        return len(ours) == len(theirs) and all(
            _alike(a, row, count, b, seen) for a, b in zip(ours, theirs, strict=True)
        )
    try:
        # objects without an order of their own are equal only to themselves, which says nothing here
        return bool(batch == alone) or getattr(type(batch), "__eq__", None) is getattr(object, "__eq__", None)
    except Exception:  # what cannot be compared tells nothing
        return True


def _parts(value: Any) -> list[Any] | None:
    """What something is made of; None for what is one thing."""
    if isinstance(value, list | tuple):
        # rules of deep stacks are often one rule many times
        return [value[0], len(value)] if len({id(x) for x in value}) == 1 else list(value)
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, one.name) for one in fields(value) if not one.name.startswith("_")]
    if isinstance(value, functools.partial):
        return [value.func, list(value.args), value.keywords]
    if isinstance(value, types.FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        return [value.__code__.co_code, value.__code__.co_names, value.__defaults__, *held]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    return None


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) or array_api_compat.is_array_api_obj(value)


def _same_array(batch: Any, row: int, count: int, alone: Any) -> bool:
    try:
        together, single = (np.asarray(to_host(x) if _is_array(x) else x) for x in (batch, alone))
    except (TypeError, ValueError):
        return False
    # shared by all points, or one a point; an axis of tokens may be as long as the batch
    shared = _equal(_core(together), _core(single))
    rowwise = together.ndim > 0 and together.shape[0] == count > 1
    return shared or (rowwise and _equal(_core(together[row]), _core(single)))


def _equal(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.shape != b.shape:
        return False
    if a.dtype.kind not in "fc":
        return bool(np.array_equal(a, b))
    size = max(float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x))) for x in (a, b))
    return bool(np.allclose(a, b, rtol=0, atol=_TOLERANCE * size, equal_nan=True))


def _core(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    while x.ndim and x.shape[0] == 1:
        x = x[0]
    return x
