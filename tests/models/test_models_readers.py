"""Files of four kinds, whole and damaged, and the layouts that tensors are recognised by."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from oracles.checkpoints import FAMILIES, HERE, config_of, input_of, reference_of, tensors_of, write

import linsim
from linsim import models
from linsim.errors import FileFormatError, LinsimError, MissingExtraError, NotCoveredError

gguf = pytest.importorskip("gguf")
onnx = pytest.importorskip("onnx")
ml_dtypes = pytest.importorskip("ml_dtypes")


def refused(call, *said, kind=LinsimError):
    """The call is refused, in one sentence of the usual form that says all this."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert ": found " in message
    assert "; expected " in message
    for part in said:
        assert part in message
    return message


# --- families ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_recognised(name):
    model = models.load(HERE / name)
    assert (model.family, model.order, model.heads, model.kv_heads) == FAMILIES[name]
    assert model.width == 24
    assert model.layers == (4 if name == "albert" else 2)
    assert model.describe() in repr(model)


def test_towers_and_decoders_are_told_apart():
    clip = models.load(HERE / "clip")
    assert sorted(clip.parts) == ["text", "vision"]
    assert (clip.part, clip.input, clip.causal) == ("vision", "image", False)
    text = models.load(HERE / "clip", part="text")
    assert (text.part, text.input, text.causal) == ("text", "text", True)
    whisper = models.load(HERE / "whisper")
    assert (whisper.part, whisper.layers, whisper.input) == ("encoder", 2, "features")
    decoder = models.load(HERE / "whisper", part="decoder")
    assert (decoder.part, decoder.layers, decoder.causal) == ("decoder", 1, True)
    # the decoder's self-attention, not its attention to the encoder
    tensors = tensors_of("whisper")
    at = "decoder.layers.0.self_attn"
    H = tensors[f"{at}.v_proj.weight"].T.astype(float) @ tensors[f"{at}.out_proj.weight"].T
    assert decoder.spectra[0].raw.real_max == pytest.approx(np.linalg.eigvals(H).real.max(), abs=1e-6)
    refused(lambda: models.load(HERE / "clip", part="audio"), "'text'", "'vision'")


def test_a_look_alike_with_norms_after_the_sum_is_not_taken_for_whisper(tmp_path):
    """BART has Whisper's names but for the convolutions."""
    tensors = {k: v for k, v in tensors_of("whisper").items() if "conv" not in k}
    folder = write(tmp_path, tensors, config_of("whisper") | {"model_type": "bart"})
    refused(lambda: models.load(folder), "no known family", kind=NotCoveredError)


@pytest.mark.parametrize(
    ("name", "more"),
    [("llama", "layers.0.pre_feedforward_layernorm.weight"), ("timm", "blocks.0.attn.q_norm.weight")],
)
def test_look_alikes_with_more_norms_are_not_taken_for_the_family(tmp_path, name, more):
    tensors = timm_of(tensors_of("dinov2")) if name == "timm" else tensors_of(name)
    folder = write(tmp_path, tensors | {more: np.ones(24, np.float32)})
    refused(lambda: models.load(folder, heads=3), "no known family", kind=NotCoveredError)


def test_cross_attention_is_no_self_attention(tmp_path):
    tensors = tensors_of("bert")
    crossing = {
        k.replace("attention.", "crossattention."): v + 1 for k, v in tensors.items() if "attention" in k
    }
    model = models.load(write(tmp_path, crossing | tensors, config_of("bert")))
    plain = models.load(HERE / "bert")
    for one, other in zip(model.spectra, plain.spectra, strict=True):
        np.testing.assert_array_equal(one.raw.eigenvalues, other.raw.eigenvalues)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "vit", "albert"])
@pytest.mark.parametrize("prefix", ["model.", "base_model.model.transformer."])
def test_prefixes_come_and_go(tmp_path, name, prefix):
    tensors = {prefix + k: v for k, v in tensors_of(name).items()}
    run = models.load(write(tmp_path, tensors, config_of(name))).run(**input_of(name))
    wanted = models.load(HERE / name).run(**input_of(name))
    np.testing.assert_array_equal(run.states, wanted.states)


def test_old_names_of_norms(tmp_path):
    def old(name):
        for new, before in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
            name = name.replace(new, before)
        return name

    tensors = {old(k): v for k, v in tensors_of("bert").items()}
    run = models.load(write(tmp_path, tensors, config_of("bert"))).run(**input_of("bert"))
    np.testing.assert_array_equal(run.states, models.load(HERE / "bert").run(**input_of("bert")).states)


def timm_of(tensors):
    """Return the tensors of a Dinov2 as timm names and fuses them."""
    renamed = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "encoder.layer": "blocks",
        "attention.output.dense": "attn.proj",
        "layer_scale1.lambda1": "ls1.gamma",
        "layer_scale2.lambda1": "ls2.gamma",
        "layernorm": "norm",
    }
    found = {}
    for name, value in tensors.items():
        if ".attention.attention." in name or "mask_token" in name:
            continue
        for old, new in renamed.items():
            name = name.replace(old, new)
        found[name] = value
    for layer in range(2):
        for end in ("weight", "bias"):
            at = f"encoder.layer.{layer}.attention.attention."
            parts = [tensors[f"{at}{part}.{end}"] for part in ("query", "key", "value")]
            found[f"blocks.{layer}.attn.qkv.{end}"] = np.concatenate(parts)
    return found


def test_timm_fuses_all_queries_first(tmp_path):
    model = models.load(write(tmp_path, timm_of(tensors_of("dinov2"))), heads=3)
    assert model.family == "ViT (timm)"
    run = model.run(**input_of("dinov2"))
    saved = reference_of("dinov2")["states"]
    np.testing.assert_allclose(run.states, saved, atol=2e-6 * np.abs(saved).max())


def test_the_other_order_of_fusing_would_show(tmp_path):
    """GPT-NeoX keeps the three of a head together: reading them stacked gives other spectra."""
    tensors, config = tensors_of("gpt_neox"), config_of("gpt_neox")
    right = models.load(HERE / "gpt_neox").spectra[0].raw
    name = "layers.0.attention.query_key_value.weight"
    value = tensors[name].reshape(3, 3, 8, 24)[:, 2].reshape(24, 24)
    H = value.T.astype(float) @ tensors["layers.0.attention.dense.weight"].T
    assert right.real_max == pytest.approx(np.linalg.eigvals(H).real.max(), abs=1e-6)
    stacked = tensors[name][48:].T.astype(float) @ tensors["layers.0.attention.dense.weight"].T
    assert abs(np.linalg.eigvals(stacked).real.max() - right.real_max) > 0.01
    assert config["model_type"] == "gpt_neox"


def test_orientation_is_the_family_s(tmp_path):
    """GPT-2 stores (in, out): its spectra are those of the product as stored, and not of the transposes'."""
    tensors = tensors_of("gpt2")
    value = tensors["h.0.attn.c_attn.weight"][:, 48:].astype(float)
    H = value @ tensors["h.0.attn.c_proj.weight"]
    mu = np.linalg.eigvals(H)
    raw = models.load(HERE / "gpt2").spectra[0].raw
    assert raw.real_min == pytest.approx(mu.real.min(), abs=1e-6)
    # the same trace, as transposing does not change it, but in other heads
    other = np.linalg.eigvals(value[:, :8] @ tensors["h.0.attn.c_proj.weight"][:, :8].T)
    assert abs(other.real.max() - models.load(HERE / "gpt2").spectra[0].raw_heads[0].real_max) > 0.01


def test_patterns_name_the_rest(tmp_path):
    rng = np.random.default_rng(0)
    values, outputs = rng.standard_normal((2, 3, 12, 12)).astype(np.float32)
    tensors = {f"net.{k}.val": values[k] for k in range(3)} | {
        f"net.{k}.out.weight": outputs[k] for k in range(3)
    }
    folder = write(tmp_path, tensors)
    refused(
        lambda: models.load(folder), "6 tensors of no known family", "--value-pattern", kind=NotCoveredError
    )
    names = {"value_pattern": "net.{layer}.val", "projection_pattern": "net.{layer}.out.weight"}
    for conv1d in (False, True):
        model = models.load(folder, **names, conv1d=conv1d, heads=4)
        assert (model.layers, model.width, model.heads) == (3, 12, 4)
        for one, v, o in zip(model.spectra, values.astype(float), outputs.astype(float), strict=True):
            H = v @ o if conv1d else v.T @ o.T
            assert one.raw.real_max == pytest.approx(np.linalg.eigvals(H).real.max(), abs=1e-6)
            head = v[:, :3] @ o[:3] if conv1d else v.T[:, :3] @ o.T[:3]
            assert one.raw_heads[0].real_max == pytest.approx(np.linalg.eigvals(head).real.max(), abs=1e-6)
    refused(lambda: models.load(folder, **names, heads=5), "5 heads over 12 channels", "as 1")
    refused(lambda: models.load(folder, **(names | {"value_pattern": "net.0.val"})), "{layer}")
    refused(lambda: models.load(folder, **(names | {"value_pattern": "x.{layer}"})), "no tensor named like")
    refused(lambda: models.load(folder, value_pattern="net.{layer}.val"), "both patterns")
    refused(lambda: models.load(folder, **names).run(states=np.ones((4, 12))), "forward pass")
    wrong = names | {"projection_pattern": "net.{layer}.ou.weight"}
    refused(lambda: models.load(folder, **wrong), "no tensor 'net.0.ou.weight'")
    assert models.names(folder)["net.0.val"] == (12, 12)


def test_heads(tmp_path):
    folder = write(tmp_path, tensors_of("bert"))
    alone = models.load(folder)
    assert alone.heads is None
    assert "heads not known" in alone.describe()
    assert alone.spectra[0].raw_heads == ()
    whole = models.load(HERE / "bert")
    np.testing.assert_array_equal(alone.spectra[0].raw.eigenvalues, whole.spectra[0].raw.eigenvalues)
    refused(lambda: alone.run(**input_of("bert")), "no head count", "--heads")
    said = models.load(folder, heads=3)
    assert said.spectra[0].raw_heads[2].real_max == whole.spectra[0].raw_heads[2].real_max
    for wrong in (5, 0, -1, 2.5):
        refused(lambda wrong=wrong: models.load(folder, heads=wrong), "heads")
    refused(lambda: models.load(write(tmp_path / "l", tensors_of("llama"))), "no head count", "8 and 24")
    refused(lambda: models.load(write(tmp_path / "n", tensors_of("gpt_neox"))), "no head count")
    config = config_of("bert") | {"num_attention_heads": 7}
    refused(lambda: models.load(write(tmp_path / "c", tensors_of("bert"), config)), "7 heads over 24")
    config = config_of("bert") | {"num_attention_heads": "three"}
    refused(lambda: models.load(write(tmp_path / "d", tensors_of("bert"), config)), "'three'")


# --- safetensors --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floating_types(tmp_path, dtype):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    tensors = {k: v.astype(kind) for k, v in tensors_of("bert").items()}
    model = models.load(write(tmp_path, tensors, config_of("bert")))
    rounded = {k: v.astype(kind).astype(np.float32) for k, v in tensors_of("bert").items()}
    wanted = models.load(write(tmp_path / "f4", rounded, config_of("bert")))
    np.testing.assert_array_equal(model.run(**input_of("bert")).states, wanted.run(**input_of("bert")).states)


def test_bfloat16_in_a_process_that_knows_nothing_of_it(tmp_path):
    """NumPy has no bfloat16: reading imports what gives it one, and names it where it is missing."""
    tensors = {"a.0.v": np.eye(4), "a.0.o": 3 * np.eye(4)}
    folder = write(tmp_path, {k: v.astype(ml_dtypes.bfloat16) for k, v in tensors.items()})
    code = (
        "import linsim\n"
        f"model = linsim.models.load({str(folder)!r}, value_pattern='a.{{layer}}.v', "
        "projection_pattern='a.{layer}.o')\n"
        "print(model.spectra[0].raw.real_max)"
    )
    without = "import sys\nsys.modules['ml_dtypes'] = None\n"
    for before, said in (("", "3.0"), (without, "pip install 'linsim[models]'")):
        command = [sys.executable, "-c", before + code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert said in (done.stdout or done.stderr)


def test_shards(tmp_path):
    from safetensors.numpy import save_file

    tensors = tensors_of("bert")
    where = {}
    for k in range(3):
        part = dict(list(tensors.items())[k::3])
        save_file(part, tmp_path / f"model-{k}.safetensors")
        where |= dict.fromkeys(part, f"model-{k}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text(json.dumps(config_of("bert")))
    wanted = models.load(HERE / "bert").run(**input_of("bert")).states
    for path in (tmp_path, index):
        np.testing.assert_array_equal(models.load(path).run(**input_of("bert")).states, wanted)
    (tmp_path / "model-1.safetensors").unlink()
    refused(lambda: models.load(tmp_path), "1 of 3 shards missing (model-1.safetensors)")
    index.write_text("{}")
    refused(lambda: models.load(tmp_path), "index")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_safetensors(tmp_path, keep):
    whole = (HERE / "bert" / "model.safetensors").read_bytes()
    size = int(keep * len(whole)) if isinstance(keep, float) else keep
    (tmp_path / "model.safetensors").write_bytes(whole[:size])
    refused(lambda: models.load(tmp_path), "no readable safetensors", kind=FileFormatError)


def test_damaged_header(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    refused(lambda: models.load(tmp_path), "no readable safetensors")


def test_types_without_numbers(tmp_path):
    about = {"enc.0.v": {"dtype": "F8_E4M3", "shape": [24, 24], "data_offsets": [0, 576]}}
    header = json.dumps(about).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(576))
    model = models.load(tmp_path, value_pattern="enc.{layer}.v", projection_pattern="enc.{layer}.v")
    refused(lambda: model.spectra, "F8_E4M3", "bfloat16")


def test_missing_and_broken_tensors(tmp_path):
    tensors, config = tensors_of("bert"), config_of("bert")
    name = "encoder.layer.1.attention.output.dense.weight"
    less = {k: v for k, v in tensors.items() if k != name}
    refused(lambda: models.load(write(tmp_path / "a", less, config)).spectra, f"no tensor {name!r}")
    none = {k: v for k, v in tensors.items() if "layer.1." not in k}
    refused(lambda: models.load(write(tmp_path / "b", none, config)), "no tensor 'encoder.layer.1.")
    gap = {k: v for k, v in tensors.items() if "layer.0." not in k}
    refused(lambda: models.load(write(tmp_path / "c", gap, config)), "no tensor 'encoder.layer.0.")
    for bad in (np.nan, np.inf):
        broken = tensors | {name: np.full((24, 24), bad, np.float32)}
        refused(lambda b=broken: models.load(write(tmp_path / "d", b, config)).spectra, "NaN or infinity")
    wide = tensors | {name: np.ones((24, 16), np.float32)}
    refused(lambda: models.load(write(tmp_path / "e", wide, config)).spectra, "(24, 24)", "(16, 24)")
    flat = tensors | {name: np.ones(24, np.float32)}
    refused(lambda: models.load(write(tmp_path / "f", flat, config)).spectra, "a matrix")


@pytest.mark.parametrize("epsilon", [-1, -1e308, 1e308])
def test_an_epsilon_that_is_none(tmp_path, epsilon):
    folder = write(tmp_path, tensors_of("bert"), config_of("bert") | {"layer_norm_eps": epsilon})
    refused(lambda: models.load(folder).spectra, "epsilon")


def test_broken_config(tmp_path):
    folder = write(tmp_path, tensors_of("bert"))
    for text in ("{", "[1]", "\xff"):
        (folder / "config.json").write_text(text, encoding="latin-1")
        refused(lambda: models.load(folder), "config.json")


# --- GGUF -----------------------------------------------------------------------------------


def gguf_of(file, tensors, config, quantised=None, architecture="llama"):
    """Write a Llama as llama.cpp does: other names, queries and keys in rotary pairs, blocks of numbers."""
    writer = gguf.GGUFWriter(file, architecture)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    names = {
        "layers.": "blk.",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "embed_tokens": "token_embd",
    }
    for name, value in tensors.items():
        for h, part in ((heads, "q_proj.weight"), (kv_heads, "k_proj.weight")):
            if name.endswith(part):
                # channel i and i + half become neighbours
                rows = value.reshape(h, 2, -1, value.shape[1]).swapaxes(1, 2)
                value = np.ascontiguousarray(rows.reshape(value.shape))
        new = "output_norm.weight" if name == "norm.weight" else name
        for old, other in names.items():
            new = new.replace(old, other)
        if quantised is not None and value.ndim == 2:
            kind = quantised
            writer.add_tensor(new, gguf.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(new, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_gguf_is_the_same_model(tmp_path):
    """Its rotary pairs are neighbours, which gives the same scores."""
    file = gguf_of(tmp_path / "m.gguf", tensors_of("llama"), config_of("llama"))
    model = models.load(file)
    assert (model.family, model.heads, model.kv_heads, model.kind) == ("Llama", 3, 1, "GGUF")
    run = model.run(**input_of("llama"))
    wanted = models.load(HERE / "llama").run(**input_of("llama"))
    np.testing.assert_allclose(run.states, wanted.states, atol=1e-12)


def test_quantised_blocks(tmp_path):
    rng = np.random.default_rng(0)
    wide = {
        k: rng.standard_normal([32 if n == 24 else n for n in v.shape]).astype(np.float32)
        for k, v in tensors_of("llama").items()
        if "mlp" not in k
    }
    wide = {k: v[: 32 // 4] if k.split(".")[-2] in ("k_proj", "v_proj") else v for k, v in wide.items()}
    config = config_of("llama") | {"hidden_size": 32, "num_attention_heads": 4}
    kind = gguf.GGMLQuantizationType.Q8_0
    model = models.load(gguf_of(tmp_path / "q.gguf", wide, config, kind))
    value = wide["layers.0.self_attn.v_proj.weight"]
    stored = gguf.dequantize(gguf.quantize(value, kind), kind)
    assert 0 < np.abs(stored - value).max() < 0.02
    output = wide["layers.0.self_attn.o_proj.weight"]
    output = gguf.dequantize(gguf.quantize(output, kind), kind)
    H = sum(stored.T.astype(float) @ output.T[8 * h : 8 * h + 8] for h in range(4))
    raw = model.spectra[0].raw
    assert raw.exact_zeros == 24
    assert raw.real_max == pytest.approx(np.linalg.eigvals(H).real.max(), abs=1e-5)


def test_other_architectures_have_spectra_only(tmp_path):
    file = gguf_of(tmp_path / "m.gguf", tensors_of("llama"), config_of("llama"), architecture="phi9")
    model = models.load(file)
    assert model.spectra[0].raw.exact_zeros == 16
    refused(lambda: model.run(**input_of("llama")), "model_type 'phi9'", kind=NotCoveredError)


@pytest.mark.parametrize("keep", [3, 30, 0.02, 0.5])
def test_truncated_gguf(tmp_path, keep):
    file = gguf_of(tmp_path / "m.gguf", tensors_of("llama"), config_of("llama"))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    refused(lambda: models.load(file), "no readable GGUF")


def test_an_unknown_quantisation(tmp_path, monkeypatch):
    file = gguf_of(tmp_path / "m.gguf", tensors_of("llama"), config_of("llama"))

    def no(*_):
        raise NotImplementedError("Q9_X")

    monkeypatch.setattr(gguf, "dequantize", no)
    refused(lambda: models.load(file).spectra, "quantised as F32", "gguf library")


# --- ONNX -----------------------------------------------------------------------------------


def onnx_of(file, tensors, *, biased=True, gemm=False):
    """Write the constants of a model as an exporter leaves them: matrices transposed and without names."""
    helper, nodes, constants = onnx.helper, [], []

    def constant(name, value):
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    for number, (name, value) in enumerate(tensors.items()):
        if value.ndim != 2 or "embeddings" in name:
            constant(name, value)
            continue
        stem = name.removesuffix(".weight")
        lost = constant(f"onnx::MatMul_{number}", value.T)
        bias = f"{stem}.bias"
        if gemm:
            nodes.append(helper.make_node("Gemm", ["x", lost, bias], [f"y{number}"]))
        elif biased and bias in tensors:
            nodes.append(helper.make_node("MatMul", ["x", lost], [f"p{number}"]))
            nodes.append(helper.make_node("Add", [bias, f"p{number}"], [f"y{number}"]))
        else:
            path = "/" + stem.replace(".", "/").replace("layer/", "layer.") + "/MatMul"
            nodes.append(helper.make_node("MatMul", ["x", lost], [f"y{number}"], name=path))
    graph = helper.make_graph(nodes, "g", [], [], initializer=constants)
    onnx.save(helper.make_model(graph), file)
    return file


@pytest.mark.parametrize("how", [{}, {"gemm": True}, {"biased": False}])
def test_onnx_names_are_found_again(tmp_path, how):
    tensors = {k: v for k, v in tensors_of("bert").items() if "pooler" not in k}
    file = onnx_of(tmp_path / "model.onnx", tensors, **how)
    (tmp_path / "config.json").write_text(json.dumps(config_of("bert")))
    model = models.load(file)
    assert (model.family, model.kind) == ("BERT", "ONNX")
    wanted = models.load(HERE / "bert").run(**input_of("bert"))
    np.testing.assert_array_equal(model.run(**input_of("bert")).states, wanted.states)


def test_a_graph_knows_orientation_by_itself(tmp_path):
    """An exported GPT-2 multiplies by (in, out) like every product of a graph."""
    tensors = tensors_of("gpt2")
    helper = onnx.helper
    nodes, constants = [], []
    for number, (name, value) in enumerate(tensors.items()):
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        if name.endswith(".weight") and value.ndim == 2 and not name.startswith("w"):
            bias = name.replace("weight", "bias")
            nodes.append(helper.make_node("Gemm", ["x", name, bias], [f"y{number}"]))
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [], [], constants)), tmp_path / "model.onnx")
    model = models.load(tmp_path / "model.onnx", heads=3)
    wanted = models.load(HERE / "gpt2")
    np.testing.assert_array_equal(model.spectra[0].raw.eigenvalues, wanted.spectra[0].raw.eigenvalues)


def test_names_that_are_no_text(tmp_path):
    file = onnx_of(tmp_path / "model.onnx", tensors_of("bert"))
    file.write_bytes(file.read_bytes().replace(b"embeddings.LayerNorm.bias", b"embeddings.\xffayerNorm.bias"))
    refused(lambda: models.load(file), "no readable ONNX")


def test_truncated_onnx(tmp_path):
    file = onnx_of(tmp_path / "model.onnx", tensors_of("bert"))
    whole = file.read_bytes()
    for size in (0, 10, len(whole) // 2):
        file.write_bytes(whole[:size])
        refused(lambda: models.load(file), "no readable ONNX")


# --- pickles, and what is no checkpoint ---------------------------------------------------------


def test_a_pickle_without_torch_is_not_opened(tmp_path, monkeypatch):
    import pickle

    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"w": Trap()}))
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refused(lambda: models.load(tmp_path), "pickle", "safetensors", kind=MissingExtraError)
    command = message.partition('python -c "')[2].partition('"')[0]
    compile(command, "remedy", "exec")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.bin", struct.pack("<IH", 6, 12) + b"WhisperSpec\x00" + bytes(30), "CTranslate2"),
        ("weights.h5", b"\x89HDF", "Keras"),
        ("model.safetensors", b"", "safetensors"),
        ("notes.txt", b"hello", "unknown"),
    ],
)
def test_other_files(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    refused(lambda: models.load(tmp_path / name), said, ".safetensors", kind=FileFormatError)


def test_places(tmp_path):
    refused(lambda: models.load(tmp_path), "without weights")
    refused(lambda: models.load(tmp_path / "no"), "nothing there")
    refused(lambda: models.load("no_such_package:model"), "no such package")
    write(tmp_path / "a", tensors_of("bert"), config_of("bert"))
    assert models.load(tmp_path).layers == 2  # the only checkpoint below
    write(tmp_path / "b", tensors_of("bert"), config_of("bert"))
    refused(lambda: models.load(tmp_path), "2 checkpoints", str(tmp_path / "a"))


def test_a_checkpoint_in_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "a_package_of_weights"
    write(package / "data", tensors_of("bert"), config_of("bert"))
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for path in ("a_package_of_weights", "a_package_of_weights:data"):
        assert models.load(path).layers == 2
    write(package / "other", tensors_of("bert"))
    refused(lambda: models.load("a_package_of_weights"), "2 checkpoints", "a_package_of_weights:data")
    refused(lambda: models.load("a_package_of_weights:no"), "a_package_of_weights:other")


@pytest.mark.parametrize(
    ("package", "load"),
    [
        ("safetensors", lambda tmp: models.load(HERE / "bert")),
        ("gguf", lambda tmp: models.load(gguf_of(tmp / "m.gguf", tensors_of("llama"), config_of("llama")))),
        ("onnx", lambda tmp: models.load(onnx_of(tmp / "m.onnx", tensors_of("bert")))),
        ("tokenizers", lambda tmp: _with_tokenizer(tmp).run(text="a b")),
    ],
)
def test_a_missing_library_is_named(tmp_path, monkeypatch, package, load):
    import importlib

    if package != "tokenizers":
        load(tmp_path)
    importlib.import_module("linsim.models._files")
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    made = tmp_path / {"gguf": "m.gguf", "onnx": "m.onnx"}.get(package, "none")
    call = (lambda: models.load(made)) if made.exists() else (lambda: load(tmp_path))
    refused(call, package, "pip install 'linsim[models]'", kind=MissingExtraError)


def _with_tokenizer(folder):
    write(folder, tensors_of("bert"), config_of("bert"))
    (folder / "tokenizer.json").write_text("{}")
    return models.load(folder)


# --- inputs -----------------------------------------------------------------------------------


def test_inputs_that_do_not_fit():
    bert, vit = models.load(HERE / "bert"), models.load(HERE / "vit")
    refused(lambda: bert.run(), "none", "text or ids")
    refused(lambda: bert.run(ids=[1], text="a"), "text and ids")
    refused(lambda: bert.run(image=np.ones((3, 16, 16))), "an image", "token ids")
    refused(lambda: vit.run(ids=[1, 2]), "token ids", "image")
    refused(lambda: vit.run(text="a"), "a text", "image")
    refused(lambda: bert.run(text="a"), "no tokeniser", "--ids")
    refused(lambda: bert.run(ids=[30]), "found 30", "0 to 29")
    refused(lambda: bert.run(ids=[-1]), "found -1", "0 to 29")
    refused(lambda: bert.run(ids=[1] * 21), "21 tokens", "1 to 20")
    for wrong in ([], [[1]], [1.5], "abc", [[1], [1, 2]]):
        refused(lambda wrong=wrong: bert.run(ids=wrong), "ids", "whole numbers")
    refused(lambda: vit.run(image=np.ones((1, 16, 16))), "(3, height, width)")
    refused(lambda: vit.run(image=np.ones((3, 2, 16))), "at least 4 x 4")
    refused(lambda: vit.run(image=np.full((3, 16, 16), np.nan)), "NaN")
    refused(lambda: bert.run(states=np.ones((4, 23))), "(4, 23)", "(n, 24)")
    refused(lambda: bert.run(states=np.ones((5, 4, 24))), "(5, 4, 24)", "(3, n, 24)")
    refused(lambda: bert.run(ids=[1, 2], keep=[True]), "keep")
    refused(lambda: bert.run(ids=[1, 2], keep=[False, False]), "keep")
    whisper = models.load(HERE / "whisper")
    refused(lambda: whisper.run(features=np.ones((4, 18))), "(4, 18)", "(5, frames)")
    refused(lambda: models.load(HERE / "whisper", part="decoder").run(ids=[1]), "--states")
    for layer in (-1, 2, 1.0):
        refused(lambda layer=layer: bert.linear(layer, np.ones((3, 24))), "layer")
    refused(lambda: bert.linear(0, np.ones((3, 23))), "(3, 23)")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("llama", {"rope_scaling": {"rope_type": "llama3"}, "rope_parameters": None}, "'llama3'"),
        ("llama", {"model_type": "cohere"}, "model_type 'cohere'"),
        ("bert", {"hidden_act": "mish"}, "'mish'"),
        ("bert", {"position_embedding_type": "relative_key"}, "'relative_key'"),
        ("albert", {"inner_group_num": 2}, "ALBERT's groups"),
    ],
)
def test_forward_passes_that_are_not_written_out(tmp_path, name, change, said):
    model = models.load(write(tmp_path, tensors_of(name), config_of(name) | change))
    assert len(model.spectra) == model.layers
    refused(lambda: model.run(**input_of(name)), said, kind=NotCoveredError)


def test_one_token_has_nobody_to_become_like():
    for name in ("bert", "gpt2"):
        model = models.load(HERE / name)
        refused(lambda model=model: model.run(ids=[5]), "1 token", "at least 2")
        refused(lambda model=model: model.run(ids=[5, 6], keep=[True, False]), "1 token")
        run = model.run(ids=[5, 6])
        assert all(np.isfinite(one.measured) and np.isfinite(one.law) for one in run.layers)
        assert all(np.isfinite(one.without_sink["measured"]) for one in run.layers)


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "C", "Cl", "N", "(", ")", "=", "O", "[O-]"]


def test_texts_in_a_list_of_symbols(tmp_path):
    folder = write(tmp_path, tensors_of("bert"), config_of("bert"))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    model = models.load(folder)
    run = model.run(text="ClC(=O)N C[O-]X")
    words = ["[CLS]", "Cl", "C", "(", "=", "O", ")", "N", "C", "[O-]", "[UNK]", "[SEP]"]
    assert run.tokens == words
    again = model.run(ids=[VOCABULARY.index(word) for word in words])
    np.testing.assert_array_equal(run.states, again.states)
    refused(lambda: model.run(text="what is this"), "vocabulary lacks")
    refused(lambda: model.run(text=" "), "some words")
    refused(lambda: model.run(text=5), "a text")


def test_texts_in_word_pieces(tmp_path):
    pytest.importorskip("tokenizers")
    folder = write(tmp_path, tensors_of("bert"), config_of("bert"))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "deep", "##er", "net", "."]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    assert models.load(folder).run(text="Deeper net.").tokens == [
        "[CLS]",
        "deep",
        "##er",
        "net",
        ".",
        "[SEP]",
    ]
    (folder / "tokenizer.json").write_text("{")
    refused(lambda: models.load(folder).run(text="a"), "tokenizer.json")


def test_pictures(tmp_path):
    from PIL import Image

    folder = write(tmp_path / "m", tensors_of("vit"), config_of("vit"))
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(shown).save(tmp_path / "a.png")
    said = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    model = models.load(folder)
    pixels = (shown / 255 - 0.5).transpose(2, 0, 1) / 0.5
    np.save(tmp_path / "a.npy", pixels)
    wanted = model.run(image=pixels).states
    for file in ("a.png", "a.npy"):
        np.testing.assert_allclose(model.run(image=tmp_path / file).states, wanted, atol=1e-12)
    (tmp_path / "b.png").write_bytes(b"no picture")
    refused(lambda: model.run(image=tmp_path / "b.png"), "image", "b.png")
    refused(lambda: model.run(image=tmp_path / "c.png"), "no such file")


def test_cupy_is_asked_for_by_name():
    if linsim._namespace.cupy_status() is None:
        pytest.skip("a GPU answers: the refusal cannot be seen")
    refused(lambda: models.load(HERE / "bert").run(**input_of("bert"), backend="cupy"), "cupy")


# --- PyTorch's files, where torch is installed ------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", [None, "state_dict"])
def test_torch_files(tmp_path, zipped, key):
    """Both formats, also inside a training checkpoint; bfloat16 as well."""
    torch = pytest.importorskip("torch")
    state = {k: torch.tensor(v) for k, v in tensors_of("bert").items()}
    file = tmp_path / "pytorch_model.bin"
    torch.save(state if key is None else {key: state}, file, _use_new_zipfile_serialization=zipped)
    (tmp_path / "config.json").write_text(json.dumps(config_of("bert")))
    run = models.load(tmp_path).run(**input_of("bert"))
    np.testing.assert_array_equal(run.states, models.load(HERE / "bert").run(**input_of("bert")).states)
    half = {k: v.to(torch.bfloat16) for k, v in state.items()}
    torch.save(half, file, _use_new_zipfile_serialization=zipped)
    rounded = {k: v.to(torch.float32).numpy() for k, v in half.items()}
    wanted = models.load(write(tmp_path / "r", rounded, config_of("bert"))).run(**input_of("bert"))
    np.testing.assert_array_equal(models.load(file).run(**input_of("bert")).states, wanted.states)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(lambda: models.load(file), "no readable PyTorch")
    torch.save({"a": 1}, file)
    refused(lambda: models.load(file), "without tensors")
    torch.save(_Loud(), file, _use_new_zipfile_serialization=zipped)
    refused(lambda: models.load(file), "a pickle of more than tensors")


class _Loud:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))
