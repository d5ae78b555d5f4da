"""What whole arrays take several passes for, and a kernel one, of states that are too large for a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._namespace import namespace
from .launch import Uncompiled, in_one_piece, kernel, launch

__all__ = ["lengths", "moved", "without_product"]

# blocks of one launch: enough to fill a device, each with several rows
_BLOCKS = 2048
# bytes in which warps of a block add up
_SUMS = 256


def lengths(X: Any) -> Any:
    """Return the lengths (..., n, 1) of the rows of X (..., n, d); None where no kernel compiles."""
    xp = namespace(X)
    try:
        function = kernel(f"find_lengths_{X.dtype}")
    except Uncompiled:
        return None
    found = xp.empty((*X.shape[:-1], 1), dtype=X.dtype)
    rows, d = found.size, X.shape[-1]
    given = {"d": np.int32(d), "rows": np.int64(rows), "X": X, "lengths": found}
    launch(function, min(_BLOCKS, rows), _SUMS, given)
    return found


def moved(
    errors: Any,
    before: Any,
    after: Any,
    plain: Any,
    turned: Sequence[Any],
    columns: Sequence[Any],
    patterns: Sequence[Any],
    sign: float,
    keep: Any,
    add: Any,
) -> Any:
    """Return errors behind a layer that rounds: keep errors + add (size pattern + change drift).

    None where no kernel compiles.

    ``errors`` (b, copies, n, d) float32, which are changed; ``before``, ``after`` (b or 1, n, d): the state
    around a layer; ``plain``, each of ``turned`` (b or 1, n, 1) and of ``columns`` (b or 1, 1, d): sizes are
    the root of plain^2 and all (turned columns)^2; ``patterns``: pool, fixed and drift (copies, n, d)
    float32, of which the first is taken times ``sign``; ``keep``, ``add`` (b, copies, 1, 1) float32.
    """
    xp, (b, copies, n, d) = namespace(errors), errors.shape
    try:
        function = kernel(f"move_large_{after.dtype}")
    except Uncompiled:
        return None

    def each(x: Any, *shape: int) -> Any:
        return in_one_piece(xp.broadcast_to(x, (b, *shape)))

    several = max(x.shape[0] for x in columns) > 1
    errors = in_one_piece(errors)
    given = {
        "n": np.int32(n),
        "d": np.int32(d),
        "heads": np.int32(len(columns)),
        "copies": np.int32(copies),
        "several_H": np.int32(several),
        "systems": np.int64(b),
        "sign": np.float32(sign),
        "before": each(before, n, d),
        "after": each(after, n, d),
        "plain": each(plain, n, 1),
        "turned": xp.stack([each(x, n, 1) for x in turned]),
        "columns": xp.stack([each(x, 1, d) if several else x for x in columns]),
        "pool": patterns[0],
        "fixed": patterns[1],
        "drift": patterns[2],
        "keep": each(keep, copies, 1, 1),
        "add": each(add, copies, 1, 1),
        "errors": errors,
    }
    launch(function, min(_BLOCKS, b * n), 0, given)
    return errors


def without_product(X: Any, column: Any, row: Any) -> Any:
    """Return X - column row, X (..., n, d) changed, of a column (..., n, 1) and a row (..., 1, d).

    Leading axes as long as those of X, or 1; None where no kernel compiles.
    """
    xp = namespace(X)
    try:
        function = kernel(f"take_product_off_{X.dtype}")
    except Uncompiled:
        return None
    *lead, n, d = X.shape

    def each(x: Any, *shape: int) -> Any:
        return in_one_piece(xp.broadcast_to(xp.astype(x, X.dtype, copy=False), (*lead, *shape)))

    X, rows = in_one_piece(X), X.size // d
    given = {
        "n": np.int32(n),
        "d": np.int32(d),
        "rows": np.int64(rows),
        "column": each(column, n, 1),
        "row": each(row, 1, d),
        "X": X,
    }
    launch(function, min(_BLOCKS, rows), 0, given)
    return X
