"""Closed forms of layers with a bias: counted from the fixed point they are layers without.

x* with x*^T H = -bias^T (rows of A sum to 1) stays where it is, so X_l - 1 x*^T obeys X + A X H.  It is as
well known as H can be inverted: where that costs too many digits, or there is none, layers are walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .._state import PARTS, State, add_log2, log2, norm, normalise
from .._types import EPS, BoolArray, FloatArray
from .steps import cut_drive, lowered, plus

__all__ = ["LARGEST_CONDITION", "beyond", "fixed_point", "from_it"]

#: an H whose inverse costs more than this is not asked for a fixed point
LARGEST_CONDITION = 1e5


def fixed_point(H: FloatArray, bias: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return x* (b, 1, d) of H (b or 1, d, d) and bias (b or 1, 1, d), and whether it is known well, (b,).

    Where it is not x* is 0.
    """
    condition = np.linalg.cond(H)
    good = condition < LARGEST_CONDITION
    safe = np.where(good[:, None, None], H, np.eye(H.shape[-1]))
    point = -np.swapaxes(np.linalg.solve(np.swapaxes(safe, -1, -2), np.swapaxes(bias, -1, -2)), -1, -2)
    good = np.broadcast_to(good, point.shape[0])
    return np.where(good[:, None, None], point, 0.0), good


def from_it(state: State, point: FloatArray, H: FloatArray) -> State:
    """Return the state less 1 x*^T, with what is not known of x* in its noise."""
    return _moved(state, -point, H)


def beyond(states: Iterable[State], point: FloatArray, H: FloatArray) -> Iterator[State]:
    """Put 1 x*^T back."""
    return (_moved(state, point, H) for state in states)


def _moved(state: State, point: FloatArray, H: FloatArray) -> State:
    added = cut_drive(point, state.split)
    moved = plus(lowered(state, added), added)
    # first-order: of the solution of a linear system, the same for every entry
    unsure = 16 * EPS * np.linalg.cond(H)[:, None, None]
    sizes = [log2(unsure * norm(getattr(added, name))) + getattr(added, f"e_{name}") for name in PARTS]
    noise: Any = np.concatenate(np.broadcast_arrays(*sizes), axis=-1)
    return normalise(replace(moved, noise=add_log2(moved.noise, noise), rows=None))
