"""Time linsim on a GPU: rates of the card, every size beside the CPU and beside the prediction.

Times are medians of whole calls of :func:`linsim.simulate` with ``backend="cupy"``, from NumPy to NumPy, so
they hold what choosing vectors on the host and the way there and back take.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from linsim import Linear, attention, checks, simulate
from linsim.errors import BackendError
from linsim.gpu import cupy_status

from .predicted import layer_seconds, record_seconds

__all__ = ["Report", "Row", "as_json", "lines", "run"]

#: n = d, systems, layers; all recorded
_SIZES = ((16, 4096, 64), (32, 4096, 64), (64, 256, 64), (256, 16, 16), (1024, 2, 8))
_QUICK = ((8, 4, 4),)


@dataclass(frozen=True)
class Row:
    """One size: seconds on the GPU, on the CPU, and as predicted for an H100; ``engine``: who ran there.

    ``gemm_share``: products that the layers are made of, as a share of what the card does in large ones.
    """

    n: int
    systems: int
    depth: int
    engine: str
    gpu: float
    cpu: float
    predicted: float
    gemm_share: float


@dataclass(frozen=True)
class Report:
    """The card, flops per second of a large float64 product, bytes per second, and the rows."""

    card: str
    gemm: float
    bandwidth: float
    rows: tuple[Row, ...]


def run(*, repeats: int = 3, quick: bool = False) -> Report:
    """Measure.

    Raises
    ------
    BackendError
        If no GPU answers.
    """
    repeats = checks.count(repeats, "--repeats", minimum=1)
    reason = cupy_status()
    if reason is not None:
        raise BackendError(
            f"--backend: found 'cupy', but {reason}; expected a GPU that CuPy can use. "
            "Run linsim doctor, which says what to do, or leave --backend out to time the CPU."
        )
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    name = properties["name"]
    size = 256 if quick else 4096
    x = cupy.zeros((size, size), dtype=np.float64)
    gemm = 2.0 * size**3 / _timed(lambda: x @ x, repeats)
    long = cupy.zeros((2**20 if quick else 2**27,), dtype=np.float64)
    bandwidth = 16.0 * long.shape[0] / _timed(lambda: long + 1.0, repeats)
    rows = tuple(_row(*one, repeats, gemm) for one in (_QUICK if quick else _SIZES))
    return Report(name.decode() if isinstance(name, bytes) else str(name), gemm, bandwidth, rows)


def _timed(function: Callable[[], Any], repeats: int) -> float:
    """Median seconds of a call, behind one to warm up, until the device has done it."""
    import cupy

    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        function()
        cupy.cuda.Device().synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def _row(n: int, systems: int, depth: int, repeats: int, gemm: float) -> Row:
    rng = np.random.default_rng(0)
    A = attention.softmax(n, min(n, 64), size=(systems,), rng=rng)
    rule = Linear(A, rng.standard_normal((systems, n, n)) / (2 * np.sqrt(n)))
    x0 = rng.standard_normal((systems, n, n))
    engine = simulate(rule, x0, depth, backend="cupy").info.method
    gpu = _timed(lambda: simulate(rule, x0, depth, backend="cupy"), repeats)
    cpu = _timed(lambda: simulate(rule, x0, depth, backend="numpy"), 1)
    which = 0 if engine == "device" else 1
    predicted = depth * (layer_seconds(n, n, systems)[which] + record_seconds(n, n, systems)[which])
    # the state and three shadows
    share = 4 * 4.0 * n**3 * systems * depth / gpu / gemm
    return Row(n, systems, depth, engine, gpu, cpu, predicted, share)


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as plain values."""
    return asdict(report)


def lines(report: Report) -> list[str]:
    """Return the report as lines of text."""
    out = [
        f"{report.card}: float64 products {report.gemm / 1e12:.3g} Tflop/s, "
        f"memory {report.bandwidth / 1e9:.3g} GB/s",
        "n = d  systems  layers  engine     GPU         CPU         CPU/GPU  of GEMM  predicted",
    ]
    for row in report.rows:
        out.append(
            f"{row.n:5}  {row.systems:7}  {row.depth:6}  {row.engine:9}  {row.gpu:<10.3g}  {row.cpu:<10.3g}  "
            f"{row.cpu / row.gpu:7.3g}  {row.gemm_share:7.1%}  {row.predicted:.3g}"
        )
    end = "Seconds of whole calls, all default metrics at all layers; predicted: an H100, without the host."
    return [*out, end]
