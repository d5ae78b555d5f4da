"""The factor by which one layer of uniform attention multiplies the odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _validate
from .._namespace import namespace, on_device_of, to_host
from .._types import FloatArray
from ..errors import InvalidValueError
from . import _laws
from ._arguments import answer, kind_of, std_of, within
from ._noncentral import distribution

__all__ = ["OddsFactor"]


@dataclass(frozen=True)
class OddsFactor:
    """The law of Q = |e + W^T e|^2: one layer of uniform attention multiplies the odds by Q.

    The odds are u = t / (1 - t), t the token similarity.  With uniform attention and fresh W,
    u_{l+1} = Q_l u_l at every t, the Q_l independent with this law: E[r], the odds of expectations and
    the typical growth of the odds are three moments of it.

    Parameters
    ----------
    d : int
        Features, >= 1.
    std : float
        s >= 0 with E W W^T = s^2 I; at most 1e15.
    kind : "gaussian" or "orthogonal"
        Entries N(0, s^2/d), or s times a Haar orthogonal matrix.

    Attributes
    ----------
    mean, variance : float
        E Q = 1 + s^2 for both kinds; Var Q = (2 s^4 + 4 s^2)/d (Gaussian), 4 s^2/d (Haar).
        By E Q the odds of *expectations* grow.
    log_mean : float
        E ln Q, natural logarithm: the *typical* growth of ln u per layer.  -inf for Haar, d = 1, s = 1
        (Q is 0 with probability 1/2).  Negative for Gaussian d = 1 and s below 1.556; >= 0 for every d >= 2.
    inverse_mean : float
        E[1/Q]: 1 - E[1/Q] is the *mean* rate as t goes to 1.  inf where it is infinite: Gaussian d <= 2
        (s > 0), Haar d <= 3 at s = 1.
    alignment : float
        E[e.y / |y|^2] with y = e + W^T e.  An error where it does not exist: d = 1 for Gaussian
        weights with s > 0, and for Haar ones with s = 1.
    finite_variance : bool
        Whether 1/Q has a variance, so that a mean of rates near t = 1 has a standard error: false for
        Gaussian d <= 4 (s > 0) and for Haar d <= 5 at s = 1.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``d`` is not a positive integer, ``std`` not a number in [0, 1e15], or ``kind`` unknown.

    Notes
    -----
    Escalation: arXiv 2312.06182; the law and its moments are derived here.  Proved as ``escalation.uniform``,
    ``exact.moments``, ``exact.gaussian_rate``, ``exact.gaussian_expansion``, ``exact.gaussian_typical``,
    ``exact.haar_rate``, ``exact.haar_typical``, ``exact.infinite_variance`` and ``exact.jensen`` in
    proofs_check.  Q = (s^2/d) chi^2 with d degrees of freedom and noncentrality d/s^2 for Gaussian W, so
    E[1/Q] = d/(s^2 (d-2)) 1F1(1; d/2; -d/(2 s^2)), E ln Q = ln(2 s^2/d) + psi(d/2)
    + s^-2 2F2(1, 1; 2, 1+d/2; -d/(2 s^2)) and the alignment is s^-2 1F1(1; d/2+1; -d/(2 s^2)).
    Q = 1 + s^2 + 2 s cos for Haar W, so E[1/Q] = 2F1(1/2, 1; d/2; z^2)/(1+s^2), z = 2s/(1+s^2),
    E ln Q = ln(1+s^2) - z^2/(2d) 3F2(1, 1, 3/2; 2, d/2+1; z^2) and, as Q = 2 (1 + s cos) + s^2 - 1, the
    alignment is 1/2 + (1-s^2)/2 E[1/Q].  What is evaluated are integrals of one sign, good to about
    1e-14 of the result for every d and s (d = 1 excepted: there E ln Q changes sign).

    Examples
    --------
    >>> law = OddsFactor(8)
    >>> law.mean, law.variance
    (2.0, 0.75)
    >>> round(1 - law.inverse_mean, 4), round(law.log_mean, 4)
    (0.3773, 0.5935)
    >>> round(OddsFactor(8, kind="orthogonal").expected_rate(), 12)
    0.4
    """

    d: int
    std: float = 1.0
    kind: str = "gaussian"

    def __post_init__(self) -> None:
        object.__setattr__(self, "d", _validate.count(self.d, "d", minimum=1))
        object.__setattr__(self, "std", std_of(self.std))
        object.__setattr__(self, "kind", kind_of(self.kind))

    @property
    def mean(self) -> float:
        """E Q = 1 + s^2."""
        return 1 + self.std**2

    @property
    def variance(self) -> float:
        """Var Q: (2 s^4 + 4 s^2)/d for Gaussian, 4 s^2/d for Haar weights."""
        square = self.std**2
        return (2 * square**2 + 4 * square if self.kind == "gaussian" else 4 * square) / self.d

    @property
    def log_mean(self) -> float:
        """E ln Q, the typical growth of ln u per layer."""
        return float(_laws.log_mean(self.kind, self.d, np.asarray(self.std)))

    @property
    def inverse_mean(self) -> float:
        """E[1/Q], inf where it is infinite."""
        return float(_laws.inverse_mean(self.kind, self.d, np.asarray(self.std)))

    @property
    def alignment(self) -> float:
        """E[e.y / |y|^2], y = e + W^T e."""
        value = float(_laws.alignment(self.kind, self.d, np.asarray(self.std)))
        if np.isnan(value):
            raise _validate.refusal(
                InvalidValueError,
                "d",
                f"1 with {self.kind} weights of std {self.std:g}",
                "d >= 2",
                "1/|y| has no mean on the line.",
            )
        return value

    @property
    def finite_variance(self) -> bool:
        """Whether 1/Q has a variance."""
        if self.kind == "gaussian":
            return self.d >= 5 or self.std == 0
        return self.d >= 6 or self.std != 1

    def cdf(self, q: Any) -> Any:
        """Return P(Q <= q).

        Parameters
        ----------
        q : float or array of any shape and library
            Values of Q (not logarithms).

        Returns
        -------
        float or float64 array, shape of ``q``
            Good to about 1e-13.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If ``q`` holds NaN or infinity, or no real numbers.

        Notes
        -----
        Derived here.  Gaussian: noncentral chi-squared, by a contour integral.  Haar: (1 + cos)/2 has the
        Beta law with both parameters (d-1)/2.

        Examples
        --------
        >>> round(OddsFactor(2, kind="orthogonal").cdf(2.0), 12)
        0.5
        """
        x = _validate.array(q, "q")
        host = np.asarray(to_host(x), dtype=np.float64)
        return answer(on_device_of(self._cdf(host), x, namespace(x).float64), q)

    def _cdf(self, q: FloatArray) -> FloatArray:
        from scipy.special import betainc, ndtr

        if self.std == 0:
            return np.where(q >= 1, 1.0, 0.0)
        if self.kind == "gaussian":
            if self.d > 1:
                return distribution(self.d, self.std, q)
            root = np.sqrt(np.maximum(q, 0))
            return np.asarray(ndtr((q - 1) / (1 + root) / self.std) - ndtr(-(1 + root) / self.std)) * (q > 0)
        lowest = (1 - self.std) ** 2
        if self.d == 1:
            return np.where(q >= lowest, 0.5, 0.0) + np.where(q >= (1 + self.std) ** 2, 0.5, 0.0)
        share = np.clip(((q - 1) + self.std * (2 - self.std)) / (4 * self.std), 0, 1)
        return np.asarray(betainc((self.d - 1) / 2, (self.d - 1) / 2, share))

    def sample(self, size: int | tuple[int, ...] = (), rng: Any = None) -> FloatArray:
        """Draw Q directly, without drawing W.

        Parameters
        ----------
        size : int or tuple
            Shape of the result.
        rng : anything ``numpy.random.default_rng`` takes

        Returns
        -------
        float64 array of shape ``size``

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If ``size`` or ``rng`` is of the wrong kind.

        Notes
        -----
        Derived here: e + W^T e has one coordinate 1 + s xi / sqrt(d) along e and d - 1 coordinates
        s xi / sqrt(d) across it (Gaussian); Haar: see :meth:`cdf`.

        Examples
        --------
        >>> OddsFactor(64).sample(3, rng=0).shape
        (3,)
        """
        shape = _validate.size(size)
        generator = _validate.generator(rng)
        s, d = self.std, self.d
        if self.kind == "gaussian":
            along = (1 + s / np.sqrt(d) * np.asarray(generator.standard_normal(shape))) ** 2
            if d == 1:
                return np.asarray(along)
            return np.asarray(along + s * s / d * np.asarray(generator.chisquare(d - 1, shape)))
        if d == 1:
            share = np.asarray(generator.integers(2, size=shape), dtype=np.float64)
        else:
            share = np.asarray(generator.beta((d - 1) / 2, (d - 1) / 2, shape))
        return np.asarray((1 - s) ** 2 + 4 * s * share)

    def expected_rate(self, similarity: Any = 1.0) -> Any:
        """Return E[r], the mean escalation rate of one layer from a given similarity.

        Parameters
        ----------
        similarity : float or array of any shape and library
            Token similarity t in [0, 1]; 1 stands for the limit t -> 1, where E[r] = 1 - E[1/Q].

        Returns
        -------
        float or float64 array, shape of ``similarity``
            -inf at t = 1 where E[1/Q] is infinite.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If a similarity lies outside [0, 1] or is NaN.

        Notes
        -----
        Derived here: r = t (Q-1) / (1 + t (Q-1)) exactly, for uniform attention.  Proved as
        ``escalation.uniform`` and ``exact.any_t`` in proofs_check.  The expectation of this
        ratio is neither the ratio of expectations, t s^2 / (1 + t s^2), nor what is typical.

        Examples
        --------
        >>> OddsFactor(8).expected_rate([0.0, 0.9, 1.0]).round(4)
        array([0.    , 0.3653, 0.3773])
        """
        t = within(_validate.array(similarity, "similarity"), "similarity", 0.0, 1.0)
        host = np.asarray(to_host(t), dtype=np.float64)
        value = _laws.expected_rate(self.kind, self.d, np.asarray(self.std), host)
        return answer(on_device_of(value, t, namespace(t).float64), similarity)
