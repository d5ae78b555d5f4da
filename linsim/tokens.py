"""Token matrices X (..., n, d): n tokens as rows, d features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _spectra, _validate
from ._spectra import FloatArray
from .errors import InvalidValueError

__all__ = ["gaussian"]


def gaussian(
    n: int,
    d: int,
    *,
    similarity: float | ArrayLike | None = None,
    size: int | tuple[int, ...] = (),
    rng: Any = None,
) -> FloatArray:
    """Draw Gaussian tokens, with a given token similarity if wanted.

    Parameters
    ----------
    n, d : int
        Tokens and features.
    similarity : float or array that broadcasts with ``size``, optional
        t_sim = ‖ΠX‖²/‖X‖² in [0, 1], Π = 11ᵀ/n, set exactly (to rounding) by scaling the mean
        and the centered part; the norm stays that of the draw.  1 makes all rows equal, 0 makes
        every column sum to zero.  One token is always similar to itself: n = 1 allows only 1.
    size : int or tuple
        Batch shape.
    rng : anything ``numpy.random.default_rng`` takes

    Returns
    -------
    (*size, n, d) float64 array
        Independent N(0, 1) entries before the scaling.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n``, ``d`` or ``size`` is not a positive integer, or ``similarity`` is outside [0, 1].
    ShapeError
        If ``similarity`` does not broadcast with ``size``.

    Source: standard; token similarity is that of arXiv 2312.06182.

    Examples
    --------
    >>> X = gaussian(5, 3, similarity=0.25, rng=0)
    >>> float((5 * (X.mean(axis=0) ** 2).sum() / (X**2).sum()).round(12))
    0.25
    """
    n = _validate.count(n, "n", minimum=1)
    d = _validate.count(d, "d", minimum=1)
    batch = _validate.size(size)
    if similarity is None:
        return np.asarray(_validate.generator(rng).standard_normal((*batch, n, d)))
    wanted, batch = _spectra.parameter(similarity, "similarity", batch, low=0, high=1)
    if n == 1 and (wanted != 1).any():
        raise _validate.refusal(
            InvalidValueError,
            "similarity",
            f"{float(wanted.min())} with n = 1",
            "None or 1",
            "One token has no diversity; take n >= 2.",
        )
    x = np.asarray(_validate.generator(rng).standard_normal((*batch, n, d)))
    if n == 1:
        return x
    total = np.sum(x * x, axis=(-2, -1))
    mean = x.mean(axis=-2, keepdims=True)
    centered = x - mean
    # the first mean carries rounding of the size of x, the second only of its own error
    centered -= centered.mean(axis=-2, keepdims=True)
    common = np.sqrt(wanted * total / (n * np.sum(mean * mean, axis=(-2, -1))))
    diverse = np.sqrt((1 - wanted) * total / np.sum(centered * centered, axis=(-2, -1)))
    return np.asarray(common[..., None, None] * mean + diverse[..., None, None] * centered)
