"""The commonest plain metrics of plain tokens, by their definitions: a few passes over the numbers.

For tokens whose differences nobody asks for below their rounding.  :mod:`linsim.metrics._evaluate` keeps
those and costs ten times as much; tests hold one against the other.
"""

from __future__ import annotations

from collections.abc import Callable

from .._kernels import LARGEST
from .._namespace import Array, namespace
from .._types import EPS
from ._metric import Measured

__all__ = ["PLAINLY", "plainly"]

# an error of singular values beside the largest, above which they are not taken from products
_CLOSE = 1e-9
# rounding of the few sums of a metric
_SUMS = 16 * EPS


def plainly(x: Array, error: Array, names: list[str]) -> dict[str, Measured]:
    """Measure (b, n, d) float64 tokens, n >= 2, some of them known to ``error`` (b, n, d).

    Returns value and error, (b, 1, 1), of those of ``names`` that are among :data:`PLAINLY`; errors
    by the first-order change of a metric, the direction of the error taken as the worst.  The effective rank
    only of large tokens, and where their products show the singular values well enough.
    """
    xp = namespace(x)
    squares, off = (xp.linalg.vecdot(y, y)[..., None] for y in (x, error))
    found = {}
    for name in names:
        if name in PLAINLY:
            value, told = PLAINLY[name](x, squares, off)
            found[name] = Measured(value, told + _SUMS * xp.maximum(xp.abs(value), xp.ones_like(value)))
    if "effective_rank" in names and max(x.shape[-2:]) > LARGEST:
        value, told, close = _effective_rank(x, squares, off)
        if bool(xp.all(close)):
            found["effective_rank"] = Measured(value, told)
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


def _effective_rank(x: Array, squares: Array, off: Array) -> tuple[Array, Array, Array]:
    """Effective rank from eigenvalues of products of tokens, its error, and whether it is close, (b, 1, 1).

    Eigenvalues of X X^T are known to eta = 4 sqrt(n + d) eps |X|_F^2 (sums of n or d products and a
    decomposition, errors of which add up like random ones), so singular values s to eta / max(s, sqrt(eta)).
    d(entropy) = -sum (log p + entropy) dp, p = s / sum(s), as in :mod:`._rank`; derived there.
    """
    xp = namespace(x)
    n, d = (int(extent) for extent in x.shape[-2:])
    low = xp.linalg.eigvalsh(x @ x.mT if n <= d else x.mT @ x)[..., None, :]
    s = xp.sqrt(xp.maximum(low, xp.zeros_like(low)))
    whole, first = _total(squares), s[..., -1:]
    eta = 4 * EPS * float(n + d) ** 0.5 * whole
    own = xp.sqrt(_total((eta / xp.maximum(s, xp.sqrt(eta))) ** 2))
    noise = own + xp.sqrt(_total(off))
    total = xp.sum(s, axis=-1, keepdims=True)
    p = s / total
    d_p = noise / total
    logs = xp.log(xp.maximum(p, d_p))
    entropy = -xp.sum(p * logs, axis=-1, keepdims=True)
    slopes = xp.sqrt(xp.sum((logs + entropy) ** 2, axis=-1, keepdims=True))
    d_entropy = d_p * slopes + 1.5 * min(n, d) * d_p * d_p + 16 * EPS * (1 + entropy)
    value = xp.exp(entropy)
    return value, value * xp.expm1(d_entropy), own < _CLOSE * first


#: metrics that are measured here
PLAINLY: dict[str, Callable[[Array, Array, Array], tuple[Array, Array]]] = {
    "token_similarity": _token_similarity,
    "hfc_lfc": _hfc_lfc,
    "cosine": _cosine,
    "log_norm": _log_norm,
}
