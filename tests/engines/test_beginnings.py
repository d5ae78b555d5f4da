"""How a run begins: parts and errors of a kernel are those of whole arrays; modes are sought where needed."""

from __future__ import annotations

import numpy as np
import pytest

import linsim
from linsim import _kernels
from linsim._engines import compiled_parts, panels
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
