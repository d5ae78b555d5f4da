"""Metrics of token matrices that somebody has at hand."""

from __future__ import annotations

from collections.abc import Iterable

from .. import _validate
from .._callers import in_callers_library
from .._namespace import Array, namespace
from ._evaluate import of_tokens
from ._registry import choose, tolerances

__all__ = ["measure"]


@in_callers_library
def measure(x: Array, metrics: str | Iterable[str] | None = None) -> dict[str, Array]:
    """Measure token matrices.

    Parameters
    ----------
    x : array, shape (..., n, d)
        Token matrices, float64 or float32 (half precision is measured as float32),
        of NumPy, PyTorch, JAX, CuPy, or another library of the array API standard.
    metrics : str or iterable of str, optional
        Names from :data:`linsim.metrics.METRICS`, or "plain" or "gaps" for all those whose names do not
        begin, or begin, with ``log``; None means all of them but those that need the attention of a layer.

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
        If ``x`` is not a finite (..., n, d) array, or a name is unknown.

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
    batch = tuple(x.shape[:-2])
    measured = of_tokens(xp.reshape(x, (-1, *x.shape[-2:])), names)
    allowed = tolerances(names, False, None)
    out = {}
    for name, one in measured.items():
        known = one.error <= allowed[name] * xp.maximum(xp.ones_like(one.value), xp.abs(one.value))
        out[name] = xp.reshape(xp.where(known, one.value, xp.full_like(one.value, xp.nan)), batch)
    return out
