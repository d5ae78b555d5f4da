"""linsim beside the ways in which this simulation is usually written, timed on your machine.

``linsim bench``.  What is timed is in
:mod:`linsim.bench.workloads` (with the counts of operations behind the floor),
whom linsim is timed against in :mod:`linsim.bench.peers`, how in
:mod:`linsim.bench.runner`.

A worker process (:mod:`linsim.bench.worker`) runs as a file: it sets its threads and cores
before it imports anything of linsim.
"""

from __future__ import annotations

__all__: list[str] = []
