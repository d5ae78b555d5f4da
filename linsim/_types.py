"""Types of NumPy arrays that annotations name, and the relative spacing of doubles."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["EPS", "BoolArray", "ComplexArray", "FloatArray", "HostArray", "IntArray"]

#: arrays of one dtype, any shape
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
#: a NumPy array of any dtype, where other libraries may not go
HostArray = np.ndarray[Any, Any]

#: relative spacing of doubles at 1
EPS = float(np.finfo(np.float64).eps)
