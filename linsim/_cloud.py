"""Tokens as a centre and the differences from it, each at its own scale, and how wrong they are.

    X = 2**e_centre 1 centre + 2**e_rest rest

Every operation of a Transformer block maps such a cloud to another without
subtracting one token from another: the differences may be 1e-3000 of the centre
and keep their digits.  Where tokens are far apart the centre is 0 and the rest
holds them as they are, so that a token may be 1e-300 of another and a zero row
stays exactly zero.

**Errors are measured, not bounded.**  Beside the k systems run ``probes`` copies of
each, and every operation moves the copies by what it may have rounded, token by
token and entry by entry, times 2**scale.  So a copy differs from its system by
2**scale times one possible error, which went through the same attention, norms,
activations and hooks with all its correlations: what cancels, what is enlarged, what
mixes, needs no rule of its own.  The factor is a power of two that keeps the
difference small (2**-20 of a token; float32 2**-9), because only then is it carried
along linearly, and large, because only then do the copies' own roundings not count.
It never falls below 1: an error as large as the token itself is then one of its
possible fates.  What is reported is the root mean square over the copies times
:data:`SAFETY`, calibrated so that 99.9 percent of true errors are below it.  What
it is not is a bound.

**Floor.**  Collapse can be doubly exponential: exponents triple at each layer and
leave the integers that a double can hold.  Differences below 2**-2**40 are set to
zero and remembered as lost: their logarithm is NaN, not -inf, from there on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import _cloud_passes
from ._namespace import Array, exponent_of, namespace, on_device_of, power_of_two
from ._state import EMPTY, combine, log2, norm, scaled

__all__ = [
    "MOST",
    "SAFETY",
    "Cloud",
    "add",
    "at_scale",
    "copies_for",
    "drawn",
    "each",
    "errors_of",
    "factor_of",
    "gather",
    "is_single",
    "is_spread",
    "linear",
    "normalise",
    "recentre",
    "regathered",
    "regroup",
    "rescaled",
    "select",
    "settle",
    "shaken",
    "size",
    "sizes_of",
    "stretch",
    "whole",
]

#: log2 of the size below which differences are no longer carried
FLOOR = -(2.0**40)


@dataclass(frozen=True, eq=False)
class Cloud:
    """Parts of (K, n, d) tokens, K = (1 + probes) k: k systems, then their copies one after the other.

    Exponents are (K, 1, 1) float64.  The centre is a point that all tokens are near
    to, or exactly 0 (its exponent EMPTY) where there is none; only :func:`recentre`
    makes it their mean.  ``scale`` (k, 1, 1): log2 of the factor of the copies' errors;
    ``lost`` (k, 1, 1) bool: differences have been below :data:`FLOOR`.  ``table``: normal
    numbers, of which ``count`` says where the next operation starts to read.
    ``attention`` as in :class:`linsim._state.State`, on a cloud that is handed out.
    """

    centre: Array  # (K, 1, d)
    rest: Array  # (K, n, d)
    e_centre: Array
    e_rest: Array
    scale: Array
    lost: Array
    probes: int
    table: Array
    count: int
    attention: Callable[[], Sequence[Array]] | None = None

    @property
    def k(self) -> int:
        """Number of systems."""
        return int(self.rest.shape[0]) // (1 + self.probes)


def size(x: Array, exponent: Array) -> Array:
    """log2 of the Frobenius norm of x 2**exponent."""
    return log2(norm(x)) + exponent


# --- copies and their errors ---------------------------------------------------------------

# What is reported, in units of the root mean square over the copies.  Errors end up along the
# direction that grows fastest, so that one number decides for all: with p copies the quotient
# follows Student's t with p degrees of freedom.
SAFETY = {6: 6.0, 4: 8.0, 2: 8.0}
# Tokens of so many features have errors of as many directions, and need fewer copies
_FEW, _MANY = 16, 64
_OFFSETS = 4099
#: log2 of the largest factor: one rounding times it is still small beside a token
MOST = {"float32": 14.0, "float64": 32.0}


def copies_for(d: int) -> int:
    """Number of copies of a system with ``d`` features."""
    return 6 if d < _FEW else 4 if d < _MANY else 2


@functools.lru_cache(maxsize=8)
def _numbers(count: int, dtype: str) -> np.ndarray[Any, Any]:
    out: np.ndarray[Any, Any] = np.random.default_rng(2**31 - 1).standard_normal(count).astype(dtype)
    out.setflags(write=False)
    return out


def is_single(x: Array) -> bool:
    return bool(x.dtype != namespace(x).float64)


def each(x: Array, cloud: Cloud) -> Array:
    """Return (k or 1, ...) values as (K or 1, ...): one for a system and each of its copies."""
    if x.shape[0] == 1 or cloud.probes == 0:
        return x
    return namespace(x).concat([x] * (1 + cloud.probes), axis=0)


def drawn(cloud: Cloud, shape: Any, number: int) -> Array:
    """Normal numbers for copies of ``shape`` (rows, columns), flat, the same for every system."""
    xp = namespace(cloud.table)
    wanted = cloud.probes * int(shape[0]) * int(shape[1])
    first = (cloud.count * 613 + number * 1021) % _OFFSETS
    flat = cloud.table
    while int(flat.shape[0]) < first + wanted:
        flat = xp.concat([flat, flat[7:]])
    return flat[first : first + wanted]


def factor_of(cloud: Cloud, x: Array) -> Array:
    """How much an entry of size 1 of the copies moves where it is rounded, (k, 1, 1)."""
    factor = 0.25 * float(namespace(x).finfo(x.dtype).eps) * power_of_two(cloud.scale)
    return namespace(x).astype(factor, x.dtype, copy=False)


def shaken(cloud: Cloud, x: Array, terms: Array, number: int = 0) -> Array:
    """Return x (K, r, c) with the copies moved by the rounding of sums of size ``terms``, in units of x.

    ``terms`` (K or k or 1, r or 1, c or 1) is the root mean square of an entry's terms; where it is 0,
    x is exact.  Half a unit in the last place, in the mean square sense a quarter.
    """
    if cloud.probes == 0:
        return x
    xp, k = namespace(x), cloud.k
    K, r, c = (int(extent) for extent in x.shape)
    if terms.shape[0] == K and K > 1:
        terms = terms[k:, ...]
    numbers, factor = drawn(cloud, (r, c), number), factor_of(cloud, x)
    if _cloud_passes.usable(x):
        return _cloud_passes.shaken(x, terms, numbers, factor)
    shape = (cloud.probes, k) if terms.shape[0] == K - k else (1, terms.shape[0])
    terms = xp.reshape(terms, (*shape, *terms.shape[1:]))
    moved = factor[None, ...] * terms * xp.reshape(numbers, (cloud.probes, 1, r, c))
    copies = xp.reshape(x[k:, ...], (cloud.probes, k, r, c)) + moved
    return xp.concat([x[:k, ...], xp.reshape(copies, (K - k, r, c))], axis=0)


def _after(cloud: Cloud, **parts: Any) -> Cloud:
    """The cloud with other parts; the next operation reads other random numbers."""
    return replace(cloud, count=cloud.count + 1, **parts)


def errors_of(cloud: Cloud, x: Array, e: Array) -> tuple[Array, Array]:
    """What the copies of x 2**e differ by, (probes, k, r, c) as mantissa and exponent."""
    xp, k = namespace(x), cloud.k
    r, c = (int(extent) for extent in x.shape[1:])
    copies = xp.reshape(x[k:, ...], (cloud.probes, k, r, c))
    e_copies = xp.reshape(e[k:, ...], (cloud.probes, k, 1, 1))
    return combine(copies, e_copies, -x[None, :k, ...], e[None, :k, ...])


def rescaled(cloud: Cloud, shift: Array) -> Cloud:
    """Multiply the errors of the copies by 2**shift, (k, 1, 1)."""
    if cloud.probes == 0:
        return cloud
    xp, k = namespace(cloud.rest), cloud.k

    def moved(x: Array, e: Array) -> tuple[Array, Array]:
        error, e_error = errors_of(cloud, x, e)
        nothing = e_error <= EMPTY / 2
        e_error = xp.where(nothing, e_error, e_error + shift[None, ...])
        copies, e_copies = combine(x[None, :k, ...], e[None, :k, ...], error, e_error)
        # a copy far below its system would be lost in the sum
        same = shift[None, ...] == 0
        copies = xp.where(same, xp.reshape(x[k:, ...], copies.shape), copies)
        e_copies = xp.where(same, xp.reshape(e[k:, ...], e_copies.shape), e_copies)
        count = cloud.probes * k
        copies = xp.reshape(copies, (count, *x.shape[1:]))
        return (
            xp.concat([x[:k, ...], copies], axis=0),
            xp.concat([e[:k, ...], xp.reshape(e_copies, (count, 1, 1))], axis=0),
        )

    centre, e_centre = moved(cloud.centre, cloud.e_centre)
    rest, e_rest = moved(cloud.rest, cloud.e_rest)
    return normalise(
        replace(cloud, centre=centre, rest=rest, e_centre=e_centre, e_rest=e_rest, scale=cloud.scale + shift)
    )


def sizes_of(x: Array, e: Array, axis: Any = (-1, -2)) -> Array:
    """log2 of the largest entry along ``axis``: no square that could underflow."""
    xp = namespace(x)
    top = xp.max(xp.abs(x), axis=axis, keepdims=True)
    return log2(xp.astype(top, xp.float64, copy=False)) + e


# --- parts -----------------------------------------------------------------------------------


def gather(x: Array, exponent: Any = 0.0) -> Cloud:
    """Cut (k, n, d) tokens x 2**exponent, taken as exact, into a centre and the rest, and copy them."""
    xp = namespace(x)
    k, n, d = (int(extent) for extent in x.shape)
    zero = xp.zeros((k, 1, 1), dtype=xp.float64, device=x.device)
    probes = copies_for(d)
    name = "float32" if is_single(x) else "float64"
    table = on_device_of(_numbers(probes * n * max(n, d) + _OFFSETS, name), x)
    start = zero + MOST["float32" if is_single(x) else "float64"]
    shell = Cloud(x[:, :1, :], x, zero, zero, start, zero > 0, probes, table, 0)
    long = _spanned(x, shell)
    shell = replace(shell, rest=long)
    return regathered(shell, long, _spanned(zero + exponent, shell))


def _spanned(x: Array, cloud: Cloud) -> Array:
    return namespace(x).concat([x] * (1 + cloud.probes), axis=0)


def regathered(cloud: Cloud, x: Array, exponent: Array) -> Cloud:
    """The cloud of other tokens (K, n, d) x 2**exponent."""
    xp = namespace(x)
    x, exponent = _normalised(x, exponent)
    # rows that are equal leave exactly 0, rows that are nearly equal their differences
    first = x[:, :1, :]
    y = x - first
    mean = xp.mean(y, axis=-2, keepdims=True)
    rest = shaken(cloud, y - mean, xp.abs(y) + xp.abs(mean))
    moved = xp.astype(mean != 0, x.dtype)
    centre = shaken(cloud, first + mean, xp.abs(first + mean) * moved + xp.abs(mean), 1)
    near = normalise(_after(cloud, centre=centre, rest=rest, e_centre=exponent, e_rest=exponent))
    spread = is_spread(near)
    if not bool(xp.any(spread)):
        return near
    return select(spread, _apart(near, x, exponent), near)


def is_spread(cloud: Cloud) -> Array:
    """Whether some token is further from the centre than half the centre's length, (k, 1, 1)."""
    xp, k = namespace(cloud.rest), cloud.k
    rest = cloud.rest[:k, ...]
    furthest = xp.max(xp.linalg.vecdot(rest, rest), axis=-1, keepdims=True)[..., None]
    reach = 0.5 * log2(xp.astype(furthest, xp.float64, copy=False)) + cloud.e_rest[:k, ...]
    return reach >= size(cloud.centre[:k, ...], cloud.e_centre[:k, ...]) - 1


def _apart(cloud: Cloud, x: Array, exponent: Array) -> Cloud:
    """Tokens x as they are, around 0."""
    xp = namespace(x)
    empty = xp.full_like(exponent, EMPTY)
    return normalise(
        replace(cloud, centre=xp.zeros_like(x[:, :1, :]), rest=x, e_centre=empty, e_rest=exponent)
    )


def select(condition: Array, x: Cloud, y: Cloud) -> Cloud:
    """Return x where ``condition`` (k, 1, 1) is true, else y."""
    xp = namespace(x.rest)
    long = _spanned(condition, x)
    parts = {
        name: xp.where(long, getattr(x, name), getattr(y, name))
        for name in ("centre", "rest", "e_centre", "e_rest")
    }
    return replace(
        x,
        **parts,
        scale=xp.where(condition, x.scale, y.scale),
        lost=xp.where(condition, x.lost, y.lost),
        count=max(x.count, y.count),
    )


def regroup(cloud: Cloud) -> Cloud:
    """Move the centre to the mean of the tokens, or to 0 where they are far apart."""
    return _unless_spread(recentre(cloud), cloud)


def settle(cloud: Cloud) -> Cloud:
    """:func:`regroup` for a centre that is the mean of the tokens already."""
    return _unless_spread(cloud, cloud)


def _unless_spread(centred: Cloud, cloud: Cloud) -> Cloud:
    xp = namespace(cloud.rest)
    spread = is_spread(centred)
    if not bool(xp.any(spread)):
        return centred
    full, e = whole(cloud)
    # only where there was a centre has anything been added
    terms = xp.where(cloud.e_centre > EMPTY / 2, xp.abs(full), xp.zeros_like(full))
    return select(spread, _apart(centred, shaken(centred, full, terms), e), centred)


def whole(cloud: Cloud) -> tuple[Array, Array]:
    """Return all tokens (K, n, d) as (mantissa, exponent)."""
    return combine(cloud.centre, cloud.e_centre, cloud.rest, cloud.e_rest)


def normalise(cloud: Cloud) -> Cloud:
    """Bring the largest entry of either part into [1, 2), exactly, through its exponent."""
    xp = namespace(cloud.rest)
    centre, e_centre = _normalised(cloud.centre, cloud.e_centre)
    rest, e_rest = _normalised(cloud.rest, cloud.e_rest)
    low = (e_rest < FLOOR) & (e_rest > EMPTY)
    # where some copies have no differences and others have, 0 is but one of the values they could have
    nothing = xp.reshape(e_rest <= EMPTY / 2, (-1, cloud.k, 1, 1))
    lost = cloud.lost | (xp.any(nothing, axis=0) & ~xp.all(nothing, axis=0))
    if bool(xp.any(low)):
        rest = xp.where(low, xp.zeros_like(rest), rest)
        e_rest = xp.where(low, xp.full_like(e_rest, EMPTY), e_rest)
        lost = lost | xp.any(xp.reshape(low, (-1, cloud.k, 1, 1)), axis=0)
    return replace(cloud, centre=centre, rest=rest, e_centre=e_centre, e_rest=e_rest, lost=lost)


def _normalised(x: Array, exponent: Array) -> tuple[Array, Array]:
    xp = namespace(x)
    if _cloud_passes.usable(x):
        x, shift = _cloud_passes.normalised(x)
        return x, xp.where(shift == EMPTY, shift, exponent + shift)
    top, bottom = (f(x, axis=(-1, -2), keepdims=True) for f in (xp.max, xp.min))
    shift = exponent_of(xp.maximum(top, -bottom))
    zero = shift == -xp.inf
    shift = xp.where(zero, xp.zeros_like(shift), shift)
    factor = xp.astype(power_of_two(-shift), x.dtype, copy=False)
    return x * factor, xp.where(zero, xp.full_like(shift, EMPTY), exponent + shift)


def linear(cloud: Cloud, W: Array) -> Cloud:
    """Return X W for W (k or 1, d, d')."""
    xp = namespace(W)
    height = xp.astype(norm(W) / float(np.sqrt(W.shape[-1])), W.dtype, copy=False)
    height = each(height, cloud)

    def times(x: Array, number: int) -> Array:
        length = xp.sqrt(xp.linalg.vecdot(x, x))[..., None]
        # systems and their copies: one matrix serves both
        split = xp.reshape(x, (1 + cloud.probes, cloud.k, *x.shape[1:]))
        y = xp.reshape(split @ W, (*x.shape[:-1], W.shape[-1]))
        return shaken(cloud, y, length * height, number)

    return normalise(_after(cloud, centre=times(cloud.centre, 0), rest=times(cloud.rest, 1)))


def stretch(cloud: Cloud, factor: Array | float) -> Cloud:
    """Return the cloud times ``factor``, a number or (k, 1, 1)."""
    xp = namespace(cloud.rest)
    factor = xp.zeros_like(cloud.scale) + factor
    small = _spanned(xp.astype(factor, cloud.rest.dtype, copy=False), cloud)
    centre, rest = cloud.centre * small, cloud.rest * small
    return normalise(
        _after(
            cloud,
            centre=shaken(cloud, centre, xp.abs(centre)),
            rest=shaken(cloud, rest, xp.abs(rest), 1),
        )
    )


def add(x: Cloud, y: Cloud) -> Cloud:
    """Return the tokens of x plus those of y."""
    xp = namespace(x.rest)
    scale = xp.minimum(x.scale, y.scale)
    if bool(xp.any(x.scale != y.scale)):
        x, y = rescaled(x, scale - x.scale), rescaled(y, scale - y.scale)
    count = max(x.count, y.count)
    cloud = replace(x, count=count, lost=x.lost | y.lost)

    def total(part: str, number: int) -> tuple[Array, Array]:
        a, e_a = getattr(x, part), getattr(x, f"e_{part}")
        b, e_b = getattr(y, part), getattr(y, f"e_{part}")
        if cloud.probes and _cloud_passes.usable(a):
            e = xp.maximum(e_a, e_b)
            sides = (a, power_of_two(e_a - e), b, power_of_two(e_b - e))
            numbers = drawn(cloud, a.shape[1:], number)
            return _cloud_passes.added(*sides, numbers, factor_of(cloud, a)), e
        both, e = combine(a, e_a, b, e_b)
        # a sum with nothing is exact
        inexact = (a != 0) & (b != 0)
        return shaken(cloud, both, xp.where(inexact, xp.abs(both), xp.zeros_like(both)), number), e

    centre, e_centre = total("centre", 0)
    rest, e_rest = total("rest", 1)
    return normalise(_after(cloud, centre=centre, rest=rest, e_centre=e_centre, e_rest=e_rest))


def recentre(cloud: Cloud) -> Cloud:
    """Make the centre the mean of the tokens."""
    xp = namespace(cloud.rest)
    mean = xp.mean(cloud.rest, axis=-2, keepdims=True)
    spread = xp.mean(xp.abs(cloud.rest), axis=-2, keepdims=True)
    mean = shaken(cloud, mean, spread, 2)
    centre, e_centre = combine(cloud.centre, cloud.e_centre, mean, cloud.e_rest)
    centre = shaken(cloud, centre, xp.abs(centre), 1)
    if cloud.probes and _cloud_passes.usable(mean):
        numbers = drawn(cloud, cloud.rest.shape[1:], 0)
        rest = _cloud_passes.from_mean(cloud.rest, mean, numbers, factor_of(cloud, mean))
    else:
        rest = shaken(cloud, cloud.rest - mean, xp.abs(cloud.rest) + xp.abs(mean))
    return normalise(_after(cloud, centre=centre, rest=rest, e_centre=e_centre))


def at_scale(cloud: Cloud) -> tuple[Array, Array, Array]:
    """Return (centre, ratio, s): X = 2**s (centre + ratio rest), the larger part of order one."""
    xp = namespace(cloud.rest)
    s = xp.maximum(cloud.e_centre, cloud.e_rest)
    ratio = xp.astype(power_of_two(cloud.e_rest - s), cloud.rest.dtype, copy=False)
    return scaled(cloud.centre, cloud.e_centre - s), ratio, s
