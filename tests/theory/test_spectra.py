"""Eigensystems against exact and arbitrary-precision arithmetic."""

import mpmath
import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from linsim import attention, weights
from linsim._eigen import (
    attention_eigensystem,
    doubly_stochastic,
    null_pair,
    perron_vector,
    weight_eigensystem,
)


def exact_stationary(A):
    """pi of the chain whose off-diagonal entries are these doubles, in rational arithmetic."""
    n = len(A)
    q = [[fmpq(*float(A[i, j]).as_integer_ratio()) for j in range(n)] for i in range(n)]
    for i in range(n):
        q[i][i] = -sum((q[i][j] for j in range(n) if j != i), fmpq(0))
    # pi Q = 0, sum pi = 1
    rows = [[q[i][j] for i in range(n)] for j in range(n - 1)] + [[fmpq(1)] * n]
    solution = fmpq_mat(rows).solve(fmpq_mat(n, 1, [fmpq(0)] * (n - 1) + [fmpq(1)]))
    return [solution[i, 0] for i in range(n)]


def assert_entrywise(A, rtol):
    pi, unique = perron_vector(A[None])
    assert unique[0]
    for found, exact in zip(pi[0], exact_stationary(A), strict=True):
        assert abs(fmpq(*float(found).as_integer_ratio()) / exact - 1) < fmpq(*float(rtol).as_integer_ratio())


def stochastic(weights_):
    weights_ = np.asarray(weights_, dtype=float)
    return weights_ / weights_.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("temperature", [1.0, 0.2, 0.05])
def test_perron_vector_is_accurate_entry_by_entry(seed, temperature):
    """At temperature 0.05 entries of A, and of pi, range over 30 orders."""
    assert_entrywise(attention.softmax(8, 8, temperature=temperature, rng=seed), 1e-13)


@pytest.mark.parametrize("coupling", [1e-6, 1e-12, 1e-18, 1e-100])
def test_perron_vector_of_nearly_separate_groups(coupling):
    rng = np.random.default_rng(1)
    W = rng.uniform(0.1, 1, (6, 6))
    W[:3, 3:] *= coupling
    W[3:, :3] *= 3 * coupling
    assert_entrywise(stochastic(W), 1e-13)


def test_perron_vector_whose_entries_exceed_the_range_of_a_double():
    """A chain with pi_k growing by 1e200 a step: what underflows is 0, the rest is right."""
    n = 5
    A = np.zeros((n, n))
    for i in range(n - 1):
        A[i, i + 1], A[i + 1, i] = 0.5, 1e-200
    A[np.arange(n), np.arange(n)] = 1 - A.sum(axis=1)
    pi, unique = perron_vector(A[None])
    assert unique[0]
    np.testing.assert_allclose(pi[0], [0, 0, 0, 2e-200, 1], rtol=1e-14)


def test_perron_vector_is_unique_with_one_closed_group_in_any_order():
    rng = np.random.default_rng(0)
    W = rng.uniform(0.1, 1, (6, 6))
    W[4:, :4] = 0  # tokens 4 and 5 look at each other only
    for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 5, 0, 1, 4, 3]):
        A = stochastic(W[np.ix_(order, order)])
        pi, unique = perron_vector(A[None])
        assert unique[0]
        np.testing.assert_allclose(pi[0] @ A, pi[0], atol=1e-15)
        closed = np.isin(order, [4, 5])
        assert np.all(pi[0][~closed] == 0)
        assert np.all(pi[0][closed] > 0)


@pytest.mark.parametrize("causal", [np.tril, np.triu])
def test_perron_vector_of_a_causal_mask_is_its_first_token(causal):
    pi, unique = perron_vector(stochastic(causal(np.ones((4, 4))))[None])
    assert unique[0]
    assert sorted(pi[0]) == [0, 0, 0, 1]
    assert pi[0][0 if causal is np.tril else 3] == 1


def test_perron_vector_that_is_not_unique_is_flagged_among_others():
    good = attention.softmax(4, 4, rng=0)
    apart = np.zeros((4, 4))
    apart[:2, :2] = stochastic([[1, 2], [3, 1]])
    apart[2:, 2:] = stochastic([[1, 5], [1, 1]])
    pi, unique = perron_vector(np.stack([good, apart, np.eye(4)]))
    assert unique.tolist() == [True, False, False]
    np.testing.assert_array_equal(pi[1:], 0.25)


def test_doubly_stochastic_means_up_to_rounding():
    A = attention.doubly_stochastic(7, rng=0)
    other = A.copy()
    other[0, :2] += [1e-9, -1e-9]
    assert doubly_stochastic(np.stack([A, other])).tolist() == [True, False]
    assert np.all(perron_vector(A[None])[0] == 1 / 7)


FAMILIES = {
    "softmax": lambda: attention.softmax(9, 6, size=4, rng=0),
    "cold softmax": lambda: attention.softmax(9, 6, temperature=0.2, size=4, rng=0),
    "reversible": lambda: attention.softmax(9, 6, symmetric=True, size=4, rng=0),
    "symmetric": lambda: attention.from_spectrum(np.r_[1, np.linspace(-0.4, 0.5, 8)], rng=0)[None],
    "doubly stochastic": lambda: attention.doubly_stochastic(9, size=4, rng=0),
    "uniform": lambda: attention.uniform(9)[None],
    "identity": lambda: np.eye(5)[None],
    "symmetric groups": lambda: np.kron(np.eye(3), attention.uniform(2))[None],
    "groups": lambda: np.kron(np.eye(2), stochastic([[1, 2, 3], [1, 1, 5], [4, 1, 1]]))[None],
    "nearly groups": lambda: stochastic(np.kron(np.eye(2), [[1, 2], [5, 1]]) + 1e-15)[None],
    "causal": lambda: stochastic(np.tril(np.random.default_rng(3).uniform(0.1, 1, (5, 5))))[None],
    "periodic": lambda: np.roll(np.eye(4), 1, axis=1)[None],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_eigensystem(family):
    A = FAMILIES[family]()
    n = A.shape[-1]
    system = attention_eigensystem(A)
    assert np.all(system.values[:, 0] == 1)
    np.testing.assert_array_equal(system.right[:, :, 0], 1 / np.sqrt(n))
    scale = 1e-13 * system.basis_condition[:, None, None]
    right, left, values = system.right, system.left, system.values
    assert np.all(np.abs(A @ right - values[:, None, :] * right) < 1e-12)
    assert np.all(np.abs(left @ A - values[:, :, None] * left) < scale * (1 + np.abs(left)))
    assert np.all(np.abs(left @ right - np.eye(n)) < scale)
    # the other modes hold nothing constant, so identical tokens have no other mode
    size = np.linalg.norm(left, axis=-1)
    assert np.all(np.abs(left[:, 1:].sum(axis=-1)) < 1e-14 * size[:, 1:] * n)
    np.testing.assert_allclose(np.linalg.norm(right, axis=-2), 1, atol=1e-7)
    np.testing.assert_allclose(system.norm, np.linalg.norm(A, axis=(-1, -2)), rtol=1e-12)
    assert np.all(system.diagonalizable)
    if family in ("reversible", "symmetric", "uniform", "identity", "symmetric groups"):
        assert np.all(values.imag == 0)
    for s in range(len(A)):
        expected = np.linalg.eigvals(A[s])
        distance = np.abs(expected[:, None] - values[s][None, :])
        assert max(distance.min(axis=0).max(), distance.min(axis=1).max()) < 1e-12 * system.basis_condition[s]


def test_reversible_attention_stays_real_where_eigenvalues_nearly_coincide():
    """General solvers return conjugate pairs here."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        pi = rng.uniform(0.1, 1, 8)
        A = 0.5 * np.eye(8) + 0.5 * stochastic(
            np.outer(np.ones(8), pi) * (1 + 1e-15 * rng.normal(size=(8, 8)))
        )
        system = attention_eigensystem(A[None])
        assert np.all(system.values.imag == 0)


def test_reversible_attention_with_uneven_weights_is_diagonalizable():
    """A drift of 4 to 1 along 30 tokens: pi ranges over 17 orders; an uneven basis is not a defective one."""
    A = 0.4 * np.eye(30, k=1) + 0.1 * np.eye(30, k=-1)
    A[np.arange(30), np.arange(30)] = 1 - A.sum(axis=1)
    system = attention_eigensystem(A[None])
    assert system.basis_condition[0] > 1e7
    assert system.diagonalizable[0]


def test_eigenvalues_against_arbitrary_precision():
    A = attention.softmax(8, 6, rng=2)
    with mpmath.workdps(50):
        matrix = mpmath.matrix(A.tolist())
        for i in range(8):
            total = mpmath.fsum(matrix[i, j] for j in range(8))
            for j in range(8):
                matrix[i, j] /= total
        exact = mpmath.eig(matrix, left=False, right=False)
    system = attention_eigensystem(A[None])
    error = np.abs(np.array([complex(v) for v in exact])[:, None] - system.values[0]).min(axis=1)
    assert np.all(error < 1e-14)


def jordan(d, size, delta, seed, condition=1.0):
    """A d x d matrix with one Jordan block (off-diagonal ``delta``) at -1/2, and other eigenvalues."""
    J = np.diag(np.r_[np.full(size, -0.5), np.linspace(0.2, 0.9, d - size)])
    J[np.arange(size - 1), np.arange(1, size)] = delta
    rng = np.random.default_rng(seed)
    V = weights.orthogonal(d, rng=rng) * np.geomspace(1, condition, d) @ weights.orthogonal(d, rng=rng)
    return V @ J @ np.linalg.inv(V)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("delta", [1.0, 1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("condition", [1.0, 10.0])
def test_a_jordan_block_is_flagged_however_weak_its_coupling(size, delta, condition):
    """A coupling of 1e-6 gives eigenvectors with a condition of only 1e5."""
    H = np.stack([jordan(5, size, delta, seed, condition) for seed in range(20)])
    assert not np.any(weight_eigensystem(H).diagonalizable)


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0])
def test_a_multiple_eigenvalue_with_a_full_eigenspace_is_not_flagged(condition):
    H = np.stack([jordan(6, 4, 0.0, seed, condition) for seed in range(50)])
    assert np.all(weight_eigensystem(H).diagonalizable)


def test_random_and_exactly_triangular_matrices():
    assert np.all(weight_eigensystem(weights.gaussian(12, size=200, rng=0)).diagonalizable)
    block = np.array([[[-0.5, 1.0], [0.0, -0.5]], [[0.0, 1.0], [0.0, 0.0]], [[-0.5, 0.0], [0.0, -0.5]]])
    assert weight_eigensystem(block).diagonalizable.tolist() == [False, False, True]


def test_symmetric_weights_among_general_ones():
    H = weights.gaussian(6, size=4, rng=0)
    H[1] = H[1] + H[1].T
    H[3] = 0
    system = weight_eigensystem(H)
    assert np.all(system.values[[1, 3]].imag == 0)
    np.testing.assert_array_equal(system.basis_condition[[1, 3]], 1)
    np.testing.assert_allclose(system.left @ system.right, np.broadcast_to(np.eye(6), (4, 6, 6)), atol=1e-13)
    back = system.right * system.values[:, None, :] @ system.left
    np.testing.assert_allclose(back, H, atol=1e-13)


@pytest.mark.parametrize("condition", [1.0, 1e6])
def test_null_pair_has_a_residual_of_rounding_size(condition):
    rng = np.random.default_rng(0)
    V = weights.orthogonal(7, rng=rng) * np.geomspace(1, condition, 7)
    M = V @ np.diag([0.0, 1, -2, 3, 0.5, 0.1, 7]) @ np.linalg.inv(V)
    right, left, _ = null_pair(np.stack([M, M.T]))
    size = np.linalg.norm(M)
    for matrix, r, u in zip([M, M.T], right, left, strict=True):
        np.testing.assert_allclose([np.linalg.norm(r), np.linalg.norm(u)], 1, rtol=1e-14)
        assert np.linalg.norm(matrix @ r) < 1e-14 * size
        assert np.linalg.norm(u @ matrix) < 1e-14 * size
