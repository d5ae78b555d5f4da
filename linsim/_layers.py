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
    followed,
    linear,
    lost_of,
    normalise,
    passed_on,
    ratio_of,
    recentre,
    select,
    settle,
    size,
    unit,
)
from ._namespace import Array, erfc, namespace, power_of_two
from ._state import EMPTY, add_log2, log2, norm

__all__ = [
    "ACTIVATIONS",
    "activate",
    "attend",
    "attend_fixed",
    "contract_mean",
    "layer_norm",
    "reach_similarity",
]


# --- layer norm --------------------------------------------------------------------------

# Tokens of about one size share errors; log2 of how much smaller than usual one is that does not.
_LOPSIDED = 6.0


def layer_norm(
    cloud: Cloud, gain: Array | None, bias: Array | None, eps: float, *, centring: bool = True
) -> Cloud:
    """Every token, less its mean over features, over its standard deviation; then gain and bias.

    With x = c + q z in one unit, s = sqrt(mean x^2 + eps):
    x/s - c/s_c = q (z/s - (c/s_c) mean(2 c z + q z^2) / (s (s + s_c))).
    A token whose features differ by rounding only has no direction and becomes the bias.
    ``centring`` False leaves the mean in: tokens scaled to root mean square 1.
    """
    xp = namespace(cloud.rest)
    c, ratio, s = at_scale(cloud)
    z, d = cloud.rest, int(cloud.rest.shape[-1])

    def dot(x: Array, y: Array) -> Array:
        return xp.linalg.vecdot(x, y)[..., None] / d

    m_c, m_i = 0.0, 0.0
    if centring:
        m_c, m_z = xp.mean(c, axis=-1, keepdims=True), xp.mean(z, axis=-1, keepdims=True)
        c, z, m_i = c - m_c, z - m_z, m_c + ratio * m_z
    x = c + ratio * z
    v_c, v_i = dot(c, c), dot(x, x)
    seen = (8 * float(xp.finfo(z.dtype).eps)) ** 2
    flat_c, flat = v_c <= seen * (v_c + m_c * m_c), v_i <= seen * (v_i + m_i * m_i)
    # In units of 2**s the numerator is of order one.  A positive eps outweighs
    # tokens far below it: then the output keeps their scale.
    out = xp.minimum(s, xp.zeros_like(s)) if eps > 0 else xp.zeros_like(s)
    shrunk = xp.astype(power_of_two(2 * out), z.dtype, copy=False)
    floor = xp.astype(eps * power_of_two(-2 * (s - out)), z.dtype, copy=False)
    s_c, s_i = xp.sqrt(v_c * shrunk + floor), xp.sqrt(v_i * shrunk + floor)
    none = xp.zeros_like(s_i)
    g = c * xp.where(flat_c, none[:, :1, :], 1 / xp.where(flat_c, xp.ones_like(s_c), s_c))
    s_c = xp.where(flat_c, xp.sqrt(floor) + 0 * s_c, s_c)
    inside = xp.where(flat, none, 1 / xp.where(flat, xp.ones_like(s_i), s_i))
    square = dot(z, z)
    cross = (2 * dot(c, z) + ratio * square) * shrunk
    turn = cross * inside / xp.where(flat, xp.ones_like(s_i), s_i + s_c)
    # a token without variance lies at -g from the centre, at the scale of the differences
    turn = xp.where(flat, _inverse(ratio), turn)
    rest = z * inside - g * turn
    e_rest = xp.where(cloud.e_rest <= EMPTY / 2, cloud.e_rest, cloud.e_rest - s + out)
    stretched = 0.0
    if gain is not None:
        factor = xp.astype(gain, z.dtype, copy=False)
        g, rest = g * factor, rest * factor
        stretched = log2(norm(factor)) - 0.5 * float(np.log2(d))
    # g = c/s_c may be mostly rounding where c is small, but then the rest holds the
    # same g with the other sign: their sum, the mean, has the error of c over s
    across = log2(xp.astype(xp.mean(inside, axis=-2, keepdims=True), xp.float64, copy=False)) - s + out
    # of d directions a generic error loses two: its mean, and that along the token
    lost = (0.5 * float(np.log2(1 - 2 / d)) if d > 2 else EMPTY) if centring else 0.0
    noise_centre = add_log2(cloud.noise_centre + across + lost + stretched, unit(z) + size(g, out))
    terms = xp.sum(xp.astype(d * square * inside * inside, xp.float64, copy=False), axis=-2, keepdims=True)
    terms = 0.5 * log2(terms) + e_rest + stretched
    # a token much smaller than the others is enlarged with what error it has
    before = size(cloud.rest, cloud.e_rest)
    generic = ratio_of(terms, before)
    most = log2(xp.astype(xp.max(inside, axis=-2, keepdims=True), xp.float64, copy=False))
    most = most - s + out + stretched
    lopsided = most > generic + _LOPSIDED
    generic = xp.where(lopsided, most, generic)
    rounding = unit(z) + xp.maximum(terms, size(rest, e_rest))
    normed = Cloud(g, rest, out, e_rest, noise_centre, add_log2(cloud.noise_rest + generic, rounding))
    normed = recentre(normalise(normed))
    after = size(normed.rest, normed.e_rest)
    follow = xp.where(lopsided, most, followed(after, before, generic))
    noise = add_log2(add_log2(cloud.noise_rest + follow, rounding), passed_on(cloud, after))
    normed = replace(normed, noise_rest=noise)
    return settle(normed if bias is None else _shifted(normed, bias))


def _inverse(ratio: Array) -> Array:
    """1 / ratio, and 1 where that would overflow."""
    xp = namespace(ratio)
    safe = ratio >= 4 * float(xp.finfo(ratio.dtype).smallest_normal)
    return 1 / xp.where(safe, ratio, xp.ones_like(ratio))


def _shifted(cloud: Cloud, bias: Array) -> Cloud:
    """Add the same vector (k or 1, 1, d) to every token."""
    xp = namespace(cloud.rest)
    zero = xp.zeros_like(cloud.e_centre)
    bias = xp.astype(bias, cloud.rest.dtype, copy=False) + xp.zeros_like(cloud.centre)
    empty = xp.full_like(zero, EMPTY)
    nothing = Cloud(bias, xp.zeros_like(cloud.rest), zero, empty, empty, empty)
    return add(cloud, normalise(nothing))


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
    "tanh": Activation(_tanh, _tanh_derivatives, bounded=True),
    "gelu": Activation(_gelu, _gelu_derivatives, bounded=False),
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
    gain = ratio_of(size(rest, cloud.e_rest), size(cloud.rest, cloud.e_rest))
    before_centre = size(cloud.centre, cloud.e_centre)
    gain_centre = _along(ratio_of(size(centre, cloud.e_centre), before_centre), before_centre, gain)
    return normalise(
        replace(
            cloud,
            centre=centre,
            rest=rest,
            noise_centre=cloud.noise_centre + gain_centre,
            noise_rest=add_log2(cloud.noise_rest + gain, passed_on(cloud, size(rest, cloud.e_rest))),
        )
    )


def _smooth(cloud: Cloud, activation: Activation | None) -> Cloud:
    assert activation is not None
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
    near = largest < _NEAR
    rest, e_rest = cloud.rest, cloud.e_rest
    before = size(cloud.rest, cloud.e_rest)
    direct = e_direct = None
    if not bool(xp.all(near)):
        direct, e_direct = activation.value(x + h) - value, offset
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
    after = size(rest, e_rest)
    values = size(value, offset) + 0.5 * float(np.log2(rest.shape[-2]))
    rounding = unit(rest) + xp.where(near, after, xp.maximum(after, values))
    before_centre, after_centre = size(cloud.centre, cloud.e_centre), size(value, offset)
    follow = _along(ratio_of(after, before), before, ratio_of(after_centre, before_centre))
    noise_rest = add_log2(cloud.noise_rest + follow, passed_on(cloud, after))
    noise_rest = add_log2(noise_rest, rounding)
    gain = _along(ratio_of(after_centre, before_centre), before_centre, ratio_of(after, before))
    noise_centre = add_log2(cloud.noise_centre + gain, unit(value) + xp.minimum(before_centre, after_centre))
    out = Cloud(value, rest, xp.zeros_like(s) + offset, e_rest, noise_centre, noise_rest)
    return normalise(out)


def _along(own: Array, before: Array, other: Array) -> Array:
    """What happens to the error of a part: as to the part itself, or where that is 0 as to the other."""
    return namespace(own).where(before > EMPTY / 2, own, other)


def _factorial(k: int) -> float:
    return float(np.prod(np.arange(1, k + 1)))


# --- attention ------------------------------------------------------------------------------


def attend_fixed(cloud: Cloud, A: Array, gain: Array | None = None) -> Cloud:
    """Return A X for row-stochastic A; ``gain``: log2 of what A does to errors in the long run.

    What all tokens take from the first row of A goes to the centre: equal rows
    make tokens that are equal to the last bit.
    """
    xp = namespace(A)
    first = A[:, :1, :]
    other = A - first
    rest, common = other @ cloud.rest, first @ cloud.rest
    half = 0.5 * float(np.log2(A.shape[-1]))
    if gain is None:
        gain = log2(norm(A - xp.mean(A, axis=-2, keepdims=True))) - half
    before = size(cloud.rest, cloud.e_rest)
    rounding = unit(A) + before + log2(norm(other)) - half
    noise = add_log2(cloud.noise_rest + gain, rounding)
    return _with_common(cloud, rest, cloud.e_rest, noise, common)


def _with_common(cloud: Cloud, rest: Array, e_rest: Array, noise: Array, common: Array) -> Cloud:
    """The cloud with another rest; ``common`` (k, 1, d), at the scale of the old one, is added to all."""
    xp = namespace(rest)
    nothing = xp.full_like(cloud.e_rest, EMPTY)
    e_rest = xp.maximum(e_rest, nothing)
    moved = Cloud(cloud.centre, rest, cloud.e_centre, e_rest, cloud.noise_centre, xp.maximum(noise, nothing))
    error = add_log2(cloud.noise_rest, unit(rest) + size(cloud.rest, cloud.e_rest))
    error = error - 0.5 * float(np.log2(rest.shape[-2]))
    shift = Cloud(common, xp.zeros_like(rest), cloud.e_rest, nothing, error, nothing)
    return add(normalise(moved), normalise(shift))


def attend(cloud: Cloud, drawn: Projections, *, normalized: bool, mask: Array | None) -> Cloud:
    """Return A X with A the softmax of the tokens' own scores.

    Without a mask all tokens share what the centre contributes: A = 1 q + D with
    D of the order of rest^2, and D is formed from exp(delta) - 1, so that A X
    differs between tokens by D rest alone and nothing cancels.
    """
    xp = namespace(cloud.rest)
    y = layer_norm(cloud, None, None, 0.0, centring=False) if normalized else cloud
    queries, keys = _projected(y, drawn.query), _projected(y, drawn.key)
    transposed = xp.matrix_transpose(keys.rest)
    e_shared, e_delta = queries.e_centre + keys.e_rest, queries.e_rest + keys.e_rest
    # far above 1 the softmax picks the largest score, whatever the factor of both terms
    limit = 900.0 if y.rest.dtype == xp.float64 else 100.0
    over = xp.maximum(xp.maximum(e_shared, e_delta) - limit, xp.zeros_like(e_delta))
    shared = softmax_scale(queries.centre @ transposed, e_shared - over)
    raw = queries.rest @ transposed
    delta = softmax_scale(raw, e_delta - over)
    scores = shared + delta
    near = size(raw, e_delta) < -1
    if mask is not None or not bool(xp.any(near)):
        return _doubted(attend_fixed(cloud, masked_softmax(scores, mask)), cloud, y, scores)
    q = masked_softmax(shared, None)
    small = xp.where(near, delta, xp.zeros_like(delta))
    # expm1(delta) / delta, from the series where delta has underflowed
    tiny = xp.abs(small) < 1e-8
    ratio = xp.where(tiny, 1 + small / 2, xp.expm1(small) / xp.where(tiny, xp.ones_like(small), small))
    excess = raw * ratio  # at the scale 2**e_delta
    mean = xp.sum(q * excess, axis=-1, keepdims=True)
    factor = power_of_two(xp.where(near, e_delta, xp.full_like(e_delta, EMPTY)))
    D = q * (excess - mean) / (1 + xp.astype(factor, raw.dtype, copy=False) * mean)
    rest, e_rest = D @ cloud.rest, e_delta + cloud.e_rest
    # D inherits the relative error of the scores, which is twice that of the rest
    gain = log2(norm(D)) + e_delta
    noise = 2 + add_log2(cloud.noise_rest, unit(D) + size(cloud.rest, cloud.e_rest)) + gain
    out = _doubted(_with_common(cloud, rest, e_rest, noise, q @ cloud.rest), cloud, y, scores)
    if bool(xp.all(near)):
        return out
    return select(near, out, _doubted(attend_fixed(cloud, masked_softmax(scores, None)), cloud, y, scores))


def _projected(cloud: Cloud, matrix: Array | None) -> Cloud:
    return cloud if matrix is None else linear(cloud, matrix, 0.0)  # noise of scores: see _doubted


def _doubted(out: Cloud, cloud: Cloud, y: Cloud, scores: Array) -> Cloud:
    """Add the error of scores that come from tokens y which are lost in rounding."""
    xp = namespace(out.rest)
    half = 0.5 * float(np.log2(y.rest.shape[-2]))
    tokens = xp.maximum(size(y.centre, y.e_centre) + half, size(y.rest, y.e_rest))
    error = xp.maximum(y.noise_centre + half, y.noise_rest) - tokens
    largest = xp.max(xp.abs(scores), axis=(-1, -2), keepdims=True)
    # what counts is the absolute error of a score
    error = error + log2(xp.astype(largest, xp.float64, copy=False))
    nothing = xp.full_like(error, EMPTY)
    spoiled = xp.minimum(error, xp.zeros_like(error)) + size(cloud.rest, cloud.e_rest)
    known = xp.maximum(y.noise_centre, y.noise_rest) > EMPTY / 2
    spoiled = xp.where(known & (error > lost_of(out.rest)), xp.maximum(spoiled, nothing), nothing)
    return replace(
        out,
        noise_rest=add_log2(out.noise_rest, spoiled),
        noise_centre=add_log2(out.noise_centre, spoiled),
    )


# --- de-escalation ----------------------------------------------------------------------------


def contract_mean(cloud: Cloud, factor: Array) -> Cloud:
    """Multiply the mean of a centred cloud by ``factor`` (k, 1, 1): (I - tau Pi) X with factor 1 - tau."""
    xp = namespace(cloud.rest)
    shift = log2(xp.abs(factor))
    small = xp.where(shift <= EMPTY / 2, xp.zeros_like(shift), xp.floor(shift))
    mantissa = factor * power_of_two(-small)
    return normalise(
        replace(
            cloud,
            centre=cloud.centre * xp.astype(mantissa, cloud.centre.dtype, copy=False),
            e_centre=cloud.e_centre + small,
            noise_centre=cloud.noise_centre + shift,
        )
    )


def reach_similarity(cloud: Cloud, similarity: Array) -> Cloud:
    """Multiply the mean of a centred cloud so that token similarity becomes ``similarity`` < 1.

    Tokens that are all alike, or whose mean is exactly zero, stay as they are.
    """
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
    e_centre = contracted.e_centre + whole_part
    # the factor has the relative errors of both parts
    share = xp.where(reachable, cloud.noise_rest - high, xp.full_like(high, EMPTY))
    error = add_log2(contracted.noise_centre + whole_part, size(contracted.centre, e_centre) + share)
    return normalise(replace(contracted, e_centre=e_centre, noise_centre=error))
