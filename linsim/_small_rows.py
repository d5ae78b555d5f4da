"""Errors of tokens that are far smaller than others: less than what errors in single precision can hold.

Errors of all tokens of a state share an exponent (:mod:`linsim._shadow`), so that of a token which has shrunk
by forty orders of magnitude beside the others is lost.  What it is at least follows from how the token has
shrunk: a layer that leaves a share g of it rounds it by eps / g of what is left.  A token that shrinks until
it leaves the range of numbers beside the others is not zero; nobody knows where it points.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ._namespace import Array, namespace
from ._state import EMPTY, State, assemble, log2

__all__ = ["SmallRows", "lengths_of"]

# log2 of how far below the largest error of a token another one is not told any more: single precision
# reaches 126 below the exponent, and errors stay up to 50 below that before they are rescaled
_FAR = 70.0
# log2 of how far below the largest token one is near the end of the range of its dtype, and of one beyond
_NEAR_END, _BEYOND = {8: 900.0, 4: 100.0}, 1100.0
# log2 of how many times the rounding of its layers the error of a token may be
_SAFETY = 5.0


def lengths_of(x: Array) -> Array:
    """Return log2 of the lengths of rows whose squares may leave the range of doubles, (b, n, 1)."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    top = xp.max(xp.abs(x), axis=-1, keepdims=True)
    x = x / xp.where(top > 0, top, xp.ones_like(top))
    return xp.maximum(log2(top) + 0.5 * log2(xp.linalg.vecdot(x, x)[..., None]), xp.full_like(top, EMPTY))


@dataclass(eq=False)
class SmallRows:
    """What is known of small tokens of systems on their way; ``first`` (b or 1, n, 1): lengths at layer 0.

    Lengths are log2.
    """

    first: Array
    # for each part of the systems whether its tokens came near the end of the range, as last seen
    ended: dict[int, Any] = field(default_factory=dict)

    def told(self, state: State, layers: Array, part: int = 0, first: Array | None = None) -> State:
        """Return ``state`` with errors of small tokens no less than what their layers have rounded.

        Parameters
        ----------
        state : (b * k, n, d), b systems at k layers each, with errors of rows
        layers : (k,) float64, ascending, >= 1; the first follows those that were asked for before
        part : by which systems that go together are known
        first : lengths at layer 0 of these systems, if they are not all
        """
        rows = state.rows
        if rows is None:
            return state
        shape = rows.shape
        xp, k, n = namespace(rows), layers.shape[0], shape[-2]
        rows = xp.reshape(rows, (-1, k, n))
        far = rows < xp.max(rows, axis=-1, keepdims=True) - _FAR
        if xp is np and not np.any(far):  # on a device nobody looks
            return state
        first = xp.reshape(self.first if first is None else first, (-1, 1, n))
        full, top = assemble(state)
        size = xp.reshape(xp.broadcast_to(lengths_of(full) + top, shape), (-1, k, n))
        top = xp.reshape(xp.broadcast_to(top, (shape[0], 1, 1)), (-1, k, 1))
        layers = layers[None, :, None]
        unit = float(np.log2(float(xp.finfo(state.R.dtype).eps)))
        near_end = _NEAR_END[8 if state.R.dtype == xp.float64 else 4]
        there = (first > EMPTY / 2) & (size > EMPTY / 2)
        shrunk = xp.where(there, first - size, xp.zeros_like(size)) / layers
        rounded = size + xp.clip(shrunk, 0.0, None) + xp.log2(layers) + (unit + _SAFETY)
        least = xp.where(far & there, rounded, xp.full_like(size, EMPTY))
        ended = self.ended.get(part, xp.zeros_like(size[:, 0, :]) > 0)
        beyond = []
        for t in range(k):
            none = size[:, t, :] <= EMPTY / 2
            ended = xp.where(none, ended, size[:, t, :] < top[:, t, :] - near_end)
            beyond.append(none & ended)
        self.ended[part] = ended
        least = xp.where(xp.stack(beyond, axis=1), top - _BEYOND, least)
        return replace(state, rows=xp.reshape(xp.maximum(rows, least), shape))
