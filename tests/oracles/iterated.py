"""Arbitrary-precision truth for small systems: plain iteration with enough digits.

Nothing here is shared with linsim: states are iterated as they stand, and
every metric comes from its definition.  What ``digits`` cannot tell from zero
is reported as zero (its logarithm as -inf).
"""

from __future__ import annotations

from itertools import combinations

import mpmath
import numpy as np
from flint import arb, arb_mat, ctx

#: share of the digits that rounding over a whole run may cost, kept out of every result
SPARE = 3


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


def general_attention(A, eps=2.0**-52):
    """What numbers of any square matrix stand for: rows that sum to one number up to rounding do so exactly.

    So do columns, and a sum that is nearly whole is meant to be.  ``eps``: what they are rounded to.
    """
    given = np.asarray(A, dtype=float)
    n = len(given)
    slack = 16 * n * eps * np.abs(given).sum(axis=1).max()
    M = _exact(given)
    for transposed in (False, True):
        sums = given.sum(axis=0 if transposed else 1)
        if np.ptp(sums) > slack:
            continue
        entries = [[M[j, i] if transposed else M[i, j] for j in range(n)] for i in range(n)]
        exact = [sum(row, arb(0)) for row in entries]
        nearest = round(float(sums.mean()))
        whole = abs(sums.mean() - nearest) <= slack
        meant = arb(nearest) if whole else sum(exact, arb(0)) / n
        entries = [[v + (meant - t) / n for v in row] for row, t in zip(entries, exact, strict=True)]
        if transposed:
            entries = [list(column) for column in zip(*entries, strict=True)]
        M = arb_mat(entries)
    return M


def trajectory(A, H, x0, layers, *, digits=2000, symmetric=False, svd=True, bias=None, general=False):
    """Return {metric: array over layers} for one system.

    ``A`` and ``H`` are matrices, or lists of heads, or a function of the layer
    that returns either pair.  ``bias``: a row that every layer adds to all tokens.
    ``general``: attention is not stochastic.
    """
    old, ctx.dps = ctx.dps, digits
    try:
        symmetric = "general" if general else symmetric
        added = None if bias is None else _exact(np.broadcast_to(bias, np.shape(x0)))
        heads = _heads(A, H, symmetric) if not callable(A) else None
        X, out, layer = _exact(x0), [], 0
        nothing = arb(10) ** (10 - digits)
        for target in layers:
            while layer < target:
                step, size = X, _largest(X)
                for a, h in heads if heads is not None else _heads(*A(layer), symmetric):
                    step = step + a * X * h
                    size = size + _largest(X) * _largest(h)
                if added is not None:
                    step, size = step + added, size + _largest(added)
                # midpoints: the truth needs digits, not enclosures; what is
                # left where terms cancel to the last digit is zero
                entries = [e.mid() for e in step.entries()]
                entries = [e if abs(e) > size * nothing else arb(0) for e in entries]
                X = arb_mat(step.nrows(), step.ncols(), entries)
                layer += 1
            out.append(metrics(X, svd))
        return {k: np.array([m[k] for m in out]) for k in out[0]}
    finally:
        ctx.dps = old


def _largest(M):
    return max((abs(e) for e in M.entries()), key=lambda e: e.mid()).mid()


def _heads(A, H, symmetric):
    pairs = zip(A, H, strict=True) if isinstance(A, list) else [(A, H)]
    if symmetric == "general":
        return [(general_attention(a), _exact(h)) for a, h in pairs]
    return [(true_attention(a, symmetric), _exact(h)) for a, h in pairs]


def of_state(x, *, digits=700, svd=True):
    """Return {metric: float} of one matrix of doubles."""
    old, ctx.dps = ctx.dps, digits
    try:
        return metrics(_exact(x), svd)
    finally:
        ctx.dps = old


def _ln(value):
    """ln of a positive arb, -inf where no digit of it is left."""
    if not value > 0:
        return -np.inf
    return float(value.mid().log())


def metrics(X, svd=True):
    """Return every metric of a state held as an arb_mat, by its definition."""
    n, d = X.nrows(), X.ncols()
    nothing = arb(10) ** (ctx.dps // SPARE - ctx.dps)  # what counts as 0 beside terms of size 1
    x = [[X[i, j].mid() for j in range(d)] for i in range(n)]
    largest = max((abs(v) for row in x for v in row), key=lambda v: v.mid())
    zero = arb(0)
    mean = [(sum((x[i][j] for i in range(n)), zero) / n).mid() for j in range(d)]
    centred = [[(x[i][j] - mean[j]).mid() for j in range(d)] for i in range(n)]

    def square(rows):
        return sum((v * v for row in rows for v in row), zero).mid()

    total, low, high = square(x), n * square([mean]), square(centred)
    floor = (largest * nothing * largest * nothing).mid()
    low, high = (v if v > floor else zero for v in (low, high))
    norms = [square([row]).sqrt().mid() for row in x]
    here = [bool(s > largest * nothing) for s in norms]
    gap, absolute, spread = zero, zero, zero
    for i, k in combinations(range(n), 2):
        if here[i] and here[k]:
            p, q = ([(v / norms[m]).mid() for v in x[m]] for m in (i, k))
            # 1 - c = |p - q|^2 / 2, 1 + c = |p + q|^2 / 2
            less = square([[u - v for u, v in zip(p, q, strict=True)]]) / 2
            more = square([[u + v for u, v in zip(p, q, strict=True)]]) / 2
        else:
            less = more = arb(1)
        gap, absolute = gap + less, absolute + (less if less < more else more)
        spread = max(spread, square([[x[i][j] - x[k][j] for j in range(d)]]), key=lambda v: v.mid())
    pairs = max(1, n * (n - 1) // 2)
    gap, absolute = ((v / pairs).mid() for v in (gap, absolute))
    gap, absolute = (v if v > nothing * nothing else zero for v in (gap, absolute))
    spread = spread if spread > floor else zero
    out = {
        "token_similarity": float((low / total).mid()),
        "log_token_diversity": _ln(high / total),
        "hfc_lfc": float((high / low).sqrt().mid()) if low > 0 and _ln(high) - _ln(low) < 1400 else np.inf,
        "log_hfc_lfc": (_ln(high) - _ln(low)) / 2,
        "cosine": float((1 - gap).mid()),
        "log_cosine_gap": _ln(gap),
        "abs_cosine": float((1 - absolute).mid()),
        "log_abs_cosine_gap": _ln(absolute),
        "log_norm": _ln(total) / 2,
        "log_spread": _ln(spread) / 2,
    }
    if svd:
        s = singular_values(x, floor)
        share = [(v / sum(s, zero)).mid() for v in s]
        entropy = -sum((p * p.log() for p in share if p > 0), zero)
        out |= {
            "effective_rank": float(entropy.exp().mid()),
            "log_effective_rank_gap": _ln(entropy.expm1().mid()) if len(s) > 1 and s[1] > 0 else -np.inf,
            "stable_rank": float((sum((v * v for v in s), zero) / (s[0] * s[0])).mid()),
            "log_rank_gap": _ln(s[1]) - _ln(s[0]) if len(s) > 1 else -np.inf,
        }
    return out


def singular_values(x, floor):
    """Singular values of a list of rows by one-sided Jacobi rotations, decreasing.

    Columns whose square falls below ``floor`` count as zero.

    Jacobi keeps every singular value that the digits can hold, and needs
    nothing but field operations and square roots, so it is fast at thousands
    of digits where a general routine is not.
    """
    columns = [list(c) for c in zip(*x, strict=True)]
    if len(columns) > len(x):
        columns = [list(row) for row in x]
    goal = arb(10) ** -25
    zero = arb(0)

    def dot(p, q):
        return sum((a * b for a, b in zip(p, q, strict=True)), zero).mid()

    for _ in range(60):
        worst = False
        for i, k in combinations(range(len(columns)), 2):
            p, q = columns[i], columns[k]
            pp, qq, pq = dot(p, p), dot(q, q), dot(p, q)
            if not (pp > floor and qq > floor) or abs(pq) <= goal * (pp * qq).sqrt().mid():
                continue
            worst = True
            zeta = ((qq - pp) / (2 * pq)).mid()
            t = (1 if zeta >= 0 else -1) / (abs(zeta) + (1 + zeta * zeta).sqrt())
            c = (1 / (1 + t * t).sqrt()).mid()
            s = (c * t).mid()
            columns[i] = [(c * a - s * b).mid() for a, b in zip(p, q, strict=True)]
            columns[k] = [(s * a + c * b).mid() for a, b in zip(p, q, strict=True)]
        if not worst:
            break
    else:
        raise ArithmeticError("Jacobi rotations did not converge: use more digits")
    sizes = [dot(c, c) for c in columns]
    sizes = [v.sqrt().mid() if v > floor else zero for v in sizes]
    return sorted(sizes, key=lambda v: v.mid(), reverse=True)


def plain_svd(x, digits=100):
    """mpmath's singular values, to check :func:`singular_values` against."""
    with mpmath.workdps(digits):
        return sorted((float(v) for v in mpmath.svd_r(mpmath.matrix(x), compute_uv=False)), reverse=True)
