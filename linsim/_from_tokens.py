"""Attention that each layer makes from its own tokens: the softmax of scores, and what is added to them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from . import _spectra, _validate
from ._namespace import namespace
from ._positions import Rotary
from .errors import InvalidTypeError, InvalidValueError, ShapeError

__all__ = ["FromTokens"]


@dataclass(frozen=True, eq=False)
class FromTokens:
    """Attention computed from the tokens at each layer: softmax of Q K^T / (sqrt(d_key) temperature).

    Q = X W_Q and K = X W_K with fresh Gaussian W_Q, W_K (d, d_key) at every layer,
    entries N(0, 1/d), so that tokens with entries near 1 have queries and keys with
    entries near 1.  To be given as attention to :class:`linsim.RandomWeights` or
    :class:`linsim.Block`, which may give W_Q and W_K, and several heads.

    Parameters
    ----------
    d_key : int, optional
        Features of a query of one head, by default those of the tokens over the number of heads.
    temperature : float or array of batch shape, keyword-only
        From 1e-15 to 1e15, dimensionless.
    normalize : bool, optional, keyword-only
        Scale every token to root mean square 1 before Q and K are formed, so that the
        norm of the tokens, which grows with depth, does not sharpen the softmax.  By default
        it is done, except in a :class:`linsim.Block` whose ``query`` and ``key`` are given.
    mask : boolean array (..., n, n), optional, keyword-only
        True: may attend (see :mod:`linsim.masks`).  No row may be empty.  Leading axes are a batch,
        one mask for each sequence (:func:`linsim.masks.padding`); heads share it.
    query_key : array (..., d, d), optional, keyword-only
        W_Q W_K^T / sqrt(d_key), the same at every layer, in place of fresh ones; for one head.
    bias : array (n, n) or (..., heads, n, n), optional, keyword-only
        Added to the scores, after temperature: :func:`linsim.attention.alibi`, or one of your own.
    rotary : Rotary, optional, keyword-only
        Queries and keys are turned by place (:class:`linsim.attention.Rotary`).

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        For anything else; the message names the argument.

    Notes
    -----
    Source: standard (scaled dot-product attention); redrawn at each layer as in
    arXiv 2312.06182.  A token that is exactly zero has all scores 0.

    Examples
    --------
    >>> import linsim
    >>> rule = linsim.RandomWeights(linsim.attention.FromTokens(8))
    >>> run = linsim.simulate(rule, linsim.tokens.gaussian(6, 16, rng=0), 3, rng=0)
    >>> run.metrics["token_similarity"].shape
    (4,)
    """

    held: ClassVar = ("mask", "query_key", "bias")

    d_key: int | None = None
    _: KW_ONLY
    temperature: Any = 1.0
    normalize: bool | None = None
    mask: Any = None
    query_key: Any = None
    bias: Any = None
    rotary: Rotary | None = None

    def __post_init__(self) -> None:
        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if self.d_key is not None:
            _validate.count(self.d_key, "d_key", minimum=1)
        temperature, _ = _spectra.parameter(self.temperature, "temperature", (), low=1e-15, high=1e15)
        keep("temperature", temperature if temperature.ndim else float(temperature))
        if not (self.normalize is None or isinstance(self.normalize, bool)):
            raise _validate.refusal(
                InvalidTypeError, "normalize", repr(self.normalize), "True or False", "Pass one of them."
            )
        if self.mask is not None:  # a copy: what is frozen should not change from outside
            mask = _validate.mask(self.mask)
            keep("mask", _validate.kept(self.mask, namespace(mask).asarray(mask, copy=True)))
        if self.query_key is not None:
            square = _validate.square(self.query_key, "query_key", shape="(..., d, d)")
            keep("query_key", _moderate(self.query_key, square, "query_key"))
            if self.d_key is not None:
                raise _validate.refusal(
                    InvalidTypeError,
                    "d_key",
                    f"{self.d_key} beside query_key",
                    "one of the two",
                    "query_key already holds W_Q W_K^T / sqrt(d_key).",
                )
        if self.bias is not None:
            square = _validate.square(self.bias, "bias", shape="(n, n) or (..., heads, n, n)")
            keep("bias", _moderate(self.bias, square, "bias"))
        if not (self.rotary is None or isinstance(self.rotary, Rotary)):
            raise _validate.refusal(
                InvalidTypeError,
                "rotary",
                type(self.rotary).__name__,
                "linsim.attention.Rotary",
                "Pass Rotary(base).",
            )
        if self.rotary is not None:
            if self.query_key is not None:
                raise _validate.refusal(
                    InvalidTypeError,
                    "rotary",
                    "a rotation beside query_key",
                    "queries and keys of their own: what turns lies between W_Q and W_K",
                    "Pass query and key to linsim.Block.",
                )
            if self.d_key is not None:
                self.rotary.width_of(self.d_key)
        if self.n is not None:
            for name in ("mask", "bias"):
                value = getattr(self, name)
                if value is not None and value.shape[-1] != self.n:
                    raise _validate.refusal(
                        ShapeError, name, f"{value.shape[-1]} tokens", f"{self.n}, as mask", "Match them."
                    )
        self.batch_shape  # noqa: B018  refuses batch shapes that do not broadcast

    @property
    def n(self) -> int | None:
        """Number of tokens that mask and bias fit; None without them."""
        known = [x for x in (self.mask, self.bias) if x is not None]
        return int(known[0].shape[-1]) if known else None

    @property
    def d(self) -> int | None:
        """Number of features that ``query_key`` fits; None without one."""
        return None if self.query_key is None else int(self.query_key.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Broadcast of the leading axes of temperature, mask, query_key and bias."""
        shapes = {"temperature": np.shape(self.temperature)}
        if self.mask is not None:
            shapes["mask"] = tuple(self.mask.shape[:-2])
        if self.query_key is not None:
            shapes["query_key"] = tuple(self.query_key.shape[:-2])
        if self.bias is not None:
            shapes["bias"] = tuple(self.bias.shape[:-3])
        return _validate.broadcast_batches(**shapes)

    @property
    def free(self) -> bool:
        """Whether scores know tokens by their values alone: no mask, no bias, no rotation."""
        return self.mask is None and self.bias is None and self.rotary is None

    def normalizes(self, given: bool = False) -> bool:
        """Return whether tokens are normalised first; ``given``: queries and keys are not drawn."""
        return not given if self.normalize is None else self.normalize


def _moderate(given: Any, checked: Any, argument: str) -> Any:
    """Return a copy, of entries that a softmax can tell from infinity."""
    xp = namespace(checked)
    largest = float(xp.max(xp.abs(checked)))
    if largest > 1e15:
        raise _validate.refusal(
            InvalidValueError,
            argument,
            f"an entry of size {largest:.3g}",
            "at most 1e15",
            "Scores beyond are one-hot: scale it down."
            if argument == "query_key"
            else "Use mask for tokens that may not attend.",
        )
    return _validate.kept(given, xp.asarray(checked, copy=True))
