"""Angles between tokens and their gaps, from the rows as they stand or from their distance to one line."""

from __future__ import annotations

from .._namespace import Array, exponent_of, namespace, power_of_two
from .._state import EMPTY, log2, scaled
from ._arithmetic import EPS, exp, log, log_error, rounding_of
from ._leading_pair import Leading
from ._metric import Measured, Metric
from ._view import View

__all__ = ["ANGLE"]


def _row_lengths(x: Array, exponent: Array) -> Array:
    """Length of each row of x 2**exponent, (b, n, 1) float64."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    return xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True)) * power_of_two(exponent)


def _angles(view: View) -> dict[str, Measured]:
    """Cosines of pairs of tokens, from the rows as they stand or from how far they are off one line."""
    p, zero_rows, rows = view.leading, view.zero_rows, view.state.rows
    (row, e_row), (rest, e_rest), (full, e_full) = view.row, view.rest, view.full
    # the size of what was added up for each row of the tokens
    rounded = _row_lengths(view.state.split.v * row, e_row - e_full) + _row_lengths(rest, e_rest - e_full)
    xp = namespace(p.S)
    n = p.S.shape[-2]
    if n == 1:  # no pairs
        one, nothing = xp.ones_like(p.main), xp.zeros_like(p.main)
        alike = {"cosine": one, "abs_cosine": one}
        gaps = {name: xp.full_like(one, -xp.inf) for name in ("log_cosine_gap", "log_abs_cosine_gap")}
        return {name: Measured(value, nothing) for name, value in (alike | gaps).items()}
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
        near, worst = xp.zeros_like(near), xp.zeros_like(worst)
        turned = xp.where(turned < 1, xp.zeros_like(turned), turned)
    mean_turn = xp.mean(turned, axis=-2, keepdims=True)
    square_turn = xp.mean(turned * turned, axis=-2, keepdims=True)

    pairs = n * (n - 1)
    m = xp.sum(xp.astype(present, xp.float64), axis=-2, keepdims=True)
    absent = (pairs - m * (m - 1)) / pairs
    here = xp.astype(present, xp.float64)
    units = units * here
    centre = xp.sum(units, axis=-2, keepdims=True) / xp.where(m > 0, m, xp.ones_like(m))
    scatter = xp.sum(((units - centre) * here) ** 2, axis=(-1, -2), keepdims=True)
    direct = absent + m * scatter / pairs
    cosines = xp.abs(units @ xp.matrix_transpose(units))
    all_pairs = xp.sum(xp.triu(cosines, k=1), axis=(-1, -2), keepdims=True) * 2
    plain = 1 - all_pairs / pairs

    # A row that turns by t changes the cosine of each of its pairs by t at most, and by t^2 and t
    # times the sine of their angle: the gap g itself by 2 sqrt(g) rms(t) n/(n-1), and by squares.
    share = n / (n - 1)
    # (and at most what the units of the others add up to)
    others = xp.minimum(
        (m * xp.sqrt(xp.sum(centre * centre, axis=-1, keepdims=True)) + 1) / (n - 1), xp.ones_like(m)
    )
    off_direct = xp.minimum(
        2 * mean_turn * others, 2 * xp.sqrt(share * xp.abs(direct) * square_turn) + share * square_turn
    )
    off_plain = xp.minimum(
        2 * mean_turn, 2 * xp.sqrt(2 * share * xp.abs(plain) * square_turn) + 2 * share * square_turn
    )
    if p.S.shape[-1] > 1:
        off_plain = off_plain + float(xp.finfo(xp.float64).eps) * n
    close = near > 0
    off_near = 2 * worst / xp.sqrt(xp.where(close, near * (n - 1), xp.ones_like(near)))
    # the directions of rows that all lie close to q, from S alone
    off_near = log_error(off_near) + off_q + rounding_of(p.S) + EPS * xp.abs(e_near)
    # rows without a rest are parallel to q, however much of each is known, while it is above zero
    above = xp.all(xp.abs(along) > 2 * p.noise_main, axis=-2, keepdims=True)
    nothing_there = (p.noise == 0) & (near == 0) & above
    off_near = xp.where(
        close, off_near, xp.where(nothing_there, xp.zeros_like(near), xp.full_like(near, xp.inf))
    )

    # a row that may be anywhere may also lie across, or on the other side; one that the dyad and the
    # minors do not hold any more can only be measured as it stands
    every = xp.all(present & seen & (turned < 0.5), axis=-2, keepdims=True)
    one_side = every & (xp.all(A > 0, axis=-2, keepdims=True) | xp.all(A < 0, axis=-2, keepdims=True))
    # every |t_i| <= 1 means that no aligned pair has a negative cosine
    aligned = every & xp.all(xp.abs(A) >= F * across, axis=-2, keepdims=True)
    ln_near = log(near, e_near)
    out = {}
    for name, gap, off, may in (
        ("cosine", direct, off_direct, one_side),
        ("abs_cosine", plain, off_plain, aligned),
    ):
        relative = off / xp.where(gap > 0, gap, xp.ones_like(gap))
        none = xp.where(off > 0, xp.full_like(off, xp.inf), xp.zeros_like(off))
        by_value = xp.where(gap > 0, log_error(relative), none)
        use_near = may & (off_near <= by_value)
        logarithm = xp.where(use_near, ln_near, log(gap))
        error = xp.where(use_near, off_near, by_value)
        closeness = exp(logarithm)
        near_value = closeness * xp.expm1(xp.minimum(error, 700.0 * xp.ones_like(error)))
        near_value = xp.where(xp.isfinite(error), near_value, error)
        out[name] = Measured(1 - closeness, xp.minimum(off, near_value))
        out[f"log_{name}_gap"] = Measured(logarithm, error)
    return out


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


ANGLE = (
    Metric(
        "cosine",
        "mean cosine over pairs of tokens; 1: angle convergence",
        _angles,
        formula="mean cosine over pairs of tokens",
        group="angle",
        limit=1.0,
        gap="log_cosine_gap",
        slot="cosine",
    ),
    Metric(
        "log_cosine_gap",
        "ln(1 - cosine)",
        _angles,
        group="angle",
        law="cosine_gap",
        smoothing=True,
        reach=-28.0,
    ),
    Metric(
        "abs_cosine",
        "mean |cosine| over pairs of tokens",
        _angles,
        formula="mean absolute cosine over pairs of tokens",
        group="angle",
        limit=1.0,
        gap="log_abs_cosine_gap",
        slot="abs_cosine",
    ),
    Metric(
        "log_abs_cosine_gap",
        "ln(1 - mean |cosine|)",
        _angles,
        group="angle",
        law="cosine_gap",
        smoothing=False,
        reach=-28.0,
    ),
)
