"""One layer of a linear Transformer, as a frozen value.

A rule knows its matrices and nothing of depth, engines or metrics.  What an
engine asks of it is ``heads(layer)``: the pairs (A_h, H_h) whose sum
``X + sum_h A_h X H_h`` is the next state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import _validate
from ._namespace import Array, namespace
from .errors import InvalidTypeError, ShapeError

__all__ = ["Layered", "Linear", "MultiHead", "Rule"]


def _same_library(A: Array, H: Array) -> None:
    try:
        namespace(A, H)
    except TypeError:
        raise _validate.refusal(
            InvalidTypeError,
            "A and H",
            f"{type(A).__module__} and {type(H).__module__}",
            "arrays of one library",
            "Convert one of them.",
        ) from None


@dataclass(frozen=True, eq=False)
class Linear:
    """The layer X -> X + A X H.

    Parameters
    ----------
    A : array, shape (..., n, n)
        Attention: entries >= 0 (zeros are masks), rows summing to 1 within
        1e-8 (float32: 1e-5); normalised once, here.
    H : array, shape (..., d, d)
        Value times projection, W_V W_proj.  Batch axes broadcast with A's.

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

    A: Array
    H: Array

    def __post_init__(self) -> None:
        A = _validate.attention_matrix(self.A)
        H = _validate.square(self.H, "H", shape="(..., d, d)")
        _same_library(A, H)
        _validate.broadcast_batches(A=A.shape[:-2], H=H.shape[:-2])
        object.__setattr__(self, "A", A)
        object.__setattr__(self, "H", H)

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
        return _validate.broadcast_batches(A=self.A.shape[:-2], H=self.H.shape[:-2])

    @property
    def max_depth(self) -> int | None:
        """Depth at which the rule ends; None when it repeats for ever."""
        return None

    def heads(self, layer: int) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (A_h, H_h) of one layer; here a single pair."""
        return ((self.A, self.H),)


@dataclass(frozen=True, eq=False)
class MultiHead:
    """The layer X -> X + sum_h A_h X H_h.

    Parameters
    ----------
    A : array, shape (..., h, n, n)
        Attention of each head, checked and normalised as in :class:`Linear`.
    H : array, shape (..., h, d, d)
        Value times projection of each head.

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

    A: Array
    H: Array

    def __post_init__(self) -> None:
        A = _validate.attention_matrix(self.A, ndim=3, shape="(..., h, n, n)")
        H = _validate.square(self.H, "H", ndim=3, shape="(..., h, d, d)")
        _same_library(A, H)
        if A.shape[-3] != H.shape[-3]:
            raise _validate.refusal(
                ShapeError,
                "A and H",
                f"{A.shape[-3]} and {H.shape[-3]} heads",
                "the same number of heads h in (..., h, n, n) and (..., h, d, d)",
                "Give each head its own H.",
            )
        _validate.broadcast_batches(A=A.shape[:-3], H=H.shape[:-3])
        object.__setattr__(self, "A", A)
        object.__setattr__(self, "H", H)

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
        return _validate.broadcast_batches(A=self.A.shape[:-3], H=self.H.shape[:-3])

    @property
    def max_depth(self) -> int | None:
        """Depth at which the rule ends; None when it repeats for ever."""
        return None

    def heads(self, layer: int) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs (A_h, H_h) of one layer."""
        return tuple((self.A[..., h, :, :], self.H[..., h, :, :]) for h in range(self.A.shape[-3]))


@dataclass(frozen=True, eq=False)
class Layered:
    """Another rule at each depth: layer l applies ``rules[l]``.

    Parameters
    ----------
    rules : sequence of Linear or MultiHead
        At least one; all with the same n and d and batch shapes that
        broadcast.  The depth of a simulation is at most ``len(rules)``.

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

    rules: Sequence[Linear | MultiHead]

    def __post_init__(self) -> None:
        try:
            rules, single = tuple(self.rules), False
        except TypeError:  # a rule that should repeat needs no Layered, or a list of itself
            rules, single = (self.rules,), True  # type: ignore[assignment]
        if single or not rules or not all(isinstance(rule, Linear | MultiHead) for rule in rules):
            raise _validate.refusal(
                InvalidTypeError,
                "rules",
                "an empty sequence"
                if not rules
                else ", ".join(sorted({type(rule).__name__ for rule in rules})),
                "a sequence of Linear or MultiHead",
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
        try:
            namespace(*(rule.A for rule in rules))
        except TypeError:
            raise _validate.refusal(
                InvalidTypeError,
                "rules",
                ", ".join(sorted({type(rule.A).__module__ for rule in rules})),
                "arrays of one library",
                "Convert the rules to one of them.",
            ) from None
        object.__setattr__(self, "rules", rules)
        self.batch_shape  # noqa: B018  refuses batch shapes that do not broadcast

    @property
    def n(self) -> int:
        """Number of tokens."""
        return self.rules[0].n

    @property
    def d(self) -> int:
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
        return self.rules[layer].heads(0)


Rule = Linear | MultiHead | Layered
