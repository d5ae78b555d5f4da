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

from .._namespace import Array, namespace
from .._shadow import begin, heads_of
from .._state import State, between_rescalings, normalise, scaled
from ._ahead import kept

__all__ = ["states"]

# the pairs (A_h, H_h) of a layer, none where a rule has ended; asked once for each, in order
Heads = Callable[[int], Sequence[tuple[Array, Array]]]


def states(
    start: State,
    heads: Heads,
    layers: Sequence[int],
    growth: float,
    budget: float,
    shadowed: bool = True,
) -> Iterator[State]:
    """Yield the state at each of the sorted ``layers``, with the noise that its shadows tell.

    ``growth`` bounds log2 of the factor by which one layer can enlarge an
    entry; a part is rescaled before that can use up ``budget`` bits.
    Not ``shadowed``: it is left with the noise that it started with.  Each state knows the
    attention that it goes into, which is asked for ahead of its layer.
    """
    heads = kept(heads)
    every = max(1, min(between_rescalings(start.R, 1), int(budget / max(growth, 1.0))))
    state, layer = start, 0
    shadows = begin(start, growth) if shadowed else None
    last: Sequence[tuple[Array, Array]] | None = None
    for target in layers:
        while layer < target:
            pairs = heads(layer)
            after = _step(state, pairs)
            if shadows is not None:
                if pairs is not last:
                    last, seen = pairs, heads_of(pairs)
                shadows = shadows.step(state, after, seen, layer, _step)
            state = after
            layer += 1
            if layer % every == 0:
                state = normalise(state)
        state_now = normalise(state)
        if shadows is not None:
            state_now = shadows.measured(state_now)
        yield replace(state_now, attention=functools.partial(_attention, heads, layer))


def _attention(heads: Heads, layer: int) -> list[Array]:
    return [A for A, _ in heads(layer)]


def _step(state: State, heads: Sequence[tuple[Array, Array]]) -> State:
    split = state.split
    lam, mu = (_of_dtype(x, state.R) for x in (split.lam, split.mu))
    R = state.R + _total(A @ (state.R @ H) for A, H in heads)
    r = state.r + lam * _total(state.r @ H for _, H in heads)
    fed = split.u @ R
    R = R - split.v * fed
    if split.any_coupled:
        r = r + split.coupled * scaled(fed, state.e_R - state.e_r)
    changes: dict[str, Any] = {}
    if split.any_z:
        # a z of its own belongs to one head only, so the sums have one term
        ((A, _),) = heads
        R = R - (R @ split.w) * split.z
        r = r - (r @ split.w) * split.z
        b = state.b + mu * (A @ state.b)
        changes["b"] = b - split.v * (split.u @ b)
        # the one factor of a part that is a single number: rounded, it would be off at every layer alike
        factor = 1 + split.lam * split.mu
        changes["a"] = _of_dtype(factor * _of_dtype(state.a, factor), state.a)
    if split.any_mean:
        changes["mean"] = state.mean + _total(state.mean @ H for _, H in heads)
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
