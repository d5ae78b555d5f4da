"""One short training run, and what is measured of the trained stack: the same for every experiment."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .._live import as_model
from .._measure import measured

__all__ = ["COLUMNS", "METRICS", "Stack", "columns", "fit", "smoothing"]

Tensor = Any

#: recorded at every layer
METRICS = (
    "token_similarity",
    "log_token_diversity",
    "log_hfc_lfc",
    "cosine",
    "log_cosine_gap",
    "effective_rank",
)
#: changes of ln HFC/LFC across the attention of a layer: measured, one exact step, the asymptotic law
COLUMNS = ("measured", "step", "law")


class Stack(nn.Module):
    """Tokens (b, n, width), through an embedding with positions and the layers, to one or n answers."""

    def __init__(self, embed: nn.Module, n: int, layers: list[nn.Module], answers: int, pooled: bool) -> None:
        super().__init__()
        d = layers[0].self_attn.embed_dim
        self.embed, self.pooled = embed, pooled
        self.positions = nn.Parameter(0.02 * torch.randn(n, d))
        self.layers = nn.ModuleList(layers)
        self.norm, self.answer = nn.LayerNorm(d), nn.Linear(d, answers)

    def states(self, x: Tensor) -> list[Tensor]:
        """Return what enters each layer and leaves the last, (b, n, d) each."""
        states = [self.embed(x) + self.positions]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (b, answers) or (b, n, answers)."""
        last = self.norm(self.states(x)[-1])
        return self.answer(last.mean(dim=1) if self.pooled else last)


def fit(model: nn.Module, loss: Callable[[int], Tensor], steps: int, rate: float) -> np.ndarray[Any, Any]:
    """Train with AdamW, a warm-up over a tenth of the steps and a cosine to zero; return each step's loss.

    A loss that is not finite ends the training: NaN from there on.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    losses = np.full(steps, np.nan)
    model.train()
    for step in range(steps):
        warm = min(1.0, (step + 1) / max(1, steps // 10))
        for group in optimiser.param_groups:
            group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        value = loss(step)
        losses[step] = value.item()
        if not math.isfinite(losses[step]):
            break
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.eval()
    return losses


@torch.no_grad()
def smoothing(model: Stack, x: Tensor) -> dict[str, np.ndarray[Any, Any]]:
    """Return each of METRICS at the layers 0 to depth, its mean over sequences."""
    found = [measured(state, None, METRICS) for state in model.states(x)]
    return {name: np.array([float(one[name][0].mean()) for one in found]) for name in METRICS}


@torch.no_grad()
def columns(model: Stack, x: Tensor) -> dict[str, np.ndarray[Any, Any]]:
    """Return COLUMNS for each layer, means over sequences; :mod:`linsim.models` works them out."""
    states = torch.stack(model.states(x), dim=1).double().cpu().numpy()
    opened = as_model(nn.ModuleDict({"layers": model.layers}))
    runs = [opened.run(states=one) for one in states]
    return {
        name: np.array([[getattr(layer, name) for layer in run.layers] for run in runs]).mean(axis=0)
        for name in COLUMNS
    }
