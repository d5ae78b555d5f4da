"""Rules that users write themselves: what is taken, and what each lacks is said."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import LinsimError, attention, simulate, weights
from linsim.errors import InvalidTypeError, InvalidValueError, NotCoveredError, ShapeError

A = attention.softmax(5, 4, rng=0)
H = weights.from_spectrum([-0.9, -0.4, 0.3], rng=1)
X = np.random.default_rng(2).standard_normal((5, 3))


class Own(linsim.Rule):
    """X + A X H, as a user would write it."""

    n, d = 5, 3

    def __init__(self, A=A, H=H, **more):
        self.A, self.H = A, H
        for name, value in more.items():
            setattr(self, name, value)

    def heads(self, layer):
        return [(self.A, self.H)]


class Fading(Own):
    """Another H at each depth."""

    def heads(self, layer):
        return [(self.A, self.H / (1 + layer))]


class Tanh(linsim.Rule):
    """A layer that is no product."""

    n = 5

    def apply(self, tokens, layer):
        return tokens + np.tanh(tokens) / (1 + layer)


def equal(one, other):
    for name in one.metrics:
        np.testing.assert_array_equal(one.metrics[name], other.metrics[name], err_msg=name)
        np.testing.assert_array_equal(one.errors[name], other.errors[name], err_msg=name)


@pytest.mark.parametrize("method", ["auto", "iterate", "lanes", "bands"])
def test_own_matrices_are_those_of_linear(method):
    metrics = ["cosine", "log_norm"] if method in ("lanes", "bands") else None
    given = simulate(linsim.Linear(A, H), X, 12, metrics=metrics, method=method)
    equal(simulate(Own(repeats=True), X, 12, metrics=metrics, method=method), given)
    # layers that may differ are compiled and cut in another way, to the same values
    found = simulate(Own(), X, 12, metrics=metrics, method=method)
    for name in found.metrics:
        off = np.abs(found.metrics[name] - given.metrics[name])
        assert np.all(off <= found.errors[name] + given.errors[name]), name


def test_a_repeated_layer_has_modes():
    rule = Own(repeats=True)
    found = simulate(rule, X, 10**6, layers=[10**6])
    assert found.info.method == "modal"
    equal(found, simulate(linsim.Linear(A, H), X, 10**6, layers=[10**6]))


def test_each_layer_is_asked():
    layered = linsim.Layered([linsim.Linear(A, H / (1 + layer)) for layer in range(9)])
    equal(simulate(Fading(), X, 9), simulate(layered, X, 9))


def test_batches_are_those_the_rule_names():
    many = Own(np.stack([A, np.eye(5)]), H, batch_shape=(2,), repeats=True)
    found = simulate(many, X, 4, metrics=["log_norm"])
    for k, one in enumerate((A, np.eye(5))):
        alone = simulate(linsim.Linear(one, H), X, 4, metrics=["log_norm"])
        np.testing.assert_array_equal(found.metrics["log_norm"][k], alone.metrics["log_norm"])


def test_exponents_and_layers_take_it():
    own, given = (linsim.lyapunov_exponents(rule, 200) for rule in (Own(repeats=True), linsim.Linear(A, H)))
    np.testing.assert_array_equal(own.rest, given.rest)
    fading = linsim.lyapunov_exponents(Fading(), 400)
    assert np.all(np.abs(fading.constant) < 0.05)  # sum of ln(1 + mu / l) / L
    stacked = linsim.Layered([Own(repeats=True), linsim.Linear(A, -H)])
    equal(
        simulate(stacked, X, 2), simulate(linsim.Layered([linsim.Linear(A, H), linsim.Linear(A, -H)]), X, 2)
    )


def test_laws_take_it_or_say_what_is_missing():
    law, given = linsim.predict(Own(repeats=True)), linsim.predict(linsim.Linear(A, H))
    assert law.regime == given.regime
    assert law.rates == given.rates
    heads = type("Two", (Own,), {"heads": lambda self, layer: [(self.A, self.H), (np.eye(5), -self.H)]})(
        repeats=True
    )
    both = linsim.MultiHead(np.stack([A, np.eye(5)]), np.stack([H, -H]))
    assert linsim.predict(heads).rates == linsim.predict(both).rates
    ends = linsim.predict(Fading(max_depth=2))
    layered = linsim.Layered([linsim.Linear(A, H), linsim.Linear(A, H / 2)])
    assert ends.rates == linsim.predict(layered).rates
    mixed = linsim.Layered([Own(repeats=True), linsim.Linear(A, H / 2)])
    assert linsim.predict(mixed).rates == ends.rates
    for rule, words in (
        (Fading(), "repeats or max_depth"),
        (Tanh(), "heads"),
        (linsim.RandomWeights(A), "heads"),
    ):
        with pytest.raises(NotCoveredError, match=words):
            linsim.predict(rule)


def test_a_function_of_the_tokens():
    found = simulate(Tanh(), X, 6, keep_states=True)
    state = X
    for layer in range(6):
        state = state + np.tanh(state) / (1 + layer)
    assert found.info.method == "iterate"
    last = found.states[-1] * np.exp(found.state_log_scale[-1])
    np.testing.assert_allclose(last, state, rtol=1e-13)
    expected = linsim.metrics.measure(state)
    for name, values in found.metrics.items():
        assert abs(values[-1] - expected[name]) <= found.errors[name][-1] + 1e-12, name
        assert found.errors[name][-1] < 1e-10, name


WRONG = {
    "neither": (linsim.Rule(), InvalidTypeError, "heads"),
    "no pairs": (Own(A=None), InvalidTypeError, "heads"),
    "negative attention": (Own(A=-A), InvalidValueError, "heads(0)[0]"),
    "rows": (Own(A=2 * A), InvalidValueError, "heads(0)[0]"),
    "n": (Own(n=4), ShapeError, "x0"),
    "sizes": (Own(A=np.eye(4)), ShapeError, "A of heads(0)[0]"),
    "batch": (Own(np.stack([A, A]), repeats=True), LinsimError, "batch"),
    "shape": (type("Flat", (Tanh,), {"apply": lambda self, x, layer: x[0]})(), ShapeError, "shape"),
    "NaN": (type("Bad", (Tanh,), {"apply": lambda self, x, layer: x * np.nan})(), InvalidValueError, "NaN"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_it_is_said(case):
    rule, error, words = WRONG[case]
    with pytest.raises(error) as caught:
        simulate(rule, X, 3)
    assert words in str(caught.value)


def test_closed_forms_say_what_they_lack():
    with pytest.raises(InvalidValueError, match="Fading"):
        simulate(Fading(), X, 3, method="modal")
    with pytest.raises(InvalidTypeError, match="heads"):
        linsim.lyapunov_exponents(Tanh(), 10)
