"""Layers of a linear Transformer, as frozen values; what all rules share is :class:`Rule`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from . import _draws, _spectra, _validate
from ._bias_scale import beside, checked_bias, checked_scale
from ._factored import Factored, factors_of
from ._general_attention import general, taken
from ._namespace import Array, roundoff
from ._rule import Rule
from .attention import FromTokens
from .block import Block
from .errors import InvalidTypeError, ShapeError

__all__ = ["Layered", "Linear", "MultiHead", "RandomWeights", "Rule"]


def _keep(
    rule: Linear | MultiHead,
    batch: tuple[int, ...],
    given: dict[str, Any],
    factors: Factored | None,
    **checked: Any,
) -> None:
    """Set the matrices, as checked, in the library that each was given in, and check bias and scale."""
    n, d = checked["A"].shape[-1], checked["H"].shape[-1]
    heads = checked["A"].shape[-3] if isinstance(rule, MultiHead) else None
    checked["bias"] = checked_bias(rule.bias, n, d, batch)
    checked["scale"] = checked_scale(rule.scale, n, batch, heads)
    there = {name: x for name, x in given.items() if x is not None}
    _validate.one_library(" and ".join(there), *there.values())
    of_H = roundoff(given["H"]) if factors is None else factors.spacing
    object.__setattr__(rule, "spacing", max(roundoff(given["A"]), of_H))
    object.__setattr__(rule, "factors", factors)
    for name, x in checked.items():
        object.__setattr__(rule, name, None if x is None else _validate.kept(given[name], x))


def _batch_of(rule: Linear | MultiHead, core: int) -> tuple[int, ...]:
    """Broadcast of the leading axes of all that a rule holds; A and H have ``core`` other axes."""
    shapes = {"A": tuple(rule.A.shape[:-core]), "H": tuple(rule.H.shape[:-core])}
    for name in ("bias", "scale"):
        x = getattr(rule, name)
        if x is not None:
            shapes[name] = tuple(x.shape[:-1])
    return _validate.broadcast_batches(**shapes)


@dataclass(frozen=True, eq=False)
class Linear(Rule):
    """The layer X -> X + A X H, or X + A diag(scale) X H + 1 bias^T.

    Parameters
    ----------
    A : array, shape (..., n, n), or :class:`linsim.attention.General`
        Attention: entries >= 0 (zeros are masks), rows summing to 1 within
        1e-8 (float32: 1e-5; half precision: by its own rounding); normalised once, here.
        Any real square matrix if declared by :func:`linsim.attention.general`.
    H : array, shape (..., d, d), or :class:`linsim.weights.Factored`
        Value times projection, W_V W_proj.  Batch axes broadcast with A's.
    bias : array, shape (..., d), optional, keyword-only
        What every token is given besides, the same for all (b_V W_O + b_O of a layer, for
        example, since rows of A sum to 1).
    scale : array, shape (..., n), optional, keyword-only
        What token j is multiplied by before attention mixes it, of any sign (1 / rms of an RMS
        norm, for example).
    general : bool, keyword-only
        Whether A was declared by :func:`linsim.attention.general`; there is no need to set it.

    Attributes
    ----------
    A, H, bias, scale : array, or None
        As checked, each in the library and on the device it was given in; float64,
        or float32 where it came in that or in half precision.
    spacing : float
        Relative distance of neighbouring numbers in the coarsest dtype that A and H
        came in (float64: 2**-52, float32: 2**-23, float16: 2**-10, bfloat16: 2**-7).
    factors : linsim.weights.Factored or None
        What H was given as, if not as an array; H itself is an array in any case.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For anything else; the message names the argument.

    Notes
    -----
    Source: arXiv 2401.04301, the simplified update; vec(X) is multiplied by
    I + H^T (x) A, so its eigenvalues are 1 + lambda_i mu_j.  Derived here: a bias moves nothing but
    the constant part of the tokens where A 1 = s 1, and a scale makes A diag(scale) attention that is
    not stochastic.

    Examples
    --------
    >>> import linsim
    >>> rule = linsim.Linear([[0.5, 0.5], [0.25, 0.75]], [[1.0]])
    >>> rule.n, rule.d, rule.batch_shape
    (2, 1, ())
    """

    held: ClassVar = ("A", "H", "bias", "scale")

    A: Array
    H: Array
    _: KW_ONLY
    bias: Array | None = None
    scale: Array | None = None
    general: bool = False
    spacing: float = field(init=False, repr=False)
    factors: Factored | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given, A, declared = taken(general(self.A) if self.general else self.A)
        factors = factors_of(self.H)
        dense = self.H if factors is None else factors.H
        H = _validate.square(dense, "H", shape="(..., d, d)")
        batch = _validate.broadcast_batches(A=tuple(A.shape[:-2]), H=tuple(H.shape[:-2]))
        object.__setattr__(self, "general", declared)
        together = {"A": given, "H": dense, "bias": self.bias, "scale": self.scale}
        _keep(self, batch, together, factors, A=A, H=H)

    @property
    def n(self) -> int:
        """Number of tokens."""
        return int(self.A.shape[-1])

    @property
    def d(self) -> int:
        """Number of features."""
        return int(self.H.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Broadcast of the leading axes of A, H, bias and scale."""
        return _batch_of(self, 2)

    @property
    def repeats(self) -> bool:
        """Every layer has the same matrices."""
        return True

    @property
    def stochastic(self) -> bool:
        """Whether what mixes tokens has rows that are probabilities: no scale, and not declared general."""
        return not self.general and self.scale is None

    def heads(self, layer: int) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (A_h, H_h) of one layer; here a single pair, of A diag(scale) and H."""
        if self.scale is None:
            return ((self.A, self.H),)
        return ((self.A * beside(self.scale, self.A)[..., None, :], self.H),)

    def drive(self, layer: int) -> Array | None:
        """Return the bias."""
        return self.bias

    checked_heads, checked_drive = heads, drive  # checked when the rule was made


@dataclass(frozen=True, eq=False)
class MultiHead(Rule):
    """The layer X -> X + sum_h A_h X H_h, or X + sum_h A_h diag(scale) X H_h + 1 bias^T.

    Parameters
    ----------
    A : array, shape (..., h, n, n), or :class:`linsim.attention.General`
        Attention of each head, checked and normalised as in :class:`Linear`.
    H : array, shape (..., h, d, d), or :class:`linsim.weights.Factored`, or a list of these
        Value times projection of each head.
    bias : array, shape (..., d), optional, keyword-only
        As in :class:`Linear`: once for the layer, not for each head.
    scale : array, shape (..., n), optional, keyword-only
        As in :class:`Linear`: shared by all heads.
    general : bool, keyword-only
        As in :class:`Linear`.

    Attributes
    ----------
    A, H, bias, scale : array, or None
    spacing : float
    factors : linsim.weights.Factored or None
        As in :class:`Linear`.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For anything else; the message names the argument.

    Notes
    -----
    Source: arXiv 2401.04301, heads summed through their own projections.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> A = np.stack([linsim.attention.uniform(3), np.eye(3)])
    >>> linsim.MultiHead(A, np.zeros((2, 4, 4))).d
    4
    """

    held: ClassVar = ("A", "H", "bias", "scale")

    A: Array
    H: Array
    _: KW_ONLY
    bias: Array | None = None
    scale: Array | None = None
    general: bool = False
    spacing: float = field(init=False, repr=False)
    factors: Factored | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        declared = general(self.A) if self.general else self.A
        given, A, declared = taken(declared, ndim=3, shape="(..., h, n, n)")
        factors = factors_of(self.H)
        dense = self.H if factors is None else factors.H
        H = _validate.square(dense, "H", ndim=3, shape="(..., h, d, d)")
        if A.shape[-3] != H.shape[-3]:
            raise _validate.refusal(
                ShapeError,
                "A and H",
                f"{A.shape[-3]} and {H.shape[-3]} heads",
                "the same number of heads h in (..., h, n, n) and (..., h, d, d)",
                "Give each head its own H.",
            )
        batch = _validate.broadcast_batches(A=tuple(A.shape[:-3]), H=tuple(H.shape[:-3]))
        object.__setattr__(self, "general", declared)
        together = {"A": given, "H": dense, "bias": self.bias, "scale": self.scale}
        _keep(self, batch, together, factors, A=A, H=H)

    @property
    def n(self) -> int:
        """Number of tokens."""
        return int(self.A.shape[-1])

    @property
    def d(self) -> int:
        """Number of features."""
        return int(self.H.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Broadcast of the leading axes of all that the rule holds, the head axis left out."""
        return _batch_of(self, 3)

    @property
    def repeats(self) -> bool:
        """Every layer has the same matrices."""
        return True

    @property
    def stochastic(self) -> bool:
        """Whether what mixes tokens has rows that are probabilities: no scale, and not declared general."""
        return not self.general and self.scale is None

    def heads(self, layer: int) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (A_h, H_h) of one layer, the scale within A_h."""
        pairs = ((self.A[..., h, :, :], self.H[..., h, :, :]) for h in range(self.A.shape[-3]))
        if self.scale is None:
            return tuple(pairs)
        factors = beside(self.scale, self.A)[..., None, :]
        return tuple((A * factors, H) for A, H in pairs)

    def drive(self, layer: int) -> Array | None:
        """Return the bias."""
        return self.bias

    checked_heads, checked_drive = heads, drive  # checked when the rule was made


def _layer_of(rule: Any) -> str:
    """How a rule moves tokens, if it can be one of several; else ""."""
    if not isinstance(rule, Rule) or isinstance(rule, Layered):
        return ""
    return rule.moves_by if rule.moves_by in ("matrices", "block") else ""


@dataclass(frozen=True, eq=False)
class Layered(Rule):
    """Another rule at each depth: layer l applies ``rules[l]``.

    Parameters
    ----------
    rules : sequence of Linear, MultiHead or other rules with ``heads``; or of Blocks
        At least one, and not both kinds; all with the same n and d and batch shapes that
        broadcast; of each its first layer is taken.  The depth of a simulation is at most ``len(rules)``.

    Raises
    ------
    InvalidTypeError, InvalidValueError, ShapeError
        If a rule is none of these, the sequence is empty, or n or d differ.

    Examples
    --------
    >>> import linsim
    >>> rule = linsim.Linear([[0.5, 0.5], [0.25, 0.75]], [[1.0]])
    >>> linsim.Layered([rule, rule]).max_depth
    2
    """

    rules: Sequence[Rule]

    def __post_init__(self) -> None:
        try:
            rules, single = tuple(self.rules), False
        except TypeError:  # a rule that should repeat needs no Layered, or a list of itself
            rules, single = (self.rules,), True  # type: ignore[assignment]
        kinds = {_layer_of(rule) for rule in rules}
        if single or not rules or "" in kinds or len(kinds) > 1:
            raise _validate.refusal(
                InvalidTypeError,
                "rules",
                "an empty sequence"
                if not rules
                else ", ".join(sorted({type(rule).__name__ for rule in rules})),
                "a sequence of Linear, MultiHead or other rules with heads(layer), or of Blocks alone",
                "Pass one rule per layer."
                if len(kinds) < 2 or "" in kinds
                else "Write every layer as a Block: norm=None, residual, and no feed_forward.",
            )
        for name in ("n", "d"):  # blocks may leave them open
            sizes = {getattr(rule, name) for rule in rules} - {None}
            if len(sizes) > 1:
                raise _validate.refusal(
                    ShapeError,
                    "rules",
                    f"{name} in {sorted(sizes)}",
                    "the same n and d at every layer",
                    "Match them.",
                )
        _validate.one_library("rules", *(M for rule in rules for M in rule.arrays()))
        object.__setattr__(self, "rules", rules)
        self.batch_shape  # noqa: B018  refuses batch shapes that do not broadcast

    @property
    def n(self) -> int | None:
        """Number of tokens; None where Blocks leave it open."""
        return next((rule.n for rule in self.rules if rule.n is not None), None)

    @property
    def d(self) -> int | None:
        """Number of features; None where Blocks leave it open."""
        return next((rule.d for rule in self.rules if rule.d is not None), None)

    @property
    def moves_by(self) -> str:
        """As its rules: by "matrices", or each layer a "block"."""
        return self.rules[0].moves_by

    def arrays(self) -> list[Array]:
        """Return what the rules hold: of Blocks all of it, else of the first layer."""
        if self.moves_by == "matrices":
            return super().arrays()
        return [M for rule in self.rules for M in rule.arrays()]

    def refuse_tokens(self, batch: tuple[int, ...], n: int) -> None:
        """Refuse tokens that one of the rules refuses."""
        for rule in self.rules:
            rule.refuse_tokens(batch, n)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Broadcast of the batch shapes of all layers."""
        return _validate.broadcast_batches(
            **{f"rules[{i}]": rule.batch_shape for i, rule in enumerate(self.rules)}
        )

    @property
    def max_depth(self) -> int | None:
        """Depth at which the rule ends: one rule per layer."""
        return len(self.rules)

    def heads(self, layer: int) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (A_h, H_h) of one layer."""
        return tuple(self.rules[layer].checked_heads(0))

    def drive(self, layer: int) -> Array | None:
        """Return what a layer adds to every token."""
        return self.rules[layer].checked_drive(0)

    checked_heads, checked_drive = heads, drive  # checked when the rules were made

    @property
    def stochastic(self) -> bool:
        """Whether all rules have attention whose rows are probabilities."""
        return all(rule.stochastic for rule in self.rules)

    @property
    def repeats(self) -> bool:
        """Whether all layers are one and the same rule."""
        return all(rule is self.rules[0] for rule in self.rules)


@dataclass(frozen=True, eq=False)
class RandomWeights(Rule):
    """The layer X -> X + A X W with fresh random weights W at every layer, in every system.

    Parameters
    ----------
    A : array (..., n, n), sampler, or FromTokens
        Attention.  An array is the same at every layer, checked and
        normalised as in :class:`Linear`.  A sampler is called at each layer
        as ``A(size=k, rng=rng)`` and returns (k, n, n), one per system
        (``functools.partial(linsim.attention.softmax, n, d_key)`` is one).
        :class:`linsim.attention.FromTokens` recomputes it from the tokens.
    std : float or array of batch shape, keyword-only
        s >= 0: E W W^T = s^2 I.  1 by default.
    kind : "gaussian", "orthogonal" or sampler, keyword-only
        Independent N(0, s^2/d) entries; s times a Haar orthogonal matrix; or
        s times what ``kind(d, size=k, rng=rng)`` returns, of shape (k, d, d)
        (``linsim.weights.gaussian`` is one).

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For anything else; the message names the argument.

    Notes
    -----
    Source: arXiv 2312.06182, attention at random initialisation.  Draws come
    from the ``rng`` of :func:`linsim.simulate`: every system has its own
    key, and every layer numbers of its own from it, so a system depends on
    its place in the batch and on nothing else of it, and a seed is one
    network in every precision, on CPU and GPU.  For replicas give x0 (or A)
    a batch axis.

    Examples
    --------
    >>> import numpy as np, linsim
    >>> rule = linsim.RandomWeights(linsim.attention.uniform(4))
    >>> x0 = np.broadcast_to(linsim.tokens.gaussian(4, 64, rng=0), (100, 4, 64))
    >>> run = linsim.simulate(rule, x0, 20, metrics="log_token_diversity", rng=0)
    >>> odds = run.metrics["log_token_diversity"]  # at high similarity ln(odds) gains E ln Q = 0.6813 a layer
    >>> round(float((odds[:, 10] - odds[:, 20]).mean() / 10), 2)
    0.68
    """

    held: ClassVar = ("A",)

    A: Array | Callable[..., Any] | FromTokens
    _: KW_ONLY
    std: Any = 1.0
    kind: str | Callable[..., Any] = "gaussian"

    def __post_init__(self) -> None:
        fixed = not callable(self.A) and not isinstance(self.A, FromTokens)
        A = _validate.kept(self.A, _validate.attention_matrix(self.A)) if fixed else self.A
        if callable(self.A):
            _draws.check_sampler(self.A, "A")
        if callable(self.kind):
            _draws.check_sampler(self.kind, "kind", "d")
        else:
            _validate.choice(self.kind, "kind", _draws.KINDS)
        std, _ = _spectra.parameter(self.std, "std", (), low=0)
        object.__setattr__(self, "A", A)
        object.__setattr__(self, "std", std)
        self.batch_shape  # noqa: B018  refuses batch shapes that do not broadcast

    @property
    def fixed(self) -> bool:
        """Whether attention is the same at every layer."""
        return not callable(self.A) and not isinstance(self.A, FromTokens)

    @property
    def n(self) -> int | None:
        """Number of tokens; None where attention is drawn or computed for any."""
        if isinstance(self.A, FromTokens):
            return self.A.n
        return int(self.A.shape[-1]) if self.fixed else None  # type: ignore[union-attr]

    @property
    def d(self) -> int | None:
        """Number of features; None where they are those of the tokens."""
        return self.A.d if isinstance(self.A, FromTokens) else None

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Broadcast of the leading axes of A and of std."""
        lead = tuple(self.A.shape[:-2]) if self.fixed else ()  # type: ignore[union-attr]
        if isinstance(self.A, FromTokens):
            lead = self.A.batch_shape
        return _validate.broadcast_batches(A=lead, std=self.std.shape)

    @property
    def repeats(self) -> bool:
        """Attention is the same at every layer, or drawn alike."""
        return True

    @property
    def moves_by(self) -> str:
        """Weights are drawn at each layer."""
        return "draws"

    def attention(self, layer: int) -> list[Array] | None:
        """Return the one head's attention where it is fixed, else None."""
        return [self.A] if self.fixed else None

    def arrays(self) -> list[Array]:
        """Return the attention where it is fixed."""
        return self.attention(0) or []

    def as_run(self) -> Rule:
        """Return a block with nothing else where attention is made from the tokens."""
        if not isinstance(self.A, FromTokens):
            return self
        return Block(self.A, weights=self.kind, std=self.std, norm=None)
