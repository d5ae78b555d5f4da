"""Blocks at initialisation with finitely many features and tokens: simulation, and a published recursion."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import Block, attention, predict, simulate
from linsim.errors import InvalidTypeError
from linsim.theory import _finite_width, _softmax_overlaps

N, D, COPIES, LAYERS = 32, 32, 300, np.array([2, 4, 6, 8])
BLOCKS = {
    "uniform": Block(attention.uniform(N)),
    "heads": Block(attention.FromTokens(temperature=0.5), heads=4),
    "relu": Block(attention.FromTokens(temperature=0.5), feed_forward="relu"),
    "pre-norm": Block(attention.uniform(N), norm="pre", feed_forward="tanh", width=D),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", BLOCKS)
def test_mean_and_deviation_are_those_of_simulated_blocks(name):
    """Within 4 standard errors and what is of second order, a third of the correction (1/d is 1/32)."""
    x0 = linsim.tokens.gaussian(N, D, size=COPIES, rng=0)
    x0 = x0 / np.sqrt(np.mean(x0**2, axis=-1, keepdims=True))
    law = predict(BLOCKS[name], x0=x0)
    run = simulate(BLOCKS[name], x0, int(LAYERS[-1]), layers=LAYERS, metrics=["cosine"], rng=4)
    found, error = (f(run.metrics["cosine"], axis=0) for f in (np.mean, np.std))
    mean, correction = law.cosine(LAYERS), law.cosine(LAYERS) - law.wide.cosine(LAYERS)
    assert np.all(np.abs(found - mean) <= 4 * error / np.sqrt(COPIES) + np.abs(correction) / 3)
    # and without the correction it is another curve
    deepest = np.argmin(correction)
    assert np.abs(found - law.wide.cosine(LAYERS))[deepest] > 3 * error[deepest] / np.sqrt(COPIES)
    # a standard deviation from so many draws is known to 1/sqrt(2 COPIES), 3.5 percent
    deviation = law.deviation(LAYERS[:2])
    np.testing.assert_allclose(deviation, error[:2], rtol=0.2)


def published(cosine, beta, layers, bias):
    """The recursion of arXiv 2505.24333 for an encoder with ReLU, weights of variance 0.2/d, in post-norm.

    ``bias``: the variance of biases of value, up and down.
    """
    w, curve = 0.2, [cosine]
    for _ in range(layers):
        critical = np.sqrt(2 / (1 - cosine))
        mixed = cosine + (1 - cosine) * max(0.0, 1 - critical / beta)
        cosine = (w * cosine + bias + cosine) / (w * mixed + bias + 1)
        q, c = w + bias, w * cosine + bias
        rho = c / q
        turned = (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / np.pi
        cosine = (w * q / 2 * turned + bias + cosine) / (w * q / 2 + bias + 1)
        curve.append(cosine)
    return np.array(curve)


def encoder(beta, n=512, d=720):
    """The block of that recursion without biases; its scores have standard deviation beta sqrt(ln n)."""
    spec = attention.FromTokens(temperature=1 / (beta * np.sqrt(np.log(n))))
    return Block(
        spec, std=np.sqrt(0.2), feed_forward="relu", width=d, feed_forward_std=np.sqrt(0.02), norm_eps=0.0
    )


def similar(cosine, n, d):
    """Tokens whose cosines are equal, exactly."""
    x0 = linsim.tokens.gaussian(n, d, rng=0)
    return np.linalg.qr(x0.T)[0].T[:n] * np.sqrt(d * (1 - cosine)) + _shared(x0, cosine)


def _shared(x0, cosine):
    n, d = x0.shape
    basis = np.linalg.qr(x0.T)[0].T
    extra = np.linalg.svd(basis)[2][n] if d > n else 0 * basis[0]
    return np.sqrt(d * cosine) * extra


@pytest.mark.parametrize(("beta", "cosine"), [(0.5, 0.918), (3.0, 0.761)])
def test_many_tokens_follow_the_published_recursion(beta, cosine):
    """Layer 20 from a mean cosine of 0.1938: published with biases of variance 4e-4, which a Block lacks."""
    assert published(0.1938, beta, 20, 4e-4)[20] == pytest.approx(cosine, abs=5e-4)
    x0 = similar(0.1938, 512, 720)
    law = predict(encoder(beta), x0=x0)
    assert law.start == pytest.approx((1.0, 0.1938), rel=1e-9)
    np.testing.assert_allclose(
        law.many_tokens.cosine(np.arange(51)), published(law.start[1], beta, 50, 0.0), rtol=1e-9
    )
    # where few tokens begin to hold a row: beta = sqrt(2 / (1 - cos))
    critical = law.condensation_temperature(0)
    assert 1 / (critical * np.sqrt(np.log(512))) == pytest.approx(np.sqrt(2 / (1 - 0.1938)), rel=1e-9)


@pytest.mark.full
@pytest.mark.parametrize(("beta", "drawn"), [(0.5, 0.925), (3.0, 0.731)])
def test_one_published_draw_is_as_far_off_as_a_draw_may_be(beta, drawn):
    law = predict(encoder(beta), x0=similar(0.1938, 512, 720))
    assert abs(law.cosine(20) - drawn) < 2 * law.deviation(20)
    assert law.deviation(20) == pytest.approx(
        {0.5: 0.0105, 3.0: 0.037}[beta], rel=0.1
    )  # of six draws in NumPy


def test_products_with_fresh_weights_fluctuate_as_a_wishart_matrix():
    """4,000 draws of W: every kind of covariance within 5 standard errors."""
    n, d, draws = 4, 12, 4000
    rng = np.random.default_rng(0)
    M = similar(0.4, n, d)
    G = (Y := M @ rng.standard_normal((draws, d, d)) / np.sqrt(d)) @ np.swapaxes(Y, -1, -2) / d
    own = np.diagonal(G, axis1=-2, axis2=-1)
    expected = _finite_width.products(n, (1.0, 0.4), (1.0, 0.4)).times(1 / np.sqrt(d))
    q, c = own.mean(axis=-1), (G.sum(axis=(-1, -2)) - own.sum(axis=-1)) / (n * (n - 1))
    shared = expected.shared
    for x, y, wanted in (
        (q, q, shared[0, 0]),
        (q, c, shared[0, 1]),
        (c, c, shared[1, 1]),
        (own[:, 0], own[:, 0], expected.own + shared[0, 0]),
        (own[:, 0], G[:, 0, 1], expected.both + shared[0, 1]),
        (G[:, 0, 1], G[:, 0, 1], expected.pair + shared[1, 1]),
        (G[:, 0, 1], G[:, 0, 2], expected.token + shared[1, 1]),
    ):
        product = (x - x.mean()) * (y - y.mean())
        assert abs(product.mean() - wanted) < 5 * product.std() / np.sqrt(draws)


@pytest.mark.parametrize("n", [100, 1000])  # up to 1/n of it
@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9])
def test_a_norm_leaves_the_correlation_of_gaussian_samples(n, rho):
    """E r = rho - rho (1 - rho^2) / (2 d), and of one pair Var r = (1 - rho^2)^2 / d (Fisher 1915)."""
    d = 10_000
    given = _finite_width.products(n, (1.0, rho), (1.0, rho)).times(1 / np.sqrt(d))
    x = _finite_width.Tokens(1.0, rho, given)
    assert d * (x.cosine - rho) == pytest.approx(-rho * (1 - rho**2) / 2, abs=2e-3)
    y = _finite_width.normed(x).spread
    assert d * (y.shared[1, 1] + y.pair) == pytest.approx((1 - rho**2) ** 2, abs=2e-3)


def test_what_correlations_of_scores_do_to_a_softmax():
    """The derivatives that the law uses, against differences on the same 100,000 draws, to their noise."""
    rng, n, sigma, rho, h = np.random.default_rng(1), 6, 0.7, 0.7, 1e-3
    z = rng.standard_normal((2 * n, 100_000))

    def rows(C):
        scores = np.linalg.cholesky(sigma**2 * np.kron([[1, rho], [rho, 1]], C)) @ z
        return [_softmax_overlaps._softmax(part) for part in (scores[:n], scores[n:])]

    def slope(C, value):
        up, down = (value(*rows(np.eye(n) + sign * h * C)) for sign in (1, -1))
        return np.mean(up - down) / (2 * h) / sigma**2

    A, B = rows(np.eye(n))
    alike, together = np.zeros((n, n)), np.zeros((n, n))
    alike[0, 1] = alike[1, 0] = 1
    # alpha = 1 of the first token: G of it with any other, and not with itself
    together[0, 1:] = together[1:, 0] = 1
    rows_of_one = _softmax_overlaps._own_bend(A), lambda A, _: (A, A)
    rows_of_two = _softmax_overlaps._pair_bend(A, B, rho), lambda A, B: (A, B)
    for (by_pairs, by_tokens), of in (rows_of_one, rows_of_two):

        def pair(A, B, of=of):
            a, b = of(A, B)
            return a[0] * b[1] + a[1] * b[0]

        def token(A, B, of=of):
            a, b = of(A, B)
            return a[0] * (1 - b[0]) + b[0] * (1 - a[0])

        # all n (n - 1) / 2 pairs, and all n tokens, are alike
        assert n * (n - 1) / 2 * slope(alike, pair) == pytest.approx(by_pairs, abs=0.03)
        assert n * slope(together, token) == pytest.approx(by_tokens, abs=0.03)
        assert min(abs(by_pairs), abs(by_tokens)) > 0.1


def test_a_deviation_needs_a_number_of_features():
    with pytest.raises(InvalidTypeError, match="d: found nothing"):
        predict(Block(attention.uniform(8))).deviation(3)
