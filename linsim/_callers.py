"""Public functions for tensors of PyTorch and arrays of JAX: computed by NumPy or CuPy, answered at home."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, ParamSpec, TypeVar

import array_api_compat
import numpy as np

from . import _validate
from ._namespace import Array, Home, at_home, home_of, hosted, namespace, native

__all__ = ["home_within", "in_callers_library", "native_rule", "on_host"]

P = ParamSpec("P")
R = TypeVar("R")

# what of a result stays NumPy's in every library: labels, notes, and what bounds are computed from
_NOT_RETURNED = ("layers", "info", "bounds", "home")

# most arguments are one of these, and cost nothing to look at
_AT_HOME_ANYWHERE = {np.ndarray, int, float, str, bool, type(None)}


def in_callers_library(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function so that it takes guests, alone or held by rules, and answers at their home.

    Guests are tensors of PyTorch and arrays of JAX.  With none among the arguments the
    function is called as it is.  Those of two libraries or devices are refused; NumPy arrays
    and lists go with any.  Where ``backend`` is given, it says where results are.
    """
    names = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        given = dict(zip(names, args, strict=False)) | kwargs
        home = next((home for value in given.values() if (home := home_within(value)) is not None), None)
        if home is None:
            return function(*args, **kwargs)
        # of a rule any array will do: it refuses two libraries or devices by itself
        places = {name: next(iter(_held(value)), None) for name, value in given.items()}
        places = {name: value for name, value in places.items() if value is not None}
        _validate.one_library(" and ".join(places), *places.values())

        def entered(name: str, value: Any) -> Any:
            if _is_rule(value):
                return native_rule(value, home)
            if name == "dtype":
                return str(value).rpartition(".")[-1] if str(value).startswith("torch.") else value
            return _beside(value, home)

        moved: Any = [entered(name, value) for name, value in zip(names, args, strict=False)]
        named: Any = {name: entered(name, value) for name, value in kwargs.items()}
        result = function(*moved, **named)
        return result if given.get("backend") is not None else _returned(result, home)

    return wrapper


def _is_rule(value: Any) -> bool:
    """Whether it is a rule, or attention made from the tokens: they name the arrays that they hold."""
    return hasattr(type(value), "held")


def _held(value: Any) -> Iterator[Array]:
    """Yield the arrays that an argument is, or that a rule holds, guests first."""
    if _is_rule(value):
        yield from sorted(_arrays(value), key=lambda x: home_of(x) is None)
    elif home_of(value) is not None or array_api_compat.is_array_api_obj(value):
        yield value


def _arrays(rule: Any) -> Iterator[Array]:
    if type(rule).__name__ == "Layered":
        for one in {id(one): one for one in rule.rules}.values():
            yield from _arrays(one)
        return
    for name in type(rule).held:
        value = getattr(rule, name)
        if _is_rule(value):  # attention computed from the tokens
            yield from _arrays(value)
        elif type(value) is np.ndarray or array_api_compat.is_array_api_obj(value):
            yield value


def home_within(value: Any) -> Home | None:
    """Return the home of a guest, or of the first one that a rule holds; None if there is none."""
    if type(value) in _AT_HOME_ANYWHERE:
        return None
    if not _is_rule(value):
        return home_of(value)
    return next((home for x in _arrays(value) if (home := home_of(x)) is not None), None)


def _beside(value: Any, home: Home) -> Any:
    """Move a NumPy array to where a tensor on a GPU is computed with; leave all else."""
    if home.library == "torch" and home.device.type == "cuda" and array_api_compat.is_numpy_array(value):
        return native(at_home(value, home))
    return value


def native_rule(rule: Any, home: Home) -> Any:
    """Return a rule with its arrays where linsim computes, and with hooks that see arrays at ``home``."""
    if type(rule).__name__ == "Layered":
        once = {id(one): native_rule(one, home) for one in rule.rules}
        return replace(rule, rules=[once[id(one)] for one in rule.rules])

    def moved(value: Any) -> Any:
        if _is_rule(value):
            return native_rule(value, home)
        return native(_beside(value, home)) if array_api_compat.is_array_api_obj(value) else value

    changed = {name: moved(getattr(rule, name)) for name in type(rule).held}
    if not changed:
        return rule
    if type(rule).__name__ == "Block":
        changed["deescalation"] = [_seeing(step, home) for step in rule.deescalation]
    new = replace(rule, **changed)
    if hasattr(rule, "spacing"):
        object.__setattr__(new, "spacing", rule.spacing)
    if getattr(rule, "factors", None) is not None:
        object.__setattr__(new, "factors", native_rule(rule.factors, home))
    return new


def _seeing(step: Any, home: Home) -> Any:
    """Let the function of a de-escalation see tokens at ``home``."""
    function = step.function
    if function is None:
        return step

    def there_and_back(tokens: Array) -> Any:
        given = at_home(tokens, home)
        out = native(function(given))
        # JAX holds float64 as float32, unless told otherwise: what it gets it may give back
        held = native(given).dtype
        if held != tokens.dtype and getattr(out, "dtype", None) == held:
            out = namespace(tokens).astype(out, tokens.dtype)
        return out

    return replace(step, function=there_and_back)


def on_host(result: Any) -> Any:
    """Return a result with NumPy arrays throughout."""
    return _each(result, hosted)


def _returned(result: Any, home: Home) -> Any:
    # what NumPy makes of an array without axes
    if type(result) is tuple:
        result = tuple(np.asarray(part) if isinstance(part, np.generic) else part for part in result)
    elif isinstance(result, np.generic):
        result = np.asarray(result)
    result = _each(result, lambda x: at_home(x, home))
    return replace(result, home=home) if hasattr(result, "home") else result


def _each(result: Any, function: Callable[[Any], Any]) -> Any:
    """Apply ``function`` to the arrays of a result: of a tuple, a mapping, a dataclass."""
    if is_dataclass(result) and not isinstance(result, type):
        names = [one.name for one in fields(result) if one.init and one.name not in _NOT_RETURNED]
        return replace(result, **{name: _each(getattr(result, name), function) for name in names})
    if isinstance(result, tuple):
        parts = [_each(part, function) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    return function(result)
