"""A checkpoint that was recognised, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import _validate
from .._blas import on_one_thread
from .._namespace import to_backend, to_host
from ..block import Block
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from ._as_block import block_of, mask_of
from ._blocks import Blocks
from ._columns import LayerReport, observe, report
from ._config import Config
from ._curves import Curves, measured
from ._embed import embed, final_norm, takes
from ._files import Source, open_source
from ._forward import attention_maps, causal_mask, check, deviation, normed, walk
from ._inputs import pixels, tokenise
from ._parts import mapped
from ._patterns import from_patterns
from ._recognise import choose, stacks
from ._spectra import LayerSpectra, factors, spectra
from ._tensors import Array
from ._whatif import change_of

__all__ = ["Model", "ModelRun", "load", "names"]


@dataclass(frozen=True)
class ModelRun:
    """Hidden states of one input, and each layer measured and predicted.

    Attributes
    ----------
    states : array, shape (layers + 1, n, d), float64
        The residual stream before layer 0 and behind each layer.
    last : array, shape (n, d)
        The last state behind the norm that ends the stack, as the model hands it on.
    layers : list of LayerReport
    curves : Curves
    tokens : list of str
        What each token stands for, as far as that is known.
    attention : list of array, shape (heads, n, n)
        Of each layer; empty unless it was asked for.
    what_if : str
        What was changed; empty for the model as it is.
    """

    states: Array
    last: Array
    layers: list[LayerReport]
    curves: Curves
    tokens: list[str]
    attention: list[Array] = field(repr=False)
    what_if: str = ""


class Model:
    """One stack of blocks of a checkpoint.

    Attributes
    ----------
    family : str
        The layout that was recognised.
    part : str
        Which stack of the checkpoint, among ``parts``.
    layers, width, heads, kv_heads : int
        ``heads`` and ``kv_heads`` are None where nothing says how many there are.
    order : "pre", "post" or ""
        Where the norm of the attention sublayer stands; "" if that is not known.
    """

    def __init__(self, source: Source, blocks: Blocks, parts: list[str]) -> None:
        """Use :func:`linsim.models.load`."""
        self._source, self._blocks, self.parts = source, blocks, parts
        self.path: Path = source.file
        self.kind = source.tensors.kind
        self.family, self.part = blocks.layout.name, blocks.stack.part
        self.layers, self.width = blocks.count, blocks.width
        self.heads, self.kv_heads = blocks.heads, blocks.kv_heads
        self.order, self.causal = blocks.order, blocks.causal
        self.input = takes(blocks)

    def __repr__(self) -> str:
        """Say what was recognised."""
        return f"<Model {self.describe()}>"

    def describe(self) -> str:
        """Return one line: family, sizes, heads, norms, file."""
        heads = f"{self.heads} heads" if self.heads else "heads not known"
        if self.heads and self.kv_heads != self.heads:
            heads += f" on {self.kv_heads} value heads"
        stored = self._blocks.stack.blocks
        layers = f"{self.layers} layers"
        if self._blocks.layout.shared:
            layers = f"{stored} stored layer{'s' * (stored > 1)} run {self.layers} times in all"
        norm = {"pre": "pre-norm", "post": "post-norm"}.get(self.order, "norms not known")
        first = self._blocks.value_path(0)
        kind = f"{'RMS ' if first.norm is not None and first.norm.kind == 'rms' else ''}{norm}"
        scale = ", layer scale" if first.layer_scale is not None else ""
        mask = ", causal" if self.causal else ""
        part = f" {self.part} part" if len(self.parts) > 1 else ""
        return (
            f"{self.family}{part} ({self.kind}): {layers}, {heads}, width {self.width}, {kind}{scale}{mask}"
        )

    @cached_property
    def spectra(self) -> list[LayerSpectra]:
        """The spectra of every layer, raw and effective, all heads together and each apart."""
        return spectra(self._blocks)

    def blocks(self, n: int, *, keep: Any = None) -> list[Block]:
        """Return every layer as a rule, for sequences of ``n`` tokens.

        Parameters
        ----------
        n : int
        keep : (n,) booleans, optional
            False for padding: nobody attends to it.

        Returns
        -------
        list of linsim.Block
            float64.  ``linsim.Layered(model.blocks(n))`` takes ``run.states[0]`` to all other states.

        Raises
        ------
        NotCoveredError
            If this model's blocks are not exactly those written out here.
        ShapeError, InvalidTypeError, InvalidValueError
            For another ``keep``, ``n`` below 1, and where the number of heads is not known.
        """
        check(self._blocks)
        mask = mask_of(_validate.count(n, "n", minimum=1), self.causal, _padding(keep, n))
        return [block_of(self._blocks.block(layer), mask) for layer in range(self.layers)]

    def run(
        self,
        *,
        text: str | None = None,
        ids: Any = None,
        image: Any = None,
        features: Any = None,
        states: Any = None,
        keep: Any = None,
        what_if: str | None = None,
        keep_attention: bool = False,
        backend: str | None = None,
    ) -> ModelRun:
        """Run the model on one input, and hold every layer against the theory.

        Parameters
        ----------
        text : str, optional
            Encoded with the tokeniser beside the weights.  Give exactly one of the five inputs.
        ids : (n,) integers, optional
        image : path or (3, height, width) array, optional
        features : path of a .npy file or (bins, frames) array, optional
            Log-mel features of an audio encoder.
        states : (n, d) or (layers + 1, n, d) array, optional
            Hidden states: what enters layer 0, or what enters each layer and leaves the last.
        keep : (n,) booleans, optional
            False for padding, which nobody attends to and nothing measures.
        what_if : str, optional
            "sharpen", "smooth", "deescalate=TAU", "flip-gain" or "no-bias".
        keep_attention : bool
        backend : "numpy" or "cupy", optional

        Returns
        -------
        ModelRun
            Its arrays are NumPy's.

        Raises
        ------
        LinsimError
            If the input does not fit the model, or its forward pass is not written out here.
        """
        check(self._blocks)
        change = None if what_if is None else change_of(what_if)
        x, later, tokens = self._entering(text, ids, image, features, states)
        if later is not None and change is not None:
            raise _validate.refusal(
                InvalidValueError,
                "what_if",
                f"{what_if!r} with recorded states of every layer",
                "a run of its own",
                "Pass only the states that enter layer 0.",
            )
        padding = _padding(keep, x.shape[0])
        count = len(x) if padding is None else int(padding.sum())
        if count < 2:
            raise _validate.refusal(
                InvalidValueError,
                "input",
                f"{count} token",
                "at least 2",
                "One token has nobody to become like: give a longer input.",
            )
        return self._measured(x, later, tokens, padding, what_if, change, keep_attention, backend)

    @on_one_thread
    def _measured(
        self,
        x: Array,
        later: Array | None,
        tokens: list[str],
        padding: Array | None,
        what_if: str | None,
        change: Any,
        keep_attention: bool,
        backend: str | None,
    ) -> ModelRun:
        given = to_backend(x, backend)
        known = None if later is None else to_backend(later, backend)
        seen, stack, attention = [], [x], []
        for run in walk(self._blocks, given, states=known, keep=padding, change=change):
            seen.append(observe(run, padding, change))
            stack.append(to_host(run.leaving))
            if keep_attention:
                attention.append(to_host(run.attention))
        states = np.stack(stack) if later is None else later
        curves = measured(states, padding)
        sink = curves.sink if padding is None else int(np.sum(padding[: curves.sink]))
        layers = [report(one, one.spectra or law, sink) for one, law in zip(seen, self.spectra, strict=True)]
        last = final_norm(self._blocks, states[-1])
        return ModelRun(states, last, layers, curves, tokens, attention, what_if or "")

    def linear(self, layer: int, x: Any) -> tuple[Array, Array]:
        """Return A and H of each head at these tokens, for rules of one's own.

        ``linsim.MultiHead(A, H)`` is then the attention sublayer without biases and, where a norm stands
        before it, with the mean of 1/sigma for every token.

        Parameters
        ----------
        layer : int
            From 0.
        x : (n, d) array
            What enters that layer, as ``run.states[layer]``.

        Returns
        -------
        A : array, shape (heads, n, n)
        H : array, shape (heads, d, d)
            Effective.

        Raises
        ------
        InvalidValueError, ShapeError, NotCoveredError
            If there is no such layer, x has another width, or the model's attention is not written out.
        """
        check(self._blocks)
        _validate.count(layer, "layer")
        if layer >= self.layers:
            raise _validate.refusal(
                InvalidValueError, "layer", layer, f"0 to {self.layers - 1}", "Count from 0."
            )
        x = to_host(_validate.array(x, "x", ndim=2, shape=f"(n, {self.width})")).astype(np.float64)
        if x.ndim != 2 or x.shape[-1] != self.width:
            raise _validate.refusal(
                ShapeError, "x", f"shape {x.shape}", f"(n, {self.width})", "Pass one state of this model."
            )
        part = mapped(self._blocks.attention(layer), lambda w: w.astype(np.float64))
        norm = part.path.norm if self.order == "pre" else None
        scale = 1.0 if norm is None else float((1 / deviation(x, norm)).mean())
        A = attention_maps(normed(x, norm), part, causal_mask(len(x), x) if self.causal else None)
        left, right = factors(part.path, effective=True).each()
        return A, scale * (left @ right)

    def _entering(
        self, text: Any, ids: Any, image: Any, features: Any, states: Any
    ) -> tuple[Array, Array | None, list[str]]:
        given = {"text": text, "ids": ids, "image": image, "features": features, "states": states}
        chosen = [name for name, value in given.items() if value is not None]
        if len(chosen) != 1:
            raise _validate.refusal(
                InvalidValueError,
                "input",
                " and ".join(chosen) or "none",
                "exactly one of text, ids, image, features and states",
                f"This model takes {self._wanted()}.",
            )
        if states is not None:
            return self._from_states(states)
        if text is not None:
            if self.input != "text":
                raise _validate.refusal(
                    InvalidTypeError, "text", "a text", self._wanted(), "Give what this model reads."
                )
            numbers, words = tokenise(self._source, text)
            return embed(self._blocks, numbers, "ids"), None, words
        if ids is not None:
            numbers = _ids(ids)
            return embed(self._blocks, numbers, "ids"), None, [str(number) for number in numbers]
        kind = "image" if image is not None else "features"
        value = image if image is not None else features
        if isinstance(value, str | Path):
            value = pixels(self._source, value, self._blocks.config)
        ndim, shape = (3, "(3, height, width)") if kind == "image" else (2, "(bins, frames)")
        array = to_host(_validate.array(value, kind, ndim=ndim, shape=shape)).astype(np.float64)
        if array.ndim != ndim:
            raise _validate.refusal(ShapeError, kind, f"shape {array.shape}", shape, "Pass one at a time.")
        x = embed(self._blocks, array, kind)
        return x, None, []

    def _wanted(self) -> str:
        return {"text": "text or ids", "": "states"}.get(self.input, self.input) + " (or states)" * bool(
            self.input
        )

    def _from_states(self, states: Any) -> tuple[Array, Array | None, list[str]]:
        value = to_host(_validate.array(states, "states", ndim=2, shape="(n, d)")).astype(np.float64)
        whole = value.ndim == 3 and len(value) == self.layers + 1
        if value.shape[-1] != self.width or not (value.ndim == 2 or whole):
            raise _validate.refusal(
                ShapeError,
                "states",
                f"shape {value.shape}",
                f"(n, {self.width}) or ({self.layers + 1}, n, {self.width})",
                "Pass what enters layer 0, or what enters every layer and leaves the last.",
            )
        return (value[0], value, []) if whole else (value, None, [])


def _ids(ids: Any) -> Array:
    try:
        numbers = np.asarray(ids)
    except ValueError:
        numbers = np.empty(0)
    if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iu":
        raise _validate.refusal(
            InvalidTypeError, "ids", f"{str(ids)[:40]}", "one row of whole numbers", "Pass [101, 2023, 102]."
        )
    return numbers


def _padding(keep: Any, n: int) -> Array | None:
    if keep is None:
        return None
    kept = np.asarray(keep)
    count = int(kept.sum()) if kept.dtype == bool else "no"
    if kept.shape != (n,) or kept.dtype != bool or not kept.any():
        raise _validate.refusal(
            ShapeError,
            "keep",
            f"shape {kept.shape}, dtype {kept.dtype}, {count} kept",
            f"({n},) booleans, one of them True",
            "Pass True for every token that is not padding.",
        )
    return None if kept.all() else kept


def load(
    path: str | Path,
    *,
    part: str | None = None,
    heads: int | None = None,
    value_pattern: str | None = None,
    projection_pattern: str | None = None,
    conv1d: bool = False,
) -> Model:
    """Open a checkpoint and recognise what is in it; no weights are loaded yet.

    Parameters
    ----------
    path : str or path
        A directory with config.json and weights, one file (.safetensors, .gguf, .onnx, or PyTorch's
        .bin, .pt and .pth where torch is installed), or "package:path" inside an installed package.
    part : str, optional
        Which of several stacks: "text" or "vision", "encoder" or "decoder".
    heads : int, optional
        The head count, where neither config.json nor the file says it.
    value_pattern, projection_pattern : str, optional
        Names of the matrices in a model of no known family, with ``{layer}`` for the number; only its
        spectra can then be asked for.
    conv1d : bool
        Whether those are stored as (in, out), as GPT-2's are; PyTorch's Linear stores (out, in).

    Returns
    -------
    Model

    Raises
    ------
    FileFormatError
        If there is nothing to read, or it is damaged or of another kind.
    NotCoveredError
        If the family is not known.
    InvalidValueError
        If the heads do not divide the width.
    MissingExtraError
        If the library that reads such files is not installed.

    Examples
    --------
    >>> import numpy as np, tempfile, safetensors.numpy
    >>> folder = tempfile.TemporaryDirectory()
    >>> tensors = {f"enc.0.{name}": np.eye(4, dtype="f4") for name in ("v", "o")}
    >>> safetensors.numpy.save_file(tensors, f"{folder.name}/model.safetensors")
    >>> model = load(folder.name, value_pattern="enc.{layer}.v", projection_pattern="enc.{layer}.o")
    >>> model.spectra[0].raw.real_max
    1.0
    >>> folder.cleanup()
    """
    if heads is not None:
        _validate.count(heads, "heads", minimum=1)
    source = open_source(path)
    if value_pattern is not None or projection_pattern is not None:
        if value_pattern is None or projection_pattern is None:
            missing = "value_pattern" if value_pattern is None else "projection_pattern"
            raise _validate.refusal(
                InvalidValueError, missing, "none", "both patterns", "Name both matrices, or neither."
            )
        stack = from_patterns(source.tensors, value_pattern, projection_pattern, conv1d=conv1d)
        return Model(source, Blocks(source.tensors, stack, Config(source.config), heads), [stack.part])
    found = stacks(source.tensors)
    chosen = choose(found, part)
    config = Config(source.config, chosen.part)
    return Model(source, Blocks(source.tensors, chosen, config, heads), [one.part for one in found])


def names(path: str | Path) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of every tensor of a checkpoint by its name, to write patterns from.

    Parameters
    ----------
    path : str or path
        As :func:`load` takes it.

    Raises
    ------
    FileFormatError, MissingExtraError
        As :func:`load` does.

    Examples
    --------
    >>> import numpy as np, tempfile, safetensors.numpy
    >>> folder = tempfile.TemporaryDirectory()
    >>> safetensors.numpy.save_file({"enc.0.v": np.eye(4)}, f"{folder.name}/model.safetensors")
    >>> names(folder.name)
    {'enc.0.v': (4, 4)}
    >>> folder.cleanup()
    """
    return dict(open_source(path).tensors.shapes)
