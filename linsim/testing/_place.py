"""Where eigenvalues are drawn: anywhere, in an interval, on one side of zero, near special points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError
from ._arguments import Draw
from ._hypothesis import strategies as st

__all__ = ["ANYWHERE", "Near", "Place", "Where", "place_of"]

# Real points, for each imaginary part, that eigenvalues are placed near; None: nowhere special.
Near = Callable[[float], Sequence[float]] | None

# Numerator and denominator are drawn apart: Hypothesis then finds its way from any number to a
# simpler one of the same sign, which it would not in one long list.
_DENOMINATORS = (1, 2, 4, 8)
_LARGEST = 6


@dataclass(frozen=True)
class Place:
    """An interval of the real axis for the real parts of eigenvalues.

    ``strict``: without its ends, and held to it once more as the eigenvalues of the matrix are computed.
    """

    low: float = -math.inf
    high: float = math.inf
    strict: bool = False

    def holds(self, x: float) -> bool:
        """Whether a real part lies here."""
        return self.low < x < self.high if self.strict else self.low <= x <= self.high

    def draw(self, draw: Draw) -> float:
        """Draw a simple fraction from here."""
        if self._numerators is not None:
            return float(draw(self._numerators) / draw(st.sampled_from(_DENOMINATORS)))
        return float(draw(self._listed))

    @cached_property
    def _numerators(self) -> st.SearchStrategy[int] | None:
        """Whole numbers whose quotients all lie here; None where an interval cuts through them."""
        if self.low == -math.inf and self.high == math.inf:
            return st.integers(-_LARGEST, _LARGEST)
        if self.low == 0 and self.high == math.inf:
            return st.integers(1 if self.strict else 0, _LARGEST)
        if self.low == -math.inf and self.high == 0:
            return st.integers(-_LARGEST, -1 if self.strict else 0)
        return None

    @cached_property
    def _listed(self) -> st.SearchStrategy[float]:
        """Simple fractions in the interval, the simplest first, then its ends and what halves it."""
        simple = {
            p / q: (q, abs(p), p)
            for q in reversed(_DENOMINATORS)
            for p in range(-_LARGEST, _LARGEST + 1)
            if self.holds(p / q)
        }
        low = self.low if math.isfinite(self.low) else self.high - 4
        high = self.high if math.isfinite(self.high) else self.low + 4
        others = [low, high, (low + high) / 2, (3 * low + high) / 4, (low + 3 * high) / 4]
        ordered = [*sorted(simple, key=lambda x: simple[x]), *(x for x in others if self.holds(x))]
        return st.sampled_from(list(dict.fromkeys(ordered)))


@dataclass(frozen=True)
class Where:
    """Points that eigenvalues are drawn near, and the interval that they stay in."""

    near: Near = None
    place: Place = Place()

    @property
    def simple(self) -> bool:
        """Whether all that is drawn are simple fractions, which few operations round."""
        return self.near is None and self.place._numerators is not None


ANYWHERE = Place()
_WORDS = {
    "positive": Place(low=0.0, strict=True),
    "negative": Place(high=0.0, strict=True),
}


def place_of(value: Any, argument: str) -> Place:
    """Return the interval that a user means: a word, or its two ends."""
    if value is None:
        return ANYWHERE
    if isinstance(value, str):
        return _WORDS[_validate.choice(value, argument, _WORDS)]
    ends = list(value) if isinstance(value, tuple | list) else [value]
    if len(ends) != 2:
        raise _validate.refusal(
            InvalidTypeError,
            argument,
            repr(value),
            "'positive', 'negative', or the two ends of an interval",
            "Pass for example (-2, 0), or (0, None) for no upper end.",
        )
    low, high = (
        edge if end is None or end == edge else _validate.number(end, argument)
        for end, edge in zip(ends, (-math.inf, math.inf), strict=True)
    )
    if low > high:
        raise _validate.refusal(
            InvalidValueError, argument, f"({low}, {high})", "the smaller end first", "Swap them."
        )
    return Place(low, high)
