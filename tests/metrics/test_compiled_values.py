"""Metrics worked out in kernels are those of whole arrays: values to rounding, errors as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import linsim
from linsim import _split
from linsim._engines.task import started
from linsim._state import EMPTY, State, of_plain_tokens
from linsim.metrics import _evaluate
from linsim.metrics._registry import DEFAULT


def of_system(rng: np.random.Generator, n: int, d: int, b: int, far: float = 0.0) -> State:
    """b states cut along dominant modes, of which some parts are 2**-far as large as the others."""
    A = linsim.attention.softmax(n, 4, size=b, rng=rng)
    H = linsim.weights.gaussian(d, size=b, rng=rng) * rng.choice([-0.6, 0.6], (b, 1, 1))
    x = rng.standard_normal((b, n, d))
    state = started(x, _split.choose_split(A, H, x, 2.0**-52)[0])
    if far:
        state = replace(state, e_R=state.e_R - far, e_b=state.e_b - far / 2, noise=state.noise - far)
    return state


def plain(x: np.ndarray) -> State:
    return of_plain_tokens(np.asarray(x, dtype=float)[None])


STATES = {
    "several": lambda rng: of_system(rng, 9, 7, 5),
    "many tokens": lambda rng: of_system(rng, 12, 3, 4),
    "many features": lambda rng: of_system(rng, 3, 12, 4),
    "far apart": lambda rng: of_system(rng, 6, 5, 4, 900.0),
    "a little apart": lambda rng: of_system(rng, 6, 5, 4, 30.0),
    "two tokens": lambda rng: of_system(rng, 2, 6, 3),
    "one feature": lambda rng: of_system(rng, 5, 1, 3),
    "one feature, as given": lambda rng: plain(rng.standard_normal((4, 1))),
    "as given": lambda rng: plain(rng.standard_normal((6, 4))),
    "alike": lambda rng: plain(np.ones((4, 3))),
    "alike but for rounding": lambda rng: plain(1 + 2e-16 * rng.standard_normal((4, 3))),
    "of rank one": lambda rng: plain(np.outer([1.0, -2.0, 3.0], [1.0, 2.0])),
    "a token of zero": lambda rng: plain(rng.standard_normal((5, 4)) * np.arange(5)[:, None]),
    "nothing": lambda rng: plain(np.zeros((3, 2))),
    "nothing but noise": lambda rng: replace(plain(np.zeros((3, 2))), noise=np.full((1, 1, 5), -40.0)),
    "orthogonal": lambda rng: plain(np.eye(5)),
    "opposite": lambda rng: plain([[1.0, 0.0], [-1.0, 0.0]]),
    "huge": lambda rng: replace(of_system(rng, 4, 4, 2), noise=np.full((1, 1, 5), 3.0)),
    "noise unknown": lambda rng: replace(of_system(rng, 4, 4, 2), noise=np.full((1, 1, 5), np.nan)),
    "no noise": lambda rng: replace(of_system(rng, 4, 4, 2), noise=np.full((1, 1, 5), EMPTY)),
}


def both(state: State, monkeypatch: pytest.MonkeyPatch, zero_rows=None):
    with np.errstate(all="ignore"):
        found, _ = _evaluate.evaluate(state, DEFAULT, zero_rows)
        monkeypatch.setattr(_evaluate, "in_kernels", lambda *_: None)
        expected, _ = _evaluate.evaluate(state, DEFAULT, zero_rows)
    return found, expected


@pytest.mark.parametrize("kind", STATES)
def test_kernels_and_whole_arrays_agree(kind, monkeypatch):
    state = STATES[kind](np.random.default_rng(7))
    zero_rows = ~np.any(state.R != 0, axis=-1, keepdims=True) if kind == "a token of zero" else None
    found, expected = both(state, monkeypatch, zero_rows)
    for name, one in expected.items():
        shape = np.broadcast_shapes(one.value.shape, found[name].value.shape)
        value, error = (np.broadcast_to(x, shape) for x in (one.value, one.error))
        # one minus a sum of a few hundred terms, and logarithms of it
        np.testing.assert_allclose(found[name].value, value, rtol=1e-13, atol=1e-13, err_msg=name)
        np.testing.assert_allclose(found[name].error, error, rtol=1e-7, atol=1e-15, err_msg=name)


def test_only_what_is_asked_for_is_found():
    state = of_system(np.random.default_rng(3), 5, 4, 2)
    for names in (("log_norm",), ("cosine", "log_rank_gap"), ("effective_rank",), ()):
        assert tuple(_evaluate.evaluate(state, names)[0]) == names
