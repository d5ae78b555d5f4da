"""Powers of attention with zeros: what is skipped was zero, and nothing depends on how work is cut."""

from __future__ import annotations

import numpy as np
import pytest

from linsim import Linear, attention, simulate
from linsim._engines import powers


def causal(n, group, count, rng):
    """Attention to one's own group of tokens and those before."""
    A = attention.softmax(n, 4, size=(count,), rng=rng)
    seen = np.arange(n)[:, None] // group >= np.arange(n) // group
    return attention.masked(A, seen)


@pytest.mark.parametrize(
    ("n", "group", "cuts"),
    [(40, 1, [0, 16, 32, 40]), (40, 8, [0, 16, 32, 40]), (40, 20, [0, 40]), (64, 32, [0, 32, 64])],
)
def test_rows_are_cut_where_the_zeros_let_them(n, group, cuts):
    A = causal(n, group, 1, 0)[0]
    panels = powers._panels(A != 0)
    assert [first for first, _ in panels] + [panels[-1][1]] == cuts
    rng = np.random.default_rng(1)
    M = A * (1 + 1j * rng.standard_normal((3, n, n)))
    X = rng.standard_normal((3, n, 5))
    np.testing.assert_allclose(powers._product(M, X, panels), M @ X, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(powers._product(M, M, panels), M @ M, rtol=1e-13, atol=1e-13)


def test_small_or_full_matrices_are_not_cut():
    assert powers._panels(np.tril(np.ones((32, 32))) > 0) == [(0, 32)]
    assert powers._panels(np.ones((64, 64)) > 0) == [(0, 64)]
    # the last token of the first rows is seen, so nothing can be cut before it
    filled = np.tril(np.ones((64, 64))) > 0
    filled[3, 40] = True
    assert powers._panels(filled) == [(0, 48), (48, 64)]


@pytest.mark.parametrize("shared", ["nothing", "A", "H", "both"])
@pytest.mark.parametrize(("n", "group"), [(36, 1), (36, 4), (6, 1)])
def test_powers_say_what_iteration_says(n, group, shared):
    rng = np.random.default_rng(3)
    A = causal(n, group, 3, 2)
    H = 0.3 * rng.standard_normal((3, 5, 5)) + 0.2 * np.eye(5)
    A, H = (A[0] if shared in ("A", "both") else A), (H[0] if shared in ("H", "both") else H)
    x0 = rng.standard_normal((3, n, 5))
    names, layers = (
        ("token_similarity", "log_hfc_lfc", "log_norm", "effective_rank"),
        [0, 1, 5, 37, 100, 1000],
    )
    found = simulate(Linear(A, H), x0, 1000, layers=layers, metrics=names, method="squaring")
    expected = simulate(Linear(A, H), x0, 1000, layers=layers, metrics=names, method="iterate")
    assert "squaring" in found.info.methods
    for name in names:
        np.testing.assert_allclose(found.metrics[name], expected.metrics[name], rtol=1e-9, atol=1e-10)


def test_blocks_of_layers_follow_each_other(monkeypatch):
    """However many layers and systems are held at once."""
    A, H = causal(36, 1, 3, 2), 0.3 * np.random.default_rng(4).standard_normal((3, 5, 5))
    x0 = np.random.default_rng(5).standard_normal((3, 36, 5))
    layers = [0, 1, 2, 3, 50, 51, 400]
    options = {"layers": layers, "metrics": ("log_hfc_lfc", "log_norm"), "method": "squaring"}
    whole = simulate(Linear(A, H), x0, 400, **options)
    for vectors, matrices in ((8 * 3 * 36 * 5 * 3, 2**21), (2**27, 2**10), (1, 1)):
        monkeypatch.setattr(powers, "VECTORS", vectors)
        monkeypatch.setattr(powers, "MATRICES", matrices)
        cut = simulate(Linear(A, H), x0, 400, **options)
        assert set(cut.info.methods) == {"squaring"}
        for name in whole.metrics:
            np.testing.assert_allclose(cut.metrics[name], whole.metrics[name], rtol=1e-10, atol=1e-10)
