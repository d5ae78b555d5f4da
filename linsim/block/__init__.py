"""A whole Transformer block: attention of several heads, residuals, norms, feed-forward, de-escalation."""

from ._block import Block
from ._deescalation import PLACES, Deescalation
from ._dense import Dense

__all__ = ["PLACES", "Block", "Deescalation", "Dense"]
