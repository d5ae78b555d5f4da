"""Metrics from sums over tokens and from the Gram matrix, and for which sequences that is enough.

Row 0 is the token of largest norm, so that "without it" is a slice.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["angles_of", "by_sums", "from_content"]

Tensor = Any

#: what must be left of a difference of two sums: their rounding, 1e-14 of them, is then 1e-7 of it
_LEFT = 1e-7
#: the same for the mean of |cos|: closer to 1, tokens lie so near one line that no pair changes its side
_ALONG_A_LINE = 1e-4
#: and for squared distances, to 1e-8 beside the longest token
_APART = 1e-6


def by_sums(
    X: Tensor, squares: Tensor, gram: Tensor | None, keep: Tensor | None, angles: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """Return metrics (2, b) and for which sequences (b,) they are known.

    Parameters
    ----------
    X : (b, n, d), n > 1, zero in rows that do not count
    squares : (b, n), squared norms of the rows
    gram : (b, n, n), or None where pairs are not asked for
    keep : (b, n) booleans, or None if all rows count
    angles : whether cosines are asked for
    """
    b, n, _ = X.shape
    like = {"dtype": X.dtype, "device": X.device}
    m = torch.full((b,), float(n), **like) if keep is None else keep.sum(dim=-1).to(X.dtype)
    counts = torch.stack([m, m - 1])
    rest = X[:, 1:].sum(dim=1)
    low = torch.stack([rest + X[:, 0], rest]).square().sum(dim=-1) / counts
    others = squares[:, 1:].sum(dim=-1)
    whole = torch.stack([others + squares[:, 0], others])
    high = whole - low
    out = from_content(low, high, whole)
    sure = high > _LEFT * whole
    if angles or gram is not None:
        present = squares > 0
        inverse = torch.where(present, torch.where(present, squares, 1.0).rsqrt(), 0.0)
        left = present[:, 1:].sum(dim=-1)
        there = torch.stack([left + present[:, 0], left]).to(X.dtype)
        pairs = counts * (counts - 1)
        rest = (inverse[:, None, 1:] @ X[:, 1:])[:, 0]
        units = torch.stack([rest + X[:, 0] * inverse[:, :1], rest]).square().sum(dim=-1)
        # of pairs with a zero row the cosine counts as 0
        gap = (pairs + there - units) / pairs
        out |= angles_of("cosine", gap, counts)
        sure &= gap > _LEFT
    if gram is not None:
        cosines = (gram.abs() @ inverse[..., None])[..., 0] * inverse
        total = cosines.sum(dim=-1)
        # pairs are counted twice: row and column of the one left out
        without = total - (2 * cosines[:, 0] - present[:, 0].to(X.dtype))
        gap = 1 - (torch.stack([total, without]) - there) / pairs
        out |= angles_of("abs_cosine", gap, counts)
        sure &= gap > _ALONG_A_LINE
        apart = _largest_distances(squares, gram, keep)
        out["log_spread"] = 0.5 * torch.log(apart)
        sure &= apart > _APART * torch.stack([squares[:, 0], squares[:, 1:].amax(dim=-1)])
    return out, sure.all(dim=0)


def from_content(low: Tensor, high: Tensor, whole: Tensor) -> dict[str, Tensor]:
    """Return the metrics of what tokens share (``low``) and do not (``high``), squared norms."""
    return {
        "token_similarity": low / (low + high),
        "log_token_diversity": torch.log(high / (low + high)),
        "hfc_lfc": torch.sqrt(high / low),
        "log_hfc_lfc": 0.5 * torch.log(high / low),
        "log_norm": 0.5 * torch.log(whole),
    }


def angles_of(name: str, gap: Tensor, count: Tensor) -> dict[str, Tensor]:
    """Return a mean cosine and the logarithm of its distance from 1."""
    gap = torch.where(count > 1, gap.clamp(min=0), 0.0)  # one token has no pair
    return {name: 1 - gap, f"log_{name}_gap": torch.log(gap)}


def _largest_distances(squares: Tensor, gram: Tensor, keep: Tensor | None) -> Tensor:
    """Return the largest squared distance of two tokens, (2, b)."""
    if keep is not None:
        squares = torch.where(keep, squares, -torch.inf)
    # |x_i|^2 + |x_j|^2 - 2 x_i x_j, without the first term until the largest of each row is found
    rows = torch.add(squares[:, None, :], gram, alpha=-2)
    first = rows[:, 0].amax(dim=-1) + squares[:, 0]
    others = (rows[:, 1:, 1:].amax(dim=-1) + squares[:, 1:]).amax(dim=-1)
    return torch.stack([torch.maximum(first, others), others]).clamp(min=0)
