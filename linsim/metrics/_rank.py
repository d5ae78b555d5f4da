"""Effective rank, stable rank, and their gaps, from the singular values."""

from __future__ import annotations

from .._namespace import namespace
from .._types import EPS
from ._arithmetic import LN2, TINY, log, log_error
from ._metric import Measured, Metric
from ._view import View

__all__ = ["RANK"]


def _rank(view: View) -> dict[str, Measured]:
    """Ranks and how far they are from 1, each at the scale of the singular values behind the first."""
    s = view.singular
    first, rest, delta, scale = s.first, s.rest, s.delta, s.scale
    whole_noise, own_noise = s.whole_noise, s.own_noise
    xp = namespace(first)
    second = rest[:, :, :1]
    safe_first = xp.where(first > 0, first, xp.ones_like(first))
    m = rest / safe_first  # sigma_k / sigma_1, in units of 2**delta
    total = xp.sum(m, axis=-1, keepdims=True)
    sum_all = 1 + scale * total
    share = m / sum_all
    P = scale * total / sum_all
    # entropy / 2**delta = (1 - P) (-ln(1 - P)/P) sum share - sum share ln(p_k)
    tiny = P < 1e-12
    slope = xp.where(
        tiny, 1 + P / 2, -xp.log1p(-xp.where(tiny, xp.full_like(P, 0.5), P)) / xp.where(tiny, 0.5, P)
    )
    positive = share > 0
    logs = xp.where(positive, xp.log(xp.where(positive, share, xp.ones_like(share))) + delta * LN2, 0.0)
    entropy = (1 - P) * slope * total / sum_all - xp.sum(share * logs, axis=-1, keepdims=True)
    E = scale * entropy
    small = E < 1e-12
    growth = xp.where(small, 1 + E / 2, xp.expm1(xp.where(small, 1.0, E)) / xp.where(small, 1.0, E))
    ones = xp.ones_like(first)
    alone = s.several == 1
    unknown = xp.where(whole_noise > 0, xp.full_like(ones, xp.inf), xp.zeros_like(ones))
    off = xp.where(first > 0, whole_noise / safe_first, unknown)
    # d(entropy) = -sum (ln p_k + entropy) dp_k, and by Mirsky sum dsigma_k^2 <= noise^2; what is
    # lost in the noise may be as large as it
    small_p = xp.maximum(off / sum_all, xp.full_like(off, TINY))
    ln_rest = xp.log(xp.maximum(scale * share, small_p))
    slopes = (E - xp.log1p(-xp.minimum(P, 0.5 * ones))) ** 2
    slopes = slopes + xp.sum((ln_rest + E) ** 2, axis=-1, keepdims=True)
    # (and where all are equal, and slopes vanish, by sum dp^2 / p)
    d_p, several = off / sum_all, s.several
    d_entropy = d_p * xp.sqrt(slopes) + 1.5 * several * d_p * d_p
    # the gap: sum over the others of (1 - ln p_k) dp_k, in units of 2**delta
    own = own_noise / (safe_first * sum_all)
    ln_own = xp.log(xp.maximum(share, xp.maximum(own, TINY * ones))) + delta * LN2
    d_gap = own * xp.sqrt(xp.sum((1 - ln_own) ** 2, axis=-1, keepdims=True))
    grown = entropy * growth
    some = grown > 0
    relative = (1 + E) * d_gap / xp.where(some, entropy, ones) + off
    relative = xp.where(some, relative, xp.where(own_noise > 0, xp.full_like(ones, xp.inf), 0 * ones))
    seconds = own_noise / xp.where(second > 0, second, ones)
    seconds = xp.where(second > 0, seconds, xp.where(own_noise > 0, xp.full_like(ones, xp.inf), 0 * ones))
    length = xp.sqrt(xp.sum((scale * m) ** 2, axis=-1, keepdims=True))
    none = xp.zeros_like(ones)
    return {
        "effective_rank": Measured(
            xp.exp(E), none if alone else xp.exp(E) * xp.expm1(xp.clip(d_entropy, 0.0, 700.0))
        ),
        "log_effective_rank_gap": Measured(
            log(grown, delta), none if alone else log_error(relative) + EPS * xp.abs(delta)
        ),
        "stable_rank": Measured(
            1 + length * length, none if alone else 2 * off * (length + length * length) + several * off * off
        ),
        "log_rank_gap": Measured(
            log(m[:, :, :1], delta),
            none if alone else log_error(seconds) + log_error(off) + EPS * xp.abs(delta),
        ),
    }


RANK = (
    Metric(
        "effective_rank",
        "exp(entropy of sigma / sum sigma); 1: rank collapse",
        _rank,
        formula="exp of the entropy of the singular values over their sum",
        group="rank",
        needs=("states", "singular values"),
        limit=1.0,
        gap="log_effective_rank_gap",
        slot="effective_rank",
    ),
    Metric(
        "log_effective_rank_gap",
        "ln(effective rank - 1)",
        _rank,
        group="rank",
        needs=("states", "singular values"),
        law="effective_rank_gap",
        reach=-24.0,
    ),
    Metric(
        "stable_rank",
        "||X||_F^2 / sigma_1^2",
        _rank,
        formula="‖X‖² / σ₁²",
        group="rank",
        needs=("states", "singular values"),
        limit=1.0,
        gap="log_rank_gap",
        slot="stable_rank",
    ),
    Metric(
        "log_rank_gap",
        "ln(sigma_2 / sigma_1)",
        _rank,
        formula="ln(σ₂ / σ₁)",
        group="rank",
        needs=("states", "singular values"),
        law="rank_gap",
        reach=-26.0,
    ),
)
