"""A layout that the user names: where the value and projection matrices of layer {layer} are."""

from __future__ import annotations

import re

from .. import _validate
from ..errors import FileFormatError, InvalidValueError
from ._layouts import Layout
from ._recognise import Stack
from ._tensors import Tensors

__all__ = ["from_patterns"]


def from_patterns(tensors: Tensors, value: str, projection: str, *, conv1d: bool = False) -> Stack:
    """Return the stack whose matrices have these names, with ``{layer}`` for the number.

    Raises
    ------
    InvalidValueError
        If a pattern has no ``{layer}``.
    FileFormatError
        If no tensor has such a name, or one of a pair is missing.
    """
    for argument, pattern in (("value_pattern", value), ("projection_pattern", projection)):
        if pattern.count("{layer}") != 1:
            raise _validate.refusal(
                InvalidValueError,
                argument,
                repr(pattern),
                "a tensor's name with {layer} in place of its number",
                "Write it as 'blocks.{layer}.attn.v.weight'.",
            )
    before, after = (re.escape(part) for part in value.split("{layer}"))
    layers = {int(m[1]) for name in tensors.shapes if (m := re.fullmatch(rf"{before}(\d+){after}", name))}
    if not layers:
        raise _validate.refusal(
            FileFormatError,
            "value_pattern",
            f"no tensor named like {value!r}",
            f"names as {next(iter(tensors.shapes))!r}",
            "List the names: python -c \"import linsim; print(*linsim.models.names('PATH'), sep='\\n')\".",
        )
    for layer in range(max(layers) + 1):
        for pattern in (value, projection):
            name = pattern.replace("{layer}", str(layer))
            if name not in tensors.shapes:
                tensors.read(name)
    ends = [pattern.removesuffix(".weight") for pattern in (value, projection)]
    layout = Layout("named by patterns", "", value, value=ends[0], output=ends[1], order="", conv1d=conv1d)
    return Stack(layout, "", len(layers))
