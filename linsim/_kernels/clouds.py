"""What layers do to clouds of tokens, each in one pass over the numbers: see :mod:`linsim._cloud`.

Arrays are flat where rows are read by lanes.  Sums are taken over lanes of a width that no processor changes.
Copies are moved by ``factor`` times normal numbers times the size of what was rounded, as
:func:`linsim._cloud.shaken` says; ``numbers`` are those of all copies, (probes, rows, columns) flat.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

from .elementary import gelu_of
from .kept import KEPT
from .lanes import WIDTH, largest, load, magnitude, maximum, splat, total

__all__ = ["added", "from_mean", "gelu_differences", "layer_norm", "normalised", "shaken"]

_COMPILE: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, **KEPT}


@nb.njit(**_COMPILE)
def shaken(x, terms, numbers, factor, out):
    """Write x (K, r, c) to ``out``, copies moved by what sums of size ``terms`` round.

    ``factor`` (k,); ``terms`` (k or 1 or K - k, r or 1, c or 1): of each system, of all, or of each copy.
    """
    K, r, c = x.shape
    k = factor.size
    one_row, one_column = terms.shape[1] == 1, terms.shape[2] == 1
    for a in range(K):
        if a < k:
            for i in range(r):
                for j in range(c):
                    out[a, i, j] = x[a, i, j]
            continue
        own = factor[(a - k) % k]
        of = a - k if terms.shape[0] == K - k else (a - k) % k if terms.shape[0] > 1 else 0
        copy = (a - k) // k * r
        for i in range(r):
            here = terms[of, 0 if one_row else i]
            at = (copy + i) * c
            if one_column:
                times = own * here[0]
                for j in range(c):
                    out[a, i, j] = x[a, i, j] + times * numbers[at + j]
            else:
                for j in range(c):
                    out[a, i, j] = x[a, i, j] + own * here[j] * numbers[at + j]


@nb.njit(**_COMPILE)
def normalised(x, empty, out, shift):
    """Write rows of x times powers of two, so that the largest entry is in [1, 2), and the powers' exponents.

    Of a row of zeros that is ``empty``; one that is not finite stays as it is.
    """
    w = WIDTH // x.itemsize
    whole = x.shape[1] - x.shape[1] % w
    for a in range(x.shape[0]):
        row, to = x[a], out[a]
        lanes = splat(x, 0.0)
        for j in range(0, whole, w):
            lanes = maximum(lanes, magnitude(load(row, j)))
        top = largest(lanes)
        for j in range(whole, row.size):
            top = max(top, abs(row[j]))
        known = top > 0 and np.isfinite(top)
        exponent = math.frexp(top)[1] - 1 if known else 0
        shift[a] = empty if top == 0 else exponent
        factor = x.dtype.type(math.ldexp(1.0, -max(exponent, -1000)))
        for j in range(row.size):
            to[j] = row[j] * factor


@nb.njit(**_COMPILE)
def added(x, f_x, y, f_y, numbers, factor, out):
    """Write x f_x + y f_y, (K, r, c) and (K,), as it is rounded; a sum with nothing is exact."""
    K, r, c = x.shape
    k = factor.size
    zero = x.dtype.type(0)
    for a in range(K):
        p, q = f_x[a], f_y[a]
        own = factor[(a - k) % k] if a >= k else zero
        copy = (a - k) // k * r if a >= k else 0
        for i in range(r):
            at = (copy + i) * c
            for j in range(c):
                one, two = p * x[a, i, j], q * y[a, i, j]
                both = one + two
                size = abs(both) if one != 0 and two != 0 else zero
                out[a, i, j] = both + own * size * numbers[at + j]


@nb.njit(**_COMPILE)
def from_mean(x, mean, numbers, factor, out):
    """Write x - mean, (K, n, d) and (K, 1, d), as it is rounded."""
    K, n, d = x.shape
    k = factor.size
    zero = x.dtype.type(0)
    for a in range(K):
        own = factor[(a - k) % k] if a >= k else zero
        copy = (a - k) // k * n if a >= k else 0
        for i in range(n):
            at = (copy + i) * d
            for j in range(d):
                m = mean[a, 0, j]
                out[a, i, j] = (x[a, i, j] - m) + own * (abs(x[a, i, j]) + abs(m)) * numbers[at + j]


@nb.njit(**_COMPILE)
def gelu_differences(x, h, rest, value, weight, numbers, factor, out):
    """Write GELU(x + h rest) - value as it is rounded.

    x, value, weight (K, 1, d): centres, their GELU, and what that rounds; h (K,); rest (K, n, d).
    """
    K, n, d = rest.shape
    k = factor.size
    zero, one, far = x.dtype.type(0), x.dtype.type(1), x.dtype.type(-40)
    for a in range(K):
        step = h[a]
        own = factor[(a - k) % k] if a >= k else zero
        copy = (a - k) // k * n if a >= k else 0
        for i in range(n):
            at = (copy + i) * d
            for j in range(d):
                y = x[a, 0, j] + step * rest[a, i, j]
                moved = gelu_of(y)
                low = max(min(y, zero), far)
                size = abs(moved) * (one + low * low) + weight[a, 0, j]
                out[a, i, j] = (moved - value[a, 0, j]) + own * size * numbers[at + j]


@nb.njit(**_COMPILE)
def _sum(z, at, d):
    w = WIDTH // z.itemsize
    whole = d - d % w
    lanes = splat(z, 0.0)
    for j in range(0, whole, w):
        lanes = lanes + load(z, at + j)
    found = total(lanes)
    for j in range(whole, d):
        found += z[at + j]
    return found


@nb.njit(**_COMPILE)
def _largest(c, z, ratio, d):
    """The largest modulus of c + ratio z."""
    found = abs(c[0] + ratio * z[0])
    for j in range(1, d):
        found = max(found, abs(c[j] + ratio * z[j]))
    return found


@nb.njit(**_COMPILE)
def _products(c, z, ratio, over, d):
    """Sums of c z, of z z, and of the squares of (c + ratio z) over."""
    w = WIDTH // z.itemsize
    whole = d - d % w
    cz, zz, xx = splat(z, 0.0), splat(z, 0.0), splat(z, 0.0)
    for j in range(0, whole, w):
        p, q = load(c, j), load(z, j)
        x = (p + q * ratio) * over
        cz, zz, xx = cz + p * q, zz + q * q, xx + x * x
    a, b, e = total(cz), total(zz), total(xx)
    for j in range(whole, d):
        x = (c[j] + ratio * z[j]) * over
        a, b, e = a + c[j] * z[j], b + z[j] * z[j], e + x * x
    return a, b, e


@nb.njit(**_COMPILE)
def layer_norm(z, c, g, gain, of_all, numbers, factor, seen, least, centring, n, out):
    """Differences of normed tokens, :func:`linsim._layers.layer_norm`, as they are rounded.

    Parameters
    ----------
    z : (K, n d)
        Differences of tokens from the centre.
    c : (K, d)
        The centre, less the mean of its features.
    g : (K, d)
        c over its own deviation, 0 where it has none.
    gain : (K or 1, d)
    of_all : (K, 5)
        The ratio of differences to the centre, the mean of the centre's features, what the output is shrunk
        by, root of eps, and the deviation of the centre.
    numbers : (2, probes n d)
        For the norm, and for the mean of features.
    seen : float
        Squares of features below this part of their mean are rounding.
    least : float
        Ratios below this have no reciprocal.
    """
    K, d = c.shape
    k = factor.size
    row = np.empty(d, z.dtype)
    for a in range(K):
        ratio, m_c, shrunk, floor, s_c = of_all[a]
        own = factor[(a - k) % k] if a >= k else z.dtype.type(0)
        strict = seen if a < k else z.dtype.type(0)
        centre, direction, scale = c[a], g[a], gain[a if gain.shape[0] > 1 else 0]
        for i in range(n):
            at = ((a - k) // k * n + i) * d if a >= k else 0
            m_i = m_c
            here = z[a, i * d : (i + 1) * d]
            if centring:
                low = here[0]
                for j in range(d):
                    row[j] = here[j] - low
                m = _sum(row, 0, d) / d
                m_i = m_c + ratio * (m + low)
                for j in range(d):
                    y = row[j]
                    row[j] = (y - m) + own * (abs(y) + abs(m)) * numbers[1, at + j]
            else:
                row[:] = here
            top = _largest(centre, row, ratio, d)
            known = top > 0 and np.isfinite(top)
            top = math.ldexp(1.0, max(math.frexp(top)[1] - 1, -1000)) if known else 1.0
            over = z.dtype.type(1 / top)
            cz, zz, xx = _products(centre, row, ratio, over, d)
            v = xx / d
            flat = v <= strict * (v + (m_i * over) ** 2)
            s_i = math.hypot(top * math.sqrt(v) * shrunk, floor)
            inside = 0.0 if flat else 1 / s_i
            turn = (2 * (cz / d) + ratio * (zz / d)) * shrunk * shrunk * inside / (1.0 if flat else s_i + s_c)
            if flat:  # a token without variance lies at -g from the centre, at the scale of the differences
                turn = 1 / ratio if ratio >= least else 1.0
            p, q = z.dtype.type(inside), z.dtype.type(turn)
            for j in range(d):
                straight, turned = row[j] * p, direction[j] * q
                size = (abs(straight) + abs(turned)) * abs(scale[j])
                out[a, i * d + j] = (straight - turned) * scale[j] + own * size * numbers[0, at + j]
