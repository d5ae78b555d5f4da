"""Gains of a layer norm: the regime of real spectra from three numbers, and when negative gains swap it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import linsim
from linsim import attention, weights
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError
from linsim.theory import boundary, pre_norm_ratio, real_regime, swap_ratios

END = st.floats(-6, 6).map(lambda x: round(x, 3))


def definite(spectrum, size, rng):
    return weights.from_spectrum(np.broadcast_to(spectrum, (size, len(spectrum))), rng=rng)


def ends(gamma, H):
    mu = np.sort(np.linalg.eigvals(gamma[..., :, None] * H).real, axis=-1)
    return mu[..., 0], mu[..., -1]


@settings(max_examples=300)
@given(END, END, st.floats(-0.99, 0.99).map(lambda x: round(x, 3)), st.floats(0, 1), st.floats(0, 1))
def test_three_numbers_decide(p, q, a, inner_lambda, inner_mu):
    low, high = min(p, q), max(p, q)
    # anything between the ends changes nothing
    lam = np.array([1, a, a + (0.995 - a) * inner_lambda])
    mu = np.array([low, low + (high - low) * inner_mu, high])
    moduli = np.abs(1 + np.outer(lam, mu))
    gap = moduli[0].max() - moduli[1:].max()
    found = real_regime(low, high, a)
    if abs(gap) > 1e-12:
        assert found == ("smoothing" if gap > 0 else "sharpening")
    # the written-out form, away from its own ties
    edges = [high - max(0, a * low), low - boundary(a)]
    if min(abs(edge) for edge in edges) > 1e-9 and (low or high):
        assert (found == "smoothing") == (edges[0] > 0 or edges[1] < 0)


def test_agrees_with_predict():
    rng = np.random.default_rng(0)
    for a in (-0.5, -0.2, 0.0, 0.3):
        A = attention.from_spectrum([1, 0.4, 0.35, a], rng=rng)
        H = weights.from_spectrum(rng.uniform(-3, 1.5, (50, 5)), basis="random", rng=rng)
        mu = np.sort(np.linalg.eigvals(H).real, axis=-1)
        np.testing.assert_array_equal(real_regime(mu[:, 0], mu[:, -1], a), linsim.predict(A, H).regime)


def test_ties_are_balanced():
    assert real_regime(0.0, 0.0, -0.5) == "balanced"
    assert real_regime(-1.0, 0.0, 0.25) == "balanced"
    assert real_regime(boundary(-0.3), -1.0, -0.3) == "balanced"
    assert real_regime(-1.0, 0.5, -0.5) == "balanced"
    assert real_regime([-1.0, -1.0], [0.5 + 1e-12, 0.5 - 1e-12], -0.5).tolist() == ["smoothing", "sharpening"]


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_negative_gains_are_positive_eigenvalues(sign):
    # Sylvester: diag(gamma) S has the inertia of gamma, and a real spectrum
    rng = np.random.default_rng(1)
    for d in (1, 2, 7):
        S = definite(np.exp(rng.uniform(-2, 2, d)), 30, rng)
        gamma = rng.standard_normal((30, d))
        mu = np.linalg.eigvals(gamma[:, :, None] * (sign * S))
        assert np.abs(mu.imag).max() < 1e-6
        np.testing.assert_array_equal((mu.real > 0).sum(-1), (sign * gamma > 0).sum(-1))


def test_one_negative_gain_of_one_size_swaps_whatever_the_share():
    # H = -h I, h (1 + a) < 2, gains +-1; and any S of condition below 1 / |a|
    rng = np.random.default_rng(2)
    a = -0.4
    A = attention.from_spectrum([1, 0.3, 0.1, a], rng=rng)
    assert swap_ratios(a, 1 / 0.41)[1] < 1
    for spectrum in (np.full(6, 1.2), np.linspace(1.0, 0.41, 6)):
        S = definite(spectrum, 40, rng)
        assert (linsim.predict(A, -S).regime == "sharpening").all()
        for k in range(1, 7):
            gamma = np.where(np.arange(6) < k, -1.0, 1.0)
            assert (linsim.predict(A, gamma[:, None] * -S).regime == "smoothing").all()
    # a condition above 1 / |a| leaves it open: diagonal S, the negative gain on its smallest or largest entry
    S = np.diag([1.0, 0.39])
    regimes = [linsim.predict(A, np.diag(gamma) @ -S).regime for gamma in ([1.0, -1.0], [-1.0, 1.0])]
    assert regimes == ["sharpening", "smoothing"]


@settings(max_examples=60)
@given(st.integers(2, 6), st.floats(1, 30), st.floats(-0.95, -0.02), st.integers(0, 2**32))
def test_outside_the_ratios_the_regime_is_certain(d, condition, a, seed):
    rng = np.random.default_rng(seed)
    low, high = swap_ratios(a, condition)
    spectrum = 0.99 * 2 / (1 + a) * condition ** -np.sort(np.r_[0, 1, rng.random(d - 2)])
    S = definite(spectrum, 20, rng)
    gamma = rng.uniform(0.2, 1, (20, d))
    gamma[:, 0] = 1
    k = rng.integers(1, d)
    for factor, regime in ((high * 1.001, "smoothing"), (low * 0.999, "sharpening")):
        negative = np.array(gamma)
        negative[:, d - k :] *= -factor / negative[:, d - k :].max(axis=-1, keepdims=True)
        assert (real_regime(*ends(negative, -S), a) == regime).all()
    # both are attained: the negative gain on the smallest and on the largest eigenvalue
    for order, ratio in (([0, 1], high), ([1, 0], low)):
        S = np.diag(np.array([1.0, 1 / condition])[order])
        for factor, regime in ((1.001, "smoothing"), (0.999, "sharpening")):
            gain = np.array([1.0, -ratio * factor])
            assert real_regime(*ends(gain, -S), a) == regime


def test_without_negative_attention_eigenvalues_any_negative_gain_swaps():
    rng = np.random.default_rng(3)
    S = definite([1.0, 0.1, 0.01, 1e-3], 30, rng)
    gamma = np.array([1.0, 1.0, 1.0, -1e-3])
    assert (real_regime(*ends(gamma, -S), 0.0) == "smoothing").all()
    assert (linsim.predict(attention.uniform(4), gamma[:, None] * -S).regime == "smoothing").all()
    assert str(swap_ratios(0.0, 1e6)) == str(swap_ratios(0.2, 1e6)) == "(0.0, 0.0)"
    # and smoothing weights keep smoothing until no positive gain is left
    assert (real_regime(*ends(-gamma, S), 0.0) == "smoothing").all()
    assert (real_regime(*ends(-np.abs(gamma), S), -0.1) == "sharpening").all()


def test_signs_do_nothing_to_weights_without_preferred_signs():
    # rows of Gaussian H may change sign: the same law, so the same share of smoothing draws for any signs
    rng = np.random.default_rng(4)
    A, size = attention.softmax(6, 4, rng=5), 3000
    shares = []
    for k in (0, 2, 4):
        gamma = np.where(np.arange(4) < k, -1.0, 1.0)
        H = weights.gaussian(4, size=size, rng=rng)
        shares.append((linsim.predict(A, gamma[:, None] * H).regime == "smoothing").mean())
    # Hoeffding for three differences of two means of 3000: P(> 0.0775) <= 3 * 2 exp(-3000 * 0.0775^2) < 1e-7
    assert max(shares) - min(shares) < 0.0775
    assert min(shares) > 0.05


def test_uniform_gains_of_the_proved_statements():
    # layernorm.negative_gain, layernorm.swap_back, layernorm.always_swaps, with real_regime
    rng = np.random.default_rng(6)
    for _ in range(200):
        a, mu, gamma = rng.uniform(-0.9, 0.9), rng.uniform(0.01, 6), -rng.uniform(0.01, 3)
        assert real_regime(-gamma * mu, -gamma * mu, a) == "smoothing"
        sharpens = -gamma * mu * (1 + a) < 2
        assert (real_regime(gamma * mu, gamma * mu, a) == "sharpening") == sharpens
    assert real_regime(-5.0, -5.0, -0.3) == real_regime(5.0, 5.0, -0.3) == "smoothing"


# --- a true layer norm ---------------------------------------------------------------


def mixed_systems(size, a, rng, n=4, d=5):
    """Symmetric A and -S behind gains of both signs."""
    A = attention.from_spectrum([1, *np.linspace(0.2, a, n - 1)], rng=rng)
    H = -definite(4.0 ** np.linspace(0, -1, d), size, rng)
    gain = np.exp(0.3 * rng.standard_normal((size, d))) * np.where(np.arange(d) < 2, -1, 1)
    return A, H, gain


def test_ratio_is_the_exponent_of_the_leading_difference():
    rng = np.random.default_rng(7)
    a, d = -0.6, 5
    A, H, gain = mixed_systems(16, a, rng)
    q = pre_norm_ratio(A, H, gain)
    assert q.min() < 0.8
    assert q.max() > 1.2
    centring = np.eye(d) - 1 / d
    starts, v = [], np.linalg.eigh(A)[1][:, 0]  # the eigenvector at a
    for h, g in zip(H, gain, strict=True):
        K = np.diag(g) @ h
        mu, left = np.linalg.eig((centring @ K).T)
        c = left[:, np.argmax(mu.real)].real
        u = centring @ c / np.linalg.norm(centring @ c)
        nu, rows = np.linalg.eig(((centring - np.outer(u, u)) @ K).T)
        e = rows[:, np.argmin(nu.real)].real
        starts.append(30 * c / np.linalg.norm(c) + 1e-9 * np.outer(v, e))
    block = linsim.Block(A, weights=H, norm="pre", gain=gain)
    run = linsim.simulate(
        block, np.array(starts), 1200, layers=[300, 1200], metrics=["log_hfc_lfc", "log_norm"]
    )
    # the norm grows like l + constant
    slopes = (np.diff(run.metrics["log_hfc_lfc"]) / np.diff(run.metrics["log_norm"]))[:, 0]
    # these differences lie at (a, mu_min): where they lead, their power is q - 1
    mu = np.linalg.eigvals(centring @ (gain[:, :, None] * H))
    at_a = a * mu.real.min(-1) / mu.real.max(-1)
    fits = (np.abs(mu.imag).max(-1) < 1e-9) & (at_a > 0.3)
    assert fits.sum() >= 10
    np.testing.assert_allclose(q[fits], at_a[fits], rtol=1e-9)
    np.testing.assert_allclose(slopes[fits], q[fits] - 1, atol=0.01)


def test_pre_norm_stacks_smooth_where_the_ratio_says_so():
    # a measurement at finite depth: away from q = 1 by more than 0.2
    rng = np.random.default_rng(8)
    A, H, gain = mixed_systems(40, -0.6, rng)
    q = pre_norm_ratio(A, H, gain)
    block = linsim.Block(A, weights=H, norm="pre", gain=gain)
    x0 = linsim.tokens.gaussian(4, 5, size=40, rng=rng)
    run = linsim.simulate(block, x0, 900, layers=[300, 900], metrics=["log_hfc_lfc"])
    slopes = np.diff(run.metrics["log_hfc_lfc"])[:, 0] / np.log(3)
    assert (q < 0.8).sum() > 5
    assert (slopes[q < 0.8] < -0.1).all()
    # no sharpening stack comes near to identical tokens
    assert (q > 1.2).sum() > 5
    assert (run.metrics["log_hfc_lfc"][q > 1.2, -1] > -1.5).all()


def test_a_pre_norm_stack_does_not_overshoot():
    # layernorm.always_swaps: 5 I behind a gain of -1 smooths as a linear layer, with a = -0.3
    A = np.array([[0.35, 0.65], [0.65, 0.35]])
    assert linsim.predict(A, -5 * np.eye(4)).regime == "smoothing"
    assert pre_norm_ratio(A, 5 * np.eye(4), -np.ones(4)) == np.inf
    x0 = linsim.tokens.gaussian(2, 4, rng=0)
    block = linsim.Block(A, weights=5 * np.eye(4), norm="pre", gain=-np.ones(4))
    run = linsim.simulate(block, x0, 300, layers=[0, 300], metrics=["log_hfc_lfc"])
    assert run.metrics["log_hfc_lfc"][1] > run.metrics["log_hfc_lfc"][0] + 1
    # and the other sign smooths
    other = linsim.Block(A, weights=5 * np.eye(4), norm="pre", gain=np.ones(4))
    run = linsim.simulate(other, x0, 300, layers=[0, 300], metrics=["log_hfc_lfc"])
    assert run.metrics["log_hfc_lfc"][1] < -3


def test_ratio_by_hand():
    A = attention.from_spectrum([1, 0.5, -0.25], rng=0)
    # diag(3, -2, -1) centred: trace 0, eigenvalues 0 and +-sqrt(7/3); j = 1 is left out, so a decides
    assert pre_norm_ratio(A, -np.diag([3.0, 2.0, 1.0]), [-1.0, 1.0, 1.0]) == pytest.approx(0.25)
    assert pre_norm_ratio(A, np.eye(3)) == pytest.approx(0.5)  # mu = 1 twice: one is left
    assert pre_norm_ratio(A, -np.eye(3)) == np.inf
    assert pre_norm_ratio(attention.uniform(3), -np.eye(3)) == 1  # nothing grows
    assert pre_norm_ratio(A, [[7.0]]) == 1  # one feature: the norm leaves nothing
    assert pre_norm_ratio([[1.0]], np.eye(3)) == 0
    found = pre_norm_ratio(np.stack([A, A]), np.eye(3), np.ones((4, 1, 3)))
    np.testing.assert_allclose(found, np.full((4, 2), 0.5))
    # complex attention and weights: the definition
    rng = np.random.default_rng(9)
    for _ in range(40):
        A, H, gain = attention.softmax(4, 6, rng=rng), rng.standard_normal((4, 4)), rng.standard_normal(4)
        mu = np.linalg.eigvals((np.eye(4) - 1 / 4) @ np.diag(gain) @ H)
        lam = np.linalg.eigvals(A)
        lam = lam[np.argsort(np.abs(lam - 1))][1:]
        top = np.argmax(mu.real)
        if mu.real[top] < 1e-6:
            continue
        others = mu if abs(mu[top].imag) > 1e-9 else np.delete(mu, top)
        expected = max(0, np.outer(lam, others).real.max()) / mu.real.max()
        assert pre_norm_ratio(A, H, gain) == pytest.approx(expected)


def test_matrices_of_every_library(xp):
    A = attention.uniform(3)
    assert pre_norm_ratio(xp.array(A), xp.array(np.eye(3)), xp.array([1.0, -1.0, 1.0])) == pytest.approx(0)
    mu_min, mu_max = xp.array([-1.0, -1.0]), xp.array([0.1, 0.9])
    assert real_regime(mu_min, mu_max, -0.5).tolist() == ["sharpening", "smoothing"]
    low, high = swap_ratios(xp.array([-0.5, 0.5]), 4.0)
    assert (low.tolist(), high.tolist()) == ([0.125, 0.0], [2.0, 0.0])


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: real_regime(1.0, 0.0, 0.0), InvalidValueError, "mu_min"),
        (lambda: real_regime(np.nan, 0.0, 0.0), InvalidValueError, "mu_min"),
        (lambda: real_regime(0.0, np.inf, 0.0), InvalidValueError, "mu_max"),
        (lambda: real_regime(0.0, 1j, 0.0), InvalidTypeError, "mu_max"),
        (lambda: real_regime(0.0, 1.0, 1.0), InvalidValueError, "lambda_min"),
        (lambda: real_regime(0.0, 1.0, [0.0, -1.0]), InvalidValueError, "lambda_min"),
        (lambda: real_regime(0.0, 1.0, "a"), InvalidTypeError, "lambda_min"),
        (
            lambda: real_regime([0.0, 0.0], [1.0, 1.0, 1.0], 0.0),
            ShapeError,
            "mu_min and mu_max and lambda_min",
        ),
        (lambda: pre_norm_ratio(np.eye(2), np.eye(3), np.ones(2)), ShapeError, "gain"),
        (lambda: pre_norm_ratio(np.eye(2), np.eye(3), [1.0, np.nan, 1.0]), InvalidValueError, "gain"),
        (lambda: pre_norm_ratio(np.eye(2), np.eye(3), 1.0), ShapeError, "gain"),
        (lambda: pre_norm_ratio(-np.eye(2), np.eye(3)), InvalidValueError, "A"),
        (lambda: pre_norm_ratio(np.eye(2), np.ones((2, 3))), ShapeError, "H"),
        (
            lambda: pre_norm_ratio(np.stack([np.eye(2)] * 2), np.eye(3), np.ones((3, 3))),
            ShapeError,
            "A and H and gain",
        ),
        (lambda: swap_ratios(-1.5, 2.0), InvalidValueError, "lambda_min"),
        (lambda: swap_ratios(-0.5, 0.5), InvalidValueError, "condition"),
        (lambda: swap_ratios(-0.5, np.inf), InvalidValueError, "condition"),
        (lambda: swap_ratios(-0.5, None), InvalidTypeError, "condition"),
        (lambda: swap_ratios([-0.5, 0.1], [1.0, 2.0, 3.0]), ShapeError, "lambda_min and condition"),
    ],
)
def test_bad_input_is_named(call, error, argument):
    with pytest.raises(error, match=rf"^{argument}: found .*; expected .*\. .*") as caught:
        call()
    assert isinstance(caught.value, LinsimError)
