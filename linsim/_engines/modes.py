"""The modes of A and H, which lead to any layer at once (:mod:`.mode_states`).

    X_l = sum_ij rho_ij^l c_ij v_i z_j^T,   rho_ij = 1 + lambda_i mu_j,   c_ij = u_i X_0 w_j.

The modes fall into the invariant parts of ``linsim._state`` (the split's own
row i and column j of modes, and the rest), and every part is summed at its own
scale, so that gaps keep their digits as they do layer by layer.  rho^l needs
log2|rho| to 1e-20 at depth 1e9: eigenvalues come refined (``refine``), logs in
extended precision, each cut so that the layer times its leading bits is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._eigen import Eigensystem
from .._state import EMPTY, PARTS, Split, State, add_log2, log2
from .._types import EPS, BoolArray, ComplexArray, FloatArray, IntArray
from .refine import Basis, basis_of

__all__ = ["DEEPEST", "Modes", "parts_of_modes", "prepare", "sound"]


#: the largest layer whose product with the leading bits of a log is exact
DEEPEST = 2**30
# 23 bits: times a layer below 2^30 they fill a double
LEADING_BITS = 23
# beyond this a mode has no digits left
LARGEST_CONDITION = 1e9
#: by how much root mean squares are enlarged, so that 99.9 % of errors are below
SAFETY = 1.0
#: shadows of a state
COUNT = 3
# log2: a coefficient this far below its error is not there, as far as errors go
LOST = 10.0
# of a sum of k products of either sign sqrt(k) eps times this is lost (linsim._shadow)
_SUM = 0.2


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
    log2_hi: FloatArray
    log2_lo: FloatArray
    turn_hi: FloatArray
    turn_lo: FloatArray
    coefficients: ComplexArray
    scale: FloatArray
    mean_coefficients: ComplexArray
    right_A: FloatArray
    left_H: FloatArray
    tag_A: np.ndarray[Any, Any]
    tag_H: np.ndarray[Any, Any]
    i: IntArray
    j: IntArray
    size: FloatArray
    drift: FloatArray
    rounding: FloatArray
    growth: FloatArray
    floor: FloatArray
    own: FloatArray
    own_mean: FloatArray
    missed: FloatArray
    missed_growth: FloatArray
    shadows: ComplexArray
    spread: FloatArray
    sound: BoolArray
    condition: FloatArray

    @property
    def split(self) -> Split:
        """The vectors that cut the states."""
        return self.start.split


def prepare(
    A: FloatArray,
    H: FloatArray,
    start: State,
    attention: Eigensystem,
    weights: Eigensystem,
    shadowed: bool = True,
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
    sets = parts_of_modes(own_row, own_column, n)
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


def _vector_errors(rows: Basis, columns: Basis) -> FloatArray:
    """Relative error of v_i z_j by what is left of other vectors in either, (b, n, d)."""

    def length(x: Any) -> FloatArray:
        return np.asarray(np.sum(np.abs(x) ** 2, axis=-1))

    right, left = length(np.swapaxes(rows.right, -1, -2)), length(columns.left)
    v = np.sum(rows.share**2 * right[:, :, None], axis=-2) / right
    v[:, 0] = 0  # equal entries, exactly
    z = np.sum(columns.share**2 * left[:, None, :], axis=-1) / left
    return np.asarray(np.sqrt(v[:, :, None] + z[:, None, :]))


def _spread(rows: Basis) -> FloatArray:
    """Share of each row in the square of each vector, (b, n, n); nothing for second halves."""
    square = rows.block_right**2
    after = np.concatenate([square[:, :, 1:], 0 * square[:, :, :1]], axis=-1)
    tag = rows.tag[:, None, :]
    square = np.where(tag == 2, 0, square + np.where(tag == 1, after, 0))
    total = np.sum(square, axis=-2, keepdims=True)
    return np.asarray(square / np.where(total > 0, total, 1))


def sound(system: Eigensystem) -> BoolArray:
    """Whether there is a basis that holds any digits, (b,)."""
    return system.diagonalizable & (np.max(system.condition, axis=-1) < LARGEST_CONDITION)


def _whole(split: Split, b: int) -> Split:
    return split.map(lambda x: np.broadcast_to(x, (b, *x.shape[1:])))


def _nearest(values: ComplexArray, wanted: FloatArray) -> IntArray:
    return np.argmin(np.abs(values - wanted[:, None]), axis=-1)


def _constant_exact(rows: Basis) -> Basis:
    """Eigenvalue 1 with nothing to correct, and the vector of equal entries, exactly."""
    low, error = np.array(rows.low), np.array(rows.error)
    low[:, 0], error[:, 0] = 0, 0
    right, block = np.array(rows.right), np.array(rows.block_right)
    for x in (right, block):
        x[:, :, 0] = x[:, :1, 0]
    return replace(rows, low=low, error=error, right=right, block_right=block)


def _logs(rows: Basis, columns: Basis) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
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


def _sum(high: FloatArray, low: FloatArray) -> np.ndarray[Any, Any]:
    return high.astype(np.longdouble) + low


def _cut(x: np.ndarray[Any, Any]) -> tuple[FloatArray, FloatArray]:
    mantissa, exponent = np.frexp(x.astype(np.float64))
    hi = np.ldexp(np.rint(mantissa * 2.0**LEADING_BITS), exponent - LEADING_BITS)
    return hi, (x - hi).astype(np.float64)


def parts_of_modes(own_row: BoolArray, own_column: BoolArray, n: int) -> tuple[BoolArray, ...]:
    """Which modes each of PARTS holds."""
    constant = (np.arange(n) == 0)[None, :, None]
    return (
        own_row & own_column,
        own_row & ~own_column,
        ~own_row & own_column,
        ~own_row & ~own_column,
        constant | (own_column & False),
    )


def _coefficients(
    start: State, rows: Basis, columns: Basis, own_row: BoolArray, own_column: BoolArray
) -> tuple[ComplexArray, ComplexArray]:
    """c_ij of every part at the part's own exponent, and those of the token mean."""
    right = columns.right
    U = rows.left
    inner = U @ start.R @ right
    row = start.r @ right
    column = U @ start.b
    c = np.where(own_row, np.where(own_column, start.a, row), np.where(own_column, column, inner))
    return c.astype(np.complex128), (start.mean @ right)[:, 0, :].astype(np.complex128)


def _squares(part: FloatArray) -> FloatArray:
    """Squared errors of the entries of a part (b, p, q) by sums over it."""
    return np.asarray((_unit(*part.shape[1:]) * part) ** 2)


def _noisy(part: FloatArray, noise: FloatArray) -> tuple[FloatArray, FloatArray]:
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


def _shadows(
    start: State, rows: Basis, columns: Basis, own_row: BoolArray, own_column: BoolArray
) -> tuple[ComplexArray, FloatArray]:
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


def _row_errors(part: FloatArray, noise: FloatArray, e: FloatArray, columns: Basis) -> FloatArray:
    """log2 of the errors of coefficients of a row along the features, (b, 1, d)."""
    W = np.abs(columns.right) ** 2
    even = np.sum(W, axis=-2, keepdims=True) / W.shape[-1]
    return np.asarray(add_log2(0.5 * log2(_squares(part) @ W) + e, 0.5 * log2(even) + noise))


def _coefficient_errors(
    start: State,
    rows: Basis,
    columns: Basis,
    coefficients: ComplexArray,
    scale: FloatArray,
    own_row: BoolArray,
    own_column: BoolArray,
) -> FloatArray:
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


def _relative(
    wrong: FloatArray, coefficients: ComplexArray, scale: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Relative errors of coefficients, 0 of those that are lost in their error, and which are.

    ``wrong``: log2 of the errors; the coefficients are at the exponent ``scale``.
    """
    excess = np.where(wrong > EMPTY / 2, wrong - scale, EMPTY) - log2(np.abs(coefficients))
    lost = (wrong > EMPTY / 2) & ((coefficients == 0) | (excess > LOST))
    return np.where(lost, 0, np.exp2(np.clip(excess, -200.0, LOST))), lost


def _floors(
    wrong: FloatArray, size: FloatArray, speed: FloatArray, sets: Sequence[BoolArray]
) -> tuple[list[FloatArray], list[FloatArray]]:
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
