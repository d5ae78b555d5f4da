"""Activations of a feed-forward: their values, and derivatives accurate wherever they are small."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._kernels import gelu as compiled_gelu
from ._namespace import Array, erfc, namespace

__all__ = ["ACTIVATIONS", "GATED", "TERMS", "Activation"]

#: derivatives that are known
TERMS = 9


@dataclass(frozen=True)
class Activation:
    """A function and its derivatives 1 to 9 at once, homogeneous beyond large arguments."""

    value: Any
    derivatives: Any  # (x, count) -> list of count arrays
    bounded: bool
    weight: Any  # x -> relative rounding of the value, in roundings of x


@functools.cache
def _gelu_polynomials() -> list[np.polynomial.Polynomial]:
    """q_k with GELU^(k)(x) = p(x) q_k(x), p the normal density, for k = 2 .. 9."""
    x = np.polynomial.Polynomial([0, 1])
    q = [2 - x**2]
    while len(q) < TERMS - 1:
        q.append(q[-1].deriv() - x * q[-1])
    return q


@functools.cache
def _tanh_polynomials() -> list[np.polynomial.Polynomial]:
    """r_k with tanh^(k) = (1 - t^2) r_k(t), t = tanh, for k = 1 .. 9."""
    t = np.polynomial.Polynomial([0, 1])
    r = [np.polynomial.Polynomial([1.0])]
    while len(r) < TERMS:
        r.append(r[-1].deriv() * (1 - t**2) - 2 * t * r[-1])
    return r


def _horner(coefficients: Any, x: Array) -> Array:
    result = namespace(x).zeros_like(x)
    for coefficient in list(coefficients)[::-1]:
        result = result * x + float(coefficient)
    return result


def _normal(x: Array) -> tuple[Array, Array]:
    """Distribution function and density of N(0, 1)."""
    xp = namespace(x)
    density = xp.exp(-0.5 * xp.minimum(x * x, xp.full_like(x, 1400.0))) * float(1 / np.sqrt(2 * np.pi))
    return 0.5 * erfc(-x * float(np.sqrt(0.5))), density


def _gelu(x: Array) -> Array:
    if type(x) is np.ndarray:
        return compiled_gelu(x)
    return x * 0.5 * erfc(-x * float(np.sqrt(0.5)))


def _tail(x: Array) -> Array:
    """1 + x^2 for x < 0, where x Phi(x) is nearly exp(-x^2 / 2)."""
    low = namespace(x).clip(x, -40.0, 0.0)
    return 1 + low * low


def _gelu_derivatives(x: Array, count: int) -> list[Array]:
    share, p = _normal(x)
    small = namespace(x).clip(x, -60.0, 60.0)  # beyond, the density is zero
    return [share + small * p, *(p * _horner(q.coef, small) for q in _gelu_polynomials()[: count - 1])]


def _tanh_derivatives(x: Array, count: int) -> list[Array]:
    xp = namespace(x)
    decay = xp.exp(-2 * xp.minimum(xp.abs(x), xp.full_like(x, 700.0)))
    slope = 4 * decay / (1 + decay) ** 2
    t = xp.tanh(x)
    return [slope * _horner(r.coef, t) for r in _tanh_polynomials()[:count]]


def _tanh(x: Array) -> Array:
    return namespace(x).tanh(x)


def _gate(a: float, b: float) -> Activation:
    """x sigma(v(x)) with v = a x + b x^3, sigma the logistic function."""

    def gate(x: Array) -> tuple[Array, Array]:
        xp = namespace(x)
        v = xp.clip(x, -1e4, 1e4)  # beyond, sigma is 0 or 1, whatever the precision
        v = xp.clip((a + b * v * v) * v, -800.0, 800.0)
        low = xp.exp(-xp.abs(v))
        large, small = 1 / (1 + low), low / (1 + low)
        return xp.where(v > 0, large, small), xp.where(v > 0, small, large)

    def value(x: Array) -> Array:
        return x * gate(x)[0]

    def derivatives(x: Array, count: int) -> list[Array]:
        # Taylor coefficients p of sigma(v(x + h)): p' = p (1 - p) v', and those of v end at h^3
        p0, q0 = gate(x)
        small = namespace(x).clip(x, -60.0, 60.0)  # beyond, p (1 - p) is zero
        slopes = [a + 3 * b * small * small, 6 * b * small, 3 * b + 0 * small]  # of v', by powers of h
        p, q = [p0], [q0]
        for k in range(count):
            products = [sum((p[i] * q[m - i] for i in range(m + 1)), 0 * x) for m in range(k + 1)]
            total = sum((slopes[j] * products[k - j] for j in range(min(k, 2) + 1)), 0 * x)
            p.append(total / (k + 1))
            q.append(-total / (k + 1))
        return [_factorial(k) * (x * p[k] + p[k - 1]) for k in range(1, count + 1)]

    def weight(x: Array) -> Array:
        low = namespace(x).clip(x, -60.0, 0.0)  # sigma is nearly exp(v): its rounding is that of v
        return 1 + namespace(x).abs((a + b * low * low) * low)

    return Activation(value, derivatives, bounded=False, weight=weight)


def _factorial(k: int) -> float:
    return float(np.prod(np.arange(1, k + 1)))


#: feed-forwards with a gate, and the activation of the gate
GATED = {"swiglu": "silu", "geglu": "gelu", "reglu": "relu"}

_TANH_GELU = 2 * float(np.sqrt(2 / np.pi))

ACTIVATIONS: dict[str, Activation | None] = {
    "linear": None,
    "relu": None,
    "silu": _gate(1.0, 0.0),
    "quick_gelu": _gate(1.702, 0.0),
    "gelu_tanh": _gate(_TANH_GELU, 0.044715 * _TANH_GELU),
    "tanh": Activation(_tanh, _tanh_derivatives, bounded=True, weight=lambda x: 1.0 + 0 * x),
    "gelu": Activation(_gelu, _gelu_derivatives, bounded=False, weight=_tail),
}
