"""One look for every figure: how panels are laid out in a column and on a slide, and how files are "
"written."""

from __future__ import annotations

import contextlib
import functools
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

import linsim
from linsim import checks
from linsim.errors import InvalidTypeError, InvalidValueError, ShapeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLUMN",
    "FORMATS",
    "SHEET",
    "WIDTHS",
    "below",
    "figure",
    "formats",
    "inside",
    "medium",
    "outlined",
    "panels",
    "reads",
    "styled",
    "write",
]

#: one journal column, 89 mm, in inches
COLUMN = 89 / 25.4

#: the style sheet; elsewhere it is ``matplotlib.style.use("linsim.paper")``
SHEET = Path(linsim.__file__).with_name("paper.mplstyle")

#: what is written unless something else is asked for
FORMATS = ("pdf", "png")


class _Medium(NamedTuple):
    width: float  # inches
    height: float | None  # None: each figure has its own
    dpi: int
    letters: int  # of a title, in one line


#: where a figure goes: a journal column, or a slide of 16:9 drawn at half its size (13.3 inches wide when it
#: fills a slide, so that type of 8 points has 16; 1920 by 1080 pixels)
WIDTHS = {"89mm": _Medium(COLUMN, None, 300, 50), "slide": _Medium(20 / 3, 15 / 4, 288, 98)}

_MEDIUM: ContextVar[str] = ContextVar("medium", default="89mm")

Draw = TypeVar("Draw", bound=Callable[..., Any])


@contextlib.contextmanager
def medium(width: str) -> Iterator[None]:
    """Draw for ``width``, "89mm" (the default) or "slide", inside a ``with`` block.

    Examples
    --------
    >>> with medium("slide"):
    ...     fig, axes = figure(2.0)
    >>> fig.get_size_inches().round(2).tolist()
    [6.67, 3.75]
    """
    token = _MEDIUM.set(checks.choice(width, "width", WIDTHS))
    try:
        yield
    finally:
        _MEDIUM.reset(token)


def styled(draw: Draw) -> Draw:
    """Decorate a ``draw`` so that everything in it follows the style sheet, wherever it is called from."""

    @functools.wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from matplotlib import style

        with style.context(SHEET):
            return draw(*args, **kwargs)

    return cast(Draw, wrapper)


def reads(*names: str) -> Callable[[Draw], Draw]:
    """Decorate a function of a dataset: refuse a dataset without these variables and coordinates.

    Examples
    --------
    >>> import xarray
    >>> @reads("log_hfc_lfc")
    ... def draw(ds):
    ...     return ds.log_hfc_lfc
    >>> draw(xarray.Dataset())
    Traceback (most recent call last):
    ...
    linsim.errors.InvalidValueError: dataset: found no log_hfc_lfc; expected what compute of this figure
    returns. Pass compute(...) of the same module.
    """

    def decorate(function: Draw) -> Draw:
        @functools.wraps(function)
        def wrapper(ds: Any, *args: Any, **kwargs: Any) -> Any:
            import xarray

            remedy = "Pass compute(...) of the same module."
            expected = "what compute of this figure returns"
            if not isinstance(ds, xarray.Dataset):
                found = f"an object of type {type(ds).__name__}"
                raise checks.refusal(InvalidTypeError, "dataset", found, "an xarray.Dataset", remedy)
            missing = [name for name in names if name not in ds.variables and name not in ds.attrs]
            if missing:
                raise checks.refusal(
                    InvalidValueError, "dataset", f"no {', '.join(missing)}", expected, remedy
                )
            return function(ds, *args, **kwargs)

        return cast(Draw, wrapper)

    return decorate


def figure(height: float, **subplots: Any) -> tuple[Figure, Any]:
    """Return a figure of the medium's width and ``height`` inches (a slide has its own), with its axes.

    No pyplot and no global state: a figure can be drawn in any thread and
    needs no display.
    """
    fig = _blank(height)
    return fig, fig.subplots(**subplots)


def _blank(height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    form = WIDTHS[_MEDIUM.get()]
    fig = Figure(figsize=(form.width, form.height or height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def panels(
    axes: Any,
    count: int,
    *,
    title: str,
    height: float = 2.6,
    ratios: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Return the figure and ``count`` axes to draw on: those of the caller, or new ones.

    New ones stand under each other in a column; on a slide side by side, the first of three or more
    at the left of the others.  They carry letters, and ``title`` above them; given ones get neither.

    Parameters
    ----------
    axes : None, Axes, or sequence of ``count`` Axes
    height : float
        Of the column's figure, inches.
    ratios : (count,) floats, optional
        Heights of the panels in a column.

    Raises
    ------
    ShapeError
        If ``axes`` are not as many.
    """
    if axes is not None:
        given: list[Any] = list(np.ravel(np.asarray(axes, dtype=object)))
        if len(given) != count or not all(hasattr(ax, "plot") for ax in given):
            raise checks.refusal(
                ShapeError,
                "axes",
                f"{len(given)} object{'s' * (len(given) != 1)}",
                f"{count} matplotlib axes, one a panel",
                f"Pass plt.subplots({count})[1], or leave axes out.",
            )
        home = given[0].figure
        return getattr(home, "figure", home), given
    fig = _blank(height)
    form = WIDTHS[_MEDIUM.get()]
    if form.height is None or count == 1:
        found = list(fig.subplots(count, 1, squeeze=False, height_ratios=ratios)[:, 0])
    elif count == 2:
        found = list(fig.subplots(1, 2))
    else:
        grid = fig.add_gridspec(count - 1, 2)
        found = [fig.add_subplot(grid[:, 0]), *(fig.add_subplot(grid[k, 1]) for k in range(count - 1))]
    if count > 1:
        for letter, ax in zip("abcdefgh", found, strict=False):
            ax.set_title(letter, loc="left", fontweight="bold")
    fig.suptitle(
        textwrap.fill(title, form.letters), x=0.01, ha="left", fontsize=8, fontweight="bold", linespacing=1.1
    )
    return fig, found


def below(axes: Sequence[Axes], label: str) -> None:
    """Label the x axis that panels share: below the lowest of each column, and where an axes stands alone."""
    for ax in axes:
        spec = ax.get_subplotspec()
        last = spec is None or spec.is_last_row()
        if last:
            ax.set_xlabel(label)
        ax.tick_params(labelbottom=last)


def inside(where: Any, x: Any, y: Any) -> tuple[float, float] | None:
    """Return the place farthest inside a region of a map, for its name; None if there is hardly any room.

    Parameters
    ----------
    where : (len(y), len(x)) bool array

    Examples
    --------
    >>> inside([[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]], [0, 1, 2, 3], [0, 1, 2, 3])
    (2.0, 2.0)
    """
    from scipy.ndimage import distance_transform_edt

    mask = np.pad(np.asarray(where, dtype=bool), 1)
    shape = np.array(mask.shape) - 2
    if not mask.any() or mask.sum() < 0.02 * shape.prod():
        return None
    distance = distance_transform_edt(mask, sampling=1 / shape)[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return float(np.asarray(x)[column]), float(np.asarray(y)[row])


def outlined(artist: Any, width: float = 2.6) -> Any:
    """Give a line or text a white edge, so that it shows on dark and on light ground."""
    from matplotlib.patheffects import withStroke

    artist.set_path_effects([withStroke(linewidth=width, foreground="white")])
    return artist


def formats(names: str | Sequence[str], argument: str = "formats") -> tuple[str, ...]:
    """Return the file formats in ``names``, a sequence or comma-separated.

    Raises
    ------
    InvalidValueError
        If matplotlib does not write one of them.

    Examples
    --------
    >>> formats("png,svg")
    ('png', 'svg')
    """
    from matplotlib.backend_bases import FigureCanvasBase

    parts = names.split(",") if isinstance(names, str) else names
    known = FigureCanvasBase.get_supported_filetypes()
    return tuple(dict.fromkeys(checks.choice(part.strip().lower(), argument, known) for part in parts))


#: what would differ between two files of the same numbers
_NO_DATES: dict[str, Any] = {
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
    "svg": {"Date": None},
    "ps": {"CreationDate": None},
    "eps": {"CreationDate": None},
}


def write(
    fig: Figure,
    caption: str,
    command: str,
    seed: int | None,
    out: Path,
    name: str,
    *,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Write NAME in each format, and NAME.txt (caption, command, seed); return the paths."""
    from matplotlib import style

    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.{suffix}" for suffix in formats]
    with style.context(SHEET):
        for path in paths:
            suffix = path.suffix[1:]
            fig.savefig(path, dpi=WIDTHS[_MEDIUM.get()].dpi, metadata=_NO_DATES.get(suffix))
    text = out / f"{name}.txt"
    seed_line = "No random numbers." if seed is None else f"Seed: {seed}"
    text.write_text(f"{caption}\n\nCommand: {command}\n{seed_line}\n", encoding="utf-8")
    return [*paths, text]
