"""Weights drawn at every layer: the compiled way draws what whole arrays draw, and measures the same."""

from __future__ import annotations

import numpy as np
import pytest
from test_parts import agree, by_arrays

import linsim
from linsim import RandomWeights, attention, simulate

pytest.importorskip("numba")

N, D = 6, 5
A = attention.softmax(N, 4, size=(3,), rng=1)
X0 = np.random.default_rng(2).standard_normal((3, N, D))


def sampler(size, rng):
    return attention.softmax(N, 4, size=(size,), rng=rng)


RULES = {
    "one attention for each": RandomWeights(A),
    "one for all": RandomWeights(attention.doubly_stochastic(N, rng=3)),
    "orthogonal": RandomWeights(A, kind="orthogonal"),
    "of several sizes": RandomWeights(A, std=np.array([0.1, 1.0, 30.0])),
    "attention drawn as well": RandomWeights(sampler),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RULES)
def test_it_says_what_whole_arrays_say(name, dtype, monkeypatch):
    options = {"layers": [0, 1, 2, 5, 12], "dtype": dtype, "rng": 4, "resolution": 1e300}
    found = simulate(RULES[name], X0, 12, method="parts", **options)
    expected = by_arrays(monkeypatch, RULES[name], X0, 12, **options)
    assert set(found.info.methods.ravel()) == {"parts"}
    assert np.array_equal(found.info.split, expected.info.split)
    agree(found, expected, dtype)


def test_it_draws_what_whole_arrays_draw(monkeypatch):
    options = {"keep_states": True, "rng": 4}
    found = simulate(RULES["orthogonal"], X0, 12, method="parts", **options)
    expected = by_arrays(monkeypatch, RULES["orthogonal"], X0, 12, **options)
    np.testing.assert_allclose(found.states, expected.states, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.state_log_scale, expected.state_log_scale, rtol=1e-14)


def test_some_tokens_are_measured(monkeypatch):
    tokens = np.array([1, 1, 0, 1, 0, 1], dtype=bool)
    options = {"rng": 4, "tokens": tokens, "resolution": 1e300}
    found = simulate(RULES["one attention for each"], X0, 6, method="parts", **options)
    expected = by_arrays(monkeypatch, RULES["one attention for each"], X0, 6, **options)
    agree(found, expected, "float64")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (
            RandomWeights(A, kind=lambda d, size, rng: rng.standard_normal((size, d, d))),
            "drawn by a function",
        ),
        (RandomWeights(A, std=1e20), "enlarge entries"),
    ],
)
def test_what_the_kernel_does_not_take(rule, reason):
    offers = {offer.name: offer.obstacle for offer in linsim.engines(rule, 4, x0=X0).offers}
    assert reason in offers["parts"]
    with pytest.raises(linsim.errors.InvalidValueError, match=reason):
        simulate(rule, X0, 4, method="parts", rng=1)
    assert set(simulate(rule, X0, 4, rng=1).info.methods.ravel()) == {"iterate"}
