"""Residual branches scaled by 1/sqrt(L): the whole depth L costs token diversity a bounded factor only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .. import _validate
from .._eigen import meant, spacing
from .._namespace import Array, to_host
from .._spectra import parameter
from .._types import FloatArray
from ..errors import InvalidValueError

__all__ = ["scaled_residual_loss", "scaled_residual_odds"]


def scaled_residual_loss(A: Array, std: float | ArrayLike, depth: int) -> FloatArray:
    """Bound what ``depth`` layers X + A X W / sqrt(depth) with fresh random W take from token diversity.

    E ||Pi_perp X_L||^2 / E ||X_L||^2 >= t_div(X_0) e^(-loss).

    Parameters
    ----------
    A : (..., n, n) array
        Attention, the same at each layer or not (then take the worst loss).
    std : float or array that broadcasts with the batch
        s, with E W = 0 and E W W^T = s^2 I: before the scaling.
    depth : int
        L, at least 1.

    Returns
    -------
    (...) float64 array
        loss = L ln(1 + s^2 ||A||_2^2 / L): grows with L, but never beyond s^2 ||A||_2^2.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``A`` is not a stack of attention matrices, ``std`` negative, or ``depth`` not positive.

    Notes
    -----
    Derived here; the scaling is that of Noci et al. 2022 (arXiv 2206.03126).  Given X,
    E ||X + A X W||^2 = ||X||^2 + s^2/L ||A X||^2, and E ||Pi_perp (X + A X W)||^2 >= ||Pi_perp X||^2;
    multiply over the layers.  ||A||_2 is 1 if A is doubly stochastic, and sqrt(n) at most.  Without
    the scaling, the same bound is L ln(1 + s^2 ||A||^2), without limit.

    Examples
    --------
    >>> from linsim import attention
    >>> scaled_residual_loss(attention.uniform(8), 1.0, 100), 100 * np.log(2)
    (np.float64(0.99503...), np.float64(69.3147...))
    """
    matrix, variance, depth = _checked(A, std, depth)
    norm = np.linalg.norm(matrix, 2, axis=(-1, -2))
    return np.asarray(depth * np.log1p(variance * norm**2 / depth))[()]


def scaled_residual_odds(A: Array, std: float | ArrayLike, depth: int) -> tuple[FloatArray, FloatArray]:
    """Bound the growth of the odds of similarity over ``depth`` layers X + A X W / sqrt(depth).

    Parameters
    ----------
    A : (..., n, n) array
        Attention whose columns sum to 1 too, within 1e-8, or within
        rounding in float32 (symmetric, uniform, doubly stochastic).
    std : float or array that broadcasts with the batch
        s, with E W = 0 and E W W^T = s^2 I: before the scaling.
    depth : int
        L, at least 1.

    Returns
    -------
    low, high : (...) float64 arrays
        Bounds of ln(u_L / u_0) for u = E ||Pi X||^2 / E ||Pi_perp X||^2, the ratio of
        expectations: L ln((1 + s^2/L) / (1 + s^2 sigma^2/L)), sigma the largest and the smallest
        singular value of A on the complement of 1.  Both below s^2.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``A`` is not a stack of doubly stochastic matrices, ``std`` negative, or ``depth`` not positive.

    Notes
    -----
    Derived here, from E ||Pi Y||^2 = (1 + s^2/L) ||Pi X||^2 and
    E ||Pi_perp Y||^2 = ||Pi_perp X||^2 + s^2/L ||A Pi_perp X||^2, both exact; the odds law of arXiv
    2312.06182 with the scaling of Noci et al. 2022 (arXiv 2206.03126).  For uniform attention
    Pi_perp X never changes, low = high, and **E u_L = (1 + s^2/L)^L u_0 < e^(s^2) u_0 holds for the odds
    themselves**: every layer multiplies them by an independent Q with E Q = 1 + s^2/L.
    For Gaussian W, E Q^2 = (E Q)^2 + (2 s^4/L^2 + 4 s^2/L)/d gives their variance, and ln u_L - ln u_0
    tends to N(s^2 (1 - 2/d), 4 s^2/d) as L grows.  One layer, with s^2 for s^2/L, is proved as
    ``escalation.odds_law`` in proofs_check.

    Examples
    --------
    >>> from linsim import attention
    >>> low, high = scaled_residual_odds(attention.uniform(8), 1.0, 100)
    >>> float(np.exp(low)), bool(low == high)
    (2.7048..., True)
    """
    matrix, variance, depth = _checked(A, std, depth)
    error = float(np.max(np.abs(np.sum(matrix, axis=-2) - 1)))
    if error > 1e-8:
        raise _validate.refusal(
            InvalidValueError,
            "A",
            f"a column whose sum misses 1 by {error:.3g}",
            "columns that sum to 1 as the rows do",
            "The odds of a general A have no such law; use scaled_residual_loss.",
        )
    n = matrix.shape[-1]
    # of A - 11^T/n the direction of 1 gives one singular value 0 that does not count
    values = np.linalg.svd(matrix - 1 / n, compute_uv=False)
    largest, smallest = values[..., 0], values[..., max(n - 2, 0)]
    constant = np.log1p(variance / depth)
    low, high = (
        np.asarray(depth * (constant - np.log1p(variance * sigma**2 / depth)))[()]
        for sigma in (largest, smallest)
    )
    return low, high


def _checked(A: Array, std: float | ArrayLike, depth: int) -> tuple[FloatArray, FloatArray, int]:
    given = _validate.attention_matrix(A)
    matrix = to_host(given).astype(np.float64)
    # columns of float32 matrices sum to 1 in float32 only
    matrix = meant(matrix.reshape(-1, *matrix.shape[-2:]), spacing(given)).reshape(matrix.shape)
    scale, _ = parameter(std, "std", matrix.shape[:-2], low=0)
    return matrix, scale**2, _validate.count(depth, "depth", minimum=1)
