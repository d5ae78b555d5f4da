"""Sums over the tokens of a state that metrics are made of, on arrays of any library.

:mod:`linsim._kernels.sums` has the same, compiled; what follows from them is worked out once, for both, in
``_similarity.py`` and ``_angle.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._namespace import Array, exponent_of, namespace, power_of_two
from .._state import EMPTY, combine, log2, norm, scaled
from ._arithmetic import rounding_of
from ._leading_pair import Leading

if TYPE_CHECKING:
    from ._view import View

__all__ = ["Angles", "Content", "angles_of", "content_of"]


@dataclass(frozen=True, eq=False)
class Content:
    """The mean over tokens and what is left of each, all (b, 1, 1), with exponents."""

    largest: Array  # the largest |entry| of the tokens
    high: Array  # Frobenius norm of the tokens without their mean
    e_high: Array
    low: Array  # that of the mean, once for each token
    e_low: Array
    farthest: Array  # the largest distance between two tokens
    e_farthest: Array


@dataclass(frozen=True, eq=False)
class Angles:
    """How far rows are off one line, and the rows as they stand, all (b, 1, 1)."""

    near: Array  # variance of the directions of rows around +-q, times 2**-e_near
    e_near: Array
    worst: Array  # root mean square of what the error of the minors does to a direction, as 2**(e_near / 2)
    off_q: Array  # mean of what all errors do to it
    mean_turn: Array  # mean, and mean square, of the angles by which rows may have turned
    square_turn: Array
    present: Array  # how many rows are not zero
    centre: Array  # length of the mean of their unit vectors
    scatter: Array  # sum of squared distances of these from it
    all_pairs: Array  # sum of |cosine| over ordered pairs
    above: Array  # bool: every row is longer along q than its error
    one_side: Array  # bool: all rows are there, known, and on one side
    aligned: Array  # bool: all rows are there, known, and at most 45 degrees off the line


def content_of(view: View) -> Content:
    """Take the mean over tokens off the state, and measure what it is and what is left."""
    state, row, rest, full = view.state, view.row, view.rest, view.full
    xp, split = namespace(state.R), state.split
    # With v = 1 the rest alone differs between tokens: nothing cancels.
    e_base = xp.where(split.constant, rest[1], full[1])
    base = xp.where(split.constant, rest[0], full[0])
    centred = base - xp.mean(base, axis=-2, keepdims=True)
    kept_mean = xp.where(
        split.preserves_mean, xp.zeros_like(rest[0][:, :1, :]), xp.mean(rest[0], axis=-2, keepdims=True)
    )
    e_kept = xp.where(split.preserves_mean, xp.full_like(rest[1], EMPTY), rest[1])
    low_constant, e_constant = combine(row[0], row[1], kept_mean, e_kept)
    low_any = xp.mean(full[0], axis=-2, keepdims=True)
    exact = split.preserves_mean & ~split.constant
    low_vector = xp.where(split.constant, low_constant, xp.where(exact, state.mean, low_any))
    e_low = xp.where(split.constant, e_constant, xp.where(exact, state.e_mean, full[1]))
    low = norm(low_vector) * float(np.sqrt(state.R.shape[-2]))
    farthest, e_farthest = _farthest(centred, e_base)
    largest = xp.max(xp.abs(full[0]), axis=(-1, -2), keepdims=True)
    return Content(largest, norm(centred), e_base, low, e_low, farthest, e_farthest)


def _farthest(centred: Array, exponent: Array) -> tuple[Array, Array]:
    """The largest distance between two tokens; ``centred`` 2**exponent are theirs from the mean."""
    xp = namespace(centred)
    # The centre lies inside the cloud, so no |x_i| exceeds the largest distance
    # and the cancellation in the Gram form is harmless.
    e = exponent_of(xp.max(xp.abs(centred), axis=(-1, -2), keepdims=True))
    e = xp.where(e == -xp.inf, xp.zeros_like(e), e)
    y = xp.astype(scaled(centred, -e), xp.float64, copy=False)
    gram = y @ xp.matrix_transpose(y)
    square = xp.sum(y * y, axis=-1, keepdims=True)
    distance = square + xp.matrix_transpose(square) - 2 * gram
    most = xp.max(distance, axis=(-1, -2), keepdims=True)
    return xp.sqrt(xp.maximum(most, xp.zeros_like(most))), exponent + e


def _row_lengths(x: Array, exponent: Array) -> Array:
    """Length of each row of x 2**exponent, (b, n, 1) float64."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    return xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True)) * power_of_two(exponent)


def angles_of(view: View) -> Angles:
    """Angles of rows, from their distance to one line and from the rows as they stand."""
    p, zero_rows, rows = view.leading, view.zero_rows, view.state.rows
    (row, e_row), (rest, e_rest), (full, e_full) = view.row, view.rest, view.full
    # the size of what was added up for each row of the tokens
    rounded = _row_lengths(view.state.split.v * row, e_row - e_full) + _row_lengths(rest, e_rest - e_full)
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
    near, e_near = _variance(deviations), 2 * e_common
    # (rounding spreads over rows, each of which enlarges its share by its own height)
    worst = xp.sqrt(xp.mean((G / height) ** 2, axis=-2, keepdims=True)) * p.noise
    off_q = xp.mean(
        xp.minimum((p.noise_main * power_of_two(-k) + F * p.noise) / height, 2 * xp.ones_like(height)),
        axis=-2,
        keepdims=True,
    )

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
    if p.S.shape[-1] == 1:  # no room for an angle, nor for its rounding, until a sign is lost
        turned = xp.where(turned < 1, xp.zeros_like(turned), turned)
    mean_turn = xp.mean(turned, axis=-2, keepdims=True)
    square_turn = xp.mean(turned * turned, axis=-2, keepdims=True)

    here = xp.astype(present, xp.float64)
    m = xp.sum(here, axis=-2, keepdims=True)
    units = units * here
    centre = xp.sum(units, axis=-2, keepdims=True) / xp.where(m > 0, m, xp.ones_like(m))
    scatter = xp.sum(((units - centre) * here) ** 2, axis=(-1, -2), keepdims=True)
    cosines = xp.abs(units @ xp.matrix_transpose(units))
    all_pairs = xp.sum(xp.triu(cosines, k=1), axis=(-1, -2), keepdims=True) * 2
    # a row that may be anywhere may also lie across, or on the other side; one that the dyad and the
    # minors do not hold any more can only be measured as it stands
    every = xp.all(present & seen & (turned < 0.5), axis=-2, keepdims=True)
    return Angles(
        near,
        e_near,
        worst,
        off_q,
        mean_turn,
        square_turn,
        m,
        xp.sqrt(xp.sum(centre * centre, axis=-1, keepdims=True)),
        scatter,
        all_pairs,
        xp.all(xp.abs(along) > 2 * p.noise_main, axis=-2, keepdims=True),
        every & (xp.all(A > 0, axis=-2, keepdims=True) | xp.all(A < 0, axis=-2, keepdims=True)),
        # every |t_i| <= 1 means that no aligned pair has a negative cosine
        every & xp.all(xp.abs(A) >= F * across, axis=-2, keepdims=True),
    )


def _noise_of_rows(p: Leading, e: Array) -> Array:
    """log2 of the error of every row at the scale 2**e, where only that of all is known, (b, n, 1)."""
    xp = namespace(p.S)
    whole = log2(p.noise_main + power_of_two(p.delta) * p.noise) + p.e - e
    return xp.broadcast_to(whole, (*p.S.shape[:-1], 1))


def _variance(x: Array) -> Array:
    """sum_i |x_i - mean|^2 / (n - 1)."""
    xp = namespace(x)
    centred = x - xp.mean(x, axis=-2, keepdims=True)
    return xp.sum(centred * centred, axis=(-1, -2), keepdims=True) / (x.shape[-2] - 1)
