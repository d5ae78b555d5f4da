"""``linsim figures``: the figures of the theory, computed once and drawn in any size and format."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import FileFormatError, LinsimError
from . import complete
from .output import one_line

__all__ = ["check_folder", "figures"]


def figures(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Which; default: all. See --list.", autocompletion=complete.figures
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write.")] = Path(
        "linsim-figures"
    ),
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="png, pdf, svg, or several with commas.")
    ] = "pdf,png",
    width: Annotated[str, typer.Option("--width", help="89mm, a journal column, or slide, 16:9.")] = "89mm",
    quick: Annotated[
        bool, typer.Option("--quick", help="Few systems and layers: in seconds, to see how it looks.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same numbers.")] = 0,
    listed: Annotated[bool, typer.Option("--list", help="Only list the figures.")] = False,
) -> None:
    """Compute and draw the figures of the theory, each with a caption file.

    Data are kept in the user's cache directory (or LINSIM_CACHE), so that another size, format or style
    computes nothing again.
    """
    from .. import checks
    from ..figures import gallery, style

    # a picture shall not depend on what this machine has compiled
    os.environ["LINSIM_COMPILE"] = "wait"
    with one_line():
        chosen = [checks.nearest(name, "NAME", gallery.NAMES) for name in names or gallery.NAMES]
        if listed:
            for name in chosen:
                print(f"{name:<22}{(gallery.load(name).__doc__ or '').splitlines()[0]}")
            return
        checks.count(seed, "--seed")
        written = style.formats(formats, "--format")
        checks.choice(width, "--width", style.WIDTHS)
        check_folder(out)
        for name in chosen:
            try:
                paths = gallery.make(name, out, seed=seed, formats=written, width=width, quick=quick)
            except LinsimError as error:
                if names or name not in gallery.NEED_A_MODEL:
                    raise
                print(f"linsim: {name} is left out: {' '.join(str(error).split())}", file=sys.stderr)
                continue
            for path in paths:
                print(path)


def check_folder(out: Path) -> None:
    """Refuse a directory that cannot be made or written in, before any work."""
    from .. import checks

    probe = out / ".linsim-writable"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise checks.refusal(
            FileFormatError,
            "--out",
            f"{out} ({error.strerror})",
            "a directory to write in",
            "Choose another.",
        ) from error
