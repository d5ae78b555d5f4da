"""Hypothesis strategies for attention, weights, tokens and whole systems.

Everything is built from small integers and simple fractions, in an order that Hypothesis
shrinks along: two tokens before three, equal scores before unequal ones, whole eigenvalues
before eighths, a diagonal H before a sheared one.  A counterexample then is a system that a
person can read.

In this module ``draw`` is what Hypothesis hands to a composite strategy.  Each draw costs
about 30 microseconds, so structure is drawn (one permutation, one weight), not entries,
wherever that loses nothing.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from .._eigen import perron_vector
from .._factored import dense
from .._namespace import to_host
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ._hypothesis import strategies as st
from ._system import System

__all__ = ["attention_matrices", "systems", "token_matrices", "weight_matrices"]

FloatArray = NDArray[np.float64]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Sizes = int | tuple[int, int]

_SCORES = st.integers(1, 9)
_SMALL = st.integers(-3, 3)
_POWERS = st.sampled_from([10**k for k in range(1, 5)])
_OUTWEIGHS = st.sampled_from([3, 10, 30, 100])


# Numerator and denominator are drawn apart: Hypothesis then finds its way from any number to a
# simpler one of the same sign, which it would not in one long list.
_NUMERATORS = st.integers(-6, 6)
_POSITIVE = st.integers(1, 6)
_DENOMINATORS = st.sampled_from([1, 2, 4, 8])
_EXPONENTS = st.integers(-6, 6)


# --- attention -------------------------------------------------------------------------


# Structure is drawn before scores: with fewer tokens the first of these then serve as before,
# and Hypothesis need not find others.


def _general(draw: Draw, n: int) -> FloatArray:
    outweighed = np.zeros((n, n), dtype=np.int64)
    for _ in range(draw(st.integers(0, 2))):
        outweighed[np.arange(n), _order(draw, n)] += draw(_OUTWEIGHS)
    return _rows(outweighed + _integers(draw, _SCORES, n, n))


def _circulant(draw: Draw, n: int) -> FloatArray:
    shift, weight = draw(st.integers(1, n - 1)), draw(_OUTWEIGHS)
    first = _integers(draw, _SCORES, 1, n)[0]
    first[shift] += weight
    return _rows(np.stack([np.roll(first, i) for i in range(n)]))


def _reversible(draw: Draw, n: int) -> FloatArray:
    return _rows(_symmetric_scores(draw, n))


def _symmetric(draw: Draw, n: int) -> FloatArray:
    # Birkhoff: permutations with integer weights keep all row and column sums equal integers,
    # so every entry is rounded once, and the same way as its mirror image.
    counts = np.full((n, n), 2 * draw(st.integers(1, 3)))
    for _ in range(draw(st.integers(0, 3))):
        order, weight = _order(draw, n), draw(_SCORES)
        counts[np.arange(n), order] += weight
        counts[order, np.arange(n)] += weight
    return _rows(counts)


def _near_reducible(draw: Draw, n: int) -> FloatArray:
    first = draw(st.integers(1, n - 1))  # size of the first of two groups that hardly look at each other
    strength, scores = draw(_POWERS), _integers(draw, _SCORES, n, n)
    group = np.arange(n) < first
    return _rows(np.where(group[:, None] == group, scores * strength, scores))


def _near_permutation(draw: Draw, n: int) -> FloatArray:
    order, strength = _order(draw, n), draw(_POWERS)
    scores = _integers(draw, st.integers(1, 3), n, n)
    scores[np.arange(n), order] += strength
    return _rows(scores)


def _causal(draw: Draw, n: int) -> FloatArray:
    return _rows(np.tril(_integers(draw, _SCORES, n, n)))


def _masked(draw: Draw, n: int) -> FloatArray:
    scores = _integers(draw, st.integers(0, 9), n, n)
    # Every token sees itself and the next one: the graph is strongly connected and aperiodic.
    for i in range(n):
        scores[i, i], scores[i, (i + 1) % n] = max(scores[i, i], 1), max(scores[i, (i + 1) % n], 1)
    return _rows(scores)


_ATTENTION: dict[str, Callable[[Draw, int], FloatArray]] = {
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
    n: Sizes = (2, 4), *, kinds: str | Iterable[str] | None = None
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

    Returns
    -------
    SearchStrategy of (n, n) float64 arrays

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For sizes below 2 or out of order, and an unknown kind.

    Examples
    --------
    >>> import hypothesis
    >>> hypothesis.find(attention_matrices(kinds="causal"), lambda A: A[1, 0] > 0.7)
    array([[1.  , 0.  ],
           [0.75, 0.25]])
    """
    low, high = _sizes(n, "n", minimum=2)
    return _attention(low, high, _kinds(kinds, "kinds", _ATTENTION))


@st.composite
def _attention(draw: Draw, low: int, high: int, kinds: Sequence[str]) -> FloatArray:
    kind = draw(st.sampled_from(kinds))
    # two tokens are where all shrinks to, but three are the fewest for a complex spectrum
    return _ATTENTION[kind](draw, draw(st.sampled_from([low, *sorted([*range(low + 1, high + 1)] * 2)])))


def _rows(scores: NDArray[Any]) -> FloatArray:
    return np.asarray(scores / np.sum(scores, axis=1, keepdims=True))


def _integers(draw: Draw, entries: st.SearchStrategy[int], rows: int, columns: int) -> NDArray[np.int64]:
    # one by one: a third faster than a list strategy
    return np.array([draw(entries) for _ in range(rows * columns)]).reshape(rows, columns)


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
    scores[upper] = _integers(draw, _SCORES, 1, len(upper[0]))[0]
    return scores + np.triu(scores, 1).T


# --- weights ---------------------------------------------------------------------------


# Real points, for each imaginary part, that eigenvalues are placed near; None: nowhere special.
Near = Callable[[float], Sequence[float]] | None


def _normal(draw: Draw, d: int, near: Near, condition: float) -> FloatArray:
    values = _spectrum(draw, d, near)
    v = _integers(draw, st.integers(-2, 2), 1, d)[0] if d > 1 else np.zeros(1)
    if not v.any():
        return np.diag(values)
    mirror = np.eye(d) - np.outer(v, v) * (2 / (v @ v))  # Householder: orthogonal for every v
    H = (mirror * values) @ mirror
    return np.asarray((H + H.T) / 2)


def _nonnormal(draw: Draw, d: int, near: Near, condition: float) -> FloatArray:
    return _sheared(draw, np.diag(_spectrum(draw, d, near)), condition)


def _complex(draw: Draw, d: int, near: Near, condition: float) -> FloatArray:
    pairs = draw(st.integers(1, d // 2))
    imaginary = [draw(_POSITIVE) / draw(_DENOMINATORS) for _ in range(pairs)]
    real_parts = _spectrum(draw, d - pairs, near, imaginary)
    H = np.diag(np.concatenate([np.repeat(real_parts[:pairs], 2), real_parts[pairs:]]))
    for k, y in enumerate(imaginary):
        H[2 * k, 2 * k + 1], H[2 * k + 1, 2 * k] = y, -y
    return _sheared(draw, H, condition)


def _defective(draw: Draw, d: int, near: Near, condition: float) -> FloatArray:
    size = draw(st.integers(2, d))
    values = _spectrum(draw, d - size + 1, near)
    H = np.diag(np.concatenate([np.repeat(values[:1], size), values[1:]]))
    H[np.arange(size - 1), np.arange(1, size)] = 1.0
    # Upper shears keep the diagonal free of rounding, so the block stays a block even around
    # an eigenvalue that is no simple fraction; around those that are, every shear is exact.
    return _sheared(draw, H, condition, upper=near is not None, whole=True)


def _integer(draw: Draw, d: int, near: Near, condition: float) -> FloatArray:
    return _integers(draw, _SMALL, d, d).astype(np.float64)


_Weights = Callable[[Draw, int, Near, float], FloatArray]
_WEIGHTS: dict[str, tuple[int, _Weights]] = {  # smallest d, and how to draw one
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
        - "integer": entries from -3 to 3 (not with ``near``);
        - "nonnormal": real eigenvalues in a sheared basis (d >= 2);
        - "complex": at least one conjugate pair, in a sheared basis (d >= 2);
        - "defective": one Jordan block of size >= 2 in a basis of integers with determinant 1,
          exactly defective in floating point (d >= 2).
    near : float or iterable of float, optional
        Points of the real axis.  One eigenvalue (the real part of a complex one) lies on such
        a point, or beside it at a distance of 10^-k, k = 1..6, rounded to k + 1 decimals, so
        within 5%; the others may.  A sheared or turned basis adds its own rounding.
    condition : float >= 1
        Bound on the 2-norm condition number of the basis of "nonnormal", "complex" and
        "defective" matrices; it shrinks to 1, no shear at all.

    Returns
    -------
    SearchStrategy of (d, d) float64 arrays

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For sizes below 1 or out of order, an unknown kind, one that needs d >= 2 or excludes
        ``near``, points that are not finite, and a condition below 1.

    Examples
    --------
    >>> import hypothesis
    >>> hypothesis.find(weight_matrices(kinds="defective"), lambda H: H[0, 0] < 0)
    array([[-1.,  1.],
           [ 0., -1.]])
    """
    low, high = _sizes(d, "d", minimum=1)
    points = _points(near)
    bound = _validate.number(condition, "condition", low=1)
    chosen = _weight_kinds(kinds, "kinds", high, bool(points))
    return _weights(low, high, chosen, (lambda imaginary: points) if points else None, bound)


@st.composite
def _weights(
    draw: Draw, low: int, high: int, kinds: Sequence[str], near: Near, condition: float
) -> FloatArray:
    smallest, build = _WEIGHTS[draw(st.sampled_from(kinds))]
    return build(draw, draw(st.integers(max(low, smallest), high)), near, condition)


def _spectrum(draw: Draw, count: int, near: Near, imaginary: Sequence[float] = ()) -> FloatArray:
    """Draw the real parts of ``count`` eigenvalues, the first of which have these imaginary parts.

    Later ones may repeat an earlier one or mirror it at -1.
    """
    values: list[float] = []
    for k in range(count):
        how = "new" if near is None else "near"
        if k:
            how = draw(st.sampled_from(["same", "mirror", "new", "new", how]))
        if near is not None and how == "near":
            points = near(imaginary[k] if k < len(imaginary) else 0.0)
            # drawn like a numerator and a denominator, so that a new one can take its place
            power, point = draw(_EXPONENTS), draw(st.sampled_from(points))
            off = point + math.copysign(10.0 ** -abs(power), power)
            # one more digit than the distance has: short, and never across the point
            values.append(round(off, abs(power) + 1) if power else point)
        elif how in ("same", "mirror"):
            earlier = draw(st.sampled_from(values))
            values.append(-2 - earlier if how == "mirror" and abs(2 + earlier) <= 6 else earlier)
        else:
            values.append(draw(_NUMERATORS) / draw(_DENOMINATORS))
    return np.array(values)


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


# --- tokens ----------------------------------------------------------------------------


def _generic(draw: Draw, n: int, d: int, A: FloatArray | None, H: FloatArray | None) -> FloatArray:
    if draw(st.integers(0, 3)) == 0:
        return np.eye(n, d)  # readable, and fewer draws than any other: what examples shrink to
    return _some(_integers(draw, _SMALL, n, d).astype(np.float64))


def _aligned(draw: Draw, n: int, d: int, A: FloatArray | None, H: FloatArray | None) -> FloatArray:
    assert A is not None
    assert H is not None
    return _mode(draw, A, H)


def _invariant(draw: Draw, n: int, d: int, A: FloatArray | None, H: FloatArray | None) -> FloatArray:
    spaces = ["equal rows"] + ["no constant part"] * (A is not None)
    spaces += ["few modes"] * (A is not None and H is not None)
    space = draw(st.sampled_from(spaces))
    if space == "few modes":
        assert A is not None
        assert H is not None
        one = _mode(draw, A, H)
        several = one + draw(_SMALL) * _mode(draw, A, H)
        return several if np.max(np.abs(several)) > 1e-6 else one
    if space == "equal rows":
        return np.tile(_some(_integers(draw, _SMALL, 1, d).astype(np.float64)), (n, 1))
    assert A is not None
    pi = _snapped(perron_vector(A[None])[0][0])
    x = _integers(draw, _SMALL, n, d).astype(np.float64)
    if (x == x[0]).all():
        x[0, 0] += 1  # the constant part was all there was
    return np.asarray(x * np.sum(pi) - pi @ x)


_Tokens = Callable[[Draw, int, int, FloatArray | None, FloatArray | None], FloatArray]
_TOKENS: dict[str, _Tokens] = {"generic": _generic, "aligned": _aligned, "invariant": _invariant}


def token_matrices(
    n: Sizes,
    d: Sizes,
    *,
    A: Any = None,
    H: Any = None,
    kinds: str | Iterable[str] | None = None,
) -> st.SearchStrategy[FloatArray]:
    """Strategy for input tokens (n, d), float64, never all zero.

    Parameters
    ----------
    n, d : int or (int, int)
        Tokens (at least 2) and features (at least 1); a pair is the smallest and the largest
        number of them.  With A or H given, exactly theirs.
    A : array, shape (n, n), optional
        Attention whose modes serve "aligned" and "invariant" tokens.
    H : array, shape (d, d), optional
        Weights, likewise.
    kinds : str or iterable of str, optional
        Which of these to draw; all that A and H allow if left out.  Shrinks to the first one
        named here.

        - "generic": integers from -3 to 3, or ones on the diagonal;
        - "aligned": one mode v_i z_jᵀ of A and H (the real part of a complex one), in whole
          numbers where it has them; needs both;
        - "invariant": in a subspace that no layer leaves: all rows equal; or, with A, no
          constant part (πᵀx0 = 0 to rounding); or, with both, a sum of two modes.

    Returns
    -------
    SearchStrategy of (n, d) float64 arrays

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For sizes that are too small, out of order or not those of A and H, for what
        :class:`linsim.Linear` refuses in these, and for an unknown kind or one that lacks them.

    Examples
    --------
    >>> import hypothesis
    >>> A, H = [[0.25, 0.75], [0.5, 0.5]], [[1.0]]
    >>> tokens = token_matrices(2, 1, A=A, H=H, kinds="aligned")
    >>> hypothesis.find(tokens, lambda x0: x0[0, 0] != x0[1, 0])  # the mode of lambda = -1/4
    array([[ 3.],
           [-2.]])
    """
    tokens, features = _sizes(n, "n", minimum=2), _sizes(d, "d", minimum=1)
    attention = None if A is None else _double(_validate.attention_matrix(A, "A", shape="(n, n)"))
    weights = None if H is None else _double(_validate.square(dense(H), "H", shape="(d, d)"))
    for name, given, sizes in (("A", attention, tokens), ("H", weights, features)):
        if given is not None and (given.ndim != 2 or sizes != (len(given), len(given))):
            size = sizes[0] if sizes[0] == sizes[1] else f"{sizes[0]} to {sizes[1]}"
            raise _validate.refusal(
                ShapeError, name, f"shape {given.shape}", f"shape ({size}, {size})", "Pass its own size."
            )
    possible = [k for k in _TOKENS if k != "aligned" or (attention is not None and weights is not None)]
    chosen = possible if kinds is None else _kinds(kinds, "kinds", _TOKENS)
    if missing := [k for k in chosen if k not in possible]:
        raise _validate.refusal(
            InvalidValueError,
            "kinds",
            f"{missing[0]!r} without {'A' if attention is None else 'H'}",
            "both A and H for it",
            "Pass them, or leave that kind out.",
        )
    return _tokens(tokens, features, attention, weights, tuple(chosen))


@st.composite
def _tokens(
    draw: Draw,
    n: tuple[int, int],
    d: tuple[int, int],
    A: FloatArray | None,
    H: FloatArray | None,
    kinds: Sequence[str],
) -> FloatArray:
    kind = draw(st.sampled_from(kinds))
    return _TOKENS[kind](draw, draw(st.integers(*n)), draw(st.integers(*d)), A, H)


def _some(x: FloatArray) -> FloatArray:
    """Put a one where everything is zero."""
    if not x.any():
        x[0, 0] = 1
    return x


def _mode(draw: Draw, A: FloatArray, H: FloatArray) -> FloatArray:
    v, z = (draw(st.sampled_from(_vectors(M))) for M in (A, H.T))
    mode = np.real(np.outer(v, z))
    return np.asarray(mode if mode.any() else np.imag(np.outer(v, z)))


def _vectors(M: FloatArray) -> list[NDArray[Any]]:
    """Eigenvectors, one of each conjugate pair, in whole numbers where possible."""
    values, vectors = np.linalg.eig(M)
    order = np.argsort(-values.real, kind="stable")
    return [_snapped(vectors[:, k]) for k in order if values[k].imag >= 0]


def _snapped(v: NDArray[Any]) -> NDArray[Any]:
    """Scale ``v`` to its largest entry 1, or to whole numbers up to 60 if it is a multiple of them."""
    v = v / v[np.argmax(np.abs(v))]
    scales = np.arange(1, 61)[:, None]
    error = np.max(np.abs(v * scales - np.round(v * scales)), axis=1)
    whole = np.flatnonzero(error < 1e-11)
    return np.asarray(np.round(v * scales[whole[0]]) + 0.0 if whole.size else v)


def _double(M: Any) -> FloatArray:
    return np.asarray(to_host(M), dtype=np.float64)


# --- systems ---------------------------------------------------------------------------


def systems(
    n: Sizes = (2, 4),
    d: Sizes = (1, 3),
    *,
    attention: str | Iterable[str] | None = None,
    weights: str | Iterable[str] | None = None,
    tokens: str | Iterable[str] | None = None,
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
    System(A=[[0.5, 0.5], [0.5, 0.5]], H=[[-1.0]], x0=[[1.0], [0.0]])
    """
    low, high = _sizes(d, "d", minimum=1)
    bound = _validate.number(condition, "condition", low=1)
    return _systems(
        _attention(*_sizes(n, "n", minimum=2), _kinds(attention, "attention", _ATTENTION)),
        (low, high),
        _weight_kinds(weights, "weights", high, near=False),
        bound,
        _kinds(tokens, "tokens", _TOKENS),
    )


@st.composite
def _systems(
    draw: Draw,
    attention: st.SearchStrategy[FloatArray],
    d: tuple[int, int],
    weights: Sequence[str],
    condition: float,
    tokens: Sequence[str],
) -> System:
    A = draw(attention)
    lam = np.linalg.eigvals(A)
    if "complex" in weights and np.any(lam.imag):
        weights = [*weights, *["complex"] * 3]  # where both rotate, intuition fails most
    smallest, build = _WEIGHTS[draw(st.sampled_from(weights))]
    features = draw(st.integers(max(d[0], smallest), d[1]))
    # an integer matrix has no eigenvalue to place
    near = functools.partial(_turning_points, lam) if build is not _integer and draw(st.booleans()) else None
    H = build(draw, features, near, condition)
    x0 = _TOKENS[draw(st.sampled_from(tokens))](draw, len(A), len(H), A, H)
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


# --- arguments -------------------------------------------------------------------------


def _sizes(value: Any, argument: str, *, minimum: int) -> tuple[int, int]:
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise _validate.refusal(
                InvalidValueError,
                argument,
                f"{len(value)} numbers",
                "one number, or the smallest and the largest",
                "Pass for example (2, 4).",
            )
        low, high = (_validate.count(x, argument, minimum=minimum) for x in value)
    else:
        low = high = _validate.count(value, argument, minimum=minimum)
    if low > high:
        raise _validate.refusal(
            InvalidValueError, argument, f"({low}, {high})", "the smallest first", "Swap them."
        )
    return low, high


def _kinds(value: Any, argument: str, options: Iterable[str]) -> tuple[str, ...]:
    options = tuple(options)
    if value is None:
        return options
    try:
        named = [value] if isinstance(value, str) else list(value)
    except TypeError:
        named = [value]
    chosen = {_validate.choice(kind, argument, options) for kind in named}
    if not chosen:
        raise _validate.refusal(
            InvalidValueError,
            argument,
            "no kind",
            "one of " + ", ".join(map(repr, options)),
            "Leave it out to draw all of them.",
        )
    return tuple(kind for kind in options if kind in chosen)  # the simplest first


def _weight_kinds(value: Any, argument: str, d: int, near: bool) -> tuple[str, ...]:
    chosen = _kinds(value, argument, _WEIGHTS)
    fitting = tuple(k for k in chosen if _WEIGHTS[k][0] <= d and not (near and k == "integer"))
    if value is not None and fitting != chosen:
        kind = next(k for k in chosen if k not in fitting)
        integer = near and kind == "integer"
        raise _validate.refusal(
            InvalidValueError,
            argument,
            f"{kind!r} with {'near' if integer else f'd = {d}'}",
            "kinds whose eigenvalues can be placed" if integer else f"d >= {_WEIGHTS[kind][0]} for it",
            "Leave that kind out.",
        )
    return fitting


def _points(near: Any) -> tuple[float, ...]:
    if near is None:
        return ()
    try:
        several = [near] if isinstance(near, str | bytes) else list(near)
    except TypeError:
        several = [near]
    if not several:
        raise _validate.refusal(
            InvalidTypeError, "near", "no point", "one real number or several", "Leave it out for none."
        )
    return tuple(_validate.number(point, "near") for point in several)
