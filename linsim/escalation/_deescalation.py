"""De-escalation Y = (I - tau Pi) X: take a share of the mean token away."""

from __future__ import annotations

from typing import Any

from .. import _validate
from .._namespace import Array, namespace
from ..errors import InvalidValueError
from ._arguments import answer, together, within

__all__ = ["deescalate", "deescalated_similarity", "tau_for"]


def deescalate(x: Any, tau: Any) -> Array:
    """Return (I - tau Pi) X: every token less tau times the mean token.

    Parameters
    ----------
    x : (..., n, d) array
        Token matrices.
    tau : float or array that broadcasts with the batch
        Share of the mean token taken away, any finite number; 1 removes all of it.

    Returns
    -------
    (..., n, d) array in the library and dtype of ``x``

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is not finite, or shapes do not fit.

    Source: arXiv 2312.06182.

    Examples
    --------
    >>> deescalate([[1.0], [3.0]], 0.5)
    array([[0.],
           [2.]])
    """
    x = _validate.array(x, "x", ndim=2, shape="(..., n, d)")
    share = _beside(tau, x)
    _validate.broadcast_batches(x=tuple(x.shape[:-2]), tau=tuple(share.shape))
    xp = namespace(x)
    mean = xp.mean(x, axis=-2, keepdims=True)
    return x - share[..., None, None] * mean


def _beside(tau: Any, x: Array) -> Array:
    """Return tau in the library, device and dtype of x."""
    xp = namespace(x)
    _, share = together(x=xp.zeros_like(x[(0,) * x.ndim]), tau=tau)
    return xp.astype(share, x.dtype, copy=False)


def deescalated_similarity(similarity: Any, tau: Any) -> Any:
    """Return the token similarity after de-escalation, (1-tau)^2 t / ((1-tau)^2 t + 1 - t).

    Parameters
    ----------
    similarity : float or array
        Token similarity t in [0, 1].
    tau : float or array
        Share of the mean token taken away; broadcasts.

    Returns
    -------
    float or array
        At t = tau = 1 nothing is left, and the value is 0 by convention.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is not finite, ``tau`` above 1e100 in modulus, a similarity lies outside [0, 1], or
        shapes do not broadcast.

    Notes
    -----
    De-escalation: arXiv 2312.06182; the formula is derived here, exact for every X but t = tau = 1.
    Proved as ``escalation.deescalation`` in proofs_check.

    Examples
    --------
    >>> deescalated_similarity(0.75, 0.5), deescalated_similarity(1.0, 1.0)
    (0.42857142857142855, 0.0)
    """
    t, share = together(similarity=similarity, tau=tau)
    t, share = within(t, "similarity", 0.0, 1.0), within(share, "tau", -1e100, 1e100)
    xp = namespace(t)
    kept = (1 - share) ** 2 * t
    total = kept + (1 - t)
    some = total > 0
    value = xp.where(some, kept / xp.where(some, total, xp.ones_like(total)), xp.zeros_like(total))
    return answer(value, similarity, tau)


def tau_for(similarity: Any, wanted: Any) -> Any:
    """Return the tau <= 1 that makes a wanted similarity of a given one.

    Parameters
    ----------
    similarity : float or array
        Token similarity t in [0, 1].
    wanted : float or array
        Token similarity after de-escalation, in [0, 1]; broadcasts.

    Returns
    -------
    float or array
        1 - sqrt(wanted (1-t) / (t (1-wanted))): in [0, 1] if ``wanted`` <= t, negative if it is higher.
        0 where ``wanted`` equals t, also at both ends; 1 for t = 1, wanted = 0.

    Raises
    ------
    InvalidValueError
        Where ``wanted`` cannot be reached: from t = 0 only 0 can, from t = 1 only 0 and 1, and 1 only
        from 1.
    InvalidTypeError, ShapeError
        For text, and for shapes that do not broadcast.

    Notes
    -----
    Derived here.  Proved as ``escalation.deescalation`` in proofs_check.

    Examples
    --------
    >>> round(tau_for(0.8, 0.5), 12)
    0.5
    """
    t, goal = together(similarity=similarity, wanted=wanted)
    t, goal = within(t, "similarity", 0.0, 1.0), within(goal, "wanted", 0.0, 1.0)
    xp = namespace(t)
    inner = (t > 0) & (t < 1) & (goal < 1)
    same, emptied = t == goal, (t == 1) & (goal == 0)
    unreachable = ~(inner | same | emptied)
    if bool(xp.any(unreachable)):
        raise _validate.refusal(
            InvalidValueError,
            "wanted",
            "a similarity that de-escalation cannot reach",
            "0 from t = 0, 0 or 1 from t = 1, below 1 from 0 < t < 1",
            "No multiple of the mean token makes it.",
        )
    half = xp.full_like(t + goal, 0.5)
    t_in, goal_in = xp.where(inner, t, half), xp.where(inner, goal, half)
    # roots one by one: the ratio of odds may leave the range
    ratio = xp.sqrt(goal_in) * xp.sqrt(1 - t_in) / (xp.sqrt(t_in) * xp.sqrt(1 - goal_in))
    value = xp.where(same, xp.zeros_like(ratio), xp.where(emptied, xp.ones_like(ratio), 1 - ratio))
    return answer(value, similarity, wanted)
