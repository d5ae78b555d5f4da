"""Matrices with a Haar orthogonal basis, drawn in compiled batches: the numbers, the law, the spectrum."""

import numpy as np
import pytest
from scipy import stats

from linsim import _kernels, _spectra, weights
from linsim.streams import RowGenerator

pytestmark = pytest.mark.skipif(not _kernels.importable(), reason="numba cannot be imported")

# the known answers that come with the generator (Random123, kat_vectors, philox4x32 10)
KNOWN = [
    ((0, 0), (0, 0), (0, 0), ("6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8")),
    (
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        ("408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"),
    ),
    (
        (0x243F6A88, 0x85A308D3),
        (0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        ("d16cfe09", "94fdcceb", "5001e420", "24126ea1"),
    ),
]


@pytest.mark.parametrize(("low", "high", "key", "known"), KNOWN)
def test_counters_give_the_known_answers(low, high, key, known):
    from linsim._kernels.normals import philox

    words = [np.uint64(a + (b << 32)) for a, b in (key, low, high)]
    found = [int(word) for word in philox(*words)]
    halves = [half for word in found for half in (word & 0xFFFFFFFF, word >> 32)]
    assert tuple(f"{half:08x}" for half in halves) == known


def test_numbers_are_normal_in_the_middle_and_in_the_tail():
    from linsim._kernels.normals import fill_normal

    x = np.empty(2_000_000)
    fill_normal(1, 0, x)
    assert stats.kstest(x[:200_000], "norm").pvalue > 1e-4
    for edge in (0.5, 1.5, 3.0, 3.6541528853610088, 4.2):  # beyond the fourth the tail of the last layer
        for side in (x > edge, x < -edge):
            share = stats.norm.sf(edge)
            assert abs(side.mean() - share) < 5 * np.sqrt(share / x.size)
    other = np.empty(1000)
    fill_normal(1, 1, other)
    assert abs(np.corrcoef(other, x[:1000])[0, 1]) < 0.2


def test_the_basis_is_haar_distributed():
    draws, d = 20_000, 3
    rng = np.random.default_rng(0)
    # H = q qᵀ: every entry of the unit vector q, squared, is Beta(1/2, (d - 1) / 2)
    H = weights.from_spectrum(np.tile([1.0, 0.0, 0.0], (draws, 1)), rng=rng)
    for k in range(d):
        assert stats.kstest(H[:, k, k], stats.beta(0.5, (d - 1) / 2).cdf).pvalue > 1e-4
    # signs of products of its entries are even, and so are all eight of the signs of q
    signs = np.sign(H[:, 0, 1:])
    assert np.abs(signs.mean(axis=0)).max() < 5 / np.sqrt(draws)
    # an antisymmetric matrix of three rows is its axis, uniform on the sphere: so is each component
    K = weights.from_spectrum(np.tile([1j, -1j, 0], (draws, 1)), rng=rng)
    axis = np.stack([K[:, 0, 1], K[:, 0, 2], K[:, 1, 2]], axis=1)
    np.testing.assert_allclose(np.sum(axis**2, axis=1), 1, rtol=1e-13)
    for k in range(d):
        assert stats.kstest(axis[:, k], stats.uniform(-1, 2).cdf).pvalue > 1e-4


def test_the_orientation_of_a_pair_is_as_likely_as_the_other():
    # d = 2: H = [[x, y], [-y, x]] or its transpose, whatever the rotation
    H = weights.from_spectrum(np.tile([1 + 2j, 1 - 2j], (4000, 1)), rng=3)
    np.testing.assert_allclose(np.abs(H[:, 0, 1]), 2, rtol=1e-13)
    assert abs(np.mean(H[:, 0, 1] > 0) - 0.5) < 5 * 0.5 / np.sqrt(4000)


@pytest.mark.parametrize("d", [1, 2, 7, 64, 65])
def test_the_spectrum_is_kept(d):
    rng = np.random.default_rng(d)
    values = rng.uniform(-3, 3, (9, d)) + 0j
    values[3:, : 2 * (d // 4)] = rng.standard_normal((6, 2 * (d // 4))) * 3
    half = d // 4
    values[3:, :half] = rng.standard_normal((6, half)) + 1j * rng.uniform(0.1, 2, (6, half))
    values[3:, half : 2 * half] = values[3:, :half].conj()
    H = weights.from_spectrum(values, rng=RowGenerator([(k,) for k in range(9)]))
    assert (np.swapaxes(H[:3], -1, -2) == H[:3]).all()
    # normal: H Hᵀ = Hᵀ H, and its eigenvalues are as well known as those of a symmetric matrix
    transposed = np.swapaxes(H, -1, -2)
    np.testing.assert_allclose(H @ transposed, transposed @ H, atol=1e-13 * d)
    for power in range(1, 4):
        traces = np.trace(np.linalg.matrix_power(H, power), axis1=-2, axis2=-1)
        np.testing.assert_allclose(traces, np.sum(values**power, axis=-1).real, atol=1e-12 * d * 3**power)
    for k in range(9):
        alone = weights.from_spectrum(values[k : k + 1], rng=RowGenerator([(k,)]))
        np.testing.assert_array_equal(alone[0], H[k])


def test_without_kernels_the_law_is_the_same(monkeypatch):
    monkeypatch.setattr(_kernels, "importable", lambda: False)
    diagonal, seeds = np.tile([1.0, 0.0, 0.0], (4000, 1)), np.arange(4000)
    H = _spectra.turned(diagonal, np.zeros((4000, 2)), seeds)
    assert stats.kstest(H[:, 0, 0], stats.beta(0.5, 1).cdf).pvalue > 1e-4
