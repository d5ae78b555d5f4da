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

from typing import Any, NamedTuple

import numpy as np

from .._eigen import Eigensystem, doubly_stochastic
from .._types import EPS, BoolArray, ComplexArray, FloatArray, IntArray

__all__ = ["Hidden", "Known", "hidden", "known", "mean_free"]

_PRIMES = (2147483629, 2147483587)  # below 2^31: products fit in 64 bits
LARGEST_STATE = 600  # entries of a state up to which exact ranks are asked for


class Hidden(NamedTuple):
    """What one side of X = V Y Z hides: (b, m, m) and (b, m), first-order bounds.

    turn : T_ik, how much of vector k may be hidden in the dual row i, and of
        column i in the vector k
    among : what E does to the eigenvalue beside its own entry: sums of |E_ik| over equal values
    equal : (b, m, m) bool, which values rounding cannot tell apart
    """

    turn: FloatArray
    among: FloatArray
    equal: BoolArray


def hidden(
    M: FloatArray, system: Eigensystem, stochastic: bool = False, constant: BoolArray | None = None
) -> Hidden:
    """Bound what rounding hides in the eigensystem of (b, m, m) matrices.

    ``stochastic``: attention, whose rows sum to 1, whose first mode is constant, and whose
    columns are meant to sum to 1 where they do so to rounding.  ``constant`` (b,) bool: of other
    attention, whose first mode is constant.
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
    if constant is not None:  # A 1 = s 1 exactly
        turn[:, 1:, 0] = np.where(constant[:, None], 0.0, turn[:, 1:, 0])
    return Hidden(turn, among, equal)


class Known(NamedTuple):
    """Coefficients of a stack of systems: |c|, its error (both 0 where c = 0 exactly), what bases hide."""

    size: FloatArray
    error: FloatArray
    rows: Hidden
    columns: Hidden


def known(
    A: FloatArray,
    H: FloatArray,
    x0: FloatArray,
    attention: Eigensystem,
    weights: Eigensystem,
    c: ComplexArray,
    eps: float,
    constant: BoolArray | None = None,
) -> Known:
    """What is known of c_ij = u_i^T x0 w_j, (b, n, d), of an x0 given to a relative spacing of ``eps``.

    ``constant`` (b,) bool: of attention that is not stochastic, whether mode 0 is the constant one.
    """
    rows = hidden(A, attention, stochastic=constant is None, constant=constant)
    columns = hidden(H, weights)
    size, error = np.abs(c), _coefficient_error(attention, weights, rows, columns, c, x0, eps, constant)
    sure = size > error
    basis = attention.diagonalizable & weights.diagonalizable
    doubt = ~sure & (error > 0) & basis[:, None, None]
    if np.any(doubt) and constant is None:
        nothing = _absent(A, H, x0, rows, columns, sure, doubt)
        size, error = (np.where(nothing, 0.0, x) for x in (size, error))
    return Known(size, error, rows, columns)


def _coefficient_error(
    attention: Eigensystem,
    weights: Eigensystem,
    rows: Hidden,
    columns: Hidden,
    c: ComplexArray,
    x0: FloatArray,
    eps: float,
    constant: BoolArray | None,
) -> FloatArray:
    """First-order bound of the error of c_ij = u_i^T x0 w_j, (b, n, d).

    Of sums, of both bases, and of an x0 that was rounded to a relative spacing of ``eps``; 0 only
    where c_ij = 0 exactly.
    """
    n, d = c.shape[-2:]
    left, right = np.abs(attention.left), np.abs(weights.right)
    # Only a constant first row sees what all tokens share: then the others are read from differences.
    uniform = np.ones(1, dtype=bool) if constant is None else constant
    seen = left @ np.abs(x0 - np.where(uniform[:, None, None], x0[:, :1, :], 0.0))
    seen[:, :1, :] = left[:, :1, :] @ np.abs(x0)
    # a feature that all tokens share was rounded alike for all of them
    shared = np.all(x0 == x0[:, :1, :], axis=-2, keepdims=True)
    given = left @ np.where(shared, 0.0, np.abs(x0))
    given[:, :1, :] = seen[:, :1, :]
    size = np.abs(c)
    own = (n + d + 8) * EPS * (seen @ right) + eps / 2 * (given @ right)
    return np.asarray(own + rows.turn @ size + size @ columns.turn)


# --- what is zero exactly ---------------------------------------------------------------------
#
# A number that is zero to rounding may be zero or not, and no count of digits proves that it is.
# Ranks do: of the vectors that 1^T A^k (or A^a X_0 H^b) span, which is the number of distinct
# eigenvalues (pairs of them) that take part.  Doubles are fractions, so ranks are found modulo a
# prime; they come out too small, and so wrong, with a probability below 1e-15 for two primes.


def _absent(
    A: FloatArray,
    H: FloatArray,
    x0: FloatArray,
    rows: Hidden,
    columns: Hidden,
    sure: BoolArray,
    doubt: BoolArray,
) -> BoolArray:
    """Which doubtful coefficients (b, n, d) are zero exactly.

    ``sure`` are those that are not zero.  Where x0 spans, under A and H, no more than the pairs of
    distinct eigenvalues which these belong to, there are no others.
    """
    out = np.zeros(sure.shape, dtype=bool)
    n, d = sure.shape[1:]
    if n * d > LARGEST_STATE:
        return out
    for s in np.flatnonzero(np.any(doubt, axis=(-1, -2))):
        group = [_groups(side.equal[s % side.equal.shape[0]]) for side in (rows, columns)]
        pairs = group[0][:, None] * d + group[1][None, :]
        found = np.unique(pairs[sure[s]])
        parts = (A[s % A.shape[0]], H[s % H.shape[0]], x0[s % x0.shape[0]])
        if all(_spans_at_most(*parts, found.size, p) for p in _PRIMES):
            out[s] = doubt[s] & ~np.isin(pairs, found)
    return out


def mean_free(A: FloatArray, system: Eigensystem, off: FloatArray) -> BoolArray:
    """Which right eigenvectors of (b, n, n) attention have the mean 0 exactly, (b, n).

    ``off`` (b, n) bounds the error of their computed means.  All but the constant one where
    columns sum to 1.  Else 1^T, 1^T A, 1^T A^2, ... span as many modes as have a mean: where
    all others look free of it, and no more do, these are they.
    """
    n = A.shape[-1]
    means = np.abs(np.sum(system.right, axis=-2)) / np.sqrt(n)
    size = max(A.shape[0], means.shape[0])
    others = np.arange(n) > 0
    out = np.array(np.broadcast_to(doubly_stochastic(A)[:, None] & others, (size, n)))
    looks = (means <= off) & others & system.diagonalizable[:, None]
    for s in np.flatnonzero(np.any(looks & ~out, axis=-1)):
        one, least = A[s % A.shape[0]], n - int(np.sum(looks[s]))
        nothing = np.zeros((1, 1))
        if n <= LARGEST_STATE and all(
            _spans_at_most(one.T, nothing, np.ones((n, 1)), least, p, dual=True) for p in _PRIMES
        ):
            out[s] = looks[s]
    return out


def _groups(equal: BoolArray) -> np.ndarray[Any, Any]:
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(equal, directed=False)[1])


def _spans_at_most(
    A: FloatArray, H: FloatArray, x0: FloatArray, most: int, p: int, dual: bool = False
) -> bool:
    """Whether A^a x0 H^b span at most ``most`` dimensions, modulo a prime.

    A stands for the attention whose rows (``dual``: columns, of its transpose) sum to 1 exactly.
    """
    a, h, x = _attention_modulo(A.T if dual else A, p), _modulo(H, p), _modulo(x0, p)
    a = a.T if dual else a
    basis, pivots = np.zeros((0, x.size), dtype=np.int64), np.zeros(0, dtype=np.int64)
    waiting = [x]
    while waiting:
        x = waiting.pop()
        rest = x.ravel()
        rest = (rest - np.sum(rest[pivots][:, None] * basis % p, axis=0)) % p
        if not np.any(rest):
            continue
        if pivots.size == most:
            return False
        pivot = int(np.flatnonzero(rest)[0])
        rest = rest * pow(int(rest[pivot]), -1, p) % p
        basis = np.vstack([(basis - basis[:, pivot : pivot + 1] * rest) % p, rest])
        pivots = np.append(pivots, pivot)
        x = rest.reshape(x.shape)
        waiting += [_product(a, x, p), _product(x, h, p)]
    return True


def _product(x: IntArray, y: IntArray, p: int) -> IntArray:
    return np.asarray(np.sum(x[:, :, None] * y[None] % p, axis=1) % p)


def _modulo(M: FloatArray, p: int) -> IntArray:
    """Doubles modulo a prime: a double is an integer times a power of two."""
    fraction, exponent = np.frexp(M)
    out = np.ldexp(fraction, 53).astype(np.int64) % p
    for e in np.unique(exponent):
        here = exponent == e
        out[here] = out[here] * pow(2, int(e) - 53, p) % p
    return out


def _attention_modulo(A: FloatArray, p: int) -> IntArray:
    """Rows divided by their sums; where columns sum to 1 to rounding, Pi + (1 - Pi) A (1 - Pi)."""
    n, K = len(A), _modulo(A, p)
    if not doubly_stochastic(A[None])[0]:
        # a sum that p divides has no inverse: a row of another scale then, of which the other prime knows
        sums = [int(np.sum(row)) % p for row in K]
        return np.array([row * (pow(t, -1, p) if t else 1) % p for row, t in zip(K, sums, strict=True)])
    share = pow(n, -1, p)
    down, across = (np.sum(K, axis=axis, keepdims=True) % p * share % p for axis in (0, 1))
    return np.asarray((K - down - across + int(np.sum(K)) % p * share % p * share + share) % p)
