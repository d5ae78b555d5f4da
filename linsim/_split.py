"""Choose the vectors that cut a state into invariant parts, from the dominant set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._state import Split
from .theory.dominance import dominance
from .theory.spectra import (
    EPS,
    B,
    C,
    Eigensystem,
    F,
    attention_eigensystem,
    doubly_stochastic,
    null_pair,
    perron_vector,
    weight_eigensystem,
)

__all__ = ["KINDS", "choose_split", "constant_split", "row_split"]

# What each system was split along, as reported in Trajectory.info
KINDS = ("constant direction", "constant direction and feature", "token mode", "token mode and feature")

# A feature direction this ill-conditioned costs more digits than it saves
LARGEST_CONDITION = 1e5
# Beyond this the condition of a basis says that it is defective, not how far
# the vectors of a split are off
LARGEST_SENSITIVITY = 1e3


def row_split(attentions: Sequence[F], d: int, eps: float) -> Split:
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
        coupled=np.where(preserved, 0.0, 1.0),
        growth=np.full((1, 1, 5), np.nan),
        injected=2 * np.sqrt(n + d) * ones,
        sensitivity=2 * np.sqrt(n + d) * ones,
        any_coupled=not bool(np.all(preserved)),
        any_z=False,
        any_mean=False,
    )


def choose_split(
    A: F, H: F, x0: F, eps: float, systems: tuple[Eigensystem, Eigensystem] | None = None
) -> tuple[Split, np.ndarray[Any, Any]]:
    """Choose for each of b linear systems; A, H and x0 have leading axis b or 1.

    ``systems``: the eigensystems of A and H, where they are known already.

    v is the right eigenvector of the one real attention eigenvalue that all
    dominant modes share (else the vector of ones); z the left eigenvector of
    the one real weight eigenvalue that they share (else none).
    """
    size = max(A.shape[0], H.shape[0], x0.shape[0])
    n, d = A.shape[-1], H.shape[-1]
    attention, weights = systems or (attention_eigensystem(A), weight_eigensystem(H))
    # only the direction of x0 matters, and its squares must not overflow
    x0 = x0 / np.max(np.abs(x0), axis=(-1, -2), keepdims=True)
    law = dominance(attention, weights, x0)
    # the vectors are found in float64, whatever the states are held in
    condition = np.minimum(attention.basis_condition * weights.basis_condition, LARGEST_SENSITIVITY)
    dominant = np.broadcast_to(law.dominant, (size, n, d))
    i, value_A = _shared_eigenvalue(np.any(dominant, axis=2), attention.values)
    j, value_H = _shared_eigenvalue(np.any(dominant, axis=1), weights.values)

    pi, preserved = _stationary_vectors(A, size, eps)
    v, u, lam = np.ones((size, n)), pi, np.ones(size)
    pick, right, left, value = _real_pairs(A, value_A, ~np.isnan(value_A) & (i != 0))
    # orthogonal to the constant mode exactly, not to rounding
    centre = preserved[pick, None]
    v[pick] = right - np.where(centre, np.mean(right, axis=-1, keepdims=True), 0)
    u[pick] = left - np.where(centre, np.mean(left, axis=-1, keepdims=True), 0)
    lam[pick] = value
    constant = np.ones(size, dtype=bool)
    constant[pick] = False

    w, z, mu = np.zeros((size, d)), np.zeros((size, d)), np.zeros(size)
    pick, right, left, value = _real_pairs(H, value_H, ~np.isnan(value_H))
    has_z = np.zeros(size, dtype=bool)
    has_z[pick] = True
    j = np.where(has_z, j, -1)
    size_z = np.linalg.norm(left, axis=-1, keepdims=True)
    w[pick], z[pick], mu[pick] = right * size_z, left / size_z, value

    def column(x: Any) -> Any:
        return np.asarray(x)[:, None, None]

    largest = 1 + np.linalg.norm(A, 2, axis=(-1, -2)) * np.linalg.norm(H, 2, axis=(-1, -2))
    fastest = np.maximum(np.max(np.abs(law.rho), axis=(-1, -2)), 2.0**-60)
    split = Split(
        v=v[:, :, None],
        u=u[:, None, :],
        w=w[:, :, None],
        z=z[:, None, :],
        lam=column(lam),
        mu=column(mu),
        constant=column(constant),
        preserves_mean=column(preserved),
        coupled=np.zeros((1, 1, 1)),
        growth=_noise_growth(np.broadcast_to(np.abs(law.rho), (size, n, d)), np.where(constant, 0, i), j)[
            :, None, :
        ],
        # a new error may grow by the norm of the next layer, of which the noise of modes knows nothing;
        # a factor of 4 of that is ordinary
        injected=column(2 * np.sqrt(n + d) * largest * np.maximum(largest / (4 * fastest), 1.0)),
        sensitivity=column(2 * np.sqrt(n + d) * np.maximum(condition * (EPS / eps), 1.0)),
        any_coupled=False,
        any_z=bool(np.any(has_z)),
        any_mean=bool(np.any(preserved & ~constant)),
    )
    return split, np.asarray(KINDS)[2 * ~constant + has_z]


def constant_split(A: F, d: int, size: int, modulus: F, eps: float) -> Split:
    """Split off the constant direction along the Perron vector, for ``size`` systems of one A or as many.

    What needs no more than the mean kept apart is spared the dominant modes.
    ``modulus`` (b, n, d): of 1 + lambda_i mu_j, the constant mode first.
    """
    n = A.shape[-1]
    pi, preserved = _stationary_vectors(A, size, eps)
    ones, nothing = np.ones((size, 1, 1)), np.full(size, -1)
    norms = np.sqrt(n + d) * ones
    return Split(
        v=np.ones((size, n, 1)),
        u=pi[:, None, :],
        w=np.zeros((size, d, 1)),
        z=np.zeros((size, 1, d)),
        lam=ones,
        mu=0 * ones,
        constant=ones > 0,
        preserves_mean=np.array(preserved)[:, None, None],
        coupled=np.zeros((1, 1, 1)),
        growth=_noise_growth(np.broadcast_to(modulus, (size, n, d)), 0 * nothing, nothing)[:, None, :],
        injected=2 * norms,
        sensitivity=2 * norms,
        any_coupled=False,
        any_z=False,
        any_mean=False,
    )


def _stationary_vectors(A: F, size: int, eps: float) -> tuple[F, B]:
    """Left eigenvectors at eigenvalue 1 (size, n), and whether columns sum to 1 as well (size,)."""
    pi, unique = perron_vector(A, eps)
    preserved = np.broadcast_to(doubly_stochastic(A, eps), size)
    unique = np.broadcast_to(unique, size)
    pi = np.array(np.broadcast_to(pi, (size, A.shape[-1])))
    for k in np.flatnonzero(~unique & ~preserved):
        pi[k] = _stationary(A[k if A.shape[0] > 1 else 0])
    return pi, preserved


def _noise_growth(modulus: F, i: np.ndarray[Any, Any], j: np.ndarray[Any, Any]) -> F:
    """log2 of the fastest growth that a, r, b, R and the mean can hold, (b, 5).

    All modes of a part count, excited or not: rounding excites every one.
    """
    _, n, d = modulus.shape
    row = (np.arange(n) == i[:, None])[:, :, None]
    column = (np.arange(d) == j[:, None])[:, None, :]
    sets = (row & column, row & ~column, ~row & column, ~row & ~column, (np.arange(n) == 0)[None, :, None])
    largest = [np.max(np.where(held, modulus, 0), axis=(-1, -2)) for held in sets]
    return np.log2(np.maximum(np.stack(largest, axis=-1), 2.0**-60))


def _stationary(A: F) -> F:
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


def _shared_eigenvalue(members: B, values: C) -> tuple[np.ndarray[Any, Any], F]:
    """Index and value of the eigenvalue that all dominant modes share; NaN if none, complex or multiple."""
    index = np.argmax(members, axis=-1)
    values = np.broadcast_to(values, members.shape)
    value = np.take_along_axis(values, index[:, None], axis=-1)
    scale = np.max(np.abs(values), axis=-1, keepdims=True)
    alone = np.sum(np.abs(values - value) <= 1e-9 * scale, axis=-1) == 1
    shared = alone & (np.sum(members, axis=-1) == 1) & (value[:, 0].imag == 0)
    return index, np.where(shared, value[:, 0].real, np.nan)


def _real_pairs(M: F, value: F, wanted: B) -> tuple[np.ndarray[Any, Any], F, F, F]:
    """Eigenvectors of the wanted systems: their indices, right (unit), left (left . right = 1), value.

    A pair too ill-conditioned to help is left out: it would cost more digits
    than the split saves.
    """
    pick = np.flatnonzero(wanted)
    matrix = M[pick] if M.shape[0] > 1 else np.broadcast_to(M, (pick.size, *M.shape[1:]))
    right, left = null_pair(matrix - value[pick, None, None] * np.eye(M.shape[-1]))
    overlap = np.sum(left * right, axis=-1)
    residual = np.linalg.norm((matrix @ right[:, :, None])[:, :, 0] - value[pick, None] * right, axis=-1)
    residual += np.linalg.norm((left[:, None, :] @ matrix)[:, 0, :] - value[pick, None] * left, axis=-1)
    size = np.linalg.norm(matrix, axis=(-1, -2)) + np.abs(value[pick])
    good = (np.abs(overlap) * LARGEST_CONDITION > 1) & (residual <= 64 * EPS * M.shape[-1] * size)
    pick, right, matrix = pick[good], right[good], matrix[good]
    left = left[good] / overlap[good, None]
    refined = (left[:, None, :] @ matrix @ right[:, :, None])[:, 0, 0]
    return pick, right, left, refined
