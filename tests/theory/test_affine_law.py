"""The law of layers with a bias, token scales and attention beyond the simplex.

Beside it stands one matrix for the whole layer, with one more coordinate that is always 1: its eigenvalues
come from NumPy and know nothing of A and H.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from linsim import Layered, Linear, MultiHead, attention, predict, simulate
from linsim.errors import NotCoveredError
from linsim.testing import Refuted, Supported, falsify, systems
from linsim.theory.bounds import GAPS

DEPTHS = np.array([0, 1, 2, 3, 5, 9, 20, 60, 200])
#: what simulated gaps may be off by
ROUNDING = 1e-7


def softmax(rng, n, sharpness=1.0):
    W = np.exp(sharpness * rng.normal(size=(n, n)))
    return W / W.sum(axis=1, keepdims=True)


def drawn(seed, declared, driven):
    """A random system: a rule and tokens."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    A = softmax(rng, n)
    A = (1 - (share := rng.choice([0.0, 0.5]))) * A + share * np.eye(n)
    w, factor = rng.uniform(-1, 1, 2)
    A = {
        "stochastic": lambda: A,
        "centred": lambda: attention.centred(A),
        "laplacian": lambda: attention.laplacian(A),
        "shaped": lambda: attention.shaped(A, alpha=1 + w, gamma=factor),
        "attnscale": lambda: attention.attnscale(A, w),
        "differential": lambda: attention.differential(A, softmax(rng, n), factor),
        "sigmoid": lambda: attention.sigmoid(rng.normal(size=(n, n))),
        "any": lambda: attention.general(rng.normal(size=(n, n)) / np.sqrt(n)),
    }[declared]()
    H = rng.normal(size=(d, d)) / np.sqrt(d) + rng.choice([-0.7, 0.0, 0.4]) * np.eye(d)
    bias = rng.normal(size=d) * rng.choice([0.1, 1.0, 10.0]) if driven else None
    return Linear(A, H, bias=bias), rng.normal(size=(n, d))


SUMS = ("stochastic", "centred", "laplacian", "shaped", "attnscale", "differential")
ANY = ("sigmoid", "any")
seeds = st.integers(0, 10**6)
FEW = settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=1000)


def measured(gap, law, run):
    if gap == "cosine_gap":
        return run.metrics["log_cosine_gap" if law.input_convergence else "log_abs_cosine_gap"]
    return run.metrics[f"log_{gap}"]


def check_bounds(declared, driven, seed):
    """Every gap lies between its bounds, at every depth."""
    rule, x0 = drawn(seed, declared, driven)
    law = predict(rule, x0=x0)
    run = simulate(rule, x0, int(DEPTHS[-1]), layers=DEPTHS)
    for gap in GAPS:
        found, bound = np.asarray(measured(gap, law, run)), law.log_bound(gap, DEPTHS)
        assert not np.any(np.isnan(bound))
        there = np.isfinite(found)
        assert np.all(found[there] <= bound[there] + ROUNDING), gap
        if gap in ("token_diversity", "hfc_lfc"):
            low = law.log_lower_bound(gap, DEPTHS)
            assert not np.any(np.isnan(low))
            assert np.all(found[there] >= low[there] - ROUNDING), gap


@pytest.mark.sample(3)
@pytest.mark.parametrize("declared", SUMS)
@FEW
@given(seed=seeds)
def test_bounds_with_a_bias_hold_at_every_depth(declared, seed):
    check_bounds(declared, True, seed)


@pytest.mark.sample(3)
@pytest.mark.parametrize("declared", SUMS[1:] + ANY)
@FEW
@given(seed=seeds)
def test_bounds_beyond_the_simplex_hold_at_every_depth(declared, seed):
    check_bounds(declared, False, seed)


@pytest.mark.full
@pytest.mark.parametrize("driven", [True, False])
@pytest.mark.parametrize("declared", SUMS + ANY)
@MANY
@given(seed=seeds)
def test_bounds_hold_at_length(declared, driven, seed):
    assume(not (driven and declared in ANY))
    check_bounds(declared, driven, seed)


def moduli_of_one_matrix(rule):
    """Moduli of the eigenvalues of x -> M x, x = (vec of X, 1): of constant states and of all others."""
    ((A, H),) = rule.heads(0)
    n, d = A.shape[-1], H.shape[-1]
    M = np.eye(n * d) + np.kron(A, H.T)
    if rule.bias is not None:
        M = np.block([[M, np.tile(rule.bias, n)[:, None]], [np.zeros((1, n * d)), np.ones((1, 1))]])
    # a basis of the states that differ between tokens, modulo those that do not
    Q = np.linalg.svd(np.ones((1, n)))[2].T
    T = np.kron(Q, np.eye(d))
    if rule.bias is not None:
        T = np.block([[T, np.zeros((n * d, 1))], [np.zeros((1, n * d)), np.ones((1, 1))]])
    M = T.T @ M @ T
    same = np.r_[np.arange(d), np.arange(n * d, M.shape[0])]
    other = np.setdiff1d(np.arange(M.shape[0]), same)
    return [
        np.sort(np.abs(np.linalg.eigvals(M[np.ix_(part, part)])))[::-1] if part.size else np.zeros(1)
        for part in (same, other)
    ]


@pytest.mark.parametrize("driven", [True, False])
@pytest.mark.parametrize("declared", SUMS)
@FEW
@given(seed=seeds)
def test_regime_and_rate_are_those_of_one_matrix(declared, driven, seed):
    rule, _ = drawn(seed, declared, driven)
    law = predict(rule)
    constant, other = moduli_of_one_matrix(rule)
    ratio = other[0] / constant[0]
    assume(abs(np.log(ratio)) > 1e-5)
    assert law.regime == ("smoothing" if ratio < 1 else "sharpening")
    assert law.input_convergence == (ratio < 1)
    assert law.margin == pytest.approx(-np.log(ratio), abs=1e-6)
    assert law.rates["token_diversity"] == pytest.approx(min(ratio, 1.0) ** 2, rel=1e-6)


@pytest.mark.parametrize("declared", SUMS + ANY)
def test_gaps_close_at_the_predicted_rates(declared):
    """Slopes from layer 300 to 400 of systems whose next modes are not too near."""
    checked = 0
    for seed in range(60):
        if checked >= 8:
            break
        rule, x0 = drawn(seed, declared, declared in SUMS and seed % 2 == 0)
        law = predict(rule, x0=x0)
        gaps = [
            gap
            for gap, rate in law.rates.items()
            if rate < 1 and law.relaxations[gap] ** 300 < 1e-4 and law.beats.get(gap, np.inf) == np.inf
        ]
        if not gaps:
            continue
        run = simulate(rule, x0, 400, layers=[300, 400])
        for gap in gaps:
            found = np.asarray(measured(gap, law, run))
            if np.all(np.isfinite(found)):
                slope = np.exp((found[1] - found[0]) / 100)
                assert slope == pytest.approx(law.rates[gap], rel=1e-5), (seed, gap)
                checked += 1
    assert checked >= 4


@pytest.mark.parametrize("declared", SUMS + ANY)
def test_hfc_lfc_tends_to_that_of_the_dominant_vector(declared):
    checked = 0
    for seed in range(12):
        rule, x0 = drawn(seed, declared, declared in SUMS and seed % 3 == 0)
        law = predict(rule, x0=x0)
        if np.isnan(law.limit_hfc_lfc) or max(law.relaxations.values()) > 0.97 or checked > 3:
            continue
        last = simulate(rule, x0, 1000, layers=[1000], metrics="hfc_lfc").metrics["hfc_lfc"][-1]
        assert last == pytest.approx(law.limit_hfc_lfc, rel=1e-6, abs=1e-6)
        checked += 1
    assert checked >= 2


def test_a_bias_decides_where_every_mode_shrinks():
    A, x0 = np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([[1.0, 2.0], [0.0, -1.0]])
    H, bias = np.diag([-0.5, -0.25]), np.array([1.0, 3.0])
    plain, driven = predict(A, H, x0=x0), predict(Linear(A, H, bias=bias), x0=x0)
    assert (plain.regime, driven.regime) == ("sharpening", "smoothing")
    # modes 1 + mu / 2 of the other token vector: 3/4 and 7/8; the drive has modulus 1
    assert driven.rates["token_diversity"] == pytest.approx((7 / 8) ** 2)
    assert driven.rates["rank_gap"] == pytest.approx(7 / 8)
    # the fixed point is -b H^-1
    run = simulate(Linear(A, H, bias=bias), x0, 400, layers=[400], keep_states=True)
    state = run.states[-1] * np.exp(run.state_log_scale[-1])
    np.testing.assert_allclose(state, [[2.0, 12.0]] * 2, rtol=1e-12)


def test_linear_growth_where_the_bias_meets_a_null_vector():
    A, x0 = np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([[1.0, 2.0], [0.0, -1.0]])
    H = np.diag([0.0, -0.25])
    law = predict(Linear(A, H, bias=[1.0, 0.0]), x0=x0)
    assert (law.input_convergence, law.limit_rank) == (True, 1)
    run = simulate(
        Linear(A, H, bias=[1.0, 0.0]), x0, 1000, layers=[100, 1000], method="iterate", metrics="log_hfc_lfc"
    )
    assert run.metrics["log_hfc_lfc"][0] - run.metrics["log_hfc_lfc"][1] == pytest.approx(
        np.log(10), rel=1e-2
    )
    # along the other vector there is nothing to grow
    still = predict(Linear(A, H, bias=[0.0, 1.0]), x0=x0)
    assert not still.input_convergence


def test_an_input_at_the_fixed_point_never_grows_with_the_constant_modes():
    """c + f = 0 along each weight vector: what a generic input smooths by is not there."""
    A, H, bias = np.array([[0.75, 0.25], [0.25, 0.75]]), np.diag([0.4, 0.25]), np.array([1.0, 2.0])
    x0 = -bias / np.diag(H) + np.array([[1.0, 1.0], [-1.0, -1.0]])
    rule = Linear(A, H, bias=bias)
    assert predict(rule).regime == "smoothing"
    assert predict(rule, x0=x0).regime == "sharpening"
    run = simulate(rule, x0, 60, layers=[60], metrics="log_hfc_lfc")
    # the other mode grows by 1.2 a layer beside a constant part that stays
    assert run.metrics["log_hfc_lfc"][0] > 60 * np.log(1.2) - 4


def test_a_bias_of_zero_is_none():
    rule, x0 = drawn(3, "stochastic", False)
    zero = Linear(rule.A, rule.H, bias=np.zeros(rule.d))
    assert predict(zero).rates == predict(rule).rates
    found, plain = (
        simulate(r, x0, 50, method="iterate").metrics["log_token_diversity"] for r in (zero, rule)
    )
    np.testing.assert_allclose(found, plain, atol=1e-11)


def several(seed):
    """Two heads, or a cycle of two layers, with a bias: a rule, and the matrix of one period."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    A = [(np.eye(n) + softmax(rng, n)) / 2 for _ in range(2)]
    H = [rng.normal(size=(d, d)) / np.sqrt(d) / 2 - rng.choice([0.0, 0.4, 0.7]) * np.eye(d) for _ in range(2)]
    rows = rng.normal(size=(2, d))
    if seed % 2:
        rule = MultiHead(np.stack(A), np.stack(H), bias=rows[0])
        layers = [(list(zip(A, H, strict=True)), rows[0])]
    else:
        rule = Layered([Linear(A[0], H[0], bias=rows[0]), Linear(A[1], H[1])])
        layers = [([(A[0], H[0])], rows[0]), ([(A[1], H[1])], 0 * rows[1])]
    M = np.eye(n * d + 1)
    for heads, row in layers:
        one = np.eye(n * d) + sum(np.kron(a, h.T) for a, h in heads)
        M = np.block([[one, np.tile(row, n)[:, None]], [np.zeros((1, n * d)), np.ones((1, 1))]]) @ M
    return rule, M, n, d, len(layers), rng.normal(size=(n, d))


@FEW
@given(seed=seeds)
def test_heads_and_cycles_with_a_bias_are_those_of_one_matrix(seed):
    rule, M, n, d, period, _ = several(seed)
    law = predict(rule)
    Q = np.linalg.svd(np.ones((1, n)))[2].T
    T = np.block([[np.kron(Q, np.eye(d)), np.zeros((n * d, 1))], [np.zeros((1, n * d)), np.ones((1, 1))]])
    M = T.T @ M @ T
    same = np.r_[np.arange(d), n * d]
    other = np.arange(d, n * d)
    constant, rest = (np.max(np.abs(np.linalg.eigvals(M[np.ix_(p, p)]))) for p in (same, other))
    assume(abs(np.log(rest / constant)) > 1e-5)
    assert law.regime == ("smoothing" if rest < constant else "sharpening")
    assert law.margin == pytest.approx(np.log(constant / rest) / period, abs=1e-6)
    wanted = min(rest / constant, 1.0) ** (2 / period)
    assert law.rates["token_diversity"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("heads", [True, False])
def test_gaps_of_heads_and_cycles_with_a_bias_close_as_predicted(heads):
    checked = 0
    for seed in range(1 - heads, 16, 2):
        if checked >= 5:
            break
        rule, _, _, _, _, x0 = several(seed + heads * 2)
        if isinstance(rule, Layered):
            law = predict(rule)
            rule = Layered([*rule.rules] * 150)
        else:
            law = predict(rule)
        run = simulate(rule, x0, 300, layers=[200, 300])
        for gap in ("token_diversity", "cosine_gap", "rank_gap"):
            found = np.asarray(measured(gap, law, run))
            if law.rates[gap] == 1 or law.relaxations[gap] ** 200 > 1e-5 or not np.all(np.isfinite(found)):
                continue
            assert np.exp((found[1] - found[0]) / 100) == pytest.approx(law.rates[gap], rel=1e-2), (
                seed,
                gap,
            )  # pairs beat
            checked += 1
    assert checked >= 3


def test_what_has_no_law_says_what_to_do():
    rule, x0 = drawn(5, "stochastic", False)
    scaled = MultiHead(
        rule.A[None].repeat(2, 0),
        np.stack([rule.H, -rule.H]),
        scale=np.arange(1.0, rule.n + 1),
        bias=np.ones(rule.d),
    )
    with pytest.raises(NotCoveredError, match=r"different numbers.*linsim\.simulate"):
        predict(scaled)
    simulate(scaled, x0, 2)
    with pytest.raises(NotCoveredError, match="different numbers"):
        predict(Linear(attention.sigmoid(np.diag(np.arange(rule.n))), rule.H, bias=np.ones(rule.d)))


# --- claims about a bias, over systems of linsim.testing -----------------------------------------


def driven(system):
    """The law of the same layer with a bias that the first token happens to be."""
    assume(np.any(system.x0[0] != 0))
    law = predict(Linear(system.A, system.H, bias=system.x0[0]), x0=system.x0)
    assume(abs(law.margin) > 0.01 and abs(system.law.margin) > 0.01)
    return law


def never_changes_the_regime(system):
    return driven(system).regime == system.law.regime


def always_smooths(system):
    return driven(system).input_convergence


def angles_stay_faster_than_tokens(system):
    """True without a bias: q_rank < q_tok unless they tie."""
    law = driven(system)
    assume(law.input_convergence and 0 < law.rates["token_diversity"] < 0.99 and min(system.x0.shape) > 2)
    return law.rates["cosine_gap"] < law.rates["token_diversity"] * (1 - 1e-6)


def smoothing_stays(system):
    """True: a bias adds to the constant part alone."""
    assume(system.law.regime == "smoothing")
    return driven(system).regime == "smoothing"


def rest_does_not_see_it(system):
    """True: what tells tokens apart is the same at every layer."""
    rules = [Linear(system.A, system.H), Linear(system.A, system.H, bias=np.ones(system.x0.shape[1]))]
    runs = [simulate(r, system.x0, 6, metrics="log_spread", method="iterate") for r in rules]
    one, other = (run.metrics["log_spread"] for run in runs)
    there = np.isfinite(one) & np.isfinite(other)
    allowed = 1e-9 + 3 * (runs[0].errors["log_spread"] + runs[1].errors["log_spread"])
    return float(np.min(allowed[there] - np.abs(one[there] - other[there]), initial=1.0))


@pytest.mark.sample(3)
@pytest.mark.parametrize("claim", [never_changes_the_regime, always_smooths, angles_stay_faster_than_tokens])
def test_false_claims_about_a_bias_are_refuted(claim, tmp_path):
    found = falsify(claim, systems(n=(2, 3), d=(1, 3)), path=tmp_path, max_examples=200)
    assert isinstance(found, Refuted), found


@pytest.mark.parametrize("claim", [smoothing_stays, rest_does_not_see_it])
def test_true_claims_about_a_bias_are_supported(claim, tmp_path):
    found = falsify(claim, systems(n=(2, 4), d=(1, 3)), path=tmp_path, max_examples=15)
    assert isinstance(found, Supported), found
