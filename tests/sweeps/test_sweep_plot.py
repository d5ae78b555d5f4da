"""``ds.linsim``: pictures that show what is in the dataset, tidy tables, and failures by name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import linsim
from linsim import sweeps
from linsim.errors import InvalidValueError


def make(point, rng):
    k = len(point["mu"])
    H = np.real(point["mu"])[:, None, None] * np.eye(3)
    if "bad" in point:
        H[point["bad"] == 1] = np.nan
    return linsim.Linear(linsim.attention.dirichlet(4, size=k, rng=rng), H), linsim.tokens.gaussian(
        4, 3, size=k, rng=rng
    )


def swept(grid, **options):
    options = {"depth": 4, "progress": False, "metrics": ["cosine", "log_norm"], "replicates": 3} | options
    return linsim.sweep(make, grid, **options)


@pytest.fixture(scope="module")
def plane():
    return swept({"mu": np.linspace(-1.5, 1.5, 14), "s": np.linspace(0, 1, 13)}, layers=[0, 2, 4])


def test_two_axes_are_a_heat_map_with_the_predicted_boundary(plane):
    for ax in (plane.linsim.plot(), plane.linsim.plot("mu", "s", "cosine")):
        mesh = ax.collections[0]
        shown = plane.cosine.isel(layer=-1).mean("replicate").transpose("s", "mu").values
        np.testing.assert_allclose(np.ravel(mesh.get_array()), shown.ravel())
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("mu", "s")
        # mu = 0 is the boundary for positive weights: drawn where the margin changes its sign
        lines = [c for c in ax.collections if type(c).__name__ == "QuadContourSet"]
        assert len(lines) == 2
        x = np.concatenate([path.vertices[:, 0] for path in lines[-1].get_paths() if len(path.vertices)])
        margin = plane.predicted_margin.mean("replicate").values
        crossed = [
            plane.mu.values[[k, k + 1]]
            for k in range(13)
            if np.any(np.sign(margin[k]) != np.sign(margin[k + 1]))
        ]
        assert all(any(a <= at <= b for a, b in crossed) for at in x)
    turned = plane.isel(mu=slice(None, None, -1)).linsim.plot("mu", "s", "cosine", layer=0)
    shown = plane.cosine.sel(layer=0).mean("replicate").transpose("s", "mu").values
    np.testing.assert_allclose(np.ravel(turned.collections[0].get_array()), shown.ravel())


def test_an_axis_and_a_metric_are_lines_with_a_band(plane):
    ax = plane.isel(s=slice(0, 3)).linsim.plot("mu", "log_norm", color="s")
    part = plane.isel(s=[1]).log_norm.isel(layer=-1)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), part.median(["s", "replicate"]).values)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [f"{s}" for s in plane.s.values[:3]]
    low, high = part.quantile([0.1, 0.9], ["s", "replicate"]).values
    band = ax.collections[1].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(low.min())
    assert band.max() == pytest.approx(high.max())
    depth = plane.isel(mu=[3], s=[0]).linsim.plot("layer", "log_norm")
    assert depth.lines[0].get_xdata().tolist() == [0, 2, 4]


def test_anything_else_is_a_scatter(plane):
    ax = plane.linsim.plot("log_norm", "cosine", "predicted_margin")
    assert len(ax.collections[0].get_offsets()) == 14 * 13 * 3
    cloud = swept({"point": {"mu": [0.1, 0.2, 0.3], "s": [1.0, 2.0, 0.0]}})
    for arguments in (("mu", "s", "cosine"), ("mu", "cosine", "s"), ("mu", "cosine")):
        ax = cloud.linsim.plot(*arguments)
        assert type(ax.collections[0]).__name__ == "PathCollection"


def test_names_are_places_on_an_axis():
    ds = swept({"norm": ["post", "pre"], "mu": [0.1, 0.2, 0.4]})
    ax = ds.linsim.plot("norm", "log_norm")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["post", "pre"]
    ax = ds.linsim.plot("norm", "mu", "log_norm")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["post", "pre"]
    assert ds.linsim.plot("mu", "log_norm", "norm").get_legend().get_title().get_text() == "norm"


def test_bad_names_are_refused(plane):
    with pytest.raises(InvalidValueError, match="x: found 'nu'"):
        plane.linsim.plot("nu")
    with pytest.raises(InvalidValueError, match="layer: found 3"):
        plane.linsim.plot(layer=3)
    with pytest.raises(InvalidValueError, match="color: found s with 13 values") as caught:
        plane.linsim.plot("mu", "cosine", "s")
    assert "y='s'" in str(caught.value)
    plane.linsim.plot("mu", "s", "cosine")  # the remedy


def test_a_table_has_a_row_for_each_system_and_layer():
    ds = swept({"mu": [0.5 + 1j, -1.0], "bad": [0, 1]}, layers=[0, 4])
    table = ds.linsim.to_dataframe()
    assert len(table) == 2 * 2 * 3 * 2
    assert set(table.columns) == {"mu", "bad", "replicate", "layer", *map(str, ds.data_vars)}
    assert set(table["mu"]) == {0.5 + 1j, -1.0 + 0j}
    assert table["status"].value_counts().to_dict() == {"done": 12, "failed": 12}
    row = table[(table.mu == -1.0) & (table.bad == 0) & (table.replicate == 2) & (table.layer == 4)]
    assert row["log_norm"].item() == ds.log_norm.values[1, 0, 2, 1]
    assert row["predicted_regime"].item() == "sharpening"
    assert table[table.bad == 1]["predicted_rank_collapse"].isna().all()
    assert table[table.bad == 0]["predicted_rank_collapse"].notna().all()
    assert len(ds.linsim.failures) == 6
    assert all("H: found NaN" in text for text in ds.linsim.failures.values())
    assert "bad=1" in next(iter(ds.linsim.failures))


def test_a_picture_of_a_store(tmp_path):
    swept({"mu": [0.1, 0.2]}, store=tmp_path / "s.zarr")
    assert sweeps.save_plot(tmp_path / "s.zarr", tmp_path / "a.svg", x="mu", y="cosine") == tmp_path / "a.svg"
    assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("order", ["import linsim, xarray", "import xarray, linsim"])
def test_the_accessor_is_there_whoever_comes_first(order):
    code = f"{order}; import sys; print(xarray.Dataset.linsim.__name__, xarray.__spec__.loader.name)"
    shown = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert shown.stdout.split() == ["SweepAccessor", "xarray"], shown.stderr
