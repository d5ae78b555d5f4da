"""Singular values of one large matrix from its Gram matrix, where an error bound says that its digits do.

The eigenvalues of the Gram matrix are off by a few eps sigma_1^2, so a singular value s is off by that over
2 s: too much only for what is far below the largest.  A leading pair that stands out is therefore taken off
first, and LAPACK's SVD, which costs three times as much, is asked about what is left.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._types import HostArray

__all__ = ["of_squares", "singular_values", "values_of_minors"]

# what an error bound of the effective rank is held to, relative
_WANTED = 2e-13


def singular_values(X: HostArray, ratio: float = np.inf) -> tuple[HostArray, bool, float]:
    """Singular values of one (n, d) matrix by the cheapest method whose error bound holds.

    Where that of the Gram matrix does not, the leading singular pair is split off first:
    X = u r^T + Y with u^T Y = 0, and the rest has singular values of its own scale, exact
    to (|Y r| / |r|^2)^2.  Else LAPACK's SVD is asked.

    Parameters
    ----------
    X : (n, d) float64 or float32, not zero, entries around 1
    ratio : a bound on sigma_2 / sigma_1 if tokens are nearly alike (rows nearly equal), else inf

    Returns
    -------
    (min(n, d),) decreasing; whether the SVD was needed; and a bound on the relative error of the
    effective rank that the cheaper methods leave.
    """
    wanted = _wanted(X)
    if X.shape[0] > X.shape[1]:
        X, u = X.T, None
    else:
        u = np.full(X.shape[0], X.shape[0] ** -0.5, dtype=X.dtype) if ratio < 0.5 else None
    if u is None:
        G = X @ X.T
        s = _roots(G)
        blurred = _error(s, 0.0)
        if blurred <= wanted:
            return s, False, blurred
        # not the sum of all rows, which may be 0
        u = _power(lambda v: G @ v, G[np.argmax(np.diagonal(G))])
    else:
        u = _power(lambda v: X @ (v @ X), u)
    r = u @ X
    first = np.linalg.norm(r)
    Y = X - u[:, None] * r
    coupling = np.linalg.norm(Y @ (r / first))
    rest = _roots(Y @ Y.T)[:-1]
    if rest.size == 0 or rest[0] < first:
        s = np.concatenate([[first], rest])
        extra = float(coupling / first) ** 2
        blurred = _error(rest, float(first)) + extra
        if blurred <= wanted:
            return s, False, blurred
    return np.linalg.svd(X, compute_uv=False), True, 0.0


def values_of_minors(S: HostArray, share: float = 1.0) -> tuple[HostArray, bool, float]:
    """Singular values of minors, whose leading pair is off: some unit u has u^T S = 0, and some q S q = 0.

    Parameters
    ----------
    S : (n, d) float64 or float32, entries around 1
    share : one over the leading singular value, in units of S: how much minors weigh in what the whole's
        effective rank is off; gaps are held to a bound five times as large

    Returns
    -------
    As of :func:`singular_values`, (min(n, d),), of which the last is 0; the bound is relative to what the
    effective rank of S itself would be.

    Examples
    --------
    >>> values_of_minors(np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]))[0]
    array([1. , 0.5, 0. ])
    """
    short = S.T if S.shape[0] > S.shape[1] else S
    # that value is known: its square is what the Gram matrix rounds
    s = np.append(_roots(short @ short.T)[:-1], S.dtype.type(0))
    blurred = _error(s[:-1], 0.0)
    # the entropy of all, of a first value of 1 and the others, is at most this
    part = min(1.0, share * float(s.sum()))
    entropy = part * (1 + np.log(len(s) / part)) if part > 0 else 0.0
    if blurred * min(1.0, max(0.2, entropy)) <= _wanted(S):
        return s, False, blurred
    return np.linalg.svd(S, compute_uv=False), True, 0.0


def of_squares(s: HostArray, blurred: HostArray, split_off: HostArray, ranks: HostArray) -> HostArray:
    """What squaring adds to the errors of metrics of rank of b states, in the order of ``slots.RANKS``.

    Parameters
    ----------
    s (b, m) : the singular values found, m > 1, of minors where ``split_off`` (b,), else of all of a state
    blurred (b,) : the bound that came with them
    ranks (4, b) : the metrics

    Returns
    -------
    (4, b), absolute.

    Notes
    -----
    Of a state, the bound is that of its effective rank r, and r - 1 is off as much.  Of minors it bounds the
    sum of |ds| (1 + |ln s / sum s|) over the sum of s; the entropy of the state, ln r, is off by at most as
    much, relatively, to first order: twice that is told.  Squares are off by 4 eps of the largest each.
    """
    eps, m = float(np.finfo(s.dtype).eps), s.shape[-1]
    rank, _, stable, _ = ranks
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        off_rank = np.where(split_off, 2 * blurred * np.log(rank), blurred) * rank
        off_gap = np.where(split_off, 2 * blurred, blurred * rank / (rank - 1))
        off_stable = 4 * eps * np.sqrt(m) * np.where(split_off, stable - 1, stable)
        off_second = np.where(split_off, 2 * eps, 2 * eps * (s[:, 0] / s[:, 1]) ** 2)
    off: HostArray = np.stack([off_rank, off_gap, off_stable, off_second])
    return np.where(np.isnan(off), np.inf, off)


def _wanted(X: HostArray) -> float:
    return _WANTED / 2.2e-16 * float(np.finfo(X.dtype).eps)


def _roots(G: HostArray) -> HostArray:
    """Singular values from a Gram matrix, decreasing."""
    values: HostArray = np.sqrt(np.maximum(np.linalg.eigvalsh(G)[::-1], 0))
    return values


def _power(apply: Any, u: HostArray) -> HostArray:
    """A few power steps towards the leading left singular vector, as many as still change it."""
    u = u / np.linalg.norm(u)
    small = 1e-8 if u.dtype == np.float64 else 1e-4
    for _ in range(40):
        v = apply(u)
        size = u @ v
        v = v / np.linalg.norm(v)
        moved = np.linalg.norm(v - u)
        u = v
        if moved < small or size <= 0:
            break
    return u


def _error(s: HostArray, first: float) -> float:
    """Bound on the relative error of the effective rank from that of a Gram matrix's eigenvalues.

    ``s``: the singular values found; ``first``: one that was split off, exact.
    """
    if s.size == 0 or s[0] == 0:
        return 0.0
    eps = float(np.finfo(s.dtype).eps)
    s = s.astype(np.float64)
    whole = first + s.sum()
    # eigenvalues err by about eps times the largest, in either direction: errors of many add up like roots
    off = np.minimum(4 * eps * s[0] ** 2 / (2 * np.maximum(s, 1e-300)), 4 * np.sqrt(eps) * s[0])
    weight = 1 + np.abs(np.log(np.maximum(s, 1e-300) / whole))
    return float(np.linalg.norm(off * weight) / whole)
