"""Tokens that shrink by many orders of magnitude: known where arithmetic keeps them, NaN elsewhere."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from linsim import Linear, simulate

DEPTH = 40


def cosines(A, H, x0, depth):
    """Mean cosine of pairs at every layer, from numbers of 500 digits."""
    with mpmath.workdps(500):
        A, H, X = (mpmath.matrix(M.tolist()) for M in (A, H, x0))
        n, out = X.rows, []
        for _ in range(depth + 1):
            total = [mpmath.mpf(0)] * X.cols
            for i in range(n):
                length = mpmath.sqrt(sum(X[i, j] ** 2 for j in range(X.cols)))
                total = [total[j] + X[i, j] / length for j in range(X.cols)]
            out.append(float((sum(t * t for t in total) - n) / (n * (n - 1))))
            X = X + A * X * H
    return np.array(out)


def causal(n, rng):
    A = np.tril(np.exp(rng.standard_normal((n, n))))
    return A / A.sum(axis=-1, keepdims=True)


def cancelling():
    """A layer leaves 1e-15 of the first token, whose direction is rounding from then on."""
    rng = np.random.default_rng(449)
    H = np.array([[-1 - 2.0**-51, 3.4e-16], [3.4e-16, -1 - 2.0**-52]])
    return causal(7, rng), H, rng.standard_normal((7, 2))


def decaying():
    """A layer leaves a thousandth of the first token and more of the others: each stays known."""
    rng = np.random.default_rng(7)
    A = causal(7, rng)
    return A, np.diag([-0.999, -0.998]), rng.standard_normal((7, 2))


@pytest.mark.parametrize("method", ["parts", "iterate"])
def test_what_is_rounding_is_not_told(method):
    A, H, x0 = cancelling()
    run = simulate(Linear(A, H), x0, DEPTH, method=method)
    off = np.abs(run.metrics["cosine"] - cosines(A, H, x0, DEPTH))
    told = ~np.isnan(run.metrics["cosine"])
    assert np.all(off[told] <= run.errors["cosine"][told])
    # not even where the token has left the range of doubles beside the others
    assert np.all(run.errors["cosine"][2:] > 1e-3)


@pytest.mark.parametrize("method", ["parts", "iterate"])
def test_what_arithmetic_keeps_is_told(method):
    A, H, x0 = decaying()
    run = simulate(Linear(A, H), x0, DEPTH, method=method)
    off = np.abs(run.metrics["cosine"] - cosines(A, H, x0, DEPTH))
    assert np.all(off <= run.errors["cosine"])
    assert np.all(run.errors["cosine"] < 1e-9)
