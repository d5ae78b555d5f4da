"""A Transformer layer as a textbook has it, in float64 or arbitrary precision, with nothing of linsim.

Arrays are NumPy's, of float64 or of mpmath numbers (dtype object); the functions of numbers come with them.
"""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np


class Numbers:
    """Functions of single numbers, entry by entry."""

    def __init__(self, exact: bool):
        library = mp if exact else math
        self.exact = exact
        self.exp, self.sqrt, self.tanh, self.erf, self.cos, self.sin, self.power = (
            np.vectorize(f, otypes=[object if exact else float])
            for f in (
                library.exp,
                library.sqrt,
                library.tanh,
                library.erf,
                library.cos,
                library.sin,
                lambda a, b: a**b,
            )
        )

    def array(self, x):
        x = np.asarray(x, dtype=float)
        return np.vectorize(mp.mpf, otypes=[object])(x) if self.exact else x


def softmax(scores, f):
    weights = f.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def norm(x, kind, gain, bias, eps, f):
    d = x.shape[-1]
    if kind == "layer":
        x = x - x.sum(axis=-1, keepdims=True) / d
    mean = (x * x).sum(axis=-1, keepdims=True)
    if kind != "sphere":
        mean = mean / d
    x = x / f.sqrt(mean + eps)
    return x * (1 if gain is None else f.array(gain)) + (0 if bias is None else f.array(bias))


def rotated(x, base, width, interleaved, f):
    """(n, w) queries or keys of one head, each turned by its place."""
    x, half = x.copy(), width // 2
    for place in range(x.shape[0]):
        for i in range(half):
            angle = place * f.power(f.array(base), f.array(-i) / half)[()]
            a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
            one, two = x[place, a], x[place, b]
            c, s = f.cos(angle)[()], f.sin(angle)[()]
            x[place, a], x[place, b] = one * c - two * s, two * c + one * s
    return x


def activation(x, name, f):
    if name == "linear":
        return x
    if name == "relu":
        return np.where(x > 0, x, 0 * x)
    if name == "tanh":
        return f.tanh(x)
    if name == "gelu":
        return x * (1 + f.erf(x / f.sqrt(f.array(2.0)))) / 2
    if name == "gelu_tanh":
        inner = f.sqrt(f.array(2.0) / (mp.pi if f.exact else math.pi)) * (x + f.array(0.044715) * x * x * x)
        return x * (1 + f.tanh(inner)) / 2
    slope = f.array(1.702) if name == "quick_gelu" else 1
    return x / (1 + f.exp(-slope * x))


def dense(x, pair, f):
    W, b = pair if isinstance(pair, tuple) else (pair, None)
    return x @ f.array(W) + (0 if b is None else f.array(b))


def attention(x, p, f):
    """Sum of heads of (n, d) tokens that go into the sublayer."""
    h, n = p["heads"], x.shape[0]
    query, key, value = (dense(x, p[name], f) for name in ("query", "key", "value"))
    width, own = query.shape[1] // h, key.shape[1] // (query.shape[1] // h)
    wide = f.array(p["output"][0] if isinstance(p["output"], tuple) else p["output"]).shape[0] // h
    mixed = []
    for head in range(h):
        shared = head * own // h
        q, k = query[:, head * width :][:, :width], key[:, shared * width :][:, :width]
        if p.get("rotary"):
            q, k = (rotated(y, *p["rotary"], f) for y in (q, k))
        scores = q @ k.T / f.sqrt(f.array(width)) / f.array(p.get("temperature", 1.0))
        if p.get("scores") is not None:
            scores = scores + f.array(p["scores"][head])
        A = np.zeros_like(scores)
        for i in range(n):
            seen = np.ones(n, bool) if p.get("mask") is None else p["mask"][i]
            A[i, seen] = softmax(scores[i, seen], f)
        values = value.shape[1] // wide
        mixed.append(A @ value[:, (head * values // h) * wide :][:, :wide])
    return dense(np.concatenate(mixed, axis=1), p["output"], f)


def feed_forward(x, p, f):
    up = dense(x, p["up"], f)
    if p.get("gate") is None:
        return dense(activation(up, p["activation"], f), p["down"], f)
    return dense(activation(dense(x, p["gate"], f), p["activation"], f) * up, p["down"], f)


def layer(x, p, f):
    """One layer; ``p``: the arguments of linsim.Block by name, all of those that it reads."""
    kind, eps, order = p["norm_kind"], f.array(p["norm_eps"]), p["norm"]

    def own(name):
        return p.get(f"feed_forward_{name}", p.get(name))

    def first(x):
        return norm(x, kind, p.get("gain"), p.get("bias"), eps, f)

    def second(x):
        return norm(x, kind, own("gain"), own("bias"), eps, f)

    def scaled(y, factor, features):
        return y * f.array(factor) * (1 if features is None else f.array(features))

    def number(name, default=1.0):
        return f.array(p.get(name, default))

    r, b = number("residual"), number("branch")
    r2, b2 = number("feed_forward_residual", r), number("feed_forward_branch", b)
    if f.exact:
        r2, b2 = (f.array(p.get(f"feed_forward_{k}", p.get(k, 1.0))) for k in ("residual", "branch"))
    y = scaled(attention(first(x) if order == "pre" else x, p, f), b, p.get("layer_scale"))
    if p.get("parallel"):
        z = feed_forward(second(x) if order == "pre" else x, p, f)
        return r * x + y + scaled(z, b2, own("layer_scale"))
    x = r * x + y
    x = first(x) if order == "post" else x
    if p.get("activation"):
        z = feed_forward(second(x) if order == "pre" else x, p, f)
        x = r2 * x + scaled(z, b2, own("layer_scale"))
        x = second(x) if order == "post" else x
    return x


def gaps(x):
    """Logarithms of gaps of tokens (n, d), of mpmath numbers."""
    n = x.shape[0]
    mean = x.sum(axis=0) / n
    apart = ((x - mean) ** 2).sum()
    unit = [row / mp.sqrt((row * row).sum()) for row in x]
    close = sum(((unit[i] - unit[j]) ** 2).sum() / 2 for i in range(n) for j in range(i))
    return {
        "log_token_diversity": float(mp.log(apart / (x * x).sum())),
        "log_cosine_gap": float(mp.log(close / (n * (n - 1) // 2))),
        "log_norm": float(mp.log((x * x).sum()) / 2),
    }
