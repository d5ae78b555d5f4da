"""Systems on which a fast engine once told a wrong number: each is within its error or NaN now."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import iterated as oracle
from oracles.contract import assert_within_errors
from oracles.systems import softmax

from linsim import Layered, Linear, simulate
from linsim._engines import lanes
from linsim.errors import InvalidValueError


def by(names):
    return "lanes" if names else "iterate"


@pytest.mark.parametrize("names", [lanes.METRICS, None])
def test_a_system_leaves_nothing_behind_for_the_next(names):
    """Columns that only pad: d no multiple of a vector, few of them left in use by the system before."""
    A = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    H = np.diag(np.r_[0.5, 0.5, np.linspace(-0.3, -0.1, 7)])
    H[0, 1], H[1, 0] = 0.4, -0.4
    x0, layers = np.random.default_rng(0).normal(size=(3, 3, 9)), [0, 1, 10**6]
    whole = simulate(Linear(A, H), x0, 10**6, layers=layers, metrics=names)
    for k in range(3):
        alone = simulate(Linear(A, H), x0[k], 10**6, layers=layers, metrics=names)
        for name, values in alone.metrics.items():
            np.testing.assert_allclose(whole.metrics[name][k], values, rtol=1e-12, atol=1e-12, err_msg=name)


def test_smooth_tokens_under_local_attention_decay_faster_than_their_rounding():
    """No Krylov space of a few vectors comes near the slowest modes of a ring, where rounding lives on."""
    n, k = 250, 8
    ring = np.roll(np.eye(n), 1, axis=1)
    A = 0.5 * np.eye(n) + 0.25 * (ring + ring.T)
    x0 = np.sqrt(2) * np.cos(2 * np.pi * k * np.arange(n) / n)[:, None]
    x0 = x0 - np.mean(x0) + 1
    layers = np.array([0, 1000, 3000, 8000])
    run = simulate(
        Linear(A, [[1.0]]), x0, 8000, layers=layers, method="lanes",
        metrics=["log_token_diversity", "log_hfc_lfc", "log_norm"],
    )  # fmt: skip
    ratio = (1 + (0.5 + 0.5 * np.cos(2 * np.pi * k / n))) / 2
    truth = layers * np.log(ratio)  # of HFC / LFC, 1 at layer 0
    found = run.metrics["log_hfc_lfc"]
    known = np.isfinite(found)
    assert known[0]
    assert not known[-1]
    np.testing.assert_allclose(found[known], truth[known], atol=1e-6)
    np.testing.assert_allclose(
        run.metrics["log_norm"], layers * np.log(2) + 0.5 * np.log(n * (1 + np.exp(2 * truth))), rtol=1e-9
    )


@pytest.mark.parametrize("names", [lanes.METRICS, None])
@pytest.mark.parametrize("size", [1e-10, 1e-12, 1e-14])
@pytest.mark.parametrize("n", [1, 3])
def test_a_layer_that_cancels_leaves_its_rounding(n, size, names):
    rng = np.random.default_rng(0)
    H, x0 = -np.eye(3) + size * rng.normal(size=(3, 3)), rng.normal(size=(n, 3))
    layers = (0, 1, 2, 5, 9)
    truth = oracle.trajectory(np.eye(n), H, x0, layers, digits=600)
    for method in ["lanes"] if names else ["parts", "iterate"]:
        run = simulate(Linear(np.eye(n), H), x0, 9, layers=layers, metrics=names, method=method)
        assert_within_errors(run, truth)


@pytest.mark.sample(2)
@pytest.mark.parametrize("power", [2, 4, 5, 7])
@pytest.mark.parametrize("seed", range(4))
def test_weights_far_from_normal_enlarge_rounding(power, seed):
    """H = Q (mu I + 10^p e_1 e_2^T) Q^T, and tokens in the one direction that it does not enlarge."""
    rng = np.random.default_rng([seed, power])
    n, d = 3, 3
    Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
    J = rng.choice([-0.5, 0.3, 0.5]) * np.eye(d)
    J[0, 1] = 10.0**power
    A, H, x0 = softmax(rng, n), Q @ J @ Q.T, np.outer(rng.normal(size=n), Q[:, 1])
    layers = (0, 1, 5, 20, 100)
    truth = oracle.trajectory(A, H, x0, layers, digits=500)
    for names in (lanes.METRICS, None):
        run = simulate(
            Linear(A, H), x0, 100, layers=layers, metrics=names, method="lanes" if names else "parts"
        )
        assert_within_errors(run, truth)


def test_layers_that_expand_and_contract_in_turn():
    rng = np.random.default_rng(1)
    Q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    up = Q @ np.diag([1e13, 0, 0]) @ Q.T
    down = Q @ np.diag([-1e13 / (1 + 1e13), 0, 0]) @ Q.T
    rules = [Linear(np.eye(2), up if k % 2 == 0 else down) for k in range(20)]
    x0, layers = rng.normal(size=(2, 3)), (0, 2, 4, 20)
    run = simulate(Layered(rules), x0, 20, layers=layers, metrics=lanes.METRICS)
    truth = oracle.trajectory(lambda k: (np.eye(2), up if k % 2 == 0 else down), None, x0, layers, digits=300)
    assert_within_errors(run, truth)


@pytest.mark.parametrize("method", ["auto", "iterate", "modal"])
def test_no_metrics_is_an_empty_answer(method):
    run = simulate(Linear(np.eye(2), [[0.5]]), [[1.0], [2.0]], 3, metrics=[], method=method, keep_states=True)
    assert run.metrics == {}
    assert run.states.shape == (4, 2, 1)
    assert simulate(Linear(np.eye(2), [[0.5]]), [[1.0], [2.0]], 3, metrics=[], method=method).metrics == {}


def test_bytes_in_another_order_are_the_same_numbers():
    rng = np.random.default_rng(2)
    A, H, x0 = softmax(rng, 3), rng.normal(size=(2, 2)) / 4, rng.normal(size=(3, 2))
    foreign = simulate(Linear(A.astype(">f8"), H.astype(">f8")), x0.astype(">f8"), 50)
    native = simulate(Linear(A, H), x0, 50)
    for name, values in native.metrics.items():
        np.testing.assert_array_equal(foreign.metrics[name], values)


def test_float32_attention_means_to_keep_the_mean():
    """Closed form and layers take a doubly stochastic float32 matrix for what it was before rounding."""
    rng = np.random.default_rng(3)
    S = rng.normal(size=(4, 4))
    A = np.full((4, 4), 0.25) + 0.02 * (
        S + S.T - (S + S.T).mean(axis=0) - (S + S.T).mean(axis=1)[:, None] + (S + S.T).mean()
    )
    x0 = np.array([[1, 2], [-3, 1], [1, -2], [1, -1]], dtype=np.float32)
    layers = [0, 5, 2000]
    closed = simulate(
        Linear(A.astype(np.float32), np.diag([0.5, 0.25]).astype(np.float32)), x0, 2000, layers=layers,
        metrics=["token_similarity"], method="modal",
    ).metrics["token_similarity"]  # fmt: skip
    # without what rounding put there the mean is nothing, for ever
    assert np.all(np.isnan(closed) | (closed < 1e-6))


def test_more_layers_than_memory_holds_are_refused():
    with pytest.raises(InvalidValueError, match=r"^layers: found None at depth 10000000000000;"):
        simulate(Linear(np.eye(2), [[0.5]]), [[1.0], [2.0]], 10**13)
