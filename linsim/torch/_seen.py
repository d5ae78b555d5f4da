"""What a watch recorded, as a dataset, a table and a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics._registry import metric_of
from ._measure import SETS

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

__all__ = ["Record", "as_dataset", "as_figure", "as_table"]

Array = np.ndarray[Any, Any]

#: what is shown where nothing is named, with the heading of its column
SHOWN = {
    "token_similarity": "similarity",
    "hfc_lfc": "HFC/LFC",
    "cosine": "cosine",
    "effective_rank": "eff. rank",
}
#: beside the metrics, by layer and sequence: what it says, and what stands where a call lacks the layer
_BESIDE = {
    "n_tokens": ("tokens that count", 0),
    "largest_token": ("index of the token of largest norm", -1),
    "largest_token_share": ("its share of the squared norm of all", np.nan),
}


@dataclass(frozen=True)
class Record:
    """One measured call: for each layer its name, and arrays (2, b) or (b,) by metric."""

    step: int
    names: list[str]
    values: list[dict[str, Array]]

    def means(self, metrics: Iterable[str]) -> dict[str, float]:
        """Return the mean over sequences of each metric at each layer, of all tokens."""
        metrics = list(metrics)
        return {
            f"layer {layer}/{metric}": _mean(found[metric][0])
            for layer, found in enumerate(self.values)
            for metric in metrics
        }


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def as_dataset(records: Sequence[Record], metrics: Sequence[str], about: dict[str, Any]) -> xarray.Dataset:
    """Put calls side by side along ``sequence``; a layer that one of them lacks is NaN there."""
    import xarray as xr

    names: list[str] = []
    for record in records:
        for i, name in enumerate(record.names):
            if name not in names:
                names.insert(names.index(record.names[i - 1]) + 1 if i else 0, name)

    def along(key: str, missing: float) -> Array:
        parts = []
        for record in records:
            by_name = dict(zip(record.names, record.values, strict=True))
            absent = np.full_like(record.values[0][key], missing)
            parts.append(np.stack([by_name.get(name, {key: absent})[key] for name in names], axis=-2))
        return np.concatenate(parts, axis=-1)

    variables: dict[str, Any] = {
        metric: (
            ("tokens", "layer", "sequence"),
            along(metric, np.nan),
            {"long_name": metric_of(metric).meaning},
        )
        for metric in metrics
    }
    for key, (says, missing) in _BESIDE.items():
        variables[key] = (("layer", "sequence"), along(key, missing), {"long_name": says})
    steps = np.concatenate([np.full(r.values[0]["n_tokens"].shape[-1], r.step) for r in records])
    coords = {
        "tokens": list(SETS),
        "layer": np.arange(len(names)),
        "block": ("layer", names),
        "step": ("sequence", steps),
    }
    return xr.Dataset({str(key): value for key, value in variables.items()}, coords, about)


def as_table(ds: xarray.Dataset) -> str:
    """Return a line a layer: means over sequences, and what changes without the largest token."""
    metrics = [name for name in SHOWN if name in ds] or [str(n) for n in ds if n not in _BESIDE][:4]
    means = ds[[*metrics, "largest_token_share"]].mean("sequence")
    width = max(len(str(name)) for name in ds.block.values)
    sequences, calls = ds.sizes["sequence"], len(set(ds.step.values.tolist()))
    headings = [SHOWN.get(name, name) for name in metrics]
    widths = [max(len(heading), 10) for heading in headings]
    lines = [
        f"{ds.attrs['model']}: {sequences} sequences in {calls} call{'s' * (calls != 1)}, "
        f"{int(ds.n_tokens.min())} to {int(ds.n_tokens.max())} tokens, {ds.attrs['dtype']}",
        " " * (7 + width)
        + "  " + "all tokens".center(sum(widths) + 2 * len(widths) - 2)
        + " | " + "without the one of largest norm (its share)".center(sum(widths) + 2 * len(widths) + 6),
        f"layer  {'':{width}}  "
        + "  ".join(h.rjust(w) for h, w in zip(headings, widths, strict=True))
        + " | "
        + "  ".join(h.rjust(w) for h, w in zip(headings, widths, strict=True)),
    ]  # fmt: skip
    for layer, block in enumerate(ds.block.values):
        row = means.isel(layer=layer)
        both = [
            "  ".join(
                f"{_shown(float(row[name].sel(tokens=which))):>{w}}"
                for name, w in zip(metrics, widths, strict=True)
            )
            for which in SETS
        ]
        share = float(row.largest_token_share)
        lines.append(f"{layer:>5}  {block:{width}}  {both[0]} | {both[1]}  {share:>6.1%}")
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:.3e}" if value != 0 and abs(value) < 1e-3 else f"{value:.4g}"


def as_figure(ds: xarray.Dataset, metrics: Sequence[str] = ()) -> Figure:
    """Draw each metric over layers in a panel of its own."""
    from matplotlib.figure import Figure

    metrics = list(metrics) or [name for name in SHOWN if name in ds] or [str(next(iter(ds)))]
    figure = Figure(figsize=(2.6 * len(metrics), 2.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        values = ds[name].where(np.isfinite(ds[name]))
        whole = values.sel(tokens="all")
        some = bool(whole.notnull().any())
        if some and ds.sizes["sequence"] > 1:
            axes.fill_between(ds.layer, whole.min("sequence"), whole.max("sequence"), alpha=0.2, linewidth=0)
        axes.plot(ds.layer, whole.mean("sequence"), label="all tokens")
        rest = values.sel(tokens="without largest").mean("sequence")
        axes.plot(ds.layer, rest, "--", linewidth=1, label="without largest")
        axes.set_xlabel("layer")
        axes.set_title(name, fontsize="small")
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.axes[0].legend(fontsize="x-small", frameon=False)
    return figure
