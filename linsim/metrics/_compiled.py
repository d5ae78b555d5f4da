"""NumPy states in compiled kernels: sums over their tokens, and the fourteen default metrics in one go.

What the sums are says ``_sums.py``; what follows, ``_similarity.py``, ``_angle.py`` and ``_rank.py``.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from .. import _kernels
from .._gram import of_squares, singular_values, values_of_minors
from .._kernels.slots import ANGLES, ANGULAR, RANKS, SIZES
from .._namespace import namespace
from .._state import PARTS, Split, State
from .._types import HostArray
from ._leading_pair import Leading
from ._metric import Measured
from ._sums import Angles, Content

__all__ = ["Compiled", "given_in_kernels", "in_kernels"]

_GROUPS = tuple(map(frozenset, (SIZES, ANGULAR, RANKS)))
_PLACES = {name: k for k, name in enumerate((*SIZES, *ANGULAR, *RANKS))}


def in_kernels(
    state: State, names: tuple[str, ...], zero_rows: HostArray | None
) -> tuple[dict[str, Measured], int] | None:
    """Measure NumPy states whose tokens all count alike, as ``evaluate`` does; None where kernels cannot."""
    if not _PLACES.keys() >= set(names) or namespace(state.R) is not np or state.R.shape[-2] == 1:
        return None
    return Compiled(state).metrics(names, zero_rows) if _kernels.ready("sums", "float64") else None


def given_in_kernels(x: HostArray) -> State:
    """Cut (b, n, d) float64 tokens, given exactly, as ``as_given`` does."""
    from .._kernels.begin import given

    _kernels.announce(given, "float64")
    b, n, d = x.shape
    R, r, e, noise = np.empty((b, n, d)), np.empty((b, 1, d)), np.empty((b, 1, 5)), np.empty((b, 1, 5))
    rows, kept = np.empty((b, n, 1)), np.empty(b, dtype=bool)
    given(_kernels.frozen(x), R, r[:, 0], e[:, 0], noise[:, 0], rows[:, :, 0], kept)
    exponents: dict[str, Any] = {f"e_{name}": e[:, :, k : k + 1] for k, name in enumerate(PARTS)}
    split = replace(_mean_alone(n, d), preserves_mean=kept[:, None, None])
    a, column = np.zeros((b, 1, 1)), np.zeros((b, n, 1))
    return State(split, a=a, r=r, b=column, R=R, mean=r, **exponents, noise=noise, rows=rows)


@functools.lru_cache(maxsize=8)
def _mean_alone(n: int, d: int) -> Split:
    """The cut along the mean, for measuring."""
    one, zero = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
    return Split(
        v=np.ones((1, n, 1)), u=np.full((1, 1, n), 1 / n), w=np.zeros((1, d, 1)), z=np.zeros((1, 1, d)),
        lam=one, mu=zero, constant=one > 0, preserves_mean=one > 0, means=one, coupled=zero, sensitivity=zero,
        any_coupled=False, any_z=False, any_mean=False,
    )  # fmt: skip


class Compiled:
    """The parts of b states as kernels take them: float64 and contiguous."""

    def __init__(self, state: State) -> None:
        split = state.split
        self.state, self.unit = state, float(np.finfo(state.R.dtype).eps)
        self.size = size = max(len(x) for x in (state.R, state.a, state.noise, split.v, split.z))
        n, d = state.R.shape[-2:]
        self.shape = (size, n, d)
        self.a = self._of(state.a, size)
        self.r, self.mean = self._of(state.r, size, d), self._of(state.mean, size, d)
        self.b, self.R = self._of(state.b, size, n), self._of(state.R, size, n, d)
        e = np.empty((size, 5))
        for k, name in enumerate(PARTS):
            e[:, k] = getattr(state, f"e_{name}")[:, 0, 0]
        noise = self._of(state.noise, size, 5)
        if np.isnan(noise).any():  # maxima in kernels may pass over what is no number
            noise = _kernels.frozen(np.where(np.isnan(noise), np.inf, noise))
        self.e, self.noise = _kernels.frozen(e), noise
        self.v, self.z = (self._of(x, len(x), k) for x, k in ((split.v, n), (split.z, d)))
        if len(self.v) != len(self.z):  # one for all, or each its own
            self.v, self.z = self._of(split.v, size, n), self._of(split.z, size, d)

    def _of(self, x: Any, *shape: int) -> HostArray:
        x = x.reshape(len(x), *shape[1:])
        if x.shape != shape:
            x = np.broadcast_to(x, shape)
        return _kernels.frozen(x if x.dtype == np.float64 else x.astype(np.float64))

    def _cut(self) -> tuple[HostArray, HostArray]:
        """Whether v is ones, and whether means are kept, of one state for all or of each."""
        split = self.state.split
        return _kernels.frozen(split.constant.ravel()), _kernels.frozen(split.preserves_mean.ravel())

    def _rows(self, zero_rows: HostArray | None) -> tuple[HostArray, bool, HostArray]:
        """Errors of rows, whether they are known, and which are exactly zero, of one for all or of each."""
        n, rows = self.shape[1], self.state.rows
        errors = np.zeros((1, n)) if rows is None else self._of(rows, len(rows), n)
        zero = np.zeros((1, n), dtype=bool) if zero_rows is None else zero_rows[:, :, 0]
        return _kernels.frozen(errors), rows is not None, _kernels.frozen(zero)

    def metrics(self, names: tuple[str, ...], zero_rows: HostArray | None) -> tuple[dict[str, Measured], int]:
        """The metrics of these names, all of them default ones, and how many matrices LAPACK had to do."""
        from .._kernels.states import measure

        _kernels.announce(measure, "float64")
        size, n, d = self.shape
        of_sizes, of_angles, of_ranks = (not group.isdisjoint(names) for group in _GROUPS)
        in_lanes = of_ranks and max(n, d) <= _kernels.LARGEST
        values, errors = np.empty((2, len(_PLACES), size))
        pairs, largest, lost = np.empty((size, 6)), np.empty(size), np.empty(size, dtype=bool)
        scales, minors = np.empty(size), np.empty((size if of_ranks and not in_lanes else 0, n, d))
        measure(
            self.a, self.r, self.b, self.R, self.mean, self.e, self.noise, self.v, self.z, *self._cut(),
            *self._rows(zero_rows), self.unit, (of_sizes, of_angles, of_ranks, in_lanes), minors, scales,
            values, errors, pairs, largest, lost,
        )  # fmt: skip
        redone = 0
        if len(minors):
            redone = self._ranks_of_large(minors, scales, pairs, largest, values, errors)
        elif of_ranks and lost.any():
            which = np.flatnonzero(lost)
            singular, redone = _kernels.singular_values(self._matrices()[0][which])
            self._ranks(which, singular, pairs, largest, values, errors)
        unknown = ~(largest < np.inf)  # singular values of what is no number are none
        if unknown.any():
            errors[:, unknown] = np.inf
        values, errors = values[:, :, None, None], errors[:, :, None, None]
        return {name: Measured(values[_PLACES[name]], errors[_PLACES[name]]) for name in names}, redone

    def _ranks(
        self, which: HostArray, singular: HostArray, pairs: HostArray, largest: HostArray, values: HostArray,
        errors: HostArray,
    ) -> None:  # fmt: skip
        """Write ranks of states that :func:`measure` left, whose singular values others found."""
        from .._kernels.values import ranks

        _kernels.announce(ranks, "float64")
        found = np.empty((2, len(RANKS), len(which)))
        ranks(singular, pairs[which], largest[which], self.noise[which], self.unit, *found)
        values[-len(RANKS) :, which], errors[-len(RANKS) :, which] = found

    def _ranks_of_large(
        self, minors: HostArray, scales: HostArray, pairs: HostArray, largest: HostArray, values: HostArray,
        errors: HostArray,
    ) -> int:  # fmt: skip
        """Write ranks of states too large for lanes; return how many LAPACK did in the end."""
        split_off, several = pairs[:, 3] > 0, min(self.shape[1:])
        singular, blurred = np.full((self.size, several), np.nan), np.zeros(self.size)
        redone = 0
        for k in np.flatnonzero(np.isfinite(scales)):
            if split_off[k]:
                share = 2.0 ** max(pairs[k, 2], -1000.0) * scales[k] / pairs[k, 0]
                found = values_of_minors(minors[k], share)
            else:
                found = singular_values(minors[k])
            singular[k], by_svd, blurred[k] = found
            redone += by_svd
        self._ranks(np.arange(self.size), singular * scales[:, None], pairs, largest, values, errors)
        which = np.flatnonzero(blurred > 0)
        if several > 1 and which.size:
            place = len(_PLACES) - len(RANKS)
            errors[place:, which] += of_squares(
                singular[which], blurred[which], split_off[which], values[place:, which]
            )
        return redone

    def _matrices(self) -> tuple[HostArray, HostArray]:
        """What :func:`linsim._kernels.states.matrices` writes, and the pairs."""
        from .._kernels.states import matrices

        _kernels.announce(matrices, "float64")
        out, pairs = np.empty(self.shape), np.empty((self.size, 6))
        matrices(
            self.a, self.r, self.b, self.R, self.e, self.noise, self.v, self.z, self.unit, pairs, out
        )  # fmt: skip
        return out, pairs

    def content(self) -> Content:
        """The mean over tokens and what is left of each."""
        from .._kernels.sums import content

        _kernels.announce(content, "float64")
        out = np.empty((self.size, 6))
        parts = (self.a, self.r, self.b, self.R, self.mean, self.e, self.v, self.z)
        content(*parts, *self._cut(), out)
        largest, high, e_high, low, e_low, farthest = np.moveaxis(out, -1, 0)[:, :, None, None]
        return Content(largest, high, e_high, low, e_low, farthest, e_high)

    def leading(self) -> Leading:
        """The leading pair of singular vectors, and the minors."""
        from .._kernels.sums import leading

        _kernels.announce(leading, "float64")
        size, n, d = self.shape
        S, alpha, q, out = np.empty(self.shape), np.empty((size, n)), np.empty((size, d)), np.empty((size, 6))
        parts = (self.a, self.r, self.b, self.R, self.e, self.noise, self.v, self.z)
        leading(*parts, self.unit, S, alpha, q, out)
        self.pair = tuple(map(_kernels.frozen, (S, alpha, q, out)))
        main, e, delta, split_off, noise, noise_main = np.moveaxis(out, -1, 0)[:, :, None, None]
        alpha, q, S = (
            x.astype(self.state.R.dtype, copy=False) for x in (alpha[:, :, None], q[:, None, :], S)
        )
        return Leading(main, alpha, q, S, e, delta, split_off > 0, noise, noise_main)

    def angles(self, zero_rows: HostArray | None) -> Angles:
        """Angles of rows; asked after :meth:`leading`."""
        from .._kernels.angles import angles

        _kernels.announce(angles, "float64")
        n, out = self.shape[1], np.empty((self.size, len(ANGLES)))
        parts = (self.a, self.r, self.b, self.R, self.e, self.v, self.z)
        angles(*parts, *self.pair, *self._rows(zero_rows), self.unit, out)
        sums: dict[str, HostArray] = dict(zip(ANGLES, np.moveaxis(out, -1, 0)[:, :, None, None], strict=True))
        for name in ("above", "one_side", "aligned"):
            sums[name] = sums[name] > 0
        pairs, m = n * (n - 1), sums["present"]
        plain = 1 - sums.pop("all_pairs") / pairs
        return Angles(**sums, absent=(pairs - m * (m - 1)) / pairs, plain=plain)

    def for_singular_values(self) -> HostArray:
        """What singular values are found of: minors where the leading pair is split off, else the whole."""
        return self._matrices()[0].astype(self.state.R.dtype, copy=False)
