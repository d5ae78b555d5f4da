"""Every metric of a split state, each gap at its own scale, and the error of each.

An error is absolute for a plain metric and absolute in the logarithm for one
whose name begins with ``log``.  It follows from the noise of the parts by the
first-order perturbation of the metric, with the usual inequalities where the
direction of the noise is not known: Mirsky's for singular values (the root of
the summed squares of their changes is at most the norm of the noise), and for
an angle the size of a row's noise over the size of the row.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .. import _kernels
from .._namespace import Array, exponent_of, namespace
from .._state import EMPTY, State, of_plain_tokens, scaled, shifted
from .._types import EPS
from ._arithmetic import LN2
from ._compiled import given_in_kernels, in_kernels
from ._metric import Layer, Measured, Metric
from ._registry import metric_of
from ._view import View

__all__ = ["as_given", "evaluate", "of_tokens", "of_view", "with_scale"]


def evaluate(
    state: State, names: Iterable[str], zero_rows: Array | None = None, layer: Layer | None = None
) -> tuple[dict[str, Measured], int]:
    """Measure a split state: every metric as it comes out, and its error.

    ``zero_rows`` (b, n, 1): tokens known to be exactly zero; ``layer``: what stands beside the
    state.  Also returns how many matrices a kernel left to LAPACK.
    """
    names = tuple(names)
    if layer is None or layer.tokens is None:
        compiled = in_kernels(state, names, zero_rows)
        if compiled is not None:
            return compiled
    return of_view(View(state, zero_rows, layer), names)


# what leaves the range of a double has an infinite error, and needs no warning
@np.errstate(over="ignore", invalid="ignore")
def of_view(view: View, names: Iterable[str]) -> tuple[dict[str, Measured], int]:
    """Do the same with states that somebody looks at already."""
    state, names = view.state, tuple(names)
    xp = namespace(state.R)
    metrics = [metric_of(name) for name in names]
    results: dict[str, Measured] = {}
    for metric in metrics:
        if metric.name not in results:
            found = metric.of(view)
            results |= {metric.name: found} if isinstance(found, Measured) else found
    exists = view.exists
    # what came out as zero by cancelling is rounding, and not known to be zero
    none = xp.all(state.noise <= EMPTY / 2, axis=-1, keepdims=True)
    hidden = xp.where(none, xp.zeros_like(view.top), xp.full_like(view.top, xp.inf))
    out = {}
    for name, metric in zip(names, metrics, strict=True):
        one = with_scale(metric, results[metric.name], view.top) if metric.degree else results[metric.name]
        # of the zero state only sizes are known, all else is no number, and that without an error
        value = one.value
        if not metric.degree:
            value = xp.where(exists, value, xp.full_like(value, xp.nan))
        error = one.error + 4 * EPS * xp.where(xp.isfinite(value), xp.abs(value), xp.ones_like(value))
        error = xp.where(xp.isnan(error), xp.full_like(error, xp.inf), error)
        out[name] = Measured(value, xp.where(exists, error, hidden))
    return out, view.lapack


def with_scale(metric: Metric, one: Measured, top: Array) -> Measured:
    """Put back the scale of the state, X = 2**top times what was measured."""
    xp = namespace(top)
    if metric.is_log:
        return Measured(
            one.value + top * (metric.degree * LN2), one.error + (metric.degree * EPS) * xp.abs(top)
        )
    exponent = metric.degree * top + (xp.zeros_like(top) if one.exponent is None else one.exponent)
    exponent = xp.clip(exponent, -5000.0, 5000.0)
    value, error = one.value, one.error
    for _ in range(5):  # in steps: a factor must fit a double as well
        step = xp.clip(exponent, -1000.0, 1000.0)
        value, error, exponent = scaled(value, step), scaled(error, step), exponent - step
    # what is known to lie beyond the range of doubles is infinite, and rightly so
    beyond = xp.isinf(value) & (one.error < 0.3 * xp.abs(one.value))
    return Measured(value, xp.where(beyond, xp.zeros_like(error), error))


def of_tokens(x: Array, names: Iterable[str], layer: Layer | None = None) -> dict[str, Measured]:
    """Measure (b, n, d) tokens as they are given, in float64: the only errors are those of measuring."""
    state, zero_rows = as_given(x, layer)
    return evaluate(state, names, zero_rows, layer)[0]


def as_given(x: Array, layer: Layer | None = None) -> tuple[State, Array]:
    """Return (b, n, d) tokens, given exactly, as a state in float64, and which of them are zero (b, n, 1)."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    if xp is np and (layer is None or layer.tokens is None) and _kernels.ready("sums", "float64"):
        return given_in_kernels(x), ~x.any(axis=-1, keepdims=True)
    zero = ~xp.any(x != 0, axis=-1, keepdims=True)
    if layer is not None and layer.tokens is not None:
        # tokens that do not count are as the first that does, and give the others no rounding
        counts = xp.broadcast_to(layer.tokens > 0, (max(x.shape[0], layer.tokens.shape[0]), *x.shape[1:2], 1))
        x = xp.broadcast_to(x, (counts.shape[0], *x.shape[1:]))
        first = xp.argmax(xp.astype(counts, xp.int64), axis=-2, keepdims=True)
        x = xp.where(counts, x, xp.take_along_axis(x, first, axis=-2))
    e = exponent_of(xp.max(xp.abs(x), axis=(-1, -2), keepdims=True))
    e = xp.where(e == -xp.inf, xp.zeros_like(e), e)
    half = xp.floor(-e / 2)  # in two steps: entries near the ends of the range must not overflow
    return shifted(of_plain_tokens(scaled(scaled(x, half), -e - half)), e), zero
