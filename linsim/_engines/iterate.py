"""Layer by layer, every invariant part on its own.

The parts of a state (see ``linsim._state``) are closed under the layer, so
each is updated and re-projected alone and no rounding of a large part reaches
a small one.  At most two layers of states are alive at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from .._namespace import Array
from .._state import State, between_rescalings, normalise, scaled, sizes

__all__ = ["states"]

# the pairs (A_h, H_h) of a layer; asked once for each, in order
Heads = Callable[[int], Sequence[tuple[Array, Array]]]


def states(
    start: State,
    heads: Heads,
    layers: Sequence[int],
    growth: float,
    budget: float,
    probe: State | None = None,
) -> Iterator[State]:
    """Yield the state at each of the sorted ``layers``.

    ``growth`` bounds log2 of the factor by which one layer can enlarge an
    entry; a part is rescaled before that can use up ``budget`` bits.  A
    generic ``probe`` runs along where no spectrum tells how fast rounding grows.
    """
    every = max(1, min(between_rescalings(start.R, 1), int(budget / max(growth, 1.0))))
    state, layer = start, 0
    before = None if probe is None else sizes(probe)
    for target in layers:
        while layer < target:
            pairs = heads(layer)
            state = _step(state, pairs)
            probe = None if probe is None else _step(probe, pairs)
            layer += 1
            if layer % every == 0:
                state = normalise(state, every, _pace(probe, before))
                if probe is not None:
                    probe = normalise(probe)
                    before = sizes(probe)
        yield normalise(state, layer % every, _pace(probe, before))


def _pace(probe: State | None, before: Array | None) -> Array | None:
    return None if probe is None else sizes(probe) - before


def _step(state: State, heads: Sequence[tuple[Array, Array]]) -> State:
    split = state.split
    R = state.R + _total(A @ (state.R @ H) for A, H in heads)
    r = state.r + split.lam * _total(state.r @ H for _, H in heads)
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
        b = state.b + split.mu * (A @ state.b)
        changes["b"] = b - split.v * (split.u @ b)
        changes["a"] = (1 + split.lam * split.mu) * state.a
    if split.any_mean:
        changes["mean"] = state.mean + _total(state.mean @ H for _, H in heads)
    return replace(state, R=R, r=r, **changes)


def _total(terms: Any) -> Array:
    """Sum without starting from the integer 0, which strict libraries refuse to add to every dtype."""
    terms = iter(terms)
    result = next(terms)
    for term in terms:
        result = result + term
    return result
