"""Errors that travel along with a state: :mod:`linsim._shadow`, compiled.

Errors are held as parts (see :mod:`.parts`) in single precision, ``copies`` of them, and the patterns
by which they are moved as (pool, fixed) for each part, laid out like the part itself.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .kept import KEPT
from .noise import measure
from .parts import (
    add,
    advance,
    lower,
    normalise,
    place_attention,
    place_weights,
    write_errors,
    write_parts,
)
from .products import aligned, columns, rows
from .rounding import POOL, SUM, look, move

__all__ = ["ERRORS", "POOL", "STATES", "SUM", "WHOLE", "walk"]

#: what :func:`walk` does of its work
WHOLE, STATES, ERRORS = 0, 1, 2

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
# called from compiled code alone: no wrappers, and kept with their callers
_INNER = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@nb.njit(**_COMPILE)
def walk(
    A, H, numbers, held, held_errors, cuts, cuts32, eigenvalues, lengths, condition, constant, coupled,
    any_mean, means, drive, pools, fixed, drift, every, every_error, safety, layer, wanted, out, out_errors,
    noise, noise_rows, stop, part, placed, room, history,
):  # fmt: skip
    """Take m systems from ``layer`` through the ``wanted`` ones, and write their parts and noise there.

    Parameters
    ----------
    A : (layers or 1, heads, b or 1, n, n), H : (layers or 1, heads, b or 1, d, d)
    numbers : (m,) int, which systems of A and H they are
    held, held_errors : parts (m, flat) as in :mod:`.parts`, of systems and their errors at ``layer``; changed
    cuts, cuts32 : u, v, w, z (m, .) of the dtype of the states, and in single precision
    eigenvalues : (m, 2) float64, lambda and mu
    lengths : (m, 4), norms of u, v, w, z
    condition : (m,), by how much cutting enlarges a rounding
    constant, coupled, any_mean : (m,) bool
    means : (m,), what columns of A sum to, where ``any_mean``
    drive : r, b, a, mean, column, row, e: (m, layers, 1 or none, .), what all tokens are given (:func:`add`)
    pools, fixed, drift : patterns for X, r, b, a, mean, laid out like these, one behind the other
    every, every_error : (m,) int, layers between rescalings of the state, and of the errors
    wanted : (k,) int, increasing layers
    out : a, r, b, R, mean, e: (m, k, ...) parts of the recorded layers, written
    out_errors : the same of the errors, (m, k or 0, copies, ...)
    noise, noise_rows : (m, k, 5), (m, k, n): log2 of their errors, written
    stop : (1,) bool, ends the work when it becomes true
    part : WHOLE, or STATES or ERRORS, which two threads may do one behind the other: all that errors need to
        know of states is in ``history``
    placed : matrices as the products want them, and what is known of them: left, right, left32, right32,
        squares (of A, transposed), norms and norms32 (of columns of H), widest, sizes (2,), which ones (4,);
        as the last call left them
    room : for X twice, and for X of the errors twice
    history : (slots, .) one for each layer, a single one for WHOLE: X, r, b, a, mean before and after it,
        sizes before and after (2, n and more), those of parts (5,) before and after, exponents (5,)
    """
    heads, n, d = A.shape[1], A.shape[3], H.shape[3]
    X = held[0]
    unit = -52.0 if X.itemsize == 8 else -23.0  # log2 of eps
    copies = held_errors[3].shape[1]
    height = rows(n)
    stored, stored32 = columns(d, X.itemsize), columns(d, 4)
    single = held_errors[0][0]
    left, right, left32, right32, squares, norms, norms32, widest, sizes, _ = placed
    T, T32 = room
    fed, fed32, column, column32 = (
        aligned(stored, X[0]),
        aligned(stored32, single),
        np.zeros(n, X.dtype),
        np.zeros(n, single.dtype),
    )
    to_move = (
        np.zeros((2, columns(n, 8))), np.zeros(heads * columns(n, 8)), np.zeros(heads),
        aligned(height * stored32, single),
        np.zeros(stored32), np.zeros(stored32), np.zeros((2, copies)), np.zeros(5),
    )  # fmt: skip
    to_measure = (
        np.zeros((copies, n)), np.zeros((5, copies)), np.zeros((6, copies)), np.zeros(stored32),
        np.zeros(stored32),
    )  # fmt: skip
    begun, driven = layer, drive[6].shape[1] > 0
    for s in range(X.shape[0]):
        state = (held[0][s], held[1][s], held[2][s], held[3][s], held[4][s], held[5][s])
        errors = (
            held_errors[0][s], held_errors[1][s], held_errors[2][s], held_errors[3][s], held_errors[4][s],
            held_errors[5][s],
        )  # fmt: skip
        pair = (eigenvalues[s, 0], eigenvalues[s, 1])
        cut = (cuts[0][s], cuts[1][s], cuts[2][s], cuts[3][s], pair)
        cut32 = (cuts32[0][s], cuts32[1][s], cuts32[2][s], cuts32[3][s], pair)
        has_z = lengths[s, 3] > 0
        layer, last, seen = begun, 0, False
        for t in range(wanted.size):
            while layer < wanted[t]:
                if stop[0]:
                    return
                _place(A, H, layer, numbers[s], placed)
                slot = 0 if part == WHOLE else layer - begun
                old, new = _before(history, slot), _after(history, slot)
                before, after = history[10][slot], history[11][slot]
                row, row_after, e = history[12][slot], history[13][slot], history[14][slot]
                if part != ERRORS:
                    own = (state[0], state[1], state[2], state[3], state[4])
                    at = 0 if drive[6].shape[1] == 1 else layer
                    if driven:
                        lower(state, n, d, drive[6][s, at])
                    if driven or not seen:
                        look(state, n, d, before, row)
                    else:
                        before[:], row[:] = history[11][last], history[13][last]
                    _copy(own, old)
                    advance(
                        state, T, n, d, heads, left, right, cut, coupled[s], has_z, any_mean[s], means[s],
                        fed, column,
                    )  # fmt: skip
                    if driven:
                        added = (
                            drive[0][s, at], drive[1][s, at], drive[2][s, at], drive[3][s, at],
                            drive[4][s, at], drive[5][s, at], drive[6][s, at],
                        )  # fmt: skip
                        add(state, n, d, added, column)
                    look(state, n, d, after, row_after)
                    e[:] = state[5][0]
                    last, seen = slot, True
                    if part == WHOLE:
                        new = own
                    else:
                        _copy(own, new)
                if part != STATES:
                    advance(
                        errors, T32, n, d, heads, left32, right32, cut32, coupled[s], has_z, any_mean[s],
                        means[s], fed32, column32,
                    )  # fmt: skip
                    move(
                        errors, (pools, fixed, drift), layer, n, d, heads, left, squares,
                        (norms, norms32, widest), sizes, pair, lengths[s], condition[s], unit, e, before, row,
                        after, row_after, old, new, constant[s], coupled[s], has_z, any_mean[s], to_move,
                    )  # fmt: skip
                layer += 1
                if part != STATES and layer % every_error[s] == 0:
                    normalise(errors, n, d, coupled[s])
                if part != ERRORS and layer % every[s] == 0:
                    normalise(state, n, d, coupled[s])
                    seen = False
            if part != ERRORS:
                write_parts(
                    state, n, d, coupled[s], out[0][s, t], out[1][s, t], out[2][s, t], out[3][s, t],
                    out[4][s, t], out[5][s, t],
                )  # fmt: skip
            if part == STATES:
                continue
            measure(errors, n, d, cut32, safety, noise[s, t], noise_rows[s, t], to_measure)
            if out_errors[5].shape[1] > 0:
                write_errors(
                    errors, n, d, out_errors[0][s, t], out_errors[1][s, t], out_errors[2][s, t],
                    out_errors[3][s, t], out_errors[4][s, t], out_errors[5][s, t],
                )  # fmt: skip


@nb.njit(**_INNER)
def _place(A, H, layer, number, placed):
    """Write a system's matrices of a layer to where products want them, unless they are there.

    The last of ``placed`` says which ones are: layer and system of A, and of H.
    """
    left, right, left32, right32, squares, norms, norms32, widest, sizes, which = placed
    heads, d, stored32 = A.shape[1], H.shape[3], norms32.size // A.shape[1]
    at, own = 0 if A.shape[0] == 1 else layer, number if A.shape[2] > 1 else 0
    if which[0] != at or which[1] != own:
        which[0], which[1] = at, own
        for h in range(heads):
            size = place_attention(A[at, h, own], left, left32, squares, h)
            if h == 0:
                sizes[0] = size
    at, own = 0 if H.shape[0] == 1 else layer, number if H.shape[2] > 1 else 0
    if which[2] != at or which[3] != own:
        which[2], which[3] = at, own
        for h in range(heads):
            size = place_weights(H[at, h, own], right, right32, norms[h], h)
            if h == 0:
                sizes[1] = size
            widest[h] = norms[h].max()
            for j in range(d):
                norms32[h * stored32 + j] = norms[h, j] / max(widest[h], 1e-300)


@nb.njit(**_INNER)
def _before(history, slot):
    return history[0][slot], history[1][slot], history[2][slot], history[3][slot], history[4][slot]


@nb.njit(**_INNER)
def _after(history, slot):
    return history[5][slot], history[6][slot], history[7][slot], history[8][slot], history[9][slot]


@nb.njit(**_INNER)
def _copy(parts, to):
    to[0][:], to[1][:], to[2][:], to[3][:], to[4][:] = parts[0], parts[1], parts[2], parts[3], parts[4]
