"""Sharpen, smooth, mixed or free: does the spectrum of H decide how a small image Transformer learns?

Source of the claims: arXiv 2401.04301 (abstract): control of the spectrum ensures that oversmoothing
does not occur and improves generalization, with more layers, fewer data points and corrupted data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from .._deescalation import EncoderLayer
from .._spectral_ov import SpectralOV
from .claims import Claim, paired
from .data import CORRUPTIONS, digits
from .training import Stack, columns, fit, smoothing

__all__ = ["AXES", "QUICK", "VALUES", "claims", "train"]

AXES: dict[str, list[Any]] = {
    "depth": [4, 12, 24],
    "fraction": [1.0, 0.1],
    "corruption": list(CORRUPTIONS),
    "filter": ["sharpen", "smooth", "mixed", "free"],
}
QUICK: dict[str, list[Any]] = {"depth": [4], "fraction": [1.0], "corruption": ["clean"]}
VALUES = {
    "accuracy": "share of test images that are right",
    "train_loss": "mean loss of the last tenth of steps, nats",
}
DEPTH = max(AXES["depth"])

WIDTH, HEADS, BATCH, RATE = 32, 4, 64, 5e-3


def _layer(kind: str, at: int) -> nn.Module:
    layer = EncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
    if kind == "mixed":
        kind = ("sharpen", "smooth")[at % 2]
    if kind != "free":
        layer.self_attn = SpectralOV.like(layer.self_attn, filter=kind)
    return layer


def train(point: Mapping[str, Any], seed: int, steps: int) -> dict[str, Any]:
    """Train one model and measure it; ``point`` is one of the grid over AXES."""
    data = digits(fraction=point["fraction"], corruption=point["corruption"], seed=seed)
    torch.manual_seed(seed)
    layers = [_layer(point["filter"], i) for i in range(point["depth"])]
    model = Stack(nn.Linear(4, WIDTH), 16, layers, 10, pooled=True)
    x, y = data.train
    order = np.random.default_rng([seed, 2])
    before = smoothing(model, data.test[0][:64])

    def loss(step: int) -> Any:
        some = torch.as_tensor(order.integers(0, len(x), min(BATCH, len(x))))
        return F.cross_entropy(model(x[some]), y[some])

    losses = fit(model, loss, steps, RATE)
    with torch.no_grad():
        right = (model(data.test[0]).argmax(dim=-1) == data.test[1]).double().mean().item()
    return {
        "accuracy": right,
        "train_loss": float(losses[-max(1, steps // 10) :].mean()),
        **{f"{name}_before": value for name, value in before.items()},
        **smoothing(model, data.test[0][:64]),
        **columns(model, data.test[0][:2]),
    }


def claims(ds: Any) -> list[Claim]:
    """Hold the claims against the accuracies and the HFC/LFC of a finished grid."""
    found = []
    others = [("free", "layers left free"), ("smooth", "smoothing ones")]
    for depth in ds.depth.values:
        deep = ds.sel(depth=depth)
        first, last = deep.log_hfc_lfc.isel(layer=0), deep.log_hfc_lfc.sel(layer=int(depth))
        clean = {"fraction": 1.0, "corruption": "clean"}
        grown = (last - first).sel(filter="sharpen", **clean)
        found.append(
            paired(f"sharpening layers do not oversmooth: HFC/LFC does not fall ({depth} layers)", grown)
        )
        fallen = (first - last).sel(filter="smooth", **clean)
        found.append(paired(f"smoothing layers oversmooth: HFC/LFC falls ({depth} layers)", fallen))
        for fraction in ds.fraction.values:
            for corruption in ds.corruption.values:
                here = deep.accuracy.sel(fraction=fraction, corruption=corruption)
                where = f"{depth} layers, {fraction:.0%} of the data, {corruption}"
                for other, says in others:
                    better = here.sel(filter="sharpen") - here.sel(filter=other)
                    found.append(paired(f"sharpening layers generalise better than {says} ({where})", better))
    return found
