"""``simulate`` by closed forms: what is chosen, what is refused, and the kernel behind plain metrics."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from oracles import closed_form as closed_form_oracle
from oracles import iterated as oracle
from oracles.contract import OF_TOKENS, assert_within_errors
from oracles.systems import (
    CASES,
    STRUCTURED,
    causal,
    dyadic_columns,
    seeded,
    softmax,
    systems,
    weights,
)

from linsim import Layered, Linear, MultiHead, _kernels, simulate
from linsim._engines import closed, lanes
from linsim.errors import InvalidValueError

# the oracle of deep gaps needs two tokens and two features
LINEAR = [case for case in CASES if not isinstance(case.A, list) and min(case.x0.shape) > 1]
LOGS = ("log_token_diversity", "log_hfc_lfc", "log_norm", "log_spread")


def batch(count, n, d, seed=0):
    rng = np.random.default_rng([seed, n, d])
    A = np.stack([softmax(rng, n) for _ in range(count)])
    H = 0.3 * rng.normal(size=(count, d, d)) / np.sqrt(d) + np.linspace(-0.5, 0.5, count)[
        :, None, None
    ] * np.eye(d)
    return A, H, rng.normal(size=(count, n, d))


# --- the kernel against iteration, and against truth ----------------------------------------


@pytest.mark.parametrize(("n", "d"), [(8, 8), (1, 1), (1, 4), (4, 1), (2, 2), (3, 7), (9, 5), (17, 33)])
def test_modes_and_layers_tell_the_same(n, d):
    A, H, x0 = batch(5, n, d)
    layers = [0, 1, 2, 3, 7, 20, 64, 65, 129, 300, 1000]
    runs = [
        simulate(Linear(A, H), x0, 1000, layers=layers, metrics=lanes.METRICS, method=method)
        for method in ("modal", "lanes" if _kernels.usable() else "iterate")
    ]
    assert set(runs[0].info.methods) == {"modal"}
    assert set(runs[1].info.methods) == {"lanes" if _kernels.usable() else "iterate"}
    for name in lanes.METRICS:
        one, other = (run.metrics[name] for run in runs)
        both = np.isfinite(one) & np.isfinite(other)
        assert np.mean(both | (one == other)) > 0.95, name
        np.testing.assert_allclose(one[both], other[both], rtol=1e-9, atol=2e-10, err_msg=name)


@pytest.mark.parametrize("case", LINEAR, ids=lambda case: case.name)
def test_plain_metrics_at_depths_that_no_loop_reaches(case):
    layers = (0, 1, 20, 1200, 100_000, 10**9)
    run = simulate(Linear(case.A, case.H), case.x0, layers[-1], layers=layers, metrics=lanes.METRICS)
    truth = closed_form_oracle.trajectory(case.A, case.H, case.x0, layers, symmetric=case.symmetric)
    gaps = closed_form_oracle.gaps(case.A, case.H, case.x0, layers, symmetric=case.symmetric)
    assert str(run.info.method) == "modal", run.info.refused
    for name in lanes.METRICS:
        found, expected = run.metrics[name], gaps[name] if name in LOGS else truth[name]
        assert np.all(np.isfinite(found) | ~np.isfinite(expected)), name
        finite = np.isfinite(expected)
        tolerance = 2e-10 * np.maximum(1, np.abs(expected[finite]))
        assert np.all(np.abs(found[finite] - expected[finite]) <= tolerance), name


def test_deep_systems_of_the_size_of_a_study():
    """n = d = 64: closed form, and layer by layer as far as that goes, in agreement to 1e-10."""
    A, H, x0 = batch(4, 64, 64)
    layers = [1, 10, 100, 500, 1500]
    runs = [
        simulate(Linear(A, H), x0, 1500, layers=layers, metrics=lanes.METRICS, method=method)
        for method in ("auto", "iterate")
    ]
    assert set(runs[0].info.methods) == {"modal"}
    for name in lanes.METRICS:
        one, other = (run.metrics[name] for run in runs)
        finite = np.isfinite(one) & np.isfinite(other)
        np.testing.assert_allclose(one[finite], other[finite], rtol=1e-10, atol=1e-10, err_msg=name)


def never_lies(system, layers):
    A, H, x0 = system
    run = simulate(Linear(A, H), x0, layers[-1], layers=layers, metrics=lanes.METRICS, method="modal")
    truth = oracle.trajectory(A, H, x0, layers, digits=900, symmetric=dyadic_columns(A))
    assert_within_errors(run, truth)


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_systems_are_true_or_nan(name):
    never_lies(STRUCTURED[name], (0, 1, 2, 3, 5, 20, 60, 200, 400))


@hypothesis.settings(max_examples=40)
@hypothesis.given(systems())
def test_a_rounding_floor_is_never_a_value(system):
    never_lies(system, (0, 1, 2, 5, 20, 60, 150))


@pytest.mark.full
@hypothesis.settings(max_examples=10_000)
@hypothesis.given(systems())
def test_a_rounding_floor_is_never_a_value_full(system):
    never_lies(system, (0, 1, 2, 5, 20, 60, 150))


# --- choosing ---------------------------------------------------------------------------------


def test_the_choice_depends_on_shape_depth_and_recorded_layers_alone():
    A, H, x0 = batch(3, 6, 4)
    for pick in (slice(None), slice(1, 2), slice(0, 2)):
        rule = Linear(A[pick], H[pick])
        deep = simulate(rule, x0[pick], 10**6, layers=[0, 10**6])
        assert set(deep.info.methods) == {"modal"}
        assert "jumping" in deep.info.reason
        dense = simulate(rule, x0[pick], 2000, layers=range(1000))
        assert set(dense.info.methods) == {"parts"}
        shallow = simulate(rule, x0[pick], 64, layers=[64])
        assert set(shallow.info.methods) == {"parts"}
    assert not closed.pays(64, 64, closed.DEEPEST + 1, 1)


@pytest.mark.parametrize("names", [lanes.METRICS, None])
def test_a_system_does_not_see_its_batch(names):
    A, H, x0 = batch(4, 6, 4)
    H[2] = np.diag([0.4, 0.4, 0.2, -0.3]) + np.diag([1.0, 0, 0], 1)  # a Jordan block
    layers = [0, 5, 100, 5000]
    whole = simulate(Linear(A, H), x0, 5000, layers=layers, metrics=names, method="modal")
    walked = ("lanes" if names else "parts") if _kernels.usable() else "iterate"
    assert list(whole.info.methods) == ["modal", "modal", walked, "modal"]
    assert whole.info.fallbacks["iterate"] == 1
    assert [bool(reason) for reason in whole.info.refused] == [False, False, True, False]
    for k in range(4):
        alone = simulate(Linear(A[k], H[k]), x0[k], 5000, layers=layers, metrics=names, method="modal")
        for name in names or OF_TOKENS:
            np.testing.assert_array_equal(whole.metrics[name][k], alone.metrics[name], err_msg=name)


@pytest.mark.parametrize("n", [6, 64])
def test_causal_attention_is_right_by_whatever_way(n):
    rng = seeded("causal")
    A, d = causal(rng, n), min(n, 16)
    H = weights(rng, *np.linspace(-0.6, 0.8, d), condition=3)
    x0 = rng.normal(size=(n, d))
    layers = [1, 20, 300, 3000]
    auto = simulate(Linear(A, H), x0, 3000, layers=layers, metrics=lanes.METRICS, method="modal")
    slow = simulate(Linear(A, H), x0, 3000, layers=layers, metrics=lanes.METRICS, method="lanes")
    assert n == 6 or str(auto.info.method) == "squaring"
    for name in lanes.METRICS:
        one, other = auto.metrics[name], slow.metrics[name]
        finite = np.isfinite(one) & np.isfinite(other)
        assert np.any(finite), name
        np.testing.assert_allclose(one[finite], other[finite], rtol=1e-9, atol=1e-9, err_msg=name)


def test_shared_matrices_and_kept_states():
    A, H, x0 = batch(3, 5, 4)
    layers = [0, 3, 10_000]
    for a, h, x in [(A[0], H, x0), (A, H[0], x0[0]), (A[0], H[0], x0), (A[:1], H[:1], x0[:1])]:
        run = simulate(Linear(a, h), x, 10_000, layers=layers, method="modal", keep_states=True)
        count = max(len(y) if y.ndim == 3 else 1 for y in (a, h, x))
        own = [np.broadcast_to(y, (count, *y.shape[-2:])) for y in (a, h, x)]
        each = simulate(Linear(*own[:2]), own[2], 10_000, layers=layers, method="modal")
        for name in OF_TOKENS:
            np.testing.assert_allclose(run.metrics[name], each.metrics[name], rtol=1e-12, atol=1e-12)
        size = np.linalg.norm(run.states, axis=(-1, -2))
        np.testing.assert_allclose(np.log(size) + run.state_log_scale, run.metrics["log_norm"], rtol=1e-12)


def test_float32_inputs_are_taken_as_they_are():
    A, H, x0 = (x.astype(np.float32) for x in batch(2, 5, 4))
    run = simulate(Linear(A, H), x0, 10_000, layers=[1, 10_000], metrics="log_norm")
    wide = simulate(Linear(A, H), x0, 10_000, layers=[1, 10_000], metrics="log_norm", dtype="float64")
    assert set(run.info.methods) == {"modal"}
    np.testing.assert_allclose(run.metrics["log_norm"], wide.metrics["log_norm"], rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "depth", "why"),
    [
        (MultiHead(np.full((2, 3, 3), 1 / 3), np.zeros((2, 2, 2))), 10, "MultiHead"),
        (Layered([Linear(np.full((3, 3), 1 / 3), np.zeros((2, 2)))] * 9), 9, "Layered"),
        (Linear(np.full((3, 3), 1 / 3), np.zeros((2, 2))), 2**30 + 1, "phases"),
    ],
)
def test_what_has_no_closed_form_is_refused(rule, depth, why):
    with pytest.raises(InvalidValueError, match=f"^method: found 'modal'.*{why}"):
        simulate(rule, np.eye(3, 2), depth, layers=[depth], method="modal")


def test_an_unknown_method_is_refused():
    with pytest.raises(InvalidValueError, match="method"):
        simulate(Linear(np.eye(2), np.eye(1)), np.ones((2, 1)), 1, method="modl")
