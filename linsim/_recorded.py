"""What an engine hands back: metrics of some systems at the recorded layers, and how they were found."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ._namespace import Array, exponent_of, namespace, on_device_of, to_host
from ._state import State, assemble, batch_of, scaled, stacked
from .metrics._evaluate import of_tokens
from .metrics._metric import Layer, is_logarithm
from .metrics._registry import needing
from .metrics._sampled import measured as measured_with_samples

__all__ = [
    "Recorded",
    "at_home",
    "filled",
    "first_of",
    "kept_of",
    "merged",
    "missing",
    "record",
    "record_together",
    "sharper",
    "too_far_off",
]

_LN2 = float(np.log(2.0))
# States of several layers are measured together until they hold about this many numbers
_TOGETHER = 2**16


@dataclass(frozen=True, eq=False)
class Recorded:
    """Metrics of b systems (or of one that stands for all), in the library of their input.

    ``values`` and ``errors``: (b, layers) by metric, everything as it came out; what is too far
    off is left out later.  ``methods``, ``kinds`` (b or 1,)
    str and ``rounding`` (b or 1,) float: engine, split and relative rounding of each
    system; ``refused`` (b or 1,) str: why a cheaper engine did not do.
    ``fallbacks``: how often something had to be done another way; ``size``: b.
    ``left``: which of the systems the engine could not do, whose values are whatever they are, and
    ``known``: what it found out about them that the next engine may use.
    """

    values: Mapping[str, Array]
    errors: Mapping[str, Array]
    methods: np.ndarray[Any, Any]
    kinds: np.ndarray[Any, Any]
    rounding: np.ndarray[Any, Any]
    fallbacks: Mapping[str, int]
    size: int
    states: Array | None = None
    log_scale: Array | None = None
    refused: np.ndarray[Any, Any] = field(default_factory=lambda: np.asarray([""]))
    left: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(0, dtype=int))
    known: Any = None


def at_home(found: Recorded) -> Recorded:
    """The same as NumPy arrays, all values and errors in one transfer where they are on a device."""
    first = next(iter(found.values.values()), None)
    if first is None or namespace(first) is np:
        return found
    xp = namespace(first)
    every = [*found.values.values(), *found.errors.values()]
    count = max(x.shape[0] for x in every)
    host = to_host(xp.stack([xp.broadcast_to(x, (count, *x.shape[1:])) for x in every]))
    values, errors = host[: len(found.values)], host[len(found.values) :]
    return replace(
        found,
        values=dict(zip(found.values, values, strict=True)),
        errors=dict(zip(found.errors, errors, strict=True)),
        states=None if found.states is None else to_host(found.states),
        log_scale=None if found.log_scale is None else to_host(found.log_scale),
    )


def record(
    states: Iterable[State],
    layers: Sequence[int],
    names: tuple[str, ...],
    given: Array,
    zero_until: Array,
    keep_states: bool,
    methods: Any,
    kinds: Any,
    rounding: Any,
    tokens: Array | None = None,
) -> Recorded:
    """Measure the state of each layer.

    ``given`` (b or 1, n, d): the tokens at layer 0, which are measured as they are; ``zero_until``
    (b or 1, n, 1) float64: the layer up to which a token is exactly zero, -1 for never.
    ``tokens`` (b or 1, n, 1) float64: a mask or weights of them, for metrics that ask for it.
    """
    xp = namespace(given)
    values: dict[str, list[Array]] = {name: [] for name in names}
    errors: dict[str, list[Array]] = {name: [] for name in names}
    kept: list[tuple[Array, Array]] = []
    lapack = 0
    size = 1
    of_input = Layer(None, tokens)
    for first, group, attention in _groups(states, bool(needing("attention", names))):
        count = len(group)
        size = batch_of(group[0])
        until = xp.broadcast_to(zero_until, (size, *zero_until.shape[1:]))
        zero = [until >= layers[first + k] for k in range(count)]
        layer = _beside(attention, tokens, size)
        if first == 0:
            of_input = _beside(attention[:1], tokens, size)
        found, redone = measured_with_samples(stacked(group), names, xp.concat(zero, axis=0), layer)
        lapack += redone
        for name, measured in found.items():
            for held, x in ((values, measured.value), (errors, measured.error)):
                held[name].append(xp.reshape(xp.broadcast_to(x, (count * size, 1, 1)), (count, size)))
        if keep_states:
            kept.extend(kept_of(state, rows) for state, rows in zip(group, zero, strict=True))

    def joined(parts: list[Array]) -> Array:
        return xp.matrix_transpose(xp.concat(parts, axis=0))

    if layers[0] == 0:
        for name, measured in of_tokens(given, names, of_input).items():
            for held, x in ((values, measured.value), (errors, measured.error)):
                first_layer = xp.broadcast_to(xp.reshape(x, (1, -1)), (1, held[name][0].shape[1]))
                held[name][0] = xp.concat([first_layer, held[name][0][1:, :]], axis=0)
    states_kept = log_scale = None
    if keep_states:
        states_kept = xp.stack(xp.broadcast_arrays(*[x for x, _ in kept]), axis=1)
        log_scale = xp.stack(xp.broadcast_arrays(*[e[:, 0, 0] * _LN2 for _, e in kept]), axis=-1)
    return Recorded(
        {name: joined(parts) for name, parts in values.items()},
        {name: joined(parts) for name, parts in errors.items()},
        np.atleast_1d(methods),
        np.atleast_1d(kinds),
        np.atleast_1d(rounding),
        {"lapack": lapack},
        size,
        states_kept,
        log_scale,
    )


def record_together(
    groups: Iterable[tuple[slice, slice, State]],
    size: int,
    layers: np.ndarray[Any, Any],
    names: tuple[str, ...],
    zero_until: Array,
    keep_states: bool,
    methods: Any,
    kinds: Any,
    rounding: Any,
    tokens: Array | None = None,
) -> Recorded:
    """Measure NumPy states of several systems and layers at once; other arguments as of :func:`record`.

    ``groups``: which of the ``size`` systems, the places of some layers, and the states of these layers of
    the first system, then of the second, and so on.  ``zero_until`` (size, n, 1).
    """
    # values and errors
    held = np.empty((2, len(names), size, len(layers)))
    kept: list[tuple[slice, slice, Array, Array]] = []
    lapack = 0
    for some, places, state in groups:
        shape = (some.stop - some.start, places.stop - places.start)
        zero = np.reshape(
            zero_until[some, None] >= layers[places][:, None, None], (-1, *zero_until.shape[1:])
        )
        layer = None
        if tokens is not None:
            weights = np.broadcast_to(tokens, (size, *tokens.shape[1:]))
            layer = Layer(None, np.repeat(weights[some], shape[1], axis=0))
        found, redone = measured_with_samples(state, names, zero, layer)
        lapack += redone
        each = [found[name] for name in names]
        for to, several in zip(held, ([x.value for x in each], [x.error for x in each]), strict=True):
            if {len(x) for x in several} == {len(zero)}:
                to[:, some, places] = np.array(several).reshape(len(names), *shape)
                continue
            for one, x in zip(to, several, strict=True):  # one may stand for all
                one[some, places] = x.reshape(shape if len(x) == len(zero) else (1, 1))
        if keep_states:
            full, e = kept_of(state, zero)
            kept.append((some, places, full.reshape(*shape, *full.shape[1:]), e.reshape(shape) * _LN2))
    states = log_scale = None
    if keep_states:
        states = np.empty((size, len(layers), *kept[0][2].shape[2:]), kept[-1][2].dtype)
        log_scale = np.empty((size, len(layers)))
        for some, places, full, e in kept:
            states[some, places], log_scale[some, places] = full, e
    values, errors = (dict(zip(names, x, strict=True)) for x in held)
    return Recorded(
        values,
        errors,
        np.atleast_1d(methods),
        np.atleast_1d(kinds),
        np.atleast_1d(rounding),
        {"lapack": lapack},
        size,
        states,
        log_scale,
    )


def merged(
    parts: Sequence[tuple[np.ndarray[Any, Any], Recorded]], size: int, fallbacks: Mapping[str, int]
) -> Recorded:
    """Put what was recorded of some systems (their numbers come first) together, NumPy arrays."""
    if len(parts) == 1:
        return (
            parts[0][1]
            if not fallbacks
            else replace(parts[0][1], fallbacks={**parts[0][1].fallbacks, **fallbacks})
        )

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
        {metric: by_metric("errors", metric) for metric in first.values},
        joined(lambda part: part.methods),
        joined(lambda part: part.kinds),
        joined(lambda part: part.rounding),
        dict(counts),
        size,
        joined(lambda part: part.states) if kept else None,
        joined(lambda part: part.log_scale) if kept else None,
    )


def missing(found: Recorded, allowed: Mapping[str, float]) -> Array:
    """Whether each value is too far off to be reported, (metrics, b, layers) bool, in the order of found."""
    names, errors = tuple(found.errors), list(found.errors.values())
    if any(namespace(x) is not np or x.shape != errors[0].shape for x in errors):
        return too_far_off(_together(found.values), _together(found.errors), names, allowed)
    out = np.zeros((len(names), *(errors[0].shape if errors else (1, 1))), dtype=bool)
    # of most metrics the largest error says that all are fine, whatever the values
    limit, _, at_most = _bounds(names, tuple(allowed[name] for name in names))
    fine = np.minimum(limit, at_most).ravel()
    which = [k for k, x in enumerate(errors) if not np.max(x, initial=0.0) <= fine[k]]
    if which:
        some = tuple(names[k] for k in which)
        value, error = (_together({name: x[name] for name in some}) for x in (found.values, found.errors))
        out[which] = too_far_off(value, error, some, allowed)
    return out


def too_far_off(value: Array, error: Array, names: tuple[str, ...], allowed: Mapping[str, float]) -> Array:
    """As :func:`missing`, of values and errors (metrics, b, layers)."""
    xp = namespace(error)
    bounds = _bounds(names, tuple(allowed[name] for name in names))
    limit, most, at_most = bounds if xp is np else (on_device_of(x, error) for x in bounds)
    size = xp.where(xp.isfinite(value), xp.abs(value), xp.ones_like(value))
    with np.errstate(over="ignore"):
        size = limit * xp.maximum(xp.minimum(size, most), xp.ones_like(size))
    return ~(error <= xp.minimum(size, at_most))


@functools.lru_cache(maxsize=16)
def _bounds(names: tuple[str, ...], limits: tuple[float, ...]) -> tuple[np.ndarray[Any, Any], ...]:
    """The largest errors, the values they are relative to at most, and the largest errors then, (., 1, 1).

    They are absolute, and of plain metrics relative where these are large; what is beyond the range
    of doubles still does not let pass what nothing is known of.
    """
    logarithm = np.asarray([is_logarithm(name) for name in names], dtype=bool)
    largest = float(np.finfo(np.float64).max)
    bounds = [np.asarray(limits, dtype=np.float64)]
    bounds += [np.where(logarithm, *pair) for pair in ((1.0, largest), (np.inf, largest))]
    return tuple(x[:, None, None] for x in bounds)


def _together(x: Mapping[str, Array]) -> Array:
    """Put arrays (b or 1, layers) on top of each other, (metrics, b, layers)."""
    several = list(x.values())
    if not several:
        return np.empty((0, 1, 1))
    xp, alike = namespace(several[0]), len({one.shape for one in several}) == 1
    if xp is np and alike:
        return np.array(several)
    return xp.stack(several if alike else xp.broadcast_arrays(*several))


def filled(
    found: Recorded, numbers: np.ndarray[Any, Any], again: Recorded, allowed: Mapping[str, float]
) -> Recorded:
    """Replace what is missing by what was found with more digits: of systems ``numbers``, first layers.

    States are replaced where the logarithm of their norm is.
    """
    states, log_scale = found.states, found.log_scale
    values, errors = dict(found.values), dict(found.errors)
    gone = dict(zip(found.errors, to_host(missing(found, allowed)), strict=True))
    for name in values:
        xp, like = namespace(values[name]), values[name]
        held = [np.array(to_host(x)) for x in (values[name], errors[name])]
        depth = again.values[name].shape[-1]
        new, new_error = (
            np.broadcast_to(to_host(x), (len(numbers), depth))
            for x in (again.values[name], again.errors[name])
        )
        old_error = held[1][numbers, :depth]
        better = gone[name][numbers, :depth] & (new_error < old_error)
        if not better.any():
            continue
        held[0][numbers, :depth] = np.where(better, new, held[0][numbers, :depth])
        held[1][numbers, :depth] = np.where(better, new_error, old_error)
        values[name], errors[name] = (x if xp is np else on_device_of(x, like) for x in held)
        if name == "log_norm" and states is not None and again.states is not None:
            rows, layers = np.nonzero(better)
            fresh = np.broadcast_to(to_host(again.states), (*better.shape, *again.states.shape[-2:]))
            scales = np.broadcast_to(to_host(again.log_scale), better.shape)
            kept = [np.array(to_host(x)) for x in (states, log_scale)]
            kept[0] = np.array(np.broadcast_to(kept[0], (*held[0].shape, *kept[0].shape[-2:])))
            kept[1] = np.array(np.broadcast_to(kept[1], held[0].shape))
            kept[0][numbers[rows], layers] = fresh[rows, layers]
            kept[1][numbers[rows], layers] = scales[rows, layers]
            states, log_scale = (x if xp is np else on_device_of(x, like) for x in kept)
    return replace(found, values=values, errors=errors, states=states, log_scale=log_scale)


def sharper(found: Recorded, other: Recorded) -> Recorded:
    """Of two ways to the same values, each the one with the smaller error; states go by their norm."""
    values, errors = {}, {}
    states, log_scale = found.states, found.log_scale
    for name, error in found.errors.items():
        xp = namespace(error)
        better = other.errors[name] < error
        values[name] = xp.where(better, other.values[name], found.values[name])
        errors[name] = xp.where(better, other.errors[name], error)
        if name == "log_norm" and states is not None:
            states = xp.where(better[:, :, None, None], other.states, states)
            log_scale = xp.where(better, other.log_scale, log_scale)
    return replace(found, values=values, errors=errors, states=states, log_scale=log_scale)


# what each of some states goes into, one array for each head; none where that is not known or not asked
_Attention = list[tuple[Array, ...]]


def _groups(states: Iterable[State], attended: bool) -> Iterator[tuple[int, list[State], _Attention]]:
    """Collect states of successive layers while they are small; yield place of the first, states, attention.

    States of one group go into equally many heads.
    """
    group: list[State] = []
    attention: _Attention = []
    place = held = 0
    for state in states:
        # to be asked for before the next state is
        heads = tuple(state.attention()) if attended and state.attention is not None else ()
        size = int(np.prod(state.R.shape))
        if group and (held + size > _TOGETHER or len(heads) != len(attention[-1])):
            yield place, group, attention
            place, group, attention, held = place + len(group), [], [], 0
        group.append(state)
        attention.append(heads)
        held += size
    if group:
        yield place, group, attention


def _beside(attention: _Attention, tokens: Array | None, size: int) -> Layer:
    """What stands beside several states of ``size`` systems, behind each other as they are."""

    def several(arrays: Sequence[Array]) -> Array:
        xp = namespace(arrays[0])
        return xp.concat([xp.broadcast_to(x, (size, *x.shape[1:])) for x in arrays], axis=0)

    heads = [several(of_head) for of_head in zip(*attention, strict=True)]
    return Layer(tuple(heads) or None, None if tokens is None else several([tokens] * len(attention)))


def kept_of(state: State, zero: Array) -> tuple[Array, Array]:
    """States as they are kept, largest entries in [1, 2), and exponents; ``zero`` (b, n, 1) bool: tokens."""
    xp = namespace(state.R)
    full, e = assemble(state)
    full = xp.where(zero, xp.zeros_like(full), full)
    top = exponent_of(xp.max(xp.abs(full), axis=(-1, -2), keepdims=True))
    top = xp.where(top == -xp.inf, xp.zeros_like(top), top)
    return scaled(full, -top), e + top


def first_of(missing: np.ndarray[Any, Any], layers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The first layer (..., ) at which (..., k) is missing, -1 where there is none."""
    return np.where(np.any(missing, axis=-1), layers[np.argmax(missing, axis=-1)], -1)
