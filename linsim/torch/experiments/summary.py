"""A finished grid as lines of text: a point a line, means over seeds with intervals."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import numpy as np

from .claims import interval

if TYPE_CHECKING:
    import xarray

__all__ = ["summary"]


def summary(ds: xarray.Dataset) -> list[str]:
    """Return a table: the axes, what was reached, similarity before and after, and the three columns.

    The last three are means over layers of the change of ln HFC/LFC across attention: measured, of one
    exact step, and of the asymptotic law; beside them how often the law has the sign of what was measured.
    """
    axes = list(json.loads(ds.attrs["axes"]))
    reached = [name for name in ("accuracy", "loss", "train_loss") if name in ds]
    headings = [
        *axes,
        "seeds",
        *reached,
        "t_sim before",
        "after",
        "ln HFC/LFC",
        "measured",
        "one step",
        "law",
        "law's sign",
    ]
    rows = [headings]
    for values in itertools.product(*(ds[axis].values for axis in axes)):
        point = ds.sel(dict(zip(axes, values, strict=True)))
        done = point.isel(seed=np.flatnonzero(point.done.values))
        if not done.sizes["seed"]:
            continue
        depth = int(point.depth)
        last = done.sel(layer=depth)
        right = np.sign(done.law) == np.sign(done.measured)
        rows.append(
            [
                *(str(value) for value in values),
                str(done.sizes["seed"]),
                *(_of(done[name]) for name in reached),
                _of(last.token_similarity_before),
                _of(last.token_similarity),
                _of(last.log_hfc_lfc),
                *(f"{float(done[name].mean()):+.3f}" for name in ("measured", "step", "law")),
                f"{float(right.where(done.law.notnull()).mean()):.0%}",
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(headings))]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _of(values: xarray.DataArray) -> str:
    mean, half, count = interval(values)
    return f"{mean:.3f}" + (f"±{half:.3f}" if count > 1 else "")
