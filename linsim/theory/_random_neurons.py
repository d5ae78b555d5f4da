"""Expectations over neurons with fresh Gaussian weights: Gram matrices behind a feed-forward and their noise.

Given what all tokens share of its input, a neuron answers to each on its own: a_p = E[phi^p | shared].
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .._activations import ACTIVATIONS
from .._types import FloatArray
from ._finite_width import Averages, Spread

__all__ = ["activated", "neurons"]


def activated(name: str | None, q: float, cosine: float) -> Averages:
    """E phi(u)^2 and E phi(u) phi(v) of Gaussians of variance q."""
    if name == "linear":
        return q, q * cosine
    if name == "relu":  # Cho and Saul 2009
        turned = np.sqrt(1 - cosine * cosine) + (np.pi - np.arccos(cosine)) * cosine
        return q / 2, q * turned / (2 * np.pi)
    phi, (nodes, weights) = _function(name), _nodes()
    u = np.sqrt(q) * nodes
    v = np.sqrt(q) * (cosine * nodes[:, None] + np.sqrt(1 - cosine * cosine) * nodes[None, :])
    alone = float(weights @ phi(u) ** 2)
    return alone, float(weights @ (phi(u)[:, None] * phi(v)) @ weights)


def neurons(name: str | None, gated: bool, q: float, c: float) -> Spread:
    """Fluctuations of the mean over m neurons of phi(u_i) phi(u_k), times m.

    The averages fluctuate by a_2 and a_1^2, one token by phi^2 and one pair by phi phi'.
    """
    moments = _moments(_function(name), q, c)
    if gated:  # a second factor, linear in weights of its own
        moments = moments * _moments(lambda x: x, q, c)
    four, two_two, three_one, one_four, two_one, two, one = moments
    shared = np.array([[two_two - two**2, two_one - two * one], [two_one - two * one, one_four - one**2]])
    return Spread(
        shared,
        four - two**2 - shared[0, 0],
        two_two - one**2 - shared[1, 1],
        three_one - two * one - shared[0, 1],
        two_one - one_four,
    )


def _moments(phi: Any, q: float, c: float) -> FloatArray:
    """E of a_4, a_2^2, a_3 a_1, a_1^4, a_2 a_1^2, a_2 and a_1^2."""
    nodes, weights = _nodes()
    cosine = min(max(c / q, 0.0), 1.0)
    value = phi(np.sqrt(q) * (np.sqrt(cosine) * nodes[:, None] + np.sqrt(1 - cosine) * nodes))
    one, two, three, four = (value**p @ weights for p in (1, 2, 3, 4))
    every = (four, two**2, three * one, one**4, two * one**2, two, one**2)
    return np.array([weights @ x for x in every])


def _function(name: str | None) -> Any:
    if name == "linear":
        return lambda x: x
    if name == "relu":
        return lambda x: np.maximum(x, 0.0)
    activation = ACTIVATIONS[name or ""]
    assert activation is not None
    return activation.value


@lru_cache(maxsize=1)
def _nodes() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    return nodes, weights / np.sum(weights)
