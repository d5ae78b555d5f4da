"""What every engine offers: the one interface between what is asked and the ways to compute it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .._recorded import Recorded
from .task import Task

__all__ = ["Engine", "Job"]


@dataclass(frozen=True, eq=False)
class Job:
    """Some systems of a task, ready to go.

    ``systems``: which ones; ``run()``: what was recorded of them, and in ``left`` which of them
    (counted from the first of the job) this engine could not do.
    """

    systems: slice
    run: Callable[[], Recorded]


class Engine(Protocol):
    """A way through the layers: a module of this package, named as ``run.info.method`` names it."""

    @property
    def name(self) -> str:
        """What ``method=`` and ``run.info.method`` call it."""

    @property
    def about(self) -> str:
        """What it does, in a few words."""

    @property
    def kernels(self) -> str:
        """The group of compiled kernels without which it does nothing (``_kernels.first_use``), or ""."""

    def covers(self, task: Task) -> str:
        """Return "" where it can do a task, else what is in the way; it may still give up single systems."""

    def worthwhile(self, task: Task) -> str:
        """Return why it is to be taken where it covers a task and nobody asked for it, "" if it is not."""

    def operations(self, task: Task) -> float:
        """Return about how many floating-point operations a task takes."""

    def jobs(self, task: Task) -> list[Job]:
        """Return the work, cut into pieces that may run at the same time."""
