"""Strategies for attention: rows of small integers over their sum.

They shrink to two tokens before three, and to equal scores before unequal ones.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from ._arguments import Draw, FloatArray, Sizes, integers, kinds_of, sizes
from ._hypothesis import strategies as st
from ._ready import ready

__all__ = ["ATTENTION", "attention", "attention_matrices"]

Scores = NDArray[np.int64]  # rows over their sum are attention

_SCORES = st.integers(1, 9)
_POWERS = st.sampled_from([10**k for k in range(1, 5)])
_OUTWEIGHS = st.sampled_from([3, 10, 30, 100])


# Structure is drawn before scores: with fewer tokens the first of these then serve as before,
# and Hypothesis need not find others.


def _general(draw: Draw, n: int) -> Scores:
    outweighed = np.zeros((n, n), dtype=np.int64)
    for _ in range(draw(st.integers(0, 2))):
        outweighed[np.arange(n), _order(draw, n)] += draw(_OUTWEIGHS)
    return outweighed + integers(draw, _SCORES, n, n)


def _circulant(draw: Draw, n: int) -> Scores:
    shift, weight = draw(st.integers(1, n - 1)), draw(_OUTWEIGHS)
    first = integers(draw, _SCORES, 1, n)[0]
    first[shift] += weight
    return np.stack([np.roll(first, i) for i in range(n)])


def _reversible(draw: Draw, n: int) -> Scores:
    return _symmetric_scores(draw, n)


def _symmetric(draw: Draw, n: int) -> Scores:
    # Birkhoff: permutations with integer weights keep all row and column sums equal integers,
    # so every entry is rounded once, and the same way as its mirror image.
    counts = np.full((n, n), 2 * draw(st.integers(1, 3)))
    for _ in range(draw(st.integers(0, 3))):
        order, weight = _order(draw, n), draw(_SCORES)
        counts[np.arange(n), order] += weight
        counts[order, np.arange(n)] += weight
    return counts


def _near_reducible(draw: Draw, n: int) -> Scores:
    first = draw(st.integers(1, n - 1))  # size of the first of two groups that hardly look at each other
    strength, scores = draw(_POWERS), integers(draw, _SCORES, n, n)
    group = np.arange(n) < first
    return np.where(group[:, None] == group, scores * strength, scores)


def _near_permutation(draw: Draw, n: int) -> Scores:
    order, strength = _order(draw, n), draw(_POWERS)
    scores = integers(draw, st.integers(1, 3), n, n)
    scores[np.arange(n), order] += strength
    return scores


def _causal(draw: Draw, n: int) -> Scores:
    return np.tril(integers(draw, _SCORES, n, n))


def _masked(draw: Draw, n: int) -> Scores:
    scores = integers(draw, st.integers(0, 9), n, n)
    # Every token sees itself and the next one: the graph is strongly connected and aperiodic.
    for i in range(n):
        scores[i, i], scores[i, (i + 1) % n] = max(scores[i, i], 1), max(scores[i, (i + 1) % n], 1)
    return scores


ATTENTION: dict[str, Callable[[Draw, int], Scores]] = {
    "general": _general,
    "symmetric": _symmetric,
    "reversible": _reversible,
    "circulant": _circulant,
    "near_permutation": _near_permutation,
    "near_reducible": _near_reducible,
    "causal": _causal,
    "masked": _masked,
}


def attention_matrices(
    n: Sizes = (2, 4), *, kinds: str | Iterable[str] | None = None, lam: str | None = None
) -> st.SearchStrategy[FloatArray]:
    """Strategy for attention matrices (n, n), float64, rows of small integers over their sum.

    Parameters
    ----------
    n : int or (int, int)
        Tokens, at least 2; a pair is the smallest and the largest number of them.
    kinds : str or iterable of str, optional
        Which of these to draw; all of them if left out.  Shrinks to the first one named here.

        - "general": scores 1 to 9, often outweighed by one or two permutations, so that for
          n >= 3 about half of the spectra are complex;
        - "symmetric": exactly symmetric and doubly stochastic, a mixture of the uniform matrix
          and symmetrised permutations; eigenvalues of both signs;
        - "reversible": rows of a symmetric matrix of integers over their sum (real spectrum);
        - "circulant": each row the one before, shifted; doubly stochastic, for n >= 3 most often
          with a complex spectrum;
        - "near_permutation": one permutation outweighs the rest by 10 to 10^4;
        - "near_reducible": two groups whose members outweigh the others by 10 to 10^4;
        - "causal": lower triangular;
        - "masked": some zeros, yet every token reaches every other one (irreducible, aperiodic).

        Entries are positive in all but "causal" and "masked".
    lam : "positive", optional
        Every eigenvalue has a positive real part: (A + I) / 2 of what is drawn, where each token
        keeps more than half of its attention to itself.  It is of the same kind, but for
        "near_permutation" (no longer near one).

    Returns
    -------
    SearchStrategy of (n, n) float64 arrays

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For sizes below 2 or out of order, an unknown kind, and another word for ``lam``.

    Examples
    --------
    >>> import hypothesis
    >>> hypothesis.find(attention_matrices(kinds="causal"), lambda A: A[1, 0] > 0.7)
    array([[1.  , 0.  ],
           [0.75, 0.25]])
    """
    return ready(attention(n, kinds, lam, "kinds"))


def attention(n: Sizes, kinds: Any, lam: Any, named: str) -> st.SearchStrategy[FloatArray]:
    """Check the arguments of :func:`attention_matrices`, the kinds under the name of ``named``."""
    low, high = sizes(n, "n", minimum=2)
    if lam is not None:
        _validate.choice(lam, "lam", ("positive",))
    return _attention(low, high, kinds_of(kinds, named, ATTENTION), lam is not None)


@st.composite
def _attention(draw: Draw, low: int, high: int, kinds: Sequence[str], lazy: bool) -> FloatArray:
    kind = draw(st.sampled_from(kinds))
    # two tokens are where all shrinks to, but three are the fewest for a complex spectrum
    n = draw(st.sampled_from([low, *sorted([*range(low + 1, high + 1)] * 2)]))
    scores = ATTENTION[kind](draw, n)
    if lazy:  # as much again on the diagonal: whole numbers still, so entries are rounded once
        scores = scores + np.diag(np.sum(scores, axis=1))
    return np.asarray(scores / np.sum(scores, axis=1, keepdims=True))


def _order(draw: Draw, n: int) -> list[int]:
    """Draw a permutation that moves something."""
    return list(draw(_orders(n)))


@functools.cache
def _orders(n: int) -> st.SearchStrategy[Sequence[int]]:
    if n <= 5:  # a single draw while all of them can be listed
        moved = list(itertools.permutations(range(n)))[1:]
        # a single one would not be drawn at all, and every later draw would move up
        return st.sampled_from(moved if n > 2 else moved * 2)
    return st.permutations(range(n)).map(lambda order: order if order != sorted(order) else [*order[1:], 0])


def _symmetric_scores(draw: Draw, n: int) -> NDArray[np.int64]:
    scores = np.zeros((n, n), dtype=np.int64)
    upper = np.triu_indices(n)
    scores[upper] = integers(draw, _SCORES, 1, len(upper[0]))[0]
    return scores + np.triu(scores, 1).T
