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
from typing import Any

import numpy as np

from . import _validate
from ._callers import in_callers_library
from ._evaluate import METRICS, choose, evaluate
from ._namespace import Array, exponent_of, namespace
from ._state import Split, decompose, scaled, shifted

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
        Names from :data:`METRICS`; None means all of them.

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
    x = xp.astype(x, xp.float64, copy=False)  # exact; only measuring itself rounds
    batch, (n, d) = tuple(x.shape[:-2]), x.shape[-2:]
    # powers of two only: entries near the ends of the range must not overflow
    flat = xp.reshape(x, (-1, n, d))
    e = exponent_of(xp.max(xp.abs(flat), axis=(-1, -2), keepdims=True))
    e = xp.where(e == -xp.inf, xp.zeros_like(e), e)
    half = xp.floor(-e / 2)
    state = decompose(scaled(scaled(flat, half), -e - half), _plain_split(x))
    state = shifted(state, e)
    zero_rows = ~xp.any(flat != 0, axis=-1, keepdims=True)
    measured, _ = evaluate(state, names, zero_rows)
    return {k: xp.reshape(m.value, batch) for k, m in measured.items()}


def _plain_split(x: Array) -> Split:
    """Split off the token mean and nothing else."""
    xp, n, d = namespace(x), x.shape[-2], x.shape[-1]

    def full(shape: tuple[int, ...], value: Any, dtype: Any) -> Array:
        return xp.full(shape, value, dtype=dtype, device=x.device)

    one = (1, 1, 1)
    return Split(
        v=full((1, n, 1), 1.0, x.dtype),
        u=full((1, 1, n), 1.0 / n, x.dtype),
        w=full((1, d, 1), 0.0, x.dtype),
        z=full((1, 1, d), 0.0, x.dtype),
        lam=full(one, 1.0, x.dtype),
        mu=full(one, 0.0, x.dtype),
        constant=full(one, True, xp.bool),
        preserves_mean=full(one, True, xp.bool),
        coupled=full(one, 0.0, x.dtype),
        growth=full((1, 1, 5), 0.0, xp.float64),
        injected=full(one, 0.0, xp.float64),
        sensitivity=full(one, float(np.sqrt(n + d)), xp.float64),
        any_coupled=False,
        any_z=False,
        any_mean=False,
    )
