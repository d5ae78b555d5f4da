"""What a process does that compiles kernels for later ones: it uses them, and Numba keeps them.

See :mod:`linsim._kernels.first_use`, which starts it.
"""

from __future__ import annotations

import os
import time

import numpy as np

from . import attention, weights
from ._kernels import singular_values
from ._simulate import simulate
from .block import Block
from .metrics._compiled import Compiled
from .metrics._evaluate import as_given, of_view
from .metrics._registry import DEFAULT
from .metrics._view import View
from .rules import Linear
from .theory._from_values import from_values

__all__ = ["main", "use"]

# a process that has not finished after so many seconds was ended
_ABANDONED = 600


def main(group: str, dtype: str) -> None:
    """Compile a group of kernels, unless another process is at it."""
    from ._kernels.kept import folder

    kept = folder()
    if kept is None:
        return  # what cannot be kept need not be compiled
    mark = kept / f"linsim-compiling-{group}-{dtype}"
    if mark.exists() and time.time() - mark.stat().st_mtime < _ABANDONED:
        return
    mark.touch()
    if hasattr(os, "nice"):
        os.nice(10)
    try:
        use(group, dtype)
    finally:
        mark.unlink(missing_ok=True)


def use(group: str, dtype: str) -> None:
    """Run the smallest system that needs a group of kernels."""
    if group == "draws":
        attention.from_spectrum([1, 0.1, -0.2], rng=0)
        weights.from_spectrum([0.1, 0.2], rng=0)
        weights.from_spectrum([0.1, 0.2], basis="random", rng=0)
        return
    if group == "elementary":
        from . import _kernels

        _kernels.exponentials(_kernels.gelu(np.ones((1, 2), dtype=dtype)))
        return
    if group == "linear":
        from ._engines.forward_pieces import Threads
        from ._engines.forward_products import Factor, Product, worked_out

        x, threads = np.ones((1, 1, 2, 2), dtype=dtype), Threads(1)
        W = Factor(np.ones((1, 2, 2)), x.dtype, threads)
        worked_out([Product((x, x), (W, W), None)], threads)
        return
    if group == "tridiagonal":  # of linsim.torch
        from ._kernels import frozen
        from ._kernels.tridiagonal import eigenvalues

        eigenvalues(frozen(np.ones((1, 2))), frozen(np.zeros((1, 2))), np.empty((2, 1, 2)))
        return
    if group in ("clouds", "tangents"):  # states are kept by clouds alone
        block = Block(np.eye(4, dtype=dtype), feed_forward="gelu")
        # tokens that are far apart, and others that are close
        x0 = np.stack([np.eye(4, 3), 1 + 1e-4 * np.eye(4, 3)]).astype(dtype)
        simulate(block, x0, 1, dtype=dtype, method="iterate", rng=0, keep_states=group == "clouds")
        return
    if group == "blocks":
        simulate(Block(np.full((2, 2), 0.5)), np.eye(2), 1, metrics="plain", method="forward")
        return
    if group == "singular":
        singular_values(np.eye(4, 3, dtype=dtype)[None])
        return
    if group == "views":
        of_view(View(as_given(np.eye(4, 3)[None])[0]), DEFAULT)
        return
    if group == "sums":
        Compiled(as_given(np.eye(4, 3)[None])[0]).for_singular_values()
    # (singular values of large matrices are left to LAPACK, and what follows is a kernel of its own)
    x0 = np.eye(300 if group in ("bands", "sums") else 4, 3, dtype=dtype)
    n = len(x0)
    A, H = np.full((n, n), 1 / n, dtype=dtype), np.diag([0.3, 0.2, 0.1]).astype(dtype)
    if group in ("laws", "symmetric"):
        from_values(Linear(A, H))
        return
    others = {"jump": "modal", "powers": "squaring"}
    others |= {"sums": "iterate", "stationary": "iterate"}
    if group == "parts":  # with a bias no probe tells how rounding grows
        simulate(Linear(A, H, bias=np.ones(3, dtype=dtype)), x0, 3, method="parts")
    method = others.get(group, group)
    metrics = None if method in ("parts", "iterate") else "plain"
    simulate(Linear(A, H), x0, 3, method=method, metrics=metrics)
    if group == "parts":  # states are handed out where they are kept
        simulate(Linear(A, H), x0, 3, method=method, keep_states=True)
