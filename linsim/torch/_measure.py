"""The fourteen default metrics of hidden states, on the device where they are, a batch at a time.

:func:`linsim.metrics.measure` works out each number with its error, on the host; a model that is watched
cannot wait for that.  Here the same definitions are written for PyTorch in double precision, with what
differs between tokens formed before it is squared: hidden states are single or half precision, so
nothing that they hold is lost.  ``tests/torch/test_watch.py`` holds the two against each other.

*Means* need one pass over the tokens.  *Pairs* and *ranks* need a matrix of all pairs: eigenvalues of the
Gram matrix are squares of singular values, and know the small ones to the root of rounding only, so a
sequence to which that matters goes through a singular value decomposition instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

__all__ = ["MEANS", "PAIRS", "RANKS", "SETS", "measured"]

Tensor = Any

#: from means over tokens alone
MEANS = ("token_similarity", "log_token_diversity", "hfc_lfc", "log_hfc_lfc", "cosine", "log_cosine_gap", "log_norm")
#: from all pairs of tokens
PAIRS = ("abs_cosine", "log_abs_cosine_gap", "log_spread")
#: from singular values
RANKS = ("effective_rank", "log_effective_rank_gap", "stable_rank", "log_rank_gap")
#: which tokens of a sequence are measured
SETS = ("all", "without largest")

#: bytes of double precision that are worked on at a time on a processor: what its cache holds
_CACHED = 5_000_000
_EPS = 2.0**-52
#: an eigenvalue of a Gram matrix is known to about this share of the largest
_GRAM = 8 * _EPS
#: a singular value decomposition is asked where eigenvalues leave more than this of an entropy, or of
#: the logarithm of a ratio, unknown
_ENOUGH = 1e-6
#: and what even that leaves unknown is NaN: 1 percent of what a logarithm is of
_UNKNOWN = 100 * 16 * _EPS


def measured(x: Tensor, keep: Tensor | None, names: Iterable[str]) -> dict[str, Tensor]:
    """Measure hidden states (b, n, d), of the tokens in ``keep`` (b, n) alone where it is given.

    Returns float64 tensors (2, b) on the device of ``x`` (the second row without the token of largest
    norm), and beside ``names`` "largest_token" and "largest_token_share" (b,).  NaN where a state is not
    finite, is zero, or leaves no token.
    """
    names = set(names)
    b, n, d = x.shape
    keep = torch.ones(b, n, dtype=torch.bool, device=x.device) if keep is None else keep.to(x.device)
    step = b
    if x.device.type == "cpu":
        step = max(1, _CACHED // (8 * n * max(d, n if names & {*PAIRS, *RANKS} else 1)))
    parts = [_of_some(x[i : i + step], keep[i : i + step], names) for i in range(0, b, step)]
    return {name: torch.cat([part[name] for part in parts], dim=-1) for name in parts[0]}


def _of_some(x: Tensor, keep: Tensor, names: set[str]) -> dict[str, Tensor]:
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # which has nothing wider
    X = x.to(wide) * keep[..., None]
    size = X.abs().amax(dim=(1, 2))
    usable = torch.isfinite(size) & (size > 0)
    X = torch.where(usable[:, None, None], X, 0.0)
    # by a power of two, so that squares stay within the range of doubles
    exponent = torch.frexp(torch.where(usable, size, 1.0)).exponent
    X = torch.ldexp(X, -exponent[:, None, None])
    squares = torch.linalg.vecdot(X, X)
    largest = squares.argmax(dim=-1)
    rest = keep.scatter(1, largest[:, None], False)
    sets = [
        _of_set(X if i == 0 else X * kept[..., None], squares * kept, kept, names)
        for i, kept in enumerate((keep, rest))
    ]
    nothing = torch.full_like(size, math.nan)
    out = {}
    for name in sets[0]:
        both = torch.stack([one[name] for one in sets])
        if name in ("log_norm", "log_spread"):
            both = both + exponent.to(wide) * math.log(2)
        out[name] = torch.where(usable, both, nothing)
    share = squares.amax(dim=-1) / squares.sum(dim=-1)
    return out | {"largest_token": largest, "largest_token_share": torch.where(usable, share, nothing)}


def _of_set(X: Tensor, squares: Tensor, keep: Tensor, names: set[str]) -> dict[str, Tensor]:
    """Measure tokens X (b, n, d), zero where ``keep`` is False, whose squared norms are ``squares``."""
    count = keep.sum(dim=-1).to(X.dtype)
    whole = squares.sum(dim=-1)
    nothing = torch.full_like(whole, math.nan)
    exists = whole > 0
    present = squares > 0
    centred = _less_mean(X, keep, count)
    high = torch.linalg.vecdot(centred, centred).sum(dim=-1)
    low = X.sum(dim=1).square().sum(dim=-1) / count
    out = {
        "token_similarity": low / (low + high),
        "log_token_diversity": torch.log(high / (low + high)),
        "hfc_lfc": torch.sqrt(high / low),
        "log_hfc_lfc": 0.5 * torch.log(high / low),
        "log_norm": 0.5 * torch.log(whole),
    }
    units = None
    if names & {"cosine", "log_cosine_gap", *PAIRS}:
        units = X / torch.where(present, squares, 1.0).sqrt()[..., None]
        there = present.sum(dim=-1).to(X.dtype)
        pairs = count * (count - 1)
        off = _less_mean(units, present, there)
        # of pairs with a zero row the cosine counts as 0
        near = there * torch.linalg.vecdot(off, off).sum(dim=-1)
        out |= _angles("cosine", (pairs - there * (there - 1) + near) / pairs, count)
    if names & {*PAIRS}:
        out |= _angles("abs_cosine", _absolute_gap(units, there, pairs), count)
        gram = centred @ centred.mT
        own = torch.diagonal(gram, dim1=1, dim2=2)
        apart = own[:, :, None] + own[:, None, :] - 2 * gram
        apart = torch.where(keep[:, :, None] & keep[:, None, :], apart, 0.0)
        out["log_spread"] = 0.5 * torch.log(apart.amax(dim=(1, 2)).clamp(min=0))
    if names & {*RANKS}:
        out |= _ranks(X, torch.all(centred == 0, dim=2).all(dim=1))
    return {name: torch.where(exists, value, nothing) for name, value in out.items() if name in names}


def _less_mean(X: Tensor, keep: Tensor, count: Tensor) -> Tensor:
    """Take the mean of the tokens that count off each, and leave the others zero.

    First off goes one of them: a difference of two numbers close to each other is exact, and tokens
    that are the same leave nothing at all.
    """
    first = keep.to(torch.int8).argmax(dim=-1)
    one = torch.take_along_dim(X, first[:, None, None], dim=1)
    off = (X - one) * keep[..., None]
    return (off - off.sum(dim=1, keepdim=True) / count[:, None, None]) * keep[..., None]


def _angles(name: str, gap: Tensor, count: Tensor) -> dict[str, Tensor]:
    gap = torch.where(count > 1, gap.clamp(min=0), 0.0)  # one token has no pair
    return {name: 1 - gap, f"log_{name}_gap": torch.log(gap)}


def _absolute_gap(units: Tensor, there: Tensor, pairs: Tensor) -> Tensor:
    """1 - mean |cos|; where all tokens lie along one line, from their distances to it."""
    cosines = (units @ units.mT).abs()
    own = torch.diagonal(cosines, dim1=1, dim2=2).sum(dim=-1)
    plain = 1 - (cosines.sum(dim=(1, 2)) - own) / pairs
    first = (units != 0).any(dim=-1).to(torch.int8).argmax(dim=-1)
    line = torch.take_along_dim(units, first[:, None, None], dim=1)
    sides = torch.sign((units * line).sum(dim=-1))
    turned = units * sides[..., None]
    off = _less_mean(turned, sides != 0, there.clamp(min=1))
    near = (pairs - there * (there - 1) + there * torch.linalg.vecdot(off, off).sum(dim=-1)) / pairs
    # within 1e-4 of one line no pair changes its side
    return torch.where(near < 1e-4, near, plain)


def _ranks(X: Tensor, alike: Tensor) -> dict[str, Tensor]:
    n, d = X.shape[1:]
    squares = _eigenvalues(X @ X.mT if n <= d else X.mT @ X).flip(-1).clamp(min=0)
    first = squares[:, :1].clamp(min=torch.finfo(X.dtype).tiny)
    sigma = torch.sqrt(squares / first)
    unknown = _GRAM * (2.0**29 if X.dtype == torch.float32 else 1.0)
    lost = torch.minimum(unknown / (2 * sigma.clamp(min=1e-300)), torch.full_like(sigma, math.sqrt(unknown)))
    entropy = _entropy(sigma)
    total = sigma.sum(dim=-1)
    off = (lost[:, 1:] * (1 - torch.log((sigma / total[:, None]).clamp(min=lost)[:, 1:]))).sum(dim=-1) / total
    second = sigma[:, 1] if min(n, d) > 1 else torch.zeros_like(total)
    poor = (off > _ENOUGH * entropy.clamp(max=1.0)) | (second * second * _ENOUGH < unknown)
    poor = poor & ~alike & (squares[:, 0] > 0) & (min(n, d) > 1)
    if bool(poor.any()):
        values = torch.linalg.svdvals(X[poor])
        sigma[poor] = values / values[:, :1]
        entropy = _entropy(sigma)
        second = sigma[:, 1]
    nothing = torch.full_like(second, math.nan)
    known = alike | (second > _UNKNOWN) if min(n, d) > 1 else torch.ones_like(alike)
    second = torch.where(alike, 0.0, second)
    entropy = torch.where(alike, 0.0, entropy)
    return {
        "effective_rank": torch.exp(entropy),
        "log_effective_rank_gap": torch.where(known, torch.log(torch.expm1(entropy)), nothing),
        "stable_rank": torch.where(alike, 1.0, sigma.square().sum(dim=-1)),
        "log_rank_gap": torch.where(known, torch.log(second), nothing),
    }


def _entropy(sigma: Tensor) -> Tensor:
    """Entropy of singular values (b, k) over their sum, relative to itself where the first is nearly all."""
    total = sigma.sum(dim=-1, keepdim=True)
    rest = sigma[:, 1:] / total
    lead = rest.sum(dim=-1)
    return -(1 - lead) * torch.log1p(-lead) - torch.special.xlogy(rest, rest).sum(dim=-1)


def _eigenvalues(gram: Tensor) -> Tensor:
    """Eigenvalues of symmetric (b, k, k), rising.

    On a processor each thread takes some of the matrices: two threads on one of 197 x 197 take
    three times as long as each on its own.
    """
    threads = min(torch.get_num_threads(), len(gram))
    if gram.device.type == "mps":
        return torch.linalg.eigvalsh(gram.cpu()).to(gram.device)
    if gram.device.type != "cpu" or threads < 2:
        return torch.linalg.eigvalsh(gram)

    def alone(some: Tensor) -> Tensor:
        torch.set_num_threads(1)  # of this thread
        return torch.linalg.eigvalsh(some)

    with ThreadPoolExecutor(threads) as pool:
        return torch.cat(list(pool.map(alone, gram.chunk(threads))))
