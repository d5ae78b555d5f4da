"""A user's own function of tokens within a layer: plain numbers in and out, and a look at what comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _validate
from .._cloud import Cloud, regathered, shaken, whole
from .._cloud_tamed import tamed
from .._namespace import Array, namespace, on_device_of, to_host
from .._state import EMPTY, scaled
from ..errors import InvalidTypeError, InvalidValueError, ShapeError

__all__ = ["hooked"]


def hooked(x: Cloud, function: Callable[[Array], Array], layer: int) -> Cloud:
    """Apply a user's function to plain numbers, and to each of their copies, and look at what comes back."""
    x = tamed(x, "numbers")
    full, exponent = whole(x)
    xp, k = namespace(full), x.k
    reach = 1000 if full.dtype == xp.float64 else 120
    if bool(xp.any((exponent > reach) | ((exponent < -reach) & (exponent > EMPTY / 2)))):
        raise _validate.refusal(
            InvalidValueError,
            "function",
            f"tokens beyond 2^{reach} or below 2^-{reach} at layer {layer}",
            "tokens within the range of floats",
            "Use a norm.",
        )
    centred = x.e_centre > EMPTY / 2
    full = shaken(x, full, xp.where(centred, xp.abs(full), xp.zeros_like(full)))
    full = scaled(full, exponent)
    out = []
    for copy in range(1 + x.probes):
        tokens = full[copy * k : (copy + 1) * k, ...]
        out.append(_looked_at(function(tokens), tokens, layer))
    whole_out = xp.concat(out, axis=0)
    rounded = shaken(x, whole_out, xp.abs(whole_out), 1)
    return regathered(x, rounded, xp.zeros_like(x.e_rest))


def _looked_at(out: Any, tokens: Array, layer: int) -> Array:
    """Refuse what is not tokens of the kind that a hook was given."""
    found = getattr(out, "shape", None)
    if found is None or tuple(found) != tuple(tokens.shape):
        raise _validate.refusal(
            ShapeError,
            "function",
            f"a result of shape {found} at layer {layer}",
            f"shape {tuple(tokens.shape)}",
            "Return tokens of the shape that came in.",
        )
    out = _validate.array(out, "function")
    xp = namespace(tokens)
    out = on_device_of(to_host(out), tokens) if namespace(out) is not xp else out
    if out.dtype != tokens.dtype:
        raise _validate.refusal(
            InvalidTypeError,
            "function",
            f"a result of dtype {out.dtype} at layer {layer}",
            f"dtype {tokens.dtype}, that of the tokens",
            "Convert what you return to the dtype of what you get.",
        )
    return out
