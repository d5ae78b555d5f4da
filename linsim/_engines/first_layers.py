"""Closed forms beside iteration at the first layers, where no collapse hides errors yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._state import EMPTY, PARTS, State, norm, scaled, sizes
from .._types import BoolArray, FloatArray
from . import steps

__all__ = ["COMPARED", "DRIFT", "Verdict", "compared"]

# where the closed form is compared with iteration: later collapse hides errors
COMPARED = (1, 5, 20)
#: error of ln rho, times the depth, beyond which a closed form is not believed
DRIFT = 1e-7
# log2: noise this far above iteration's, and at this distance below the part, hides something
CLOSE, BLUR = 8.0, 28.0


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether the closed form holds for each of b systems, why not ("" if it does), and its relative error.

    ``error`` (b,) at the deepest layer, of the parts relative to themselves.
    """

    ok: BoolArray
    reason: np.ndarray[Any, Any]
    error: FloatArray


def compared(
    start: State, found: Callable[[], Iterator[State]], A: FloatArray, H: FloatArray, tolerance: float
) -> tuple[FloatArray, BoolArray]:
    """Compare with iteration at COMPARED: largest error of a part relative to its size, (b,).

    What a part's noise leaves open is not held against it; the second result
    says where that noise is far above iteration's, and hides something.  How large iteration's is
    costs as much as iterating, and is asked only where a system does not pass without.
    """
    worst, blurred = _compared(start, found(), A, H, False)
    if np.all((worst <= tolerance) & ~blurred):
        return worst, blurred
    return _compared(start, found(), A, H, True)


def _compared(
    start: State, found: Iterator[State], A: FloatArray, H: FloatArray, shadowed: bool
) -> tuple[FloatArray, BoolArray]:
    growth = float(np.log2(1 + np.max(np.sum(np.abs(H), axis=-2)) * np.max(np.sum(np.abs(A), axis=-1))))
    truth = steps.states(start, lambda _: [(A, H)], COMPARED, growth, 400.0, shadowed)
    worst = np.zeros(start.R.shape[0])
    blurred = np.zeros(start.R.shape[0], dtype=bool)
    for mine, true in zip(found, truth, strict=True):
        if not shadowed:
            true = replace(true, noise=np.full_like(true.noise, EMPTY))
        length = np.maximum(sizes(mine), sizes(true))[:, 0, :]
        allowed = np.minimum(true.noise, mine.noise)[:, 0, :]
        for k, name in enumerate(PARTS[:4]):
            e = length[:, k, None, None]
            above = mine.noise[:, 0, k] - np.maximum(true.noise[:, 0, k], length[:, k] - BLUR)
            blurred |= (above > CLOSE) & (length[:, k] > np.maximum(true.noise[:, 0, k], EMPTY / 2))
            seen = (length[:, k] > EMPTY / 2) & (length[:, k] > allowed[:, k])
            e = np.floor(np.where(seen[:, None, None], e, 0.0))

            def at(state: State, name: str = name, e: FloatArray = e) -> FloatArray:
                return scaled(getattr(state, name), np.minimum(getattr(state, f"e_{name}") - e, 900.0))

            with np.errstate(over="ignore", invalid="ignore"):  # inf, or NaN: not reproduced
                off = norm(at(mine) - at(true))[:, 0, 0]
            off = off - np.exp2(np.clip(allowed[:, k] - e[:, 0, 0], -1000, 10))
            worst = np.maximum(
                worst, np.where(seen, np.where(off > 0, off, np.where(off <= 0, 0, np.inf)), 0)
            )
    return worst, blurred
