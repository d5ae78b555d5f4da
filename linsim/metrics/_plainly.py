"""The commonest plain metrics of plain tokens, by their definitions: a few passes over the numbers.

For tokens whose differences nobody asks for below their rounding.  :mod:`linsim.metrics._evaluate` keeps
those and costs ten times as much; tests hold one against the other.
"""

from __future__ import annotations

from collections.abc import Callable

from .._namespace import Array, namespace
from .._types import EPS
from ._metric import Measured

__all__ = ["PLAINLY", "plainly"]

# rounding of the few sums of a metric
_SUMS = 16 * EPS


def plainly(x: Array, error: Array, names: list[str]) -> dict[str, Measured]:
    """Measure (b, n, d) float64 tokens, n >= 2, some of them known to ``error`` (b, n, d).

    Returns value and error, (b, 1, 1), of those of ``names`` that are among :data:`PLAINLY`; errors
    by the first-order change of a metric, the direction of the error taken as the worst.
    """
    xp = namespace(x)
    squares, off = (xp.linalg.vecdot(y, y)[..., None] for y in (x, error))
    found = {}
    for name in names:
        if name in PLAINLY:
            value, told = PLAINLY[name](x, squares, off)
            found[name] = Measured(value, told + _SUMS * xp.maximum(xp.abs(value), xp.ones_like(value)))
    return found


def _total(y: Array) -> Array:
    return namespace(y).sum(y, axis=(-1, -2), keepdims=True)


def _low(x: Array) -> Array:
    """Square of the norm of the mean of the tokens, as often as there are tokens."""
    xp = namespace(x)
    total = xp.sum(x, axis=-2, keepdims=True)
    return xp.linalg.vecdot(total, total)[..., None] / x.shape[-2]


def _token_similarity(x: Array, squares: Array, off: Array) -> tuple[Array, Array]:
    whole = _total(squares)
    return _low(x) / whole, namespace(x).sqrt(_total(off) / whole)


def _hfc_lfc(x: Array, squares: Array, off: Array) -> tuple[Array, Array]:
    xp = namespace(x)
    rest = x - xp.mean(x, axis=-2, keepdims=True)
    high, low = (xp.sqrt(y) for y in (_total(xp.linalg.vecdot(rest, rest)[..., None]), _low(x)))
    ratio = high / low
    rounding = EPS * xp.sqrt(_total(squares))
    return ratio, (1 + ratio) * (xp.sqrt(_total(off)) + rounding) / low


def _cosine(x: Array, squares: Array, off: Array) -> tuple[Array, Array]:
    xp, n = namespace(x), int(x.shape[-2])
    there = squares > 0
    safe = xp.where(there, squares, xp.ones_like(squares))
    total = xp.sum(x / xp.sqrt(safe), axis=-2, keepdims=True)
    # pairs with a token that is zero have cosine 0
    counted = _total(xp.astype(there, x.dtype))
    value = (xp.linalg.vecdot(total, total)[..., None] - counted) / (n * (n - 1))
    return value, 2 * _total(xp.sqrt(off / safe)) / n


def _log_norm(x: Array, squares: Array, off: Array) -> tuple[Array, Array]:
    xp, whole = namespace(x), _total(squares)
    return 0.5 * xp.log(whole), xp.sqrt(_total(off) / whole)


#: metrics that are measured here
PLAINLY: dict[str, Callable[[Array, Array, Array], tuple[Array, Array]]] = {
    "token_similarity": _token_similarity,
    "hfc_lfc": _hfc_lfc,
    "cosine": _cosine,
    "log_norm": _log_norm,
}
