"""From an input to what enters layer 0, family by family, in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import _validate
from ..errors import InvalidTypeError, InvalidValueError, NotCoveredError
from ._blocks import Blocks
from ._forward import activated, dense, normed
from ._parts import Dense
from ._tensors import Array

__all__ = ["INPUTS", "embed", "final_norm"]

#: what each family takes
INPUTS = {
    "bert": "text",
    "albert": "text",
    "gpt2": "text",
    "neox": "text",
    "llama": "text",
    "gguf": "text",
    "vit": "image",
    "timm": "image",
    "clip": "text or image",
    "whisper": "features",
}


def embed(blocks: Blocks, given: Array, kind: str) -> Array:
    """Return what enters layer 0, (n, d).

    Parameters
    ----------
    blocks : Blocks
    given : array
        Token ids (n,), an image (channels, height, width) as the model's own preprocessing makes it, or
        the log-mel features (bins, frames) of an audio encoder.
    kind : "ids", "image" or "features"

    Raises
    ------
    InvalidTypeError
        If the model takes another kind of input.
    InvalidValueError
        If an id is not in the vocabulary, or there are more tokens than positions.
    """
    wanted = takes(blocks)
    if kind != {"text": "ids"}.get(wanted, wanted):
        raise _validate.refusal(
            InvalidTypeError,
            "input",
            "token ids" if kind == "ids" else f"an {kind}" if kind == "image" else kind,
            {"text": "a text or token ids"}.get(wanted, f"{wanted}, for this {blocks.layout.name}"),
            {"text": "Use --text or --ids.", "image": "Use --image.", "": "Use --states."}.get(
                wanted, "Use --features with an array of log-mel features."
            ),
        )
    return _WAYS[blocks.layout.embedding](blocks, given)


def takes(blocks: Blocks) -> str:
    """Return "text", "image", "features", or "" where only hidden states can be given."""
    kind = INPUTS.get(blocks.layout.embedding, "")
    if kind == "text or image":
        return "text" if blocks.stack.part == "text" else "image"
    if kind == "features" and blocks.stack.part == "decoder":
        return ""
    return kind


def final_norm(blocks: Blocks, x: Array) -> Array:
    """Return the last state as the model hands it on: behind the norm that ends the stack, if any."""
    names = [blocks.layout.final_norm] if blocks.layout.final_norm else []
    if blocks.layout.name == "CLIP":
        names = ["final_layer_norm" if blocks.stack.part == "text" else ""]
    for name in filter(None, names):
        for whole in (blocks.stack.prefix + name, name):
            if f"{whole}.weight" in blocks.tensors.shapes:
                return normed(x, blocks.norm(whole))
    return x


def _table(blocks: Blocks, *names: str) -> Array:
    """Return the first of these tensors that is there, float64, its leading axes of 1 dropped."""
    for name in names:
        whole = blocks.stack.prefix + name
        if whole in blocks.tensors.shapes:
            table = blocks.tensors.read(whole).astype(np.float64)
            while table.ndim > 2 and table.shape[0] == 1:
                table = table[0]
            return table
    return blocks.tensors.read(blocks.stack.prefix + names[0])


def _has(blocks: Blocks, name: str) -> bool:
    return blocks.stack.prefix + name in blocks.tensors.shapes


def _words(table: Array, ids: Array) -> Array:
    largest = int(ids.max())
    if int(ids.min()) < 0 or largest >= len(table):
        raise _validate.refusal(
            InvalidValueError,
            "ids",
            largest if largest >= len(table) else int(ids.min()),
            f"token ids from 0 to {len(table) - 1}",
            "Use the model's own tokeniser.",
        )
    return table[ids]


def _positions(table: Array, n: int, offset: int = 0) -> Array:
    if n + offset > len(table):
        raise _validate.refusal(
            InvalidValueError,
            "input",
            f"{n} tokens",
            f"1 to {len(table) - offset}, as many as the model has positions",
            "Shorten it.",
        )
    return table[offset : offset + n]


# --- texts -----------------------------------------------------------------------------------


def _bert(blocks: Blocks, ids: Array) -> Array:
    at = "embeddings."
    words = _words(_table(blocks, f"{at}word_embeddings.weight"), ids)
    kind = blocks.config.text("model_type")
    # RoBERTa counts positions from behind that of padding
    behind = kind in ("roberta", "xlm-roberta", "camembert") or "roberta." in blocks.stack.prefix
    offset = (blocks.config.count("padding") or 1) + 1 if behind else 0
    x = words + _positions(_table(blocks, f"{at}position_embeddings.weight"), ids.size, offset)
    x = x + _table(blocks, f"{at}token_type_embeddings.weight")[0]
    x = normed(x, blocks.norm(blocks.stack.prefix + f"{at}LayerNorm"))
    for name in ("embeddings_project", "encoder.embedding_hidden_mapping_in"):
        if _has(blocks, f"{name}.weight"):
            x = dense(x, _double(blocks.dense(blocks.stack.prefix + name)))
    return x


def _gpt2(blocks: Blocks, ids: Array) -> Array:
    words = _words(_table(blocks, "wte.weight"), ids)
    return words + _positions(_table(blocks, "wpe.weight"), ids.size)


def _llama(blocks: Blocks, ids: Array) -> Array:
    x = _words(_table(blocks, "embed_tokens.weight", "embed_in.weight", "token_embd.weight"), ids)
    scale = blocks.config.text("model_type") == "gemma"
    return x * blocks.width**0.5 if scale else x


# --- images and sound --------------------------------------------------------------------------


def _patches(image: Array, filters: Array, bias: Array | None) -> tuple[Array, tuple[int, int]]:
    """Return one row a patch, and how many patches stand below and beside each other."""
    features, channels, size, _ = filters.shape
    rows, columns = image.shape[1] // size, image.shape[2] // size
    if image.shape[0] != channels or rows < 1 or columns < 1:
        raise _validate.refusal(
            InvalidValueError,
            "image",
            f"shape {image.shape}",
            f"({channels}, height, width) of at least {size} x {size}",
            "Pass colour planes first.",
        )
    image = image[:, : rows * size, : columns * size]
    cut = image.reshape(channels, rows, size, columns, size).transpose(1, 3, 0, 2, 4)
    x = cut.reshape(rows * columns, -1) @ filters.reshape(features, -1).T
    return (x if bias is None else x + bias), (rows, columns)


def _on_grid(table: Array, kept: int, grid: tuple[int, int]) -> Array:
    """Return positions for another grid of patches, the first ``kept`` as they are.

    Bicubic as in PyTorch: a = -0.75, pixel centres aligned, borders repeated.
    """
    first, rest = table[:kept], table[kept:]
    side = round(len(rest) ** 0.5)
    if (side, side) == grid:
        return table
    down, beside = (_cubic(side, length) for length in grid)
    square = rest.reshape(side, side, -1)
    moved = np.einsum("ai,bj,ijd->abd", down, beside, square, optimize=True)
    return np.concatenate([first, moved.reshape(-1, table.shape[1])])


def _cubic(old: int, new: int, a: float = -0.75) -> Array:
    """Return the (new, old) matrix of cubic interpolation along one side: Keys 1981."""
    where = (np.arange(new) + 0.5) * old / new - 0.5
    base = np.floor(where).astype(int)
    matrix = np.zeros((new, old))
    for step in (-1, 0, 1, 2):
        t = np.abs(where - base - step)
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * (t**3 - 5 * t**2 + 8 * t - 4)
        np.add.at(matrix, (np.arange(new), np.clip(base + step, 0, old - 1)), np.where(t <= 1, near, far))
    return matrix


def _vit(blocks: Blocks, image: Array) -> Array:
    at = "embeddings."
    filters = _table(blocks, f"{at}patch_embeddings.projection.weight")
    x, grid = _patches(image, filters, _bias(blocks, f"{at}patch_embeddings.projection.bias"))
    extra = [_table(blocks, f"{at}cls_token").reshape(1, -1)]
    if _has(blocks, f"{at}distillation_token"):
        extra.append(_table(blocks, f"{at}distillation_token").reshape(1, -1))
    if _has(blocks, f"{at}position_embeddings"):
        positions = _table(blocks, f"{at}position_embeddings")
    else:
        positions = _nameless_positions(blocks)
    return np.concatenate([*extra, x]) + _on_grid(positions, len(extra), grid)


def _nameless_positions(blocks: Blocks) -> Array:
    """Return the positions of an exported graph, in which they are cut in two and have lost their names."""
    shapes = blocks.tensors.shapes
    rows = [n for n, s in shapes.items() if n.startswith("onnx::") and s == (1, 1, blocks.width)]
    rest = [
        n
        for n, s in shapes.items()
        if n.startswith("onnx::") and len(s) == 3 and s[::2] == (1, blocks.width) and s[1] > 1
    ]
    if len(rows) != 1 or len(rest) != 1:
        raise _validate.refusal(
            NotCoveredError,
            "path",
            "an exported graph whose positions cannot be told",
            "embeddings.position_embeddings",
            "Take the model as safetensors, or pass hidden states with --states.",
        )
    return np.concatenate([blocks.tensors.read(name)[0].astype(np.float64) for name in (*rows, *rest)])


def _timm(blocks: Blocks, image: Array) -> Array:
    filters = _table(blocks, "patch_embed.proj.weight")
    x, grid = _patches(image, filters, _bias(blocks, "patch_embed.proj.bias"))
    if _has(blocks, "reg_token") or _has(blocks, "register_tokens") or _has(blocks, "norm_pre.weight"):
        raise _validate.refusal(
            NotCoveredError,
            "path",
            "register tokens or a norm before the blocks",
            "a plain ViT",
            "Pass hidden states with --states.",
        )
    extra = [
        _table(blocks, name).reshape(1, -1) for name in ("cls_token", "dist_token") if _has(blocks, name)
    ]
    return np.concatenate([*extra, x]) + _on_grid(_table(blocks, "pos_embed"), len(extra), grid)


def _clip(blocks: Blocks, given: Array) -> Array:
    at = "embeddings."
    if blocks.stack.part == "text":
        words = _words(_table(blocks, f"{at}token_embedding.weight"), given)
        return words + _positions(_table(blocks, f"{at}position_embedding.weight"), given.size)
    x, grid = _patches(given, _table(blocks, f"{at}patch_embedding.weight"), None)
    x = np.concatenate([_table(blocks, f"{at}class_embedding").reshape(1, -1), x])
    x = x + _on_grid(_table(blocks, f"{at}position_embedding.weight"), 1, grid)
    # the name is spelled so in every published checkpoint
    return normed(x, blocks.norm(blocks.stack.prefix + "pre_layrnorm"))


def _whisper(blocks: Blocks, features: Array) -> Array:
    x = features
    for name, stride in (("conv1", 1), ("conv2", 2)):
        weight, bias = _table(blocks, f"{name}.weight"), _bias(blocks, f"{name}.bias")
        if x.shape[0] != weight.shape[1]:
            raise _validate.refusal(
                InvalidValueError,
                "features",
                f"shape {features.shape}",
                f"({weight.shape[1]}, frames)",
                "Pass bins first.",
            )
        padded = np.pad(x, ((0, 0), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=1)[:, ::stride]
        x = np.einsum("cnk,fck->fn", windows, weight, optimize=True)
        x = activated(x if bias is None else x + bias[:, None], "gelu")
    return x.T + _positions(_table(blocks, "embed_positions.weight"), x.shape[1])


def _bias(blocks: Blocks, name: str) -> Array | None:
    return _table(blocks, name) if _has(blocks, name) else None


def _double(part: Dense) -> Dense:
    bias = None if part.bias is None else part.bias.astype(np.float64)
    return Dense(part.weight.astype(np.float64), bias)


_WAYS: dict[str, Callable[[Blocks, Array], Array]] = {
    "bert": _bert,
    "albert": _bert,
    "gpt2": _gpt2,
    "neox": _llama,
    "llama": _llama,
    "gguf": _llama,
    "vit": _vit,
    "timm": _timm,
    "clip": _clip,
    "whisper": _whisper,
}
