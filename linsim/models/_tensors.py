"""The tensors of a checkpoint, whatever the file: names, shapes, and one array at a time.

A reader lists what is there without loading it, and hands out float32 (float64 where the file has
that) one tensor at a time, so that a checkpoint need never fit into memory.  What the file itself
says about the model is ``metadata``, under the names of a Hugging Face config.json.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _validate
from ..errors import FileFormatError, MissingExtraError

__all__ = ["Array", "Tensors", "corrupt", "extra"]

Array = np.ndarray[Any, np.dtype[Any]]


class Tensors(ABC):
    """Named arrays of one checkpoint."""

    #: what kind of file this is, as a person would say it
    kind: str
    #: shape of every tensor by its name
    shapes: Mapping[str, tuple[int, ...]]
    #: what the file says about the model, in the words of a config.json
    metadata: Mapping[str, Any]
    #: names of matrices that are known to be (out, in), whatever the family stores
    oriented: frozenset[str] = frozenset()

    @abstractmethod
    def fetch(self, name: str) -> Array:
        """Return one tensor, floating, in any real dtype of NumPy."""

    def read(self, name: str) -> Array:
        """Return one tensor, float32 or float64, finite.

        Raises
        ------
        FileFormatError
            If there is no such tensor, or it holds NaN or infinity.
        """
        if name not in self.shapes:
            raise _validate.refusal(
                FileFormatError,
                "checkpoint",
                f"no tensor {name!r}",
                f"it beside {_nearest(name, self.shapes)!r}",
                "The file is incomplete, or of another layout: name the tensors with "
                "--value-pattern and --projection-pattern.",
            )
        value = self.fetch(name)
        value = value if value.dtype == np.float64 else value.astype(np.float32, copy=False)
        if not np.isfinite(value).all():
            raise _validate.refusal(
                FileFormatError,
                "checkpoint",
                f"NaN or infinity in tensor {name!r}",
                "finite weights",
                "Download the file again, or save the model in a wider floating type.",
            )
        return value


def _nearest(name: str, names: Mapping[str, Any]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)
    return near[0] if near else "(nothing)"


def corrupt(path: Any, kind: str, error: BaseException | str, argument: str = "path") -> Exception:
    """Return the error for a file that its own library cannot read."""
    said = " ".join(str(error).split())[:160] or type(error).__name__
    return _validate.refusal(
        FileFormatError,
        argument,
        f"{path}, no readable {kind} file ({said})",
        f"a whole {kind} file",
        "It is missing, cut short, damaged or of another kind: take it anew.",
    )


def extra(package: str, kind: str) -> Exception:
    """Return the error for a file whose library is not installed."""
    return _validate.refusal(
        MissingExtraError,
        package,
        "it not installed",
        f"it, to read {kind}",
        "Run pip install 'linsim[models]'.",
    )
