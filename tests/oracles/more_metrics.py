"""Arbitrary-precision truth of the metrics beside the default fourteen, and of all over weighted tokens.

As in :mod:`oracle` nothing is shared with linsim: every metric is its definition, term by term, over
states that are iterated as they stand.
"""

from __future__ import annotations

import numpy as np
from flint import arb, arb_mat, ctx

from oracles import iterated as oracle


def along(A, H, x0, layers, *, weights=None, digits=400, beta=1.0, cosine=0.9):
    """Return {metric: array over layers} of X + A X H."""
    old, ctx.dps = ctx.dps, digits
    try:
        a, h, X = oracle.true_attention(A), oracle._exact(H), oracle._exact(x0)
        out, layer = [], 0
        for target in layers:
            while layer < target:
                X = X + a * X * h
                X = arb_mat(X.nrows(), X.ncols(), [e.mid() for e in X.entries()])
                layer += 1
            out.append(metrics(X, a, weights, beta, cosine))
        return {k: np.array([m[k] for m in out]) for k in out[0]}
    finally:
        ctx.dps = old


def of_state(x, A=None, *, weights=None, digits=200, beta=1.0, cosine=0.9):
    """Return {metric: float} of one matrix of doubles."""
    old, ctx.dps = ctx.dps, digits
    try:
        return metrics(
            oracle._exact(x), None if A is None else oracle.true_attention(A), weights, beta, cosine
        )
    finally:
        ctx.dps = old


def _sum(terms):
    return sum(terms, arb(0)).mid()


def metrics(X, A, weights, beta, cosine):
    """Every metric of a state held as an arb_mat, without the tokens of weight 0."""
    n, d = X.nrows(), X.ncols()
    w = [arb(1)] * n if weights is None else [arb(float(v)) for v in weights]
    kept = [i for i in range(n) if w[i] > 0]
    x = {i: [X[i, j].mid() for j in range(d)] for i in kept}
    W = _sum(w[i] for i in kept)
    largest = max((abs(v) for row in x.values() for v in row), key=lambda v: v.mid())
    nothing = (largest * arb(10) ** (ctx.dps // oracle.SPARE - ctx.dps)).mid()
    floor = (nothing * nothing).mid()
    mean = [(_sum(w[i] * x[i][j] for i in kept) / W).mid() for j in range(d)]

    def square(row):
        return _sum(v * v for v in row)

    def less(p, q):
        return [(a - b).mid() for a, b in zip(p, q, strict=True)]

    total = _sum(w[i] * square(x[i]) for i in kept)
    low, high = (W * square(mean)).mid(), _sum(w[i] * square(less(x[i], mean)) for i in kept)
    high = high if high > floor else arb(0)
    length = {i: square(x[i]).sqrt().mid() for i in kept}
    here = {i: bool(length[i] > nothing) for i in kept}
    unit = {i: [(v / length[i]).mid() for v in x[i]] if here[i] else None for i in kept}
    zero, one = arb(0), arb(1)

    def apart(i, k):
        """1 - cosine."""
        if i == k:
            return zero
        return (square(less(unit[i], unit[k])) / 2).mid() if here[i] and here[k] else one

    def opposite(i, k):
        """1 + cosine."""
        if not (here[i] and here[k]):
            return one
        return (square([(a + b).mid() for a, b in zip(unit[i], unit[k], strict=True)]) / 2).mid()

    D = {(i, k): apart(i, k) for i in kept for k in kept}
    pairs = [(i, k) for i in kept for k in kept if i != k]
    count = _sum(w[i] * w[k] for i, k in pairs) if pairs else one
    gap = (_sum(w[i] * w[k] * D[i, k] for i, k in pairs) / count).mid()
    absolute = (
        _sum(w[i] * w[k] * min(D[i, k], opposite(i, k), key=lambda v: v.mid()) for i, k in pairs) / count
    ).mid()
    spread = max([square(less(x[i], x[k])) for i, k in pairs], key=lambda v: v.mid(), default=zero)
    root = {i: w[i].sqrt().mid() for i in kept}
    s = oracle.singular_values([[(root[i] * v).mid() for v in x[i]] for i in kept], floor)
    centred = [[(root[i] * v).mid() for v in less(x[i], mean)] for i in kept]
    t = oracle.singular_values(centred, floor)
    b = arb(beta)
    fallen = (_sum(w[i] * w[k] * (1 - (-b * D[i, k]).exp()) for i in kept for k in kept) / (W * W)).mid()
    top = (b.exp() / (2 * b)).mid()
    ln = oracle._ln

    def powers(p):
        return _sum((v / s[0]) ** p for v in s[1:])

    def entropy(shares):
        total = _sum(shares)
        return _sum(-(v / total) * (v / total).log() for v in shares if v > 0)

    groups = []
    for i in kept:  # one token at a time: the groups that it joins become one
        joined = [g for g in groups if any(1 - D[i, k] >= cosine for k in g)]
        groups = [g for g in groups if g not in joined] + [[i, *(k for g in joined for k in g)]]
    participation = ((2 * powers(2) + powers(2) ** 2 - powers(4)) / (1 + powers(4))).mid()
    of_squares, of_s = entropy([(v * v).mid() for v in s]), entropy(s)
    out = {
        "token_similarity": float((low / total).mid()),
        "log_token_diversity": ln(high / total),
        "hfc_lfc": float((high / low).sqrt().mid()),
        "log_hfc_lfc": (ln(high) - ln(low)) / 2,
        "cosine": float(1 - gap),
        "log_cosine_gap": ln(gap),
        "abs_cosine": float(1 - absolute),
        "log_abs_cosine_gap": ln(absolute),
        "effective_rank": float(of_s.exp().mid()),
        "log_effective_rank_gap": ln(of_s.expm1().mid()),
        "stable_rank": float(1 + powers(2)),
        "log_rank_gap": ln(s[1] / s[0]) if len(s) > 1 else -np.inf,
        "log_norm": ln(total) / 2,
        "log_spread": ln(spread) / 2,
        "participation_ratio": float(1 + participation),
        "log_participation_ratio_gap": ln(participation),
        "nuclear_rank": float(1 + powers(1)),
        "log_nuclear_rank_gap": ln(powers(1)),
        "stable_rank_of_gram": float(1 + powers(4)),
        "log_stable_rank_of_gram_gap": ln(powers(4)),
        "effective_rank_of_squares": float(of_squares.exp().mid()),
        "log_effective_rank_of_squares_gap": ln(of_squares.expm1().mid()),
        "dirichlet_energy": float(high),
        "log_dirichlet_energy": ln(high),
        "mad": float(gap),
        "log_mad": ln(gap),
        "interaction_energy": float((top * (1 - fallen)).mid()),
        "log_interaction_energy_gap": ln(fallen),
        "clusters": float(len(groups)),
        "largest_token_share": float(max((w[i] * length[i] ** 2 / total).mid() for i in kept)),
    }
    if t[0] > 0:
        around = entropy(t)
        out |= {
            "centred_effective_rank": float(around.exp().mid()),
            "log_centred_effective_rank_gap": ln(around.expm1().mid()),
        }
    else:
        out |= {"centred_effective_rank": np.nan, "log_centred_effective_rank_gap": np.nan}
    if A is not None:
        edges = {(i, k): (w[i] * w[k] * A[i, k]).mid() for i in kept for k in kept}
        energy = _sum(v * square(less(x[i], x[k])) / 2 for (i, k), v in edges.items())
        distance = (_sum(v * D[i, k] for (i, k), v in edges.items()) / _sum(edges.values())).mid()
        rows = _sum(w[i] * -A[i, k] * A[i, k].log() for i in kept for k in range(n) if A[i, k] > 0)
        out |= {
            "attention_dirichlet_energy": float(energy),
            "log_attention_dirichlet_energy": ln(energy),
            "attention_mad": float(distance),
            "log_attention_mad": ln(distance),
            "attention_entropy": float((rows / W).mid()),
        }
    return out
