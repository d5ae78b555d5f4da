"""Eigensystems of attention and weights: the host linear algebra that measuring and predicting share.

General eigenproblems have no device form (CuPy loops over a batch), so inputs
come to the host once, are decomposed by LAPACK, and only vectors go back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ._low_rank import Thin, detected, modal
from ._low_rank import thin as thin_product
from ._types import EPS, BoolArray, ComplexArray, FloatArray, IntArray

__all__ = [
    "Eigensystem",
    "attention_eigensystem",
    "doubly_stochastic",
    "meant",
    "null_pair",
    "perron_vector",
    "spacing",
    "weight_eigensystem",
]


# up to this condition an inverse is as good as one by singular values, and found in a fraction of the time
_WELL = 1e6
#: eps of dtypes that have fewer digits than doubles
SPACINGS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


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
    norm : (b,), Frobenius norm of the matrix: eps * norm * condition is what
        rounding alone does to an eigenvalue
    diagonalizable : (b,) bool, False within rounding of a defective matrix
    growth : (b, m) int, the power of depth with which a mode grows beside its
        modulus: p - k for the k-th vector of a Jordan chain of length p, so 0
        everywhere for a diagonalizable matrix.  The eigenvalues of a chain
        are equal: rounding, which scatters them, is undone by their mean.
    """

    values: ComplexArray
    right: ComplexArray
    left: ComplexArray
    condition: FloatArray
    basis_condition: FloatArray
    norm: FloatArray
    diagonalizable: BoolArray
    growth: IntArray


def spacing(*given: Any) -> float:
    """The largest eps of the dtypes of some arrays; what has none, or more digits, counts as double."""
    names = (str(getattr(x, "dtype", "")).rsplit(".", 1)[-1] for x in given)
    return max((SPACINGS.get(name, EPS) for name in names), default=EPS)


def _dual(right: ComplexArray) -> tuple[ComplexArray, FloatArray, FloatArray]:
    """Rows dual to the columns of ``right``, |left_i| |right_i|, and the condition of ``right``."""
    s = np.linalg.svd(right, compute_uv=False)
    spread = s[..., 0] / np.maximum(s[..., -1], 1e-140)
    well = spread < _WELL
    left: ComplexArray = np.empty_like(right)
    left[well] = np.linalg.inv(right[well])
    if not well.all():
        U, poor, Vh = np.linalg.svd(right[~well])
        inverse = 1 / np.maximum(poor, 1e-140)  # squares must not overflow
        left[~well] = np.conj(np.swapaxes(Vh, -1, -2)) @ (
            inverse[..., None] * np.conj(np.swapaxes(U, -1, -2))
        )
    condition = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-2)
    return left, condition, spread


def _general(M: FloatArray, eps: float = EPS) -> Eigensystem:
    values, right = np.linalg.eig(M)
    values, right = values.astype(np.complex128), right.astype(np.complex128)
    left, condition, basis_condition = _dual(right)
    norm = np.linalg.norm(M, axis=(-1, -2))
    values, growth = _jordan(M, values, condition, norm, eps)
    good = (basis_condition < 1e7) & ~np.any(growth > 0, axis=-1)
    return Eigensystem(values, right, left, condition, basis_condition, norm, good, growth)


def _jordan(
    M: FloatArray, values: ComplexArray, condition: FloatArray, norm: FloatArray, eps: float
) -> tuple[ComplexArray, IntArray]:
    """Eigenvalues of (b, m, m) matrices with Jordan blocks made equal again, and the growth of each.

    Rounding splits a block of size p into eigenvalues that lie no further
    apart than their own error, eps * norm * condition, and are ill-conditioned;
    their mean is accurate.  A multiple eigenvalue with a full eigenspace can
    look the same, but then M - lambda I loses as many ranks as there are such
    eigenvalues (up to 2e-12 of its norm: matrices are rarely known better; or up
    to 8 times the spacing ``eps`` of its entries, where that is more).
    """
    m, lost = M.shape[-1], max(1e4 * EPS, 8 * eps)
    growth = np.zeros(values.shape, dtype=np.int64)
    if not (condition > 10).any():
        return values, growth
    # rounding moves the eigenvalue of a p-chain by eps^(1/p): 1e-3 up to p = 5
    error = norm[:, None] * np.minimum(16 * np.sqrt(m) * EPS * condition, 1e-3)
    apart = np.abs(values[:, :, None] - values[:, None, :])
    close = apart <= error[:, :, None] + error[:, None, :]
    sick = np.any((np.sum(close, axis=-1) > 1) & (condition > 10), axis=-1)
    if not np.any(sick):
        return values, growth
    from scipy.sparse.csgraph import connected_components

    values = np.array(values)
    for s in np.flatnonzero(sick):
        cluster = connected_components(close[s], directed=False)[1]
        for k in np.unique(cluster[condition[s] > 10]):
            block = cluster == k
            if np.sum(block) == 1:
                continue  # a single eigenvalue has no chain
            centre = np.mean(values[s, block])
            if abs(centre.imag) <= 1e4 * EPS * norm[s]:
                centre = complex(centre.real)
            singular = np.linalg.svd(M[s] - centre * np.eye(m), compute_uv=False)
            if np.sum(singular <= lost * norm[s]) < block.sum():
                values[s, block] = centre
                growth[s, block] = _chains(M[s], centre, values[s, ~block], int(block.sum()))
    return values, growth


def _chains(M: FloatArray, centre: complex, others: ComplexArray, size: int) -> IntArray:
    """Growth of each member of a cluster of ``size`` eigenvalues of M, from its Jordan blocks."""
    from scipy.linalg import schur

    # Nearer to the centre than to any other eigenvalue: these come first.
    radius = np.min(np.abs(others - centre), initial=np.inf) / 2
    T, _, found = schur(M.astype(np.complex128), output="complex", sort=lambda z: abs(z - centre) <= radius)
    if found != size:
        return np.arange(size)[::-1]  # no better knowledge: one chain
    # Staircase: how many vectors the nilpotent part takes to 0, to those, and so on.
    nilpotent = np.triu(T[:size, :size], 1)
    scale, reach = np.linalg.norm(nilpotent, 2), [size]
    while len(nilpotent):
        _, singular, Vh = np.linalg.svd(nilpotent)
        # rounding turns the basis of a p-chain by eps^(1/p); 1e-3 is beyond that up to p = 5
        kernel = int(np.sum(singular <= 1e-3 * scale))
        kernel = min(max(kernel, 1), reach[-1])  # there is one, and never more than before
        rest = Vh[: len(Vh) - kernel]
        nilpotent = rest @ nilpotent @ rest.conj().T
        reach.append(kernel)
    lengths = np.sum(np.array(reach[1:])[:, None] > np.arange(reach[1])[None, :], axis=0)
    return np.concatenate([np.arange(length)[::-1] for length in lengths])


def _merge(where: BoolArray, yes: Callable[[], Eigensystem], no: Callable[[], Eigensystem]) -> Eigensystem:
    """Rows of ``yes()`` where ``where``, else of ``no()``; each returns only its own rows."""
    if not where.any():
        return no()
    if where.all():
        return yes()
    merged, first, second = [], yes(), no()
    for field in fields(Eigensystem):
        p, q = getattr(first, field.name), getattr(second, field.name)
        out = np.empty((where.size, *p.shape[1:]), dtype=p.dtype)
        out[where], out[~where] = p, q
        merged.append(out)
    return Eigensystem(*merged)


def weight_eigensystem(
    H: FloatArray, eps: float = EPS, factors: tuple[FloatArray, FloatArray] | None = None
) -> Eigensystem:
    """Decompose (b, d, d) weights; those symmetric up to a spacing of ``eps`` by the symmetric solver.

    Low rank is used, found or given as ``factors`` (b, d, r) and (b, r, d) of H: the eigenvalues that
    these leave out are zero exactly.
    """
    scale = np.max(np.abs(H), axis=(-1, -2), keepdims=True)
    symmetric = np.all(np.abs(H - np.swapaxes(H, -1, -2)) <= 8 * eps * scale, axis=(-1, -2))

    def orthogonal() -> Eigensystem:
        values, vectors = np.linalg.eigh(H[symmetric])
        if factors is not None:
            absent = max(H.shape[-1] - factors[0].shape[-1], 0)
            order = np.argsort(np.abs(values), axis=-1, kind="stable")
            np.put_along_axis(values, order[:, :absent], 0.0, axis=-1)
        return _orthogonal(values, vectors)

    thin = {
        s: found
        for s in np.flatnonzero(~symmetric).tolist()
        if (found := detected(H[s]) if factors is None else thin_product(*(M[s] for M in factors)))
    }
    low = {s: modes for s, form in thin.items() if (modes := _of_low_rank(H[s], form, eps))}
    if not low:
        return _merge(symmetric, orthogonal, lambda: _general(H[~symmetric], eps))
    if len(low) == len(H) == 1:
        return low[0]
    wide = ~symmetric
    wide[list(low)] = False
    stacked = Eigensystem(*(np.concatenate(parts) for parts in zip(*map(_parts, low.values()), strict=True)))
    here = np.zeros(len(H), dtype=bool)
    here[list(low)] = True

    def rest() -> Eigensystem:
        return _merge(symmetric[~here], orthogonal, lambda: _general(H[wide], eps))

    return _merge(here, lambda: stacked, rest)


def _parts(system: Eigensystem) -> list[Any]:
    return [getattr(system, field.name) for field in fields(Eigensystem)]


def _of_low_rank(H: FloatArray, thin: Thin, eps: float) -> Eigensystem | None:
    """Decompose one (d, d) matrix by its thin form; None where rounding mixes zero with other eigenvalues."""
    modes = modal(thin)
    if modes is None:
        return None
    d, r = len(H), len(modes.core)
    condition = np.linalg.norm(modes.left, axis=-1)
    norm = max(float(np.linalg.norm(thin.values)), thin.size)
    own = modes.values[None, :r]
    if np.any(np.abs(own) <= 32 * np.sqrt(d) * EPS * norm * np.maximum(condition[:r], np.max(condition[r:]))):
        return None
    growth = np.zeros((1, d), dtype=np.int64)
    own, growth[:, :r] = _jordan(modes.core[None], own, condition[None, :r], np.array([norm]), eps)
    values = modes.values[None].copy()
    values[:, :r] = own
    return Eigensystem(
        values=values,
        right=modes.right[None],
        left=modes.left[None],
        condition=condition[None],
        basis_condition=np.array([modes.basis_condition]),
        norm=np.array([norm]),
        diagonalizable=np.array([modes.basis_condition < 1e7 and not np.any(growth)]),
        growth=growth,
    )


def _orthogonal(values: FloatArray, vectors: FloatArray) -> Eigensystem:
    right = vectors.astype(np.complex128)
    ones = np.ones(values.shape)
    return Eigensystem(
        values=values.astype(np.complex128),
        right=right,
        left=np.swapaxes(right, -1, -2),
        condition=ones,
        basis_condition=ones[:, 0],
        norm=np.linalg.norm(values, axis=-1),
        diagonalizable=np.ones(values.shape[0], dtype=bool),
        growth=np.zeros(values.shape, dtype=np.int64),
    )


def doubly_stochastic(A: FloatArray, eps: float = EPS) -> BoolArray:
    """Whether the columns of (b, n, n) row-stochastic A sum to 1 up to rounding, (b,).

    Such an A is *meant* to keep token means, and is treated as doing so
    exactly: deviations of the size of one rounding carry no information.
    """
    deviation: BoolArray = np.max(np.abs(np.sum(A, axis=-2) - 1), axis=-1) <= 16 * A.shape[-1] * eps
    return deviation


def perron_vector(A: FloatArray, eps: float = EPS) -> tuple[FloatArray, BoolArray]:
    """Left eigenvector pi of (b, n, n) row-stochastic A at eigenvalue 1, and whether it is unique.

    State reduction (Grassmann, Taksar and Heyman 1985) uses off-diagonal
    entries only and never subtracts, so every entry of pi is accurate to a
    few roundings however close the second eigenvalue comes to 1.  Not unique
    (masks cut the tokens into groups that never look out): the flag is False
    and pi is uniform.
    """
    pi, reached = _state_reduction(A)
    unique = np.array(reached)
    for s in np.flatnonzero(~reached):
        # The elimination needs its last token to be reached by all others.
        order = _recurrent_first(A[s])
        if order is not None:
            row, found = _state_reduction(A[s][None, order[:, None], order])
            pi[s, order], unique[s] = row[0], found[0]
    pi[~unique] = 1 / A.shape[-1]
    return np.where(doubly_stochastic(A, eps)[:, None], 1 / A.shape[-1], pi), unique


def _state_reduction(A: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Stationary vectors, and whether every token reaches token 0."""
    n = A.shape[-1]
    P = np.array(A, dtype=np.float64)
    reached = np.ones(P.shape[0], dtype=bool)
    for k in range(n - 1, 0, -1):
        out = np.sum(P[:, k, :k], axis=-1)
        reached &= out > 0
        P[:, :k, k] /= np.where(out > 0, out, 1.0)[:, None]
        P[:, :k, :k] += P[:, :k, k, None] * P[:, k, None, :k]
    pi = np.zeros(P.shape[:2])
    pi[:, 0] = 1
    for k in range(1, n):
        pi[:, k] = np.sum(pi[:, :k] * P[:, :k, k], axis=-1)
        # ratios of entries may exceed the range of a double
        pi /= np.maximum(pi[:, k : k + 1], 1.0)
    reached &= np.all(np.isfinite(pi), axis=-1)
    pi = np.where(reached[:, None], pi, 1.0)
    return pi / np.sum(pi, axis=-1, keepdims=True), reached


def _recurrent_first(A: FloatArray) -> np.ndarray[Any, Any] | None:
    """Order of tokens with one of the only closed group in front; None if there are several."""
    from scipy.sparse.csgraph import connected_components

    count, group = connected_components(A > 0, directed=True, connection="strong")
    leaves = (A > 0) & (group[:, None] != group[None, :])
    closed = np.setdiff1d(np.arange(count), group[np.any(leaves, axis=1)])
    return np.argsort(group != closed[0], kind="stable") if closed.size == 1 else None


def meant(A: FloatArray, eps: float) -> FloatArray:
    """Attention that was rounded to a relative spacing ``eps``, as float64 matrices whose rows sum to 1.

    One whose columns sum to 1 as well as ``eps`` can tell means Pi + (I - Pi) A (I - Pi), Pi the mean
    over tokens; all others mean rows over their sums.
    """
    if eps <= EPS:
        return A
    keeps = doubly_stochastic(A, eps)[:, None, None]
    right, down = ((np.sum(A, axis=axis, keepdims=True) - 1) / A.shape[-1] for axis in (-1, -2))
    # entries that are right stay as they are
    both = np.where(keeps, A - right - down + np.mean(right, axis=-2, keepdims=True), A)
    return both / np.sum(both, axis=-1, keepdims=True)


def attention_eigensystem(
    A: FloatArray, eps: float = EPS, stationary: tuple[FloatArray, BoolArray] | None = None
) -> Eigensystem:
    """Decompose (b, n, n) row-stochastic attention, the constant mode at index 0.

    Its eigenvalue is set to exactly 1 and its right eigenvector to 1/sqrt(n).
    A that satisfies detailed balance, pi_i A_ij = pi_j A_ji (softmax of a
    symmetric score matrix, every symmetric A), has a real spectrum: it is
    symmetrised by sqrt(pi) and stays real however close two eigenvalues come.
    ``eps`` is the relative spacing of the numbers that A was given in; ``stationary``: what
    :func:`perron_vector` says of A, where that is known already.
    """
    n = A.shape[-1]
    pi, unique = perron_vector(A, eps) if stationary is None else stationary
    flow = pi[..., :, None] * A
    back = np.swapaxes(flow, -1, -2)
    # with several stationary vectors the uniform one is one of them if columns sum to 1
    reversible = (unique | doubly_stochastic(A, eps)) & (np.min(pi, axis=-1) > 1e-100)
    # entries are off by eps, and those of pi by n of them
    balance = max(1e-12, 4 * n * eps if eps > EPS else 0.0)
    reversible &= np.all(np.abs(flow - back) <= balance * (flow + back), axis=(-1, -2))
    system = _merge(
        reversible,
        lambda: _reversible(A[reversible], pi[reversible]),
        lambda: _general(A[~reversible], eps),
    )

    # The constant mode goes first.  Where 1 is a multiple eigenvalue (masks that
    # split the tokens) it replaces the vector that contributes most to it.
    weight = np.abs(np.sum(system.left, axis=-1)) * (np.abs(system.values - 1) < 1e-6)
    first = np.argmax(weight - np.where(weight > 0, 0, np.abs(system.values - 1)), axis=-1)
    order = np.argsort(np.arange(n) != first[:, None], axis=-1, kind="stable")
    row = np.arange(len(A))[:, None]
    values, condition = system.values[row, order], system.condition[row, order]
    growth = system.growth[row, order]
    right = np.swapaxes(np.swapaxes(system.right, -1, -2)[row, order], -1, -2)
    left = system.left[row, order]
    basis_condition = np.array(system.basis_condition)
    values[:, 0] = 1
    growth[:, 0] = 0  # powers of a stochastic matrix are bounded
    right[:, :, 0] = 1 / np.sqrt(n)
    # The other modes carry nothing constant, exactly: left_k . 1 = pi . right_k = 0.
    leak = np.max(np.abs(np.sum(left[:, 1:, :], axis=-1)), axis=-1, initial=0.0)
    left[unique, 0, :] = pi[unique] * np.sqrt(n)
    right[unique, :, 1:] -= (pi[unique, None, :] @ right[unique, :, 1:]) * np.ones((n, 1))
    left[unique, 1:, :] -= np.sum(left[unique, 1:, :], axis=-1, keepdims=True) * pi[unique, None, :]
    # Where that moved them by more than rounding does (1 is a multiple eigenvalue,
    # or nearly), the duals must be found anew.
    anew = ~unique | (leak > 1e-8 * np.max(np.linalg.norm(left, axis=-1), axis=-1))
    if np.any(anew):
        right[anew, :, 1:] /= np.linalg.norm(right[anew, :, 1:], axis=-2, keepdims=True)
        left[anew], condition[anew], basis_condition[anew] = _dual(right[anew])
    return Eigensystem(
        values, right, left, condition, basis_condition, system.norm, system.diagonalizable, growth
    )


def _reversible(A: FloatArray, pi: FloatArray) -> Eigensystem:
    root = np.sqrt(pi)
    S = root[..., :, None] * A / root[..., None, :]
    values, Y = np.linalg.eigh((S + np.swapaxes(S, -1, -2)) / 2)
    right = (Y / root[..., :, None]).astype(np.complex128)
    left = np.swapaxes(Y * root[..., :, None], -1, -2).astype(np.complex128)
    size = np.linalg.norm(right, axis=-2)
    right, left = right / size[..., None, :], left * size[..., :, None]
    singular = np.linalg.svd(right, compute_uv=False)
    return Eigensystem(
        values=values.astype(np.complex128),
        right=right,
        left=left,
        condition=np.linalg.norm(left, axis=-1),
        basis_condition=singular[..., 0] / np.maximum(singular[..., -1], 1e-300),
        norm=np.linalg.norm(A, axis=(-1, -2)),
        # however uneven pi makes the basis
        diagonalizable=np.ones(values.shape[0], dtype=bool),
        growth=np.zeros(values.shape, dtype=np.int64),
    )


def null_pair(M: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Right and left unit null vectors of (b, m, m) nearly singular real matrices, and singular values.

    Both come from one SVD, so both residuals are of the size of one rounding
    of M whatever the condition of the other eigenvectors.
    """
    U, s, Vh = np.linalg.svd(M)
    return Vh[..., -1, :], U[..., :, -1], s
