"""Which figures there are, and how one is made."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from linsim.checks import choice

from .style import write

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
    'linsim.figures.regime_disk'
    """
    return import_module(f"linsim.figures.{choice(name, 'NAME', NAMES)}")


def make(name: str, out: Path, *, seed: int = 0, progress: bool = True) -> list[Path]:
    """Compute, draw and write one figure; return the paths of its PDF, PNG and caption."""
    module: Any = load(name)
    ds = module.compute(seed=seed, progress=progress)
    fig = module.draw(ds)
    return write(fig, module.caption(ds), f"linsim figures {name} --seed {seed} --out DIR", seed, out, name)
