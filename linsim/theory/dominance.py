"""Which modes 1 + lambda_i mu_j win, from the spectra alone.

A state is a sum of modes ``X_l = sum_ij rho_ij^l c_ij v_i z_j^T`` with
``rho_ij = 1 + lambda_i mu_j``.  The modes of largest modulus among those with
``c_ij != 0`` decide every limit; index 0 of the attention is the constant mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .. import _validate
from .._eigen import Eigensystem
from .._types import EPS, BoolArray, ComplexArray, FloatArray, IntArray

__all__ = ["DOUBLE", "Beyond", "Dominance", "Precision", "boundary", "disk", "dominance", "tie"]

TIE = 1e-9  # moduli that differ by more, relatively, are never called equal (doubles)
NOISE = 1e3 * EPS  # smaller coefficients count as absent
COARSEST = 0.05  # the same as TIE for entries of very few digits
SMALL = 2.0**-8  # half a spacing of bfloat16: a coefficient of a larger share of what x0 allows is there


class Precision(NamedTuple):
    """Relative spacing of the numbers that A, H and x0 were given in."""

    attention: float = EPS
    weights: float = EPS
    tokens: float = EPS

    @property
    def coarsest(self) -> float:
        """The largest of the three."""
        return max(self)


DOUBLE = Precision()


def tie(eps: float, finest: float = TIE) -> float:
    """``finest``, or what entries with a spacing of ``eps`` allow instead if that is more."""
    return max(finest, min(1e3 * eps, COARSEST))


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
    -2 / (1 + a) is derived here.  Proved as ``dominance.boundary`` in proofs_check.

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
    Derived here; the real axis of the disk is the interval of :func:`boundary`.  Proved
    as ``dominance.disk`` in proofs_check.

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
    blur : (b, n, d), the same with the digits that the entries themselves
        lack: ``error`` for doubles, more for float32
    resolution : (b,), how far the leading moduli are known, relatively:
        a smaller ``margin`` says nothing
    margin : (b,), ln of the largest constant modulus over the largest other
        one: positive smooths, negative sharpens; +-inf where one side is empty
    coefficients : (b, n, d) complex or None, c_ij of the given x0
    present : (b, n, d) bool, where c_ij is more than rounding
    vanishes : (b,) bool, every present value is 0: so is the state, in the end
    """

    rho: ComplexArray
    dominant: BoolArray
    tied: BoolArray
    growth: IntArray
    error: FloatArray
    blur: FloatArray
    resolution: FloatArray
    margin: FloatArray
    coefficients: ComplexArray | None
    present: BoolArray
    vanishes: BoolArray


class Beyond(NamedTuple):
    """What a law knows beside the spectra of stochastic attention.

    ``constant`` (b,) bool: whether mode 0 of attention is the constant one; ``absent`` (b, n, d)
    bool: modes that no state has; ``growth`` (b, n, d) int: powers of depth beside those of Jordan
    chains; ``stochastic``: whether rows of attention are probabilities.
    """

    constant: BoolArray
    absent: BoolArray
    growth: IntArray
    stochastic: bool


def dominance(
    attention: Eigensystem,
    weights: Eigensystem,
    x0: FloatArray | None = None,
    precision: Precision = DOUBLE,
    beyond: Beyond | None = None,
) -> Dominance:
    """Find the dominant set of (b, ...) systems; generic unless x0 (b, n, d) is given.

    Two moduli tie when they differ by less than the error of the eigenvalues,
    that of computing them and that of entries rounded to ``precision``, and
    never when they differ by more than 1e-9 relative (float32: 1.2e-4).  That ``error``
    bounds what rounding does to rho is proved as ``bounds.rounding`` in proofs_check.
    """
    n, d = attention.values.shape[-1], weights.values.shape[-1]
    size = max(attention.values.shape[0], weights.values.shape[0], 1 if x0 is None else x0.shape[0])
    lam, mu = attention.values[:, :, None], weights.values[:, None, :]
    rho = np.broadcast_to(1 + lam * mu, (size, n, d))
    modulus = np.abs(rho)
    of_A = attention.condition[:, :, None] * attention.norm[:, None, None] * np.abs(mu)
    of_H = weights.condition[:, None, :] * weights.norm[:, None, None] * np.abs(lam)
    several = 4 * np.sqrt(n + d)
    error = np.broadcast_to((several * EPS) * (1 + of_A + of_H), rho.shape)
    # rows sum to 1 whatever the entries were rounded to: lambda = 1 is exact
    constant = np.arange(n)[:, None] == 0
    blur = error
    if precision.attention > EPS or precision.weights > EPS:
        # Rounding moves each entry by half a spacing, so the matrix by that times its norm; as much
        # again for a product that was summed in the same precision.
        more_A, more_H = precision.attention - EPS, precision.weights - EPS
        blur = error + np.where(constant, 0.0, of_A) * more_A + of_H * more_H
    cap = tie(max(precision.attention, precision.weights))
    coefficients = None
    present = np.ones(modulus.shape, dtype=bool)
    if x0 is not None:
        uniform = np.ones(1, dtype=bool) if beyond is None else beyond.constant
        coefficients, present = _coefficients(attention, weights, x0, size, precision, uniform)
    if beyond is not None:
        present = present & ~beyond.absent
    masked = np.where(present, modulus, -1.0)
    flat = masked.reshape(size, -1)
    best = np.argmax(flat, axis=-1)[:, None]
    largest = np.take_along_axis(flat, best, axis=-1)[:, :, None]
    slack = np.take_along_axis(blur.reshape(flat.shape), best, axis=-1)[:, :, None]
    tied = present & (largest - masked <= np.minimum(blur + slack, cap * largest))
    growth = _growth(attention, weights)
    if beyond is not None:
        growth = growth + beyond.growth
    dominant = tied & (growth == np.max(np.where(tied, growth, 0), axis=(-1, -2), keepdims=True))
    vanishes = (largest <= np.minimum(slack, cap))[:, 0, 0]

    first, others = masked[:, 0, :], masked[:, 1:, :].reshape(size, -1)
    if beyond is not None:
        none = ~beyond.constant[:, None]
        others = np.concatenate([others, np.where(none, first, -1.0)], axis=-1)
        first = np.where(none, -1.0, first)
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.log(np.maximum(np.max(first, axis=-1), 0)) - np.log(
            np.maximum(np.max(others, axis=-1, initial=-1.0), 0)
        )
    margin = np.where(np.isnan(margin), 0.0, margin)
    unsure = blur[:, 1:, :].reshape(size, -1)
    unsure = unsure if beyond is None else np.concatenate([unsure, blur[:, 0, :]], axis=-1)
    resolution = _unknown(first, blur[:, 0, :]) + _unknown(others, unsure)
    return Dominance(
        rho, dominant, tied, growth, error, blur, resolution, margin, coefficients, present, vanishes
    )


def _unknown(modulus: FloatArray, blur: FloatArray) -> FloatArray:
    """Relative error of the largest of (b, m) moduli; 0 where there is none."""
    if modulus.shape[-1] == 0:
        return np.zeros(modulus.shape[0])
    best = np.argmax(modulus, axis=-1)[:, None]
    top, error = (np.take_along_axis(x, best, axis=-1)[:, 0] for x in (modulus, blur))
    return np.where(top > 0, error / np.where(top > 0, top, 1.0), 0.0)


def _growth(attention: Eigensystem, weights: Eigensystem) -> IntArray:
    """Power of depth beside |rho|^l, of (1 + lambda mu) + lambda N_H + mu N_A + N_A N_H on two chains."""
    p, q = attention.growth[:, :, None], weights.growth[:, None, :]
    moves_q = np.abs(attention.values[:, :, None]) > TIE
    moves_p = np.abs(weights.values[:, None, :]) > TIE
    return np.where(moves_p & moves_q, p + q, np.where(moves_p, p, np.where(moves_q, q, np.minimum(p, q))))


def _coefficients(
    attention: Eigensystem,
    weights: Eigensystem,
    x0: FloatArray,
    size: int,
    precision: Precision,
    uniform: BoolArray,
) -> tuple[ComplexArray, BoolArray]:
    """c_ij = u_i^T x0 w_j, and which of them are not what rounding alone could have put there."""
    shape = (size, attention.values.shape[-1], weights.values.shape[-1])
    # Only the first row of ``left`` sees what all tokens share, if that mode is constant
    # (``uniform``); without it the others keep their digits, however alike the tokens are.
    apart = x0 - np.where(uniform[:, None, None], x0[:, :1, :], 0.0)
    c = attention.left @ apart.astype(np.complex128)
    c[:, :1, :] = attention.left[:, :1, :] @ x0
    c = np.broadcast_to(c @ weights.right, shape)
    reach = np.linalg.norm(attention.left, axis=-1)[:, :, None]
    whole = reach * np.linalg.norm(x0, axis=(-1, -2))[:, None, None]
    noise = reach * np.linalg.norm(apart, axis=(-1, -2))[:, None, None]
    noise[:, :1, :] = whole[:, :1, :]
    threshold = NOISE * noise
    if precision.tokens > EPS:
        # NOISE is far more than the rounding of doubles; what coarser entries were rounded
        # to is not small beside the differences only, but beside the tokens
        threshold = np.maximum(threshold, 4 * precision.tokens * whole)
    threshold = threshold + _turned(attention, weights, c, precision, uniform)
    # Of entries with few digits the threshold is no longer small beside the coefficients of a generic x0:
    # that one is below it is then no evidence that the mode is not there.
    threshold = np.minimum(threshold, SMALL * whole)
    present = np.abs(c) > threshold
    # ill-conditioned vectors cannot show that a coefficient vanishes
    present |= ~(attention.diagonalizable & weights.diagonalizable)[:, None, None] & (noise > 0)
    present |= ~np.any(present, axis=(-1, -2), keepdims=True)
    return c, present


def _turned(
    attention: Eigensystem, weights: Eigensystem, c: ComplexArray, precision: Precision, uniform: BoolArray
) -> FloatArray | float:
    """What eigenvectors of entries rounded to fewer digits than doubles have may add to c (b, n, d).

    A perturbation E of A moves u_i by sum_k u_k (u_i^T E v_k) / (lambda_i - lambda_k), hence c_ij
    by the same combination of the other c_kj; likewise H.  E 1 = 0, for rows sum to 1 before
    and after: the constant mode enters no other row.
    """
    size, total = np.abs(c), 0.0
    several = 4 * np.sqrt(sum(c.shape[-2:]))
    if precision.attention > EPS:
        rows = _crossing(attention, precision.attention)
        rows[:, 1:, 0] = np.where(uniform[:, None], 0.0, rows[:, 1:, 0])
        total = total + several * precision.attention * attention.condition[:, :, None] * (rows @ size)
    if precision.weights > EPS:
        columns = _crossing(weights, precision.weights)
        total = total + several * precision.weights * ((size * weights.condition[:, None, :]) @ columns)
    return total


def _crossing(system: Eigensystem, eps: float) -> FloatArray:
    """||M|| / |value_i - value_k|, (b, m, m), 0 where rounding to ``eps`` cannot tell the values apart.

    Their vectors may be any basis of what they span: which one, decides nothing.
    """
    apart = np.abs(system.values[:, :, None] - system.values[:, None, :])
    error = 4 * np.sqrt(apart.shape[-1]) * eps * system.condition * system.norm[:, None]
    equal = apart <= error[:, :, None] + error[:, None, :]
    return np.where(equal, 0.0, system.norm[:, None, None] / np.where(equal, 1.0, apart))
