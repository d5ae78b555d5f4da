"""Read .bin, .pt and .pth, but only through PyTorch's own loader that runs no code.

These files are pickles: whoever wrote one decides what runs on the machine that unpickles it.
``torch.load(weights_only=True)`` builds tensors and nothing else.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from .. import _validate
from ..errors import FileFormatError, MissingExtraError
from ._tensors import Array, Tensors, corrupt

__all__ = ["TorchFile"]


class TorchFile(Tensors):
    """One or more files that ``torch.save`` wrote."""

    kind = "PyTorch"

    def __init__(self, files: list[Path]) -> None:
        """Load the files; those that are zip archives are mapped, not read."""
        try:
            import torch
        except ImportError:
            raise _validate.refusal(
                MissingExtraError,
                "torch",
                f"it not installed, and {files[0].name} is a pickle, which runs what its author wrote",
                "PyTorch, whose weights_only loader runs nothing, or a safetensors file",
                'Where torch is installed, convert: python -c "import torch, safetensors.torch as s; '
                f"s.save_file({{k: v.clone() for k, v in torch.load('{files[0].name}', weights_only=True)"
                ".items()}, 'model.safetensors')\".",
            ) from None
        self._tensors: dict[str, Any] = {}
        self.metadata = {}
        for file in files:
            try:
                # the format before PyTorch 1.6 is no zip archive, and cannot be mapped
                stored = torch.load(
                    file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
                )
            except Exception as error:  # pickle, zip and torch each have their own kinds
                said = str(error)
                if "weights_only" in said or "WeightsUnpickler" in said:
                    raise _validate.refusal(
                        FileFormatError,
                        "path",
                        f"{file}, a pickle of more than tensors",
                        "a state dict",
                        "It could run code here, so it is not opened: save model.state_dict() instead.",
                    ) from None
                raise corrupt(file, "PyTorch", error) from None
            self._tensors |= _state(stored, file)
        self.shapes = {name: tuple(value.shape) for name, value in self._tensors.items()}

    def fetch(self, name: str) -> Array:
        """Return one tensor; bfloat16 and float8 as float32."""
        import torch

        value = self._tensors[name]
        if value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64):
            value = value.to(torch.float32)
        array: Array = value.numpy()
        return array


def _state(stored: Any, file: Path) -> dict[str, Any]:
    """Return the tensors of a state dict, also of one inside a training checkpoint."""
    import torch

    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            stored = stored[key]
    tensors = {}
    if isinstance(stored, dict):
        tensors = {str(k): v.detach() for k, v in stored.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise _validate.refusal(
            FileFormatError, "path", f"{file}, without tensors", "a state dict", "Save model.state_dict()."
        )
    return tensors
