"""Read one block at a time, with orientations, fused matrices and head counts sorted out."""

from __future__ import annotations

import numpy as np

from .. import _validate
from ..errors import FileFormatError, InvalidValueError, ShapeError
from ._config import Config
from ._parts import AttentionPart, BlockParts, Dense, FeedForwardPart, Norm, Rotary, ValuePath
from ._recognise import Stack
from ._tensors import Array, Tensors

__all__ = ["Blocks"]


class Blocks:
    """The blocks of one stack, read on demand."""

    def __init__(self, tensors: Tensors, stack: Stack, config: Config, heads: int | None) -> None:
        """Check sizes and head counts on block 0.

        Raises
        ------
        FileFormatError, InvalidValueError, ShapeError
            If tensors are missing, contradict config.json, or the heads do not divide the width.
        """
        self.tensors, self.stack, self.config, self.layout = tensors, stack, config, stack.layout
        self.count = self._repeated()
        self.order = self.layout.order
        self.width = self._output_shape()[1]
        said = config.count("heads")
        self.heads = _validate.count(heads, "heads", minimum=1) if heads is not None else said
        self.kv_heads = self._kv_heads()
        self.causal = self.layout.causal or stack.part == "decoder" or config.flag("is_decoder")
        if self.layout.name == "CLIP":
            self.causal = stack.part == "text"

    def name(self, layer: int, rest: str) -> str:
        """Return the whole name of a tensor of one block."""
        return self._named(self.stored(layer), rest)

    def _named(self, stored: int, rest: str) -> str:
        return (self.stack.prefix + self.layout.block + rest).replace("{layer}", str(stored))

    def stored(self, layer: int) -> int:
        """Return which stored block runs as ``layer``: ALBERT's groups are run many times each."""
        return layer * self.stack.blocks // self.count if self.layout.shared else layer

    def _repeated(self) -> int:
        said = self.config.count("layers")
        if self.layout.shared:
            return max(said or self.stack.blocks, self.stack.blocks)
        if said is not None and said > self.stack.blocks:
            # name a tensor that should be there
            self.tensors.read(self._named(said - 1, self.layout.marker))
        return self.stack.blocks

    # --- sizes and heads -----------------------------------------------------------------

    def _in_out(self, name: str) -> tuple[int, int]:
        """Return the shape of a matrix as (in, out)."""
        shape = self.tensors.shapes.get(name)
        if shape is None:
            self.tensors.read(name)
        if shape is None or len(shape) != 2:
            raise _validate.refusal(
                ShapeError, name, f"shape {shape}", "a matrix", "The file is of another layout, or damaged."
            )
        rows, columns = shape
        turned = self.layout.conv1d and name not in self.tensors.oriented
        return (rows, columns) if turned else (columns, rows)

    def _weight(self, name: str) -> str:
        """Return the whole name of a matrix: a pattern may have it without the usual ending."""
        return name if name in self.tensors.shapes else f"{name}.weight"

    def _output_shape(self) -> tuple[int, int]:
        return self._in_out(self._weight(self.name(0, self.layout.output)))

    def _value_width(self) -> int:
        """Return how many channels all value heads have together."""
        if not self.layout.fused:
            return self._in_out(self._weight(self.name(0, self.layout.value)))[1]
        whole = self._in_out(self._weight(self.name(0, self.layout.fused)))[1]
        return (whole - self._output_shape()[0]) // 2

    def _kv_heads(self) -> int | None:
        inner, values = self._output_shape()[0], self._value_width()
        if self.heads is None:
            if inner != values or self.layout.fusing == "by head":
                raise _validate.refusal(
                    InvalidValueError,
                    "heads",
                    f"no head count, and value and output of {values} and {inner} channels",
                    "the number of heads",
                    "Pass --heads COUNT, or put config.json beside the weights.",
                )
            return None
        if inner % self.heads:
            raise _validate.refusal(
                InvalidValueError,
                "heads",
                f"{self.heads} heads over {inner} channels",
                "a count that divides them",
                f"Pass --heads with a divisor, as {_divisor(inner)}.",
            )
        if values % (inner // self.heads) or self.heads % (values // (inner // self.heads) or 1):
            raise _validate.refusal(
                InvalidValueError,
                "heads",
                f"{self.heads} heads of {inner // self.heads} channels, and {values} channels of values",
                "value heads that are shared evenly",
                "Pass --heads with the model's own count.",
            )
        return values // (inner // self.heads)

    # --- parts ---------------------------------------------------------------------------

    def block(self, layer: int) -> BlockParts:
        """Return all of one block; what it needs of heads and feed-forward must be there."""
        return BlockParts(self.attention(layer), self._feed_forward(layer), self.order, self._parallel())

    def _parallel(self) -> bool:
        return self.layout.parallel and self.config.flag("use_parallel_residual", True)

    def attention(self, layer: int) -> AttentionPart:
        """Return the self-attention of one block."""
        query, key, value = self._query_key_value(layer)
        path = self._path(layer, value)
        return AttentionPart(path, query, key, path.kv_heads, self._rotary(path.head_width))

    def value_path(self, layer: int) -> ValuePath:
        """Return values and projection of one block, without reading queries and keys of their own."""
        if self.layout.fused:
            return self._path(layer, self._query_key_value(layer)[2])
        return self._path(layer, self.dense(self.name(layer, self.layout.value)))

    def _path(self, layer: int, value: Dense) -> ValuePath:
        heads = self.heads or 1
        kv_heads = self.kv_heads or heads
        output = self.dense(self.name(layer, self.layout.output))
        fit = value.weight.shape[1] * (heads // kv_heads) == output.weight.shape[0]
        if not fit or value.weight.shape[0] != output.weight.shape[1]:
            raise _validate.refusal(
                ShapeError,
                self.name(layer, self.layout.output),
                f"values {value.weight.shape} and output {output.weight.shape}, both (in, out)",
                "matrices whose product is square",
                "The file is damaged, or of another layout.",
            )
        norm = self.norm(self.name(layer, self.layout.norm)) if self.layout.norm else None
        return ValuePath(value, output, heads, kv_heads, self.order, norm, self._scale(layer, 0))

    def _query_key_value(self, layer: int) -> tuple[Dense, Dense, Dense]:
        layout = self.layout
        if not layout.fused:
            names = (layout.query, layout.key, layout.value)
            query, key, value = (self.dense(self.name(layer, name)) for name in names)
            return query, key, value
        whole = self.dense(self.name(layer, layout.fused))
        values = self._value_width()
        if layout.fusing == "by head":
            heads = self.heads or 1
            parts = [_of_heads(whole, heads, which) for which in range(3)]
        else:
            ends = [whole.weight.shape[1] - 2 * values, whole.weight.shape[1] - values]
            weights = np.split(whole.weight, ends, axis=1)
            biases = [None] * 3 if whole.bias is None else np.split(whole.bias, ends)
            parts = [Dense(w, b) for w, b in zip(weights, biases, strict=True)]
        return parts[0], parts[1], parts[2]

    def _feed_forward(self, layer: int) -> FeedForwardPart:
        layout = self.layout
        gate = None
        if layout.gate_up:
            both = self.dense(self.name(layer, layout.gate_up))
            half = both.weight.shape[1] // 2
            gate, up = Dense(both.weight[:, :half]), Dense(both.weight[:, half:])
        else:
            up = self.dense(self.name(layer, layout.up))
            gate = self.dense(self.name(layer, layout.gate)) if layout.gate else None
        return FeedForwardPart(
            up,
            self.dense(self.name(layer, layout.down)),
            gate,
            self.config.text("hidden_act", "activation_function", "hidden_activation") or layout.activation,
            self.norm(self.name(layer, layout.feed_forward_norm)),
            self._scale(layer, 1),
        )

    def dense(self, name: str) -> Dense:
        """Return a matrix as (in, out), and its bias if it has one."""
        stored = self._weight(name)
        self._in_out(stored)  # is it a matrix?
        weight = self.tensors.read(stored)
        turned = self.layout.conv1d and stored not in self.tensors.oriented
        bias = self.tensors.read(f"{name}.bias") if f"{name}.bias" in self.tensors.shapes else None
        return Dense(weight if turned else weight.T, bias)

    def norm(self, name: str) -> Norm:
        """Return a norm; gains and biases of old files are called gamma and beta."""
        old = f"{name}.gamma" in self.tensors.shapes
        gain = self.tensors.read(name + (".gamma" if old else ".weight"))
        beta = name + (".beta" if old else ".bias")
        bias = self.tensors.read(beta) if beta in self.tensors.shapes else None
        if self.config.text("model_type").startswith("gemma") and not self.config.flag("from_gguf"):
            gain = gain + 1  # what is stored is the gain less 1
        # a bias beside it shows the norm of a look-alike that centres
        kind = "layer" if bias is not None else self.layout.norm_kind
        names = ("layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "rms_norm_eps")
        epsilon = self.config.number(*names)
        if epsilon is not None and not 0 <= epsilon < 1:
            raise _validate.refusal(
                FileFormatError,
                "config.json",
                f"a norm's epsilon of {epsilon:g}",
                "a small number from 0",
                "Take the model's own config.json.",
            )
        return Norm(kind, gain, bias, self.layout.epsilon if epsilon is None else epsilon)

    def _scale(self, layer: int, which: int) -> Array | None:
        name = self.layout.layer_scale[which]
        whole = self.name(layer, name)
        return self.tensors.read(whole) if name and whole in self.tensors.shapes else None

    def _rotary(self, head_width: int) -> Rotary | None:
        if not self.layout.rotary:
            return None
        base, _, share = self.config.rope()
        width = self.config.count("rotary_width") or int(head_width * share)
        return Rotary(base, width, self.layout.rotary == "interleaved")


def _of_heads(whole: Dense, heads: int, which: int) -> Dense:
    """Take one of three out of a matrix in which each head has all three in a row."""
    width, columns = whole.weight.shape
    if columns % (3 * heads):
        raise _validate.refusal(
            FileFormatError,
            "heads",
            f"{heads} heads in {columns} fused channels",
            "a multiple of three times the heads",
            "Pass --heads with the model's own count.",
        )
    weight = whole.weight.reshape(width, heads, 3, -1)[:, :, which].reshape(width, -1)
    bias = None if whole.bias is None else whole.bias.reshape(heads, 3, -1)[:, which].reshape(-1)
    return Dense(weight, bias)


def _divisor(inner: int) -> int:
    """Return the count whose heads have about 64 channels, which most models have."""
    return min((n for n in range(1, inner + 1) if inner % n == 0), key=lambda n: abs(inner / n - 64))
