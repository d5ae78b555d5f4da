"""What is drawn: the same numbers in every precision, each system from its own stream."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import linsim
from linsim import Block, RandomWeights, _draws, attention, simulate
from linsim._attend import projections
from linsim.attention import FromTokens

D = 6
STD = np.array([0.5, 2.0, 1.0]).reshape(3, 1, 1)
SAMPLER = linsim.weights.gaussian


def streams():
    return _draws.streams(7, 3)


DRAWN = {
    "normals": lambda dtype: _draws.normals((4, D), streams(), dtype),
    "scaled normals": lambda dtype: _draws.normals((4, D), streams(), dtype, STD / 3),
    "gaussian": lambda dtype: _draws.weights("gaussian", D, STD, streams(), dtype),
    "orthogonal": lambda dtype: _draws.weights("orthogonal", D, STD, streams(), dtype),
    "sampler": lambda dtype: _draws.weights(SAMPLER, D, STD, streams(), dtype),
    "feed-forward": lambda dtype: _draws.rectangle((D, 4 * D), 0.3, streams(), dtype),
    "attention": lambda dtype: _draws.attention(
        functools.partial(attention.softmax, 5, D), 5, streams(), dtype
    ),
}


@pytest.mark.parametrize("what", DRAWN)
def test_float32_is_float64_rounded_once(what):
    wide, narrow = DRAWN[what]("float64"), DRAWN[what]("float32")
    assert (wide.dtype, narrow.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(narrow, wide.astype(np.float32))


def test_projections_are_the_same_up_to_rounding():
    def drawn(dtype):
        found = projections(FromTokens(4), np.zeros((3, 5, D), dtype=dtype), streams(), dtype)
        return found.query, found.key

    for wide, narrow in zip(drawn("float64"), drawn("float32"), strict=True):
        assert narrow.dtype == np.float32
        # one rounding when drawn, at most two of scaling and of its factor each
        np.testing.assert_allclose(narrow, wide, rtol=5 * 2.0**-24)


RULES = {
    "gaussian": RandomWeights(attention.uniform(5)),
    "orthogonal": RandomWeights(attention.uniform(5), kind="orthogonal"),
    "sampler": RandomWeights(attention.uniform(5), kind=SAMPLER),
    "attention": RandomWeights(functools.partial(attention.softmax, 5, D)),
    "from tokens": RandomWeights(FromTokens(4)),
    "block": Block(attention.uniform(5), feed_forward="tanh"),
}


@pytest.mark.parametrize("name", RULES)
def test_one_seed_is_one_network_in_every_precision(name):
    x0 = linsim.tokens.gaussian(5, D, size=4, rng=0)

    def found(dtype):
        run = simulate(RULES[name], x0, 2, rng=1, dtype=dtype, metrics=["log_norm", "token_similarity"])
        return np.stack([run.metrics["log_norm"][:, -1], run.metrics["token_similarity"][:, -1]])

    # networks of two seeds differ by tenths; two layers of float32 by some hundred of its roundings
    np.testing.assert_allclose(found("float32"), found("float64"), rtol=0, atol=200 * 2.0**-24)


def test_what_float32_cannot_hold_is_refused():
    rule = RandomWeights(attention.uniform(5), std=1e40)
    with pytest.raises(linsim.LinsimError, match="std: found weights as large as"):
        simulate(rule, linsim.tokens.gaussian(5, D, rng=0), 1, rng=0, dtype="float32")
