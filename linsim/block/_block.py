"""The layer of a Transformer as a value: its parameters, checked, and nothing of how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from .. import _draws, _spectra, _validate
from .._activations import GATED
from .._factored import dense as product_of
from .._from_tokens import FromTokens
from .._namespace import Array
from .._rule import Rule
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ._checks import check_attention, check_feed_forward, check_heads, check_places, check_widths
from ._deescalation import Deescalation, several
from ._dense import LARGEST, bounded, dense, vector

__all__ = ["MATRICES", "VECTORS", "Block"]

#: arguments that are a matrix with or without a bias
MATRICES = ("query", "key", "value", "output", "up", "gate", "down")
#: arguments that are one number a feature
VECTORS = (
    "gain",
    "bias",
    "layer_scale",
    "feed_forward_gain",
    "feed_forward_bias",
    "feed_forward_layer_scale",
)
_FACTORS = ("residual", "branch", "feed_forward_residual", "feed_forward_branch")


@dataclass(frozen=True, eq=False, repr=False)
class Block(Rule):
    """One layer of a Transformer; matrices that are not given are drawn afresh at every layer.

    Attention Y = sum_h A_h X W_h, added to ``residual`` X; norm; feed-forward
    phi(X W_1) W_2, added to ``residual`` X; norm.  De-escalation at any place.

    Parameters
    ----------
    A : array (..., n, n) or (..., heads, n, n), sampler, or FromTokens
        Attention, as for :class:`linsim.RandomWeights`; (n, n) serves all heads.  Masks, biases of
        scores and rotary positions: see :class:`linsim.attention.FromTokens`.
    weights : "gaussian", "orthogonal", sampler, or array (..., d, d) or (..., heads, d, d)
        W, value times projection: fresh at each layer, as ``kind`` of
        :class:`linsim.RandomWeights`, or the same matrix at every layer.  With several heads fresh
        values and projection are (d, d) each, cut into heads.
    std : float or array of batch shape
        s of fresh W: E W W^T = s^2 I.  Only 1 fits an array as ``weights``.
    heads : int, optional
        Their number; 1 if left out.  Then arrays whose shape leaves open whether an axis is a batch
        or heads are refused by :func:`linsim.simulate`; ``heads=1`` says that it is a batch.
    query, key : array (..., d, heads * d_key), or pair of it and a bias (heads * d_key,), optional
        In place of fresh ones.  Keys, and values, may be of fewer heads, shared evenly.
    value, output : arrays (..., d, heads * d_value) and (..., heads * d_value, d), or pairs, optional
        In place of ``weights``.
    residual : float or array of batch shape, or None
        Factor of X where a branch is added to it; None (or 0): no residual.
    branch : float or array of batch shape
        Factor of what attention and feed-forward add (1/sqrt(L), say).
    layer_scale : array (d,) or (..., d), optional
        Factor of each feature of what they add, beside ``branch``.
    norm : {"post", "pre", None}
        Norm behind each residual sum, in front of each branch, or none.
    norm_kind : {"layer", "rms", "sphere"}
        Divide by the standard deviation of the features, less their mean; by their root mean square;
        or by the length of the token.
    gain, bias : arrays (d,) or (..., d), optional
        Per feature, of any sign, for every norm of the block; 1 and 0 by default.
    norm_eps : float, optional
        Added to the variance, or the mean square, >= 0; 1e-5 by default, 0 on the sphere.  A token
        without variance becomes the bias, whatever ``norm_eps``.
    feed_forward : {None, "linear", "tanh", "relu", "gelu", "gelu_tanh", "quick_gelu", "silu", \
"swiglu", "geglu", "reglu"}
        The activation phi; None: no feed-forward.  The last three are gated: phi(X W_g) * (X W_1),
        with phi of silu, gelu, relu.
    width : int, optional
        Columns of fresh W_1, 4 d by default.
    feed_forward_std : float
        Factor of fresh W_2.  Entries of fresh W_1 and W_g are N(0, 1/d), of W_2 N(0, 2/width).
    up, down, gate : arrays (..., d, width), (..., width, d), (..., d, width), or pairs, optional
        W_1, W_2 and W_g in place of fresh ones.  A gate makes any activation a gated one.
    feed_forward_residual, feed_forward_branch : optional
    feed_forward_layer_scale, feed_forward_gain, feed_forward_bias : optional
        Those of the feed-forward and its norm, where they are not those of the attention.
    parallel : bool
        Attention and feed-forward read the same X, and both are added to it (norm "pre" or None).
    deescalation : Deescalation or sequence of them

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For anything else; the message names the argument.

    Notes
    -----
    Source: arXiv 2312.06182, the block at initialisation, with its de-escalation;
    arXiv 2401.04301 for pre-norm gains of either sign; for the parts of real layers Vaswani et al.
    2017, Shazeer 2020 (gated units), Touvron et al. 2021 (LayerScale), Wang and Komatsuzaki 2021
    (parallel blocks), Geshkovski et al. 2023 (the sphere).  Tokens are carried as a
    centre and the differences from it (derived in ``linsim._layers``), so that
    similarity gaps keep relative accuracy at any depth, through norms and activations.
    Other matrices at each depth: ``linsim.Layered([Block(...), Block(...)])``.
    Leading axes are batches, as everywhere.
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

    Eight heads with rotary positions and a gated feed-forward, as Llama's, at initialisation:

    >>> spec = linsim.attention.FromTokens(rotary=linsim.attention.Rotary(), mask=linsim.masks.causal(16))
    >>> llama = linsim.Block(spec, heads=8, norm="pre", norm_kind="rms", feed_forward="swiglu")
    >>> linsim.simulate(llama, x0, 4, metrics="cosine", rng=0).metrics["cosine"].shape
    (5,)
    """

    held: ClassVar = ("A", "weights", *MATRICES, *VECTORS)

    A: Array | Callable[..., Any] | FromTokens
    _: KW_ONLY
    weights: Any = "gaussian"
    std: Any = 1.0
    residual: Any = 1.0
    branch: Any = 1.0
    norm: str | None = "post"
    gain: Any = None
    bias: Any = None
    norm_eps: float | None = None
    feed_forward: str | None = None
    width: int | None = None
    feed_forward_std: float = 1.0
    deescalation: Deescalation | Iterable[Deescalation] = ()
    heads: int | None = None  # type: ignore[assignment]  # a rule of matrices has a method of that name
    query: Any = None
    key: Any = None
    value: Any = None
    output: Any = None
    layer_scale: Any = None
    norm_kind: str = "layer"
    up: Any = None
    gate: Any = None
    down: Any = None
    feed_forward_residual: Any = None
    feed_forward_branch: Any = None
    feed_forward_layer_scale: Any = None
    feed_forward_gain: Any = None
    feed_forward_bias: Any = None
    parallel: bool = False

    def __post_init__(self) -> None:
        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if self.heads is not None:
            keep("heads", _validate.count(self.heads, "heads", minimum=1))
        self._keep_attention(keep)
        keep("std", _spectra.parameter(self.std, "std", (), low=0, high=LARGEST)[0])
        if self.weights_fixed and np.any(self.std != 1):
            raise _validate.refusal(
                InvalidValueError, "std", "a value beside fixed weights", "1", "Scale the weights themselves."
            )
        if self.residual is None:
            keep("residual", 0.0)
        for name in _FACTORS:
            value = getattr(self, name)
            if value is not None or name in ("residual", "branch"):
                found, _ = _spectra.parameter(value, name, (), low=-LARGEST, high=LARGEST)
                keep(name, found if found.ndim else float(found))
        for name in MATRICES:
            value = getattr(self, name)
            if value is not None:
                keep(name, dense(value, name))
        self._keep_norms(keep)
        if self.width is not None:
            keep("width", _validate.count(self.width, "width", minimum=1))
        std = _validate.number(self.feed_forward_std, "feed_forward_std", low=0, high=LARGEST)
        keep("feed_forward_std", std)
        if not isinstance(self.parallel, bool):
            raise _validate.refusal(
                InvalidTypeError, "parallel", repr(self.parallel), "True or False", "Pass one of them."
            )
        if self.parallel and self.norm == "post":
            raise _validate.refusal(
                InvalidValueError,
                "norm",
                "'post' in a parallel block",
                "'pre' or None",
                "Parallel blocks have their norms in front of the branches.",
            )
        if self.parallel and self.feed_forward_residual is not None:
            raise _validate.refusal(
                InvalidValueError,
                "feed_forward_residual",
                "a value in a parallel block",
                "None: there is one residual",
                "Use residual.",
            )
        keep("deescalation", several(self.deescalation))
        check_feed_forward(self)
        check_places(self)
        check_attention(self, self.d)
        check_widths(self, self.d)
        held = dict(self._held())
        _validate.one_library(" and ".join(held), *held.values())
        self.batch_shape  # noqa: B018  refuses batch shapes that do not broadcast

    def __repr__(self) -> str:
        """What was asked for beyond the defaults; arrays by their shapes.

        >>> from linsim import attention
        >>> Block(attention.uniform(3), norm="pre", feed_forward="gelu")
        Block(A=(3, 3), norm='pre', feed_forward='gelu')
        """
        shown = []
        usual_eps = 0.0 if self.norm_kind == "sphere" else 1e-5
        for f in fields(self):
            value = getattr(self, f.name)
            value = getattr(value, "weight", value)  # of a matrix with its bias
            if f.name == "norm_eps" and value == usual_eps:
                continue
            if np.ndim(value) == 0 and hasattr(value, "item"):
                value = value.item()
            shape = getattr(value, "shape", None)
            if shape:
                shown.append(f"{f.name}={tuple(shape)}")
            elif shape is None and value != f.default and (value or f.default):
                shown.append(f"{f.name}={value!r}")
        return f"Block({', '.join(shown)})"

    def _keep_attention(self, keep: Callable[[str, Any], None]) -> None:
        """Check and keep A and weights."""
        if self.attention_fixed:
            keep("A", _validate.kept(self.A, _validate.attention_matrix(self.A)))
            check_heads(self.A, "A", self.head_count, 2)
        if callable(self.A):
            _draws.check_sampler(self.A, "A")
        if isinstance(self.weights, str):
            _validate.choice(self.weights, "weights", _draws.KINDS)
        elif callable(self.weights):
            _draws.check_sampler(self.weights, "weights", "d")
        else:
            keep("weights", product_of(self.weights))
            fixed = _validate.square(self.weights, "weights", shape="(..., d, d)")
            keep("weights", _validate.kept(self.weights, bounded(fixed, "weights")))
            check_heads(self.weights, "weights", self.head_count, 2)

    def _keep_norms(self, keep: Callable[[str, Any], None]) -> None:
        """Check and keep norms and what multiplies features."""
        if self.norm is not None:
            _validate.choice(self.norm, "norm", ("post", "pre"))
        _validate.choice(self.norm_kind, "norm_kind", ("layer", "rms", "sphere"))
        for name in VECTORS:
            value = getattr(self, name)
            if value is None:
                continue
            if self.norm is None and not name.endswith("layer_scale"):
                raise _validate.refusal(
                    InvalidValueError, name, "a value with norm=None", "None", "Choose norm='pre' or 'post'."
                )
            keep(name, vector(value, name))
        eps = self.norm_eps
        if eps is None:
            eps = 0.0 if self.norm_kind == "sphere" else 1e-5
        keep("norm_eps", _validate.number(eps, "norm_eps", low=0, high=LARGEST))

    def _held(self) -> Iterable[tuple[str, Array]]:
        """Yield the arrays of the block itself by name."""
        if self.attention_fixed:
            yield "A", self.A
        if self.weights_fixed:
            yield "weights", self.weights
        for name in VECTORS:
            if getattr(self, name) is not None:
                yield name, getattr(self, name)
        for name in MATRICES:
            one = getattr(self, name)
            if one is not None:
                yield name, one.weight
                if one.bias is not None:
                    yield f"bias of {name}", one.bias

    @property
    def attention_fixed(self) -> bool:
        """Whether attention is the same at every layer."""
        return not callable(self.A) and not isinstance(self.A, FromTokens)

    @property
    def weights_fixed(self) -> bool:
        """Whether W is the same at every layer."""
        return not callable(self.weights) and not isinstance(self.weights, str)

    @property
    def head_count(self) -> int:
        """Number of heads."""
        return self.heads or 1

    @property
    def gated(self) -> bool:
        """Whether the feed-forward has a gate."""
        return self.gate is not None or self.feed_forward in GATED

    @property
    def activation(self) -> str | None:
        """Name of the function phi of the feed-forward."""
        return GATED.get(self.feed_forward or "", self.feed_forward)

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
        for name in MATRICES:
            one = getattr(self, name)
            if one is not None:
                return int(one.weight.shape[-1 if name in ("output", "down") else -2])
        known = [value for name in VECTORS if (value := getattr(self, name)) is not None]
        return int(known[0].shape[-1]) if known else None

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Broadcast of the batch axes of everything the block holds."""
        return _validate.broadcast_batches(**self._batches())

    def _batches(self) -> dict[str, tuple[int, ...]]:
        """The batch axes of everything that the block holds, by name."""
        shapes: dict[str, tuple[int, ...]] = {"std": self.std.shape}
        if isinstance(self.A, FromTokens):
            shapes["A"] = self.A.batch_shape
        several_heads = self.head_count > 1
        for name, M in self._held():
            own = 1 if name in VECTORS or name.startswith("bias of") else 2
            own += several_heads and name in ("A", "weights")
            shapes[name] = tuple(M.shape[:-own])
        shapes |= {name: np.shape(value) for name in _FACTORS if (value := getattr(self, name)) is not None}
        steps: Any = self.deescalation
        return shapes | {f"deescalation[{i}]": step.batch_shape for i, step in enumerate(steps)}

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
        return [M for _, M in self._held()]

    def refuse_tokens(self, batch: tuple[int, ...], n: int) -> None:
        """Refuse tokens of shape (*batch, n, d) that leave open what an axis of the block means.

        An axis which A and weights share and the tokens lack is what several heads would look like, and h
        blocks of one head are not a block of h heads: who wants them says so, by ``heads`` or by giving the
        tokens that axis, too.  One of length n which a single vector has may be of tokens or of systems.
        """
        self._refuse_rows(batch, n)
        if not (self.attention_fixed and self.weights_fixed and self.heads is None):
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
                f"that axis in x0 as well (1 will do), or heads: without it a Block has one head, not {h}",
                f"For one layer of {h} heads that are summed use heads={h} (or linsim.MultiHead); for {h} "
                f"separate blocks of one head heads=1, or pass {longer}.",
            )

    def _refuse_rows(self, batch: tuple[int, ...], n: int) -> None:
        """Refuse vectors of shape (n, d) where nothing else says that there are n systems."""
        shapes = self._batches()
        rows = [name for name in VECTORS if shapes.get(name) == (n,)]
        if batch or n == 1 or not rows:
            return
        if any(shape[-1:] == (n,) for name, shape in shapes.items() if name not in rows):
            return
        found = tuple(getattr(self, rows[0]).shape)
        raise _validate.refusal(
            ShapeError,
            rows[0],
            f"shape {found}, a row for each of {n} tokens or for each of {n} systems",
            f"one row ({found[1]},) for all tokens, or x0 with a batch axis as well (1 will do)",
            f"What differs from token to token is not covered; for {n} systems pass x0[None].",
        )
