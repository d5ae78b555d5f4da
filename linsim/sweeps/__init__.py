"""Sweeps: many systems over a grid, labelled, resumable, in parallel.

:func:`linsim.sweep` computes them.  Here is what goes with it: :class:`Spec` writes a sweep down,
:func:`design` draws points that fill a box, :func:`status` and :func:`open_store` look into a store,
:func:`explain` tells beforehand what it will cost, and :func:`save_plot` draws it.
"""

from ._accessor import SweepAccessor, on_import
from ._dask import connect
from ._design import design
from ._explain import Explained, explain
from ._plot import save_plot
from ._run import sweep
from ._spec import Spec
from ._status import StoreStatus, open_store, status

__all__ = [
    "Explained",
    "Spec",
    "StoreStatus",
    "SweepAccessor",
    "connect",
    "design",
    "explain",
    "open_store",
    "save_plot",
    "status",
    "sweep",
]

on_import()
