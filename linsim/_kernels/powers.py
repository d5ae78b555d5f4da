"""Vectors behind powers of I - v u + mu D, one matrix for each eigenvalue mu, by repeated squaring.

What :mod:`linsim._engines.powers` does in whole arrays, for one system after the other.  Real and imaginary
parts lie apart, rows follow each other and are padded with zeros.  Matrices that are zero beyond some column
of each row, as those of causal attention, are multiplied only up to there.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT
from .lanes import WIDTH, copies, fma, load, splat, store
from .layer import power_of_two
from .parts import EMPTY
from .products import ROWS, aligned, rows

__all__ = ["powered"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}
# called from compiled code alone: no wrappers, and kept with their callers
_INNER = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_EPS = 2.0**-52
# mean of |z| over |Re z| + |Im z|, which costs no root
_DIAMOND = 0.785


@nb.njit(**_INNER)
def _wide(d):
    """Return the stored columns: whole pairs of vectors."""
    w = 2 * (WIDTH // 8)
    return -(-d // w) * w


@nb.njit(**_INNER)
def _real_block(M, m, X, x, out, o, row, wide, first, last):
    """Four rows and two vectors of M X, of terms first .. last - 1; M at m has ``row`` stored columns."""
    w = WIDTH // 8
    zero = splat(X, 0.0)
    a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = zero
    for k in range(first, last):
        at = x + k * wide
        p, q = load(X, at), load(X, at + w)
        s = copies(M, m + k)
        a0, a1 = fma(s, p, a0), fma(s, q, a1)
        s = copies(M, m + row + k)
        b0, b1 = fma(s, p, b0), fma(s, q, b1)
        s = copies(M, m + 2 * row + k)
        c0, c1 = fma(s, p, c0), fma(s, q, c1)
        s = copies(M, m + 3 * row + k)
        d0, d1 = fma(s, p, d0), fma(s, q, d1)
    store(out, o, a0)
    store(out, o + w, a1)
    store(out, o + wide, b0)
    store(out, o + wide + w, b1)
    store(out, o + 2 * wide, c0)
    store(out, o + 2 * wide + w, c1)
    store(out, o + 3 * wide, d0)
    store(out, o + 3 * wide + w, d1)


@nb.njit(**_INNER)
def _complex_block(M, m, X, x, out, o, row, wide, first, last):
    """The same of complex matrices (2, flat): real parts, imaginary parts."""
    w = WIDTH // 8
    real, imaginary = M[0], M[1]
    Xr, Xi = X[0], X[1]
    zero = splat(Xr, 0.0)
    a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = zero
    e0 = e1 = f0 = f1 = g0 = g1 = h0 = h1 = zero
    for k in range(first, last):
        at = x + k * wide
        p, q, r, s = load(Xr, at), load(Xr, at + w), load(Xi, at), load(Xi, at + w)
        y, z = copies(real, m + k), copies(imaginary, m + k)
        a0, a1, e0, e1 = fma(y, p, a0), fma(y, q, a1), fma(y, r, e0), fma(y, s, e1)
        e0, e1 = fma(z, p, e0), fma(z, q, e1)
        z = zero - z
        a0, a1 = fma(z, r, a0), fma(z, s, a1)
        y, z = copies(real, m + row + k), copies(imaginary, m + row + k)
        b0, b1, f0, f1 = fma(y, p, b0), fma(y, q, b1), fma(y, r, f0), fma(y, s, f1)
        f0, f1 = fma(z, p, f0), fma(z, q, f1)
        z = zero - z
        b0, b1 = fma(z, r, b0), fma(z, s, b1)
        y, z = copies(real, m + 2 * row + k), copies(imaginary, m + 2 * row + k)
        c0, c1, g0, g1 = fma(y, p, c0), fma(y, q, c1), fma(y, r, g0), fma(y, s, g1)
        g0, g1 = fma(z, p, g0), fma(z, q, g1)
        z = zero - z
        c0, c1 = fma(z, r, c0), fma(z, s, c1)
        y, z = copies(real, m + 3 * row + k), copies(imaginary, m + 3 * row + k)
        d0, d1, h0, h1 = fma(y, p, d0), fma(y, q, d1), fma(y, r, h0), fma(y, s, h1)
        h0, h1 = fma(z, p, h0), fma(z, q, h1)
        z = zero - z
        d0, d1 = fma(z, r, d0), fma(z, s, d1)
    to, too = out[0], out[1]
    store(to, o, a0)
    store(to, o + w, a1)
    store(to, o + wide, b0)
    store(to, o + wide + w, b1)
    store(to, o + 2 * wide, c0)
    store(to, o + 2 * wide + w, c1)
    store(to, o + 3 * wide, d0)
    store(to, o + 3 * wide + w, d1)
    store(too, o, e0)
    store(too, o + w, e1)
    store(too, o + wide, f0)
    store(too, o + wide + w, f1)
    store(too, o + 2 * wide, g0)
    store(too, o + 2 * wide + w, g1)
    store(too, o + 3 * wide, h0)
    store(too, o + 3 * wide + w, h1)


@nb.njit(**_INNER)
def _product(M, X, out, n, row, wide, count, reach, square):
    """out = M X, of matrices (1 or 2, flat); X has ``count`` columns, of ``wide`` that there is room for.

    ``reach`` (n,): columns behind which a row of M, and all before it, are zero; ``square``: X is M.
    """
    w = 2 * (WIDTH // 8)
    for column in range(0, count, w):
        first = 0  # rows before have nothing in these columns
        if square:
            while first < n and reach[first] <= column:
                first += 1
        for i in range(0, n, ROWS):
            last = reach[min(i + ROWS, n) - 1]
            if M.shape[0] == 1:
                _real_block(M[0], i * row, X[0], column, out[0], i * wide + column, row, wide, first, last)
            else:
                _complex_block(M, i * row, X, column, out, i * wide + column, row, wide, first, last)


@nb.njit(**_INNER)
def _sizes(X, size, out):
    """About |z| of every entry of X (1 or 2, flat)."""
    if X.shape[0] == 1:
        for k in range(size):
            out[0, k] = abs(X[0, k])
    else:
        for k in range(size):
            out[0, k] = _DIAMOND * (abs(X[0, k]) + abs(X[1, k]))


@nb.njit(**_INNER)
def _rounded(X, terms, pattern, n, wide, count):
    """Add one rounding of sums of ``terms`` to the real parts, a pattern (n, count) of them."""
    for i in range(n):
        at = i * wide
        for j in range(count):
            X[0, at + j] += terms[0, at + j] * (_EPS * pattern[i, j])


@nb.njit(**_INNER)
def _shift(x):
    """The power of two that brings x to [1, 2), 0 for x = 0."""
    return 1.0 - math.frexp(x)[1] if x > 0 else 0.0


@nb.njit(**_INNER)
def _scaled(M, size):
    """Bring the largest entry of M (1 or 2, flat) to about 1; return the exponent taken out."""
    top = 0.0
    for c in range(M.shape[0]):
        for k in range(size):
            top = max(top, abs(M[c, k]))
    shift = _shift(top)
    factor = power_of_two(shift)
    for c in range(M.shape[0]):
        for k in range(size):
            M[c, k] *= factor
    return -shift


@nb.njit(**_INNER)
def _scaled_columns(X, n, wide, count, e, top):
    """Bring the largest entry of each column to about 1, and count in e what that takes out.

    ``top``: by what each is multiplied, 0 where it is zero.
    """
    top[:] = 0.0
    for c in range(X.shape[0]):
        for i in range(n):
            for j in range(count):
                top[j] = max(top[j], abs(X[c, i * wide + j]))
    for j in range(count):
        shift = _shift(top[j])
        e[j] -= shift
        top[j] = power_of_two(shift) if top[j] > 0 else 0.0
    for c in range(X.shape[0]):
        for i in range(n):
            for j in range(count):
                X[c, i * wide + j] *= top[j]


@nb.njit(**_COMPILE)
def powered(
    mu, x, e, deflated, through, reach, steps, twin, on_matrix, on_vectors, own, columns, exponents
):  # fmt: skip
    """Multiply every x by I - through + mu deflated to the powers ``steps``.

    Parameters
    ----------
    mu : (c, k) float64, real and, where c = 2, imaginary parts
    x : (c, k, n) float64, vectors of size 2**e; those of the last step are left there
    e : (k,) float64, the same
    deflated, through : (n, n) float64
    reach : (n,) int, columns behind which a row of either, and all before it, are zero; increasing, >= i + 1
    steps : (t,) int, powers >= 0
    twin : bool, whether every product is off by one rounding
    on_matrix, on_vectors : (bits, n, n), (n, all), how each is: of matrices, and of the columns that are
        multiplied for each bit of ``steps``, one bit behind the other; empty where not ``twin``
    own : (k,) int, where each vector x is written: x itself where it is real, else 2 Re x and, behind it,
        -2 Im x, what a pair of conjugates adds up to
    columns : (d, n, t), written
    exponents : (d, t), written, ``EMPTY`` of a vector that is zero
    """
    parts, vectors, n = x.shape
    t = steps.size
    like = e
    row, wide, height = _wide(n), _wide(t), rows(n)
    size = height * row
    X, some = _room(parts, height * wide, like), _room(parts, height * wide, like)
    product = _room(parts, height * wide, like)
    M, squared = _room(parts, size, like), _room(parts, size, like)
    sizes, terms = _room(1, size, like), _room(1, size, like)
    some_sizes, some_terms = _room(1, height * wide, like), _room(1, height * wide, like)
    top, chosen, sizes_of = np.empty(t), np.empty(t, np.int64), np.empty(t)
    bits, highest = 0, steps.max()
    while highest >> bits:
        bits += 1
    for v in range(vectors):
        M[:] = 0.0
        for i in range(n):
            for j in range(reach[i]):
                at = i * row + j
                one = 1.0 if i == j else 0.0
                M[0, at] = one - through[i, j] + mu[0, v] * deflated[i, j]
                if parts == 2:
                    M[1, at] = mu[1, v] * deflated[i, j]
                    moved = _DIAMOND * (abs(mu[0, v]) + abs(mu[1, v])) * abs(deflated[i, j])
                else:
                    moved = abs(mu[0, v]) * abs(deflated[i, j])
                if twin and bits > 0:
                    M[0, at] += (one + abs(through[i, j]) + moved) * (_EPS * on_matrix[0, i, j])
        for c in range(parts):
            for i in range(n):
                X[c, i * wide : i * wide + t] = x[c, v, i]
        sizes_of[:] = e[v]
        exponent, begun = 0.0, 0
        for bit in range(bits):
            if twin:
                _sizes(M, size, sizes)
            count = 0
            for k in range(t):
                if steps[k] >> bit & 1:
                    chosen[count] = k
                    count += 1
            if count > 0:
                for c in range(parts):
                    for i in range(n):
                        for k in range(count):
                            some[c, i * wide + k] = X[c, i * wide + chosen[k]]
                _product(M, some, product, n, row, wide, count, reach, False)
                if twin:
                    _sizes(some, height * wide, some_sizes)
                    _product(sizes, some_sizes, some_terms, n, row, wide, count, reach, False)
                    _rounded(product, some_terms, on_vectors[:, begun : begun + count], n, wide, count)
                    begun += count
                for c in range(parts):
                    for i in range(n):
                        for k in range(count):
                            X[c, i * wide + chosen[k]] = product[c, i * wide + k]
                for k in range(count):
                    sizes_of[chosen[k]] += exponent
            if bit + 1 == bits:
                break
            _product(M, M, squared, n, row, row, n, reach, True)
            if twin:
                _product(sizes, sizes, terms, n, row, row, n, reach, True)
                _rounded(squared, terms, on_matrix[bit + 1], n, row, n)
            M, squared = squared, M
            exponent *= 2.0
            if bit % 3 == 0:  # neither products nor what they leave of small numbers leave the range
                exponent += _scaled(M, size)
                _scaled_columns(X, n, wide, t, sizes_of, top)
        _scaled_columns(X, n, wide, t, sizes_of, top)
        for k in range(t):
            if top[k] == 0.0:
                sizes_of[k] = EMPTY
        e[v] = sizes_of[t - 1]
        for c in range(parts):
            factor = 1.0 if parts == 1 else 2.0 - 4.0 * c
            to = own[v] + c
            exponents[to] = sizes_of
            for i in range(n):
                x[c, v, i] = X[c, i * wide + t - 1]
                for k in range(t):
                    columns[to, i, k] = factor * X[c, i * wide + k]


@nb.njit(**_INNER)
def _room(parts, size, like):
    """Zeros (parts, size) that begin at a cache line, as do their rows: size is a multiple of one."""
    return aligned(parts * size, like).reshape(parts, size)
