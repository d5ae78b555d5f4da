r"""How much rows of a softmax of Gaussian scores look at the same tokens.

P = E sum_j A_j^2 of one row A and O = E sum_j A_j B_j of two, whose scores s and t are Gaussian: of standard
deviation sigma, independent along j, with correlation rho between rows; averages over fixed draws.

Scores of finitely many channels (d_key) have a variance of their own in each row: |Q_i|^2 / d_key and
Q_i Q_k / d_key are a Wishart matrix.

Scores of tokens whose Gram matrix G fluctuates look more at tokens that are more alike, and less at one that
is more like all others.  As dE F / dCov(s_j, s_l) = E d^2 F / ds_j ds_l for j != l, and half of it for j = l,
the means of A G A^T move by 1/temperature^2 times

- E sum_{j != l} d_j d_l F for each unit of the variance of G_jl, F = A_j A_l, and A_j B_l with rows s and t,
- -E sum_j d_j^2 F for each unit of the variance of alpha_j where G_jl = alpha_j + alpha_l, since a number
  that is added to all scores changes no softmax; F = 2 A_j (1 - A_j), and A_j (1 - B_j) + B_j (1 - A_j).

With P_k = sum_j A_j^k they are 1 - 5 P_2 + 4 P_3 + 6 P_2^2 - 6 P_4 and -2 (1 - 7 P_2 + 12 P_3 - 6 P_4) for
one row; those for two are in the code.  Derived here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .._types import FloatArray

__all__ = ["Overlaps", "averages", "condensed", "overlaps"]

_DRAWS = 2**16  # scores of a row, at least


class Overlaps(NamedTuple):
    """``own`` P and ``pair`` O, their variances over rows and pairs and their covariance; ``token``: the
    covariance of O of two pairs with one row in common.

    ``own_bend`` and ``pair_bend``: what unit variances of G_jl and of alpha_j add to P and O.
    """

    own: float
    pair: float
    own_bend: tuple[float, float] = (0.0, 0.0)
    pair_bend: tuple[float, float] = (0.0, 0.0)
    own_variance: float = 0.0
    pair_variance: float = 0.0
    covariance: float = 0.0
    token: float = 0.0


def condensed(n: int, sigma: float) -> tuple[float, float]:
    """P and O for n -> infinity at one sigma / sqrt(ln n): the random energy model."""
    critical = np.sqrt(2 * np.log(n))
    return (1 - float(critical / sigma) if sigma > critical else 0.0), 0.0


def averages(n: int, sigma: float, rho: float, channels: int = 0) -> tuple[float, float]:
    """P and O alone; ``channels``: d_key, 0 for infinitely many."""
    if n == 1:
        return 1.0, 1.0
    A, B = (_softmax(sigma * scores) for scores in _rows(n, rho, channels, 2))
    return float(np.vdot(A, A) + np.vdot(B, B)) / (2 * A.shape[1]), float(np.vdot(A, B)) / A.shape[1]


def _rows(n: int, rho: float, channels: int, count: int) -> list[FloatArray]:
    """Scores of unit variance of a row and of others, each of which has correlation rho with it."""
    z, rest = _scores(n), np.sqrt(max(1 - rho * rho, 0.0))
    if not channels:
        return [z[0], *(rho * z[0] + rest * z[k] for k in range(1, count))]
    one, turn, other = _roots(z.shape[-1], channels)
    first = one * z[0]
    ways = list(enumerate((1, -1), start=1))[: count - 1]
    return [first, *(rho * first + rest * (turn[::way] * z[0] + other[::way] * z[k]) for k, way in ways)]


def overlaps(n: int, sigma: float, rho: float, channels: int) -> Overlaps:
    """P, O and what fluctuations do, of ``channels`` = d_key."""
    if n == 1:
        return Overlaps(1.0, 1.0)
    A, B, C = (_softmax(sigma * scores) for scores in _rows(n, rho, channels, 3))
    P, Q, O = (np.sum(x * y, axis=0) for x, y in ((A, A), (B, B), (A, B)))  # noqa: E741
    own, pair, off = float(np.mean(P) + np.mean(Q)) / 2, float(np.mean(O)), O - np.mean(O)
    own_variance = float(np.mean((P - own) ** 2) + np.mean((Q - own) ** 2)) / 2
    covariance = float(np.mean((P + Q - 2 * own) * off)) / 2
    token = float(np.mean((np.sum(A * C, axis=0) - pair) * off))
    own_bend = np.mean([_own_bend(A), _own_bend(B)], axis=0)
    return Overlaps(
        own,
        pair,
        (float(own_bend[0]), float(own_bend[1])),
        _pair_bend(A, B, rho),
        own_variance,
        float(np.mean(off**2)),
        covariance,
        token,
    )


def _own_bend(A: FloatArray) -> tuple[float, float]:
    P, three, four = (np.sum(A**k, axis=0) for k in (2, 3, 4))
    return (
        float(np.mean(1 - 5 * P + 4 * three + 6 * P * P - 6 * four)),
        float(-2 * np.mean(1 - 7 * P + 12 * three - 6 * four)),
    )


def _pair_bend(A: FloatArray, B: FloatArray, rho: float) -> tuple[float, float]:
    """Of d^2/ds^2, of d^2/dt^2, and rho times both orders of d^2/ds dt."""
    P, Q, O = (np.sum(x * y, axis=0) for x, y in ((A, A), (B, B), (A, B)))  # noqa: E741
    a, b = A * (1 - A), B * (1 - B)  # dA/ds, dB/dt
    ab = np.sum(a * b, axis=0)
    # sum over j != l of d^2 A_j / ds_j ds_l B_l = -A_j (1 - 2 A_j) A_l B_l, and with the rows exchanged
    alone = np.sum(A * A * (1 - 2 * A) * B + B * B * (1 - 2 * B) * A, axis=0) - (2 - 2 * P - 2 * Q) * O
    crossed = (1 - P) * (1 - Q) - ab + O * O - np.sum((A * B) ** 2, axis=0)
    less = np.sum(a * (1 - 2 * A) * (1 - 2 * B) + b * (1 - 2 * B) * (1 - 2 * A), axis=0) - 4 * rho * ab
    return float(np.mean(alone + rho * crossed)), -float(np.mean(less))


def _softmax(scores: FloatArray) -> FloatArray:
    """Along the first axis, which is short: draws lie side by side."""
    weights = np.exp(scores - np.max(scores, axis=0, keepdims=True))
    return np.asarray(weights / np.sum(weights, axis=0, keepdims=True))


@lru_cache(maxsize=8)
def _scores(n: int) -> FloatArray:
    rows = max(64, -(-_DRAWS // n))
    return np.random.default_rng(0).standard_normal((3, n, rows))


@lru_cache(maxsize=8)
def _roots(rows: int, channels: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Entries of the triangular root of a Wishart matrix of two rows over its degrees, (rows,) each.

    Chi of ``channels`` degrees, a normal number, chi of one degree less, over sqrt(channels) (Bartlett); one
    draw from each of as many equally likely ranges.
    """
    from scipy.special import gammaincinv, ndtri

    generator = np.random.default_rng(1)
    p = [((generator.permutation(rows) + 0.5) / rows) for _ in range(3)]
    one, other = (np.sqrt(2 * gammaincinv(k / 2, at)) for k, at in ((channels, p[0]), (channels - 1, p[2])))
    other = other if channels > 1 else 0 * one
    size = np.sqrt(channels)
    return one / size, ndtri(p[1]) / size, other / size
