"""Layer by layer on whole arrays of any library: takes every rule, depth and metric."""

from __future__ import annotations

from typing import cast

from ..rules import RandomWeights
from . import blocks, draws, functions, matrices, tangents
from .protocol import Job
from .task import Task

__all__ = ["about", "covers", "jobs", "kernels", "name", "operations", "worthwhile"]

name = "iterate"
about = "layer by layer on whole arrays, in any array library; every rule and metric"
kernels = ""


def covers(task: Task) -> str:
    """Nothing is in the way."""
    return ""


def worthwhile(task: Task) -> str:
    """The last resort: takes what no other engine does."""
    if task.rule.moves_by == "matrices":
        return "layer by layer, along the dominant modes"
    return "the only engine for this rule"


def operations(task: Task) -> float:
    """Products of a layer, on the state and its three shadows, and singular values of what is recorded."""
    n, d = task.n, task.d
    return task.size * (4 * task.last * 2.0 * n * d * (n + d) + len(task.layers) * 20.0 * n * d * min(n, d))


def jobs(task: Task) -> list[Job]:
    """Return the work, by how the rule moves tokens."""
    moves = task.rule.moves_by
    if moves == "draws":
        return draws.jobs(cast(RandomWeights, task.rule), task)
    if moves == "block":
        return tangents.jobs(task) if tangents.covers(task) else blocks.jobs(task.rule, task)
    return matrices.jobs(task) if moves == "matrices" else functions.jobs(task)
