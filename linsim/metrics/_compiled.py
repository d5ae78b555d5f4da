"""NumPy states in compiled kernels: sums over their tokens, and the fourteen default metrics in one go.

What the sums are says ``_sums.py``; what follows, ``_similarity.py``, ``_angle.py`` and ``_rank.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _kernels
from .._kernels.slots import ANGULAR, RANKS, SIZES
from .._namespace import namespace
from .._state import PARTS, State
from .._types import HostArray
from ._leading_pair import Leading
from ._metric import Measured
from ._sums import Angles, Content

__all__ = ["Compiled", "in_kernels"]

_ALL = frozenset((*SIZES, *ANGULAR, *RANKS))


def in_kernels(
    state: State, names: tuple[str, ...], zero_rows: HostArray | None
) -> tuple[dict[str, Measured], int] | None:
    """Measure NumPy states whose tokens all count alike, as ``evaluate`` does; None where kernels cannot."""
    if not _ALL.issuperset(names) or namespace(state.R) is not np or state.R.shape[-2] == 1:
        return None
    return Compiled(state).metrics(names, zero_rows) if _kernels.ready("sums", "float64") else None


class Compiled:
    """The parts of b states as kernels take them: float64 and contiguous."""

    def __init__(self, state: State) -> None:
        split = state.split
        self.state, self.unit = state, float(np.finfo(state.R.dtype).eps)
        self.size = max(x.shape[0] for x in (state.R, state.a, state.noise, split.v, split.z))
        n, d = state.R.shape[-2:]
        self.shape = (self.size, n, d)
        self.a = self._of(state.a, self.size)
        self.r, self.mean = self._of(state.r, self.size, d), self._of(state.mean, self.size, d)
        self.b, self.R = self._of(state.b, self.size, n), self._of(state.R, *self.shape)
        self.e = self._of(np.concatenate([self._each(f"e_{k}") for k in PARTS], axis=-1), self.size, 5)
        self.noise = self._of(state.noise, self.size, 5)
        self.v, self.z = (self._of(x, x.shape[0], k) for x, k in ((split.v, n), (split.z, d)))
        if self.v.shape[0] != self.z.shape[0]:  # one for all, or each its own
            self.v, self.z = self._of(split.v, self.size, n), self._of(split.z, self.size, d)

    def _each(self, name: str) -> HostArray:
        x = getattr(self.state, name)
        return x if x.shape[0] == self.size else np.broadcast_to(x, (self.size, 1, x.shape[-1]))

    def _of(self, x: Any, *shape: int) -> HostArray:
        x = np.reshape(x, (x.shape[0], *shape[1:]))
        x = x if x.shape == shape else np.broadcast_to(x, shape)
        return _kernels.frozen(x.astype(np.float64, copy=False))

    def metrics(self, names: tuple[str, ...], zero_rows: HostArray | None) -> tuple[dict[str, Measured], int]:
        """The metrics of these names, all of them default ones, and how many matrices LAPACK had to do."""
        from .._kernels.values import angular, ranks, sizes

        _kernels.announce(sizes, "float64")
        (n, d), wanted, redone = self.shape[1:], set(names), 0
        sums, cut = self._content()
        largest = sums[:, 0].copy()
        found: dict[str, tuple[HostArray, HostArray]] = {}

        def room(group: tuple[str, ...]) -> tuple[HostArray, HostArray]:
            values, errors = np.empty((len(group), self.size)), np.empty((len(group), self.size))
            found.update(zip(group, zip(values, errors, strict=True), strict=True))
            return values, errors

        if wanted.intersection(SIZES):
            sizes(sums, self.e, self.noise, self.v, *cut, n, self.unit, *room(SIZES))
        if not wanted.isdisjoint((*ANGULAR, *RANKS)):
            pairs = self._leading()
        if not wanted.isdisjoint(ANGULAR):
            around = self._angles(zero_rows)
            angular(around, pairs, largest, self.noise, n, d, self.unit, *room(ANGULAR))
        if not wanted.isdisjoint(RANKS):
            singular, redone = _kernels.singular_values(self.for_singular_values())
            singular = singular.astype(np.float64, copy=False)
            ranks(singular, pairs, largest, self.noise, self.unit, *room(RANKS))
        out = {name: Measured(*(x[:, None, None] for x in found[name])) for name in names}
        return out, redone

    def _content(self) -> tuple[HostArray, tuple[HostArray, HostArray]]:
        """What :func:`linsim._kernels.sums.content` writes, and how states are cut."""
        from .._kernels.sums import content

        _kernels.announce(content, "float64")
        split, out = self.state.split, np.empty((self.size, 6))
        constant, kept = (_kernels.frozen(np.ravel(x)) for x in (split.constant, split.preserves_mean))
        parts = (self.a, self.r, self.b, self.R, self.mean, self.e, self.v, self.z)
        content(*parts, constant, kept, out)
        return out, (constant, kept)

    def content(self) -> Content:
        """The mean over tokens and what is left of each."""
        out = self._content()[0]
        largest, high, e_high, low, e_low, farthest = np.moveaxis(out, -1, 0)[:, :, None, None]
        return Content(largest, high, e_high, low, e_low, farthest, e_high)

    def _leading(self) -> HostArray:
        """What :func:`linsim._kernels.sums.leading` writes."""
        from .._kernels.sums import leading

        _kernels.announce(leading, "float64")
        size, n, d = self.shape
        S, alpha, q, out = np.empty(self.shape), np.empty((size, n)), np.empty((size, d)), np.empty((size, 6))
        parts = (self.a, self.r, self.b, self.R, self.e, self.noise, self.v, self.z)
        leading(*parts, self.unit, S, alpha, q, out)
        self.pair = (S, alpha, q, out)
        return out

    def leading(self) -> Leading:
        """The leading pair of singular vectors, and the minors."""
        out = self._leading()
        S, alpha, q, _ = self.pair
        main, e, delta, split_off, noise, noise_main = np.moveaxis(out, -1, 0)[:, :, None, None]
        alpha, q, S = (
            x.astype(self.state.R.dtype, copy=False) for x in (alpha[:, :, None], q[:, None, :], S)
        )
        return Leading(main, alpha, q, S, e, delta, split_off > 0, noise, noise_main)

    def _angles(self, zero_rows: HostArray | None) -> HostArray:
        """What :func:`linsim._kernels.sums.angles` writes; asked after :meth:`leading`."""
        from .._kernels.sums import ANGLES, angles

        _kernels.announce(angles, "float64")
        size, n, _ = self.shape
        rows, out = self.state.rows, np.empty((size, len(ANGLES)))
        known = rows is not None
        held = self._of(rows if rows is not None else np.zeros((1, n, 1)), size, n)
        zero = np.zeros((1, n, 1), dtype=bool) if zero_rows is None else zero_rows
        zero = _kernels.frozen(np.broadcast_to(zero, (size, n, 1))[:, :, 0])
        parts = (self.a, self.r, self.b, self.R, self.e, self.v, self.z)
        angles(*parts, *self.pair, held, known, zero, self.unit, out)
        return out

    def angles(self, zero_rows: HostArray | None) -> Angles:
        """Angles of rows; asked after :meth:`leading`."""
        from .._kernels.sums import ANGLES

        out, n = self._angles(zero_rows), self.shape[1]
        sums: dict[str, HostArray] = dict(zip(ANGLES, np.moveaxis(out, -1, 0)[:, :, None, None], strict=True))
        for name in ("above", "one_side", "aligned"):
            sums[name] = sums[name] > 0
        pairs, m = n * (n - 1), sums["present"]
        plain = 1 - sums.pop("all_pairs") / pairs
        return Angles(**sums, absent=(pairs - m * (m - 1)) / pairs, plain=plain)

    def for_singular_values(self) -> HostArray:
        """What singular values are found of: minors where the leading pair is split off, else the whole."""
        from .._kernels.sums import for_singular_values

        out = np.empty(self.shape, dtype=self.state.R.dtype)
        for_singular_values(*self.pair, out)
        return out
