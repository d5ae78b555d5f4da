"""Small Transformer blocks: many layers of tokens and their copies in one call.

Tokens lie feature by feature, (d, n), so that every inner loop runs over tokens that do not touch each other:
nothing is added up along a vector, and no result depends on how wide vectors are.  What is computed is
:func:`linsim._engines.block_step.step` on plain numbers; a copy is carried as
:class:`linsim._engines.forward_error.Beside` does.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from .elementary import exponential_of, gelu
from .kept import KEPT
from .lanes import WIDTH, alike, load, store, where

__all__ = ["walk"]

_COMPILE: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, **KEPT}
# numbers of a vector
_W = WIDTH // 8


@nb.njit(**_COMPILE)
def _product(W, bias, x, out):
    """W^T x + bias for (c, n) numbers; W without entries is the identity, bias without entries 0."""
    n = x.shape[1]
    if W.size == 0:
        for e in range(x.shape[0]):
            for i in range(n):
                out[e, i] = x[e, i]
    else:
        rows, columns = W.shape
        for e in range(columns):
            for i in range(n):
                out[e, i] = 0.0
            last = rows - rows % 4
            for c in range(0, last, 4):
                w0, w1, w2, w3 = W[c, e], W[c + 1, e], W[c + 2, e], W[c + 3, e]
                for i in range(n):
                    out[e, i] += w0 * x[c, i] + w1 * x[c + 1, i] + (w2 * x[c + 2, i] + w3 * x[c + 3, i])
            for c in range(last, rows):
                w0 = W[c, e]
                for i in range(n):
                    out[e, i] += w0 * x[c, i]
    if bias.size:
        for e in range(bias.shape[1]):
            b = bias[0, e]
            for i in range(n):
                out[e, i] += b


@nb.njit(**_COMPILE)
def _norm(x, kind, eps, out):
    """Norm of every token: "layer", "rms" or "sphere" by number."""
    d, n = x.shape
    mean, root = np.zeros(n), np.zeros(n)
    if kind == 0:
        for c in range(d):
            for i in range(n):
                mean[i] += x[c, i]
        for i in range(n):
            mean[i] /= d
    for c in range(d):
        for i in range(n):
            y = x[c, i] - mean[i]
            out[c, i] = y
            root[i] += y * y
    for i in range(n):
        y = root[i] + eps * d if kind == 2 else root[i] / d + eps
        root[i] = np.sqrt(y) if y > 0 or np.isnan(y) else np.inf
    for c in range(d):
        for i in range(n):
            out[c, i] /= root[i]


@nb.njit(**_COMPILE)
def _normed(x, kind, gain, bias, eps, out):
    """Norm of every token, times gain, plus bias."""
    _norm(x, kind, eps, out)
    n = x.shape[1]
    for c in range(gain.shape[-1]):
        for i in range(n):
            out[c, i] *= gain[0, c]
    for c in range(bias.shape[-1]):
        for i in range(n):
            out[c, i] += bias[0, c]


@nb.njit(**_COMPILE)
def _scores(Q, K, added, s, total):
    """Exponentials of scores of token i with token j into s (j, i), and their sums."""
    w, n = Q.shape
    top = np.full(n, -np.inf)
    last = w - w % 4
    for j in range(n):
        row = s[j]
        for i in range(n):
            row[i] = 0.0
        for c in range(0, last, 4):
            k0, k1, k2, k3 = K[c, j], K[c + 1, j], K[c + 2, j], K[c + 3, j]
            for i in range(n):
                row[i] += k0 * Q[c, i] + k1 * Q[c + 1, i] + (k2 * Q[c + 2, i] + k3 * Q[c + 3, i])
        for c in range(last, w):
            k0 = K[c, j]
            for i in range(n):
                row[i] += k0 * Q[c, i]
        if added.size:
            for i in range(n):
                row[i] += added[j, i]
        for i in range(n):
            top[i] = max(top[i], row[i])
    for i in range(n):
        total[i] = 0.0
    whole = n - n % _W
    for j in range(n):
        row = s[j]
        for i in range(0, whole, _W):
            y = load(row, i) - load(top, i)
            p = where(y <= -np.inf, alike(y, 0.0), exponential_of(y))
            store(row, i, p)
            store(total, i, load(total, i) + p)
        for i in range(whole, n):
            y = row[i] - top[i]
            p = 0.0 if y == -np.inf else exponential_of(y)
            row[i] = p
            total[i] += p


@nb.njit(**_COMPILE)
def _mix(s, V, total, out):
    """Sums of values (w, n), weighted by s (j, i) over its total."""
    w, n = V.shape
    for c in range(w):
        for i in range(n):
            out[c, i] = 0.0
    last = n - n % 4
    for j in range(0, last, 4):
        for c in range(w):
            v0, v1, v2, v3 = V[c, j], V[c, j + 1], V[c, j + 2], V[c, j + 3]
            for i in range(n):
                out[c, i] += v0 * s[j, i] + v1 * s[j + 1, i] + (v2 * s[j + 2, i] + v3 * s[j + 3, i])
    for j in range(last, n):
        for c in range(w):
            v0 = V[c, j]
            for i in range(n):
                out[c, i] += v0 * s[j, i]
    for c in range(w):
        for i in range(n):
            out[c, i] /= total[i]


@nb.njit(**_COMPILE)
def _branch(x, y, scale, factor, residual):
    """Write residual x + factor scale y over x; nothing of x where residual is 0."""
    for c in range(x.shape[0]):
        own = factor * scale[0, c] if scale.size else factor
        if residual == 0.0:
            for i in range(x.shape[1]):
                x[c, i] = own * y[c, i]
        else:
            for i in range(x.shape[1]):
                x[c, i] = residual * x[c, i] + own * y[c, i]


@nb.njit(**_COMPILE)
def _feed_forward(y, activation, up, up_bias, down, down_bias, hidden, out):
    """phi(y W_1) W_2, phi linear, relu or gelu by number."""
    _product(up, up_bias, y, hidden)
    flat = hidden.reshape(-1)
    if activation == 2:
        for i in range(flat.size):
            flat[i] = max(flat[i], 0.0)
    elif activation == 3:
        gelu(flat, flat)
    _product(down, down_bias, hidden, out)


@nb.njit(**_COMPILE)
def _of(M, system):
    """The matrix of a system where each has its own, else the one of all."""
    return M[system if M.shape[0] > 1 else 0]


@nb.njit(**_COMPILE)
def _layer(x, system, choices, factors, eps, maps, vectors, A, work):
    """Take tokens (d, n) through a layer, in place."""
    norm, kind, heads, key_heads, value_heads, normalized, fixed, activation, parallel = choices
    W_q, b_q, W_k, b_k, W_v, b_v, W_o, b_o, W_1, b_1, W_2, b_2 = maps
    gain, bias, scale, gain_2, bias_2, scale_2 = vectors
    s, total, looking, Q, K, V, mixed, y, hidden = work
    d = x.shape[0]
    before = x.copy()
    source = x
    if norm == 1:
        _normed(x, kind, _of(gain, system), _of(bias, system), eps, looking)
        source = looking
    z = source
    if not fixed:
        if normalized:
            _norm(source, 1, 0.0, y)
            z = y
        _product(_of(W_q, system), _of(b_q, system), z, Q)
        _product(_of(W_k, system), _of(b_k, system), z, K)
    _product(_of(W_v, system), _of(b_v, system), source, V)
    own, w, v = _of(A, system), Q.shape[0] // heads, mixed.shape[0] // heads
    for h in range(heads):
        added = own[h if own.shape[0] > 1 else 0]
        if fixed:
            s[:] = added
            total[:] = 1.0
        else:
            k = h * key_heads // heads
            _scores(Q[h * w : (h + 1) * w], K[k * w : (k + 1) * w], added, s, total)
        k = h * value_heads // heads
        _mix(s, V[k * v : (k + 1) * v], total, mixed[h * v : (h + 1) * v])
    if _of(W_o, system).size == 0 and heads > 1:
        y[:] = mixed[:d]
        for h in range(1, heads):
            y += mixed[h * d : (h + 1) * d]
    else:
        _product(_of(W_o, system), _of(b_o, system), mixed, y)
    _branch(x, y, _of(scale, system), factors[1], factors[0])
    if norm == 2:
        _normed(x, kind, _of(gain, system), _of(bias, system), eps, looking)
        x[:] = looking
    if activation == 0:
        return
    source = before if parallel else x
    if norm == 1:
        _normed(source, kind, _of(gain_2, system), _of(bias_2, system), eps, looking)
        source = looking
    of = (_of(W_1, system), _of(b_1, system), _of(W_2, system), _of(b_2, system))
    _feed_forward(source, activation, of[0], of[1], of[2], of[3], hidden, y)
    _branch(x, y, _of(scale_2, system), factors[3], 1.0 if parallel else factors[2])
    if norm == 2:
        _normed(x, kind, _of(gain_2, system), _of(bias_2, system), eps, looking)
        x[:] = looking


@nb.njit(**_COMPILE)
def _brought(x, off, factor, close, far):
    """Bring a copy close enough to tell how a small error grows; return the new factor."""
    share = 0.0
    for i in range(x.shape[1]):
        a = b = 0.0
        for c in range(x.shape[0]):
            a += off[c, i] * off[c, i]
            b += x[c, i] * x[c, i]
        one = a / (b + 1e-300)
        share = np.inf if np.isnan(one) else max(share, one)
    share = np.sqrt(share)
    if share < 2.0**6 * close:
        return factor
    less = max(close / share, 1 / factor) if share < far else np.nan
    off *= less
    return factor * less


@nb.njit(**_COMPILE)
def walk(
    x, off, factor, numbers, close, far, first, layers, choices, factors, eps, maps, vectors, A, sizes, out
):
    """Go from layer ``first`` on through ``layers``, the sorted layers to record, and hold those.

    Parameters
    ----------
    x, off : (k, d, n) float64
        Tokens and what their copies are off by; moved on.
    factor : (k,)
        How many times the error that is; moved on.
    numbers : (2, d, n)
        Roundings of numbers of size 1, for layers of odd and of even number.
    choices : tuple of int
        Norm (0 none, 1 "pre", 2 "post"), its kind (0 "layer", 1 "rms", 2 "sphere"), heads of queries, of keys
        and of values, whether scores are of normalised tokens, whether attention is fixed, activation (0 no
        feed-forward, 1 linear, 2 relu, 3 gelu), whether attention and feed-forward are parallel.
    factors : (k, 4)
        Residual, branch, and those of the feed-forward.
    maps : tuple of 12 arrays (k or 1, c, e)
        Query, key, value, output, up, down, each with its bias (k or 1, 1, e); (1, 0, 0) for none.
    vectors : tuple of 6 arrays (k or 1, 1, d)
        Gain, bias, layer_scale and those of the feed-forward; (1, 1, 0) for none.
    A : (k or 1, heads or 1, n, n)
        Fixed attention, or what is added to scores (-inf: masked); transposed; (1, 1, 0, 0) for nothing.
    sizes : tuple of int
        Rows of queries, keys, values, mixtures of values, hidden features.
    out : tuple of (layers, k, n, d) twice and (layers, k)
        Tokens, ``off`` and ``factor`` of the layers to record.
    """
    count, d, n = x.shape
    q, k, v, m, h = sizes
    work = (
        np.empty((n, n)),
        np.empty(n),
        np.empty((d, n)),
        np.empty((q, n)),
        np.empty((k, n)),
        np.empty((v, n)),
        np.empty((m, n)),
        np.empty((d, n)),
        np.empty((h, n)),
    )
    both = np.empty((2, d, n))
    for system in range(count):
        both[0], both[1] = x[system], off[system]
        here, away = both[0], both[1]
        scale, layer = factor[system], first
        for place in range(layers.size):
            while layer < layers[place]:
                scale = _brought(here, away, scale, close, far)
                away += here
                for one in range(2):
                    _layer(both[one], system, choices, factors[system], eps, maps, vectors, A, work)
                layer += 1
                own = numbers[layer % 2]
                for c in range(d):
                    for i in range(n):
                        y = here[c, i]
                        away[c, i] = (away[c, i] - y) + scale * own[c, i] * abs(y)
            for c in range(d):
                for i in range(n):
                    out[0][place, system, i, c] = here[c, i]
                    out[1][place, system, i, c] = away[c, i] if layer > 0 else 0.0
            out[2][place, system] = scale
        x[system], off[system], factor[system] = here, away, scale
