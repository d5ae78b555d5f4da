"""Choose the vectors that cut a state into invariant parts, from the dominant set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _kernels
from ._eigen import (
    Eigensystem,
    attention_eigensystem,
    doubly_stochastic,
    null_pair,
    perron_vector,
    weight_eigensystem,
)
from ._general_eigen import column_sums, general_eigensystem, row_sums, stationary
from ._state import Split
from ._types import EPS, BoolArray, ComplexArray, FloatArray
from .theory.dominance import dominance

__all__ = ["KINDS", "choose_split", "constant_split", "no_split", "row_split"]

# What each system was split along, as reported in Trajectory.info
KINDS = (
    "constant direction",
    "constant direction and feature",
    "token mode",
    "token mode and feature",
    "nothing",
    "feature",
)

# A feature direction this ill-conditioned costs more digits than it saves
LARGEST_CONDITION = 1e5


def row_split(attentions: Sequence[FloatArray], d: int, eps: float) -> Split:
    """Split off the constant direction only: invariant under every rule whose rows sum to 1."""
    n = attentions[0].shape[-1]
    preserved = np.ones((1, 1, 1), dtype=bool)
    for A in attentions:
        preserved = preserved & doubly_stochastic(A, eps)[:, None, None]
    ones = np.ones((1, 1, 1))
    return Split(
        v=np.ones((1, n, 1)),
        u=np.full((1, 1, n), 1 / n),
        w=np.zeros((1, d, 1)),
        z=np.zeros((1, 1, d)),
        lam=ones,
        mu=0 * ones,
        constant=np.ones((1, 1, 1), dtype=bool),
        preserves_mean=preserved,
        means=ones,
        coupled=np.where(preserved, 0.0, 1.0),
        sensitivity=0.3 * ones,
        any_coupled=not bool(np.all(preserved)),
        any_z=False,
        any_mean=False,
    )


def no_split(n: int, d: int) -> Split:
    """Split off nothing, for rules under which no direction is invariant."""
    zero = np.zeros((1, 1, 1))
    return Split(
        v=np.ones((1, n, 1)),
        u=np.zeros((1, 1, n)),
        w=np.zeros((1, d, 1)),
        z=np.zeros((1, 1, d)),
        lam=zero,
        mu=zero,
        constant=zero > 0,
        preserves_mean=zero > 0,
        means=zero,
        coupled=zero,
        sensitivity=0.3 * np.sqrt(n + d) * np.ones((1, 1, 1)),
        any_coupled=False,
        any_z=False,
        any_mean=False,
    )


class _Constant(NamedTuple):
    """What is known of the constant direction, each (size, .): A 1 = s 1, u A = s u, and ``means``,
    the number that all columns sum to.
    """

    u: FloatArray
    s: FloatArray
    there: BoolArray
    preserved: BoolArray
    means: FloatArray


#: left eigenvectors of attention at eigenvalue 1, and whether each is the only one
_Perron = tuple[FloatArray, BoolArray]


def _constant_of(A: FloatArray, size: int, eps: float, stochastic: bool, perron: _Perron | None) -> _Constant:
    """Look at the constant direction of attention; ``perron``: its vector, where that is known to ``eps``."""
    if stochastic:
        pi, preserved = _stationary_vectors(A, size, eps, perron)
        ones = np.ones(size)
        return _Constant(pi, ones, ones > 0, preserved, ones)
    sums, columns = row_sums(A, eps), column_sums(A, eps)
    u, there = stationary(A, sums)
    preserved = ~np.isnan(columns)
    u = np.where((preserved & there)[:, None], 1 / A.shape[-1], u)
    s, means = (np.where(where, x, 0.0) for where, x in ((there, sums), (preserved, columns)))
    means = np.where(there & preserved, s, means)  # n times either is the sum of all entries
    return _Constant(
        *(np.array(np.broadcast_to(x, (size, *x.shape[1:]))) for x in (u, s, there, preserved, means))
    )


def choose_split(
    A: FloatArray,
    H: FloatArray,
    x0: FloatArray,
    eps: float,
    systems: tuple[Eigensystem, Eigensystem] | None = None,
    stochastic: bool = True,
    driven: BoolArray | None = None,
) -> tuple[Split, np.ndarray[Any, Any], FloatArray]:
    """Choose for each of b linear systems; A, H and x0 have leading axis b or 1.

    Also returns what each was split along, and by how many times the cut enlarges a rounding (b,).

    ``systems``: the eigensystems of A and H, where they are known already; ``stochastic``: rows of A
    are probabilities, else only what its entries say holds; ``driven`` (b or 1,): something is added to
    all tokens at each layer, which decides where no mode grows.

    v is the right eigenvector of the one real attention eigenvalue that all
    dominant modes share (else the vector of ones); z the left eigenvector of
    the one real weight eigenvalue that they share (else none).
    """
    size = max(A.shape[0], H.shape[0], x0.shape[0])
    n, d = A.shape[-1], H.shape[-1]
    perron = _perron(A) if stochastic else None
    known = _constant_of(A, size, eps, stochastic, perron if eps <= EPS else None)
    if systems is None:
        attention = attention_eigensystem(A, EPS, perron) if stochastic else general_eigensystem(A, eps)[0]
        systems = attention, weight_eigensystem(H)
    attention, weights = systems
    # only the direction of x0 matters, and its squares must not overflow
    x0 = x0 / np.max(np.abs(x0), axis=(-1, -2), keepdims=True)
    law = dominance(attention, weights, x0)
    dominant = np.broadcast_to(law.dominant, (size, n, d))
    i, value_A = _shared_eigenvalue(np.any(dominant, axis=2), attention.values)
    j, value_H = _shared_eigenvalue(np.any(dominant, axis=1), weights.values)

    if driven is not None:
        # what is added leads to a constant state, which wins over all that shrinks
        top = np.max(np.where(law.present, np.abs(law.rho), 0.0), axis=(-1, -2))
        still = known.there & (top <= 1 + 1e-9) & driven
        value_A, value_H = np.where(still, np.nan, value_A), np.where(still, np.nan, value_H)
    preserved = known.preserved
    v, u, lam = np.ones((size, n)), np.where(known.there[:, None], known.u, 0.0), np.array(known.s)
    pick, right, left, value, off_A = _real_pairs(A, value_A, ~np.isnan(value_A) & ((i != 0) | ~known.there))
    # orthogonal to the constant mode exactly, not to rounding
    apart = np.abs(value - known.means[pick]) > 1e-6 * np.abs(value)
    centre = (preserved[pick] & (stochastic | apart))[:, None]
    v[pick] = right - np.where(centre, np.mean(right, axis=-1, keepdims=True), 0)
    if not stochastic:  # a left vector of another eigenvalue has u 1 = 0 wherever A 1 = s 1
        centre = known.there[pick, None]
    u[pick] = left - np.where(centre, np.mean(left, axis=-1, keepdims=True), 0)
    # where A keeps means no better than single precision tells, that has turned vectors further
    product = np.vecdot(u[pick], v[pick])[:, None]
    u[pick] = np.where(np.abs(product - 1) > 1e-9, u[pick] / product, u[pick])
    lam[pick] = value
    constant, off = np.array(known.there), np.ones(size)
    constant[pick] = False
    split_off = pick
    off[pick] = np.maximum(off_A, 1)

    w, z, mu = np.zeros((size, d)), np.zeros((size, d)), np.zeros(size)
    pick, right, left, value, off_H = _real_pairs(H, value_H, ~np.isnan(value_H))
    off[pick] = np.maximum(off[pick], off_H)
    has_z = np.zeros(size, dtype=bool)
    has_z[pick] = True
    j = np.where(has_z, j, -1)
    size_z = np.linalg.norm(left, axis=-1, keepdims=True)
    w[pick], z[pick], mu[pick] = right * size_z, left / size_z, value

    def column(x: Any) -> Any:
        return np.asarray(x)[:, None, None]

    nothing = ~known.there
    nothing[split_off] = False
    split = Split(
        v=v[:, :, None],
        u=u[:, None, :],
        w=w[:, :, None],
        z=z[:, None, :],
        lam=column(lam),
        mu=column(mu),
        constant=column(constant),
        preserves_mean=column(preserved),
        means=column(known.means),
        coupled=np.zeros((1, 1, 1)),
        sensitivity=column(0.3 + off * EPS / eps),
        any_coupled=False,
        any_z=bool(np.any(has_z)),
        any_mean=bool(np.any(preserved & ~constant)),
    )
    lengths = np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1) + np.linalg.norm(w, axis=-1)
    return split, np.asarray(KINDS)[2 * ~constant + 2 * nothing + has_z], np.maximum(off, lengths)


def constant_split(A: FloatArray, d: int, size: int, eps: float) -> Split:
    """Split off the constant direction along the Perron vector, for ``size`` systems of one A or as many.

    What needs no more than the mean kept apart is spared the dominant modes.
    """
    n = A.shape[-1]
    pi, preserved = _stationary_vectors(A, size, eps)
    ones = np.ones((size, 1, 1))
    return Split(
        v=np.ones((size, n, 1)),
        u=pi[:, None, :],
        w=np.zeros((size, d, 1)),
        z=np.zeros((size, 1, d)),
        lam=ones,
        mu=0 * ones,
        constant=ones > 0,
        preserves_mean=np.array(preserved)[:, None, None],
        means=ones,
        coupled=np.zeros((1, 1, 1)),
        sensitivity=0.3 * ones,
        any_coupled=False,
        any_z=False,
        any_mean=False,
    )


def _stationary_vectors(A: FloatArray, size: int, eps: float, perron: _Perron | None = None) -> _Perron:
    """Left eigenvectors at eigenvalue 1 (size, n), and whether columns sum to 1 as well (size,)."""
    pi, unique = perron_vector(A, eps) if perron is None else perron
    preserved = np.broadcast_to(doubly_stochastic(A, eps), size)
    unique = np.broadcast_to(unique, size)
    pi = np.array(np.broadcast_to(pi, (size, A.shape[-1])))
    for k in np.flatnonzero(~unique & ~preserved):
        pi[k] = _stationary(A[k if A.shape[0] > 1 else 0])
    return pi, preserved


def _perron(A: FloatArray) -> _Perron:
    """What :func:`perron_vector` returns; the same elimination, compiled where that is ready."""
    if not _kernels.ready("stationary", "float64"):
        return perron_vector(A)
    from ._kernels.leading import stationary

    _kernels.announce(stationary, "float64")
    pi = np.empty(A.shape[:2])
    stationary(np.array(A, dtype=np.float64, order="C"), pi, np.empty(A.shape[1:]))
    unique = pi[:, 0] > 0  # 0 where the elimination has to begin elsewhere, or entries leave the range
    if not unique.all():
        pi[~unique], unique[~unique] = perron_vector(A[~unique])
    return np.where(doubly_stochastic(A)[:, None], 1 / A.shape[-1], pi), unique


def _stationary(A: FloatArray) -> FloatArray:
    """Return a left eigenvector at eigenvalue 1 of one A whose tokens do not all reach each other.

    Tokens that reach each other and nobody else hold a stationary vector of
    their own; the one of the first such group is as good as any mixture.
    """
    from scipy.sparse.csgraph import connected_components

    count, group = connected_components(A > 0, directed=True, connection="strong")
    for k in range(count):
        inside = group == k
        if not np.any(A[np.ix_(inside, ~inside)]):
            break
    pi = np.zeros(A.shape[0])
    pi[inside] = perron_vector(A[np.ix_(inside, inside)][None])[0][0]
    return pi


def _shared_eigenvalue(members: BoolArray, values: ComplexArray) -> tuple[np.ndarray[Any, Any], FloatArray]:
    """Index and value of the eigenvalue that all dominant modes share; NaN if none, complex or multiple."""
    index = np.argmax(members, axis=-1)
    values = np.broadcast_to(values, members.shape)
    value = np.take_along_axis(values, index[:, None], axis=-1)
    scale = np.max(np.abs(values), axis=-1, keepdims=True)
    alone = np.sum(np.abs(values - value) <= 1e-9 * scale, axis=-1) == 1
    shared = alone & (np.sum(members, axis=-1) == 1) & (value[:, 0].imag == 0)
    return index, np.where(shared, value[:, 0].real, np.nan)


def _cleared(vector: FloatArray) -> FloatArray:
    """Entries that are zero to rounding as exact zeros: a token that is masked out takes no part."""
    floor = 4 * EPS * np.max(np.abs(vector), axis=-1, keepdims=True, initial=0.0)
    return np.where(np.abs(vector) > floor, vector, 0.0)


def _real_pairs(
    M: FloatArray, value: FloatArray, wanted: BoolArray
) -> tuple[np.ndarray[Any, Any], FloatArray, FloatArray, FloatArray, FloatArray]:
    """Eigenvectors of the wanted systems: their indices, right (unit), left (left . right = 1), value, error.

    ``error``: by how much a rounding of M turns the vectors, in eps.

    A pair too ill-conditioned to help is left out: it would cost more digits
    than the split saves.
    """
    pick = np.flatnonzero(wanted)
    matrix = M[pick] if M.shape[0] > 1 else np.broadcast_to(M, (pick.size, *M.shape[1:]))
    # both vectors from one SVD: residuals of one rounding of M, whatever the other eigenvectors are
    right, left, s = null_pair(matrix - value[pick, None, None] * np.eye(M.shape[-1]))
    right, left = _cleared(right), _cleared(left)
    overlap = np.sum(left * right, axis=-1)
    residual = np.linalg.norm((matrix @ right[:, :, None])[:, :, 0] - value[pick, None] * right, axis=-1)
    residual += np.linalg.norm((left[:, None, :] @ matrix)[:, 0, :] - value[pick, None] * left, axis=-1)
    size = np.linalg.norm(matrix, axis=(-1, -2)) + np.abs(value[pick])
    good = (np.abs(overlap) * LARGEST_CONDITION > 1) & (residual <= 64 * EPS * M.shape[-1] * size)
    pick, right, matrix = pick[good], right[good], matrix[good]
    left = left[good] / overlap[good, None]
    refined = (left[:, None, :] @ matrix @ right[:, :, None])[:, 0, 0]
    if s.shape[-1] == 1:
        return pick, right, left, refined, np.ones(len(pick))
    return pick, right, left, refined, size[good] / np.maximum(s[good, -2], EPS * size[good])
