"""Systems followed by a probe say what those with errors that travel along say, within both errors."""

from __future__ import annotations

import numpy as np
import pytest
import reliability as harness
from oracles.contract import OF_TOKENS as METRICS

from linsim import Linear, attention, simulate
from linsim._engines import parts, probed

pytest.importorskip("numba")

SHAPES = ((2, 1), (3, 9), (9, 3), (8, 8), (17, 33), (40, 16))


def system(n, d, seed, strength=0.4, count=3):
    rng = np.random.default_rng(seed)
    A = attention.softmax(n, 4, size=(count,), rng=rng)
    H = strength * rng.standard_normal((count, d, d)) / np.sqrt(d)
    return Linear(A, H), rng.standard_normal((count, n, d))


def by_probe(monkeypatch, on_the_way=None):
    """Which systems the probe was not enough for, as it goes."""
    seen, rough = [], probed.rough

    def looked(values, errors, names, relative):
        of_all = rough(values, errors, names, relative)
        if relative.shape[-1] > 1:  # not a single layer, on the way
            seen.extend(of_all)
        elif on_the_way is not None:
            on_the_way.extend(of_all)
        return of_all

    monkeypatch.setattr(probed, "rough", looked)
    return seen


def along(monkeypatch):
    monkeypatch.setattr(probed, "covers", lambda task: False)


def assert_within_errors(one, other):
    for name in METRICS:
        x, y = (np.asarray(run.metrics[name]) for run in (one, other))
        off = one.errors[name] + other.errors[name] + 4 * np.finfo(float).eps * np.maximum(1, np.abs(y))
        assert np.array_equal(np.isnan(x), np.isnan(y)), name
        there = np.isfinite(y)
        assert np.array_equal(x[~there & ~np.isnan(y)], y[~there & ~np.isnan(y)]), name
        assert np.all(np.abs(x[there] - y[there]) <= off[there]), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strength", [0.4, -1.5])
def test_it_says_what_errors_that_travel_along_say(shape, strength, monkeypatch):
    rule, x0 = system(*shape, 1, strength)
    options = {"method": "parts", "layers": [0, 1, 2, 7, 30]}
    with monkeypatch.context() as patch:
        along(patch)
        expected = simulate(rule, x0, 30, **options)
    seen = by_probe(monkeypatch)
    assert_within_errors(simulate(rule, x0, 30, **options), expected)
    assert len(seen) == 3


@pytest.mark.parametrize("shape", SHAPES)
def test_large_systems_say_what_small_ones_do(shape, monkeypatch):
    rule, x0 = system(*shape, 2)
    seen = by_probe(monkeypatch)
    small = simulate(rule, x0, 30, method="parts")
    with monkeypatch.context() as patch:
        patch.setattr(probed, "small", lambda task: False)
        large = simulate(rule, x0, 30, method="parts")
        patch.setattr(parts, "workers", lambda: 2)
        # one of them, and two threads for it
        alone = simulate(Linear(rule.A[0], rule.H[0]), x0[0], 30, method="parts")
    assert len(seen) == 3 + 3 + 1
    assert_within_errors(large, small)
    for name in METRICS:
        np.testing.assert_array_equal(alone.metrics[name], large.metrics[name][0], err_msg=name)
        np.testing.assert_array_equal(alone.errors[name], large.errors[name][0], err_msg=name)


def of_kind(kind, n=6):
    rng = np.random.default_rng(1)
    x0 = rng.standard_normal((n, n))
    if kind == "to one line":  # eigenvalues 1, -0.8 and 0: of the first feature 1.8 is the largest product
        A = np.kron(np.full((n // 2, n // 2), 2 / n), [[0.1, 0.9], [0.9, 0.1]])
        return Linear(A, -np.diag(1 / np.arange(1.0, n + 1))), x0
    A = attention.softmax(n, 3, symmetric=True, rng=rng)
    return Linear(A, {"apart": 0.1, "to their mean": 2.0}[kind] * np.eye(n)), x0


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kind", ["apart", "to their mean", "to one line"])
def test_tokens_that_come_to_one_line_go_along_their_modes(kind, large, monkeypatch):
    """Where one mode of tokens and features wins they come to a line; to be equal they need no modes."""
    rule, x0 = of_kind(kind)
    depth = 30 if kind != "apart" else 4  # deep enough to cancel digits, and not all of them
    with monkeypatch.context() as patch:
        along(patch)
        expected = simulate(rule, x0, depth, method="parts")
    seen = by_probe(monkeypatch, on_the_way := [])
    monkeypatch.setattr(probed, "small", lambda task: not large)
    run = simulate(rule, x0, depth, method="parts")
    assert seen == [kind == "to one line"]
    if large:  # a walk ends where it turns out to be of no use
        assert (len(on_the_way) == depth) == (kind != "to one line")
    assert (run.info.split == "constant direction") == (kind != "to one line")
    assert_within_errors(run, expected)


@pytest.mark.parametrize("index", [23, 143])
def test_a_row_is_off_by_what_all_rows_share_too(index, monkeypatch):
    """Tokens on one line through the origin, some of them small: the error of the mean is that of each."""
    drawn = harness.draw(5, index, "tokens: one mode")
    seen = by_probe(monkeypatch)
    monkeypatch.setattr(parts, "told_apart", lambda found, other, rough: found)  # as the probe found it
    run, (true, _) = harness.run(drawn, method="parts"), harness.truth(drawn)
    assert len(seen) == 1
    for name in ("abs_cosine", "log_abs_cosine_gap", "cosine", "log_cosine_gap"):
        middle = np.array([np.mean(at[name]) for at in true])
        values, errors = run.metrics[name], run.errors[name]
        told = np.isfinite(middle) & ~np.isnan(values)
        assert told.any()
        assert np.all(np.abs(values - middle)[told] <= errors[told]), name


def test_states_that_are_kept_are_those_of_the_walk(monkeypatch):
    rule, x0 = system(6, 5, 4)
    along(monkeypatch)
    expected = simulate(rule, x0, 12, method="parts", keep_states=True)
    by_probe(monkeypatch)
    run = simulate(rule, x0, 12, method="parts", keep_states=True)
    np.testing.assert_allclose(run.states, expected.states, rtol=0, atol=1e-14)
    assert np.any(run.states)


def test_weights_of_tokens_reach_large_systems(monkeypatch):
    rule, x0 = system(9, 6, 5)
    seen = np.arange(9) > 2
    by_probe(monkeypatch)
    small = simulate(rule, x0, 12, method="parts", tokens=seen)
    monkeypatch.setattr(probed, "small", lambda task: False)
    large = simulate(rule, x0, 12, method="parts", tokens=seen)
    assert_within_errors(large, small)


def test_a_large_system_hears_that_it_is_to_stop(monkeypatch):
    """What raises while states are measured ends the walk and is handed on."""
    rule, x0 = system(9, 6, 6)
    by_probe(monkeypatch)
    monkeypatch.setattr(probed, "small", lambda task: False)

    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(probed, "measured_with_samples", broken)
    with pytest.raises(MemoryError, match="no room"):
        simulate(rule, x0, 12, method="parts")


def apart(monkeypatch):
    """Measure states after they were handed out, as those that are kept."""
    monkeypatch.setattr(probed, "together", lambda *args: None)


@pytest.mark.parametrize("metrics", [None, ["log_rank_gap", "cosine"], ["hfc_lfc"]])
@pytest.mark.parametrize("shape", SHAPES)
def test_states_in_the_cache_are_those_that_are_handed_out(shape, metrics, monkeypatch):
    """Of tokens that are zero for a while, too, and of attention that keeps means."""
    n, d = shape
    rule, x0 = system(n, d, 3, count=5)
    A, x0 = np.array(rule.A), np.array(x0)
    A[1] = (np.eye(n) + 1) / (n + 1)
    A[2, : n // 2] = np.eye(n)[: n // 2]  # which stay what they are
    x0[2, : n // 2] = 0
    rule = Linear(A, rule.H)
    options = {"method": "parts", "layers": [0, 1, 2, 5, 6, 20], "metrics": metrics}
    seen = by_probe(monkeypatch)
    found = simulate(rule, x0, 20, **options)
    with monkeypatch.context() as patch:
        apart(patch)
        expected = simulate(rule, x0, 20, **options)
    assert seen[:5] == seen[5:]
    for name, x in expected.metrics.items():
        np.testing.assert_array_equal(found.metrics[name], x, err_msg=name)
        np.testing.assert_allclose(found.errors[name], expected.errors[name], rtol=1e-9, err_msg=name)
    assert np.array_equal(found.info.split, expected.info.split)


def test_singular_values_that_a_kernel_does_not_find_are_found(monkeypatch):
    rule, x0 = system(8, 8, 4)
    expected = simulate(rule, x0, 20, method="parts")
    from linsim._kernels import probed as kernels

    calls, right = [], kernels.measured

    def leaves_one(*args):
        right(*args)
        calls.append(args[-2])
        args[-4][:, 3] = np.nan  # values of a state, and how many there are
        args[-2][:] = 1

    leaves_one.signatures = right.signatures
    monkeypatch.setattr(kernels, "measured", leaves_one)
    found = simulate(rule, x0, 20, method="parts")
    assert calls
    for name, x in expected.metrics.items():
        np.testing.assert_array_equal(found.metrics[name], x, err_msg=name)
