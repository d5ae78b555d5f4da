"""Arbitrary-precision truth for small systems: plain iteration with enough digits.

Nothing here is shared with linsim: states are iterated as they stand, and
every metric comes from its definition.
"""

from __future__ import annotations

import mpmath
import numpy as np
from flint import arb, arb_mat, ctx


def _exact(x):
    return arb_mat([[arb(float(v)) for v in row] for row in np.asarray(x)])


def true_attention(A, symmetric=False):
    """The stochastic matrix that doubles stand for: rows normalised with full precision.

    A symmetric A stands for the exactly doubly stochastic matrix
    Pi + (I - Pi) A (I - Pi).
    """
    A = _exact(A)
    n = A.nrows()
    if symmetric:
        mean = arb_mat(n, n, [arb(1) / n] * (n * n))
        rest = arb_mat([[arb(int(i == j)) - arb(1) / n for j in range(n)] for i in range(n)])
        return mean + rest * A * rest
    rows = []
    for i in range(n):
        total = sum((A[i, j] for j in range(n)), arb(0))
        rows.append([A[i, j] / total for j in range(n)])
    return arb_mat(rows)


def trajectory(A, H, x0, layers, *, digits=2000, symmetric=False, svd=True):
    """Return {metric: array over layers} for one system (or lists of heads A, H)."""
    old, ctx.dps = ctx.dps, digits
    try:
        heads = [(true_attention(a, symmetric), _exact(h)) for a, h in (zip(A, H) if isinstance(A, list) else [(A, H)])]
        X, out, layer = _exact(x0), [], 0
        for target in layers:
            while layer < target:
                step = X
                for a, h in heads:
                    step = step + a * X * h
                # midpoints: the truth needs digits, not enclosures
                X = arb_mat(step.nrows(), step.ncols(), [e.mid() for e in step.entries()])
                layer += 1
            out.append(_metrics(X, digits, svd))
        return {k: np.array([m[k] for m in out]) for k in out[0]}
    finally:
        ctx.dps = old


def _metrics(X, digits, svd):
    with mpmath.workdps(digits):
        mp = mpmath.mp
        n, d = X.nrows(), X.ncols()
        x = mpmath.matrix(n, d)
        for i in range(n):
            for j in range(d):
                man, exp = X[i, j].mid().man_exp()
                x[i, j] = mpmath.ldexp(mpmath.mpf(int(man)), int(exp))
        ln = lambda v: float(mp.log(v)) if v > 0 else -np.inf  # noqa: E731
        mean = [sum(x[i, j] for i in range(n)) / n for j in range(d)]
        low = n * sum(m * m for m in mean)
        high = sum((x[i, j] - mean[j]) ** 2 for i in range(n) for j in range(d))
        norms = [mp.sqrt(sum(x[i, j] ** 2 for j in range(d))) for i in range(n)]
        gap = absolute = spread = mpmath.mpf(0)
        pairs = n * (n - 1) // 2
        for i in range(n):
            for k in range(i):
                c = sum(x[i, j] * x[k, j] for j in range(d)) / (norms[i] * norms[k])
                gap, absolute = gap + (1 - c), absolute + (1 - abs(c))
                spread = max(spread, mp.sqrt(sum((x[i, j] - x[k, j]) ** 2 for j in range(d))))
        out = {
            "token_similarity": float(low / (low + high)),
            "log_token_diversity": ln(high / (low + high)),
            "hfc_lfc": float(mp.sqrt(high / low)),
            "log_hfc_lfc": ln(high / low) / 2,
            "cosine": float(1 - gap / pairs),
            "log_cosine_gap": ln(gap / pairs),
            "abs_cosine": float(1 - absolute / pairs),
            "log_abs_cosine_gap": ln(absolute / pairs),
            "log_norm": ln(low + high) / 2,
            "log_spread": ln(spread),
        }
        if svd:
            s = sorted(mpmath.svd_r(x, compute_uv=False), reverse=True)
            total = sum(s)
            entropy = -sum((v / total) * mp.log(v / total) for v in s if v > 0)
            out |= {
                "effective_rank": float(mp.exp(entropy)),
                "log_effective_rank_gap": ln(mp.expm1(entropy)),
                "stable_rank": float(sum(v * v for v in s) / s[0] ** 2),
                "log_rank_gap": ln(s[1] / s[0]) if len(s) > 1 else -np.inf,
            }
        return out
