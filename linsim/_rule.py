"""What every layer rule is: a value that knows its layers, and nothing of depth, engines or metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from . import _validate
from ._general_attention import General
from ._namespace import Array
from .errors import InvalidTypeError, InvalidValueError, ShapeError

__all__ = ["Rule"]

Heads = Sequence[tuple[Array, Array]]


class Rule:
    """A layer of tokens X (..., n, d); the base class of all rules, and of your own.

    A subclass sets ``n`` and ``d`` (attributes or properties) and has one of two methods:

    ``heads(layer)``
        The pairs (A_h, H_h) of a layer X -> X + sum_h A_h X H_h, arrays (..., n, n) and
        (..., d, d).  Gaps then keep their digits at any depth, and :func:`linsim.predict` and
        :func:`linsim.lyapunov_exponents` take the rule as well.
    ``apply(tokens, layer)``
        The tokens (k, n, d) after a layer, as an array of the same kind.  It must be
        deterministic, and every system of the leading axis must be treated alike: it is called
        on copies that carry rounding errors, which is how errors are measured.

    ``drive(layer)``, None by default, is what a layer of heads adds to every token, (..., d).

    Attributes
    ----------
    n, d : int or None
        Tokens and features; None where any will do.
    batch_shape : tuple of int
        Leading axes of what the rule holds; () by default.
    max_depth : int or None
        Layers there are; None (the default): no end.
    repeats : bool
        Whether every layer has the matrices of layer 0; False by default, which is always right.
    stochastic : bool
        Whether every A_h has entries >= 0 and rows that sum to 1; True by default.  With False any
        real square matrix goes, as :func:`linsim.attention.general` declares one.

    Examples
    --------
    A layer that fades with depth:

    >>> import numpy as np, linsim
    >>> class Fading(linsim.Rule):
    ...     n, d = 3, 2
    ...
    ...     def heads(self, layer):
    ...         return [(linsim.attention.uniform(3), -np.eye(2) / (1 + layer))]
    >>> run = linsim.simulate(Fading(), np.eye(3, 2), 4, metrics="log_norm")
    >>> bool(np.all(np.diff(run.metrics["log_norm"]) <= 0))
    True
    """

    #: attributes that hold arrays: with these a frozen dataclass takes tensors of PyTorch and arrays of JAX
    held: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:  # read by all, and set by a subclass as it likes: attributes, properties or fields

        @property
        def n(self) -> int | None: ...
        @property
        def d(self) -> int | None: ...
        @property
        def batch_shape(self) -> tuple[int, ...]: ...
        @property
        def max_depth(self) -> int | None: ...
        @property
        def repeats(self) -> bool: ...
        @property
        def stochastic(self) -> bool: ...
    else:
        n = d = max_depth = None
        batch_shape = ()
        repeats = False
        stochastic = True

    def heads(self, layer: int) -> Heads:
        """Return the pairs (A_h, H_h) of one layer."""
        raise NotImplementedError

    def drive(self, layer: int) -> Array | None:
        """Return what a layer adds to every token, (..., d); None for nothing."""
        return None

    def apply(self, tokens: Array, layer: int) -> Array:
        """Return the tokens (k, n, d) after one layer."""
        raise NotImplementedError

    @property
    def moves_by(self) -> str:
        """How tokens move: "matrices" known beforehand, a "function" of the tokens, "draws" or a "block"."""
        if type(self).heads is not Rule.heads:
            return "matrices"
        if type(self).apply is not Rule.apply:
            return "function"
        raise _validate.refusal(
            InvalidTypeError,
            "rule",
            f"{type(self).__name__} with neither heads(layer) nor apply(tokens, layer)",
            "one of them",
            "Write heads for a layer X + sum_h A_h X H_h, apply for any other.",
        )

    @property
    def single_head(self) -> tuple[Array, Array] | None:
        """A and H where the rule is X + A X H at every layer, so that modes lead to any depth; else None."""
        if self.moves_by != "matrices" or not self.repeats or self.max_depth is not None:
            return None
        pairs = self.checked_heads(0)
        return pairs[0] if len(pairs) == 1 else None

    def checked_heads(self, layer: int) -> Heads:
        """Return the pairs of one layer, refused unless they are attention and weights that fit the rule.

        Raises
        ------
        InvalidValueError, InvalidTypeError, ShapeError
            The message names the layer and the head.
        """
        try:
            pairs = [tuple(pair) for pair in self.heads(layer)]
        except TypeError:
            pairs = []
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise _validate.refusal(
                InvalidTypeError,
                "rule",
                f"{type(self).__name__}.heads({layer}) that is no sequence of pairs",
                "pairs (A_h, H_h)",
                "Return [(A, H)] for one head.",
            )
        out = []
        for h, (A, H) in enumerate(pairs):
            named = [f"{side} of heads({layer})[{h}]" for side in ("A", "H")]
            checked = (
                self._checked_attention(A, named[0]),
                _validate.kept(H, _validate.square(H, named[1], shape="(..., d, d)")),
            )
            for name, M, extent in zip(named, checked, (self.n, self.d), strict=True):
                if M.shape[-1] != extent:
                    raise _validate.refusal(
                        ShapeError,
                        name,
                        f"shape {tuple(M.shape)}",
                        f"shape (..., {extent}, {extent}) to fit the rule",
                        "Set n and d to the sizes of its matrices.",
                    )
                _validate.broadcast_batches(rule=tuple(self.batch_shape), heads=tuple(M.shape[:-2]))
                if len(M.shape) - 2 > len(self.batch_shape):
                    raise _validate.refusal(
                        InvalidValueError,
                        name,
                        f"batch axes {tuple(M.shape[:-2])}",
                        f"those of the rule, {tuple(self.batch_shape)}",
                        "Set batch_shape to the leading axes of its matrices.",
                    )
            out.append(checked)
        return tuple(out)

    def _checked_attention(self, A: Any, named: str) -> Array:
        if not self.stochastic:
            return _validate.kept(A, _validate.square(A, named))
        if isinstance(A, General):
            raise _validate.refusal(
                InvalidTypeError, named, "general attention", "a stochastic matrix", "Set stochastic = False."
            )
        return _validate.kept(A, _validate.attention_matrix(A, argument=named))

    def checked_drive(self, layer: int) -> Array | None:
        """Return the drive of one layer, refused unless it is a row that fits the rule.

        Raises
        ------
        InvalidValueError, InvalidTypeError, ShapeError
            The message names the layer.
        """
        given = self.drive(layer) if self.moves_by == "matrices" else None
        if given is None:
            return None
        named = f"drive({layer})"
        row = _validate.kept(given, _validate.array(given, named, ndim=1, shape="(..., d)"))
        _validate.broadcast_batches(rule=tuple(self.batch_shape), drive=tuple(row.shape[:-1]))
        if row.shape[-1] != self.d or len(row.shape) - 1 > len(self.batch_shape):
            raise _validate.refusal(
                ShapeError,
                named,
                f"shape {tuple(row.shape)}",
                f"one row ({self.d},) for all tokens, for each system of {tuple(self.batch_shape)}",
                "What differs from token to token is no drive: use apply(tokens, layer).",
            )
        return row

    def attention(self, layer: int) -> Sequence[Array] | None:
        """Return the attention of each head of a layer; None where it is drawn or made from the tokens."""
        return [A for A, _ in self.checked_heads(layer)] if self.moves_by == "matrices" else None

    def arrays(self) -> list[Array]:
        """Return what the rule holds of its first layer, before anything is drawn."""
        if self.moves_by != "matrices":
            return []
        row = self.checked_drive(0)
        return [M for pair in self.checked_heads(0) for M in pair] + ([] if row is None else [row])

    def as_run(self) -> Rule:
        """Return the rule that stands for this one in a simulation; itself, unless it says another."""
        return self

    def refuse_tokens(self, batch: tuple[int, ...], n: int) -> None:
        """Refuse tokens of shape (*batch, n, d) whose meaning would be unclear; by default none are."""
