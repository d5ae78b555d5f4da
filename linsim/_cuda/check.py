"""Whether a GPU can be used, and does what the CPU does: ``linsim doctor``."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._namespace import cupy_status
from .remedies import INSTALL, remedy

__all__ = ["Finding", "findings", "missing_names"]

#: what is called of CuPy itself
_OWN = (
    "ndarray", "asarray", "ascontiguousarray", "reshape", "zeros", "from_dlpack", "RawModule",
    "get_default_memory_pool", "cuda.Device", "cuda.Stream", "cuda.runtime.memGetInfo",
    "cuda.runtime.getDeviceProperties", "cuda.runtime.driverGetVersion", "cuda.runtime.runtimeGetVersion",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what to do about it, "" where all is well."""

    what: str
    found: str
    remedy: str = ""


def findings() -> Iterator[Finding]:
    """Look at one thing after the other, until one stands in the way of the rest."""
    yield _accelerator()
    installed = _installed()
    yield Finding("CuPy", installed or "not installed", "" if installed else INSTALL)
    if not installed:
        return
    if missing := missing_names():
        yield Finding(
            "CuPy functions", f"no {', '.join(missing)}", "pip install --upgrade 'linsim[cuda12]', or cuda13"
        )
        return
    reason = cupy_status()
    yield Finding("an array on the GPU", reason or "allocated", remedy(reason) if reason else "")
    if reason is None:
        yield _kernel()


def _accelerator() -> Finding:
    """What the driver's own tool says is there."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding(
            "GPU and driver", "no nvidia-smi", "install a driver of NVIDIA, where there is a GPU of theirs"
        )
    asked = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("GPU and driver", f"nvidia-smi fails: {error}", "repair the driver")
    lines = [line.strip() for line in (answer.stdout or answer.stderr).splitlines() if line.strip()]
    told = "; ".join(lines) or "nvidia-smi says nothing"
    return Finding("GPU and driver", told, "repair the driver" if answer.returncode else "")


def _installed() -> str:
    """Name and version of the CuPy that is installed, "" for none."""
    for package in ("cupy-cuda13x", "cupy-cuda12x", "cupy"):
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def missing_names() -> list[str]:
    """Return what linsim calls of CuPy and this one does not have; needs no GPU.

    Of the array API: every function that some module of linsim calls as ``xp.name``.
    """
    import array_api_compat.cupy as space
    import cupy

    missing = []
    for library, prefix, names in ((cupy, "cupy", _OWN), (space, "array API", _called())):
        for name in names:
            found: object = library
            for part in name.split("."):
                found = getattr(found, part, None)
            if found is None:
                missing.append(f"{prefix}: {name}")
    return missing


def _called() -> list[str]:
    """Functions of the array API that are called somewhere in linsim."""
    called: set[str] = set()
    for path in Path(__file__).parents[1].rglob("*.py"):
        called.update(re.findall(r"\bxp\.((?:linalg\.)?[a-z]\w*)", path.read_text(encoding="utf-8")))
    return sorted(called - {"name"})


def _kernel() -> Finding:
    """Run the kernel on one system, against the CPU."""
    from .. import Linear, attention, simulate

    rng = np.random.default_rng(0)
    rule = Linear(attention.softmax(8, 8, rng=rng), rng.standard_normal((8, 8)) / 6)
    x0 = rng.standard_normal((8, 8))
    expected = simulate(rule, x0, 16, backend="numpy")
    run = simulate(rule, x0, 16, backend="cupy")
    if run.info.method != "device":
        refused = {str(x) for x in np.ravel(np.asarray(run.info.refused))} - {""}
        why = ", ".join(sorted(refused)) or run.info.reason
        return Finding(
            "the kernel", why, "pip install 'cupy-cuda12x[ctk]', or cuda13x: what compiles kernels"
        )
    for name, value in expected.metrics.items():
        off = np.abs(run.metrics[name] - value)
        room = (
            run.errors[name] + expected.errors[name] + 16 * np.finfo(float).eps * np.maximum(1, np.abs(value))
        )
        if not np.all(off <= room):
            return Finding(
                "the kernel", f"{name} differs from the CPU's by {np.max(off):.1e}", "report this, please"
            )
    return Finding("the kernel", f"{len(expected.metrics)} metrics of 17 layers agree with the CPU's")
