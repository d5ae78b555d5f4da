"""States at recorded layers with what a probe tells of their rounding, for metrics of any kind.

What :mod:`.walk` measures on the way is here handed out: mean row and rest of each state, as the parts of
:mod:`linsim._state`.
"""

from __future__ import annotations

import math

import numba as nb

from .kept import KEPT, NOTHING_NEW
from .lanes import WIDTH, load, splat, store
from .layer import (
    ABSENT,
    E_MEAN,
    E_REST,
    HIGH,
    LOW,
    NOISE_MEAN,
    NOISE_REST,
    SIZE_MEAN,
    SIZE_REST,
    layout,
    places,
    power_of_two,
)
from .onward import begin, onward
from .parts import IN_MEAN, IN_R, IN_ROW

__all__ = ["hand_out", "probed"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}


@nb.njit(**NOTHING_NEW)
def hand_out(lay, base, stride, Y, ledger, R, r, e, noise):
    """Write the rest (n, d), the mean row (d,), and exponents and noise (5,) of one state; sizes about 1."""
    n, d = lay.n, lay.d
    w = WIDTH // Y.itemsize
    e[:], noise[:] = ABSENT, ABSENT
    f_rest = f_mean = 0.0
    if ledger[HIGH] > 0:
        e[IN_R] = math.floor(ledger[SIZE_REST])
        f_rest = power_of_two(ledger[E_REST] - e[IN_R])
    if ledger[LOW] > 0:
        e[IN_ROW] = e[IN_MEAN] = math.floor(ledger[SIZE_MEAN])
        f_mean = power_of_two(ledger[E_MEAN] - e[IN_ROW])
    noise[IN_R], noise[IN_ROW], noise[IN_MEAN] = ledger[NOISE_REST], ledger[NOISE_MEAN], ledger[NOISE_MEAN]
    out, factor = R.reshape(n * d), splat(Y, f_rest)
    for k in range(base.size):
        at, step, column = base[k], stride[k], k * w
        if column + w <= d:
            for i in range(n):
                store(out, i * d + column, load(Y, at + i * step) * factor)
        else:
            for i in range(n):
                for j in range(d - column):
                    out[i * d + column + j] = Y[at + i * step + j] * f_rest
        for j in range(min(w, d - column)):
            r[column + j] = Y[at + lay.mean * step + j] * f_mean


@nb.njit(**_COMPILE)
def probed(
    A, H, totals, turns, as_one, drive, sizes, x0, numbers, fresh, wanted, every, preserved, generic,
    compressed, room, R, r, e, noise, stop,
):  # fmt: skip
    """Take m systems through the layers, and write what :func:`hand_out` does of each of k wanted ones.

    Of a single system later layers may be asked for afterwards, which go on from where it is.

    Parameters
    ----------
    numbers : (m,) int, which systems of the matrices, of what is added and of the tokens they are
    as_one : bool, whether their rows of attention do not all sum to one number
    fresh : bool, whether they are at layer 0, else the one there is goes on
    every, preserved : of these systems, (m or 1,)
    room : as :func:`.onward.room_for` makes it
    R, r, e, noise : (m, k, n, d), (m, k, d), (m, k, 5) twice, written
    others : as of :func:`linsim._kernels.walk.walk`
    """
    n, d, itemsize = x0.shape[1], x0.shape[2], x0.itemsize
    eps = 2.220446049250313e-16 if itemsize == 8 else 1.1920929e-07
    lay = layout(n, d, compressed, itemsize)
    base, stride = places(d, lay.height, itemsize)
    for p in range(numbers.size):
        s = numbers[p]
        coupled = not preserved[p if preserved.size > 1 else 0]
        pause = every[p if every.size > 1 else 0]
        if fresh:
            begin(x0[s if x0.shape[0] > 1 else 0], generic, compressed, eps, lay, base, stride, room)
        for t in range(wanted.size):
            onward(
                wanted[t], s, A, H, totals, turns, drive, sizes, generic, compressed, coupled, as_one, pause,
                eps, lay, base, stride, room, stop,
            )  # fmt: skip
            if stop[0]:
                return
            hand_out(lay, base, stride, room.Y, room.ledger, R[p, t], r[p, t], e[p, t], noise[p, t])
