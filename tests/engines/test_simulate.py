"""linsim.simulate: backends, broadcasting, selections, kept states, depth, memory, labels."""

from __future__ import annotations

import inspect
import itertools
import tracemalloc

import numpy as np
import pytest
from oracles.contract import OF_TOKENS, grown

import linsim
from linsim import Layered, Linear, MultiHead, simulate
from linsim._namespace import cupy_status
from linsim._state import between_rescalings
from linsim.errors import BackendError
from linsim.metrics import METRICS, measure

LOGS = [name for name in OF_TOKENS if name.startswith("log_")]


def attention(rng, *batch, n=4):
    W = np.exp(rng.normal(size=(*batch, n, n)))
    return W / W.sum(axis=-1, keepdims=True)


def weight(rng, *batch, d=3):
    return rng.normal(size=(*batch, d, d)) / np.sqrt(d)


def equal(found, expected, rtol=1e-9, atol=1e-9, names=OF_TOKENS):
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=atol, err_msg=name)


def rules(array, rng):
    A, H = attention(rng, 3), weight(rng, 3)
    layers = [Linear(array(A[k]), array(H[k])) for k in (0, 1, 2, 0, 1, 2, 0, 1, 2, 0)]
    return {
        "linear": Linear(array(A[0]), array(H[0])),
        "heads": MultiHead(array(A), array(H)),
        "layered": Layered(layers),
        "mixed": Layered([*layers[:5], MultiHead(array(A), array(H)), *layers[6:]]),
    }


@pytest.mark.parametrize("name", ["linear", "heads", "layered", "mixed"])
def test_backends_agree(xp, name):
    x0 = np.random.default_rng(1).normal(size=(2, 4, 3))
    expected = simulate(rules(np.asarray, np.random.default_rng(0))[name], x0, 10)
    rule = rules(xp.array, np.random.default_rng(0))[name]
    run = simulate(rule, xp.array(x0), 10, keep_states=True)
    assert isinstance(run.layers, np.ndarray)
    for metric, value in run.metrics.items():
        assert xp.owns(value)
        assert str(value.dtype).endswith("float64")
        np.testing.assert_allclose(
            xp.host(value), expected.metrics[metric], rtol=1e-9, atol=1e-9, err_msg=metric
        )
    assert xp.owns(run.states)
    assert xp.owns(run.state_log_scale)
    compiled = isinstance(run.states, np.ndarray) and name != "mixed"
    assert run.info.method == ("parts" if compiled else "iterate")
    # info is for reading: on the host in every library
    assert all(isinstance(v, np.ndarray) for v in run.info.unmeasured_from.values())


def test_backend_numpy_returns_numpy(xp):
    rule = rules(xp.array, np.random.default_rng(0))["linear"]
    x0 = xp.array(np.random.default_rng(1).normal(size=(4, 3)))
    run = simulate(rule, x0, 5, backend="numpy", keep_states=True)
    assert all(isinstance(value, np.ndarray) for value in run.metrics.values())
    assert isinstance(run.states, np.ndarray)
    assert isinstance(run.state_log_scale, np.ndarray)


def test_inputs_are_left_alone():
    rng = np.random.default_rng(3)
    A, H, x0 = attention(rng), weight(rng), rng.normal(size=(4, 3))
    before = A.copy(), H.copy(), x0.copy()
    simulate(Linear(A, H), x0, 20, keep_states=True)
    for now, then in zip((A, H, x0), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    "shapes",
    [
        *itertools.product([(), (2,)], repeat=3),
        ((2, 1), (3,), ()),
        ((3,), (2, 1), (2, 3)),
        ((1,), (1, 1), (2,)),
        ((2, 1, 1), (3, 1), (2,)),
        ((1,), (), ()),
    ],
    ids=str,
)
def test_broadcasting_is_system_by_system(shapes):
    rng = np.random.default_rng(7)
    A, H, x0 = attention(rng, *shapes[0]), weight(rng, *shapes[1]), rng.normal(size=(*shapes[2], 4, 3))
    batch = np.broadcast_shapes(*shapes)
    run = simulate(Linear(A, H), x0, 12, layers=[0, 3, 12], keep_states=True)
    A, H, x0 = (np.broadcast_to(M, (*batch, *M.shape[-2:])) for M in (A, H, x0))
    assert run.states.shape == (*batch, 3, 4, 3)
    assert run.state_log_scale.shape == (*batch, 3)
    assert run.info.split.shape == batch
    for index in np.ndindex(*batch):
        one = simulate(Linear(A[index], H[index]), x0[index], 12, layers=[0, 3, 12], keep_states=True)
        equal({k: v[index] for k, v in run.metrics.items()}, one.metrics)
        np.testing.assert_allclose(run.states[index], one.states, rtol=1e-11, atol=1e-13)
        assert run.info.split[index] == one.info.split
        for name in OF_TOKENS:
            assert run.info.unmeasured_from[name].shape == batch
            assert run.info.unmeasured_from[name][index] == one.info.unmeasured_from[name]


def test_multihead_broadcasting():
    rng = np.random.default_rng(8)
    A, H, x0 = attention(rng, 2, 1, 2), weight(rng, 3, 2), rng.normal(size=(4, 3))
    run = simulate(MultiHead(A, H), x0, 6)
    assert run.metrics["cosine"].shape == (2, 3, 7)
    for i, j in np.ndindex(2, 3):
        one = simulate(MultiHead(A[i, 0], H[j]), x0, 6)
        equal({k: v[i, j] for k, v in run.metrics.items()}, one.metrics)


def test_systems_of_different_kinds_do_not_disturb_each_other():
    rng = np.random.default_rng(9)
    A = np.stack(
        [
            attention(rng),
            np.eye(4),
            np.full((4, 4), 0.25),
            np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None],
        ]
    )
    H = np.stack([np.diag([0.9, 0.3, -0.2]), np.diag([-0.9, -0.5, -0.2])])
    x0 = np.random.default_rng(1).normal(size=(4, 3))
    run = simulate(Linear(A[:, None], H), x0, 60, layers=[0, 1, 7, 60])
    for i, j in np.ndindex(4, 2):
        one = simulate(Linear(A[i], H[j]), x0, 60, layers=[0, 1, 7, 60])
        assert run.info.split[i, j] == one.info.split
        equal({k: v[i, j] for k, v in run.metrics.items()}, one.metrics, rtol=1e-6, atol=1e-6)


# --- against plain iteration ------------------------------------------------------------


def plain(rule, x0, depth):
    states = [x0]
    for layer in range(depth):
        x = states[-1]
        states.append(x + sum(A @ x @ H for A, H in rule.heads(layer)))
    return states


@pytest.mark.parametrize("name", ["linear", "heads", "layered", "mixed"])
def test_kept_states_are_the_states(name):
    rule = rules(np.asarray, np.random.default_rng(4))[name]
    x0 = np.random.default_rng(5).normal(size=(4, 3))
    run = simulate(rule, x0, 10, keep_states=True)
    expected = np.stack(plain(rule, x0, 10))
    found = run.states * np.exp(run.state_log_scale)[:, None, None]
    size = np.max(np.abs(expected), axis=(-1, -2), keepdims=True)
    np.testing.assert_allclose(found / size, expected / size, atol=1e-13)
    largest = np.max(np.abs(run.states), axis=(-1, -2))
    assert np.all((largest >= 1) & (largest < 2))
    assert simulate(rule, x0, 3).states is None
    assert simulate(rule, x0, 3).state_log_scale is None


@pytest.mark.parametrize("name", ["linear", "heads", "layered", "mixed"])
def test_metrics_are_those_of_the_states(name):
    rule = rules(np.asarray, np.random.default_rng(6))[name]
    x0 = np.random.default_rng(7).normal(size=(2, 4, 3))
    run = simulate(rule, x0, 10)
    expected = measure(np.stack([np.stack(plain(rule, x, 10)) for x in x0]))
    equal(run.metrics, expected, rtol=1e-8, atol=1e-8)


def test_multihead_of_one_head_and_layered_of_equal_rules_are_linear():
    rng = np.random.default_rng(10)
    A, H, x0 = attention(rng), weight(rng), rng.normal(size=(4, 3))
    expected = simulate(Linear(A, H), x0, 15).metrics
    equal(simulate(MultiHead(A[None], H[None]), x0, 15).metrics, expected)
    equal(simulate(Layered([Linear(A, H)] * 15), x0, 15).metrics, expected)
    # heads that share A add up
    equal(simulate(MultiHead(np.stack([A, A]), np.stack([H / 3, 2 * H / 3])), x0, 15).metrics, expected)


def test_layered_stops_early_and_reads_only_what_it_needs():
    rng = np.random.default_rng(11)
    A, H, x0 = attention(rng, 3), weight(rng, 3), rng.normal(size=(4, 3))
    rule = Layered(Linear(A[k], H[k]) for k in range(3))
    run = simulate(rule, x0, 2)
    equal({k: v[-1] for k, v in run.metrics.items()}, measure(plain(rule, x0, 2)[-1]), rtol=1e-10, atol=1e-10)


# --- selections -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(12)
    return Linear(attention(rng), weight(rng)), rng.normal(size=(4, 3))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, range(8)),
        ([0, 7], [0, 7]),
        ([7, 2, 2, 0], [0, 2, 7]),
        (range(1, 8, 3), [1, 4, 7]),
        (np.array([3, 5]), [3, 5]),
        (5, [5]),
        (np.int64(0), [0]),
        ((k for k in (1, 2)), [1, 2]),
    ],
    # a generator's text holds its address
    ids=lambda value: "generator" if inspect.isgenerator(value) else str(value),
)
def test_layers(small, layers, expected):
    run, full = simulate(*small, 7, layers=layers), simulate(*small, 7)
    assert list(run.layers) == list(expected)
    assert np.issubdtype(run.layers.dtype, np.integer)
    for name in OF_TOKENS:
        np.testing.assert_allclose(
            run.metrics[name], full.metrics[name][list(expected)], rtol=1e-13, atol=1e-13
        )


def test_metrics_selection(small):
    assert list(simulate(*small, 2).metrics) == list(OF_TOKENS)
    run = simulate(*small, 2, metrics=["log_norm", "cosine"])
    assert list(run.metrics) == ["cosine", "log_norm"]
    assert set(run.info.unmeasured_from) == {"cosine", "log_norm"}
    assert list(simulate(*small, 2, metrics="cosine").metrics) == ["cosine"]
    full = simulate(*small, 2).metrics
    for name in OF_TOKENS:
        # one metric alone may go another way than all of them
        alone = simulate(*small, 2, metrics=name).metrics[name]
        np.testing.assert_allclose(alone, full[name], rtol=1e-13, atol=1e-13)


def test_depth_zero_measures_the_input(small):
    run = simulate(*small, 0, keep_states=True)
    assert list(run.layers) == [0]
    equal({k: v[0] for k, v in run.metrics.items()}, measure(small[1]), rtol=1e-12, atol=1e-12)


def test_same_twice(small):
    first, second = (simulate(*small, 30, rng=0).metrics for _ in range(2))
    for name in OF_TOKENS:
        np.testing.assert_array_equal(first[name], second[name])


# --- great depth ------------------------------------------------------------------------


def test_depth_100_000_neither_overflows_nor_underflows():
    rng = np.random.default_rng(13)
    values = np.array(
        [
            [0.9, 0.4, -0.3],
            [3.0, 0.4, -0.3],
            [-4.0, 0.4, -0.3],
            [1e-3, 5e-4, -2e-4],
            [40.0, 3.0, 1.0],
            [-0.9, -0.8, -0.7],
        ]
    )
    rho = np.array([1.9, 4.0, -3.0, 1.001, 41.0, 0.65])
    Q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    H = Q @ (values[:, :, None] * Q.T)
    H = (H + np.swapaxes(H, -1, -2)) / 2
    A = (np.full((4, 4), 0.25) + np.eye(4)) / 2  # eigenvalues 1, 1/2, 1/2, 1/2
    layers = [0, 10, 50_000, 100_000]
    run = simulate(Linear(A, H), rng.normal(size=(4, 3)), 100_000, layers=layers, keep_states=True)
    for name in OF_TOKENS:
        # the last system keeps no mean: the ratio itself leaves the range, its logarithm does not
        good = np.isfinite(run.metrics[name]) | ((name == "hfc_lfc") & (np.arange(6) == 5)[:, None])
        assert np.all(good), name
        assert np.all(run.info.unmeasured_from[name] == -1), name
    slope = (run.metrics["log_norm"][:, 3] - run.metrics["log_norm"][:, 2]) / 50_000
    np.testing.assert_allclose(slope, np.log(np.abs(rho)), rtol=1e-10)
    assert np.all(np.isfinite(run.states))
    assert np.all(np.isfinite(run.state_log_scale))


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_scale_of_the_input_shifts_norms_only(small, scale):
    rule, x0 = small
    run, expected = simulate(rule, scale * x0, 50), simulate(rule, x0, 50)
    for name in OF_TOKENS:
        shifted = grown(name, expected.metrics[name], np.log(scale))
        np.testing.assert_allclose(run.metrics[name], shifted, rtol=1e-9, atol=1e-9, err_msg=name)


def test_large_weights_just_below_the_refusal():
    run = simulate(Linear(np.full((2, 2), 0.5), np.array([[2.0**390]])), [[1.0], [0.5]], 20)
    assert np.all(np.isfinite(run.metrics["log_norm"]))


# --- precision --------------------------------------------------------------------------


def test_float32(xp):
    rng = np.random.default_rng(14)
    A, H, x0 = attention(rng), weight(rng), rng.normal(size=(4, 3))
    expected = simulate(Linear(A, H), x0, 10)
    run = simulate(
        Linear(xp.array(A, "float32"), xp.array(H, "float32")), xp.array(x0, "float32"), 10, keep_states=True
    )
    assert str(run.states.dtype).endswith("float32")
    for name in OF_TOKENS:
        found, exact = xp.host(run.metrics[name]), expected.metrics[name]
        good = np.isfinite(found)
        assert np.all(good[:2]), name
        np.testing.assert_allclose(found[good], exact[good], rtol=2e-2, atol=2e-2, err_msg=name)
    deep = simulate(
        Linear(xp.array(A, "float32"), xp.array(H, "float32")), xp.array(x0, "float32"), 1000, layers=[1000]
    )
    assert np.isfinite(xp.host(deep.metrics["log_norm"])[0])


def test_dtype_argument(small):
    rule, x0 = small
    for dtype in ("float32", np.float32):
        assert simulate(rule, x0, 2, dtype=dtype, keep_states=True).states.dtype == np.float32
    single = Linear(rule.A.astype(np.float32), rule.H.astype(np.float32))
    assert (
        simulate(single, x0.astype(np.float32), 2, dtype="float64", keep_states=True).states.dtype
        == np.float64
    )
    assert simulate(single, x0, 2, keep_states=True).states.dtype == np.float64


# --- memory -----------------------------------------------------------------------------


def test_no_more_than_a_few_states_are_alive():
    n, d, batch = 24, 24, 40
    rng = np.random.default_rng(15)
    rule, x0 = Linear(attention(rng, batch, n=n), weight(rng, batch, d=d)), rng.normal(size=(batch, n, d))

    def peak(depth):
        tracemalloc.start()
        try:
            simulate(rule, x0, depth, layers=[depth], metrics="log_norm")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(200)  # imports and caches
    short, long = peak(100), peak(400)  # both on all threads
    assert long < short + 4 * x0.nbytes  # and not 300
    # two layers of states, their temporaries, and the eigensystems of the set-up
    assert long < 60 * x0.nbytes


# --- backends that are not there --------------------------------------------------------


@pytest.mark.skipif(cupy_status() is None, reason="a GPU answers: the refusal cannot be seen")
def test_cupy_without_a_gpu_is_one_clear_error(small):
    with pytest.raises(BackendError, match="backend: found 'cupy'") as caught:
        simulate(*small, 2, backend="cupy")
    assert isinstance(caught.value, RuntimeError)
    assert "Leave backend out" in str(caught.value)
    assert cupy_status() in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(cupy_status() is not None, reason=f"no GPU: {cupy_status()}")
def test_cupy_returns_what_numpy_returns(small):
    run, expected = simulate(*small, 50, backend="cupy", keep_states=True), simulate(*small, 50)
    assert all(isinstance(value, np.ndarray) for value in run.metrics.values())
    equal(run.metrics, expected.metrics)


# --- what a trajectory offers -----------------------------------------------------------


def test_rate():
    H = np.diag([1.0, 0.5])
    A = (np.full((4, 4), 0.25) + np.eye(4)) / 2  # eigenvalues 1, 1/2, 1/2, 1/2
    x0 = np.random.default_rng(16).normal(size=(3, 4, 2))
    run = simulate(Linear(A, H), x0, 400)
    # rho = 2, 1.5 | 1.5, 1.25: tokens (1.5 / 2)^2; minors 2 * 1.25, 1.5 * 1.5 over 4
    for metric, factor in {
        "log_token_diversity": (1.5 / 2) ** 2,
        "log_hfc_lfc": 1.5 / 2,
        "log_rank_gap": 2.5 / 4,
        "log_cosine_gap": (2.5 / 4) ** 2,
        "log_norm": 2.0,
        "log_spread": 1.5,
    }.items():
        assert run.rate(metric).shape == (3,)
        np.testing.assert_allclose(run.rate(metric), factor, rtol=1e-8, err_msg=metric)
    assert np.isnan(simulate(Linear(A, H), x0[0], 5, layers=[5]).rate("log_norm"))
    assert np.isnan(simulate(Linear(A, H), np.ones((4, 2)), 9).rate("log_token_diversity"))


def test_rate_skips_what_is_not_finite():
    trajectory = linsim.Trajectory(
        np.arange(6), {"log_norm": np.array([0.0, 1, 2, 3, np.nan, 5])}, simulate_info("log_norm"), None, None
    )
    assert trajectory.rate("log_norm") == pytest.approx(np.e)


def simulate_info(*names):
    return linsim.RunInfo("iterate", "test", np.array("x"), 0.0, 1e-6, {name: np.array(-1) for name in names})


def test_rate_on_every_backend(xp):
    rule = rules(xp.array, np.random.default_rng(0))["linear"]
    run = simulate(rule, xp.array(np.random.default_rng(1).normal(size=(2, 4, 3))), 20)
    assert run.rate("log_norm").shape == (2,)
    assert run.to_xarray().sizes == {"batch_0": 2, "layer": 21}


def test_to_xarray():
    rng = np.random.default_rng(17)
    run = simulate(Linear(attention(rng, 2, 1), weight(rng)), rng.normal(size=(3, 4, 3)), 5, layers=[0, 2, 5])
    ds = run.to_xarray()
    assert set(OF_TOKENS) <= set(ds.data_vars)
    assert dict(ds.sizes) == {"batch_0": 2, "batch_1": 3, "layer": 3}
    assert list(ds["layer"].values) == [0, 2, 5]
    for name in OF_TOKENS:
        np.testing.assert_array_equal(ds[name].values, run.metrics[name])
        assert ds[name].attrs["long_name"] == METRICS[name]
    assert ds.attrs["method"] == "parts"
    hidden = simulate(Linear(np.full((2, 2), 0.5), np.eye(2)), [[1.0, 2], [2, 4]], 3).to_xarray()
    assert hidden["log_rank_gap_unmeasured_from"].dims == ()


def test_plot():
    rng = np.random.default_rng(18)
    run = simulate(Linear(attention(rng, 3), weight(rng)), rng.normal(size=(4, 3)), 5)
    ax = run.plot()
    assert ax.get_ylabel() == "log_token_diversity"
    assert ax.get_xlabel() == "layer"
    assert len(ax.lines) == 3
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), run.metrics["log_token_diversity"][1])
    assert run.plot("cosine", ax=ax) is ax
    assert len(ax.lines) == 6


def test_info(small):
    info = simulate(*small, 9).info
    assert info.method == "parts"
    assert info.reason
    assert 0 < info.error_estimate < 1e-12
    assert set(info.unmeasured_from) == set(OF_TOKENS)
    assert simulate(*small, 9, method="iterate").info.reason.startswith("asked for")


@pytest.mark.parametrize("metrics", [None, ("log_norm", "cosine")])
def test_float32_parts_that_shrink_fast_stay_in_range(metrics):
    """A feature that a layer all but cancels, 2**-17 a layer, beside one that grows."""
    H = np.diag([-1 + 2.0**-17, 1.0]).astype(np.float32)
    A = np.array([[0.75, 0.25], [0.25, 0.75]], dtype=np.float32)
    x0 = np.array([[1, 0.5], [0, 1]], dtype=np.float32)
    run = linsim.simulate(linsim.Linear(A, H), x0, 24, metrics=metrics)
    X = x0.astype(float)
    for layer in range(25):
        assert abs(run.metrics["log_norm"][layer] - np.log(np.linalg.norm(X))) < 1e-4, layer
        X = X + A.astype(float) @ X @ H.astype(float)


def test_layers_that_only_a_walk_of_days_could_reach_are_refused():
    rule, x0 = linsim.Linear(linsim.attention.uniform(2), np.eye(1)), np.array([[1.0], [2.0]])
    with pytest.raises(linsim.LinsimError, match=r"layers: found layer 1073741825.*method='iterate'"):
        linsim.simulate(rule, x0, 2**30 + 1, layers=[2**30 + 1])
    assert np.isfinite(linsim.simulate(rule, x0, 2**30 + 1, layers=[2**30]).metrics["log_norm"][0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [1, 2])
def test_parts_stay_in_range_between_rescalings(dtype, power):
    """A layer may leave one rounding of a part, and what is another rounding below must still be a number."""
    info, layers = np.finfo(dtype), between_rescalings(np.zeros(1, dtype=dtype), power)

    def bits(count):
        return power * count * (1 - np.log2(float(info.eps))) - np.log2(float(info.eps))

    assert 1 <= layers <= 8
    assert bits(layers) <= -np.log2(float(info.smallest_normal))
    assert layers == 8 or bits(layers + 1) > -np.log2(float(info.smallest_normal))
