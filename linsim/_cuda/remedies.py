"""What to do where no GPU can be used."""

from __future__ import annotations

__all__ = ["INSTALL", "remedy"]

INSTALL = "pip install 'linsim[cuda12]' (driver 525 or later) or 'linsim[cuda13]' (580 or later)"

# by what a reason (of linsim._namespace.cupy_status) holds
_REMEDIES = {
    "CuPy is not installed": INSTALL,
    "no NVIDIA driver": "install a driver of NVIDIA, on a machine with a GPU of theirs",
    "the driver is of CUDA": "install a newer driver, or the CuPy of its CUDA: linsim[cuda12] or [cuda13]",
    "NoDevice": "no GPU is visible: look at CUDA_VISIBLE_DEVICES, and at the machine",
    "OutOfMemory": "free memory on the GPU: nvidia-smi says who holds it",
    "MemoryAllocation": "free memory on the GPU: nvidia-smi says who holds it",
}


def remedy(reason: str) -> str:
    """Return what to do about a reason why no GPU can be used.

    >>> remedy("no GPU answers CuPy (no NVIDIA driver is installed)")
    'install a driver of NVIDIA, on a machine with a GPU of theirs'
    """
    found = (what for part, what in _REMEDIES.items() if part in reason)
    return next(found, "run python -c 'import cupy; cupy.show_config()'")
