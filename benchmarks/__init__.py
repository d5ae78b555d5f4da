"""linsim beside the ways in which this simulation is usually written, timed on your machine.

``linsim bench``, or ``python -m benchmarks``.  What is timed is in
:mod:`benchmarks.workloads` (with the counts of operations behind the floor),
whom linsim is timed against in :mod:`benchmarks.peers`, how in
:mod:`benchmarks.runner`.

A worker process imports this package before it knows how many threads it may
have, so nothing here may import NumPy.
"""

from __future__ import annotations

__all__: list[str] = []
