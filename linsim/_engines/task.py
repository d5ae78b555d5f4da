"""What is asked of an engine: a rule, tokens, layers and metrics, for all or some systems of a batch."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._eigen import meant
from .._general_eigen import intended
from .._namespace import Array, exponent_of, namespace, on_device_of, to_backend, to_host
from .._rule import Rule
from .._state import Split, State, decompose, scaled, shifted
from .._types import EPS

__all__ = [
    "SINGLE",
    "StoppedError",
    "Task",
    "budget",
    "eps_of",
    "go_on",
    "growth_of_layers",
    "in_batch",
    "in_one_transfer",
    "placed",
    "rounding",
    "rows_of",
    "scale",
    "started",
]

#: relative spacing of float32
SINGLE = float(np.finfo(np.float32).eps)
# a token that is exactly zero at every layer
_FOREVER = 2**62


@dataclass(frozen=True, eq=False)
class Task:
    """What is asked of a rule, for some of its systems.

    ``start`` (b or 1, n, d): their tokens; ``batch``: the batch shape of the rule and x0 together;
    ``layers``: those to record; ``names``: metrics; ``allowed``: the largest error of each;
    ``numbers``: which systems of the batch these are, None for all; ``rounded_from_single``:
    matrices were float32 and stand for exactly stochastic ones; ``stop`` (1,) bool: ends the work
    when it becomes true; ``rng``: where rules that draw draw from; ``known``: what an engine that
    gave these systems up had found out about them; ``each``: the most operations that are spent on
    more digits for one system, None where all share a budget; ``tokens``: weights of the tokens that
    are measured, (B or 1, n, 1) float64 on the host for all B systems of the batch, None for all alike;
    ``where``: what ``backend="auto"`` chose, and why, "" where nobody left that open.
    """

    rule: Rule
    depth: int
    start: Array
    batch: tuple[int, ...]
    backend: str | None
    layers: np.ndarray[Any, Any]
    names: tuple[str, ...]
    keep_states: bool
    stop: np.ndarray[Any, Any]
    allowed: Mapping[str, float]
    rng: Any = None
    numbers: np.ndarray[Any, Any] | None = None
    rounded_from_single: bool = False
    known: Any = None
    each: float | None = None
    tokens: np.ndarray[Any, Any] | None = None
    where: str = ""

    @property
    def size(self) -> int:
        """Number of systems."""
        return int(np.prod(self.batch, dtype=int)) if self.numbers is None else len(self.numbers)

    @property
    def n(self) -> int:
        """Number of tokens."""
        return int(self.start.shape[-2])

    @property
    def d(self) -> int:
        """Number of features."""
        return int(self.start.shape[-1])

    @property
    def last(self) -> int:
        """The deepest layer to record."""
        return int(self.layers[-1])

    @property
    def at(self) -> list[int]:
        """The layers to record."""
        return [int(layer) for layer in self.layers]

    @property
    def precision(self) -> str:
        """Name of the dtype of the states."""
        return "float64" if self.start.dtype == namespace(self.start).float64 else "float32"

    @property
    def on_host(self) -> bool:
        """Whether the tokens are NumPy's."""
        return namespace(self.start) is np

    def ended(self, layer: int) -> bool:
        """Whether the rule has no such layer."""
        return self.rule.max_depth is not None and layer >= self.rule.max_depth

    def picked(
        self,
        numbers: np.ndarray[Any, Any],
        precision: str | None = None,
        count: int | None = None,
        known: Any = None,
    ) -> Task:
        """The same for some of the systems, in a precision, and for the first ``count`` recorded layers."""
        xp, start = namespace(self.start), self.start
        precision = self.precision if precision is None else precision
        if start.shape[0] > 1:
            start = rows_of(start, numbers)
        return replace(
            self,
            start=xp.astype(start, getattr(xp, precision), copy=False),
            layers=self.layers[:count],
            numbers=numbers if self.numbers is None else self.numbers[numbers],
            rounded_from_single=self.rounded_from_single or precision != self.precision,
            known=known,
        )

    def tokens_beside(self, like: Array, rows: Any = None) -> Array | None:
        """Weights of the tokens of these systems, or of some of them, (b or 1, n, 1) beside ``like``."""
        weights = self.tokens
        if weights is None:
            return None
        if len(weights) > 1:
            weights = weights if self.numbers is None else weights[self.numbers]
            weights = weights if rows is None else weights[rows]
        return on_device_of(np.ascontiguousarray(weights), like)

    @functools.cached_property
    def zero_until(self) -> np.ndarray[Any, Any]:
        """The layer up to which each token is exactly zero, (b or 1, n), -1 for never; on the host.

        A token that is zero stays so while it attends to none that is not.
        """
        zero = ~np.any(to_host(self.start) != 0, axis=-1)
        until = np.where(zero, 0, -1).astype(np.int64)
        if not zero.any() or self.rule.attention(0) is None or self.driven:
            return until
        for layer in range(self.last):
            seen = np.zeros(1, dtype=bool)
            for A in self.rule.attention(layer if self.different > 1 else 0) or ():
                A = to_host(self.attention(A))
                seen = seen | np.any((A != 0) & ~zero[:, None, :], axis=-1)
            stays = zero & ~seen
            if until.shape != stays.shape:
                until = np.array(np.broadcast_to(until, stays.shape))
            until[stays] = layer + 1
            if not stays.any() or (self.different == 1 and np.array_equal(stays, zero)):
                until[stays] = _FOREVER
                break
            zero = stays
        return until

    @functools.cached_property  # looks at every layer, and is asked at every layer
    def different(self) -> int:
        """How many layers have matrices of their own."""
        return 1 if self.rule.repeats else max(self.depth, 1)

    @functools.cached_property
    def alike(self) -> bool:
        """Whether all layers have as many heads."""
        return len({len(self.rule.checked_heads(layer)) for layer in range(self.different)}) == 1

    @functools.cached_property
    def driven(self) -> bool:
        """Whether some layer adds a row to all tokens."""
        return any(self.rule.checked_drive(layer) is not None for layer in range(self.different))

    def drive(self, layer: int) -> Array | None:
        """What a layer adds to every token, (b or 1, 1, d), where the states live; None for nothing."""
        row = self.rule.checked_drive(layer if self.different > 1 else 0)
        return None if row is None else self.matrix(row[..., None, :])

    @property
    def given_to(self) -> float:
        """Relative spacing of the coarsest numbers that matrices were given in, or that they are held in."""
        held = SINGLE if self.rounded_from_single else eps_of(self.start)
        return max(held, _given_to(self.rule))

    def heads(self, layer: int) -> list[tuple[Array, Array]]:
        """The pairs (A_h, H_h) of a layer, each (b or 1, ., .), where the states live."""
        return self._heads_of(layer) if self.different > 1 else list(self._heads_of_all)

    def _heads_of(self, layer: int) -> list[tuple[Array, Array]]:
        return [(self.attention(A), self.matrix(H)) for A, H in self.rule.checked_heads(layer)]

    @functools.cached_property
    def _heads_of_all(self) -> list[tuple[Array, Array]]:
        """The pairs of every layer where all are alike."""
        return self._heads_of(0)

    def attention(self, A: Array) -> Array:
        """Attention of the rule as :meth:`matrix` gives it, with the row sums that it was rounded from."""
        A = self.matrix(A)
        if not self.rule.stochastic:
            if self.precision == "float32" or self.given_to <= EPS:
                return A
            return on_device_of(intended(to_host(A), self.given_to), A)
        if not self.rounded_from_single:
            return A
        return on_device_of(meant(to_host(A), SINGLE), A)

    def matrix(self, M: Array) -> Array:
        """A matrix of the rule for these systems, (b or 1, ., .), where the states live."""
        precision = "float32" if self.rounded_from_single else self.precision
        M = in_batch(to_backend(M, self.backend), self.batch, precision)
        if self.numbers is not None and M.shape[0] > 1:
            M = rows_of(M, self.numbers)
        return namespace(M).astype(M, getattr(namespace(M), self.precision), copy=False)

    @functools.cached_property
    def growth(self) -> np.ndarray[Any, Any]:
        """log2 of a bound on how much one layer enlarges an entry, (b or 1,); matrices known beforehand."""
        growth = np.zeros(1)
        for own in growth_of_layers(map(self.heads, range(self.different)), self.rule.stochastic):
            # what is added is at most as large as what it is added to, in powers of two
            growth = np.maximum(growth, np.logaddexp2(own, 1.0) if self.driven else own)
        return growth


class StoppedError(Exception):
    """Ends a piece of work whose result nobody waits for any more."""


def go_on(stop: np.ndarray[Any, Any]) -> None:
    """Raise where the work is to end."""
    if stop[0]:
        raise StoppedError


def eps_of(x: Array) -> float:
    """Relative spacing of the dtype of an array."""
    return float(namespace(x).finfo(x.dtype).eps)


def rounding(start: Array, layers: np.ndarray[Any, Any]) -> float:
    """Relative rounding that the layers add to a part up to the last recorded one."""
    return eps_of(start) * float(np.sqrt(sum(start.shape[-2:]))) * (int(layers[-1]) + 1)


def budget(start: Array) -> int:
    """Powers of two by which entries may grow between two rescalings."""
    return 400 if start.dtype == namespace(start).float64 else 50


def started(start: Array, split: Split) -> State:
    """Cut the input into parts, at a scale where nothing overflows."""
    half, top = scale(start)
    return shifted(decompose(scaled(scaled(start, half), -top - half), split), top)


def scale(start: Array) -> tuple[Array, Array]:
    """Return half of minus the exponent of the largest entry (2**-top could overflow), and that exponent."""
    xp = namespace(start)
    top = exponent_of(xp.max(xp.abs(start), axis=(-1, -2), keepdims=True))
    return xp.floor(-top / 2), top


def rows_of(x: Array, numbers: np.ndarray[Any, Any]) -> Array:
    """Some of the systems of (b, ...); the standard has no index of arrays beside an ellipsis."""
    return namespace(x).take(x, on_device_of(numbers, x), axis=0)


def in_batch(x: Array, batch: tuple[int, ...], precision: str) -> Array:
    """Reshape (..., p, q) to (b, p, q); b is 1 where one matrix serves the whole batch."""
    xp = namespace(x)
    x = xp.astype(x, getattr(xp, precision), copy=False)
    lead, tail = tuple(x.shape[:-2]), tuple(x.shape[-2:])
    if all(extent == 1 for extent in lead):
        return xp.reshape(x, (1, *tail))
    return xp.reshape(xp.broadcast_to(x, (*batch, *tail)), (-1, *tail))


def _given_to(rule: Any) -> float:
    rules = getattr(rule, "rules", None) or [rule]
    return max(float(getattr(one, "spacing", EPS)) for one in rules)


def growth_of_layers(
    layers: Iterable[Sequence[tuple[Array, Array]]], stochastic: bool = True
) -> list[np.ndarray[Any, Any]]:
    """log2 of a bound on how much each layer enlarges an entry, (b or 1,); ``stochastic``: rows sum to 1.

    One transfer for all layers, where their matrices are on a device.
    """
    each = [[_column_sums(A, H, stochastic) for A, H in pairs] for pairs in layers]
    sums = [x for own in each for x in own]
    on_host = iter(in_one_transfer(sums))
    out = []
    for own in each:
        total = np.zeros(1)
        for _ in own:
            found = next(on_host)
            safe = np.log2(np.where(found > 0, found, 1))
            total = np.logaddexp2(total, np.where(found > 0, safe, -np.inf))
        out.append(total)
    return out


def in_one_transfer(arrays: Sequence[Array]) -> list[np.ndarray[Any, Any]]:
    """Arrays of one shape, but for leading axes of 1, as NumPy arrays."""
    xp = namespace(*arrays) if arrays else np
    return list(arrays) if xp is np else list(to_host(xp.stack(xp.broadcast_arrays(*arrays))))


def _column_sums(A: Array, H: Array, stochastic: bool) -> Array:
    """The largest sum of |entries| of a column of H, times that of a row of A where these may enlarge too."""
    xp = namespace(H)
    with np.errstate(over="ignore"):  # beyond the range is beyond any budget
        columns = xp.max(xp.sum(xp.abs(H), axis=-2, dtype=xp.float64), axis=-1)
        if stochastic:
            return columns
        return columns * xp.max(xp.sum(xp.abs(A), axis=-1, dtype=xp.float64), axis=-1)


def placed(split: Split, start: Array) -> Split:
    """Put the vectors of a split beside the states, in their dtype."""
    xp = namespace(start)
    if xp is np and start.dtype == np.float64:
        return split  # where it was made

    def place(x: np.ndarray[Any, Any]) -> Array:
        return on_device_of(np.ascontiguousarray(x), start, xp.bool if x.dtype == bool else start.dtype)

    # eigenvalues keep their digits: what they lose is lost at every layer alike
    eigenvalues = {k: on_device_of(np.ascontiguousarray(getattr(split, k)), start) for k in ("lam", "mu")}
    return replace(split.map(place), **eigenvalues)
