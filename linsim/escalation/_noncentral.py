"""The distribution function of Q for Gaussian weights at every width and scale.

Q/v, v = s^2/d, is noncentral chi-squared with d degrees of freedom and noncentrality 1/v.  Library
versions fail where 1/v is large (s = 1e-3), so P(Q <= q) is had from the inverse Laplace transform of
E exp(-x Q) = p^(-b) exp(z/p - z), p = 1 + x/z, b = d/2, z = b/s^2:

    P(Q <= q) = 1/(2 pi i) times the integral of exp(K(p)) / (p - 1) dp,  K = z (p-1)(q - 1/p) - b ln p,

over a contour that passes to the right of p = 1; to its left it gives P(Q <= q) - 1.  On the path of
steepest descent Im K = 0, p = r exp(i theta) with z q r^2 - b (theta / sin theta) r - z = 0, and the
trapezoidal rule in theta converges geometrically (the method of Gil, Segura and Temme 2014 for the
Marcum Q function).  Where the path comes closer than a standard width to the pole it is scaled away from
it; y = p - 1 is what is computed, so that nothing cancels when z is large.
"""

from __future__ import annotations

import numpy as np

from .._types import FloatArray

__all__ = ["distribution"]


_NODES = 100
_BLOCK = 4096


def distribution(d: int, s: float, q: FloatArray) -> FloatArray:
    """Return P(Q <= q) for q of any shape, s > 0."""
    flat = np.asarray(q, dtype=np.float64).reshape(-1)
    out = np.where(flat > 0, 1.0, 0.0)
    proper = np.flatnonzero((flat > 0) & (flat < np.inf))
    for i in range(0, proper.size, _BLOCK):
        chosen = proper[i : i + _BLOCK]
        out[chosen] = _contour(d / 2, d / (2 * s * s), flat[chosen])
    return out.reshape(np.shape(q))


def _radius(beta: FloatArray, z: float, q: FloatArray) -> FloatArray:
    """Return r - 1 for the positive root of z q r^2 - beta r - z, without cancellation."""
    root = np.sqrt(beta * beta + 4 * z * (z * q))
    linear = 2 * z * q - beta
    constant = z * (q - 1) - beta
    small = linear >= 0
    return np.where(small, -2 * constant / np.where(small, linear + root, 1.0), (root - linear) / (2 * z * q))


def _contour(b: float, z: float, q: FloatArray) -> FloatArray:
    q = q[:, None]
    saddle = _radius(np.full(q.shape, b), z, q)
    width = 1 / np.sqrt(2 * z + b)
    close = np.abs(saddle) < width
    passes = np.where(close, width, saddle)
    spread = 1 / np.sqrt(2 * z / (1 + passes) + b)
    step = np.minimum(np.pi, 14 * spread) / _NODES
    theta = step * np.arange(_NODES)
    sine = np.sin(theta)
    ratio = np.where(theta > 0, theta / np.where(theta > 0, sine, 1.0), 1.0)
    beta = b * ratio
    steeper = np.where(
        theta > 0, b * (sine - theta * np.cos(theta)) / np.where(theta > 0, sine, 1.0) ** 2, 0.0
    )
    turn = steeper / np.sqrt(beta * beta + 4 * z * (z * q))  # (dr/d theta) / r
    on_path = _radius(beta, z, q)
    radius = np.where(close, (on_path - saddle) / (1 + saddle) * (1 + passes) + passes, on_path)
    y = radius - (1 + radius) * 2 * np.sin(theta / 2) ** 2 + 1j * (1 + radius) * sine
    K = z * y * ((q - 1) + y / (1 + y)) - b * (np.log1p(radius) + 1j * theta)
    inside = (np.exp(K) * (1 + y) * (1 - 1j * turn) / y).real
    inside[:, 0] /= 2
    integral = step[:, 0] * np.sum(inside, axis=-1) / np.pi
    return np.clip(integral + (passes[:, 0] < 0), 0.0, 1.0)
