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
MEANS = (
    "token_similarity",
    "log_token_diversity",
    "hfc_lfc",
    "log_hfc_lfc",
    "cosine",
    "log_cosine_gap",
    "log_norm",
)
#: from all pairs of tokens
PAIRS = ("abs_cosine", "log_abs_cosine_gap", "log_spread")
#: from singular values
RANKS = ("effective_rank", "log_effective_rank_gap", "stable_rank", "log_rank_gap")
#: which tokens of a sequence are measured
SETS = ("all", "without largest")

#: bytes of double precision that are worked on at a time on a processor: what its cache holds
_CACHED = 2_500_000
_EPS = 2.0**-52
#: an eigenvalue of a Gram matrix is known to about this share of the largest
_GRAM = 8 * _EPS
#: a singular value decomposition is asked where eigenvalues leave more than this of an entropy, or of
#: the logarithm of a ratio, unknown
_ENOUGH = 1e-6
#: and what even that leaves unknown is NaN: 1 percent of what a logarithm is of
_UNKNOWN = 100 * 16 * _EPS


def measured(
    x: Tensor, keep: Tensor | None, names: Iterable[str], sample: int | None = None
) -> dict[str, Tensor]:
    """Measure hidden states (b, n, d), of the tokens in ``keep`` (b, n) alone where it is given.

    Returns float64 tensors (2, b) on the device of ``x`` (the second row without the token of largest
    norm), and beside ``names`` "largest_token" and "largest_token_share" (b,).  NaN where a state is not
    finite, is zero, or leaves no token; and of pairs and ranks beyond the first ``sample`` sequences.
    """
    names = set(names)
    b, n, d = x.shape
    keep = None if keep is None else keep.to(x.device)
    some = b if sample is None else min(sample, b)
    costly = names & {*PAIRS, *RANKS}
    parts = []
    for begin, end, wanted in ((0, some, names), (some, b, names - costly)):
        step = end - begin
        if x.device.type == "cpu":
            step = max(1, _CACHED // (8 * n * max(d, n if costly else 1)))
        for i in range(begin, end, step or 1):
            j = min(i + step, end)
            parts.append((x[i:j], None if keep is None else keep[i:j], wanted))
    found = _each_on_a_thread(parts) if x.device.type == "cpu" else [_of_some(*part) for part in parts]
    everything = (*names, "largest_token", "largest_token_share")
    return {
        name: torch.cat(
            [_given(one, name, len(part[0])) for one, part in zip(found, parts, strict=True)], dim=-1
        )
        for name in everything
    }


def _given(found: dict[str, Tensor], name: str, b: int) -> Tensor:
    """Return a metric of some sequences, NaN where it was not asked for."""
    share = found["largest_token_share"]
    return (
        found[name] if name in found else torch.full((2, b), math.nan, dtype=share.dtype, device=share.device)
    )


def _each_on_a_thread(some: list[tuple[Tensor, Tensor | None, set[str]]]) -> list[dict[str, Tensor]]:
    """Measure parts of a batch side by side, each on one thread from beginning to end.

    Two threads that share the eigenvalues of one 197 x 197 matrix take three times as long as each on
    its own, and threads that meet after every small operation wait for whatever else runs on the machine.
    """

    def alone(part: tuple[Tensor, Tensor | None, set[str]]) -> dict[str, Tensor]:
        torch.set_num_threads(1)  # of this thread, and of those that begin later
        with torch.no_grad():
            return _of_some(*part)

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(min(threads, len(some))) as pool:
        try:
            return list(pool.map(alone, some))
        finally:
            torch.set_num_threads(threads)


def _of_some(x: Tensor, keep: Tensor | None, names: set[str]) -> dict[str, Tensor]:
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # which has nothing wider
    X = x.to(wide, copy=True)  # to be worked in
    b, n, d = X.shape
    if keep is not None:
        X = torch.where(keep[..., None], X, 0.0)
    top = None
    if x.dtype == torch.float64:  # its squares may leave its range
        size = X.abs().amax(dim=(1, 2))
        top = torch.frexp(torch.where(torch.isfinite(size) & (size > 0), size, 1.0)).exponent
        X = torch.ldexp(X, -top[:, None, None])
    squares = torch.linalg.vecdot(X, X)
    whole = squares.sum(dim=-1)
    usable = torch.isfinite(whole) & (whole > 0)
    if not bool(usable.all()):
        X = torch.where(usable[:, None, None], X, 0.0)
        squares = torch.where(usable[:, None], squares, 0.0)
        whole = squares.sum(dim=-1)
    every = torch.ones(b, n, dtype=torch.bool, device=X.device) if keep is None else keep
    share, largest = squares.max(dim=-1)
    rest = every.scatter(1, largest[:, None], False)
    count = every.sum(dim=-1).to(wide)
    present = squares > 0
    lengths = torch.where(present, squares, 1.0).sqrt()

    gram = X @ X.mT if names & {*PAIRS} or (names & {*RANKS} and n <= d) else None
    ranks = {}
    if names & {*RANKS}:
        ranks = _both(_ranks(X, gram, every), _ranks(X, gram, rest))
    cosines = None if gram is None else gram.abs() / lengths[:, :, None] / lengths[:, None, :]
    units = X / lengths[..., None] if names & {"cosine", "log_cosine_gap", *PAIRS} else None
    turned = None
    if names & {*PAIRS}:
        sides = torch.sign(torch.linalg.vecdot(units, _first(units, present)))
        turned = _spread_out(units * sides[..., None], sides != 0, rest)

    total = X.sum(dim=1)
    sums = torch.stack([total, total - torch.take_along_dim(X, largest[:, None, None], 1)[:, 0]])
    counts = torch.stack([count, count - 1])
    high = _spread_out(X, every, rest)
    low = sums.square().sum(dim=-1) / counts
    out = {
        "token_similarity": low / (low + high),
        "log_token_diversity": torch.log(high / (low + high)),
        "hfc_lfc": torch.sqrt(high / low),
        "log_hfc_lfc": 0.5 * torch.log(high / low),
        "log_norm": 0.5 * torch.log(torch.stack([whole, (squares * rest).sum(dim=-1)])),
    }
    if units is not None:
        there = torch.stack([present.sum(dim=-1), (present & rest).sum(dim=-1)]).to(wide)
        pairs = counts * (counts - 1)
        # of pairs with a zero row the cosine counts as 0
        zero = pairs - there * (there - 1)
        near = there * _spread_out(units, present, rest)
        out |= _angles("cosine", (zero + near) / pairs, counts)
    if names & {*PAIRS}:
        out |= _angles(
            "abs_cosine", _absolute_gap(cosines, (zero + there * turned) / pairs, rest, pairs), counts
        )
        out["log_spread"] = _distance(X, gram, squares, every, rest)
    if top is not None:
        for name in ("log_norm", "log_spread"):
            if name in out:
                out[name] = out[name] + top.to(wide) * math.log(2)
    exists = usable & (torch.stack([whole, (squares * rest).sum(dim=-1)]) > 0)
    nothing = torch.full_like(low, math.nan)
    out = {name: torch.where(exists, value, nothing) for name, value in (out | ranks).items()}
    return out | {
        "largest_token": largest,
        "largest_token_share": torch.where(usable, share / whole, nothing[0]),
    }


def _both(of_all: dict[str, Tensor], of_rest: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.stack([value, of_rest[name]]) for name, value in of_all.items()}


def _first(X: Tensor, keep: Tensor) -> Tensor:
    """Return the first row that counts, (b, 1, d)."""
    return torch.take_along_dim(X, keep.to(torch.int8).argmax(dim=-1)[:, None, None], dim=1)


def _spread_out(X: Tensor, keep: Tensor, rest: Tensor) -> Tensor:
    """Sum of squared distances of rows from their mean, (2, b): of those in ``keep``, and in ``rest`` too.

    X is zero in other rows, and is used up.  First off goes one of the rows: a difference of two numbers
    close to each other is exact, and rows that are the same leave nothing at all.  What is left are
    distances c_i from the mean of all; without row k their mean is -c_k/(m - 1), and the sum of
    squares without it less by |c_k|^2 m/(m - 1).
    """
    everywhere = bool(keep.all())
    m = keep.sum(dim=-1).to(X.dtype)
    X -= _first(X, keep)
    if not everywhere:
        X *= keep[..., None]
    X -= X.sum(dim=1, keepdim=True) / m.clamp(min=1)[:, None, None]
    if not everywhere:
        X *= keep[..., None]
    each = torch.linalg.vecdot(X, X)
    left = keep & rest
    gone = (each * (keep & ~rest)).sum(dim=-1)  # 0 where the row that is left out did not count
    others = (each * left).sum(dim=-1)
    without = others - gone / (m - 1).clamp(min=1)
    # a row that outweighs the others by far leaves no digits of them
    lost = (gone > 1e8 * without) & (left.sum(dim=-1) > 1)
    if bool(lost.any()):
        Y = (X[lost] - _first(X[lost], left[lost])) * left[lost][..., None]
        Y -= Y.sum(dim=1, keepdim=True) / left[lost].sum(dim=-1)[:, None, None]
        without[lost] = torch.linalg.vecdot(Y * left[lost][..., None], Y).sum(dim=-1)
    return torch.stack([each.sum(dim=-1), without.clamp(min=0)])


def _angles(name: str, gap: Tensor, count: Tensor) -> dict[str, Tensor]:
    gap = torch.where(count > 1, gap.clamp(min=0), 0.0)  # one token has no pair
    return {name: 1 - gap, f"log_{name}_gap": torch.log(gap)}


def _absolute_gap(cosines: Tensor, near: Tensor, rest: Tensor, pairs: Tensor) -> Tensor:
    """1 - mean |cos|, (2, b); where all tokens lie along one line, from their distances to it, ``near``."""
    own = torch.diagonal(cosines, dim1=1, dim2=2)
    rows = cosines.sum(dim=2)
    whole = (rows - own).sum(dim=-1)
    # pairs are counted twice: row and column of the one left out
    without = whole - 2 * ((rows - own) * ~rest).amax(dim=-1)
    plain = 1 - torch.stack([whole, without]) / pairs
    # within 1e-4 of one line no pair changes its side
    return torch.where(near < 1e-4, near, plain)


def _distance(centred: Tensor, gram: Tensor, squares: Tensor, keep: Tensor, rest: Tensor) -> Tensor:
    """ln of the largest distance between two tokens, (2, b); ``centred``: tokens less their mean."""
    found = []
    for kept in (keep, rest):
        both = kept[:, :, None] & kept[:, None, :]
        apart = squares[:, :, None] + squares[:, None, :] - 2 * gram
        most = torch.where(both, apart, 0.0).amax(dim=(1, 2))
        lost = most < 1e-6 * (squares * kept).amax(dim=-1)  # which leaves 1e-10 of it
        if bool(lost.any()):
            C = centred[lost] - _first(centred[lost], kept[lost])
            C = (C - C.mean(dim=1, keepdim=True)) if bool(kept[lost].all()) else C * kept[lost][..., None]
            own = torch.linalg.vecdot(C, C)
            apart = own[:, :, None] + own[:, None, :] - 2 * (C @ C.mT)
            most[lost] = torch.where(both[lost], apart, 0.0).amax(dim=(1, 2)).clamp(min=0)
        found.append(0.5 * torch.log(most))
    return torch.stack(found)


def _ranks(X: Tensor, gram: Tensor | None, keep: Tensor) -> dict[str, Tensor]:
    (_, n, d), device = X.shape, X.device
    count = keep.sum(dim=-1)
    everywhere = bool(keep.all())
    if gram is not None and n <= d:
        gram = gram if everywhere else gram * keep[:, :, None] * keep[:, None, :]
    else:
        kept = X if everywhere else X * keep[..., None]
        gram = kept.mT @ kept
    alike = torch.all((_first(X, keep) == X) | ~keep[..., None], dim=2).all(dim=1)
    if device.type == "mps":  # which has no such decompositions
        gram, X, alike, count, keep = gram.cpu(), X.cpu(), alike.cpu(), count.cpu(), keep.cpu()
    squares = torch.linalg.eigvalsh(gram).flip(-1).clamp(min=0)
    # rows that do not count add eigenvalues that are zero, but for rounding
    squares = squares * (torch.arange(squares.shape[1], device=squares.device) < count[:, None])
    first = squares[:, :1].clamp(min=torch.finfo(X.dtype).tiny)
    sigma = torch.sqrt(squares / first)
    unknown = _GRAM * (2.0**29 if X.dtype == torch.float32 else 1.0)
    lost = torch.minimum(unknown / (2 * sigma.clamp(min=1e-30)), torch.full_like(sigma, math.sqrt(unknown)))
    lost = lost * (torch.arange(sigma.shape[1], device=sigma.device) < count[:, None])
    entropy = _entropy(sigma)
    total = sigma.sum(dim=-1)
    off = lost * (1 - torch.log((sigma / total[:, None]).clamp(min=math.sqrt(unknown) / n)))
    off = off[:, 1:].sum(dim=-1) / total
    several = sigma.shape[1] > 1
    second = sigma[:, 1] if several else torch.zeros_like(total)
    poor = (off > _ENOUGH * entropy.clamp(max=1.0)) | (second * second * _ENOUGH < unknown)
    poor = poor & ~alike & (squares[:, 0] > 0) & several
    if bool(poor.any()):
        values = torch.linalg.svdvals(X[poor] * keep[poor][..., None])
        sigma[poor] = values / values[:, :1]
        entropy, second = _entropy(sigma), sigma[:, 1]
    nothing = torch.full_like(second, math.nan)
    known = alike | (second > _UNKNOWN) if several else torch.ones_like(alike)
    second = torch.where(alike, 0.0, second)
    entropy = torch.where(alike, 0.0, entropy)
    found = {
        "effective_rank": torch.exp(entropy),
        "log_effective_rank_gap": torch.where(known, torch.log(torch.expm1(entropy)), nothing),
        "stable_rank": torch.where(alike, 1.0, sigma.square().sum(dim=-1)),
        "log_rank_gap": torch.where(known, torch.log(second), nothing),
    }
    return {name: value.to(device) for name, value in found.items()}


def _entropy(sigma: Tensor) -> Tensor:
    """Entropy of singular values (b, k) over their sum, relative to itself where the first is nearly all."""
    total = sigma.sum(dim=-1, keepdim=True)
    rest = sigma[:, 1:] / total
    lead = rest.sum(dim=-1)
    return -(1 - lead) * torch.log1p(-lead) - torch.special.xlogy(rest, rest).sum(dim=-1)
