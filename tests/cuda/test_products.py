"""Products with a shared matrix are one product, of the same numbers."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest

from linsim._one_product import attended, weighted


@pytest.mark.parametrize(
    ("many", "own"),
    [
        ((5,), (1,)),
        ((5,), (5,)),
        ((1,), (5,)),
        ((5, 3), (5, 1)),
        ((5, 3), (1, 1)),
        ((1, 3), (1, 1)),
        ((5, 3), (1, 3)),
        ((1, 3), (5, 1)),
    ],
)
def test_they_say_what_matmul_says(many, own, monkeypatch):
    rng = np.random.default_rng(0)
    X, A, H = (rng.standard_normal(shape) for shape in ((*many, 4, 3), (*own, 4, 4), (*own, 3, 3)))
    axes = []
    product = strict._array_object.Array.__matmul__

    def seen(one, other):
        axes.append((one.shape[:-2], other.shape[:-2]))
        return product(one, other)

    monkeypatch.setattr(strict._array_object.Array, "__matmul__", seen)
    x, a, h = (strict.asarray(M) for M in (X, A, H))
    np.testing.assert_allclose(np.asarray(weighted(x, h)), X @ H, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(np.asarray(attended(a, x)), A @ X, rtol=1e-14, atol=1e-14)
    shared = [k for k in range(len(many)) if own[k] == 1 and many[k] > 1]
    if (
        shared
        and all(own[k] == many[k] or k in shared for k in range(len(many)))
        and shared[-1] == len(many) - 1
    ):
        assert all(one == other for one, other in axes)  # no batch axis of one, none that is broadcast
