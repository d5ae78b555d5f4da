"""Small checkpoints for tests: committed ones of random weights, and writers for new ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

#: one folder a family, written by make_references.py there
HERE = Path(__file__).resolve().parents[1] / "models"

#: folder -> family that is to be recognised, order of the norm, heads, value heads
FAMILIES = {
    "bert": ("BERT", "post", 3, 3),
    "roberta": ("BERT", "post", 3, 3),
    "albert": ("ALBERT", "post", 3, 3),
    "gpt2": ("GPT-2", "pre", 3, 3),
    "llama": ("Llama", "pre", 3, 1),
    "qwen2": ("Llama", "pre", 3, 3),
    "gemma": ("Llama", "pre", 3, 1),
    "phi3": ("Phi-3", "pre", 3, 3),
    "gpt_neox": ("GPT-NeoX", "pre", 3, 3),
    "vit": ("ViT", "pre", 3, 3),
    "deit": ("ViT", "pre", 3, 3),
    "dinov2": ("Dinov2", "pre", 3, 3),
    "clip": ("CLIP", "pre", 3, 3),
    "whisper": ("Whisper", "pre", 3, 3),
}


def tensors_of(name: str) -> dict[str, np.ndarray]:
    """Return the tensors of a committed checkpoint."""
    from safetensors.numpy import load_file

    return load_file(HERE / name / "model.safetensors")


def config_of(name: str) -> dict[str, Any]:
    """Return its config.json."""
    return json.loads((HERE / name / "config.json").read_text())


def reference_of(name: str) -> Any:
    """Return the input and the states that other software computed."""
    return np.load(HERE / name / "reference.npz")


def write(folder: Path, tensors: dict[str, np.ndarray], config: dict[str, Any] | None = None) -> Path:
    """Write a checkpoint as ``save_pretrained`` would; transposed views are stored as what they show."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def input_of(name: str, part: str | None = None) -> dict[str, np.ndarray]:
    """Return the argument of ``Model.run`` that the reference was computed from."""
    saved = reference_of(name)
    if name == "clip":
        return {"ids": saved["ids"]} if part == "text" else {"image": saved["image"]}
    key = next(key for key in ("ids", "image", "features") if key in saved)
    return {key: saved[key]}
