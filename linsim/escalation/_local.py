"""The mean rate as t goes to 1, for every attention matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validate
from .._namespace import Array, namespace, on_device_of
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from . import _laws
from ._arguments import kind_of, std_of
from ._attention import centred

__all__ = ["expected_local_rate"]


def expected_local_rate(P: Any, x: Any, *, std: float = 1.0, kind: str = "gaussian") -> Array:
    """Return E[r] in the limit t -> 1, exact for every attention P, in the direction of given tokens.

    Parameters
    ----------
    P : (..., n, n) array
        Attention: entries >= 0, rows summing to 1.
    x : (..., n, d) array
        Tokens: only the directions of their mean c and of their differences Z = Pi_perp X matter, as
        X = 1 c + h Z with h -> 0.  Neither may vanish.
    std : float
        s in [0, 1e15], E W W^T = s^2 I.
    kind : "gaussian" or "orthogonal"
        Law of W.

    Returns
    -------
    (...) float64 array in the library of the inputs
        The expectation of the ratio 1 - t_div(Y)/t_div(X).  -inf where E[1/Q] is infinite (Gaussian
        d <= 2, Haar d <= 3 at s = 1).

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is out of range or not finite, shapes do not fit, or all tokens are alike or of mean
        zero.

    Notes
    -----
    Derived here.  With B = Pi_perp P Pi_perp, e = c/|c|, y = e + W^T e, Q = |y|^2, the rate tends to
    1 - (||Z + B Z W||^2 / ||Z||^2) / Q.  Split W = e g^T + (I - e e^T) W, g = W^T e.  For Gaussian and for
    Haar W, given g the rest V has E V = 0 and E V V^T = s^2 (I - e e^T), and g is e (e.g) on average over
    rotations about e at given Q.  So, given Q and e.g,

        E||Z + B Z W||^2/||Z||^2 = 1 + 2 gamma e.g + beta |g|^2 + s^2 (alpha - beta),

    alpha = ||BZ||^2/||Z||^2, beta = ||BZe||^2/||Z||^2, gamma = <Ze, BZe>/||Z||^2.  With e.g = e.y - 1,
    |g|^2 = Q - 2 e.y + 1, I1 = E[1/Q] and I2 = E[e.y/Q] (``OddsFactor.inverse_mean``, ``.alignment``)

        E[r] = 1 - [(1 + s^2 (alpha - beta)) I1 + 2 gamma (I2 - I1) + beta (1 - 2 I2 + I1)].

    Uniform attention (B = 0): 1 - E[1/Q].  Beside :func:`local_rate`, a ratio of expectations, which is
    1 - (1 + s^2 alpha)/(1 + s^2) in this direction.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> x = np.random.default_rng(0).standard_normal((4, 8))
    >>> expected_local_rate(linsim.attention.uniform(4), x).round(4)  # 1 - E[1/Q]
    np.float64(0.3773)
    >>> expected_local_rate(np.eye(4), x).round(4)  # no token sees another, and E ln(t_div) stays
    np.float64(-0.1945)
    """
    P = _validate.attention_matrix(P, "P")
    x = _validate.array(x, "x", ndim=2, shape="(..., n, d)")
    s, law = std_of(std), kind_of(kind)
    try:
        xp = namespace(P, x)
    except TypeError:
        raise _validate.refusal(
            InvalidTypeError, "x", type(x).__module__, "an array of the library of P", "Convert one of them."
        ) from None
    if x.shape[-2] != P.shape[-1]:
        raise _validate.refusal(
            ShapeError,
            "x",
            f"shape {tuple(x.shape)}",
            f"shape (..., {P.shape[-1]}, d) to fit P",
            "Rows are tokens.",
        )
    _validate.broadcast_batches(P=tuple(P.shape[:-2]), x=tuple(x.shape[:-2]))
    P, x = xp.astype(P, xp.float64, copy=False), xp.astype(x, xp.float64, copy=False)
    largest = xp.max(xp.abs(x), axis=(-1, -2), keepdims=True)
    x = x / xp.where(largest > 0, largest, xp.ones_like(largest))
    mean = xp.mean(x, axis=-2, keepdims=True)
    Z = x - mean
    length = xp.sqrt(xp.sum(mean * mean, axis=(-1, -2)))
    energy = xp.sum(Z * Z, axis=(-1, -2))
    rounding = 16 * float(xp.finfo(xp.float64).eps)
    for size, what in ((length, "tokens of mean zero"), (xp.sqrt(energy), "tokens that are all alike")):
        if bool(xp.any(size <= rounding)):
            raise _validate.refusal(
                InvalidValueError, "x", what, "a mean and differences that do not vanish", "Drop that system."
            )
    e = xp.matrix_transpose(mean) / length[..., None, None]
    BZ = centred(P) @ Z
    Ze, BZe = Z @ e, BZ @ e
    alpha = xp.sum(BZ * BZ, axis=(-1, -2)) / energy
    beta = xp.sum(BZe * BZe, axis=(-1, -2)) / energy
    gamma = xp.sum(Ze * BZe, axis=(-1, -2)) / energy
    d, at = int(x.shape[-1]), np.asarray(s)
    inverse = float(_laws.inverse_mean(law, d, at))
    if inverse == np.inf:
        return on_device_of(-np.inf, alpha) + xp.zeros_like(alpha)
    along = float(_laws.alignment(law, d, at))
    kept = (1 + s * s * (alpha - beta)) * inverse + 2 * gamma * (along - inverse)
    return 1 - (kept + beta * (1 - 2 * along + inverse))
