"""Slopes and what they can be trusted to; a law held against a run, gap by gap."""

from __future__ import annotations

import dataclasses
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from oracles.spectra import make_weights, random_mixed

import linsim
from linsim import Linear, MultiHead, attention, compare, predict, simulate, tokens
from linsim.errors import InvalidTypeError, InvalidValueError, ShapeError
from linsim.trajectory import RunInfo, Slope, Trajectory, line

GAPS = ["token_diversity", "cosine_gap", "rank_gap"]
METRICS = ["log_token_diversity", "log_cosine_gap", "log_abs_cosine_gap", "log_rank_gap"]
SYMMETRIC = attention.from_spectrum([1, 0.5, 0.2, -0.1], rng=1)


def trajectory(values, layers=None, metric="log_norm", error=0.0, errors=None):
    values = np.asarray(values, dtype=float)
    layers = np.arange(values.shape[-1]) if layers is None else np.asarray(layers)
    info = RunInfo("iterate", "test", np.array("x"), error, 1e-2, {metric: np.array(-1)})
    known = {} if errors is None else {metric: np.broadcast_to(errors, values.shape)}
    return Trajectory(layers, {metric: values}, info, errors=known)


def every(depth):
    """Layers to record: measuring one costs more than computing it."""
    return range(0, depth + 1, max(1, depth // 100))


def held(A, H, depth=1000, *, seed=0, layers=None):
    """Return the comparison of a generic law with a run."""
    rule = Linear(A, H)
    x0 = tokens.gaussian(rule.n, rule.d, rng=seed)
    run = simulate(rule, x0, depth, metrics=METRICS, layers=every(depth) if layers is None else layers)
    return compare(predict(rule), run)


def verdicts(found):
    return [found[gap].verdict for gap in GAPS]


# --- the slope and its bound ------------------------------------------------------------


@st.composite
def perturbed(draw):
    """Increasing layers, perturbations of size at most 1, and a line."""
    layers = np.array(sorted(draw(st.sets(st.integers(0, 3000), min_size=3, max_size=40))))
    sizes = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1))
    e = np.array(draw(st.lists(sizes, min_size=layers.size, max_size=layers.size)))
    return layers, e, draw(st.floats(-5, 5)), draw(st.floats(-5, 5))


def turned(case):
    """How far perturbations turned the slope, and the bound for those of size 1."""
    layers, e, c, s = case
    fit = line(layers, c + s * layers + e, np.ones(layers.size, dtype=bool))
    return abs(fit.slope - s), fit.leverage


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(perturbed())
def test_bounded_perturbations_turn_a_slope_by_no_more_than_the_leverage(case):
    error, bound = turned(case)
    assert error <= bound * (1 + 1e-9) + 1e-12 * np.max(case[0])


def test_half_the_leverage_is_refuted():
    settings = hypothesis.settings(
        max_examples=2000, database=None, derandomize=True, phases=[hypothesis.Phase.generate]
    )
    layers, e, *_ = hypothesis.find(
        perturbed(), lambda case: np.subtract(*turned(case)) > -0.5 * turned(case)[1], settings=settings
    )
    assert layers.size >= 3
    assert np.max(np.abs(e)) <= 1


@pytest.mark.parametrize("count", [5, 50, 1001])
def test_the_leverage_is_attained(count):
    layers = np.arange(count)
    error, bound = turned((layers, np.sign(layers - (count - 1) / 2), 0.0, 0.0))
    assert error == pytest.approx(bound, rel=1e-12)
    assert bound == pytest.approx(3 / (count - 1), rel=0.6 if count == 5 else 0.05)


@pytest.mark.parametrize("periods", [2, 2.5, 3.3, 7, 40, 200.5])
def test_oscillations_of_two_periods_or_more_are_covered(periods):
    x = np.arange(1001)
    phases = np.linspace(0, np.pi, 40)[:, None]
    wave = np.cos(2 * np.pi * periods * x / 500 + phases)
    slope = trajectory(-0.3 * x + 2 * wave).slope("log_norm")
    assert np.all(np.abs(slope.value + 0.3) <= slope.uncertainty)
    # the reason: the line absorbs at most 0.478 of it
    fit = line(x, wave, np.broadcast_to(x >= 500, wave.shape))
    assert np.all(np.max(np.abs(wave[:, 500:]), axis=-1) <= 1.92 * fit.residual)


def test_dips_of_a_rotating_direction_are_covered():
    x = np.arange(801)
    slope = trajectory(np.log(np.abs(np.cos(np.arange(1, 30)[:, None] * 0.097 * x + 0.2)))).slope("log_norm")
    assert np.all(np.abs(slope.value) <= slope.uncertainty)


@pytest.mark.parametrize("share", [1e-3, 1e-6, 1e-40])
def test_transients_that_end_inside_the_window_are_covered(share):
    x = np.arange(1001)
    slope = trajectory(0.1 * x + 3 * share ** ((x - 500) / 500)).slope("log_norm")
    assert abs(slope.value - 0.1) <= 0.2 * slope.uncertainty


def test_slope_of_a_line_is_exact_and_its_uncertainty_is_rounding():
    run = trajectory(2 - 0.25 * np.arange(101), errors=4e-6)
    slope = run.slope("log_norm")
    assert isinstance(slope, Slope)
    assert slope.value == pytest.approx(-0.25, rel=1e-15)
    assert (slope.first, slope.last, slope.count) == (50, 100, 51)
    assert slope.uncertainty == pytest.approx(3 / 50 * 4e-6, rel=0.05)
    assert run.rate("log_norm") == np.exp(slope.value)


def test_the_rounding_of_a_slope_is_the_largest_error_that_it_uses():
    values, errors = 2 - 0.25 * np.arange(101), np.full(101, 1e-9)
    errors[[10, 60]] = 3e-8
    assert trajectory(values, errors=errors).slope("log_norm").uncertainty == pytest.approx(
        3 / 50 * 3e-8, rel=0.05
    )
    # errors that grow towards the end of a gap: its last values blur nothing
    growing = np.minimum(1e-12 * 2.0 ** np.arange(101), 1e-2)
    growing[:80] = 1e-9
    slope = trajectory(values, errors=growing).slope("log_norm")
    assert (slope.first, slope.last) == (50, 79)
    assert slope.uncertainty == pytest.approx(3 / 29 * 1e-9, rel=0.1)
    # but the sharp ones must reach over half of the layers
    growing[74:] = 1e-2
    slope = trajectory(values, errors=growing).slope("log_norm")
    assert (slope.first, slope.last) == (50, 100)
    assert slope.uncertainty == pytest.approx(3 / 50 * 1e-2, rel=0.1)


def test_single_precision_blurs_a_slope_more():
    x0 = tokens.gaussian(4, 2, rng=0)
    rule = Linear(SYMMETRIC, np.diag([1.0, 0.5]))
    found = {
        dtype: simulate(rule, x0, 100, metrics="log_norm", dtype=dtype, method="lanes").slope("log_norm")
        for dtype in ("float32", "float64")
    }
    assert found["float32"].uncertainty > 1e4 * found["float64"].uncertainty
    apart = abs(found["float32"].value - found["float64"].value)
    assert 0 < apart <= found["float32"].uncertainty < 1e-5


def test_slope_uses_finite_values_only():
    nan, inf = np.nan, np.inf
    slope = trajectory(
        [
            [0, 1, 2, 3, nan, 5, -inf, 7],
            [0, 1, 2, 3, nan, nan, nan, 7],
            [0, 1, 2, 3, 4, nan, nan, 7],
            [0, 1, 2, 3, -inf, -inf, -inf, -inf],
        ]
    ).slope("log_norm")
    np.testing.assert_array_equal(slope.count, [2, 1, 2, 0])
    np.testing.assert_allclose(slope.value, [1, nan, 1, nan])
    np.testing.assert_array_equal(slope.uncertainty, inf)
    np.testing.assert_array_equal(slope.first, [5, 7, 4, -1])
    np.testing.assert_array_equal(slope.last, [7, 7, 7, -1])


def test_first_layer_can_be_chosen():
    run = trajectory([0, 5, 2, 3, 4, 5, 6])
    slope = run.slope("log_norm", first=2)
    assert (slope.value, slope.first, slope.count) == (pytest.approx(1.0), 2, 5)
    assert np.isnan(run.slope("log_norm", first=7).value)
    with pytest.raises(InvalidTypeError, match="first"):
        run.slope("log_norm", first="2")
    with pytest.raises(InvalidValueError, match="log_norm"):
        run.slope("log_nrm")


# --- laws that hold ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "mu", [[1.0, 0.5, 0.2], [-0.9, -0.5, -0.2], [-4.0, 0.5, 0.2], [1.0, 1.0, 1.0]], ids=str
)
def test_real_spectra_agree_to_many_digits(mu):
    found = held(SYMMETRIC, np.diag(mu))
    assert verdicts(found) == ["agrees"] * 3
    assert found.agrees is True
    for gap in GAPS:
        assert abs(found[gap].difference) < 1e-9
        assert found[gap].uncertainty < 3e-8
        assert (found[gap].first, found[gap].last) == (500, 1000)
        assert 0 < found[gap].layers_needed < 500
    # where the tokens do not converge, diversity tends to a constant
    assert (found["token_diversity"].predicted == 1) == (mu[0] == -0.9)
    assert found["cosine_gap"].metric == ("log_abs_cosine_gap" if mu[0] == -0.9 else "log_cosine_gap")


def test_conjugate_weights_agree_within_what_their_oscillation_allows():
    H, _ = make_weights(np.random.default_rng(3), [complex(0.8, 0.7), 0.3])
    found = held(SYMMETRIC, H)
    assert verdicts(found) == ["agrees"] * 3
    row = found["token_diversity"]
    assert 1e-7 < abs(row.difference) < row.uncertainty < 0.1


def jordan_attention():
    """A positive attention matrix with eigenvalues 1, -0.3, -0.3 and one chain."""
    rng = np.random.default_rng(0)
    while True:
        pi, V = rng.dirichlet([5] * 3), rng.normal(size=(3, 2))
        V -= pi @ V
        full = np.column_stack([np.ones(3), V])
        A = np.ones((3, 1)) * pi + V @ [[-0.3, 0.15], [0, -0.3]] @ np.linalg.inv(full)[1:]
        if np.min(A) > 0.01 and np.linalg.cond(full) < 10:
            return A / A.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("A", "H", "powers"),
    [
        # angles and ranks close like q^(2l) l^-2 and q^l / l
        (SYMMETRIC, [[1.0, 1], [0, 1]], {"rank_gap": -1, "cosine_gap": -2}),
        # mu = 0: every lambda ties, sigma_2 / sigma_1 ~ 1/l
        (SYMMETRIC, [[0.0, 1], [0, 0]], {"rank_gap": -1, "cosine_gap": -2}),
        # two chains: sigma_2 / sigma_1 ~ l^-3 in the end, before rounding hides it
        (jordan_attention(), [[-1.0, 0.5], [0, -1]], {}),
        (jordan_attention(), np.diag([-1.0, -0.5]), {}),
    ],
    ids=["chain of H", "chain at mu = 0", "chains of both", "chain of A"],
)  # fmt: skip
def test_powers_of_the_layer_agree(A, H, powers):
    found = held(A, np.array(H), 2000)
    assert found.agrees
    assert "agrees" in verdicts(found)
    assert "too shallow" not in verdicts(found)
    for gap, power in powers.items():
        row = found[gap]
        assert row.verdict == "agrees"
        # what the slope is turned by is what the power says, and the bound sees it
        assert row.difference * 1500 == pytest.approx(power, rel=0.15)
        assert row.uncertainty < 10 * abs(row.difference)


def test_ties_do_not_close():
    found = held(attention.uniform(4), np.diag([-0.5, -0.3]))
    assert verdicts(found) == ["agrees"] * 3
    assert all(found[gap].predicted == 1 for gap in GAPS)


def test_an_exact_zero_is_a_factor_of_zero():
    found = held(SYMMETRIC, np.array([[0.5]]))
    for gap in ("cosine_gap", "rank_gap"):
        row = found[gap]
        assert (row.predicted, row.measured, row.difference, row.verdict) == (0, 0, 0, "agrees")
    # equal tokens: a generic law does not describe them, their own law does
    rule, x0 = Linear(SYMMETRIC, np.diag([1.0, 0.5])), np.ones((4, 2))
    run = simulate(rule, x0, 100)
    assert verdicts(compare(predict(rule), run)) == ["disagrees"] * 3
    own = compare(predict(rule, x0=x0), run)
    assert own.agrees
    assert "disagrees" not in str(own)


def test_an_exact_zero_that_is_only_predicted_disagrees():
    rule = Linear(SYMMETRIC, np.diag([1.0, 0.5]))
    law, run = predict(rule), simulate(rule, tokens.gaussian(4, 2, rng=0), 200)
    wrong = dataclasses.replace(law, rates={**law.rates, "rank_gap": 0.0})
    assert compare(wrong, run)["rank_gap"].verdict == "disagrees"


# --- laws that do not -------------------------------------------------------------------


@pytest.fixture(scope="module", params=[[1.0, 0.5, 0.2], [-0.9, -0.5, -0.2]], ids=str)
def right(request):
    rule = Linear(SYMMETRIC, np.diag(request.param))
    x0 = tokens.gaussian(4, 3, rng=0)
    return predict(rule), simulate(rule, x0, 1000, metrics=METRICS, layers=every(1000))


@pytest.mark.parametrize("shift", [1e-3, -1e-3, 1e-4])
@pytest.mark.parametrize("gap", GAPS)
def test_a_wrong_rate_is_found_out(right, shift, gap):
    law, run = right
    wrong = dataclasses.replace(law, rates={**law.rates, gap: law.rates[gap] * np.exp(shift)})
    found = compare(wrong, run)
    assert found.agrees is False
    assert [g for g in GAPS if found[g].verdict != "agrees"] == [gap]
    assert found[gap].verdict == "disagrees"
    assert found[gap].difference == pytest.approx(-shift, rel=1e-6)
    assert f"{gap} disagrees" in str(found)


def test_the_law_of_another_system_disagrees():
    run = simulate(
        Linear(SYMMETRIC, np.diag([1.0, 0.5])), tokens.gaussian(4, 2, rng=0), 500, layers=every(500)
    )
    assert verdicts(compare(predict(SYMMETRIC, np.diag([0.9, 0.5])), run)) == ["disagrees"] * 3


# --- too shallow to tell ----------------------------------------------------------------


@pytest.mark.parametrize("mu", [[1.0, 0.99, 0.2], [-0.9, -0.88, 0.1]], ids=str)
def test_a_shallow_run_names_the_depth_at_which_it_agrees(mu):
    H = np.diag(mu)
    found = held(SYMMETRIC, H, 200)
    assert found.agrees
    assert "too shallow" in verdicts(found)
    depth = 2 * max(found[gap].layers_needed for gap in GAPS)
    assert f"run to depth {depth} or deeper" in str(found)
    assert depth < 20_000
    assert verdicts(held(SYMMETRIC, H, depth)) == ["agrees"] * 3


def test_a_few_layers_tell_nothing():
    assert verdicts(held(SYMMETRIC, np.diag([1.0, 0.5]), 6)) == ["not measured"] * 3
    assert (
        verdicts(held(SYMMETRIC, np.diag([1.0, 0.5]), 900, layers=[0, 300, 600, 900])) == ["not measured"] * 3
    )
    assert verdicts(held(SYMMETRIC, np.diag([1.0, 0.5]), 900, layers=range(0, 901, 100))) == ["agrees"] * 3


@pytest.mark.parametrize("periods", [0.001, 0.01, 0.1, 0.3, 1.0])
def test_a_beat_slower_than_the_run_is_not_held_against_the_law(periods):
    """In ln |cos(w l + a)| the slope shows, at most as large as its curvature allows."""
    law = predict(attention.uniform(4), np.diag([-0.5, -0.3]))  # no gap closes
    shown = 0
    for phase in np.linspace(0, np.pi, 40):
        beat = np.log(np.abs(np.cos(2 * np.pi * periods / 500 * (np.arange(1001) - 750) + phase)))
        row = compare(law, trajectory(beat, metric="log_rank_gap"))["rank_gap"]
        assert row.verdict != "disagrees"
        shown += abs(row.difference) > row.uncertainty
    assert shown > 10 or periods >= 0.3  # the uncertainty alone would not have covered it


def test_a_gap_that_ends_to_be_measurable_is_judged_by_what_was_seen():
    x = np.arange(1001.0)
    rule = Linear(SYMMETRIC, np.diag([1.0, 0.5]))
    law = predict(rule)
    values = np.log(law.rates["token_diversity"]) * x
    for end, verdict in ((400, "agrees"), (8, "not measured"), (0, "not measured")):
        run = trajectory(np.where(x < end, values, np.nan), metric="log_token_diversity")
        row = compare(law, run)["token_diversity"]
        assert (row.verdict, row.last) == (verdict, end - 1)
    # a deeper run would not see more
    run = trajectory(np.where(x < 30, values + 3 * 0.99**x, np.nan), metric="log_token_diversity")
    slow = dataclasses.replace(law, relaxations=dict.fromkeys(GAPS, 0.99))
    assert compare(slow, run)["token_diversity"].verdict == "not measured"


# --- many systems -----------------------------------------------------------------------


def test_no_false_disagreement_and_batches_are_their_systems():
    total = Counter()
    for seed, options in enumerate(
        [
            {"interval": (0, 2)},
            {"interval": (-1, 0)},
            {"complex_weights": True},
            {"complex_attention": True},
            {"complex_attention": True, "complex_weights": True, "interval": (-1, 0)},
        ]
    ):
        systems = [random_mixed((101, seed, k), **options) for k in range(40)]
        A, H, x0 = (np.stack([s[k] for s in systems]) for k in (0, 1, 4))
        rule = Linear(A, H)
        run = simulate(rule, x0, 600, metrics=METRICS, layers=every(600))
        for law in (predict(rule), predict(rule, x0=x0)):
            found = compare(law, run)
            assert found.agrees.shape == (40,)
            total.update(str(v) for gap in GAPS for v in found[gap].verdict)
        one = compare(
            predict(A[7], H[7]), simulate(Linear(A[7], H[7]), x0[7], 600, metrics=METRICS, layers=every(600))
        )
        for gap in GAPS:
            row, alone = found[gap], one[gap]
            assert alone.verdict == row.verdict[7]
            assert alone.metric == row.metric[7]
            assert (alone.first, alone.last) == (row.first[7], row.last[7])
            assert abs(alone.layers_needed - row.layers_needed[7]) <= 1 + 1e-3 * alone.layers_needed
            np.testing.assert_allclose(alone.measured, row.measured[7], rtol=1e-8)
        assert "systems)" in str(found)
    assert total["disagrees"] == 0, total
    assert total["not measured"] == 0, total
    assert total["agrees"] > 0.6 * sum(total.values()), total


def test_one_law_serves_a_batch_of_runs():
    rule = Linear(SYMMETRIC, np.diag([1.0, 0.5]))
    found = compare(
        predict(rule), simulate(rule, tokens.gaussian(4, 2, size=(2, 3), rng=0), 300, layers=every(300))
    )
    for gap in GAPS:
        for field in dataclasses.fields(found[gap]):
            assert np.shape(getattr(found[gap], field.name)) == (2, 3), field.name
        assert np.all(found[gap].verdict == "agrees")
    laws = predict(SYMMETRIC, np.stack([np.diag([1.0, 0.5]), np.diag([-0.9, -0.5])]))
    run = simulate(rule, tokens.gaussian(4, 2, rng=0), 900, layers=every(900))
    found = compare(laws, run)
    np.testing.assert_array_equal(found.agrees, [True, False])
    np.testing.assert_array_equal(found["cosine_gap"].metric, ["log_cosine_gap", "log_abs_cosine_gap"])
    assert "(1 of 2 systems)" in str(found)


def test_single_systems_give_plain_python():
    row = held(SYMMETRIC, np.diag([1.0, 0.5]), 100)["rank_gap"]
    kinds = [type(getattr(row, field.name)) for field in dataclasses.fields(row)]
    assert kinds == [str, float, float, float, float, int, int, int, str]


def test_every_array_library(xp):
    rule = Linear(xp.array(SYMMETRIC), xp.array(np.diag([1.0, 0.5])))
    run = simulate(rule, xp.array(tokens.gaussian(4, 2, rng=0)), 200, layers=range(0, 201, 10))
    assert verdicts(compare(predict(rule), run)) == ["agrees"] * 3


def test_single_precision():
    rule = Linear(SYMMETRIC.astype(np.float32), np.diag([1.0, 0.5]).astype(np.float32))
    run = simulate(rule, tokens.gaussian(4, 2, rng=0).astype(np.float32), 300, layers=every(300))
    # minors fall below single precision after some 15 layers, the diverse part never does: what is
    # measured of them at all (in double precision, from the same matrices) agrees
    found = compare(predict(rule), run)
    first, *others = verdicts(found)
    assert first == "agrees"
    assert set(others) <= {"agrees", "not measured"}
    assert 0 < abs(found["token_diversity"].difference) < found["token_diversity"].uncertainty < 1e-5


# --- what was not recorded, and bad input ------------------------------------------------


def test_what_was_not_recorded_is_said():
    rule = Linear(SYMMETRIC, np.diag([1.0, 0.5]))
    x0 = tokens.gaussian(4, 2, rng=0)
    found = compare(predict(rule), simulate(rule, x0, 100, metrics="log_rank_gap"))
    assert verdicts(found) == ["not recorded", "not recorded", "agrees"]
    assert np.isnan(found["cosine_gap"].measured)
    assert "simulate with metrics=[..., 'log_cosine_gap']" in str(found)
    # the absolute cosine does not stand in for the cosine
    found = compare(predict(rule), simulate(rule, x0, 100, metrics=["log_abs_cosine_gap", "log_rank_gap"]))
    assert found["cosine_gap"].verdict == "not recorded"
    with pytest.raises(InvalidValueError, match=r"log_cosine_gap.*log_rank_gap.*log_token_diversity"):
        compare(predict(rule), simulate(rule, x0, 100, metrics="log_norm"))


def test_bad_input_is_refused():
    rule = Linear(SYMMETRIC, np.diag([1.0, 0.5]))
    law, run = predict(rule), simulate(rule, tokens.gaussian(4, 2, rng=0), 9)
    with pytest.raises(InvalidTypeError, match="law: found Trajectory"):
        compare(run, law)
    with pytest.raises(InvalidTypeError, match="run: found NoneType"):
        compare(law, None)
    laws = predict(SYMMETRIC, np.stack([np.diag([1.0, k]) for k in (0.1, 0.2, 0.3)]))
    runs = simulate(rule, tokens.gaussian(4, 2, size=2, rng=0), 9)
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        compare(laws, runs)
    with pytest.raises(InvalidValueError, match="rank_gap"):
        compare(law, run)["rank"]


def test_a_run_of_another_rule_can_be_held_against_a_law():
    """Heads that share A are one head of the summed weights."""
    H = np.diag([1.0, 0.5])
    rule = MultiHead(np.stack([SYMMETRIC, SYMMETRIC]), np.stack([H / 3, 2 * H / 3]))
    run = simulate(rule, tokens.gaussian(4, 2, rng=0), 300, metrics="log_token_diversity", layers=every(300))
    assert compare(predict(SYMMETRIC, H), run)["token_diversity"].verdict == "agrees"


def test_the_table():
    lines = str(held(SYMMETRIC, np.diag([1.0, 0.5]), 300)).splitlines()
    assert len(lines) == 4
    assert len({len(text) for text in lines}) == 1  # aligned
    assert lines[0].split()[:3] == ["gap", "predicted", "measured"]
    assert linsim.compare is compare


def test_a_beat_slower_than_the_window_decides_nothing():
    H = np.array([[0.99, 4e-3, 0], [-6e-5, 0.99, 0], [0, 0, 0.1]])
    rule = Linear(SYMMETRIC, H)
    law = predict(rule)
    assert law.beats["token_diversity"] < 2e-3
    assert predict(SYMMETRIC, np.diag([1.0, 0.5])).beats["rank_gap"] == np.inf
    x0 = tokens.gaussian(4, 3, size=200, rng=0)
    run = simulate(rule, x0, 400, layers=every(400), metrics=["log_token_diversity"])
    found = compare(law, run)
    assert np.all(found.agrees)
    # known of the beat, not by luck
    unaware = compare(dataclasses.replace(law, beats={}), run)
    assert not np.all(unaware.agrees)
    needed = found["token_diversity"].layers_needed[~unaware.agrees]
    assert np.all(needed >= 4 * np.pi / law.beats["token_diversity"])
    # what the beat explains is not called wrong, what it cannot explain is
    fast = np.array([[0.99, 0.5, 0], [-0.5, 0.99, 0], [0, 0, 0.1]])
    law = predict(SYMMETRIC, fast)
    wrong = dataclasses.replace(law, rates={gap: rate * 0.9 for gap, rate in law.rates.items()})
    run = simulate(Linear(SYMMETRIC, fast), x0, 400, layers=every(400), metrics=METRICS)
    assert np.all(compare(wrong, run)["token_diversity"].verdict == "disagrees")
