"""Escalation measured on simulated layers, against exact laws.

Two kinds of test.  Where a standard error decides, the bound is 4 of them: for means close to normal a
correct program fails one such check with probability 6e-5 (seeds are fixed, so it fails always or never).
Where the text says "rigorous", the false-alarm probability is bounded at every sample size, with no
appeal to normality, by Massart's constant in the inequality of Dvoretzky, Kiefer and Wolfowitz, by the
empirical Bernstein inequality of Maurer and Pontil, or by Hoeffding's.
"""

import mpmath as mp
import numpy as np
import pytest

import linsim
from linsim import RandomWeights, attention, escalation, simulate, tokens
from linsim.escalation import OddsFactor

METRICS = ["token_similarity", "log_token_diversity", "log_hfc_lfc", "log_norm"]


def factors(d, s, kind, count, seed, *, block=4000, depth=25):
    """ln Q from simulated layers of uniform attention: replicas times layers, all independent."""
    rng = np.random.default_rng(seed)
    rule = RandomWeights(attention.uniform(2), std=s, kind=kind)
    found = []
    while sum(map(len, found)) < count:
        replicas = max(1, min(block, int(2e7 / d**2), -(-count // depth)))
        x0 = np.broadcast_to(1 + 1e-3 * tokens.gaussian(2, d, rng=rng), (replicas, 2, d))
        run = simulate(rule, x0, depth, metrics="log_hfc_lfc", rng=rng)
        found.append(escalation.odds_growth(run).ravel())
    return np.concatenate(found)


def check_against_the_law(d, s, kind, seed, precision=0.002):
    """Mean rate and typical growth within 4 standard errors, those below ``precision``, relatively."""
    law = OddsFactor(d, std=s, kind=kind)
    # samples that the precision needs, from the variance of 1/Q and of ln Q in a pilot of the law itself
    pilot = law.sample(200_000, rng=0)
    needed = [
        np.var(1 / pilot) / (precision * law.expected_rate()) ** 2,
        np.var(np.log(pilot)) / (precision * law.log_mean) ** 2,
    ]
    growth = factors(d, s, kind, max(400, int(1.15 * max(needed))), seed)
    rate = escalation.interval(-np.expm1(-growth))  # r = 1 - 1/Q as t -> 1
    typical = escalation.interval(growth)
    mean = escalation.interval(np.exp(growth))
    assert rate.standard_error < precision * law.expected_rate()
    assert typical.standard_error < precision * law.log_mean
    found = (rate.z(law.expected_rate()), typical.z(law.log_mean), mean.z(law.mean))
    assert np.all(np.abs(found) < 4), found
    return growth.size, rate, typical, found


def test_means_are_those_of_the_law():
    # standard errors below 1 percent here; below 0.2 percent in the full table
    for kind, d, s in (
        ("gaussian", 8, 1.0),
        ("gaussian", 16, 2.0),
        ("orthogonal", 8, 1.0),
        ("gaussian", 64, 0.5),
    ):
        check_against_the_law(d, s, kind, seed=d, precision=0.01)


@pytest.mark.full
@pytest.mark.parametrize("s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("d", [8, 16, 32, 64, 192, 768])
@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
def test_means_are_those_of_the_law_to_a_fifth_of_a_percent(kind, d, s):
    count, rate, typical, z = check_against_the_law(d, s, kind, seed=round(1000 * d * s))
    law = OddsFactor(d, std=s, kind=kind)
    print(
        f"{kind:>10} {d:>4} {s:>4} {count:>9}  E[r] {law.expected_rate():.5f} {rate.mean:.5f} "
        f"{rate.standard_error / law.expected_rate():.2%} {z[0]:+.1f}  E ln Q {law.log_mean:.5f} "
        f"{typical.mean:.5f} {typical.standard_error / law.log_mean:.2%} {z[1]:+.1f}"
    )


# --- the rate one half, rigorously ----------------------------------------------------------------


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("kind", "d", "s"),
    [("gaussian", 8, 1.0), ("gaussian", 64, 0.5), ("orthogonal", 5, 1.0), ("gaussian", 2, 2.0)],
)
def test_simulated_layers_follow_the_exact_law(kind, d, s):
    # rigorous: 2 exp(-2 n D^2) < 1e-7 has probability below 1e-7 for each of the four laws
    found = np.exp(factors(d, s, kind, 10_000, seed=1))
    assert escalation.law_pvalue(found, OddsFactor(d, std=s, kind=kind)) > 1e-7
    # and it can fail: another strength, another width, the other kind
    for other in (
        OddsFactor(d, std=1.1 * s, kind=kind),
        OddsFactor(2 * d, std=s, kind=kind),
        OddsFactor(d, std=s, kind="gaussian" if kind == "orthogonal" else "orthogonal"),
    ):
        if (kind, d) == ("gaussian", 64) and other.kind == "orthogonal":
            continue  # 4 s^2/d against (4 s^2 + 2 s^4)/d: too close for 10,000 samples
        assert escalation.law_pvalue(found, other) < 1e-7


def empirical_bernstein(samples, low, high, alarm):
    """Reach of the mean of bounded samples: exceeded with probability at most ``alarm``, at every n."""
    n, logarithm = len(samples), np.log(4 / alarm)  # Maurer and Pontil 2009, theorem 4, on both sides
    return np.sqrt(2 * np.var(samples, ddof=1) * logarithm / n) + 7 * (high - low) * logarithm / (3 * (n - 1))


def test_the_rate_is_one_half_in_the_limit_and_not_before():
    # rigorous, false-alarm probability below 1e-6 in all: two widths, 4e-7 each.
    # r = 1 - 1/Q is cut off at -1 (Q = 1/2); what that adds to the mean is at most
    # E[1/Q; Q < 1/2] <= e^(x/2) * integral of E exp(-yQ) over y > x, for every x > 0
    reaches = {}
    for d, count in ((64, 12_000), (192, 1_500)):
        law = OddsFactor(d)
        z, x = mp.mpf(d) / 2, 30
        tail = mp.exp(x / 2) * mp.quad(
            lambda y, d=d, z=z: mp.exp(-mp.mpf(d) / 2 * mp.log1p(y / z) - y / (1 + y / z)),
            [x, 2 * x, 8 * x, mp.inf],
        )
        assert tail < 1e-5
        rates = np.maximum(-np.expm1(-factors(d, 1.0, "gaussian", count, seed=d)), -1.0)
        reach = empirical_bernstein(rates, -1.0, 1.0, 4e-7)
        assert abs(rates.mean() - law.expected_rate()) <= reach + float(tail)
        reaches[d] = (rates.mean() - reach - float(tail), rates.mean() + reach)
    # the mean rate at d = 64 lies surely below 1/2, and both within 3/(4d) and what was not resolved
    assert reaches[64][1] < 0.5
    for d, (low, high) in reaches.items():
        assert low < 0.5 - 3 / (4 * d) + 2 * (2 / d) ** 2
        assert high > 0.5 - 3 / (4 * d) - 2 * (2 / d) ** 2
    # the exact law goes to 1/2 like 1/d at every width, so the limit needs no samples
    gaps = [(0.5 - OddsFactor(d).expected_rate()) * d for d in (10**2, 10**4, 10**6)]
    np.testing.assert_allclose(gaps, 0.75, rtol=0.02)
    np.testing.assert_allclose(gaps[1:], 0.75, rtol=1e-3)


def test_three_rates_are_three_numbers():
    # d = 8, s = 1: E[r] = .377, ratio of expectations .5, typical ln 2 - ... = .594 (e^-.594: .448)
    growth, law = factors(8, 1.0, "gaussian", 60_000, seed=3), OddsFactor(8)
    mean_rate = escalation.interval(-np.expm1(-growth))
    ratio = escalation.interval(np.exp(growth))  # E Q: the odds of expectations
    typical = escalation.interval(growth)
    assert abs(mean_rate.z(law.expected_rate())) < 4
    assert abs(ratio.z(2.0)) < 4
    assert abs(typical.z(law.log_mean)) < 4
    for rate in (escalation.local_rate(1.0, 0.0), -np.expm1(-law.log_mean)):
        assert mean_rate.z(rate) < -20
    assert abs(typical.z(np.log(2))) > 20
    assert abs(ratio.z(np.exp(law.log_mean))) > 20


# --- expectations of energies ---------------------------------------------------------------------


def test_odds_of_expectations_double():
    # n = 64, d = 192: similarity .50 at layer 6 and .985 at layer 12, as a ratio of expectations
    x0 = tokens.gaussian(64, 192, rng=0)
    x0 = x0 - x0.mean(axis=0)
    x0 = x0 + np.sqrt(np.sum(x0**2) / 63 / 64) * np.eye(192)[0]  # similarity 1/64 exactly
    run = simulate(
        RandomWeights(attention.uniform(64)),
        np.broadcast_to(x0, (60, 64, 192)),
        12,
        layers=[0, 6, 12],
        metrics=METRICS,
        rng=0,
    )
    np.testing.assert_allclose(run.metrics["token_similarity"][:, 0], 1 / 64, rtol=1e-12)
    for k, similarity in ((1, 64 / 127), (2, 4096 / 4159)):
        total = 2 * run.metrics["log_norm"][:, k]
        scale = total.max()
        high = np.exp(total + run.metrics["log_token_diversity"][:, k] - scale)
        found = escalation.ratio_interval(np.exp(total - scale) - high, np.exp(total - scale))
        assert abs(found.z(similarity)) < 4
        assert found.standard_error < 0.02


def test_energies_of_general_attention():
    # the cross term Pi P Pi_perp is a third of the constant part here
    A, x0 = attention.softmax(3, 2, temperature=0.4, rng=5), tokens.gaussian(3, 6, rng=6)
    run = simulate(RandomWeights(A, std=0.8), np.broadcast_to(x0, (20_000, 3, 6)), 4, metrics=METRICS, rng=7)
    exact = escalation.expected_energy(A, x0, range(5), std=0.8)
    total = 2 * run.metrics["log_norm"][:, 1:]
    high = np.exp(total + run.metrics["log_token_diversity"][:, 1:])
    assert np.all(np.abs(escalation.interval(high).z(np.exp(exact.log_high[1:]))) < 4)
    low = np.exp(total) - high
    assert np.all(np.abs(escalation.interval(low).z(np.exp(exact.log_low[1:]))) < 4)
    kept = np.log1p(0.64) * np.arange(1, 5) + exact.log_low[0]  # what Pi P = Pi would give
    assert np.all(np.abs(escalation.interval(low).z(np.exp(kept))) > 8)


# --- the mean rate near t = 1, for any attention --------------------------------------------------


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("s", [0.7, 1.5])
def test_local_mean_rate_of_any_attention(kind, s):
    n, d, replicas, off = 3, 9, 15_000, []
    for seed, A in enumerate(
        [
            attention.softmax(n, 2, temperature=0.3, rng=1),
            attention.softmax(n, 4, symmetric=True, rng=2),
            np.array([[0.0, 1, 0], [0, 0, 1], [0.2, 0.2, 0.6]]),
        ]
    ):
        # half of the differences lies along the mean: beta and gamma matter
        mean = np.ones(d) / 3
        direction = tokens.gaussian(n, d, rng=seed) + 3 * np.array([[-1.0], [0.2], [0.8]]) * mean
        direction = direction - direction.mean(axis=0)
        x0 = mean + 1e-9 * direction
        run = simulate(
            RandomWeights(A, std=s, kind=kind),
            np.broadcast_to(x0, (replicas, n, d)),
            1,
            metrics="log_token_diversity",
            rng=seed,
        )
        exact = escalation.expected_local_rate(A, mean + direction, std=s, kind=kind)
        found = escalation.interval(escalation.rate(run)[:, 0])
        assert abs(found.z(exact)) < 4
        # the approximation by the energy of B Z alone, 1 - (1 + s^2 alpha) E[1/Q], is off
        law = OddsFactor(d, std=s, kind=kind)
        ratio = escalation.expected_energy(A, x0, [0, 1], std=s).rate[0]
        crude = 1 - (1 - ratio) * (1 + s * s) * law.inverse_mean
        off.append(abs(found.z(crude)))
    assert max(off) > 8, off


# --- typical rates --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
def test_typical_rate_of_attention_with_a_real_spectrum(kind):
    # triangular, so not normal; the fastest diverse mode has lambda = 0.6: 1/2 E ln Q at 0.6 s
    A = np.array([[1.0, 0, 0, 0], [0.4, 0.6, 0, 0], [0.2, 0.5, 0.3, 0], [0.25, 0.25, 0.25, 0.25]])
    exact = escalation.typical_rate(A, 4, std=1.2, kind=kind)
    x0 = np.broadcast_to(tokens.gaussian(4, 4, rng=0), (60, 4, 4))
    rule = RandomWeights(A, std=1.2, kind=kind)
    run = simulate(rule, x0, 700, layers=[100, 700], metrics="log_token_diversity", rng=1)
    ends = run.metrics["log_token_diversity"]
    found = escalation.interval((ends[:, 0] - ends[:, 1]) / 600)
    # what is left of the other modes moves the end points by O(1) in 600 layers
    assert abs(found.mean - exact) < 4 * found.standard_error + 1 / 600
    assert found.standard_error + 1 / 600 < 0.04 * exact
    assert abs(found.z(np.log1p(1.2**2) - np.log1p(0.36 * 1.2**2))) > 4  # the rate of expectations


def test_one_feature_comes_apart_typically_and_not_on_average():
    # d = 1, s = 1, uniform attention: E Q = 2 and E ln Q = -0.417
    growth, law = factors(1, 1.0, "gaussian", 40_000, seed=5), OddsFactor(1)
    found = escalation.interval(growth)
    assert abs(found.z(law.log_mean)) < 4
    assert found.high < -0.35
    assert abs(escalation.interval(np.exp(growth)).z(2.0)) < 4
    x0 = np.array([[1.0], [1.5], [2.5]])
    rule = RandomWeights(attention.uniform(3))
    run = simulate(rule, np.broadcast_to(x0, (8, 3, 1)), 800, layers=[0, 800], metrics=METRICS, rng=0)
    # rigorous: ln u > 0 after 800 layers has probability u_0^(1/8) (E Q^(1/8))^800 < 1e-6 / 8 at most
    root = mp.quad(lambda x: abs(1 + x) ** 0.25 * mp.npdf(x), [-12, -1, 12])  # E Q^(1/8)
    log_odds = -2 * run.metrics["log_hfc_lfc"]
    assert mp.exp(log_odds[0, 0] / 8) * root**800 < 1e-6 / 8
    assert np.all(log_odds[:, 1] < 0)


# --- intervals ------------------------------------------------------------------------------------


def test_intervals_cover_what_they_should():
    # rigorous (Hoeffding): the share of R intervals that hold the truth is off by more than
    # sqrt(ln(2/1e-7)/(2R)) = 0.0145 with probability 1e-7 at most, where the coverage is exact
    rng, repeats = np.random.default_rng(0), 40_000
    reach = np.sqrt(np.log(2 / 1e-7) / (2 * repeats))
    for count, confidence in ((2, 0.5), (5, 0.95), (30, 0.8)):
        x = 3 + 2 * rng.standard_normal((count, repeats))
        found = escalation.interval(x, confidence=confidence)
        covered = np.mean((found.low <= 3) & (found.high >= 3))
        assert abs(covered - confidence) < reach
    # of rates (not normal, skewed): right as the number grows; 400 of them cost less than 0.01
    law = OddsFactor(8)
    rates = 1 - 1 / law.sample((400, 10_000), rng=rng)
    found = escalation.interval(rates)
    covered = np.mean((found.low <= law.expected_rate()) & (found.high >= law.expected_rate()))
    assert abs(covered - 0.95) < 0.01 + np.sqrt(np.log(2 / 1e-7) / 20_000)


def test_ratio_intervals_cover_the_ratio_of_expectations():
    # t_div after a layer from t = 1/2 as a ratio of expectations: 1/(1 + E Q) = 1/3, pairs (1, 1 + Q)
    rng, repeats = np.random.default_rng(1), 10_000
    q = OddsFactor(8).sample((300, repeats), rng=rng)
    noise = rng.exponential(size=q.shape)  # an energy that both share
    found = escalation.ratio_interval(noise, noise * (1 + q))
    covered = np.mean((found.low <= 1 / 3) & (found.high >= 1 / 3))
    assert abs(covered - 0.95) < 0.01 + np.sqrt(np.log(2 / 1e-7) / (2 * repeats))


def test_pvalues_are_bounds():
    # rigorous: "p <= 0.1" has probability 0.1 at most, so its share of 1000 repeats is above
    # 0.1 + sqrt(ln(1e7)/2000) with probability 1e-7 at most (Hoeffding)
    rng, law = np.random.default_rng(2), OddsFactor(5)
    below = np.mean([escalation.law_pvalue(law.sample(40, rng=rng), law) <= 0.1 for _ in range(1000)])
    assert 0.02 < below < 0.1 + np.sqrt(np.log(1e7) / 2000)


# --- the whole table ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
def test_experiment_lays_predictions_beside_what_is_found(kind):
    x0 = tokens.gaussian(4, 16, rng=0)
    found = escalation.experiment(attention.uniform(4), x0, std=0.8, kind=kind, replicas=1500, depth=3, rng=1)
    for row in (found.mean_rate, found.rate_of_means, found.typical_growth):
        assert row.prediction.shape == row.found.mean.shape == (3,)
        assert np.all(np.abs(row.z) < 4)
    law = OddsFactor(16, std=0.8, kind=kind)
    start = linsim.metrics.measure(x0)["token_similarity"]
    assert found.mean_rate.prediction[0] == pytest.approx(law.expected_rate(start), rel=1e-12)
    # given each replica's similarity, the error of the mean rate is below its plain one
    plain = escalation.interval(1 - 1 / law.sample(1500, rng=0)).standard_error
    assert np.all(found.mean_rate.found.standard_error < plain)
    table = str(found).splitlines()
    assert table[0] == f"uniform attention, n = 4, d = 16, std = 0.8, {kind} weights, 1500 replicas"
    assert len(table) == 6
    assert f"{found.typical_growth.prediction[2]:.5f}" in table[-1]
    assert f"{found.mean_rate.found.mean[2]:.5f}" in table[-1]


def test_experiment_says_where_no_law_is_known():
    found = escalation.experiment(
        attention.softmax(3, 2, rng=0), tokens.gaussian(3, 8, rng=0), replicas=800, rng=2
    )
    assert np.all(np.isnan(found.mean_rate.prediction))
    assert np.all(np.isnan(found.typical_growth.z))
    assert np.all(np.abs(found.rate_of_means.z[:2]) < 4)
    assert " - " in str(found)
    # 1/Q without variance: a mean of rates has no standard error near t = 1
    few = escalation.experiment(attention.uniform(3), tokens.gaussian(3, 3, rng=0), replicas=50, rng=3)
    assert np.all(np.isnan(few.mean_rate.prediction))
    assert np.all(np.isfinite(few.typical_growth.prediction))
    again = escalation.experiment(attention.uniform(3), tokens.gaussian(3, 3, rng=0), replicas=50, rng=3)
    np.testing.assert_array_equal(few.mean_rate.found.mean, again.mean_rate.found.mean)


def test_the_error_of_a_rate_of_expectations_is_that_of_the_ratio():
    from linsim.escalation._experiment import _rate_of_means

    rng = np.random.default_rng(0)
    high = rng.exponential(size=200)
    total = high * (2 + rng.random(200))  # both rise and fall together
    before = np.full(200, 3.0)  # half of it diverse
    found = _rate_of_means(np.log([before / 2, high]).T + 500, np.log([before, total]).T + 500)
    ratio = escalation.ratio_interval(high, total)
    assert found.mean[0] == pytest.approx(1 - 2 * ratio.mean, rel=1e-12)
    assert found.standard_error[0] == pytest.approx(2 * ratio.standard_error, rel=1e-9)
