"""What a block does to tokens as plain numbers, as a network computes them.

Tokens are (p, k, n, d): p copies of k systems, so that matrices (k or 1, ., .) serve all copies.  Nothing
is carried apart, so differences below the rounding of a token are lost; who needs them takes
:mod:`linsim._layers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._activations import ACTIVATIONS
from ._attend import Projections
from ._kernels import exponentials
from ._namespace import Array, biggest, namespace, smallest, squares
from ._positions import turned

__all__ = [
    "activate",
    "add",
    "attend",
    "deescalated",
    "features_scaled",
    "linear",
    "looked_up",
    "mixed",
    "norm",
    "of_equal_length",
    "product",
    "queries_and_keys",
    "stretch",
    "sum_of_heads",
]

# sums of exponentials in this range need no largest score taken off: what underflows is 1e-100 of them
_HARMLESS = 1e200
_ALL = slice(None)


def linear(x: Array, W: Array | None, bias: Array | None) -> Array:
    """Return x W + bias."""
    if W is None:
        return x if bias is None else x + bias
    y = x @ W  # one product a system: what BLAS rounds may not depend on what else is in the batch
    if bias is not None:
        y += bias
    return y


def _sum_of_squares(x: Array) -> Array:
    return squares(x)[..., None]


def _over(x: Array, square: Array) -> Array:
    """Divide by the root of ``square``; what has none becomes 0."""
    xp = namespace(x)
    root = xp.sqrt(square)
    return x / (root if smallest(root) > 0 else xp.where(root > 0, root, xp.full_like(root, xp.inf)))


def norm(x: Array, kind: str, gain: Array | None, bias: Array | None, eps: float) -> Array:
    """Return the norm of every token, times gain, plus bias."""
    if kind == "layer":
        x = x - namespace(x).mean(x, axis=-1, keepdims=True)
    square = _sum_of_squares(x)
    if kind != "sphere":
        square /= x.shape[-1]
    if eps:
        square += eps if kind != "sphere" else eps * x.shape[-1]
    x = _over(x, square)
    if gain is not None:
        x *= gain
    if bias is not None:
        x += bias
    return x


def attend(x: Array, attention: Any, values: Callable[[Array], Array], heads: int, value_heads: int) -> Array:
    """Return A values(x), head by head."""
    if not isinstance(attention, Projections):
        return mixed(attention, values(x), heads)
    query, key = queries_and_keys(x, attention)
    return looked_up(query, key, values(x), attention, heads, value_heads)


def mixed(A: Array, values: Array, heads: int) -> Array:
    """Return A V for attention (k or 1, heads or 1, m, n), head by head of the features of V."""
    return _joined(A @ _cut(values, heads))


def queries_and_keys(x: Array, at: Projections) -> tuple[Array, Array]:
    """Return what scores are made of, before positions turn it."""
    y = of_equal_length(x) if at.normalized else x
    return linear(y, at.query, at.query_bias), y if at.key is None else linear(y, at.key, at.key_bias)


def of_equal_length(x: Array) -> Array:
    """Return tokens of mean square 1."""
    return _over(x, _sum_of_squares(x) / x.shape[-1])


def looked_up(
    query: Array,
    key: Array,
    values: Array,
    at: Projections,
    heads: int,
    value_heads: int,
    rows: slice = _ALL,
) -> Array:
    """Return A V with A the softmax of scores, of some tokens that look at all."""
    xp = namespace(query)
    Q, K = _cut(query, heads), _cut(key, at.key_heads)
    if at.rotary is not None:
        Q, K = turned(Q, at.rotary), turned(K, at.rotary)
    Q, transposed = Q[..., rows, :], _shared(K, heads).mT
    A = _exponentials(Q, transposed, at, rows, shift=xp is np)
    total = _sum_of_rows(A)
    if xp is not np and not (smallest(total) > 1 / _HARMLESS and biggest(total) < _HARMLESS):
        # no system may round otherwise because another one is in the batch
        safe = xp.all((total > 1 / _HARMLESS) & (total < _HARMLESS), axis=(-1, -2, -3), keepdims=True)
        A = xp.where(safe, A, _exponentials(Q, transposed, at, rows, shift=True))
        total = _sum_of_rows(A)
    out = A @ _shared(_cut(values, value_heads), heads)
    out /= total  # fewer numbers than attention has
    return _joined(out)


def _sum_of_rows(A: Array) -> Array:
    if type(A) is np.ndarray:
        return np.add.reduce(A, axis=-1, keepdims=True)
    return namespace(A).sum(A, axis=-1, keepdims=True)


def _exponentials(Q: Array, K: Array, at: Projections, rows: slice, *, shift: bool) -> Array:
    """Exponentials of the scores of some rows, or of what they are less than the largest of their row."""
    xp = namespace(Q)
    scores = Q @ K
    if at.bias is not None:
        scores += at.bias[..., rows, :]
    if at.mask is not None:
        scores = xp.where(at.mask[..., rows, :], scores, xp.full_like(scores, -xp.inf))
    if xp is np:
        return exponentials(scores)
    if shift:
        scores -= xp.max(scores, axis=-1, keepdims=True)
    return xp.exp(scores)


def _cut(x: Array, heads: int) -> Array:
    """Cut (p, k, n, heads w) into (p, k, heads, n, w)."""
    if heads == 1:
        return x[:, :, None, ...]
    xp = namespace(x)
    x = xp.reshape(x, (*x.shape[:-1], heads, x.shape[-1] // heads))
    return xp.permute_dims(x, (0, 1, 3, 2, 4))


def _joined(x: Array) -> Array:
    if x.shape[2] == 1:
        return x[:, :, 0, ...]
    xp = namespace(x)
    p, k, heads, n, w = x.shape
    return xp.reshape(xp.permute_dims(x, (0, 1, 3, 2, 4)), (p, k, n, heads * w))


def _shared(x: Array, heads: int) -> Array:
    times = heads // int(x.shape[2])
    return x if times == 1 else namespace(x).repeat(x, times, axis=2)


def sum_of_heads(x: Array, heads: int) -> Array:
    """Add up (n, heads d) features to (n, d)."""
    return namespace(x).sum(_cut(x, heads), axis=2)


def add(x: Array, y: Array) -> Array:
    """Return x + y."""
    return x + y


def stretch(x: Array, factor: Any) -> Array:
    """Return x times a number, or (k, 1, 1)."""
    return x * factor


def features_scaled(x: Array, factor: Array) -> Array:
    """Multiply by (k or 1, 1, d), feature by feature."""
    return x * factor


def activate(x: Array, name: str) -> Array:
    """Apply an activation to every entry."""
    if name == "linear":
        return x
    if name == "relu":
        return namespace(x).maximum(x, namespace(x).zeros_like(x))
    activation = ACTIVATIONS[name]
    assert activation is not None
    return activation.value(x)


def product(x: Array, y: Array) -> Array:
    """Return the products of entries."""
    return x * y


def deescalated(x: Array, step: Any, strength: Array | None, layer: int) -> Array:
    """Take away some of what all tokens share."""
    xp = namespace(x)
    mean = xp.mean(x, axis=-2, keepdims=True)
    assert strength is not None  # functions of the user's go another way
    if step.similarity is None:
        return x - strength * mean
    low = x.shape[-2] * xp.sum(mean * mean, axis=(-1, -2), keepdims=True)
    rest = x - mean
    high = xp.sum(rest * rest, axis=(-1, -2), keepdims=True)
    known = (low > 0) & (high > 0)
    wanted = strength / (1 - strength) * high / xp.where(known, low, xp.ones_like(low))
    return rest + xp.where(known, xp.sqrt(wanted), xp.ones_like(low)) * mean
