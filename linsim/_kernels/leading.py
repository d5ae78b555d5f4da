"""Which modes 1 + lambda_i mu_j lead, for many systems, and eigenvectors of the few that are asked for."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT

__all__ = ["FIELDS", "leading", "spread", "stationary", "suited"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
_EPS = 2.0**-52

#: the columns that :func:`leading` writes
FIELDS = ("certain", "constant", "other", "rank", "token", "minor", "row")


@nb.njit(**_COMPILE)
def leading(lam, mu, lam_close, mu_close, near, out):
    """Write FIELDS of systems with eigenvalues lam (a, n) and mu (h, d), complex, to out (b, 7).

    a and h are b, or 1 where all share them; lam[:, 0] is the constant mode.  ``certain`` is 0 where some
    modulus is within ``near`` of the largest, relatively, without being equal to it for certain, and where
    an eigenvalue that decides a field is ``close`` to another (of the shapes of lam and mu).
    ``constant`` and ``other``: the largest modulus of either kind; ``rank``: that of the limit; ``token``
    and ``minor``: the factors of sqrt(token diversity) and sigma_2/sigma_1; ``row``: the eigenvalue of
    attention whose vector leads (the first of a conjugate pair), -1 where several do.
    """
    n, d = lam.shape[1], mu.shape[1]
    modulus = np.empty((n, d))
    rows, columns = np.empty(n, np.int64), np.empty(d, np.int64)
    equal = 4.0 * math.sqrt(n + d) * _EPS  # less than what their rounding lets tie in the full law
    for s in range(out.shape[0]):
        at, to = s if lam.shape[0] > 1 else 0, s if mu.shape[0] > 1 else 0
        x, y, u, v = lam[at], mu[to], lam_close[at], mu_close[to]
        top, i0, j0, constant, other = -1.0, 0, 0, 0.0, 0.0
        doubtful, there = u[0], False
        for i in range(n):
            a, b = x[i].real, x[i].imag
            largest, best = 0.0, 0
            for j in range(d):
                p, q = 1.0 + (a * y[j].real - b * y[j].imag), a * y[j].imag + b * y[j].real
                m = p * p + q * q
                modulus[i, j] = m
                if m > largest:
                    largest, best = m, j
                if m > top:
                    top, i0, j0 = m, i, j
            if i == 0:
                constant, doubtful = largest, doubtful or v[best]
            elif largest > other:
                other, there = largest, u[i] or v[best]
        threshold = top * (1.0 - near) ** 2
        for i in range(n):
            rows[i] = 0
        for j in range(d):
            columns[j] = 0
        tied, certain = 0, 1e-8 < top < 1e200
        top = math.sqrt(top)
        for i in range(n):
            for j in range(d):
                if modulus[i, j] >= threshold:
                    tied += 1
                    rows[i] += 1
                    columns[j] += 1
                    if top - math.sqrt(modulus[i, j]) > equal:
                        certain = False
        wide, tall = 0, 0
        for i in range(n):
            tall += rows[i] > 0
        for j in range(d):
            wide += columns[j] > 0
        # the generic rank of a full rectangle is its shorter side, that of two modes apart 2
        rank = min(tall, wide)
        certain = certain and (tied == tall * wide or tied == 2)
        if tall > 1 and rows[0] > 0:
            certain = False  # a tie of both kinds
        row = i0
        if tall > 1 and not (
            tall == 2 and i0 + 1 < n and rows[i0 + 1] > 0 and x[i0] == x[i0 + 1].conjugate()
        ):
            row = -1
        doubtful = doubtful or there
        column_top, row_top, apart, i1, j1, i2, j2 = 0.0, 0.0, 0.0, i0, j0, i0, j0
        for i in range(n):
            for j in range(d):
                m = modulus[i, j]
                if i != i0 and j != j0:
                    if m > apart:
                        apart, i1, j1 = m, i, j
                elif i != i0:
                    if m > column_top:
                        column_top, i2 = m, i
                elif j != j0 and m > row_top:
                    row_top, j2 = m, j
        doubtful = doubtful or u[i1] or v[j1] or u[i2] or v[j2]
        constant, other = math.sqrt(constant), math.sqrt(other)
        minor = max(top * math.sqrt(apart), math.sqrt(column_top) * math.sqrt(row_top))
        out[s, 0] = certain and not doubtful
        out[s, 1] = constant
        out[s, 2] = other
        out[s, 3] = rank
        out[s, 4] = other / constant if constant > 0.0 else 1.0
        out[s, 5] = minor / (top * top)
        out[s, 6] = row


@nb.njit(**_COMPILE)
def spread(M, values, scale, work, vector, out):
    """Write the least modulus of M's eigenvector over its largest, entry k divided by scale[k], to out (b,).

    M (b, n, n) real, values (b,) and work (n, n), vector (n,) of one dtype, scale (b, n).  Inverse iteration;
    0 where it does not arrive.
    """
    n = vector.size
    for s in range(M.shape[0]):
        size = 0.0
        for i in range(n):
            for j in range(n):
                work[i, j] = M[s, i, j]
                size = max(size, abs(M[s, i, j]))
            work[i, i] -= values[s]
            vector[i] = 1.0 + math.cos(3.0 * i)
        good = True
        for turn in range(2):
            if turn == 1:  # the elimination is spent: once more from the matrix
                for i in range(n):
                    for j in range(n):
                        work[i, j] = M[s, i, j]
                    work[i, i] -= values[s]
            growth = _solve(work, vector, size * _EPS)
            good = growth * size * n > 1e9
        least, most = np.inf, 0.0
        for i in range(n):
            x = abs(vector[i]) / scale[s, i]
            least, most = min(least, x), max(most, x)
        out[s] = least / most if good and most > 0.0 else 0.0


@nb.njit(**_COMPILE)
def _solve(a, x, tiny):
    """Overwrite x with a^-1 x, scaled to a largest entry of 1; how much it grew."""
    n = x.size
    before = 0.0
    for i in range(n):
        before = max(before, abs(x[i]))
    for k in range(n):
        at = k
        for i in range(k + 1, n):
            if abs(a[i, k]) > abs(a[at, k]):
                at = i
        if at != k:
            for j in range(k, n):
                a[k, j], a[at, j] = a[at, j], a[k, j]
            x[k], x[at] = x[at], x[k]
        if abs(a[k, k]) < tiny:
            a[k, k] = tiny
        inverse = 1.0 / a[k, k]
        for i in range(k + 1, n):
            factor = a[i, k] * inverse
            if factor != 0.0:
                for j in range(k + 1, n):
                    a[i, j] -= factor * a[k, j]
                x[i] -= factor * x[k]
    most = 0.0
    for k in range(n - 1, -1, -1):
        total = x[k]
        for j in range(k + 1, n):
            total -= a[k, j] * x[j]
        x[k] = total / a[k, k]
        most = max(most, abs(x[k]))
    for i in range(n):
        x[i] /= most
    return most / before


@nb.njit(**_COMPILE)
def stationary(A, pi, work):
    """Write the stationary vectors of A (b, n, n) to pi (b, n), 0 where token 0 is not reached from all.

    State reduction, as :func:`linsim._eigen.perron_vector`.
    """
    n = A.shape[1]
    for s in range(A.shape[0]):
        for i in range(n):
            for j in range(n):
                work[i, j] = A[s, i, j]
        reached = True
        for k in range(n - 1, 0, -1):
            out = 0.0
            for j in range(k):
                out += work[k, j]
            if out <= 0.0:
                reached = False
                break
            inverse = 1.0 / out
            for i in range(k):
                factor = work[i, k] * inverse
                work[i, k] = factor
                for j in range(k):
                    work[i, j] += factor * work[k, j]
        pi[s, 0] = 1.0
        total = 1.0
        for k in range(1, n):
            x = 0.0
            for i in range(k):
                x += pi[s, i] * work[i, k]
            pi[s, k] = x
            total += x
        inverse = 1.0 / total if reached and total < 1e100 else 0.0
        for k in range(n):
            pi[s, k] *= inverse


@nb.njit(**_COMPILE)
def suited(M, values, scaled, apart, out, close):
    """Write to out (b,) whether M (b, n, n) needs no scaling before its eigenvalues (b, n) are found.

    That is where they are finite, and the entries beside the diagonal of each row and of its column have sums
    of moduli within the factor ``scaled``.  To close (b, n): which eigenvalues are nearer to another than
    ``apart`` times the norm.
    """
    n = M.shape[1]
    for s in range(M.shape[0]):
        good, norm = True, 0.0
        for i in range(n):
            across, down = 0.0, 0.0
            for j in range(n):
                norm += M[s, i, j] * M[s, i, j]
                if i != j:
                    across += abs(M[s, i, j])
                    down += abs(M[s, j, i])
            # false for sums of zero and for NaN as well
            good = good and across > 0.0 and down > 0.0
            good = good and across <= scaled * down and down <= scaled * across
        limit = apart * apart * norm
        for i in range(n):
            z = values[s, i]
            good, close[s, i] = good and z.real - z.real == 0.0, False
            for j in range(i):
                x, y = z.real - values[s, j].real, z.imag - values[s, j].imag
                if not x * x + y * y > limit:
                    close[s, i] = close[s, j] = True
        out[s] = good
