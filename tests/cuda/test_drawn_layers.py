"""Layers whose weights are drawn afresh go through the CUDA kernel: the same network, and its errors."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import linsim
from linsim import RandomWeights, attention, simulate
from linsim._engines import device
from linsim.metrics._written import METRICS

from . import emulated, pretended
from .test_kernels import agree, both

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")

N, D = 7, 6
RULES = {
    "one attention": RandomWeights(attention.softmax(N, 4, rng=2)),
    "of each system": RandomWeights(attention.softmax(N, 4, size=(3,), rng=5), std=np.array([0.1, 1.0, 3.0])),
    "orthogonal": RandomWeights(attention.uniform(N), kind="orthogonal"),
    "drawn attention": RandomWeights(functools.partial(attention.softmax, N, 4), std=0.5),
}
X0 = linsim.tokens.gaussian(N, D, size=3, rng=0)
OPTIONS = {"rng": 3, "metrics": METRICS, "resolution": 1e300, "layers": [0, 1, 5, 12]}


def values(run):
    return np.stack([*run.metrics.values(), *run.errors.values()])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RULES)
def test_they_are_those_of_whole_arrays_on_the_cpu(name, dtype):
    with pretended.gpu() as card:
        found, _ = both(RULES[name], X0.astype(dtype), 12, dtype=dtype, **OPTIONS)
        walks = [what for what, _ in card.launches if what.startswith("walk")]
        drawn = [what for what, _ in card.launches if what == f"normals_{dtype}"]
    assert set(np.ravel(found.info.methods)) == {"device"}
    assert len(walks) == 2  # tokens as they are given, and all layers
    assert len(drawn) == (0 if name == "orthogonal" else 12)
    expected = simulate(RULES[name], X0.astype(dtype), 12, method="iterate", dtype=dtype, **OPTIONS)
    agree(found, expected, dtype, same_errors=dtype == "float64")


def test_a_run_that_leaves_the_way_open_takes_the_kernel(card):
    rule = RULES["one attention"]
    found = simulate(rule, X0, 6, backend="cupy", rng=1)
    assert found.info.method == "device"
    expected = simulate(rule, X0, 6, backend="numpy", rng=1)
    agree(found, expected, "float64", same_errors=False)


@pytest.mark.parametrize("name", ["one attention", "of each system", "drawn attention"])
def test_how_many_are_drawn_at_a_time_changes_nothing(card, monkeypatch, name):
    options = OPTIONS | {"method": "device", "backend": "cupy", "keep_states": True}
    whole = simulate(RULES[name], X0, 12, **options)
    card.launches.clear()
    monkeypatch.setattr(device, "_AHEAD", 5)
    cut = simulate(RULES[name], X0, 12, **options)
    assert [what for what, _ in card.launches].count("walk_float64") == 4  # the input, 5 + 5 + 2 layers
    np.testing.assert_array_equal(values(cut), values(whole))
    np.testing.assert_array_equal(cut.states, whole.states)


def test_neither_does_a_card_that_holds_one_system_at_a_time(card):
    options = OPTIONS | {"method": "device", "backend": "cupy"}
    rule = RULES["of each system"]
    whole = simulate(rule, X0, 12, **options)
    card.launches.clear()
    card.free = 45_000
    apart = simulate(rule, X0, 12, **options)
    walks = [blocks for what, blocks in card.launches if what == "walk_float64"]
    assert set(walks) == {1}
    assert len(walks) == 6  # the input of each, and its layers
    # but for the last bits of a logarithm, which depend on how many NumPy works out at a time
    np.testing.assert_allclose(values(apart), values(whole), rtol=1e-13, atol=4e-15)


def test_tokens_that_are_weighted_and_metrics_of_states_are_measured_too(card):
    options = {"rng": 3, "metrics": ["cosine", "dirichlet_energy"], "tokens": np.r_[np.ones(N - 1), 0.0]}
    found, expected = both(RULES["one attention"], X0, 8, **options)
    assert found.info.method == "device"
    agree(found, expected, "float64", same_errors=False)


def test_what_a_function_draws_is_left_to_whole_arrays(card):
    rule = RandomWeights(attention.uniform(N), kind=linsim.weights.gaussian)
    assert simulate(rule, X0, 3, backend="cupy", rng=0).info.method == "iterate"
    with pytest.raises(linsim.errors.InvalidValueError, match="weights drawn by a function"):
        simulate(rule, X0, 3, backend="cupy", method="device", rng=0)


def test_a_card_that_compiles_no_kernel_draws_the_same_network():
    expected = simulate(RULES["one attention"], X0, 6, backend="numpy", rng=1)
    with pretended.gpu(compiles=False):
        found = simulate(RULES["one attention"], X0, 6, backend="cupy", rng=1)
    assert found.info.method == "iterate"
    assert found.info.fallbacks["iterate"] == 3
    agree(found, expected, "float64", same_errors=False)


def without_the_layer_of_the_first(source):
    """Take matrices as if those of layer 0 were the first, whatever was drawn before."""
    whole = "layer - t.given"
    assert source.count(whole) == 1
    return source.replace(whole, "layer % 5 * 0")


def test_a_kernel_that_takes_another_layer_s_weights_is_told_apart(card, monkeypatch):
    options = OPTIONS | {"method": "device", "backend": "cupy"}
    whole = values(simulate(RULES["one attention"], X0, 12, **options))
    card.change = without_the_layer_of_the_first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linsim._simulate.rescued", lambda task, found: found)
        broken = values(simulate(RULES["one attention"], X0, 12, **options))
    assert not np.array_equal(broken, whole, equal_nan=True)
