"""Recorded layers at once, from the modes of A and H, metrics measured on the way.

The modes of a system (``linsim._engines.modal``; tokens cut into their Perron
mean and the rest) are powers, and most of them are soon negligible beside the
fastest of their part: only those that count are multiplied on from one recorded
layer to the next.  H's left eigenvectors Z, sorted by how fast their modes grow,
are Z = L Q with L lower triangular, so that m leading ones need m columns only:
X Q^T has the metrics of X.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .lanes import WIDTH, load, store
from .layer import (
    ABSENT,
    E_MEAN,
    E_REST,
    LEDGER,
    NOISE_MEAN,
    NOISE_REST,
    Layout,
    add_log2,
    centre,
    look,
    places,
    power_of_two,
)
from .measure import (
    ABS_COSINE,
    COSINE,
    RANK,
    SPREAD,
    STABLE,
    flush,
    row_noise,
    stage,
    write_angles,
    write_content,
    write_spread,
)
from .products import ROWS, add_product, aligned, columns, index, pack, rows
from .singular import tile_work

__all__ = ["jump"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}

# modes this many powers of two below the largest of their part add nothing
_NEGLIGIBLE = 70.0
# so few modes are evaluated afresh at each layer: no error is multiplied on
_FEW = 64
# up to 2^this, powers are squares of each other; beyond, each comes from the logarithm
_SQUARED = 6

# rows of the table of modes: real and imaginary part now and at layer 0, log2|rho| and arg(rho)/2 pi cut in
# two, the square of |v| |z|, drift, 4 for a pair and else 1
_QR, _QI, _CR, _CI, _HI, _LO, _THI, _TLO, _SIZE, _DRIFT, _SEVERAL = range(11)
_MODE = 11
# and of whole numbers
_ROW, _COL, _KIND, _PART = range(4)
_KINDS = np.array([[0, 2, 2], [1, 3, 4], [1, 3, 4]])


@nb.njit(**_COMPILE)
def _representatives(c, log2_hi, log2_lo, turn_hi, turn_lo, size, drift, tag_A, tag_H, place, modes, whole):
    """Write one mode of each conjugate pair that is there; return how many."""
    n, d = c.shape
    count = 0
    for i in range(n):
        for j in range(d):
            chosen = tag_A[i] != 2 and not (tag_A[i] == 0 and tag_H[j] == 2)
            if not chosen or c[i, j] == 0 or log2_hi[i, j] <= ABSENT / 2:
                continue
            # 0: both real, 1: pair of A, 2: pair of H, 3: both, first halves, 4: second half of H's
            kind = _KINDS[tag_A[i], tag_H[j]]
            m = modes[:, count]
            m[_CR], m[_CI] = c[i, j].real, c[i, j].imag
            m[_QR], m[_QI] = m[_CR], m[_CI]
            m[_HI], m[_LO], m[_THI], m[_TLO] = log2_hi[i, j], log2_lo[i, j], turn_hi[i, j], turn_lo[i, j]
            m[_SIZE], m[_DRIFT] = math.exp2(2 * size[i, j]), drift[i, j]
            # the middle is filled at the first halves
            whole[_ROW, count], whole[_COL, count], whole[_KIND, count] = i, place[j] - (kind == 4), kind
            m[_SEVERAL] = 1 if kind == 0 else 4
            whole[_PART, count] = 0 if i == 0 else 1  # in this order
            count += 1
    return count


@nb.njit(**_COMPILE)
def _fastest(modes, whole, count, hi, lo):
    """log2 of the fastest growth in each part, cut in two."""
    hi[:], lo[:] = ABSENT, 0.0
    for k in range(count):
        part = whole[_PART, k]
        if modes[_HI, k] + modes[_LO, k] > hi[part] + lo[part]:
            hi[part], lo[part] = modes[_HI, k], modes[_LO, k]


@nb.njit(**_COMPILE)
def _power(modes, whole, k, hi, lo, times):
    """(rho / fastest)**times of mode k, exact to rounding: leading bits times a layer are exact."""
    part = whole[_PART, k]
    length = (modes[_HI, k] - hi[part]) * times + (modes[_LO, k] - lo[part]) * times
    size = math.exp2(max(length, -1070.0))
    turn = modes[_THI, k] * times
    angle = 2 * math.pi * ((turn - np.rint(turn)) + modes[_TLO, k] * times)
    return size * math.cos(angle), size * math.sin(angle)


@nb.njit(**_COMPILE)
def _advance(modes, whole, count, hi, lo, layer, to, tables, built):
    """Multiply the modes on from ``layer`` to ``to``, at the scale of the fastest of their part."""
    if count <= _FEW:
        for k in range(count):
            x, y = _power(modes, whole, k, hi, lo, float(to))
            modes[_QR, k] = modes[_CR, k] * x - modes[_CI, k] * y
            modes[_QI, k] = modes[_CR, k] * y + modes[_CI, k] * x
        return
    gap, bit = to - layer, 0
    while gap:
        if bit < _SQUARED or gap & 1:
            re, im = tables[bit, 0], tables[bit, 1]
            if not built[bit]:
                built[bit] = True
                if 0 < bit < _SQUARED:
                    before_re, before_im = tables[bit - 1, 0], tables[bit - 1, 1]
                    for k in range(count):
                        x, y = before_re[k], before_im[k]
                        re[k], im[k] = x * x - y * y, 2 * x * y
                else:
                    for k in range(count):
                        re[k], im[k] = _power(modes, whole, k, hi, lo, float(1 << bit))
            if gap & 1:
                q_re, q_im = modes[_QR], modes[_QI]
                for k in range(count):
                    x, y = q_re[k], q_im[k]
                    q_re[k], q_im[k] = x * re[k] - y * im[k], x * im[k] + y * re[k]
        gap >>= 1
        bit += 1


# sums may be taken in any order
@nb.njit(**_COMPILE, fastmath={"reassoc", "contract", "nsz"})
def _weighed(q_re, q_im, size, drift, several, layer, rounding):
    """Largest of some modes, and the total of their errors, as squares."""
    top, wrong = 0.0, 0.0
    for k in range(q_re.size):
        x = (q_re[k] * q_re[k] + q_im[k] * q_im[k]) * size[k]
        top = max(top, x)
        off = layer * drift[k] + rounding
        wrong += x * off * off * several[k]
    return top, wrong


@nb.njit(**_COMPILE)
def _weigh(modes, whole, count, layer, rounding, top, relative):
    """Largest and total relative error of each part, as squares at the part's scale."""
    edge = 0
    while edge < count and whole[_PART, edge] == 0:
        edge += 1
    for part, a, b in ((0, 0, edge), (1, edge, count)):
        top[part], relative[part] = _weighed(
            modes[_QR, a:b], modes[_QI, a:b], modes[_SIZE, a:b], modes[_DRIFT, a:b], modes[_SEVERAL, a:b],
            layer, rounding,
        )  # fmt: skip


@nb.njit(**_COMPILE)
def _prune(modes, whole, count, top):
    """Drop modes that count neither now nor later: small, and no faster than the largest of their part."""
    speed = np.full(2, -np.inf)
    for k in range(count):
        part = whole[_PART, k]
        if (modes[_QR, k] ** 2 + modes[_QI, k] ** 2) * modes[_SIZE, k] >= top[part]:
            speed[part] = max(speed[part], modes[_HI, k] + modes[_LO, k])
    kept = 0
    limit = math.exp2(-2 * (_NEGLIGIBLE + 5))
    for k in range(count):
        part = whole[_PART, k]
        x = (modes[_QR, k] ** 2 + modes[_QI, k] ** 2) * modes[_SIZE, k]
        if x > limit * top[part] or modes[_HI, k] + modes[_LO, k] > speed[part]:
            if kept < k:
                for m in range(_MODE):
                    modes[m, kept] = modes[m, k]
                for m in range(4):
                    whole[m, kept] = whole[m, k]
            kept += 1
    return kept


@nb.njit(**_COMPILE)
def _fill(modes, whole, count, top, factor, middle, live):
    """Add the modes that count to the middle M of V M Z; return how many columns are not zero.

    A pair of modes adds 2 Re(q v z), with v = v_r + i v_i and z = z_r + i z_i in real
    block form.  ``live`` (n,): whether a row is not zero.
    """
    limit = math.exp2(-2 * _NEGLIGIBLE)
    used = 0
    middle[:] = 0.0
    live[:] = False
    for k in range(count):
        part = whole[_PART, k]
        x, y = modes[_QR, k], modes[_QI, k]
        if (x * x + y * y) * modes[_SIZE, k] <= limit * top[part]:
            continue
        i, j, kind = whole[_ROW, k], whole[_COL, k], whole[_KIND, k]
        x, y = x * factor[part], y * factor[part]
        live[i] = True
        if kind == 0:
            middle[i, j] += x
            used = max(used, j + 1)
            continue
        x, y = 2 * x, 2 * y
        sign = -1.0 if kind == 4 else 1.0
        middle[i, j] += x
        used = max(used, j + 1)
        if kind != 2:
            middle[i + 1, j] -= y
            live[i + 1] = True
        if kind != 1:
            middle[i, j + 1] -= sign * y
            used = max(used, j + 2)
        if kind >= 3:
            middle[i + 1, j + 1] -= sign * x
    return used


@nb.njit(**_COMPILE)
def _assemble(middle, live, gathered, V, L_packed, lay, left, small, Z, Y):
    """Y[rest] = V M L and Y[mean] = (row 0 of M) L, unscaled; rows of M that are zero are left out."""
    n, c = lay.n, lay.d
    k = 0
    padded = rows(n)
    for i in range(1, n):
        if live[i]:
            for j in range(c):
                left[k * c + j] = middle[i, j]
            k += 1
    for j in range(c):  # the mean row comes last
        left[k * c + j] = middle[0, j]
    for at in range((k + 1) * c, rows(k + 1) * c):
        left[at] = 0.0
    height = rows(k + 1)
    add_product(left, 0, c, L_packed, 0, c, 0, Z, 0, height, 0, height, c, c, True)
    if k == 0:
        Y[: lay.stored] = 0.0
    else:
        same = True
        for i in range(1, n):
            same = same and live[i] == gathered[i]
        if not same:  # V with the columns of the rows that are there
            for row in range(n):
                place = row * k
                for i in range(1, n):
                    if live[i]:
                        small[place] = V[row, i]
                        place += 1
            for at in range(n * k, padded * k):
                small[at] = 0.0
            gathered[:] = live
        add_product(small, 0, k, Z, 0, height, 0, Y, 0, lay.height, 0, padded, k, c, True)
    for j in range(c):
        Y[index(lay.mean, j, lay.height, c, Y.itemsize)] = Z[index(k, j, height, c, Y.itemsize)]


@nb.njit(**_COMPILE)
def _small_layout(n, c, itemsize):
    """The layout of a state without a probe."""
    height = rows(n) + ROWS
    return Layout(n, c, 0, rows(n), rows(n), rows(n) + 1, height, height * columns(c, itemsize))


@nb.njit(**_COMPILE)
def jump(
    start_rest, start_mean, start_e, start_noise, c, scale, log2_hi, log2_lo, turn_hi, turn_lo, size, drift,
    tag_A, tag_H, place, V, L, floor, growth, rounding, preserved, zero_until, wanted, slot, first, last,
    values, errors, lost, counts, stop,
):  # fmt: skip
    """Record systems ``first`` to ``last`` at the wanted layers.

    Parameters
    ----------
    start_rest (b, n, d), start_mean (b, d), start_e (b, 2), start_noise (b, 2)
        The input: rest and mean row, their exponents (rest first), log2 of their noise.
    c : (b, n, d) complex coefficients; scale (b, 2): exponents of the mean's and of the rest's
    log2_hi, log2_lo, turn_hi, turn_lo, size, drift : (b, n, d), as in Modes
    tag_A (b, n), tag_H (b, d) : int8, real, first or second of a pair
    place : (b, d) int, where each mode of H stands in the order of L
    V : (b, n, n); L : (b, d, d) lower triangular
    floor, growth : (b, 2) log2 of the noise that mean and rest start with, and of its growth per layer
    rounding : (b,)
    preserved : (b,) bool, whether token means are kept exactly
    zero_until, wanted, slot, values, errors, lost, counts, stop : as in :func:`linsim._kernels.walk.walk`
    """
    n, d = start_rest.shape[1], start_rest.shape[2]
    like = start_rest
    w = WIDTH // like.itemsize
    eps = 2.220446049250313e-16
    modes, whole = np.zeros((_MODE, n * d)), np.zeros((4, n * d), np.int64)
    tables, built = np.zeros((31, 2, n * d)), np.zeros(31, np.bool_)
    middle, live, gathered = np.zeros((n, d)), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    hi, lo, top, relative, factor = np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2)
    largest = _small_layout(n, d, like.itemsize)
    Y, Z = aligned(largest.stored, like), aligned(rows(n + 1) * columns(d, like.itemsize), like)
    left, small = aligned(rows(n + 1) * d, like), aligned(rows(n) * n, like)
    packed = aligned(d * columns(d, like.itemsize), like)
    ledger = np.zeros(LEDGER)
    held = n * columns(d, like.itemsize) + w
    tall = max(n, d)
    staged, tile, heights = aligned(2 * held * w, like), aligned(n * d * w, like), np.zeros(n, like.dtype)
    sums, q, e = (
        aligned(n * w, like),
        aligned(2 * max(tall, 2) * w, like),
        aligned(2 * max(tall, 2) * w, like),
    )
    squared, work = aligned(2 * tall * w, like), aligned(tile_work(tall, tall) * w, like)
    table = np.zeros((2 * w, 3))
    filled = 0
    ranks = slot[RANK] >= 0 or slot[STABLE] >= 0
    angles = slot[COSINE] >= 0 or slot[ABS_COSINE] >= 0
    width = -1  # of what is staged
    lay = largest
    base, stride = places(d, lay.height, like.itemsize)
    own, _ = places(d, n, like.itemsize)

    for s in range(first, last):
        coupled = not preserved[s]
        count = _representatives(
            c[s], log2_hi[s], log2_lo[s], turn_hi[s], turn_lo[s], size[s], drift[s], tag_A[s], tag_H[s],
            place[s], modes, whole,
        )  # fmt: skip
        _fastest(modes, whole, count, hi, lo)
        built[:] = False
        gathered[:] = False
        layer, checked = 0, 0
        packed_width = -1
        for t in range(wanted.size):
            if stop[0]:
                return
            to = wanted[t]
            if to == 0:
                used = d
            else:
                _advance(modes, whole, count, hi, lo, layer, to, tables, built)
                layer = to
                _weigh(modes, whole, count, float(layer), rounding[s], top, relative)
                if layer > 1.25 * checked:
                    checked = layer
                    kept = _prune(modes, whole, count, top)
                    if kept < count:
                        count = kept
                        built[:] = False
                        _weigh(modes, whole, count, float(layer), rounding[s], top, relative)
                for part in range(2):
                    # (a leading mode that the fastest has left behind by more than the range of a
                    # double has long been below the noise that the fastest carries)
                    if top[part] > 0:
                        # 2^e with the largest mode of size around 1
                        exact = hi[part] * layer
                        up = math.floor(exact + lo[part] * layer + 0.5 * math.log2(top[part]))
                        factor[part] = math.exp2((exact - up) + lo[part] * layer)
                        ledger[E_REST if part else E_MEAN] = up + scale[s, part]
                        error = 0.5 * math.log2(relative[part]) if relative[part] > 0 else ABSENT
                        error += exact + lo[part] * layer + scale[s, part]
                    else:
                        factor[part] = 0.0
                        ledger[E_REST if part else E_MEAN] = ABSENT
                        error = ABSENT
                    noise = add_log2(floor[s, part] + layer * growth[s, part], max(error, ABSENT))
                    ledger[NOISE_REST if part else NOISE_MEAN] = noise
                used = _fill(modes, whole, count, top, factor, middle, live)
            # as many columns as there are modes that count, in whole vectors
            cut = min(d, max(w, -(-used // w) * w))
            if cut != lay.d:
                lay = _small_layout(n, cut, like.itemsize)
                base, stride = places(cut, lay.height, like.itemsize)
                own, _ = places(cut, n, like.itemsize)
                Y[:] = 0.0  # padding is elsewhere now
            if to == 0:
                ledger[E_REST], ledger[E_MEAN] = start_e[s, 0], start_e[s, 1]
                ledger[NOISE_REST], ledger[NOISE_MEAN] = start_noise[s, 0], start_noise[s, 1]
                for i in range(n):
                    for j in range(d):
                        Y[index(i, j, lay.height, d, like.itemsize)] = start_rest[s, i, j]
                for j in range(d):
                    Y[index(lay.mean, j, lay.height, d, like.itemsize)] = start_mean[s, j]
            else:
                if packed_width != cut:
                    packed_width = cut
                    packed[: cut * columns(cut, like.itemsize)] = 0.0
                    pack(L[s, :cut, :cut], cut, packed, 0)
                _assemble(middle, live, gathered, V[s], packed, lay, left, small, Z, Y)
            # the Perron mean becomes the token mean
            if coupled and ledger[E_REST] > ABSENT / 2:
                together = max(ledger[E_REST], ledger[E_MEAN])
                by = power_of_two(ledger[E_MEAN] - together) if ledger[E_MEAN] > ABSENT / 2 else 0.0
                for k in range(base.size):
                    at = base[k] + lay.mean * stride[k]
                    store(Y, at, load(Y, at) * by)
                ledger[E_MEAN] = together
                centre(Y, base, stride, 0, n, lay.mean, power_of_two(ledger[E_REST] - together))
            else:
                centre(Y, base, stride, 0, n, -1, 0.0)
            look(lay, base, stride, Y, ledger)
            scale_all, noise, there = write_content(s, t, n, coupled, eps, slot, values, errors, ledger)
            if not there:
                continue
            if slot[SPREAD] >= 0:
                write_spread(s, t, n, base, stride, eps, slot, values, errors, Y, ledger)
            if not (angles or ranks):
                continue
            if cut != width and filled:
                flush(
                    staged, held, tile, q, e, squared, work, n, width, d, table, filled, slot, values,
                    errors, lost, counts,
                )  # fmt: skip
                filled = 0
            width = cut
            held = n * columns(cut, like.itemsize) + w
            absolute = power_of_two(min(math.floor(noise) + 1, 200.0)) if noise > ABSENT / 2 else 0.0
            o = filled * held
            stage(n, lay.mean, base, stride, own, scale_all, Y, ledger, staged, o, sums)
            if angles:
                write_angles(
                    s, t, d, to, zero_until[s if zero_until.shape[0] > 1 else 0], own, stride,
                    row_noise(absolute, n), eps, slot, values, errors, staged, o, sums, heights,
                )  # fmt: skip
            if ranks:
                table[filled, 0], table[filled, 1], table[filled, 2] = s, t, absolute
                filled += 1
            if filled == 2 * w:
                flush(
                    staged, held, tile, q, e, squared, work, n, width, d, table, filled, slot, values,
                    errors, lost, counts,
                )  # fmt: skip
                filled = 0
    if filled:
        flush(
            staged, held, tile, q, e, squared, work, n, width, d, table, filled, slot, values, errors,
                    lost, counts,
        )  # fmt: skip
