"""What tells tokens their places in softmax attention: rotation of queries and keys, and slopes on scores."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from . import _validate
from ._namespace import Array, namespace, on_device_of
from ._spectra import FloatArray
from .errors import InvalidTypeError, InvalidValueError

__all__ = ["Rotary", "alibi", "turned"]


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: channel pairs of queries and keys are turned by their token's place.

    Pair i of ``width/2`` is turned by the angle place * base**(-2 i / width), places from 0.

    Parameters
    ----------
    base : float
        Above 0, dimensionless.
    width : int, optional, keyword-only
        How many channels of each head turn, an even number; all by default.
    interleaved : bool, keyword-only
        Pairs are neighbours (0, 1), (2, 3), ... as in the source; False: channel i goes with
        i + width/2, as Llama and most checkpoints have it.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything else.

    Notes
    -----
    Source: Su et al. 2021 (arXiv 2104.09864).

    Examples
    --------
    >>> import linsim
    >>> linsim.attention.FromTokens(rotary=linsim.attention.Rotary(10_000.0)).rotary.base
    10000.0
    """

    base: float = 10_000.0
    _: KW_ONLY
    width: int | None = None
    interleaved: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", _validate.number(self.base, "base", low=0.0, low_open=True))
        if self.width is not None:
            even(_validate.count(self.width, "width", minimum=2), "width")
        if not isinstance(self.interleaved, bool):
            raise _validate.refusal(
                InvalidTypeError, "interleaved", repr(self.interleaved), "True or False", "Pass one of them."
            )

    def width_of(self, channels: int) -> int:
        """Return how many of a head's ``channels`` turn, or refuse an odd or too large number."""
        if self.width is None:
            return even(channels, "rotary")
        if self.width > channels:
            raise _validate.refusal(
                InvalidValueError,
                "rotary",
                f"width {self.width} in heads of {channels} channels",
                f"at most {channels}",
                "Leave width out to turn all.",
            )
        return self.width


def even(width: int, argument: str) -> int:
    """Return a width, or refuse an odd one: channels turn in pairs."""
    if width % 2:
        raise _validate.refusal(
            InvalidValueError,
            argument,
            f"rotation of {width} channels, an odd number",
            "an even number: channels turn in pairs",
            f"Give heads an even width, or turn some only: Rotary(width={width - 1 or 2}).",
        )
    return width


def turned(x: Array, rotary: Rotary) -> Array:
    """Turn the channels of (..., n, w) queries or keys by their token's place."""
    xp = namespace(x)
    width = rotary.width_of(int(x.shape[-1]))
    half = width // 2
    angles = np.arange(x.shape[-2])[:, None] * rotary.base ** (-np.arange(half) / half)
    cos, sin = (on_device_of(f(angles), x, x.dtype) for f in (np.cos, np.sin))
    part, rest = x[..., :width], x[..., width:]
    if rotary.interleaved:
        pairs = xp.reshape(part, (*part.shape[:-1], half, 2))
        one, two = pairs[..., 0], pairs[..., 1]
        part = xp.reshape(xp.stack([one * cos - two * sin, two * cos + one * sin], axis=-1), part.shape)
    else:
        one, two = part[..., :half], part[..., half:]
        part = xp.concat([one * cos - two * sin, two * cos + one * sin], axis=-1)
    return xp.concat([part, rest], axis=-1) if rest.shape[-1] else part


def alibi(n: int, heads: int) -> FloatArray:
    """Return slopes on distance to be added to scores, each head its own: -slope_h \\|i - j\\|.

    Parameters
    ----------
    n, heads : int
        Tokens, and heads of the block.

    Returns
    -------
    (heads, n, n) float64 array
        For ``FromTokens(bias=...)``; with :func:`linsim.masks.causal` the source's decoder.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If ``n`` or ``heads`` is not a positive integer.

    Notes
    -----
    Source: Press et al. 2022 (arXiv 2108.12409): slopes 2**(-8 h / heads) for h = 1 .. heads where
    that is a power of two, and for other counts its authors' rule: those of the power below, then
    every other one of twice as many.

    Examples
    --------
    >>> alibi(3, 2)[:, 2]
    array([[-0.125     , -0.0625    ,  0.        ],
           [-0.0078125 , -0.00390625,  0.        ]])
    """
    n, heads = _validate.count(n, "n", minimum=1), _validate.count(heads, "heads", minimum=1)

    def slopes(count: int) -> FloatArray:
        return np.asarray(2.0 ** (-8.0 * np.arange(1, count + 1) / count))

    below = 2 ** (heads.bit_length() - 1)
    own = np.concatenate([slopes(below), slopes(2 * below)[::2][: heads - below]])
    place = np.arange(n)
    return np.asarray(0.0 - own[:, None, None] * np.abs(place[:, None] - place))
