"""The exact forward pass of a stack of blocks, layer by layer, in NumPy or CuPy.

Everything is computed in float64 from the stored weights: hidden states agree with the float32 of other
software up to its rounding.  Each layer hands out what the theory asks about: the state that enters, the
attention of each head, one over the norm's sigma of each token, and the state after attention, after the
norm behind it if there is one, and after the feed-forward part.

Formulas: Vaswani et al. 2017 (attention), Su et al. 2021 (rotary positions), Shazeer 2020 (gated units),
and the modules of Hugging Face transformers for what each family makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .. import _validate
from .._namespace import Array, erfc, namespace, on_device_of
from ..errors import InvalidValueError, NotCoveredError, ShapeError
from ._blocks import Blocks
from ._parts import AttentionPart, BlockParts, Dense, FeedForwardPart, Norm, Rotary, mapped

__all__ = [
    "Change",
    "LayerRun",
    "activated",
    "attention_maps",
    "causal_mask",
    "check",
    "dense",
    "deviation",
    "normed",
    "walk",
]


@dataclass(frozen=True)
class LayerRun:
    """What happened in one layer.

    Attributes
    ----------
    layer : int
    parts : BlockParts
        The weights that were used.
    entering, attended, leaving : array, shape (n, d)
        The residual stream before the layer, after attention was added, and behind the layer.  Of a
        block of two parallel sublayers ``attended`` is what it would be without the other.
    normed : array, shape (n, d)
        ``attended`` behind the norm that follows the sum; ``attended`` itself where none does.
    attention : array, shape (heads, n, n)
        Rows sum to 1.
    inverse_sigma : array, shape (n,), or None
        1/sigma of each token in the norm before attention; None where there is none.
    """

    layer: int
    parts: BlockParts
    entering: Array
    attention: Array
    inverse_sigma: Array | None
    attended: Array
    normed: Array
    leaving: Array


@dataclass(frozen=True)
class Change:
    """What to do otherwise in every layer: other weights, given 1/sigma, and other states after attention."""

    parts: Callable[[BlockParts, Array | None], BlockParts] = lambda parts, _: parts
    attended: Callable[[Array], Array] = lambda x: x


def walk(
    blocks: Blocks,
    x: Array,
    *,
    states: Array | None = None,
    keep: Array | None = None,
    change: Change | None = None,
) -> Iterator[LayerRun]:
    """Run every layer.

    Parameters
    ----------
    blocks : Blocks
    x : array, shape (n, d)
        What enters layer 0; computed where it lives (NumPy or CuPy).
    states : array, shape (layers, n, d), optional
        Recorded states that enter each layer, taken instead of those computed.
    keep : bool array, shape (n,), optional
        False for padding: nobody attends to it.
    change : Change, optional

    Returns
    -------
    iterator of LayerRun
        Weights are read when a layer's turn comes, so memory holds one layer at a time.

    Raises
    ------
    NotCoveredError
        If this model's blocks are not exactly those written out here.
    ShapeError
        If x has another width.
    """
    check(blocks)
    if x.shape[-1] != blocks.width:
        raise _validate.refusal(
            ShapeError, "states", f"shape {tuple(x.shape)}", f"(n, {blocks.width})", "Pass hidden states."
        )
    return _walk(blocks, x, states, keep, change or Change())


def _walk(
    blocks: Blocks, x: Array, states: Array | None, keep: Array | None, change: Change
) -> Iterator[LayerRun]:
    like = x
    mask = _mask(x.shape[0], blocks.causal, keep, x)
    for layer in range(blocks.count):
        x = x if states is None else states[layer]
        parts = mapped(blocks.block(layer), lambda w: on_device_of(w.astype(np.float64), like))
        run = _run(layer, parts, x, mask, change)
        x = run.leaving
        yield run


def check(blocks: Blocks) -> None:
    """Refuse a model whose forward pass is not the one written out here, or whose heads are not known."""
    layout, kind = blocks.layout, blocks.config.text("model_type")
    why = ""
    if not (layout.up or layout.gate_up) or not layout.norm:
        why = f"a {layout.name} model"
    elif layout.exact and kind not in layout.exact and not _tower(layout.name, kind):
        why = f"model_type {kind!r} in the layout of {layout.name}"
    elif layout.rotary and blocks.config.rope()[1] != "default":
        why = f"rotary positions of type {blocks.config.rope()[1]!r}"
    elif any("q_norm" in name or "bias_k" in name for name in blocks.tensors.shapes):
        why = "norms of queries and keys"
    elif blocks.config.text("position_embedding_type") not in ("", "absolute"):
        why = f"positions of type {blocks.config.text('position_embedding_type')!r}"
    elif layout.shared and (blocks.config.count("inner") or 1) > 1:
        why = "several blocks in each of ALBERT's groups"
    if why:
        raise _validate.refusal(
            NotCoveredError,
            "path",
            why,
            "a forward pass that is written out",
            "Leave the input out: the spectra need none. Or pass hidden states of all layers and heads of "
            "a model that is covered.",
        )
    if blocks.heads is None:
        raise _validate.refusal(
            InvalidValueError,
            "heads",
            "no head count",
            "the number of heads",
            "Pass --heads COUNT, or put config.json beside the weights.",
        )


def _tower(layout: str, kind: str) -> bool:
    return layout == "CLIP" and kind.startswith("clip")


def _run(layer: int, parts: BlockParts, x: Array, mask: Array | None, change: Change) -> LayerRun:
    xp = namespace(x)
    pre = parts.order == "pre"
    norm = parts.attention.path.norm
    sigma = None
    if pre and norm is not None:
        sigma = 1 / deviation(x, norm)
    parts = change.parts(parts, sigma)
    norm = parts.attention.path.norm
    fed = normed(x, norm) if pre else x
    A = attention_maps(fed, parts.attention, mask)
    added = _mixed(A, fed, parts.attention)
    attended = change.attended(x + added)
    after = attended if pre else normed(attended, norm)
    into = x if parts.parallel else after
    feed = parts.feed_forward
    forward = _fed_forward(normed(into, feed.norm) if pre else into, feed)
    leaving = after + forward if pre else normed(after + forward, feed.norm)
    if not bool(xp.all(xp.isfinite(leaving))):
        raise _validate.refusal(
            InvalidValueError,
            "states",
            f"infinity or NaN behind layer {layer}",
            "finite states",
            "Check the input, and that head count and activation are the model's own.",
        )
    return LayerRun(layer, parts, x, A, sigma, attended, after, leaving)


# --- the pieces ----------------------------------------------------------------------------


def deviation(x: Array, norm: Norm) -> Array:
    """Return sigma of each token, (n,): what the norm divides by."""
    xp = namespace(x)
    if norm.centred:
        x = x - xp.mean(x, axis=-1, keepdims=True)
    return xp.sqrt(xp.mean(x * x, axis=-1) + norm.epsilon)


def normed(x: Array, norm: Norm | None) -> Array:
    """Apply a norm to each token."""
    if norm is None:
        return x
    xp = namespace(x)
    sigma = deviation(x, norm)[:, None]
    if norm.centred:
        x = x - xp.mean(x, axis=-1, keepdims=True)
    x = x / sigma * norm.gain
    return x if norm.bias is None else x + norm.bias


def dense(x: Array, layer: Dense) -> Array:
    """Apply x W + b."""
    product = x @ layer.weight
    return product if layer.bias is None else product + layer.bias


def _cut(x: Array, heads: int) -> Array:
    """Cut (n, h w) into (h, n, w)."""
    xp = namespace(x)
    return xp.permute_dims(xp.reshape(x, (x.shape[0], heads, -1)), (1, 0, 2))


def attention_maps(fed: Array, part: AttentionPart, mask: Array | None) -> Array:
    """Return the softmax of each head, (h, n, n), of the normed states."""
    xp = namespace(fed)
    path = part.path
    query, key = _cut(dense(fed, part.query), path.heads), _cut(dense(fed, part.key), part.key_heads)
    if part.rotary is not None:
        query, key = _turned(query, part.rotary), _turned(key, part.rotary)
    key = _repeated(key, path.heads)
    scores = query @ xp.permute_dims(key, (0, 2, 1)) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = xp.where(mask, scores, on_device_of(-np.inf, scores))
    weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return weights / xp.sum(weights, axis=-1, keepdims=True)


def _repeated(x: Array, heads: int) -> Array:
    """Repeat each of (k, n, w) for the heads that share it."""
    xp = namespace(x)
    times = heads // x.shape[0]
    return x if times == 1 else xp.repeat(x, times, axis=0)


def _mixed(A: Array, fed: Array, part: AttentionPart) -> Array:
    """Return what the sublayer adds."""
    xp = namespace(A)
    path = part.path
    mixed = A @ _repeated(_cut(dense(fed, path.value), path.kv_heads), path.heads)
    added = dense(xp.reshape(xp.permute_dims(mixed, (1, 0, 2)), (fed.shape[0], -1)), path.output)
    return added if path.layer_scale is None else added * path.layer_scale


def _turned(x: Array, rotary: Rotary) -> Array:
    """Turn the channels of (h, n, w) by their token's position."""
    xp = namespace(x)
    half = rotary.width // 2
    speeds = rotary.base ** (-np.arange(half) / half)
    angles = np.arange(x.shape[1])[:, None] * speeds
    cos, sin = (on_device_of(f(angles), x) for f in (np.cos, np.sin))
    turned, rest = x[..., : rotary.width], x[..., rotary.width :]
    if rotary.interleaved:
        pairs = xp.reshape(turned, (*turned.shape[:-1], half, 2))
        one, two = pairs[..., 0], pairs[..., 1]
        both = xp.stack([one * cos - two * sin, two * cos + one * sin], axis=-1)
        turned = xp.reshape(both, turned.shape)
    else:
        one, two = turned[..., :half], turned[..., half:]
        turned = xp.concat([one * cos - two * sin, two * cos + one * sin], axis=-1)
    return xp.concat([turned, rest], axis=-1) if rest.shape[-1] else turned


def _fed_forward(x: Array, part: FeedForwardPart) -> Array:
    hidden = dense(x, part.up)
    if part.gate is None:
        hidden = activated(hidden, part.activation)
    else:
        hidden = activated(dense(x, part.gate), part.activation) * hidden
    out = dense(hidden, part.down)
    return out if part.layer_scale is None else out * part.layer_scale


def activated(x: Array, name: str) -> Array:
    """Apply an activation by the name that a config.json gives it."""
    xp = namespace(x)
    if name == "gelu":
        return x * 0.5 * erfc(x * -(0.5**0.5))  # x times the normal distribution function
    if name in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"):
        return 0.5 * x * (1 + xp.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))
    if name in ("quick_gelu", "silu", "swish"):
        slope = 1.702 if name == "quick_gelu" else 1.0
        # the logistic function by tanh, which does not overflow
        return x * 0.5 * (1 + xp.tanh(slope * x / 2))
    if name == "relu":
        return xp.where(x > 0, x, xp.zeros_like(x))
    raise _validate.refusal(
        NotCoveredError,
        "hidden_act",
        repr(name),
        "gelu, gelu_new, quick_gelu, silu or relu",
        "Leave the input out: the spectra need no activation.",
    )


def causal_mask(n: int, like: Array) -> Array:
    """Return True where a token may attend to itself and those before it, (n, n)."""
    return on_device_of(np.tril(np.ones((n, n), bool)), like)


def _mask(n: int, causal: bool, keep: Array | None, like: Array) -> Array | None:
    if not causal and keep is None:
        return None
    mask = np.tril(np.ones((n, n), bool)) if causal else np.ones((n, n), bool)
    if keep is not None:
        # a token of padding would have nobody left to attend to: it keeps itself
        mask = (mask & np.asarray(keep)) | np.eye(n, dtype=bool)
    return on_device_of(mask, like)
