"""From what a block takes or returns to hidden states (b, n, d), and from masks to the tokens that count."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .. import _validate
from ..errors import InvalidTypeError, ShapeError
from ._nested import padded

__all__ = ["fitting", "mask_among", "padding", "states_of"]

Tensor = Any

#: arguments that say which tokens count, and whether True stands for those that do
_MASKS = {"attention_mask": True, "src_key_padding_mask": False, "key_padding_mask": False}
_IDS = ("input_ids", "inputs_embeds")
_OF_PACKED = ("cu_seqlens", "cu_seq_lens_q", "cu_seqlens_q")
_REMEDY = "Pass state=, a function from what the block returns to one tensor (batch, tokens, features)."
_OF_GRIDS = (
    "Pass state=lambda x: x.flatten(1, 2) for (batch, height, width, features), or state=lambda x: "
    "x.flatten(2).mT for (batch, features, height, width)."
)


def states_of(value: Any, block: str, first: bool, unbatched: bool) -> tuple[Tensor, Tensor | None]:
    """Return hidden states (b, n, d), and which tokens count where a nested tensor says so.

    Parameters
    ----------
    value : what a block takes or returns
    block : its name, for messages
    first : whether tokens are the first axis
    unbatched : whether (n, d) is one sequence
    """
    value = _one_tensor(value, block)
    if value.is_nested:
        whole, left_out = padded(value)
        return whole, ~left_out
    if value.layout != torch.strided or not value.is_floating_point() or value.is_meta:
        raise _validate.refusal(
            InvalidTypeError,
            block,
            f"a {value.layout} tensor of {value.dtype} on {value.device}",
            "hidden states that hold floating numbers",
            _REMEDY,
        )
    if value.ndim == 2 and unbatched:
        return value[None], None
    if value.ndim != 3 or 0 in value.shape:
        packed = " (packed sequences?)" if value.ndim == 2 else " (tokens on a grid?)" * (value.ndim == 4)
        raise _validate.refusal(
            ShapeError,
            block,
            f"shape {tuple(value.shape)}{packed}",
            "shape (batch, tokens, features)",
            _OF_GRIDS if value.ndim == 4 else _REMEDY,
        )
    return (value.transpose(0, 1) if first else value), None


def _one_tensor(value: Any, block: str) -> Tensor:
    """Take the hidden states out of a tuple or mapping: by name, or the one that comes first."""
    if isinstance(value, nn.utils.rnn.PackedSequence):
        raise _validate.refusal(
            InvalidTypeError,
            block,
            "a PackedSequence",
            "a tensor (batch, tokens, features)",
            "Unpack it with torch.nn.utils.rnn.pad_packed_sequence, and pass its mask.",
        )
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Mapping):
        for name in ("hidden_states", "last_hidden_state"):
            if isinstance(value.get(name), torch.Tensor):
                return value[name]
        tensors = [one for one in value.values() if isinstance(one, torch.Tensor)]
        if len(tensors) == 1:
            return tensors[0]
        found = f"a mapping of {', '.join(map(str, value)) or 'nothing'}"
    elif isinstance(value, tuple | list) and value and isinstance(value[0], torch.Tensor):
        return value[0]
    else:
        found = f"{type(value).__name__}"
    raise _validate.refusal(
        InvalidTypeError, block, found, "a tensor, or a tuple or mapping that begins with one", _REMEDY
    )


def mask_among(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return which tokens count (b, n) by the arguments of a call, or None where none of them says so.

    Raises
    ------
    InvalidTypeError
        If sequences are packed into one row, where tokens of different ones are neighbours.
    """
    given = dict(kwargs)
    if any(isinstance(one, torch.Tensor) for one in args):
        # whoever calls a module with what it does not take is told so by the module
        with contextlib.suppress(TypeError, ValueError):
            given |= inspect.signature(module.forward).bind_partial(*args).arguments
    positions: Any = given.get("position_ids")
    # (with left padding beside a mask, positions go down once as well)
    unmasked = isinstance(positions, torch.Tensor) and given.get("attention_mask") is None
    if (unmasked and bool((positions.diff(dim=-1) < 0).any())) or any(
        given.get(name) is not None for name in _OF_PACKED
    ):
        raise _validate.refusal(
            InvalidTypeError,
            "model",
            "packed sequences (positions that start again, or cumulative lengths)",
            "one sequence a row",
            "Pad them while you watch: metrics over several sequences at once mean nothing.",
        )
    for name, keeps in _MASKS.items():
        mask = given.get(name)
        if isinstance(mask, torch.Tensor) and mask.ndim == 2 and not mask.is_nested:
            # with a cache the mask is of all tokens so far, and only the last are in the states
            ids = next((given[k] for k in _IDS if isinstance(given.get(k), torch.Tensor)), mask)
            return padding(mask[:, -ids.shape[1] :], keeps)
    return None


def padding(mask: Tensor, keeps: bool = True) -> Tensor:
    """Return booleans, True for tokens that count, from a mask that says so or (not ``keeps``) which do not.

    A floating mask of padding, or one with a negative number in it, is added to scores: 0 keeps a token.
    """
    if mask.is_floating_point() and (not keeps or bool((mask < 0).any())):
        return mask == 0
    return mask.bool() if keeps else ~mask.bool()


def fitting(keep: Tensor | None, b: int, n: int, block: str) -> Tensor | None:
    """Check a mask (b, n) or (n,) against states (b, n, d)."""
    if keep is None:
        return None
    keep = keep[None].expand(b, -1) if keep.ndim == 1 else keep
    if keep.shape != (b, n):
        raise _validate.refusal(
            ShapeError,
            "mask",
            f"shape {tuple(keep.shape)}, and states of {b} sequences of {n} tokens at {block or 'the block'}",
            f"({b}, {n}), True for tokens that count",
            "Pass mask= that fits the hidden states, or mask=None to count all of them.",
        )
    return keep
