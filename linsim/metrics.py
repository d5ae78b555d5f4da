"""What a state of tokens looks like: similarity, angles, rank, and their gaps.

A gap is the distance of a metric from its oversmoothed limit.  Gaps are
reported as natural logarithms and keep *relative* accuracy however small they
are.  Every function works on stacks, in the array library of its input.

Edge values
-----------
n = 1: there is no pair of tokens; cosine and |cosine| are 1, their gaps 0
(log -inf).  d = 1 or n = 1: sigma_2 = 0, effective rank 1, gaps 0.  A zero row
has no direction: its cosine with every other row counts as 0.  The zero state
has a norm of 0 (log -inf), a spread of 0, and no other metric: NaN.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import _validate
from ._callers import in_callers_library
from ._evaluate import METRICS, choose, of_tokens, tolerances
from ._namespace import Array, namespace

__all__ = ["METRICS", "measure"]


@in_callers_library
def measure(x: Array, metrics: str | Iterable[str] | None = None) -> dict[str, Array]:
    """Measure token matrices.

    Parameters
    ----------
    x : array, shape (..., n, d)
        Token matrices, float64 or float32 (half precision is measured as float32),
        of NumPy, PyTorch, JAX, CuPy, or another library of the array API standard.
    metrics : str or iterable of str, optional
        Names from :data:`METRICS`, or "plain" or "gaps" for all those whose names do not
        begin, or begin, with ``log``; None means all of them.

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
