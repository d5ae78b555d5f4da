"""Strategies for weights, by kind, and by where their eigenvalues lie.

They shrink to whole eigenvalues before eighths, and to a diagonal H before a sheared one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import _validate
from ..errors import InvalidValueError
from ._arguments import SMALL, Draw, FloatArray, Sizes, integers, kinds_of, points_of, sizes
from ._hypothesis import hypothesis
from ._hypothesis import strategies as st
from ._place import ANYWHERE, Place, Where, place_of
from ._ready import ready
from ._system import weight_eigenvalues

__all__ = ["WEIGHTS", "weight_kinds", "weight_matrices", "within"]

_POSITIVE = st.integers(1, 6)
_DENOMINATORS = st.sampled_from([1, 2, 4, 8])
_EXPONENTS = st.integers(-6, 6)


def _normal(draw: Draw, d: int, where: Where, condition: float) -> FloatArray:
    values = _spectrum(draw, d, where)
    v = integers(draw, st.integers(-2, 2), 1, d)[0] if d > 1 else np.zeros(1)
    if not v.any():
        return np.diag(values)
    mirror = np.eye(d) - np.outer(v, v) * (2 / (v @ v))  # Householder: orthogonal for every v
    H = (mirror * values) @ mirror
    return np.asarray((H + H.T) / 2)


def _nonnormal(draw: Draw, d: int, where: Where, condition: float) -> FloatArray:
    return _sheared(draw, np.diag(_spectrum(draw, d, where)), condition)


def _complex(draw: Draw, d: int, where: Where, condition: float) -> FloatArray:
    pairs = draw(st.integers(1, d // 2))
    imaginary = [draw(_POSITIVE) / draw(_DENOMINATORS) for _ in range(pairs)]
    real_parts = _spectrum(draw, d - pairs, where, imaginary)
    H = np.diag(np.concatenate([np.repeat(real_parts[:pairs], 2), real_parts[pairs:]]))
    for k, y in enumerate(imaginary):
        H[2 * k, 2 * k + 1], H[2 * k + 1, 2 * k] = y, -y
    return _sheared(draw, H, condition)


def _defective(draw: Draw, d: int, where: Where, condition: float) -> FloatArray:
    size = draw(st.integers(2, d))
    values = _spectrum(draw, d - size + 1, where)
    H = np.diag(np.concatenate([np.repeat(values[:1], size), values[1:]]))
    H[np.arange(size - 1), np.arange(1, size)] = 1.0
    # Upper shears keep the diagonal free of rounding, so the block stays a block even around
    # an eigenvalue that is no simple fraction; around those that are, every shear is exact.
    return _sheared(draw, H, condition, upper=not where.simple, whole=True)


def _integer(draw: Draw, d: int, where: Where, condition: float) -> FloatArray:
    return integers(draw, SMALL, d, d).astype(np.float64)


_Weights = Callable[[Draw, int, Where, float], FloatArray]
WEIGHTS: dict[str, tuple[int, _Weights]] = {  # smallest d, and how to draw one
    "normal": (1, _normal),
    "integer": (1, _integer),
    "nonnormal": (2, _nonnormal),
    "complex": (2, _complex),
    "defective": (2, _defective),
}


def weight_matrices(
    d: Sizes = (1, 3),
    *,
    kinds: str | Iterable[str] | None = None,
    near: float | Iterable[float] | None = None,
    mu: str | tuple[float | None, float | None] | None = None,
    condition: float = 100.0,
) -> st.SearchStrategy[FloatArray]:
    """Strategy for weight matrices (d, d), float64, with simple eigenvalues.

    Eigenvalues, and the real and imaginary parts of complex ones, are integers from -6 to 6
    over 1, 2, 4 or 8.  They often repeat, or tie with another one, |1 + μ| = |1 + μ'|.

    Parameters
    ----------
    d : int or (int, int)
        Features, at least 1; a pair is the smallest and the largest number of them.
    kinds : str or iterable of str, optional
        Which of these to draw; all that fit if left out.  Shrinks to the first one named here.

        - "normal": symmetric, a diagonal matrix turned by a Householder reflection;
        - "integer": entries from -3 to 3 (not with ``near`` or ``mu``);
        - "nonnormal": real eigenvalues in a sheared basis (d >= 2);
        - "complex": at least one conjugate pair, in a sheared basis (d >= 2);
        - "defective": one Jordan block of size >= 2 in a basis of integers with determinant 1,
          exactly defective in floating point (d >= 2).
    near : float or iterable of float, optional
        Points of the real axis.  One eigenvalue (the real part of a complex one) lies on such
        a point, or beside it at a distance of 10^-k, k = 1..6, rounded to k + 1 decimals, so
        within 5%; the others may.  A sheared or turned basis adds its own rounding.
    mu : "positive", "negative" or (low, high), optional
        Where all eigenvalues lie, complex ones by their real part.  The words are strict, also for
        the eigenvalues as computed (:attr:`System.mu`); an interval includes its ends, but for the
        rounding of a sheared or turned basis, and None is no end: (-2, 0), (0, None).
    condition : float >= 1
        Bound on the 2-norm condition number of the basis of "nonnormal", "complex" and
        "defective" matrices; it shrinks to 1, no shear at all.

    Returns
    -------
    SearchStrategy of (d, d) float64 arrays

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For sizes below 1 or out of order, an unknown kind, one that needs d >= 2 or whose
        eigenvalues cannot be placed, points that are not finite, an interval without its two ends
        in order, points of which none lies in it, and a condition below 1.

    Examples
    --------
    >>> import hypothesis
    >>> hypothesis.find(weight_matrices(kinds="defective"), lambda H: H[0, 0] < 0)
    array([[-1.,  1.],
           [ 0., -1.]])
    >>> hypothesis.find(weight_matrices(2, mu=(-2, -0.5)), lambda H: H[0, 1] != 0).diagonal().max() < 0
    np.True_
    """
    low, high = sizes(d, "d", minimum=1)
    points, place = points_of(near), place_of(mu, "mu")
    bound = _validate.number(condition, "condition", low=1)
    chosen = weight_kinds(kinds, "kinds", high, placed=bool(points) or place != ANYWHERE)
    if points and not any(place.low <= point <= place.high for point in points):
        raise _validate.refusal(
            InvalidValueError, "near", f"{points}", f"a point in {mu!r}, which mu says", "Move it there."
        )
    return ready(
        _weights(low, high, chosen, Where((lambda imaginary: points) if points else None, place), bound)
    )


@st.composite
def _weights(
    draw: Draw, low: int, high: int, kinds: Sequence[str], where: Where, condition: float
) -> FloatArray:
    smallest, build = WEIGHTS[draw(st.sampled_from(kinds))]
    return within(where.place, build(draw, draw(st.integers(max(low, smallest), high)), where, condition))


def within(place: Place, H: FloatArray) -> FloatArray:
    """Return H; leave it out where its eigenvalues, as computed, have left a strict place."""
    if place.strict:
        hypothesis.assume(all(place.holds(x) for x in weight_eigenvalues(H).real))
    return H


def _spectrum(draw: Draw, count: int, where: Where, imaginary: Sequence[float] = ()) -> FloatArray:
    """Draw the real parts of ``count`` eigenvalues, the first of which have these imaginary parts.

    Later ones may repeat an earlier one or mirror it at -1.
    """
    values: list[float] = []
    near, place = where.near, where.place
    for k in range(count):
        how = "new" if near is None else "near"
        if k:
            how = draw(st.sampled_from(["same", "mirror", "new", "new", how]))
        if near is not None and how == "near":
            points = near(imaginary[k] if k < len(imaginary) else 0.0)
            value = _beside(draw, points, place)
        elif how in ("same", "mirror"):
            earlier = draw(st.sampled_from(values))
            mirrored = -2 - earlier
            value = mirrored if how == "mirror" and abs(mirrored) <= 6 and place.holds(mirrored) else earlier
        else:
            value = place.draw(draw)
        values.append(value)
    return np.array(values)


def _beside(draw: Draw, points: Sequence[float], place: Place) -> float:
    """Draw a value on or beside one of the points; somewhere in the place where it holds none of them."""
    # drawn like a numerator and a denominator, so that a new one can take its place
    power, point = draw(_EXPONENTS), draw(st.sampled_from(points))
    for side in (power, -power):
        off = point + math.copysign(10.0 ** -abs(side), side)
        # one more digit than the distance has: short, and never across the point
        value = round(off, abs(side) + 1) if side else point
        if place.holds(value):
            return value
    return place.draw(draw)


def _sheared(
    draw: Draw, B: FloatArray, condition: float, *, upper: bool = False, whole: bool = False
) -> FloatArray:
    """Draw S B S⁻¹ with S a product of shears I + c e_i e_jᵀ and a condition number up to ``condition``.

    S and its inverse have few bits, so H is exact as long as B has few bits too.
    """
    H = np.array(B)
    d = len(H)
    pairs = [(i, j) for i, j in itertools.permutations(range(d), 2) if i < j or not upper]
    for _ in range(draw(st.integers(0, d))):
        # cond(I + c e_i e_jᵀ) = ((|c| + sqrt(c² + 4)) / 2)²
        sizes = _shears(math.sqrt(condition) - 1 / math.sqrt(condition), whole)
        k = draw(st.integers(-len(sizes), len(sizes)))
        if k == 0:
            break
        c = math.copysign(sizes[abs(k) - 1], k)
        i, j = draw(st.sampled_from(pairs))
        H[i] += c * H[j]
        H[:, j] -= c * H[:, i]
        condition /= ((abs(c) + math.sqrt(c * c + 4)) / 2) ** 2
    return H


def _shears(largest: float, whole: bool) -> list[float]:
    """List numbers with few digits up to ``largest``, increasing."""
    sizes = [float(a * 10**e) for e in range(10) for a in range(1, 10) if a * 10**e <= largest]
    return sizes if sizes or whole else [2.0**-k for k in range(10, 0, -1) if 2.0**-k <= largest]


def weight_kinds(value: Any, argument: str, d: int, *, placed: bool) -> tuple[str, ...]:
    chosen = kinds_of(value, argument, WEIGHTS)
    fitting = tuple(k for k in chosen if WEIGHTS[k][0] <= d and not (placed and k == "integer"))
    if value is not None and fitting != chosen:
        kind = next(k for k in chosen if k not in fitting)
        integer = placed and kind == "integer"
        raise _validate.refusal(
            InvalidValueError,
            argument,
            f"{kind!r} with {'near or mu' if integer else f'd = {d}'}",
            "kinds whose eigenvalues can be placed" if integer else f"d >= {WEIGHTS[kind][0]} for it",
            "Leave that kind out.",
        )
    return fitting
