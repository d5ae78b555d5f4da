"""What hidden states look like from layer to layer, with and without the token that outweighs the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .. import metrics
from ._tensors import Array

__all__ = ["CURVES", "Curves", "heaviest", "measured"]

#: measured of every state
CURVES = ("hfc_lfc", "log_hfc_lfc", "token_similarity", "cosine", "effective_rank")


@dataclass(frozen=True)
class Curves:
    """Metrics of the states before layer 0 and behind each layer, (layers + 1,) each.

    ``all`` is of every token but padding; ``others`` is without the one token that has the largest share
    of ||X||^2 at any layer (``sink``, its number): measured with it, a decoder's metrics may be those of
    a single token.  ``largest_share`` is the largest token's share in each state.
    """

    all: Mapping[str, Array]
    others: Mapping[str, Array]
    largest_share: Array
    sink: int


def heaviest(states: Array) -> tuple[Array, int]:
    """Return the largest share of ||X||^2 in each state, and the token that ever has the largest."""
    squares = (states**2).sum(axis=-1)
    whole = squares.sum(axis=-1, keepdims=True)
    shares = squares / np.where(whole > 0, whole, 1.0)  # of nothing nobody has a share
    return shares.max(axis=-1), int(np.unravel_index(shares.argmax(), shares.shape)[-1])


def measured(states: Array, keep: Array | None = None) -> Curves:
    """Measure states, (layers + 1, n, d), host float64; ``keep`` is False for padding."""
    tokens = np.arange(states.shape[1]) if keep is None else np.flatnonzero(keep)
    shares, which = heaviest(states[:, tokens])
    rest = np.delete(tokens, which)
    everything = metrics.measure(states[:, tokens], CURVES)
    others = metrics.measure(states[:, rest], CURVES) if rest.size else everything
    return Curves(everything, others, shares, int(tokens[which]))
