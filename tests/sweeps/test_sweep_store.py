"""Stores of sweeps: whatever ends one, what is finished is kept, and the same call goes on."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

import linsim
from linsim.errors import FileFormatError, InvalidValueError
from linsim.sweeps import _durable, _layout, _store

MU = np.linspace(-1.5, 1.0, 11)


def make(point, rng):
    k = len(point["mu"])
    H = point["mu"][:, None, None] * np.eye(3)
    return linsim.Linear(linsim.attention.dirichlet(4, size=k, rng=rng), H), linsim.tokens.gaussian(
        4, 3, size=k, rng=rng
    )


def swept(grid=None, make=make, **options):
    grid = {"mu": MU, "s": [0.5, 2.0]} if grid is None else grid
    options = {"depth": 5, "progress": False, "metrics": ["cosine", "log_norm"], "replicates": 2} | options
    return linsim.sweep(make, grid, **options)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few systems, so that there are many, whatever a probe would say of their cost."""
    monkeypatch.setattr(_layout, "_LARGEST_BLOCK", 6)


def without_notes(ds):
    """A dataset without the attributes that say how it was made."""
    return ds.drop_attrs(deep=False)


def counted(function):
    calls = []

    def wrapper(point, rng):
        calls.append(len(point["mu"]))
        return function(point, rng)

    wrapper.__module__, wrapper.__qualname__ = function.__module__, function.__qualname__
    return wrapper, calls


# --- what is stored ----------------------------------------------------------------------


def test_a_store_equals_a_sweep_in_memory(tmp_path):
    stored, held = swept(store=tmp_path / "s.zarr"), swept()
    xr.testing.assert_identical(without_notes(stored.load()), without_notes(held))
    assert json.loads(stored.attrs["layout"])["block"] == [1, 2, 2]
    assert stored.status.values.min() == stored.status.values.max() == 1


def test_a_store_opens_without_a_warning_and_in_order(tmp_path):
    ds = swept(store=tmp_path / "s.zarr", metrics=["log_norm", "cosine"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = xr.open_zarr(tmp_path / "s.zarr")
        xr.testing.assert_identical(read.load(), ds.load())
        read.to_netcdf(tmp_path / "s.nc", engine="scipy")
    assert list(read.data_vars)[:3] == ["cosine", "log_norm", "predicted_regime"]
    assert list(read.data_vars)[-1] == "status"
    assert list(read.dims) == ["mu", "s", "replicate", "layer"]
    assert read.log_norm.attrs == {"long_name": linsim.metrics.METRICS["log_norm"], "units": "1"}


def test_a_finished_sweep_is_not_computed_again(tmp_path):
    first = swept(store=tmp_path / "s.zarr").load()
    maker, calls = counted(make)
    again = swept(make=maker, store=tmp_path / "s.zarr").load()
    xr.testing.assert_identical(without_notes(again), without_notes(first))
    # its source reads otherwise, so one system is made to compare, alone
    assert calls == [1]


# --- what ends a sweep -------------------------------------------------------------------


class Stop(BaseException):
    """Ends a sweep as a signal would."""


def test_a_crash_at_any_write_leaves_whole_blocks(tmp_path, monkeypatch):
    """Every other write of a file is, once, the last that happens."""
    grid = {"mu": MU[:2]}
    whole = swept(grid, replicates=1).load()
    real = _durable.put
    crashes = 0
    for last in range(0, 10**6, 2):
        store, left = tmp_path / f"{last}.zarr", last

        def put(path, data):
            nonlocal left
            left -= 1
            if left < 0:
                real(path, data[: len(data) // 2])
                raise Stop
            real(path, data)

        monkeypatch.setattr(_durable, "put", put)
        try:
            swept(grid, replicates=1, store=store)
        except Stop:
            crashes += 1
            monkeypatch.setattr(_durable, "put", real)
            if store.exists():
                read = xr.open_zarr(store).load()
                done = read.status.values == 1
                np.testing.assert_array_equal(read.log_norm.values[done], whole.log_norm.values[done])
                assert np.isnan(read.log_norm.values[read.status.values == 0]).all() or not done.all()
            again = swept(grid, replicates=1, store=store).load()
            xr.testing.assert_identical(without_notes(again), without_notes(whole))
        else:
            break
    assert crashes > 2 * 11 / 2  # two blocks, eleven arrays each, and the metadata
    monkeypatch.setattr(_durable, "put", real)


KILLED = """
import os, signal, sys
import numpy as np
sys.path.insert(0, {tests!r})
import test_sweep_store as t
from linsim.sweeps import _layout
_layout._LARGEST_BLOCK = 6
left = 8
def make(point, rng):
    global left
    left -= os.path.exists(sys.argv[1])
    if left < 0:
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    return t.make(point, rng)
make.__module__, make.__qualname__ = t.make.__module__, t.make.__qualname__
t.swept(make=make, store=sys.argv[1])
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_killed_sweep_goes_on(tmp_path, how):
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED.format(tests=os.path.dirname(__file__))))
    store = tmp_path / "s.zarr"
    killed = subprocess.run(
        [sys.executable, str(script), str(store), how], capture_output=True, text=True, check=False
    )
    assert killed.returncode in (-getattr(signal, how), 1), killed.stderr
    status = xr.open_zarr(store).status.values
    assert 0 < np.sum(status == 1) < status.size
    maker, calls = counted(make)
    again = swept(make=maker, store=store).load()
    xr.testing.assert_identical(without_notes(again), without_notes(swept()))
    assert sum(calls) - 2 <= 2 * np.sum(status == 0)  # what was done is not made again, but to compare


def test_a_full_disk_is_one_line_and_the_store_opens(tmp_path, monkeypatch):
    store = tmp_path / "s.zarr"
    real, left = _durable.put, 60

    def put(path, data):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(_durable, "put", put)
    with pytest.raises(
        FileFormatError, match=r"store: found .* \(No space left on device\); expected room"
    ) as e:
        swept(store=store)
    assert str(e.value).count("\n") == 0
    monkeypatch.setattr(_durable, "put", real)
    assert np.sum(xr.open_zarr(store).status.values == 1) > 0
    xr.testing.assert_identical(without_notes(swept(store=store).load()), without_notes(swept()))


def test_a_second_sweep_on_a_store_is_refused(tmp_path):
    store, refusals = tmp_path / "s.zarr", []

    def nested(point, rng):
        if store.exists() and not refusals:
            try:
                swept(store=store)
            except FileFormatError as error:
                refusals.append(str(error))
        return make(point, rng)

    nested.__module__, nested.__qualname__ = make.__module__, make.__qualname__
    swept(make=nested, store=store)
    assert len(refusals) == 1
    assert "in use by another sweep" in refusals[0]


# --- points that fail --------------------------------------------------------------------


def bad(wrong):
    def made(point, rng):
        if np.any(np.isin(point["mu"], wrong)):
            raise RuntimeError("a bad point")
        return make(point, rng)

    made.__module__, made.__qualname__ = make.__module__, make.__qualname__
    return made


def test_a_bad_point_is_named_and_the_rest_goes_on(tmp_path, capsys):
    store, whole = tmp_path / "s.zarr", swept().load()
    ds = swept(make=bad([MU[3], MU[7]]), store=store, progress=True).load()
    failed = np.isin(ds.mu.values, [MU[3], MU[7]])
    assert (ds.status.values[failed] == 2).all()
    assert (ds.status.values[~failed] == 1).all()
    assert np.isnan(ds.cosine.values[failed]).all()
    np.testing.assert_array_equal(ds.cosine.values[~failed], whole.cosine.values[~failed])
    reasons = json.loads(ds.status.attrs["reasons"])
    assert len(reasons) == 2 * 2 * 2
    assert set(reasons.values()) == {"RuntimeError: a bad point"}
    err = capsys.readouterr().err
    assert "8 of 44 systems failed" in err
    assert f"mu={MU[3]:g}, s=0.5, replicate 0: RuntimeError: a bad point" in err
    # and are tried again, those only
    maker, calls = counted(make)
    again = swept(make=maker, store=store).load()
    xr.testing.assert_identical(without_notes(again), without_notes(whole))
    assert sum(calls) <= 2 * len(reasons) + 1


def test_what_fails_in_a_sweep_without_a_store(tmp_path):
    def made(point, rng):
        rule, x0 = make(point, rng)
        x0[point["mu"] == MU[2]] = np.nan
        return rule, x0

    ds = swept(make=made)
    assert (ds.status.sel(mu=MU[2]).values == 2).all()
    assert int((ds.status == 2).sum()) == 4
    assert "x0: found NaN" in next(iter(json.loads(ds.status.attrs["reasons"]).values()))


def test_the_first_error_is_raised_where_every_point_fails(tmp_path):
    with pytest.raises(RuntimeError, match="a bad point") as caught:
        swept(make=bad(MU), store=tmp_path / "s.zarr")
    assert caught.value.__notes__ == [f"linsim.sweep: at mu={MU[0]:g}, s=0.5, replicate 0"]
    assert not (tmp_path / "s.zarr").exists()


def test_an_error_is_raised_where_that_is_wanted(tmp_path):
    store = tmp_path / "s.zarr"
    with pytest.raises(RuntimeError, match="a bad point") as caught:
        swept(make=bad([MU[5]]), store=store, on_error="raise")
    assert f"mu={MU[5]:g}" in caught.value.__notes__[0]
    assert np.sum(xr.open_zarr(store).status.values == 1) == 5 * 4


# --- other specifications ----------------------------------------------------------------


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depth": 6, "layers": [5]}, "depth 5 there, 6 here"),
        ({"seed": 1}, "seed 0 there, 1 here"),
        ({"metrics": ["cosine"]}, "metrics ['cosine' 'log_norm'] there, ['cosine'] here"),
        ({"grid": {"mu": MU[1:], "s": [0.5, 2.0]}}, r"mu with 1 values that are missing here (-1.5)"),
        ({"grid": {"mu": MU}}, "axes mu, s there, mu here"),
        ({"replicates": 1}, "replicates 2 there, 1 here"),
        ({"make": lambda point, rng: make(point, rng)}, "make "),
        ({"predictions": False}, "predictions True there, False here"),
    ],
)
def test_a_store_of_another_sweep_is_refused_with_the_difference(tmp_path, change, said):
    swept(store=tmp_path / "s.zarr")
    before = (tmp_path / "s.zarr" / "zarr.json").read_bytes()
    with pytest.raises(FileFormatError) as caught:
        swept(store=tmp_path / "s.zarr", **change)
    assert said in str(caught.value)
    assert (tmp_path / "s.zarr" / "zarr.json").read_bytes() == before


def test_another_make_of_the_same_name_is_told_by_its_values(tmp_path):
    swept(store=tmp_path / "s.zarr")

    def other(point, rng):
        rule, x0 = make(point, rng)
        return rule, 2 * x0

    other.__module__, other.__qualname__ = make.__module__, make.__qualname__
    with pytest.raises(FileFormatError, match=r"of another make \(log_norm at mu="):
        swept(store=tmp_path / "s.zarr", make=other)


@pytest.mark.parametrize("what", ["empty", "other zarr", "file"])
def test_what_is_no_sweep_is_not_touched(tmp_path, what):
    store = tmp_path / "s.zarr"
    if what == "empty":
        store.mkdir()
    elif what == "file":
        store.write_text("mine")
    else:
        xr.Dataset({"a": 1}).to_zarr(store, consolidated=False)
    with pytest.raises(FileFormatError, match="no resumable sweep"):
        swept(store=store)


def test_a_store_that_cannot_be_written_to(tmp_path, monkeypatch):
    swept(store=tmp_path / "s.zarr")

    def refuse(file):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # root may write anywhere, so the answer of the system is made up
    monkeypatch.setattr(_durable, "_locked", refuse)
    with pytest.raises(FileFormatError, match=r"\(Permission denied\).*Check its permissions"):
        swept(store=tmp_path / "s.zarr")


# --- growing -----------------------------------------------------------------------------


def test_a_longer_axis_reuses_what_is_there(tmp_path):
    store = tmp_path / "s.zarr"
    swept({"mu": MU[::2], "s": [0.5]}, store=store, replicates=1)
    maker, calls = counted(make)
    grown = swept(make=maker, store=store).load()
    xr.testing.assert_identical(without_notes(grown), without_notes(swept()))
    assert sum(calls) >= 44 - 6
    probes = 60  # of what make needs, with the new values, and labels that are checked
    assert sum(calls) <= 2 * (44 - 6) + probes
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


def test_failed_points_are_still_named_after_growing(tmp_path):
    store = tmp_path / "s.zarr"
    swept({"mu": MU[:3], "s": [0.5]}, make=bad([MU[1]]), store=store, replicates=1)
    grown = swept({"mu": MU, "s": [0.5]}, make=bad([MU[1]]), store=store, replicates=1).load()
    assert list(json.loads(grown.status.attrs["reasons"])) == ["1"]
    assert int((grown.status == 2).sum()) == 1


@pytest.mark.parametrize("after", range(4))
def test_growing_may_be_interrupted(tmp_path, monkeypatch, after):
    store, left = tmp_path / "s.zarr", after
    larger = {"mu": MU[:4], "s": [0.5]}
    swept({"mu": MU[:3:2], "s": [0.5]}, store=store, replicates=1)
    real = os.rename

    def rename(a, b):
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop
        real(a, b)

    monkeypatch.setattr(_durable.os, "rename", rename)
    with pytest.raises(Stop):
        swept(larger, store=store)
    monkeypatch.setattr(_durable.os, "rename", real)
    found = swept(larger, store=store).load()
    xr.testing.assert_identical(without_notes(found), without_notes(swept(larger)))
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


def test_the_order_of_an_axis_may_change(tmp_path):
    swept({"mu": MU[:4]}, store=tmp_path / "s.zarr")
    turned = swept({"mu": MU[3::-1]}, store=tmp_path / "s.zarr").load()
    xr.testing.assert_identical(without_notes(turned), without_notes(swept({"mu": MU[3::-1]})))


def test_nothing_is_written_where_nothing_can_be_made(tmp_path):
    def made(point, rng):
        raise InvalidValueError("out of range, everywhere")

    with pytest.raises(InvalidValueError, match="out of range"):
        swept(make=made, store=tmp_path / "s.zarr")
    # a corner of a grid may be out of range: that is known, and tried again
    assert set(np.asarray(zarr.open_group(tmp_path / "s.zarr", mode="r")["status"]).ravel()) == {2}


def test_a_store_may_be_moved_after_the_sweep(tmp_path, monkeypatch):
    ds = swept(store=tmp_path / "s.zarr")
    (tmp_path / "s.zarr").rename(tmp_path / "t.zarr")
    xr.testing.assert_identical(without_notes(ds), without_notes(swept()))
    # one that does not fit into memory is read when it is asked for
    monkeypatch.setattr(_store, "_HELD", 100)
    lazy = swept(store=tmp_path / "t.zarr")
    assert not isinstance(lazy.log_norm.variable._data, np.ndarray)
    xr.testing.assert_identical(without_notes(lazy.load()), without_notes(ds))
