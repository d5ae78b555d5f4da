"""Mixtures of two kinds of layers: the exponents, the envelope, the flips, and what order does."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import linsim
from linsim import attention, weights
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError
from linsim.rules import Layered, Linear
from linsim.theory import mixture
from linsim.theory.dominance import TIE

# they do not commute: one sharpens alone, the other smooths alone
SHARPENS, SMOOTHS = [[0.0, -0.5], [1.0, -2.0]], [[0.0, -1.0], [-1.0, 0.0]]
REGIMES = ["smoothing", "sharpening"]  # of [S, S, M, M] and [S, M, S, M], repeated


def margins(A, mu, nu, shares):
    """C - D at some shares, from the definition."""
    lam = np.linalg.eigvals(A)
    lam = lam[np.argsort(np.abs(lam - 1))]
    lam[0] = 1
    with np.errstate(divide="ignore"):
        one, zero = (np.log(np.abs(1 + np.outer(lam, spectrum))) for spectrum in (mu, nu))
    p = np.asarray(shares)[:, None, None]
    logs = p * one + (1 - p) * zero
    return logs[:, 0].max(axis=-1) - logs[:, 1:].max(axis=(-1, -2))


def draw(rng, n, d, kind):
    A = attention.softmax(n, 2, rng=rng) if kind == "complex" else attention.dirichlet(n, 0.3, rng=rng)
    if kind == "symmetric":
        A = attention.doubly_stochastic(n, rng=rng)
        A = (A + A.T) / 2
    scale = np.exp(rng.uniform(-2, 1.5, 2))
    return A, scale[0] * rng.uniform(-1, 0.3, d), scale[1] * rng.uniform(-0.6, 1, d)


@settings(max_examples=120)
@given(
    st.integers(2, 6),
    st.integers(1, 6),
    st.sampled_from(["complex", "dirichlet", "symmetric"]),
    st.integers(0, 2**32),
)
def test_margin_is_the_definition(n, d, kind, seed):
    rng = np.random.default_rng(seed)
    A, mu, nu = draw(rng, n, d, kind)
    mix = mixture(A, mu, nu)
    shares = np.r_[0, np.sort(rng.random(20)), 1]
    expected = margins(A, mu, nu, shares)
    np.testing.assert_allclose(mix.margin(shares), expected, atol=1e-9)
    # between flips the sign is constant, and it differs on their two sides
    flips = np.array(mix.flips)
    assert (np.diff(flips) > 0).all()
    pieces = np.searchsorted(flips, shares)
    for piece in range(len(flips) + 1):
        inside = expected[
            (pieces == piece) & (np.min(np.abs(np.subtract.outer(shares, np.r_[9, flips])), axis=1) > 1e-7)
        ]
        assert len(set(np.where(np.abs(inside) < TIE, 0, np.sign(inside)))) <= 1
    fine = np.linspace(0, 1, 4001)[1:-1]
    sign = np.sign(margins(A, mu, nu, fine))
    seen = fine[1:][sign[1:] != sign[:-1]]
    for p in seen:
        assert np.abs(flips - p).min() <= 1 / 4000 + 1e-7
    for p in flips:
        assert abs(mix.margin(p)) < 1e-8


def test_ends_are_predicted_regimes():
    rng = np.random.default_rng(1)
    for kind in ("complex", "dirichlet", "symmetric"):
        for _ in range(20):
            A, mu, nu = draw(rng, 5, 3, kind)
            mix = mixture(A, mu, nu)
            for share, spectrum in ((1, mu), (0, nu)):
                law = linsim.predict(A, np.diag(spectrum))
                assert mix.regime(share) == law.regime
                assert abs(mix.margin(share) - law.margin) < 1e-9


def test_cycles_are_predicted_at_every_rational_share():
    # an independent route: eigenvalues of the product of the layers
    rng = np.random.default_rng(2)
    A, mu, nu = draw(rng, 4, 3, "complex")
    V = weights.orthogonal(3, rng=rng) + 0.3 * rng.standard_normal((3, 3))
    kinds = [Linear(A, (V * s) @ np.linalg.inv(V)) for s in (nu, mu)]
    mix = mixture(A, mu, nu)
    for m in range(8):
        order = rng.permutation(np.r_[np.ones(m, int), np.zeros(7 - m, int)])
        law = linsim.predict(Layered([kinds[k] for k in order]))
        np.testing.assert_allclose(law.margin, mix.margin(m / 7), atol=1e-9)
        assert law.regime == mix.regime(m / 7)


@pytest.mark.parametrize("m", [0, 3, 11, 20])
def test_any_order_gives_the_product_formula(m):
    # symmetric A and H, exactly, at finite depth and in any order: |rest|^2 is the sum over i >= 2 and j of
    # c_ij^2 |1 + lambda_i mu_j|^2m |1 + lambda_i nu_j|^2(L - m)
    rng = np.random.default_rng(m)
    depth = 20
    A, mu, nu = draw(rng, 5, 3, "symmetric")
    Q = weights.orthogonal(3, rng=rng)
    kinds = [Linear(A, (Q * s) @ Q.T) for s in (nu, mu)]
    x0 = rng.standard_normal((5, 3))
    lam, V = np.linalg.eigh(A)
    logs = 2 * np.log(np.abs(V.T @ x0 @ Q))
    for layers, spectrum in ((m, mu), (depth - m, nu)):
        logs = logs + 2 * layers * np.log(np.abs(1 + np.outer(lam, spectrum)))
    expected = (np.logaddexp.reduce(logs[:-1].ravel()) - np.logaddexp.reduce(logs[-1])) / 2
    for _ in range(3):
        order = rng.permutation(np.r_[np.ones(m, int), np.zeros(depth - m, int)])
        run = linsim.simulate(Layered([kinds[k] for k in order]), x0, depth, layers=[depth])
        np.testing.assert_allclose(run.metrics["log_hfc_lfc"][0], expected, rtol=1e-9)
    # and it grows by -margin a layer: 0 layers apart is enough for the exponents to be bracketed
    law = -mixture(A, mu, nu).margin(m / depth) * depth
    spread = 2 * np.log(np.abs(V.T @ x0 @ Q))
    slack = np.log(15) / 2 + (spread.max() - spread.min()) / 2
    assert abs(expected - law) <= slack


def test_one_feature_in_closed_form():
    # two tokens, one feature: p* = t / (t - s)
    for a, mu, nu in ((-0.6, -0.5, 0.25), (0.3, -1.5, 0.7), (-0.2, -0.9, 2.0)):
        A = [[(1 + a) / 2, (1 - a) / 2], [(1 - a) / 2, (1 + a) / 2]]
        t = np.log(abs((1 + nu) / (1 + a * nu)))
        s = np.log(abs((1 + mu) / (1 + a * mu)))
        mix = mixture(A, [mu], [nu])
        assert len(mix.flips) == 1
        np.testing.assert_allclose(mix.flips[0], t / (t - s), rtol=1e-13)
        assert mix.regime(mix.flips[0]) == "balanced"
        assert mix.regime(mix.flips[0] - 1e-6) == "smoothing"
        assert mix.regime(mix.flips[0] + 1e-6) == "sharpening"


def test_more_than_one_flip():
    mix = mixture(attention.uniform(2), [0.5, -0.6], [-0.6, 0.5])
    low = np.log(0.4) / (np.log(0.4) - np.log(1.5))
    np.testing.assert_allclose(mix.flips, [1 - low, low], rtol=1e-13)
    # three lines of C, each positive on its own stretch only, against the constant 0 of uniform attention
    mu, nu = np.exp([-5.0, -0.9, 0.1]) - 1, np.exp([0.1, -0.9, -5.0]) - 1
    assert mixture(attention.uniform(3), mu, nu).flips == pytest.approx((0.1 / 5.1, 5 / 5.1))
    # here the rest sharpens in the middle and at both ends only: four flips
    lam = [1.0, -0.5]
    A = np.array([[0.25, 0.75], [0.75, 0.25]])
    found = set()
    rng = np.random.default_rng(3)
    for _ in range(400):
        mu, nu = rng.uniform(-4, 3, (2, 4))
        mix = mixture(A, mu, nu)
        found.add(len(mix.flips))
        edges = [0, *mix.flips, 1]
        regimes = [mix.regime((p + q) / 2) for p, q in itertools.pairwise(edges)]
        assert all(p != q for p, q in itertools.pairwise(regimes))
        for share in mix.flips:
            C, D = (
                max(
                    share * np.log(abs(1 + x * m)) + (1 - share) * np.log(abs(1 + x * v))
                    for m, v in zip(mu, nu, strict=True)
                )
                for x in lam
            )
            assert abs(C - D) < 1e-10
    assert {0, 1, 2} <= found


def test_a_stretch_of_balance_has_two_ends():
    # uniform attention and a feature that no layer changes: C >= D = 0 everywhere, equal in the middle
    mix = mixture(attention.uniform(3), [0.0, -0.9, 1.0], [0.0, 0.5, -0.8])
    edges = np.log(1.5) / (np.log(1.5) - np.log(0.1)), np.log(0.2) / (np.log(0.2) - np.log(2))
    np.testing.assert_allclose(mix.flips, sorted(edges), rtol=1e-12)
    assert [mix.regime(p) for p in (0.05, 0.4, 0.9)] == ["smoothing", "balanced", "smoothing"]


def test_erased_modes():
    # 1 + mu = 0: the constant part is gone as soon as one such layer occurs
    mix = mixture([[0.2, 0.8], [0.8, 0.2]], [-1.0], [2.0])
    assert [mix.regime(p) for p in (0, 1e-12, 0.5, 1)] == [
        "smoothing",
        "sharpening",
        "sharpening",
        "sharpening",
    ]
    assert mix.margin(0.5) == -np.inf
    assert mix.margin(0) == pytest.approx(np.log(3 / 0.2))
    assert mix.flips == ()
    # one token: there is no rest
    alone = mixture([[1.0]], [-0.5], [0.5])
    assert alone.margin(0.3) == np.inf
    assert alone.regime([0.0, 0.3]).tolist() == ["smoothing", "smoothing"]
    assert mixture([[1.0]], [-1.0], [-1.0]).margin([0.0, 0.5, 1.0]).tolist() == [0, 0, 0]
    assert mixture([[1.0]], [-1.0], [-1.0]).regime(0.5) == "balanced"


def test_erased_modes_lead_nowhere_between():
    A = attention.softmax(3, 2, rng=0)
    shares = np.linspace(0, 1, 41)[1:-1]
    without = mixture(A, [0.5, -0.6], [-0.6, 0.5])
    for mu, nu in (([0.5, -0.6, 9.0], [-0.6, 0.5, -1.0]), ([-1.0, 0.5, -0.6], [9.0, -0.6, 0.5])):
        mix = mixture(A, mu, nu)
        # (1 + lambda nu is not 0 for the other lambda: compare the constant part alone)
        alone = mixture(attention.uniform(1), mu, nu), mixture(attention.uniform(1), [0.5, -0.6], [-0.6, 0.5])
        for envelopes in zip(*((m.constant.zero[0], m.constant.one[0]) for m in alone), strict=True):
            np.testing.assert_array_equal(*envelopes)
        assert (mix.margin(shares) <= without.margin(shares) + 1e-12).all()
        np.testing.assert_allclose(mix.margin(shares), margins(A, mu, nu, shares), atol=1e-9)


def test_corners_on_the_boundary_are_one_flip_or_none():
    # uniform attention: D = 0; lines of C through one point (p, 0) cross there, or touch as a V
    rng = np.random.default_rng(6)
    for _ in range(200):
        p, rises = rng.uniform(0.05, 0.95), rng.uniform(0.1, 3, 3)
        zero, one = -p * rises, (1 - p) * rises  # values at share 0 and 1
        mix = mixture(attention.uniform(3), np.exp(one) - 1, np.exp(zero) - 1)
        assert mix.flips == pytest.approx((p,), rel=1e-8)
        zero, one = np.r_[zero, p], np.r_[one, -(1 - p)]
        assert mixture(attention.uniform(3), np.exp(one) - 1, np.exp(zero) - 1).flips == ()


def test_separate_groups_of_tokens_stay_balanced():
    # 1 is a double eigenvalue of A, up to rounding
    rng = np.random.default_rng(9)
    A = np.zeros((60, 5, 5))
    A[:, :2, :2] = attention.softmax(2, 2, size=60, rng=rng)
    A[:, 2:, 2:] = attention.softmax(3, 2, size=60, rng=rng)
    mix = mixture(A, rng.uniform(0, 2, (60, 3)), rng.uniform(0, 2, (60, 3)))
    assert all(flips == () for flips in mix.flips)
    assert (mix.regime(np.linspace(0, 1, 9)) == "balanced").all()


def test_batches_are_systems_one_by_one(xp):
    rng = np.random.default_rng(5)
    A = attention.softmax(4, 2, size=(3, 1), rng=rng)
    mu, nu = rng.uniform(-2, 1, (2, 5)), rng.uniform(-1, 2, (3, 1, 5))
    mix = mixture(xp.array(A), xp.array(mu), xp.array(nu))
    shares = np.linspace(0, 1, 5).reshape(5, 1)
    assert mix.margin(shares).shape == (3, 2, 5, 1)
    assert mix.flips.shape == (3, 2)
    for i, j in np.ndindex(3, 2):
        alone = mixture(A[i, 0], mu[j], nu[i, 0])
        np.testing.assert_allclose(mix.margin(shares)[i, j], alone.margin(shares), atol=1e-12)
        np.testing.assert_array_equal(mix.regime(shares)[i, j], alone.regime(shares))
        assert mix.flips[i, j] == pytest.approx(alone.flips)
    assert str(mix).startswith("6 mixtures: ")
    complex_pairs = mixture(A[0, 0], [-0.5 + 1j, -0.5 - 1j], [0.1 + 0.3j, 0.1 - 0.3j])
    H = [np.array([[z.real, z.imag], [-z.imag, z.real]]) for z in (-0.5 + 1j, 0.1 + 0.3j)]
    law = linsim.predict(Layered([Linear(A[0, 0], H[0]), Linear(A[0, 0], H[1])]))
    assert law.margin == pytest.approx(complex_pairs.margin(0.5), abs=1e-9)


def test_order_matters_where_weights_do_not_commute():
    A = attention.uniform(2)
    S, M = (Linear(A, np.array(H)) for H in (SHARPENS, SMOOTHS))
    assert linsim.predict(S.A, S.H).regime == "sharpening"
    assert linsim.predict(M.A, M.H).regime == "smoothing"
    assert [linsim.predict(Layered(order)).regime for order in ([S, S, M, M], [S, M, S, M])] == REGIMES
    # and as simulated
    x0 = np.array([[1.0, 0.5], [-0.3, 0.8]])
    for order, regime in zip(([S, S, M, M], [S, M, S, M]), REGIMES, strict=True):
        run = linsim.simulate(Layered(order * 30), x0, 120, layers=[40, 120], metrics=["log_hfc_lfc"])
        drift = np.diff(run.metrics["log_hfc_lfc"])[0]
        assert (drift < -1) == (regime == "smoothing")
        assert (drift > 1) == (regime == "sharpening")


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: mixture([[0.5, 0.6], [0.5, 0.5]], [1.0], [1.0]), InvalidValueError, "A"),
        (lambda: mixture([[1.5, -0.5], [0.5, 0.5]], [1.0], [1.0]), InvalidValueError, "A"),
        (lambda: mixture(np.ones((2, 3)) / 3, [1.0], [1.0]), ShapeError, "A"),
        (lambda: mixture([[1.0]], 1.0, [1.0]), ShapeError, "sharpening"),
        (lambda: mixture([[1.0]], [1.0, np.nan], [1.0, 1.0]), InvalidValueError, "sharpening"),
        (lambda: mixture([[1.0]], "ab", [1.0]), InvalidTypeError, "sharpening"),
        (lambda: mixture([[1.0]], [1.0], [np.inf]), InvalidValueError, "smoothing"),
        (lambda: mixture([[1.0]], [1.0], [1e301]), InvalidValueError, "smoothing"),
        (lambda: mixture([[1.0]], [1.0], [1.0, 2.0]), ShapeError, "smoothing"),
        (
            lambda: mixture([[1.0]], np.ones((2, 1)), np.ones((3, 1))),
            ShapeError,
            "A and sharpening and smoothing",
        ),
        (lambda: mixture([[1.0]], [1.0], [1.0]).margin(1.5), InvalidValueError, "share"),
        (lambda: mixture([[1.0]], [1.0], [1.0]).regime([-0.1, 0.5]), InvalidValueError, "share"),
        (lambda: mixture([[1.0]], [1.0], [1.0]).regime(np.nan), InvalidValueError, "share"),
        (lambda: mixture([[1.0]], [1.0], [1.0]).margin("half"), InvalidTypeError, "share"),
        (lambda: mixture([[1.0]], [1.0], [1.0]).margin([]), ShapeError, "share"),
    ],
)
def test_bad_input_is_named(call, error, argument):
    with pytest.raises(error, match=rf"^{argument}: found .*; expected .*\. .*") as caught:
        call()
    assert isinstance(caught.value, LinsimError)
