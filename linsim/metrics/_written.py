"""Metrics of states that a kernel has reduced to a few numbers: those of :mod:`linsim._cuda.layout`.

What metrics are worked out from (sizes of mean and rest, the leading pair, sums over angles, singular values)
is taken from there; formulas and errors are those of all other states, on arrays of any library.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._cuda.layout import COLUMNS
from .._kernels.sums import ANGLES, CONTENT
from .._namespace import Array, namespace
from .._state import EMPTY, Split, State
from ._evaluate import of_view
from ._leading_pair import Leading
from ._metric import Measured
from ._registry import REGISTRY
from ._singular import from_values
from ._sums import Angles, Content
from ._view import View

__all__ = ["METRICS", "of_numbers"]

#: what can be measured so: all that follows from these numbers alone
METRICS = tuple(
    name
    for name, metric in REGISTRY.items()
    if metric.of in {REGISTRY[one].of for one in ("hfc_lfc", "cosine", "effective_rank", "nuclear_rank")}
    or name in ("mad", "log_mad")
)


def of_numbers(
    numbers: Array,
    names: Iterable[str],
    shape: tuple[int, int],
    dtype: Any,
    length_v: Array,
    constant: Array,
    preserves_mean: Array,
) -> dict[str, Measured]:
    """Measure B states of n tokens and d features.

    Parameters
    ----------
    numbers : (B, columns) float64, as kernels write them
    names : of :data:`METRICS`
    shape : n, d
    dtype : of the states, which says how far they are rounded
    length_v (B, 1, 1) float64, constant, preserves_mean (B, 1, 1) bool : how they are cut

    Returns
    -------
    dict of str to Measured, (B, 1, 1)
    """
    xp, (n, d) = namespace(numbers), shape
    column = {name: numbers[:, k, None, None] for k, name in enumerate(COLUMNS)}
    # what only its shape and its dtype are asked of
    nothing = xp.broadcast_to(xp.zeros((1, 1, 1), dtype=dtype, device=numbers.device), (1, n, d))
    zero = xp.zeros((1, 1, 1), dtype=xp.float64, device=numbers.device)
    split = Split(
        v=length_v, u=zero, w=zero, z=zero, lam=zero, mu=zero, constant=constant,
        preserves_mean=preserves_mean, means=zero, coupled=zero, sensitivity=zero,
        any_coupled=False, any_z=False, any_mean=False,
    )  # fmt: skip
    noise = numbers[:, None, :5]
    empty = zero + EMPTY
    state = State(
        split, a=zero, r=zero, b=zero, R=nothing, mean=zero, e_a=empty, e_r=empty, e_b=empty, e_R=empty,
        e_mean=empty, noise=noise,
    )  # fmt: skip
    content = {name: column[name] for name in CONTENT}
    pair = Leading(
        column["main"], zero, zero, nothing, column["e"], column["delta"], column["split_off"] > 0,
        column["noise"], column["noise_main"],
    )  # fmt: skip
    sums = {name: column[name] for name in ANGLES}
    for name in ("above", "one_side", "aligned"):
        sums[name] = sums[name] > 0
    pairs, m = max(n * (n - 1), 1), sums["present"]
    plain = 1 - sums.pop("all_pairs") / pairs
    view = View(state)
    vars(view).update(
        top=column["top"],
        content=Content(**content, e_farthest=content["e_high"]),
        leading=pair,
        angles=Angles(**sums, absent=(pairs - m * (m - 1)) / pairs, plain=plain),
        singular=from_values(pair, numbers[:, len(COLUMNS) :]),
    )
    return of_view(view, names)[0]
