"""Attention whose value and output matrices are V Λ V⁻¹, with eigenvalues that sharpen or smooth."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ._nested import nested_like, padded

__all__ = ["FILTERS", "SpectralOV"]

Tensor = Any

#: to what the eigenvalues are clipped
FILTERS = {"sharpen": (-1.0, 0.0), "smooth": (0.0, 1.0), "free": (-math.inf, math.inf)}


class SpectralOV(nn.MultiheadAttention):
    r"""Self-attention with H = V Λ V⁻¹, Λ clipped to sharpen ([-1, 0]) or smooth ([0, 1]), or free.

    Values are X V Λ and the output projection is V⁻¹, so that the sum of all heads' W_V W_O is H; head h has
    the eigenvalues of its own channels, and zeros.  Queries, keys, biases and arguments are those of
    ``torch.nn.MultiheadAttention``, in whose place it goes: ``layer.self_attn = SpectralOV(...)``.

    Parameters
    ----------
    embed_dim, num_heads : int
        Features d, and heads, which divide them.
    filter : {"sharpen", "smooth", "free"}, keyword-only
    basis : {"orthogonal", "free"}, keyword-only
        "orthogonal": V is Q of the QR decomposition of a free matrix, and H symmetric.  "free": V = Q₁ S Q₂ᵀ
        of two such and S = diag(κ^(tanh(θ)/2)), so that its condition number never exceeds κ.
    condition : float >= 1, keyword-only
        κ of a free basis.
    psi : (d,) array, keyword-only
        Where eigenvalues start, before they are clipped; None: uniform in the interval of ``filter``
        ([-1, 1] for "free").
    dropout, bias, batch_first, device, dtype : keyword-only
        As for ``torch.nn.MultiheadAttention``.

    Raises
    ------
    InvalidValueError, InvalidTypeError, ShapeError
        If an argument is none of these, ``psi`` is not finite or of another shape, or the heads do not
        divide the width.

    Notes
    -----
    Source: arXiv 2401.04301 (controlling the filter).  :meth:`weight` equals
    ``linsim.weights.reparameterize(psi, basis_matrix(), filter=...)`` to rounding; that also keeps
    eigenvalues off 0 by a rounding error, which a network with rounding of its own does not need.
    Where ``psi`` is beyond its interval it gets no gradient; it starts inside, uniformly.

    The basis is worked out in float32 at least, also for parameters in half precision and under
    autocast: a QR decomposition in bfloat16 exists nowhere.  The fused path of ``nn.TransformerEncoderLayer``
    takes no layer with a SpectralOV, so what inference gains from it is lost.

    Examples
    --------
    >>> import torch, linsim.torch
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> layer.self_attn = linsim.torch.SpectralOV.like(layer.self_attn, filter="sharpen")
    >>> layer(torch.randn(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    >>> bool((torch.linalg.eigvals(layer.self_attn.weight()).real < 1e-6).all())
    True
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        filter: str = "sharpen",  # noqa: A002
        basis: str = "orthogonal",
        condition: float = 10.0,
        psi: Any = None,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        d = _validate.count(embed_dim, "embed_dim", minimum=1)
        heads = _validate.count(num_heads, "num_heads", minimum=1)
        if d % heads:
            raise _validate.refusal(
                InvalidValueError,
                "num_heads",
                f"{heads} with {d} features",
                "a divisor of them",
                "Choose one.",
            )
        low, high = FILTERS[_validate.choice(filter, "filter", FILTERS)]
        _validate.choice(basis, "basis", ("orthogonal", "free"))
        condition = _validate.number(condition, "condition", low=1.0)
        start = None if psi is None else _validate.array(psi, "psi", ndim=1, shape=f"({d},)")
        if start is not None and start.shape != (d,):
            raise _validate.refusal(
                ShapeError, "psi", f"shape {start.shape}", f"shape ({d},)", "Give one ψ for each feature."
            )
        super().__init__(d, heads, dropout, bias, batch_first=batch_first, device=device, dtype=dtype)
        self.filter, self.basis_kind, self.condition = filter, basis, condition
        # so nobody fuses this module with others, and nn.TransformerEncoder makes no nested tensors
        self._qkv_same_embed_dim = False
        query_key = self._parameters.pop("in_proj_weight")[: 2 * d]
        self.query_key_weight = nn.Parameter(query_key.detach().clone())
        self.out_proj: Any = _Output(self, self._modules["out_proj"].bias)
        like = {"device": device, "dtype": dtype}
        lowest, highest = (low, high) if math.isfinite(low) else (-1.0, 1.0)
        self.psi = nn.Parameter(torch.empty(d, **like).uniform_(lowest, highest))
        if start is not None:
            self.psi.data.copy_(torch.as_tensor(start))
        self.left = nn.Parameter(torch.empty(d, d, **like).normal_())
        if basis == "free":
            self.right = nn.Parameter(torch.empty(d, d, **like).normal_())
            self.stretch = nn.Parameter(torch.empty(d, **like).uniform_(-0.5, 0.5))

    @classmethod
    def like(cls, attention: nn.MultiheadAttention, **options: Any) -> SpectralOV:
        """Return one in place of ``attention``, with its queries, keys, biases, device and dtype.

        Parameters
        ----------
        attention : torch.nn.MultiheadAttention
            Self-attention of one width.
        options
            ``filter``, ``basis`` and ``condition``.

        Raises
        ------
        InvalidTypeError
            If it is something else.
        """
        usual = isinstance(attention, nn.MultiheadAttention) and attention.in_proj_weight is not None
        if not usual or attention.bias_k is not None or attention.add_zero_attn:
            raise _validate.refusal(
                InvalidTypeError,
                "attention",
                type(attention).__name__
                + " with other sizes or more rows of keys" * isinstance(attention, nn.MultiheadAttention),
                "a torch.nn.MultiheadAttention of one width, without bias_k and add_zero_attn",
                "Build a SpectralOV and copy what you need.",
            )
        given = attention.in_proj_weight
        new = cls(
            attention.embed_dim,
            attention.num_heads,
            dropout=attention.dropout,
            bias=attention.in_proj_bias is not None,
            batch_first=attention.batch_first,
            device=given.device,
            dtype=given.dtype,
            **options,
        )
        with torch.no_grad():
            new.query_key_weight.copy_(given[: 2 * new.embed_dim])
            if attention.in_proj_bias is not None:
                new.in_proj_bias.copy_(attention.in_proj_bias)
                new.out_proj.bias.copy_(attention.out_proj.bias)
        return new.train(attention.training)

    # --- the parameterisation ------------------------------------------------------------

    def eigenvalues(self) -> Tensor:
        """Return Λ, (d,): ``psi`` clipped."""
        return self.psi.clamp(*FILTERS[self.filter])

    def _bases(self) -> tuple[Tensor, Tensor]:
        """Return V and V⁻ᵀ, float32 or float64."""
        wide = torch.float64 if self.left.dtype == torch.float64 else torch.float32
        with torch.autocast(self.left.device.type, enabled=False):
            left = _orthogonal(self.left.to(wide))
            if self.basis_kind == "orthogonal":
                return left, left
            right = _orthogonal(self.right.to(wide)).mT
            scale = torch.exp(0.5 * math.log(self.condition) * torch.tanh(self.stretch.to(wide)))
            return (left * scale) @ right, (left / scale) @ right

    def basis_matrix(self) -> Tensor:
        """Return V, (d, d), eigenvectors as columns."""
        return self._bases()[0]

    def weight(self) -> Tensor:
        """Return H = V Λ V⁻¹, (d, d), what tokens (as rows) are multiplied by."""
        V, inverse = self._bases()
        return (V * self.eigenvalues().to(V.dtype)) @ inverse.mT

    def _projections(self) -> tuple[Tensor, Tensor]:
        """Return the weights of queries, keys and values in one, (3d, d), and that of the output."""
        V, inverse = self._bases()
        with torch.autocast(self.left.device.type, enabled=False):
            value = (V * self.eigenvalues().to(V.dtype)).mT.to(self.query_key_weight.dtype)
        return torch.cat([self.query_key_weight, value]), inverse.to(self.query_key_weight.dtype)

    @property
    def in_proj_weight(self) -> Tensor:
        """Weights of queries, keys and values, (3d, d), as ``torch.nn.MultiheadAttention`` holds them."""
        return self._projections()[0]

    @in_proj_weight.setter
    def in_proj_weight(self, value: Any) -> None:
        # what the base class makes at first
        self._parameters["in_proj_weight"] = value

    def _reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self._parameters["in_proj_weight"])
        if self.in_proj_bias is not None:
            nn.init.zeros_(self.in_proj_bias)
            nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, as ``torch.nn.MultiheadAttention`` does."""
        if query.is_nested:
            whole, left_out = padded(query)
            attended, weights = self.forward(
                whole, whole, whole, left_out, need_weights, attn_mask, average_attn_weights, is_causal
            )
            return nested_like(attended, left_out, query), weights
        swap = self.batch_first and query.dim() == 3
        if swap:
            same = query is key, key is value
            query = query.transpose(0, 1)
            key = query if same[0] else key.transpose(0, 1)
            value = key if same[1] else value.transpose(0, 1)
        project, output = self._projections()
        attended, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            project,
            self.in_proj_bias,
            None,
            None,
            False,
            self.dropout,
            output,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (attended.transpose(0, 1) if swap else attended), weights

    def extra_repr(self) -> str:
        """Say which filter and basis."""
        bound = f", condition={self.condition:g}" if self.basis_kind == "free" else ""
        return f"{self.embed_dim}, {self.num_heads}, filter={self.filter!r}, basis={self.basis_kind!r}{bound}"


class _Output(nn.Module):
    """The output projection as others read it: a bias of its own, and the weight of its SpectralOV."""

    def __init__(self, owner: SpectralOV, bias: Any) -> None:
        super().__init__()
        self._owner = [owner]  # in a list: it holds this module, and must not be held as a part of it
        self.register_parameter("bias", bias)

    @property
    def weight(self) -> Tensor:
        return self._owner[0]._projections()[1]


def _orthogonal(free: Tensor) -> Tensor:
    """Return Q of QR, with R's diagonal positive: the same matrix whatever signs a library gives."""
    q, r = torch.linalg.qr(free)
    signs = torch.where(torch.diagonal(r) < 0, -1.0, 1.0)
    return q * signs.to(q.dtype)
