"""A Transformer block in arbitrary precision, written as in a textbook: no centre, no scales, no series."""

from __future__ import annotations

import mpmath as mp
import numpy as np

from linsim import _draws
from linsim.attention import FromTokens


def matrix(x):
    return mp.matrix(np.asarray(x, dtype=float).tolist())


def layer_norm(X, gain, bias, eps):
    n, d = X.rows, X.cols
    out = mp.matrix(n, d)
    for i in range(n):
        row = [X[i, j] for j in range(d)]
        mean = mp.fsum(row) / d
        variance = mp.fsum((x - mean) ** 2 for x in row) / d
        for j in range(d):
            scaled = (row[j] - mean) / mp.sqrt(variance + eps) if variance + eps > 0 else mp.mpf(0)
            out[i, j] = scaled * gain[j] + bias[j]
    return out


ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, mp.mpf(0)),
    "tanh": mp.tanh,
    "gelu": lambda x: x * (1 + mp.erf(x / mp.sqrt(2))) / 2,
}


def softmax_attention(X, spec, drawn):
    n, d = X.rows, X.cols
    Y = X.copy()
    if spec.normalizes():
        for i in range(n):
            size = mp.sqrt(mp.fsum(X[i, j] ** 2 for j in range(d)) / d)
            for j in range(d):
                Y[i, j] = X[i, j] / size
    scores = Y * drawn * Y.T
    A = mp.matrix(n, n)
    for i in range(n):
        kept = [j for j in range(n) if spec.mask is None or spec.mask[i, j]]
        top = max(scores[i, j] for j in kept)
        total = mp.fsum(mp.exp(scores[i, j] - top) for j in kept)
        for j in kept:
            A[i, j] = mp.exp(scores[i, j] - top) / total
    return A


def deescalated(X, step):
    n, d = X.rows, X.cols
    mean = [mp.fsum(X[i, j] for i in range(n)) / n for j in range(d)]
    if step.function is not None:
        if hasattr(step.function, "exact"):  # what the hook is in arithmetic that does not round
            return X.apply(step.function.exact)
        return matrix(step.function(np.array(X.tolist(), dtype=float).reshape(1, n, d))[0])
    if step.tau is not None:
        keep = 1 - mp.mpf(float(step.tau))
    else:
        low = n * mp.fsum(m**2 for m in mean)
        high = mp.fsum((X[i, j] - mean[j]) ** 2 for i in range(n) for j in range(d))
        t = mp.mpf(float(step.similarity))
        keep = mp.sqrt(t / (1 - t) * high / low)
    out = X.copy()
    for i in range(n):
        for j in range(d):
            out[i, j] = X[i, j] - mean[j] + keep * mean[j]
    return out


def states(block, x0, depth, seed):
    """Yield X_0 .. X_depth of one system, with the draws of ``simulate(block, x0, depth, rng=seed)``."""
    n, d = x0.shape
    key_of = _draws.keys(seed, 1)
    gain = [mp.mpf(1)] * d if block.gain is None else [mp.mpf(float(g)) for g in block.gain]
    bias = [mp.mpf(0)] * d if block.bias is None else [mp.mpf(float(b)) for b in block.bias]
    eps = mp.mpf(block.norm_eps)
    X = matrix(x0)
    yield X
    A = None
    if block.attention_fixed:
        A = matrix(block.A)
        for i in range(n):  # a row of doubles sums to 1 to rounding only
            total = mp.fsum(A[i, j] for j in range(n))
            for j in range(n):
                A[i, j] /= total
    steps = {step.place: step for step in block.deescalation}

    def at(place, X):
        return deescalated(X, steps[place]) if place in steps else X

    def normed(X, where):
        return layer_norm(X, gain, bias, eps) if block.norm == where else X

    def summed(X, Y):
        return block.residual * X + block.branch * Y if block.residual else block.branch * Y

    for layer in range(depth):

        def drawn(name, shape, layer=layer):
            return matrix(_draws.normals(key_of, layer, name, shape, "float64")[0])

        Y = normed(X, "pre")
        spec = block.A
        if isinstance(spec, FromTokens):
            if spec.query_key is not None:
                scores = matrix(spec.query_key) / spec.temperature
            else:
                key = d if spec.d_key is None else spec.d_key
                Q, K = (drawn(name, (d, key)) for name in ("query", "key"))
                scores = Q * K.T / d / mp.sqrt(key) / spec.temperature
            attention = softmax_attention(Y, spec, scores)
        else:
            attention = A
        if block.weights_fixed:
            W = matrix(block.weights)
        else:
            W = matrix(_draws.weights(block.weights, d, float(block.std), key_of, layer)[0])
        X = at("attention", summed(X, at("branch", attention * Y * W)))
        X = at("norm", normed(X, "post"))
        if block.feed_forward is not None:
            width = 4 * d if block.width is None else block.width
            first = drawn("up", (d, width)) / mp.sqrt(d)
            second = drawn("down", (width, d))
            second *= block.feed_forward_std * mp.sqrt(mp.mpf(2) / width)
            hidden = (normed(X, "pre") * first).apply(ACTIVATIONS[block.feed_forward])
            X = normed(at("feed_forward", summed(X, hidden * second)), "post")
        X = at("output", X)
        yield X


def pure_attention(x0, query_key, depth):
    """Yield ln t_div of X <- A X, A the softmax of X Q X^T, as an mpf of any size.

    Tokens as their mean and the differences from it, and what rows of A differ by from expm1: the digits
    suffice at every depth, where those of the tokens themselves would have to be multiplied by 3 a layer.
    """
    n, d = x0.shape
    X, Q = matrix(x0), matrix(query_key)
    c = mp.matrix(1, d)
    for j in range(d):
        c[0, j] = mp.fsum(X[i, j] for i in range(n)) / n
    Z = mp.matrix(n, d)
    for i in range(n):
        Z[i, :] = X[i, :] - c
    for layer in range(depth + 1):
        high, low = mp.fsum(z**2 for z in Z), n * mp.fsum(x**2 for x in c)
        yield mp.log(high / (high + low)) if high > 0 else -mp.inf
        if layer == depth:
            return
        shared, own = c * Q * Z.T, Z * Q * Z.T
        weights = [mp.exp(s) for s in shared]
        q = [w / mp.fsum(weights) for w in weights]
        new = mp.matrix(n, d)
        for i in range(n):
            excess = [mp.expm1(own[i, j]) for j in range(n)]
            mean = mp.fsum(a * b for a, b in zip(q, excess, strict=True))
            for j in range(n):
                new[i, :] += q[j] * (excess[j] - mean) / (1 + mean) * Z[j, :]
        for j in range(n):
            c += q[j] * Z[j, :]
        for j in range(d):
            shift = mp.fsum(new[i, j] for i in range(n)) / n
            c[0, j] += shift
            for i in range(n):
                Z[i, j] = new[i, j] - shift


def log_token_diversity(X):
    n, d = X.rows, X.cols
    mean = [mp.fsum(X[i, j] for i in range(n)) / n for j in range(d)]
    high = mp.fsum((X[i, j] - mean[j]) ** 2 for i in range(n) for j in range(d))
    total = mp.fsum(x**2 for x in X)
    return float(mp.log(high / total)) if high > 0 else -np.inf


def log_cosine_gap(X):
    n, d = X.rows, X.cols
    size = [mp.sqrt(mp.fsum(X[i, j] ** 2 for j in range(d))) for i in range(n)]
    gaps = [
        mp.fsum((X[i, j] / size[i] - X[k, j] / size[k]) ** 2 for j in range(d)) / 2
        for i in range(n)
        for k in range(i)
    ]
    return float(mp.log(mp.fsum(gaps) / len(gaps)))


def log_spread(X):
    """ln of the largest distance between two tokens."""
    rows = [[X[i, j] for j in range(X.cols)] for i in range(X.rows)]
    squares = [mp.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x in rows for y in rows]
    return float(mp.log(max(squares)) / 2)


def log_rank_gap(X):
    """ln sigma_2/sigma_1, from the eigenvalues of X X^T with as many digits again."""
    with mp.workdps(2 * mp.mp.dps):
        values = sorted(mp.eigsy(X * X.T, eigvals_only=True), reverse=True)
        return float(mp.log(abs(values[1]) / values[0]) / 2)
