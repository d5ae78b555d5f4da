"""A sweep on a GPU: the host prepares the next block while the device works on one."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from linsim import Linear, attention, sweep
from linsim.sweeps import _plan
from linsim.sweeps._variables import FAILED, MEASURED_ONLY

from . import emulated, pretended

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")

N, D, POINTS = 5, 4, 6


def system(point, rng):
    gain = np.asarray(point["gain"])
    A = attention.softmax(N, 3, rng=np.random.default_rng(0))
    H = 0.3 * np.random.default_rng(1).standard_normal((D, D))
    x0 = np.random.default_rng(2).standard_normal((N, D))
    return Linear(A, gain[:, None, None] * H), x0


@pytest.fixture
def blocks(monkeypatch):
    """Blocks of a single point each."""
    monkeypatch.setattr(_plan, "rectangle", lambda shape, most: tuple(1 for _ in shape))


def swept(make, **options):
    gains = np.linspace(0.5, 1.5, POINTS)
    return sweep(make, {"gain": gains}, depth=6, batch=1, predictions=False, progress=False, **options)


def aside():
    """Whether this is one of the threads that compute."""
    return threading.current_thread() is not threading.main_thread()


def test_the_next_block_is_made_before_results_of_one_are_fetched(card, blocks, monkeypatch):
    made, waited, more, fetch = [], [], threading.Condition(), pretended.ndarray.get

    def make(point, rng):
        with more:
            made.extend(point["gain"] if aside() else [])
            more.notify_all()
        return system(point, rng)

    def get(self):
        # metrics and their errors, one above the other: until here the device is at work
        if aside() and self.ndim == 3 and self.shape[0] > N and not waited:
            waited.append(None)
            with more:  # a minute: whoever comes one after the other will never come
                waited[0] = more.wait_for(lambda: len(made) >= 2, 60)
        return fetch(self)

    monkeypatch.setattr(pretended.ndarray, "get", get)
    swept(make, backend="cupy")
    assert waited == [True]
    assert sorted(made) == np.linspace(0.5, 1.5, POINTS).tolist()
    assert card.streams == 2


def test_values_are_those_of_one_block_after_the_other(card, blocks, monkeypatch):
    found = swept(system, backend="cupy")
    monkeypatch.setattr(_plan, "rectangle", lambda shape, most: shape)  # a block of all
    alone = swept(system, backend="cupy")
    for name in ("cosine", "log_norm"):
        np.testing.assert_array_equal(found[name], alone[name], err_msg=name)


def test_what_a_block_raises_is_told(card, blocks):
    def make(point, rng):
        if point["gain"][0] > 1:
            raise ZeroDivisionError("no such gain")
        return system(point, rng)

    with pytest.raises(ZeroDivisionError, match="no such gain"):
        swept(make, backend="cupy", on_error="raise")
    found = swept(make, backend="cupy")
    assert np.unique(found["status"]).tolist() == [FAILED, MEASURED_ONLY]
