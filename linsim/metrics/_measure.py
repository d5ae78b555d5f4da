"""Metrics of token matrices that somebody has at hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import _validate
from .._callers import in_callers_library
from .._namespace import Array, namespace, on_device_of
from ..errors import InvalidTypeError, ShapeError
from ._evaluate import of_tokens
from ._metric import Layer, Metric
from ._registry import choose, tolerances
from ._tokens import token_weights

__all__ = ["measure"]


@in_callers_library
def measure(
    x: Array,
    metrics: str | Metric | Iterable[str | Metric] | None = None,
    *,
    tokens: Any = None,
    attention: Array | None = None,
) -> dict[str, Array]:
    """Measure token matrices.

    Parameters
    ----------
    x : array, shape (..., n, d)
        Token matrices, float64 or float32 (half precision is measured as float32),
        of NumPy, PyTorch, JAX, CuPy, or another library of the array API standard.
    metrics : str, Metric, or iterable of them, optional
        Names from :data:`linsim.metrics.METRICS`; "plain" or "gaps" for those of the fourteen default
        metrics whose names do not begin, or begin, with ``log``; None for these fourteen, "all" for every
        one; or a :class:`Metric` of your own.
    tokens : array, shape (n,) or (..., n), keyword-only
        Which tokens are measured: booleans, or weights >= 0 that say how often each counts
        (see :mod:`linsim.metrics`).
    attention : array, shape (..., n, n), keyword-only
        What the tokens look at each other with, rows that sum to 1, for metrics that need it; NaN without.

    Returns
    -------
    dict of str to array, shape (...)
        float64, in the library of ``x`` (JAX without ``jax_enable_x64``: float32).
        Names that begin with ``log`` are natural logarithms.  A gap
        too small to be told from the rounding of measuring, in float64, is NaN, as is every ratio
        of a zero state; other edge values are listed in :mod:`linsim.metrics`.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If ``x`` is not a finite (..., n, d) array, a name is unknown, or tokens or attention do not fit.

    Notes
    -----
    Token similarity: arXiv 2312.06182.  HFC/LFC and cosine: arXiv 2401.04301.
    Effective rank: Roy and Vetterli 2007.

    Examples
    --------
    >>> measure([[1.0, 0.0], [0.0, 1.0]], ["token_similarity", "effective_rank"])
    {'token_similarity': array(0.5), 'effective_rank': array(2.)}
    """
    names = choose(metrics)
    x = _validate.array(x, "x", ndim=2, shape="(..., n, d)")
    xp = namespace(x)
    n, batches = int(x.shape[-2]), {"x": tuple(x.shape[:-2])}
    weights = None if tokens is None else token_weights(tokens, n)
    A = None if attention is None else _attention(attention, x)
    if weights is not None:
        batches["tokens"] = weights.shape[:-1]
    if A is not None:
        batches["attention"] = tuple(A.shape[:-2])
    batch = _validate.broadcast_batches(**batches)

    def stacked(M: Array) -> Array:
        return xp.reshape(xp.broadcast_to(M, (*batch, *M.shape[-2:])), (-1, *M.shape[-2:]))

    layer = Layer(
        None if A is None else (stacked(A),),
        None if weights is None else stacked(on_device_of(weights[..., None], x)),
    )
    measured = of_tokens(stacked(x), names, layer)
    allowed = tolerances(names, False, None)
    out = {}
    for name, one in measured.items():
        known = one.error <= allowed[name] * xp.maximum(xp.ones_like(one.value), xp.abs(one.value))
        out[name] = xp.reshape(xp.where(known, one.value, xp.full_like(one.value, xp.nan)), batch)
    return out


def _attention(attention: Any, x: Array) -> Array:
    """Check attention for tokens x."""
    A = _validate.attention_matrix(attention, "attention")
    n = int(x.shape[-2])
    if A.shape[-1] != n:
        raise _validate.refusal(
            ShapeError,
            "attention",
            f"shape {tuple(A.shape)}",
            f"shape (..., {n}, {n}) to fit x",
            "Pass that of the same tokens.",
        )
    if namespace(A) is not namespace(x):
        raise _validate.refusal(
            InvalidTypeError,
            "attention",
            f"an array of {namespace(A).__name__}",
            f"the library of x ({namespace(x).__name__})",
            "Convert one of them.",
        )
    return A
