"""Attention on clouds of tokens: fixed, or the softmax of their own scores, one head or several.

Attention is (k or K or 1, heads or 1, n, n).  What the softmax loses in scores it loses in weights of
tokens whose differences are what is mixed: they keep their relative accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ._attend import Projections, cut, joined, masked_softmax, repeated, softmax_scale
from ._cloud import (
    Cloud,
    each,
    is_spread,
    linear,
    normalise,
    recentre,
    select,
    shaken,
    size,
    whole,
)
from ._cloud_tamed import reach_of, tamed, tamed_to
from ._layers import layer_norm, shifted
from ._namespace import Array, namespace, power_of_two
from ._positions import turned
from ._state import EMPTY, combine, log2

__all__ = ["attend", "attend_fixed", "attention_of"]


def attend_fixed(cloud: Cloud, A: Array, heads: int = 1) -> Cloud:
    """Return A X for row-stochastic A (k or 1 or K, heads or 1, n, n), head by head of the features.

    What all tokens take from the first row of A goes to the centre: equal rows
    make tokens that are equal to the last bit.  Tokens that are far apart, and stay
    so, are added up as they are: none takes over the rounding of another.
    """
    xp, k = namespace(A), cloud.k
    if A.shape[0] != cloud.rest.shape[0]:
        A = each(A, cloud)
    first = A[..., :1, :]
    other = A - first
    # a row that is equal to the first is exactly so
    differs = xp.astype(xp.any(other != 0, axis=-1, keepdims=True), A.dtype)
    terms = differs * _terms(A + first, cloud.rest, heads)
    rest = shaken(cloud, _mixed(other, cloud.rest, heads), _by_feature(terms, cloud), 1)
    near = _with_common(cloud, rest, cloud.e_rest, first, heads)
    apart = cloud.e_centre[:k, ...] <= EMPTY / 2
    if not bool(xp.any(apart)):
        return near
    apart = apart & is_spread(recentre(near))
    if not bool(xp.any(apart)):
        return near
    # one weight of 1 moves a token as it is
    mixes = xp.astype(xp.sum(xp.astype(A != 0, xp.int64), axis=-1, keepdims=True) > 1, A.dtype)
    terms = mixes * _terms(A, cloud.rest, heads)
    rest = shaken(cloud, _mixed(A, cloud.rest, heads), _by_feature(terms, cloud), 1)
    return select(apart, normalise(replace(cloud, rest=rest, count=near.count)), near)


def _mixed(A: Array, x: Array, heads: int) -> Array:
    """Return A x for (K, m, heads w) numbers, head by head."""
    return joined(A @ cut(x, heads))


def _terms(A: Array, x: Array, heads: int) -> Array:
    """Root mean square of what the terms of each entry of A x are, (K, heads or 1, r, 1)."""
    xp = namespace(x)
    parts = cut(x, heads)
    squares = xp.linalg.vecdot(parts, parts)[..., None] / parts.shape[-1]
    return xp.sqrt((A * A) @ squares)


def _by_feature(terms: Array, cloud: Cloud) -> Array:
    """Numbers (K, heads, r, 1) as (K, r, 1), or (K, r, features) where heads differ."""
    xp = namespace(terms)
    K, heads, r, _ = terms.shape
    if heads == 1:
        return xp.reshape(terms, (K, r, 1))
    width = int(cloud.rest.shape[-1]) // heads
    return xp.repeat(xp.permute_dims(terms[..., 0], (0, 2, 1)), width, axis=-1)


def _with_common(cloud: Cloud, rest: Array, e_rest: Array, weights: Array, heads: int) -> Cloud:
    """The cloud with another rest; ``weights`` (K, heads, 1, n) of the old one are added to all."""
    xp = namespace(rest)
    terms = _by_feature(_terms(weights, cloud.rest, heads), cloud)
    common = shaken(cloud, _mixed(weights, cloud.rest, heads), terms, 2)
    centre, e_centre = combine(cloud.centre, cloud.e_centre, common, cloud.e_rest)
    centre = shaken(cloud, centre, xp.abs(centre), 3)
    return normalise(
        replace(cloud, centre=centre, rest=rest, e_centre=e_centre, e_rest=e_rest, count=cloud.count + 1)
    )


def attend(cloud: Cloud, drawn: Projections, values: Callable[[Cloud], Cloud] = lambda x: x) -> Cloud:
    """Return A V with A the softmax of the tokens' own scores, V = ``values`` of the tokens.

    Scores that know tokens by their values alone: all tokens share what the centre contributes,
    A = 1 q + D with D of the order of rest^2, and D is formed from exp(delta) - 1, so that A V
    differs between tokens by D rest alone and nothing cancels.
    """
    cloud = tamed(cloud)
    found = _scores(cloud, drawn)
    # what counts is the absolute error of a score
    xp, k, heads = namespace(cloud.rest), cloud.k, drawn.heads
    scores = found.shared + found.delta
    moved = xp.reshape(scores[k:, ...], (cloud.probes, k, *scores.shape[1:])) - scores[None, :k, ...]
    largest = xp.max(xp.abs(moved), axis=(0, 2, 3, 4))[:, None, None]
    excess = log2(xp.astype(largest, xp.float64, copy=False)) - reach_of(cloud) / 2
    if bool(xp.any((excess > 0) & (cloud.scale > 0))):
        cloud = tamed_to(cloud, xp.maximum(excess, xp.zeros_like(excess)))
        found = _scores(cloud, drawn)
        scores = found.shared + found.delta
    cloud = values(cloud)
    raw, e_delta = found.raw, found.e_delta
    near = (xp.max(size(raw, e_delta[:, None, ...]), axis=1) < -1)[:k, ...]
    if not drawn.free or not bool(xp.any(near)):
        return _attended_far(cloud, _softmax(scores, drawn, cloud), drawn)
    long = xp.concat([near] * (1 + cloud.probes), axis=0)
    q = masked_softmax(found.shared, None)
    small = xp.where(long[:, None, ...], found.delta, xp.zeros_like(found.delta))
    # expm1(delta) / delta, from the series where delta has underflowed
    tiny = xp.abs(small) < 1e-8
    ratio = xp.where(tiny, 1 + small / 2, xp.expm1(small) / xp.where(tiny, xp.ones_like(small), small))
    excess = raw * ratio  # at the scale 2**e_delta
    mean = xp.sum(q * excess, axis=-1, keepdims=True)
    factor = power_of_two(xp.where(long, e_delta, xp.full_like(e_delta, EMPTY)))[:, None, ...]
    D = q * (excess - mean) / (1 + xp.astype(factor, raw.dtype, copy=False) * mean)
    terms = _by_feature(_terms(q * (xp.abs(excess) + xp.abs(mean)), cloud.rest, heads), cloud)
    rest = shaken(cloud, _mixed(D, cloud.rest, heads), terms, 1)
    out = _with_common(cloud, rest, e_delta + cloud.e_rest, q, heads)
    if bool(xp.all(near)):
        return out
    return select(near, out, _attended_far(cloud, masked_softmax(scores, None), drawn))


def attention_of(cloud: Cloud, drawn: Projections) -> list[Array]:
    """Return the softmax of the tokens' own scores, (k, n, n) for each head."""
    cloud = tamed(cloud)
    found = _scores(cloud, drawn)
    A = _softmax(found.shared + found.delta, drawn, cloud)[: cloud.k, ...]
    return [A[:, h, ...] for h in range(drawn.heads)]


def _softmax(scores: Array, drawn: Projections, cloud: Cloud) -> Array:
    """Softmax of (K, heads, n, n) scores, with what is added to them and what is masked."""
    if drawn.bias is not None:
        scores = scores + each(drawn.bias, cloud)
    return masked_softmax(scores, None if drawn.mask is None else each(drawn.mask, cloud))


def _attended_far(cloud: Cloud, A: Array, drawn: Projections) -> Cloud:
    """A X for weights that are exponentials, some of which may be below the range of their dtype."""
    xp, k = namespace(A), cloud.k
    out = attend_fixed(cloud, A, drawn.heads)
    gone = A[:k, ...] == 0
    gone = xp.any(gone if drawn.mask is None else gone & drawn.mask, axis=(1, 2, 3))[:, None, None]
    # then differences of that size are not known to be zero
    reach = 0.9 * float(np.log2(float(xp.finfo(A.dtype).smallest_normal)))
    fallen = size(out.rest[:k, ...], out.e_rest[:k, ...]) < (
        size(cloud.rest[:k, ...], cloud.e_rest[:k, ...]) + reach
    )
    held = cloud.e_rest[:k, ...] > EMPTY / 2
    return replace(out, lost=out.lost | (gone & fallen & held))


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores shared + raw 2**e_delta of K systems; ``shared`` (K, heads, 1, n) is the same for all tokens.

    ``raw`` and ``delta`` = raw 2**e_delta are (K, heads, n, n), ``e_delta`` (K, 1, 1).
    """

    shared: Array
    raw: Array
    e_delta: Array
    delta: Array


def _scores(cloud: Cloud, drawn: Projections) -> _Scores:
    xp, heads = namespace(cloud.rest), drawn.heads
    y = layer_norm(cloud, None, None, 0.0, centring=False) if drawn.normalized else cloud
    queries = _projected(y, drawn.query, drawn.query_bias)
    keys = _projected(y, drawn.key, drawn.key_bias)
    if drawn.rotary is not None:
        # turned by their places, tokens that are alike have other queries: nothing is shared
        (full_q, e_q), (full_k, e_k) = whole(queries), whole(keys)
        Q, K = turned(cut(full_q, heads), drawn.rotary), turned(cut(full_k, drawn.key_heads), drawn.rotary)
        shared_q, e_shared, e_delta = xp.zeros_like(Q[..., :1, :]), e_q + e_k, e_q + e_k
    else:
        Q, K = cut(queries.rest, heads), cut(keys.rest, drawn.key_heads)
        shared_q = cut(queries.centre, heads)
        e_shared, e_delta = queries.e_centre + keys.e_rest, queries.e_rest + keys.e_rest
    K = repeated(K, heads)
    transposed = xp.matrix_transpose(K)
    # far above 1 the softmax picks the largest score, whatever the factor of both terms
    limit = 900.0 if y.rest.dtype == xp.float64 else 100.0
    over = xp.maximum(xp.maximum(e_shared, e_delta) - limit, xp.zeros_like(e_delta))
    if drawn.bias is not None:  # it is added at their true scale
        over = xp.zeros_like(over)
    lengths = xp.matrix_transpose(_lengths(K))
    raw = _shaken(cloud, Q @ transposed, _lengths(Q) * lengths, 4)
    shared = _shaken(cloud, shared_q @ transposed, _lengths(shared_q) * lengths, 5)
    shared = softmax_scale(shared, (e_shared - over)[:, None, ...])
    # the exponential rounds as well
    shared = _shaken(cloud, shared, xp.ones_like(shared), 6)
    return _Scores(shared, raw, e_delta, softmax_scale(raw, (e_delta - over)[:, None, ...]))


def _shaken(cloud: Cloud, x: Array, terms: Array, number: int) -> Array:
    """:func:`shaken` for (K, heads, r, c) numbers."""
    xp = namespace(x)
    K, heads, r, c = x.shape
    flat = (K, heads * r, c)
    return xp.reshape(shaken(cloud, xp.reshape(x, flat), xp.reshape(terms, flat), number), x.shape)


def _lengths(x: Array) -> Array:
    xp = namespace(x)
    return xp.sqrt(xp.linalg.vecdot(x, x))[..., None]


def _projected(cloud: Cloud, matrix: Array | None, bias: Array | None) -> Cloud:
    out = cloud if matrix is None else linear(cloud, matrix)
    return out if bias is None else shifted(out, bias)
