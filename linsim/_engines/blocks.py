"""Layer by layer through Transformer blocks, tokens as a centre and the differences from it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import _draws
from .._attend import projections
from .._cloud import (
    Cloud,
    add,
    copies_for,
    each,
    gather,
    linear,
    recentre,
    regroup,
    settle,
    stretch,
    tamed,
)
from .._cloud_state import state_of
from .._eigen import meant
from .._layers import (
    activate,
    attend,
    attend_fixed,
    attention_of,
    contract_mean,
    layer_norm,
    reach_similarity,
)
from .._namespace import Array, namespace, on_device_of, to_backend, to_host
from .._parallel import pieces
from .._recorded import Recorded, record
from .._split import KINDS, row_split
from .._state import scaled
from ..attention import FromTokens
from ..block import Block
from ..streams import RowGenerator
from ._ahead import kept
from .digits import Tape, with_more_digits
from .hooks import hooked
from .protocol import Job
from .task import SINGLE, Task, go_on, in_batch, placed, rounding, rows_of, scale

__all__ = ["Piece", "clouds", "jobs"]


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


def jobs(rule: Block, task: Task) -> list[Job]:
    """Return the work on chunks of systems through Transformer blocks."""
    xp, start, batch = namespace(task.start), task.start, task.batch
    precision, size = task.precision, task.size
    n, d = task.n, task.d
    generator = _draws.streams(task.rng, size)
    std = np.broadcast_to(rule.std, batch).reshape(size, 1, 1)

    def place(M: Array | None, *, row: bool = False) -> Array | None:
        if M is None:
            return None
        M = to_backend(M, task.backend)
        return in_batch(M[..., None, :] if row else M, batch, precision)

    A = place(rule.A) if rule.attention_fixed else None
    W = place(rule.weights) if rule.weights_fixed else None
    gain, bias = place(rule.gain, row=True), place(rule.bias, row=True)
    steps: Any = rule.deescalation
    strengths = [step.similarity if step.tau is None else step.tau for step in steps]
    taus = [
        None if x is None else on_device_of(np.broadcast_to(x, batch).reshape(size, 1, 1), start)
        for x in strengths
    ]
    masked = isinstance(rule.A, FromTokens) and rule.A.mask is not None
    mask = on_device_of(to_host(rule.A.mask), start) if masked else None  # type: ignore[union-attr]
    every = xp.broadcast_to(start, (size, n, d))
    at = task.at
    taped = any(callable(x) for x in (rule.weights, rule.A))

    def run(part: slice) -> Recorded:
        own_streams, tape = _draws.piece(generator, part), Tape(taped)
        before = _draws.copied(own_streams)
        here = replace(task, start=every[part, ...], numbers=np.arange(size)[part])

        def walk(begin: Array, count: int, rows: Any, streams: Any, see: Any) -> Recorded:
            def own(M: Array | None) -> Array | None:
                if M is None:
                    return None
                M = M if M.shape[0] == 1 else rows_of(M[part, ...], rows)
                # matrices have the dtype of the tokens; strengths and moduli are float64 always
                return xp.astype(M, begin.dtype) if M.dtype == start.dtype else M

            attend = own(A)
            if attend is not None and begin.dtype != start.dtype:
                attend = on_device_of(meant(to_host(attend), SINGLE), begin)
            piece = Piece(
                rule,
                attend,
                own(W),
                std[part][rows],
                own(gain),
                own(bias),
                tuple(own(tau) for tau in taus),
                mask,
                streams,
                precision,
                see,
            )
            split = row_split([np.full((1, n, n), 1 / n)], d, float(xp.finfo(begin.dtype).eps))
            split = placed(split, begin)
            half, top = scale(begin)
            cloud = gather(scaled(scaled(begin, half), -top - half), top)
            moved = clouds(cloud, piece, at[:count], lambda: go_on(task.stop))
            walked = (state_of(current, split) for current in moved)
            zero = on_device_of(here.zero_until[rows][:, :, None].astype(np.float64), begin)
            keep = task.keep_states
            error = rounding(begin, task.layers)
            tokens, names = here.tokens_beside(begin, rows), task.names
            return record(walked, at[:count], names, begin, zero, keep, "iterate", KINDS[0], error, tokens)

        every_row = np.arange(part.stop - part.start)
        found = walk(here.start, len(at), every_row, own_streams, tape)

        def in_float64(rows: Any, count: int) -> Recorded:
            begin = xp.astype(rows_of(here.start, rows), xp.float64)
            return walk(begin, count, rows, _draws.copied(before, rows), tape.again(rows))

        # a hook was written for the dtype of the run, and may remember what it has seen
        again = in_float64 if tape.complete and all(x is not None for x in strengths) else None
        return with_more_digits(here, found, again, None, 1)

    width = 0 if rule.feed_forward is None else 2 * (4 * d if rule.width is None else rule.width)
    numbers = 4 * n * d + n * n + d * d + width * (n + d)
    parts = pieces(size, (1 + copies_for(d)) * numbers, start)
    return [Job(part, functools.partial(run, part)) for part in parts]


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
            return hooked(x, step.function, layer)
        x = recentre(x)
        strength = each(strength, x)
        x = contract_mean(x, 1 - strength) if step.similarity is None else reach_similarity(x, strength)
        return settle(x)
    return x
