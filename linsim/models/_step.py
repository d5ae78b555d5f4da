r"""One layer exactly, and which part of the linear layer does what.

Given its attention maps the sublayer is affine.  With A_h 1 = 1, and 1/sigma of each token in diag(s),

    X + sum_h A_h diag(s) X H_h + 1 b^T,     b = ((beta W_V + b_V) W_O + b_O) * layer scale,

is what it adds to, where H_h is the effective H of head h (see :mod:`linsim.models._spectra`) and beta
the bias of the norm before it (derived there).  Nothing here goes through queries, keys or norms, so it
checks the forward pass; and parts can be left out.
"""

from __future__ import annotations

import numpy as np

from .._namespace import to_host
from ._forward import LayerRun
from ._parts import ValuePath, mapped
from ._spectra import factors
from ._tensors import Array

__all__ = ["HostLayer", "log_ratio"]


def log_ratio(x: Array) -> float:
    """Return ln HFC/LFC of (n, d): ln of the norm of the tokens less their mean, over that of the mean."""
    mean = x.mean(axis=0)
    high, low = np.linalg.norm(x - mean), np.sqrt(len(x)) * np.linalg.norm(mean)
    with np.errstate(divide="ignore", invalid="ignore"):  # of nothing there is no ratio: NaN
        return float(np.log(high) - np.log(low))


class HostLayer:
    """One layer that was run, brought to the host, with its linear parts."""

    def __init__(self, run: LayerRun) -> None:
        """Fold norm, layer scale and biases into the parts of the affine map."""
        path = mapped(run.parts.attention.path, to_host)
        self.x = to_host(run.entering)
        self.attention = to_host(run.attention)
        sigma = run.inverse_sigma
        self.scale = np.ones(len(self.x)) if sigma is None else to_host(sigma)
        parts = factors(path, effective=True)
        self.left, self.right = parts.each()
        self.bias = _bias(path)

    def added(self, *, token_scales: bool = True) -> Array:
        """Return what each head adds, (h, n, d), without biases."""
        scale = self.scale if token_scales else np.full(len(self.x), self.scale.mean())
        fed = scale[:, None] * self.x
        added: Array = self.attention @ (fed @ self.left) @ self.right
        return added

    def step(self, *, bias: bool = True, token_scales: bool = True) -> Array:
        """Return the state behind the sublayer, (n, d)."""
        after: Array = self.x + self.added(token_scales=token_scales).sum(axis=0)
        return after + self.bias if bias else after

    def head_shares(self, tokens: Array) -> Array:
        """Return ln HFC/LFC of these tokens behind the sublayer, less what it is without each head, (h,).

        Negative: the head smooths.  They do not sum to the whole change, as norms do not add.
        """
        added = self.added()[:, tokens]
        whole = self.x[tokens] + added.sum(axis=0) + self.bias
        all_of_them = log_ratio(whole)
        return np.array([all_of_them - log_ratio(whole - one) for one in added])

    def other_eigenvalues(self, tokens: Array) -> Array:
        """Return the eigenvalues of the heads' mean A among these tokens, without the constant mode's 1."""
        values = np.linalg.eigvals(self.attention.mean(axis=0)[np.ix_(tokens, tokens)])
        return np.delete(values, np.argmin(np.abs(values - 1)))


def _bias(path: ValuePath) -> Array:
    """Return what the sublayer adds to every token alike, (d,)."""
    d = path.output.weight.shape[1]
    value = np.zeros(path.value.weight.shape[1])
    if path.value.bias is not None:
        value = value + path.value.bias
    if path.order == "pre" and path.norm is not None and path.norm.bias is not None:
        value = value + path.norm.bias @ path.value.weight
    shared = path.heads // path.kv_heads
    spread = np.repeat(value.reshape(path.kv_heads, -1), shared, axis=0).reshape(-1)
    bias = spread @ path.output.weight + (np.zeros(d) if path.output.bias is None else path.output.bias)
    return np.asarray(bias if path.layer_scale is None else bias * path.layer_scale)
