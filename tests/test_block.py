"""Transformer blocks against the same blocks in arbitrary precision, and what each part must do."""

from __future__ import annotations

import functools

import block_oracle
import mpmath as mp
import numpy as np
import pytest

import linsim
from linsim import Block, Deescalation, RandomWeights, attention, simulate, tokens, weights
from linsim.attention import FromTokens

N, D = 4, 5
GENERAL = attention.softmax(N, 3, rng=1)
UNIFORM = attention.uniform(N)
CAUSAL = np.tril(np.ones((N, N))) / np.arange(1, N + 1)[:, None]
MIXED = np.array([1.0, -0.7, 0.4, -1.3, 0.9])
BIAS = np.array([0.3, 0.0, -0.2, 0.1, 0.5])

GAPS = {
    "log_token_diversity": block_oracle.log_token_diversity,
    "log_cosine_gap": block_oracle.log_cosine_gap,
    "log_rank_gap": block_oracle.log_rank_gap,
}

# Every part on and off, alone and together: attention x norm x feed-forward x
# residual x de-escalation.
BLOCKS = {
    "plain": Block(GENERAL, norm=None),
    "uniform": Block(UNIFORM, norm=None),
    "orthogonal": Block(GENERAL, norm=None, weights="orthogonal", std=0.8),
    "fixed weights": Block(GENERAL, norm=None, weights=weights.gaussian(D, rng=5)),
    "post": Block(GENERAL),
    "pre": Block(GENERAL, norm="pre"),
    "gain": Block(GENERAL, gain=MIXED),
    "gain and bias": Block(GENERAL, gain=MIXED, bias=BIAS, norm="pre"),
    "no eps": Block(GENERAL, norm_eps=0.0, feed_forward="relu"),
    "large eps": Block(GENERAL, norm_eps=3.0),
    "causal": Block(CAUSAL, feed_forward="linear"),
    "tanh": Block(UNIFORM, feed_forward="tanh", norm="post"),
    "tanh, no norm": Block(UNIFORM, feed_forward="tanh", norm=None),
    "gelu": Block(GENERAL, feed_forward="gelu", width=7),
    "gelu, pre": Block(GENERAL, feed_forward="gelu", norm="pre"),
    "gelu, no norm": Block(GENERAL, feed_forward="gelu", norm=None),
    "relu": Block(GENERAL, feed_forward="relu"),
    "relu, no norm": Block(UNIFORM, feed_forward="relu", norm=None, feed_forward_std=0.5),
    "no residual": Block(GENERAL, residual=None, norm=None),
    "no residual, post": Block(GENERAL, residual=None, feed_forward="tanh"),
    "scaled": Block(GENERAL, residual=0.9, branch=0.3, std=1.5),
    "softmax": Block(FromTokens(3)),
    "softmax, sharp": Block(FromTokens(3, temperature=0.2), feed_forward="relu"),
    "softmax, no norm": Block(FromTokens(3), norm=None),
    "softmax, masked": Block(FromTokens(3, mask=np.tril(np.ones((N, N), dtype=bool)))),
    "softmax, true scale": Block(FromTokens(3, normalize=False, temperature=4.0), feed_forward="gelu"),
    "softmax alone": Block(FromTokens(3), residual=None, norm=None),
    "tau": Block(GENERAL, deescalation=Deescalation("attention", tau=0.4)),
    "tau 1": Block(GENERAL, deescalation=Deescalation("output", tau=1.0), feed_forward="gelu"),
    "tau 1, pre": Block(GENERAL, deescalation=Deescalation("branch", tau=1.0), norm="pre"),
    "similarity": Block(GENERAL, deescalation=Deescalation("attention", similarity=0.3)),
    "hook": Block(GENERAL, deescalation=Deescalation("norm", function=lambda x: x - 0.5 * np.tanh(x))),
    "two places": Block(
        GENERAL,
        feed_forward="gelu",
        deescalation=[Deescalation("norm", tau=0.2), Deescalation("feed_forward", similarity=0.8)],
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_against_arbitrary_precision(name):
    """Every gap, at every layer, is that of the textbook block; below 1e-16 as well."""
    block, depth, seed = BLOCKS[name], 12, 7
    x0 = tokens.gaussian(N, D, rng=2)
    run = simulate(block, x0, depth, rng=seed)
    with mp.workdps(60 if name != "softmax alone" else 400):
        truth = [{k: f(X) for k, f in GAPS.items()} for X in _some(block, x0, depth, seed, name)]
    for metric in GAPS:
        expected = np.array([t[metric] for t in truth])
        found = run.metrics[metric][: len(expected)]
        seen = np.isfinite(found)
        assert seen[:3].all()
        np.testing.assert_allclose(found[seen], expected[seen], rtol=0, atol=1e-9)
        if name not in ("softmax alone", "hook"):
            assert seen.all()


def _some(block, x0, depth, seed, name):
    # the doubly exponential case has 3**layer digits
    return block_oracle.states(block, x0, depth if name != "softmax alone" else 5, seed)


@pytest.mark.parametrize("name", ["post", "gelu", "tanh", "relu", "softmax", "causal"])
def test_gaps_far_below_rounding(name):
    """At layer 240 token diversity is below 1e-32, where plain iteration sees only rounding."""
    block, depth, seed = BLOCKS[name], 240, 3
    x0 = tokens.gaussian(N, D, rng=4)
    run = simulate(block, x0, depth, layers=[120, depth], rng=seed, metrics=list(GAPS))
    assert run.metrics["log_token_diversity"][-1] < np.log(1e-32)
    with mp.workdps(90):
        kept = {layer: X for layer, X in enumerate(block_oracle.states(block, x0, depth, seed)) if layer in run.layers}
        truth = {metric: [f(kept[layer]) for layer in run.layers] for metric, f in GAPS.items()}
    for metric, expected in truth.items():
        np.testing.assert_allclose(run.metrics[metric], expected, rtol=0, atol=1e-6)
