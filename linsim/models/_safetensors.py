"""Read .safetensors: one file, or shards named by an index."""

from __future__ import annotations

import json
from pathlib import Path

from .. import _validate
from ..errors import FileFormatError
from ._tensors import Array, Tensors, corrupt, extra

__all__ = ["Safetensors", "shards"]

#: as the format names them; float8 has no scale in the file that would make numbers of it
_READABLE = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}


def shards(index: Path) -> list[Path]:
    """Return the files that an index names, in order; every one of them must be there."""
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = [index.parent / name for name in dict.fromkeys(listed.values())]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise corrupt(index, "safetensors index", error) from None
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise _validate.refusal(
            FileFormatError,
            "path",
            f"{len(missing)} of {len(files)} shards missing ({missing[0]})",
            f"every file that {index.name} names",
            "Download the missing files.",
        )
    return files


class Safetensors(Tensors):
    """One or more .safetensors files, each opened only while a tensor is read.

    The library maps a file into memory, and what was read of a map stays resident for as long as it
    is open: so it is closed again after every tensor.
    """

    kind = "safetensors"

    def __init__(self, files: list[Path]) -> None:
        """List what is in the files."""
        try:
            from safetensors import SafetensorError, safe_open
        except ImportError:
            raise extra("safetensors", "safetensors") from None
        self._open, self._error = safe_open, SafetensorError
        self._file: dict[str, Path] = {}
        self._type: dict[str, str] = {}
        self.shapes = {}
        self.metadata = {}
        for file in files:
            try:
                with safe_open(file, framework="np") as opened:
                    for name in opened.keys():  # noqa: SIM118 (no mapping: it has no iterator)
                        part = opened.get_slice(name)
                        self.shapes[name] = tuple(part.get_shape())
                        self._type[name] = part.get_dtype()
                        self._file[name] = file
            except (SafetensorError, OSError, ValueError) as error:
                raise corrupt(file, "safetensors", error) from None

    def fetch(self, name: str) -> Array:
        """Return one tensor in the file's dtype."""
        stored = self._type[name]
        if stored not in _READABLE:
            raise _validate.refusal(
                FileFormatError,
                "path",
                f"tensor {name!r} stored as {stored}",
                "float64, float32, float16 or bfloat16",
                "Convert it first: model.to(torch.bfloat16).save_pretrained(DIR).",
            )
        if stored == "BF16":
            try:
                # NumPy has no bfloat16: the library finds it once this package is imported
                import ml_dtypes  # noqa: F401
            except ImportError:
                raise extra("ml_dtypes", "bfloat16") from None
        try:
            with self._open(self._file[name], framework="np") as opened:
                value: Array = opened.get_tensor(name)
        except (self._error, OSError, ValueError) as error:
            raise corrupt(self._file[name], "safetensors", error) from None
        return value
