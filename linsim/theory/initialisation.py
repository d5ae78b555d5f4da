r"""Blocks at initialisation: the recursion of mean square and mean cosine of tokens, for wide layers.

q is the mean square of a feature, c the mean over pairs of tokens of x_i x_k / d, and cos = c / q.  Weights
are fresh, independent of the tokens and of mean zero, so for d -> infinity and tokens alike in distribution:

- attention M = A X, then W with E W W^T = s^2 I:  q -> s^2 (c + (q - c) P),  c -> s^2 (c + (q - c) O), with
  P = E sum_j A_ij^2 and O = E sum_j A_ij A_kj, i != k.  Exact for any attention, given that all q and all c
  are equal.
- softmax of Q K^T / sqrt(d_key), Q and K fresh: the scores of a row are Gaussian, of variance
  sigma^2 = (q_s / temperature)^2 (1 - cos) beside what the row shares, and those of two rows have correlation
  cos; q_s is the mean square of what is looked at, 1 if it is normalised.  P and O follow from n, sigma, cos.
- a residual sum of factors r and b: q -> r^2 q + b^2 q_y, c -> r^2 c + b^2 c_y.
- several heads: as one, whose P and O are the means over heads.
- norm: both over q + eps (and d, on the sphere), times the mean square gain, plus the mean square bias.
- feed-forward: the expectations of phi^2 and of phi phi' of Gaussians of variance q and correlation cos;
  times q, and times c, behind a gate.
- de-escalation multiplies the mean over tokens, whose square is (q + (n - 1) c) / n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .. import _html, _validate
from .._activations import ACTIVATIONS
from .._namespace import to_host
from .._types import FloatArray
from ..attention import FromTokens
from ..block import Block
from ..errors import InvalidTypeError, InvalidValueError, NotCoveredError

__all__ = ["BlockPrediction", "at_initialisation"]

_DRAWS = 2**16  # Gaussian scores over which P and O are averaged, at least
_SETTLED = 1e-10
_LAYERS = 2_000  # until a fixed point is given up

State = tuple[float, float]


@dataclass(frozen=True, eq=False)
class BlockPrediction:
    """What wide blocks do to the mean cosine of their tokens, layer by layer.

    Attributes
    ----------
    n, d : int or None
        Tokens and features; d only scales :meth:`log_norm`.
    start : tuple of float
        Mean square of a feature and mean cosine at layer 0.
    """

    n: int
    d: int | None
    start: State
    _layer: Callable[[State], State] = field(repr=False)
    _heated: Callable[[float], BlockPrediction] | None = field(repr=False, default=None)

    @cached_property
    def _end(self) -> tuple[float, float]:
        return _settled(self._layer, self.start)

    @property
    def fixed_point(self) -> float:
        """The mean cosine that layers lead to from there; NaN if 2,000 of them do not settle."""
        return self._end[0]

    @property
    def rate(self) -> float:
        """Factor per layer of the distance from the fixed point, near it; 1 where it falls like a power."""
        return self._end[1]

    def cosine(self, layers: Any) -> Any:
        """Return the mean cosine over pairs of tokens at some layers.

        Parameters
        ----------
        layers : int, or array of int
            Depths >= 0.
        """
        return self._at(layers, lambda q, c: c / q)

    def token_similarity(self, layers: Any) -> Any:
        """Return token similarity (q + (n - 1) c) / (n q) at some layers, a ratio of expectations.

        Parameters
        ----------
        layers : int, or array of int
            Depths >= 0.
        """
        return self._at(layers, lambda q, c: (q + (self.n - 1) * c) / (self.n * q))

    def log_norm(self, layers: Any) -> Any:
        """Return ln ||X||_F, half of ln of the expected square, at some layers.

        Parameters
        ----------
        layers : int, or array of int
            Depths >= 0.

        Raises
        ------
        InvalidTypeError
            If the number of features is not known.
        """
        if self.d is None:
            raise _validate.refusal(
                InvalidTypeError, "d", "nothing", "a number of features", "Call predict(block, x0=x0)."
            )
        size = self.n * self.d
        return self._at(layers, lambda q, c: np.log(q * size) / 2)

    def critical_temperature(self, low: float = 0.05, high: float = 10.0) -> float:
        """Return the temperature of the softmax below which tokens stay apart, from this start.

        Above it the fixed point has a cosine of more than 0.99, below it of less.

        Parameters
        ----------
        low, high : float
            Where it is looked for.

        Returns
        -------
        float
            To 1 percent; 0 where tokens collapse at ``low`` as well, inf where they stay apart at ``high``.

        Raises
        ------
        NotCoveredError
            For attention that has no temperature.
        """
        if self._heated is None:
            raise NotCoveredError(
                "A: found attention without a temperature; expected attention.FromTokens. "
                "Give the block attention that is made from its tokens."
            )
        low, high = (
            _validate.number(x, name, low=1e-3, high=1e3) for x, name in ((low, "low"), (high, "high"))
        )

        def collapses(temperature: float) -> bool:
            assert self._heated is not None
            return not self._heated(temperature).fixed_point < 0.99

        if collapses(low):
            return 0.0
        if not collapses(high):
            return float("inf")
        while high / low > 1.01:
            middle = float(np.sqrt(low * high))
            low, high = (low, middle) if collapses(middle) else (middle, high)
        return float(np.sqrt(low * high))

    def _at(self, layers: Any, value: Callable[[float, float], float]) -> Any:
        depth = np.asarray(layers)
        if depth.dtype.kind not in "iu" or np.any(depth < 0):
            raise _validate.refusal(
                InvalidValueError, "layers", repr(layers), "integers >= 0", "Layer 0 is the input."
            )
        q, c = self.start[0], self.start[0] * self.start[1]
        found = [value(q, c)]
        for _ in range(int(np.max(depth, initial=0))):
            q, c = self._layer((q, c))
            found.append(value(q, c))
        out = np.asarray(found)[depth]
        return out.item() if out.ndim == 0 else out

    def __str__(self) -> str:
        return (
            f"From a mean cosine of {self.start[1]:.4g} tokens go to {self.fixed_point:.6g}, "
            f"the distance times {self.rate:.6g} per layer in the end."
        )

    __repr__ = __str__
    _repr_html_ = _html.paragraph


def at_initialisation(block: Block, x0: Any = None) -> BlockPrediction:
    """Predict blocks with fresh weights, wide ones, from their options alone.

    Parameters
    ----------
    block : Block
        One system; weights fresh at every layer, attention fixed or made from the tokens.
    x0 : array (n, d) or (..., n, d), optional
        Tokens to start from: of a batch the means count.  By default independent ones, of mean square 1.

    Returns
    -------
    BlockPrediction

    Raises
    ------
    NotCoveredError
        For fixed weights, samplers of attention, masks, hooks, options with batch axes, gains of
        different size, and a bias with a mean over features, which the next norm takes off.
    InvalidTypeError
        If the number of tokens is not known.

    Notes
    -----
    Derived in this module.  The part of the softmax follows the picture of arXiv 2505.24333 (random
    energies), at finite n: P and O are averages over fixed draws of Gaussian scores, to about 1 percent.
    Corrections are of order 1/d; fluctuations of c between pairs of tokens are left out.

    Examples
    --------
    >>> import linsim
    >>> block = linsim.Block(linsim.attention.uniform(16), norm="post")
    >>> law = linsim.predict(block)
    >>> law.cosine([0, 1, 2]).round(4)  # q: 1 + 1/16, c: 1/16, and so on
    array([0.    , 0.0588, 0.1579])
    >>> law.fixed_point, round(law.rate, 6)
    (1.0, 0.5)
    """
    _refuse(block)
    if x0 is None:
        n, d, start = block.n, block.d, (1.0, 0.0)
    else:
        X = to_host(_validate.array(x0, "x0", ndim=2, shape="(..., n, d)")).astype(np.float64)
        n, d = X.shape[-2:]
        for name, found, own in (("n", n, block.n), ("d", d, block.d)):
            if own not in (None, found):
                raise _validate.refusal(
                    InvalidValueError, "x0", f"{name} = {found}", f"{own}", "Match the block."
                )
        gram = np.mean((X @ np.swapaxes(X, -1, -2) / d).reshape(-1, n, n), axis=0)
        q = float(np.trace(gram)) / n
        start = (q, float((gram.sum() - np.trace(gram)) / max(n * (n - 1), 1)) / q if n > 1 else 1.0)
    if n is None:
        raise _validate.refusal(
            InvalidTypeError, "x0", "nothing", "tokens: the block leaves their number open", "Pass x0."
        )

    def made(temperature: float | None = None) -> BlockPrediction:
        def layer(state: State) -> State:
            return _block(block, int(n), d, state, temperature)

        heated = made if isinstance(block.A, FromTokens) and temperature is None else None
        return BlockPrediction(int(n), d, start, layer, heated)

    return made()


def _refuse(block: Block) -> None:
    steps: Any = block.deescalation
    for there, what in (
        (
            block.weights_fixed or any(x is not None for x in (block.query, block.value, block.up)),
            "weights that are the same at every layer",
        ),
        (callable(block.A), "a sampler of attention"),
        (isinstance(block.A, FromTokens) and not block.A.free, "a mask, slopes or rotation: rows differ"),
        (isinstance(block.A, FromTokens) and block.A.query_key is not None, "a fixed query_key"),
        (any(step.function is not None for step in steps), "a hook"),
        (block.batch_shape != (), f"options of shape {block.batch_shape}"),
        (_uneven(block), "gains or layer scales that differ in size, or a bias with a mean over features"),
    ):
        if there:
            raise NotCoveredError(
                f"rule: found a Block with {what}; expected fresh weights and tokens alike in distribution. "
                "Use linsim.simulate to measure."
            )


def _uneven(block: Block) -> bool:
    """Whether features are no longer alike behind a norm, or its bias is what the next one takes off."""
    for name in ("gain", "feed_forward_gain", "layer_scale", "feed_forward_layer_scale"):
        row = getattr(block, name)
        if row is not None and np.ptp(np.abs(to_host(row))) > 1e-6 * np.max(np.abs(to_host(row))):
            return True
    for name in ("bias", "feed_forward_bias"):
        if getattr(block, name) is not None:
            row = to_host(getattr(block, name)).astype(np.float64)
            # the mean of d independent numbers is not exactly 0
            if np.mean(row) ** 2 > 9 / row.size * np.mean(row**2):
                return True
    return False


def _settled(layer: Callable[[State], State], start: State) -> tuple[float, float]:
    """The cosine that layers lead to, and the factor of the distance from it."""
    q, c = start[0], start[0] * start[1]
    before, moved = c / q, []
    for _ in range(_LAYERS):
        q, c = layer((q, c))
        q, c = (1.0, c / q) if not 1e-100 < q < 1e100 else (q, c)
        moved.append(abs(c / q - before))
        before = c / q
        if moved[-1] < _SETTLED:
            break
    else:
        return float("nan"), 1.0
    late = [b / a for a, b in zip(moved[-6:-2], moved[-5:-1], strict=False) if a > 0]
    rate = float(np.median(late)) if late else 0.0
    # what is left: a geometric series
    rest = moved[-1] * rate / (1 - rate) if rate < 1 else 0.0
    return (1.0 if before + 2 * rest > 1 - 1e-8 else before), min(rate, 1.0)


def _block(block: Block, n: int, d: int | None, state: State, temperature: float | None) -> State:
    steps: Any = block.deescalation

    def own(name: str, which: str) -> Any:
        second = getattr(block, which + name)
        return getattr(block, name) if second is None else second

    def normed(x: State, where: str, which: str = "") -> State:
        if block.norm != where:
            return x
        return _norm(block, d, x, own("gain", which), own("bias", which))

    def at(place: str, x: State) -> State:
        for step in steps:
            if step.place == place:
                x = _contracted(x, n, step)
        return x

    def added(x: State, y: State, which: str = "") -> State:
        r, b = float(own("residual", which)), _square(own("branch", which))
        b *= _square(own("layer_scale", which))
        return r * r * x[0] + b * y[0], r * r * x[1] + b * y[1]

    y = at("branch", _attended(block, n, normed(state, "pre"), temperature))
    both = added(state, y)
    x = state if block.parallel else at("attention", both)
    x = at("norm", normed(x, "post"))
    if block.feed_forward is not None:
        which = "feed_forward_"
        y = _feed_forward(block, normed(x, "pre", which))
        if block.parallel:
            more = added((0.0, 0.0), y, which)
            x = (both[0] + more[0], both[1] + more[1])
        else:
            x = added(x, y, which)
        x = normed(at("feed_forward", x), "post", which)
    return at("output", x)


def _square(values: Any) -> float:
    """Mean square of a number, or of one a feature; of None 1."""
    return 1.0 if values is None else float(np.mean(to_host(np.asarray(values)).astype(np.float64) ** 2))


def _norm(block: Block, d: int | None, x: State, gain: Any, bias: Any) -> State:
    size, shift = _square(gain), 0.0 if bias is None else _square(bias)
    if block.norm_kind == "sphere":
        if d is None:
            raise _validate.refusal(
                InvalidTypeError, "d", "nothing", "a number of features", "Call predict(block, x0=x0)."
            )
        size /= d
    assert block.norm_eps is not None
    whole = x[0] + block.norm_eps
    return size * x[0] / whole + shift, size * x[1] / whole + shift


def _contracted(x: State, n: int, step: Any) -> State:
    mean = (x[0] + (n - 1) * x[1]) / n
    rest = x[0] - mean
    if step.similarity is None:
        kept = (1 - float(step.tau)) ** 2
    else:
        wanted = float(step.similarity)
        kept = wanted / (1 - wanted) * rest / mean if mean > 0 and rest > 0 else 1.0
    return rest + kept * mean, x[1] - mean + kept * mean


def _attended(block: Block, n: int, x: State, temperature: float | None) -> State:
    q, c = x
    if isinstance(block.A, FromTokens):
        spec = block.A
        heat = spec.temperature if temperature is None else temperature
        seen = 1.0 if spec.normalizes() else q
        cosine = float(np.clip(c / q, 0.0, 1.0))
        P, O = _overlaps(n, seen / heat * np.sqrt(1 - cosine), cosine)  # noqa: E741
    else:
        A = np.asarray(to_host(block.A), dtype=np.float64).reshape(-1, n, n)  # of every head
        gram = np.mean(A @ np.swapaxes(A, -1, -2), axis=0)
        P = float(np.trace(gram)) / n
        O = float(gram.sum() - np.trace(gram)) / max(n * (n - 1), 1)  # noqa: E741
    s = float(block.std) ** 2
    return s * (c + (q - c) * P), s * (c + (q - c) * O)


@lru_cache(maxsize=8)
def _scores(n: int) -> tuple[FloatArray, FloatArray]:
    rows = max(64, -(-_DRAWS // n))
    generator = np.random.default_rng(0)
    first, second = generator.standard_normal((2, rows, n))
    return first, second


def _overlaps(n: int, sigma: float, cosine: float) -> tuple[float, float]:
    """E sum_j A_ij^2 and E sum_j A_ij A_kj of softmax rows, over fixed draws."""
    if n == 1:
        return 1.0, 1.0
    first, second = _scores(n)
    second = cosine * first + np.sqrt(max(1 - cosine * cosine, 0.0)) * second
    rows = []
    for scores in (first, second):
        weights = np.exp(sigma * (scores - np.max(scores, axis=-1, keepdims=True)))
        rows.append(weights / np.sum(weights, axis=-1, keepdims=True))
    P = (np.mean(np.sum(rows[0] ** 2, axis=-1)) + np.mean(np.sum(rows[1] ** 2, axis=-1))) / 2
    return float(P), float(np.mean(np.sum(rows[0] * rows[1], axis=-1)))


def _feed_forward(block: Block, x: State) -> State:
    q, c = x
    alone, both = _activated(block.activation, q, float(np.clip(c / q, -1.0, 1.0)))
    size = 2 * block.feed_forward_std**2
    if block.gated:  # behind the gate: independent numbers of variance q
        alone, both = alone * q, both * c
    return size * alone, size * both


def _activated(name: str | None, q: float, cosine: float) -> State:
    """E phi(u)^2 and E phi(u) phi(v) of Gaussians of variance q."""
    if name == "linear":
        return q, q * cosine
    if name == "relu":  # Cho and Saul 2009
        turned = np.sqrt(1 - cosine * cosine) + (np.pi - np.arccos(cosine)) * cosine
        return q / 2, q * turned / (2 * np.pi)
    activation = ACTIVATIONS[name or ""]
    assert activation is not None
    phi, (nodes, weights) = activation.value, _nodes()
    u = np.sqrt(q) * nodes
    v = np.sqrt(q) * (cosine * nodes[:, None] + np.sqrt(1 - cosine * cosine) * nodes[None, :])
    alone = float(weights @ phi(u) ** 2)
    return alone, float(weights @ (phi(u)[:, None] * phi(v)) @ weights)


@lru_cache(maxsize=1)
def _nodes() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    return nodes, weights / np.sum(weights)
