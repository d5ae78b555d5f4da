"""Texts to token ids and image files to pixels, with what lies beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .. import _validate
from ..errors import FileFormatError, InvalidTypeError, InvalidValueError
from ._config import Config
from ._files import Source
from ._gguf import Gguf
from ._tensors import Array, corrupt, extra

__all__ = ["pixels", "tokenise"]


def tokenise(source: Source, text: str) -> tuple[Array, list[str]]:
    """Return token ids, (n,), and what each stands for, with the special tokens that the model expects.

    Raises
    ------
    InvalidValueError
        If nothing is left of the text.
    FileFormatError
        If no tokeniser lies beside the weights, or it is damaged.
    MissingExtraError
        If ``tokenizers`` is not installed.
    """
    if not isinstance(text, str):
        raise _validate.refusal(
            InvalidTypeError, "text", type(text).__name__, "a text", "Pass ids= for token ids."
        )
    folder = source.folder
    if not text.strip():
        raise _validate.refusal(InvalidValueError, "text", repr(text), "some words", "Write a sentence.")
    if isinstance(source.tensors, Gguf):
        ids, words = _encoded(_from_gguf(source.tensors), text)
    elif (folder / "tokenizer.json").is_file():
        ids, words = _encoded(_load(folder / "tokenizer.json"), text)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        ids, words = _encoded(_byte_pairs(folder), text)
    elif (folder / "vocab.txt").is_file():
        ids, words = _from_list(folder, text)
    else:
        raise _validate.refusal(
            FileFormatError,
            "text",
            f"no tokeniser in {folder}",
            "tokenizer.json, vocab.txt, or vocab.json and merges.txt",
            "Put the model's own beside the weights, or pass token ids with --ids 101,2023,102.",
        )
    if not ids:
        raise _validate.refusal(InvalidValueError, "text", repr(text), "some words", "Write a sentence.")
    return np.array(ids), words


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise extra("tokenizers", "texts") from None
    return tokenizers


def _encoded(tokenizer: Any, text: str) -> tuple[list[int], list[str]]:
    encoded = tokenizer.encode(text)
    return list(encoded.ids), list(encoded.tokens)


def _load(file: Path) -> Any:
    library = _library()
    try:
        tokenizer = library.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises Exception itself
        raise corrupt(file, "tokenizer.json", error) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _byte_pairs(folder: Path) -> Any:
    library = _library()
    try:
        return library.ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:
        raise corrupt(folder / "vocab.json", "vocabulary", error) from None


def _from_gguf(tensors: Gguf) -> Any:
    """Return the byte-level tokeniser that a GGUF file describes; other kinds are refused."""
    library = _library()
    said = tensors.vocabulary()
    if said.get("model") != "gpt2" or "merges" not in said:
        raise _validate.refusal(
            FileFormatError,
            "text",
            f"a GGUF file whose tokeniser is {said.get('model', 'missing')!r}",
            "byte-level pairs ('gpt2')",
            "Pass token ids with --ids.",
        )
    merges = [tuple(merge.split(" ", 1)) for merge in said["merges"]]
    vocabulary = {token: number for number, token in enumerate(said["tokens"])}
    tokenizer = library.Tokenizer(library.models.BPE(vocabulary, merges))
    before = library.pre_tokenizers
    steps = [before.ByteLevel(add_prefix_space=False)]
    if said.get("pre") in ("smollm", "refact", "starcoder"):
        steps.insert(0, before.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = before.Sequence(steps)
    return tokenizer


def _from_list(folder: Path, text: str) -> tuple[list[int], list[str]]:
    """Encode with a vocab.txt: word pieces where it has any, else the longest entries that fit.

    Vocabularies of molecules list whole symbols, and for them "the longest that fits" is what their own
    regular expressions do.
    """
    file = folder / "vocab.txt"
    try:
        entries = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise corrupt(file, "vocab.txt", error) from None
    vocabulary = {entry: number for number, entry in reversed(list(enumerate(entries)))}
    if any(entry.startswith("##") for entry in entries):
        lower = Config(_json(folder / "tokenizer_config.json")).flag("do_lower_case", True)
        tokenizer = _library().BertWordPieceTokenizer(str(file), lowercase=lower)
        return _encoded(tokenizer, text)
    words = _longest(text, vocabulary)
    words = ["[CLS]"] * ("[CLS]" in vocabulary) + words + ["[SEP]"] * ("[SEP]" in vocabulary)
    return [vocabulary[word] for word in words], words


def _longest(text: str, vocabulary: dict[str, int]) -> list[str]:
    longest = max(map(len, vocabulary))
    words = []
    start = 0
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        for end in range(min(len(text), start + longest), start, -1):
            if text[start:end] in vocabulary:
                words.append(text[start:end])
                start = end
                break
        else:
            if "[UNK]" not in vocabulary:
                raise _validate.refusal(
                    InvalidValueError,
                    "text",
                    repr(text[start]),
                    "what the vocabulary has",
                    "Write it in the model's own notation, or pass --ids.",
                )
            words.append("[UNK]")
            start += 1
    unknown = words.count("[UNK]")
    if unknown > len(words) / 2:
        raise _validate.refusal(
            InvalidValueError,
            "text",
            f"{unknown} of {len(words)} characters that the vocabulary lacks",
            f"its own notation, with entries as {', '.join(list(vocabulary)[:4])}",
            "Write the text in the notation that this model was trained on.",
        )
    return words


def _json(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise corrupt(file, "JSON", error) from None
    return said if isinstance(said, dict) else {}


def pixels(source: Source, file: str | Path, config: Config) -> Array:
    """Return an image as (3, height, width), scaled and normalised as the model expects it.

    A .npy file is taken as it is; another image is cut to a square, resized to the model's size, and
    normalised by preprocessor_config.json, or by the usual means of ImageNet where there is none.
    """
    file = Path(file)
    if file.suffix == ".npy":
        return _array(file)
    try:
        from PIL import Image

        with Image.open(file) as opened:
            picture = opened.convert("RGB")
    except FileNotFoundError:
        raise corrupt(file, "image", "no such file", "image") from None
    except Exception as error:  # Pillow's readers raise what they like
        raise corrupt(file, "image", error, "image") from None
    said = _json(source.folder / "preprocessor_config.json")
    crop = said.get("crop_size", said.get("size", {}))
    crop = crop.get("height", crop.get("shortest_edge")) if isinstance(crop, dict) else crop
    side = crop if isinstance(crop, int) else config.count("image") or 224
    edge = min(picture.size)
    left, top = ((extent - edge) // 2 for extent in picture.size)
    picture = picture.crop((left, top, left + edge, top + edge)).resize((side, side))
    mean = np.array(said.get("image_mean", [0.485, 0.456, 0.406]))
    deviation = np.array(said.get("image_std", [0.229, 0.224, 0.225]))
    return ((np.asarray(picture) / 255.0 - mean) / deviation).transpose(2, 0, 1)


def _array(file: Path) -> Array:
    try:
        value = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise corrupt(file, "NumPy", error, "input") from None
    return np.asarray(value)
