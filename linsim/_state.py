"""A state as a sum of invariant parts, each with its own scale.

Double precision stops seeing how far tokens are from equal at 1e-32 of their
size, because rounding of the large common part leaks into the small rest.  So
the large part never meets the rest:

    X = v (a z^T + r^T) + (b z^T + R),   u^T v = z^T w = 1,
    r^T w = 0,  u^T b = 0,  u^T R = 0,  R w = 0,

with ``A v = lambda v``, ``u^T A = lambda u^T``, ``z^T H = mu z^T``, ``H w = mu w``.
Each part maps to itself under X + A X H and carries a power-of-two exponent.
Without a usable z (no single real weight eigenvalue dominates) z = w = 0, so
a = b = 0 and the same formulas split off v alone.

Every part also carries its *noise*: log2 of a bound on its absolute rounding
error.  Noise grows like the fastest mode that the part can hold, which is not
the part's own growth when the input does not excite that mode; only so can a
rounding floor be told from a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ._namespace import Array, exponent_of, namespace, power_of_two

__all__ = [
    "EMPTY",
    "Split",
    "State",
    "add_log2",
    "assemble",
    "batch_of",
    "between_rescalings",
    "combine",
    "decompose",
    "log2",
    "norm",
    "normalise",
    "scaled",
    "shifted",
    "sizes",
    "stacked",
]

# the exponent of a part that is exactly zero: finite, so that differences of
# exponents never turn into NaN, and far below any other
EMPTY = -(2.0**60)


@dataclass(frozen=True, eq=False)
class Split:
    """The vectors that cut a state into parts; leading axis b or 1.

    ``v`` (b, n, 1), ``u`` (b, 1, n), ``w`` (b, d, 1), ``z`` (b, 1, d); ``lam``
    and ``mu`` (b, 1, 1); ``constant`` (b, 1, 1) bool: v is the vector of ones;
    ``preserves_mean`` (b, 1, 1) bool: columns of A sum to 1, token means are
    exact; ``coupled`` (b, 1, 1): 1 where u is no left eigenvector, so that the
    rest feeds the v part (one way: v^T stays invariant), else 0.  ``growth``
    (b, 1, 5) float64: log2 of the largest growth per layer of the noise of
    a, r, b, R and the mean, NaN where no spectrum tells it and noise grows like
    the parts of a generic probe; ``injected`` (b, 1, 1): roundings one layer adds, in eps
    of the part; ``sensitivity`` (b, 1, 1): those that cutting the input adds.
    """

    v: Array
    u: Array
    w: Array
    z: Array
    lam: Array
    mu: Array
    constant: Array
    preserves_mean: Array
    coupled: Array
    growth: Array
    injected: Array
    sensitivity: Array
    any_coupled: bool
    any_z: bool
    any_mean: bool

    def map(self, function: Any) -> Split:
        """Apply ``function`` to every array."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Split(**{k: x if isinstance(x, bool) else function(x) for k, x in values.items()})


@dataclass(frozen=True, eq=False)
class State:
    """Parts of (b, n, d) states and their exponents (b, 1, 1), integers held in float64.

    ``mean`` (b, 1, d) is the token mean, carried beside the parts because with
    a doubly stochastic A and v other than ones it is the only accurate source
    of the low-frequency content.  ``noise`` (b, 1, 5): log2 of a bound on the
    absolute error of each of :data:`PARTS`; of blocks an estimate (:mod:`linsim._cloud`).
    ``rows`` (b, n, 1), where known: log2 of the absolute error of each token of the full state.
    """

    split: Split
    a: Array
    r: Array
    b: Array
    R: Array
    mean: Array
    e_a: Array
    e_r: Array
    e_b: Array
    e_R: Array
    e_mean: Array
    noise: Array
    rows: Array | None = None


PARTS = ("a", "r", "b", "R", "mean")


def decompose(x: Array, split: Split) -> State:
    """Cut (b, n, d) states into parts."""
    xp = namespace(x)
    # Subtracting the first token first makes rows that are equal give exactly 0,
    # and rows that are nearly equal keep their differences.
    shift = xp.where(split.constant, x[:, :1, :], xp.zeros_like(x[:, :1, :]))
    y = x - shift
    row = split.u @ y
    rest = y - split.v * row
    row = row + shift
    a, b = row @ split.w, rest @ split.w
    zero = xp.zeros((x.shape[0], 1, 1), dtype=xp.float64, device=x.device)
    unit = float(xp.finfo(x.dtype).eps) * xp.astype(split.sensitivity, xp.float64)
    size_u, size_w, size_y = norm(split.u), norm(split.w), norm(y)
    noise_row = log2(unit * (size_u * size_y + norm(shift)))
    noise_rest = log2(unit * (1 + size_u * norm(split.v)) * size_y)
    state = State(
        split,
        a=a,
        r=row - a * split.z,
        b=b,
        R=rest - b * split.z,
        mean=xp.mean(y, axis=-2, keepdims=True) + shift,
        e_a=zero,
        e_r=zero,
        e_b=zero,
        e_R=zero,
        e_mean=zero,
        noise=xp.concat(
            xp.broadcast_arrays(
                noise_row + log2(size_w),
                noise_row + log2(1 + size_w),
                noise_rest + log2(size_w),
                noise_rest + log2(1 + size_w),
                log2(unit * (size_y + norm(shift))),
            ),
            axis=-1,
        ),
    )
    return normalise(state)


def between_rescalings(x: Array, power: int) -> int:
    """How many layers may pass before parts like ``x`` are rescaled, 8 at most.

    A layer that does not make a part exactly zero leaves at least one rounding of its
    largest entry, and what is another rounding below that does not count: so much, raised to
    the ``power`` in which entries are used, must stay in the range of the dtype.
    """
    info = namespace(x).finfo(x.dtype)
    digits, room = (-float(np.log2(float(v))) for v in (info.eps, info.smallest_normal))
    return max(1, min(8, int((room - digits) // (power * (digits + 1)))))


def norm(x: Array) -> Array:
    """Frobenius norm over the last two axes, float64, for entries of moderate size."""
    xp = namespace(x)
    flat = xp.reshape(xp.astype(x, xp.float64, copy=False), (*x.shape[:-2], 1, -1))
    return xp.sqrt(xp.linalg.vecdot(flat, flat))[..., None]


def log2(x: Array) -> Array:
    """log2 of x >= 0, with EMPTY for 0."""
    xp = namespace(x)
    positive = x > 0
    return xp.where(positive, xp.log2(xp.where(positive, x, xp.ones_like(x))), xp.full_like(x, EMPTY))


def add_log2(x: Array, y: Array) -> Array:
    """log2(2**x + 2**y)."""
    xp = namespace(x)
    return xp.maximum(x, y) + xp.log2(1 + xp.exp(-float(np.log(2)) * xp.clip(xp.abs(x - y), 0.0, 100.0)))


def sizes(state: State) -> Array:
    """log2 of the norm of every part, (b, 1, 5)."""
    xp = namespace(state.R)
    each = [log2(norm(getattr(state, name))) + getattr(state, f"e_{name}") for name in PARTS]
    return xp.concat(xp.broadcast_arrays(*each), axis=-1)


def normalise(state: State, steps: int = 0, pace: Array | None = None) -> State:
    """Bring the largest entry of every part into [1, 2), exactly, through its exponent.

    ``steps``: layers since the last time, whose noise is added here; ``pace``
    (b, 1, 5): log2 of how much the parts of a generic probe grew in them.
    """
    xp = namespace(state.R)

    def peak(x: Array) -> Array:
        return exponent_of(xp.max(xp.abs(x), axis=(-1, -2), keepdims=True))

    shifts = {name: peak(getattr(state, name)) for name in ("a", "r", "b", "R", "mean")}
    totals = {
        k: xp.where(s == -xp.inf, xp.full_like(s, EMPTY), getattr(state, f"e_{k}") + s)
        for k, s in shifts.items()
    }
    if state.split.any_coupled:
        # what R feeds into r must be representable at r's scale
        floor = xp.where(state.split.coupled > 0, totals["R"], xp.full_like(totals["R"], EMPTY))
        raised = xp.maximum(totals["r"], floor)
        shifts["r"] = shifts["r"] + (raised - totals["r"])
        shifts["r"] = xp.where(totals["r"] == EMPTY, xp.zeros_like(raised), shifts["r"])
        totals["r"] = raised
    values: dict[str, Array] = {}
    for name, shift in shifts.items():
        x = getattr(state, name)
        shift = xp.where(shift == -xp.inf, xp.zeros_like(shift), shift)
        if x.dtype != xp.float64:  # in two steps: a factor must fit the dtype as well
            half = xp.floor(shift / 2)
            x, shift = scaled(x, -half), shift - half
        values[name] = scaled(x, -shift)
        values[f"e_{name}"] = totals[name]
    if steps:
        values["noise"] = _noise(state, totals, steps, pace)
    return replace(state, **values)


def _noise(state: State, totals: dict[str, Array], steps: int, pace: Array | None) -> Array:
    xp, split = namespace(state.R), state.split
    unit = log2(steps * float(xp.finfo(state.R.dtype).eps) * xp.astype(split.injected, xp.float64))
    growth = xp.astype(split.growth, xp.float64)
    e = xp.concat(xp.broadcast_arrays(*[getattr(state, f"e_{name}") for name in PARTS]), axis=-1)
    change = xp.concat(xp.broadcast_arrays(*[totals[name] for name in PARTS]), axis=-1) - e
    change = xp.where(xp.abs(change) > -EMPTY / 2, xp.zeros_like(change), change)
    follow = change if pace is None else pace
    known = ~xp.isnan(growth)
    growth = xp.where(known, growth, xp.zeros_like(growth))
    grown = state.noise + xp.where(known, steps * growth, follow)
    # a part is taken to have changed geometrically in between
    added = xp.maximum(e + (steps - 1) * growth, e + change * ((steps - 1) / steps))
    noise = add_log2(grown, unit + xp.where(known, added, e + follow))
    if split.any_coupled:
        fed = xp.where(split.coupled > 0, noise[:, :, 3:4] + float(np.log2(steps)), EMPTY)
        r = add_log2(noise[:, :, 1:2], fed)
        noise = xp.concat([noise[:, :, :1], r, noise[:, :, 2:]], axis=-1)
    return noise


def shifted(state: State, exponent: Array) -> State:
    """Return the state times 2**exponent, exactly."""
    exponents = {f"e_{name}": getattr(state, f"e_{name}") + exponent for name in PARTS}
    rows = None if state.rows is None else state.rows + exponent
    return replace(state, **exponents, noise=state.noise + exponent, rows=rows)


def scaled(x: Array, exponent: Array) -> Array:
    """Return x * 2**exponent for exponent <= 1023; far below -1074 it is 0."""
    return x * namespace(x).astype(power_of_two(exponent), x.dtype, copy=False)


def combine(x: Array, e_x: Array, y: Array, e_y: Array) -> tuple[Array, Array]:
    """Return x 2**e_x + y 2**e_y as (mantissa, exponent)."""
    e = namespace(x).maximum(e_x, e_y)
    return scaled(x, e_x - e) + scaled(y, e_y - e), e


def batch_of(state: State) -> int:
    """Number of systems: each array of a state, and of its split, holds that many or one for all."""
    arrays = [getattr(held, f.name) for held in (state, state.split) for f in fields(held)]
    return max(int(x.shape[0]) for x in arrays if hasattr(x, "shape"))


def stacked(states: Sequence[State]) -> State:
    """Put states of one split, (b, n, d) each, behind each other: (len(states) b, n, d)."""
    if len(states) == 1:
        return states[0]
    xp, count = namespace(states[0].R), len(states)
    parts = [f.name for f in fields(State) if f.name != "split" and getattr(states[0], f.name) is not None]
    b = batch_of(states[0])

    def several(arrays: list[Array]) -> Array:
        return xp.concat([xp.broadcast_to(x, (b, *x.shape[1:])) for x in arrays], axis=0)

    values = {name: several([getattr(state, name) for state in states]) for name in parts}
    split = states[0].split.map(lambda x: x if x.shape[0] == 1 else several([x] * count))
    return State(split, **values)


def assemble(state: State) -> tuple[Array, Array]:
    """Return the full (b, n, d) state as (mantissa, exponent)."""
    row, e_row = combine(state.a * state.split.z, state.e_a, state.r, state.e_r)
    rest, e_rest = combine(state.b * state.split.z, state.e_b, state.R, state.e_R)
    return combine(state.split.v * row, e_row, rest, e_rest)
