"""The law of several heads, and of cycles, with token scales and attention beyond the simplex.

Beside it stands one matrix for all the layers, built from Kronecker products: its eigenvalues come from NumPy
and know nothing of blocks.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oracles.iterated import trajectory

from linsim import Layered, Linear, MultiHead, attention, predict
from linsim.errors import NotCoveredError

FEW = settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 10**6)


def softmax(rng, n):
    W = np.exp(rng.normal(size=(n, n)))
    return (W / W.sum(axis=1, keepdims=True) + np.eye(n)) / 2


def builders(rng, n):
    """Attention whose rows all sum to one number, another one for each."""
    A, w = softmax(rng, n), rng.uniform(-1, 1)
    return {
        "softmax": A,
        "centred": attention.centred(A),
        "laplacian": attention.laplacian(A),
        "attnscale": attention.attnscale(A, w),
        "differential": attention.differential(A, softmax(rng, n), w),
    }


def drawn(seed, kind):
    """Two heads, or two layers, as a rule; the matrix of one period, and its length; tokens."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    made = builders(rng, n)
    A = [np.asarray(made[name]) for name in rng.choice(list(made), 2)]
    shift = rng.choice([-0.7, 0.0, 0.4], 2)
    H = [rng.normal(size=(d, d)) / np.sqrt(d) / 2 + by * np.eye(d) for by in shift]
    scale = None
    if kind == "scale":
        A, scale = [softmax(rng, n) for _ in A], rng.uniform(0.3, 1.5, n)
    if kind == "commuting":  # one eigenvector of all heads leads: rank collapses, though not to equal tokens
        low, high = (np.tril(rng.integers(-1, 2, (n, n)), -1) + np.eye(n) for _ in range(2))
        V = low @ high.T  # whole numbers of determinant 1: heads commute exactly
        A = [V @ np.diag(rng.integers(-4, 9, n) / 8) @ np.rint(np.linalg.inv(V)) for _ in A]
    if kind == "any":
        A = [rng.normal(size=(n, n)) / np.sqrt(n) for _ in A]
    if seed % 2:
        given = np.stack(A)
        rule = MultiHead(given if scale is not None else attention.general(given), np.stack(H), scale=scale)
    else:
        rule = Layered(
            [
                Linear(a if scale is not None else attention.general(a), h, scale=scale)
                for a, h in zip(A, H, strict=True)
            ]
        )
    if scale is not None:
        A = [a * scale for a in A]
    moves = [np.kron(a, h.T) for a, h in zip(A, H, strict=True)]
    one = np.eye(n * d)
    M = one + moves[0] + moves[1] if seed % 2 else (one + moves[1]) @ (one + moves[0])
    return rule, M, 1 if seed % 2 else 2, rng.normal(size=(n, d))


@FEW
@given(seed=seeds)
def test_rows_of_equal_sums_make_constant_states_a_block(seed):
    rule, M, period, x0 = drawn(seed, "sums")
    (n, d), law = x0.shape, predict(rule)
    Q = np.kron(np.linalg.svd(np.ones((1, n)))[2].T, np.eye(d))
    M = Q.T @ M @ Q
    np.testing.assert_allclose(M[d:, :d], 0, atol=1e-13)
    constant, rest = (np.max(np.abs(np.linalg.eigvals(part))) for part in (M[:d, :d], M[d:, d:]))
    assume(min(constant, rest) > 1e-3 and abs(np.log(rest / constant)) > 1e-5)
    assert law.regime == ("smoothing" if rest < constant else "sharpening")
    assert law.input_convergence == (rest < constant)
    assert law.margin == pytest.approx(np.log(constant / rest) / period, abs=1e-6)
    wanted = min(rest / constant, 1.0) ** (2 / period)
    assert law.rates["token_diversity"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("kind", ["scale", "any"])
@FEW
@given(seed=seeds)
def test_rows_of_other_sums_leave_no_constant_mode(kind, seed):
    rule, M, _, x0 = drawn(seed, kind)
    law = predict(rule)
    values = np.linalg.eigvals(M)
    top = np.max(np.abs(values))
    assume(top > 1e-3)
    assert (law.regime, law.input_convergence) == ("sharpening", False)
    assert law.margin == -np.inf
    assert np.abs(law.dominant[0].value) == pytest.approx(top, rel=1e-7)
    # one real leading eigenvalue: the limit is its eigenmatrix
    leading = np.flatnonzero(np.abs(values) > (1 - 1e-6) * top)
    if leading.size == 1:
        vector = np.linalg.eig(M)[1][:, leading[0]].real.reshape(x0.shape)
        singular = np.linalg.svd(vector, compute_uv=False)
        assume(not np.any((singular < 1e-5 * singular[0]) & (singular > 1e-13 * singular[0])))
        assert law.limit_rank == np.sum(singular > 1e-9 * singular[0])


@pytest.mark.parametrize("kind", ["sums", "commuting"])
def test_gaps_close_at_the_predicted_rates(kind):
    """Slopes of 400-digit truth from layer 200 to 300.

    Conjugate pairs beat: a factor of at most e^2 or so over the whole range, e^0.02 a layer.
    """
    checked = 0
    for seed in range(80):
        if checked >= 4:
            break
        rule, _, _, x0 = drawn(seed, kind)
        law = predict(rule)
        gaps = [gap for gap, rate in law.rates.items() if rate < 0.9 and law.relaxations[gap] ** 200 < 1e-3]
        if not gaps:
            continue

        def layer(at, rule=rule):
            pairs = rule.rules[at % 2].heads(0) if isinstance(rule, Layered) else rule.heads(0)
            return [A for A, _ in pairs], [H for _, H in pairs]

        truth = trajectory(layer, None, x0, [200, 300], digits=400, general=True)
        for gap in gaps:
            close = gap == "cosine_gap" and not law.input_convergence
            found = truth["log_abs_cosine_gap" if close else f"log_{gap}"]
            if np.all(np.isfinite(found)):  # of one feature the rank gap is zero from the start
                slope = np.exp((found[1] - found[0]) / 100)
                assert slope == pytest.approx(law.rates[gap], rel=0.02), (seed, gap)
                checked += 1
    assert checked >= 4


def test_heads_that_share_attention_or_weights_are_one_head():
    rng = np.random.default_rng(0)
    A, H = rng.normal(size=(3, 3)), rng.normal(size=(2, 2))
    one = predict(Linear(attention.general(A), H))
    for two in (
        MultiHead(attention.general(np.stack([A, A])), np.stack([H / 4, 3 * H / 4])),
        MultiHead(attention.general(np.stack([A / 4, 3 * A / 4])), np.stack([H, H])),
    ):
        law = predict(two)
        assert law.regime == one.regime
        assert law.dominant[0].value == pytest.approx(one.dominant[0].value, rel=1e-12)


def test_an_input_beside_the_leading_mode_is_refused():
    A = np.stack([np.diag([1.0, 0.5]), np.diag([0.5, 0.25])])
    H = np.stack([np.diag([1.0, 0.2]), np.diag([0.3, 0.5])])
    rule = MultiHead(attention.general(A), H)
    assert predict(rule, x0=np.ones((2, 2))).regime == "sharpening"
    with pytest.raises(NotCoveredError, match="x0"):
        predict(rule, x0=np.array([[0.0, 1.0], [1.0, 1.0]]))  # nothing of the mode (0, 0)


def test_a_bias_needs_constant_states_that_stay_constant():
    rng = np.random.default_rng(1)
    A, H = np.stack([softmax(rng, 3) for _ in range(2)]), -0.5 * np.stack([np.eye(2), np.eye(2) / 2])
    centred = attention.general(A - 1 / 3)
    law = predict(MultiHead(centred, H, bias=[1.0, 2.0]))
    # rows sum to 0: the bias is added up for ever, and everything else shrinks
    assert law.input_convergence
    with pytest.raises(NotCoveredError, match="different numbers"):
        predict(MultiHead(A, H, bias=[1.0, 2.0], scale=[1.0, 2.0, 3.0]))


def test_bounds_of_heads_are_refused_in_one_line():
    rng = np.random.default_rng(2)
    rule = MultiHead(attention.general(rng.normal(size=(2, 3, 3))), rng.normal(size=(2, 2, 2)))
    with pytest.raises(NotCoveredError, match="without bounds"):
        predict(rule, x0=rng.normal(size=(3, 2))).log_bound("token_diversity", 3)
