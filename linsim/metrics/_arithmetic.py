"""Logarithms, errors and scales that every group of metrics works with."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .._namespace import Array, namespace
from .._state import EMPTY

__all__ = [
    "LN2",
    "TINY",
    "by_part",
    "cast",
    "difference",
    "exp",
    "largest",
    "log",
    "log_error",
    "noise_share",
    "rounding_of",
]

LN2 = float(np.log(2.0))
TINY = 1e-300  # nothing, to a logarithm


def log_error(relative: Array) -> Array:
    """Error of a logarithm of what is known to ``relative``: -ln(1 - relative), infinite from 1 on."""
    xp = namespace(relative)
    known = relative < 1
    return xp.where(
        known, -xp.log1p(-xp.where(known, relative, xp.zeros_like(relative))), xp.full_like(relative, xp.inf)
    )


def noise_share(noise: Array, ln_value: Array) -> Array:
    """2**noise / exp(ln_value): 0 without noise, else infinite beside nothing."""
    xp = namespace(noise)
    none = noise <= EMPTY / 2
    ln = xp.where(none, xp.full_like(noise, -1e4), noise) * LN2
    ln = ln - xp.where(ln_value == -xp.inf, xp.full_like(ln_value, -1e5), ln_value)
    found = exp(xp.clip(ln, -1e3, 1e3))
    return xp.where(none, xp.zeros_like(found), found)


def log(x: Array, exponent: Any = 0.0) -> Array:
    """ln(x 2**exponent), -inf at x = 0, without a warning."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    positive = x > 0
    value = xp.log(xp.where(positive, x, xp.ones_like(x))) + exponent * LN2
    return xp.where(positive, value, xp.full_like(value, -xp.inf))


def exp(x: Array) -> Array:
    """exp without overflow warnings: inf above the largest double."""
    xp = namespace(x)
    value = xp.exp(xp.clip(x, -750.0, 709.0))
    value = xp.where(x > 709.0, xp.full_like(value, xp.inf), value)
    return xp.where(x < -750.0, xp.zeros_like(value), value)


def rounding_of(x: Array) -> float:
    """What measuring itself rounds, relative to a size: a few steps in the precision of the state."""
    return 4 * float(namespace(x).finfo(x.dtype).eps)


def difference(x: Array, y: Array) -> Array:
    """x - y for logarithms, where -inf - -inf is NaN without a warning."""
    xp = namespace(x)
    both = (x == -xp.inf) & (y == -xp.inf)
    value = xp.where(both, xp.zeros_like(x), x) - xp.where(both, xp.zeros_like(y), y)
    return xp.where(both, xp.full_like(value, xp.nan), value)


def by_part(noise: Array) -> list[Array]:
    return [noise[:, :, k : k + 1] for k in range(noise.shape[-1])]


def largest(*values: Array) -> Array:
    return functools.reduce(namespace(values[0]).maximum, values)


def cast(x: Array, dtype: Any) -> Array:
    return namespace(x).astype(x, dtype, copy=False)
