"""The nonlinear parts of a block on clouds of tokens: norm, activation, attention, de-escalation.

Each is written for differences: where f is applied to centre + ratio rest, what
is computed is (f(centre + ratio rest) - f(centre)) / ratio, in a form that stays
accurate when the ratio is so small that it is zero in double precision.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._attend import Projections, masked_softmax, softmax_scale
from ._cloud import (
    Cloud,
    add,
    at_scale,
    each,
    is_spread,
    linear,
    normalise,
    product_rounding,
    reach_of,
    recentre,
    regroup,
    select,
    shaken,
    size,
    tamed,
    tamed_to,
)
from ._namespace import Array, erfc, exponent_of, namespace, power_of_two
from ._state import EMPTY, combine, log2

__all__ = [
    "ACTIVATIONS",
    "activate",
    "attend",
    "attend_fixed",
    "attention_of",
    "contract_mean",
    "layer_norm",
    "reach_similarity",
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

    def dot(x: Array, y: Array) -> Array:
        return xp.linalg.vecdot(x, y)[..., None] / d

    m_c, m_i = 0.0, 0.0
    if centring:
        # features that are all equal leave exactly 0
        low_c, low_z = c[..., :1], z[..., :1]
        c, z = c - low_c, z - low_z
        m_c, m_z = xp.mean(c, axis=-1, keepdims=True), xp.mean(z, axis=-1, keepdims=True)
        c = shaken(cloud, c - m_c, xp.abs(c) + xp.abs(m_c), 3)
        z = shaken(cloud, z - m_z, xp.abs(z) + xp.abs(m_z), 2)
        m_c = m_c + low_c
        m_i = m_c + ratio * (m_z + low_z)
    x = c + ratio * z
    # tokens at their own power of two: squares of small ones would underflow
    top = exponent_of(xp.max(xp.abs(x), axis=-1, keepdims=True))
    top = power_of_two(xp.where(top == -xp.inf, xp.zeros_like(top), xp.maximum(top, -1000.0)))
    top = xp.astype(top, z.dtype, copy=False)
    v_c, v_i = dot(c, c), dot(x / top, x / top)
    seen = (8 * float(xp.finfo(z.dtype).eps)) ** 2
    # copies of a token that is mostly rounding show what else it could have become
    strict = xp.zeros_like(ratio)
    strict = xp.concat([strict[:k, ...] + seen, strict[k:, ...]], axis=0)
    flat_c = v_c <= seen * (v_c + m_c * m_c)
    flat_c = xp.concat([flat_c[:k, ...]] * (1 + cloud.probes), axis=0)
    flat = v_i <= strict * (v_i + (m_i / top) ** 2)
    # In units of 2**s the numerator is of order one.  A positive eps outweighs
    # tokens far below it: then the output keeps their scale.
    out = xp.minimum(s, xp.zeros_like(s)) if eps > 0 else xp.zeros_like(s)
    shrunk = xp.astype(power_of_two(out), z.dtype, copy=False)
    floor = xp.astype(float(np.sqrt(eps)) * power_of_two(-(s - out)), z.dtype, copy=False)
    s_c, s_i = xp.hypot(xp.sqrt(v_c) * shrunk, floor), xp.hypot(top * xp.sqrt(v_i) * shrunk, floor)
    none = xp.zeros_like(s_i)
    g = c * xp.where(flat_c, none[:, :1, :], 1 / xp.where(flat_c, xp.ones_like(s_c), s_c))
    s_c = xp.where(flat_c, floor + 0 * s_c, s_c)
    inside = xp.where(flat, none, 1 / xp.where(flat, xp.ones_like(s_i), s_i))
    cross = (2 * dot(c, z) + ratio * dot(z, z)) * shrunk * shrunk
    turn = cross * inside / xp.where(flat, xp.ones_like(s_i), s_i + s_c)
    # a token without variance lies at -g from the centre, at the scale of the differences
    turn = xp.where(flat, _inverse(ratio), turn)
    straight, turned = z * inside, g * turn
    rest = straight - turned
    terms = xp.abs(straight) + xp.abs(turned)
    e_rest = xp.where(cloud.e_rest <= EMPTY / 2, cloud.e_rest, cloud.e_rest - s + out)
    if gain is not None:
        factor = each(xp.astype(gain, z.dtype, copy=False), cloud)
        g, rest, terms = g * factor, rest * factor, terms * xp.abs(factor)
    normed = replace(
        cloud,
        centre=shaken(cloud, g, xp.abs(g), 1),
        rest=shaken(cloud, rest, terms),
        e_centre=out,
        e_rest=e_rest,
        count=cloud.count + 1,
    )
    normed = regroup(normalise(normed))
    return normed if bias is None else regroup(_shifted(normed, bias))


def _inverse(ratio: Array) -> Array:
    """1 / ratio, and 1 where that would overflow."""
    xp = namespace(ratio)
    safe = ratio >= 4 * float(xp.finfo(ratio.dtype).smallest_normal)
    return 1 / xp.where(safe, ratio, xp.ones_like(ratio))


def _shifted(cloud: Cloud, bias: Array) -> Cloud:
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


# --- activations ---------------------------------------------------------------------------

# Differences of an activation come from a Taylor series at the centre where all
# arguments differ by less than this, else from values: 6 bits are lost at most.
_NEAR = 2.0**-6
_TERMS = 9


@dataclass(frozen=True)
class Activation:
    """A function and its derivatives 1 to 9 at once, homogeneous beyond large arguments."""

    value: Any
    derivatives: Any  # (x, count) -> list of count arrays
    bounded: bool
    weight: Any  # x -> relative rounding of the value, in roundings of x


@functools.cache
def _gelu_polynomials() -> list[np.polynomial.Polynomial]:
    """q_k with GELU^(k)(x) = p(x) q_k(x), p the normal density, for k = 2 .. 9."""
    x = np.polynomial.Polynomial([0, 1])
    q = [2 - x**2]
    while len(q) < _TERMS - 1:
        q.append(q[-1].deriv() - x * q[-1])
    return q


@functools.cache
def _tanh_polynomials() -> list[np.polynomial.Polynomial]:
    """r_k with tanh^(k) = (1 - t^2) r_k(t), t = tanh, for k = 1 .. 9."""
    t = np.polynomial.Polynomial([0, 1])
    r = [np.polynomial.Polynomial([1.0])]
    while len(r) < _TERMS:
        r.append(r[-1].deriv() * (1 - t**2) - 2 * t * r[-1])
    return r


def _horner(coefficients: Any, x: Array) -> Array:
    result = namespace(x).zeros_like(x)
    for coefficient in list(coefficients)[::-1]:
        result = result * x + float(coefficient)
    return result


def _normal(x: Array) -> tuple[Array, Array]:
    """Distribution function and density of N(0, 1)."""
    xp = namespace(x)
    density = xp.exp(-0.5 * xp.minimum(x * x, xp.full_like(x, 1400.0))) * float(1 / np.sqrt(2 * np.pi))
    return 0.5 * erfc(-x * float(np.sqrt(0.5))), density


def _gelu(x: Array) -> Array:
    return x * 0.5 * erfc(-x * float(np.sqrt(0.5)))


def _tail(x: Array) -> Array:
    """1 + x^2 for x < 0, where x Phi(x) is nearly exp(-x^2 / 2)."""
    low = namespace(x).clip(x, -40.0, 0.0)
    return 1 + low * low


def _gelu_derivatives(x: Array, count: int) -> list[Array]:
    share, p = _normal(x)
    small = namespace(x).clip(x, -60.0, 60.0)  # beyond, the density is zero
    return [share + small * p, *(p * _horner(q.coef, small) for q in _gelu_polynomials()[: count - 1])]


def _tanh_derivatives(x: Array, count: int) -> list[Array]:
    xp = namespace(x)
    decay = xp.exp(-2 * xp.minimum(xp.abs(x), xp.full_like(x, 700.0)))
    slope = 4 * decay / (1 + decay) ** 2
    t = xp.tanh(x)
    return [slope * _horner(r.coef, t) for r in _tanh_polynomials()[:count]]


def _tanh(x: Array) -> Array:
    return namespace(x).tanh(x)


ACTIVATIONS: dict[str, Activation | None] = {
    "linear": None,
    "relu": None,
    "tanh": Activation(_tanh, _tanh_derivatives, bounded=True, weight=lambda x: 1.0 + 0 * x),
    "gelu": Activation(_gelu, _gelu_derivatives, bounded=False, weight=_tail),
}


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
    largest = xp.max(xp.abs(h), axis=(-1, -2), keepdims=True)
    near = xp.concat([(largest < _NEAR)[: cloud.k, ...]] * (1 + cloud.probes), axis=0)
    rest, e_rest = cloud.rest, cloud.e_rest
    weight = activation.weight(x)
    terms = xp.zeros_like(rest)
    direct = e_direct = None
    if not bool(xp.all(near)):
        moved = activation.value(x + h)
        direct, e_direct = moved - value, offset
        terms = xp.where(near, terms, xp.abs(moved) * activation.weight(x + h) + xp.abs(value) * weight)
        rest, e_rest = direct, xp.zeros_like(cloud.e_rest) + offset
    if bool(xp.any(near)):
        biggest = float(xp.max(xp.where(near, largest, xp.zeros_like(largest))))
        bits = 24 if single else 53
        terms = 1 if biggest == 0 else min(_TERMS, 1 + int(np.ceil(bits / -np.log2(biggest))))
        slopes = activation.derivatives(x, terms)
        slope = slopes[-1] / _factorial(terms)
        for k in range(terms - 1, 0, -1):
            slope = slope * h
            slope += slopes[k - 1] / _factorial(k)
        series = slope * cloud.rest
        # beyond the reach of a bounded function nothing moves
        rest = series if direct is None else xp.where(near, series, direct)
        e_rest = cloud.e_rest if e_direct is None else xp.where(near, cloud.e_rest, e_direct)
        terms = xp.where(near, xp.abs(series) * weight, terms)
    out = replace(
        cloud,
        centre=shaken(cloud, value, xp.abs(value) * weight, 1),
        rest=shaken(cloud, rest, terms),
        e_centre=xp.zeros_like(s) + offset,
        e_rest=e_rest,
        count=cloud.count + 1,
    )
    return normalise(out)


def _factorial(k: int) -> float:
    return float(np.prod(np.arange(1, k + 1)))


# --- attention ------------------------------------------------------------------------------


def attend_fixed(cloud: Cloud, A: Array) -> Cloud:
    """Return A X for row-stochastic A (k or 1, n, n), or one for each copy.

    What all tokens take from the first row of A goes to the centre: equal rows
    make tokens that are equal to the last bit.  Tokens that are far apart, and stay
    so, are added up as they are: none takes over the rounding of another.
    """
    xp, k = namespace(A), cloud.k
    if A.shape[0] != cloud.rest.shape[0]:
        A = each(A, cloud)
    first = A[:, :1, :]
    other = A - first
    # a row that is equal to the first is exactly so
    differs = xp.astype(xp.any(other != 0, axis=-1, keepdims=True), A.dtype)
    rest = shaken(cloud, other @ cloud.rest, differs * product_rounding(A + first, cloud.rest), 1)
    near = _with_common(cloud, rest, cloud.e_rest, first)
    apart = cloud.e_centre[:k, ...] <= EMPTY / 2
    if not bool(xp.any(apart)):
        return near
    apart = apart & is_spread(recentre(near))
    if not bool(xp.any(apart)):
        return near
    # one weight of 1 moves a token as it is
    mixes = xp.astype(xp.sum(xp.astype(A != 0, xp.int64), axis=-1, keepdims=True) > 1, A.dtype)
    rest = shaken(cloud, A @ cloud.rest, mixes * product_rounding(A, cloud.rest), 1)
    return select(apart, normalise(replace(cloud, rest=rest, count=near.count)), near)


def _with_common(cloud: Cloud, rest: Array, e_rest: Array, weights: Array) -> Cloud:
    """The cloud with another rest; ``weights`` (K, 1, n) of the old one are added to all."""
    xp = namespace(rest)
    common = shaken(cloud, weights @ cloud.rest, product_rounding(weights, cloud.rest), 2)
    centre, e_centre = combine(cloud.centre, cloud.e_centre, common, cloud.e_rest)
    centre = shaken(cloud, centre, xp.abs(centre), 3)
    return normalise(
        replace(cloud, centre=centre, rest=rest, e_centre=e_centre, e_rest=e_rest, count=cloud.count + 1)
    )


def attend(cloud: Cloud, drawn: Projections, *, normalized: bool, mask: Array | None) -> Cloud:
    """Return A X with A the softmax of the tokens' own scores.

    Without a mask all tokens share what the centre contributes: A = 1 q + D with
    D of the order of rest^2, and D is formed from exp(delta) - 1, so that A X
    differs between tokens by D rest alone and nothing cancels.
    """
    cloud = tamed(cloud)
    found = _scores(cloud, drawn, normalized)
    # what counts is the absolute error of a score
    xp, k = namespace(cloud.rest), cloud.k
    scores = found.shared + found.delta
    moved = xp.reshape(scores[k:, ...], (cloud.probes, k, *scores.shape[1:])) - scores[None, :k, ...]
    largest = xp.max(xp.abs(moved), axis=(0, -1, -2))[:, None, None]
    excess = log2(xp.astype(largest, xp.float64, copy=False)) - reach_of(cloud) / 2
    if bool(xp.any((excess > 0) & (cloud.scale > 0))):
        cloud = tamed_to(cloud, xp.maximum(excess, xp.zeros_like(excess)))
        found = _scores(cloud, drawn, normalized)
        scores = found.shared + found.delta
    raw, e_delta = found.raw, found.e_delta
    near = (size(raw, e_delta) < -1)[:k, ...]
    if mask is not None or not bool(xp.any(near)):
        return _attended_far(cloud, masked_softmax(scores, mask), mask)
    long = xp.concat([near] * (1 + cloud.probes), axis=0)
    q = masked_softmax(found.shared, None)
    small = xp.where(long, found.delta, xp.zeros_like(found.delta))
    # expm1(delta) / delta, from the series where delta has underflowed
    tiny = xp.abs(small) < 1e-8
    ratio = xp.where(tiny, 1 + small / 2, xp.expm1(small) / xp.where(tiny, xp.ones_like(small), small))
    excess = raw * ratio  # at the scale 2**e_delta
    mean = xp.sum(q * excess, axis=-1, keepdims=True)
    factor = power_of_two(xp.where(long, e_delta, xp.full_like(e_delta, EMPTY)))
    D = q * (excess - mean) / (1 + xp.astype(factor, raw.dtype, copy=False) * mean)
    terms = product_rounding(q * (xp.abs(excess) + xp.abs(mean)), cloud.rest)
    rest = shaken(cloud, D @ cloud.rest, terms, 1)
    out = _with_common(cloud, rest, e_delta + cloud.e_rest, q)
    if bool(xp.all(near)):
        return out
    return select(near, out, _attended_far(cloud, masked_softmax(scores, None), None))


def attention_of(cloud: Cloud, drawn: Projections, *, normalized: bool, mask: Array | None) -> Array:
    """Return the softmax of the tokens' own scores, (k, n, n)."""
    found = _scores(tamed(cloud), drawn, normalized)
    return masked_softmax(found.shared + found.delta, mask)[: cloud.k, ...]


def _attended_far(cloud: Cloud, A: Array, mask: Array | None) -> Cloud:
    """A X for weights that are exponentials, some of which may be below the range of their dtype."""
    xp, k = namespace(A), cloud.k
    out = attend_fixed(cloud, A)
    gone = A[:k, ...] == 0
    gone = xp.any(gone if mask is None else gone & mask, axis=(-1, -2), keepdims=True)
    # then differences of that size are not known to be zero
    reach = 0.9 * float(np.log2(float(xp.finfo(A.dtype).smallest_normal)))
    fallen = size(out.rest[:k, ...], out.e_rest[:k, ...]) < (
        size(cloud.rest[:k, ...], cloud.e_rest[:k, ...]) + reach
    )
    held = cloud.e_rest[:k, ...] > EMPTY / 2
    return replace(out, lost=out.lost | (gone & fallen & held))


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores shared + raw 2**e_delta of K systems; ``shared`` (K, 1, n) is the same for all tokens."""

    shared: Array
    raw: Array
    e_delta: Array
    delta: Array


def _scores(cloud: Cloud, drawn: Projections, normalized: bool) -> _Scores:
    xp = namespace(cloud.rest)
    y = layer_norm(cloud, None, None, 0.0, centring=False) if normalized else cloud
    queries, keys = _projected(y, drawn.query), _projected(y, drawn.key)
    transposed = xp.matrix_transpose(keys.rest)
    e_shared, e_delta = queries.e_centre + keys.e_rest, queries.e_rest + keys.e_rest
    # far above 1 the softmax picks the largest score, whatever the factor of both terms
    limit = 900.0 if y.rest.dtype == xp.float64 else 100.0
    over = xp.maximum(xp.maximum(e_shared, e_delta) - limit, xp.zeros_like(e_delta))
    lengths = xp.matrix_transpose(_lengths(keys.rest))
    raw = shaken(cloud, queries.rest @ transposed, _lengths(queries.rest) * lengths, 4)
    shared = shaken(cloud, queries.centre @ transposed, _lengths(queries.centre) * lengths, 5)
    shared = softmax_scale(shared, e_shared - over)
    # the exponential rounds as well
    shared = shaken(cloud, shared, xp.ones_like(shared), 6)
    return _Scores(shared, raw, e_delta, softmax_scale(raw, e_delta - over))


def _lengths(x: Array) -> Array:
    xp = namespace(x)
    return xp.sqrt(xp.linalg.vecdot(x, x))[..., None]


def _projected(cloud: Cloud, matrix: Array | None) -> Cloud:
    return cloud if matrix is None else linear(cloud, matrix)


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
