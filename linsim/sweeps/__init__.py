"""Sweeps: many systems over a grid, labelled, resumable, in parallel."""

from ._run import sweep

__all__ = ["sweep"]
