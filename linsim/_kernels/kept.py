"""Where compiled kernels are kept: one folder for all environments of a user, named after what decides them.

Numba keeps compiled functions beside their source, once for each environment, and takes them for fresh while
that one file is: of functions in other files that were compiled into them it knows nothing.  Here a folder
belongs to all sources of this package together, and to the versions of what compiles them, so that another
environment with the same ones finds what is there, and nothing that is there can be out of date.

The folder is ``linsim`` in the user's cache folder, or in ``NUMBA_CACHE_DIR`` where that is set.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import caching

__all__ = ["KEPT", "NOTHING_NEW", "UNCOUNTED", "folder"]

_HERE = Path(__file__).parent
# what no process has used for so many days is removed
_UNUSED = 30


@functools.cache
def folder() -> Path | None:
    """Return the folder, which exists and can be written; None if there is no such place."""
    names = (sys.implementation.cache_tag, numba.__version__, llvmlite.__version__, np.__version__)
    decided = hashlib.sha256("\n".join(map(str, names)).encode())
    for file in sorted(_HERE.glob("*.py")):
        decided.update(file.name.encode() + file.read_bytes())
    for place in _places():
        found = place / "linsim" / f"kernels-{decided.hexdigest()[:20]}"
        try:
            found.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=found):
                pass
            os.utime(found)
        except OSError:
            continue
        _remove_unused(found.parent)
        return found
    return None


def _places() -> Iterator[Path]:
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR)
    if sys.platform == "win32":
        yield Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser()
    elif sys.platform == "darwin":
        yield Path("~/Library/Caches").expanduser()
    else:
        yield Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    yield _HERE / "__pycache__"


def _remove_unused(beside: Path) -> None:
    for other in beside.glob("kernels-*"):
        try:
            if time.time() - other.stat().st_mtime > _UNUSED * 86400:
                shutil.rmtree(other)
        except OSError:  # another process is at it
            continue


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Tells Numba where a function of this package is kept; the folder's name says that it is fresh."""

    def __init__(self, path: Path, line: int) -> None:
        self.path, self.line = path, line

    def get_cache_path(self) -> str:
        return str(self.path)

    def get_source_stamp(self) -> str:
        return self.path.name

    def get_disambiguator(self) -> str:
        return str(self.line)

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Locator | None:
        path = folder() if Path(file).parent == _HERE else None
        return None if path is None else cls(path, function.__code__.co_firstlineno)


def _registered() -> bool:
    """Have Numba ask us first; False if it cannot be asked to, or nothing can be kept."""
    ask = getattr(caching.CompileResultCacheImpl, "_locator_classes", None)
    if not isinstance(ask, list) or folder() is None:
        return False
    ask.insert(0, _Locator)
    return True


#: options of a kernel that is kept
KEPT: dict[str, Any] = {"cache": _registered()}

#: options of a kernel that is kept and allocates nothing: nobody counts who holds an array, which is an
#: atomic step for each and a tenth of the time of a small state
NOTHING_NEW: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False, **KEPT}

#: the same, of functions called from compiled code alone: without wrappers, and kept with their callers
UNCOUNTED: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,
}
