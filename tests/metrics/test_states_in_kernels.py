"""Kernels that begin and measure states: the same as whole arrays, whoever else is measured with them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from linsim import _kernels
from linsim._kernels import states
from linsim._kernels.slots import RANKS
from linsim._state import PARTS, State
from linsim.metrics import _compiled, _evaluate
from linsim.metrics._registry import DEFAULT

GIVEN = {
    "several": lambda rng: rng.standard_normal((3, 5, 4)),
    "nearly alike": lambda rng: 1 + 1e-9 * rng.standard_normal((2, 6, 3)),
    "small": lambda rng: 1e-300 * rng.standard_normal((2, 5, 4)),
    "least": lambda rng: np.full((1, 2, 2), 5e-324),
    "large": lambda rng: 1e300 * rng.standard_normal((2, 3, 1)),
    "alike": lambda rng: np.ones((1, 4, 3)),
    "orthogonal": lambda rng: np.eye(5)[None],
    "a token of zero": lambda rng: rng.standard_normal((2, 5, 4)) * np.arange(5)[:, None],
    "nothing": lambda rng: np.zeros((1, 3, 2)),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_tokens_as_given_are_cut_as_by_whole_arrays(kind, monkeypatch):
    x = GIVEN[kind](np.random.default_rng(1))
    found, zero = _evaluate.as_given(x)
    monkeypatch.setattr(_kernels, "ready", lambda *_: False)
    expected, expected_zero = _evaluate.as_given(x)
    np.testing.assert_array_equal(zero, expected_zero)
    for name in (*PARTS, *(f"e_{part}" for part in PARTS), "noise", "rows"):
        one, other = np.broadcast_arrays(getattr(found, name), getattr(expected, name))
        # sums of a few numbers below 2, and logarithms of them
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-14, err_msg=name)
    kept = np.broadcast_arrays(found.split.preserves_mean, expected.split.preserves_mean)
    np.testing.assert_array_equal(*kept)


def several(count: int, n: int = 7, d: int = 5) -> State:
    """States of very different sizes, of which some are of rank one, as kernels cut them."""
    rng = np.random.default_rng(count)
    x = rng.standard_normal((count, n, d)) * 10.0 ** rng.integers(-30, 30, (count, 1, 1))
    x[::3] = x[::3, :1] * rng.standard_normal((len(x[::3]), n, 1))
    return _compiled.given_in_kernels(x)


def some(state: State, which: np.ndarray) -> State:
    names = (*PARTS, *(f"e_{part}" for part in PARTS), "noise", "rows")
    split = replace(state.split, preserves_mean=state.split.preserves_mean[which])
    return replace(state, split=split, **{name: getattr(state, name)[which] for name in names})


def measured(state: State) -> tuple[np.ndarray, int]:
    found, redone = _compiled.Compiled(state).metrics(DEFAULT, None)
    return np.array([(one.value[:, 0, 0], one.error[:, 0, 0]) for one in found.values()]), redone


@pytest.mark.parametrize("part", ["r", "R"])
@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_of_what_is_no_number_nothing_is_known(part, what):
    """Sums, maxima and minima in kernels may pass over it."""
    state = several(5)
    (expected, _), spoilt = measured(state), np.array(getattr(state, part))
    for place in range(spoilt.shape[-1]):
        one = spoilt.copy()
        one[2, ..., place] = what
        found, _ = measured(replace(state, **{part: one}))
        values, errors = found[:, 0], found[:, 1]
        assert np.all(np.isnan(values[:, 2]) | np.isinf(errors[:, 2])), (part, place)
        others = np.arange(5) != 2
        np.testing.assert_array_equal(found[:, :, others], expected[:, :, others])


def test_a_noise_that_is_no_number_is_infinite():
    state = several(5)
    (expected, _), ranks = measured(state), [name in RANKS for name in DEFAULT]
    for place in (PARTS.index("r"), PARTS.index("R")):
        found = []
        for what in (np.nan, np.inf):
            noise = np.array(state.noise)
            noise[2, :, place] = what
            found.append(measured(replace(state, noise=noise))[0])
        np.testing.assert_array_equal(*found)
        assert np.all(found[0][ranks, 1, 2] > 1e100)
        others = np.arange(5) != 2
        np.testing.assert_array_equal(found[0][:, :, others], expected[:, :, others])


@pytest.mark.parametrize("part", ["r", "R"])
@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_what_is_no_number_stays_with_its_state(part, what):
    """Of the kernels that whole arrays ask for what some tokens share."""
    state = several(5)
    spoilt = np.array(getattr(state, part))
    spoilt[2, ..., 1] = what
    others, zero = np.arange(5) != 2, np.zeros((5, 7, 1), dtype=bool)
    found, expected = (_compiled.Compiled(x) for x in (replace(state, **{part: spoilt}), state))
    for name in ("content", "leading", "angles"):
        given = (zero,) if name == "angles" else ()
        one, other = getattr(found, name)(*given), getattr(expected, name)(*given)
        for place in fields(one):
            x, y = getattr(one, place.name), getattr(other, place.name)
            np.testing.assert_array_equal(x[others], y[others], err_msg=place.name)


def test_what_is_measured_beside_a_state_changes_nothing_of_it():
    state = several(37)  # two pairs of tiles, and what is left
    together, _ = measured(state)
    order = np.random.default_rng(0).permutation(37)
    np.testing.assert_array_equal(measured(some(state, order))[0], together[:, :, order])
    for k in (0, 15, 16, 36):
        np.testing.assert_array_equal(measured(some(state, np.asarray([k])))[0][:, :, 0], together[:, :, k])


def test_lapack_does_what_is_too_large_for_lanes(monkeypatch):
    state = several(9)
    expected, _ = measured(state)
    monkeypatch.setattr(_kernels, "LARGEST", 4)
    found, redone = measured(state)
    assert redone == 0  # nothing was tried before
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_lapack_does_what_lanes_did_not_find(monkeypatch):
    state = several(9)
    expected, _ = measured(state)
    measure, tile_values = states.measure, _kernels.singular_values

    def fails(*args):
        measure(*args)
        values, errors, lost = args[-5], args[-4], args[-1]
        lost[[2, 5]] = True
        values[-4:, [2, 5]], errors[-4:, [2, 5]] = np.nan, 0.0

    monkeypatch.setattr(states, "measure", fails)
    monkeypatch.setattr(_kernels, "singular_values", lambda x: (tile_values(x)[0], len(x)))
    found, redone = measured(state)
    assert redone == 2
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("small", [1.0, 1e-3, 1e-9])
def test_cosines_of_a_token_that_is_small_beside_the_mean_keep_their_digits(small):
    """Products of tokens are those of their rests and the mean, unless that would cancel."""
    x = 3 + np.random.default_rng(5).standard_normal((9, 6))
    x[4] = small * (x[4] - 3)
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    expected = np.mean(np.abs(unit @ unit.T)[~np.eye(9, dtype=bool)])
    found = measured(_compiled.given_in_kernels(x[None]))[0][DEFAULT.index("abs_cosine")]
    assert abs(found[0, 0] - expected) <= 1e-15  # 72 numbers of at most 1, each off by a few roundings
    assert found[1, 0] < 1e-13
