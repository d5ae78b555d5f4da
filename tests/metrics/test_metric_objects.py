"""One object is all that a metric is: what it sees of a layer, and what is read off the list of them."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import linsim
from linsim import Block, Layered, Linear, MultiHead, RandomWeights, simulate
from linsim._engines import lanes
from linsim._kernels import MEASURED
from linsim._namespace import namespace
from linsim.attention import FromTokens
from linsim.errors import InvalidValueError
from linsim.metrics import METRICS, REGISTRY, Metric, measure
from linsim.metrics._evaluate import evaluate
from linsim.metrics._metric import Layer, Measured
from linsim.metrics._registry import measured_by
from linsim.theory.bounds import GAPS

ROOT = Path(__file__).parents[2]
N, D, DEPTH = 4, 3, 6


# --- a metric of its own ---------------------------------------------------------------------


def _edges(view):
    """1/2 sum_ij A_ij |x_i - x_j|^2, summed over heads; no number where there is no attention."""
    x = view.at_own_scale()[-1][0]
    xp = namespace(x)
    x = xp.astype(x, xp.float64)
    zero = xp.zeros((x.shape[0], 1, 1), dtype=xp.float64)
    if view.layer.attention is None:
        return Measured(xp.full_like(zero, xp.nan), zero)
    square = xp.sum((x[:, :, None, :] - x[:, None, :, :]) ** 2, axis=-1)
    if view.layer.tokens is not None:
        square = square * view.layer.tokens * xp.matrix_transpose(view.layer.tokens)
    heads = sum(xp.astype(A, xp.float64) for A in view.layer.attention)
    value = xp.sum(heads * square, axis=(-1, -2), keepdims=True) / 2
    return Measured(value, 1e-14 * value)


EDGES = Metric(
    "edges", "sum over the attention graph of squared distances", _edges, needs=("attention",), degree=2
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(REGISTRY, "edges", EDGES)


def drawn(seed, *, n=N, d=D, batch=()):
    rng = np.random.default_rng(seed)
    A = rng.uniform(0.1, 1, (*batch, n, n))
    A /= A.sum(axis=-1, keepdims=True)
    return A, rng.normal(size=(*batch, d, d)) / 2, rng.normal(size=(*batch, n, d))


def energy(A, X):
    """The same as :func:`_edges`, term by term."""
    return sum(
        A[..., i, j] * np.sum((X[..., i, :] - X[..., j, :]) ** 2, axis=-1) / 2
        for i in range(X.shape[-2])
        for j in range(X.shape[-2])
    )


def along(pairs, x0, depth):
    """Plain loop: sum over heads of the energy at each layer, under the attention that it goes into."""
    X, out = x0, []
    for layer in range(depth + 1):
        heads = pairs(layer)
        out.append(sum(energy(A, X) for A, _ in heads) if heads else np.full(X.shape[:-2], np.nan))
        X = X + sum(A @ X @ H for A, H in heads)
    return np.stack(out, axis=-1)


@pytest.mark.parametrize("method", ["iterate", "modal"])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_every_layer_of_a_linear_rule_has_its_attention(method, batch):
    A, H, x0 = drawn(1, batch=batch)
    run = simulate(Linear(A, H), x0, DEPTH, metrics=["edges", "log_norm"], method=method)
    assert run.info.method == method
    np.testing.assert_allclose(
        run.metrics["edges"], along(lambda layer: [(A, H)], x0, DEPTH), rtol=1e-11, atol=0
    )
    assert run.to_xarray()["edges"].attrs["long_name"] == EDGES.meaning


def test_attention_of_powers():
    """Causal attention with equal entries on the diagonal has no eigenbasis."""
    _, H, x0 = drawn(2)
    A = np.array([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.5, 0], [0.2, 0.2, 0.1, 0.5]])
    run = simulate(Linear(A, H), x0, DEPTH, metrics=["edges"], method="modal")
    assert run.info.method == "squaring"
    np.testing.assert_allclose(run.metrics["edges"], along(lambda layer: [(A, H)], x0, DEPTH), rtol=1e-9)


def test_attention_of_one_system_serves_a_batch():
    A, H, _ = drawn(3)
    many, _, x0 = drawn(4, batch=(5,))
    for rule, own, start in ((Linear(A, H), A, x0), (Linear(many, H), many, x0[0])):
        run = simulate(rule, start, 3, metrics=["edges"])
        start = np.broadcast_to(start, (5, N, D))
        np.testing.assert_allclose(
            run.metrics["edges"], along(lambda layer, A=own: [(A, H)], start, 3), rtol=1e-11
        )


def test_every_head_and_every_layer_counts_and_past_the_last_there_is_none():
    A, H, x0 = drawn(5)
    B, G, _ = drawn(6)
    heads = MultiHead(np.stack([A, B]), np.stack([H, G]))
    run = simulate(heads, x0, DEPTH, metrics=["edges"])
    np.testing.assert_allclose(
        run.metrics["edges"], along(lambda layer: [(A, H), (B, G)], x0, DEPTH), rtol=1e-11
    )
    layers = [Linear(A, H), heads, Linear(B, G)]
    pairs = [[(A, H)], [(A, H), (B, G)], [(B, G)], []]
    run = simulate(Layered(layers), x0, 3, metrics=["edges"])
    np.testing.assert_allclose(run.metrics["edges"], along(pairs.__getitem__, x0, 3), rtol=1e-11)
    assert np.isnan(run.metrics["edges"][-1])
    run = simulate(Layered([layers[0]] * 3), x0, 3, metrics=["edges"])
    assert np.isnan(run.metrics["edges"]).tolist() == [False, False, False, True]


def test_more_digits_see_the_same_attention():
    A, H, x0 = drawn(7)
    from linsim._double import of, sliced
    from linsim._engines import doubled

    exact = doubled.stochastic(A[None])
    cut = [(sliced(exact, N, -1), of(H[None]), np.max(np.abs(A[None]), axis=-1, keepdims=True))]
    (state,) = doubled.states(x0[None], lambda layer: cut, [0])
    (seen,) = state.attention()
    np.testing.assert_allclose(seen[0], A, rtol=1e-15)


# --- attention that is drawn or worked out ---------------------------------------------------


def whole(run):
    """The states of a run as plain numbers."""
    return run.states * np.exp(run.state_log_scale)[..., None, None]


@pytest.mark.parametrize("rule", ["weights", "block"])
def test_attention_that_is_drawn_is_drawn_once(rule):
    """What a metric looks at is what the tokens go through, and looking changes no draw."""
    kept = []

    def attention(size, rng):
        A = linsim.attention.softmax(N, 5, size=(size,), rng=rng)
        kept.append(A)
        return A

    made = RandomWeights(attention) if rule == "weights" else Block(attention, norm="pre")
    x0 = drawn(8)[2]
    plain = {"method": "iterate", "keep_states": True, "rng": 0}
    blind = simulate(made, x0, DEPTH, metrics=["cosine"], **plain)
    assert len(kept) == DEPTH
    kept.clear()
    run = simulate(made, x0, DEPTH, metrics=["cosine", "edges"], keep_states=True, rng=0)
    assert len(kept) == DEPTH + 1  # and that of the layer after the last
    np.testing.assert_array_equal(run.metrics["cosine"], blind.metrics["cosine"])
    X = whole(run)
    expected = [energy(kept[layer][0], X[layer]) for layer in range(DEPTH + 1)]
    np.testing.assert_allclose(run.metrics["edges"], expected, rtol=1e-10)


@pytest.mark.parametrize("norm", [None, "pre"])
def test_attention_of_the_tokens_themselves(norm):
    query_key = drawn(9)[1]
    rule = Block(FromTokens(query_key=query_key, normalize=False), norm=norm)
    x0 = drawn(10)[2]
    run = simulate(rule, x0, 4, metrics=["edges"], keep_states=True, rng=1)
    X = whole(run)
    Y = X
    if norm:
        Y = X - X.mean(axis=-1, keepdims=True)
        Y = Y / np.sqrt(np.mean(Y**2, axis=-1, keepdims=True) + rule.norm_eps)
    scores = Y @ query_key @ np.swapaxes(Y, -1, -2)
    A = np.exp(scores - scores.max(axis=-1, keepdims=True))
    A /= A.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(run.metrics["edges"], energy(A, X), rtol=1e-9)
    fixed = drawn(11)[0]
    run = simulate(Block(fixed, norm=norm), x0, 4, metrics=["edges"], keep_states=True, rng=1)
    np.testing.assert_allclose(run.metrics["edges"], energy(fixed, whole(run)), rtol=1e-9)


# --- scale, tokens, nothing --------------------------------------------------------------------


def test_what_grows_with_x_is_put_back_at_any_scale():
    A, H, x0 = drawn(12)
    one = simulate(Linear(A, H), x0, 2, metrics=["edges"]).metrics["edges"]
    for power in (-500, -3, 400):
        run = simulate(Linear(A, H), x0 * 2.0**power, 2, metrics=["edges"])
        np.testing.assert_allclose(run.metrics["edges"], one * 2.0 ** (2 * power), rtol=1e-12)
    run = simulate(Linear(A, H), x0 * 2.0**600, 2, metrics=["edges"])
    assert run.metrics["edges"].tolist() == [np.inf] * 3  # larger than any double


def test_the_state_that_is_zero_has_a_size_and_no_ratio():
    assert [REGISTRY[name].of_nothing for name in ("edges", "log_norm")] == [0.0, -np.inf]
    assert np.isnan(REGISTRY["cosine"].of_nothing)
    A = np.full((2, 2), 0.5)
    run = simulate(Linear(A, -np.eye(2)), np.ones((2, 2)), 3, metrics=["edges", "cosine", "log_norm"])
    assert run.metrics["edges"].tolist() == [0, 0, 0, 0]
    assert run.metrics["log_norm"][1:].tolist() == [-np.inf] * 3
    assert np.all(np.isnan(run.metrics["cosine"][1:]))
    assert np.all(run.errors["cosine"][1:] == 0)


def test_a_mask_or_weights_of_tokens_reach_the_metric():
    from linsim._recorded import record
    from linsim._state import of_plain_tokens

    A, _, x0 = drawn(13, batch=(2,))
    state = of_plain_tokens(x0)
    weights = np.array([1.0, 0, 0, 2.0]).reshape(1, N, 1)
    found, _ = evaluate(state, ["edges"], layer=Layer((A,), weights))
    expected = energy(A * weights * weights.swapaxes(-1, -2), x0)
    np.testing.assert_allclose(found["edges"].value[:, 0, 0], expected, rtol=1e-12)

    state = dataclasses.replace(state, attention=lambda: [A])
    never = np.full((1, N, 1), -1.0)
    kept = record([state] * 2, [0, 1], ("edges",), x0, never, False, "", "", 0.0, tokens=weights)
    np.testing.assert_allclose(kept.values["edges"], np.stack([expected] * 2, axis=-1), rtol=1e-12)


def test_tokens_at_hand_have_no_attention():
    assert np.isnan(measure(drawn(14)[2], ["edges"])["edges"])


def test_a_limit_beyond_all_doubles_lets_pass_what_is_known():
    from linsim._recorded import Recorded, missing

    value, error = np.array([[1e300, 1e300, 2.0]]), np.array([[1e307, np.inf, 1e10]])
    label = np.asarray([""])
    found = Recorded({"hfc_lfc": value}, {"hfc_lfc": error}, label, label, np.zeros(1), {}, 1)
    assert missing(found, {"hfc_lfc": 1e9}).tolist() == [[[False, True, True]]]


def test_what_needs_attention_is_measured_where_it_is_named():
    A, H, x0 = drawn(17)
    for metrics in (None, "plain", "gaps"):
        assert "edges" not in simulate(Linear(A, H), x0, 1, metrics=metrics).metrics
        assert "edges" not in measure(x0, metrics)
    assert list(simulate(Linear(A, H), x0, 1, metrics=["edges", "cosine"]).metrics) == ["cosine", "edges"]


# --- the list ----------------------------------------------------------------------------------


def test_the_list_is_consistent():
    del REGISTRY["edges"]
    assert list(REGISTRY) == list(METRICS) == [metric.name for metric in REGISTRY.values()]
    gaps = [metric.gap for metric in REGISTRY.values() if metric.gap is not None]
    assert len(set(gaps)) == len(gaps)
    for metric in REGISTRY.values():
        assert metric.scale == ("log" if metric.name.startswith("log") else "linear")
        assert metric.gap is None or (REGISTRY[metric.gap].is_log and metric.limit is not None)
        assert metric.reach == -np.inf or metric.name in gaps
    # every number of the kernels is one metric's
    assert sorted(metric.slot for metric in REGISTRY.values() if metric.slot is not None) == sorted(MEASURED)
    # every gap with a bound is measured, in either regime by one metric
    assert {metric.law for metric in REGISTRY.values()} - {None} == set(GAPS)
    law = linsim.predict(*drawn(15)[:2])
    assert set(law.rates) <= set(GAPS)
    for gap in GAPS:
        assert all(measured_by(gap, smooth) in gaps for smooth in (True, False))
    assert (measured_by("cosine_gap", True), measured_by("cosine_gap", False)) == (
        "log_cosine_gap",
        "log_abs_cosine_gap",
    )


def test_a_metric_that_does_not_fit_is_refused():
    with pytest.raises(InvalidValueError, match="needs"):
        Metric("m", "", _edges, needs=("weights",))
    with pytest.raises(InvalidValueError, match="gap"):
        Metric("m", "", _edges, gap="distance")
    with pytest.raises(InvalidValueError, match="gap"):
        Metric("log_m", "", _edges, gap="log_distance")


SETTINGS = {
    "lanes": ({"n": 5, "d": 3, "batch": (4,)}, {"method": "lanes"}),
    "bands": ({"n": 260, "d": 3}, {"method": "bands"}),
    "modal": ({"n": 5, "d": 3, "batch": (4,)}, {"method": "modal"}),
    "iterate": ({"n": 5, "d": 3}, {"method": "iterate", "keep_states": True}),
}


@pytest.mark.parametrize("engine", SETTINGS)
def test_the_order_of_the_list_gives_no_metric_another_number(engine, monkeypatch):
    shape, options = SETTINGS[engine]
    A, H, x0 = drawn(16, **shape)
    names = [name for name, metric in REGISTRY.items() if metric.slot is not None]

    def run():
        return simulate(Linear(A, H), x0, 5, metrics=names, **options)

    before = run()
    assert before.info.method == engine
    turned = dict(reversed(REGISTRY.items()))
    for name in list(REGISTRY):
        monkeypatch.delitem(REGISTRY, name)
    for name, metric in turned.items():
        monkeypatch.setitem(REGISTRY, name, metric)
    # read off the list when it was imported
    monkeypatch.setattr(lanes, "METRICS", lanes.METRICS[::-1])
    after = run()
    assert list(after.metrics) == names[::-1]
    for name in names:
        np.testing.assert_array_equal(after.metrics[name], before.metrics[name], err_msg=name)
        np.testing.assert_array_equal(after.errors[name], before.errors[name], err_msg=name)


ONE_RUN = """
    import numpy as np, linsim
    from linsim._kernels import MEASURED
    rng = np.random.default_rng(0)
    A = rng.uniform(0.1, 1, (5, 5)); A /= A.sum(axis=1, keepdims=True)
    rule, x0 = linsim.Linear(A, np.diag([0.5, 0.2, -0.3])), rng.normal(size=(4, 5, 3))
    names = [name for name, metric in linsim.metrics.REGISTRY.items() if metric.slot is not None]
    for method in ("iterate", "modal"):
        run = linsim.simulate(rule, x0, 12, metrics=names, method=method)
        for name in names:
            print(run.info.method, name, *[float(x).hex() for x in run.metrics[name].ravel()])
    print(MEASURED[0])
"""


@pytest.mark.full
def test_the_order_of_the_kernels_gives_no_metric_another_number(tmp_path):
    """The same from a copy in which the kernels count from the other end."""
    shutil.copytree(ROOT / "linsim", tmp_path / "linsim", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "figures", tmp_path / "figures", ignore=shutil.ignore_patterns("__pycache__"))
    slots = tmp_path / "linsim" / "_kernels" / "slots.py"
    slots.write_text(slots.read_text(encoding="utf-8") + "\nMEASURED = MEASURED[::-1]\n", encoding="utf-8")
    said = []
    for root in (ROOT, tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(ONE_RUN)],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        said.append(done.stdout.splitlines())
    assert said[0][:-1] == said[1][:-1]
    assert said[0][-1] != said[1][-1]


# --- tables ------------------------------------------------------------------------------------


@functools.cache
def tables():
    spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["metrics", "compiled metrics"])
def test_no_table_is_stale(name):
    del REGISTRY["edges"]
    file, table = tables().TABLES[name]
    text = (ROOT / file).read_text(encoding="utf-8")
    assert tables().renewed(text, name, table()) == text, "run python docs/tables.py"


def test_every_metric_is_in_the_table():
    table = tables().metrics()
    assert [name for name in REGISTRY if f"`{name}`" not in table] == []  # the toy as well
    with pytest.raises(ValueError, match="0 places"):
        tables().renewed("no such place", "metrics", table)
