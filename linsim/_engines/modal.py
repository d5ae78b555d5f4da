"""Any layer at once, from the modes of A and H.

    X_l = sum_ij rho_ij^l c_ij v_i z_j^T,   rho_ij = 1 + lambda_i mu_j,   c_ij = u_i X_0 w_j.

The modes fall into the invariant parts of ``linsim._state`` (the split's own
row i and column j of modes, and the rest), and every part is summed at its own
scale, so that gaps keep their digits as they do layer by layer.  rho^l needs
log2|rho| to 1e-20 at depth 1e9: eigenvalues come refined (``_refine``), logs in
extended precision, each cut so that the layer times its leading bits is exact.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._eigen import EPS, B, C, Eigensystem, F
from .._state import (
    EMPTY,
    PARTS,
    Split,
    State,
    add_log2,
    assemble,
    log2,
    norm,
    normalise,
    scaled,
    sizes,
)
from . import iterate
from ._refine import Basis, basis_of

__all__ = ["COMPARED", "DRIFT", "Modes", "Verdict", "compared", "prepare", "reliable", "sound", "states"]

I = np.ndarray[Any, np.dtype[np.int64]]  # noqa: E741

#: the largest layer whose product with the leading bits of a log is exact
DEEPEST = 2**30
# 23 bits: times a layer below 2^30 they fill a double
LEADING_BITS = 23
# modes this many powers of two below the largest of their part add nothing
NEGLIGIBLE = 70.0
# where the closed form is compared with iteration: later collapse hides errors
COMPARED = (1, 5, 20)
# beyond this a mode has no digits left
LARGEST_CONDITION = 1e9
#: error of ln rho, times the depth, beyond which the closed form is not believed
DRIFT = 1e-7
#: by how much root mean squares are enlarged, so that 99.9 % of errors are below
SAFETY = 1.0
#: shadows of a state
COUNT = 3
# log2: noise beyond this many times its part hides it, however much it may be
HIDDEN = 400.0
# log2: a coefficient this far below its error is not there, as far as errors go
LOST = 10.0
# of a sum of k products of either sign sqrt(k) eps times this is lost (linsim._shadow)
_SUM = 0.2
# what a power rounds, relative to itself, for each unit of its log2
_POWER = 0.3 * EPS
# log2: noise this far above iteration's, and at this distance below the part, hides something
CLOSE, BLUR = 8.0, 28.0


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes of b systems, cut into parts; arrays are plain NumPy with leading axis b.

    ``start``: the state at layer 0, whose parts the coefficients refer to.
    ``log2_hi``, ``log2_lo`` (b, n, d): log2|rho|, EMPTY where rho = 0; ``turn_hi``,
    ``turn_lo``: arg(rho) / 2 pi.  hi has 23 bits.  ``coefficients`` (b, n, d)
    complex: c_ij 2**-scale with the ``scale`` (b, n, d) of its part (an integer);
    ``mean_coefficients`` (b, d): those of the token mean, at exponent ``start.e_mean``.
    ``right_A`` (b, n, n), ``left_H`` (b, d, d): vectors in real block form, in the
    columns and in the rows; ``tag_A`` (b, n), ``tag_H`` (b, d) int8: 0 real, 1 and
    2 halves of a pair.  ``i``, ``j`` (b,): the split's own row and column of modes,
    -1 for none.  ``size`` (b, n, d): log2 of |v_i| |z_j|.  ``drift`` (b, n, d): error
    of ln rho, so that l times it is the relative error of rho^l; ``rounding`` (b,):
    relative error of an assembled part.  ``growth`` (b, 5): log2 of the largest
    |rho| each of PARTS can hold; ``floor`` (b, 5): log2 of the absolute error
    that the parts' coefficients start with.  Mode by mode the same is known more
    closely: ``own`` (b, n, d) is the relative error of what a mode adds at layer 0,
    that of its coefficient and of its vectors, ``own_mean`` (b, d) that of the token
    mean's; ``missed`` and ``missed_growth`` (b, 5): floor and growth of the modes
    alone whose coefficients are lost in their errors.  ``shadows`` (b, COUNT, n, d)
    complex: coefficients of what the noise of the start may be.  ``spread`` (b, n, n): the share
    of row k in the square of vector i, at the first halves of pairs.  ``sound`` (b,):
    there is a basis at all; ``condition`` (b,): the worst |u_i| |v_i| times the worst
    |w_j| |z_j|.
    """

    start: State
    log2_hi: F
    log2_lo: F
    turn_hi: F
    turn_lo: F
    coefficients: C
    scale: F
    mean_coefficients: C
    right_A: F
    left_H: F
    tag_A: np.ndarray[Any, Any]
    tag_H: np.ndarray[Any, Any]
    i: I
    j: I
    size: F
    drift: F
    rounding: F
    growth: F
    floor: F
    own: F
    own_mean: F
    missed: F
    missed_growth: F
    shadows: C
    spread: F
    sound: B
    condition: F

    @property
    def split(self) -> Split:
        """The vectors that cut the states."""
        return self.start.split


def prepare(
    A: F, H: F, start: State, attention: Eigensystem, weights: Eigensystem, shadowed: bool = True
) -> Modes:
    """Find the modes of (b, n, d) systems from the parts of their first state.

    ``A``, ``H`` and their eigensystems have leading axis b or 1; ``start.split``
    comes from ``choose_split``.  Without shadows the error of a part is that of its modes
    at the pace of the fastest: less work, and more than it needs to be.
    """
    split = _whole(start.split, start.R.shape[0])
    start = replace(start, split=split)
    b, n, d = start.R.shape
    i = np.where(split.constant[:, 0, 0], 0, _nearest(attention.values, split.lam[:, 0, 0]))
    has_z = np.any(split.z != 0, axis=(-1, -2))
    j = np.where(has_z, _nearest(weights.values, split.mu[:, 0, 0]), -1)
    whole = np.broadcast_to(sound(attention) & sound(weights), b)
    normalised = ~split.preserves_mean[:, 0, 0]
    rows = basis_of(A, attention, i, split.v[:, :, 0], split.u[:, 0, :], whole, normalised, shadowed)
    rows = _constant_exact(rows)
    columns = basis_of(H, weights, j, split.w[:, :, 0], split.z[:, 0, :], whole, None, shadowed)
    log2_hi, log2_lo, turn_hi, turn_lo, drift = _logs(rows, columns)

    own_row = (np.arange(n) == i[:, None])[:, :, None]
    own_column = (np.arange(d) == j[:, None])[:, None, :]
    coefficients, mean_coefficients = _coefficients(start, rows, columns, own_row, own_column)
    coefficients[~whole] = 0
    scale = np.where(
        own_row,
        np.where(own_column, start.e_a, start.e_r),
        np.where(own_column, start.e_b, start.e_R),
    )
    size = np.log2(
        np.linalg.norm(rows.right, axis=-2)[:, :, None] * np.linalg.norm(columns.left, axis=-1)[:, None, :]
    )
    sets = _sets(own_row, own_column, n)
    speed = log2_hi + log2_lo
    wrong = _coefficient_errors(start, rows, columns, coefficients, scale, own_row, own_column)
    floor, _ = _floors(wrong, size, speed, sets[:4])
    floor = [add_log2(x, start.noise[:, 0, k]) for k, x in enumerate(floor)]
    growth = [np.max(np.where(held, speed, -60.0), axis=(-1, -2)) for held in sets[:4]]
    if shadowed:
        relative, lost = _relative(wrong, coefficients, scale)
        missed, missed_growth = _floors(np.where(lost, wrong, EMPTY), size, speed, sets[:4])
    else:
        relative, missed, missed_growth = np.zeros((1, 1, 1)), floor[:], growth[:]
    # the token mean moves with the modes of H at eigenvalue 1 of A, whatever the parts
    thin = size[:, :1, :] - np.log2(np.linalg.norm(rows.right, axis=-2)[:, :1, None])
    wrong_mean = _row_errors(start.mean, start.noise[:, :, 4:5], start.e_mean, columns)
    relative_mean, lost_mean = _relative(wrong_mean, mean_coefficients[:, None, :], start.e_mean)
    every = [np.ones_like(wrong_mean, dtype=bool)]
    for held, found in (
        (wrong_mean, (floor, growth)),
        (np.where(lost_mean, wrong_mean, EMPTY), (missed, missed_growth)),
    ):
        for total, more in zip(found, _floors(held, thin, speed[:, :1, :], every), strict=True):
            total.extend(more)
    shadows = np.zeros((b, 0, n, d), dtype=np.complex128)
    if shadowed:
        shadows, shadow_scale = _shadows(start, rows, columns, own_row, own_column)
        # of a part that is exactly zero there is nothing but shadows
        scale = np.where(scale > EMPTY / 2, scale, shadow_scale)
        shadows = shadows * np.exp2(np.clip(shadow_scale - scale, -1000.0, 300.0))[:, None]
        shadows[~whole] = 0
    worst = np.max(rows.condition, axis=-1) * np.max(columns.condition, axis=-1)
    by_vector = _vector_errors(rows, columns)
    unit = _unit(n, d)
    own = np.hypot(np.hypot(relative, by_vector), unit)
    return Modes(
        start=start,
        log2_hi=log2_hi,
        log2_lo=log2_lo,
        turn_hi=turn_hi,
        turn_lo=turn_lo,
        coefficients=coefficients,
        scale=scale,
        mean_coefficients=mean_coefficients,
        right_A=np.ascontiguousarray(rows.block_right),
        left_H=np.ascontiguousarray(columns.block_left),
        tag_A=rows.tag,
        tag_H=columns.tag,
        i=i,
        j=j,
        size=size,
        drift=drift,
        rounding=SAFETY * np.hypot(np.max(by_vector, axis=(-1, -2)), 2 * unit),
        growth=np.stack(growth, axis=-1),
        floor=np.stack(floor, axis=-1),
        own=SAFETY * own,
        own_mean=SAFETY * np.hypot(np.hypot(relative_mean, by_vector[:, :1, :]), unit)[:, 0, :],
        missed=np.stack(missed, axis=-1),
        missed_growth=np.stack(missed_growth, axis=-1),
        shadows=shadows,
        spread=_spread(rows),
        sound=np.array(whole),
        condition=worst,
    )


def _unit(n: int, d: int) -> float:
    """What summing n d terms and the power of a mode round, relative to a term."""
    return EPS * (0.5 + _SUM * (np.sqrt(n) + np.sqrt(d)))


def _vector_errors(rows: Basis, columns: Basis) -> F:
    """Relative error of v_i z_j by what is left of other vectors in either, (b, n, d)."""

    def length(x: Any) -> F:
        return np.asarray(np.sum(np.abs(x) ** 2, axis=-1))

    right, left = length(np.swapaxes(rows.right, -1, -2)), length(columns.left)
    v = np.sum(rows.share**2 * right[:, :, None], axis=-2) / right
    v[:, 0] = 0  # equal entries, exactly
    z = np.sum(columns.share**2 * left[:, None, :], axis=-1) / left
    return np.asarray(np.sqrt(v[:, :, None] + z[:, None, :]))


def _spread(rows: Basis) -> F:
    """Share of each row in the square of each vector, (b, n, n); nothing for second halves."""
    square = rows.block_right**2
    after = np.concatenate([square[:, :, 1:], 0 * square[:, :, :1]], axis=-1)
    tag = rows.tag[:, None, :]
    square = np.where(tag == 2, 0, square + np.where(tag == 1, after, 0))
    total = np.sum(square, axis=-2, keepdims=True)
    return np.asarray(square / np.where(total > 0, total, 1))


def sound(system: Eigensystem) -> B:
    """Whether there is a basis that holds any digits, (b,)."""
    return system.diagonalizable & (np.max(system.condition, axis=-1) < LARGEST_CONDITION)


def _whole(split: Split, b: int) -> Split:
    return split.map(lambda x: np.broadcast_to(x, (b, *x.shape[1:])))


def _nearest(values: C, wanted: F) -> I:
    return np.argmin(np.abs(values - wanted[:, None]), axis=-1)


def _constant_exact(rows: Basis) -> Basis:
    """Eigenvalue 1 with nothing to correct, and the vector of equal entries, exactly."""
    low, error = np.array(rows.low), np.array(rows.error)
    low[:, 0], error[:, 0] = 0, 0
    right, block = np.array(rows.right), np.array(rows.block_right)
    for x in (right, block):
        x[:, :, 0] = x[:, :1, 0]
    return replace(rows, low=low, error=error, right=right, block_right=block)


def _logs(rows: Basis, columns: Basis) -> tuple[F, F, F, F, F]:
    """log2|rho| and arg(rho) / 2 pi, each as leading and trailing bits, and the error of ln rho."""
    real = np.longdouble
    eps = float(np.finfo(real).eps)
    lam, mu = rows.values[:, :, None], columns.values[:, None, :]
    p = _sum(rows.values.real, rows.low.real)[:, :, None]
    q = _sum(columns.values.real, columns.low.real)[:, None, :]
    x = p * q
    turn = np.zeros(x.shape, dtype=real)
    complex_any = bool(np.any(rows.tag) or np.any(columns.tag))
    if complex_any:
        p_i = _sum(rows.values.imag, rows.low.imag)[:, :, None]
        q_i = _sum(columns.values.imag, columns.low.imag)[:, None, :]
        x = 1 + (x - p_i * q_i)
        y = p * q_i + p_i * q
        modulus = np.abs(x)
        where = y != 0
        xs, ys = x[where], y[where]
        modulus[where] = np.hypot(xs, ys)
        turn[where] = np.arctan2(ys, xs) / (2 * np.arctan2(real(0), real(-1)))
        turn[~where] = np.where(x[~where] < 0, real(0.5), real(0))
    else:
        x = 1 + x
        modulus = np.abs(x)
        turn[x < 0] = 0.5
    error = (
        np.abs(mu) * rows.error[:, :, None]
        + np.abs(lam) * columns.error[:, None, :]
        + 4 * eps * (1 + np.abs(lam) * np.abs(mu))
    )
    zero = modulus <= 0
    logs = np.log2(np.where(zero, real(1), modulus))
    size = np.where(zero, 1.0, modulus.astype(np.float64))
    drift = np.minimum(error / size, 1e3) + 2 * eps * (1 + np.abs(logs.astype(np.float64)))
    hi, lo = _cut(logs)
    turn_hi, turn_lo = _cut(turn)
    return np.where(zero, EMPTY, hi), np.where(zero, 0.0, lo), turn_hi, turn_lo, drift


def _sum(high: F, low: F) -> np.ndarray[Any, Any]:
    return high.astype(np.longdouble) + low


def _cut(x: np.ndarray[Any, Any]) -> tuple[F, F]:
    mantissa, exponent = np.frexp(x.astype(np.float64))
    hi = np.ldexp(np.rint(mantissa * 2.0**LEADING_BITS), exponent - LEADING_BITS)
    return hi, (x - hi).astype(np.float64)


def _sets(own_row: B, own_column: B, n: int) -> tuple[B, ...]:
    """Which modes each of PARTS holds."""
    constant = (np.arange(n) == 0)[None, :, None]
    return (
        own_row & own_column,
        own_row & ~own_column,
        ~own_row & own_column,
        ~own_row & ~own_column,
        constant | (own_column & False),
    )


def _coefficients(start: State, rows: Basis, columns: Basis, own_row: B, own_column: B) -> tuple[C, C]:
    """c_ij of every part at the part's own exponent, and those of the token mean."""
    right = columns.right
    U = rows.left
    inner = U @ start.R @ right
    row = start.r @ right
    column = U @ start.b
    c = np.where(own_row, np.where(own_column, start.a, row), np.where(own_column, column, inner))
    return c.astype(np.complex128), (start.mean @ right)[:, 0, :].astype(np.complex128)


def _squares(part: F) -> F:
    """Squared errors of the entries of a part (b, p, q) by sums over it."""
    return np.asarray((_unit(*part.shape[1:]) * part) ** 2)


def _noisy(part: F, noise: F) -> tuple[F, F]:
    """Entries as far off as the noise of a part (b, p, q) says, (b, COUNT, p, q), and their exponent.

    Noise lies mostly where the part is large, as in :mod:`linsim._shadow`.
    """
    p, q = part.shape[1:]
    there = noise > EMPTY / 2
    scale = np.where(there, np.floor(noise), EMPTY)
    square = part**2
    total = np.sum(square, axis=(-1, -2), keepdims=True)
    share = np.where(total > 0, 0.6 * square / np.where(total > 0, total, 1) + 0.4 / (p * q), 1 / (p * q))
    size = np.where(there, np.exp2(np.where(there, noise - scale, 0)), 0) * np.sqrt(share)
    pattern = np.random.default_rng([p, q]).standard_normal((COUNT, p, q))
    return size[:, None] * pattern, scale


def _shadows(start: State, rows: Basis, columns: Basis, own_row: B, own_column: B) -> tuple[C, F]:
    """Coefficients of errors that the state may start with, (b, COUNT, n, d), and their exponents (b, n, d).

    Moved on by the same modes they tell what has become of the noise of the cut: unlike those of
    coefficients, its errors in a basis that is far from orthogonal belong together.
    """
    U, W = rows.left[:, None], columns.right[:, None]
    noise = [start.noise[:, :, k : k + 1] for k in range(4)]
    (a, e_a), (r, e_r), (b, e_b), (R, e_R) = (
        _noisy(getattr(start, name), level) for name, level in zip(PARTS[:4], noise, strict=True)
    )
    r, b = r @ W, U @ b
    row, column = own_row[:, None], own_column[:, None]
    c = np.where(row, np.where(column, a, r), np.where(column, b, U @ R @ W))
    return c.astype(np.complex128), np.where(
        own_row, np.where(own_column, e_a, e_r), np.where(own_column, e_b, e_R)
    )


def _row_errors(part: F, noise: F, e: F, columns: Basis) -> F:
    """log2 of the errors of coefficients of a row along the features, (b, 1, d)."""
    W = np.abs(columns.right) ** 2
    even = np.sum(W, axis=-2, keepdims=True) / W.shape[-1]
    return np.asarray(add_log2(0.5 * log2(_squares(part) @ W) + e, 0.5 * log2(even) + noise))


def _coefficient_errors(
    start: State, rows: Basis, columns: Basis, coefficients: C, scale: F, own_row: B, own_column: B
) -> F:
    """log2 of the absolute error of c_ij, (b, n, d).

    What the products round, a random walk, and what leaks between coefficients of one part
    through imperfect vectors.
    """
    U, W = np.abs(rows.left) ** 2, np.abs(columns.right) ** 2
    a, r, b, R = (_squares(getattr(start, name)) for name in PARTS[:4])
    square = np.abs(coefficients) ** 2
    by_rows, by_columns = rows.leak**2, np.swapaxes(columns.leak, -1, -2) ** 2
    inner = np.where(own_row | own_column, 0, square)
    inner = U @ R @ W + by_rows @ inner + inner @ by_columns
    row = r @ W + np.sum(np.where(own_row & ~own_column, square, 0), axis=-2, keepdims=True) @ by_columns
    column = U @ b + by_rows @ np.sum(np.where(own_column & ~own_row, square, 0), axis=-1, keepdims=True)
    wrong = np.where(own_row, np.where(own_column, a, row), np.where(own_column, column, inner))
    return np.asarray(0.5 * log2(wrong) + scale)


def _relative(wrong: F, coefficients: C, scale: F) -> tuple[F, B]:
    """Relative errors of coefficients, 0 of those that are lost in their error, and which are.

    ``wrong``: log2 of the errors; the coefficients are at the exponent ``scale``.
    """
    excess = np.where(wrong > EMPTY / 2, wrong - scale, EMPTY) - log2(np.abs(coefficients))
    lost = (wrong > EMPTY / 2) & ((coefficients == 0) | (excess > LOST))
    return np.where(lost, 0, np.exp2(np.clip(excess, -200.0, LOST))), lost


def _floors(wrong: F, size: F, speed: F, sets: Sequence[B]) -> tuple[list[F], list[F]]:
    """log2 of the error that the modes of each set start with, and of their fastest growth."""
    floors, growths = [], []
    for held in sets:
        there = held & (wrong > EMPTY / 2)
        length = np.where(there, wrong + size, EMPTY)
        top = np.max(length, axis=(-1, -2), keepdims=True)
        total = np.sum(np.where(there, np.exp2(2 * np.maximum(length - top, -500.0)), 0), axis=(-1, -2))
        floors.append(log2(SAFETY * np.sqrt(total)) + np.maximum(top[:, 0, 0], EMPTY))
        growths.append(np.maximum(np.max(np.where(there, speed, -60.0), axis=(-1, -2)), -60.0))
    return floors, growths


# --- states ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Active:
    """One representative of every conjugate pair of modes that still counts, sorted by part.

    ``group`` (k,): 4 * system + part; ``first`` (g,): where each group begins,
    ``present`` (g,): its number.
    """

    hi: F
    lo: F
    turn_hi: F
    turn_lo: F
    c: C
    log2_c: F
    log2_shadow: F
    scale: F
    size: F
    drift: F
    own: F
    shadows: C
    group: I
    place: I
    kind: I

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


def _mean_square(lengths: list[F]) -> F:
    """log2 of the root mean square of shadows, of the log2 of their lengths."""
    every = np.maximum(np.stack(lengths), EMPTY)
    top = np.max(every, axis=0)
    square = np.mean(np.exp2(2 * np.maximum(every - top, -500.0)), axis=0)
    return np.asarray(np.where(top > EMPTY / 2, top + 0.5 * np.log2(square), EMPTY))


def _nowhere(modes: Modes) -> tuple[F, F]:
    """Squared errors of vectors, and exponents, where there are none."""
    b, n = modes.tag_A.shape
    return np.zeros((2, b, n)), np.zeros((b, 4))


def _rows(modes: Modes, noise: F, by_vector: F, e: F) -> F:
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


def _counting(active: _Active, lengths: F, first: I, layer: int) -> Any:
    """Which modes matter now or may later: not far below a mode that grows as fast."""
    counts = np.diff(first, append=active.group.size)
    top = np.repeat(np.maximum.reduceat(lengths, first), counts)
    speed = active.hi + active.lo
    leading = np.repeat(np.maximum.reduceat(np.where(lengths >= top, speed, -np.inf), first), counts)
    return (lengths > top - NEGLIGIBLE - 5) | (speed > leading)


def _filled(q: C, place: I, kind: I, shape: tuple[int, int, int]) -> F:
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


def _mean(modes: Modes, layer: int) -> tuple[F, F, F]:
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


def _product(V: F, M: F, Z: F) -> F:
    """V M Z of (b, n, d) middles with few rows that are not zero once most modes are negligible."""
    rows = np.any(M, axis=-1)
    count = int(np.max(np.sum(rows, axis=-1)))
    if 2 * count <= M.shape[-2]:
        kept = np.argsort(~rows, axis=-1, kind="stable")[:, : max(count, 1)]
        V = np.take_along_axis(V, kept[:, None, :], axis=-1)
        M = np.take_along_axis(M, kept[:, :, None], axis=-2)
    return V @ (M @ Z)


def _parts(modes: Modes, M: F, e: F, mean: F, e_mean: F, noise: F) -> State:
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

    def exponent(k: int) -> F:
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


# --- whether to believe it ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether the closed form holds for each of b systems, why not ("" if it does), and its relative error.

    ``error`` (b,) at the deepest layer, of the parts relative to themselves.
    """

    ok: B
    reason: np.ndarray[Any, Any]
    error: F


def reliable(modes: Modes, A: F, H: F, depth: int, tolerance: float = 1e-10) -> Verdict:
    """Decide for each system whether its modes describe it to ``tolerance``.

    The condition of the eigenvectors is no guide (it predicts 1e-6 where 1e-12
    is found, and 1 where all is lost), so the parts are compared with iteration
    at the first layers, where nothing has collapsed yet.
    """
    found, blurred = compared(modes.start, functools.partial(states, modes, COMPARED), A, H, tolerance)
    drift = depth * _leading_drift(modes)
    error = found + drift
    reason = np.full(found.shape, "", dtype="U80")
    reason[drift > DRIFT] = "an eigenvalue is not known well enough for this depth"
    reason[blurred] = "ill-conditioned eigenvectors hide what iteration resolves"
    reason[~(found <= tolerance)] = "the eigenvectors do not reproduce the first layers"
    reason[~modes.sound] = "A or H is defective to rounding"
    return Verdict(reason == "", reason, error)


def _leading_drift(modes: Modes) -> F:
    """Error of ln rho of the fastest mode of every part, the worst of the parts, (b,)."""
    speed = modes.log2_hi + modes.log2_lo
    n, d = speed.shape[1:]
    own_row = (np.arange(n) == modes.i[:, None])[:, :, None]
    own_column = (np.arange(d) == modes.j[:, None])[:, None, :]
    worst = np.zeros(speed.shape[0])
    for held in _sets(own_row, own_column, n)[:4]:
        held = held & (modes.coefficients != 0)
        top = np.max(np.where(held, speed, -np.inf), axis=(-1, -2), keepdims=True)
        leads = held & (speed >= top - 1e-6)
        worst = np.maximum(worst, np.max(np.where(leads, modes.drift, 0), axis=(-1, -2)))
    return worst


def compared(start: State, found: Callable[[], Iterator[State]], A: F, H: F, tolerance: float) -> tuple[F, B]:
    """Compare with iteration at COMPARED: largest error of a part relative to its size, (b,).

    What a part's noise leaves open is not held against it; the second result
    says where that noise is far above iteration's, and hides something.  How large iteration's is
    costs as much as iterating, and is asked only where a system does not pass without.
    """
    worst, blurred = _compared(start, found(), A, H, False)
    if np.all((worst <= tolerance) & ~blurred):
        return worst, blurred
    return _compared(start, found(), A, H, True)


def _compared(start: State, found: Iterator[State], A: F, H: F, shadowed: bool) -> tuple[F, B]:
    growth = float(np.log2(1 + np.max(np.sum(np.abs(H), axis=-2)) * np.max(np.sum(np.abs(A), axis=-1))))
    truth = iterate.states(start, lambda _: [(A, H)], COMPARED, growth, 400.0, shadowed)
    worst = np.zeros(start.R.shape[0])
    blurred = np.zeros(start.R.shape[0], dtype=bool)
    for mine, true in zip(found, truth, strict=True):
        if not shadowed:
            true = replace(true, noise=np.full_like(true.noise, EMPTY))
        length = np.maximum(sizes(mine), sizes(true))[:, 0, :]
        allowed = np.minimum(true.noise, mine.noise)[:, 0, :]
        for k, name in enumerate(PARTS[:4]):
            e = length[:, k, None, None]
            above = mine.noise[:, 0, k] - np.maximum(true.noise[:, 0, k], length[:, k] - BLUR)
            blurred |= (above > CLOSE) & (length[:, k] > np.maximum(true.noise[:, 0, k], EMPTY / 2))
            seen = (length[:, k] > EMPTY / 2) & (length[:, k] > allowed[:, k])
            e = np.floor(np.where(seen[:, None, None], e, 0.0))

            def at(state: State, name: str = name, e: F = e) -> F:
                return scaled(getattr(state, name), np.minimum(getattr(state, f"e_{name}") - e, 900.0))

            with np.errstate(over="ignore", invalid="ignore"):  # inf, or NaN: not reproduced
                off = norm(at(mine) - at(true))[:, 0, 0]
            off = off - np.exp2(np.clip(allowed[:, k] - e[:, 0, 0], -1000, 10))
            worst = np.maximum(
                worst, np.where(seen, np.where(off > 0, off, np.where(off <= 0, 0, np.inf)), 0)
            )
    return worst, blurred
