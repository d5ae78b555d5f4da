"""A CuPy without a GPU: arrays that hand nothing to the host unasked, and kernels that run emulated.

Every function is NumPy's; what CuPy refuses (an array of the host among those of the device, a silent way
back) is refused here too.  Transfers are counted.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import types
from dataclasses import dataclass, field
from typing import Any

import array_api_compat
import array_api_compat.numpy as compat
import numpy as np
import pytest

from linsim import _namespace
from linsim._cuda import launch

from . import emulated


@dataclass
class Card:
    """What a test sets, and what it counts."""

    room: int = 232448  # bytes of shared memory of a block, H100
    processors: int = 132
    free: int = 2**33
    order: int = 0
    compiles: bool = True
    full: bool = False  # memory that others took meanwhile
    change: Any = None  # what breaks the kernels' source, for tests that must see it
    to_host: int = 0
    to_device: int = 0
    scalars: int = 0  # numbers that Python asked for: each waits for the device
    launches: list[tuple[str, int]] = field(default_factory=list)
    freed: int = 0
    streams: int = 0  # of threads that asked for one of their own


CARD = Card()
_BUSY = threading.Lock()  # there is one emulation, whoever launches a kernel


class Device:
    def __init__(self, number=0):
        self.id = 0

    @property
    def attributes(self):
        return {"MaxSharedMemoryPerBlockOptin": CARD.room, "MultiProcessorCount": CARD.processors}

    def synchronize(self):
        pass

    def __eq__(self, other):
        return isinstance(other, Device)

    def __hash__(self):
        return 0


class Stream:
    def use(self):
        CARD.streams += 1


def inner(x: Any) -> Any:
    """Arrays of the device as NumPy's; arrays of the host are refused."""
    if isinstance(x, ndarray):
        return x.held
    if isinstance(x, np.ndarray) and x.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(x, list | tuple):
        return type(x)(inner(part) for part in x)
    if isinstance(x, dict):
        return {name: inner(value) for name, value in x.items()}
    return x


def outer(x: Any) -> Any:
    if isinstance(x, np.ndarray | np.generic):
        return ndarray(np.asarray(x))
    if isinstance(x, list | tuple):
        whole = [outer(part) for part in x]
        return type(x)(*whole) if hasattr(x, "_fields") else type(x)(whole)
    return x


def wrapped(function):
    def on_device(*args, **kwargs):
        kwargs.pop("device", None)
        return outer(function(*inner(args), **inner(kwargs)))

    return on_device


class ndarray:  # noqa: N801 - as CuPy calls it
    __array_priority__ = 100

    def __init__(self, held):
        self.held = held

    device = Device()

    def get(self):
        CARD.to_host += 1
        return self.held.copy()

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __getitem__(self, key):
        return outer(self.held[_index(key)])

    def __setitem__(self, key, value):
        self.held[_index(key)] = inner(value)

    def __len__(self):
        return len(self.held)

    def __bool__(self):
        CARD.scalars += 1
        return bool(self.held)

    def __float__(self):
        CARD.scalars += 1
        return float(self.held)

    def __int__(self):
        CARD.scalars += 1
        return int(self.held)

    @property
    def T(self):  # noqa: N802
        return outer(self.held.T)

    @property
    def mT(self):  # noqa: N802
        return outer(self.held.mT)

    shape = property(lambda self: self.held.shape)
    dtype = property(lambda self: self.held.dtype)
    ndim = property(lambda self: self.held.ndim)
    size = property(lambda self: self.held.size)
    nbytes = property(lambda self: self.held.nbytes)
    __hash__ = None  # type: ignore[assignment]


def _index(key):
    if isinstance(key, tuple):
        return tuple(_index(part) for part in key)
    return key.held if isinstance(key, ndarray) else key


_OPERATORS = "add sub mul truediv floordiv pow mod matmul and or xor lt le gt ge eq ne neg abs invert pos"
_OTHERS = "radd rsub rmul rtruediv rpow rmatmul rand ror iadd isub imul itruediv iand ior"

for _name in f"{_OPERATORS} {_OTHERS}".split():

    def _operator(self, *others, method=f"__{_name}__"):
        return outer(getattr(self.held, method)(*inner(others)))

    setattr(ndarray, f"__{_name}__", _operator)


class _Wrapped(types.ModuleType):
    """A module whose functions take and give arrays of the device."""

    def __init__(self, name, module):
        super().__init__(name)
        self.__dict__["_module"] = module

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.__dict__["_module"], name)
        if isinstance(found, type) or not callable(found):
            return _Wrapped(name, found) if isinstance(found, types.ModuleType) else found
        return wrapped(found)


class CompileException(Exception):  # noqa: N818 - CuPy's name
    pass


class OutOfMemoryError(MemoryError):
    pass


class RawModule:
    def __init__(self, *, code, options=()):
        self.code = code

    def compile(self):
        if not CARD.compiles:
            raise CompileException("kernels.cu(7): error: no such thing\nand more")

    def get_function(self, name):
        return RawKernel(name)


class RawKernel:
    max_dynamic_shared_size_bytes = 49152

    def __init__(self, name):
        self.name = name

    def __call__(self, grid, block, args, *, shared_mem=0):
        if shared_mem > min(self.max_dynamic_shared_size_bytes, CARD.room):
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        for x in args:
            assert isinstance(x, ndarray | np.generic), type(x)
            # a view does not lie as a kernel reads it
            assert not isinstance(x, ndarray) or x.held.flags.c_contiguous
        if CARD.full:
            raise OutOfMemoryError("Out of memory allocating 512 bytes (allocated so far: 0 bytes).")
        CARD.launches.append((self.name, grid[0]))
        given = [x.held if isinstance(x, ndarray) else x for x in args]
        how = {"threads": block[0], "room": shared_mem, "order": CARD.order, "change": CARD.change}
        with _BUSY:
            emulated.launch(self.name, grid[0], given, **how)


@contextlib.contextmanager
def gpu(**settings):
    """Make this the CuPy of what runs inside; yield its card."""
    with pytest.MonkeyPatch.context() as patch:
        _install(patch, settings)
        forget()
        yield CARD
    forget()


def forget():
    """What was found out about the CuPy before."""
    for cached in (_namespace.cupy_status, launch._module, launch._room, launch._processors):
        cached.cache_clear()


def _install(monkeypatch, settings):
    for name, value in vars(Card(**settings)).items():
        setattr(CARD, name, value)
    cupy = _Wrapped("cupy", np)

    def asarray(x, dtype=None, **_):
        if isinstance(x, ndarray):
            return outer(np.asarray(x.held, dtype=dtype))
        CARD.to_device += 1
        return ndarray(np.array(x, dtype=dtype))

    pool = types.SimpleNamespace(free_all_blocks=lambda: setattr(CARD, "freed", CARD.freed + 1))
    runtime = types.SimpleNamespace(
        memGetInfo=lambda: (CARD.free, 2**37),
        getDeviceProperties=lambda number: {"name": b"no card at all"},
        driverGetVersion=lambda: 13020,
        runtimeGetVersion=lambda: 13020,
    )
    own = {
        "ndarray": ndarray, "asarray": asarray, "RawModule": RawModule,
        "get_default_memory_pool": lambda: pool,
        "cuda": types.SimpleNamespace(Device=Device, Stream=Stream, runtime=runtime),
    }  # fmt: skip
    vars(cupy).update(own)
    space = _Wrapped("array_api_compat.cupy", compat)
    vars(space).update(asarray=asarray, linalg=_Wrapped("linalg", compat.linalg))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", space)
    monkeypatch.setattr(array_api_compat, "cupy", space, raising=False)
