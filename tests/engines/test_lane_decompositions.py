"""Eigenvalues and eigenvectors across lanes, against LAPACK and against what they are to be."""

import numpy as np
import pytest

from linsim import _kernels, _spectra

pytestmark = pytest.mark.skipif(not _kernels.importable(), reason="numba cannot be imported")


@pytest.fixture(autouse=True)
def compiled_first(monkeypatch):
    monkeypatch.setenv("LINSIM_COMPILE", "wait")


def general(n, rng):
    """Matrices of every kind, entries around 1, not a multiple of the lanes."""
    some = rng.standard_normal((19, n, n))
    some[3] = np.triu(some[3])
    some[4] = np.abs(some[4]) / np.abs(some[4]).sum(axis=-1, keepdims=True)
    some[5] = np.linalg.qr(some[5])[0]
    some[6] = 0
    some[7] = np.roll(np.eye(n), 1, axis=0)  # a permutation: every modulus is equal
    some[8] = np.eye(n)
    some[9] = some[9] - some[9].T
    some[10] *= 1e-8
    some[11] = np.diag(np.arange(n)) / n
    return np.ascontiguousarray(some)


def distances(found, true):
    from scipy.optimize import linear_sum_assignment

    cost = np.abs(found[:, None] - true[None, :])
    return cost[linear_sum_assignment(cost)]


@pytest.mark.parametrize("n", [1, 2, 3, 8, 33])
def test_general_eigenvalues_are_those_of_lapack(n):
    from linsim._kernels.hessenberg import general_values

    M = general(n, np.random.default_rng(n))
    found = np.empty((len(M), n), dtype=complex)
    general_values(M, found)
    for k, matrix in enumerate(M):
        values, vectors = np.linalg.eig(matrix)
        # both err by some eps of the norm times the condition of the eigenvalue
        condition = np.linalg.cond(vectors)
        size = np.linalg.norm(matrix)
        assert distances(found[k], values).max(initial=0) <= 20 * n * 2.2e-16 * size * condition, k
        np.testing.assert_allclose(found[k].sum(), np.trace(matrix), atol=20 * n * 2.2e-16 * size)
        # pairs lie side by side, exactly conjugate
        pairs = found[k][found[k].imag != 0]
        np.testing.assert_array_equal(pairs[::2].conj(), pairs[1::2])
        alone = np.empty((1, n), dtype=complex)
        general_values(M[k : k + 1], alone)
        np.testing.assert_array_equal(alone[0], found[k])


def test_what_is_not_finite_has_no_eigenvalues():
    from linsim._kernels.hessenberg import general_values

    M = general(5, np.random.default_rng(0))
    M[2, 1, 3] = np.nan
    found = np.empty((len(M), 5), dtype=complex)
    general_values(M, found)
    assert np.isnan(found[2]).all()
    assert np.isfinite(np.delete(found, 2, axis=0)).all()


@pytest.mark.parametrize("tolerance", [2.2e-16, 1e-3])
@pytest.mark.parametrize("m", [1, 2, 3, 8, 33])
def test_symmetric_matrices_are_taken_apart(m, tolerance):
    from linsim._kernels.products import aligned
    from linsim._kernels.symmetric import eigenvectors

    rng = np.random.default_rng(m)
    S = rng.standard_normal((8, m, m))
    S = S + np.swapaxes(S, -1, -2)
    S[1], S[2], S[3] = 0, np.eye(m), np.ones((m, m))
    S[4] = np.diag(np.arange(m)[::-1])
    like = np.zeros(1)
    X, Z, d, e, work = (aligned(size * 8, like) for size in (m * m, m * m, m, m, 2 * m + 4))
    X[:] = np.moveaxis(np.tril(S), 0, -1).ravel()
    assert eigenvectors(X, m, Z, d, e, work, tolerance)
    values = d.reshape(m, 8).T
    rows = np.moveaxis(Z.reshape(m, m, 8), -1, 0)
    np.testing.assert_allclose(
        rows @ np.swapaxes(rows, -1, -2), np.tile(np.eye(m), (8, 1, 1)), atol=1e-14 * m
    )
    again = np.swapaxes(rows, -1, -2) @ (values[:, :, None] * rows)
    # what is dropped: m couplings, each relative to two entries of the diagonal and a thousandth
    size = np.linalg.norm(S, axis=(-1, -2))[:, None] + 1e-3
    dropped = 1e-14 * m * 8 + 2 * m * tolerance * size
    assert (np.abs(again - S).max(axis=-1) <= dropped).all()
    known = np.linalg.eigvalsh(S)
    assert (np.abs(np.sort(values) - known) <= dropped).all()
    np.testing.assert_allclose(
        _kernels.symmetric_eigenvalues(S)[:, ::-1], np.linalg.eigvalsh(S), atol=1e-13 * m
    )


def test_the_compiled_search_finds_what_the_other_one_finds(monkeypatch):
    """Both ways: the same spectra, entries above 0, and eigenvectors that spread alike."""
    rng = np.random.default_rng(1)
    others = np.sort(rng.uniform(-0.2, 0.4, (40, 11)), axis=-1)
    seeds = rng.integers(2**63, size=40)
    compiled = _spectra.symmetric_stochastic(others, seeds)
    monkeypatch.setattr(_kernels, "importable", lambda: False)
    plain = _spectra.symmetric_stochastic(others, seeds)
    shares = []
    for A in (compiled, plain):
        assert A.min() > 0
        np.testing.assert_allclose(A.sum(axis=-1), 1, atol=1e-14)
        np.testing.assert_allclose(np.linalg.eigvalsh(A)[:, :-1], others, atol=1e-12)
        vectors = np.linalg.eigh(A)[1][:, :, :-1]
        shares.append(np.sum(vectors**4, axis=1).mean())
    # 3 / (n + 2) of a Haar basis is 0.21; a basis of blocks is near 1/2
    assert abs(shares[0] - shares[1]) < 0.03
    assert not np.array_equal(compiled, plain)


@pytest.mark.parametrize("m", [1, 2, 7, 33])
def test_symmetric_eigenvalues_of_any_size_and_rank(m):
    rng = np.random.default_rng(m)
    # more than two tiles, and not as many as fill them
    S = rng.standard_normal((37, m, m))
    S = S + np.swapaxes(S, -1, -2)
    S[1], S[2], S[3] = 0, np.eye(m), -np.ones((m, m))
    S[4] *= 1e200
    S[5] *= 1e-200
    S[6] = np.round(S[6])
    found = _kernels.symmetric_eigenvalues(S)
    norm = np.max(np.sum(np.abs(S), axis=-1), axis=-1, keepdims=True)
    # the reduction, the factor and the iteration err by some eps of the norm each
    assert np.all(np.abs(found[:, ::-1] - np.linalg.eigvalsh(S)) <= 20 * m * 2.2e-16 * norm)
    for k in (0, 4, 36):
        np.testing.assert_array_equal(_kernels.symmetric_eigenvalues(S[k : k + 1])[0], found[k])
    S[7, 0, m - 1] = S[7, m - 1, 0] = np.nan
    again = _kernels.symmetric_eigenvalues(S)
    assert np.isnan(again[7]).all()
    np.testing.assert_array_equal(np.delete(again, 7, axis=0), np.delete(found, 7, axis=0))
