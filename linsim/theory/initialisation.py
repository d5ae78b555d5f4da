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

With d features all this fluctuates, by 1/sqrt(d) from draw to draw, and the mean is moved by 1/d: what every
weight matrix, residual sum, feed-forward of finite width and norm adds is in ``_finite_width``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .. import _html, _validate
from .._namespace import to_host
from .._types import FloatArray
from ..attention import FromTokens
from ..block import Block
from ..errors import InvalidTypeError, InvalidValueError, NotCoveredError
from ._drawn_layer import Setting, layer_of
from ._finite_width import Averages, Spread, Tokens, mean_of, products

__all__ = ["BlockPrediction", "at_initialisation"]

_SETTLED = 1e-10
_KNOWN = 1e-7  # steps that tell a rate to so many digits
_LAYERS = 2_000  # until a fixed point is given up


@dataclass(frozen=True, eq=False)
class BlockPrediction:
    """What blocks with fresh weights do to the mean cosine of their tokens, layer by layer.

    Attributes
    ----------
    n, d : int or None
        Tokens and features; without d the law is that of infinitely many features.
    start : tuple of float
        Mean square of a feature and mean cosine at layer 0.
    """

    n: int
    d: int | None
    start: tuple[float, float]
    _setting: Setting = field(repr=False)
    _tokens: Tokens = field(repr=False)

    @cached_property
    def _end(self) -> tuple[float, float]:
        return _settled(layer_of(self._setting._replace(finite=False)), self._tokens.averages)

    @property
    def wide(self) -> BlockPrediction:
        """The same law for infinitely many features: no corrections of order 1/d, no deviations."""
        plain = Tokens(*self._tokens.averages)
        return replace(self, _setting=self._setting._replace(finite=False), _tokens=plain)

    @property
    def many_tokens(self) -> BlockPrediction:
        """The same law for n -> infinity at one temperature times sqrt(ln n), and for d -> infinity.

        Scores of variance sigma^2 = 2 ln n / t^2 are the energies of a random energy model: then P -> 1 - t
        below t = 1 (:meth:`condensation_temperature`) and 0 above, and O -> 0.  This is the recursion of
        arXiv 2505.24333, with beta = 1 / (temperature sqrt(ln n)).  Convergence is logarithmic in n.
        """
        return replace(self.wide, _setting=self._setting._replace(finite=False, many=True))

    @property
    def fixed_point(self) -> float:
        """The mean cosine that layers lead to for d -> infinity; NaN if 2,000 of them do not settle."""
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
        return self._at(layers, lambda x: x.cosine)

    def deviation(self, layers: Any) -> Any:
        """Return the standard deviation of the mean cosine from draw to draw, of order 1/sqrt(d).

        Parameters
        ----------
        layers : int, or array of int
            Depths >= 0.

        Returns
        -------
        float or ndarray
            Of the shape of ``layers``; linear scale, as the cosine. Derived in this module.

        Raises
        ------
        InvalidTypeError
            If the number of features is not known.
        """
        self._known_width()
        return self._at(layers, lambda x: x.deviation)

    def condensation_temperature(self, layers: Any) -> Any:
        """Return the temperature below which a few tokens hold most of a softmax row, at the input of layers.

        Parameters
        ----------
        layers : int, or array of int
            Depths >= 0.

        Returns
        -------
        float or ndarray
            q_s sqrt((1 - cos) / (2 ln n)), the transition of the random energy model; q_s as in this module.

        Raises
        ------
        NotCoveredError
            For attention that has no temperature.
        """
        self._has_temperature()
        n = max(self.n, 2)

        def critical(x: Tokens) -> float:
            seen = self._setting.seen(x)
            return float(seen * np.sqrt(max(1 - x.cosine, 0.0) / (2 * np.log(n))))

        return self._at(layers, critical)

    def token_similarity(self, layers: Any) -> Any:
        """Return the mean of token similarity (q + (n - 1) c) / (n q) at some layers.

        Parameters
        ----------
        layers : int, or array of int
            Depths >= 0.
        """
        n = self.n
        return self._at(layers, lambda x: mean_of(lambda q, c: (q + (n - 1) * c) / (n * q), x))

    def log_norm(self, layers: Any) -> Any:
        """Return the mean of ln ||X||_F at some layers.

        Parameters
        ----------
        layers : int, or array of int
            Depths >= 0.

        Raises
        ------
        InvalidTypeError
            If the number of features is not known.
        """
        size = self.n * self._known_width()
        return self._at(layers, lambda x: mean_of(lambda q, _: float(np.log(q * size)) / 2, x))

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
        self._has_temperature()
        low, high = (
            _validate.number(x, name, low=1e-3, high=1e3) for x, name in ((low, "low"), (high, "high"))
        )

        def collapses(temperature: float) -> bool:
            return not replace(self, _setting=self._setting._replace(heat=temperature)).fixed_point < 0.99

        if collapses(low):
            return 0.0
        if not collapses(high):
            return float("inf")
        while high / low > 1.01:
            middle = float(np.sqrt(low * high))
            low, high = (low, middle) if collapses(middle) else (middle, high)
        return float(np.sqrt(low * high))

    def _known_width(self) -> int:
        if self.d is None:
            raise _validate.refusal(
                InvalidTypeError, "d", "nothing", "a number of features", "Call predict(block, x0=x0)."
            )
        return self.d

    def _has_temperature(self) -> None:
        if not isinstance(self._setting.block.A, FromTokens):
            raise NotCoveredError(
                "A: found attention without a temperature; expected attention.FromTokens. "
                "Give the block attention that is made from its tokens."
            )

    def _at(self, layers: Any, value: Callable[[Tokens], float]) -> Any:
        depth = np.asarray(layers)
        if depth.dtype.kind not in "iu" or np.any(depth < 0):
            raise _validate.refusal(
                InvalidValueError, "layers", repr(layers), "integers >= 0", "Layer 0 is the input."
            )
        layer, x = layer_of(self._setting), self._tokens
        found = [value(x)]
        for _ in range(int(np.max(depth, initial=0))):
            x = layer(x)
            found.append(value(x))
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
    Of order 1/d counted are: fluctuations of q and c that tokens share and that they do not, from every fresh
    matrix, its product with the residual, the d_key channels of scores and the width of the feed-forward, and
    what they do to norms, softmax rows and activations.  Not counted, of the same order: tokens of unequal
    length in front of a feed-forward or of scores where ``norm`` is None.  Samplers of weights count as
    Gaussian.

    Examples
    --------
    >>> import linsim
    >>> block = linsim.Block(linsim.attention.uniform(16), norm="post")
    >>> law = linsim.predict(block)
    >>> law.cosine([0, 1, 2]).round(4)  # q: 1 + 1/16, c: 1/16, and so on
    array([0.    , 0.0588, 0.1579])
    >>> law.fixed_point, round(law.rate, 4)
    (1.0, 0.5)

    With 64 features the mean is lower, and draws differ:

    >>> law = linsim.predict(block, x0=linsim.tokens.gaussian(16, 64, rng=0))
    >>> [f"{x:.2f}" for x in (law.cosine(4), law.deviation(4), law.wide.cosine(4))]
    ['0.49', '0.08', '0.51']
    """
    _refuse(block)
    if x0 is None:
        n, d, tokens = block.n, block.d, Tokens(1.0, 0.0)
        if n is not None and d is not None:
            tokens = Tokens(1.0, 0.0, products(n, (1.0, 0.0), (1.0, 0.0)).times(1 / np.sqrt(d)))
    else:
        X = to_host(_validate.array(x0, "x0", ndim=2, shape="(..., n, d)")).astype(np.float64)
        n, d = X.shape[-2:]
        for name, found, own in (("n", n, block.n), ("d", d, block.d)):
            if own not in (None, found):
                raise _validate.refusal(
                    InvalidValueError, "x0", f"{name} = {found}", f"{own}", "Match the block."
                )
        tokens = _measured((X @ np.swapaxes(X, -1, -2) / d).reshape(-1, n, n))
    if n is None:
        raise _validate.refusal(
            InvalidTypeError, "x0", "nothing", "tokens: the block leaves their number open", "Pass x0."
        )
    start = (tokens.q, tokens.c / tokens.q)
    return BlockPrediction(int(n), d, start, Setting(block, int(n), d, d is not None), tokens)


def _measured(gram: FloatArray) -> Tokens:
    """Means and fluctuations of some (k, n, n) Gram matrices over d."""
    n = gram.shape[-1]
    own = np.diagonal(gram, axis1=-2, axis2=-1)
    q = np.mean(own, axis=-1)
    if n == 1:
        return Tokens(float(np.mean(q)), float(np.mean(q)))
    pairs = gram[:, ~np.eye(n, dtype=bool)].reshape(-1, n, n - 1)
    c = np.mean(pairs, axis=(-1, -2))
    off, apart = own - q[:, None], pairs - c[:, None, None]
    shared = np.cov(q, c) if len(gram) > 1 else np.zeros((2, 2))
    both, pair = float(np.mean(off[:, :, None] * apart)), float(np.mean(apart**2))
    # of different pairs of one token
    along = np.mean(np.sum(apart, axis=-1) ** 2) - (n - 1) * pair
    token = max(float(along) / ((n - 1) * (n - 2)), 0.0) if n > 2 else 0.0
    spread = Spread(shared, float(np.mean(off**2)), pair, both, token)
    return Tokens(float(np.mean(q)), float(np.mean(c)), spread)


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


def _settled(layer: Callable[[Tokens], Tokens], start: Averages) -> tuple[float, float]:
    """The cosine that layers lead to, and the factor of the distance from it."""
    q, c = start
    before, moved, guessed = c / q, [], np.nan
    for _ in range(_LAYERS):
        q, c = layer(Tokens(q, c)).averages
        q, c = (1.0, c / q) if not 1e-100 < q < 1e100 else (q, c)
        moved.append(c / q - before)
        before = c / q
        if abs(moved[-1]) < _SETTLED:
            break
        # the rest of a geometric series: where two guesses agree it is one
        rate = moved[-1] / moved[-2] if len(moved) > 8 else 1.0
        guess = before + moved[-1] * rate / (1 - rate) if abs(rate) < 1 else np.nan
        if abs(guess - guessed) < _SETTLED and abs(moved[-1]) < _KNOWN:
            break
        guessed = guess
    else:
        return float("nan"), 1.0
    late = [b / a for a, b in zip(moved[-6:-2], moved[-5:-1], strict=False) if a]
    rate = abs(float(np.median(late))) if late else 0.0
    rest = moved[-1] * rate / (1 - rate) if rate < 1 else 0.0
    end = before + rest
    return (1.0 if end + abs(rest) > 1 - 1e-8 else end), min(rate, 1.0)
