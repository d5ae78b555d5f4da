"""Post-norm, pre-norm, de-escalated post-norm: which of them trains when it is deep?

Source of the claims: arXiv 2312.06182: token similarity escalates in deep post-norm Transformers and keeps
them from training; taking the excess of it away lets them go deep.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from .._deescalation import Deescalation, EncoderLayer
from .claims import Claim, paired
from .data import Characters, characters
from .training import Stack, columns, fit, smoothing

__all__ = ["AXES", "QUICK", "VALUES", "claims", "train"]

AXES: dict[str, list[Any]] = {"depth": [6, 12, 24, 48], "norm": ["post", "pre", "de-escalated post"]}
QUICK: dict[str, list[Any]] = {"depth": [6, 12]}
VALUES = {
    "loss": "mean loss of hidden test characters, nats",
    "train_loss": "mean loss of the last tenth of steps, nats",
    "entropy": "the same of a guess by frequencies, nats",
    "accuracy": "share of hidden test characters that are right",
}
DEPTH = max(AXES["depth"])

N, WIDTH, HEADS, BATCH, RATE, HIDDEN = 32, 32, 4, 32, 5e-3, 0.25


class Neighbours(nn.Module):
    """Characters (b, n) as vectors of each with two neighbours on either side, (b, n, WIDTH).

    Without them a small model spends its first thousand steps on learning which positions are near.
    """

    def __init__(self, kinds: int) -> None:
        super().__init__()
        self.table = nn.Embedding(kinds, WIDTH)
        self.near = nn.Conv1d(WIDTH, WIDTH, 5, padding=2)

    def forward(self, x: Any) -> Any:
        """Embed."""
        table = self.table(x)
        return table + self.near(table.transpose(1, 2)).transpose(1, 2)


@cache
def _text() -> Characters:
    return characters()


def _layer(kind: str) -> nn.Module:
    return EncoderLayer(
        WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=kind == "pre",
        deescalation=[Deescalation("attention", tau=1.0)] if kind == "de-escalated post" else [],
    )  # fmt: skip


def _hidden(text: Characters, stretches: Any, count: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Draw sequences of N characters and hide some: what is shown, what is true, and where it is hidden."""
    rows = rng.integers(0, len(stretches), count)
    starts = rng.integers(0, stretches.shape[1] - N, count)
    true = torch.stack([stretches[r, s : s + N] for r, s in zip(rows, starts, strict=True)])
    hidden = torch.as_tensor(rng.random((count, N)) < HIDDEN)
    return torch.where(hidden, text.alphabet, true), true, hidden


def train(point: Mapping[str, Any], seed: int, steps: int) -> dict[str, Any]:
    """Train one model and measure it; ``point`` is one of the grid over AXES."""
    text = _text()
    torch.manual_seed(seed)
    layers = [_layer(point["norm"]) for _ in range(point["depth"])]
    model = Stack(Neighbours(text.alphabet + 1), N, layers, text.alphabet, pooled=False)
    rng = np.random.default_rng([seed, 3])
    shown, true, hidden = _hidden(text, text.test, 256, np.random.default_rng(2312))
    before = smoothing(model, shown[:64])

    def loss(step: int) -> Any:
        some, right, where = _hidden(text, text.train, BATCH, rng)
        return F.cross_entropy(model(some)[where], right[where])

    losses = fit(model, loss, steps, RATE)
    with torch.no_grad():
        answers = model(shown)[hidden]
        cost = F.cross_entropy(answers, true[hidden]).item()
        right = (answers.argmax(dim=-1) == true[hidden]).double().mean().item()
    return {
        "loss": cost,
        "accuracy": right,
        "entropy": text.entropy,
        "train_loss": float(losses[-max(1, steps // 10) :].mean()),
        **{f"{name}_before": value for name, value in before.items()},
        **smoothing(model, shown[:64]),
        **columns(model, shown[:2]),
    }


def claims(ds: Any) -> list[Claim]:
    """Hold the claims against losses and token similarities of a finished grid.

    That a model trains means that it beats a guess by frequencies by a tenth of a nat.
    """
    found = []
    post, pre, less = "post", "pre", "de-escalated post"
    for depth in ds.depth.values:
        deep = ds.sel(depth=depth)
        similar = deep.token_similarity_before
        last = similar.sel(layer=int(depth))
        grown = last.sel(norm=post) - similar.isel(layer=0).sel(norm=post)
        found.append(
            paired(f"token similarity escalates in post-norm at initialisation ({depth} layers)", grown)
        )
        lower = last.sel(norm=post) - last.sel(norm=less)
        found.append(paired(f"de-escalation keeps it lower ({depth} layers)", lower))
        gained = deep.entropy - deep.loss - 0.1
        found.append(paired(f"post-norm does not train ({depth} layers)", -gained.sel(norm=post)))
        found.append(paired(f"de-escalated post-norm trains ({depth} layers)", gained.sel(norm=less)))
        for other in (post, pre):
            better = deep.loss.sel(norm=other) - deep.loss.sel(norm=less)
            found.append(
                paired(
                    f"de-escalated post-norm reaches a lower loss than {other}-norm ({depth} layers)", better
                )
            )
    return found
