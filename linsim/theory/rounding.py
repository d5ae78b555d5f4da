r"""What the rounding of an eigenbasis, of coefficients, and of the input itself may hide.

M is the matrix as given, V its computed eigenvectors, U the computed dual rows.
In this basis M is Lambda + E with E = V^-1 (M V - V Lambda), a residual that is
computed, not guessed: |E| <= |U| (|R| + gamma |M| |V| + gamma |V| |Lambda|), entry by
entry, gamma the rounding of a sum of products.  It is zero where structure makes it
zero (diagonal weights), and small where LAPACK did better than it promises.  To first
order the true vectors are

    v_j + sum_k v_k E_kj / (lambda_j - lambda_k),   u_i + sum_k E_ik u_k / (lambda_i - lambda_k),

so with T_ik = |E_ik| / |lambda_i - lambda_k| a true coefficient differs from the computed
one by at most sum_k T_ik |c_kj|, and likewise on the side of H.  Eigenvalues within each
other's E count as equal: their vectors may be any basis of what they span, and what E
does among them is an error of the eigenvalue.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .spectra import EPS, B, C, Eigensystem, F, doubly_stochastic

__all__ = ["Hidden", "coefficient_error", "hidden", "mean_free"]

_PRIMES = (2147483629, 2147483587)  # below 2^31: products fit in 64 bits
LARGEST = 128  # tokens up to which exact ranks are asked for


class Hidden(NamedTuple):
    """What one side of X = V Y Z hides: (b, m, m) and (b, m), first-order bounds.

    turn : T_ik, how much of vector k may be hidden in the dual row i, and of
        column i in the vector k
    among : what E does to the eigenvalue beside its own entry: sums of |E_ik| over equal values
    """

    turn: F
    among: F


def hidden(M: F, system: Eigensystem, stochastic: bool = False) -> Hidden:
    """Bound what rounding hides in the eigensystem of (b, m, m) matrices.

    ``stochastic``: attention, whose rows sum to 1, whose first mode is constant, and whose
    columns are meant to sum to 1 where they do so to rounding.
    """
    m = M.shape[-1]
    values, V, U = system.values, system.right, system.left
    gamma = (m + 4) * EPS
    size_V, size_U = np.abs(V), np.abs(U)
    off = np.abs(M @ V - V * values[:, None, :])
    off = off + gamma * (np.abs(M) @ size_V + size_V * np.abs(values)[:, None, :])
    if stochastic:
        # the matrix that is meant differs from the given one where columns do not sum to 1 exactly
        deviation = np.max(np.abs(np.sum(M, axis=-2) - 1), axis=-1) * doubly_stochastic(M)
        off = off + 2 * deviation[:, None, None] * np.mean(size_V, axis=-2, keepdims=True)
    E = size_U @ off
    basis = np.abs(U @ V - np.eye(m)) + gamma * (size_U @ size_V)
    apart = np.abs(values[:, :, None] - values[:, None, :])
    own = np.einsum("...ii->...i", E)
    # where E exceeds half of the distance no expansion holds
    reach = np.maximum(own[:, :, None] + own[:, None, :], 2 * np.maximum(E, np.swapaxes(E, -1, -2)))
    equal = apart <= reach
    turn = np.where(equal, 0.0, E / np.where(equal, 1.0, apart)) + basis
    among = np.sum(np.where(equal & ~np.eye(m, dtype=bool), E, 0.0), axis=-1)
    # nothing is read from what is no basis
    turn[~system.diagonalizable], among[~system.diagonalizable] = 0.0, 0.0
    if stochastic:
        turn[:, 1:, 0] = 0.0  # A 1 = 1 exactly
        # pi is found without a subtraction, entry by entry: no other mode hides in it
        turn[:, 0, :] = np.where(np.arange(m) == 0, turn[:, 0, :], basis[:, 0, :])
        among[:, 0] = 0.0
    return Hidden(turn, among)


def coefficient_error(
    attention: Eigensystem, weights: Eigensystem, rows: Hidden, columns: Hidden, c: C, x0: F, eps: float
) -> F:
    """First-order bound of the error of c_ij = u_i^T x0 w_j, (b, n, d).

    Of sums, of both bases, and of an x0 that was rounded to a relative spacing of ``eps``; 0 only
    where c_ij = 0 exactly.
    """
    n, d = c.shape[-2:]
    left, right = np.abs(attention.left), np.abs(weights.right)
    # Only the first row sees what all tokens share: the others are read from differences.
    seen = left @ np.abs(x0 - x0[:, :1, :])
    seen[:, :1, :] = left[:, :1, :] @ np.abs(x0)
    # a feature that all tokens share was rounded alike for all of them
    shared = np.all(x0 == x0[:, :1, :], axis=-2, keepdims=True)
    given = left @ np.where(shared, 0.0, np.abs(x0))
    given[:, :1, :] = seen[:, :1, :]
    size = np.abs(c)
    own = (n + d + 8) * EPS * (seen @ right) + eps / 2 * (given @ right)
    return np.asarray(own + rows.turn @ size + size @ columns.turn)


# --- vectors whose mean over tokens is zero, exactly -----------------------------------------


def mean_free(A: F, system: Eigensystem, off: F) -> B:
    """Which right eigenvectors of (b, n, n) attention have the mean 0 exactly, (b, n).

    ``off`` (b, n) bounds the error of their computed means.  All but the constant one where
    columns sum to 1.  Else a mean that is zero to rounding may be zero or not, and no number of
    digits proves that it is; a rank does: 1^T, 1^T A, 1^T A^2, ... span the modes that have a mean.
    Where as many modes are free of it as look so, these are they.  (Ranks modulo primes: too
    small, and so wrong, with a probability below 1e-15.)
    """
    n = A.shape[-1]
    means = np.abs(np.sum(system.right, axis=-2)) / np.sqrt(n)
    size = max(A.shape[0], means.shape[0])
    others = np.arange(n) > 0
    out = np.array(np.broadcast_to(doubly_stochastic(A)[:, None] & others, (size, n)))
    looks = (means <= off) & others
    for s in np.flatnonzero(np.any(looks & ~out, axis=-1)):
        if n <= LARGEST and n - _observed(A[s % A.shape[0]]) == np.sum(looks[s]):
            out[s] = looks[s]
    return out


def _observed(A: F) -> int:
    """Rank of 1^T, 1^T A, 1^T A^2, ..., A the matrix whose rows are those given divided by their exact sums."""
    lowest = int(np.min(np.frexp(A[A > 0])[1])) - 53
    whole = [[_integer(float(a), lowest) for a in row] for row in A]
    return max(_rank_modulo(whole, p) for p in _PRIMES)


def _integer(value: float, lowest: int) -> int:
    """``value`` in units of 2^lowest."""
    numerator, denominator = value.as_integer_ratio()
    return (numerator << -lowest) // denominator


def _rank_modulo(whole: list[list[int]], p: int) -> int:
    rows = [[a * pow(sum(row), -1, p) % p for a in row] for row in whole]
    A = np.array(rows, dtype=np.int64)
    n = len(A)
    vector, basis, pivots = np.ones(n, dtype=np.int64), np.zeros((0, n), dtype=np.int64), []
    while True:
        rest = vector.copy()
        for row, pivot in zip(basis, pivots, strict=True):
            rest = (rest - rest[pivot] * row) % p
        if not np.any(rest):
            return len(pivots)
        pivot = int(np.flatnonzero(rest)[0])
        rest = rest * pow(int(rest[pivot]), -1, p) % p
        basis, pivots = np.vstack([basis, rest]), [*pivots, pivot]
        vector = np.sum(vector[:, None] * A % p, axis=0) % p
