"""The one place that chooses an engine."""

from __future__ import annotations

from dataclasses import dataclass

from .. import _validate
from ..errors import InvalidValueError
from . import bands, forward, iterate, lanes, modal, squaring
from .modes import DEEPEST
from .protocol import Engine
from .task import Task

__all__ = ["ENGINES", "METHODS", "WALKING", "Choice", "choose"]

#: closed forms, the cheaper first; what one cannot do goes to the next
CLOSED: tuple[Engine, ...] = (modal, squaring)
#: layer by layer, the fastest first
WALKING: tuple[Engine, ...] = (lanes, bands, forward, iterate)
#: all engines, in the order in which they are considered
ENGINES: tuple[Engine, ...] = (*CLOSED, *WALKING)
#: names of ``method``
METHODS = ("auto", *(engine.name for engine in ENGINES))


@dataclass(frozen=True)
class Choice:
    """The engine that does a task, those that get what it cannot do, and why it was chosen."""

    engines: tuple[Engine, ...]
    reason: str


def choose(task: Task, method: str = "auto") -> Choice:
    """Choose for a task, or take the engine that was asked for.

    Raises
    ------
    InvalidValueError
        If the engine that was asked for does not cover the task, with what is in the way.
    """
    walking = next(engine for engine in WALKING if not engine.covers(task))
    if method == "auto":
        worth = ((engine, engine.worthwhile(task)) for engine in ENGINES if not engine.covers(task))
        engine, reason = next((engine, why) for engine, why in worth if why)
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
        return Choice((engine,), reason)
    return Choice((*CLOSED[CLOSED.index(engine) :], walking), reason)
