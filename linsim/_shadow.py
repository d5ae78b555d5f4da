"""Errors that travel along with a state: what its rounding has become, measured instead of bounded.

A layer maps an error as it maps the state itself, so beside the state runs an ensemble of
*shadows*: errors in the same invariant parts, in single precision, each moved at random after every
layer by as much as that layer rounds.  They grow where errors grow and die where errors die, row by
row and part by part, whatever the matrices do: transients of matrices far from normal, parts that
cancel, tokens of any size.  The noise of a part is their root mean square, times SAFETY.

What a layer rounds, entry by entry (sums of k products of either sign lose about a fifth of
eps times the root of their summed squares and of k, by the usual random model of rounding; Higham
and Mary 2019): by H, row i loses in proportion to |R_i| |H_k|, and by A, whose row mixes errors of
different tokens, the root of the squares of what it looks at.  A third of it is the same at every
layer, as is the rounding of A and of eigenvalues, which follows the sign of what a layer changes.

In single precision the shadows are also handed out as they are, as samples of the state for
:mod:`linsim.metrics`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import numpy as np

from ._namespace import Array, exponent_of, namespace
from ._one_product import attended, lengths, weighted
from ._small_rows import SmallRows, lengths_of
from ._state import (
    EMPTY,
    PARTS,
    Split,
    State,
    assemble,
    between_rescalings,
    combine,
    log2,
    norm,
    normalise,
    scaled,
)
from ._types import EPS

__all__ = ["BUDGET", "COUNT", "SAFETY", "Shadows", "begin", "heads_of", "patterns"]

#: shadows of a state
COUNT = 3
#: by how much their root mean square is enlarged, so that 99.9 % of errors of metrics are below their bounds
SAFETY = 3.0
# of the patterns by which shadows are moved, one after the other
_POOL = 8
_FIXED = 0.3
#: bits by which entries may grow between rescalings
BUDGET = 50.0
# what sums of either sign round, for each root of their terms, and what a result does, of itself
_SUM, _ENTRY = 0.2, 0.3


# sizes of what a layer rounds in a part, its exponents, and what the layer changes
_Rounded = tuple[Array, Array, Array]


@dataclass(frozen=True, eq=False)
class _Rest:
    """What a layer rounds in R, (b or 1, n, d), before it is worked out entry by entry.

    Its size: the root of plain^2 and of the square of each of ``turned`` (b or 1, n, 1) times its column
    (b or 1, 1, d).
    """

    before: Array
    after: Array
    plain: Array
    turned: list[Array]
    columns: list[Array]
    condition: Array
    exponent: Array

    def whole(self) -> _Rounded:
        """Sizes, exponents and changes."""
        xp, size = namespace(self.plain), self.plain
        for turned, column in zip(self.turned, self.columns, strict=True):
            size = xp.hypot(size, turned * column)
        return size * self.condition, self.exponent, self.after - self.before

    def rows(self) -> _Rounded:
        """The largest size of each row, at least, (b or 1, n, 1), in their place; and no changes."""
        xp, size = namespace(self.plain), self.plain
        for turned, column in zip(self.turned, self.columns, strict=True):
            size = xp.hypot(size, turned * xp.max(column, axis=-1, keepdims=True))
        return size * self.condition, self.exponent, xp.zeros_like(size)

    def moved(
        self, errors: Array, e: Array, patterns: tuple[Array, Array, Array], sign: float
    ) -> tuple[Array, Array] | None:
        """Errors (b, COUNT, n, d) and their exponents behind the layer; None where no kernel does that."""
        from ._cuda.large import moved

        xp, exponent = namespace(errors), self.exponent[:, None, :, :]
        top = xp.maximum(e, exponent)
        one = xp.ones((1, 1, 1, 1), dtype=errors.dtype)
        keep, add = scaled(one, e - top), scaled(one, exponent - top)
        sizes = self.plain * self.condition, [x * self.condition for x in self.turned]
        found = moved(errors, self.before, self.after, *sizes, self.columns, patterns, sign, keep, add)
        return None if found is None else (found, top)


@dataclass(frozen=True, eq=False)
class Heads:
    """A layer's matrices as shadows see them: with an axis for the ensemble; and their sizes.

    They are float32, unless (``wide``) they have entries that leave its range within a layer.
    """

    pairs: Sequence[tuple[Array, Array]]
    wide: bool
    attention: list[Array]  # |A|, (b or 1, n, n) of the states' dtype
    squares: list[Array]  # A^2, entry by entry
    columns: list[Array]  # norms of the columns of H, (b or 1, 1, d)


def heads_of(heads: Sequence[tuple[Array, Array]], wide: bool | None = None) -> Heads:
    """Prepare the pairs (A_h, H_h) of a layer; ``wide``: whether they are, None to look."""
    xp = namespace(heads[0][0])
    if wide is None:
        wide = any(bool(xp.max(xp.abs(M)) > 2.0**BUDGET) for pair in heads for M in pair)

    def placed(M: Array) -> Array:
        return xp.astype(M, xp.float64 if wide else xp.float32)[:, None, :, :]

    return Heads(
        [(placed(A), placed(H)) for A, H in heads],
        wide,
        [xp.abs(A) for A, _ in heads],
        [A * A for A, _ in heads],
        [xp.sqrt(xp.sum(H * H, axis=-2, keepdims=True)) for _, H in heads],
    )


@dataclass(frozen=True, eq=False)
class Shadows:
    """COUNT errors of each of b states: a State of float32 arrays (b, COUNT, ., .)."""

    errors: State
    pools: dict[str, Array]
    fixed: dict[str, Array]
    drift: dict[str, Array]
    condition: Array
    every: int
    small: SmallRows
    splits: tuple[Split, ...]  # the vectors that cut the states as they might have been rounded, one for each
    hopes: Array | None = None  # 0-d bool: whether hoping that all stays in range was right so far

    def step(
        self,
        before: State,
        after: State,
        heads: Heads,
        layer: int,
        advance: Callable[[State, Sequence[tuple[Array, Array]]], State],
    ) -> Shadows:
        """Take the errors through the layer that led from ``before`` to ``after``, of the same exponents."""
        errors = advance(_cast(self.errors, "float64") if heads.wide else self.errors, heads.pairs)
        moved: dict[str, Array] = {}
        rest, others = _rounded(before, after, heads, self.condition)
        place, sign = layer % _POOL, 1.0 if layer // _POOL % 2 else -1.0
        # a kernel has no array of sizes, and keeps to the range that everything is hoped to stay in
        in_kernel = None
        if self.hopes is not None and not heads.wide and array_api_compat.is_cupy_array(errors.R):
            patterns = self.pools["R"][place, ...], self.fixed["R"], self.drift["R"]
            in_kernel = rest.moved(errors.R, errors.e_R, patterns, sign)
        rounded = {"R": rest.rows() if in_kernel else rest.whole()} | others
        errors, rounded, hopes = _in_range(errors, rounded, self.hopes)
        if in_kernel:
            moved["R"], moved["e_R"] = in_kernel
            del rounded["R"]
        for name, (size, exponent, change) in rounded.items():
            xp = namespace(size)
            pattern = self.pools[name][place, ...]
            pattern = (pattern if sign > 0 else -pattern) + self.fixed[name]
            held, e = getattr(errors, name), getattr(errors, f"e_{name}")
            move = xp.astype(size[:, None, :, :], held.dtype) * pattern
            move = move + xp.astype(change[:, None, :, :], held.dtype) * self.drift[name]
            moved[name], moved[f"e_{name}"] = combine(held, e, move, exponent[:, None, :, :])
        errors = replace(errors, **moved)
        if (layer + 1) % self.every == 0 or heads.wide:
            errors = normalise(errors)
        return replace(self, errors=_cast(errors, "float32") if heads.wide else errors, hopes=hopes)

    def measured(self, state: State, layer: int) -> State:
        """Return ``state``, at ``layer``, with its noise, and that of each of its rows."""
        errors = self.errors
        xp = namespace(errors.R)
        parts = [_mean_square(log2(norm(getattr(errors, k))) + getattr(errors, f"e_{k}")) for k in PARTS]
        full, e = assemble(errors)
        # the ensemble may be far smaller than a float's range below its largest row
        rows = log2(xp.sqrt(xp.sum(xp.astype(full, xp.float64) ** 2, axis=-1, keepdims=True))) + e
        noise = xp.concat(xp.broadcast_arrays(*parts), axis=-1)
        rows = _mean_square(rows)
        state = replace(state, noise=noise, rows=rows)
        if layer > 0:
            state = self.small.told(state, xp.full_like(noise[0, 0, :1], float(layer)))
        if state.R.dtype == xp.float64:
            return state
        return replace(state, samples=self.samples(state))

    def samples(self, state: State) -> tuple[State, ...]:
        """The state off by each of the errors, in double precision."""
        xp = namespace(state.R)

        def off(name: str, k: int) -> tuple[Array, Array]:
            pair = []
            for x in (getattr(state, name), getattr(self.errors, name)[:, k, ...]):
                pair.append(xp.astype(x, xp.float64))
            return combine(
                pair[0], getattr(state, f"e_{name}"), pair[1], getattr(self.errors, f"e_{name}")[:, k, ...]
            )

        out = []
        for k in range(COUNT):
            moved = {}
            for name in PARTS:
                moved[name], moved[f"e_{name}"] = off(name, k)
            out.append(replace(state, split=self.splits[k], **moved))
        return tuple(out)


def _in_range(
    errors: State, rounded: dict[str, _Rounded], hopes: Array | None
) -> tuple[State, dict[str, _Rounded], Array | None]:
    """Errors and what a layer rounds, within the range of single precision; and whether ``hopes`` are right.

    Layers that all but cancel the state leave it before it is rescaled.
    """
    xp = namespace(errors.R)
    fits = functools.reduce(xp.logical_and, [_fits(size) for size, _, _ in rounded.values()])
    if hopes is not None:
        return errors, rounded, hopes & fits
    if xp is not np:  # both ways: nobody waits for a device to say which
        lowered = normalise(errors)
        names = [*PARTS, *(f"e_{name}" for name in PARTS)]
        errors = replace(
            errors, **{k: xp.where(fits, getattr(errors, k), getattr(lowered, k)) for k in names}
        )
    elif fits:
        return errors, rounded, None
    else:
        errors = normalise(errors)
    return errors, {name: _at_own_scale(*one, ~fits) for name, one in rounded.items()}, None


def _fits(size: Array) -> Array:
    """Whether all sizes (b, ., .) are far above the least number of single precision, or zero."""
    xp = namespace(size)
    top = xp.max(size, axis=(-1, -2))
    return ~xp.any((top > 0) & (top < 2.0**-BUDGET))


def _at_own_scale(size: Array, exponent: Array, change: Array, which: Array) -> _Rounded:
    """Return (size, exponent, change) with the largest size of each system about 1, if ``which``."""
    xp = namespace(size)
    up = exponent_of(xp.max(size, axis=(-1, -2), keepdims=True))
    up = xp.where((up == -xp.inf) | ~which, xp.zeros_like(up), up)
    return scaled(size, -up), exponent + up, scaled(change, -up)


def _cast(errors: State, dtype: str) -> State:
    xp = namespace(errors.R)
    return replace(errors, **{k: xp.astype(getattr(errors, k), getattr(xp, dtype)) for k in PARTS})


def _mean_square(lengths: Array) -> Array:
    """log2 of SAFETY times the root mean square over the ensemble, of log2 lengths (b, COUNT, ., 1)."""
    xp = namespace(lengths)
    lengths = xp.maximum(lengths, xp.full_like(lengths, EMPTY))
    top = xp.max(lengths, axis=1, keepdims=True)
    square = xp.mean(
        xp.exp(2 * float(np.log(2)) * xp.clip(lengths - top, -200.0, 0.0)), axis=1, keepdims=True
    )
    return (top + 0.5 * xp.log2(square) + float(np.log2(SAFETY)))[:, 0, ...]


def _rounded(
    before: State, after: State, heads: Heads, condition: Array
) -> tuple[_Rest, dict[str, _Rounded]]:
    """What a layer rounds in R, and in every other part.

    Of those sizes (b, ., .), exponents (b, 1, 1), and its changes in that unit.

    What is the same at every layer, as the rounding of A or of an eigenvalue, is in proportion to
    what the layer changes, with its sign: it adds up where the state alternates as well.
    """
    split = before.split
    xp = namespace(before.R)
    n, d = before.R.shape[-2:]
    unit = float(np.log2(float(xp.finfo(before.R.dtype).eps)))
    by_weights, by_attention = _SUM * float(np.sqrt(1 + n / d)), _SUM * float(np.sqrt(n))

    entry = _ENTRY / float(np.sqrt(d))
    rows, row = lengths(before.R), lengths(before.r)
    r, turned = entry * lengths(after.r), []
    for A, column in zip(heads.squares, heads.columns, strict=True):
        turned.append(by_weights * xp.sqrt(attended(A, rows * rows)))
        r = r + by_weights * row * column
    rest = _Rest(
        before.R, after.R, entry * lengths(after.R), turned, heads.columns, condition, before.e_R + unit
    )
    # where the eigenvalue is 1 nothing of it is the same at every layer
    change = xp.where(split.constant, 0.3 * (after.r - before.r), after.r - before.r)
    out = {"r": (r * condition, before.e_r + unit, change)}
    if split.any_coupled:
        # what R feeds into r, at the larger of their scales
        fed = by_attention * norm(split.u) * norm(after.R) / float(np.sqrt(d))
        fed = split.coupled * xp.astype(fed, before.R.dtype)
        size, exponent = combine(r * condition, before.e_r, fed, before.e_R)
        out["r"] = (size, exponent + unit, scaled(change, before.e_r - exponent))
    if split.any_z:
        own = xp.astype(xp.abs(split.mu), before.b.dtype) * attended(heads.attention[0], xp.abs(before.b))
        size = by_attention * own + _ENTRY * xp.abs(after.b)
        out["b"] = (size * condition, before.e_b + unit, after.b - before.b)
        # an eigenvalue u M v is off by eps |u| |v| |M|, the same at every layer; found in double precision,
        # only what rounding M to single precision has done to it (the constant vector's is 1 whatever M)
        size_A, size_H = norm(heads.attention[0]), norm(heads.columns[0])
        finer = EPS / float(xp.finfo(before.R.dtype).eps)
        turned = finer * xp.abs(split.lam) * size_H * norm(split.w) * norm(split.z)
        held = xp.where(split.constant, xp.full_like(size_A, finer), xp.ones_like(size_A))
        turned = turned + held * xp.abs(split.mu) * size_A * norm(split.u) * norm(split.v)
        mode = _ENTRY * xp.abs(after.a) + 0.3 * xp.astype(turned, before.a.dtype) * xp.abs(before.a)
        out["a"] = (mode, before.e_a + unit, after.a if unit < -30 else xp.zeros_like(after.a))
    if split.any_mean:
        mean, size = lengths(before.mean), entry * lengths(after.mean)
        for column in heads.columns:
            size = size + by_weights * mean * column
        out["mean"] = (size, before.e_mean + unit, after.mean - before.mean)
    return rest, out


def begin(state: State, growth: float, hope: bool = False) -> Shadows:
    """The errors with which a state starts: those that its noise tells of, each row its share.

    ``growth``: log2 of what a layer can enlarge an entry by; ``hope``: that none all but cancels a state.
    """
    xp, split = namespace(state.R), state.split
    b, n, d = state.R.shape
    b = max(b, state.noise.shape[0])
    device = array_api_compat.device(state.R)
    shapes = _shapes(n, d)

    def placed(drawn: dict[str, np.ndarray[Any, Any]]) -> dict[str, Array]:
        return {name: xp.asarray(x, dtype=xp.float32, device=device) for name, x in drawn.items()}

    pools, fixed, drift, first = (placed(drawn) for drawn in patterns(n, d)[:4])
    single = split.map(lambda x: x[:, None, ...] if x.dtype == xp.bool else _single(x))
    noise = xp.broadcast_to(state.noise, (b, 1, len(PARTS)))
    values: dict[str, Any] = {}
    by_w = xp.log2(1 + norm(split.w))
    for k, (name, shape) in enumerate(shapes.items()):
        e = noise[:, :, k : k + 1]
        if split.any_z and name != "mean":
            # a and b take their shares of r and R with them, and round by half as much themselves
            e = e - (by_w if name in ("r", "R") else xp.ones_like(by_w))
        whole = xp.where(e > EMPTY / 2, xp.floor(e), xp.full_like(e, EMPTY))
        size = xp.where(e > EMPTY / 2, xp.exp((e - whole) * float(np.log(2))), xp.zeros_like(e))
        if name in ("R", "b"):
            part = getattr(state, name)
            rows = xp.sqrt(xp.sum(part * part, axis=-1, keepdims=True))
            length = norm(part)
            known = length > 0
            spread = xp.astype(rows, xp.float64) / xp.where(known, length, xp.ones_like(length))
            # vectors that cut a state are off in every entry, whatever its size
            even = xp.ones_like(spread) / float(np.sqrt(n))
            size = size * xp.where(known, 0.7 * spread + 0.3 * even, even)
        size = xp.astype(size / float(np.sqrt(shape[1])), xp.float32)
        values[name] = size[:, None, :, :] * first[name]
        values[f"e_{name}"] = xp.broadcast_to(whole[:, None, :, :], (b, COUNT, 1, 1))
    for part, share in (("r", "a"), ("R", "b")) if split.any_z else ():
        taken = weighted(values[part], single.w)
        values[part] = values[part] - taken * single.z
        e, e_share = values[f"e_{part}"], values[f"e_{share}"]
        values[share], values[f"e_{share}"] = combine(taken, e, values[share], e_share)
    lengths = norm(split.u) * norm(split.v)
    if split.any_z:
        lengths = lengths + norm(split.w) * norm(split.z)
    condition = xp.astype(xp.maximum(0.15 * lengths, xp.ones_like(lengths)), state.R.dtype)
    every = min(between_rescalings(pools["R"], 1), max(1, int(BUDGET / max(growth, 1.0))))
    errors = State(single, **values, noise=state.noise)
    splits: tuple[Split, ...] = ()
    if state.R.dtype != xp.float64:
        splits = tuple(_rounded_otherwise(split, placed(turned)) for turned in patterns(n, d)[4:])
    hopes = xp.asarray(True, device=device) if hope else None
    full, e = assemble(state)
    small = SmallRows(lengths_of(full) + e)
    return Shadows(normalise(errors), pools, fixed, drift, condition, every, small, splits, hopes)


def _rounded_otherwise(split: Split, turned: dict[str, Array]) -> Split:
    """The split with vectors as far off as theirs, which were rounded to the dtype of the states."""
    xp = namespace(split.v)
    unit = 0.25 * float(xp.finfo(split.v.dtype).eps)

    def moved(name: str) -> Array:
        x = xp.astype(getattr(split, name), xp.float64)
        return x + unit * x * xp.astype(turned[name], xp.float64)

    v = xp.where(split.constant, xp.astype(split.v, xp.float64), moved("v"))
    return replace(split, v=v, z=moved("z"))


def _shapes(n: int, d: int) -> dict[str, tuple[int, int]]:
    return {"a": (1, 1), "r": (1, d), "b": (n, 1), "R": (n, d), "mean": (1, d)}


@functools.lru_cache(maxsize=4)  # a run of a small system takes hardly longer than drawing them
def patterns(n: int, d: int) -> tuple[dict[str, np.ndarray[Any, Any]], ...]:
    """Normal numbers, float32, by part: the pools, what is fixed, the drift, and with what errors begin.

    Then, for each shadow, by which v and z are off.
    """
    generator = np.random.default_rng(0)
    shapes = _shapes(n, d)

    def normal(*shape: int, size: float = 1.0) -> np.ndarray[Any, Any]:
        return np.float32(size) * generator.standard_normal(shape).astype(np.float32)

    pools = {name: normal(_POOL, COUNT, *shape) for name, shape in shapes.items()}
    fixed, drift = (
        {name: normal(COUNT, *shape, size=_FIXED) for name, shape in shapes.items()} for _ in range(2)
    )
    # a pattern of their own: those of the first layers would make up for a part of them
    first = {name: normal(1, COUNT, *shape) for name, shape in shapes.items()}
    turned = ({"v": normal(1, n, 1), "z": normal(1, 1, d)} for _ in range(COUNT))
    return pools, fixed, drift, first, *turned


def _single(x: Array) -> Array:
    xp = namespace(x)
    fits = bool(xp.max(xp.abs(x)) <= 2.0**BUDGET)  # an eigenvalue may not, of wide layers
    return xp.astype(x, xp.float32 if fits else x.dtype)[:, None, ...]
