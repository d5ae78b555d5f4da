"""Other counts of how many dimensions the tokens fill, from all singular values.

With m_k = sigma_k / sigma_1 each count is 1 + gap, and the gap is a sum over k >= 2, worked out at the
scale of these.  Singular values are each off by the share of the noise that lies along their vectors; what
that does to a gap is bounded by its derivative, or, where it grows with every m_k and is convex, by the
step from m to m + noise.
"""

from __future__ import annotations

from collections.abc import Callable

from .._namespace import Array, namespace
from .._types import EPS
from ._arithmetic import LN2, TINY, log, log_error
from ._metric import Measured, Metric
from ._singular import Singular
from ._view import View

__all__ = ["SPECTRUM"]


def _counts(view: View) -> dict[str, Measured]:
    """Ratios of sums of powers of the singular values, and the entropy of their squares."""
    s = view.singular
    m, off, own = _ratios(s)
    xp, f = namespace(m), s.scale

    def total(power: int, x: Array) -> Array:
        return xp.sum(x**power, axis=-1, keepdims=True)

    T, Q = total(2, m), total(4, m)
    d_T, d_Q, d_N = (total(power, m + own) - total(power, m) for power in (2, 4, 1))
    # (1 + f^2 T)^2 / (1 + f^4 Q) - 1, over f^2
    beside = 1 + f**4 * Q
    above = (2 * T + f * f * (T * T - Q)) / beside
    d_above = (2 * d_T * (1 + f * f * (T + d_T)) + f * f * d_Q * (1 + f * f * above)) / beside
    entropy, growth, d_entropy = _entropy(m * m, f * f, 2 * s.delta, 2 * m * own + own * own)
    # the last number: by how much of its size a gap changes where sigma_1 does by all of its own
    return {
        **_gap("participation_ratio", s, off, above, d_above, 2, 4.0),
        **_gap("nuclear_rank", s, off, total(1, m), d_N, 1, 1.0),
        **_gap("stable_rank_of_gram", s, off, Q, d_Q, 4, 4.0),
        **_gap("effective_rank_of_squares", s, off, entropy * growth, d_entropy, 2, 4.0),
    }


def _centred(view: View) -> dict[str, Measured]:
    """Effective rank of the tokens less their mean; no number where nothing is left of them."""
    s = view.centred.singular
    m, off, own = _ratios(s)
    xp = namespace(m)
    entropy, growth, d_entropy = _entropy(m, s.scale, s.delta, own * xp.ones_like(m))
    found = _gap("centred_effective_rank", s, off, entropy * growth, d_entropy, 1, 2.0)
    # of two tokens less their mean one direction is left, and no rounding makes it two
    w = view.weights
    if w is None:
        few = xp.zeros_like(s.first) + view.state.R.shape[-2] <= 2
    else:
        few = xp.sum(xp.astype(w > 0, xp.float64), axis=-2, keepdims=True) <= 2
    for name, known in (("centred_effective_rank", 1.0), ("log_centred_effective_rank_gap", -xp.inf)):
        one = found[name]
        found[name] = Measured(
            xp.where(few, xp.full_like(one.value, known), one.value),
            xp.where(few, xp.zeros_like(one.error), one.error),
        )
    none = s.first == 0
    unknown = xp.where(s.whole_noise > 0, xp.full_like(s.first, xp.inf), xp.zeros_like(s.first))
    nan = xp.full_like(s.first, xp.nan)
    return {
        name: Measured(xp.where(none, nan, one.value), xp.where(none, unknown, one.error))
        for name, one in found.items()
    }


def _ratios(s: Singular) -> tuple[Array, Array, Array]:
    """sigma_k / sigma_1 and their error, over the scale; relative error of sigma_1."""
    xp = namespace(s.first)
    some = s.first > 0
    safe = xp.where(some, s.first, xp.ones_like(s.first))
    return s.rest / safe, xp.where(some, s.whole_noise / safe, xp.ones_like(safe)), s.own_noise / safe


def _entropy(m: Array, f: Array, delta: Array, off: Array) -> tuple[Array, Array, Array]:
    """Entropy over f = 2**delta of shares 1 and f m of a whole; (exp - 1) over it; error of their product.

    ``off``: absolute error of each m.
    """
    xp = namespace(m)
    rest = xp.sum(m, axis=-1, keepdims=True)
    whole = 1 + f * rest
    share = m / whole
    # the first share is 1 - P, P = f rest / whole: -(1 - P) ln(1 - P) = (1 - P) ln(whole)
    at_first = xp.where(f * rest > 0, xp.log1p(f * rest) / xp.where(f > 0, f, xp.ones_like(f)), rest)
    at_first = xp.where(f * rest < 1e-12, rest, at_first) / whole
    positive = share > 0
    logs = xp.where(positive, xp.log(xp.where(positive, share, xp.ones_like(share))) + delta * LN2, 0.0)
    entropy = at_first - xp.sum(share * logs, axis=-1, keepdims=True)
    E = f * entropy
    small = E < 1e-12
    growth = xp.where(small, 1 + E / 2, xp.expm1(xp.where(small, 1.0, E)) / xp.where(small, 1.0, E))
    # dE/dm_k = -(ln p_k + E) / whole, of a share that may be as large as its error
    part = off / whole
    ln = xp.log(xp.maximum(share, xp.maximum(part, TINY * xp.ones_like(part)))) + delta * LN2
    step = xp.sqrt(xp.sum((part * (1 + xp.abs(ln) + E)) ** 2, axis=-1, keepdims=True))
    return entropy, growth, (1 + E) * growth * step


def _gap(
    name: str, s: Singular, off: Array, held: Array, step: Array, power: int, order: float
) -> dict[str, Measured]:
    """Count and gap from the gap over scale**power and its absolute error."""
    xp = namespace(held)
    none = xp.zeros_like(held)
    if s.several == 1:
        return {
            name: Measured(xp.ones_like(held), none),
            f"log_{name}_gap": Measured(xp.full_like(held, -xp.inf), none),
        }
    step = step + 8 * EPS * held
    some = held > 0
    relative = xp.where(some, step / xp.where(some, held, xp.ones_like(held)), none)
    relative = xp.where(~some & (step > 0), xp.full_like(held, xp.inf), relative)
    of_first = order * log_error(off)
    size = s.scale**power
    wrong = step + held * xp.expm1(xp.minimum(of_first, 700.0 * xp.ones_like(of_first)))
    return {
        name: Measured(1 + size * held, size * wrong),
        f"log_{name}_gap": Measured(
            log(held, power * s.delta), log_error(relative) + of_first + EPS * xp.abs(power * s.delta)
        ),
    }


def _pair(
    name: str,
    meaning: str,
    gap: str,
    formula: str,
    of: Callable[[View], dict[str, Measured]] = _counts,
    limit: float | None = 1.0,
) -> tuple[Metric, Metric]:
    """A count and its gap, which is a metric beside it where all tokens being one leaves no such count."""
    needs, logarithm = ("states", "singular values"), f"log_{name}_gap"
    plain = Metric(
        name,
        meaning,
        of,
        formula=formula,
        group="rank",
        needs=needs,
        limit=limit,
        gap=None if limit is None else logarithm,
    )
    return plain, Metric(logarithm, gap, of, group="rank", needs=needs)


SPECTRUM = (
    *_pair(
        "participation_ratio",
        "(sum sigma^2)^2 / sum sigma^4",
        "ln(participation ratio - 1)",
        "(Σ σ²)² / Σ σ⁴",
    ),
    *_pair("nuclear_rank", "sum sigma / sigma_1", "ln(nuclear rank - 1)", "Σ σ / σ₁"),
    *_pair(
        "stable_rank_of_gram",
        "sum sigma^4 / sigma_1^4, the stable rank of X X^T",
        "ln(stable rank of X X^T - 1)",
        "Σ σ⁴ / σ₁⁴, the stable rank of X Xᵀ",
    ),
    *_pair(
        "effective_rank_of_squares",
        "exp(entropy of sigma^2 / sum sigma^2)",
        "ln(effective rank of squares - 1)",
        "exp of the entropy of the squared singular values over their sum",
    ),
    *_pair(
        "centred_effective_rank",
        "effective rank of the tokens less their mean",
        "ln(centred effective rank - 1)",
        "effective rank of X − ΠX; no number where all tokens are one",
        _centred,
        None,
    ),
)
