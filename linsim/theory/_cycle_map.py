"""One linear map on states (n, d): the layers of a cycle, each a sum over heads, applied or as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._types import EPS, FloatArray
from ._heads import Stacked, sum_of_heads

__all__ = ["Cycle", "Heads", "simplest"]

#: one layer: its attentions (..., h, n, n) and its weights (..., h, d, d)
Heads = tuple[FloatArray, FloatArray]

LARGEST_NORM = 400  # 2-norms of larger matrices are bounded, not computed


@dataclass(frozen=True, eq=False)
class Cycle:
    """The layers of one system: attentions (h, n, n) and weights (h, d, d) each.

    ``scales`` are powers of two that divide each layer, so that long cycles
    neither overflow nor underflow.  ``eps`` is the relative spacing of the
    numbers that the entries were given in.  ``thin``: layers whose weights are of low rank.
    """

    layers: tuple[Heads, ...]
    scales: tuple[float, ...]
    eps: float = EPS
    thin: tuple[Stacked | None, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d) of a state."""
        A, H = self.layers[0]
        return int(A.shape[-1]), int(H.shape[-1])

    @property
    def size(self) -> int:
        """Number of entries of a state."""
        n, d = self.shape
        return n * d

    @property
    def log_scale(self) -> float:
        """ln of what the eigenvalues must be multiplied by."""
        return float(np.sum(np.log(self.scales)))

    def apply(self, X: Any) -> Any:
        """Send states (..., n, d) through all layers."""
        thin = self.thin or (None,) * len(self.layers)
        for (A, H), low, scale in zip(self.layers, thin, self.scales, strict=True):
            X = (X + (sum_of_heads(A, H, X) if low is None else low.apply(A, X))) / scale
        return X

    def map(self, x: Any) -> Any:
        """Send one state, as a vector, through all layers, in the precision that it has."""
        cycle = self.single if x.dtype == np.float32 else self
        return cycle.apply(x.reshape(self.shape)).ravel()

    @property
    def transposed(self) -> Cycle:
        """The cycle of the transposed map: transposed layers in opposite order."""
        layers = ((np.swapaxes(A, -1, -2), np.swapaxes(H, -1, -2)) for A, H in reversed(self.layers))
        thin = tuple(low and low.transposed for low in reversed(self.thin))
        return Cycle(tuple(layers), self.scales[::-1], self.eps, thin)

    def block(self, part: slice) -> Cycle:
        """The diagonal block of some rows of a block triangular cycle."""
        layers = tuple((A[:, part, part], H) for A, H in self.layers)
        return Cycle(layers, self.scales, self.eps, self.thin)

    @cached_property
    def single(self) -> Cycle:
        """The same map in single precision, for iterations that need no more."""
        layers: Any = tuple((A.astype(np.float32), H.astype(np.float32)) for A, H in self.layers)
        thin = tuple(low and low.single for low in self.thin)
        return Cycle(layers, self.scales, self.eps, thin)

    @property
    def work(self) -> float:
        """Multiplications of one application."""
        n, d = self.shape
        thin = self.thin or (None,) * len(self.layers)
        each = [
            len(A) * n * d * (n + d) if low is None else n * len(low.O) * (n + 2 * d)
            for (A, _), low in zip(self.layers, thin, strict=True)
        ]
        return float(sum(each))

    def growths(self) -> FloatArray:
        """ln of the factor by which each layer enlarges a generic state; -inf where it erases it."""
        X, out = np.random.default_rng(0).standard_normal(self.shape), []
        for layer in self.layers:
            X = Cycle((layer,), (1.0,)).apply(X / (np.linalg.norm(X) or 1.0))
            with np.errstate(divide="ignore"):
                out.append(float(np.log(np.linalg.norm(X))))
        return np.array(out)

    def rescaled(self, growths: FloatArray) -> Cycle:
        """The same layers, divided by powers of two near exp(growths)."""
        finite = np.where(np.isfinite(growths), growths, 0.0)
        scales = tuple((2.0 ** np.round(finite / np.log(2))).tolist())
        return Cycle(self.layers, scales, self.eps, self.thin)

    def rounding(self) -> float:
        """Relative error that rounding leaves, that of the entries too: large where a layer cancels."""
        bounds = [1 + sum(_norm(a) * _norm(h) for a, h in zip(A, H, strict=True)) for A, H in self.layers]
        with np.errstate(divide="ignore"):
            cancelled = np.array(bounds) / np.exp(self.growths())
        return float(np.sum(np.minimum(self.eps * cancelled, 1.0)))

    def matrix(self) -> tuple[FloatArray, float]:
        """The map on row-major states as a matrix, and the size of its error.

        Layers multiplied from the first and from the last round differently,
        so the two products show what is lost between layers.
        """
        if self.shape[0] == 1:  # then a head is a number times its weights
            parts = [
                (np.eye(self.size) + np.sum(A * H, axis=0).T) / scale
                for (A, H), scale in zip(self.layers, self.scales, strict=True)
            ]
            first, last = parts[0], parts[-1]
            for p, q in zip(parts[1:], parts[-2::-1], strict=True):
                first, last = p @ first, last @ q
            norm = float(np.linalg.norm(first))
            return first, float(np.linalg.norm(first - last)) + 4 * self.rounding() * norm
        units = np.eye(self.size).reshape(self.size, *self.shape)
        first = self.apply(units).reshape(self.size, self.size).T
        last = self.transposed.apply(units).reshape(self.size, self.size)
        norm = float(np.linalg.norm(first))
        return first, float(np.linalg.norm(first - last)) + 4 * self.rounding() * norm


def _norm(M: FloatArray) -> float:
    """The 2-norm, or of large matrices a bound of it that costs no decomposition."""
    if len(M) <= LARGEST_NORM:
        return float(np.linalg.norm(M, 2))
    return float(min(np.linalg.norm(M), np.sqrt(np.linalg.norm(M, 1) * np.linalg.norm(M, np.inf))))


# --- rules that are simpler than they look -----------------------------------------------


def simplest(layers: Sequence[Heads]) -> tuple[Heads, ...]:
    """The shortest cycle with the same dynamics, heads that share A or H summed into one."""
    merged = [_one_head(*layer) for layer in layers]
    for period in range(1, len(merged)):
        if len(merged) % period == 0 and all(
            _same(p, q) for p, q in zip(merged, merged[period:], strict=False)
        ):
            return tuple(merged[:period])
    return tuple(merged)


def _one_head(A: FloatArray, H: FloatArray) -> Heads:
    if np.all(A[..., :1, :, :] == A):
        return A[..., :1, :, :], np.sum(H, axis=-3, keepdims=True)
    if np.all(H[..., :1, :, :] == H):
        return np.mean(A, axis=-3, keepdims=True), A.shape[-3] * H[..., :1, :, :]
    return A, H


def _same(p: Heads, q: Heads) -> bool:
    return all(np.array_equal(M, N) for M, N in zip(p, q, strict=True))
