import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from linsim import weights
from linsim._namespace import to_host
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError, SpectrumError
from linsim.streams import RowGenerator


def distance(found, expected):
    """Largest distance between two multisets of numbers, optimally matched."""
    cost = np.abs(np.asarray(found)[:, None] - np.asarray(expected)[None, :])
    return cost[linear_sum_assignment(cost)].max()


def spectrum(rng, d, pairs):
    z = rng.standard_normal(pairs) + 1j * rng.uniform(0.1, 2, pairs)
    return rng.permutation(np.r_[z, z.conj(), rng.standard_normal(d - 2 * pairs)])


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    st.data(),
    st.integers(1, 9),
    st.sampled_from(["orthogonal", "random", "conditioned"]),
    st.integers(0, 2**32),
)
def test_spectra_are_realised(data, d, basis, seed):
    pairs = data.draw(st.integers(0, d // 2))
    z = spectrum(np.random.default_rng(seed), d, pairs)
    if basis == "conditioned":
        H = weights.from_spectrum(z, basis="random", condition=20.0 if d > 1 else 1, rng=seed)
    else:
        H = weights.from_spectrum(z, basis=basis, rng=seed)
    assert H.dtype == np.float64
    assert distance(np.linalg.eigvals(H), z) < 1e-13 * (1 + np.abs(z).max()) * (
        1e3 * d if basis == "random" else 100
    )
    if basis == "orthogonal":
        np.testing.assert_allclose(H @ H.T, H.T @ H, atol=1e-13 * (1 + np.abs(z).max() ** 2))
        assert pairs or (H == H.T).all()


def test_mixed_patterns_in_one_batch_are_independent():
    rng = np.random.default_rng(0)
    z = np.stack([spectrum(rng, 6, p) for p in (0, 3, 1, 2, 0, 1, 3)])
    keys = [(i,) for i in range(7)]
    for options in ({}, {"basis": "random"}, {"basis": "random", "condition": 5.0}):
        together = weights.from_spectrum(z, rng=RowGenerator(keys), **options)
        for i in range(7):
            assert distance(np.linalg.eigvals(together[i]), z[i]) < 1e-10
            row = weights.from_spectrum(z[i : i + 1], rng=RowGenerator(keys[i : i + 1]), **options)
            np.testing.assert_array_equal(row[0], together[i])
            if np.isreal(z[i]).all():
                alone = weights.from_spectrum(z[i : i + 1].real, rng=RowGenerator(keys[i : i + 1]), **options)
                np.testing.assert_array_equal(alone[0], together[i])
    H = weights.from_spectrum(z, rng=0)
    assert (H[0] == H[0].T).all()
    assert weights.from_spectrum(z[:6].reshape(2, 3, 6), basis="random", rng=0).shape == (2, 3, 6, 6)


def test_pairs_are_found_when_rounding_hides_them():
    # equal real parts up to rounding, so sorting alone crosses the pairs
    z = np.array([1 + 1j, 1 + 1e-15 + 2j, 1 + 1e-15 - 1j, 1 - 2j])
    assert distance(np.linalg.eigvals(weights.from_spectrum(z, rng=0)), z) < 1e-13
    # roots of unity as computed: exp(iπ) has an imaginary part of 1e-16
    unity = np.exp(2j * np.pi * np.arange(12) / 12)
    H = weights.from_spectrum(unity, rng=0)
    np.testing.assert_allclose(np.linalg.matrix_power(H, 12), np.eye(12), atol=1e-12)
    repeated = [1j, 1j, -1j, -1j, 0.5]
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvals(weights.from_spectrum(repeated, rng=0)).imag), [-1, -1, 0, 1, 1], atol=1e-12
    )
    roots = np.roots([1, -2, 3, -4, 5, -6])
    assert distance(np.linalg.eigvals(weights.from_spectrum(roots, rng=0)), roots) < 1e-12


@pytest.mark.parametrize(
    ("eigenvalues", "lone"),
    [
        ([1j], r"0\+1j"),
        ([1 + 2j, 1 - 3j, 0], r"1[+-][23]j"),
        ([1 + 2j, 1 + 2j, 1 - 2j], r"1\+2j"),
        ([[1, 2, 3], [1, 2 + 1e-3j, 2]], r"2\+0\.001j .*2-0\.001j in spectrum \(1,\)"),
        ([1 - 1j, 2], r"1-1j"),
    ],
)
def test_half_a_conjugate_pair_is_refused_by_name(eigenvalues, lone):
    for basis in ("orthogonal", "random"):
        with pytest.raises(SpectrumError, match=rf"^eigenvalues: found {lone}.*; expected conjugate pairs"):
            weights.from_spectrum(eigenvalues, basis=basis, rng=0)


@pytest.mark.parametrize("condition", [1, 7.5, 1e6])
def test_condition_is_exact(condition):
    # real and simple eigenvalues: unit eigenvectors differ from S by a column scaling, so
    # compare with the best that any scaling could reach, through the known S
    d, values = 5, np.arange(1.0, 6.0)
    H = weights.from_spectrum(values, basis="random", condition=condition, rng=3)
    rng = np.random.default_rng(3)
    u, v = np.linalg.qr(rng.standard_normal((2, d, d)))
    u, v = (q * np.sign(np.diagonal(r))[None, :] for q, r in zip(u, v, strict=True))
    sigma = condition ** np.linspace(0.5, -0.5, d)
    S = u @ np.diag(sigma) @ v
    np.testing.assert_allclose(np.linalg.cond(S), condition, rtol=1e-9)
    np.testing.assert_allclose(H @ S, S * values, atol=1e-11 * condition)


def test_condition_per_system():
    H = weights.from_spectrum([1.0, 2.0, 3.0], basis="random", condition=[1, 10, 100], rng=0)
    assert H.shape == (3, 3, 3)
    np.testing.assert_allclose(H[0], H[0].T, atol=1e-14)
    assert np.abs(H[2] - H[2].T).max() > 0.1
    np.testing.assert_array_equal(
        weights.from_spectrum([1.0, 2.0], condition=1, rng=0), weights.from_spectrum([1.0, 2.0], rng=0)
    )


def test_distributions():
    H = weights.gaussian(16, size=2000, rng=0)
    np.testing.assert_allclose(H.std(), 1 / 4, rtol=0.01)
    np.testing.assert_array_equal(weights.gaussian(16, std=2.0, size=2000, rng=0), 2 * (H * 4))
    assert weights.gaussian(3, std=[0.0, 1.0], rng=0).shape == (2, 3, 3)
    Q = weights.orthogonal(5, size=(4000,), rng=0)
    np.testing.assert_allclose(Q @ np.swapaxes(Q, -1, -2), np.broadcast_to(np.eye(5), Q.shape), atol=1e-13)
    # Haar: E tr Q = 0 and E (tr Q)² = 1, which QR without the sign rule misses
    trace = np.trace(Q, axis1=-2, axis2=-1)
    assert abs(trace.mean()) < 5 / np.sqrt(4000)
    assert abs((trace**2).mean() - 1) < 5 * np.sqrt(2 / 4000)
    assert weights.orthogonal(1, size=100, rng=0).min() == -1


@pytest.mark.parametrize(
    "build",
    [
        lambda k, rng: weights.gaussian(4, std=np.linspace(0.5, 2, 7)[:k], size=k, rng=rng),
        lambda k, rng: weights.orthogonal(4, size=(k,), rng=rng),
    ],
)
def test_builders_do_not_depend_on_the_batch(build):
    keys = [(i,) for i in range(7)]
    together = build(7, RowGenerator(keys))
    for k in (1, 2, 6):
        np.testing.assert_array_equal(build(k, RowGenerator(keys[:k])), together[:k])


# --- reparameterize ------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "low", "high"), [("sharpen", -1, 0), ("smooth", 0, 1)])
def test_reparameterize_clips_the_spectrum(kind, low, high):
    rng = np.random.default_rng(0)
    psi = 2 * rng.standard_normal((20, 6))
    general = rng.standard_normal((20, 6, 6))
    for V in (general, np.linalg.qr(general)[0], general[0]):
        H = weights.reparameterize(psi, V, filter=kind)
        np.testing.assert_allclose(H @ V, V * np.clip(psi, low, high)[:, None, :], atol=1e-11)
    mixed = np.where(np.arange(20)[:, None, None] % 2, general, np.linalg.qr(general)[0])
    H = weights.reparameterize(psi, mixed, filter=kind)
    assert (H[::2] == np.swapaxes(H[::2], -1, -2)).all()
    np.testing.assert_allclose(H @ mixed, mixed * np.clip(psi, low, high)[:, None, :], atol=1e-11)
    assert not np.signbit(weights.reparameterize([-1.0, 0.0], np.eye(2), filter="smooth")).any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("orthogonal", [True, False])
def test_reparameterize_stays_in_its_library(dtype, orthogonal):
    rng = np.random.default_rng(1)
    V = rng.standard_normal((3, 4, 4))
    V = np.linalg.qr(V)[0] if orthogonal else V
    psi = rng.standard_normal((3, 4))
    device = strict.Device("device1")
    V32, psi32 = V.astype(dtype), psi.astype(dtype)
    elsewhere = [strict.asarray(x, device=device) for x in (psi32, V32)]
    H = weights.reparameterize(*elsewhere, filter="sharpen")
    assert H.device == device
    assert str(H.dtype).endswith(dtype)
    np.testing.assert_allclose(to_host(H), weights.reparameterize(psi32, V32, filter="sharpen"), rtol=1e-6)
    listed = weights.reparameterize(psi32.tolist(), elsewhere[1], filter="sharpen")
    assert listed.device == device
    assert weights.reparameterize(elsewhere[0], V.tolist(), filter="smooth").device == device


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: weights.from_spectrum([1, np.nan]), InvalidValueError, "eigenvalues"),
        (lambda: weights.from_spectrum("ab"), InvalidTypeError, "eigenvalues"),
        (lambda: weights.from_spectrum([[1, 2], [3]]), InvalidTypeError, "eigenvalues"),
        (lambda: weights.from_spectrum([]), ShapeError, "eigenvalues"),
        (lambda: weights.from_spectrum(3.0), ShapeError, "eigenvalues"),
        (lambda: weights.from_spectrum([1, 2], basis="ortho"), InvalidValueError, "basis"),
        (lambda: weights.from_spectrum([1, 2], condition=2), InvalidValueError, "condition"),
        (lambda: weights.from_spectrum([1], basis="random", condition=2), InvalidValueError, "condition"),
        (
            lambda: weights.from_spectrum([1, 2], basis="random", condition=0.5),
            InvalidValueError,
            "condition",
        ),
        (
            lambda: weights.from_spectrum([1, 2], basis="random", condition="bad"),
            InvalidTypeError,
            "condition",
        ),
        (
            lambda: weights.from_spectrum(np.ones((2, 2)), basis="random", condition=[1, 2, 3]),
            ShapeError,
            "condition",
        ),
        (lambda: weights.from_spectrum([1, 2], rng="x"), InvalidTypeError, "rng"),
        (lambda: weights.gaussian(0), InvalidValueError, "d"),
        (lambda: weights.gaussian(2, std=-1), InvalidValueError, "std"),
        (lambda: weights.gaussian(2, size=1.5), InvalidTypeError, "size"),
        (lambda: weights.orthogonal("2"), InvalidTypeError, "d"),
        (lambda: weights.reparameterize([1, 2], np.eye(2), filter="smoothen"), InvalidValueError, "filter"),
        (lambda: weights.reparameterize([1, 2, 3], np.eye(2), filter="smooth"), ShapeError, "psi"),
        (lambda: weights.reparameterize([1, 2], np.ones((2, 3)), filter="smooth"), ShapeError, "basis"),
        (
            lambda: weights.reparameterize([1, 2], np.ones((2, 2)), filter="smooth"),
            InvalidValueError,
            "basis",
        ),
        (
            lambda: weights.reparameterize([1, 2], np.zeros((2, 2)), filter="smooth"),
            InvalidValueError,
            "basis",
        ),
        (lambda: weights.reparameterize([1, np.inf], np.eye(2), filter="smooth"), InvalidValueError, "psi"),
        (lambda: weights.reparameterize(None, np.eye(2), filter="smooth"), InvalidTypeError, "psi"),
        (
            lambda: weights.reparameterize(np.ones((3, 2)), np.ones((2, 2, 2)), filter="smooth"),
            ShapeError,
            "psi",
        ),
    ],
)
def test_bad_input_is_named(call, error, argument):
    with pytest.raises(error, match=rf"^{argument}\b.*found .*expected ") as caught:
        call()
    assert isinstance(caught.value, LinsimError)
