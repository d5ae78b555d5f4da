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

Every part also has its *noise*: log2 of an estimate of its absolute rounding
error, which almost no error exceeds (``linsim._shadow``).  Only so can a rounding
floor be told from a value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ._namespace import Array, exponent_of, namespace, power_of_two
from ._one_product import attended, weighted

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
    "of_plain_tokens",
    "plain_state",
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
    ``preserves_mean`` (b, 1, 1) bool: columns of A all sum to one number, token means
    are exact; ``means`` (b, 1, 1): what they sum to then; ``coupled`` (b, 1, 1): 1
    where u is no left eigenvector, so that the rest feeds the v part (one way: v^T
    stays invariant), else 0.  ``sensitivity`` (b, 1, 1): the roundings that cutting
    the input adds to a part, in eps.
    """

    v: Array
    u: Array
    w: Array
    z: Array
    lam: Array
    mu: Array
    constant: Array
    preserves_mean: Array
    means: Array
    coupled: Array
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
    ``attention``, where known: returns what the layer that the tokens go into looks at them with,
    (b or 1, n, n) for each head, none where there is no such layer.  A rule may have to draw it, so it
    is asked only for metrics that need it, and before the next state is.
    ``samples``: states that rounding might have left instead of these, but for what they are off by,
    which is 2**``enlarged`` (b, 1, 1) times as large; none where nobody looks at them.
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
    attention: Callable[[], Sequence[Array]] | None = None
    samples: tuple[State, ...] = ()
    enlarged: Array | None = None


PARTS = ("a", "r", "b", "R", "mean")


def decompose(x: Array, split: Split) -> State:
    """Cut (b, n, d) states into parts."""
    xp = namespace(x)
    # Subtracting the first token first makes rows that are equal give exactly 0,
    # and rows that are nearly equal keep their differences.
    shift = xp.where(split.constant, x[:, :1, :], xp.zeros_like(x[:, :1, :]))
    y = x - shift
    row = attended(split.u, y)
    rest = y - split.v * row
    row = row + shift
    a, b = weighted(row, split.w), weighted(rest, split.w)
    zero = xp.zeros((x.shape[0], 1, 1), dtype=xp.float64, device=x.device)
    unit = float(xp.finfo(x.dtype).eps) * xp.astype(split.sensitivity, xp.float64)
    size_u, size_w, size_y = norm(split.u), norm(split.w), norm(y)
    noise_row = log2(unit * (size_u * size_y + norm(shift)))
    noise_rest = log2(unit * (size_y + norm(split.v) * norm(row - shift)))
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


def of_plain_tokens(x: Array) -> State:
    """Cut (b, n, d) tokens, given exactly, into their mean and the rest, for measuring."""
    xp = namespace(x)
    first = x[:, :1, :]
    y = x - first
    shift = xp.mean(y, axis=-2, keepdims=True)
    rounding = float(xp.finfo(x.dtype).eps) * float(np.sqrt(x.shape[-2]))
    own = rounding * norm(y)
    noise_row = log2(own / float(np.sqrt(x.shape[-2])) + rounding * norm(first))
    rows = log2(rounding * xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True)))
    return plain_state(x, first + shift, y - shift, noise_row, log2(own), rows)


def plain_state(
    x: Array, centre: Array, rest: Array, noise_row: Array, noise_rest: Array, rows: Array
) -> State:
    """Return (b, n, d) float64 tokens as a state to be measured, nothing split off but their mean.

    ``centre`` and ``rest`` add up to x.  Where some token is further from the mean than half
    the mean's length tokens are kept as they stand, around 0, so that one may be 1e-300 of
    another.  ``noise_row``, ``noise_rest`` (b, 1, 1) and ``rows`` (b, n, 1): log2 of the
    absolute errors of centre, rest, and of each token.
    """
    xp = namespace(x)
    b, n, d = x.shape

    def full(shape: tuple[int, ...], value: Any, dtype: Any = None) -> Array:
        return xp.full(shape, value, dtype=x.dtype if dtype is None else dtype, device=x.device)

    zero, empty = full((b, 1, 1), 0.0), full((b, 1, 1), EMPTY)
    furthest = xp.max(xp.sum(rest * rest, axis=-1, keepdims=True), axis=-2, keepdims=True)
    apart = 4 * furthest >= xp.sum(centre * centre, axis=-1, keepdims=True)
    largest = xp.max(rows, axis=-2, keepdims=True) + 0.5 * float(np.log2(n))
    row = xp.where(apart, 0 * centre, centre)
    noise_row = xp.where(apart, empty, noise_row)
    split = Split(
        v=full((1, n, 1), 1.0),
        u=full((1, 1, n), 1.0 / n),
        w=full((1, d, 1), 0.0),
        z=full((1, 1, d), 0.0),
        lam=full((1, 1, 1), 1.0),
        mu=full((1, 1, 1), 0.0),
        constant=full((1, 1, 1), True, xp.bool),
        preserves_mean=~apart,
        means=full((1, 1, 1), 1.0),
        coupled=full((1, 1, 1), 0.0),
        sensitivity=full((1, 1, 1), 0.0),
        any_coupled=False,
        any_z=False,
        any_mean=False,
    )
    state = State(
        split,
        a=zero,
        r=row,
        b=full((b, n, 1), 0.0),
        R=xp.where(apart, x, rest),
        mean=row,
        e_a=empty,
        e_r=zero,
        e_b=empty,
        e_R=zero,
        e_mean=zero,
        noise=xp.concat([empty, noise_row, empty, xp.where(apart, largest, noise_rest), noise_row], axis=-1),
        rows=rows,
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
    if xp is np:  # asked dozens of times a layer, for few numbers
        return np.log2(x, out=np.full_like(x, EMPTY), where=positive)
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


def normalise(state: State) -> State:
    """Bring the largest entry of every part into [1, 2), exactly, through its exponent."""
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
    return replace(state, **values)


def shifted(state: State, exponent: Array) -> State:
    """Return the state times 2**exponent, exactly."""
    exponents = {f"e_{name}": getattr(state, f"e_{name}") + exponent for name in PARTS}
    rows = None if state.rows is None else state.rows + exponent
    return replace(state, **exponents, noise=state.noise + exponent, rows=rows, samples=(), enlarged=None)


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
    """Put states, (b, n, d) each, behind each other: (len(states) b, n, d)."""
    if len(states) == 1:
        return states[0]
    xp = namespace(states[0].R)
    parts = [f.name for f in fields(State) if f.name not in ("split", "attention", "samples")]
    b = batch_of(states[0])

    def joined(arrays: list[Array]) -> Array:
        return xp.concat([xp.broadcast_to(x, (b, *x.shape[1:])) for x in arrays], axis=0)

    for name in ("rows", "enlarged"):
        if any(getattr(state, name) is None for state in states):  # known of all of them, or of none
            parts.remove(name)
    values = {name: joined([getattr(state, name) for state in states]) for name in parts}

    def cut(name: str) -> Any:
        own = [getattr(state.split, name) for state in states]
        shared = all(x is own[0] for x in own)
        if isinstance(own[0], bool) or (shared and own[0].shape[0] == 1):
            return own[0]
        return joined(own)  # states that are cut anew at every layer may differ

    samples = tuple(stacked(same) for same in zip(*[state.samples for state in states], strict=True))
    return State(Split(**{f.name: cut(f.name) for f in fields(Split)}), **values, samples=samples)


def assemble(state: State) -> tuple[Array, Array]:
    """Return the full (b, n, d) state as (mantissa, exponent)."""
    row, e_row = combine(state.a * state.split.z, state.e_a, state.r, state.e_r)
    rest, e_rest = combine(state.b * state.split.z, state.e_b, state.R, state.e_R)
    return combine(state.split.v * row, e_row, rest, e_rest)
