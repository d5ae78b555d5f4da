"""Errors of copies of a cloud made small enough to be carried along linearly, or as large as that allows."""

from __future__ import annotations

from ._cloud import MOST, Cloud, errors_of, is_single, rescaled, sizes_of, whole
from ._namespace import Array, namespace
from ._state import EMPTY

__all__ = ["reach_of", "tamed", "tamed_to"]

# log2 of how much closer float64 copies begin a layer, so that an activation need not bring them closer
_SPARE = 12.0


def _share(error: Array, of: Array) -> Array:
    """log2 of error / of for each system, the largest over all but the second axis; EMPTY without error."""
    xp = namespace(error)
    there = error > EMPTY / 2
    share = xp.where(of > EMPTY / 2, error - of, xp.full_like(error - of, -EMPTY))
    share = xp.where(there, share, xp.full_like(share, EMPTY))
    return xp.max(share, axis=(0, -1, -2))[:, None, None]


def reach_of(cloud: Cloud) -> float:
    """log2 of how large errors of copies may be beside what they are errors of."""
    return -9.0 if is_single(cloud.rest) else -20.0


def tamed(cloud: Cloud, kind: str = "tokens", *, loosen: bool = False) -> Cloud:
    """Make the errors of the copies small beside what a nonlinear operation looks at.

    kind "tokens": tokens that are far apart one by one, others by their centre and differences;
    "features": each token less the mean of its features; "parts": the mean and the differences;
    "numbers": as tokens, and also beside 1.  ``loosen``: also make small ones larger.
    """
    if cloud.probes == 0:
        return cloud
    xp, k = namespace(cloud.rest), cloud.k
    if kind == "features":
        full, e = whole(cloud)
        full = full - xp.mean(full, axis=-1, keepdims=True)
        error, e_error = errors_of(cloud, full, e)
        share = _share(sizes_of(error, e_error, -1), sizes_of(full[None, :k, ...], e[None, :k, ...], -1))
    else:
        centre, rest = (
            errors_of(cloud, cloud.centre, cloud.e_centre),
            errors_of(cloud, cloud.rest, cloud.e_rest),
        )
        c, z = (
            (cloud.centre[None, :k, ...], cloud.e_centre[None, :k, ...]),
            (
                cloud.rest[None, :k, ...],
                cloud.e_rest[None, :k, ...],
            ),
        )
        share = xp.maximum(_share(sizes_of(*centre), sizes_of(*c)), _share(sizes_of(*rest), sizes_of(*z)))
        if kind != "parts":
            apart = (cloud.e_centre <= EMPTY / 2)[:k, ...]
            rows = _share(sizes_of(*rest, -1), sizes_of(*z, -1))
            share = xp.where(apart, rows, share)
        if kind == "numbers":
            largest = xp.maximum(xp.max(sizes_of(*centre), axis=0), xp.max(sizes_of(*rest), axis=0))
            share = xp.maximum(share, largest + reach_of(cloud) / 2 - reach_of(cloud))
    return tamed_to(cloud, share - reach_of(cloud), loosen=loosen)


def tamed_to(cloud: Cloud, excess: Array, *, loosen: bool = False) -> Cloud:
    """Divide errors of copies by 2**excess (k, 1, 1), but not below the errors themselves."""
    xp = namespace(cloud.rest)
    most = MOST["float32" if is_single(cloud.rest) else "float64"]
    if loosen and not is_single(cloud.rest):
        excess = excess + _SPARE
    wanted = xp.floor(xp.clip(cloud.scale - excess, 0.0, most))
    if not loosen:
        wanted = xp.minimum(wanted, cloud.scale)
    elif not bool(xp.any(xp.abs(wanted - cloud.scale) > 3)):
        return cloud
    shift = wanted - cloud.scale
    return rescaled(cloud, shift) if bool(xp.any(shift != 0)) else cloud
