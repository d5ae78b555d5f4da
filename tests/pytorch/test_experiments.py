"""The training experiments: their data, their store, their verdicts, and the command."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")
import xarray as xr  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from linsim.app.cli import app  # noqa: E402
from linsim.errors import LinsimError  # noqa: E402
from linsim.torch.experiments import (  # noqa: E402
    EXPERIMENTS,
    Claim,
    filters,
    interval,
    norms,
    run,
    write_table,
)
from linsim.torch.experiments.data import characters, digits  # noqa: E402
from linsim.torch.experiments.training import METRICS  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices take many times as long on threads that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- data --------------------------------------------------------------------------------


def test_patches_are_the_pixels_of_the_images():
    images = sklearn.datasets.load_digits().images
    x = torch.cat([digits().train[0], digits().test[0]]).numpy()
    assert x.shape == (1797, 16, 4)
    back = (x.reshape(-1, 4, 4, 2, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 64) + 1) * 8
    order = np.lexsort(back.T), np.lexsort(images.reshape(-1, 64).T)
    np.testing.assert_allclose(back[order[0]], images.reshape(-1, 64)[order[1]], atol=1e-5)


def test_only_the_training_set_is_cut_and_corrupted():
    clean, some = digits(seed=1), digits(seed=1, fraction=0.1)
    assert len(some.train[0]) == round(0.1 * len(clean.train[0]))
    for corruption, changed in (("labels", 1), ("pixels", 0)):
        wrong = digits(seed=1, corruption=corruption)
        for a, b in zip(clean.test, wrong.test, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(clean.train[1 - changed], wrong.train[1 - changed])
        share = (clean.train[changed] != wrong.train[changed]).double().mean().item()
        # a label drawn anew may be the old one, with probability 1/10; five standard deviations
        expected, count = {"labels": (0.18, 1438), "pixels": (0.3, 1438 * 64)}[corruption]
        assert abs(share - expected) < 5 * (expected * (1 - expected) / count) ** 0.5
    assert not torch.equal(digits(seed=2, fraction=0.1).train[1], some.train[1])


def test_characters_are_a_text_with_the_entropy_that_is_said():
    text = characters()
    assert text.train.max() == text.alphabet - 1
    train, test = text.train.numpy().ravel(), text.test.numpy().ravel()
    size, kinds = train.size, text.alphabet
    frequency = [(np.sum(train == c) + 0.5) / (size + 0.5 * kinds) for c in range(kinds)]
    assert text.entropy == pytest.approx(np.mean([-np.log(frequency[c]) for c in test]))
    assert 2 < text.entropy < np.log(text.alphabet)


# --- one run -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment", "point"),
    [
        (filters, {"depth": 2, "fraction": 0.1, "corruption": "pixels", "filter": "mixed"}),
        (norms, {"depth": 2, "norm": "de-escalated post"}),
        (norms, {"depth": 2, "norm": "pre"}),
    ],
)
def test_a_run_learns_and_is_measured_in_two_ways(experiment, point):
    found = experiment.train(point, 0, 10)
    start, again = (experiment.train(point, 0, 1) for _ in range(2))
    assert all(np.array_equal(start[key], again[key]) for key in start)  # a seed is a run
    assert found["train_loss"] < start["train_loss"]
    assert set(experiment.VALUES) < set(found)
    for name in METRICS:
        assert found[name].shape == found[f"{name}_before"].shape == (3,)
        np.testing.assert_array_equal(found[f"{name}_before"], start[f"{name}_before"])
    # the forward pass in float32, and one step of the linear layer written elsewhere
    np.testing.assert_allclose(found["measured"], found["step"], atol=1e-4)
    if point.get("norm") == "de-escalated post":
        plain = norms.train({"depth": 2, "norm": "post"}, 0, 10)
        assert found["token_similarity"][1:].max() < plain["token_similarity"][1:].min()


def test_filters_are_those_of_the_layers():
    for kind, signs in (("sharpen", [-1, -1]), ("smooth", [1, 1]), ("mixed", [-1, 1])):
        for at, sign in enumerate(signs):
            mu = torch.linalg.eigvalsh(filters._layer(kind, at).self_attn.weight())
            assert (sign * mu > -1e-6).all()
            assert (sign * mu).max() > 0.1
    assert type(filters._layer("free", 0).self_attn) is torch.nn.MultiheadAttention


# --- the store ---------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.fixture
def trained(monkeypatch):
    """Points that were trained; the training itself is left out."""
    seen = []

    def train(point, seed, steps):
        seen.append((tuple(point.values()), seed))
        if len(seen) == 3:
            raise Killed
        layers = np.arange(point["depth"] + 1.0)
        return {
            "accuracy": 10.0 * seed + filters.AXES["filter"].index(point["filter"]),
            "train_loss": float(steps),
            **dict.fromkeys(METRICS, layers),
            **{f"{name}_before": layers for name in METRICS},
            **dict.fromkeys(("measured", "step", "law"), layers[1:]),
        }

    monkeypatch.setattr(filters, "train", train)
    return seen


def test_a_killed_grid_goes_on_where_it_was(tmp_path, trained):
    store = tmp_path / "grid.zarr"
    with pytest.raises(Killed):
        run("filters", store, quick=True)
    assert int(xr.open_zarr(store, consolidated=False).done.sum()) == 2
    lines = []
    ds = run("filters", store, quick=True, report=lines.append)
    assert lines[0].startswith("2 of 8 runs are in")
    assert len(trained) == 3 + 6
    assert len(set(trained)) == 8
    accuracy = ds.accuracy.isel(depth=0, fraction=0, corruption=0).transpose("seed", "filter")
    np.testing.assert_array_equal(accuracy, 10 * np.arange(2)[:, None] + np.arange(4))
    changes = ds.measured.isel(depth=0, fraction=0, corruption=0, filter=0, seed=0)
    np.testing.assert_array_equal(changes, [np.nan, 1, 2, 3, 4])
    assert ds.attrs["torch"] == torch.__version__.partition("+")[0]
    before = len(trained)
    run("filters", store, quick=True)
    assert len(trained) == before


def test_a_part_of_a_grid(tmp_path, trained):
    part = {"depth": ["4"], "filter": ["free", "smooth"], "fraction": [1.0], "corruption": ["clean"]}
    ds = run("filters", tmp_path / "grid.zarr", seeds=1, only=part)
    assert len(trained) == 2
    assert int(ds.done.sum()) == 2
    assert ds.sizes["depth"] == 3


def test_a_table_has_a_row_for_each_run_and_trains_none(tmp_path, trained):
    trained += [None] * 3  # nobody is killed
    store, path = tmp_path / "grid.zarr", tmp_path / "runs.csv"
    ds = run("filters", store, quick=True, only={"filter": ["smooth", "free"]})
    assert write_table("filters", ds, path) == 4
    about, *lines = path.read_text(encoding="utf-8").splitlines()
    assert about.startswith("# linsim train filters; steps 100, linsim ")
    rows = list(csv.DictReader(lines))
    assert [(row["filter"], row["seed"]) for row in rows] == [
        (kind, seed) for kind in ("free", "smooth") for seed in ("0", "1")
    ]
    assert [float(row["accuracy"]) for row in rows] == [3, 13, 1, 11]
    for row in rows:  # layers count from 0 to 4, changes from 1 to 4
        assert (float(row["log_hfc_lfc_layer_0"]), float(row["log_hfc_lfc"])) == (0, 4)
        assert (float(row["law"]), float(row["law_has_the_sign"])) == (2.5, 1)
    before = len(trained)
    options = ["train", "filters", "--quick", "--out", str(store), "--table", str(tmp_path / "again.csv")]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    assert len(trained) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "filter"}, "Did you mean 'filters'"),
        ({"seeds": 0}, "seeds"),
        ({"steps": 0}, "steps"),
        ({"only": {"width": [3]}}, "only"),
        ({"only": {"depth": [5]}}, "only['depth']"),
        ({"steps": 7}, "steps 100"),
        ({"seeds": 3}, "seeds 2"),
        ({"quick": False}, "axes"),
    ],
)
def test_refusals(tmp_path, trained, options, said):
    store = tmp_path / "grid.zarr"
    run("filters", store, quick=True, only={"filter": ["free"]})
    before = len(trained)
    with pytest.raises(LinsimError) as error:
        run(**{"name": "filters", "store": store, "quick": True, **options})
    assert said in str(error.value)
    assert len(trained) == before


def test_other_files_are_left_alone(tmp_path, trained):
    store = tmp_path / "notes"
    store.mkdir()
    (store / "mine.txt").write_text("mine")
    with pytest.raises(LinsimError, match="no Zarr store"):
        run("filters", store, quick=True)
    assert (store / "mine.txt").read_text() == "mine"
    assert trained == []


# --- verdicts ----------------------------------------------------------------------------


def test_an_interval_is_students():
    from scipy import stats

    values = np.array([0.3, 0.1, 0.5, 0.2, np.nan])
    mean, half, count = interval(values)
    low, high = stats.ttest_1samp(values[:4], 0).confidence_interval()
    assert count == 4
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert interval([1.0]) == (1.0, np.inf, 1)
    assert np.isnan(interval([])[0])


@pytest.mark.parametrize(
    ("mean", "half", "verdict"),
    [
        (0.2, 0.1, "confirmed"),
        (-0.2, 0.1, "opposite"),
        (0.2, 0.3, "not confirmed"),
        (0.2, np.inf, "not confirmed"),
        (np.nan, np.inf, "not confirmed"),
    ],
)
def test_verdicts(mean, half, verdict):
    assert Claim("", mean, half, 5).verdict == verdict


def test_claims_are_held_against_the_right_differences(tmp_path, trained):
    trained += [None] * 3  # nobody is killed
    ds = run("filters", tmp_path / "grid.zarr", quick=True, seeds=3)
    found = {claim.says: claim for claim in filters.claims(ds)}
    where = "(4 layers, 100% of the data, clean)"
    better = found[f"sharpening layers generalise better than layers left free {where}"]
    assert (better.mean, better.seeds, better.verdict) == (-3.0, 3, "opposite")
    grown = found["sharpening layers do not oversmooth: HFC/LFC does not fall (4 layers)"]
    assert (grown.mean, grown.verdict) == (4.0, "confirmed")


# --- the command -------------------------------------------------------------------------


def test_the_command(tmp_path):
    store = tmp_path / "norms.zarr"
    options = ["train", "norms", "--quick", "--seeds", "1", "--steps", "2"]
    options += ["--only", "depth=6", "--out", str(store)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "de-escalated post" in result.stdout
    assert "claim:" in result.stdout
    result = CliRunner().invoke(app, [*options, "--json"])
    said = json.loads(result.stdout)
    assert said["experiment"] == "norms"
    assert {claim["verdict"] for claim in said["claims"]} == {"not confirmed"}  # one seed confirms nothing
    assert int(xr.open_zarr(store, consolidated=False).done.sum()) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["normes"], "Did you mean 'norms'"),
        (["norms", "--only", "depth"], "--only depth=4,12"),
        (["norms", "--steps", "0"], "steps"),
        (["norms", "--table", "runs.csv"], "a store that has runs"),
        (["norms", "--out", ".", "--table", "missing/runs.csv"], "a folder that is there"),
    ],
)
def test_bad_options_are_one_line(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["train", *options])
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_every_experiment_has_what_the_grid_asks_for():
    for experiment in EXPERIMENTS.values():
        assert set(experiment.QUICK) <= set(experiment.AXES)
        assert max(experiment.AXES["depth"]) == experiment.DEPTH
