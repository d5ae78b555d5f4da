"""Truth at any depth: the closed form of one system in arbitrary precision.

python-flint finds the eigensystems of the exactly normalised A and of H at
hundreds of digits.  Where a gap is too small for these digits, it is taken from
sums in which nothing cancels: the modes other than the constant one, and the
2 by 2 minors of the state.  Nothing here is shared with linsim.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from flint import acb_mat, arb, arb_mat, ctx

from oracles import iterated as oracle


def _eigensystem(M):
    """Values, right vectors in the columns and their duals, as midpoints."""
    n = M.nrows()
    values, right = acb_mat(M).eig(right=True, algorithm="approx", tol=arb(10) ** (20 - ctx.dps))
    right = acb_mat(n, n, [e.mid() for e in right.entries()])
    left = right.inv()
    return [v.mid() for v in values], right, acb_mat(n, n, [e.mid() for e in left.entries()])


class ClosedForm:
    """Modes of one system; A and H must be diagonalizable.  Use inside :func:`digits`."""

    def __init__(self, A, H, x0, symmetric=False):
        lam, self.V, U = _eigensystem(oracle.true_attention(A, symmetric))
        mu, W, self.Z = _eigensystem(oracle._exact(H))
        self.c = U * acb_mat(oracle._exact(x0)) * W
        self.n, self.d = self.V.nrows(), W.nrows()
        self.symmetric = symmetric
        self.rho = [[1 + x * y for y in mu] for x in lam]
        self.constant = min(range(self.n), key=lambda i: float(abs(lam[i] - 1).mid()))

    def modes(self, layer):
        return [
            [(self.c[i, j] * self.rho[i][j] ** layer).mid() for j in range(self.d)] for i in range(self.n)
        ]

    def assembled(self, V, M, Z):
        X = V * M * Z
        return arb_mat(X.nrows(), X.ncols(), [e.real.mid() for e in X.entries()])

    def state(self, layer):
        """The (n, d) arb_mat at ``layer``."""
        return self.assembled(self.V, acb_mat(self.modes(layer)), self.Z)

    def content(self, layer):
        """Token mean and the state without it, each to all digits however small."""
        modes, nothing = self.modes(layer), [arb(0)] * self.d
        alone = [row if i == self.constant else nothing for i, row in enumerate(modes)]
        others = [nothing if i == self.constant else row for i, row in enumerate(modes)]
        shared, rest = (self.assembled(self.V, acb_mat(M), self.Z) for M in (alone, others))
        mean = [sum((rest[i, j] for i in range(self.n)), arb(0)) / self.n for j in range(self.d)]
        varying = [(rest[i, j] - mean[j]).mid() for i in range(self.n) for j in range(self.d)]
        # a doubly stochastic A keeps the mean of the other modes at exactly 0
        low = [(shared[0, j] + (0 if self.symmetric else mean[j])).mid() for j in range(self.d)]
        return low, arb_mat(self.n, self.d, varying)

    def minors(self, layer):
        """All 2 by 2 minors of the state, rows and columns by pairs (i < k)."""
        return self.assembled(_compound(self.V), _compound(acb_mat(self.modes(layer))), _compound(self.Z))


def _compound(M):
    rows, columns = combinations(range(M.nrows()), 2), list(combinations(range(M.ncols()), 2))
    return acb_mat([[(M[i, p] * M[k, q] - M[i, q] * M[k, p]).mid() for p, q in columns] for i, k in rows])


def _square(entries):
    return sum((e * e for e in entries), arb(0)).mid()


def _largest_singular_value(M):
    """sigma_1 to double precision, as a number and its scale."""
    top = max((abs(e) for e in M.entries()), key=lambda e: e.mid()).mid()
    scaled = np.array([float((e / top).mid()) for e in M.entries()]).reshape(M.nrows(), M.ncols())
    return arb(float(np.linalg.svd(scaled, compute_uv=False)[0])), top


def gaps(A, H, x0, layers, *, digits=300, symmetric=False):
    """Return {log gap: array over layers} at any depth; n and d at least 2."""
    old, ctx.dps = ctx.dps, digits
    try:
        form = ClosedForm(A, H, x0, symmetric)
        out = [_gaps(form, layer) for layer in layers]
        return {k: np.array([m[k] for m in out]) for k in out[0]}
    finally:
        ctx.dps = old


def _gaps(form, layer):
    X, N = form.state(layer), form.minors(layer)
    mean, Y = form.content(layer)
    n, d = form.n, form.d
    total, high, low = _square(X.entries()), _square(Y.entries()), _square(mean) * n
    spread, signed, plain = arb(0), arb(0), arb(0)
    for row, (i, k) in enumerate(combinations(range(n), 2)):
        spread = max(spread, _square([Y[i, j] - Y[k, j] for j in range(d)]), key=lambda v: v.mid())
        both = (_square([X[i, j] for j in range(d)]) * _square([X[k, j] for j in range(d)])).mid()
        sine = _square([N[row, c] for c in range(N.ncols())]) / both
        cosine = (sum((X[i, j] * X[k, j] for j in range(d)), arb(0)) / both.sqrt()).mid()
        less = sine / (1 + abs(cosine))
        plain = plain + less
        signed = signed + (less if cosine > 0 else 1 - cosine)
    pairs = n * (n - 1) // 2
    (first, top), (second, pair) = _largest_singular_value(X), _largest_singular_value(N)
    return {
        "log_norm": oracle._ln(total) / 2,
        "log_spread": oracle._ln(spread) / 2,
        "log_token_diversity": oracle._ln(high / total),
        "log_hfc_lfc": oracle._ln(high / low) / 2,
        "log_cosine_gap": oracle._ln((signed / pairs).mid()),
        "log_abs_cosine_gap": oracle._ln((plain / pairs).mid()),
        "log_rank_gap": oracle._ln(second / first**2 * (pair / top**2)),
    }


def _metrics(X):
    """Metrics of a state of size 1: differences of logarithms of 1e9 would have no digits left."""
    top = _square(X.entries()).sqrt().mid()
    out = oracle.metrics(arb_mat(X.nrows(), X.ncols(), [(e / top).mid() for e in X.entries()]))
    return out | {name: out[name] + oracle._ln(top) for name in ("log_norm", "log_spread")}


def trajectory(A, H, x0, layers, *, digits=400, symmetric=False):
    """Return {metric: array over layers} as ``oracle.trajectory`` does: gaps beyond ``digits`` are 0."""
    old, ctx.dps = ctx.dps, digits
    try:
        form = ClosedForm(A, H, x0, symmetric)
        out = [_metrics(form.state(layer)) for layer in layers]
        return {k: np.array([m[k] for m in out]) for k in out[0]}
    finally:
        ctx.dps = old
