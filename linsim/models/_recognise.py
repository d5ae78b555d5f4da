"""Which stacks of blocks a checkpoint holds, told from its tensors' names.

Cross-attention lies under names of its own (``crossattention``, ``encoder_attn``), so no stack is
made of it; a model of two towers, or of an encoder and a decoder, has two stacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .. import _validate
from ..errors import InvalidValueError, NotCoveredError
from ._layouts import LAYOUTS, Layout
from ._tensors import Tensors

__all__ = ["Stack", "choose", "stacks"]


@dataclass(frozen=True)
class Stack:
    """Blocks of one layout under one prefix."""

    layout: Layout
    prefix: str
    blocks: int

    @property
    def part(self) -> str:
        """What to call it: text, vision, encoder, decoder, or what its prefix ends with."""
        last = self.prefix.rstrip(".").rpartition(".")[2]
        return {"text_model": "text", "vision_model": "vision"}.get(last, last or "model")


def stacks(tensors: Tensors) -> list[Stack]:
    """Return every stack that is recognised.

    Raises
    ------
    NotCoveredError
        If there is none.
    FileFormatError
        If blocks of one are missing.
    """
    found: dict[str, Stack] = {}
    for layout in LAYOUTS:
        for prefix, layers in _blocks(tensors.shapes, layout).items():
            if f"{prefix} {layout.marker}" in found or not _fits(tensors.shapes, layout, prefix, layers):
                continue
            for layer in range(max(layers)):
                if layer not in layers:  # say which tensor is missing
                    tensors.read(f"{prefix}{layout.block.format(layer=layer)}{layout.marker}")
            found[f"{prefix} {layout.marker}"] = Stack(layout, prefix, len(layers))
    if not found:
        raise _validate.refusal(
            NotCoveredError,
            "path",
            f"{len(tensors.shapes)} tensors of no known family, as {', '.join(list(tensors.shapes)[:3])}",
            "one of " + ", ".join(dict.fromkeys(layout.name for layout in LAYOUTS)),
            "Name the value and projection matrices: --value-pattern 'NAME.{layer}.NAME' "
            "--projection-pattern 'NAME.{layer}.NAME' --heads COUNT.",
        )
    return list(found.values())


def _blocks(shapes: Mapping[str, tuple[int, ...]], layout: Layout) -> dict[str, set[int]]:
    """Return the numbers of the blocks under each prefix."""
    before, after = (re.escape(part) for part in layout.block.split("{layer}"))
    pattern = re.compile(rf"((?:.*\.)?){before}(\d+){after}{re.escape(layout.marker)}")
    blocks: dict[str, set[int]] = {}
    for name in shapes:
        match = pattern.fullmatch(name)
        if match:
            blocks.setdefault(match[1], set()).add(int(match[2]))
    return blocks


def _fits(shapes: Mapping[str, tuple[int, ...]], layout: Layout, prefix: str, layers: set[int]) -> bool:
    first = prefix + layout.block.format(layer=min(layers))
    if layout.name == "Whisper" and not any(name.endswith("encoder.conv1.weight") for name in shapes):
        return False  # BART and its kin have these names, and norms after the sum
    return all(first + name in shapes for name in layout.beside) and not any(
        first + name in shapes for name in layout.unlike
    )


def choose(found: list[Stack], part: str | None) -> Stack:
    """Return the stack called ``part``; without that the first, images before texts."""
    if part is None:
        return min(found, key=lambda stack: stack.part in ("text", "decoder"))
    for stack in found:
        if stack.part == part:
            return stack
    raise _validate.refusal(
        InvalidValueError,
        "part",
        repr(part),
        "one of " + ", ".join(repr(stack.part) for stack in found),
        "Name one of them, or leave it out.",
    )
