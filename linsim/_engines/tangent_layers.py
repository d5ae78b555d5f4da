"""What a block does to a common vector and the differences from it, and to possible errors of both.

The arithmetic of :mod:`linsim._engines.block_step`.  Where f is applied to c + h z, what is computed is
(f(c + h z) - f(c)) / h in a form that stays accurate when h underflows, as in :mod:`linsim._layers`; an error
(dc, dz) becomes what the derivative makes of it, (f'(c + h z)(dc + h dz) - f'(c) dc) / h, and what the
operation rounds is added to it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from .. import _kernels
from .._activations import ACTIVATIONS, TERMS, Activation
from .._attend import Projections, cut, joined, repeated
from .._cloud import SAFETY, copies_for
from .._kernels import frozen
from .._state import EMPTY, State
from .._types import EPS, HostArray
from .block_parts import Map, Parts
from .block_step import Arithmetic, step
from .tangent_attention import attended
from .tangent_tokens import FAR, Tokens, cut_attention

__all__ = ["Tangents"]

# differences of an activation come from its Taylor series where all are below this
_NEAR = 2.0**-6
_OFFSETS = 4099
# a token so much smaller than others, of those that are far apart, keeps digits of its own
_SMALL = 2.0**-10


class Tangents:
    """The arithmetic of a layer (``block_step.Arithmetic``) for k systems.

    ``known`` (k,): whether all errors were small until now; ``h`` = 2**``e`` (k,).
    """

    def __init__(self, x: HostArray) -> None:
        k, n, d = x.shape
        self.p = copies_for(d)
        self.h, self.e, self.known = np.ones(k), np.zeros(k, dtype=np.int64), np.ones(k, dtype=bool)
        self.table = _numbers(_OFFSETS)
        self.count = 0
        X = np.zeros((k, n + 1, d))
        X[:, :n] = x
        self.tokens = Tokens(X, np.zeros((k, self.p, n + 1, d), dtype=np.float32))
        self.single: dict[int, tuple[HostArray, HostArray]] = {}
        self.cut_of: tuple[HostArray, ...] = ()
        self._settle()

    def drawn(self, x: HostArray) -> HostArray:
        """Other normal numbers than before, for errors of x."""
        return self.normal(self.p * x.shape[-2] * x.shape[-1])

    def normal(self, wanted: int) -> HostArray:
        """So many, the same for all systems."""
        self.count += 1
        first = self.count * 613 % _OFFSETS
        if len(self.table) < first + wanted:
            self.table = _numbers(_OFFSETS + wanted)
        return self.table[first : first + wanted]

    def call(self, name: str, *arguments: Any) -> None:
        kernel = _kernel(name)
        kernel(*arguments)

    def _room(self, x: Tokens, width: int | None = None) -> tuple[HostArray, HostArray]:
        d = x.X.shape[-1] if width is None else width
        return np.empty((*x.X.shape[:-1], d)), np.empty((*x.E.shape[:-1], d), dtype=np.float32)

    def _settle(self) -> None:
        x = self.tokens
        self.call("settled", x.X, x.E, self.h, self.e, FAR, self.drawn(x.X), self.known)
        # attention adds the mean of all tokens to each and takes it off again: a token that is far smaller
        # than others, and that these are nothing to, would take over their rounding
        sizes = np.max(np.abs(x.X), axis=-1)
        tokens, apart = sizes[:, :-1], sizes[:, -1] == 0
        small = (tokens > 0) & (tokens < _SMALL * np.max(tokens, axis=-1, keepdims=True))
        self.known &= ~(apart & np.any(small, axis=-1))

    def through(self, parts: Parts, attention: Any, weights: Mapping[str, Map], layer: int) -> None:
        """Go through a layer; ``weights`` and ``attention`` as for :func:`.block_step.step`."""
        ops = cast(Arithmetic[Tokens], self)
        self.tokens = step(self.tokens, parts, attention, weights, ops, layer)
        self._settle()

    def state(self, split: Any) -> State:
        """Return the tokens as they are measured, with their errors."""
        X, E = self.tokens.X, self.tokens.E
        k, rows, d = X.shape
        R, r = np.empty((k, rows - 1, d)), np.empty((k, d))
        noise, off = np.empty((k, 2)), np.empty((k, rows - 1))
        self.call("seen", frozen(X), frozen(E), self.h, R, r, noise, off)
        e = self.e.astype(np.float64)[:, None, None]
        unit = float(np.log2(SAFETY[self.p] * EPS))
        self.known &= np.all(np.isfinite(noise), axis=-1) & np.all(np.isfinite(r), axis=-1)
        known = self.known
        R[~known], r[~known] = 0.0, 1.0  # whatever they are, nobody looks at them
        with np.errstate(divide="ignore"):
            noise, off = (np.maximum(np.log2(x) + unit, EMPTY) for x in (noise, off))
        noise[~known], off[~known] = np.inf, np.inf
        noise_r, noise_R, off = noise[:, :1, None], noise[:, 1:, None] + e, off[:, :, None]
        zero, empty = np.zeros((k, 1, 1)), np.full((k, 1, 1), EMPTY)
        top = np.max(np.abs(r), axis=-1)
        e_r = np.where(top > 0, np.frexp(top)[1] - 1.0, EMPTY)[:, None, None]
        r = np.ldexp(r, -np.where(top > 0, np.frexp(top)[1] - 1, 0)[:, None])[:, None, :]
        return State(
            split, a=zero, r=r, b=np.zeros((k, rows - 1, 1)), R=R, mean=r,
            e_a=empty, e_r=e_r, e_b=empty, e_R=e, e_mean=e_r,
            noise=np.concatenate([empty, noise_r, empty, noise_R, noise_r], axis=-1), rows=off,
        )  # fmt: skip

    def _of(self, M: HostArray) -> HostArray:
        """A matrix in single precision, kept with it."""
        pair = self.single.get(id(M))
        if pair is None:
            pair = self.single[id(M)] = M, M.astype(np.float32)
        return pair[1]

    # --- what a layer does -------------------------------------------------------------------------

    def linear(self, x: Tokens, W: HostArray | None, bias: HostArray | None) -> Tokens:
        if W is None:
            return x if bias is None else self._shifted(Tokens(x.X.copy(), x.E.copy()), bias)
        k, rows, d = x.X.shape
        single = self._of(W)
        y = x.X @ W
        E = (x.E.reshape(k, -1, d) @ single).reshape(k, self.p, rows, W.shape[-1])
        height = np.sqrt(np.vecdot(single.reshape(len(W), -1), single.reshape(len(W), -1)) / W.shape[-1])
        terms = np.sqrt(np.vecdot(x.X, x.X)) * height[:, None]
        self.round(E, terms[:, :, None])
        out = Tokens(y, E)
        return out if bias is None else self._shifted(out, bias)

    def _shifted(self, x: Tokens, bias: HostArray) -> Tokens:
        """Add a vector to what all tokens share, in place."""
        x.X[:, -1:] += bias
        terms = np.zeros(x.X.shape)
        terms[:, -1] = np.abs(x.X[:, -1])
        self.round(x.E, terms)
        return x

    def norm(
        self, x: Tokens, kind: str, gain: HostArray | None, bias: HostArray | None, eps: float
    ) -> Tokens:
        d = x.X.shape[-1]
        own = np.ones((1, 1, d)) if gain is None else gain
        if kind == "sphere":  # of length 1, where root mean square 1 is length sqrt(d)
            own = own * d**-0.5
        out = self._room(x)
        self.call(
            "normed", frozen(x.X), frozen(x.E), self.h, frozen(own[:, 0]), float(eps), kind == "layer", FAR,
            self.drawn(x.X), *out, self.known,
        )  # fmt: skip
        normed = Tokens(*out)
        return normed if bias is None else self._shifted(normed, bias)

    def attend(
        self, x: Tokens, attention: Any, values: Callable[[Tokens], Tokens], heads: int, value_heads: int
    ) -> Tokens:
        y = values(x)
        if value_heads != heads:
            y = Tokens(*(_repeated(part, value_heads, heads) for part in (y.X, y.E)))
        if isinstance(attention, Projections):
            return attended(self, x, y, attention)
        return self.mixed(y, heads, *self._cut(attention))

    def mixed(
        self, y: Tokens, heads: int, M: HostArray, single: HostArray, squares: HostArray, off: Any = None
    ) -> Tokens:
        """Return M of differences, the last row of M added to what tokens share, and what they are off by.

        M (k or 1, heads, n + 1, n) with the same in ``single`` precision; ``squares`` of what is rounded;
        ``off`` (k, p, heads, n + 1, n): what M is off by.
        """
        k, rows, d = y.X.shape
        h = self.h[:, None, None]
        Z = cut(y.X[:, :-1], heads)
        terms = np.sqrt(squares @ (np.vecdot(Z, Z)[..., None] / Z.shape[-1]))[..., 0].mT
        mixed = joined(M @ Z)
        mixed[:, -1] = y.X[:, -1] + h[:, 0] * mixed[:, -1]
        F = cut(y.E[:, :, :-1].reshape(k * self.p, rows - 1, d), heads)
        F = F.reshape(k, self.p, heads, rows - 1, d // heads)
        moved = single[:, None] @ F
        if off is not None:
            moved += off @ Z.astype(np.float32)[:, None]
        E = joined(moved.reshape(k * self.p, heads, rows, d // heads)).reshape(k, self.p, rows, d)
        h32 = h.astype(np.float32)
        E[:, :, -1] = y.E[:, :, -1] + h32 * E[:, :, -1]
        terms = np.array(np.broadcast_to(terms, (k, rows, terms.shape[-1])))
        length = np.sqrt(np.vecdot(y.X[:, -1], y.X[:, -1]) / d)
        terms[:, -1] = h[:, 0] * terms[:, -1] + length[:, None]
        self.round(E, terms)
        return Tokens(mixed, E)

    def _cut(self, A: HostArray) -> tuple[HostArray, HostArray, HostArray]:
        """What :func:`cut_attention` returns, kept while attention is the same."""
        if not self.cut_of or self.cut_of[0] is not A:
            self.cut_of = A, *cut_attention(A)
        return self.cut_of[1:]  # type: ignore[return-value]

    def sum_of_heads(self, x: Tokens, heads: int) -> Tokens:
        X = np.sum(cut(x.X, heads), axis=1)
        k, rows, d = X.shape
        E = np.sum(cut(x.E.reshape(k * self.p, rows, -1), heads), axis=1).reshape(k, self.p, rows, d)
        terms = np.sum(np.abs(cut(x.X, heads)), axis=1)
        self.round(E, terms)
        return Tokens(X, E)

    def _combined(self, x: Tokens, x_times: Any, y: Tokens, y_times: HostArray) -> Tokens:
        out = self._room(x)
        once = np.broadcast_to(np.reshape(x_times, -1), len(x.X)).astype(np.float64)
        self.call(
            "summed", frozen(x.X), frozen(x.E), frozen(once), frozen(y.X), frozen(y.E), frozen(y_times),
            self.drawn(x.X), *out,
        )  # fmt: skip
        return Tokens(*out)

    def add(self, x: Tokens, y: Tokens) -> Tokens:
        return self._combined(x, 1.0, y, np.ones((1, x.X.shape[-1])))

    def stretch(self, x: Tokens, factor: Any) -> Tokens:
        return self._combined(x, factor, x, np.zeros((1, x.X.shape[-1])))

    def features_scaled(self, x: Tokens, factor: HostArray) -> Tokens:
        return self._combined(x, 0.0, x, np.array(factor[:, 0]))

    def activate(self, x: Tokens, name: str) -> Tokens:
        if name == "linear":
            return x
        if name == "relu":
            return self._relu(x)
        activation = ACTIVATIONS[name]
        assert activation is not None
        count = self.count
        # contiguous whatever the batch: one rounding for all
        c, largest, out = np.ascontiguousarray(x.X[:, -1]), np.empty(len(x.X)), self._room(x)
        self.call("widest", frozen(x.X), self.h, largest)
        value, weight = activation.value(c), np.broadcast_to(activation.weight(c), c.shape)
        of_all = frozen(x.X), frozen(x.E), self.h, frozen(value), frozen(weight)
        close, to = largest < _NEAR, (FAR, self.drawn(out[0]), *out, self.known)
        if close.any():
            self.call("near", *of_all, frozen(_series(activation, c, largest)), frozen(close), *to)
        if not close.all() and name == "gelu":
            self.call("gelu_far", *of_all, frozen(~close), *to)
        elif not close.all():
            self._far(x, activation, value, weight, ~close, out)
        self.count = count + 2  # whatever the other systems are
        return Tokens(*out)

    def _far(
        self,
        x: Tokens,
        activation: Activation,
        value: HostArray,
        weight: HostArray,
        which: HostArray,
        out: tuple[HostArray, HostArray],
    ) -> None:
        """What :func:`linsim._kernels.tangents.gelu_far` does, for any activation."""
        X, E, h = x.X[which], x.E[which], self.h[which][:, None, None]
        value, weight = value[which][:, None], weight[which][:, None]
        c, z, dc, dz = X[:, -1:], X[:, :-1], E[:, :, -1:], E[:, :, :-1]
        moved = activation.value(c + h * z)
        before, slope = (activation.derivatives(y, 1)[0] for y in (c, c + h * z))
        tokens: Any = np.concatenate([(moved - value) / h, value], axis=-2)
        turned = ((slope - before) / h).astype(np.float32)[:, None]
        first, second = (y.astype(np.float32)[:, None] for y in (before, slope))
        errors: Any = np.concatenate([second * dz + turned * dc, first * dc], axis=-2)
        size = np.abs(value) * weight
        sizes = (np.abs(moved) * activation.weight(c + h * z) + size) / h
        self.round(errors, np.concatenate([sizes, size], axis=-2))
        self.known[which] &= np.max(np.abs(E), axis=(1, 2, 3)) <= FAR
        out[0][which], out[1][which] = tokens, errors

    def _relu(self, x: Tokens) -> Tokens:
        c, z, dc, dz = x.X[:, -1:], x.X[:, :-1], x.E[:, :, -1:], x.E[:, :, :-1]
        h = self.h[:, None, None]
        moved = c + h * z
        # where the step is too small to see the sign of the difference decides
        here, there = c > 0, np.where((c == 0) & (h * z == 0), z > 0, moved > 0)
        over = np.divide(1.0, h, out=np.ones_like(h), where=h > 0)
        crossing = np.where(here, -c, moved) * over
        alike = (here == there) | (c == 0)
        rest = np.where(alike, z * there, crossing)
        keeps = there.astype(np.float32)[:, None]
        turned = np.where(alike, 0.0, (there * 1.0 - here) * over).astype(np.float32)[:, None]
        errors = np.concatenate([keeps * dz + turned * dc, here.astype(np.float32)[:, None] * dc], axis=-2)
        self.round(errors, np.concatenate([np.where(alike, 0.0, np.abs(rest)), 0 * c], axis=-2))
        # an error that may reach over the kink is none that a derivative tells
        reach = 64 * EPS * np.max(np.abs(dc), axis=1)
        steps = 64 * EPS * np.max(np.abs(dz), axis=1) * h
        unsure = (np.abs(c) < reach) | (np.abs(moved) < reach + steps)
        self.known &= ~np.any(unsure, axis=(1, 2))
        return Tokens(np.concatenate([rest, np.maximum(c, 0.0)], axis=-2), errors)

    def product(self, x: Tokens, y: Tokens) -> Tokens:
        """Entry by entry: (c + h z)(b + h w) has the differences c w + b z + h z w."""
        h = self.h[:, None, None]
        c, z, dc, dz = x.X[:, -1:], x.X[:, :-1], x.E[:, :, -1:], x.E[:, :, :-1]
        b, w, db, dw = y.X[:, -1:], y.X[:, :-1], y.E[:, :, -1:], y.E[:, :, :-1]
        terms = c * w, b * z, h * z * w
        tokens = np.concatenate([terms[0] + terms[1] + terms[2], c * b], axis=-2)
        c32, z32, b32, w32 = (part.astype(np.float32)[:, None] for part in (c, c + h * z, b, b + h * w))
        zx, wx = (part.astype(np.float32)[:, None] for part in (z, w))
        errors = np.concatenate([z32 * dw + w32 * dz + wx * dc + zx * db, c32 * db + b32 * dc], axis=-2)
        sizes = np.concatenate([sum(map(np.abs, terms), np.zeros_like(z)), np.abs(c * b)], axis=-2)
        self.round(errors, sizes)
        return Tokens(tokens, errors)

    def round(self, errors: HostArray, sizes: HostArray) -> None:
        """Add what sums of these sizes (k, n + 1, groups of features) round."""
        self.call("rounded", errors, frozen(sizes), self.drawn(errors))

    def deescalated(self, x: Tokens, step: Any, strength: HostArray | None, layer: int) -> Tokens:
        raise NotImplementedError  # such blocks are not covered


def _series(activation: Activation, c: HostArray, largest: HostArray) -> HostArray:
    """Taylor's coefficients at c (k, d), (k, terms, d): of each system those that its differences need."""
    reach = np.where(largest > 0, largest, 2.0**-60)
    terms = (1 + np.ceil(53 / -np.log2(reach))).clip(3, TERMS)
    count = int(terms.max())
    out = np.stack(activation.derivatives(c, count), axis=1) / np.cumprod(np.arange(1.0, count + 1))[:, None]
    out[np.arange(count) >= terms[:, None]] = 0
    return out


def _repeated(x: HostArray, own: int, heads: int) -> HostArray:
    flat = x.reshape(-1, *x.shape[-2:])
    found = joined(repeated(cut(flat, own), heads))
    return found.reshape(*x.shape[:-1], found.shape[-1])


@functools.cache
def _kernel(name: str) -> Any:
    from .._kernels import tangents

    kernel = getattr(tangents, name)
    _kernels.announce(kernel, "float64")
    return kernel


@functools.lru_cache(maxsize=8)
def _numbers(count: int) -> HostArray:
    out = np.random.default_rng(2**31 - 1).standard_normal(count).astype(np.float32)
    out.setflags(write=False)
    return out
