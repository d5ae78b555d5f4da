"""Escalation as a simulation measured it, layer by layer."""

from __future__ import annotations

from typing import Any

from .. import _validate
from .._namespace import Array, namespace
from ..errors import InvalidTypeError, InvalidValueError
from ..trajectory import Trajectory

__all__ = ["odds_growth", "rate"]


def rate(run: Trajectory) -> Array:
    """Return the escalation rate r = 1 - t_div(X_{l+1}) / t_div(X_l) of each simulated layer.

    Parameters
    ----------
    run : Trajectory
        With at least two recorded layers, consecutive, and the metric ``log_token_diversity``.

    Returns
    -------
    (..., k-1) float64 array, in the library of the run
        Accurate however small the diversity; NaN where it was not measurable, or was 0.

    Raises
    ------
    InvalidTypeError, InvalidValueError
        If ``run`` is no Trajectory, lacks the metric, or its layers are not consecutive.

    Notes
    -----
    The name: arXiv 2312.06182; the formula is a reading.  Expectations of it: ``OddsFactor``.
    What it says of the odds is proved as ``similarity.odds`` in proofs_check.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> layer = linsim.Linear(linsim.attention.uniform(4), np.eye(2))  # the constant part doubles
    >>> rate(linsim.simulate(layer, np.eye(4, 2), 100))[-1].round(12)
    np.float64(0.75)
    """
    return -_expm1(_steps(run, "log_token_diversity"))


def odds_growth(run: Trajectory) -> Array:
    """Return the growth of ln u, u = t_sim / t_div, in each simulated layer.

    Parameters
    ----------
    run : Trajectory
        With at least two recorded layers, consecutive, and the metric ``log_hfc_lfc``, which is
        -ln(u)/2 with no cancellation at either end.

    Returns
    -------
    (..., k-1) float64 array, in the library of the run
        Natural logarithm per layer; NaN where it was not measurable.

    Raises
    ------
    InvalidTypeError, InvalidValueError
        If ``run`` is no Trajectory, lacks the metric, or its layers are not consecutive.

    Notes
    -----
    Derived here: under uniform attention with fresh random weights these are independent draws of ln Q
    (:class:`OddsFactor`), whose mean is the typical rate.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> layer = linsim.Linear(linsim.attention.uniform(4), np.eye(2))
    >>> np.exp(odds_growth(linsim.simulate(layer, np.eye(4, 2), 3))).round(12)
    array([4., 4., 4.])
    """
    return -2 * _steps(run, "log_hfc_lfc")


def _steps(run: Any, metric: str) -> Array:
    """Return the differences of a log metric between consecutive layers."""
    if not isinstance(run, Trajectory):
        raise _validate.refusal(
            InvalidTypeError, "run", type(run).__name__, "a Trajectory", "Pass what simulate returned."
        )
    if metric not in run.metrics:
        raise _validate.refusal(
            InvalidValueError,
            "run",
            f"the metrics {', '.join(run.metrics)}",
            f"{metric} among them",
            f"Simulate with metrics=[{metric!r}], or with all.",
        )
    layers = run.layers
    if len(layers) < 2 or int(layers[-1] - layers[0]) != len(layers) - 1:
        raise _validate.refusal(
            InvalidValueError,
            "run",
            "one recorded layer" if len(layers) < 2 else "recorded layers with gaps",
            "at least two consecutive layers",
            "Leave layers out of simulate to record all.",
        )
    values = run.metrics[metric]
    xp = namespace(values)
    finite = xp.isfinite(values)
    both = finite[..., 1:] & finite[..., :-1]
    values = xp.where(finite, values, xp.zeros_like(values))
    steps = values[..., 1:] - values[..., :-1]
    return xp.where(both, steps, xp.full_like(steps, xp.nan))


def _expm1(x: Array) -> Array:
    return namespace(x).expm1(x)
