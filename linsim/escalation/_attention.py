"""What escalation asks of an attention matrix: its gap, and whether it keeps the mean token."""

from __future__ import annotations

from typing import Any

from .. import _validate
from .._namespace import Array, namespace

__all__ = ["centred", "preserves_mean", "sigma"]


def centred(P: Array) -> Array:
    """Return Pi_perp P Pi_perp of row-stochastic (..., n, n) P: P 1 = 1, so it is Pi_perp P."""
    return P - namespace(P).mean(P, axis=-2, keepdims=True)


def sigma(P: Any) -> Array:
    """Return the spectral norm of Pi_perp P Pi_perp: how much of its differences attention keeps.

    Parameters
    ----------
    P : (..., n, n) array
        Attention: entries >= 0, rows summing to 1.

    Returns
    -------
    (...) array in the library of ``P``
        0 for uniform attention; |lambda_2| for symmetric P; above 1 for some non-symmetric P.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``P`` is not a stack of row-stochastic matrices.

    Notes
    -----
    Derived here; for symmetric P it is the second largest modulus of an eigenvalue, on which the rate
    depends in arXiv 2312.06182.

    Examples
    --------
    >>> sigma([[0.8, 0.2], [0.2, 0.8]]).round(12)
    np.float64(0.6)
    """
    P = _validate.attention_matrix(P, "P")
    xp = namespace(P)
    return xp.max(xp.linalg.svdvals(centred(P)), axis=-1)


def preserves_mean(P: Any) -> Array:
    """Return whether Pi P = Pi: every column sums to 1 to rounding, so attention keeps the mean token.

    Parameters
    ----------
    P : (..., n, n) array
        Attention: entries >= 0, rows summing to 1.

    Returns
    -------
    (...) bool array in the library of ``P``

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``P`` is not a stack of row-stochastic matrices.

    Source: standard (doubly stochastic matrices).

    Examples
    --------
    >>> bool(preserves_mean([[0.8, 0.2], [0.2, 0.8]])), bool(preserves_mean([[0.9, 0.1], [0.9, 0.1]]))
    (True, False)
    """
    P = _validate.attention_matrix(P, "P")
    xp = namespace(P)
    off = xp.max(xp.abs(xp.sum(P, axis=-2) - 1), axis=-1)
    return off <= 16 * P.shape[-1] * float(xp.finfo(P.dtype).eps)
