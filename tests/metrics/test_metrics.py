"""linsim.metrics.measure against the definitions, on every array backend."""

from __future__ import annotations

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from oracles import iterated as oracle
from oracles.contract import OF_TOKENS, grown

from linsim.metrics import measure

LOGS = [name for name in OF_TOKENS if name.startswith("log_")]
PLAIN = [name for name in OF_TOKENS if not name.startswith("log_")]


def by_definition(x):
    """Every metric of one (n, d) matrix with nothing clever in it."""
    n = len(x)
    mean = np.repeat(x.mean(axis=0, keepdims=True), n, axis=0)
    low, high = np.linalg.norm(mean), np.linalg.norm(x - mean)
    cosines = [
        x[i] @ x[j] / (np.linalg.norm(x[i]) * np.linalg.norm(x[j]))
        for i in range(n)
        for j in range(n)
        if i != j
    ]
    s = np.linalg.svd(x, compute_uv=False)
    p = s[s > 0] / s.sum()
    erank = np.exp(-np.sum(p * np.log(p)))
    return {
        "token_similarity": low**2 / np.linalg.norm(x) ** 2,
        "log_token_diversity": np.log(1 - low**2 / np.linalg.norm(x) ** 2),
        "hfc_lfc": high / low,
        "log_hfc_lfc": np.log(high / low),
        "cosine": np.mean(cosines),
        "log_cosine_gap": np.log(1 - np.mean(cosines)),
        "abs_cosine": np.mean(np.abs(cosines)),
        "log_abs_cosine_gap": np.log(1 - np.mean(np.abs(cosines))),
        "effective_rank": erank,
        "log_effective_rank_gap": np.log(erank - 1),
        "stable_rank": np.sum(s**2) / s[0] ** 2,
        "log_rank_gap": np.log(s[1] / s[0]),
        "log_norm": np.log(np.linalg.norm(x)),
        "log_spread": np.log(max(np.linalg.norm(p - q) for p in x for q in x)),
    }


def values(x, metrics=None):
    return {name: float(value) for name, value in measure(x, metrics).items()}


@pytest.mark.parametrize("shape", [(2, 2), (5, 3), (3, 5), (2, 7), (7, 2), (12, 12)])
def test_definitions(xp, shape):
    x = np.random.default_rng(shape).normal(size=(4, *shape)) + 1
    found = measure(xp.array(x))
    assert list(found) == list(OF_TOKENS)
    for k in range(4):
        for name, expected in by_definition(x[k]).items():
            np.testing.assert_allclose(
                xp.host(found[name])[k], expected, rtol=1e-10, atol=1e-12, err_msg=name
            )


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (2, 1, 3)])
def test_batch_axes_namespace_and_device(xp, batch):
    x = np.random.default_rng(1).normal(size=(*batch, 4, 3))
    found = measure(xp.array(x))
    for name, value in found.items():
        assert tuple(value.shape) == batch
        assert xp.owns(value)
        assert str(value.dtype).endswith("float64")
        flat = x.reshape(-1, 4, 3)
        each = np.array([float(measure(one)[name]) for one in flat]).reshape(batch)
        # not bitwise: BLAS sums a stack in another order
        np.testing.assert_allclose(xp.host(value), each, rtol=1e-13, atol=1e-14, err_msg=name)


def test_one_metric_by_name(xp):
    x = xp.array(np.eye(3))
    assert list(measure(x, "cosine")) == ["cosine"]
    assert list(measure(x, ("log_norm", "cosine", "cosine"))) == ["cosine", "log_norm"]
    assert list(measure(x, (name for name in ["log_norm"]))) == ["log_norm"]


def test_lists_and_integers():
    found = values([[1, 0], [0, 1]], ["cosine", "stable_rank"])
    assert found == {"cosine": 0.0, "stable_rank": pytest.approx(2.0, rel=1e-15)}  # a few roundings


# --- edge values, one row of a table each -----------------------------------------------

INF, NAN = np.inf, np.nan
EDGES = {
    "one token": (
        [[3.0, 4.0]],
        {
            "token_similarity": 1,
            "log_token_diversity": -INF,
            "hfc_lfc": 0,
            "log_hfc_lfc": -INF,
            "cosine": 1,
            "log_cosine_gap": -INF,
            "abs_cosine": 1,
            "log_abs_cosine_gap": -INF,
            "effective_rank": 1,
            "log_effective_rank_gap": -INF,
            "stable_rank": 1,
            "log_rank_gap": -INF,
            "log_norm": np.log(5),
            "log_spread": -INF,
        },
    ),
    "one feature": (
        [[1.0], [2.0], [4.0]],
        {
            "cosine": 1,
            "log_cosine_gap": -INF,
            "log_abs_cosine_gap": -INF,
            "effective_rank": 1,
            "log_effective_rank_gap": -INF,
            "log_rank_gap": -INF,
            "stable_rank": 1,
            "log_spread": np.log(3),
        },
    ),
    "one feature, both signs": (
        [[1.0], [2.0], [-4.0]],
        {"cosine": -1 / 3, "log_cosine_gap": np.log(4 / 3), "abs_cosine": 1, "log_abs_cosine_gap": -INF},
    ),
    "equal rows": (
        [[0.1, 0.7, 0.3]] * 5,
        {
            "token_similarity": 1,
            "log_token_diversity": -INF,
            "hfc_lfc": 0,
            "log_hfc_lfc": -INF,
            "cosine": 1,
            "abs_cosine": 1,
            "effective_rank": 1,
            "stable_rank": 1,
            "log_spread": -INF,
        },
    ),
    "zero row": (
        [[3.0, 1.0], [0.0, 0.0], [3.0, 1.0]],
        {
            "cosine": 1 / 3,
            "log_cosine_gap": np.log(2 / 3),
            "abs_cosine": 1 / 3,
            "log_abs_cosine_gap": np.log(2 / 3),
            "token_similarity": 2 / 3,
        },
    ),
    "zero first row": ([[0.0, 0.0], [1.0, 0.0]], {"cosine": 0, "log_cosine_gap": 0, "log_abs_cosine_gap": 0}),
    "one row left": (
        [[0.0, 0.0], [0.0, 0.0], [0.1, 0.7]],
        {"cosine": 0, "log_cosine_gap": 0, "effective_rank": 1},
    ),
    "zero state": (
        np.zeros((3, 2)),
        dict.fromkeys(OF_TOKENS, NAN) | {"log_norm": -INF, "log_spread": -INF},
    ),
    "mean zero": (
        [[1.0, 2.0], [-1.0, -2.0]],
        {"token_similarity": 0, "log_token_diversity": 0, "cosine": -1},
    ),
    "orthogonal": (np.eye(3), {"cosine": 0, "effective_rank": 3, "stable_rank": 3, "log_rank_gap": 0}),
}


@pytest.mark.parametrize("case", EDGES)
def test_edge_values(xp, case):
    x, expected = EDGES[case]
    found = measure(xp.array(x))
    for name, value in expected.items():
        np.testing.assert_allclose(float(xp.host(found[name])), value, rtol=1e-13, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("case", EDGES)
def test_an_edge_in_a_batch_disturbs_no_neighbour(xp, case):
    x = np.asarray(EDGES[case][0])
    ordinary = np.random.default_rng(5).normal(size=x.shape)
    found = measure(xp.array(np.stack([ordinary, x, ordinary])))
    for name, value in measure(ordinary).items():
        np.testing.assert_allclose(
            xp.host(found[name])[[0, 2]], float(value), rtol=1e-13, atol=1e-14, err_msg=name
        )


def test_what_rounding_hides_is_nan_and_never_a_floor():
    # equal up to rounding, and rank one up to rounding
    x = np.outer(np.ones(4), [0.1, 0.7, 0.3]) * (1 + 1e-16 * np.arange(4))[:, None]
    x = np.vstack([x, 3 * x])
    found = values(x)
    for name in ("log_cosine_gap", "log_abs_cosine_gap", "log_rank_gap", "log_effective_rank_gap"):
        assert np.isnan(found[name]) or found[name] == -np.inf, name
    assert found["cosine"] == pytest.approx(1, abs=1e-15)
    assert found["effective_rank"] == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("closeness", [1e-3, 1e-6, 1e-9])
def test_gaps_of_nearly_equal_rows_are_true_or_nan(closeness):
    rng = np.random.default_rng(3)
    x = 1 + closeness * rng.normal(size=(5, 3))
    truth, found = oracle.of_state(x), values(x)
    for name in LOGS:
        assert np.isnan(found[name]) or abs(found[name] - truth[name]) < 1e-6, name
    # differences of rows are exact here, so diversity must be there
    assert abs(found["log_token_diversity"] - truth["log_token_diversity"]) < 1e-9 / closeness * 1e-6


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_scale(xp, scale):
    if xp.name == "cupy" and scale < 1e-307:
        scale = 1e-300  # GPU arithmetic on subnormal numbers is not what is tested
    x = np.array([[2.0, -1.0, 0.0], [1.0, 3.0, 1.0], [1.0, 1.0, 2.0], [-4.0, 0.0, 1.0]])
    reference, found = values(x), measure(xp.array(x * scale))
    for name in OF_TOKENS:
        expected = grown(name, reference[name], np.log(scale))
        assert float(xp.host(found[name])) == pytest.approx(expected, rel=1e-12, abs=1e-12), name


def test_float32_is_measured_in_its_own_precision(xp):
    x = np.random.default_rng(8).normal(size=(3, 6, 4)).astype(np.float32)
    found = measure(xp.array(x, dtype="float32"))
    for k in range(3):
        for name, expected in by_definition(x[k].astype(np.float64)).items():
            assert str(found[name].dtype).endswith("float64")
            np.testing.assert_allclose(xp.host(found[name])[k], expected, rtol=2e-5, atol=2e-5, err_msg=name)
    close = np.float32(1) + np.float32(1e-6) * x
    gap = xp.host(measure(xp.array(close, dtype="float32"))["log_cosine_gap"])
    truth = [oracle.of_state(one)["log_cosine_gap"] for one in close]
    assert np.all(np.isnan(gap) | (np.abs(gap - truth) < 1e-3))


def test_definitions_in_high_precision():
    rng = np.random.default_rng(11)
    for n, d in [(2, 2), (4, 3), (3, 5)]:
        x = rng.normal(size=(n, d))
        truth, found = oracle.of_state(x), values(x)
        for name in OF_TOKENS:
            assert found[name] == pytest.approx(truth[name], rel=1e-12, abs=1e-12), name


def test_the_oracle_agrees_with_a_general_svd():
    x = np.random.default_rng(2).normal(size=(4, 5))
    s = oracle.plain_svd(x.tolist())
    assert oracle.of_state(x)["log_rank_gap"] == pytest.approx(np.log(s[1] / s[0]), rel=1e-14)
    assert oracle.of_state(x)["stable_rank"] == pytest.approx(sum(v * v for v in s) / s[0] ** 2, rel=1e-14)


# --- invariances ------------------------------------------------------------------------

matrices = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-8, 8, width=16)
).filter(lambda x: np.linalg.norm(x) > 1e-2)


def same(found, expected, x, shift=0.0):
    # a gap that rounding hides may be hidden in one of the two only
    for name in OF_TOKENS:
        p, q = grown(name, float(found[name]), -shift), float(expected[name])
        if np.isnan(p) or np.isnan(q):
            assert name in LOGS or (np.isnan(p) and np.isnan(q)), name
        elif np.isinf(p) or np.isinf(q) or max(abs(p), abs(q)) > 60:
            assert name in LOGS or name == "hfc_lfc", name
            assert p == q or abs(p) > 25 or abs(q) > 25, name
        elif name == "hfc_lfc":
            assert abs(np.log1p(p) - np.log1p(q)) < 1e-5, name
        else:
            assert abs(p - q) <= 1e-5 * max(1, abs(q)), name


@hypothesis.given(matrices, st.integers(0, 2**32 - 1))
def test_right_rotation_changes_nothing(x, seed):
    # zero rows stay zero only without rotation's rounding, which a product with 0 has not
    Q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(x.shape[1], x.shape[1])))
    same(measure(x @ Q), measure(x), x)


@hypothesis.given(matrices, st.integers(-900, 900))
def test_scaling_by_a_power_of_two_changes_nothing(x, k):
    found, expected = measure(np.ldexp(x, k)), measure(x)
    for name in OF_TOKENS:
        scaled = grown(name, expected[name], k * np.log(2))
        np.testing.assert_allclose(found[name], scaled, rtol=1e-12, atol=1e-12, err_msg=name)


@hypothesis.given(matrices, st.floats(1e-3, 1e3))
def test_scaling(x, factor):
    same(measure(-factor * x), measure(x), x, shift=np.log(factor))


@hypothesis.given(matrices, st.randoms(use_true_random=False))
def test_order_of_tokens_does_not_matter(x, random):
    order = list(range(len(x)))
    random.shuffle(order)
    same(measure(x[order]), measure(x), x)


@hypothesis.given(matrices)
def test_reported_gaps_are_true(x):
    truth, found = oracle.of_state(x, digits=120), measure(x)
    for name in LOGS:
        if np.isfinite(float(found[name])):
            assert abs(float(found[name]) - truth[name]) <= 1e-6, name


@hypothesis.given(matrices)
def test_ranges(x):
    found = {name: float(value) for name, value in measure(x).items()}
    tiny = 1e-12
    assert -tiny <= found["token_similarity"] <= 1 + tiny
    assert -1 / max(1, len(x) - 1) - tiny <= found["cosine"] <= 1 + tiny
    assert abs(found["cosine"]) - tiny <= found["abs_cosine"] <= 1 + tiny
    rank = min(x.shape)
    assert 1 - tiny <= found["stable_rank"] <= rank + tiny
    assert 1 - tiny <= found["effective_rank"] <= rank + tiny
    assert found["stable_rank"] <= found["effective_rank"] + tiny


@pytest.mark.parametrize(
    ("rows", "factor"), [(slice(0, 1), 30.0), (slice(-20, None), 1 / 50), (slice(0, 1), 1e6)]
)
def test_tokens_of_other_sizes_do_not_hide_the_cosine_of_float32(rows, factor):
    """One token far larger than the rest (an attention sink), or padding far smaller: ordinary numbers."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((128, 768)) + 0.7 * rng.standard_normal(768)
    X[rows] *= factor
    X = X.astype(np.float32)
    U = X.astype(float) / np.linalg.norm(X.astype(float), axis=1, keepdims=True)
    expected = (np.sum(np.sum(U, axis=0) ** 2) - len(U)) / (len(U) * (len(U) - 1))
    # a row is found as mean plus difference, which are off by a rounding of the largest row
    heights = np.linalg.norm(X.astype(float), axis=1)
    turn = 4 * np.finfo(float).eps * np.sqrt(len(X)) * np.max(heights) / np.min(heights)
    np.testing.assert_allclose(measure(X, "cosine")["cosine"], expected, rtol=0, atol=2 * turn)
