"""Typical growth: Lyapunov exponents of every mode of attention under fresh random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _validate
from .._eigen import attention_eigensystem, meant, spacing
from .._namespace import to_host
from .._types import FloatArray
from ..errors import InvalidValueError, NotCoveredError
from . import _laws
from ._arguments import kind_of, std_of

__all__ = ["TypicalExponents", "typical_exponents", "typical_rate"]


@dataclass(frozen=True, eq=False)
class TypicalExponents:
    """Lyapunov exponents of the modes of attention, natural logarithms per layer.

    Attributes
    ----------
    eigenvalues : (..., n) float64 array
        Of P: the constant mode's 1 first, the others by decreasing modulus.
    exponents : (..., n) float64 array
        Almost sure growth of ln ||u_i^T X_l|| per layer.
    """

    eigenvalues: FloatArray
    exponents: FloatArray

    @property
    def rate(self) -> FloatArray:
        """Twice the exponent of the constant mode less twice the largest other one, (...).

        See :func:`typical_rate`.
        """
        return 2 * (self.exponents[..., 0] - np.max(self.exponents[..., 1:], axis=-1))


def typical_exponents(P: Any, d: int, *, std: float = 1.0, kind: str = "gaussian") -> TypicalExponents:
    """Return the exact Lyapunov exponent of each mode of X + P X W, for attention with a real spectrum.

    Parameters
    ----------
    P : (..., n, n) array
        Attention with real eigenvalues (symmetric, reversible, triangular, ...), n >= 2.
    d : int
        Features, >= 1.
    std : float
        s in [0, 1e15], E W W^T = s^2 I.
    kind : "gaussian" or "orthogonal"
        Law of W.

    Returns
    -------
    TypicalExponents
        NumPy arrays (computed on the host).  The exponent of a mode is 1/2 E ln Q with s |lambda| for s.

    Raises
    ------
    NotCoveredError
        If P has complex eigenvalues: two rotations meet, and no closed form is known.
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is out of range, or n = 1.

    Notes
    -----
    Derived here.  A left eigenvector u_i of P gives y = X^T u_i with y <- (I + lambda_i W^T) y.  The law
    of W is unchanged by rotations (and W -> -W), so |y|^2 is multiplied by |e + lambda_i W^T e|^2 for a
    fixed unit vector e whatever y was: by independent factors with the law of Q at s |lambda_i|, and by
    the law of large numbers ln|y| grows by half their E ln Q per layer, almost surely.  With Jordan
    blocks the modes are triangular and their exponents the same.

    E ln Q increases with s and is positive for d >= 2 and s > 0 (ln|y|^2 is subharmonic; d = 2 with Haar
    weights and s <= 1: zero), so modes of larger |lambda| grow faster.  **For d = 1 it is negative for
    small s** (Gaussian s = 1: -0.417): there the constant mode shrinks typically while its expected energy
    grows.

    Examples
    --------
    >>> found = typical_exponents([[0.75, 0.25], [0.25, 0.75]], 16)
    >>> found.eigenvalues, found.exponents.round(4)
    (array([1. , 0.5]), array([0.3224, 0.1001]))
    """
    P = _validate.attention_matrix(P, "P")
    d, s, law = _validate.count(d, "d", minimum=1), std_of(std), kind_of(kind)
    n = int(P.shape[-1])
    if n < 2:
        raise _validate.refusal(
            InvalidValueError, "P", "n = 1", "at least two tokens", "One token has no diversity."
        )
    eps = spacing(P)
    host = meant(np.asarray(to_host(P), dtype=np.float64).reshape(-1, n, n), eps)
    system = attention_eigensystem(host, eps)
    # what rounding the entries does to an eigenvalue: a real one may look like half of a pair
    noise = 64 * eps * system.norm[:, None] * system.condition
    off = np.where(np.abs(system.values.imag) > noise, np.abs(system.values.imag), 0.0)
    if np.any(off > 0):
        raise _validate.refusal(
            NotCoveredError,
            "P",
            f"a complex eigenvalue (imaginary part {np.max(off):.3g})",
            "attention with a real spectrum, as every symmetric or reversible one has",
            "Simulate RandomWeights and fit log_token_diversity.",
        )
    values = system.values.real
    order = np.argsort(np.where(np.arange(n) == 0, -2.0, -np.abs(values)), axis=-1, kind="stable")
    values = np.take_along_axis(values, order, axis=-1).reshape(P.shape[:-1])
    return TypicalExponents(values, _laws.log_mean(law, d, s * np.abs(values)) / 2)


def typical_rate(P: Any, d: int, *, std: float = 1.0, kind: str = "gaussian") -> FloatArray:
    """Return how fast ln(t_div) falls per layer, almost surely, for attention with a real spectrum.

    Parameters
    ----------
    P : (..., n, n) array
        Attention with real eigenvalues, n >= 2.
    d : int
        Features, >= 1.
    std : float
        s in [0, 1e15], E W W^T = s^2 I.
    kind : "gaussian" or "orthogonal"
        Law of W.

    Returns
    -------
    (...) float64 array
        Natural logarithm per layer.  Positive: tokens become alike, and ln of the odds t/t_div grows by
        this.  Zero or negative: they do not, typically; if negative, and P is symmetric, ln of the odds
        falls by its modulus.

    Raises
    ------
    NotCoveredError
        If P has complex eigenvalues.
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is out of range, or n = 1.

    Notes
    -----
    Derived here, for generic X_0: t_div ~ ||Pi_perp X||^2/||Pi X||^2, and each energy follows its fastest
    mode (:func:`typical_exponents`).  E ln Q for uniform attention.

    Examples
    --------
    >>> import linsim
    >>> typical_rate(linsim.attention.uniform(3), 64).round(4)  # OddsFactor(64).log_mean
    np.float64(0.6813)
    >>> typical_rate(linsim.attention.uniform(3), 1).round(4)  # expectations grow, tokens come apart
    np.float64(-0.417)
    """
    return typical_exponents(P, d, std=std, kind=kind).rate
