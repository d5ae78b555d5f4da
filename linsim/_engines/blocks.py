"""Layer by layer through Transformer blocks, tokens as a centre and the differences from it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import _draws, _validate
from .._attend import projections
from .._cloud import (
    Cloud,
    add,
    each,
    linear,
    recentre,
    regathered,
    regroup,
    settle,
    shaken,
    stretch,
    tamed,
    whole,
)
from .._layers import (
    activate,
    attend,
    attend_fixed,
    attention_of,
    contract_mean,
    layer_norm,
    reach_similarity,
)
from .._namespace import Array, namespace, on_device_of, to_host
from .._state import EMPTY, scaled
from ..attention import FromTokens
from ..block import Block
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..streams import RowGenerator
from ._ahead import kept

__all__ = ["Piece", "clouds"]


@dataclass(frozen=True, eq=False)
class Piece:
    """What some of the systems hold: matrices with leading axis k or 1, and their streams."""

    block: Block
    A: Array | None
    W: Array | None
    std: Any  # (k, 1, 1) on the host
    gain: Array | None
    bias: Array | None
    strengths: tuple[
        Array | None, ...
    ]  # (k, 1, 1): tau or similarity of each de-escalation, None: a function
    mask: Array | None
    streams: RowGenerator
    dtype: str  # that draws are rounded to; tokens may have more digits
    see: Callable[[Callable[[], Any]], Any]  # returns what is drawn, or what was drawn before


def clouds(start: Cloud, piece: Piece, layers: Sequence[int], go_on: Callable[[], None]) -> Iterator[Cloud]:
    """Yield the tokens at each of the sorted ``layers``; ``go_on`` raises to end the work.

    Each cloud knows the attention that it goes into, for which is drawn ahead of its layer.
    """
    cloud, layer = start, 0
    drawn = kept(lambda layer: _drawn(start, piece))
    for target in layers:
        while layer < target:
            go_on()
            drawn_now = drawn(layer)
            layer += 1
            cloud = tamed(regroup(_block(cloud, piece, layer, drawn_now)), loosen=True)
        yield replace(cloud, attention=functools.partial(_attention, cloud, piece, drawn, layer))


def _normed(cloud: Cloud, piece: Piece, where: str) -> Cloud:
    if piece.block.norm != where:
        return cloud
    return layer_norm(cloud, piece.gain, piece.bias, piece.block.norm_eps)


def _block(x: Cloud, piece: Piece, layer: int, drawn: Any) -> Cloud:
    """One layer.  Draws come in a fixed order: attention (``drawn``), W, W_1, W_2."""
    block = piece.block

    def normed(cloud: Cloud, where: str) -> Cloud:
        return _normed(cloud, piece, where)

    def at(place: str, cloud: Cloud) -> Cloud:
        return _deescalated(cloud, piece, place, layer)

    def added(cloud: Cloud, branch: Cloud) -> Cloud:
        branch = branch if block.branch == 1 else stretch(branch, block.branch)
        if not block.residual:
            return branch
        skip = cloud if block.residual == 1 else stretch(cloud, block.residual)
        return add(skip, branch)

    y = linear(_attended(normed(x, "pre"), piece, drawn), _weights(piece, x))
    x = at("attention", added(x, at("branch", y)))
    x = at("norm", normed(x, "post"))
    if block.feed_forward is not None:
        y = _feed_forward(normed(x, "pre"), piece, block.feed_forward)
        x = normed(at("feed_forward", added(x, y)), "post")
    return at("output", x)


def _drawn(like: Cloud, piece: Piece) -> Any:
    """Return the attention of one layer, or the projections that it is worked out with."""
    spec, rest = piece.block.A, like.rest
    if piece.A is not None:
        return piece.A
    if isinstance(spec, FromTokens):
        return projections(spec, rest[: like.k, ...], piece.streams, piece.dtype, piece.see)
    A = piece.see(lambda: _draws.attention(spec, int(rest.shape[-2]), piece.streams, piece.dtype))
    return on_device_of(A, rest, rest.dtype)


def _attended(y: Cloud, piece: Piece, drawn: Any) -> Cloud:
    spec = piece.block.A
    if piece.A is None and isinstance(spec, FromTokens):
        return attend(y, drawn, normalized=spec.normalize, mask=piece.mask)
    return attend_fixed(y, drawn)


def _attention(x: Cloud, piece: Piece, drawn: Callable[[int], Any], layer: int) -> list[Array]:
    """Return what the layer after ``layer`` looks at the tokens with."""
    spec, now = piece.block.A, drawn(layer)
    if piece.A is None and isinstance(spec, FromTokens):
        y = _normed(x, piece, "pre")
        return [attention_of(y, now, normalized=spec.normalize, mask=piece.mask)]
    return [now]


def _weights(piece: Piece, like: Cloud) -> Array:
    if piece.W is not None:
        return piece.W
    d = int(like.rest.shape[-1])
    block = piece.block
    W = piece.see(lambda: _draws.weights(block.weights, d, piece.std, piece.streams, piece.dtype, "weights"))
    return on_device_of(W, like.rest, like.rest.dtype)


def _feed_forward(y: Cloud, piece: Piece, activation: str) -> Cloud:
    d = int(y.rest.shape[-1])
    width = 4 * d if piece.block.width is None else piece.block.width
    deviation = piece.block.feed_forward_std * (2 / width) ** 0.5
    first = piece.see(lambda: _draws.rectangle((d, width), d**-0.5, piece.streams, piece.dtype))
    second = piece.see(lambda: _draws.rectangle((width, d), deviation, piece.streams, piece.dtype))
    first, second = (on_device_of(M, y.rest, y.rest.dtype) for M in (first, second))
    return linear(activate(linear(y, first), activation), second)


def _deescalated(x: Cloud, piece: Piece, place: str, layer: int) -> Cloud:
    steps: Any = piece.block.deescalation
    for step, strength in zip(steps, piece.strengths, strict=True):
        if step.place != place:
            continue
        if strength is None:
            return _hooked(x, step.function, layer)
        x = recentre(x)
        strength = each(strength, x)
        x = contract_mean(x, 1 - strength) if step.similarity is None else reach_similarity(x, strength)
        return settle(x)
    return x


def _hooked(x: Cloud, function: Callable[[Array], Array], layer: int) -> Cloud:
    """Apply a user's function to plain numbers, and to each of their copies, and look at what comes back."""
    x = tamed(x, "numbers")
    full, exponent = whole(x)
    xp, k = namespace(full), x.k
    reach = 1000 if full.dtype == xp.float64 else 120
    if bool(xp.any((exponent > reach) | ((exponent < -reach) & (exponent > EMPTY / 2)))):
        raise _validate.refusal(
            InvalidValueError,
            "function",
            f"tokens beyond 2^{reach} or below 2^-{reach} at layer {layer}",
            "tokens within the range of floats",
            "Use a norm.",
        )
    centred = x.e_centre > EMPTY / 2
    full = shaken(x, full, xp.where(centred, xp.abs(full), xp.zeros_like(full)))
    full = scaled(full, exponent)
    out = []
    for copy in range(1 + x.probes):
        tokens = full[copy * k : (copy + 1) * k, ...]
        out.append(_looked_at(function(tokens), tokens, layer))
    whole_out = xp.concat(out, axis=0)
    rounded = shaken(x, whole_out, xp.abs(whole_out), 1)
    return regathered(x, rounded, xp.zeros_like(x.e_rest))


def _looked_at(out: Any, tokens: Array, layer: int) -> Array:
    """Refuse what is not tokens of the kind that a hook was given."""
    found = getattr(out, "shape", None)
    if found is None or tuple(found) != tuple(tokens.shape):
        raise _validate.refusal(
            ShapeError,
            "function",
            f"a result of shape {found} at layer {layer}",
            f"shape {tuple(tokens.shape)}",
            "Return tokens of the shape that came in.",
        )
    out = _validate.array(out, "function")
    xp = namespace(tokens)
    out = on_device_of(to_host(out), tokens) if namespace(out) is not xp else out
    if out.dtype != tokens.dtype:
        raise _validate.refusal(
            InvalidTypeError,
            "function",
            f"a result of dtype {out.dtype} at layer {layer}",
            f"dtype {tokens.dtype}, that of the tokens",
            "Convert what you return to the dtype of what you get.",
        )
    return out
