"""Weighted sums over pairs of tokens of their squared distances, or of how far their directions are apart."""

from __future__ import annotations

from dataclasses import dataclass

from .._namespace import Array, namespace
from .._types import EPS
from ._arithmetic import exp, log, log_error, rounding_of
from ._metric import Measured
from ._view import View

__all__ = ["Apart", "apart", "both", "heads", "squared_distances"]


def heads(view: View) -> tuple[Array, float] | None:
    """Mean attention of the heads, (b or 1, n, n) float64, times the weights of both tokens; None: unknown.

    With the relative error of its entries, which are rounded as those of the rule are.
    """
    if view.layer.attention is None:
        return None
    first, *others = view.layer.attention
    xp = namespace(first)
    total = xp.astype(first, xp.float64, copy=False)
    for A in others:
        total = total + xp.astype(A, xp.float64, copy=False)
    return both(total / len(view.layer.attention), view.weights), rounding_of(first)


def both(pairs: Array, weights: Array | None) -> Array:
    """Pairs (b or 1, n, n) times the weights of both of their tokens."""
    if weights is None:
        return pairs
    return pairs * weights * namespace(pairs).matrix_transpose(weights)


def squared_distances(x: Array) -> tuple[Array, Array]:
    """|x_i - x_j|^2 of all pairs (b, n, n), exactly 0 of a token and itself, and what rounding it is off by.

    The rows are those of differences from some point amid them, (b, n, d).
    """
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    square = xp.sum(x * x, axis=-1, keepdims=True)
    sizes = square + xp.matrix_transpose(square)
    distance = sizes - 2 * (x @ xp.matrix_transpose(x))
    n = x.shape[-2]
    other = 1 - xp.eye(n, dtype=xp.float64, device=x.device)
    distance = xp.maximum(distance, xp.zeros_like(distance)) * other
    return distance, 4 * EPS * sizes * other


@dataclass(frozen=True, eq=False)
class Apart:
    """1 - cosine of pairs of tokens, (b, n, n): of rows near one line, and of rows as they stand.

    ``near`` 2**exponent holds where ``may``; a token is at no distance of itself, one without a direction
    at distance 1 of all others.  ``near_rows``, ``rows`` (b, n, 1): how far each row's direction is off, at
    the scale of the square root; the ``rounding`` of each pair beside them.
    """

    near: Array
    exponent: Array
    may: Array  # (b, 1, 1) bool
    near_rows: Array
    near_rounding: Array
    relative: Array  # (b, 1, 1): what else near is off by, relative
    direct: Array
    rows: Array
    rounding: Array


def apart(view: View) -> Apart:
    """How far the directions of all pairs of tokens are apart."""
    at, p = view.directions, view.leading
    xp, w = namespace(at.units), view.weights
    left_out = xp.zeros_like(at.present) if w is None else ~(w > 0)

    def amid(x: Array) -> Array:
        x = xp.where(left_out, xp.zeros_like(x), x)
        return x - xp.mean(x, axis=-2, keepdims=True)

    near, near_rounding = squared_distances(amid(at.deviations))
    direct, rounding = squared_distances(amid(at.units))
    missing = ~at.present | xp.matrix_transpose(~at.present)
    other = 1 - xp.eye(near.shape[-1], dtype=xp.float64, device=near.device)
    direct = xp.where(missing, other * xp.ones_like(direct), direct / 2)
    every = xp.all(left_out | (at.present & at.seen & (at.turned < 0.5)), axis=-2, keepdims=True)
    up, down = (xp.all(left_out | side, axis=-2, keepdims=True) for side in (at.A > 0, at.A < 0))
    turned, deviating = at.turned, at.loose * p.noise
    if p.S.shape[-1] == 1:  # no room for an angle, nor for its rounding, until a sign is lost
        near, deviating = xp.zeros_like(near), xp.zeros_like(deviating)
        turned = xp.where(turned < 1, xp.zeros_like(turned), turned)
    off_q = xp.max(xp.where(left_out, xp.zeros_like(at.off_q), at.off_q), axis=-2, keepdims=True)
    return Apart(
        near / 2,
        2 * at.e_common,
        every & (up | down),
        deviating,
        near_rounding / 2,
        off_q + rounding_of(p.S) + EPS * xp.abs(at.e_common),
        direct,
        turned,
        rounding / 2,
    )


def sum_of(P: Array, squares: Array, rows: Array, rounding: Array) -> tuple[Array, Array]:
    """Sum over pairs of P times half squared distances, and its error where row i is off by rows_i.

    The root of twice the sum is a norm: it changes by no more than that of the differences of errors.
    """
    xp = namespace(squares)
    value = xp.sum(P * squares, axis=(-1, -2), keepdims=True)
    ends = xp.sum(xp.abs(P), axis=-1, keepdims=True) + xp.matrix_transpose(
        xp.sum(xp.abs(P), axis=-2, keepdims=True)
    )
    step = xp.sqrt(2 * xp.sum(ends * rows * rows, axis=(-1, -2), keepdims=True))
    error = xp.sqrt(2 * xp.sum(xp.abs(P) * squares, axis=(-1, -2), keepdims=True)) * step + step * step / 2
    return value, error + xp.sum(xp.abs(P) * rounding, axis=(-1, -2), keepdims=True)


def relative(value: Array, error: Array) -> Array:
    """Error of a logarithm of a value >= 0 with an absolute error."""
    xp = namespace(value)
    some = value > 0
    nothing = xp.where(error > 0, xp.full_like(error, xp.inf), xp.zeros_like(error))
    return xp.where(some, log_error(error / xp.where(some, value, xp.ones_like(value))), nothing)


def mean_distance(P: Array, rounding: float, found: Apart) -> tuple[Measured, Measured]:
    """Sum over pairs of P (1 - cosine), P known to a relative rounding, and its logarithm."""
    xp = namespace(found.near)
    near, off_near = sum_of(P, found.near, found.near_rows, found.near_rounding)
    direct, off = sum_of(P, found.direct, found.rows, found.rounding)
    off_near, off = off_near + rounding * xp.abs(near), off + rounding * xp.abs(direct)
    return sharper_of(
        found, log(near, found.exponent), relative(near, off_near), direct, off + EPS * xp.abs(direct)
    )


def sharper_of(
    found: Apart, ln_near: Array, off_near: Array, direct: Array, off: Array
) -> tuple[Measured, Measured]:
    """A gap from rows near one line, or from rows as they stand, whichever is known better."""
    xp = namespace(direct)
    off_near = off_near + found.relative
    by_value = relative(direct, off)
    use_near = found.may & (off_near <= by_value)
    logarithm = xp.where(use_near, ln_near, log(direct))
    error = xp.where(use_near, off_near, by_value)
    value = exp(logarithm)
    spread = value * xp.expm1(xp.minimum(error, 700.0 * xp.ones_like(error)))
    spread = xp.where(xp.isfinite(error), spread, error)
    return Measured(value, xp.minimum(off, spread)), Measured(logarithm, error)
