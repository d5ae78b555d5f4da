"""Angles between tokens and their gaps, from the rows as they stand or from their distance to one line."""

from __future__ import annotations

from .._namespace import namespace
from .._types import EPS
from ._arithmetic import exp, log, log_error, rounding_of
from ._metric import Measured, Metric
from ._sums import pairs_of
from ._view import View

__all__ = ["ANGLE"]


def _angles(view: View) -> dict[str, Measured]:
    """Cosines of pairs of tokens, from the rows as they stand or from how far they are off one line.

    With weights w the pair i, j counts w_i w_j.
    """
    p, state = view.leading, view.state
    xp = namespace(p.S)
    n, d = p.S.shape[-2:]
    if n == 1:  # no pairs
        one, nothing = xp.ones_like(p.main), xp.zeros_like(p.main)
        alike = {"cosine": one, "abs_cosine": one}
        gaps = {name: xp.full_like(one, -xp.inf) for name in ("log_cosine_gap", "log_abs_cosine_gap")}
        return {name: Measured(value, nothing) for name, value in (alike | gaps).items()}
    sums, of = view.angles, pairs_of(view)
    near, e_near, worst, m, share = sums.near, sums.e_near, sums.worst, sums.present, of.share
    mean_turn, square_turn, plain = sums.mean_turn, sums.square_turn, sums.plain
    if d == 1:  # no room for an angle, nor for its rounding
        near, worst = xp.zeros_like(near), xp.zeros_like(worst)
    direct = sums.absent + m * sums.scatter / of.pairs

    # A row that turns by t changes the cosine of each of its pairs by t at most, and by t^2 and t
    # times the sine of their angle: the gap g itself by 2 sqrt(g) rms(t) n/(n-1), and by squares.
    # (and at most what the units of the others add up to)
    others = xp.minimum((m * sums.centre + of.most) / of.others, xp.ones_like(m))
    off_direct = xp.minimum(
        2 * mean_turn * others, 2 * xp.sqrt(share * xp.abs(direct) * square_turn) + share * square_turn
    )
    off_plain = xp.minimum(
        2 * mean_turn, 2 * xp.sqrt(2 * share * xp.abs(plain) * square_turn) + 2 * share * square_turn
    )
    if d > 1:
        off_plain = off_plain + float(xp.finfo(xp.float64).eps) * n
    close = near > 0
    off_near = 2 * worst / xp.sqrt(xp.where(close, near * (of.tokens / share), xp.ones_like(near)))
    # the directions of rows that all lie close to q, from S alone
    off_near = log_error(off_near) + sums.off_q + rounding_of(state.R) + EPS * xp.abs(e_near)
    # rows without a rest are parallel to q, however much of each is known, while it is above zero
    nothing_there = (p.noise == 0) & (near == 0) & sums.above
    off_near = xp.where(
        close, off_near, xp.where(nothing_there, xp.zeros_like(near), xp.full_like(near, xp.inf))
    )

    ln_near = log(near, e_near)
    out = {}
    for name, gap, off, may in (
        ("cosine", direct, off_direct, sums.one_side),
        ("abs_cosine", plain, off_plain, sums.aligned),
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
        # each with its own error: what is known better as it stands is told as it stands
        value, off_value = 1 - xp.where(near_value <= off, closeness, gap), xp.minimum(off, near_value)
        if of.alone is not None:  # a token alone has no pair
            logarithm = xp.where(of.alone, xp.full_like(logarithm, -xp.inf), logarithm)
            value = xp.where(of.alone, xp.ones_like(value), value)
            error, off_value = (xp.where(of.alone, xp.zeros_like(x), x) for x in (error, off_value))
        out[name] = Measured(value, off_value)
        out[f"log_{name}_gap"] = Measured(logarithm, error)
    return out


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
