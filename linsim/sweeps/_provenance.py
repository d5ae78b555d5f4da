"""What a sweep was made from: enough to know it again, and to say how another one differs."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import _validate
from ..errors import FileFormatError
from ._grid import Grid

__all__ = ["check_same", "maker_of", "spec_of"]


def maker_of(make: Any) -> dict[str, str]:
    """Return the name of a ``make``, and a hash of its source where there is one."""
    spec = getattr(make, "spec_text", None)  # of a specification: all that it is
    if spec is not None:
        return {"name": type(make).__name__, "source": _hash(spec)}
    named = make if hasattr(make, "__qualname__") else type(make)
    try:
        source = _hash(inspect.getsource(getattr(make, "func", make)))
    except (OSError, TypeError):  # typed at a prompt, or built in
        code = getattr(make, "__code__", None)
        source = _hash(code.co_code.hex()) if code is not None else ""
    return {"name": f"{named.__module__}.{named.__qualname__}", "source": source}


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def spec_of(grid: Grid, make: Any, **options: Any) -> dict[str, Any]:
    """Return what a store is for, as JSON holds it."""
    spec = {
        **options,
        "axes": grid.spec(),
        "replicates": grid.sizes["replicate"],
        "make": maker_of(make),
    }
    return dict(json.loads(json.dumps(spec)))


def check_same(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], store: str, there: Callable[[], Grid], here: Grid
) -> bool:
    """Refuse a store that was made from another specification; return whether ``wanted`` has more points.

    ``there`` reads the grid of the store, where it must be looked at.

    The text of ``make`` may have changed (a bad point was put right): the caller compares values.
    """
    different = []
    for key in sorted({*stored, *wanted} - {"axes", "replicates", "make"}):
        if stored.get(key) != wanted.get(key):
            different.append(f"{key} {_short(stored.get(key))} there, {_short(wanted.get(key))} here")
    if stored["make"]["name"] != wanted["make"]["name"]:
        different.append(f"make {stored['make']['name']} there, {wanted['make']['name']} here")
    if stored["axes"] != wanted["axes"]:
        different += _axes_differ(stored["axes"], wanted["axes"], there(), here)
    if stored["replicates"] > wanted["replicates"]:
        different.append(f"replicates {stored['replicates']} there, {wanted['replicates']} here")
    if different:
        raise _validate.refusal(
            FileFormatError,
            "store",
            f"{store} of another sweep ({'; '.join(different)})",
            "a store of this one, or of one with fewer points",
            "Choose another store, or remove this one.",
        )
    return bool(stored["axes"] != wanted["axes"] or stored["replicates"] != wanted["replicates"])


def _axes_differ(stored: Mapping[str, Any], wanted: Mapping[str, Any], there: Grid, here: Grid) -> list[str]:
    if list(stored) != list(wanted):
        return [f"axes {', '.join(stored)} there, {', '.join(wanted)} here"]
    out = [
        f"axis {name} along {axis['dim']} there, along {wanted[name]['dim']} here"
        for name, axis in stored.items()
        if axis["dim"] != wanted[name]["dim"]
    ]
    for dim in there.sizes if not out else ():
        if dim == "replicate":
            continue
        known = set(here.rows(dim))
        gone = [row for row in there.rows(dim) if row not in known]
        if gone:
            shown = ", ".join(_short(row[0] if len(row) == 1 else row) for row in gone[:3])
            more = ", ..." * (len(gone) > 3)
            out.append(f"{dim} with {len(gone)} values that are missing here ({shown}{more})")
    return out


def _short(value: Any) -> str:
    text = np.array2string(np.asarray(value), threshold=6) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
