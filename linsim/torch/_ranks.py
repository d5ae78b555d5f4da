"""Ranks of hidden states: from eigenvalues of the Gram matrix, and from an SVD where these say too little.

Eigenvalues of a Gram matrix are squares of singular values, and know the small ones to the root of rounding
only.  How much that leaves unknown is worked out for each sequence.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ._differences import first_row
from ._gram import with_and_without_first

__all__ = ["ranks_of"]

Tensor = Any

_EPS = 2.0**-52
#: an eigenvalue of a Gram matrix is known to about this share of the largest
_GRAM = 8 * _EPS
#: a singular value decomposition is asked where eigenvalues leave more than this of an entropy, or of
#: the logarithm of a ratio, unknown
_ENOUGH = 1e-6
#: and what even that leaves unknown is NaN: 1 percent of what a logarithm is of
_UNKNOWN = 100 * 16 * _EPS


def ranks_of(X: Tensor, gram: Tensor | None, keep: Tensor | None) -> dict[str, Tensor]:
    """Return effective and stable rank and their logarithms, (2, b): of all rows, and without the first.

    Parameters
    ----------
    X : (b, n, d), zero in rows that do not count
    gram : (b, n, n); used where n <= d
    keep : (b, n) booleans, or None if all rows count
    """
    (b, n, d), device = X.shape, X.device
    m = torch.full((b,), n, device=device) if keep is None else keep.sum(dim=-1)
    counts = torch.cat([m, m - 1])
    if device.type == "mps":  # which has no such decompositions
        X, counts = X.cpu(), counts.cpu()
        gram, keep = (None if one is None else one.cpu() for one in (gram, keep))
    if gram is not None and n <= d:
        squares = with_and_without_first(gram)
    else:
        grams = torch.cat([X.mT @ X, X[:, 1:].mT @ X[:, 1:]])
        squares = torch.linalg.eigvalsh(grams).flip(-1)
    # rows that do not count add eigenvalues that are zero, but for rounding
    counted = torch.arange(squares.shape[1], device=squares.device) < counts[:, None]
    squares = squares.clamp(min=0) * counted
    first = squares[:, :1].clamp(min=torch.finfo(X.dtype).tiny)
    sigma = torch.sqrt(squares / first)
    entropy, alike = _entropy(sigma), torch.zeros(2 * b, dtype=torch.bool, device=sigma.device)
    second = sigma[:, 1] if sigma.shape[1] > 1 else sigma[:, 0] * 0
    if sigma.shape[1] > 1:
        poor = _too_little(sigma, counted, entropy, n) & (counts > 0)
        if bool(poor.any()):
            alike[poor], sigma[poor] = _decomposed(X, keep, poor, sigma.shape[1])
            entropy, second = _entropy(sigma), sigma[:, 1]
    known = alike | (second > _UNKNOWN) if sigma.shape[1] > 1 else ~alike
    second = torch.where(alike, 0.0, second)
    entropy = torch.where(alike, 0.0, entropy)
    nothing = torch.full_like(second, math.nan)
    found = {
        "effective_rank": torch.exp(entropy),
        "log_effective_rank_gap": torch.where(known, torch.log(torch.expm1(entropy)), nothing),
        "stable_rank": torch.where(alike, 1.0, sigma.square().sum(dim=-1)),
        "log_rank_gap": torch.where(known, torch.log(second), nothing),
    }
    return {name: value.reshape(2, b).to(device) for name, value in found.items()}


def _too_little(sigma: Tensor, counted: Tensor, entropy: Tensor, n: int) -> Tensor:
    """Where eigenvalues of a Gram matrix leave an entropy, or the second of its roots, unknown."""
    unknown = _GRAM * (2.0**29 if sigma.dtype == torch.float32 else 1.0)
    lost = (unknown / 2 / sigma.clamp(min=0.5 * math.sqrt(unknown))) * counted
    total = sigma.sum(dim=-1, keepdim=True)
    off = lost * (1 - torch.log((sigma / total).clamp(min=math.sqrt(unknown) / n)))
    off = off[:, 1:].sum(dim=-1) / total[:, 0]
    enough = (off <= _ENOUGH * entropy.clamp(max=1.0)) & (sigma[:, 1].square() * _ENOUGH >= unknown)
    return ~enough  # nor is NaN enough


def _decomposed(X: Tensor, keep: Tensor | None, poor: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return whether rows are all the same, and singular values over the first, for ``poor`` of (2 b,)."""
    b, n, _ = X.shape
    rows = torch.ones(b, n, dtype=torch.bool, device=X.device) if keep is None else keep
    rest = rows.clone()
    rest[:, 0] = False
    rows = torch.cat([rows[poor[:b]], rest[poor[b:]]])
    Y = torch.cat([X[poor[:b]], X[poor[b:]]]) * rows[..., None]
    alike = torch.all((first_row(Y, rows) == Y) | ~rows[..., None], dim=2).all(dim=1)
    values = torch.linalg.svdvals(Y)[:, :k]
    return alike, values / values[:, :1]


def _entropy(sigma: Tensor) -> Tensor:
    """Entropy of singular values (b, k) over their sum, relative to itself where the first is nearly all."""
    total = sigma.sum(dim=-1, keepdim=True)
    rest = sigma[:, 1:] / total
    lead = rest.sum(dim=-1)
    return -(1 - lead) * torch.log1p(-lead) - torch.special.xlogy(rest, rest).sum(dim=-1)
