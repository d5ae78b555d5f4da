"""Colours and line styles by meaning: one colour means one thing in every figure."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["DEPTH", "GREYS", "MAPS", "REGIMES", "ROLES", "Role", "colour", "line"]


class Role(NamedTuple):
    """What a colour stands for, and the dashes and marker that go with it, so that grey prints tell "
    "as well."""

    colour: str
    dashes: Any
    marker: str


_SOLID, _DASH, _DOT, _DASHDOT = "solid", (0, (4, 1.6)), (0, (1, 1.2)), (0, (5, 1.4, 1, 1.4))

#: every meaning that has a colour of its own; those of one panel are told apart under colour blindness
ROLES: dict[str, Role] = {
    # what is computed before anything runs
    "predicted": Role("#000000", (0, (3, 1.5)), ""),
    # the two regimes, the ends of the map PuOr
    "smoothing": Role("#B35806", _SOLID, "o"),
    "sharpening": Role("#6A4FA3", _DASH, "s"),
    # the three things that may become alike
    "tokens": Role("#0072B2", _SOLID, "o"),
    "angles": Role("#009E73", _DASH, "s"),
    "rank": Role("#CC79A7", _DASHDOT, "^"),
    # parts of a block and where its norm stands
    "attention": Role("#7A7A7A", _SOLID, "o"),
    "feed-forward": Role("#882255", _DASH, "s"),
    "post-norm": Role("#D55E00", _DASH, "s"),
    "pre-norm": Role("#56B4E9", _DASHDOT, "^"),
    "de-escalated": Role("#C8B400", _DOT, "D"),
}

#: for what has no meaning to be told apart: axes, guides, what lies behind
GREYS = ("0", "0.35", "0.6", "0.85", "1")

#: diverging, ordered in grey and under colour blindness; below the middle smooths, above it sharpens
REGIMES = "PuOr"
#: ordered parameters: depth, temperature, size
DEPTH = "viridis"
#: every colour map that a figure may use
MAPS = (REGIMES, f"{REGIMES}_r", DEPTH, "cividis", "cividis_r")


def colour(role: str) -> str:
    """Return the colour of a meaning.

    >>> colour("tokens")
    '#0072B2'
    """
    return ROLES[role].colour


def line(role: str, **more: Any) -> dict[str, Any]:
    """Return ``color`` and ``linestyle`` of a meaning for ``Axes.plot``; ``more`` is added, or replaces them.

    >>> line("angles", linewidth=1)["linestyle"]
    (0, (4, 1.6))
    """
    return {"color": ROLES[role].colour, "linestyle": ROLES[role].dashes} | more
