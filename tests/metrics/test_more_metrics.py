"""Metrics beside the default fourteen, metrics over some of the tokens, and metrics of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import more_metrics as truth

import linsim
from linsim import Block, Linear, MultiHead, RandomWeights, simulate
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError
from linsim.metrics import METRICS, REGISTRY, clusters, interaction_energy, measure, normalised, of_states
from linsim.metrics._registry import DEFAULT

ALL = tuple(METRICS)
GAPS = [name for name in ALL if name.startswith("log")]
WEIGHTS = {
    "all": None,
    "mask": [True, False, True, True, False, True],
    "weights": [1.0, 0.25, 0.0, 3.0, 1e-6, 0.5],
}


def drawn(seed, n=6, d=4, batch=()):
    rng = np.random.default_rng(seed)
    A = rng.uniform(0.1, 1, (*batch, n, n))
    A /= A.sum(axis=-1, keepdims=True)
    return A, rng.normal(size=(*batch, d, d)) / 3, rng.normal(size=(*batch, n, d))


def close(found, expected, name, error=0.0, slack=1e-11):
    """Within the error that is stated for it, and within so much of the value at least."""
    if np.isnan(expected) or np.isinf(expected):
        np.testing.assert_equal(float(found), expected, err_msg=name)
        return
    size = 1.0 if name.startswith("log") else max(1.0, abs(expected))
    assert abs(float(found) - expected) <= max(error, slack * size), (name, float(found), expected, error)


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", WEIGHTS)
@pytest.mark.parametrize("shape", [(6, 4), (6, 1), (6, 9)])
def test_every_metric_is_its_definition(shape, tokens):
    A, _, x = drawn(1, *shape)
    x[:, 0] += 1.0
    weights = WEIGHTS[tokens]
    expected = truth.of_state(x, A, weights=weights)
    found = measure(x, "all", tokens=weights, attention=A)
    assert set(found) == set(expected) == set(ALL)
    for name in ALL:
        close(found[name], expected[name], name)


@pytest.mark.parametrize("tokens", WEIGHTS)
@pytest.mark.parametrize("distance", [1e-3, 1e-9, 1e-15])
def test_gaps_keep_their_digits_where_tokens_are_nearly_one(distance, tokens):
    A, _, z = drawn(2)
    x = np.ones((6, 1)) * np.array([1.0, -2.0, 0.5, 3.0]) + distance * z
    expected = truth.of_state(x, A, weights=WEIGHTS[tokens])
    found = measure(x, "all", tokens=WEIGHTS[tokens], attention=A)
    for name in GAPS:
        if not np.isnan(found[name]):
            # an entry is one rounding of the row, which is 1/distance beside what differs
            close(found[name], expected[name], name, 1e-3 if distance < 1e-12 else 1e-16 / distance * 100)
    assert not any(np.isnan(found[name]) for name in GAPS if distance > 1e-6)


@pytest.mark.parametrize("tokens", WEIGHTS)
@pytest.mark.parametrize("method", ["iterate", "modal"])
@pytest.mark.parametrize("winner", [0.6, -0.9])
def test_gaps_of_deep_layers(winner, method, tokens):
    """To 1e-100 and below, where the constant mode wins and where another one does."""
    A, H, x0 = drawn(3)
    mu = np.array([winner, 0.2, -0.1, 0.05])
    H = H @ np.diag(mu) @ np.linalg.inv(H)
    weights, layers = WEIGHTS[tokens], [0, 3, 40, 250]
    expected = truth.along(A, H, x0, layers, weights=weights, digits=500)
    run = simulate(Linear(A, H), x0, 250, layers=layers, metrics="all", method=method, tokens=weights)
    assert run.info.method == method
    for name in ALL:
        for k in range(len(layers)):
            value, off = run.metrics[name][k], run.errors[name][k]
            if np.isnan(value):
                continue
            close(value, expected[name][k], name, off, slack=1e-12)
    # of what the constant mode closes nothing is withheld, and the error is small
    if winner > 0:
        known = [n for n in GAPS if not n.startswith("log_attention")]
        assert all(np.all(run.errors[name] < 1e-7) for name in known), {n: run.errors[n] for n in known}
        assert expected["log_mad"][-1] < -200


# --- edge values -----------------------------------------------------------------------------------


def test_a_token_alone():
    found = measure([[3.0, 4.0]], "all", attention=[[1.0]])
    at = {name: float(value) for name, value in found.items()}
    for name in (
        "mad",
        "attention_mad",
        "dirichlet_energy",
        "attention_dirichlet_energy",
        "attention_entropy",
    ):
        assert at[name] == 0
    for name in ("nuclear_rank", "participation_ratio", "stable_rank_of_gram", "effective_rank_of_squares"):
        assert at[name] == 1
        assert at[f"log_{name}_gap"] == -np.inf
    assert at["clusters"] == at["largest_token_share"] == 1
    assert np.isnan(at["centred_effective_rank"])
    assert np.isnan(at["log_centred_effective_rank_gap"])
    np.testing.assert_allclose(at["interaction_energy"], np.e / 2, rtol=1e-15)
    assert at["log_interaction_energy_gap"] == at["log_mad"] == at["log_dirichlet_energy"] == -np.inf
    # a mask that leaves one is the same
    x = drawn(4)[2]
    one, left = measure(x[2:3], "all"), measure(x, "all", tokens=[0, 0, 2.0, 0, 0, 0])
    for name in ALL:
        shift = {"log_norm": 0.5, "largest_token_share": 0}.get(name, 0) * np.log(2)
        np.testing.assert_allclose(left[name], one[name] + shift, rtol=1e-14, err_msg=name)


def test_tokens_that_are_one_and_zero_rows_and_the_zero_state():
    same = measure(np.ones((3, 2)), "all", attention=np.full((3, 3), 1 / 3))
    assert same["clusters"] == 1
    assert same["mad"] == 0
    assert same["attention_mad"] == 0
    assert same["log_dirichlet_energy"] == same["log_attention_dirichlet_energy"] == -np.inf
    assert np.isnan(same["centred_effective_rank"])
    np.testing.assert_allclose(same["largest_token_share"], 1 / 3, rtol=1e-15)
    x = np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    rows = measure(x, "all", attention=np.full((3, 3), 1 / 3))
    assert rows["clusters"] == 2
    np.testing.assert_allclose(rows["largest_token_share"], 0.8, rtol=1e-15)
    np.testing.assert_allclose([rows["mad"], rows["attention_mad"]], [2 / 3, 4 / 9], rtol=1e-15)
    expected = (5 * np.e + 4) / 18  # a token has cosine 1 with itself
    np.testing.assert_allclose(rows["interaction_energy"], expected, rtol=1e-15)
    nothing = measure(np.zeros((3, 2)), "all", attention=np.full((3, 3), 1 / 3))
    for name in ALL:
        np.testing.assert_equal(float(nothing[name]), REGISTRY[name].of_nothing, err_msg=name)
    # where no token that counts has anything, too
    left = measure(x, "all", tokens=[0, 1, 0], attention=np.full((3, 3), 1 / 3))
    for name in ALL:
        np.testing.assert_equal(float(left[name]), REGISTRY[name].of_nothing, err_msg=name)


def test_what_is_recorded_where_nothing_is_named():
    A, H, x0 = drawn(5)
    assert len(DEFAULT) == 14
    assert tuple(simulate(Linear(A, H), x0, 1).metrics) == tuple(measure(x0)) == DEFAULT
    assert tuple(measure(x0, "all")) == ALL
    assert tuple(measure(x0, ["clusters", "plain"])) == (*[n for n in DEFAULT if n not in GAPS], "clusters")


# --- tokens= ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["iterate", "modal", "draws", "block", "pairs"])
def test_a_mask_leaves_what_a_run_without_the_others_would_measure(engine):
    """Layers see all tokens; what is measured is the rows that are kept."""
    A, H, x0 = drawn(6, batch=(3,))
    masks = np.array([[1, 1, 0, 1, 0, 1], [0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]], dtype=bool)
    rule = {
        "draws": RandomWeights(A),
        "block": Block(A, weights=H, norm="post", feed_forward="gelu"),
        "pairs": MultiHead(A[:, None], H[:, None]),
    }.get(engine, Linear(A, H))
    method = engine if engine in ("iterate", "modal") else "auto"
    run = simulate(rule, x0, 5, tokens=masks, method=method, keep_states=True, rng=1)
    states = run.states * np.exp(run.state_log_scale)[..., None, None]
    for i, mask in enumerate(masks):
        for layer in range(6):
            expected = measure(states[i, layer][mask])
            for name, value in expected.items():
                off = run.errors[name][i, layer] + 1e-9 * max(1.0, abs(value))
                assert abs(run.metrics[name][i, layer] - value) <= off, (name, i, layer)


def test_one_rule_and_input_measured_with_several_masks():
    A, H, x0 = drawn(7)
    masks = np.eye(6)[:, None] + np.eye(6)[[1, 2, 3, 4, 5, 0]][:, None]  # (6, 1, 6)
    for method in ("iterate", "modal"):
        run = simulate(Linear(A, H), x0, 4, tokens=masks, method=method)
        assert run.metrics["cosine"].shape == (6, 1, 5)
        for k in range(6):
            one = simulate(Linear(A, H), x0, 4, tokens=masks[k, 0], method=method)
            for name in DEFAULT:
                np.testing.assert_allclose(
                    run.metrics[name][k, 0], one.metrics[name], rtol=1e-12, atol=1e-13, err_msg=name
                )


def test_weights_of_one_are_no_weights_and_a_factor_is_a_size():
    A, H, x0 = drawn(8)
    plain = simulate(Linear(A, H), x0, 9, metrics="all", method="iterate")
    for factor in (1.0, 4.0):
        run = simulate(Linear(A, H), x0, 9, metrics="all", method="iterate", tokens=np.full(6, factor))
        for name in ALL:
            power = {"log_norm": 0.5, "log_dirichlet_energy": 1, "log_attention_dirichlet_energy": 2}.get(
                name, 0
            )
            scale = {"dirichlet_energy": factor, "attention_dirichlet_energy": factor**2}.get(name, 1.0)
            expected = plain.metrics[name] * scale + power * np.log(factor)
            np.testing.assert_allclose(run.metrics[name], expected, rtol=1e-10, atol=1e-12, err_msg=name)


def test_a_sink_does_not_hide_the_others():
    """One token 1e12 times the rest, left out: the others are measured as if it were not there."""
    _, _, x = drawn(9)
    x[0] *= 1e12
    found, expected = measure(x, "all", tokens=[0, 1, 1, 1, 1, 1]), measure(x[1:], "all")
    for name in ALL:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_single_precision_with_weights(dtype):
    A, H, x0 = (x.astype(dtype) for x in drawn(10))
    weights = WEIGHTS["weights"]
    run = simulate(Linear(A, H), x0, 20, metrics="all", method="iterate", tokens=weights)
    A, H, x0 = (x.astype(np.float64) for x in (A, H, x0))
    expected = truth.along(A, H, x0, range(21), weights=weights)
    for name in ALL:
        for k in range(21):
            if not np.isnan(run.metrics[name][k]):
                close(run.metrics[name][k], expected[name][k], name, run.errors[name][k], slack=1e-11)
    assert np.mean([np.isnan(run.metrics[name]).mean() for name in ALL if "attention" not in name]) < 0.05


BAD = {
    "none": (np.zeros(6), InvalidValueError, "no token"),
    "none of one": ([[1] * 6, [0] * 6], InvalidValueError, "no token"),
    "negative": ([1, 1, 1, 1, 1, -1], InvalidValueError, "below 0"),
    "shape": (np.ones(5), ShapeError, "n = 6"),
    "column": (np.ones((6, 1)), ShapeError, "n = 6"),
    "number": (1.0, ShapeError, "axes"),
    "batch": (np.ones((4, 6)), ShapeError, "broadcast"),
    "nan": ([1, 1, 1, 1, 1, np.nan], InvalidValueError, "NaN"),
    "small": ([1, 1, 1, 1, 1, 1e-20], InvalidValueError, "largest"),
    "large": (np.full(6, 1e200), InvalidValueError, "scale"),
    "text": ("all", InvalidTypeError, "numbers"),
    "complex": (np.ones(6) * 1j, InvalidTypeError, "real"),
    "ragged": ([[1, 1], [1]], InvalidTypeError, "rectangular"),
}


@pytest.mark.parametrize("which", BAD)
def test_tokens_that_do_not_fit_are_refused(which):
    tokens, kind, words = BAD[which]
    A, H, x0 = drawn(11, batch=(3,))
    for call in (
        lambda: simulate(Linear(A, H), x0, 3, tokens=tokens),
        lambda: measure(x0, tokens=tokens),
    ):
        with pytest.raises(kind, match=words) as caught:
            call()
        assert isinstance(caught.value, LinsimError)
        assert "tokens" in str(caught.value)


def test_an_engine_that_measures_all_tokens_alike_is_refused():
    A, H, x0 = drawn(12)
    with pytest.raises(InvalidValueError, match="tokens"):
        simulate(Linear(A, H), x0, 3, metrics=["cosine"], method="lanes", tokens=np.ones(6))
    assert simulate(Linear(A, H), x0, 3, metrics=["cosine"], tokens=np.ones(6)).info.method == "parts"


@pytest.mark.parametrize(
    ("attention", "kind"),
    [(np.ones((6, 6)), InvalidValueError), (np.eye(5), ShapeError), ("x", InvalidTypeError)],
)
def test_attention_of_tokens_at_hand_is_checked(attention, kind):
    with pytest.raises(kind, match="attention"):
        measure(drawn(13)[2], ["attention_mad"], attention=attention)


# --- metrics with parameters -----------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.01, 4.0, 700.0])
def test_interaction_energy_at_any_temperature(beta):
    _, _, x = drawn(14)
    energy, gap = interaction_energy(beta)
    found = measure(x, [energy, gap])
    expected = truth.of_state(x, beta=beta)
    np.testing.assert_allclose(found[energy.name], expected["interaction_energy"], rtol=1e-12)
    np.testing.assert_allclose(found[gap.name], expected["log_interaction_energy_gap"], rtol=1e-12)


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.3, 0.6, 0.9])
def test_clusters_at_any_cosine(cosine):
    _, _, x = drawn(15, n=12, d=2)
    found = measure(x, clusters(cosine))[f"clusters_{cosine:g}"]
    assert found == truth.of_state(x, cosine=cosine)["clusters"]


def test_a_chain_of_neighbours_is_one_cluster():
    angle = np.arange(17) * 0.1
    x = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    order = np.random.default_rng(0).permutation(17)
    assert measure(x[order], clusters(np.cos(0.11)))[f"clusters_{np.cos(0.11):g}"] == 1
    assert measure(x[order], clusters(np.cos(0.09)))[f"clusters_{np.cos(0.09):g}"] == 17
    # at the edge itself, rounding decides: that is no number
    assert np.isnan(measure(x[order], clusters(float(np.cos(0.1))))[f"clusters_{np.cos(0.1):g}"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: interaction_energy(0),
        lambda: interaction_energy(701),
        lambda: interaction_energy("hot"),
        lambda: clusters(1),
        lambda: clusters(-1),
        lambda: normalised("cosines"),
        lambda: normalised(normalised("cosine")),
        lambda: of_states("cosine", "", np.sum),
        lambda: of_states("mine", "", 3),
        lambda: of_states("mine", "", np.sum, degree=-1),
    ],
)
def test_metrics_that_cannot_be_are_refused(make):
    with pytest.raises(LinsimError):
        make()


# --- tokens of length 1 ----------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", WEIGHTS)
def test_normalised_tokens(tokens):
    A, _, x = drawn(16)
    weights = WEIGHTS[tokens]
    units = x / np.linalg.norm(x, axis=-1, keepdims=True)
    expected = measure(units, "all", tokens=weights, attention=A)
    once = {name: normalised(name) for name in ALL}
    found = measure(x, once.values(), tokens=weights, attention=A)
    for name, metric in once.items():
        np.testing.assert_allclose(found[metric.name], expected[name], rtol=1e-11, atol=1e-12, err_msg=name)
        assert metric.is_log == REGISTRY[name].is_log


@pytest.mark.parametrize("method", ["iterate", "modal"])
def test_gaps_of_normalised_tokens_keep_their_digits(method):
    """Of n vectors of length 1, t_div = (n - 1)/n (1 - cosine): two ways to the same number."""
    A, H, x0 = drawn(17)
    H = H @ np.diag([0.6, 0.2, -0.1, 0.05]) @ np.linalg.inv(H)
    names = ("log_token_diversity", "log_rank_gap", "log_cosine_gap")
    metrics = [normalised(name) for name in names]
    layers = [0, 10, 100, 250]
    run = simulate(
        Linear(A, H),
        x0,
        250,
        layers=layers,
        metrics=[*metrics, "log_cosine_gap", "log_rank_gap"],
        method=method,
    )
    gap = run.metrics["log_cosine_gap"]
    assert gap[-1] < -200
    np.testing.assert_allclose(run.metrics["log_normalised_token_diversity"], gap + np.log(5 / 6), atol=1e-9)
    np.testing.assert_allclose(run.metrics["log_normalised_cosine_gap"], gap, atol=1e-9)
    # rows of one direction: each sigma_2 is that of the rows over their common length
    np.testing.assert_allclose(
        run.metrics["log_normalised_rank_gap"][2:], run.metrics["log_rank_gap"][2:], atol=1e-6
    )
    assert "length 1" in run.to_xarray()["log_normalised_rank_gap"].attrs["long_name"]


# --- metrics of one's own --------------------------------------------------------------------------


def test_a_function_of_the_states_is_a_metric():
    A, H, x0 = drawn(18, batch=(2,))
    largest = of_states("largest", "largest entry", lambda x: abs(x).max(axis=(-1, -2)), degree=1)
    skew = of_states("skew", "mean cube", lambda x: (x**3).mean(axis=(-1, -2)))
    share = of_states(
        "share", "first column", lambda x: (x[:, :, 0] ** 2).sum(-1) / (x**2).sum((-1, -2)), degree=0
    )
    own = [largest, "cosine", skew, share]
    for method in ("iterate", "modal"):
        run = simulate(Linear(A, H), x0, 6, metrics=own, method=method, keep_states=True)
        assert list(run.metrics) == ["cosine", "largest", "skew", "share"]
        X = run.states * np.exp(run.state_log_scale)[..., None, None]
        np.testing.assert_allclose(run.metrics["largest"], np.abs(X).max(axis=(-1, -2)), rtol=1e-12)
        np.testing.assert_allclose(run.metrics["skew"], np.mean(X**3, axis=(-1, -2)), rtol=1e-10, atol=1e-12)
        assert np.all(run.errors["skew"] < 1e-9)
        assert np.all(run.errors["skew"] > 0)
        assert run.to_xarray()["skew"].attrs["long_name"] == "mean cube"
    deep = simulate(Linear(A, 9 * np.eye(4)), x0, 2000, layers=[0, 2000], metrics=[largest, skew, share])
    assert np.all(np.isinf(deep.metrics["largest"][:, 1]))
    assert np.all(np.isnan(deep.metrics["skew"][:, 1]))
    assert np.all(np.isfinite(deep.metrics["share"]))


def test_the_error_of_ones_own_metric_says_where_it_is_rounding():
    """1 - (mean part)/(whole) of tokens that are nearly one: cancels, as the library's gap does not."""

    def naive(x):
        return 1 - (x.mean(axis=-2) ** 2).sum(-1) * x.shape[-2] / (x**2).sum((-1, -2))

    x = np.ones((5, 3)) + 1e-10 * drawn(19, n=5, d=3)[2]
    own = of_states("naive", "diversity", lambda x: np.log(abs(naive(x)) + 1e-300), degree=0)
    own = of_states("log_naive", "ln diversity", own.of.keywords["function"], degree=0)
    assert np.isnan(measure(x, own)["log_naive"])
    assert np.isfinite(measure(x, "log_token_diversity")["log_token_diversity"])


def test_ones_own_metric_sees_the_tokens_that_count():
    x = drawn(20)[2]
    total = of_states("total", "sum of squares", lambda x: (x**2).sum(axis=(-1, -2)), degree=2)
    for tokens in (WEIGHTS["mask"], WEIGHTS["weights"], [0, 9.0, 1, 0, 0, 0]):
        expected = np.sum(np.asarray(tokens, float)[:, None] * x**2)
        np.testing.assert_allclose(measure(x, total, tokens=tokens)["total"], expected, rtol=1e-13)


@pytest.mark.parametrize("wrong", [lambda x: x, lambda x: "no", lambda x: None, lambda x: x.sum()])
def test_a_function_that_does_not_return_numbers_is_refused(wrong):
    A, H, x0 = drawn(21, batch=(2,))
    with pytest.raises(InvalidValueError, match="mine"):
        simulate(Linear(A, H), x0, 1, metrics=[of_states("mine", "", wrong)])


def test_names_of_ones_own_metrics_are_their_own():
    one, two = (of_states("mine", "", lambda x: x[:, 0, 0]) for _ in range(2))
    x = drawn(22)[2]
    assert list(measure(x, [one, one])) == ["mine"]
    with pytest.raises(InvalidValueError, match="two metrics"):
        measure(x, [one, two])
    with pytest.raises(InvalidValueError, match="two metrics"):
        measure(x, linsim.metrics.Metric("cosine", "", one.of))
    for wrong in (3, [3]):
        with pytest.raises(LinsimError, match="metrics"):
            measure(x, wrong)
