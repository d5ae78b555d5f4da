"""Metrics of tokens that are nearly alike: what differs between them is formed before it is squared.

It takes several passes over the tokens more than :mod:`._sums`, and loses nothing.  Row 0 is the token of
largest norm.
"""

from __future__ import annotations

from typing import Any

import torch

from ._sums import angles_of, from_content

__all__ = ["by_differences", "first_row"]

Tensor = Any


def by_differences(X: Tensor, squares: Tensor, gram: Tensor | None, keep: Tensor | None) -> dict[str, Tensor]:
    """Return metrics (2, b); arguments are those of :func:`._sums.by_sums`."""
    b, n, _ = X.shape
    every = torch.ones(b, n, dtype=torch.bool, device=X.device) if keep is None else keep
    rest = every.clone()
    rest[:, 0] = False
    count = every.sum(dim=-1).to(X.dtype)
    counts = torch.stack([count, count - 1])
    present = squares > 0
    lengths = torch.where(present, squares, 1.0).sqrt()
    units = X / lengths[..., None]
    turned = None
    if gram is not None:
        sides = torch.sign(torch.linalg.vecdot(units, first_row(units, present)))
        turned = _spread_out(units * sides[..., None], sides != 0, rest)
    total = X.sum(dim=1)
    sums = torch.stack([total, total - X[:, 0]])
    centred = X.clone()
    high = _spread_out(centred, every, rest)
    whole = torch.stack([squares.sum(dim=-1), squares[:, 1:].sum(dim=-1)])
    out = from_content(sums.square().sum(dim=-1) / counts, high, whole)

    there = torch.stack([present.sum(dim=-1), (present & rest).sum(dim=-1)]).to(X.dtype)
    pairs = counts * (counts - 1)
    # of pairs with a zero row the cosine counts as 0
    zero = pairs - there * (there - 1)
    near = there * _spread_out(units, present, rest)
    out |= angles_of("cosine", (zero + near) / pairs, counts)
    if gram is not None:
        cosines = gram.abs() / lengths[:, :, None] / lengths[:, None, :]
        gap = _absolute_gap(cosines, (zero + there * turned) / pairs, pairs)
        out |= angles_of("abs_cosine", gap, counts)
        out["log_spread"] = _distance(centred, gram, squares, every, rest)
    return out


def first_row(X: Tensor, keep: Tensor) -> Tensor:
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
    X -= first_row(X, keep)
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
        Y = (X[lost] - first_row(X[lost], left[lost])) * left[lost][..., None]
        Y -= Y.sum(dim=1, keepdim=True) / left[lost].sum(dim=-1)[:, None, None]
        without[lost] = torch.linalg.vecdot(Y * left[lost][..., None], Y).sum(dim=-1)
    return torch.stack([each.sum(dim=-1), without.clamp(min=0)])


def _absolute_gap(cosines: Tensor, near: Tensor, pairs: Tensor) -> Tensor:
    """1 - mean |cos|, (2, b); where all tokens lie along one line, from their distances to it, ``near``."""
    own = torch.diagonal(cosines, dim1=1, dim2=2)
    rows = cosines.sum(dim=2)
    whole = (rows - own).sum(dim=-1)
    # pairs are counted twice: row and column of the one left out
    without = whole - 2 * (rows - own)[:, 0]
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
            C = centred[lost] - first_row(centred[lost], kept[lost])
            C = (C - C.mean(dim=1, keepdim=True)) if bool(kept[lost].all()) else C * kept[lost][..., None]
            own = torch.linalg.vecdot(C, C)
            apart = own[:, :, None] + own[:, None, :] - 2 * (C @ C.mT)
            most[lost] = torch.where(both[lost], apart, 0.0).amax(dim=(1, 2)).clamp(min=0)
        found.append(0.5 * torch.log(most))
    return torch.stack(found)
