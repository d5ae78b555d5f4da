"""Moments of the odds factor Q = |e + W^T e|^2 as integrals of one sign, accurate at every width and scale.

S = s^2, b = d/2, z = b/S.  Every integrand, as a function of the logarithm of its variable, is analytic
and bounded in a strip of half-width pi/2 at least and decays exponentially at both ends, so the
trapezoidal rule with step h errs by about exp(-pi^2/h).  Written so that nothing cancels where the
result does not: the textbook forms (1F1, 2F2, 2F1) lose all digits for small s or large d.

Derived here:

- Gaussian W: E exp(-x Q) = (1 + x/z)^(-b) exp(-x/(1 + x/z)), and Q = G/z with G of the Gamma law of shape
  b + N, N Poisson of mean z.  So E[1/Q] = z E[1/(b+N-1)], the integral over 0 < w < 1 of
  z (1-w)^(b-2) exp(-zw).  E ln Q = E psi(b+N) - ln z vanishes as z grows and has the derivative
  E[1/(b+N)] - 1/z; integrated back from infinity it is the integral over w > 0 of
  exp(-zw) (1 - (1-w)_+^(b-1)) / w: positive for d >= 2.  The derivative in |e|^2 is E[e.y/|y|^2] =
  z E[1/(b+N)].  The variable of integration is y = w/(1-w).
- Haar W: Q = 1 + S + 2 s c with c the cosine between e and a uniform direction.  Averaging over c and -c
  leaves functions of c^2 = 1/(1+y).  ln|e + s u| = ln s + ln|e + u/s| in law.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._types import FloatArray

__all__ = ["alignment", "expected_rate", "inverse_mean", "log_mean"]


_STEP = 0.2
_GRID = _STEP * np.arange(-850, 551)  # np.arange(-170, 110.2, 0.2) would have steps off by 5e-14
# E ln Q and E[r] vanish like s^2; from here down they are s^2 times a constant, to rounding
_SMALL = 1e-15
# systems at a time: what a block of nodes takes stays below 100 MB
_BLOCK = 2048


def _blocked(compute: Callable[..., FloatArray], d: int, *arrays: FloatArray) -> FloatArray:
    """Apply ``compute(d, a, b, ...)`` to flat blocks of broadcast arrays."""
    together = np.broadcast_arrays(*arrays)
    flat = [x.reshape(-1, 1) for x in together]
    parts = [compute(d, *(x[i : i + _BLOCK] for x in flat)) for i in range(0, len(flat[0]), _BLOCK)]
    return np.concatenate(parts).reshape(together[0].shape)


def log_mean(kind: str, d: int, s: FloatArray) -> FloatArray:
    """Return E ln Q for s of any shape; -inf for Haar d = 1, s = 1."""
    s = np.asarray(s, dtype=np.float64)
    scale = np.minimum(s / _SMALL, 1.0) ** 2
    at = np.maximum(s, _SMALL)
    if kind == "gaussian":
        return scale * _blocked(_gaussian_log_mean, d, at)
    S = at * at
    with np.errstate(divide="ignore"):
        if d == 1:
            near = np.log(np.abs(1 - at)) + np.log1p(at)
            return scale * np.where(S < 0.5, np.log1p(-np.minimum(S, 0.5)), near)
        if d == 2:  # the logarithm is harmonic in the plane: its mean over a circle is that at the centre
            return np.where(s > 1, 2 * np.log(at), 0.0)
        return scale * (2 * np.log(np.maximum(at, 1)) + _blocked(_haar_log_mean, d, np.minimum(at, 1 / at)))


def inverse_mean(kind: str, d: int, s: FloatArray) -> FloatArray:
    """Return E[1/Q], inf where it is infinite."""
    s = np.asarray(s, dtype=np.float64)
    at = np.maximum(s, _SMALL)
    if kind == "gaussian":
        value = np.full(s.shape, np.inf) if d <= 2 else _blocked(_gaussian_inverse, d, at)
    elif d == 1:
        value = (1 + at * at) / np.where(at == 1, 0.5, (1 - at) * (1 + at)) ** 2
    else:
        value = _blocked(_haar_inverse, d, at)
    if kind == "orthogonal" and d <= 3:
        value = np.where(at == 1, np.inf, value)
    return np.where(s == 0, 1.0, value)


def alignment(kind: str, d: int, s: FloatArray) -> FloatArray:
    """Return E[e.y/|y|^2], y = e + W^T e, where it exists: d >= 2, or Haar d = 1 with s != 1."""
    s = np.asarray(s, dtype=np.float64)
    at = np.maximum(s, _SMALL)
    if kind == "gaussian":
        value = np.full(s.shape, np.nan) if d == 1 else _blocked(_gaussian_alignment, d, at)
    elif d == 1:
        value = np.where(at == 1, np.nan, 1 / np.where(at == 1, 1.0, (1 - at) * (1 + at)))
    elif d == 2:
        value = np.where(at < 1, 1.0, np.where(at > 1, 0.0, 0.5))
    else:
        value = _blocked(_haar_alignment, d, at)
    return np.where(s == 0, 1.0, value)


def expected_rate(kind: str, d: int, s: FloatArray, t: FloatArray) -> FloatArray:
    """Return E[t (Q-1) / (1 + t (Q-1))], s and t broadcast; -inf where E[1/Q] is infinite and t = 1."""
    s, t = np.broadcast_arrays(np.asarray(s, dtype=np.float64), np.asarray(t, dtype=np.float64))
    scale = np.minimum(s / _SMALL, 1.0) ** 2
    at = np.maximum(s, _SMALL)
    infinite = (t == 1) & np.isinf(inverse_mean(kind, d, s))
    finite_t = np.where(infinite, 0.0, t)
    if kind == "gaussian":
        value = _blocked(_gaussian_rate, d, at, finite_t)
    elif d == 1:
        value = _haar_rate(at * at, finite_t, np.ones(s.shape), np.zeros(s.shape))
    else:
        value = _blocked(_haar_mean_rate, d, at, finite_t)
    return np.where(infinite, -np.inf, scale * value)


# --- Gaussian weights -----------------------------------------------------------------------


def _gaussian_log_mean(d: int, s: FloatArray) -> FloatArray:
    from scipy.special import exp1

    b, z, y = d / 2, d / (2 * s * s), np.exp(_GRID)
    inside = np.exp(-z * (y / (1 + y))) * (-np.expm1((1 - b) * np.log1p(y))) / (1 + y)
    return _STEP * np.sum(inside, axis=-1) + np.asarray(exp1(z[:, 0]))


def _gaussian_power(d: int, s: FloatArray, power: float) -> FloatArray:
    """Integral over 0 < w < 1 of z (1-w)^(power-2) exp(-zw)."""
    z, y = d / (2 * s * s), np.exp(_GRID)
    return _STEP * np.sum(z * np.exp(-z * (y / (1 + y)) - power * np.log1p(y) + _GRID), axis=-1)


def _gaussian_inverse(d: int, s: FloatArray) -> FloatArray:
    return _gaussian_power(d, s, d / 2)


def _gaussian_alignment(d: int, s: FloatArray) -> FloatArray:
    return _gaussian_power(d, s, d / 2 + 1)


def _gaussian_rate(d: int, s: FloatArray, t: FloatArray) -> FloatArray:
    """Integral over x > 0 of exp(-x) - E exp(-x (1 - t + t Q))."""
    b, x = d / 2, np.exp(_GRID)
    y = t * x * (s * s / b)
    slower = -b * np.log1p(y)
    excess = t * x * (y / (1 + y)) + slower
    # the difference of logarithms is small where the two are, and may be huge where they vanish
    apart = np.exp(-x) - np.exp(-x * ((1 - t) + t / (1 + y)) + slower)
    near = -np.exp(-x) * np.expm1(np.clip(excess, -1.0, 1.0))
    return _STEP * np.sum(np.where(np.abs(excess) < 1, near, apart) * x, axis=-1)


# --- Haar weights ---------------------------------------------------------------------------

_COSINE2 = 1 / (1 + np.exp(_GRID))
_SINE2 = 1 / (1 + np.exp(-_GRID))


def _over_directions(d: int, values: FloatArray) -> FloatArray:
    """Mean over uniform directions in d >= 2 dimensions of a function of c^2 given at the nodes."""
    weight = np.exp(-(d - 1) / 2 * np.log1p(np.exp(-_GRID)) - np.log1p(np.exp(_GRID)) / 2)
    return np.sum(weight * values, axis=-1) / np.sum(weight)


def _product(S: FloatArray, s: FloatArray) -> FloatArray:
    """Q(c) Q(-c) = (1-S)^2 + 4 S (1 - c^2) at the nodes."""
    return ((1 - s) * (1 + s)) ** 2 + 4 * S * _SINE2


def _haar_log_mean(d: int, s: FloatArray) -> FloatArray:
    S = s * s
    near_one = np.log(_product(S, s))
    small = np.log1p(S * S + 2 * S * np.minimum(_SINE2 - _COSINE2, 1.0)) if np.any(S < 0.25) else near_one
    return _over_directions(d, np.where(S < 0.25, small, near_one)) / 2


def _haar_inverse(d: int, s: FloatArray) -> FloatArray:
    S = s * s
    return _over_directions(d, (1 + S) / _product(S, s))


def _haar_alignment(d: int, s: FloatArray) -> FloatArray:
    S = s * s
    return _over_directions(d, (1 + S * (_SINE2 - _COSINE2)) / _product(S, s))


def _haar_rate(S: FloatArray, t: FloatArray, cosine2: FloatArray, sine2: FloatArray) -> FloatArray:
    tS = t * S
    return tS * (1 + tS - 4 * t * cosine2) / ((1 - tS) ** 2 + 4 * tS * ((1 - t) + t * sine2))


def _haar_mean_rate(d: int, s: FloatArray, t: FloatArray) -> FloatArray:
    return _over_directions(d, _haar_rate(s * s, t, _COSINE2, _SINE2))
