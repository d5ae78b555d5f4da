"""Errors of metrics as samples show them: what a metric says of states that rounding might have left.

The noise of a part is a length, and how much of it a metric sees is left open: the bounds of
:mod:`linsim.metrics` take all of it to lie along the metric's gradient, where of n d directions that
an error may have the metric looks at one.  Engines in single precision therefore hand over a few
*samples*, the state as it would be with other roundings (the shadows of :mod:`linsim._shadow`, the
copies of :mod:`linsim._cloud`), and a metric is evaluated on each of them beside the state itself: in
double precision, so that nothing of their differences is lost.

Their root mean square deviation estimates the standard deviation of the metric's error.  With c samples
the true error divided by it follows Student's t with c degrees of freedom, whose tails are long for few
of them; so a share of the bound, which is never small by chance, is added (as squares).  Where the bound
leaves open the whole of a value, it is no longer one of first order, a share of it says nothing, and samples
that happen to agree say no more: the bound stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

import numpy as np

from .._namespace import Array, namespace
from .._state import PARTS, State, batch_of, stacked
from .._types import EPS
from ._evaluate import evaluate
from ._metric import Layer, Measured

__all__ = ["measured"]

#: by how much the root mean square over so many samples is enlarged
SAFETY = {2: 10.0, 3: 7.0, 4: 9.0, 6: 8.0}
#: share of the bound that is added: what makes it about five times the root mean square, as a rule (bounds
#: of ranks leave more open than those of sizes).  Both together so that 99.9 % of errors are below, in each
#: family of systems that was counted.
SHARES = {
    "token_similarity": 0.35,
    "hfc_lfc": 0.4,
    "cosine": 0.17,
    "abs_cosine": 0.12,
    "effective_rank": 0.055,
    "stable_rank": 0.1,
    "log_token_diversity": 0.4,
    "log_hfc_lfc": 0.4,
    "log_cosine_gap": 0.17,
    "log_abs_cosine_gap": 0.13,
    "log_effective_rank_gap": 0.05,
    "log_rank_gap": 0.17,
    "log_norm": 0.5,
    "log_spread": 0.25,
}
_OTHERS = 0.5
# singular values of samples of states larger than 64 x 64 would cost more than the layers between them
_COSTLY = frozenset(("effective_rank", "log_effective_rank_gap", "stable_rank", "log_rank_gap"))
_LARGE = 2**18


def measured(
    state: State, names: Iterable[str], zero_rows: Array | None = None, layer: Layer | None = None
) -> tuple[dict[str, Measured], int]:
    """Measure a split state as :func:`evaluate` does, with errors from its samples, if any.

    ``zero_rows`` (b, n, 1): tokens known to be exactly zero.  Also returns how many matrices a kernel
    left to LAPACK.
    """
    names = tuple(names)
    if not state.samples:
        return evaluate(state, names, zero_rows, layer)
    n, d = (int(extent) for extent in state.R.shape[-2:])
    costly = _COSTLY if n * d * min(n, d) > _LARGE else frozenset()
    bounded = [name for name in names if name in costly]
    base = _wide(replace(state, samples=(), enlarged=None))
    out, redone = evaluate(base, bounded, zero_rows, layer) if bounded else ({}, 0)
    sampled = [name for name in names if name not in costly]
    if not sampled:
        return out, redone
    xp, b, count = namespace(state.R), batch_of(state), len(state.samples)
    zero = None if zero_rows is None else xp.concat([zero_rows] * (1 + count), axis=0)
    every = stacked([base, *map(_wide, state.samples)])
    found, more = evaluate(every, sampled, zero, _repeated(layer, b, 1 + count))
    enlarged = xp.zeros_like(base.e_R) if state.enlarged is None else state.enlarged
    unit = xp.exp(-float(np.log(2)) * enlarged)
    for name, one in found.items():
        value, bound = (xp.broadcast_to(x, ((1 + count) * b, 1, 1)) for x in (one.value, one.error))
        others = xp.reshape(value[b:, ...], (count, b, 1, 1))
        value, bound = value[:b, ...], bound[:b, ...]
        out[name] = Measured(value, _error(value, bound, SHARES.get(name, _OTHERS), others, unit))
    return {name: out[name] for name in names}, redone + more


def _repeated(layer: Layer | None, b: int, times: int) -> Layer | None:
    """What stands beside b states, for each of so many samples of them."""
    if layer is None:
        return None

    def several(x: Array) -> Array:
        xp = namespace(x)
        return xp.concat([xp.broadcast_to(x, (b, *x.shape[1:]))] * times, axis=0)

    heads = None if layer.attention is None else tuple(several(A) for A in layer.attention)
    return Layer(heads, None if layer.tokens is None else several(layer.tokens))


def _error(value: Array, bound: Array, share: float, others: Array, unit: Array) -> Array:
    """The error of a value (b, 1, 1) from its bound and its samples (count, b, 1, 1).

    ``unit`` (b, 1, 1): how large an error is beside what a sample is off by.
    """
    xp = namespace(value)
    known = xp.all(xp.isfinite(others), axis=0) & xp.isfinite(value) & xp.isfinite(bound)
    here, at_most = (xp.where(known, x, xp.zeros_like(x)) for x in (value, bound))
    apart = xp.where(known[None, ...], others, xp.zeros_like(others)) - here[None, ...]
    deviation = xp.sqrt(xp.mean(apart * apart, axis=0)) * unit
    seen = xp.hypot(SAFETY[int(others.shape[0])] * deviation, share * at_most)
    # nothing that is told by default is withheld: the least share of it is above that resolution already
    open_to_all = at_most >= xp.maximum(xp.abs(here), xp.ones_like(here))
    seen = xp.where(open_to_all, xp.maximum(seen, at_most), seen)
    return xp.where(known, seen + 4 * EPS * xp.abs(here), bound)


def _wide(state: State) -> State:
    """The same state in double precision."""
    xp = namespace(state.R)
    split = state.split
    arrays = {f.name: getattr(split, f.name) for f in fields(split)}
    single = {
        k: xp.astype(x, xp.float64) for k, x in arrays.items() if getattr(x, "dtype", None) == xp.float32
    }
    parts = {name: xp.astype(getattr(state, name), xp.float64, copy=False) for name in PARTS}
    return replace(state, split=replace(split, **single), **parts)
