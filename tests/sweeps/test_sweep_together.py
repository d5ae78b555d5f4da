"""Two sweeps that want one store at once: one of them has it, the other is refused, and nothing is lost."""

import numpy as np
import pytest
import xarray as xr

import linsim
from linsim.errors import FileFormatError
from linsim.sweeps import _durable, _store
from linsim.sweeps._plan import planned
from linsim.sweeps._run import carry_out

OLD, ONE, OTHER = [0.1, 0.2], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4]


def make(point, rng):
    k = len(point["mu"])
    H = point["mu"][:, None, None] * np.eye(2)
    return linsim.Linear(linsim.attention.dirichlet(3, size=k, rng=rng), H), linsim.tokens.gaussian(
        3, 2, size=k, rng=rng
    )


def options(store):
    return {"depth": 3, "metrics": ["cosine"], "store": store}


def swept(store, values):
    return linsim.sweep(make, {"mu": values}, progress=False, **options(store))


def check(store, values):
    ds = swept(store, values)
    xr.testing.assert_equal(ds, swept(None, values))
    assert sorted(path.name for path in store.parent.iterdir()) == [store.name]


def test_a_plan_that_another_sweep_made_void_is_refused(tmp_path):
    store = tmp_path / "s.zarr"
    swept(store, OLD)
    plan = planned(make, {"mu": OTHER}, **options(store))
    swept(store, ONE)
    with pytest.raises(FileFormatError, match="in use by another sweep"):
        carry_out(plan, progress=False)
    check(store, ONE)


def test_nobody_else_extends_a_store_that_is_being_extended(tmp_path, monkeypatch):
    store, refused = tmp_path / "s.zarr", []
    swept(store, OLD)
    rename = _store.rename

    def interrupted(old, new):
        for when in ("before", "after"):
            if not interrupted.busy:
                interrupted.busy = True
                with pytest.raises(FileFormatError, match="in use by another sweep"):
                    swept(store, OTHER)
                refused.append((when, new.name))
                interrupted.busy = False
            if when == "before":
                rename(old, new)

    interrupted.busy = False
    monkeypatch.setattr(_store, "rename", interrupted)
    swept(store, ONE)
    monkeypatch.undo()
    # the larger store is made, put beside, the old one moved away, and the new one put in its place
    assert len(refused) == 8, refused
    check(store, ONE)


def test_a_lock_in_a_folder_that_was_replaced_holds_nothing(tmp_path, monkeypatch):
    store = tmp_path / "s.zarr"
    swept(store, OLD)
    locked = _durable._locked

    def late(file):  # the store is extended between the opening of the lock and the locking
        monkeypatch.setattr(_durable, "_locked", locked)
        swept(store, ONE)
        return locked(file)

    monkeypatch.setattr(_durable, "_locked", late)
    with pytest.raises(FileFormatError, match="in use by another sweep"):
        swept(store, OTHER)
    check(store, ONE)
