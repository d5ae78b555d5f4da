"""Tokens as unit vectors, and how far they are off one line: what all metrics of angles begin with.

Each row of X = 2**e (main alpha q + f S) is a vector along q and one across it, so its unit vector differs
from +-q by an amount that keeps its digits however small it is (*deviations*), while all lie near one line.
Where they do not, the rows as they stand are divided by their lengths (*units*).
"""

from __future__ import annotations

from dataclasses import dataclass

from .._namespace import Array, exponent_of, namespace, power_of_two
from .._state import EMPTY, State, log2, scaled
from ._arithmetic import rounding_of
from ._leading_pair import Leading

__all__ = ["Directions", "directions_of"]

_Pair = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions of the tokens of b systems, near a line and as they stand.

    Unit vector i is sign_i (q + 2**e_common deviations_i), where ``seen``; ``loose`` bounds the error of a
    row's deviation over that of the minors, ``off_q`` (b, n, 1) the relative error that is left in each.
    ``units`` are the rows over their lengths, zero where a row is not ``present``, each off by ``turned``.
    """

    q: Array  # (b, 1, d) float64
    deviations: Array  # (b, n, d)
    e_common: Array  # (b, 1, 1)
    loose: Array  # (b, n, 1)
    off_q: Array  # (b, n, 1)
    noise: Array  # (b, 1, 1): of the minors
    along: Array  # (b, n, 1): along q, before it is brought to a row's own scale
    noise_along: Array  # (b, 1, 1)
    A: Array  # (b, n, 1): along q, at the row's scale
    across: Array  # (b, n, 1): across it
    seen: Array  # (b, n, 1) bool
    units: Array  # (b, n, d)
    present: Array  # (b, n, 1) bool
    turned: Array  # (b, n, 1)


def directions_of(
    p: Leading, state: State, of_row: _Pair, of_rest: _Pair, of_full: _Pair, zero_rows: Array | None
) -> Directions:
    """Find the directions of the rows of a state, of which p is the leading pair."""
    rows = state.rows
    (row, e_row), (rest, e_rest), (full, e_full) = of_row, of_rest, of_full
    # the size of what was added up for each row of the tokens
    rounded = _row_lengths(state.split.v * row, e_row - e_full) + _row_lengths(rest, e_rest - e_full)
    xp = namespace(p.S)
    S, q = xp.astype(p.S, xp.float64, copy=False), xp.astype(p.q, xp.float64, copy=False)
    along = p.main * xp.astype(p.alpha, xp.float64, copy=False)
    across = xp.sqrt(xp.sum(S * S, axis=-1, keepdims=True))
    # each row has its own exponent k: row = 2**k (A q + F S_i), the larger term of size 1
    e_along, e_across = exponent_of(xp.abs(along)), exponent_of(across)
    e_along = xp.where(e_along == -xp.inf, EMPTY, e_along)
    e_across = xp.where(e_across == -xp.inf, EMPTY, e_across) + p.delta
    k = xp.maximum(e_along, e_across)
    seen = k > EMPTY / 2
    k = xp.where(seen, k, xp.zeros_like(k))
    A, F = along * power_of_two(-k), power_of_two(p.delta - k)
    height = xp.sqrt(A * A + (F * across) ** 2)
    height = xp.where(seen, height, xp.ones_like(height))

    # Deviations from +-q keep relative accuracy where rows are nearly parallel
    # to q: (|A| - height) is written without its cancellation.
    e_common = xp.max(xp.where(seen, p.delta - k, EMPTY), axis=-2, keepdims=True)
    e_common = xp.where(xp.any(seen, axis=-2, keepdims=True), e_common, p.delta)
    G = power_of_two(p.delta - k - e_common)
    fall = power_of_two(e_common) * (G * across) ** 2 / (xp.abs(A) + height)
    sign = xp.where(A < 0, -xp.ones_like(A), xp.ones_like(A))
    deviations = (sign * G * S - fall * q) / height
    off_q = xp.minimum((p.noise_main * power_of_two(-k) + F * p.noise) / height, 2 * xp.ones_like(height))

    # The rows as they are, each at its own scale: what is off by one row is off by that row only.
    x = xp.astype(full, xp.float64, copy=False)
    own = exponent_of(xp.max(xp.abs(x), axis=-1, keepdims=True))
    present = own > -xp.inf
    own = xp.where(present, own, xp.zeros_like(own))
    if zero_rows is not None:
        present = present & ~zero_rows
    x = scaled(x, -own)
    length = xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))
    length = xp.where(present, length, xp.ones_like(length))
    units = x / length
    noise_rows = _noise_of_rows(p, e_full) if rows is None else rows - e_full
    none = noise_rows <= EMPTY / 2
    turned = xp.where(none, xp.zeros_like(length), power_of_two(xp.clip(noise_rows - own, -1e3, 500.0)))
    turned = (turned + rounding_of(p.S) * rounded * power_of_two(-own)) / length
    lost = ~present & ~none  # zero because its terms cancelled
    if zero_rows is not None:
        lost = lost & ~zero_rows
    turned = xp.where(present, xp.minimum(turned, 2 * xp.ones_like(turned)), xp.zeros_like(turned))
    turned = xp.where(lost, 2 * xp.ones_like(turned), turned)
    units = units * xp.astype(present, xp.float64)
    return Directions(
        q, deviations, e_common, G / height, off_q, p.noise, along, p.noise_main, A, F * across, seen,
        units, present, turned,
    )  # fmt: skip


def _row_lengths(x: Array, exponent: Array) -> Array:
    """Length of each row of x 2**exponent, (b, n, 1) float64."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    return xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True)) * power_of_two(exponent)


def _noise_of_rows(p: Leading, e: Array) -> Array:
    """log2 of the error of every row at the scale 2**e, where only that of all is known, (b, n, 1)."""
    xp = namespace(p.S)
    whole = log2(p.noise_main + power_of_two(p.delta) * p.noise) + p.e - e
    return xp.broadcast_to(whole, (*p.S.shape[:-1], 1))
