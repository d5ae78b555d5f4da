"""Sweeps: labels, independence of batch and order, predictions beside, stores that are whole."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from linsim.figures.phase_diagram import systems

import linsim
from linsim.errors import FileFormatError, InvalidTypeError, InvalidValueError, LinsimError, ShapeError

GRID = {"mu_min": [-3.0, -1.0, 1.0], "lambda_min": [-0.4, -0.1]}


def swept(grid=GRID, **options):
    options = {"depth": 16, "progress": False, "metrics": ["log_hfc_lfc", "effective_rank"], **options}
    return linsim.sweep(systems, grid, **options)


def test_labels_and_predictions():
    ds = swept(replicates=2, layers=[0, 16])
    assert ds.log_hfc_lfc.dims == ("mu_min", "lambda_min", "replicate", "layer")
    assert ds.sizes == {"mu_min": 3, "lambda_min": 2, "replicate": 2, "layer": 2}
    assert list(ds.layer) == [0, 16]
    # mu = -3 lies below -2/(1 - 0.1) but above -2/(1 - 0.4)
    assert ds.predicted_regime.sel(mu_min=-3.0, lambda_min=-0.1).values.tolist() == [1, 1]
    assert ds.predicted_regime.sel(mu_min=-3.0, lambda_min=-0.4).values.tolist() == [-1, -1]
    assert ds.predicted_regime.attrs["flag_meanings"].split() == ["sharpening", "balanced", "smoothing"]


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_a_result_does_not_depend_on_the_batch(batch):
    whole, cut = swept(replicates=2), swept(replicates=2, batch=batch)
    # the same draws, and one rounding of the batched products at most
    np.testing.assert_allclose(whole.log_hfc_lfc, cut.log_hfc_lfc, rtol=1e-11, atol=1e-11)


def test_one_cell_reproduces_alone_and_a_larger_grid_keeps_it():
    whole = swept()
    alone = swept({"lambda_min": [-0.1], "mu_min": [1.0]})
    picked = whole.log_hfc_lfc.sel(mu_min=1.0, lambda_min=-0.1).values
    np.testing.assert_allclose(alone.log_hfc_lfc.values.ravel(), picked.ravel(), rtol=1e-11)


def test_seeds_and_replicates_differ():
    ds = swept(replicates=2)
    assert np.all(ds.effective_rank[..., 0, :] != ds.effective_rank[..., 1, :])
    assert np.all(swept(seed=1).log_hfc_lfc != swept().log_hfc_lfc)


def test_layers_none_records_only_the_last():
    assert list(swept().layer) == [16]


def test_a_rule_shared_by_all_points():
    rule = linsim.Linear(linsim.attention.uniform(3), np.eye(2))

    def make(point, rng):
        return rule, linsim.tokens.gaussian(3, 2, size=len(point["p"]), rng=rng)

    ds = linsim.sweep(make, {"p": [1, 2, 3]}, depth=4, progress=False)
    assert ds.predicted_regime.values.ravel().tolist() == [1, 1, 1]
    assert len(np.unique(ds.log_norm)) == 3


def test_rules_without_a_law_have_no_predictions():
    def make(point, rng):
        k = len(point["p"])
        rule = linsim.RandomWeights(linsim.attention.uniform(3))
        return rule, linsim.tokens.gaussian(3, 2, size=k, rng=rng)

    ds = linsim.sweep(make, {"p": [1.0]}, depth=2, progress=False)
    assert not [name for name in ds if name.startswith("predicted")]
    assert float(ds.log_norm.squeeze()) > -10


def test_the_store_holds_what_was_returned(tmp_path):
    store = tmp_path / "s.zarr"
    ds = swept(store=store)
    read = xr.open_zarr(store, consolidated=False).load()
    xr.testing.assert_identical(read, ds)
    assert not list(tmp_path.glob("*.partial"))


def test_an_existing_store_is_not_touched(tmp_path):
    store = tmp_path / "s.zarr"
    store.mkdir()
    (store / "precious").write_text("mine")
    with pytest.raises(FileFormatError, match="store"):
        swept(store=store)
    assert (store / "precious").read_text() == "mine"


def test_a_failing_make_leaves_no_store(tmp_path):
    def make(point, rng):
        raise RuntimeError("user code")

    with pytest.raises(RuntimeError, match="user code"):
        linsim.sweep(make, {"p": [1.0]}, depth=2, store=tmp_path / "s.zarr", progress=False)
    assert list(tmp_path.iterdir()) == []


def never(point, rng):
    raise AssertionError("work started before the arguments were checked")


@pytest.mark.parametrize(
    ("change", "kind", "names"),
    [
        ({"make": 3}, InvalidTypeError, "make"),
        ({"grid": {}}, InvalidValueError, "grid"),
        ({"grid": 3}, InvalidTypeError, "grid"),
        ({"grid": {"p": []}}, ShapeError, "grid"),
        ({"grid": {"p": [[1.0]]}}, ShapeError, "grid"),
        ({"grid": {"p": [1.0, 1.0]}}, ShapeError, "grid"),
        ({"grid": {"p": [np.nan]}}, InvalidValueError, "grid"),
        ({"grid": {"p": [object()]}}, InvalidTypeError, "grid"),
        ({"grid": {"layer": [1.0]}}, InvalidValueError, "grid"),
        ({"grid": {1: [1.0]}}, InvalidValueError, "grid"),
        ({"depth": -1}, InvalidValueError, "depth"),
        ({"depth": 1.5}, InvalidTypeError, "depth"),
        ({"layers": [9]}, InvalidValueError, "layers"),
        ({"layers": []}, InvalidValueError, "layers"),
        ({"layers": "last"}, InvalidTypeError, "layers"),
        ({"metrics": ["cosin"]}, InvalidValueError, "'cosine'"),
        ({"replicates": 0}, InvalidValueError, "replicates"),
        ({"seed": -1}, InvalidValueError, "seed"),
        ({"seed": "a"}, InvalidTypeError, "seed"),
        ({"batch": 0}, InvalidValueError, "batch"),
        ({"backend": "torch"}, InvalidValueError, "backend"),
        ({"store": 3.0}, InvalidTypeError, "store"),
        ({"store": "/nowhere/s.zarr"}, FileFormatError, "store"),
    ],
)
def test_bad_arguments_are_refused_before_work(change, kind, names):
    options = {"make": never, "grid": {"p": [1.0]}, "depth": 4, "progress": False} | change
    with pytest.raises(kind, match=names) as caught:
        linsim.sweep(options.pop("make"), options.pop("grid"), **options)
    assert isinstance(caught.value, LinsimError)


@pytest.mark.parametrize(
    "made",
    [
        None,
        (1, 2),
        (linsim.Linear(np.ones((1, 1)), [[1.0]]),),
        (linsim.Linear(np.ones((5, 1, 1)), [[1.0]]), [[1.0]]),
    ],
)
def test_what_make_returns_is_checked(made):
    with pytest.raises(LinsimError, match="make"):
        linsim.sweep(lambda point, rng: made, {"p": [1.0]}, depth=1, progress=False)
