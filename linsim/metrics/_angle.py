"""Angles between tokens and their gaps, from the rows as they stand or from their distance to one line."""

from __future__ import annotations

from .._namespace import Array, namespace
from .._types import EPS
from ._arithmetic import exp, log, log_error, rounding_of
from ._metric import Measured, Metric
from ._view import View

__all__ = ["ANGLE"]


def _angles(view: View) -> dict[str, Measured]:
    """Cosines of pairs of tokens, from the rows as they stand or from how far they are off one line.

    With weights w the pair i, j counts w_i w_j.
    """
    p, at = view.leading, view.directions
    xp = namespace(p.S)
    n, w = p.S.shape[-2], view.weights
    if n == 1:  # no pairs
        one, nothing = xp.ones_like(p.main), xp.zeros_like(p.main)
        alike = {"cosine": one, "abs_cosine": one}
        gaps = {name: xp.full_like(one, -xp.inf) for name in ("log_cosine_gap", "log_abs_cosine_gap")}
        return {name: Measured(value, nothing) for name, value in (alike | gaps).items()}
    units, turned, present = at.units, at.turned, at.present
    here, zero = xp.astype(present, xp.float64), xp.zeros_like(p.main)
    if w is None:
        pairs, share, count = n * (n - 1), n / (n - 1), n
        left_out = xp.zeros_like(present)

        def mean(x: Array) -> Array:
            return xp.mean(x, axis=-2, keepdims=True)

        mean_over_pairs = mean
        m = xp.sum(here, axis=-2, keepdims=True)
        absent = (pairs - m * (m - 1)) / pairs
        most, others_count = xp.ones_like(m), (n - 1) * xp.ones_like(m)
    else:
        total = xp.sum(w, axis=-2, keepdims=True)
        # summed without a token itself: one may weigh more than all others
        others_of = 1 - xp.eye(n, dtype=xp.float64, device=w.device)
        rest = others_of @ w
        pairs = xp.sum(w * rest, axis=-2, keepdims=True) + zero
        left_out = ~(w > 0)
        alone = xp.sum(xp.astype(w > 0, xp.float64), axis=-2, keepdims=True) + zero < 2
        pairs = xp.where(alone, xp.ones_like(pairs), pairs)
        share, count = total * total / pairs, total

        def mean(x: Array) -> Array:
            return xp.sum(w * x, axis=-2, keepdims=True) / total

        def mean_over_pairs(x: Array) -> Array:
            return xp.sum(w * rest * x, axis=-2, keepdims=True) / pairs

        here = here * w
        m = xp.sum(here, axis=-2, keepdims=True)
        seen = xp.sum(here * (others_of @ here), axis=-2, keepdims=True)
        absent = (pairs - seen) / pairs
        most = xp.max(w, axis=-2, keepdims=True) + zero
        others_count = xp.where(alone, xp.ones_like(most), xp.min(rest, axis=-2, keepdims=True) + zero)
    # the mean of |u_i - u_j|^2 / 2 over pairs, at the scale of the deviations
    near, e_near = share * mean(_squares(at.deviations - mean(at.deviations))), 2 * at.e_common
    # (rounding spreads over rows, each of which enlarges its share by its own height)
    worst = xp.sqrt(mean(at.loose**2)) * p.noise
    off_q = mean(at.off_q)
    if p.S.shape[-1] == 1:  # no room for an angle, nor for its rounding, until a sign is lost
        near, worst = xp.zeros_like(near), xp.zeros_like(worst)
        turned = xp.where(turned < 1, xp.zeros_like(turned), turned)
    mean_turn, square_turn = mean_over_pairs(turned), mean(turned * turned)

    centre = xp.sum(here * units, axis=-2, keepdims=True) / xp.where(m > 0, m, xp.ones_like(m))
    scatter = xp.sum(here * (units - centre) ** 2, axis=(-1, -2), keepdims=True)
    direct = absent + m * scatter / pairs
    cosines = xp.abs(units @ xp.matrix_transpose(units))
    if w is None:
        all_pairs = xp.sum(xp.triu(cosines, k=1), axis=(-1, -2), keepdims=True) * 2
        plain = 1 - all_pairs / pairs
    else:
        each = others_of * w * xp.matrix_transpose(w)
        plain = xp.sum(each * (1 - cosines), axis=(-1, -2), keepdims=True) / pairs

    # A row that turns by t changes the cosine of each of its pairs by t at most, and by t^2 and t
    # times the sine of their angle: the gap g itself by 2 sqrt(g) rms(t) n/(n-1), and by squares.
    # (and at most what the units of the others add up to)
    others = (m * xp.sqrt(xp.sum(centre * centre, axis=-1, keepdims=True)) + most) / others_count
    others = xp.minimum(others, xp.ones_like(m))
    off_direct = xp.minimum(
        2 * mean_turn * others, 2 * xp.sqrt(share * xp.abs(direct) * square_turn) + share * square_turn
    )
    off_plain = xp.minimum(
        2 * mean_turn, 2 * xp.sqrt(2 * share * xp.abs(plain) * square_turn) + 2 * share * square_turn
    )
    if p.S.shape[-1] > 1:
        off_plain = off_plain + float(xp.finfo(xp.float64).eps) * n
    close = near > 0
    off_near = 2 * worst / xp.sqrt(xp.where(close, near * (count / share), xp.ones_like(near)))
    # the directions of rows that all lie close to q, from S alone
    off_near = log_error(off_near) + off_q + rounding_of(p.S) + EPS * xp.abs(e_near)
    # rows without a rest are parallel to q, however much of each is known, while it is above zero
    above = xp.all(left_out | (xp.abs(at.along) > 2 * p.noise_main), axis=-2, keepdims=True)
    nothing_there = (p.noise == 0) & (near == 0) & above
    off_near = xp.where(
        close, off_near, xp.where(nothing_there, xp.zeros_like(near), xp.full_like(near, xp.inf))
    )

    # a row that may be anywhere may also lie across, or on the other side; one that the dyad and the
    # minors do not hold any more can only be measured as it stands
    every = xp.all(left_out | (present & at.seen & (turned < 0.5)), axis=-2, keepdims=True)
    up, down = (xp.all(left_out | side, axis=-2, keepdims=True) for side in (at.A > 0, at.A < 0))
    one_side = every & (up | down)
    # every |t_i| <= 1 means that no aligned pair has a negative cosine
    aligned = every & xp.all(left_out | (xp.abs(at.A) >= at.across), axis=-2, keepdims=True)
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
        value, off_value = 1 - closeness, xp.minimum(off, near_value)
        if w is not None:  # a token alone has no pair
            logarithm = xp.where(alone, xp.full_like(logarithm, -xp.inf), logarithm)
            value = xp.where(alone, xp.ones_like(value), value)
            error, off_value = (xp.where(alone, zero, x) for x in (error, off_value))
        out[name] = Measured(value, off_value)
        out[f"log_{name}_gap"] = Measured(logarithm, error)
    return out


def _squares(x: Array) -> Array:
    """|x_i|^2 of each row."""
    xp = namespace(x)
    return xp.sum(x * x, axis=-1, keepdims=True)


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
