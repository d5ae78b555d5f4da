import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linsim import attention
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError, SpectrumError
from linsim.streams import RowGenerator


def spread(low, high, n):
    return np.r_[1.0, np.linspace(low, high, n - 1)]


def one_apart(value, low, high, n):
    return np.r_[1.0, value, np.linspace(low, high, n - 2)]


def check(A, eigenvalues):
    eigenvalues = np.asarray(eigenvalues, dtype=float)
    assert A.dtype == np.float64
    assert A.shape == (*eigenvalues.shape, eigenvalues.shape[-1])
    assert (np.swapaxes(A, -1, -2) == A).all()
    assert (A > 0).all()
    np.testing.assert_allclose(A.sum(axis=-1), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(A.sum(axis=-2), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.linalg.eigvalsh(A), np.sort(eigenvalues, axis=-1), rtol=0, atol=1e-12)


FAMILIES = {
    "spread": lambda n: spread(-0.35, 0.6, n),
    "spread, positive": lambda n: spread(0.5, 0.6, n),
    "spread, trace 1": lambda n: spread(-0.6, 0.6, n),
    "zeros": lambda n: spread(0, 0, n),
    "one large": lambda n: one_apart(0.9, 0, 0, n),
    "one large, small ones": lambda n: one_apart(0.9, -0.05, 0.05, n),
    "one negative": lambda n: one_apart(-0.6, 0, 0, n),
    "one negative, small ones": lambda n: one_apart(-0.6, 0.01, 0.1, n),
    "all near 1": lambda n: spread(0.99, 0.99, n),
    "equal negative": lambda n: spread(-0.5 / (n - 1), -0.5 / (n - 1), n),
}


@pytest.mark.parametrize("n", [8, 9, 12, 32, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_spectra_are_realised(family, n):
    eigenvalues = FAMILIES[family](n)
    check(attention.from_spectrum(eigenvalues, rng=n), eigenvalues)


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [1],
        [1, -0.999],
        [0.3, 1],
        [1, 0.3, -0.5],
        [-0.6, 1, -0.06],
        [1, -0.9, 0, 0],
        [1, 0.95, 0.0, -0.9],
        one_apart(1 - 1e-6, 0, 0.1, 8),
        [1, *[0.9] * 16, *[0] * 15],
        [1, *[-0.6] * 4, *[0.6] * 4, *[0] * 7],
        np.r_[1, np.linspace(-0.9, 0.95, 15)],
    ],
    ids=str,
)
def test_small_and_tight_spectra_are_realised(eigenvalues):
    for seed in range(3):
        check(attention.from_spectrum(eigenvalues, rng=seed), eigenvalues)


def test_one_and_two_tokens_have_one_answer():
    np.testing.assert_array_equal(attention.from_spectrum([1]), [[1]])
    assert attention.from_spectrum(np.ones((3, 2, 1)), rng=0).shape == (3, 2, 1, 1)
    np.testing.assert_allclose(attention.from_spectrum([0.2, 1]), [[0.6, 0.4], [0.4, 0.6]], rtol=1e-14)


def test_eigenvectors_are_generic():
    sweep = np.stack([spread(a, 0.6, 12) for a in np.linspace(-0.6, 0.5, 45)])
    A = attention.from_spectrum(sweep, rng=0)
    check(A, sweep)
    vectors = np.linalg.eigh(A)[1]
    assert np.abs(vectors).min() > 1e-6
    # no two tokens are exchangeable, and another seed gives another matrix
    assert np.diff(np.sort(A.reshape(45, -1), axis=-1)[:, ::2]).min() > 0
    assert np.abs(A - attention.from_spectrum(sweep, rng=1)).min(axis=(1, 2)).max() > 0


# Whatever a random symmetric stochastic matrix has for a spectrum exists.
@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(2, 10), st.integers(1, 5), st.floats(0.05, 1), st.integers(0, 2**32))
def test_spectra_of_mixed_permutations_are_realised(n, terms, positive, seed):
    rng = np.random.default_rng(seed)
    mixture = np.zeros((n, n))
    for weight in rng.dirichlet(np.ones(terms)):
        permutation = np.eye(n)[rng.permutation(n)]
        mixture += weight * (permutation + permutation.T) / 2
    eigenvalues = np.linalg.eigvalsh((1 - positive) * mixture + positive / n)
    eigenvalues[-1] = 1
    check(attention.from_spectrum(eigenvalues, rng=seed), eigenvalues)


def test_a_matrix_does_not_depend_on_its_batch():
    # tight and easy spectra together, so that rows stop at different steps and stages
    sweep = np.stack([spread(a, 0.9, 8) for a in np.linspace(-0.8, 0.5, 9)])
    keys = [(0, a) for a in range(9)]
    together = attention.from_spectrum(sweep, rng=RowGenerator(keys))
    check(together, sweep)
    for i in range(9):
        alone = attention.from_spectrum(sweep[i : i + 1], rng=RowGenerator(keys[i : i + 1]))
        np.testing.assert_array_equal(alone[0], together[i])
    # order within a spectrum does not matter either; and a plain seed extends
    np.testing.assert_array_equal(attention.from_spectrum(sweep[:, ::-1], rng=RowGenerator(keys)), together)
    np.testing.assert_array_equal(
        attention.from_spectrum(sweep[:4], rng=5), attention.from_spectrum(sweep, rng=5)[:4]
    )
    assert attention.from_spectrum(sweep.reshape(3, 3, 8), rng=0).shape == (3, 3, 8, 8)


def test_one_draw_a_system_whatever_the_difficulty():
    easy, hard = np.random.default_rng(0), np.random.default_rng(0)
    attention.from_spectrum(spread(0, 0, 8), rng=easy)
    attention.from_spectrum(spread(-0.9, 0.95, 8), rng=hard)
    assert easy.random() == hard.random()


@pytest.mark.parametrize(
    ("eigenvalues", "reason"),
    [
        ([0.5, 0.2], "no eigenvalue 1"),
        ([[1, 0.2], [0.9, 0.2]], r"no eigenvalue 1 .*in spectrum \(1,\)"),
        ([1, 1, 0], "repeated 2 times"),
        ([1, 1.5, 0], r"1\.5"),
        ([1, -1, 0.5], r"eigenvalue -1"),
        ([1, -0.6, -0.6], "sum -0.2"),
        ([1, -0.5, -0.5], "sum 0"),
        ([1, *[-0.9] * 3, *[0.6] * 4], "sum of powers 3"),
        ([1, -0.9, 0.0], "Perfect and Mirsky"),
        ([1, -0.9, 0, 0, 0], "no construction was found"),
        ([[1, 0, 0, 0, 0], [1, -0.9, 0, 0, 0]], r"in spectrum \(1,\)|no construction"),
    ],
    ids=str,
)
def test_infeasible_spectra_are_refused_with_the_reason(eigenvalues, reason):
    with pytest.raises(SpectrumError, match=reason) as caught:
        attention.from_spectrum(eigenvalues, rng=0)
    assert str(caught.value).startswith("eigenvalues: found ")
    assert "; expected " in str(caught.value)


def test_a_large_infeasible_batch_is_refused_soon():
    begin = time.perf_counter()
    with pytest.raises(SpectrumError, match="no construction"):
        attention.from_spectrum(np.tile([1, -0.95, 0, 0, 0, 0, 0.0], (500, 1)), rng=0)
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize(
    ("eigenvalues", "error"),
    [
        ([1, np.nan], InvalidValueError),
        ([1, -np.inf], InvalidValueError),
        ("1, 2", InvalidTypeError),
        (["a", "b"], InvalidTypeError),
        ([1, 0.5j], InvalidTypeError),
        ([[1, 0], [1]], InvalidTypeError),
        (None, InvalidTypeError),
        (1.0, ShapeError),
        ([], ShapeError),
        (np.ones((0, 3)), ShapeError),
    ],
    ids=str,
)
def test_bad_eigenvalues_are_refused(eigenvalues, error):
    with pytest.raises(error, match="eigenvalues"):
        attention.from_spectrum(eigenvalues)


# --- distributions -------------------------------------------------------------------


def test_softmax_is_the_softmax_of_its_scores():
    A = attention.softmax(4, 3, temperature=0.7, rng=0)
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    weights = np.exp(q @ k.T / np.sqrt(3) / 0.7)
    np.testing.assert_allclose(A, weights / weights.sum(axis=1, keepdims=True), rtol=1e-13)


def test_symmetric_softmax_is_reversible():
    A = attention.softmax(12, 8, temperature=0.3, symmetric=True, size=(50,), rng=0)
    # Kolmogorov: A = D⁻¹S means A_ij A_jk A_ki = A_ik A_kj A_ji
    cycle = np.einsum("bij,bjk,bki->bijk", A, A, A)
    np.testing.assert_allclose(cycle, np.einsum("bik,bkj,bji->bijk", A, A, A), rtol=1e-11)
    assert np.abs(np.linalg.eigvals(A).imag).max() < 1e-9
    assert np.abs(np.linalg.eigvals(attention.softmax(12, 8, temperature=0.3, rng=0)).imag).max() > 1e-3


def test_extreme_temperature_does_not_overflow():
    A = attention.softmax(6, 4, temperature=1e-6, rng=0)
    np.testing.assert_allclose(A.sum(axis=-1), 1, rtol=0, atol=1e-14)


@pytest.mark.parametrize("concentration", [1e-3, 0.1, 1.0, 30.0, 1e6])
def test_dirichlet_rows_have_the_right_moments(concentration):
    n, draws = 4, 20000
    A = attention.dirichlet(n, concentration, size=draws // n, rng=0)
    assert (A >= 0).all()
    np.testing.assert_allclose(A.sum(axis=-1), 1, rtol=0, atol=1e-14)
    variance = (1 / n) * (1 - 1 / n) / (n * concentration + 1)
    np.testing.assert_allclose(A.mean(axis=(0, 1)), 1 / n, atol=5 * np.sqrt(variance / draws))
    np.testing.assert_allclose(A.var(), variance, rtol=0.05)


@pytest.mark.parametrize("n", [1, 2, 3, 12, 64])
def test_doubly_stochastic_sums(n):
    A = attention.doubly_stochastic(n, size=(200,), rng=0)
    assert (A > 0).all()
    for axis in (-1, -2):
        np.testing.assert_allclose(A.sum(axis=axis), 1, rtol=0, atol=1e-14)
    if n > 2:
        assert np.abs(A - np.swapaxes(A, -1, -2)).max() > 0.01


def test_doubly_stochastic_balances_very_uneven_matrices():
    uneven = np.exp(np.random.default_rng(0).uniform(-30, 0, size=(200, 3, 3)))
    A = attention._balanced(uneven)
    for axis in (-1, -2):
        np.testing.assert_allclose(A.sum(axis=axis), 1, rtol=0, atol=1e-14)
    # D a E keeps cross ratios
    cross = lambda m: m[:, 0, 0] * m[:, 1, 1] / (m[:, 0, 1] * m[:, 1, 0])  # noqa: E731
    np.testing.assert_allclose(cross(A), cross(uneven), rtol=1e-9)


def test_uniform():
    np.testing.assert_array_equal(attention.uniform(4), np.full((4, 4), 0.25))


BUILDERS = {
    "softmax": lambda k, rng: attention.softmax(
        5, 3, temperature=np.linspace(0.5, 2, 7)[:k], size=k, rng=rng
    ),
    "symmetric": lambda k, rng: attention.softmax(5, 3, symmetric=True, size=k, rng=rng),
    "dirichlet": lambda k, rng: attention.dirichlet(5, np.linspace(0.5, 2, 7)[:k], size=(k,), rng=rng),
    "doubly": lambda k, rng: attention.doubly_stochastic(5, size=(k,), rng=rng),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_builders_do_not_depend_on_the_batch(name):
    keys = [(i,) for i in range(7)]
    together = BUILDERS[name](7, RowGenerator(keys))
    assert together.shape == (7, 5, 5)
    for k in (1, 2, 6):
        np.testing.assert_array_equal(BUILDERS[name](k, RowGenerator(keys[:k])), together[:k])


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: attention.softmax(0, 3), "n"),
        (lambda: attention.softmax(3, 2.5), "d_key"),
        (lambda: attention.softmax(3, 2, temperature=0), "temperature"),
        (lambda: attention.softmax(3, 2, temperature="hot"), "temperature"),
        (lambda: attention.softmax(3, 2, temperature=[1, -1]), "temperature"),
        (lambda: attention.softmax(3, 2, temperature=[1, 2], size=3), "temperature"),
        (lambda: attention.softmax(3, 2, size=-1), "size"),
        (lambda: attention.softmax(3, 2, rng="x"), "rng"),
        (lambda: attention.dirichlet("3"), "n"),
        (lambda: attention.dirichlet(3, -1), "concentration"),
        (lambda: attention.dirichlet(3, np.nan), "concentration"),
        (lambda: attention.dirichlet(3, size=(2, 0)), "size"),
        (lambda: attention.doubly_stochastic(0), "n"),
        (lambda: attention.doubly_stochastic(3, size="x"), "size"),
        (lambda: attention.uniform(True), "n"),
        (lambda: attention.from_spectrum([1, 0], rng=1.5), "rng"),
    ],
)
def test_bad_input_is_named(call, argument):
    with pytest.raises(LinsimError, match=rf"^{argument}\b.*found .*expected "):
        call()
