"""Every metric of systems of every kind against arbitrary precision: within what is told, or withheld."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from oracles import more_metrics as truth

import linsim
from linsim.metrics import METRICS

LAYERS = [0, 1, 7, 60]


def drawn(seed, dtype):
    """Attention near and far from uniform, weights of all kinds, unequal and zero tokens, some measured."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 7)), int(rng.integers(1, 6))
    A = rng.dirichlet(np.full(n, rng.choice([0.3, 1, 10])), n) + 1e-4
    A /= A.sum(axis=1, keepdims=True)
    H = rng.normal(size=(d, d)) * rng.choice([0.2, 0.6, 1.2])
    if rng.random() < 0.4:
        basis = rng.normal(size=(d, d))
        H = basis @ np.diag(rng.uniform(-1, 1, d)) @ np.linalg.inv(basis)
    x0 = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-3 * (rng.random() < 0.3), 0, (n, 1))
    if rng.random() < 0.2:
        x0[rng.integers(n)] = 0
    weights = None
    if rng.random() < 0.6:
        weights = np.where(rng.random(n) < 0.3, 0, 10.0 ** rng.uniform(-3, 1, n))
        weights = (weights > 0) * 1.0 if rng.random() < 0.5 else weights
        weights = weights if weights.any() else None
    A, H, x0 = (x.astype(dtype) for x in (A, H, x0))
    return A, H, x0, weights, str(rng.choice(["iterate", "modal"]))


def found_wrong(seed, dtype):
    """Metrics that are further off than they say, and how many values are withheld and how many there are."""
    A, H, x0, weights, method = drawn(seed, dtype)
    options = {"layers": LAYERS, "metrics": "all", "tokens": weights, "method": method}
    run = linsim.simulate(linsim.Linear(A, H), x0, LAYERS[-1], **options)
    exact = (x.astype(float) for x in (A, H, x0))
    expected = truth.along(*exact, LAYERS, weights=weights, digits=300)
    wrong: Counter[str] = Counter()
    withheld = total = 0
    for name in METRICS:
        for value, told, true in zip(run.metrics[name], run.errors[name], expected[name], strict=True):
            total += 1
            if np.isnan(value):
                withheld += not np.isnan(true)
                continue
            off = 0.0 if value == true else abs(value - true)
            wrong[name] += not off <= told + 1e-13 * max(1, abs(true) if np.isfinite(true) else 1)
    return +wrong, withheld, total


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_few_systems(dtype):
    """None of 4 systems is further off than it says, and nearly nothing is withheld in double precision."""
    results = [found_wrong(seed, dtype) for seed in range(4)]
    assert not sum((wrong for wrong, _, _ in results), Counter())
    withheld, total = (sum(result[k] for result in results) for k in (1, 2))
    assert withheld < (0.02 if dtype == np.float64 else 0.2) * total


@pytest.mark.full
@pytest.mark.parametrize(("dtype", "allowed"), [(np.float64, 0.0), (np.float32, 1e-3)])
def test_many_systems(dtype, allowed):
    """Errors in single precision are told so that 99.9 percent are below."""
    results = [found_wrong(1000 + seed, dtype) for seed in range(300)]
    wrong, total = sum((w for w, _, _ in results), Counter()), sum(t for _, _, t in results)
    assert sum(wrong.values()) <= allowed * total, wrong
