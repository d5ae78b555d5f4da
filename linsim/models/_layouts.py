"""How families of models name and store their tensors: one entry a layout, nothing computed.

Names are relative to a block (``encoder.layer.0.``) or, for those of the whole model, to a prefix that
comes and goes (``bert.``, ``model.``, nothing).  A layout is recognised by ``marker``, the name of a
tensor that every block has, beside every name in ``beside`` and none in ``unlike``.
Sources: the modules of Hugging Face transformers, timm, and llama.cpp, by their parameters' names.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAYOUTS", "Layout"]


@dataclass(frozen=True)
class Layout:
    """One way to store a stack of blocks."""

    name: str
    block: str
    marker: str
    output: str
    query: str = ""
    key: str = ""
    value: str = ""
    #: one matrix instead of three: all queries, then all keys, then all values ("stacked"), or the
    #: three of one head after the other ("by head")
    fused: str = ""
    fusing: str = "stacked"
    norm: str = ""
    norm_kind: str = "layer"
    order: str = "pre"
    up: str = ""
    down: str = ""
    gate: str = ""
    gate_up: str = ""
    feed_forward_norm: str = ""
    layer_scale: tuple[str, str] = ("", "")
    #: weights stored as (in, out), which a square one does not tell
    conv1d: bool = False
    causal: bool = False
    parallel: bool = False
    #: all blocks are these, over and over
    shared: bool = False
    rotary: str = ""
    activation: str = "gelu"
    epsilon: float = 1e-5
    embedding: str = ""
    final_norm: str = ""
    #: model types whose forward pass this is exactly; () means all that look like it
    exact: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()


_BERT = Layout(
    "BERT",
    block="encoder.layer.{layer}.",
    marker="attention.self.value.weight",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    output="attention.output.dense",
    norm="attention.output.LayerNorm",
    order="post",
    up="intermediate.dense",
    down="output.dense",
    feed_forward_norm="output.LayerNorm",
    epsilon=1e-12,
    embedding="bert",
    exact=("", "bert", "roberta", "xlm-roberta", "camembert", "electra"),
)

_ALBERT = Layout(
    "ALBERT",
    block="encoder.albert_layer_groups.{layer}.albert_layers.0.",
    marker="attention.value.weight",
    query="attention.query",
    key="attention.key",
    value="attention.value",
    output="attention.dense",
    norm="attention.LayerNorm",
    order="post",
    up="ffn",
    down="ffn_output",
    feed_forward_norm="full_layer_layer_norm",
    shared=True,
    activation="gelu_new",
    epsilon=1e-12,
    embedding="albert",
)

_VIT = Layout(
    "ViT",
    block="encoder.layer.{layer}.",
    marker="attention.attention.value.weight",
    query="attention.attention.query",
    key="attention.attention.key",
    value="attention.attention.value",
    output="attention.output.dense",
    norm="layernorm_before",
    up="intermediate.dense",
    down="output.dense",
    feed_forward_norm="layernorm_after",
    epsilon=1e-12,
    embedding="vit",
    final_norm="layernorm",
    beside=("layernorm_before.weight",),
)

_DINOV2 = Layout(
    "Dinov2",
    block="encoder.layer.{layer}.",
    marker="attention.attention.value.weight",
    query="attention.attention.query",
    key="attention.attention.key",
    value="attention.attention.value",
    output="attention.output.dense",
    norm="norm1",
    up="mlp.fc1",
    down="mlp.fc2",
    feed_forward_norm="norm2",
    layer_scale=("layer_scale1.lambda1", "layer_scale2.lambda1"),
    epsilon=1e-6,
    embedding="vit",
    final_norm="layernorm",
    beside=("norm1.weight", "layer_scale1.lambda1"),
)

_TIMM = Layout(
    "ViT (timm)",
    block="blocks.{layer}.",
    marker="attn.qkv.weight",
    fused="attn.qkv",
    output="attn.proj",
    norm="norm1",
    up="mlp.fc1",
    down="mlp.fc2",
    feed_forward_norm="norm2",
    layer_scale=("ls1.gamma", "ls2.gamma"),
    epsilon=1e-6,
    embedding="timm",
    final_norm="norm",
    beside=("norm1.weight",),
    unlike=("attn.relative_position_bias_table", "attn.q_norm.weight"),
)

_CLIP = Layout(
    "CLIP",
    block="encoder.layers.{layer}.",
    marker="self_attn.v_proj.weight",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.out_proj",
    norm="layer_norm1",
    up="mlp.fc1",
    down="mlp.fc2",
    feed_forward_norm="layer_norm2",
    activation="quick_gelu",
    embedding="clip",
    final_norm="",
    beside=("layer_norm1.weight",),
    exact=("", "clip", "clip_text_model", "clip_vision_model"),
)

_WHISPER = Layout(
    "Whisper",
    block="layers.{layer}.",
    marker="self_attn.v_proj.weight",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.out_proj",
    norm="self_attn_layer_norm",
    up="fc1",
    down="fc2",
    feed_forward_norm="final_layer_norm",
    embedding="whisper",
    final_norm="layer_norm",
    beside=("self_attn_layer_norm.weight",),
)

_GPT2 = Layout(
    "GPT-2",
    block="h.{layer}.",
    marker="attn.c_attn.weight",
    fused="attn.c_attn",
    output="attn.c_proj",
    norm="ln_1",
    up="mlp.c_fc",
    down="mlp.c_proj",
    feed_forward_norm="ln_2",
    conv1d=True,
    causal=True,
    activation="gelu_new",
    embedding="gpt2",
    final_norm="ln_f",
)

_NEOX = Layout(
    "GPT-NeoX",
    block="layers.{layer}.",
    marker="attention.query_key_value.weight",
    fused="attention.query_key_value",
    fusing="by head",
    output="attention.dense",
    norm="input_layernorm",
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
    feed_forward_norm="post_attention_layernorm",
    causal=True,
    parallel=True,
    rotary="half",
    embedding="neox",
    final_norm="final_layer_norm",
)

_BLOOM = Layout(
    "BLOOM",
    block="h.{layer}.",
    marker="self_attention.query_key_value.weight",
    fused="self_attention.query_key_value",
    fusing="by head",
    output="self_attention.dense",
    norm="input_layernorm",
    causal=True,
    embedding="",
    beside=("post_attention_layernorm.weight",),
)

_LLAMA = Layout(
    "Llama",
    block="layers.{layer}.",
    marker="self_attn.v_proj.weight",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    norm="input_layernorm",
    norm_kind="rms",
    up="mlp.up_proj",
    gate="mlp.gate_proj",
    down="mlp.down_proj",
    feed_forward_norm="post_attention_layernorm",
    causal=True,
    rotary="half",
    activation="silu",
    epsilon=1e-6,
    embedding="llama",
    final_norm="norm",
    exact=("", "llama", "mistral", "qwen2", "gemma"),
    beside=("input_layernorm.weight", "self_attn.o_proj.weight"),
    unlike=("pre_feedforward_layernorm.weight",),
)

_PHI3 = Layout(
    "Phi-3",
    block="layers.{layer}.",
    marker="self_attn.qkv_proj.weight",
    fused="self_attn.qkv_proj",
    output="self_attn.o_proj",
    norm="input_layernorm",
    norm_kind="rms",
    gate_up="mlp.gate_up_proj",
    down="mlp.down_proj",
    feed_forward_norm="post_attention_layernorm",
    causal=True,
    rotary="half",
    activation="silu",
    embedding="llama",
    final_norm="norm",
)

_GGUF = Layout(
    "Llama",
    block="blk.{layer}.",
    marker="attn_v.weight",
    query="attn_q",
    key="attn_k",
    value="attn_v",
    output="attn_output",
    norm="attn_norm",
    norm_kind="rms",
    up="ffn_up",
    gate="ffn_gate",
    down="ffn_down",
    feed_forward_norm="ffn_norm",
    causal=True,
    rotary="interleaved",
    activation="silu",
    embedding="gguf",
    final_norm="output_norm",
    # others pair channels otherwise, or norm queries and keys as well
    exact=("llama",),
    beside=("attn_norm.weight",),
    unlike=("post_attention_norm.weight",),
)

#: the first that fits is taken
LAYOUTS = (
    _BERT,
    _ALBERT,
    _VIT,
    _DINOV2,
    _TIMM,
    _CLIP,
    _WHISPER,
    _GPT2,
    _NEOX,
    _BLOOM,
    _LLAMA,
    _PHI3,
    _GGUF,
)
