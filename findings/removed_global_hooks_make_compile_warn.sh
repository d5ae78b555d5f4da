#!/usr/bin/env bash
# torch 2.13.0: a global forward hook that was registered with keyword arguments, and removed again.
#
# Guess before running this script: the two dictionaries of hooks are empty after handle.remove(), and
# torch.compile says nothing.
#
# Seen: of a hook registered with with_kwargs=True one entry stays behind in _global_forward_hooks_with_kwargs,
# though the hook itself is gone.  From then on every torch.compile(module) of the process warns of global hooks
# that are not there.  A hook without keyword arguments leaves nothing.
#
# Exits non-zero if what is seen below changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6 >/dev/null
cat >"$folder/look.py" <<'PYTHON'
import warnings

import torch
from torch.nn.modules import module as hooks


def warned(with_kwargs):
    """Register a hook that does nothing, remove it, compile a layer: what is left, and what is said."""
    handle = hooks.register_module_forward_hook(lambda *seen: None, with_kwargs=with_kwargs)
    handle.remove()
    left = len(hooks._global_forward_hooks), len(hooks._global_forward_hooks_with_kwargs)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch._dynamo.reset()
        torch.compile(torch.nn.Linear(2, 2), backend="eager")(torch.ones(1, 2))
    return left, [str(w.message).split("\n")[0] for w in said if "hook" in str(w.message)]


for with_kwargs in (False, True):
    left, said = warned(with_kwargs)
    print(f"with_kwargs={with_kwargs}: hooks left {left}; torch.compile: {said or 'nothing'}")
    assert left == (0, int(with_kwargs))
    assert bool(said) == with_kwargs
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
