"""Examples in ``linsim.torch`` run where PyTorch is installed; a missing one makes that import an error."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["linsim/torch*"]
