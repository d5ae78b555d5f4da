"""A cloud of tokens as a state that metrics can be evaluated on, with its errors by part and by row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ._cloud import SAFETY, Cloud, errors_of, is_single, recentre, size, sizes_of, whole
from ._namespace import Array, namespace, power_of_two
from ._state import EMPTY, Split, State, add_log2, combine, log2

__all__ = ["rows_of", "state_of"]


def _noise(cloud: Cloud, x: Array, e: Array, *, rows: bool = False) -> Array:
    """log2 of the error of x 2**e as the copies show it, (k, 1 or r, 1)."""
    xp = namespace(x)
    error, e_error = errors_of(cloud, x, e)
    axis = -1 if rows else (-1, -2)
    top = sizes_of(error, xp.zeros_like(e_error), axis)
    there = top > EMPTY / 2
    shift = xp.where(there, xp.floor(top), xp.zeros_like(top))
    small = xp.astype(error, xp.float64, copy=False) * power_of_two(-shift)
    squares = log2(xp.sum(small * small, axis=axis, keepdims=True)) + 2 * (shift + e_error)
    squares = xp.where(there, squares, xp.full_like(squares, 2 * EMPTY))
    largest = xp.max(squares, axis=0)
    mean = largest + log2(
        xp.mean(xp.exp(float(np.log(2)) * xp.clip(squares - largest[None, ...], -200.0, 0.0)), axis=0)
    )
    found = 0.5 * mean - cloud.scale + float(np.log2(SAFETY[cloud.probes]))
    return xp.where(largest > EMPTY, found, xp.full_like(found, EMPTY))


def rows_of(cloud: Cloud) -> Array:
    """log2 of the absolute error of each token, (k, n, 1)."""
    return _noise(cloud, *whole(cloud), rows=True)


def state_of(cloud: Cloud, split: Split) -> State:
    """Return a cloud as the state that metrics are evaluated on, with its errors."""
    xp, k, n = namespace(cloud.rest), cloud.k, int(cloud.rest.shape[1])
    rows, (full, e_full) = rows_of(cloud), whole(cloud)
    cloud = recentre(cloud)
    # what tokens lose where they become a mean and the differences from it can be seen
    again, e_again = whole(cloud)
    lost, e_lost = combine(again[:k, ...], e_again[:k, ...], -full[:k, ...], e_full[:k, ...])
    rows = add_log2(rows, sizes_of(lost, e_lost, -1) + 0.5 * float(np.log2(lost.shape[-1])))
    rows = xp.where(rows > EMPTY / 2, rows, xp.full_like(rows, EMPTY))
    noise_centre = _noise(cloud, cloud.centre, cloud.e_centre)
    noise_rest = _noise(cloud, cloud.rest, cloud.e_rest)
    centre, rest = cloud.centre[:k, ...], cloud.rest[:k, ...]
    e_centre, e_rest = cloud.e_centre[:k, ...], cloud.e_rest[:k, ...]
    # Differences that came out as 0 without being so are not seen at any scale; one at which
    # the metrics of the rest of the state lose nothing tells so
    unseen = size(centre, e_centre) + float(np.log2(float(xp.finfo(rest.dtype).eps)))
    hidden = (e_rest <= EMPTY / 2) & (cloud.lost | (noise_rest > EMPTY / 2))
    noise_rest = xp.where(hidden, xp.maximum(noise_rest, unseen), noise_rest)
    empty = xp.full_like(e_rest, EMPTY)

    def zeros(rows: int, columns: int) -> Array:
        return xp.zeros((k, rows, columns), dtype=rest.dtype, device=rest.device)

    state = State(
        split,
        a=zeros(1, 1),
        r=centre,
        b=zeros(n, 1),
        R=rest,
        mean=centre,
        e_a=empty,
        e_r=e_centre,
        e_b=empty,
        e_R=e_rest,
        e_mean=e_centre,
        noise=xp.concat([empty, noise_centre, empty, noise_rest, noise_centre], axis=-1),
        rows=rows,
        attention=cloud.attention,
    )
    if not is_single(rest):
        return state
    samples = []
    for copy in range(1, 1 + cloud.probes):
        own = slice(copy * k, (copy + 1) * k)
        samples.append(
            replace(
                state,
                r=cloud.centre[own, ...],
                R=cloud.rest[own, ...],
                mean=cloud.centre[own, ...],
                e_r=cloud.e_centre[own, ...],
                e_R=cloud.e_rest[own, ...],
                e_mean=cloud.e_centre[own, ...],
            )
        )
    return replace(state, samples=tuple(samples), enlarged=cloud.scale)
