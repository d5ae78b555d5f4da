"""Tokens as a crowd on the sphere: interaction energy, clusters, and the share of the largest of them."""

from __future__ import annotations

import functools
import math

from .. import _validate
from .._namespace import Array, namespace, on_device_of
from .._state import EMPTY, add_log2, log2, norm
from .._types import EPS
from ._arithmetic import LN2, by_part, log, noise_share, rounding_of
from ._metric import Measured, Metric
from ._pairs import apart, both, relative, sharper_of, sum_of
from ._view import View

__all__ = ["CROWD", "clusters", "interaction_energy"]

#: largest beta whose exponential is a double
_LARGEST_BETA = 700.0


def _uniform(view: View) -> Array:
    """Share of each pair of tokens, with itself too, (1 or b, n, n), adding up to 1."""
    like, w = view.directions.units, view.weights
    xp, n = namespace(like), like.shape[-2]
    P = both(xp.ones((1, n, n), dtype=xp.float64, device=like.device), w)
    return P / xp.sum(P, axis=(-1, -2), keepdims=True)


def _energy(view: View, beta: float, name: str) -> dict[str, Measured]:
    """E_beta = sum P_ij exp(beta cos_ij) / (2 beta), and how far it is below exp(beta) / (2 beta), relative.

    1 - E / max E = sum P (1 - exp(-beta (1 - cos))), of which each term has all digits of 1 - cos.
    """
    found, P = apart(view), _uniform(view)
    xp = namespace(P)

    def fallen(distance: Array, exponent: Array) -> Array:
        """(1 - exp(-y)) / 2**exponent, y = beta distance 2**exponent."""
        y = beta * distance * xp.exp(LN2 * xp.clip(exponent, -1000.0, 1000.0))
        small = y < 1e-12
        slope = xp.where(small, 1 - y / 2, -xp.expm1(-y) / xp.where(small, xp.ones_like(y), y))
        return beta * distance * slope

    none = xp.zeros_like(found.exponent)
    _, off_near = sum_of(P, found.near, found.near_rows, found.near_rounding)
    _, off = sum_of(P, found.direct, found.rows, found.rounding)
    near = xp.sum(P * fallen(found.near, found.exponent), axis=(-1, -2), keepdims=True)
    direct = xp.sum(P * fallen(found.direct, none), axis=(-1, -2), keepdims=True)
    # 1 - exp(-y) grows no faster than y
    off_near, off = beta * off_near + 4 * EPS * near, beta * off + 4 * EPS * direct
    plain, logarithm = sharper_of(found, log(near, found.exponent), relative(near, off_near), direct, off)
    top = float(math.exp(beta) / (2 * beta))
    return {
        name: Measured(top * (1 - plain.value), top * (plain.error + EPS)),
        f"log_{name}_gap": logarithm,
    }


def _clusters(view: View, least: float) -> Measured:
    """How many groups of tokens are joined by chains of pairs whose cosine is at least so much."""
    found, w = apart(view), view.weights
    at = view.directions
    xp, n = namespace(found.direct), found.direct.shape[-1]
    off = found.rows + xp.matrix_transpose(found.rows) + found.rounding + 8 * EPS
    counts = xp.ones_like(at.present) if w is None else (w > 0) & xp.ones_like(at.present)
    pairs = counts & xp.matrix_transpose(counts)
    place = on_device_of(range(n), found.direct)
    itself = xp.eye(n, dtype=xp.bool, device=found.direct.device)

    def number(joined: Array) -> Array:
        reach = xp.astype((joined & pairs) | itself, xp.float64)
        for _ in range(max(1, (n - 1).bit_length())):  # chains twice as long each time
            reach = xp.astype(reach @ reach > 0, xp.float64)
        # a group is counted at the first of its tokens
        first = xp.astype(xp.argmax(reach, axis=-1), xp.float64) == xp.astype(place, xp.float64)
        firsts = xp.astype(first[..., None] & counts, xp.float64)
        return xp.sum(firsts, axis=-2, keepdims=True)

    edge = 1 - least
    few, many = number(found.direct - off <= edge), number(found.direct + off <= edge)
    count = number(found.direct <= edge)
    return Measured(count, many - few)


def _largest_share(view: View) -> Measured:
    """|x_i|^2 / ||X||^2 of the largest token."""
    counted = view.counted
    full, e_full = counted.full
    xp = namespace(full)
    x = xp.astype(full, xp.float64, copy=False)
    size = norm(x)
    safe = xp.where(size > 0, size, xp.ones_like(size))
    share = xp.max(xp.sum(x * x, axis=-1, keepdims=True), axis=-2, keepdims=True) / (safe * safe)
    noise_a, noise_r, noise_b, noise_R, _ = by_part(counted.state.noise)
    noise = add_log2(
        add_log2(noise_a, noise_r) + log2(norm(counted.state.split.v)), add_log2(noise_b, noise_R)
    )
    # a token is off by no more than all of them: the root of the share by twice that over the norm
    ln_size = log(safe, xp.where(e_full > EMPTY / 2, e_full, xp.zeros_like(e_full)))
    off = 2 * (noise_share(noise, ln_size) + rounding_of(full))
    error = 2 * xp.sqrt(share) * off + off * off
    if view.state.R.shape[-2] == 1:  # it is all of them
        error = xp.zeros_like(error)
    return Measured(share, xp.minimum(error, xp.where(xp.isfinite(error), xp.ones_like(error), error)))


def interaction_energy(beta: float = 1.0, *, name: str | None = None) -> tuple[Metric, Metric]:
    """Interaction energy of the tokens on the unit sphere at an inverse temperature, and its gap.

    Parameters
    ----------
    beta : float
        Above 0, at most 700.
    name : str, keyword-only
        What it is called; ``interaction_energy_<beta>`` by default.

    Returns
    -------
    tuple of Metric
        E_beta = sum_ij exp(beta cos(x_i, x_j)) / (2 beta n^2), linear scale, at most exp(beta) / (2 beta),
        which it reaches where all tokens point one way; and ln(1 - E_beta / largest).

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If beta is not such a number.

    Notes
    -----
    Geshkovski, Letrouit, Polyanskiy and Rigollet 2023 (arXiv 2312.10794), section 3: attention on the sphere
    is its gradient flow, so it grows.

    Examples
    --------
    >>> from linsim.metrics import interaction_energy, measure
    >>> energy, gap = interaction_energy(2.0)
    >>> measure([[1.0, 0.0], [0.0, 1.0]], [energy])["interaction_energy_2"]  # (2 e^2 + 2) / (4 * 4)
    array(1.04863201)
    """
    beta = _validate.number(beta, "beta", low=0.0, low_open=True, high=_LARGEST_BETA)
    name = name or f"interaction_energy_{beta:g}"
    of = functools.partial(_energy, beta=beta, name=name)
    return (
        Metric(
            name,
            f"sum exp(beta cos(x_i, x_j)) / (2 beta n^2), beta = {beta:g}",
            of,
            formula=f"E_β = Σᵢⱼ exp(β cos(xᵢ, xⱼ)) / (2 β n²), β = {beta:g}",
            group="crowd",
            limit=math.exp(beta) / (2 * beta),
            gap=f"log_{name}_gap",
        ),
        Metric(f"log_{name}_gap", f"ln(1 - {name} over its largest value)", of, group="crowd"),
    )


def clusters(cosine: float = 0.9, *, name: str | None = None) -> Metric:
    """Number of clusters of tokens: groups joined by chains of pairs with at least this cosine.

    Parameters
    ----------
    cosine : float
        Above -1, below 1.
    name : str, keyword-only
        What it is called; ``clusters_<cosine>`` by default.

    Returns
    -------
    Metric
        A whole number from 1 to n, linear scale.  A token that is exactly zero has cosine 0 with others.
        Its error is how much it changes where each cosine is off by its own error.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``cosine`` is not such a number.

    Notes
    -----
    Single linkage at one threshold, which is how Geshkovski et al. 2023 (arXiv 2305.05465) see clusters
    form.

    Examples
    --------
    >>> from linsim.metrics import clusters, measure
    >>> measure([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]], [clusters(0.99)])["clusters_0.99"]
    array(2.)
    """
    least = _validate.number(cosine, "cosine", low=-1.0, low_open=True, high=1.0, high_open=True)
    name = name or f"clusters_{least:g}"
    return Metric(
        name,
        f"groups of tokens joined by chains of pairs with cosine >= {least:g}",
        functools.partial(_clusters, least=least),
        group="crowd",
        limit=1.0,
    )


CROWD = (
    *interaction_energy(1.0, name="interaction_energy"),
    clusters(0.9, name="clusters"),
    Metric(
        "largest_token_share",
        "max ||x_i||^2 / ||X||^2",
        _largest_share,
        formula="max ‖xᵢ‖² / ‖X‖²",
        group="crowd",
    ),
)
