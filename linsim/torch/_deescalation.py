"""Take away some of what all tokens share, as a module, and an encoder layer with places for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from .. import _validate
from ..block import PLACES
from ..block import Deescalation as _Checked
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ._nested import nested_like, padded

__all__ = ["Deescalation", "EncoderLayer", "TokenMeanCentre"]

Tensor = Any


class Deescalation(nn.Module):
    r"""X -> (I - τΠ) X, Π the mean over tokens, at one place of an :class:`EncoderLayer` or anywhere by hand.

    Parameters
    ----------
    place : {"branch", "attention", "norm", "feed_forward", "output"}
        Where in an encoder layer, as in :class:`linsim.Deescalation`.
    tau : float, keyword-only
        Strength: 1 removes the mean of the tokens, 0 does nothing.
    similarity : float in [0, 1), keyword-only
        Instead of it, the token similarity that each sequence is brought to.  Tokens that are all
        alike, or whose mean is zero, stay as they are.
    learn : bool, keyword-only
        Whether τ is a parameter.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For another place, a strength that is not finite, both of them or none.

    Notes
    -----
    Source: arXiv 2312.06182.  Token similarity t becomes (1-τ)²t / ((1-τ)²t + 1 - t).  A mean over
    all tokens tells each of those that follow: under a causal mask this leaks, and is refused.

    Examples
    --------
    >>> import torch, linsim.torch
    >>> x = torch.tensor([[[1.0], [3.0]]])
    >>> linsim.torch.Deescalation("attention", tau=0.5)(x).tolist()
    [[[0.0], [2.0]]]
    """

    def __init__(
        self,
        place: str = "attention",
        *,
        tau: float | None = None,
        similarity: float | None = None,
        learn: bool = False,
    ) -> None:
        super().__init__()
        checked = _Checked(place, tau=tau, similarity=similarity)
        if checked.batch_shape or (learn and tau is None):
            found = "an array" if checked.batch_shape else "learn without tau"
            raise _validate.refusal(
                InvalidTypeError, "tau", found, "one number", "Pass tau=1.0, which learn=True starts from."
            )
        self.place = place
        self.similarity = None if similarity is None else float(checked.similarity)
        # a number, unless it is learned: as a buffer it would be rounded to the dtype of the weights
        strength = None if tau is None else float(checked.tau)
        self.tau: Any = nn.Parameter(torch.tensor(strength)) if learn else strength

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Return (b, n, d) tokens with less of their mean; rows where the mask (b, n) is True are left alone.

        A floating mask counts as ``nn.MultiheadAttention`` takes it: minus infinity is padding.

        Raises
        ------
        InvalidTypeError, ShapeError
            If tokens are no floating numbers, or tokens or mask are of another shape.
        """
        _check(x, key_padding_mask)
        # means of half precision are taken in single
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        if key_padding_mask is None:
            keep: Tensor = torch.ones((), dtype=wide.dtype, device=x.device)
            count: Any = x.shape[-2]
        else:
            left_out = key_padding_mask if key_padding_mask.dtype == torch.bool else key_padding_mask < 0
            keep = (~left_out)[..., None].to(wide.dtype)
            count = keep.sum(dim=-2, keepdim=True).clamp(min=1)
        mean = (wide * keep).sum(dim=-2, keepdim=True) / count
        off = (wide - mean) * keep
        kept = self._kept(mean, off, count)
        return (wide - (1 - kept) * mean * keep).to(x.dtype)

    def _kept(self, mean: Tensor, off: Tensor, count: Any) -> Any:
        """Return 1 - τ."""
        if self.similarity is None:
            return 1 - self.tau
        low = count * mean.square().sum(dim=(-1, -2), keepdim=True)
        high = off.square().sum(dim=(-1, -2), keepdim=True)
        odds = self.similarity / (1 - self.similarity)
        usual = (low > 0) & (high > 0)
        ratio = torch.where(usual, high, 1.0) / torch.where(usual, low, 1.0)
        return torch.where(usual, torch.sqrt(odds * ratio), 1.0)

    def extra_repr(self) -> str:
        """Say where, and how much."""
        strength = f"similarity={self.similarity}" if self.tau is None else f"tau={float(self.tau):g}"
        return f"{self.place!r}, {strength}"


def _check(x: Tensor, mask: Tensor | None) -> None:
    if not x.is_floating_point():
        raise _validate.refusal(
            InvalidTypeError, "x", f"tokens of {x.dtype}", "floating numbers", "Pass x.float()."
        )
    if x.dim() < 2 or (mask is not None and mask.shape != x.shape[:-1]):
        found = f"shape {tuple(x.shape)}" + ("" if mask is None else f" and a mask {tuple(mask.shape)}")
        raise _validate.refusal(
            ShapeError,
            "x",
            found,
            "(batch, tokens, features), and a mask (batch, tokens)",
            "Put tokens in the axis before the last.",
        )


class TokenMeanCentre(Deescalation):
    """X -> (I - Π) X: the mean of the tokens is taken off each; :class:`Deescalation` with τ = 1.

    Parameters
    ----------
    place : str
        Where in an :class:`EncoderLayer`.

    Raises
    ------
    InvalidValueError
        For another place.

    Examples
    --------
    >>> import torch, linsim.torch
    >>> linsim.torch.TokenMeanCentre()(torch.tensor([[[1.0], [3.0]]])).tolist()
    [[[-1.0], [1.0]]]
    """

    def __init__(self, place: str = "attention") -> None:
        super().__init__(place, tau=1.0)


class EncoderLayer(nn.TransformerEncoderLayer):
    """``torch.nn.TransformerEncoderLayer`` with de-escalation at places of your choice.

    Parameters
    ----------
    d_model, nhead, options
        As for ``torch.nn.TransformerEncoderLayer``.
    deescalation : Deescalation or list of them, keyword-only
        Each acts at its own place; none: the layer is as it was.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If two act at one place, one of them behind a norm that is not there, or something else is given;
        in a call, under a causal mask.

    Examples
    --------
    >>> import torch, linsim.torch as lt
    >>> layer = lt.EncoderLayer(8, 2, 16, batch_first=True, deescalation=lt.Deescalation("norm", tau=1.0))
    >>> torch.nn.TransformerEncoder(layer, 6)(torch.randn(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, d_model: int, nhead: int, *args: Any, deescalation: Any = (), **options: Any) -> None:
        super().__init__(d_model, nhead, *args, **options)
        many = isinstance(deescalation, Iterable) and not isinstance(deescalation, nn.Module)
        each = list(deescalation) if many else [deescalation]
        if any(not isinstance(one, Deescalation) for one in each):
            raise _validate.refusal(
                InvalidTypeError,
                "deescalation",
                repr(deescalation)[:60],
                "a linsim.torch.Deescalation, or a list of them",
                "Pass for example Deescalation('norm', tau=1.0).",
            )
        places = [one.place for one in each]
        if len(set(places)) < len(places) or (self.norm_first and "norm" in places):
            twice = "'norm' in a pre-norm layer" if len(set(places)) == len(places) else f"twice in {places}"
            raise _validate.refusal(
                InvalidValueError,
                "deescalation",
                twice,
                f"different ones of {', '.join(PLACES)}, 'norm' with norm_first=False only",
                "Choose another place.",
            )
        self.deescalation = nn.ModuleDict({one.place: one for one in each})

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Run the layer, as ``torch.nn.TransformerEncoderLayer`` does (without its fused path)."""
        if not self.deescalation:
            return super().forward(src, src_mask, src_key_padding_mask, is_causal)
        if src.is_nested:
            whole, left_out = padded(src)
            return nested_like(self.forward(whole, src_mask, left_out, is_causal), left_out, src)
        if is_causal:
            raise _validate.refusal(
                InvalidValueError,
                "is_causal",
                "a causal mask with de-escalation",
                "attention to all tokens",
                "The mean over tokens would tell each of those that follow: take it off nowhere.",
            )
        x = src if self.self_attn.batch_first or src.dim() == 2 else src.transpose(0, 1)
        attend = x if not self.norm_first else self.norm1(x)
        if not self.self_attn.batch_first and x.dim() == 3:
            attend = attend.transpose(0, 1)
        added = self._sa_block(attend, src_mask, src_key_padding_mask)
        if not self.self_attn.batch_first and x.dim() == 3:
            added = added.transpose(0, 1)
        x = self._at("attention", x + self._at("branch", added, src_key_padding_mask), src_key_padding_mask)
        x = x if self.norm_first else self._at("norm", self.norm1(x), src_key_padding_mask)
        x = self._at(
            "feed_forward", x + self._ff_block(self.norm2(x) if self.norm_first else x), src_key_padding_mask
        )
        x = self._at("output", x if self.norm_first else self.norm2(x), src_key_padding_mask)
        return x if self.self_attn.batch_first or src.dim() == 2 else x.transpose(0, 1)

    def _at(self, place: str, x: Tensor, padding: Tensor | None) -> Tensor:
        return self.deescalation[place](x, padding) if place in self.deescalation else x
