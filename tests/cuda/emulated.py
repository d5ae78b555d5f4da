"""CUDA kernels of linsim, compiled as C++ (emulation.h), called through ctypes."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from linsim import _cuda

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
# rounding is to be that of the source: no product is fused with a sum, here as in the NumPy reference
FLAGS = (
    "-std=c++17",
    "-O2",
    "-ffp-contract=off",
    "-U_FORTIFY_SOURCE",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Werror",
    "-Wno-clobbered",
)


def unit(change=lambda source: source):
    """Return the kernels as one C++ source; ``change`` breaks them, for tests that must then fail."""
    header, launches = ((HERE / name).read_text() for name in ("emulation.h", "launches.h"))
    return "\n".join((header, change(_cuda.source()), launches))


@functools.cache
def library(change=None):
    """Compile the kernels; return the library that holds them."""
    folder = Path(tempfile.mkdtemp(prefix="linsim-cuda-"))
    try:
        (folder / "kernels.cpp").write_text(unit(change) if change else unit())
        # what is broken on purpose runs once: it is compiled as fast as can be
        flags = [*FLAGS, "-O0"] if change else FLAGS
        subprocess.run([COMPILER, *flags, "kernels.cpp", "-o", "kernels.so"], cwd=folder, check=True)
        found = ctypes.CDLL(str(folder / "kernels.so"))
    finally:
        shutil.rmtree(folder)
    found.launch.restype = ctypes.c_char_p
    found.launch.argtypes = [
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_size_t,
        ctypes.c_uint64,
        ctypes.c_void_p,
    ]
    found.counted_bytes.restype = None
    return found


def launch(name, blocks, arguments, *, threads=128, room=0, order=0, change=None):
    """Run a kernel; arrays are NumPy's, contiguous and changed in place, numbers NumPy scalars.

    ``order``: in which threads run between two barriers: 0 forwards, 1 backwards, else shuffled.
    """
    held = []
    for value in arguments:
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            held.append(ctypes.c_void_p(value.ctypes.data))
        else:
            held.append(np.ctypeslib.as_ctypes(np.array(value)))
    pointers = (ctypes.c_void_p * len(held))(*[ctypes.cast(ctypes.pointer(x), ctypes.c_void_p) for x in held])
    wrong = library(change).launch(name.encode(), blocks, threads, room, order, pointers)
    assert wrong is None, wrong.decode()
