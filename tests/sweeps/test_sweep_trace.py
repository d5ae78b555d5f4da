"""Boundaries that are followed with few points, to the tolerance that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from linsim.figures.phase_diagram import systems

import linsim
from linsim.errors import InvalidTypeError, InvalidValueError
from linsim.theory import boundary


def circle(point, rng):
    """Weights whose sign is that of a circle: the regime changes where it is crossed."""
    mu = (point["a"] ** 2 + point["b"] ** 2 - 1.0) / 4
    H = mu[:, None, None] * np.eye(2)
    return linsim.Linear(linsim.attention.uniform(3), H), linsim.tokens.gaussian(3, 2, size=len(mu), rng=rng)


def test_the_phase_diagram_with_a_tenth_of_the_points():
    box = {"mu_min": (-4.0, 2.0), "lambda_min": (-0.5, 0.0)}
    found = linsim.trace(systems, box, tolerance=1 / 64)
    assert found.full == 65**2
    assert found.evaluated <= found.full / 10
    assert found.evaluated == found.points.sizes["point"]
    mu, low = found.segments.reshape(-1, 2).T
    off = np.minimum(np.abs(mu), np.abs(mu - np.array([boundary(a) for a in low]))) / 6.0
    assert off.max() <= 1 / 64
    # all of both lines, not only parts
    for x, y in [(0.0, y) for y in np.linspace(-0.5, 0, 33)] + [
        (boundary(y), y) for y in np.linspace(-0.49, 0, 33)
    ]:
        assert distance(found, (x, y)) <= 1.5 / 64


def distance(found, point):
    """From a point to the nearest segment, in units of the box of the phase diagram."""
    scale = np.array([6.0, 0.5])
    a, b = found.segments[:, 0] / scale, found.segments[:, 1] / scale
    p, along = np.asarray(point) / scale, b - a
    at = np.clip(np.sum((p - a) * along, -1) / np.maximum(np.sum(along * along, -1), 1e-300), 0, 1)
    return np.min(np.linalg.norm(a + at[:, None] * along - p, axis=-1))


@pytest.mark.parametrize("tolerance", [1 / 16, 1 / 256])
def test_a_circle_is_closed_and_round(tolerance):
    found = linsim.trace(circle, {"a": (-2.0, 2.0), "b": (-1.7, 1.9)}, tolerance=tolerance)
    radii = np.hypot(*found.segments.reshape(-1, 2).T)
    assert np.abs(radii - 1).max() <= 4 * tolerance
    middles = np.hypot(*found.segments.mean(axis=1).T)
    assert np.abs(middles - 1).max() <= 2 * 4 * tolerance
    length = np.linalg.norm(found.segments[:, 1] - found.segments[:, 0], axis=-1).sum()
    assert length == pytest.approx(2 * np.pi, rel=2 * 4 * tolerance)
    ends = np.round(found.segments.reshape(-1, 2) / (8 * tolerance)).tolist()
    assert found.evaluated < found.full
    assert len(ends) >= 8


def test_a_level_of_a_metric_along_one_axis():
    def make(point, rng):
        H = point["mu"][:, None, None] * np.eye(3)
        return linsim.Linear(linsim.attention.uniform(4), H), linsim.tokens.gaussian(4, 3, rng=0)

    # of uniform attention: X -> mean (1 + mu), rest as it is
    start = linsim.simulate(
        linsim.Linear(linsim.attention.uniform(4), np.eye(3)), linsim.tokens.gaussian(4, 3, rng=0), 0
    )
    begin = start.metrics["log_hfc_lfc"][0]
    found = linsim.trace(
        make, {"mu": (-0.9, 3.0)}, boundary=("log_hfc_lfc", begin - 10 * np.log(2)), depth=10, tolerance=1e-3
    )
    assert found.segments.shape == (1, 1, 1)
    assert abs(found.segments.item() - 1.0) <= 3.9e-3
    assert found.evaluated <= 9 + 7
    same = linsim.trace(
        make, {"mu": (-0.9, 3.0)}, boundary={"log_hfc_lfc": begin - 10 * np.log(2)}, depth=10, tolerance=1e-3
    )
    np.testing.assert_array_equal(same.segments, found.segments)


def test_points_are_kept_in_a_store(tmp_path):
    box = {"a": (-2.0, 2.0), "b": (-1.7, 1.9)}
    store, calls = tmp_path / "t.zarr", []

    def make(point, rng):
        calls.append(len(point["a"]))
        return circle(point, rng)

    first = linsim.trace(make, box, store=store, tolerance=1 / 16)
    ds = xr.open_zarr(store).load()
    assert ds.sizes["point"] == first.evaluated
    calls.clear()
    again = linsim.trace(make, box, store=store, tolerance=1 / 16)
    assert calls == []
    np.testing.assert_array_equal(again.segments, first.segments)
    finer = linsim.trace(make, box, store=store, tolerance=1 / 64)
    assert sum(calls) < 8 * (finer.evaluated - first.evaluated) + 100
    without = linsim.trace(circle, box, tolerance=1 / 64)
    np.testing.assert_array_equal(finer.segments, without.segments)


def test_points_that_fail_have_no_line():
    def make(point, rng):
        rule, x0 = circle(point, rng)
        x0[point["a"] > 0] = np.nan
        return rule, x0

    found = linsim.trace(make, {"a": (-2.0, 2.0), "b": (-1.7, 1.9)}, tolerance=1 / 32)
    assert len(found.segments) > 0
    assert found.segments[..., 0].max() <= 0.5


def test_it_is_drawn():
    found = linsim.trace(circle, {"a": (-2.0, 2.0), "b": (-1.7, 1.9)}, tolerance=1 / 16)
    ax = found.plot()
    assert len(ax.lines) == len(found.segments)
    np.testing.assert_array_equal(ax.lines[3].get_xdata(), found.segments[3, :, 0])


BAD = {
    "three axes": ({"box": {"a": (0, 1), "b": (0, 1), "c": (0, 1)}}, InvalidValueError, "box: found 3 axes"),
    "interval": ({"box": {"a": (1, 0)}}, InvalidValueError, "box['a']"),
    "boundary": ({"boundary": "edge"}, InvalidTypeError, "boundary: found 'edge'"),
    "metric": ({"boundary": ("cosin", 0.5)}, InvalidValueError, "Did you mean 'cosine'"),
    "level": ({"boundary": ("cosine", np.nan)}, InvalidValueError, "boundary: found nan"),
    "no depth": ({"boundary": ("cosine", 0.5)}, InvalidTypeError, "depth: found nothing"),
    "tolerance": ({"tolerance": 0}, InvalidValueError, "tolerance: found 0"),
    "wide": ({"tolerance": 0.5}, InvalidValueError, "tolerance: found 0.5"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused(case):
    change, kind, said = BAD[case]
    with pytest.raises(kind) as caught:
        linsim.trace(circle, **({"box": {"a": (-2, 2), "b": (-2, 2)}} | change))
    assert said in str(caught.value)
