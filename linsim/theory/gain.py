"""Gains of a layer norm: which signs swap smoothing and sharpening.

A layer norm in front of attention, with gain gamma, turns weights H into
diag(gamma) H.  For a real spectrum of these and of the attention, three
numbers decide the regime of the linear layer.  With the norm itself in place
steps shrink beside the growing residual stream, and real parts decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validate
from .._blas import on_one_thread
from .._eigen import attention_eigensystem, meant, spacing
from .._namespace import to_host
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ..rules import Linear

__all__ = ["pre_norm_ratio", "real_regime", "swap_ratios"]


def real_regime(mu_min: Any, mu_max: Any, lambda_min: Any) -> Any:
    """Return the regime of real spectra from the ends of both.

    Parameters
    ----------
    mu_min, mu_max : float or arrays
        Smallest and largest eigenvalue of the weights (diag(gamma) H behind a
        layer norm of gain gamma); all eigenvalues are real.
    lambda_min : float or array
        Smallest eigenvalue a of attention with a real spectrum, -1 < a < 1.

    Returns
    -------
    str or array of str, of the broadcast shape
        "smoothing", "sharpening", or "balanced" (a tie up to 4 roundings).

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If mu_min exceeds mu_max, lambda_min is not in (-1, 1), an entry is not
        finite, or shapes do not broadcast.

    Notes
    -----
    Derived here.  |1 + lambda mu| is convex in lambda and in mu, so the largest
    modulus of the constant part is max(|1 + mu_min|, |1 + mu_max|), and that of
    the rest is below it or max(|1 + a mu_min|, |1 + a mu_max|): the larger of
    these two wins.  Written out, inputs converge iff

        mu_max > max(0, a mu_min)   or   mu_min < -2 / (1 + a).

    Without negative weights (mu_min >= 0 < mu_max) that is always; without positive ones only
    beyond the boundary; with both signs a positive eigenvalue wins unless it is
    small beside |a| times the negative one, and with a >= 0 however small it is.

    For H = -S, S symmetric positive definite, diag(gamma) H is similar to
    -S^(1/2) diag(gamma) S^(1/2): real, with as many positive eigenvalues as
    there are negative gains (Sylvester).  The share of negative gains enters
    only through mu_min and mu_max.

    For one eigenvalue, and for one gain in front of it, proved as ``dominance.boundary``,
    ``layernorm.negative_gain`` and ``layernorm.swap_back`` in proofs_check.

    Examples
    --------
    >>> real_regime([-1.0, -1.0, -1.0], [-0.5, 0.25, 0.35], -0.3).tolist()
    ['sharpening', 'sharpening', 'smoothing']
    >>> real_regime(-1.0, 1e-6, 0.0), real_regime(-2.5, -0.5, -0.1)
    ('smoothing', 'smoothing')
    """
    low, high, a = _numbers(mu_min=mu_min, mu_max=mu_max, lambda_min=lambda_min)
    if np.any(low > high):
        raise _validate.refusal(
            InvalidValueError, "mu_min", "a value above mu_max", "mu_min <= mu_max", "Swap them."
        )
    _attention_end(a)
    constant = np.maximum(np.abs(1 + low), np.abs(1 + high))
    rest = np.maximum(np.abs(1 + a * low), np.abs(1 + a * high))
    rounding = 4 * spacing(mu_min, mu_max, lambda_min) * np.maximum(constant, rest)
    tie = np.abs(constant - rest) <= rounding
    regime = np.where(tie, "balanced", np.where(constant > rest, "smoothing", "sharpening"))
    return regime.item() if regime.ndim == 0 else regime


def swap_ratios(lambda_min: Any, condition: Any) -> tuple[Any, Any]:
    """Return the ratios of gains between which the weights decide whether negative gains swap the regime.

    For sharpening weights H = -S, S symmetric positive definite, and gains gamma_j of
    which some are negative, let r = |min_j gamma_j| / max_j gamma_j (inf if none is
    positive).  If r > high, diag(gamma) H smooths: the regime is swapped, by
    however few negative gains.  If r < low it sharpens still, unless a gain is so
    large that it overshoots.

    Parameters
    ----------
    lambda_min : float or array
        Smallest eigenvalue a of attention with a real spectrum, -1 < a < 1.
    condition : float or array, >= 1
        2-norm condition number of S.

    Returns
    -------
    (low, high) : floats or arrays of the broadcast shape
        max(0, -a) / condition and max(0, -a) condition.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If lambda_min is not in (-1, 1), condition is below 1 or not finite, or
        shapes do not broadcast.

    Notes
    -----
    Derived here.  By Ostrowski's theorem each eigenvalue of
    S^(1/2) diag(gamma) S^(1/2) is a gain times a number between the extreme
    eigenvalues of S; so mu_max lies between |gamma_min| s_min and
    |gamma_min| s_max, |mu_min| between gamma_max s_min and gamma_max s_max, and
    mu_max > |a| |mu_min| (:func:`real_regime`) follows from r > |a| condition and
    contradicts r < |a| / condition.  Both are attained by diagonal S.  Overshooting means
    mu_min < -2 / (1 + a), which gamma_max s_max < 2 / (1 + a) rules out.
    With r = 1 (gains of one size) any negative gain swaps if
    condition < 1 / |a|; with a >= 0 it always does.

    Examples
    --------
    >>> low, high = swap_ratios(-0.25, 2.0)
    >>> low, high
    (0.125, 0.5)
    >>> S = np.diag([2.0, 1.0])
    >>> for gain in ([1.0, -0.51], [1.0, -0.49], [-0.12, 1.0]):
    ...     mu = np.sort(np.diag(-np.diag(gain) @ S))
    ...     print(real_regime(mu[0], mu[-1], -0.25))
    smoothing
    sharpening
    sharpening
    """
    a, kappa = _numbers(lambda_min=lambda_min, condition=condition)
    _attention_end(a)
    if np.any(kappa < 1):
        raise _validate.refusal(
            InvalidValueError, "condition", float(np.min(kappa)), "numbers >= 1", "It is a quotient of norms."
        )
    strength = np.maximum(0.0, -a) + 0.0  # not -0.0
    low, high = strength / kappa, strength * kappa
    return (low.item(), high.item()) if low.ndim == 0 else (low, high)


@on_one_thread
def pre_norm_ratio(A: Any, H: Any, gain: Any = None) -> Any:
    """Return how fast token differences grow in a deep pre-norm stack, relative to what tokens share.

    The layer is X + A LN(X) H, with a true layer norm: each token less its mean
    over features, over its standard deviation, times ``gain``.

    Parameters
    ----------
    A : array, shape (..., n, n)
        Attention, as in :class:`linsim.Linear`.
    H : array, shape (..., d, d)
        Value times projection.
    gain : array, shape (..., d), optional
        gamma, of any signs; 1 if left out.

    Returns
    -------
    float or array, batch shape
        q >= 0, maybe inf.  Below 1 identical tokens are stable: near them HFC/LFC falls like
        l^(q - 1), a power of depth.  Above 1 they are not.  1 if nothing grows.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If matrices are refused as by :class:`linsim.Linear`, or the gain does not fit.

    Notes
    -----
    Derived here, for real leading mu_1, by linearising at X = 1 c^T; checked against simulation.
    It is a statement about tokens that are nearly alike: other states may be stable beside
    them (tokens at +-u, whose signs attention keeps), and hold what starts far away.

    Let P = I - 11^T/d and mu_j be the eigenvalues of P diag(gamma) H (one of them is 0).
    With s the standard deviation of c, c moves by (1/s) c P diag(gamma) H: it turns to the leading
    left eigenvector and grows by Re mu_1 per layer, so s grows linearly and steps
    shrink like 1/l.  The derivative of the norm at c is (P - u u^T)/s, u the unit vector along
    c P: it takes mu_1 away from the differences Z, which move by (1/s) A Z (P - u u^T) diag(gamma) H.
    Sums of 1/s are ln(l)/Re mu_1, so Z grows like l^q,

        q = max(0, max over lambda_i != 1 and j of Re(lambda_i mu_j)) / max_j Re mu_j

    (j = 1 left out where mu_1 is real), and HFC/LFC like l^(q - 1).  Small steps make
    ln|1 + lambda mu / s| = Re(lambda mu) / s: real parts decide, not moduli, and nothing
    overshoots.  For real spectra inputs smooth iff mu_max > max(0, a mu_min):
    :func:`real_regime` without its second branch, and with P.

    Examples
    --------
    Weights 5 I and a gain of -1: the linear layer overshoots and smooths, the pre-norm stack sharpens:

    >>> A = np.array([[0.35, 0.65], [0.65, 0.35]])
    >>> real_regime(-5.0, -5.0, -0.3), pre_norm_ratio(A, 5 * np.eye(4), -np.ones(4))
    ('smoothing', inf)
    >>> round(pre_norm_ratio(A, -np.diag([3.0, 2.0, 1.0]), [-1.0, 1.0, 1.0]), 4)
    0.3
    """
    rule = Linear(A, H)
    if not rule.stochastic:
        raise _validate.refusal(
            InvalidTypeError,
            "A",
            "general attention",
            "a stochastic matrix",
            "Pass attention whose rows sum to 1.",
        )
    eps_A, eps = spacing(rule.A), spacing(rule.H, gain)
    A, H = (to_host(M).astype(np.float64) for M in (rule.A, rule.H))
    n, d = rule.n, rule.d
    gamma = np.ones(d)
    if gain is not None:
        gamma = to_host(_validate.array(gain, "gain", ndim=1, shape="(..., d)")).astype(np.float64)
    if gamma.shape[-1] != d:
        raise _validate.refusal(
            ShapeError, "gain", f"shape {gamma.shape} with H {H.shape}", f"shape (..., {d})", "One a feature."
        )
    batch = _validate.broadcast_batches(A=A.shape[:-2], H=H.shape[:-2], gain=gamma.shape[:-1])
    scaled = gamma[..., :, None] * H
    mu = np.linalg.eigvals(scaled - np.mean(scaled, axis=-2, keepdims=True)).astype(np.complex128)
    mu = np.take_along_axis(mu, np.argsort(-mu.real, axis=-1, kind="stable"), axis=-1)
    lam = (
        attention_eigensystem(meant(A.reshape(-1, n, n), eps_A), eps_A)
        .values[:, 1:]
        .reshape(*A.shape[:-2], n - 1, 1)
    )
    size = np.linalg.norm(scaled, axis=(-1, -2))
    rounding = 16 * d * max(eps, eps_A) * size
    drift = (lam * mu[..., None, :]).real
    single = np.abs(mu[..., 0].imag) <= rounding
    drift[..., 0] = np.where(single[..., None], 0.0, drift[..., 0])
    rest = np.broadcast_to(np.max(drift, axis=(-1, -2), initial=0.0), batch)
    lead = np.broadcast_to(mu[..., 0].real, batch)
    rest, lead = (np.where(x <= rounding, 0.0, x) for x in (rest, lead))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((rest == 0) & (lead == 0), 1.0, rest / lead)
    return ratio.item() if ratio.ndim == 0 else ratio


def _numbers(**values: Any) -> list[Any]:
    """Arguments as float64 arrays of one shape."""
    arrays = {
        name: to_host(_validate.array(value, name)).astype(np.float64) for name, value in values.items()
    }
    shape = _validate.broadcast_batches(**{name: array.shape for name, array in arrays.items()})
    return [np.broadcast_to(array, shape) for array in arrays.values()]


def _attention_end(a: Any) -> None:
    if np.any(np.abs(a) >= 1):
        raise _validate.refusal(
            InvalidValueError,
            "lambda_min",
            float(a[np.abs(a) >= 1].flat[0]),
            "numbers in (-1, 1)",
            "It is the smallest eigenvalue of attention with positive entries.",
        )
