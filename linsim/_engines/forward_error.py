"""How far rounding has taken plain tokens away: a copy goes through the same layers beside them.

The copy is off by the error times a factor that keeps it close, so that the error grows as a small one does.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _plain_layers
from .._namespace import Array, biggest, namespace, on_device_of, squares
from .._types import EPS
from .block_parts import Map, Parts
from .block_step import step

__all__ = ["CLOSE", "FAR", "Beside", "normal"]

#: entries of a copy are off by this much, or by the error itself where it is larger
CLOSE = 2.0**-22
#: beyond this share of its token an enlarged error no longer grows as a small one does
FAR = 2.0**-6


class Beside:
    """Tokens of k systems, and where rounding might have left them: ``off`` is ``factor`` (k, 1, 1) as far.

    The copy goes through every layer: one that is left out may be what enlarges rounding at once.  A layer is
    computed with it (``block_step.Arithmetic``), for what is taken away from tokens within a layer may leave
    nothing but their rounding, after a norm that has hidden what the copy was off by.
    """

    def __init__(self, x: Array) -> None:
        xp, (k, n, d) = namespace(x), x.shape
        self.tokens = x
        self.numbers = xp.reshape(on_device_of(normal(n * d), x), (n, d))
        self.factor = xp.full((k, 1, 1), CLOSE / EPS, dtype=xp.float64, device=x.device)
        self.off = (self.factor * self.numbers) * xp.abs(x)

    def through(self, parts: Parts, attention: Any, weights: Mapping[str, Map], layer: int) -> None:
        """Go through a layer; ``weights`` and ``attention`` as for :func:`.block_step.step`."""
        both = step(self._both(), parts, attention, weights, self, layer)
        self.tokens = both[0, ...]
        self.numbers = self.numbers[::-1, ::-1]  # others than before
        self.off = both[1, ...] - self.tokens
        self.off += self._rounding(self.tokens)

    def _both(self) -> Array:
        """The tokens and their copy, (2, k, n, d), to go through a layer."""
        x = self.tokens
        xp = namespace(x)
        # a token that is zero is one: then its error is as large
        share = squares(self.off) / (squares(x) + 1e-300)
        if not biggest(share) < 2.0**12 * CLOSE**2:
            share = xp.sqrt(xp.max(share, axis=-1))
            # close enough to tell how a small error grows, but not closer than the error itself
            less = xp.where(share > 2.0**6 * CLOSE, CLOSE / share, xp.ones_like(share))
            less = xp.maximum(less, 1 / self.factor[:, 0, 0])
            # what was further away than that no longer grew as a small one
            less = xp.where(share < FAR, less, xp.full_like(less, xp.nan))[:, None, None]
            self.off, self.factor = less * self.off, less * self.factor
        if xp is not np:
            return xp.stack([x, x + self.off])
        both = np.empty((2, *x.shape))
        both[0] = x
        np.add(x, self.off, out=both[1])
        return both

    def _rounding(self, x: Array) -> Array:
        """What entries of the size of x round, enlarged."""
        return (self.factor * self.numbers) * namespace(x).abs(x)

    def deescalated(self, x: Array, step: Any, strength: Array | None, layer: int) -> Array:
        """Take away some of what all tokens share, of tokens and their copies."""
        x[1, ...] += self._rounding(x[0, ...])
        return _plain_layers.deescalated(x, step, strength, layer)

    # what else a layer does to tokens: the same to both
    linear = staticmethod(_plain_layers.linear)
    norm = staticmethod(_plain_layers.norm)
    attend = staticmethod(_plain_layers.attend)
    sum_of_heads = staticmethod(_plain_layers.sum_of_heads)
    add = staticmethod(_plain_layers.add)
    stretch = staticmethod(_plain_layers.stretch)
    features_scaled = staticmethod(_plain_layers.features_scaled)
    activate = staticmethod(_plain_layers.activate)
    product = staticmethod(_plain_layers.product)


@functools.lru_cache(maxsize=8)
def normal(count: int) -> np.ndarray[Any, Any]:
    """Return ``count`` roundings of numbers of size 1: normal, always the same."""
    out = EPS * np.random.default_rng(2**31 - 1).standard_normal(count)
    out.setflags(write=False)
    return out
