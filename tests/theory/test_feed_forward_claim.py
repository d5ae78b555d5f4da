"""The claim that feed-forward layers do not drive escalation: where it holds, and where it fails."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

import linsim
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError
from linsim.theory.feed_forward import (
    ACTIVATIONS,
    feed_forward_gram,
    feed_forward_rate,
    feed_forward_similarity,
    kernel,
)

FUNCTIONS = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * special.ndtr(x),
}
SLOPES = {
    "linear": np.ones_like,
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "relu": lambda x: (x > 0).astype(float),
    "gelu": lambda x: special.ndtr(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
}


#: standard deviation of W_2 times sqrt(width), as in the theory notes
HE = math.sqrt(2)


def expectation(f, variance, steps=40):
    """E f(g), g ~ N(0, variance): Gauss-Legendre on each side of the kink, piece by piece."""
    z, w = np.polynomial.legendre.leggauss(24)
    edges = np.linspace(-12, 12, 2 * steps + 1)
    middle, half = (edges[1:] + edges[:-1])[:, None] / 2, (edges[1:] - edges[:-1])[:, None] / 2
    x = middle + half * z
    return float(np.sum(half * w * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * f(math.sqrt(variance) * x)))


def pair_expectation(name, a, b, c):
    """E f(x) f(y), covariance [[a, c], [c, b]]: the inner integral by pieces that end at the kink of f."""
    f = FUNCTIONS[name]
    outer, w = np.polynomial.legendre.leggauss(40)
    edges = np.linspace(-10, 10, 41)
    rest = math.sqrt(max(b - c * c / a, 0.0))
    total = 0.0
    for low, high in itertools.pairwise(edges):
        z = (low + high) / 2 + (high - low) / 2 * outer
        mean = c / math.sqrt(a) * z
        if rest == 0:
            inner = f(mean)
        else:
            # y = mean + rest u, cut at y = 0 and at ten deviations
            cut = np.clip(-mean / rest, -10, 10)
            inner = np.zeros_like(z)
            for left, right in ((np.full_like(cut, -10), cut), (cut, np.full_like(cut, 10))):
                for k in range(10):
                    start, stop = left + (right - left) * k / 10, left + (right - left) * (k + 1) / 10
                    u = (start + stop)[:, None] / 2 + (stop - start)[:, None] / 2 * outer
                    density = np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)
                    value = f(mean[:, None] + rest * u) * density * w
                    inner += value.sum(axis=1) * (stop - start) / 2
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        total += float(np.sum(w * density * f(math.sqrt(a) * z) * inner)) * (high - low) / 2
    return total


# --- the kernels ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(
    ("a", "b", "p"),
    [
        (1, 1, 0),
        (1, 1, 0.5),
        (0.3, 2, -0.7),
        (4, 4, 0.9),
        (1, 1, 0.999),
        (9, 0.1, 0.2),
        (25, 1, -1),
        (2, 2, 1),
    ],
)
def test_kernels_are_the_expectations(name, a, b, p):
    c = p * math.sqrt(a * b)
    C = np.array([[a, c], [c, b]])
    found = kernel(C, name)
    expected = pair_expectation(name, a, b, c)
    size = math.sqrt(pair_expectation(name, a, a, a) * pair_expectation(name, b, b, b))
    assert abs(found[0, 1] - expected) < 2e-12 * size
    np.testing.assert_allclose(found[1, 0], found[0, 1], rtol=1e-15)
    for i, v in enumerate((a, b)):
        square = expectation(lambda x: FUNCTIONS[name](x) ** 2, v)
        np.testing.assert_allclose(found[i, i], square, rtol=1e-12)


def test_kernels_in_arbitrary_precision():
    """The forms of the docstring against integrals that share nothing with them."""
    with mpmath.workdps(25):
        a, b, c = mpmath.mpf(2), mpmath.mpf(1) / 2, mpmath.mpf(3) / 5
        deviation = mpmath.sqrt(b - c * c / a)
        phi = {"gelu": lambda x: x * mpmath.ncdf(x), "tanh": mpmath.tanh}
        C = np.array([[2, 0.6], [0.6, 0.5]])
        for name, f in phi.items():
            step, reach = mpmath.mpf(1) / 8, 9
            z = [step * k for k in range(-reach * 8, reach * 8 + 1)]
            weight = [step * mpmath.npdf(x) for x in z]
            total = mpmath.fsum(
                w * f(mpmath.sqrt(a) * x) * v * f(c / mpmath.sqrt(a) * x + deviation * y)
                for x, w in zip(z[::2], weight[::2], strict=True)
                for y, v in zip(z[::2], weight[::2], strict=True)
            )
            np.testing.assert_allclose(kernel(C, name)[0, 1], float(4 * total), rtol=1e-7)


@given(
    st.sampled_from(ACTIVATIONS),
    st.integers(1, 6),
    st.integers(1, 6),
    st.floats(-3, 2),
    st.integers(0, 2**32),
)
def test_kernels_are_covariances(name, n, d, scale, seed):
    x = np.random.default_rng(seed).normal(size=(n, d)) * 10**scale
    C = x @ x.T / d
    K = kernel(C, name)
    np.testing.assert_allclose(K, K.T, rtol=1e-14, atol=1e-15 * np.abs(K).max())
    assert np.linalg.eigvalsh(K)[0] >= -1e-8 * np.abs(K).max()
    assert (np.abs(K) <= np.sqrt(np.outer(np.diag(K), np.diag(K))) * (1 + 1e-8)).all()
    if name in ("linear", "tanh"):
        # odd: correlations never grow
        size = np.sqrt(np.outer(np.diag(C), np.diag(C)))
        limit = np.abs(C) / np.where(size > 0, size, 1) * np.sqrt(np.outer(np.diag(K), np.diag(K)))
        assert (np.abs(K) <= limit + 1e-10 * np.abs(K).max()).all()


def test_kernels_scale_and_limit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 3))
    C = x @ np.swapaxes(x, -1, -2)
    np.testing.assert_allclose(kernel(1e6 * C, "relu"), 1e6 * kernel(C, "relu"), rtol=1e-12)
    # gelu is relu for large arguments and half the identity for small ones
    big = kernel(1e10 * C, "gelu")
    np.testing.assert_allclose(big, 1e10 * kernel(C, "relu"), atol=1e-4 * np.abs(big).max())
    np.testing.assert_allclose(kernel(1e-8 * C, "gelu"), 1e-8 * C / 4, atol=1e-7 * 1e-8 * np.abs(C).max())
    np.testing.assert_allclose(kernel(1e-8 * C, "tanh"), 1e-8 * C, atol=1e-6 * 1e-8 * np.abs(C).max())
    signs = 2 / np.pi * np.arcsin(C / np.sqrt(np.einsum("kii,kjj->kij", C, C)).clip(1e-300))
    np.testing.assert_allclose(kernel(1e10 * C, "tanh"), signs, atol=1e-2)
    assert (kernel(np.zeros((3, 3)), "gelu") == 0).all()
    assert (kernel(np.zeros((3, 3)), "relu") == 0).all()
    assert (kernel(np.zeros((3, 3)), "tanh") == 0).all()


# --- sampled networks -------------------------------------------------------------------------


def residual(rng, x, name, width, *, std_in=1.0, std_out=HE, count=1):
    """Y = X + f(X W_1) W_2 for ``count`` independent draws of the weights."""
    d = x.shape[-1]
    first = rng.normal(size=(count, d, width)) * std_in / math.sqrt(d)
    second = rng.normal(size=(count, width, d)) * std_out / math.sqrt(width)
    return x + FUNCTIONS[name](x @ first) @ second


def consistent(samples, expected, alarm=1e-9, blocks=40):
    """Whether block means agree with ``expected``: Student's t, family-wise false alarm ``alarm``.

    Each of the 40 block means averages hundreds of networks, so they are normal to good approximation.
    """
    means = samples.reshape(blocks, -1, *samples.shape[1:]).mean(axis=1)
    error = means.std(axis=0, ddof=1) / math.sqrt(blocks)
    score = np.abs(means.mean(axis=0) - expected) / error
    return bool(np.all(score <= stats.t.isf(alarm / (2 * score.size), blocks - 1)))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("d", "width", "std_in", "std_out"), [(3, 2, 1.0, math.sqrt(2)), (6, 9, 1.7, 0.6)])
def test_the_gram_law_is_exact_at_every_width(name, d, width, std_in, std_out):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(4, d)) + 0.5
    y = residual(rng, x, name, width, std_in=std_in, std_out=std_out, count=16_000)
    gram = y @ np.swapaxes(y, -1, -2) / d
    expected = feed_forward_gram(x @ x.T / d, name, std_in=std_in, std_out=std_out)
    upper = np.triu_indices(4)
    assert consistent(gram[:, *upper], expected[upper])
    # and the test can fail
    assert not consistent(gram[:, *upper], 1.2 * expected[upper])


@pytest.mark.parametrize(
    ("name", "measured"), [("relu", 0.171), ("gelu", 0.099), ("tanh", 0.016), ("linear", 0.016)]
)
def test_low_similarity_at_the_size_of_the_notes(name, measured):
    """n = 64, d = 192, width 4 d: t_sim .016 -> .171 (ReLU) and .099 (GELU), predicted from the tokens."""
    rng = np.random.default_rng(1)
    before, after, law = [], [], []
    for _ in range(4):
        x = rng.normal(size=(64, 192))
        y = residual(rng, x, name, 768)[0]
        before.append(x.sum(axis=0) @ x.sum(axis=0) / 64 / np.sum(x**2))
        after.append(y.sum(axis=0) @ y.sum(axis=0) / 64 / np.sum(y**2))
        law.append(feed_forward_similarity(x @ x.T / 192, name))
    assert abs(np.mean(before) - 0.016) < 0.003
    assert abs(np.mean(law) - measured) < 0.003
    # one network: the shared part is one vector of 192 entries, so t varies by some sqrt(2/192)
    assert np.abs(np.array(after) / np.array(law) - 1).max() < 7 * math.sqrt(2 / 192)


# --- where the claim holds, and where it fails ---------------------------------------------------


def alike(n, t):
    """Gram matrix of n tokens of norm 1, similarity t, all correlations equal."""
    p = (n * t - 1) / (n - 1)
    return (1 - p) * np.eye(n) + p


def test_similarity_against_similarity():
    n = 64
    low = {f: feed_forward_similarity(alike(n, 1 / n), f) for f in ACTIVATIONS}
    # K(0) / K(1) in closed form: (2 + 63/pi) / 128 for relu
    assert abs(low["relu"] - (2 + 63 / math.pi) / 128) < 1e-14
    assert abs(low["linear"] - 1 / n) < 1e-15
    assert abs(low["tanh"] - 1 / n) < 1e-15
    gelu = 1 + 2 * (1 / 3 + 1 / (2 * math.pi * math.sqrt(3)))
    assert abs(low["gelu"] - (gelu + 63 / (2 * math.pi)) / (64 * gelu)) < 1e-14
    for t in (0.02, 0.1, 0.3, 0.6, 0.9, 0.99, 0.999):
        G = alike(n, t)
        after = {f: float(feed_forward_similarity(G, f)) for f in ACTIVATIONS}
        assert abs(after["linear"] - t) < 1e-14
        assert after["tanh"] < t < after["relu"]
        # gelu has an equilibrium between .6 and .9: it raises similarity below, and lowers it above
        assert (after["gelu"] > t) == (t < 0.8)
        if t >= 0.9:
            assert abs(after["relu"] - t) < 0.06 * (1 - t)
            assert abs(after["gelu"] - t) < 0.06 * (1 - t)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(
    ("variance", "std_in", "std_out"), [(1.0, 1.0, math.sqrt(2)), (0.3, 2.0, 0.5), (50, 1.0, 3.0)]
)
def test_local_rate(name, variance, std_in, std_out):
    rate = feed_forward_rate(name, variance, std_in=std_in, std_out=std_out)
    v = std_in**2 * variance
    square = expectation(lambda x: FUNCTIONS[name](x) ** 2, v, steps=400)
    slope = expectation(lambda x: SLOPES[name](x) ** 2, v, steps=400)
    expected = 1 - (1 + std_out**2 * std_in**2 * slope) / (1 + std_out**2 * square / variance)
    np.testing.assert_allclose(rate, expected, atol=1e-12)
    # from the kernels themselves: t_div one layer later, near t = 1
    gap = 1e-4
    G = variance * np.array([[1, 1 - gap], [1 - gap, 1]])
    after = feed_forward_gram(G, name, std_in=std_in, std_out=std_out)
    found = 1 - (1 - after[0, 1] / after[0, 0]) / gap
    # the next order is an angle: sqrt(2 gap) / pi
    np.testing.assert_allclose(rate, found, atol=0.02)
    # the sign, which Poincare's inequality and the closed form give
    assert {"linear": rate == 0, "relu": rate == 0, "tanh": rate < 0, "gelu": rate < 0}[name]


@given(st.floats(-4, 4), st.floats(-2, 2))
def test_signs_of_the_rate_at_every_scale(log_variance, log_out):
    values = {f: feed_forward_rate(f, 10**log_variance, std_out=10**log_out) for f in ACTIVATIONS}
    assert values["linear"] == values["relu"] == 0
    assert values["gelu"] < 0
    assert values["tanh"] < 1e-14


def relu_step(angle, s2):
    """Angle of two tokens of one norm after a ReLU residual, in arbitrary precision."""
    cos = mpmath.cos(angle)
    shared = s2 / 2 * (mpmath.sin(angle) + (mpmath.pi - angle) * cos) / mpmath.pi
    return mpmath.acos((cos + shared) / (1 + s2 / 2))


@pytest.mark.parametrize("s2", [0.5, 2.0, 8.0])
def test_deep_relu_layers_close_like_the_square_of_depth(s2):
    """1/angle grows by s^2 / (3 pi (2 + s^2)) a layer, never by more than twice that: no geometric rate."""
    with mpmath.workdps(40):
        limit = s2 / (3 * mpmath.pi * (2 + s2))
        steps = []
        for k in range(-60, 1):
            angle = mpmath.pi / 2 * mpmath.mpf(10) ** (mpmath.mpf(k) / 6)
            steps.append(1 / relu_step(angle, s2) - 1 / angle)
            assert 0 < steps[-1] < 2 * limit
        assert abs(steps[0] / limit - 1) < 1e-8
        angle, depth = mpmath.pi / 2, 2000
        for _ in range(depth):
            angle = relu_step(angle, s2)
        # hence t_div = (1 - cos) / 2 of two tokens ~ 1 / (4 l^2 limit^2)
        assert abs(angle * limit * depth - 1) < 0.05
    # the kernel of the library takes the same step
    G = np.array([[1, math.cos(0.7)], [math.cos(0.7), 1]])
    after = feed_forward_gram(G, "relu", std_out=math.sqrt(s2))
    assert abs(math.acos(after[0, 1] / after[0, 0]) - float(relu_step(mpmath.mpf(0.7), s2))) < 1e-14


# --- the same, in a whole block ------------------------------------------------------------------


def block(n, name, **options):
    """A block without attention: its weights are zero."""
    return linsim.Block(linsim.attention.uniform(n), std=0.0, norm=None, feed_forward=name, **options)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_block_obeys_the_gram_law(name):
    rng = np.random.default_rng(2)
    n, d, count = 5, 6, 8_000
    x = rng.normal(size=(n, d)) + 0.3
    x0 = np.broadcast_to(x, (count, n, d))
    metrics = ["token_similarity", "log_norm"]
    run = linsim.simulate(block(n, name, width=7, feed_forward_std=0.8), x0, 1, rng=3, metrics=metrics)
    energy = np.exp(2 * run.metrics["log_norm"][:, 1])
    shared = run.metrics["token_similarity"][:, 1] * energy
    G = feed_forward_gram(x @ x.T / d, name, std_out=0.8 * HE) * d
    assert consistent(np.stack([energy, shared], axis=-1), np.array([np.trace(G), G.sum() / n]))
    assert not consistent(energy, 1.1 * np.trace(G))


def test_feed_forward_alone_escalates_with_relu_and_gelu_and_not_with_tanh():
    """24 layers, no attention at all, n = 64, d = 192: similarity from .016 to the iterated law's .88."""
    n, d, depth = 64, 192, 24
    x0 = np.random.default_rng(0).normal(size=(2, n, d))
    for name, escalates in (("tanh", False), ("relu", True), ("gelu", True)):
        run = linsim.simulate(block(n, name), x0, depth, rng=1, metrics=["token_similarity"])
        found = run.metrics["token_similarity"].mean(axis=0)
        G = x0[0] @ x0[0].T / d
        for _layer in range(depth):
            G = feed_forward_gram(G, name)
        law = G.sum() / n / np.trace(G)
        assert (law > 0.8) == escalates
        assert (law < 0.02) != escalates
        # what one draw of the shared direction moves: some sqrt(2/d) of the odds a layer at first
        odds = [np.log(t / (1 - t)) for t in (found[-1], law)]
        assert abs(odds[0] - odds[1]) < 7 * math.sqrt(2 / d)


def test_behind_layer_norm_gelu_settles_at_its_own_similarity():
    """At norm 1 correlations go p -> (p + 2 K(p)) / (1 + 2 K(1)): where K(p) = p K(1) they stay."""

    def step(p):
        after = feed_forward_gram(np.array([[1, p], [p, 1]]), "gelu")
        return after[0, 1] / after[0, 0]

    ends = []
    for p in (0.0, 0.5, 0.999):
        for _ in range(600):
            p = step(p)
        ends.append(p)
    np.testing.assert_allclose(ends, 0.7604019048959, rtol=1e-6)
    p = 0.7604019048959
    K = kernel(np.array([[1, p], [p, 1]]), "gelu")
    np.testing.assert_allclose(K[0, 1], p * K[0, 0], rtol=1e-9)


# --- layer norm -----------------------------------------------------------------------------------


def normed(x):
    """Layer norm alone: a block whose branches are zero."""
    block = linsim.Block(linsim.attention.uniform(x.shape[-2]), std=0.0, norm="post", norm_eps=0.0)
    return linsim.simulate(block, x, 1, rng=0, metrics=["token_similarity", "log_token_diversity"]).metrics


def test_layer_norm_turns_similarity_into_the_mean_cosine():
    """Behind a norm without gain t is the mean over all pairs of the cosine of tokens less their own mean.

    So the claim that layer norm does not matter holds for tokens of one norm and no mean over
    features, and fails either way for others.
    """
    rng = np.random.default_rng(0)
    for x in (
        rng.normal(size=(6, 5)),
        rng.normal(size=(6, 5)) + 3,
        rng.normal(size=(6, 5)) * rng.random((6, 1)),
    ):
        centred = x - x.mean(axis=1, keepdims=True)
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        found = normed(x)["token_similarity"][1]
        np.testing.assert_allclose(found, (unit @ unit.T).mean(), rtol=1e-12)
    wave = np.array([1.0, -1, 1, -1])
    other = np.array([1.0, 1, -1, -1])
    # one long token hides that the rest is alike; a shared mean over features hides that nothing is
    long = np.stack([100 * other, *[wave] * 7])
    np.testing.assert_allclose(normed(long)["token_similarity"], [0.1259, 0.78125], atol=1e-3)
    shifted = np.stack([wave, -wave, other, -other]) + 10
    np.testing.assert_allclose(normed(shifted)["token_similarity"], [100 / 101, 0], atol=1e-12)


def test_local_rate_of_layer_norm():
    """As t -> 1, t_div changes by |P Z|^2 / |Z|^2 |c|^2 / |c'|^2: c' = c less its mean over features.

    P takes off c' and the feature mean.  Isotropic differences and c = c': the rate is 2/d.
    """
    rng = np.random.default_rng(1)
    n, d = 5, 7
    c, Z = rng.normal(size=d) + 0.4, rng.normal(size=(n, d))
    Z -= Z.mean(axis=0)
    less = c - c.mean()
    kept = Z - Z.mean(axis=1, keepdims=True)
    kept -= np.outer(kept @ less, less) / (less @ less)
    factor = np.sum(kept**2) / np.sum(Z**2) * (c @ c) / (less @ less)
    found = np.diff(normed(c + 1e-6 * Z)["log_token_diversity"])
    np.testing.assert_allclose(found, math.log(factor), atol=1e-4)


# --- bad input -------------------------------------------------------------------------------------

I2 = np.eye(2)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: kernel(I2, "swish"), InvalidValueError, "activation"),
        (lambda: kernel(np.ones((2, 3)), "relu"), ShapeError, "C"),
        (lambda: kernel([[1.0, 2.0], [2.0, 1.0]], "relu"), InvalidValueError, "C"),
        (lambda: kernel([[1.0, 0.2], [0.1, 1.0]], "relu"), InvalidValueError, "C"),
        (lambda: kernel([[-1.0]], "relu"), InvalidValueError, "C"),
        (lambda: kernel([[np.nan]], "relu"), InvalidValueError, "C"),
        (lambda: kernel("ab", "relu"), InvalidTypeError, "C"),
        (lambda: feed_forward_gram([[-1.0]], "relu"), InvalidValueError, "G"),
        (lambda: feed_forward_gram(I2, "relu", std_in=-1), InvalidValueError, "std_in"),
        (lambda: feed_forward_gram(I2, "relu", std_out=np.inf), InvalidValueError, "std_out"),
        (lambda: feed_forward_gram(I2, None), InvalidValueError, "activation"),
        (lambda: feed_forward_similarity(np.zeros((2, 2)), "relu"), InvalidValueError, "G"),
        (lambda: feed_forward_rate("relu", 0.0), InvalidValueError, "variance"),
        (lambda: feed_forward_rate("relu", "1"), InvalidTypeError, "variance"),
        (lambda: feed_forward_rate("sine"), InvalidValueError, "activation"),
    ],
)
def test_bad_input_is_named(call, error, argument):
    with pytest.raises(error, match=rf"^{argument}\b.*found .*expected ") as caught:
        call()
    assert isinstance(caught.value, LinsimError)
