"""What holds for every attention: the local rate, the lower bound, and the law of odds."""

from __future__ import annotations

from typing import Any

from .._namespace import namespace
from ._arguments import MOST, answer, together, within

__all__ = ["local_rate", "rate_bound", "similarity_after"]


def local_rate(std: Any, sigma: Any) -> Any:
    """Return s^2 (1 - sigma^2)/(1 + s^2), which the rate reaches at least as t goes to 1, for any attention.

    Parameters
    ----------
    std : float or array
        s >= 0 with E W = 0 and E W W^T = s^2 I.
    sigma : float or array
        ||Pi_perp P Pi_perp||_2 >= 0 (:func:`sigma`); broadcasts with ``std``.

    Returns
    -------
    float or array
        Rate per layer as a ratio of expectations; 1/2 at s = 1, sigma = 0.  Negative if sigma > 1.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is negative, not finite, std above 1e15 or sigma above 1e100, or shapes do not
        broadcast.

    Notes
    -----
    1/2: arXiv 2312.06182.  The rest is derived here, with equality iff
    ||Pi_perp P Pi_perp X|| = sigma ||Pi_perp X||.  Proved as ``escalation.local`` in proofs_check.

    Examples
    --------
    >>> local_rate(1.0, 0.0), local_rate(2.0, 0.5)
    (0.5, 0.6)
    """
    s, gap = together(std=std, sigma=sigma)
    square = within(s, "std", 0.0, MOST) ** 2
    gap = within(gap, "sigma", 0.0, 1e100)
    return answer(square * ((1 - gap) * (1 + gap)) / (1 + square), std, sigma)


def rate_bound(similarity: Any, std: Any, sigma: Any) -> Any:
    """Return the least rate of a layer whose attention keeps the mean token, as a ratio of expectations.

    s^2 (1 - sigma^2) t / (1 + s^2 sigma^2 + s^2 (1 - sigma^2) t), for Pi P = Pi: symmetric or doubly
    stochastic attention (:func:`preserves_mean`).

    Parameters
    ----------
    similarity : float or array
        Token similarity t in [0, 1].
    std : float or array
        s >= 0 with E W = 0 and E W W^T = s^2 I.
    sigma : float or array
        ||Pi_perp P Pi_perp||_2, in [0, 1] for such attention.

    Returns
    -------
    float or array
        Broadcast of the arguments.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is out of range or not finite, or shapes do not broadcast.

    Notes
    -----
    That the rate scales with t and depends on the second eigenvalue: arXiv 2312.06182; the bound and its
    equality (iff ||Pi_perp P Pi_perp X|| = sigma ||Pi_perp X||) are derived here.  Proved as
    ``escalation.bound`` in proofs_check.
    **False for general attention**: P = [[.9, .1], [.9, .1]] has sigma = 0 and X = (1, -9)^T has t = 16/41,
    but P X = 0, so nothing moves and the rate is 0.

    Examples
    --------
    >>> rate_bound(1.0, 1.0, 0.0)
    0.5
    >>> rate_bound([0.2, 0.8], 1.0, 0.0).round(4)
    array([0.1667, 0.4444])
    """
    t, s, gap = together(similarity=similarity, std=std, sigma=sigma)
    t, gap = within(t, "similarity", 0.0, 1.0), within(gap, "sigma", 0.0, 1.0)
    square = within(s, "std", 0.0, MOST) ** 2
    gained = square * ((1 - gap) * (1 + gap)) * t
    return answer(gained / (1 + square * gap * gap + gained), similarity, std, sigma)


def similarity_after(layers: Any, similarity: Any, std: Any, sigma: Any) -> Any:
    """Return the least similarity after some layers by the law of odds, as a ratio of expectations.

    The odds u = t/(1-t) of expectations grow by at least (1 + s^2)/(1 + s^2 sigma^2) per layer if
    Pi P = Pi, exactly by that when all eigenvalues but 1 have modulus sigma (uniform: sigma = 0).

    Parameters
    ----------
    layers : float or array
        Number of layers, >= 0.
    similarity : float or array
        Token similarity t of the input, in [0, 1].
    std : float or array
        s >= 0 with E W = 0 and E W W^T = s^2 I.
    sigma : float or array
        ||Pi_perp P Pi_perp||_2, in [0, 1].

    Returns
    -------
    float or array
        Similarity in [0, 1]; 0 stays 0.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is out of range or not finite, or shapes do not broadcast.

    Notes
    -----
    Similarity near 1 within 10 to 12 layers: arXiv 2312.06182; the law is derived here.  Proved as
    ``escalation.odds_law`` in proofs_check.  False for general attention, as :func:`rate_bound` is.

    Examples
    --------
    >>> similarity_after([0, 6, 12], 1 / 64, 1.0, 0.0).round(3)  # n = 64 tokens: the odds double
    array([0.016, 0.504, 0.985])
    """
    count, t, s, gap = together(layers=layers, similarity=similarity, std=std, sigma=sigma)
    t, gap = within(t, "similarity", 0.0, 1.0), within(gap, "sigma", 0.0, 1.0)
    count = within(count, "layers", 0.0, 1e18)
    square = within(s, "std", 0.0, MOST) ** 2
    xp = namespace(t)
    growth = xp.log1p(square * ((1 - gap) * (1 + gap)) / (1 + square * gap * gap))
    inside = (t > 0) & (t < 1)
    safe = xp.where(inside, t, xp.full_like(t, 0.5))
    odds = count * growth + xp.log(safe) - xp.log1p(-safe)
    shrunk = xp.exp(-xp.abs(odds))
    grown = xp.where(odds >= 0, 1 / (1 + shrunk), shrunk / (1 + shrunk))
    return answer(xp.where(inside, grown, t + xp.zeros_like(grown)), layers, similarity, std, sigma)
