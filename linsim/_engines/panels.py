"""States and patterns as :mod:`linsim._kernels.parts` holds them: flat, matrices in panels of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._state import PARTS, Split, State
from .._types import HostArray
from .steps import cut_drive

__all__ = ["added", "aligned", "held", "history", "laid_out", "matrices", "products", "room", "vectors"]

# bytes of a vector, vectors of a panel, and what rows are padded to (linsim._kernels.products)
_VECTOR, _PANEL, _ROWS = 64, 4, 4


def _height(n: int) -> int:
    return -(-n // _ROWS) * _ROWS


def _width(d: int, dtype: Any) -> int:
    w = _VECTOR // np.dtype(dtype).itemsize
    return -(-d // w) * w


def _in_panels(M: HostArray) -> HostArray:
    """Lay matrices (m, copies, n, d) out as panel matrices (m, flat), one copy below the other."""
    m, copies, n, d = M.shape
    height, stored, panel = _height(n), _width(d, M.dtype), _PANEL * _VECTOR // M.itemsize
    count = copies * height
    out = np.zeros((m, count * stored), dtype=M.dtype)
    for column in range(0, stored, panel):
        width = min(panel, stored - column)
        here = out[:, column * count : (column + width) * count].reshape(m, copies, height, width)
        here[:, :, :n, : min(width, d - column)] = M[..., column : column + width]
    return out


def laid_out(x: Mapping[str, HostArray]) -> tuple[HostArray, HostArray, HostArray, HostArray, HostArray]:
    """X, r, b, a and mean, each (m, flat), of parts (m, copies, ., .)."""
    m, copies, n, d = x["R"].shape

    def flat(part: HostArray, size: int) -> HostArray:
        out = np.zeros((m, copies, size), dtype=part.dtype)
        out[:, :, : part.shape[-1] * part.shape[-2]] = part.reshape(m, copies, -1)
        return out.reshape(m, -1)

    width = _width(d, x["R"].dtype)
    r, b, a = flat(x["r"], width), flat(x["b"], _height(n)), flat(x["a"], 1)
    return _in_panels(x["R"]), r, b, a, flat(x["mean"], width)


def room(m: int, copies: int, n: int, d: int, dtype: Any) -> tuple[HostArray, ...]:
    """What :func:`held` returns, of states that are zero."""
    height, width = _height(n), _width(d, dtype)
    sizes = (height * width, width, height, 1, width)
    return (*(np.zeros((m, copies * size), dtype=dtype) for size in sizes), np.zeros((m, copies, len(PARTS))))


def aligned(size: int, dtype: Any) -> HostArray:
    """A flat array of zeros that begins at a cache line."""
    raw = np.zeros(size + _VECTOR // np.dtype(dtype).itemsize, dtype=dtype)
    start = (-raw.ctypes.data % _VECTOR) // raw.itemsize
    return raw[start : start + size]


def matrices(heads: int, n: int, d: int, dtype: Any) -> tuple[HostArray, ...]:
    """Where :func:`linsim._kernels.shadows.walk` places matrices; none is."""
    both = (dtype, np.float32)
    left = [aligned(heads * _height(n) * n, kind) for kind in both]
    right = [aligned(heads * d * _width(d, kind), kind) for kind in both]
    squares = aligned(heads * n * _width(n, np.float64), np.float64)
    norms, norms32 = np.zeros((heads, _width(d, dtype))), aligned(heads * _width(d, np.float32), np.float32)
    which = np.full(4, -1)
    return (
        left[0],
        right[0],
        left[1],
        right[1],
        squares,
        norms,
        norms32,
        np.zeros(heads),
        np.zeros(2),
        which,
    )


def products(copies: int, n: int, d: int, dtype: Any) -> tuple[HostArray, HostArray]:
    """Room for what it multiplies: twice the matrix of a state, and of its errors."""
    size, size32 = (2 * _height(n) * _width(d, kind) for kind in (dtype, np.float32))
    return aligned(size, dtype), aligned(copies * size32, np.float32)


def history(layers: int, n: int, d: int, dtype: Any) -> tuple[HostArray, ...]:
    """Room for what errors need to know of so many layers of a state."""
    height, width = _height(n), _width(d, dtype)
    parts = (height * width, width, height, 1, width)
    states = [aligned(layers * size, dtype).reshape(layers, size) for size in 2 * parts]
    sizes = [np.zeros((layers, *shape)) for shape in (2 * ((2, _width(n, np.float64)),) + 3 * ((5,),))]
    return (*states, *sizes)


def held(state: State, m: int) -> tuple[HostArray, ...]:
    """X, r, b, a, mean and exponents of m states (m or 1, ., .), or of errors (m or 1, copies, ., .)."""
    copies = state.R.shape[1] if state.R.ndim == 4 else 1

    def of(x: HostArray) -> HostArray:
        x = x.reshape(-1, copies, *x.shape[-2:])
        return x if x.shape[0] == m else np.broadcast_to(x, (m, *x.shape[1:]))

    exponents = [of(getattr(state, f"e_{name}"))[:, :, 0, 0] for name in PARTS]
    return (*laid_out({name: of(getattr(state, name)) for name in PARTS}), np.stack(exponents, axis=-1))


def vectors(split: Split, m: int, dtype: Any) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """u, v, w and z of m systems, (m, .), w and z padded to the stored columns."""
    n, d = split.v.shape[-2], split.z.shape[-1]
    width = _width(d, dtype)

    def of(x: HostArray, size: int) -> HostArray:
        whole = np.zeros((m, size), dtype=dtype)
        whole[:, : x.shape[-1] * x.shape[-2]] = x.reshape(x.shape[0], -1)
        return whole

    return of(split.u, n), of(split.v, n), of(split.w, width), of(split.z, width)


def added(rows: Sequence[HostArray], split: Split, m: int, dtype: Any) -> tuple[HostArray, ...]:
    """What layers add to every token, each of ``rows`` (m or 1, 1, d), cut into parts; (m, layers, .) arrays.

    r, b, a, mean and exponents as of a state, and its rest as the product of a column, of tokens, and a row.
    No layers where nothing is added.
    """
    n, d = split.v.shape[-2], split.z.shape[-1]
    width = _width(d, dtype)
    sizes = (width, _height(n), 1, width, n, width)
    out = [np.zeros((m, len(rows), size), dtype=dtype) for size in sizes]
    exponents = np.zeros((m, len(rows), len(PARTS)))
    for k, row in enumerate(rows):
        cut = cut_drive(row, split)
        for to, part in zip(out, (cut.r, cut.b, cut.a, cut.mean), strict=False):
            flat = part.reshape(len(part), -1)
            to[:, k, : flat.shape[-1]] = flat
        # every token is given a multiple of the largest one's share
        place = np.argmax(np.max(np.abs(cut.R), axis=-1), axis=-1)[:, None, None]
        along = np.take_along_axis(cut.R, place, axis=-2)
        square = np.sum(along * along, axis=-1, keepdims=True)
        column = cut.R @ np.swapaxes(along, -1, -2) / np.where(square > 0, square, 1)
        out[4][:, k], out[5][:, k, :d] = column[:, :, 0], along[:, 0]
        for p, name in enumerate(PARTS):
            exponents[:, k, p] = getattr(cut, f"e_{name}")[:, 0, 0]
    return (*out, exponents)
