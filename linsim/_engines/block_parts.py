"""What a block holds and draws, for some systems: matrices beside the tokens, with leading axis k or 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _draws
from .._attend import Projections, projections
from .._eigen import meant
from .._from_tokens import FromTokens
from .._namespace import Array, namespace, on_device_of, to_backend, to_host
from ..block import Block
from ..block._block import MATRICES, VECTORS
from ..block._checks import check_attention
from .task import SINGLE, Task, in_batch, rows_of

__all__ = ["Parts", "Streams", "attention_of_layer", "given", "parts_of", "weights_of_layer"]

#: (matrix, bias or None); an absent matrix is the identity
Map = tuple[Array | None, Array | None]


@dataclass(frozen=True, eq=False)
class Streams:
    """Where some systems draw from, and how draws are rounded.

    ``dtype``: that draws are rounded to, where tokens may have more digits; ``see`` returns what a user's
    sampler draws, or has drawn before.
    """

    keys: _draws.Keys
    dtype: str
    see: Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True, eq=False)
class Parts:
    """What one block holds for some systems.

    ``arrays``: by argument, "bias of ..." for those of matrices, (k or 1, ., .), A (k or 1, heads or
    1, n, n); ``factors``: residual, branch and their feed_forward_ kin, a number or (k, 1, 1);
    ``strengths``: (k, 1, 1) tau or similarity of each de-escalation, None for a function; ``std`` and
    ``temperature`` (k, 1, 1) on the host.
    """

    block: Block
    arrays: Mapping[str, Array]
    factors: Mapping[str, float | Array]
    strengths: tuple[Array | None, ...]
    std: Any
    temperature: Any

    def map(self, name: str) -> Map:
        """Return a given matrix with its bias."""
        return self.arrays[name], self.arrays.get(f"bias of {name}")


def parts_of(block: Block, task: Task) -> Callable[[slice, Any, Array], Parts]:
    """Return what gives the parts of a block for rows of a slice of the systems, beside tokens."""
    check_attention(block, task.d)  # now that the number of features is known
    xp, start, batch, size = namespace(task.start), task.start, task.batch, task.size
    arrays: dict[str, Array] = {}
    heads = block.head_count

    def place(name: str, M: Any, axes: int) -> None:
        """Put (..., [heads,] p, q) or (..., d) as (size or 1, ...) beside the tokens."""
        M = to_backend(M, task.backend)
        if axes == 1:
            M = M[..., None, :]
        tail = tuple(M.shape[-3:]) if axes == 3 else tuple(M.shape[-2:])
        if axes == 3:
            M = xp.reshape(M, (*M.shape[:-3], tail[0] * tail[1], tail[2]))
        M = in_batch(M, batch, task.precision)
        arrays[name] = xp.reshape(M, (M.shape[0], *tail))

    spec = block.A
    if block.attention_fixed:
        several = heads > 1 and spec.ndim > 2  # type: ignore[union-attr]
        place("A", spec if several else spec[..., None, :, :], 3)  # type: ignore[index]
    if isinstance(spec, FromTokens):
        if spec.mask is not None:
            mask = on_device_of(to_host(spec.mask).astype(task.precision), start)
            place("mask", mask[..., None, :, :], 3)
            arrays["mask"] = arrays["mask"] > 0
        if spec.bias is not None:
            place("scores", spec.bias[None, :, :] if spec.bias.ndim == 2 else spec.bias, 3)
        if spec.query_key is not None:
            place("query_key", spec.query_key, 2)
    if block.weights_fixed:
        W = block.weights
        if heads > 1:  # one head's columns after the other's
            flat = namespace(W).permute_dims(W, (*range(W.ndim - 3), W.ndim - 2, W.ndim - 3, W.ndim - 1))
            W = namespace(W).reshape(flat, (*flat.shape[:-2], -1))
        place("weights", W, 2)
    for name in VECTORS:
        if getattr(block, name) is not None:
            place(name, getattr(block, name), 1)
    for name in MATRICES:
        one = getattr(block, name)
        if one is not None:
            place(name, one.weight, 2)
            if one.bias is not None:
                place(f"bias of {name}", one.bias, 1)

    def numbers(value: Any) -> Any:
        return np.broadcast_to(value, batch).reshape(size, 1, 1)

    steps: Any = block.deescalation
    strengths = [step.similarity if step.tau is None else step.tau for step in steps]
    taus = [None if x is None else numbers(x) for x in strengths]
    std = numbers(block.std)
    heat = numbers(spec.temperature) if isinstance(spec, FromTokens) else np.ones((1, 1, 1))
    factors = {name: value if np.ndim(value) == 0 else numbers(value) for name, value in _factors(block)}

    def picked(part: slice, rows: Any, begin: Array) -> Parts:
        def own(M: Array) -> Array:
            M = M if M.shape[0] == 1 else rows_of(M[part, ...], rows)
            # matrices have the dtype of the tokens; what is no number stays so
            return xp.astype(M, begin.dtype, copy=False) if M.dtype == start.dtype else M

        def beside(x: Any) -> Any:
            return x if x is None or np.ndim(x) == 0 else on_device_of(x[part][rows].astype(float), start)

        here = {name: own(M) for name, M in arrays.items()}
        if "A" in here and begin.dtype != start.dtype:
            A = here["A"]
            exact = meant(to_host(A).reshape(-1, *A.shape[-2:]), SINGLE).reshape(A.shape)
            here["A"] = on_device_of(exact, begin)
        own_heat = heat[part][rows] if len(heat) > 1 else heat
        if "query" in here:  # scores are scaled once, not at every layer
            width = here["query"].shape[-1] // heads
            factor = on_device_of(1 / (np.sqrt(width) * own_heat), begin, begin.dtype)
            for name in ("query", "bias of query"):
                if name in here:
                    here[name] = here[name] * factor
        if "query_key" in here:
            here["query_key"] = here["query_key"] / on_device_of(own_heat, begin, begin.dtype)
        return Parts(
            block,
            here,
            {name: beside(x) for name, x in factors.items()},
            tuple(beside(tau) for tau in taus),
            std[part][rows],
            own_heat,
        )

    return picked


def _factors(block: Block) -> list[tuple[str, Any]]:
    """Residuals and branches, those of the feed-forward by default as the others."""
    out = []
    for name in ("residual", "branch"):
        own, second = getattr(block, name), getattr(block, f"feed_forward_{name}")
        out += [(name, own), (f"feed_forward_{name}", own if second is None else second)]
    return out


def given(parts: Parts) -> bool:
    """Whether all matrices of a block are given, so that each of its layers has the same."""
    block = parts.block
    attention = block.attention_fixed or block.query is not None or "query_key" in parts.arrays
    weights = block.value is not None or block.weights_fixed
    return attention and weights and (block.feed_forward is None or block.up is not None)


def attention_of_layer(parts: Parts, like: Array, streams: Streams, layer: int) -> Any:
    """Return the attention of a layer, or the projections that it is worked out with.

    ``like`` (k, n, d) are the tokens of the systems themselves.
    """
    block, arrays, spec = parts.block, parts.arrays, parts.block.A
    if block.attention_fixed:
        return arrays["A"]
    if not isinstance(spec, FromTokens):
        A = streams.see(
            lambda: _draws.attention(spec, int(like.shape[-2]), streams.keys, layer, streams.dtype)
        )
        return on_device_of(A[:, None], like, like.dtype)
    heads = block.head_count
    given: dict[str, Any] = {"normalized": spec.normalizes(block.query is not None), "rotary": spec.rotary}
    given |= {"mask": arrays.get("mask"), "bias": arrays.get("scores")}
    if block.query is not None:
        (query, query_bias), (key, key_bias) = parts.map("query"), parts.map("key")
        assert query is not None
        assert key is not None
        width = int(query.shape[-1]) // heads
        return Projections(query, key, heads, int(key.shape[-1]) // width, query_bias, key_bias, **given)
    if "query_key" in arrays:
        return Projections(arrays["query_key"], None, **given)
    heat = parts.temperature if np.ndim(spec.temperature) else None
    drawn = projections(spec, like, streams.keys, layer, streams.dtype, heads, heat)
    return Projections(drawn.query, drawn.key, heads, heads, **given)


def weights_of_layer(parts: Parts, like: Array, streams: Streams, layer: int) -> dict[str, Map]:
    """Return the matrices of a layer beside queries and keys.

    "value" is what attention mixes, "output" what mixes become: of one head with weights W the values
    are the tokens themselves, which leaves W for behind the attention.
    """
    block, arrays = parts.block, parts.arrays
    d, heads = int(like.shape[-1]), block.head_count
    out: dict[str, Map] = {}

    def placed(M: Array) -> Map:
        return on_device_of(M, like, like.dtype), None

    def weights(std: Any, matrix: str) -> Map:
        def draw() -> Array:
            keys, dtype, own = streams.keys, streams.dtype, block.weights
            return _draws.weights(own, d, std, keys, layer, matrix, dtype, "weights", like)

        return placed(streams.see(draw) if callable(block.weights) else draw())

    if block.value is not None:
        out |= {"value": parts.map("value"), "output": parts.map("output")}
    elif block.weights_fixed:
        one = heads == 1
        out["output" if one else "value"] = (arrays["weights"], None)
    else:
        if heads > 1:
            out["value"] = weights(np.ones_like(parts.std), "value")
        out["output"] = weights(parts.std, "output")
    if block.feed_forward is None:
        return out
    if block.up is not None:
        names = ("up", "down", "gate") if block.gate is not None else ("up", "down")
        return out | {name: parts.map(name) for name in names}
    width = 4 * d if block.width is None else block.width
    sizes = {"up": ((d, width), d**-0.5), "gate": ((d, width), d**-0.5)}
    sizes["down"] = ((width, d), block.feed_forward_std * (2 / width) ** 0.5)
    for name, (shape, deviation) in sizes.items():
        if name != "gate" or block.gated:
            W = _draws.rectangle(shape, deviation, streams.keys, layer, name, streams.dtype, like)
            out[name] = placed(W)
    return out
