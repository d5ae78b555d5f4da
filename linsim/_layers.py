"""The parts of a block on clouds of tokens: norm, activation, products, de-escalation.

Each is written for differences: where f is applied to centre + ratio rest, what
is computed is (f(centre + ratio rest) - f(centre)) / ratio, in a form that stays
accurate when the ratio is so small that it is zero in double precision.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import _cloud_passes
from ._activations import ACTIVATIONS, TERMS, Activation
from ._cloud import (
    Cloud,
    add,
    at_scale,
    drawn,
    each,
    factor_of,
    normalise,
    regroup,
    shaken,
    size,
)
from ._cloud_tamed import tamed, tamed_to
from ._namespace import Array, exponent_of, namespace, power_of_two
from ._state import EMPTY, combine, log2, scaled

__all__ = [
    "activate",
    "contract_mean",
    "features_scaled",
    "layer_norm",
    "product",
    "reach_similarity",
    "shifted",
]


# --- layer norm --------------------------------------------------------------------------


def layer_norm(
    cloud: Cloud, gain: Array | None, bias: Array | None, eps: float, *, centring: bool = True
) -> Cloud:
    """Every token, less its mean over features, over its standard deviation; then gain and bias.

    With x = c + q z in one unit, s = sqrt(mean x^2 + eps):
    x/s - c/s_c = q (z/s - (c/s_c) mean(2 c z + q z^2) / (s (s + s_c))).
    A token whose features differ by rounding only has no direction and becomes the bias.
    ``centring`` False leaves the mean in: tokens scaled to root mean square 1.
    """
    cloud = tamed(cloud, "features" if centring else "tokens")
    xp = namespace(cloud.rest)
    c, ratio, s = at_scale(cloud)
    z, d, k = cloud.rest, int(cloud.rest.shape[-1]), cloud.k

    m_c = xp.zeros_like(ratio)
    if centring:
        # features that are all equal leave exactly 0
        low = c[..., :1]
        c = c - low
        mean = xp.mean(c, axis=-1, keepdims=True)
        c, m_c = shaken(cloud, c - mean, xp.abs(c) + xp.abs(mean), 3), mean + low
    v_c = xp.linalg.vecdot(c, c)[..., None] / d
    seen = (8 * float(xp.finfo(z.dtype).eps)) ** 2
    flat_c = v_c <= seen * (v_c + m_c * m_c)
    flat_c = xp.concat([flat_c[:k, ...]] * (1 + cloud.probes), axis=0)
    # In units of 2**s the numerator is of order one.  A positive eps outweighs
    # tokens far below it: then the output keeps their scale.
    out = xp.minimum(s, xp.zeros_like(s)) if eps > 0 else xp.zeros_like(s)
    shrunk = xp.astype(power_of_two(out), z.dtype, copy=False)
    floor = xp.astype(float(np.sqrt(eps)) * power_of_two(-(s - out)), z.dtype, copy=False)
    s_c = xp.hypot(xp.sqrt(v_c) * shrunk, floor)
    g = c * xp.where(flat_c, xp.zeros_like(s_c), 1 / xp.where(flat_c, xp.ones_like(s_c), s_c))
    s_c = xp.where(flat_c, floor, s_c)
    e_rest = xp.where(cloud.e_rest <= EMPTY / 2, cloud.e_rest, cloud.e_rest - s + out)
    factor = None if gain is None else each(xp.astype(gain, z.dtype, copy=False), cloud)
    of_all = (ratio, m_c, shrunk, floor, s_c)
    if cloud.probes and _cloud_passes.usable(z):
        numbers = tuple(drawn(cloud, z.shape[1:], number) for number in (0, 2))
        rest = _cloud_passes.layer_norm(
            z, c, g, factor, of_all, numbers, factor_of(cloud, z), seen, centring=centring
        )
    else:
        rest = _normed_differences(cloud, c, g, factor, of_all, seen, centring=centring)
    g = g if factor is None else g * factor
    normed = replace(
        cloud,
        centre=shaken(cloud, g, xp.abs(g), 1),
        rest=rest,
        e_centre=out,
        e_rest=e_rest,
        count=cloud.count + 1,
    )
    normed = regroup(normalise(normed))
    return normed if bias is None else regroup(shifted(normed, bias))


def _normed_differences(
    cloud: Cloud,
    c: Array,
    g: Array,
    gain: Array | None,
    of_all: tuple[Array, ...],
    seen: float,
    *,
    centring: bool,
) -> Array:
    """What tokens that are normed differ by from the centre that is; arguments as in the compiled form."""
    ratio, m_c, shrunk, floor, s_c = of_all
    xp, z, k = namespace(cloud.rest), cloud.rest, cloud.k

    def dot(x: Array, y: Array) -> Array:
        return xp.linalg.vecdot(x, y)[..., None] / z.shape[-1]

    m_i = m_c
    if centring:
        low = z[..., :1]
        z = z - low
        mean = xp.mean(z, axis=-1, keepdims=True)
        z = shaken(cloud, z - mean, xp.abs(z) + xp.abs(mean), 2)
        m_i = m_c + ratio * (mean + low)
    x = c + ratio * z
    # tokens at their own power of two: squares of small ones would underflow
    top = exponent_of(xp.max(xp.abs(x), axis=-1, keepdims=True))
    top = power_of_two(xp.where(top == -xp.inf, xp.zeros_like(top), xp.maximum(top, -1000.0)))
    top = xp.astype(top, z.dtype, copy=False)
    v_i = dot(x / top, x / top)
    # copies of a token that is mostly rounding show what else it could have become
    strict = xp.zeros_like(ratio)
    strict = xp.concat([strict[:k, ...] + seen, strict[k:, ...]], axis=0)
    flat = v_i <= strict * (v_i + (m_i / top) ** 2)
    s_i = xp.hypot(top * xp.sqrt(v_i) * shrunk, floor)
    none = xp.zeros_like(s_i)
    inside = xp.where(flat, none, 1 / xp.where(flat, xp.ones_like(s_i), s_i))
    cross = (2 * dot(c, z) + ratio * dot(z, z)) * shrunk * shrunk
    turn = cross * inside / xp.where(flat, xp.ones_like(s_i), s_i + s_c)
    # a token without variance lies at -g from the centre, at the scale of the differences
    turn = xp.where(flat, _inverse(ratio), turn)
    straight, turned = z * inside, g * turn
    rest, terms = straight - turned, xp.abs(straight) + xp.abs(turned)
    if gain is not None:
        rest, terms = rest * gain, terms * xp.abs(gain)
    return shaken(cloud, rest, terms)


def _inverse(ratio: Array) -> Array:
    """1 / ratio, and 1 where that would overflow."""
    xp = namespace(ratio)
    safe = ratio >= 4 * float(xp.finfo(ratio.dtype).smallest_normal)
    return 1 / xp.where(safe, ratio, xp.ones_like(ratio))


def shifted(cloud: Cloud, bias: Array) -> Cloud:
    """Add the same vector (k or 1, 1, d) to every token."""
    xp = namespace(cloud.rest)
    zero = xp.zeros_like(cloud.e_centre)
    bias = each(xp.astype(bias, cloud.rest.dtype, copy=False), cloud) + xp.zeros_like(cloud.centre)
    same = replace(
        cloud,
        centre=bias,
        rest=xp.zeros_like(cloud.rest),
        e_centre=zero,
        e_rest=xp.full_like(zero, EMPTY),
        lost=cloud.lost & ~cloud.lost,
    )
    return add(cloud, normalise(same))


def features_scaled(cloud: Cloud, factor: Array) -> Cloud:
    """Multiply every token by the same numbers (k or 1, 1, d), feature by feature."""
    xp = namespace(cloud.rest)
    factor = each(xp.astype(factor, cloud.rest.dtype, copy=False), cloud)
    centre, rest = cloud.centre * factor, cloud.rest * factor
    return normalise(
        replace(
            cloud,
            centre=shaken(cloud, centre, xp.abs(centre)),
            rest=shaken(cloud, rest, xp.abs(rest), 1),
            count=cloud.count + 1,
        )
    )


def product(x: Cloud, y: Cloud) -> Cloud:
    """Return the products of entries: (c + z)(c' + z') has the differences c z' + c' z + z z'."""
    scale = namespace(x.rest).minimum(x.scale, y.scale)
    x, y = tamed_to(x, x.scale - scale), tamed_to(y, y.scale - scale)
    c, z, e_c, e_z = x.centre, x.rest, x.e_centre, x.e_rest
    b, w, e_b, e_w = y.centre, y.rest, y.e_centre, y.e_rest
    one, e_one = combine(c * w, e_c + e_w, b * z, e_b + e_z)
    rest, e_rest = combine(one, e_one, z * w, e_z + e_w)
    xp = namespace(rest)
    sizes = (
        scaled(xp.abs(part), e - e_rest)
        for part, e in ((c * w, e_c + e_w), (b * z, e_b + e_z), (z * w, e_z + e_w))
    )
    cloud = replace(x, lost=x.lost | y.lost, count=max(x.count, y.count) + 1)
    centre = c * b
    return normalise(
        replace(
            cloud,
            centre=shaken(cloud, centre, xp.abs(centre)),
            rest=shaken(cloud, rest, sum(sizes, xp.zeros_like(rest)), 1),
            e_centre=e_c + e_b,
            e_rest=e_rest,
        )
    )


# --- activations ---------------------------------------------------------------------------

# Differences of an activation come from a Taylor series at the centre where all
# arguments differ by less than this, else from values: 6 bits are lost at most.
_NEAR = 2.0**-6


def activate(cloud: Cloud, name: str) -> Cloud:
    """Apply an activation to every entry."""
    if name == "linear":
        return cloud
    return _relu(cloud) if name == "relu" else _smooth(cloud, ACTIVATIONS[name])


def _relu(cloud: Cloud) -> Cloud:
    xp = namespace(cloud.rest)
    c, ratio, _ = at_scale(cloud)
    step = ratio * cloud.rest
    moved = c + step
    zero = xp.zeros_like(step)
    # only a crossing needs numbers, and then both parts are of one scale
    crossing = xp.where(moved > 0, moved, -c + zero) * _inverse(ratio)
    both, none = (c > 0) & (moved > 0), (c <= 0) & (moved <= 0)
    # a centre at 0 exactly, and steps too small to see: the sign decides
    unseen = (c == 0) & (step == 0)
    crossing = xp.where(unseen, xp.maximum(cloud.rest, zero), crossing)
    rest = xp.where(both, cloud.rest, xp.where(none & ~unseen, zero, crossing))
    centre = xp.maximum(cloud.centre, xp.zeros_like(cloud.centre))
    terms = xp.where(both | (none & ~unseen), xp.zeros_like(rest), xp.abs(rest))
    return normalise(replace(cloud, centre=centre, rest=shaken(cloud, rest, terms), count=cloud.count + 1))


def _smooth(cloud: Cloud, activation: Activation | None) -> Cloud:
    assert activation is not None
    cloud = tamed(cloud, "numbers")
    xp = namespace(cloud.rest)
    c, ratio, s = at_scale(cloud)
    single = cloud.rest.dtype != xp.float64
    # far beyond one unit the function is homogeneous, so a clipped scale gives the same values
    reach = 100.0 if single else 450.0
    clipped = xp.clip(s, -reach, reach)
    unit_of = xp.astype(power_of_two(clipped), cloud.rest.dtype, copy=False)
    x, h = c * unit_of, (ratio * unit_of) * cloud.rest
    offset = xp.minimum(s - clipped, xp.zeros_like(s)) if activation.bounded else s - clipped
    value = activation.value(x)
    largest = xp.maximum(xp.max(h, axis=(-1, -2), keepdims=True), -xp.min(h, axis=(-1, -2), keepdims=True))
    near = xp.concat([(largest < _NEAR)[: cloud.k, ...]] * (1 + cloud.probes), axis=0)
    size = xp.abs(value) * activation.weight(x)
    rest, e_rest = cloud.rest, xp.zeros_like(cloud.e_rest) + offset
    if not bool(xp.all(near)):
        if cloud.probes and activation is ACTIVATIONS["gelu"] and _cloud_passes.usable(h):
            numbers = drawn(cloud, h.shape[1:], 0), factor_of(cloud, h)
            rest = _cloud_passes.gelu_differences(x, ratio * unit_of, rest, value, size, *numbers)
        else:
            moved = activation.value(x + h)
            rest = shaken(cloud, moved - value, xp.abs(moved) * activation.weight(x + h) + size)
    if bool(xp.any(near)):
        biggest = float(xp.max(xp.where(near, largest, xp.zeros_like(largest))))
        bits = 24 if single else 53
        terms = 1 if biggest == 0 else min(TERMS, 1 + int(np.ceil(bits / max(1.0, -np.log2(biggest)))))
        h = xp.clip(h, -1.0, 1.0)  # copies of which nothing is known are anywhere
        slopes = activation.derivatives(x, terms)
        slope = slopes[-1] / _factorial(terms)
        for k in range(terms - 1, 0, -1):
            slope = slope * h
            slope += slopes[k - 1] / _factorial(k)
        series = slope * cloud.rest
        # beyond the reach of a bounded function nothing moves
        series = shaken(cloud, series, xp.abs(series) * activation.weight(x))
        rest, e_rest = xp.where(near, series, rest), xp.where(near, cloud.e_rest, e_rest)
    out = replace(
        cloud,
        centre=shaken(cloud, value, size, 1),
        rest=rest,
        e_centre=xp.zeros_like(s) + offset,
        e_rest=e_rest,
        count=cloud.count + 1,
    )
    return normalise(out)


def _factorial(k: int) -> float:
    return float(np.prod(np.arange(1, k + 1)))


# --- de-escalation ----------------------------------------------------------------------------


def contract_mean(cloud: Cloud, factor: Array) -> Cloud:
    """Multiply the mean of a centred cloud by ``factor`` (K, 1, 1): (I - tau Pi) X with factor 1 - tau."""
    xp = namespace(cloud.rest)
    shift = log2(xp.abs(factor))
    small = xp.where(shift <= EMPTY / 2, xp.zeros_like(shift), xp.floor(shift))
    mantissa = factor * power_of_two(-small)
    centre = cloud.centre * xp.astype(mantissa, cloud.centre.dtype, copy=False)
    centre = shaken(cloud, centre, xp.abs(centre))
    return normalise(replace(cloud, centre=centre, e_centre=cloud.e_centre + small, count=cloud.count + 1))


def reach_similarity(cloud: Cloud, similarity: Array) -> Cloud:
    """Multiply the mean of a centred cloud so that token similarity becomes ``similarity`` < 1.

    Tokens that are all alike, or whose mean is exactly zero, stay as they are.
    """
    cloud = tamed(cloud, "parts")
    xp = namespace(cloud.rest)
    n = cloud.rest.shape[-2]
    low, high = size(cloud.centre, cloud.e_centre) + 0.5 * float(np.log2(n)), size(cloud.rest, cloud.e_rest)
    odds = 0.5 * (log2(similarity) - log2(1 - similarity))
    reachable = (low > EMPTY / 2) & (high > EMPTY / 2)
    wanted = xp.where(reachable, odds + high - low, xp.zeros_like(low))
    whole_part = xp.where(wanted <= EMPTY / 2, xp.zeros_like(wanted), xp.floor(wanted))
    part = xp.where(
        wanted <= EMPTY / 2, xp.zeros_like(wanted), xp.exp((wanted - whole_part) * float(np.log(2)))
    )
    contracted = contract_mean(cloud, part)
    return normalise(replace(contracted, e_centre=contracted.e_centre + whole_part))
