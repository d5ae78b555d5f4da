"""Axes of every kind, points that share a shape, and labels that are never wrong."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
import xarray as xr

import linsim
from linsim import attention, sweeps, tokens
from linsim.errors import InvalidTypeError, InvalidValueError, LinsimError, ShapeError


def swept(make, grid, **options):
    options = {"depth": 3, "progress": False, "metrics": ["token_similarity", "log_norm"]} | options
    return linsim.sweep(make, grid, **options)


def one_by_one(make, grid, **options):
    return swept(make, grid, batch=1, **options)


def same(a, b):
    xr.testing.assert_identical(a.load().drop_attrs(deep=False), b.load().drop_attrs(deep=False))


# --- makes that are natural to write -----------------------------------------------------


def sized(point, rng):
    """Reads a size off its first point."""
    n = point["n"][0]
    return linsim.Linear(attention.uniform(n), 0.5 * np.eye(2)), tokens.gaussian(
        n, 2, size=len(point["n"]), rng=rng
    )


def blocks(point, rng):
    """Reads options off its first point: a norm by name, a strength, a truth value."""
    k = len(point["tau"])
    step = linsim.Deescalation("attention", tau=float(point["tau"][0]))
    rule = linsim.Block(
        attention.uniform(6),
        norm=point["norm"][0],
        residual=1.0 if point["skip"][0] else 0.0,
        deescalation=[step],
    )
    return rule, tokens.gaussian(6, 4, size=k, rng=rng)


def turning(point, rng):
    """Vectorised over complex numbers: a rotation and a scale."""
    mu = point["mu"]
    H = np.stack([np.stack([mu.real, -mu.imag], -1), np.stack([mu.imag, mu.real], -1)], -2)
    return linsim.Linear(attention.dirichlet(4, size=len(mu), rng=rng), H), tokens.gaussian(
        4, 2, size=len(mu), rng=rng
    )


def plain(point, rng):
    k = len(point["a"])
    H = (point["a"] + point["b"])[:, None, None] * np.eye(3)
    return linsim.Linear(attention.dirichlet(4, size=k, rng=rng), H), tokens.gaussian(4, 3, size=k, rng=rng)


CASES = {
    "sizes": (sized, {"n": [2, 5, 9]}, ["n"]),
    "sizes beside numbers": (sized, {"n": np.arange(2, 6), "p": [0.1, 0.2, 0.3]}, ["n"]),
    "sizes as floats": (
        lambda point, rng: sized({"n": [int(n) for n in point["n"]]}, rng),
        {"n": [2.0, 5.0, 9.0]},
        ["n"],
    ),
    "options": (
        blocks,
        {"norm": ["post", "pre", None], "tau": [0.0, 0.5, 1.0], "skip": [True, False]},
        ["norm", "tau", "skip"],
    ),
    "complex": (turning, {"mu": [1j, 0.5 + 0.25j, -0.5]}, []),
    "numbers": (plain, {"a": [-1, 0, 2], "b": [0.25, 0.5]}, []),
    "zipped": (plain, {"point": {"a": [-1.0, 0.0, 2.0], "b": [0.25, 0.5, 0.5]}}, []),
}


@pytest.mark.parametrize("case", CASES)
def test_every_point_is_the_system_that_its_label_says(case):
    make, grid, by = CASES[case]
    together = swept(make, grid, replicates=2, depth=2)
    assert __import__("json").loads(together.attrs["layout"])["batch_by"] == by
    same(together, one_by_one(make, grid, replicates=2, depth=2))


@pytest.mark.parametrize("case", CASES)
def test_axes_are_read_back_from_zarr_and_netcdf(case, tmp_path):
    make, grid, _ = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = swept(make, grid, store=tmp_path / "s.zarr", depth=2).load()
        again = swept(make, grid, store=tmp_path / "s.zarr", depth=2).load()
        xr.testing.assert_identical(again, ds)
        ds.to_netcdf(tmp_path / "s.nc", engine="scipy")
        with xr.open_dataset(tmp_path / "s.nc", engine="scipy") as read:
            for name in ds.coords:
                assert read[name].values.tolist() == ds[name].values.tolist()
            np.testing.assert_array_equal(read.log_norm, ds.log_norm)
    same(swept(make, grid, depth=2), ds)


def test_coordinates_are_what_was_given():
    ds = swept(blocks, {"norm": ["post", None], "tau": [0.5], "skip": [True]}, depth=1)
    assert ds.norm.values.tolist() == ["post", "None"]
    assert ds.skip.dtype == bool
    ds = swept(turning, {"mu": [1j, -0.5]}, depth=1)
    assert "mu" not in ds.coords
    assert (ds.mu_real.values + 1j * ds.mu_imag.values).tolist() == [1j, -0.5]
    assert ds.mu_real.dims == ("mu",)
    assert swept(sized, {"n": np.int32([2, 3])}, depth=1).n.dtype == np.int64
    zipped = swept(plain, {"point": {"a": [1, 2], "b": [3.0, 4.0]}}, depth=1)
    assert zipped.token_similarity.dims == ("point", "replicate", "layer")
    assert zipped.a.dims == zipped.b.dims == ("point",)


def test_values_do_not_depend_on_how_points_are_arranged():
    """A point has its stream from its coordinates, wherever they come from."""
    product = swept(plain, {"a": [-1.0, 2.0], "b": [0.25, 0.5]})
    line = swept(plain, {"point": {"a": [2.0, -1.0], "b": [0.25, 0.5]}})
    for k, (a, b) in enumerate(zip(line.a.values, line.b.values, strict=True)):
        np.testing.assert_array_equal(
            line.log_norm.isel(point=k).values, product.log_norm.sel(a=a, b=b).values
        )


@pytest.mark.parametrize("batch", [1, 2, 3, 7, None])
@pytest.mark.parametrize("case", ["sizes beside numbers", "options", "numbers"])
def test_no_bit_depends_on_the_batch(case, batch):
    make, grid, _ = CASES[case]
    same(swept(make, grid, batch=batch, replicates=2), swept(make, grid, batch=4, replicates=2))


def test_no_bit_depends_on_the_batch_with_all_metrics():
    for depth in (3, 400):
        a, b = (
            swept(plain, CASES["numbers"][1], batch=k, metrics=None, depth=depth, replicates=3)
            for k in (2, 9)
        )
        same(a, b)


# --- labels that would be wrong ----------------------------------------------------------


def sly(point, rng):
    """Reads an axis for the whole batch, but only in a corner that no probe sees."""
    k = len(point["a"])
    H = np.where(point["a"] > 2.5, point["a"], 0.5)[:, None, None] * np.eye(3)
    if k > 3 and 1.5 < point["a"].max() < 4:
        H[...] = H[0]
    return linsim.Linear(attention.uniform(4), H), tokens.gaussian(4, 3, size=k, rng=rng)


def test_a_wrong_label_that_no_probe_saw_is_refused():
    grid = {"a": [0.0, 1.0, 2.0, 3.0]}
    with pytest.raises(InvalidValueError, match=r"make: found another system within a batch .*at a=3") as e:
        swept(sly, grid)
    assert "batch_by=[...]" in str(e.value)
    # and the remedies work
    expected = one_by_one(sly, grid)
    same(swept(sly, grid, batch_by=["a"]), expected)
    same(swept(sly, grid, batch_by="a"), expected)


class Held:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            functools.partial(attention.softmax, 4, 2, temperature=1.0),
            functools.partial(attention.softmax, 4, 3),
        ),
        (lambda x: x + 1, lambda x: x * 2),
        ({"a": 1}, {"a": 2}),
        ([1, 2], [1]),
        ("post", None),
        (np.eye(2), np.eye(3)),
        (linsim.Linear(np.eye(2), np.eye(3)), linsim.Linear(np.eye(2), 2 * np.eye(3))),
        (linsim.Block(np.eye(2), norm="pre"), linsim.Block(np.eye(2), norm="post")),
    ],
)
def test_what_is_another_system_is_told(one, other):
    from linsim.sweeps._alike import alike

    assert alike(one, 0, 3, one)
    assert not alike(one, 0, 3, other)
    assert alike([Held(1)], 0, 3, [Held(2)])  # nothing is known of these


def test_closures_are_told_by_what_they_hold():
    from linsim.sweeps._alike import alike

    def maker(tau):
        return lambda tokens: tau * tokens

    assert alike(maker(1.0), 1, 2, maker(1.0))
    assert not alike(maker(1.0), 1, 2, maker(0.5))
    assert alike(maker(np.array([1.0, 0.5])), 1, 2, maker(np.array([0.5])))


# --- designs -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sobol", "latin_hypercube"])
def test_designs_fill_their_box(kind):
    box = {"a": (-1.0, 2.0), "b": (10.0, 20.0)}
    found = sweeps.design(box, 64, kind=kind, seed=3)
    assert list(found) == ["a", "b"]
    for name, (low, high) in box.items():
        cells = np.floor((found[name] - low) / (high - low) * 64).astype(int)
        # both put one point in each 64th of every axis
        assert sorted(cells.tolist()) == list(range(64))
    again = sweeps.design(box, 64, kind=kind, seed=3)
    np.testing.assert_array_equal(found["a"], again["a"])
    assert not np.array_equal(found["a"], sweeps.design(box, 64, kind=kind, seed=4)["a"])
    ds = swept(plain, {"point": {name: x[:4] for name, x in found.items()}}, depth=1)
    assert ds.sizes["point"] == 4


BAD = {
    "ragged zip": (lambda: swept(plain, {"p": {"a": [1, 2], "b": [1]}}), ShapeError, "lengths a: 2, b: 1"),
    "empty zip": (lambda: swept(plain, {"p": {}}), InvalidValueError, "grid['p']: found {}"),
    "a point twice": (lambda: swept(plain, {"p": {"a": [1, 1], "b": [2, 2]}}), ShapeError, "a point twice"),
    "a name twice": (lambda: swept(plain, {"a": [1], "p": {"a": [1]}}), InvalidValueError, "named 'a'"),
    "its own dim": (lambda: swept(plain, {"p": {"p": [1]}}), InvalidValueError, "named 'p'"),
    "reserved": (lambda: swept(plain, {"status": [1]}), InvalidValueError, "named 'status'"),
    "a slash": (lambda: swept(plain, {"a/b": [1]}), InvalidValueError, "named 'a/b'"),
    "mixed kinds": (lambda: swept(plain, {"a": [1, "x"]}), InvalidTypeError, "grid['a']"),
    "only None": (lambda: swept(plain, {"a": [None]}), InvalidTypeError, "grid['a']"),
    "a name twice along": (lambda: swept(plain, {"a": ["x", "x"]}), ShapeError, "a coordinate twice"),
    "infinite complex": (lambda: swept(plain, {"a": [complex("nan")]}), InvalidValueError, "NaN or infinity"),
    "batch_by": (lambda: swept(plain, {"a": [1]}, batch_by=["x"]), InvalidValueError, "batch_by: found 'x'"),
    "batch_by kind": (lambda: swept(plain, {"a": [1]}, batch_by=3), InvalidTypeError, "batch_by: found int"),
    "on_error": (
        lambda: swept(plain, {"a": [1]}, on_error="skip"),
        InvalidValueError,
        "on_error: found 'skip'",
    ),
    "budget": (lambda: swept(plain, {"a": [1]}, budget="much"), InvalidValueError, "budget: found 'much'"),
    "budget zero": (lambda: swept(plain, {"a": [1]}, budget=0), InvalidValueError, "budget: found 0"),
    "budget float": (lambda: swept(plain, {"a": [1]}, budget=0.5), InvalidTypeError, "budget: found 0.5"),
    "executor": (lambda: swept(plain, {"a": [1]}, executor="two"), InvalidTypeError, "executor: found str"),
    "executor zero": (lambda: swept(plain, {"a": [1]}, executor=0), InvalidValueError, "executor: found 0"),
    "box": (lambda: sweeps.design({"a": (1, 0)}, 4), InvalidValueError, "box['a']"),
    "box empty": (lambda: sweeps.design({}, 4), InvalidValueError, "box: found {}"),
    "box kind": (
        lambda: sweeps.design({"a": (0, 1)}, 4, kind="grid"),
        InvalidValueError,
        "kind: found 'grid'",
    ),
    "box count": (lambda: sweeps.design({"a": (0, 1)}, 0), InvalidValueError, "count: found 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_grids_are_refused(case):
    call, kind, said = BAD[case]
    with pytest.raises(kind) as caught:
        call()
    assert said in str(caught.value)
    assert isinstance(caught.value, LinsimError)
