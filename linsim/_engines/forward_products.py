"""Products of tokens and of their copy with matrices, by several threads that meet once for each.

A product waits until somebody needs it, with what is then done to its entries: a thread works out a piece,
adds the bias and applies the activation, and threads meet once for all that.  Compiled products take
matrices in panels (:mod:`linsim._kernels.linear`), a thread some of them where there are more features than
tokens; where these do not pay, or nothing is compiled yet, BLAS does the same, some rows on each thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from .. import _kernels
from .._types import HostArray
from .forward_pieces import Pair, Threads, cut

__all__ = ["Factor", "Product", "Step", "worked_out"]

#: rows and columns
Piece = tuple[slice, slice]
#: changes a piece of tokens (0) or copies (1) in place: their entries, which of the two, which columns
Step = Callable[[HostArray, int, Piece], object]

# panels that are written together
_TOGETHER = 8
_ALL = slice(None)


class Factor:
    """A matrix (1, c, e) in a precision, as products take it: in panels if these are compiled."""

    def __init__(self, M: HostArray, dtype: np.dtype[Any], threads: Threads) -> None:
        self.dtype, self.shape = dtype, M.shape[-2:]
        self.panels: HostArray | None = None
        self.width = _kernels.columns_of_panels(dtype)
        #: columns with those that fill the last panel
        self.stride = -(-self.shape[1] // max(self.width, 1)) * self.width or self.shape[1]
        self.matrix = np.empty(0, dtype)
        if self.width:
            self._to_panels(_kernels.frozen(M.reshape(self.shape)), threads)
        else:
            self.matrix = in_precision(M, dtype, threads)

    def _to_panels(self, M: HostArray, threads: Threads) -> None:
        from .._kernels.linear import to_panels

        _kernels.announce(to_panels, self.dtype)
        panels, count = (
            _kernels.at_cache_line(M.shape[0] * self.stride, self.dtype),
            self.stride // self.width,
        )

        def some(first: int) -> None:
            to_panels(M, panels, first, min(first + _TOGETHER, count))

        threads.each(some, range(0, count, _TOGETHER))
        self.panels = _kernels.frozen(panels)


def in_precision(M: HostArray, dtype: np.dtype[Any], threads: Threads) -> HostArray:
    """A matrix (1, c, e) of another dtype."""
    if M.dtype == dtype:
        return M
    out = np.empty(M.shape, dtype=dtype)

    def some(first: int) -> None:
        rows = slice(first, first + 256)
        np.copyto(out[..., rows, :], M[..., rows, :], "same_kind")

    threads.each(some, range(0, M.shape[-2], 256))
    return out


@dataclass(eq=False)
class Product:
    """x W + bias of tokens and copies, GELU of it if asked for, and ``steps``; ``found`` once worked out."""

    x: Pair
    W: tuple[Factor, Factor]
    bias: Pair | None
    gelu: bool = False
    steps: tuple[Step, ...] = ()
    found: Pair | None = None

    def then(self, step: Step) -> Product:
        """The same with one more step."""
        return replace(self, steps=(*self.steps, step), found=None)

    def pieces(self, count: int) -> list[Piece]:
        """What each of ``count`` threads does."""
        rows, (terms, columns) = self.x[0].shape[-2], self.W[0].shape
        products = rows * columns * terms
        if rows > columns or self.W[0].panels is None:  # (BLAS may add up fewer columns in another order)
            return [(own, slice(0, columns)) for own in cut(rows, count, products)]
        return [(slice(0, rows), own) for own in cut(columns, count, products)]

    def room(self) -> list[HostArray]:
        """Where tokens and copies go to, (n, columns of all panels) each."""
        rows = self.x[0].shape[-2]
        return [_kernels.at_cache_line(rows * W.stride, W.dtype).reshape(rows, W.stride) for W in self.W]

    def work_out(self, out: list[HostArray], piece: Piece) -> None:
        """Write a piece of the result."""
        for which, (x, W, y) in enumerate(zip(self.x, self.W, out, strict=True)):
            bias = None if self.bias is None else self.bias[which].reshape(-1)
            (_by_blas if W.panels is None else _in_panels)(x[0, 0], W, bias, self.gelu, y, piece)
            for step in self.steps:
                step(y[None, None, piece[0], piece[1]], which, piece)


def _by_blas(
    x: HostArray, W: Factor, bias: HostArray | None, gelu: bool, out: HostArray, piece: Piece
) -> None:
    rows, columns = piece
    y = out[rows, columns]
    np.matmul(x[rows], W.matrix[0, :, columns], out=y)
    if bias is not None:
        y += bias[columns]
    if gelu:
        y[...] = _kernels.gelu(np.ascontiguousarray(y))


def _in_panels(
    x: HostArray, W: Factor, bias: HostArray | None, gelu: bool, out: HostArray, piece: Piece
) -> None:
    from .._kernels.linear import linear

    added = np.zeros(0 if bias is None else W.stride, W.dtype)
    if bias is not None:
        added[: W.shape[1]] = bias
    rows, columns = piece
    first, last = columns.start // W.width, -(-columns.stop // W.width)
    linear(_kernels.frozen(x), W.panels, added, gelu, out, rows.start, rows.stop, first, last)


def worked_out(products: Sequence[Pair | Product], threads: Threads) -> list[Pair]:
    """Work out those that are not, all threads meeting once."""
    work: list[list[tuple[Product, list[HostArray], Piece]]] = [[] for _ in range(threads.count)]
    for one in products:
        if isinstance(one, Product) and one.found is None:
            out = one.room()
            tokens, copies = (y[None, None, :, : W.shape[1]] for y, W in zip(out, one.W, strict=True))
            one.found = tokens, copies
            for own, piece in zip(work, one.pieces(threads.count), strict=False):
                own.append((one, out, piece))

    def do(own: list[tuple[Product, list[HostArray], Piece]]) -> None:
        for one, out, piece in own:
            one.work_out(out, piece)

    if some := [own for own in work if own]:
        threads.each(do, some)
    return [cast(Pair, one.found) if isinstance(one, Product) else one for one in products]
