"""Powers of attention with zeros: what is skipped was zero, and nothing depends on how work is cut."""

from __future__ import annotations

import numpy as np
import pytest

from linsim import Linear, _kernels, attention, simulate
from linsim._engines import powers, triangular


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
    panels = triangular.panels_of(A != 0)
    assert [first for first, _ in panels] + [panels[-1][1]] == cuts
    rng = np.random.default_rng(1)
    M = A * (1 + 1j * rng.standard_normal((3, n, n)))
    X = rng.standard_normal((3, n, 5))
    np.testing.assert_allclose(triangular.product(M, X, panels), M @ X, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(triangular.product(M, M, panels), M @ M, rtol=1e-13, atol=1e-13)


def test_small_or_full_matrices_are_not_cut():
    assert triangular.panels_of(np.tril(np.ones((32, 32))) > 0) == [(0, 32)]
    assert triangular.panels_of(np.ones((64, 64)) > 0) == [(0, 64)]
    # the last token of the first rows is seen, so nothing can be cut before it
    filled = np.tril(np.ones((64, 64))) > 0
    filled[3, 40] = True
    assert triangular.panels_of(filled) == [(0, 48), (48, 64)]


@pytest.mark.parametrize("shared", ["nothing", "A", "H", "both"])
@pytest.mark.parametrize(("n", "group"), [(36, 1), (6, 1)])
def test_powers_say_what_iteration_says(n, group, shared):
    rng = np.random.default_rng(3)
    A = causal(n, group, 3, 2)
    H = 0.3 * rng.standard_normal((3, 5, 5)) + 0.2 * np.eye(5)
    A, H = (A[0] if shared in ("A", "both") else A), (H[0] if shared in ("H", "both") else H)
    x0 = rng.standard_normal((3, n, 5))
    names, layers = (
        ("token_similarity", "log_hfc_lfc", "log_norm", "effective_rank"),
        [0, 1, 5, 37, 100, 400],
    )
    found = simulate(Linear(A, H), x0, 400, layers=layers, metrics=names, method="squaring")
    expected = simulate(Linear(A, H), x0, 400, layers=layers, metrics=names, method="iterate")
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


@pytest.mark.skipif(not _kernels.usable(), reason="numba does not work here")
@pytest.mark.parametrize(("n", "group"), [(36, 1), (34, 34), (6, 1)])
def test_kernel_says_what_arrays_say(monkeypatch, n, group):
    """Values and errors, of real and complex eigenvalues, with zeros in A and without, block by block."""
    A, H = causal(n, group, 3, 2), 0.3 * np.random.default_rng(4).standard_normal((3, 5, 5))
    assert any(np.isreal(x).any() and not np.isreal(x).all() for x in np.linalg.eigvals(H))
    x0 = np.random.default_rng(5).standard_normal((3, n, 5))
    options = {"layers": [0, 1, 2, 3, 50, 51, 400], "metrics": ("log_hfc_lfc", "effective_rank", "log_norm")}
    monkeypatch.setattr(powers, "VECTORS", 8 * 3 * n * 5 * 3)
    runs, used = [], []
    for compiled in (True, False):
        ready = _kernels.ready
        monkeypatch.setattr(
            _kernels,
            "ready",
            lambda group, dtype, ready=ready, yes=compiled: (
                (yes or group != "powers") and ready(group, dtype)
            ),
        )
        rows = powers._compiled_columns
        monkeypatch.setattr(powers, "_compiled_columns", lambda *x, rows=rows: (used.append(1), rows(*x))[1])
        runs.append(simulate(Linear(A, H), x0, 400, method="squaring", **options))
        assert set(runs[-1].info.methods) == {"squaring"}
    kernel, arrays = runs
    assert used
    for name in options["metrics"]:
        np.testing.assert_allclose(kernel.metrics[name], arrays.metrics[name], rtol=1e-10, atol=1e-10)
        # what twins part by holds the roundings of each way beside those that are put into both
        ratio = kernel.errors[name][:, 1:] / arrays.errors[name][:, 1:]
        assert ratio.min() > 0.25
        assert ratio.max() < 4
