"""Neighbouring claims: pure attention, scaled residuals, masks that slow, random attention, low-pass."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import linsim
from linsim import attention, masks, weights
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError
from linsim.theory import pure_attention
from linsim.theory.mask_laws import causal_log_gap, ring_eigenvalues, ring_gap
from linsim.theory.pure_attention import collapse_threshold, dobrushin, pure_attention_bound
from linsim.theory.random_attention import dirichlet_radius, token_lambda2
from linsim.theory.scaled_residual import scaled_residual_loss, scaled_residual_odds

EPS = float(np.finfo(float).eps)


def spread(x):
    return np.linalg.norm(x[..., :, None, :] - x[..., None, :, :], axis=-1).max(axis=(-1, -2))


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def exact_spreads(x0, M, H, depth, mask=None, digits=3000):
    """ln spread of X -> softmax(X M X^T) X H at layers 0 to depth, in arbitrary precision."""
    with mpmath.workdps(digits):
        X, M, H = mpmath.matrix(x0.tolist()), mpmath.matrix(M.tolist()), mpmath.matrix(H.tolist())
        n = X.rows
        out = []
        for _ in range(depth + 1):
            pairs = itertools.combinations(range(n), 2)
            largest = max(mpmath.norm(X[i, :] - X[j, :]) for i, j in pairs)
            out.append(float(mpmath.log(largest)))
            S = X * M * X.T
            for i in range(n):
                seen = [j for j in range(n) if mask is None or mask[i][j]]
                e = {j: mpmath.exp(S[i, j]) for j in seen}
                total = sum(e.values())
                for j in range(n):
                    S[i, j] = e[j] / total if j in e else mpmath.mpf(0)
            X = S * X * H
        return np.array(out)


# --- pure attention: doubly exponential collapse ---------------------------------------


@pytest.mark.sample(3)
@pytest.mark.parametrize("seed", range(6))
def test_collapse_of_softmax_attention_stays_below_its_bound(seed):
    rng = np.random.default_rng(seed)
    x0, M, H = rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), rng.normal(size=(3, 3)) / 2
    # h m D^2 / 4 from 0.4 to 0.9
    product = np.linalg.norm(M, 2) * np.linalg.norm(H, 2) * spread(x0) ** 2 / 4
    x0 *= math.sqrt((0.4 + 0.1 * seed) / product)
    truth = exact_spreads(x0, M, H, 6)
    bound = pure_attention_bound(x0, M, H, 6)
    assert (truth <= bound).all()
    assert bound[0] - truth[0] < 1e-13
    # doubly exponential: what a layer takes off the logarithm grows threefold, on both sides
    assert truth[6] < -100
    for found in (truth, bound):
        taken = np.diff(found)
        np.testing.assert_allclose(taken[-1] / taken[-2], 3, rtol=0.05)


@pytest.mark.parametrize(("m", "h", "x"), [(1.0, 1.0, 0.5), (2.0, 3.0, 0.2), (0.3, 0.9, 4.0)])
def test_two_tokens_reach_the_bound(m, h, x):
    x0 = np.array([[x], [-x]])
    truth = exact_spreads(x0, np.array([[m]]), np.array([[h]]), 6)
    bound = pure_attention_bound(x0, [[m]], [[h]], 6)
    assert (truth <= bound).all()
    np.testing.assert_allclose(bound, truth, rtol=1e-13, atol=1e-14)


def test_the_threshold_separates_collapse_from_flight():
    h, m = 2.0, 0.7
    D = float(collapse_threshold([[m]], [[h]]))
    assert abs(h * math.tanh(m * D * D / 4) - 1) < 1e-14
    for factor, runs_apart in ((1 - 1e-3, False), (1 + 1e-3, True)):
        x0 = np.array([[D / 2], [-D / 2]]) * factor
        truth = exact_spreads(x0, np.array([[m]]), np.array([[h]]), 16, digits=1000)
        assert (truth[-1] > truth[0] + 3) == runs_apart
        assert (truth[-1] < truth[0] - 3) != runs_apart
    assert collapse_threshold([[m]], [[1.0]]) == np.inf
    assert collapse_threshold([[0.0]], [[9.0]]) == np.inf
    found = collapse_threshold(np.array([[[m]], [[4 * m]], [[1e-300]]]), [[h]])
    np.testing.assert_allclose(found, [D, D / 2, D * math.sqrt(m) * 1e150], rtol=1e-13)


@settings(max_examples=150)
@given(st.integers(1, 7), st.integers(1, 5), st.floats(-3, 1.5), st.floats(-2, 2), st.integers(0, 2**32))
def test_one_layer_of_any_size(n, d, scale, sharpness, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * 10**scale * rng.choice([0.1, 1, 3], size=(n, 1)) + rng.normal(size=d)
    M, H = rng.normal(size=(d, d)) * 10**sharpness, rng.normal(size=(d, d))
    y = softmax(x @ M @ x.T) @ x @ H
    before, after = pure_attention_bound(x, M, H, 1)
    # rounding of the scores turns the weights by eps |scores|, that of sums the rows by eps |x|
    noise = 1e2 * EPS * n * d * (1 + np.abs(x @ M @ x.T).max()) * np.abs(x).max() * np.linalg.norm(H)
    assert spread(y) <= np.exp(after) + noise
    assert abs(np.exp(before) - spread(x)) <= 1e-12 * spread(x)


def test_bound_at_its_edges():
    x0 = np.array([[0.1], [-0.1]])
    deep = pure_attention_bound(x0, [[1.0]], [[1.0]], 2000)
    assert np.isfinite(deep).all()
    assert (np.diff(deep) <= 0).all()
    assert deep[-1] == -np.finfo(float).max
    # (h m / 4)^((3^L - 1) / 2) D^(3^L), the closed form
    L = 12
    closed = (3**L - 1) / 2 * math.log(1 / 4) + 3**L * math.log(0.2)
    np.testing.assert_allclose(pure_attention_bound(x0, [[1.0]], [[1.0]], L)[L], closed, rtol=1e-2)
    assert pure_attention_bound(x0, [[1.0]], [[1.0]], L)[L] <= closed * (1 - 1e-12)
    # nothing to collapse, no scores, no weights
    assert pure_attention_bound([[1.0, 2.0]] * 3, np.eye(2), np.eye(2), 2).tolist() == [-np.inf] * 3
    assert pure_attention_bound([[1.0, 2.0]], np.eye(2), np.eye(2), 0).tolist() == [-np.inf]
    assert pure_attention_bound(x0, [[0.0]], [[1.0]], 2)[1:].tolist() == [-np.inf] * 2
    assert pure_attention_bound(x0, [[1.0]], [[0.0]], 2)[1:].tolist() == [-np.inf] * 2
    # tokens at both ends of the range
    far = pure_attention_bound(1e300 * x0, [[1.0]], [[0.5]], 3)
    np.testing.assert_allclose(far, math.log(0.2e300) + np.arange(4) * math.log(0.5), rtol=1e-14)
    near = pure_attention_bound([[1.0], [1.0 + 2**-50]], [[1.0]], [[1.0]], 0)
    np.testing.assert_allclose(near, -50 * math.log(2), rtol=1e-14)
    tiny = pure_attention_bound([[1.0, 1e-200], [1.0, 3e-200]], np.eye(2), np.eye(2), 0)
    np.testing.assert_allclose(tiny, math.log(2e-200), rtol=1e-14)


def test_bound_of_a_batch_is_that_of_its_systems():
    rng = np.random.default_rng(0)
    x0 = rng.normal(size=(3, 1, 5, 2)) * np.array([0.01, 0.5, 20])[:, None, None, None]
    M, H = rng.normal(size=(4, 2, 2)), rng.normal(size=(2, 2))
    together = pure_attention_bound(x0, M, H, 5)
    assert together.shape == (3, 4, 6)
    for i, j in np.ndindex(3, 4):
        np.testing.assert_array_equal(together[i, j], pure_attention_bound(x0[i, 0], M[j], H, 5))


def test_bounds_take_arrays_of_any_library(xp):
    rng = np.random.default_rng(0)
    x0, M, H = rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    A = attention.softmax(4, 3, rng=0)
    calls = [
        (lambda *a: pure_attention_bound(*a, 4), (x0, M, H)),
        (collapse_threshold, (M, H)),
        (token_lambda2, (M / 10,)),
        (lambda A: scaled_residual_loss(A, 0.5, 3), (A,)),
        (lambda A: scaled_residual_odds(A, 0.5, 3), (attention.uniform(4),)),
    ]
    for call, arrays in calls:
        np.testing.assert_array_equal(call(*(xp.array(a) for a in arrays)), call(*arrays))


def test_bound_of_a_simulated_block():
    # the engine keeps the spread far below the smallest double; so does the bound
    rng = np.random.default_rng(1)
    x0 = 0.7 * rng.normal(size=(4, 3))
    M, H = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)) / 2
    block = linsim.Block(
        attention.FromTokens(query_key=M, normalize=False), weights=H, residual=None, norm=None
    )
    found = linsim.simulate(block, x0, 7, rng=0).metrics["log_spread"]
    assert (found <= pure_attention_bound(x0, M, H, 7)).all()
    np.testing.assert_allclose(found[:7], exact_spreads(x0, M, H, 6), rtol=1e-9)
    assert found[7] < -1000


def norms(W):
    """Largest column sum, and largest row sum, of moduli."""
    return np.abs(W).sum(axis=-2).max(axis=-1), np.abs(W).sum(axis=-1).max(axis=-1)


def dong_ratio(x, M, H):
    """||res(X')|| / (4 ||M||_1 ||H|| ||res(X)||^3), ||.|| = sqrt(||.||_1 ||.||_inf), residuals of the means.

    The residual of the source is the least over all vectors taken off, at most a factor of 2
    below that of the mean (the mean is no further from any vector than the tokens are).
    """

    def size(Z):
        return math.sqrt(math.prod(norms(Z)))

    y = softmax(x @ M @ x.T) @ x @ H
    before, after = size(x - x.mean(axis=0)), size(y - y.mean(axis=0))
    return after / (4 * norms(M)[0] * size(H) * before**3)


@settings(max_examples=150)
@given(st.integers(2, 20), st.integers(1, 6), st.floats(-2, 0.7), st.floats(0.1, 1), st.integers(0, 2**32))
def test_the_constant_of_dong_holds_with_room(n, d, scale, density, seed):
    """Their 4 is never reached: two tokens have 1/8, and nothing tried has more (not a proof)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * (rng.random((n, d)) < density) * 10**scale
    if np.ptp(x, axis=0).max() < 1e-3:
        return
    assert dong_ratio(x, rng.normal(size=(d, d)), rng.normal(size=(d, d))) < 0.13


def test_the_constant_of_dong_for_two_tokens():
    found = dong_ratio(np.array([[1e-4], [-1e-4]]), np.array([[1.0]]), np.array([[3.0]]))
    np.testing.assert_allclose(found, 1 / 8, rtol=1e-6)


# --- any attention: Dobrushin ------------------------------------------------------------


def test_dobrushin_is_the_largest_shrinkage(xp):
    rng = np.random.default_rng(0)
    A = np.concatenate(
        [attention.dirichlet(5, 0.3, size=20, rng=rng), np.eye(5)[None], np.ones((1, 5, 5)) / 5]
    )
    pairs = itertools.combinations(range(5), 2)
    expected = np.max([np.abs(A[:, i] - A[:, j]).sum(axis=-1) / 2 for i, j in pairs], axis=0)
    found = dobrushin(xp.array(A))
    assert xp.owns(found)
    np.testing.assert_allclose(xp.host(found), expected, rtol=1e-14, atol=1e-15)
    assert str(dobrushin(xp.array(A, dtype="float32")).dtype).endswith("float32")


def test_dobrushin_bounds_the_spread_and_is_reached(monkeypatch):
    rng = np.random.default_rng(1)
    A, B = attention.dirichlet(6, 0.2, size=(2, 50), rng=rng)
    x, H = rng.normal(size=(50, 6, 3)), rng.normal(size=(50, 3, 3))
    factor = dobrushin(A)
    norm = np.linalg.norm(H, 2, axis=(-1, -2))
    assert (spread(A @ x @ H) <= factor * norm * spread(x) * (1 + 1e-12)).all()
    assert (dobrushin(A @ B) <= factor * dobrushin(B) * (1 + 1e-12)).all()
    # 0/1 tokens on the positive part of the row difference reach it
    best = [
        max(np.ptp(A[k] @ np.array(t)) for t in itertools.product([0.0, 1.0], repeat=6)) for k in range(5)
    ]
    np.testing.assert_allclose(best, factor[:5], rtol=1e-13)
    monkeypatch.setattr(pure_attention, "_CHUNK", 1)
    np.testing.assert_array_equal(dobrushin(A), factor)


def test_low_pass_at_every_depth():
    """Wang et al. 2022: X_l = A^l X_0 H^l loses its high frequencies; HFC/LFC below an explicit bound."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        n, d = rng.integers(2, 8), rng.integers(1, 5)
        A, H, x = attention.dirichlet(n, 2.0, rng=rng), rng.normal(size=(d, d)), rng.normal(size=(n, d))
        values, left = np.linalg.eig(A.T)
        pi = left[:, np.argmax(values.real)].real
        pi /= pi.sum()
        power, constant, right = np.eye(n), pi @ x, x
        for _layer in range(12):
            power, constant, right = A @ power, constant @ H, right @ H
            D = dobrushin(A) ** (_layer + 1) * spread(right)
            y = power @ right
            high = np.linalg.norm(y - y.mean(axis=0))
            low = math.sqrt(n) * np.linalg.norm(y.mean(axis=0))
            slack = 1e-12 * np.linalg.norm(right)
            # |x_i - mean|^2 sums to (1/2n) of all squared distances; the mean is within D of pi^T X
            assert high <= math.sqrt((n - 1) / 2) * D + slack
            assert low >= math.sqrt(n) * (np.linalg.norm(constant) - D) - slack


# --- masks slow the collapse ---------------------------------------------------------------


def test_ring_eigenvalues_and_gap():
    for n in range(1, 30):
        for radius in range(n + 2):
            A = attention.masked(attention.uniform(n), masks.ring(n, radius))
            truth = np.linalg.eigvalsh(A)
            np.testing.assert_allclose(np.sort(ring_eigenvalues(n, radius)), truth, atol=1e-14)
            gap = 1 - np.sort(np.abs(truth))[-2] if n > 1 else 1.0
            assert abs(ring_gap(n, radius) - gap) < 1e-14
            if 2 * radius + 1 < n:
                assert gap <= 2 * math.pi**2 / 3 * radius * (radius + 1) / n**2 + 1e-15


@pytest.mark.parametrize(("n", "radius"), [(1000, 1), (10**6, 3), (10**6, 999), (7, 2), (6, 2), (12, 0)])
def test_ring_gap_keeps_relative_accuracy(n, radius):
    with mpmath.workdps(40):
        k = np.arange(1, radius + 1)
        below = mpmath.fsum(1 - mpmath.cos(2 * mpmath.pi * int(j) / n) for j in k) * 2 / (2 * radius + 1)
        values = ring_eigenvalues(n, radius)[1:]
        # the slowest mode is the first, or ties with it
        assert np.argmax(np.abs(values)) == 0 or abs(abs(values[0]) - np.abs(values).max()) < 1e-15
        expected = float(below) if values[0] > 0 else float(2 - below)
    np.testing.assert_allclose(ring_gap(n, radius), expected, rtol=1e-13)
    # asymptotically the bound is the gap
    if n >= 1000 * max(radius, 1) and radius:
        limit = 2 * math.pi**2 / 3 * radius * (radius + 1) / n**2
        assert 1 - 1e-4 < ring_gap(n, radius) / limit <= 1


def test_a_ring_needs_of_the_order_of_n_squared_layers():
    n, radius = 24, 1
    A = attention.masked(attention.uniform(n), masks.ring(n, radius))
    x = np.random.default_rng(0).normal(size=(n, 2))
    centred = x - x.mean(axis=0)
    slowest = np.cos(2 * np.pi * np.arange(n) / n) * math.sqrt(2 / n)
    lam = 1 - ring_gap(n, radius)
    for _layer in range(1, 200):
        x = A @ x
        now = np.linalg.norm(x - x.mean(axis=0))
        assert now <= lam**_layer * np.linalg.norm(centred) * (1 + 1e-12)
        assert now >= lam**_layer * np.linalg.norm(slowest @ centred) * (1 - 1e-12)
    full = masks.ring(n, n)
    assert dobrushin(attention.masked(attention.uniform(n), full)) == 0


def test_tokens_out_of_reach_do_not_approach():
    """Two tokens whose fields do not meet after l layers keep some input apart: dobrushin(A^l) = 1."""
    n, radius = 41, 3
    A = attention.masked(attention.softmax(n, 4, rng=0), masks.local(n, radius))
    power = np.eye(n)
    for layer in range(1, 12):
        power = A @ power
        # fields of the two end tokens are disjoint while 2 l r < n - 1
        assert (dobrushin(power) > 1 - 1e-12) == (2 * layer * radius < n - 1)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_causal_gap_is_that_of_exact_powers(n):
    A = [[Fraction(int(j <= i), i + 1) for j in range(n)] for i in range(n)]
    row = [Fraction(int(i > 0)) for i in range(n)]
    for depth in range(30):
        found = causal_log_gap(n, depth)
        assert found[0] == -np.inf
        np.testing.assert_allclose(found[1:], [math.log(r) for r in row[1:]], rtol=1e-13, atol=1e-13)
        # the moments of Hausdorff, and the bound i 2^-l
        for i in range(1, n):
            moment = sum((-1) ** k * math.comb(i, k) * Fraction(1, (k + 1) ** depth) for k in range(i + 1))
            assert row[i] == 1 - moment <= min(1, Fraction(i, 2**depth))
        row = [sum(a * r for a, r in zip(line, row, strict=True)) for line in A]


def test_causal_gap_at_any_depth():
    # the settled part: i 2^-l - binom(i, 2) 3^-l + ...
    for n, depth in ((2, 10**9), (1000, 200), (1000, 10**6)):
        i = np.arange(1, n)
        expected = np.log(i - i * (i - 1) / 2 * (2 / 3) ** min(depth, 2000)) - depth * math.log(2)
        np.testing.assert_allclose(causal_log_gap(n, depth)[1:], expected, rtol=1e-14, atol=1e-11)
    # before: about ln n layers during which the last token has mostly not arrived
    assert causal_log_gap(10**6, 7)[-1] > math.log(0.9)
    assert causal_log_gap(10**6, 40)[-1] < math.log(1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_a_causal_mask_makes_the_doubly_exponential_collapse_exponential(seed):
    """Tokens 1 and 2: x_2' - x_1' = a_22 (x_2 - x_1) H, a_22 >= 1 / (1 + e^(m |x_2| |x_2 - x_1|)) -> 1/2."""
    rng = np.random.default_rng(seed)
    n, d, depth = 4, 3, 60
    x0, M, H = 0.5 * rng.normal(size=(n, d)), rng.normal(size=(d, d)), weights.orthogonal(d, rng=rng)
    x, mask = x0, masks.causal(n)
    m, apart, first = np.linalg.norm(M, 2), np.linalg.norm(x0[1] - x0[0]), np.linalg.norm(x0[0])
    log_low = math.log(apart)
    truth = exact_spreads(x0, M, H, depth, mask=mask, digits=80)
    for _layer in range(depth):
        # |x_2| <= |x_1| + distance, |x_1| is kept by the orthogonal H, the distance never grows
        distance = math.exp(log_low) if _layer == 0 else min(apart, 1.0)
        log_low -= np.logaddexp(0, m * (first + distance) * distance)
        x = attention.masked(softmax(x @ M @ x.T), mask) @ x @ H
        apart = np.linalg.norm(x[1] - x[0])
        assert truth[_layer + 1] >= log_low - 1e-9
    # the engine sees the same
    seen = attention.FromTokens(query_key=M, normalize=False, mask=mask)
    block = linsim.Block(seen, weights=H, residual=None, norm=None)
    run = linsim.simulate(block, x0, depth, rng=0, metrics=["log_spread"])
    np.testing.assert_allclose(run.metrics["log_spread"], truth, atol=1e-9)
    # exponential at the rate of uniform causal attention, 1/2 a layer; full attention would be at e^-(3^60)
    slope = (truth[-1] - truth[-11]) / 10
    np.testing.assert_allclose(slope, -math.log(2), rtol=1e-3)
    assert exact_spreads(x0, M, H, 6)[-1] < 2 * truth[-1]


# --- residual scaled by 1/sqrt(L) ------------------------------------------------------------


def second_moments(A, x0, std, depth):
    """E[X_L X_L^T] exactly: S -> S + (s^2/L) A S A^T."""
    S = x0 @ x0.T
    for _ in range(depth):
        S = S + std**2 / depth * (A @ S @ A.T)
    return S


@settings(max_examples=60)
@given(
    st.integers(2, 8),
    st.sampled_from([0.1, 0.7, 1, 3]),
    st.sampled_from([1, 2, 7, 60]),
    st.integers(0, 2**32),
)
def test_scaled_residual_bounds(n, std, depth, seed):
    rng = np.random.default_rng(seed)
    x0 = rng.normal(size=(n, 3)) + rng.normal(size=3)
    for A in (attention.dirichlet(n, 0.3, rng=rng), attention.doubly_stochastic(n, rng=rng), np.eye(n)):
        S = second_moments(A, x0, std, depth)
        shared = S.sum() / n
        diversity = 1 - shared / np.trace(S)
        start = 1 - (x0.sum(axis=0) @ x0.sum(axis=0)) / n / np.sum(x0**2)
        loss = scaled_residual_loss(A, std, depth)
        assert diversity >= start * np.exp(-loss) * (1 - 1e-10)
        norm = np.linalg.norm(A, 2)
        assert loss <= std**2 * norm**2 * (1 + 1e-14)
        if np.abs(A.sum(axis=0) - 1).max() < 1e-9:
            low, high = scaled_residual_odds(A, std, depth)
            grown = math.log(shared / (np.trace(S) - shared)) - math.log((1 - start) / start)
            assert low - 1e-9 <= grown <= high + 1e-9
            assert high <= std**2


def test_scaled_residual_is_exact_where_it_says_so():
    A = attention.uniform(6)
    x0 = np.random.default_rng(0).normal(size=(6, 2))
    for depth in (1, 4, 1000):
        low, high = scaled_residual_odds(A, 0.8, depth)
        assert low == high
        np.testing.assert_allclose(low, depth * math.log1p(0.64 / depth), rtol=1e-14)
        S = second_moments(A, x0, 0.8, depth)
        odds = [(M.sum() / 6) / (np.trace(M) - M.sum() / 6) for M in (x0 @ x0.T, S)]
        np.testing.assert_allclose(odds[1] / odds[0], math.exp(low), rtol=1e-10)
        # the loss is reached as t -> 1
        almost = 1 + 1e-4 * x0
        S = second_moments(A, almost, 0.8, depth)
        ends = [1 - M.sum() / 6 / np.trace(M) for M in (almost @ almost.T, S)]
        np.testing.assert_allclose(
            math.log(ends[0] / ends[1]), scaled_residual_loss(A, 0.8, depth), rtol=1e-3
        )
    # A = the reflection of two tokens: sigma = 1 and nothing grows
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert np.abs(scaled_residual_odds(swap, 2.0, 5)).max() < 1e-14
    assert scaled_residual_odds([[1.0]], 1.0, 3)[0] == pytest.approx(3 * math.log(4 / 3))
    assert scaled_residual_loss(np.stack([A, A]), [0.5, 1.0], 7).shape == (2,)


def log_odds_samples(rng, count, std, depth, d):
    """ln(u_L / u_0) from its exact law: a product of scaled noncentral chi-squares."""
    variance = std**2 / depth
    Q = variance / d * rng.noncentral_chisquare(d, d / variance, size=(count, depth))
    return np.log(Q).sum(axis=1)


def test_simulated_odds_follow_the_law_over_the_whole_depth():
    # DKW for both samples: false alarm below 1e-9
    std, depth, d, count = 1.0, 12, 8, 4000
    x = np.random.default_rng(3).normal(size=(5, d))
    x0 = np.broadcast_to(x, (count, 5, d))
    rule = linsim.RandomWeights(attention.uniform(5), std=std / math.sqrt(depth))
    run = linsim.simulate(rule, x0, depth, rng=4, metrics=["log_hfc_lfc"])
    ratio = run.metrics["log_hfc_lfc"]
    grown = 2 * (ratio[:, 0] - ratio[:, -1])
    exact = log_odds_samples(np.random.default_rng(5), 400_000, std, depth, d)
    limit = sum(math.sqrt(math.log(4 / 1e-9) / (2 * size)) for size in (count, exact.size))
    assert stats.ks_2samp(grown, exact).statistic <= limit
    # a residual that is not scaled is far outside
    plain = log_odds_samples(np.random.default_rng(6), 20_000, std * math.sqrt(depth), depth, d)
    assert stats.ks_2samp(plain, exact).statistic > 0.5


def test_moments_of_the_odds_over_the_whole_depth():
    # mean and variance exact, so medians of block means fail below exp(-blocks / 8) < 1e-9
    std, d, depth, blocks, each = 0.8, 16, 50, 170, 600
    u = np.exp(log_odds_samples(np.random.default_rng(7), blocks * each, std, depth, d))
    variance = std**2 / depth
    mean = (1 + variance) ** depth
    spread_of_u = (mean**2) * ((1 + (2 * variance**2 + 4 * variance) / d / (1 + variance) ** 2) ** depth - 1)
    middle = np.median(u.reshape(blocks, each).mean(axis=1))
    assert abs(middle - mean) <= 2 * math.sqrt(spread_of_u / each)
    assert mean < math.exp(std**2)
    # the limit law N(s^2 (1 - 2/d), 4 s^2 / d): Berry-Esseen is of order 1/sqrt(L d)
    deep = log_odds_samples(np.random.default_rng(8), 20_000, std, 400, d)
    normal = stats.norm(std**2 * (1 - 2 / d), 2 * std / math.sqrt(d))
    assert stats.kstest(deep, normal.cdf).statistic < math.sqrt(math.log(2 / 1e-9) / 40_000) + 0.02


# --- lambda_2 of random attention --------------------------------------------------------------


def dirichlet_moment(n, alpha, same):
    """E[a_j a_k] of a Dirichlet row: j == k or not."""
    return Fraction(alpha + 1 if same else alpha) / (n * (n * Fraction(alpha) + 1))


def sign(permutation):
    return (-1) ** sum(a > b for a, b in itertools.combinations(permutation, 2))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("alpha", [Fraction(1, 3), Fraction(1), Fraction(5)])
def test_exact_moments_of_dirichlet_attention(n, alpha):
    permutations = list(itertools.permutations(range(n)))
    determinant = sum(
        sign(s) * sign(t) * math.prod(dirichlet_moment(n, alpha, a == b) for a, b in zip(s, t, strict=True))
        for s in permutations
        for t in permutations
    )
    assert determinant == Fraction(math.factorial(n), n**n) * (n * alpha + 1) ** (1 - n)
    # E ||Pi_perp A Pi_perp||_F^2: rows are independent, each with mean 1/n
    variance = dirichlet_moment(n, alpha, True) - Fraction(1, n**2)
    covariance = dirichlet_moment(n, alpha, False) - Fraction(1, n**2)
    schur = (n - 1) * (n * variance - (variance + (n - 1) * covariance)) if n > 1 else 0
    radius = dirichlet_radius(n, float(alpha))
    np.testing.assert_allclose((n - 1) * radius**2, float(schur), rtol=1e-14, atol=1e-300)


def test_dirichlet_eigenvalues_obey_schur():
    A = attention.dirichlet(12, 0.5, size=200, rng=0)
    moduli = np.sort(np.abs(np.linalg.eigvals(A)), axis=-1)[:, :-1]
    Pi = np.eye(12) - 1 / 12
    assert ((moduli**2).sum(axis=-1) <= ((Pi @ A @ Pi) ** 2).sum(axis=(-1, -2)) * (1 + 1e-10)).all()
    np.testing.assert_array_equal(dirichlet_radius(5, [0.5, 2.0]).shape, (2,))


def second_modulus(A):
    return np.sort(np.abs(np.linalg.eigvals(A)), axis=-1)[..., -2]


def slope(draw, sizes, rng):
    """Slope of ln E|lambda_2| against ln n, and its standard error."""
    means, errors = [], []
    for n, count in sizes:
        values = second_modulus(draw(n, count, rng))
        means.append(math.log(values.mean()))
        errors.append(values.std(ddof=1) / values.mean() / math.sqrt(count))
    x = np.log([n for n, _ in sizes])
    pull = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    return float(pull @ means), float(np.linalg.norm(pull * np.array(errors)))


SMALL = [(16, 400), (32, 300), (64, 150), (128, 40)]
LARGE = [(64, 400), (128, 200), (256, 100), (512, 40), (1024, 20)]


@pytest.mark.parametrize("sizes", [SMALL, pytest.param(LARGE, marks=pytest.mark.full)])
def test_lambda_2_falls_like_the_root_of_n_for_independent_rows(sizes):
    # 7 standard errors: a normal mean strays that far with probability 3e-12.  The slope of the edge itself
    # is below -1/2 by the excess of the largest of n moduli over the radius, which fades like sqrt(ln n / n)
    found, error = slope(
        lambda n, k, rng: attention.dirichlet(n, 1.0, size=k, rng=rng), sizes, np.random.default_rng(0)
    )
    assert found - 7 * error > -0.58
    assert found + 7 * error < -0.45


def nystrom(M, nodes=24):
    """Softmax attention of Gaussian tokens in the limit n -> infinity, on quadrature nodes."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    d = len(M)
    x = np.stack(np.meshgrid(*[z] * d, indexing="ij"), axis=-1).reshape(-1, d)
    log_w = sum(np.meshgrid(*[np.log(w)] * d, indexing="ij")).reshape(-1)
    return softmax(x @ M @ x.T + log_w)


@pytest.mark.parametrize(
    "M",
    [[[0.5]], [[-0.3]], [[0.35, 0.3], [-0.1, -0.25]], [[0.2, 0.4], [-0.4, 0.2]], [[0.3, 0.5], [0.0, 0.3]]],
    ids=str,
)
def test_the_spectrum_of_wide_token_attention_is_made_of_products(M):
    M = np.array(M)
    found = np.linalg.eigvals(nystrom(M))
    found = found[np.argsort(-np.abs(found))]
    mu = np.linalg.eigvals(M)
    degrees = itertools.product(range(6), repeat=len(mu))
    products = np.array([np.prod(mu ** np.array(k)) for k in degrees])
    products = products[np.argsort(-np.abs(products))][:6]
    # a defective M splits its eigenvalues by the root of rounding
    np.testing.assert_allclose(np.abs(found[:6]), np.abs(products), atol=1e-6)
    np.testing.assert_allclose(token_lambda2(M), np.abs(found[1]), atol=1e-6)


def test_lambda_2_of_tokens_does_not_vanish():
    """Gaussian tokens, scores x M x^T: lambda_2 stays near the spectral radius, .4, far above 1/sqrt(n)."""
    rng = np.random.default_rng(0)
    M = np.diag([0.4, 0.1, -0.1, 0.05])
    x = rng.normal(size=(60, 256, 4))
    values = second_modulus(softmax(x @ M @ np.swapaxes(x, -1, -2)))
    error = values.std(ddof=1) / math.sqrt(len(values))
    # 1/sqrt(n) is 1/16; a normal mean strays by 7 errors with probability 3e-12
    assert values.mean() - 7 * error > 5 / 16
    np.testing.assert_allclose(token_lambda2(np.stack([M, M / 2])), [0.4, 0.2])


@pytest.mark.full
def test_lambda_2_of_independent_queries_and_keys_falls():
    # a limit law of its own for each d_key; the slope settles at -1/2 where weights have a variance
    for d_key in (8, 64):
        found, error = slope(
            lambda n, k, rng, d_key=d_key: attention.softmax(n, d_key, size=k, rng=rng),
            LARGE,
            np.random.default_rng(1),
        )
        assert found - 7 * error > -0.56
        assert found + 7 * error < -0.38


# --- bad input -----------------------------------------------------------------------------------

X, I2 = np.eye(3, 2), np.eye(2)
FAR = np.full((2, 2), np.inf)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: pure_attention_bound(X, np.eye(3), I2, 1), ShapeError, "M"),
        (lambda: pure_attention_bound(X, I2, np.ones((2, 3)), 1), ShapeError, "H"),
        (lambda: pure_attention_bound(X, I2, I2, -1), InvalidValueError, "depth"),
        (lambda: pure_attention_bound(X, I2, I2, 1.5), InvalidTypeError, "depth"),
        (lambda: pure_attention_bound([1.0, 2.0], I2, I2, 1), ShapeError, "x0"),
        (lambda: pure_attention_bound(X * np.nan, I2, I2, 1), InvalidValueError, "x0"),
        (lambda: pure_attention_bound(X, FAR, I2, 1), InvalidValueError, "M"),
        (lambda: pure_attention_bound(np.zeros((3, 2, 2)), np.zeros((4, 2, 2)), I2, 1), ShapeError, "x0"),
        (lambda: collapse_threshold(I2, np.eye(3)), ShapeError, "H"),
        (lambda: collapse_threshold("a", I2), InvalidTypeError, "M"),
        (lambda: collapse_threshold(np.zeros((3, 2, 2)), np.zeros((4, 2, 2))), ShapeError, "M"),
        (lambda: dobrushin([[0.5, 0.6], [0.5, 0.5]]), InvalidValueError, "A"),
        (lambda: ring_gap(0, 1), InvalidValueError, "n"),
        (lambda: ring_eigenvalues(3, -1), InvalidValueError, "radius"),
        (lambda: causal_log_gap(3, 1.0), InvalidTypeError, "depth"),
        (lambda: causal_log_gap(None, 1), InvalidTypeError, "n"),
        (lambda: scaled_residual_loss(I2, -1.0, 3), InvalidValueError, "std"),
        (lambda: scaled_residual_loss(I2, 1.0, 0), InvalidValueError, "depth"),
        (lambda: scaled_residual_loss(I2, [1.0, np.nan], 3), InvalidValueError, "std"),
        (lambda: scaled_residual_odds([[1.0, 0], [0.5, 0.5]], 1.0, 3), InvalidValueError, "A"),
        (lambda: scaled_residual_odds(np.ones((3, 1, 1)), [1.0, 2.0], 3), ShapeError, "std"),
        (lambda: dirichlet_radius(0), InvalidValueError, "n"),
        (lambda: dirichlet_radius(2, 0.0), InvalidValueError, "concentration"),
        (lambda: dirichlet_radius(2, [1.0, -1.0]), InvalidValueError, "concentration"),
        (lambda: token_lambda2(np.ones((2, 3))), ShapeError, "M"),
        (lambda: token_lambda2([[np.inf]]), InvalidValueError, "M"),
        (lambda: token_lambda2([I2 / 2, I2]), InvalidValueError, "M"),
    ],
)
def test_bad_input_is_named(call, error, argument):
    with pytest.raises(error, match=rf"^{argument}\b.*found .*expected ") as caught:
        call()
    assert isinstance(caught.value, LinsimError)
