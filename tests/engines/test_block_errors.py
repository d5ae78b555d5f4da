"""What blocks say about their own errors: against arbitrary precision, honest and sharp; and what is lost."""

from __future__ import annotations

from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
from oracles import blocks as block_oracle

import linsim
from linsim import Block, Deescalation, attention, simulate, tokens
from linsim._cloud import FLOOR, gather, normalise, rescaled
from linsim._engines import blocks, tangents
from linsim._state import EMPTY, assemble
from linsim.attention import FromTokens

N, D = 5, 4
GENERAL = attention.softmax(N, 3, rng=1)
CAUSAL = np.tril(np.ones((N, N))) / np.arange(1, N + 1)[:, None]


class Hook:
    """A function of tokens that also exists without rounding."""

    def __init__(self, function, exact):
        self.function, self.exact = function, exact

    def __call__(self, x):
        return self.function(x)


IDENTITY = Hook(lambda x: x, lambda v: v)
TANH = Hook(lambda x: x - 0.5 * np.tanh(x), lambda v: v - mp.tanh(v) / 2)

BLOCKS = {
    "post": Block(GENERAL),
    "pre": Block(CAUSAL, norm="pre", gain=np.array([1.0, -0.5, 2.0, 0.7])),
    "none": Block(GENERAL, norm=None, weights="orthogonal"),
    "gelu": Block(GENERAL, feed_forward="gelu", width=6),
    "relu": Block(CAUSAL, feed_forward="relu", norm=None, width=6),
    "hook": Block(GENERAL, deescalation=Deescalation("output", function=IDENTITY)),
    "tanh hook": Block(CAUSAL, norm="pre", deescalation=Deescalation("attention", function=TANH)),
    "tau": Block(GENERAL, deescalation=Deescalation("attention", tau=0.7)),
    "similarity": Block(CAUSAL, deescalation=Deescalation("output", similarity=0.3)),
    "tokens": Block(FromTokens(temperature=0.5), residual=0.5),
    "true scale": Block(FromTokens(normalize=False), norm="pre"),
}
STARTS = {
    "ordinary": np.ones((N, 1)),
    "massive": np.array([[1e5], [1.0], [1.0], [1.0], [1.0]]),
    "tiny": np.array([[1.0], [1.0], [1e-9], [1.0], [1.0]]),
}


def _states(monkeypatch, *args, **kwargs):
    """What clouds hand over at each layer, and the run."""
    kept, made = [], blocks.state_of
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "state_of", lambda *a: kept.append(made(*a)) or kept[-1])
        patch.setattr(tangents, "covers", lambda task: False)
        return kept, simulate(*args, **kwargs)


def _exactly(x, e):
    """A part (1, r, d) of a state in arbitrary precision."""
    scale = mp.ldexp(1, int(e)) if e > EMPTY / 2 else 0
    return mp.matrix([[mp.mpf(float(v)) * scale for v in row] for row in x[0]])


def _errors(state, X):
    """log2 of (error found, error told) of the mean, the differences and every token."""
    n, d = X.rows, X.cols
    found, rest = _exactly(state.r, state.e_r[0, 0, 0]), _exactly(state.R, state.e_R[0, 0, 0])
    mean = mp.matrix([[mp.fsum(X[i, j] for i in range(n)) / n for j in range(d)]])
    pairs = [(mp.norm(list(found - mean)), state.noise[0, 0, 1])]
    off = [rest[i, j] - X[i, j] + mean[0, j] for i in range(n) for j in range(d)]
    pairs.append((mp.norm(off), state.noise[0, 0, 3]))
    tokens_found = _exactly(*(x if x.shape[-1] == d else x[0, 0, 0] for x in assemble(state)))
    for i in range(n):
        pairs.append((mp.norm(list(tokens_found[i, :] - X[i, :])), state.rows[0, i, 0]))
    return [(float(mp.log(a, 2)), float(b)) for a, b in pairs if a > 0]


@pytest.mark.sample(2)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", BLOCKS)
def test_errors_are_honest_and_sharp(name, start, monkeypatch):
    """No true error exceeds what is told, and what is told is at most 30 times the truth in the median."""
    x0 = tokens.gaussian(N, D, rng=3) * STARTS[start]
    states, _ = _states(monkeypatch, BLOCKS[name], x0, 8, rng=7)
    with mp.workdps(60):
        truth = block_oracle.states(BLOCKS[name], x0, 8, 7)
        pairs = np.array([pair for state, X in zip(states, truth, strict=True) for pair in _errors(state, X)])
    short = pairs[:, 1] - pairs[:, 0]
    assert len(short) > 40
    assert short.min() >= -1e-9  # what is lost at the input is measured exactly, up to its logarithm
    assert np.median(short) <= np.log2(30)


def _features_that_cancel():
    """One feature of size 1, the difference of two of size 1e9, under a hook that knows sizes: tanh."""
    x0 = tokens.gaussian(N, 3, rng=0)
    x0[:, :2] += 1e9
    W = np.array([[1.0, 1.0, 0.3], [0.5, -1.0, 0.2], [0.7, 1.0, 0.9]])
    hook = Deescalation("output", function=Hook(np.tanh, mp.tanh))
    return Block(GENERAL, weights=W, residual=None, norm=None, deescalation=hook), x0


def _scores_that_tie():
    """Scores of 1e10 that differ by about 1, of tokens that differ otherwise."""
    x0 = tokens.gaussian(N, 2, rng=0)
    x0[:, 0] = 1 + 1e-10 * x0[:, 0]
    spec = FromTokens(query_key=np.diag([1e10, 0.0]), normalize=False)
    return Block(spec, weights=np.eye(2), residual=None, norm=None), x0


@pytest.mark.parametrize("case", [_features_that_cancel, _scores_that_tie])
def test_errors_far_above_rounding_are_carried_through_what_saturates(case, monkeypatch):
    """Errors of 1e-7 where a factor that suits errors of 1e-16 would leave the range of tanh and softmax."""
    block, x0 = case()
    states, _ = _states(monkeypatch, block, x0, 1, rng=0)
    with mp.workdps(60):
        pairs = np.array(_errors(states[1], list(block_oracle.states(block, x0, 1, 0))[1]))
    assert pairs[:, 0].max() > np.log2(1e-9)
    assert (pairs[:, 1] >= pairs[:, 0]).all()


def test_errors_of_single_precision_are_those_of_double_precision(monkeypatch):
    """Numbers that float32 holds, in float32 and float64: the difference is what float32 says."""
    n, d, depth = 24, 32, 12
    rng = np.random.default_rng(0)
    Ws = [(rng.standard_normal((d, d)) / d**0.5).astype(np.float32) for _ in range(depth)]
    x0 = tokens.gaussian(n, d, rng=0).astype(np.float32)
    A = attention.softmax(n, 16, rng=3).astype(np.float32)
    exact = A / A.astype(float).sum(1, keepdims=True)

    def layers():
        following = iter(Ws)
        return lambda d, size, rng: np.broadcast_to(next(following).astype(float), (size, d, d)).copy()

    single, run = _states(monkeypatch, Block(A, weights=layers()), x0, depth, rng=0, dtype="float32")
    double, reference = _states(monkeypatch, Block(exact, weights=layers()), x0.astype(float), depth, rng=0)
    ratios = []
    for a, b in zip(single[1:], double[1:], strict=True):
        for part, exponent, k in (("r", "e_r", 1), ("R", "e_R", 3)):
            low, high = (getattr(s, part)[0].astype(float) * 2.0 ** getattr(s, exponent)[0] for s in (a, b))
            ratios.append(a.noise[0, 0, k] - np.log2(np.linalg.norm(low - high)))
    assert min(ratios) >= 0
    assert np.median(ratios) <= np.log2(30)
    for name in ("cosine", "token_similarity", "effective_rank"):
        np.testing.assert_allclose(run.metrics[name], reference.metrics[name], rtol=0, atol=1e-4)


# --- hooks ---------------------------------------------------------------------------------------


def test_a_hook_that_changes_nothing_hides_nothing():
    x0 = tokens.gaussian(6, 4, rng=0)
    A = attention.uniform(6)
    common = {"weights": 0.01 * np.eye(4), "norm": None}
    hooked = Block(A, deescalation=Deescalation("output", function=lambda x: x), **common)
    found = simulate(hooked, x0, 60, rng=0).metrics
    plain = simulate(Block(A, **common), x0, 60, rng=0).metrics
    for name, value in found.items():
        assert np.isfinite(value).all(), name
        np.testing.assert_allclose(value, plain[name], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(("own", "other"), [("float64", "float32"), ("float32", "float64")])
def test_a_hook_returns_the_dtype_that_it_got(own, other):
    x0, A = tokens.gaussian(3, 4, rng=0).astype(own), attention.uniform(3).astype(own)
    wrong = Block(A, deescalation=Deescalation("output", function=lambda x: x.astype(other)))
    with pytest.raises(linsim.LinsimError) as caught:
        simulate(wrong, x0, 2, rng=0, dtype=own)
    for part in ("function: found", f"dtype {other} at layer 1", f"expected dtype {own}", "Convert"):
        assert part in str(caught.value)
    followed = Deescalation("output", function=lambda x: x.astype(other).astype(x.dtype))
    assert np.isfinite(
        simulate(Block(A, deescalation=followed), x0, 2, rng=0, dtype=own).metrics["cosine"]
    ).all()


def test_what_a_hook_loses_is_told():
    """Two hooks that undo each other but for rounding: differences are shrunk to it and enlarged again."""

    def times(factor):
        def hook(x):
            mean = x.mean(axis=-2, keepdims=True)
            return mean + factor * (x - mean)

        return hook

    x0 = tokens.gaussian(3, 4, rng=0)
    for factor, seen in ((1e-3, True), (1e-15, False)):
        hooks = [
            Deescalation("attention", function=times(factor)),
            Deescalation("output", function=times(1 / factor)),
        ]
        run = simulate(
            Block(GENERAL[:3, :3] / GENERAL[:3, :3].sum(1, keepdims=True), norm=None, deescalation=hooks),
            x0,
            3,
            rng=0,
        )
        assert (np.isfinite(run.metrics["log_spread"][1:]) == seen).all()


# --- tokens far below the others -------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-9, 1e-18, 1e-100, 1e-200])
def test_a_small_token_keeps_its_digits(size):
    """A norm enlarges it; attention that leaves it to itself added nothing to it."""
    x0 = tokens.gaussian(4, 3, rng=0) * np.array([1.0, 1.0, size, 1.0])[:, None]
    block = Block(np.eye(4), norm_eps=0.0)
    found = simulate(block, x0, 3, rng=0).metrics["log_token_diversity"]
    with mp.workdps(60):
        truth = [block_oracle.log_token_diversity(X) for X in block_oracle.states(block, x0, 3, 0)]
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-12)


def test_a_zero_row_stays_zero(monkeypatch):
    A = np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]])
    x0 = np.array([[0.0, 0], [1, 0], [0, 1]])
    for block in (
        Block(A, weights=np.diag([0.8, 0.1]), norm=None),
        Block(A, norm="pre", feed_forward="gelu"),
        Block(A, residual=None, norm=None),
    ):
        states, run = _states(monkeypatch, block, x0, 5, rng=0, keep_states=True)
        assert (run.states[:, 0] == 0).all()
        assert all(state.rows[0, 0, 0] == EMPTY for state in states)
        assert all((state.rows[0, 1:, 0] > EMPTY / 2).all() for state in states[1:])


# --- collapse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(2, 2), (5, 3)])
def test_doubly_exponential_collapse_ends_at_a_floor(n, d):
    """Pure attention without a residual triples its exponents: right to 2^-2^40, then NaN, not -inf."""
    for seed in range(3):
        x0 = tokens.gaussian(n, d, rng=seed)
        block = Block(
            FromTokens(query_key=np.eye(d), normalize=False), weights=np.eye(d), residual=None, norm=None
        )
        run = simulate(block, x0, 60, rng=0)
        found = run.metrics["log_token_diversity"]
        with mp.workdps(60):
            truth = list(block_oracle.pure_attention(x0, np.eye(d), 60))
        deep = [float(t) < FLOOR * np.log(4) for t in truth]
        assert any(deep)
        assert np.isfinite(found[:12]).all()
        for value, t in zip(found, truth, strict=True):
            assert np.isnan(value) or abs(mp.mpf(float(value)) - t) < 0.01
        for name, value in run.metrics.items():
            assert not np.isneginf(value).any(), name
            if name.startswith("log") and name != "log_norm":
                assert np.isnan(value[deep]).all(), name
        assert (run.metrics["token_similarity"][-20:] == 1).all()


def test_a_copy_far_below_its_system_survives():
    """At exponents of 1e11 an error of 1e-8 in the logarithm is a factor 2^1000 between copies."""
    cloud = gather(1 + 1e-3 * tokens.gaussian(3, 4, rng=0)[None])
    far = cloud.e_rest.copy()
    far[1:] -= 5000
    apart = replace(cloud, e_rest=far)
    kept = rescaled(apart, np.zeros((1, 1, 1)))
    np.testing.assert_array_equal(kept.e_rest, far)
    np.testing.assert_array_equal(kept.rest, cloud.rest)
    # differences that vanish in some copies only are not known to vanish
    none = cloud.rest.copy()
    none[2] = 0
    assert normalise(replace(cloud, rest=none)).lost.all()
    assert not normalise(replace(cloud, rest=0 * none)).lost.any()


def test_weights_below_the_range_of_floats_are_not_zero():
    """Scores 800 apart: tokens that a softmax makes equal differ by exp(-800), which is not nothing."""
    x0 = np.array([[30.0, 0.0], [28.0, 0.0], [27.0, 0.0]])
    spec = FromTokens(query_key=np.diag([20.0, 1.0]), normalize=False)
    run = simulate(Block(spec, weights=np.eye(2), residual=None, norm=None), x0, 2, rng=0)
    assert np.isnan(run.metrics["log_token_diversity"][1:]).all()
    assert (run.metrics["token_similarity"][1:] == 1).all()
    # masked weights are exactly zero
    first = np.array([[True, False, False]] * 3)
    spec = FromTokens(query_key=np.diag([20.0, 1.0]), normalize=False, mask=first)
    run = simulate(Block(spec, weights=np.eye(2), residual=None, norm=None), x0, 2, rng=0)
    assert np.isneginf(run.metrics["log_token_diversity"][1:]).all()


def test_two_features_under_a_norm_keep_their_gaps():
    """With d = 2 a norm leaves +-(1, -1) and the deviations of eps from it: they are values, not rounding."""
    x0 = tokens.gaussian(4, 2, rng=1)
    block = Block(attention.softmax(4, 3, rng=0))
    found = simulate(block, x0, 12, rng=2).metrics["log_token_diversity"]
    with mp.workdps(200):
        truth = [block_oracle.log_token_diversity(X) for X in block_oracle.states(block, x0, 12, 2)]
    seen = np.isfinite(found)
    assert seen.all()
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6)
