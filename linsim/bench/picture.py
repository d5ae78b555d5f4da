"""The report as a figure: time of each peer, a panel for each workload, on one logarithmic axis."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linsim import checks
from linsim.errors import FileFormatError
from linsim.figures.palette import line
from linsim.figures.style import figure, outlined, styled, write

from .peers import LINSIM
from .report import counted, duration, times
from .runner import Entry, Report, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["caption", "check_path", "draw", "save"]

# height of a bar and of what stands between two panels, in inches
_LINE, _BETWEEN = 0.15, 0.36


@styled
def draw(report: Report) -> Figure:
    """Draw medians as bars, ranges as lines, and the floor of each workload as a dashed line."""
    rows = [_shown(result) for result in report.results]
    fig, axes = figure(
        0.42 + sum(_LINE * len(entries) + _BETWEEN for entries in rows),
        nrows=len(rows),
        sharex=True,
        squeeze=False,
        height_ratios=[len(entries) for entries in rows],
    )
    marks = [
        time
        for result, entries in zip(report.results, rows, strict=True)
        for time in (_least(report, result), *(e.median for e in entries if e.status == "ok"))
    ]
    low, high = min(marks) / 2, max(marks)
    for ax, result, entries in zip(axes[:, 0], report.results, rows, strict=True):
        # room for the ratio behind the longest bar
        ax.set(xscale="log", xlim=(low, high * (high / low) ** 0.2))
        _panel(ax, report, result, entries)
    axes[-1, 0].set_xlabel("time (s; dashed: floor; *: from a part)")
    return fig


def _shown(result: Result) -> list[Entry]:
    return [entry for entry in result.entries if entry.status != "not installed"]


def _least(report: Report, result: Result) -> float:
    return result.floor.seconds(report.machine.gemm, report.machine.triad)


def _panel(ax: Axes, report: Report, result: Result, entries: list[Entry]) -> None:
    reference = result.entries[0].median
    for row, entry in enumerate(entries):
        if entry.status != "ok":
            text = ax.annotate(
                "failed",
                (0, row),
                (3, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
            )
            outlined(text)
            continue
        ours = entry.peer == LINSIM.name
        ax.barh(
            row,
            entry.median - ax.get_xlim()[0],
            left=ax.get_xlim()[0],
            height=0.72,
            color="0.35" if ours else "0.85",
        )
        ax.plot([min(entry.seconds), max(entry.seconds)], [row, row], color="black", linewidth=0.8)
        alone = row == 0 or math.isnan(reference)
        shown = duration(entry.median) if alone else f"×{times(entry.median, reference)}"
        ax.annotate(
            shown + ("*" if entry.scale != 1 else ""),
            (max(entry.seconds), row),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
            fontweight="bold" if ours else "normal",
        )
    ax.axvline(_least(report, result), **line("predicted", linewidth=1.0))
    ax.set_yticks(range(len(entries)), [entry.label for entry in entries])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(entries) - 0.5, -0.5)
    workload = result.workload
    ax.set_title(f"{workload.name}: {workload.title}", loc="left", fontsize=7.5, pad=2)
    ax.spines[["top", "right"]].set_visible(False)


def caption(report: Report) -> str:
    """Return the caption, with the sizes and rates of the report itself."""
    here = report.machine
    sizes = "; ".join(f"{r.workload.name}, {r.workload.describe()}" for r in report.results)
    over = ", ".join(
        f"{r.entries[0].median / _least(report, r):.3g} ({r.workload.name})"
        for r in report.results
        if r.entries[0].status == "ok"
    )
    return (
        f"Time of linsim and of other ways to run the same systems with the same metrics: {sizes}. Bars: "
        f"medians of {counted(report.repeats, 'run')}, all in turn, on {counted(here.threads, 'thread')} of "
        f"{here.cpu}; black "
        "lines: their range; numbers: time over linsim's. A star: a part was timed, and scaled. Dashed: the "
        f"least time for the arithmetic (products of matrices at {here.gemm / 1e9:.0f} Gflop/s, memory at "
        f"{here.triad / 1e9:.0f} GB/s); linsim's time over it is {over}."
    )


def check_path(path: Path) -> None:
    """Refuse a path that no figure can be written to, before anything is timed."""
    wrong = None
    if path.suffix != ".png":
        wrong = f"{path}"
    elif path.is_dir() or not path.parent.is_dir():
        wrong = f"{path} (not a place for a file)"
    if wrong is not None:
        raise checks.refusal(
            FileFormatError, "--out", wrong, "FIGURE.png in a folder that exists", "Choose another."
        )


def save(report: Report, path: Path, command: str) -> list[Path]:
    """Write the figure to ``path`` (.png), a PDF and the caption beside it; return the paths."""
    drawn: Any = draw(report)
    return write(drawn, caption(report), command, 0, path.parent, path.stem)
