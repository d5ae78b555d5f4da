"""Matrices with a Gaussian basis, drawn in compiled batches: S B S^-1 with the S that a seed stands for."""

import numpy as np
import pytest
from scipy import stats

from linsim import _kernels, weights
from linsim.errors import InvalidValueError

pytestmark = pytest.mark.skipif(not _kernels.importable(), reason="numba cannot be imported")


def basis(seed, stream, n):
    """S = Q R as the kernel has it, by products of whole matrices."""
    from linsim._kernels.normals import fill_normal

    drawn = np.empty(n * n)
    fill_normal(seed, stream, drawn)
    Q, R, at = np.eye(n), np.zeros((n, n)), 0
    for k in range(n - 1):
        v = drawn[at : at + n - k].copy()
        at += n - k
        length = np.copysign(np.linalg.norm(v), v[0])
        R[k, k] = -length
        v[0] += length
        Q[:, k:] -= 2 * np.outer(Q[:, k:] @ v, v) / (v @ v)
    R[n - 1, n - 1] = drawn[at]
    R[np.triu_indices(n, 1)] = drawn[at + 1 :]
    return Q @ R


def spectra(n, count, rng):
    half = rng.uniform(-1, 1, (count, n // 2)) + 1j * rng.uniform(0.1, 1, (count, n // 2))
    return np.concatenate([half, half.conj(), rng.uniform(-1, 1, (count, n % 2))], axis=1)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 33])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_it_is_what_its_seed_stands_for(n, kind):
    rng = np.random.default_rng(n)
    values = spectra(n, 11, rng) if kind == "complex" else rng.uniform(-1, 1, (11, n)) + 0j
    diagonal, coupling = weights._normal_form(values)
    seeds = rng.integers(2**63, size=11)
    H, condition = weights._similar(diagonal, coupling, seeds, 3)
    block = weights._block(diagonal, coupling)
    for k, seed in enumerate(seeds):
        S = basis(seed, 3, n)
        inverse = np.linalg.inv(S)
        true = np.linalg.norm(S) * np.linalg.norm(inverse)
        # n steps of a solve and two reflections each, and the inverse here, are off by eps of the condition
        assert np.abs(H[k] - S @ block[k] @ inverse).max() <= 8 * n * 2.2e-16 * true**2, k
        assert condition[k] == pytest.approx(true, rel=8 * n * 2.2e-16 * true)
    alone, _ = weights._similar(diagonal[-1:], coupling[-1:], seeds[-1:], 3)
    np.testing.assert_array_equal(alone[0], H[-1])


def test_the_basis_is_gaussian():
    n, seeds = 3, np.random.default_rng(0).integers(2**63, size=3000)
    S = np.stack([basis(seed, 0, n) for seed in seeds]).reshape(-1, n * n)
    for entry in S.T:
        assert stats.kstest(entry, "norm").pvalue > 1e-4
    # of nine independent numbers: correlations, and those of their squares, are about 1 / sqrt(3000)
    for x in (S, S * S):
        off = np.corrcoef(x.T) - np.eye(n * n)
        assert np.abs(off).max() < 5 / np.sqrt(len(S))


@pytest.mark.parametrize("compiled", [True, False])
def test_bases_are_never_badly_conditioned(monkeypatch, compiled):
    monkeypatch.setattr(_kernels, "importable", lambda: compiled)
    monkeypatch.setattr(weights, "_WORST_CONDITION", 3.0)
    found, real = [], weights._similar

    def similar(*args):
        found.append(real(*args))
        return found[-1]

    monkeypatch.setattr(weights, "_similar", similar)
    diagonal, coupling = np.tile(np.arange(4.0), (50, 1)), np.zeros((50, 3))
    seeds = np.random.default_rng(0).integers(2**63, size=50)
    H = weights._gaussian_similar(diagonal, coupling, seeds)
    assert len(found) > 1
    # each is the first of its own draws that is fine, whatever else is drawn
    for k in (0, 7, 49):
        for attempt in range(len(found)):
            one, condition = real(diagonal[k : k + 1], coupling[k : k + 1], seeds[k : k + 1], attempt)
            if condition[0] <= 12:
                break
        np.testing.assert_array_equal(one[0], H[k])
    monkeypatch.setattr(weights, "_WORST_CONDITION", 0.1)
    with pytest.raises(InvalidValueError, match="badly conditioned"):
        weights._gaussian_similar(diagonal, coupling, seeds)
