"""De-escalation: taking away some of what all tokens share, at one place of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from .. import _spectra, _validate
from .._namespace import Array
from ..errors import InvalidTypeError, InvalidValueError
from ._dense import LARGEST

__all__ = ["PLACES", "Deescalation", "several"]

#: places in a block where de-escalation can act, in the order of the data
PLACES = {
    "branch": "what attention returns, before it is added",
    "attention": "behind the attention's residual",
    "norm": "behind the norm that follows attention (norm='post')",
    "feed_forward": "behind the feed-forward's residual, before its norm",
    "output": "at the end of the block",
}


@dataclass(frozen=True, eq=False)
class Deescalation:
    """Take away some of what all tokens share: X -> (I - tau Pi) X, at one place of a block.

    Exactly one of ``tau``, ``similarity`` and ``function`` is given.

    Parameters
    ----------
    place : {"branch", "attention", "norm", "feed_forward", "output"}
        Where in the block (:data:`linsim.block.PLACES`).
    tau : float or array of batch shape
        Strength; 1 removes the mean of the tokens, 0 does nothing.
    similarity : float or array of batch shape in [0, 1)
        Solve for the tau that brings token similarity to this value, at every layer:
        (1 - tau)^2 is the quotient of the odds wanted and the odds found.  Tokens that
        are exactly alike, or whose mean is exactly zero, stay as they are.
    function : callable
        A hook of your own, also nonlinear: called with tokens (k, n, d) at their true
        scale, in the library, device and dtype of the input, returns as many of the
        same dtype.  It sees plain numbers, so differences between tokens below 1e-16 of
        their size are lost there.  It must be deterministic, one result for one input:
        at each layer it is called again, up to six times, on tokens that differ by a
        multiple of their rounding, to measure what it does to errors.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything else.

    Notes
    -----
    Source: arXiv 2312.06182.  Token similarity t becomes
    (1 - tau)^2 t / ((1 - tau)^2 t + 1 - t).

    Examples
    --------
    >>> import linsim
    >>> linsim.Deescalation("attention", tau=1.0).place
    'attention'
    """

    place: str
    _: KW_ONLY
    tau: Any = None
    similarity: Any = None
    function: Callable[[Array], Array] | None = None

    def __post_init__(self) -> None:
        _validate.choice(self.place, "place", PLACES)
        given = [name for name in ("tau", "similarity", "function") if getattr(self, name) is not None]
        if len(given) != 1:
            raise _validate.refusal(
                InvalidTypeError,
                "Deescalation",
                " and ".join(given) or "no strength",
                "exactly one of tau, similarity and function",
                "Pass for example tau=1.0.",
            )
        if self.tau is not None:
            object.__setattr__(
                self, "tau", _spectra.parameter(self.tau, "tau", (), low=-LARGEST, high=LARGEST)[0]
            )
        if self.similarity is not None:
            wanted, _ = _spectra.parameter(self.similarity, "similarity", (), low=0, high=1)
            if np.any(wanted == 1):
                raise _validate.refusal(
                    InvalidValueError, "similarity", 1.0, "numbers in [0, 1)", "No finite tau reaches 1."
                )
            object.__setattr__(self, "similarity", wanted)
        if self.function is not None and not callable(self.function):
            raise _validate.refusal(
                InvalidTypeError,
                "function",
                type(self.function).__name__,
                "a callable of tokens (k, n, d)",
                "Pass a function, or tau.",
            )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of tau or of the similarity; () for a function."""
        strength = self.similarity if self.tau is None else self.tau
        return () if strength is None else tuple(strength.shape)


def several(value: Any) -> tuple[Deescalation, ...]:
    """Return what was given as a tuple of de-escalations."""
    steps = (value,) if isinstance(value, Deescalation) else value
    if isinstance(steps, str) or not isinstance(steps, Iterable):
        steps = (value,)
    steps = tuple(steps)
    wrong = [type(step).__name__ for step in steps if not isinstance(step, Deescalation)]
    if wrong:
        raise _validate.refusal(
            InvalidTypeError,
            "deescalation",
            wrong[0],
            "a Deescalation or a sequence of them",
            'Pass for example Deescalation("attention", tau=1.0).',
        )
    return steps
