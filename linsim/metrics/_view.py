"""A stack of states as metrics see it, with what several of them need worked out once."""

from __future__ import annotations

from functools import cached_property

from .._namespace import Array, namespace
from .._state import EMPTY, State, combine, shifted
from ._leading_pair import Leading, leading_pair
from ._metric import Layer
from ._singular import Singular, singular_of

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
    row, rest, full : pairs (mantissa, exponent)
        The (b, 1, d) row that ``state.split.v`` carries, what is left, and the tokens (b, n, d);
        exponents are (b, 1, 1).
    """

    def __init__(self, state: State, zero_rows: Array | None = None, layer: Layer | None = None) -> None:
        self.state, self.zero_rows, self.layer = state, zero_rows, layer or Layer()
        self.row = combine(state.a * state.split.z, state.e_a, state.r, state.e_r)
        self.rest = combine(state.b * state.split.z, state.e_b, state.R, state.e_R)
        self.full = combine(state.split.v * self.row[0], self.row[1], *self.rest)

    @cached_property
    def top(self) -> Array:
        """The exponent of the state, (b, 1, 1), 0 for nothing.

        A logarithm of 1e9 has no digits left for a ratio of two: sizes refer to the state's own.
        """
        e_full = self.full[1]
        return namespace(e_full).where(e_full > EMPTY / 2, e_full, namespace(e_full).zeros_like(e_full))

    def at_own_scale(self) -> tuple[State, tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]:
        """Return the state over 2**top, and row, rest and full of that."""
        top = self.top
        parts = ((x, e - top) for x, e in (self.row, self.rest, self.full))
        return (shifted(self.state, -top), *parts)  # type: ignore[return-value]

    @cached_property
    def leading(self) -> Leading:
        """The leading pair of singular vectors, and the minors."""
        return leading_pair(self.state)

    @cached_property
    def singular(self) -> Singular:
        """All singular values."""
        return singular_of(self.leading)

    @property
    def lapack(self) -> int:
        """How many matrices a kernel left to LAPACK so far."""
        return self.singular.lapack if "singular" in vars(self) else 0
