"""The fourteen default metrics of hidden states, on the device where they are, a batch at a time.

:func:`linsim.metrics.measure` works out each number with its error, on the host; a model that is watched
cannot wait for that.  Here the same definitions are written for PyTorch in double precision: hidden states
are single or half precision, so nothing that they hold is lost.  ``tests/pytorch/test_watch.py`` holds the
two against each other.

:mod:`._sums` takes what it needs from sums over tokens and from the Gram matrix, each in one pass.  What is
left of a difference of two sums that are nearly equal says how well it is known: a sequence where that is
not enough goes through :mod:`._differences`, which forms what differs between tokens before it is squared.
Singular values are in :mod:`._ranks`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from .._blas import on_one_thread
from ._differences import by_differences
from ._gram import gram_of
from ._ranks import ranks_of
from ._sums import by_sums

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
_CACHED = 5_000_000


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


@on_one_thread
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
    _, n, d = X.shape
    order = None
    if keep is not None:  # zeros that come last take no time of what looks for eigenvalues
        order = torch.argsort(~keep, dim=1, stable=True)
        keep = torch.take_along_dim(keep, order, dim=1)
        X = torch.where(keep[..., None], torch.take_along_dim(X, order[..., None], dim=1), 0.0)
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
    share, largest = squares.max(dim=-1)
    # the token of largest norm changes places with the first: the others are a slice from here on
    _swap(X, largest)
    _swap(squares, largest)
    if keep is not None:
        _swap(keep, largest)

    pairs, ranks = bool(names & {*PAIRS}), bool(names & {*RANKS})
    gram = gram_of(X) if pairs or (ranks and n <= d) else None
    out: dict[str, Tensor] = {}
    if names - {*RANKS}:
        angles = bool(names & {"cosine", "log_cosine_gap"})
        given = X, squares, gram if pairs else None, keep
        found, sure = by_sums(*given, angles) if n > 1 else ({}, torch.zeros_like(usable))
        poor = usable & ~sure
        if bool(poor.all()):
            found = by_differences(*given)
        elif bool(poor.any()):
            mended = by_differences(*(None if one is None else one[poor] for one in given))
            for name, value in found.items():
                value[:, poor] = mended[name]
        out |= found
    if ranks:
        out |= ranks_of(X, gram, keep)
    if top is not None:
        for name in ("log_norm", "log_spread"):
            if name in out:
                out[name] = out[name] + top.to(wide) * math.log(2)
    exists = usable & (torch.stack([whole, squares[:, 1:].sum(dim=-1)]) > 0)
    nothing = torch.full(exists.shape, math.nan, dtype=wide, device=X.device)
    out = {name: torch.where(exists, value, nothing) for name, value in out.items()}
    return out | {
        "largest_token": largest
        if order is None
        else torch.take_along_dim(order, largest[:, None], dim=1)[:, 0],
        "largest_token_share": torch.where(usable, share / whole, nothing[0]),
    }


def _swap(x: Tensor, largest: Tensor) -> None:
    """Let row 0 of each (n, ...) change places with row ``largest``, in place."""
    rows = torch.arange(len(x), device=x.device)
    first = x[:, 0].clone()
    x[:, 0] = x[rows, largest]
    x[rows, largest] = first
