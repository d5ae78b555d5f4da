"""One large system on plain numbers: pieces of tokens on threads of their own, the copy in single precision.

A copy that is off by 2^-14 of its tokens tells how rounding grows, and rounding of single precision is a
thousandth of that: it costs half of what a copy in double precision does.  Where it comes too far away, or
tokens leave the range of float32, it goes on in double precision from the layer where it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .. import _plain_layers
from .._attend import Projections
from .._types import EPS, HostArray
from .block_parts import Map, Parts
from .block_step import step
from .forward_error import FAR, normal
from .forward_pieces import Pair, Threads, by_heads, by_rows, cut
from .forward_products import Factor, Product, Step, in_precision, worked_out

__all__ = ["Shards"]

_SINGLE: np.dtype[Any] = np.dtype(np.float32)
# entries of a copy are off by this much where it is close, by the bytes of its numbers
_CLOSE = {4: 2.0**-14, 8: 2.0**-22}
# and by no less times their rounding in double precision: then that of the copy itself does not count
_LEAST = {4: 2.0**32, 8: 1.0}


class Shards:
    """Tokens of one system and their copy, as :class:`.forward_error.Beside`, in pieces on ``threads``."""

    def __init__(self, x: HostArray, threads: int) -> None:
        n, d = x.shape[-2:]
        self.rows = cut(n, threads)
        self.threads = Threads(threads)
        self.numbers = normal(n * d).reshape(n, d)
        self.dtype = _SINGLE
        self.scale = _CLOSE[4] / EPS
        # what tokens are and what their copies are off by, (1, 1, n, d), the largest share of a token
        # that this is, and the largest number of all
        self.x = np.ascontiguousarray(x)[None]
        self.away, self.share, self.largest, _ = self._shaken(self.x, self.x)
        # matrices of this layer and of the one before, and what products and others take of each
        self.known: dict[tuple[int, bool], tuple[HostArray, Any]] = {}
        self.before = self.known

    @property
    def tokens(self) -> HostArray:
        """All tokens, (1, n, d)."""
        return self.x[0]

    @property
    def off(self) -> HostArray:
        """What the copy of each is off by, (1, n, d)."""
        return self.away[0]

    @property
    def factor(self) -> HostArray:
        """How many times the error, (1, 1, 1)."""
        return np.full((1, 1, 1), self.scale)

    def close(self) -> None:
        """End the threads."""
        self.threads.close()

    def through(self, parts: Parts, attention: Any, weights: Mapping[str, Map], layer: int) -> None:
        """Go through a layer; ``weights`` and ``attention`` as for :func:`.block_step.step`."""
        self.before, self.known = self.known, {}
        numbers = self.numbers
        while True:
            both: Pair | Product = (self.x, self._copy())
            x, y = self._whole(step(both, parts, attention, weights, self, layer))
            self.numbers = numbers[::-1, ::-1]  # others than before
            away, share, largest, before = self._shaken(x, y)
            if self.dtype != _SINGLE or before < FAR:
                break
            self.numbers = numbers
            self._go_double()
        self.x, self.away, self.share, self.largest = x, away, share, largest

    def _shaken(self, x: HostArray, y: HostArray) -> tuple[HostArray, float, float, float]:
        """Copies y less tokens x, and a rounding more; the share and the largest number; the share before."""
        away = np.empty_like(x)

        def own(rows: slice) -> tuple[float, float, float]:
            here, off = x[..., rows, :], away[..., rows, :]
            np.subtract(y[..., rows, :], here, out=off)
            squares = np.vecdot(here, here)
            before = _share(off, squares)
            sizes = np.abs(here)
            largest = float(np.max(sizes, initial=0.0))
            off += self._rounding(sizes, rows)
            return _share(off, squares), largest, before

        share, largest, before = np.max(self.threads.each(own, self.rows), axis=0)
        return away, float(share), float(largest), float(before)

    def _copy(self) -> HostArray:
        """The copies of the tokens, close to them."""
        share = self.share
        if self.dtype == _SINGLE and not (1e-15 < self.largest < 1e15 and share < FAR):
            self._go_double()
            return self._copy()
        close = _CLOSE[self.dtype.itemsize]
        if not share < 2.0**6 * close:
            less = max(close / share, 1 / self.scale) if share < FAR else np.nan
            if self.dtype == _SINGLE and less * self.scale < _LEAST[4]:
                self._go_double()
                return self._copy()
            self._bring(less)
        out = np.empty(self.x.shape, dtype=self.dtype)

        def own(rows: slice) -> None:
            at = (..., rows, slice(None))
            np.add(self.x[at], self.away[at], out=out[at], casting="same_kind")

        self.threads.each(own, self.rows)
        return out

    def _go_double(self) -> None:
        self.dtype = np.dtype(np.float64)
        self.known, self.before = {}, {}
        self._bring(_CLOSE[8] / _CLOSE[4])

    def _bring(self, less: float) -> None:
        """Bring the copy closer."""
        self.scale *= less
        self.away = less * self.away
        self.share *= less

    def _rounding(self, sizes: HostArray, rows: slice) -> HostArray:
        """What numbers of these sizes round, enlarged."""
        return (self.scale * self.numbers[rows]) * sizes

    def _of(self, M: HostArray) -> Pair:
        """What meets tokens and what meets copies: a vector, a matrix or a mask in their precision."""
        if self.dtype != _SINGLE or M.dtype != np.float64:
            return M, M
        found: Pair = self._known(M, False, lambda: (M, in_precision(M, self.dtype, self.threads)))
        return found

    def _factors(self, W: HostArray) -> tuple[Factor, Factor]:
        """A matrix as products of tokens and of copies take it."""

        def made() -> tuple[Factor, Factor]:
            own = Factor(W, W.dtype, self.threads)
            return own, own if self.dtype == W.dtype else Factor(W, self.dtype, self.threads)

        found: tuple[Factor, Factor] = self._known(W, True, made)
        return found

    def _known(self, M: HostArray, factor: bool, make: Callable[[], Any]) -> Any:
        """What was made of a matrix, M itself kept with it: its number may not become another one's."""
        key = (id(M), factor)
        found = self.known.get(key) or self.before.get(key) or (M, make())
        self.known[key] = found
        return found[1]

    # --- what a layer does (block_step.Arithmetic) -------------------------------------------------

    def linear(self, x: Pair | Product, W: HostArray | None, bias: HostArray | None) -> Pair | Product:
        own = None if bias is None else self._of(bias)
        if W is not None:
            return Product(self._whole(x), self._factors(W), own)
        if own is None:
            return x
        return self._changed(x, lambda y, which, piece: np.add(y, own[which][..., piece[1]], out=y))

    def norm(
        self, x: Pair | Product, kind: str, gain: HostArray | None, bias: HostArray | None, eps: float
    ) -> Pair:
        whole = self._whole(x)
        gains, biases = (None if v is None else self._of(v) for v in (gain, bias))

        def own(which: int, rows: slice) -> HostArray:
            gain, bias = (None if v is None else v[which] for v in (gains, biases))
            return _plain_layers.norm(whole[which][..., rows, :], kind, gain, bias, eps)

        return self._by_rows(own, whole, whole[0].shape[-1])

    def attend(
        self,
        x: Pair | Product,
        attention: Any,
        values: Callable[[Pair], Pair | Product],
        heads: int,
        value_heads: int,
    ) -> Pair:
        whole = self._whole(x)
        n, d = whole[0].shape[-2:]
        if not isinstance(attention, Projections):
            V, A = self._whole(values(whole)), self._of(attention)
            columns = V[0].shape[-1]
            rows = cut(n, self.threads.count, n * n * columns // heads)
            return by_rows(
                lambda which, rows: _plain_layers.mixed(A[which][..., rows, :], V[which], heads),
                V,
                columns,
                rows,
                self.threads,
            )
        looking = whole
        if attention.normalized:
            looking = self._by_rows(
                lambda which, rows: _plain_layers.of_equal_length(whole[which][..., rows, :]), whole, d
            )
        Q = self.linear(looking, attention.query, attention.query_bias)
        K = looking if attention.key is None else self.linear(looking, attention.key, attention.key_bias)
        queries, keys, V = worked_out([Q, K, values(whole)], self.threads)
        added = None if attention.bias is None else self._of(attention.bias)
        width, wide = queries[0].shape[-1] // heads, V[0].shape[-1] // value_heads

        def of_rows(which: int, rows: slice) -> HostArray:
            at = replace(attention, bias=None if added is None else added[which])
            return _plain_layers.looked_up(
                queries[which], keys[which], V[which], at, heads, value_heads, rows
            )

        def of_heads(which: int, own: slice) -> HostArray:
            count, bias = own.stop - own.start, None if added is None else added[which]
            if bias is not None and bias.shape[1] > 1:
                bias = bias[:, own]
            at = replace(attention, heads=count, key_heads=count, bias=bias)
            narrow, broad = (slice(own.start * w, own.stop * w) for w in (width, wide))
            Q, K = queries[which][..., narrow], keys[which][..., narrow]
            return _plain_layers.looked_up(Q, K, V[which][..., broad], at, count, count)

        if heads == attention.key_heads == value_heads > 1:
            return by_heads(of_heads, V, wide, heads, self.threads)
        rows = cut(n, self.threads.count, n * n * min(width, wide))
        return by_rows(of_rows, V, wide * heads, rows, self.threads)

    def deescalated(self, x: Pair | Product, step: Any, strength: HostArray | None, layer: int) -> Pair:
        tokens, copies = self._whole(x)
        rounding = self._rounding(np.abs(tokens), slice(None))
        copies = copies + rounding.astype(copies.dtype, copy=False)
        found = (_plain_layers.deescalated(one, step, strength, layer) for one in (tokens, copies))
        first, second = found
        return first, second.astype(copies.dtype, copy=False)

    def sum_of_heads(self, x: Pair | Product, heads: int) -> Pair:
        whole = self._whole(x)
        return self._by_rows(
            lambda which, rows: _plain_layers.sum_of_heads(whole[which][..., rows, :], heads),
            whole,
            whole[0].shape[-1] // heads,
        )

    def add(self, x: Pair | Product, y: Pair | Product) -> Pair | Product:
        return self._with(x, y, np.add)

    def product(self, x: Pair | Product, y: Pair | Product) -> Pair | Product:
        return self._with(x, y, np.multiply)

    def stretch(self, x: Pair | Product, factor: Any) -> Pair | Product:
        # a number of Python leaves the precision as it is
        number = float(np.reshape(factor, ()))
        return self._changed(x, lambda y, which, piece: np.multiply(y, number, out=y))

    def features_scaled(self, x: Pair | Product, factor: HostArray) -> Pair | Product:
        own = self._of(factor)
        return self._changed(x, lambda y, which, piece: np.multiply(y, own[which][..., piece[1]], out=y))

    def activate(self, x: Pair | Product, name: str) -> Pair | Product:
        if name == "linear":
            return x
        if name == "gelu" and isinstance(x, Product) and not (x.steps or _known(x)):
            return replace(x, gelu=True)

        def activated(y: HostArray, which: int, piece: Any) -> None:
            y[...] = _plain_layers.activate(np.ascontiguousarray(y), name)

        return self._changed(x, activated)

    # --- what that is made of -----------------------------------------------------------------------

    def _whole(self, x: Pair | Product) -> Pair:
        return worked_out([x], self.threads)[0]

    def _by_rows(self, function: Callable[[int, slice], HostArray], like: Pair, columns: int) -> Pair:
        return by_rows(function, like, columns, self.rows, self.threads)

    def _with(self, x: Pair | Product, y: Pair | Product, ufunc: Any) -> Pair | Product:
        """Entries of x and y, which is worked out later if either is."""
        if _known(y):
            x, y = y, x
        others = self._whole(x)
        return self._changed(y, lambda own, which, piece: ufunc(own, others[which][..., *piece], out=own))

    def _changed(self, x: Pair | Product, step: Step) -> Pair | Product:
        """Take a step of a :class:`.forward_pieces.Product`: at once, on a copy, where there is none."""
        if isinstance(x, Product) and not _known(x):
            return x.then(step)
        tokens, copies = self._whole(x)
        out = tokens.copy(), copies.copy()

        def own(rows: slice) -> None:
            for which in (0, 1):
                step(out[which][..., rows, :], which, (rows, slice(None)))

        self.threads.each(own, self.rows)
        return out


def _known(x: Pair | Product) -> bool:
    """Whether it has been worked out."""
    return not isinstance(x, Product) or x.found is not None


def _share(off: HostArray, squares: HostArray) -> float:
    """How far the copy of a token is away at most, as a part of the token; NaN counts as infinitely far."""
    largest = float(np.sqrt(np.max(np.vecdot(off, off) / (squares + 1e-300))))
    return largest if np.isfinite(largest) else np.inf
