"""What a layer does besides mixing: its bias, and bounds on what its terms reach.

The bias is one row for all tokens, so it enters the mean row of a state (see :mod:`.layer`) alone.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .kept import KEPT, NOTHING_NEW
from .lanes import fma, load, splat, store
from .layer import ABSENT, E_MEAN, E_REST, SIZE_MEAN, SIZE_REST, dot, power_of_two, rescale, times

__all__ = ["add_row", "feed", "lower", "reach", "rescale_as_one"]

_COMPILE = {"nogil": True, "error_model": "numpy", **KEPT}


@nb.njit(**_COMPILE)
def reach(A, H):
    """Return about ||A|| ||H||: how much larger than a state the terms of a layer can be."""
    n, d = A.shape[0], H.shape[0]
    columns, x, y, widest = np.zeros(n), np.ones(d), np.empty(d), 0.0
    for i in range(n):
        row = 0.0
        for j in range(n):
            columns[j] += abs(A[i, j])
            row += abs(A[i, j])
        widest = max(widest, row)
    for j in range(d):  # no symmetry that H could share
        x[j] += 0.1 * math.cos(float(j))
    size = 0.0
    for _ in range(4):  # power steps on H^T H
        for i in range(d):
            y[i] = dot(H[i], x)
        x[:] = 0.0
        for i in range(d):
            for j in range(d):
                x[j] += H[i, j] * y[i]
        largest = 0.0
        for j in range(d):
            largest = max(largest, abs(x[j]))
        if largest == 0:
            break
        size = math.sqrt(dot(y, y))
        scale = 1 / largest
        for j in range(d):
            x[j] *= scale
        length = math.sqrt(dot(x, x))
        for j in range(d):
            x[j] /= length
    # what the steps still miss, and ||A||^2 <= largest row sum times largest column sum
    return 1.25 * size * math.sqrt(widest * columns.max())


@nb.njit(**_COMPILE)
def feed(A, H, s):
    """Return ||mean row of A (I - Pi)|| ||H||_F: how much of the rest can reach the mean in a layer.

    ``s``: what rows of A sum to.
    """
    n, d = A.shape[0], H.shape[0]
    mean = np.zeros(n)
    for i in range(n):
        for j in range(n):
            mean[j] += A[i, j]
    for j in range(n):
        mean[j] = (mean[j] - s) / n
    square = 0.0
    for i in range(d):
        square += dot(H[i], H[i])
    uneven = dot(mean, mean)
    return math.sqrt(uneven * square)


@nb.njit(**NOTHING_NEW)
def lower(lay, base, stride, as_one, e, Y, ledger):
    """Hold the mean at no smaller a scale than 2**e, as what is added to it; ``as_one``: the rest too."""
    if e <= ledger[E_MEAN]:
        return
    if ledger[E_MEAN] > ABSENT / 2:
        times(Y, base, stride, lay.mean, lay.mean + 1, power_of_two(ledger[E_MEAN] - e))
    ledger[E_MEAN] = e
    if as_one:
        if ledger[E_REST] > ABSENT / 2:
            times(Y, base, stride, 0, lay.n, power_of_two(ledger[E_REST] - e))
        ledger[E_REST] = e


@nb.njit(**NOTHING_NEW)
def add_row(lay, base, stride, row, e, Y, ledger):
    """Add 2**e times a row, as long as there are stored columns, to every token."""
    w = row.size // base.size
    factor = power_of_two(e - ledger[E_MEAN])
    for k in range(base.size):
        at = base[k] + lay.mean * stride[k]
        store(Y, at, fma(load(row, k * w), splat(Y, factor), load(Y, at)))


@nb.njit(**NOTHING_NEW)
def rescale_as_one(lay, base, stride, Y, ledger):
    """As :func:`.layer.rescale`, both parts at one scale: each must be seen at the other's."""
    rest = ledger[SIZE_REST]
    ledger[SIZE_REST] = max(rest, ledger[SIZE_MEAN])
    rescale(lay, base, stride, True, Y, ledger)
    ledger[SIZE_REST] = rest
