"""The main job on a small grid: what it writes, and that its report is a measurement."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import xarray as xr

from linsim.app import demo
from linsim.figures import phase_diagram


@pytest.fixture
def small(monkeypatch):
    grid = {"mu_min": np.linspace(-4, 2, 13), "lambda_min": np.linspace(-0.5, 0, 5)}
    compute = functools.partial(phase_diagram.compute, **grid, replicates=1)
    monkeypatch.setattr(phase_diagram, "compute", compute)


@pytest.mark.usefixtures("small")
def test_demo_writes_dataset_figure_and_report(tmp_path):
    report = demo.run(tmp_path / "out", progress=False)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"phase_diagram.{s}" for s in ("zarr", "png", "pdf", "txt")} | {"report.txt"}
    ds = xr.open_zarr(tmp_path / "out" / "phase_diagram.zarr", consolidated=False)
    assert report.systems == 13 * 5
    # away from the boundary prediction and measurement agree, without exception
    far = np.abs(ds.predicted_margin) > 0.2
    falls = ds.log_hfc_lfc.isel(layer=-1) < ds.log_hfc_lfc.isel(layer=-2)
    assert int(far.sum()) > 30
    assert bool((falls == (ds.predicted_regime == 1)).where(far, True).all())
    text = (tmp_path / "out" / "report.txt").read_text()
    assert text.splitlines() == list(report.lines())
    assert "--seed 0" in (tmp_path / "out" / "phase_diagram.txt").read_text()
    # every disagreement was followed to the depth where it ends
    assert report.disagreements
    assert all(item.settles_at is not None for item in report.disagreements)


@pytest.mark.usefixtures("small")
def test_demo_again_replaces_its_own_results(tmp_path):
    first = demo.run(tmp_path, progress=False)
    assert demo.run(tmp_path, progress=False) == first
    assert demo.run(tmp_path, seed=1, progress=False) != first


@pytest.mark.usefixtures("small")
def test_a_wrong_prediction_would_be_reported_as_unexplained():
    ds = phase_diagram.compute(progress=False)
    wrong = ds.assign(predicted_regime=-ds.predicted_regime)
    report = demo.compare(wrong, phase_diagram.systems, 0)
    unexplained = [d for d in report.disagreements if d.question == "regime" and d.settles_at is None]
    # all but the two exact ties, whose code is 0 with either sign
    assert len(unexplained) >= 13 * 5 - 10
    assert any("UNEXPLAINED" in line for line in report.lines())
