"""From what a user types to open tensors, a config and a folder where tokenisers may lie.

A path is a directory as ``save_pretrained`` writes it, one file of weights, or ``package:`` and the
path of either inside an installed Python package, which is found but never imported.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _validate
from ..errors import FileFormatError
from ._gguf import Gguf
from ._onnx import Onnx
from ._safetensors import Safetensors, shards
from ._tensors import Tensors, corrupt
from ._torch import TorchFile

__all__ = ["Source", "open_source"]

SUPPORTED = ".safetensors, .gguf, .onnx, or PyTorch's .bin, .pt and .pth"
_TORCH = (".bin", ".pt", ".pth", ".ckpt")
#: what a directory is searched for, the best first
_WANTED = ("model.safetensors", "pytorch_model.bin", "model.onnx")
#: said first: it would matter little whether the rest of the message is read
_OTHERS = {".h5": "Keras", ".msgpack": "Flax", ".npz": "NumPy", ".npy": "NumPy", ".tflite": "TFLite"}


@dataclass(frozen=True)
class Source:
    """An open checkpoint: its tensors, its config (empty if there is none), where it lies."""

    tensors: Tensors
    config: Mapping[str, Any]
    folder: Path
    file: Path


def open_source(path: str | Path) -> Source:
    """Open a checkpoint.

    Raises
    ------
    FileFormatError
        If there is none at ``path``, or it is damaged or of a kind that is not supported.
    MissingExtraError
        If the library that reads such files is not installed.
    """
    place = _located(path)
    files = _weights_in(place) if place.is_dir() else [place]
    if place.name.endswith(".index.json"):
        files = shards(place)
    tensors = _reader(files)
    config = _config(files[0].parent)
    return Source(tensors, {**tensors.metadata, **config}, files[0].parent, files[0])


def _located(path: str | Path) -> Path:
    place = Path(path).expanduser()
    if place.exists():
        return place
    package, colon, inside = str(path).partition(":")
    if package.isidentifier():
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        if spec is not None and spec.submodule_search_locations:
            folder = Path(next(iter(spec.submodule_search_locations)))
            if inside and (folder / inside).exists():
                return folder / inside
            held = sorted({file.parent for file in folder.rglob("*") if _is_weights(file)})
            if len(held) == 1 and not inside:
                return held[0]
            listed = ", ".join(f"{package}:{h.relative_to(folder).as_posix()}" for h in held[:4])
            raise _validate.refusal(
                FileFormatError,
                "path",
                f"{path}, and in that package {len(held)} checkpoints",
                "one of them",
                f"Name one: {listed}." if held else "It holds no weights.",
            )
    raise _validate.refusal(
        FileFormatError,
        "path",
        f"{path}, and nothing there" + (" (no such package)" if colon else ""),
        f"a directory with config.json and weights, a file ({SUPPORTED}), or PACKAGE:PATH",
        "Check the path.",
    )


def _is_weights(file: Path) -> bool:
    if file.name in ("training_args.bin", "optimizer.pt", "scheduler.pt"):
        return False
    return file.suffix in (".safetensors", ".gguf", ".onnx") or (
        file.suffix in _TORCH and file.name.startswith(("pytorch_model", "model", "consolidated"))
    )


def _weights_in(folder: Path) -> list[Path]:
    """Return the files of weights in a directory, or in the one folder below it that has any."""
    for name in _WANTED:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return shards(index)
    found = sorted(file for file in folder.iterdir() if _is_weights(file))
    if len(found) == 1:
        return found
    below = sorted({file.parent for file in folder.rglob("*") if _is_weights(file)})
    if not found and len(below) == 1:
        return _weights_in(below[0])
    choices = found or below
    raise _validate.refusal(
        FileFormatError,
        "path",
        f"{folder}, holding {len(choices)} checkpoints" if choices else f"{folder}, without weights",
        f"a directory with one of {SUPPORTED}",
        f"Name one, as {choices[0]}." if choices else "Point at the folder that config.json is in.",
    )


def _reader(files: list[Path]) -> Tensors:
    file = files[0]
    if file.suffix == ".safetensors":
        return Safetensors(files)
    try:
        with open(file, "rb") as opened:
            head = opened.read(24)
    except OSError as error:
        raise corrupt(file, "checkpoint", error.strerror or error) from None
    if file.suffix == ".gguf" or head[:4] == b"GGUF":
        return Gguf(file)
    if file.suffix == ".onnx":
        return Onnx(file)
    if head[4:15] == b"WhisperSpec" or b"Spec\x00" in head:
        found = f"{file}, a CTranslate2 model"
    elif file.suffix in _TORCH:
        return TorchFile(files)
    else:
        found = f"{file}, " + (f"a {_OTHERS[file.suffix]} file" if file.suffix in _OTHERS else "unknown")
    raise _validate.refusal(
        FileFormatError,
        "path",
        found,
        SUPPORTED,
        "Take the model as safetensors: most are published so, and save_pretrained writes it.",
    )


def _config(folder: Path) -> dict[str, Any]:
    """Return config.json of the folder; a package of several parts keeps the text's or image's beside."""
    file = folder / "config.json"
    if not file.is_file() and (folder.parent / "config.json").is_file() and folder.name == "onnx":
        file = folder.parent / "config.json"
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise corrupt(file, "config.json", error) from None
    if not isinstance(config, dict):
        raise corrupt(file, "config.json", f"a {type(config).__name__}, not an object")
    return config
