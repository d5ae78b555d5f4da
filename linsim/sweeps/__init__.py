"""Sweeps: many systems over a grid, labelled, resumable, in parallel.

:func:`linsim.sweep` computes them.  Here is what goes with it: :class:`Spec` writes a sweep down,
:func:`design` draws points that fill a box, :func:`status` and :func:`open_store` look into a store,
:func:`explain` tells beforehand what it will cost, and :func:`save_plot` draws it.
"""

from ._accessor import SweepAccessor
from ._accessor import on_import as _on_import
from ._dask import connect
from ._design import design
from ._explain import Explained, explain
from ._plot import save_plot
from ._run import sweep
from ._spec import Spec
from ._status import StoreStatus, open_store, status
from ._trace import Trace, trace

__all__ = [
    "Explained",
    "Spec",
    "StoreStatus",
    "SweepAccessor",
    "Trace",
    "connect",
    "design",
    "explain",
    "open_store",
    "save_plot",
    "status",
    "sweep",
    "trace",
]

_on_import()
