"""Errors of metrics as samples show them: what a metric says of states that rounding might have left.

The noise of a part is a length, and how much of it a metric sees is left open: the bounds of
:mod:`linsim._evaluate` take all of it to lie along the metric's gradient, where of n d directions that
an error may have the metric looks at one.  Engines in single precision therefore hand over a few
*samples*, the state as it would be with other roundings (the shadows of :mod:`linsim._shadow`, the
copies of :mod:`linsim._cloud`), and a metric is evaluated on each of them beside the state itself: in
double precision, so that nothing of their differences is lost.

Their root mean square estimates the standard deviation of the metric's error.  With c samples the
true error divided by it follows Student's t with c degrees of freedom, whose tails are long for few
of them; so a share of the bound, which is never small by chance, is added (as squares).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

import numpy as np

from ._evaluate import Measured, evaluate
from ._namespace import Array, namespace
from ._state import PARTS, State, batch_of, stacked

__all__ = ["measured"]

#: by how much the root mean square over the samples is enlarged, and the share of the bound that is added:
#: chosen together so that 99.9 % of errors of every family of systems are below
SAFETY, SHARE = {3: 6.0, 6: 9.0, 4: 10.0, 2: 12.0}, 0.1
_EPS = float(np.finfo(np.float64).eps)


def measured(
    state: State, names: Iterable[str], zero_rows: Array | None = None
) -> tuple[dict[str, Measured], int]:
    """Measure a split state as :func:`linsim._evaluate.evaluate` does, with errors from its samples if it has any.

    ``zero_rows`` (b, n, 1): tokens known to be exactly zero.  Also returns how many matrices a kernel
    left to LAPACK.
    """
    names = tuple(names)
    if not state.samples:
        return evaluate(state, names, zero_rows)
    xp, b, count = namespace(state.R), batch_of(state), len(state.samples)
    every = stacked([_wide(one) for one in (replace(state, samples=(), enlarged=None), *state.samples)])
    zero = None if zero_rows is None else xp.concat([zero_rows] * (1 + count), axis=0)
    found, redone = evaluate(every, names, zero)
    scale = xp.exp(-float(np.log(2)) * state.enlarged)
    out = {}
    for name, one in found.items():
        value, bound = (xp.broadcast_to(x, ((1 + count) * b, 1, 1)) for x in (one.value, one.error))
        others = xp.reshape(value[b:, ...], (count, b, 1, 1))
        out[name] = Measured(value[:b, ...], combined(value[:b, ...], bound[:b, ...], others, scale))
    return out, redone


def combined(value: Array, bound: Array, others: Array, scale: Array) -> Array:
    """The error of a value (b, 1, 1) from its bound and its samples (count, b, 1, 1)."""
    xp = namespace(value)
    apart = (others - value[None, ...]) * scale[None, ...]
    known = xp.all(xp.isfinite(apart), axis=0) & xp.isfinite(bound)
    apart = xp.where(known[None, ...], apart, xp.zeros_like(apart))
    bound_here = xp.where(known, bound, xp.zeros_like(bound))
    seen = SAFETY[int(others.shape[0])] ** 2 * xp.mean(apart * apart, axis=0)
    error = xp.sqrt(seen + (SHARE * bound_here) ** 2) + 4 * _EPS * xp.abs(xp.where(known, value, bound_here))
    return xp.where(known, error, bound)


def _wide(state: State) -> State:
    """The same state in double precision."""
    xp = namespace(state.R)
    split = state.split
    arrays = {f.name: getattr(split, f.name) for f in fields(split)}
    single = {k: xp.astype(x, xp.float64) for k, x in arrays.items() if getattr(x, "dtype", None) == xp.float32}
    parts = {name: xp.astype(getattr(state, name), xp.float64, copy=False) for name in PARTS}
    return replace(state, split=replace(split, **single), **parts)
