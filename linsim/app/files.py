"""Read a user's own arrays from .npy and .npz files."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .. import checks
from ..errors import FileFormatError

__all__ = ["read_array"]


def read_array(path: str | Path, argument: str, name: str) -> np.ndarray[Any, Any]:
    """Return the array in ``path``: a .npy, or a .npz with one called ``name``.

    A single array that ``numpy.savez`` was given without a name (``arr_0``) is taken too; one
    of another name is somebody else's.

    Raises
    ------
    FileFormatError
        If the file is missing, is neither, is damaged, or holds no such array.
        Pickled objects are never loaded.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            names = loaded.files
            if name in names or names == ["arr_0"]:
                return np.asarray(loaded[name if name in names else "arr_0"])
    except OSError as error:
        found = f"{path} ({error.strerror or 'not an array file'})"
        raise checks.refusal(
            FileFormatError, argument, found, "a readable .npy or .npz file", "Check the path."
        ) from error
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise checks.refusal(
            FileFormatError,
            argument,
            f"{path}, not an array of numbers",
            "a .npy or .npz file",
            "Write it with numpy.save, without pickled objects.",
        ) from error
    raise checks.refusal(
        FileFormatError,
        argument,
        f"arrays {', '.join(names) or '(none)'} in {path}",
        f"one called {name}",
        f"Save it under that name, numpy.savez(FILE, {name}=...), or alone as .npy.",
    )
