"""Bounds at every depth: never violated, tight where they are said to be, and decaying as predicted."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.defective import defective_attention, jordan
from oracles.iterated import trajectory

from linsim import Layered, Linear, MultiHead, attention, predict, simulate, weights
from linsim.errors import InvalidTypeError, InvalidValueError, NotCoveredError
from linsim.theory.bounds import GAPS

LAYERS = np.array([0, 1, 2, 3, 5, 8, 13, 21, 40, 80, 150, 300, 600])
#: a simulated gap is reported only where its relative error is below this
ROUNDING = 1e-6


def truth_of(gap, law, metrics):
    """The logarithm that ``log_bound(gap, ...)`` bounds, from recorded metrics."""
    if gap == "cosine_gap":
        smooth = np.asarray(law.input_convergence)[..., None]
        return np.where(smooth, metrics["log_cosine_gap"], metrics["log_abs_cosine_gap"])
    return metrics[f"log_{gap}"]


def slacks(law, metrics, layers=LAYERS):
    """Bound minus truth for every gap, NaN where one of them is infinite or unmeasured."""
    out = {}
    for gap in GAPS:
        bound, truth = law.log_bound(gap, layers), truth_of(gap, law, metrics)
        assert not np.any(np.isnan(bound))
        # a gap that is there needs a bound that is not zero
        assert not np.any(np.isneginf(bound) & np.isfinite(truth))
        with np.errstate(invalid="ignore"):
            out[gap] = np.where(np.isfinite(bound) & np.isfinite(truth), bound - truth, np.nan)
    return out


def lower_slacks(law, metrics, layers=LAYERS):
    """Truth minus lower bound, NaN where one of them is infinite or unmeasured."""
    out = {}
    for gap in ("token_diversity", "hfc_lfc"):
        bound, truth = law.log_lower_bound(gap, layers), metrics[f"log_{gap}"]
        assert not np.any(np.isnan(bound))
        assert not np.any(np.isneginf(truth) & np.isfinite(bound))
        with np.errstate(invalid="ignore"):
            out[f"{gap} from below"] = np.where(
                np.isfinite(bound) & np.isfinite(truth), truth - bound, np.nan
            )
    return out


def pair(rng, d, size, basis):
    """Weights with one conjugate pair and real numbers."""
    real, imag = rng.normal(size=(size, 1)), rng.uniform(0.2, 2, size=(size, 1))
    values = np.concatenate([real + 1j * imag, real - 1j * imag, rng.normal(size=(size, d - 2))], axis=-1)
    return weights.from_spectrum(values, basis=basis, rng=rng)


def causal(rng, size, n):
    A = np.tril(rng.uniform(0.1, 1, (size, n, n)))
    return A / A.sum(-1, keepdims=True)


FAMILIES = {
    "general": lambda rng, s: (
        attention.softmax(5, 4, size=s, rng=rng),
        weights.gaussian(4, size=s, rng=rng),
    ),
    "reversible": lambda rng, s: (
        attention.softmax(4, 3, symmetric=True, size=s, rng=rng),
        weights.gaussian(3, size=s, rng=rng),
    ),
    "doubly stochastic": lambda rng, s: (
        attention.doubly_stochastic(4, size=s, rng=rng),
        weights.gaussian(6, size=s, rng=rng),
    ),
    "sharpening": lambda rng, s: (
        attention.softmax(4, 3, size=s, rng=rng),
        weights.from_spectrum(rng.uniform(-1.2, -0.1, (s, 3)), basis="random", condition=5, rng=rng),
    ),
    "below the interval": lambda rng, s: (
        attention.softmax(4, 3, symmetric=True, size=s, rng=rng),
        weights.from_spectrum(rng.uniform(-5, 0.5, (s, 3)), basis="random", condition=3, rng=rng),
    ),
    "pairs": lambda rng, s: (attention.softmax(3, 3, size=s, rng=rng), pair(rng, 4, s, "random")),
    "normal pairs": lambda rng, s: (attention.softmax(3, 3, size=s, rng=rng), pair(rng, 3, s, "orthogonal")),
    "one feature": lambda rng, s: (attention.softmax(3, 3, size=s, rng=rng), rng.normal(size=(s, 1, 1))),
    "two by two": lambda rng, s: (
        attention.softmax(2, 2, size=s, rng=rng),
        weights.gaussian(2, std=1.5, size=s, rng=rng),
    ),
    "uniform": lambda rng, s: (attention.uniform(4), weights.gaussian(3, size=s, rng=rng)),
    "identity weights": lambda rng, s: (
        attention.softmax(4, 3, size=s, rng=rng),
        rng.normal(size=(s, 1, 1)) * np.eye(3),
    ),
    "zero weights": lambda rng, s: (attention.softmax(4, 3, size=s, rng=rng), np.zeros((s, 3, 3))),
    "causal": lambda rng, s: (causal(rng, s, 6), weights.gaussian(3, size=s, rng=rng)),
    "defective weights": lambda rng, s: (
        attention.softmax(4, 3, size=s, rng=rng),
        np.stack([jordan(rng, [(2.0, 2), (-0.5, 1)]) for _ in range(s)]),
    ),
    "defective weights that sharpen": lambda rng, s: (
        attention.softmax(4, 3, size=s, rng=rng),
        np.stack([jordan(rng, [(-0.5, 3)]) for _ in range(s)]),
    ),
    "defective attention": lambda rng, s: (defective_attention(), weights.gaussian(2, size=s, rng=rng)),
    "both defective": lambda rng, s: (
        defective_attention(),
        np.stack([jordan(rng, [(0.5, 2)]) for _ in range(s)]),
    ),
}


def systems(name, count, seed=0):
    rng = np.random.default_rng([seed, *name.encode()])
    A, H = FAMILIES[name](rng, count)
    rule = Linear(A, H)
    scale = 10.0 ** rng.uniform(-3, 3, (count, 1, 1))
    x0 = rng.normal(size=(count, rule.n, rule.d)) * scale
    x0[::4] += 5 * scale[::4]  # similar tokens
    x0[1::4] = rng.normal(size=x0[1::4, :, :1].shape) * rng.normal(size=x0[1::4, :1].shape)  # rank one
    return rule, x0


def check(name, count, seed):
    rule, x0 = systems(name, count, seed)
    law = predict(rule, x0=x0)
    run = simulate(rule, x0, int(LAYERS[-1]), layers=LAYERS)
    return slacks(law, run.metrics) | lower_slacks(law, run.metrics)


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", FAMILIES)
def test_no_bound_is_violated(name):
    for gap, slack in check(name, 20, 0).items():
        assert not np.any(slack < -ROUNDING), gap


@pytest.mark.full
def test_no_bound_is_violated_in_a_hundred_thousand_checks(capsys):
    total, lines = 0, []
    for name in FAMILIES:
        for gap, slack in check(name, 400, 1).items():
            assert not np.any(slack < -ROUNDING), (name, gap)
            here = np.sum(np.isfinite(slack))
            total += here
            deep = slack[:, LAYERS >= 80]
            if np.any(np.isfinite(slack)) and np.any(np.isfinite(deep)):
                lines.append(
                    f"{name:32}{gap:28}{here:7} median bound - truth"
                    f" {np.nanmedian(slack):8.3f}, from layer 80 on {np.nanmedian(deep):8.3f}"
                )
    with capsys.disabled():
        print("\n" + "\n".join(lines), f"\n{total} checks")
    assert total >= 100_000


# --- tightness -------------------------------------------------------------------------


@pytest.mark.parametrize("complex_pairs", [False, True])
def test_diversity_of_symmetric_attention_and_normal_weights_is_an_identity(complex_pairs):
    rng = np.random.default_rng(3)
    K = rng.dirichlet(np.ones(4), size=3)
    P = [np.eye(4), np.roll(np.eye(4), 1, axis=0), np.roll(np.eye(4), 2, axis=0)]
    A = np.stack([sum(w * (p + p.T) / 2 for w, p in zip(k, P, strict=False)) for k in K[:, :3]])
    A = A / A.sum(-1, keepdims=True)
    H = (
        pair(rng, 3, 3, "orthogonal")
        if complex_pairs
        else weights.from_spectrum(rng.normal(size=(3, 3)), rng=rng)
    )
    x0 = rng.normal(size=(3, 4, 3))
    law = predict(A, H, x0=x0)
    layers = [0, 1, 2, 7, 50, 200]
    bound = law.log_bound("token_diversity", layers)
    for s in range(3):
        true = trajectory(A[s], H[s], x0[s], layers, digits=600, symmetric=True, svd=False)
        assert np.max(np.abs(bound[s] - true["log_token_diversity"])) < 1e-9


def real_systems(seed, count=40):
    """Real distinct spectra with clear gaps, so that a single mode and a single minor lead."""
    rng = np.random.default_rng(seed)
    A = attention.from_spectrum([1, 0.5, -0.3], rng=rng)
    mu = np.array([1.5, 0.4]) if seed % 2 else np.array([-0.9, -0.3])
    H = weights.from_spectrum(np.broadcast_to(mu, (count, 2)), basis="random", condition=4, rng=rng)
    return Linear(A, H), rng.normal(size=(count, 3, 2))


@pytest.mark.sample(3)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gap", GAPS)
def test_bounds_are_attained_as_depth_grows(seed, gap):
    rule, x0 = real_systems(seed)
    law = predict(rule, x0=x0)
    if seed % 2 == 0 and gap in ("token_diversity", "hfc_lfc"):
        # tokens do not converge: the bound is the trivial one
        assert np.all(law.log_bound(gap, 100) > -1e-6)
        return
    layers = np.array([100, 200, 400, 800])
    run = simulate(rule, x0, 800, layers=layers)
    slack = slacks(law, run.metrics, layers)[gap]
    assert np.all(slack > -ROUNDING)
    assert np.max(slack[:, -1]) < 1e-6
    # a constant that is 30 percent smaller would be violated, in every system
    assert np.all(slack[:, -1] + np.log(0.7) < -0.3)


@pytest.mark.parametrize("name", ["general", "doubly stochastic", "sharpening", "pairs", "causal", "uniform"])
def test_bounds_decay_at_the_predicted_rate(name):
    rule, x0 = systems(name, 30)
    x0 = np.random.default_rng(1).normal(size=x0.shape)
    law = predict(rule, x0=x0)
    low, high = 10**6, 2 * 10**6
    for gap, rate in law.rates.items():
        bound = law.log_bound(gap, [low, high])
        closes = (rate < 0.999) & np.isfinite(bound[:, 1])
        if name != "sharpening" or gap != "token_diversity":
            assert np.any(closes)
        if gap == "cosine_gap":
            # no bound where the row of a complex attention eigenvalue turns
            rows = [all(np.isreal(m.attention_eigenvalue) for m in modes) for modes in law.dominant]
            closes &= np.array(rows)
        slope = (bound[closes, 1] - bound[closes, 0]) / (high - low)
        exact = np.log(rate[closes])
        assert np.all(np.abs(slope - exact) <= 1e-9 + 1e-5 * np.abs(exact))


# --- the truth itself ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["general", "sharpening", "pairs", "both defective"])
def test_bounds_against_arbitrary_precision(name):
    rule, x0 = systems(name, 4, seed=5)
    layers = [0, 1, 2, 5, 20, 100, 300]
    law = predict(rule, x0=x0)
    bounds = {gap: law.log_bound(gap, layers) for gap in GAPS}
    for s in range(4):
        A, H = (np.broadcast_to(M, (4, *M.shape[-2:]))[s] for M in (rule.A, rule.H))
        true = trajectory(A, H, x0[s], layers, digits=500)
        for gap, bound in bounds.items():
            if gap == "cosine_gap":
                smooth = law.input_convergence[s]
                value = true["log_cosine_gap" if smooth else "log_abs_cosine_gap"]
            else:
                value = true[f"log_{gap}"]
            # 1e-13: the truth is rounded to a double, and so is the bound
            assert np.all(bound[s] >= value - 1e-13 * (1 + np.abs(value))), gap


@pytest.mark.parametrize("layers", [[1000, 6000]])
def test_a_vector_without_mean_does_not_hide_what_has_one(layers):
    # lambda = 0.1 at (1, -1, 0) leads, but only (1, 1, -2) reaches the mean over tokens
    A = np.array([[11, 9, 5], [9, 11, 5], [5, 5, 10]]) / [[25], [25], [20]]
    x0 = np.array([[1.0], [4.0], [9.0]])
    law = predict(A, [[-0.9]], x0=x0)
    true = trajectory(A, [[-0.9]], x0, layers, digits=4000, svd=False)["log_hfc_lfc"]
    bound = law.log_lower_bound("hfc_lfc", layers)
    assert np.all(bound <= true)
    assert np.all(bound >= true - 1)
    assert np.all(law.log_bound("token_diversity", layers) <= 0)


def test_jordan_blocks_are_bounded_with_the_mean_of_their_eigenvalues():
    # uniform attention keeps Pi_perp X; the mean c becomes c (3 + N)^l = 3^l (c + l c N / 3)
    N, c = np.array([[-1.0, 1.0], [-1.0, 1.0]]), np.array([1.0, 1.0])
    x0 = c + np.array([[1.0, -1.0], [-1.0, 1.0]])
    law = predict(attention.uniform(2), N + 2 * np.eye(2), x0=x0)
    layers = np.array([10, 10**6, 10**9])
    sizes = np.linalg.norm(c + layers[:, None] * (c @ N) / 3, axis=1)
    true = np.log(2) - np.log(2) / 2 - np.log(sizes) - layers * np.log(3)
    excess = law.log_bound("hfc_lfc", layers) - true
    assert np.all(excess >= 0)
    # the power of depth is not in the bound
    assert np.all(excess <= 1 + np.log(layers) + 1e-12 * layers)
    # a mean that the eigenvector does not see has no bound, rather than one from rounding
    x0 = np.array([[2.0, -2.0], [0.0, 0.0]])
    assert np.isposinf(predict(attention.uniform(2), N + 2 * np.eye(2), x0=x0).log_bound("hfc_lfc", 10**6))


def test_coefficients_within_rounding_of_zero_are_said_to_be_left_out():
    x0 = np.array([[1, 1e-14], [2, 3e-14]])
    law = predict(np.array([[0.5, 0.5], [0.25, 0.75]]), np.diag([0.1, 1.0]), x0=x0)
    flags = {a.name: a.holds for a in law.assumptions}
    assert not flags["modes left out of x0 have coefficient zero"]
    x0[:, 1] = 0
    law = predict(np.array([[0.5, 0.5], [0.25, 0.75]]), np.diag([0.1, 1.0]), x0=x0)
    assert all(a.holds for a in law.assumptions)


def test_constant_rounding_is_on_the_safe_side_at_any_depth():
    rule, x0 = real_systems(1, 1)
    law = predict(rule, x0=x0)
    bound = law.log_bound("token_diversity", [10**6, 10**9])
    slope = (bound[0, 1] - bound[0, 0]) / (10**9 - 10**6)
    exact = np.log(law.rates["token_diversity"][0])
    assert exact <= slope <= exact + 1e-12


# --- shapes and refusals ---------------------------------------------------------------


def test_shapes():
    rule, x0 = systems("general", 6)
    law = predict(rule, x0=x0)
    assert law.log_bound("rank_gap", 3).shape == (6,)
    assert law.log_bound("rank_gap", [[1, 2, 3], [4, 5, 6]]).shape == (6, 2, 3)
    one = predict(Linear(rule.A[0], rule.H[0]), x0=x0[0])
    assert isinstance(one.log_bound("rank_gap", 3), float)
    for gap in GAPS:
        single, batched = one.log_bound(gap, [0, 4]), law.log_bound(gap, [0, 4])[0]
        assert single == pytest.approx(batched, rel=1e-12)
    grid = predict(Linear(rule.A.reshape(2, 3, 1, 5, 5), rule.H[:2]), x0=x0[0])
    assert grid.log_bound("cosine_gap", [5]).shape == (2, 3, 2, 1)


def test_one_token_and_equal_tokens_have_no_gap():
    law = predict(np.ones((1, 1)), np.diag([1.0, 2.0]), x0=np.ones((1, 2)))
    assert np.all(np.isneginf([law.log_bound(gap, 3) for gap in GAPS]))
    law = predict(attention.uniform(3), np.diag([1.0, 2.0]), x0=np.ones((3, 2)))
    assert np.all(np.isneginf([law.log_bound(gap, 3) for gap in GAPS]))


def test_what_is_refused():
    rule, x0 = systems("two by two", 1)
    law = predict(rule, x0=x0)
    with pytest.raises(InvalidValueError, match=r"gap: .*'rank_gap'"):
        law.log_bound("rank", 3)
    with pytest.raises(InvalidTypeError, match="layers"):
        law.log_bound("rank_gap", 1.5)
    with pytest.raises(InvalidValueError, match="layers: found -1"):
        law.log_bound("rank_gap", [3, -1])
    with pytest.raises(InvalidValueError, match="x0=x0"):
        predict(rule).log_bound("rank_gap", 3)
    heads = MultiHead(attention.softmax(3, 2, size=2, rng=0), weights.gaussian(2, size=2, rng=1))
    for other in (heads, Layered([heads])):
        with pytest.raises(NotCoveredError):
            predict(other).log_bound("rank_gap", 3)
