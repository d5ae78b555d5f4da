"""What is drawn: the same numbers in every precision, each matrix by its key, layer and name alone."""

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


KEYS = _draws.keys(7, 3)


DRAWN = {
    "normals": lambda dtype: _draws.normals(KEYS, 0, "up", (4, D), dtype),
    "scaled normals": lambda dtype: _draws.normals(KEYS, 0, "up", (4, D), dtype, STD / 3),
    "gaussian": lambda dtype: _draws.weights("gaussian", D, STD, KEYS, 0, dtype=dtype),
    "orthogonal": lambda dtype: _draws.weights("orthogonal", D, STD, KEYS, 0, dtype=dtype),
    "sampler": lambda dtype: _draws.weights(SAMPLER, D, STD, KEYS, 0, dtype=dtype),
    "feed-forward": lambda dtype: _draws.rectangle((D, 4 * D), 0.3, KEYS, 0, "up", dtype),
    "attention": lambda dtype: _draws.attention(
        functools.partial(attention.softmax, 5, D), 5, KEYS, 0, dtype
    ),
}


@pytest.mark.parametrize("what", DRAWN)
def test_float32_is_float64_rounded_once(what):
    wide, narrow = DRAWN[what]("float64"), DRAWN[what]("float32")
    assert (wide.dtype, narrow.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(narrow, wide.astype(np.float32))


def test_projections_are_rounded_once():
    def drawn(dtype):
        found = projections(FromTokens(4), np.zeros((3, 5, D), dtype=dtype), KEYS, 0, dtype)
        return found.query, found.key

    for wide, narrow in zip(drawn("float64"), drawn("float32"), strict=True):
        assert narrow.dtype == np.float32
        np.testing.assert_array_equal(narrow, wide.astype(np.float32))


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


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal", SAMPLER])
def test_any_layer_of_any_system_is_drawn_alone(kind):
    def drawn(keys, layer, matrix="output"):
        return _draws.weights(kind, D, 1.0, keys, layer, matrix)

    together = [drawn(KEYS, layer) for layer in range(3)]
    for layer in (2, 0, 1):
        for row in (1, 2, 0):
            np.testing.assert_array_equal(drawn(KEYS[row : row + 1], layer)[0], together[layer][row])
    # and all of them differ, whichever of the three is another one
    every = [drawn(KEYS, layer, matrix) for layer in range(3) for matrix in _draws.MATRICES]
    assert len(np.unique(np.concatenate(every).reshape(-1, D * D)[:, 0])) == 3 * 3 * len(_draws.MATRICES)


def test_a_seed_in_every_form_is_the_same_network():
    x0 = linsim.tokens.gaussian(5, D, size=4, rng=0)

    def last(rng):
        return simulate(RULES["gaussian"], x0, 2, rng=rng, metrics="log_norm").metrics["log_norm"][:, -1]

    expected = last(3)
    for rng in (np.random.SeedSequence(3), np.random.default_rng(3)):
        np.testing.assert_array_equal(last(rng), expected)
    one = np.random.default_rng(3)
    assert not np.array_equal(last(one), last(one))  # a generator goes on


def test_what_is_given_leaves_what_is_drawn_as_it_is():
    """Each matrix has its own stream: the second of two is not moved by whether the first is drawn."""
    seen = []

    def noted(d, size, rng):
        seen.append(rng.standard_normal((size, d, d)))
        return seen[-1]

    x0 = linsim.tokens.gaussian(5, D, size=2, rng=0)
    for feed_forward in (None, "tanh"):
        rule = Block(attention.uniform(5), weights=noted, feed_forward=feed_forward)
        simulate(rule, x0, 2, rng=1, metrics="log_norm")
    np.testing.assert_array_equal(seen[:2], seen[2:])
