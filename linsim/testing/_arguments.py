"""Arguments that strategies share, checked before anything is drawn; and how matrices of integers are drawn.

In these modules ``draw`` is what Hypothesis hands to a composite strategy.  Each draw costs
about 30 microseconds, so structure is drawn (one permutation, one weight), not entries,
wherever that loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError
from ._hypothesis import strategies as st

__all__ = ["SMALL", "Draw", "FloatArray", "Sizes", "integers", "kinds_of", "points_of", "sizes"]

FloatArray = NDArray[np.float64]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Sizes = int | tuple[int, int]

SMALL = st.integers(-3, 3)


def integers(draw: Draw, entries: st.SearchStrategy[int], rows: int, columns: int) -> NDArray[np.int64]:
    # one by one: a third faster than a list strategy
    return np.array([draw(entries) for _ in range(rows * columns)]).reshape(rows, columns)


def sizes(value: Any, argument: str, *, minimum: int) -> tuple[int, int]:
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise _validate.refusal(
                InvalidValueError,
                argument,
                f"{len(value)} numbers",
                "one number, or the smallest and the largest",
                "Pass for example (2, 4).",
            )
        low, high = (_validate.count(x, argument, minimum=minimum) for x in value)
    else:
        low = high = _validate.count(value, argument, minimum=minimum)
    if low > high:
        raise _validate.refusal(
            InvalidValueError, argument, f"({low}, {high})", "the smallest first", "Swap them."
        )
    return low, high


def kinds_of(value: Any, argument: str, options: Iterable[str]) -> tuple[str, ...]:
    options = tuple(options)
    if value is None:
        return options
    try:
        named = [value] if isinstance(value, str) else list(value)
    except TypeError:
        named = [value]
    chosen = {_validate.choice(kind, argument, options) for kind in named}
    if not chosen:
        raise _validate.refusal(
            InvalidValueError,
            argument,
            "no kind",
            "one of " + ", ".join(map(repr, options)),
            "Leave it out to draw all of them.",
        )
    return tuple(kind for kind in options if kind in chosen)  # the simplest first


def points_of(near: Any) -> tuple[float, ...]:
    if near is None:
        return ()
    try:
        several = [near] if isinstance(near, str | bytes) else list(near)
    except TypeError:
        several = [near]
    if not several:
        raise _validate.refusal(
            InvalidTypeError, "near", "no point", "one real number or several", "Leave it out for none."
        )
    return tuple(_validate.number(point, "near") for point in several)
