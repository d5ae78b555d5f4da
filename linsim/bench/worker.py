"""One peer in one process: reads requests from standard input, answers on standard output, a line each.

A process of its own keeps the peer's thread pools, compile caches and crashes away from all others.
``python PATH/TO/worker.py MODULE:FUNCTION THREADS``: started as a file, because by name it would import
linsim, and with it NumPy, before it keeps to its cores.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["THREAD_VARIABLES", "main"]

#: what the libraries of the peers read when they are first imported
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)

# A run shorter than this is called several times, or the clock and the scheduler would be measured
SHORTEST = 0.05


def keep_to(threads: int) -> None:
    """Let this process use ``threads`` cores only, where the system can be asked to."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads < len(cores):
            os.sched_setaffinity(0, cores[:threads])


def function(target: str) -> Callable[..., Any]:
    """Return the function of ``module:function``."""
    module, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


class Work:
    """Answers requests; remembers the last problem, which is asked for again and again."""

    def __init__(self, target: str) -> None:
        self.run = function(target)
        self.key: Any = None
        self.problem: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do one request: a function of :mod:`linsim.bench.workloads` makes the problem, the peer runs it."""
        if "machine" in request:
            from linsim.bench.machine import measure

            return measure(request["machine"])
        self._prepare(request)
        first = time.perf_counter()
        values = self.run(self.problem)
        seconds = time.perf_counter() - first
        calls = 1
        if request.get("average") and seconds < SHORTEST:
            calls = math.ceil(SHORTEST / max(seconds, 1e-6))
            first = time.perf_counter()
            for _ in range(calls):
                values = self.run(self.problem)
            seconds = (time.perf_counter() - first) / calls
        values, note = values if isinstance(values, tuple) else (values, {})
        if "save" in request:
            import numpy as np

            with open(request["save"], "wb") as file:
                np.savez(file, **values)
        return {"seconds": seconds, "calls": calls, **note}

    def _prepare(self, request: dict[str, Any]) -> None:
        key = (request["workload"], request["make"], request["options"])
        if key == self.key:
            return
        from linsim.bench import workloads

        self.key = self.problem = None  # the old one goes before the new one comes
        make = getattr(workloads, request["make"])
        options = dict(request["options"])
        if "part" in options:
            options["part"] = workloads.Part(**options["part"])
        self.problem = make(workloads.from_json(request["workload"]), **options)
        self.key = key


def main(target: str, threads: int) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    keep_to(threads)
    work: Work | None = None
    for line in sys.stdin:
        try:
            work = work or Work(target)
            answer = work.answer(json.loads(line))
        except Exception as error:  # whatever a peer raises is its result
            text = " ".join(str(error).split())
            answer = {"error": f"{type(error).__name__}: {text}" if text else type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
