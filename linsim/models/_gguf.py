"""Read .gguf, block-quantised tensors included, through the ``gguf`` library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import _validate
from ..errors import FileFormatError
from ._tensors import Array, Tensors, corrupt, extra

__all__ = ["Gguf"]

#: a config.json's name for each field of a GGUF file, behind the architecture's name
_FIELDS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_eps",
    "rope.freq_base": "rope_theta",
    "rope.dimension_count": "rotary_dim",
    "rope.scaling.type": "rope_scaling",
    "context_length": "max_position_embeddings",
}


class Gguf(Tensors):
    """One GGUF file, mapped into memory by the library."""

    kind = "GGUF"

    def __init__(self, file: Path) -> None:
        """Read the header, not the tensors."""
        try:
            import gguf
        except ImportError:
            raise extra("gguf", "GGUF") from None
        self._path, self._gguf = file, gguf
        try:
            self._reader = gguf.GGUFReader(file)
            architecture = str(self._field("general.architecture"))
            config = {
                ours: self._field(f"{architecture}.{theirs}")
                for theirs, ours in _FIELDS.items()
                if f"{architecture}.{theirs}" in self._reader.fields
            }
        except Exception as error:  # the library raises whatever the bytes make of it
            raise corrupt(file, "GGUF", error) from None
        self.metadata = config | {"model_type": architecture, "from_gguf": True}
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        # GGUF lists the extents innermost first
        self.shapes = {
            name: tuple(int(extent) for extent in reversed(tensor.shape))
            for name, tensor in self._tensors.items()
        }

    def _field(self, name: str) -> Any:
        return self._reader.fields[name].contents()

    def vocabulary(self) -> dict[str, Any]:
        """Return tokens, merges and the name of the tokeniser, as far as the file has them."""
        names = ("tokens", "merges", "model", "pre", "token_type")
        fields = {name: f"tokenizer.ggml.{name}" for name in names}
        return {n: self._field(field) for n, field in fields.items() if field in self._reader.fields}

    def fetch(self, name: str) -> Array:
        """Return one tensor, dequantised to float32."""
        tensor = self._tensors[name]
        try:
            value = self._gguf.dequantize(tensor.data, tensor.tensor_type)
        except (NotImplementedError, KeyError) as error:
            raise _validate.refusal(
                FileFormatError,
                "path",
                f"tensor {name!r} quantised as {tensor.tensor_type.name}",
                "a quantisation that the gguf library can undo",
                "Update gguf, or take the file in Q8_0, F16 or BF16.",
            ) from error
        except Exception as error:
            raise corrupt(self._path, "GGUF", error) from None
        return np.asarray(value).reshape(self.shapes[name])
