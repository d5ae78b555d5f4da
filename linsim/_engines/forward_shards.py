"""One large system on plain numbers: groups of tokens on threads of their own, the copy in single precision.

A copy that is off by 2^-14 of its tokens tells how rounding grows, and rounding of single precision is a
thousandth of that: it costs half of what a copy in double precision does.  Where it comes too far away, or
tokens leave the range of float32, it goes on in double precision from the layer where it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from .. import _plain_layers
from .._attend import Projections
from .._types import EPS, HostArray
from .block_parts import Map, Parts
from .block_step import step
from .forward_error import FAR, normal

__all__ = ["Shards"]

R = TypeVar("R")

_SINGLE: np.dtype[Any] = np.dtype(np.float32)
# entries of a copy are off by this much where it is close, by the bytes of its numbers
_CLOSE = {4: 2.0**-14, 8: 2.0**-22}
# and by no less times their rounding in double precision: then that of the copy itself does not count
_LEAST = {4: 2.0**32, 8: 1.0}
# groups have multiples of so many tokens: BLAS then rounds each as if it were beside all others
_TOKENS = 16

#: groups of tokens (1, 1, m, d), then their copies
Groups = list[HostArray]


class Shards:
    """Tokens of one system and their copy, as :class:`.forward_error.Beside`, in groups on ``threads``."""

    def __init__(self, x: HostArray, threads: int) -> None:
        n, d = x.shape[-2:]
        rounded = -(-n // (threads * _TOKENS)) * _TOKENS
        self.rows = [slice(a, min(a + rounded, n)) for a in range(0, n, rounded)]
        self.pool = ThreadPoolExecutor(threads) if len(self.rows) > 1 else None
        self.numbers = normal(n * d).reshape(n, d)
        self.dtype = _SINGLE
        self.scale = _CLOSE[4] / EPS
        self.x = [x[None, :, own, :] for own in self.rows]
        self.offs = list(self.each(self._rounding, self.x, self.rows))
        # matrices of this layer and of the one before, and the same in single precision
        self.known: dict[int, tuple[HostArray, HostArray]] = {}
        self.before = self.known

    @property
    def tokens(self) -> HostArray:
        """All tokens, (1, n, d)."""
        return np.concatenate(self.x, axis=-2)[0]

    @property
    def off(self) -> HostArray:
        """What the copy of each is off by, (1, n, d)."""
        return np.concatenate(self.offs, axis=-2)[0]

    @property
    def factor(self) -> HostArray:
        """How many times the error, (1, 1, 1)."""
        return np.full((1, 1, 1), self.scale)

    def each(self, function: Callable[..., R], *groups: Iterable[Any]) -> Iterator[R]:
        """Apply a function to each group, on all threads."""

        @np.errstate(all="ignore")  # threads do not have the settings of those who wait for them
        def quietly(*of_one: Any) -> R:
            return function(*of_one)

        return iter(list((map if self.pool is None else self.pool.map)(quietly, *groups)))

    def close(self) -> None:
        """End the threads."""
        if self.pool is not None:
            self.pool.shutdown()

    def through(self, parts: Parts, attention: Any, weights: Mapping[str, Map], layer: int) -> None:
        """Go through a layer; ``weights`` and ``attention`` as for :func:`.block_step.step`."""
        self.before, self.known = self.known, {}
        while True:
            copies = self._copies()
            moved = step([*self.x, *copies], parts, attention, weights, self, layer)
            x, y = moved[: len(self.rows)], moved[len(self.rows) :]
            offs = list(self.each(np.subtract, y, x))
            if self.dtype != _SINGLE or max(self.each(_share, offs, x)) < FAR:
                break
            self._go_double()
        self.numbers = self.numbers[::-1, ::-1]  # others than before
        self.x = x
        self.offs = list(self.each(lambda off, x, rows: off + self._rounding(x, rows), offs, x, self.rows))

    def _copies(self) -> Groups:
        """The copies of the tokens, close to them."""
        share = max(self.each(_share, self.offs, self.x))
        largest = max(self.each(lambda x: np.max(np.abs(x), initial=0.0), self.x))
        if self.dtype == _SINGLE and not (1e-15 < largest < 1e15 and share < FAR):
            self._go_double()
            return self._copies()
        close = _CLOSE[self.dtype.itemsize]
        if not share < 2.0**6 * close:
            less = max(close / share, 1 / self.scale) if share < FAR else np.nan
            if self.dtype == _SINGLE and less * self.scale < _LEAST[4]:
                self._go_double()
                return self._copies()
            self._bring(less)
        return list(self.each(lambda x, off: (x + off).astype(self.dtype, copy=False), self.x, self.offs))

    def _go_double(self) -> None:
        self.dtype = np.dtype(np.float64)
        self._bring(_CLOSE[8] / _CLOSE[4])

    def _bring(self, less: float) -> None:
        """Bring the copy closer."""
        self.scale *= less
        self.offs = [less * off for off in self.offs]

    def _rounding(self, x: HostArray, rows: slice) -> HostArray:
        return (self.scale * self.numbers[rows]) * np.abs(x)

    def _of(self, M: HostArray | None) -> Callable[[HostArray], HostArray | None]:
        """A matrix in the precision of what it meets."""
        if M is None or self.dtype != _SINGLE or M.dtype != np.float64:
            return lambda like: M
        pair = self.known.get(id(M)) or self.before.get(id(M)) or (M, self._single(M))
        self.known[id(M)] = pair
        single = pair[1]
        return lambda like: single if like.dtype == _SINGLE else M

    def _single(self, M: HostArray) -> HostArray:
        out = np.empty(M.shape, dtype=np.float32)
        rows = range(0, M.shape[-2], 256)
        list(
            self.each(
                lambda a: np.copyto(out[..., a : a + 256, :], M[..., a : a + 256, :], "same_kind"), rows
            )
        )
        return out

    # --- what a layer does (block_step.Arithmetic) -------------------------------------------------

    def linear(self, x: Groups, W: HostArray | None, bias: HostArray | None) -> Groups:
        W_of, bias_of = self._of(W), self._of(bias)
        return list(self.each(lambda y: _plain_layers.linear(y, W_of(y), bias_of(y)), x))

    def norm(
        self, x: Groups, kind: str, gain: HostArray | None, bias: HostArray | None, eps: float
    ) -> Groups:
        gain_of, bias_of = self._of(gain), self._of(bias)
        return list(self.each(lambda y: _plain_layers.norm(y, kind, gain_of(y), bias_of(y), eps), x))

    def attend(
        self,
        x: Groups,
        attention: Any,
        values: Callable[[Groups], Groups],
        heads: int,
        value_heads: int,
    ) -> Groups:
        rows = [*self.rows, *self.rows]
        V = self._all(values(x))
        if not isinstance(attention, Projections):
            A_of = self._of(attention)

            def mixed(y: HostArray, V: HostArray, own: slice) -> HostArray:
                A = A_of(y)
                assert A is not None
                return _plain_layers.mixed(A[..., own, :], V, heads)

            return list(self.each(mixed, x, V, rows))
        of: dict[str, Any] = {
            name: self._of(getattr(attention, name))
            for name in ("query", "key", "query_bias", "key_bias", "bias")
        }

        def at(y: HostArray) -> Projections:
            return replace(attention, **{name: own(y) for name, own in of.items()})

        pairs = list(self.each(lambda y: _plain_layers.queries_and_keys(y, at(y)), x))
        queries, keys = self._all([query for query, _ in pairs]), self._all([key for _, key in pairs])
        return list(
            self.each(
                lambda Q, K, V, own: _plain_layers.looked_up(Q, K, V, at(Q), heads, value_heads, own),
                queries,
                keys,
                V,
                rows,
            )
        )

    def _all(self, x: Groups) -> list[HostArray]:
        """For each group, all tokens that are beside it."""
        half = len(self.rows)
        if half == 1:
            return x
        whole = [np.concatenate(part, axis=-2) for part in (x[:half], x[half:])]
        return [one for one in whole for _ in self.rows]

    def deescalated(self, x: Groups, step: Any, strength: HostArray | None, layer: int) -> Groups:
        half = len(self.rows)
        for own, y, rows in zip(x[:half], x[half:], self.rows, strict=True):
            y += self._rounding(own, rows).astype(y.dtype, copy=False)
        whole = self._all(x)
        found = [_plain_layers.deescalated(whole[place], step, strength, layer) for place in (0, half)]
        return [
            part[..., own, :].astype(like.dtype, copy=False)
            for part, like in ((found[0], whole[0]), (found[1], whole[half]))
            for own in self.rows
        ]

    def sum_of_heads(self, x: Groups, heads: int) -> Groups:
        return list(self.each(lambda y: _plain_layers.sum_of_heads(y, heads), x))

    def add(self, x: Groups, y: Groups) -> Groups:
        return list(self.each(np.add, x, y))

    def stretch(self, x: Groups, factor: Any) -> Groups:
        # a number of Python leaves the precision as it is
        number = float(np.reshape(factor, ()))
        return list(self.each(lambda y: y * number, x))

    def features_scaled(self, x: Groups, factor: HostArray) -> Groups:
        of = self._of(factor)
        return list(self.each(lambda y: y * of(y), x))

    def activate(self, x: Groups, name: str) -> Groups:
        return list(self.each(lambda y: _plain_layers.activate(y, name), x))

    def product(self, x: Groups, y: Groups) -> Groups:
        return list(self.each(np.multiply, x, y))


def _share(off: HostArray, x: HostArray) -> float:
    """How far the copy of a token is away at most, as a part of the token; NaN counts as infinitely far."""
    share = np.vecdot(off, off) / (np.vecdot(x, x) + 1e-300)
    largest = float(np.sqrt(np.max(share)))
    return largest if np.isfinite(largest) else np.inf
