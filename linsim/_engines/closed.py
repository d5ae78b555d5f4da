"""What closed forms have in common: where they pay, and system by system whether one holds.

A form is compared with iteration at the first layers (:mod:`.first_layers`); systems which it does not
describe are given up, with the reason.  Computed on the host, in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .. import _kernels
from .._eigen import Eigensystem, attention_eigensystem, meant, weight_eigensystem
from .._namespace import to_host
from .._parallel import pieces
from .._recorded import Recorded, record, sharper
from .._split import KINDS, choose_split, constant_split
from .._state import State
from .._types import EPS, BoolArray, FloatArray
from . import lanes
from .first_layers import Verdict
from .fixed_point import beyond, fixed_point, from_it
from .modes import DEEPEST
from .protocol import Job
from .task import SINGLE, Task, started

__all__ = ["DEEPEST", "MODES", "Form", "Systems", "in_the_way", "jobs", "worthwhile"]

#: finding and checking the modes of a system costs about as much as this many operations for each
#: entry of A and of H and each row, and iterating it 2 n d (n + d) per layer
MODES = 1300
# a cut that enlarges roundings by more than this is measured beside a plainer one
ENLARGED = 6.0
# with fewer layers between two recorded ones there is nothing to jump over
_APART = 8


def in_the_way(task: Task) -> str:
    """Return what has no closed form, "" where one can be looked for."""
    if task.rule.single_head is None:
        return f"{type(task.rule).__name__}: modes are those of one A and one H"
    if not task.rule.stochastic:
        return "attention that is not stochastic"
    if task.last > DEEPEST:
        return f"layer {task.last} is beyond {DEEPEST}, where phases lose their digits"
    return ""


def worthwhile(task: Task) -> str:
    """Return why jumping to the recorded layers is cheaper than walking, by shape and depth alone, or ""."""
    if not pays(task.n, task.d, task.last, len(task.layers)):
        return ""
    return "few layers are recorded, far apart: jumping is cheaper"


def pays(n: int, d: int, depth: int, recorded: int) -> bool:
    """Return whether jumping to the recorded layers is cheaper than walking."""
    walking = 2.0 * n * d * (n + d) * depth
    return depth <= DEEPEST and depth >= _APART * recorded and walking > 2 * MODES * (n**3 + d**3)


@dataclass(frozen=True, eq=False)
class Systems:
    """Some systems, and their eigenvalues; arrays with leading axis b or 1."""

    A: FloatArray
    H: FloatArray
    x0: FloatArray
    zero_until: FloatArray
    attention: Eigensystem
    weights: Eigensystem
    bias: FloatArray | None = None  # (b or 1, 1, d): what a layer adds to every token

    @property
    def matrices(self) -> tuple[FloatArray, FloatArray]:
        """A and H."""
        return self.A, self.H

    def take(self, picked: Any) -> Systems:
        """Return the systems with these numbers."""

        def own(x: Any) -> Any:
            return x if x.shape[0] == 1 else x[picked]

        def each(system: Eigensystem) -> Eigensystem:
            return Eigensystem(*[own(getattr(system, field.name)) for field in fields(Eigensystem)])

        A, H, x0, until = (own(x) for x in (self.A, self.H, self.x0, self.zero_until))
        bias = None if self.bias is None else own(self.bias)
        return Systems(A, H, x0, until, each(self.attention), each(self.weights), bias)

    @functools.cached_property
    def fixed(self) -> tuple[FloatArray, BoolArray]:
        """The token that layers with a bias leave where it is, (b, 1, d), and whether it is known."""
        assert self.bias is not None
        return fixed_point(self.H, self.bias)


@dataclass(frozen=True)
class Form:
    """A closed form.

    ``usable(systems)`` (b or 1,): whether it can be tried; ``prepare(systems, start, shadowed)``: the form
    of systems whose tokens are cut into parts; ``states(form, layers)``; ``reliable(form, A, H, depth)``;
    ``kernel(form, zero_until, layers, metrics, kinds, errors, stop)``: a compiled way to the metrics that
    need no more than the mean kept apart, if there is one.
    """

    name: str
    usable: Callable[[Systems], BoolArray]
    prepare: Callable[[Systems, State, bool], Any]
    states: Callable[[Any, Sequence[int]], Iterator[State]]
    reliable: Callable[..., Verdict]
    kernel: Callable[..., Recorded] | None = None


def jobs(task: Task, form: Form) -> list[Job]:
    """Return the work of a closed form, in pieces."""
    n, d = task.n, task.d
    known: Systems | None = task.known
    if known is None:
        A, H = (to_host(M).astype(np.float64) for M in task.heads(0)[0])
        if task.precision == "float32":
            A = meant(A, SINGLE)
        x0, zero_until = to_host(task.start).astype(np.float64), task.zero_until
        row = task.drive(0)
        bias = None if row is None else to_host(row).astype(np.float64)
        together = all(M.shape[0] == 1 for M in (A, H, x0, *([] if bias is None else [bias])))
    else:
        together = all(M.shape[0] == 1 for M in (*known.matrices, known.x0))
        together = together and (known.bias is None or known.bias.shape[0] == 1)

    def run(part: slice) -> Recorded:
        if known is not None:
            return _recorded(task, form, known.take(part), part)
        A_, H_, x0_, until = (M if M.shape[0] == 1 else M[part] for M in (A, H, x0, zero_until))
        own = None if bias is None else bias if bias.shape[0] == 1 else bias[part]
        systems = Systems(A_, H_, x0_, until, attention_eigensystem(A_), weight_eigensystem(H_), own)
        return _recorded(task, form, systems, part)

    parts = [slice(0, task.size)]
    if not together and known is None:  # what another closed form left is a piece already
        parts = pieces(task.size, 40 * n * d + 20 * n * n + 20 * d * d, np.empty(0))
    return [Job(part, functools.partial(run, part)) for part in parts]


def _recorded(task: Task, form: Form, systems: Systems, part: slice) -> Recorded:
    """Record the systems that the form describes, of a part of the task's; the others are left."""
    names, size = task.names, part.stop - part.start
    plain = set(names) <= set(lanes.METRICS) and max(task.n, task.d) <= _kernels.LARGEST
    plain = plain and not task.keep_states and _kernels.ready("jump", "float64")
    plain = plain and systems.bias is None and task.tokens is None
    refused = np.full(size, "A or H is defective to rounding", dtype="U80")
    usable = np.array(np.broadcast_to(form.usable(systems), size))
    if systems.bias is not None:
        known = systems.fixed[1]
        refused[np.broadcast_to(~known, size)] = "H leads to no fixed point of the bias that holds digits"
        usable &= known
    tried = np.flatnonzero(usable)
    held = tried[:0]
    if tried.size:
        prepared, kinds, enlarged = _formed(form, systems.take(tried), tried.size, plain, not plain)
        verdict = form.reliable(prepared, *systems.take(tried).matrices, task.last)
        held = tried[np.broadcast_to(verdict.ok, tried.size)]
        refused[tried] = np.where(verdict.ok, "", verdict.reason)
    left = np.setdiff1d(np.arange(size), held)
    if not held.size:
        found = _nothing(task)
    else:
        here = systems.take(held)
        if held.size < tried.size:
            prepared, kinds, enlarged = _formed(form, here, held.size, plain, not plain)
        errors = np.broadcast_to(verdict.error, tried.size)[np.isin(tried, held)]
        until = here.zero_until
        if plain and form.kernel is not None:
            found = form.kernel(prepared, until, task.layers, names, kinds, errors, task.stop)
        else:
            until = until[:, :, None].astype(np.float64)
            states = _attended(_biased(form.states(prepared, task.at), here), here.A)
            keep = task.keep_states
            tokens = task.tokens_beside(here.x0, held + part.start)
            found = record(states, task.at, names, here.x0, until, keep, form.name, kinds, errors, tokens)
            again = np.flatnonzero(np.broadcast_to(enlarged, held.size) > ENLARGED)
            if again.size and form.kernel is not None and here.bias is None:
                until = until if len(until) == 1 else until[again]
                if tokens is not None and len(tokens) > 1:
                    tokens = tokens[again]
                found = _with_plainer_cut(form, found, here.take(again), again, task, until, tokens)
    return replace(found, refused=refused, left=left, known=systems.take(left) if left.size else None)


def _nothing(task: Task) -> Recorded:
    """What was recorded of no system."""
    shape = (0, len(task.layers))
    none = np.asarray([], dtype="U1")
    return Recorded(
        {name: np.empty(shape) for name in task.names},
        {name: np.empty(shape) for name in task.names},
        none,
        none,
        np.empty(0),
        {},
        0,
        np.empty((*shape, task.n, task.d)) if task.keep_states else None,
        np.empty(shape) if task.keep_states else None,
    )


def _formed(
    form: Form, systems: Systems, size: int, plain: bool, shadowed: bool
) -> tuple[Any, FloatArray, FloatArray]:
    """Cut the systems' tokens and find their modes or powers.

    Return them with the kinds of split and by how much the cut enlarges roundings, (b,).
    """
    A, H = systems.matrices
    enlarged = np.ones(1)
    if plain:
        split, kinds = constant_split(A, H.shape[-1], size, EPS), np.asarray(KINDS[:1])
    else:
        both = (systems.attention, systems.weights)
        driven = None if systems.bias is None else np.any(systems.bias != 0, axis=(-1, -2))
        split, kinds, enlarged = choose_split(A, H, systems.x0, EPS, both, driven=driven)
    state = started(np.broadcast_to(systems.x0, (size, *systems.x0.shape[1:])), split)
    if systems.bias is not None:
        state = from_it(state, systems.fixed[0], H)
    return form.prepare(systems, state, shadowed), kinds, enlarged


def _with_plainer_cut(
    form: Form,
    found: Recorded,
    systems: Systems,
    numbers: Any,
    task: Task,
    zero_until: FloatArray,
    tokens: FloatArray | None,
) -> Recorded:
    """Measure the systems with these ``numbers`` with the mean alone cut off as well; keep what is sharper.

    Vectors far from orthogonal cost digits of what does not need them.
    """
    prepared, kinds, _ = _formed(form, systems, numbers.size, True, True)
    verdict = form.reliable(prepared, *systems.matrices, task.last)
    states, keep = _attended(form.states(prepared, task.at), systems.A), found.states is not None
    names, error = task.names, verdict.error
    other = record(states, task.at, names, systems.x0, zero_until, keep, form.name, kinds, error, tokens)
    ok = np.broadcast_to(verdict.ok, numbers.size)
    picked = numbers[ok]

    def taken(x: Recorded, which: Any) -> Recorded:
        return replace(
            x,
            values={name: held[which] for name, held in x.values.items()},
            errors={name: held[which] for name, held in x.errors.items()},
            states=None if x.states is None else x.states[which],
            log_scale=None if x.log_scale is None else x.log_scale[which],
        )

    better = sharper(taken(found, picked), taken(other, np.flatnonzero(ok)))

    def put(into: Any, new: Any) -> FloatArray:
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


def _biased(states: Iterator[State], systems: Systems) -> Iterator[State]:
    """The same states, counted from nothing again where they were from a fixed point."""
    return states if systems.bias is None else beyond(states, systems.fixed[0], systems.H)


def _attended(states: Iterator[State], A: FloatArray) -> Iterator[State]:
    """The same states, each with the attention that all layers have."""
    return (replace(state, attention=lambda: [A]) for state in states)
