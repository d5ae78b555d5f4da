"""Systems and helpers that several tests share."""

from __future__ import annotations

import numpy as np


def real_form(values):
    """Block-diagonal real matrix; a complex number stands for itself and its conjugate."""
    size = sum(2 if isinstance(v, complex) else 1 for v in values)
    B, at = np.zeros((size, size)), 0
    for v in values:
        if isinstance(v, complex):
            B[at : at + 2, at : at + 2] = [[v.real, v.imag], [-v.imag, v.real]]
            at += 2
        else:
            B[at, at], at = v, at + 1
    return B


def spectrum(values):
    """Every eigenvalue, conjugates written out."""
    return np.array([w for v in values for w in ((v, v.conjugate()) if isinstance(v, complex) else (v,))])


def make_weights(rng, values):
    size = len(spectrum(values))
    while True:
        V = rng.normal(size=(size, size))
        if np.linalg.cond(V) < 30:
            return V @ real_form(values) @ np.linalg.inv(V), V


def make_attention(rng, shape, share=None):
    """Positive stochastic matrix, and its eigenvalues but 1: ``shape`` times the factor that fits.

    A = 1 pi^T + t V B U with V B U orthogonal to both, t as large as positivity allows (times ``share``).
    """
    n = 1 + len(spectrum(shape))
    while True:
        pi = rng.dirichlet(np.full(n, 5.0))
        V = rng.normal(size=(n, n - 1))
        V -= pi @ V
        full = np.column_stack([np.ones(n), V])
        if np.linalg.cond(full) < 30:
            break
    rest = V @ real_form(shape) @ np.linalg.inv(full)[1:]
    low = np.min(rest / pi)
    t = (share or rng.uniform(0.3, 0.98)) / -low
    return np.ones((n, 1)) * pi + t * rest, [t * v for v in shape]


def random_spectrum(rng, size, draw, is_complex):
    pairs = int(rng.integers(0, size // 2 + 1)) if is_complex else 0
    return [complex(draw(), draw()) for _ in range(pairs)] + [float(draw()) for _ in range(size - 2 * pairs)]


def random_mixed(seed, n=4, d=3, **options):
    rng = np.random.default_rng(seed)
    A, lam = make_attention(
        rng, random_spectrum(rng, n - 1, rng.normal, options.get("complex_attention", False))
    )
    low, high = options.get("interval", (-3, 1.5))
    mu = random_spectrum(rng, d, lambda: rng.uniform(low, high), options.get("complex_weights", False))
    H, _ = make_weights(rng, mu)
    return A, H, np.append(1, spectrum(lam)), spectrum(mu), rng.normal(size=(n, d))
