"""The weights of a live model as a checkpoint that was opened, so that all that reads one reads them.

:mod:`linsim.models` knows how families name and store their blocks; here are only a reader that takes
tensors from memory, and the one family that is written in PyTorch itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import _validate
from ..errors import NotCoveredError
from ..models import LayerSpectra, Model
from ..models._blocks import Blocks
from ..models._config import Config
from ..models._files import Source
from ..models._layouts import Layout
from ..models._recognise import Stack, choose, stacks
from ..models._tensors import Tensors
from ._find import found_blocks

__all__ = ["as_model", "spectra"]

_ENCODER = Layout(
    "nn.TransformerEncoder",
    block="{layer}.",
    marker="self_attn.in_proj.weight",
    fused="self_attn.in_proj",
    output="self_attn.out_proj",
    norm="norm1",
    up="linear1",
    down="linear2",
    feed_forward_norm="norm2",
)


class _Live(Tensors):
    """Tensors of modules; each is copied to the host when it is read."""

    kind = "live"

    def __init__(self, tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._tensors, self.metadata = tensors, metadata
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def fetch(self, name: str) -> np.ndarray[Any, Any]:
        tensor = self._tensors[name].detach()
        wide = tensor if tensor.dtype == torch.float64 else tensor.float()
        host: np.ndarray[Any, Any] = wide.cpu().numpy()
        return host.copy()  # weights change while they train


def as_model(model: nn.Module, *, part: str | None = None) -> Model:
    """Return a live model as :func:`linsim.models.load` returns one from a file.

    Its ``spectra`` need nothing more; ``run(states=...)`` with what enters each layer and leaves the last
    (``(layers + 1, n, d)``) holds each layer against one exact step and the asymptotic law.

    Parameters
    ----------
    model : torch.nn.Module
        With a stack of ``nn.TransformerEncoderLayer`` (with :class:`SpectralOV` or without), or of a family
        that :mod:`linsim.models` knows.  Its weights are read when they are needed, not copied.
    part : str, keyword-only
        Which of several stacks: "text" or "vision", "encoder" or "decoder".

    Raises
    ------
    NotCoveredError
        If it has blocks of another kind.
    InvalidTypeError, InvalidValueError, FileFormatError
        If it is no module, or its heads are not known.

    Examples
    --------
    >>> import torch, linsim.torch
    >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    >>> linsim.torch.as_model(torch.nn.TransformerEncoder(layer, 3))
    <Model nn.TransformerEncoder (live): 3 layers, 2 heads, width 16, post-norm>
    """
    layers = _encoder_layers(model)
    if layers:
        return _of_encoder(layers)
    config: Any = getattr(model, "config", None)
    about = config.to_dict() if hasattr(config, "to_dict") else {}
    if not about:
        about = {"num_attention_heads": _heads(model)}
    live = _Live(dict(model.state_dict()), about)
    try:
        found = stacks(live)
    except NotCoveredError as error:
        raise _validate.refusal(
            NotCoveredError,
            "model",
            f"{type(model).__name__} with {len(live.shapes)} tensors of no known family",
            "a stack of nn.TransformerEncoderLayer, or a family that linsim.models knows",
            "Save it, name its matrices to linsim.models.load(path, value_pattern=, projection_pattern=).",
        ) from error
    chosen = choose(found, part)
    blocks = Blocks(live, chosen, Config(about, chosen.part), None)
    return Model(_source(live), blocks, [one.part for one in found])


def spectra(model: nn.Module, *, part: str | None = None) -> list[LayerSpectra]:
    """Return the spectrum of H = W_V W_O of each layer and head of a live model, as ``linsim model`` does.

    Parameters
    ----------
    model : torch.nn.Module
        As :func:`as_model` takes it.
    part : str, keyword-only
        Which of several stacks.

    Returns
    -------
    list of linsim.models.LayerSpectra
        Raw and effective (the gain of a norm before attention and LayerScale folded in), all heads
        together and each apart; eigenvalues that are zero whatever the numbers are counted apart.

    Raises
    ------
    NotCoveredError, InvalidTypeError, InvalidValueError, FileFormatError
        As :func:`as_model`.

    Examples
    --------
    >>> import torch, linsim.torch as lt
    >>> layer = lt.EncoderLayer(8, 2, 16)
    >>> layer.self_attn = lt.SpectralOV(8, 2, filter="sharpen", psi=[-0.5] * 8)
    >>> round(lt.spectra(layer)[0].raw.real_max, 6)
    -0.5
    """
    return as_model(model, part=part).spectra


def _encoder_layers(model: Any) -> list[nn.TransformerEncoderLayer]:
    """Return the layers of the one stack of nn.TransformerEncoderLayer, if there is one."""
    try:
        found = [block for _, block in found_blocks(model)]
    except NotCoveredError:
        return []
    return [block for block in found if isinstance(block, nn.TransformerEncoderLayer)]


def _of_encoder(layers: list[nn.TransformerEncoderLayer]) -> Model:
    first = layers[0]
    facts = {(layer.norm_first, layer.norm1.eps, layer.self_attn.num_heads, layer.activation_relu_or_gelu)
             for layer in layers}  # fmt: skip
    if len(facts) > 1 or not first.activation_relu_or_gelu:
        what = "layers of several kinds" if len(facts) > 1 else f"activation {first.activation}"
        raise _validate.refusal(
            NotCoveredError, "model", what, "layers alike, with relu or gelu", "Pass a stack of such layers."
        )
    tensors: dict[str, Any] = {}
    for i, layer in enumerate(layers):
        for name, module in layer.named_children():
            if isinstance(module, nn.Linear | nn.LayerNorm):
                tensors |= {f"{i}.{name}.{key}": value for key, value in module.named_parameters()}
        attention = layer.self_attn
        tensors[f"{i}.self_attn.in_proj.weight"] = attention.in_proj_weight
        tensors[f"{i}.self_attn.out_proj.weight"] = attention.out_proj.weight
        if attention.in_proj_bias is not None:
            tensors[f"{i}.self_attn.in_proj.bias"] = attention.in_proj_bias
            tensors[f"{i}.self_attn.out_proj.bias"] = attention.out_proj.bias
    layout = replace(
        _ENCODER,
        order="pre" if first.norm_first else "post",
        epsilon=first.norm1.eps,
        activation={1: "relu", 2: "gelu"}[first.activation_relu_or_gelu],
    )
    live = _Live(tensors, {})
    blocks = Blocks(live, Stack(layout, "", len(layers)), Config({}), first.self_attn.num_heads)
    return Model(_source(live), blocks, ["encoder"])


def _source(live: _Live) -> Source:
    return Source(live, live.metadata, Path("."), Path("(live model)"))


def _heads(model: nn.Module) -> int | None:
    """Return the one head count of a model without a config, as timm's attention holds it."""
    counts = {m.num_heads for m in model.modules() if isinstance(getattr(m, "num_heads", None), int)}
    return counts.pop() if len(counts) == 1 else None
