"""What :func:`linsim.bench.runner.run` found, as text and as plain data for JSON."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from typing import Any

from .peers import LINSIM, version
from .runner import Entry, Report, Result

__all__ = ["as_json", "counted", "duration", "lines", "times"]


def lines(report: Report) -> Iterator[str]:
    """Yield the report as lines of text."""
    here = report.machine
    yield f"{here.cpu}, {here.threads} of {here.cores} cores in use"
    yield (
        f"NumPy's matrix product {here.gemm / 1e9:.0f} Gflop/s ({here.gemm_one / 1e9:.0f} on one thread), "
        f"memory {here.triad / 1e9:.0f} GB/s; float64"
    )
    if here.load is not None and here.load > 0.3 * here.cores:
        yield f"NOTE: {here.load:.1f} processes were already running: trust ratios, not times."
    if report.quick:
        yield "NOTE: --quick shows that everything works; its times say nothing about speed."
    for result in report.results:
        yield ""
        yield from _table(report, result)
    yield ""
    yield f"Medians of {counted(report.repeats, 'run')}, all in turn. x: over linsim's time, or the floor."
    yield "first: the first call, with imports and compilation. Differences are over max(1, |value|)."
    yield "left out: values that linsim does not give, because its rounding would hide them."


def _table(report: Report, result: Result) -> Iterator[str]:
    workload, reference = result.workload, result.entries[0].median
    rates = report.machine.gemm, report.machine.triad
    least = result.floor.seconds(*rates)
    yield f"{workload.name}  {workload.title}: {workload.describe()}"
    yield (
        f"floor {duration(least)} by {result.floor.bound(*rates)}: "
        f"{result.floor.flops / 1e9:.3g} Gflop, {result.floor.bytes / 1e6:.3g} MB"
    )
    yield f"{'':<24}{'median':>9}  {'range':<18}{'x linsim':>9}{'x floor':>9}{'first':>9}"
    for entry in result.entries:
        if entry.status != "ok":
            yield f"{entry.label:<24}{entry.status + (': ' + entry.error if entry.error else '')}"
            continue
        span = f"{duration(min(entry.seconds))} to {duration(max(entry.seconds))}"
        # the floor counts float64
        over = times(entry.median, least) if entry.dtype == "float64" else ""
        first = duration(entry.first) if entry.first is not None else ""
        note = f"  {entry.method}" if entry.method else ""
        if entry.scale != 1:
            note += f"  1/{entry.scale:g} of it was timed"
        yield (
            f"{entry.label:<24}{duration(entry.median):>9}  {span:<18}{times(entry.median, reference):>9}"
            f"{over:>9}{first:>9}{note}"
        )
    compared = [entry for entry in result.entries if entry.agreement]
    if compared:
        yield f"{'largest difference':<24}" + "".join(f"{name:>18}" for name in workload.metrics)
    for entry in compared:
        shown = "".join(f"{_difference(entry, name):>18}" for name in workload.metrics)
        hidden = sum(agreement.unmeasured for agreement in entry.agreement.values())
        yield (
            f"{entry.label:<24}{shown}"
            + (f"  {hidden:,} left out" if hidden else "")
            + ("  DISAGREES" if entry.disagrees else "")
        )


def _difference(entry: Entry, name: str) -> str:
    found = entry.agreement[name]
    return f"{found.difference:.0e}" if found.compared else "nothing to compare"


def counted(count: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, "run"), counted(5, "run")
    ('1 run', '5 runs')
    """
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def times(value: float, reference: float) -> str:
    """Return how many times ``reference`` a value is; nothing where there is no reference.

    >>> times(12.5, 5.0), times(403.0, 0.3), times(1.0, float("nan"))
    ('2.5', '1,343', '')
    """
    if math.isnan(reference):
        return ""
    ratio = value / reference
    return f"{ratio:.3g}" if ratio < 999.5 else f"{ratio:,.0f}"


def duration(seconds: float) -> str:
    """Return a time with three digits and a unit.

    >>> duration(0.0123), duration(47.96), duration(403.2)
    ('12.3 ms', '48.0 s', '403 s')
    """
    for unit, factor in (("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        value = seconds / factor
        if value < 999.5 or unit == "s":
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as plain data; what is infinite or NaN there becomes null in JSON."""
    here = report.machine
    rates = here.gemm, here.triad
    return {
        "linsim": version(LINSIM.needs),
        "python": platform.python_version(),
        "machine": {
            "cpu": here.cpu,
            "cores": here.cores,
            "threads": here.threads,
            "gemm_flops_per_second": here.gemm,
            "gemm_flops_per_second_one_thread": here.gemm_one,
            "triad_bytes_per_second": here.triad,
            "load": here.load,
        },
        "repeats": report.repeats,
        "quick": report.quick,
        "workloads": [
            {
                "name": result.workload.name,
                "title": result.workload.title,
                "tokens": result.workload.n,
                "features": result.workload.d,
                "systems": result.workload.systems,
                "depth": result.workload.depth,
                "recorded": len(result.workload.layers()),
                "metrics": list(result.workload.metrics),
                "causal": result.workload.causal,
                "floor": {
                    "seconds": result.floor.seconds(*rates),
                    "flops": result.floor.flops,
                    "bytes": result.floor.bytes,
                    "bound": result.floor.bound(*rates),
                },
                "entries": [_entry(entry, result, rates) for entry in result.entries],
            }
            for result in report.results
        ],
    }


def _entry(entry: Entry, result: Result, rates: tuple[float, float]) -> dict[str, Any]:
    least = result.floor.seconds(*rates)
    return {
        "peer": entry.peer,
        "label": entry.label,
        "version": entry.version,
        "status": entry.status,
        "error": entry.error,
        "dtype": entry.dtype,
        "depth": entry.depth,
        "method": entry.method,
        "reason": entry.reason,
        "seconds": list(entry.seconds),
        "median": entry.median,
        "first": entry.first,
        "scale": entry.scale,
        "over_linsim": entry.median / result.entries[0].median,
        "over_floor": entry.median / least if entry.dtype == "float64" else None,
        "agreement": {
            name: {"difference": a.difference, "compared": a.compared, "unmeasured": a.unmeasured}
            for name, a in entry.agreement.items()
        },
        "disagrees": entry.disagrees,
    }
