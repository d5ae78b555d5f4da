"""Matrices of low rank H = V O, (d, r) times (r, d): their spectrum from the r x r product O V.

V O and O V share their nonzero eigenvalues (Sylvester), and if these are r in number, zero is an
eigenvalue d - r times over, with as many eigenvectors: it has no Jordan block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._types import EPS, ComplexArray, FloatArray

__all__ = ["Modal", "Thin", "detected", "modal", "thin"]


# a product of two factors in doubles leaves a remainder of one or two EPS, relatively
REMAINDER = 8 * EPS
SMALLEST = 64  # below this a search costs more than it can save
MARGIN = 8  # columns of a random probe beyond the rank that it can show


class Thin(NamedTuple):
    """H = left diag(values) right^T, orthonormal (d, r), falling values > 0; ``size`` >= ||H||_2.

    ``size`` is larger where the factors that H came from are, which cancelled in their product.
    """

    left: FloatArray
    values: FloatArray
    right: FloatArray
    size: float


def thin(V: FloatArray, O: FloatArray) -> Thin | None:  # noqa: E741
    """The thin form of a product (d, r) times (r, d); None where r < d saves nothing."""
    if V.shape[-1] >= V.shape[-2]:
        return None
    (Q, R), (P, T) = np.linalg.qr(V), np.linalg.qr(O.T)
    U, values, Wh = np.linalg.svd(R @ T.T)
    size = float(np.linalg.norm(R, 2) * np.linalg.norm(T, 2))
    # factors of rank below r: what rounding leaves of the others is no eigenvalue
    rank = int(np.sum(values > REMAINDER * size))
    return Thin(Q @ U[:, :rank], values[:rank], P @ Wh[:rank].T, size)


def detected(H: FloatArray) -> Thin | None:
    """The thin form of a (d, d) matrix of rank d/4 at most; None for any other.

    A product with random columns shows the range of H (Halko, Martinsson and Tropp 2011); what H is
    beyond it is computed, and has to be as small as the rounding of H itself.
    """
    d = H.shape[-1]
    if d < SMALLEST:
        return None
    norm, count = float(np.linalg.norm(H)), d // 4 + MARGIN
    Q = np.linalg.qr(H @ np.random.default_rng(0).standard_normal((d, count)))[0]
    B = Q.T @ H
    if not np.linalg.norm(H - Q @ B) <= REMAINDER * norm:
        return None
    U, values, Wh = np.linalg.svd(B, full_matrices=False)
    tail = np.sqrt(np.cumsum(values[::-1] ** 2))[::-1]
    rank = int(np.sum(tail > REMAINDER * norm))
    return None if rank > d // 4 else Thin(Q @ U[:, :rank], values[:rank], Wh[:rank].T, norm)


class Modal(NamedTuple):
    """Eigenvectors of one matrix of low rank, those of the nonzero eigenvalues first.

    core : (r, r), which has these eigenvalues
    values : (d,), the last d - r of them 0
    right : (d, d), unit columns; left : (d, d), the dual rows
    basis_condition : 2-norm condition number of ``right``
    """

    core: FloatArray
    values: ComplexArray
    right: ComplexArray
    left: ComplexArray
    basis_condition: float


def modal(H: Thin) -> Modal | None:
    """The modes of H; None where its kernel does not hold all of the eigenvalue zero (a Jordan block)."""
    P, K, s = H.left, H.right, H.values
    d, r = P.shape
    kernel = np.linalg.qr(K, mode="complete")[0][:, r:]
    core = s[:, None] * (K.T @ P)
    if r == 0:
        unit = kernel.astype(np.complex128)
        return Modal(core, np.zeros(d, dtype=np.complex128), unit, unit.T, 1.0)
    values, W = np.linalg.eig(core)
    W = W.astype(np.complex128)
    singular = np.linalg.svd(core, compute_uv=False)
    if singular[-1] <= d * EPS * H.size or np.linalg.cond(W) > 1 / (1e3 * EPS):
        return None
    dual = np.linalg.inv(W)
    # z^T core = mu z^T gives the row z^T diag(s) K^T / mu, and the kernel is read by what P has no share in
    rows = (dual * s) @ K.T / values[:, None]
    within = kernel.T @ P
    rest = kernel.T - np.linalg.solve(core.T, within.T).T @ (s[:, None] * K.T)
    # in the basis (K, kernel) the eigenvectors are those of K, and of the kernel the part that meets them
    meets = np.linalg.qr(within)[1] if d - r > r else within
    block = np.zeros((r + len(meets), r + len(meets)), dtype=np.complex128)
    block[:r, :r], block[r:, :r], block[r:, r:] = K.T @ P @ W, meets @ W, np.eye(len(meets))
    sizes = np.linalg.svd(block, compute_uv=False)
    right, left = np.empty((d, d), dtype=np.complex128), np.empty((d, d), dtype=np.complex128)
    right[:, :r], right[:, r:] = P @ W, kernel
    left[:r], left[r:] = rows, rest
    every = np.zeros(d, dtype=np.complex128)
    every[:r] = values
    return Modal(core, every, right, left, float(max(sizes[0], 1) / min(sizes[-1], 1)))
