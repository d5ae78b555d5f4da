"""The engines that walk layer by layer say the same, and never a rounding floor."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import textwrap
import time

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from oracles import iterated as oracle
from oracles.contract import assert_within_errors
from oracles.systems import (
    MANY_HEADS,
    STRUCTURED,
    causal,
    dyadic_columns,
    nearly_degenerate,
    reversible,
    softmax,
    symmetric,
    systems,
    weights,
)

import linsim
from linsim import Layered, Linear, MultiHead, _gram, _kernels, _parallel, simulate
from linsim._engines import bands, lanes, rescue
from linsim._engines import digits as digits_

pytest.importorskip("numba")

from linsim._kernels import walk

NAMES = lanes.METRICS
ENGINES = {"lanes": "lanes", "bands": "bands", "numpy": "iterate"}
kernels = pytest.mark.parametrize("engine", ["lanes", "bands"])
every_engine = pytest.mark.parametrize("engine", ENGINES)
both = pytest.mark.parametrize("dtype", ["float64", "float32"])
seeds = st.integers(0, 2**32 - 1)


def run_with(engine, rule, x0, depth, **options):
    """Simulate, layer by layer, through one engine."""
    options.setdefault("metrics", NAMES)
    with pytest.MonkeyPatch.context() as patch:
        if engine == "numpy":
            patch.setattr(_kernels, "usable", lambda: False)
        run = simulate(rule, x0, depth, method=ENGINES[engine], **options)
    assert run.info.method == ENGINES[engine]
    return run


def same(found, expected, tolerance, names=NAMES, lacking=0):
    """Compare two runs; at most ``lacking`` numbers are known to one of them only."""
    missing = 0
    for name in names:
        a, b = np.asarray(found.metrics[name]), np.asarray(expected.metrics[name])
        assert a.shape == b.shape
        assert a.dtype == b.dtype == np.float64
        one = np.isnan(a) != np.isnan(b)
        missing += np.count_nonzero(one)
        known = ~np.isnan(a) & ~np.isnan(b)
        infinite = known & (np.isinf(a) | np.isinf(b))
        np.testing.assert_array_equal(a[infinite], b[infinite], err_msg=name)
        known &= ~infinite
        error = np.abs(a[known] - b[known]) / np.maximum(np.abs(b[known]), 1)
        assert np.all(error <= tolerance), f"{name}: {np.max(error):.1e}"
    assert missing <= lacking


def identical(found, expected):
    for name in found.metrics:
        np.testing.assert_array_equal(found.metrics[name], expected.metrics[name], err_msg=name)
        np.testing.assert_array_equal(found.info.unmeasured_from[name], expected.info.unmeasured_from[name])


def tolerance_of(dtype):
    return 1e-12 if dtype == "float64" else 1e-4


def drawn(seed, n, d, b=(), kind="general"):
    """A well-conditioned system."""
    rng = np.random.default_rng([seed, n, d])
    make = {"general": softmax, "symmetric": symmetric, "reversible": reversible}[kind]
    A = make(rng, n) if n > 1 else np.ones((1, 1))
    H = weights(rng, *rng.uniform(0.1, 0.9, size=d), condition=1.0)
    return A, H, rng.normal(size=(*b, n, d))


# --- they agree ------------------------------------------------------------------------------------

SHAPES = [
    (1, 1),
    (1, 5),
    (2, 1),
    (5, 1),
    (2, 2),
    (3, 8),
    (7, 5),
    (8, 16),
    (9, 9),
    (16, 8),
    (33, 17),
    (17, 33),
]
WELL = (0, 1, 2, 3, 7, 20)


@both
@kernels
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("kind", ["general", "symmetric"])
def test_engines_agree(engine, dtype, shape, kind):
    A, H, x0 = (M.astype(dtype) for M in drawn(0, *shape, (3,), kind))
    rule = Linear(A, H)
    found, expected = (run_with(e, rule, x0, 20, layers=WELL, dtype=dtype) for e in (engine, "numpy"))
    same(found, expected, tolerance_of(dtype))
    assert found.info.split.shape == (3,)
    assert found.info.error_estimate > 0


@both
@kernels
def test_engines_agree_on_heads_and_layers(engine, dtype):
    rng = np.random.default_rng(1)
    A = np.stack([softmax(rng, 6) for _ in range(3)]).astype(dtype)
    H = np.stack([weights(rng, 0.5, 0.3, 0.1, 0.2) / 2 for _ in range(3)]).astype(dtype)
    x0 = rng.normal(size=(2, 6, 4)).astype(dtype)
    layered = [Linear(A[k % 3], H[(k // 2) % 3]) for k in range(20)]
    heads_in_layers = [MultiHead(A[[k % 3, 2]], H[[k % 3, 1]]) for k in range(20)]
    for rule in (MultiHead(A, H), Layered(layered), Layered(heads_in_layers)):
        found, expected = (run_with(e, rule, x0, 20, layers=WELL, dtype=dtype) for e in (engine, "numpy"))
        same(found, expected, tolerance_of(dtype))


def test_layers_of_unlike_heads_are_left_to_numpy():
    A, H, x0 = drawn(2, 4, 3)
    rule = Layered([Linear(A, H), MultiHead(np.stack([A, A]), np.stack([H, H]) / 2)])
    assert simulate(rule, x0, 2, metrics=NAMES).info.method == "iterate"


@both
@kernels
def test_batches_broadcast(engine, dtype):
    """One A for all, one H for all, one x0 for all, axes of length 1: each system is itself."""
    rng = np.random.default_rng(3)
    As = np.stack([softmax(rng, 5) for _ in range(6)]).reshape(2, 3, 5, 5).astype(dtype)
    Hs = np.stack([weights(rng, 0.5, 0.3, 0.2) for _ in range(3)]).astype(dtype)
    x0 = rng.normal(size=(2, 1, 5, 3)).astype(dtype)
    for A, H, x in (
        (As, Hs, x0), (As, Hs[0], x0[0, 0]), (As[0, 0], Hs, x0), (As[:, :1], Hs[:1], x0),
        (As[0, 0], Hs[0], x0), (As[:1, :1], Hs[:1], x0[:1]), (As[0, 0], Hs[0], x0[0, 0]),
    ):  # fmt: skip
        run = run_with(engine, Linear(A, H), x, 9, dtype=dtype)
        batch = np.broadcast_shapes(A.shape[:-2], H.shape[:-2], x.shape[:-2])
        assert run.metrics["log_norm"].shape == (*batch, 10)
        A, H, x = (np.broadcast_to(M, (*batch, *M.shape[-2:])) for M in (A, H, x))
        for at in np.ndindex(*batch):
            alone = run_with(engine, Linear(A[at], H[at]), x[at], 9, dtype=dtype)
            for name in NAMES:
                np.testing.assert_array_equal(run.metrics[name][at], alone.metrics[name], err_msg=name)


@kernels
def test_strange_memory(engine):
    """Read-only, transposed, every other number, Fortran order."""
    A, H, x0 = drawn(4, 7, 5, (4,))
    expected = run_with(engine, Linear(A, H), x0, 12)

    def readonly(M):
        M = M.copy()
        M.flags.writeable = False
        return M

    def spread(M):
        out = np.full((*M.shape[:-2], 2 * M.shape[-2], 3 * M.shape[-1]), np.nan)
        out[..., ::2, ::3] = M
        return out[..., ::2, ::3]

    for change in (
        readonly,
        spread,
        np.asfortranarray,
        lambda M: np.swapaxes(np.swapaxes(M, -1, -2).copy(), -1, -2),
    ):
        identical(run_with(engine, Linear(change(A), change(H)), change(x0), 12), expected)


@kernels
@pytest.mark.parametrize("scale", [2.0**996, 2.0**-996, 1e300, 1e-300, 1e-308])
def test_tokens_of_any_size(engine, scale):
    A, H, x0 = drawn(5, 6, 4, (2,))
    found, plain = (run_with(engine, Linear(A, H), s * x0, 12) for s in (scale, 1.0))
    # a number near the smallest has lost digits itself
    tolerance = 1e-6 if scale < 1e-305 else 1e-12
    for name in NAMES:
        shift = np.log(scale) if name in ("log_norm", "log_spread") else 0.0
        np.testing.assert_allclose(
            found.metrics[name] - shift,
            plain.metrics[name],
            rtol=tolerance,
            atol=1000 * tolerance,
            err_msg=name,
        )


@every_engine
def test_any_layers(engine):
    A, H, x0 = drawn(6, 5, 4)
    rule = Linear(A, H)
    full = run_with(engine, rule, x0, 40)
    np.testing.assert_array_equal(full.layers, np.arange(41))
    for layers in ([0], [40], [0, 40], [3, 17, 18, 40], [1], [39]):
        some = run_with(engine, rule, x0, 40, layers=layers)
        for name in NAMES:
            np.testing.assert_allclose(
                some.metrics[name], full.metrics[name][layers], rtol=1e-11, atol=1e-11, err_msg=name
            )
    zero = run_with(engine, rule, x0, 0)
    for name in NAMES:
        np.testing.assert_allclose(zero.metrics[name], full.metrics[name][:1], rtol=1e-14, err_msg=name)


@pytest.mark.sample(3)
@both
@every_engine
@pytest.mark.parametrize(
    "values", [(1.2, 0.3, -0.5), (-0.9, -0.6, -0.2), (0.9, 9.0, 40.0), (-1.0, -1.0, -1.0)]
)
def test_deep_runs_stay_in_range(engine, dtype, values):
    rng = np.random.default_rng(7)
    A, H, x0 = reversible(rng, 5), weights(rng, *values), rng.normal(size=(5, 3))
    layers = (0, 10, 1000, 4999, 5000)
    run = run_with(engine, Linear(A, H), x0, 5000, layers=layers, dtype=dtype)
    logs = [run.metrics[name] for name in ("log_norm", "log_spread")]
    assert not np.any(np.isinf(logs))
    norm = run.metrics["log_norm"]
    if np.isfinite(norm[-1]) and values[0] > 0:
        top = np.max(np.abs(1 + np.outer(np.linalg.eigvals(A), values)))
        assert norm[-1] - norm[-2] == pytest.approx(np.log(top), rel=1e-4)


@both
@kernels
def test_each_system_is_rescaled_as_often_as_it_grows(engine, dtype):
    """One system that hardly grows beside others that use up the range in a few layers."""
    rng = np.random.default_rng(20)
    A, H = reversible(rng, 5), weights(rng, 0.9, 0.5, 0.3)
    big = 2.0**60 if dtype == "float64" else 2.0**14
    scales = np.array([1.0, big, 3.0, big**2 if dtype == "float64" else big])
    Hs, x0 = scales[:, None, None] * H, rng.normal(size=(5, 3))
    run = run_with(engine, Linear(A, Hs), x0, 60, dtype=dtype)
    modes = np.outer(np.sort(np.linalg.eigvals(A).real)[:-1], [0.9, 0.5, 0.3])
    for k, scale in enumerate(scales):
        found = run.metrics["log_spread"][k]
        assert np.all(np.isfinite(found))
        rate = np.log(np.max(np.abs(1 + scale * modes)))
        assert found[-1] - found[-2] == pytest.approx(rate, rel=1e-2)


def test_bands_stop_reporting_where_lanes_do():
    """Both estimate noise alike, so both give up at the same layer."""
    gone = 0
    for name in ("no constant part, thirds", "Jordan A, sharpening", "uniform A, thirds", "one token mode"):
        A, H, x0 = STRUCTURED[name]
        lanes, bands = (run_with(engine, Linear(A, H), x0, 400) for engine in ("lanes", "bands"))
        for metric in NAMES:
            assert lanes.info.unmeasured_from[metric] == bands.info.unmeasured_from[metric], (name, metric)
            gone += lanes.info.unmeasured_from[metric] > 10
    assert gone > 0


def argument_of(kernel, arguments, name):
    """What a kernel was called with, by name."""
    return inspect.signature(kernel.py_func).bind(*arguments).arguments[name]


def test_only_one_fixed_attention_has_a_compressed_probe(monkeypatch):
    """Krylov spaces of different matrices have nothing in common."""
    A, H, x0 = drawn(22, 12, 3)
    seen, true_walk = [], walk.walk

    def looks(*arguments):
        seen.append(argument_of(true_walk, arguments, "compressed"))
        true_walk(*arguments)

    monkeypatch.setattr(walk, "walk", looks)
    for rule in (
        Linear(A, H),
        MultiHead(np.stack([A, A]), np.stack([H, H])),
        Layered([Linear(A, H), Linear(A @ A, H)]),
    ):
        run_with("lanes", rule, x0, 2)
    assert seen == [True, False, False]


@kernels
@pytest.mark.parametrize("names", [(name,) for name in NAMES] + [NAMES[4:8], NAMES[::3]], ids="-".join)
def test_any_metrics(engine, names):
    """What is asked beside a metric does not change it."""
    A, H, x0 = drawn(8, 9, 6, (3,))
    full, some = (run_with(engine, Linear(A, H), x0, 10, metrics=m) for m in (NAMES, names))
    assert set(some.metrics) == set(names)
    for name in names:
        np.testing.assert_array_equal(some.metrics[name], full.metrics[name])


def test_which_engine_applies():
    def obstacle(engine, names, n, d):
        asked = linsim.engines(Linear(np.eye(n), np.eye(d)), 1, metrics=names)
        (offer,) = (offer for offer in asked.offers if offer.name == engine)
        return offer.obstacle

    assert not obstacle("lanes", NAMES, 256, 256)
    assert "257" in obstacle("lanes", NAMES, 257, 2)
    assert "257" in obstacle("lanes", NAMES, 2, 257)
    assert "log_rank_gap" in obstacle("lanes", ("log_rank_gap",), 4, 4)
    assert not obstacle("bands", NAMES, 257, 2)
    assert "log_cosine_gap" in obstacle("bands", ("log_cosine_gap",), 257, 2)
    assert _kernels.MEASURED == NAMES
    A, H, x0 = drawn(9, 4, 3)
    assert simulate(Linear(A, H), x0, 3, metrics=NAMES).info.method == "lanes"
    assert simulate(Linear(A, H), x0, 3).info.method == "parts"
    assert simulate(Linear(A, H), x0, 3, metrics=NAMES, keep_states=True).info.method == "parts"


def test_large_systems_take_bands():
    A, H, x0 = drawn(10, 260, 3)
    rule = Linear(A, H)
    run = simulate(rule, x0, 6, metrics=NAMES)
    assert run.info.method == "bands"
    same(run, run_with("numpy", rule, x0, 6), 1e-12)


# --- nothing but the system itself decides -------------------------------------------------------------


@both
def test_no_bit_depends_on_the_batch_or_the_cut(dtype, monkeypatch):
    rng = np.random.default_rng(11)
    b = 37  # more than two tiles, and not a multiple of anything
    A = np.stack([softmax(rng, 6) for _ in range(b)]).astype(dtype)
    A[5] = symmetric(rng, 6)
    H = np.stack([weights(rng, *rng.uniform(-1.5, 1.5, 4), condition=3.0) for _ in range(b)]).astype(dtype)
    x0 = rng.normal(size=(b, 6, 4)).astype(dtype)
    layers = [0, 1, 2, 5, 9, 30, 31]
    rule = Linear(A, H)
    whole = run_with("lanes", rule, x0, 31, layers=layers, dtype=dtype)
    for number, job, worth in ((1, 1e3, 1), (2, 1e2, 1), (3, 1, 1), (16, 1e5, 1), (2, 1e99, 1e99)):
        monkeypatch.setattr(_parallel, "workers", lambda number=number: number)
        monkeypatch.setattr(lanes, "workers", lambda number=number: number)
        monkeypatch.setattr(lanes, "_JOB", job)
        monkeypatch.setattr(lanes, "_WORTH_IT", worth)
        identical(run_with("lanes", rule, x0, 31, layers=layers, dtype=dtype), whole)
    order = rng.permutation(b)
    mixed = run_with("lanes", Linear(A[order], H[order]), x0[order], 31, layers=layers, dtype=dtype)
    for name in NAMES:
        np.testing.assert_array_equal(mixed.metrics[name], whole.metrics[name][order], err_msg=name)
    for k in (0, 5, 36):
        alone = run_with("lanes", Linear(A[k], H[k]), x0[k], 31, layers=layers, dtype=dtype)
        for name in NAMES:
            np.testing.assert_array_equal(alone.metrics[name], whole.metrics[name][k], err_msg=name)


@both
@pytest.mark.parametrize("shape", [(3, 2), (33, 17), (70, 40)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_no_bit_depends_on_the_number_of_threads(dtype, shape, monkeypatch):
    A, H, x0 = (M.astype(dtype) for M in drawn(12, *shape, (3,)))
    runs = []
    for number in (1, 2, 3, 7):
        monkeypatch.setattr(_parallel, "workers", lambda number=number: number)
        monkeypatch.setattr(bands, "workers", lambda number=number: number)
        runs.append(run_with("bands", Linear(A, H), x0, 25, dtype=dtype))
    for run in runs[1:]:
        identical(run, runs[0])
    for k in range(3):
        alone = run_with("bands", Linear(A, H), x0[k], 25, dtype=dtype)
        for name in NAMES:
            np.testing.assert_array_equal(alone.metrics[name], runs[0].metrics[name][k], err_msg=name)


@pytest.mark.parametrize("number", [1, 2, 9, 20])
def test_measuring_keeps_up_with_any_number_of_threads(number, monkeypatch):
    """More threads than states that may wait, each slow to measure: all rooms are in use at once."""
    A, H, x0 = drawn(18, 90, 3)
    expected = run_with("bands", Linear(A, H), x0, 30)
    values = bands.singular_values

    def slow(X, ratio):
        time.sleep(0.003)
        return values(X, ratio)

    monkeypatch.setattr(bands, "singular_values", slow)
    monkeypatch.setattr(bands, "workers", lambda: number)
    identical(run_with("bands", Linear(A, H), x0, 30), expected)


@pytest.mark.parametrize("number", [1, 3, 20])
def test_an_error_in_any_thread_is_raised(number, monkeypatch):
    A, H, x0 = drawn(19, 90, 3)
    asked = []

    def fails(X, ratio):
        asked.append(ratio)
        if len(asked) > 5:
            raise ArithmeticError("on purpose")
        return np.ones(3), False, 0.0

    monkeypatch.setattr(bands, "singular_values", fails)
    monkeypatch.setattr(bands, "workers", lambda: number)
    with pytest.raises(ArithmeticError, match="on purpose"):
        run_with("bands", Linear(A, H), x0, 200)
    assert len(asked) < 100


# --- within its error or NaN ---------------------------------------------------------------------------


@pytest.mark.sample(3)
@kernels
@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_systems_are_true_or_nan(engine, name):
    A, H, x0 = STRUCTURED[name]
    layers = (0, 1, 2, 3, 5, 20, 60, 200, 400)
    run = run_with(engine, Linear(A, H), x0, layers[-1], layers=layers)
    assert_within_errors(run, truth_of(name, A, H, x0, layers, 900))


TRUTHS = {}


def truth_of(name, A, H, x0, layers, digits):
    """The oracle is asked once for both engines."""
    doubly = all(dyadic_columns(a) for a in A) if isinstance(A, list) else dyadic_columns(A)
    if name not in TRUTHS:
        TRUTHS[name] = oracle.trajectory(A, H, x0, layers, digits=digits, symmetric=doubly)
    return TRUTHS[name]


@pytest.mark.sample(2)
@kernels
@pytest.mark.parametrize("name", MANY_HEADS)
def test_structured_heads_are_true_or_nan(engine, name):
    A, H, x0 = MANY_HEADS[name]
    layers = (0, 1, 2, 5, 20, 60, 200, 400)
    run = run_with(engine, MultiHead(np.stack(A), np.stack(H)), x0, layers[-1], layers=layers)
    assert_within_errors(run, truth_of("heads " + name, A, H, x0, layers, 900))


@kernels
@pytest.mark.parametrize("centre", [True, False])
def test_layers_of_doubly_stochastic_attention_are_true_or_nan(engine, centre):
    rng = np.random.default_rng(5)
    A = [symmetric(rng, 4) for _ in range(2)]
    H = [0.4 * np.eye(3) + 0.1 * rng.normal(size=(3, 3)) for _ in range(2)]
    x0 = rng.normal(size=(4, 3))
    x0 = x0 - x0.mean(axis=0) if centre else x0
    layers = (0, 1, 5, 20, 80, 300)
    rules = [Linear(A[k % 2], H[k % 2]) for k in range(300)]
    run = run_with(engine, Layered(rules), x0, 300, layers=layers)
    truth = oracle.trajectory(lambda k: (A[k % 2], H[k % 2]), None, x0, layers, digits=600, symmetric=True)
    assert_within_errors(run, truth)


@kernels
def test_a_mean_that_appears_late(engine):
    """Nothing reaches the mean before the first rescaling: it is seen at the scale of the rest then."""
    n, layers = 14, (0, 1, 7, 8, 9, 12, 13, 20, 40)
    A = np.eye(n, k=1)
    A[-1, -1] = 1
    x0 = np.zeros((n, 2))
    x0[-2], x0[-3] = (1, 2), (-1, -2)
    H = np.diag([0.5, -0.25])
    run = run_with(engine, Linear(A, H), x0, layers[-1], layers=layers)
    truth = oracle.trajectory(A, H, x0, layers, digits=300)
    assert_within_errors(run, truth)
    assert np.all(np.isfinite(run.metrics["log_norm"]))
    assert np.isfinite(run.metrics["log_hfc_lfc"][-1])


@kernels
def test_what_an_earlier_layer_fed_into_the_mean_is_not_forgotten(engine):
    """The mean is gone, noise and all; then one layer feeds rounding into it, and the next one nothing."""
    rng = np.random.default_rng(21)
    A, even = softmax(rng, 4), np.full((4, 4), 0.25)
    blind = np.linalg.svd(np.stack([np.ones(4), A.sum(axis=0)]))[2][2:]  # what neither layer feeds
    x0 = blind.T @ rng.normal(size=(2, 2))
    rules = [Linear(even, -np.eye(2)), Linear(A, np.eye(2)), Linear(even, np.eye(2) / 4)]
    layers = (0, 1, 3)
    run = run_with(engine, Layered(rules), x0, 3, layers=layers)
    given = [(rule.A, rule.H) for rule in rules]
    assert_within_errors(run, oracle.trajectory(lambda k: given[k], None, x0, layers, digits=300))
    assert np.isnan(run.metrics["log_hfc_lfc"][-1])
    assert np.isfinite(run.metrics["log_spread"][-1])


@kernels
def test_tokens_that_cancel_to_nothing_have_no_angle(engine, monkeypatch):
    """The first token falls below the rounding of the other and comes out as exactly zero.

    It is (2/3)^l of the other, and doubles have 53 bits: enough for 90 layers.  Layer by layer, along
    the dominant modes, it keeps its digits.
    """
    A, H = np.array([[1.0, 0], [0.5, 0.5]]), -0.5 * np.eye(2)
    x0, layers = np.array([[1.0, 2.0], [3.0, -1.0]]), (0, 5, 100, 200, 300)
    run = run_with(engine, Linear(A, H), x0, 300, layers=layers)
    truth = oracle.trajectory(A, H, x0, layers, digits=500)
    assert_within_errors(run, truth)
    assert run.info.fallbacks["iterate"] == 1
    for name in ("cosine", "abs_cosine"):
        assert np.all(np.isfinite(run.metrics[name]))
    with monkeypatch.context() as patch:
        for module in (digits_, rescue):
            patch.setattr(module, "hidden", lambda found, allowed: np.zeros((1, 5), dtype=bool))
        run = run_with(engine, Linear(A, H), x0, 300, layers=layers)
    assert_within_errors(run, truth)
    for name in ("cosine", "abs_cosine"):
        np.testing.assert_array_equal(np.isnan(run.metrics[name]), np.array(layers) > 90)
    # a token that was given as zero is known to be so
    x0[0] = 0
    run = run_with(engine, Linear(A, H), x0, 3, layers=[0])
    assert abs(run.metrics["cosine"][0]) <= 1e-15


def no_floor(system, layers, digits):
    A, H, x0 = system
    truth = oracle.trajectory(A, H, x0, layers, digits=digits, symmetric=dyadic_columns(A))
    for engine in ("lanes", "bands"):
        assert_within_errors(run_with(engine, Linear(A, H), x0, layers[-1], layers=layers), truth, digits)


@hypothesis.settings(max_examples=60)
@hypothesis.given(systems())
def test_a_rounding_floor_is_never_a_value(system):
    no_floor(system, (0, 1, 2, 5, 20, 60, 150), 500)


@pytest.mark.full
@hypothesis.settings(max_examples=20_000)
@hypothesis.given(systems())
def test_a_rounding_floor_is_never_a_value_full(system):
    no_floor(system, (0, 1, 2, 5, 20, 60, 150), 600)


@pytest.mark.parametrize("seed", range(8))
def test_nearly_degenerate_systems_are_true_or_nan(seed):
    no_floor(nearly_degenerate(seed), (0, 1, 2, 5, 20, 60, 200), 900)


@pytest.mark.full
@pytest.mark.parametrize("hundred", range(30))
def test_nearly_degenerate_systems_are_true_or_nan_full(hundred):
    for seed in range(1000 + 100 * hundred, 1100 + 100 * hundred):
        no_floor(nearly_degenerate(seed), (0, 1, 2, 5, 20, 60, 200, 500), 1600)


@kernels
def test_ordinary_systems_have_every_number(engine):
    """NaN everywhere would be true, too."""
    rng = np.random.default_rng(13)
    for A in (softmax(rng, 6), symmetric(rng, 6), reversible(rng, 6), causal(rng, 6)):
        H, x0 = weights(rng, 1.1, 0.6, -0.4, 0.2, condition=3), rng.normal(size=(6, 4))
        layers = (0, 1, 3, 20, 300)
        run = run_with(engine, Linear(A, H), x0, 300, layers=layers)
        truth = oracle.trajectory(A, H, x0, layers, digits=700, symmetric=dyadic_columns(A))
        assert_within_errors(run, truth)
        for name in NAMES:
            assert np.all(np.isfinite(run.metrics[name])), name
            np.testing.assert_allclose(run.metrics[name], truth[name], rtol=1e-9, atol=1e-9, err_msg=name)


# --- singular values that the kernel does not find --------------------------------------------------------


@pytest.mark.parametrize(
    "names", [NAMES, ("effective_rank",), ("stable_rank",)], ids=["all", "rank", "stable"]
)
def test_ranks_by_lapack(names):
    rng = np.random.default_rng(14)
    slot = np.full(len(NAMES), -1)
    for k, name in enumerate(names):
        slot[NAMES.index(name)] = k
    for n, d in ((5, 3), (3, 5), (1, 4), (4, 1)):
        for X in (
            rng.normal(size=(n, d)),
            np.outer(np.ones(n), rng.normal(size=d)),
            np.full((n, d), np.nan),
            np.zeros((n, d)),
        ):
            values, errors = (np.full((len(names), 2, 3), -7.0) for _ in range(2))
            row = np.concatenate([[1, 2, 1e-12], X.ravel()])
            lanes._by_lapack(row, slot, values, errors, 2.0**-52, n, d)
            known = np.all(np.isfinite(X)) and X.any()
            s = np.linalg.svd(X, compute_uv=False) if known else np.ones(1)
            p = s[s > 0] / s.sum()
            expected = {"effective_rank": np.exp(-p @ np.log(p)), "stable_rank": np.sum(s**2) / s[0] ** 2}
            for k, name in enumerate(names):
                if name in expected:
                    found, error = values[k, 1, 2], errors[k, 1, 2]
                    if known:
                        assert found == pytest.approx(expected[name], rel=1e-12)
                        assert 0 <= error < 1e-9
                    else:
                        assert np.isnan(found)
                        assert error == np.inf
                    values[k, 1, 2] = errors[k, 1, 2] = -7.0
            assert np.all(values == -7)  # nothing else is written
            assert np.all(errors == -7)


@pytest.mark.parametrize("noise", [1e-3, 1e-5, 1e-7])
def test_noise_moves_ranks_by_lapack_as_far_as_they_say(noise):
    """Matrices whose entries are off by as much altogether, in any direction."""
    slot, rng = np.arange(len(NAMES)), np.random.default_rng(23)
    at = [NAMES.index(name) for name in ("effective_rank", "stable_rank")]

    def by_lapack(X, noise):
        values, errors = np.zeros((len(NAMES), 1, 1)), np.zeros((len(NAMES), 1, 1))
        row = np.concatenate([[0, 0, noise], X.ravel()])
        lanes._by_lapack(row, slot, values, errors, 2.0**-52, *X.shape)
        return values[at, 0, 0], errors[at, 0, 0]

    for X in (np.diag([1.0, 0.5]), rng.normal(size=(5, 3)), np.ones((4, 3)) + 0.1 * rng.normal(size=(4, 3))):
        found, error = by_lapack(X, noise)
        moved = []
        for _ in range(300):
            E = rng.normal(size=X.shape)
            moved.append(np.abs(by_lapack(X + noise * E / np.linalg.norm(E), 0.0)[0] - found))
        # an error is what 99.9 % stay below, not a bound; and not far above them either
        assert np.all(np.max(moved, axis=0) <= 3 * error)
        assert np.all(np.median(moved, axis=0) >= error / 30)


@pytest.mark.parametrize("losing", [1, 4, 5, 400])
def test_states_that_the_kernel_lost(losing, monkeypatch):
    """However many there are, and although room is kept for a few only."""
    A, H, x0 = drawn(15, 5, 4, (9,))
    rule, layers = Linear(A, H), range(60)
    expected = run_with("lanes", rule, x0, 59)
    assert expected.info.fallbacks["lapack"] == 0
    true_walk, rooms = walk.walk, []

    def forgets(*arguments):
        A, H, x0, wanted, slot, first, last, values, lost, counts = (
            argument_of(true_walk, arguments, name)
            for name in ("A", "H", "x0", "wanted", "slot", "first", "last", "values", "lost", "counts")
        )
        true_walk(*arguments)
        rooms.append(len(lost))
        for k in range(losing):
            s, t = k % 9, (7 * k) % 60
            if first <= s < last:
                at = counts[0]
                counts[0] += 1
                for name in ("effective_rank", "stable_rank"):
                    values[slot[NAMES.index(name)], s, t] = -1.0
                if at < len(lost):
                    X = x0[s].copy()
                    for _ in range(int(wanted[t])):
                        X = X + A[0, 0, 0] @ X @ H[0, 0, 0]
                    lost[at] = np.concatenate([[s, t, 0.0], (X / np.max(np.abs(X))).ravel()])

    monkeypatch.setattr(walk, "walk", forgets)
    run = run_with("lanes", rule, x0, 59)
    assert run.info.fallbacks["lapack"] == losing
    assert max(rooms) >= losing
    same(run, expected, 1e-12)
    assert len(layers) == 60


# --- singular values of one large matrix -----------------------------------------------------------------

KINDS = (
    "random", "collapsed", "graded", "deficient", "nearly alike", "two clusters", "rank one", "equal",
    "close pair",
)  # fmt: skip


def one_matrix(kind, n, d, rng):
    """A matrix of some kind with entries around 1, and what is known of sigma_2 / sigma_1."""
    m = min(n, d)
    if kind == "random":
        return rng.normal(size=(n, d)), np.inf
    if kind in ("collapsed", "nearly alike"):
        size = 10.0 ** (-rng.uniform(1, 16) if kind == "collapsed" else -rng.uniform(0.5, 3))
        row, rest = rng.normal(size=(1, d)), rng.normal(size=(n, d))
        rest -= rest.mean(axis=0)
        X = row + size * rest
        return X, size * np.linalg.norm(rest) / (np.linalg.norm(row) * np.sqrt(n))
    if kind == "deficient":
        r = rng.integers(1, m + 1)
        return rng.normal(size=(n, r)) @ rng.normal(size=(r, d)) / r, np.inf
    if kind == "rank one":
        return np.outer(rng.normal(size=n), rng.normal(size=d)), np.inf
    s = {
        "graded": np.geomspace(1, 10.0 ** -rng.uniform(1, 18), m),
        "two clusters": np.where(np.arange(m) < rng.integers(1, m + 1), 1.0, 10.0 ** -rng.uniform(1, 12)),
        "equal": np.ones(m),
        # power steps do not part the leading two
        "close pair": np.where(
            np.arange(m) < 2, [1, rng.uniform(0.7, 0.999)][: min(m, 2)] + [0] * (m - 2), 1e-9
        ),
    }[kind]
    U, V = (np.linalg.qr(rng.normal(size=(k, m)))[0] for k in (n, d))
    return U * s @ V.T * np.sqrt(m), np.inf


def effective_rank(s):
    p = s[s > 0] / s.sum()
    return float(np.exp(-p @ np.log(p)))


def check_large(seed, n, d, kind, dtype):
    rng = np.random.default_rng(seed)
    X, ratio = one_matrix(kind, n, d, rng)
    X = X.astype(dtype)
    found, by_svd, blurred = _gram.singular_values(X, ratio)
    true = np.linalg.svd(X.astype("float64"), compute_uv=False)
    eps = float(np.finfo(dtype).eps)
    assert found.shape == (min(n, d),)
    assert np.all(np.diff(found) <= 0)
    assert np.all(found >= 0)
    found = found.astype("float64")
    # what the method is held to, and what an SVD reaches
    claim = _gram._WANTED * eps / 2.0**-52 + 4 * np.sqrt(n + d) * eps
    off = abs(effective_rank(found) / effective_rank(true) - 1)
    assert off <= 4 * claim * (1 + np.log(min(n, d)))
    # and what it says of this matrix, beside the rounding of any method
    assert off <= 3 * blurred + 16 * np.sqrt(n + d) * eps * (1 + np.log(min(n, d)))
    assert abs(found[0] / true[0] - 1) <= 4 * np.sqrt(n + d) * eps
    assert np.sum(found**2) / found[0] ** 2 == pytest.approx(
        np.sum(true**2) / true[0] ** 2, rel=16 * np.sqrt(n + d) * eps
    )
    return by_svd


@both
@pytest.mark.parametrize("kind", KINDS)
@hypothesis.given(seeds, st.integers(1, 60), st.integers(1, 60))
@hypothesis.settings(max_examples=25)
def test_singular_values_of_one_matrix(dtype, kind, seed, n, d):
    check_large(seed, n, d, kind, dtype)


@pytest.mark.full
@both
@pytest.mark.parametrize("kind", KINDS)
@hypothesis.given(seeds, st.integers(1, 400), st.integers(1, 400))
@hypothesis.settings(max_examples=500)
def test_singular_values_of_one_matrix_full(dtype, kind, seed, n, d):
    check_large(seed, n, d, kind, dtype)


@both
def test_rows_that_sum_to_nothing(dtype):
    """Nothing to start power steps from, if one starts at the sum."""
    X = np.array([[1.0, 2, 0, 1], [-3, 1, 1, 0], [2, -3, -1, -1]], dtype)
    for M in (X, X.T, X[:, :1] * X[:1], np.outer([1.0, -1.0], [1.0, 0, 0]).astype(dtype)):
        found, *_ = _gram.singular_values(np.ascontiguousarray(M))
        true = np.linalg.svd(M.astype("float64"), compute_uv=False)
        np.testing.assert_allclose(found, true, rtol=0, atol=16 * np.finfo(dtype).eps * true[0])


def test_collapsed_matrices_need_no_svd():
    rng = np.random.default_rng(16)
    for shape in ((40, 30), (30, 40)):
        for size in (1e-3, 1e-6, 1e-9):
            row, rest = rng.normal(size=(1, shape[1])), rng.normal(size=shape)
            _, by_svd, _ = _gram.singular_values(row + size * (rest - rest.mean(axis=0)), size)
            assert not by_svd


def test_what_a_gram_matrix_leaves_of_the_smallest_value_is_in_the_error():
    x0 = np.array([[1.0, 0, 3], [-1, -1, 3], [-1, -1, 3], [2, 1, 0], [2, 1, 1]])
    A, H = np.eye(5), np.zeros((3, 3))
    run = run_with("bands", Linear(A, H), x0, 1)
    assert_within_errors(run, oracle.trajectory(A, H, x0, (0, 1), digits=60))


def test_the_error_claim_bites():
    """A Gram matrix without the split, whose smaller values are rounding, is refused by the bound."""
    rng = np.random.default_rng(17)
    X = np.outer(np.ones(30), rng.normal(size=40)) + 1e-9 * rng.normal(size=(30, 40))
    true = np.linalg.svd(X, compute_uv=False)
    plain = _gram._roots(X @ X.T)
    assert np.max(np.abs(plain - true)) > 1e-9  # wrong by what it should find
    claimed = _gram._error(plain, 0.0)
    assert claimed > _gram._WANTED
    assert abs(effective_rank(plain) / effective_rank(true) - 1) <= claimed
    assert _gram._error(true[:0], 1.0) == 0
    assert _gram._error(np.zeros(3), 1.0) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_claim_holds_for_a_plain_gram_matrix(kind):
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n, d = (int(k) for k in rng.integers(2, 60, size=2))
        X, _ = one_matrix(kind, n, d, rng)
        X = X if n <= d else X.T
        true, plain = np.linalg.svd(X, compute_uv=False), _gram._roots(X @ X.T)
        error = abs(np.log(effective_rank(plain) / effective_rank(true)))
        assert error <= _gram._error(plain, 0.0) + 1e-14 * np.sqrt(n + d)


# --- faults -------------------------------------------------------------------------------------------------


def python(code, timeout=120, **environment):
    """Run code in a new process; return what it printed and what it complained about."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True,
        timeout=timeout, env=os.environ | environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


SMALL_RUN = """
    import numpy as np, linsim
    from linsim._engines.lanes import METRICS
    rng = np.random.default_rng(0)
    A = rng.uniform(0.1, 1, (5, 5)); A /= A.sum(axis=1, keepdims=True)
    x0 = rng.normal(size=(4, 5, 3))
    rule = linsim.Linear(A, np.diag([0.5, 0.2, -0.3]))
    for _ in range(3):
        run = linsim.simulate(rule, x0, 12, metrics=METRICS)
    print(run.info.method)
    for name in METRICS:
        print(name, *[float(x).hex() for x in run.metrics[name].ravel()])
"""


def parsed(out):
    method, *lines = out.split("\n")
    return method, {x.split()[0]: np.array([float.fromhex(v) for v in x.split()[1:]]) for x in lines if x}


def test_without_numba_one_note_and_the_same_numbers():
    block = """
    import sys
    sys.modules["numba"] = None
    """
    out, complaints = python(block + SMALL_RUN)
    assert complaints.count("\n") == 1
    assert "numba" in complaints.lower()
    method, found = parsed(out)
    assert method == "iterate"
    method, expected = parsed(python(SMALL_RUN)[0])
    assert method == "lanes"
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-12, err_msg=name)
    # who asked for it needs no note
    out, complaints = python(SMALL_RUN, LINSIM_NUMBA="0")
    assert complaints == ""
    assert parsed(out)[0] == "iterate"


@pytest.mark.full
def test_who_waits_for_a_compiler_is_told(tmp_path):
    for times in range(2):
        out, complaints = python(SMALL_RUN, timeout=600, NUMBA_CACHE_DIR=str(tmp_path), LINSIM_COMPILE="wait")
        assert parsed(out)[0] == "lanes"
        assert complaints.count("compiling") == (1 if times == 0 else 0)
        assert complaints.count("\n") == (1 if times == 0 else 0)


def test_importing_linsim_imports_nothing_slow():
    out, _ = python("""
        import sys, linsim
        slow = ("numba", "llvmlite", "xarray", "sympy", "scipy.linalg", "matplotlib", "hypothesis", "zarr")
        print(*[name for name in slow if name in sys.modules])
    """)
    assert out.split() == []


LONG_RUNS = {
    "lanes": ("n, d, b = 16, 8, 64", ""),
    "bands": ("n, d, b = 300, 40, 1", ""),
    "numpy": ("n, d, b = 16, 8, 8", "0"),
}


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("engine", LONG_RUNS)
def test_ctrl_c_ends_a_long_run(engine):
    sizes, numba = LONG_RUNS[engine]
    code = f"""
        import signal, sys
        import numpy as np, linsim
        from linsim._engines.lanes import METRICS
        signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
        {sizes}
        rng = np.random.default_rng(0)
        A = rng.uniform(0.1, 1, (n, n)); A /= A.sum(axis=1, keepdims=True)
        H = np.diag(rng.uniform(-0.5, 0.5, d))
        rule, x0 = linsim.Linear(A, H), rng.normal(size=(b, n, d))
        def go(depth):
            ask = dict(layers=[depth], metrics=METRICS, method="{ENGINES[engine]}")
            return linsim.simulate(rule, x0, depth, **ask)
        print(go(2).info.method, flush=True)
        try:
            go(10**8)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            sys.exit(3)
    """
    environment = os.environ | ({"LINSIM_NUMBA": numba} if numba else {})
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout.readline().strip() == ENGINES[engine]
        time.sleep(0.7)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, complaints = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    took = time.monotonic() - started
    assert out.strip() == "interrupted", f"after {took:.1f} s: {complaints}"
    assert process.returncode == 3
