"""What an engine hands back: metrics of some systems at the recorded layers, and how they were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ._evaluate import evaluate
from ._namespace import Array, exponent_of, namespace, to_host
from ._state import State, assemble, batch_of, scaled, stacked

__all__ = ["Job", "Recorded", "first_unresolved", "merged", "record"]

_LN2 = float(np.log(2.0))
# States of several layers are measured together until they hold about this many numbers
_TOGETHER = 2**16

#: some of the systems of a run, ready to go
Job = Callable[[], "Recorded"]


@dataclass(frozen=True, eq=False)
class Recorded:
    """Metrics of b systems (or of one that stands for all), in the library of their input.

    ``values`` and ``resolved``: (b, layers) by metric.  ``methods``, ``kinds`` (b or 1,)
    str and ``errors`` (b or 1,) float: engine, split and relative rounding of each
    system; ``refused`` (b or 1,) str: why a cheaper engine did not do.
    ``fallbacks``: how often something had to be done another way; ``size``: b.
    """

    values: Mapping[str, Array]
    resolved: Mapping[str, Array]
    methods: np.ndarray[Any, Any]
    kinds: np.ndarray[Any, Any]
    errors: np.ndarray[Any, Any]
    fallbacks: Mapping[str, int]
    size: int
    states: Array | None = None
    log_scale: Array | None = None
    refused: np.ndarray[Any, Any] = field(default_factory=lambda: np.asarray([""]))


def record(
    states: Iterable[State],
    layers: Sequence[int],
    names: tuple[str, ...],
    zero_rows: Array,
    keep_states: bool,
    methods: Any,
    kinds: Any,
    errors: Any,
) -> Recorded:
    """Measure the state of each layer; ``zero_rows`` (b, n, 1): tokens that are exactly zero at the input."""
    xp = namespace(zero_rows)
    values: dict[str, list[Array]] = {name: [] for name in names}
    resolved: dict[str, list[Array]] = {name: [] for name in names}
    kept: list[tuple[Array, Array]] = []
    lapack = 0
    size = 1
    for first, group in _groups(states):
        count = len(group)
        size = batch_of(group[0])
        here = xp.broadcast_to(zero_rows, (size, *zero_rows.shape[1:]))
        # only at the input a row is known to be exactly zero
        zero = xp.concat(
            [here if layers[first + k] == 0 else xp.zeros_like(here) for k in range(count)], axis=0
        )
        # what leaves the range of a double is resolved to NaN, and needs no warning
        with np.errstate(over="ignore", invalid="ignore"):
            found, redone = evaluate(stacked(group), names, zero)
        lapack += redone
        for name, measured in found.items():
            values[name].append(
                xp.reshape(xp.broadcast_to(measured.value, (count * size, 1, 1)), (count, size))
            )
            resolved[name].append(
                xp.reshape(xp.broadcast_to(measured.resolved, (count * size, 1, 1)), (count, size))
            )
        if keep_states:
            kept.extend(_kept(state) for state in group)

    def joined(parts: list[Array]) -> Array:
        return xp.matrix_transpose(xp.concat(parts, axis=0))

    states_kept = log_scale = None
    if keep_states:
        states_kept = xp.stack(xp.broadcast_arrays(*[x for x, _ in kept]), axis=1)
        log_scale = xp.stack(xp.broadcast_arrays(*[e[:, 0, 0] * _LN2 for _, e in kept]), axis=-1)
    return Recorded(
        {name: joined(parts) for name, parts in values.items()},
        {name: joined(parts) for name, parts in resolved.items()},
        np.atleast_1d(methods),
        np.atleast_1d(kinds),
        np.atleast_1d(errors),
        {"lapack": lapack},
        size,
        states_kept,
        log_scale,
    )


def merged(
    parts: Sequence[tuple[np.ndarray[Any, Any], Recorded]], size: int, fallbacks: Mapping[str, int]
) -> Recorded:
    """Put what was recorded of some systems (their numbers come first) together, NumPy arrays."""
    if len(parts) == 1:
        return replace(parts[0][1], fallbacks={**parts[0][1].fallbacks, **fallbacks})

    def joined(pick: Callable[[Recorded], Any]) -> Any:
        found = [(numbers, pick(part)) for numbers, part in parts]
        kind = np.result_type(*[x.dtype for _, x in found])
        out = np.empty((size, *found[0][1].shape[1:]), dtype=kind)
        for numbers, x in found:
            out[numbers] = x
        return out

    def by_metric(name: str, metric: str) -> Any:
        return joined(lambda part: getattr(part, name)[metric])

    first = parts[0][1]
    kept = first.states is not None
    counts = Counter(fallbacks)
    for _, part in parts:
        counts.update(part.fallbacks)
    return Recorded(
        {metric: by_metric("values", metric) for metric in first.values},
        {metric: by_metric("resolved", metric) for metric in first.values},
        joined(lambda part: part.methods),
        joined(lambda part: part.kinds),
        joined(lambda part: part.errors),
        dict(counts),
        size,
        joined(lambda part: part.states) if kept else None,
        joined(lambda part: part.log_scale) if kept else None,
    )


def _groups(states: Iterable[State]) -> Iterator[tuple[int, list[State]]]:
    """Collect states of successive layers while they are small; yield (place of the first, states)."""
    group: list[State] = []
    place = held = 0
    for state in states:
        size = int(np.prod(state.R.shape))
        if group and held + size > _TOGETHER:
            yield place, group
            place, group, held = place + len(group), [], 0
        group.append(state)
        held += size
    if group:
        yield place, group


def _kept(state: State) -> tuple[Array, Array]:
    xp = namespace(state.R)
    full, e = assemble(state)
    top = exponent_of(xp.max(xp.abs(full), axis=(-1, -2), keepdims=True))
    top = xp.where(top == -xp.inf, xp.zeros_like(top), top)
    return scaled(full, -top), e + top


def first_unresolved(resolved: Array, layers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The first layer (..., ) at which (..., k) is not resolved, -1 where there is none."""
    missing = ~to_host(resolved)
    return np.where(np.any(missing, axis=-1), layers[np.argmax(missing, axis=-1)], -1)
