"""How a run begins: parts and errors of a kernel are those of whole arrays; modes are sought where needed."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import _kernels
from linsim._engines import compiled_parts, outlook, panels, parts
from linsim._engines.task import started
from linsim._kernels.begin import begin
from linsim._shadow import COUNT
from linsim._shadow import begin as begin_with_arrays
from linsim._split import choose_split, row_split

SHAPES = [(32, 32, 1), (5, 3, 4), (9, 17, 3), (2, 1, 2), (1, 4, 2), (6, 6, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by_modes", [True, False])
def test_parts_and_errors_begin_as_with_whole_arrays(shape, by_modes):
    n, d, m = shape
    rng = np.random.default_rng(n)
    A = linsim.attention.softmax(n, 4, size=m, rng=rng)
    H = 0.6 * linsim.weights.gaussian(d, size=m, rng=rng)
    x = rng.standard_normal((m, n, d)) * 10.0 ** rng.integers(-200, 200, (m, 1, 1))
    split = choose_split(A, H, x, 2.0**-52)[0] if by_modes else row_split([A], d, 2.0**-52)
    state = started(x, split)
    shadows = begin_with_arrays(state, 1.0)

    def of(y):
        return np.ascontiguousarray(np.broadcast_to(np.reshape(y, (y.shape[0], -1))[:, 0], m))

    held = panels.room(m, 1, n, d, np.float64)
    errors = panels.room(m, COUNT, n, d, np.float32)
    width = errors[1].shape[1] // COUNT
    cuts = panels.vectors(split, m, np.float64)
    cuts32 = tuple(np.zeros((m, k), np.float32) for k in (n, n, width, width))
    lengths, condition = np.empty((m, 4)), np.empty(m)
    begin(
        _kernels.frozen(x), cuts, cuts32, of(split.constant), of(split.coupled) > 0, of(split.sensitivity),
        compiled_parts.first_errors(n, d), held, errors, lengths, condition,
    )  # fmt: skip
    *values, exponents = panels.held(state, m)
    for found, expected in zip(held, values, strict=False):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)
    np.testing.assert_array_equal(held[5], exponents)
    *values, exponents = panels.held(shadows.errors, m)
    for found, expected in zip(errors, values, strict=False):
        # three hundred roundings of single precision, of entries below 2
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(errors[5], exponents)
    for found, expected in zip(cuts32, panels.vectors(split, m, np.float32), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(condition, of(shadows.condition), rtol=1e-12)
    np.testing.assert_allclose(lengths, np.stack([np.linalg.norm(y, axis=-1) for y in cuts], -1), rtol=1e-12)


def system(kind, rng, n=6):
    x = rng.standard_normal((1, n, n))
    if kind == "to one line":  # eigenvalues 1, -0.8 and 0: of the first feature 1.8 is the largest product
        A = np.kron(np.full((n // 2, n // 2), 2 / n), [[0.1, 0.9], [0.9, 0.1]])
        return A[None], -np.diag(1 / np.arange(1.0, n + 1))[None], x
    A = linsim.attention.softmax(n, 3, symmetric=True, rng=rng)
    return A[None], {"apart": 0.1, "to their mean": 2.0}[kind] * np.eye(n)[None], x


@pytest.mark.parametrize("kind", ["apart", "to their mean", "to one line"])
def test_tokens_on_one_line_are_foreseen(kind):
    """Where one mode of tokens and features wins they come to a line; to be equal they need no modes."""
    A, H, x = system(kind, np.random.default_rng(1))
    depth = 40 if kind != "apart" else 4
    assert outlook.stays_apart(A, H, x, depth, 4.0)[0] == (kind != "to one line")
    run = linsim.simulate(linsim.Linear(A[0], H[0]), x[0], depth, method="parts")
    sought = run.info.split[()] != "constant direction"
    assert sought == (kind == "to one line")


def test_an_outlook_does_not_depend_on_when_it_is_rescaled_or_on_others():
    rng = np.random.default_rng(2)
    A, H = linsim.attention.softmax(5, 3, size=8, rng=rng), linsim.weights.gaussian(4, size=8, rng=rng)
    x = rng.standard_normal((8, 5, 4))
    whole = outlook.stays_apart(A, H, x, 30, 1.0)
    for growth in (3.0, 100.0):
        np.testing.assert_array_equal(outlook.stays_apart(A, H, x, 30, growth), whole)
    alone = [outlook.stays_apart(A[k : k + 1], H[k : k + 1], x[k : k + 1], 30, 1.0)[0] for k in range(8)]
    np.testing.assert_array_equal(alone, whole)
    assert whole.any()
    assert not outlook.stays_apart(A[:1], 1e300 * H[:1], x[:1], 30, 1.0)[0]  # no number tells nothing


def test_a_wrong_outlook_changes_no_value_by_more_than_its_error(monkeypatch):
    A, H, x = system("to one line", np.random.default_rng(1))
    rule = linsim.Linear(A[0], H[0])
    expected = linsim.simulate(rule, x[0], 60, method="parts")
    monkeypatch.setattr(parts, "stays_apart", lambda *_: np.ones(1, dtype=bool))
    found = linsim.simulate(rule, x[0], 60, method="parts")
    for name, value in expected.metrics.items():
        off = np.abs(found.metrics[name] - value)
        known = np.isfinite(value)
        np.testing.assert_array_equal(known, np.isfinite(found.metrics[name]), err_msg=name)
        assert np.all(off[known] <= (found.errors[name] + expected.errors[name])[known]), name
