"""What layers do to a common vector, the differences from it, and small errors of both: in one pass each.

Tokens are X (k, n + 1, d) float64: of each system a last row, and differences from it in units of h (k,).
Errors are E (k, p, n + 1, d) float32, p possible ones of each system, in units of a rounding of double
precision (of differences: times h).  An operation maps them by its derivative, and adds what it rounds
itself: normal ``numbers`` (flat) times half a rounding, a quarter in the mean square sense.  Sums are taken
over lanes of a width that no processor changes.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

from .elementary import exponential32, gelu_of
from .kept import KEPT
from .lanes import WIDTH, largest, load, magnitude, maximum, splat, total

__all__ = ["gelu_far", "near", "normed", "rounded", "seen", "settled", "summed", "widest"]

_COMPILE: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, **KEPT}
_INNER: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract"},
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)
# squares of features below this part of their mean are rounding
_FLAT = (8 * 2.0**-52) ** 2
_SLOPE, _CUBE, _DENSITY = np.float32(1.5957691216), np.float32(0.0713548163), np.float32(0.3989422804)
_ONE, _STEEP = np.float32(1.0), np.float32(80.0)


@nb.njit(**_INNER)
def _dot(x, y):
    """The sum of x[j] y[j], both of one dtype and contiguous."""
    w = WIDTH // x.itemsize
    whole = x.size - x.size % w
    lanes = splat(x, 0.0)
    for j in range(0, whole, w):
        lanes = lanes + load(x, j) * load(y, j)
    found = total(lanes)
    for j in range(whole, x.size):
        found += x[j] * y[j]
    return found


@nb.njit(**_INNER)
def _sum(x):
    w = WIDTH // x.itemsize
    whole = x.size - x.size % w
    lanes = splat(x, 0.0)
    for j in range(0, whole, w):
        lanes = lanes + load(x, j)
    found = total(lanes)
    for j in range(whole, x.size):
        found += x[j]
    return found


@nb.njit(**_INNER)
def _peak(x):
    """The largest modulus of a contiguous array."""
    flat = x.reshape(x.size)
    w = WIDTH // x.itemsize
    whole = flat.size - flat.size % w
    lanes = splat(flat, 0.0)
    for j in range(0, whole, w):
        lanes = maximum(magnitude(load(flat, j)), lanes)
    found = largest(lanes)
    for j in range(whole, flat.size):
        found = max(found, abs(flat[j]))
    return found


@nb.njit(**_INNER)
def _centred(x, out):
    """Write x less its mean, which is returned."""
    m = _sum(x) / x.dtype.type(x.size)
    for j in range(x.size):
        out[j] = x[j] - m
    return m


@nb.njit(**_COMPILE)
def rounded(E, terms, numbers):
    """Add what sums of size ``terms`` (k, n + 1, groups of features) round to E (k, p, n + 1, d)."""
    k, p, rows, d = E.shape
    groups = terms.shape[2]
    width = d // groups
    for a in range(k):
        for c in range(p):
            for i in range(rows):
                at = (c * rows + i) * d
                row = E[a, c, i]
                for g in range(groups):
                    size = np.float32(0.25 * terms[a, i, g])
                    for j in range(g * width, (g + 1) * width):
                        row[j] += size * numbers[at + j]


@nb.njit(**_COMPILE)
def summed(X, E, x_times, Y, F, y_times, numbers, out, E_out):
    """Write x_times X + y_times Y, (k,) and (k or 1, d), and its errors."""
    k, p, rows, d = E.shape
    for a in range(k):
        first, other = x_times[a], y_times[a if y_times.shape[0] > 1 else 0]
        for i in range(rows):
            x, y, row = X[a, i], Y[a, i], out[a, i]
            for j in range(d):
                row[j] = first * x[j] + other[j] * y[j]
            for c in range(p):
                at = (c * rows + i) * d
                e, f, to = E[a, c, i], F[a, c, i], E_out[a, c, i]
                once = np.float32(first)
                for j in range(d):
                    size = _QUARTER * np.float32(abs(row[j]))
                    to[j] = once * e[j] + np.float32(other[j]) * f[j] + size * numbers[at + j]


@nb.njit(**_COMPILE)
def normed(X, E, h, gain, eps, centring, far, numbers, out, E_out, known):
    """Write tokens less the mean of their features (if ``centring``), over their deviation, times ``gain``.

    With x = c + h z in place of a token, s = sqrt(mean x^2 + eps), M = mean(2 c z + h z^2):
    (x/s - c/s_c) / h = z/s - (c/s_c) M / (s (s + s_c)).  ``gain`` (k or 1, d).  ``known`` (k,) becomes false
    where a token has no direction but what rounding gave it, or is off by more than ``far`` of itself.
    """
    k, p, rows, d = E.shape
    n = rows - 1
    c, g, z, x = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    short = np.empty((3, d), np.float32)  # x, z and g
    dc, dg = np.empty((p, d), np.float32), np.empty((p, d), np.float32)
    ds_c = np.zeros(p)
    dz = np.empty(d, np.float32)
    for a in range(k):
        step, scale = h[a], gain[a if gain.shape[0] > 1 else 0]
        m_c = 0.0
        if centring:
            m_c = _centred(X[a, n], c)
        else:
            c[:] = X[a, n]
        v_c = _dot(c, c) / d
        none = v_c == 0 and m_c == 0
        if not none and not v_c > _FLAT * (v_c + m_c * m_c):
            known[a] = False
            continue
        s_c = math.sqrt(v_c + eps)
        over = 0.0 if none else 1 / s_c
        for j in range(d):
            g[j] = c[j] * over
            out[a, n, j] = g[j] * scale[j]
            short[2, j] = g[j]
            short[0, j] = c[j]
        for q in range(p):
            if centring:
                _centred(E[a, q, n], dc[q])
            else:
                dc[q, :] = E[a, q, n]
            ds_c[q] = _dot(short[0], dc[q]) * over / d
            away = _dot(dc[q], dc[q])
            if not away <= (far * far) * d * v_c:
                known[a] = False
            turned, once = np.float32(ds_c[q]), np.float32(over)
            at = (q * rows + n) * d
            for j in range(d):
                dg[q, j] = (dc[q, j] - short[2, j] * turned) * once
                noise = _QUARTER * np.float32(abs(g[j]) + abs(m_c) * over) * numbers[at + j]
                dg[q, j] += noise
                E_out[a, q, n, j] = dg[q, j] * np.float32(scale[j])
        for i in range(n):
            m = 0.0
            if centring:
                m = _centred(X[a, i], z)
            else:
                z[:] = X[a, i]
            for j in range(d):
                x[j] = c[j] + step * z[j]
                short[0, j] = x[j]
                short[1, j] = z[j]
            v = _dot(x, x) / d
            whole = m_c + step * m
            if not v > _FLAT * (v + whole * whole):
                known[a] = False
                break
            s = math.sqrt(v + eps)
            part = 1 / (s * (s + s_c))
            T = (2 * _dot(c, z) + step * _dot(z, z)) / d * part
            inside = 1 / s
            for j in range(d):
                out[a, i, j] = (z[j] * inside - g[j] * T) * scale[j]
            for q in range(p):
                if centring:
                    _centred(E[a, q, i], dz)
                else:
                    dz[:] = E[a, q, i]
                along = _dot(short[0], dz)
                ds = (_dot(short[0], dc[q]) + step * along) / (d * s)
                dM = 2 * (_dot(dc[q], short[1]) + along) / d
                dT = dM * part - T * (ds / s + (ds + ds_c[q]) / (s + s_c))
                apart = _dot(dc[q], dc[q]) + step * step * _dot(dz, dz)
                if not apart <= (far * far) * d * v:
                    known[a] = False
                f_z, f_x = np.float32(inside), np.float32(-ds * inside * inside)
                f_g, f_t = np.float32(-T), np.float32(-dT)
                m_z = np.float32(abs(m))
                at = (q * rows + i) * d
                for j in range(d):
                    y = dz[j] * f_z + short[1, j] * f_x + dg[q, j] * f_g + short[2, j] * f_t
                    size = (abs(short[1, j]) + m_z) * f_z + abs(short[2, j] * f_g)
                    E_out[a, q, i, j] = (y + _QUARTER * size * numbers[at + j]) * np.float32(scale[j])


@nb.njit(**_COMPILE)
def widest(X, h, out):
    """Write the largest difference of each system from its last row."""
    for a in range(h.size):
        out[a] = h[a] * _peak(X[a, : X.shape[1] - 1])


@nb.njit(**_COMPILE)
def near(X, E, h, value, weight, slopes, which, far, numbers, out, E_out, known):
    """Write a function of every entry where differences are small: Taylor's series at the last row.

    value, weight (k, d): the function at the last row, and how many roundings it is off by; slopes
    (k, terms, d): its derivatives divided by factorials, at least three; which (k,): systems to write.
    """
    k, p, rows, d = E.shape
    n, terms = rows - 1, slopes.shape[1]
    line = np.empty(d)
    first, second = np.empty(d, np.float32), np.empty(d, np.float32)
    for a in range(k):
        if not which[a]:
            continue
        step, own = h[a], slopes[a]
        out[a, n] = value[a]
        for q in range(p):
            at = (q * rows + n) * d
            for j in range(d):
                size = _QUARTER * np.float32(abs(value[a, j]) * weight[a, j])
                E_out[a, q, n, j] = np.float32(own[0, j]) * E[a, q, n, j] + size * numbers[at + j]
            if not _peak(E[a, q, n]) <= far:
                known[a] = False
        for i in range(n):
            z, to = X[a, i], out[a, i]
            for j in range(d):
                line[j] = own[terms - 1, j]
            for t in range(terms - 2, -1, -1):
                slope = own[t]
                for j in range(d):
                    line[j] = line[j] * (step * z[j]) + slope[j]
            for j in range(d):
                u = step * z[j]
                to[j] = line[j] * z[j]
                first[j] = own[0, j] + 2 * own[1, j] * u
                second[j] = (2 * own[1, j] + 3 * own[2, j] * u) * z[j]
            for q in range(p):
                at = (q * rows + i) * d
                dc, dz, e = E[a, q, n], E[a, q, i], E_out[a, q, i]
                for j in range(d):
                    size = _QUARTER * np.float32(abs(to[j]) * weight[a, j])
                    e[j] = first[j] * dz[j] + second[j] * dc[j] + size * numbers[at + j]


@nb.njit(inline="always")
def _slope(x):
    """The derivative of GELU, to a few thousandths."""
    v = max(min((_SLOPE + _CUBE * x * x) * x, _STEEP), -_STEEP)
    return _ONE / (_ONE + exponential32(-v)) + x * _DENSITY * exponential32(-_HALF * x * x)


@nb.njit(**_COMPILE)
def gelu_far(X, E, h, value, weight, which, far, numbers, out, E_out, known):
    """Do the same for GELU where differences are of order 1."""
    k, p, rows, d = E.shape
    n = rows - 1
    slope, first, second = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32)
    x, size = np.empty(d, np.float32), np.empty(d, np.float32)
    for a in range(k):
        if not which[a]:
            continue
        step, over = h[a], 1 / h[a]
        c, of_c = X[a, n], value[a]
        out[a, n] = of_c
        for j in range(d):
            slope[j] = _slope(np.float32(c[j]))
        for q in range(p):
            at = (q * rows + n) * d
            for j in range(d):
                noise = _QUARTER * np.float32(abs(of_c[j]) * weight[a, j]) * numbers[at + j]
                E_out[a, q, n, j] = slope[j] * E[a, q, n, j] + noise
            if not _peak(E[a, q]) <= far:
                known[a] = False
        short = np.float32(over)
        for i in range(n):
            z, to = X[a, i], out[a, i]
            for j in range(d):
                y = c[j] + step * z[j]
                moved = gelu_of(y)
                to[j] = (moved - of_c[j]) * over
                low = max(min(y, 0.0), -40.0)
                size[j] = (abs(moved) * (1 + low * low) + abs(of_c[j]) * weight[a, j]) * over
                x[j] = y
            for j in range(d):
                first[j] = _slope(x[j])
                second[j] = (first[j] - slope[j]) * short
            for q in range(p):
                at = (q * rows + i) * d
                dc, dz, e = E[a, q, n], E[a, q, i], E_out[a, q, i]
                for j in range(d):
                    noise = _QUARTER * size[j] * numbers[at + j]
                    e[j] = first[j] * dz[j] + second[j] * dc[j] + noise


@nb.njit(**_INNER)
def _mean(X, y):
    """Write the mean of the rows of X (n, d) less the first."""
    n, d = X.shape
    y[:] = 0
    first = X[0]
    for i in range(1, n):
        row = X[i]
        for j in range(d):
            y[j] += row[j] - first[j]
    for j in range(d):
        y[j] /= n


@nb.njit(**_COMPILE)
def settled(X, E, h, e, far, numbers, known):
    """Make the last row the mean of the tokens, or 0 where one is further from it than half its length.

    In place.  Then the largest difference is in [1, 2) of h = 2**e, which is 0 where that underflows.
    ``known`` becomes false where all tokens are one, or sizes or errors leave the range of float32.
    """
    k, p, rows, d = E.shape
    n = rows - 1
    y, m, row = np.empty(d), np.empty(d), np.empty(d)
    de, dm = np.empty(d, np.float32), np.empty(d, np.float32)
    for a in range(k):
        step = h[a]
        Z, c = X[a, :n], X[a, n]
        _mean(Z, y)
        for j in range(d):
            m[j] = Z[0, j] + y[j]
        length = 0.0
        for j in range(d):
            length += (c[j] + step * m[j]) ** 2
        most = 0.0
        for i in range(n):
            for j in range(d):
                row[j] = Z[i, j] - m[j]
            most = max(most, _dot(row, row))
        spread = step * math.sqrt(most) >= 0.5 * math.sqrt(length)
        if spread:
            empty = True
            for j in range(d):
                empty = empty and c[j] == 0
            if not empty:
                over = 1 / step
                for i in range(n):
                    for j in range(d):
                        Z[i, j] += c[j] * over
                for q in range(p):
                    dc = E[a, q, n]
                    for i in range(n):
                        at = (q * rows + i) * d
                        dz = E[a, q, i]
                        for j in range(d):
                            size = _QUARTER * np.float32(abs(Z[i, j]))
                            dz[j] += dc[j] * np.float32(over) + size * numbers[at + j]
                    dc[:] = 0
                c[:] = 0
        else:
            for i in range(1, n):
                for j in range(d):
                    Z[i, j] = (Z[i, j] - Z[0, j]) - y[j]
            for j in range(d):
                Z[0, j] = -y[j]
                c[j] += step * m[j]
            for q in range(p):
                F = E[a, q, :n]
                _mean(F, de)
                for j in range(d):
                    dm[j] = F[0, j] + de[j]
                for i in range(n):
                    at = (q * rows + i) * d
                    for j in range(d):
                        size = _QUARTER * np.float32(abs(Z[i, j]) + abs(y[j]))
                        F[i, j] += size * numbers[at + j] - dm[j]
                at = (q * rows + n) * d
                for j in range(d):
                    size = _QUARTER * np.float32(abs(c[j]) + step * abs(m[j]))
                    E[a, q, n, j] += np.float32(step) * dm[j] + size * numbers[at + j]
        top = _peak(Z)
        scale = max(math.sqrt(length / d), step * top)
        if not (top > 1e-27 and top < 1e27 and scale > 1e-15 and scale < 1e15):
            known[a] = False
            continue
        shift = math.frexp(top)[1] - 1
        factor = math.ldexp(1.0, -shift)
        e[a] += shift
        h[a] = math.ldexp(1.0, e[a]) if e[a] > -1000 else 0.0
        single = np.float32(factor)
        for i in range(n):
            for j in range(d):
                Z[i, j] *= factor
        for q in range(p):
            F = E[a, q, :n]
            for i in range(n):
                for j in range(d):
                    F[i, j] *= single
            if not max(_peak(F), _peak(E[a, q, n]) / scale) <= far:
                known[a] = False


@nb.njit(**_COMPILE)
def seen(X, E, h, R, r, noise, rows_off):
    """Write tokens as their mean r (k, d) and differences R (k, n, d) from it, in units of h, and errors.

    noise (k, 2) of r and R, rows_off (k, n) of whole tokens: root mean squares over p of their lengths.
    """
    k, p, rows, d = E.shape
    n = rows - 1
    y = np.empty(d)
    de, dm = np.empty(d, np.float32), np.empty(d, np.float32)
    noise[:] = 0
    rows_off[:] = 0
    for a in range(k):
        step = h[a]
        Z, c = X[a, :n], X[a, n]
        _mean(Z, y)
        most = 0.0
        for j in range(d):
            r[a, j] = c[j] + step * (Z[0, j] + y[j])
            most = max(most, abs(r[a, j]))
        for i in range(n):
            for j in range(d):
                R[a, i, j] = (Z[i, j] - Z[0, j]) - y[j]
        widest = _peak(R[a])
        for q in range(p):
            F, dc = E[a, q, :n], E[a, q, n]
            _mean(F, de)
            for j in range(d):
                dm[j] = F[0, j] + de[j]
                noise[a, 0] += (dc[j] + step * dm[j]) ** 2
            for i in range(n):
                whole = 0.0
                for j in range(d):
                    e = F[i, j]
                    noise[a, 1] += (e - dm[j]) ** 2
                    whole += (dc[j] + step * e) ** 2
                rows_off[a, i] += whole
        # what they lose here
        own = 0.0625 * d * (most + step * widest) ** 2
        noise[a, 0] = math.sqrt(noise[a, 0] / p + own)
        noise[a, 1] = math.sqrt(noise[a, 1] / p + 0.0625 * n * d * widest * widest)
        for i in range(n):
            rows_off[a, i] = math.sqrt(rows_off[a, i] / p + own)
