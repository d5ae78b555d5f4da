"""Eigensystems of attention and weights: all host linear algebra of linsim is here.

General eigenproblems have no device form (CuPy loops over a batch), so inputs
come to the host once, are decomposed by LAPACK, and only vectors go back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "Eigensystem",
    "attention_eigensystem",
    "doubly_stochastic",
    "null_pair",
    "perron_vector",
    "weight_eigensystem",
]

F = np.ndarray[Any, np.dtype[np.float64]]
C = np.ndarray[Any, np.dtype[np.complex128]]
B = np.ndarray[Any, np.dtype[np.bool_]]

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Eigensystem:
    """Eigenvalues and both sets of eigenvectors of a stack of matrices.

    Attributes
    ----------
    values : (b, m) complex
    right : (b, m, m) complex, eigenvectors in the columns, unit 2-norm
    left : (b, m, m) complex, rows with ``left @ right = I`` where the matrix
        is diagonalizable (a pseudo-inverse where it is not)
    condition : (b, m), eigenvalue condition numbers |left_i| |right_i|
    basis_condition : (b,), the 2-norm condition number of ``right``
    """

    values: C
    right: C
    left: C
    condition: F
    basis_condition: F

    @property
    def diagonalizable(self) -> B:
        """Whether the eigenvector basis is good enough to be trusted, (b,).

        A defective matrix has, in rounded arithmetic, a basis condition of
        1e8 (blocks of size 2) or more.
        """
        return self.basis_condition < 1e7


def _with_left(values: C, right: C) -> Eigensystem:
    U, s, Vh = np.linalg.svd(right)
    inverse = 1 / np.maximum(s, 1e-300)
    left = np.conj(np.swapaxes(Vh, -1, -2)) @ (inverse[..., None] * np.conj(np.swapaxes(U, -1, -2)))
    condition = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-2)
    return Eigensystem(values, right, left, condition, s[..., 0] * inverse[..., -1])


def _general(M: F) -> Eigensystem:
    values, right = np.linalg.eig(M)
    return _with_left(values.astype(np.complex128), right.astype(np.complex128))


def _merge(where: B, yes: Eigensystem, no: Eigensystem) -> Eigensystem:
    """Rows of ``yes`` where ``where``, else of ``no``; each holds only its own rows."""
    fields = []
    for name in ("values", "right", "left", "condition", "basis_condition"):
        p, q = getattr(yes, name), getattr(no, name)
        out = np.empty((where.size, *p.shape[1:]), dtype=p.dtype)
        out[where], out[~where] = p, q
        fields.append(out)
    return Eigensystem(*fields)


def weight_eigensystem(H: F) -> Eigensystem:
    """Decompose (b, d, d) weights; symmetric ones by the symmetric solver."""
    scale = np.max(np.abs(H), axis=(-1, -2), keepdims=True)
    symmetric = np.all(np.abs(H - np.swapaxes(H, -1, -2)) <= 8 * EPS * scale, axis=(-1, -2))
    values, vectors = np.linalg.eigh(H[symmetric])
    return _merge(symmetric, _orthogonal(values, vectors), _general(H[~symmetric]))


def _orthogonal(values: F, vectors: F) -> Eigensystem:
    right = vectors.astype(np.complex128)
    ones = np.ones(values.shape)
    return Eigensystem(values.astype(np.complex128), right, np.swapaxes(right, -1, -2), ones, ones[:, 0])


def doubly_stochastic(A: F, eps: float = EPS) -> B:
    """Whether the columns of (b, n, n) row-stochastic A sum to 1 up to rounding, (b,).

    Such an A is *meant* to keep token means, and is treated as doing so
    exactly: deviations of the size of one rounding carry no information.
    """
    deviation: B = np.max(np.abs(np.sum(A, axis=-2) - 1), axis=-1) <= 16 * A.shape[-1] * eps
    return deviation


def perron_vector(A: F, eps: float = EPS) -> tuple[F, B]:
    """Left eigenvector pi of (b, n, n) row-stochastic A at eigenvalue 1, and whether it is unique.

    State reduction (Grassmann, Taksar and Heyman 1985) uses off-diagonal
    entries only and never subtracts, so every entry of pi is accurate to a
    few roundings however close the second eigenvalue comes to 1.  Not unique,
    or not reached by this order of elimination: the flag is False.
    """
    n = A.shape[-1]
    P = np.array(A, dtype=np.float64)
    unique = np.ones(P.shape[0], dtype=bool)
    for k in range(n - 1, 0, -1):
        out = np.sum(P[:, k, :k], axis=-1)
        unique &= out > 0
        P[:, :k, k] /= np.where(out > 0, out, 1.0)[:, None]
        P[:, :k, :k] += P[:, :k, k, None] * P[:, k, None, :k]
    pi = np.zeros(P.shape[:2])
    pi[:, 0] = 1
    for k in range(1, n):
        pi[:, k] = np.sum(pi[:, :k] * P[:, :k, k], axis=-1)
    unique &= np.all(np.isfinite(pi), axis=-1)
    pi = np.where(unique[:, None], pi, 1.0)
    pi /= np.sum(pi, axis=-1, keepdims=True)
    return np.where(doubly_stochastic(A, eps)[:, None], 1 / n, pi), unique


def attention_eigensystem(A: F) -> Eigensystem:
    """Decompose (b, n, n) row-stochastic attention, the constant mode at index 0.

    Its eigenvalue is set to exactly 1 and its right eigenvector to 1/sqrt(n).
    A that satisfies detailed balance, pi_i A_ij = pi_j A_ji (softmax of a
    symmetric score matrix, every symmetric A), has a real spectrum: it is
    symmetrised by sqrt(pi) and stays real however close two eigenvalues come.
    """
    n = A.shape[-1]
    pi, unique = perron_vector(A)
    flow = pi[..., :, None] * A
    back = np.swapaxes(flow, -1, -2)
    reversible = unique & (np.min(pi, axis=-1) > 1e-100)
    reversible &= np.all(np.abs(flow - back) <= 1e-12 * (flow + back), axis=(-1, -2))

    root = np.sqrt(pi[reversible])
    S = root[..., :, None] * A[reversible] / root[..., None, :]
    values, Y = np.linalg.eigh((S + np.swapaxes(S, -1, -2)) / 2)
    right = (Y / root[..., :, None]).astype(np.complex128)
    left = np.swapaxes(Y * root[..., :, None], -1, -2).astype(np.complex128)
    norm = np.linalg.norm(right, axis=-2)
    right, left = right / norm[..., None, :], left * norm[..., :, None]
    condition = np.linalg.norm(left, axis=-1)
    singular = np.linalg.svd(right, compute_uv=False)
    real = Eigensystem(
        values.astype(np.complex128), right, left, condition, singular[..., 0] / np.maximum(singular[..., -1], 1e-300)
    )
    system = _merge(reversible, real, _general(A[~reversible]))

    # The constant mode goes first.  Where 1 is a multiple eigenvalue (masks that
    # split the tokens) it replaces the vector that contributes most to it.
    weight = np.abs(np.sum(system.left, axis=-1)) * (np.abs(system.values - 1) < 1e-6)
    first = np.argmax(weight - np.where(weight > 0, 0, np.abs(system.values - 1)), axis=-1)
    order = np.argsort(np.arange(n) != first[:, None], axis=-1, kind="stable")
    values_ = np.take_along_axis(system.values, order, axis=-1)
    right_ = np.take_along_axis(system.right, order[:, None, :], axis=-1)
    left_ = np.take_along_axis(system.left, order[:, :, None], axis=-2)
    condition_ = np.take_along_axis(system.condition, order, axis=-1)
    values_[:, 0] = 1
    right_[:, :, 0] = 1 / np.sqrt(n)
    left_[unique, 0, :] = pi[unique] * np.sqrt(n)
    return Eigensystem(values_, right_, left_, condition_, system.basis_condition)


def null_pair(M: F) -> tuple[F, F]:
    """Right and left unit null vectors of (b, m, m) nearly singular real matrices.

    Both come from one SVD, so both residuals are of the size of one rounding
    of M whatever the condition of the other eigenvectors.
    """
    U, _, Vh = np.linalg.svd(M)
    return Vh[..., -1, :], U[..., :, -1]
