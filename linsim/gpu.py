"""What can be said of a GPU, for code beside the library: its commands and benchmarks.

The library itself takes these from where they are written.

>>> LARGEST, shared_bytes(32, 32, 8, 3, True) // 1024
(64, 67)
"""

from ._cuda.check import Finding, findings
from ._cuda.layout import LARGEST, shared_bytes
from ._namespace import cupy_status

__all__ = ["LARGEST", "Finding", "cupy_status", "findings", "shared_bytes"]
