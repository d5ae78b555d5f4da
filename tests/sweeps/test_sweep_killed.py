"""A long sweep that is killed at twenty random moments equals one that was never interrupted."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

import linsim
from linsim import attention, tokens, weights

SYSTEMS = 200_000
KILLS = 20


def make(point, rng):
    k = len(point["a"])
    H = weights.gaussian(8, size=k, rng=rng) * point["a"][:, None, None]
    return linsim.Linear(attention.dirichlet(8, size=k, rng=rng), H), tokens.gaussian(8, 8, size=k, rng=rng)


def swept(store, executor=None):
    grid = {"a": np.linspace(0.1, 2, SYSTEMS // 2)}
    return linsim.sweep(
        make,
        grid,
        replicates=2,
        depth=8,
        metrics=["log_token_diversity", "cosine"],
        store=store,
        executor=executor,
        progress=False,
    )


def run(store, workers):
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        f"import test_sweep_killed as t\n"
        f"if __name__ == '__main__': t.swept({str(store)!r}, {workers})"
    )
    script = store.parent / "run.py"
    script.write_text(code)
    return subprocess.Popen([sys.executable, str(script)])


@pytest.mark.full
@pytest.mark.parametrize("workers", [None, 2])
def test_killed_at_twenty_random_moments(tmp_path, workers):
    before = time.monotonic()
    assert run(tmp_path / "whole.zarr", workers).wait() == 0
    taken = time.monotonic() - before
    random_moment, kills = random.Random(0), 0
    cut = tmp_path / "cut.zarr"
    while kills < KILLS:
        process = run(cut, workers)
        try:
            process.wait(timeout=3 + random_moment.random() * taken / KILLS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        else:  # it was done before the last of them: begin again
            assert process.returncode == 0
            cut = tmp_path / f"cut{kills}.zarr"
    assert run(cut, workers).wait() == 0
    whole, found = (
        xr.open_zarr(path).load().drop_attrs(deep=False) for path in (tmp_path / "whole.zarr", cut)
    )
    assert (found.status == 1).all()
    xr.testing.assert_identical(found, whole)
