"""Tokens on the sphere (Geshkovski et al. 2023) after 800 layers, against 160 digits."""

from __future__ import annotations

import numpy as np
from flint import arb, arb_mat, ctx

from linsim import Block, attention, simulate, tokens

LAYERS = (0, 1, 10, 100, 400, 800)


def truth(x0, beta, step):
    """ln(1 - mean cosine) of X <- P(X + step softmax(beta X X^T) X), P puts tokens on the sphere."""
    old, ctx.dps = ctx.dps, 160
    try:
        X, out, (n, d) = [[arb(float(v)) for v in row] for row in x0], [], x0.shape
        for layer in range(LAYERS[-1] + 1):
            sizes = [sum((v * v for v in row), arb(0)).sqrt() for row in X]
            X = [[(v / size).mid() for v in row] for row, size in zip(X, sizes, strict=True)]
            if layer in LAYERS:
                # 1 - c = |p - q|^2 / 2 of unit vectors
                pairs = [(p, q) for i, p in enumerate(X) for q in X[:i]]
                squares = ((a - b) ** 2 for p, q in pairs for a, b in zip(p, q, strict=True))
                out.append(float((sum(squares, arb(0)) / (2 * len(pairs))).mid().log()))
            M = arb_mat(X)
            scores = M * M.transpose()
            A = [[(beta * (scores[i, k] - 1)).exp().mid() for k in range(n)] for i in range(n)]
            A = arb_mat([[v / sum(row, arb(0)) for v in row] for row in A])
            Y = M + step * (A * M)
            X = [[Y[i, k].mid() for k in range(d)] for i in range(n)]
        return np.array(out)
    finally:
        ctx.dps = old


def test_the_gap_is_that_of_160_digits():
    n, d, beta, step = 6, 3, 1.0, 0.125
    x0 = tokens.gaussian(n, d, similarity=0.3, rng=0)
    x0 = x0 / np.linalg.norm(x0, axis=-1, keepdims=True)
    rule = Block(
        attention.FromTokens(query_key=beta * np.eye(d), normalize=False),
        weights=step * np.eye(d),
        norm_kind="sphere",
    )
    found = simulate(rule, x0, LAYERS[-1], layers=LAYERS, metrics=["log_cosine_gap"])
    wanted = truth(x0, beta, step)
    assert wanted[-1] < -100  # far below what doubles see of a cosine
    np.testing.assert_allclose(found.metrics["log_cosine_gap"], wanted, rtol=0, atol=1e-9)
    assert np.all(np.abs(found.metrics["log_cosine_gap"] - wanted) <= 3 * found.errors["log_cosine_gap"])
