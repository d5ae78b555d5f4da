"""Kernels for NVIDIA GPUs: CUDA sources, what they have in common with Python, and how they are launched.

The sources compile with nvcc and nvrtc, and, behind a small header of the test suite, as plain C++: so all of
them is tested where no GPU is.
"""

from __future__ import annotations

from importlib import resources

__all__ = ["SOURCES", "source"]

#: in the order in which they need each other
SOURCES = ("block", "parts", "shadows", "singular", "measure", "walk", "large", "philox", "normals")


def source() -> str:
    """Return the source of all kernels, one translation unit.

    >>> "walk_float64" in source()
    True
    """
    folder = resources.files(__package__)
    return "\n".join((folder / f"{name}.cuh").read_text(encoding="utf-8") for name in SOURCES)
