"""Singular values of states, those behind the leading one with an exponent of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import _kernels
from .._namespace import Array, namespace, power_of_two
from ._arithmetic import cast, rounding_of
from ._leading_pair import Leading

__all__ = ["Singular", "from_values", "singular_of"]


@dataclass(frozen=True, eq=False)
class Singular:
    """Singular values of b states: ``first``, and the others ``rest`` 2**delta, decreasing."""

    first: Array  # (b, 1, 1)
    rest: Array  # (b, 1, min(n, d) - 1), one zero where that is none
    delta: Array  # (b, 1, 1)
    scale: Array  # (b, 1, 1): 2**delta
    several: int  # min(n, d)
    whole_noise: Array  # (b, 1, 1): absolute error of the first
    own_noise: Array  # (b, 1, 1): absolute error of each of the rest, at its scale
    lapack: int  # how many matrices a kernel left to LAPACK


def singular_of(p: Leading, matrices: Array | None = None) -> Singular:
    """Find the singular values of the minors alone where the leading dyad is one pair to rounding.

    ``matrices`` (b, n, d): minors, or the whole, where these are at hand.
    """
    xp = namespace(p.S)
    f = power_of_two(p.delta)
    if matrices is None:
        whole = cast(p.main, p.S.dtype) * (p.alpha * p.q) + cast(f, p.S.dtype) * p.S
        minors = p.S - p.alpha * (xp.matrix_transpose(p.alpha) @ p.S)
        matrices = xp.where(p.split_off, minors, whole)
    return from_values(p, *_singular_values(matrices))


def from_values(p: Leading, values: Array, redone: int = 0) -> Singular:
    """Singular values of a state from those (b, min(n, d)) of its minors, or of the whole."""
    xp, f = namespace(p.S), power_of_two(p.delta)
    values = xp.astype(values[:, None, :], xp.float64, copy=False)
    first = xp.where(p.split_off, p.main, values[:, :, :1])
    rest = xp.where(p.split_off, values[:, :, :-1], values[:, :, 1:])
    if rest.shape[-1] == 0:
        rest = xp.zeros_like(first)
    scale = xp.where(p.split_off, f, xp.ones_like(f))
    delta = xp.where(p.split_off, p.delta, xp.zeros_like(p.delta))
    second = rest[:, :, :1]
    # what an error does to one singular value is its entry along the two singular vectors
    part = 1 / float(np.sqrt(min(p.S.shape[-2:])))
    whole_noise = part * (p.noise_main + f * p.noise) + rounding_of(p.S) * first
    own_noise = xp.where(p.split_off, part * p.noise + rounding_of(p.S) * second, whole_noise)
    return Singular(first, rest, delta, scale, min(p.S.shape[-2:]), whole_noise, own_noise, redone)


def _singular_values(x: Array) -> tuple[Array, int]:
    xp = namespace(x)
    if xp is np:
        return _kernels.singular_values(x)
    return xp.linalg.svdvals(x), 0
