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
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from ._namespace import Array, exponent_of, namespace, power_of_two

__all__ = ["EMPTY", "Split", "State", "assemble", "combine", "decompose", "normalise", "scaled", "shifted"]

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
    rest feeds the v part (one way: v^T stays invariant), else 0.
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
    of the low-frequency content.
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
    )
    return normalise(state)


def normalise(state: State) -> State:
    """Bring the largest entry of every part into [1, 2), exactly, through its exponent."""
    xp = namespace(state.R)

    def peak(x: Array) -> Array:
        return exponent_of(xp.max(xp.abs(x), axis=(-1, -2), keepdims=True))

    shifts = {name: peak(getattr(state, name)) for name in ("a", "r", "b", "R", "mean")}
    totals = {k: xp.where(s == -xp.inf, xp.full_like(s, EMPTY), getattr(state, f"e_{k}") + s) for k, s in shifts.items()}
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
        values[name] = x * xp.astype(power_of_two(-shift), x.dtype, copy=False)
        values[f"e_{name}"] = totals[name]
    return replace(state, **values)


def shifted(state: State, exponent: Array) -> State:
    """Return the state times 2**exponent, exactly."""
    names = ("e_a", "e_r", "e_b", "e_R", "e_mean")
    return replace(state, **{name: getattr(state, name) + exponent for name in names})


def scaled(x: Array, exponent: Array) -> Array:
    """Return x * 2**exponent for exponent <= 1023; far below -1074 it is 0."""
    return x * namespace(x).astype(power_of_two(exponent), x.dtype, copy=False)


def combine(x: Array, e_x: Array, y: Array, e_y: Array) -> tuple[Array, Array]:
    """Return x 2**e_x + y 2**e_y as (mantissa, exponent)."""
    e = namespace(x).maximum(e_x, e_y)
    return scaled(x, e_x - e) + scaled(y, e_y - e), e


def assemble(state: State) -> tuple[Array, Array]:
    """Return the full (b, n, d) state as (mantissa, exponent)."""
    row, e_row = combine(state.a * state.split.z, state.e_a, state.r, state.e_r)
    rest, e_rest = combine(state.b * state.split.z, state.e_b, state.R, state.e_R)
    return combine(state.split.v * row, e_row, rest, e_rest)
