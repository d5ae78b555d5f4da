"""Any layer at once, by the first of three ways that holds: modes, powers, or walking there after all.

The modes of A and H (:mod:`.modal`) lead to every layer at the same cost.
Where A has no usable eigenvectors (causal attention) powers of I + mu_j A do
(:mod:`.squaring`).  Both are compared with iteration at the first layers, system
by system, and what does not hold goes on layer by layer.  Computed on the host,
in float64.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .. import _kernels
from .._eigen import EPS, Eigensystem, attention_eigensystem, weight_eigensystem
from .._recorded import Recorded, merged, record, sharper
from .._split import KINDS, choose_split, constant_split
from .._state import EMPTY, Split, State
from . import modal, small, squaring

__all__ = ["DEEPEST", "run", "worthwhile"]

F = np.ndarray[Any, Any]

DEEPEST = modal.DEEPEST

# finding and checking the modes of a system costs about as much as this many operations for each
# entry of A and of H and each row, and iterating it 2 n d (n + d) per layer
_MODES = 1300
# operations that take minutes are announced
_TEDIOUS = 1e12
# a cut that enlarges roundings by more than this is measured beside a plainer one
ENLARGED = 6.0
# with fewer layers between two recorded ones there is nothing to jump over
_APART = 8


def worthwhile(n: int, d: int, depth: int, recorded: int) -> bool:
    """Return whether jumping to the recorded layers is cheaper than walking, by shape and depth alone."""
    walking = 2.0 * n * d * (n + d) * depth
    return depth <= DEEPEST and depth >= _APART * recorded and walking > 2 * _MODES * (n**3 + d**3)


@dataclass(frozen=True, eq=False)
class _Systems:
    """Some systems, and their eigenvalues; arrays with leading axis b or 1."""

    A: F
    H: F
    x0: F
    attention: Eigensystem
    weights: Eigensystem

    @property
    def matrices(self) -> tuple[F, F]:
        """A and H."""
        return self.A, self.H

    def take(self, picked: F) -> _Systems:
        """Return the systems with these numbers."""

        def own(x: F) -> F:
            return x if x.shape[0] == 1 else x[picked]

        def each(system: Eigensystem) -> Eigensystem:
            return Eigensystem(*[own(getattr(system, field.name)) for field in fields(Eigensystem)])

        return _Systems(own(self.A), own(self.H), own(self.x0), each(self.attention), each(self.weights))


def run(
    A: F,
    H: F,
    x0: F,
    zero_until: F,
    size: int,
    layers: F,
    names: tuple[str, ...],
    keep_states: bool,
    started: Callable[[F, Split], State],
    walk: Callable[[F], Recorded],
    stop: F,
) -> Recorded:
    """Record ``size`` systems; A, H and x0 (b or 1, ., .) float64, ``zero_until`` (b or 1, n).

    ``started`` cuts the tokens into parts; ``walk`` records the systems with the
    given numbers layer by layer; ``stop`` (1,) ends the work when it becomes true.
    """
    plain = small.applies(names, *x0.shape[-2:]) and not keep_states
    at = [int(k) for k in layers]
    systems = _Systems(A, H, x0, attention_eigensystem(A), weight_eigensystem(H))
    left, parts = np.arange(size), []
    refused = np.full(size, "", dtype="U80")
    for method, engine in (("modal", modal), ("squaring", squaring)):
        usable = modal.sound(systems.weights)
        if engine is modal:
            usable = usable & modal.sound(systems.attention)
        tried = left[np.broadcast_to(usable, size)[left]]
        refused[np.setdiff1d(left, tried)] = "A or H is defective to rounding"
        if not tried.size:
            continue
        form, kinds, enlarged = _formed(engine, systems.take(tried), tried.size, started, plain, not plain)
        verdict = engine.reliable(form, *systems.take(tried).matrices, at[-1])
        held = tried[np.broadcast_to(verdict.ok, tried.size)]
        refused[tried] = np.where(verdict.ok, refused[tried], verdict.reason)
        if held.size:
            here = systems.take(held)
            if held.size < tried.size:
                form, kinds, enlarged = _formed(engine, here, held.size, started, plain, not plain)
            errors = np.broadcast_to(verdict.error, tried.size)[np.isin(tried, held)]
            until = zero_until if len(zero_until) == 1 else zero_until[held]
            if plain and engine is modal:
                found = _recorded_by_kernel(form, until, layers, names, kinds, errors, stop)
            else:
                until = until[:, :, None].astype(np.float64)
                states = _attended(engine.states(form, at), here.A)
                found = record(states, at, names, here.x0, until, keep_states, method, kinds, errors)
                again = np.flatnonzero(np.broadcast_to(enlarged, held.size) > ENLARGED)
                if again.size and engine is modal:
                    until = until if len(until) == 1 else until[again]
                    found = _with_plainer_cut(found, here.take(again), again, started, at, names, until)
            parts.append((held, found))
        left = np.setdiff1d(left, held)
    if left.size:
        work = 2.0 * x0.shape[1] * x0.shape[2] * sum(x0.shape[1:]) * at[-1] * left.size
        if work > _TEDIOUS:
            why = ", ".join(sorted(set(refused[left])))
            print(
                f"linsim: {left.size} of {size} systems have no closed form ({why}); "
                f"walking to layer {at[-1]}",
                file=sys.stderr,
            )
        parts.append((left, walk(left)))
    whole = merged(parts, size, {"iterate": int(left.size)})
    return replace(whole, refused=refused)


def _formed(
    engine: Any,
    systems: _Systems,
    size: int,
    started: Callable[[F, Split], State],
    plain: bool,
    shadowed: bool,
) -> tuple[Any, F, F]:
    """Cut the systems' tokens and find their modes or powers.

    Return them with the kinds of split and by how much the cut enlarges roundings, (b,).
    """
    eigensystems = (systems.attention, systems.weights)
    A, H = systems.matrices
    enlarged = np.ones(1)
    if plain:
        split, kinds = constant_split(A, H.shape[-1], size, EPS), np.asarray(KINDS[:1])
    else:
        split, kinds, enlarged = choose_split(A, H, systems.x0, EPS, eigensystems)
    state = started(np.broadcast_to(systems.x0, (size, *systems.x0.shape[1:])), split)
    if engine is modal:
        prepared = modal.prepare(A, H, state, eigensystems[0], eigensystems[1], shadowed)
        return prepared, kinds, enlarged
    return engine.prepare(A, H, state, eigensystems[1]), kinds, enlarged


def _with_plainer_cut(
    found: Recorded,
    systems: _Systems,
    numbers: F,
    started: Callable[[F, Split], State],
    layers: Sequence[int],
    names: tuple[str, ...],
    zero_until: F,
) -> Recorded:
    """Measure the systems with these ``numbers`` with the mean alone cut off as well; keep what is sharper.

    Vectors far from orthogonal cost digits of what does not need them.
    """
    form, kinds, _ = _formed(modal, systems, numbers.size, started, True, True)
    verdict = modal.reliable(form, *systems.matrices, layers[-1])
    states, keep = _attended(modal.states(form, layers), systems.A), found.states is not None
    error = verdict.error
    other = record(states, layers, names, systems.x0, zero_until, keep, "modal", kinds, error)
    ok = np.broadcast_to(verdict.ok, numbers.size)
    picked = numbers[ok]

    def taken(x: Recorded, which: F) -> Recorded:
        return replace(
            x,
            values={name: held[which] for name, held in x.values.items()},
            errors={name: held[which] for name, held in x.errors.items()},
            states=None if x.states is None else x.states[which],
            log_scale=None if x.log_scale is None else x.log_scale[which],
        )

    better = sharper(taken(found, picked), taken(other, np.flatnonzero(ok)))

    def put(into: Any, new: Any) -> F:
        into = np.array(into)
        into[picked] = new
        return into

    return replace(
        found,
        values={name: put(x, better.values[name]) for name, x in found.values.items()},
        errors={name: put(x, better.errors[name]) for name, x in found.errors.items()},
        states=put(found.states, better.states) if keep else None,
        log_scale=put(found.log_scale, better.log_scale) if keep else None,
    )


def _attended(states: Iterator[State], A: F) -> Iterator[State]:
    """The same states, each with the attention that all layers have."""
    return (replace(state, attention=lambda: [A]) for state in states)


def _recorded_by_kernel(
    form: modal.Modes, zero_until: F, layers: F, names: tuple[str, ...], kinds: F, rounding: F, stop: F
) -> Recorded:
    """Measure what needs no more than the mean kept apart, in :mod:`linsim._kernels.jump`."""
    from .._kernels.jump import jump

    _kernels.announce(jump, "float64")
    b, n, d = form.coefficients.shape
    # modes of H in the order of their growth, halves of a pair together; Z = L Q
    speed = np.where(form.coefficients != 0, form.log2_hi + form.log2_lo, EMPTY)
    speed = np.max(speed, axis=-2)
    second = form.tag_H == 2
    shared = np.maximum(speed, np.where(second, np.roll(speed, 1, axis=-1), np.roll(speed, -1, axis=-1)))
    speed = np.where(form.tag_H == 0, speed, shared)
    order = np.argsort(-speed, axis=-1, kind="stable")
    place = np.argsort(order, axis=-1)
    Z = np.take_along_axis(form.left_H, order[:, :, None], axis=-2)
    L = np.swapaxes(np.linalg.qr(np.swapaxes(Z, -1, -2), mode="r"), -1, -2)
    start = form.start

    def pair(rest: F, mean: F) -> F:
        return np.concatenate([rest.reshape(-1, 1), mean.reshape(-1, 1)], axis=1) * np.ones((b, 1))

    slot = small.slots(names)
    values, errors = np.empty((len(names), b, len(layers))), np.empty((len(names), b, len(layers)))
    arguments = [
        np.broadcast_to(start.R, (b, n, d)),
        np.broadcast_to(start.r[:, 0], (b, d)),
        pair(start.e_R, start.e_r),
        pair(start.noise[:, 0, 3], start.noise[:, 0, 1]),
        form.coefficients,
        pair(start.e_r, start.e_R),
        *(form.log2_hi, form.log2_lo, form.turn_hi, form.turn_lo, form.size, form.drift),
        *(form.tag_A, form.tag_H, place, form.right_A, L),
        pair(form.floor[:, 1], form.floor[:, 3]),
        pair(form.growth[:, 1], form.growth[:, 3]),
        form.rounding,
        np.broadcast_to(form.split.preserves_mean[:, 0, 0], b),
        zero_until,
        layers,
    ]
    fixed = [_kernels.frozen(x) for x in arguments]

    def run(lost: F, found: F) -> None:
        jump(*fixed, slot, 0, b, values, errors, lost, found, stop)

    lapack = small.with_lost(run, slot, values, errors, float(EPS), n, d)
    return Recorded(
        {name: values[k] for k, name in enumerate(names)},
        {name: errors[k] for k, name in enumerate(names)},
        np.asarray(["modal"]),
        kinds,
        rounding,
        {"lapack": lapack},
        b,
    )
