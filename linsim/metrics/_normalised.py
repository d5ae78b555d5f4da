"""Metrics of tokens of length 1: each row over its length."""

from __future__ import annotations

import functools
from dataclasses import replace

from .. import _validate
from .._namespace import namespace
from .._state import EMPTY, log2, plain_state
from .._types import EPS
from ..errors import InvalidValueError
from ._evaluate import with_scale
from ._metric import Layer, Measured, Metric
from ._registry import REGISTRY
from ._view import View

__all__ = ["normalised"]


def normalised(metric: str | Metric) -> Metric:
    """Return a metric of the tokens, each divided by its length.

    Parameters
    ----------
    metric : str or Metric
        A name from :data:`linsim.metrics.METRICS`, or a metric of your own.

    Returns
    -------
    Metric
        ``normalised_<name>``, or ``log_normalised_<name without log_>``: same scale (linear or log), same
        attention and weights of tokens.  Tokens that are exactly zero stay so.

    Raises
    ------
    InvalidValueError
        If there is no metric of this name.

    Notes
    -----
    The unit vectors are those that angles are measured from: near one direction they are held as that
    and small differences from it, so gaps keep their digits.

    Examples
    --------
    >>> from linsim.metrics import measure, normalised
    >>> once = normalised("largest_token_share")
    >>> measure([[30.0, 0.0], [0.0, 1.0]], [once])["normalised_largest_token_share"]
    array(0.5)
    """
    if not isinstance(metric, Metric):
        metric = REGISTRY[_validate.choice(metric, "metric", REGISTRY)]
    name = metric.name
    if "normalised_" in name:
        raise _validate.refusal(
            InvalidValueError,
            "metric",
            repr(name),
            "a metric that is not yet normalised",
            "Pass it as it is.",
        )
    return Metric(
        f"log_normalised_{name.removeprefix('log_')}" if metric.is_log else f"normalised_{name}",
        f"{metric.meaning}; of tokens of length 1",
        functools.partial(_measured, metric=metric),
        group=metric.group,
        needs=metric.needs,
        limit=metric.limit,
    )


def _measured(view: View, metric: Metric) -> Measured:
    """Measure the unit vectors as a state of their own."""
    units = _unit_rows(view)
    found = metric.of(units)
    one = found if isinstance(found, Measured) else found[metric.name]
    return with_scale(metric, one, units.top) if metric.degree else one


def _unit_rows(view: View) -> View:
    """The tokens over their lengths: as one direction and differences from it, or as they stand."""
    # directions do not depend on how often a token counts, but for which are asked
    at, xp = view.directions, namespace(view.full[0])
    p = view.leading
    w = view.weights
    left_out = xp.zeros_like(at.present) if w is None else ~(w > 0)
    keep = xp.astype(~left_out, xp.float64)
    b, n, _ = at.units.shape
    every = xp.all(left_out | (at.present & at.seen & (at.turned < 0.5)), axis=-2, keepdims=True)
    up, down = (xp.all(left_out | side, axis=-2, keepdims=True) for side in (at.A > 0, at.A < 0))
    deviations = at.deviations * keep
    off_near = xp.sqrt(
        xp.sum((at.loose * keep) ** 2, axis=-2, keepdims=True) / n
    ) * p.noise + 4 * EPS * xp.sqrt(xp.sum(deviations * deviations, axis=(-1, -2), keepdims=True))
    near = every & (up | down) & (at.e_common < -2)
    zero = xp.zeros((b, 1, 1), dtype=xp.float64, device=at.units.device)
    empty = zero + EMPTY
    rows = log2(at.turned + 4 * EPS * xp.astype(at.present, xp.float64)) + 0 * at.turned
    off = log2(xp.sqrt(xp.sum((at.turned * keep) ** 2, axis=-2, keepdims=True)) + 4 * EPS)
    stands = plain_state(at.units, 0 * at.q + zero, at.units, empty, off + zero, rows)
    off_q = xp.max(at.off_q * keep, axis=-2, keepdims=True)
    noise = xp.concat(
        [empty, xp.where(near, log2(off_q + 4 * EPS) + zero, empty), empty,
         xp.where(near, log2(off_near) + at.e_common, stands.noise[:, :, 3:4]),
         stands.noise[:, :, 4:]], axis=-1,
    )  # fmt: skip
    state = replace(
        stands,
        split=replace(stands.split, preserves_mean=xp.zeros_like(stands.split.preserves_mean)),
        r=xp.where(near, at.q + zero, stands.r),
        e_r=xp.where(near, zero, stands.e_r),
        R=xp.where(near, deviations, stands.R),
        e_R=xp.where(near, at.e_common + zero, stands.e_R),
        noise=noise,
    )
    none = None if view.zero_rows is None else view.zero_rows
    return View(state, none, Layer(view.layer.attention, view.layer.tokens))
