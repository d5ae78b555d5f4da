"""What can be said of a GPU, for code beside the library: its commands and benchmarks.

The library itself takes these from where they are written.
"""

from ._cuda.check import Finding, findings
from ._cuda.layout import LARGEST, room
from ._namespace import cupy_status

__all__ = ["LARGEST", "Finding", "cupy_status", "findings", "room"]
