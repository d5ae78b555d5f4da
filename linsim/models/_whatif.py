"""The same checkpoint, changed: what would its tokens do?

``sharpen`` and ``smooth`` move every eigenvalue of each head's effective H to the nearest point of
[-1, 0] or [0, 1], with its eigenvectors (arXiv 2401.04301); ``deescalate=TAU`` takes TAU of the tokens'
mean off after every attention (arXiv 2312.06182); ``flip-gain`` turns the sign of the gain of the norm
that stands before attention, or behind it; ``no-bias`` removes every bias of the blocks.  Columns of a
changed model are of the changed weights; the law knows nothing of de-escalation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from .. import _validate
from .._namespace import Array, namespace, on_device_of, to_host
from ..errors import InvalidValueError
from ._forward import Change
from ._parts import BlockParts, Dense, Norm, mapped
from ._spectra import factors

__all__ = ["WHAT_IF", "change_of"]

WHAT_IF = ("sharpen", "smooth", "deescalate", "flip-gain", "no-bias")

Part = TypeVar("Part", Dense, Norm)


def change_of(what: str) -> Change:
    """Return what ``walk`` is to do otherwise.

    Raises
    ------
    InvalidValueError
        If there is no such change, or TAU is outside [0, 1].
    """
    name, _, amount = what.partition("=")
    _validate.choice(name, "what_if", WHAT_IF)
    if bool(amount) != (name == "deescalate"):
        raise _validate.refusal(
            InvalidValueError,
            "what_if",
            repr(what),
            "deescalate=TAU, or one of the others alone",
            "Write --what-if deescalate=0.5.",
        )
    if name == "deescalate":
        return _deescalated(_tau(amount))
    if name == "flip-gain":
        return Change(parts=lambda parts, _: _flipped(parts))
    if name == "no-bias":
        return Change(parts=lambda parts, _: _without_bias(parts))
    low, high = (-1.0, 0.0) if name == "sharpen" else (0.0, 1.0)
    return Change(parts=lambda parts, inverse: _clipped(parts, inverse, low, high))


def _tau(amount: str) -> float:
    try:
        value = float(amount)
    except ValueError:
        value = np.nan
    return _validate.number(value, "what_if deescalate", low=0.0, high=1.0)


def _deescalated(tau: float) -> Change:
    def attended(x: Array) -> Array:
        return x - tau * namespace(x).mean(x, axis=0)

    return Change(attended=attended)


def _flipped(parts: BlockParts) -> BlockParts:
    path = parts.attention.path
    if path.norm is None:
        return parts
    flipped = replace(path, norm=replace(path.norm, gain=-path.norm.gain))
    return replace(parts, attention=replace(parts.attention, path=flipped))


def _without_bias(parts: BlockParts) -> BlockParts:
    attention, feed = parts.attention, parts.feed_forward
    path = attention.path
    return replace(
        parts,
        attention=replace(
            attention,
            query=_bare(attention.query),
            key=_bare(attention.key),
            path=replace(
                path,
                value=_bare(path.value),
                output=_bare(path.output),
                norm=None if path.norm is None else _bare(path.norm),
            ),
        ),
        feed_forward=replace(
            feed,
            up=_bare(feed.up),
            down=_bare(feed.down),
            gate=None if feed.gate is None else _bare(feed.gate),
            norm=None if feed.norm is None else _bare(feed.norm),
        ),
    )


def _bare(part: Part) -> Part:
    return replace(part, bias=None)


def _clipped(parts: BlockParts, inverse_sigma: Array | None, low: float, high: float) -> BlockParts:
    """Move the eigenvalues of every head's effective H, at the mean 1/sigma of the tokens.

    H_h = L R, and R L = S diag(mu) S^-1 has its nonzero eigenvalues.  L K R with
    K = S diag(clip(mu)/mu) S^-1 keeps the eigenvectors and has clip(mu): so W_V becomes W_V K.
    """
    path = parts.attention.path
    like = path.value.weight
    host = mapped(path, to_host)
    scale = 1.0 if inverse_sigma is None else float(to_host(inverse_sigma).mean())
    left, right = factors(host, effective=True).each()
    mu, S = np.linalg.eig(right @ left * scale)
    size = np.abs(mu).max(axis=-1, keepdims=True)
    nonzero = np.abs(mu) > 1e-12 * size
    ratio = np.where(nonzero, np.clip(mu.real, low, high) / np.where(nonzero, mu, 1.0), 1.0)
    # a real matrix: both of a conjugate pair go to the same real number
    K = (S * ratio[:, None, :] @ np.linalg.inv(S)).real
    shared = host.heads // host.kv_heads
    d = host.value.weight.shape[0]
    value = host.value.weight.reshape(d, host.kv_heads, -1).swapaxes(0, 1)
    value = np.repeat(value, shared, axis=0) @ K  # one for every query head from here on
    bias = host.value.bias
    if bias is not None:
        bias = np.repeat(bias.reshape(host.kv_heads, 1, -1), shared, axis=0) @ K
    changed = Dense(
        on_device_of(value.swapaxes(0, 1).reshape(d, -1), like),
        None if bias is None else on_device_of(bias.reshape(-1), like),
    )
    new = replace(path, value=changed, kv_heads=path.heads)
    return replace(parts, attention=replace(parts.attention, path=new))
