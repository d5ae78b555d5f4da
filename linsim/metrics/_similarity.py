"""How much of a state is common to all tokens, and how large what is left of it: no singular vectors."""

from __future__ import annotations

import numpy as np

from .._namespace import Array, namespace
from .._state import add_log2, log2, norm
from .._types import EPS
from ._arithmetic import by_part, difference, exp, log, log_error, noise_share, rounding_of
from ._metric import Measured, Metric
from ._view import View

__all__ = ["SIMILARITY", "SIZES"]


def _content(view: View) -> dict[str, Measured]:
    """Take the mean over tokens off the state, and compare the sizes of what it is and what is left."""
    state, sums, top = view.state, view.content, view.top
    xp, split = namespace(state.R), state.split
    ln_high, ln_low = log(sums.high, sums.e_high - top), log(sums.low, sums.e_low - top)
    ln_norm = _logaddexp2(ln_high, ln_low)
    noise_a, noise_r, noise_b, noise_R, noise_mean = by_part(state.noise - top)
    noise_row = add_log2(noise_a, noise_r) + log2(norm(split.v))
    noise_rest = add_log2(noise_b, noise_R)
    noise_full = add_log2(noise_row, noise_rest)
    noise_mean = noise_mean + 0.5 * float(np.log2(state.R.shape[-2]))
    noise_low = xp.where(split.preserves_mean, xp.where(split.constant, noise_row, noise_mean), noise_full)
    ln_ratio = difference(ln_high, ln_low)
    noise_high = xp.where(split.constant, noise_rest, noise_full)
    x_high, x_low = exp(difference(ln_high, ln_norm)), exp(difference(ln_low, ln_norm))
    own_high, own_low = noise_share(noise_high, ln_high), noise_share(noise_low, ln_low)
    of_high, of_low = noise_share(noise_high, ln_norm), noise_share(noise_low, ln_norm)
    of_norm = xp.minimum(noise_share(noise_full, ln_norm), xp.sqrt(of_high * of_high + of_low * of_low))
    # d(low^2 / norm^2) = 2 x_low x_high (x_high d_low - x_low d_high), and what is of second order
    turned = 2 * x_low * x_high * (x_high * of_low + x_low * of_high) + (of_low + of_high) ** 2
    diversity = 2 * (x_low * x_low * own_high + x_low * of_low) + (of_low + of_high) ** 2
    ratio = log_error(own_high) + log_error(own_low)
    ln_spread = log(sums.farthest, sums.e_farthest - top)
    rounding = rounding_of(state.R)
    similarity = exp(2 * difference(ln_low, ln_norm))
    quotient = exp(ln_ratio)
    # (high + its noise) / (low - its noise), less the quotient: small beside a large low, whatever high is
    size = xp.clip(ln_ratio, -1e6, 1e6)
    both = log(noise_share(noise_high, ln_low) + own_low * exp(size))
    # the exponential of a logarithm loses as many digits as that is large
    lost = exp(size + xp.log(2 * rounding + EPS * xp.abs(size)))
    off_quotient = exp(difference(both, -log_error(own_low))) + lost
    # what is known to lie beyond the range of doubles is infinite, and rightly so
    beyond = (ln_ratio > 710.0) & (ratio < 0.3)
    off_quotient = xp.where(beyond, xp.zeros_like(off_quotient), off_quotient)
    return {
        "token_similarity": Measured(similarity, turned + 2 * rounding * x_low * x_high),
        "log_token_diversity": Measured(
            2 * difference(ln_high, ln_norm),
            xp.where(own_high < 1, diversity, xp.full_like(diversity, xp.inf)) + 2 * rounding,
        ),
        "hfc_lfc": Measured(quotient, off_quotient),
        "log_hfc_lfc": Measured(ln_ratio, ratio + 2 * rounding),
        "log_norm": Measured(
            ln_norm if view.ln_largest is None else ln_norm + 0.5 * view.ln_largest,
            log_error(of_norm) + rounding,
        ),
        # two tokens may be off by the noise of all each
        "log_spread": Measured(ln_spread, log_error(2 * noise_share(noise_high, ln_spread)) + rounding),
    }


def _logaddexp2(x: Array, y: Array) -> Array:
    """ln sqrt(exp(2x) + exp(2y))."""
    xp = namespace(x)
    big, small = xp.maximum(x, y), xp.minimum(x, y)
    gap = xp.where(
        small == -xp.inf, xp.full_like(x, -1e4), small - xp.where(big == -xp.inf, xp.zeros_like(big), big)
    )
    return big + 0.5 * xp.log1p(xp.exp(xp.clip(2 * gap, -745.0, 0.0)))


SIMILARITY = (
    Metric(
        "token_similarity",
        "||mean part||^2 / ||X||^2; 1: all tokens alike",
        _content,
        formula="‖ΠX‖² / ‖X‖², Π the mean over tokens",
        group="similarity",
        limit=1.0,
        gap="log_token_diversity",
        slot="token_similarity",
    ),
    Metric(
        "log_token_diversity",
        "ln(1 - token similarity)",
        _content,
        group="similarity",
        law="token_diversity",
        reach=-60.0,
        slot="log_token_diversity",
    ),
    Metric(
        "hfc_lfc",
        "||X - mean part||_F / ||mean part||_F; 0: low-pass, oversmoothing",
        _content,
        formula="‖X − ΠX‖ / ‖ΠX‖; → 0 is oversmoothing",
        group="similarity",
        limit=0.0,
        gap="log_hfc_lfc",
        slot="hfc_lfc",
    ),
    Metric(
        "log_hfc_lfc",
        "ln of hfc_lfc",
        _content,
        group="similarity",
        law="hfc_lfc",
        reach=-30.0,
        slot="log_hfc_lfc",
    ),
)

SIZES = (
    Metric("log_norm", "ln ||X||_F", _content, formula="ln ‖X‖", group="size", degree=1, slot="log_norm"),
    Metric(
        "log_spread",
        "ln of the largest distance between two tokens",
        _content,
        group="size",
        degree=1,
        slot="log_spread",
    ),
)
