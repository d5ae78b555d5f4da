"""Means with intervals that are right, and a test of a law that is rigorous at every sample size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _validate
from .._namespace import Array, namespace, to_host
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ._arguments import on_axis
from ._factor import OddsFactor

__all__ = ["Estimate", "estimate", "interval", "law_pvalue", "ratio_interval"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean of independent samples with its interval; arrays of the shape without the sample axis.

    Attributes
    ----------
    mean, standard_error, low, high : float or float64 array
        The estimate, its standard error, and the ends of the interval.
    count : int
        Number of samples.
    confidence : float
        Probability with which such intervals hold what they estimate.

    Examples
    --------
    >>> print(interval([1.0, 2.0, 3.0, 4.0]))
    2.5 +- 0.65 (95%: 0.446 to 4.55, 4 samples)
    """

    mean: Any
    standard_error: Any
    low: Any
    high: Any
    count: int
    confidence: float

    def z(self, value: Any) -> Any:
        """Return how many standard errors the mean lies above ``value``.

        Parameters
        ----------
        value : float or array

        Examples
        --------
        >>> round(interval([1.0, 2.0, 3.0, 4.0]).z(2.0), 4)
        0.7746
        """
        return (self.mean - value) / self.standard_error

    def __str__(self) -> str:
        if np.ndim(self.mean):
            return f"{self.count} samples of {tuple(self.mean.shape)} quantities"
        return (
            f"{self.mean:.6g} +- {self.standard_error:.2g} ({100 * self.confidence:g}%: {self.low:.3g} to "
            f"{self.high:.3g}, {self.count} samples)"
        )


def interval(samples: Any, *, confidence: float = 0.95, axis: int = 0) -> Estimate:
    """Return the mean of independent samples with its Student t interval.

    Parameters
    ----------
    samples : array of any library
        Independent and identically distributed along ``axis``.
    confidence : float
        In (0, 1): the share of such intervals that hold the expectation.
    axis : int
        The sample axis; others are quantities of their own.

    Returns
    -------
    Estimate
        float64, in the library of ``samples``; floats for one quantity.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For fewer than two samples, NaN or infinity, samples that do not vary, a confidence outside (0, 1),
        or a wrong axis.

    Notes
    -----
    Standard (Student 1908): exact for normal samples; for others valid as their number grows if their
    variance is finite, with an error in coverage of the order skewness^2/count.  Rates near t = 1 have a
    variance only where ``OddsFactor.finite_variance`` says so.

    Examples
    --------
    >>> found = interval([1.0, 2.0, 3.0, 4.0], confidence=0.9)
    >>> found.mean, round(found.standard_error, 4), found.count
    (2.5, 0.6455, 4)
    """
    x, level = _samples(samples, "samples", axis), _level(confidence)
    xp = namespace(x)
    return estimate(xp.mean(x, axis=0), x - xp.mean(x, axis=0), level, "samples")


def ratio_interval(numerator: Any, denominator: Any, *, confidence: float = 0.95, axis: int = 0) -> Estimate:
    """Return the ratio of the expectations of two samples drawn together, with its interval.

    Parameters
    ----------
    numerator, denominator : arrays of one library and shape
        Samples in pairs, independent along ``axis`` and identically distributed.
    confidence : float
        In (0, 1).
    axis : int
        The sample axis.

    Returns
    -------
    Estimate
        Of E[numerator] / E[denominator]: not the expectation of the ratio.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        As :func:`interval`; also if the shapes differ, or if zero is within 4 standard errors of the mean
        of the denominator, where no such interval is right.

    Notes
    -----
    Standard (delta method): the error of the ratio R is that of the mean of (numerator - R denominator),
    over the mean of the denominator.  Valid as the number of samples grows.

    Examples
    --------
    >>> found = ratio_interval([2.0, 3.0, 7.0], [1.5, 2.0, 2.5])
    >>> found.mean
    2.0
    """
    top, bottom = _samples(numerator, "numerator", axis), _samples(denominator, "denominator", axis)
    level = _level(confidence)
    try:
        xp = namespace(top, bottom)
    except TypeError:
        raise _validate.refusal(
            InvalidTypeError,
            "denominator",
            type(denominator).__module__,
            "the library of numerator",
            "Convert it.",
        ) from None
    if top.shape != bottom.shape:
        raise _validate.refusal(
            ShapeError,
            "denominator",
            f"shape {tuple(bottom.shape)}",
            f"the shape of numerator, {tuple(top.shape)}",
            "Give the samples in pairs.",
        )
    mean = xp.mean(bottom, axis=0)
    error = xp.std(bottom, axis=0, correction=1) / bottom.shape[0] ** 0.5
    if bool(xp.any(xp.abs(mean) <= 4 * error)):
        raise _validate.refusal(
            InvalidValueError,
            "denominator",
            "a mean within 4 standard errors of 0",
            "a mean that is surely not 0",
            "Draw more samples.",
        )
    ratio = xp.mean(top, axis=0) / mean
    return estimate(ratio, (top - ratio * bottom) / mean, level, "numerator")


def law_pvalue(samples: Any, factor: OddsFactor) -> float:
    """Return a bound on the p-value of "these Q are independent draws from this law", valid at every n.

    Parameters
    ----------
    samples : (n,) array
        Values of Q, for example ratios of consecutive odds under uniform attention.
    factor : OddsFactor
        The law; it must be continuous (std > 0, and d >= 2 for Haar weights).

    Returns
    -------
    float
        min(1, 2 exp(-2 n D^2)), D the largest distance between the two distribution functions.  If the
        samples have that law, it falls below p with probability at most p, for every n and p.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``samples`` is not one finite axis, ``factor`` no OddsFactor, or its law has atoms.

    Notes
    -----
    Dvoretzky, Kiefer and Wolfowitz 1956 with the constant of Massart 1990; the law: see
    :class:`OddsFactor`.

    Examples
    --------
    >>> law = OddsFactor(16)
    >>> drawn = law.sample(2000, rng=0)
    >>> law_pvalue(drawn, law) > 0.1, law_pvalue(drawn, OddsFactor(17, std=1.1)) < 1e-12
    (True, True)
    """
    if not isinstance(factor, OddsFactor):
        raise _validate.refusal(
            InvalidTypeError, "factor", type(factor).__name__, "an OddsFactor", "Pass OddsFactor(d, std=s)."
        )
    if factor.std == 0 or (factor.kind == "orthogonal" and factor.d == 1):
        raise _validate.refusal(
            InvalidValueError, "factor", repr(factor), "a continuous law", "This one takes one or two values."
        )
    x = _validate.array(samples, "samples", ndim=1, shape="(n,)")
    if x.ndim != 1:
        raise _validate.refusal(
            ShapeError, "samples", f"shape {tuple(x.shape)}", "shape (n,)", "Flatten independent samples."
        )
    n = int(x.shape[0])
    below = np.sort(factor.cdf(np.asarray(to_host(x), dtype=np.float64)))
    rank = np.arange(n)
    distance = max(float(np.max((rank + 1) / n - below)), float(np.max(below - rank / n)))
    return min(1.0, 2 * float(np.exp(-2 * n * distance**2)))


def _samples(value: Any, argument: str, axis: int) -> Array:
    """Return float64 samples, the sample axis first."""
    x = _validate.array(value, argument, ndim=1, shape="(count, ...)", dtype="float64")
    xp = namespace(x)
    x = xp.moveaxis(xp.astype(x, xp.float64, copy=False), on_axis(axis, x.ndim), 0)
    if x.shape[0] < 2:
        raise _validate.refusal(
            InvalidValueError, argument, "1 sample", "at least 2", "One number has no standard error."
        )
    return x


def _level(confidence: Any) -> float:
    return _validate.number(confidence, "confidence", low=0.0, high=1.0, low_open=True, high_open=True)


def estimate(mean: Array, errors: Array, confidence: float, argument: str) -> Estimate:
    """Return the estimate whose error is the mean of ``errors``, centred samples."""
    from scipy.special import stdtrit

    xp, n = namespace(errors), int(errors.shape[0])
    largest = xp.max(xp.abs(errors), axis=0)  # squares of samples near the ends of the range would leave it
    share = errors / xp.where(largest > 0, largest, xp.ones_like(largest))
    standard_error = largest * xp.sqrt(xp.sum(share * share, axis=0) / (n * (n - 1.0)))
    # below the rounding of the mean nothing was measured
    if bool(xp.any(standard_error <= 4e-16 * xp.abs(mean))):
        raise _validate.refusal(
            InvalidValueError,
            argument,
            "samples that do not vary",
            "samples with a standard error",
            "Leave out what is not random.",
        )
    reach = float(stdtrit(n - 1, (1 + confidence) / 2)) * standard_error
    parts: tuple[Any, ...] = (mean, standard_error, mean - reach, mean + reach)
    if mean.ndim == 0 and isinstance(mean, np.ndarray | np.generic):
        parts = tuple(float(part) for part in parts)
    centre, spread, low, high = parts
    return Estimate(centre, spread, low, high, n, confidence)
