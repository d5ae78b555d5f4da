"""Curves of blocks at initialisation against simulation, and against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import Block, Deescalation, attention, predict, simulate
from linsim.errors import InvalidTypeError, InvalidValueError, NotCoveredError

N, D, COPIES, LAYERS = 32, 256, 8, [0, 1, 2, 4, 8]
BLOCKS = {
    "uniform": Block(attention.uniform(N)),
    "softmax": Block(attention.FromTokens()),
    "cold": Block(attention.FromTokens(temperature=1 / 3)),
    "pre-norm": Block(attention.FromTokens(temperature=1 / 5), norm="pre"),
    "tanh": Block(attention.FromTokens(), norm=None, feed_forward="tanh", branch=0.5),
    "relu": Block(attention.FromTokens(temperature=0.5), feed_forward="relu"),
    "gelu": Block(attention.FromTokens(temperature=0.5), norm="pre", feed_forward="gelu"),
    "gains": Block(attention.uniform(N), gain=np.resize([-1.5, 1.5], D), bias=np.resize([0.6, -0.6], D)),
    "tau": Block(
        attention.FromTokens(), feed_forward="linear", deescalation=Deescalation("attention", tau=0.7)
    ),
    "similarity": Block(attention.uniform(N), deescalation=Deescalation("output", similarity=0.3)),
    "heads": Block(
        attention.FromTokens(temperature=0.5), heads=4, norm_kind="rms", feed_forward="silu", norm="pre"
    ),
    "gated": Block(
        attention.FromTokens(temperature=0.5),
        heads=8,
        norm="pre",
        feed_forward="swiglu",
        branch=0.7,
        feed_forward_branch=0.4,
        feed_forward_gain=np.full(D, 2.0),
        feed_forward_layer_scale=np.full(D, -0.8),
    ),
    "sphere": Block(attention.uniform(N), norm_kind="sphere", std=0.5, feed_forward="relu"),
    "parallel": Block(attention.uniform(N), norm="pre", feed_forward="geglu", parallel=True),
    "apart": Block(
        np.stack([np.eye(N), np.full((N, N), 1 / N)]),
        heads=2,
        feed_forward="quick_gelu",
        feed_forward_residual=0.3,
        layer_scale=np.full(D, 0.5),
    ),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", BLOCKS)
def test_the_curve_is_that_of_simulated_blocks(name):
    """Within 5 standard errors, what is left out at order 1/d (a few times 4/d), and P and O (2 percent)."""
    block = BLOCKS[name]
    x0 = linsim.tokens.gaussian(N, D, size=COPIES, rng=0)
    law = predict(block, x0=x0)
    run = simulate(
        block, x0, LAYERS[-1], layers=LAYERS, metrics=["cosine", "token_similarity", "log_norm"], rng=3
    )
    for metric, allowed in (("cosine", 0.04), ("token_similarity", 0.04), ("log_norm", 0.05)):
        found = np.mean(run.metrics[metric], axis=0)
        error = np.std(run.metrics[metric], axis=0) / np.sqrt(COPIES)
        expected = getattr(law, metric)(np.asarray(LAYERS))
        assert np.all(np.abs(found - expected) <= 5 * error + allowed), (metric, found, expected)


def test_the_curves_tell_blocks_apart():
    """The allowance bites: the curve of one block fails that of another."""
    x0 = linsim.tokens.gaussian(N, D, size=COPIES, rng=0)
    curves = np.array([predict(block, x0=x0).wide.cosine(8) for block in BLOCKS.values()])
    apart = np.abs(curves[:, None] - curves)[np.triu_indices(len(curves), 1)]
    assert np.mean(apart > 0.2) > 0.5


def test_uniform_attention_in_closed_form():
    """s = 1: the odds of similarity double (exactly, in expectation), and 1 - cos halves in the end."""
    law = predict(Block(attention.uniform(N), norm=None))
    t = law.token_similarity(np.arange(6))
    np.testing.assert_allclose(t / (1 - t), 2.0 ** np.arange(6) / (N - 1), rtol=1e-12)
    assert law.fixed_point == 1
    assert law.rate == pytest.approx(0.5, rel=1e-3)
    for s, rate in ((0.5, 0.8), (2.0, 0.2)):
        assert predict(Block(attention.uniform(N), std=s)).rate == pytest.approx(rate, rel=1e-3)


def test_a_fixed_point_between():
    law = predict(BLOCKS["similarity"])
    t = law.token_similarity(200)
    assert t == pytest.approx(0.3, abs=1e-9)
    assert law.fixed_point == pytest.approx(law.cosine(200), abs=1e-9)


def test_softmax_without_noise_is_uniform():
    hot = predict(Block(attention.FromTokens(temperature=1e6)), x0=linsim.tokens.gaussian(N, D, rng=0))
    even = predict(Block(attention.uniform(N)), x0=linsim.tokens.gaussian(N, D, rng=0))
    np.testing.assert_allclose(hot.cosine(np.arange(9)), even.cosine(np.arange(9)), atol=1e-9)


def test_one_temperature_is_critical():
    """With the mean of the branch taken out in part, cold softmax keeps tokens apart and hot does not."""

    def law(temperature):
        block = Block(
            attention.FromTokens(temperature=temperature), deescalation=Deescalation("branch", tau=0.5)
        )
        return predict(block, x0=linsim.tokens.gaussian(8, 64, rng=0))

    found = law(1.0).critical_temperature(0.42, 0.52)
    assert 0.42 < found < 0.52
    assert law(found / 1.1).fixed_point < 0.99 < law(found * 1.1).fixed_point
    with pytest.raises(NotCoveredError, match="temperature"):
        predict(BLOCKS["uniform"]).critical_temperature()
    with pytest.raises(NotCoveredError, match="temperature"):
        predict(BLOCKS["uniform"]).condensation_temperature(0)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: predict(Block(attention.FromTokens())), InvalidTypeError, "x0"),
        (lambda: predict(BLOCKS["softmax"], x0=np.ones((1, 4))).log_norm(-1), InvalidValueError, "layers"),
        (lambda: predict(Block(attention.uniform(4))).log_norm(1), InvalidTypeError, "d"),
        (lambda: predict(Block(attention.uniform(4)), x0=np.ones((3, 4))), InvalidValueError, "x0"),
        (lambda: predict(Block(attention.uniform(4), weights=np.eye(2))), NotCoveredError, "weights"),
        (lambda: predict(Block(attention.uniform(4), gain=[1.0, 2.0])), NotCoveredError, "gains"),
        (lambda: predict(Block(attention.uniform(4), bias=np.ones(99))), NotCoveredError, "bias"),
        (lambda: predict(Block(attention.uniform(4), std=[1.0, 2.0])), NotCoveredError, r"\(2,\)"),
        (
            lambda: predict(Block(attention.FromTokens(mask=linsim.masks.causal(4))), x0=np.ones((4, 2))),
            NotCoveredError,
            "mask",
        ),
        (
            lambda: predict(Block(attention.uniform(4), norm_kind="sphere")).fixed_point,
            InvalidTypeError,
            "d:",
        ),
        (
            lambda: predict(Block(attention.uniform(4), layer_scale=[1.0, 2.0])),
            NotCoveredError,
            "layer scales",
        ),
        (
            lambda: predict(Block(attention.uniform(4), value=np.eye(2), output=np.eye(2))),
            NotCoveredError,
            "weights",
        ),
        (
            lambda: predict(linsim.Layered([Block(attention.uniform(4))])),
            NotCoveredError,
            "rule",
        ),
    ],
)
def test_bad_input_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
