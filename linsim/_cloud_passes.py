"""Passes over the numbers of clouds by compiled kernels, where there are any: :mod:`linsim._kernels.clouds`.

Each takes what :func:`linsim._cloud.shaken` moves copies by: ``numbers``, flat, and ``factor``, (k, 1, 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _kernels
from ._kernels import frozen
from ._namespace import Array
from ._state import EMPTY

__all__ = ["added", "from_mean", "gelu_differences", "layer_norm", "normalised", "shaken", "usable"]


def usable(x: Array) -> bool:
    """Whether there are compiled kernels for such numbers."""
    return type(x) is np.ndarray and _kernels.ready("clouds", x.dtype)


def _kernel(name: str, dtype: Any) -> Any:
    from ._kernels import clouds

    kernel = getattr(clouds, name)
    _kernels.announce(kernel, dtype)
    return kernel


def _each(factor: Array, K: int, dtype: Any) -> Array:
    """Numbers (1 or K, 1, 1) as (K,)."""
    return frozen(np.broadcast_to(np.reshape(factor, -1), K).astype(dtype))


def shaken(x: Array, terms: Array, numbers: Array, factor: Array) -> Array:
    """Return x with copies moved by what sums of size ``terms`` round."""
    out = np.empty(x.shape, x.dtype)
    of_all = (frozen(x), frozen(terms), frozen(numbers), frozen(factor.reshape(-1)))
    _kernel("shaken", x.dtype)(*of_all, out)
    return out


def normalised(x: Array) -> tuple[Array, Array]:
    """Return x with entries of each system below 2, the largest from 1 on, and exponents; EMPTY for zeros."""
    out, shift = np.empty(x.shape, x.dtype), np.empty((len(x), 1, 1))
    rows = frozen(x).reshape(len(x), -1)
    _kernel("normalised", x.dtype)(rows, EMPTY, out.reshape(len(x), -1), shift.reshape(-1))
    return out, shift


def added(x: Array, f_x: Array, y: Array, f_y: Array, numbers: Array, factor: Array) -> Array:
    """Return x f_x + y f_y as it is rounded, (K, r, c) and (K, 1, 1)."""
    K, out = len(x), np.empty(x.shape, x.dtype)
    sides = (frozen(x), _each(f_x, K, x.dtype), frozen(y), _each(f_y, K, x.dtype))
    _kernel("added", x.dtype)(*sides, frozen(numbers), frozen(factor.reshape(-1)), out)
    return out


def from_mean(x: Array, mean: Array, numbers: Array, factor: Array) -> Array:
    """Return x - mean as it is rounded."""
    out = np.empty(x.shape, x.dtype)
    of_all = (frozen(x), frozen(mean), frozen(numbers), frozen(factor.reshape(-1)))
    _kernel("from_mean", x.dtype)(*of_all, out)
    return out


def gelu_differences(
    x: Array, h: Array, rest: Array, value: Array, weight: Array, numbers: Array, factor: Array
) -> Array:
    """Return GELU(x + h rest) - value as it is rounded; ``weight``: what value rounds."""
    out = np.empty(rest.shape, rest.dtype)
    centres = (frozen(x), _each(h, len(rest), rest.dtype), frozen(rest), frozen(value), frozen(weight))
    _kernel("gelu_differences", rest.dtype)(*centres, frozen(numbers), frozen(factor.reshape(-1)), out)
    return out


def layer_norm(
    z: Array,
    c: Array,
    g: Array,
    gain: Array | None,
    of_all: tuple[Array, ...],
    numbers: tuple[Array, Array],
    factor: Array,
    seen: float,
    *,
    centring: bool,
) -> Array:
    """Return the differences of normed tokens as they are rounded; ``of_all``: each (K, 1, 1)."""
    K, n, d = z.shape
    kind = z.dtype
    out = np.empty((K, n * d), kind)
    own = np.ones((1, 1, d), kind) if gain is None else gain
    _kernel("layer_norm", kind)(
        frozen(z.reshape(K, n * d)),
        frozen(c.reshape(K, d)),
        frozen(g.reshape(K, d)),
        frozen(own.reshape(-1, d)),
        frozen(np.stack([np.broadcast_to(np.reshape(x, -1), K) for x in of_all], axis=-1).astype(kind)),
        frozen(np.stack(numbers)),
        frozen(factor.reshape(-1)),
        kind.type(seen),
        kind.type(4 * np.finfo(kind).smallest_normal),
        centring,
        n,
        out,
    )
    return out.reshape(K, n, d)
