"""A whole Transformer block: attention, residual, norm, feed-forward, de-escalation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from . import _draws, _spectra, _validate
from ._factored import dense
from ._layers import ACTIVATIONS
from ._namespace import Array, namespace
from ._rule import Rule
from .attention import FromTokens
from .errors import InvalidTypeError, InvalidValueError, ShapeError

__all__ = ["PLACES", "Block", "Deescalation"]

#: numbers of a block beyond this could leave the range of floats within a layer
LARGEST = 1e15

#: places in a block where de-escalation can act, in the order of the data
PLACES = {
    "branch": "what attention returns, before it is added",
    "attention": "behind the attention's residual",
    "norm": "behind the norm that follows attention (norm='post')",
    "feed_forward": "behind the feed-forward's residual, before its norm",
    "output": "at the end of the block",
}


@dataclass(frozen=True, eq=False)
class Deescalation:
    """Take away some of what all tokens share: X -> (I - tau Pi) X, at one place of a block.

    Exactly one of ``tau``, ``similarity`` and ``function`` is given.

    Parameters
    ----------
    place : {"branch", "attention", "norm", "feed_forward", "output"}
        Where in the block (:data:`linsim.block.PLACES`).
    tau : float or array of batch shape
        Strength; 1 removes the mean of the tokens, 0 does nothing.
    similarity : float or array of batch shape in [0, 1)
        Solve for the tau that brings token similarity to this value, at every layer:
        (1 - tau)^2 is the quotient of the odds wanted and the odds found.  Tokens that
        are exactly alike, or whose mean is exactly zero, stay as they are.
    function : callable
        A hook of your own, also nonlinear: called with tokens (k, n, d) at their true
        scale, in the library, device and dtype of the input, returns as many of the
        same dtype.  It sees plain numbers, so differences between tokens below 1e-16 of
        their size are lost there.  It must be deterministic, one result for one input:
        at each layer it is called again, up to six times, on tokens that differ by a
        multiple of their rounding, to measure what it does to errors.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything else.

    Notes
    -----
    Source: arXiv 2312.06182.  Token similarity t becomes
    (1 - tau)^2 t / ((1 - tau)^2 t + 1 - t).

    Examples
    --------
    >>> import linsim
    >>> linsim.Deescalation("attention", tau=1.0).place
    'attention'
    """

    place: str
    _: KW_ONLY
    tau: Any = None
    similarity: Any = None
    function: Callable[[Array], Array] | None = None

    def __post_init__(self) -> None:
        _validate.choice(self.place, "place", PLACES)
        given = [name for name in ("tau", "similarity", "function") if getattr(self, name) is not None]
        if len(given) != 1:
            raise _validate.refusal(
                InvalidTypeError,
                "Deescalation",
                " and ".join(given) or "no strength",
                "exactly one of tau, similarity and function",
                "Pass for example tau=1.0.",
            )
        if self.tau is not None:
            object.__setattr__(
                self, "tau", _spectra.parameter(self.tau, "tau", (), low=-LARGEST, high=LARGEST)[0]
            )
        if self.similarity is not None:
            wanted, _ = _spectra.parameter(self.similarity, "similarity", (), low=0, high=1)
            if np.any(wanted == 1):
                raise _validate.refusal(
                    InvalidValueError, "similarity", 1.0, "numbers in [0, 1)", "No finite tau reaches 1."
                )
            object.__setattr__(self, "similarity", wanted)
        if self.function is not None and not callable(self.function):
            raise _validate.refusal(
                InvalidTypeError,
                "function",
                type(self.function).__name__,
                "a callable of tokens (k, n, d)",
                "Pass a function, or tau.",
            )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of tau or of the similarity; () for a function."""
        strength = self.similarity if self.tau is None else self.tau
        return () if strength is None else tuple(strength.shape)


@dataclass(frozen=True, eq=False)
class Block(Rule):
    """One layer of a Transformer, its random weights drawn afresh at every layer.

    Attention Y = A X W, added to ``residual`` X; layer norm; feed-forward
    phi(X W_1) W_2, added to ``residual`` X; layer norm.  De-escalation at any place.

    Parameters
    ----------
    A : array (..., n, n), sampler, or FromTokens
        Attention, as for :class:`linsim.RandomWeights`.  Masks: see
        :func:`linsim.attention.masked` and the ``mask`` of FromTokens.
    weights : "gaussian", "orthogonal", sampler, or array (..., d, d)
        W, value times projection: fresh at each layer, as ``kind`` of
        :class:`linsim.RandomWeights`, or the same matrix at every layer.
    std : float or array of batch shape
        s of fresh W: E W W^T = s^2 I.  Only 1 fits an array as ``weights``.
    residual : float or None
        Factor of X where a branch is added to it; None (or 0): no residual.
    branch : float
        Factor of what attention and feed-forward add (1/sqrt(L), say).
    norm : {"post", "pre", None}
        Layer norm behind each residual sum, in front of each branch, or none.
    gain, bias : arrays (d,) or (..., d), optional
        Per feature, of any sign, for every norm of the block; 1 and 0 by default.
    norm_eps : float
        Added to the variance, >= 0; 1e-5 by default.  A token without variance
        becomes the bias, whatever ``norm_eps``.
    feed_forward : {None, "linear", "tanh", "relu", "gelu"}
        The activation phi; None: no feed-forward.
    width : int, optional
        Columns of W_1, 4 d by default.
    feed_forward_std : float
        Factor of W_2.  Entries of W_1 are N(0, 1/d), of W_2 N(0, 2/width).
    deescalation : Deescalation or sequence of them

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For anything else; the message names the argument.

    Notes
    -----
    Source: arXiv 2312.06182, the block at initialisation, with its de-escalation;
    arXiv 2401.04301 for pre-norm gains of either sign.  Tokens are carried as a
    centre and the differences from it (derived in ``linsim._layers``), so that
    similarity gaps keep relative accuracy at any depth, through norms and activations.
    Leading axes are batches, as everywhere.  But A (h, n, n) and weights (h, d, d) look
    like a layer of h heads, while they are h blocks of one head each: together with tokens
    that lack this axis they are refused by :func:`linsim.simulate`.  Tokens (1, n, d) run
    the h blocks side by side; :class:`linsim.MultiHead` sums heads.
    Deep blocks with tanh or GELU can be chaotic: rounding then grows into another
    trajectory of the same statistics, which is the one that is measured.

    Examples
    --------
    >>> import linsim
    >>> block = linsim.Block(linsim.attention.uniform(16), norm="post", feed_forward="tanh")
    >>> x0 = linsim.tokens.gaussian(16, 32, rng=0)
    >>> run = linsim.simulate(block, x0, 24, rng=0)
    >>> bool(run.metrics["token_similarity"][-1] > 0.999)
    True
    >>> calm = linsim.Block(
    ...     linsim.attention.uniform(16),
    ...     feed_forward="tanh",
    ...     deescalation=linsim.Deescalation("attention", tau=1.0),
    ... )
    >>> bool(linsim.simulate(calm, x0, 24, rng=0).metrics["token_similarity"][-1] < 0.2)
    True
    """

    held: ClassVar = ("A", "weights", "gain", "bias")

    A: Array | Callable[..., Any] | FromTokens
    _: KW_ONLY
    weights: Any = "gaussian"
    std: Any = 1.0
    residual: float | None = 1.0
    branch: float = 1.0
    norm: str | None = "post"
    gain: Any = None
    bias: Any = None
    norm_eps: float = 1e-5
    feed_forward: str | None = None
    width: int | None = None
    feed_forward_std: float = 1.0
    deescalation: Deescalation | Iterable[Deescalation] = ()

    def __post_init__(self) -> None:
        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if self.attention_fixed:
            keep("A", _validate.kept(self.A, _validate.attention_matrix(self.A)))
        if callable(self.A):
            _draws.check_sampler(self.A, "A")
        if isinstance(self.weights, str):
            _validate.choice(self.weights, "weights", _draws.KINDS)
        elif callable(self.weights):
            _draws.check_sampler(self.weights, "weights", "d")
        else:
            keep("weights", dense(self.weights))
            fixed = _validate.square(self.weights, "weights", shape="(..., d, d)")
            keep("weights", _validate.kept(self.weights, _bounded(fixed, "weights")))
        keep("std", _spectra.parameter(self.std, "std", (), low=0, high=LARGEST)[0])
        if self.weights_fixed and np.any(self.std != 1):
            raise _validate.refusal(
                InvalidValueError, "std", "a value beside fixed weights", "1", "Scale the weights themselves."
            )

        def number(name: str, value: Any, low: float = -LARGEST) -> float:
            return _validate.number(value, name, low=low, high=LARGEST)

        keep("residual", 0.0 if self.residual is None else number("residual", self.residual))
        keep("branch", number("branch", self.branch))
        if self.norm is not None:
            _validate.choice(self.norm, "norm", ("post", "pre"))
        for name in ("gain", "bias"):
            value = getattr(self, name)
            if value is None:
                continue
            if self.norm is None:
                raise _validate.refusal(
                    InvalidValueError, name, "a value with norm=None", "None", "Choose norm='pre' or 'post'."
                )
            checked = _bounded(_validate.array(value, name, ndim=1, shape="(..., d)"), name)
            keep(name, _validate.kept(value, checked))
        keep("norm_eps", number("norm_eps", self.norm_eps, low=0))
        if self.feed_forward is None:
            if self.width is not None:
                raise _validate.refusal(
                    InvalidValueError,
                    "width",
                    self.width,
                    "None without feed_forward",
                    "Choose an activation.",
                )
        else:
            _validate.choice(self.feed_forward, "feed_forward", ACTIVATIONS)
            if self.width is not None:
                keep("width", _validate.count(self.width, "width", minimum=1))
        keep(
            "feed_forward_std",
            number("feed_forward_std", self.feed_forward_std, low=0),
        )
        keep("deescalation", _several(self.deescalation))
        _fits(self)
        arrays = {
            "A": self.A if self.attention_fixed else None,
            "weights": self.weights if self.weights_fixed else None,
            "gain": self.gain,
            "bias": self.bias,
        }
        arrays = {name: value for name, value in arrays.items() if value is not None}
        _validate.one_library(" and ".join(arrays), *arrays.values())
        if self.d is not None:
            for name in ("gain", "bias"):
                _of_width(getattr(self, name), name, self.d)
            if isinstance(self.A, FromTokens):
                _of_width(self.A.query_key, "query_key", self.d)
        self.batch_shape  # noqa: B018  refuses batch shapes that do not broadcast

    @property
    def attention_fixed(self) -> bool:
        """Whether attention is the same at every layer."""
        return not callable(self.A) and not isinstance(self.A, FromTokens)

    @property
    def weights_fixed(self) -> bool:
        """Whether W is the same at every layer."""
        return not callable(self.weights) and not isinstance(self.weights, str)

    @property
    def n(self) -> int | None:
        """Number of tokens; None where attention is drawn or computed for any."""
        if isinstance(self.A, FromTokens):
            return self.A.n
        return int(self.A.shape[-1]) if self.attention_fixed else None  # type: ignore[union-attr]

    @property
    def d(self) -> int | None:
        """Number of features; None where they are those of the tokens."""
        if self.weights_fixed:
            return int(self.weights.shape[-1])
        if isinstance(self.A, FromTokens) and self.A.d is not None:
            return self.A.d
        known = [value for value in (self.gain, self.bias) if value is not None]
        return int(known[0].shape[-1]) if known else None

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Broadcast of the batch axes of everything the block holds."""
        shapes: dict[str, tuple[int, ...]] = {"std": self.std.shape}
        if self.attention_fixed:
            shapes["A"] = tuple(self.A.shape[:-2])  # type: ignore[union-attr]
        if self.weights_fixed:
            shapes["weights"] = tuple(self.weights.shape[:-2])
        for name in ("gain", "bias"):
            if getattr(self, name) is not None:
                shapes[name] = tuple(getattr(self, name).shape[:-1])
        steps: Any = self.deescalation
        shapes |= {f"deescalation[{i}]": step.batch_shape for i, step in enumerate(steps)}
        return _validate.broadcast_batches(**shapes)

    @property
    def repeats(self) -> bool:
        """Every layer holds the same, or draws alike."""
        return True

    @property
    def moves_by(self) -> str:
        """Tokens go through norms, activations and de-escalation as well."""
        return "block"

    def arrays(self) -> list[Array]:
        """Return what is held for all layers."""
        held = [self.A if self.attention_fixed else None, self.weights if self.weights_fixed else None]
        return [M for M in (*held, self.gain, self.bias) if M is not None]

    def refuse_tokens(self, batch: tuple[int, ...]) -> None:
        """Refuse tokens of shape (*batch, n, d) that lack an axis which A and weights share.

        Such an axis is what several heads would look like, and h blocks of one head are
        not a block of h heads: who wants them gives the tokens that axis, too.
        """
        if not (self.attention_fixed and self.weights_fixed):
            return
        A, W = (tuple(M.shape[:-2]) for M in (self.A, self.weights))  # type: ignore[union-attr]
        shared = [k for k in range(1, min(len(A), len(W)) + 1) if A[-k] == W[-k] > 1]
        if shared and shared[-1] > len(batch):
            h, lacks = A[-shared[-1]], shared[-1] - len(batch)
            longer = f"x0[{', '.join(['None'] * lacks)}]"
            raise _validate.refusal(
                ShapeError,
                "x0",
                f"tokens without the axis of {h} that A and weights share",
                f"that axis in x0 as well (1 will do): a Block has one head, not {h}",
                f"For {h} separate blocks pass {longer}; for heads that are summed use linsim.MultiHead.",
            )


def _several(value: Any) -> tuple[Deescalation, ...]:
    steps = (value,) if isinstance(value, Deescalation) else value
    if isinstance(steps, str) or not isinstance(steps, Iterable):
        steps = (value,)
    steps = tuple(steps)
    wrong = [type(step).__name__ for step in steps if not isinstance(step, Deescalation)]
    if wrong:
        raise _validate.refusal(
            InvalidTypeError,
            "deescalation",
            wrong[0],
            "a Deescalation or a sequence of them",
            'Pass for example Deescalation("attention", tau=1.0).',
        )
    return steps


def _fits(block: Block) -> None:
    """Refuse de-escalation at a place that the block does not have, or twice at one."""
    missing = [
        name
        for name, there in (("norm", block.norm == "post"), ("feed_forward", block.feed_forward))
        if not there
    ]
    places = [step.place for step in block.deescalation]  # type: ignore[union-attr]
    for place in places:
        if place in missing:
            raise _validate.refusal(
                InvalidValueError,
                "deescalation",
                f"place {place!r} in a block without it",
                "one of " + ", ".join(repr(p) for p in PLACES if p not in missing),
                "Choose another place.",
            )
        if places.count(place) > 1:
            raise _validate.refusal(
                InvalidValueError,
                "deescalation",
                f"place {place!r} twice",
                "one de-escalation at each place",
                "Combine them.",
            )


def _bounded(value: Array, argument: str) -> Array:
    """Return a copy, of entries that cannot leave the range of floats within a layer."""
    xp = namespace(value)
    largest = float(xp.max(xp.abs(value)))
    if largest > LARGEST:
        raise _validate.refusal(
            InvalidValueError,
            argument,
            f"an entry of size {largest:.3g}",
            f"at most {LARGEST:g}",
            "Scale it down; the norm of tokens is free.",
        )
    return xp.asarray(value, copy=True)


def _of_width(value: Array | None, argument: str, d: int) -> None:
    if value is not None and value.shape[-1] != d:
        raise _validate.refusal(
            ShapeError,
            argument,
            f"shape {tuple(value.shape)}",
            f"shape (..., {d}) to fit the features",
            "Give one number per feature.",
        )
