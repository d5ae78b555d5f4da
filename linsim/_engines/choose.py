"""The one place that chooses an engine."""

from __future__ import annotations

from dataclasses import dataclass

from .. import _kernels, _validate
from ..errors import InvalidValueError
from . import bands, device, forward, iterate, lanes, modal, parts, squaring
from .modes import DEEPEST
from .protocol import Engine
from .task import Task

__all__ = ["ENGINES", "METHODS", "WALKING", "Choice", "choose", "ready"]

#: closed forms, the cheaper first; what one cannot do goes to the next
CLOSED: tuple[Engine, ...] = (modal, squaring)
#: layer by layer, the fastest first
WALKING: tuple[Engine, ...] = (device, lanes, bands, parts, forward, iterate)
#: all engines, in the order in which they are considered
ENGINES: tuple[Engine, ...] = (*CLOSED, *WALKING)
#: names of ``method``
METHODS = ("auto", *(engine.name for engine in ENGINES))

# seconds in whole arrays above which kernels are waited for, which takes as long
_PATIENCE = 10.0


@dataclass(frozen=True)
class Choice:
    """The engine that does a task, those that get what it cannot do, and why it was chosen."""

    engines: tuple[Engine, ...]
    reason: str


def ready(engine: Engine, task: Task) -> bool:
    """Whether an engine covers a task, and is sooner done than another while its kernels are compiled."""
    if engine.covers(task):
        return False
    # measured: Python takes a few milliseconds a layer, small products run at a few operations a nanosecond
    without = 3e-3 * task.last + iterate.operations(task) / 3e9
    return not engine.kernels or without > _PATIENCE or _kernels.ready(engine.kernels, task.precision)


def choose(task: Task, method: str = "auto") -> Choice:
    """Choose for a task, or take the engine that was asked for.

    Raises
    ------
    InvalidValueError
        If the engine that was asked for does not cover the task, with what is in the way.
    """
    if method == "auto":
        waiting = ""
        for engine in ENGINES:
            if engine.covers(task) or not (reason := engine.worthwhile(task)):
                continue
            if ready(engine, task):
                break
            waiting = waiting or f", while kernels of {engine.name} are being compiled"
        reason += waiting
    else:
        engine, reason = next(engine for engine in ENGINES if engine.name == method), "asked for"
        if obstacle := engine.covers(task):
            able = [repr(other.name) for other in ENGINES if not other.covers(task)]
            raise _validate.refusal(
                InvalidValueError,
                "method",
                f"{method!r} for what it cannot do ({obstacle})",
                f"an engine that can: {', '.join(able)}",
                "Leave method out."
                if task.last <= DEEPEST
                else "Record a shallower layer: the law of a slope does not change.",
            )
    if engine not in CLOSED:
        return Choice(_walking(engine), reason)
    walking = next(other for other in WALKING if ready(other, task))
    return Choice((*CLOSED[CLOSED.index(engine) :], *_walking(walking)), reason)


def _walking(engine: Engine) -> tuple[Engine, ...]:
    """An engine that goes layer by layer, and who takes over where a card does not compile its kernel."""
    return (device, iterate) if engine is device else (engine,)
