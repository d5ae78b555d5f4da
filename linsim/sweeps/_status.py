"""What is in a store, also while it is being written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .. import _validate
from ..errors import FileFormatError
from ._store import Store, grid_of, path_of, read_attributes
from ._variables import DONE, FAILED, MEASURED_ONLY, PENDING

__all__ = ["StoreStatus", "open_store", "status"]


@dataclass(frozen=True)
class StoreStatus:
    """How far a stored sweep is: numbers of systems, and why those failed that did."""

    store: str
    total: int
    done: int
    failed: int
    pending: int
    reasons: dict[str, str]
    spec: dict[str, Any]
    version: str

    @property
    def complete(self) -> bool:
        """Whether nothing is pending and nothing failed."""
        return self.done == self.total

    def lines(self) -> list[str]:
        """Return it as text."""
        share = 100 * self.done / self.total
        axes = ", ".join(f"{name} ({axis['length']})" for name, axis in self.spec["axes"].items())
        out = [
            f"store     {self.store} (linsim {self.version})",
            f"axes      {axes}, {self.spec['replicates']} replicates, depth {self.spec['depth']}",
            f"systems   {self.total:,}: {self.done:,} done ({share:.4g} %), {self.failed:,} failed, "
            f"{self.pending:,} pending",
        ]
        out += [f"failed    {where}: {reason}" for where, reason in list(self.reasons.items())[:10]]
        if len(self.reasons) > 10:
            out.append(f"          and {len(self.reasons) - 10:,} more")
        return out


def _opened(store: Any, argument: str) -> tuple[Store, dict[str, Any]]:
    path = path_of(store, argument, writable=False)
    attributes = None if path is None else read_attributes(path, argument)
    if path is None or attributes is None:
        raise _validate.refusal(
            FileFormatError, argument, f"nothing at {store}", "the store of a sweep", "Check the path."
        )
    spec = json.loads(attributes["spec"])
    return Store(path, grid_of(path, spec), attributes, "r"), spec


def status(store: Any) -> StoreStatus:
    """Return how far a stored sweep is; it may be running.

    Parameters
    ----------
    store : path

    Returns
    -------
    StoreStatus
        ``done``, ``failed``, ``pending`` and ``total`` systems, ``reasons`` by coordinates.

    Raises
    ------
    FileFormatError
        Where there is no store of a sweep.

    Examples
    --------
    >>> status("nowhere.zarr")
    Traceback (most recent call last):
    ...
    linsim.errors.FileFormatError: store: found nothing at nowhere.zarr; expected the store of a sweep. ...
    """
    opened, spec = _opened(store, "store")
    counts = opened.counts()
    return StoreStatus(
        str(opened.path),
        opened.grid.total,
        counts.get(DONE, 0) + counts.get(MEASURED_ONLY, 0),
        counts.get(FAILED, 0),
        counts.get(PENDING, 0),
        {opened.grid.named(number): text for number, text in sorted(opened.reasons.items())},
        spec,
        opened.attributes["linsim_version"],
    )


def open_store(store: Any) -> Any:
    """Open a stored sweep as :func:`linsim.sweep` returned it; values are read when they are asked for.

    Parameters
    ----------
    store : path

    Returns
    -------
    xarray.Dataset
        With the accessor ``ds.linsim``.

    Raises
    ------
    FileFormatError
        Where there is no store of a sweep.

    Examples
    --------
    >>> open_store("nowhere.zarr")
    Traceback (most recent call last):
    ...
    linsim.errors.FileFormatError: store: found nothing at nowhere.zarr; expected the store of a sweep. ...
    """
    return _opened(store, "store")[0].dataset()
