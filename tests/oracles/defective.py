"""Systems and helpers that several tests share."""

from __future__ import annotations

import numpy as np


def unimodular(rng, d):
    """Integer matrices of determinant 1 and their exact inverses."""
    lower = np.tril(rng.integers(-1, 2, (d, d)), -1) + np.eye(d)
    upper = np.triu(rng.integers(-1, 2, (d, d)), 1) + np.eye(d)
    M = lower @ upper
    return M, np.round(np.linalg.inv(M))


def jordan(rng, blocks):
    """Exactly defective integer combinations of Jordan blocks (eigenvalue, size)."""
    d = sum(size for _, size in blocks)
    J, at = np.zeros((d, d)), 0
    for value, size in blocks:
        J[at : at + size, at : at + size] = value * np.eye(size) + np.eye(size, k=1)
        at += size
    S, inverse = unimodular(rng, d)
    return S @ J @ inverse


def defective_attention():
    """Positive stochastic with the 2-block of eigenvalue -1/4."""
    P = np.array([[1, 1, 0], [1, 0, 1], [1, -1, -1.0]])
    B = np.diag([1, -0.25, -0.25])
    B[1, 2] = 0.15
    return P @ B @ np.linalg.inv(P)
