"""Nested tensors in and out of modules that are written for padded ones.

``nn.TransformerEncoder`` makes a nested tensor of padded sequences for its fused layers, and hands it to
whatever stands in their place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["nested_like", "padded"]

Tensor = Any


def padded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a nested tensor as (b, n, d) and its padding (b, n), True where a row is no token."""
    rows = x.unbind()
    lengths = torch.tensor([len(row) for row in rows], device=x.device)
    whole = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    return whole, torch.arange(whole.shape[1], device=x.device) >= lengths[:, None]


def nested_like(x: Tensor, padding: Tensor, like: Tensor) -> Tensor:
    """Return (b, n, d) without its padding, in the layout of the nested tensor ``like``."""
    rows = [row[~left_out] for row, left_out in zip(x, padding, strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=like.layout)
