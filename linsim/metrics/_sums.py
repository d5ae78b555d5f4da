"""Sums over the tokens of a state that metrics are made of, on arrays of any library.

:mod:`linsim._kernels.sums` has the same, compiled, for tokens that all count alike; what follows from them
is worked out once, for both, in ``_similarity.py`` and ``_angle.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._namespace import Array, exponent_of, namespace
from .._state import EMPTY, combine, norm, scaled

if TYPE_CHECKING:
    from ._view import View

__all__ = ["Angles", "Content", "Pairs", "angles_of", "content_of", "pairs_of"]


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
class Pairs:
    """How often tokens and pairs of different tokens count, each a number or (b, 1, 1)."""

    tokens: Array | float  # sum of the weights
    pairs: Array | float  # sum of the products of two weights
    share: Array | float  # what a mean over all n^2 pairs is multiplied with for one over different tokens
    most: Array | float  # the largest weight
    others: Array | float  # sum of the weights of all tokens but the heaviest
    alone: Array | None  # whether only one token counts, None where all do


@dataclass(frozen=True, eq=False)
class Angles:
    """How far rows are off one line, and the rows as they stand, all (b, 1, 1)."""

    near: Array  # variance of the directions of rows around +-q, times 2**-e_near
    e_near: Array
    worst: Array  # root mean square of what the error of the minors does to a direction, as 2**(e_near / 2)
    off_q: Array  # mean of what all errors do to it
    mean_turn: Array  # mean over pairs of the angles by which rows may have turned
    square_turn: Array  # mean of their squares
    present: Array  # weight of the rows that are not zero
    absent: Array  # share of the pairs with a row that is zero
    centre: Array  # length of the mean of their unit vectors
    scatter: Array  # sum of squared distances of these from it
    plain: Array  # mean of 1 - |cosine| over pairs
    above: Array  # bool: every row is longer along q than its error
    one_side: Array  # bool: all rows are there, known, and on one side
    aligned: Array  # bool: all rows are there, known, and at most 45 degrees off the line


def mean_of(x: Array, weights: Array | None) -> Array:
    """Mean over tokens, (b, 1, .)."""
    xp = namespace(x)
    if weights is None:
        return xp.mean(x, axis=-2, keepdims=True)
    return xp.sum(weights * x, axis=-2, keepdims=True) / xp.sum(weights, axis=-2, keepdims=True)


def content_of(view: View) -> Content:
    """Take the mean over tokens off the state, and measure what it is and what is left."""
    state, row, rest, full = view.state, view.row, view.rest, view.full
    xp, split = namespace(state.R), state.split
    # With v = 1 the rest alone differs between tokens: nothing cancels.
    e_base = xp.where(split.constant, rest[1], full[1])
    base = xp.where(split.constant, rest[0], full[0])
    w, count = view.weights, float(state.R.shape[-2])
    if w is not None:
        count = xp.sum(w, axis=-2, keepdims=True)
        w = xp.astype(w, base.dtype)
    centred = base - mean_of(base, w)
    high = norm(centred if w is None else xp.sqrt(w) * centred)
    kept_mean = xp.where(split.preserves_mean, xp.zeros_like(rest[0][:, :1, :]), mean_of(rest[0], w))
    e_kept = xp.where(split.preserves_mean, xp.full_like(rest[1], EMPTY), rest[1])
    low_constant, e_constant = combine(row[0], row[1], kept_mean, e_kept)
    low_any = mean_of(full[0], w)
    exact = split.preserves_mean & ~split.constant
    low_vector = xp.where(split.constant, low_constant, xp.where(exact, state.mean, low_any))
    e_low = xp.where(split.constant, e_constant, xp.where(exact, state.e_mean, full[1]))
    farthest, e_farthest = _farthest(centred, e_base, None if w is None else w > 0)
    largest = xp.max(xp.abs(full[0]), axis=(-1, -2), keepdims=True)
    return Content(largest, high, e_base, norm(low_vector) * count**0.5, e_low, farthest, e_farthest)


def _farthest(centred: Array, exponent: Array, which: Array | None) -> tuple[Array, Array]:
    """The largest distance between two tokens; ``centred`` 2**exponent are theirs from the mean."""
    xp = namespace(centred)
    if which is not None:
        centred = xp.where(which, centred, xp.zeros_like(centred))
    # The centre lies inside the cloud, so no |x_i| exceeds the largest distance
    # and the cancellation in the Gram form is harmless.
    e = exponent_of(xp.max(xp.abs(centred), axis=(-1, -2), keepdims=True))
    e = xp.where(e == -xp.inf, xp.zeros_like(e), e)
    y = xp.astype(scaled(centred, -e), xp.float64, copy=False)
    gram = y @ xp.matrix_transpose(y)
    square = xp.sum(y * y, axis=-1, keepdims=True)
    distance = square + xp.matrix_transpose(square) - 2 * gram
    if which is not None:
        distance = xp.where(which & xp.matrix_transpose(which), distance, xp.zeros_like(distance))
    most = xp.max(distance, axis=(-1, -2), keepdims=True)
    return xp.sqrt(xp.maximum(most, xp.zeros_like(most))), exponent + e


def pairs_of(view: View) -> Pairs:
    """Count pairs of different tokens; with weights w the pair i, j counts w_i w_j."""
    n, w = view.state.R.shape[-2], view.weights
    if w is None:
        return Pairs(n, n * (n - 1), n / (n - 1), 1, n - 1, None)
    xp = namespace(w)
    zero = xp.zeros_like(view.leading.main)
    total = xp.sum(w, axis=-2, keepdims=True)
    rest = _without_itself(w) @ w
    pairs = xp.sum(w * rest, axis=-2, keepdims=True) + zero
    alone = xp.sum(xp.astype(w > 0, xp.float64), axis=-2, keepdims=True) + zero < 2
    pairs = xp.where(alone, xp.ones_like(pairs), pairs)
    most = xp.max(w, axis=-2, keepdims=True) + zero
    others = xp.where(alone, xp.ones_like(most), xp.min(rest, axis=-2, keepdims=True) + zero)
    return Pairs(total, pairs, total * total / pairs, most, others, alone)


def _without_itself(w: Array) -> Array:
    """The matrix that sums over all other tokens: one may weigh more than they do together."""
    xp, n = namespace(w), w.shape[-2]
    return 1 - xp.eye(n, dtype=xp.float64, device=w.device)


def angles_of(view: View) -> Angles:
    """Angles of rows, from their distance to one line and from the rows as they stand."""
    p, at, of, w = view.leading, view.directions, pairs_of(view), view.weights
    xp = namespace(p.S)
    units, turned, present = at.units, at.turned, at.present
    if p.S.shape[-1] == 1:  # no room for an angle, nor for its rounding, until a sign is lost
        turned = xp.where(turned < 1, xp.zeros_like(turned), turned)
    # the mean of |u_i - u_j|^2 / 2 over pairs, at the scale of the deviations
    near = of.share * mean_of(_squares(at.deviations - mean_of(at.deviations, w)), w)
    here = xp.astype(present, xp.float64)
    cosines = xp.abs(units @ xp.matrix_transpose(units))
    if w is None:
        left_out, mean_turn = xp.zeros_like(present), mean_of(turned, None)
        m = xp.sum(here, axis=-2, keepdims=True)
        seen = m * (m - 1)
        plain = 1 - xp.sum(xp.triu(cosines, k=1), axis=(-1, -2), keepdims=True) * 2 / of.pairs
    else:
        others, left_out, here = _without_itself(w), ~(w > 0), here * w
        mean_turn = xp.sum(w * (others @ w) * turned, axis=-2, keepdims=True) / of.pairs
        m = xp.sum(here, axis=-2, keepdims=True)
        seen = xp.sum(here * (others @ here), axis=-2, keepdims=True)
        each = others * w * xp.matrix_transpose(w)
        plain = xp.sum(each * (1 - cosines), axis=(-1, -2), keepdims=True) / of.pairs
    centre = xp.sum(here * units, axis=-2, keepdims=True) / xp.where(m > 0, m, xp.ones_like(m))

    def every(which: Array) -> Array:
        return xp.all(left_out | which, axis=-2, keepdims=True)

    # a row that may be anywhere may also lie across, or on the other side; one that the dyad and the
    # minors do not hold any more can only be measured as it stands
    held = every(present & at.seen & (turned < 0.5))
    return Angles(
        near=near,
        e_near=2 * at.e_common,
        # (rounding spreads over rows, each of which enlarges its share by its own height)
        worst=xp.sqrt(mean_of(at.loose**2, w)) * p.noise,
        off_q=mean_of(at.off_q, w),
        mean_turn=mean_turn,
        square_turn=mean_of(turned * turned, w),
        present=m,
        absent=(of.pairs - seen) / of.pairs,
        centre=xp.sqrt(xp.sum(centre * centre, axis=-1, keepdims=True)),
        scatter=xp.sum(here * (units - centre) ** 2, axis=(-1, -2), keepdims=True),
        plain=plain,
        above=every(xp.abs(at.along) > 2 * p.noise_main),
        one_side=held & (every(at.A > 0) | every(at.A < 0)),
        # every |t_i| <= 1 means that no aligned pair has a negative cosine
        aligned=held & every(xp.abs(at.A) >= at.across),
    )


def _squares(x: Array) -> Array:
    """|x_i|^2 of each row."""
    return namespace(x).sum(x * x, axis=-1, keepdims=True)
