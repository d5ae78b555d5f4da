"""Figures of the theory, each a module with ``compute`` (data) and ``draw`` (picture)."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["NAMES", "load", "make"]

#: every figure, in the order in which the story goes
NAMES = (
    "phase_diagram",
    "depth_regimes",
    "regime_disk",
    "arithmetic_limit",
    "escalation",
    "feed_forward_claim",
    "layer_norm_sign",
)


def load(name: str) -> ModuleType:
    """Return the module of a figure: ``compute(seed=...)``, ``draw(ds)`` and ``caption(ds)``.

    >>> load("regime_disk").__name__
    'figures.regime_disk'
    """
    from linsim._validate import choice

    return import_module(f"figures.{choice(name, 'NAME', NAMES)}")


def make(name: str, out: Path, *, seed: int = 0, progress: bool = True) -> list[Path]:
    """Compute, draw and write one figure; return the paths of its PDF, PNG and caption."""
    from ._style import write

    module: Any = load(name)
    ds = module.compute(seed=seed, progress=progress)
    fig = module.draw(ds)
    return write(fig, module.caption(ds), f"linsim figures {name} --seed {seed} --out DIR", seed, out, name)
