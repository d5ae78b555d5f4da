"""Gaps against arbitrary-precision truth: accurate at any depth, or NaN.

``oracle`` iterates the state as it stands with thousands of digits and takes
every metric from its definition; it shares no line with linsim.
"""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from oracles import iterated as oracle
from oracles.contract import OF_TOKENS
from oracles.systems import (
    BOUND,
    CASES,
    EPS,
    KINDS,
    LOGS,
    MANY_HEADS,
    STRUCTURED,
    assert_true_or_nan,
    dyadic_columns,
    nearly_degenerate,
    seeded,
    softmax,
    systems,
    weights,
    worst_error,
)

import linsim
from linsim import Layered, Linear, MultiHead, simulate
from linsim._engines import digits

# --- building blocks, none of them from linsim ------------------------------------------


def run_of(case):
    if isinstance(case.A, list):
        rule = MultiHead(np.stack(case.A), np.stack(case.H))
    else:
        rule = Linear(case.A, case.H)
    return simulate(rule, case.x0, case.layers[-1], layers=case.layers)


def truth_of(case):
    return oracle.trajectory(
        case.A, case.H, case.x0, case.layers, digits=case.digits, symmetric=case.symmetric
    )


@pytest.mark.sample(4)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_gap_to_depth_1200(case):
    assert worst_error(run_of(case), truth_of(case)) <= BOUND


def test_multihead_and_layered_content_and_spread():
    """Rules without a feature direction of their own: everything but angle and rank gaps keeps its digits."""
    rng = seeded("heads")
    A = [softmax(rng, 4) for _ in range(3)]
    H = [weights(rng, 0.8, 0.3, -0.2), weights(rng, 0.5, 0.3, 0.1), weights(rng, 0.6, -0.4, 0.2, condition=5)]
    x0, layers = rng.normal(size=(4, 3)), (0, 1, 2, 5, 20, 100, 300)
    heads = simulate(MultiHead(np.stack(A), np.stack(H)), x0, 300, layers=layers)
    truth = {"heads": oracle.trajectory(A, H, x0, layers, digits=600)}
    rules = [Linear(A[k % 3], H[(k // 2) % 3]) for k in range(300)]
    layered = simulate(Layered(rules), x0, 300, layers=layers)
    truth["layered"] = oracle.trajectory(lambda k: (A[k % 3], H[(k // 2) % 3]), None, x0, layers, digits=600)
    for run, expected in ((heads, truth["heads"]), (layered, truth["layered"])):
        for name in ("log_token_diversity", "log_hfc_lfc", "log_norm", "log_spread"):
            assert np.all(np.abs(run.metrics[name] - expected[name]) <= BOUND), name
        assert_true_or_nan(run, expected)


def test_plain_iteration_misses_these_bounds():
    """The bounds bite: what everybody writes first fails them by far."""
    case = CASES[0]
    layers, x, found = case.layers[:8], case.x0.copy(), []
    for layer in range(layers[-1] + 1):
        if layer in layers:
            # NaN-free on purpose: what plain double arithmetic would report
            centred = x - x.mean(axis=0)
            found.append(2 * np.log(np.linalg.norm(centred) / np.linalg.norm(x)))
        x = x + case.A @ x @ case.H
    truth = oracle.trajectory(case.A, case.H, case.x0, layers, digits=700)["log_token_diversity"]
    error = np.abs(np.array(found) - truth)
    assert np.all(error[:5] <= BOUND)  # early layers hide nothing
    assert error[-1] > 10  # wrong by e^10 and more at layer 400
    assert (
        worst_error(
            simulate(Linear(case.A, case.H), case.x0, 400, layers=layers),
            oracle.trajectory(case.A, case.H, case.x0, layers, digits=700),
        )
        <= BOUND
    )


# --- a rounding floor is never reported as a value --------------------------------------


# depths at which the gap is there in any case: NaN would be a lack of care
ORDINARY = {
    "Jordan H, smoothing": ("log_token_diversity", "log_hfc_lfc", "log_norm", "log_spread"),
    "Jordan A, smoothing": LOGS,
    "block diagonal, smoothing": (
        "log_rank_gap",
        "log_effective_rank_gap",
        "log_norm",
        "log_token_diversity",
    ),
    "block diagonal, unequal": ("log_rank_gap", "log_effective_rank_gap", "log_norm", "log_token_diversity"),
    "causal": LOGS,
    "anti-causal": LOGS,
    "opposite rho": ("log_token_diversity", "log_hfc_lfc", "log_norm", "log_spread"),
    "equal rows": ("log_norm",),
    "two equal rows": ("log_norm", "log_token_diversity"),
    "zero row": LOGS,
    "one huge row": ("log_norm", "log_token_diversity", "log_spread"),
    "nearly equal rows": ("log_norm",),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_systems_are_true_or_nan(name):
    A, H, x0 = STRUCTURED[name]
    layers = (0, 1, 2, 3, 5, 20, 60, 200, 400)
    run = simulate(Linear(A, H), x0, layers[-1], layers=layers)
    truth = oracle.trajectory(A, H, x0, layers, digits=900, symmetric=dyadic_columns(A))
    assert_true_or_nan(run, truth)
    for metric in ORDINARY.get(name, ()):
        finite = np.isfinite(truth[metric])
        assert np.all(np.isfinite(run.metrics[metric][finite])), metric


@pytest.mark.parametrize("name", MANY_HEADS)
def test_structured_heads_are_true_or_nan(name):
    A, H, x0 = MANY_HEADS[name]
    layers = (0, 1, 2, 5, 20, 60, 200, 400)
    run = simulate(MultiHead(np.stack(A), np.stack(H)), x0, layers[-1], layers=layers)
    doubly = all(dyadic_columns(a) for a in A)
    assert_true_or_nan(run, oracle.trajectory(A, H, x0, layers, digits=900, symmetric=doubly))


def true_or_nan_near(seed):
    A, H, x0 = nearly_degenerate(seed)
    layers = (0, 1, 2, 5, 20, 60, 200, 500)
    run = simulate(Linear(A, H), x0, layers[-1], layers=layers)
    truth = oracle.trajectory(A, H, x0, layers, digits=1600, symmetric=dyadic_columns(A))
    assert_true_or_nan(run, truth, digits=1600)


# in 1077 and 2241 the leading dyad and the rest change places
@pytest.mark.sample(3)
@pytest.mark.parametrize("seed", [*range(16), 1077, 2241])
def test_nearly_degenerate_systems_are_true_or_nan(seed):
    true_or_nan_near(seed)


@pytest.mark.full
@pytest.mark.parametrize("hundred", range(30))
def test_nearly_degenerate_systems_are_true_or_nan_full(hundred):
    for seed in range(1000 + 100 * hundred, 1100 + 100 * hundred):
        true_or_nan_near(seed)


# Small integers make ties, zeros, defective blocks and invariant subspaces likely.


def no_floor(system):
    A, H, x0 = system
    layers = (0, 1, 2, 5, 20, 60, 150)
    run = simulate(Linear(A, H), x0, layers[-1], layers=layers)
    truth = oracle.trajectory(A, H, x0, layers, digits=600, symmetric=dyadic_columns(A))
    assert_true_or_nan(run, truth)


@hypothesis.settings(max_examples=60)
@hypothesis.given(systems())
def test_a_rounding_floor_is_never_a_value(system):
    no_floor(system)


@pytest.mark.full
@hypothesis.settings(max_examples=20_000)
@hypothesis.given(systems())
def test_a_rounding_floor_is_never_a_value_full(system):
    no_floor(system)


@st.composite
def ordinary_systems(draw):
    """Generic systems with a simple real dominant pair at lambda = 1, well apart from the rest."""
    n, d = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(sorted(KINDS)))
    A = KINDS[kind](rng, n)
    values = sorted(rng.uniform(-0.8, 1.5, size=d))
    values[-1] = values[-1] + 0.3 if values[-1] > 0 else 0.5
    return (
        kind,
        A,
        weights(rng, *values, condition=draw(st.sampled_from([1.0, 3.0, 10.0]))),
        rng.normal(size=(n, d)),
    )


def ordinary(system, layers):
    kind, A, H, x0 = system
    run = simulate(Linear(A, H), x0, layers[-1], layers=layers)
    truth = oracle.trajectory(A, H, x0, layers, digits=1400, symmetric=kind == "symmetric")
    assert worst_error(run, truth) <= BOUND


@hypothesis.settings(max_examples=25)
@hypothesis.given(ordinary_systems())
def test_ordinary_systems_have_every_gap(system):
    ordinary(system, (0, 1, 3, 20, 300))


@pytest.mark.full
@hypothesis.settings(max_examples=1000)
@hypothesis.given(ordinary_systems())
def test_ordinary_systems_have_every_gap_full(system):
    ordinary(system, (0, 1, 3, 20, 300, 1200))


def test_the_oracle_sees_a_symmetric_matrix_as_exactly_stochastic():
    """Row sums of 1 +- 1e-16 would floor the truth itself near 1e-32."""
    case = next(c for c in CASES if c.name.startswith("smoothing-symmetric-5x4"))
    truth = oracle.trajectory(case.A, case.H, case.x0, (0, 400), digits=700, symmetric=True)
    assert truth["log_token_diversity"][-1] < np.log(1e-100)


def test_the_oracle_needs_no_more_digits():
    case = CASES[0]
    few = oracle.trajectory(case.A, case.H, case.x0, (0, 5, 300), digits=500)
    many = oracle.trajectory(case.A, case.H, case.x0, (0, 5, 300), digits=900)
    for name in OF_TOKENS:
        np.testing.assert_allclose(few[name], many[name], rtol=1e-15, err_msg=name)


def test_info_says_what_was_split():
    kinds = {
        c.name: str(run_of(c).info.split)
        for c in CASES
        if c.name.startswith(("smoothing-pair", "sharpening-sym"))
    }
    assert set(kinds.values()) <= {"constant direction", "token mode and feature", "token mode"}
    assert linsim.RunInfo is type(run_of(CASES[-1]).info)


def test_tokens_below_the_rounding_of_others_keep_their_angles():
    """The last tokens see none of the larger ones, however far they decay below those."""
    A = np.triu(np.random.default_rng(3).uniform(0.2, 1, (4, 4)))
    A /= A.sum(axis=1, keepdims=True)
    x0 = np.random.default_rng(4).normal(size=(4, 3))
    layers = (0, 5, 20, 100, 300)
    run = simulate(Linear(A, -0.5 * np.eye(3)), x0, 300, layers=layers)
    assert_true_or_nan(run, oracle.trajectory(A, -0.5 * np.eye(3), x0, layers, digits=900))
    sizes = np.linalg.norm(
        simulate(Linear(A, -0.5 * np.eye(3)), x0, 300, layers=[300], keep_states=True).states[0], axis=-1
    )
    assert sizes.min() < EPS**2 * sizes.max()
    assert np.all(run.errors["abs_cosine"] < 1e-10)


@pytest.mark.parametrize("kind", ["heads", "layers"])
@pytest.mark.parametrize("centre", [True, False])
def test_an_input_that_misses_the_constant_mode_shows_no_rounding_as_a_value(kind, centre, monkeypatch):
    rng = np.random.default_rng(5)
    A = [linsim.attention.doubly_stochastic(4, rng=rng) for _ in range(2)]
    H = [0.4 * np.eye(3) + 0.1 * rng.normal(size=(3, 3)) for _ in range(2)]
    x0 = rng.normal(size=(4, 3))
    x0 = x0 - x0.mean(axis=0) if centre else x0
    layers = (0, 1, 5, 20, 80, 300)
    if kind == "heads":
        rule = MultiHead(np.stack(A), np.stack(H))
        truth = oracle.trajectory(A, H, x0, layers, digits=900, symmetric=True)
    else:
        rule = Layered([Linear(A[k % 2], H[k % 2]) for k in range(300)])
        truth = oracle.trajectory(
            lambda k: (A[k % 2], H[k % 2]), None, x0, layers, digits=900, symmetric=True
        )
    run = simulate(rule, x0, 300, layers=layers)
    assert_true_or_nan(run, truth)
    assert run.info.fallbacks.get("double-double", 0) == centre
    assert np.isfinite(run.metrics["log_norm"][-1])
    # without more digits only rounding would be left to show
    monkeypatch.setattr(digits, "MORE_DIGITS", 0.0)
    run = simulate(rule, x0, 300, layers=layers)
    assert_true_or_nan(run, truth)
    assert np.isnan(run.metrics["log_norm"][-1]) == centre


def test_rows_that_the_leading_pair_lost_are_measured_as_they_stand():
    """Two tokens fall to 1e-94 of the rest, and to exactly nothing in the dyad that is taken off."""
    A = np.eye(5)
    A[2:, 2:] = [[0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]]
    H = np.array([[-2, 1], [0, -2]]) / 3
    x0 = np.array([[0.0, 1], [0, 1], [0, 0], [0, 0], [-1, 0]])
    layers = (0, 60, 150)
    assert_true_or_nan(
        simulate(Linear(A, H), x0, 150, layers=layers), oracle.trajectory(A, H, x0, layers, digits=600)
    )
