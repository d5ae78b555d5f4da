"""The compiled way to all metrics says what whole arrays say, with the same errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reliability as harness
from oracles.contract import OF_TOKENS as METRICS

import linsim
from linsim import Layered, Linear, MultiHead, _kernels, _simulate, attention, simulate
from linsim._engines import choose, compiled_parts, parts
from linsim._engines.task import placed
from linsim._split import choose_split
from linsim._state import decompose, of_plain_tokens, shifted
from linsim.metrics._evaluate import evaluate

pytest.importorskip("numba")

#: families whose layers are matrices
FAMILIES = [
    name
    for name in dict.fromkeys(harness.FAMILIES)
    if not name.startswith("rule: block") and name not in ("rule: random weights", "mixed blocks", "mixed")
]


@pytest.fixture
def cut_alike(monkeypatch):
    """Whole arrays know no probe: both ways are compared cut alike, with errors that travel along."""
    monkeypatch.setattr(parts.probed, "covers", lambda task: False)


def by_arrays(monkeypatch, rule, x0, depth, **options):
    """The same run by whole arrays, nothing of it compiled."""
    with monkeypatch.context() as patch:
        patch.setattr(_kernels, "usable", lambda: False)
        return simulate(rule, x0, depth, method="iterate", **options)


def agree(found, expected, dtype, errors=2.1):
    """Values are as close as both say, errors the same up to the power of two that some are rounded to."""
    eps = np.finfo(dtype).eps
    for name in found.metrics:
        a, b = (np.asarray(run.metrics[name]) for run in (found, expected))
        off_a, off_b = (np.asarray(run.errors[name]) for run in (found, expected))
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b), err_msg=name)
        known = np.isfinite(a) & np.isfinite(b)
        size = 16 * eps * np.maximum(1, np.abs(b[known]))
        assert np.all(np.abs(a - b)[known] <= off_a[known] + off_b[known] + size), name
        # what is small beside measuring itself says nothing of the layers; where errors have grown 10^3-fold,
        # those of the errors have too, and an ensemble of three is another one
        size_b = eps * np.maximum(1, np.abs(b))
        told = known & (off_b < 1e3 * size_b) & (off_b > 64 * size_b)
        assert np.all(off_a[told] <= errors * off_b[told] + size.max(initial=0)), name
        assert np.all(off_b[told] <= errors * off_a[told] + size.max(initial=0)), name
        ratios = off_a[told] / off_b[told]
        assert ratios.size < 5 or 0.9 < np.median(ratios) < 1.1, name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_says_what_whole_arrays_say(family, dtype, monkeypatch, cut_alike):
    # engines are compared before anything goes again with more digits: what does, a rounding decides
    monkeypatch.setattr(_simulate, "rescued", lambda task, found: found)
    drawn = harness.draw(7, 1, family, dtype)
    options = {"layers": drawn.layers, "dtype": dtype, "resolution": 1e300}
    found = simulate(drawn.rule, drawn.x0, drawn.depth, method="parts", **options)
    expected = by_arrays(monkeypatch, drawn.rule, drawn.x0, drawn.depth, **options)
    assert set(found.info.methods.ravel()) == {"parts"}
    assert np.array_equal(found.info.split, expected.info.split)
    # where layers enlarge errors a thousandfold, the first roundings decide
    agree(found, expected, dtype, errors=10.0 if "non-normal" in family else 2.1)


def states(dtype):
    """Split states of all kinds: alike or not, short of rows or columns, parts of very different size."""
    rng = np.random.default_rng(3)
    for n, d in ((1, 3), (3, 1), (2, 2), (5, 7), (7, 5), (40, 33)):
        A, H = attention.softmax(n, 4, rng=rng), rng.standard_normal((d, d))
        x = rng.standard_normal((4, n, d)) + np.array([0.0, 1.0, 30.0, 0.0])[:, None, None]
        x[3, : n // 2] = 0
        x = x.astype(dtype)
        yield of_plain_tokens(x), x
        for sign in (1, -1):
            split, _, _ = choose_split(A[None], (sign * np.eye(d) + 0.1 * H)[None], x.astype(float), 1e-16)
            state = decompose(x, placed(split, x))
            yield state, None
            for low in (-5.0, -60.0, -900.0):  # as after many layers
                yield replace(state, e_R=state.e_R + 2 * low, e_b=state.e_b + low, e_r=state.e_r + low), None
            yield shifted(state, np.full((1, 1, 1), -3000.0)), None
            yield replace(state, a=0 * state.a, r=0 * state.r, b=0 * state.b, R=0 * state.R), None


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_summed_in_a_kernel_is_what_whole_arrays_sum(dtype, monkeypatch):
    eps = np.finfo(dtype).eps
    for state, x in states(dtype):
        zero = None if x is None else ~np.any(x != 0, axis=-1, keepdims=True)
        compiled, _ = evaluate(state, METRICS, zero)
        with monkeypatch.context() as patch:
            patch.setattr(_kernels, "usable", lambda: False)
            expected, _ = evaluate(state, METRICS, zero)
        for name, one in expected.items():
            a, b = (np.broadcast_to(m.value, one.error.shape) for m in (compiled[name], one))
            off = np.minimum(compiled[name].error, one.error)
            known = np.isfinite(off)  # else nothing is
            np.testing.assert_array_equal(np.isfinite(a)[known], np.isfinite(b)[known], err_msg=name)
            known &= np.isfinite(b)
            # what measuring rounds is part of both errors
            a, b, off = a[known], b[known], off[known]
            far = np.abs(a - b) > off + 8 * eps * np.maximum(1, np.abs(b))
            assert not np.any(far), (name, a[far], b[far], off[far])
            told = np.broadcast_to(one.error < 0.1, one.error.shape)  # beyond, nothing is known either
            errors = (np.broadcast_to(m.error, told.shape)[told] for m in (compiled[name], one))
            np.testing.assert_allclose(*errors, rtol=0.1, atol=64 * eps, err_msg=name)


def test_a_system_does_not_see_its_batch():
    rng = np.random.default_rng(0)
    A = attention.softmax(9, 4, size=(5,), rng=1)
    H = 0.3 * rng.standard_normal((5, 6, 6))
    H[1] *= 40  # rescaled more often than the others
    for k in (2, 4):  # measured along another cut, too: one after the other, with a system in between
        H[k] = np.diag([0.4, 0.2, -0.3, 0.1, -0.8, 0.6]) + 15 * k * np.eye(6, k=1)
    x0 = rng.standard_normal((5, 9, 6))
    whole = simulate(Linear(A, H), x0, 30, method="parts")
    for k in range(5):
        alone = simulate(Linear(A[k], H[k]), x0[k], 30, method="parts")
        for name in METRICS:
            np.testing.assert_array_equal(whole.metrics[name][k], alone.metrics[name], err_msg=name)
            np.testing.assert_array_equal(whole.errors[name][k], alone.errors[name], err_msg=name)


def test_it_does_not_matter_how_many_layers_are_measured_together(monkeypatch):
    A, x0 = attention.softmax(6, 4, rng=1), np.random.default_rng(1).standard_normal((3, 6, 4))
    rule = Linear(A, 0.5 * np.random.default_rng(2).standard_normal((4, 4)))
    whole = simulate(rule, x0, 40, method="parts", keep_states=True)
    for numbers in (1, 100, 1000):
        monkeypatch.setattr(compiled_parts, "_TOGETHER", numbers)
        few = simulate(rule, x0, 40, method="parts", keep_states=True)
        for name in METRICS:
            np.testing.assert_array_equal(whole.metrics[name], few.metrics[name], err_msg=name)
        np.testing.assert_array_equal(whole.states, few.states)


def test_tokens_that_do_not_count_give_the_input_no_rounding():
    """One that is 2**40 times as large as the others, and left out by a mask, is no part of their errors."""
    A, x0 = attention.softmax(6, 4, rng=1), np.random.default_rng(1).standard_normal((6, 4))
    x0[0] *= 2.0**40
    seen = np.arange(6) > 0
    run = simulate(Linear(A, 0.1 * np.eye(4)), x0, 3, method="parts", tokens=seen)
    alone = linsim.metrics.measure(x0[1:])
    for name in METRICS:
        assert run.errors[name][0] < 64 * np.finfo(float).eps * max(1, abs(alone[name])), name
        np.testing.assert_allclose(run.metrics[name][0], alone[name], rtol=1e-13, err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_states_are_kept(dtype, monkeypatch):
    A, x0 = attention.softmax(6, 4, rng=1), np.random.default_rng(1).standard_normal((2, 6, 4))
    rule = Linear(A, 0.5 * np.random.default_rng(2).standard_normal((4, 4)))
    found = simulate(rule, x0, 12, method="parts", keep_states=True, dtype=dtype)
    expected = by_arrays(monkeypatch, rule, x0, 12, keep_states=True, dtype=dtype)
    np.testing.assert_allclose(found.states, expected.states, atol=200 * np.finfo(dtype).eps)
    np.testing.assert_allclose(found.state_log_scale, expected.state_log_scale)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_several_heads_and_layers(dtype, monkeypatch):
    rng = np.random.default_rng(8)

    def heads(count):
        return MultiHead(
            attention.softmax(7, 4, size=(count,), rng=rng), 0.3 * rng.standard_normal((count, 5, 5))
        )

    x0 = rng.standard_normal((2, 7, 5))
    for rule in (heads(3), Layered([heads(2) for _ in range(20)])):
        options = {"dtype": dtype, "resolution": 1e300}
        found = simulate(rule, x0, 20, method="parts", **options)
        agree(found, by_arrays(monkeypatch, rule, x0, 20, **options), dtype)
    # one that it does not cover goes by whole arrays
    mixed = Layered([heads(1), heads(2)])
    assert simulate(mixed, x0, 2).info.method == "iterate"


def test_layers_that_all_but_cancel_the_state(monkeypatch, cut_alike):
    """What is left of the errors leaves the range of single precision before the state is rescaled."""
    A = attention.softmax(6, 4, rng=1)
    x0 = np.random.default_rng(1).standard_normal((6, 4))
    rule = Linear(A, -np.diag([1.0, 1.0, 1.0, 1.0 - 2.0**-40]))
    found = simulate(rule, x0, 24, method="parts", resolution=1e300)
    agree(found, by_arrays(monkeypatch, rule, x0, 24, resolution=1e300), "float64", errors=2.0)


def test_it_is_what_runs_unless_attention_is_looked_at():
    rule, x0 = Linear(attention.softmax(6, 4, rng=1), np.eye(3)), np.eye(6, 3)
    assert simulate(rule, x0, 6).info.method == "parts"
    assert simulate(rule, x0, 6, metrics="log_rank_gap").info.method == "parts"
    assert simulate(rule, x0, 6, metrics="plain").info.method == "lanes"
    assert choose.WALKING[-1].name == "iterate"
    assert linsim.engines(rule, 6).chosen == "parts"
    wide = simulate(Linear(rule.A, 2.0**80 * np.eye(3)), x0, 6)
    assert wide.info.method == "iterate"
