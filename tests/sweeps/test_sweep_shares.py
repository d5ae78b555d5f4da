"""How blocks are handed out to workers: all of it once, and the last of it in small parts."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim.sweeps import _executors
from linsim.sweeps._blocks import blocks_of
from linsim.sweeps._tasks import Task, shares


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize(("systems", "extent"), [(1, 1), (50, 7), (4096, 500), (10, 100)])
def test_every_system_is_handed_out_once_and_the_end_is_even(workers, systems, extent):
    blocks = list(blocks_of((systems,), (extent,)))
    # of the first block only some are missing
    some = np.arange(0, blocks[0].size, 2)
    given = [Task(blocks[0], some), *map(Task, blocks[1:])]
    found = list(shares(given, workers))
    for block in blocks:
        numbers = [k for task in found if task.block is block for k in task.chosen.tolist()]
        assert numbers == (some.tolist() if block is blocks[0] else list(range(block.size)))
    # whoever is free takes the next: none is done much later than the others
    least, ends = -(-blocks[0].size // 8), [0] * workers
    for task in found:
        ends[ends.index(min(ends))] += task.size
    assert max(ends) - min(ends) <= least


def test_what_is_handed_out_in_parts_is_stored_like_the_whole(tmp_path):
    def make(point, rng):
        k = len(point["h"])
        H = linsim.weights.gaussian(3, size=k, rng=rng) * point["h"][:, None, None]
        return linsim.Linear(linsim.attention.uniform(4), H), linsim.tokens.gaussian(4, 3, size=k, rng=rng)

    from concurrent.futures import ThreadPoolExecutor

    def swept(executor, store):
        grid = {"h": np.linspace(-1, 1, 61)}
        return linsim.sweep(make, grid, depth=5, store=store, executor=executor, progress=False, batch=4)

    handed_out = []
    real = _executors._Pool._submit
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(
            _executors._Pool, "_submit", lambda self, task: (handed_out.append(task), real(self, task))
        )
        found = swept(pool, tmp_path / "parts.zarr")
    assert any(task.numbers is not None for task in handed_out)
    whole = swept(None, tmp_path / "whole.zarr")
    for name in whole.data_vars:
        np.testing.assert_array_equal(found[name].values, whole[name].values)
