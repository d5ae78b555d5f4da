"""How much a mask slows the collapse: uniform attention on a ring and under a causal mask, exactly."""

from __future__ import annotations

import math

import numpy as np

from .. import _validate
from .._types import FloatArray

__all__ = ["causal_log_gap", "ring_eigenvalues", "ring_gap"]


def ring_eigenvalues(n: int, radius: int) -> FloatArray:
    """Return the eigenvalues of uniform attention under :func:`linsim.masks.ring`.

    Parameters
    ----------
    n : int
        Tokens.
    radius : int
        Each token sees those at most this far away.

    Returns
    -------
    (n,) float64 array
        lambda_k of the Fourier modes k = 0, ..., n - 1; lambda_0 = 1.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` is not a positive integer, or ``radius`` not a non-negative one.

    Notes
    -----
    Standard: the matrix is a circulant, so lambda_k = (1 + 2 sum_{j <= r} cos(2 pi j k / n)) / (2 r + 1)
    = sin((2 r + 1) pi k / n) / ((2 r + 1) sin(pi k / n)), Dirichlet's kernel; for 2 r + 1 >= n
    every token sees all.

    Examples
    --------
    >>> ring_eigenvalues(4, 1).round(6)
    array([ 1.      ,  0.333333, -0.333333,  0.333333])
    """
    n, window = _window(n, radius)
    k = np.arange(1, n)
    k = np.minimum(k, n - k)
    # the angle is reduced in integers first: sin of a large multiple of pi loses digits
    above = np.sin(np.pi / n * (window * k % (2 * n)))
    return np.concatenate(
        [[1.0], above / (window * np.sin(np.pi / n * k)) if window < n else np.zeros(n - 1)]
    )


def ring_gap(n: int, radius: int) -> float:
    """Return the spectral gap 1 - |lambda_2| of uniform attention under :func:`linsim.masks.ring`.

    Parameters
    ----------
    n : int
        Tokens.
    radius : int
        Each token sees those at most this far away.

    Returns
    -------
    float
        In [0, 1], to full relative accuracy; 1 for a single token.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` is not a positive integer, or ``radius`` not a non-negative one.

    Notes
    -----
    Derived here.  With 1 - cos x <= x^2 / 2 in :func:`ring_eigenvalues`,

        **1 - |lambda_2| <= (2 pi^2 / 3) r (r + 1) / n^2,**

    and X_l = A^l X_0 H^l keeps |lambda_2|^l of its slowest mode: under a local mask the collapse takes of the
    order of n^2 / r^2 layers, where full uniform attention takes one.  Masks that slow the collapse
    are the subject of Wu et al. 2024 (arXiv 2405.18781).

    Examples
    --------
    >>> ring_gap(64, 1), 2 * np.pi**2 / 3 * 2 / 64**2
    (0.003210..., 0.003212...)
    """
    values = ring_eigenvalues(n, radius)[1:]
    if not values.size:
        return 1.0
    n, window = _window(n, radius)
    if window >= n:
        return 1.0
    k = int(np.argmax(np.abs(values))) + 1
    steps = np.arange(1, (window - 1) // 2 + 1)
    below_one = 4 / window * float(np.sum(np.sin(np.pi / n * (steps * k % n)) ** 2))
    return min(below_one, 2 - below_one)


def _window(n: int, radius: int) -> tuple[int, int]:
    """Check n; how many tokens each one sees, or n if all."""
    n = _validate.count(n, "n", minimum=1)
    return n, min(2 * _validate.count(radius, "radius") + 1, n)


def causal_log_gap(n: int, depth: int) -> FloatArray:
    """Return what uniform causal attention leaves of the tokens other than the first.

    Row i of A^depth is the weights with which token i holds the tokens of layer 0; all of
    it goes to the first token in the end.

    Parameters
    ----------
    n : int
        Tokens.
    depth : int
        Layers.

    Returns
    -------
    (n,) float64 array
        ln(1 - (A^depth)_i0) for tokens i = 0, ..., n - 1; -inf for the first.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` is not a positive integer, or ``depth`` not a non-negative one.

    Notes
    -----
    Derived here.  A is Cesaro's matrix, whose eigenvalues are 1, 1/2, ..., 1/n whatever the
    number of tokens.  With P a product of l independent uniform numbers, (A^l)_ij =
    binom(i, j) E P^j (1 - P)^(i - j) (Hausdorff's moments), so

        **1 - (A^l)_i0 = E[1 - (1 - P)^i] <= min(1, i E P) = min(1, i 2^-l),**

    and -> i 2^-l.  The late tokens of a long sequence need log2(n) layers more than the
    second one; then every token halves its distance at each layer.  Softmax attention under a causal mask
    is no faster in the end: as the first two tokens approach, the weights of the second tend to
    1/2 each, so the doubly exponential collapse of full attention
    (:func:`~linsim.theory.pure_attention.pure_attention_bound`) becomes exponential.  Collapse
    on the first token: Wu et al. 2024 (arXiv 2405.18781).

    Examples
    --------
    >>> causal_log_gap(3, 1) - np.log([1, 1 / 2, 2 / 3])
    array([-inf,   0.,   0.])
    >>> float(causal_log_gap(1000, 1000)[-1] - np.log(999 / 2.0**1000)) < 1e-12
    True
    """
    n = _validate.count(n, "n", minimum=1)
    depth = _validate.count(depth, "depth")
    # 2^l (1 - A^l_i0): sums of positive numbers, which settle at i like (2/3)^l
    settled = math.ceil((math.log(n) + 37) / math.log(1.5))
    rest = np.ones(n)
    rest[0] = 0
    for _ in range(min(depth, settled)):
        rest = 2 * np.cumsum(rest) / np.arange(1, n + 1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(rest) - depth * math.log(2))
