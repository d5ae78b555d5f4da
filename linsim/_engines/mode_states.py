"""The states that modes add up to, part by part, at layers however deep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._state import EMPTY, State, add_log2, assemble, log2, norm, normalise, sizes
from .._types import EPS, ComplexArray, FloatArray, IntArray
from .modes import DEEPEST, Modes

__all__ = ["states"]


# modes this many powers of two below the largest of their part add nothing
NEGLIGIBLE = 70.0
# log2: noise beyond this many times its part hides it, however much it may be
HIDDEN = 400.0
# what a power rounds, relative to itself, for each unit of its log2
_POWER = 0.3 * EPS


@dataclass(frozen=True, eq=False)
class _Active:
    """One representative of every conjugate pair of modes that still counts, sorted by part.

    ``group`` (k,): 4 * system + part; ``first`` (g,): where each group begins,
    ``present`` (g,): its number.
    """

    hi: FloatArray
    lo: FloatArray
    turn_hi: FloatArray
    turn_lo: FloatArray
    c: ComplexArray
    log2_c: FloatArray
    log2_shadow: FloatArray
    scale: FloatArray
    size: FloatArray
    drift: FloatArray
    own: FloatArray
    shadows: ComplexArray
    group: IntArray
    place: IntArray
    kind: IntArray

    def take(self, keep: Any) -> _Active:
        kept = {name: getattr(self, name) for name in _Active.__dataclass_fields__}
        return _Active(**{name: x[keep] if x.ndim == 1 else x[:, keep] for name, x in kept.items()})


def states(modes: Modes, layers: Sequence[int]) -> Iterator[State]:
    """Yield the state at each of the sorted ``layers``, up to DEEPEST."""
    active, checked = _representatives(modes), 0
    for layer in layers:
        if layer == 0:
            rows = _rows(modes, modes.start.noise[:, 0], *_nowhere(modes)) if modes.shadows.size else None
            yield replace(modes.start, rows=rows)
            continue
        if layer > DEEPEST:
            raise ValueError(f"layer {layer} is beyond {DEEPEST}, where phases lose their digits")
        state, active, checked = _at(modes, active, layer, checked)
        yield state


def _representatives(modes: Modes) -> _Active:
    b, n, d = modes.coefficients.shape
    tag_A, tag_H = modes.tag_A[:, :, None], modes.tag_H[:, None, :]
    chosen = (tag_A != 2) & ~((tag_A == 0) & (tag_H == 2))
    chosen &= (modes.coefficients != 0) | np.any(modes.shadows != 0, axis=1)
    chosen &= modes.log2_hi > EMPTY / 2
    own_row = (np.arange(n) == modes.i[:, None])[:, :, None]
    own_column = (np.arange(d) == modes.j[:, None])[:, None, :]
    group = 4 * np.arange(b)[:, None, None] + 2 * ~own_row + ~own_column
    flat = np.flatnonzero(chosen)
    group = group.ravel()[flat]
    order = np.argsort(group, kind="stable")
    flat, group = flat[order], group[order]
    # 0: both real, 1: pair of A, 2: pair of H, 3: both, first halves, 4: both, second half of H
    kind = np.where(tag_A == 0, np.where(tag_H == 0, 0, 2), np.where(tag_H == 0, 1, 2 + tag_H)).ravel()[flat]
    place = flat - (kind == 4)  # M is filled at the first halves

    def pick(x: Any) -> Any:
        return x.ravel()[flat]

    c = pick(modes.coefficients)
    count = modes.shadows.shape[1]
    shadows = np.moveaxis(modes.shadows, 1, 0).reshape(count, b * n * d)[:, flat]
    size = pick(modes.size)
    return _Active(
        hi=pick(modes.log2_hi),
        lo=pick(modes.log2_lo),
        turn_hi=pick(modes.turn_hi),
        turn_lo=pick(modes.turn_lo),
        c=c,
        log2_c=log2(np.abs(c)) + size,
        log2_shadow=log2(np.max(np.abs(shadows), axis=0, initial=0.0)) + size,
        scale=pick(modes.scale),
        size=size,
        drift=pick(modes.drift),
        own=pick(modes.own),
        shadows=shadows,
        group=group,
        place=place,
        kind=kind,
    )


def _at(modes: Modes, active: _Active, layer: int, checked: int) -> tuple[State, _Active, int]:
    """Return the state at ``layer`` and the modes that can still count from there on."""
    b, n, d = modes.coefficients.shape
    kinds = [active.log2_c, active.log2_shadow][: 1 + bool(len(active.shadows))]
    tops = np.full((len(kinds), 4 * b), EMPTY)
    speed = active.hi * layer + active.lo * layer + active.scale
    lengths = [np.maximum(speed + each, EMPTY) for each in kinds]
    if active.group.size:
        first = np.flatnonzero(np.diff(active.group, prepend=-1))
        groups = active.group[first]
        tops[:, groups] = [np.maximum.reduceat(x, first) for x in lengths]
        if layer >= 1.25 * checked:
            keep = np.any([_counting(active, x, first, layer) for x in lengths], axis=0)
            active, lengths, checked = active.take(keep), [x[keep] for x in lengths], layer
    # shadows at the scale of their part, and at their own where it is exactly zero
    top = np.where(tops[0] > EMPTY / 2, tops[0], tops[-1])
    exponents = np.where(top > EMPTY / 2, np.floor(top), EMPTY)
    least = np.where(tops > EMPTY / 2, tops - NEGLIGIBLE, np.inf)
    here = lengths[0] > least[0][active.group]
    if len(lengths) > 1:
        here |= lengths[1] > least[1][active.group]
    now = active.take(here)
    length = (now.hi * layer - (exponents[now.group] - now.scale)) + now.lo * layer
    amount = np.exp2(np.minimum(length, HIDDEN))
    angle = now.turn_hi * layer
    angle = 2 * np.pi * ((angle - np.rint(angle)) + now.turn_lo * layer)
    power = amount * (np.cos(angle) + 1j * np.sin(angle))
    q = now.c * power
    M = _filled(q, now.place, now.kind, (b, n, d))

    # errors of each mode, which are relative: its own, the rounding of its power, and drift
    square = (np.abs(q) * np.exp2(now.size)) ** 2 * np.where(now.kind > 0, 2, 1)
    square *= now.own**2 + (_POWER * np.minimum(np.abs(length), HIDDEN)) ** 2 + (layer * now.drift) ** 2
    relative = np.sqrt(np.bincount(now.group, weights=square, minlength=4 * b)).reshape(b, 4)
    e = exponents.reshape(b, 4)
    missed = modes.missed + layer * modes.missed_growth
    noise = np.full((b, 5), EMPTY)
    noise[:, :4] = add_log2(missed[:, :4], log2(relative) + e)
    mean, e_mean, noise[:, 4] = _mean(modes, layer)
    state = _parts(modes, M, e, mean, e_mean, noise)
    if not len(active.shadows):
        return state, active, checked
    by_vector = np.zeros((2, b, n))
    for part, out in ((2, by_vector[0]), (3, by_vector[1])):
        those = now.group % 4 == part
        at = now.place[those] // d
        out[:] = np.bincount(at, weights=square[those], minlength=b * n).reshape(b, n)
    rows = _rows(modes, np.where(np.arange(5) < 2, noise, missed), by_vector, e)
    # and what has become of the noise at the start
    lengths_, rows_ = [], []
    for c in now.shadows:
        other = _parts(modes, _filled(c * power, now.place, now.kind, (b, n, d)), e, 0 * mean, e_mean, noise)
        lengths_.append(sizes(other)[:, 0, :4])
        full, exponent = assemble(other)
        rows_.append(log2(np.linalg.norm(full, axis=-1, keepdims=True)) + exponent)
    noise[:, :4] = add_log2(noise[:, :4], _mean_square(lengths_))
    rows = add_log2(rows, _mean_square(rows_))
    return replace(state, noise=noise[:, None, :], rows=rows), active, checked


def _mean_square(lengths: list[FloatArray]) -> FloatArray:
    """log2 of the root mean square of shadows, of the log2 of their lengths."""
    every = np.maximum(np.stack(lengths), EMPTY)
    top = np.max(every, axis=0)
    square = np.mean(np.exp2(2 * np.maximum(every - top, -500.0)), axis=0)
    return np.asarray(np.where(top > EMPTY / 2, top + 0.5 * np.log2(square), EMPTY))


def _nowhere(modes: Modes) -> tuple[FloatArray, FloatArray]:
    """Squared errors of vectors, and exponents, where there are none."""
    b, n = modes.tag_A.shape
    return np.zeros((2, b, n)), np.zeros((b, 4))


def _rows(modes: Modes, noise: FloatArray, by_vector: FloatArray, e: FloatArray) -> FloatArray:
    """log2 of the absolute error of each token of the full state, (b, n, 1).

    ``noise`` (b, 5) of what the first two parts, and each row of the others, may be off by;
    ``by_vector`` (2, b, n): squared errors of what each vector v_i adds to the parts b and R,
    at their exponents ``e`` (b, 4).
    """
    split = modes.split
    size_z = log2(norm(split.z))[:, :, 0]
    size_v = log2(np.abs(split.v[:, :, 0]))
    out = size_v + add_log2(noise[:, 0:1] + size_z, noise[:, 1:2])
    for k, more in ((2, size_z), (3, np.zeros_like(size_z))):
        own = 0.5 * log2((modes.spread @ by_vector[k - 2][:, :, None])[:, :, 0]) + e[:, k : k + 1]
        out = add_log2(out, add_log2(own, noise[:, k : k + 1]) + more)
    return np.maximum(out, EMPTY)[:, :, None]


def _counting(active: _Active, lengths: FloatArray, first: IntArray, layer: int) -> Any:
    """Which modes matter now or may later: not far below a mode that grows as fast."""
    counts = np.diff(first, append=active.group.size)
    top = np.repeat(np.maximum.reduceat(lengths, first), counts)
    speed = active.hi + active.lo
    leading = np.repeat(np.maximum.reduceat(np.where(lengths >= top, speed, -np.inf), first), counts)
    return (lengths > top - NEGLIGIBLE - 5) | (speed > leading)


def _filled(q: ComplexArray, place: IntArray, kind: IntArray, shape: tuple[int, int, int]) -> FloatArray:
    """Add modes and their conjugates into the (b, n, d) middle of V M Z, V and Z in real block form.

    A pair contributes 2 Re(q v z) with v = v_r + i v_i, z = z_r + i z_i (derived here).
    """
    d = shape[2]
    total = int(np.prod(shape))
    twice = np.where(kind > 0, 2.0, 1.0)
    real, imag = twice * q.real, twice * q.imag
    A, H, both = kind == 1, kind == 2, kind >= 3
    sign = np.where(kind == 4, -1.0, 1.0)
    AB, HB = A | both, H | both
    where = [place, place[AB] + d, place[HB] + 1, place[both] + d + 1]
    what = [real, -imag[AB], -(sign * imag)[HB], -(sign * real)[both]]
    filled: Any = np.bincount(np.concatenate(where), np.concatenate(what), minlength=total)
    return np.asarray(filled.reshape(shape), dtype=np.float64)


def _mean(modes: Modes, layer: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The token mean, at eigenvalue 1 of A: mantissa (b, 1, d), exponent (b, 1, 1), noise (b,)."""
    start = modes.start
    if not modes.split.any_mean:
        return start.mean, start.e_mean, start.noise[:, 0, 4]
    c = modes.mean_coefficients
    size = np.linalg.norm(modes.left_H, axis=-1)
    hi, lo = modes.log2_hi[:, 0, :], modes.log2_lo[:, 0, :]
    length = np.where(c != 0, hi * layer + (lo * layer + np.log2(np.where(c != 0, np.abs(c), 1))), EMPTY)
    top = np.max(length, axis=-1, keepdims=True)
    e = np.where(top > EMPTY / 2, np.floor(top), EMPTY)
    amount = np.exp2(np.clip((hi * layer - e) + lo * layer, -1100.0, 1000.0)) * (top > EMPTY / 2)
    angle = modes.turn_hi[:, 0, :] * layer
    angle = 2 * np.pi * ((angle - np.rint(angle)) + modes.turn_lo[:, 0, :] * layer)
    q = np.where(length > top - NEGLIGIBLE, c * amount, 0) * (np.cos(angle) + 1j * np.sin(angle))
    halves = modes.tag_H
    row = np.where(halves == 0, q.real, np.where(halves == 1, 2 * q.real, 2 * q.imag))
    mean = row[:, None, :] @ modes.left_H
    square = (np.abs(q) * size) ** 2 * (modes.own_mean**2 + (layer * modes.drift[:, 0, :]) ** 2)
    relative = np.sqrt(np.sum(square, axis=-1))
    exponent = np.where(top > EMPTY / 2, e + start.e_mean[:, :, 0], EMPTY)
    noise = add_log2(modes.missed[:, 4] + layer * modes.missed_growth[:, 4], log2(relative) + exponent[:, 0])
    return mean, exponent[:, :, None], noise


def _product(V: FloatArray, M: FloatArray, Z: FloatArray) -> FloatArray:
    """V M Z of (b, n, d) middles with few rows that are not zero once most modes are negligible."""
    rows = np.any(M, axis=-1)
    count = int(np.max(np.sum(rows, axis=-1)))
    if 2 * count <= M.shape[-2]:
        kept = np.argsort(~rows, axis=-1, kind="stable")[:, : max(count, 1)]
        V = np.take_along_axis(V, kept[:, None, :], axis=-1)
        M = np.take_along_axis(M, kept[:, :, None], axis=-2)
    return V @ (M @ Z)


def _parts(
    modes: Modes, M: FloatArray, e: FloatArray, mean: FloatArray, e_mean: FloatArray, noise: FloatArray
) -> State:
    split, b = modes.split, M.shape[0]
    each = np.arange(b)
    row = np.array(M[each, modes.i])
    column = np.where(modes.j[:, None] >= 0, M[each, :, modes.j], 0)
    a = np.where(modes.j >= 0, row[each, modes.j], 0)[:, None, None]
    has = np.flatnonzero(modes.j >= 0)
    row[has, modes.j[has]] = 0
    column[each, modes.i] = 0
    M[each, modes.i] = 0
    M[has, :, modes.j[has]] = 0
    # the vectors already keep the parts apart (u R = 0, R w = 0, ...) to rounding
    R = _product(modes.right_A, M, modes.left_H)
    r = row[:, None, :] @ modes.left_H
    tall = modes.right_A @ column[:, :, None]

    def exponent(k: int) -> FloatArray:
        return e[:, k, None, None]

    state = State(
        split,
        a=a,
        r=r,
        b=tall,
        R=R,
        mean=mean,
        e_a=exponent(0),
        e_r=exponent(1),
        e_b=exponent(2),
        e_R=exponent(3),
        e_mean=e_mean,
        noise=noise[:, None, :],
    )
    return normalise(state)
