"""What a feed-forward residual with random weights does to token similarity, in expectation.

Y = X + f(X W_1) W_2 with independent Gaussian W_1 (d, m), entries N(0, s_1^2/d), and W_2 (m, d),
entries N(0, s_2^2/m).  With G = X X^T / d, in any d and m,

    **E[Y Y^T] / d = G + s_2^2 K(s_1^2 G),   K(C)_ij = E[f(g_i) f(g_j)],  g ~ N(0, C):**

the rows of X W_1 are Gaussian with covariance s_1^2 G given X, the cross term has mean 0, and
E W_2 W_2^T = s_2^2 d/m I.  Y Y^T / d tends to its mean as d and m grow.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _validate
from .._namespace import to_host
from .._types import EPS, FloatArray
from ..errors import InvalidValueError

__all__ = [
    "ACTIVATIONS",
    "feed_forward_gram",
    "feed_forward_rate",
    "feed_forward_similarity",
    "kernel",
]

ACTIVATIONS = ("linear", "tanh", "relu", "gelu")

# nodes of the trapezoidal rule against the normal density: its error is below 1e-16
# for entire functions, and e^(-pi^2 / (STEP sigma)) for tanh(sigma z)
_STEP = 1 / 64
_REACH = 13.0
#: terms of the Hermite series of tanh
_TERMS = 600


def kernel(C: Any, activation: str) -> FloatArray:
    """Return K_ij = E[f(g_i) f(g_j)] for Gaussian g with covariance ``C``.

    Parameters
    ----------
    C : (..., n, n) array
        Covariance: symmetric, \\|C_ij\\|^2 <= C_ii C_jj.
    activation : "linear", "tanh", "relu" or "gelu"
        gelu is x Phi(x) with the normal distribution function, not its tanh approximation.

    Returns
    -------
    (..., n, n) float64 array
        Error below 1e-12 of the largest K; for tanh below 1e-11 up to variance 100 and 1e-4 at any.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``C`` is no covariance, or ``activation`` unknown.

    Notes
    -----
    With a = C_ii, b = C_jj, c = C_ij and cos t = c / sqrt(a b):

    - relu: sqrt(a b) (sin t + (pi - t) cos t) / (2 pi), the arc-cosine kernel of Cho and Saul 2009;
    - gelu: c/4 + c asin(c / sqrt((1 + a)(1 + b))) / (2 pi)
      + (a b + c^2 (1/(1 + a) + 1/(1 + b) - 1)) / (2 pi sqrt((1 + a)(1 + b) - c^2)).
      Derived here (known: Tsuchida et al. 2021): E[x h(x, y)] = a E[h_x] + c E[h_y] for h = y Phi(x) Phi(y)
      leaves E[Phi(x) Phi(y)] = 1/4 + asin(c / sqrt((1 + a)(1 + b))) / (2 pi), and
      expectations under e^(-x^2/2) N(0, C), Gaussian again;
    - tanh: sum_k c_k(a) c_k(b) cos^k t over odd k, c_k(a) = E[tanh(sqrt(a) z) h_k(z)], h_k the orthonormal
      Hermite polynomials (Mehler), its tail replaced by the missing part of E f^2.

    Examples
    --------
    >>> kernel(np.eye(2), "relu") * 2 * np.pi
    array([[3.14159265, 1.        ],
           [1.        , 3.14159265]])
    """
    C, variance = _covariance(C)
    name = _validate.choice(activation, "activation", ACTIVATIONS)
    a, b = variance[..., :, None], variance[..., None, :]
    if name == "linear":
        return C
    if name == "gelu":
        # a b - C^2 >= 0, without losing it to rounding where the variances are large
        size = np.sqrt(a) * np.sqrt(b)
        apart = (size - C) * (size + C)
        rest = apart + C**2 * (1 / (1 + a) + 1 / (1 + b))
        angle = np.arcsin(C / np.sqrt((1 + a) * (1 + b)))
        return np.asarray(C / 4 + (C * angle + rest / np.sqrt(1 + a + b + apart)) / (2 * np.pi))
    size = np.sqrt(a) * np.sqrt(b)
    cos = np.clip(C / np.where(size > 0, size, 1.0), -1.0, 1.0)
    if name == "relu":
        angle = np.arccos(cos)
        return np.asarray(size * (np.sqrt(1 - cos**2) + (np.pi - angle) * cos) / (2 * np.pi))
    return _tanh_kernel(variance, cos)


def feed_forward_gram(
    G: Any, activation: str, *, std_in: float = 1.0, std_out: float = math.sqrt(2)
) -> FloatArray:
    """Return E[Y Y^T] / d for Y = X + f(X W_1) W_2, from G = X X^T / d.

    Parameters
    ----------
    G : (..., n, n) array
        Gram matrix of the tokens over d.
    activation : "linear", "tanh", "relu" or "gelu"
    std_in, std_out : float
        W_1 (d, m) has entries N(0, std_in^2 / d), W_2 (m, d) N(0, std_out^2 / m).

    Returns
    -------
    (..., n, n) float64 array
        G + std_out^2 kernel(std_in^2 G).

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``G`` is no Gram matrix, ``activation`` unknown, or a standard deviation negative.

    Source: derived here (the module's docstring); the setting is that of arXiv 2312.06182.

    Examples
    --------
    >>> feed_forward_gram(np.eye(2), "linear", std_out=1.0)
    array([[2., 0.],
           [0., 2.]])
    """
    G, _ = _covariance(G, "G")
    s_in = _validate.number(std_in, "std_in", low=0)
    s_out = _validate.number(std_out, "std_out", low=0)
    return np.asarray(G + s_out**2 * kernel(s_in**2 * G, activation))


def feed_forward_similarity(
    G: Any, activation: str, *, std_in: float = 1.0, std_out: float = math.sqrt(2)
) -> FloatArray:
    """Return the token similarity after one feed-forward residual, as a ratio of expectations.

    Parameters
    ----------
    G : (..., n, n) array
        Gram matrix X X^T / d of the tokens, not 0.  n tokens of one norm and similarity t have
        (1 - p) I + p 11^T with p = (n t - 1) / (n - 1), if their correlations are equal.
    activation : "linear", "tanh", "relu" or "gelu"
    std_in, std_out : float
        As in :func:`feed_forward_gram`.

    Returns
    -------
    (...) float64 array
        E ||Pi Y||^2 / E ||Y||^2: exact at every width, and what a wide layer has.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``G`` is no Gram matrix or 0, ``activation`` unknown, or a standard deviation negative.

    Notes
    -----
    Derived here.  arXiv 2312.06182 holds that feed-forward layers do not drive escalation.
    That is so near t = 1 (:func:`feed_forward_rate`), and for odd activations at every t: K_ij is a
    power series of the correlation p with odd powers only, so |K_ij| <= |p| sqrt(K_ii K_jj), and no
    correlation of E[Y Y^T] exceeds that of the tokens in modulus.  It is not so at low similarity
    for activations with a mean: orthogonal tokens get inner products s_2^2 (E f)^2, shared by all.

    Examples
    --------
    >>> G = np.eye(64)
    >>> [round(float(feed_forward_similarity(G, f)), 3) for f in ("linear", "tanh", "relu", "gelu")]
    [0.016, 0.016, 0.172, 0.1]
    """
    gram = feed_forward_gram(G, activation, std_in=std_in, std_out=std_out)
    energy = np.trace(gram, axis1=-2, axis2=-1)
    if np.any(energy <= 0):
        raise _validate.refusal(
            InvalidValueError, "G", "a zero matrix", "tokens that are not all 0", "Similarity needs a norm."
        )
    return np.asarray(np.sum(gram, axis=(-1, -2)) / (gram.shape[-1] * energy))[()]


def feed_forward_rate(
    activation: str, variance: float = 1.0, *, std_in: float = 1.0, std_out: float = math.sqrt(2)
) -> float:
    """Return the local escalation rate of a feed-forward residual: 1 - t_div(Y) / t_div(X) as t -> 1.

    Parameters
    ----------
    activation : "linear", "tanh", "relu" or "gelu"
    variance : float
        Mean square of an entry of a token, positive.
    std_in, std_out : float
        As in :func:`feed_forward_gram`.

    Returns
    -------
    float
        1 - (1 + s_2^2 s_1^2 E f'^2) / (1 + s_2^2 E f^2 / variance) under N(0, s_1^2 variance);
        error below 1e-12 (tanh: up to s_1^2 variance = 100).

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``activation`` is unknown, ``variance`` not positive, or a standard deviation negative.

    Notes
    -----
    Derived here, for tokens that differ orthogonally to their mean: then E (f(g_i) - f(g_j))^2 ->
    s_1^2 E f'^2 |x_i - x_j|^2 / d.  The sign of the rate is that of E f^2 - v E f'^2 under N(0, v), v =
    s_1^2 variance:

    - odd f: **negative**, by Poincare's inequality Var f <= v E f'^2, and 0 for linear f only.  A
      feed-forward layer that is odd *lowers* similarity near 1;
    - relu, and every f(x) = f'(x) x with f' a function of the sign of x: exactly **0**;
    - gelu: E f^2 - v E f'^2 = -v^2 / (2 pi (1 + 2 v)^(3/2)), **negative** at every variance.

    What relu does near t = 1 is of the next order.  With s^2 = (s_1 s_2)^2 the angle a of two tokens of
    one norm becomes a - a^2 s^2 / (3 pi (2 + s^2)) + O(a^3): t_div falls like 1/l^2 with depth l,
    where attention halves it at each layer.

    Examples
    --------
    >>> [round(feed_forward_rate(f), 4) + 0.0 for f in ("linear", "relu", "gelu", "tanh")]
    [0.0, 0.0, -0.0331, -0.0784]
    """
    name = _validate.choice(activation, "activation", ACTIVATIONS)
    q = _validate.number(variance, "variance", low=0, low_open=True)
    s_in = _validate.number(std_in, "std_in", low=0)
    s_out = _validate.number(std_out, "std_out", low=0)
    square, excess = _moments(name, s_in**2 * q)
    return -(s_out**2 * excess / q) / (1 + s_out**2 * square / q)


def _covariance(C: Any, argument: str = "C") -> tuple[FloatArray, FloatArray]:
    """Check a covariance; return it exactly symmetric, on the host, and its diagonal."""
    host = to_host(_validate.square(C, argument)).astype(np.float64)
    variance = np.diagonal(host, axis1=-2, axis2=-1)
    limit = np.sqrt(np.maximum(variance, 0.0))
    limit = limit[..., :, None] * limit[..., None, :]
    asymmetry = np.abs(host - np.swapaxes(host, -1, -2))
    eps = float(np.finfo(np.float32).eps) if str(getattr(C, "dtype", "")).endswith("float32") else EPS
    slack = 1e3 * eps * (limit + np.max(limit, axis=(-1, -2), keepdims=True))
    for wrong, found, expected in (
        (variance < 0, "a negative diagonal", "variances >= 0"),
        (asymmetry > slack, "a matrix that is not symmetric", "a symmetric matrix"),
        (np.abs(host) > limit + slack, "|C_ij| > sqrt(C_ii C_jj)", "a covariance"),
    ):
        if np.any(wrong):
            raise _validate.refusal(
                InvalidValueError, argument, found, expected, "Pass x @ x.T / d for tokens x."
            )
    host = (host + np.swapaxes(host, -1, -2)) / 2
    return np.clip(host, -limit, limit), variance


def _nodes() -> tuple[FloatArray, FloatArray]:
    z = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    return z, _STEP * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _moments(name: str, v: float) -> tuple[float, float]:
    """E f^2 and v E f'^2 - E f^2 under N(0, v)."""
    if name == "linear":
        return v, 0.0
    if name == "relu":
        return v / 2, 0.0
    if name == "gelu":
        square = v / 4 + v * math.asin(v / (1 + v)) / (2 * math.pi)
        square += v**2 / ((1 + v) * math.pi * math.sqrt(1 + 2 * v))
        return square, v**2 / (2 * math.pi * (1 + 2 * v) ** 1.5)
    z, weight = _nodes()
    value = np.tanh(math.sqrt(v) * z)
    return float(weight @ value**2), float(weight @ (v * (1 - value**2) ** 2 - value**2))


def _tanh_kernel(variance: FloatArray, cos: FloatArray) -> FloatArray:
    z, weight = _nodes()
    values = np.tanh(np.sqrt(variance)[..., None] * z)
    total = np.zeros(cos.shape)
    power = cos
    left = (values**2) @ weight
    # orthonormal Hermite polynomials times sqrt(weight) stay bounded
    root = np.sqrt(weight)
    values = values * root
    before, now = root, z * root
    for k in range(1, _TERMS):
        if k % 2:
            c = values @ now
            total += c[..., :, None] * c[..., None, :] * power
            left = left - c**2
            power = power * cos**2
        before, now = now, (z * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    tail = np.sqrt(np.maximum(left, 0.0))
    return np.asarray(total + tail[..., :, None] * tail[..., None, :] * power)
