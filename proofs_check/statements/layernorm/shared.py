"""What one gain for all features makes of the weights."""

from __future__ import annotations

from typing import Any

__all__ = ["GAIN", "wins"]


GAIN = (
    "With one gain gamma for all features the weights act on gamma times the normalised tokens, as gamma H "
    "does on these: the eigenvalues are gamma mu_j. "
)


def wins(s: Any, mu: Any, a: Any, relation: str) -> Any:
    """Return that lambda = 1 wins over a ("<": loses), the two squares written out."""
    one, other = (1 + mu) * (1 + mu), (1 + mu * a) * (1 + mu * a)
    return {">": one > other, "<": one < other, ">=": s.Not(one < other)}[relation]
