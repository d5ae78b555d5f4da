"""Errors of metrics from samples of the state: of the right size for every metric, seldom exceeded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles.contract import OF_TOKENS

import linsim
from linsim._state import EMPTY, of_plain_tokens, stacked
from linsim.metrics._evaluate import evaluate
from linsim.metrics._sampled import SAFETY, measured

NOISE = 2.0**-22


def state_of(x, noise=NOISE):
    """A float32 state of tokens (b, n, d) whose entries are off by ``noise`` each, as bounds know of it."""
    state = of_plain_tokens(x.astype(np.float64))
    n, d = x.shape[-2:]
    size = np.log2(noise) + 0.5 * np.log2(n * d) + np.log2(3)
    told = np.where(state.noise > EMPTY / 2, size, EMPTY)
    rows = np.full((len(x), n, 1), np.log2(noise) + 0.5 * np.log2(d) + np.log2(3))
    return replace(state, noise=told, rows=rows)


def with_samples(x, rng, count=3, noise=NOISE, enlarged=0.0):
    """``x`` and samples of it that are off by independent errors, 2**enlarged times as large."""
    off = noise * 2.0**enlarged * rng.standard_normal((count, *x.shape))
    others = tuple(state_of(x + one) for one in off)
    return replace(state_of(x), samples=others, enlarged=np.full((len(x), 1, 1), enlarged))


def tokens(rng, b=1, n=5, d=4):
    return rng.standard_normal((b, n, d)) + 2 * rng.standard_normal((b, 1, d))


def formulas(x):
    """Some metrics of (n, d) tokens by their usual formulas, without a line of linsim."""
    mean = x.mean(0)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    n, s = len(x), np.linalg.svd(x, compute_uv=False)
    return {
        "token_similarity": n * (mean @ mean) / np.sum(x * x),
        "log_norm": np.log(np.linalg.norm(x)),
        "cosine": (np.sum(units @ units.T) - n) / (n * (n - 1)),
        "stable_rank": np.sum(s * s) / s[0] ** 2,
        "log_rank_gap": np.log(s[1] / s[0]),
    }


def test_without_samples_an_error_is_its_bound():
    state = state_of(tokens(np.random.default_rng(0), b=3))
    found, _ = measured(state, OF_TOKENS)
    bounds, _ = evaluate(state, OF_TOKENS)
    for name in OF_TOKENS:
        assert np.array_equal(found[name].error, bounds[name].error)


def test_an_error_is_at_least_the_deviation_of_the_samples_and_no_bound():
    rng = np.random.default_rng(1)
    x = tokens(rng)
    state = with_samples(x, rng)
    found, _ = measured(state, OF_TOKENS)
    bounds, _ = evaluate(state, OF_TOKENS)
    truth = formulas(x[0])
    others = [formulas((one.R + one.r * (one.e_r > EMPTY / 2))[0]) for one in map(unscaled, state.samples)]
    for name, value in truth.items():
        deviation = np.sqrt(np.mean([(other[name] - value) ** 2 for other in others]))
        assert found[name].error.item() >= 0.99 * SAFETY[3] * deviation
        assert found[name].error.item() <= bounds[name].error.item() + 1.01 * SAFETY[3] * deviation


def test_samples_that_agree_do_not_make_known_what_a_bound_leaves_open():
    """Of tokens below their noise every direction is open: cosines from -1 to 1, whatever samples say."""
    x = np.ones((1, 4, 3))
    state = replace(state_of(x, noise=8.0), samples=(state_of(x, noise=8.0),) * 3)
    found, _ = measured(state, ["cosine", "abs_cosine", "token_similarity"])
    assert found["cosine"].value.item() - found["cosine"].error.item() <= -1
    assert found["abs_cosine"].value.item() - found["abs_cosine"].error.item() <= 0
    assert found["token_similarity"].value.item() - found["token_similarity"].error.item() <= 0


def unscaled(state):
    """The parts of a state of plain tokens with exponent 0."""
    return replace(
        state, R=state.R * 2.0**state.e_R, r=state.r * np.where(state.e_r > EMPTY / 2, 2.0**state.e_r, 0)
    )


def test_few_errors_exceed_what_is_said_and_most_are_not_far_below():
    rng = np.random.default_rng(2)
    x = np.repeat(tokens(rng, b=8), 250, axis=0)  # eight states, 250 draws of errors each
    found, _ = measured(with_samples(x, rng), OF_TOKENS)
    wrong, _ = evaluate(state_of(x + NOISE * rng.standard_normal(x.shape)), OF_TOKENS)
    for name in OF_TOKENS:
        off, said = np.abs(wrong[name].value - found[name].value).ravel(), found[name].error.ravel()
        # 2000 errors, of which one in a thousand may be larger, and three standard deviations more
        assert np.sum(off > said) <= 2 + 3 * np.sqrt(2), name
        assert np.median(said / off) < 30, name


@pytest.mark.parametrize("enlarged", [3.0, 8.0])
def test_errors_of_samples_may_be_enlarged(enlarged):
    rng = np.random.default_rng(3)
    x = tokens(rng)
    plain, _ = measured(with_samples(x, np.random.default_rng(4)), OF_TOKENS)
    large, _ = measured(with_samples(x, np.random.default_rng(4), enlarged=enlarged), OF_TOKENS)
    for name in OF_TOKENS:
        # the same but for what is of second order, of relative size 2**enlarged NOISE
        assert large[name].error.item() == pytest.approx(plain[name].error.item(), rel=0.01)


def test_states_of_several_layers_keep_their_own_samples():
    rng = np.random.default_rng(5)
    states = [with_samples(tokens(rng, b=2), rng, noise=noise) for noise in (NOISE, 2.0**6 * NOISE)]
    alone = [measured(state, OF_TOKENS)[0] for state in states]
    together, _ = measured(stacked(states), OF_TOKENS)
    for name in OF_TOKENS:
        for k in range(2):
            assert np.allclose(together[name].error[2 * k : 2 * k + 2], alone[k][name].error, rtol=1e-6)


def test_large_states_are_spared_the_singular_values_of_samples():
    rng = np.random.default_rng(6)
    x = tokens(rng, n=80, d=70)
    names = ("cosine", "effective_rank")
    found, _ = measured(with_samples(x, rng), names)
    bounds, _ = evaluate(state_of(x), names)
    assert found["effective_rank"].error == bounds["effective_rank"].error
    assert found["cosine"].error < 0.5 * bounds["cosine"].error


def test_what_samples_do_not_know_keeps_its_bound():
    state = with_samples(tokens(np.random.default_rng(7)), np.random.default_rng(8))
    gone = replace(state.samples[2], R=0 * state.R, r=0 * state.r)  # of no size: its logarithm is -inf
    broken = replace(state, samples=(*state.samples[:2], gone))
    found, _ = measured(broken, ("log_norm",))
    assert found["log_norm"].error == evaluate(state, ("log_norm",))[0]["log_norm"].error


def test_the_leading_part_does_not_drift_in_single_precision():
    """One part is a single number, times the same factor at every layer: a factor off by eps/2 adds up."""
    # 1 + H[0, 0] is half way between two floats
    H = np.diag([8908195 * 2.0**-24, -0.2, 0.1]).astype(np.float32)
    A = np.array([[0.5, 0.3, 0.2], [0.25, 0.5, 0.25], [0.125, 0.375, 0.5]], dtype=np.float32)
    x0 = np.random.default_rng(9).standard_normal((3, 3)).astype(np.float32)
    depth = 2000
    # (of all metrics: the engine that keeps the leading part to itself)
    single = linsim.simulate(linsim.Linear(A, H), x0, depth, layers=[depth], method="iterate")
    # the truth: the constant mode, of the Perron mean; all else has long been left behind
    values, vectors = np.linalg.eig((A / A.sum(1, keepdims=True, dtype=float)).T)
    pi = vectors[:, np.argmax(values.real)].real
    start = (pi / pi.sum()) @ x0.astype(float)
    truth = depth * np.log1p(float(H[0, 0])) + np.log(np.sqrt(3) * abs(start[0]))
    eps = float(np.finfo(np.float32).eps)
    off = abs(single.metrics["log_norm"].item() - truth)
    # roundings at random, of a quarter of eps each, three standard deviations; and those of the start
    assert off < (3 * 0.25 * np.sqrt(depth) + 2) * eps
    assert off <= single.errors["log_norm"].item()
