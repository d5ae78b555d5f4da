"""What training does to layers whose spectrum is held on one side: similarity, and what the theory said."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linsim.checks import count

from .palette import ROLES
from .style import panels, reads, styled

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["QUICK", "caption", "compute", "draw", "message"]

QUICK = {"depths": (4, 12)}

#: every run of ``linsim train filters`` that was made, with its versions in the first line
TABLE = Path(__file__).with_name("training_filters.csv")

_READ = ("before", "after", "measured", "law", "filter", "depth", "seeds")

#: filters of the spectrum of H, with the meaning of their colour: those on one side have their regime's
_FILTERS = {"sharpen": "sharpening", "smooth": "smoothing", "mixed": "", "free": ""}
_PLAIN = {"mixed": ("0.35", (0, (5, 1.4, 1, 1.4)), "^"), "free": ("0.6", (0, (1, 1.2)), "D")}


def compute(
    *, seed: int = 0, table: str | Path = TABLE, depths: tuple[int, ...] = (4, 12, 24)
) -> xarray.Dataset:
    """Read the runs on all of the clean data: means over the seeds of each depth and filter.

    ``table``: a file as ``linsim train filters`` makes it; nothing is trained here, and no number depends on
    ``seed``.
    """
    import xarray

    count(seed, "seed")
    with open(table, encoding="utf-8") as file:
        about = file.readline().lstrip("# ").strip()
        rows = [r for r in csv.DictReader(file) if r["corruption"] == "clean" and float(r["fraction"]) == 1]
    columns = {
        "before": "token_similarity_at_start",
        "after": "token_similarity",
        "measured": "measured",
        "law": "law",
    }
    shape = (len(depths), len(_FILTERS))
    means, seeds = {name: np.full(shape, np.nan) for name in columns}, np.zeros(shape, dtype=int)
    for i, depth in enumerate(depths):
        for j, name in enumerate(_FILTERS):
            here = [r for r in rows if int(r["depth"]) == depth and r["filter"] == name]
            seeds[i, j] = len(here)
            for mean, column in columns.items():
                if here:
                    means[mean][i, j] = np.mean([float(r[column]) for r in here])
    both = ("depth", "filter")
    return xarray.Dataset(
        {name: (both, x) for name, x in means.items()} | {"seeds": (both, seeds)},
        coords={"depth": list(depths), "filter": list(_FILTERS)},
        attrs={"seed": seed, "about": about},
    )


def _sides(ds: xarray.Dataset) -> bool:
    """Whether held spectra end on their sides of the free one, at every depth, and the law has their sign."""
    after, measured = ds.after, ds.measured
    apart = bool((after.sel(filter="smooth") > after.sel(filter="free")).all())
    return apart and bool(
        (measured.sel(filter="smooth") < 0).all()
        and (measured.sel(filter="sharpen") > 0).all()
        and (np.sign(ds.law) == np.sign(measured)).all()
    )


@reads(*_READ)
def message(ds: xarray.Dataset) -> str:
    """Return the title: the statement if these data show it."""
    if _sides(ds):
        return "Trained attention keeps to the side its spectrum is held on"
    return "Similarity and attention of trained layers"


@styled
@reads(*_READ)
def draw(ds: xarray.Dataset, *, axes: Any = None) -> Figure:
    """Draw token similarity before and after training, and each change beside the law of its spectrum."""
    fig, (top, bottom) = panels(axes, 2, title=message(ds), height=4.2)
    names = [str(name) for name in ds["filter"].values]
    place = np.arange(ds.sizes["depth"])
    for k, name in enumerate(names):
        role = ROLES.get(_FILTERS.get(name, ""))
        color, dashes, marker = (role.colour, role.dashes, role.marker) if role else _PLAIN[name]
        one = ds.sel(filter=name)
        x = place + 0.16 * (k - (len(names) - 1) / 2)
        top.vlines(x, one.before, one.after, color=color, linestyle=dashes, linewidth=1)
        top.plot(
            x, one.before, linestyle="none", marker=marker, color=color, markerfacecolor="1", markersize=4
        )
        top.plot(x, one.after, linestyle="none", marker=marker, color=color, markersize=4, label=name)
        bottom.plot(
            one.law, one.measured, linestyle="none", marker=marker, color=color, markersize=4, label=name
        )
    top.set(xticks=place, xlim=(-0.5, len(place) - 0.5), ylim=(0, 1.04), ylabel="token similarity $t$")
    top.set_xticklabels([f"{int(depth)} layers" for depth in ds.depth.values])
    top.set_xlabel("depth; hollow before training, filled after")
    top.legend(
        ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0), handletextpad=0.1, columnspacing=1
    )
    ends = np.array([*ds.law.values.ravel(), *ds.measured.values.ravel()])
    low, high = np.nanmin(ends), np.nanmax(ends)
    span = 0.08 * (high - low)
    bottom.plot([low, high], [low, high], color="0.85", linewidth=0.5, zorder=0)
    for set_line in (bottom.axhline, bottom.axvline):
        set_line(0, color="0.85", linewidth=0.5, zorder=0)
    bottom.set(xlim=(low - span, high + span), ylim=(low - span, high + span))
    bottom.set(xlabel="law of the spectrum, $\\Delta$ ln(HFC/LFC)", ylabel="measured $\\Delta$ ln(HFC/LFC)")
    return fig


@reads(*_READ)
def caption(ds: xarray.Dataset) -> str:
    """Return the caption, with the numbers of the dataset itself."""
    fewest, most = int(ds.seeds.min()), int(ds.seeds.max())
    runs = f"{fewest} seeds each" if fewest == most else f"{fewest} to {most} seeds each"
    ratio = float((ds.measured / ds.law).median())
    after = ds.after.isel(depth=-1)
    each = ", ".join(f"{float(after.sel(filter=name)):.2f} ({name})" for name in _FILTERS)
    return (
        f"{message(ds)}. Small pre-norm Transformers on images of digits, whose value-output matrices have "
        f"eigenvalues held in [-1, 0] (sharpen), in [0, 1] (smooth), in both by turns (mixed), or free; "
        f"means over {runs}. Above: token similarity of the last layer before and after training; at "
        f"{int(ds.depth[-1])} layers it ends at {each}. Below: the change of ln(HFC/LFC) across attention, "
        "mean over layers, beside the law of each layer's spectrum (one point a depth and filter; grey: "
        f"equal); the median of measured over law is {ratio:.2f}. Runs: {ds.attrs['about']}."
    )
