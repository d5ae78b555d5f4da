"""Sweeps: many systems over a grid, labelled, resumable, in parallel.

:func:`linsim.sweep` computes them; here is what goes with it.
"""

from ._design import design
from ._run import sweep

__all__ = ["design", "sweep"]
