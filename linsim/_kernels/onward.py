"""One system on its way from recorded layer to recorded layer, with the probe of :mod:`.layer` beside it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba as nb
import numpy as np

from .drive import add_row, feed, lower, reach, rescale_as_one
from .kept import KEPT, UNCOUNTED
from .layer import (
    DRIVE,
    FEED,
    GAIN,
    LEDGER,
    apply_layer,
    finish_layer,
    log2,
    place_attention,
    place_input,
    place_weights,
    rescale,
    settle,
    settle_as_one,
)
from .measure import layer_rounding, start_rounding
from .products import aligned, columns, rows

__all__ = ["Room", "begin", "onward", "room_for"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
# as functions that count nothing, but with what they call that needs memory of its own
_INNER = {**UNCOUNTED, "_nrt": True}

# places in Room.at: the layer where the system is, how many layers ago its noise was worked out and it was
# rescaled, and which matrices are placed
_LAYER, _SINCE, _UNSCALED, _OF_A, _OF_H = range(5)


class Room(NamedTuple):
    """Where a system is at work: :mod:`.layer` has the meaning of each."""

    Y: Any
    T: Any
    left: Any
    small: Any
    right: Any
    sums: Any  # (heads,)
    turns: Any  # (heads n,)
    ledger: Any
    at: Any  # (5,) int


@nb.njit(**_COMPILE)
def room_for(lay, heads, like):
    """Return the room that one system after the other needs; ``like``: an array of their dtype."""
    n, d = lay.n, lay.d
    return Room(
        aligned(lay.stored, like),
        aligned(heads * lay.stored, like),
        aligned(heads * lay.probe * n, like),
        aligned(heads * rows(lay.m) * max(lay.m, 1), like),
        aligned(heads * d * columns(d, like.itemsize), like),
        np.ones(heads),
        np.zeros(heads * n, like.dtype),
        np.zeros(LEDGER),
        np.zeros(5, np.int64),
    )


@nb.njit(**_INNER)
def begin(x, generic, compressed, eps, lay, base, stride, room):
    """Place the tokens x (n, d) of a system at layer 0."""
    place_input(x, generic, compressed, start_rounding(eps), lay, base, stride, room.Y, room.ledger)
    room.at[:] = 0
    room.at[_OF_A] = room.at[_OF_H] = -1


@nb.njit(**UNCOUNTED)
def _settle(lay, base, stride, room, coupled, as_one, since, log_rounding):
    if as_one:
        settle_as_one(lay, base, stride, since, log_rounding, room.Y, room.ledger)
    else:
        settle(lay, base, stride, coupled, since, log_rounding, room.Y, room.ledger)


@nb.njit(**UNCOUNTED)
def _layer(lay, base, stride, heads, room, compressed, coupled, as_one):
    apply_layer(
        lay, base, stride, heads, room.left, room.small, room.right, room.sums,
        room.turns if as_one else room.turns[:0], room.Y, room.T, room.Y, True, 0, lay.height,
    )  # fmt: skip
    finish_layer(lay, base, stride, compressed or as_one, coupled, room.Y, room.ledger)


@nb.njit(**_INNER)
def _place(of_A, of_H, s, A, H, totals, turns, generic, compressed, as_one, lay, room):
    """Write the matrices of a layer to where products want them, and what they can do to a state."""
    n, ledger, at, fed, gain = lay.n, room.ledger, room.at, 0.0, 1.0
    for h in range(A.shape[1]):
        M, N = A[of_A, h, s if A.shape[2] > 1 else 0], H[of_H, h, s if H.shape[2] > 1 else 0]
        place_attention(M, generic, compressed, not as_one, lay, room.left, room.small, h)
        place_weights(N, lay, room.right, h)
        room.sums[h] = totals[of_A if totals.shape[0] > 1 else 0, h, s if totals.shape[2] > 1 else 0]
        for i in range(n if as_one else 0):
            room.turns[h * n + i] = turns[of_A, h, s if turns.shape[2] > 1 else 0, i]
        fed += feed(M, N, room.sums[h])
        gain += reach(M, N)
    fed, gain = log2(fed), math.log2(gain)
    ledger[FEED] = max(ledger[FEED], fed) if at[_SINCE] > 0 else fed
    ledger[GAIN] = max(ledger[GAIN], gain) if at[_SINCE] > 0 else gain
    at[_OF_A], at[_OF_H] = of_A, of_H


@nb.njit(**UNCOUNTED)
def onward(
    wanted, s, A, H, totals, turns, drive, sizes, generic, compressed, coupled, as_one, pause, eps, lay, base,
    stride, room, stop,
):  # fmt: skip
    """Take system ``s`` on to layer ``wanted``, its noise worked out there, unless it is to stop.

    ``as_one``: its rows of attention do not all sum to one number; ``pause``: layers between two
    rescalings; other arguments as of :func:`linsim._kernels.walk.walk`.
    """
    n, d, heads, at, ledger, Y = lay.n, lay.d, A.shape[1], room.at, room.ledger, room.Y
    log_rounding = math.log2(layer_rounding(n, d, eps))
    while at[_LAYER] < wanted:
        if stop[0]:
            return
        layer = at[_LAYER]
        if at[_UNSCALED] == pause:
            _settle(lay, base, stride, room, coupled, as_one, at[_SINCE], log_rounding)
            if as_one:
                rescale_as_one(lay, base, stride, Y, ledger)
            else:
                rescale(lay, base, stride, coupled, Y, ledger)
            at[_SINCE] = at[_UNSCALED] = 0
        of_A, of_H = 0 if A.shape[0] == 1 else layer, 0 if H.shape[0] == 1 else layer
        if at[_OF_A] != of_A or at[_OF_H] != of_H:
            _place(of_A, of_H, s, A, H, totals, turns, generic, compressed, as_one, lay, room)
        of_drive, own_drive = 0 if drive.shape[1] == 1 else layer, s if drive.shape[0] > 1 else 0
        if drive.shape[1] > 0:
            size = sizes[own_drive, of_drive, 1]
            ledger[DRIVE] = max(ledger[DRIVE], size) if at[_SINCE] > 0 else size
            lower(lay, base, stride, as_one, sizes[own_drive, of_drive, 0], Y, ledger)
        _layer(lay, base, stride, heads, room, compressed, coupled, as_one)
        if drive.shape[1] > 0:
            row, e = drive[own_drive, of_drive], sizes[own_drive, of_drive, 0]
            add_row(lay, base, stride, row, e, Y, ledger)
        at[_LAYER] += 1
        at[_SINCE] += 1
        at[_UNSCALED] += 1
    _settle(lay, base, stride, room, coupled, as_one, at[_SINCE], log_rounding)
    at[_SINCE] = 0
