"""Rules with a bias, token scales and general attention: what they take, refuse and run."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest
from oracles import iterated as oracle

import linsim
from linsim import Layered, Linear, MultiHead, attention, engines, lyapunov_exponents, predict, simulate
from linsim.errors import InvalidTypeError, InvalidValueError, NotCoveredError, ShapeError

RNG = np.random.default_rng(2)
A = attention.softmax(5, 4, rng=0)
H = RNG.normal(size=(3, 3)) / 3
X = RNG.normal(size=(5, 3))
ROW, FACTORS = RNG.normal(size=3), RNG.uniform(0.5, 2, 5)
SIGNED = RNG.normal(size=(5, 5)) / 3


def plain(heads, row, depth, x=X):
    for _ in range(depth):
        x = x + sum(a @ x @ h for a, h in heads) + row
    return x


def states_of(rule, depth=9, **options):
    run = simulate(rule, X, depth, keep_states=True, **options)
    return run.states[-1] * np.exp(run.state_log_scale[-1])


BUILT = {
    "centred": (attention.centred(A), A - 1 / 5, 0),
    "laplacian": (attention.laplacian(A), np.eye(5) - A, 0),
    "shaped": (attention.shaped(A, alpha=0.5, beta=2.0, gamma=0.25), 0.5 * np.eye(5) + 2 * A - 0.05, 2.25),
    "shaped, masked": (
        attention.shaped(A, at_zero=np.tri(5) / np.arange(1, 6)[:, None]),
        np.eye(5) + A - np.tri(5) / np.arange(1, 6)[:, None],
        1,
    ),
    "attnscale": (attention.attnscale(A, 0.5), 1.5 * A - 0.1, 1),
    "differential": (attention.differential(A, attention.uniform(5), 0.25), A - 0.05, 0.75),
    "sigmoid": (attention.sigmoid(SIGNED, bias=0.0), 1 / (1 + np.exp(-SIGNED)), None),
    "gcn": (attention.gcn(np.eye(5, k=1) + np.eye(5, k=-1)), None, None),
    "general": (attention.general(SIGNED), SIGNED, None),
}


@pytest.mark.parametrize("name", BUILT)
def test_builders_are_what_they_say(name):
    built, expected, row_sum = BUILT[name]
    M = np.asarray(built)
    if expected is not None:
        np.testing.assert_allclose(M, expected, atol=1e-15)
    if row_sum is not None:
        np.testing.assert_allclose(M.sum(axis=1), row_sum, atol=1e-14)
    rule = Linear(built, H, bias=ROW)
    np.testing.assert_allclose(states_of(rule), plain([(M, H)], ROW, 9), rtol=1e-9, atol=1e-9)


def test_gcn_is_the_normalised_adjacency():
    W = np.eye(5, k=1) + np.eye(5, k=-1) + np.eye(5)
    D = np.diag(W.sum(axis=1) ** -0.5)
    np.testing.assert_allclose(np.asarray(BUILT["gcn"][0]), D @ W @ D, atol=1e-15)
    with pytest.raises(InvalidValueError, match="without edges"):
        attention.gcn(np.zeros((3, 3)), self_loops=False)
    attention.gcn(np.zeros((3, 3)), self_loops=True)


def test_one_matrix_declared_or_split_into_heads():
    """A - 11^T/n is what heads (A, H) and (11^T/n, -H) add up to."""
    detour = MultiHead(np.stack([A, attention.uniform(5)]), np.stack([H, -H]), bias=ROW)
    declared = Linear(attention.centred(A), H, bias=ROW)
    for name in ("log_token_diversity", "log_norm", "cosine"):
        one, other = (simulate(rule, X, 60, metrics=name).metrics[name] for rule in (declared, detour))
        np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
def test_heads_layers_and_libraries(xp, dtype):
    kind = getattr(xp, dtype)
    mixing, H2, row, factors, x0 = (
        xp.asarray(M, dtype=kind) for M in (np.stack([A, A[::-1]]), np.stack([H, -2 * H]), ROW, FACTORS, X)
    )
    heads = MultiHead(mixing, H2, bias=row, scale=factors)
    layered = Layered([heads, Linear(attention.general(mixing[0, :, :]), H2[0, :, :])] * 2)
    for rule, depth in ((heads, 3), (layered, 2)):
        run = simulate(rule, x0, depth, keep_states=True)
        state = np.from_dlpack(run.states)[-1] * np.exp(
            float(np.asarray(np.from_dlpack(run.state_log_scale))[-1])
        )
        x = X
        for layer in range(depth):
            pairs = [[np.asarray(np.from_dlpack(M), dtype=float) for M in pair] for pair in rule.heads(layer)]
            x = x + sum(a @ x @ h for a, h in pairs) + (ROW if rule.drive(layer) is not None else 0)
        np.testing.assert_allclose(
            state, x, rtol=1e-12 if dtype == "float64" else 2e-5, atol=1e-5 * (dtype != "float64")
        )


def test_large_entries_count_on_either_side():
    """A 2^170 or H 2^170 is the same layer, and states are rescaled in time."""
    runs = []
    for a, h in ((170, 0), (0, 170)):
        rule = Linear(attention.general(np.ldexp(SIGNED, a)), np.ldexp(H, h))
        runs.append(simulate(rule, X, 40, metrics=["log_norm", "cosine"], method="iterate"))
    for name in ("log_norm", "cosine"):
        assert np.all(np.isfinite(runs[0].metrics[name]))
        np.testing.assert_allclose(runs[0].metrics[name], runs[1].metrics[name], atol=1e-9)


def test_a_batch_of_biases_and_scales():
    rows, factors = RNG.normal(size=(4, 3)), RNG.uniform(0.5, 2, (4, 5))
    rule = Linear(A, H, bias=rows, scale=factors)
    assert rule.batch_shape == (4,)
    run = simulate(rule, X, 30)
    for k in range(4):
        one = simulate(Linear(A, H, bias=rows[k], scale=factors[k]), X, 30)
        np.testing.assert_allclose(run.metrics["log_norm"][k], one.metrics["log_norm"], atol=1e-9)
    laws = predict(Linear(A, H, bias=rows))
    assert laws.regime.shape == (4,)
    assert [predict(Linear(A, H, bias=row)).margin for row in rows] == list(laws.margin)


def test_which_engines_carry_them():
    driven = Linear(A, H, bias=ROW)
    assert engines(driven, 10**6, x0=X, layers=[10**6]).chosen == "modal"
    assert engines(driven, 5).chosen == "parts"
    assert engines(driven, 5, metrics="plain").chosen == "lanes"
    declared = engines(Linear(attention.general(SIGNED), H), 10**6, layers=[10**6])
    assert "not stochastic" in next(o.obstacle for o in declared.offers if o.name == "modal")


@pytest.mark.sample(2)
@pytest.mark.parametrize("bias", [ROW, 1e3 * ROW, 1e-6 * ROW])
@pytest.mark.parametrize("shift", [0.0, -0.9])
def test_closed_form_with_a_bias_against_layer_by_layer(bias, shift):
    weights = H + shift * np.eye(3)
    rule, layers = Linear(A, weights, bias=bias), [1, 10, 1000]
    jumped, walked = (simulate(rule, X, 1000, layers=layers, method=m) for m in ("modal", "iterate"))
    assert jumped.info.method == "modal"
    for name in ("log_token_diversity", "log_hfc_lfc", "log_cosine_gap", "log_norm", "log_spread"):
        found, expected = jumped.metrics[name], walked.metrics[name]
        allowed = jumped.errors[name] + walked.errors[name] + 1e-9
        there = np.isfinite(found) & np.isfinite(expected)
        assert np.all(np.abs(found - expected)[there] <= allowed[there]), name
        assert np.isfinite(found).sum() >= 2


def test_no_fixed_point_no_closed_form():
    singular = H - H[:, :1] @ np.ones((1, 3)) @ np.diag([1.0, 0, 0])  # its first column is zero
    run = simulate(Linear(A, singular, bias=ROW), X, 400, layers=[400], method="modal")
    assert run.info.method == "parts"
    assert "fixed point" in str(run.info.refused)


def test_more_digits_for_what_rounding_hides():
    """Where one token is 1e-18 of the others: plain arithmetic shows it, and so do pairs of doubles."""
    mixing = attention.general(np.array([[0.0, 1.0, -1.0], [0.5, 0.0, 0.0], [0.0, -0.5, 0.0]]))
    H1, row = np.array([[0.5, 0.1], [0.0, 0.3]]), np.array([1.0, -1.0])
    x0 = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 1.0]])
    layers = (1, 5, 30)
    run = simulate(Linear(mixing, H1, bias=row), x0, 30, layers=layers)
    truth = oracle.trajectory(np.asarray(mixing), H1, x0, layers, digits=400, bias=row, general=True)
    for name in ("log_norm", "log_rank_gap", "log_hfc_lfc"):
        np.testing.assert_allclose(run.metrics[name], truth[name], atol=1e-9)


def test_a_zero_token_does_not_stay_zero_under_a_bias():
    """Tokens that look at themselves alone: without a bias a zero one stays so for ever."""
    x0 = np.array([[1.0, 2.0], [0.0, 0.0]])
    run = simulate(
        Linear(np.eye(2), np.zeros((2, 2)), bias=[1.0, 1.0]), x0, 1, metrics="cosine", method="iterate"
    )
    np.testing.assert_allclose(
        run.metrics["cosine"][1], np.array([2, 3]) @ [1, 1] / np.sqrt(13 * 2), rtol=1e-12
    )


def test_a_state_that_vanishes_exactly():
    """X + A X H + 1 b^T = 0 in rational numbers: sizes are known to be nothing."""
    swap = attention.general([[0.0, 1.0], [1.0, 0.0]])
    x0 = np.array([[1.0, 2.0], [1.0, 2.0]])
    run = simulate(Linear(swap, -0.5 * np.eye(2), bias=[-0.5, -1.0]), x0, 1)
    assert run.metrics["log_norm"][1] == -np.inf
    assert run.errors["log_norm"][1] == 0


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Linear(A, H, bias=np.zeros(4)), ShapeError, "bias"),
        (lambda: Linear(A, H, bias=X), ShapeError, "each of 5 tokens or for each of 5 systems"),
        (lambda: Linear(A, H, bias=np.array([1.0, np.nan, 0])), InvalidValueError, "bias"),
        (lambda: Linear(A, H, scale=np.ones(4)), ShapeError, "scale"),
        (lambda: Linear(A, H, scale=np.ones((5, 5))), InvalidValueError, "5 tokens or for each of 5 systems"),
        (
            lambda: MultiHead(np.stack([A, A]), np.stack([H, H]), scale=np.ones((2, 5))),
            InvalidValueError,
            "2 heads or for each of 2 systems",
        ),
        (lambda: Linear(A - 1 / 5, H), InvalidValueError, r"linsim\.attention\.general"),
        (lambda: Linear(2 * A, H), InvalidValueError, r"linsim\.attention\.general"),
        (lambda: attention.general(np.ones((2, 3))), ShapeError, "A"),
        (lambda: attention.shaped(A, at_zero=np.eye(3)), ShapeError, "at_zero"),
        (lambda: attention.attnscale(A, "big"), InvalidTypeError, "w"),
        (lambda: lyapunov_exponents(Linear(A, H, bias=ROW), 10), NotCoveredError, "bias"),
        (lambda: lyapunov_exponents(Linear(attention.centred(A), H), 10), NotCoveredError, "stochastic"),
        (lambda: linsim.theory.pre_norm_ratio(attention.centred(A), H), InvalidTypeError, "general"),
    ],
)
def test_bad_input_is_refused_and_the_remedy_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_the_remedies_work():
    Linear(attention.general(A - 1 / 5), H)
    five = Linear(np.broadcast_to(A, (5, 5, 5)), H, bias=X)
    assert five.batch_shape == (5,)
    Linear(np.broadcast_to(A, (5, 5, 5)), H, scale=np.ones((5, 5)))
    Linear(attention.general(A * FACTORS), H)


class Own(linsim.Rule):
    """A rule of a user's with both."""

    n, d, stochastic, repeats = 5, 3, False, True

    def __init__(self, row=ROW):
        self.row = row

    def heads(self, layer):
        return [(SIGNED, H)]

    def drive(self, layer):
        return self.row


def test_rules_of_ones_own():
    np.testing.assert_allclose(states_of(Own()), plain([(SIGNED, H)], ROW, 9), rtol=1e-9)
    for row in (np.ones((5, 3)), np.ones(4)):
        with pytest.raises(ShapeError, match=r"drive\(0\)"):
            simulate(Own(row), X, 1)

    class Strict(Own):
        stochastic = True

        def heads(self, layer):
            return [(attention.general(SIGNED), H)]

    with pytest.raises(InvalidTypeError, match="stochastic = False"):
        simulate(Strict(), X, 1)
