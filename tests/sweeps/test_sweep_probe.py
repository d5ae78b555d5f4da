"""What a sweep takes its systems to cost: not what compiling costs, whichever systems need it."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim.sweeps import _layout
from linsim.sweeps._plan import planned

#: seconds of a batch, whatever its size, and of a system in it
CALL, EACH = 0.01, 0.002


def make(point, rng):
    k = len(point["mu"])
    return linsim.Linear(linsim.attention.uniform(4), point["mu"][:, None, None] * np.eye(3)), np.ones(
        (k, 4, 3)
    )


@pytest.fixture
def clock(monkeypatch):
    """Time that only what a sweep computes takes: compiling when one system, or several, come first."""
    now, compiled = [0.0], set()

    def compute(job, systems):
        count = systems.size
        now[0] += CALL + EACH * count
        if (kernel := count > 1) not in compiled:
            compiled.add(kernel)
            now[0] += 20.0

    monkeypatch.setattr(_layout, "compute", compute)
    monkeypatch.setattr(_layout.time, "perf_counter", lambda: now[0])


@pytest.mark.usefixtures("clock")
def test_compiling_is_no_cost_of_a_system():
    plan = planned(make, {"mu": np.linspace(-1, 1, 4096)}, depth=3, measured=True)
    assert plan.cost.each == pytest.approx(EACH)
    assert plan.cost.call == pytest.approx(CALL)
    # the cheaper a system, the more of them make a block
    assert plan.extents[0] > 100
