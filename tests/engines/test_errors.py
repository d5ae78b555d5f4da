"""A value with its error: honest for every metric and engine, and NaN only beyond the resolution.

Truth comes from arbitrary precision (``oracle``, or ``reliability`` where weights are drawn), or from a
plain loop in double precision where the run is in single.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import reliability as harness
from oracles import iterated as oracle
from oracles.contract import OF_TOKENS as METRICS
from oracles.contract import assert_within_errors

import linsim
from linsim import (
    Block,
    Deescalation,
    Layered,
    Linear,
    MultiHead,
    RandomWeights,
    _recorded,
    attention,
    simulate,
    tokens,
)
from linsim._double import of as pair_of
from linsim._double import sliced
from linsim._engines import doubled
from linsim._state import EMPTY
from linsim.errors import InvalidTypeError, InvalidValueError
from linsim.metrics import measure

PLAIN = [name for name in METRICS if not name.startswith("log")]
GAPS = [name for name in METRICS if name.startswith("log")]
#: errors are estimates of what 999 of 1,000 stay below; none of a handful is further off than this
MORE = 3.0

#: how engines are asked for
ENGINES = {
    "iterate": {"method": "iterate"},
    "parts": {"method": "parts"},
    "lanes": {"method": "lanes", "metrics": ["cosine", "token_similarity", "effective_rank"]},
    "modal": {"method": "modal"},
}
EPS = np.finfo(float).eps


def within(values, errors, truth, unit=4 * EPS, more=MORE):
    """Whether every finite value lies within its error of the truth, which is itself rounded."""
    values, errors, truth = (np.asarray(x, dtype=float) for x in (values, errors, truth))
    seen = np.isfinite(values)
    allowed = more * errors + unit * np.maximum(np.abs(truth), 1)
    return np.all(np.abs(values - truth)[seen] <= allowed[seen])


@functools.cache
def system(n=5, d=4, seed=1):
    rng = np.random.default_rng(seed)
    A = attention.softmax(n, 3, rng=seed)
    H = 0.4 * rng.standard_normal((d, d))
    return A, H, rng.standard_normal((n, d)) + rng.standard_normal(d)


@functools.cache
def truth(dtype):
    A, H, x0 = (np.asarray(x, dtype=dtype) for x in system())
    return oracle.trajectory(A, H, x0, LAYERS, digits=200)


LAYERS = [0, 1, 2, 5, 12, 30]


def run(engine, dtype="float64", **options):
    A, H, x0 = system()
    return simulate(Linear(A, H), x0, LAYERS[-1], layers=LAYERS, dtype=dtype, **ENGINES[engine], **options)


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_value_lies_within_its_error(engine, dtype):
    found, true = run(engine, dtype), truth(dtype)
    assert found.info.method == engine
    assert found.errors.keys() == found.metrics.keys()
    unit = np.finfo(dtype).eps
    for name, values in found.metrics.items():
        errors = found.errors[name]
        assert errors.shape == values.shape
        assert errors.dtype == np.float64
        assert np.all(errors >= 0)
        assert within(values, errors, true[name]), name
        # an ordinary system: a few hundred roundings, enlarged by the gap where a gap is small
        assert np.all(errors[:3] <= 1e4 * unit * np.maximum(1, np.abs(true[name][:3]))), name


def far_from_normal():
    rng = np.random.default_rng(4)
    P = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    H = P @ (np.diag([0.5, -0.3, 0.2, -0.9, 0.1]) + np.triu(np.full((5, 5), 300.0), 1)) @ P.T
    return attention.softmax(6, 3, rng=5), H, rng.standard_normal((6, 5))


@pytest.mark.parametrize("metrics", [None, ["cosine", "token_similarity", "effective_rank"]])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_errors_grow_with_what_the_layers_make_of_them(metrics, dtype):
    A, H, x0 = (x.astype(dtype) for x in far_from_normal())
    layers = [0, 1, 2, 4, 8, 16, 32]
    method = "lanes" if metrics else "parts"
    # nothing is hidden, so nothing goes again with more digits
    found = simulate(Linear(A, H), x0, 32, layers=layers, metrics=metrics, method=method, resolution=1e300)
    true = oracle.trajectory(A, H, x0, layers, digits=300)
    for name, values in found.metrics.items():
        assert within(values, found.errors[name], true[name]), name
    off = [
        np.abs(found.metrics[name] - true[name]) / np.maximum(1, np.abs(true[name])) for name in found.metrics
    ]
    assert np.nanmax(off) > 100 * np.finfo(dtype).eps  # more than any measurement rounds


def test_large_systems_too():
    rng = np.random.default_rng(2)
    n, d = 40, 272
    A, H = attention.softmax(n, 8, rng=3), rng.standard_normal((d, d)) / 20
    x0 = rng.standard_normal((n, d)) + 0.5
    names = ["token_similarity", "cosine", "log_token_diversity", "effective_rank"]
    single = simulate(Linear(A, H), x0, 6, metrics=names, dtype="float32")
    assert single.info.method == "bands"
    X, exact = x0.astype(np.float32).astype(float), A.astype(np.float32).astype(float)
    exact = exact / exact.sum(1, keepdims=True)
    for layer in range(7):
        true = harness._plain_metrics(X)
        for name in names:
            # the double loop's own rounding is nothing beside that of single precision
            assert within(single.metrics[name][layer], single.errors[name][layer], true[name], 1e-12), name
        X = X + exact @ X @ H.astype(np.float32).astype(float)


@pytest.mark.parametrize(
    "family", ["rule: multihead", "rule: layered", "rule: random weights", "rule: block, post"]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_other_rules_too(family, dtype):
    drawn = harness.draw(5, 2, family, dtype)
    found = harness.run(drawn)
    true, _ = harness.truth(drawn)
    for name, values in found.metrics.items():
        middle = [np.mean(at[name]) if harness.known(at[name]) else np.nan for at in true]
        known = np.isfinite(middle)
        assert within(values[known], found.errors[name][known], np.array(middle)[known]), name


def test_errors_have_the_shape_of_a_batch():
    A, H, x0 = system()
    found = simulate(Linear(A, H), np.stack([x0, x0[::-1], 2 * x0])[:, None], 3)
    assert all(errors.shape == (3, 1, 4) for errors in found.errors.values())


def test_what_is_known_exactly_has_no_error():
    found = simulate(Linear(attention.uniform(3), np.zeros((2, 2))), np.ones((3, 2)), 2)
    assert np.all(found.metrics["log_token_diversity"] == -np.inf)
    assert np.all(found.metrics["log_spread"] == -np.inf)
    assert np.all(found.errors["log_spread"] <= 16 * EPS)  # of measuring


# --- resolution -----------------------------------------------------------------------------


def doubtful(**options):
    """A run in which errors of all sizes occur."""
    A, H, x0 = far_from_normal()
    hook = Deescalation("output", function=lambda X: X)  # what hooks go through goes once only
    return simulate(Block(A, weights=H, norm=None, deescalation=hook), x0, 28, **options)


def limit(name, resolution, values):
    """The largest error of a value that is reported."""
    size = np.ones_like(values) if name in GAPS else np.maximum(1, np.abs(np.nan_to_num(values)))
    return resolution * size


@pytest.mark.parametrize("resolution", [1e-13, 1e-9, 1e-6, 1e-3, 1.0])
def test_a_value_is_nan_just_where_its_error_exceeds_the_resolution(resolution):
    found, all_of_it = doubtful(resolution=resolution), doubtful(resolution=1e300)
    assert found.info.resolution == resolution
    hidden = 0
    for name, values in found.metrics.items():
        beyond = ~(found.errors[name] <= limit(name, resolution, all_of_it.metrics[name]))
        assert np.array_equal(np.isnan(values), beyond), name
        hidden += np.count_nonzero(beyond)
    assert 0 < hidden < len(METRICS) * 28


def test_a_tighter_resolution_hides_and_a_wider_one_shows():
    runs = [doubtful(resolution=r) for r in (1e-13, 1e-10, 1e-6)]
    for name in METRICS:
        seen = [np.isfinite(found.metrics[name]) for found in runs]
        for tight, wide in itertools.pairwise(seen):
            assert np.all(wide[tight]), name  # what a tight one shows a wide one shows as well
    assert np.count_nonzero(np.isnan(runs[0].metrics["cosine"])) > np.count_nonzero(
        np.isnan(runs[2].metrics["cosine"])
    )


@pytest.mark.parametrize(("dtype", "plain"), [("float64", 1e-3), ("float32", 1e-2)])
def test_the_default_depends_on_the_metric_and_the_precision(dtype, plain):
    found = doubtful(dtype=dtype)
    all_of_it = doubtful(dtype=dtype, resolution=1e300)
    for name, values in found.metrics.items():
        allowed = limit(name, 1e-2 if name in GAPS else plain, all_of_it.metrics[name])
        assert np.array_equal(np.isnan(values), ~(found.errors[name] <= allowed)), name
    near = np.concatenate([found.errors[name] for name in PLAIN])
    assert np.any((near > plain / 10) & (near <= plain))
    assert np.any(near > plain)


@pytest.mark.parametrize(
    ("resolution", "error"),
    [(0, InvalidValueError), (-1e-3, InvalidValueError), (np.nan, InvalidValueError),
     (np.inf, InvalidValueError), ("1e-3", InvalidTypeError), ([1e-3], InvalidTypeError)],
)  # fmt: skip
def test_a_resolution_that_is_none_is_refused(resolution, error):
    A, H, x0 = system()
    with pytest.raises(error, match="resolution"):
        simulate(Linear(A, H), x0, 1, resolution=resolution)


# --- which metrics are asked for ------------------------------------------------------------


def test_plain_and_gaps_name_their_halves():
    A, H, x0 = system()
    plain = simulate(Linear(A, H), x0, 2, metrics="plain")
    gaps = simulate(Linear(A, H), x0, 2, metrics="gaps")
    both = simulate(Linear(A, H), x0, 2, metrics=["plain", "log_norm"])
    assert list(plain.metrics) == list(plain.errors) == PLAIN
    assert list(gaps.metrics) == list(gaps.errors) == GAPS
    assert set(both.metrics) == {*PLAIN, "log_norm"}
    assert set(PLAIN) | set(GAPS) == set(METRICS)
    assert set(measure(x0, "gaps")) == set(GAPS)


@pytest.mark.parametrize("method", ["iterate", "modal"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_value_does_not_depend_on_what_else_is_asked_for(method, dtype):
    A, H, x0 = system()

    def found(names):
        return simulate(Linear(A, H), x0, 30, layers=LAYERS, metrics=names, method=method, dtype=dtype)

    whole = found(None)
    for names in (*([name] for name in METRICS), "plain", "gaps", ["cosine", "log_rank_gap"]):
        some = found(names)
        for name, values in some.metrics.items():
            errors = some.errors[name] + whole.errors[name]
            assert within(values, errors, whole.metrics[name], more=1), name
            assert np.array_equal(np.isnan(values), np.isnan(whole.metrics[name])), name


# --- layer 0 --------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_input_is_measured_as_it_is_given(engine, dtype):
    found = run(engine, dtype)
    _, _, x0 = system()
    for name, value in measure(x0.astype(dtype), list(found.metrics)).items():
        if engine == "lanes":  # a kernel measures every layer in the precision of the run
            assert within(found.metrics[name][0], found.errors[name][0], value), name
        else:
            assert found.metrics[name][0] == value, name


# a token of another size, and one feature, are ordinary input
@pytest.mark.parametrize("factor", [1e-9, 1e9])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", ["linear", "heads", "layered", "random", "block"])
def test_whatever_the_rule_makes_of_it(rule, dtype, factor):
    A, H, x0 = system()
    rules = {
        "linear": Linear(A, 1e4 * H),
        "heads": MultiHead(np.stack([A, A]), np.stack([H, H.T])),
        "layered": Layered([Linear(A, H), Linear(A, H.T)]),
        "random": RandomWeights(A),
        "block": Block(A),
    }
    x0 = (x0 * np.array([factor, 1, 1, 1, 1])[:, None]).astype(dtype)
    found = simulate(rules[rule], x0, 2, dtype=dtype, rng=0)
    for name, value in measure(x0).items():
        assert np.isfinite(value)
        assert found.metrics[name][0] == value, name


# --- zero rows ------------------------------------------------------------------------------


PADDED = np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]])


@pytest.mark.parametrize("method", ["auto", "iterate", "modal"])
@pytest.mark.parametrize("metrics", [None, "cosine", ["cosine", "effective_rank"]])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_zero_row_that_stays_zero_has_no_direction(method, metrics, dtype):
    x0, H = np.array([[0.0, 0], [1, 0], [0, 1]]), np.diag([0.8, 0.1])
    found = simulate(Linear(PADDED, H), x0, 5, metrics=metrics, method=method, dtype=dtype)
    X = x0
    for layer in range(6):
        (u, v), n = X[1:], 3
        pair = u @ v / np.sqrt((u @ u) * (v @ v))  # of three pairs two have a zero row, and count 0
        value, error = found.metrics["cosine"][layer], found.errors["cosine"][layer]
        assert np.isfinite(value)
        # the diagonal of H is rounded to the precision of the run, once for each layer
        assert abs(value - pair / n) <= MORE * error + 10 * np.finfo(dtype).eps, layer
        X = X + PADDED @ X @ H


@pytest.mark.parametrize("method", ["auto", "iterate", "modal"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_zero_row_that_stays_zero_is_exactly_zero(method, dtype):
    rng = np.random.default_rng(6)
    n = 6
    A = np.zeros((n, n))
    A[:2, :2] = attention.softmax(2, 2, rng=1)  # two rows of padding look at each other
    A[2:, :] = attention.softmax(n, 3, rng=2)[2:]  # and all others look at everything
    x0 = rng.standard_normal((n, 4))
    x0[:2] = 0
    rule = Linear(A, 0.3 * rng.standard_normal((4, 4)))
    found = simulate(rule, x0, 40, method=method, dtype=dtype, keep_states=True)
    assert np.all(found.states[:, :2] == 0)
    assert np.all(np.any(found.states[:, 2:] != 0, axis=-1))
    assert not any(np.any(np.isnan(found.metrics[name])) for name in PLAIN)


def test_a_zero_row_that_looks_at_others_does_not_stay_zero():
    x0 = np.array([[0.0, 0], [1, 0], [0, 1]])
    found = simulate(Linear(attention.uniform(3), np.diag([0.8, 0.1])), x0, 3, keep_states=True)
    assert np.all(np.any(found.states[1:, 0] != 0, axis=-1))
    assert np.all(found.metrics["cosine"][1:] > 0.2)


def test_a_zero_row_of_layers_that_look_away_later():
    uniform, x0 = attention.uniform(3), np.array([[0.0, 0], [1, 0], [0, 1]])
    H = np.diag([0.8, 0.1])
    rule = Layered([Linear(PADDED, H), Linear(PADDED, H), Linear(uniform, H), Linear(PADDED, H)])
    found = simulate(rule, x0, 4, keep_states=True)
    assert np.array_equal(np.any(found.states[:, 0] != 0, axis=-1), [False, False, False, True, True])


# --- more digits ----------------------------------------------------------------------------


def sampler(dtype, asked, coupling):
    """Weights far from normal, with a memory: the k-th matrix depends on how often it was asked."""

    def sample(d, size, rng):
        asked.append(size)
        W = np.diag(np.random.default_rng(len(asked)).uniform(-1, 1, d)) + np.triu(
            np.full((d, d), coupling), 1
        )
        return np.broadcast_to(W.astype(dtype).astype(float), (size, d, d)).copy()

    return sample


@pytest.mark.parametrize(
    ("dtype", "step", "coupling"), [("float32", "float64", 100.0), ("float64", "double-double", 1e4)]
)
def test_samplers_are_asked_once_though_systems_go_again(dtype, step, coupling):
    A, _, x0 = system()
    A, x0 = A.astype(dtype), x0.astype(dtype)
    asked = []
    found = simulate(RandomWeights(A, kind=sampler(dtype, asked, coupling)), x0, 16, rng=0, dtype=dtype)
    assert found.info.fallbacks[step] == 1
    assert asked == [1] * 16
    pairs = sampler(dtype, [], coupling)
    true = oracle.trajectory(lambda layer: (A, pairs(4, 1, None)[0]), None, x0, range(17), digits=200)
    for name, values in found.metrics.items():
        assert within(values, found.errors[name], true[name]), name


def test_samplers_of_blocks_are_asked_once_though_systems_go_again():
    A, _, x0 = system()
    asked = []
    rule = Block(A, weights=sampler("float32", asked, 100.0), norm=None)
    found = simulate(rule, x0, 16, rng=0, dtype="float32")
    assert found.info.fallbacks["float64"] == 1
    assert asked == [1] * 16


def test_a_hook_is_called_in_the_dtype_of_the_run_only():
    A, _, x0 = system()
    dtypes = {"float32": set(), "float64": set()}
    W = sampler("float32", [], 100.0)(4, 1, None)[0]

    def found(dtype, hooks):
        def hook(X):
            dtypes[dtype].add(str(X.dtype))
            return X

        step = Deescalation("output", function=hook) if hooks else ()
        return simulate(Block(A, weights=W, norm=None, deescalation=step), x0, 16, rng=0, dtype=dtype)

    # without the hook some values need more digits; with it nothing goes again
    assert found("float32", False).info.fallbacks["float64"] == 1
    for dtype, seen in dtypes.items():
        assert "float64" not in found(dtype, True).info.fallbacks
        assert seen == {dtype}


# --- inputs that people have ----------------------------------------------------------------


def mean_cosine(X):
    X = np.asarray(X, dtype=float)
    size = np.linalg.norm(X, axis=1, keepdims=True)
    U = np.divide(X, size, out=np.zeros_like(X), where=size > 0)
    return ((U.sum(0) ** 2).sum() - (U * U).sum()) / (len(U) * (len(U) - 1))


@pytest.mark.parametrize("change", ["a token 30 times the others", "twenty tokens at a fiftieth"])
def test_the_size_of_tokens_hides_no_cosine(change):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((128, 768)) + 0.7 * rng.standard_normal(768)
    if change.startswith("a"):
        X[0] *= 30
    else:
        X[-20:] /= 50
    X = X.astype(np.float32)
    # both are sums of 128 x 768 products in double precision
    assert abs(measure(X, "cosine")["cosine"] - mean_cosine(X)) <= 128 * 768 * np.finfo(float).eps


def test_a_hook_that_changes_nothing_hides_nothing():
    x0, A = tokens.gaussian(6, 4, rng=0), attention.uniform(6)
    rule = {"weights": 0.01 * np.eye(4), "norm": None}
    hook = Deescalation("output", function=lambda X: X)
    hooked = simulate(Block(A, deescalation=hook, **rule), x0, 60, rng=0)
    bare = simulate(Block(A, **rule), x0, 60, rng=0)
    for name in PLAIN:
        assert np.all(np.isfinite(hooked.metrics[name])), name
        errors = hooked.errors[name] + bare.errors[name]
        assert within(hooked.metrics[name], errors, bare.metrics[name]), name


def exactly(A):
    """Attention of floats with rows that sum to 1, in double precision."""
    A = np.asarray(A, dtype=float)
    return A / A.sum(1, keepdims=True)


def in_turn(matrices):
    following = iter(matrices)
    return lambda d, size, rng: np.broadcast_to(next(following), (size, d, d)).copy()


def test_a_block_in_single_precision_knows_its_cosine():
    n, d, depth = 64, 128, 12
    g = np.random.default_rng(0)
    drawn = [(g.standard_normal((d, d)) / d**0.5).astype(np.float32) for _ in range(depth)]
    x0, A = (x.astype(np.float32) for x in (tokens.gaussian(n, d, rng=0), attention.softmax(n, 64, rng=3)))
    rule = Block(A, weights=in_turn(drawn), norm="post")
    found = simulate(rule, x0, depth, rng=0, dtype="float32", metrics=["cosine"])
    X, true = x0.astype(float), [mean_cosine(x0)]
    for W in drawn:
        Y = X + exactly(A) @ X @ W.astype(float)
        Y = Y - Y.mean(1, keepdims=True)
        X = Y / np.sqrt((Y * Y).mean(1, keepdims=True) + 1e-5)
        true.append(mean_cosine(X))
    assert np.all(np.isfinite(found.metrics["cosine"]))
    assert within(found.metrics["cosine"], found.errors["cosine"], true, 1e-12)
    assert np.max(found.errors["cosine"]) < 1e-3


def test_random_weights_in_single_precision_lose_no_rank():
    n, d, depth = 64, 128, 12
    g = np.random.default_rng(1)
    drawn = [(g.standard_normal((d, d)) / d**0.5).astype(np.float32) for _ in range(depth)]
    x0, A = (x.astype(np.float32) for x in (tokens.gaussian(n, d, rng=0), attention.softmax(n, 64, rng=1)))
    names = ["effective_rank", "cosine", "stable_rank"]
    rule = RandomWeights(A, kind=in_turn(drawn))
    found = simulate(rule, x0, depth, rng=0, dtype="float32", metrics=names)
    X = x0.astype(float)
    for layer in range(depth + 1):
        true = harness._plain_metrics(X)
        for name in names:
            value, error = found.metrics[name][layer], found.errors[name][layer]
            assert np.isfinite(value)
            assert within(value, error, true[name], 1e-12), (name, layer)
        if layer < depth:
            X = X + exactly(A) @ X @ drawn[layer].astype(float)


def test_one_seed_is_one_network_in_every_precision():
    x0, depth, d = tokens.gaussian(16, 32, rng=0), 3, 32
    rule = RandomWeights(attention.uniform(16))
    single, double = (
        simulate(rule, x0, depth, rng=1, dtype=dtype, metrics="log_norm") for dtype in ("float32", "float64")
    )
    # weights are rounded to the precision: each layer moves what it adds by eps times a row sum at most
    allowed = depth * d * np.finfo(np.float32).eps
    apart = np.abs(single.metrics["log_norm"] - double.metrics["log_norm"])
    assert np.all(apart <= allowed)


def test_rounding_of_a_product_in_single_precision_decides_no_verdict():
    n, d, rank = 8, 64, 8
    A = attention.from_spectrum(np.linspace(1, 0.1, n), rng=0)
    U = np.random.default_rng(0).standard_normal((d, rank))
    H = (-0.5 * U).astype(np.float32) @ np.linalg.pinv(U).astype(np.float32)
    law = linsim.predict(A.astype(np.float32), H)
    assert str(law.regime) == "balanced"
    assert not law.rank_collapse


def test_a_second_pass_sees_the_draws_of_the_first_whoever_drew_them():
    """A sampler is asked once a layer; feed-forward weights are drawn again, and are the same."""
    drawn = {}

    def sampler(d, size, rng):
        drawn.setdefault("W", []).append(rng.standard_normal((size, d, d)))
        return drawn["W"][-1]

    original = linsim._draws.rectangle

    def noted(*args, **kwargs):
        drawn.setdefault("feed-forward", []).append(original(*args, **kwargs))
        return drawn["feed-forward"][-1]

    block = Block(attention.uniform(5), weights=sampler, feed_forward="relu", width=6)
    x0 = tokens.gaussian(5, 4, rng=0).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linsim._draws, "rectangle", noted)
        run = simulate(block, x0, 6, rng=0, dtype="float32", resolution=1e-9)
    assert run.info.fallbacks["float64"] == 1
    assert len(drawn["W"]) == 6
    assert len(drawn["feed-forward"]) == 24
    for first, second in zip(drawn["feed-forward"][:12], drawn["feed-forward"][12:], strict=True):
        np.testing.assert_array_equal(first, second)
    # the same network with its draws given, in float64 throughout
    plain = simulate(block, x0, 6, rng=0, dtype="float32")
    for name in ("log_norm", "token_similarity", "cosine", "effective_rank"):
        off = np.abs(run.metrics[name] - plain.metrics[name])[1:]
        assert np.all(off <= 3 * plain.errors[name][1:]), name
        assert np.any(off > 0), name


# --- pairs of doubles ---------------------------------------------------------------------


def missing_the_dominant_mode():
    """Tokens without the stationary mean, which a layer doubles while it makes the rest grow by 7/6."""
    return np.array([[1 / 2, 1 / 2], [1 / 3, 2 / 3]]), np.eye(1), np.array([[3.0], [-2.0]])


def test_pairs_say_where_they_end():
    """Their centre is rounding from layer 140 on, and from 200 on leaves no digit of the rest."""
    A, H, x0 = missing_the_dominant_mode()
    layers = (0, 50, 100, 1000, 3000)
    run = simulate(Linear(A, H), x0, layers[-1], layers=layers, method="iterate")
    assert run.info.fallbacks["double-double"] == 1
    assert_within_errors(run, oracle.trajectory(A, H, x0, layers, digits=2000))
    for name in ("log_norm", "log_spread", "cosine", "token_similarity"):
        np.testing.assert_array_equal(np.isnan(run.metrics[name]), [False] * 3 + [True] * 2, err_msg=name)


def test_states_are_those_whose_norm_is_told():
    A, H, x0 = missing_the_dominant_mode()
    run = simulate(Linear(A, H), x0, 100, layers=[0, 100], metrics=["log_spread"], keep_states=True)
    assert run.info.fallbacks["double-double"] == 1
    first, second = run.states[-1, :, 0]
    assert first / second == pytest.approx(-1.5, rel=1e-3)
    spread = np.log(abs(first - second)) + run.state_log_scale[-1]
    assert abs(spread - run.metrics["log_spread"][-1]) <= 3 * run.errors["log_spread"][-1]


def test_pairs_keep_features_that_large_ones_do_not_feed():
    """Weights of 1e3 to 1e4 above the diagonal: the first feature is far below what it feeds."""
    system = harness.draw(0, 130)
    run = harness.run(system)
    assert run.info.fallbacks["double-double"] == 1
    for name in PLAIN:
        assert np.all(np.isfinite(run.metrics[name])), name


def test_a_state_below_its_twin_is_not_nothing():
    """The tokens stay as they are; a move of their twin grows by 4 a layer, past the range of doubles."""
    x0, A, H = np.array([[[32.0], [-32.0]]]), np.full((1, 2, 2), 0.5), np.array([[[3.0]]])
    pairs = [(sliced(doubled.stochastic(A), 2, -1), pair_of(H), np.max(A, axis=-1, keepdims=True))]
    for state in doubled.states(x0, lambda _: pairs, [0, 100, 700, 1200]):
        assert np.all(state.rows > EMPTY / 2)
        assert np.any(state.noise > EMPTY / 2)


@pytest.mark.parametrize("metrics", [None, ["log_norm", "token_similarity"]])
def test_what_cancels_to_nothing_is_told_from_zero(metrics):
    """-1/4 and -3/4 are -1, and -0.3 and -0.7 are not, in floats."""
    A, x0 = np.stack([np.eye(3)] * 2), np.array([[1.0, 2], [3, 4], [5, -1.3]])
    for shares, is_zero in (((-0.25, -0.75), True), ((-0.3, -0.7), False)):
        H = np.stack([share * np.eye(2) for share in shares])
        run = simulate(MultiHead(A, H), x0, 2, metrics=metrics)
        truth = oracle.trajectory(list(A), list(H), x0, (0, 1, 2), digits=200)
        np.testing.assert_array_equal(run.metrics["log_norm"][1:] == -np.inf, is_zero)
        if is_zero:
            assert all(np.all(error[1:] == 0) for error in run.errors.values())
            assert np.all(np.isnan(run.metrics["token_similarity"][1:]))
        else:
            assert_within_errors(run, truth)


@pytest.mark.parametrize("limit", [1e-6, 1e300, math.inf])
def test_what_the_largest_error_says_is_what_every_value_says(limit):
    """A metric whose errors are all small needs no look at its values; what nothing is known of is gone."""
    rng = np.random.default_rng(0)
    names, strange = ("cosine", "hfc_lfc", "log_norm", "log_rank_gap"), [np.inf, np.nan, -np.inf, 0.0]
    found = 0
    for _ in range(40):
        of = [{name: 10.0 ** rng.uniform(-12, 3, (3, 5)) for name in names} for _ in range(2)]
        for x in of:
            for name in names[: rng.integers(5)]:
                x[name][rng.integers(3), rng.integers(5)] = rng.choice(strange)
            for name in names[rng.integers(5) :]:
                x[name] *= 1e-9
        values, errors = of[0], {name: np.abs(x) for name, x in of[1].items()}
        allowed, one = dict.fromkeys(names, limit), np.array(["x"])
        gone = _recorded.missing(_recorded.Recorded(values, errors, one, one, np.zeros(1), {}, 3), allowed)
        stacks = (np.array(list(x.values())) for x in (values, errors))
        np.testing.assert_array_equal(gone, _recorded.too_far_off(*stacks, names, allowed))
        found += np.count_nonzero(gone)
    assert found > 0
