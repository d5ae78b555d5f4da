"""Points done, rate and time left: a bar in a terminal or a notebook, nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from .. import progress
from ._grid import Grid

__all__ = ["bar", "list_failures"]

# more are counted, not listed
_LISTED = 10


def bar(total: int, done: int, shown: bool) -> Any:
    """Return a tqdm bar over systems that begins at those already done."""
    return progress.bar(total=total, initial=done, unit="system", shown=shown, desc="linsim sweep")


def list_failures(reasons: Mapping[int, str], grid: Grid) -> None:
    """Say on standard error which systems failed, and why."""
    print(f"linsim sweep: {len(reasons)} of {grid.total} systems failed:", file=sys.stderr)
    for number in sorted(reasons)[:_LISTED]:
        print(f"  {grid.named(number)}: {reasons[number]}", file=sys.stderr)
    if len(reasons) > _LISTED:
        print(f"  and {len(reasons) - _LISTED} more", file=sys.stderr)
    print("  They are NaN, with status 2, and are tried again by the next run.", file=sys.stderr)
