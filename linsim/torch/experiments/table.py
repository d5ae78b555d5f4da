"""Every run of a grid as a row of a CSV file, with the versions it was made with in the first line."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

__all__ = ["write_table"]


def write_table(name: str, ds: xarray.Dataset, path: str | Path) -> int:
    """Write the runs of a grid that were made, sorted by its axes and seed, and return how many.

    Similarities and HFC/LFC are of the last layer; ``measured``, ``step`` and ``law`` are means over layers,
    ``law_has_the_sign`` is the share of layers where the law has the sign of what was measured.
    """
    axes = list(json.loads(ds.attrs["axes"]))
    runs = [_run(point, axes) for point in _points(ds, axes) if bool(point.done)]
    about = ", ".join(f"{key} {ds.attrs[key]}" for key in ("linsim", "torch", "scikit-learn", "machine"))
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(f"# linsim train {name}; steps {ds.attrs['steps']}, {about}\n")
        writer = csv.writer(file, lineterminator="\n")
        if runs:
            writer.writerow(runs[0])
        writer.writerows(run.values() for run in sorted(runs, key=lambda run: list(run.values())))
    return len(runs)


def _points(ds: xarray.Dataset, axes: list[str]) -> Any:
    names = [*axes, "seed"]
    return (
        ds.sel(dict(zip(names, values, strict=True)))
        for values in itertools.product(*(ds[n].values for n in names))
    )


def _run(point: xarray.Dataset, axes: list[str]) -> dict[str, Any]:
    last = point.sel(layer=int(point.depth))
    right = (np.sign(point.law) == np.sign(point.measured)).where(point.law.notnull())
    numbers = {
        **{name: point[name] for name in ("accuracy", "loss", "entropy", "train_loss") if name in point},
        "token_similarity_at_start": last.token_similarity_before,
        "token_similarity": last.token_similarity,
        "log_hfc_lfc_layer_0": point.log_hfc_lfc.sel(layer=0),
        "log_hfc_lfc": last.log_hfc_lfc,
        **{name: point[name].mean() for name in ("measured", "step", "law")},
    }
    return {
        **{axis: point[axis].item() for axis in (*axes, "seed")},
        **{key: round(float(value), 5) for key, value in numbers.items()},
        "law_has_the_sign": round(float(right.mean()), 4),
    }
