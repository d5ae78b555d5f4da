"""Strategies for whole systems, half of them where the dominant mode of their own attention changes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from ._arguments import Draw, FloatArray, Sizes, kinds_of, sizes
from ._attention_strategy import attention as attention_strategy
from ._hypothesis import strategies as st
from ._place import ANYWHERE, Place, Where, place_of
from ._ready import ready
from ._system import System
from ._token_strategy import TOKENS
from ._weight_strategy import WEIGHTS, weight_kinds, within

__all__ = ["systems"]


def systems(
    n: Sizes = (2, 4),
    d: Sizes = (1, 3),
    *,
    attention: str | Iterable[str] | None = None,
    weights: str | Iterable[str] | None = None,
    tokens: str | Iterable[str] | None = None,
    mu: str | tuple[float | None, float | None] | None = None,
    lam: str | None = None,
    condition: float = 100.0,
) -> st.SearchStrategy[System]:
    """Strategy for whole systems: attention, weights and an input.

    About half of them have weight eigenvalues on, or within 10^-k of, a point where the
    dominant mode of this very attention changes: 0, -1, and where |1 + λμ| = |1 + λ'μ| for two
    of its eigenvalues, such as -2/(1 + λ) for a real λ and λ' = 1 (complex μ: λ' = 1 only).

    Parameters
    ----------
    n, d : int or (int, int)
        Tokens (at least 2) and features (at least 1); a pair is the smallest and the largest
        number of them.
    attention, weights, tokens : str or iterable of str, optional
        Kinds, as in :func:`attention_matrices`, :func:`weight_matrices` and
        :func:`token_matrices`; all of them if left out.
    mu : "positive", "negative" or (low, high), optional
        Where all eigenvalues of H lie, as in :func:`weight_matrices`.
    lam : "positive", optional
        Every eigenvalue of A has a positive real part, as in :func:`attention_matrices`.
    condition : float >= 1
        As in :func:`weight_matrices`.

    Returns
    -------
    SearchStrategy of :class:`System`

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As these three.

    Examples
    --------
    >>> import hypothesis
    >>> hypothesis.find(systems(), lambda s: s.generic_law.regime == "sharpening")
    System(A=[[1/2, 1/2], [1/2, 1/2]], H=[[-1]], x0=[[1], [0]])
    """
    low, high = sizes(d, "d", minimum=1)
    place = place_of(mu, "mu")
    return ready(
        _systems(
            attention_strategy(n, attention, lam, "attention"),
            (low, high),
            weight_kinds(weights, "weights", high, placed=place != ANYWHERE),
            place,
            _validate.number(condition, "condition", low=1),
            kinds_of(tokens, "tokens", TOKENS),
        )
    )


@st.composite
def _systems(
    draw: Draw,
    attention: st.SearchStrategy[FloatArray],
    d: tuple[int, int],
    weights: Sequence[str],
    place: Place,
    condition: float,
    tokens: Sequence[str],
) -> System:
    A = draw(attention)
    lam = np.linalg.eigvals(A)
    if "complex" in weights and np.any(lam.imag):
        weights = [*weights, *["complex"] * 3]  # where both rotate, intuition fails most
    smallest, build = WEIGHTS[draw(st.sampled_from(weights))]
    features = draw(st.integers(max(d[0], smallest), d[1]))
    # an integer matrix has no eigenvalue to place
    near = (
        functools.partial(_turning_points, lam)
        if build is not WEIGHTS["integer"][1] and draw(st.booleans())
        else None
    )
    H = within(place, build(draw, features, Where(near, place), condition))
    x0 = TOKENS[draw(st.sampled_from(tokens))](draw, len(A), len(H), A, H)
    return System(A, H, x0)


def _turning_points(lam: NDArray[Any], imaginary: float) -> Sequence[float]:
    """Return real parts x where |1 + λμ| = |1 + λ'μ| for μ = x + iy: for y = 0, any two λ."""
    if imaginary:  # only those where λ' = 1 decide the regime, and they are easily outnumbered
        one = np.argmin(np.abs(lam - 1))
        left, right = np.delete(lam, one), np.full(len(lam) - 1, lam[one])
    else:
        left, right = (lam[k] for k in np.triu_indices(len(lam), 1))
    apart, a = left - right, np.abs(left) ** 2 - np.abs(right) ** 2
    # a |μ|² + 2 Re((λ - λ') μ) = 0: a circle through 0
    use = np.abs(a) > 1e-9
    apart, a = apart[use], a[use]
    centre = -apart.real / a
    square = centre**2 - imaginary**2 + 2 * imaginary * apart.imag / a
    centre, half = centre[square >= 0], np.sqrt(square[square >= 0])
    points = {_simple(float(x)) for x in (*(centre + half), *(centre - half)) if abs(x) <= 6}
    usual = (0.0,) if imaginary else (0.0, -1.0)
    return (*usual, *sorted(points - set(usual), key=abs))


def _simple(x: float) -> float:
    """Return the simple fraction within rounding of ``x``, if there is one."""
    near = float(Fraction(x).limit_denominator(1000))
    return near if abs(near - x) <= 1e-13 * max(abs(x), 1.0) else x
