"""Whether a state is exactly zero from some layer on, decided in rational numbers.

Terms that cancel to nothing in doubles, or in pairs of them, may have left something below their
rounding: two heads of -0.3 and -0.7 do, and -1 does not.  Only exact arithmetic tells, and it is
asked where a state came out as zero, of systems that it can do in a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ._general_eigen import column_sums, row_sums
from ._namespace import Array, to_host

__all__ = ["rational_sums", "vanishes"]

# operations on rational numbers, about a microsecond each, that are spent on a system
_MOST = 1e5

_rational = np.frompyfunc(Fraction, 1, 1)


def vanishes(
    x0: Array,
    heads: Callable[[int], Sequence[tuple[Array, Array]]],
    last: int,
    stands_for: Callable[[Any], Any] = lambda rows: rows / rows.sum(axis=-1, keepdims=True),
    drive: Callable[[int], Array | None] = lambda layer: None,
) -> int | None:
    """The first layer up to ``last`` at which the tokens x0 (n, d) are all zero, if it can be told.

    ``heads(layer)``: the pairs A (n, n), whose rows stand for themselves over their sums (or what
    ``stands_for`` makes of them), and H (d, d); ``drive(layer)``: a row (1, d) for all tokens.
    """
    X: Any = _rational(to_host(x0).astype(np.float64))
    n, d = X.shape
    spent = 0.0
    for layer in range(last):
        pairs = heads(layer)
        spent += len(pairs) * n * d * (n + d) * (1 + layer)  # numbers grow with depth
        if spent > _MOST:
            return None
        terms = X
        for A, H in pairs:
            rows: Any = _rational(to_host(A).astype(np.float64))
            weights: Any = _rational(to_host(H).astype(np.float64))
            terms = terms + stands_for(rows) @ X @ weights
        row = drive(layer)
        if row is not None:
            terms = terms + _rational(to_host(row).astype(np.float64))
        X = terms
        if not np.any(X != 0):
            return layer + 1
    return None


def rational_sums(eps: float) -> Callable[[Any], Any]:
    """Return what makes rows of rational numbers that sum to one number, to ``eps``, do so exactly."""

    def stands_for(rows: Any) -> Any:
        n = len(rows)
        given = rows.astype(np.float64)[None]
        out = rows
        for axis, found in ((-1, row_sums(given, eps)[0]), (-2, column_sums(given, eps)[0])):
            if np.isnan(found):
                continue
            sums = out.sum(axis=axis, keepdims=True)
            whole = found == np.round(found)
            wanted = Fraction(int(found)) if whole else sums.sum() / n
            out = out - (sums - wanted) / n
        return out

    return stands_for
