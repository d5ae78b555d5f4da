"""Any layer at once from the modes of H and powers of I + mu_j A, where A has no usable eigenvectors."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from .._state import State
from .._types import EPS, BoolArray, FloatArray
from . import closed, modes, powers
from .closed import Systems
from .first_layers import COMPARED, DRIFT, Verdict, compared
from .powers import Powers
from .protocol import Job
from .task import Task

__all__ = ["about", "covers", "jobs", "kernels", "name", "operations", "worthwhile"]

name = "squaring"
about = "closed form: any layer at once, from the modes of H and powers of a matrix for each"
kernels = ""


def covers(task: Task) -> str:
    """Return what has no modes, "" where they can be looked for."""
    return closed.in_the_way(task)


def worthwhile(task: Task) -> str:
    """Never before modes were tried: it costs more."""
    return ""


def operations(task: Task) -> float:
    """Powers of a matrix for each eigenvalue of H."""
    n, d = task.n, task.d
    doublings = max(task.last, 2).bit_length()
    return task.size * (closed.MODES * d**3 + doublings * d * 2.0 * n**3 + len(task.layers) * 4.0 * n * n * d)


def jobs(task: Task) -> list[Job]:
    """Return the work in pieces."""
    return closed.jobs(task, _FORM)


def usable(systems: Systems) -> BoolArray:
    """Whether H has a basis that holds any digits, (b or 1,)."""
    return modes.sound(systems.weights)


def prepare(systems: Systems, start: State, shadowed: bool) -> Powers:
    """Take the systems apart by the eigenvectors of H."""
    return powers.prepare(*systems.matrices, start, systems.weights, shadowed)


def states(form: Powers, layers: Sequence[int]) -> Iterator[State]:
    """Yield the state at each of the sorted layers."""
    return powers.states(form, layers)


def reliable(form: Powers, A: FloatArray, H: FloatArray, depth: int, tolerance: float = 1e-10) -> Verdict:
    """Decide for each system whether squaring describes it to ``tolerance``, as :mod:`.modal` does."""
    found, blurred = compared(form.start, functools.partial(states, form, COMPARED), A, H, tolerance)
    # mu is rounded to a double, and so is every power
    drift = depth * 4 * EPS
    reason = np.full(found.shape, "", dtype="U80")
    reason[blurred] = "rounding of the powers hides what iteration resolves"
    reason[~(found <= tolerance)] = "the powers do not reproduce the first layers"
    reason[drift > DRIFT] = "too deep for powers in double precision"
    reason[~form.sound] = "H is defective to rounding"
    return Verdict(reason == "", reason, found + drift)


_FORM = closed.Form(name, usable, prepare, states, reliable)
