"""What drives escalation: attention or feed-forward layers, by similarity and by depth.

Each part of a block alone, with fresh random weights at every layer: measured
beside exact laws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim import attention, simulate, tokens
from linsim.block import Block
from linsim.streams import philox
from linsim.theory.feed_forward import feed_forward_gram, feed_forward_rate, feed_forward_similarity

from .palette import colour
from .style import below, panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "alike", "caption", "compute", "draw", "law", "message"]

TOKENS, FEATURES = 64, 192
#: similarity before the layer
SIMILARITY = (1 / TOKENS, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

QUICK = {"similarity": (1 / TOKENS, 0.5, 0.9), "depth": 4, "replicates": 2}

#: each part of a block: its activation (none: attention), label, meaning of its colour, dashes and marker
_PARTS: dict[str, tuple[str | None, str, str, Any, str]] = {
    "attention": (None, "attention", "attention", "solid", "o"),
    "relu": ("relu", "ReLU", "feed-forward", (0, (4, 1.6)), "s"),
    "gelu": ("gelu", "GELU", "feed-forward", (0, (1, 1.2)), "^"),
    "tanh": ("tanh", "tanh", "feed-forward", (0, (5, 1.4, 1, 1.4)), "D"),
}

_READ = ("rate", "error", "log_token_diversity", "law", "similarity", "part", "expected", "expected_here")


def alike(t: float) -> Any:
    """Return the Gram matrix over d of tokens of norm sqrt(d) and similarity ``t``, all pairs alike.

    Examples
    --------
    >>> G = alike(0.5)
    >>> float(G.sum() / G.trace() / len(G)), G.shape
    (0.5, (64, 64))
    """
    p = (TOKENS * t - 1) / (TOKENS - 1)
    return (1 - p) * np.eye(TOKENS) + p


def law(part: str, t: float) -> float:
    """Return the escalation rate of one layer at similarity ``t``, in expectation.

    Examples
    --------
    >>> law("attention", 1.0), round(law("relu", 1 / 64), 3)
    (0.5, 0.159)
    """
    if part == "attention":
        return t / (1 + t)
    return 1 - (1 - float(feed_forward_similarity(alike(t), part))) / (1 - t)


def _block(part: str) -> Block:
    activation = _PARTS[part][0]
    std = 1.0 if activation is None else 0.0
    return Block(attention.uniform(TOKENS), std=std, norm=None, feed_forward=activation)


def compute(
    *,
    seed: int = 0,
    similarity: Sequence[float] = SIMILARITY,
    depth: int = 32,
    replicates: int = 8,
) -> xarray.Dataset:
    """Run one layer at each similarity and many layers from random tokens, for each part alone.

    Parameters
    ----------
    similarity : sequence of float in [1/64, 1)
        Similarity before the layer.
    depth, replicates : int
    """
    import xarray

    rng = philox(seed, 0)
    basis = np.linalg.qr(rng.standard_normal((FEATURES, TOKENS)))[0].T
    grams = np.stack([alike(t) for t in similarity])
    roots = np.linalg.cholesky(grams + 1e-13 * np.eye(TOKENS))
    one = np.sqrt(FEATURES) * (roots @ basis)[:, None]
    one = np.broadcast_to(one, (len(similarity), replicates, TOKENS, FEATURES))
    deep = tokens.gaussian(TOKENS, FEATURES, size=replicates, rng=rng)
    rate, error, deeper, iterated = [], [], [], []
    for k, part in enumerate(_PARTS):
        block = _block(part)
        run = simulate(
            block, one, 1, rng=philox(seed, 1 + 2 * k), metrics=["log_token_diversity", "log_norm"]
        )
        energy = np.exp(2 * run.metrics["log_norm"][..., 1])
        kept = energy * np.exp(run.metrics["log_token_diversity"][..., 1])
        ratio = kept.mean(axis=-1) / energy.mean(axis=-1)
        left = 1 - np.array(similarity)
        rate.append(1 - ratio / left)
        # of a ratio of means, to first order
        spread = (kept - ratio[:, None] * energy).std(axis=-1, ddof=1) / energy.mean(axis=-1)
        error.append(spread / np.sqrt(replicates) / left)
        run = simulate(block, deep, depth, rng=philox(seed, 2 + 2 * k), metrics=["log_token_diversity"])
        deeper.append(run.metrics["log_token_diversity"])
        iterated.append(_iterated(part, deep, depth))
    parts = list(_PARTS)
    grid = np.concatenate([np.geomspace(1 / TOKENS, 0.1, 12), np.linspace(0.13, 0.97, 29), [0.985, 0.999]])
    return xarray.Dataset(
        {
            "rate": (("part", "similarity"), np.array(rate)),
            "error": (("part", "similarity"), np.array(error)),
            "log_token_diversity": (("part", "replicate", "layer"), np.array(deeper)),
            "law": (("part", "layer"), np.array(iterated)),
            "expected": (("part", "grid"), np.array([[law(part, t) for t in grid] for part in parts])),
            "expected_here": (("part", "similarity"), [[law(part, t) for t in similarity] for part in parts]),
        },
        {"grid": grid, "part": parts, "similarity": list(similarity), "layer": np.arange(depth + 1)},
    )


def _iterated(part: str, x: Any, depth: int) -> Any:
    """ln t_div of the expected Gram matrix, layer after layer, from the first of the tokens."""
    G = x[0] @ x[0].T / FEATURES
    mean = np.full((TOKENS, TOKENS), 1 / TOKENS)
    out = []
    for _ in range(depth + 1):
        out.append(np.log(1 - G.sum() / TOKENS / np.trace(G)))
        G = G + mean @ G @ mean if part == "attention" else feed_forward_gram(G, part)
    return np.array(out)


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    near = ds.rate.isel(similarity=-1)
    low = ds.rate.isel(similarity=0)
    if float(near.sel(part="attention")) > 4 * float(near.drop_sel(part="attention").max()) and float(
        low.sel(part="relu")
    ) > float(low.sel(part="attention")):
        return "Only attention drives escalation near similarity 1; below, ReLU and GELU do as well"
    return "What drives escalation: attention or feed-forward layers"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw the rate of each part against similarity; similarity, and ln of diversity, over depth."""
    fig, found = panels(axes, 3, title=message(ds), height=5.9, ratios=[1.3, 1, 1])
    near, linear, far = found
    for part, (_, label, role, dashes, marker) in _PARTS.items():
        chosen, hue = ds.sel(part=part), colour(role)
        curve = chosen.expected.values
        near.plot(ds.grid, curve, color=hue, linestyle=dashes)
        near.errorbar(
            ds.similarity,
            chosen.rate,
            2 * chosen.error,
            fmt=marker,
            markerfacecolor="white",
            elinewidth=0.8,
            color=hue,
        )
        beside: Any = {"textcoords": "offset points", "va": "center", "color": hue, "annotation_clip": False}
        near.annotate(label, (1, curve[-1] + (0.03 if part == "relu" else 0)), (4, 0), **beside)
        for ax, measured, predicted in (
            (linear, -np.expm1(chosen.log_token_diversity), -np.expm1(chosen.law)),
            (far, chosen.log_token_diversity / np.log(10), chosen.law / np.log(10)),
        ):
            lines = measured.transpose("layer", "replicate")
            ax.plot(ds.layer, lines, color=hue, linestyle=dashes, linewidth=0.4, alpha=0.6)
            ax.plot(ds.layer, predicted, color=hue, linestyle=dashes)
        # the ends of relu and gelu coincide
        if part != "gelu":
            text = "ReLU,\nGELU" if part == "relu" else label
            for ax, end in (
                (linear, float(-np.expm1(chosen.law[-1]))),
                (far, float(chosen.law[-1]) / np.log(10)),
            ):
                low = ax is linear and part == "relu"
                shift = -8 if low or (ax is far and part == "relu") else 0
                ax.annotate(text, (float(ds.layer[-1]), end), (4, shift), linespacing=1.0, **beside)
    near.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    near.set(xlim=(0, 1), xlabel="token similarity before the layer", ylabel="escalation rate $r$")
    linear.set(ylim=(-0.02, 1.02), ylabel="token similarity")
    far.set(ylabel="log$_{10}$ token diversity")
    for ax in (linear, far):
        ax.set(xlim=(0, float(ds.layer[-1])))
    below([linear, far], "layer")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    worst = float(np.abs((ds.rate - ds.expected_here) / ds.error).max())
    last = ds.log_token_diversity.isel(layer=-1)
    ends = {part: float(1 - np.exp(last.sel(part=part)).mean()) for part in ds.part.values}
    start = float(1 - np.exp(ds.log_token_diversity.isel(layer=0)).mean())
    return (
        f"{message(ds)}. Each part of a block alone, with a residual and fresh random weights "
        f"({TOKENS} tokens, {FEATURES} features, feed-forward width {4 * FEATURES}, no layer norm; uniform "
        f"attention). a, escalation rate 1 - t_div(Y)/t_div(X) of one layer, as a ratio of expectations, "
        "against the similarity before it (tokens of one norm, all pairs alike): exact laws (lines) and "
        f"{ds.sizes['replicate']} draws (circles, two standard errors; largest deviation {worst:.1f} "
        "standard errors). Attention is t/(1 + t), up to 1/2. ReLU drives escalation at low similarity "
        f"({law('relu', 1 / TOKENS):.3f} against {law('attention', 1 / TOKENS):.3f} at t = 1/{TOKENS}) and "
        f"tends to 0 as t -> 1; GELU tends to {feed_forward_rate('gelu'):.3f} and tanh to "
        f"{feed_forward_rate('tanh'):.3f}, which lower similarity. b, similarity over depth from random "
        f"tokens of similarity {start:.3f}, every draw (thin) and the law iterated (thick): after "
        f"{int(ds.layer[-1])} layers similarity is {ends['relu']:.2f} (ReLU), {ends['gelu']:.2f} (GELU) and "
        f"{ends['tanh']:.3f} (tanh) without any attention, 1 - {1 - ends['attention']:.0e} with attention "
        "alone. c, token diversity 1 - t: attention halves it at each layer in the end, ReLU lets it fall "
        "like 1/l^2 only."
    )
