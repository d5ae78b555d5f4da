"""What the machine can do: the rate of matrix products, and of numbers from memory."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Machine", "cores", "cpu_name", "measure"]


@dataclass(frozen=True)
class Machine:
    """Rates of this machine, float64.

    Attributes
    ----------
    cpu : str
    cores, threads : int
        Cores that this process may use, and how many of them were.
    gemm, gemm_one : float
        Flops per second of ``numpy.matmul``, on all threads and on one.
    triad : float
        Bytes per second of a = b + s c on all threads, over arrays that no cache holds.
    load : float, optional
        Processes that wanted a core before the benchmark began.
    """

    cpu: str
    cores: int
    threads: int
    gemm: float
    gemm_one: float
    triad: float
    load: float | None


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """Return what the processor calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def measure(options: dict[str, Any]) -> dict[str, Any]:
    """Measure in this process, which has been given its threads: ``{"threads", "quick"}``."""
    from threadpoolctl import threadpool_limits

    threads, quick = int(options["threads"]), bool(options["quick"])
    size, numbers = (256, 2**16) if quick else (1024, 2**24)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, size, size))
    out = np.empty((size, size))
    flops = 2.0 * size**3
    gemm = flops / _fastest(lambda: np.matmul(a, b, out=out), quick)
    with threadpool_limits(1, "blas"):
        gemm_one = flops / _fastest(lambda: np.matmul(a, b, out=out), quick)
    # where others want the cores, threads only wait for each other
    return {"gemm": max(gemm, gemm_one), "gemm_one": gemm_one, "triad": _triad(numbers, threads, quick)}


def _triad(numbers: int, threads: int, quick: bool) -> float:
    a, b, c = np.zeros(numbers), np.ones(numbers), np.ones(numbers)
    edges = [numbers * i // threads for i in range(threads + 1)]
    # so small that what the product writes is still in the cache when the sum reads it
    block = 2**14

    def work(piece: int) -> None:
        for start in range(edges[piece], edges[piece + 1], block):
            here = slice(start, min(start + block, edges[piece + 1]))
            np.multiply(c[here], 3.0, out=a[here])
            np.add(a[here], b[here], out=a[here])

    with ThreadPoolExecutor(threads) as pool:
        seconds = _fastest(lambda: list(pool.map(work, range(threads))), quick)
    return 24.0 * numbers / seconds


def _fastest(run: Any, quick: bool) -> float:
    """Return the shortest time of many runs: a rate that was reached is a rate that can be reached."""
    run()
    best, spent, least = np.inf, 0.0, 0.05 if quick else 0.5
    while spent < least:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        best, spent = min(best, seconds), spent + seconds
    return float(best)
