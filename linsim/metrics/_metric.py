"""What a metric is: one object with all that the rest of the library has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from .. import _validate
from .._namespace import Array
from ..errors import InvalidValueError

if TYPE_CHECKING:
    from ._view import View

__all__ = ["NEEDS", "Layer", "Measured", "Metric", "is_logarithm"]

#: what a metric may ask for
NEEDS = ("states", "singular values", "attention")


def is_logarithm(name: str) -> bool:
    """Whether a metric of this name is a natural logarithm: so begins the name of each, and of no other."""
    return name.startswith("log")


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric of b systems and its error, both (b, 1, 1); infinite where nothing is known.

    Both are times 2**exponent (b, 1, 1), where there is one: of a plain metric that grows with X and may
    be too small for a double at the scale of the state.
    """

    value: Array
    error: Array
    exponent: Array | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """What stands beside the states of a layer, for metrics that ask for it.

    Attributes
    ----------
    attention : tuple of arrays, or None
        One (b or 1, n, n) for each head, in the dtype of the states: what the layer that these
        tokens go into looks at them with.  None where there is no such layer or it is not known.
    tokens : array, or None
        A mask or weights of the tokens, (b or 1, n, 1) float64; None: all of them count alike.
    """

    attention: tuple[Array, ...] | None = None
    tokens: Array | None = None


@dataclass(frozen=True, eq=False)
class Metric:
    """One number that says something of a matrix of tokens, and what is to be known of it.

    Parameters
    ----------
    name : str
        Begins with ``log`` if and only if the values are natural logarithms.
    meaning : str
        One line in plain text, the label in datasets.
    of : callable
        Measures a stack of states: takes what ``linsim.metrics`` knows of it, returns value and
        error, or both by name for several metrics that are worked out together (it is called once
        for all metrics with the same ``of``).
    formula : str, keyword-only
        The same in typeset symbols, for tables; ``meaning`` by default.
    group : str, keyword-only
        Which metrics it belongs with.
    needs : tuple of str, keyword-only
        Out of "states", "singular values" and "attention".
    degree : int, keyword-only
        The power in which it grows with X; 0 for a ratio, which does not.  ``of`` measures the
        state at its own scale, and the factor is put back.
    limit : float, keyword-only
        The value where all tokens are one, or None if there is no single one.
    gap : str, keyword-only
        Name of the logarithm that tells how far from ``limit`` it is.
    law : str, keyword-only
        What ``Prediction.rates`` and ``Prediction.log_bound`` call this gap.
    smoothing : bool, keyword-only
        Whether that law is for this metric only where the constant mode dominates (True), only
        where it does not (False), or always (None).
    reach : float, keyword-only
        Logarithm below which a loop with pairs of doubles could not show the gap either, so that more
        digits are not tried.
    slot : str, keyword-only
        What the compiled kernels call it, if they measure it.

    Raises
    ------
    InvalidValueError
        If the name and the scale do not fit, or something is needed that nobody has.

    Notes
    -----
    How to add one: ``docs/recipes/metric.md``.

    Examples
    --------
    >>> from linsim.metrics import REGISTRY
    >>> similarity = REGISTRY["token_similarity"]
    >>> similarity.meaning, similarity.limit, similarity.gap, similarity.is_log
    ('||mean part||^2 / ||X||^2; 1: all tokens alike', 1.0, 'log_token_diversity', False)
    """

    name: str
    meaning: str
    of: Callable[[View], Measured | Mapping[str, Measured]]
    _: KW_ONLY
    formula: str = ""
    group: str = ""
    needs: tuple[str, ...] = ("states",)
    degree: int = 0
    limit: float | None = None
    gap: str | None = None
    law: str | None = None
    smoothing: bool | None = None
    reach: float = float("-inf")
    slot: str | None = None

    def __post_init__(self) -> None:
        for need in self.needs:
            _validate.choice(need, "needs", NEEDS)
        if self.gap is not None and (self.is_log or not is_logarithm(self.gap)):
            raise _validate.refusal(
                InvalidValueError,
                "gap",
                f"{self.gap!r} as the gap of {self.name!r}",
                "a name that begins with 'log', of a metric whose name does not",
                "Give the gap to the plain metric.",
            )

    @property
    def is_log(self) -> bool:
        """Whether values are natural logarithms."""
        return is_logarithm(self.name)

    @property
    def scale(self) -> str:
        """How values and errors count: "linear" or "log"."""
        return "log" if self.is_log else "linear"

    @property
    def of_nothing(self) -> float:
        """The value of the state that is exactly zero: only what grows with X has one."""
        if not self.degree:
            return float("nan")
        return float("-inf") if self.is_log else 0.0
