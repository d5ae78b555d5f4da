"""Biases, token scales and attention beyond the simplex: the compiled ways say what whole arrays say."""

from __future__ import annotations

import numpy as np
import pytest
from test_parts import agree, by_arrays

from linsim import Layered, Linear, MultiHead, attention, simulate

pytest.importorskip("numba")

N, D = 6, 5


def drawn():
    """Rules by name, each with a batch of two systems, and tokens."""
    rng = np.random.default_rng(8)
    A, B = (attention.softmax(N, 4, size=(2,), rng=k) for k in (1, 2))
    S = attention.doubly_stochastic(N, rng=3)
    grows = 0.2 * rng.standard_normal((2, D, D)) + 0.4 * np.eye(D)
    shrinks = 0.1 * rng.standard_normal((2, D, D)) - 0.6 * np.eye(D)
    many = 0.2 * rng.standard_normal((2, 3, D, D))
    heads = attention.softmax(N, 4, size=(2, 3), rng=4)
    row, scale = rng.standard_normal((2, D)), np.exp(0.4 * rng.standard_normal((2, N)))
    beyond = {
        "general": attention.general(0.3 * rng.standard_normal((2, N, N))),
        "centred": attention.centred(A),
        "laplacian": attention.laplacian(A),
        "differential": attention.differential(A, B, 0.3),
        "sigmoid": attention.sigmoid(rng.standard_normal((2, N, N))),
        "laplacian of equal columns": attention.laplacian(S),
    }
    rules = {
        "bias": Linear(A, grows, bias=row),
        "bias of one in two systems": Linear(A[0], shrinks[0], bias=row * [[0.0], [1.0]]),
        "bias that decides": Linear((np.eye(N) + A) / 2, shrinks, bias=row),
        "small bias": Linear(A, grows, bias=1e-30 * row),
        "large bias": Linear(A, shrinks, bias=1e30 * row),
        "scale": Linear(A, grows, scale=scale),
        "scale and bias": Linear(A, grows, scale=scale, bias=row),
        "heads with a bias": MultiHead(heads, many, bias=row),
        "heads with scales": MultiHead(heads, many, scale=scale, bias=row),
        "heads of equal sums": MultiHead(attention.general(np.eye(N) - heads), many, bias=row),
        "layers of all kinds": Layered(
            [MultiHead(heads, many, bias=row if k % 3 else None) for k in range(12)]
        ),
        "layers with scales": Layered(
            [Linear(A, grows, bias=row if k % 2 else None, scale=scale**k) for k in range(12)]
        ),
    }
    for name, M in beyond.items():
        rules[name] = Linear(M, grows)
        rules[f"{name}, driven"] = Linear(M, shrinks, bias=row)
    return rules, rng.standard_normal((2, N, D))


RULES, X0 = drawn()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RULES)
def test_all_metrics_say_what_whole_arrays_say(name, dtype, monkeypatch):
    options = {"layers": [0, 1, 2, 5, 12], "dtype": dtype, "resolution": 1e300}
    found = simulate(RULES[name], X0, 12, method="parts", **options)
    expected = by_arrays(monkeypatch, RULES[name], X0, 12, **options)
    assert set(found.info.methods.ravel()) == {"parts"}
    assert np.array_equal(found.info.split, expected.info.split)
    agree(found, expected, dtype)
