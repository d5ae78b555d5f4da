"""``linsim doctor``: whether a GPU can be used here, and what to install if not."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .output import one_line, print_json

__all__ = ["doctor"]


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")] = False,
) -> None:
    """Say which GPU, driver and CuPy are there, run a kernel against the CPU, and say what to install."""
    from ..gpu import findings

    with one_line():
        found = list(findings())
    usable = found[-1].what == "the kernel" and not found[-1].remedy
    if as_json:
        lines: list[Any] = [{"what": x.what, "found": x.found, "remedy": x.remedy} for x in found]
        print_json({"usable": usable, "findings": lines})
        return
    for one in found:
        print(f"{one.what:20} {one.found}")
        if one.remedy:
            print(f"{'':20} -> {one.remedy}")
    print(
        "backend='cupy' works here."
        if usable
        else "Everything runs on the CPU, and nothing else is missing for that."
    )
