"""Kernels on the device that CuPy uses: compiled once, launched with the room that they need."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._namespace import cupy_status
from . import source
from .layout import THREADS

__all__ = ["Uncompiled", "in_one_piece", "kernel", "launch", "most_blocks", "own_stream", "room_of_a_block"]

# no contraction is asked for or forbidden: nvrtc fuses products and sums, and errors allow for either
_OPTIONS = ("--std=c++17",)


class Uncompiled(Exception):  # noqa: N818 - caught where work goes on another way, never seen by users
    """A kernel that this device does not take; the message says why in one line."""


@functools.cache
def _module(device: int) -> Any:
    import cupy

    try:
        module = cupy.RawModule(code=source(), options=_OPTIONS)
        module.compile()
    except Exception as error:  # of nvrtc, of the driver, of a file that is missing
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise Uncompiled(f"{type(error).__name__}: {first}") from error
    return module


def own_stream() -> None:
    """Let this thread's work on the device go on beside that of others, where CuPy can be used.

    It waits for what was begun before on the stream that all share, so arrays of the user's are ready.
    """
    if cupy_status() is None:
        import cupy

        cupy.cuda.Stream().use()


def _current() -> int:
    import cupy

    return int(cupy.cuda.Device().id)


@functools.cache
def _room(device: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])


def room_of_a_block() -> int:
    """Return how many bytes of shared memory a block may have on the current device."""
    return _room(_current())


@functools.cache
def _processors(device: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device).attributes["MultiProcessorCount"])


def most_blocks() -> int:
    """Return how many blocks the current device works on at a time, where one fills half a multiprocessor."""
    return 2 * _processors(_current())


def kernel(name: str) -> Any:
    """Return a kernel of :func:`linsim._cuda.source` for the current device.

    Raises
    ------
    Uncompiled
        If it does not compile there; a repaired installation is tried again.
    """
    return _module(_current()).get_function(name)


def in_one_piece(x: Any) -> Any:
    """Return an array of the device as kernels read it: contiguous, row by row."""
    import cupy

    return cupy.ascontiguousarray(x)


def launch(function: Any, blocks: int, room: int, arguments: Mapping[str, Any]) -> None:
    """Run a kernel on so many blocks with ``room`` bytes of shared memory each; its arrays are contiguous."""
    if room > 48 * 1024:  # more than every kernel may have; the same for all threads that launch one
        function.max_dynamic_shared_size_bytes = room_of_a_block()
    given = (x if isinstance(x, np.generic) else in_one_piece(x) for x in arguments.values())
    function((blocks,), (THREADS,), tuple(given), shared_mem=room)
