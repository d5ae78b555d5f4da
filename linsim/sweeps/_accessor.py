"""``ds.linsim``: what a dataset of a sweep can do, in any session that imports linsim."""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..theory import REGIMES
from ._plot import plot
from ._variables import DONE, FAILED, MEASURED_ONLY, PENDING

if TYPE_CHECKING:
    import pandas
    import xarray

__all__ = ["SweepAccessor", "on_import"]

_STATUS = {PENDING: "pending", DONE: "done", FAILED: "failed", MEASURED_ONLY: "done"}


class SweepAccessor:
    """Methods of a dataset that :func:`linsim.sweep` made, as ``ds.linsim``."""

    def __init__(self, ds: xarray.Dataset) -> None:
        self._ds = ds

    def plot(
        self,
        x: str | None = None,
        y: str | None = None,
        color: str | None = None,
        *,
        layer: int | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the sweep: a heat map, lines with a band over replicates, or a scatter.

        Parameters
        ----------
        x, y, color : str, optional
            Axes of the sweep, or variables.  Two axes make a heat map of ``color``; an axis and a
            variable lines (one for each value of ``color``, an axis) with a band of the middle 80
            percent over all else; anything else a scatter.  What is left out is chosen.
        layer : int, optional
            The recorded layer; the last by default, all of them where x is "layer".
        ax : matplotlib axes, optional

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InvalidValueError
            For a name that the dataset lacks.
        """
        return plot(self._ds, x, y, color, layer=layer, ax=ax)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row for each system and layer: coordinates, metrics, predictions, status in words.

        Complex axes are one column of complex numbers.  Pending systems are left out.
        """
        ds = self._ds
        table = ds.to_dataframe(dim_order=[str(dim) for dim in ds.sizes]).reset_index()
        for name in list(table.columns):
            if name.endswith("_real") and f"{name[:-5]}_imag" in table.columns:
                whole = table[name].to_numpy() + 1j * table[f"{name[:-5]}_imag"].to_numpy()
                table = table.drop(columns=[f"{name[:-5]}_imag"]).rename(columns={name: name[:-5]})
                table[name[:-5]] = whole
        table = table.loc[:, ~table.columns.duplicated()]
        if "status" in table:
            table = table[table["status"] != PENDING].reset_index(drop=True)
            unlawful = table["status"] != DONE
            for name in [n for n in table.columns if n.startswith("predicted_")]:
                if table[name].dtype.kind in "biu":
                    table[name] = table[name].astype(object).where(~unlawful, None)
            table["status"] = table["status"].map(_STATUS)
        if "predicted_regime" in table:
            words = {code: word for word, code in REGIMES.items()}
            table["predicted_regime"] = table["predicted_regime"].map(words)
        return table

    @property
    def failures(self) -> dict[str, str]:
        """Why systems failed, by their coordinates."""
        if "status" not in self._ds:
            return {}
        reasons = json.loads(self._ds["status"].attrs.get("reasons", "{}"))
        status = self._ds["status"]
        out = {}
        for number, text in reasons.items():
            at = dict(zip(status.dims, np.unravel_index(int(number), status.shape), strict=True))
            here = status.isel(at)
            place = ", ".join(f"{name}={here[name].item()}" for name in here.coords)
            out[place] = text
        return out


def on_import() -> None:
    """Give datasets the accessor as soon as there is xarray, without importing it."""
    if "xarray" in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterXarray) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterXarray())


def _register() -> None:
    import xarray

    if not hasattr(xarray.Dataset, "linsim"):
        register: Any = xarray.register_dataset_accessor
        register("linsim")(SweepAccessor)


class _AfterXarray(importlib.abc.MetaPathFinder):
    """Registers the accessor when xarray is imported, and is gone then."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> Any:
        if name != "xarray":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader)
        return spec


class _Then(importlib.abc.Loader):
    """Loads as another loader does, and registers."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: Any) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        _register()
