"""Normal numbers drawn on the device: those of the CPU to the bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .launch import Uncompiled, kernel, launch
from .layout import THREADS

__all__ = ["normals"]

# blocks of one launch: enough to fill a device, each with several numbers to make
_BLOCKS = 2048


def normals(keys: Any, stream: int, scales: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Return N(0, scales[i]^2) numbers (k, ...) of keys (k,) and a stream; None if no kernel compiles.

    keys, uint64, and scales, float64, are arrays of the host.
    """
    import cupy

    try:
        function = kernel(f"normals_{dtype}")
    except Uncompiled:
        return None
    rows, width = shape[0], math.prod(shape[1:])
    out = cupy.zeros((rows, width), dtype=dtype)
    blocks = min(_BLOCKS, max(1, -(-rows * ((width + 1) // 2) // THREADS)))
    given = {
        "keys": cupy.asarray(keys),
        "stream": np.uint64(stream),
        "scales": cupy.asarray(scales),
        "rows": np.int64(rows),
        "width": np.int64(width),
        "out": out,
    }
    launch(function, blocks, 0, given)
    return cupy.reshape(out, shape)
