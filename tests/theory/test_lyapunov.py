"""Lyapunov exponents, where they are known: fixed, commuting, triangular, cyclic and random layers."""

import functools
import itertools

import mpmath
import numpy as np
import pytest
from scipy import stats

import linsim
from linsim import _draws, attention, weights
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, NotCoveredError
from linsim.lyapunov import lyapunov_exponents
from linsim.rules import Layered, Linear, MultiHead, RandomWeights
from linsim.theory import mixture

#: |found - exact| beyond this many standard errors: for Student's t with 31 degrees of freedom, 3e-7
SIX_AND_A_HALF = 6.5


def gaussian_log_mean(d, s):
    """E ln Q for Gaussian weights: Q = s^2/d times noncentral chi^2 with d degrees of freedom."""
    d, s = mpmath.mpf(d), mpmath.mpf(s)
    tail = mpmath.hyp2f2(1, 1, 2, 1 + d / 2, -d / (2 * s**2)) / s**2
    return float(mpmath.log(2 * s**2 / d) + mpmath.digamma(d / 2) + tail)


def haar_log_mean(d):
    """E ln Q for s = 1 and Haar weights: Q = 2 + 2 u, u an entry of a random unit vector."""
    with mpmath.workdps(20):
        density = lambda u: (1 - u**2) ** (mpmath.mpf(d - 3) / 2)  # noqa: E731
        total = mpmath.quad(density, [-1, 0, 1])
        return float(mpmath.quad(lambda u: mpmath.log(2 + 2 * u) * density(u), [-1, 0, 1]) / total)


def recorded(sampler, drawn):
    """The same sampler, which keeps what it draws."""

    def wrapper(*args, size, rng):
        drawn.append(sampler(*args, size=size, rng=rng))
        return drawn[-1]

    return wrapper


# --- fixed layers --------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [True, False])
def test_fixed_real_layers_give_the_logarithms_of_all_moduli(symmetric):
    lam, mu = np.array([1, 0.62, 0.31, -0.22]), np.array([1.9, -0.7, 0.45])
    A = attention.from_spectrum(lam, rng=0)
    if not symmetric:
        D = np.diag([1.0, 1.3, 0.8, 1.1])
        A = D @ A
        A /= A.sum(1, keepdims=True)
        lam = np.sort(np.linalg.eigvals(A).real)[::-1]
    H = weights.from_spectrum(mu, basis="random", condition=5, rng=1)
    found = lyapunov_exponents(Linear(A, H), 20, count=9, burn_in=3000)
    expected = np.log(np.abs(1 + np.outer(lam, mu)))
    np.testing.assert_allclose(found.constant, np.sort(expected[0])[::-1], atol=1e-9)
    np.testing.assert_allclose(found.rest, np.sort(expected[1:].ravel())[::-1], atol=1e-9)
    assert max(found.constant_error.max(), found.rest_error.max()) < 1e-9
    assert found.regime == linsim.predict(A, H).regime
    assert found.margin == pytest.approx(linsim.predict(A, H).margin, abs=1e-9)


def test_fixed_complex_layers():
    # two orthonormal columns in an invariant plane of M: ln|M^L q| lies within ln(condition) of L ln|rho|
    mu = np.array([-0.4 + 1.1j, -0.4 - 1.1j, -0.2])
    H = weights.from_spectrum(mu, basis="random", condition=3, rng=2)
    A = np.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.1, 0.3]])
    lam = np.linalg.eigvals(A)
    assert np.abs(lam.imag).max() > 0.01
    depth = 500
    found = lyapunov_exponents(Linear(A, H), depth, count=6, burn_in=500)
    bound = 2 * np.log(9 * np.linalg.cond(np.linalg.eig(A)[1])) / depth
    lam = lam[np.argsort(np.abs(lam - 1))]
    expected = np.log(np.abs(1 + np.outer(lam, mu)))
    np.testing.assert_allclose(found.constant, np.sort(expected[0])[::-1], atol=bound)
    np.testing.assert_allclose(found.rest, np.sort(expected[1:].ravel())[::-1], atol=bound)
    # sums are exact: ln|det|
    np.testing.assert_allclose(found.constant.sum(), expected[0].sum(), atol=1e-10)
    np.testing.assert_allclose(found.rest.sum(), expected[1:].sum(), atol=1e-10)


def test_heads_and_cycles_agree_with_their_eigenvalues():
    rng = np.random.default_rng(4)
    for seed in range(3):
        heads = [
            MultiHead(attention.softmax(4, 2, size=2, rng=rng), 0.4 * rng.standard_normal((2, 3, 3)))
            for _ in range(3)
        ]
        for rule, period in ((heads[0], 1), (Layered(heads), 3), (Layered([*heads, heads[0]]), 4)):
            found = lyapunov_exponents(rule, 120 * period, burn_in=60 * period)
            law = linsim.predict(rule)
            # complex pairs lead some of these: they average out like 1/depth
            assert found.margin == pytest.approx(law.margin, abs=0.02), seed
            assert found.regime in (law.regime, "undecided")
    leading = MultiHead(
        attention.softmax(4, 2, size=2, rng=0), np.stack([np.eye(3) * 0.2, np.diag([1, 0.3, -0.2])])
    )
    law = linsim.predict(leading)
    found = lyapunov_exponents(leading, 20, burn_in=400)
    assert found.constant[0] == pytest.approx(np.log(abs(law.dominant[0].value)), abs=1e-9)
    assert found.margin == pytest.approx(law.margin, abs=1e-9)


def test_commuting_layers_average():
    rng = np.random.default_rng(5)
    A = attention.from_spectrum([1, 0.4, -0.3], rng=0)
    Q = weights.orthogonal(3, rng=rng)
    spectra = np.array([[-0.9, 0.3, 0.8], [1.0, -0.5, 0.1], [0.2, -0.6, -0.3], [2.0, 0.5, -0.1]])
    rules = [Linear(A, (Q * mu) @ Q.T) for mu in spectra]
    # two exponents lie .0032 apart: vectors turn into place as exp(-.0032 x layers), and twice that counts
    found = lyapunov_exponents(Layered(rules), 20, count=6, burn_in=6000)
    expected = np.mean([np.log(np.abs(1 + np.outer([1, 0.4, -0.3], mu))) for mu in spectra], axis=0)
    np.testing.assert_allclose(found.constant, np.sort(expected[0])[::-1], atol=1e-9)
    np.testing.assert_allclose(found.rest, np.sort(expected[1:].ravel())[::-1], atol=1e-9)
    two = lyapunov_exponents(Layered([rules[0], rules[1], rules[1]]), 30, burn_in=1200)
    assert two.margin == pytest.approx(mixture(A, spectra[0], spectra[1]).margin(1 / 3), abs=1e-9)
    # without a burn-in: the product of these very layers, |product| for a generic frame
    product = functools.reduce(np.matmul, [np.eye(3) + (Q * mu) @ Q.T for mu in spectra])
    first = lyapunov_exponents(Layered(rules), 4, burn_in=0)
    assert first.constant.sum() == pytest.approx(np.log(abs(np.linalg.det(product))) / 4, abs=1e-12)


def test_triangular_layers_average_their_diagonals():
    rng = np.random.default_rng(6)
    diagonals = np.array([[1.0, 0.1, -0.6], [2.0, -0.3, -0.4], [0.5, 0.4, -0.7]])
    rules = [
        Linear(attention.softmax(3, 2, rng=rng), np.triu(rng.standard_normal((3, 3)), 1) + np.diag(x))
        for x in diagonals
    ]
    found = lyapunov_exponents(Layered(rules), 30, burn_in=600)
    np.testing.assert_allclose(found.constant, np.mean(np.log(1 + diagonals), axis=0), atol=1e-9)


def test_order_decides_where_weights_do_not_commute():
    # the cycles of test_mixture, and a random order of the same two layers
    A = attention.uniform(2)
    S, M = Linear(A, [[0.0, -0.5], [1.0, -2.0]]), Linear(A, [[0.0, -1.0], [-1.0, 0.0]])
    margins = [
        lyapunov_exponents(Layered(order), 400, burn_in=40).margin for order in ([S, S, M, M], [S, M, S, M])
    ]
    np.testing.assert_allclose(margins, [np.log(2) / 4, -np.log(2) / 2], atol=1e-9)
    pair = np.stack([M.H, S.H])
    # I + M takes c to 2 (c u) u, u = (1, -1)/sqrt 2, so a product splits there: a run of k layers S and one M
    # multiplies by 2 u (I + S)^k u, and lengths are geometric
    u, T = np.array([1, -1]) / np.sqrt(2), np.eye(2) + S.H
    runs = np.log([2 * abs(u @ np.linalg.matrix_power(T, k) @ u) for k in range(200)])
    for share, regime in ((0.25, "smoothing"), (0.5, "undecided"), (0.75, "sharpening")):

        def either(d, *, size, rng, share=share):
            return pair[(rng.random(size) < share).astype(int)]

        found = lyapunov_exponents(RandomWeights(A, kind=either), 1920, d=2, rng=0)
        exact = (1 - share) ** 2 * np.sum(share ** np.arange(200) * runs)
        assert abs(found.constant[0] - exact) < SIX_AND_A_HALF * found.constant_error[0]
        assert found.constant[1] == -np.inf
        assert found.regime == regime
        # half of each in random order is balanced exactly
        assert (abs(exact) < 1e-12) == (regime == "undecided")


# --- random layers -------------------------------------------------------------------


@pytest.mark.sample(3)
@pytest.mark.parametrize("s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("d", [1, 2, 8])
def test_uniform_attention_and_gaussian_weights(d, s):
    found = lyapunov_exponents(RandomWeights(attention.uniform(3), std=s), 1920, d=d, count=2 * d, rng=d)
    exact = gaussian_log_mean(d, s) / 2
    assert abs(found.constant[0] - exact) < SIX_AND_A_HALF * found.constant_error[0]
    assert found.constant_error[0] < 0.06
    np.testing.assert_allclose(found.rest, 0, atol=1e-12)  # the quotient stands still
    assert found.margin == pytest.approx(found.constant[0], abs=1e-12)
    assert found.margin_error == pytest.approx(found.constant_error[0], abs=1e-12)
    decided = "smoothing" if exact > 0 else "sharpening"
    assert found.regime in ((decided,) if abs(exact) > 0.1 else (decided, "undecided"))


def test_uniform_attention_and_orthogonal_weights():
    found = lyapunov_exponents(RandomWeights(attention.uniform(3), kind="orthogonal"), 1920, d=6, rng=1)
    assert abs(found.constant[0] - haar_log_mean(6) / 2) < SIX_AND_A_HALF * found.constant_error[0]


def test_one_feature_doubles_its_odds_and_does_not_converge():
    # Q = (1 + g)^2: E Q = 2, but E ln Q < 0
    with mpmath.workdps(20):
        exact = mpmath.quad(
            lambda g: mpmath.log(abs(1 + g)) * mpmath.npdf(g), [-mpmath.inf, -3, -1, 0, 1, 3, mpmath.inf]
        )
    assert float(exact) == pytest.approx(gaussian_log_mean(1, 1) / 2, abs=1e-12)
    assert float(exact) < -0.1
    found = lyapunov_exponents(RandomWeights(attention.uniform(2)), 1920, d=1, rng=5)
    assert found.regime == "sharpening"
    x0 = np.broadcast_to([[1.0], [0.2]], (100, 2, 1))
    run = linsim.simulate(
        RandomWeights(attention.uniform(2)), x0, 200, layers=[200], metrics=["token_similarity"], rng=0
    )
    # the median of ln odds falls at the typical rate, whatever the mean does
    assert np.mean(run.metrics["token_similarity"] < 0.01) > 0.7


def test_exponents_sum_to_the_mean_of_ln_det():
    drawn, attentions = [], []
    rule = RandomWeights(
        recorded(functools.partial(attention.dirichlet, 4, 0.7), attentions),
        kind=recorded(weights.gaussian, drawn),
        std=0.8,
    )
    found = lyapunov_exponents(rule, 40, n=4, d=3, count=9, burn_in=7, rng=2)
    assert len(drawn) == len(attentions) == 47
    W = 0.8 * np.array(drawn[7:])[:, 0]
    A = np.array(attentions[7:])[:, 0]
    assert np.abs(A[0] - A[1]).max() > 0.1
    constant = np.linalg.slogdet(np.eye(3) + W)[1].mean()
    whole = np.array(
        [np.linalg.slogdet(np.eye(12) + np.kron(w.T, a))[1] for w, a in zip(W, A, strict=True)]
    ).mean()
    assert found.constant.sum() == pytest.approx(constant, abs=1e-10)
    assert found.constant.sum() + found.rest.sum() == pytest.approx(whole, abs=1e-10)


def test_the_product_itself():
    # the growth of one vector under the dense maps
    drawn = []
    A = attention.from_spectrum([1, 0.8, -0.35], rng=1) * [[1.0], [1.3], [0.8]]
    A /= A.sum(axis=1, keepdims=True)
    found = lyapunov_exponents(
        RandomWeights(A, kind=recorded(weights.gaussian, drawn)), 300, d=2, count=1, burn_in=900, rng=3
    )
    W = np.array(drawn)[:, 0]
    basis = np.linalg.svd(np.eye(3) - 1 / 3)[0][:, :2]
    z, c, logs = np.ones(4), np.ones(2), []
    for w in W:
        z = (np.eye(4) + np.kron(basis.T @ A @ basis, w.T)) @ z
        c = c + c @ w
        logs.append([np.log(np.linalg.norm(z)), np.log(np.linalg.norm(c))])
        z, c = z / np.linalg.norm(z), c / np.linalg.norm(c)
    rest, constant = np.mean(logs[900:], axis=0)
    # another start is forgotten like e^(-gap depth)
    assert found.constant[0] == pytest.approx(constant, abs=1e-9)
    assert found.rest[0] == pytest.approx(rest, abs=1e-9)


def test_symmetric_attention_scales_the_weights():
    # along an eigenvector of A: exponents of the product of I + lambda W, here on the very same draws
    lam = np.array([1, 0.8, -0.35])
    A = attention.from_spectrum(lam, rng=1)
    options = {"depth": 400, "burn_in": 400, "d": 2, "rng": 5}
    found = lyapunov_exponents(RandomWeights(A), count=4, **options)

    def scaled(factor):
        keys, layers = _draws.keys(5, 1), itertools.count()

        def sampler(d, *, size, rng):
            return factor * _draws.weights("gaussian", d, 1.0, keys, next(layers))

        rule = RandomWeights(attention.uniform(2), kind=sampler)
        return lyapunov_exponents(rule, **options).constant

    np.testing.assert_allclose(found.constant, scaled(1.0), atol=1e-9)
    expected = np.sort(np.concatenate([scaled(0.8), scaled(-0.35)]))[::-1]
    np.testing.assert_allclose(found.rest, expected, atol=1e-6)
    # and in the long run half of E ln Q of the scaled weights, whose top is the largest
    long = lyapunov_exponents(RandomWeights(A), 1920, d=2, rng=6)
    assert abs(long.rest[0] - gaussian_log_mean(2, 0.8) / 2) < SIX_AND_A_HALF * long.rest_error[0]


def test_similarity_falls_by_twice_the_margin():
    A = attention.softmax(6, 3, rng=8)
    for s in (0.3, 1.5):
        rule = RandomWeights(A, std=s)
        found = lyapunov_exponents(rule, 960, d=4, rng=1)
        x0 = np.broadcast_to(linsim.tokens.gaussian(6, 4, rng=0), (24, 6, 4))
        run = linsim.simulate(rule, x0, 240, layers=[60, 240], metrics=["log_token_diversity"], rng=2)
        slopes = np.diff(run.metrics["log_token_diversity"], axis=-1)[:, 0] / 180
        error = np.hypot(slopes.std(ddof=1) / np.sqrt(24), 2 * found.margin_error)
        assert abs(slopes.mean() + 2 * found.margin) < SIX_AND_A_HALF * error
        assert found.input_convergence or s < 1
    # where attention is far from uniform the quotient may win
    swap = np.array([[0.02, 0.98], [0.98, 0.02]])
    sharp = lyapunov_exponents(Linear(swap, [[-0.8]]), 10)
    assert sharp.regime == "sharpening"
    assert not sharp.input_convergence


def test_standard_errors_are_honest():
    # P(|t_31| > 2.0395) = 0.05: of 400 systems at least 5 and at most 42 are outside, but for 2e-6
    A = np.broadcast_to(attention.uniform(2), (400, 2, 2))
    found = lyapunov_exponents(RandomWeights(A), 640, d=3, burn_in=0, rng=9)
    z = (found.constant[:, 0] - gaussian_log_mean(3, 1) / 2) / found.constant_error[:, 0]
    outside = int(np.sum(np.abs(z) > stats.t.ppf(0.975, 31)))
    assert 5 <= outside <= 42
    assert stats.binom.cdf(4, 400, 0.05) + stats.binom.sf(42, 400, 0.05) < 2e-5
    assert len(np.unique(found.constant[:, 0])) == 400


# --- edges ---------------------------------------------------------------------------


def test_layers_that_erase():
    A = [[0.2, 0.8], [0.8, 0.2]]
    found = lyapunov_exponents(Linear(A, -np.eye(2)), 10, count=2)
    assert found.constant.tolist() == [-np.inf, -np.inf]
    np.testing.assert_allclose(found.rest, np.log(1.6), atol=1e-12)
    assert (found.margin, found.margin_error, found.regime) == (-np.inf, 0.0, "sharpening")
    assert not np.isnan(found.constant_error).any()
    # one direction of two, by rounding only: H has the eigenvalue -1
    H = weights.from_spectrum([-1.0, 0.5], basis="random", condition=4, rng=0)
    found = lyapunov_exponents(Linear(A, H), 10)
    np.testing.assert_allclose(found.constant, [np.log(1.5), -np.inf], atol=1e-9)
    assert found.margin == pytest.approx(np.log(1.5 / 1.6), abs=1e-9)
    # both parts: H = -4 and A with the eigenvalue 1/4; one token
    quarter = np.full((2, 2), 0.5) + 0.125 * np.array([[1, -1], [-1, 1]])
    rules = Layered([Linear(quarter, [[-4.0]]), Linear(quarter, [[-1.0]])])
    found = lyapunov_exponents(rules, 10)
    assert (found.constant[0], found.rest[0], found.margin, found.regime) == (
        -np.inf,
        -np.inf,
        0.0,
        "undecided",
    )
    alone = lyapunov_exponents(Linear([[1.0]], [[1.0]]), 10)
    assert alone.rest.shape == (0,)
    assert (alone.margin, alone.regime) == (np.inf, "smoothing")
    assert "rest none" in str(alone)


def test_balance_is_undecided():
    found = lyapunov_exponents(Linear(attention.uniform(3), [[-2.0]]), 100)
    assert found.margin == pytest.approx(0, abs=1e-12)
    assert found.regime == "undecided"
    assert not found.input_convergence


def test_huge_and_tiny_growth_stays_in_range():
    found = lyapunov_exponents(Linear(attention.uniform(2), np.diag([1e12, -0.5])), 400)
    np.testing.assert_allclose(found.constant, [np.log(1e12), np.log(0.5)], rtol=1e-6)
    found = lyapunov_exponents(Linear(attention.uniform(2), np.diag([-1e-9, -1 + 1e-9])), 400)
    np.testing.assert_allclose(found.constant, [-1e-9, np.log(1e-9)], rtol=1e-6)


def test_batches_are_systems_one_by_one(xp):
    rng = np.random.default_rng(10)
    A = attention.softmax(4, 2, size=(2, 1), rng=rng)
    H = 0.5 * rng.standard_normal((3, 2, 2))
    found = lyapunov_exponents(Linear(xp.array(A), xp.array(H)), 20, count=3)
    assert found.constant.shape == (2, 3, 2)
    assert found.rest.shape == (2, 3, 3)
    assert found.margin.shape == found.regime.shape == found.input_convergence.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        alone = lyapunov_exponents(Linear(A[i, 0], H[j]), 20, count=3)
        np.testing.assert_allclose(found.constant[i, j], alone.constant, atol=1e-10)
        np.testing.assert_allclose(found.rest[i, j], alone.rest, atol=1e-10)
        np.testing.assert_allclose(found.margin_error[i, j], alone.margin_error, atol=1e-10)
    assert "6 systems over 20 layers" in str(found)
    # each random system has its own stream: more of them change none
    std = np.array([0.5, 1.0, 1.5])
    many = lyapunov_exponents(RandomWeights(xp.array(A[0, 0]), std=std), 30, d=2, rng=0)
    few = lyapunov_exponents(RandomWeights(A[0, 0], std=std[:2]), 30, d=2, rng=0)
    np.testing.assert_allclose(many.constant[:2], few.constant, atol=1e-10)
    np.testing.assert_allclose(many.rest[:2], few.rest, atol=1e-10)


RULE, FRESH = Linear(attention.uniform(3), np.eye(2)), RandomWeights(attention.uniform(3))
DRAWN = RandomWeights(functools.partial(attention.softmax, 3, 2))


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: lyapunov_exponents(np.eye(2), 10), InvalidTypeError, "rule"),
        (lambda: lyapunov_exponents(RULE, 1), InvalidValueError, "depth"),
        (lambda: lyapunov_exponents(RULE, 10.0), InvalidTypeError, "depth"),
        (lambda: lyapunov_exponents(RULE, 10, burn_in=-1), InvalidValueError, "burn_in"),
        (lambda: lyapunov_exponents(RULE, 10, count=5), InvalidValueError, "count"),
        (lambda: lyapunov_exponents(RULE, 10, count=0), InvalidValueError, "count"),
        (lambda: lyapunov_exponents(RULE, 10, d=3), InvalidValueError, "d"),
        (lambda: lyapunov_exponents(RULE, 10, n=2), InvalidValueError, "n"),
        (lambda: lyapunov_exponents(RULE, 10, rng="x"), InvalidTypeError, "rng"),
        (lambda: lyapunov_exponents(FRESH, 10), InvalidTypeError, "d"),
        (lambda: lyapunov_exponents(FRESH, 10, d=0), InvalidValueError, "d"),
        (lambda: lyapunov_exponents(FRESH, 10, d=2, n=4), InvalidValueError, "n"),
        (lambda: lyapunov_exponents(DRAWN, 10, d=2), InvalidTypeError, "n"),
        (lambda: lyapunov_exponents(DRAWN, 10, d=2, n=4), InvalidValueError, "A"),
        (
            lambda: lyapunov_exponents(
                RandomWeights(
                    attention.FromTokens(),
                ),
                10,
                d=2,
                n=3,
            ),
            NotCoveredError,
            "rule",
        ),
        (
            lambda: lyapunov_exponents(Linear([[1.0]], [[1e308, 1e308], [1e308, 1e308]]), 3),
            InvalidValueError,
            "H",
        ),
    ],
)
def test_bad_input_is_named(call, error, argument):
    with pytest.raises(error, match=rf"^{argument}: found .*; expected .*\. .*") as caught:
        call()
    assert isinstance(caught.value, LinsimError)
