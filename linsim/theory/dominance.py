"""Which modes 1 + lambda_i mu_j win, from the spectra alone.

A state is a sum of modes ``X_l = sum_ij rho_ij^l c_ij v_i z_j^T`` with
``rho_ij = 1 + lambda_i mu_j``.  The modes of largest modulus among those with
``c_ij != 0`` decide every limit; index 0 of the attention is the constant mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import _validate
from .spectra import EPS, B, C, Eigensystem, F, I

__all__ = ["Dominance", "boundary", "disk", "dominance"]

TIE = 1e-9  # moduli that differ by more, relatively, are never called equal
NOISE = 1e3 * EPS  # smaller coefficients count as absent


def boundary(lambda_min: float) -> float:
    """Return the weight eigenvalue -2 / (1 + lambda_min) below which smoothing returns.

    For a real spectrum of attention with smallest eigenvalue ``lambda_min``
    and a real weight eigenvalue mu, the constant mode dominates iff mu > 0 or
    mu < -2 / (1 + lambda_min): (1 + mu)^2 - (1 + mu a)^2 = mu (1 - a)(2 + mu (1 + a)).

    Parameters
    ----------
    lambda_min : float
        Smallest eigenvalue a of the attention, -1 < a < 1.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``lambda_min`` is not a number in (-1, 1).

    Notes
    -----
    mu > 0 and mu in [-1, 0) are covered by arXiv 2401.04301; the branch below
    -2 / (1 + a) is derived here (and checked by ``proofs_check.dominance``).

    Examples
    --------
    >>> boundary(0.0)
    -2.0
    """
    a = _validate.number(lambda_min, "lambda_min", low=-1, high=1, low_open=True, high_open=True)
    return -2 / (1 + a)


def disk(lambda_min: float) -> tuple[float, float]:
    """Return centre and radius of the disk of complex weight eigenvalues that sharpen.

    |1 + mu a| > |1 + mu| iff |mu + 1/(1+a)| < 1/(1+a): an open disk through 0
    and the boundary -2/(1+a), for a real spectrum of attention.

    Parameters
    ----------
    lambda_min : float
        Smallest eigenvalue a of the attention, -1 < a < 1.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``lambda_min`` is not a number in (-1, 1).

    Notes
    -----
    Derived here; the real axis of the disk is the interval of :func:`boundary`.

    Examples
    --------
    >>> disk(0.0)
    (-1.0, 1.0)
    """
    radius = -boundary(lambda_min) / 2
    return -radius, radius


@dataclass(frozen=True, eq=False)
class Dominance:
    """The dominant set of each system of a stack.

    Attributes
    ----------
    rho : (b, n, d) complex, the values 1 + lambda_i mu_j
    dominant : (b, n, d) bool, the set D: largest modulus and, among these,
        fastest growth with the power of depth that Jordan chains bring
    tied : (b, n, d) bool, the pairs of largest modulus, whatever their growth
    growth : (b, n, d) int, that power
    error : (b, n, d), first-order bound of the rounding of rho
    margin : (b,), ln of the largest constant modulus over the largest other
        one: positive smooths, negative sharpens; +-inf where one side is empty
    coefficients : (b, n, d) complex or None, c_ij of the given x0
    coefficient_scale : (b, n, 1) or None, what c_ij could be at most; NOISE
        times it is rounding
    present : (b, n, d) bool, where c_ij != 0
    vanishes : (b,) bool, every present value is 0: so is the state, in the end
    """

    rho: C
    dominant: B
    tied: B
    growth: I
    error: F
    margin: F
    coefficients: C | None
    coefficient_scale: F | None
    present: B
    vanishes: B


def dominance(attention: Eigensystem, weights: Eigensystem, x0: F | None = None) -> Dominance:
    """Find the dominant set of (b, ...) systems; generic unless x0 (b, n, d) is given.

    Two moduli tie when they differ by less than the error of the computed
    eigenvalues, and never when they differ by more than 1e-9 relative.
    """
    n, d = attention.values.shape[-1], weights.values.shape[-1]
    size = max(attention.values.shape[0], weights.values.shape[0], 1 if x0 is None else x0.shape[0])
    lam, mu = attention.values[:, :, None], weights.values[:, None, :]
    rho = np.broadcast_to(1 + lam * mu, (size, n, d))
    modulus = np.abs(rho)
    error = (4 * EPS * np.sqrt(n + d)) * (
        1
        + attention.condition[:, :, None] * attention.norm[:, None, None] * np.abs(mu)
        + weights.condition[:, None, :] * weights.norm[:, None, None] * np.abs(lam)
    )
    coefficients = scale = None
    present = np.ones(modulus.shape, dtype=bool)
    if x0 is not None:
        coefficients, scale, present = _coefficients(attention, weights, x0, size)
    masked = np.where(present, modulus, -1.0)
    flat = masked.reshape(size, -1)
    best = np.argmax(flat, axis=-1)[:, None]
    largest = np.take_along_axis(flat, best, axis=-1)[:, :, None]
    error = np.broadcast_to(error, rho.shape)
    slack = np.take_along_axis(error.reshape(flat.shape), best, axis=-1)[:, :, None]
    tied = present & (largest - masked <= np.minimum(error + slack, TIE * largest))
    growth = _growth(attention, weights)
    dominant = tied & (growth == np.max(np.where(tied, growth, 0), axis=(-1, -2), keepdims=True))
    vanishes = (largest <= np.minimum(slack, TIE))[:, 0, 0]

    constant = np.max(masked[:, 0, :], axis=-1)
    other = np.max(masked[:, 1:, :], axis=(-1, -2), initial=-1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.log(np.maximum(constant, 0)) - np.log(np.maximum(other, 0))
    margin = np.where(np.isnan(margin), 0.0, margin)
    return Dominance(rho, dominant, tied, growth, error, margin, coefficients, scale, present, vanishes)


def _growth(attention: Eigensystem, weights: Eigensystem) -> I:
    """Power of depth beside |rho|^l, of (1 + lambda mu) + lambda N_H + mu N_A + N_A N_H on two chains."""
    p, q = attention.growth[:, :, None], weights.growth[:, None, :]
    moves_q = np.abs(attention.values[:, :, None]) > TIE
    moves_p = np.abs(weights.values[:, None, :]) > TIE
    return np.where(moves_p & moves_q, p + q, np.where(moves_p, p, np.where(moves_q, q, np.minimum(p, q))))


def _coefficients(attention: Eigensystem, weights: Eigensystem, x0: F, size: int) -> tuple[C, F, B]:
    """c_ij = u_i^T x0 w_j, and which of them are not what rounding alone could have put there."""
    shape = (size, attention.values.shape[-1], weights.values.shape[-1])
    # Only the first row of ``left`` sees what all tokens share; without it the
    # others keep their digits, however alike the tokens are.
    apart = x0 - x0[:, :1, :]
    c = attention.left @ apart.astype(np.complex128)
    c[:, :1, :] = attention.left[:, :1, :] @ x0
    c = np.broadcast_to(c @ weights.right, shape)
    reach = np.linalg.norm(attention.left, axis=-1)[:, :, None]
    noise = reach * np.linalg.norm(apart, axis=(-1, -2))[:, None, None]
    noise[:, :1, :] = reach[:, :1, :] * np.linalg.norm(x0, axis=(-1, -2))[:, None, None]
    present = np.abs(c) > NOISE * noise
    # ill-conditioned vectors cannot show that a coefficient vanishes
    present |= ~(attention.diagonalizable & weights.diagonalizable)[:, None, None] & (noise > 0)
    present |= ~np.any(present, axis=(-1, -2), keepdims=True)
    return c, noise, present
