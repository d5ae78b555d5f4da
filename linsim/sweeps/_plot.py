"""A good first picture of any sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from ..errors import FileFormatError, InvalidValueError
from ._status import open_store
from ._variables import PREDICTED

if TYPE_CHECKING:
    import xarray

__all__ = ["plot", "save_plot"]

# more lines than this cannot be told apart
_LINES = 12
# and a longer explanation has no room beside an axis
_LONG_NAME = 30
_FORMATS = (".png", ".pdf", ".svg")


def plot(
    ds: xarray.Dataset,
    x: str | None = None,
    y: str | None = None,
    color: str | None = None,
    *,
    layer: int | None = None,
    ax: Any = None,
) -> Any:
    """Draw a dataset of a sweep; see :meth:`SweepAccessor.plot`."""
    from matplotlib.figure import Figure

    axes = _axes(ds)
    metrics = [str(n) for n in ds.data_vars if n != "status" and n not in PREDICTED]
    known = [*axes, *map(str, ds.data_vars)]
    for what, name in (("x", x), ("y", y), ("color", color)):
        if name is not None:
            _validate.choice(name, what, known)
    ds = _at_layer(ds, layer, "layer" in (x, y, color))
    x, y, color = _filled(ds, x, y, color, axes, metrics)
    if ax is None:
        ax = Figure(figsize=(5.2, 3.8), layout="constrained").subplots()
    if y in axes and color is not None and axes[x] != axes[y]:
        _heat_map(ds, x, y, color, ax)
    elif y not in axes and _line_along(x, color, axes):
        _lines(ds, x, y, color, ax)
    else:
        _scatter(ds, x, y, color, ax)
    ax.set_xlabel(_label(ds, x))
    ax.set_ylabel(_label(ds, y))
    return ax


def save_plot(store: Any, out: Any, **options: Any) -> Path:
    """Draw a stored sweep into a file: .png, .pdf or .svg.

    Parameters
    ----------
    store : path
    out : path
    options
        As for ``ds.linsim.plot``.

    Returns
    -------
    pathlib.Path
        ``out``.

    Raises
    ------
    FileFormatError, InvalidValueError
        Where there is no such store, name, format or place.

    Examples
    --------
    >>> save_plot("nowhere.zarr", "sweep.txt")
    Traceback (most recent call last):
    ...
    linsim.errors.InvalidValueError: out: found 'sweep.txt'; expected a name that ends in .png, ...
    """
    out = Path(out)
    if out.suffix not in _FORMATS:
        raise _validate.refusal(
            InvalidValueError, "out", repr(str(out)), "a name that ends in .png, .pdf or .svg", "Rename it."
        )
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise _validate.refusal(FileFormatError, "out", str(out), "a place for a file", "Choose another.")
    ax = plot(open_store(store), **options)
    ax.figure.savefig(out, dpi=200)
    return out


def _axes(ds: xarray.Dataset) -> dict[str, str]:
    """Return the dim of each axis of the sweep, layers and replicates last."""
    found = {str(name): str(c.dims[0]) for name, c in ds.coords.items() if len(c.dims) == 1}
    own = {name: dim for name, dim in found.items() if dim not in ("layer", "replicate")}
    return {**own, **{name: dim for name, dim in found.items() if name not in own}}


def _at_layer(ds: xarray.Dataset, layer: int | None, every: bool) -> xarray.Dataset:
    if layer is not None:
        if layer not in ds["layer"]:
            raise _validate.refusal(
                InvalidValueError,
                "layer",
                layer,
                "one of " + ", ".join(map(str, ds["layer"].values[:20])),
                "Record it in a new sweep.",
            )
        return ds.sel(layer=[layer])
    return ds if every else ds.isel(layer=[-1])


def _filled(
    ds: xarray.Dataset,
    x: str | None,
    y: str | None,
    color: str | None,
    axes: dict[str, str],
    metrics: list[str],
) -> tuple[str, str, str | None]:
    """Choose what was left out: two long axes make a heat map, one makes lines."""
    used = {axes.get(name or "") for name in (x, y, color)}
    long = [n for n, dim in axes.items() if ds.sizes[dim] > 1 and dim != "replicate" and dim not in used]
    if x is None:
        x = long.pop(0) if long else next(iter(axes))
        long = [n for n in long if axes[n] != axes[x]]
    if y is None:
        numeric = [n for n in long if ds[n].dtype.kind in "iuf" and ds.sizes[axes[n]] > _LINES]
        y = numeric[0] if x in axes and numeric and color not in axes else metrics[0]
    if color is None and y in axes:
        color = metrics[0]
    return x, y, color


def _line_along(x: str, color: str | None, axes: dict[str, str]) -> bool:
    """Whether the points of one line differ in x alone; zipped axes are a cloud of points."""
    if axes.get(x) != x:
        return False
    return color is None or axes.get(color) not in (None, x)


def _label(ds: xarray.Dataset, name: str) -> str:
    long = ds[name].attrs.get("long_name", name)
    return name if long == name or len(long) > _LONG_NAME else f"{name}: {long}"


def _means(ds: xarray.Dataset, name: str, dims: set[Any]) -> Any:
    variable = ds[name].astype(np.float64)
    return variable.mean([dim for dim in variable.dims if dim not in dims], skipna=True)


def _heat_map(ds: xarray.Dataset, x: str, y: str, color: str, ax: Any) -> None:
    dims = {ds[x].dims[0], ds[y].dims[0]}
    values = _means(ds, color, dims).transpose(ds[y].dims[0], ds[x].dims[0]).values
    places = []
    for name, set_ticks in ((x, ax.set_xticks), (y, ax.set_yticks)):
        coordinate = ds[name].values
        if coordinate.dtype.kind not in "iuf":
            set_ticks(range(len(coordinate)), [str(label) for label in coordinate])
            coordinate = np.arange(len(coordinate))
        places.append(np.asarray(coordinate, dtype=np.float64))
    order = [np.argsort(place) for place in places]
    places = [place[at] for place, at in zip(places, order, strict=True)]
    values = values[np.ix_(order[1], order[0])]
    mesh = ax.pcolormesh(*places, values, shading="nearest", cmap="viridis", rasterized=True)
    ax.figure.colorbar(mesh, ax=ax, label=_label(ds, color))
    margin = "predicted_margin"
    if margin in ds and min(values.shape) > 1:
        predicted = _means(ds, margin, dims).transpose(ds[y].dims[0], ds[x].dims[0]).values
        predicted = np.ma.masked_invalid(predicted[np.ix_(order[1], order[0])])
        if predicted.count() and predicted.min() < 0 < predicted.max():
            for width, line in ((3.0, "white"), (1.2, "black")):
                ax.contour(*places, predicted, levels=[0.0], colors=line, linewidths=width)
            ax.plot([], [], color="black", lw=1.2, label="predicted boundary of the regimes")
            ax.legend(loc="upper right", fontsize="small")


def _lines(ds: xarray.Dataset, x: str, y: str, color: str | None, ax: Any) -> None:
    if color is not None and ds.sizes[ds[color].dims[0]] > _LINES:
        raise _validate.refusal(
            InvalidValueError,
            "color",
            f"{color} with {ds.sizes[ds[color].dims[0]]} values",
            f"an axis with at most {_LINES}",
            f"Pass y={color!r} for a heat map.",
        )
    count = 1 if color is None else ds.sizes[ds[color].dims[0]]
    for k in range(count):
        part = ds if color is None else ds.isel({ds[color].dims[0]: [k]})
        dim = part[x].dims[0]
        variable = part[y].astype(np.float64)
        rest = [d for d in variable.dims if d != dim]
        at = part[x].values
        if at.dtype.kind not in "iuf":
            ax.set_xticks(range(len(at)), [str(label) for label in at])
            at = np.arange(len(at))
        order = np.argsort(at)
        middle = variable.median(rest, skipna=True).values[order]
        (line,) = ax.plot(at[order], middle, marker="." if len(at) < 40 else None)
        if any(variable.sizes[d] > 1 for d in rest):
            low, high = variable.quantile([0.1, 0.9], rest, skipna=True).values
            ax.fill_between(at[order], low[order], high[order], alpha=0.25, lw=0, color=line.get_color())
        if color is not None:
            line.set_label(str(part[color].values[0]))
    if color is not None:
        ax.legend(title=color, fontsize="small")


def _scatter(ds: xarray.Dataset, x: str, y: str, color: str | None, ax: Any) -> None:
    import xarray as xr

    given = [ds[name] for name in (x, y, color) if name is not None]
    columns = [c.values.ravel() for c in xr.broadcast(*given)]
    for k, set_ticks in enumerate((ax.set_xticks, ax.set_yticks)):
        if columns[k].dtype.kind not in "iufb":
            words, columns[k] = np.unique(columns[k].astype(str), return_inverse=True)
            set_ticks(range(len(words)), words)
    if color is None:
        ax.scatter(columns[0], columns[1], s=8, alpha=0.6)
        return
    labels: Any = None
    if columns[2].dtype.kind not in "iufb":
        labels, columns[2] = np.unique(columns[2].astype(str), return_inverse=True)
    found = ax.scatter(*columns[:2], c=columns[2], s=8, alpha=0.7, cmap="viridis")
    bar = ax.figure.colorbar(found, ax=ax, label=_label(ds, color))
    if labels is not None:
        bar.set_ticks(range(len(labels)), labels=labels)
