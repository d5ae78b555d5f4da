"""Tokens as a centre and the differences from it, each at its own scale.

    X = 2**e_centre 1 centre + 2**e_rest rest

Every operation of a Transformer block maps such a cloud to another without
subtracting one token from another: the differences may be 1e-3000 of the centre
and keep their digits.  Where tokens are far apart the centre is 0 and the rest
holds them as they are, so that a token may be 1e-300 of another.  The
mean of the tokens and what differs from it carry a *noise* each: log2 of an
estimate of their absolute rounding error.  Attention
multiplies an error by its second eigenvalue, whatever the tokens do; all else
multiplies it like the part itself (fresh weights have no direction that errors
could prefer), unless the part cancels: then like a generic difference.  Each adds
one rounding of the terms that it sums.  So a part that is rounding is known as
such.  What it is not is a bound on the distance to one trajectory: activations can
make blocks chaotic, and then what is computed is a neighbour of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ._namespace import Array, exponent_of, namespace, power_of_two
from ._state import EMPTY, Split, State, add_log2, combine, log2, norm, scaled

__all__ = [
    "Cloud",
    "add",
    "followed",
    "gather",
    "linear",
    "lost_of",
    "normalise",
    "passed_on",
    "ratio_of",
    "recentre",
    "regroup",
    "select",
    "settle",
    "size",
    "state_of",
    "stretch",
    "whole",
]


@dataclass(frozen=True, eq=False)
class Cloud:
    """Parts of (k, n, d) tokens; exponents and noises are (k, 1, 1) float64.

    The centre is a point that all tokens are near to, or 0 where there is none;
    only :func:`recentre` makes it their mean.
    """

    centre: Array  # (k, 1, d)
    rest: Array  # (k, n, d)
    e_centre: Array
    e_rest: Array
    noise_centre: Array
    noise_rest: Array


def size(x: Array, exponent: Array) -> Array:
    """log2 of the Frobenius norm of x 2**exponent."""
    return log2(norm(x)) + exponent


def unit(x: Array) -> float:
    """log2 of the rounding of a sum over the last axis of ``x``."""
    return float(np.log2(float(namespace(x).finfo(x.dtype).eps) * np.sqrt(x.shape[-1])))


def gather(x: Array, exponent: Any = 0.0, noise: Array | None = None) -> Cloud:
    """Cut (k, n, d) tokens x 2**exponent into a centre and the rest."""
    xp = namespace(x)
    zero = xp.zeros((x.shape[0], 1, 1), dtype=xp.float64, device=x.device)
    x, exponent = _normalised(x, zero + exponent)
    exponent = xp.maximum(exponent, zero + EMPTY)
    # rows that are equal leave exactly 0, rows that are nearly equal their differences
    first = x[:, :1, :]
    y = x - first
    mean = xp.mean(y, axis=-2, keepdims=True)
    own = unit(x) + log2(norm(y)) + exponent
    noise = own if noise is None else add_log2(noise, own)
    share = noise - 0.5 * float(np.log2(x.shape[-2]))
    near = Cloud(
        first + mean, y - mean, exponent, exponent, add_log2(share, unit(x) + size(first, exponent)), noise
    )
    near = normalise(near)
    spread = _spread(near.centre, near.rest, near.e_centre, near.e_rest)
    return select(spread, _apart(x, exponent, near), near)


def _spread(centre: Array, rest: Array, e_centre: Array, e_rest: Array) -> Array:
    """Whether some token is further from the centre than half the centre's length, (k, 1, 1)."""
    xp = namespace(rest)
    furthest = xp.max(xp.linalg.vecdot(rest, rest), axis=-1, keepdims=True)[..., None]
    return 0.5 * log2(xp.astype(furthest, xp.float64, copy=False)) + e_rest >= size(centre, e_centre) - 1


def _apart(x: Array, exponent: Array, noise: Cloud) -> Cloud:
    """Tokens as they are, around 0; the noises stay those of their mean and of what differs."""
    xp = namespace(x)
    empty = xp.full_like(exponent, EMPTY)
    zero = xp.zeros_like(x[:, :1, :])
    return normalise(Cloud(zero, x, empty, exponent, noise.noise_centre, noise.noise_rest))


def select(condition: Array, x: Cloud, y: Cloud) -> Cloud:
    """Return x where ``condition`` (k, 1, 1) is true, else y."""
    xp = namespace(x.rest)
    names = [field.name for field in fields(Cloud)]
    return Cloud(*(xp.where(condition, getattr(x, name), getattr(y, name)) for name in names))


def regroup(cloud: Cloud) -> Cloud:
    """Move the centre to the mean of the tokens, or to 0 where they are far apart."""
    return _unless_spread(recentre(cloud), cloud)


def settle(cloud: Cloud) -> Cloud:
    """:func:`regroup` for a centre that is the mean of the tokens already."""
    return _unless_spread(cloud, cloud)


def _unless_spread(centred: Cloud, cloud: Cloud) -> Cloud:
    xp = namespace(cloud.rest)
    spread = _spread(centred.centre, centred.rest, centred.e_centre, centred.e_rest)
    if not bool(xp.any(spread)):
        return centred
    return select(spread, _apart(*whole(cloud), centred), centred)


def lost_of(x: Array) -> float:
    """log2 of the share from which an error moves values from their place.

    Below it is a neighbouring trajectory that is measured.
    """
    return -20.0 if x.dtype == namespace(x).float64 else -6.0


def passed_on(cloud: Cloud, after: Array) -> Array:
    """log2 of the error that a nonlinear operation passes from a lost centre to a rest of size ``after``."""
    xp = namespace(cloud.rest)
    each = size(cloud.rest, cloud.e_rest) - 0.5 * float(np.log2(cloud.rest.shape[-2]))
    share = cloud.noise_centre - xp.maximum(each, size(cloud.centre, cloud.e_centre))
    lost = (share > lost_of(cloud.rest)) & (cloud.noise_centre > EMPTY / 2)
    return xp.where(lost, after + xp.minimum(share, xp.zeros_like(share)), xp.full_like(share, EMPTY))


def whole(cloud: Cloud) -> tuple[Array, Array]:
    """Return all tokens (k, n, d) as (mantissa, exponent)."""
    return combine(cloud.centre, cloud.e_centre, cloud.rest, cloud.e_rest)


def normalise(cloud: Cloud) -> Cloud:
    """Bring the largest entry of either part into [1, 2), exactly, through its exponent."""
    centre, e_centre = _normalised(cloud.centre, cloud.e_centre)
    rest, e_rest = _normalised(cloud.rest, cloud.e_rest)
    return replace(cloud, centre=centre, rest=rest, e_centre=e_centre, e_rest=e_rest)


def _normalised(x: Array, exponent: Array) -> tuple[Array, Array]:
    xp = namespace(x)
    top, bottom = (f(x, axis=(-1, -2), keepdims=True) for f in (xp.max, xp.min))
    shift = exponent_of(xp.maximum(top, -bottom))
    zero = shift == -xp.inf
    shift = xp.where(zero, xp.zeros_like(shift), shift)
    factor = xp.astype(power_of_two(-shift), x.dtype, copy=False)
    return x * factor, xp.where(zero, xp.full_like(shift, EMPTY), exponent + shift)


def ratio_of(after: Array, before: Array) -> Array:
    """log2 of the quotient of two sizes, 0 where the first was nothing."""
    xp = namespace(after)
    return xp.where(before > EMPTY / 2, after - before, xp.zeros_like(before))


# A part that shrinks by more than this against a generic one has cancelled
_CANCELLED = -3.0


def followed(after: Array, before: Array, generic: Array) -> Array:
    """log2 of what happens to an error: that of the part, or the generic one where the part cancels."""
    xp = namespace(after)
    own = ratio_of(after, before)
    return xp.where((own - generic < _CANCELLED) | (before <= EMPTY / 2), generic + 0 * own, own)


def linear(cloud: Cloud, W: Array, gain: Any = None) -> Cloud:
    """Return X W for W (k or 1, d, d'); ``gain``: log2 of what it does to a generic vector, if known.

    With a known and moderate gain the parts are left as they are, not rescaled.
    """
    generic = log2(norm(W)) - 0.5 * float(np.log2(W.shape[-2])) if gain is None else gain
    centre, rest = cloud.centre @ W, cloud.rest @ W
    parts = []
    for old, new, e, noise in (
        (cloud.centre, centre, cloud.e_centre, cloud.noise_centre),
        (cloud.rest, rest, cloud.e_rest, cloud.noise_rest),
    ):
        before = size(old, e)
        grown = noise + followed(size(new, e), before, generic)
        parts.append(add_log2(grown, unit(old) + before + generic))
    out = Cloud(centre, rest, cloud.e_centre, cloud.e_rest, *parts)
    return out if isinstance(gain, float) and abs(gain) < 30 else normalise(out)


def stretch(cloud: Cloud, factor: Array) -> Cloud:
    """Return the cloud times ``factor``, a number or (k, 1, 1)."""
    xp = namespace(cloud.rest)
    factor = xp.zeros_like(cloud.e_rest) + factor
    shift = log2(xp.abs(factor))
    small = xp.astype(factor, cloud.rest.dtype, copy=False)
    return normalise(
        replace(
            cloud,
            centre=cloud.centre * small,
            rest=cloud.rest * small,
            noise_centre=cloud.noise_centre + shift,
            noise_rest=cloud.noise_rest + shift,
        )
    )


def add(x: Cloud, y: Cloud) -> Cloud:
    """Return the tokens of x plus those of y."""
    xp = namespace(x.rest)
    centre, e_centre = combine(x.centre, x.e_centre, y.centre, y.e_centre)
    rest, e_rest = combine(x.rest, x.e_rest, y.rest, y.e_rest)

    def noise(part: str, total: Array, e: Array) -> Array:
        a, b = getattr(x, f"noise_{part}"), getattr(y, f"noise_{part}")
        u = size(getattr(x, part), getattr(x, f"e_{part}"))
        v = size(getattr(y, part), getattr(y, f"e_{part}"))
        generic = 0.5 * add_log2(2 * u, 2 * v)
        both = 0.5 * add_log2(2 * a, 2 * b) + followed(size(total, e), generic, xp.zeros_like(u))
        return add_log2(both, unit(total) + xp.maximum(u, v))

    noises = noise("centre", centre, e_centre), noise("rest", rest, e_rest)
    return normalise(Cloud(centre, rest, e_centre, e_rest, *noises))


def recentre(cloud: Cloud) -> Cloud:
    """Make the centre the mean of the tokens."""
    xp = namespace(cloud.rest)
    mean = xp.mean(cloud.rest, axis=-2, keepdims=True)
    centre, e_centre = combine(cloud.centre, cloud.e_centre, mean, cloud.e_rest)
    rest = cloud.rest - mean
    rounding = unit(cloud.rest) + size(cloud.rest, cloud.e_rest)
    noise = add_log2(cloud.noise_rest, rounding)
    share = noise - 0.5 * float(np.log2(cloud.rest.shape[-2]))
    return normalise(Cloud(centre, rest, e_centre, cloud.e_rest, add_log2(cloud.noise_centre, share), noise))


def state_of(cloud: Cloud, split: Split) -> State:
    """Return a centred cloud as the state that metrics are evaluated on."""
    xp = namespace(cloud.rest)
    k, n = cloud.rest.shape[:2]
    empty = xp.full_like(cloud.e_rest, EMPTY)

    def zeros(rows: int, columns: int) -> Array:
        return xp.zeros((k, rows, columns), dtype=cloud.rest.dtype, device=cloud.rest.device)

    return State(
        split,
        a=zeros(1, 1),
        r=cloud.centre,
        b=zeros(n, 1),
        R=cloud.rest,
        mean=cloud.centre,
        e_a=empty,
        e_r=cloud.e_centre,
        e_b=empty,
        e_R=cloud.e_rest,
        e_mean=cloud.e_centre,
        noise=xp.concat([empty, cloud.noise_centre, empty, cloud.noise_rest, cloud.noise_centre], axis=-1),
    )


def at_scale(cloud: Cloud) -> tuple[Array, Array, Array]:
    """Return (centre, ratio, s): X = 2**s (centre + ratio rest), the larger part of order one."""
    xp = namespace(cloud.rest)
    s = xp.maximum(cloud.e_centre, cloud.e_rest)
    ratio = xp.astype(power_of_two(cloud.e_rest - s), cloud.rest.dtype, copy=False)
    return scaled(cloud.centre, cloud.e_centre - s), ratio, s
