#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0, CPU, eager attention: a model in float64 is not float64 throughout.
#
# Guess before looking: `AutoModel.from_config(config).double()` computes in double precision, so every row of
# the attention that it returns sums to 1 within a few 1e-16, in every family alike.
#
# Seen: true of BERT, ALBERT, GPT-2 and Whisper's encoder. In ViT, CLIP's vision tower, Llama and GPT-NeoX the
# softmax is taken in float32 and cast back: rows are off by up to 1e-7 of 1, and Llama's RMS norm rounds its
# mean square to float32 as well. Whoever checks an own forward pass, or a theory, against "the model in double
# precision" finds errors of 1e-7 and looks for them in the own code.
#
# Exits non-zero if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.24.0 numpy >/dev/null
cat >"$folder/look.py" <<'PYTHON'
import torch
from transformers import (
    AlbertConfig, AlbertModel, BertConfig, BertModel, CLIPVisionConfig, CLIPVisionModel, GPT2Config, GPT2Model,
    GPTNeoXConfig, GPTNeoXModel, LlamaConfig, LlamaModel, ViTConfig, ViTModel, WhisperConfig, WhisperModel,
)
from transformers.models.llama.modeling_llama import LlamaRMSNorm

torch.manual_seed(0)
small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
image = dict(image_size=32, patch_size=8)
whisper = dict(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
               encoder_ffn_dim=64, decoder_ffn_dim=64, num_mel_bins=16, max_source_positions=20, vocab_size=99,
               pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
ids = torch.arange(1, 13)[None]
pixels = torch.randn(1, 3, 32, 32, dtype=torch.float64)
models = {
    "BERT": (BertModel(BertConfig(vocab_size=99, **small)), {"input_ids": ids}),
    "ALBERT": (AlbertModel(AlbertConfig(vocab_size=99, embedding_size=16, **small)), {"input_ids": ids}),
    "GPT-2": (GPT2Model(GPT2Config(vocab_size=99, bos_token_id=1, eos_token_id=2, n_embd=32, n_layer=2, n_head=4)), {"input_ids": ids}),
    "Whisper": (WhisperModel(WhisperConfig(**whisper)).encoder,
                {"input_features": torch.randn(1, 16, 40, dtype=torch.float64)}),
    "ViT": (ViTModel(ViTConfig(**small, **image)), {"pixel_values": pixels}),
    "CLIP": (CLIPVisionModel(CLIPVisionConfig(**small, **image)), {"pixel_values": pixels}),
    "Llama": (LlamaModel(LlamaConfig(vocab_size=99, num_key_value_heads=2, **small)), {"input_ids": ids}),
    "GPT-NeoX": (GPTNeoXModel(GPTNeoXConfig(vocab_size=99, **small)), {"input_ids": ids}),
}
single = set()
for name, (model, given) in models.items():
    model = model.double().eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        rows = model(**given, output_attentions=True).attentions
    assert rows and all(A.dtype == torch.float64 for A in rows), name
    off = max(float((A.sum(-1) - 1).abs().max()) for A in rows)
    print(f"{name:9} attention is {rows[0].dtype}, rows sum to 1 within {off:.0e}")
    if off > 1e-9:
        single.add(name)
assert single == {"ViT", "CLIP", "Llama", "GPT-NeoX"}, single
norm = LlamaRMSNorm(32).double()
x = torch.randn(4, 32, dtype=torch.float64)
true = x / torch.sqrt((x * x).mean(-1, keepdim=True) + norm.variance_epsilon)
off = float((norm(x) - true).detach().abs().max())
print(f"Llama's RMS norm of float64 tokens is off by {off:.0e}")
assert 1e-9 < off < 1e-5
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
