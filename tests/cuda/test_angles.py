"""Angles that are all but zero, of tokens of any size: what ten thousand systems of each family found."""

from __future__ import annotations

import numpy as np
import pytest

from linsim import Linear, MultiHead, attention

from . import emulated
from .test_kernels import agree, both, many

pytestmark = pytest.mark.skipif(emulated.COMPILER is None, reason="no g++, which compiles kernels as C++")

NAMES = ("abs_cosine", "log_abs_cosine_gap", "cosine", "log_cosine_gap")


def test_single_precision_sees_angles_below_its_own_spacing(card):
    """A cosine of rows in single precision is off by 1e-7 unless it is worked out in double."""
    drawn, x0 = many("weights: non-normal, mild", 0, "float32", 500)
    rule, options = Linear(drawn.A[496], drawn.H[496]), {"layers": [20], "resolution": 1e300}
    found, expected = both(rule, x0[496], 20, dtype="float32", metrics=NAMES, **options)
    agree(found, expected, "float32", same_errors=False)
    assert found.metrics["log_abs_cosine_gap"][0] < np.log(1e-11)


def test_a_single_feature_has_no_angle_at_all(card):
    """Numbers of one sign: their cosine is 1 exactly, whatever they are divided by."""
    rule = MultiHead(attention.softmax(15, 4, size=(4,), rng=0), np.full((4, 1, 1), 0.2))
    found, expected = both(
        rule, np.random.default_rng(0).standard_normal((40, 15, 1)), 20, metrics=NAMES, resolution=1e300
    )
    agree(found, expected, "float64", same_errors=False)
    assert np.sum(np.isneginf(found.metrics["log_cosine_gap"])) > 100


def test_rows_on_one_line_of_any_size(card):
    """What is known better of the rows as they stand is told of them, not of their distance to the line."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** np.linspace(-15, 0, 16) * rng.choice([-1, 1], 16)
    x0 = sizes[:, None] * rng.standard_normal(12)
    # each row off the line by what its own entries round
    x0 = x0 * (1 + np.finfo(float).eps * rng.integers(-1, 2, x0.shape))
    for run in both(
        Linear(attention.uniform(16), np.eye(12)), x0, 0, layers=[0], metrics=NAMES, resolution=1e300
    ):
        value, error = run.metrics["abs_cosine"][0], run.errors["abs_cosine"][0]
        assert abs(value - 1) <= error, (run.info.method, value, error)


def test_tokens_that_all_but_vanish(card):
    """A layer leaves 1e-15 of the first token: its direction is rounding from then on, however small."""
    rng = np.random.default_rng(449)
    A = np.tril(np.exp(rng.standard_normal((7, 7))))
    H = np.array([[-1 - 2.0**-51, 3.4e-16], [3.4e-16, -1 - 2.0**-52]])
    x0 = rng.standard_normal((7, 2))
    # with gaps of the rank, tokens are cut along a mode in which the first one has no part
    found, expected = both(Linear(A / A.sum(axis=-1, keepdims=True), H), x0, 40, resolution=1e300)
    agree(found, expected, "float64", same_errors=False)
    assert np.all(found.errors["cosine"][2:] > 1e-3)
    assert np.all(found.errors["token_similarity"] < 1e-9)
