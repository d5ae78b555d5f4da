"""Any layer at once from the modes of A and H, at a cost that does not depend on depth."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from .. import _kernels
from .._recorded import Recorded
from .._state import EMPTY, State
from .._types import EPS, BoolArray, FloatArray
from . import closed, lanes, mode_states, modes
from .closed import Systems
from .first_layers import COMPARED, DRIFT, Verdict, compared
from .modes import Modes, parts_of_modes
from .protocol import Job
from .task import Task

__all__ = ["about", "covers", "jobs", "kernels", "name", "operations", "worthwhile"]

name = "modal"
about = "closed form: any layer at once, from the modes of A and H"
kernels = ""


def covers(task: Task) -> str:
    """Return what has no modes, "" where they can be looked for."""
    return closed.in_the_way(task)


def worthwhile(task: Task) -> str:
    """Jumping pays where few layers are recorded, far apart."""
    return closed.worthwhile(task)


def operations(task: Task) -> float:
    """Finding and checking modes, and the states of the recorded layers."""
    n, d = task.n, task.d
    return task.size * (closed.MODES * (n**3 + d**3) + len(task.layers) * 2.0 * n * d * (n + d))


def jobs(task: Task) -> list[Job]:
    """Return the work in pieces."""
    return closed.jobs(task, _FORM)


def usable(systems: Systems) -> BoolArray:
    """Whether A and H have a basis that holds any digits, (b or 1,)."""
    return np.asarray(modes.sound(systems.weights) & modes.sound(systems.attention))


def prepare(systems: Systems, start: State, shadowed: bool) -> Modes:
    """Find the modes of the systems."""
    return modes.prepare(*systems.matrices, start, systems.attention, systems.weights, shadowed)


def states(form: Modes, layers: Sequence[int]) -> Iterator[State]:
    """Yield the state at each of the sorted layers."""
    return mode_states.states(form, layers)


def reliable(form: Modes, A: FloatArray, H: FloatArray, depth: int, tolerance: float = 1e-10) -> Verdict:
    """Decide for each system whether its modes describe it to ``tolerance``.

    The condition of the eigenvectors is no guide (it predicts 1e-6 where 1e-12
    is found, and 1 where all is lost), so the parts are compared with iteration
    at the first layers, where nothing has collapsed yet.
    """
    found, blurred = compared(form.start, functools.partial(states, form, COMPARED), A, H, tolerance)
    drift = depth * _leading_drift(form)
    error = found + drift
    reason = np.full(found.shape, "", dtype="U80")
    reason[drift > DRIFT] = "an eigenvalue is not known well enough for this depth"
    reason[blurred] = "ill-conditioned eigenvectors hide what iteration resolves"
    reason[~(found <= tolerance)] = "the eigenvectors do not reproduce the first layers"
    reason[~form.sound] = "A or H is defective to rounding"
    return Verdict(reason == "", reason, error)


def _leading_drift(form: Modes) -> FloatArray:
    """Error of ln rho of the fastest mode of every part, the worst of the parts, (b,)."""
    speed = form.log2_hi + form.log2_lo
    n, d = speed.shape[1:]
    own_row = (np.arange(n) == form.i[:, None])[:, :, None]
    own_column = (np.arange(d) == form.j[:, None])[:, None, :]
    worst = np.zeros(speed.shape[0])
    for held in parts_of_modes(own_row, own_column, n)[:4]:
        held = held & (form.coefficients != 0)
        top = np.max(np.where(held, speed, -np.inf), axis=(-1, -2), keepdims=True)
        leads = held & (speed >= top - 1e-6)
        worst = np.maximum(worst, np.max(np.where(leads, form.drift, 0), axis=(-1, -2)))
    return worst


def recorded_by_kernel(
    form: Modes,
    zero_until: FloatArray,
    layers: FloatArray,
    names: tuple[str, ...],
    kinds: FloatArray,
    rounding: FloatArray,
    stop: FloatArray,
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

    def pair(rest: FloatArray, mean: FloatArray) -> FloatArray:
        return np.concatenate([rest.reshape(-1, 1), mean.reshape(-1, 1)], axis=1) * np.ones((b, 1))

    slot = lanes.slots(names)
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

    def run(lost: FloatArray, found: FloatArray) -> None:
        jump(*fixed, slot, 0, b, values, errors, lost, found, stop)

    lapack = lanes.with_lost(run, slot, values, errors, float(EPS), n, d)
    return Recorded(
        {metric: values[k] for k, metric in enumerate(names)},
        {metric: errors[k] for k, metric in enumerate(names)},
        np.asarray([name]),
        kinds,
        rounding,
        {"lapack": lapack},
        b,
    )


_FORM = closed.Form(name, usable, prepare, states, reliable, recorded_by_kernel)
