"""A stack of states as metrics see it, with what several of them need worked out once."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .. import _kernels
from .._namespace import Array, namespace
from .._state import EMPTY, State, combine, shifted
from ._arithmetic import largest
from ._compiled import Compiled
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
    row, rest, full : pairs (mantissa, exponent)
        The (b, 1, d) row that ``state.split.v`` carries, what is left, and the tokens (b, n, d);
        exponents are (b, 1, 1).
    """

    def __init__(self, state: State, zero_rows: Array | None = None, layer: Layer | None = None) -> None:
        self.state, self.zero_rows, self.layer = state, zero_rows, layer or Layer()
        compiled = namespace(state.R) is np and _kernels.usable()
        self._compiled = Compiled(state) if compiled else None

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
    def content(self) -> Content:
        """Sizes of the mean over tokens and of what is left of each."""
        return content_of(self) if self._compiled is None else self._compiled.content()

    @cached_property
    def leading(self) -> Leading:
        """The leading pair of singular vectors, and the minors."""
        return leading_pair(self.state) if self._compiled is None else self._compiled.leading()

    @cached_property
    def angles(self) -> Angles:
        """How far rows are off one line, and the rows as they stand."""
        if self._compiled is None:
            return angles_of(self)
        self.leading  # noqa: B018  # the kernel starts from it
        return self._compiled.angles(self.zero_rows)

    @cached_property
    def singular(self) -> Singular:
        """All singular values."""
        leading = self.leading
        return singular_of(leading, None if self._compiled is None else self._compiled.for_singular_values())

    @property
    def lapack(self) -> int:
        """How many matrices a kernel left to LAPACK so far."""
        return self.singular.lapack if "singular" in vars(self) else 0
