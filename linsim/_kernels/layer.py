"""A state and its probe in one matrix, and what a layer does to them.

Rows of the matrix: the rest R of the tokens (n), zeros up to a multiple of
ROWS, the probe (m), the mean row r, the mean row of the probe, zeros.  R and r
have power-of-two exponents of their own and X = 2^e_mean 1 r + 2^e_rest R.  The
probe is a generic state under the same layers: as fast as it grows, rounding
grows.  In shallow runs it keeps a Krylov space only of the tokens' side, so that
it costs a fraction of a state: Ritz values come close to the extreme eigenvalues
of A, close enough for :data:`SHALLOW` layers but not for ever.

Numbers that go with the state are held in a *ledger*, a flat float64 array.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from .kept import KEPT, NOTHING_NEW
from .lanes import WIDTH, copies, fma, load, splat, store, total
from .products import add_product, columns, index, pack, rows

__all__ = [
    "ABSENT",
    "DRIVE",
    "E_MEAN",
    "E_REST",
    "FEED",
    "GAIN",
    "HIGH",
    "LEDGER",
    "LOW",
    "NOISE_MEAN",
    "NOISE_REST",
    "PROBE",
    "SHALLOW",
    "SIGNED",
    "SIZE_MEAN",
    "SIZE_REST",
    "Layout",
    "add_log2",
    "apply_layer",
    "centre",
    "dot",
    "finish_layer",
    "grown",
    "layout",
    "log2",
    "look",
    "place_attention",
    "place_input",
    "place_weights",
    "places",
    "power_of_two",
    "rescale",
    "settle",
    "settle_as_one",
    "times",
]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}

#: log2 of nothing, as linsim._state.EMPTY
ABSENT = -(2.0**60)
#: how many Krylov vectors of A stand for all tokens in the probe (with the two mean rows: whole ROWS)
PROBE = 6
#: how deep a compressed probe is believed: 7 % too slow by layer, it is off by 1e8, which the
#: resolution of a value (1e-6) has to spare above rounding
SHALLOW = 256
#: and of A of either sign, where it may be too slow by a quarter (measured on Gaussian matrices)
SIGNED = 64

#: bits by which the terms of a layer may exceed its growth before errors are bounded rather than measured
TURNED = 4.0

# the ledger: exponents of both parts; log2 of their sizes, of their noise, and of the probe's sizes when
# last looked at; their sums of squares, of mantissas; log2 of how much of the rest a
# layer can feed into the mean, of how much it can enlarge anything, and of what it adds to every token
(
    E_REST,
    E_MEAN,
    SIZE_REST,
    SIZE_MEAN,
    NOISE_REST,
    NOISE_MEAN,
    _PROBE_REST,
    _PROBE_MEAN,
    HIGH,
    LOW,
    FEED,
    GAIN,
    DRIVE,
) = range(13)
LEDGER = 13


class Layout(NamedTuple):
    """Where the parts lie: sizes, first rows, stored rows and numbers."""

    n: int
    d: int
    m: int  # rows of the probe
    probe: int
    mean: int
    probe_mean: int
    height: int
    stored: int


@nb.njit(**NOTHING_NEW)
def layout(n, d, compressed, itemsize):
    """Return the layout of one system; the probe is full where A cannot be compressed."""
    m = min(n - 1, PROBE) if compressed else n
    probe = rows(n)
    count = probe + rows(m + 2)
    return Layout(n, d, m, probe, probe + m, probe + m + 1, count, count * columns(d, itemsize))


# --- small things -------------------------------------------------------------------------


@nb.njit(**NOTHING_NEW)
def add_log2(x, y):
    """log2(2**x + 2**y)."""
    top, low = max(x, y), min(x, y)
    if low < top - 60:
        return top
    return top + math.log2(1.0 + math.exp2(low - top))


@nb.njit(**NOTHING_NEW)
def log2(x):
    """log2 of x >= 0, ABSENT for 0."""
    return math.log2(x) if x > 0 else ABSENT


@nb.njit(**NOTHING_NEW)
def power_of_two(exponent):
    """2**exponent, 0 far below the range."""
    return math.ldexp(1.0, int(min(max(exponent, -1100.0), 1023.0)))


@nb.njit(**_COMPILE)
def places(d, count, itemsize):
    """Return where each vector of row 0 begins, and how far the next row is from it."""
    w = WIDTH // itemsize
    vectors = columns(d, itemsize) // w
    base, stride = np.zeros(vectors, np.int64), np.zeros(vectors, np.int64)
    for k in range(vectors):
        base[k] = index(0, k * w, count, d, itemsize)
        stride[k] = index(1, k * w, count, d, itemsize) - base[k]
    return base, stride


@nb.njit(**NOTHING_NEW)
def _square(Y, base, stride, first, last):
    """The sum of squares of some rows."""
    s0 = s1 = s2 = s3 = splat(Y, 0.0)
    for k in range(base.size):
        at, step = base[k] + first * stride[k], stride[k]
        for _ in range((last - first) // 4):
            x0, x1 = load(Y, at), load(Y, at + step)
            x2, x3 = load(Y, at + 2 * step), load(Y, at + 3 * step)
            s0, s1, s2, s3 = fma(x0, x0, s0), fma(x1, x1, s1), fma(x2, x2, s2), fma(x3, x3, s3)
            at += 4 * step
        for _ in range((last - first) % 4):
            x0 = load(Y, at)
            s0 = fma(x0, x0, s0)
            at += step
    return float(total((s0 + s1) + (s2 + s3)))


@nb.njit(**NOTHING_NEW)
def times(Y, base, stride, first, last, factor):
    """Multiply some rows."""
    for k in range(base.size):
        for i in range(first, last):
            at = base[k] + i * stride[k]
            store(Y, at, load(Y, at) * factor)


@nb.njit(**NOTHING_NEW)
def centre(Y, base, stride, first, n, into, factor):
    """Take the mean off rows first .. first + n; add ``factor`` times it to row ``into`` if >= 0."""
    share = 1.0 / n
    for k in range(base.size):
        step = stride[k]
        at = base[k] + first * step
        m0 = m1 = splat(Y, 0.0)
        for i in range(n // 2):
            m0, m1 = m0 + load(Y, at + 2 * i * step), m1 + load(Y, at + (2 * i + 1) * step)
        if n % 2:
            m0 = m0 + load(Y, at + (n - 1) * step)
        mean = (m0 + m1) * share
        for i in range(n):
            store(Y, at + i * step, load(Y, at + i * step) - mean)
        if into >= 0:
            at = base[k] + into * step
            store(Y, at, fma(mean, splat(Y, factor), load(Y, at)))


# --- setting up ---------------------------------------------------------------------------


@nb.njit(**_COMPILE)
def place_input(x, generic, compressed, rounding, lay, base, stride, Y, ledger):
    """Cut one system's tokens into mean row and rest, at a scale where nothing overflows.

    ``rounding``: relative error of cutting; ``generic`` (n + 1, .): the probe.
    """
    n, d = lay.n, lay.d
    biggest = 0.0
    for i in range(n):
        for j in range(d):
            biggest = max(biggest, abs(float(x[i, j])))
    top = float(math.frexp(biggest)[1] - 1)
    half = math.floor(-top / 2)
    f1, f2 = power_of_two(half), power_of_two(-top - half)
    # the first token is taken off first: equal rows leave exactly nothing
    cut, first, common = np.empty((n, d)), np.empty(d), np.zeros(d)
    square, shift = 0.0, 0.0
    for j in range(d):
        first[j] = float(x[0, j]) * f1 * f2
        shift += first[j] * first[j]
    for i in range(n):
        for j in range(d):
            y = float(x[i, j]) * f1 * f2 - first[j]
            cut[i, j] = y
            common[j] += y
            square += y * y
    for j in range(d):
        common[j] /= n
    for i in range(n):
        for j in range(d):
            cut[i, j] -= common[j]
    pack(cut, lay.height, Y, 0)
    pack((first + common).reshape(1, d), lay.height, Y, 0, lay.mean)
    pack(generic[: lay.m, :d], lay.height, Y, 0, lay.probe)
    pack(generic[n : n + 1, :d], lay.height, Y, 0, lay.probe_mean)
    if not compressed:
        centre(Y, base, stride, lay.probe, lay.m, -1, 0.0)
    ledger[E_REST] = ledger[E_MEAN] = top
    ledger[NOISE_REST] = log2(rounding * 2 * math.sqrt(square)) + top
    ledger[NOISE_MEAN] = log2(rounding * (math.sqrt(square / n) + math.sqrt(shift))) + top
    ledger[DRIVE] = ABSENT
    _look_at_all(lay, base, stride, Y, ledger)


@nb.njit(**_COMPILE)
def _krylov(A, n, m, start, apart, out, lda):
    """Compress A to m dimensions: out = Q^T A Q, by Arnoldi's iteration.

    ``apart``: off the constant vector, which is invariant; ``start`` (m, n) holds generic vectors: the
    first one, and those that take over where an invariant space is complete.
    """
    basis, images = np.zeros((m, n)), np.zeros((m, n))
    for k in range(m):
        for i in range(n):
            basis[k, i] = images[k - 1, i] if k > 0 else start[0, i]
        left = 0.0
        for attempt in range(3):
            for _ in range(2):  # once more, against rounding
                mean = 0.0
                for i in range(n):
                    mean += basis[k, i]
                for i in range(n if apart else 0):
                    basis[k, i] -= mean / n
                for c in range(k):
                    x = dot(basis[c], basis[k])
                    for i in range(n):
                        basis[k, i] -= x * basis[c, i]
            left = dot(basis[k], basis[k])
            if left > 1e-20 or attempt == 2:
                break
            for i in range(n):
                basis[k, i] = start[k, i]
        scale = 1.0 / math.sqrt(left) if left > 0 else 0.0
        for i in range(n):
            basis[k, i] *= scale
        for i in range(n):
            images[k, i] = dot(A[i], basis[k])
    for k in range(m):
        for c in range(m):
            out[c * lda + k] = dot(basis[c], images[k])


# the sum may be taken in any order
@nb.njit(**NOTHING_NEW, fastmath={"reassoc", "contract", "nsz"})
def dot(x, y):
    result = 0.0
    for i in range(x.size):
        result += x[i] * y[i]
    return result


@nb.njit(**_COMPILE)
def place_attention(A, generic, compressed, apart, lay, left, small, h):
    """Write head h's attention row by row to ``left``, and what the probe sees of it to ``small``.

    ``apart``: whether the constant vector is invariant, and the mean so kept apart from the probe.
    """
    n, m = lay.n, lay.m
    for i in range(n):
        for j in range(n):
            left[(h * lay.probe + i) * n + j] = A[i, j]
    at = small[h * rows(m) * m :]
    if compressed:
        if m > 0:
            _krylov(A, n, m, generic, apart, at, m)
        return
    for i in range(n):
        for j in range(n):
            at[i * m + j] = A[i, j]


@nb.njit(**NOTHING_NEW)
def place_weights(H, lay, right, h):
    """Write head h's weights in panels to ``right``."""
    pack(H, lay.d, right, h * lay.d * columns(lay.d, right.itemsize))


# --- a layer ------------------------------------------------------------------------------


@nb.njit(**NOTHING_NEW)
def apply_layer(
    lay, base, stride, heads, left, small, right, sums, turns, old, T, new, in_place, start, stop
):  # fmt: skip
    """Rows ``start`` to ``stop`` of X + sum_h A_h X H_h, with T for what is between the products.

    ``sums`` (heads,): what rows of A_h sum to, on average; ``turns`` (heads n,): how much more each of them
    does, empty where all do alike, so that the mean stays the mean.
    ``start`` and ``stop`` are multiples of ROWS.  ``in_place``: ``new`` is ``old``, and
    all rows are asked for (T is complete before any of them is touched).
    """
    n, d, m, count = lay.n, lay.d, lay.m, lay.height
    w = WIDTH // old.itemsize
    stored_columns = columns(d, old.itemsize)
    low, high = max(start, lay.probe), min(stop, lay.probe + rows(m))
    first, last = max(start, lay.mean), min(stop, lay.probe_mean + 1)
    for h in range(heads):
        o = h * lay.stored
        if start < lay.probe:
            at = (h * lay.probe + start) * n
            add_product(left, at, n, old, 0, count, 0, T, o, count, start, min(stop, lay.probe), n, d, True)
        if m > 0 and low < high:
            at = (h * rows(m) + low - lay.probe) * m
            add_product(small, at, m, old, 0, count, lay.probe, T, o, count, low, high, m, d, True)
        for k in range(base.size):
            for i in range(first, last):
                at = base[k] + i * stride[k]
                store(T, o + at, load(old, at) * sums[h])
            if turns.size > 0:  # both parts are at one scale then
                mean = load(old, base[k] + lay.mean * stride[k])
                for i in range(start, min(stop, n)):
                    at = o + base[k] + i * stride[k]
                    store(T, at, fma(copies(turns, h * n + i), mean, load(T, at)))
    if not in_place:
        for k in range(base.size):
            for i in range(start, stop):
                at = base[k] + i * stride[k]
                store(new, at, load(old, at))
    for h in range(heads):
        # a panel of the result stays at hand while the panels of T go by
        for column in range(0, d, 4 * w):
            panel = base[column // w]
            width = min(4 * w, stored_columns - column)
            weights = h * d * stored_columns + column * d
            for inner in range(0, d, 4 * w):
                at = h * lay.stored + base[inner // w]
                step = stride[inner // w]
                add_product(
                    T, at + start * step, step, right, weights, d, inner,
                    new, panel, count, start, stop, min(step, d - inner), width, False,
                )  # fmt: skip


@nb.njit(**NOTHING_NEW)
def finish_layer(lay, base, stride, compressed, coupled, Y, ledger):
    """Move what the rest has in common into the mean row, once all rows are there."""
    factor = power_of_two(ledger[E_REST] - ledger[E_MEAN]) if coupled else 0.0
    centre(Y, base, stride, 0, lay.n, lay.mean if coupled else -1, factor)
    if not compressed:
        centre(Y, base, stride, lay.probe, lay.m, -1, 0.0)


# --- scales and noise -----------------------------------------------------------------------


@nb.njit(**NOTHING_NEW)
def look(lay, base, stride, Y, ledger):
    """Write sums of squares and sizes of both parts to the ledger."""
    high = _square(Y, base, stride, 0, lay.n) if ledger[E_REST] > ABSENT / 2 else 0.0
    low = _square(Y, base, stride, lay.mean, lay.mean + 1) if ledger[E_MEAN] > ABSENT / 2 else 0.0
    ledger[HIGH], ledger[LOW] = high, low
    ledger[SIZE_REST] = ledger[E_REST] + 0.5 * math.log2(high) if high > 0 else ABSENT
    ledger[SIZE_MEAN] = ledger[E_MEAN] + 0.5 * math.log2(low) if low > 0 else ABSENT


@nb.njit(**NOTHING_NEW)
def _look_at_all(lay, base, stride, Y, ledger):
    look(lay, base, stride, Y, ledger)
    if lay.m > 0:
        ledger[_PROBE_REST] = 0.5 * log2(_square(Y, base, stride, lay.probe, lay.probe + lay.m))
    ledger[_PROBE_MEAN] = 0.5 * log2(_square(Y, base, stride, lay.probe_mean, lay.probe_mean + 1))


@nb.njit(**NOTHING_NEW)
def settle(lay, base, stride, coupled, since, log_rounding, Y, ledger):
    """Look at the state ``since`` layers after the last time: rounding has grown as the probe has.

    ``log_rounding``: log2 of what one layer adds, relative to a part.
    """
    rest, mean = ledger[_PROBE_REST], ledger[_PROBE_MEAN]
    size_rest, size_mean = ledger[SIZE_REST], ledger[SIZE_MEAN]
    _look_at_all(lay, base, stride, Y, ledger)
    if since == 0:
        return
    size_mean = max(size_mean, ledger[DRIVE])
    before, layers = (since - 1.0) / since, _several(since)
    added = log_rounding + layers
    fed = ledger[NOISE_REST] + max(ledger[_PROBE_REST] - rest, 0.0) * before
    for place, old, size in ((0, rest, size_rest), (1, mean, size_mean)):
        pace = max(ledger[_PROBE_REST + place] - old, -60.0 * since)
        now, noise = ledger[SIZE_REST + place], ledger[NOISE_REST + place]
        ledger[NOISE_REST + place], new = grown(lay, noise, size, now, pace, since, added, ledger[GAIN])
        if place == 0 and since > 1:  # what an earlier layer of these has added is fed by a later one
            fed = add_log2(fed, new)
    if coupled:
        ledger[NOISE_MEAN] = add_log2(ledger[NOISE_MEAN], fed + layers + ledger[FEED])


@nb.njit(**NOTHING_NEW)
def settle_as_one(lay, base, stride, since, log_rounding, Y, ledger):
    """As :func:`settle` where each part turns into the other, so that one noise is that of both."""
    probe, half = ledger[_PROBE_REST], 0.5 * math.log2(float(lay.n))
    size = max(ledger[SIZE_REST], ledger[SIZE_MEAN] + half)
    _look_at_all(lay, base, stride, Y, ledger)
    noise = max(ledger[NOISE_REST], ledger[NOISE_MEAN] + half)
    if since > 0:
        size, now = max(size, ledger[DRIVE] + half), max(ledger[SIZE_REST], ledger[SIZE_MEAN] + half)
        pace = max(ledger[_PROBE_REST] - probe, -60.0 * since)
        added = log_rounding + _several(since)
        noise, _ = grown(lay, noise, size, now, pace, since, added, ledger[GAIN])
    ledger[NOISE_REST], ledger[NOISE_MEAN] = noise, noise - half


@nb.njit(**NOTHING_NEW)
def _several(since):
    """log2 of how roundings of several layers add up: like a root, but for what each layer repeats."""
    several = math.sqrt(float(since))
    return math.log2(several * (1.0 + 0.15 * several)) if since > 1 else 0.0


@nb.njit(**NOTHING_NEW)
def grown(lay, noise, size, now, pace, since, added, gain):
    """Return the noise of a part after ``since`` layers, and what these have added to it.

    ``size``, ``now``: log2 of the part's size before and after; ``pace``: of the growth of its probe;
    ``added``: of what the layers round, relative to their terms.  These, whose rounding stays, are larger
    than the state by ``gain`` at most.  A new error may grow by as much in the next layer where the probe,
    long turned, no longer does; that a generic one does so by a factor of 4 is part of ``added``.
    """
    change = now - size if now > ABSENT / 2 and size > ABSENT / 2 else pace
    turned = max(gain - pace / since - 2.0, 0.0)
    if turned > TURNED:  # along a chain of features it may go on growing, for as long as that is
        turned *= max(1.0, min(lay.d - 1.0, 8.0))
    new = added + gain + turned + size + max(change, pace) * ((since - 1.0) / since)
    return add_log2(noise + pace, new), new


@nb.njit(**NOTHING_NEW)
def rescale(lay, base, stride, coupled, Y, ledger):
    """Bring both parts and the probe to size 1, exactly, after :func:`settle`."""
    new_rest, new_mean = math.floor(ledger[SIZE_REST]), math.floor(ledger[SIZE_MEAN])
    if coupled:  # what the rest feeds into the mean must be seen at its scale
        new_mean = max(new_mean, new_rest)
    if new_rest > ABSENT / 2:
        by = ledger[E_REST] - new_rest
        times(Y, base, stride, 0, lay.n, power_of_two(by))
        ledger[HIGH] *= power_of_two(2 * by)
    if new_mean > ABSENT / 2 and ledger[E_MEAN] > ABSENT / 2:
        by = ledger[E_MEAN] - new_mean
        times(Y, base, stride, lay.mean, lay.mean + 1, power_of_two(by))
        ledger[LOW] *= power_of_two(2 * by)
    ledger[E_REST], ledger[E_MEAN] = new_rest, new_mean
    for place, first, last in (
        (_PROBE_REST, lay.probe, lay.probe + lay.m),
        (_PROBE_MEAN, lay.probe_mean, lay.probe_mean + 1),
    ):
        if first < last and ledger[place] > ABSENT / 4:
            up = math.floor(ledger[place])
            times(Y, base, stride, first, last, power_of_two(-up))
            ledger[place] -= up
