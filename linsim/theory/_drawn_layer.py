"""One layer of a block with fresh weights, as a map of means and fluctuations of the Gram matrix of tokens.

Each half of the layer is X -> r X + b Y, Y = M W with fresh W: its mean and what all tokens share go through
one function of the averages; new fluctuations come from W, from its product with X, and from what M itself
is made of (the rows of attention; finitely many neurons).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _validate
from .._namespace import to_host
from .._types import FloatArray
from ..attention import FromTokens
from ..block import Block
from ..errors import InvalidTypeError
from ._finite_width import NONE, Averages, Spread, Tokens, curved, normed, products, unequal
from ._random_neurons import activated, neurons
from ._softmax_overlaps import Overlaps, averages, condensed, overlaps

__all__ = ["Setting", "layer_of"]

Map = Callable[[Averages], Averages]


class Setting(NamedTuple):
    """A block, its sizes, and how much of them counts.

    ``finite``: d counts; ``heat``: a temperature in place of the block's; ``many``: n -> infinity.
    """

    block: Block
    n: int
    d: int | None
    finite: bool
    heat: float | None = None
    many: bool = False

    @property
    def unit(self) -> float:
        """1/d, or 0 where d does not count."""
        return 1 / self.d if self.finite and self.d is not None else 0.0

    def seen(self, x: Tokens) -> float:
        """Mean square of what scores are made of, for tokens ``x`` in front of the layer."""
        return 1.0 if self.block.A.normalizes() else self._in_front(x)  # type: ignore[union-attr]

    def _in_front(self, x: Tokens) -> float:
        return _Normed(self, "").of(x).q if self.block.norm == "pre" else x.q


class _Branch(NamedTuple):
    """Y = M W: ``mean`` of its averages as a function of those of what it looks at; M at the centre as
    ``hidden`` averages; ``size``, E W W^T = size I; and ``spread``, all fluctuations but what is shared
    through the input.
    """

    mean: Map
    hidden: Averages
    size: float
    spread: Spread


def layer_of(setting: Setting) -> Callable[[Tokens], Tokens]:
    """Return the map of one layer."""
    block = setting.block
    steps: Any = block.deescalation

    def at(place: str) -> Callable[[Tokens], Tokens]:
        here = [step for step in steps if step.place == place]

        def contracted(x: Tokens) -> Tokens:
            for step in here:
                x = _moved(functools.partial(_contracted, n=setting.n, step=step), x)
            return x

        return contracted

    def layer(x: Tokens) -> Tokens:
        first = _attended(setting, _Normed(setting, "").in_front(x))
        after = at("branch")
        if not block.parallel:
            x = at("attention")(_added(setting, x, [("", first, after)]))
            x = at("norm")(_Normed(setting, "").behind(x))
            if block.feed_forward is not None:
                second = _fed_forward(setting, _Normed(setting, "feed_forward_").in_front(x))
                x = _added(setting, x, [("feed_forward_", second, None)])
                x = _Normed(setting, "feed_forward_").behind(at("feed_forward")(x))
            return at("output")(x)
        branches: list[Any] = [("", first, after)]
        if block.feed_forward is not None:
            looked = _Normed(setting, "feed_forward_").in_front(at("norm")(x))
            branches.append(("feed_forward_", _fed_forward(setting, looked), None))
        return at("output")(at("feed_forward")(_added(setting, x, branches)))

    return layer


def _moved(function: Map, x: Tokens) -> Tokens:
    averages, shared = curved(function, x)
    return Tokens(*averages, x.spread._replace(shared=shared))


def _own(block: Block, name: str, which: str) -> Any:
    second = getattr(block, which + name)
    return getattr(block, name) if second is None else second


def _square(values: Any) -> float:
    """Mean square of a number, or of one a feature; of None 1."""
    return 1.0 if values is None else float(np.mean(to_host(np.asarray(values)).astype(np.float64) ** 2))


class _Normed:
    """One norm of the block."""

    def __init__(self, setting: Setting, which: str) -> None:
        block = setting.block
        self.place, self.which, self.setting = block.norm, which, setting
        if self.place is None:
            return
        gain, bias = _own(block, "gain", which), _own(block, "bias", which)
        self.size, self.shift = _square(gain), 0.0 if bias is None else _square(bias)
        if block.norm_kind == "sphere":
            if setting.d is None:
                raise _validate.refusal(
                    InvalidTypeError, "d", "nothing", "a number of features", "Call predict(block, x0=x0)."
                )
            self.size /= setting.d
        assert block.norm_eps is not None
        self.eps = block.norm_eps

    def of(self, x: Tokens) -> Tokens:
        """Tokens behind it."""
        y = normed(x, self.eps)
        return Tokens(self.size * y.q + self.shift, self.size * y.c + self.shift, y.spread.times(self.size))

    def behind(self, x: Tokens) -> Tokens:
        """Tokens behind a residual sum."""
        return self.of(x) if self.place == "post" else x

    def in_front(self, x: Tokens) -> tuple[Tokens, Map]:
        """What a branch looks at, and its averages as a function of those of the tokens."""
        if self.place != "pre":
            return x, lambda averages: averages
        moved = unequal(x, self.eps)

        def looked(averages: Averages) -> Averages:
            q, c = averages
            whole = q + self.eps
            return self.size * q / whole + self.shift, self.size * (c / whole + moved) + self.shift

        return self.of(x), looked


def _added(setting: Setting, x: Tokens, branches: list[tuple[str, _Branch, Any]]) -> Tokens:
    """R X + b Y, or with several Y."""
    block, unit = setting.block, setting.unit
    r = float(block.residual)
    if len(branches) == 1:
        r = float(_own(block, "residual", branches[0][0]))
    factors = [
        _square(_own(block, "branch", which)) * _square(_own(block, "layer_scale", which))
        for which, *_ in branches
    ]

    def total(averages: Averages) -> Averages:
        q, c = (r * r * a for a in averages)
        for b, (_, branch, after) in zip(factors, branches, strict=True):
            y = branch.mean(averages)
            if after is not None:
                y = after(Tokens(*y)).averages
            q, c = q + b * y[0], c + b * y[1]
        return q, c

    averages, shared = curved(total, x)
    spread = x.spread._replace(shared=np.zeros((2, 2))).times(r * r)
    for b, (_, branch, after) in zip(factors, branches, strict=True):
        hidden, own = branch.hidden, branch.spread
        if after is not None:
            own = after(Tokens(branch.size * hidden[0], branch.size * hidden[1], own)).spread
            hidden = after(Tokens(*hidden)).averages
        crossed = products(setting.n, x.averages, hidden).times(r * np.sqrt(2 * b * branch.size * unit))
        spread = spread.plus(own.times(b), crossed)
    return Tokens(*averages, spread._replace(shared=shared + spread.shared))


def _contracted(x: Averages, n: int, step: Any) -> Averages:
    mean = (x[0] + (n - 1) * x[1]) / n
    rest = x[0] - mean
    if step.similarity is None:
        kept = (1 - float(step.tau)) ** 2
    else:
        wanted = float(step.similarity)
        kept = wanted / (1 - wanted) * rest / mean if mean > 0 and rest > 0 else 1.0
    return rest + kept * mean, x[1] - mean + kept * mean


def _attended(setting: Setting, looked: tuple[Tokens, Map]) -> _Branch:
    block, n, unit = setting.block, setting.n, setting.unit
    z, of_tokens = looked
    s = float(block.std) ** 2
    mixed, x, bent = _mixing(setting, z)

    def hidden(at: Averages) -> Averages:
        (q, c), (P, O) = at, mixed(at)  # noqa: E741
        return c + (q - c) * P + bent[0], c + (q - c) * O + bent[1]

    def mean(at: Averages) -> Averages:
        q, c = hidden(of_tokens(at))
        return s * q, s * c

    M = hidden(z.averages)
    if not setting.finite:
        return _Branch(mean, M, s, NONE)
    uneven = (z.q - z.c) ** 2
    token = x.own * z.spread.token
    within = Spread(
        np.zeros((2, 2)),
        uneven * x.own_variance,
        uneven * x.pair_variance + x.own**2 * z.spread.pair + 2 * (1 - x.own) * token,
        uneven * x.covariance,
        uneven * x.token + token,
    )
    return _Branch(mean, M, s, within.plus(products(n, M, M).times(np.sqrt(_weights(block) * unit))).times(s))


def _mixing(setting: Setting, z: Tokens) -> tuple[Callable[[Averages], Averages], Overlaps, Averages]:
    """P and O as a function of the averages, all about them at those of ``z``, and what fluctuations add to
    the averages of A G A^T.
    """
    block, n = setting.block, setting.n
    if not isinstance(block.A, FromTokens):
        A = np.asarray(to_host(block.A), dtype=np.float64).reshape(-1, n, n)  # of every head
        fixed = _fixed_overlaps(np.mean(A @ np.swapaxes(A, -1, -2), axis=0))
        return lambda _: (fixed.own, fixed.pair), fixed, (0.0, 0.0)
    spec, heads = block.A, block.head_count
    heat = float(spec.temperature) if setting.heat is None else setting.heat
    normalizes = spec.normalizes()
    width = (spec.d_key or setting.d // heads) if setting.finite and setting.d else 0

    def scores(at: Averages) -> tuple[float, float]:
        q, c = at
        cosine = float(np.clip(c / q, 0.0, 1.0))
        return float((1.0 if normalizes else q) / heat * np.sqrt(1 - cosine)), cosine

    def mixed(at: Averages) -> Averages:
        sigma, cosine = scores(at)
        return condensed(n, sigma) if setting.many else averages(n, sigma, cosine, width)

    if not width:
        return mixed, Overlaps(*mixed(z.averages)), (0.0, 0.0)
    x = overlaps(n, *scores(z.averages), width)
    # the Gram matrix that the scores see is 1/q or q times that of z; so are its fluctuations
    seen = (1 / z.q if normalizes else z.q) / heat**2
    alone, token = max(z.spread.pair - 2 * z.spread.token, 0.0) * seen, z.spread.token * seen
    bent = tuple(alone * bend[0] + token * bend[1] for bend in (x.own_bend, x.pair_bend))
    each = {
        name: getattr(x, name) / heads for name in ("own_variance", "pair_variance", "covariance", "token")
    }
    return mixed, x._replace(**each), (bent[0], bent[1])


def _weights(block: Block) -> float:
    """How many Gaussian matrices W is the product of: values and projection where there are several heads.

    An orthogonal one turns tokens and leaves their Gram matrix; of values that are cut into heads part.
    """
    if block.weights == "orthogonal":
        return 1 - 1 / block.head_count
    return 1.0 if block.head_count == 1 else 2.0


def _fixed_overlaps(gram: FloatArray) -> Any:
    """P, O and their fluctuations of attention with A A^T = ``gram``."""
    n = len(gram)
    own = np.diagonal(gram)
    if n == 1:
        return Overlaps(float(own[0]), float(own[0]))
    pairs = gram[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    P, O = float(np.mean(own)), float(np.mean(pairs))  # noqa: E741
    off, apart = own - P, pairs - O
    covariance = float(np.mean(off[:, None] * apart))
    own_variance, pair_variance = float(np.mean(off**2)), float(np.mean(apart**2))
    along = float(np.mean(np.sum(apart, axis=-1) ** 2)) - (n - 1) * pair_variance
    token = along / ((n - 1) * (n - 2)) if n > 2 else 0.0
    return Overlaps(P, O, (0.0, 0.0), (0.0, 0.0), own_variance, pair_variance, covariance, max(token, 0.0))


def _fed_forward(setting: Setting, looked: tuple[Tokens, Map]) -> _Branch:
    block, unit = setting.block, setting.unit
    z, of_tokens = looked
    size = 2 * block.feed_forward_std**2

    def plain(averages: Averages) -> Averages:
        q, c = averages
        alone, both = activated(block.activation, q, float(np.clip(c / q, -1.0, 1.0)))
        return (alone * q, both * c) if block.gated else (alone, both)

    h = 1e-3 * z.q
    centre = min(z.c, z.q - 2 * h)
    up, middle, down = (plain((z.q, centre + k * h))[1] for k in (1, 0, -1))
    slope, bend = (up - down) / (2 * h), (up - 2 * middle + down) / h**2
    moved = 0.5 * bend * z.spread.pair

    def hidden(averages: Averages) -> Averages:
        alone, both = plain(averages)
        return alone, both + moved

    def mean(averages: Averages) -> Averages:
        q, c = hidden(of_tokens(averages))
        return size * q, size * c

    M = hidden(z.averages)
    within = z.spread._replace(shared=np.zeros((2, 2)), own=0.0, both=0.0).times(slope)
    if unit:
        assert setting.d is not None
        width = block.width or 4 * setting.d
        within = within.plus(
            neurons(block.activation, block.gated, *z.averages).times(1 / np.sqrt(width)),
            products(setting.n, M, M).times(np.sqrt(unit)),
        )
    return _Branch(mean, M, size, within.times(size))
