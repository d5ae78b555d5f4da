"""Errors that follow states one group of layers behind, in another thread, are the errors that go along."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from linsim import Layered, Linear, MultiHead, attention, simulate
from linsim._engines import parts

pytest.importorskip("numba")

from linsim._kernels import shadows


def rules():
    rng = np.random.default_rng(5)
    A = attention.softmax(7, 4, rng=rng)
    yield Linear(A, 0.5 * rng.standard_normal((6, 6)))
    yield Linear(A, np.diag([0.3, -0.4, 0.1, 0.2, -1.2, 0.5]), bias=rng.standard_normal(6))
    # other matrices at every layer, and some that the errors must be rescaled for
    heads = (0.3 * rng.standard_normal((2, 6, 6)) * 8.0 ** (layer % 3) for layer in range(40))
    yield Layered([MultiHead(attention.softmax(7, 4, size=(2,), rng=rng), H) for H in heads])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_errors_a_group_of_layers_behind_are_the_same(dtype, monkeypatch):
    walk, seen = shadows.walk, []
    place = list(inspect.signature(walk.py_func).parameters).index("part")

    def seen_by(*arguments):
        seen.append(arguments[place])
        walk(*arguments)

    monkeypatch.setattr(shadows, "walk", seen_by)
    # none of them by a probe
    monkeypatch.setattr(parts.probed, "covers", lambda task: False)
    x0 = np.random.default_rng(6).standard_normal((7, 6))
    for rule in rules():
        for layers in (None, [3, 4, 30, 40]):
            options = {"layers": layers, "method": "parts", "dtype": dtype, "resolution": 1e300}
            monkeypatch.setattr(parts, "workers", lambda: 1)
            whole = simulate(rule, x0, 40, keep_states=True, **options)
            assert set(seen) == {shadows.WHOLE}
            seen.clear()
            with monkeypatch.context() as patch:
                patch.setattr(parts, "workers", lambda: 2)
                patch.setattr(parts, "_OVERLAP", 0.0)
                apart = simulate(rule, x0, 40, keep_states=True, **options)
            assert set(seen) == {shadows.STATES, shadows.ERRORS}
            seen.clear()
            np.testing.assert_array_equal(apart.states, whole.states)
            for name in whole.metrics:
                np.testing.assert_array_equal(apart.metrics[name], whole.metrics[name], err_msg=name)
                np.testing.assert_array_equal(apart.errors[name], whole.errors[name], err_msg=name)
