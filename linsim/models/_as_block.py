"""A layer of a checkpoint as a :class:`linsim.Block`: the same weights, in the words of a rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validate, masks
from .._from_tokens import FromTokens
from .._positions import Rotary
from ..block import Block
from ..errors import NotCoveredError
from ._parts import BlockParts, Dense
from ._tensors import Array

__all__ = ["block_of", "mask_of"]

#: activations by the names that files give them
_NAMES = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}


def mask_of(n: int, causal: bool, keep: Array | None) -> Array | None:
    """Return who may attend to whom, (n, n) booleans; None for everybody."""
    mask = masks.causal(n) if causal else np.ones((n, n), dtype=bool)
    if keep is not None:
        # a token of padding would have nobody left to attend to: it keeps itself
        mask = (mask & np.asarray(keep)) | np.eye(n, dtype=bool)
    return None if mask.all() else mask


def block_of(parts: BlockParts, mask: Array | None) -> Block:
    """Return one layer as a rule.

    Raises
    ------
    NotCoveredError
        For an activation, or norms, that a block does not have.
    """
    attention, path, feed = parts.attention, parts.attention.path, parts.feed_forward
    first, second = path.norm, feed.norm
    if first is None or second is None or (first.kind, first.epsilon) != (second.kind, second.epsilon):
        raise _validate.refusal(
            NotCoveredError, "path", "two norms of different kinds", "one kind of norm", "Write Blocks."
        )
    if feed.activation not in _NAMES:
        raise _validate.refusal(
            NotCoveredError, "hidden_act", repr(feed.activation), ", ".join(_NAMES), "Write Blocks."
        )
    turn = attention.rotary
    rotary = None
    if turn is not None:
        rotary = Rotary(turn.base, width=turn.width, interleaved=turn.interleaved)
    return Block(
        FromTokens(mask=mask, rotary=rotary),
        heads=path.heads,
        query=_pair(attention.query),
        key=_pair(attention.key),
        value=_pair(path.value),
        output=_pair(path.output),
        layer_scale=_double(path.layer_scale),
        norm=parts.order,
        norm_kind=first.kind,
        gain=_double(first.gain),
        bias=_double(first.bias),
        norm_eps=first.epsilon,
        feed_forward=_NAMES[feed.activation],
        up=_pair(feed.up),
        gate=None if feed.gate is None else _pair(feed.gate),
        down=_pair(feed.down),
        feed_forward_layer_scale=_double(feed.layer_scale),
        feed_forward_gain=_double(second.gain),
        feed_forward_bias=_double(second.bias),
        parallel=parts.parallel,
    )


def _pair(part: Dense) -> tuple[Any, Any]:
    return _double(part.weight), _double(part.bias)


def _double(x: Array | None) -> Any:
    return None if x is None else np.asarray(x, dtype=np.float64)
