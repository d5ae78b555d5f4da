"""Errors of blocks that travel along by derivatives: the derivatives, the values and what is told of them."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from oracles import blocks as block_oracle

from linsim import Block, Layered, attention, simulate, tokens
from linsim._ask import task_of
from linsim._engines import block_parts, tangent_layers, tangents
from linsim._engines.block_step import step
from linsim._engines.tangent_tokens import Tokens
from linsim._state import EMPTY
from linsim.attention import FromTokens

N, D = 6, 8
GENERAL = attention.softmax(N, 3, rng=1)
RNG = np.random.default_rng(0)
CAUSAL = np.tril(np.ones((N, N), dtype=bool))
W = RNG.standard_normal((D, D)) / D**0.5
UP = RNG.standard_normal((D, 12)), RNG.standard_normal(12)
DOWN = RNG.standard_normal((12, D)), RNG.standard_normal(D)
FEED = {"up": UP, "down": DOWN}
HEADS = {"heads": 2, "query": W, "key": W.T, "value": W, "output": W}

BLOCKS = {
    "post": Block(GENERAL, weights=W),
    "pre, gain": Block(GENERAL, norm="pre", weights=W, gain=np.arange(1.0, D + 1), bias=np.ones(D)),
    "none": Block(GENERAL, norm=None, weights=W, branch=0.3),
    "gelu": Block(GENERAL, norm="pre", weights=W, feed_forward="gelu", **FEED),
    "relu": Block(GENERAL, norm="pre", weights=W, feed_forward="relu", **FEED),
    "tanh": Block(GENERAL, norm="post", weights=W, feed_forward="tanh", **FEED),
    "gated": Block(GENERAL, norm_kind="rms", norm="pre", weights=W, feed_forward="swiglu", gate=UP, **FEED),
    "scale": Block(
        GENERAL, norm="pre", weights=W, feed_forward="gelu", layer_scale=W[0], parallel=True, **FEED
    ),
    "sphere": Block(FromTokens(query_key=W), weights=W, norm_kind="sphere"),
    "masked": Block(FromTokens(query_key=W, mask=CAUSAL), weights=W, norm="pre"),
    "heads of tokens": Block(FromTokens(normalize=True), norm="pre", **HEADS),
    "fixed heads": Block(np.stack([GENERAL, np.eye(N)]), weights=np.stack([W, W.T]), heads=2),
}


def _errors_alone(monkeypatch):
    """Let operations round nothing."""
    monkeypatch.setattr(tangent_layers.Tangents, "normal", lambda self, count: np.zeros(count, np.float32))


@pytest.mark.parametrize("h", [1.0, 2.0**-4, 2.0**-12, 2.0**-40])
@pytest.mark.parametrize("name", BLOCKS)
def test_errors_move_by_the_derivative(name, h, monkeypatch):
    """What a layer makes of a small change is what it makes of an error: differences against derivatives."""
    _errors_alone(monkeypatch)
    block = BLOCKS[name]
    task = task_of(block, tokens.gaussian(N, D, size=2, rng=3), 1, rng=0)
    way = tangent_layers.Tangents(task.start)
    part = block_parts.parts_of(block, task)(slice(0, 2), np.arange(2), task.start)
    rng = np.random.default_rng(7)
    X = rng.standard_normal((2, N + 1, D))
    E = rng.standard_normal((2, way.p, N + 1, D)).astype(np.float32)
    way.h[:] = h
    streams = block_parts.Streams(np.arange(2, dtype=np.uint64), "float64", lambda draw: draw())

    def after(X):
        at = block_parts.attention_of_layer(part, task.start, streams, 0)
        weights = block_parts.weights_of_layer(part, task.start, streams, 0)
        return step(Tokens(X, E), part, at, weights, way, 1)

    found, small = after(X), 2.0**-18
    for copy in range(way.p):
        moved, back = (after(X + sign * small * E[:, copy]).X for sign in (1, -1))
        expected = (moved - back) / (2 * small)
        size = np.abs(expected).max(axis=-1, keepdims=True)
        np.testing.assert_allclose(found.E[:, copy] / size, expected / size, rtol=0, atol=4e-3)
    assert way.known.all()


def _by_clouds(monkeypatch, *args, **kwargs):
    with monkeypatch.context() as patch:
        patch.setattr(tangents, "covers", lambda task: False)
        return simulate(*args, **kwargs)


@pytest.mark.sample(2)
@pytest.mark.parametrize("times", [0, 1, 4, 20])
@pytest.mark.parametrize("name", BLOCKS)
def test_values_are_those_of_clouds(name, times, monkeypatch):
    """Two ways to carry differences, and two to carry errors: values agree to within what either tells."""
    x0 = tokens.gaussian(N, D, size=3, rng=3)
    # layers that leave a thousandth of the differences come first
    closer = Block(0.999 / N + 0.001 * GENERAL, norm=None, weights=np.eye(D), residual=0.0)
    rules = [closer] * times + [BLOCKS[name]] * 5
    run = simulate(Layered(rules), x0, len(rules), rng=1)
    far = _by_clouds(monkeypatch, Layered(rules), x0, len(rules), rng=1)
    assert not run.info.fallbacks.get("clouds")
    for metric, values in far.metrics.items():
        np.testing.assert_array_equal(np.isfinite(values), np.isfinite(run.metrics[metric]))
        seen = np.isfinite(values)
        off, told = np.abs(values - run.metrics[metric]), run.errors[metric]
        assert (off <= told + far.errors[metric])[seen].all(), metric
        # neither is much more careful
        assert np.median(told[seen] / far.errors[metric][seen]) < 8, metric


@pytest.mark.parametrize("name", ["post", "none", "gelu", "relu", "sphere"])
def test_errors_are_honest_and_sharp(name, monkeypatch):
    """Against arbitrary precision: no true error of what is measured exceeds what is told, by much in few."""
    kept, made = [], tangent_layers.Tangents.state
    monkeypatch.setattr(
        tangent_layers.Tangents, "state", lambda self, split: kept.append(made(self, split)) or kept[-1]
    )
    x0 = tokens.gaussian(N, D, rng=3)
    depth, short = 8, []
    simulate(ORACLE[name], x0, depth, rng=7)
    assert len(kept) == depth + 1
    with mp.workdps(60):
        for state, X in zip(kept[1:], list(block_oracle.states(ORACLE[name], x0, depth, 7))[1:], strict=True):
            mean = [mp.fsum(X[i, j] for i in range(N)) / N for j in range(D)]
            r, R = (_exactly(part, e) for part, e in ((state.r, state.e_r), (state.R, state.e_R)))
            off_mean = mp.norm([r[0, j] - mean[j] for j in range(D)])
            off = [R[i, j] - (X[i, j] - mean[j]) for i in range(N) for j in range(D)]
            short.append(state.noise[0, 0, 1] - float(mp.log(off_mean, 2)))
            short.append(state.noise[0, 0, 3] - float(mp.log(mp.norm(off), 2)))
            for i in range(N):
                token = mp.norm([r[0, j] + R[i, j] - X[i, j] for j in range(D)])
                short.append(state.rows[0, i, 0] - float(mp.log(token, 2)))
    assert min(short) >= 0
    assert np.median(short) <= np.log2(30)


#: what the oracle knows as well
ORACLE = {
    "post": Block(GENERAL),
    "none": Block(GENERAL, norm=None, weights="orthogonal"),
    "gelu": Block(GENERAL, norm="pre", feed_forward="gelu", width=12),
    "relu": Block(GENERAL, feed_forward="relu", norm=None, width=12),
    "sphere": Block(FromTokens(temperature=0.5), residual=0.5),
}


def _exactly(part, exponent):
    scale = mp.ldexp(1, int(exponent[0, 0, 0]))
    return mp.matrix([[mp.mpf(float(v)) * scale for v in row] for row in part[0]])


def test_what_derivatives_do_not_tell_goes_as_clouds(monkeypatch):
    """Zero tokens, tokens that are all one, sizes beyond float32, differences that vanish within a layer."""
    x0 = tokens.gaussian(N, D, rng=0)
    zero = x0.copy()
    zero[2] = 0
    alone = np.eye(N)
    cases = [
        (Block(alone, norm=None, weights=W), zero, 3),
        (Block(attention.uniform(N), norm=None, weights=W, residual=0.0), x0, 3),
        (Block(GENERAL, norm=None, weights=1e8 * W), x0, 4),
        (Block(FromTokens(query_key=np.eye(D), normalize=False), weights=np.eye(D), residual=0.0, norm=None),
         0.3 * x0, 12),
    ]  # fmt: skip
    for rule, start, depth in cases:
        run = simulate(rule, start, depth, rng=1)
        far = _by_clouds(monkeypatch, rule, start, depth, rng=1)
        assert run.info.fallbacks["clouds"] == 1
        for metric, values in far.metrics.items():
            np.testing.assert_array_equal(np.isnan(values), np.isnan(run.metrics[metric]), err_msg=metric)
            seen = np.isfinite(values)
            off = np.abs(run.metrics[metric][seen] - values[seen])
            assert (off <= (run.errors[metric] + far.errors[metric])[seen]).all(), metric


def test_a_token_far_below_others_goes_as_clouds():
    """The mean of all, which attention adds to each and takes off again, would round it; not a zero one."""
    x0 = tokens.gaussian(4, 3, rng=0)
    for size, again in ((1e-2, 0), (1e-9, 1), (1e-200, 1), (0.0, 0)):
        start = x0 * np.array([1.0, 1.0, size, 1.0])[:, None]
        run = simulate(Block(0.9 * np.eye(4) + 0.025, norm=None, weights=0.3 * np.eye(3)), start, 1)
        assert run.info.fallbacks.get("clouds", 0) == again, size


def test_a_system_that_leaves_the_range_hides_nothing_and_tells_nothing_wrong(monkeypatch):
    """One of two systems grows beyond what errors in single precision hold; the other is told as alone."""
    x0 = np.random.default_rng(0).standard_normal((2, N, D))
    block = Block(
        FromTokens(), weights="gaussian", norm=None, feed_forward="linear", heads=2, std=[1.0, 1e12]
    )
    run = simulate(block, x0, 25, rng=1)
    far = _by_clouds(monkeypatch, block, x0, 25, rng=1)
    assert run.info.fallbacks["clouds"] == 1
    for metric, values in far.metrics.items():
        seen = np.isfinite(values)
        np.testing.assert_array_equal(seen, np.isfinite(run.metrics[metric]), err_msg=metric)
        off = np.abs(run.metrics[metric][seen] - values[seen])
        assert (off <= (run.errors[metric] + far.errors[metric])[seen]).all(), metric


def test_errors_beyond_what_derivatives_tell_are_not_told(monkeypatch):
    """An error of a thousandth of a token at once: nothing is said of what it becomes."""
    task = task_of(BLOCKS["post"], tokens.gaussian(N, D, size=2, rng=3), 1, rng=0)
    way = tangent_layers.Tangents(task.start)
    way.tokens.E[1] = 1e-3 / np.finfo(float).eps * RNG.standard_normal(way.tokens.E.shape[1:])
    way.norm(way.tokens, "layer", None, None, 1e-5)
    assert way.known.tolist() == [True, False]
    noise = way.state(None).noise
    assert np.isinf(noise[1]).any()
    assert np.isfinite(noise[0][noise[0] > EMPTY]).all()


@pytest.mark.parametrize("name", ["gelu", "tanh", "heads of tokens"])
def test_a_system_does_not_depend_on_the_others(name, monkeypatch):
    """Near and far ones beside each other, alone, and cut into pieces: the same to the last bit."""
    x0 = tokens.gaussian(N, D, size=4, rng=0)
    x0[1::2] = x0[1::2, :1] + 1e-4 * x0[1::2]
    whole = simulate(BLOCKS[name], x0, 5, rng=0)
    monkeypatch.setattr(tangents, "_AT_ONCE", 1)
    cut = simulate(BLOCKS[name], x0, 5, rng=0)
    for metric, values in whole.metrics.items():
        np.testing.assert_array_equal(values, cut.metrics[metric], err_msg=metric)
        np.testing.assert_array_equal(whole.errors[metric], cut.errors[metric], err_msg=metric)
