"""One block of a Transformer as plain matrices that act on rows: x -> x W + b.

Stored orientations, fused matrices and names end here: whatever the file, ``weight`` is (in, out).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ._tensors import Array

__all__ = ["AttentionPart", "BlockParts", "Dense", "FeedForwardPart", "Norm", "Rotary", "ValuePath", "mapped"]


@dataclass(frozen=True)
class Dense:
    """x -> x W + b, W (in, out), b (out,) or None."""

    weight: Array
    bias: Array | None = None


@dataclass(frozen=True)
class Norm:
    """x -> (x - mean)/sigma * gain + bias ("layer"), or x/rms * gain ("rms"); gain (d,)."""

    kind: str
    gain: Array
    bias: Array | None
    epsilon: float

    @property
    def centred(self) -> bool:
        """Whether the mean over features is taken off first."""
        return self.kind == "layer"


@dataclass(frozen=True)
class Rotary:
    """Rotation of queries and keys by position: Su et al. 2021.

    ``interleaved`` pairs neighbouring channels, as GGUF files of Llama store them; otherwise channel i
    goes with i + width/2.  Only the first ``width`` channels of a head turn.
    """

    base: float
    width: int
    interleaved: bool


@dataclass(frozen=True)
class ValuePath:
    """What a self-attention sublayer adds, given its attention maps: values, then their projection.

    Value heads are shared by heads/kv_heads query heads each.  ``norm`` stands before the sublayer
    (``order`` "pre"), after the sum ("post"), or is not known (""); ``layer_scale`` (d,) multiplies
    what is added.
    """

    value: Dense
    output: Dense
    heads: int
    kv_heads: int
    order: str
    norm: Norm | None
    layer_scale: Array | None = None

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.output.weight.shape[0] // self.heads


@dataclass(frozen=True)
class AttentionPart:
    """One self-attention sublayer."""

    path: ValuePath
    query: Dense
    key: Dense
    key_heads: int
    rotary: Rotary | None = None


@dataclass(frozen=True)
class FeedForwardPart:
    """down(activation(up x)), or down(activation(gate x) * up x)."""

    up: Dense
    down: Dense
    gate: Dense | None
    activation: str
    norm: Norm | None
    layer_scale: Array | None = None


@dataclass(frozen=True)
class BlockParts:
    """Attention, then feed-forward; or both of the same input where ``parallel``."""

    attention: AttentionPart
    feed_forward: FeedForwardPart
    order: str
    parallel: bool = False


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return parts with every array in them changed."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: mapped(getattr(value, field.name), change) for field in fields(value)}
        return type(value)(**parts)
    return value if value is None or isinstance(value, str | int | float) else change(value)
