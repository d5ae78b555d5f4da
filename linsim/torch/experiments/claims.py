"""A claim held against seeds: the mean of a quantity that it says is positive, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Claim", "interval", "paired"]


@dataclass(frozen=True)
class Claim:
    """What was claimed, and the mean and half width of the interval of what it says is positive."""

    says: str
    mean: float
    half_width: float
    seeds: int

    @property
    def verdict(self) -> str:
        """Return "confirmed", "opposite" or "not confirmed", for models of this size."""
        if self.mean > self.half_width:
            return "confirmed"
        return "opposite" if self.mean < -self.half_width else "not confirmed"


def interval(values: Any) -> tuple[float, float, int]:
    """Return mean, half width of the 95 percent interval (Student's t) and count of what is finite.

    One value has no interval: infinite.

    Examples
    --------
    >>> interval([1.0, 2.0, 3.0])
    (2.0, 2.484..., 3)
    """
    from scipy.stats import t

    known = np.asarray(values, dtype=float).ravel()
    known = known[np.isfinite(known)]
    if known.size < 2:
        return (float(known.mean()) if known.size else float("nan")), float("inf"), known.size
    half = t.ppf(0.975, known.size - 1) * known.std(ddof=1) / np.sqrt(known.size)
    return float(known.mean()), float(half), known.size


def paired(says: str, difference: Any) -> Claim:
    """Return a claim about a difference by seed: models of one seed share their data."""
    return Claim(says, *interval(difference))
