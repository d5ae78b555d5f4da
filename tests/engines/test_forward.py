"""Blocks on plain numbers: against clouds and arbitrary precision, honest where numbers are not known."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from oracles import blocks as block_oracle

import linsim
from linsim import Block, Deescalation, attention, masks, simulate, tokens
from linsim._engines import blocks
from linsim.attention import FromTokens, Rotary
from linsim.metrics._evaluate import of_tokens
from linsim.metrics._plainly import PLAINLY, plainly

N, D = 6, 8
PLAIN = ["token_similarity", "hfc_lfc", "cosine", "abs_cosine", "effective_rank", "stable_rank", "log_norm"]
BLOCKS = {
    "uniform": Block(attention.uniform(N), feed_forward="gelu"),
    "heads": Block(FromTokens(mask=masks.causal(N), rotary=Rotary()), heads=2, norm="pre", norm_kind="rms"),
    "swiglu": Block(FromTokens(bias=attention.alibi(N, 4)), heads=4, feed_forward="swiglu", norm="pre"),
    "given heads": Block(
        attention.softmax(N, 3, size=2, rng=0),
        weights=np.random.default_rng(0).standard_normal((2, D, D)) / 4,
        heads=2,
        norm_kind="sphere",
        feed_forward="relu",
    ),
    "tau": Block(FromTokens(), deescalation=Deescalation("attention", tau=0.5), feed_forward="tanh"),
    "parallel": Block(FromTokens(), norm="pre", parallel=True, feed_forward="silu", layer_scale=np.ones(D)),
    "sampled": Block(lambda size, rng: attention.softmax(N, 4, size=(size,), rng=rng), weights="orthogonal"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_plain_numbers_are_the_clouds_to_within_what_is_told(name):
    x0 = tokens.gaussian(N, D, size=2, rng=1)
    options = {"metrics": PLAIN, "keep_states": True, "rng": 3}
    near, far = (
        simulate(BLOCKS[name], x0, 12, method=method, **options) for method in ("forward", "iterate")
    )
    assert set(near.info.methods) == {"forward"}
    for metric in PLAIN:
        off = np.abs(near.metrics[metric] - far.metrics[metric])
        assert (off <= near.errors[metric] + far.errors[metric]).all()
        assert (near.errors[metric] < 1e-8 * (1 + np.abs(near.metrics[metric]))).all()
    states = [run.states * np.exp(run.state_log_scale)[..., None, None] for run in (near, far)]
    np.testing.assert_allclose(*states, rtol=0, atol=1e-10 * np.abs(states[0]).max())


def truth_of(rule, x0, depth, seed):
    """Cosine and similarity of each layer in arbitrary precision."""
    out = []
    for X in block_oracle.states(rule, x0, depth, seed):
        n, d = X.rows, X.cols
        rows = [[X[i, j] for j in range(d)] for i in range(n)]
        sizes = [mp.sqrt(mp.fsum(v * v for v in row)) for row in rows]
        total = [mp.fsum(rows[i][j] / sizes[i] for i in range(n)) for j in range(d)]
        mean = [mp.fsum(row[j] for row in rows) for j in range(d)]
        cosine = (mp.fsum(v * v for v in total) - n) / (n * (n - 1))
        out.append((float(cosine), float(mp.fsum(v * v for v in mean) / n / mp.fsum(s * s for s in sizes))))
    return np.array(out).T


def test_errors_are_honest_where_rounding_grows():
    """Cold softmax and tanh enlarge rounding: told errors hold, and are not thousands of times as large."""
    sharpness = []
    # some of those in which it grows the most, and two others
    for seed, temperature in ((2, 0.02), (19, 0.02), (45, 0.02), (2, 0.05), (5, 0.05), (7, 0.05)):
        spec = FromTokens(temperature=temperature)
        rule = Block(spec, feed_forward="tanh", feed_forward_std=4.0, width=6, norm="pre")
        x0 = tokens.gaussian(4, 4, rng=seed)
        run = simulate(rule, x0, 40, metrics=["cosine", "token_similarity"], rng=seed)
        with mp.workdps(60):
            truth = truth_of(rule, x0, 40, seed)
        for name, expected in zip(("cosine", "token_similarity"), truth, strict=True):
            seen = np.isfinite(run.metrics[name])
            assert seen[:5].all()
            off, told = np.abs(run.metrics[name] - expected)[seen], run.errors[name][seen]
            assert (off <= told).all(), (seed, name)
            grown = off > 100 * np.finfo(float).eps  # more than measuring rounds
            sharpness += list(told[grown] / off[grown])
    assert len(sharpness) > 10
    assert 5 < np.median(sharpness) < 1000


def test_what_plain_numbers_cannot_hold_goes_as_clouds():
    """Tokens whose squares vanish, tokens that grow beyond doubles, norms of nothing but rounding."""
    small = 1e-170 * tokens.gaussian(N, D, rng=0)
    large = tokens.gaussian(N, D, rng=0)
    flat = np.ones((N, D)) + 1e-15 * np.sign(tokens.gaussian(N, D, rng=2))
    cases = [
        (Block(attention.uniform(N), norm=None), small, 3),
        (Block(attention.uniform(N), norm=None, std=1e8), large, 30),
        (Block(np.eye(N), norm=None, weights=1e-8 * np.eye(D), residual=None), large, 41),
        (Block(FromTokens(), norm="pre", residual=0.0), flat, 2),
    ]
    for rule, x0, depth in cases:
        run = simulate(rule, x0, depth, metrics=["cosine", "token_similarity"], rng=1)
        far = simulate(rule, x0, depth, metrics=["cosine", "token_similarity"], rng=1, method="iterate")
        for name, values in far.metrics.items():
            np.testing.assert_array_equal(np.isnan(values), np.isnan(run.metrics[name]))
            seen = np.isfinite(values)
            off = np.abs(run.metrics[name] - values)
            assert (off <= run.errors[name] + far.errors[name])[seen].all()
        assert run.info.fallbacks.get("iterate", 0) == 1


def test_a_system_does_not_depend_on_the_others(monkeypatch):
    """Alone, in a batch, and beside scores that need their largest taken off: the same to the bit."""
    heat = np.array([1.0, 1e-4, 0.5])
    x0 = tokens.gaussian(N, D, size=3, rng=0)
    options = {"metrics": PLAIN, "rng": 0}

    def rule(temperature):
        return Block(FromTokens(temperature=temperature), weights=np.eye(D), norm="pre", feed_forward="gelu")

    whole = simulate(rule(heat), x0, 9, **options)
    monkeypatch.setattr(blocks, "_CACHED", 1)
    cut = simulate(rule(heat), x0, 9, **options)
    first = simulate(rule(heat[:1]), x0[:1], 9, **options)
    for name in PLAIN:
        np.testing.assert_array_equal(whole.metrics[name], cut.metrics[name])
        np.testing.assert_array_equal(whole.metrics[name][:1], first.metrics[name])


def test_metrics_by_their_definitions_are_those_with_gaps():
    x = tokens.gaussian(N, D, size=40, rng=0) + 3 * np.linspace(0, 1, 40)[:, None, None]
    x[3, 2] = 0.0
    x[4, 1:] = x[4, 0]
    found, expected = plainly(x, 0 * x, list(PLAINLY)), of_tokens(x, PLAINLY)
    for name, one in found.items():
        off = np.abs(one.value - expected[name].value)
        assert (off <= one.error + expected[name].error).all(), name
        assert (one.error < 1e-12 * (1 + np.abs(one.value))).all()


@pytest.mark.parametrize("metric", list(PLAINLY))
def test_errors_of_metrics_cover_what_tokens_are_off_by(metric):
    """Tokens moved by 1e-6 of themselves, in 200 directions: at most what is told, and not 50 times less."""
    rng = np.random.default_rng(0)
    x = tokens.gaussian(N, D, size=5, rng=1)[:, None] + np.array([0.0, 0.3, 1.0, 3.0])[:, None, None]
    x = x.reshape(-1, N, D)
    largest = 0.0
    for _ in range(200):
        error = 1e-6 * x * rng.standard_normal(x.shape)
        told = plainly(x, error, [metric])[metric]
        off = np.abs(plainly(x + error, 0 * x, [metric])[metric].value - told.value)
        largest = max(largest, float((off / told.error).max()))
    assert 0.02 < largest < 1 + 1e-4


def test_the_copy_tells_how_errors_grow():
    """X <- 3 X, exactly: relative errors stay what they are, whatever the factor of the copy."""
    rule = Block(np.eye(N), weights=2 * np.eye(D), norm=None)
    run = simulate(rule, tokens.gaussian(N, D, rng=0), 200, metrics=["cosine", "log_norm"], method="forward")
    assert (run.errors["cosine"] < 1e-10).all()
    np.testing.assert_allclose(np.diff(run.metrics["log_norm"]), np.log(3), atol=1e-12)


def test_what_is_in_the_way():
    x0, uniform = tokens.gaussian(N, D, rng=0), attention.uniform(N)
    hook = Block(uniform, deescalation=Deescalation("output", function=lambda x: x))
    for rule, metric, single, why in (
        (Block(uniform), "log_cosine_gap", False, "gaps are lost"),
        (Block(uniform), "attention_entropy", False, "not measured"),
        (Block(uniform), "cosine", True, "float32"),
        (hook, "cosine", False, "function"),
        (Block(uniform, deescalation=Deescalation("output", similarity=0.5)), "cosine", False, "similarity"),
        (
            linsim.RandomWeights(lambda size, rng: attention.softmax(N, 4, size=(size,), rng=rng)),
            "cosine",
            False,
            "no Block",
        ),
    ):
        given = x0.astype(np.float32) if single else x0
        dtype = "float32" if single else None
        with pytest.raises(linsim.LinsimError, match=why):
            simulate(rule, given, 2, metrics=metric, method="forward", dtype=dtype)
        by_itself = simulate(rule, given, 2, metrics=metric, dtype=dtype, rng=0).info.method
        assert by_itself == ("parts" if why == "no Block" else "iterate")
