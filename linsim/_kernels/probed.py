"""States at recorded layers with what a probe tells of their rounding, for metrics of any kind.

What :mod:`.walk` measures on the way is here handed out: mean row and rest of each state, as the parts of
:mod:`linsim._state`.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .begin import given
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
    add_log2,
    layout,
    places,
    power_of_two,
)
from .onward import begin, onward
from .parts import IN_MEAN, IN_R, IN_ROW
from .states import measure_in

__all__ = ["hand_out", "measured", "probed"]

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


@nb.njit(**NOTHING_NEW)
def measured(
    A, H, totals, turns, drive, sizes, x0, until, numbers, wanted, every, preserved, generic, compressed,
    lay, base, stride, room, place, held, seen, cut, asked, out, e, noise, values, errors, lost, stop,
):  # fmt: skip
    """Take m systems through the layers, and write the default metrics of k wanted ones and their errors.

    Layer 0 is measured as it is given.  What :func:`probed` writes of some states stays in the cache, where
    :mod:`.states` measures it.

    Parameters
    ----------
    until : (m or 1, n) int, the layer up to which a token is exactly zero, -1 for never
    lay, base, stride : as :func:`.layer.layout` and :func:`.layer.places` say
    room, place : as :func:`.onward.room_for` and :func:`.states.room_to_measure` make them
    held : a (B,), r (B, d), b (B, n), R (B, n, d), e (B, 5), noise (B, 5), preserves (B,) bool, rows (B, n),
        zero (B, n) bool, of as many states as are measured together, with zeros in a and b
    seen, cut : the same, and v (1, n), z (1, d), constant (1,), as :func:`.states.measure` takes them
    asked : whether SIZES, ANGULAR and RANKS of :mod:`.slots` are, and True
    out : what :func:`.states.measure` writes: minors (0, n, d), scales (B,), values, errors (14, B),
        pairs (B, 6), largest (B,), lost (B,) bool
    e, noise : (m k, 5), exponents of the parts of states and log2 of their errors, written
    values, errors : (14, m k), SIZES, ANGULAR and RANKS, one below the other, written
    lost : (1,) int, how many states there are whose singular values were not found, written
    others : as of :func:`probed`, where systems begin at layer 0 and rows of attention sum to one number
    """
    n, eps = lay.n, 2.220446049250313e-16
    # a variable: a constant would be compiled a function of its own
    half_log_n, known = 0.5 * math.log2(float(n)), n > 0
    _, r, _, R, own_e, own_noise, kept, rows, zero = held
    as_a, as_r, as_b, as_R, as_e, as_noise, as_kept, as_rows, as_zero = seen
    v, z, constant = cut
    minors, scales, own_values, own_errors, pairs, largest, left_out = out
    filled, done, every_one = 0, 0, numbers.size * wanted.size
    for p in range(numbers.size):
        s = numbers[p]
        preserves = preserved[p if preserved.size > 1 else 0]
        pause = every[p if every.size > 1 else 0]
        tokens = x0[s : s + 1] if x0.shape[0] > 1 else x0[:1]
        begin(tokens[0], generic, compressed, eps, lay, base, stride, room)
        for t in range(wanted.size):
            off, one = own_noise[filled], slice(filled, filled + 1)
            if wanted[t] == 0:
                given(tokens, R[one], r[one], own_e[one], own_noise[one], rows[one], kept[one])
            else:
                onward(
                    wanted[t], s, A, H, totals, turns, drive, sizes, generic, compressed, not preserves,
                    False, pause, eps, lay, base, stride, room, stop,
                )  # fmt: skip
                if stop[0]:
                    return
                hand_out(lay, base, stride, room.Y, room.ledger, R[filled], r[filled], own_e[filled], off)
                kept[filled] = preserves
                # a token's share of the rounding of all, twice an even one, and what it shares with others
                rows[filled] = 1.0 + add_log2(off[IN_R] - half_log_n, off[IN_ROW])
            for i in range(n):
                zero[filled, i] = until[p if until.shape[0] > 1 else 0, i] >= wanted[t]
            for j in range(5):  # maxima may pass over what is no number
                off[j] = off[j] if off[j] == off[j] else np.inf
                e[done + filled, j], noise[done + filled, j] = own_e[filled, j], off[j]
            filled += 1
            if filled < as_a.size and done + filled < every_one:
                continue
            measure_in(
                place, as_a[:filled], as_r, as_b, as_R, as_r, as_e, as_noise, v, z, constant, as_kept,
                as_rows, known, as_zero, eps, asked, minors, scales, own_values, own_errors, pairs,
                largest, left_out,
            )  # fmt: skip
            for j in range(filled):
                lost[0] += left_out[j]
                if not largest[j] < np.inf:
                    own_errors[:, j] = np.inf
            for k in range(values.shape[0]):
                for j in range(filled):
                    values[k, done + j], errors[k, done + j] = own_values[k, j], own_errors[k, j]
            done, filled = done + filled, 0
