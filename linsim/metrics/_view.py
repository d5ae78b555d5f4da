"""A stack of states as metrics see it, with what several of them need worked out once."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from .. import _kernels
from .._namespace import Array, namespace
from .._state import EMPTY, Split, State, add_log2, combine, log2, norm, normalise, shifted
from ._arithmetic import by_part, largest, log
from ._compiled import Compiled
from ._directions import Directions, directions_of
from ._leading_pair import Leading, leading_pair
from ._metric import Layer
from ._singular import Singular, singular_of
from ._sums import Angles, Content, angles_of, content_of

__all__ = ["View"]


class View:
    """States of b systems, whole and in parts.

    Attributes
    ----------
    state : State
        In invariant parts (see ``linsim._state``), with the noise of each.
    zero_rows : array (b, n, 1) bool, or None
        Tokens that are known to be exactly zero.
    layer : Layer
        The attention that the tokens go into, and a mask or weights of them.
    weights : array (b or 1, n, 1) float64, or None
        How often each token counts, the largest 1; None: all of them alike.
    row, rest, full : pairs (mantissa, exponent)
        The (b, 1, d) row that ``state.split.v`` carries, what is left, and the tokens (b, n, d);
        exponents are (b, 1, 1).  Of tokens that do not count the rest is 0.
    """

    def __init__(self, state: State, zero_rows: Array | None = None, layer: Layer | None = None) -> None:
        self.layer = layer or Layer()
        self.weights = self.ln_largest = None
        if self.layer.tokens is not None:
            xp = namespace(self.layer.tokens)
            largest_weight = xp.max(self.layer.tokens, axis=-2, keepdims=True)
            self.weights, self.ln_largest = self.layer.tokens / largest_weight, log(largest_weight)
            state = _alone(_left(state, self.weights > 0), self.weights > 0)
        self.state, self.zero_rows = state, zero_rows

    @cached_property
    def _compiled(self) -> Compiled | None:
        """Kernels for these states, None where they are not NumPy's or nothing is compiled."""
        ready = namespace(self.state.R) is np and _kernels.ready("views", "float64")
        return Compiled(self.state) if ready else None

    @cached_property
    def row(self) -> tuple[Array, Array]:
        """The row that v carries."""
        state = self.state
        return combine(state.a * state.split.z, state.e_a, state.r, state.e_r)

    @cached_property
    def rest(self) -> tuple[Array, Array]:
        """What is left."""
        state = self.state
        return combine(state.b * state.split.z, state.e_b, state.R, state.e_R)

    @cached_property
    def full(self) -> tuple[Array, Array]:
        """The tokens."""
        return combine(self.state.split.v * self.row[0], self.row[1], *self.rest)

    @cached_property
    def top(self) -> Array:
        """The exponent of the state, (b, 1, 1), 0 for nothing.

        A logarithm of 1e9 has no digits left for a ratio of two: sizes refer to the state's own.
        """
        state = self.state
        e_full = largest(state.e_a, state.e_r, state.e_b, state.e_R)
        return namespace(e_full).where(e_full > EMPTY / 2, e_full, namespace(e_full).zeros_like(e_full))

    def at_own_scale(self) -> tuple[State, tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]:
        """Return the state over 2**top, and row, rest and full of that."""
        top = self.top
        parts = ((x, e - top) for x, e in (self.row, self.rest, self.full))
        return (shifted(self.state, -top), *parts)  # type: ignore[return-value]

    @cached_property
    def counted(self) -> View:
        """The same with each row times the root of its weight: singular values and norms are of that."""
        if self.weights is None:
            return self
        xp, w = namespace(self.weights), self.weights
        none = ~(w > 0) if self.zero_rows is None else self.zero_rows | ~(w > 0)
        scaled_rows = View(_rows_times(self.state, xp.sqrt(w)), none)
        # of the tokens, not of the rows: each knows its weight still
        scaled_rows.layer, scaled_rows.weights = self.layer, self.weights
        scaled_rows.__dict__["counted"] = scaled_rows
        return scaled_rows

    @property
    def exists(self) -> Array:
        """Whether some token that counts is not zero, (b, 1, 1) bool."""
        if self.weights is None:
            return self.content.largest > 0
        xp = namespace(self.full[0])
        return xp.max(xp.abs(self.counted.full[0]), axis=(-1, -2), keepdims=True) > 0

    @cached_property
    def content(self) -> Content:
        """Sizes of the mean over tokens and of what is left of each."""
        if self.weights is None and self._compiled is not None:
            return self._compiled.content()
        return content_of(self)

    @cached_property
    def leading(self) -> Leading:
        """The leading pair of singular vectors, and the minors."""
        view = self.counted
        return leading_pair(view.state) if view._compiled is None else view._compiled.leading()

    @cached_property
    def angles(self) -> Angles:
        """How far rows are off one line, and the rows as they stand."""
        if self.weights is None and self._compiled is not None:
            self.leading  # noqa: B018  # the kernel starts from it
            return self._compiled.angles(self.zero_rows)
        return angles_of(self)

    @cached_property
    def singular(self) -> Singular:
        """All singular values."""
        leading, view = self.leading, self.counted
        return singular_of(leading, None if view._compiled is None else view._compiled.for_singular_values())

    @cached_property
    def directions(self) -> Directions:
        """The tokens as unit vectors, and how far they are off one line."""
        view = self.counted
        return directions_of(view.leading, view.state, view.row, view.rest, view.full, view.zero_rows)

    @cached_property
    def centred(self) -> View:
        """The tokens less their mean."""
        xp, state, w = namespace(self.state.R), self.state, self.weights
        split = state.split

        def less_mean(x: Array) -> Array:
            if w is None:
                return x - xp.mean(x, axis=-2, keepdims=True)
            w_x = xp.astype(w, x.dtype)
            total = xp.sum(w_x, axis=-2, keepdims=True)
            return (x - xp.sum(w_x * x, axis=-2, keepdims=True) / total) * xp.astype(w > 0, x.dtype)

        # a row that all tokens share leaves nothing, and none of its rounding
        v = xp.where(split.constant, xp.zeros_like(split.v), less_mean(split.v))
        b, n, _ = state.R.shape
        v = xp.broadcast_to(v, (max(v.shape[0], 1), n, 1))
        nothing = xp.broadcast_to(split.constant, (b, 1, 1))
        noise = xp.concat(
            [
                xp.where(nothing, xp.full_like(state.noise[:, :, :2], EMPTY), state.noise[:, :, :2]),
                state.noise[:, :, 2:],
            ],
            axis=-1,
        )
        e_a, e_r = (
            xp.where(
                nothing, xp.full_like(nothing, EMPTY, dtype=xp.float64), xp.broadcast_to(e, nothing.shape)
            )
            for e in (state.e_a, state.e_r)
        )
        a, r = (xp.where(nothing, xp.zeros_like(x), x) for x in (state.a, state.r))
        cut = replace(_plain(split), v=v)
        less = replace(
            state, split=cut, a=a, r=r, e_a=e_a, e_r=e_r, b=less_mean(state.b), R=less_mean(state.R),
            noise=noise, rows=None, samples=(), enlarged=None,
        )  # fmt: skip
        return View(normalise(less), None, self.layer)

    @property
    def lapack(self) -> int:
        """How many matrices a kernel left to LAPACK so far."""
        own = self.singular.lapack if "singular" in vars(self) else 0
        return own + (self.centred.lapack if "centred" in vars(self) else 0)


def _left(state: State, which: Array) -> State:
    """The state with the rest of all tokens but these set to 0; means over all tokens say nothing more."""
    xp = namespace(state.R)
    keep = xp.astype(which, state.R.dtype)
    v = state.split.v
    v = xp.where(state.split.constant, v, v * keep)
    split = replace(_plain(state.split), v=v, constant=state.split.constant)
    return normalise(
        replace(state, split=split, b=state.b * keep, R=state.R * keep, samples=(), enlarged=None)
    )


def _alone(state: State, which: Array) -> State:
    """The state with a token that is the only one that counts as the common row: nothing differs from it."""
    xp, split = namespace(state.R), state.split
    alone = xp.sum(xp.astype(which, xp.float64), axis=-2, keepdims=True) == 1
    if not bool(xp.any(alone)):
        return state
    row = combine(state.a * split.z, state.e_a, state.r, state.e_r)
    rest = combine(state.b * split.z, state.e_b, state.R, state.e_R)
    full, exponent = combine(split.v * row[0], row[1], *rest)
    token = xp.sum(full * xp.astype(which, full.dtype), axis=-2, keepdims=True)
    noise_a, noise_r, noise_b, noise_R, _ = by_part(state.noise)
    noise = add_log2(add_log2(noise_a, noise_r) + log2(norm(split.v)), add_log2(noise_b, noise_R))
    empty = xp.full_like(noise, EMPTY)
    own = {"r": (token, exponent), **{k: (xp.zeros_like(getattr(state, k)), empty) for k in "abR"}}
    parts = {k: xp.where(alone, x, getattr(state, k)) for k, (x, _) in own.items()}
    exponents = {f"e_{k}": xp.where(alone, e, getattr(state, f"e_{k}")) for k, (_, e) in own.items()}
    noise = xp.where(alone, xp.concat([empty, noise, empty, empty, noise], axis=-1), state.noise)
    v = xp.where(alone, xp.ones_like(split.v), split.v)
    split = replace(split, v=v, constant=split.constant | alone)
    return normalise(replace(state, split=split, **parts, **exponents, noise=noise))


def _rows_times(state: State, factor: Array) -> State:
    """The state with its rows times factors of at most 1, (b or 1, n, 1)."""
    s = namespace(state.R).astype(factor, state.R.dtype, copy=False)
    rows = None if state.rows is None else state.rows + log2(factor)
    split = replace(_plain(state.split), v=state.split.v * s)
    return normalise(replace(state, split=split, b=state.b * s, R=state.R * s, rows=rows))


def _plain(split: Split) -> Split:
    """A split of which nothing is known but its vectors."""
    xp = namespace(split.v)
    no = xp.zeros_like(split.constant)
    return replace(
        split, constant=no, preserves_mean=no, any_coupled=False, any_z=split.any_z, any_mean=False
    )
