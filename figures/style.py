"""One look for every figure: column width, type sizes, colours, and how files are written."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "COLUMN", "MAP", "figure", "outlined", "styled", "write"]

#: one journal column, 89 mm, in inches
COLUMN = 89 / 25.4

#: Okabe and Ito's palette: told apart under every common colour blindness
COLOURS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}

#: diverging colour map that stays ordered in grey and under colour blindness
MAP = "PuOr"

_RC: Any = {
    "font.size": 7.5,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "mathtext.fontset": "dejavusans",
}


Draw = TypeVar("Draw", bound=Callable[..., Any])


def styled(draw: Draw) -> Draw:
    """Decorate a ``draw`` so that everything in it follows the house style, wherever it is called from."""

    @functools.wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        import matplotlib as mpl

        with mpl.rc_context(_RC):
            return draw(*args, **kwargs)

    return cast(Draw, wrapper)


def outlined(artist: Any, width: float = 2.6) -> Any:
    """Give a line or text a white edge, so that it shows on dark and on light ground."""
    from matplotlib.patheffects import withStroke

    artist.set_path_effects([withStroke(linewidth=width, foreground="white")])
    return artist


def figure(height: float, **subplots: Any) -> tuple[Figure, Any]:
    """Return a figure of one column's width and ``height`` inches, with its axes.

    No pyplot and no global state: a figure can be drawn in any thread and
    needs no display.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(COLUMN, height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig, fig.subplots(**subplots)


def write(fig: Figure, caption: str, command: str, seed: int | None, out: Path, name: str) -> list[Path]:
    """Write NAME.pdf, NAME.png and NAME.txt (caption, command, seed); return the paths."""
    import matplotlib as mpl

    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.{suffix}" for suffix in ("pdf", "png")]
    with mpl.rc_context(_RC):
        for path in paths:
            # no dates inside: the same numbers give the same file
            fig.savefig(
                path, metadata={"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
            )
    text = out / f"{name}.txt"
    seed_line = "No random numbers." if seed is None else f"Seed: {seed}"
    text.write_text(f"{caption}\n\nCommand: {command}\n{seed_line}\n", encoding="utf-8")
    return [*paths, text]
