"""Layers of a linear Transformer, as frozen values; what all rules share is :class:`Rule`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from . import _draws, _spectra, _validate
from ._namespace import Array, roundoff
from ._rule import Rule
from .attention import FromTokens
from .block import Block
from .errors import InvalidTypeError, ShapeError

__all__ = ["Layered", "Linear", "MultiHead", "RandomWeights", "Rule"]


def _keep(rule: Linear | MultiHead, A: Array, H: Array) -> None:
    """Set the matrices, as checked, in the library that each was given in."""
    object.__setattr__(rule, "spacing", max(roundoff(rule.A), roundoff(rule.H)))
    object.__setattr__(rule, "A", _validate.kept(rule.A, A))
    object.__setattr__(rule, "H", _validate.kept(rule.H, H))


@dataclass(frozen=True, eq=False)
class Linear(Rule):
    """The layer X -> X + A X H.

    Parameters
    ----------
    A : array, shape (..., n, n)
        Attention: entries >= 0 (zeros are masks), rows summing to 1 within
        1e-8 (float32: 1e-5; half precision: by its own rounding); normalised once, here.
    H : array, shape (..., d, d)
        Value times projection, W_V W_proj.  Batch axes broadcast with A's.

    Attributes
    ----------
    A, H : array
        As checked, each in the library and on the device it was given in; float64,
        or float32 where it came in that or in half precision.
    spacing : float
        Relative distance of neighbouring numbers in the coarsest dtype that A and H
        came in (float64: 2**-52, float32: 2**-23, float16: 2**-10, bfloat16: 2**-7).

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For anything else; the message names the argument.

    Notes
    -----
    Source: arXiv 2401.04301, the simplified update; vec(X) is multiplied by
    I + H^T (x) A, so its eigenvalues are 1 + lambda_i mu_j.

    Examples
    --------
    >>> import linsim
    >>> rule = linsim.Linear([[0.5, 0.5], [0.25, 0.75]], [[1.0]])
    >>> rule.n, rule.d, rule.batch_shape
    (2, 1, ())
    """

    held: ClassVar = ("A", "H")

    A: Array
    H: Array
    spacing: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        A = _validate.attention_matrix(self.A)
        H = _validate.square(self.H, "H", shape="(..., d, d)")
        _validate.one_library("A and H", self.A, self.H)
        _validate.broadcast_batches(A=A.shape[:-2], H=H.shape[:-2])
        _keep(self, A=A, H=H)

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
        """Broadcast of the leading axes of A and H."""
        return _validate.broadcast_batches(A=tuple(self.A.shape[:-2]), H=tuple(self.H.shape[:-2]))

    @property
    def repeats(self) -> bool:
        """Every layer has the same matrices."""
        return True

    def heads(self, layer: int) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (A_h, H_h) of one layer; here a single pair."""
        return ((self.A, self.H),)

    checked_heads = heads  # checked when the rule was made


@dataclass(frozen=True, eq=False)
class MultiHead(Rule):
    """The layer X -> X + sum_h A_h X H_h.

    Parameters
    ----------
    A : array, shape (..., h, n, n)
        Attention of each head, checked and normalised as in :class:`Linear`.
    H : array, shape (..., h, d, d)
        Value times projection of each head.

    Attributes
    ----------
    A, H : array
    spacing : float
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

    held: ClassVar = ("A", "H")

    A: Array
    H: Array
    spacing: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        A = _validate.attention_matrix(self.A, ndim=3, shape="(..., h, n, n)")
        H = _validate.square(self.H, "H", ndim=3, shape="(..., h, d, d)")
        _validate.one_library("A and H", self.A, self.H)
        if A.shape[-3] != H.shape[-3]:
            raise _validate.refusal(
                ShapeError,
                "A and H",
                f"{A.shape[-3]} and {H.shape[-3]} heads",
                "the same number of heads h in (..., h, n, n) and (..., h, d, d)",
                "Give each head its own H.",
            )
        _validate.broadcast_batches(A=A.shape[:-3], H=H.shape[:-3])
        _keep(self, A=A, H=H)

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
        """Broadcast of the leading axes of A and H, the head axis left out."""
        return _validate.broadcast_batches(A=tuple(self.A.shape[:-3]), H=tuple(self.H.shape[:-3]))

    @property
    def repeats(self) -> bool:
        """Every layer has the same matrices."""
        return True

    def heads(self, layer: int) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (A_h, H_h) of one layer."""
        return tuple((self.A[..., h, :, :], self.H[..., h, :, :]) for h in range(self.A.shape[-3]))

    checked_heads = heads  # checked when the rule was made


def _has_heads(rule: Any) -> bool:
    return isinstance(rule, Rule) and not isinstance(rule, Layered) and rule.moves_by == "matrices"


@dataclass(frozen=True, eq=False)
class Layered(Rule):
    """Another rule at each depth: layer l applies ``rules[l]``.

    Parameters
    ----------
    rules : sequence of Linear, MultiHead or other rules with ``heads``
        At least one; all with the same n and d and batch shapes that
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
        if single or not rules or not all(_has_heads(rule) for rule in rules):
            raise _validate.refusal(
                InvalidTypeError,
                "rules",
                "an empty sequence"
                if not rules
                else ", ".join(sorted({type(rule).__name__ for rule in rules})),
                "a sequence of Linear, MultiHead or other rules with heads(layer)",
                "Pass one rule per layer.",
            )
        sizes = {(rule.n, rule.d) for rule in rules}
        if len(sizes) > 1:
            raise _validate.refusal(
                ShapeError,
                "rules",
                f"(n, d) in {sorted(sizes)}",
                "the same n and d at every layer",
                "Match them.",
            )
        _validate.one_library("rules", *(M for rule in rules for M in rule.arrays()))
        object.__setattr__(self, "rules", rules)
        self.batch_shape  # noqa: B018  refuses batch shapes that do not broadcast

    @property
    def n(self) -> int | None:
        """Number of tokens."""
        return self.rules[0].n

    @property
    def d(self) -> int | None:
        """Number of features."""
        return self.rules[0].d

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

    checked_heads = heads  # checked when the rules were made

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
    stream, so a system depends on its place in the batch and on nothing else
    of it.  For replicas give x0 (or A) a batch axis.

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
