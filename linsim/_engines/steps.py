"""Layer by layer, every invariant part on its own.

The parts of a state (see ``linsim._state``) are closed under the layer, so
each is updated and re-projected alone and no rounding of a large part reaches
a small one.  At most two layers of states are alive at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import array_api_compat

from .._namespace import Array, namespace
from .._one_product import attended, weighted, without
from .._shadow import begin, heads_of
from .._state import EMPTY, PARTS, Split, State, between_rescalings, norm, normalise, scaled
from ._ahead import kept

__all__ = ["cut_drive", "lowered", "plus", "states"]

# the pairs (A_h, H_h) of a layer, none where a rule has ended; asked once for each, in order
Heads = Callable[[int], Sequence[tuple[Array, Array]]]


def states(
    start: State,
    heads: Heads,
    layers: Sequence[int],
    growth: float,
    budget: float,
    shadowed: bool = True,
    drive: Callable[[int], State | None] | None = None,
    wide: bool | None = None,
    hopes: list[Array] | None = None,
) -> Iterator[State]:
    """Yield the state at each of the sorted ``layers``, with the noise that its shadows tell.

    ``growth`` bounds log2 of the factor by which one layer can enlarge an
    entry; a part is rescaled before that can use up ``budget`` bits.
    Not ``shadowed``: it is left with the noise that it started with.  Each state knows the
    attention that it goes into, which is asked for ahead of its layer.  ``drive``: what a layer adds
    to every token, cut into the same parts (:func:`cut_drive`); ``wide``: whether entries of matrices
    leave the range of single precision within a layer, None to look at those of each.  ``hopes``: where
    given it is assumed that no layer all but cancels a state, and whether that was right is added at the end:
    a device is not asked in between, nor made to work out both ways.
    """
    heads = kept(heads)
    every = max(1, min(between_rescalings(start.R, 1), int(budget / max(growth, 1.0))))
    state, layer = start, 0
    shadows = begin(start, growth, hopes is not None) if shadowed else None
    last: Sequence[tuple[Array, Array]] | None = None
    for target in layers:
        while layer < target:
            pairs = heads(layer)
            added = drive(layer) if drive is not None else None
            if added is not None:
                state = lowered(state, added)
            after = _step(state, pairs)
            if added is not None:
                after = plus(after, added)
            if shadows is not None:
                if pairs is not last:
                    last, seen = pairs, heads_of(pairs, wide)
                shadows = shadows.step(state, after, seen, layer, _step)
            state = after
            layer += 1
            if layer % every == 0:
                state = normalise(state)
        state_now = normalise(state)
        if shadows is not None:
            state_now = shadows.measured(state_now, layer)
        yield replace(state_now, attention=functools.partial(_attention, heads, layer))
    if hopes is not None and shadows is not None and shadows.hopes is not None:
        hopes.append(shadows.hopes)


def cut_drive(row: Array, split: Split) -> State:
    """Cut the state 1 c^T, c^T = ``row`` (b or 1, 1, d), into parts, each at its own scale.

    u 1 is 1 where v is the vector of ones, and 0 for all other left vectors where A 1 = s 1.
    """
    xp = namespace(row)
    share = xp.sum(split.u, axis=-1, keepdims=True)
    share = xp.where(
        xp.abs(share) <= 1e-9 * xp.astype(norm(split.u), share.dtype), xp.zeros_like(share), share
    )
    share = xp.where(split.constant, xp.ones_like(share), share)
    common = share * row
    rest = xp.where(split.constant, xp.zeros_like(share), 1.0) * (row - split.v * common)
    a, b = common @ split.w, rest @ split.w
    zero = xp.zeros((1, 1, 1), dtype=xp.float64, device=array_api_compat.device(row))
    parts = dict(zip(PARTS, (a, common - a * split.z, b, rest - b * split.z, row), strict=True))
    exponents = {f"e_{name}": zero for name in PARTS}
    noise = xp.full((1, 1, 5), EMPTY, dtype=xp.float64, device=array_api_compat.device(row))
    return normalise(State(split, **parts, **exponents, noise=noise))


def lowered(state: State, added: State) -> State:
    """Return the same state, no part at a smaller scale than what is added to it: sums must fit."""
    changes: dict[str, Any] = {}
    for name in PARTS:
        e, other = getattr(state, f"e_{name}"), getattr(added, f"e_{name}")
        top = namespace(e).maximum(e, other)
        changes[name] = scaled(getattr(state, name), e - top)
        changes[f"e_{name}"] = top
    return replace(state, **changes)


def plus(state: State, added: State) -> State:
    """Return the sum, part by part, at the scale of ``state``."""
    changes = {}
    for name in PARTS:
        own = scaled(getattr(added, name), getattr(added, f"e_{name}") - getattr(state, f"e_{name}"))
        changes[name] = getattr(state, name) + own
    return replace(state, **changes)


def _attention(heads: Heads, layer: int) -> list[Array]:
    return [A for A, _ in heads(layer)]


def _step(state: State, heads: Sequence[tuple[Array, Array]]) -> State:
    split = state.split
    lam, mu = (_of_dtype(x, state.R) for x in (split.lam, split.mu))
    R = state.R + _total(attended(A, weighted(state.R, H)) for A, H in heads)
    r = state.r + lam * _total(weighted(state.r, H) for _, H in heads)
    fed = attended(split.u, R)
    R = without(R, split.v, fed)
    if split.any_coupled:
        r = r + split.coupled * scaled(fed, state.e_R - state.e_r)
    changes: dict[str, Any] = {}
    if split.any_z:
        # a z of its own belongs to one head only, so the sums have one term
        ((A, _),) = heads
        R = without(R, weighted(R, split.w), split.z)
        r = r - weighted(r, split.w) * split.z
        b = state.b + mu * attended(A, state.b)
        changes["b"] = b - split.v * attended(split.u, b)
        # the one factor of a part that is a single number: rounded, it would be off at every layer alike
        factor = 1 + split.lam * split.mu
        changes["a"] = _of_dtype(factor * _of_dtype(state.a, factor), state.a)
    if split.any_mean:
        changes["mean"] = state.mean + split.means * _total(weighted(state.mean, H) for _, H in heads)
    return replace(state, R=R, r=r, **changes)


def _of_dtype(x: Array, like: Array) -> Array:
    return namespace(x).astype(x, like.dtype, copy=False)


def _total(terms: Any) -> Array:
    """Sum without starting from the integer 0, which strict libraries refuse to add to every dtype."""
    terms = iter(terms)
    result = next(terms)
    for term in terms:
        result = result + term
    return result
