"""Kernels that nobody compiled on this machine yet: another process does, and meanwhile arrays do.

Numba takes half a minute for the kernels of an engine, once for a machine.  A small run is done sooner by
whole arrays, so its kernels are compiled in a process of their own at low priority, which leaves them in
Numba's cache for every later run.  ``LINSIM_COMPILE=wait`` (:func:`wait`, within a process) compiles before
the first result instead: what sweeps and figures need, whose every value shall come about in one way.
:mod:`linsim._compile` is what that process runs.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from typing import Any

__all__ = ["GROUPS", "compile_all", "compiled", "kept", "kernels_of", "ready", "wait"]

#: what is compiled together: the functions of this package that are called from Python
GROUPS = {
    "lanes": ("walk.walk",),
    "bands": ("layer.apply_layer",),
    "parts": ("shadows.walk", "begin.begin", "probed.probed", "probed.measured"),
    "jump": ("jump.jump",),
    "powers": ("powers.powered",),
    "sums": ("states.measure", "states.matrices", "values.ranks", "begin.given"),
    "views": ("sums.content", "sums.leading", "angles.angles"),
    "singular": ("walk.tile_values",),
    "symmetric": ("symmetric.symmetric_values",),
    "stationary": ("leading.stationary",),
    "draws": ("isospectral.isospectral", "isospectral.settled", "bases.turned", "similar.similar"),
    "laws": ("hessenberg.general_values", "leading.leading", "leading.spread", "leading.suited"),
    "blocks": ("blocks.walk",),
    "clouds": (
        "clouds.shaken",
        "clouds.normalised",
        "clouds.added",
        "clouds.from_mean",
        "clouds.gelu_differences",
        "clouds.layer_norm",
    ),
    "tangents": (
        "tangents.rounded",
        "tangents.summed",
        "tangents.normed",
        "tangents.widest",
        "tangents.near",
        "tangents.gelu_far",
        "tangents.settled",
        "tangents.seen",
    ),
    "elementary": ("elementary.gelu", "elementary.exponentials"),
    "linear": ("linear.to_panels", "linear.linear"),
    "tridiagonal": ("tridiagonal.eigenvalues",),
}

# of groups for both precisions, what is for double precision alone
_DOUBLE = ("begin.begin", "probed.probed", "probed.measured")

# seconds until another look for what was not there
_PATIENCE = 0.5

_looked: dict[tuple[str, str], float] = {}
_found: set[tuple[str, Any]] = set()
_compiling: subprocess.Popen[bytes] | None = None


def wait() -> None:
    """From now on compile kernels before their first use, in this process and in those it starts."""
    os.environ["LINSIM_COMPILE"] = "wait"


def ready(group: str, dtype: Any) -> bool:
    """Whether kernels can be used at once; if they cannot be, have them compiled.

    ``group``: of :data:`GROUPS`; ``dtype``: of the states, "float64" or "float32".
    """
    if (group, dtype) in _found:  # asked hundreds of times a layer
        return True
    key = (group, str(dtype))
    if os.environ.get("LINSIM_COMPILE", "") == "wait":
        return True
    if time.monotonic() - _looked.get(key, -_PATIENCE) < _PATIENCE:
        return False  # files are slow to look at, and layers ask all the time
    if compiled(*key):
        _found.add((group, dtype))
        return True
    if _started(*key):
        _looked[key] = time.monotonic()
        return False
    return True


def compiled(group: str, dtype: str) -> bool:
    """Whether all kernels of a group are."""
    return all(kept(kernel, dtype) for kernel in kernels_of(group, dtype))


def kernels_of(group: str, dtype: str) -> list[Any]:
    """The kernels of a group that states of a dtype need."""
    wanted = [name for name in GROUPS[group] if dtype == "float64" or name not in _DOUBLE]
    modules = [name.split(".") for name in wanted]
    return [getattr(importlib.import_module(f".{module}", __package__), name) for module, name in modules]


def compile_all(processes: int) -> None:
    """Compile what is not, by some processes at a time: for those who will need everything."""
    from concurrent.futures import ThreadPoolExecutor

    # the longest first
    both = ("parts", "lanes", "bands", "clouds", "elementary", "linear")
    keys = [(group, dtype) for group in both for dtype in ("float64", "float32")]
    others = ("sums", "draws", "jump", "blocks", "tangents", "symmetric", "powers", "views", "laws")
    keys += [(group, "float64") for group in others]
    missing = [key for key in keys if not compiled(*key)]

    def one(key: tuple[str, str]) -> None:
        if not compiled(*key):  # another may have needed the same
            subprocess.run(_command(*key), env=_surroundings(), check=True)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(one, missing))


def kept(kernel: Any, dtype: str) -> bool:
    """Whether a compiled version for ``dtype`` is in memory or on disk."""
    try:
        # Numba has no public way to ask what its cache holds
        signatures = [*kernel.signatures, *kernel._cache._cache_file._load_index()]
    except Exception:  # whatever a later Numba calls it: then nothing is said
        return True
    return any(dtype in str(signature) for signature in signatures)


def _started(group: str, dtype: str) -> bool:
    """Have kernels compiled, one process at a time; False where that is not possible."""
    global _compiling
    if _compiling is not None and _compiling.poll() is None:
        return True
    if (_compiling is not None and _compiling.returncode != 0) or not sys.executable:
        return False  # compiling here will show what is wrong
    try:
        _compiling = subprocess.Popen(
            _command(group, dtype),
            env=_surroundings(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends the run, not what later ones will use
        )
    except OSError:
        return False
    return True


def _command(group: str, dtype: str) -> list[str]:
    """A process that compiles a group, and finds this very package whatever folder it starts in."""
    run = f"from linsim._compile import main; main({group!r}, {dtype!r})"
    code = f"import sys; sys.path[:] = {sys.path!r}; {run}"
    return [sys.executable, "-c", code]


def _surroundings() -> dict[str, str]:
    return os.environ | {"LINSIM_COMPILE": "wait"}
