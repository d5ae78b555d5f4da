r"""Statistics of the Gram matrix of tokens with finitely many features, to first order in 1/d.

G = X X^T / d of tokens alike in distribution has means q on its diagonal and c off it.  Two kinds of
fluctuations of order 1/d move the mean cosine by as much:

- those that all tokens share: a covariance of the averages over the diagonal and over the pairs of one draw;
- those within a draw, about these averages: variances of G_ii and of G_ik, their covariance, and that of
  G_ik and G_il, which is the variance of what a token has in common with all others.

Weights W with independent N(0, s^2/d) entries make Y = M W, and Y Y^T / d is a Wishart matrix with d degrees:
Cov(G_ij, G_kl) = (G_ik G_jl + G_il G_jk) / d, everything times s^4.  A map f of the averages moves their mean
by half the trace of f'' times their covariance.  A norm divides by what each token has, which moves the mean
cosine by a factor 1 + 3/4 Var(G_ii) / q^2 - Cov(G_ii, G_ik) / (q c) of the fluctuations within a draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .._types import FloatArray

__all__ = ["NONE", "Averages", "Spread", "Tokens", "curved", "mean_of", "normed", "products", "unequal"]

#: (q, c), means of the diagonal and of the pairs
Averages = tuple[float, float]
# relative step of second differences: their rounding, 1e-16 / step^2, is as small as what they leave out
_STEP = 1e-3


class Spread(NamedTuple):
    """Fluctuations: ``shared``, the covariance (2, 2) of (q, c) between draws; within one the variances
    ``own`` of G_ii and ``pair`` of G_ik, their covariance ``both``, and ``token``, that of G_ik and G_il.
    """

    shared: FloatArray
    own: float
    pair: float
    both: float
    token: float

    def times(self, factor: float) -> Spread:
        """Return those of ``factor`` times the matrix."""
        a = factor * factor
        return Spread(a * self.shared, a * self.own, a * self.pair, a * self.both, a * self.token)

    def plus(self, *others: Spread) -> Spread:
        """Return those of a sum with independent ones."""
        parts = (self, *others)
        return Spread(
            np.sum([x.shared for x in parts], axis=0),
            sum(x.own for x in parts),
            sum(x.pair for x in parts),
            sum(x.both for x in parts),
            sum(x.token for x in parts),
        )


NONE = Spread(np.zeros((2, 2)), 0.0, 0.0, 0.0, 0.0)


class Tokens(NamedTuple):
    """Means and fluctuations of the Gram matrix of n tokens."""

    q: float
    c: float
    spread: Spread = NONE

    @property
    def averages(self) -> Averages:
        """(q, c)."""
        return self.q, self.c

    @property
    def cosine(self) -> float:
        """The mean over pairs of the cosine."""
        return normed(self).c

    @property
    def deviation(self) -> float:
        """The standard deviation of that mean from draw to draw."""
        return float(np.sqrt(max(normed(self).spread.shared[1, 1], 0.0)))


def products(n: int, x: Averages, y: Averages) -> Spread:
    """Fluctuations, times d, of (X Y^T + Y X^T) / (sqrt(2) d), Y = M W with unit W; ``x`` of X, ``y`` of M.

    Those of Y Y^T / d are the same where both are those of M.
    """
    (q, c), (p, e) = x, y
    # products of the eigenvalues that belong to differences of tokens, and to what they share
    low, high = (q - c) * (p - e), (q + (n - 1) * c) * (p + (n - 1) * e)
    cross, pairs = high - low, high + low / max(n - 1, 1)
    shared = 2 / n**2 * np.array([[high + (n - 1) * low, cross], [cross, pairs]])
    mixed, same = q * e + c * p, c * e
    return Spread(
        shared,
        float(2 * q * p - shared[0, 0]),
        float(q * p + same - shared[1, 1]),
        float(mixed - shared[0, 1]),
        float(mixed / 2 + same - shared[1, 1]),
    )


def curved(function: Callable[[Averages], Averages], x: Tokens) -> tuple[Averages, FloatArray]:
    """Return the mean of ``function`` of the averages, and the covariance of its values."""
    shared = x.spread.shared
    centre = np.array(function(x.averages))
    if not np.any(shared):
        return (float(centre[0]), float(centre[1])), shared
    h = _STEP * x.q
    # cosines below 0 are read as 0, and above 1 as 1: look from where there is a slope
    at = np.array([x.q, min(max(x.c, h), x.q - 2 * h)])

    def f(i: int, j: int) -> FloatArray:
        return np.array(function((float(at[0] + i * h), float(at[1] + j * h))))

    middle, right, left, up, down = f(0, 0), f(1, 0), f(-1, 0), f(0, 1), f(0, -1)
    slope = np.stack([right - left, up - down], axis=-1) / (2 * h)
    mixed = f(1, 1) - f(1, -1) - f(-1, 1) + f(-1, -1)
    bend = (right - 2 * middle + left) * shared[0, 0] + (up - 2 * middle + down) * shared[1, 1]
    shifted = centre + (bend + mixed / 2 * shared[0, 1]) / (2 * h * h)
    return (float(shifted[0]), float(shifted[1])), slope @ shared @ slope.T


def unequal(x: Tokens, eps: float = 0.0) -> float:
    """By how much tokens of unequal length move the mean cosine that a norm leaves."""
    return (0.75 * x.spread.own * x.c / (x.q + eps) - x.spread.both) / (x.q + eps) ** 2


def normed(x: Tokens, eps: float = 0.0) -> Tokens:
    """Divide every token by the root of its mean square + ``eps``."""
    whole = x.q + eps
    _, own, pair, both, token = x.spread.times(1 / whole)
    cosine = x.c / whole
    (q, c), shared = curved(lambda at: (at[0] / (at[0] + eps), at[1] / (at[0] + eps)), x)
    # G_ik / sqrt(G_ii G_kk) to first order
    moved = 0.25 * cosine**2 * own - cosine * both
    pair, token = max(pair + 2 * moved, 0.0), max(token + moved, 0.0)
    return Tokens(q, c + unequal(x, eps), Spread(shared, 0.0, pair, 0.0, token))


def mean_of(function: Callable[[float, float], float], x: Tokens) -> float:
    """Return the mean over draws of a function of the averages q and c."""
    return curved(lambda averages: (function(*averages), 0.0), x)[0][0]
